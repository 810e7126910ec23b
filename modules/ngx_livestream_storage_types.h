
/*
 * Copyright (C) nginx-livestream contributors
 *
 * What the functions of a storage engine say to their callers; no nginx in it.
 */


#ifndef _NGX_LIVESTREAM_STORAGE_TYPES_H_INCLUDED_
#define _NGX_LIVESTREAM_STORAGE_TYPES_H_INCLUDED_


#include <stdint.h>


typedef enum {
    NGX_LIVESTREAM_STORAGE_OK = 0,
    NGX_LIVESTREAM_STORAGE_ABSENT,          /* there is no such object (404),
                                               or no such local file */
    NGX_LIVESTREAM_STORAGE_AGAIN,           /* may pass: connection, time,
                                               5xx, 429, checksum */
    NGX_LIVESTREAM_STORAGE_REFUSED,         /* will not pass by itself:
                                               credentials, bucket, 4xx */
    NGX_LIVESTREAM_STORAGE_STOPPED          /* *stop was set */
} ngx_livestream_storage_e;


/* of what failed: what an operator needs, without secrets; printable ASCII */
typedef struct {
    char                     text[256];
} ngx_livestream_storage_error_t;


/* what the server has confirmed */
typedef struct {
    uint64_t                 size;          /* bytes */
    char                     checksum[80];  /* as it is named by the engine:
                                               S3's ETag without quotes */
} ngx_livestream_storage_object_t;


#endif /* _NGX_LIVESTREAM_STORAGE_TYPES_H_INCLUDED_ */

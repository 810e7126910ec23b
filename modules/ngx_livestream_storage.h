
/*
 * Copyright (C) nginx-livestream contributors
 *
 * Storage: where recordings go, other than the disk.  An engine is a module of
 * type NGX_LIVESTREAM_STORAGE_MODULE, chosen by the scheme of a URI (s3:).
 * Objects have keys: the path of a file below the folder of recordings,
 *
 *     ID/RID/TRACK/segment-N.m4s
 *
 * to which the engine adds what its URI says ("prefix/").
 *
 * The functions of an engine block, and may be called by any thread but the
 * event loop's, several at a time; open(), close(), connections() and url()
 * are of the event loop.
 */


#ifndef _NGX_LIVESTREAM_STORAGE_H_INCLUDED_
#define _NGX_LIVESTREAM_STORAGE_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>

#include "ngx_livestream_storage_types.h"


#define NGX_LIVESTREAM_STORAGE_MODULE  0x4753564c      /* "LVSG" */

#define NGX_LIVESTREAM_STORAGE_URL     4096            /* bytes of a URL */


typedef struct {
    ngx_str_t                scheme;        /* "s3" */

    /* master, end of the livestream{} block: checks URI, directives and
     * environment; an error is logged.  The engine's module is loaded before
     * those that use it, so its own directives are set. */
    ngx_int_t              (*check)(ngx_cycle_t *cycle, ngx_str_t *uri);
    /* worker: transfers that may run at a time */
    ngx_uint_t             (*connections)(ngx_cycle_t *cycle);

    /* worker; NULL: failed and logged */
    void                  *(*open)(ngx_cycle_t *cycle, ngx_str_t *uri);
    void                   (*close)(void *data);

    /*
     * Stores a local file and confirms it: OK only if the server has as many
     * bytes of the same checksum as the file.  stop may be NULL.
     */
    ngx_livestream_storage_e (*put)(void *data, const char *key,
                              const char *path, const volatile int *stop,
                              ngx_livestream_storage_object_t *object,
                              ngx_livestream_storage_error_t *error);

    /* up to size bytes from offset into p; *got says how many there are;
     * beyond the end: OK and 0 */
    ngx_livestream_storage_e (*fetch)(void *data, const char *key,
                              uint64_t offset, size_t size, u_char *p,
                              size_t *got, const volatile int *stop,
                              ngx_livestream_storage_error_t *error);

    /* an object that is not there is OK */
    ngx_livestream_storage_e (*remove)(void *data, const char *key,
                              const volatile int *stop,
                              ngx_livestream_storage_error_t *error);

    /* event loop: a URL by which anybody may GET the object until `expires`,
     * s since 1970 as `now` is, which it is signed at; NUL-terminated; its
     * length, or 0 if it does not fit */
    size_t                 (*url)(void *data, const char *key, time_t now,
                              time_t expires, u_char *p, size_t size);
} ngx_livestream_storage_engine_t;


/* the engine of a URI, or NULL: its module is not loaded; needs cycle->modules
 * only, so master and worker may call it */
ngx_livestream_storage_engine_t *ngx_livestream_storage_engine(
    ngx_cycle_t *cycle, ngx_str_t *uri);


#endif /* _NGX_LIVESTREAM_STORAGE_H_INCLUDED_ */

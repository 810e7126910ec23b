
/*
 * Copyright (C) nginx-livestream contributors
 *
 * The bytes of a recording, for jobs that read it again: from the disk, or,
 * where a file has gone into storage, from there.
 *
 * Pure C; a job's thread.  0 or an errno with *reason, a static text.
 */


#ifndef _NGX_LIVESTREAM_DVR_SOURCE_H_INCLUDED_
#define _NGX_LIVESTREAM_DVR_SOURCE_H_INCLUDED_


#include <stddef.h>
#include <stdint.h>


typedef struct {
    const char              *dir;           /* RECORDINGS/ID/RID */

    /* "TRACK/segment-N.m4s" in storage: up to size bytes from offset into p;
     * 0, ENOENT or an errno; NULL: there is no storage */
    int                    (*fetch)(void *data, const char *name,
                              uint64_t offset, size_t size, uint8_t *p,
                              size_t *got);
    void                    *data;
    const volatile int      *stop;          /* not 0: ECANCELED; may be NULL */
} ngx_livestream_dvr_source_t;


/* Up to size bytes of a file from offset into p: there are less than size only
 * at its end.  ENOENT: neither the disk nor storage has it. */
int ngx_livestream_dvr_source_read(const ngx_livestream_dvr_source_t *source,
    const char *name, uint64_t offset, size_t size, uint8_t *p, size_t *got,
    const char **reason);


#endif /* _NGX_LIVESTREAM_DVR_SOURCE_H_INCLUDED_ */

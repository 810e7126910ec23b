
/*
 * Copyright (C) nginx-livestream contributors
 *
 * The files of one track: ROOT/ID/BROADCAST/TRACK/init-N.mp4, segment-N.m4s.
 *
 * Pure C, no nginx type; pipeline thread.  Functions return 0 or an errno,
 * and then *reason is a static text.
 */


#ifndef _NGX_LIVESTREAM_LLHLS_FILES_H_INCLUDED_
#define _NGX_LIVESTREAM_LLHLS_FILES_H_INCLUDED_


#include <sys/uio.h>

#include "ngx_livestream_pipeline.h"


typedef struct ngx_livestream_llhls_file_s  ngx_livestream_llhls_file_t;


typedef struct {
    char                    *dir;           /* with a slash at its end */
    char                    *path;          /* room for a name in it */
    size_t                   size;          /* of path */
    int                      fd;            /* of the open segment, or -1 */
    int                      recorded;      /* nothing is listed or removed */
    const char              *reason;

    /* closed segments, oldest first; those before listed have left the
     * playlist and wait for their removal */
    ngx_livestream_llhls_file_t  *first;
    ngx_livestream_llhls_file_t  *last;
    ngx_livestream_llhls_file_t  *listed;
    uint32_t                 nlisted;
    int64_t                  content;       /* us, of those listed */
    int64_t                  longest;       /* us, the most that content was */
} ngx_livestream_llhls_files_t;


/* Makes the folder.  Of a stream that is continued, what lies there is taken
 * over. */
int ngx_livestream_llhls_files_open(ngx_livestream_llhls_files_t *files,
    const ngx_livestream_pipeline_conf_t *conf, const char *track);
void ngx_livestream_llhls_files_close(ngx_livestream_llhls_files_t *files);

int ngx_livestream_llhls_files_init(ngx_livestream_llhls_files_t *files,
    uint32_t n, const uint8_t *data, size_t len);

/* appends to segment msn, which is created by its first write; changes iov */
int ngx_livestream_llhls_files_write(ngx_livestream_llhls_files_t *files,
    uint64_t msn, struct iovec *iov, unsigned n);

/*
 * Segment msn (of no bytes, if it was a gap) is whole.  Removes segments whose
 * time has come, unless they are recorded: they have left the playlist, as the
 * writer counts it, for as long as they and the longest playlist that had them
 * last.
 */
int ngx_livestream_llhls_files_done(ngx_livestream_llhls_files_t *files,
    uint64_t msn, uint32_t duration, uint32_t playlist_length,
    uint32_t target_duration);


#endif /* _NGX_LIVESTREAM_LLHLS_FILES_H_INCLUDED_ */


/*
 * Copyright (C) nginx-livestream contributors
 *
 * A recording as one MP4 file: stream copy, moov first, written beside its
 * place and put there by a rename.
 *
 * Pure C, libavformat; a job's thread.  0 or an errno with *reason, a static
 * text that an operator or a client of the API can act on.
 */


#ifndef _NGX_LIVESTREAM_DVR_CONVERT_H_INCLUDED_
#define _NGX_LIVESTREAM_DVR_CONVERT_H_INCLUDED_


#include "ngx_livestream_dvr_index.h"
#include "ngx_livestream_dvr_source.h"


typedef struct {
    /* of the file to be, in a folder that is there; while it is written, it
     * is PATH.tmp */
    const char              *path;
    /* name of the track of video, or NULL: the best one, by
     * ngx_livestream_dvr_select_best() */
    const char              *track;
    volatile uint32_t       *progress;      /* of 1000, for other threads */

    int64_t                  duration;      /* out: us */
    uint64_t                 size;          /* out: bytes */
} ngx_livestream_dvr_convert_t;


/*
 * ENOENT: there is no such track; ENODATA: nothing but gaps; EINVAL: codec
 * parameters change in the middle, which one MP4 cannot hold; EILSEQ: a file
 * of the recording is damaged; EIO: one is missing; ECANCELED.
 */
int ngx_livestream_dvr_convert(const ngx_livestream_dvr_index_t *index,
    const ngx_livestream_dvr_source_t *source,
    ngx_livestream_dvr_convert_t *convert, const char **reason);


#endif /* _NGX_LIVESTREAM_DVR_CONVERT_H_INCLUDED_ */


/*
 * Copyright (C) nginx-livestream contributors
 *
 * The samples of a recording's track, one after the other, and what a codec
 * needs to know about them.
 *
 * Pure C, libavformat for the init segments; a job's thread.  Functions return
 * 0 or an errno, and then *reason is a static text.
 */


#ifndef _NGX_LIVESTREAM_DVR_READER_H_INCLUDED_
#define _NGX_LIVESTREAM_DVR_READER_H_INCLUDED_


#include <libavcodec/avcodec.h>

#include "ngx_livestream_dvr_fragment.h"
#include "ngx_livestream_dvr_index.h"
#include "ngx_livestream_dvr_source.h"


typedef struct {
    const ngx_livestream_dvr_source_t  *source;
    const ngx_livestream_dvr_track_t   *track;
    size_t                   chunk;         /* bytes that are read at once */

    /* of the segment that the newest sample is of */
    uint32_t                 init;          /* N; 0: none yet */
    AVCodecParameters       *par;
    AVRational               base;          /* of a tick, s */

    uint64_t                 bytes;         /* of segments, used up */

    /* the segment: file[start, end) of it is in buf */
    size_t                   segment;       /* that comes next, or is read */
    unsigned                 open;
    uint32_t                 left;          /* bytes of it behind buf's */
    uint8_t                 *buf;
    size_t                   size;
    size_t                   start;
    size_t                   end;

    ngx_livestream_dvr_fragment_t  fragment;
    uint32_t                 next;          /* sample of it */
} ngx_livestream_dvr_reader_t;


/* r is zeros, or was closed; close() is to be called whatever the result */
int ngx_livestream_dvr_reader_open(ngx_livestream_dvr_reader_t *r,
    const ngx_livestream_dvr_source_t *source,
    const ngx_livestream_dvr_track_t *track, size_t chunk,
    const char **reason);
void ngx_livestream_dvr_reader_close(ngx_livestream_dvr_reader_t *r);

/* init, par and base are those of init-N.mp4 of the track then; EILSEQ: it is
 * damaged, or of other media */
int ngx_livestream_dvr_reader_init(ngx_livestream_dvr_reader_t *r,
    uint32_t init, const char **reason);

/* the next sample is the first of this segment of the track, or behind it if
 * that has no media */
void ngx_livestream_dvr_reader_seek(ngx_livestream_dvr_reader_t *r,
    size_t segment);

/*
 * The next sample, whose bytes are valid until the next call.  ENODATA: there
 * is none.  init, par and base are those of this sample then.
 */
int ngx_livestream_dvr_reader_next(ngx_livestream_dvr_reader_t *r,
    ngx_livestream_dvr_sample_t *sample, const uint8_t **data,
    const char **reason);

/*
 * The first key frame of that segment whose dts is not before `us` on the
 * stream's timeline; what lies before it is not read.  ENODATA: there is none.
 * What next() then gives is behind it.
 */
int ngx_livestream_dvr_reader_key(ngx_livestream_dvr_reader_t *r,
    size_t segment, int64_t us, ngx_livestream_dvr_sample_t *sample,
    const uint8_t **data, const char **reason);


#endif /* _NGX_LIVESTREAM_DVR_READER_H_INCLUDED_ */

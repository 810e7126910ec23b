
/*
 * Copyright (C) nginx-livestream contributors
 *
 * A track of a recording on its way into one file.
 *
 * Pure C; a job's thread.  Functions return 0 or an errno, and then *reason is
 * a static text.
 */


#ifndef _NGX_LIVESTREAM_DVR_LANE_H_INCLUDED_
#define _NGX_LIVESTREAM_DVR_LANE_H_INCLUDED_


#include "ngx_livestream_dvr_reader.h"


/* us of one track that lie together in the file */
#define NGX_LIVESTREAM_DVR_INTERLEAVE  500000

/* bytes that are read at once: of storage, each time is a request */
#define NGX_LIVESTREAM_DVR_CHUNK       (4 * 1024 * 1024)


typedef struct {
    ngx_livestream_dvr_reader_t  reader;

    /* by open, which holds for all of the track: */
    AVCodecParameters       *par;
    AVRational               base;
    int64_t                  first;         /* ticks, pts of the first one */
    int64_t                  lead;          /* ticks that pts are before dts,
                                               at most; mostly 0 */
    uint64_t                 tables;        /* bytes in moov, estimated */
    uint64_t                 bytes;         /* of all its segments */

    /* the next sample: */
    unsigned                 live;          /* there is one */
    ngx_livestream_dvr_sample_t  sample;
    const uint8_t           *data;
} ngx_livestream_dvr_lane_t;


/* EINVAL: its init segments differ; close() it whatever the result */
int ngx_livestream_dvr_lane_open(ngx_livestream_dvr_lane_t *lane,
    const ngx_livestream_dvr_source_t *source,
    const ngx_livestream_dvr_track_t *track, const char **reason);
void ngx_livestream_dvr_lane_close(ngx_livestream_dvr_lane_t *lane);

/* to its first sample */
int ngx_livestream_dvr_lane_rewind(ngx_livestream_dvr_lane_t *lane,
    const char **reason);
int ngx_livestream_dvr_lane_next(ngx_livestream_dvr_lane_t *lane,
    const char **reason);


#endif /* _NGX_LIVESTREAM_DVR_LANE_H_INCLUDED_ */

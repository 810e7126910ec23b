
/*
 * Copyright (C) nginx-livestream contributors
 *
 * The writer: turns the packager's messages into records of the registry, and
 * goes on with gaps while there is no packager.
 *
 * Event loop of the worker that owns the stream.
 */


#ifndef _NGX_LIVESTREAM_LLHLS_WRITER_H_INCLUDED_
#define _NGX_LIVESTREAM_LLHLS_WRITER_H_INCLUDED_


#include "ngx_livestream.h"
#include "ngx_livestream_dvr.h"


typedef struct {
    ngx_livestream_track_t  *track;
    ngx_livestream_state_t   state;         /* as it will be published */
    uint64_t                 content;       /* us, of the segments listed */
    ngx_uint_t               changed;
} ngx_livestream_llhls_record_t;


/* Of a stream; lives in its pool. */
typedef struct {
    ngx_livestream_stream_t *stream;
    ngx_event_t              event;         /* posted: publish and ring */
    ngx_uint_t               expected;      /* tracks to be chosen from */
    unsigned                 variants:1;    /* have changed */
    unsigned                 live:1;
    unsigned                 failed:1;
    unsigned                 absent:1;      /* gaps were begun: */

    int64_t                  since;         /* us since 1970 */
    int64_t                  origin;        /* us, of the timeline, then */
    int64_t                  reached;       /* us, in all tracks */
    int64_t                  segment;       /* us, where the open segment
                                               began */

    ngx_livestream_dvr_log_t  dvr;

    ngx_uint_t               nrecords;
    ngx_livestream_llhls_record_t  records[NGX_LIVESTREAM_MAX_TRACKS];
} ngx_livestream_llhls_writer_t;


/* makes it from what the registry has; NULL: out of memory */
ngx_livestream_llhls_writer_t *ngx_livestream_llhls_writer(
    ngx_livestream_stream_t *s);

/* changes of a track's state; to be seen after publish() */
void ngx_livestream_llhls_put_part(ngx_livestream_llhls_record_t *r,
    ngx_livestream_part_t *part);
void ngx_livestream_llhls_close_segment(ngx_livestream_llhls_writer_t *w,
    ngx_livestream_llhls_record_t *r, uint32_t flags);

/* shows what has changed to all workers, and rings */
void ngx_livestream_llhls_publish(ngx_livestream_llhls_writer_t *w);


/* gaps: ngx_livestream_llhls_gap.c */

/* Closes what is open and brings all tracks to one MSN, whatever a worker
 * that died has left. */
void ngx_livestream_llhls_settle(ngx_livestream_llhls_writer_t *w);

/* gaps in all tracks up to now */
void ngx_livestream_llhls_fill_absence(ngx_livestream_llhls_writer_t *w);


#endif /* _NGX_LIVESTREAM_LLHLS_WRITER_H_INCLUDED_ */

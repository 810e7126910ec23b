
/*
 * Copyright (C) nginx-livestream contributors
 *
 * One track on its way into parts and segments, and what all tracks of a
 * stream put their words out through.
 *
 * Pure C, no nginx type; pipeline thread.  Functions that return int return 0
 * or an errno, and have then told the pipeline the reason.
 */


#ifndef _NGX_LIVESTREAM_LLHLS_TRACK_H_INCLUDED_
#define _NGX_LIVESTREAM_LLHLS_TRACK_H_INCLUDED_


#include "ngx_livestream_llhls_files.h"
#include "ngx_livestream_llhls_packager.h"


/* Of one stream. */
typedef struct {
    ngx_livestream_pipeline_t            *pipeline;
    const ngx_livestream_pipeline_conf_t *conf;
    uint32_t                 target_duration;   /* s; 0: not known yet, and
                                                   messages are held back */
    int64_t                  part_target;       /* us */
    uint32_t                 total;             /* of tracks */
    uint32_t                 ntracks;           /* that are not hidden */
    ngx_livestream_message_t  *held;
    ngx_livestream_message_t **tail;
} ngx_livestream_llhls_output_t;


typedef struct {
    ngx_livestream_frame_t  *frame;
    int64_t                  dts;       /* as put out; pts is the frame's */
} ngx_livestream_llhls_sample_t;


typedef enum {
    NGX_LIVESTREAM_LLHLS_NO_END = 0,    /* of the segment */
    NGX_LIVESTREAM_LLHLS_END,           /* at dts */
    NGX_LIVESTREAM_LLHLS_END_BEFORE     /* before the frame of dts, which may
                                           be moved back */
} ngx_livestream_llhls_end_e;


typedef struct ngx_livestream_llhls_queued_s  ngx_livestream_llhls_queued_t;


typedef struct {
    ngx_livestream_llhls_output_t  *out;
    char                     name[16];
    ngx_livestream_media_e   media;

    /* per 1000 s; 0 until the first segment of a codec tells */
    uint32_t                 frame_rate;
    uint32_t                 nframes;           /* that tell it: */
    int64_t                  from;              /* ticks, dts of the first */
    int64_t                  to;                /* and of the last */

    ngx_livestream_codec_t  *codec;             /* NULL: no frame yet */
    uint64_t                 hash;              /* of init-N.mp4's */
    uint32_t                 init;              /* N; 0: there is none */

    uint32_t                 timescale;         /* of all ticks below */
    int64_t                  target;            /* PART-TARGET, floor */
    int64_t                  least;             /* of a part that is no
                                                   exception */
    int64_t                  delta;             /* between frames, newest */

    unsigned                 encoded:1;         /* not as published */
    unsigned                 gone:1;            /* nobody makes it */
    unsigned                 hidden:1;          /* is not to be chosen */
    unsigned                 lost:1;            /* frames were dropped: goes
                                                   on with a key frame */

    /* the open segment, if there is one */
    unsigned                 open:1;
    unsigned                 holed:1;           /* has gaps */
    ngx_livestream_llhls_segment_t  segment;
    ngx_livestream_llhls_files_t    files;
    uint32_t                 sequence;          /* of fragments */

    /* the open part, or what it will start with */
    int64_t                  start;
    uint32_t                 nsamples;
    ngx_livestream_llhls_sample_t  *samples;

    /* the cutter's: frames that wait for the leading track */
    ngx_livestream_llhls_queued_t  *first;
    ngx_livestream_llhls_queued_t  *last;
    uint32_t                 nqueued;
    uint64_t                 msn;               /* of the newest segment */
    int64_t                  newest;            /* us, dts that came */
    int64_t                  ahead;             /* us, went by since the
                                                   leader last came */
    int64_t                  fresh;             /* us, horizon when a frame
                                                   was last taken */
} ngx_livestream_llhls_track_t;


int ngx_livestream_llhls_track_create(ngx_livestream_llhls_track_t *t,
    ngx_livestream_llhls_output_t *out, const char *name,
    ngx_livestream_media_e media);
void ngx_livestream_llhls_track_destroy(ngx_livestream_llhls_track_t *t);

/* The codec of what follows, between segments; the same one is fine any time.
 * A new configuration gets a new init segment. */
int ngx_livestream_llhls_track_codec(ngx_livestream_llhls_track_t *t,
    ngx_livestream_codec_t *codec, uint64_t msn);

/* begins a segment at dts; wall is a frame's */
int ngx_livestream_llhls_track_open(ngx_livestream_llhls_track_t *t,
    uint64_t msn, int64_t dts, int64_t wall, uint32_t flags);

/*
 * Closes parts, and fills holes with gaps, until what is left ends at dts or
 * is to be continued there by a frame.  *at is where: dts, or for an empty
 * part earlier, to which the frame of dts is to be moved back.  At an end
 * nothing is left: the last part is closed too and is said to be the last.
 */
int ngx_livestream_llhls_track_reach(ngx_livestream_llhls_track_t *t,
    int64_t dts, ngx_livestream_llhls_end_e end, int64_t *at);

/* a hole that has no end yet and goes on up to dts */
int ngx_livestream_llhls_track_fill(ngx_livestream_llhls_track_t *t,
    int64_t dts);

/* a hole that ends at dts with a frame that is not to be moved back */
int ngx_livestream_llhls_track_skip(ngx_livestream_llhls_track_t *t,
    int64_t dts);

/* takes a reference; dts is at or behind the end of what there is */
int ngx_livestream_llhls_track_append(ngx_livestream_llhls_track_t *t,
    ngx_livestream_frame_t *f, int64_t dts);

/* The segment ends where reach() left off.  A hidden track that somebody makes
 * again is shown once a whole one has no gap. */
int ngx_livestream_llhls_track_close(ngx_livestream_llhls_track_t *t);

/* where the last sample ends by itself, or the open part starts */
int64_t ngx_livestream_llhls_track_end(ngx_livestream_llhls_track_t *t);

/* the earliest dts that a next sample may have */
int64_t ngx_livestream_llhls_track_next(ngx_livestream_llhls_track_t *t);

/* the earliest dts that the open segment may end at: none is empty */
int64_t ngx_livestream_llhls_track_least(ngx_livestream_llhls_track_t *t);


int ngx_livestream_llhls_track_hide(ngx_livestream_llhls_track_t *t);
int ngx_livestream_llhls_note(ngx_livestream_llhls_track_t *t,
    const char *text);
/* sends what was held back; the target duration is known */
void ngx_livestream_llhls_release(ngx_livestream_llhls_output_t *out);
void ngx_livestream_llhls_discard(ngx_livestream_llhls_output_t *out);


#endif /* _NGX_LIVESTREAM_LLHLS_TRACK_H_INCLUDED_ */

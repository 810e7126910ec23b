
/*
 * Copyright (C) nginx-livestream contributors
 *
 * A pipeline: one thread per live stream, which frames go into and messages
 * come out of.
 *
 *   event loop                          thread
 *   push(frame)  --> bounded ring  --> stage 0 --> ... --> packager
 *   handler(msg) <-- list, eventfd <-- send(msg)
 *
 * The stages are those that the feature modules registered, in load order;
 * each hands frames on to the next.  The pipeline and its stages know no
 * nginx: no pools, no log, no shared memory (this header is free of nginx
 * types so that a stage's file can include it alone).
 *
 * When the ring is full, push() drops video up to the next key frame, and
 * audio meanwhile, and counts.  send() never fails but for lack of memory; it
 * waits when NGX_LIVESTREAM_PIPELINE_MESSAGES are unread, which bounds them.
 */


#ifndef _NGX_LIVESTREAM_PIPELINE_H_INCLUDED_
#define _NGX_LIVESTREAM_PIPELINE_H_INCLUDED_


#include "ngx_livestream_frame.h"


#define NGX_LIVESTREAM_PIPELINE_FRAMES     1024
#define NGX_LIVESTREAM_PIPELINE_BYTES      (32 * 1024 * 1024)
#define NGX_LIVESTREAM_PIPELINE_MESSAGES   256
#define NGX_LIVESTREAM_PIPELINE_STAGES     4
#define NGX_LIVESTREAM_PIPELINE_TRACKS     16


typedef struct ngx_livestream_pipeline_s  ngx_livestream_pipeline_t;
typedef struct ngx_livestream_stage_s  ngx_livestream_stage_t;
typedef struct ngx_livestream_message_s  ngx_livestream_message_t;


/* What a stage is told when it opens.  Owned by the creator of the pipeline,
 * immutable until the pipeline is destroyed. */
typedef struct {
    const char              *root;              /* absolute folder */
    const char              *id;                /* stream */
    const char              *broadcast;
    int                      low_latency;
    int                      recorded;          /* no file is removed */
    int64_t                  segment_duration;  /* us */
    int64_t                  part_duration;     /* us */
    uint32_t                 playlist_length;   /* segments */
    uint32_t                 has_video;         /* what metadata promised: */
    uint32_t                 has_audio;         /*   0 no, 1 yes, 2 unknown */
    uint32_t                 frame_rate;        /* per 1000 s; 0 unknown */
    uint32_t                 audio_bitrate;     /* bit/s; 0 unknown */

    /* by the number of a frame's track: what the stages may put out.  The
     * core names 0 "source" and 1 "audio"; others are those of features, which
     * name them when the stream opens; an empty name is no track */
    struct {
        char                 name[16];
        ngx_livestream_media_e  media;
    }                        outputs[NGX_LIVESTREAM_PIPELINE_TRACKS];

    /* by the number of a stage: what its feature tells it, or NULL */
    const void              *stage_conf[NGX_LIVESTREAM_PIPELINE_STAGES];

    /* of a stream that is continued (continued != 0) */
    int                      continued;
    uint32_t                 target_duration;   /* s, fixed already; or 0 */
    int64_t                  part_target;       /* us, fixed already; or 0 */
    uint64_t                 msn;               /* the next segment's */
    int64_t                  timeline;          /* us, where it goes on */
    int64_t                  pdt;               /* us since 1970, of that, as
                                                   listed; dates must not go
                                                   back behind it */
    uint32_t                 ntracks;
    struct {
        char                 name[16];
        ngx_livestream_media_e  media;
        uint64_t             config_hash;       /* of its newest init */
        uint32_t             init;              /* N of its newest init */
    }                        tracks[16];
} ngx_livestream_pipeline_conf_t;


/* What a feature runs in the thread.  Every function runs there. */
struct ngx_livestream_stage_s {
    const char              *name;
    /* NULL: out of memory, the pipeline fails */
    void                  *(*open)(ngx_livestream_pipeline_t *p,
                                   const ngx_livestream_pipeline_conf_t *conf);
    /* 0, or an errno that fails the pipeline.  Borrowed frame. */
    int                    (*frame)(ngx_livestream_pipeline_t *p, void *ctx,
                                    ngx_livestream_frame_t *f);
    /* end of input: put out what is held back */
    int                    (*flush)(ngx_livestream_pipeline_t *p, void *ctx);
    void                   (*close)(void *ctx);
    /* wake() was called; NULL: nobody does */
    int                    (*ready)(ngx_livestream_pipeline_t *p, void *ctx);
};


/* Begins every message; allocated with malloc by the sender and freed with
 * free() after its handler ran in the event loop, or without that when the
 * pipeline is destroyed: so it owns nothing but itself.  data is the
 * creator's.  A handler may destroy any pipeline, its own included. */
typedef void (*ngx_livestream_message_pt)(void *data,
    ngx_livestream_message_t *msg);

struct ngx_livestream_message_s {
    ngx_livestream_message_t    *next;
    ngx_livestream_message_pt    handler;
    ngx_livestream_pipeline_t   *pipeline;          /* set by send() */
};


/*
 * Thread side.
 */

/* to the stage behind this one */
int ngx_livestream_pipeline_next(ngx_livestream_pipeline_t *p, void *ctx,
    ngx_livestream_frame_t *f);
void ngx_livestream_pipeline_send(ngx_livestream_pipeline_t *p,
    ngx_livestream_message_t *msg);

/* The stage has no use for frames whose dts lies before us on the timeline but
 * to keep them: they need not wake the thread.  Holds until it is said anew;
 * the thread rests if all stages do (INT64_MAX: this one always does).  It is
 * woken all the same by key frames of video, discontinuities, the end, and
 * when some seconds' worth of frames have come.  A wake-up costs more than
 * most frames do. */
void ngx_livestream_pipeline_rest(ngx_livestream_pipeline_t *p, void *ctx,
    int64_t us);


/* in open(): the stage's own of stage_conf */
const void *ngx_livestream_pipeline_stage_conf(ngx_livestream_pipeline_t *p);

/* Any thread that a stage made, while the stage is open: ready() of all stages
 * is called soon. */
void ngx_livestream_pipeline_wake(ngx_livestream_pipeline_t *p);

/* A stage that makes or leaves out tracks of video says which of them, a bit
 * each, are to come from now on; 0, as it begins, says nothing.  A track that
 * is there and no longer expected is absent until it is again. */
void ngx_livestream_pipeline_expect(ngx_livestream_pipeline_t *p,
    uint32_t tracks);
uint32_t ngx_livestream_pipeline_expected(ngx_livestream_pipeline_t *p);


/*
 * Event loop side.
 */

/* done(data, error, reason) is called once, in the event loop, after the last
 * message: error is 0 or what a stage returned, reason its words, which go
 * with the pipeline.  The thread has ended by then: destroy joins at once.
 * When a stage fails that is before finish(), and push() drops all from then
 * on. */
typedef void (*ngx_livestream_pipeline_done_pt)(void *data, int error,
    const char *reason);

ngx_livestream_pipeline_t *ngx_livestream_pipeline_create(
    const ngx_livestream_pipeline_conf_t *conf, void *data,
    ngx_livestream_pipeline_done_pt done);      /* NULL: errno says why */

/* Any time; NULL is fine.  Before done() it stops the thread without a flush;
 * messages that were not read, and done(), are not called then.  It joins, so
 * it may wait for the write that a stage is in. */
void ngx_livestream_pipeline_destroy(ngx_livestream_pipeline_t *p);

/* Takes its own reference.  0, or 1 if the frame was dropped. */
int ngx_livestream_pipeline_push(ngx_livestream_pipeline_t *p,
    ngx_livestream_frame_t *f);
/* no frame will follow; done() will be called */
void ngx_livestream_pipeline_finish(ngx_livestream_pipeline_t *p);

/* For a worker that exits without its event loop: finish, wait until the
 * thread has ended (bounded by its queue), run all messages and done(). */
void ngx_livestream_pipeline_drain(ngx_livestream_pipeline_t *p);

uint64_t ngx_livestream_pipeline_dropped(ngx_livestream_pipeline_t *p);

/* a stage's fail: its words for done()'s reason, which are copied */
void ngx_livestream_pipeline_reason(ngx_livestream_pipeline_t *p,
    const char *reason);

/* In init_process of a feature (the core's clears the table), before any
 * pipeline; the stage's number, or -1 if there are too many. */
int ngx_livestream_pipeline_add_stage(const ngx_livestream_stage_t *stage);
void ngx_livestream_pipeline_clear_stages(void);

/* the mailbox of this worker: one eventfd; call run() when it is readable */
int ngx_livestream_mailbox_open(void);          /* fd, or -1 */
void ngx_livestream_mailbox_run(void);
void ngx_livestream_mailbox_close(void);


#endif /* _NGX_LIVESTREAM_PIPELINE_H_INCLUDED_ */

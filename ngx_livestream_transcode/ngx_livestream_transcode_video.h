
/*
 * Copyright (C) nginx-livestream contributors
 *
 * The video of a ladder: what the stage, the video thread and the rungs have
 * of one another.  Pure C, no nginx type.
 */


#ifndef _NGX_LIVESTREAM_TRANSCODE_VIDEO_H_INCLUDED_
#define _NGX_LIVESTREAM_TRANSCODE_VIDEO_H_INCLUDED_


#include <pthread.h>

#include "ngx_livestream_transcode_gpu.h"


/*
 * Threads: niced, with no signals but those of their own faults.  0 or an
 * errno; the name is cut to 15 bytes.
 */

#define NGX_LIVESTREAM_TRANSCODE_NICE       5       /* video, lowest rung */
#define NGX_LIVESTREAM_TRANSCODE_NICEST     10      /* what can be missed */

int64_t ngx_livestream_transcode_now(void);     /* us, only goes forward */
int ngx_livestream_transcode_thread(pthread_t *thread, const char *name,
    int nice, void *(*run)(void *), void *data);


/*
 * A rung: an encoder in a thread of its own, and a bounded queue of pictures
 * before it.
 */

typedef struct ngx_livestream_transcode_rung_s
    ngx_livestream_transcode_rung_t;

/* emit is called in the rung's thread.  e is an encoder on a device, the
 * rung's from then on, or NULL: then one is opened for the first picture.
 * conf is copied, its preset borrowed.  NULL: errno says why. */
ngx_livestream_transcode_rung_t *ngx_livestream_transcode_rung_create(
    const ngx_livestream_transcode_encoder_conf_t *conf, const char *name,
    int nice, ngx_livestream_transcode_encoder_t *e,
    ngx_livestream_transcode_emit_pt emit, void *data);
/* stops without an end; joins; NULL is fine */
void ngx_livestream_transcode_rung_destroy(ngx_livestream_transcode_rung_t *r);

/* video thread: whether put() would not have to wait */
int ngx_livestream_transcode_rung_has_room(ngx_livestream_transcode_rung_t *r);
/* Takes the picture.  Where there is no room it is waited for, or the newest
 * one in the queue goes instead. */
void ngx_livestream_transcode_rung_put(ngx_livestream_transcode_rung_t *r,
    AVFrame *pic, const ngx_livestream_transcode_stamp_t *stamp, int wait);
/* video thread: puts out all that is queued, and ends */
void ngx_livestream_transcode_rung_finish(ngx_livestream_transcode_rung_t *r);

/* NULL, or why it has ended by itself; any thread */
const char *ngx_livestream_transcode_rung_failed(
    ngx_livestream_transcode_rung_t *r);


/*
 * Pace: whether the ladder keeps up with its source, and what is to be done
 * about it.  Pure; times are us of any clock that only goes forward.
 */

typedef struct {
    int64_t                  since;         /* of the window */
    uint32_t                 made;          /* pictures in it */
    uint32_t                 skipped;
    uint32_t                 late;          /* windows in a row that were */
    int64_t                  calm;          /* since when nothing was late */
    int64_t                  backoff;       /* us, before one is taken back */
    int64_t                  changed;       /* when a rung was shed or taken
                                               back; 0: never */
    int64_t                  taken;         /* when one was taken back */
} ngx_livestream_transcode_pace_t;

void ngx_livestream_transcode_pace_init(ngx_livestream_transcode_pace_t *pace,
    int64_t now);
/* pictures that were made and skipped since the last call */
void ngx_livestream_transcode_pace_count(
    ngx_livestream_transcode_pace_t *pace, uint32_t made, uint32_t skipped);
/* -1: shed a rung, 1: take one back, 0: neither; shed is how many are shed,
 * most how many can be */
int ngx_livestream_transcode_pace(ngx_livestream_transcode_pace_t *pace,
    int64_t now, unsigned shed, unsigned most);


/*
 * Fan: a plain picture, scaled and dealt out to the rungs.  Video thread.
 */

typedef struct ngx_livestream_transcode_fan_s  ngx_livestream_transcode_fan_t;

/* All are borrowed; emit is called in the rungs' threads.  NULL: out of
 * memory. */
ngx_livestream_transcode_fan_t *ngx_livestream_transcode_fan_create(
    ngx_livestream_pipeline_t *p, const ngx_livestream_transcode_conf_t *conf,
    ngx_livestream_transcode_emit_pt emit, void *data);
/* without an end of the rungs */
void ngx_livestream_transcode_fan_destroy(
    ngx_livestream_transcode_fan_t *fan);

/* From the next picture on: frames per 1000 s of the source; the GPU, or NULL
 * and why there is none, which is for the log and may be empty. */
void ngx_livestream_transcode_fan_rate(ngx_livestream_transcode_fan_t *fan,
    uint32_t rate);
void ngx_livestream_transcode_fan_gpu(ngx_livestream_transcode_fan_t *fan,
    ngx_livestream_transcode_gpu_t *gpu, const char *reason);

/* Borrowed picture; the stamp's dts, wall and flags are set, pts is the
 * picture's.  EAGAIN: it is not shown, as its size changes too often.  ENODEV:
 * the GPU is lost; any other error is for good, with its reason. */
int ngx_livestream_transcode_fan(ngx_livestream_transcode_fan_t *fan,
    const AVFrame *pic, const ngx_livestream_transcode_stamp_t *stamp,
    const char **reason);

/* whether the next picture is late: then rungs that have no room do without */
void ngx_livestream_transcode_fan_late(ngx_livestream_transcode_fan_t *fan,
    int late);
/* pictures that did not even come here */
void ngx_livestream_transcode_fan_missed(ngx_livestream_transcode_fan_t *fan,
    uint32_t n);

/* puts out all there is */
void ngx_livestream_transcode_fan_finish(ngx_livestream_transcode_fan_t *fan);

/* the tracks that come, a bit each */
uint32_t ngx_livestream_transcode_fan_tracks(
    ngx_livestream_transcode_fan_t *fan);


/* what the stage asks for with a source frame */
#define NGX_LIVESTREAM_TRANSCODE_IDR        0x01    /* a key frame in all
                                                       rungs */
#define NGX_LIVESTREAM_TRANSCODE_NO_CUT     0x02    /* the source has none
                                                       there */
#define NGX_LIVESTREAM_TRANSCODE_BREAK      0x04    /* the timeline or the
                                                       codec is another from
                                                       here on; a key frame */


/*
 * Lists of frames, with what is asked for with each.
 */

typedef struct ngx_livestream_transcode_link_s
    ngx_livestream_transcode_link_t;

struct ngx_livestream_transcode_link_s {
    ngx_livestream_transcode_link_t  *next;
    ngx_livestream_frame_t           *frame;
    uint32_t                          asked;
    int64_t                           at;
    int64_t                           time; /* us, when it came */
};


typedef struct {
    ngx_livestream_transcode_link_t  *first;
    ngx_livestream_transcode_link_t  *last;
    unsigned                          n;
    size_t                            bytes;
} ngx_livestream_transcode_list_t;


/* takes its own reference */
int ngx_livestream_transcode_list_append(
    ngx_livestream_transcode_list_t *list, ngx_livestream_frame_t *f,
    uint32_t asked, int64_t at, int64_t time);
/* the first one, which is the caller's then, or NULL */
ngx_livestream_frame_t *ngx_livestream_transcode_list_shift(
    ngx_livestream_transcode_list_t *list, uint32_t *asked, int64_t *at);
void ngx_livestream_transcode_list_clear(
    ngx_livestream_transcode_list_t *list);


/*
 * Reel: decodes the source and shows its pictures to the fan.  Video thread.
 */

typedef struct ngx_livestream_transcode_reel_s
    ngx_livestream_transcode_reel_t;

/* All are borrowed; gives the fan its GPU.  NULL: *reason is a static text. */
ngx_livestream_transcode_reel_t *ngx_livestream_transcode_reel_create(
    ngx_livestream_pipeline_t *p, const ngx_livestream_pipeline_conf_t *pconf,
    const ngx_livestream_transcode_conf_t *conf,
    ngx_livestream_transcode_fan_t *fan, const char **reason);
void ngx_livestream_transcode_reel_destroy(
    ngx_livestream_transcode_reel_t *r);

/* An error is for good; what is wrong with a frame is none. */
int ngx_livestream_transcode_reel_frame(ngx_livestream_transcode_reel_t *r,
    ngx_livestream_frame_t *f, uint32_t asked, int64_t at);
/* shows what is held back */
int ngx_livestream_transcode_reel_drain(ngx_livestream_transcode_reel_t *r);

const char *ngx_livestream_transcode_reel_reason(
    ngx_livestream_transcode_reel_t *r);
/* whether the source's pictures are not plain */
int ngx_livestream_transcode_reel_altered(ngx_livestream_transcode_reel_t *r);


/*
 * The video thread.
 */

typedef struct ngx_livestream_transcode_video_s
    ngx_livestream_transcode_video_t;


/* what the stage sees of it; pipeline thread */
typedef struct {
    uint32_t                 tracks;        /* that come, a bit each; 0: not
                                               known yet */
    uint32_t                 altered;       /* the source is not plain */
    int                      error;         /* it has ended */
    const char              *reason;        /* of the error; lives as long as
                                               the video */
} ngx_livestream_transcode_video_state_t;


/* Pipeline thread; both are borrowed.  NULL: errno says why. */
ngx_livestream_transcode_video_t *ngx_livestream_transcode_video_create(
    ngx_livestream_pipeline_t *p, const ngx_livestream_pipeline_conf_t *pconf,
    const ngx_livestream_transcode_conf_t *conf);
/* stops without an end; joins; NULL is fine */
void ngx_livestream_transcode_video_destroy(
    ngx_livestream_transcode_video_t *v);

/* Pipeline thread.  Takes its own reference; what does not fit is left out up
 * to the next key frame.  A key frame that is asked for is to be the first
 * picture at or behind `at`, a pts. */
int ngx_livestream_transcode_video_put(ngx_livestream_transcode_video_t *v,
    ngx_livestream_frame_t *f, uint32_t asked, int64_t at);
/* no frame will follow */
void ngx_livestream_transcode_video_finish(
    ngx_livestream_transcode_video_t *v);

/* Pipeline thread: the next encoded frame, the caller's, or NULL; with wait it
 * is waited for, and NULL is the end.  The state is that of this frame. */
ngx_livestream_frame_t *ngx_livestream_transcode_video_take(
    ngx_livestream_transcode_video_t *v, int wait,
    ngx_livestream_transcode_video_state_t *state);

/* to the event loop; any thread of the stream; printf's words */
void ngx_livestream_transcode_say(ngx_livestream_pipeline_t *p,
    ngx_livestream_transcode_message_e type, const char *fmt, ...)
    __attribute__ ((format (printf, 3, 4)));


#endif /* _NGX_LIVESTREAM_TRANSCODE_VIDEO_H_INCLUDED_ */


/*
 * Copyright (C) nginx-livestream contributors
 *
 * The video thread, between the pipeline's and those of the rungs.
 *
 *   pipeline thread                          video thread
 *   put(frame) --> in ---------------------> reel --> fan
 *   take()     <-- out <---------- rung threads <------+
 *
 * When a frame waits for longer than a second, those behind it are left out
 * up to the next key frame; a publisher's burst, soon worked off, is not.
 * What comes out is bounded by the pictures that are on their way.
 */


#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ngx_livestream_transcode_video.h"


#define NGX_LIVESTREAM_TRANSCODE_LAG      1000000       /* us, that a frame
                                                           waits */
#define NGX_LIVESTREAM_TRANSCODE_WAITING  512           /* frames of input */
#define NGX_LIVESTREAM_TRANSCODE_BYTES    (32 * 1024 * 1024)


struct ngx_livestream_transcode_video_s {
    ngx_livestream_pipeline_t              *pipeline;
    const ngx_livestream_pipeline_conf_t   *pconf;
    const ngx_livestream_transcode_conf_t  *conf;

    pthread_t                               thread;
    pthread_mutex_t                         mutex;
    pthread_cond_t                          cond;

    /* under the mutex */
    ngx_livestream_transcode_list_t         in;
    ngx_livestream_transcode_list_t         out;
    ngx_livestream_transcode_video_state_t  state;
    uint32_t                                missed;     /* left out */
    unsigned                                breaks;     /* in the input */
    unsigned                                broken:1;   /* where it drops */
    unsigned                                finish:1;
    unsigned                                stop:1;
    unsigned                                done:1;

    /* pipeline thread */
    unsigned                                dropping:1;

    /* video thread */
    ngx_livestream_transcode_fan_t         *fan;
    ngx_livestream_transcode_reel_t        *reel;
    const char                             *reason;
    char                                    text[128];  /* of the state */
};


static int ngx_livestream_transcode_emit(void *data,
    ngx_livestream_frame_t *f);
static void *ngx_livestream_transcode_video_thread(void *data);
static int ngx_livestream_transcode_video_begin(
    ngx_livestream_transcode_video_t *v);
static void ngx_livestream_transcode_video_end(
    ngx_livestream_transcode_video_t *v, int error);
static ngx_livestream_frame_t *ngx_livestream_transcode_video_get(
    ngx_livestream_transcode_video_t *v, uint32_t *asked, int64_t *at);
static void ngx_livestream_transcode_video_tell(
    ngx_livestream_transcode_video_t *v);


ngx_livestream_transcode_video_t *
ngx_livestream_transcode_video_create(ngx_livestream_pipeline_t *p,
    const ngx_livestream_pipeline_conf_t *pconf,
    const ngx_livestream_transcode_conf_t *conf)
{
    int                                err;
    ngx_livestream_transcode_video_t  *v;

    v = calloc(1, sizeof(ngx_livestream_transcode_video_t));
    if (v == NULL) {
        return NULL;
    }

    v->pipeline = p;
    v->pconf = pconf;
    v->conf = conf;

    pthread_mutex_init(&v->mutex, NULL);
    pthread_cond_init(&v->cond, NULL);

    err = ngx_livestream_transcode_thread(&v->thread, "ls-video",
                                       NGX_LIVESTREAM_TRANSCODE_NICE,
                                       ngx_livestream_transcode_video_thread,
                                       v);
    if (err) {
        pthread_mutex_destroy(&v->mutex);
        pthread_cond_destroy(&v->cond);
        free(v);
        errno = err;
        return NULL;
    }

    return v;
}


void
ngx_livestream_transcode_video_destroy(ngx_livestream_transcode_video_t *v)
{
    if (v == NULL) {
        return;
    }

    pthread_mutex_lock(&v->mutex);

    v->finish = 1;
    v->stop = 1;

    pthread_cond_broadcast(&v->cond);
    pthread_mutex_unlock(&v->mutex);

    (void) pthread_join(v->thread, NULL);

    ngx_livestream_transcode_list_clear(&v->in);
    ngx_livestream_transcode_list_clear(&v->out);

    pthread_mutex_destroy(&v->mutex);
    pthread_cond_destroy(&v->cond);

    free(v);
}


int
ngx_livestream_transcode_video_put(ngx_livestream_transcode_video_t *v,
    ngx_livestream_frame_t *f, uint32_t asked, int64_t at)
{
    int      rc;
    int64_t  now, lag;

    rc = 0;

    pthread_mutex_lock(&v->mutex);

    now = ngx_livestream_transcode_now();
    lag = v->in.first ? now - v->in.first->time : 0;

    if (lag > NGX_LIVESTREAM_TRANSCODE_LAG
        || v->in.n == NGX_LIVESTREAM_TRANSCODE_WAITING
        || v->in.bytes > NGX_LIVESTREAM_TRANSCODE_BYTES)
    {
        v->dropping = 1;

    } else if ((f->flags & NGX_LIVESTREAM_FRAME_KEY)
               && lag < NGX_LIVESTREAM_TRANSCODE_LAG / 2)
    {
        v->dropping = 0;
    }

    if (asked & NGX_LIVESTREAM_TRANSCODE_BREAK) {
        v->broken = 1;
        v->state.altered = 0;
    }

    if (v->dropping || v->done) {
        v->missed++;

    } else {
        if (v->broken) {
            v->broken = 0;
            v->breaks++;
            asked |= NGX_LIVESTREAM_TRANSCODE_BREAK;
        }

        rc = ngx_livestream_transcode_list_append(&v->in, f, asked, at, now);
        pthread_cond_broadcast(&v->cond);
    }

    pthread_mutex_unlock(&v->mutex);

    return rc;
}


void
ngx_livestream_transcode_video_finish(ngx_livestream_transcode_video_t *v)
{
    pthread_mutex_lock(&v->mutex);

    v->finish = 1;

    pthread_cond_broadcast(&v->cond);
    pthread_mutex_unlock(&v->mutex);
}


ngx_livestream_frame_t *
ngx_livestream_transcode_video_take(ngx_livestream_transcode_video_t *v,
    int wait, ngx_livestream_transcode_video_state_t *state)
{
    int64_t                  at;
    uint32_t                 asked;
    ngx_livestream_frame_t  *f;

    pthread_mutex_lock(&v->mutex);

    while (wait && v->out.first == NULL && !v->done) {
        pthread_cond_wait(&v->cond, &v->mutex);
    }

    f = ngx_livestream_transcode_list_shift(&v->out, &asked, &at);
    *state = v->state;

    pthread_mutex_unlock(&v->mutex);

    return f;
}


/* runs in the rungs' threads */

static int
ngx_livestream_transcode_emit(void *data, ngx_livestream_frame_t *f)
{
    ngx_livestream_transcode_video_t *v = data;

    int  rc;

    pthread_mutex_lock(&v->mutex);

    rc = ngx_livestream_transcode_list_append(&v->out, f, 0, 0, 0);

    /* a rung that is new may be faster than who tells of it */

    if (v->state.tracks) {
        v->state.tracks |= 1U << f->track;
    }

    pthread_cond_broadcast(&v->cond);
    pthread_mutex_unlock(&v->mutex);

    ngx_livestream_pipeline_wake(v->pipeline);

    return rc;
}


/* runs in the video thread, as all that follows */

static void *
ngx_livestream_transcode_video_thread(void *data)
{
    ngx_livestream_transcode_video_t *v = data;

    int                      rc;
    int64_t                  at;
    uint32_t                 asked;
    ngx_livestream_frame_t  *f;

    rc = ngx_livestream_transcode_video_begin(v);

    while (rc == 0) {

        f = ngx_livestream_transcode_video_get(v, &asked, &at);
        if (f == NULL) {
            break;
        }

        rc = ngx_livestream_transcode_reel_frame(v->reel, f, asked, at);

        ngx_livestream_frame_unref(f);
        ngx_livestream_transcode_video_tell(v);
    }

    ngx_livestream_transcode_video_end(v, rc);

    return NULL;
}


static int
ngx_livestream_transcode_video_begin(ngx_livestream_transcode_video_t *v)
{
    v->fan = ngx_livestream_transcode_fan_create(v->pipeline, v->conf,
                                                ngx_livestream_transcode_emit,
                                                v);
    if (v->fan == NULL) {
        v->reason = "out of memory";
        return ENOMEM;
    }

    v->reel = ngx_livestream_transcode_reel_create(v->pipeline, v->pconf,
                                                   v->conf, v->fan,
                                                   &v->reason);

    return v->reel ? 0 : ENODEV;
}


static void
ngx_livestream_transcode_video_end(ngx_livestream_transcode_video_t *v,
    int error)
{
    int  stop;

    pthread_mutex_lock(&v->mutex);
    stop = v->stop;
    pthread_mutex_unlock(&v->mutex);

    if (error == 0 && !stop) {
        error = ngx_livestream_transcode_reel_drain(v->reel);
    }

    if (error == 0 && !stop) {
        ngx_livestream_transcode_fan_finish(v->fan);
    }

    if (v->reel) {
        v->reason = ngx_livestream_transcode_reel_reason(v->reel);
    }

    /* it may be a GPU's own text, which goes with the reel */

    if (error && v->reason) {
        (void) snprintf(v->text, sizeof(v->text), "%s", v->reason);
    }

    if (v->reel) {
        ngx_livestream_transcode_reel_destroy(v->reel);
    }

    if (v->fan) {
        ngx_livestream_transcode_fan_destroy(v->fan);
    }

    pthread_mutex_lock(&v->mutex);

    v->state.error = error;
    v->state.reason = v->text;
    v->done = 1;

    pthread_cond_broadcast(&v->cond);
    pthread_mutex_unlock(&v->mutex);

    ngx_livestream_pipeline_wake(v->pipeline);
}


static ngx_livestream_frame_t *
ngx_livestream_transcode_video_get(ngx_livestream_transcode_video_t *v,
    uint32_t *asked, int64_t *at)
{
    int                      late;
    int64_t                  lag;
    uint32_t                 missed;
    ngx_livestream_frame_t  *f;

    pthread_mutex_lock(&v->mutex);

    while (v->in.first == NULL && !v->finish) {
        pthread_cond_wait(&v->cond, &v->mutex);
    }

    f = NULL;
    late = 0;

    lag = v->in.first
          ? ngx_livestream_transcode_now() - v->in.first->time : 0;

    /* who is late at the end does not keep a worker from exiting */

    if (v->finish && lag > NGX_LIVESTREAM_TRANSCODE_LAG) {
        ngx_livestream_transcode_list_clear(&v->in);
    }

    if (v->in.first && !v->stop) {
        late = lag > NGX_LIVESTREAM_TRANSCODE_LAG / 2;

        f = ngx_livestream_transcode_list_shift(&v->in, asked, at);

        if (*asked & NGX_LIVESTREAM_TRANSCODE_BREAK) {
            v->breaks--;
        }
    }

    missed = v->missed;
    v->missed = 0;

    pthread_mutex_unlock(&v->mutex);

    ngx_livestream_transcode_fan_late(v->fan, late);

    if (missed) {
        ngx_livestream_transcode_fan_missed(v->fan, missed);
    }

    return f;
}


/* what the stage is to know */

static void
ngx_livestream_transcode_video_tell(ngx_livestream_transcode_video_t *v)
{
    uint32_t  tracks, altered, changed;

    tracks = ngx_livestream_transcode_fan_tracks(v->fan);
    altered = ngx_livestream_transcode_reel_altered(v->reel);

    pthread_mutex_lock(&v->mutex);

    /* what is to come may be another source */

    if (v->breaks || v->broken) {
        altered = 0;
    }

    changed = (tracks != v->state.tracks || altered != v->state.altered);

    v->state.tracks = tracks;
    v->state.altered = altered;

    pthread_mutex_unlock(&v->mutex);

    if (changed) {
        ngx_livestream_pipeline_wake(v->pipeline);
    }
}

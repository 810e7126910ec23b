
/*
 * Copyright (C) nginx-livestream contributors
 *
 * A rung: an encoder in a thread of its own.
 *
 *   video thread                         rung thread
 *   put() --> queue[put % n] ........... queue[get % n] --> encoder --> emit
 *
 * The queue is some pictures deep.  When it is full the video thread waits, if
 * it has the time: a publisher's burst then loses nothing.  If it has not, the
 * picture is left out, so that a rung which is too slow loses pictures and
 * nothing else.
 *
 * The encoder is opened for the first picture, whose colours it is to carry,
 * and in this thread: it takes a while.
 */


#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "ngx_livestream_transcode_video.h"


#define NGX_LIVESTREAM_TRANSCODE_QUEUE  12      /* pictures */


typedef struct {
    AVFrame                          *pic;
    ngx_livestream_transcode_stamp_t  stamp;
} ngx_livestream_transcode_queued_t;


struct ngx_livestream_transcode_rung_s {
    ngx_livestream_transcode_encoder_conf_t  conf;
    ngx_livestream_transcode_encoder_t      *encoder;   /* the thread's */
    ngx_livestream_transcode_emit_pt         emit;
    void                                    *data;

    pthread_t                                thread;
    pthread_mutex_t                          mutex;
    pthread_cond_t                           cond;

    /* under the mutex */
    unsigned                                 put;
    unsigned                                 get;
    unsigned                                 finish:1;
    unsigned                                 stop:1;
    const char                              *failed;
    ngx_livestream_transcode_queued_t        queue[
                                              NGX_LIVESTREAM_TRANSCODE_QUEUE];
};


static void *ngx_livestream_transcode_rung_thread(void *data);
static int ngx_livestream_transcode_rung_get(
    ngx_livestream_transcode_rung_t *r, ngx_livestream_transcode_queued_t *q);
static const char *ngx_livestream_transcode_rung_encode(
    ngx_livestream_transcode_rung_t *r, ngx_livestream_transcode_queued_t *q);
static void ngx_livestream_transcode_rung_ask(
    ngx_livestream_transcode_rung_t *r, unsigned stop);


#define ngx_livestream_transcode_slot(r, n)                                  \
    (&(r)->queue[(n) % NGX_LIVESTREAM_TRANSCODE_QUEUE])


ngx_livestream_transcode_rung_t *
ngx_livestream_transcode_rung_create(
    const ngx_livestream_transcode_encoder_conf_t *conf, const char *name,
    int nice, ngx_livestream_transcode_encoder_t *e,
    ngx_livestream_transcode_emit_pt emit, void *data)
{
    int                               err;
    ngx_livestream_transcode_rung_t  *r;

    r = calloc(1, sizeof(ngx_livestream_transcode_rung_t));
    if (r == NULL) {
        return NULL;
    }

    r->conf = *conf;
    r->encoder = e;
    r->emit = emit;
    r->data = data;

    pthread_mutex_init(&r->mutex, NULL);
    pthread_cond_init(&r->cond, NULL);

    err = ngx_livestream_transcode_thread(&r->thread, name, nice,
                                        ngx_livestream_transcode_rung_thread,
                                        r);
    if (err) {
        pthread_mutex_destroy(&r->mutex);
        pthread_cond_destroy(&r->cond);
        free(r);
        errno = err;
        return NULL;
    }

    return r;
}


void
ngx_livestream_transcode_rung_destroy(ngx_livestream_transcode_rung_t *r)
{
    if (r == NULL) {
        return;
    }

    ngx_livestream_transcode_rung_ask(r, 1);

    (void) pthread_join(r->thread, NULL);

    while (r->get != r->put) {
        av_frame_free(&ngx_livestream_transcode_slot(r, r->get)->pic);
        r->get++;
    }

    pthread_mutex_destroy(&r->mutex);
    pthread_cond_destroy(&r->cond);

    free(r);
}


/* waits for the thread as well: what it has emitted comes before the end */

void
ngx_livestream_transcode_rung_finish(ngx_livestream_transcode_rung_t *r)
{
    ngx_livestream_transcode_rung_ask(r, 0);

    pthread_mutex_lock(&r->mutex);

    while (!r->stop) {
        pthread_cond_wait(&r->cond, &r->mutex);
    }

    pthread_mutex_unlock(&r->mutex);
}


static void
ngx_livestream_transcode_rung_ask(ngx_livestream_transcode_rung_t *r,
    unsigned stop)
{
    pthread_mutex_lock(&r->mutex);

    r->finish = 1;
    r->stop |= stop;

    pthread_cond_broadcast(&r->cond);
    pthread_mutex_unlock(&r->mutex);
}


int
ngx_livestream_transcode_rung_has_room(ngx_livestream_transcode_rung_t *r)
{
    int  room;

    pthread_mutex_lock(&r->mutex);
    room = (r->put - r->get < NGX_LIVESTREAM_TRANSCODE_QUEUE);
    pthread_mutex_unlock(&r->mutex);

    return room;
}


void
ngx_livestream_transcode_rung_put(ngx_livestream_transcode_rung_t *r,
    AVFrame *pic, const ngx_livestream_transcode_stamp_t *stamp, int wait)
{
    AVFrame                            *late;
    ngx_livestream_transcode_queued_t  *q;
    ngx_livestream_transcode_stamp_t    st;

    st = *stamp;
    late = NULL;

    pthread_mutex_lock(&r->mutex);

    while (wait && !r->stop
           && r->put - r->get == NGX_LIVESTREAM_TRANSCODE_QUEUE)
    {
        pthread_cond_wait(&r->cond, &r->mutex);
    }

    if (r->put - r->get == NGX_LIVESTREAM_TRANSCODE_QUEUE) {
        q = ngx_livestream_transcode_slot(r, --r->put);
        late = q->pic;

        /* a break is not left out with its picture */

        st.idr |= q->stamp.idr;
        st.flags |= q->stamp.flags & NGX_LIVESTREAM_FRAME_DISCONTINUITY;
    }

    q = ngx_livestream_transcode_slot(r, r->put++);
    q->pic = pic;
    q->stamp = st;

    pthread_cond_broadcast(&r->cond);
    pthread_mutex_unlock(&r->mutex);

    av_frame_free(&late);
}


const char *
ngx_livestream_transcode_rung_failed(ngx_livestream_transcode_rung_t *r)
{
    const char  *reason;

    pthread_mutex_lock(&r->mutex);
    reason = r->failed;
    pthread_mutex_unlock(&r->mutex);

    return reason;
}


/* runs in the rung's thread, as all that follows */

static void *
ngx_livestream_transcode_rung_thread(void *data)
{
    ngx_livestream_transcode_rung_t *r = data;

    const char                        *reason;
    ngx_livestream_transcode_queued_t  q;

    reason = NULL;

    while (reason == NULL && ngx_livestream_transcode_rung_get(r, &q)) {
        reason = ngx_livestream_transcode_rung_encode(r, &q);
        av_frame_free(&q.pic);
    }

    if (r->encoder) {

        if (reason == NULL
            && ngx_livestream_transcode_encode(r->encoder, NULL, NULL, r->emit,
                                               r->data)
               != 0)
        {
            reason = "the encoder failed at its end";
        }

        ngx_livestream_transcode_encoder_close(r->encoder);
    }

    pthread_mutex_lock(&r->mutex);

    r->failed = reason;
    r->stop = 1;

    pthread_cond_broadcast(&r->cond);
    pthread_mutex_unlock(&r->mutex);

    return NULL;
}


static int
ngx_livestream_transcode_rung_get(ngx_livestream_transcode_rung_t *r,
    ngx_livestream_transcode_queued_t *q)
{
    int  got;

    pthread_mutex_lock(&r->mutex);

    while (r->get == r->put && !r->finish) {
        pthread_cond_wait(&r->cond, &r->mutex);
    }

    got = (r->get != r->put && !r->stop);

    if (got) {
        *q = *ngx_livestream_transcode_slot(r, r->get++);
        pthread_cond_broadcast(&r->cond);
    }

    pthread_mutex_unlock(&r->mutex);

    return got;
}


static const char *
ngx_livestream_transcode_rung_encode(ngx_livestream_transcode_rung_t *r,
    ngx_livestream_transcode_queued_t *q)
{
    const char  *reason;

    if (r->encoder == NULL) {
        r->encoder = ngx_livestream_transcode_encoder_open(&r->conf, q->pic,
                                                           &reason);
        if (r->encoder == NULL) {
            return reason;
        }
    }

    if (ngx_livestream_transcode_encode(r->encoder, q->pic, &q->stamp, r->emit,
                                        r->data)
        != 0)
    {
        return "the encoder failed";
    }

    return NULL;
}

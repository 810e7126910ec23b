
/*
 * Copyright (C) nginx-livestream contributors
 *
 * What the tests of pipelines and of the mailbox share: stages that do in the
 * thread what each test asks of them, and an event loop.
 */


#ifndef _PIPELINE_TEST_H_INCLUDED_
#define _PIPELINE_TEST_H_INCLUDED_


#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include "ngx_livestream_pipeline.h"
#include "tap.h"


#define PATIENCE  20000     /* ms, for what must happen */


/* what a stage does, by the id that its pipeline has */
typedef struct {
    ngx_livestream_pipeline_conf_t   conf;
    ngx_livestream_pipeline_t       *p;

    /* thread: set before it begins */
    int                              fail_open;
    int                              fail_frame;    /* at the nth */
    int                              fail_flush;
    int                              fail_ready;
    const char                      *reason;
    int                              messages;      /* a frame */
    int                              helpers;       /* threads that send */
    int64_t                          rest;          /* us */
    int                              doze;          /* frames at a time */
    sem_t                           *gate;          /* waited for a frame */

    /* thread */
    int                              frames;
    int64_t                          first;
    int64_t                          after_drop;    /* dts after a hole */
    int                              disorder;
    int                              broken;        /* DISCONTINUITY seen */
    int                              flushed;
    int                              closed;
    int                              passed;        /* second stage */
    int                              sent;          /* atomic */
    int                              opened;        /* atomic */
    int                              seen;          /* atomic, frames */
    int                              readied;       /* atomic */
    char                             name[16];
    int                              blocked;       /* SIGTERM is */
    pthread_t                        threads[4];

    /* loop */
    int                              received;
    int                              last;
    int                              unordered;
    int                              done;
    int                              error;
    char                             why[128];
    int                              destroy_at;    /* the nth message */
    int                              drain_at;
    int                              destroy_done;
} test_t;


typedef struct {
    ngx_livestream_message_t         msg;
    int                              number;
    int                              helper;
} message_t;


static int                      fd;
static ngx_livestream_codec_t  *video_codec, *audio_codec;


static inline test_t *
test_of(const ngx_livestream_pipeline_conf_t *conf)
{
    return (test_t *) conf;
}


static inline void on_message(void *data, ngx_livestream_message_t *msg);


static inline void
send_one(test_t *t, int helper)
{
    message_t  *m;

    m = malloc(sizeof(message_t));
    if (m == NULL) {
        abort();
    }

    m->msg.handler = on_message;
    m->number = __atomic_add_fetch(&t->sent, 1, __ATOMIC_RELAXED);
    m->helper = helper;

    ngx_livestream_pipeline_send(t->p, &m->msg);
}


static inline void *
helper(void *data)
{
    int      i;
    test_t  *t = data;

    for (i = 0; i < 500; i++) {
        send_one(t, 1);
    }

    return NULL;
}


/* the first stage: counts, fails, sends, waits */

static inline void *
one_open(ngx_livestream_pipeline_t *p,
    const ngx_livestream_pipeline_conf_t *conf)
{
    int       i;
    test_t   *t = test_of(conf);
    sigset_t  set;

    t->p = p;

    pthread_getname_np(pthread_self(), t->name, sizeof(t->name));
    pthread_sigmask(SIG_BLOCK, NULL, &set);
    t->blocked = sigismember(&set, SIGTERM);

    __atomic_store_n(&t->opened, 1, __ATOMIC_RELEASE);

    if (t->fail_open) {
        if (t->reason) {
            ngx_livestream_pipeline_reason(p, t->reason);
        }

        errno = t->fail_open;
        return NULL;
    }

    if (t->rest) {
        ngx_livestream_pipeline_rest(p, t, t->rest);
    }

    for (i = 0; i < t->helpers; i++) {
        pthread_create(&t->threads[i], NULL, helper, t);
    }

    return t;
}


static inline int
one_frame(ngx_livestream_pipeline_t *p, void *ctx, ngx_livestream_frame_t *f)
{
    int      i;
    test_t  *t = ctx;

    if (t->gate) {
        while (sem_wait(t->gate) == -1) { /* void */ }
    }

    if (t->doze) {
        ngx_livestream_pipeline_rest(p, t,
                      ngx_livestream_ticks_to_us(f->dts + t->doze, 90000));
    }

    __atomic_store_n(&t->seen, t->frames + 1, __ATOMIC_RELEASE);

    if (t->frames == 0) {
        t->first = f->dts;

    } else if (f->dts <= t->first) {
        t->disorder++;

    } else {
        if (f->dts != t->first + 1 && t->after_drop == 0) {
            t->after_drop = f->dts;
        }

        t->first = f->dts;
    }

    t->frames++;

    if (f->flags & NGX_LIVESTREAM_FRAME_DISCONTINUITY) {
        t->broken++;
    }

    for (i = 0; i < t->messages; i++) {
        send_one(t, 0);
    }

    if (t->fail_frame && t->frames == t->fail_frame) {
        if (t->reason) {
            ngx_livestream_pipeline_reason(p, t->reason);
        }

        return ENOSPC;
    }

    return ngx_livestream_pipeline_next(p, ctx, f);
}


static inline int
one_flush(ngx_livestream_pipeline_t *p, void *ctx)
{
    int                      rc;
    test_t                  *t = ctx;
    ngx_livestream_frame_t  *f;

    t->flushed++;

    if (t->fail_flush) {
        return EIO;
    }

    /* what an encoder holds back */
    f = ngx_livestream_frame_create(video_codec, 10);
    rc = ngx_livestream_pipeline_next(p, ctx, f);
    ngx_livestream_frame_unref(f);

    return rc;
}


static inline void
one_close(void *ctx)
{
    int      i;
    test_t  *t = ctx;

    for (i = 0; i < t->helpers; i++) {
        pthread_join(t->threads[i], NULL);
    }

    t->closed++;
}


/* the second stage: counts what comes through */

static inline void *
two_open(ngx_livestream_pipeline_t *p,
    const ngx_livestream_pipeline_conf_t *conf)
{
    int  *passed = &test_of(conf)->passed;

    ngx_livestream_pipeline_rest(p, passed, INT64_MAX);

    return passed;
}


static inline int
two_frame(ngx_livestream_pipeline_t *p, void *ctx, ngx_livestream_frame_t *f)
{
    int  *passed = ctx;

    (*passed)++;

    /* there is none behind */
    return ngx_livestream_pipeline_next(p, ctx, f);
}


static inline int
two_flush(ngx_livestream_pipeline_t *p, void *ctx)
{
    (void) p;
    (void) ctx;

    return 0;
}


static inline void
two_close(void *ctx)
{
    (void) ctx;
}


static inline int
one_ready(ngx_livestream_pipeline_t *p, void *ctx)
{
    test_t  *t = ctx;

    (void) p;

    __atomic_add_fetch(&t->readied, 1, __ATOMIC_RELAXED);

    return t->fail_ready;
}


static const ngx_livestream_stage_t  one = {
    "one", one_open, one_frame, one_flush, one_close, one_ready
};

static const ngx_livestream_stage_t  two = {
    "two", two_open, two_frame, two_flush, two_close, NULL
};


/* the event loop's side */

static inline void
on_message(void *data, ngx_livestream_message_t *msg)
{
    test_t     *t = data;
    message_t  *m = (message_t *) msg;

    t->received++;

    if (!m->helper) {
        if (m->number <= t->last) {
            t->unordered++;
        }

        t->last = m->number;
    }

    if (t->done) {
        t->unordered++;
    }

    if (t->drain_at && t->received == t->drain_at) {
        ngx_livestream_pipeline_drain(t->p);
    }

    if (t->destroy_at && t->received == t->destroy_at) {
        ngx_livestream_pipeline_destroy(t->p);
        t->p = NULL;
    }
}


static inline void
on_done(void *data, int error, const char *reason)
{
    test_t  *t = data;

    t->done++;
    t->error = error;
    (void) snprintf(t->why, sizeof(t->why), "%s", reason);

    if (t->destroy_done) {
        ngx_livestream_pipeline_destroy(t->p);
        t->p = NULL;
    }
}


static inline void
create(test_t *t)
{
    ngx_livestream_pipeline_t  *p;

    t->conf.id = "01234567-89ab";

    p = ngx_livestream_pipeline_create(&t->conf, t, on_done);

    if (p == NULL) {
        printf("Bail out! no pipeline: %s\n", strerror(errno));
        exit(1);
    }

    /* a stage may have set it by now, to the same */
    while (!__atomic_load_n(&t->opened, __ATOMIC_ACQUIRE)) {
        sched_yield();
    }
}


static inline ngx_livestream_frame_t *
frame(int track, int64_t dts, uint32_t flags, size_t size)
{
    ngx_livestream_frame_t  *f;

    f = ngx_livestream_frame_create(track ? audio_codec : video_codec, size);
    if (f == NULL) {
        abort();
    }

    f->track = track;
    f->dts = dts;
    f->flags = flags;
    memset(f->data, track, size);

    return f;
}


static inline int
push(test_t *t, int track, int64_t dts, uint32_t flags)
{
    int                      rc;
    ngx_livestream_frame_t  *f;

    f = frame(track, dts, flags, 100);
    rc = ngx_livestream_pipeline_push(t->p, f);
    ngx_livestream_frame_unref(f);

    return rc;
}


/* an event loop that waits for done() */

static inline int
loop(test_t *t)
{
    int            rc;
    struct pollfd  pfd;

    pfd.fd = fd;
    pfd.events = POLLIN;

    while (!t->done) {
        rc = poll(&pfd, 1, PATIENCE);

        if (rc == 0) {
            return -1;
        }

        ngx_livestream_mailbox_run();
    }

    return 0;
}


/* until the thread has sent n messages, or has been waiting long for room */

static inline void
await_sent(test_t *t, int n)
{
    int  i;

    for (i = 0; i < PATIENCE; i++) {
        if (__atomic_load_n(&t->sent, __ATOMIC_RELAXED) >= n) {
            return;
        }

        usleep(1000);
    }
}


static inline int
await_seen(test_t *t, int n)
{
    int  i;

    for (i = 0; i < PATIENCE; i++) {
        if (__atomic_load_n(&t->seen, __ATOMIC_ACQUIRE) >= n) {
            break;
        }

        usleep(1000);
    }

    return __atomic_load_n(&t->seen, __ATOMIC_ACQUIRE);
}


static inline int
await_readied(test_t *t, int n)
{
    int  i;

    for (i = 0; i < PATIENCE; i++) {
        if (__atomic_load_n(&t->readied, __ATOMIC_ACQUIRE) >= n) {
            break;
        }

        usleep(1000);
    }

    return __atomic_load_n(&t->readied, __ATOMIC_ACQUIRE);
}


static inline ngx_livestream_codec_t *
codec(ngx_livestream_media_e media)
{
    ngx_livestream_codec_t  *c;

    c = calloc(1, sizeof(ngx_livestream_codec_t));
    if (c == NULL) {
        abort();
    }

    c->refs = 1;
    c->media = media;
    c->timescale = 90000;

    return c;
}


/* the mailbox, the codecs and both stages; then there is nothing left */

static inline void
begin(void)
{
    fd = ngx_livestream_mailbox_open();

    video_codec = codec(NGX_LIVESTREAM_VIDEO);
    audio_codec = codec(NGX_LIVESTREAM_AUDIO);

    (void) ngx_livestream_pipeline_add_stage(&one);
    (void) ngx_livestream_pipeline_add_stage(&two);
}


static inline int
end(void)
{
    ngx_livestream_mailbox_close();

    tap_is(video_codec->refs, 1, "no frame of video is left");
    tap_is(audio_codec->refs, 1, "nor of audio");

    ngx_livestream_codec_unref(video_codec);
    ngx_livestream_codec_unref(audio_codec);

    return tap_done();
}


#endif /* _PIPELINE_TEST_H_INCLUDED_ */


/*
 * Copyright (C) nginx-livestream contributors
 *
 * Tests of frames, pipelines and the mailbox.  The program is the event loop;
 * the stages below do in the thread what each test asks of them.
 */


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
    char                             name[16];
    int                              blocked;       /* SIGTERM is */
    pthread_t                        threads[4];

    /* loop */
    int                              received;
    int                              last;
    int                              unordered;
    int                              done;
    int                              error;
    const char                      *why;
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


static test_t *
test_of(const ngx_livestream_pipeline_conf_t *conf)
{
    return (test_t *) conf;
}


static void on_message(void *data, ngx_livestream_message_t *msg);


static void
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


static void *
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

static void *
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


static int
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


static int
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


static void
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

static void *
two_open(ngx_livestream_pipeline_t *p,
    const ngx_livestream_pipeline_conf_t *conf)
{
    int  *passed = &test_of(conf)->passed;

    ngx_livestream_pipeline_rest(p, passed, INT64_MAX);

    return passed;
}


static int
two_frame(ngx_livestream_pipeline_t *p, void *ctx, ngx_livestream_frame_t *f)
{
    int  *passed = ctx;

    (*passed)++;

    /* there is none behind */
    return ngx_livestream_pipeline_next(p, ctx, f);
}


static int
two_flush(ngx_livestream_pipeline_t *p, void *ctx)
{
    (void) p;
    (void) ctx;

    return 0;
}


static void
two_close(void *ctx)
{
    (void) ctx;
}


static const ngx_livestream_stage_t  one = {
    "one", one_open, one_frame, one_flush, one_close
};

static const ngx_livestream_stage_t  two = {
    "two", two_open, two_frame, two_flush, two_close
};


/* the event loop's side */

static void
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


static void
on_done(void *data, int error, const char *reason)
{
    test_t  *t = data;

    t->done++;
    t->error = error;
    t->why = reason;

    if (t->destroy_done) {
        ngx_livestream_pipeline_destroy(t->p);
        t->p = NULL;
    }
}


static void
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


static ngx_livestream_frame_t *
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


static int
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

static int
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

static void
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


static void
test_frame(void)
{
    uint32_t                 refs;
    ngx_livestream_frame_t  *f;

    refs = video_codec->refs;

    f = ngx_livestream_frame_create(video_codec, 5);
    tap_ok(f && f->size == 5 && f->refs == 1 && f->codec == video_codec
           && f->dts == 0 && f->flags == 0, "a frame is made");
    tap_is(video_codec->refs, refs + 1, "it holds its codec");
    tap_ok(ngx_livestream_frame_ref(f) == f && f->refs == 2, "a reference");

    ngx_livestream_frame_unref(f);
    tap_is(video_codec->refs, refs + 1, "one is left");
    ngx_livestream_frame_unref(f);
    tap_is(video_codec->refs, refs, "none is: the codec is let go");

    ngx_livestream_frame_unref(NULL);
    tap_ok(ngx_livestream_frame_create(video_codec, SIZE_MAX) == NULL,
           "an absurd size is out of memory");
    tap_is(video_codec->refs, refs, "and holds no codec");
}


static void
test_plain(void)
{
    int     i, dropped;
    test_t  t = { .messages = 2 };

    create(&t);
    tap_str(t.name, "ls-01234567-89a", "the thread has its stream's name");
    tap_ok(t.blocked, "and no signals");

    dropped = 0;

    for (i = 0; i < 200; i++) {
        dropped += push(&t, i & 1, i + 1, NGX_LIVESTREAM_FRAME_KEY);
    }

    ngx_livestream_pipeline_finish(t.p);
    ngx_livestream_pipeline_finish(t.p);

    tap_is(loop(&t), 0, "it ends");
    tap_is(dropped, 0, "no frame was dropped");
    tap_is(t.frames, 200, "all frames came");
    tap_is(t.disorder, 0, "in order");
    tap_is(t.received, 400, "all messages came");
    tap_is(t.unordered, 0, "in order, done() last");
    tap_is(t.done, 1, "done() once");
    tap_is(t.error, 0, "no error");
    tap_str(t.why, "", "nor a reason");
    tap_is(t.passed, 201, "the second stage had what the first flushed too");
    tap_is(t.closed, 1, "closed");
    tap_is(push(&t, 0, 1000, 1), 1, "after that all is dropped");

    ngx_livestream_pipeline_drain(t.p);
    ngx_livestream_pipeline_destroy(t.p);
}


static void
test_full(void)
{
    int     i, n, dropped;
    sem_t   gate;
    test_t  t = { .gate = &gate };

    sem_init(&gate, 0, 0);
    create(&t);

    /* the thread holds one frame and cannot go on */

    for (i = 1; i <= NGX_LIVESTREAM_PIPELINE_FRAMES; i++) {
        if (push(&t, 0, i, i == 1 ? NGX_LIVESTREAM_FRAME_KEY : 0)) {
            break;
        }
    }

    tap_is(i, NGX_LIVESTREAM_PIPELINE_FRAMES + 1, "the ring takes all it has");

    dropped = 0;

    for ( /* void */ ; i <= NGX_LIVESTREAM_PIPELINE_FRAMES + 100; i++) {
        dropped += push(&t, 0, i, i % 50 ? 0 : NGX_LIVESTREAM_FRAME_KEY);
    }

    /* the one that the thread took may have left room for one more */
    tap_ok(dropped == 100 || dropped == 99, "then it drops");

    dropped += push(&t, 1, i++, NGX_LIVESTREAM_FRAME_KEY
                                |NGX_LIVESTREAM_FRAME_DISCONTINUITY);

    for (n = 0; n < NGX_LIVESTREAM_PIPELINE_FRAMES; n++) {
        sem_post(&gate);
    }

    for (n = 0; n < PATIENCE; n++) {
        if (push(&t, 0, i, NGX_LIVESTREAM_FRAME_KEY) == 0) {
            break;
        }

        i++;
        dropped++;
        usleep(1000);
    }

    i++;
    tap_is(push(&t, 1, i++, NGX_LIVESTREAM_FRAME_KEY), 0,
           "after a key frame audio passes again");
    tap_is(push(&t, 0, i++, 0), 0, "and video");

    tap_is(ngx_livestream_pipeline_dropped(t.p), dropped, "all are counted");

    for (n = 0; n < 10; n++) {
        sem_post(&gate);
    }

    ngx_livestream_pipeline_finish(t.p);
    tap_is(loop(&t), 0, "it ends");
    tap_is(t.disorder, 0, "in order");
    tap_is(t.broken, 1, "a discontinuity outlives the frame that carried it");
    tap_ok(t.after_drop > NGX_LIVESTREAM_PIPELINE_FRAMES, "there is one hole");

    ngx_livestream_pipeline_destroy(t.p);
    sem_destroy(&gate);
}


/* one pushes no key frame, the other no audio */

static void
test_reopen(void)
{
    int     i, n, rc;
    sem_t   gate;
    test_t  t = { .gate = &gate };

    sem_init(&gate, 0, 0);
    create(&t);

    for (i = 1; i <= NGX_LIVESTREAM_PIPELINE_FRAMES + 2; i++) {
        (void) push(&t, 1, i, NGX_LIVESTREAM_FRAME_KEY);
    }

    tap_ok(ngx_livestream_pipeline_dropped(t.p) > 0, "audio alone is dropped");

    for (n = 0; n < 2 * NGX_LIVESTREAM_PIPELINE_FRAMES; n++) {
        sem_post(&gate);
    }

    for (n = 0; n < PATIENCE; n++) {
        rc = push(&t, 1, ++i, NGX_LIVESTREAM_FRAME_KEY);
        if (rc == 0) {
            break;
        }

        usleep(1000);
    }

    tap_is(rc, 0, "and passes again without a picture");

    ngx_livestream_pipeline_destroy(t.p);
    sem_destroy(&gate);
}


static void
test_bytes(void)
{
    int                      i, rc;
    sem_t                    gate;
    test_t                   t = { .gate = &gate };
    ngx_livestream_frame_t  *f;

    sem_init(&gate, 0, 0);
    create(&t);

    f = frame(0, 1, NGX_LIVESTREAM_FRAME_KEY, 1024 * 1024);

    for (i = 0; i < 100; i++) {
        f->dts = i + 1;

        if (ngx_livestream_pipeline_push(t.p, f)) {
            break;
        }
    }

    tap_ok(i * f->size >= NGX_LIVESTREAM_PIPELINE_BYTES
           && i * f->size <= NGX_LIVESTREAM_PIPELINE_BYTES + f->size,
           "bytes are bounded, too");

    ngx_livestream_frame_unref(f);

    f = frame(0, 1, NGX_LIVESTREAM_FRAME_KEY,
              NGX_LIVESTREAM_PIPELINE_BYTES + 1);
    rc = ngx_livestream_pipeline_push(t.p, f);
    tap_is(rc, 1, "a frame beyond all bounds is dropped");
    ngx_livestream_frame_unref(f);

    for (i = 0; i < 100; i++) {
        sem_post(&gate);
    }

    ngx_livestream_pipeline_destroy(t.p);
    tap_is(t.done, 0, "destroyed with a full ring, without done()");
    tap_is(t.flushed, 0, "and without a flush");
    tap_is(t.closed, 1, "but closed");
    sem_destroy(&gate);
}


static void
test_messages(void)
{
    int     i;
    test_t  t = { .messages = 100 };

    create(&t);

    for (i = 1; i <= 20; i++) {
        (void) push(&t, 0, i, 0);
    }

    await_sent(&t, NGX_LIVESTREAM_PIPELINE_MESSAGES + 1);
    usleep(20000);

    /* one more is in the sender's hands */
    tap_is(__atomic_load_n(&t.sent, __ATOMIC_RELAXED),
           NGX_LIVESTREAM_PIPELINE_MESSAGES + 1,
           "unread messages are bounded");

    ngx_livestream_pipeline_finish(t.p);
    tap_is(loop(&t), 0, "it ends");
    tap_is(t.received, 2000, "all come in the end");
    tap_is(t.unordered, 0, "in order");

    ngx_livestream_pipeline_destroy(t.p);

    memset(&t, 0, sizeof(test_t));
    t.messages = 1000;
    create(&t);
    (void) push(&t, 0, 1, 0);
    await_sent(&t, NGX_LIVESTREAM_PIPELINE_MESSAGES + 1);
    ngx_livestream_pipeline_destroy(t.p);
    tap_ok(t.received == 0 && t.done == 0 && t.closed == 1,
           "destroyed while it waits for room");

    ngx_livestream_mailbox_run();
    tap_is(t.received, 0, "its messages went with it");
}


static int
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


static void
test_rest(void)
{
    int     i, n;
    test_t  t = { .rest = 1000000 };

    create(&t);

    for (n = 1; n <= 200; n++) {
        (void) push(&t, 1, n, NGX_LIVESTREAM_FRAME_KEY);
    }

    usleep(50000);
    tap_is(__atomic_load_n(&t.seen, __ATOMIC_ACQUIRE), 0,
           "frames that no stage waits for wake nobody");

    (void) push(&t, 1, 90000, NGX_LIVESTREAM_FRAME_KEY);
    tap_is(await_seen(&t, n), n, "the one that it waits for does");

    /* it has not said anything new: all wake it */
    (void) push(&t, 1, 90001, NGX_LIVESTREAM_FRAME_KEY);
    tap_is(await_seen(&t, n + 1), n + 1, "and those behind it");

    ngx_livestream_pipeline_destroy(t.p);

    memset(&t, 0, sizeof(test_t));
    t.rest = INT64_MAX;
    create(&t);

    (void) push(&t, 0, 1, 0);
    (void) push(&t, 1, 2, NGX_LIVESTREAM_FRAME_KEY);
    (void) push(&t, 0, 3, NGX_LIVESTREAM_FRAME_KEY);
    tap_is(await_seen(&t, 3), 3, "a key frame of video wakes");

    (void) push(&t, 1, 4, NGX_LIVESTREAM_FRAME_DISCONTINUITY);
    tap_is(await_seen(&t, 4), 4, "a discontinuity wakes");

    for (i = 5; i < 5 + 256; i++) {
        (void) push(&t, 1, i, NGX_LIVESTREAM_FRAME_KEY);
    }

    tap_is(await_seen(&t, i - 1), i - 1, "many frames wake");

    (void) push(&t, 1, i, 0);
    ngx_livestream_pipeline_finish(t.p);
    tap_is(loop(&t), 0, "the end wakes");
    tap_is(t.frames, i, "and nothing is lost");
    tap_is(t.disorder, 0, "in order");

    ngx_livestream_pipeline_destroy(t.p);

    /* sleeps after each frame until the third one behind it */

    memset(&t, 0, sizeof(test_t));
    t.doze = 3;
    create(&t);

    for (i = 1; i <= 50000; i++) {
        (void) push(&t, 1, i, NGX_LIVESTREAM_FRAME_KEY);

        for (n = 0; n < 1000; n++) {
            if (__atomic_load_n(&t.seen, __ATOMIC_ACQUIRE) >= i - 2) {
                break;
            }
        }

        if (n == 1000 && await_seen(&t, i - 2) < i - 2) {
            break;
        }
    }

    tap_is(i, 50001, "no wake-up is lost");

    ngx_livestream_pipeline_destroy(t.p);
}


static void
test_failures(void)
{
    int     i;
    test_t  t = { .fail_open = EACCES, .reason = "no folder" };

    create(&t);
    tap_is(loop(&t), 0, "a stage that does not open ends the pipeline");
    tap_is(t.error, EACCES, "with errno");
    tap_str(t.why, "no folder", "and its words");
    tap_is(t.closed, 0, "it is not closed");
    tap_is(push(&t, 0, 1, 1), 1, "frames are dropped");
    ngx_livestream_pipeline_finish(t.p);
    ngx_livestream_mailbox_run();
    tap_is(t.done, 1, "finish() after that changes nothing");
    ngx_livestream_pipeline_destroy(t.p);

    memset(&t, 0, sizeof(test_t));
    t.fail_frame = 10;
    create(&t);

    for (i = 1; i <= 100; i++) {
        (void) push(&t, 0, i, 1);
    }

    tap_is(loop(&t), 0, "a stage that fails ends it before finish()");
    tap_is(t.error, ENOSPC, "with what it returned");
    tap_str(t.why, "one", "and its name, if it said no more");
    tap_is(t.frames, 10, "no frame follows");
    tap_is(t.flushed, 0, "nor a flush");
    tap_is(t.closed, 1, "it is closed");
    ngx_livestream_pipeline_destroy(t.p);

    memset(&t, 0, sizeof(test_t));
    t.fail_flush = 1;
    create(&t);
    ngx_livestream_pipeline_finish(t.p);
    tap_is(loop(&t), 0, "a flush that fails");
    tap_is(t.error, EIO, "with what it returned");
    tap_is(t.closed, 1, "it is closed");
    ngx_livestream_pipeline_destroy(t.p);
}


static void
test_destroy(void)
{
    int                         i;
    test_t                      t, u;
    ngx_livestream_pipeline_t  *p;

    for (i = 0; i < 100; i++) {
        memset(&t, 0, sizeof(test_t));
        p = ngx_livestream_pipeline_create(&t.conf, &t, on_done);
        ngx_livestream_pipeline_destroy(p);
    }

    ngx_livestream_mailbox_run();
    tap_ok(1, "destroyed right after it was created");

    memset(&t, 0, sizeof(test_t));
    t.destroy_done = 1;
    create(&t);
    ngx_livestream_pipeline_finish(t.p);
    tap_is(loop(&t), 0, "destroyed by done()");

    memset(&t, 0, sizeof(test_t));
    t.messages = 50;
    t.destroy_at = 7;
    create(&t);
    (void) push(&t, 0, 1, 1);
    await_sent(&t, 50);
    ngx_livestream_mailbox_run();
    ngx_livestream_mailbox_run();
    tap_ok(t.p == NULL && t.received == 7 && t.done == 0,
           "destroyed by a message's handler");

    memset(&t, 0, sizeof(test_t));
    memset(&u, 0, sizeof(test_t));
    t.messages = 10;
    t.destroy_at = 3;
    u.messages = 10;
    create(&t);
    create(&u);
    (void) push(&t, 0, 1, 1);
    (void) push(&u, 0, 1, 1);
    await_sent(&t, 10);
    await_sent(&u, 10);
    ngx_livestream_pipeline_finish(u.p);
    tap_is(loop(&u), 0, "another one goes on");
    tap_is(u.received, 10, "with all of its messages");
    tap_is(t.received, 3, "the first had three");
    ngx_livestream_pipeline_destroy(u.p);
    ngx_livestream_pipeline_destroy(NULL);
}


static void
test_drain(void)
{
    int     i;
    test_t  t, u;

    memset(&t, 0, sizeof(test_t));
    memset(&u, 0, sizeof(test_t));
    t.messages = 30;
    u.messages = 30;
    t.destroy_done = 1;
    create(&t);
    create(&u);

    for (i = 1; i <= 100; i++) {
        (void) push(&t, 0, i, 1);
        (void) push(&u, 0, i, 1);
    }

    ngx_livestream_pipeline_drain(t.p);

    tap_is(t.frames, 100, "a drained pipeline has seen all of its frames");
    tap_is(t.received, 3000, "and we all of its messages");
    tap_is(t.done, 1, "and done(), which destroyed it");

    ngx_livestream_pipeline_drain(u.p);
    tap_is(u.received, 3000, "the other is drained");
    ngx_livestream_pipeline_destroy(u.p);

    memset(&t, 0, sizeof(test_t));
    t.messages = 30;
    t.drain_at = 5;
    t.destroy_done = 1;
    create(&t);

    for (i = 1; i <= 100; i++) {
        (void) push(&t, 0, i, 1);
    }

    ngx_livestream_pipeline_drain(t.p);
    tap_is(t.received, 3000, "drained from within a drain");
    tap_is(t.unordered, 0, "in order");
    tap_is(t.done, 1, "done() once");

    memset(&t, 0, sizeof(test_t));
    t.messages = 30;
    t.destroy_at = 5;
    create(&t);

    for (i = 1; i <= 100; i++) {
        (void) push(&t, 0, i, 1);
    }

    ngx_livestream_pipeline_drain(t.p);
    tap_ok(t.received == 5 && t.done == 0, "destroyed from within a drain");
}


static void
test_many(void)
{
    int      i, n, round, frames, received, done, bad, dropped;
    test_t  *t;

    n = 24;

    t = calloc(n, sizeof(test_t));
    if (t == NULL) {
        abort();
    }

    for (i = 0; i < n; i++) {
        t[i].messages = i % 4;
        t[i].helpers = i % 3;
        create(&t[i]);
    }

    dropped = 0;

    for (round = 1; round <= 500; round++) {
        for (i = 0; i < n; i++) {
            dropped += push(&t[i], round & 1, round,
                            round % 60 ? 0 : NGX_LIVESTREAM_FRAME_KEY);
        }

        if (round % 100 == 0) {
            ngx_livestream_mailbox_run();
        }
    }

    for (i = 0; i < n; i += 2) {
        ngx_livestream_pipeline_finish(t[i].p);
    }

    bad = 0;

    for (i = 0; i < n; i += 2) {
        bad += loop(&t[i]) != 0;
    }

    tap_is(bad, 0, "half of the pipelines end");

    for (i = 1; i < n; i += 2) {
        ngx_livestream_pipeline_drain(t[i].p);
    }

    frames = 0;
    received = 0;
    done = 0;

    for (i = 0; i < n; i++) {
        frames += t[i].frames;
        done += t[i].done;
        received += t[i].received
                    == t[i].frames * t[i].messages + 500 * t[i].helpers;
        bad += t[i].unordered + t[i].disorder + t[i].error;
        ngx_livestream_pipeline_destroy(t[i].p);
    }

    tap_is(done, n, "all ended");
    tap_is(frames, 500 * n - dropped, "all frames came");
    tap_is(received, n, "all messages came, from helpers as well");
    tap_is(bad, 0, "in order");

    free(t);
}


static void
test_limits(void)
{
    int     i;
    test_t  t;

    memset(&t, 0, sizeof(test_t));

    errno = 0;
    tap_ok(ngx_livestream_pipeline_create(&t.conf, &t, on_done) == NULL
           && errno == EBADF, "no pipeline without a mailbox");

    for (i = 0; i < NGX_LIVESTREAM_PIPELINE_STAGES; i++) {
        if (ngx_livestream_pipeline_add_stage(&one) != 0) {
            break;
        }
    }

    tap_is(i, NGX_LIVESTREAM_PIPELINE_STAGES, "so many stages");
    tap_is(ngx_livestream_pipeline_add_stage(&one), -1, "not one more");
    ngx_livestream_pipeline_clear_stages();

    fd = ngx_livestream_mailbox_open();
    tap_ok(fd != -1, "the mailbox is open");
    tap_is(ngx_livestream_mailbox_open(), fd, "there is but one");
    ngx_livestream_mailbox_run();

    /* no stage at all */

    t.p = ngx_livestream_pipeline_create(&t.conf, &t, on_done);

    for (i = 1; i < 100; i++) {
        (void) push(&t, 0, i, 1);
    }

    ngx_livestream_pipeline_finish(t.p);
    tap_is(loop(&t), 0, "a pipeline without stages swallows its frames");
    ngx_livestream_pipeline_destroy(t.p);
}


static ngx_livestream_codec_t *
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


int
main(void)
{
    video_codec = codec(NGX_LIVESTREAM_VIDEO);
    audio_codec = codec(NGX_LIVESTREAM_AUDIO);

    test_frame();
    test_limits();

    (void) ngx_livestream_pipeline_add_stage(&one);
    (void) ngx_livestream_pipeline_add_stage(&two);

    test_plain();
    test_full();
    test_reopen();
    test_bytes();
    test_messages();
    test_rest();
    test_failures();
    test_destroy();
    test_drain();
    test_many();

    ngx_livestream_mailbox_close();

    tap_is(video_codec->refs, 1, "no frame of video is left");
    tap_is(audio_codec->refs, 1, "nor of audio");

    ngx_livestream_codec_unref(video_codec);
    ngx_livestream_codec_unref(audio_codec);

    return tap_done();
}

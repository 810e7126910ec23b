
/*
 * Copyright (C) nginx-livestream contributors
 *
 * Tests of pipelines: what goes in, what is dropped, what fails.
 */


#include "pipeline_test.h"


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
        if (ngx_livestream_pipeline_add_stage(&one) != i) {
            break;
        }
    }

    tap_is(i, NGX_LIVESTREAM_PIPELINE_STAGES, "so many stages, numbered");
    tap_is(ngx_livestream_pipeline_add_stage(&one), -1, "not one more");
    ngx_livestream_pipeline_clear_stages();
}


static void
test_no_stages(void)
{
    int     i;
    test_t  t;

    memset(&t, 0, sizeof(test_t));

    tap_ok(fd != -1, "the mailbox is open");
    tap_is(ngx_livestream_mailbox_open(), fd, "there is but one");
    ngx_livestream_mailbox_run();

    ngx_livestream_pipeline_clear_stages();

    t.p = ngx_livestream_pipeline_create(&t.conf, &t, on_done);

    for (i = 1; i < 100; i++) {
        (void) push(&t, 0, i, 1);
    }

    ngx_livestream_pipeline_finish(t.p);
    tap_is(loop(&t), 0, "a pipeline without stages swallows its frames");
    ngx_livestream_pipeline_destroy(t.p);

    (void) ngx_livestream_pipeline_add_stage(&one);
    (void) ngx_livestream_pipeline_add_stage(&two);
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


/* a stage's own thread has something for it, and no frame comes */

static void
test_wake(void)
{
    int     i;
    test_t  t = { .rest = INT64_MAX };

    create(&t);

    for (i = 0; i < 100; i++) {
        ngx_livestream_pipeline_wake(t.p);
    }

    tap_ok(await_readied(&t, 1) >= 1, "a stage is told that it was woken");

    ngx_livestream_pipeline_finish(t.p);
    tap_is(loop(&t), 0, "it ends");
    ngx_livestream_pipeline_destroy(t.p);

    memset(&t, 0, sizeof(test_t));
    t.fail_ready = EIO;
    create(&t);

    ngx_livestream_pipeline_wake(t.p);

    tap_is(loop(&t), 0, "it may fail then");
    tap_is(t.error, EIO, "with its error");
    tap_is(t.flushed, 0, "and is not flushed");
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


int
main(void)
{
    test_limits();

    begin();

    test_no_stages();
    test_plain();
    test_wake();
    test_full();
    test_reopen();
    test_bytes();
    test_rest();
    test_failures();

    return end();
}

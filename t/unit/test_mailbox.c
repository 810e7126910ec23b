
/*
 * Copyright (C) nginx-livestream contributors
 *
 * Tests of the mailbox: messages of many threads, and handlers that destroy or
 * drain the pipelines that they are of.
 */


#include "pipeline_test.h"


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


int
main(void)
{
    begin();

    test_messages();
    test_destroy();
    test_drain();
    test_many();

    return end();
}

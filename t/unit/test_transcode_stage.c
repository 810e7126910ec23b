
/*
 * Copyright (C) nginx-livestream contributors
 *
 * Tests of the ladder as a whole: a source goes into a pipeline whose only
 * other stage collects what comes out of the transcoder.
 */


#ifndef _GNU_SOURCE
#define _GNU_SOURCE             /* pthread_setattr_default_np() */
#endif

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

#include "ngx_livestream_transcode.h"
#include "tap.h"


#define PATIENCE   30000        /* ms, for what must happen */
#define FRAMES     2000
#define TRACKS     6
#define TICKS      3000         /* of a frame of 30 a second */


typedef struct {
    int64_t                            pts;
    int64_t                            dts;
    uint32_t                           flags;
    uint32_t                           width;
    uint64_t                           hash;
} seen_t;


typedef struct {
    ngx_livestream_pipeline_conf_t     conf;
    ngx_livestream_transcode_conf_t    ladder;
    ngx_livestream_pipeline_t         *p;

    /* thread */
    int                                n[TRACKS];   /* atomic */
    seen_t                             seen[TRACKS][FRAMES];
    uint32_t                           expected;    /* atomic */

    /* loop */
    int                                done;
    int                                error;
    char                               text[4][256];
} test_t;


static int  fd;


/* the stage behind the transcoder */

static void *
collect_open(ngx_livestream_pipeline_t *p,
    const ngx_livestream_pipeline_conf_t *conf)
{
    (void) p;

    return (void *) conf;
}


static int
collect_frame(ngx_livestream_pipeline_t *p, void *ctx,
    ngx_livestream_frame_t *f)
{
    int      n;
    test_t  *t = ctx;
    seen_t  *s;

    n = t->n[f->track];

    if (f->track < TRACKS && n < FRAMES) {
        s = &t->seen[f->track][n];

        s->pts = f->pts;
        s->dts = f->dts;
        s->flags = f->flags;
        s->width = f->codec->width;
        s->hash = f->codec->hash;
    }

    __atomic_store_n(&t->expected, ngx_livestream_pipeline_expected(p),
                     __ATOMIC_RELEASE);
    __atomic_store_n(&t->n[f->track], n + 1, __ATOMIC_RELEASE);

    return 0;
}


static int
collect_flush(ngx_livestream_pipeline_t *p, void *ctx)
{
    (void) p;
    (void) ctx;

    return 0;
}


static void
collect_close(void *ctx)
{
    (void) ctx;
}


static const ngx_livestream_stage_t  collect = {
    "collect", collect_open, collect_frame, collect_flush, collect_close, NULL
};


/* the event loop */

void
ngx_livestream_transcode_message(void *data, ngx_livestream_message_t *msg)
{
    test_t                              *t = data;
    ngx_livestream_transcode_message_t  *m;

    m = (ngx_livestream_transcode_message_t *) msg;

    printf("# %u: %s\n", m->type, m->text);

    if (m->type < 4) {
        memcpy(t->text[m->type], m->text, sizeof(m->text));
    }
}


static void
on_done(void *data, int error, const char *reason)
{
    test_t  *t = data;

    t->done = 1;
    t->error = error;

    if (error) {
        printf("# %s\n", reason);
    }
}


static void
turn(void)
{
    struct pollfd  pfd;

    pfd.fd = fd;
    pfd.events = POLLIN;

    if (poll(&pfd, 1, 1) > 0) {
        ngx_livestream_mailbox_run();
    }
}


static test_t *
create(unsigned nrungs)
{
    test_t  *t;

    static const ngx_livestream_transcode_rung_conf_t  rungs[] = {
        { "180p", 320, 180, 300000 },
        { "90p", 160, 90, 100000 }
    };

    t = calloc(1, sizeof(test_t));
    if (t == NULL) {
        abort();
    }

    t->conf.root = "/nonexistent";
    t->conf.id = "01234567-89ab";
    t->conf.broadcast = "b";
    t->conf.segment_duration = 6000000;
    t->conf.frame_rate = 30000;
    t->conf.stage_conf[0] = &t->ladder;

    t->ladder.enabled = (nrungs != 0);
    t->ladder.codec = NGX_LIVESTREAM_CODEC_H264;
    t->ladder.audio_codec = NGX_LIVESTREAM_CODEC_AAC;
    t->ladder.audio_bitrate = 128000;
    t->ladder.keyframe_interval = 1000000;
    t->ladder.nrungs = nrungs;

    strcpy(t->ladder.preset, "ultrafast");
    memcpy(t->ladder.rungs, rungs, nrungs * sizeof(rungs[0]));

    t->p = ngx_livestream_pipeline_create(&t->conf, t, on_done);
    if (t->p == NULL) {
        printf("Bail out! no pipeline: %s\n", strerror(errno));
        exit(1);
    }

    return t;
}


static void
finish(test_t *t)
{
    int  i;

    ngx_livestream_pipeline_finish(t->p);

    for (i = 0; i < PATIENCE && !t->done; i++) {
        turn();
    }

    tap_ok(t->done, "it ends");
    ngx_livestream_pipeline_destroy(t->p);
}


/* a source: an encoder of the suite's own, whose frames are let through */

typedef struct {
    ngx_livestream_transcode_encoder_t  *e;
    uint32_t                             width;
    uint32_t                             height;
    ngx_livestream_frame_t              *frame;
} source_t;


static int
source_emit(void *data, ngx_livestream_frame_t *f)
{
    source_t  *s = data;

    s->frame = ngx_livestream_frame_ref(f);

    return 0;
}


static AVFrame *
picture(uint32_t width, uint32_t height, int64_t n)
{
    int       i, x, y;
    AVFrame  *pic;

    pic = av_frame_alloc();

    pic->format = AV_PIX_FMT_YUV420P;
    pic->width = width;
    pic->height = height;
    pic->pts = n * TICKS;

    if (av_frame_get_buffer(pic, 0) < 0) {
        abort();
    }

    for (i = 0; i < 3; i++) {
        for (y = 0; y < (int) (i ? height / 2 : height); y++) {
            for (x = 0; x < (int) (i ? width / 2 : width); x++) {
                pic->data[i][y * pic->linesize[i] + x] = x + y * 2 + n * 3;
            }
        }
    }

    return pic;
}


static ngx_livestream_frame_t *
source_frame(source_t *s, int64_t n, int key, int64_t delay)
{
    AVFrame                                  *pic;
    const char                               *reason;
    ngx_livestream_transcode_stamp_t          stamp;
    ngx_livestream_transcode_encoder_conf_t   conf;

    pic = picture(s->width, s->height, n);

    if (s->e == NULL) {
        memset(&conf, 0, sizeof(conf));

        conf.codec = NGX_LIVESTREAM_CODEC_H264;
        conf.preset = "ultrafast";
        conf.width = s->width;
        conf.height = s->height;
        conf.bitrate = 400000;
        conf.rate = 30000;
        conf.threads = 1;

        s->e = ngx_livestream_transcode_encoder_open(&conf, pic, &reason);
        if (s->e == NULL) {
            printf("Bail out! no source: %s\n", reason);
            exit(1);
        }
    }

    memset(&stamp, 0, sizeof(stamp));

    stamp.pts = pic->pts;
    stamp.dts = pic->pts - delay;
    stamp.idr = key;
    stamp.wall = 1000;

    s->frame = NULL;

    if (ngx_livestream_transcode_encode(s->e, pic, &stamp, source_emit, s)
        || s->frame == NULL)
    {
        abort();
    }

    av_frame_free(&pic);

    return s->frame;
}


static void
push(test_t *t, ngx_livestream_frame_t *f)
{
    (void) ngx_livestream_pipeline_push(t->p, f);
    ngx_livestream_frame_unref(f);
}


/* n frames from the nth, a key frame each gop; lock-step with the last rung,
 * as a camera would be */

static void
run(test_t *t, source_t *s, int64_t from, int n, int gop, unsigned leader)
{
    int  i, j, want;

    want = __atomic_load_n(&t->n[leader], __ATOMIC_ACQUIRE);

    for (i = 0; i < n; i++) {
        push(t, source_frame(s, from + i, i % gop == 0, 2 * TICKS));
        want++;

        for (j = 0; j < PATIENCE; j++) {
            if (__atomic_load_n(&t->n[leader], __ATOMIC_ACQUIRE) >= want - 20)
            {
                break;
            }

            turn();
        }
    }
}


static void
source_close(source_t *s)
{
    ngx_livestream_transcode_encoder_close(s->e);
    s->e = NULL;
}


static int
keys(test_t *t, unsigned track, uint32_t without)
{
    int  i, n;

    n = 0;

    for (i = 0; i < t->n[track]; i++) {
        n += (t->seen[track][i].flags & NGX_LIVESTREAM_FRAME_KEY)
             && !(t->seen[track][i].flags & without);
    }

    return n;
}


/* where the tracks have what frames */

static void
aligned(test_t *t, unsigned a, unsigned b, const char *what)
{
    int      i, bad;
    seen_t  *x, *y;

    bad = 0;

    for (i = 0; i < t->n[a] && i < t->n[b]; i++) {
        x = &t->seen[a][i];
        y = &t->seen[b][i];

        bad += x->pts != y->pts || x->dts != y->dts
               || (x->flags & NGX_LIVESTREAM_FRAME_KEY)
                  != (y->flags & NGX_LIVESTREAM_FRAME_KEY);
    }

    tap_is(bad, 0, "%s: the same dts, pts and key frames", what);
    tap_is(t->n[a], t->n[b], "%s: as many frames", what);
}


static void
test_beside_source(void)
{
    test_t    *t;
    source_t   s = { NULL, 320, 180, NULL };

    t = create(2);
    run(t, &s, 10, 120, 30, 3);
    finish(t);

    tap_is(t->error, 0, "no error");
    tap_is(t->n[0], 120, "the source is let through");
    tap_is(t->expected, 0x0d, "three tracks are expected");
    tap_is(keys(t, 2, 0), 4, "a key frame for each of the source's");
    tap_is(t->seen[3][0].width, 160, "a rung is of its size");
    aligned(t, 0, 2, "source and 180p");
    aligned(t, 2, 3, "180p and 90p");

    source_close(&s);
    free(t);
}


static void
test_far_key_frames(void)
{
    int        i, bad;
    test_t    *t;
    source_t   s = { NULL, 320, 180, NULL };

    t = create(2);
    run(t, &s, 10, 300, 1000, 3);
    finish(t);

    tap_is(t->expected, 0x0c, "a source without key frames is left out");
    tap_ok(t->n[0] < 191, "a segment's length of it has come through: %d",
           t->n[0]);
    tap_is(t->n[3], 300, "the rungs have all");
    aligned(t, 2, 3, "180p and 90p");

    bad = 0;

    for (i = 191; i < 300; i++) {
        bad += ((t->seen[2][i].flags & NGX_LIVESTREAM_FRAME_NO_CUT) != 0);
    }

    tap_is(bad, 0, "then all of its key frames are for cuts");
    tap_ok(keys(t, 2, NGX_LIVESTREAM_FRAME_NO_CUT) >= 4, "there are some");

    source_close(&s);
    free(t);
}


static void
test_break(void)
{
    test_t                  *t;
    source_t                 s = { NULL, 320, 180, NULL };
    source_t                 small = { NULL, 160, 90, NULL };
    ngx_livestream_frame_t  *f;

    t = create(2);
    run(t, &s, 10, 45, 30, 3);

    f = source_frame(&s, 100, 0, 2 * TICKS);
    f->flags |= NGX_LIVESTREAM_FRAME_DISCONTINUITY;
    push(t, f);

    run(t, &s, 101, 30, 30, 3);

    tap_is(__atomic_load_n(&t->expected, __ATOMIC_ACQUIRE), 0x0d,
           "source and both rungs");

    run(t, &small, 200, 30, 30, 3);
    finish(t);

    tap_is(t->expected, 0x09, "a smaller source has fewer rungs");
    tap_is(t->n[3], 105, "the lowest one has all frames");
    tap_is(t->n[2], 75, "the other one those of its source");
    tap_is(t->seen[3][45].pts, 101 * TICKS,
           "behind a break it goes on at a key frame");
    tap_is(t->seen[3][45].flags, NGX_LIVESTREAM_FRAME_KEY
                                 |NGX_LIVESTREAM_FRAME_DISCONTINUITY,
           "which is a discontinuity");
    tap_is(t->seen[3][75].flags, NGX_LIVESTREAM_FRAME_KEY
                                 |NGX_LIVESTREAM_FRAME_DISCONTINUITY,
           "as is the first one of another source");

    source_close(&s);
    source_close(&small);
    free(t);
}


static void
test_corrupt(void)
{
    int                      i, n;
    size_t                   j;
    test_t                  *t;
    source_t                 s = { NULL, 320, 180, NULL };
    ngx_livestream_frame_t  *f;

    t = create(1);
    run(t, &s, 0, 30, 30, 2);

    for (i = 30; i < 330; i++) {
        f = source_frame(&s, i, i % 3 == 0, 2 * TICKS);

        for (j = 8; j < f->size; j++) {
            f->data[j] = j * 31 + i;
        }

        push(t, f);
        turn();
    }

    n = __atomic_load_n(&t->n[2], __ATOMIC_ACQUIRE);

    run(t, &s, 330, 30, 30, 2);
    finish(t);

    tap_is(t->error, 0, "a hundred corrupt groups of pictures in a row");
    tap_ok(t->n[2] >= n + 30, "it goes on behind them");
    tap_is(t->seen[2][t->n[2] - 1].pts, 359 * TICKS, "to the last picture");
    tap_ok(strstr(t->text[NGX_LIVESTREAM_TRANSCODE_WARN],
                  "could not be decoded") != NULL, "they were counted");

    source_close(&s);
    free(t);
}


static void
test_destroyed(void)
{
    int        i;
    test_t    *t;
    source_t   s = { NULL, 320, 180, NULL };

    for (i = 0; i < 10; i++) {
        t = create(2);

        if (i) {
            run(t, &s, 100 * i, i * 3, 30, 3);
        }

        ngx_livestream_pipeline_destroy(t->p);
        free(t);
    }

    tap_ok(1, "it is stopped at any time");
    source_close(&s);
}


/* too small for any rung, and with far fewer key frames than segments */

static void
test_failed(void)
{
    test_t                  *t;
    source_t                 s = { NULL, 16, 16, NULL };
    ngx_livestream_frame_t  *f;

    t = create(2);
    run(t, &s, 10, 250, 1000, 0);

    f = source_frame(&s, 300, 0, 2 * TICKS);
    f->flags |= NGX_LIVESTREAM_FRAME_DISCONTINUITY;
    push(t, f);

    finish(t);

    tap_is(t->error, 0, "a ladder that fails is no error");
    tap_is(t->n[0], 251, "the source is let through then");
    tap_is(t->n[2] + t->n[3], 0, "alone");
    tap_is(t->expected, 1, "and is what is expected");
    tap_is(t->seen[0][250].flags, NGX_LIVESTREAM_FRAME_DISCONTINUITY,
           "with what is said of its timeline");

    source_close(&s);
    free(t);
}


/* a machine that has no more threads: none has room for such a stack */

static void
test_no_thread(void)
{
    int                      i;
    test_t                  *t;
    source_t                 s = { NULL, 320, 180, NULL };
    pthread_attr_t           usual, huge;
    ngx_livestream_frame_t  *f;

    (void) pthread_getattr_default_np(&usual);
    (void) pthread_getattr_default_np(&huge);
    (void) pthread_attr_setstacksize(&huge, (size_t) 1 << 46);

    t = create(2);
    f = source_frame(&s, 0, 1, 0);

    (void) pthread_setattr_default_np(&huge);

    push(t, f);

    for (i = 0; i < PATIENCE; i++) {
        if (__atomic_load_n(&t->n[0], __ATOMIC_ACQUIRE)) {
            break;
        }

        turn();
    }

    (void) pthread_setattr_default_np(&usual);

    run(t, &s, 1, 30, 30, 0);
    finish(t);

    tap_is(t->error, 0, "a machine without more threads is no error");
    tap_is(t->n[0], 31, "the source is let through then");
    tap_is(t->n[3], 0, "alone");

    source_close(&s);
    free(t);

    (void) pthread_attr_destroy(&usual);
    (void) pthread_attr_destroy(&huge);
}


static void
test_off(void)
{
    test_t    *t;
    source_t   s = { NULL, 320, 180, NULL };

    t = create(0);
    run(t, &s, 0, 30, 30, 0);
    finish(t);

    tap_is(t->n[0], 30, "without a ladder a source is let through");
    tap_is(t->expected, 0, "and nothing is said of tracks");

    source_close(&s);
    free(t);
}


int
main(void)
{
    av_log_set_level(AV_LOG_QUIET);

    fd = ngx_livestream_mailbox_open();

    (void) ngx_livestream_pipeline_add_stage(&ngx_livestream_transcode_stage);
    (void) ngx_livestream_pipeline_add_stage(&collect);

    test_beside_source();
    test_far_key_frames();
    test_break();
    test_corrupt();
    test_destroyed();
    test_failed();
    test_no_thread();
    test_off();

    ngx_livestream_mailbox_close();

    return tap_done();
}

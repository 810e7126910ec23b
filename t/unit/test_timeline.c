
/*
 * Copyright (C) nginx-livestream contributors
 *
 * Tests of the timeline: each is a publisher with one bad habit.
 */


#include <stdlib.h>

#include "ngx_livestream_frame.h"
#include "ngx_livestream_timeline.h"
#include "tap.h"


#define VIDEO   0
#define AUDIO   1

#define START   INT64_C(1700000000000000)

#define MS_90K  90


/* a frame as it was put out */
typedef struct {
    int      broken;
    int64_t  dts;
    int64_t  pts;
} out_t;


static ngx_livestream_timeline_t  tl;
static int64_t                    clock_us;


static void
begin(int64_t start)
{
    ngx_livestream_timeline_init(&tl, start);
    clock_us = START;
}


static out_t
video(uint32_t ts, int32_t cts)
{
    out_t  o;

    o.broken = ngx_livestream_timeline_add(&tl, VIDEO, 90000, ts, cts, 0, 0,
                                           clock_us, &o.dts, &o.pts);
    return o;
}


static out_t
audio(uint32_t ts)
{
    out_t  o;

    o.broken = ngx_livestream_timeline_add(&tl, AUDIO, 48000, ts, 0, 0, 1024,
                                           clock_us, &o.dts, &o.pts);
    return o;
}


static int64_t
video_us(out_t o)
{
    return ngx_livestream_ticks_to_us(o.dts, 90000);
}


static int64_t
audio_us(out_t o)
{
    return ngx_livestream_ticks_to_us(o.dts, 48000);
}


static void
test_plain(void)
{
    int      i, ok, broken;
    out_t    v, a;
    int64_t  prev;

    begin(0);

    v = video(5000, 66);
    tap_is(v.dts, 0, "the first frame is at 0, wherever its timestamp is");
    tap_is(v.pts, 66 * MS_90K, "its pts is later by the composition offset");
    tap_is(v.broken, 0, "it breaks nothing");
    tap_is(tl.wall, START, "timeline 0 is now");

    ok = 1;
    broken = 0;
    prev = 0;

    for (i = 1; i < 300; i++) {
        v = video(5000 + i * 100 / 3, 0);
        ok &= v.dts == (int64_t) (i * 100 / 3) * MS_90K && v.dts > prev;
        broken += v.broken;
        prev = v.dts;
    }

    tap_ok(ok && !broken, "29.97 fps goes on by its timestamps");

    begin(0);
    ok = 1;

    for (i = 0; i < 50000; i++) {
        a = audio((uint32_t) (i * 1024 * INT64_C(1000) / 48000));
        ok &= a.dts == (int64_t) i * 1024 && !a.broken;
    }

    tap_ok(ok, "audio alone is counted in samples");
}


static void
test_lip_sync(void)
{
    out_t  v, a;

    begin(0);
    v = video(1000, 0);
    a = audio(1010);
    tap_is(audio_us(a) - video_us(v), 10000, "audio 10 ms behind stays so");

    begin(0);
    (void) video(1000, 0);
    a = audio(900);
    tap_is(a.dts, 0, "audio before the first picture starts the timeline");
    v = video(1033, 0);
    tap_is(video_us(v), 133000, "and the picture moves on to keep lip sync");

    begin(0);
    (void) audio(1000);
    v = video(900, 0);
    a = audio(1021);
    tap_is(audio_us(a) - video_us(v), 121333,
           "so does audio, though it is counted");

    begin(0);
    (void) video(0, 0);
    a = audio(2900);
    tap_is(audio_us(a), 2900000, "audio 2.9 s ahead is believed");

    begin(0);
    (void) video(0, 0);
    (void) video(33, 0);
    a = audio(5000);
    v = video(66, 0);
    tap_is(audio_us(a), 33000, "audio 5 s ahead is put where the video is");
    tap_ok(!a.broken && !v.broken, "and breaks nothing");
    a = audio(5021);
    tap_ok(!a.broken && audio_us(a) == 33000 + 21333,
           "nor does it when it goes on");

    begin(0);
    (void) video(0, 0);
    (void) video(60000, 0);
    a = audio(60010);
    tap_is(a.dts, tl.tracks[VIDEO].pos / 1000 * 48 + 480,
           "audio that starts a minute later is in sync");
}


/* both directions, both tracks */

static void
test_wrap(void)
{
    int       i, ok;
    out_t     v, a;
    uint32_t  ts;

    begin(0);
    ts = 0xffffffff - 500;

    ok = 1;

    for (i = 0; i < 100; i++) {
        v = video(ts + i * 40, 0);
        a = audio(ts + i * 40);
        ok &= !v.broken && !a.broken && v.dts == (int64_t) i * 40 * MS_90K;
        ok &= llabs(audio_us(a) - (int64_t) i * 40000) <= 40000;
    }

    tap_ok(ok, "timestamps wrap at 2^32 ms");

    begin(0);
    (void) video(0xfffffff0, 0);
    v = video(0x10, 0);
    a = audio(0xfffffff8);
    tap_is(video_us(v), 32000, "past the wrap");
    tap_is(audio_us(a), 8000, "the other track is still before it");
    tap_ok(!v.broken && !a.broken, "and neither is broken");
}


static void
test_jump(int64_t jump, const char *name)
{
    int       i, ok, vb, ab;
    out_t     v, a;
    int64_t   end, pv, pa;
    uint32_t  base;

    begin(0);
    base = 1000000000;
    vb = 0;
    ab = 0;

    for (i = 0; i < 50; i++) {
        v = video(base + i * 40, 0);
        a = audio(base + i * 40);
    }

    end = tl.end;

    /* the video jumps first; three frames of audio are on their way still */

    v = video(base + jump + 2000, 0);
    tap_is(v.broken, 1, "%s: the picture that jumps is told", name);
    tap_is(video_us(v), end, "%s: the timeline goes on at its end", name);

    ok = 1;
    pa = a.dts;

    for (i = 50; i < 53; i++) {
        a = audio(base + i * 40);
        ok &= !a.broken && a.dts > pa;
        ok &= llabs(audio_us(a) - i * 40000) < 70000;
        pa = a.dts;
    }

    tap_ok(ok, "%s: old audio goes on as before", name);

    pv = v.dts;

    for (i = 53; i < 100; i++) {
        v = video(base + jump + i * 40, 0);
        a = audio(base + jump + i * 40);
        vb += v.broken;
        ab += a.broken;
        ok &= v.dts > pv && a.dts > pa;
        ok &= llabs(video_us(v) - audio_us(a)) <= 40000;
        pv = v.dts;
        pa = a.dts;
    }

    tap_is(ab, 1, "%s: the audio is told once", name);
    tap_is(vb, 0, "%s: the video not again", name);
    tap_ok(ok, "%s: in order and in sync after it", name);
    tap_ok(video_us(v) < 100 * 40000 + 200000,
           "%s: no hole is left in the timeline", name);
    tap_is(tl.breaks, 1, "%s: one continuity ended", name);
}


static void
test_glitch(void)
{
    int    i;
    out_t  v, a;

    begin(0);

    for (i = 0; i < 50; i++) {
        v = video(i * 40, 0);
        a = audio(i * 40);
    }

    v = video(90000, 0);
    a = audio(50 * 40);
    v = video(51 * 40, 0);
    tap_ok(video_us(v) - 51 * 40000 < 100000
           && video_us(v) >= 51 * 40000,
           "one wrong timestamp leaves no trace in the timeline");

    for (i = 52; i < 60; i++) {
        a = audio(i * 40);
        v = video(i * 40, 0);
        tap_ok(llabs(video_us(v) - audio_us(a)) < 40000 && !a.broken
               && !v.broken, "nor in lip sync, frame %d", i);
    }

    /* one clock only is set */

    begin(0);

    for (i = 0; i < 50; i++) {
        (void) video(i * 40, 0);
        (void) audio(i * 40);
    }

    v = video(100000 + 50 * 40, 0);
    tap_is(v.broken, 1, "the video's clock alone is set: one break");

    for (i = 51; i < 2000; i++) {
        a = audio(i * 40);
        v = video(100000 + i * 40, 0);

        if (a.broken || v.broken
            || llabs(video_us(v) - audio_us(a)) > 100000)
        {
            break;
        }
    }

    tap_is(i, 2000, "and both go on as they were");
}


static void
test_gap(void)
{
    int    i, broken;
    out_t  v, a;

    begin(0);
    broken = 0;

    (void) video(0, 0);

    for (i = 0; i < 1000; i++) {
        a = audio(i * 20);
        broken += a.broken;
    }

    v = video(20000, 0);
    tap_is(v.broken + broken, 0,
           "a picture after 20 s of audio is no jump");
    tap_is(video_us(v), 20000000, "and lies where it belongs");

    begin(0);
    (void) audio(0);
    (void) audio(21);
    a = audio(121);
    tap_is(a.dts, 121 * 48, "audio that was lost leaves a gap");

    begin(0);
    (void) audio(0);
    a = audio(2900);
    tap_is(a.broken, 0, "2.9 s without anything is a gap");
    a = audio(6000);
    tap_is(a.broken, 1, "3.1 s is a jump");
    tap_is(a.dts, 2900 * 48 + 1024, "which closes it");
}


static void
test_backwards(void)
{
    int      i, ok;
    out_t    v, a;
    int64_t  prev;

    begin(0);
    (void) video(0, 0);
    v = video(400, 0);
    prev = v.dts;
    ok = 1;

    for (i = 0; i < 10; i++) {
        v = video(100 + i * 33, 10);
        ok &= v.dts > prev && !v.broken && v.pts == v.dts + 10 * MS_90K;
        prev = v.dts;
    }

    tap_ok(ok, "a small step back is clamped, pts goes with dts");

    begin(0);
    (void) video(0, 0);

    for (i = 0, ok = 1, prev = 0; i < 100; i++) {
        v = video(0, 0);
        ok &= v.dts > prev && !v.broken;
        prev = v.dts;
    }

    tap_ok(ok, "equal timestamps are put apart");

    begin(0);
    v = video(0, -50);
    tap_is(v.pts, 0, "no pts is negative");
    v = video(1000, INT32_MAX);
    tap_is(v.pts, v.dts, "an absurd composition offset is none");
    v = video(1040, INT32_MIN);
    tap_is(v.pts, v.dts, "nor is a negative one");

    begin(0);
    (void) audio(0);

    for (i = 1, ok = 1, prev = 0; i < 10000; i++) {

        /* a sound card that is 0.1 % fast */
        a = audio((uint32_t) (i * 1024 * INT64_C(1000) / 48048));
        ok &= a.dts > prev && !a.broken;
        ok &= llabs(audio_us(a) - (int64_t) i * 1024 * 1000000 / 48048)
              <= 45000;
        prev = a.dts;
    }

    tap_ok(ok, "a fast sound card never leads by more than the slack");
}


static void
test_timescale(void)
{
    int      i, rc, ok;
    int64_t  dts, pts, prev, us, last;

    begin(0);
    last = -1;
    ok = 1;

    for (i = 0; i < 100; i++) {
        rc = ngx_livestream_timeline_add(&tl, AUDIO, 44100,
                                         i * 1024 * 1000 / 44100, 0, 0, 1024,
                                         clock_us, &dts, &pts);
        ok &= rc == 0 && dts == i * 1024;
    }

    tap_ok(ok, "44100 Hz");

    last = tl.end;

    rc = ngx_livestream_timeline_add(&tl, AUDIO, 48000,
                                     i * 1024 * 1000 / 44100, 0, 0, 1024,
                                     clock_us, &dts, &pts);
    us = ngx_livestream_ticks_to_us(dts, 48000);

    tap_is(rc, 1, "48000 Hz: told");
    tap_ok(llabs(us - last) < 30, "it begins where the other ended");

    for (i = 1, prev = dts; i < 100; i++) {
        rc = ngx_livestream_timeline_add(&tl, AUDIO, 48000,
                                         100 * 1024 * 1000 / 44100
                                         + i * 1024 * 1000 / 48000, 0, 0,
                                         1024, clock_us, &dts, &pts);
        ok &= rc == 0 && dts == prev + 1024;
        prev = dts;
    }

    tap_ok(ok, "and is counted on");
    tap_is(tl.breaks, 0, "no continuity ended");
}


static void
test_continued(void)
{
    out_t    v, a;
    int64_t  wall;

    begin(7200000000);

    a = audio(0);
    v = video(20, 0);

    tap_is(audio_us(a), 7200000000, "a continued stream goes on at its end");
    tap_is(video_us(v), 7200020000, "both tracks");
    tap_is(tl.wall + 7200000000, START, "which is now");

    begin(7200000000);
    (void) video(100, 0);
    a = audio(0);
    tap_is(audio_us(a), 7200000000, "no track begins before its end");

    /* the wall clock of a jump */

    begin(0);
    (void) video(0, 0);
    clock_us += 40000;
    (void) video(40, 0);
    wall = tl.wall;

    clock_us += 10 * 1000000;
    v = video(500000, 0);
    tap_is(tl.wall + video_us(v), clock_us, "after a jump it is now again");
    tap_ok(tl.wall > wall, "later than before");

    wall = tl.wall;
    clock_us -= 3600 * INT64_C(1000000);
    v = video(0, 0);
    tap_is(v.broken, 1, "a jump, and the wall clock was set back");
    tap_is(tl.wall, wall, "no wall clock time comes twice");
}


static void
test_nano(void)
{
    int64_t  dts, pts;

    begin(0);
    (void) ngx_livestream_timeline_add(&tl, VIDEO, 90000, 0, 10, 500000, 0,
                                       clock_us, &dts, &pts);
    tap_is(pts, 945, "nanoseconds add to the composition offset");
}


/* whatever comes, what goes out is in order */

static void
test_random(void)
{
    int       i, round, ok, walls;
    int64_t   dts, pts, now, us, wall[2], last[2], prev[2];
    uint32_t  ts[2], rate, track, kind, was[2];

    static const uint32_t  rates[] = { 90000, 48000, 44100, 8000, 384000 };

    ok = 1;
    walls = 1;
    srandom(1);

    for (round = 0; round < 200; round++) {
        begin(round % 3 ? 0 : 123456789);

        ts[0] = ts[1] = (uint32_t) random() * 3;
        last[0] = last[1] = -1;
        was[0] = was[1] = 0;
        prev[0] = prev[1] = 0;
        wall[0] = wall[1] = INT64_MIN;
        now = START;

        for (i = 0; i < 3000; i++) {
            track = random() & 1;
            kind = random() % 200;
            rate = rates[track && kind == 1 ? random() % 5 : track];
            now += random() % 40000;

            ts[track] += kind == 2 ? (uint32_t) random() * 2
                         : kind == 3 ? (uint32_t) -(random() % 5000)
                         : kind == 4 ? random() % 10000
                         : (uint32_t) random() % 50;

            (void) ngx_livestream_timeline_add(&tl, track, rate, ts[track],
                                       kind == 5 ? (int32_t) random()
                                                 : (int32_t) (random() % 200),
                                       kind == 6 ? UINT32_MAX : 0,
                                       track ? random() % 3000 : 0, now,
                                       &dts, &pts);

            us = ngx_livestream_ticks_to_us(dts, rate);

            /* within a tick of the slowest rate, where it changes */
            ok &= dts >= 0 && pts >= 0 && us > last[track] - 250;
            ok &= rate != was[track] || dts > prev[track];
            ok &= us <= tl.end && pts - dts < INT64_C(15) * rate;
            walls &= tl.wall >= wall[track];
            last[track] = us;
            prev[track] = dts;
            was[track] = rate;
            wall[track] = tl.wall;
        }
    }

    tap_ok(ok, "random timestamps come out in order");
    tap_ok(walls, "and the wall clock never runs back");
}


int
main(void)
{
    test_plain();
    test_lip_sync();
    test_wrap();
    test_jump(60000, "1 min forward");
    test_jump(3500, "3.5 s forward");
    test_jump(-60000, "1 min back");
    test_jump(-2500, "2.5 s back");
    test_jump(-1000000000, "restart at 0");
    test_jump(INT64_C(2200000000), "more than half of the wrap");
    test_glitch();
    test_gap();
    test_backwards();
    test_timescale();
    test_continued();
    test_nano();
    test_random();

    return tap_done();
}

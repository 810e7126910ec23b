
/*
 * Copyright (C) nginx-livestream contributors
 *
 * The timeline of a stream, see the header.  Where a frame lies:
 *
 *     continuity 0       continuity 1
 *
 *     video  ---------+  +---------------      raw jumps: opens 1 at the end
 *     audio  ------------+------------         of all, joins with its offset
 *                     ^  ^
 *                     |  tl->end when video jumped
 *                     video's own end
 *
 * Positions are kept in microseconds and steps are judged there, since the two
 * tracks may for a while, or for good, be of different continuities with
 * unrelated timestamps.
 *
 * Pure C; the event loop, one timeline a publisher.
 */


#include <string.h>

#include "ngx_livestream_frame.h"
#include "ngx_livestream_timeline.h"


/* how long the last picture before a break is shown when nothing says it */
#define NGX_LIVESTREAM_TIMELINE_STEP      40000     /* us */
#define NGX_LIVESTREAM_TIMELINE_MAX_STEP  1000000   /* us */


static int ngx_livestream_timeline_place(ngx_livestream_timeline_t *tl,
    unsigned track, uint32_t ts, int64_t now);
static void ngx_livestream_timeline_start(ngx_livestream_timeline_t *tl,
    unsigned track, uint32_t ts, int64_t now);
static void ngx_livestream_timeline_break(ngx_livestream_timeline_t *tl,
    ngx_livestream_timeline_track_t *t, uint32_t ts, int64_t now);
static void ngx_livestream_timeline_join(ngx_livestream_timeline_track_t *t,
    ngx_livestream_timeline_track_t *other, uint32_t ts);
static void ngx_livestream_timeline_rescale(ngx_livestream_timeline_track_t *t,
    uint32_t timescale);
static int64_t ngx_livestream_timeline_count(
    ngx_livestream_timeline_track_t *t, uint32_t samples, int resync);
static int64_t ngx_livestream_timeline_raw(int64_t last, uint32_t ts);
static int64_t ngx_livestream_timeline_distance(int64_t a, int64_t b);


void
ngx_livestream_timeline_init(ngx_livestream_timeline_t *tl, int64_t start)
{
    unsigned  i;

    memset(tl, 0, sizeof(ngx_livestream_timeline_t));

    tl->end = start;

    for (i = 0; i < NGX_LIVESTREAM_TIMELINE_TRACKS; i++) {
        tl->tracks[i].end = start;
    }
}


int
ngx_livestream_timeline_add(ngx_livestream_timeline_t *tl, unsigned track,
    uint32_t timescale, uint32_t ts, int32_t cts, uint32_t nano,
    uint32_t samples, int64_t now, int64_t *dts, int64_t *pts)
{
    int                               broken, resync;
    int64_t                           shift;
    ngx_livestream_timeline_track_t  *t;

    t = &tl->tracks[track];

    if (t->started) {
        broken = ngx_livestream_timeline_place(tl, track, ts, now);
        resync = broken;

    } else {
        ngx_livestream_timeline_start(tl, track, ts, now);
        t->timescale = timescale;
        broken = 0;
        resync = 1;
    }

    if (t->timescale != timescale) {
        ngx_livestream_timeline_rescale(t, timescale);
        broken = 1;
    }

    *dts = ngx_livestream_timeline_count(t, samples, resync);

    if (cts > NGX_LIVESTREAM_TIMELINE_CTS
        || cts < -NGX_LIVESTREAM_TIMELINE_CTS)
    {
        cts = 0;
    }

    shift = (int64_t) cts * 1000 + nano / 1000;

    *pts = *dts + ngx_livestream_us_to_ticks(shift, timescale);

    if (*pts < 0) {
        *pts = 0;
    }

    if (t->end > tl->end) {
        tl->end = t->end;
    }

    tl->wall = t->wall;

    return broken;
}


/*
 * A frame of a track that has begun; returns 1 where it is torn off.  Where
 * the two tracks are of different continuities, the nearer one is right: the
 * other track follows a jump by that, and a single wrong timestamp is undone.
 */

static int
ngx_livestream_timeline_place(ngx_livestream_timeline_t *tl, unsigned track,
    uint32_t ts, int64_t now)
{
    int64_t                           raw, pos, step, jump;
    ngx_livestream_timeline_track_t  *t, *other;

    t = &tl->tracks[track];
    other = &tl->tracks[!track];

    raw = ngx_livestream_timeline_raw(t->raw, ts);
    pos = raw * 1000 + t->offset;
    step = pos - t->pos;

    if (other->started && other->continuity != t->continuity) {

        jump = (ngx_livestream_timeline_raw(other->raw, ts) - other->raw)
               * 1000;
        jump = ngx_livestream_timeline_distance(jump, 0);

        if (jump < ngx_livestream_timeline_distance(step, 0)
            && jump <= NGX_LIVESTREAM_TIMELINE_JUMP * 1000)
        {
            ngx_livestream_timeline_join(t, other, ts);
            return 1;
        }
    }

    if (step < -NGX_LIVESTREAM_TIMELINE_BACK * 1000
        || (step > NGX_LIVESTREAM_TIMELINE_JUMP * 1000
            && (!other->started
                || ngx_livestream_timeline_distance(pos, other->pos)
                   > NGX_LIVESTREAM_TIMELINE_JUMP * 1000)))
    {
        ngx_livestream_timeline_break(tl, t, ts, now);
        return 1;
    }

    t->raw = raw;
    t->pos = pos;

    return 0;
}


/*
 * The first frame of a track.  One whose timestamps have nothing to do with
 * those of the other is put beside what the other is at now: they were sent
 * together.
 */

static void
ngx_livestream_timeline_start(ngx_livestream_timeline_t *tl, unsigned track,
    uint32_t ts, int64_t now)
{
    int64_t                           raw;
    ngx_livestream_timeline_track_t  *t, *other;

    t = &tl->tracks[track];
    other = &tl->tracks[!track];

    t->started = 1;
    t->dts = -1;

    if (!tl->started) {
        tl->started = 1;

        t->raw = ts;
        t->pos = tl->end;
        t->offset = t->pos - t->raw * 1000;
        t->wall = now - t->pos;

        return;
    }

    raw = ngx_livestream_timeline_raw(other->raw, ts);

    if (ngx_livestream_timeline_distance(raw, other->raw)
        <= NGX_LIVESTREAM_TIMELINE_JUMP)
    {
        ngx_livestream_timeline_join(t, other, ts);
        return;
    }

    t->raw = ts;
    t->pos = other->pos;
    t->offset = t->pos - t->raw * 1000;
    t->wall = other->wall;
    t->continuity = other->continuity;
}


/*
 * Unwrapping begins anew too: else a publisher that does nothing but jump
 * would make raw overflow.
 */

static void
ngx_livestream_timeline_break(ngx_livestream_timeline_t *tl,
    ngx_livestream_timeline_track_t *t, uint32_t ts, int64_t now)
{
    int64_t   wall;
    unsigned  i;

    t->raw = ts;
    t->pos = tl->end;
    t->offset = t->pos - t->raw * 1000;
    t->continuity = ++tl->breaks;

    wall = now - t->pos;

    for (i = 0; i < NGX_LIVESTREAM_TIMELINE_TRACKS; i++) {
        if (tl->tracks[i].started && tl->tracks[i].wall > wall) {
            wall = tl->tracks[i].wall;
        }
    }

    t->wall = wall;
}


/*
 * t becomes a part of the continuity that other is in, which is moved on where
 * t would run into its own past: lip sync is kept, at the cost of a gap.
 */

static void
ngx_livestream_timeline_join(ngx_livestream_timeline_track_t *t,
    ngx_livestream_timeline_track_t *other, uint32_t ts)
{
    int64_t  late;

    t->raw = ngx_livestream_timeline_raw(other->raw, ts);
    t->pos = t->raw * 1000 + other->offset;

    late = t->end - t->pos;

    if (late > 0) {
        t->pos += late;
        other->pos += late;
        other->offset += late;
        other->expected += ngx_livestream_us_to_ticks(late, other->timescale);
    }

    if (t->wall > other->wall) {
        other->wall = t->wall;
    }

    t->wall = other->wall;
    t->offset = other->offset;
    t->continuity = other->continuity;
}


static void
ngx_livestream_timeline_rescale(ngx_livestream_timeline_track_t *t,
    uint32_t timescale)
{
    int64_t  us;

    us = ngx_livestream_ticks_to_us(t->dts, t->timescale);

    t->dts = ngx_livestream_us_to_ticks(us, timescale);
    t->expected = ngx_livestream_us_to_ticks(t->end, timescale);
    t->timescale = timescale;
}


/* from the position to the dts, and to the end of what was put out */

static int64_t
ngx_livestream_timeline_count(ngx_livestream_timeline_track_t *t,
    uint32_t samples, int resync)
{
    int64_t  dts, slack, us, step;

    dts = ngx_livestream_us_to_ticks(t->pos, t->timescale);
    slack = ngx_livestream_us_to_ticks(NGX_LIVESTREAM_TIMELINE_SLACK * 1000,
                                       t->timescale);

    if (samples && !resync
        && ngx_livestream_timeline_distance(dts, t->expected) <= slack)
    {
        dts = t->expected;
    }

    if (dts <= t->dts) {
        dts = t->dts + 1;
    }

    us = ngx_livestream_ticks_to_us(dts, t->timescale);
    step = us - ngx_livestream_ticks_to_us(t->dts, t->timescale);

    t->dts = dts;
    t->expected = dts + samples;

    if (samples) {
        t->end = ngx_livestream_ticks_to_us(t->expected, t->timescale);
        return dts;
    }

    if (!resync && step <= NGX_LIVESTREAM_TIMELINE_MAX_STEP) {
        t->step = step;
    }

    t->end = us + (t->step ? t->step : NGX_LIVESTREAM_TIMELINE_STEP);

    return dts;
}


static int64_t
ngx_livestream_timeline_raw(int64_t last, uint32_t ts)
{
    return last + (int32_t) (ts - (uint32_t) last);
}


static int64_t
ngx_livestream_timeline_distance(int64_t a, int64_t b)
{
    return a > b ? a - b : b - a;
}


/*
 * Copyright (C) nginx-livestream contributors
 *
 * The cutter: decides where segments begin, in all tracks alike.
 *
 *   leader   |key . . . . . . |key . . . . . . . |key . .   <- horizon
 *            |                |                  |
 *   cuts     msn 7            msn 8              msn 9
 *            |                |                  |
 *   follower |. . . . . . . . |. . . . . . .     . . . . . . . .
 *                                          ^     \__ queued ___/
 *
 * One track leads, the video where there is one.  It is cut at key frames: the
 * first segment is one group of pictures (or a second of short ones), later
 * ones are as many as fit.  A group that would make a segment longer than the
 * target duration is cut without a key frame, for that duration is a promise.
 *
 * Each cut is noted with its time.  The frames of other tracks wait until the
 * leader has passed them, so that it is known which segment they belong to.
 * Since the skew of publishers is all there is to wait for, the queue is
 * bounded at NGX_LIVESTREAM_LLHLS_SKEW: what is further ahead than that is
 * dropped.
 *
 * A track that has stopped while another goes on (NGX_LIVESTREAM_LLHLS_ABSENT)
 * is filled with gaps, so that its playlist goes on too, with the same media
 * sequence numbers; the leader's gaps are then cut by time.  What comes late
 * for a gap is moved behind it (video, whose pts stays) or dropped (audio).
 *
 * Where the timeline is broken, or a codec changes, the segment ends in all
 * tracks and the next one is a discontinuity, which begins with a key frame;
 * what comes before that is dropped in all tracks.  If only a follower's codec
 * changes, its frames are dropped up to the leader's next key frame.
 *
 * Pipeline thread.
 */


#include <errno.h>
#include <stdlib.h>

#include "ngx_livestream_llhls_cutter.h"


#define NGX_LIVESTREAM_LLHLS_SKEW     15000000      /* us */
#define NGX_LIVESTREAM_LLHLS_QUEUE    2048          /* frames */
#define NGX_LIVESTREAM_LLHLS_ABSENT   1000000       /* us, and a part */
#define NGX_LIVESTREAM_LLHLS_STEP     200000        /* us, between frames */
#define NGX_LIVESTREAM_LLHLS_GONE     5000000       /* us, a leader that is
                                                       waited for */
#define NGX_LIVESTREAM_LLHLS_HOLE     60000000      /* us, not to be filled */

#define NGX_LIVESTREAM_LLHLS_LEAST    20000         /* us, of any segment */
#define NGX_LIVESTREAM_LLHLS_FIRST    950000        /* us, of first segments */
#define NGX_LIVESTREAM_LLHLS_LONGEST  30            /* s, of a first segment */
#define NGX_LIVESTREAM_LLHLS_ROUND    499000        /* us, beyond the target
                                                       duration: what is
                                                       rounded down to it */


struct ngx_livestream_llhls_queued_s {
    ngx_livestream_llhls_queued_t  *next;
    ngx_livestream_frame_t         *frame;
};


static int ngx_livestream_llhls_lead(ngx_livestream_llhls_cutter_t *c,
    ngx_livestream_llhls_track_t *t, ngx_livestream_frame_t *f);
static int ngx_livestream_llhls_lead_to(ngx_livestream_llhls_cutter_t *c,
    int64_t dts);
static int ngx_livestream_llhls_lead_on(ngx_livestream_llhls_cutter_t *c,
    ngx_livestream_llhls_track_t *t);
static int ngx_livestream_llhls_take_lead(ngx_livestream_llhls_cutter_t *c,
    ngx_livestream_llhls_track_t *t);
static unsigned ngx_livestream_llhls_due(ngx_livestream_llhls_cutter_t *c,
    ngx_livestream_frame_t *f, int64_t us);
static int64_t ngx_livestream_llhls_gop(ngx_livestream_llhls_cutter_t *c,
    int64_t us);
static int64_t ngx_livestream_llhls_limit(ngx_livestream_llhls_cutter_t *c);
static int ngx_livestream_llhls_cut(ngx_livestream_llhls_cutter_t *c,
    int64_t *dts);
static int ngx_livestream_llhls_start(ngx_livestream_llhls_cutter_t *c,
    ngx_livestream_frame_t *f);
static int ngx_livestream_llhls_begin(ngx_livestream_llhls_cutter_t *c,
    int64_t dts);
static int ngx_livestream_llhls_stop(ngx_livestream_llhls_cutter_t *c,
    int64_t us);
static int ngx_livestream_llhls_finish(ngx_livestream_llhls_cutter_t *c,
    int64_t dts, int64_t *at);
static int ngx_livestream_llhls_queue(ngx_livestream_llhls_cutter_t *c,
    ngx_livestream_llhls_track_t *t, ngx_livestream_frame_t *f);
static void ngx_livestream_llhls_unqueue(ngx_livestream_llhls_track_t *t);
static int ngx_livestream_llhls_follow_all(ngx_livestream_llhls_cutter_t *c);
static int ngx_livestream_llhls_follow(ngx_livestream_llhls_cutter_t *c,
    ngx_livestream_llhls_track_t *t);
static int ngx_livestream_llhls_follow_frame(ngx_livestream_llhls_cutter_t *c,
    ngx_livestream_llhls_track_t *t, ngx_livestream_frame_t *f, int64_t end);
static void ngx_livestream_llhls_ask(ngx_livestream_llhls_cutter_t *c,
    ngx_livestream_llhls_track_t *t);
static int ngx_livestream_llhls_follow_cut(ngx_livestream_llhls_cutter_t *c,
    ngx_livestream_llhls_track_t *t, ngx_livestream_frame_t *f);
static int ngx_livestream_llhls_follow_end(ngx_livestream_llhls_track_t *t,
    int64_t end);
static int64_t ngx_livestream_llhls_least(ngx_livestream_llhls_track_t *t);
static int ngx_livestream_llhls_fill(ngx_livestream_llhls_cutter_t *c,
    ngx_livestream_llhls_track_t *t);


#define ngx_livestream_llhls_us(t, ticks)                                    \
    ngx_livestream_ticks_to_us(ticks, (t)->timescale)

#define ngx_livestream_llhls_ticks(t, us)                                    \
    ngx_livestream_us_to_ticks(us, (t)->timescale)

#define ngx_livestream_llhls_dts(f)                                          \
    ngx_livestream_ticks_to_us((f)->dts, (f)->codec->timescale)


int
ngx_livestream_llhls_cutter_frame(ngx_livestream_llhls_cutter_t *c,
    ngx_livestream_frame_t *f)
{
    int                            rc;
    int64_t                        us, step;
    ngx_livestream_llhls_track_t  *t;

    t = &c->tracks[f->track];

    /* a hole is no time that went by while others were silent */

    us = ngx_livestream_llhls_dts(f);
    step = us - t->newest;

    if (step > 0) {
        t->ahead += step < NGX_LIVESTREAM_LLHLS_STEP
                    ? step : NGX_LIVESTREAM_LLHLS_STEP;
    }

    t->newest = us;

    if (t != c->leader
        && t->media == NGX_LIVESTREAM_VIDEO
        && c->leader->media == NGX_LIVESTREAM_AUDIO)
    {
        if (!(f->flags & NGX_LIVESTREAM_FRAME_KEY)) {
            return 0;
        }

        rc = ngx_livestream_llhls_take_lead(c, t);
        if (rc) {
            return rc;
        }
    }

    if (t == c->leader) {
        rc = ngx_livestream_llhls_lead(c, t, f);

    } else {
        rc = ngx_livestream_llhls_queue(c, t, f);

        if (rc == 0) {
            rc = ngx_livestream_llhls_lead_on(c, t);
        }
    }

    if (rc) {
        return rc;
    }

    return ngx_livestream_llhls_follow_all(c);
}


int
ngx_livestream_llhls_cutter_flush(ngx_livestream_llhls_cutter_t *c)
{
    int                            rc;
    unsigned                       i;
    ngx_livestream_llhls_track_t  *t;

    rc = 0;

    if (c->leader && !c->waiting) {
        rc = ngx_livestream_llhls_stop(c, INT64_MAX);
    }

    c->horizon = INT64_MAX;

    for (i = 0; rc == 0 && i < NGX_LIVESTREAM_LLHLS_TRACKS; i++) {
        t = &c->tracks[i];

        if (t->out == NULL || t == c->leader) {
            continue;
        }

        t->fresh = INT64_MAX;

        rc = ngx_livestream_llhls_follow(c, t);

        while (rc == 0 && t->msn != c->msn) {
            rc = ngx_livestream_llhls_follow_cut(c, t, NULL);
        }

        if (rc == 0 && t->open) {
            rc = ngx_livestream_llhls_follow_end(t, c->end);
        }
    }

    return rc;
}


void
ngx_livestream_llhls_cutter_clear(ngx_livestream_llhls_track_t *t)
{
    while (t->first) {
        ngx_livestream_llhls_unqueue(t);
    }
}


static int
ngx_livestream_llhls_lead(ngx_livestream_llhls_cutter_t *c,
    ngx_livestream_llhls_track_t *t, ngx_livestream_frame_t *f)
{
    int       rc;
    int64_t   dts, us;
    unsigned  i;

    us = ngx_livestream_llhls_dts(f);

    for (i = 0; i < NGX_LIVESTREAM_LLHLS_TRACKS; i++) {
        c->tracks[i].ahead = 0;
    }

    if (!c->waiting
        && ((f->flags & NGX_LIVESTREAM_FRAME_DISCONTINUITY)
            || f->codec->hash != t->hash
            || us - ngx_livestream_llhls_us(t,
                                      ngx_livestream_llhls_track_next(t))
               > NGX_LIVESTREAM_LLHLS_HOLE))
    {
        rc = ngx_livestream_llhls_stop(c, us);
        if (rc) {
            return rc;
        }

        c->flags |= NGX_LIVESTREAM_LLHLS_DISCONTINUITY;
    }

    dts = f->dts;

    if (c->waiting) {

        if (!(f->flags & NGX_LIVESTREAM_FRAME_KEY)
            || us + c->out.part_target < c->end)
        {
            c->horizon = us > c->horizon ? us : c->horizon;
            return 0;
        }

        rc = ngx_livestream_llhls_start(c, f);
        if (rc) {
            return rc;
        }

        dts = t->start;

    } else {
        c->wall = f->wall;

        rc = ngx_livestream_llhls_track_codec(t, f->codec, t->msn);
        if (rc) {
            return rc;
        }

        if (dts < ngx_livestream_llhls_track_next(t)) {
            dts = ngx_livestream_llhls_track_next(t);
        }

        rc = ngx_livestream_llhls_lead_to(c, dts);
        if (rc) {
            return rc;
        }

        if (ngx_livestream_llhls_due(c, f, ngx_livestream_llhls_us(t, dts))) {
            rc = ngx_livestream_llhls_cut(c, &dts);
            if (rc) {
                return rc;
            }
        }
    }

    if (us > c->horizon) {
        c->horizon = us;
    }

    return ngx_livestream_llhls_track_append(t, f, dts);
}


/* cuts what would become too long before dts */

static int
ngx_livestream_llhls_lead_to(ngx_livestream_llhls_cutter_t *c, int64_t dts)
{
    int                            rc;
    int64_t                        at, most;
    ngx_livestream_llhls_track_t  *t;

    t = c->leader;

    for ( ;; ) {
        most = t->segment.start + ngx_livestream_llhls_limit(c);

        if (ngx_livestream_llhls_us(t, dts) <= most) {
            return 0;
        }

        at = ngx_livestream_llhls_ticks(t, most);

        if (at < ngx_livestream_llhls_track_next(t)) {
            at = ngx_livestream_llhls_track_next(t);
        }

        rc = ngx_livestream_llhls_cut(c, &at);
        if (rc) {
            return rc;
        }
    }
}


/* another track goes on: does the leader? */

static int
ngx_livestream_llhls_lead_on(ngx_livestream_llhls_cutter_t *c,
    ngx_livestream_llhls_track_t *t)
{
    int                            rc;
    int64_t                        dts;
    ngx_livestream_llhls_track_t  *leader;

    leader = c->leader;

    if (c->waiting) {

        if (t->ahead > NGX_LIVESTREAM_LLHLS_GONE
            && t->media == NGX_LIVESTREAM_AUDIO)
        {
            return ngx_livestream_llhls_take_lead(c, t);
        }

        return 0;
    }

    if (t->ahead <= NGX_LIVESTREAM_LLHLS_ABSENT + c->out.part_target) {
        return 0;
    }

    dts = ngx_livestream_llhls_ticks(leader, leader->newest + t->ahead
                                             - c->out.part_target);

    if (dts - leader->start <= leader->target
        || dts < ngx_livestream_llhls_track_next(leader))
    {
        return 0;
    }

    rc = ngx_livestream_llhls_lead_to(c, dts);

    if (rc == 0) {
        rc = ngx_livestream_llhls_track_advance(leader, dts, 0);
    }

    dts = ngx_livestream_llhls_us(leader, leader->start) - 1;

    if (dts > c->horizon) {
        c->horizon = dts;
    }

    return rc;
}


/*
 * Video that comes to a stream led by audio, or audio where the video that
 * was to lead does not come.  The newest frame of t may be its first.  If that
 * is behind what the old leader has put out, both wait for a key frame that is
 * not.
 */

static int
ngx_livestream_llhls_take_lead(ngx_livestream_llhls_cutter_t *c,
    ngx_livestream_llhls_track_t *t)
{
    int      rc;
    int64_t  end;

    rc = 0;

    if (!c->waiting) {
        end = ngx_livestream_llhls_us(c->leader,
                                 ngx_livestream_llhls_track_next(c->leader));

        if (t->newest + c->out.part_target < end) {
            rc = ngx_livestream_llhls_stop(c, INT64_MAX);
            c->flags |= NGX_LIVESTREAM_LLHLS_DISCONTINUITY;

        } else {
            c->end = t->newest;
        }
    }

    while (rc == 0 && t->open && t->msn != c->msn) {
        rc = ngx_livestream_llhls_follow_cut(c, t, NULL);
    }

    if (rc == 0 && t->open) {
        rc = ngx_livestream_llhls_follow_end(t, c->end);
    }

    ngx_livestream_llhls_cutter_clear(t);

    t->msn = c->msn;

    c->leader->fresh = c->horizon;
    c->leader = t;
    c->ngops = 0;
    c->waiting = 1;

    return rc;
}


/* is a segment to begin with this frame? */

static unsigned
ngx_livestream_llhls_due(ngx_livestream_llhls_cutter_t *c,
    ngx_livestream_frame_t *f, int64_t us)
{
    int64_t                        gop, delta, length, most;
    ngx_livestream_llhls_track_t  *t;

    t = c->leader;

    if (t->segment.nparts == 0 && t->nsamples == 0) {
        return 0;
    }

    length = us - t->segment.start;
    delta = ngx_livestream_llhls_us(t, t->delta);

    if (f->flags & NGX_LIVESTREAM_FRAME_KEY) {

        gop = ngx_livestream_llhls_gop(c, us);

        if (c->asked) {
            return 1;
        }

        if (c->out.target_duration == 0) {

            if (length >= NGX_LIVESTREAM_LLHLS_FIRST
                || length >= c->out.conf->segment_duration)
            {
                return 1;
            }

        } else {
            /* 6.006 s are three groups of 2.002 s */

            most = c->out.conf->segment_duration + gop / 8;

            if (length + gop > most) {
                return 1;
            }
        }
    }

    if (length + delta <= ngx_livestream_llhls_limit(c)) {
        return 0;
    }

    if (!c->noted && !(f->flags & NGX_LIVESTREAM_FRAME_KEY)) {
        c->noted = 1;
        (void) ngx_livestream_llhls_note(t, "key frames are further apart than"
                                         " the target duration, segments are"
                                         " cut without one");
    }

    return 1;
}


/* the longest of the last groups of pictures, this key frame's before it */

static int64_t
ngx_livestream_llhls_gop(ngx_livestream_llhls_cutter_t *c, int64_t us)
{
    int64_t   longest;
    unsigned  i, n;

    c->gops[c->ngops++ % NGX_LIVESTREAM_LLHLS_GOPS] = us - c->key;
    c->key = us;

    n = c->ngops < NGX_LIVESTREAM_LLHLS_GOPS ? c->ngops
                                             : NGX_LIVESTREAM_LLHLS_GOPS;
    longest = 0;

    for (i = 0; i < n; i++) {
        if (c->gops[i] > longest) {
            longest = c->gops[i];
        }
    }

    return longest;
}


/* us, that a segment may be long */

static int64_t
ngx_livestream_llhls_limit(ngx_livestream_llhls_cutter_t *c)
{
    int64_t  most;

    if (c->out.target_duration) {
        return (int64_t) c->out.target_duration * 1000000
               + NGX_LIVESTREAM_LLHLS_ROUND;
    }

    most = (int64_t) NGX_LIVESTREAM_LLHLS_LONGEST * 1000000;

    return c->out.conf->segment_duration > most
           ? c->out.conf->segment_duration : most;
}


/* the leader's segment ends and the next one begins, at dts or a bit earlier */

static int
ngx_livestream_llhls_cut(ngx_livestream_llhls_cutter_t *c, int64_t *dts)
{
    int  rc;

    rc = ngx_livestream_llhls_finish(c, *dts, dts);
    if (rc) {
        return rc;
    }

    if (c->asked) {
        c->flags |= NGX_LIVESTREAM_LLHLS_DISCONTINUITY;
    }

    return ngx_livestream_llhls_begin(c, *dts);
}


/* the first segment, or the first behind a stop */

static int
ngx_livestream_llhls_start(ngx_livestream_llhls_cutter_t *c,
    ngx_livestream_frame_t *f)
{
    int                            rc;
    ngx_livestream_llhls_track_t  *t;

    t = c->leader;

    if (t->hash && t->hash != f->codec->hash) {
        c->flags |= NGX_LIVESTREAM_LLHLS_DISCONTINUITY;
    }

    rc = ngx_livestream_llhls_track_codec(t, f->codec, c->msn + 1);
    if (rc) {
        return rc;
    }

    c->wall = f->wall;
    c->key = ngx_livestream_llhls_dts(f);

    return ngx_livestream_llhls_begin(c, f->dts > t->start ? f->dts
                                                           : t->start);
}


static int
ngx_livestream_llhls_begin(ngx_livestream_llhls_cutter_t *c, int64_t dts)
{
    int                            rc;
    unsigned                       i;
    ngx_livestream_llhls_cut_t    *cut;
    ngx_livestream_llhls_track_t  *t;

    /* the oldest cut makes room for this one */

    for (i = 0; i < NGX_LIVESTREAM_LLHLS_TRACKS; i++) {
        t = &c->tracks[i];

        if (t->out && t != c->leader
            && c->msn - t->msn == NGX_LIVESTREAM_LLHLS_CUTS)
        {
            rc = ngx_livestream_llhls_follow_cut(c, t, NULL);
            if (rc) {
                return rc;
            }
        }
    }

    cut = &c->cuts[++c->msn % NGX_LIVESTREAM_LLHLS_CUTS];

    cut->msn = c->msn;
    cut->time = ngx_livestream_llhls_us(c->leader, dts);
    cut->end = (c->waiting && c->end < cut->time) ? c->end : cut->time;
    cut->wall = c->wall;
    cut->flags = c->flags;

    c->flags = 0;
    c->asked = 0;
    c->waiting = 0;
    c->end = INT64_MAX;

    return ngx_livestream_llhls_track_open(c->leader, cut->msn, dts, cut->wall,
                                           cut->flags);
}


/* the leader's segment ends with its last frame, and before us */

static int
ngx_livestream_llhls_stop(ngx_livestream_llhls_cutter_t *c, int64_t us)
{
    int                            rc;
    int64_t                        dts, least;
    ngx_livestream_llhls_track_t  *t;

    t = c->leader;

    dts = ngx_livestream_llhls_track_end(t);
    least = ngx_livestream_llhls_least(t);

    if (us < ngx_livestream_llhls_us(t, dts)) {
        dts = ngx_livestream_llhls_ticks(t, us);
    }

    if (dts < least) {
        dts = least;
    }

    rc = ngx_livestream_llhls_finish(c, dts, &dts);
    if (rc) {
        return rc;
    }

    c->waiting = 1;
    c->end = ngx_livestream_llhls_us(t, dts);

    return 0;
}


/* The first one that is whole says how long all others may be. */

static int
ngx_livestream_llhls_finish(ngx_livestream_llhls_cutter_t *c, int64_t dts,
    int64_t *at)
{
    int                             rc;
    uint32_t                        seconds;
    ngx_livestream_llhls_output_t  *out;

    rc = ngx_livestream_llhls_track_reach(c->leader, dts, 1, at);
    if (rc) {
        return rc;
    }

    out = &c->out;

    if (out->target_duration == 0) {
        seconds = (out->conf->segment_duration + 500000) / 1000000;

        if ((c->leader->segment.duration + 500000) / 1000000 > seconds) {
            seconds = (c->leader->segment.duration + 999999) / 1000000;
        }

        out->target_duration = seconds ? seconds : 1;

        ngx_livestream_llhls_release(out);
    }

    return ngx_livestream_llhls_track_close(c->leader);
}


static int
ngx_livestream_llhls_queue(ngx_livestream_llhls_cutter_t *c,
    ngx_livestream_llhls_track_t *t, ngx_livestream_frame_t *f)
{
    ngx_livestream_llhls_queued_t  *q;

    if (t->nqueued == NGX_LIVESTREAM_LLHLS_QUEUE
        || t->newest - c->horizon > NGX_LIVESTREAM_LLHLS_SKEW)
    {
        return 0;
    }

    q = malloc(sizeof(ngx_livestream_llhls_queued_t));
    if (q == NULL) {
        return ENOMEM;
    }

    q->next = NULL;
    q->frame = ngx_livestream_frame_ref(f);

    if (t->first) {
        t->last->next = q;

    } else {
        t->first = q;
    }

    t->last = q;
    t->nqueued++;

    return 0;
}


static void
ngx_livestream_llhls_unqueue(ngx_livestream_llhls_track_t *t)
{
    ngx_livestream_llhls_queued_t  *q;

    q = t->first;
    t->first = q->next;
    t->nqueued--;

    ngx_livestream_frame_unref(q->frame);
    free(q);
}


static int
ngx_livestream_llhls_follow_all(ngx_livestream_llhls_cutter_t *c)
{
    int                            rc;
    unsigned                       i;
    ngx_livestream_llhls_track_t  *t;

    for (i = 0; i < NGX_LIVESTREAM_LLHLS_TRACKS; i++) {
        t = &c->tracks[i];

        if (t->out == NULL || t == c->leader) {
            continue;
        }

        rc = ngx_livestream_llhls_follow(c, t);

        if (rc == 0
            && c->horizon - t->fresh
               > NGX_LIVESTREAM_LLHLS_ABSENT + c->out.part_target)
        {
            rc = ngx_livestream_llhls_fill(c, t);
        }

        if (rc) {
            return rc;
        }
    }

    return 0;
}


/* takes from the queue what the leader has passed */

static int
ngx_livestream_llhls_follow(ngx_livestream_llhls_cutter_t *c,
    ngx_livestream_llhls_track_t *t)
{
    int                          rc;
    int64_t                      us;
    ngx_livestream_frame_t      *f;
    ngx_livestream_llhls_cut_t  *cut;

    while (t->first) {
        f = t->first->frame;
        us = ngx_livestream_llhls_dts(f);

        cut = NULL;

        if (t->msn != c->msn) {
            cut = &c->cuts[(t->msn + 1) % NGX_LIVESTREAM_LLHLS_CUTS];
        }

        if (cut && cut->time <= us) {
            rc = ngx_livestream_llhls_follow_cut(c, t, f);
            if (rc) {
                return rc;
            }

            continue;
        }

        if (cut == NULL && us > c->horizon) {
            return 0;
        }

        rc = ngx_livestream_llhls_follow_frame(c, t, f,
                                               cut ? cut->end : c->end);
        if (rc) {
            return rc;
        }

        ngx_livestream_llhls_unqueue(t);
    }

    return 0;
}


static int
ngx_livestream_llhls_follow_frame(ngx_livestream_llhls_cutter_t *c,
    ngx_livestream_llhls_track_t *t, ngx_livestream_frame_t *f, int64_t end)
{
    int      rc;
    int64_t  us;

    us = ngx_livestream_llhls_dts(f);

    if (t->newest + NGX_LIVESTREAM_LLHLS_SKEW > c->horizon) {
        t->fresh = c->horizon;
    }

    if (!t->open || us >= end) {
        return 0;
    }

    if (t->hash != f->codec->hash) {
        ngx_livestream_llhls_ask(c, t);
        return 0;
    }

    rc = ngx_livestream_llhls_track_codec(t, f->codec, t->msn);
    if (rc) {
        return rc;
    }

    if (f->dts < ngx_livestream_llhls_track_next(t)) {
        return 0;
    }

    return ngx_livestream_llhls_track_append(t, f, f->dts);
}


/* a discontinuity, unless there is one that t has not come to yet */

static void
ngx_livestream_llhls_ask(ngx_livestream_llhls_cutter_t *c,
    ngx_livestream_llhls_track_t *t)
{
    uint64_t                     n;
    ngx_livestream_llhls_cut_t  *cut;

    for (n = t->msn; n != c->msn; n++) {
        cut = &c->cuts[(n + 1) % NGX_LIVESTREAM_LLHLS_CUTS];

        if (cut->flags & NGX_LIVESTREAM_LLHLS_DISCONTINUITY) {
            return;
        }
    }

    c->asked = 1;
}


/* the next cut, with the frame that is first behind it or with none */

static int
ngx_livestream_llhls_follow_cut(ngx_livestream_llhls_cutter_t *c,
    ngx_livestream_llhls_track_t *t, ngx_livestream_frame_t *f)
{
    int                          rc;
    int64_t                      at, least;
    ngx_livestream_llhls_cut_t  *cut;

    cut = &c->cuts[(t->msn + 1) % NGX_LIVESTREAM_LLHLS_CUTS];

    if (t->open && (cut->flags & NGX_LIVESTREAM_LLHLS_DISCONTINUITY)) {

        rc = ngx_livestream_llhls_follow_end(t, cut->end);
        if (rc) {
            return rc;
        }
    }

    if (f && (!t->open || t->hash == f->codec->hash)) {

        rc = ngx_livestream_llhls_track_codec(t, f->codec, cut->msn);
        if (rc) {
            return rc;
        }

    } else {
        /* a new codec waits for a discontinuity */
        f = NULL;
    }

    /* where there is a frame near the cut, the track is cut at the frame */

    if (f && ngx_livestream_llhls_dts(f) - cut->time <= c->out.part_target) {
        at = f->dts;

    } else {
        at = ngx_livestream_llhls_ticks(t, cut->time);
    }

    if (t->open) {
        least = ngx_livestream_llhls_least(t);

        rc = ngx_livestream_llhls_track_reach(t, at > least ? at : least, 1,
                                              &at);
        if (rc == 0) {
            rc = ngx_livestream_llhls_track_close(t);
        }

        if (rc) {
            return rc;
        }
    }

    return ngx_livestream_llhls_track_open(t, cut->msn,
                                           at > t->start ? at : t->start,
                                           cut->wall, cut->flags);
}


/*
 * The segment ends for good at about `end`: at its last sample, if that is
 * near, or with a gap.
 */

static int
ngx_livestream_llhls_follow_end(ngx_livestream_llhls_track_t *t, int64_t end)
{
    int      rc;
    int64_t  at, dts;

    dts = ngx_livestream_llhls_ticks(t, end);
    at = ngx_livestream_llhls_track_end(t);

    if (dts - at <= t->target && at > t->start) {
        dts = at;
    }

    at = ngx_livestream_llhls_least(t);

    rc = ngx_livestream_llhls_track_reach(t, dts > at ? dts : at, 1, &at);

    if (rc) {
        return rc;
    }

    return ngx_livestream_llhls_track_close(t);
}


/* where the open segment may end at the earliest: none is empty */

static int64_t
ngx_livestream_llhls_least(ngx_livestream_llhls_track_t *t)
{
    int64_t  least;

    least = ngx_livestream_llhls_track_next(t);

    if (t->segment.nparts == 0 && t->nsamples == 0) {
        least += ngx_livestream_llhls_ticks(t, NGX_LIVESTREAM_LLHLS_LEAST);
    }

    return least;
}


/* gaps for a track that is absent, up to what is sure to be the segment's */

static int
ngx_livestream_llhls_fill(ngx_livestream_llhls_cutter_t *c,
    ngx_livestream_llhls_track_t *t)
{
    int  rc;

    while (t->msn != c->msn) {

        rc = ngx_livestream_llhls_follow_cut(c, t, NULL);
        if (rc) {
            return rc;
        }
    }

    if (!t->open || c->waiting) {
        return 0;
    }

    return ngx_livestream_llhls_track_advance(t,
                            ngx_livestream_llhls_ticks(t, c->horizon), 0);
}

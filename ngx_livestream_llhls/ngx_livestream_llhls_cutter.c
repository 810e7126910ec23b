
/*
 * Copyright (C) nginx-livestream contributors
 *
 * The cutter: decides where segments begin, in all tracks alike.
 *
 *   leader   |key . . . . . . |key . . . . . . . |key . .   <- horizon
 *            |                |                  |
 *   cuts     msn 7            msn 8              msn 9
 *
 * One track leads: of several of video the last one, which comes later than
 * the others and is the last to be given up.  It is cut at key frames: the
 * first segment is one group of pictures (or a second of short ones), later
 * ones are as many as fit.  A group that would make a segment longer than the
 * target duration is cut without a key frame, for that duration is a promise;
 * or at one that other tracks do not have, which is the better choice of the
 * two.  Each cut is noted with its time, and the other tracks follow
 * (ngx_livestream_llhls_follow.c).
 *
 * A leader of which nothing came while others went on is filled with gaps, so
 * that all playlists go on; these are cut by time.  A frame that comes late
 * for a gap is decoded behind it, while its pts stays.  A leader that nobody
 * makes any more hands over to the next one, and one that led because it was
 * the first to come, to the last one.
 *
 * Where the timeline is broken, or a codec changes, the segment ends in all
 * tracks and the next one is a discontinuity, which begins with a key frame;
 * what comes before that is dropped in all tracks.
 *
 * Pipeline thread.
 */


#include "ngx_livestream_llhls_cutter.h"


#define NGX_LIVESTREAM_LLHLS_STEP     200000        /* us, between frames */
#define NGX_LIVESTREAM_LLHLS_FROZEN   2000000       /* us, and a part: a leader
                                                       that is filled with
                                                       gaps */
#define NGX_LIVESTREAM_LLHLS_LAGGING  3000000       /* us, likewise: one that
                                                       an encoder makes */
#define NGX_LIVESTREAM_LLHLS_GONE     5000000       /* us, a leader that is
                                                       waited for */
#define NGX_LIVESTREAM_LLHLS_HOLE     60000000      /* us, not to be filled */
#define NGX_LIVESTREAM_LLHLS_CLOSE_BY 900000        /* us, behind a leader that
                                                       is to give way */


static int ngx_livestream_llhls_lead(ngx_livestream_llhls_cutter_t *c,
    ngx_livestream_frame_t *f);
static unsigned ngx_livestream_llhls_broken(ngx_livestream_llhls_cutter_t *c,
    ngx_livestream_frame_t *f);
static int ngx_livestream_llhls_lead_to(ngx_livestream_llhls_cutter_t *c,
    int64_t dts);
static int ngx_livestream_llhls_lead_on(ngx_livestream_llhls_cutter_t *c,
    ngx_livestream_llhls_track_t *t);
static int ngx_livestream_llhls_take_lead(ngx_livestream_llhls_cutter_t *c,
    ngx_livestream_llhls_track_t *t);
static int ngx_livestream_llhls_relieve(ngx_livestream_llhls_cutter_t *c,
    ngx_livestream_llhls_track_t *t);
static int ngx_livestream_llhls_hand_over(ngx_livestream_llhls_cutter_t *c);
static ngx_livestream_llhls_track_t *ngx_livestream_llhls_heir(
    ngx_livestream_llhls_cutter_t *c);
static int ngx_livestream_llhls_lead_queued(ngx_livestream_llhls_cutter_t *c);
static int ngx_livestream_llhls_cut(ngx_livestream_llhls_cutter_t *c,
    int64_t *dts, ngx_livestream_llhls_end_e end);
static int ngx_livestream_llhls_start(ngx_livestream_llhls_cutter_t *c,
    ngx_livestream_frame_t *f);
static int ngx_livestream_llhls_begin(ngx_livestream_llhls_cutter_t *c,
    int64_t dts);
static int ngx_livestream_llhls_stop(ngx_livestream_llhls_cutter_t *c,
    int64_t us);
static int ngx_livestream_llhls_finish(ngx_livestream_llhls_cutter_t *c,
    int64_t *dts, ngx_livestream_llhls_end_e end);


/* a track that was not expected until now has time to come */

int
ngx_livestream_llhls_cutter_expect(ngx_livestream_llhls_cutter_t *c,
    uint32_t expected)
{
    int                            rc;
    unsigned                       i;
    ngx_livestream_llhls_track_t  *t;

    rc = 0;
    c->expected = expected;

    for (i = 0; rc == 0 && i < c->ntracks; i++) {
        t = &c->tracks[i];

        if (t->out == NULL || t->media != NGX_LIVESTREAM_VIDEO) {
            continue;
        }

        if (i >= NGX_LIVESTREAM_PIPELINE_TRACKS
            || (expected && !(expected & (uint32_t) 1 << i)))
        {
            t->gone = 1;
            t->lost = 1;
            rc = ngx_livestream_llhls_track_hide(t);
            continue;
        }

        if (t->gone || t->codec == NULL) {
            t->gone = 0;
            t->fresh = c->horizon;
        }
    }

    return rc;
}


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

    rc = ngx_livestream_llhls_hand_over(c);
    if (rc) {
        return rc;
    }

    if (t != c->leader
        && t->media == NGX_LIVESTREAM_VIDEO
        && (c->leader->media == NGX_LIVESTREAM_AUDIO
            || (c->leader->gone && !t->open && t->msn == c->msn)))
    {
        if (!ngx_livestream_llhls_is_key(f)) {
            return 0;
        }

        rc = ngx_livestream_llhls_take_lead(c, t);
        if (rc) {
            return rc;
        }
    }

    if (t == c->leader) {
        rc = ngx_livestream_llhls_lead(c, f);

    } else {
        rc = ngx_livestream_llhls_follow_later(c, t, f);

        if (rc == 0) {
            rc = ngx_livestream_llhls_lead_on(c, t);
        }
    }

    if (rc) {
        return rc;
    }

    return ngx_livestream_llhls_follow(c);
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

    for (i = 0; rc == 0 && i < c->ntracks; i++) {
        t = &c->tracks[i];

        if (t->out && t != c->leader) {
            rc = ngx_livestream_llhls_follow_end(c, t, c->end);
        }
    }

    return rc;
}


static int
ngx_livestream_llhls_lead(ngx_livestream_llhls_cutter_t *c,
    ngx_livestream_frame_t *f)
{
    int                            rc;
    int64_t                        us, dts;
    unsigned                       i;
    ngx_livestream_llhls_track_t  *t;

    t = c->leader;
    us = ngx_livestream_llhls_dts(f);

    for (i = 0; i < c->ntracks; i++) {
        c->tracks[i].ahead = 0;
    }

    if (!c->waiting && ngx_livestream_llhls_broken(c, f)) {

        rc = ngx_livestream_llhls_stop(c, us);
        if (rc) {
            return rc;
        }

        c->flags |= NGX_LIVESTREAM_LLHLS_DISCONTINUITY;
    }

    if (us > c->horizon) {
        c->horizon = us;
    }

    if (c->waiting) {

        if (!ngx_livestream_llhls_is_key(f)
            || us + c->out.part_target < c->end)
        {
            return 0;
        }

        rc = ngx_livestream_llhls_start(c, f);
        if (rc) {
            return rc;
        }
    }

    c->wall = f->wall + c->shift;

    dts = ngx_livestream_llhls_track_next(t);

    if (dts < f->dts) {
        dts = f->dts;
    }

    rc = ngx_livestream_llhls_lead_to(c, dts);
    if (rc) {
        return rc;
    }

    if (ngx_livestream_llhls_due(c, f, ngx_livestream_llhls_us(t, dts))) {

        rc = ngx_livestream_llhls_cut(c, &dts,
                                      NGX_LIVESTREAM_LLHLS_END_BEFORE);
        if (rc) {
            return rc;
        }
    }

    return ngx_livestream_llhls_track_append(t, f, dts);
}


static unsigned
ngx_livestream_llhls_broken(ngx_livestream_llhls_cutter_t *c,
    ngx_livestream_frame_t *f)
{
    int64_t                        next;
    ngx_livestream_llhls_track_t  *t;

    t = c->leader;
    next = ngx_livestream_llhls_track_next(t);

    return (f->flags & NGX_LIVESTREAM_FRAME_DISCONTINUITY)
           || f->codec->hash != t->hash
           || ngx_livestream_llhls_dts(f) - ngx_livestream_llhls_us(t, next)
              > NGX_LIVESTREAM_LLHLS_HOLE;
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

        rc = ngx_livestream_llhls_cut(c, &at, NGX_LIVESTREAM_LLHLS_END);
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
    int64_t                        dts, frozen;
    ngx_livestream_llhls_track_t  *leader;

    leader = c->leader;
    frozen = leader->encoded ? NGX_LIVESTREAM_LLHLS_LAGGING
                             : NGX_LIVESTREAM_LLHLS_FROZEN;

    if (c->waiting) {

        if (t->ahead > NGX_LIVESTREAM_LLHLS_GONE
            && t->media == NGX_LIVESTREAM_AUDIO)
        {
            return ngx_livestream_llhls_relieve(c, t);
        }

        return 0;
    }

    if (t->ahead <= frozen + c->out.part_target) {
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
        rc = ngx_livestream_llhls_track_fill(leader, dts);
    }

    dts = ngx_livestream_llhls_us(leader, leader->start) - 1;

    if (dts > c->horizon) {
        c->horizon = dts;
    }

    return rc;
}


/*
 * Video that comes to a stream led by audio or by a track that is gone, or
 * audio where the video that was to lead does not come.  The newest frame of t
 * may be its first.  If that is behind what the old leader has put out, both
 * wait for a key frame that is not.
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

    if (rc == 0) {
        rc = ngx_livestream_llhls_follow_end(c, t, c->end);
    }

    t->msn = c->msn;
    t->lost = 0;

    c->leader->fresh = c->horizon;
    c->leader = t;
    c->ngops = 0;
    c->waiting = 1;

    return rc;
}


/* an audio track leads from the first frame on that it has queued */

static int
ngx_livestream_llhls_relieve(ngx_livestream_llhls_cutter_t *c,
    ngx_livestream_llhls_track_t *t)
{
    int  rc;

    rc = ngx_livestream_llhls_take_lead(c, t);

    return rc ? rc : ngx_livestream_llhls_lead_queued(c);
}


/*
 * Where the leader is gone the last track of video that is expected and is
 * where it was goes on in its place; while there is none, the first one that
 * comes with a key frame will.  Video that has taken the lead because it was
 * the first to come gives it up to what belongs there.
 */

static int
ngx_livestream_llhls_hand_over(ngx_livestream_llhls_cutter_t *c)
{
    ngx_livestream_llhls_track_t  *t;

    t = ngx_livestream_llhls_heir(c);

    if (t == NULL) {
        return 0;
    }

    if (c->waiting) {
        return ngx_livestream_llhls_relieve(c, t);
    }

    c->leader->fresh = c->horizon;
    c->leader = t;

    return ngx_livestream_llhls_lead_queued(c);
}


static ngx_livestream_llhls_track_t *
ngx_livestream_llhls_heir(ngx_livestream_llhls_cutter_t *c)
{
    unsigned                       i;
    ngx_livestream_llhls_track_t  *t;

    if (!c->leader->gone
        && (c->waiting || c->leader->media == NGX_LIVESTREAM_AUDIO))
    {
        return NULL;
    }

    for (i = c->ntracks; i > 0; i--) {
        t = &c->tracks[i - 1];

        if (t == c->leader && !t->gone) {
            return NULL;
        }

        if (t->out == NULL
            || t->media != NGX_LIVESTREAM_VIDEO
            || t->gone || t->lost || !t->open || t->msn != c->msn)
        {
            continue;
        }

        /* nor may the leader have passed where it is to cut next */

        if (c->leader->gone
            || c->horizon - t->newest < NGX_LIVESTREAM_LLHLS_CLOSE_BY)
        {
            return t;
        }
    }

    return NULL;
}


static int
ngx_livestream_llhls_lead_queued(ngx_livestream_llhls_cutter_t *c)
{
    int                      rc;
    ngx_livestream_frame_t  *f;

    rc = 0;

    while (rc == 0) {

        f = ngx_livestream_llhls_follow_take(c->leader);
        if (f == NULL) {
            break;
        }

        rc = ngx_livestream_llhls_lead(c, f);

        ngx_livestream_frame_unref(f);
    }

    return rc;
}


/* the leader's segment ends and the next one begins, at *dts or earlier */

static int
ngx_livestream_llhls_cut(ngx_livestream_llhls_cutter_t *c, int64_t *dts,
    ngx_livestream_llhls_end_e end)
{
    int  rc;

    rc = ngx_livestream_llhls_finish(c, dts, end);
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

    c->wall = f->wall + c->shift;
    c->key = ngx_livestream_llhls_dts(f);
    c->idr = c->key;

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

    for (i = 0; i < c->ntracks; i++) {
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
    least = ngx_livestream_llhls_track_least(t);

    if (us < ngx_livestream_llhls_us(t, dts)) {
        dts = ngx_livestream_llhls_ticks(t, us);
    }

    if (dts < least) {
        dts = least;
    }

    rc = ngx_livestream_llhls_finish(c, &dts, NGX_LIVESTREAM_LLHLS_END);
    if (rc) {
        return rc;
    }

    c->waiting = 1;
    c->end = ngx_livestream_llhls_us(t, dts);

    return 0;
}


/* The first one that is whole says how long all others may be. */

static int
ngx_livestream_llhls_finish(ngx_livestream_llhls_cutter_t *c, int64_t *dts,
    ngx_livestream_llhls_end_e end)
{
    int                             rc;
    uint32_t                        seconds;
    ngx_livestream_llhls_output_t  *out;

    rc = ngx_livestream_llhls_track_reach(c->leader, *dts, end, dts);
    if (rc) {
        return rc;
    }

    out = &c->out;

    if (out->target_duration == 0) {
        seconds = (out->conf->segment_duration + 1000000
                   - NGX_LIVESTREAM_LLHLS_ROUND) / 1000000;

        if (c->leader->segment.duration > (uint64_t) seconds * 1000000
                                          + NGX_LIVESTREAM_LLHLS_ROUND)
        {
            seconds = (c->leader->segment.duration + 999999) / 1000000;
        }

        out->target_duration = seconds;

        ngx_livestream_llhls_release(out);
    }

    return ngx_livestream_llhls_track_close(c->leader);
}

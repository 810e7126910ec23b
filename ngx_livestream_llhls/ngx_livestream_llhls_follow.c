
/*
 * Copyright (C) nginx-livestream contributors
 *
 * Followers: the tracks that are cut where the leader was.
 *
 *   cuts     msn 7            msn 8             horizon
 *            |                |                 |
 *   follower |. . . . . . . . |. . . . . . .    .|. . . . . .
 *                                          ^     \__ queued __/
 *                                          taken so far
 *
 * A frame waits until it is known which segment it belongs to: until there is
 * a cut behind it or the horizon has passed it.  Since the skew of a publisher
 * is all there is to wait for, what is further ahead than
 * NGX_LIVESTREAM_LLHLS_SKEW is dropped.
 *
 * A track of which nothing came while the leader moved on is filled with gaps,
 * so that its playlist goes on too, with the same media sequence numbers; one
 * that nobody makes any more, at once.  What comes late for a gap is dropped,
 * and video goes on with the next key frame then.
 *
 * A new codec has to wait for a discontinuity, which the leader is asked for:
 * up to then the track's frames are dropped.
 *
 * Pipeline thread.
 */


#include <errno.h>
#include <stdlib.h>

#include "ngx_livestream_llhls_cutter.h"


#define NGX_LIVESTREAM_LLHLS_SKEW     15000000      /* us */
#define NGX_LIVESTREAM_LLHLS_QUEUE    2048          /* frames */
#define NGX_LIVESTREAM_LLHLS_NEAR     90000         /* us, from a cut */
#define NGX_LIVESTREAM_LLHLS_ABSENT   1000000       /* us, and a part: silence
                                                       while others go on */
#define NGX_LIVESTREAM_LLHLS_LATE     3000000       /* us, likewise: of one
                                                       that an encoder makes */


struct ngx_livestream_llhls_queued_s {
    ngx_livestream_llhls_queued_t  *next;
    ngx_livestream_frame_t         *frame;
};


static int ngx_livestream_llhls_follow_queue(ngx_livestream_llhls_cutter_t *c,
    ngx_livestream_llhls_track_t *t);
static int ngx_livestream_llhls_follow_frame(ngx_livestream_llhls_cutter_t *c,
    ngx_livestream_llhls_track_t *t, ngx_livestream_frame_t *f, int64_t end);
static int ngx_livestream_llhls_lose(ngx_livestream_llhls_track_t *t);
static unsigned ngx_livestream_llhls_absent(ngx_livestream_llhls_cutter_t *c,
    ngx_livestream_llhls_track_t *t);
static void ngx_livestream_llhls_ask(ngx_livestream_llhls_cutter_t *c,
    ngx_livestream_llhls_track_t *t);
static int ngx_livestream_llhls_follow_close(ngx_livestream_llhls_track_t *t,
    int64_t end, int64_t most);
static int ngx_livestream_llhls_fill(ngx_livestream_llhls_cutter_t *c,
    ngx_livestream_llhls_track_t *t);


int
ngx_livestream_llhls_follow_later(ngx_livestream_llhls_cutter_t *c,
    ngx_livestream_llhls_track_t *t, ngx_livestream_frame_t *f)
{
    ngx_livestream_llhls_queued_t  *q;

    if (t->nqueued == NGX_LIVESTREAM_LLHLS_QUEUE
        || t->newest - c->horizon > NGX_LIVESTREAM_LLHLS_SKEW)
    {
        return ngx_livestream_llhls_lose(t);
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


ngx_livestream_frame_t *
ngx_livestream_llhls_follow_take(ngx_livestream_llhls_track_t *t)
{
    ngx_livestream_frame_t         *f;
    ngx_livestream_llhls_queued_t  *q;

    q = t->first;

    if (q == NULL) {
        return NULL;
    }

    t->first = q->next;
    t->nqueued--;

    f = q->frame;
    free(q);

    return f;
}


int
ngx_livestream_llhls_follow(ngx_livestream_llhls_cutter_t *c)
{
    int                            rc;
    unsigned                       i;
    ngx_livestream_llhls_track_t  *t;

    for (i = 0; i < c->ntracks; i++) {
        t = &c->tracks[i];

        if (t->out == NULL || t == c->leader) {
            continue;
        }

        rc = ngx_livestream_llhls_follow_queue(c, t);

        if (rc == 0 && ngx_livestream_llhls_absent(c, t)) {
            rc = ngx_livestream_llhls_fill(c, t);
        }

        if (rc) {
            return rc;
        }
    }

    return 0;
}


static unsigned
ngx_livestream_llhls_absent(ngx_livestream_llhls_cutter_t *c,
    ngx_livestream_llhls_track_t *t)
{
    int64_t  most;

    if (t->gone) {
        return t->first == NULL;
    }

    most = t->encoded ? NGX_LIVESTREAM_LLHLS_LATE
                      : NGX_LIVESTREAM_LLHLS_ABSENT;

    return c->horizon - t->fresh > most + c->out.part_target;
}


/* takes from the queue what the leader has passed */

static int
ngx_livestream_llhls_follow_queue(ngx_livestream_llhls_cutter_t *c,
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

        ngx_livestream_frame_unref(ngx_livestream_llhls_follow_take(t));
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
        return ngx_livestream_llhls_lose(t);
    }

    if (t->hash != f->codec->hash) {
        ngx_livestream_llhls_ask(c, t);
        return ngx_livestream_llhls_lose(t);
    }

    rc = ngx_livestream_llhls_track_codec(t, f->codec, t->msn);
    if (rc) {
        return rc;
    }

    if (f->dts < ngx_livestream_llhls_track_next(t)) {
        return ngx_livestream_llhls_lose(t);
    }

    if (t->lost) {

        if (!(f->flags & NGX_LIVESTREAM_FRAME_KEY)) {
            return ngx_livestream_llhls_track_fill(t, f->dts);
        }

        t->lost = 0;

        if (us - ngx_livestream_llhls_us(t, t->start)
            > NGX_LIVESTREAM_LLHLS_NEAR)
        {
            rc = ngx_livestream_llhls_track_skip(t, f->dts);
            if (rc) {
                return rc;
            }
        }
    }

    return ngx_livestream_llhls_track_append(t, f, f->dts);
}


/* a frame is dropped, or may have been */

static int
ngx_livestream_llhls_lose(ngx_livestream_llhls_track_t *t)
{
    t->lost = (t->media == NGX_LIVESTREAM_VIDEO);

    return 0;
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

int
ngx_livestream_llhls_follow_cut(ngx_livestream_llhls_cutter_t *c,
    ngx_livestream_llhls_track_t *t, ngx_livestream_frame_t *f)
{
    int                          rc;
    int64_t                      at, near, least;
    ngx_livestream_llhls_cut_t  *cut;

    cut = &c->cuts[(t->msn + 1) % NGX_LIVESTREAM_LLHLS_CUTS];

    if (t->open && (cut->flags & NGX_LIVESTREAM_LLHLS_DISCONTINUITY)) {

        rc = ngx_livestream_llhls_follow_close(t, cut->end,
                                f ? ngx_livestream_llhls_dts(f) : INT64_MAX);
        if (rc) {
            return rc;
        }

        (void) ngx_livestream_llhls_lose(t);
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

    near = t->open ? NGX_LIVESTREAM_LLHLS_NEAR : c->out.part_target;

    if (f && ngx_livestream_llhls_dts(f) - cut->time <= near) {
        at = f->dts;

    } else {
        at = ngx_livestream_llhls_ticks(t, cut->time);
    }

    if (t->open) {
        least = ngx_livestream_llhls_track_least(t);

        rc = ngx_livestream_llhls_track_reach(t, at > least ? at : least,
                                              NGX_LIVESTREAM_LLHLS_END, &at);
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
 * The segment ends for good at about `end`: with its last sample, if that is
 * near, or with a gap; and at `most`, where the next frame is.
 */

static int
ngx_livestream_llhls_follow_close(ngx_livestream_llhls_track_t *t, int64_t end,
    int64_t most)
{
    int      rc;
    int64_t  at, dts;

    dts = ngx_livestream_llhls_ticks(t, end);
    at = ngx_livestream_llhls_track_end(t);

    if (dts - at <= t->target && at > t->start) {
        dts = at;
    }

    if (ngx_livestream_llhls_us(t, dts) > most) {
        dts = ngx_livestream_llhls_ticks(t, most);
    }

    at = ngx_livestream_llhls_track_least(t);

    rc = ngx_livestream_llhls_track_reach(t, dts > at ? dts : at,
                                          NGX_LIVESTREAM_LLHLS_END, &at);

    if (rc) {
        return rc;
    }

    return ngx_livestream_llhls_track_close(t);
}


int
ngx_livestream_llhls_follow_end(ngx_livestream_llhls_cutter_t *c,
    ngx_livestream_llhls_track_t *t, int64_t us)
{
    int  rc;

    rc = ngx_livestream_llhls_follow_queue(c, t);

    while (rc == 0 && t->msn != c->msn) {
        rc = ngx_livestream_llhls_follow_cut(c, t, NULL);
    }

    if (rc == 0 && t->open) {
        rc = ngx_livestream_llhls_follow_close(t, us, INT64_MAX);
    }

    return rc;
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

    return ngx_livestream_llhls_track_fill(t,
                               ngx_livestream_llhls_ticks(t, c->horizon));
}

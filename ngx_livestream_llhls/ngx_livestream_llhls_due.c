
/*
 * Copyright (C) nginx-livestream contributors
 *
 * When a segment is to begin.
 *
 *   leader   |key . . . .|IDR . . . .|key . . . .|IDR . . . .|key . . .
 *   source   |key . . . . . . . . . .|key . . . . . . . . . .|key . . .
 *
 * The leader's key frames are candidates, but for those at which another track
 * has none: to these it comes where the next candidate would be too late.
 *
 * Pipeline thread.
 */


#include "ngx_livestream_llhls_cutter.h"


#define NGX_LIVESTREAM_LLHLS_FIRST    950000        /* us, of first segments */
#define NGX_LIVESTREAM_LLHLS_LONGEST  30            /* s, of a first segment */


static unsigned ngx_livestream_llhls_due_key(ngx_livestream_llhls_cutter_t *c,
    int64_t length, int64_t gop);
static unsigned ngx_livestream_llhls_last_key(
    ngx_livestream_llhls_cutter_t *c, int64_t us, int64_t step);
static int64_t ngx_livestream_llhls_gop(ngx_livestream_llhls_cutter_t *c,
    int64_t us);
static int64_t ngx_livestream_llhls_longest(ngx_livestream_llhls_cutter_t *c);


unsigned
ngx_livestream_llhls_due(ngx_livestream_llhls_cutter_t *c,
    ngx_livestream_frame_t *f, int64_t us)
{
    int64_t                        gop, step, delta, length;
    ngx_livestream_llhls_track_t  *t;

    t = c->leader;
    gop = 0;
    step = 0;

    if (f->flags & NGX_LIVESTREAM_FRAME_KEY) {
        step = us - c->idr;
        c->idr = us;
    }

    if (ngx_livestream_llhls_is_key(f)) {
        gop = ngx_livestream_llhls_gop(c, us);
    }

    if (t->segment.nparts == 0 && t->nsamples == 0) {
        return 0;
    }

    length = us - t->segment.start;

    if (f->flags & NGX_LIVESTREAM_FRAME_KEY) {

        if (ngx_livestream_llhls_is_key(f)
            ? ngx_livestream_llhls_due_key(c, length, gop)
            : ngx_livestream_llhls_last_key(c, us, step))
        {
            return 1;
        }
    }

    delta = ngx_livestream_llhls_us(t, t->delta);

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


static unsigned
ngx_livestream_llhls_due_key(ngx_livestream_llhls_cutter_t *c, int64_t length,
    int64_t gop)
{
    int64_t   most;
    unsigned  brief;

    if (c->asked) {
        return 1;
    }

    /* 6.006 s are three groups of 2.002 s */

    most = c->out.conf->segment_duration + gop / 8;

    /* players begin, and go on after a break, with a whole segment */

    brief = c->out.target_duration == 0
            || (c->leader->segment.flags & NGX_LIVESTREAM_LLHLS_DISCONTINUITY);

    if (brief && length >= NGX_LIVESTREAM_LLHLS_FIRST) {
        return 1;
    }

    return c->out.target_duration ? length + gop > most : length >= most;
}


/*
 * Is this one, which is no candidate, the last before the segment is too long,
 * and no candidate to come in time?
 */

static unsigned
ngx_livestream_llhls_last_key(ngx_livestream_llhls_cutter_t *c, int64_t us,
    int64_t step)
{
    int64_t  next, most;

    next = c->key + ngx_livestream_llhls_longest(c);
    most = c->leader->segment.start + ngx_livestream_llhls_limit(c);

    return us + step > most && (next <= us || next > most);
}


/* the longest of the last groups of pictures, this key frame's before it */

static int64_t
ngx_livestream_llhls_gop(ngx_livestream_llhls_cutter_t *c, int64_t us)
{
    c->gops[c->ngops++ % NGX_LIVESTREAM_LLHLS_GOPS] = us - c->key;
    c->key = us;

    return ngx_livestream_llhls_longest(c);
}


static int64_t
ngx_livestream_llhls_longest(ngx_livestream_llhls_cutter_t *c)
{
    int64_t   longest;
    unsigned  i, n;

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


int64_t
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

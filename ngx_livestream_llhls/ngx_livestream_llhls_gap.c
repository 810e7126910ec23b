
/*
 * Copyright (C) nginx-livestream contributors
 *
 * What the writer does without a packager: clean ends and gaps.
 *
 *   publisher gone                                         it is back
 *        |                                                     |
 *   -----+ settle                                              + settle
 *   part |  GAP  |  GAP  |  GAP  |  GAP  |  GAP  |  GAP  |     | part
 *   -----+-------------------------------+-----------------....+-----
 *        segment of the target duration  |
 *        origin = since                              reached
 *
 * Gaps go on by the wall clock, on one grid in all tracks, counted from the
 * moment of the interruption: a timer that is late is made up for.
 *
 * All that is needed is in the registry, so that a worker that takes over a
 * dead one's stream can do the same.
 *
 * Event loop of the worker that owns the stream.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>

#include "ngx_livestream_llhls_writer.h"


#define NGX_LIVESTREAM_LLHLS_GAP_LEAST  20000       /* us */


static void ngx_livestream_llhls_catch_up(ngx_livestream_llhls_writer_t *w,
    ngx_livestream_llhls_record_t *r, ngx_livestream_llhls_record_t *ahead);
static void ngx_livestream_llhls_begin_absence(
    ngx_livestream_llhls_writer_t *w);
static void ngx_livestream_llhls_gap(ngx_livestream_llhls_writer_t *w,
    ngx_livestream_llhls_record_t *r, int64_t end, ngx_uint_t last);


#define ngx_livestream_llhls_end(r)                                          \
    ((r)->state.open.start + (r)->state.open.duration)


void
ngx_livestream_llhls_settle(ngx_livestream_llhls_writer_t *w)
{
    ngx_uint_t                      i;
    ngx_livestream_segment_t       *open;
    ngx_livestream_llhls_record_t  *r, *ahead;

    w->absent = 0;

    ahead = NULL;

    for (i = 0; i < w->nrecords; i++) {
        r = &w->records[i];
        open = &r->state.open;

        if (open->duration) {
            ngx_livestream_llhls_close_segment(w, r,
                                     open->size ? 0 : NGX_LIVESTREAM_GAP);
        }

        if (ahead == NULL || open->msn > ahead->state.open.msn) {
            ahead = r;
        }
    }

    for (i = 0; i < w->nrecords; i++) {
        ngx_livestream_llhls_catch_up(w, &w->records[i], ahead);
    }
}


/* a worker that died had not the time to end its tracks alike */

static void
ngx_livestream_llhls_catch_up(ngx_livestream_llhls_writer_t *w,
    ngx_livestream_llhls_record_t *r, ngx_livestream_llhls_record_t *ahead)
{
    int64_t                    end, most;
    ngx_livestream_track_t    *t;
    ngx_livestream_segment_t  *segment, *open;

    t = ahead->track;
    open = &r->state.open;

    /* nothing is known of it: it begins where the others are */

    if (r->track->seq == 0 && r->state.seg_first == open->msn) {
        r->state.seg_first = ahead->state.open.msn;
        *open = ahead->state.open;
        open->part = r->state.part_next;
        return;
    }

    most = (int64_t) w->stream->sh->target_duration * 1000000;

    while (open->msn < ahead->state.open.msn) {

        end = 0;
        segment = &t->segments[open->msn & (t->nseg - 1)];

        if (segment->msn == open->msn) {
            end = segment->start + segment->duration;
            open->flags = segment->flags & NGX_LIVESTREAM_DISCONTINUITY;
        }

        end = ngx_min(end, open->start + most);
        end = ngx_max(end, open->start + NGX_LIVESTREAM_LLHLS_GAP_LEAST);

        open->duration = end - open->start;

        ngx_livestream_llhls_close_segment(w, r, NGX_LIVESTREAM_GAP);
    }
}


void
ngx_livestream_llhls_fill_absence(ngx_livestream_llhls_writer_t *w)
{
    int64_t                      now, step, most;
    ngx_uint_t                   i, last;
    ngx_livestream_sh_stream_t  *sh;

    sh = w->stream->sh;

    if (w->nrecords == 0) {
        return;
    }

    if (!w->absent) {
        ngx_livestream_llhls_begin_absence(w);
    }

    now = w->origin + (ngx_livestream_now() - w->since);

    most = (int64_t) sh->target_duration * 1000000;
    step = sh->low_latency ? (int64_t) sh->part_target : most;

    while (w->reached + step <= now) {

        w->reached += step;

        last = (w->reached - w->segment + step > most);

        for (i = 0; i < w->nrecords; i++) {
            ngx_livestream_llhls_gap(w, &w->records[i], w->reached, last);
        }

        if (last) {
            w->segment = w->reached;
        }
    }
}


/*
 * A worker that takes over in the midst of the gaps goes on from where they
 * are.
 */

static void
ngx_livestream_llhls_begin_absence(ngx_livestream_llhls_writer_t *w)
{
    int64_t                         origin;
    uint64_t                        msn;
    ngx_uint_t                      i, begun;
    ngx_livestream_track_t         *t;
    ngx_livestream_llhls_record_t  *r;

    ngx_livestream_llhls_settle(w);

    origin = INT64_MAX;
    begun = 1;

    for (i = 0; i < w->nrecords; i++) {
        r = &w->records[i];
        t = r->track;
        msn = r->state.open.msn - 1;

        origin = ngx_min(origin, ngx_livestream_llhls_end(r));

        if (!(t->segments[msn & (t->nseg - 1)].flags & NGX_LIVESTREAM_GAP)) {
            begun = 0;
        }
    }

    w->absent = 1;
    w->since = begun ? ngx_livestream_now() : w->stream->sh->interrupted;
    w->origin = origin;
    w->reached = origin;
    w->segment = origin;
}


/* a track that had ended later than another has shorter gaps at first */

static void
ngx_livestream_llhls_gap(ngx_livestream_llhls_writer_t *w,
    ngx_livestream_llhls_record_t *r, int64_t end, ngx_uint_t last)
{
    int64_t                    duration;
    ngx_livestream_part_t      part;
    ngx_livestream_segment_t  *open;

    open = &r->state.open;
    duration = end - ngx_livestream_llhls_end(r);

    if (duration <= 0) {

        if (!last || open->duration) {
            goto close;
        }

        duration = NGX_LIVESTREAM_LLHLS_GAP_LEAST;
    }

    if (w->stream->sh->low_latency) {
        ngx_memzero(&part, sizeof(ngx_livestream_part_t));

        part.msn = open->msn;
        part.index = open->nparts;
        part.flags = NGX_LIVESTREAM_GAP | (last ? NGX_LIVESTREAM_LAST : 0);
        part.duration = duration;

        ngx_livestream_llhls_put_part(r, &part);

    } else {
        open->duration += duration;
        r->changed = 1;
    }

close:

    if (last) {
        ngx_livestream_llhls_close_segment(w, r, NGX_LIVESTREAM_GAP);
    }
}

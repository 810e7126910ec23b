
/*
 * Copyright (C) nginx-livestream contributors
 *
 * The writer.
 *
 *   messages --> records[]: a track and the state it will have
 *                   |  many messages, then once, from a posted event:
 *                   +--> publish each state that changed --> ring the bus
 *
 * So a segment's last part, its end and the next segment's beginning are seen
 * at once, and a reader is woken once for what came together.
 *
 * What a playlist lists is decided here:
 *
 *   segments   playlist_length of them, or as many more as it takes for three
 *              target durations, or for the stream's window
 *   parts      of the open segment, of the one before it, and of those that
 *              began less than two target durations before the end: who is
 *              further behind takes segments
 *
 * Event loop of the worker that owns the stream.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>

#include "ngx_livestream_llhls_module.h"
#include "ngx_livestream_llhls_packager.h"
#include "ngx_livestream_llhls_writer.h"


#if (NGX_LIVESTREAM_LLHLS_DISCONTINUITY != NGX_LIVESTREAM_DISCONTINUITY      \
     || NGX_LIVESTREAM_LLHLS_GAP != NGX_LIVESTREAM_GAP                       \
     || NGX_LIVESTREAM_LLHLS_INDEPENDENT != NGX_LIVESTREAM_INDEPENDENT       \
     || NGX_LIVESTREAM_LLHLS_LAST != NGX_LIVESTREAM_LAST)
#error the flags of the packager must be those of the registry
#endif


static void ngx_livestream_llhls_writer_cleanup(void *data);
static void ngx_livestream_llhls_writer_event(ngx_event_t *ev);
static void ngx_livestream_llhls_playable(ngx_livestream_llhls_writer_t *w,
    ngx_livestream_llhls_record_t *r);
static ngx_livestream_llhls_record_t *ngx_livestream_llhls_record(
    ngx_livestream_llhls_writer_t *w, const char *name);
static void ngx_livestream_llhls_on_track(ngx_livestream_llhls_writer_t *w,
    ngx_livestream_llhls_message_t *msg);
static void ngx_livestream_llhls_on_open(ngx_livestream_llhls_writer_t *w,
    ngx_livestream_llhls_message_t *msg);
static void ngx_livestream_llhls_on_part(ngx_livestream_llhls_writer_t *w,
    ngx_livestream_llhls_message_t *msg);
static void ngx_livestream_llhls_on_close(ngx_livestream_llhls_writer_t *w,
    ngx_livestream_llhls_message_t *msg);
static void ngx_livestream_llhls_on_hide(ngx_livestream_llhls_writer_t *w,
    ngx_livestream_llhls_message_t *msg);
static void ngx_livestream_llhls_on_note(ngx_livestream_llhls_writer_t *w,
    ngx_livestream_llhls_message_t *msg);
static void ngx_livestream_llhls_shown(ngx_livestream_llhls_writer_t *w,
    ngx_livestream_llhls_message_t *msg);
static void ngx_livestream_llhls_slide(ngx_livestream_llhls_writer_t *w,
    ngx_livestream_llhls_record_t *r);
static void ngx_livestream_llhls_slide_parts(ngx_livestream_llhls_writer_t *w,
    ngx_livestream_llhls_record_t *r);
static void ngx_livestream_llhls_measure(ngx_livestream_llhls_writer_t *w,
    ngx_livestream_llhls_record_t *r);


typedef void (*ngx_livestream_llhls_on_pt)(ngx_livestream_llhls_writer_t *w,
    ngx_livestream_llhls_message_t *msg);


static ngx_livestream_llhls_on_pt  ngx_livestream_llhls_on[] = {
    ngx_livestream_llhls_on_track,         /* NGX_LIVESTREAM_LLHLS_TRACK */
    ngx_livestream_llhls_on_open,          /* NGX_LIVESTREAM_LLHLS_OPEN */
    ngx_livestream_llhls_on_part,          /* NGX_LIVESTREAM_LLHLS_PART */
    ngx_livestream_llhls_on_close,         /* NGX_LIVESTREAM_LLHLS_CLOSE */
    ngx_livestream_llhls_on_hide,          /* NGX_LIVESTREAM_LLHLS_HIDE */
    ngx_livestream_llhls_on_note           /* NGX_LIVESTREAM_LLHLS_NOTE */
};


#define ngx_livestream_llhls_segment(t, n)                                   \
    (&(t)->segments[(n) & ((t)->nseg - 1)])


ngx_livestream_llhls_writer_t *
ngx_livestream_llhls_writer(ngx_livestream_stream_t *s)
{
    uint64_t                        n;
    ngx_uint_t                      i;
    ngx_pool_cleanup_t             *cln;
    ngx_livestream_llhls_record_t  *r;
    ngx_livestream_llhls_writer_t  *w;

    w = s->ctx[ngx_livestream_llhls_module.ctx_index];

    if (w) {
        return w;
    }

    cln = ngx_pool_cleanup_add(s->pool, sizeof(ngx_livestream_llhls_writer_t));
    if (cln == NULL) {
        return NULL;
    }

    w = cln->data;

    ngx_memzero(w, sizeof(ngx_livestream_llhls_writer_t));

    w->stream = s;
    w->event.handler = ngx_livestream_llhls_writer_event;
    w->event.data = w;
    w->event.log = s->log;

    for (i = 0; i < s->sh->ntracks; i++) {
        r = &w->records[w->nrecords++];

        r->track = &s->sh->tracks[i];

        ngx_livestream_registry_begin(r->track, &r->state);

        for (n = r->state.seg_first; n < r->state.open.msn; n++) {
            r->content += ngx_livestream_llhls_segment(r->track, n)->duration;
        }
    }

    cln->handler = ngx_livestream_llhls_writer_cleanup;

    s->ctx[ngx_livestream_llhls_module.ctx_index] = w;

    return w;
}


static void
ngx_livestream_llhls_writer_cleanup(void *data)
{
    ngx_livestream_llhls_writer_t *w = data;

    if (w->event.posted) {
        ngx_delete_posted_event(&w->event);
    }

    ngx_livestream_dvr_log_close(w->stream, &w->dvr);
}


/* from the pipeline's mailbox; data is the stream, which made the pipeline */

void
ngx_livestream_llhls_message(void *data, ngx_livestream_message_t *message)
{
    ngx_livestream_stream_t *s = data;

    ngx_livestream_llhls_writer_t   *w;
    ngx_livestream_llhls_message_t  *msg;

    w = s->ctx[ngx_livestream_llhls_module.ctx_index];
    msg = (ngx_livestream_llhls_message_t *) message;

    if (w->failed) {
        return;
    }

    /* fixed: these are the same in each message */

    s->sh->target_duration = msg->target_duration;
    s->sh->part_target = msg->part_target;

    w->expected = msg->ntracks;

    ngx_livestream_llhls_on[msg->type](w, msg);

    ngx_livestream_llhls_shown(w, msg);

    if (!w->event.posted) {
        ngx_post_event(&w->event, &ngx_posted_events);
    }
}


static void
ngx_livestream_llhls_writer_event(ngx_event_t *ev)
{
    ngx_livestream_llhls_publish(ev->data);
}


void
ngx_livestream_llhls_publish(ngx_livestream_llhls_writer_t *w)
{
    ngx_uint_t                      i, changed, playable;
    ngx_livestream_llhls_record_t  *r;

    if (w->event.posted) {
        ngx_delete_posted_event(&w->event);
    }

    ngx_livestream_dvr_log_post(w->stream, &w->dvr);

    changed = 0;
    playable = 0;

    for (i = 0; i < w->nrecords; i++) {
        r = &w->records[i];

        if (r->changed) {
            ngx_livestream_llhls_playable(w, r);
        }

        if (r->state.playable && !r->state.hidden) {
            playable++;
        }

        if (!r->changed) {
            continue;
        }

        ngx_livestream_llhls_slide_parts(w, r);
        ngx_livestream_registry_publish(r->track, &r->state);

        r->changed = 0;
        changed = 1;
    }

    if (!changed) {
        return;
    }

    if (!w->live && w->expected && playable >= w->expected && !w->failed) {
        w->live = 1;
        ngx_livestream_stream_live(w->stream);
    }

    if (w->live) {
        ngx_livestream_dvr_log_live(w->stream, &w->dvr);
    }

    if (w->live && w->variants) {
        w->variants = 0;
        ngx_livestream_stream_variants(w->stream);
    }

    ngx_livestream_bus_ring(w->stream->sh);
}


/*
 * A whole segment has to be there, and as much as a player stays behind: one
 * that began with less would run dry.  An ended stream is what it is.
 */

static void
ngx_livestream_llhls_playable(ngx_livestream_llhls_writer_t *w,
    ngx_livestream_llhls_record_t *r)
{
    int64_t                      first, end, least;
    ngx_livestream_state_t      *state;
    ngx_livestream_sh_stream_t  *sh;

    sh = w->stream->sh;
    state = &r->state;

    if (state->playable || state->seg_first == state->open.msn) {
        return;
    }

    first = ngx_livestream_llhls_segment(r->track, state->seg_first)->start;
    end = state->open.start + state->open.duration;
    least = (sh->low_latency && !state->ended)
            ? 3 * (int64_t) sh->part_target : 0;

    if (end - first >= least) {
        state->playable = 1;
        w->variants = 1;
    }
}


static ngx_livestream_llhls_record_t *
ngx_livestream_llhls_record(ngx_livestream_llhls_writer_t *w,
    const char *name)
{
    ngx_uint_t  i;

    for (i = 0; i < w->nrecords; i++) {
        if (ngx_strcmp(w->records[i].track->name, name) == 0) {
            return &w->records[i];
        }
    }

    return NULL;
}


static void
ngx_livestream_llhls_on_track(ngx_livestream_llhls_writer_t *w,
    ngx_livestream_llhls_message_t *msg)
{
    ngx_str_t                       name;
    ngx_livestream_track_t         *t;
    ngx_livestream_codec_t         *codec;
    ngx_livestream_llhls_record_t  *r;

    codec = &msg->codec;
    r = ngx_livestream_llhls_record(w, msg->name);

    if (r == NULL) {
        name.data = (u_char *) msg->name;
        name.len = ngx_strlen(msg->name);

        t = ngx_livestream_registry_add_track(w->stream->sh, &name, codec,
                                              msg->segment.msn);
        if (t == NULL) {
            w->failed = 1;
            ngx_livestream_stream_failed(w->stream,
                                         "the livestream \"zone\" is full");
            return;
        }

        if ((uint64_t) t->nseg * w->stream->sh->segment_duration
            < w->stream->sh->window)
        {
            ngx_log_error(NGX_LOG_WARN, w->stream->log, 0,
                          "stream %V: the livestream \"zone\" has room for "
                          "%uD segments of track \"%s\", less than its DVR "
                          "window",
                          &w->stream->id, t->nseg, t->name);
        }

        r = &w->records[w->nrecords++];

        r->track = t;
        ngx_livestream_registry_begin(t, &r->state);
    }

    t = r->track;

    if (t->config_hash != codec->hash) {
        w->variants = 1;
    }

    ngx_memcpy(t->codecs, codec->codecs, NGX_LIVESTREAM_CODECS_LEN);

    t->codec = codec->id;
    t->width = codec->width;
    t->height = codec->height;
    t->transfer = codec->transfer;
    t->sample_rate = codec->sample_rate;
    t->channels = codec->channels;
    t->timescale = codec->timescale;
    t->config_hash = codec->hash;
    t->init = msg->segment.init;

    ngx_livestream_dvr_log_track(w->stream, &w->dvr, t);
}


static void
ngx_livestream_llhls_on_open(ngx_livestream_llhls_writer_t *w,
    ngx_livestream_llhls_message_t *msg)
{
    ngx_livestream_state_t          *state;
    ngx_livestream_segment_t        *open;
    ngx_livestream_llhls_record_t   *r;
    ngx_livestream_llhls_segment_t  *segment;

    r = ngx_livestream_llhls_record(w, msg->name);
    segment = &msg->segment;
    state = &r->state;
    open = &state->open;

    if (segment->msn != open->msn) {
        ngx_log_error(NGX_LOG_ALERT, w->stream->log, 0,
                      "stream %V: segment %uL of track \"%s\" is begun, "
                      "%uL was expected", &w->stream->id, segment->msn,
                      msg->name, open->msn);
    }

    ngx_memzero(open, sizeof(ngx_livestream_segment_t));

    open->msn = segment->msn;
    open->start = segment->start;
    open->pdt = segment->pdt;
    open->init = segment->init;
    open->flags = segment->flags;
    open->part = state->part_next;

    r->changed = 1;

    ngx_livestream_dvr_log_open(w->stream, &w->dvr, r->track, open);
}


static void
ngx_livestream_llhls_on_part(ngx_livestream_llhls_writer_t *w,
    ngx_livestream_llhls_message_t *msg)
{
    ngx_livestream_part_t           part;
    ngx_livestream_llhls_record_t  *r;

    r = ngx_livestream_llhls_record(w, msg->name);

    ngx_memzero(&part, sizeof(ngx_livestream_part_t));

    part.msn = msg->segment.msn;
    part.index = msg->part.index;
    part.flags = msg->part.flags;
    part.duration = msg->part.duration;
    part.offset = msg->part.offset;
    part.size = msg->part.size;

    ngx_livestream_llhls_put_part(r, &part);
}


void
ngx_livestream_llhls_put_part(ngx_livestream_llhls_record_t *r,
    ngx_livestream_part_t *part)
{
    ngx_livestream_segment_t  *open;

    open = &r->state.open;

    open->duration += part->duration;
    open->size += part->size;
    open->nparts++;

    ngx_livestream_registry_put_part(r->track, &r->state, part);

    r->changed = 1;
}


static void
ngx_livestream_llhls_on_close(ngx_livestream_llhls_writer_t *w,
    ngx_livestream_llhls_message_t *msg)
{
    ngx_livestream_segment_t       *open;
    ngx_livestream_llhls_record_t  *r;

    r = ngx_livestream_llhls_record(w, msg->name);
    open = &r->state.open;

    open->duration = msg->segment.duration;
    open->size = msg->segment.size;

    ngx_livestream_llhls_close_segment(w, r, msg->segment.flags);
}


void
ngx_livestream_llhls_close_segment(ngx_livestream_llhls_writer_t *w,
    ngx_livestream_llhls_record_t *r, uint32_t flags)
{
    ngx_livestream_state_t    *state;
    ngx_livestream_segment_t  *open;

    state = &r->state;
    open = &state->open;

    open->flags |= flags;

    ngx_livestream_registry_put_segment(r->track, open);
    ngx_livestream_dvr_log_segment(w->stream, &w->dvr, r->track, open);

    r->content += open->duration;

    if (open->start + open->duration > w->stream->sh->timeline) {
        w->stream->sh->timeline = open->start + open->duration;
    }

    open->msn++;
    open->start += open->duration;
    open->pdt += open->duration;
    open->duration = 0;
    open->size = 0;
    open->flags = 0;
    open->nparts = 0;
    open->part = state->part_next;

    r->changed = 1;

    ngx_livestream_llhls_measure(w, r);
    ngx_livestream_llhls_slide(w, r);
}


static void
ngx_livestream_llhls_on_hide(ngx_livestream_llhls_writer_t *w,
    ngx_livestream_llhls_message_t *msg)
{
    ngx_log_error(NGX_LOG_NOTICE, w->stream->log, 0,
                  "stream %V: track \"%s\" is hidden", &w->stream->id,
                  msg->name);
}


static void
ngx_livestream_llhls_on_note(ngx_livestream_llhls_writer_t *w,
    ngx_livestream_llhls_message_t *msg)
{
    ngx_log_error(NGX_LOG_WARN, w->stream->log, 0, "stream %V: %s",
                  &w->stream->id, msg->text);
}


/* what any message says of its track, for the multivariant playlist */

static void
ngx_livestream_llhls_shown(ngx_livestream_llhls_writer_t *w,
    ngx_livestream_llhls_message_t *msg)
{
    ngx_livestream_llhls_record_t  *r;

    r = ngx_livestream_llhls_record(w, msg->name);

    if (r == NULL) {
        return;
    }

    if (r->state.hidden != msg->hidden) {
        r->state.hidden = msg->hidden;
        r->changed = 1;
        w->variants = 1;

        if (!msg->hidden) {
            ngx_log_error(NGX_LOG_NOTICE, w->stream->log, 0,
                          "stream %V: track \"%s\" is shown again",
                          &w->stream->id, msg->name);
        }
    }

    if (msg->frame_rate && r->track->frame_rate != msg->frame_rate) {
        r->track->frame_rate = msg->frame_rate;
        w->variants = 1;

        ngx_livestream_dvr_log_track(w->stream, &w->dvr, r->track);
    }
}


static void
ngx_livestream_llhls_slide(ngx_livestream_llhls_writer_t *w,
    ngx_livestream_llhls_record_t *r)
{
    uint64_t                     n, least;
    ngx_livestream_track_t      *t;
    ngx_livestream_state_t      *state;
    ngx_livestream_segment_t    *first;
    ngx_livestream_sh_stream_t  *sh;

    t = r->track;
    state = &r->state;
    sh = w->stream->sh;

    least = (uint64_t) 3 * sh->target_duration * 1000000;
    least = ngx_max(least, sh->window);

    for ( ;; ) {
        n = state->open.msn - state->seg_first;
        first = ngx_livestream_llhls_segment(t, state->seg_first);

        if (n < t->nseg - 1
            && (n <= sh->playlist_length
                || r->content - first->duration < least))
        {
            return;
        }

        if (first->flags & NGX_LIVESTREAM_DISCONTINUITY) {
            state->discontinuity++;
        }

        r->content -= first->duration;
        state->seg_first++;
    }
}


static void
ngx_livestream_llhls_slide_parts(ngx_livestream_llhls_writer_t *w,
    ngx_livestream_llhls_record_t *r)
{
    int64_t                    end, least;
    ngx_livestream_part_t     *part;
    ngx_livestream_track_t    *t;
    ngx_livestream_state_t    *state;
    ngx_livestream_segment_t  *segment;

    t = r->track;
    state = &r->state;

    if (t->npart == 0) {
        return;
    }

    end = state->open.start + state->open.duration;
    least = (int64_t) 2 * w->stream->sh->target_duration * 1000000;

    while (state->part_first < state->part_next) {

        part = &t->parts[state->part_first & (t->npart - 1)];

        if (part->msn >= state->open.msn) {
            return;
        }

        segment = ngx_livestream_llhls_segment(t, part->msn);

        /* the first of a parent: all of it are there */

        if (part->index == 0
            && part->msn >= state->seg_first
            && (end - segment->start <= least
                || part->msn + 1 == state->open.msn))
        {
            return;
        }

        state->part_first++;
    }
}


/*
 * The peak is that of any run of segments of 0.5 to 1.5 target durations; all
 * runs that end with the newest segment are looked at when it is there.
 */

static void
ngx_livestream_llhls_measure(ngx_livestream_llhls_writer_t *w,
    ngx_livestream_llhls_record_t *r)
{
    uint64_t                   n, bytes, duration, rate, target;
    ngx_livestream_track_t    *t;
    ngx_livestream_segment_t  *segment;

    t = r->track;
    target = (uint64_t) w->stream->sh->target_duration * 1000000;

    n = r->state.open.msn - 1;
    segment = ngx_livestream_llhls_segment(t, n);

    if ((segment->flags & NGX_LIVESTREAM_GAP) || segment->duration == 0) {
        return;
    }

    t->bytes += segment->size;
    t->duration += segment->duration;

    if (t->duration >= 1000) {
        t->average = t->bytes * 8000 / (t->duration / 1000);
    }

    /* until there is a run that is long enough */

    if (t->duration < target / 2 && t->average > t->bandwidth) {
        t->bandwidth = t->average;
    }

    bytes = 0;
    duration = 0;

    for ( ;; ) {
        segment = ngx_livestream_llhls_segment(t, n);

        if (segment->msn != n || (segment->flags & NGX_LIVESTREAM_GAP)) {
            return;
        }

        bytes += segment->size;
        duration += segment->duration;

        if (duration > target + target / 2) {
            return;
        }

        if (duration >= target / 2 && duration >= 1000) {
            rate = bytes * 8000 / (duration / 1000);

            if (rate > t->bandwidth) {
                t->bandwidth = rate;
            }
        }

        if (n == r->state.seg_first) {
            return;
        }

        n--;
    }
}

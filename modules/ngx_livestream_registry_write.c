
/*
 * Copyright (C) nginx-livestream contributors
 *
 * The registry's writer; ngx_livestream_registry.h draws the rings, and
 * ngx_livestream_registry.c says how readers without a lock are kept right.
 *
 * Event loop of the worker that owns the stream.
 */


#include <ngx_config.h>
#include <ngx_core.h>

#include "ngx_livestream.h"


/* of the zone that is free, a window may take one in so many bytes */
#define NGX_LIVESTREAM_REGISTRY_SHARE  8


static ngx_int_t ngx_livestream_registry_rings(ngx_livestream_track_t *t,
    uint32_t least);


ngx_livestream_track_t *
ngx_livestream_registry_add_track(ngx_livestream_sh_stream_t *s,
    ngx_str_t *name, const ngx_livestream_codec_t *codec, uint64_t msn)
{
    uint64_t                 least, nseg, npart;
    ngx_livestream_track_t  *t;

    if (s->ntracks == NGX_LIVESTREAM_MAX_TRACKS
        || name->len > NGX_LIVESTREAM_TRACK_LEN
        || s->segment_duration == 0)
    {
        return NULL;
    }

    t = &s->tracks[s->ntracks];

    ngx_memzero(t, sizeof(ngx_livestream_track_t));

    /*
     * Segments stay known while they may still be asked for after they left
     * the playlist; parts for the three target durations that they are listed
     * and the three that they stay available, the whole of a parent each, at
     * worst with two short ones for each full one.
     */

    least = ngx_livestream_registry_pow2(3 * s->playlist_length + 8);

    /*
     * Those that left the window of a recorded stream are known by their
     * files.  Some segments are shorter than they should be.
     */

    nseg = s->window / s->segment_duration;
    nseg = ngx_livestream_registry_pow2(nseg + nseg / 8 + 8);

    t->nseg = ngx_max(least, nseg);

    if (s->low_latency && s->part_target) {
        npart = ngx_max((uint64_t) s->target_duration * 1000000,
                        s->segment_duration)
                / s->part_target + 1;

        t->npart = ngx_livestream_registry_pow2(npart * 8 * 2);
    }

    ngx_memcpy(t->name, name->data, name->len);

    t->media = codec->media;
    t->codec = codec->id;
    ngx_memcpy(t->codecs, codec->codecs, NGX_LIVESTREAM_CODECS_LEN);
    t->width = codec->width;
    t->height = codec->height;
    t->sample_rate = codec->sample_rate;
    t->transfer = codec->transfer;
    t->channels = codec->channels;
    t->timescale = codec->timescale;
    t->config_hash = codec->hash;

    if (ngx_livestream_registry_rings(t, least) != NGX_OK) {
        return NULL;
    }

    t->state[0].seg_first = msn;
    t->state[0].open.msn = msn;
    t->seg_write = msn;

    ngx_memory_barrier();

    s->ntracks++;

    return t;
}


/*
 * Where a zone has no room for a whole window, a shorter one is kept.  A part
 * of what is free is left, so that no window keeps other streams out.
 */

static ngx_int_t
ngx_livestream_registry_rings(ngx_livestream_track_t *t, uint32_t least)
{
    size_t  most;

    ngx_shmtx_lock(&ngx_livestream_shpool->mutex);

    if (t->npart) {
        t->parts = ngx_slab_calloc_locked(ngx_livestream_shpool,
                              t->npart * sizeof(ngx_livestream_part_t));

        if (t->parts == NULL) {
            ngx_shmtx_unlock(&ngx_livestream_shpool->mutex);
            return NGX_ERROR;
        }
    }

    most = ngx_livestream_shpool->pfree * ngx_pagesize
           / NGX_LIVESTREAM_REGISTRY_SHARE;

    while (t->nseg > least
           && t->nseg * sizeof(ngx_livestream_segment_t) > most)
    {
        t->nseg /= 2;
    }

    for ( ;; ) {
        t->segments = ngx_slab_calloc_locked(ngx_livestream_shpool,
                              t->nseg * sizeof(ngx_livestream_segment_t));

        if (t->segments || t->nseg == least) {
            break;
        }

        t->nseg /= 2;
    }

    if (t->segments == NULL && t->parts) {
        ngx_slab_free_locked(ngx_livestream_shpool, t->parts);
        t->parts = NULL;
    }

    ngx_shmtx_unlock(&ngx_livestream_shpool->mutex);

    return t->segments ? NGX_OK : NGX_ERROR;
}


void
ngx_livestream_registry_begin(ngx_livestream_track_t *t,
    ngx_livestream_state_t *state)
{
    *state = t->state[t->seq & 3];
}


void
ngx_livestream_registry_put_part(ngx_livestream_track_t *t,
    ngx_livestream_state_t *state, ngx_livestream_part_t *part)
{
    if (t->npart == 0) {
        return;
    }

    t->part_write = state->part_next + 1;

    ngx_memory_barrier();

    t->parts[state->part_next & (t->npart - 1)] = *part;

    state->part_next++;

    /* a ring that is too small for its playlist shows less of it */

    if (state->part_next - state->part_first > t->npart) {
        state->part_first = state->part_next - t->npart;
    }
}


void
ngx_livestream_registry_put_segment(ngx_livestream_track_t *t,
    ngx_livestream_segment_t *segment)
{
    t->seg_write = segment->msn + 1;

    ngx_memory_barrier();

    t->segments[segment->msn & (t->nseg - 1)] = *segment;
}


void
ngx_livestream_registry_publish(ngx_livestream_track_t *t,
    ngx_livestream_state_t *state)
{
    t->state[(t->seq + 1) & 3] = *state;

    ngx_memory_barrier();

    t->seq++;
}


/*
 * Copyright (C) nginx-livestream contributors
 *
 * The playlists that this worker has rendered.
 *
 *     slots[stream]                        texts
 *       uid                                  lru: newest used first
 *       texts[track][full, delta] -------->  seq, plain, gzip, refs
 *       master ------------------------->
 *
 * A slot has the text of the newest state that was asked for; when the track
 * has moved on, the next request renders it anew, and all that follow take
 * that one buffer.  Replaced texts live on until the last response that
 * refers to them is sent.  What is only kept for the next request is bounded
 * by NGX_LIVESTREAM_LLHLS_CACHE_MAX bytes: the least recently used go first.
 *
 * Event loop only.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <zlib.h>

#include "ngx_livestream.h"
#include "ngx_livestream_llhls_cache.h"
#include "ngx_livestream_llhls_playlist.h"


#define NGX_LIVESTREAM_LLHLS_CACHE_MAX   (16 * 1024 * 1024)
#define NGX_LIVESTREAM_LLHLS_POOL_SIZE   16384


typedef struct {
    ngx_atomic_uint_t             uid;
    ngx_livestream_llhls_text_t  *texts[NGX_LIVESTREAM_MAX_TRACKS][2];
    ngx_livestream_llhls_text_t  *master;
} ngx_livestream_llhls_slot_t;


typedef struct {
    ngx_livestream_llhls_slot_t  *slots;
    ngx_uint_t                    nslots;
    ngx_queue_t                   lru;
    size_t                        size;
    z_stream                      zstream;
    ngx_uint_t                    deflate;  /* zstream is set up */
} ngx_livestream_llhls_cache_t;


static ngx_livestream_llhls_slot_t *ngx_livestream_llhls_cache_slot(
    ngx_livestream_sh_stream_t *s, ngx_atomic_uint_t uid);
static ngx_int_t ngx_livestream_llhls_cache_seq(ngx_livestream_sh_stream_t *s,
    ngx_atomic_uint_t uid, ngx_uint_t track, ngx_uint_t kind,
    ngx_atomic_uint_t *seq);
static ngx_int_t ngx_livestream_llhls_render_media(
    ngx_livestream_sh_stream_t *s, ngx_atomic_uint_t uid, ngx_uint_t track,
    ngx_uint_t kind, ngx_pool_t *pool, ngx_livestream_llhls_text_t **text);
static void ngx_livestream_llhls_reports(ngx_livestream_sh_stream_t *s,
    ngx_atomic_uint_t uid, ngx_uint_t track, ngx_livestream_llhls_media_t *m);
static ngx_int_t ngx_livestream_llhls_render_master(
    ngx_livestream_sh_stream_t *s, ngx_atomic_uint_t uid, ngx_pool_t *pool,
    ngx_livestream_llhls_text_t **text);
static ngx_livestream_llhls_text_t *ngx_livestream_llhls_text_alloc(
    size_t size, ngx_log_t *log);
static void ngx_livestream_llhls_cache_insert(
    ngx_livestream_llhls_text_t **slot, ngx_livestream_llhls_text_t *text);
static void ngx_livestream_llhls_cache_remove(
    ngx_livestream_llhls_text_t *text);
static void ngx_livestream_llhls_text_release(void *data);


static ngx_livestream_llhls_cache_t  ngx_livestream_llhls_cache;


ngx_int_t
ngx_livestream_llhls_cache_init_process(ngx_cycle_t *cycle)
{
    ngx_livestream_llhls_cache_t  *cache;

    cache = &ngx_livestream_llhls_cache;

    ngx_memzero(cache, sizeof(ngx_livestream_llhls_cache_t));
    ngx_queue_init(&cache->lru);

    if (ngx_livestream_sh == NULL) {
        return NGX_OK;
    }

    cache->nslots = ngx_livestream_sh->nstreams;

    cache->slots = ngx_calloc(cache->nslots
                              * sizeof(ngx_livestream_llhls_slot_t),
                              cycle->log);

    return cache->slots ? NGX_OK : NGX_ERROR;
}


void
ngx_livestream_llhls_cache_exit_process(ngx_cycle_t *cycle)
{
    ngx_queue_t                   *q;
    ngx_livestream_llhls_cache_t  *cache;

    cache = &ngx_livestream_llhls_cache;

    while (cache->slots && !ngx_queue_empty(&cache->lru)) {
        q = ngx_queue_last(&cache->lru);
        ngx_livestream_llhls_cache_remove(
                  ngx_queue_data(q, ngx_livestream_llhls_text_t, queue));
    }

    if (cache->deflate) {
        (void) deflateEnd(&cache->zstream);
    }

    if (cache->slots) {
        ngx_free(cache->slots);
        cache->slots = NULL;
    }
}


ngx_int_t
ngx_livestream_llhls_cache_get(ngx_livestream_sh_stream_t *s,
    ngx_atomic_uint_t uid, ngx_uint_t track, ngx_livestream_llhls_text_e kind,
    ngx_log_t *log, ngx_livestream_llhls_text_t **text)
{
    ngx_int_t                      rc;
    ngx_pool_t                    *pool;
    ngx_atomic_uint_t              seq;
    ngx_livestream_llhls_text_t  **place;
    ngx_livestream_llhls_slot_t   *slot;

    rc = ngx_livestream_llhls_cache_seq(s, uid, track, kind, &seq);
    if (rc != NGX_OK) {
        return rc;
    }

    slot = ngx_livestream_llhls_cache_slot(s, uid);

    place = (kind == NGX_LIVESTREAM_LLHLS_MASTER) ? &slot->master
                                                  : &slot->texts[track][kind];

    if (*place && (*place)->seq == seq) {
        *text = *place;

        ngx_queue_remove(&(*text)->queue);
        ngx_queue_insert_head(&ngx_livestream_llhls_cache.lru,
                              &(*text)->queue);
        return NGX_OK;
    }

    pool = ngx_create_pool(NGX_LIVESTREAM_LLHLS_POOL_SIZE, log);
    if (pool == NULL) {
        return NGX_ERROR;
    }

    if (kind == NGX_LIVESTREAM_LLHLS_MASTER) {
        rc = ngx_livestream_llhls_render_master(s, uid, pool, text);

    } else {
        rc = ngx_livestream_llhls_render_media(s, uid, track, kind, pool,
                                               text);
    }

    ngx_destroy_pool(pool);

    if (rc != NGX_OK) {
        return rc;
    }

    if (kind == NGX_LIVESTREAM_LLHLS_MASTER) {
        (*text)->seq = seq;
    }

    ngx_livestream_llhls_cache_insert(place, *text);

    return NGX_OK;
}


static ngx_livestream_llhls_slot_t *
ngx_livestream_llhls_cache_slot(ngx_livestream_sh_stream_t *s,
    ngx_atomic_uint_t uid)
{
    ngx_uint_t                    i, n;
    ngx_livestream_llhls_slot_t  *slot;

    slot = &ngx_livestream_llhls_cache.slots[s - ngx_livestream_sh->streams];

    if (slot->uid == uid) {
        return slot;
    }

    /* another stream was here */

    for (i = 0; i < NGX_LIVESTREAM_MAX_TRACKS; i++) {
        for (n = 0; n < 2; n++) {
            if (slot->texts[i][n]) {
                ngx_livestream_llhls_cache_remove(slot->texts[i][n]);
            }
        }
    }

    if (slot->master) {
        ngx_livestream_llhls_cache_remove(slot->master);
    }

    slot->uid = uid;

    return slot;
}


/* what changes whenever the text would */

static ngx_int_t
ngx_livestream_llhls_cache_seq(ngx_livestream_sh_stream_t *s,
    ngx_atomic_uint_t uid, ngx_uint_t track, ngx_uint_t kind,
    ngx_atomic_uint_t *seq)
{
    ngx_uint_t             i, n;
    ngx_livestream_view_t  view;

    if (kind != NGX_LIVESTREAM_LLHLS_MASTER) {

        if (ngx_livestream_registry_view(s, uid, track, NULL, &view)
            != NGX_OK)
        {
            return NGX_DECLINED;
        }

        *seq = view.seq;

        return NGX_OK;
    }

    /* each grows, so the sum does */

    n = ngx_min(s->ntracks, NGX_LIVESTREAM_MAX_TRACKS);
    *seq = n;

    for (i = 0; i < n; i++) {
        *seq += s->tracks[i].seq;
    }

    return (s->uid == uid) ? NGX_OK : NGX_DECLINED;
}


static ngx_int_t
ngx_livestream_llhls_render_media(ngx_livestream_sh_stream_t *s,
    ngx_atomic_uint_t uid, ngx_uint_t track, ngx_uint_t kind,
    ngx_pool_t *pool, ngx_livestream_llhls_text_t **text)
{
    size_t                         size;
    ngx_int_t                      rc;
    ngx_livestream_view_t          view;
    ngx_livestream_llhls_text_t   *t;
    ngx_livestream_llhls_media_t   m;

    rc = ngx_livestream_registry_view(s, uid, track, pool, &view);
    if (rc != NGX_OK) {
        return rc;
    }

    ngx_memzero(&m, sizeof(ngx_livestream_llhls_media_t));

    m.view = &view;
    m.target_duration = s->target_duration;
    m.part_target = s->low_latency ? s->part_target : 0;

    if (m.part_target && !view.state.ended) {
        ngx_livestream_llhls_reports(s, uid, track, &m);
    }

    if (kind == NGX_LIVESTREAM_LLHLS_DELTA && !view.state.ended) {
        m.skipped = ngx_livestream_llhls_skippable(&view, m.target_duration);
    }

    if (s->uid != uid) {
        return NGX_DECLINED;
    }

    size = ngx_livestream_llhls_media_get_size(&m);

    t = ngx_livestream_llhls_text_alloc(size, pool->log);
    if (t == NULL) {
        return NGX_ERROR;
    }

    t->seq = view.seq;
    t->plain.len = ngx_livestream_llhls_media_write(t->plain.data, &m)
                   - t->plain.data;

    if (m.part_target && !view.state.ended) {
        t->hint = 1;
        t->hint_msn = view.state.open.msn;
        t->hint_part = view.state.open.nparts;
    }

    if (t->plain.len > size) {
        ngx_log_error(NGX_LOG_ALERT, pool->log, 0,
                      "livestream playlist of %uz bytes is greater than "
                      "its size %uz", t->plain.len, size);
        ngx_free(t);
        return NGX_ERROR;
    }

    *text = t;

    return NGX_OK;
}


static void
ngx_livestream_llhls_reports(ngx_livestream_sh_stream_t *s,
    ngx_atomic_uint_t uid, ngx_uint_t track, ngx_livestream_llhls_media_t *m)
{
    ngx_uint_t                      i, n;
    ngx_livestream_view_t           view;
    ngx_livestream_llhls_report_t  *report;

    n = ngx_min(s->ntracks, NGX_LIVESTREAM_MAX_TRACKS);

    for (i = 0; i < n; i++) {

        if (i == track
            || ngx_livestream_registry_view(s, uid, i, NULL, &view) != NGX_OK
            || view.state.hidden)
        {
            continue;
        }

        report = &m->reports[m->nreports];

        if (ngx_livestream_llhls_last_part(s, uid, i, &report->msn,
                                           &report->part)
            == NGX_OK)
        {
            report->track = s->tracks[i].name;
            m->nreports++;
        }
    }
}


ngx_int_t
ngx_livestream_llhls_last_part(ngx_livestream_sh_stream_t *s,
    ngx_atomic_uint_t uid, ngx_uint_t track, uint64_t *msn, uint32_t *part)
{
    ngx_livestream_view_t     view;
    ngx_livestream_segment_t  segment;

    if (ngx_livestream_registry_view(s, uid, track, NULL, &view) != NGX_OK) {
        return NGX_DECLINED;
    }

    segment = view.state.open;

    if (segment.nparts == 0
        && (segment.msn == 0
            || ngx_livestream_registry_segment(s, uid, track, segment.msn - 1,
                                               &segment) != NGX_OK
            || segment.nparts == 0))
    {
        return NGX_DECLINED;
    }

    *msn = segment.msn;
    *part = segment.nparts - 1;

    return NGX_OK;
}


static ngx_int_t
ngx_livestream_llhls_render_master(ngx_livestream_sh_stream_t *s,
    ngx_atomic_uint_t uid, ngx_pool_t *pool,
    ngx_livestream_llhls_text_t **text)
{
    size_t                             size;
    ngx_uint_t                         i, n, ntracks;
    ngx_livestream_view_t              view;
    ngx_livestream_track_t            *t;
    ngx_livestream_llhls_rendition_t  *r;

    ntracks = ngx_min(s->ntracks, NGX_LIVESTREAM_MAX_TRACKS);

    r = ngx_pcalloc(pool, NGX_LIVESTREAM_MAX_TRACKS
                          * sizeof(ngx_livestream_llhls_rendition_t));
    if (r == NULL) {
        return NGX_ERROR;
    }

    for (i = 0, n = 0; i < ntracks; i++) {

        if (ngx_livestream_registry_view(s, uid, i, NULL, &view) != NGX_OK
            || !view.state.playable || view.state.hidden)
        {
            continue;
        }

        t = &s->tracks[i];

        r[n].name = t->name;
        r[n].codecs = t->codecs;
        r[n].media = t->media;
        r[n].width = t->width;
        r[n].height = t->height;
        r[n].frame_rate = t->frame_rate;
        r[n].transfer = t->transfer;
        r[n].channels = t->channels;
        r[n].bandwidth = t->bandwidth;
        r[n].average = t->average;
        n++;
    }

    size = ngx_livestream_llhls_multivariant_get_size(r, n);

    *text = ngx_livestream_llhls_text_alloc(size, pool->log);
    if (*text == NULL) {
        return NGX_ERROR;
    }

    (*text)->plain.len = ngx_livestream_llhls_multivariant_write(
                                              (*text)->plain.data, r, n)
                         - (*text)->plain.data;

    if (s->uid != uid) {
        ngx_free(*text);
        return NGX_DECLINED;
    }

    return NGX_OK;
}


static ngx_livestream_llhls_text_t *
ngx_livestream_llhls_text_alloc(size_t size, ngx_log_t *log)
{
    ngx_livestream_llhls_text_t  *text;

    text = ngx_alloc(sizeof(ngx_livestream_llhls_text_t) + size, log);
    if (text == NULL) {
        return NULL;
    }

    ngx_memzero(text, sizeof(ngx_livestream_llhls_text_t));

    text->refs = 1;
    text->plain.data = (u_char *) text + sizeof(ngx_livestream_llhls_text_t);

    return text;
}


static void
ngx_livestream_llhls_cache_insert(ngx_livestream_llhls_text_t **slot,
    ngx_livestream_llhls_text_t *text)
{
    ngx_queue_t                   *q;
    ngx_livestream_llhls_cache_t  *cache;

    cache = &ngx_livestream_llhls_cache;

    if (*slot) {
        ngx_livestream_llhls_cache_remove(*slot);
    }

    *slot = text;
    text->slot = (void **) slot;

    ngx_queue_insert_head(&cache->lru, &text->queue);
    cache->size += text->plain.len;

    while (cache->size > NGX_LIVESTREAM_LLHLS_CACHE_MAX) {

        q = ngx_queue_last(&cache->lru);

        if (q == &text->queue) {
            break;
        }

        ngx_livestream_llhls_cache_remove(
                  ngx_queue_data(q, ngx_livestream_llhls_text_t, queue));
    }
}


static void
ngx_livestream_llhls_cache_remove(ngx_livestream_llhls_text_t *text)
{
    ngx_queue_remove(&text->queue);
    ngx_livestream_llhls_cache.size -= text->plain.len + text->gzip.len;

    *text->slot = NULL;
    text->slot = NULL;

    ngx_livestream_llhls_text_release(text);
}


static void
ngx_livestream_llhls_text_release(void *data)
{
    ngx_livestream_llhls_text_t *text = data;

    if (--text->refs) {
        return;
    }

    if (text->gzip.data) {
        ngx_free(text->gzip.data);
    }

    ngx_free(text);
}


ngx_int_t
ngx_livestream_llhls_text_hold(ngx_livestream_llhls_text_t *text,
    ngx_pool_t *pool)
{
    ngx_pool_cleanup_t  *cln;

    cln = ngx_pool_cleanup_add(pool, 0);
    if (cln == NULL) {
        return NGX_ERROR;
    }

    cln->handler = ngx_livestream_llhls_text_release;
    cln->data = text;

    text->refs++;

    return NGX_OK;
}


ngx_int_t
ngx_livestream_llhls_text_gzip(ngx_livestream_llhls_text_t *text,
    ngx_log_t *log)
{
    size_t                         size;
    z_stream                      *z;
    ngx_livestream_llhls_cache_t  *cache;

    if (text->gzip.data) {
        return NGX_OK;
    }

    cache = &ngx_livestream_llhls_cache;
    z = &cache->zstream;

    /* 15 is zlib's window, 16 more asks for gzip's header and trailer */

    if (!cache->deflate) {

        if (deflateInit2(z, Z_DEFAULT_COMPRESSION, Z_DEFLATED, 15 + 16, 8,
                         Z_DEFAULT_STRATEGY)
            != Z_OK)
        {
            return NGX_ERROR;
        }

        cache->deflate = 1;

    } else {
        (void) deflateReset(z);
    }

    size = deflateBound(z, text->plain.len);

    text->gzip.data = ngx_alloc(size, log);
    if (text->gzip.data == NULL) {
        return NGX_ERROR;
    }

    z->next_in = text->plain.data;
    z->avail_in = text->plain.len;
    z->next_out = text->gzip.data;
    z->avail_out = size;

    if (deflate(z, Z_FINISH) != Z_STREAM_END) {
        ngx_free(text->gzip.data);
        text->gzip.data = NULL;
        return NGX_ERROR;
    }

    text->gzip.len = size - z->avail_out;

    if (text->slot) {
        cache->size += text->gzip.len;
    }

    return NGX_OK;
}

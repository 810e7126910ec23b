
/*
 * Copyright (C) nginx-livestream contributors
 *
 * The registry; ngx_livestream_registry.h draws it.
 *
 * How a reader without a lock is kept right:
 *
 *   state[]   The writer fills slot (seq + 1) & 3 and then advances seq.  A
 *             copy of slot seq & 3 is whole if seq has moved by less than
 *             three meanwhile.
 *   rings     The writer advances seg_write or part_write, then writes the
 *             record.  Copied records are whole if the oldest of them is less
 *             than a ring's size behind.
 *   slots     A slot is never given another type.  uid is cleared before a
 *             stream is taken out and set after one was put in, so whoever
 *             finds it unchanged after reading has read of that stream.
 *   lookup    Buckets change under the mutex.  A reader that misses without
 *             it looks again with it, so only unknown ids cost a lock.
 *
 * Event loop of any worker; the zone is set up in the master.
 */


#include <ngx_config.h>
#include <ngx_core.h>

#include "ngx_livestream.h"


#define NGX_LIVESTREAM_REGISTRY_VERSION  3


typedef struct {
    ngx_uint_t                   max_streams;
    ngx_livestream_sh_t         *sh;
} ngx_livestream_zone_t;


static ngx_int_t ngx_livestream_registry_init_zone(ngx_shm_zone_t *shm_zone,
    void *data);
static uint32_t ngx_livestream_registry_hash(ngx_str_t *id);
static ngx_livestream_sh_stream_t *ngx_livestream_registry_lookup(
    ngx_str_t *id, uint32_t hash);
static ngx_int_t ngx_livestream_registry_copy(ngx_livestream_track_t *t,
    ngx_pool_t *pool, ngx_livestream_view_t *view);


ngx_livestream_sh_t  *ngx_livestream_sh;
ngx_slab_pool_t      *ngx_livestream_shpool;

static ngx_str_t  ngx_livestream_zone_name = ngx_string("livestream");


char *
ngx_livestream_registry_zone(ngx_conf_t *cf, size_t size,
    ngx_uint_t max_streams)
{
    ngx_uint_t              i;
    ngx_cycle_t            *old;
    ngx_list_part_t        *part;
    ngx_shm_zone_t         *zone, *shm_zone;
    ngx_livestream_zone_t  *ctx;

    if (size < 8 * ngx_pagesize) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "livestream \"zone\" is too small");
        return NGX_CONF_ERROR;
    }

    /* another size would be another zone, in which no stream is known */

    old = cf->cycle->old_cycle;

    if (old && old->conf_ctx) {

        part = &old->shared_memory.part;
        zone = part->elts;

        for (i = 0; /* void */ ; i++) {

            if (i >= part->nelts) {
                if (part->next == NULL) {
                    break;
                }
                part = part->next;
                zone = part->elts;
                i = 0;
            }

            if (zone[i].tag == &ngx_livestream_module
                && zone[i].shm.size != size)
            {
                ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                             "the size of the livestream \"zone\" cannot "
                             "be changed by a reload, restart nginx");
                return NGX_CONF_ERROR;
            }
        }
    }

    ctx = ngx_pcalloc(cf->pool, sizeof(ngx_livestream_zone_t));
    if (ctx == NULL) {
        return NGX_CONF_ERROR;
    }

    shm_zone = ngx_shared_memory_add(cf, &ngx_livestream_zone_name, size,
                                     &ngx_livestream_module);
    if (shm_zone == NULL) {
        return NGX_CONF_ERROR;
    }

    ctx->max_streams = max_streams;

    shm_zone->init = ngx_livestream_registry_init_zone;
    shm_zone->data = ctx;

    return NGX_CONF_OK;
}


static ngx_int_t
ngx_livestream_registry_init_zone(ngx_shm_zone_t *shm_zone, void *data)
{
    ngx_livestream_zone_t *octx = data;

    ngx_slab_pool_t        *shpool;
    ngx_livestream_sh_t    *sh;
    ngx_livestream_zone_t  *ctx;

    ctx = shm_zone->data;
    shpool = (ngx_slab_pool_t *) shm_zone->shm.addr;

    if (octx) {
        ctx->sh = octx->sh;

        if (ctx->sh->nstreams < ctx->max_streams) {
            ngx_log_error(NGX_LOG_WARN, shm_zone->shm.log, 0,
                          "\"max_concurrent_streams\" is limited to %ui "
                          "until nginx is restarted", ctx->sh->nstreams);
        }

        return NGX_OK;
    }

    /* allocation failures are told by us, with what they were for */
    shpool->log_nomem = 0;

    sh = ngx_slab_calloc(shpool, sizeof(ngx_livestream_sh_t));
    if (sh == NULL) {
        goto small;
    }

    /* ended streams stay for late viewers, beside those that are live */
    sh->nstreams = ctx->max_streams + ctx->max_streams / 4 + 16;
    sh->nbuckets = ngx_livestream_registry_pow2(sh->nstreams);
    sh->version = NGX_LIVESTREAM_REGISTRY_VERSION;
    sh->fresh = 1;

    sh->buckets = ngx_slab_calloc(shpool, sh->nbuckets * sizeof(uint32_t));
    if (sh->buckets == NULL) {
        goto small;
    }

    sh->streams = ngx_slab_calloc(shpool,
                                  sh->nstreams
                                  * sizeof(ngx_livestream_sh_stream_t));
    if (sh->streams == NULL) {
        goto small;
    }

    if (ngx_livestream_bus_init_zone(sh, shpool, shm_zone->shm.log)
        != NGX_OK)
    {
        goto small;
    }

    ctx->sh = sh;

    return NGX_OK;

small:

    ngx_log_error(NGX_LOG_EMERG, shm_zone->shm.log, 0,
                  "livestream \"zone\" of %uz bytes is too small for "
                  "\"max_concurrent_streams\" %ui",
                  shm_zone->shm.size, ctx->max_streams);

    return NGX_ERROR;
}


static ngx_shm_zone_t *
ngx_livestream_registry_shm_zone(ngx_cycle_t *cycle)
{
    ngx_uint_t        i;
    ngx_shm_zone_t   *zone;
    ngx_list_part_t  *part;

    part = &cycle->shared_memory.part;
    zone = part->elts;

    for (i = 0; /* void */ ; i++) {

        if (i >= part->nelts) {
            if (part->next == NULL) {
                return NULL;
            }
            part = part->next;
            zone = part->elts;
            i = 0;
        }

        if (zone[i].tag == &ngx_livestream_module) {
            return &zone[i];
        }
    }
}


ngx_livestream_sh_t *
ngx_livestream_registry_sh(ngx_cycle_t *cycle)
{
    ngx_shm_zone_t         *zone;
    ngx_livestream_zone_t  *ctx;

    zone = ngx_livestream_registry_shm_zone(cycle);
    ctx = zone->data;

    return ctx->sh;
}


void
ngx_livestream_registry_init_process(ngx_cycle_t *cycle)
{
    ngx_shm_zone_t  *zone;

    zone = ngx_livestream_registry_shm_zone(cycle);

    ngx_livestream_sh = ngx_livestream_registry_sh(cycle);
    ngx_livestream_shpool = (ngx_slab_pool_t *) zone->shm.addr;
}


static uint32_t
ngx_livestream_registry_hash(ngx_str_t *id)
{
    return ngx_murmur_hash2(id->data, id->len);
}


/* must be bounded by itself: without the mutex a chain may change underfoot */

static ngx_livestream_sh_stream_t *
ngx_livestream_registry_lookup(ngx_str_t *id, uint32_t hash)
{
    uint32_t                     n;
    ngx_uint_t                   i;
    ngx_livestream_sh_t         *sh;
    ngx_livestream_sh_stream_t  *s;

    sh = ngx_livestream_sh;
    n = sh->buckets[hash & (sh->nbuckets - 1)];

    for (i = 0; n != 0 && i <= sh->nstreams; i++) {

        if (n > sh->nstreams) {
            return NULL;
        }

        s = &sh->streams[n - 1];

        if (s->uid != 0
            && s->hash == hash
            && ngx_strncmp(s->id, id->data, id->len) == 0
            && s->id[id->len] == '\0')
        {
            return s;
        }

        n = s->next;
    }

    return NULL;
}


ngx_livestream_sh_stream_t *
ngx_livestream_registry_find(ngx_str_t *id, ngx_atomic_uint_t *uid)
{
    uint32_t                     hash;
    ngx_livestream_sh_stream_t  *s;

    if (ngx_livestream_sh == NULL
        || id->len == 0 || id->len > NGX_LIVESTREAM_ID_LEN)
    {
        return NULL;
    }

    hash = ngx_livestream_registry_hash(id);

    s = ngx_livestream_registry_lookup(id, hash);

    if (s) {
        *uid = s->uid;

        ngx_memory_barrier();

        /* uid is of this id only if the id is there behind it */

        if (*uid != 0
            && ngx_strncmp(s->id, id->data, id->len) == 0
            && s->id[id->len] == '\0'
            && s->uid == *uid)
        {
            return s;
        }
    }

    ngx_shmtx_lock(&ngx_livestream_shpool->mutex);

    s = ngx_livestream_registry_lookup(id, hash);
    if (s) {
        *uid = s->uid;
    }

    ngx_shmtx_unlock(&ngx_livestream_shpool->mutex);

    return s;
}


ngx_livestream_sh_stream_t *
ngx_livestream_registry_find_locked(ngx_str_t *id)
{
    if (id->len == 0 || id->len > NGX_LIVESTREAM_ID_LEN) {
        return NULL;
    }

    return ngx_livestream_registry_lookup(id,
                                          ngx_livestream_registry_hash(id));
}


ngx_livestream_sh_stream_t *
ngx_livestream_registry_create_locked(ngx_str_t *id)
{
    uint32_t                    *bucket;
    ngx_uint_t                   i;
    ngx_livestream_sh_t         *sh;
    ngx_livestream_sh_stream_t  *s;

    sh = ngx_livestream_sh;

    for (i = 0; i < sh->nstreams; i++) {
        if (sh->streams[i].state == NGX_LIVESTREAM_FREE) {
            break;
        }
    }

    if (i == sh->nstreams) {
        return NULL;
    }

    s = &sh->streams[i];

    ngx_memzero(s, sizeof(ngx_livestream_sh_stream_t));

    ngx_memcpy(s->id, id->data, id->len);
    s->hash = ngx_livestream_registry_hash(id);

    bucket = &sh->buckets[s->hash & (sh->nbuckets - 1)];

    s->next = *bucket;
    s->state = NGX_LIVESTREAM_OPENING;

    ngx_memory_barrier();

    s->uid = ++sh->uid;
    *bucket = i + 1;

    return s;
}


void
ngx_livestream_registry_free_locked(ngx_livestream_sh_stream_t *s)
{
    uint32_t             *link, n;
    ngx_uint_t            i;
    ngx_livestream_sh_t  *sh;

    sh = ngx_livestream_sh;
    n = s - sh->streams + 1;

    s->uid = 0;

    ngx_memory_barrier();

    for (link = &sh->buckets[s->hash & (sh->nbuckets - 1)];
         *link != 0;
         link = &sh->streams[*link - 1].next)
    {
        if (*link == n) {
            *link = s->next;
            break;
        }
    }

    for (i = 0; i < s->ntracks; i++) {
        if (s->tracks[i].segments) {
            ngx_slab_free_locked(ngx_livestream_shpool,
                                 s->tracks[i].segments);
        }

        if (s->tracks[i].parts) {
            ngx_slab_free_locked(ngx_livestream_shpool, s->tracks[i].parts);
        }
    }

    s->ntracks = 0;
    s->state = NGX_LIVESTREAM_FREE;
}


ngx_int_t
ngx_livestream_registry_track(ngx_livestream_sh_stream_t *s, ngx_str_t *name)
{
    ngx_uint_t  i, n;

    if (name->len == 0 || name->len > NGX_LIVESTREAM_TRACK_LEN) {
        return NGX_ERROR;
    }

    n = ngx_min(s->ntracks, NGX_LIVESTREAM_MAX_TRACKS);

    ngx_memory_barrier();

    for (i = 0; i < n; i++) {
        if (ngx_strncmp(s->tracks[i].name, name->data, name->len) == 0
            && s->tracks[i].name[name->len] == '\0')
        {
            return i;
        }
    }

    return NGX_ERROR;
}


ngx_int_t
ngx_livestream_registry_view(ngx_livestream_sh_stream_t *s,
    ngx_atomic_uint_t uid, ngx_uint_t track, ngx_pool_t *pool,
    ngx_livestream_view_t *view)
{
    ngx_int_t                rc;
    ngx_uint_t               tries;
    ngx_livestream_track_t  *t;

    ngx_memzero(view, sizeof(ngx_livestream_view_t));

    if (track >= NGX_LIVESTREAM_MAX_TRACKS) {
        return NGX_DECLINED;
    }

    t = &s->tracks[track];

    /* a writer publishes a few times a second: a second try is rare */

    for (tries = 0; tries < 100; tries++) {

        view->seq = t->seq;

        ngx_memory_barrier();

        view->state = t->state[view->seq & 3];

        ngx_memory_barrier();

        if (s->uid != uid || track >= s->ntracks || view->seq == 0) {
            return NGX_DECLINED;
        }

        if (t->seq - view->seq >= 3) {
            continue;
        }

        if (pool == NULL) {
            return NGX_OK;
        }

        rc = ngx_livestream_registry_copy(t, pool, view);

        if (s->uid != uid) {
            return NGX_DECLINED;
        }

        if (rc != NGX_AGAIN) {
            return rc;
        }
    }

    return NGX_DECLINED;
}


static ngx_int_t
ngx_livestream_registry_copy(ngx_livestream_track_t *t, ngx_pool_t *pool,
    ngx_livestream_view_t *view)
{
    uint64_t                  n, np, m, p;
    ngx_livestream_state_t   *state;

    state = &view->state;

    n = state->open.msn - state->seg_first;
    np = state->part_next - state->part_first;

    /* of a slot that was reused meanwhile this may be nonsense */

    if (n > t->nseg || np > t->npart) {
        return NGX_AGAIN;
    }

    if (n > view->nsegments || view->segments == NULL) {
        view->segments = ngx_palloc(pool, (n + 1)
                                         * sizeof(ngx_livestream_segment_t));
        if (view->segments == NULL) {
            return NGX_ERROR;
        }
    }

    if (np > view->nparts || view->parts == NULL) {
        view->parts = ngx_palloc(pool, (np + 1)
                                       * sizeof(ngx_livestream_part_t));
        if (view->parts == NULL) {
            return NGX_ERROR;
        }
    }

    view->nsegments = n;
    view->nparts = np;

    for (m = 0; m < n; m++) {
        view->segments[m] = t->segments[(state->seg_first + m)
                                        & (t->nseg - 1)];
    }

    for (p = 0; p < np; p++) {
        view->parts[p] = t->parts[(state->part_first + p) & (t->npart - 1)];
    }

    ngx_memory_barrier();

    if ((n && t->seg_write > state->seg_first + t->nseg)
        || (np && t->part_write > state->part_first + t->npart))
    {
        return NGX_AGAIN;
    }

    return NGX_OK;
}


ngx_int_t
ngx_livestream_registry_segment(ngx_livestream_sh_stream_t *s,
    ngx_atomic_uint_t uid, ngx_uint_t track, uint64_t msn,
    ngx_livestream_segment_t *segment)
{
    ngx_livestream_view_t    view;
    ngx_livestream_track_t  *t;

    if (ngx_livestream_registry_view(s, uid, track, NULL, &view) != NGX_OK
        || msn >= view.state.open.msn)
    {
        return NGX_DECLINED;
    }

    t = &s->tracks[track];

    *segment = t->segments[msn & (t->nseg - 1)];

    ngx_memory_barrier();

    if (s->uid != uid
        || segment->msn != msn
        || t->seg_write > msn + t->nseg)
    {
        return NGX_DECLINED;
    }

    return NGX_OK;
}


ngx_int_t
ngx_livestream_registry_part(ngx_livestream_sh_stream_t *s,
    ngx_atomic_uint_t uid, ngx_uint_t track, uint64_t msn, uint32_t index,
    ngx_livestream_part_t *part)
{
    uint64_t                  p;
    ngx_livestream_view_t     view;
    ngx_livestream_track_t   *t;
    ngx_livestream_segment_t  segment;

    if (ngx_livestream_registry_view(s, uid, track, NULL, &view) != NGX_OK) {
        return NGX_DECLINED;
    }

    t = &s->tracks[track];

    if (msn == view.state.open.msn) {
        segment = view.state.open;

    } else if (ngx_livestream_registry_segment(s, uid, track, msn, &segment)
               != NGX_OK)
    {
        return NGX_DECLINED;
    }

    p = segment.part + index;

    if (t->npart == 0 || index >= t->npart || p >= view.state.part_next) {
        return NGX_DECLINED;
    }

    *part = t->parts[p & (t->npart - 1)];

    ngx_memory_barrier();

    if (s->uid != uid
        || part->msn != msn || part->index != index
        || t->part_write > p + t->npart)
    {
        return NGX_DECLINED;
    }

    return NGX_OK;
}


uint32_t
ngx_livestream_registry_pow2(uint64_t n)
{
    uint32_t  p;

    for (p = 1; p < n && p < 0x40000000; p <<= 1) { /* void */ }

    return p;
}

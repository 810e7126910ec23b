
/*
 * Copyright (C) nginx-livestream contributors
 *
 * Rendered playlists of this worker: one buffer for each state of a track,
 * shared by all requests that are answered with it.
 *
 * Event loop.
 */


#ifndef _NGX_LIVESTREAM_LLHLS_CACHE_H_INCLUDED_
#define _NGX_LIVESTREAM_LLHLS_CACHE_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>

#include "ngx_livestream_registry.h"


typedef enum {
    NGX_LIVESTREAM_LLHLS_FULL = 0,
    NGX_LIVESTREAM_LLHLS_DELTA,
    NGX_LIVESTREAM_LLHLS_MASTER
} ngx_livestream_llhls_text_e;


/* immutable, but for gzip, which is made when it is first wanted */
typedef struct {
    ngx_queue_t              queue;
    void                   **slot;      /* where the cache has it; NULL: it
                                           was replaced */
    ngx_uint_t               refs;      /* the cache's own included */
    ngx_atomic_uint_t        seq;
    uint64_t                 hint_msn;
    uint32_t                 hint_part;
    unsigned                 hint:1;
    ngx_str_t                gzip;
    ngx_str_t                plain;
} ngx_livestream_llhls_text_t;


ngx_int_t ngx_livestream_llhls_cache_init_process(ngx_cycle_t *cycle);
void ngx_livestream_llhls_cache_exit_process(ngx_cycle_t *cycle);

/*
 * The text of a track's newest state; track is of no meaning for MASTER.
 * Borrowed until the event loop is returned to, unless it is held.
 * NGX_ERROR: out of memory; NGX_DECLINED: the slot no longer is uid.
 */
ngx_int_t ngx_livestream_llhls_cache_get(ngx_livestream_sh_stream_t *s,
    ngx_atomic_uint_t uid, ngx_uint_t track, ngx_livestream_llhls_text_e kind,
    ngx_log_t *log, ngx_livestream_llhls_text_t **text);

/* keeps text as long as pool */
ngx_int_t ngx_livestream_llhls_text_hold(ngx_livestream_llhls_text_t *text,
    ngx_pool_t *pool);

/* NGX_OK: text->gzip is there; NGX_ERROR: out of memory */
ngx_int_t ngx_livestream_llhls_text_gzip(ngx_livestream_llhls_text_t *text,
    ngx_log_t *log);

/* the edge of a track in a report or a hint: its last part; NGX_DECLINED when
 * it has none */
ngx_int_t ngx_livestream_llhls_last_part(ngx_livestream_sh_stream_t *s,
    ngx_atomic_uint_t uid, ngx_uint_t track, uint64_t *msn, uint32_t *part);


#endif /* _NGX_LIVESTREAM_LLHLS_CACHE_H_INCLUDED_ */


/*
 * Copyright (C) nginx-livestream contributors
 *
 * Requests that are held until their stream has more.
 *
 * Event loop.
 */


#ifndef _NGX_LIVESTREAM_LLHLS_WAIT_H_INCLUDED_
#define _NGX_LIVESTREAM_LLHLS_WAIT_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "ngx_livestream_registry.h"


typedef struct ngx_livestream_llhls_wait_s  ngx_livestream_llhls_wait_t;

/* Called when the stream may have more, or when time is out.  NGX_AGAIN: the
 * request waits on (never when time is out); else it is finalized, behind
 * ngx_livestream_llhls_wait_end(), and w is gone. */
typedef ngx_int_t (*ngx_livestream_llhls_wait_pt)(
    ngx_livestream_llhls_wait_t *w, ngx_uint_t timed_out);


struct ngx_livestream_llhls_wait_s {
    ngx_queue_t                      queue;
    ngx_http_request_t              *request;
    void                            *room;      /* NULL: does not wait */
    void                            *data;
    ngx_livestream_llhls_wait_pt     handler;
    ngx_event_t                      timer;
};


ngx_int_t ngx_livestream_llhls_wait_init_process(ngx_cycle_t *cycle);
void ngx_livestream_llhls_wait_exit_process(ngx_cycle_t *cycle);

/*
 * Begins to wait; w is allocated in r's pool, followed by size bytes, which
 * w->data points to.  The caller looks at the registry once more afterwards:
 * what was published before this call rings no more.  NULL: out of memory.
 * The request's end, whatever ends it, ends the wait.
 */
ngx_livestream_llhls_wait_t *ngx_livestream_llhls_wait_begin(
    ngx_http_request_t *r, ngx_livestream_sh_stream_t *s, size_t size,
    ngx_msec_t timeout, ngx_livestream_llhls_wait_pt handler);

void ngx_livestream_llhls_wait_end(ngx_livestream_llhls_wait_t *w);


#endif /* _NGX_LIVESTREAM_LLHLS_WAIT_H_INCLUDED_ */


/*
 * Copyright (C) nginx-livestream contributors
 *
 * The bus: a doorbell between workers of all generations.  State is in the
 * registry; a ring only says "stream X changed, look again", so nothing is
 * lost when two rings become one.
 *
 * Each worker slot has an eventfd, made once in the master and inherited by
 * all workers, and a bitmap of streams in shared memory.  ngx_livestream_bus_
 * ring() sets the stream's bit for every slot that watches it and writes the
 * eventfd.  The ringing worker itself is called through the same way.
 *
 * A waiter registers (watch), then looks at the registry once more.
 *
 * Event loop only.
 */


#ifndef _NGX_LIVESTREAM_BUS_H_INCLUDED_
#define _NGX_LIVESTREAM_BUS_H_INCLUDED_


#include "ngx_livestream_registry.h"


/* called in the event loop for each stream whose bit was set */
typedef void (*ngx_livestream_bus_handler_pt)(ngx_livestream_sh_stream_t *s);


#define NGX_LIVESTREAM_BUS_HANDLERS  8

/* In init_process of a feature, whose module is loaded behind the core: what a
 * worker uses is set when it starts, so that a reload whose configuration
 * fails leaves nothing behind in the master that its next workers inherit. */
ngx_int_t ngx_livestream_bus_add_handler(
    ngx_livestream_bus_handler_pt handler);

/* Counted, per worker: while at least one watch is held, rings for the stream
 * reach this worker.  The owner need not watch: it is always rung. */
void ngx_livestream_bus_watch(ngx_livestream_sh_stream_t *s);
void ngx_livestream_bus_unwatch(ngx_livestream_sh_stream_t *s);

/* to all watchers and to the owner */
void ngx_livestream_bus_ring(ngx_livestream_sh_stream_t *s);

ngx_int_t ngx_livestream_bus_init_zone(ngx_livestream_sh_t *sh,
    ngx_slab_pool_t *shpool, ngx_log_t *log);
ngx_int_t ngx_livestream_bus_init_process(ngx_cycle_t *cycle);
void ngx_livestream_bus_exit_process(ngx_cycle_t *cycle);


#endif /* _NGX_LIVESTREAM_BUS_H_INCLUDED_ */

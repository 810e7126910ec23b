
/*
 * Copyright (C) nginx-livestream contributors
 *
 * The bus.  In shared memory, indexed by ngx_process_slot, which a respawned
 * worker inherits from the one that died and no two living workers share:
 *
 *   fd[slot]               eventfd, made in the master, inherited by the
 *                          workers of all generations under the same number
 *   pending[slot][stream]  bits: "look at this stream"
 *   watchers[stream][slot] bits: "ring this slot"
 *
 *   ring:   publish, barrier, read watchers; set pending; write fd
 *   watch:  set watchers, barrier, look at the registry
 *   run:    read fd; take pending; call handlers
 *
 * So a change is seen either by the look or by the ring.  A worker whose slot
 * is beyond the table polls the streams that it watches.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>
#include <sys/eventfd.h>

#include "ngx_livestream.h"


#define NGX_LIVESTREAM_BUS_SLOTS  256
#define NGX_LIVESTREAM_BUS_POLL   50            /* ms */

#define NGX_LIVESTREAM_BUS_BITS   (8 * sizeof(ngx_atomic_uint_t))

#define ngx_livestream_bus_words(n)                                           \
    (((n) + NGX_LIVESTREAM_BUS_BITS - 1) / NGX_LIVESTREAM_BUS_BITS)

#define ngx_livestream_bus_bit(n)                                             \
    ((ngx_atomic_uint_t) 1 << ((n) % NGX_LIVESTREAM_BUS_BITS))

#define NGX_LIVESTREAM_BUS_MASK                                               \
    ngx_livestream_bus_words(NGX_LIVESTREAM_BUS_SLOTS)


typedef struct {
    int                      fd[NGX_LIVESTREAM_BUS_SLOTS];
    ngx_uint_t               words;         /* of pending, a slot */
    ngx_atomic_t            *pending;
    ngx_atomic_t            *watchers;      /* BUS_MASK words a stream */
} ngx_livestream_bus_t;


static void ngx_livestream_bus_handler(ngx_event_t *ev);
static void ngx_livestream_bus_poll(ngx_event_t *ev);
static void ngx_livestream_bus_call(ngx_uint_t n);


static ngx_livestream_bus_t          *ngx_livestream_bus;
static ngx_uint_t                     ngx_livestream_bus_slot;
static ngx_connection_t              *ngx_livestream_bus_connection;
static ngx_event_t                    ngx_livestream_bus_timer;

/* watches held by this worker, by stream */
static ngx_uint_t                    *ngx_livestream_bus_watches;

static ngx_uint_t                     ngx_livestream_bus_nhandlers;
static ngx_livestream_bus_handler_pt
    ngx_livestream_bus_handlers[NGX_LIVESTREAM_BUS_HANDLERS];


ngx_int_t
ngx_livestream_bus_init_zone(ngx_livestream_sh_t *sh, ngx_slab_pool_t *shpool,
    ngx_log_t *log)
{
    ngx_uint_t             i;
    ngx_livestream_bus_t  *bus;

    bus = ngx_slab_calloc(shpool, sizeof(ngx_livestream_bus_t));
    if (bus == NULL) {
        return NGX_ERROR;
    }

    bus->words = ngx_livestream_bus_words(sh->nstreams);

    bus->pending = ngx_slab_calloc(shpool, NGX_LIVESTREAM_BUS_SLOTS
                                           * bus->words
                                           * sizeof(ngx_atomic_t));

    bus->watchers = ngx_slab_calloc(shpool, sh->nstreams
                                            * NGX_LIVESTREAM_BUS_MASK
                                            * sizeof(ngx_atomic_t));

    if (bus->pending == NULL || bus->watchers == NULL) {
        return NGX_ERROR;
    }

    for (i = 0; i < NGX_LIVESTREAM_BUS_SLOTS; i++) {
        bus->fd[i] = eventfd(0, EFD_NONBLOCK|EFD_CLOEXEC);

        if (bus->fd[i] == -1) {
            ngx_log_error(NGX_LOG_EMERG, log, ngx_errno,
                          "livestream eventfd() failed");
            return NGX_ERROR;
        }
    }

    sh->bus = bus;

    return NGX_OK;
}


ngx_int_t
ngx_livestream_bus_init_process(ngx_cycle_t *cycle)
{
    ngx_uint_t     i;
    ngx_atomic_t  *word;

    ngx_livestream_bus = ngx_livestream_sh->bus;
    ngx_livestream_bus_slot = ngx_process_slot;
    ngx_livestream_bus_nhandlers = 0;

    ngx_livestream_bus_watches = ngx_pcalloc(cycle->pool,
                                             ngx_livestream_sh->nstreams
                                             * sizeof(ngx_uint_t));
    if (ngx_livestream_bus_watches == NULL) {
        return NGX_ERROR;
    }

    if (ngx_livestream_bus_slot >= NGX_LIVESTREAM_BUS_SLOTS) {

        ngx_log_error(NGX_LOG_WARN, cycle->log, 0,
                      "more than %d worker processes, this one polls",
                      NGX_LIVESTREAM_BUS_SLOTS);

        ngx_livestream_bus_timer.handler = ngx_livestream_bus_poll;
        ngx_livestream_bus_timer.log = cycle->log;
        ngx_livestream_bus_timer.cancelable = 1;

        ngx_add_timer(&ngx_livestream_bus_timer, NGX_LIVESTREAM_BUS_POLL);

        return NGX_OK;
    }

    /* what a worker that died on this slot left */

    for (i = 0; i < ngx_livestream_bus->words; i++) {
        ngx_livestream_bus->pending[ngx_livestream_bus_slot
                                    * ngx_livestream_bus->words + i] = 0;
    }

    for (i = 0; i < ngx_livestream_sh->nstreams; i++) {
        word = &ngx_livestream_bus->watchers[i * NGX_LIVESTREAM_BUS_MASK
                        + ngx_livestream_bus_slot / NGX_LIVESTREAM_BUS_BITS];

        (void) __sync_fetch_and_and(word,
                          ~ngx_livestream_bus_bit(ngx_livestream_bus_slot));
    }

    ngx_livestream_bus_connection = ngx_livestream_add_fd(cycle,
                             ngx_livestream_bus->fd[ngx_livestream_bus_slot],
                             ngx_livestream_bus_handler);

    return ngx_livestream_bus_connection ? NGX_OK : NGX_ERROR;
}


void
ngx_livestream_bus_exit_process(ngx_cycle_t *cycle)
{
    (void) cycle;

    /* the descriptor stays open for the workers to come */

    if (ngx_livestream_bus_connection) {
        ngx_livestream_del_fd(ngx_livestream_bus_connection);
        ngx_livestream_bus_connection = NULL;
    }

    if (ngx_livestream_bus_timer.timer_set) {
        ngx_del_timer(&ngx_livestream_bus_timer);
    }
}


ngx_int_t
ngx_livestream_bus_add_handler(ngx_livestream_bus_handler_pt handler)
{
    if (ngx_livestream_bus_nhandlers == NGX_LIVESTREAM_BUS_HANDLERS) {
        return NGX_ERROR;
    }

    ngx_livestream_bus_handlers[ngx_livestream_bus_nhandlers++] = handler;

    return NGX_OK;
}


void
ngx_livestream_bus_watch(ngx_livestream_sh_stream_t *s)
{
    ngx_uint_t     n;
    ngx_atomic_t  *word;

    n = s - ngx_livestream_sh->streams;

    if (ngx_livestream_bus_watches[n]++ > 0
        || ngx_livestream_bus_slot >= NGX_LIVESTREAM_BUS_SLOTS)
    {
        return;
    }

    word = &ngx_livestream_bus->watchers[n * NGX_LIVESTREAM_BUS_MASK
                        + ngx_livestream_bus_slot / NGX_LIVESTREAM_BUS_BITS];

    /* a full barrier: the caller's next look comes behind it */
    (void) __sync_fetch_and_or(word,
                           ngx_livestream_bus_bit(ngx_livestream_bus_slot));
}


void
ngx_livestream_bus_unwatch(ngx_livestream_sh_stream_t *s)
{
    ngx_uint_t     n;
    ngx_atomic_t  *word;

    n = s - ngx_livestream_sh->streams;

    if (--ngx_livestream_bus_watches[n] > 0
        || ngx_livestream_bus_slot >= NGX_LIVESTREAM_BUS_SLOTS)
    {
        return;
    }

    word = &ngx_livestream_bus->watchers[n * NGX_LIVESTREAM_BUS_MASK
                        + ngx_livestream_bus_slot / NGX_LIVESTREAM_BUS_BITS];

    (void) __sync_fetch_and_and(word,
                          ~ngx_livestream_bus_bit(ngx_livestream_bus_slot));
}


void
ngx_livestream_bus_ring(ngx_livestream_sh_stream_t *s)
{
    uint64_t           one;
    ngx_uint_t         i, n, slot;
    ngx_atomic_t      *word;
    ngx_atomic_uint_t  mask;

    n = s - ngx_livestream_sh->streams;

    ngx_memory_barrier();

    for (i = 0; i < NGX_LIVESTREAM_BUS_MASK; i++) {

        mask = ngx_livestream_bus->watchers[n * NGX_LIVESTREAM_BUS_MASK + i];

        if (s->owner != 0
            && s->owner_slot / (ngx_int_t) NGX_LIVESTREAM_BUS_BITS
               == (ngx_int_t) i)
        {
            mask |= ngx_livestream_bus_bit(s->owner_slot);
        }

        while (mask) {
            slot = i * NGX_LIVESTREAM_BUS_BITS + __builtin_ctzl(mask);
            mask &= mask - 1;

            word = &ngx_livestream_bus->pending[slot
                                                * ngx_livestream_bus->words
                                                + n / NGX_LIVESTREAM_BUS_BITS];

            (void) __sync_fetch_and_or(word, ngx_livestream_bus_bit(n));

            /*
             * Written even if the bit was set: who set it may have been
             * killed before its write.  Fails only when it is full: then
             * it has been rung.
             */

            one = 1;
            (void) !write(ngx_livestream_bus->fd[slot], &one, sizeof(one));
        }
    }
}


static void
ngx_livestream_bus_handler(ngx_event_t *ev)
{
    uint64_t           count;
    ngx_uint_t         i;
    ngx_atomic_t      *word;
    ngx_connection_t  *c;
    ngx_atomic_uint_t  mask;

    c = ev->data;

    (void) !read(c->fd, &count, sizeof(count));

    for (i = 0; i < ngx_livestream_bus->words; i++) {

        word = &ngx_livestream_bus->pending[ngx_livestream_bus_slot
                                            * ngx_livestream_bus->words + i];

        mask = __sync_fetch_and_and(word, 0);

        while (mask) {
            ngx_livestream_bus_call(i * NGX_LIVESTREAM_BUS_BITS
                                    + __builtin_ctzl(mask));
            mask &= mask - 1;
        }
    }
}


static void
ngx_livestream_bus_poll(ngx_event_t *ev)
{
    ngx_uint_t  i;

    for (i = 0; i < ngx_livestream_sh->nstreams; i++) {
        if (ngx_livestream_bus_watches[i]
            || ngx_livestream_sh->streams[i].owner == ngx_pid)
        {
            ngx_livestream_bus_call(i);
        }
    }

    ngx_add_timer(ev, NGX_LIVESTREAM_BUS_POLL);
}


static void
ngx_livestream_bus_call(ngx_uint_t n)
{
    ngx_uint_t  i;

    for (i = 0; i < ngx_livestream_bus_nhandlers; i++) {
        ngx_livestream_bus_handlers[i](&ngx_livestream_sh->streams[n]);
    }
}


/*
 * Copyright (C) nginx-livestream contributors
 *
 * The waiting room of each stream in this worker.
 *
 *     rooms[stream] --> room
 *                         waiting: w - w - w - w      until the bus rings
 *                         woken:   w - w              until their turn comes
 *
 * A ring moves all who wait to the woken ones, which costs the same for one
 * as for ten thousand.  Then they are called in batches, with a turn of the
 * event loop between two batches, so that neither ingest nor other streams
 * stand behind a large audience.  Who has not got what he waits for goes
 * back.
 *
 * A request is in one of the queues from wait_begin() to wait_end() or the
 * end of its pool, whichever comes first; the room watches the bus while it
 * has any.
 *
 * Event loop only.
 */


#include "ngx_livestream_bus.h"
#include "ngx_livestream_llhls_wait.h"


/* answers and looks in one turn of the event loop */
#define NGX_LIVESTREAM_LLHLS_ANSWERS  1024
#define NGX_LIVESTREAM_LLHLS_LOOKS    8192


typedef struct {
    ngx_livestream_sh_stream_t  *stream;
    ngx_uint_t                   count;     /* in both queues */
    ngx_queue_t                  waiting;
    ngx_queue_t                  woken;
    ngx_event_t                  event;     /* posted while any is woken */
} ngx_livestream_llhls_room_t;


static ngx_livestream_llhls_room_t *ngx_livestream_llhls_room(
    ngx_livestream_sh_stream_t *s, ngx_log_t *log);
static void ngx_livestream_llhls_ring(ngx_livestream_sh_stream_t *s);
static void ngx_livestream_llhls_wake(ngx_event_t *ev);
static void ngx_livestream_llhls_timeout(ngx_event_t *ev);
static void ngx_livestream_llhls_wait_cleanup(void *data);


static ngx_livestream_llhls_room_t  **ngx_livestream_llhls_rooms;
static ngx_uint_t                     ngx_livestream_llhls_nrooms;


ngx_int_t
ngx_livestream_llhls_wait_init_process(ngx_cycle_t *cycle)
{
    if (ngx_livestream_sh == NULL) {
        return NGX_OK;
    }

    ngx_livestream_llhls_nrooms = ngx_livestream_sh->nstreams;

    ngx_livestream_llhls_rooms = ngx_calloc(ngx_livestream_llhls_nrooms
                                      * sizeof(ngx_livestream_llhls_room_t *),
                                      cycle->log);
    if (ngx_livestream_llhls_rooms == NULL) {
        return NGX_ERROR;
    }

    return ngx_livestream_bus_add_handler(ngx_livestream_llhls_ring);
}


void
ngx_livestream_llhls_wait_exit_process(ngx_cycle_t *cycle)
{
    ngx_uint_t  i;

    if (ngx_livestream_llhls_rooms == NULL) {
        return;
    }

    for (i = 0; i < ngx_livestream_llhls_nrooms; i++) {

        /* requests of a terminated worker may still refer to theirs */

        if (ngx_livestream_llhls_rooms[i]
            && ngx_livestream_llhls_rooms[i]->count == 0)
        {
            ngx_free(ngx_livestream_llhls_rooms[i]);
        }
    }

    ngx_free(ngx_livestream_llhls_rooms);
    ngx_livestream_llhls_rooms = NULL;
}


/* rooms stay: there are no more of them than streams in the zone */

static ngx_livestream_llhls_room_t *
ngx_livestream_llhls_room(ngx_livestream_sh_stream_t *s, ngx_log_t *log)
{
    ngx_livestream_llhls_room_t  *room, **place;

    place = &ngx_livestream_llhls_rooms[s - ngx_livestream_sh->streams];

    room = *place;

    if (room) {
        return room;
    }

    room = ngx_calloc(sizeof(ngx_livestream_llhls_room_t), log);
    if (room == NULL) {
        return NULL;
    }

    room->stream = s;
    ngx_queue_init(&room->waiting);
    ngx_queue_init(&room->woken);

    room->event.handler = ngx_livestream_llhls_wake;
    room->event.data = room;
    room->event.log = ngx_cycle->log;

    *place = room;

    return room;
}


ngx_livestream_llhls_wait_t *
ngx_livestream_llhls_wait_begin(ngx_http_request_t *r,
    ngx_livestream_sh_stream_t *s, size_t size, ngx_msec_t timeout,
    ngx_livestream_llhls_wait_pt handler)
{
    ngx_pool_cleanup_t           *cln;
    ngx_livestream_llhls_room_t  *room;
    ngx_livestream_llhls_wait_t  *w;

    room = ngx_livestream_llhls_room(s, r->connection->log);
    if (room == NULL) {
        return NULL;
    }

    cln = ngx_pool_cleanup_add(r->pool,
                               sizeof(ngx_livestream_llhls_wait_t) + size);
    if (cln == NULL) {
        return NULL;
    }

    w = cln->data;
    cln->handler = ngx_livestream_llhls_wait_cleanup;

    ngx_memzero(w, sizeof(ngx_livestream_llhls_wait_t));

    w->request = r;
    w->room = room;
    w->data = w + 1;
    w->handler = handler;

    w->timer.handler = ngx_livestream_llhls_timeout;
    w->timer.data = w;
    w->timer.log = r->connection->log;

    ngx_add_timer(&w->timer, timeout);

    ngx_queue_insert_tail(&room->waiting, &w->queue);

    if (room->count++ == 0) {
        ngx_livestream_bus_watch(s);
    }

    return w;
}


void
ngx_livestream_llhls_wait_end(ngx_livestream_llhls_wait_t *w)
{
    ngx_livestream_llhls_room_t  *room;

    room = w->room;

    if (room == NULL) {
        return;
    }

    w->room = NULL;

    ngx_queue_remove(&w->queue);

    if (w->timer.timer_set) {
        ngx_del_timer(&w->timer);
    }

    if (--room->count == 0) {
        ngx_livestream_bus_unwatch(room->stream);
    }
}


static void
ngx_livestream_llhls_wait_cleanup(void *data)
{
    ngx_livestream_llhls_wait_end(data);
}


static void
ngx_livestream_llhls_ring(ngx_livestream_sh_stream_t *s)
{
    ngx_livestream_llhls_room_t  *room;

    room = ngx_livestream_llhls_rooms[s - ngx_livestream_sh->streams];

    if (room == NULL || ngx_queue_empty(&room->waiting)) {
        return;
    }

    ngx_queue_add(&room->woken, &room->waiting);
    ngx_queue_init(&room->waiting);

    if (!room->event.posted) {
        ngx_post_event(&room->event, &ngx_posted_events);
    }
}


static void
ngx_livestream_llhls_wake(ngx_event_t *ev)
{
    ngx_uint_t                    answers, looks;
    ngx_queue_t                  *q;
    ngx_livestream_llhls_room_t  *room;
    ngx_livestream_llhls_wait_t  *w;

    room = ev->data;

    answers = NGX_LIVESTREAM_LLHLS_ANSWERS;
    looks = NGX_LIVESTREAM_LLHLS_LOOKS;

    while (!ngx_queue_empty(&room->woken)) {

        if (answers == 0 || looks-- == 0) {
            ngx_post_event(&room->event, &ngx_posted_next_events);
            return;
        }

        q = ngx_queue_head(&room->woken);

        ngx_queue_remove(q);
        ngx_queue_insert_tail(&room->waiting, q);

        w = ngx_queue_data(q, ngx_livestream_llhls_wait_t, queue);

        if (w->handler(w, 0) != NGX_AGAIN) {
            answers--;
        }
    }
}


static void
ngx_livestream_llhls_timeout(ngx_event_t *ev)
{
    ngx_livestream_llhls_wait_t  *w;

    w = ev->data;

    (void) w->handler(w, 1);
}

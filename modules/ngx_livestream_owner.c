
/*
 * Copyright (C) nginx-livestream contributors
 *
 * Whose stream is it?  One worker owns it, of all workers of all generations.
 *
 *   claim   a publisher's, under the zone's mutex
 *   tick    every worker's, twice a second: the heartbeat of its own streams;
 *           adopts what a worker that died or was reloaded has left; forgets
 *           ended streams in their time
 *   bus     somebody asks the owner to give way, or says that it is no more
 *
 * What must be told to the store is told before a stream is let go, so that
 * the next owner's word comes later.
 *
 * Event loop only.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>

#include "ngx_livestream.h"
#include "ngx_livestream_stream.h"


#define NGX_LIVESTREAM_TICK  500                /* ms */


static void ngx_livestream_stream_tick(ngx_event_t *ev);
static void ngx_livestream_stream_look(ngx_livestream_sh_stream_t *sh,
    ngx_livestream_core_conf_t *lcf, ngx_uint_t exiting);
static void ngx_livestream_stream_bus(ngx_livestream_sh_stream_t *sh);
static ngx_uint_t ngx_livestream_stream_asked(ngx_livestream_stream_t *s);
static void ngx_livestream_stream_leave(ngx_livestream_stream_t *s);
static ngx_uint_t ngx_livestream_stream_alive(ngx_livestream_sh_stream_t *sh);
static ngx_int_t ngx_livestream_stream_claim_locked(ngx_livestream_row_t *row,
    ngx_uint_t max, ngx_livestream_sh_stream_t **shp, u_char *ended,
    const char **why);
static ngx_int_t ngx_livestream_stream_owned_locked(
    ngx_livestream_sh_stream_t *sh, const char **why);
static ngx_livestream_sh_stream_t *ngx_livestream_stream_room_locked(
    ngx_livestream_row_t *row, ngx_uint_t max, uint64_t msn,
    const char **why);


/* by slot of the registry; those that this worker owns */
ngx_livestream_stream_t   **ngx_livestream_streams;

static ngx_event_t          ngx_livestream_stream_timer;
static ngx_connection_t     ngx_livestream_stream_dumb;
static ngx_atomic_uint_t    ngx_livestream_stream_generation;


ngx_int_t
ngx_livestream_stream_init_process(ngx_cycle_t *cycle)
{
    ngx_uint_t                   i;
    ngx_livestream_sh_stream_t  *sh;
    ngx_livestream_core_conf_t  *lcf;

    lcf = ngx_livestream_core_conf(cycle);

    ngx_livestream_streams = ngx_pcalloc(cycle->pool,
                                         ngx_livestream_sh->nstreams
                                         * sizeof(ngx_livestream_stream_t *));
    if (ngx_livestream_streams == NULL
        || ngx_livestream_bus_add_handler(ngx_livestream_stream_bus)
           != NGX_OK)
    {
        return NGX_ERROR;
    }

    ngx_livestream_stream_generation = ngx_livestream_sh->generation;

    /* a predecessor that died in this slot is not waited for */

    ngx_shmtx_lock(&ngx_livestream_shpool->mutex);

    for (i = 0; i < ngx_livestream_sh->nstreams; i++) {
        sh = &ngx_livestream_sh->streams[i];

        if (sh->state != NGX_LIVESTREAM_FREE
            && sh->owner != 0 && sh->owner != ngx_pid
            && sh->owner_slot == ngx_process_slot)
        {
            sh->owner = 0;
        }
    }

    ngx_shmtx_unlock(&ngx_livestream_shpool->mutex);

    ngx_livestream_stream_dumb.fd = (ngx_socket_t) -1;

    ngx_livestream_stream_timer.handler = ngx_livestream_stream_tick;
    ngx_livestream_stream_timer.data = &ngx_livestream_stream_dumb;
    ngx_livestream_stream_timer.log = cycle->log;
    ngx_livestream_stream_timer.cancelable = 1;

    ngx_add_timer(&ngx_livestream_stream_timer, 1);

    if (ngx_worker == 0) {
        ngx_livestream_reaper_sweep(&lcf->root, cycle->log);
    }

    return NGX_OK;
}


/*
 * A reload hands streams on as interrupted: their publishers come back to a
 * worker that stays.  Otherwise they are over.
 */

void
ngx_livestream_stream_exit_process(ngx_cycle_t *cycle)
{
    ngx_uint_t                i, reloaded, draining;
    ngx_livestream_stream_t  *s;

    (void) cycle;

    if (ngx_livestream_streams == NULL) {
        return;
    }

    reloaded = (ngx_livestream_sh->generation
                != ngx_livestream_stream_generation);

    for (i = 0; i < ngx_livestream_sh->nstreams; i++) {

        s = ngx_livestream_streams[i];

        if (s == NULL) {
            continue;
        }

        if (!reloaded && s->ending == 0) {
            s->ending = NGX_LIVESTREAM_ASK_STOP;
            s->status = "ended";
        }

        s->session = NULL;

        /* all at once: they end side by side */

        if (s->pipeline) {
            ngx_livestream_pipeline_finish(s->pipeline);
        }
    }

    for (i = 0; i < ngx_livestream_sh->nstreams; i++) {

        s = ngx_livestream_streams[i];

        if (s && s->pipeline) {
            /* calls done(), which may end it */
            ngx_livestream_pipeline_drain(s->pipeline);
        }

        s = ngx_livestream_streams[i];

        if (s == NULL) {
            continue;
        }

        if (ngx_livestream_stream_hold(s, &draining) != NGX_OK) {
            ngx_livestream_stream_drop(s);

        } else if (s->ending) {
            ngx_livestream_stream_end(s);

        } else {
            ngx_livestream_stream_leave(s);
        }
    }
}


static void
ngx_livestream_stream_leave(ngx_livestream_stream_t *s)
{
    ngx_livestream_sh_stream_t  *sh;

    sh = s->sh;

    ngx_livestream_stream_drop(s);

    ngx_shmtx_lock(&ngx_livestream_shpool->mutex);

    sh->owner = 0;
    sh->draining = 0;

    ngx_shmtx_unlock(&ngx_livestream_shpool->mutex);

    ngx_livestream_bus_ring(sh);
}


ngx_int_t
ngx_livestream_stream_hold(ngx_livestream_stream_t *s, ngx_uint_t *draining)
{
    ngx_int_t                    rc;
    ngx_livestream_sh_stream_t  *sh;

    sh = s->sh;
    rc = NGX_DECLINED;

    ngx_shmtx_lock(&ngx_livestream_shpool->mutex);

    if (sh->owner == ngx_pid) {
        *draining = sh->draining;
        sh->draining = 1;
        rc = NGX_OK;
    }

    ngx_shmtx_unlock(&ngx_livestream_shpool->mutex);

    return rc;
}


void
ngx_livestream_stream_release(ngx_livestream_stream_t *s, ngx_uint_t draining)
{
    ngx_memory_barrier();

    s->sh->draining = draining;
}


static void
ngx_livestream_stream_tick(ngx_event_t *ev)
{
    ngx_uint_t                   i, quit, draining;
    ngx_livestream_stream_t     *s;
    ngx_livestream_core_conf_t  *lcf;

    lcf = ngx_livestream_core_conf((ngx_cycle_t *) ngx_cycle);

    /* told to exit, and no newer configuration has taken over */

    quit = (ngx_exiting && ngx_livestream_sh->generation
                           == ngx_livestream_stream_generation);

    for (i = 0; i < ngx_livestream_sh->nstreams; i++) {

        s = ngx_livestream_streams[i];

        if (s == NULL) {
            ngx_livestream_stream_look(&ngx_livestream_sh->streams[i], lcf,
                                       ngx_exiting);
            continue;
        }

        s->sh->heartbeat = ngx_time();

        if (quit && s->ending == 0) {
            s->ending = NGX_LIVESTREAM_ASK_STOP;
            s->status = "ended";

            if (s->session) {
                ngx_livestream_stream_kick(s->session, "nginx is stopping");

            } else if (s->pipeline == NULL) {

                if (ngx_livestream_stream_hold(s, &draining) == NGX_OK) {
                    ngx_livestream_stream_end(s);

                } else {
                    ngx_livestream_stream_drop(s);
                }
            }
        }
    }

    ngx_add_timer(ev, NGX_LIVESTREAM_TICK);
}


/* at a stream that is not ours: is it anybody's? */

static void
ngx_livestream_stream_look(ngx_livestream_sh_stream_t *sh,
    ngx_livestream_core_conf_t *lcf, ngx_uint_t exiting)
{
    u_char      id[NGX_LIVESTREAM_ID_LEN + 1];
    u_char      broadcast[NGX_LIVESTREAM_ID_LEN + 1];
    ngx_uint_t  adopt, forget;

    if (sh->state == NGX_LIVESTREAM_FREE
        || (sh->state == NGX_LIVESTREAM_ENDED && sh->expire > ngx_time())
        || (sh->state != NGX_LIVESTREAM_ENDED
            && ngx_livestream_stream_alive(sh)))
    {
        return;
    }

    adopt = 0;
    forget = 0;
    broadcast[0] = '\0';

    ngx_shmtx_lock(&ngx_livestream_shpool->mutex);

    if (sh->state == NGX_LIVESTREAM_ENDED) {

        if (sh->expire <= ngx_time()) {
            if (!sh->recorded) {
                ngx_memcpy(id, sh->id, sizeof(id));
                ngx_memcpy(broadcast, sh->broadcast, sizeof(broadcast));
            }

            ngx_livestream_registry_free_locked(sh);
            forget = 1;
        }

    } else if (sh->state != NGX_LIVESTREAM_FREE && !exiting
               && !ngx_livestream_stream_alive(sh))
    {
        sh->owner = ngx_pid;
        sh->owner_slot = ngx_process_slot;
        sh->heartbeat = ngx_time();
        sh->draining = 1;
        adopt = 1;
    }

    ngx_shmtx_unlock(&ngx_livestream_shpool->mutex);

    if (forget) {
        ngx_livestream_bus_ring(sh);
    }

    if (broadcast[0]) {
        ngx_livestream_reaper_remove(&lcf->root, id, broadcast,
                                     ngx_cycle->log);
    }

    if (adopt) {
        ngx_livestream_stream_adopt(sh);

        /* what its dead owner was asked */
        ngx_livestream_stream_bus(sh);
    }
}


static ngx_uint_t
ngx_livestream_stream_alive(ngx_livestream_sh_stream_t *sh)
{
    ngx_pid_t  owner;

    owner = sh->owner;

    if (owner == 0) {
        return 0;
    }

    return owner == ngx_pid || kill(owner, 0) == 0 || ngx_errno != ESRCH;
}


static void
ngx_livestream_stream_bus(ngx_livestream_sh_stream_t *sh)
{
    ngx_uint_t                asked, draining;
    ngx_livestream_stream_t  *s;

    s = ngx_livestream_streams[sh - ngx_livestream_sh->streams];

    if (s == NULL) {
        return;
    }

    /* what has a publisher or its pipeline is nobody else's */

    if (s->session || s->pipeline) {
        asked = ngx_livestream_stream_asked(s);

        if (asked && s->session) {
            ngx_livestream_stream_kick(s->session,
                   (asked == NGX_LIVESTREAM_ASK_YIELD) ? "replaced"
                                                       : "stopped");
        }

        return;
    }

    if (ngx_livestream_stream_hold(s, &draining) != NGX_OK) {
        /* claimed by a publisher in another worker, while interrupted */
        ngx_livestream_stream_drop(s);
        return;
    }

    if (ngx_livestream_stream_asked(s) && s->ending && !s->closing) {
        ngx_livestream_stream_end(s);
        return;
    }

    ngx_livestream_stream_release(s, draining);
}


static ngx_uint_t
ngx_livestream_stream_asked(ngx_livestream_stream_t *s)
{
    ngx_uint_t  asked;

    asked = __sync_fetch_and_and(&s->sh->asked, 0);

    if (asked & (NGX_LIVESTREAM_ASK_STOP|NGX_LIVESTREAM_ASK_DELETE)) {
        s->ending = asked;
        s->status = (asked & NGX_LIVESTREAM_ASK_DELETE) ? NULL : "stopped";
    }

    return asked;
}


ngx_int_t
ngx_livestream_ask(ngx_str_t *id, ngx_uint_t what)
{
    ngx_int_t                    rc;
    ngx_livestream_sh_stream_t  *sh;

    if (ngx_livestream_sh == NULL) {
        return NGX_DECLINED;
    }

    rc = NGX_DECLINED;

    ngx_shmtx_lock(&ngx_livestream_shpool->mutex);

    sh = ngx_livestream_registry_find_locked(id);

    if (sh && sh->state == NGX_LIVESTREAM_ENDED) {
        if (what & NGX_LIVESTREAM_ASK_DELETE) {
            sh->expire = 0;
            rc = NGX_OK;
        }

    } else if (sh) {
        (void) __sync_fetch_and_or(&sh->asked, what);
        rc = NGX_OK;
    }

    ngx_shmtx_unlock(&ngx_livestream_shpool->mutex);

    if (rc == NGX_OK) {
        ngx_livestream_bus_ring(sh);
    }

    return rc;
}


ngx_int_t
ngx_livestream_stream_claim(ngx_livestream_row_t *row, void *session,
    ngx_livestream_stream_t **sp, const char **why)
{
    u_char                       ended[NGX_LIVESTREAM_ID_LEN + 1];
    ngx_int_t                    rc;
    ngx_livestream_stream_t     *s;
    ngx_livestream_core_conf_t  *lcf;
    ngx_livestream_sh_stream_t  *sh;

    lcf = ngx_livestream_core_conf((ngx_cycle_t *) ngx_cycle);

    ended[0] = '\0';

    ngx_shmtx_lock(&ngx_livestream_shpool->mutex);

    rc = ngx_livestream_stream_claim_locked(row, lcf->max_concurrent_streams,
                                            &sh, ended, why);

    ngx_shmtx_unlock(&ngx_livestream_shpool->mutex);

    if (ended[0]) {
        ngx_livestream_reaper_remove(&lcf->root, row->id.data, ended,
                                     ngx_cycle->log);
    }

    if (sh) {
        ngx_livestream_bus_ring(sh);
    }

    if (rc != NGX_OK) {
        return rc;
    }

    s = ngx_livestream_streams[sh - ngx_livestream_sh->streams];

    if (s) {
        ngx_livestream_stream_drop(s);
    }

    s = ngx_livestream_stream_create(sh);

    if (s == NULL || ngx_livestream_stream_remember(s, row) != NGX_OK) {

        if (s) {
            ngx_livestream_stream_drop(s);
        }

        sh->owner = 0;
        *why = "out of memory";

        return NGX_ERROR;
    }

    s->session = session;
    *sp = s;

    return NGX_OK;
}


/* ended gets the name of a former broadcast, whose media are to be removed */

static ngx_int_t
ngx_livestream_stream_claim_locked(ngx_livestream_row_t *row, ngx_uint_t max,
    ngx_livestream_sh_stream_t **shp, u_char *ended, const char **why)
{
    uint64_t                     msn, next;
    ngx_int_t                    rc;
    ngx_livestream_track_t      *t;
    ngx_livestream_sh_stream_t  *sh;

    /*
     * Media sequence numbers never run backwards, not even over a crash of
     * the whole nginx, lest caches serve yesterday's segment N for today's:
     * a stream that was live before goes on at its age in seconds.
     */

    msn = row->age;

    sh = ngx_livestream_registry_find_locked(&row->id);

    if (sh && sh->state == NGX_LIVESTREAM_ENDED) {

        if (sh->ntracks) {
            t = &sh->tracks[0];
            next = t->state[t->seq & 3].open.msn + 1;
            msn = ngx_max(msn, next);
        }

        if (!sh->recorded) {
            ngx_memcpy(ended, sh->broadcast, NGX_LIVESTREAM_ID_LEN + 1);
        }

        ngx_livestream_registry_free_locked(sh);

        sh = NULL;
    }

    *shp = sh;

    if (sh) {
        rc = ngx_livestream_stream_owned_locked(sh, why);

        if (rc != NGX_OK) {
            return rc;
        }

    } else {
        sh = ngx_livestream_stream_room_locked(row, max, msn, why);

        if (sh == NULL) {
            return NGX_DECLINED;
        }

        *shp = sh;
    }

    /* what the former publisher was asked is not for this one */
    (void) __sync_fetch_and_and(&sh->asked, ~NGX_LIVESTREAM_ASK_YIELD);

    sh->state = sh->ntracks ? NGX_LIVESTREAM_LIVE : NGX_LIVESTREAM_OPENING;
    sh->owner = ngx_pid;
    sh->owner_slot = ngx_process_slot;
    sh->heartbeat = ngx_time();
    sh->last_frame = ngx_time();
    sh->expire = 0;

    return NGX_OK;
}


/* of a stream that has an owner: may it be had? */

static ngx_int_t
ngx_livestream_stream_owned_locked(ngx_livestream_sh_stream_t *sh,
    const char **why)
{
    if (!ngx_livestream_stream_alive(sh)) {
        /* the tick of this or another worker puts it right at once */
        *why = "its worker is being replaced";
        return NGX_AGAIN;
    }

    if (sh->draining) {
        *why = "the former publisher is being put away";
        return NGX_AGAIN;
    }

    if (sh->state == NGX_LIVESTREAM_INTERRUPTED) {
        return NGX_OK;
    }

    if ((time_t) sh->last_frame + NGX_LIVESTREAM_SILENCE > ngx_time()) {
        *why = "already publishing";
        return NGX_BUSY;
    }

    (void) __sync_fetch_and_or(&sh->asked, NGX_LIVESTREAM_ASK_YIELD);

    *why = "the former publisher is being put away";

    return NGX_AGAIN;
}


static ngx_livestream_sh_stream_t *
ngx_livestream_stream_room_locked(ngx_livestream_row_t *row, ngx_uint_t max,
    uint64_t msn, const char **why)
{
    ngx_uint_t                   i, active;
    ngx_livestream_sh_t         *sh;
    ngx_livestream_sh_stream_t  *s;

    sh = ngx_livestream_sh;
    active = 0;

    for (i = 0; i < sh->nstreams; i++) {
        if (sh->streams[i].state != NGX_LIVESTREAM_FREE
            && sh->streams[i].state != NGX_LIVESTREAM_ENDED)
        {
            active++;
        }
    }

    if (active >= max) {
        *why = "\"max_concurrent_streams\" is reached";
        return NULL;
    }

    s = ngx_livestream_registry_create_locked(&row->id);

    if (s == NULL) {
        *why = "the registry has no free slot until ended streams are "
               "forgotten, raise \"max_concurrent_streams\"";
        return NULL;
    }

    if (ngx_livestream_uuid(s->broadcast) != NGX_OK) {
        ngx_livestream_registry_free_locked(s);
        *why = "getrandom() failed";
        return NULL;
    }

    s->msn0 = msn;
    s->started = ngx_time();

    return s;
}


/*
 * Copyright (C) nginx-livestream contributors
 *
 * Who is the keeper?  A pid in the zone, taken under its mutex: the keeper
 * goes with its process, however that ends.
 *
 * Event loop of any worker.
 */


#include <ngx_config.h>
#include <ngx_core.h>

#include "ngx_livestream.h"


#define NGX_LIVESTREAM_KEEPER_SILENCE  60000    /* ms */


void
ngx_livestream_keeper_ring(void)
{
    if (ngx_livestream_sh) {
        (void) ngx_atomic_fetch_add(&ngx_livestream_sh->keeper.rung, 1);
    }
}


void
ngx_livestream_keeper_orphans(void)
{
    if (ngx_livestream_sh) {
        (void) ngx_atomic_fetch_add(&ngx_livestream_sh->keeper.orphans, 1);
    }

    ngx_livestream_keeper_ring();
}


ngx_int_t
ngx_livestream_keeper_claim(void)
{
    ngx_pid_t                 pid;
    ngx_livestream_keeper_t  *keeper;

    keeper = &ngx_livestream_sh->keeper;
    pid = keeper->pid;

    if (pid == ngx_pid) {
        keeper->heartbeat = ngx_current_msec;
        return NGX_OK;
    }

    /*
     * Its number may be another process's by now.  The time is one that nobody
     * sets: else there were two keepers whenever that is set an hour ahead.
     */

    if (ngx_exiting
        || (pid != 0
            && (kill(pid, 0) == 0 || ngx_errno != ESRCH)
            && (ngx_msec_int_t) (ngx_current_msec - keeper->heartbeat)
               < NGX_LIVESTREAM_KEEPER_SILENCE))
    {
        return NGX_DECLINED;
    }

    ngx_shmtx_lock(&ngx_livestream_shpool->mutex);

    if (keeper->pid == pid) {
        keeper->pid = ngx_pid;
        keeper->heartbeat = ngx_current_msec;
    }

    ngx_shmtx_unlock(&ngx_livestream_shpool->mutex);

    return (keeper->pid == ngx_pid) ? NGX_OK : NGX_DECLINED;
}


void
ngx_livestream_keeper_leave(void)
{
    ngx_livestream_keeper_t  *keeper;

    keeper = &ngx_livestream_sh->keeper;

    ngx_shmtx_lock(&ngx_livestream_shpool->mutex);

    if (keeper->pid == ngx_pid) {
        keeper->pid = 0;
    }

    ngx_shmtx_unlock(&ngx_livestream_shpool->mutex);
}

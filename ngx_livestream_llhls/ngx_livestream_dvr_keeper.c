
/*
 * Copyright (C) nginx-livestream contributors
 *
 * The keeper: the tick, the pass, and what its rooms share;
 * ngx_livestream_dvr_keeper.h draws them.
 *
 * A worker that is told to exit stops its jobs, which leaves them as they were
 * in the store, and gives the role to a worker that stays.
 *
 * Event loop.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>

#include "ngx_livestream_dvr_keeper.h"


#define NGX_LIVESTREAM_DVR_TICK  500            /* ms */
#define NGX_LIVESTREAM_DVR_PASS  10             /* s, when nobody rings */
#define NGX_LIVESTREAM_DVR_NICE  10

/* that wait, until the next tick: what a hundred ladders close meanwhile */
#define NGX_LIVESTREAM_DVR_FILES  256


static void ngx_livestream_dvr_tick(ngx_event_t *ev);
static void ngx_livestream_dvr_leave(void);
static void ngx_livestream_dvr_answer(ngx_livestream_store_result_t *r,
    void *data);
static void ngx_livestream_dvr_free_over(void);


ngx_livestream_dvr_keeper_t  ngx_livestream_dvr_keeper;

static ngx_livestream_store_query_t  *ngx_livestream_dvr_query;
static ngx_livestream_dvr_rows_pt     ngx_livestream_dvr_rows;
static ngx_uint_t                     ngx_livestream_dvr_step;
static ngx_uint_t                     ngx_livestream_dvr_running;
static ngx_atomic_uint_t              ngx_livestream_dvr_rung;
static time_t                         ngx_livestream_dvr_due;
static ngx_event_t                    ngx_livestream_dvr_timer;
static ngx_connection_t               ngx_livestream_dvr_dumb;


static void (*ngx_livestream_dvr_steps[])(void) = {
    ngx_livestream_dvr_finish_step,
    ngx_livestream_dvr_convert_step,
    ngx_livestream_dvr_remove_step,
    ngx_livestream_dvr_upload_step,
    ngx_livestream_dvr_local_step,
    ngx_livestream_dvr_objects_step,
    ngx_livestream_dvr_cleanup_step,
    ngx_livestream_dvr_orphans_step,
    ngx_livestream_dvr_disk_step
};

#define NGX_LIVESTREAM_DVR_STEPS                                             \
    (sizeof(ngx_livestream_dvr_steps) / sizeof(ngx_livestream_dvr_steps[0]))


ngx_int_t
ngx_livestream_dvr_keeper_init_process(ngx_cycle_t *cycle)
{
    ngx_event_t                  *ev;
    ngx_uint_t                    n;
    ngx_livestream_dvr_t         *dvr;
    ngx_livestream_dvr_keeper_t  *k;

    k = &ngx_livestream_dvr_keeper;
    dvr = &ngx_livestream_dvr;

    ngx_memzero(k, sizeof(ngx_livestream_dvr_keeper_t));
    ngx_queue_init(&k->busy);

    n = dvr->conf->engine ? dvr->conf->engine->connections(cycle) : 1;

    k->finish = ngx_livestream_crew_create(cycle, "dvr-finish", 1, 16,
                                           NGX_LIVESTREAM_DVR_NICE);
    k->convert = ngx_livestream_crew_create(cycle, "dvr-convert", 1, 16,
                                            NGX_LIVESTREAM_DVR_NICE);
    k->upload = ngx_livestream_crew_create(cycle, "dvr-upload", n,
                                           NGX_LIVESTREAM_DVR_FILES,
                                           NGX_LIVESTREAM_DVR_NICE);
    k->files = ngx_livestream_crew_create(cycle, "dvr-files", 1,
                                          NGX_LIVESTREAM_DVR_FILES,
                                          NGX_LIVESTREAM_DVR_NICE);

    if (k->finish == NULL || k->convert == NULL || k->upload == NULL
        || k->files == NULL)
    {
        return NGX_ERROR;
    }

    k->cleanup = ngx_time();

    ngx_livestream_dvr_query = NULL;
    ngx_livestream_dvr_running = 0;
    ngx_livestream_dvr_due = 0;
    ngx_livestream_dvr_dumb.fd = (ngx_socket_t) -1;

    ev = &ngx_livestream_dvr_timer;

    ngx_memzero(ev, sizeof(ngx_event_t));

    ev->handler = ngx_livestream_dvr_tick;
    ev->data = &ngx_livestream_dvr_dumb;
    ev->log = cycle->log;
    ev->cancelable = 1;

    ngx_add_timer(ev, NGX_LIVESTREAM_DVR_TICK);

    return NGX_OK;
}


void
ngx_livestream_dvr_keeper_exit_process(void)
{
    ngx_livestream_dvr_keeper_t  *k;

    k = &ngx_livestream_dvr_keeper;

    if (k->files == NULL) {
        return;
    }

    /* the store has gone before */

    k->closed = 1;

    ngx_livestream_crew_destroy(k->finish, 1);
    ngx_livestream_crew_destroy(k->convert, 1);
    ngx_livestream_crew_destroy(k->upload, 1);
    ngx_livestream_crew_destroy(k->files, 1);

    ngx_livestream_keeper_leave();
}


static void
ngx_livestream_dvr_tick(ngx_event_t *ev)
{
    ngx_atomic_uint_t             rung;
    ngx_livestream_dvr_keeper_t  *k;

    k = &ngx_livestream_dvr_keeper;

    if (ngx_exiting) {
        ngx_livestream_dvr_leave();
        ngx_add_timer(ev, NGX_LIVESTREAM_DVR_TICK);
        return;
    }

    ngx_add_timer(ev, NGX_LIVESTREAM_DVR_TICK);

    if (ngx_livestream_keeper_claim() != NGX_OK) {
        return;
    }

    ngx_livestream_dvr_convert_progress();

    rung = ngx_livestream_sh->keeper.rung;

    if (ngx_livestream_dvr_running
        || (rung == ngx_livestream_dvr_rung
            && ngx_time() < ngx_livestream_dvr_due))
    {
        return;
    }

    ngx_livestream_dvr_running = 1;
    ngx_livestream_dvr_rung = rung;
    ngx_livestream_dvr_due = ngx_time() + NGX_LIVESTREAM_DVR_PASS;
    ngx_livestream_dvr_step = 0;

    k->time.data = k->now;
    k->time.len = ngx_livestream_rfc3339(k->now, ngx_livestream_now())
                  - k->now;

    ngx_livestream_dvr_next();
}


static void
ngx_livestream_dvr_leave(void)
{
    ngx_livestream_dvr_keeper_t  *k;

    k = &ngx_livestream_dvr_keeper;

    if (!k->leaving) {
        k->leaving = 1;

        ngx_livestream_crew_stop(k->finish);
        ngx_livestream_crew_stop(k->convert);
        ngx_livestream_crew_stop(k->upload);
        ngx_livestream_crew_stop(k->files);
    }

    if (ngx_livestream_dvr_query == NULL && ngx_queue_empty(&k->busy)) {
        ngx_livestream_keeper_leave();
    }
}


void
ngx_livestream_dvr_next(void)
{
    ngx_uint_t  step;

    step = ngx_livestream_dvr_step++;

    if (step == NGX_LIVESTREAM_DVR_STEPS || ngx_livestream_dvr_leaving()) {
        ngx_livestream_dvr_running = 0;
        return;
    }

    ngx_livestream_dvr_steps[step]();
}


void
ngx_livestream_dvr_ask(const char *sql, ngx_str_t *params, ngx_uint_t n,
    ngx_livestream_dvr_rows_pt rows)
{
    ngx_livestream_dvr_rows = rows;

    ngx_livestream_dvr_query = ngx_livestream_store_exec(sql, params, n,
                                             ngx_livestream_dvr_answer, NULL);

    if (ngx_livestream_dvr_query == NULL) {
        /* the store is away: the next pass asks again */
        ngx_livestream_dvr_running = 0;
    }
}


static void
ngx_livestream_dvr_answer(ngx_livestream_store_result_t *r, void *data)
{
    (void) data;

    ngx_livestream_dvr_query = NULL;

    if (r->rc != NGX_OK || ngx_livestream_dvr_leaving()) {
        ngx_livestream_dvr_running = 0;

    } else {
        ngx_livestream_dvr_rows(r);
    }

    ngx_livestream_dvr_free_over();
}


/* what was released before the question that is asked now */

static void
ngx_livestream_dvr_free_over(void)
{
    ngx_queue_t                *q, *next, *busy;
    ngx_livestream_dvr_work_t  *w;

    busy = &ngx_livestream_dvr_keeper.busy;

    for (q = ngx_queue_head(busy); q != ngx_queue_sentinel(busy); q = next) {
        next = ngx_queue_next(q);
        w = ngx_queue_data(q, ngx_livestream_dvr_work_t, queue);

        if (w->over) {
            ngx_queue_remove(q);
            ngx_free(w);
        }
    }
}


void
ngx_livestream_dvr_tell(const char *sql, ngx_str_t *params, ngx_uint_t n)
{
    if (ngx_livestream_dvr_keeper.closed) {
        return;
    }

    if (ngx_livestream_store_exec(sql, params, n, NULL, NULL) == NULL) {
        ngx_log_error(NGX_LOG_ERR, ngx_cycle->log, 0,
                      "what became of a recording could not be stored, it "
                      "will be done again");
    }
}


void *
ngx_livestream_dvr_work(size_t size, const char *name, ngx_str_t *id,
    ngx_str_t *rid, void (*run)(ngx_livestream_job_t *job),
    void (*done)(ngx_livestream_job_t *job))
{
    ngx_livestream_dvr_work_t  *w;

    if (ngx_livestream_dvr_busy(name)
        || !ngx_livestream_dvr_is_id(id)
        || (rid->len && !ngx_livestream_dvr_is_id(rid)))
    {
        return NULL;
    }

    w = ngx_calloc(size, ngx_cycle->log);
    if (w == NULL) {
        return NULL;
    }

    w->job.run = run;
    w->job.done = done;
    w->dvr = ngx_livestream_dvr;

    (void) ngx_cpystrn((u_char *) w->name, (u_char *) name, sizeof(w->name));
    (void) ngx_snprintf((u_char *) w->id, sizeof(w->id), "%V%Z", id);
    (void) ngx_snprintf((u_char *) w->rid, sizeof(w->rid), "%V%Z", rid);
    (void) ngx_snprintf((u_char *) w->dir, sizeof(w->dir), "%V/%V/%V%Z",
                        &w->dvr.conf->recordings, id, rid);

    ngx_queue_insert_tail(&ngx_livestream_dvr_keeper.busy, &w->queue);

    return w;
}


ngx_int_t
ngx_livestream_dvr_post(ngx_livestream_crew_t *crew, void *work)
{
    ngx_livestream_dvr_work_t *w = work;

    if (ngx_livestream_crew_post(crew, &w->job) == NGX_OK) {
        return NGX_OK;
    }

    ngx_livestream_dvr_release(w);

    return NGX_BUSY;
}


/* what it was may make work for others */

void
ngx_livestream_dvr_release(void *work)
{
    ngx_livestream_dvr_work_t *w = work;

    if (ngx_livestream_dvr_query) {
        w->over = 1;

    } else {
        ngx_queue_remove(&w->queue);
        ngx_free(w);
    }

    ngx_livestream_keeper_ring();
}


ngx_livestream_dvr_work_t *
ngx_livestream_dvr_busy(const char *name)
{
    ngx_queue_t                *q, *busy;
    ngx_livestream_dvr_work_t  *w;

    busy = &ngx_livestream_dvr_keeper.busy;

    for (q = ngx_queue_head(busy);
         q != ngx_queue_sentinel(busy);
         q = ngx_queue_next(q))
    {
        w = ngx_queue_data(q, ngx_livestream_dvr_work_t, queue);

        if (ngx_strcmp(w->name, name) == 0) {
            return w;
        }
    }

    return NULL;
}


void
ngx_livestream_dvr_text(ngx_str_t *param, const char *text)
{
    param->data = (u_char *) text;
    param->len = ngx_strlen(text);
}


void
ngx_livestream_dvr_after(ngx_str_t *param, u_char *buf, int64_t s)
{
    param->data = buf;
    param->len = ngx_livestream_rfc3339(buf, ngx_livestream_now()
                                             + s * 1000000)
                 - buf;
}


ngx_uint_t
ngx_livestream_dvr_is_id(ngx_str_t *id)
{
    size_t  i;

    if (id->len != NGX_LIVESTREAM_ID_LEN) {
        return 0;
    }

    for (i = 0; i < id->len; i++) {
        if (id->data[i] != '-'
            && !(id->data[i] >= '0' && id->data[i] <= '9')
            && !(id->data[i] >= 'a' && id->data[i] <= 'f'))
        {
            return 0;
        }
    }

    return 1;
}


ngx_uint_t
ngx_livestream_dvr_on_air(ngx_str_t *id, ngx_str_t *rid)
{
    ngx_uint_t                   rc;
    ngx_livestream_sh_stream_t  *sh;

    ngx_shmtx_lock(&ngx_livestream_shpool->mutex);

    sh = ngx_livestream_registry_find_locked(id);

    rc = (sh && sh->state != NGX_LIVESTREAM_ENDED
          && rid->len == NGX_LIVESTREAM_ID_LEN
          && ngx_strncmp(sh->broadcast, rid->data, rid->len) == 0);

    ngx_shmtx_unlock(&ngx_livestream_shpool->mutex);

    return rc;
}


/* runs in a job's thread */

int
ngx_livestream_dvr_fetch(void *work, const char *name, uint64_t offset,
    size_t size, uint8_t *p, size_t *got)
{
    ngx_livestream_dvr_work_t *w = work;

    char                            key[NGX_LIVESTREAM_DVR_KEY + 4];
    ngx_livestream_storage_error_t  error;

    (void) ngx_snprintf((u_char *) key, sizeof(key), "%s/%s/%s%Z", w->id,
                        w->rid, name);

    switch (w->dvr.conf->engine->fetch(w->dvr.storage, key, offset, size, p,
                                       got, w->job.stop, &error))
    {

    case NGX_LIVESTREAM_STORAGE_OK:
        return 0;

    case NGX_LIVESTREAM_STORAGE_ABSENT:
        return ENOENT;

    case NGX_LIVESTREAM_STORAGE_STOPPED:
        return ECANCELED;

    default:
        return EIO;
    }
}


/* runs in a job's thread */

ngx_uint_t
ngx_livestream_dvr_unmounted(ngx_livestream_dvr_work_t *w)
{
    struct stat  st;

    char  path[NGX_MAX_PATH + sizeof(w->id)];

    (void) snprintf(path, sizeof(path), "%s/%s", w->dvr.conf->recordings.data,
                    w->id);

    return stat(path, &st) == -1 && ngx_errno == NGX_ENOENT;
}


/*
 * Copyright (C) nginx-livestream contributors
 *
 * The store's embedded engine: SQLite in WAL mode, on a thread of its own in
 * each worker.
 *
 *   event loop (this file)                thread, owns the connection
 *   exec(q) --> job --> in (bounded) -->  prepare (cached), bind, step
 *   done(q) <-- eventfd <-- out <-------  rows into job->result
 *
 * A job belongs to whoever's list it is in.  The thread reads of a query only
 * what never changes, its text and parameters, so that the event loop may
 * cancel it meanwhile.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>
#include <sys/eventfd.h>

#include "ngx_livestream.h"
#include "ngx_livestream_sqlite.h"


#define NGX_LIVESTREAM_SQLITE_QUEUE    4096     /* jobs */
#define NGX_LIVESTREAM_SQLITE_DRAIN    5        /* s, when a worker exits */


static ngx_int_t ngx_livestream_sqlite_init_process(ngx_cycle_t *cycle,
    ngx_str_t *uri);
static ngx_int_t ngx_livestream_sqlite_start(ngx_livestream_sqlite_t *s,
    ngx_log_t *log);
static void ngx_livestream_sqlite_exit_process(ngx_cycle_t *cycle);
static void ngx_livestream_sqlite_drain(ngx_livestream_sqlite_t *s);
static ngx_int_t ngx_livestream_sqlite_exec(ngx_livestream_store_query_t *q);
static void ngx_livestream_sqlite_handler(ngx_event_t *ev);
static void ngx_livestream_sqlite_deliver(ngx_livestream_sqlite_t *s);


static ngx_livestream_store_engine_t  ngx_livestream_sqlite_engine = {
    ngx_string("sqlite"),
    ngx_livestream_sqlite_migrate,
    ngx_livestream_sqlite_init_process,
    ngx_livestream_sqlite_exit_process,
    ngx_livestream_sqlite_exec
};


ngx_module_t  ngx_livestream_sqlite_module = {
    NGX_MODULE_V1,
    &ngx_livestream_sqlite_engine,         /* module context */
    NULL,                                  /* module directives */
    NGX_LIVESTREAM_STORE_MODULE,           /* module type */
    NULL,                                  /* init master */
    NULL,                                  /* init module */
    NULL,                                  /* init process */
    NULL,                                  /* init thread */
    NULL,                                  /* exit thread */
    NULL,                                  /* exit process */
    NULL,                                  /* exit master */
    NGX_MODULE_V1_PADDING
};


/* of this worker */
static ngx_livestream_sqlite_t  *ngx_livestream_sqlite;


static ngx_int_t
ngx_livestream_sqlite_init_process(ngx_cycle_t *cycle, ngx_str_t *uri)
{
    ngx_livestream_sqlite_t  *s;

    s = ngx_pcalloc(cycle->pool, sizeof(ngx_livestream_sqlite_t));
    if (s == NULL) {
        return NGX_ERROR;
    }

    s->path = ngx_livestream_sqlite_path(cycle, uri);
    if (s->path == NULL) {
        return NGX_ERROR;
    }

    ngx_queue_init(&s->in);
    ngx_queue_init(&s->out);

    s->fd = eventfd(0, EFD_NONBLOCK|EFD_CLOEXEC);
    if (s->fd == -1) {
        ngx_log_error(NGX_LOG_EMERG, cycle->log, ngx_errno,
                      "eventfd() failed");
        return NGX_ERROR;
    }

    s->connection = ngx_livestream_add_fd(cycle, s->fd,
                                          ngx_livestream_sqlite_handler);
    if (s->connection == NULL) {
        return NGX_ERROR;
    }

    if (ngx_livestream_sqlite_start(s, cycle->log) != NGX_OK) {
        return NGX_ERROR;
    }

    ngx_livestream_sqlite = s;

    return NGX_OK;
}


static ngx_int_t
ngx_livestream_sqlite_start(ngx_livestream_sqlite_t *s, ngx_log_t *log)
{
    int       err;
    sigset_t  set, old;

    err = pthread_mutex_init(&s->mutex, NULL);

    if (err == 0) {
        err = pthread_cond_init(&s->cond, NULL);
    }

    if (err) {
        ngx_log_error(NGX_LOG_EMERG, log, err, "pthread_mutex_init() failed");
        return NGX_ERROR;
    }

    /* signals are the event loop's */

    (void) sigfillset(&set);
    (void) sigdelset(&set, SIGILL);
    (void) sigdelset(&set, SIGFPE);
    (void) sigdelset(&set, SIGSEGV);
    (void) sigdelset(&set, SIGBUS);

    (void) pthread_sigmask(SIG_BLOCK, &set, &old);

    err = pthread_create(&s->tid, NULL, ngx_livestream_sqlite_thread, s);

    (void) pthread_sigmask(SIG_SETMASK, &old, NULL);

    if (err) {
        ngx_log_error(NGX_LOG_EMERG, log, err, "pthread_create() failed");
        return NGX_ERROR;
    }

    return NGX_OK;
}


/*
 * The thread must have ended before this module is unloaded.  It runs what is
 * queued; at the deadline it gives up waiting for locks, which ends the rest
 * at once.
 */

static void
ngx_livestream_sqlite_exit_process(ngx_cycle_t *cycle)
{
    ngx_livestream_sqlite_t  *s;

    s = ngx_livestream_sqlite;

    if (s == NULL) {
        return;
    }

    ngx_livestream_sqlite = NULL;

    ngx_livestream_sqlite_drain(s);
    ngx_livestream_sqlite_deliver(s);

    ngx_livestream_del_fd(s->connection);

    if (close(s->fd) == -1) {
        ngx_log_error(NGX_LOG_ALERT, cycle->log, ngx_errno,
                      "close(%d) failed", s->fd);
    }

    (void) pthread_cond_destroy(&s->cond);
    (void) pthread_mutex_destroy(&s->mutex);
}


static void
ngx_livestream_sqlite_drain(ngx_livestream_sqlite_t *s)
{
    struct timespec  ts;

    (void) pthread_mutex_lock(&s->mutex);
    s->closing = 1;
    (void) pthread_cond_signal(&s->cond);
    (void) pthread_mutex_unlock(&s->mutex);

    (void) clock_gettime(CLOCK_REALTIME, &ts);
    ts.tv_sec += NGX_LIVESTREAM_SQLITE_DRAIN;

    if (pthread_timedjoin_np(s->tid, NULL, &ts) == 0) {
        return;
    }

    (void) pthread_mutex_lock(&s->mutex);
    s->hurry = 1;
    (void) pthread_mutex_unlock(&s->mutex);

    (void) pthread_join(s->tid, NULL);
}


static ngx_int_t
ngx_livestream_sqlite_exec(ngx_livestream_store_query_t *q)
{
    ngx_uint_t                    full;
    ngx_livestream_sqlite_t      *s;
    ngx_livestream_sqlite_job_t  *job;

    s = ngx_livestream_sqlite;

    job = ngx_calloc(sizeof(ngx_livestream_sqlite_job_t), ngx_cycle->log);
    if (job == NULL) {
        return NGX_BUSY;
    }

    job->query = q;

    (void) pthread_mutex_lock(&s->mutex);

    full = (s->nin == NGX_LIVESTREAM_SQLITE_QUEUE);

    if (!full) {
        ngx_queue_insert_tail(&s->in, &job->queue);
        s->nin++;
        (void) pthread_cond_signal(&s->cond);
    }

    (void) pthread_mutex_unlock(&s->mutex);

    if (full) {
        ngx_free(job);
        return NGX_BUSY;
    }

    return NGX_OK;
}


static void
ngx_livestream_sqlite_handler(ngx_event_t *ev)
{
    uint64_t                  count;
    ngx_connection_t         *c;
    ngx_livestream_sqlite_t  *s;

    c = ev->data;
    s = ngx_livestream_sqlite;

    if (read(c->fd, &count, sizeof(uint64_t)) == -1
        && ngx_errno != NGX_EAGAIN)
    {
        ngx_log_error(NGX_LOG_ALERT, ev->log, ngx_errno,
                      "read(%d) of an eventfd failed", c->fd);
    }

    ngx_livestream_sqlite_deliver(s);
}


static void
ngx_livestream_sqlite_deliver(ngx_livestream_sqlite_t *s)
{
    ngx_queue_t                   list, *e;
    ngx_livestream_sqlite_job_t  *job;

    ngx_queue_init(&list);

    (void) pthread_mutex_lock(&s->mutex);

    if (!ngx_queue_empty(&s->out)) {
        ngx_queue_add(&list, &s->out);
        ngx_queue_init(&s->out);
    }

    (void) pthread_mutex_unlock(&s->mutex);

    while (!ngx_queue_empty(&list)) {
        e = ngx_queue_head(&list);
        ngx_queue_remove(e);

        job = ngx_queue_data(e, ngx_livestream_sqlite_job_t, queue);

        ngx_livestream_store_done(job->query, &job->result);

        free(job->result.values);
        free(job->bytes);
        ngx_free(job);
    }
}


/*
 * Copyright (C) nginx-livestream contributors
 *
 * The store: asynchronous SQL.  One interface; engines are modules of its
 * type, chosen by the scheme of the `store` directive (sqlite:, postgresql:).
 * A statement is one text that all engines take: $1 parameters, ON CONFLICT,
 * RETURNING, CURRENT_TIMESTAMP.  Parameters and values are texts: times are
 * RFC 3339 UTC, booleans are given as "1" and "0" and are read by
 * ngx_livestream_store_bool().
 *
 * Event loop only.  No call blocks, but migrate(), which runs in the master
 * before the workers are started.
 */


#ifndef _NGX_LIVESTREAM_STORE_H_INCLUDED_
#define _NGX_LIVESTREAM_STORE_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>


#define NGX_LIVESTREAM_STORE_MODULE  0x5453564c      /* "LVST" */

#define NGX_LIVESTREAM_STORE_PARAMS  24


typedef struct {
    ngx_int_t                rc;        /* NGX_OK; NGX_DECLINED: a constraint
                                           was violated; NGX_BUSY: queue full
                                           or store away; NGX_ERROR */
    ngx_uint_t               nrows;     /* of a SELECT or RETURNING */
    ngx_uint_t               ncols;
    ngx_str_t               *values;    /* nrows * ncols; NULL is data NULL */
    ngx_uint_t               changes;   /* rows changed */
    ngx_str_t                error;     /* the engine's words, for the log */
} ngx_livestream_store_result_t;


#define ngx_livestream_store_value(r, row, col)                              \
    (&(r)->values[(row) * (r)->ncols + (col)])


/* The result is valid during the call only. */
typedef void (*ngx_livestream_store_handler_pt)(
    ngx_livestream_store_result_t *result, void *data);


typedef struct ngx_livestream_store_engine_s  ngx_livestream_store_engine_t;
typedef struct ngx_livestream_store_query_s  ngx_livestream_store_query_t;


struct ngx_livestream_store_query_s {
    ngx_queue_t                      queue;     /* the engine's */
    const char                      *sql;       /* static text */
    ngx_uint_t                       nparams;
    ngx_str_t                        params[NGX_LIVESTREAM_STORE_PARAMS];
                                                /* own copies, a NUL
                                                   behind; NULL is data NULL */
    ngx_livestream_store_handler_pt  handler;   /* NULL when cancelled */
    void                            *data;
};


/* A module of type NGX_LIVESTREAM_STORE_MODULE has this as its ctx. */
struct ngx_livestream_store_engine_s {
    ngx_str_t                scheme;            /* "sqlite" */

    /* master: opens, migrates, applies `fresh` (a statement, when the zone is
     * new), closes; NGX_ERROR stops the start with its own log line */
    ngx_int_t              (*migrate)(ngx_cycle_t *cycle, ngx_str_t *uri,
                                      const char *fresh);
    /* worker */
    ngx_int_t              (*init_process)(ngx_cycle_t *cycle, ngx_str_t *uri);
    /* waits for what is queued, a few seconds at most */
    void                   (*exit_process)(ngx_cycle_t *cycle);
    /* takes the query, calls ngx_livestream_store_done() later, never from
     * within; NGX_BUSY when its queue is full */
    ngx_int_t              (*exec)(ngx_livestream_store_query_t *q);
};


/* for engines */
void ngx_livestream_store_done(ngx_livestream_store_query_t *q,
    ngx_livestream_store_result_t *result);

/*
 * Runs a statement.  The parameters are copied.  The handler (may be NULL for
 * "tell the log only if it fails") is always called exactly once, from the
 * event loop and never from within this call, unless cancelled.  Returns a
 * query to cancel by, or NULL when out of memory or when the queue is full:
 * then the handler is not called.
 */
ngx_livestream_store_query_t *ngx_livestream_store_exec(const char *sql,
    ngx_str_t *params, ngx_uint_t nparams,
    ngx_livestream_store_handler_pt handler, void *data);

/* The statement runs all the same; the handler will not be called. */
void ngx_livestream_store_cancel(ngx_livestream_store_query_t *q);

ngx_uint_t ngx_livestream_store_bool(ngx_str_t *value);

/* core */
char *ngx_livestream_store_conf(ngx_conf_t *cf, ngx_str_t *uri);
ngx_int_t ngx_livestream_store_migrate(ngx_cycle_t *cycle, const char *fresh);
ngx_int_t ngx_livestream_store_init_process(ngx_cycle_t *cycle);
void ngx_livestream_store_exit_process(ngx_cycle_t *cycle);


#endif /* _NGX_LIVESTREAM_STORE_H_INCLUDED_ */

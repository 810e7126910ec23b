
/*
 * Copyright (C) nginx-livestream contributors
 *
 * The store's front: finds the engine that the URI's scheme names, makes
 * queries and hands their results back.
 *
 *   caller                 here                          engine
 *   exec(sql, params) -->  query, one malloc:       -->  exec(q)
 *                          { q | copies of params }       |
 *   handler(result)   <--  done(q, result), free(q) <-----+  later
 *
 * An engine is a module of type NGX_LIVESTREAM_STORE_MODULE, so that the
 * cycle's list of modules is the list of engines: nothing registers, and
 * nothing is left behind by a module that the next configuration does not
 * load.
 *
 * The engine in use is looked up anew in each process, from its own cycle: a
 * reload that fails in the master must not change what a worker that is
 * started later by the same master uses.
 *
 * Event loop only; migrate() in the master.
 */


#include <ngx_config.h>
#include <ngx_core.h>

#include "ngx_livestream.h"


static ngx_livestream_store_engine_t *ngx_livestream_store_find(
    ngx_cycle_t *cycle, ngx_str_t *uri);
static ngx_livestream_store_query_t *ngx_livestream_store_create_query(
    const char *sql, ngx_str_t *params, ngx_uint_t nparams);


/* of this worker; NULL in the master */
static ngx_livestream_store_engine_t  *ngx_livestream_store_engine;


char *
ngx_livestream_store_conf(ngx_conf_t *cf, ngx_str_t *uri)
{
    u_char      *colon;
    ngx_str_t    scheme;

    colon = ngx_strlchr(uri->data, uri->data + uri->len, ':');

    if (colon == NULL || colon == uri->data) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "store \"%V\" has no scheme, "
                           "such as in \"sqlite:/path/to/file\"", uri);
        return NGX_CONF_ERROR;
    }

    if (ngx_livestream_store_find(cf->cycle, uri) == NULL) {
        scheme.data = uri->data;
        scheme.len = colon - uri->data;

        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "no module is loaded for the store \"%V:\": add "
                           "\"load_module modules/ngx_livestream_%V_module.so;"
                           "\" after that of ngx_livestream_module.so",
                           &scheme, &scheme);
        return NGX_CONF_ERROR;
    }

    return NGX_CONF_OK;
}


static ngx_livestream_store_engine_t *
ngx_livestream_store_find(ngx_cycle_t *cycle, ngx_str_t *uri)
{
    ngx_uint_t                      i;
    ngx_livestream_store_engine_t  *e;

    for (i = 0; cycle->modules[i]; i++) {

        if (cycle->modules[i]->type != NGX_LIVESTREAM_STORE_MODULE) {
            continue;
        }

        e = cycle->modules[i]->ctx;

        if (uri->len > e->scheme.len
            && uri->data[e->scheme.len] == ':'
            && ngx_strncmp(uri->data, e->scheme.data, e->scheme.len) == 0)
        {
            return e;
        }
    }

    return NULL;
}


ngx_int_t
ngx_livestream_store_migrate(ngx_cycle_t *cycle, const char *fresh)
{
    ngx_livestream_core_conf_t     *lcf;
    ngx_livestream_store_engine_t  *e;

    lcf = ngx_livestream_core_conf(cycle);

    if (lcf == NULL || ngx_test_config) {
        return NGX_OK;
    }

    e = ngx_livestream_store_find(cycle, &lcf->store);

    if (e->migrate(cycle, &lcf->store, fresh) == NGX_OK) {
        return NGX_OK;
    }

    if (ngx_is_init_cycle(cycle->old_cycle)) {
        return NGX_ERROR;
    }

    /*
     * On reload an error here would end the master and leave its workers
     * alone: better go on with a store that comes back by itself.
     */

    ngx_log_error(NGX_LOG_EMERG, cycle->log, 0,
                  "the store is not ready: requests that need it will fail "
                  "until it is, reload again then");

    return NGX_OK;
}


ngx_int_t
ngx_livestream_store_init_process(ngx_cycle_t *cycle)
{
    ngx_livestream_core_conf_t     *lcf;
    ngx_livestream_store_engine_t  *e;

    lcf = ngx_livestream_core_conf(cycle);

    if (lcf == NULL) {
        return NGX_OK;
    }

    e = ngx_livestream_store_find(cycle, &lcf->store);

    if (e->init_process(cycle, &lcf->store) != NGX_OK) {
        return NGX_ERROR;
    }

    ngx_livestream_store_engine = e;

    return NGX_OK;
}


void
ngx_livestream_store_exit_process(ngx_cycle_t *cycle)
{
    ngx_livestream_store_engine_t  *e;

    e = ngx_livestream_store_engine;

    if (e) {
        /* what handlers would still ask for is refused */
        ngx_livestream_store_engine = NULL;
        e->exit_process(cycle);
    }
}


ngx_livestream_store_query_t *
ngx_livestream_store_exec(const char *sql, ngx_str_t *params,
    ngx_uint_t nparams, ngx_livestream_store_handler_pt handler, void *data)
{
    ngx_livestream_store_query_t  *q;

    if (ngx_livestream_store_engine == NULL) {
        ngx_log_error(NGX_LOG_ERR, ngx_cycle->log, 0,
                      "store is closed, not run: \"%s\"", sql);
        return NULL;
    }

    q = ngx_livestream_store_create_query(sql, params, nparams);
    if (q == NULL) {
        return NULL;
    }

    q->handler = handler;
    q->data = data;

    if (ngx_livestream_store_engine->exec(q) != NGX_OK) {
        ngx_log_error(NGX_LOG_ERR, ngx_cycle->log, 0,
                      "store is overloaded, not run: \"%s\"", sql);
        ngx_free(q);
        return NULL;
    }

    return q;
}


static ngx_livestream_store_query_t *
ngx_livestream_store_create_query(const char *sql, ngx_str_t *params,
    ngx_uint_t nparams)
{
    u_char                        *p;
    size_t                         size;
    ngx_uint_t                     i;
    ngx_livestream_store_query_t  *q;

    if (nparams > NGX_LIVESTREAM_STORE_PARAMS) {
        ngx_log_error(NGX_LOG_ALERT, ngx_cycle->log, 0,
                      "%ui parameters in \"%s\"", nparams, sql);
        return NULL;
    }

    size = sizeof(ngx_livestream_store_query_t);

    for (i = 0; i < nparams; i++) {
        size += params[i].len + 1;
    }

    q = ngx_alloc(size, ngx_cycle->log);
    if (q == NULL) {
        return NULL;
    }

    ngx_memzero(q, sizeof(ngx_livestream_store_query_t));

    q->sql = sql;
    q->nparams = nparams;

    p = (u_char *) q + sizeof(ngx_livestream_store_query_t);

    for (i = 0; i < nparams; i++) {

        if (params[i].data == NULL) {
            continue;
        }

        q->params[i].data = p;
        q->params[i].len = params[i].len;

        p = ngx_cpymem(p, params[i].data, params[i].len);
        *p++ = '\0';
    }

    return q;
}


void
ngx_livestream_store_cancel(ngx_livestream_store_query_t *q)
{
    q->handler = NULL;
}


void
ngx_livestream_store_done(ngx_livestream_store_query_t *q,
    ngx_livestream_store_result_t *result)
{
    if (q->handler) {
        q->handler(result, q->data);

    } else if (result->rc != NGX_OK) {
        ngx_log_error(NGX_LOG_ERR, ngx_cycle->log, 0,
                      "store failed: %V, in \"%s\"", &result->error, q->sql);
    }

    ngx_free(q);
}


ngx_uint_t
ngx_livestream_store_bool(ngx_str_t *value)
{
    return value->len
           && (value->data[0] == '1' || value->data[0] == 't'
               || value->data[0] == 'T');
}

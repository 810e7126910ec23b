
/*
 * Copyright (C) nginx-livestream contributors
 *
 * The REST API: directive, routes, and the life of a call.
 *
 *   content handler   finds the route by path and method, makes the call
 *   body              is read whole, at most 64 KiB, and parsed
 *   handler           asks the store; its result handler asks again or
 *                     replies
 *
 * Who may call the API is said with nginx's own means: allow, auth_basic,
 * limit_except and so on.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "ngx_livestream_api.h"


#define NGX_LIVESTREAM_API_TIMEOUT   30000      /* ms, for the store */
#define NGX_LIVESTREAM_API_URL       (255 - sizeof("/sk_") - 40)


typedef struct {
    ngx_uint_t               enabled;   /* in some location */
} ngx_livestream_api_main_conf_t;


typedef struct {
    ngx_uint_t               enable;    /* unsigned  enable:1; */
} ngx_livestream_api_loc_conf_t;


static ngx_int_t ngx_livestream_api_handler(ngx_http_request_t *r);
static ngx_str_t ngx_livestream_api_path(ngx_http_request_t *r);
static ngx_int_t ngx_livestream_api_match(const char *route, ngx_str_t *path,
    ngx_str_t *ids);
static ngx_int_t ngx_livestream_api_method(ngx_http_request_t *r,
    ngx_str_t *path);
static ngx_livestream_api_call_t *ngx_livestream_api_open(
    ngx_http_request_t *r, const ngx_livestream_api_route_t *route,
    ngx_str_t *ids);
static ngx_int_t ngx_livestream_api_set_id(ngx_livestream_api_call_t *call,
    ngx_str_t *id, ngx_str_t *text);
static void ngx_livestream_api_run(ngx_livestream_api_call_t *call);
static ngx_uint_t ngx_livestream_api_is_uuid(ngx_str_t *id);
static void ngx_livestream_api_gone(void *data);
static void ngx_livestream_api_timeout(ngx_event_t *ev);
static void ngx_livestream_api_result(ngx_livestream_store_result_t *result,
    void *data);
static void *ngx_livestream_api_create_main_conf(ngx_conf_t *cf);
static void *ngx_livestream_api_create_loc_conf(ngx_conf_t *cf);
static char *ngx_livestream_api_merge_loc_conf(ngx_conf_t *cf, void *parent,
    void *child);
static char *ngx_livestream_api_directive(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
static ngx_int_t ngx_livestream_api_init_module(ngx_cycle_t *cycle);


static const ngx_livestream_api_route_t  ngx_livestream_api_routes[] = {

    { NGX_HTTP_GET, "livestreams", 0, ngx_livestream_api_list },
    { NGX_HTTP_POST, "livestreams", 1, ngx_livestream_api_create },
    { NGX_HTTP_GET, "livestreams/{id}", 0, ngx_livestream_api_get },
    { NGX_HTTP_PATCH, "livestreams/{id}", 1, ngx_livestream_api_patch },
    { NGX_HTTP_DELETE, "livestreams/{id}", 0, ngx_livestream_api_delete },
    { NGX_HTTP_POST, "livestreams/{id}/start", 0, ngx_livestream_api_start },
    { NGX_HTTP_POST, "livestreams/{id}/stop", 0, ngx_livestream_api_stop },
    { NGX_HTTP_POST, "livestreams/{id}/key", 0, ngx_livestream_api_key },

    { NGX_HTTP_GET, "livestreams/{id}/recordings", 0,
      ngx_livestream_api_recordings },
    { NGX_HTTP_GET, "livestreams/{id}/recordings/{rid}", 0,
      ngx_livestream_api_recording },
    { NGX_HTTP_PATCH, "livestreams/{id}/recordings/{rid}", 1,
      ngx_livestream_api_patch_recording },
    { NGX_HTTP_DELETE, "livestreams/{id}/recordings/{rid}", 0,
      ngx_livestream_api_delete_recording },
    { NGX_HTTP_POST, "livestreams/{id}/recordings/{rid}/convert", 2,
      ngx_livestream_api_convert },

    { 0, NULL, 0, NULL }
};


static const struct {
    ngx_uint_t   method;
    const char  *name;
} ngx_livestream_api_methods[] = {
    { NGX_HTTP_GET, "GET, HEAD" },
    { NGX_HTTP_POST, "POST" },
    { NGX_HTTP_PATCH, "PATCH" },
    { NGX_HTTP_DELETE, "DELETE" },
    { NGX_HTTP_OPTIONS, "OPTIONS" },
    { 0, NULL }
};


static ngx_command_t  ngx_livestream_api_commands[] = {

    { ngx_string("livestream_api"),
      NGX_HTTP_LOC_CONF|NGX_CONF_NOARGS,
      ngx_livestream_api_directive,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

      ngx_null_command
};


static ngx_http_module_t  ngx_livestream_api_module_ctx = {
    NULL,                                  /* preconfiguration */
    NULL,                                  /* postconfiguration */

    ngx_livestream_api_create_main_conf,   /* create main configuration */
    NULL,                                  /* init main configuration */

    NULL,                                  /* create server configuration */
    NULL,                                  /* merge server configuration */

    ngx_livestream_api_create_loc_conf,    /* create location configuration */
    ngx_livestream_api_merge_loc_conf      /* merge location configuration */
};


ngx_module_t  ngx_livestream_api_module = {
    NGX_MODULE_V1,
    &ngx_livestream_api_module_ctx,        /* module context */
    ngx_livestream_api_commands,           /* module directives */
    NGX_HTTP_MODULE,                       /* module type */
    NULL,                                  /* init master */
    ngx_livestream_api_init_module,        /* init module */
    NULL,                                  /* init process */
    NULL,                                  /* init thread */
    NULL,                                  /* exit thread */
    NULL,                                  /* exit process */
    NULL,                                  /* exit master */
    NGX_MODULE_V1_PADDING
};


static ngx_int_t
ngx_livestream_api_handler(ngx_http_request_t *r)
{
    ngx_int_t                          rc;
    ngx_str_t                          path, ids[2];
    ngx_uint_t                         method, found;
    const char                        *why;
    ngx_livestream_api_call_t         *call;
    const ngx_livestream_api_route_t  *route;

    /* an error is told at once, not after the body was asked for */

    path = ngx_livestream_api_path(r);
    method = (r->method == NGX_HTTP_HEAD) ? NGX_HTTP_GET : r->method;
    found = 0;

    for (route = ngx_livestream_api_routes; route->path; route++) {

        if (ngx_livestream_api_match(route->path, &path, ids) != NGX_OK) {
            continue;
        }

        found = 1;

        if (route->method == method) {
            break;
        }
    }

    if (!found) {
        return ngx_livestream_api_send_problem(r, NGX_HTTP_NOT_FOUND,
                                               "no such resource");
    }

    if (route->path == NULL) {
        return ngx_livestream_api_method(r, &path);
    }

    if (route->body) {
        rc = ngx_livestream_api_check_body(r, &why);

        if (rc != NGX_OK) {
            return ngx_livestream_api_send_problem(r, rc, why);
        }
    }

    call = ngx_livestream_api_open(r, route, ids);
    if (call == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    if (route->body) {
        return ngx_livestream_api_read_body(call, ngx_livestream_api_run);
    }

    rc = ngx_http_discard_request_body(r);

    if (rc != NGX_OK) {
        return rc;
    }

    r->main->count++;

    ngx_livestream_api_run(call);

    return NGX_DONE;
}


/* what follows the location's prefix, without a slash in front */

static ngx_str_t
ngx_livestream_api_path(ngx_http_request_t *r)
{
    ngx_str_t                  path;
    ngx_http_core_loc_conf_t  *clcf;

    clcf = ngx_http_get_module_loc_conf(r, ngx_http_core_module);

    ngx_str_null(&path);

    if (r->uri.len > clcf->name.len) {
        path.data = r->uri.data + clcf->name.len;
        path.len = r->uri.len - clcf->name.len;

        if (path.data[0] == '/' && path.data[-1] != '/') {
            path.data++;
            path.len--;
        }
    }

    return path;
}


static ngx_int_t
ngx_livestream_api_match(const char *route, ngx_str_t *path, ngx_str_t *ids)
{
    u_char      *p, *last, *slash;
    const char  *s;

    p = path->data;
    last = path->data + path->len;

    ngx_str_null(&ids[0]);
    ngx_str_null(&ids[1]);

    for (s = route; *s; /* void */ ) {

        if (*s == '{') {
            slash = ngx_strlchr(p, last, '/');

            ids->data = p;
            ids->len = (slash ? slash : last) - p;

            p += ids->len;
            ids++;

            s = ngx_strchr(s, '}') + 1;

            continue;
        }

        if (p == last || *p != (u_char) *s) {
            return NGX_DECLINED;
        }

        p++;
        s++;
    }

    return p == last ? NGX_OK : NGX_DECLINED;
}


/* the path is known, the method is not */

static ngx_int_t
ngx_livestream_api_method(ngx_http_request_t *r, ngx_str_t *path)
{
    u_char                             buf[64], *p;
    ngx_str_t                          allow, ids[2];
    ngx_uint_t                         i, methods;
    const ngx_livestream_api_route_t  *route;

    methods = NGX_HTTP_OPTIONS;

    for (route = ngx_livestream_api_routes; route->path; route++) {
        if (ngx_livestream_api_match(route->path, path, ids) == NGX_OK) {
            methods |= route->method;
        }
    }

    p = buf;

    for (i = 0; ngx_livestream_api_methods[i].name; i++) {
        if (methods & ngx_livestream_api_methods[i].method) {
            p = ngx_slprintf(p, buf + sizeof(buf), "%s%s",
                             p == buf ? "" : ", ",
                             ngx_livestream_api_methods[i].name);
        }
    }

    allow.data = buf;
    allow.len = p - buf;

    if (ngx_livestream_api_header(r, "Allow", &allow) != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    if (r->method != NGX_HTTP_OPTIONS) {
        return ngx_livestream_api_send_problem(r, NGX_HTTP_NOT_ALLOWED,
                                "the header Allow says what may be done here");
    }

    if (ngx_http_discard_request_body(r) != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    r->headers_out.status = NGX_HTTP_NO_CONTENT;
    r->header_only = 1;

    return ngx_http_send_header(r);
}


static ngx_livestream_api_call_t *
ngx_livestream_api_open(ngx_http_request_t *r,
    const ngx_livestream_api_route_t *route, ngx_str_t *ids)
{
    ngx_pool_t                 *pool;
    ngx_http_cleanup_t         *cln;
    ngx_livestream_api_call_t  *call;

    cln = ngx_http_cleanup_add(r, 0);
    if (cln == NULL) {
        return NULL;
    }

    pool = ngx_create_pool(2048, ngx_cycle->log);
    if (pool == NULL) {
        return NULL;
    }

    call = ngx_pcalloc(pool, sizeof(ngx_livestream_api_call_t));
    if (call == NULL) {
        ngx_destroy_pool(pool);
        return NULL;
    }

    call->pool = pool;
    call->request = r;
    call->route = route;

    if (ngx_livestream_api_set_id(call, &call->id, &ids[0]) != NGX_OK
        || ngx_livestream_api_set_id(call, &call->rid, &ids[1]) != NGX_OK)
    {
        ngx_destroy_pool(pool);
        return NULL;
    }

    call->timer.handler = ngx_livestream_api_timeout;
    call->timer.data = call;
    call->timer.log = ngx_cycle->log;

    cln->handler = ngx_livestream_api_gone;
    cln->data = call;

    call->cleanup = cln;

    ngx_http_set_ctx(r, call, ngx_livestream_api_module);

    return call;
}


static ngx_int_t
ngx_livestream_api_set_id(ngx_livestream_api_call_t *call, ngx_str_t *id,
    ngx_str_t *text)
{
    if (text->data == NULL) {
        return NGX_OK;
    }

    id->len = text->len;
    id->data = ngx_pnalloc(call->pool, text->len + 1);

    if (id->data == NULL) {
        return NGX_ERROR;
    }

    ngx_strlow(id->data, text->data, text->len);

    return NGX_OK;
}


static void
ngx_livestream_api_run(ngx_livestream_api_call_t *call)
{
    ngx_http_request_t  *r;

    r = call->request;

    /* a client that goes away is noticed */

    if (!r->discard_body) {
        r->read_event_handler = ngx_http_test_reading;
    }

    if (call->id.data && !ngx_livestream_api_is_uuid(&call->id)) {
        ngx_livestream_api_problem(call, NGX_HTTP_NOT_FOUND,
                                   "no such livestream: an id is a UUID");
        return;
    }

    if (call->rid.data && !ngx_livestream_api_is_uuid(&call->rid)) {
        ngx_livestream_api_problem(call, NGX_HTTP_NOT_FOUND,
                                   "no such recording: an id is a UUID");
        return;
    }

    call->route->handler(call);
}


static ngx_uint_t
ngx_livestream_api_is_uuid(ngx_str_t *id)
{
    u_char      ch;
    ngx_uint_t  i;

    if (id->len != NGX_LIVESTREAM_ID_LEN) {
        return 0;
    }

    for (i = 0; i < id->len; i++) {
        ch = id->data[i];

        if (i == 8 || i == 13 || i == 18 || i == 23) {
            if (ch != '-') {
                return 0;
            }

        } else if (!((ch >= '0' && ch <= '9') || (ch >= 'a' && ch <= 'f'))) {
            return 0;
        }
    }

    return 1;
}


static void
ngx_livestream_api_gone(void *data)
{
    ngx_livestream_api_call_t *call = data;

    call->request = NULL;

    if (call->timer.timer_set) {
        ngx_del_timer(&call->timer);
    }

    if (call->query == NULL) {
        ngx_livestream_api_close(call);
    }
}


ngx_http_request_t *
ngx_livestream_api_detach(ngx_livestream_api_call_t *call)
{
    ngx_http_request_t  *r;

    r = call->request;

    if (r) {
        call->request = NULL;
        call->cleanup->handler = NULL;
        ngx_http_set_ctx(r, NULL, ngx_livestream_api_module);
    }

    return r;
}


void
ngx_livestream_api_close(ngx_livestream_api_call_t *call)
{
    if (call->timer.timer_set) {
        ngx_del_timer(&call->timer);
    }

    json_decref(call->body);
    json_decref(call->errors);

    ngx_destroy_pool(call->pool);
}


void
ngx_livestream_api_query(ngx_livestream_api_call_t *call, const char *sql,
    ngx_str_t *params, ngx_uint_t nparams, ngx_livestream_api_result_pt next)
{
    call->next = next;
    call->query = ngx_livestream_store_exec(sql, params, nparams,
                                            ngx_livestream_api_result, call);

    if (call->query == NULL) {
        ngx_livestream_api_problem(call, NGX_HTTP_SERVICE_UNAVAILABLE,
                                   "the store is overloaded, try again");
        return;
    }

    /* not cancelable: a worker that exits waits for the answer */

    if (call->request && !call->timer.timer_set) {
        ngx_add_timer(&call->timer, NGX_LIVESTREAM_API_TIMEOUT);
    }
}


static void
ngx_livestream_api_result(ngx_livestream_store_result_t *result, void *data)
{
    ngx_livestream_api_call_t *call = data;

    ngx_log_t         *log;
    ngx_connection_t  *c;

    c = call->request ? call->request->connection : NULL;
    log = c ? c->log : ngx_cycle->log;

    call->query = NULL;

    switch (result->rc) {

    case NGX_OK:
        call->next(call, result);
        break;

    case NGX_DECLINED:
        ngx_log_error(NGX_LOG_ERR, log, 0, "store refused: %V",
                      &result->error);
        ngx_livestream_api_problem(call, NGX_HTTP_CONFLICT,
                                   "that conflicts with what is stored");
        break;

    case NGX_BUSY:
        ngx_log_error(NGX_LOG_ERR, log, 0, "store is away: %V",
                      &result->error);
        ngx_livestream_api_problem(call, NGX_HTTP_SERVICE_UNAVAILABLE,
                                   "the store is away, try again");
        break;

    default:
        ngx_log_error(NGX_LOG_ERR, log, 0, "store failed: %V",
                      &result->error);
        ngx_livestream_api_problem(call, NGX_HTTP_INTERNAL_SERVER_ERROR,
                             "the store failed, the server's log says why");
    }

    if (c) {
        ngx_http_run_posted_requests(c);
    }
}


/* what is in flight goes on, its answer is read by nobody */

static void
ngx_livestream_api_timeout(ngx_event_t *ev)
{
    ngx_int_t                   rc;
    ngx_connection_t           *c;
    ngx_http_request_t         *r;
    ngx_livestream_api_call_t  *call;

    call = ev->data;
    r = ngx_livestream_api_detach(call);
    c = r->connection;

    ngx_log_error(NGX_LOG_ERR, c->log, 0, "store did not answer in time");

    rc = ngx_livestream_api_send_problem(r, NGX_HTTP_SERVICE_UNAVAILABLE,
                                     "the store did not answer, try again");

    ngx_http_finalize_request(r, rc);
    ngx_http_run_posted_requests(c);
}


ngx_str_t
ngx_livestream_api_location(ngx_http_request_t *r, ngx_str_t *id,
    ngx_str_t *rid)
{
    u_char                    *p;
    ngx_str_t                  location;
    ngx_http_core_loc_conf_t  *clcf;

    clcf = ngx_http_get_module_loc_conf(r, ngx_http_core_module);

    location.len = clcf->name.len + sizeof("/livestreams/") - 1 + id->len
                   + (rid ? sizeof("/recordings/") - 1 + rid->len : 0);

    location.data = ngx_pnalloc(r->pool, location.len);

    if (location.data) {
        p = ngx_sprintf(location.data, "%V%slivestreams/%V", &clcf->name,
                        clcf->name.data[clcf->name.len - 1] == '/' ? "" : "/",
                        id);

        if (rid) {
            p = ngx_sprintf(p, "/recordings/%V", rid);
        }

        location.len = p - location.data;
    }

    return location;
}


static void *
ngx_livestream_api_create_main_conf(ngx_conf_t *cf)
{
    return ngx_pcalloc(cf->pool, sizeof(ngx_livestream_api_main_conf_t));
}


static void *
ngx_livestream_api_create_loc_conf(ngx_conf_t *cf)
{
    return ngx_pcalloc(cf->pool, sizeof(ngx_livestream_api_loc_conf_t));
}


static char *
ngx_livestream_api_merge_loc_conf(ngx_conf_t *cf, void *parent, void *child)
{
    ngx_livestream_api_loc_conf_t *prev = parent;
    ngx_livestream_api_loc_conf_t *conf = child;

    ngx_http_core_loc_conf_t  *clcf;

    clcf = ngx_http_conf_get_module_loc_conf(cf, ngx_http_core_module);

    if (clcf->lmt_excpt && clcf->handler == NULL && prev->enable) {
        conf->enable = 1;
        clcf->handler = ngx_livestream_api_handler;
    }

    if (conf->enable) {
        /* ours is lower, and is told in our own words */
        clcf->client_max_body_size = 0;
    }

    return NGX_CONF_OK;
}


static char *
ngx_livestream_api_directive(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_livestream_api_loc_conf_t *alcf = conf;

    ngx_http_core_loc_conf_t        *clcf;
    ngx_livestream_api_main_conf_t  *amcf;

    if (alcf->enable) {
        return "is duplicate";
    }

    clcf = ngx_http_conf_get_module_loc_conf(cf, ngx_http_core_module);

    if (clcf->named || clcf->noname
#if (NGX_PCRE)
        || clcf->regex
#endif
       )
    {
        return "is for locations that are given by a prefix";
    }

    amcf = ngx_http_conf_get_module_main_conf(cf, ngx_livestream_api_module);

    amcf->enabled = 1;
    alcf->enable = 1;
    clcf->handler = ngx_livestream_api_handler;

    return NGX_CONF_OK;
}


/*
 * Looks at livestream{}, which may stand behind http{}.  On a reload an error
 * would end the master, so that there it is only said: calls answer 503 then.
 */

static ngx_int_t
ngx_livestream_api_init_module(ngx_cycle_t *cycle)
{
    const char                      *why;
    ngx_livestream_core_conf_t      *lcf;
    ngx_livestream_api_main_conf_t  *amcf;

    amcf = ngx_http_cycle_get_module_main_conf(cycle,
                                               ngx_livestream_api_module);

    if (amcf == NULL || !amcf->enabled) {
        return NGX_OK;
    }

    lcf = ngx_livestream_core_conf(cycle);

    if (lcf == NULL) {
        why = "needs a livestream{} block";

    } else if (lcf->publish_url.len > NGX_LIVESTREAM_API_URL) {
        why = "needs a shorter \"publish_url\"";

    } else {
        return NGX_OK;
    }

    ngx_log_error(NGX_LOG_EMERG, cycle->log, 0, "\"livestream_api\" %s", why);

    return ngx_is_init_cycle(cycle->old_cycle) ? NGX_ERROR : NGX_OK;
}


/*
 * Copyright (C) nginx-livestream contributors
 *
 * ngx_http_livestream_llhls_module: playlists and media over HTTP.
 *
 *     request --> parse --> look --+--> ready: answer (shared text, sendfile)
 *                   |        ^     +--> refuse: 400, 404, 503
 *                   |        |     +--> hold: waiting room
 *                   |        |            |
 *                   |        +-- ring ----+--> time is out: 503
 *                   +--> recorded: its file
 *
 * A request costs nothing while it is held but its place in the waiting room:
 * buffers are taken when it is answered.  All state is in the registry, so it
 * is of no matter which worker a request comes to.
 *
 * Event loop only.
 */


#include "ngx_livestream.h"
#include "ngx_livestream_llhls_http.h"
#include "ngx_livestream_llhls_cache.h"
#include "ngx_livestream_llhls_wait.h"


/* seconds, for a stream that has not fixed its own */
#define NGX_HTTP_LIVESTREAM_LLHLS_TARGET    6

/* segments of one track until the others are not waited for */
#define NGX_HTTP_LIVESTREAM_LLHLS_PATIENCE  3


typedef struct {
    ngx_uint_t               used;
} ngx_http_livestream_llhls_main_conf_t;


static ngx_int_t ngx_http_livestream_llhls_handler(ngx_http_request_t *r);
static ngx_int_t ngx_http_livestream_llhls_parse(ngx_http_request_t *r,
    ngx_http_livestream_llhls_ctx_t *ctx);
static ngx_int_t ngx_http_livestream_llhls_hold(ngx_http_request_t *r,
    ngx_http_livestream_llhls_ctx_t *ctx);
static ngx_int_t ngx_http_livestream_llhls_woken(
    ngx_livestream_llhls_wait_t *w, ngx_uint_t timed_out);
static ngx_int_t ngx_http_livestream_llhls_look(
    ngx_http_livestream_llhls_ctx_t *ctx);
static ngx_int_t ngx_http_livestream_llhls_look_master(
    ngx_http_livestream_llhls_ctx_t *ctx);
static ngx_int_t ngx_http_livestream_llhls_look_playlist(
    ngx_http_livestream_llhls_ctx_t *ctx);
static ngx_int_t ngx_http_livestream_llhls_unready(
    ngx_http_livestream_llhls_ctx_t *ctx);
static ngx_int_t ngx_http_livestream_llhls_answer(ngx_http_request_t *r,
    ngx_http_livestream_llhls_ctx_t *ctx, ngx_int_t rc);
static void *ngx_http_livestream_llhls_create_main_conf(ngx_conf_t *cf);
static void *ngx_http_livestream_llhls_create_loc_conf(ngx_conf_t *cf);
static char *ngx_http_livestream_llhls_merge_loc_conf(ngx_conf_t *cf,
    void *parent, void *child);
static char *ngx_http_livestream_llhls(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
static ngx_int_t ngx_http_livestream_llhls_init_module(ngx_cycle_t *cycle);
static ngx_int_t ngx_http_livestream_llhls_init_process(ngx_cycle_t *cycle);
static void ngx_http_livestream_llhls_exit_process(ngx_cycle_t *cycle);


static ngx_command_t  ngx_http_livestream_llhls_commands[] = {

    { ngx_string("livestream_llhls"),
      NGX_HTTP_LOC_CONF|NGX_HTTP_LIF_CONF|NGX_CONF_NOARGS,
      ngx_http_livestream_llhls,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("livestream_llhls_push"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF
                        |NGX_HTTP_LIF_CONF|NGX_CONF_FLAG,
      ngx_conf_set_flag_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_livestream_llhls_loc_conf_t, push),
      NULL },

      ngx_null_command
};


static ngx_http_module_t  ngx_http_livestream_llhls_module_ctx = {
    NULL,                                        /* preconfiguration */
    NULL,                                        /* postconfiguration */

    ngx_http_livestream_llhls_create_main_conf,  /* create main conf */
    NULL,                                        /* init main conf */

    NULL,                                        /* create server conf */
    NULL,                                        /* merge server conf */

    ngx_http_livestream_llhls_create_loc_conf,   /* create location conf */
    ngx_http_livestream_llhls_merge_loc_conf     /* merge location conf */
};


ngx_module_t  ngx_http_livestream_llhls_module = {
    NGX_MODULE_V1,
    &ngx_http_livestream_llhls_module_ctx,       /* module context */
    ngx_http_livestream_llhls_commands,          /* module directives */
    NGX_HTTP_MODULE,                             /* module type */
    NULL,                                        /* init master */
    ngx_http_livestream_llhls_init_module,       /* init module */
    ngx_http_livestream_llhls_init_process,      /* init process */
    NULL,                                        /* init thread */
    NULL,                                        /* exit thread */
    ngx_http_livestream_llhls_exit_process,      /* exit process */
    NULL,                                        /* exit master */
    NGX_MODULE_V1_PADDING
};


static ngx_int_t
ngx_http_livestream_llhls_handler(ngx_http_request_t *r)
{
    ngx_int_t                        rc;
    ngx_http_livestream_llhls_ctx_t  ctx;

    rc = ngx_http_discard_request_body(r);
    if (rc != NGX_OK) {
        return rc;
    }

    if (r->method == NGX_HTTP_OPTIONS) {
        return ngx_http_livestream_llhls_preflight(r);
    }

    if (!(r->method & (NGX_HTTP_GET|NGX_HTTP_HEAD))) {
        return ngx_http_livestream_llhls_not_allowed(r);
    }

    ngx_memzero(&ctx, sizeof(ngx_http_livestream_llhls_ctx_t));

    rc = ngx_http_livestream_llhls_parse(r, &ctx);

    if (rc == NGX_OK && ctx.target.file) {
        return ngx_http_livestream_dvr_send(r, &ctx);
    }

    if (rc == NGX_OK) {
        rc = ngx_http_livestream_llhls_look(&ctx);
    }

    if (rc == NGX_AGAIN) {
        return ngx_http_livestream_llhls_hold(r, &ctx);
    }

    return ngx_http_livestream_llhls_answer(r, &ctx, rc);
}


static ngx_int_t
ngx_http_livestream_llhls_parse(ngx_http_request_t *r,
    ngx_http_livestream_llhls_ctx_t *ctx)
{
    size_t                     len;
    u_char                    *p;
    ngx_str_t                  id;
    ngx_http_core_loc_conf_t  *clcf;

    clcf = ngx_http_get_module_loc_conf(r, ngx_http_core_module);

    /* what is behind the location's name, which may lack its slash */

    if (r->uri.len < clcf->name.len
        || ngx_memcmp(r->uri.data, clcf->name.data, clcf->name.len) != 0)
    {
        return NGX_HTTP_NOT_FOUND;
    }

    p = r->uri.data + clcf->name.len;
    len = r->uri.len - clcf->name.len;

    if (clcf->name.len == 0 || clcf->name.data[clcf->name.len - 1] != '/') {

        if (len == 0 || *p != '/') {
            return NGX_HTTP_NOT_FOUND;
        }

        p++;
        len--;
    }

    if (ngx_livestream_llhls_parse_path(p, len, &ctx->target) != 0) {
        return NGX_HTTP_NOT_FOUND;
    }

    if (ctx->target.file) {
        return NGX_OK;
    }

    id.data = (u_char *) ctx->target.id;
    id.len = ctx->target.id_len;

    ctx->stream = ngx_livestream_registry_find(&id, &ctx->uid);

    if (ctx->stream == NULL) {
        ctx->why = "no such stream";
        return NGX_HTTP_NOT_FOUND;
    }

    if (ctx->target.kind == NGX_LIVESTREAM_LLHLS_PLAYLIST) {
        ngx_livestream_llhls_parse_query(r->args.data, r->args.len,
                                         &ctx->query);
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_livestream_llhls_hold(ngx_http_request_t *r,
    ngx_http_livestream_llhls_ctx_t *ctx)
{
    ngx_int_t                     rc;
    ngx_livestream_llhls_wait_t  *w;

    ctx->held = 1;

    w = ngx_livestream_llhls_wait_begin(r, ctx->stream,
                sizeof(ngx_http_livestream_llhls_ctx_t),
                ngx_http_livestream_llhls_target_duration(ctx) * 3 * 1000,
                ngx_http_livestream_llhls_woken);
    if (w == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    /* what came between the first look and the begin rang for others only */

    rc = ngx_http_livestream_llhls_look(ctx);

    if (rc != NGX_AGAIN) {
        ngx_livestream_llhls_wait_end(w);
        return ngx_http_livestream_llhls_answer(r, ctx, rc);
    }

    ngx_memcpy(w->data, ctx, sizeof(ngx_http_livestream_llhls_ctx_t));

    r->connection->log->action = "waiting for media";

    if (r == r->main && !r->discard_body) {
        r->read_event_handler = ngx_http_test_reading;
    }

    r->write_event_handler = ngx_http_request_empty_handler;
    r->main->count++;

    return NGX_DONE;
}


static ngx_int_t
ngx_http_livestream_llhls_woken(ngx_livestream_llhls_wait_t *w,
    ngx_uint_t timed_out)
{
    ngx_int_t                         rc;
    ngx_connection_t                 *c;
    ngx_http_request_t               *r;
    ngx_http_livestream_llhls_ctx_t  *ctx;

    r = w->request;
    c = r->connection;
    ctx = w->data;

    rc = ngx_http_livestream_llhls_look(ctx);

    if (rc == NGX_AGAIN) {

        if (!timed_out) {
            return NGX_AGAIN;
        }

        ctx->why = "the stream has stalled: nothing new for three target "
                   "durations";
        rc = NGX_HTTP_SERVICE_UNAVAILABLE;
    }

    ngx_livestream_llhls_wait_end(w);

    ngx_http_set_log_request(c->log, r);

    ngx_http_finalize_request(r, ngx_http_livestream_llhls_answer(r, ctx, rc));

    ngx_http_run_posted_requests(c);

    return NGX_OK;
}


/* NGX_OK: it can be answered; NGX_AGAIN: not yet; or the status to refuse */

static ngx_int_t
ngx_http_livestream_llhls_look(ngx_http_livestream_llhls_ctx_t *ctx)
{
    ngx_int_t  rc, track;
    ngx_str_t  name;

    if (ctx->stream->uid != ctx->uid) {
        ctx->why = "the stream is gone";
        return NGX_HTTP_NOT_FOUND;
    }

    if (ctx->target.kind == NGX_LIVESTREAM_LLHLS_MULTIVARIANT) {
        return ngx_http_livestream_llhls_look_master(ctx);
    }

    if (ctx->target.kind == NGX_LIVESTREAM_LLHLS_THUMBNAIL) {
        return NGX_OK;
    }

    name.data = (u_char *) ctx->target.track;
    name.len = ctx->target.track_len;

    track = ngx_livestream_registry_track(ctx->stream, &name);

    if (ctx->target.kind == NGX_LIVESTREAM_LLHLS_PLAYLIST) {

        if (track == NGX_ERROR) {
            rc = (ctx->stream->state == NGX_LIVESTREAM_OPENING)
                 ? NGX_AGAIN : NGX_HTTP_NOT_FOUND;

        } else {
            ctx->track = track;
            rc = ngx_http_livestream_llhls_look_playlist(ctx);
        }

    } else {

        if (track == NGX_ERROR) {
            rc = NGX_HTTP_NOT_FOUND;

        } else {
            ctx->track = track;
            rc = ngx_http_livestream_llhls_media_look(ctx);
        }
    }

    if (rc == NGX_HTTP_NOT_FOUND && ctx->why == NULL) {
        ctx->why = (track == NGX_ERROR) ? "no such track"
                                        : "no such media";
    }

    return rc;
}


/*
 * A player makes its choice once, so all tracks have to be there; but one that
 * has shown nothing while others have had some segments is not waited for.
 */

static ngx_int_t
ngx_http_livestream_llhls_look_master(ngx_http_livestream_llhls_ctx_t *ctx)
{
    uint64_t                 segments;
    ngx_int_t                rc;
    ngx_uint_t               i, n, ready, hidden;
    ngx_livestream_view_t    view;
    ngx_livestream_state_t  *state;

    n = ngx_min(ctx->stream->ntracks, NGX_LIVESTREAM_MAX_TRACKS);

    ready = 0;
    hidden = 0;
    segments = 0;

    for (i = 0; i < n; i++) {

        if (ngx_livestream_registry_view(ctx->stream, ctx->uid, i, NULL, &view)
            != NGX_OK)
        {
            continue;
        }

        state = &view.state;

        if (state->hidden) {
            hidden++;

        } else if (state->playable) {
            ready++;
            segments = ngx_max(segments, state->open.msn - state->seg_first);
        }
    }

    if (ready && (ready + hidden == n
                  || segments >= NGX_HTTP_LIVESTREAM_LLHLS_PATIENCE))
    {
        return NGX_OK;
    }

    rc = ngx_http_livestream_llhls_unready(ctx);

    return (rc != NGX_AGAIN && ready) ? NGX_OK : rc;
}


static ngx_int_t
ngx_http_livestream_llhls_look_playlist(ngx_http_livestream_llhls_ctx_t *ctx)
{
    ngx_livestream_llhls_edge_t  edge;

    if (ngx_http_livestream_llhls_edge(ctx, &edge) != NGX_OK) {
        return ngx_http_livestream_llhls_unready(ctx);
    }

    switch (ngx_livestream_llhls_decide_playlist(&ctx->query, &edge,
                                                 &ctx->why))
    {

    case NGX_LIVESTREAM_LLHLS_READY:
        return NGX_OK;

    case NGX_LIVESTREAM_LLHLS_HOLD:

        if (!edge.playable) {
            return ngx_http_livestream_llhls_unready(ctx);
        }

        return NGX_AGAIN;

    case NGX_LIVESTREAM_LLHLS_BAD:
        return NGX_HTTP_BAD_REQUEST;

    default: /* NGX_LIVESTREAM_LLHLS_GONE */
        return NGX_HTTP_NOT_FOUND;
    }
}


/* there is nothing to play: wait only while there is a publisher */

static ngx_int_t
ngx_http_livestream_llhls_unready(ngx_http_livestream_llhls_ctx_t *ctx)
{
    switch (ctx->stream->state) {

    case NGX_LIVESTREAM_OPENING:
    case NGX_LIVESTREAM_LIVE:
        return NGX_AGAIN;

    default:
        ctx->why = "the stream has nothing to play";
        return NGX_HTTP_NOT_FOUND;
    }
}


ngx_int_t
ngx_http_livestream_llhls_edge(ngx_http_livestream_llhls_ctx_t *ctx,
    ngx_livestream_llhls_edge_t *edge)
{
    ngx_livestream_view_t     view;
    ngx_livestream_segment_t  segment;

    if (ngx_livestream_registry_view(ctx->stream, ctx->uid, ctx->track, NULL,
                                     &view)
        != NGX_OK)
    {
        return NGX_DECLINED;
    }

    edge->msn = view.state.open.msn;
    edge->parts = view.state.open.nparts;
    edge->last = 0;
    edge->part_target = ctx->stream->low_latency ? ctx->stream->part_target
                                                 : 0;
    edge->playable = view.state.playable ? 1 : 0;
    edge->ended = view.state.ended ? 1 : 0;

    /* the one number that costs a second look */

    if (ctx->query.has_part
        && ctx->query.msn + 1 == edge->msn
        && ngx_livestream_registry_segment(ctx->stream, ctx->uid, ctx->track,
                                           ctx->query.msn, &segment)
           == NGX_OK)
    {
        edge->last = segment.nparts;
    }

    return NGX_OK;
}


ngx_uint_t
ngx_http_livestream_llhls_target_duration(ngx_http_livestream_llhls_ctx_t *ctx)
{
    ngx_livestream_sh_stream_t  *s;

    s = ctx->stream;

    if (s->target_duration) {
        return s->target_duration;
    }

    if (s->segment_duration) {
        return (s->segment_duration + 999999) / 1000000;
    }

    return NGX_HTTP_LIVESTREAM_LLHLS_TARGET;
}


static ngx_int_t
ngx_http_livestream_llhls_answer(ngx_http_request_t *r,
    ngx_http_livestream_llhls_ctx_t *ctx, ngx_int_t rc)
{
    if (rc != NGX_OK) {
        return ngx_http_livestream_llhls_error(r, ctx, rc);
    }

    switch (ctx->target.kind) {

    case NGX_LIVESTREAM_LLHLS_MULTIVARIANT:
    case NGX_LIVESTREAM_LLHLS_PLAYLIST:
        return ngx_http_livestream_llhls_send_text(r, ctx);

    default:
        return ngx_http_livestream_llhls_media_send(r, ctx);
    }
}


static void *
ngx_http_livestream_llhls_create_main_conf(ngx_conf_t *cf)
{
    return ngx_pcalloc(cf->pool,
                       sizeof(ngx_http_livestream_llhls_main_conf_t));
}


static void *
ngx_http_livestream_llhls_create_loc_conf(ngx_conf_t *cf)
{
    ngx_http_livestream_llhls_loc_conf_t  *llcf;

    llcf = ngx_pcalloc(cf->pool, sizeof(ngx_http_livestream_llhls_loc_conf_t));
    if (llcf == NULL) {
        return NULL;
    }

    llcf->push = NGX_CONF_UNSET;

    return llcf;
}


static char *
ngx_http_livestream_llhls_merge_loc_conf(ngx_conf_t *cf, void *parent,
    void *child)
{
    ngx_http_livestream_llhls_loc_conf_t *prev = parent;
    ngx_http_livestream_llhls_loc_conf_t *conf = child;

    ngx_http_core_loc_conf_t  *clcf;

    ngx_conf_merge_value(conf->push, prev->push, 0);

    /* "if" and "limit_except" are within the location that they are in */

    clcf = ngx_http_conf_get_module_loc_conf(cf, ngx_http_core_module);

    if (prev->enable && clcf->handler == NULL
        && (clcf->noname || clcf->lmt_excpt))
    {
        conf->enable = 1;
        clcf->handler = ngx_http_livestream_llhls_handler;
    }

    return NGX_CONF_OK;
}


static char *
ngx_http_livestream_llhls(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_livestream_llhls_loc_conf_t *llcf = conf;

    ngx_http_core_loc_conf_t               *clcf;
    ngx_http_livestream_llhls_main_conf_t  *lmcf;

    if (llcf->enable) {
        return "is duplicate";
    }

    clcf = ngx_http_conf_get_module_loc_conf(cf, ngx_http_core_module);

    /* the rest of the path has to be known by the location's name */

#if (NGX_PCRE)
    if (clcf->regex) {
        return "cannot be used in location given by regular expression";
    }
#endif

    if (clcf->named) {
        return "cannot be used in named location";
    }

    lmcf = ngx_http_conf_get_module_main_conf(cf,
                                            ngx_http_livestream_llhls_module);
    lmcf->used = 1;

    llcf->enable = 1;
    clcf->handler = ngx_http_livestream_llhls_handler;

    return NGX_CONF_OK;
}


static ngx_int_t
ngx_http_livestream_llhls_init_module(ngx_cycle_t *cycle)
{
    ngx_http_livestream_llhls_main_conf_t  *lmcf;

    lmcf = ngx_http_cycle_get_module_main_conf(cycle,
                                            ngx_http_livestream_llhls_module);

    if (lmcf && lmcf->used && ngx_livestream_core_conf(cycle) == NULL) {
        ngx_log_error(NGX_LOG_EMERG, cycle->log, 0,
                      "\"livestream_llhls\" needs a \"livestream\" block");
        return NGX_ERROR;
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_livestream_llhls_init_process(ngx_cycle_t *cycle)
{
    if (ngx_livestream_llhls_cache_init_process(cycle) != NGX_OK) {
        return NGX_ERROR;
    }

    return ngx_livestream_llhls_wait_init_process(cycle);
}


static void
ngx_http_livestream_llhls_exit_process(ngx_cycle_t *cycle)
{
    ngx_livestream_llhls_wait_exit_process(cycle);
    ngx_livestream_llhls_cache_exit_process(cycle);
}

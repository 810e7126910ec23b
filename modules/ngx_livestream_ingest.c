
/*
 * Copyright (C) nginx-livestream contributors
 *
 * Ingest: the hooks into nginx-rtmp.
 *
 *   publish(key) --> store look-up --> claim --> next_publish (live: Start)
 *                       |                |  ^
 *                       | unknown,       |  | AGAIN: every 100 ms, 5 s long
 *                       v stopped        v BUSY, DECLINED
 *                     NetStream.Publish.BadName, connection closed
 *
 * The publish structure that nginx-rtmp passes is overwritten by the next
 * publish of any session, so it is copied to be deferred.  What a publisher
 * sends is taken in ngx_livestream_ingest_media.c.
 *
 * Event loop only.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>
#include <ngx_rtmp_live_module.h>

#include "ngx_livestream_ingest.h"


#define NGX_LIVESTREAM_INGEST_RETRY   100       /* ms */
#define NGX_LIVESTREAM_INGEST_WAIT    5000      /* ms */


typedef struct {
    ngx_flag_t                      livestream;
} ngx_livestream_ingest_app_conf_t;


static void *ngx_livestream_ingest_create_app_conf(ngx_conf_t *cf);
static char *ngx_livestream_ingest_merge_app_conf(ngx_conf_t *cf,
    void *parent, void *child);
static ngx_int_t ngx_livestream_ingest_postconfiguration(ngx_conf_t *cf);
static ngx_int_t ngx_livestream_ingest_init_module(ngx_cycle_t *cycle);
static ngx_int_t ngx_livestream_ingest_init_process(ngx_cycle_t *cycle);
static u_char *ngx_livestream_ingest_url(ngx_cycle_t *cycle, u_char *buf,
    u_char *last);

static ngx_int_t ngx_livestream_ingest_publish(ngx_rtmp_session_t *s,
    ngx_rtmp_publish_t *v);
static void ngx_livestream_ingest_found(ngx_livestream_store_result_t *r,
    void *data);
static ngx_int_t ngx_livestream_ingest_row(ngx_livestream_ingest_ctx_t *ctx,
    ngx_livestream_store_result_t *r);
static void ngx_livestream_ingest_claim(ngx_livestream_ingest_ctx_t *ctx);
static void ngx_livestream_ingest_retry(ngx_event_t *ev);
static void ngx_livestream_ingest_accept(ngx_livestream_ingest_ctx_t *ctx);
static void ngx_livestream_ingest_status(ngx_rtmp_session_t *s,
    const char *why);
static void ngx_livestream_ingest_refuse(ngx_livestream_ingest_ctx_t *ctx,
    const char *why);
static void ngx_livestream_ingest_kick(void *session, const char *reason);
static ngx_int_t ngx_livestream_ingest_close_stream(ngx_rtmp_session_t *s,
    ngx_rtmp_close_stream_t *v);


/* defined by nginx-rtmp, declared in none of its headers */
extern ngx_module_t             ngx_rtmp_module;


static ngx_rtmp_publish_pt       next_publish;
static ngx_rtmp_close_stream_pt  next_close_stream;

static const char  ngx_livestream_ingest_sql[] =
    "SELECT id, title, status, low_latency, settings, created_at, started_at,"
    " dvr_enabled, dvr_window"
    " FROM live_streams WHERE stream_key = $1";


static ngx_command_t  ngx_livestream_ingest_commands[] = {

    { ngx_string("livestream"),
      NGX_RTMP_MAIN_CONF|NGX_RTMP_SRV_CONF|NGX_RTMP_APP_CONF|NGX_CONF_FLAG,
      ngx_conf_set_flag_slot,
      NGX_RTMP_APP_CONF_OFFSET,
      offsetof(ngx_livestream_ingest_app_conf_t, livestream),
      NULL },

      ngx_null_command
};


static ngx_rtmp_module_t  ngx_livestream_ingest_module_ctx = {
    NULL,                                   /* preconfiguration */
    ngx_livestream_ingest_postconfiguration, /* postconfiguration */
    NULL,                                   /* create main configuration */
    NULL,                                   /* init main configuration */
    NULL,                                   /* create server configuration */
    NULL,                                   /* merge server configuration */
    ngx_livestream_ingest_create_app_conf,  /* create app configuration */
    ngx_livestream_ingest_merge_app_conf    /* merge app configuration */
};


ngx_module_t  ngx_livestream_ingest_module = {
    NGX_MODULE_V1,
    &ngx_livestream_ingest_module_ctx,     /* module context */
    ngx_livestream_ingest_commands,        /* module directives */
    NGX_RTMP_MODULE,                       /* module type */
    NULL,                                  /* init master */
    ngx_livestream_ingest_init_module,     /* init module */
    ngx_livestream_ingest_init_process,    /* init process */
    NULL,                                  /* init thread */
    NULL,                                  /* exit thread */
    NULL,                                  /* exit process */
    NULL,                                  /* exit master */
    NGX_MODULE_V1_PADDING
};


static void *
ngx_livestream_ingest_create_app_conf(ngx_conf_t *cf)
{
    ngx_livestream_ingest_app_conf_t  *iacf;

    iacf = ngx_pcalloc(cf->pool, sizeof(ngx_livestream_ingest_app_conf_t));
    if (iacf == NULL) {
        return NULL;
    }

    iacf->livestream = NGX_CONF_UNSET;

    return iacf;
}


static char *
ngx_livestream_ingest_merge_app_conf(ngx_conf_t *cf, void *parent,
    void *child)
{
    ngx_livestream_ingest_app_conf_t *prev = parent;
    ngx_livestream_ingest_app_conf_t *conf = child;

    (void) cf;

    ngx_conf_merge_value(conf->livestream, prev->livestream, 0);

    return NGX_CONF_OK;
}


static ngx_int_t
ngx_livestream_ingest_postconfiguration(ngx_conf_t *cf)
{
    ngx_uint_t                  i;
    ngx_rtmp_handler_pt        *h;
    ngx_rtmp_amf_handler_t     *ch;
    ngx_rtmp_core_main_conf_t  *cmcf;

    static ngx_uint_t  events[] = { NGX_RTMP_MSG_AUDIO, NGX_RTMP_MSG_VIDEO };
    static ngx_str_t   names[] = {
        ngx_string("@setDataFrame"),
        ngx_string("onMetaData")
    };

    cmcf = ngx_rtmp_conf_get_module_main_conf(cf, ngx_rtmp_core_module);

    for (i = 0; i < sizeof(events) / sizeof(events[0]); i++) {
        h = ngx_array_push(&cmcf->events[events[i]]);
        if (h == NULL) {
            return NGX_ERROR;
        }

        *h = ngx_livestream_ingest_av;
    }

    for (i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        ch = ngx_array_push(&cmcf->amf);
        if (ch == NULL) {
            return NGX_ERROR;
        }

        ch->name = names[i];
        ch->handler = ngx_livestream_ingest_meta;
    }

    next_publish = ngx_rtmp_publish;
    ngx_rtmp_publish = ngx_livestream_ingest_publish;

    next_close_stream = ngx_rtmp_close_stream;
    ngx_rtmp_close_stream = ngx_livestream_ingest_close_stream;

    return NGX_OK;
}


/* the default of publish_url is where the first livestream application is */

static ngx_int_t
ngx_livestream_ingest_init_module(ngx_cycle_t *cycle)
{
    u_char                       buf[512], *p;
    ngx_livestream_core_conf_t  *lcf;

    lcf = ngx_livestream_core_conf(cycle);

    if (lcf == NULL) {
        return NGX_OK;
    }

    while (lcf->publish_url.len
           && lcf->publish_url.data[lcf->publish_url.len - 1] == '/')
    {
        lcf->publish_url.len--;
    }

    if (lcf->publish_url.len) {
        return NGX_OK;
    }

    p = ngx_livestream_ingest_url(cycle, buf, buf + sizeof(buf));

    lcf->publish_url.len = p - buf;
    lcf->publish_url.data = ngx_pnalloc(cycle->pool, p - buf);
    if (lcf->publish_url.data == NULL) {
        return NGX_ERROR;
    }

    ngx_memcpy(lcf->publish_url.data, buf, p - buf);

    return NGX_OK;
}


static u_char *
ngx_livestream_ingest_url(ngx_cycle_t *cycle, u_char *buf, u_char *last)
{
    in_port_t                           port;
    ngx_uint_t                          i, j, k;
    ngx_rtmp_listen_t                  *ls;
    ngx_rtmp_conf_ctx_t                *ctx;
    ngx_rtmp_core_app_conf_t          **cacf;
    ngx_rtmp_core_srv_conf_t          **cscf;
    ngx_rtmp_core_main_conf_t          *cmcf;
    ngx_livestream_ingest_app_conf_t   *iacf;

    ctx = (ngx_rtmp_conf_ctx_t *) ngx_get_conf(cycle->conf_ctx,
                                               ngx_rtmp_module);
    if (ctx == NULL) {
        goto none;
    }

    cmcf = ctx->main_conf[ngx_rtmp_core_module.ctx_index];
    cscf = cmcf->servers.elts;
    ls = cmcf->listen.elts;

    for (i = 0; i < cmcf->servers.nelts; i++) {

        cacf = cscf[i]->applications.elts;

        for (j = 0; j < cscf[i]->applications.nelts; j++) {

            iacf = cacf[j]->app_conf[ngx_livestream_ingest_module.ctx_index];

            if (!iacf->livestream) {
                continue;
            }

            port = 1935;

            for (k = 0; k < cmcf->listen.nelts; k++) {
                if (ls[k].ctx == cscf[i]->ctx) {
                    port = ngx_inet_get_port((struct sockaddr *)
                                             ls[k].sockaddr);
                    break;
                }
            }

            return ngx_slprintf(buf, last, "rtmp://localhost:%d/%V",
                                (int) port, &cacf[j]->name);
        }
    }

none:

    return ngx_slprintf(buf, last, "rtmp://localhost:1935/live");
}


static ngx_int_t
ngx_livestream_ingest_init_process(ngx_cycle_t *cycle)
{
    (void) cycle;

    ngx_livestream_stream_kick = ngx_livestream_ingest_kick;

    return NGX_OK;
}


static ngx_int_t
ngx_livestream_ingest_publish(ngx_rtmp_session_t *s, ngx_rtmp_publish_t *v)
{
    ngx_str_t                          key;
    ngx_livestream_ingest_ctx_t       *ctx;
    ngx_livestream_ingest_app_conf_t  *iacf;

    iacf = ngx_rtmp_get_module_app_conf(s, ngx_livestream_ingest_module);

    /* copies of a stream that another worker or server passes on */

    if (iacf == NULL || !iacf->livestream || s->auto_pushed || s->relay) {
        return next_publish(s, v);
    }

    ctx = ngx_rtmp_get_module_ctx(s, ngx_livestream_ingest_module);

    if (ctx == NULL) {
        ctx = ngx_pcalloc(s->connection->pool,
                          sizeof(ngx_livestream_ingest_ctx_t));
        if (ctx == NULL) {
            return NGX_ERROR;
        }

        ctx->session = s;
        ctx->has_video = 2;
        ctx->has_audio = 2;

        ngx_rtmp_set_ctx(s, ctx, ngx_livestream_ingest_module);
    }

    if (ctx->state != NGX_LIVESTREAM_INGEST_IDLE) {
        ngx_log_error(NGX_LOG_NOTICE, s->connection->log, 0,
                      "livestream: second publish in one session");
        ngx_livestream_ingest_status(s, "already publishing");
        return NGX_ERROR;
    }

    if (ngx_livestream_core_conf((ngx_cycle_t *) ngx_cycle) == NULL) {
        ngx_log_error(NGX_LOG_ERR, s->connection->log, 0,
                      "livestream: no \"livestream\" block is configured");
        ngx_livestream_ingest_status(s, "not configured");
        return NGX_ERROR;
    }

    ctx->publish = *v;

    key.data = ctx->publish.name;
    key.len = ngx_strnlen(key.data, NGX_RTMP_MAX_NAME);

    if (key.len == 0) {
        ngx_log_error(NGX_LOG_NOTICE, s->connection->log, 0,
                      "livestream: publisher without a stream key refused");
        ngx_livestream_ingest_status(s, "no stream key");
        return NGX_ERROR;
    }

    ctx->query = ngx_livestream_store_exec(ngx_livestream_ingest_sql, &key, 1,
                                           ngx_livestream_ingest_found, ctx);
    if (ctx->query == NULL) {
        ngx_log_error(NGX_LOG_ERR, s->connection->log, 0,
                      "livestream: publisher refused, the store is busy");
        ngx_livestream_ingest_status(s, "try again later");
        return NGX_ERROR;
    }

    ctx->state = NGX_LIVESTREAM_INGEST_LOOKUP;

    return NGX_OK;
}


static void
ngx_livestream_ingest_found(ngx_livestream_store_result_t *r, void *data)
{
    ngx_livestream_ingest_ctx_t *ctx = data;

    ngx_str_t  *status;

    ctx->query = NULL;

    if (r->rc != NGX_OK) {
        ngx_livestream_ingest_refuse(ctx, "the store cannot be asked");
        return;
    }

    if (r->nrows == 0) {
        ngx_livestream_ingest_refuse(ctx, "unknown stream key");
        return;
    }

    status = ngx_livestream_store_value(r, 0, 2);

    if (status->len >= 4 && ngx_strncmp(status->data, "stop", 4) == 0) {
        ngx_livestream_ingest_refuse(ctx, "the stream is stopped");
        return;
    }

    if (ngx_livestream_ingest_row(ctx, r) != NGX_OK) {
        ngx_livestream_ingest_refuse(ctx, "out of memory");
        return;
    }

    ctx->deadline = ngx_current_msec + NGX_LIVESTREAM_INGEST_WAIT;

    ctx->timer.handler = ngx_livestream_ingest_retry;
    ctx->timer.data = ctx;
    ctx->timer.log = ctx->session->connection->log;

    ngx_livestream_ingest_claim(ctx);
}


static ngx_int_t
ngx_livestream_ingest_row(ngx_livestream_ingest_ctx_t *ctx,
    ngx_livestream_store_result_t *r)
{
    time_t                 created, window;
    ngx_pool_t            *pool;
    ngx_livestream_row_t  *row;

    row = &ctx->row;
    pool = ctx->session->connection->pool;

    row->id.len = ngx_livestream_store_value(r, 0, 0)->len;
    row->id.data = ngx_pcalloc(pool, row->id.len + 1);
    if (row->id.data == NULL) {
        return NGX_ERROR;
    }

    ngx_memcpy(row->id.data, ngx_livestream_store_value(r, 0, 0)->data,
               row->id.len);

    row->title.len = ngx_livestream_store_value(r, 0, 1)->len;
    row->title.data = ngx_pstrdup(pool, ngx_livestream_store_value(r, 0, 1));

    row->settings.len = ngx_livestream_store_value(r, 0, 4)->len;
    row->settings.data = ngx_pstrdup(pool,
                                     ngx_livestream_store_value(r, 0, 4));

    if (row->title.data == NULL || row->settings.data == NULL) {
        return NGX_ERROR;
    }

    row->low_latency = ngx_livestream_store_bool(
                                      ngx_livestream_store_value(r, 0, 3));

    row->dvr_enabled = ngx_livestream_store_bool(
                                      ngx_livestream_store_value(r, 0, 7));

    window = ngx_atotm(ngx_livestream_store_value(r, 0, 8)->data,
                       ngx_livestream_store_value(r, 0, 8)->len);
    row->dvr_window = ngx_max(window, 0);

    if (ngx_livestream_store_value(r, 0, 6)->data) {
        created = ngx_livestream_parse_rfc3339(
                                      ngx_livestream_store_value(r, 0, 5));
        row->age = ngx_max(ngx_time() - created, 1);
    }

    return NGX_OK;
}


static void
ngx_livestream_ingest_claim(ngx_livestream_ingest_ctx_t *ctx)
{
    const char  *why;

    switch (ngx_livestream_stream_claim(&ctx->row, ctx->session, &ctx->stream,
                                        &why))
    {

    case NGX_OK:
        ngx_livestream_ingest_accept(ctx);
        return;

    case NGX_AGAIN:

        if ((ngx_msec_int_t) (ctx->deadline - ngx_current_msec) > 0) {
            ctx->state = NGX_LIVESTREAM_INGEST_CLAIM;
            ngx_add_timer(&ctx->timer, NGX_LIVESTREAM_INGEST_RETRY);
            return;
        }

        /* fall through */

    default:
        ngx_livestream_ingest_refuse(ctx, why);
    }
}


static void
ngx_livestream_ingest_retry(ngx_event_t *ev)
{
    ngx_livestream_ingest_claim(ev->data);
}


static void
ngx_livestream_ingest_accept(ngx_livestream_ingest_ctx_t *ctx)
{
    ngx_rtmp_session_t   *s;
    ngx_rtmp_live_ctx_t  *live;

    s = ctx->session;

    ctx->state = NGX_LIVESTREAM_INGEST_OPEN;

    ngx_log_error(NGX_LOG_INFO, s->connection->log, 0,
                  "livestream: publisher of stream %V accepted",
                  &ctx->row.id);

    if (next_publish(s, &ctx->publish) != NGX_OK) {
        ngx_rtmp_finalize_session(s);
        return;
    }

    /* live refuses a name that is in use only by a word to the client */

    live = ngx_rtmp_get_module_ctx(s, ngx_rtmp_live_module);

    if (live == NULL) {
        /* "live off": there is nobody else to say it */
        (void) ngx_rtmp_send_status(s, "NetStream.Publish.Start", "status",
                                    "Start publishing");
        return;
    }

    if (!live->publishing) {
        ngx_log_error(NGX_LOG_NOTICE, s->connection->log, 0,
                      "livestream: publisher of stream %V refused by "
                      "\"live\"", &ctx->row.id);
        ngx_rtmp_finalize_session(s);
    }
}


static void
ngx_livestream_ingest_status(ngx_rtmp_session_t *s, const char *why)
{
    (void) ngx_rtmp_send_status(s, "NetStream.Publish.BadName", "error",
                                (char *) why);
}


static void
ngx_livestream_ingest_refuse(ngx_livestream_ingest_ctx_t *ctx,
    const char *why)
{
    ngx_rtmp_session_t  *s;

    s = ctx->session;

    ctx->state = NGX_LIVESTREAM_INGEST_CLOSED;

    /* a key is a secret, even a wrong one: it may be a typo away */

    ngx_log_error(NGX_LOG_NOTICE, s->connection->log, 0,
                  "livestream: publisher%s%V refused: %s",
                  ctx->row.id.len ? " of stream " : "", &ctx->row.id, why);

    ngx_livestream_ingest_status(s, why);
    ngx_rtmp_finalize_session(s);
}


static void
ngx_livestream_ingest_kick(void *session, const char *reason)
{
    ngx_rtmp_session_t *s = session;

    ngx_log_error(NGX_LOG_NOTICE, s->connection->log, 0,
                  "livestream: publisher disconnected: %s", reason);

    ngx_livestream_ingest_status(s, reason);
    ngx_rtmp_finalize_session(s);
}


/* also runs, and several times, for sessions that never published */

static ngx_int_t
ngx_livestream_ingest_close_stream(ngx_rtmp_session_t *s,
    ngx_rtmp_close_stream_t *v)
{
    ngx_uint_t                    i;
    ngx_livestream_ingest_ctx_t  *ctx;

    ctx = ngx_rtmp_get_module_ctx(s, ngx_livestream_ingest_module);

    if (ctx == NULL) {
        return next_close_stream(s, v);
    }

    if (ctx->query) {
        ngx_livestream_store_cancel(ctx->query);
        ctx->query = NULL;
    }

    if (ctx->timer.timer_set) {
        ngx_del_timer(&ctx->timer);
    }

    if (ctx->stream) {
        ngx_livestream_stream_detach(ctx->stream);
        ctx->stream = NULL;
    }

    for (i = 0; i < 2; i++) {
        ngx_livestream_codec_unref(ctx->codecs[i]);
        ctx->codecs[i] = NULL;
        ctx->uncarried[i] = 0;
    }

    ngx_memzero(&ctx->row, sizeof(ngx_livestream_row_t));

    ctx->has_video = 2;
    ctx->has_audio = 2;
    ctx->frame_rate = 0;
    ctx->audio_bitrate = 0;
    ctx->dropping = 0;

    /* the session may publish again */
    ctx->state = NGX_LIVESTREAM_INGEST_IDLE;

    return next_close_stream(s, v);
}

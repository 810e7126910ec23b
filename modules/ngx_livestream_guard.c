
/*
 * Copyright (C) nginx-livestream contributors
 *
 * A guard before nginx-rtmp's own parsers, which call themselves once for each
 * level that a message is nested: a megabyte of objects within objects, or of
 * aggregates within aggregates, runs a worker out of its stack, before anyone
 * has shown a stream key.
 *
 *   message --> guard --> nginx-rtmp's handler
 *                 |
 *                 +-----> too deep: one line in the log, session closed
 *
 * Handlers of one message type run in the order of their registration, and
 * nginx-rtmp registers its own when all modules have had their turn.
 *
 * The guard only counts levels, in a loop; what else is wrong with a message
 * is left to the parser behind it, whose view of AMF0 it follows to the byte:
 *
 *   object        (16-bit length, name, value)*, an empty name, type 9
 *   mixed array   32-bit count, then as an object
 *   strict array  32-bit count, as many values
 *   aggregate     (type, 24-bit length, 7 bytes, message, 4 bytes)*
 *
 * Event loop only.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>
#include <ngx_rtmp.h>
#include <ngx_rtmp_amf.h>


#define NGX_LIVESTREAM_GUARD_DEPTH  32


typedef struct {
    ngx_chain_t              *in;
    u_char                   *pos;
} ngx_livestream_guard_cursor_t;


typedef struct {
    ngx_uint_t                object;       /* its values have names */
    uint32_t                  left;         /* values of a strict array */
} ngx_livestream_guard_level_t;


static ngx_int_t ngx_livestream_guard_postconfiguration(ngx_conf_t *cf);
static ngx_int_t ngx_livestream_guard_amf(ngx_rtmp_session_t *s,
    ngx_rtmp_header_t *h, ngx_chain_t *in);
static ngx_int_t ngx_livestream_guard_aggregate(ngx_rtmp_session_t *s,
    ngx_rtmp_header_t *h, ngx_chain_t *in);
static ngx_int_t ngx_livestream_guard_values(
    ngx_livestream_guard_cursor_t *c);
static ngx_int_t ngx_livestream_guard_name(ngx_livestream_guard_cursor_t *c);
static ngx_int_t ngx_livestream_guard_value(ngx_livestream_guard_cursor_t *c,
    ngx_livestream_guard_level_t *level);
static ngx_int_t ngx_livestream_guard_number(
    ngx_livestream_guard_cursor_t *c, size_t size, uint32_t *n);
static ngx_int_t ngx_livestream_guard_skip(ngx_livestream_guard_cursor_t *c,
    size_t n);
static ngx_int_t ngx_livestream_guard_refuse(ngx_rtmp_session_t *s,
    const char *what);


static const struct {
    ngx_uint_t                type;
    ngx_rtmp_handler_pt       handler;
} ngx_livestream_guard_types[] = {
    { NGX_RTMP_MSG_AMF3_META, ngx_livestream_guard_amf },
    { NGX_RTMP_MSG_AMF3_SHARED, ngx_livestream_guard_amf },
    { NGX_RTMP_MSG_AMF3_CMD, ngx_livestream_guard_amf },
    { NGX_RTMP_MSG_AMF_META, ngx_livestream_guard_amf },
    { NGX_RTMP_MSG_AMF_SHARED, ngx_livestream_guard_amf },
    { NGX_RTMP_MSG_AMF_CMD, ngx_livestream_guard_amf },
    { NGX_RTMP_MSG_AGGREGATE, ngx_livestream_guard_aggregate }
};


static ngx_rtmp_module_t  ngx_livestream_guard_module_ctx = {
    NULL,                                   /* preconfiguration */
    ngx_livestream_guard_postconfiguration, /* postconfiguration */
    NULL,                                   /* create main configuration */
    NULL,                                   /* init main configuration */
    NULL,                                   /* create server configuration */
    NULL,                                   /* merge server configuration */
    NULL,                                   /* create app configuration */
    NULL                                    /* merge app configuration */
};


ngx_module_t  ngx_livestream_guard_module = {
    NGX_MODULE_V1,
    &ngx_livestream_guard_module_ctx,      /* module context */
    NULL,                                  /* module directives */
    NGX_RTMP_MODULE,                       /* module type */
    NULL,                                  /* init master */
    NULL,                                  /* init module */
    NULL,                                  /* init process */
    NULL,                                  /* init thread */
    NULL,                                  /* exit thread */
    NULL,                                  /* exit process */
    NULL,                                  /* exit master */
    NGX_MODULE_V1_PADDING
};


static ngx_int_t
ngx_livestream_guard_postconfiguration(ngx_conf_t *cf)
{
    ngx_uint_t                  i, n;
    ngx_rtmp_handler_pt        *h;
    ngx_rtmp_core_main_conf_t  *cmcf;

    cmcf = ngx_rtmp_conf_get_module_main_conf(cf, ngx_rtmp_core_module);

    n = sizeof(ngx_livestream_guard_types)
        / sizeof(ngx_livestream_guard_types[0]);

    for (i = 0; i < n; i++) {
        h = ngx_array_push(
                      &cmcf->events[ngx_livestream_guard_types[i].type]);
        if (h == NULL) {
            return NGX_ERROR;
        }

        *h = ngx_livestream_guard_types[i].handler;
    }

    return NGX_OK;
}


static ngx_int_t
ngx_livestream_guard_amf(ngx_rtmp_session_t *s, ngx_rtmp_header_t *h,
    ngx_chain_t *in)
{
    ngx_livestream_guard_cursor_t  c;

    c.in = in;
    c.pos = in->buf->pos;

    switch (h->type) {

    case NGX_RTMP_MSG_AMF3_META:
    case NGX_RTMP_MSG_AMF3_CMD:
        (void) ngx_livestream_guard_skip(&c, 1);
        break;

    case NGX_RTMP_MSG_AMF3_SHARED:
        (void) ngx_livestream_guard_skip(&c, 1);

        /* fall through */

    case NGX_RTMP_MSG_AMF_SHARED:
        (void) ngx_livestream_guard_name(&c);
        break;
    }

    if (ngx_livestream_guard_values(&c) == NGX_ERROR) {
        return ngx_livestream_guard_refuse(s, "AMF");
    }

    return NGX_OK;
}


static ngx_int_t
ngx_livestream_guard_aggregate(ngx_rtmp_session_t *s, ngx_rtmp_header_t *h,
    ngx_chain_t *in)
{
    uint32_t                       type, len;
    ngx_livestream_guard_cursor_t  c;

    (void) h;

    c.in = in;
    c.pos = in->buf->pos;

    while (ngx_livestream_guard_number(&c, 1, &type) == NGX_OK
           && ngx_livestream_guard_number(&c, 3, &len) == NGX_OK)
    {
        if (type == NGX_RTMP_MSG_AGGREGATE) {
            return ngx_livestream_guard_refuse(s, "aggregates");
        }

        if (ngx_livestream_guard_skip(&c, 7 + len + 4) != NGX_OK) {
            break;
        }
    }

    return NGX_OK;
}


/* NGX_OK at the end of what can be read, NGX_ERROR where it is too deep */

static ngx_int_t
ngx_livestream_guard_values(ngx_livestream_guard_cursor_t *c)
{
    ngx_int_t                      rc;
    ngx_uint_t                     depth;
    ngx_livestream_guard_level_t  *level;
    ngx_livestream_guard_level_t   levels[NGX_LIVESTREAM_GUARD_DEPTH];

    depth = 0;

    for ( ;; ) {

        if (depth) {
            level = &levels[depth - 1];

            if (level->object) {
                rc = ngx_livestream_guard_name(c);

                if (rc == NGX_DECLINED) {
                    return NGX_OK;
                }

                if (rc == NGX_DONE) {
                    depth--;
                    continue;
                }

            } else if (level->left-- == 0) {
                depth--;
                continue;
            }
        }

        if (depth == NGX_LIVESTREAM_GUARD_DEPTH) {
            return NGX_ERROR;
        }

        rc = ngx_livestream_guard_value(c, &levels[depth]);

        if (rc == NGX_DECLINED) {
            return NGX_OK;
        }

        if (rc == NGX_AGAIN) {
            depth++;
        }
    }
}


/* NGX_OK, NGX_DONE at the end of an object, NGX_DECLINED: cut short */

static ngx_int_t
ngx_livestream_guard_name(ngx_livestream_guard_cursor_t *c)
{
    uint32_t  len;

    if (ngx_livestream_guard_number(c, 2, &len) != NGX_OK) {
        return NGX_DECLINED;
    }

    if (len) {
        return ngx_livestream_guard_skip(c, len);
    }

    if (ngx_livestream_guard_skip(c, 1) != NGX_OK) {
        return NGX_DECLINED;
    }

    return NGX_DONE;
}


/* NGX_OK behind a plain value, NGX_AGAIN within one that has values, and
 * *level set, NGX_DECLINED: cut short, or of no type that is known */

static ngx_int_t
ngx_livestream_guard_value(ngx_livestream_guard_cursor_t *c,
    ngx_livestream_guard_level_t *level)
{
    uint32_t  n, type;

    if (ngx_livestream_guard_number(c, 1, &type) != NGX_OK) {
        return NGX_DECLINED;
    }

    switch (type) {

    case NGX_RTMP_AMF_NUMBER:
        return ngx_livestream_guard_skip(c, 8);

    case NGX_RTMP_AMF_BOOLEAN:
        return ngx_livestream_guard_skip(c, 1);

    case NGX_RTMP_AMF_STRING:
        if (ngx_livestream_guard_number(c, 2, &n) != NGX_OK) {
            return NGX_DECLINED;
        }

        return ngx_livestream_guard_skip(c, n);

    case NGX_RTMP_AMF_NULL:
    case NGX_RTMP_AMF_ARRAY_NULL:
    case NGX_RTMP_AMF_END:
        return NGX_OK;

    case NGX_RTMP_AMF_MIXED_ARRAY:
        if (ngx_livestream_guard_skip(c, 4) != NGX_OK) {
            return NGX_DECLINED;
        }

        /* fall through */

    case NGX_RTMP_AMF_OBJECT:
        level->object = 1;
        return NGX_AGAIN;

    case NGX_RTMP_AMF_ARRAY:
        level->object = 0;

        if (ngx_livestream_guard_number(c, 4, &level->left) != NGX_OK) {
            return NGX_DECLINED;
        }

        return NGX_AGAIN;

    default:
        return NGX_DECLINED;
    }
}


/* big-endian */

static ngx_int_t
ngx_livestream_guard_number(ngx_livestream_guard_cursor_t *c, size_t size,
    uint32_t *n)
{
    *n = 0;

    for ( /* void */ ; size; size--) {

        while (c->pos == c->in->buf->last) {
            if (c->in->next == NULL) {
                return NGX_DECLINED;
            }

            c->in = c->in->next;
            c->pos = c->in->buf->pos;
        }

        *n = *n << 8 | *c->pos++;
    }

    return NGX_OK;
}


static ngx_int_t
ngx_livestream_guard_skip(ngx_livestream_guard_cursor_t *c, size_t n)
{
    while ((size_t) (c->in->buf->last - c->pos) < n) {

        if (c->in->next == NULL) {
            return NGX_DECLINED;
        }

        n -= c->in->buf->last - c->pos;

        c->in = c->in->next;
        c->pos = c->in->buf->pos;
    }

    c->pos += n;

    return NGX_OK;
}


static ngx_int_t
ngx_livestream_guard_refuse(ngx_rtmp_session_t *s, const char *what)
{
    ngx_log_error(NGX_LOG_ERR, s->connection->log, 0,
                  "livestream: client disconnected, its %s are nested too "
                  "deep", what);

    return NGX_ERROR;
}

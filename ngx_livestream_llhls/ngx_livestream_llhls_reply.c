
/*
 * Copyright (C) nginx-livestream contributors
 *
 * Responses: their headers, playlists and errors.
 *
 * The body of a playlist is the buffer that the cache has, plain or gzip; a
 * response holds a reference on it for as long as its request lives.  Errors
 * say in plain text what is wrong with the request, for whoever debugs a
 * player.  Every response may be read by scripts of any origin.
 *
 * Event loop only.
 */


#include "ngx_livestream.h"
#include "ngx_livestream_llhls_http.h"
#include "ngx_livestream_llhls_cache.h"


/* seconds; a new one comes every ten */
#define NGX_HTTP_LIVESTREAM_LLHLS_THUMBNAIL_AGE  5


static ngx_int_t ngx_http_livestream_llhls_encoding(ngx_http_request_t *r,
    ngx_livestream_llhls_text_t *text, ngx_str_t **body);
static ngx_int_t ngx_http_livestream_llhls_link(ngx_http_request_t *r,
    ngx_livestream_llhls_text_t *text);
static ngx_int_t ngx_http_livestream_llhls_send(ngx_http_request_t *r,
    ngx_str_t *type, ngx_str_t *body);
static ngx_uint_t ngx_http_livestream_llhls_max_age(
    ngx_http_livestream_llhls_ctx_t *ctx, ngx_uint_t ok);


/*
 * How long a response may be cached, in halves of the target duration, as the
 * Low-Latency Server Configuration Profile recommends it:
 * [playlist, media] [not blocking, blocking] [error, success].
 * A segment that was not waited for lives as long as the playlist is.
 */

static const ngx_uint_t  ngx_http_livestream_llhls_ages[2][2][2] = {
    { { 2, 1 }, { 8, 12 } },
    { { 2, 0 }, { 2, 12 } }
};


static ngx_str_t  ngx_http_livestream_llhls_playlist_type =
    ngx_string("application/vnd.apple.mpegurl");
static ngx_str_t  ngx_http_livestream_llhls_error_type =
    ngx_string("text/plain");


/* sent with every response: CORS */

static ngx_keyval_t  ngx_http_livestream_llhls_common[] = {
    { ngx_string("Access-Control-Allow-Origin"), ngx_string("*") },
    { ngx_string("Access-Control-Expose-Headers"),
      ngx_string("Age, Content-Encoding, Content-Length, Content-Range, "
                 "Date") },
    { ngx_null_string, ngx_null_string }
};


/* and what a browser asks before it sends more than a simple request */

static ngx_keyval_t  ngx_http_livestream_llhls_options[] = {
    { ngx_string("Access-Control-Allow-Origin"), ngx_string("*") },
    { ngx_string("Access-Control-Allow-Methods"),
      ngx_string("GET, HEAD, OPTIONS") },
    { ngx_string("Access-Control-Allow-Headers"),
      ngx_string("*, Authorization, Range") },
    { ngx_string("Access-Control-Max-Age"), ngx_string("86400") },
    { ngx_null_string, ngx_null_string }
};


ngx_int_t
ngx_http_livestream_llhls_send_text(ngx_http_request_t *r,
    ngx_http_livestream_llhls_ctx_t *ctx)
{
    ngx_int_t                              rc;
    ngx_str_t                             *body;
    ngx_livestream_llhls_text_t           *text;
    ngx_livestream_llhls_text_e            kind;
    ngx_http_livestream_llhls_loc_conf_t  *llcf;

    kind = (ctx->target.kind == NGX_LIVESTREAM_LLHLS_MULTIVARIANT)
           ? NGX_LIVESTREAM_LLHLS_MASTER
           : ctx->query.skip ? NGX_LIVESTREAM_LLHLS_DELTA
                             : NGX_LIVESTREAM_LLHLS_FULL;

    rc = ngx_livestream_llhls_cache_get(ctx->stream, ctx->uid, ctx->track,
                                        kind, r->connection->log, &text);

    if (rc == NGX_DECLINED) {
        ctx->why = "the stream is gone";
        return ngx_http_livestream_llhls_error(r, ctx, NGX_HTTP_NOT_FOUND);
    }

    if (rc != NGX_OK
        || ngx_livestream_llhls_text_hold(text, r->pool) != NGX_OK)
    {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    if (ngx_http_livestream_llhls_encoding(r, text, &body) != NGX_OK
        || ngx_http_livestream_llhls_headers(r, ctx, 1) != NGX_OK)
    {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    llcf = ngx_http_get_module_loc_conf(r, ngx_http_livestream_llhls_module);

    if (llcf->push && text->hint
        && ngx_http_livestream_llhls_link(r, text) != NGX_OK)
    {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    r->headers_out.status = NGX_HTTP_OK;

    return ngx_http_livestream_llhls_send(r,
                                     &ngx_http_livestream_llhls_playlist_type,
                                     body);
}


/* plain or gzip */

static ngx_int_t
ngx_http_livestream_llhls_encoding(ngx_http_request_t *r,
    ngx_livestream_llhls_text_t *text, ngx_str_t **body)
{
    ngx_uint_t  gzip;

    gzip = ngx_http_livestream_llhls_accepts_gzip(r)
           && ngx_livestream_llhls_text_gzip(text, r->connection->log)
              == NGX_OK;

    *body = gzip ? &text->gzip : &text->plain;

    return ngx_http_livestream_llhls_encoded(r, gzip);
}


/* there is no compressing it again behind Content-Encoding */

ngx_int_t
ngx_http_livestream_llhls_encoded(ngx_http_request_t *r, ngx_uint_t gzip)
{
    static ngx_str_t  vary = ngx_string("Vary");
    static ngx_str_t  accept = ngx_string("Accept-Encoding");
    static ngx_str_t  encoding = ngx_string("Content-Encoding");
    static ngx_str_t  value = ngx_string("gzip");

    if (ngx_http_livestream_llhls_header(r, &vary, &accept) == NULL) {
        return NGX_ERROR;
    }

    if (!gzip) {
        return NGX_OK;
    }

    r->headers_out.content_encoding =
                     ngx_http_livestream_llhls_header(r, &encoding, &value);

    return r->headers_out.content_encoding ? NGX_OK : NGX_ERROR;
}


ngx_uint_t
ngx_http_livestream_llhls_accepts_gzip(ngx_http_request_t *r)
{
#if (NGX_HTTP_GZIP || NGX_HTTP_HEADERS)

    ngx_table_elt_t  *h;

    h = r->headers_in.accept_encoding;

    return h && ngx_livestream_llhls_accept_gzip(h->value.data, h->value.len);

#else
    return 0;
#endif
}


/* tells of the hinted part, which nginx up to 1.25 pushes over HTTP/2 */

static ngx_int_t
ngx_http_livestream_llhls_link(ngx_http_request_t *r,
    ngx_livestream_llhls_text_t *text)
{
    size_t             len;
    u_char            *p, *last;
    uintptr_t          escape;
    ngx_str_t          value;
    ngx_table_elt_t   *h;
#if (nginx_version < 1023000)
    ngx_table_elt_t  **ph;
#endif

    static ngx_str_t  link = ngx_string("Link");

    /* the folder of the playlist */

    last = r->uri.data + r->uri.len;

    while (last > r->uri.data && last[-1] != '/') {
        last--;
    }

    len = last - r->uri.data;
    escape = 2 * ngx_escape_uri(NULL, r->uri.data, len, NGX_ESCAPE_URI);

    value.data = ngx_pnalloc(r->pool, len + escape
                             + sizeof("<part-..m4s>; rel=preload; as=fetch")
                             + 2 * NGX_INT64_LEN);
    if (value.data == NULL) {
        return NGX_ERROR;
    }

    p = value.data;
    *p++ = '<';

    if (escape) {
        p = (u_char *) ngx_escape_uri(p, r->uri.data, len, NGX_ESCAPE_URI);

    } else {
        p = ngx_cpymem(p, r->uri.data, len);
    }

    p = ngx_sprintf(p, "part-%uL.%uD.m4s>; rel=preload; as=fetch",
                    text->hint_msn, text->hint_part);

    value.len = p - value.data;

    h = ngx_http_livestream_llhls_header(r, &link, &value);
    if (h == NULL) {
        return NGX_ERROR;
    }

#if (nginx_version < 1023000)

    if (r->headers_out.link.elts == NULL
        && ngx_array_init(&r->headers_out.link, r->pool, 1,
                          sizeof(ngx_table_elt_t *))
           != NGX_OK)
    {
        return NGX_ERROR;
    }

    ph = ngx_array_push(&r->headers_out.link);
    if (ph == NULL) {
        return NGX_ERROR;
    }

    *ph = h;

#else
    h->next = r->headers_out.link;
    r->headers_out.link = h;
#endif

    return NGX_OK;
}


static ngx_int_t
ngx_http_livestream_llhls_send(ngx_http_request_t *r, ngx_str_t *type,
    ngx_str_t *body)
{
    ngx_int_t    rc;
    ngx_buf_t   *b;
    ngx_chain_t  out;

    b = ngx_calloc_buf(r->pool);
    if (b == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    b->pos = body->data;
    b->last = body->data + body->len;
    b->start = b->pos;
    b->end = b->last;
    b->memory = 1;
    b->last_buf = (r == r->main) ? 1 : 0;
    b->last_in_chain = 1;

    r->headers_out.content_type = *type;
    r->headers_out.content_type_len = type->len;
    r->headers_out.content_length_n = body->len;

    rc = ngx_http_send_header(r);

    if (rc == NGX_ERROR || rc > NGX_OK || r->header_only) {
        return rc;
    }

    out.buf = b;
    out.next = NULL;

    return ngx_http_output_filter(r, &out);
}


ngx_int_t
ngx_http_livestream_llhls_error(ngx_http_request_t *r,
    ngx_http_livestream_llhls_ctx_t *ctx, ngx_uint_t status)
{
    u_char     *p;
    ngx_str_t   body;

    if (status == NGX_HTTP_INTERNAL_SERVER_ERROR) {
        return status;
    }

    if (ngx_http_livestream_llhls_headers(r, ctx, 0) != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    if (ctx->why == NULL) {
        return status;
    }

    body.len = ngx_strlen(ctx->why) + 1;
    body.data = ngx_pnalloc(r->pool, body.len);

    if (body.data == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    p = ngx_cpymem(body.data, ctx->why, body.len - 1);
    *p = '\n';

    r->headers_out.status = status;

    return ngx_http_livestream_llhls_send(r,
                                        &ngx_http_livestream_llhls_error_type,
                                        &body);
}


ngx_int_t
ngx_http_livestream_llhls_not_allowed(ngx_http_request_t *r)
{
    ngx_http_livestream_llhls_ctx_t  ctx;

    static ngx_str_t  allow = ngx_string("Allow");
    static ngx_str_t  methods = ngx_string("GET, HEAD, OPTIONS");

    if (ngx_http_livestream_llhls_header(r, &allow, &methods) == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    ngx_memzero(&ctx, sizeof(ngx_http_livestream_llhls_ctx_t));

    return ngx_http_livestream_llhls_error(r, &ctx, NGX_HTTP_NOT_ALLOWED);
}


ngx_int_t
ngx_http_livestream_llhls_preflight(ngx_http_request_t *r)
{
    ngx_int_t      rc;
    ngx_keyval_t  *kv;

    for (kv = ngx_http_livestream_llhls_options; kv->key.len; kv++) {
        if (ngx_http_livestream_llhls_header(r, &kv->key, &kv->value)
            == NULL)
        {
            return NGX_HTTP_INTERNAL_SERVER_ERROR;
        }
    }

    r->headers_out.status = NGX_HTTP_NO_CONTENT;
    r->header_only = 1;

    rc = ngx_http_send_header(r);

    return (rc == NGX_ERROR || rc > NGX_OK) ? rc : NGX_OK;
}


ngx_int_t
ngx_http_livestream_llhls_headers(ngx_http_request_t *r,
    ngx_http_livestream_llhls_ctx_t *ctx, ngx_uint_t ok)
{
    ngx_str_t  value;

    static ngx_str_t  cache_control = ngx_string("Cache-Control");
    static ngx_str_t  priority = ngx_string("Priority");
    static ngx_str_t  first = ngx_string("u=1");
    static ngx_str_t  second = ngx_string("u=2");

    if (ngx_http_livestream_llhls_cors(r) != NGX_OK) {
        return NGX_ERROR;
    }

    value.data = ngx_pnalloc(r->pool, sizeof("max-age=") + NGX_INT_T_LEN);
    if (value.data == NULL) {
        return NGX_ERROR;
    }

    value.len = ngx_sprintf(value.data, "max-age=%ui",
                            ngx_http_livestream_llhls_max_age(ctx, ok))
                - value.data;

    if (ngx_http_livestream_llhls_header(r, &cache_control, &value) == NULL) {
        return NGX_ERROR;
    }

    /* playlists go before media, where a connection carries both */

    if (ok && r->http_version >= NGX_HTTP_VERSION_20
        && ngx_http_livestream_llhls_header(r, &priority,
                 (ctx->target.kind <= NGX_LIVESTREAM_LLHLS_PLAYLIST) ? &first
                                                                     : &second)
           == NULL)
    {
        return NGX_ERROR;
    }

    return NGX_OK;
}


ngx_int_t
ngx_http_livestream_llhls_cors(ngx_http_request_t *r)
{
    ngx_keyval_t  *kv;

    for (kv = ngx_http_livestream_llhls_common; kv->key.len; kv++) {
        if (ngx_http_livestream_llhls_header(r, &kv->key, &kv->value)
            == NULL)
        {
            return NGX_ERROR;
        }
    }

    return NGX_OK;
}


static ngx_uint_t
ngx_http_livestream_llhls_max_age(ngx_http_livestream_llhls_ctx_t *ctx,
    ngx_uint_t ok)
{
    ngx_uint_t                   td, age, media, blocking;
    ngx_livestream_sh_stream_t  *s;

    if (ctx->target.file) {
        return ngx_http_livestream_dvr_max_age(ctx, ok);
    }

    s = ctx->stream;

    if (s == NULL) {
        return 1;
    }

    td = ngx_http_livestream_llhls_target_duration(ctx);

    /* one that is not there yet is soon to come, as a playlist is */

    if (ctx->target.kind == NGX_LIVESTREAM_LLHLS_THUMBNAIL) {
        return ok ? NGX_HTTP_LIVESTREAM_LLHLS_THUMBNAIL_AGE : td;
    }

    media = ctx->target.kind > NGX_LIVESTREAM_LLHLS_PLAYLIST;
    blocking = media ? ctx->held : ctx->query.has_msn;

    if (media && ok && !blocking) {
        return ngx_max(s->playlist_length * td,
                       (ngx_uint_t) (s->window / 1000000)) + td;
    }

    age = ngx_http_livestream_llhls_ages[media][blocking][ok] * td / 2;

    return ngx_max(age, 1);
}


ngx_table_elt_t *
ngx_http_livestream_llhls_header(ngx_http_request_t *r, ngx_str_t *key,
    ngx_str_t *value)
{
    ngx_table_elt_t  *h;

    h = ngx_list_push(&r->headers_out.headers);
    if (h == NULL) {
        return NULL;
    }

    ngx_memzero(h, sizeof(ngx_table_elt_t));

    h->hash = 1;
    h->key = *key;
    h->value = *value;

    return h;
}


/*
 * Copyright (C) nginx-livestream contributors
 *
 * Init segments, segments, parts and thumbnails, sent from their files:
 *
 *     ROOT/ID/BROADCAST/TRACK/init-N.mp4
 *                             segment-N.m4s   | part 0 | part 1 | part 2 |
 *                                               offset   size
 *                       thumbnail.jpg
 *
 * A part is a byte range of its segment's file, which may still grow behind
 * it: what the registry lists is written.  The kernel counts the references,
 * so a file that is removed while it is sent is sent to its end.  So is a
 * thumbnail, in whose place another one is put.
 *
 * Event loop.
 */


#include "ngx_livestream.h"
#include "ngx_livestream_llhls_http.h"


typedef struct {
    ngx_str_t                path;
    off_t                    offset;
    off_t                    size;      /* -1: the whole file */
    ngx_open_file_info_t     of;
} ngx_http_livestream_llhls_media_t;


static ngx_int_t ngx_http_livestream_llhls_segment_look(
    ngx_http_livestream_llhls_ctx_t *ctx, ngx_livestream_segment_t *segment);
static ngx_str_t *ngx_http_livestream_llhls_media_type(
    ngx_http_livestream_llhls_ctx_t *ctx);
static ngx_int_t ngx_http_livestream_llhls_media_find(ngx_http_request_t *r,
    ngx_http_livestream_llhls_ctx_t *ctx,
    ngx_http_livestream_llhls_media_t *m);
static ngx_int_t ngx_http_livestream_llhls_media_path(ngx_http_request_t *r,
    ngx_http_livestream_llhls_ctx_t *ctx, ngx_str_t *path);
static ngx_int_t ngx_http_livestream_llhls_media_open(ngx_http_request_t *r,
    ngx_http_livestream_llhls_ctx_t *ctx,
    ngx_http_livestream_llhls_media_t *m);
static ngx_int_t ngx_http_livestream_llhls_media_failed(ngx_http_request_t *r,
    ngx_http_livestream_llhls_media_t *m);


static ngx_str_t  ngx_http_livestream_llhls_video = ngx_string("video/mp4");
static ngx_str_t  ngx_http_livestream_llhls_audio = ngx_string("audio/mp4");
static ngx_str_t  ngx_http_livestream_llhls_jpeg = ngx_string("image/jpeg");


ngx_int_t
ngx_http_livestream_llhls_media_look(ngx_http_livestream_llhls_ctx_t *ctx)
{
    ngx_livestream_part_t        part;
    ngx_livestream_segment_t     segment;
    ngx_livestream_llhls_edge_t  edge;

    switch (ctx->target.kind) {

    case NGX_LIVESTREAM_LLHLS_INIT:

        if (ctx->target.number > ctx->stream->tracks[ctx->track].init) {
            return NGX_HTTP_NOT_FOUND;
        }

        return NGX_OK;

    case NGX_LIVESTREAM_LLHLS_SEGMENT:
        return ngx_http_livestream_llhls_segment_look(ctx, &segment);

    default: /* NGX_LIVESTREAM_LLHLS_PART */
        break;
    }

    if (ngx_livestream_registry_part(ctx->stream, ctx->uid, ctx->track,
                                     ctx->target.number, ctx->target.part,
                                     &part)
        == NGX_OK)
    {
        return (part.flags & NGX_LIVESTREAM_GAP) ? NGX_HTTP_NOT_FOUND
                                                 : NGX_OK;
    }

    if (ngx_http_livestream_llhls_edge(ctx, &edge) != NGX_OK
        || ngx_livestream_llhls_decide_part(ctx->target.number,
                                            ctx->target.part, &edge)
           != NGX_LIVESTREAM_LLHLS_HOLD)
    {
        return NGX_HTTP_NOT_FOUND;
    }

    return NGX_AGAIN;
}


/* NGX_OK; size is 0 where the ring has forgotten a segment that was closed */

static ngx_int_t
ngx_http_livestream_llhls_segment_look(ngx_http_livestream_llhls_ctx_t *ctx,
    ngx_livestream_segment_t *segment)
{
    ngx_livestream_view_t  view;

    if (ngx_livestream_registry_segment(ctx->stream, ctx->uid, ctx->track,
                                        ctx->target.number, segment)
        == NGX_OK)
    {
        return (segment->flags & NGX_LIVESTREAM_GAP) ? NGX_HTTP_NOT_FOUND
                                                     : NGX_OK;
    }

    if (ngx_livestream_registry_view(ctx->stream, ctx->uid, ctx->track, NULL,
                                     &view)
        != NGX_OK
        || ctx->target.number >= view.state.open.msn)
    {
        return NGX_HTTP_NOT_FOUND;
    }

    segment->size = 0;

    return NGX_OK;
}


ngx_int_t
ngx_http_livestream_llhls_media_send(ngx_http_request_t *r,
    ngx_http_livestream_llhls_ctx_t *ctx)
{
    ngx_int_t                           rc;
    ngx_buf_t                          *b;
    ngx_str_t                          *type;
    ngx_chain_t                         out;
    ngx_http_livestream_llhls_media_t   m;

    rc = ngx_http_livestream_llhls_media_find(r, ctx, &m);
    if (rc != NGX_OK) {

        if (ctx->target.kind == NGX_LIVESTREAM_LLHLS_THUMBNAIL) {
            ctx->why = "no thumbnail";
        }

        return ngx_http_livestream_llhls_error(r, ctx, rc);
    }

    type = ngx_http_livestream_llhls_media_type(ctx);

    r->headers_out.status = NGX_HTTP_OK;
    r->headers_out.content_type = *type;
    r->headers_out.content_type_len = type->len;
    r->headers_out.content_length_n = m.size;
    r->allow_ranges = 1;

    if (ctx->target.kind != NGX_LIVESTREAM_LLHLS_PART) {

        /* a part's file may still change */

        r->headers_out.last_modified_time = m.of.mtime;

        if (ngx_http_set_etag(r) != NGX_OK) {
            return NGX_HTTP_INTERNAL_SERVER_ERROR;
        }
    }

    if (ngx_http_livestream_llhls_headers(r, ctx, 1) != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    b = ngx_calloc_buf(r->pool);
    if (b == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    b->file = ngx_pcalloc(r->pool, sizeof(ngx_file_t));
    if (b->file == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    rc = ngx_http_send_header(r);

    if (rc == NGX_ERROR || rc > NGX_OK || r->header_only) {
        return rc;
    }

    b->file_pos = m.offset;
    b->file_last = m.offset + m.size;

    b->in_file = m.size ? 1 : 0;
    b->last_buf = (r == r->main) ? 1 : 0;
    b->last_in_chain = 1;
    b->sync = (m.size || b->last_buf) ? 0 : 1;

    b->file->fd = m.of.fd;
    b->file->name = m.path;
    b->file->log = r->connection->log;
    b->file->directio = m.of.is_directio;

    out.buf = b;
    out.next = NULL;

    return ngx_http_output_filter(r, &out);
}


static ngx_str_t *
ngx_http_livestream_llhls_media_type(ngx_http_livestream_llhls_ctx_t *ctx)
{
    if (ctx->target.kind == NGX_LIVESTREAM_LLHLS_THUMBNAIL) {
        return &ngx_http_livestream_llhls_jpeg;
    }

    if (ctx->stream->tracks[ctx->track].media == NGX_LIVESTREAM_AUDIO) {
        return &ngx_http_livestream_llhls_audio;
    }

    return &ngx_http_livestream_llhls_video;
}


/* which bytes of which file, open */

static ngx_int_t
ngx_http_livestream_llhls_media_find(ngx_http_request_t *r,
    ngx_http_livestream_llhls_ctx_t *ctx,
    ngx_http_livestream_llhls_media_t *m)
{
    ngx_int_t                 rc;
    ngx_livestream_part_t     part;
    ngx_livestream_segment_t  segment;

    m->offset = 0;
    m->size = -1;

    switch (ctx->target.kind) {

    case NGX_LIVESTREAM_LLHLS_PART:

        if (ngx_livestream_registry_part(ctx->stream, ctx->uid, ctx->track,
                                         ctx->target.number,
                                         ctx->target.part, &part)
            != NGX_OK)
        {
            return NGX_HTTP_NOT_FOUND;
        }

        m->offset = part.offset;
        m->size = part.size;
        break;

    case NGX_LIVESTREAM_LLHLS_SEGMENT:

        rc = ngx_http_livestream_llhls_segment_look(ctx, &segment);
        if (rc != NGX_OK) {
            return rc;
        }

        m->size = segment.size ? (off_t) segment.size : -1;
        break;

    default: /* NGX_LIVESTREAM_LLHLS_INIT, NGX_LIVESTREAM_LLHLS_THUMBNAIL */
        break;
    }

    rc = ngx_http_livestream_llhls_media_path(r, ctx, &m->path);
    if (rc != NGX_OK) {
        return rc;
    }

    rc = ngx_http_livestream_llhls_media_open(r, ctx, m);
    if (rc != NGX_OK) {
        return rc;
    }

    if (m->size == -1) {
        m->size = m->of.size;
    }

    if (m->of.size < m->offset + m->size) {
        ngx_log_error(NGX_LOG_ERR, r->connection->log, 0,
                      "\"%V\" ends at %O, expected %O",
                      &m->path, m->of.size, m->offset + m->size);
        return NGX_HTTP_NOT_FOUND;
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_livestream_llhls_media_path(ngx_http_request_t *r,
    ngx_http_livestream_llhls_ctx_t *ctx, ngx_str_t *path)
{
    size_t                         len;
    u_char                        *p;
    const char                    *format;
    ngx_livestream_core_conf_t    *lccf;
    ngx_livestream_sh_stream_t    *s;

    s = ctx->stream;
    lccf = ngx_livestream_core_conf((ngx_cycle_t *) ngx_cycle);

    len = lccf->root.len + 2 * NGX_LIVESTREAM_ID_LEN
          + NGX_LIVESTREAM_TRACK_LEN + NGX_INT64_LEN
          + sizeof("////thumbnail.jpg");

    path->data = ngx_pnalloc(r->pool, len);
    if (path->data == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    if (ctx->target.kind == NGX_LIVESTREAM_LLHLS_THUMBNAIL) {
        p = ngx_slprintf(path->data, path->data + len,
                         "%V/%s/%s/thumbnail.jpg%Z", &lccf->root, s->id,
                         s->broadcast);

    } else {
        format = (ctx->target.kind == NGX_LIVESTREAM_LLHLS_INIT)
                 ? "%V/%s/%s/%s/init-%uL.mp4%Z"
                 : "%V/%s/%s/%s/segment-%uL.m4s%Z";

        p = ngx_slprintf(path->data, path->data + len, format, &lccf->root,
                         s->id, s->broadcast, s->tracks[ctx->track].name,
                         ctx->target.number);
    }

    path->len = p - path->data - 1;

    /* another stream may have come into the slot meanwhile */

    return (s->uid == ctx->uid) ? NGX_OK : NGX_HTTP_NOT_FOUND;
}


static ngx_int_t
ngx_http_livestream_llhls_media_open(ngx_http_request_t *r,
    ngx_http_livestream_llhls_ctx_t *ctx,
    ngx_http_livestream_llhls_media_t *m)
{
    ngx_open_file_cache_t     *cache;
    ngx_http_core_loc_conf_t  *clcf;

    clcf = ngx_http_get_module_loc_conf(r, ngx_http_core_module);

    /* a cache would go on to give what was replaced */

    cache = (ctx->target.kind == NGX_LIVESTREAM_LLHLS_THUMBNAIL)
            ? NULL : clcf->open_file_cache;

    for ( ;; ) {

        ngx_memzero(&m->of, sizeof(ngx_open_file_info_t));

        m->of.read_ahead = clcf->read_ahead;
        m->of.directio = clcf->directio;
        m->of.valid = clcf->open_file_cache_valid;
        m->of.min_uses = clcf->open_file_cache_min_uses;
        m->of.errors = clcf->open_file_cache_errors;
        m->of.events = clcf->open_file_cache_events;

        if (ngx_http_set_disable_symlinks(r, clcf, &m->path, &m->of)
            != NGX_OK)
        {
            return NGX_HTTP_INTERNAL_SERVER_ERROR;
        }

        if (ngx_open_cached_file(cache, &m->path, &m->of, r->pool)
            == NGX_OK)
        {
            if (m->of.is_file && m->of.size >= m->offset + m->size) {
                return NGX_OK;
            }

        } else if (cache == NULL) {
            return ngx_http_livestream_llhls_media_failed(r, m);
        }

        if (cache == NULL) {
            return m->of.is_file ? NGX_OK : NGX_HTTP_NOT_FOUND;
        }

        /* the cache remembers a time when there was less of the file */

        cache = NULL;
    }
}


static ngx_int_t
ngx_http_livestream_llhls_media_failed(ngx_http_request_t *r,
    ngx_http_livestream_llhls_media_t *m)
{
    ngx_int_t   rc;
    ngx_uint_t  level;

    switch (m->of.err) {

    case NGX_ENOENT:
    case NGX_ENOTDIR:
    case NGX_ENAMETOOLONG:
        return NGX_HTTP_NOT_FOUND;

    case NGX_EACCES:
#if (NGX_HAVE_OPENAT)
    case NGX_EMLINK:
    case NGX_ELOOP:
#endif
        level = NGX_LOG_ERR;
        rc = NGX_HTTP_FORBIDDEN;
        break;

    default:
        level = NGX_LOG_CRIT;
        rc = NGX_HTTP_INTERNAL_SERVER_ERROR;
        break;
    }

    if (m->of.err) {
        ngx_log_error(level, r->connection->log, m->of.err,
                      "%s \"%V\" failed", m->of.failed, &m->path);
    }

    return rc;
}

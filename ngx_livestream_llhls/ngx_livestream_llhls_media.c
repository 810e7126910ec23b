
/*
 * Copyright (C) nginx-livestream contributors
 *
 * Init segments, segments, parts and thumbnails of what is live:
 *
 *     FOLDER/ID/BROADCAST/TRACK/init-N.mp4
 *                               segment-N.m4s   | part 0 | part 1 | part 2 |
 *                                                 offset   size
 *                         thumbnail.jpg
 *
 * FOLDER is ROOT, or RECORDINGS of a stream that is recorded: what has long
 * been shown may then be in a storage only.  A part is a byte range of its
 * segment's file, which may still grow behind it: what the registry lists is
 * written.
 *
 * Event loop.
 */


#include "ngx_livestream.h"
#include "ngx_livestream_dvr.h"
#include "ngx_livestream_llhls_http.h"


static ngx_int_t ngx_http_livestream_llhls_segment_look(
    ngx_http_livestream_llhls_ctx_t *ctx, ngx_livestream_segment_t *segment);
static void ngx_http_livestream_llhls_media_type(
    ngx_http_livestream_llhls_ctx_t *ctx, ngx_str_t *type);
static ngx_int_t ngx_http_livestream_llhls_media_find(ngx_http_request_t *r,
    ngx_http_livestream_llhls_ctx_t *ctx,
    ngx_http_livestream_llhls_file_t *file);
static ngx_int_t ngx_http_livestream_llhls_media_path(ngx_http_request_t *r,
    ngx_http_livestream_llhls_ctx_t *ctx,
    ngx_http_livestream_llhls_file_t *file);


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
    ngx_int_t                         rc;
    ngx_http_livestream_llhls_file_t  file;

    rc = ngx_http_livestream_llhls_media_find(r, ctx, &file);

    if (rc == NGX_OK) {
        return ngx_http_livestream_llhls_file_send(r, ctx, &file);
    }

    if (ctx->target.kind == NGX_LIVESTREAM_LLHLS_THUMBNAIL) {
        ctx->why = "no thumbnail";

    } else if (rc == NGX_DECLINED) {
        ctx->why = "no such media";
    }

    if (rc == NGX_DECLINED && file.key.len) {
        return ngx_http_livestream_dvr_stored(r, ctx, &file.key);
    }

    return ngx_http_livestream_llhls_error(r, ctx,
                             (rc == NGX_DECLINED) ? NGX_HTTP_NOT_FOUND : rc);
}


/* which bytes of which file, open; NGX_OK, NGX_DECLINED or a status */

static ngx_int_t
ngx_http_livestream_llhls_media_find(ngx_http_request_t *r,
    ngx_http_livestream_llhls_ctx_t *ctx,
    ngx_http_livestream_llhls_file_t *file)
{
    ngx_int_t                 rc;
    ngx_livestream_part_t     part;
    ngx_livestream_segment_t  segment;

    ngx_memzero(file, sizeof(ngx_http_livestream_llhls_file_t));

    file->size = -1;

    switch (ctx->target.kind) {

    case NGX_LIVESTREAM_LLHLS_PART:

        if (ngx_livestream_registry_part(ctx->stream, ctx->uid, ctx->track,
                                         ctx->target.number,
                                         ctx->target.part, &part)
            != NGX_OK)
        {
            return NGX_HTTP_NOT_FOUND;
        }

        file->offset = part.offset;
        file->size = part.size;
        file->grows = 1;
        break;

    case NGX_LIVESTREAM_LLHLS_SEGMENT:

        rc = ngx_http_livestream_llhls_segment_look(ctx, &segment);
        if (rc != NGX_OK) {
            return rc;
        }

        file->size = segment.size ? (off_t) segment.size : -1;
        break;

    case NGX_LIVESTREAM_LLHLS_THUMBNAIL:
        file->replaced = 1;
        break;

    default: /* NGX_LIVESTREAM_LLHLS_INIT */
        break;
    }

    ngx_http_livestream_llhls_media_type(ctx, &file->type);

    rc = ngx_http_livestream_llhls_media_path(r, ctx, file);
    if (rc != NGX_OK) {
        return rc;
    }

    return ngx_http_livestream_llhls_file_open(r, file);
}


static void
ngx_http_livestream_llhls_media_type(ngx_http_livestream_llhls_ctx_t *ctx,
    ngx_str_t *type)
{
    if (ctx->target.kind == NGX_LIVESTREAM_LLHLS_THUMBNAIL) {
        ngx_str_set(type, "image/jpeg");

    } else if (ctx->stream->tracks[ctx->track].media == NGX_LIVESTREAM_AUDIO) {
        ngx_str_set(type, "audio/mp4");

    } else {
        ngx_str_set(type, "video/mp4");
    }
}


static ngx_int_t
ngx_http_livestream_llhls_media_path(ngx_http_request_t *r,
    ngx_http_livestream_llhls_ctx_t *ctx,
    ngx_http_livestream_llhls_file_t *file)
{
    size_t                         len;
    u_char                        *p, *last;
    ngx_str_t                     *folder;
    ngx_livestream_core_conf_t    *lccf;
    ngx_livestream_sh_stream_t    *s;

    s = ctx->stream;
    lccf = ngx_livestream_core_conf((ngx_cycle_t *) ngx_cycle);
    folder = s->recorded ? &ngx_livestream_dvr.conf->recordings : &lccf->root;

    len = folder->len + 2 * NGX_LIVESTREAM_ID_LEN
          + NGX_LIVESTREAM_TRACK_LEN + NGX_INT64_LEN
          + sizeof("////thumbnail.jpg");

    p = ngx_pnalloc(r->pool, len);
    if (p == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    file->path.data = p;
    last = p + len;

    p = ngx_slprintf(p, last, "%V/%s/%s/", folder, s->id, s->broadcast);

    switch (ctx->target.kind) {

    case NGX_LIVESTREAM_LLHLS_THUMBNAIL:
        p = ngx_slprintf(p, last, "thumbnail.jpg%Z");
        break;

    case NGX_LIVESTREAM_LLHLS_INIT:
        p = ngx_slprintf(p, last, "%s/init-%uL.mp4%Z",
                         s->tracks[ctx->track].name, ctx->target.number);
        break;

    default: /* NGX_LIVESTREAM_LLHLS_SEGMENT, NGX_LIVESTREAM_LLHLS_PART */
        p = ngx_slprintf(p, last, "%s/segment-%uL.m4s%Z",
                         s->tracks[ctx->track].name, ctx->target.number);
    }

    file->path.len = p - file->path.data - 1;

    if (folder != &lccf->root
        && (ctx->target.kind == NGX_LIVESTREAM_LLHLS_INIT
            || ctx->target.kind == NGX_LIVESTREAM_LLHLS_SEGMENT))
    {
        file->key.data = file->path.data + folder->len + 1;
        file->key.len = file->path.len - folder->len - 1;
    }

    /* another stream may have come into the slot meanwhile */

    return (s->uid == ctx->uid) ? NGX_OK : NGX_HTTP_NOT_FOUND;
}

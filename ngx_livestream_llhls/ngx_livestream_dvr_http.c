
/*
 * Copyright (C) nginx-livestream contributors
 *
 * Recordings and videos over HTTP:
 *
 *     ID/recordings/RID/...       RECORDINGS/ID/RID/...
 *     ID/videos/VIDEOID.mp4       RECORDINGS/ID/videos/VIDEOID.mp4
 *
 * The registry is not asked: a path that was parsed is that of a file.  What
 * a recording has may be fetched as long as there is its master.m3u8, which is
 * the last file to come and the first one to go.  Playlists and pictures stay
 * here even if there is a storage that media have gone to.
 *
 * Event loop.
 */


#include "ngx_livestream.h"
#include "ngx_livestream_dvr.h"
#include "ngx_livestream_llhls_http.h"


typedef struct {
    ngx_str_t                type;
    ngx_uint_t               age;       /* s; may be cached that long */
    ngx_uint_t               stored;    /* may be in a storage */
    const char              *absent;
} ngx_http_livestream_dvr_kind_t;


static ngx_int_t ngx_http_livestream_dvr_look(ngx_http_request_t *r,
    ngx_http_livestream_llhls_ctx_t *ctx);
static ngx_int_t ngx_http_livestream_dvr_open(ngx_http_request_t *r,
    ngx_http_livestream_llhls_ctx_t *ctx,
    ngx_http_livestream_llhls_file_t *file);
static ngx_int_t ngx_http_livestream_dvr_absent(ngx_http_request_t *r,
    ngx_http_livestream_llhls_ctx_t *ctx,
    ngx_http_livestream_llhls_file_t *file);
static ngx_int_t ngx_http_livestream_dvr_path(ngx_http_request_t *r,
    ngx_http_livestream_llhls_ctx_t *ctx, size_t len, const char *name,
    ngx_str_t *path);


/*
 * By NGX_LIVESTREAM_LLHLS_...  Nothing of a recording changes, but it may be
 * deleted at any time; whoever has its playlist comes back for media.
 */

static const ngx_http_livestream_dvr_kind_t
    ngx_http_livestream_dvr_kinds[NGX_LIVESTREAM_LLHLS_KINDS] =
{
    { ngx_string("application/vnd.apple.mpegurl"), 60, 0,
      "no such recording" },
    { ngx_string("application/vnd.apple.mpegurl"), 60, 0, "no such track" },
    { ngx_string("video/mp4"), 3600, 1, "no such media" },
    { ngx_string("video/mp4"), 3600, 1, "no such media" },
    { ngx_null_string, 0, 0, NULL },
    { ngx_null_string, 0, 0, NULL },
    { ngx_string("image/jpeg"), 3600, 0, "no poster" },
    { ngx_string("text/vtt"), 3600, 0, "no storyboard" },
    { ngx_string("image/jpeg"), 3600, 0, "no such picture" },
    { ngx_string("video/mp4"), 3600, 1, "no such video" }
};


ngx_int_t
ngx_http_livestream_dvr_send(ngx_http_request_t *r,
    ngx_http_livestream_llhls_ctx_t *ctx)
{
    ngx_int_t                         rc;
    ngx_http_livestream_llhls_file_t  file;

    rc = ngx_http_livestream_dvr_look(r, ctx);

    if (rc == NGX_DECLINED) {
        ctx->why = "no such recording";
        rc = NGX_HTTP_NOT_FOUND;
    }

    if (rc != NGX_OK) {
        return ngx_http_livestream_llhls_error(r, ctx, rc);
    }

    rc = ngx_http_livestream_dvr_open(r, ctx, &file);

    if (rc == NGX_OK) {
        return ngx_http_livestream_llhls_file_send(r, ctx, &file);
    }

    if (rc == NGX_DECLINED) {
        return ngx_http_livestream_dvr_absent(r, ctx, &file);
    }

    return ngx_http_livestream_llhls_error(r, ctx, rc);
}


/* NGX_OK; NGX_DECLINED: there is no such recording; or a status */

static ngx_int_t
ngx_http_livestream_dvr_look(ngx_http_request_t *r,
    ngx_http_livestream_llhls_ctx_t *ctx)
{
    ngx_str_t  path;

    /* they outlive what they were made of */

    if (ctx->target.kind == NGX_LIVESTREAM_LLHLS_VIDEO) {
        return NGX_OK;
    }

    if (ngx_http_livestream_dvr_path(r, ctx, NGX_LIVESTREAM_ID_LEN,
                                     "/master.m3u8", &path)
        != NGX_OK)
    {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    return ngx_http_livestream_llhls_file_test(r, &path);
}


/* NGX_OK; NGX_DECLINED: there is no such file; or a status */

static ngx_int_t
ngx_http_livestream_dvr_open(ngx_http_request_t *r,
    ngx_http_livestream_llhls_ctx_t *ctx,
    ngx_http_livestream_llhls_file_t *file)
{
    ngx_int_t   rc;
    ngx_uint_t  gzip;

    ngx_memzero(file, sizeof(ngx_http_livestream_llhls_file_t));

    file->size = -1;
    file->type = ngx_http_livestream_dvr_kinds[ctx->target.kind].type;

    if (ctx->target.track_len == 5
        && ctx->target.kind != NGX_LIVESTREAM_LLHLS_PLAYLIST
        && ngx_memcmp(ctx->target.track, "audio", 5) == 0)
    {
        ngx_str_set(&file->type, "audio/mp4");
    }

    if (ngx_http_livestream_dvr_path(r, ctx, ctx->target.file_len, "",
                                     &file->path)
        != NGX_OK)
    {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    if (ctx->target.kind > NGX_LIVESTREAM_LLHLS_PLAYLIST) {
        return ngx_http_livestream_llhls_file_open(r, file);
    }

    /* there is room for ".gz" */

    gzip = ngx_http_livestream_llhls_accepts_gzip(r);
    rc = NGX_DECLINED;

    if (gzip) {
        ngx_memcpy(file->path.data + file->path.len, ".gz", sizeof(".gz"));
        file->path.len += 3;

        rc = ngx_http_livestream_llhls_file_open(r, file);

        if (rc == NGX_DECLINED) {
            file->path.len -= 3;
            file->path.data[file->path.len] = '\0';
            gzip = 0;
        }
    }

    if (rc == NGX_DECLINED) {
        rc = ngx_http_livestream_llhls_file_open(r, file);
    }

    if (rc == NGX_OK && ngx_http_livestream_llhls_encoded(r, gzip) != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    return rc;
}


/* a URL of what is in the storage is for what may be there */

static ngx_int_t
ngx_http_livestream_dvr_absent(ngx_http_request_t *r,
    ngx_http_livestream_llhls_ctx_t *ctx,
    ngx_http_livestream_llhls_file_t *file)
{
    size_t                                 len;
    ngx_int_t                              rc;
    ngx_str_t                              path;
    const ngx_http_livestream_dvr_kind_t  *kind;

    kind = &ngx_http_livestream_dvr_kinds[ctx->target.kind];
    ctx->why = kind->absent;

    if (!kind->stored) {
        return ngx_http_livestream_llhls_error(r, ctx, NGX_HTTP_NOT_FOUND);
    }

    if (ctx->target.track) {
        len = NGX_LIVESTREAM_ID_LEN + 1 + ctx->target.track_len;

        if (ngx_http_livestream_dvr_path(r, ctx, len, "/playlist.m3u8", &path)
            != NGX_OK)
        {
            return NGX_HTTP_INTERNAL_SERVER_ERROR;
        }

        rc = ngx_http_livestream_llhls_file_test(r, &path);

        if (rc != NGX_OK) {
            return ngx_http_livestream_llhls_error(r, ctx,
                             (rc == NGX_DECLINED) ? NGX_HTTP_NOT_FOUND : rc);
        }
    }

    len = ngx_livestream_dvr.conf->recordings.len + 1;

    file->key.data = file->path.data + len;
    file->key.len = file->path.len - len;

    return ngx_http_livestream_dvr_stored(r, ctx, &file->key);
}


/* the first len bytes of what was asked for, and the name behind them */

static ngx_int_t
ngx_http_livestream_dvr_path(ngx_http_request_t *r,
    ngx_http_livestream_llhls_ctx_t *ctx, size_t len, const char *name,
    ngx_str_t *path)
{
    u_char                         *p;
    ngx_str_t                      *folder;
    ngx_livestream_llhls_target_t  *target;

    target = &ctx->target;
    folder = &ngx_livestream_dvr.conf->recordings;

    path->data = ngx_pnalloc(r->pool, folder->len + target->id_len + len
                                      + ngx_strlen(name) + sizeof("//.gz"));
    if (path->data == NULL) {
        return NGX_ERROR;
    }

    p = ngx_sprintf(path->data, "%V/%*s/%*s%s%Z", folder, target->id_len,
                    target->id, len, target->file, name);

    path->len = p - path->data - 1;

    return NGX_OK;
}


ngx_uint_t
ngx_http_livestream_dvr_max_age(ngx_http_livestream_llhls_ctx_t *ctx,
    ngx_uint_t ok)
{
    return ok ? ngx_http_livestream_dvr_kinds[ctx->target.kind].age : 1;
}

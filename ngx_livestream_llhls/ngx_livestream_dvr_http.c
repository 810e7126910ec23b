
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
 * the last file to come and the first one to go.
 *
 * Event loop.
 */


#include "ngx_livestream.h"
#include "ngx_livestream_llhls_http.h"
#include "ngx_livestream_llhls_module.h"


typedef struct {
    ngx_str_t                type;
    ngx_uint_t               age;       /* s; may be cached that long */
    const char              *absent;
} ngx_http_livestream_dvr_kind_t;


static ngx_int_t ngx_http_livestream_dvr_look(ngx_http_request_t *r,
    ngx_http_livestream_llhls_ctx_t *ctx);
static ngx_int_t ngx_http_livestream_dvr_open(ngx_http_request_t *r,
    ngx_http_livestream_llhls_ctx_t *ctx,
    ngx_http_livestream_llhls_file_t *file);
static ngx_int_t ngx_http_livestream_dvr_path(ngx_http_request_t *r,
    ngx_http_livestream_llhls_ctx_t *ctx, const char *name, ngx_str_t *path);


/*
 * By NGX_LIVESTREAM_LLHLS_...  Nothing of a recording changes, but it may be
 * deleted at any time; whoever has its playlist comes back for media.
 */

static const ngx_http_livestream_dvr_kind_t
    ngx_http_livestream_dvr_kinds[NGX_LIVESTREAM_LLHLS_KINDS] =
{
    { ngx_string("application/vnd.apple.mpegurl"), 60, "no such recording" },
    { ngx_string("application/vnd.apple.mpegurl"), 60, "no such track" },
    { ngx_string("video/mp4"), 3600, "no such media" },
    { ngx_string("video/mp4"), 3600, "no such media" },
    { ngx_null_string, 0, NULL },
    { ngx_null_string, 0, NULL },
    { ngx_string("image/jpeg"), 3600, "no poster" },
    { ngx_string("text/vtt"), 3600, "no storyboard" },
    { ngx_string("image/jpeg"), 3600, "no such picture" },
    { ngx_string("video/mp4"), 3600, "no such video" }
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
    }

    if (rc == NGX_OK) {
        rc = ngx_http_livestream_dvr_open(r, ctx, &file);
    }

    if (rc == NGX_OK) {
        return ngx_http_livestream_llhls_file_send(r, ctx, &file);
    }

    if (rc == NGX_DECLINED) {
        rc = NGX_HTTP_NOT_FOUND;

        if (ctx->why == NULL) {
            ctx->why = ngx_http_livestream_dvr_kinds[ctx->target.kind].absent;
        }
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

    if (ngx_http_livestream_dvr_path(r, ctx, "/master.m3u8", &path)
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

    if (ngx_http_livestream_dvr_path(r, ctx, NULL, &file->path) != NGX_OK) {
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


/* name: of a file in the recording's folder; NULL: what was asked for */

static ngx_int_t
ngx_http_livestream_dvr_path(ngx_http_request_t *r,
    ngx_http_livestream_llhls_ctx_t *ctx, const char *name, ngx_str_t *path)
{
    u_char                         *p;
    size_t                          len;
    ngx_livestream_llhls_conf_t    *lcf;
    ngx_livestream_llhls_target_t  *target;

    lcf = ngx_livestream_get_conf(ngx_cycle, ngx_livestream_llhls_module);
    target = &ctx->target;

    len = name ? NGX_LIVESTREAM_ID_LEN : target->file_len;
    name = name ? name : "";

    path->data = ngx_pnalloc(r->pool, lcf->dvr.recordings.len + target->id_len
                                      + len + ngx_strlen(name)
                                      + sizeof("//.gz"));
    if (path->data == NULL) {
        return NGX_ERROR;
    }

    p = ngx_sprintf(path->data, "%V/%*s/%*s%s%Z", &lcf->dvr.recordings,
                    target->id_len, target->id, len, target->file, name);

    path->len = p - path->data - 1;

    return NGX_OK;
}


ngx_uint_t
ngx_http_livestream_dvr_max_age(ngx_http_livestream_llhls_ctx_t *ctx,
    ngx_uint_t ok)
{
    return ok ? ngx_http_livestream_dvr_kinds[ctx->target.kind].age : 1;
}


/*
 * Copyright (C) nginx-livestream contributors
 *
 * Files over HTTP, of what is live and of what was recorded:
 *
 *     open --> NGX_OK: send, all of it or a range of the bytes
 *          --> NGX_DECLINED: it is not there, and may be elsewhere
 *
 * The kernel counts the references, so a file that is removed or replaced
 * while it is sent is sent to its end.  open_file_cache, directio, aio and
 * disable_symlinks of the location hold as for any other file.
 *
 * Event loop.
 */


#include "ngx_livestream.h"
#include "ngx_livestream_llhls_http.h"


static ngx_int_t ngx_http_livestream_llhls_file_info(ngx_http_request_t *r,
    ngx_str_t *path, ngx_open_file_info_t *of);
static ngx_int_t ngx_http_livestream_llhls_file_failed(ngx_http_request_t *r,
    ngx_str_t *path, ngx_open_file_info_t *of);


ngx_int_t
ngx_http_livestream_llhls_file_open(ngx_http_request_t *r,
    ngx_http_livestream_llhls_file_t *file)
{
    off_t                      size;
    ngx_open_file_cache_t     *cache;
    ngx_open_file_info_t      *of;
    ngx_http_core_loc_conf_t  *clcf;

    clcf = ngx_http_get_module_loc_conf(r, ngx_http_core_module);

    of = &file->of;
    size = file->offset + ngx_max(file->size, 0);

    /* a cache would go on to give what was replaced */

    cache = file->replaced ? NULL : clcf->open_file_cache;

    for ( ;; ) {

        if (ngx_http_livestream_llhls_file_info(r, &file->path, of)
            != NGX_OK)
        {
            return NGX_HTTP_INTERNAL_SERVER_ERROR;
        }

        if (ngx_open_cached_file(cache, &file->path, of, r->pool) == NGX_OK) {

            if (of->is_file && of->size >= size) {
                break;
            }

        } else if (cache == NULL) {
            return ngx_http_livestream_llhls_file_failed(r, &file->path, of);
        }

        if (cache == NULL) {
            break;
        }

        /* the cache remembers a time when there was less of the file */

        cache = NULL;
    }

    if (!of->is_file) {
        return NGX_DECLINED;
    }

    if (of->size < size) {
        ngx_log_error(NGX_LOG_ERR, r->connection->log, 0,
                      "\"%V\" ends at %O, expected %O",
                      &file->path, of->size, size);
        return NGX_HTTP_NOT_FOUND;
    }

    if (file->size == -1) {
        file->size = of->size - file->offset;
    }

    return NGX_OK;
}


ngx_int_t
ngx_http_livestream_llhls_file_test(ngx_http_request_t *r, ngx_str_t *path)
{
    ngx_open_file_info_t       of;
    ngx_http_core_loc_conf_t  *clcf;

    clcf = ngx_http_get_module_loc_conf(r, ngx_http_core_module);

    if (ngx_http_livestream_llhls_file_info(r, path, &of) != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    of.test_only = 1;

    if (ngx_open_cached_file(clcf->open_file_cache, path, &of, r->pool)
        != NGX_OK)
    {
        return ngx_http_livestream_llhls_file_failed(r, path, &of);
    }

    return of.is_file ? NGX_OK : NGX_DECLINED;
}


static ngx_int_t
ngx_http_livestream_llhls_file_info(ngx_http_request_t *r, ngx_str_t *path,
    ngx_open_file_info_t *of)
{
    ngx_http_core_loc_conf_t  *clcf;

    clcf = ngx_http_get_module_loc_conf(r, ngx_http_core_module);

    ngx_memzero(of, sizeof(ngx_open_file_info_t));

    of->read_ahead = clcf->read_ahead;
    of->directio = clcf->directio;
    of->valid = clcf->open_file_cache_valid;
    of->min_uses = clcf->open_file_cache_min_uses;
    of->errors = clcf->open_file_cache_errors;
    of->events = clcf->open_file_cache_events;

    return ngx_http_set_disable_symlinks(r, clcf, path, of);
}


static ngx_int_t
ngx_http_livestream_llhls_file_failed(ngx_http_request_t *r, ngx_str_t *path,
    ngx_open_file_info_t *of)
{
    ngx_int_t   rc;
    ngx_uint_t  level;

    switch (of->err) {

    case NGX_ENOENT:
    case NGX_ENOTDIR:
    case NGX_ENAMETOOLONG:
        return NGX_DECLINED;

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

    if (of->err) {
        ngx_log_error(level, r->connection->log, of->err,
                      "%s \"%V\" failed", of->failed, path);
    }

    return rc;
}


ngx_int_t
ngx_http_livestream_llhls_file_send(ngx_http_request_t *r,
    ngx_http_livestream_llhls_ctx_t *ctx,
    ngx_http_livestream_llhls_file_t *file)
{
    ngx_int_t     rc;
    ngx_buf_t    *b;
    ngx_chain_t   out;

    r->headers_out.status = NGX_HTTP_OK;
    r->headers_out.content_type = file->type;
    r->headers_out.content_type_len = file->type.len;
    r->headers_out.content_length_n = file->size;
    r->allow_ranges = (r->headers_out.content_encoding == NULL);

    if (!file->grows) {
        r->headers_out.last_modified_time = file->of.mtime;

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

    b->file_pos = file->offset;
    b->file_last = file->offset + file->size;

    b->in_file = file->size ? 1 : 0;
    b->last_buf = (r == r->main) ? 1 : 0;
    b->last_in_chain = 1;
    b->sync = (file->size || b->last_buf) ? 0 : 1;

    b->file->fd = file->of.fd;
    b->file->name = file->path;
    b->file->log = r->connection->log;
    b->file->directio = file->of.is_directio;

    out.buf = b;
    out.next = NULL;

    return ngx_http_output_filter(r, &out);
}


/*
 * Copyright (C) nginx-livestream contributors
 *
 * What viewers are given of a recording whose files have gone from the disk to
 * a storage, by the directive recording_playback:
 *
 *     redirect            302, Location: https://host/bucket/key?signature
 *
 *     proxy=/location/    an internal redirect to
 *                             /location/bucket/key?signature
 *                         where the operator has a proxy_pass to the host
 *
 * The URL is signed here, for an hour, and so only for what a recording that
 * is there may have.
 *
 * Event loop; the directive in the master.
 */


#include "ngx_livestream.h"
#include "ngx_livestream_llhls_http.h"
#include "ngx_livestream_llhls_module.h"


/* seconds that a URL is good for; a redirect may be kept for half of them, so
 * that there is time to download what it leads to */
#define NGX_HTTP_LIVESTREAM_DVR_EXPIRES  3600


static ngx_int_t ngx_http_livestream_dvr_redirect(ngx_http_request_t *r,
    ngx_str_t *url);
static ngx_int_t ngx_http_livestream_dvr_proxy(ngx_http_request_t *r,
    ngx_str_t *location, ngx_str_t *url);


char *
ngx_livestream_dvr_set_playback(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf)
{
    ngx_livestream_llhls_conf_t *lcf = conf;

    ngx_str_t  *value, *proxy;

    (void) cmd;

    value = cf->args->elts;
    proxy = &lcf->dvr.proxy;

    if (proxy->data) {
        return "is duplicate";
    }

    if (ngx_strcmp(value[1].data, "redirect") == 0) {
        ngx_str_set(proxy, "");
        return NGX_CONF_OK;
    }

    if (ngx_strncmp(value[1].data, "proxy=", 6) != 0) {
        return "must be \"redirect\" or \"proxy=/location/\"";
    }

    proxy->data = value[1].data + 6;
    proxy->len = value[1].len - 6;

    if (proxy->len == 0 || proxy->data[0] != '/'
        || proxy->data[proxy->len - 1] != '/')
    {
        return "has a location that does not begin and end with a slash";
    }

    return NGX_CONF_OK;
}


ngx_int_t
ngx_http_livestream_dvr_stored(ngx_http_request_t *r,
    ngx_http_livestream_llhls_ctx_t *ctx, ngx_str_t *key)
{
    time_t                      now;
    ngx_str_t                   url;
    ngx_livestream_dvr_conf_t  *conf;

    conf = ngx_livestream_dvr.conf;

    if (conf->engine == NULL) {
        return ngx_http_livestream_llhls_error(r, ctx, NGX_HTTP_NOT_FOUND);
    }

    url.data = ngx_pnalloc(r->pool, NGX_LIVESTREAM_STORAGE_URL);
    if (url.data == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    now = ngx_time();

    url.len = conf->engine->url(ngx_livestream_dvr.storage,
                                (char *) key->data, now,
                                now + NGX_HTTP_LIVESTREAM_DVR_EXPIRES,
                                url.data, NGX_LIVESTREAM_STORAGE_URL);
    if (url.len == 0) {
        ngx_log_error(NGX_LOG_ERR, r->connection->log, 0,
                      "the URL of \"%V\" in \"%V\" is too long",
                      key, &conf->storage);
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    if (ngx_http_livestream_llhls_cors(r) != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    if (conf->proxy.len) {
        return ngx_http_livestream_dvr_proxy(r, &conf->proxy, &url);
    }

    return ngx_http_livestream_dvr_redirect(r, &url);
}


/* private: who may not come here should not get it from a cache */

static ngx_int_t
ngx_http_livestream_dvr_redirect(ngx_http_request_t *r, ngx_str_t *url)
{
    ngx_int_t  rc;
    ngx_str_t  value;

    static ngx_str_t  location = ngx_string("Location");
    static ngx_str_t  cache_control = ngx_string("Cache-Control");

    value.data = ngx_pnalloc(r->pool,
                             sizeof("private, max-age=") + NGX_INT_T_LEN);
    if (value.data == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    value.len = ngx_sprintf(value.data, "private, max-age=%d",
                            NGX_HTTP_LIVESTREAM_DVR_EXPIRES / 2)
                - value.data;

    if (ngx_http_livestream_llhls_header(r, &cache_control, &value) == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    r->headers_out.location = ngx_http_livestream_llhls_header(r, &location,
                                                               url);
    if (r->headers_out.location == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    r->headers_out.status = NGX_HTTP_MOVED_TEMPORARILY;
    r->headers_out.content_length_n = 0;
    r->header_only = 1;

    rc = ngx_http_send_header(r);

    return (rc == NGX_ERROR || rc > NGX_OK) ? rc : NGX_OK;
}


/* nginx escapes the path once more, so it is given it unescaped */

static ngx_int_t
ngx_http_livestream_dvr_proxy(ngx_http_request_t *r, ngx_str_t *location,
    ngx_str_t *url)
{
    u_char     *p, *last, *path, *query;
    ngx_str_t   uri, args;

    last = url->data + url->len;

    path = ngx_strlcasestrn(url->data, last, (u_char *) "://", 3 - 1);
    path = path ? ngx_strlchr(path + 3, last, '/') : NULL;

    if (path == NULL) {
        ngx_log_error(NGX_LOG_ERR, r->connection->log, 0,
                      "the storage's URL \"%V\" has no path", url);
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    path++;

    query = ngx_strlchr(path, last, '?');
    query = query ? query : last;

    args.data = ngx_min(query + 1, last);
    args.len = last - args.data;

    uri.data = ngx_pnalloc(r->pool, location->len + (query - path));
    if (uri.data == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    p = ngx_cpymem(uri.data, location->data, location->len);
    ngx_unescape_uri(&p, &path, query - path, 0);

    uri.len = p - uri.data;

    return ngx_http_internal_redirect(r, &uri, &args);
}

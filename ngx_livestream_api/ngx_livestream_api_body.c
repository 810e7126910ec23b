
/*
 * Copyright (C) nginx-livestream contributors
 *
 * The body of a call: read as it comes, into one buffer of at most 64 KiB, and
 * parsed strictly.
 *
 * It is read unbuffered, so that a body without a declared length is cut off
 * with our own answer once it has become too long, in HTTP/1 and HTTP/2.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "ngx_livestream_api.h"


static ngx_uint_t ngx_livestream_api_is_json(ngx_str_t *type);
static void ngx_livestream_api_body_handler(ngx_http_request_t *r);
static ngx_int_t ngx_livestream_api_take(ngx_livestream_api_call_t *call,
    ngx_http_request_t *r);
static ngx_int_t ngx_livestream_api_append(ngx_livestream_api_call_t *call,
    ngx_buf_t *b);
static void ngx_livestream_api_parse(ngx_livestream_api_call_t *call);


ngx_int_t
ngx_livestream_api_check_body(ngx_http_request_t *r, const char **why)
{
    if (r->headers_in.content_length_n <= 0 && !r->headers_in.chunked) {
        return NGX_OK;
    }

    if (r->headers_in.content_type == NULL
        || !ngx_livestream_api_is_json(&r->headers_in.content_type->value))
    {
        *why = "a body must have the Content-Type application/json";
        return NGX_HTTP_UNSUPPORTED_MEDIA_TYPE;
    }

    if (r->headers_in.content_length_n > NGX_LIVESTREAM_API_BODY) {
        *why = "a body may have 65536 bytes";
        return NGX_HTTP_REQUEST_ENTITY_TOO_LARGE;
    }

    return NGX_OK;
}


/* application/json, or of a merge patch; a charset may only be UTF-8 */

static ngx_uint_t
ngx_livestream_api_is_json(ngx_str_t *type)
{
    size_t   len;
    u_char  *p, *last;

    p = type->data;
    last = type->data + type->len;

    len = ngx_strlchr(p, last, ';') ? (size_t) (ngx_strlchr(p, last, ';') - p)
                                    : type->len;

    while (len && (p[len - 1] == ' ' || p[len - 1] == '\t')) {
        len--;
    }

    if (!(len == sizeof("application/json") - 1
          && ngx_strncasecmp(p, (u_char *) "application/json", len) == 0)
        && !(len == sizeof("application/merge-patch+json") - 1
             && ngx_strncasecmp(p, (u_char *) "application/merge-patch+json",
                                len) == 0))
    {
        return 0;
    }

    p = ngx_strlcasestrn(p, last, (u_char *) "charset=", 8 - 1);

    if (p == NULL) {
        return 1;
    }

    p += sizeof("charset=") - 1;

    if (p < last && *p == '"') {
        p++;
    }

    return last - p >= 5 && ngx_strncasecmp(p, (u_char *) "utf-8", 5) == 0;
}


ngx_int_t
ngx_livestream_api_read_body(ngx_livestream_api_call_t *call,
    ngx_livestream_api_handler_pt done)
{
    ngx_int_t            rc;
    ngx_http_request_t  *r;

    r = call->request;

    call->done = done;

    r->request_body_no_buffering = 1;
    r->request_body_in_file_only = 0;

    rc = ngx_http_read_client_request_body(r,
                                           ngx_livestream_api_body_handler);

    return rc >= NGX_HTTP_SPECIAL_RESPONSE ? rc : NGX_DONE;
}


/* called with the first of the body, and then whenever there may be more */

static void
ngx_livestream_api_body_handler(ngx_http_request_t *r)
{
    ngx_int_t                   rc;
    ngx_livestream_api_call_t  *call;

    call = ngx_http_get_module_ctx(r, ngx_livestream_api_module);

    for ( ;; ) {

        rc = ngx_livestream_api_take(call, r);

        if (rc == NGX_DECLINED) {
            r->read_event_handler = ngx_http_block_reading;
            ngx_livestream_api_problem(call, NGX_HTTP_REQUEST_ENTITY_TOO_LARGE,
                                       "a body may have 65536 bytes");
            return;
        }

        if (rc != NGX_OK) {
            r->read_event_handler = ngx_http_block_reading;
            ngx_livestream_api_problem(call, NGX_HTTP_INTERNAL_SERVER_ERROR,
                                       "the body could not be kept");
            return;
        }

        if (!r->reading_body) {
            r->read_event_handler = ngx_http_block_reading;
            ngx_livestream_api_parse(call);
            return;
        }

        rc = ngx_http_read_unbuffered_request_body(r);

        if (rc >= NGX_HTTP_SPECIAL_RESPONSE) {
            ngx_http_finalize_request(r, rc);
            return;
        }

        if (r->reading_body && r->request_body->bufs == NULL) {
            r->read_event_handler = ngx_livestream_api_body_handler;
            return;
        }
    }
}


/*
 * NGX_DECLINED when it is too long.  What is still being read must be used up
 * for more to come; a body that is whole may be somebody else's, too.
 */

static ngx_int_t
ngx_livestream_api_take(ngx_livestream_api_call_t *call, ngx_http_request_t *r)
{
    ngx_int_t     rc;
    ngx_chain_t  *cl, *next;

    if (r->request_body == NULL) {
        return NGX_OK;
    }

    rc = NGX_OK;

    for (cl = r->request_body->bufs; cl; cl = next) {
        next = cl->next;

        if (rc == NGX_OK) {
            rc = ngx_livestream_api_append(call, cl->buf);
        }

        if (r->reading_body) {
            cl->buf->pos = cl->buf->last;
            ngx_free_chain(r->pool, cl);
            r->request_body->bufs = next;
        }
    }

    return rc;
}


static ngx_int_t
ngx_livestream_api_append(ngx_livestream_api_call_t *call, ngx_buf_t *b)
{
    u_char  *p;
    off_t    size;
    size_t   n;

    size = ngx_buf_size(b);

    if (size == 0) {
        return NGX_OK;
    }

    if (size > (off_t) (NGX_LIVESTREAM_API_BODY - call->size)) {
        return NGX_DECLINED;
    }

    if ((size_t) size > call->allocated - call->size) {

        n = ngx_min(2 * call->size + (size_t) size + 1024,
                    NGX_LIVESTREAM_API_BODY);

        p = ngx_pnalloc(call->pool, n);
        if (p == NULL) {
            return NGX_ERROR;
        }

        if (call->size) {
            ngx_memcpy(p, call->text, call->size);
        }

        if (call->text) {
            (void) ngx_pfree(call->pool, call->text);
        }

        call->text = p;
        call->allocated = n;
    }

    p = call->text + call->size;
    call->size += size;

    if (b->in_file) {
        return ngx_read_file(b->file, p, size, b->file_pos) == (ssize_t) size
               ? NGX_OK : NGX_ERROR;
    }

    ngx_memcpy(p, b->pos, size);

    return NGX_OK;
}


static void
ngx_livestream_api_parse(ngx_livestream_api_call_t *call)
{
    u_char        buf[JSON_ERROR_TEXT_LENGTH + 128], *p;
    json_error_t  error;

    if (call->size == 0 && call->route->body == 2) {
        call->body = json_object();

    } else {
        call->body = json_loadb((char *) call->text, call->size,
                                JSON_REJECT_DUPLICATES, &error);
    }

    if (json_is_object(call->body)) {
        call->done(call);
        return;
    }

    if (call->size == 0 || call->body) {
        ngx_livestream_api_problem(call, NGX_HTTP_BAD_REQUEST,
                                   "the body must be a JSON object");
        return;
    }

    (void) ngx_snprintf(buf, sizeof(buf),
                        "the body is not valid JSON, line %d, column %d: "
                        "%s%Z", error.line, error.column, error.text);

    /* it may end within a character */

    for (p = buf; *p; p++) {
        if (*p < 0x20 || *p > 0x7e) {
            *p = '?';
        }
    }

    ngx_livestream_api_problem(call, NGX_HTTP_BAD_REQUEST, (char *) buf);
}


/*
 * Copyright (C) nginx-livestream contributors
 *
 * Answers: JSON, and problems as of RFC 9457.
 *
 *   { "type": "about:blank", "title": "Bad Request", "status": 400,
 *     "detail": "title is required", "field": "title",
 *     "errors": [ { "field": "title", "detail": "is required" }, ... ] }
 *
 * field and errors are there when the request itself is wrong.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "ngx_livestream_api.h"


#define NGX_LIVESTREAM_API_ERRORS    16


static void ngx_livestream_api_end(ngx_livestream_api_call_t *call,
    ngx_uint_t status, ngx_str_t *type, json_t *json);
static void ngx_livestream_api_error(ngx_livestream_api_call_t *call,
    const char *name, const char *why);
static json_t *ngx_livestream_api_problem_json(ngx_uint_t status,
    const char *detail);
static ngx_int_t ngx_livestream_api_send(ngx_http_request_t *r,
    ngx_uint_t status, ngx_str_t *type, json_t *json, size_t digits);


static const struct {
    ngx_uint_t   status;
    const char  *title;
} ngx_livestream_api_titles[] = {
    { NGX_HTTP_BAD_REQUEST, "Bad Request" },
    { NGX_HTTP_NOT_FOUND, "Not Found" },
    { NGX_HTTP_NOT_ALLOWED, "Method Not Allowed" },
    { NGX_HTTP_CONFLICT, "Conflict" },
    { NGX_HTTP_REQUEST_ENTITY_TOO_LARGE, "Content Too Large" },
    { NGX_HTTP_UNSUPPORTED_MEDIA_TYPE, "Unsupported Media Type" },
    { NGX_LIVESTREAM_API_UNPROCESSABLE, "Unprocessable Content" },
    { NGX_HTTP_INTERNAL_SERVER_ERROR, "Internal Server Error" },
    { NGX_HTTP_SERVICE_UNAVAILABLE, "Service Unavailable" },
    { 0, "Error" }
};


static ngx_str_t  ngx_livestream_api_json = ngx_string("application/json");
static ngx_str_t  ngx_livestream_api_problem_type =
    ngx_string("application/problem+json");


void
ngx_livestream_api_reply(ngx_livestream_api_call_t *call, ngx_uint_t status,
    json_t *json)
{
    ngx_livestream_api_end(call, status, &ngx_livestream_api_json, json);
}


void
ngx_livestream_api_reply_location(ngx_livestream_api_call_t *call,
    ngx_uint_t status, ngx_str_t *location, json_t *json)
{
    if (call->request
        && (location->data == NULL
            || ngx_livestream_api_header(call->request, "Location", location)
               != NGX_OK))
    {
        json_decref(json);
        json = NULL;
    }

    ngx_livestream_api_end(call, status, &ngx_livestream_api_json, json);
}


void
ngx_livestream_api_problem(ngx_livestream_api_call_t *call, ngx_uint_t status,
    const char *detail)
{
    ngx_livestream_api_end(call, status, &ngx_livestream_api_problem_type,
                           ngx_livestream_api_problem_json(status, detail));
}


static void
ngx_livestream_api_end(ngx_livestream_api_call_t *call, ngx_uint_t status,
    ngx_str_t *type, json_t *json)
{
    size_t               digits;
    ngx_int_t            rc;
    ngx_http_request_t  *r;

    r = ngx_livestream_api_detach(call);
    digits = call->digits;

    ngx_livestream_api_close(call);

    if (r) {
        rc = ngx_livestream_api_send(r, status, type, json, digits);
        ngx_http_finalize_request(r, rc);
    }

    json_decref(json);
}


void
ngx_livestream_api_wrong(ngx_livestream_api_call_t *call, const char *name,
    const char *why)
{
    call->wrong = NGX_HTTP_BAD_REQUEST;
    ngx_livestream_api_error(call, name, why);
}


void
ngx_livestream_api_unmet(ngx_livestream_api_call_t *call, const char *name,
    const char *why)
{
    if (call->wrong == 0) {
        call->wrong = NGX_LIVESTREAM_API_UNPROCESSABLE;
    }

    ngx_livestream_api_error(call, name, why);
}


static void
ngx_livestream_api_error(ngx_livestream_api_call_t *call, const char *name,
    const char *why)
{
    if (call->errors == NULL) {
        call->errors = json_array();
    }

    if (json_array_size(call->errors) == NGX_LIVESTREAM_API_ERRORS) {
        return;
    }

    (void) json_array_append_new(call->errors,
                                 json_pack("{s:s, s:s}", "field", name,
                                           "detail", why));
}


void
ngx_livestream_api_reply_wrong(ngx_livestream_api_call_t *call)
{
    json_t      *json, *first, *detail;
    const char  *name, *why;

    first = json_array_get(call->errors, 0);
    name = json_string_value(json_object_get(first, "field"));
    why = json_string_value(json_object_get(first, "detail"));

    json = NULL;
    detail = (name && why) ? json_sprintf("%s %s", name, why) : NULL;

    if (detail) {
        json = ngx_livestream_api_problem_json(call->wrong,
                                               json_string_value(detail));

        if (json_object_set_new(json, "field", json_string(name)) != 0
            || json_object_set(json, "errors", call->errors) != 0)
        {
            json_decref(json);
            json = NULL;
        }

        json_decref(detail);
    }

    ngx_livestream_api_end(call, call->wrong,
                           &ngx_livestream_api_problem_type, json);
}


static json_t *
ngx_livestream_api_problem_json(ngx_uint_t status, const char *detail)
{
    ngx_uint_t  i;

    for (i = 0; ngx_livestream_api_titles[i].status; i++) {
        if (ngx_livestream_api_titles[i].status == status) {
            break;
        }
    }

    return json_pack("{s:s, s:s, s:I, s:s}", "type", "about:blank",
                     "title", ngx_livestream_api_titles[i].title,
                     "status", (json_int_t) status, "detail", detail);
}


ngx_int_t
ngx_livestream_api_send_problem(ngx_http_request_t *r, ngx_uint_t status,
    const char *detail)
{
    json_t     *json;
    ngx_int_t   rc;

    /* the client need not go on, nor be told to */

    r->expect_tested = 1;

    rc = ngx_http_discard_request_body(r);

    if (rc != NGX_OK) {
        return rc;
    }

    json = ngx_livestream_api_problem_json(status, detail);

    rc = ngx_livestream_api_send(r, status, &ngx_livestream_api_problem_type,
                                 json, 0);
    json_decref(json);

    return rc;
}


static ngx_int_t
ngx_livestream_api_send(ngx_http_request_t *r, ngx_uint_t status,
    ngx_str_t *type, json_t *json, size_t digits)
{
    size_t            size;
    ngx_int_t         rc;
    ngx_buf_t        *b;
    ngx_chain_t       out;
    static ngx_str_t  no_store = ngx_string("no-store");
    static ngx_str_t  second = ngx_string("1");

    if (json == NULL && status != NGX_HTTP_NO_CONTENT) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    if (ngx_livestream_api_header(r, "Cache-Control", &no_store) != NGX_OK
        || (status == NGX_HTTP_SERVICE_UNAVAILABLE
            && ngx_livestream_api_header(r, "Retry-After", &second)
               != NGX_OK))
    {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    r->headers_out.status = status;

    if (json == NULL) {
        r->header_only = 1;
        return ngx_http_send_header(r);
    }

    size = json_dumpb(json, NULL, 0, JSON_COMPACT|digits);

    b = ngx_create_temp_buf(r->pool, size + 1);
    if (b == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    b->last += json_dumpb(json, (char *) b->pos, size, JSON_COMPACT|digits);
    *b->last++ = LF;
    b->last_buf = (r == r->main);
    b->last_in_chain = 1;

    r->headers_out.content_length_n = size + 1;
    r->headers_out.content_type = *type;
    r->headers_out.content_type_len = type->len;
    r->headers_out.content_type_lowcase = NULL;

    rc = ngx_http_send_header(r);

    if (rc == NGX_ERROR || rc > NGX_OK || r->header_only) {
        return rc;
    }

    out.buf = b;
    out.next = NULL;

    return ngx_http_output_filter(r, &out);
}


ngx_int_t
ngx_livestream_api_header(ngx_http_request_t *r, const char *name,
    ngx_str_t *value)
{
    ngx_table_elt_t  *h;

    h = ngx_list_push(&r->headers_out.headers);
    if (h == NULL) {
        return NGX_ERROR;
    }

    ngx_memzero(h, sizeof(ngx_table_elt_t));

    h->hash = 1;
    h->key.data = (u_char *) name;
    h->key.len = ngx_strlen(name);

    h->value.len = value->len;
    h->value.data = ngx_pstrdup(r->pool, value);

    if (h->value.data == NULL) {
        h->hash = 0;
        return NGX_ERROR;
    }

    return NGX_OK;
}


/*
 * Copyright (C) nginx-livestream contributors
 *
 * Lists, newest first, in pages; that of livestreams itself.
 *
 * The tables say what the query may have; there is one statement for each set
 * of filters, so that each finds its index.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "ngx_livestream_api.h"


#define NGX_LIVESTREAM_API_LIMIT      20
#define NGX_LIVESTREAM_API_MAX_LIMIT  100


static ngx_int_t ngx_livestream_api_parse_query(
    ngx_livestream_api_call_t *call, const ngx_livestream_api_arg_t *args,
    const char *only, ngx_livestream_api_page_t *page);
static void ngx_livestream_api_parse_arg(ngx_livestream_api_call_t *call,
    const ngx_livestream_api_arg_t *args, const char *only,
    ngx_livestream_api_page_t *page, ngx_str_t *name, ngx_str_t *value);
static const char *ngx_livestream_api_arg_user_id(
    ngx_livestream_api_page_t *page, ngx_str_t *value);
static const char *ngx_livestream_api_arg_status(
    ngx_livestream_api_page_t *page, ngx_str_t *value);
static void ngx_livestream_api_listed(ngx_livestream_api_call_t *call,
    ngx_livestream_store_result_t *result);


#define ngx_livestream_api_sql_page                                          \
    " ORDER BY created_at DESC, id DESC LIMIT $1 OFFSET $2"

/* by filter: 1 user_id, 2 status */

static const char  *ngx_livestream_api_sql_list[] = {

    "SELECT " ngx_livestream_api_columns " FROM live_streams"
    ngx_livestream_api_sql_page,

    "SELECT " ngx_livestream_api_columns " FROM live_streams"
    " WHERE user_id = $3" ngx_livestream_api_sql_page,

    "SELECT " ngx_livestream_api_columns " FROM live_streams"
    " WHERE status = $3" ngx_livestream_api_sql_page,

    "SELECT " ngx_livestream_api_columns " FROM live_streams"
    " WHERE user_id = $3 AND status = $4" ngx_livestream_api_sql_page
};


static const ngx_livestream_api_arg_t  ngx_livestream_api_args[] = {
    { "limit", ngx_livestream_api_arg_limit },
    { "offset", ngx_livestream_api_arg_offset },
    { "user_id", ngx_livestream_api_arg_user_id },
    { "status", ngx_livestream_api_arg_status },
    { NULL, NULL }
};


static const char  *ngx_livestream_api_statuses[] = {
    "idle", "starting", "live", "interrupted", "stopping", "stopped", "ended",
    "error", NULL
};


void
ngx_livestream_api_list(ngx_livestream_api_call_t *call)
{
    ngx_str_t                   params[4];
    ngx_uint_t                  n, filter;
    ngx_livestream_api_page_t   page;

    if (ngx_livestream_api_read_page(call, ngx_livestream_api_args,
                              "may have limit, offset, user_id and status",
                              &page)
        != NGX_OK)
    {
        return;
    }

    params[0] = call->values[0];
    params[1] = call->values[1];

    n = 2;
    filter = 0;

    if (page.user_id.data) {
        params[n++] = page.user_id;
        filter |= 1;
    }

    if (page.status.data) {
        params[n++] = page.status;
        filter |= 2;
    }

    ngx_livestream_api_query(call, ngx_livestream_api_sql_list[filter], params,
                             n, ngx_livestream_api_listed);
}


ngx_int_t
ngx_livestream_api_read_page(ngx_livestream_api_call_t *call,
    const ngx_livestream_api_arg_t *args, const char *only,
    ngx_livestream_api_page_t *page)
{
    u_char  *p;

    ngx_memzero(page, sizeof(ngx_livestream_api_page_t));

    page->limit = NGX_LIVESTREAM_API_LIMIT;

    p = ngx_pnalloc(call->pool, 2 * NGX_INT_T_LEN);

    if (p == NULL
        || ngx_livestream_api_parse_query(call, args, only, page) != NGX_OK)
    {
        ngx_livestream_api_problem(call, NGX_HTTP_INTERNAL_SERVER_ERROR,
                                   "out of memory");
        return NGX_ERROR;
    }

    if (call->errors) {
        ngx_livestream_api_reply_wrong(call);
        return NGX_ERROR;
    }

    call->values[0].data = p;
    call->values[0].len = ngx_sprintf(p, "%i", page->limit) - p;

    p += call->values[0].len;

    call->values[1].data = p;
    call->values[1].len = ngx_sprintf(p, "%i", page->offset) - p;

    return NGX_OK;
}


static ngx_int_t
ngx_livestream_api_parse_query(ngx_livestream_api_call_t *call,
    const ngx_livestream_api_arg_t *args, const char *only,
    ngx_livestream_api_page_t *page)
{
    u_char     *p, *last, *end, *eq, *src, *dst;
    ngx_str_t   name, value;

    p = call->request->args.data;
    last = p + call->request->args.len;

    for ( /* void */ ; p < last; p = end + 1) {

        end = ngx_strlchr(p, last, '&');
        if (end == NULL) {
            end = last;
        }

        if (end == p) {
            continue;
        }

        eq = ngx_strlchr(p, end, '=');

        name.data = p;
        name.len = (eq ? eq : end) - p;

        src = eq ? eq + 1 : end;

        value.len = end - src;
        value.data = ngx_pnalloc(call->pool, value.len + 1);
        if (value.data == NULL) {
            return NGX_ERROR;
        }

        for (dst = value.data; src < end; src++) {
            *dst++ = (*src == '+') ? ' ' : *src;
        }

        src = value.data;
        dst = value.data;

        ngx_unescape_uri(&dst, &src, value.len, 0);

        value.len = dst - value.data;

        ngx_livestream_api_parse_arg(call, args, only, page, &name, &value);
    }

    return NGX_OK;
}


static void
ngx_livestream_api_parse_arg(ngx_livestream_api_call_t *call,
    const ngx_livestream_api_arg_t *args, const char *only,
    ngx_livestream_api_page_t *page, ngx_str_t *name, ngx_str_t *value)
{
    const char  *why;

    for ( /* void */ ; args->name; args++) {

        if (ngx_livestream_api_equal(name, args->name)) {
            why = args->read(page, value);

            if (why) {
                ngx_livestream_api_wrong(call, args->name, why);
            }

            return;
        }
    }

    ngx_livestream_api_wrong(call, "query", only);
}


const char *
ngx_livestream_api_arg_limit(ngx_livestream_api_page_t *page, ngx_str_t *value)
{
    page->limit = ngx_atoi(value->data, value->len);

    if (page->limit < 1 || page->limit > NGX_LIVESTREAM_API_MAX_LIMIT) {
        return "must be an integer from 1 to 100";
    }

    return NULL;
}


const char *
ngx_livestream_api_arg_offset(ngx_livestream_api_page_t *page,
    ngx_str_t *value)
{
    page->offset = ngx_atoi(value->data, value->len);

    if (page->offset < 0 || page->offset > NGX_MAX_INT32_VALUE) {
        return "must be an integer from 0 to 2147483647";
    }

    return NULL;
}


static const char *
ngx_livestream_api_arg_user_id(ngx_livestream_api_page_t *page,
    ngx_str_t *value)
{
    json_t      *text;
    ngx_uint_t   valid;

    /* valid UTF-8, as in a body */

    text = json_stringn((char *) value->data, value->len);
    valid = ngx_livestream_api_is_line(json_string_value(text),
                                       json_string_length(text), 100);
    json_decref(text);

    page->user_id = *value;

    return valid ? NULL : "must be a text of 1 to 100 characters in one line";
}


static const char *
ngx_livestream_api_arg_status(ngx_livestream_api_page_t *page,
    ngx_str_t *value)
{
    ngx_uint_t  i;

    page->status = *value;

    for (i = 0; ngx_livestream_api_statuses[i]; i++) {
        if (ngx_livestream_api_equal(value, ngx_livestream_api_statuses[i])) {
            return NULL;
        }
    }

    return "must be idle, starting, live, interrupted, stopping, stopped, "
           "ended or error";
}


static void
ngx_livestream_api_listed(ngx_livestream_api_call_t *call,
    ngx_livestream_store_result_t *result)
{
    json_t      *list;
    ngx_uint_t   i;

    list = json_array();

    for (i = 0; i < result->nrows; i++) {

        if (json_array_append_new(list, ngx_livestream_api_row(result, i, 0))
            != 0)
        {
            json_decref(list);
            list = NULL;
            break;
        }
    }

    ngx_livestream_api_reply_page(call, "streams", list);
}


void
ngx_livestream_api_reply_page(ngx_livestream_api_call_t *call,
    const char *name, json_t *list)
{
    /* packs to NULL without a list */

    ngx_livestream_api_reply(call, NGX_HTTP_OK,
           json_pack("{s:o, s:I, s:I}", name, list,
                     "limit", (json_int_t) ngx_atoi(call->values[0].data,
                                                    call->values[0].len),
                     "offset", (json_int_t) ngx_atoi(call->values[1].data,
                                                     call->values[1].len)));
}

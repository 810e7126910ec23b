
/*
 * Copyright (C) nginx-livestream contributors
 *
 * The list of livestreams, newest first, in pages.
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


typedef struct {
    ngx_int_t                        limit;
    ngx_int_t                        offset;
    ngx_str_t                        user_id;
    ngx_str_t                        status;
} ngx_livestream_api_query_t;


/* NULL, or what is wrong */
typedef const char *(*ngx_livestream_api_arg_pt)(
    ngx_livestream_api_query_t *q, ngx_str_t *value);


static ngx_int_t ngx_livestream_api_parse_query(
    ngx_livestream_api_call_t *call, ngx_livestream_api_query_t *q);
static void ngx_livestream_api_parse_arg(ngx_livestream_api_call_t *call,
    ngx_livestream_api_query_t *q, ngx_str_t *name, ngx_str_t *value);
static const char *ngx_livestream_api_arg_limit(ngx_livestream_api_query_t *q,
    ngx_str_t *value);
static const char *ngx_livestream_api_arg_offset(
    ngx_livestream_api_query_t *q, ngx_str_t *value);
static const char *ngx_livestream_api_arg_user_id(
    ngx_livestream_api_query_t *q, ngx_str_t *value);
static const char *ngx_livestream_api_arg_status(
    ngx_livestream_api_query_t *q, ngx_str_t *value);
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


static const struct {
    const char                 *name;
    ngx_livestream_api_arg_pt   read;
} ngx_livestream_api_args[] = {
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
    u_char                      *p;
    ngx_str_t                    params[4];
    ngx_uint_t                   n, filter;
    ngx_livestream_api_query_t   q;

    ngx_memzero(&q, sizeof(ngx_livestream_api_query_t));

    q.limit = NGX_LIVESTREAM_API_LIMIT;

    if (ngx_livestream_api_parse_query(call, &q) != NGX_OK) {
        ngx_livestream_api_problem(call, NGX_HTTP_INTERNAL_SERVER_ERROR,
                                   "out of memory");
        return;
    }

    if (call->errors) {
        ngx_livestream_api_reply_wrong(call);
        return;
    }

    p = ngx_pnalloc(call->pool, 2 * NGX_INT_T_LEN);
    if (p == NULL) {
        ngx_livestream_api_problem(call, NGX_HTTP_INTERNAL_SERVER_ERROR,
                                   "out of memory");
        return;
    }

    params[0].data = p;
    params[0].len = ngx_sprintf(p, "%i", q.limit) - p;

    p += params[0].len;

    params[1].data = p;
    params[1].len = ngx_sprintf(p, "%i", q.offset) - p;

    n = 2;
    filter = 0;

    if (q.user_id.data) {
        params[n++] = q.user_id;
        filter |= 1;
    }

    if (q.status.data) {
        params[n++] = q.status;
        filter |= 2;
    }

    /* for the answer */

    call->values[0] = params[0];
    call->values[1] = params[1];

    ngx_livestream_api_query(call, ngx_livestream_api_sql_list[filter], params,
                             n, ngx_livestream_api_listed);
}


static ngx_int_t
ngx_livestream_api_parse_query(ngx_livestream_api_call_t *call,
    ngx_livestream_api_query_t *q)
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

        ngx_livestream_api_parse_arg(call, q, &name, &value);
    }

    return NGX_OK;
}


static void
ngx_livestream_api_parse_arg(ngx_livestream_api_call_t *call,
    ngx_livestream_api_query_t *q, ngx_str_t *name, ngx_str_t *value)
{
    ngx_uint_t   i;
    const char  *why, *arg;

    for (i = 0; ngx_livestream_api_args[i].name; i++) {

        arg = ngx_livestream_api_args[i].name;

        if (ngx_livestream_api_equal(name, arg)) {
            why = ngx_livestream_api_args[i].read(q, value);

            if (why) {
                ngx_livestream_api_wrong(call, arg, why);
            }

            return;
        }
    }

    ngx_livestream_api_wrong(call, "query",
                             "may have limit, offset, user_id and status");
}


static const char *
ngx_livestream_api_arg_limit(ngx_livestream_api_query_t *q, ngx_str_t *value)
{
    q->limit = ngx_atoi(value->data, value->len);

    if (q->limit < 1 || q->limit > NGX_LIVESTREAM_API_MAX_LIMIT) {
        return "must be an integer from 1 to 100";
    }

    return NULL;
}


static const char *
ngx_livestream_api_arg_offset(ngx_livestream_api_query_t *q, ngx_str_t *value)
{
    q->offset = ngx_atoi(value->data, value->len);

    if (q->offset < 0 || q->offset > NGX_MAX_INT32_VALUE) {
        return "must be an integer from 0 to 2147483647";
    }

    return NULL;
}


static const char *
ngx_livestream_api_arg_user_id(ngx_livestream_api_query_t *q, ngx_str_t *value)
{
    json_t      *text;
    ngx_uint_t   valid;

    /* valid UTF-8, as in a body */

    text = json_stringn((char *) value->data, value->len);
    valid = ngx_livestream_api_is_line(json_string_value(text),
                                       json_string_length(text), 100);
    json_decref(text);

    q->user_id = *value;

    return valid ? NULL : "must be a text of 1 to 100 characters in one line";
}


static const char *
ngx_livestream_api_arg_status(ngx_livestream_api_query_t *q, ngx_str_t *value)
{
    ngx_uint_t  i;

    q->status = *value;

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

    /* packs to NULL without a list */

    ngx_livestream_api_reply(call, NGX_HTTP_OK,
           json_pack("{s:o, s:I, s:I}", "streams", list,
                     "limit", (json_int_t) ngx_atoi(call->values[0].data,
                                                    call->values[0].len),
                     "offset", (json_int_t) ngx_atoi(call->values[1].data,
                                                     call->values[1].len)));
}

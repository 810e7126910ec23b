
/*
 * Copyright (C) nginx-livestream contributors
 *
 * The calls on recordings: list, get, how long one is kept, delete.
 *
 * A recording's row is changed here and by the keeper, each with one statement
 * that says from which status it goes on, so that neither undoes the other:
 *
 *   recording --> processing --> ready | failed     the keeper
 *        any but recording   --> deleted            here; the keeper removes
 *                                                   what there is of it
 *
 * A deleted recording is no more, but in the list for who asks for those.  It
 * takes its conversion along, and that its video, in this order: no new one is
 * claimed for what is deleted, and no video is made for what has failed.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "ngx_livestream_api.h"


typedef enum {
    NGX_LIVESTREAM_API_R_TEXT = 0,
    NGX_LIVESTREAM_API_R_INTEGER,
    NGX_LIVESTREAM_API_R_NUMBER
} ngx_livestream_api_r_type_e;


typedef struct {
    const char                      *name;
    ngx_livestream_api_r_type_e      type;
} ngx_livestream_api_r_field_t;


static const char *ngx_livestream_api_arg_recording_status(
    ngx_livestream_api_page_t *page, ngx_str_t *value);
static void ngx_livestream_api_recordings_listed(
    ngx_livestream_api_call_t *call, ngx_livestream_store_result_t *result);
static void ngx_livestream_api_recordings_none(
    ngx_livestream_api_call_t *call, ngx_livestream_store_result_t *result);
static void ngx_livestream_api_recording_got(ngx_livestream_api_call_t *call,
    ngx_livestream_store_result_t *result);
static json_t *ngx_livestream_api_recording_object(
    ngx_livestream_store_result_t *result, ngx_uint_t row, ngx_uint_t column,
    const ngx_livestream_api_r_field_t *f);
static void ngx_livestream_api_read_retention(ngx_livestream_api_call_t *call,
    json_t *value, ngx_str_t *until);
static ngx_int_t ngx_livestream_api_parse_time(const char *text, size_t len,
    int64_t *us);
static void ngx_livestream_api_recording_patched(
    ngx_livestream_api_call_t *call, ngx_livestream_store_result_t *result);
static void ngx_livestream_api_recording_unready(
    ngx_livestream_api_call_t *call, ngx_livestream_store_result_t *result);
static void ngx_livestream_api_recording_deleted(
    ngx_livestream_api_call_t *call, ngx_livestream_store_result_t *result);
static void ngx_livestream_api_recording_stays(
    ngx_livestream_api_call_t *call, ngx_livestream_store_result_t *result);
static void ngx_livestream_api_conversion_failed(
    ngx_livestream_api_call_t *call, ngx_livestream_store_result_t *result);
static void ngx_livestream_api_video_failed(ngx_livestream_api_call_t *call,
    ngx_livestream_store_result_t *result);


/* in the order of the enum */

#define ngx_livestream_api_sql_recording                                     \
    "SELECT r.id, r.live_stream_id, r.video_id, r.start_time, r.end_time,"   \
    " r.duration, r.size, r.status, r.recording_url, r.manifest_url,"        \
    " r.thumbnail_url, r.retention_until, r.created_at, r.updated_at,"       \
    " c.video_id, c.resolution, c.status, c.progress, c.error,"              \
    " v.source_url,"                                                         \
    " CASE WHEN EXISTS (SELECT 1 FROM dvr_objects WHERE recording_id = r.id)"\
    " THEN (SELECT count(*) FROM dvr_objects"                                \
    " WHERE recording_id = r.id AND status = 'pending') END,"                \
    " (SELECT error FROM dvr_objects WHERE recording_id = r.id"              \
    " AND status = 'pending' AND error IS NOT NULL"                          \
    " ORDER BY due DESC LIMIT 1)"                                            \
    " FROM dvr_recordings r"                                                 \
    " LEFT JOIN dvr_conversions c ON c.recording_id = r.id"                  \
    " LEFT JOIN videos v ON v.id = c.video_id"

#define ngx_livestream_api_sql_recording_page                                \
    " ORDER BY r.start_time DESC, r.id DESC LIMIT $1 OFFSET $2"

static const char  ngx_livestream_api_sql_recordings[] =
    ngx_livestream_api_sql_recording
    " WHERE r.live_stream_id = $3 AND r.status <> 'deleted'"
    ngx_livestream_api_sql_recording_page;

static const char  ngx_livestream_api_sql_recordings_status[] =
    ngx_livestream_api_sql_recording
    " WHERE r.live_stream_id = $3 AND r.status = $4"
    ngx_livestream_api_sql_recording_page;

static const char  ngx_livestream_api_sql_stream[] =
    "SELECT id FROM live_streams WHERE id = $1";

static const char  ngx_livestream_api_sql_get_recording[] =
    ngx_livestream_api_sql_recording
    " WHERE r.id = $1 AND r.live_stream_id = $2 AND r.status <> 'deleted'";

static const char  ngx_livestream_api_sql_retention[] =
    "UPDATE dvr_recordings SET retention_until = $3,"
    " updated_at = CURRENT_TIMESTAMP"
    " WHERE id = $1 AND live_stream_id = $2"
    " AND status IN ('ready', 'failed')";

static const char  ngx_livestream_api_sql_delete_recording[] =
    "UPDATE dvr_recordings SET status = 'deleted',"
    " updated_at = CURRENT_TIMESTAMP"
    " WHERE id = $1 AND live_stream_id = $2"
    " AND status NOT IN ('recording', 'deleted') RETURNING id";

static const char  ngx_livestream_api_sql_fail_conversion[] =
    "UPDATE dvr_conversions SET status = 'failed',"
    " error = 'the recording was deleted', updated_at = CURRENT_TIMESTAMP"
    " WHERE recording_id = $1 AND status IN ('pending', 'running')"
    " RETURNING video_id";

static const char  ngx_livestream_api_sql_fail_video[] =
    "UPDATE videos SET status = 'failed'"
    " WHERE id = $1 AND status = 'processing'";


static const ngx_livestream_api_r_field_t  ngx_livestream_api_r_fields[] = {
    { "id", NGX_LIVESTREAM_API_R_TEXT },
    { "live_stream_id", NGX_LIVESTREAM_API_R_TEXT },
    { "video_id", NGX_LIVESTREAM_API_R_TEXT },
    { "start_time", NGX_LIVESTREAM_API_R_TEXT },
    { "end_time", NGX_LIVESTREAM_API_R_TEXT },
    { "duration", NGX_LIVESTREAM_API_R_NUMBER },
    { "size", NGX_LIVESTREAM_API_R_INTEGER },
    { "status", NGX_LIVESTREAM_API_R_TEXT },
    { "recording_url", NGX_LIVESTREAM_API_R_TEXT },
    { "manifest_url", NGX_LIVESTREAM_API_R_TEXT },
    { "thumbnail_url", NGX_LIVESTREAM_API_R_TEXT },
    { "retention_until", NGX_LIVESTREAM_API_R_TEXT },
    { "created_at", NGX_LIVESTREAM_API_R_TEXT },
    { "updated_at", NGX_LIVESTREAM_API_R_TEXT },
    { NULL, NGX_LIVESTREAM_API_R_TEXT }
};


static const ngx_livestream_api_r_field_t  ngx_livestream_api_c_fields[] = {
    { "video_id", NGX_LIVESTREAM_API_R_TEXT },
    { "resolution", NGX_LIVESTREAM_API_R_TEXT },
    { "status", NGX_LIVESTREAM_API_R_TEXT },
    { "progress", NGX_LIVESTREAM_API_R_NUMBER },
    { "error", NGX_LIVESTREAM_API_R_TEXT },
    { "video_url", NGX_LIVESTREAM_API_R_TEXT },
    { NULL, NGX_LIVESTREAM_API_R_TEXT }
};


static const ngx_livestream_api_r_field_t  ngx_livestream_api_s_fields[] = {
    { "pending", NGX_LIVESTREAM_API_R_INTEGER },
    { "error", NGX_LIVESTREAM_API_R_TEXT },
    { NULL, NGX_LIVESTREAM_API_R_TEXT }
};


static const ngx_livestream_api_arg_t  ngx_livestream_api_recording_args[] = {
    { "limit", ngx_livestream_api_arg_limit },
    { "offset", ngx_livestream_api_arg_offset },
    { "status", ngx_livestream_api_arg_recording_status },
    { NULL, NULL }
};


static const char  *ngx_livestream_api_recording_statuses[] = {
    "recording", "processing", "ready", "failed", "deleted", NULL
};


const char  ngx_livestream_api_no_recording[] = "no such recording";


void
ngx_livestream_api_recordings(ngx_livestream_api_call_t *call)
{
    ngx_str_t                   params[4];
    ngx_livestream_api_page_t   page;

    if (ngx_livestream_api_read_page(call, ngx_livestream_api_recording_args,
                                     "may have limit, offset and status",
                                     &page)
        != NGX_OK)
    {
        return;
    }

    params[0] = call->values[0];
    params[1] = call->values[1];
    params[2] = call->id;
    params[3] = page.status;

    if (page.status.data) {
        ngx_livestream_api_query(call,
                                 ngx_livestream_api_sql_recordings_status,
                                 params, 4,
                                 ngx_livestream_api_recordings_listed);
        return;
    }

    ngx_livestream_api_query(call, ngx_livestream_api_sql_recordings, params,
                             3, ngx_livestream_api_recordings_listed);
}


static const char *
ngx_livestream_api_arg_recording_status(ngx_livestream_api_page_t *page,
    ngx_str_t *value)
{
    ngx_uint_t    i;
    const char  **statuses;

    statuses = ngx_livestream_api_recording_statuses;
    page->status = *value;

    for (i = 0; statuses[i]; i++) {
        if (ngx_livestream_api_equal(value, statuses[i])) {
            return NULL;
        }
    }

    return "must be recording, processing, ready, failed or deleted";
}


static void
ngx_livestream_api_recordings_listed(ngx_livestream_api_call_t *call,
    ngx_livestream_store_result_t *result)
{
    json_t      *list;
    ngx_uint_t   i;

    if (result->nrows == 0) {
        ngx_livestream_api_query(call, ngx_livestream_api_sql_stream,
                                 &call->id, 1,
                                 ngx_livestream_api_recordings_none);
        return;
    }

    list = json_array();

    for (i = 0; i < result->nrows; i++) {

        if (json_array_append_new(list,
                      ngx_livestream_api_recording_row(call, result, i))
            != 0)
        {
            json_decref(list);
            list = NULL;
            break;
        }
    }

    ngx_livestream_api_reply_page(call, "recordings", list);
}


static void
ngx_livestream_api_recordings_none(ngx_livestream_api_call_t *call,
    ngx_livestream_store_result_t *result)
{
    if (result->nrows == 0) {
        ngx_livestream_api_problem(call, NGX_HTTP_NOT_FOUND,
                                   ngx_livestream_api_no_stream);
        return;
    }

    ngx_livestream_api_reply_page(call, "recordings", json_array());
}


void
ngx_livestream_api_recording(ngx_livestream_api_call_t *call)
{
    ngx_livestream_api_read_recording(call, ngx_livestream_api_recording_got);
}


void
ngx_livestream_api_read_recording(ngx_livestream_api_call_t *call,
    ngx_livestream_api_result_pt next)
{
    ngx_str_t  params[2];

    params[0] = call->rid;
    params[1] = call->id;

    ngx_livestream_api_query(call, ngx_livestream_api_sql_get_recording,
                             params, 2, next);
}


static void
ngx_livestream_api_recording_got(ngx_livestream_api_call_t *call,
    ngx_livestream_store_result_t *result)
{
    if (result->nrows == 0) {
        ngx_livestream_api_problem(call, NGX_HTTP_NOT_FOUND,
                                   ngx_livestream_api_no_recording);
        return;
    }

    ngx_livestream_api_reply(call, NGX_HTTP_OK,
                         ngx_livestream_api_recording_row(call, result, 0));
}


json_t *
ngx_livestream_api_recording_row(ngx_livestream_api_call_t *call,
    ngx_livestream_store_result_t *result, ngx_uint_t row)
{
    json_t     *object, *value;
    ngx_str_t  *v;

    /* seconds with microseconds, without what a binary fraction adds */
    call->digits = JSON_REAL_PRECISION(15);

    v = ngx_livestream_store_value(result, row, 0);

    object = ngx_livestream_api_recording_object(result, row,
                                                 NGX_LIVESTREAM_API_R_ID,
                                                 ngx_livestream_api_r_fields);

    value = json_null();

    if (v[NGX_LIVESTREAM_API_R_THUMBNAIL_URL].data
        && ngx_livestream_api_equal(&v[NGX_LIVESTREAM_API_R_STATUS], "ready"))
    {
        value = json_sprintf("/streams/%s/recordings/%s/storyboard.vtt",
                             v[NGX_LIVESTREAM_API_R_LIVE_STREAM_ID].data,
                             v[NGX_LIVESTREAM_API_R_ID].data);
    }

    if (json_object_set_new(object, "storyboard_url", value) != 0) {
        goto failed;
    }

    if (v[NGX_LIVESTREAM_API_R_CONVERSION].data
        && json_object_set_new(object, "conversion",
               ngx_livestream_api_recording_object(result, row,
                                              NGX_LIVESTREAM_API_R_CONVERSION,
                                              ngx_livestream_api_c_fields))
           != 0)
    {
        goto failed;
    }

    if (v[NGX_LIVESTREAM_API_R_PENDING].data
        && json_object_set_new(object, "storage",
               ngx_livestream_api_recording_object(result, row,
                                              NGX_LIVESTREAM_API_R_PENDING,
                                              ngx_livestream_api_s_fields))
           != 0)
    {
        goto failed;
    }

    return object;

failed:

    json_decref(object);

    return NULL;
}


/* the columns from that one on; NULL when out of memory */

static json_t *
ngx_livestream_api_recording_object(ngx_livestream_store_result_t *result,
    ngx_uint_t row, ngx_uint_t column, const ngx_livestream_api_r_field_t *f)
{
    json_t     *object, *value;
    ngx_str_t  *text;

    object = json_object();

    for ( /* void */ ; f->name; f++, column++) {

        text = ngx_livestream_store_value(result, row, column);
        value = NULL;

        if (text->data) {
            switch (f->type) {

            case NGX_LIVESTREAM_API_R_TEXT:
                value = json_stringn((char *) text->data, text->len);
                break;

            case NGX_LIVESTREAM_API_R_INTEGER:
                value = json_integer(ngx_atoof(text->data, text->len));
                break;

            case NGX_LIVESTREAM_API_R_NUMBER:
                value = json_real(strtod((char *) text->data, NULL));
                break;
            }
        }

        /* what the store cannot have made is null rather than nothing */

        if (json_object_set_new(object, f->name, value ? value : json_null())
            != 0)
        {
            json_decref(object);
            return NULL;
        }
    }

    return object;
}


void
ngx_livestream_api_patch_recording(ngx_livestream_api_call_t *call)
{
    u_char       buf[sizeof("2026-01-31T12:00:00.000Z")];
    json_t      *value;
    ngx_str_t    params[3];
    ngx_uint_t   i;
    const char  *name;

    params[0] = call->rid;
    params[1] = call->id;

    ngx_str_null(&params[2]);

    json_object_foreach(call->body, name, value) {

        if (ngx_strcmp(name, "retention_until") == 0) {
            params[2].data = buf;
            ngx_livestream_api_read_retention(call, value, &params[2]);
            call->given = 1;
            continue;
        }

        for (i = 0; ngx_livestream_api_r_fields[i].name; i++) {
            if (ngx_strcmp(name, ngx_livestream_api_r_fields[i].name) == 0) {
                break;
            }
        }

        ngx_livestream_api_wrong(call, name,
                                 ngx_livestream_api_r_fields[i].name
                                 ? "is set by the server"
                                 : "is not a field of a recording");
    }

    if (call->errors) {
        ngx_livestream_api_reply_wrong(call);
        return;
    }

    if (!call->given) {
        ngx_livestream_api_recording(call);
        return;
    }

    ngx_livestream_api_query(call, ngx_livestream_api_sql_retention, params, 3,
                             ngx_livestream_api_recording_patched);
}


/* into until's buffer; null, for ever, is NULL in the store */

static void
ngx_livestream_api_read_retention(ngx_livestream_api_call_t *call,
    json_t *value, ngx_str_t *until)
{
    int64_t  us;

    if (json_is_null(value)) {
        until->data = NULL;
        return;
    }

    if (ngx_livestream_api_parse_time(json_string_value(value),
                                      json_string_length(value), &us)
        != NGX_OK)
    {
        ngx_livestream_api_wrong(call, "retention_until",
                                 "must be a time of RFC 3339, such as "
                                 "2026-01-31T12:00:00Z, or null");
        return;
    }

    if (us <= ngx_livestream_now()) {
        ngx_livestream_api_unmet(call, "retention_until",
                                 "must be in the future; to remove a "
                                 "recording now, delete it");
        return;
    }

    until->len = ngx_livestream_rfc3339(until->data, us) - until->data;
}


/* strict: every digit counts, and there is such a day */

static ngx_int_t
ngx_livestream_api_parse_time(const char *text, size_t len, int64_t *us)
{
    u_char       buf[sizeof("2026-01-31T12:00:00.000000000+00:00")];
    u_char       again[sizeof("2026-01-31T12:00:00.000Z")];
    u_char      *p, *last;
    int64_t      unit;
    ngx_int_t    hour, min;
    ngx_str_t    value;

    if (text == NULL || len >= sizeof(buf)
        || len <= sizeof("2026-01-31T12:00:00") - 1)
    {
        return NGX_DECLINED;
    }

    last = ngx_sprintf(buf, "%*s", len, text);

    value.data = buf;
    value.len = len;

    *us = (int64_t) ngx_livestream_parse_rfc3339(&value) * 1000000;

    if (*us <= 0) {
        return NGX_DECLINED;
    }

    (void) ngx_livestream_rfc3339(again, *us);

    p = buf + sizeof("2026-01-31T12:00:00") - 1;

    if (ngx_strncmp(buf, again, p - buf) != 0) {
        return NGX_DECLINED;
    }

    if (*p == '.') {
        p++;

        if (p == last || *p < '0' || *p > '9') {
            return NGX_DECLINED;
        }

        for (unit = 100000; p < last && *p >= '0' && *p <= '9'; p++) {
            *us += (*p - '0') * unit;
            unit /= 10;
        }
    }

    if (last - p == 1 && *p == 'Z') {
        return NGX_OK;
    }

    if (last - p != sizeof("+00:00") - 1 || (*p != '+' && *p != '-')
        || p[3] != ':')
    {
        return NGX_DECLINED;
    }

    hour = ngx_atoi(p + 1, 2);
    min = ngx_atoi(p + 4, 2);

    if (hour == NGX_ERROR || hour > 23 || min == NGX_ERROR || min > 59) {
        return NGX_DECLINED;
    }

    *us -= (*p == '-' ? -1 : 1) * (int64_t) (hour * 60 + min) * 60 * 1000000;

    /* a year of five digits would not be one to compare with */

    return *us / 1000000 < 253402300800 ? NGX_OK : NGX_DECLINED;
}


static void
ngx_livestream_api_recording_patched(ngx_livestream_api_call_t *call,
    ngx_livestream_store_result_t *result)
{
    if (result->changes == 0) {
        ngx_livestream_api_read_recording(call,
                                       ngx_livestream_api_recording_unready);
        return;
    }

    ngx_livestream_keeper_ring();

    ngx_livestream_api_recording(call);
}


/* the keeper says how long it is kept once it is finished */

static void
ngx_livestream_api_recording_unready(ngx_livestream_api_call_t *call,
    ngx_livestream_store_result_t *result)
{
    if (result->nrows == 0) {
        ngx_livestream_api_problem(call, NGX_HTTP_NOT_FOUND,
                                   ngx_livestream_api_no_recording);
        return;
    }

    ngx_livestream_api_problem(call, NGX_HTTP_CONFLICT,
                               "it is not finished yet: wait until its status "
                               "is ready");
}


void
ngx_livestream_api_delete_recording(ngx_livestream_api_call_t *call)
{
    ngx_str_t  params[2];

    params[0] = call->rid;
    params[1] = call->id;

    ngx_livestream_api_query(call, ngx_livestream_api_sql_delete_recording,
                             params, 2, ngx_livestream_api_recording_deleted);
}


static void
ngx_livestream_api_recording_deleted(ngx_livestream_api_call_t *call,
    ngx_livestream_store_result_t *result)
{
    if (result->nrows == 0) {
        ngx_livestream_api_read_recording(call,
                                          ngx_livestream_api_recording_stays);
        return;
    }

    ngx_livestream_keeper_ring();

    ngx_livestream_api_query(call, ngx_livestream_api_sql_fail_conversion,
                             &call->rid, 1,
                             ngx_livestream_api_conversion_failed);
}


static void
ngx_livestream_api_recording_stays(ngx_livestream_api_call_t *call,
    ngx_livestream_store_result_t *result)
{
    if (result->nrows == 0) {
        ngx_livestream_api_problem(call, NGX_HTTP_NOT_FOUND,
                                   ngx_livestream_api_no_recording);
        return;
    }

    ngx_livestream_api_problem(call, NGX_HTTP_CONFLICT,
                               "it is being recorded, stop the stream first");
}


static void
ngx_livestream_api_conversion_failed(ngx_livestream_api_call_t *call,
    ngx_livestream_store_result_t *result)
{
    if (result->nrows == 0) {
        ngx_livestream_api_reply(call, NGX_HTTP_NO_CONTENT, NULL);
        return;
    }

    ngx_livestream_api_query(call, ngx_livestream_api_sql_fail_video,
                             &result->values[0], 1,
                             ngx_livestream_api_video_failed);
}


static void
ngx_livestream_api_video_failed(ngx_livestream_api_call_t *call,
    ngx_livestream_store_result_t *result)
{
    (void) result;

    ngx_livestream_api_reply(call, NGX_HTTP_NO_CONTENT, NULL);
}

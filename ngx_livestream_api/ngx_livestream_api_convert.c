
/*
 * Copyright (C) nginx-livestream contributors
 *
 * The call that has a recording converted.
 *
 *   read     is it ready, and is nobody at it?      404, 409
 *   claim    one statement makes it "pending"; of calls that race one gets
 *            it, and the others read again           409
 *   video    the row that the MP4 will have, "processing"
 *   read     what is answered                        202
 *
 * The claim comes first, so that no video is ever made that nothing will come
 * of.  A crash between the two leaves a conversion without a video: the keeper
 * makes that itself before it begins.
 *
 * Whether there is such a rung only the files know: the job finds out, and its
 * error is shown in the recording.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "ngx_livestream_api.h"


#define NGX_LIVESTREAM_API_CONVERT_TRIES  3


/* in call->values */
enum {
    NGX_LIVESTREAM_API_V_VIDEO_ID = 0,
    NGX_LIVESTREAM_API_V_RESOLUTION,
    NGX_LIVESTREAM_API_V_TITLE,
    NGX_LIVESTREAM_API_V_WHEN
};


static void ngx_livestream_api_read_conversion(
    ngx_livestream_api_call_t *call);
static ngx_uint_t ngx_livestream_api_is_rung(json_t *value);
static void ngx_livestream_api_convert_read(ngx_livestream_api_call_t *call,
    ngx_livestream_store_result_t *result);
static const char *ngx_livestream_api_not_convertible(
    ngx_livestream_store_result_t *result);
static ngx_int_t ngx_livestream_api_convert_when(
    ngx_livestream_api_call_t *call, ngx_str_t *start_time);
static void ngx_livestream_api_convert_claimed(ngx_livestream_api_call_t *call,
    ngx_livestream_store_result_t *result);
static void ngx_livestream_api_convert_begun(ngx_livestream_api_call_t *call,
    ngx_livestream_store_result_t *result);
static void ngx_livestream_api_converting(ngx_livestream_api_call_t *call,
    ngx_livestream_store_result_t *result);


static const char  ngx_livestream_api_sql_claim[] =
    "INSERT INTO dvr_conversions (recording_id, live_stream_id, video_id,"
    " resolution, status, progress, error, created_at, updated_at)"
    " SELECT id, live_stream_id, $3, $4, 'pending', 0, NULL,"
    " CURRENT_TIMESTAMP, CURRENT_TIMESTAMP FROM dvr_recordings"
    " WHERE id = $1 AND live_stream_id = $2 AND status = 'ready'"
    " ON CONFLICT (recording_id) DO UPDATE SET video_id = excluded.video_id,"
    " resolution = excluded.resolution, status = excluded.status,"
    " progress = excluded.progress, error = excluded.error,"
    " created_at = excluded.created_at, updated_at = excluded.updated_at"
    " WHERE dvr_conversions.status NOT IN ('pending', 'running')"
    " RETURNING video_id";

/* Unless the recording was deleted meanwhile.  The default title is cut to
 * what fits with the time behind it. */

static const char  ngx_livestream_api_sql_video[] =
    "INSERT INTO videos (id, title, user_id, status)"
    " SELECT c.video_id, COALESCE($3, substr(s.title, 1, 230) || $4),"
    " s.user_id, 'processing' FROM dvr_conversions c"
    " JOIN live_streams s ON s.id = c.live_stream_id"
    " WHERE c.recording_id = $1 AND c.video_id = $2 AND c.status <> 'failed'"
    " ON CONFLICT (id) DO NOTHING";


static const struct {
    const char                      *status;
    const char                      *why;
} ngx_livestream_api_unready[] = {
    { "recording", "it is being recorded: stop the stream, then wait until "
                   "its status is ready" },
    { "processing", "it is being finished: wait until its status is ready" },
    { "failed", "there is nothing to convert, the recording failed" },
    { NULL, "its status is not ready" }
};


void
ngx_livestream_api_convert(ngx_livestream_api_call_t *call)
{
    ngx_str_t  *id;

    ngx_livestream_api_read_conversion(call);

    if (call->errors) {
        ngx_livestream_api_reply_wrong(call);
        return;
    }

    id = &call->values[NGX_LIVESTREAM_API_V_VIDEO_ID];

    id->len = NGX_LIVESTREAM_ID_LEN;
    id->data = ngx_pnalloc(call->pool, NGX_LIVESTREAM_ID_LEN);

    if (id->data == NULL || ngx_livestream_uuid(id->data) != NGX_OK) {
        ngx_livestream_api_problem(call, NGX_HTTP_INTERNAL_SERVER_ERROR,
                                   ngx_livestream_api_no_memory);
        return;
    }

    ngx_livestream_api_read_recording(call, ngx_livestream_api_convert_read);
}


static void
ngx_livestream_api_read_conversion(ngx_livestream_api_call_t *call)
{
    json_t      *value;
    ngx_str_t   *text;
    const char  *name;

    json_object_foreach(call->body, name, value) {

        if (ngx_strcmp(name, "resolution") == 0) {
            text = &call->values[NGX_LIVESTREAM_API_V_RESOLUTION];

            if (!ngx_livestream_api_is_rung(value)) {
                ngx_livestream_api_wrong(call, name,
                                  "must be the name of a rung: 1 to 15 of the "
                                  "characters 0-9a-z");
            }

        } else if (ngx_strcmp(name, "title") == 0) {
            text = &call->values[NGX_LIVESTREAM_API_V_TITLE];

            if (!ngx_livestream_api_is_line(json_string_value(value),
                                            json_string_length(value), 255))
            {
                ngx_livestream_api_wrong(call, name,
                          "must be a text of 1 to 255 characters in one line");
            }

        } else {
            ngx_livestream_api_wrong(call, name,
                                     "is not a field of a conversion");
            continue;
        }

        /* the body lives as long as the call */

        text->data = (u_char *) json_string_value(value);
        text->len = json_string_length(value);
    }
}


static ngx_uint_t
ngx_livestream_api_is_rung(json_t *value)
{
    size_t       i, len;
    const char  *text;

    text = json_string_value(value);
    len = json_string_length(value);

    if (len == 0 || len > NGX_LIVESTREAM_TRACK_LEN) {
        return 0;
    }

    for (i = 0; i < len; i++) {
        if (!((text[i] >= '0' && text[i] <= '9')
              || (text[i] >= 'a' && text[i] <= 'z')))
        {
            return 0;
        }
    }

    return 1;
}


static void
ngx_livestream_api_convert_read(ngx_livestream_api_call_t *call,
    ngx_livestream_store_result_t *result)
{
    ngx_str_t    params[4];
    const char  *why;

    if (result->nrows == 0) {
        ngx_livestream_api_problem(call, NGX_HTTP_NOT_FOUND,
                                   ngx_livestream_api_no_recording);
        return;
    }

    why = ngx_livestream_api_not_convertible(result);

    if (why == NULL && ++call->tries > NGX_LIVESTREAM_API_CONVERT_TRIES) {
        why = "the recording is being changed, try again";
    }

    if (why) {
        ngx_livestream_api_problem(call, NGX_HTTP_CONFLICT, why);
        return;
    }

    if (ngx_livestream_api_convert_when(call,
                     &result->values[NGX_LIVESTREAM_API_R_START_TIME])
        != NGX_OK)
    {
        ngx_livestream_api_problem(call, NGX_HTTP_INTERNAL_SERVER_ERROR,
                                   ngx_livestream_api_no_memory);
        return;
    }

    params[0] = call->rid;
    params[1] = call->id;
    params[2] = call->values[NGX_LIVESTREAM_API_V_VIDEO_ID];
    params[3] = call->values[NGX_LIVESTREAM_API_V_RESOLUTION];

    ngx_livestream_api_query(call, ngx_livestream_api_sql_claim, params, 4,
                             ngx_livestream_api_convert_claimed);
}


/* NULL, or why it is a conflict */

static const char *
ngx_livestream_api_not_convertible(ngx_livestream_store_result_t *result)
{
    ngx_str_t   *status;
    ngx_uint_t   i;

    status = &result->values[NGX_LIVESTREAM_API_R_STATUS];

    if (!ngx_livestream_api_equal(status, "ready")) {

        for (i = 0; ngx_livestream_api_unready[i].status; i++) {
            if (ngx_livestream_api_equal(status,
                                         ngx_livestream_api_unready[i].status))
            {
                break;
            }
        }

        return ngx_livestream_api_unready[i].why;
    }

    status = &result->values[NGX_LIVESTREAM_API_R_CONVERSION_STATUS];

    if (status->data
        && (ngx_livestream_api_equal(status, "pending")
            || ngx_livestream_api_equal(status, "running")))
    {
        return "it is being converted already: wait until that is ready";
    }

    return NULL;
}


/* "2026-01-31T12:00:00.000Z" --> ", 2026-01-31 12:00 UTC" */

static ngx_int_t
ngx_livestream_api_convert_when(ngx_livestream_api_call_t *call,
    ngx_str_t *start_time)
{
    ngx_str_t  *when;

    when = &call->values[NGX_LIVESTREAM_API_V_WHEN];

    when->data = ngx_pnalloc(call->pool, sizeof(", 2026-01-31 12:00 UTC"));

    if (when->data == NULL) {
        return NGX_ERROR;
    }

    when->len = 0;

    if (start_time->len >= sizeof("2026-01-31T12:00") - 1) {
        when->len = ngx_sprintf(when->data, ", %*s %*s UTC",
                                (size_t) 10, start_time->data,
                                (size_t) 5, start_time->data + 11)
                    - when->data;
    }

    return NGX_OK;
}


static void
ngx_livestream_api_convert_claimed(ngx_livestream_api_call_t *call,
    ngx_livestream_store_result_t *result)
{
    ngx_str_t  params[4];

    /* another call was first, or it has been deleted: look again */

    if (result->nrows == 0) {
        ngx_livestream_api_read_recording(call,
                                          ngx_livestream_api_convert_read);
        return;
    }

    params[0] = call->rid;
    params[1] = call->values[NGX_LIVESTREAM_API_V_VIDEO_ID];
    params[2] = call->values[NGX_LIVESTREAM_API_V_TITLE];
    params[3] = call->values[NGX_LIVESTREAM_API_V_WHEN];

    ngx_livestream_api_query(call, ngx_livestream_api_sql_video, params, 4,
                             ngx_livestream_api_convert_begun);
}


static void
ngx_livestream_api_convert_begun(ngx_livestream_api_call_t *call,
    ngx_livestream_store_result_t *result)
{
    (void) result;

    ngx_livestream_keeper_ring();

    ngx_livestream_api_read_recording(call, ngx_livestream_api_converting);
}


static void
ngx_livestream_api_converting(ngx_livestream_api_call_t *call,
    ngx_livestream_store_result_t *result)
{
    ngx_str_t  location;

    if (result->nrows == 0) {
        ngx_livestream_api_problem(call, NGX_HTTP_NOT_FOUND,
                                   ngx_livestream_api_no_recording);
        return;
    }

    ngx_str_null(&location);

    if (call->request) {
        location = ngx_livestream_api_location(call->request, &call->id,
                                               &call->rid);
    }

    ngx_livestream_api_reply_location(call, NGX_HTTP_ACCEPTED, &location,
                         ngx_livestream_api_recording_row(call, result, 0));
}


/*
 * Copyright (C) nginx-livestream contributors
 *
 * The calls on one livestream.
 *
 * The store has the last word on what a stream is; the worker that owns a live
 * stream is asked through the registry.  The order of the two matters where
 * they race:
 *
 *   stop     "stopping" is stored first, which refuses publishers, then the
 *            owner is asked; it stores "stopped" when it is done.  Where there
 *            is no owner, "stopped" is stored here, and it is asked once more:
 *            a publisher whose key was looked up before may own it by now.
 *   key      the new key is stored first, then a publisher is asked to yield:
 *            it cannot come back with the old one.
 *   delete   the row is deleted first, for the same reason; before that only
 *            videos that are being made are given up, which nobody finds once
 *            their recordings have gone with the row.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>
#include <sys/random.h>

#include "ngx_livestream_api.h"


#define NGX_LIVESTREAM_API_KEY_BYTES  20
#define NGX_LIVESTREAM_API_KEY_LEN                                           \
    (sizeof("sk_") - 1 + 2 * NGX_LIVESTREAM_API_KEY_BYTES)

#define NGX_LIVESTREAM_API_TRIES      3


static ngx_int_t ngx_livestream_api_new_key(ngx_livestream_api_call_t *call);
static void ngx_livestream_api_created(ngx_livestream_api_call_t *call,
    ngx_livestream_store_result_t *result);
static void ngx_livestream_api_got(ngx_livestream_api_call_t *call,
    ngx_livestream_store_result_t *result);
static void ngx_livestream_api_patch_read(ngx_livestream_api_call_t *call,
    ngx_livestream_store_result_t *result);
static void ngx_livestream_api_patched(ngx_livestream_api_call_t *call,
    ngx_livestream_store_result_t *result);
static void ngx_livestream_api_videos_failed(ngx_livestream_api_call_t *call,
    ngx_livestream_store_result_t *result);
static void ngx_livestream_api_deleted(ngx_livestream_api_call_t *call,
    ngx_livestream_store_result_t *result);
static void ngx_livestream_api_started(ngx_livestream_api_call_t *call,
    ngx_livestream_store_result_t *result);
static void ngx_livestream_api_not_started(ngx_livestream_api_call_t *call,
    ngx_livestream_store_result_t *result);
static void ngx_livestream_api_stopping(ngx_livestream_api_call_t *call,
    ngx_livestream_store_result_t *result);
static void ngx_livestream_api_stopped(ngx_livestream_api_call_t *call,
    ngx_livestream_store_result_t *result);
static void ngx_livestream_api_new_key_set(ngx_livestream_api_call_t *call,
    ngx_livestream_store_result_t *result);


static const char  ngx_livestream_api_sql_create[] =
    "INSERT INTO live_streams (id, title, description, user_id, stream_key,"
    " rtmp_ingest_url, master_playlist, dvr_enabled, dvr_window, low_latency,"
    " settings, metadata)"
    " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)"
    " RETURNING " ngx_livestream_api_columns;

static const char  ngx_livestream_api_sql_get[] =
    "SELECT " ngx_livestream_api_columns " FROM live_streams WHERE id = $1";

/* unless settings or metadata have changed since they were read */

static const char  ngx_livestream_api_sql_patch[] =
    "UPDATE live_streams SET title = COALESCE($2, title),"
    " description = CASE WHEN $3 = '1' THEN $4 ELSE description END,"
    " dvr_enabled = COALESCE($5, dvr_enabled),"
    " dvr_window = COALESCE($6, dvr_window),"
    " low_latency = COALESCE($7, low_latency),"
    " settings = COALESCE($8, settings),"
    " metadata = COALESCE($9, metadata),"
    " updated_at = CURRENT_TIMESTAMP"
    " WHERE id = $1 AND settings = $10 AND metadata IS NOT DISTINCT FROM $11"
    " RETURNING " ngx_livestream_api_columns;

static const char  ngx_livestream_api_sql_fail_videos[] =
    "UPDATE videos SET status = 'failed' WHERE status = 'processing'"
    " AND id IN (SELECT video_id FROM dvr_conversions"
    " WHERE live_stream_id = $1 AND status IN ('pending', 'running'))";

static const char  ngx_livestream_api_sql_delete[] =
    "DELETE FROM live_streams WHERE id = $1 RETURNING id";

static const char  ngx_livestream_api_sql_start[] =
    "UPDATE live_streams SET status = 'starting',"
    " updated_at = CURRENT_TIMESTAMP"
    " WHERE id = $1 AND status NOT IN ('live', 'interrupted', 'stopping')"
    " RETURNING stream_key";

static const char  ngx_livestream_api_sql_status[] =
    "SELECT status FROM live_streams WHERE id = $1";

/* "stopped" stays what it is */

static const char  ngx_livestream_api_sql_stopping[] =
    "UPDATE live_streams SET"
    " status = CASE status WHEN 'stopped' THEN 'stopped' ELSE 'stopping' END,"
    " updated_at = CURRENT_TIMESTAMP"
    " WHERE id = $1 RETURNING status";

static const char  ngx_livestream_api_sql_stopped[] =
    "UPDATE live_streams SET status = 'stopped',"
    " updated_at = CURRENT_TIMESTAMP"
    " WHERE id = $1 AND status = 'stopping'";

static const char  ngx_livestream_api_sql_key[] =
    "UPDATE live_streams SET stream_key = $2, rtmp_ingest_url = $3,"
    " updated_at = CURRENT_TIMESTAMP"
    " WHERE id = $1 RETURNING " ngx_livestream_api_columns;


const char  ngx_livestream_api_no_stream[] = "no such livestream";
const char  ngx_livestream_api_no_memory[] = "out of memory";


void
ngx_livestream_api_create(ngx_livestream_api_call_t *call)
{
    u_char                       id[NGX_LIVESTREAM_ID_LEN];
    u_char                       window[NGX_TIME_T_LEN];
    u_char                       playlist[sizeof("/streams//master.m3u8")
                                          + NGX_LIVESTREAM_ID_LEN];
    ngx_int_t                    rc;
    ngx_str_t                   *v, params[12];
    ngx_livestream_core_conf_t  *lcf;

    lcf = ngx_livestream_core_conf((ngx_cycle_t *) ngx_cycle);

    rc = ngx_livestream_api_read_fields(call, NGX_LIVESTREAM_API_CREATE);

    if (rc == NGX_DECLINED) {
        ngx_livestream_api_reply_wrong(call);
        return;
    }

    if (rc != NGX_OK
        || ngx_livestream_uuid(id) != NGX_OK
        || ngx_livestream_api_new_key(call) != NGX_OK)
    {
        ngx_livestream_api_problem(call, NGX_HTTP_INTERNAL_SERVER_ERROR,
                                   ngx_livestream_api_no_memory);
        return;
    }

    v = call->values;

    v[NGX_LIVESTREAM_API_ID].data = id;
    v[NGX_LIVESTREAM_API_ID].len = NGX_LIVESTREAM_ID_LEN;

    v[NGX_LIVESTREAM_API_MASTER_PLAYLIST].data = playlist;
    v[NGX_LIVESTREAM_API_MASTER_PLAYLIST].len =
        ngx_sprintf(playlist, "/streams/%V/master.m3u8",
                    &v[NGX_LIVESTREAM_API_ID])
        - playlist;

    if (!(call->given & (1 << NGX_LIVESTREAM_API_DVR_WINDOW))) {
        v[NGX_LIVESTREAM_API_DVR_WINDOW].data = window;
        v[NGX_LIVESTREAM_API_DVR_WINDOW].len =
            ngx_sprintf(window, "%T", lcf->default_dvr_window) - window;
    }

    params[0] = v[NGX_LIVESTREAM_API_ID];
    params[1] = v[NGX_LIVESTREAM_API_TITLE];
    params[2] = v[NGX_LIVESTREAM_API_DESCRIPTION];
    params[3] = v[NGX_LIVESTREAM_API_USER_ID];
    params[4] = v[NGX_LIVESTREAM_API_STREAM_KEY];
    params[5] = v[NGX_LIVESTREAM_API_RTMP_INGEST_URL];
    params[6] = v[NGX_LIVESTREAM_API_MASTER_PLAYLIST];
    params[7] = v[NGX_LIVESTREAM_API_DVR_ENABLED];
    params[8] = v[NGX_LIVESTREAM_API_DVR_WINDOW];
    params[9] = v[NGX_LIVESTREAM_API_LOW_LATENCY];
    params[10] = v[NGX_LIVESTREAM_API_SETTINGS];
    params[11] = v[NGX_LIVESTREAM_API_METADATA];

    ngx_livestream_api_query(call, ngx_livestream_api_sql_create, params, 12,
                             ngx_livestream_api_created);
}


/* the key and the URL that holds it, into call->values */

static ngx_int_t
ngx_livestream_api_new_key(ngx_livestream_api_call_t *call)
{
    u_char                       bytes[NGX_LIVESTREAM_API_KEY_BYTES], *p;
    ngx_str_t                   *key, *url;
    ngx_livestream_core_conf_t  *lcf;

    key = &call->values[NGX_LIVESTREAM_API_STREAM_KEY];
    url = &call->values[NGX_LIVESTREAM_API_RTMP_INGEST_URL];

    lcf = ngx_livestream_core_conf((ngx_cycle_t *) ngx_cycle);

    if (lcf == NULL
        || getrandom(bytes, sizeof(bytes), 0) != (ssize_t) sizeof(bytes))
    {
        return NGX_ERROR;
    }

    url->len = lcf->publish_url.len + 1 + NGX_LIVESTREAM_API_KEY_LEN;
    url->data = ngx_pnalloc(call->pool, url->len);
    if (url->data == NULL) {
        return NGX_ERROR;
    }

    p = ngx_sprintf(url->data, "%V/sk_", &lcf->publish_url);

    (void) ngx_hex_dump(p, bytes, sizeof(bytes));

    key->len = NGX_LIVESTREAM_API_KEY_LEN;
    key->data = url->data + url->len - key->len;

    return NGX_OK;
}


static void
ngx_livestream_api_created(ngx_livestream_api_call_t *call,
    ngx_livestream_store_result_t *result)
{
    ngx_str_t  location;

    ngx_str_null(&location);

    if (call->request) {
        location = ngx_livestream_api_location(call->request,
                          ngx_livestream_store_value(result, 0,
                                                     NGX_LIVESTREAM_API_ID),
                          NULL);
    }

    ngx_livestream_api_reply_location(call, NGX_HTTP_CREATED, &location,
                                      ngx_livestream_api_row(result, 0, 1));
}


void
ngx_livestream_api_get(ngx_livestream_api_call_t *call)
{
    ngx_livestream_api_query(call, ngx_livestream_api_sql_get, &call->id, 1,
                             ngx_livestream_api_got);
}


static void
ngx_livestream_api_got(ngx_livestream_api_call_t *call,
    ngx_livestream_store_result_t *result)
{
    if (result->nrows == 0) {
        ngx_livestream_api_problem(call, NGX_HTTP_NOT_FOUND,
                                   ngx_livestream_api_no_stream);
        return;
    }

    ngx_livestream_api_reply(call, NGX_HTTP_OK,
                             ngx_livestream_api_row(result, 0, 0));
}


void
ngx_livestream_api_patch(ngx_livestream_api_call_t *call)
{
    ngx_int_t  rc;

    rc = ngx_livestream_api_read_fields(call, NGX_LIVESTREAM_API_PATCH);

    if (rc == NGX_DECLINED) {
        ngx_livestream_api_reply_wrong(call);
        return;
    }

    if (rc != NGX_OK) {
        ngx_livestream_api_problem(call, NGX_HTTP_INTERNAL_SERVER_ERROR,
                                   ngx_livestream_api_no_memory);
        return;
    }

    ngx_livestream_api_query(call, ngx_livestream_api_sql_get, &call->id, 1,
                             call->given ? ngx_livestream_api_patch_read
                                         : ngx_livestream_api_got);
}


static void
ngx_livestream_api_patch_read(ngx_livestream_api_call_t *call,
    ngx_livestream_store_result_t *result)
{
    ngx_int_t            rc;
    ngx_str_t           *v, *stored, params[11];
    ngx_uint_t           i;
    static ngx_uint_t    objects[] = {
        NGX_LIVESTREAM_API_SETTINGS, NGX_LIVESTREAM_API_METADATA
    };

    if (result->nrows == 0) {
        ngx_livestream_api_problem(call, NGX_HTTP_NOT_FOUND,
                                   ngx_livestream_api_no_stream);
        return;
    }

    for (i = 0; i < 2; i++) {

        if (!(call->given & (1 << objects[i]))) {
            continue;
        }

        rc = ngx_livestream_api_merge(call, objects[i],
                      ngx_livestream_store_value(result, 0, objects[i]));

        if (rc == NGX_ERROR) {
            ngx_livestream_api_problem(call, NGX_HTTP_INTERNAL_SERVER_ERROR,
                                       ngx_livestream_api_no_memory);
            return;
        }
    }

    if (call->errors) {
        ngx_livestream_api_reply_wrong(call);
        return;
    }

    v = call->values;
    stored = result->values;

    params[0] = call->id;
    params[1] = v[NGX_LIVESTREAM_API_TITLE];
    ngx_str_set(&params[2], "0");
    params[3] = v[NGX_LIVESTREAM_API_DESCRIPTION];
    params[4] = v[NGX_LIVESTREAM_API_DVR_ENABLED];
    params[5] = v[NGX_LIVESTREAM_API_DVR_WINDOW];
    params[6] = v[NGX_LIVESTREAM_API_LOW_LATENCY];
    params[7] = v[NGX_LIVESTREAM_API_SETTINGS];
    params[8] = v[NGX_LIVESTREAM_API_METADATA];
    params[9] = stored[NGX_LIVESTREAM_API_SETTINGS];
    params[10] = stored[NGX_LIVESTREAM_API_METADATA];

    if (call->given & (1 << NGX_LIVESTREAM_API_DESCRIPTION)) {
        ngx_str_set(&params[2], "1");
    }

    ngx_livestream_api_query(call, ngx_livestream_api_sql_patch, params, 11,
                             ngx_livestream_api_patched);
}


static void
ngx_livestream_api_patched(ngx_livestream_api_call_t *call,
    ngx_livestream_store_result_t *result)
{
    if (result->nrows) {
        ngx_livestream_api_reply(call, NGX_HTTP_OK,
                                 ngx_livestream_api_row(result, 0, 0));
        return;
    }

    /* deleted, or changed by another call: look again */

    if (++call->tries == NGX_LIVESTREAM_API_TRIES) {
        ngx_livestream_api_problem(call, NGX_HTTP_CONFLICT,
                            "the livestream is being changed, try again");
        return;
    }

    ngx_livestream_api_query(call, ngx_livestream_api_sql_get, &call->id, 1,
                             ngx_livestream_api_patch_read);
}


void
ngx_livestream_api_delete(ngx_livestream_api_call_t *call)
{
    ngx_livestream_api_query(call, ngx_livestream_api_sql_fail_videos,
                             &call->id, 1, ngx_livestream_api_videos_failed);
}


static void
ngx_livestream_api_videos_failed(ngx_livestream_api_call_t *call,
    ngx_livestream_store_result_t *result)
{
    (void) result;

    ngx_livestream_api_query(call, ngx_livestream_api_sql_delete, &call->id, 1,
                             ngx_livestream_api_deleted);
}


static void
ngx_livestream_api_deleted(ngx_livestream_api_call_t *call,
    ngx_livestream_store_result_t *result)
{
    if (result->nrows == 0) {
        ngx_livestream_api_problem(call, NGX_HTTP_NOT_FOUND,
                                   ngx_livestream_api_no_stream);
        return;
    }

    (void) ngx_livestream_ask(&call->id, NGX_LIVESTREAM_ASK_DELETE);

    ngx_livestream_keeper_orphans();

    ngx_livestream_api_reply(call, NGX_HTTP_NO_CONTENT, NULL);
}


void
ngx_livestream_api_start(ngx_livestream_api_call_t *call)
{
    ngx_livestream_api_query(call, ngx_livestream_api_sql_start, &call->id, 1,
                             ngx_livestream_api_started);
}


static void
ngx_livestream_api_started(ngx_livestream_api_call_t *call,
    ngx_livestream_store_result_t *result)
{
    ngx_str_t  *key;

    if (result->nrows == 0) {
        ngx_livestream_api_query(call, ngx_livestream_api_sql_status,
                                 &call->id, 1,
                                 ngx_livestream_api_not_started);
        return;
    }

    key = ngx_livestream_store_value(result, 0, 0);

    ngx_livestream_api_reply(call, NGX_HTTP_OK,
                 json_pack("{s:s, s:s%, s:o}",
                           "message", "Stream is starting",
                           "stream_id", call->id.data, call->id.len,
                           "rtmp_ingest_url",
                           ngx_livestream_api_publish_url(key)));
}


static void
ngx_livestream_api_not_started(ngx_livestream_api_call_t *call,
    ngx_livestream_store_result_t *result)
{
    u_char  detail[128];

    if (result->nrows == 0) {
        ngx_livestream_api_problem(call, NGX_HTTP_NOT_FOUND,
                                   ngx_livestream_api_no_stream);
        return;
    }

    (void) ngx_snprintf(detail, sizeof(detail),
                        "the livestream cannot be started, it is %V%Z",
                        &result->values[0]);

    ngx_livestream_api_problem(call, NGX_HTTP_CONFLICT, (char *) detail);
}


void
ngx_livestream_api_stop(ngx_livestream_api_call_t *call)
{
    ngx_livestream_api_query(call, ngx_livestream_api_sql_stopping, &call->id,
                             1, ngx_livestream_api_stopping);
}


static void
ngx_livestream_api_stopping(ngx_livestream_api_call_t *call,
    ngx_livestream_store_result_t *result)
{
    if (result->nrows == 0) {
        ngx_livestream_api_problem(call, NGX_HTTP_NOT_FOUND,
                                   ngx_livestream_api_no_stream);
        return;
    }

    if (ngx_livestream_ask(&call->id, NGX_LIVESTREAM_ASK_STOP) == NGX_OK
        || ngx_livestream_api_equal(&result->values[0], "stopped"))
    {
        ngx_livestream_api_reply(call, NGX_HTTP_OK,
                        json_pack("{s:s}", "message", "Stream is stopping"));
        return;
    }

    ngx_livestream_api_query(call, ngx_livestream_api_sql_stopped, &call->id,
                             1, ngx_livestream_api_stopped);
}


static void
ngx_livestream_api_stopped(ngx_livestream_api_call_t *call,
    ngx_livestream_store_result_t *result)
{
    (void) result;

    (void) ngx_livestream_ask(&call->id, NGX_LIVESTREAM_ASK_STOP);

    ngx_livestream_api_reply(call, NGX_HTTP_OK,
                        json_pack("{s:s}", "message", "Stream is stopping"));
}


void
ngx_livestream_api_key(ngx_livestream_api_call_t *call)
{
    ngx_str_t  params[3];

    if (ngx_livestream_api_new_key(call) != NGX_OK) {
        ngx_livestream_api_problem(call, NGX_HTTP_INTERNAL_SERVER_ERROR,
                                   ngx_livestream_api_no_memory);
        return;
    }

    params[0] = call->id;
    params[1] = call->values[NGX_LIVESTREAM_API_STREAM_KEY];
    params[2] = call->values[NGX_LIVESTREAM_API_RTMP_INGEST_URL];

    ngx_livestream_api_query(call, ngx_livestream_api_sql_key, params, 3,
                             ngx_livestream_api_new_key_set);
}


static void
ngx_livestream_api_new_key_set(ngx_livestream_api_call_t *call,
    ngx_livestream_store_result_t *result)
{
    if (result->nrows == 0) {
        ngx_livestream_api_problem(call, NGX_HTTP_NOT_FOUND,
                                   ngx_livestream_api_no_stream);
        return;
    }

    (void) ngx_livestream_ask(&call->id, NGX_LIVESTREAM_ASK_YIELD);

    ngx_livestream_api_reply(call, NGX_HTTP_OK,
                             ngx_livestream_api_row(result, 0, 1));
}

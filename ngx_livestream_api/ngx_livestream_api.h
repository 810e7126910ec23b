
/*
 * Copyright (C) nginx-livestream contributors
 *
 * Inside the REST API: a call, and what its files offer one another.
 *
 *   request --> route --> body --> handler --> statement --> ... --> reply
 *
 * A call lives in a pool of its own, so that what it has begun is carried
 * through when its client goes away: a stream that is half stopped would be
 * worse than an answer that nobody reads.  reply(), problem() and their kin
 * end the call; it must not be used after.
 *
 * Event loop only.
 */


#ifndef _NGX_LIVESTREAM_API_H_INCLUDED_
#define _NGX_LIVESTREAM_API_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>
#include <jansson.h>

#include "ngx_livestream.h"


#define NGX_LIVESTREAM_API_BODY      65536      /* bytes */

#define NGX_LIVESTREAM_API_UNPROCESSABLE  422


/* columns of live_streams, in the order of ngx_livestream_api_columns */
enum {
    NGX_LIVESTREAM_API_ID = 0,
    NGX_LIVESTREAM_API_TITLE,
    NGX_LIVESTREAM_API_DESCRIPTION,
    NGX_LIVESTREAM_API_USER_ID,
    NGX_LIVESTREAM_API_STREAM_KEY,
    NGX_LIVESTREAM_API_RTMP_INGEST_URL,
    NGX_LIVESTREAM_API_STATUS,
    NGX_LIVESTREAM_API_MASTER_PLAYLIST,
    NGX_LIVESTREAM_API_VIEWER_COUNT,
    NGX_LIVESTREAM_API_PEAK_VIEWER_COUNT,
    NGX_LIVESTREAM_API_DVR_ENABLED,
    NGX_LIVESTREAM_API_DVR_WINDOW,
    NGX_LIVESTREAM_API_LOW_LATENCY,
    NGX_LIVESTREAM_API_SETTINGS,
    NGX_LIVESTREAM_API_METADATA,
    NGX_LIVESTREAM_API_STARTED_AT,
    NGX_LIVESTREAM_API_ENDED_AT,
    NGX_LIVESTREAM_API_CREATED_AT,
    NGX_LIVESTREAM_API_UPDATED_AT,
    NGX_LIVESTREAM_API_NFIELDS
};

#define ngx_livestream_api_columns                                           \
    "id, title, description, user_id, stream_key, rtmp_ingest_url, status,"  \
    " master_playlist, viewer_count, peak_viewer_count, dvr_enabled,"        \
    " dvr_window, low_latency, settings, metadata, started_at, ended_at,"    \
    " created_at, updated_at"


/* of a recording's row, as ngx_livestream_api_read_recording() has it */
enum {
    NGX_LIVESTREAM_API_R_ID = 0,
    NGX_LIVESTREAM_API_R_LIVE_STREAM_ID,
    NGX_LIVESTREAM_API_R_VIDEO_ID,
    NGX_LIVESTREAM_API_R_START_TIME,
    NGX_LIVESTREAM_API_R_END_TIME,
    NGX_LIVESTREAM_API_R_DURATION,
    NGX_LIVESTREAM_API_R_SIZE,
    NGX_LIVESTREAM_API_R_STATUS,
    NGX_LIVESTREAM_API_R_RECORDING_URL,
    NGX_LIVESTREAM_API_R_MANIFEST_URL,
    NGX_LIVESTREAM_API_R_THUMBNAIL_URL,
    NGX_LIVESTREAM_API_R_RETENTION_UNTIL,
    NGX_LIVESTREAM_API_R_CREATED_AT,
    NGX_LIVESTREAM_API_R_UPDATED_AT,

    NGX_LIVESTREAM_API_R_CONVERSION,            /* its video_id; NULL: none */
    NGX_LIVESTREAM_API_R_RESOLUTION,
    NGX_LIVESTREAM_API_R_CONVERSION_STATUS,
    NGX_LIVESTREAM_API_R_PROGRESS,
    NGX_LIVESTREAM_API_R_CONVERSION_ERROR,
    NGX_LIVESTREAM_API_R_VIDEO_URL,

    NGX_LIVESTREAM_API_R_PENDING,               /* uploads; NULL: none ever */
    NGX_LIVESTREAM_API_R_STORAGE_ERROR
};


typedef struct ngx_livestream_api_call_s  ngx_livestream_api_call_t;

typedef void (*ngx_livestream_api_handler_pt)(
    ngx_livestream_api_call_t *call);
typedef void (*ngx_livestream_api_result_pt)(ngx_livestream_api_call_t *call,
    ngx_livestream_store_result_t *result);


typedef struct {
    ngx_uint_t                       method;
    const char                      *path;      /* "{id}" is a stream's id,
                                                   "{rid}" a recording's */
    ngx_uint_t                       body;      /* a JSON object: 1 is wanted,
                                                   2 may be given */
    ngx_livestream_api_handler_pt    handler;
} ngx_livestream_api_route_t;


struct ngx_livestream_api_call_s {
    ngx_http_request_t              *request;   /* NULL: client gone */
    ngx_http_cleanup_t              *cleanup;   /* of the request */
    ngx_pool_t                      *pool;
    ngx_event_t                      timer;
    const ngx_livestream_api_route_t *route;
    ngx_str_t                        id;        /* of the path */
    ngx_str_t                        rid;

    ngx_livestream_api_handler_pt    done;      /* gets the body */
    u_char                          *text;      /* the body so far */
    size_t                           size;
    size_t                           allocated;
    json_t                          *body;

    size_t                           digits;    /* flag of json_dumpb() */

    json_t                          *errors;    /* what is wrong with it */
    ngx_uint_t                       wrong;     /* status of that */
    ngx_uint_t                       given;     /* fields, 1 << index */
    ngx_str_t                        values[NGX_LIVESTREAM_API_NFIELDS];

    ngx_livestream_store_query_t    *query;     /* in flight */
    ngx_livestream_api_result_pt     next;      /* gets its result */
    ngx_uint_t                       tries;
};


/*
 * ngx_livestream_api_module.c
 */

/* runs a statement, then next(); a failure ends the call with its problem */
void ngx_livestream_api_query(ngx_livestream_api_call_t *call,
    const char *sql, ngx_str_t *params, ngx_uint_t nparams,
    ngx_livestream_api_result_pt next);

/* the path of a stream, or where rid is not NULL of its recording, of this
 * API's prefix; NULL data: out of memory */
ngx_str_t ngx_livestream_api_location(ngx_http_request_t *r, ngx_str_t *id,
    ngx_str_t *rid);

/* parts the call from its request and returns that, or NULL */
ngx_http_request_t *ngx_livestream_api_detach(
    ngx_livestream_api_call_t *call);

/* frees a call that is detached */
void ngx_livestream_api_close(ngx_livestream_api_call_t *call);

extern ngx_module_t  ngx_livestream_api_module;


/*
 * ngx_livestream_api_body.c
 */

/* by the headers: NGX_OK, or a status with *why */
ngx_int_t ngx_livestream_api_check_body(ngx_http_request_t *r,
    const char **why);

/* Reads the body into call->body, then done(call).  The result is that of a
 * content handler. */
ngx_int_t ngx_livestream_api_read_body(ngx_livestream_api_call_t *call,
    ngx_livestream_api_handler_pt done);


/*
 * ngx_livestream_api_reply.c
 */

/* take the reference of json; NULL: out of memory, an error 500 */
void ngx_livestream_api_reply(ngx_livestream_api_call_t *call,
    ngx_uint_t status, json_t *json);
void ngx_livestream_api_reply_location(ngx_livestream_api_call_t *call,
    ngx_uint_t status, ngx_str_t *location, json_t *json);

void ngx_livestream_api_problem(ngx_livestream_api_call_t *call,
    ngx_uint_t status, const char *detail);

/* Adds to what is wrong with the request; name is NUL-terminated.  wrong() is
 * for what is malformed, 400; unmet() for what is well formed but cannot be
 * done, 422 if there is nothing else. */
void ngx_livestream_api_wrong(ngx_livestream_api_call_t *call,
    const char *name, const char *why);
void ngx_livestream_api_unmet(ngx_livestream_api_call_t *call,
    const char *name, const char *why);
/* ends the call with all that is wrong */
void ngx_livestream_api_reply_wrong(ngx_livestream_api_call_t *call);

/* without a call: for a content handler's return */
ngx_int_t ngx_livestream_api_send_problem(ngx_http_request_t *r,
    ngx_uint_t status, const char *detail);
ngx_int_t ngx_livestream_api_header(ngx_http_request_t *r, const char *name,
    ngx_str_t *value);


/*
 * ngx_livestream_api_fields.c
 */

#define NGX_LIVESTREAM_API_CREATE    0x01       /* when it may be given */
#define NGX_LIVESTREAM_API_PATCH     0x02

/*
 * Reads call->body into call->values, as the store wants them, and into
 * call->given.  NGX_DECLINED: ngx_livestream_api_wrong() was told what is
 * wrong; NGX_ERROR: out of memory.  Of a patch only the outermost of an object
 * is looked at: merge() sees the whole.
 */
ngx_int_t ngx_livestream_api_read_fields(ngx_livestream_api_call_t *call,
    ngx_uint_t use);

/* Merges the body's object into the stored one (RFC 7396); the result goes
 * to call->values.  NGX_OK; NGX_DECLINED when it is wrong; NGX_ERROR. */
ngx_int_t ngx_livestream_api_merge(ngx_livestream_api_call_t *call,
    ngx_uint_t field, ngx_str_t *stored);

/* a row of ngx_livestream_api_columns; NULL when out of memory */
json_t *ngx_livestream_api_row(ngx_livestream_store_result_t *result,
    ngx_uint_t row, ngx_uint_t with_key);

/* the URL to publish to, that of the configuration in use; key may be NULL */
json_t *ngx_livestream_api_publish_url(ngx_str_t *key);

/* is it a text of 1 to max characters without control characters? */
ngx_uint_t ngx_livestream_api_is_line(const char *text, size_t len,
    ngx_uint_t max);


#define ngx_livestream_api_equal(value, text)                                \
    ((value)->len == ngx_strlen(text)                                        \
     && ngx_strncmp((value)->data, text, (value)->len) == 0)


/*
 * ngx_livestream_api_list.c
 */

typedef struct {
    ngx_int_t                        limit;
    ngx_int_t                        offset;
    ngx_str_t                        user_id;   /* NULL: any */
    ngx_str_t                        status;
} ngx_livestream_api_page_t;


/* NULL, or what is wrong */
typedef const char *(*ngx_livestream_api_arg_pt)(
    ngx_livestream_api_page_t *page, ngx_str_t *value);


typedef struct {
    const char                      *name;
    ngx_livestream_api_arg_pt        read;
} ngx_livestream_api_arg_t;


void ngx_livestream_api_list(ngx_livestream_api_call_t *call);

/* Reads the query by a table that a NULL name ends; of what is not in it,
 * `only` is said.  NGX_OK: limit and offset are texts in call->values, too,
 * the first two; otherwise the call has ended. */
ngx_int_t ngx_livestream_api_read_page(ngx_livestream_api_call_t *call,
    const ngx_livestream_api_arg_t *args, const char *only,
    ngx_livestream_api_page_t *page);
const char *ngx_livestream_api_arg_limit(ngx_livestream_api_page_t *page,
    ngx_str_t *value);
const char *ngx_livestream_api_arg_offset(ngx_livestream_api_page_t *page,
    ngx_str_t *value);

/* takes the reference of list; NULL: out of memory */
void ngx_livestream_api_reply_page(ngx_livestream_api_call_t *call,
    const char *name, json_t *list);


/*
 * ngx_livestream_api_livestreams.c
 */

void ngx_livestream_api_create(ngx_livestream_api_call_t *call);
void ngx_livestream_api_get(ngx_livestream_api_call_t *call);
void ngx_livestream_api_patch(ngx_livestream_api_call_t *call);
void ngx_livestream_api_delete(ngx_livestream_api_call_t *call);
void ngx_livestream_api_start(ngx_livestream_api_call_t *call);
void ngx_livestream_api_stop(ngx_livestream_api_call_t *call);
void ngx_livestream_api_key(ngx_livestream_api_call_t *call);


/*
 * ngx_livestream_api_recordings.c
 */

void ngx_livestream_api_recordings(ngx_livestream_api_call_t *call);
void ngx_livestream_api_recording(ngx_livestream_api_call_t *call);
void ngx_livestream_api_patch_recording(ngx_livestream_api_call_t *call);
void ngx_livestream_api_delete_recording(ngx_livestream_api_call_t *call);

/* next() gets the recording that the path names, or no row when there is none
 * or it is deleted */
void ngx_livestream_api_read_recording(ngx_livestream_api_call_t *call,
    ngx_livestream_api_result_pt next);

/* such a row; NULL when out of memory */
json_t *ngx_livestream_api_recording_row(ngx_livestream_api_call_t *call,
    ngx_livestream_store_result_t *result, ngx_uint_t row);

extern const char  ngx_livestream_api_no_recording[];
extern const char  ngx_livestream_api_no_stream[];
extern const char  ngx_livestream_api_no_memory[];


/*
 * ngx_livestream_api_convert.c
 */

void ngx_livestream_api_convert(ngx_livestream_api_call_t *call);


#endif /* _NGX_LIVESTREAM_API_H_INCLUDED_ */

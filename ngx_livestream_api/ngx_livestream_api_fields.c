
/*
 * Copyright (C) nginx-livestream contributors
 *
 * The fields of a livestream: one table says which column each is, what may be
 * given for it, when, and how it is shown.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "ngx_livestream_api.h"


#define NGX_LIVESTREAM_API_BOTH                                              \
    (NGX_LIVESTREAM_API_CREATE|NGX_LIVESTREAM_API_PATCH)
#define NGX_LIVESTREAM_API_REQUIRED  0x04       /* when it is created */
#define NGX_LIVESTREAM_API_NULLABLE  0x08


typedef enum {
    NGX_LIVESTREAM_API_LINE = 0,            /* max: characters */
    NGX_LIVESTREAM_API_TEXT,                /* max: characters */
    NGX_LIVESTREAM_API_INTEGER,             /* max: the greatest; from 1 */
    NGX_LIVESTREAM_API_BOOLEAN,
    NGX_LIVESTREAM_API_OBJECT,              /* max: bytes */
    NGX_LIVESTREAM_API_TIME,
    NGX_LIVESTREAM_API_KEY,
    NGX_LIVESTREAM_API_URL
} ngx_livestream_api_type_e;


typedef struct {
    const char                      *name;      /* and column */
    ngx_livestream_api_type_e        type;
    ngx_uint_t                       max;
    ngx_uint_t                       use;
    const char                      *missing;   /* the value then */
    const char                      *why;
} ngx_livestream_api_field_t;


static ngx_int_t ngx_livestream_api_read_field(ngx_livestream_api_call_t *call,
    ngx_uint_t i, json_t *value, ngx_uint_t use);
static ngx_int_t ngx_livestream_api_text(ngx_livestream_api_call_t *call,
    ngx_uint_t i, json_t *value);
static ngx_int_t ngx_livestream_api_object(ngx_livestream_api_call_t *call,
    ngx_uint_t i, json_t *value);
static ngx_int_t ngx_livestream_api_settings(ngx_livestream_api_call_t *call,
    ngx_str_t *text);
static int ngx_livestream_api_merge_object(json_t *target, json_t *patch);
static json_t *ngx_livestream_api_show(const ngx_livestream_api_field_t *f,
    ngx_str_t *value);


/* in the order of the enum and of ngx_livestream_api_columns */

static const ngx_livestream_api_field_t  ngx_livestream_api_fields[] = {

    { "id", NGX_LIVESTREAM_API_LINE, 36, 0, NULL, NULL },

    { "title", NGX_LIVESTREAM_API_LINE, 255,
      NGX_LIVESTREAM_API_BOTH|NGX_LIVESTREAM_API_REQUIRED, NULL,
      "must be a text of 1 to 255 characters in one line" },

    { "description", NGX_LIVESTREAM_API_TEXT, 10000,
      NGX_LIVESTREAM_API_BOTH|NGX_LIVESTREAM_API_NULLABLE, NULL,
      "must be a text of at most 10000 characters, or null" },

    { "user_id", NGX_LIVESTREAM_API_LINE, 100,
      NGX_LIVESTREAM_API_CREATE|NGX_LIVESTREAM_API_REQUIRED, NULL,
      "must be a text of 1 to 100 characters in one line" },

    { "stream_key", NGX_LIVESTREAM_API_KEY, 100, 0, NULL, NULL },
    { "rtmp_ingest_url", NGX_LIVESTREAM_API_URL, 255, 0, NULL, NULL },
    { "status", NGX_LIVESTREAM_API_LINE, 20, 0, NULL, NULL },
    { "master_playlist", NGX_LIVESTREAM_API_LINE, 255, 0, NULL, NULL },
    { "viewer_count", NGX_LIVESTREAM_API_INTEGER, 0, 0, NULL, NULL },
    { "peak_viewer_count", NGX_LIVESTREAM_API_INTEGER, 0, 0, NULL, NULL },

    { "dvr_enabled", NGX_LIVESTREAM_API_BOOLEAN, 1, NGX_LIVESTREAM_API_BOTH,
      "0", "must be true or false" },

    { "dvr_window", NGX_LIVESTREAM_API_INTEGER, 604800,
      NGX_LIVESTREAM_API_BOTH, NULL,
      "must be an integer from 1 to 604800, in seconds" },

    { "low_latency", NGX_LIVESTREAM_API_BOOLEAN, 1, NGX_LIVESTREAM_API_BOTH,
      "1", "must be true or false" },

    { "settings", NGX_LIVESTREAM_API_OBJECT, 4096, NGX_LIVESTREAM_API_BOTH,
      "{}", "must be an object of at most 4096 bytes" },

    { "metadata", NGX_LIVESTREAM_API_OBJECT, 16384, NGX_LIVESTREAM_API_BOTH,
      "{}", "must be an object of at most 16384 bytes" },

    { "started_at", NGX_LIVESTREAM_API_TIME, 0, 0, NULL, NULL },
    { "ended_at", NGX_LIVESTREAM_API_TIME, 0, 0, NULL, NULL },
    { "created_at", NGX_LIVESTREAM_API_TIME, 0, 0, NULL, NULL },
    { "updated_at", NGX_LIVESTREAM_API_TIME, 0, 0, NULL, NULL }
};


ngx_int_t
ngx_livestream_api_read_fields(ngx_livestream_api_call_t *call, ngx_uint_t use)
{
    json_t                            *value;
    ngx_uint_t                         i;
    const char                        *name;
    const ngx_livestream_api_field_t  *f;

    f = ngx_livestream_api_fields;

    json_object_foreach(call->body, name, value) {

        for (i = 0; i < NGX_LIVESTREAM_API_NFIELDS; i++) {
            if (ngx_strcmp(f[i].name, name) == 0) {
                break;
            }
        }

        if (i == NGX_LIVESTREAM_API_NFIELDS) {
            ngx_livestream_api_wrong(call, name,
                                     "is not a field of a livestream");
            continue;
        }

        if (ngx_livestream_api_read_field(call, i, value, use) == NGX_ERROR) {
            return NGX_ERROR;
        }

        call->given |= 1 << i;
    }

    for (i = 0; i < NGX_LIVESTREAM_API_NFIELDS; i++) {

        if (use != NGX_LIVESTREAM_API_CREATE || (call->given & (1 << i))) {
            continue;
        }

        if (f[i].use & NGX_LIVESTREAM_API_REQUIRED) {
            ngx_livestream_api_wrong(call, f[i].name, "is required");
        }

        if (f[i].missing) {
            call->values[i].data = (u_char *) f[i].missing;
            call->values[i].len = ngx_strlen(f[i].missing);
        }
    }

    return call->errors ? NGX_DECLINED : NGX_OK;
}


/* NGX_ERROR: out of memory */

static ngx_int_t
ngx_livestream_api_read_field(ngx_livestream_api_call_t *call, ngx_uint_t i,
    json_t *value, ngx_uint_t use)
{
    json_int_t                         n;
    const ngx_livestream_api_field_t  *f;

    f = &ngx_livestream_api_fields[i];

    if (!(f->use & use)) {
        ngx_livestream_api_wrong(call, f->name,
                                 f->use ? "cannot be changed"
                                        : "is set by the server");
        return NGX_OK;
    }

    if (json_is_null(value) && (f->use & NGX_LIVESTREAM_API_NULLABLE)) {
        return NGX_OK;
    }

    switch (f->type) {

    case NGX_LIVESTREAM_API_LINE:

        if (ngx_livestream_api_is_line(json_string_value(value),
                                       json_string_length(value), f->max))
        {
            return ngx_livestream_api_text(call, i, value);
        }

        break;

    case NGX_LIVESTREAM_API_TEXT:

        if (json_is_string(value)
            && ngx_utf8_length((u_char *) json_string_value(value),
                               json_string_length(value)) <= f->max)
        {
            return ngx_livestream_api_text(call, i, value);
        }

        break;

    case NGX_LIVESTREAM_API_INTEGER:

        n = json_integer_value(value);

        if (json_is_integer(value) && n >= 1 && n <= (json_int_t) f->max) {
            call->values[i].data = ngx_pnalloc(call->pool, NGX_INT64_LEN);

            if (call->values[i].data == NULL) {
                return NGX_ERROR;
            }

            call->values[i].len = ngx_sprintf(call->values[i].data, "%L",
                                              (int64_t) n)
                                  - call->values[i].data;
            return NGX_OK;
        }

        break;

    case NGX_LIVESTREAM_API_BOOLEAN:

        if (json_is_boolean(value)) {
            call->values[i].data = (u_char *) (json_is_true(value) ? "1"
                                                                   : "0");
            call->values[i].len = 1;
            return NGX_OK;
        }

        break;

    case NGX_LIVESTREAM_API_OBJECT:

        /* in a patch null means what is left of an object without members */

        if (json_is_object(value)
            || (json_is_null(value) && use == NGX_LIVESTREAM_API_PATCH))
        {
            return (use == NGX_LIVESTREAM_API_PATCH)
                   ? NGX_OK : ngx_livestream_api_object(call, i, value);
        }

        break;

    default:
        break;
    }

    ngx_livestream_api_wrong(call, f->name, f->why);

    return NGX_OK;
}


/* jansson has seen to it that the text is UTF-8 without a NUL */

ngx_uint_t
ngx_livestream_api_is_line(const char *text, size_t len, ngx_uint_t max)
{
    size_t  i;

    if (text == NULL || len == 0) {
        return 0;
    }

    for (i = 0; i < len; i++) {
        if ((u_char) text[i] < 0x20 || text[i] == 0x7f) {
            return 0;
        }
    }

    return ngx_utf8_length((u_char *) text, len) <= max;
}


static ngx_int_t
ngx_livestream_api_text(ngx_livestream_api_call_t *call, ngx_uint_t i,
    json_t *value)
{
    ngx_str_t  text;

    text.data = (u_char *) json_string_value(value);
    text.len = json_string_length(value);

    /* not with ngx_pstrdup(): an empty text is not NULL */

    call->values[i].len = text.len;
    call->values[i].data = ngx_pnalloc(call->pool, text.len + 1);

    if (call->values[i].data == NULL) {
        return NGX_ERROR;
    }

    ngx_memcpy(call->values[i].data, text.data, text.len);

    return NGX_OK;
}


static ngx_int_t
ngx_livestream_api_object(ngx_livestream_api_call_t *call, ngx_uint_t i,
    json_t *value)
{
    ngx_str_t                         *text;
    const ngx_livestream_api_field_t  *f;

    f = &ngx_livestream_api_fields[i];
    text = &call->values[i];

    text->len = json_dumpb(value, NULL, 0, JSON_COMPACT);

    if (text->len == 0) {
        return NGX_ERROR;
    }

    if (text->len > f->max) {
        ngx_livestream_api_wrong(call, f->name, f->why);
        return NGX_OK;
    }

    text->data = ngx_pnalloc(call->pool, text->len);
    if (text->data == NULL) {
        return NGX_ERROR;
    }

    (void) json_dumpb(value, (char *) text->data, text->len, JSON_COMPACT);

    if (i == NGX_LIVESTREAM_API_SETTINGS) {
        return ngx_livestream_api_settings(call, text);
    }

    return NGX_OK;
}


static ngx_int_t
ngx_livestream_api_settings(ngx_livestream_api_call_t *call, ngx_str_t *text)
{
    u_char                     *name;
    ngx_int_t                   rc;
    ngx_str_t                   field;
    const char                 *why, *member;
    ngx_livestream_settings_t   settings;

    ngx_str_null(&field);

    rc = ngx_livestream_settings_parse(text, call->pool, &settings, &field,
                                       &why);

    if (rc == NGX_OK) {

        if (ngx_livestream_settings_check(&settings, &member, &why)
            == NGX_OK)
        {
            return NGX_OK;
        }

        rc = NGX_ABORT;
        field.data = (u_char *) member;
        field.len = ngx_strlen(member);
    }

    name = ngx_pnalloc(call->pool, sizeof("settings.") + field.len);
    if (name == NULL) {
        return NGX_ERROR;
    }

    (void) ngx_sprintf(name, "settings.%V%Z", &field);

    if (rc == NGX_ABORT) {
        ngx_livestream_api_unmet(call, (char *) name, why);

    } else {
        ngx_livestream_api_wrong(call, (char *) name, why);
    }

    return NGX_OK;
}


ngx_int_t
ngx_livestream_api_merge(ngx_livestream_api_call_t *call, ngx_uint_t field,
    ngx_str_t *stored)
{
    int         failed;
    json_t     *target, *patch;
    ngx_int_t   rc;

    patch = json_object_get(call->body, ngx_livestream_api_fields[field].name);

    target = json_loadb((char *) stored->data, stored->len, 0, NULL);

    if (json_is_null(patch) || !json_is_object(target)) {
        json_decref(target);
        target = json_object();
    }

    failed = json_is_object(patch)
             && ngx_livestream_api_merge_object(target, patch) != 0;

    rc = failed ? NGX_ERROR : ngx_livestream_api_object(call, field, target);

    json_decref(target);

    if (rc != NGX_OK) {
        return rc;
    }

    return call->errors ? NGX_DECLINED : NGX_OK;
}


/* as deep as the parser let the body be */

static int
ngx_livestream_api_merge_object(json_t *target, json_t *patch)
{
    json_t      *value, *object;
    const char  *name;

    json_object_foreach(patch, name, value) {

        if (json_is_null(value)) {
            (void) json_object_del(target, name);
            continue;
        }

        if (!json_is_object(value)) {
            if (json_object_set(target, name, value) != 0) {
                return -1;
            }

            continue;
        }

        object = json_object_get(target, name);

        if (!json_is_object(object)) {
            object = json_object();

            if (json_object_set_new(target, name, object) != 0) {
                return -1;
            }
        }

        if (ngx_livestream_api_merge_object(object, value) != 0) {
            return -1;
        }
    }

    return 0;
}


json_t *
ngx_livestream_api_row(ngx_livestream_store_result_t *result, ngx_uint_t row,
    ngx_uint_t with_key)
{
    json_t                            *object, *value;
    ngx_str_t                         *text;
    ngx_uint_t                         i;
    const ngx_livestream_api_field_t  *f;

    object = json_object();

    for (i = 0; i < NGX_LIVESTREAM_API_NFIELDS; i++) {

        f = &ngx_livestream_api_fields[i];
        text = ngx_livestream_store_value(result, row, i);

        if (f->type == NGX_LIVESTREAM_API_KEY && !with_key) {
            continue;
        }

        if (f->type == NGX_LIVESTREAM_API_URL) {
            value = ngx_livestream_api_publish_url(
                         with_key ? ngx_livestream_store_value(result, row,
                                              NGX_LIVESTREAM_API_STREAM_KEY)
                                  : NULL);
        } else {
            value = ngx_livestream_api_show(f, text);
        }

        if (json_object_set_new(object, f->name, value) != 0) {
            json_decref(object);
            return NULL;
        }
    }

    return object;
}


/* what the store cannot have made is shown as null rather than not at all */

static json_t *
ngx_livestream_api_show(const ngx_livestream_api_field_t *f, ngx_str_t *value)
{
    json_t  *json;

    if (value->data == NULL) {
        return json_null();
    }

    switch (f->type) {

    case NGX_LIVESTREAM_API_INTEGER:
        return json_integer(ngx_atoi(value->data, value->len));

    case NGX_LIVESTREAM_API_BOOLEAN:
        return json_boolean(ngx_livestream_store_bool(value));

    case NGX_LIVESTREAM_API_OBJECT:
        json = json_loadb((char *) value->data, value->len, 0, NULL);
        break;

    default:
        json = json_stringn((char *) value->data, value->len);
        break;
    }

    return json ? json : json_null();
}


json_t *
ngx_livestream_api_publish_url(ngx_str_t *key)
{
    ngx_livestream_core_conf_t  *lcf;

    lcf = ngx_livestream_core_conf((ngx_cycle_t *) ngx_cycle);

    if (lcf == NULL) {
        return json_null();
    }

    if (key == NULL) {
        return json_stringn((char *) lcf->publish_url.data,
                            lcf->publish_url.len);
    }

    return json_sprintf("%.*s/%.*s", (int) lcf->publish_url.len,
                        (char *) lcf->publish_url.data,
                        (int) key->len, (char *) key->data);
}

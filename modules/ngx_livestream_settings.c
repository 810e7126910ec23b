
/*
 * Copyright (C) nginx-livestream contributors
 *
 * A stream's own settings.  The table says what may stand in the object; what
 * is not in it is refused, so that a misspelt member is not silently without
 * effect.
 *
 * Event loop.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <jansson.h>

#include "ngx_livestream.h"


typedef struct ngx_livestream_setting_s  ngx_livestream_setting_t;

/* NULL, or what is wrong */
typedef const char *(*ngx_livestream_setting_pt)(
    const ngx_livestream_setting_t *m, json_t *value, void *field);


struct ngx_livestream_setting_s {
    const char                      *name;
    ngx_livestream_setting_pt        read;
    size_t                           offset;
    double                           min;
    double                           max;
    const char                     **words;
    const char                      *why;
};


static const char *ngx_livestream_setting_bool(
    const ngx_livestream_setting_t *m, json_t *value, void *field);
static const char *ngx_livestream_setting_integer(
    const ngx_livestream_setting_t *m, json_t *value, void *field);
static const char *ngx_livestream_setting_number(
    const ngx_livestream_setting_t *m, json_t *value, void *field);
static const char *ngx_livestream_setting_word(
    const ngx_livestream_setting_t *m, json_t *value, void *field);
static const char *ngx_livestream_setting_names(
    const ngx_livestream_setting_t *m, json_t *value, void *field);
static ngx_int_t ngx_livestream_settings_object(json_t *object,
    ngx_livestream_settings_t *settings, const char **name,
    const char **why);


static const char  *ngx_livestream_setting_codecs[] = {
    "h264", "h265", "vp9", NULL
};

static const char  *ngx_livestream_setting_audio_codecs[] = {
    "aac", "opus", NULL
};


#define ngx_livestream_setting_offset(name)                                  \
    offsetof(ngx_livestream_settings_t, name)


static const ngx_livestream_setting_t  ngx_livestream_setting_table[] = {

    { "enable_transcoding", ngx_livestream_setting_bool,
      ngx_livestream_setting_offset(enable_transcoding), 0, 0, NULL,
      "must be true or false" },

    { "resolutions", ngx_livestream_setting_names,
      ngx_livestream_setting_offset(resolutions), 1, 12, NULL,
      "must be an array of 1 to 12 names of rungs, each once, such as "
      "\"720p\"" },

    { "codec", ngx_livestream_setting_word,
      ngx_livestream_setting_offset(codec), 0, 0,
      ngx_livestream_setting_codecs,
      "must be \"h264\", \"h265\" or \"vp9\"" },

    { "segment_duration", ngx_livestream_setting_number,
      ngx_livestream_setting_offset(segment_duration), 1, 60, NULL,
      "must be a number of seconds from 1 to 60" },

    { "part_duration", ngx_livestream_setting_number,
      ngx_livestream_setting_offset(part_duration), 0.1, 5, NULL,
      "must be a number of seconds from 0.1 to 5" },

    { "playlist_length", ngx_livestream_setting_integer,
      ngx_livestream_setting_offset(playlist_length), 3, 100, NULL,
      "must be an integer from 3 to 100, in segments" },

    { "audio_codec", ngx_livestream_setting_word,
      ngx_livestream_setting_offset(audio_codec), 0, 0,
      ngx_livestream_setting_audio_codecs,
      "must be \"aac\" or \"opus\"" },

    { "audio_bitrate", ngx_livestream_setting_integer,
      ngx_livestream_setting_offset(audio_bitrate), 8, 512, NULL,
      "must be an integer from 8 to 512, in kbit/s" },

    { "keyframe_interval", ngx_livestream_setting_number,
      ngx_livestream_setting_offset(keyframe_interval), 0.1, 20, NULL,
      "must be a number of seconds from 0.1 to 20" },

    { "gpu_acceleration", ngx_livestream_setting_bool,
      ngx_livestream_setting_offset(gpu_acceleration), 0, 0, NULL,
      "must be true or false" },

    { NULL, NULL, 0, 0, 0, NULL, NULL }
};


ngx_int_t
ngx_livestream_settings_parse(ngx_str_t *json, ngx_pool_t *pool,
    ngx_livestream_settings_t *settings, ngx_str_t *field, const char **why)
{
    json_t      *object;
    ngx_int_t    rc;
    const char  *name;

    ngx_memzero(settings, sizeof(ngx_livestream_settings_t));

    settings->enable_transcoding = -1;
    settings->gpu_acceleration = -1;
    settings->segment_duration = -1;
    settings->part_duration = -1;
    settings->keyframe_interval = -1;
    settings->playlist_length = -1;
    settings->audio_bitrate = -1;

    if (json->len == 0) {
        return NGX_OK;
    }

    name = "";

    object = json_loadb((char *) json->data, json->len, JSON_REJECT_DUPLICATES,
                        NULL);

    rc = ngx_livestream_settings_object(object, settings, &name, why);

    if (rc == NGX_OK) {
        json_decref(object);
        return NGX_OK;
    }

    /* the name may be the object's */

    field->len = ngx_strlen(name);
    field->data = ngx_pnalloc(pool, field->len + 1);

    if (field->data == NULL) {
        field->len = 0;

    } else {
        ngx_memcpy(field->data, name, field->len + 1);
    }

    json_decref(object);

    return rc;
}


ngx_int_t
ngx_livestream_settings_check(const ngx_livestream_settings_t *settings,
    const char **field, const char **why)
{
    ngx_uint_t                  i;
    ngx_livestream_module_t    *m;
    ngx_livestream_settings_t   left;

    left = *settings;

    for (i = 0; ngx_cycle->modules[i]; i++) {
        if (ngx_cycle->modules[i]->type != NGX_LIVESTREAM_MODULE) {
            continue;
        }

        m = ngx_cycle->modules[i]->ctx;

        if (m->hooks.settings
            && m->hooks.settings(&left, field, why) != NGX_OK)
        {
            return NGX_DECLINED;
        }
    }

    if (left.enable_transcoding == 1) {
        *field = "enable_transcoding";
        *why = "needs a module that the server has not loaded";
        return NGX_DECLINED;
    }

    return NGX_OK;
}


static ngx_int_t
ngx_livestream_settings_object(json_t *object,
    ngx_livestream_settings_t *settings, const char **name, const char **why)
{
    json_t                          *value;
    const ngx_livestream_setting_t  *m;

    if (!json_is_object(object)) {
        *why = "must be an object";
        return NGX_DECLINED;
    }

    json_object_foreach(object, *name, value) {

        for (m = ngx_livestream_setting_table; m->name; m++) {
            if (ngx_strcmp(m->name, *name) == 0) {
                break;
            }
        }

        if (m->name == NULL) {
            *why = "is not a setting";
            return NGX_DECLINED;
        }

        *why = m->read(m, value, (u_char *) settings + m->offset);

        if (*why) {
            return (m->words && json_is_string(value)) ? NGX_ABORT
                                                       : NGX_DECLINED;
        }
    }

    if (settings->segment_duration > 0
        && settings->part_duration > settings->segment_duration)
    {
        *name = "part_duration";
        *why = "must not be longer than segment_duration";
        return NGX_DECLINED;
    }

    return NGX_OK;
}


static const char *
ngx_livestream_setting_bool(const ngx_livestream_setting_t *m, json_t *value,
    void *field)
{
    ngx_int_t *n = field;

    if (!json_is_boolean(value)) {
        return m->why;
    }

    *n = json_is_true(value);

    return NULL;
}


static const char *
ngx_livestream_setting_integer(const ngx_livestream_setting_t *m,
    json_t *value, void *field)
{
    ngx_int_t *n = field;

    if (!json_is_integer(value)
        || json_integer_value(value) < m->min
        || json_integer_value(value) > m->max)
    {
        return m->why;
    }

    *n = json_integer_value(value);

    return NULL;
}


static const char *
ngx_livestream_setting_number(const ngx_livestream_setting_t *m,
    json_t *value, void *field)
{
    double *n = field;

    if (!json_is_number(value)
        || json_number_value(value) < m->min
        || json_number_value(value) > m->max)
    {
        return m->why;
    }

    *n = json_number_value(value);

    return NULL;
}


/* the words fit the field */

static const char *
ngx_livestream_setting_word(const ngx_livestream_setting_t *m, json_t *value,
    void *field)
{
    u_char *p = field;

    const char  **word;

    if (!json_is_string(value)) {
        return m->why;
    }

    for (word = m->words; *word; word++) {
        if (ngx_strcmp(*word, json_string_value(value)) == 0) {
            (void) ngx_cpymem(p, *word, ngx_strlen(*word) + 1);
            return NULL;
        }
    }

    return m->why;
}


/* joined by spaces */

static const char *
ngx_livestream_setting_names(const ngx_livestream_setting_t *m, json_t *value,
    void *field)
{
    u_char *p = field;

    u_char       *last;
    size_t        i, j, len;
    const char   *name;

    if (!json_is_array(value)
        || json_array_size(value) < m->min
        || json_array_size(value) > m->max)
    {
        return m->why;
    }

    last = p + sizeof(((ngx_livestream_settings_t *) 0)->resolutions);

    for (i = 0; i < json_array_size(value); i++) {

        name = json_string_value(json_array_get(value, i));
        len = name ? ngx_strlen(name) : 0;

        if (len == 0
            || len > NGX_LIVESTREAM_TRACK_LEN
            || strspn(name, "0123456789abcdefghijklmnopqrstuvwxyz") != len
            || (size_t) (last - p) < len + 1)
        {
            return m->why;
        }

        for (j = 0; j < i; j++) {
            if (json_equal(json_array_get(value, i), json_array_get(value, j)))
            {
                return m->why;
            }
        }

        if (i) {
            *(p - 1) = ' ';
        }

        p = ngx_cpymem(p, name, len + 1);
    }

    return NULL;
}

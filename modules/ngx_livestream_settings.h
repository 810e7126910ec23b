
/*
 * Copyright (C) nginx-livestream contributors
 *
 * A stream's own settings: the JSON object in live_streams.settings.  One
 * table says each member's name, type and range; the API validates by it and
 * the features read by it.  Event loop.
 */


#ifndef _NGX_LIVESTREAM_SETTINGS_H_INCLUDED_
#define _NGX_LIVESTREAM_SETTINGS_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>


/* -1 (or an empty string) where the object has no such member */
typedef struct {
    ngx_int_t                enable_transcoding;    /* 0, 1 */
    ngx_int_t                gpu_acceleration;      /* 0, 1 */
    double                   segment_duration;      /* s */
    double                   part_duration;         /* s */
    double                   keyframe_interval;     /* s */
    ngx_int_t                playlist_length;       /* segments */
    ngx_int_t                audio_bitrate;         /* kbit/s */
    u_char                   codec[8];              /* h264, h265, vp9 */
    u_char                   audio_codec[8];        /* aac, opus */
    u_char                   resolutions[128];      /* "1080p 720p" */
} ngx_livestream_settings_t;


/*
 * Parses and validates.  NGX_OK; NGX_DECLINED with *field (in pool) and *why
 * (static) saying what is wrong; NGX_ABORT, likewise, when it is well formed
 * and asks for what there is not.  An empty text is an empty object.
 */
ngx_int_t ngx_livestream_settings_parse(ngx_str_t *json, ngx_pool_t *pool,
    ngx_livestream_settings_t *settings, ngx_str_t *field, const char **why);

/* Asks the features whether they can meet them as they are configured now.
 * NGX_OK, or NGX_DECLINED with *field and *why, static texts. */
ngx_int_t ngx_livestream_settings_check(
    const ngx_livestream_settings_t *settings, const char **field,
    const char **why);


#endif /* _NGX_LIVESTREAM_SETTINGS_H_INCLUDED_ */


/*
 * Copyright (C) nginx-livestream contributors
 *
 * The ladder in the livestream{} block: its directives and its hooks.  Event
 * loop.
 */


#ifndef _NGX_LIVESTREAM_TRANSCODE_MODULE_H_INCLUDED_
#define _NGX_LIVESTREAM_TRANSCODE_MODULE_H_INCLUDED_


#include "ngx_livestream.h"
#include "ngx_livestream_transcode.h"


typedef struct {
    ngx_flag_t               transcode;
    ngx_uint_t               gpu;               /* ..._transcode_gpu_e */
    ngx_uint_t               codec;             /* ngx_livestream_codec_e */
    ngx_uint_t               preset;            /* index of the table */
    ngx_uint_t               audio_bitrate;     /* bit/s */
    ngx_msec_t               keyframe_interval;
    ngx_uint_t               max_transcodes;
    ngx_uint_t               nrungs;
    ngx_livestream_transcode_rung_conf_t  rungs[
                                               NGX_LIVESTREAM_TRANSCODE_RUNGS];
} ngx_livestream_transcode_main_conf_t;


extern ngx_module_t     ngx_livestream_transcode_module;
extern ngx_conf_enum_t  ngx_livestream_transcode_presets[];

/* of this worker: our stage's, or -1 */
extern int              ngx_livestream_transcode_number;


/* NULL: there is no such rung */
ngx_livestream_transcode_rung_conf_t *ngx_livestream_transcode_find(
    ngx_livestream_transcode_main_conf_t *tcf, ngx_str_t *name);


/* hooks */
ngx_int_t ngx_livestream_transcode_settings(
    ngx_livestream_settings_t *settings, const char **field,
    const char **why);
ngx_int_t ngx_livestream_transcode_stream_open(ngx_livestream_stream_t *s);
void ngx_livestream_transcode_stream_close(ngx_livestream_stream_t *s);


#endif /* _NGX_LIVESTREAM_TRANSCODE_MODULE_H_INCLUDED_ */


/*
 * Copyright (C) nginx-livestream contributors
 *
 * LL-HLS in the livestream{} block: its directives and its hooks.
 *
 *   stream_open          what the pipeline is told: settings, and where a
 *                        stream that is continued goes on
 *   stream_interrupted   clean ends
 *   stream_absent        gaps
 *   stream_close         ENDLIST
 *   settings             do they go with the directives?
 *
 * Event loop; directives in the master.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>

#include "ngx_livestream_llhls_module.h"
#include "ngx_livestream_llhls_packager.h"
#include "ngx_livestream_llhls_writer.h"


static void *ngx_livestream_llhls_create_conf(ngx_cycle_t *cycle);
static char *ngx_livestream_llhls_init_conf(ngx_cycle_t *cycle, void *conf);
static ngx_int_t ngx_livestream_llhls_init_process(ngx_cycle_t *cycle);
static void ngx_livestream_llhls_exit_process(ngx_cycle_t *cycle);
static ngx_int_t ngx_livestream_llhls_stream_open(ngx_livestream_stream_t *s);
static ngx_int_t ngx_livestream_llhls_new(ngx_livestream_stream_t *s);
static void ngx_livestream_llhls_continued(ngx_livestream_stream_t *s,
    ngx_livestream_llhls_writer_t *w);
static void ngx_livestream_llhls_stream_interrupted(
    ngx_livestream_stream_t *s);
static void ngx_livestream_llhls_stream_absent(ngx_livestream_stream_t *s);
static void ngx_livestream_llhls_stream_close(ngx_livestream_stream_t *s);
static ngx_int_t ngx_livestream_llhls_settings(
    ngx_livestream_settings_t *settings, const char **field,
    const char **why);


static ngx_command_t  ngx_livestream_llhls_commands[] = {

    { ngx_string("segment_duration"),
      NGX_LIVESTREAM_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_msec_slot,
      0,
      offsetof(ngx_livestream_llhls_conf_t, segment_duration),
      NULL },

    { ngx_string("part_duration"),
      NGX_LIVESTREAM_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_msec_slot,
      0,
      offsetof(ngx_livestream_llhls_conf_t, part_duration),
      NULL },

    { ngx_string("playlist_length"),
      NGX_LIVESTREAM_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_num_slot,
      0,
      offsetof(ngx_livestream_llhls_conf_t, playlist_length),
      NULL },

    { ngx_string("low_latency"),
      NGX_LIVESTREAM_CONF|NGX_CONF_FLAG,
      ngx_conf_set_flag_slot,
      0,
      offsetof(ngx_livestream_llhls_conf_t, low_latency),
      NULL },

    { ngx_string("dvr"),
      NGX_LIVESTREAM_CONF|NGX_CONF_FLAG,
      ngx_conf_set_flag_slot,
      0,
      offsetof(ngx_livestream_llhls_conf_t, dvr.enable),
      NULL },

    { ngx_string("dvr_retention"),
      NGX_LIVESTREAM_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_sec_slot,
      0,
      offsetof(ngx_livestream_llhls_conf_t, dvr.retention),
      NULL },

    { ngx_string("cleanup_interval"),
      NGX_LIVESTREAM_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_sec_slot,
      0,
      offsetof(ngx_livestream_llhls_conf_t, dvr.cleanup_interval),
      NULL },

    { ngx_string("recording_storage"),
      NGX_LIVESTREAM_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_str_slot,
      0,
      offsetof(ngx_livestream_llhls_conf_t, dvr.storage),
      NULL },

    { ngx_string("recording_playback"),
      NGX_LIVESTREAM_CONF|NGX_CONF_TAKE1,
      ngx_livestream_dvr_set_playback,
      0,
      0,
      NULL },

    { ngx_string("recording_min_free"),
      NGX_LIVESTREAM_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_off_slot,
      0,
      offsetof(ngx_livestream_llhls_conf_t, dvr.min_free),
      NULL },

      ngx_null_command
};


static ngx_livestream_module_t  ngx_livestream_llhls_module_ctx = {
    ngx_string("llhls"),
    ngx_livestream_llhls_create_conf,
    ngx_livestream_llhls_init_conf,
    {
        ngx_livestream_llhls_stream_open,
        ngx_livestream_llhls_stream_interrupted,
        ngx_livestream_llhls_stream_absent,
        ngx_livestream_llhls_stream_close,
        ngx_livestream_llhls_settings
    }
};


ngx_module_t  ngx_livestream_llhls_module = {
    NGX_MODULE_V1,
    &ngx_livestream_llhls_module_ctx,      /* module context */
    ngx_livestream_llhls_commands,         /* module directives */
    NGX_LIVESTREAM_MODULE,                 /* module type */
    NULL,                                  /* init master */
    ngx_livestream_dvr_init_module,        /* init module */
    ngx_livestream_llhls_init_process,     /* init process */
    NULL,                                  /* init thread */
    NULL,                                  /* exit thread */
    ngx_livestream_llhls_exit_process,     /* exit process */
    NULL,                                  /* exit master */
    NGX_MODULE_V1_PADDING
};


static void *
ngx_livestream_llhls_create_conf(ngx_cycle_t *cycle)
{
    ngx_livestream_llhls_conf_t  *conf;

    conf = ngx_pcalloc(cycle->pool, sizeof(ngx_livestream_llhls_conf_t));
    if (conf == NULL) {
        return NULL;
    }

    conf->segment_duration = NGX_CONF_UNSET_MSEC;
    conf->part_duration = NGX_CONF_UNSET_MSEC;
    conf->playlist_length = NGX_CONF_UNSET_UINT;
    conf->low_latency = NGX_CONF_UNSET;
    conf->dvr.enable = NGX_CONF_UNSET;
    conf->dvr.retention = NGX_CONF_UNSET;
    conf->dvr.cleanup_interval = NGX_CONF_UNSET;
    conf->dvr.min_free = NGX_CONF_UNSET;

    return conf;
}


static char *
ngx_livestream_llhls_init_conf(ngx_cycle_t *cycle, void *conf)
{
    ngx_livestream_llhls_conf_t *lcf = conf;

    ngx_conf_init_msec_value(lcf->segment_duration, 6000);
    ngx_conf_init_msec_value(lcf->part_duration, 500);
    ngx_conf_init_uint_value(lcf->playlist_length, 10);
    ngx_conf_init_value(lcf->low_latency, 1);
    ngx_conf_init_value(lcf->dvr.enable, 0);
    ngx_conf_init_value(lcf->dvr.retention, 2592000);
    ngx_conf_init_value(lcf->dvr.cleanup_interval, 3600);
    ngx_conf_init_value(lcf->dvr.min_free, 1073741824);

    if (lcf->segment_duration < 1000 || lcf->segment_duration > 60000) {
        ngx_log_error(NGX_LOG_EMERG, cycle->log, 0,
                      "\"segment_duration\" must be between 1s and 60s");
        return NGX_CONF_ERROR;
    }

    if (lcf->part_duration < 100 || lcf->part_duration > 5000) {
        ngx_log_error(NGX_LOG_EMERG, cycle->log, 0,
                      "\"part_duration\" must be between 100ms and 5s");
        return NGX_CONF_ERROR;
    }

    if (lcf->part_duration > lcf->segment_duration) {
        ngx_log_error(NGX_LOG_EMERG, cycle->log, 0,
                      "\"part_duration\" must not be longer than "
                      "\"segment_duration\"");
        return NGX_CONF_ERROR;
    }

    if (lcf->playlist_length < 3 || lcf->playlist_length > 1000) {
        ngx_log_error(NGX_LOG_EMERG, cycle->log, 0,
                      "\"playlist_length\" must be between 3 and 1000");
        return NGX_CONF_ERROR;
    }

    if (lcf->playlist_length < 6) {
        ngx_log_error(NGX_LOG_WARN, cycle->log, 0,
                      "\"playlist_length\" is below 6, which players of "
                      "Apple ask for");
    }

    return ngx_livestream_dvr_init_conf(cycle, &lcf->dvr);
}


static ngx_int_t
ngx_livestream_llhls_init_process(ngx_cycle_t *cycle)
{
    if (ngx_livestream_core_conf(cycle) == NULL
        || (ngx_process != NGX_PROCESS_WORKER
            && ngx_process != NGX_PROCESS_SINGLE))
    {
        return NGX_OK;
    }

    if (ngx_livestream_pipeline_add_stage(&ngx_livestream_llhls_packager)
        == -1)
    {
        ngx_log_error(NGX_LOG_EMERG, cycle->log, 0,
                      "too many stages in a livestream's pipeline");
        return NGX_ERROR;
    }

    return ngx_livestream_dvr_init_process(cycle);
}


static void
ngx_livestream_llhls_exit_process(ngx_cycle_t *cycle)
{
    ngx_livestream_dvr_exit_process(cycle);
}


static ngx_int_t
ngx_livestream_llhls_stream_open(ngx_livestream_stream_t *s)
{
    ngx_livestream_llhls_writer_t  *w;

    w = ngx_livestream_llhls_writer(s);
    if (w == NULL) {
        return NGX_ERROR;
    }

    w->live = 0;

    if (s->sh->ntracks == 0) {
        return ngx_livestream_llhls_new(s);
    }

    ngx_livestream_llhls_continued(s, w);
    ngx_livestream_dvr_folder(s);

    return NGX_OK;
}


/* the stream's settings go before those of the block */

static ngx_int_t
ngx_livestream_llhls_new(ngx_livestream_stream_t *s)
{
    const char                   *why;
    ngx_str_t                     field;
    ngx_livestream_settings_t     settings;
    ngx_livestream_sh_stream_t   *sh;
    ngx_livestream_llhls_conf_t  *lcf;

    lcf = ngx_livestream_get_conf(ngx_cycle, ngx_livestream_llhls_module);

    if (ngx_livestream_settings_parse(&s->settings, s->pool, &settings,
                                      &field, &why)
        != NGX_OK)
    {
        ngx_log_error(NGX_LOG_ERR, s->log, 0,
                      "stream %V: its settings are invalid, \"%V\": %s",
                      &s->id, &field, why);
        return NGX_ERROR;
    }

    s->conf.segment_duration = (int64_t) lcf->segment_duration * 1000;
    s->conf.part_duration = (int64_t) lcf->part_duration * 1000;
    s->conf.playlist_length = lcf->playlist_length;

    if (settings.segment_duration > 0) {
        s->conf.segment_duration = settings.segment_duration * 1000000;
    }

    if (settings.part_duration > 0) {
        s->conf.part_duration = settings.part_duration * 1000000;
    }

    if (settings.playlist_length > 0) {
        s->conf.playlist_length = settings.playlist_length;
    }

    if (s->conf.part_duration > s->conf.segment_duration) {
        s->conf.part_duration = s->conf.segment_duration;
    }

    s->conf.low_latency = s->conf.low_latency && lcf->low_latency;

    sh = s->sh;

    sh->low_latency = s->conf.low_latency;
    sh->segment_duration = s->conf.segment_duration;
    sh->playlist_length = s->conf.playlist_length;

    ngx_livestream_dvr_stream_open(s);
    ngx_livestream_dvr_folder(s);

    return NGX_OK;
}


/* what was fixed when it was new stays, whatever was configured since */

static void
ngx_livestream_llhls_continued(ngx_livestream_stream_t *s,
    ngx_livestream_llhls_writer_t *w)
{
    ngx_uint_t                       i;
    ngx_livestream_track_t          *t;
    ngx_livestream_sh_stream_t      *sh;
    ngx_livestream_pipeline_conf_t  *conf;

    sh = s->sh;
    conf = &s->conf;

    ngx_livestream_llhls_settle(w);
    ngx_livestream_llhls_publish(w);

    conf->continued = 1;
    conf->low_latency = sh->low_latency;
    conf->segment_duration = sh->segment_duration;
    conf->part_duration = sh->part_target;
    conf->playlist_length = sh->playlist_length;
    conf->target_duration = sh->target_duration;
    conf->part_target = sh->part_target;
    conf->msn = w->records[0].state.open.msn;
    conf->timeline = sh->timeline;
    conf->ntracks = w->nrecords;

    for (i = 0; i < w->nrecords; i++) {
        t = w->records[i].track;

        ngx_memcpy(conf->tracks[i].name, t->name,
                   NGX_LIVESTREAM_TRACK_LEN + 1);

        if (w->records[i].state.open.pdt > conf->pdt) {
            conf->pdt = w->records[i].state.open.pdt;
        }

        conf->tracks[i].media = t->media;
        conf->tracks[i].config_hash = t->config_hash;
        conf->tracks[i].init = t->init;
    }
}


static void
ngx_livestream_llhls_stream_interrupted(ngx_livestream_stream_t *s)
{
    ngx_livestream_llhls_writer_t  *w;

    w = ngx_livestream_llhls_writer(s);

    if (w) {
        ngx_livestream_llhls_settle(w);
        ngx_livestream_llhls_publish(w);
    }
}


static void
ngx_livestream_llhls_stream_absent(ngx_livestream_stream_t *s)
{
    ngx_livestream_llhls_writer_t  *w;

    w = ngx_livestream_llhls_writer(s);

    if (w) {
        ngx_livestream_llhls_fill_absence(w);
        ngx_livestream_llhls_publish(w);
    }
}


static void
ngx_livestream_llhls_stream_close(ngx_livestream_stream_t *s)
{
    ngx_uint_t                      i;
    ngx_livestream_llhls_writer_t  *w;

    w = ngx_livestream_llhls_writer(s);

    if (w == NULL) {
        return;
    }

    ngx_livestream_llhls_settle(w);

    for (i = 0; i < w->nrecords; i++) {
        w->records[i].state.ended = 1;
        w->records[i].changed = 1;
    }

    ngx_livestream_dvr_log_end(s, &w->dvr);
    ngx_livestream_llhls_publish(w);
}


/* a segment ends at a key frame */

static ngx_int_t
ngx_livestream_llhls_settings(ngx_livestream_settings_t *settings,
    const char **field, const char **why)
{
    double                        segment;
    ngx_livestream_llhls_conf_t  *lcf;

    lcf = ngx_livestream_get_conf(ngx_cycle, ngx_livestream_llhls_module);

    segment = lcf->segment_duration / 1000.0;

    if (settings->segment_duration > 0) {
        segment = settings->segment_duration;
    }

    if (settings->keyframe_interval > segment) {
        *field = "keyframe_interval";
        *why = "must not be longer than segment_duration";
        return NGX_DECLINED;
    }

    return NGX_OK;
}

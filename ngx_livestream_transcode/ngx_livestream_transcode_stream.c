
/*
 * Copyright (C) nginx-livestream contributors
 *
 * What a stream's own settings make of the directives, and how many streams
 * may be transcoded.
 *
 *   settings      may they be met?  The API asks before it stores them
 *   stream_open   directives + settings --> the stage's conf, names of tracks
 *   stream_close  its place in max_transcodes is free
 *
 * The places are counted over all workers, in the streams' own records, so
 * that one is neither lost nor kept for ever when a worker dies: who adopts
 * the stream has its place, too.
 *
 * Event loop.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>

#include "ngx_livestream_transcode_module.h"


static void ngx_livestream_transcode_apply(
    ngx_livestream_transcode_main_conf_t *tcf,
    ngx_livestream_settings_t *settings,
    ngx_livestream_transcode_conf_t *conf);
static ngx_livestream_codec_e ngx_livestream_transcode_codec(
    ngx_livestream_transcode_main_conf_t *tcf,
    ngx_livestream_settings_t *settings);
static ngx_uint_t ngx_livestream_transcode_name(u_char **names,
    ngx_str_t *name);
static void ngx_livestream_transcode_choose(ngx_livestream_stream_t *s,
    ngx_livestream_transcode_main_conf_t *tcf,
    ngx_livestream_settings_t *settings,
    ngx_livestream_transcode_conf_t *conf);
static ngx_uint_t ngx_livestream_transcode_place(ngx_livestream_stream_t *s,
    ngx_uint_t max);
static void ngx_livestream_transcode_outputs(ngx_livestream_stream_t *s,
    ngx_livestream_transcode_conf_t *conf);


/* as the settings name them */
static const struct {
    const char                *name;
    ngx_livestream_codec_e     codec;
} ngx_livestream_transcode_names[] = {
    { "h264", NGX_LIVESTREAM_CODEC_H264 },
    { "h265", NGX_LIVESTREAM_CODEC_HEVC },
    { "vp9", NGX_LIVESTREAM_CODEC_VP9 }
};


ngx_int_t
ngx_livestream_transcode_settings(ngx_livestream_settings_t *settings,
    const char **field, const char **why)
{
    u_char                                *names;
    ngx_str_t                              name;
    ngx_livestream_transcode_main_conf_t  *tcf;

    tcf = ngx_livestream_get_conf(ngx_cycle, ngx_livestream_transcode_module);

    names = settings->resolutions;

    while (ngx_livestream_transcode_name(&names, &name)) {

        if (ngx_livestream_transcode_find(tcf, &name) == NULL) {
            *field = "resolutions";
            *why = "names a rung that the server does not have";
            return NGX_DECLINED;
        }
    }

    if ((settings->codec[0] || settings->enable_transcoding == 1)
        && ngx_livestream_transcode_encoder_lacks(
                      ngx_livestream_transcode_codec(tcf, settings), 0))
    {
        *field = settings->codec[0] ? "codec" : "enable_transcoding";
        *why = "needs an encoder that the server's libavcodec does not have";
        return NGX_DECLINED;
    }

    /* seen to */
    settings->enable_transcoding = -1;

    return NGX_OK;
}


ngx_int_t
ngx_livestream_transcode_stream_open(ngx_livestream_stream_t *s)
{
    void                                 **ctx;
    const char                            *why;
    ngx_str_t                              field;
    ngx_livestream_settings_t              settings;
    ngx_livestream_transcode_conf_t       *conf;
    ngx_livestream_transcode_main_conf_t  *tcf;

    tcf = ngx_livestream_get_conf(ngx_cycle, ngx_livestream_transcode_module);

    if (ngx_livestream_settings_parse(&s->settings, s->pool, &settings,
                                      &field, &why)
        != NGX_OK)
    {
        ngx_log_error(NGX_LOG_ERR, s->log, 0,
                      "stream %V: its settings are invalid, \"%V\": %s",
                      &s->id, &field, why);
        return NGX_ERROR;
    }

    ctx = &s->ctx[ngx_livestream_transcode_module.ctx_index];

    if (*ctx == NULL) {
        *ctx = ngx_palloc(s->pool, sizeof(ngx_livestream_transcode_conf_t));
        if (*ctx == NULL) {
            return NGX_ERROR;
        }
    }

    conf = *ctx;
    ngx_memzero(conf, sizeof(ngx_livestream_transcode_conf_t));

    ngx_livestream_transcode_apply(tcf, &settings, conf);

    if (conf->enabled) {
        ngx_livestream_transcode_choose(s, tcf, &settings, conf);
    }

    if (conf->enabled) {
        conf->enabled = ngx_livestream_transcode_place(s,
                                                       tcf->max_transcodes);
    } else {
        s->sh->transcoding = 0;
    }

    ngx_livestream_transcode_outputs(s, conf);

    s->conf.stage_conf[ngx_livestream_transcode_number] = conf;

    return NGX_OK;
}


void
ngx_livestream_transcode_stream_close(ngx_livestream_stream_t *s)
{
    s->sh->transcoding = 0;
}


/* the stream's settings go before the directives */

static void
ngx_livestream_transcode_apply(ngx_livestream_transcode_main_conf_t *tcf,
    ngx_livestream_settings_t *settings, ngx_livestream_transcode_conf_t *conf)
{
    ngx_str_t  *preset;

    conf->enabled = tcf->transcode;
    conf->gpu = tcf->gpu;
    conf->codec = ngx_livestream_transcode_codec(tcf, settings);
    conf->audio_codec = NGX_LIVESTREAM_CODEC_AAC;
    conf->audio_bitrate = tcf->audio_bitrate;
    conf->keyframe_interval = (int64_t) tcf->keyframe_interval * 1000;

    preset = &ngx_livestream_transcode_presets[tcf->preset].name;
    (void) ngx_cpystrn((u_char *) conf->preset, preset->data,
                       sizeof(conf->preset));

    if (settings->enable_transcoding != -1) {
        conf->enabled = settings->enable_transcoding;
    }

    if (settings->gpu_acceleration == 0) {
        conf->gpu = NGX_LIVESTREAM_TRANSCODE_GPU_OFF;
    }

    if (settings->gpu_acceleration == 1
        && conf->gpu == NGX_LIVESTREAM_TRANSCODE_GPU_OFF)
    {
        conf->gpu = NGX_LIVESTREAM_TRANSCODE_GPU_AUTO;
    }

    if (ngx_strcmp(settings->audio_codec, "opus") == 0) {
        conf->audio_codec = NGX_LIVESTREAM_CODEC_OPUS;
    }

    if (settings->audio_bitrate > 0) {
        conf->audio_bitrate = settings->audio_bitrate * 1000;
    }

    if (settings->keyframe_interval > 0) {
        conf->keyframe_interval = settings->keyframe_interval * 1000000;
    }
}


static ngx_livestream_codec_e
ngx_livestream_transcode_codec(ngx_livestream_transcode_main_conf_t *tcf,
    ngx_livestream_settings_t *settings)
{
    ngx_uint_t  i;

    for (i = 0;
         i < sizeof(ngx_livestream_transcode_names)
             / sizeof(ngx_livestream_transcode_names[0]);
         i++)
    {
        if (ngx_strcmp(settings->codec, ngx_livestream_transcode_names[i].name)
            == 0)
        {
            return ngx_livestream_transcode_names[i].codec;
        }
    }

    return tcf->codec;
}


/* the next of names that are parted by spaces; 0: there is none */

static ngx_uint_t
ngx_livestream_transcode_name(u_char **names, ngx_str_t *name)
{
    name->data = *names;
    name->len = strcspn((char *) *names, " ");

    *names += name->len;

    if (**names == ' ') {
        (*names)++;
    }

    return name->len != 0;
}


/* The rungs that the settings name, or all.  What has been stored may ask for
 * what is no longer configured. */

static void
ngx_livestream_transcode_choose(ngx_livestream_stream_t *s,
    ngx_livestream_transcode_main_conf_t *tcf,
    ngx_livestream_settings_t *settings, ngx_livestream_transcode_conf_t *conf)
{
    u_char                                *names;
    ngx_str_t                              name;
    ngx_uint_t                             i;
    const char                            *why;
    ngx_livestream_transcode_rung_conf_t  *rung;
    ngx_uint_t             chosen[NGX_LIVESTREAM_TRANSCODE_RUNGS];

    for (i = 0; i < tcf->nrungs; i++) {
        chosen[i] = (settings->resolutions[0] == '\0');
    }

    names = settings->resolutions;

    while (ngx_livestream_transcode_name(&names, &name)) {
        rung = ngx_livestream_transcode_find(tcf, &name);

        if (rung) {
            chosen[rung - tcf->rungs] = 1;
            continue;
        }

        ngx_log_error(NGX_LOG_WARN, s->log, 0,
                      "stream %V: left out rung \"%V\" of its settings, which "
                      "is not configured", &s->id, &name);
    }

    for (i = 0; i < tcf->nrungs; i++) {
        if (chosen[i]) {
            conf->rungs[conf->nrungs++] = tcf->rungs[i];
        }
    }

    why = ngx_livestream_transcode_encoder_lacks(conf->codec, 0);

    if (conf->nrungs == 0) {
        why = "it has no rungs";
    }

    if (why) {
        ngx_log_error(NGX_LOG_WARN, s->log, 0,
                      "stream %V: passed through, it cannot be transcoded: %s",
                      &s->id, why);
        conf->enabled = 0;
    }
}


/* a stream that is continued has its place already */

static ngx_uint_t
ngx_livestream_transcode_place(ngx_livestream_stream_t *s, ngx_uint_t max)
{
    ngx_uint_t                   i, n;
    ngx_livestream_sh_stream_t  *sh;

    n = 0;

    ngx_shmtx_lock(&ngx_livestream_shpool->mutex);

    for (i = 0; i < ngx_livestream_sh->nstreams; i++) {
        sh = &ngx_livestream_sh->streams[i];

        if (sh->state != NGX_LIVESTREAM_FREE
            && sh->state != NGX_LIVESTREAM_ENDED)
        {
            n += sh->transcoding;
        }
    }

    if (n < max) {
        s->sh->transcoding = 1;
    }

    ngx_shmtx_unlock(&ngx_livestream_shpool->mutex);

    if (!s->sh->transcoding) {
        ngx_log_error(NGX_LOG_WARN, s->log, 0,
                      "stream %V: passed through, \"max_transcodes\" of %ui "
                      "is reached", &s->id, max);
    }

    return s->sh->transcoding;
}


static void
ngx_livestream_transcode_outputs(ngx_livestream_stream_t *s,
    ngx_livestream_transcode_conf_t *conf)
{
    ngx_uint_t  i, n;

    for (i = NGX_LIVESTREAM_TRANSCODE_TRACK;
         i < NGX_LIVESTREAM_PIPELINE_TRACKS;
         i++)
    {
        n = i - NGX_LIVESTREAM_TRANSCODE_TRACK;

        ngx_memzero(&s->conf.outputs[i], sizeof(s->conf.outputs[i]));

        if (conf->enabled && n < conf->nrungs) {
            ngx_memcpy(s->conf.outputs[i].name, conf->rungs[n].name,
                       sizeof(conf->rungs[n].name));
            s->conf.outputs[i].media = NGX_LIVESTREAM_VIDEO;
        }
    }
}


void
ngx_livestream_transcode_message(void *data, ngx_livestream_message_t *msg)
{
    ngx_livestream_stream_t *s = data;
    ngx_livestream_transcode_message_t *m =
                                   (ngx_livestream_transcode_message_t *) msg;

    ngx_uint_t  level;

    level = (m->type == NGX_LIVESTREAM_TRANSCODE_INFO) ? NGX_LOG_NOTICE
                                                       : NGX_LOG_WARN;

    ngx_log_error(level, s->log, 0, "stream %V: %s%s", &s->id,
                  m->type == NGX_LIVESTREAM_TRANSCODE_QUALITY
                      ? "quality_changed: " : "",
                  m->text);
}

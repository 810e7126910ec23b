
/*
 * Copyright (C) nginx-livestream contributors
 *
 * The ladder in the livestream{} block: its directives, and its life in a
 * worker.
 *
 *   worker start   the thread of thumbnails, the stage of pipelines
 *   worker exit    the core, which is loaded before us, has ended all
 *                  pipelines; then the thread of thumbnails ends
 *
 * Event loop; directives in the master.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>

#include "ngx_livestream_transcode_gpu.h"
#include "ngx_livestream_transcode_module.h"


#define NGX_LIVESTREAM_TRANSCODE_MIN_SIDE     32
#define NGX_LIVESTREAM_TRANSCODE_MAX_SIDE     8192
#define NGX_LIVESTREAM_TRANSCODE_MIN_BITRATE  10000
#define NGX_LIVESTREAM_TRANSCODE_MAX_BITRATE  500000000


static void *ngx_livestream_transcode_create_conf(ngx_cycle_t *cycle);
static char *ngx_livestream_transcode_init_conf(ngx_cycle_t *cycle,
    void *conf);
static ngx_int_t ngx_livestream_transcode_bits(ngx_str_t *value);
static char *ngx_livestream_transcode_bitrate(ngx_conf_t *cf,
    ngx_command_t *cmd, void *conf);
static char *ngx_livestream_transcode_rung(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
static char *ngx_livestream_transcode_read_rung(ngx_str_t *value,
    ngx_livestream_transcode_rung_conf_t *rung);
static char *ngx_livestream_transcode_sort(ngx_cycle_t *cycle,
    ngx_livestream_transcode_main_conf_t *tcf);
static int ngx_libc_cdecl ngx_livestream_transcode_higher(const void *one,
    const void *two);
static ngx_int_t ngx_livestream_transcode_init_process(ngx_cycle_t *cycle);
static void ngx_livestream_transcode_exit_process(ngx_cycle_t *cycle);


static ngx_conf_enum_t  ngx_livestream_transcode_gpus[] = {
    { ngx_string("auto"), NGX_LIVESTREAM_TRANSCODE_GPU_AUTO },
    { ngx_string("on"), NGX_LIVESTREAM_TRANSCODE_GPU_ON },
    { ngx_string("off"), NGX_LIVESTREAM_TRANSCODE_GPU_OFF },
    { ngx_null_string, 0 }
};

static ngx_conf_enum_t  ngx_livestream_transcode_codecs[] = {
    { ngx_string("h264"), NGX_LIVESTREAM_CODEC_H264 },
    { ngx_string("hevc"), NGX_LIVESTREAM_CODEC_HEVC },
    { ngx_string("vp9"), NGX_LIVESTREAM_CODEC_VP9 },
    { ngx_null_string, 0 }
};

/* the value is the place in the table */
#define NGX_LIVESTREAM_TRANSCODE_VERYFAST  2

ngx_conf_enum_t  ngx_livestream_transcode_presets[] = {
    { ngx_string("ultrafast"), 0 },
    { ngx_string("superfast"), 1 },
    { ngx_string("veryfast"), NGX_LIVESTREAM_TRANSCODE_VERYFAST },
    { ngx_string("faster"), 3 },
    { ngx_string("fast"), 4 },
    { ngx_string("medium"), 5 },
    { ngx_string("slow"), 6 },
    { ngx_string("slower"), 7 },
    { ngx_string("veryslow"), 8 },
    { ngx_null_string, 0 }
};


/* the ladder of a configuration that has no rungs */
static const ngx_livestream_transcode_rung_conf_t
    ngx_livestream_transcode_rungs[] =
{
    { "1080p", 1920, 1080, 5000000 },
    { "720p", 1280, 720, 2800000 },
    { "480p", 854, 480, 1400000 },
    { "360p", 640, 360, 800000 },
    { "240p", 426, 240, 400000 }
};


static ngx_command_t  ngx_livestream_transcode_commands[] = {

    { ngx_string("transcode"),
      NGX_LIVESTREAM_CONF|NGX_CONF_FLAG,
      ngx_conf_set_flag_slot,
      0,
      offsetof(ngx_livestream_transcode_main_conf_t, transcode),
      NULL },

    { ngx_string("gpu"),
      NGX_LIVESTREAM_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_enum_slot,
      0,
      offsetof(ngx_livestream_transcode_main_conf_t, gpu),
      &ngx_livestream_transcode_gpus },

    { ngx_string("rung"),
      NGX_LIVESTREAM_CONF|NGX_CONF_TAKE3,
      ngx_livestream_transcode_rung,
      0,
      0,
      NULL },

    { ngx_string("video_codec"),
      NGX_LIVESTREAM_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_enum_slot,
      0,
      offsetof(ngx_livestream_transcode_main_conf_t, codec),
      &ngx_livestream_transcode_codecs },

    { ngx_string("video_preset"),
      NGX_LIVESTREAM_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_enum_slot,
      0,
      offsetof(ngx_livestream_transcode_main_conf_t, preset),
      &ngx_livestream_transcode_presets },

    { ngx_string("audio_bitrate"),
      NGX_LIVESTREAM_CONF|NGX_CONF_TAKE1,
      ngx_livestream_transcode_bitrate,
      0,
      offsetof(ngx_livestream_transcode_main_conf_t, audio_bitrate),
      NULL },

    { ngx_string("keyframe_interval"),
      NGX_LIVESTREAM_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_msec_slot,
      0,
      offsetof(ngx_livestream_transcode_main_conf_t, keyframe_interval),
      NULL },

    { ngx_string("max_transcodes"),
      NGX_LIVESTREAM_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_num_slot,
      0,
      offsetof(ngx_livestream_transcode_main_conf_t, max_transcodes),
      NULL },

      ngx_null_command
};


static ngx_livestream_module_t  ngx_livestream_transcode_module_ctx = {
    ngx_string("transcode"),
    ngx_livestream_transcode_create_conf,
    ngx_livestream_transcode_init_conf,
    {
        ngx_livestream_transcode_stream_open,
        NULL,
        NULL,
        ngx_livestream_transcode_stream_close,
        ngx_livestream_transcode_settings
    }
};


ngx_module_t  ngx_livestream_transcode_module = {
    NGX_MODULE_V1,
    &ngx_livestream_transcode_module_ctx,  /* module context */
    ngx_livestream_transcode_commands,     /* module directives */
    NGX_LIVESTREAM_MODULE,                 /* module type */
    NULL,                                  /* init master */
    NULL,                                  /* init module */
    ngx_livestream_transcode_init_process, /* init process */
    NULL,                                  /* init thread */
    NULL,                                  /* exit thread */
    ngx_livestream_transcode_exit_process, /* exit process */
    NULL,                                  /* exit master */
    NGX_MODULE_V1_PADDING
};


int  ngx_livestream_transcode_number = -1;


static void *
ngx_livestream_transcode_create_conf(ngx_cycle_t *cycle)
{
    ngx_livestream_transcode_main_conf_t  *tcf;

    tcf = ngx_pcalloc(cycle->pool,
                      sizeof(ngx_livestream_transcode_main_conf_t));
    if (tcf == NULL) {
        return NULL;
    }

    tcf->transcode = NGX_CONF_UNSET;
    tcf->gpu = NGX_CONF_UNSET_UINT;
    tcf->codec = NGX_CONF_UNSET_UINT;
    tcf->preset = NGX_CONF_UNSET_UINT;
    tcf->audio_bitrate = NGX_CONF_UNSET_UINT;
    tcf->keyframe_interval = NGX_CONF_UNSET_MSEC;
    tcf->max_transcodes = NGX_CONF_UNSET_UINT;

    return tcf;
}


static char *
ngx_livestream_transcode_init_conf(ngx_cycle_t *cycle, void *conf)
{
    ngx_livestream_transcode_main_conf_t *tcf = conf;

    ngx_uint_t   wanted;
    const char  *why;

    wanted = (tcf->transcode == 1 || tcf->codec != NGX_CONF_UNSET_UINT);

    ngx_conf_init_value(tcf->transcode, 0);
    ngx_conf_init_uint_value(tcf->gpu, NGX_LIVESTREAM_TRANSCODE_GPU_AUTO);
    ngx_conf_init_uint_value(tcf->codec, NGX_LIVESTREAM_CODEC_H264);
    ngx_conf_init_uint_value(tcf->preset, NGX_LIVESTREAM_TRANSCODE_VERYFAST);
    ngx_conf_init_uint_value(tcf->audio_bitrate, 128000);
    ngx_conf_init_msec_value(tcf->keyframe_interval, 2000);

    if (tcf->max_transcodes == NGX_CONF_UNSET_UINT) {
        tcf->max_transcodes = ngx_max(ngx_ncpu, 1);
    }

    if (tcf->keyframe_interval < 100 || tcf->keyframe_interval > 20000) {
        ngx_log_error(NGX_LOG_EMERG, cycle->log, 0,
                      "\"keyframe_interval\" must be between 100ms and 20s");
        return NGX_CONF_ERROR;
    }

    if (tcf->audio_bitrate < 8000 || tcf->audio_bitrate > 512000) {
        ngx_log_error(NGX_LOG_EMERG, cycle->log, 0,
                      "\"audio_bitrate\" must be between 8k and 512k");
        return NGX_CONF_ERROR;
    }

    why = ngx_livestream_transcode_encoder_lacks(tcf->codec, 0);

    if (wanted && why) {
        ngx_log_error(NGX_LOG_EMERG, cycle->log, 0,
                      "\"video_codec %s\" cannot be had: %s",
                      ngx_livestream_codec_name(tcf->codec), why);
        return NGX_CONF_ERROR;
    }

    why = (tcf->gpu == NGX_LIVESTREAM_TRANSCODE_GPU_ON)
          ? ngx_livestream_transcode_gpu_lacks() : NULL;

    if (why) {
        ngx_log_error(NGX_LOG_EMERG, cycle->log, 0,
                      "\"gpu on\" cannot be had: %s", why);
        return NGX_CONF_ERROR;
    }

    if (tcf->nrungs == 0) {
        tcf->nrungs = sizeof(ngx_livestream_transcode_rungs)
                      / sizeof(ngx_livestream_transcode_rungs[0]);
        ngx_memcpy(tcf->rungs, ngx_livestream_transcode_rungs,
                   sizeof(ngx_livestream_transcode_rungs));
    }

    return ngx_livestream_transcode_sort(cycle, tcf);
}


/* "128k" or "5m" as encoders count: a k is 1000 */

static ngx_int_t
ngx_livestream_transcode_bits(ngx_str_t *value)
{
    size_t     len;
    ngx_int_t  n, factor;

    len = value->len;
    factor = 1;

    switch (len ? value->data[len - 1] : '\0') {

    case 'k':
    case 'K':
        factor = 1000;
        len--;
        break;

    case 'm':
    case 'M':
        factor = 1000000;
        len--;
        break;
    }

    n = ngx_atoi(value->data, len);

    if (n == NGX_ERROR
        || n > NGX_LIVESTREAM_TRANSCODE_MAX_BITRATE / factor)
    {
        return NGX_ERROR;
    }

    return n * factor;
}


static char *
ngx_livestream_transcode_bitrate(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf)
{
    char  *p = conf;

    ngx_int_t    n;
    ngx_str_t   *value;
    ngx_uint_t  *field;

    field = (ngx_uint_t *) (p + cmd->offset);

    if (*field != NGX_CONF_UNSET_UINT) {
        return "is duplicate";
    }

    value = cf->args->elts;

    n = ngx_livestream_transcode_bits(&value[1]);
    if (n == NGX_ERROR) {
        return "has no valid bitrate, such as 128k";
    }

    *field = n;

    return NGX_CONF_OK;
}


static char *
ngx_livestream_transcode_rung(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_livestream_transcode_main_conf_t *tcf = conf;

    char                                  *rv;
    ngx_str_t                             *value;
    ngx_livestream_transcode_rung_conf_t   rung;

    (void) cmd;

    value = cf->args->elts;

    ngx_memzero(&rung, sizeof(ngx_livestream_transcode_rung_conf_t));

    rv = ngx_livestream_transcode_read_rung(&value[1], &rung);
    if (rv != NGX_CONF_OK) {
        return rv;
    }

    if (ngx_livestream_transcode_find(tcf, &value[1])) {
        return "is duplicate: its name is that of another one";
    }

    if (tcf->nrungs == NGX_LIVESTREAM_TRANSCODE_RUNGS) {
        return "is one too many: there may be 12";
    }

    tcf->rungs[tcf->nrungs++] = rung;

    return NGX_CONF_OK;
}


/* value: NAME WxH BITRATE */

static char *
ngx_livestream_transcode_read_rung(ngx_str_t *value,
    ngx_livestream_transcode_rung_conf_t *rung)
{
    u_char      *x, *last;
    ngx_int_t    width, height, bitrate;
    ngx_uint_t   i;

    static const char  *taken[] = { "source", "audio", "recordings",
                                    "videos" };

    if (strspn((char *) value[0].data, "0123456789abcdefghijklmnopqrstuvwxyz")
        != value[0].len
        || value[0].len == 0 || value[0].len >= sizeof(rung->name))
    {
        return "has no valid name: 1 to 15 of 0-9 and a-z";
    }

    ngx_memcpy(rung->name, value[0].data, value[0].len);

    for (i = 0; i < sizeof(taken) / sizeof(taken[0]); i++) {
        if (ngx_strcmp(rung->name, taken[i]) == 0) {
            return "has a name that means something else in URLs: \"source\", "
                   "\"audio\", \"recordings\" and \"videos\" do";
        }
    }

    last = value[1].data + value[1].len;
    x = ngx_strlchr(value[1].data, last, 'x');

    if (x == NULL) {
        return "has no valid size, such as 1280x720";
    }

    width = ngx_atoi(value[1].data, x - value[1].data);
    height = ngx_atoi(x + 1, last - x - 1);

    if (width < NGX_LIVESTREAM_TRANSCODE_MIN_SIDE
        || width > NGX_LIVESTREAM_TRANSCODE_MAX_SIDE || width % 2
        || height < NGX_LIVESTREAM_TRANSCODE_MIN_SIDE
        || height > NGX_LIVESTREAM_TRANSCODE_MAX_SIDE || height % 2)
    {
        return "has no valid size: two even numbers from 32 to 8192, such as "
               "1280x720";
    }

    bitrate = ngx_livestream_transcode_bits(&value[2]);

    if (bitrate < NGX_LIVESTREAM_TRANSCODE_MIN_BITRATE) {
        return "has no valid bitrate: 10k to 500m, such as 2800k";
    }

    rung->width = width;
    rung->height = height;
    rung->bitrate = bitrate;

    return NGX_CONF_OK;
}


/* Highest first.  Each box must lie within the one before it, so that a
 * picture never has to be made from one that is smaller in a direction. */

static char *
ngx_livestream_transcode_sort(ngx_cycle_t *cycle,
    ngx_livestream_transcode_main_conf_t *tcf)
{
    ngx_uint_t                             i;
    ngx_livestream_transcode_rung_conf_t  *r;

    r = tcf->rungs;

    ngx_qsort(r, tcf->nrungs, sizeof(ngx_livestream_transcode_rung_conf_t),
              ngx_livestream_transcode_higher);

    for (i = 1; i < tcf->nrungs; i++) {

        if (ngx_max(r[i].width, r[i].height)
            > ngx_max(r[i - 1].width, r[i - 1].height))
        {
            ngx_log_error(NGX_LOG_EMERG, cycle->log, 0,
                          "rung \"%s\" is wider than \"%s\", which is higher",
                          r[i].name, r[i - 1].name);
            return NGX_CONF_ERROR;
        }
    }

    return NGX_CONF_OK;
}


static int ngx_libc_cdecl
ngx_livestream_transcode_higher(const void *one, const void *two)
{
    uint32_t  m, n;

    const ngx_livestream_transcode_rung_conf_t *a = one;
    const ngx_livestream_transcode_rung_conf_t *b = two;

    m = ngx_min(a->width, a->height);
    n = ngx_min(b->width, b->height);

    if (m == n) {
        m = ngx_max(a->width, a->height);
        n = ngx_max(b->width, b->height);
    }

    if (m == n) {
        m = a->bitrate;
        n = b->bitrate;
    }

    return (m == n) ? ngx_strcmp(a->name, b->name) : (m < n) - (m > n);
}


static ngx_int_t
ngx_livestream_transcode_init_process(ngx_cycle_t *cycle)
{
    int  rc;

    if (ngx_livestream_core_conf(cycle) == NULL
        || (ngx_process != NGX_PROCESS_WORKER
            && ngx_process != NGX_PROCESS_SINGLE))
    {
        return NGX_OK;
    }

    rc = ngx_livestream_transcode_thumbnails_start();

    if (rc) {
        ngx_log_error(NGX_LOG_EMERG, cycle->log, rc,
                      "the thread of thumbnails cannot be started");
        return NGX_ERROR;
    }

    ngx_livestream_transcode_number = ngx_livestream_pipeline_add_stage(
                                              &ngx_livestream_transcode_stage);

    if (ngx_livestream_transcode_number == -1) {
        ngx_livestream_transcode_thumbnails_stop();
        ngx_log_error(NGX_LOG_EMERG, cycle->log, 0,
                      "too many stages in a livestream's pipeline");
        return NGX_ERROR;
    }

    return NGX_OK;
}


static void
ngx_livestream_transcode_exit_process(ngx_cycle_t *cycle)
{
    (void) cycle;

    if (ngx_livestream_transcode_number != -1) {
        ngx_livestream_transcode_thumbnails_stop();
    }
}


ngx_livestream_transcode_rung_conf_t *
ngx_livestream_transcode_find(ngx_livestream_transcode_main_conf_t *tcf,
    ngx_str_t *name)
{
    ngx_uint_t  i;

    for (i = 0; i < tcf->nrungs; i++) {

        if (name->len == ngx_strlen(tcf->rungs[i].name)
            && ngx_strncmp(name->data, tcf->rungs[i].name, name->len) == 0)
        {
            return &tcf->rungs[i];
        }
    }

    return NULL;
}

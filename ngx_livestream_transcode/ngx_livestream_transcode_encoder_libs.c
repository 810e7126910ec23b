
/*
 * Copyright (C) nginx-livestream contributors
 *
 * The encoders' libraries: which there are, and how each is to be opened so
 * that it puts out a picture before it takes the next, makes key frames where
 * it is told to and nowhere else, and keeps to its bitrate.
 *
 * Bitrate is constant with a small buffer: what goes over the network in a
 * second is about the same in each, so that a player's measurements hold.
 * Pictures that are as good as they can look take less.
 *
 * The rung's thread; two of them open one after the other.
 */


#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ngx_livestream_transcode_encoder.h"


/* the buffer that a decoder needs, in ms of the bitrate: what a key frame may
 * take at once */
#define NGX_LIVESTREAM_ENCODER_BUFFER   500

/* of 51, from where on nobody sees a difference */
#define NGX_LIVESTREAM_ENCODER_QMIN     12

#define NGX_LIVESTREAM_ENCODER_GOP      (1 << 30)


static void ngx_livestream_encoder_basics(AVCodecContext *avctx,
    const ngx_livestream_transcode_encoder_t *e);
static void ngx_livestream_encoder_colours(AVCodecContext *avctx,
    const AVCodecContext *like, const AVFrame *first);
static int ngx_livestream_encoder_options(
    const ngx_livestream_transcode_encoder_t *e, AVDictionary **options);
static void ngx_livestream_encoder_x265_params(
    const ngx_livestream_transcode_encoder_t *e, char *text, size_t size);
static int ngx_livestream_encoder_vpx_options(
    const ngx_livestream_transcode_encoder_t *e, AVDictionary **options);
static const char *ngx_livestream_encoder_preset(
    const ngx_livestream_transcode_encoder_t *e);
static const char *ngx_livestream_encoder_refused(
    const ngx_livestream_transcode_encoder_t *e, int rc);


/* No look-ahead of any kind, and key frames only where they are asked for.
 * force-cfr is what keeps libx264 from waiting for a second picture. */

static const ngx_livestream_encoder_option_t  ngx_livestream_encoder_x264[] = {
    { "forced-idr", "1" },
    { "rc-lookahead", "0" },
    { "mbtree", "0" },
    { "x264-params", "sync-lookahead=0:force-cfr=1:scenecut=0" },
    { NULL, NULL }
};

/* Without SAO libx265 3.5 loses its buffers when it is closed; with it, only
 * its copy of the parameters.  Threads are added to these. */

#define NGX_LIVESTREAM_ENCODER_X265                                          \
    "log-level=none:info=0:keyint=-1:scenecut=0:rc-lookahead=0:cutree=0:"    \
    "b-adapt=0:frame-threads=1:slices=1:vui-timing-info=0:sao=1:"

static const ngx_livestream_encoder_option_t  ngx_livestream_encoder_x265[] = {
    { "forced-idr", "1" },
    { NULL, NULL }
};

static const ngx_livestream_encoder_option_t  ngx_livestream_encoder_vpx[] = {
    { "deadline", "realtime" },
    { "lag-in-frames", "0" },
    { "auto-alt-ref", "0" },
    { "error-resilient", "0" },
    { "frame-parallel", "0" },
    { "drop-threshold", "0" },
    { "aq-mode", "3" },
    { "undershoot-pct", "50" },
    { "overshoot-pct", "50" },
    { "max-intra-rate", "400" },        /* % of a picture's share */
    { NULL, NULL }
};

static const ngx_livestream_encoder_option_t  ngx_livestream_encoder_nvenc[] =
{
    { "preset", "p4" },
    { "tune", "ll" },
    { "rc", "cbr" },
    { "delay", "0" },
    { "zerolatency", "1" },
    { "forced-idr", "1" },
    { "b_ref_mode", "disabled" },
    { NULL, NULL }
};


#define ngx_livestream_encoder_texts(name)                                   \
    name, name " is not in this build of libavcodec",                        \
    name " does not take this size, bitrate or preset"


static const ngx_livestream_encoder_kind_t  ngx_livestream_encoder_kinds[] = {

    { NGX_LIVESTREAM_CODEC_H264, 0, NGX_LIVESTREAM_PACE_BITRATE,
      ngx_livestream_encoder_texts("libx264"), ngx_livestream_encoder_x264 },

    { NGX_LIVESTREAM_CODEC_HEVC, 0, NGX_LIVESTREAM_PACE_REOPEN,
      ngx_livestream_encoder_texts("libx265"), ngx_livestream_encoder_x265 },

    { NGX_LIVESTREAM_CODEC_VP9, 0, NGX_LIVESTREAM_PACE_DURATION,
      ngx_livestream_encoder_texts("libvpx-vp9"),
      ngx_livestream_encoder_vpx },

    { NGX_LIVESTREAM_CODEC_H264, 1, NGX_LIVESTREAM_PACE_BITRATE_IDR,
      ngx_livestream_encoder_texts("h264_nvenc"),
      ngx_livestream_encoder_nvenc },

    { NGX_LIVESTREAM_CODEC_HEVC, 1, NGX_LIVESTREAM_PACE_BITRATE_IDR,
      ngx_livestream_encoder_texts("hevc_nvenc"),
      ngx_livestream_encoder_nvenc },

    { NGX_LIVESTREAM_CODEC_NONE, 0, 0, NULL, NULL, NULL, NULL }
};


/* the presets of libx264 and libx265, and what comes near in libvpx */

static const ngx_livestream_encoder_option_t
    ngx_livestream_encoder_presets[] =
{
    { "ultrafast", "8" },
    { "superfast", "8" },
    { "veryfast", "8" },
    { "faster", "7" },
    { "fast", "7" },
    { "medium", "6" },
    { "slow", "5" },
    { "slower", "5" },
    { "veryslow", "5" },
    { "placebo", "5" },
    { NULL, NULL }
};


/* libx265 fills tables of its process when it is first opened */

static pthread_mutex_t  ngx_livestream_encoder_mutex =
                                                     PTHREAD_MUTEX_INITIALIZER;


const char *
ngx_livestream_transcode_encoder_lacks(ngx_livestream_codec_e codec,
    int device)
{
    const ngx_livestream_encoder_kind_t  *kind;

    kind = ngx_livestream_encoder_kind(codec, device);

    if (kind == NULL) {
        return device ? "GPUs have no encoder for this codec"
                      : "there is no encoder for this codec";
    }

    return avcodec_find_encoder_by_name(kind->name) ? NULL : kind->missing;
}


const ngx_livestream_encoder_kind_t *
ngx_livestream_encoder_kind(ngx_livestream_codec_e codec, int device)
{
    const ngx_livestream_encoder_kind_t  *kind;

    for (kind = ngx_livestream_encoder_kinds; kind->name; kind++) {
        if (kind->codec == codec && kind->device == !!device) {
            return kind;
        }
    }

    return NULL;
}


AVCodecContext *
ngx_livestream_encoder_context(ngx_livestream_transcode_encoder_t *e,
    const AVCodecContext *like, const AVFrame *first, const char **reason)
{
    int              rc;
    AVDictionary    *options;
    const AVCodec   *codec;
    AVCodecContext  *avctx;

    codec = avcodec_find_encoder_by_name(e->kind->name);
    if (codec == NULL) {
        *reason = e->kind->missing;
        return NULL;
    }

    if (ngx_livestream_encoder_preset(e) == NULL) {
        *reason = "video_preset is unknown";
        return NULL;
    }

    *reason = "no memory for an encoder";

    avctx = avcodec_alloc_context3(codec);
    if (avctx == NULL) {
        return NULL;
    }

    options = NULL;

    ngx_livestream_encoder_basics(avctx, e);
    ngx_livestream_encoder_colours(avctx, like, first);

    if (e->conf.frames) {
        avctx->hw_frames_ctx = av_buffer_ref(e->conf.frames);

        if (avctx->hw_frames_ctx == NULL) {
            goto failed;
        }
    }

    if (ngx_livestream_encoder_options(e, &options) < 0) {
        goto failed;
    }

    (void) pthread_mutex_lock(&ngx_livestream_encoder_mutex);
    rc = avcodec_open2(avctx, codec, &options);
    (void) pthread_mutex_unlock(&ngx_livestream_encoder_mutex);

    if (rc < 0) {
        *reason = ngx_livestream_encoder_refused(e, rc);
        goto failed;
    }

    av_dict_free(&options);

    return avctx;

failed:

    av_dict_free(&options);
    avcodec_free_context(&avctx);

    return NULL;
}


static void
ngx_livestream_encoder_basics(AVCodecContext *avctx,
    const ngx_livestream_transcode_encoder_t *e)
{
    avctx->width = e->conf.width;
    avctx->height = e->conf.height;
    avctx->sample_aspect_ratio = (AVRational) { 1, 1 };
    avctx->pix_fmt = e->kind->device ? AV_PIX_FMT_CUDA : AV_PIX_FMT_YUV420P;
    avctx->time_base = (AVRational) { 1, NGX_LIVESTREAM_TRANSCODE_CLOCK };

    (void) av_reduce(&avctx->framerate.num, &avctx->framerate.den,
                     (int64_t) NGX_LIVESTREAM_TRANSCODE_CLOCK
                     << NGX_LIVESTREAM_ENCODER_SHIFT, e->nominal, INT32_MAX);

    avctx->bit_rate = e->conf.bitrate;
    avctx->rc_max_rate = e->conf.bitrate;
    avctx->rc_buffer_size = (int64_t) e->conf.bitrate
                            * NGX_LIVESTREAM_ENCODER_BUFFER / 1000;

    avctx->gop_size = NGX_LIVESTREAM_ENCODER_GOP;
    avctx->max_b_frames = 0;
    avctx->flags |= AV_CODEC_FLAG_CLOSED_GOP;

    avctx->thread_count = 1;

    switch (e->kind->codec) {

    case NGX_LIVESTREAM_CODEC_VP9:
        avctx->rc_min_rate = e->conf.bitrate;       /* or it is not CBR */
        avctx->thread_count = e->conf.threads;
        break;

    case NGX_LIVESTREAM_CODEC_H264:
        if (e->conf.threads > 1 && !e->kind->device) {
            avctx->thread_count = e->conf.threads;
            avctx->thread_type = FF_THREAD_SLICE;
        }

        /* fall through */

    default:                        /* for libx265 threads mean pictures */
        avctx->flags |= AV_CODEC_FLAG_GLOBAL_HEADER;

        if (!e->kind->device) {
            avctx->qmin = NGX_LIVESTREAM_ENCODER_QMIN;
        }
    }
}


static void
ngx_livestream_encoder_colours(AVCodecContext *avctx,
    const AVCodecContext *like, const AVFrame *first)
{
    if (like) {
        avctx->color_range = like->color_range;
        avctx->color_primaries = like->color_primaries;
        avctx->color_trc = like->color_trc;
        avctx->colorspace = like->colorspace;
        avctx->chroma_sample_location = like->chroma_sample_location;
        return;
    }

    avctx->color_range = first->color_range;
    avctx->color_primaries = first->color_primaries;
    avctx->color_trc = first->color_trc;
    avctx->colorspace = first->colorspace;
    avctx->chroma_sample_location = first->chroma_location;

    if (avctx->color_range == AVCOL_RANGE_UNSPECIFIED) {
        avctx->color_range = AVCOL_RANGE_MPEG;
    }
}


/* negative: out of memory */

static int
ngx_livestream_encoder_options(const ngx_livestream_transcode_encoder_t *e,
    AVDictionary **options)
{
    int                                     rc;
    char                                    text[512];
    const ngx_livestream_encoder_option_t  *o;

    rc = 0;

    for (o = e->kind->options; o->name && rc >= 0; o++) {
        rc = av_dict_set(options, o->name, o->value, 0);
    }

    if (rc < 0 || e->kind->device) {
        return rc;
    }

    if (e->kind->codec == NGX_LIVESTREAM_CODEC_VP9) {
        return ngx_livestream_encoder_vpx_options(e, options);
    }

    if (e->kind->codec == NGX_LIVESTREAM_CODEC_HEVC) {
        ngx_livestream_encoder_x265_params(e, text, sizeof(text));
        rc = av_dict_set(options, "x265-params", text, 0);
    }

    return rc < 0 ? rc : av_dict_set(options, "preset", e->preset, 0);
}


static void
ngx_livestream_encoder_x265_params(
    const ngx_livestream_transcode_encoder_t *e, char *text, size_t size)
{
    char  pools[16], level[32];

    pools[0] = '\0';
    level[0] = '\0';

    if (e->conf.threads > 1) {
        (void) snprintf(pools, sizeof(pools), "%u", e->conf.threads);
    }

    if (e->level) {
        (void) snprintf(level, sizeof(level), ":level-idc=%u", e->level);
    }

    (void) snprintf(text, size, "%spools=%s%s", NGX_LIVESTREAM_ENCODER_X265,
                    pools[0] ? pools : "none:wpp=0", level);
}


/* a column of tiles is at least 256 wide */

static int
ngx_livestream_encoder_vpx_options(
    const ngx_livestream_transcode_encoder_t *e, AVDictionary **options)
{
    int       rc;
    unsigned  columns;

    columns = 0;

    while (2u << columns <= e->conf.threads
           && 512u << columns <= e->conf.width)
    {
        columns++;
    }

    rc = av_dict_set_int(options, "tile-columns", columns, 0);

    if (rc >= 0) {
        rc = av_dict_set_int(options, "row-mt", e->conf.threads > 1, 0);
    }

    if (rc >= 0) {
        rc = av_dict_set(options, "cpu-used",
                         ngx_livestream_encoder_preset(e), 0);
    }

    return rc;
}


static const char *
ngx_livestream_encoder_preset(const ngx_livestream_transcode_encoder_t *e)
{
    const ngx_livestream_encoder_option_t  *preset;

    for (preset = ngx_livestream_encoder_presets; preset->name; preset++) {
        if (strcmp(preset->name, e->preset) == 0) {
            return preset->value;
        }
    }

    return NULL;
}


/* NVENC calls it out of memory when all sessions are taken */

static const char *
ngx_livestream_encoder_refused(const ngx_livestream_transcode_encoder_t *e,
    int rc)
{
    if (!e->kind->device) {
        return rc == AVERROR(ENOMEM) ? "no memory for an encoder"
                                     : e->kind->refused;
    }

    switch (AVUNERROR(rc)) {

    case EPERM:
        return "NVENC: the driver is missing or too old";

    case ENOENT:
    case ENOSYS:
        return "NVENC: this GPU has no encoder for the codec or the size";

    case ENOMEM:
        return "NVENC: all sessions are taken, or no memory is left";

    default:
        return "NVENC: the session was refused";
    }
}


ngx_livestream_codec_t *
ngx_livestream_encoder_codec(ngx_livestream_transcode_encoder_t *e,
    const AVCodecContext *avctx, const char **reason)
{
    int                      rc;
    size_t                   len;
    uint8_t                 *data;
    ngx_livestream_codec_t  *codec;

    rc = ngx_livestream_transcode_record(avctx, &data, &len);

    if (rc != 0) {
        *reason = rc == ENOMEM ? "no memory for an encoder"
                               : "encoder wrote no parameter sets";
        return NULL;
    }

    rc = ngx_livestream_codec_parse(e->kind->codec, data, len, &codec,
                                    reason);
    free(data);

    return rc == 0 ? codec : NULL;
}


/*
 * Copyright (C) nginx-livestream contributors
 *
 * Decoders: libavcodec's, opened for a track's codec.
 *
 * A live decoder must not hold pictures back.  One thread decodes 1080p60, so
 * that the threads that libavcodec runs by frames, each of which delays by a
 * picture, are for those who ask for more than one: 4K.  AV1 is dav1d's, whose
 * threads share one picture.
 *
 * A picture that cannot be decoded whole would be seen in every rung.
 * libavcodec tells of it with an error or by flags of the picture; the caller
 * leaves it out, and those up to the next key frame, of which nothing is told.
 * HEVC has to begin at a key frame too: it makes up references that it lacks.
 *
 * Any thread.
 */


#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <string.h>

#include <libavutil/common.h>
#include <libavutil/hwcontext.h>
#include <libavutil/pixdesc.h>

#include "ngx_livestream_transcode.h"


#define NGX_LIVESTREAM_DECODER_PIXELS   (8192 * 4608)
#define NGX_LIVESTREAM_DECODER_THREADS  16
/* pictures on a device that may be on their way beyond the decoder */
#define NGX_LIVESTREAM_DECODER_SURFACES 4


typedef struct {
    enum AVCodecID           id;
    const char              *name;      /* NULL: the first that there is */
    const char              *device;    /* the same, for use with a device */
    uint32_t                 extradata; /* config is what it wants */
} ngx_livestream_decoder_t;


static void ngx_livestream_decoder_quiet(void);
static const AVCodec *ngx_livestream_decoder_find(
    const ngx_livestream_decoder_t *d, AVBufferRef *device);
static int ngx_livestream_decoder_setup(AVCodecContext *avctx,
    const ngx_livestream_codec_t *codec, const ngx_livestream_decoder_t *d);
static int ngx_livestream_decoder_device(AVCodecContext *avctx,
    AVBufferRef *device);
static int ngx_livestream_decoder_start(AVCodecContext *avctx,
    const AVCodec *dec, int threads);
static enum AVPixelFormat ngx_livestream_decoder_format(AVCodecContext *avctx,
    const enum AVPixelFormat *formats);


static const ngx_livestream_decoder_t  ngx_livestream_decoders[] = {
    [NGX_LIVESTREAM_CODEC_NONE] = { AV_CODEC_ID_NONE, NULL, NULL, 0 },
    [NGX_LIVESTREAM_CODEC_H264] = { AV_CODEC_ID_H264, NULL, NULL, 1 },
    [NGX_LIVESTREAM_CODEC_HEVC] = { AV_CODEC_ID_HEVC, NULL, NULL, 1 },
    [NGX_LIVESTREAM_CODEC_AV1]  = { AV_CODEC_ID_AV1, "libdav1d", "av1", 1 },
    [NGX_LIVESTREAM_CODEC_VP9]  = { AV_CODEC_ID_VP9, NULL, NULL, 0 },
    [NGX_LIVESTREAM_CODEC_AAC]  = { AV_CODEC_ID_AAC, NULL, NULL, 1 },
    [NGX_LIVESTREAM_CODEC_OPUS] = { AV_CODEC_ID_OPUS, NULL, NULL, 1 },
    [NGX_LIVESTREAM_CODEC_FLAC] = { AV_CODEC_ID_FLAC, NULL, NULL, 1 }
};

static pthread_once_t  ngx_livestream_decoder_once = PTHREAD_ONCE_INIT;


AVCodecContext *
ngx_livestream_transcode_decoder_open(const ngx_livestream_codec_t *codec,
    AVBufferRef *device, int threads, const char **reason)
{
    int                              rc;
    const AVCodec                   *dec;
    AVCodecContext                  *avctx;
    const ngx_livestream_decoder_t  *d;

    (void) pthread_once(&ngx_livestream_decoder_once,
                        ngx_livestream_decoder_quiet);

    if ((unsigned) codec->id > NGX_LIVESTREAM_CODEC_FLAC) {
        *reason = "there is no such codec";
        return NULL;
    }

    d = &ngx_livestream_decoders[codec->id];

    dec = ngx_livestream_decoder_find(d, device);
    if (dec == NULL) {
        *reason = "this libavcodec has no decoder for it";
        return NULL;
    }

    avctx = avcodec_alloc_context3(dec);
    if (avctx == NULL) {
        *reason = "out of memory";
        return NULL;
    }

    rc = ngx_livestream_decoder_setup(avctx, codec, d);

    if (rc == 0 && device != NULL) {
        rc = ngx_livestream_decoder_device(avctx, device);
        threads = 1;
    }

    if (rc == 0) {
        rc = ngx_livestream_decoder_start(avctx, dec, threads);
    }

    if (rc != 0) {
        avcodec_free_context(&avctx);
        *reason = (rc == ENOMEM) ? "out of memory"
                                 : "libavcodec refuses its configuration";
        return NULL;
    }

    return avctx;
}


int
ngx_livestream_transcode_packet(AVPacket *pkt, const ngx_livestream_frame_t *f)
{
    if (f->size > INT_MAX - AV_INPUT_BUFFER_PADDING_SIZE) {
        return EINVAL;
    }

    av_packet_unref(pkt);

    if (av_new_packet(pkt, f->size) < 0) {
        return ENOMEM;
    }

    memcpy(pkt->data, f->data, f->size);

    pkt->pts = f->pts;
    pkt->dts = f->dts;
    pkt->duration = f->duration;

    if (f->flags & NGX_LIVESTREAM_FRAME_KEY) {
        pkt->flags |= AV_PKT_FLAG_KEY;
    }

    return 0;
}


int
ngx_livestream_transcode_damaged(const AVFrame *pic)
{
    return pic->decode_error_flags != 0
           || (pic->flags & AV_FRAME_FLAG_CORRUPT) != 0;
}


/* It would write to standard error, which is nginx's error log; what is wrong
 * is told by results. */
static void
ngx_livestream_decoder_quiet(void)
{
    av_log_set_level(AV_LOG_QUIET);
}


/* libavcodec's own decoder of AV1 does nothing without a device: on one that
 * cannot, it fails at the first picture. */
static const AVCodec *
ngx_livestream_decoder_find(const ngx_livestream_decoder_t *d,
    AVBufferRef *device)
{
    const char  *name;

    name = device ? d->device : d->name;

    return name ? avcodec_find_decoder_by_name(name)
                : avcodec_find_decoder(d->id);
}


static int
ngx_livestream_decoder_setup(AVCodecContext *avctx,
    const ngx_livestream_codec_t *codec, const ngx_livestream_decoder_t *d)
{
    avctx->pkt_timebase = (AVRational) { 1, codec->timescale };
    avctx->max_pixels = NGX_LIVESTREAM_DECODER_PIXELS;

    switch (codec->id) {

    case NGX_LIVESTREAM_CODEC_HEVC:
        /* its only way to tell */
        avctx->err_recognition |= AV_EF_EXPLODE;
        break;

    case NGX_LIVESTREAM_CODEC_AV1:
        /* dav1d's threads work on one picture, not on several */
        avctx->flags |= AV_CODEC_FLAG_LOW_DELAY;
        break;

    default:
        break;
    }

    if (codec->media == NGX_LIVESTREAM_AUDIO) {
        avctx->sample_rate = codec->sample_rate;
        av_channel_layout_default(&avctx->ch_layout, codec->channels);
    }

    if (!d->extradata || codec->config_len == 0) {
        return 0;
    }

    if (codec->config_len > NGX_LIVESTREAM_CONFIG_MAX) {
        return EINVAL;
    }

    avctx->extradata = av_mallocz(codec->config_len
                                  + AV_INPUT_BUFFER_PADDING_SIZE);
    if (avctx->extradata == NULL) {
        return ENOMEM;
    }

    memcpy(avctx->extradata, codec->config, codec->config_len);
    avctx->extradata_size = codec->config_len;

    return 0;
}


static int
ngx_livestream_decoder_device(AVCodecContext *avctx, AVBufferRef *device)
{
    avctx->hw_device_ctx = av_buffer_ref(device);
    avctx->get_format = ngx_livestream_decoder_format;
    avctx->extra_hw_frames = NGX_LIVESTREAM_DECODER_SURFACES;

    return avctx->hw_device_ctx ? 0 : ENOMEM;
}


static int
ngx_livestream_decoder_start(AVCodecContext *avctx, const AVCodec *dec,
    int threads)
{
    int  rc;

    avctx->thread_count = FFMIN(FFMAX(threads, 1),
                                NGX_LIVESTREAM_DECODER_THREADS);

    rc = avcodec_open2(avctx, dec, NULL);

    if (rc < 0) {
        return rc == AVERROR(ENOMEM) ? ENOMEM : EINVAL;
    }

    return 0;
}


/* Asked again, without the device, when that has refused the stream. */
static enum AVPixelFormat
ngx_livestream_decoder_format(AVCodecContext *avctx,
    const enum AVPixelFormat *formats)
{
    const AVPixFmtDescriptor  *desc;
    const enum AVPixelFormat  *p, *memory;

    (void) avctx;

    memory = NULL;

    for (p = formats; *p != AV_PIX_FMT_NONE; p++) {
        if (*p == AV_PIX_FMT_CUDA) {
            return *p;
        }

        desc = av_pix_fmt_desc_get(*p);

        if (memory == NULL && desc != NULL
            && !(desc->flags & AV_PIX_FMT_FLAG_HWACCEL))
        {
            memory = p;
        }
    }

    return memory ? *memory : AV_PIX_FMT_NONE;
}


/*
 * Copyright (C) nginx-livestream contributors
 *
 * Encoder: pictures of one rung into frames, through libavcodec.
 *
 *   picture, stamp --> clock --> libx264, libx265, libvpx, NVENC --> packet
 *                        |                                             |
 *                        +--> ring of stamps, by clock --------------->+
 *                                                                      |
 *                         frame <-- length-prefixed NAL units <--------+
 *
 * A picture's frame comes out before the next picture goes in.  None of the
 * libraries can then know how long the picture lasts, and those whose rate
 * control counts pictures are told of the time between them by other means
 * (pace below).
 *
 * The library is shown a clock of its own, which never stands still nor leaps,
 * whatever the timestamps do; they come back by it.
 *
 * The rung's thread; two of them open one after the other.
 */


#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ngx_livestream_transcode_encoder.h"


#define NGX_LIVESTREAM_ENCODER_RATE     30000   /* where nobody knows it */

/* the time between pictures is averaged over so many */
#define NGX_LIVESTREAM_ENCODER_AVERAGE  16
#define NGX_LIVESTREAM_ENCODER_TRUST    4       /* that the nominal rate is
                                                   worth at the begin */
#define NGX_LIVESTREAM_ENCODER_RATIO    8       /* to the nominal one */
#define NGX_LIVESTREAM_ENCODER_STEP     2       /* % that are worth telling */
#define NGX_LIVESTREAM_ENCODER_REOPEN   5       /* % that are worth that */

#define NGX_LIVESTREAM_ENCODER_VPCC     12


static int ngx_livestream_encoder_init(ngx_livestream_transcode_encoder_t *e,
    const ngx_livestream_transcode_encoder_conf_t *conf,
    const char **reason);
static int ngx_livestream_encoder_fits(ngx_livestream_transcode_encoder_t *e,
    const AVFrame *pic);
static void ngx_livestream_encoder_tick(ngx_livestream_transcode_encoder_t *e,
    int64_t pts);
static void ngx_livestream_encoder_pace(ngx_livestream_transcode_encoder_t *e,
    int idr);
static void ngx_livestream_encoder_bitrate(
    ngx_livestream_transcode_encoder_t *e);
static void ngx_livestream_encoder_reopen(
    ngx_livestream_transcode_encoder_t *e);
static int ngx_livestream_encoder_send(ngx_livestream_transcode_encoder_t *e,
    const AVFrame *pic, int idr);
static int ngx_livestream_encoder_receive(
    ngx_livestream_transcode_encoder_t *e,
    ngx_livestream_transcode_emit_pt emit, void *data);
static int ngx_livestream_encoder_stamp(ngx_livestream_transcode_encoder_t *e,
    ngx_livestream_transcode_stamp_t *stamp);
static int ngx_livestream_encoder_frame(ngx_livestream_transcode_encoder_t *e,
    ngx_livestream_frame_t **frame);
static int ngx_livestream_encoder_refine(
    ngx_livestream_transcode_encoder_t *e);
static int ngx_livestream_encoder_errno(int rc);


ngx_livestream_transcode_encoder_t *
ngx_livestream_transcode_encoder_open(
    const ngx_livestream_transcode_encoder_conf_t *conf, const AVFrame *first,
    const char **reason)
{
    ngx_livestream_transcode_encoder_t  *e;

    *reason = "no memory for an encoder";

    e = calloc(1, sizeof(ngx_livestream_transcode_encoder_t));
    if (e == NULL) {
        return NULL;
    }

    if (ngx_livestream_encoder_init(e, conf, reason) != 0) {
        goto failed;
    }

    if (!ngx_livestream_encoder_fits(e, first)) {
        *reason = "picture is not of the rung's size and format";
        goto failed;
    }

    e->avctx = ngx_livestream_encoder_context(e, NULL, first, reason);
    if (e->avctx == NULL) {
        goto failed;
    }

    if (conf->codec == NGX_LIVESTREAM_CODEC_VP9) {
        return e;
    }

    e->codec = ngx_livestream_encoder_codec(e, e->avctx, reason);
    if (e->codec == NULL) {
        goto failed;
    }

    return e;

failed:

    ngx_livestream_transcode_encoder_close(e);

    return NULL;
}


static int
ngx_livestream_encoder_init(ngx_livestream_transcode_encoder_t *e,
    const ngx_livestream_transcode_encoder_conf_t *conf, const char **reason)
{
    uint32_t  rate;

    e->conf = *conf;
    e->conf.frames = NULL;
    e->conf.preset = NULL;
    e->conf.threads = conf->threads ? conf->threads : 1;

    e->kind = ngx_livestream_encoder_kind(conf->codec, conf->frames != NULL);

    if (e->kind == NULL) {
        *reason = "there is no encoder for this codec";
        return -1;
    }

    (void) snprintf(e->preset, sizeof(e->preset), "%s",
                    conf->preset && conf->preset[0] ? conf->preset
                                                    : "veryfast");

    if (conf->width == 0 || conf->height == 0
        || conf->width % 2 || conf->height % 2
        || conf->width > INT16_MAX || conf->height > INT16_MAX)
    {
        *reason = "size of the rung is not possible";
        return -1;
    }

    if (conf->bitrate < 1000 || conf->bitrate > INT32_MAX / 2) {
        *reason = "bitrate of the rung is not possible";
        return -1;
    }

    if (conf->frames) {
        e->conf.frames = av_buffer_ref(conf->frames);
    }

    e->pic = av_frame_alloc();
    e->pkt = av_packet_alloc();

    if (e->pic == NULL || e->pkt == NULL
        || (conf->frames && e->conf.frames == NULL))
    {
        return -1;
    }

    rate = conf->rate ? conf->rate : NGX_LIVESTREAM_ENCODER_RATE;

    e->nominal = ((INT64_C(1000) * NGX_LIVESTREAM_TRANSCODE_CLOCK)
                  << NGX_LIVESTREAM_ENCODER_SHIFT) / rate;

    if (e->nominal == 0) {
        e->nominal = 1;
    }

    e->interval = e->nominal;

    return 0;
}


void
ngx_livestream_transcode_encoder_close(ngx_livestream_transcode_encoder_t *e)
{
    if (e == NULL) {
        return;
    }

    avcodec_free_context(&e->avctx);
    av_frame_free(&e->pic);
    av_packet_free(&e->pkt);
    av_buffer_unref(&e->conf.frames);
    ngx_livestream_codec_unref(e->codec);

    free(e);
}


const char *
ngx_livestream_transcode_encoder_name(ngx_livestream_transcode_encoder_t *e)
{
    return e->kind->name;
}


int
ngx_livestream_transcode_encode(ngx_livestream_transcode_encoder_t *e,
    const AVFrame *pic, const ngx_livestream_transcode_stamp_t *stamp,
    ngx_livestream_transcode_emit_pt emit, void *data)
{
    int                              rc, idr;
    ngx_livestream_encoder_entry_t  *entry;

    if (pic == NULL) {
        rc = avcodec_send_frame(e->avctx, NULL);

        if (rc < 0) {
            return ngx_livestream_encoder_errno(rc);
        }

        return ngx_livestream_encoder_receive(e, emit, data);
    }

    if (!ngx_livestream_encoder_fits(e, pic)) {
        return EINVAL;
    }

    if (e->put - e->get == NGX_LIVESTREAM_ENCODER_STAMPS) {
        return ENOBUFS;
    }

    idr = e->pictures == 0 || stamp->idr;

    ngx_livestream_encoder_tick(e, stamp->pts);
    ngx_livestream_encoder_pace(e, idr);

    entry = &e->stamps[e->put++ % NGX_LIVESTREAM_ENCODER_STAMPS];
    entry->clock = e->clock;
    entry->stamp = *stamp;

    rc = ngx_livestream_encoder_send(e, pic, idr);

    if (rc != 0) {
        e->put--;
        return rc;
    }

    return ngx_livestream_encoder_receive(e, emit, data);
}


static int
ngx_livestream_encoder_fits(ngx_livestream_transcode_encoder_t *e,
    const AVFrame *pic)
{
    int  format;

    format = e->kind->device ? AV_PIX_FMT_CUDA : AV_PIX_FMT_YUV420P;

    return pic->format == format
           && pic->width == (int) e->conf.width
           && pic->height == (int) e->conf.height
           && pic->data[0] && (e->kind->device || (pic->data[1]
                                                   && pic->data[2]));
}


/* moves the clock, and the average of its steps */

static void
ngx_livestream_encoder_tick(ngx_livestream_transcode_encoder_t *e,
    int64_t pts)
{
    int64_t   delta, limit, weight;

    delta = 0;

    if (e->pictures++) {
        delta = pts > e->pts ? (int64_t) ((uint64_t) pts - e->pts) : 0;

        if (delta <= 0) {
            delta = 1;
        }

        if (delta > NGX_LIVESTREAM_TRANSCODE_CLOCK) {
            delta = NGX_LIVESTREAM_TRANSCODE_CLOCK;
        }

        weight = e->pictures + NGX_LIVESTREAM_ENCODER_TRUST;

        if (weight > NGX_LIVESTREAM_ENCODER_AVERAGE) {
            weight = NGX_LIVESTREAM_ENCODER_AVERAGE;
        }

        e->interval += ((delta << NGX_LIVESTREAM_ENCODER_SHIFT) - e->interval)
                       / weight;

        limit = e->nominal * NGX_LIVESTREAM_ENCODER_RATIO;

        if (e->interval > limit) {
            e->interval = limit;
        }

        limit = e->nominal / NGX_LIVESTREAM_ENCODER_RATIO + 1;

        if (e->interval < limit) {
            e->interval = limit;
        }
    }

    e->pts = pts;
    e->clock += delta;
}


static void
ngx_livestream_encoder_pace(ngx_livestream_transcode_encoder_t *e, int idr)
{
    switch (e->kind->pace) {

    case NGX_LIVESTREAM_PACE_DURATION:
        return;

    case NGX_LIVESTREAM_PACE_BITRATE:
        ngx_livestream_encoder_bitrate(e);
        return;

    case NGX_LIVESTREAM_PACE_BITRATE_IDR:
        if (idr) {
            ngx_livestream_encoder_bitrate(e);
        }

        return;

    case NGX_LIVESTREAM_PACE_REOPEN:
        if (idr) {
            ngx_livestream_encoder_reopen(e);
        }
    }
}


/* The library divides the bitrate by its nominal rate to know what a picture
 * may take; so does its model of the decoder's buffer. */

static void
ngx_livestream_encoder_bitrate(ngx_livestream_transcode_encoder_t *e)
{
    int64_t  bitrate, diff;

    bitrate = (int64_t) e->conf.bitrate * e->interval / e->nominal;
    diff = bitrate - e->avctx->bit_rate;

    if (diff < 0) {
        diff = -diff;
    }

    if (bitrate < 1000 || bitrate > INT32_MAX
        || diff * 100 < e->avctx->bit_rate * NGX_LIVESTREAM_ENCODER_STEP)
    {
        return;
    }

    e->avctx->bit_rate = bitrate;
    e->avctx->rc_max_rate = bitrate;
}


/* The old one goes on where this fails: rates that are off are better than no
 * picture. */

static void
ngx_livestream_encoder_reopen(ngx_livestream_transcode_encoder_t *e)
{
    int64_t                  nominal, diff;
    const char              *reason;
    AVCodecContext          *avctx;
    ngx_livestream_codec_t  *codec;

    nominal = e->nominal;
    diff = e->interval > nominal ? e->interval - nominal
                                 : nominal - e->interval;

    if (e->get != e->put
        || diff * 100 < nominal * NGX_LIVESTREAM_ENCODER_REOPEN)
    {
        return;
    }

    /* a slower source is no reason for a new configuration: general_level_idc
     * is three times what the library calls level-idc */

    e->level = e->interval > nominal ? e->codec->level / 3 : 0;
    e->nominal = e->interval;

    avctx = ngx_livestream_encoder_context(e, e->avctx, NULL, &reason);
    if (avctx == NULL) {
        e->nominal = nominal;
        return;
    }

    codec = ngx_livestream_encoder_codec(e, avctx, &reason);
    if (codec == NULL) {
        avcodec_free_context(&avctx);
        e->nominal = nominal;
        return;
    }

    avcodec_free_context(&e->avctx);
    e->avctx = avctx;

    /* one object for as long as the configuration is the same */

    if (codec->hash == e->codec->hash) {
        ngx_livestream_codec_unref(codec);

    } else {
        ngx_livestream_codec_unref(e->codec);
        e->codec = codec;
    }
}


static int
ngx_livestream_encoder_send(ngx_livestream_transcode_encoder_t *e,
    const AVFrame *pic, int idr)
{
    int      rc;
    int64_t  duration;

    rc = av_frame_ref(e->pic, pic);
    if (rc < 0) {
        return ngx_livestream_encoder_errno(rc);
    }

    duration = e->interval >> NGX_LIVESTREAM_ENCODER_SHIFT;

    /* what the decoder knew of it is of no more concern */

    e->pic->pts = e->clock;
    e->pic->pict_type = idr ? AV_PICTURE_TYPE_I : AV_PICTURE_TYPE_NONE;
    e->pic->sample_aspect_ratio = (AVRational) { 1, 1 };
    e->pic->color_range = e->avctx->color_range;

#if (LIBAVCODEC_VERSION_MAJOR < 60)
    e->pic->pkt_duration = duration;
    e->pic->interlaced_frame = 0;
    e->pic->key_frame = idr;
    e->avctx->ticks_per_frame = duration;   /* libvpx's, of each picture */
#else
    e->pic->duration = duration;
    e->pic->flags &= ~AV_FRAME_FLAG_INTERLACED;
#endif

    rc = avcodec_send_frame(e->avctx, e->pic);

    av_frame_unref(e->pic);

    return rc < 0 ? ngx_livestream_encoder_errno(rc) : 0;
}


static int
ngx_livestream_encoder_receive(ngx_livestream_transcode_encoder_t *e,
    ngx_livestream_transcode_emit_pt emit, void *data)
{
    int                      rc;
    ngx_livestream_frame_t  *f;

    for ( ;; ) {
        rc = avcodec_receive_packet(e->avctx, e->pkt);

        if (rc == AVERROR(EAGAIN) || rc == AVERROR_EOF) {
            return 0;
        }

        if (rc < 0) {
            return ngx_livestream_encoder_errno(rc);
        }

        f = NULL;
        rc = ngx_livestream_encoder_frame(e, &f);

        av_packet_unref(e->pkt);

        if (rc == 0 && f) {
            rc = emit(data, f);
            ngx_livestream_frame_unref(f);
        }

        if (rc != 0) {
            return rc;
        }
    }
}


/* pictures before it have been left out by the library */

static int
ngx_livestream_encoder_stamp(ngx_livestream_transcode_encoder_t *e,
    ngx_livestream_transcode_stamp_t *stamp)
{
    ngx_livestream_encoder_entry_t  *entry;

    while (e->get != e->put) {
        entry = &e->stamps[e->get++ % NGX_LIVESTREAM_ENCODER_STAMPS];

        if (entry->clock == e->pkt->pts) {
            *stamp = entry->stamp;
            return 0;
        }
    }

    return EPROTO;
}


/* 0 and no frame: there is no picture in it */

static int
ngx_livestream_encoder_frame(ngx_livestream_transcode_encoder_t *e,
    ngx_livestream_frame_t **frame)
{
    int                                rc, key, annexb;
    size_t                             size;
    uint32_t                           samples;
    const char                        *reason;
    ngx_livestream_frame_t            *f;
    ngx_livestream_transcode_stamp_t   stamp;

    annexb = e->kind->codec != NGX_LIVESTREAM_CODEC_VP9;

    size = annexb ? ngx_livestream_transcode_nals_get_size(e->kind->codec,
                                                           e->pkt->data,
                                                           e->pkt->size)
                  : (size_t) e->pkt->size;

    if (size == 0) {
        return 0;
    }

    rc = ngx_livestream_encoder_stamp(e, &stamp);

    if (rc == 0 && !annexb && (e->pkt->flags & AV_PKT_FLAG_KEY)) {
        rc = ngx_livestream_encoder_refine(e);
    }

    if (rc != 0) {
        return rc;
    }

    if (e->codec == NULL) {
        return EPROTO;
    }

    f = ngx_livestream_frame_create(e->codec, size);
    if (f == NULL) {
        return ENOMEM;
    }

    if (annexb) {
        (void) ngx_livestream_transcode_nals_write(f->data, e->kind->codec,
                                                   e->pkt->data,
                                                   e->pkt->size);
    } else {
        memcpy(f->data, e->pkt->data, size);
    }

    if (ngx_livestream_codec_check(e->codec, f->data, size, &key, &samples,
                                   &reason)
        != 0)
    {
        ngx_livestream_frame_unref(f);
        return EPROTO;
    }

    f->track = e->conf.track;
    f->flags = stamp.flags | (key ? NGX_LIVESTREAM_FRAME_KEY : 0);
    f->dts = stamp.dts;
    f->pts = stamp.pts;
    f->wall = stamp.wall;

    *frame = f;

    return 0;
}


/* VP9's parameters: what the picture does not tell is what was asked for */

static int
ngx_livestream_encoder_refine(ngx_livestream_transcode_encoder_t *e)
{
    int                      rc;
    uint8_t                  record[NGX_LIVESTREAM_ENCODER_VPCC];
    const char              *reason;
    ngx_livestream_codec_t  *codec, *refined;

    codec = e->codec;

    if (codec == NULL) {
        memset(record, 0, sizeof(record));

        record[0] = 1;
        record[6] = 8 << 4 | 1 << 1             /* 8 bit 4:2:0 */
                    | (e->avctx->color_range == AVCOL_RANGE_JPEG);
        record[7] = e->avctx->color_primaries;
        record[8] = e->avctx->color_trc;
        record[9] = e->avctx->colorspace;

        if (ngx_livestream_codec_parse(NGX_LIVESTREAM_CODEC_VP9, record,
                                       sizeof(record), &codec, &reason)
            != 0)
        {
            return ENOMEM;
        }
    }

    rc = ngx_livestream_codec_refine(codec, e->pkt->data, e->pkt->size,
                                     &refined, &reason);

    ngx_livestream_codec_unref(codec);
    e->codec = rc == 0 ? refined : NULL;

    return rc == 0 ? 0 : EPROTO;
}


static int
ngx_livestream_encoder_errno(int rc)
{
    rc = AVUNERROR(rc);

    return rc > 0 && rc < 4096 ? rc : EIO;
}

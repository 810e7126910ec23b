
/*
 * Copyright (C) nginx-livestream contributors
 *
 * Encoding audio.
 *
 *   put       | frame 0       | frame 1       |  hole  | frame 2       |
 *             time 0          time 1                   time 2
 *
 *   encoder   |delay| frame 0       | frame 1       | frame 2       |
 *   packets         | -1            | 0             | 1             | 2
 *
 * A packet is decoded to samples that were put some time before: the encoder's
 * padding.  Silence that goes ahead of the first sample makes that a whole
 * number of frames, so that each packet is decoded to one frame as it was put,
 * whose time it gets; the packets before the first one are dropped.  So holes
 * in time are none to the encoder.
 *
 * Nothing of this is told to players by an edit list or a pre-skip: they may
 * start at any segment.
 *
 * Pipeline thread.
 */


#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <libavutil/channel_layout.h>
#include <libavutil/samplefmt.h>

#include "ngx_livestream_transcode_aenc.h"


#define NGX_LIVESTREAM_TRANSCODE_AENC_TRACK   1
#define NGX_LIVESTREAM_TRANSCODE_AENC_INSIDE  8     /* frames in an encoder */

/* louder than any sane sample, and far below what upsets an encoder */
#define NGX_LIVESTREAM_TRANSCODE_AENC_PEAK    4.0f

#define NGX_LIVESTREAM_TRANSCODE_OPUS_SKIP    10    /* offset in OpusHead */


typedef struct {
    int64_t                  time;
    int64_t                  wall;
    uint32_t                 flags;
} ngx_livestream_transcode_aenc_stamp_t;


typedef struct {
    ngx_livestream_codec_e   codec;
    const char              *name;
    enum AVSampleFormat      format;
    uint32_t                 max;           /* bits a sample of a channel, in
                                               hundredths */
} ngx_livestream_transcode_aenc_lib_t;


struct ngx_livestream_transcode_aenc_s {
    AVCodecContext          *avctx;
    AVFrame                 *frame;         /* that is filled */
    AVPacket                *pkt;
    ngx_livestream_codec_t  *codec;
    int                      size;          /* samples a frame */
    int                      fill;          /* of frame */
    int64_t                  pts;           /* of frame */
    int64_t                  count;         /* samples put */
    int64_t                  next;          /* time of the next one */
    int64_t                  done;          /* frames put out */
    int64_t                  wall;
    uint32_t                 flags;
    ngx_livestream_transcode_aenc_stamp_t  stamps[
                                        NGX_LIVESTREAM_TRANSCODE_AENC_INSIDE];
};


static int ngx_livestream_transcode_aenc_init(
    ngx_livestream_transcode_aenc_t *e,
    const ngx_livestream_transcode_aenc_conf_t *conf, const char **reason);
static const ngx_livestream_transcode_aenc_lib_t *
    ngx_livestream_transcode_aenc_lib(ngx_livestream_codec_e codec);
static int ngx_livestream_transcode_aenc_codec(
    ngx_livestream_transcode_aenc_t *e,
    const ngx_livestream_transcode_aenc_conf_t *conf, const char **reason);
static int ngx_livestream_transcode_aenc_frame(
    ngx_livestream_transcode_aenc_t *e);
static int ngx_livestream_transcode_aenc_send(
    ngx_livestream_transcode_aenc_t *e,
    const ngx_livestream_transcode_sink_t *to);
static void ngx_livestream_transcode_aenc_sane(
    ngx_livestream_transcode_aenc_t *e);
static int ngx_livestream_transcode_aenc_emit(
    ngx_livestream_transcode_aenc_t *e,
    const ngx_livestream_transcode_sink_t *to);


static const ngx_livestream_transcode_aenc_lib_t
    ngx_livestream_transcode_aenc_libs[] =
{
    { NGX_LIVESTREAM_CODEC_AAC, "aac", AV_SAMPLE_FMT_FLTP, 600 },
    { NGX_LIVESTREAM_CODEC_OPUS, "libopus", AV_SAMPLE_FMT_FLT, 530 },
    { NGX_LIVESTREAM_CODEC_NONE, NULL, AV_SAMPLE_FMT_NONE, 0 }
};


ngx_livestream_transcode_aenc_t *
ngx_livestream_transcode_aenc_open(
    const ngx_livestream_transcode_aenc_conf_t *conf, const char **reason)
{
    ngx_livestream_transcode_aenc_t  *e;

    e = calloc(1, sizeof(ngx_livestream_transcode_aenc_t));
    if (e == NULL) {
        *reason = "no memory for an audio encoder";
        return NULL;
    }

    if (ngx_livestream_transcode_aenc_init(e, conf, reason) != 0
        || ngx_livestream_transcode_aenc_codec(e, conf, reason) != 0)
    {
        ngx_livestream_transcode_aenc_close(e);
        return NULL;
    }

    return e;
}


static int
ngx_livestream_transcode_aenc_init(ngx_livestream_transcode_aenc_t *e,
    const ngx_livestream_transcode_aenc_conf_t *conf, const char **reason)
{
    int64_t                                     max;
    const AVCodec                              *av;
    AVCodecContext                             *avctx;
    const ngx_livestream_transcode_aenc_lib_t  *lib;

    lib = ngx_livestream_transcode_aenc_lib(conf->codec);
    av = lib ? avcodec_find_encoder_by_name(lib->name) : NULL;

    if (av == NULL) {
        *reason = "libavcodec has no encoder of this audio codec";
        return -1;
    }

    avctx = avcodec_alloc_context3(av);
    e->avctx = avctx;
    e->pkt = av_packet_alloc();

    if (avctx == NULL || e->pkt == NULL) {
        *reason = "no memory for an audio encoder";
        return -1;
    }

    max = (int64_t) conf->rate * conf->channels * lib->max / 100;

    avctx->bit_rate = conf->bitrate < max ? conf->bitrate : max;
    avctx->sample_fmt = lib->format;
    avctx->sample_rate = conf->rate;
    avctx->time_base = (AVRational) { 1, conf->rate };
    avctx->flags |= AV_CODEC_FLAG_GLOBAL_HEADER | AV_CODEC_FLAG_BITEXACT;
    avctx->thread_count = 1;

    av_channel_layout_default(&avctx->ch_layout, conf->channels);

    if (avcodec_open2(avctx, av, NULL) < 0 || avctx->frame_size <= 0) {
        *reason = "the audio encoder cannot be opened";
        return -1;
    }

    e->size = avctx->frame_size;
    e->fill = (e->size - avctx->initial_padding % e->size) % e->size;
    e->pts = -e->fill;

    if (ngx_livestream_transcode_aenc_frame(e) != 0) {
        *reason = "no memory for an audio encoder";
        return -1;
    }

    return 0;
}


static const ngx_livestream_transcode_aenc_lib_t *
ngx_livestream_transcode_aenc_lib(ngx_livestream_codec_e codec)
{
    const ngx_livestream_transcode_aenc_lib_t  *lib;

    for (lib = ngx_livestream_transcode_aenc_libs; lib->name; lib++) {
        if (lib->codec == codec) {
            return lib;
        }
    }

    return NULL;
}


static int
ngx_livestream_transcode_aenc_codec(ngx_livestream_transcode_aenc_t *e,
    const ngx_livestream_transcode_aenc_conf_t *conf, const char **reason)
{
    uint8_t         *p;
    AVCodecContext  *avctx;

    if (conf->like) {
        e->codec = ngx_livestream_codec_ref(conf->like);
        return 0;
    }

    avctx = e->avctx;
    p = avctx->extradata;

    if (conf->codec == NGX_LIVESTREAM_CODEC_OPUS
        && avctx->extradata_size > NGX_LIVESTREAM_TRANSCODE_OPUS_SKIP + 1)
    {
        p[NGX_LIVESTREAM_TRANSCODE_OPUS_SKIP] = 0;
        p[NGX_LIVESTREAM_TRANSCODE_OPUS_SKIP + 1] = 0;
    }

    return ngx_livestream_codec_parse(conf->codec, p, avctx->extradata_size,
                                      &e->codec, reason);
}


/* blank, for e->size samples */

static int
ngx_livestream_transcode_aenc_frame(ngx_livestream_transcode_aenc_t *e)
{
    AVFrame         *frame;
    AVCodecContext  *avctx;

    avctx = e->avctx;

    frame = av_frame_alloc();
    e->frame = frame;

    if (frame == NULL) {
        return -1;
    }

    frame->format = avctx->sample_fmt;
    frame->sample_rate = avctx->sample_rate;
    frame->nb_samples = e->size;

    if (av_channel_layout_copy(&frame->ch_layout, &avctx->ch_layout) < 0
        || av_frame_get_buffer(frame, 0) < 0)
    {
        return -1;
    }

    (void) av_samples_set_silence(frame->extended_data, 0, e->size,
                                  avctx->ch_layout.nb_channels,
                                  avctx->sample_fmt);

    return 0;
}


void
ngx_livestream_transcode_aenc_close(ngx_livestream_transcode_aenc_t *e)
{
    if (e == NULL) {
        return;
    }

    avcodec_free_context(&e->avctx);
    av_frame_free(&e->frame);
    av_packet_free(&e->pkt);
    ngx_livestream_codec_unref(e->codec);

    free(e);
}


const AVCodecContext *
ngx_livestream_transcode_aenc_input(ngx_livestream_transcode_aenc_t *e)
{
    return e->avctx;
}


int64_t
ngx_livestream_transcode_aenc_next(ngx_livestream_transcode_aenc_t *e)
{
    return e->next;
}


int
ngx_livestream_transcode_aenc_go(ngx_livestream_transcode_aenc_t *e,
    int64_t pos, const ngx_livestream_transcode_sink_t *to)
{
    int  rc, part;

    part = e->count % e->size;

    if (part) {
        rc = ngx_livestream_transcode_aenc_put(e, NULL, 0, e->size - part, to);
        if (rc) {
            return rc;
        }
    }

    if (e->next < pos) {
        e->next = pos;
    }

    return 0;
}


void
ngx_livestream_transcode_aenc_stamp(ngx_livestream_transcode_aenc_t *e,
    int64_t wall, uint32_t flags)
{
    e->wall = wall;
    e->flags |= flags;
}


int
ngx_livestream_transcode_aenc_put(ngx_livestream_transcode_aenc_t *e,
    uint8_t *const *samples, int from, int64_t n,
    const ngx_livestream_transcode_sink_t *to)
{
    int                                     rc, part, room, channels;
    ngx_livestream_transcode_aenc_stamp_t  *stamp;

    channels = e->avctx->ch_layout.nb_channels;

    while (n > 0) {
        part = e->count % e->size;

        if (part == 0) {
            stamp = &e->stamps[(e->count / e->size)
                               % NGX_LIVESTREAM_TRANSCODE_AENC_INSIDE];

            stamp->time = e->next;
            stamp->wall = e->wall;
            stamp->flags = e->flags;
            e->flags = 0;
        }

        room = e->size - (part > e->fill ? part : e->fill);

        if (room > n) {
            room = n;
        }

        if (samples) {
            (void) av_samples_copy(e->frame->extended_data, samples, e->fill,
                                   from, room, channels, e->frame->format);

        } else {
            (void) av_samples_set_silence(e->frame->extended_data, e->fill,
                                          room, channels, e->frame->format);
        }

        from += room;
        n -= room;

        e->fill += room;
        e->count += room;
        e->next += room;

        if (e->fill == e->size) {
            rc = ngx_livestream_transcode_aenc_send(e, to);
            if (rc) {
                return rc;
            }
        }
    }

    return 0;
}


int
ngx_livestream_transcode_aenc_flush(ngx_livestream_transcode_aenc_t *e,
    const ngx_livestream_transcode_sink_t *to)
{
    int       rc;
    unsigned  i;

    rc = ngx_livestream_transcode_aenc_go(e, e->next, to);

    for (i = 0; rc == 0 && e->done < e->count / e->size; i++) {

        if (i == NGX_LIVESTREAM_TRANSCODE_AENC_INSIDE) {
            return EIO;
        }

        (void) av_samples_set_silence(e->frame->extended_data, e->fill,
                                      e->size - e->fill,
                                      e->avctx->ch_layout.nb_channels,
                                      e->frame->format);

        rc = ngx_livestream_transcode_aenc_send(e, to);
    }

    return rc;
}


static int
ngx_livestream_transcode_aenc_send(ngx_livestream_transcode_aenc_t *e,
    const ngx_livestream_transcode_sink_t *to)
{
    int  rc;

    ngx_livestream_transcode_aenc_sane(e);

    e->frame->pts = e->pts;
    e->pts += e->size;
    e->fill = 0;

    rc = avcodec_send_frame(e->avctx, e->frame);

    if (rc < 0) {
        return rc == AVERROR(ENOMEM) ? ENOMEM : EIO;
    }

    for ( ;; ) {
        rc = avcodec_receive_packet(e->avctx, e->pkt);

        if (rc == AVERROR(EAGAIN)) {
            break;
        }

        if (rc < 0) {
            return rc == AVERROR(ENOMEM) ? ENOMEM : EIO;
        }

        rc = ngx_livestream_transcode_aenc_emit(e, to);

        av_packet_unref(e->pkt);

        if (rc) {
            return rc;
        }
    }

    /* the encoder may keep what it was given */

    return av_frame_make_writable(e->frame) < 0 ? ENOMEM : 0;
}


/* an encoder takes offence at what broken input was decoded to */

static void
ngx_livestream_transcode_aenc_sane(ngx_livestream_transcode_aenc_t *e)
{
    int      i, j, n, channels;
    float   *p;

    channels = e->avctx->ch_layout.nb_channels;
    n = e->size;

    if (!av_sample_fmt_is_planar(e->frame->format)) {
        n *= channels;
        channels = 1;
    }

    for (i = 0; i < channels; i++) {
        p = (float *) e->frame->extended_data[i];

        for (j = 0; j < n; j++) {

            /* what is no number compares to none */

            if (!(p[j] <= NGX_LIVESTREAM_TRANSCODE_AENC_PEAK
                  && p[j] >= -NGX_LIVESTREAM_TRANSCODE_AENC_PEAK))
            {
                p[j] = 0;
            }
        }
    }
}


static int
ngx_livestream_transcode_aenc_emit(ngx_livestream_transcode_aenc_t *e,
    const ngx_livestream_transcode_sink_t *to)
{
    int                                     rc;
    int64_t                                 n;
    ngx_livestream_frame_t                 *f;
    ngx_livestream_transcode_aenc_stamp_t  *stamp;

    n = e->pkt->pts / e->size;

    if (e->pkt->pts < 0 || n < e->done || n * e->size >= e->count
        || n + NGX_LIVESTREAM_TRANSCODE_AENC_INSIDE < e->count / e->size)
    {
        return 0;
    }

    f = ngx_livestream_frame_create(e->codec, e->pkt->size);
    if (f == NULL) {
        return ENOMEM;
    }

    stamp = &e->stamps[n % NGX_LIVESTREAM_TRANSCODE_AENC_INSIDE];

    f->track = NGX_LIVESTREAM_TRANSCODE_AENC_TRACK;
    f->flags = NGX_LIVESTREAM_FRAME_KEY | stamp->flags;
    f->duration = e->size;
    f->dts = stamp->time;
    f->pts = stamp->time;
    f->wall = stamp->wall;

    memcpy(f->data, e->pkt->data, e->pkt->size);

    e->done = n + 1;

    rc = to->emit(to->data, f);

    ngx_livestream_frame_unref(f);

    return rc;
}

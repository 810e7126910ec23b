
/*
 * Copyright (C) nginx-livestream contributors
 *
 * Audio for tests: a quiet tone with clicks at known times, encoded as a
 * publisher would, and what a player makes of frames.
 */


#ifndef _AUDIO_SOURCE_H_INCLUDED_
#define _AUDIO_SOURCE_H_INCLUDED_


#include <math.h>
#include <stdlib.h>

#include <libavcodec/avcodec.h>
#include <libavutil/channel_layout.h>

#include "ngx_livestream_transcode.h"
#include "tap.h"


#define CLICK    0.25           /* s, from one to the next */
#define FIRST    0.125          /* s, of the first one */
#define TONE     0.05
#define FRAMES   4096
#define WALL     1700000000000000LL
#define SECONDS  30


/* frames, each with one reference */
typedef struct {
    unsigned                 n;
    ngx_livestream_frame_t  *frames[FRAMES];
} clip_t;


typedef struct {
    ngx_livestream_codec_e   codec;
    int                      rate;
    int                      channels;
    int                      bitrate;
} kind_t;


/* what a player hears, from the timeline's 0 on */
typedef struct {
    int                      rate;
    int                      channels;
    unsigned                 errors;
    float                    samples[SECONDS * 48000];
} heard_t;


static void
bail(const char *why)
{
    printf("Bail out! %s\n", why);
    exit(1);
}


__attribute__((unused))
static void
clip_free(clip_t *c)
{
    while (c->n) {
        ngx_livestream_frame_unref(c->frames[--c->n]);
    }
}


static int
clip_add(void *data, ngx_livestream_frame_t *f)
{
    clip_t  *c = data;

    if (c->n == FRAMES) {
        bail("too many frames");
    }

    c->frames[c->n++] = ngx_livestream_frame_ref(f);

    return 0;
}


/* the sound at a time of the timeline, in seconds */
static double
sound(double t)
{
    double  d, v;

    v = TONE * sin(2 * M_PI * 440 * t);
    d = t - FIRST - CLICK * floor((t - FIRST) / CLICK + 0.5);

    if (fabs(d) < 0.001) {
        v += 0.7 * (0.5 + 0.5 * cos(M_PI * d / 0.001));
    }

    return v;
}


static void
source_sample(AVFrame *pic, int i, double v)
{
    int  ch, channels, k, planar;

    channels = pic->ch_layout.nb_channels;
    planar = av_sample_fmt_is_planar(pic->format);

    for (ch = 0; ch < channels; ch++) {
        k = planar ? i : i * channels + ch;

        switch (av_get_packed_sample_fmt(pic->format)) {

        case AV_SAMPLE_FMT_FLT:
            ((float *) pic->data[planar ? ch : 0])[k] = v;
            break;

        case AV_SAMPLE_FMT_S16:
            ((int16_t *) pic->data[planar ? ch : 0])[k] = v * 32767;
            break;

        default:
            bail("a sample format that is not known");
        }
    }
}


static AVCodecContext *
source_open(const kind_t *kind)
{
    const char      *name;
    const AVCodec   *av;
    AVCodecContext  *ctx;

    name = kind->codec == NGX_LIVESTREAM_CODEC_AAC ? "aac"
           : kind->codec == NGX_LIVESTREAM_CODEC_OPUS ? "libopus" : "flac";

    av = avcodec_find_encoder_by_name(name);
    ctx = avcodec_alloc_context3(av);

    ctx->sample_rate = kind->rate;
    ctx->time_base = (AVRational) { 1, kind->rate };
    ctx->bit_rate = kind->bitrate;
    ctx->sample_fmt = av->sample_fmts[0];
    ctx->flags |= AV_CODEC_FLAG_GLOBAL_HEADER;
    av_channel_layout_default(&ctx->ch_layout, kind->channels);

    if (avcodec_open2(ctx, av, NULL) < 0) {
        bail("no encoder for a source");
    }

    return ctx;
}


static void
source_frame(clip_t *c, ngx_livestream_codec_t *codec, const AVPacket *pkt,
    int64_t start, int size)
{
    int                      key;
    const char              *reason;
    ngx_livestream_frame_t  *f;

    f = ngx_livestream_frame_create(codec, pkt->size);

    memcpy(f->data, pkt->data, pkt->size);

    f->track = 1;
    f->flags = NGX_LIVESTREAM_FRAME_KEY;
    f->dts = start + pkt->pts;
    f->pts = f->dts;
    f->wall = WALL;

    if (ngx_livestream_codec_check(codec, f->data, f->size, &key,
                                   &f->duration, &reason)
        != 0)
    {
        bail(reason);
    }

    if (f->duration == 0) {
        f->duration = size;
    }

    clip_add(c, f);
    ngx_livestream_frame_unref(f);
}


/* adds sound of the timeline from one time to another, in ms */
static void
source(clip_t *c, const kind_t *kind, int64_t from, int64_t to)
{
    int                      i;
    int64_t                  n, start, total;
    AVFrame                 *pic;
    AVPacket                *pkt;
    const char              *reason;
    AVCodecContext          *ctx;
    ngx_livestream_codec_t  *codec;

    ctx = source_open(kind);

    if (ngx_livestream_codec_parse(kind->codec, ctx->extradata,
                                   ctx->extradata_size, &codec, &reason)
        != 0)
    {
        bail(reason);
    }

    pkt = av_packet_alloc();
    pic = av_frame_alloc();

    start = from * kind->rate / 1000;
    total = (to - from) * kind->rate / 1000;

    for (n = 0; n < total; n += ctx->frame_size) {
        pic->format = ctx->sample_fmt;
        pic->sample_rate = kind->rate;
        pic->nb_samples = ctx->frame_size;
        pic->pts = n;
        av_channel_layout_copy(&pic->ch_layout, &ctx->ch_layout);
        av_frame_get_buffer(pic, 0);

        for (i = 0; i < ctx->frame_size; i++) {
            source_sample(pic, i, sound((double) (start + n + i)
                                        / kind->rate));
        }

        if (avcodec_send_frame(ctx, pic) < 0) {
            bail("a source is not encoded");
        }

        av_frame_unref(pic);

        while (avcodec_receive_packet(ctx, pkt) == 0) {
            source_frame(c, codec, pkt, start, ctx->frame_size);
            av_packet_unref(pkt);
        }
    }

    ngx_livestream_codec_unref(codec);
    av_packet_free(&pkt);
    av_frame_free(&pic);
    avcodec_free_context(&ctx);
}


static void
listen_samples(heard_t *h, const AVFrame *pic)
{
    int      i, k, planar;
    int64_t  at;

    h->channels = pic->ch_layout.nb_channels;
    planar = av_sample_fmt_is_planar(pic->format);

    for (i = 0; i < pic->nb_samples; i++) {
        at = pic->pts + i;

        if (at < 0 || at >= SECONDS * 48000) {
            continue;
        }

        k = planar ? i : i * h->channels;

        if (av_get_packed_sample_fmt(pic->format) == AV_SAMPLE_FMT_FLT) {
            h->samples[at] = ((float *) pic->data[0])[k];

        } else {
            h->samples[at] = ((int16_t *) pic->data[0])[k] / 32768.0;
        }
    }
}


/* plays frames of one codec; where they are not contiguous there is silence */
static void
listen_to(heard_t *h, const clip_t *c)
{
    unsigned         i;
    AVFrame         *pic;
    AVPacket        *pkt;
    const char      *reason;
    AVCodecContext  *ctx;

    memset(h, 0, sizeof(heard_t));

    if (c->n == 0) {
        return;
    }

    ctx = ngx_livestream_transcode_decoder_open(c->frames[0]->codec, NULL, 1,
                                                &reason);
    pkt = av_packet_alloc();
    pic = av_frame_alloc();

    if (ctx == NULL) {
        bail(reason);
    }

    h->rate = c->frames[0]->codec->sample_rate;

    for (i = 0; i < c->n; i++) {
        ngx_livestream_transcode_packet(pkt, c->frames[i]);

        if (avcodec_send_packet(ctx, pkt) < 0) {
            h->errors++;
        }

        while (avcodec_receive_frame(ctx, pic) == 0) {
            listen_samples(h, pic);
            av_frame_unref(pic);
        }
    }

    av_packet_free(&pkt);
    av_frame_free(&pic);
    avcodec_free_context(&ctx);
}


/* How far the click that should be at t is off, in us; 1 s if there is none:
 * the centre of what is loud around it. */
static int64_t
click_off(const heard_t *h, double t)
{
    double   e, sum, at, top;
    int64_t  i, from, to;

    from = (t - 0.06) * h->rate;
    to = (t + 0.06) * h->rate;
    top = 0;

    for (i = from; i < to; i++) {
        top = fmax(top, fabs(h->samples[i]));
    }

    if (top < 0.2) {
        return 1000000;
    }

    sum = 0;
    at = 0;

    for (i = from; i < to; i++) {
        if (fabs(h->samples[i]) > top / 2) {
            e = h->samples[i] * h->samples[i];
            sum += e;
            at += e * i;
        }
    }

    return (int64_t) ((at / sum / h->rate - t) * 1000000);
}


/* the most that any click between two times, in ms, is off; us */
static int64_t
clicks_off(const heard_t *h, int64_t from, int64_t to)
{
    double   t;
    int64_t  off, most;

    most = -1;

    for (t = FIRST; t < to / 1000.0; t += CLICK) {
        if (t < from / 1000.0) {
            continue;
        }

        off = llabs(click_off(h, t));

        if (off > most) {
            most = off;
        }
    }

    return most < 0 ? 1000000 : most;
}


/* the least and the most loud tenth of a second, as the tone is; per mille */
static void
loudness(const heard_t *h, int64_t from, int64_t to, int *least, int *most)
{
    int      v;
    double   sum, t, d;
    int64_t  i, n, step;

    *least = 1000000;
    *most = 0;
    step = h->rate / 20;

    for (i = from * h->rate / 1000; i + step < to * h->rate / 1000; i += step)
    {
        sum = 0;

        for (n = i; n < i + step; n++) {
            sum += h->samples[n] * h->samples[n];
        }

        t = (i + step / 2.0) / h->rate;
        d = t - FIRST - CLICK * floor((t - FIRST) / CLICK + 0.5);

        if (fabs(d) < 0.05) {
            continue;
        }

        v = (int) (1000 * sqrt(2 * sum / step) / TONE);
        *least = v < *least ? v : *least;
        *most = v > *most ? v : *most;
    }
}


#endif /* _AUDIO_SOURCE_H_INCLUDED_ */

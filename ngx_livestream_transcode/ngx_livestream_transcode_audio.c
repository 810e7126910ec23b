
/*
 * Copyright (C) nginx-livestream contributors
 *
 * Audio of a stream: passed through, or decoded and encoded.
 *
 *   source --> held back until its bitrate is known --> passed through
 *                |
 *                +--> decoder --> samples --> encoder
 *
 * It is passed through where its codec is the wanted one and its bitrate is
 * not above the wanted one.  What was encoded once is encoded for good, with
 * one rate and number of channels, whatever the source changes to: players
 * see no change of the codec.  So it is, if that can be, when a source that
 * was passed through changes.
 *
 * A frame that cannot be decoded leaves a hole.
 *
 * Pipeline thread.
 */


#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ngx_livestream_transcode_samples.h"


/* us, of frames that were lost: what a decoder knows is of no use then */
#define NGX_LIVESTREAM_TRANSCODE_LOST       50000

/* what is held back to measure its bitrate */
#define NGX_LIVESTREAM_TRANSCODE_HELD       64      /* frames */
#define NGX_LIVESTREAM_TRANSCODE_HELD_MS    500

/* above the bitrate by so many hundredths, it is not encoded again */
#define NGX_LIVESTREAM_TRANSCODE_TOLERANCE  10

#define NGX_LIVESTREAM_TRANSCODE_AAC_LC     2
#define NGX_LIVESTREAM_TRANSCODE_AAC_SBR    5
#define NGX_LIVESTREAM_TRANSCODE_AAC_PS     29
#define NGX_LIVESTREAM_TRANSCODE_AAC_FRAME  1024

#define NGX_LIVESTREAM_TRANSCODE_OPUS_FAMILY  18    /* offset in OpusHead */


typedef enum {
    NGX_LIVESTREAM_TRANSCODE_AUDIO_WAIT = 0,        /* for its bitrate */
    NGX_LIVESTREAM_TRANSCODE_AUDIO_PASS,
    NGX_LIVESTREAM_TRANSCODE_AUDIO_ENCODE
} ngx_livestream_transcode_audio_e;


struct ngx_livestream_transcode_audio_s {
    const ngx_livestream_transcode_conf_t  *conf;
    uint32_t                          rate;         /* told; 0: unknown */
    ngx_livestream_transcode_audio_e  state;
    uint64_t                          errors;

    ngx_livestream_codec_t           *codec;        /* the source's */
    ngx_livestream_codec_t           *passed;       /* the track's before it
                                                       was encoded; NULL */
    int64_t                           end;          /* of what was passed */
    uint32_t                          end_scale;    /* its ticks; 0: none */

    unsigned                          nheld;
    uint64_t                          held_bytes;
    uint64_t                          held_ticks;
    ngx_livestream_frame_t           *held[NGX_LIVESTREAM_TRANSCODE_HELD];

    AVCodecContext                   *decoder;
    unsigned                          undecodable:1;
    AVPacket                         *pkt;
    AVFrame                          *pic;          /* decoded samples */
    int64_t                           due;          /* us, the next frame */
    uint32_t                          flags;        /* of frames, to come */

    ngx_livestream_transcode_samples_t  *samples;
};


static int ngx_livestream_transcode_audio_change(
    ngx_livestream_transcode_audio_t *a, ngx_livestream_codec_t *codec,
    const ngx_livestream_transcode_sink_t *to);
static int ngx_livestream_transcode_audio_fits(
    const ngx_livestream_transcode_audio_t *a);
static int ngx_livestream_transcode_audio_like(
    const ngx_livestream_codec_t *codec);
static int ngx_livestream_transcode_audio_above(
    const ngx_livestream_transcode_audio_t *a, uint64_t rate);
static int ngx_livestream_transcode_audio_frame(
    ngx_livestream_transcode_audio_t *a, ngx_livestream_frame_t *f,
    const ngx_livestream_transcode_sink_t *to);
static int ngx_livestream_transcode_audio_hold(
    ngx_livestream_transcode_audio_t *a, ngx_livestream_frame_t *f,
    const ngx_livestream_transcode_sink_t *to);
static int ngx_livestream_transcode_audio_settle(
    ngx_livestream_transcode_audio_t *a,
    const ngx_livestream_transcode_sink_t *to);
static int ngx_livestream_transcode_audio_pass(
    ngx_livestream_transcode_audio_t *a, ngx_livestream_frame_t *f,
    const ngx_livestream_transcode_sink_t *to);
static int ngx_livestream_transcode_audio_decode(
    ngx_livestream_transcode_audio_t *a, ngx_livestream_frame_t *f,
    const ngx_livestream_transcode_sink_t *to);
static void ngx_livestream_transcode_audio_decoder(
    ngx_livestream_transcode_audio_t *a, const ngx_livestream_frame_t *f);
static int ngx_livestream_transcode_audio_decoded(
    ngx_livestream_transcode_audio_t *a, const ngx_livestream_frame_t *f,
    const ngx_livestream_transcode_sink_t *to);


ngx_livestream_transcode_audio_t *
ngx_livestream_transcode_audio_create(
    const ngx_livestream_transcode_conf_t *conf, uint32_t rate)
{
    ngx_livestream_transcode_audio_t  *a;

    a = calloc(1, sizeof(ngx_livestream_transcode_audio_t));
    if (a == NULL) {
        return NULL;
    }

    a->conf = conf;
    a->rate = rate;

    a->pkt = av_packet_alloc();
    a->pic = av_frame_alloc();

    if (a->pkt == NULL || a->pic == NULL) {
        ngx_livestream_transcode_audio_destroy(a);
        return NULL;
    }

    return a;
}


void
ngx_livestream_transcode_audio_destroy(ngx_livestream_transcode_audio_t *a)
{
    unsigned  i;

    if (a == NULL) {
        return;
    }

    for (i = 0; i < a->nheld; i++) {
        ngx_livestream_frame_unref(a->held[i]);
    }

    avcodec_free_context(&a->decoder);
    av_packet_free(&a->pkt);
    av_frame_free(&a->pic);

    ngx_livestream_transcode_samples_destroy(a->samples);

    ngx_livestream_codec_unref(a->codec);
    ngx_livestream_codec_unref(a->passed);

    free(a);
}


uint64_t
ngx_livestream_transcode_audio_errors(ngx_livestream_transcode_audio_t *a)
{
    return a->errors;
}


void
ngx_livestream_transcode_audio_describe(ngx_livestream_transcode_audio_t *a,
    char *text, size_t size)
{
    const char  *name;

    if (a->codec == NULL) {
        (void) snprintf(text, size, "none");
        return;
    }

    name = ngx_livestream_codec_name(a->codec->id);

    switch (a->state) {

    case NGX_LIVESTREAM_TRANSCODE_AUDIO_WAIT:
        (void) snprintf(text, size, "%s being measured", name);
        break;

    case NGX_LIVESTREAM_TRANSCODE_AUDIO_PASS:
        (void) snprintf(text, size, "%s passed through", name);
        break;

    default: /* NGX_LIVESTREAM_TRANSCODE_AUDIO_ENCODE */
        (void) snprintf(text, size, "%s to %s %u kbit/s", name,
                        ngx_livestream_codec_name(a->conf->audio_codec),
                        a->conf->audio_bitrate / 1000);
    }
}


int
ngx_livestream_transcode_audio(ngx_livestream_transcode_audio_t *a,
    ngx_livestream_frame_t *f, ngx_livestream_transcode_emit_pt emit,
    void *data)
{
    int                              rc;
    ngx_livestream_transcode_sink_t  to;

    to.emit = emit;
    to.data = data;

    if (f) {
        if (a->codec == NULL || a->codec->hash != f->codec->hash) {
            rc = ngx_livestream_transcode_audio_change(a, f->codec, &to);
            if (rc) {
                return rc;
            }
        }

        return ngx_livestream_transcode_audio_frame(a, f, &to);
    }

    rc = ngx_livestream_transcode_audio_settle(a, &to);

    if (rc || a->samples == NULL) {
        return rc;
    }

    rc = ngx_livestream_transcode_samples_flush(a->samples, &to);

    ngx_livestream_transcode_samples_destroy(a->samples);
    a->samples = NULL;

    return rc;
}


/* the source's first codec, or another one */

static int
ngx_livestream_transcode_audio_change(ngx_livestream_transcode_audio_t *a,
    ngx_livestream_codec_t *codec, const ngx_livestream_transcode_sink_t *to)
{
    int                      rc;
    ngx_livestream_codec_t  *old;

    rc = ngx_livestream_transcode_audio_settle(a, to);
    if (rc) {
        return rc;
    }

    old = a->codec;
    a->codec = ngx_livestream_codec_ref(codec);

    avcodec_free_context(&a->decoder);
    a->undecodable = 0;

    if (a->state == NGX_LIVESTREAM_TRANSCODE_AUDIO_PASS
        && old && ngx_livestream_transcode_audio_like(old))
    {
        ngx_livestream_codec_unref(a->passed);
        a->passed = old;

        a->state = NGX_LIVESTREAM_TRANSCODE_AUDIO_ENCODE;

        return 0;
    }

    ngx_livestream_codec_unref(old);

    if (a->state == NGX_LIVESTREAM_TRANSCODE_AUDIO_ENCODE) {
        return 0;
    }

    if (!ngx_livestream_transcode_audio_fits(a)) {
        a->state = NGX_LIVESTREAM_TRANSCODE_AUDIO_ENCODE;

    } else if (a->rate == 0) {
        a->state = NGX_LIVESTREAM_TRANSCODE_AUDIO_WAIT;

    } else {
        a->state = ngx_livestream_transcode_audio_above(a, a->rate)
                   ? NGX_LIVESTREAM_TRANSCODE_AUDIO_ENCODE
                   : NGX_LIVESTREAM_TRANSCODE_AUDIO_PASS;

        /* it is not what was told of another codec */
        a->rate = 0;
    }

    return 0;
}


/* whether the source can be passed through, but for its bitrate */

static int
ngx_livestream_transcode_audio_fits(const ngx_livestream_transcode_audio_t *a)
{
    if (a->codec->id != a->conf->audio_codec || a->codec->channels > 2) {
        return 0;
    }

    return a->codec->id != NGX_LIVESTREAM_CODEC_AAC
           || a->codec->profile == NGX_LIVESTREAM_TRANSCODE_AAC_LC
           || a->codec->profile == NGX_LIVESTREAM_TRANSCODE_AAC_SBR
           || a->codec->profile == NGX_LIVESTREAM_TRANSCODE_AAC_PS;
}


/* whether what was passed through can go on as encoded audio */

static int
ngx_livestream_transcode_audio_like(const ngx_livestream_codec_t *codec)
{
    if (codec->id == NGX_LIVESTREAM_CODEC_OPUS) {
        return codec->config_len > NGX_LIVESTREAM_TRANSCODE_OPUS_FAMILY
               && codec->config[NGX_LIVESTREAM_TRANSCODE_OPUS_FAMILY] == 0;
    }

    return codec->id == NGX_LIVESTREAM_CODEC_AAC
           && codec->profile == NGX_LIVESTREAM_TRANSCODE_AAC_LC
           && codec->frame_samples == NGX_LIVESTREAM_TRANSCODE_AAC_FRAME
           && (codec->sample_rate == 44100 || codec->sample_rate == 48000);
}


static int
ngx_livestream_transcode_audio_above(const ngx_livestream_transcode_audio_t *a,
    uint64_t rate)
{
    return rate * 100 > (uint64_t) a->conf->audio_bitrate
                        * (100 + NGX_LIVESTREAM_TRANSCODE_TOLERANCE);
}


static int
ngx_livestream_transcode_audio_frame(ngx_livestream_transcode_audio_t *a,
    ngx_livestream_frame_t *f, const ngx_livestream_transcode_sink_t *to)
{
    switch (a->state) {

    case NGX_LIVESTREAM_TRANSCODE_AUDIO_WAIT:
        return ngx_livestream_transcode_audio_hold(a, f, to);

    case NGX_LIVESTREAM_TRANSCODE_AUDIO_PASS:
        return ngx_livestream_transcode_audio_pass(a, f, to);

    default: /* NGX_LIVESTREAM_TRANSCODE_AUDIO_ENCODE */
        return ngx_livestream_transcode_audio_decode(a, f, to);
    }
}


static int
ngx_livestream_transcode_audio_hold(ngx_livestream_transcode_audio_t *a,
    ngx_livestream_frame_t *f, const ngx_livestream_transcode_sink_t *to)
{
    uint64_t  enough;

    a->held[a->nheld++] = ngx_livestream_frame_ref(f);
    a->held_bytes += f->size;
    a->held_ticks += f->duration;

    enough = (uint64_t) a->codec->timescale * NGX_LIVESTREAM_TRANSCODE_HELD_MS
             / 1000;

    if (a->nheld < NGX_LIVESTREAM_TRANSCODE_HELD
        && a->held_ticks < enough
        && !ngx_livestream_transcode_audio_above(a, a->held_bytes * 8 * 1000
                                          / NGX_LIVESTREAM_TRANSCODE_HELD_MS))
    {
        return 0;
    }

    return ngx_livestream_transcode_audio_settle(a, to);
}


/* by what is held back, which is let go */

static int
ngx_livestream_transcode_audio_settle(ngx_livestream_transcode_audio_t *a,
    const ngx_livestream_transcode_sink_t *to)
{
    int       rc;
    unsigned  i, n;

    n = a->nheld;

    if (n == 0) {
        return 0;
    }

    a->state = NGX_LIVESTREAM_TRANSCODE_AUDIO_ENCODE;

    if (a->held_ticks
        && !ngx_livestream_transcode_audio_above(a, a->held_bytes * 8
                                                    * a->codec->timescale
                                                    / a->held_ticks))
    {
        a->state = NGX_LIVESTREAM_TRANSCODE_AUDIO_PASS;
    }

    a->nheld = 0;
    a->held_bytes = 0;
    a->held_ticks = 0;

    rc = 0;

    for (i = 0; i < n; i++) {

        if (rc == 0) {
            rc = ngx_livestream_transcode_audio_frame(a, a->held[i], to);
        }

        ngx_livestream_frame_unref(a->held[i]);
    }

    return rc;
}


static int
ngx_livestream_transcode_audio_pass(ngx_livestream_transcode_audio_t *a,
    ngx_livestream_frame_t *f, const ngx_livestream_transcode_sink_t *to)
{
    a->end = f->dts + f->duration;
    a->end_scale = f->codec->timescale;

    return to->emit(to->data, f);
}


static int
ngx_livestream_transcode_audio_decode(ngx_livestream_transcode_audio_t *a,
    ngx_livestream_frame_t *f, const ngx_livestream_transcode_sink_t *to)
{
    int  rc;

    a->flags |= f->flags & NGX_LIVESTREAM_FRAME_DISCONTINUITY;

    ngx_livestream_transcode_audio_decoder(a, f);

    if (a->decoder == NULL) {
        return 0;
    }

    rc = ngx_livestream_transcode_packet(a->pkt, f);
    if (rc) {
        return rc;
    }

    rc = avcodec_send_packet(a->decoder, a->pkt);

    av_packet_unref(a->pkt);

    while (rc >= 0) {
        rc = avcodec_receive_frame(a->decoder, a->pic);

        if (rc >= 0) {
            rc = ngx_livestream_transcode_audio_decoded(a, f, to);

            av_frame_unref(a->pic);

            if (rc) {
                return rc;
            }
        }
    }

    if (rc == AVERROR(ENOMEM)) {
        return ENOMEM;
    }

    if (rc != AVERROR(EAGAIN)) {
        a->errors++;
    }

    return 0;
}


/* one that is open and has forgotten what is not right before f, or none */

static void
ngx_livestream_transcode_audio_decoder(ngx_livestream_transcode_audio_t *a,
    const ngx_livestream_frame_t *f)
{
    int64_t      us;
    const char  *reason;

    us = ngx_livestream_ticks_to_us(f->dts, f->codec->timescale);

    if (a->decoder
        && ((f->flags & NGX_LIVESTREAM_FRAME_DISCONTINUITY)
            || us > a->due + NGX_LIVESTREAM_TRANSCODE_LOST
            || us < a->due - NGX_LIVESTREAM_TRANSCODE_LOST))
    {
        avcodec_flush_buffers(a->decoder);
    }

    a->due = us + ngx_livestream_ticks_to_us(f->duration, f->codec->timescale);

    if (a->decoder) {
        return;
    }

    if (!a->undecodable) {
        a->decoder = ngx_livestream_transcode_decoder_open(f->codec, NULL, 1,
                                                           &reason);
    }

    if (a->decoder == NULL) {
        a->undecodable = 1;
        a->errors++;
    }
}


/* a->pic */

static int
ngx_livestream_transcode_audio_decoded(ngx_livestream_transcode_audio_t *a,
    const ngx_livestream_frame_t *f, const ngx_livestream_transcode_sink_t *to)
{
    int                                      rc;
    int64_t                                  pts;
    ngx_livestream_transcode_samples_conf_t  conf;

    if (a->samples == NULL) {
        conf.codec = a->conf->audio_codec;
        conf.bitrate = a->conf->audio_bitrate;
        conf.like = a->passed;
        conf.end = a->end;
        conf.end_scale = a->end_scale;

        a->samples = ngx_livestream_transcode_samples_create(&conf, a->pic,
                                                             &rc);
        if (a->samples == NULL) {
            return rc;
        }
    }

    pts = (a->pic->pts != AV_NOPTS_VALUE) ? a->pic->pts : f->pts;

    rc = ngx_livestream_transcode_samples_put(a->samples, a->pic, pts,
                                              f->codec->timescale, f->wall,
                                              a->flags, to);
    if (rc == EINVAL) {
        a->errors++;
        return 0;
    }

    a->flags = 0;

    return rc;
}

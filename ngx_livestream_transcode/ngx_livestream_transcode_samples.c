
/*
 * Copyright (C) nginx-livestream contributors
 *
 * From the decoder to the encoder of audio: rate, channels and time.
 *
 *   samples   ... ... ...|         | ... ... |... ...
 *                        |  hole   |         |  overlap
 *
 *   hole      let be below NGX_LIVESTREAM_TRANSCODE_NEAR; filled with silence
 *             up to NGX_LIVESTREAM_TRANSCODE_HOLE; beyond that the frame that
 *             is there is filled, and the next one begins behind the hole
 *   overlap   samples are dropped: time never runs backwards
 *
 * The resampler is made anew where the kind of the samples changes.  What it
 * holds back is put out first, so that its output lies where its input does.
 *
 * Pipeline thread.
 */


#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <libavutil/channel_layout.h>
#include <libavutil/mathematics.h>
#include <libavutil/opt.h>
#include <libavutil/samplefmt.h>
#include <libswresample/swresample.h>

#include "ngx_livestream_transcode_samples.h"


#define NGX_LIVESTREAM_TRANSCODE_NEAR       3       /* ms */
#define NGX_LIVESTREAM_TRANSCODE_HOLE       50      /* ms */

/* of what is decoded */
#define NGX_LIVESTREAM_TRANSCODE_LONGEST    5       /* s */
#define NGX_LIVESTREAM_TRANSCODE_RATE_MIN   1000
#define NGX_LIVESTREAM_TRANSCODE_RATE_MAX   768000


struct ngx_livestream_transcode_samples_s {
    ngx_livestream_transcode_aenc_t  *enc;
    const AVCodecContext             *output;
    unsigned                          started:1;

    SwrContext                       *swr;
    int                               format;       /* what it takes */
    int                               rate;
    AVChannelLayout                   layout;
    uint8_t                         **buf;
    int                               buf_size;     /* samples */
    int64_t                           drop;         /* samples, to come */
};


static int ngx_livestream_transcode_samples_sane(const AVFrame *pic);
static int ngx_livestream_transcode_samples_place(
    ngx_livestream_transcode_samples_t *s, int64_t pos,
    const ngx_livestream_transcode_sink_t *to);
static int ngx_livestream_transcode_samples_changed(
    const ngx_livestream_transcode_samples_t *s, const AVFrame *pic);
static int ngx_livestream_transcode_samples_resampler(
    ngx_livestream_transcode_samples_t *s, const AVFrame *pic);
static int ngx_livestream_transcode_samples_open(
    ngx_livestream_transcode_samples_t *s, const AVChannelLayout *layout);
static int ngx_livestream_transcode_samples_convert(
    ngx_livestream_transcode_samples_t *s, const AVFrame *pic,
    const ngx_livestream_transcode_sink_t *to);
static int ngx_livestream_transcode_samples_room(
    ngx_livestream_transcode_samples_t *s, int room);
static int ngx_livestream_transcode_samples_drain(
    ngx_livestream_transcode_samples_t *s,
    const ngx_livestream_transcode_sink_t *to);


ngx_livestream_transcode_samples_t *
ngx_livestream_transcode_samples_create(
    const ngx_livestream_transcode_samples_conf_t *conf, const AVFrame *first,
    int *error)
{
    const char                            *reason;
    ngx_livestream_transcode_samples_t    *s;
    ngx_livestream_transcode_aenc_conf_t   enc;

    s = calloc(1, sizeof(ngx_livestream_transcode_samples_t));
    if (s == NULL) {
        *error = ENOMEM;
        return NULL;
    }

    memset(&enc, 0, sizeof(enc));

    enc.codec = conf->codec;
    enc.bitrate = conf->bitrate;
    enc.like = conf->like;

    if (conf->like) {
        enc.rate = conf->like->sample_rate;
        enc.channels = conf->like->channels;

    } else {
        enc.rate = 48000;
        enc.channels = first->ch_layout.nb_channels > 1 ? 2 : 1;

        if (first->sample_rate == 44100
            && conf->codec == NGX_LIVESTREAM_CODEC_AAC)
        {
            enc.rate = 44100;
        }
    }

    s->enc = ngx_livestream_transcode_aenc_open(&enc, &reason);

    if (s->enc == NULL) {
        free(s);
        *error = ENOTSUP;
        return NULL;
    }

    s->output = ngx_livestream_transcode_aenc_input(s->enc);

    if (conf->end_scale) {

        /* nothing was put yet that it could put out */

        (void) ngx_livestream_transcode_aenc_go(s->enc,
                                      av_rescale_rnd(conf->end, enc.rate,
                                                     conf->end_scale,
                                                     AV_ROUND_UP),
                                      NULL);
        s->started = 1;
    }

    return s;
}


void
ngx_livestream_transcode_samples_destroy(ngx_livestream_transcode_samples_t *s)
{
    if (s == NULL) {
        return;
    }

    swr_free(&s->swr);
    av_channel_layout_uninit(&s->layout);

    if (s->buf) {
        av_freep(&s->buf[0]);
        av_freep(&s->buf);
    }

    ngx_livestream_transcode_aenc_close(s->enc);

    free(s);
}


int
ngx_livestream_transcode_samples_put(ngx_livestream_transcode_samples_t *s,
    AVFrame *pic, int64_t pts, uint32_t scale, int64_t wall, uint32_t flags,
    const ngx_livestream_transcode_sink_t *to)
{
    int  rc;

    if (!ngx_livestream_transcode_samples_sane(pic)) {
        return EINVAL;
    }

    rc = 0;

    if (ngx_livestream_transcode_samples_changed(s, pic)) {
        rc = ngx_livestream_transcode_samples_drain(s, to);
    }

    if (rc == 0) {
        rc = ngx_livestream_transcode_samples_place(s,
                               av_rescale(pts, s->output->sample_rate, scale),
                               to);
    }

    if (rc == 0 && s->swr == NULL) {
        rc = ngx_livestream_transcode_samples_resampler(s, pic);
    }

    if (rc) {
        return rc;
    }

    ngx_livestream_transcode_aenc_stamp(s->enc, wall, flags);

    return ngx_livestream_transcode_samples_convert(s, pic, to);
}


int
ngx_livestream_transcode_samples_flush(ngx_livestream_transcode_samples_t *s,
    const ngx_livestream_transcode_sink_t *to)
{
    int  rc;

    rc = ngx_livestream_transcode_samples_drain(s, to);

    if (rc == 0) {
        rc = ngx_livestream_transcode_aenc_flush(s->enc, to);
    }

    return rc;
}


/* what a decoder says may be anything that a publisher wrote */

static int
ngx_livestream_transcode_samples_sane(const AVFrame *pic)
{
    return pic->nb_samples > 0
           && pic->ch_layout.nb_channels > 0
           && pic->sample_rate >= NGX_LIVESTREAM_TRANSCODE_RATE_MIN
           && pic->sample_rate <= NGX_LIVESTREAM_TRANSCODE_RATE_MAX
           && pic->nb_samples / pic->sample_rate
              < NGX_LIVESTREAM_TRANSCODE_LONGEST;
}


/* the next samples begin at pos */

static int
ngx_livestream_transcode_samples_place(ngx_livestream_transcode_samples_t *s,
    int64_t pos, const ngx_livestream_transcode_sink_t *to)
{
    int      rc;
    int64_t  rate, ahead;

    rate = s->output->sample_rate;
    ahead = INT64_MAX;

    if (s->started) {
        ahead = pos - ngx_livestream_transcode_aenc_next(s->enc) + s->drop
                - (s->swr ? swr_get_delay(s->swr, rate) : 0);
    }

    if (ahead < -rate * NGX_LIVESTREAM_TRANSCODE_NEAR / 1000) {
        s->drop -= ahead;
        return 0;
    }

    if (ahead <= rate * NGX_LIVESTREAM_TRANSCODE_NEAR / 1000) {
        return 0;
    }

    rc = ngx_livestream_transcode_samples_drain(s, to);
    if (rc) {
        return rc;
    }

    if (ahead <= rate * NGX_LIVESTREAM_TRANSCODE_HOLE / 1000) {
        rc = ngx_livestream_transcode_aenc_put(s->enc, NULL, 0,
                        pos - ngx_livestream_transcode_aenc_next(s->enc), to);

    } else {
        rc = ngx_livestream_transcode_aenc_go(s->enc, pos, to);
    }

    s->started = 1;
    s->drop = ngx_livestream_transcode_aenc_next(s->enc) - pos;

    return rc;
}


static int
ngx_livestream_transcode_samples_changed(
    const ngx_livestream_transcode_samples_t *s, const AVFrame *pic)
{
    return pic->format != s->format
           || pic->sample_rate != s->rate
           || av_channel_layout_compare(&pic->ch_layout, &s->layout) != 0;
}


static int
ngx_livestream_transcode_samples_resampler(
    ngx_livestream_transcode_samples_t *s, const AVFrame *pic)
{
    int              rc;
    AVChannelLayout  layout;

    s->format = pic->format;
    s->rate = pic->sample_rate;

    if (av_channel_layout_copy(&s->layout, &pic->ch_layout) < 0) {
        return ENOMEM;
    }

    rc = EINVAL;

    if (s->layout.order != AV_CHANNEL_ORDER_UNSPEC) {
        rc = ngx_livestream_transcode_samples_open(s, &s->layout);
    }

    /* an order of channels that is not told, or odd, is taken as usual */

    if (rc == EINVAL) {
        memset(&layout, 0, sizeof(layout));
        av_channel_layout_default(&layout, s->layout.nb_channels);

        rc = ngx_livestream_transcode_samples_open(s, &layout);
    }

    return rc;
}


static int
ngx_livestream_transcode_samples_open(ngx_livestream_transcode_samples_t *s,
    const AVChannelLayout *layout)
{
    int              rc;
    AVChannelLayout  in, out;

    /* neither is written to, or has anything of its own */

    in = *layout;
    out = s->output->ch_layout;

    rc = swr_alloc_set_opts2(&s->swr, &out, s->output->sample_fmt,
                             s->output->sample_rate, &in, s->format, s->rate,
                             0, NULL);
    if (rc >= 0) {

        /* channels that are mixed must not be louder than one can be */

        (void) av_opt_set_double(s->swr, "rematrix_maxval", 1.0, 0);

        rc = swr_init(s->swr);
    }

    if (rc >= 0) {
        return 0;
    }

    swr_free(&s->swr);

    return rc == AVERROR(ENOMEM) ? ENOMEM : EINVAL;
}


/* pic NULL: what is in the resampler */

static int
ngx_livestream_transcode_samples_convert(ngx_livestream_transcode_samples_t *s,
    const AVFrame *pic, const ngx_livestream_transcode_sink_t *to)
{
    int  rc, n, skip;

    n = swr_get_out_samples(s->swr, pic ? pic->nb_samples : 0);

    rc = ngx_livestream_transcode_samples_room(s, n);
    if (rc) {
        return rc;
    }

    n = swr_convert(s->swr, s->buf, s->buf_size,
                    pic ? (const uint8_t **) pic->extended_data : NULL,
                    pic ? pic->nb_samples : 0);
    if (n < 0) {
        return n == AVERROR(ENOMEM) ? ENOMEM : EINVAL;
    }

    skip = (s->drop < n) ? (int) s->drop : n;
    s->drop -= skip;

    return ngx_livestream_transcode_aenc_put(s->enc, s->buf, skip, n - skip,
                                             to);
}


static int
ngx_livestream_transcode_samples_room(ngx_livestream_transcode_samples_t *s,
    int room)
{
    if (room <= s->buf_size) {
        return 0;
    }

    if (s->buf) {
        av_freep(&s->buf[0]);
        av_freep(&s->buf);
    }

    s->buf_size = 0;

    if (av_samples_alloc_array_and_samples(&s->buf, NULL,
                                           s->output->ch_layout.nb_channels,
                                           room, s->output->sample_fmt, 0)
        < 0)
    {
        return ENOMEM;
    }

    s->buf_size = room;

    return 0;
}


static int
ngx_livestream_transcode_samples_drain(ngx_livestream_transcode_samples_t *s,
    const ngx_livestream_transcode_sink_t *to)
{
    int  rc;

    if (s->swr == NULL) {
        return 0;
    }

    rc = ngx_livestream_transcode_samples_convert(s, NULL, to);

    swr_free(&s->swr);

    return rc;
}


/*
 * Copyright (C) nginx-livestream contributors
 *
 * AAC: AudioSpecificConfig (ISO/IEC 14496-3, 1.6.2.1).
 *
 *   LC             | 2 | rate | channels | frame length ... |
 *   HE, explicit   | 5 or 29 | rate | channels | rate as played | 2 | ... |
 *   HE, by a tail  | 2 | rate | channels | ... | 0x2b7 | 5 | 1 | rate | ...
 *
 * The tail, backward compatible, is found by what is left behind the first
 * configuration.  HE-AAC that is not signalled at all cannot be told from LC:
 * it is carried at its core's rate, which all decoders correct by themselves.
 *
 * A raw frame's own length is not told by its first bytes; what it surely is
 * not, is checked.
 *
 * Pure C, any thread.
 */


#include <stdio.h>
#include <string.h>

#include "ngx_livestream_codec_impl.h"


#define NGX_LIVESTREAM_AAC_MAIN       1
#define NGX_LIVESTREAM_AAC_LC         2
#define NGX_LIVESTREAM_AAC_SBR        5
#define NGX_LIVESTREAM_AAC_PS         29
#define NGX_LIVESTREAM_AAC_ESCAPE     31

#define NGX_LIVESTREAM_AAC_RATE       15        /* it is written out */
#define NGX_LIVESTREAM_AAC_SBR_SYNC   0x2b7
#define NGX_LIVESTREAM_AAC_PS_SYNC    0x548

#define NGX_LIVESTREAM_AAC_FRAME_MAX  8191      /* what ADTS could tell */


typedef struct {
    uint32_t                 type;
    uint32_t                 rate;
    uint32_t                 sbr;
    uint32_t                 ps;
    uint32_t                 sbr_rate;
    uint32_t                 channels;
    uint32_t                 samples;
} ngx_livestream_aac_t;


static int ngx_livestream_aac_parse(ngx_livestream_codec_t *c,
    const char **reason);
static int ngx_livestream_aac_config(ngx_livestream_bits_t *b,
    ngx_livestream_aac_t *aac, const char **reason);
static void ngx_livestream_aac_tail(ngx_livestream_bits_t *b,
    ngx_livestream_aac_t *aac);
static uint32_t ngx_livestream_aac_type(ngx_livestream_bits_t *b);
static uint32_t ngx_livestream_aac_rate(ngx_livestream_bits_t *b);
static uint32_t ngx_livestream_aac_elements(ngx_livestream_bits_t *b);
static int ngx_livestream_aac_check(const ngx_livestream_codec_t *c,
    const uint8_t *data, size_t len, int *key, uint32_t *samples,
    const char **reason);


const ngx_livestream_codec_impl_t  ngx_livestream_codec_aac = {
    "aac",
    NGX_LIVESTREAM_AUDIO,
    ngx_livestream_aac_parse,
    ngx_livestream_aac_check,
    NULL
};


/* samplingFrequencyIndex; 0 is reserved */

static const uint32_t  ngx_livestream_aac_rates[16] = {
    96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050,
    16000, 12000, 11025, 8000, 7350
};


/* channelConfiguration; 0 is reserved, or too many */

static const uint8_t  ngx_livestream_aac_channels[16] = {
    0, 1, 2, 3, 4, 5, 6, 8, 0, 0, 0, 7, 8, 0, 8, 0
};


static int
ngx_livestream_aac_parse(ngx_livestream_codec_t *c, const char **reason)
{
    int                    rc;
    ngx_livestream_aac_t   aac;
    ngx_livestream_bits_t  b;

    memset(&aac, 0, sizeof(aac));

    ngx_livestream_bits_init(&b, c->config, c->config_len, 0);

    rc = ngx_livestream_aac_config(&b, &aac, reason);

    if (b.overrun) {
        *reason = "AudioSpecificConfig is truncated";
        return -1;
    }

    if (rc != 0) {
        return -1;
    }

    if (!aac.sbr) {
        ngx_livestream_aac_tail(&b, &aac);
    }

    c->profile = aac.type;
    c->sample_rate = aac.rate;
    c->channels = aac.channels;
    c->frame_samples = aac.samples;

    if (aac.sbr) {

        /* SBR doubles the rate, or leaves it where it runs downsampled */

        if (aac.sbr_rate != aac.rate && aac.sbr_rate != 2 * aac.rate) {
            *reason = "AudioSpecificConfig has an invalid SBR rate";
            return -1;
        }

        c->profile = aac.ps ? NGX_LIVESTREAM_AAC_PS : NGX_LIVESTREAM_AAC_SBR;
        c->sample_rate = aac.sbr_rate;
        c->frame_samples = aac.samples * (aac.sbr_rate / aac.rate);

        if (aac.ps && c->channels == 1) {
            c->channels = 2;
        }
    }

    (void) snprintf(c->codecs, sizeof(c->codecs), "mp4a.40.%u", c->profile);

    return 0;
}


static int
ngx_livestream_aac_config(ngx_livestream_bits_t *b, ngx_livestream_aac_t *aac,
    const char **reason)
{
    uint32_t  config;

    aac->type = ngx_livestream_aac_type(b);
    aac->rate = ngx_livestream_aac_rate(b);
    config = ngx_livestream_bits(b, 4);

    if (aac->type == NGX_LIVESTREAM_AAC_SBR
        || aac->type == NGX_LIVESTREAM_AAC_PS)
    {
        aac->sbr = 1;
        aac->ps = aac->type == NGX_LIVESTREAM_AAC_PS;
        aac->sbr_rate = ngx_livestream_aac_rate(b);
        aac->type = ngx_livestream_aac_type(b);
    }

    if (aac->rate == 0) {
        *reason = "AudioSpecificConfig has an invalid sample rate";
        return -1;
    }

    if (aac->type != NGX_LIVESTREAM_AAC_MAIN
        && aac->type != NGX_LIVESTREAM_AAC_LC)
    {
        *reason = "audio object type is not carried";
        return -1;
    }

    aac->samples = ngx_livestream_bits(b, 1) ? 960 : 1024;

    if (ngx_livestream_bits(b, 1)) {                /* dependsOnCoreCoder */
        ngx_livestream_bits_skip(b, 14);
    }

    ngx_livestream_bits_skip(b, 1);                 /* extensionFlag */

    aac->channels = config ? ngx_livestream_aac_channels[config]
                           : ngx_livestream_aac_elements(b);

    return 0;
}


/* what is not a tail, is padding */

static void
ngx_livestream_aac_tail(ngx_livestream_bits_t *b, ngx_livestream_aac_t *aac)
{
    uint32_t  rate;

    if (ngx_livestream_bits_left(b) < 11 + 5 + 1
        || ngx_livestream_bits(b, 11) != NGX_LIVESTREAM_AAC_SBR_SYNC
        || ngx_livestream_aac_type(b) != NGX_LIVESTREAM_AAC_SBR
        || ngx_livestream_bits(b, 1) == 0)
    {
        return;
    }

    rate = ngx_livestream_aac_rate(b);

    if (b->overrun || rate == 0) {
        return;
    }

    aac->sbr = 1;
    aac->sbr_rate = rate;

    if (ngx_livestream_bits_left(b) >= 11 + 1
        && ngx_livestream_bits(b, 11) == NGX_LIVESTREAM_AAC_PS_SYNC)
    {
        aac->ps = ngx_livestream_bits(b, 1);
    }
}


static uint32_t
ngx_livestream_aac_type(ngx_livestream_bits_t *b)
{
    uint32_t  type;

    type = ngx_livestream_bits(b, 5);

    if (type == NGX_LIVESTREAM_AAC_ESCAPE) {
        type = 32 + ngx_livestream_bits(b, 6);
    }

    return type;
}


static uint32_t
ngx_livestream_aac_rate(ngx_livestream_bits_t *b)
{
    uint32_t  index;

    index = ngx_livestream_bits(b, 4);

    if (index == NGX_LIVESTREAM_AAC_RATE) {
        return ngx_livestream_bits(b, 24);
    }

    return ngx_livestream_aac_rates[index];
}


/* program_config_element(): the number of its channels */

static uint32_t
ngx_livestream_aac_elements(ngx_livestream_bits_t *b)
{
    uint32_t  i, n, lfe, data, coupling, channels;

    ngx_livestream_bits_skip(b, 4 + 2 + 4);         /* tag, type, rate */

    n = ngx_livestream_bits(b, 4);                  /* front */
    n += ngx_livestream_bits(b, 4);                 /* side */
    n += ngx_livestream_bits(b, 4);                 /* back */
    lfe = ngx_livestream_bits(b, 2);
    data = ngx_livestream_bits(b, 3);
    coupling = ngx_livestream_bits(b, 4);

    if (ngx_livestream_bits(b, 1)) {                /* mono_mixdown */
        ngx_livestream_bits_skip(b, 4);
    }

    if (ngx_livestream_bits(b, 1)) {                /* stereo_mixdown */
        ngx_livestream_bits_skip(b, 4);
    }

    if (ngx_livestream_bits(b, 1)) {                /* matrix_mixdown */
        ngx_livestream_bits_skip(b, 3);
    }

    channels = n + lfe;

    for (i = 0; i < n; i++) {
        channels += ngx_livestream_bits(b, 1);      /* a pair */
        ngx_livestream_bits_skip(b, 4);
    }

    ngx_livestream_bits_skip(b, lfe * 4 + data * 4 + coupling * 5);

    ngx_livestream_bits_align(b);

    n = ngx_livestream_bits(b, 8);                  /* comment */
    ngx_livestream_bits_skip(b, n * 8);

    return channels;
}


static int
ngx_livestream_aac_check(const ngx_livestream_codec_t *c,
    const uint8_t *data, size_t len, int *key, uint32_t *samples,
    const char **reason)
{
    if (len > NGX_LIVESTREAM_AAC_FRAME_MAX) {
        *reason = "AAC frame is too large";
        return -1;
    }

    /* a raw frame that begins so would hold no element */

    if (len > 1 && data[0] == 0xff && (data[1] & 0xf6) == 0xf0) {
        *reason = "AAC frame has an ADTS header";
        return -1;
    }

    *key = 1;
    *samples = c->frame_samples;

    return 0;
}

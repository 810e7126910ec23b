
/*
 * Copyright (C) nginx-livestream contributors
 *
 * Opus: the identification header (RFC 7845, 5.1) and packets (RFC 6716, 3
 * and appendix B).
 *
 *   OpusHead  | "OpusHead" | 1 | channels | skip | rate | gain | family |
 *             | streams | coupled | mapping of each channel |    family 1
 *                                                  little-endian, 19 bytes
 *
 *   message   | packet of stream 0 | ... | packet of the last stream |
 *               self-delimiting            ends with the message
 *
 * The clock is 48000 Hz, whatever rate the header says of the original.
 *
 * Pure C, any thread.
 */


#include <stdio.h>
#include <string.h>

#include "ngx_livestream_codec_impl.h"


#define NGX_LIVESTREAM_OPUS_RATE        48000
#define NGX_LIVESTREAM_OPUS_SAMPLES_MAX 5760        /* 120 ms */
#define NGX_LIVESTREAM_OPUS_FRAME_MAX   1275

#define NGX_LIVESTREAM_OPUS_HEAD        19
#define NGX_LIVESTREAM_OPUS_CHANNELS    9           /* offsets */
#define NGX_LIVESTREAM_OPUS_FAMILY      18
#define NGX_LIVESTREAM_OPUS_STREAMS     19
#define NGX_LIVESTREAM_OPUS_COUPLED     20
#define NGX_LIVESTREAM_OPUS_MAPPING     21

#define NGX_LIVESTREAM_OPUS_SILENT      255


static int ngx_livestream_opus_parse(ngx_livestream_codec_t *c,
    const char **reason);
static int ngx_livestream_opus_mapping(ngx_livestream_codec_t *c);
static int ngx_livestream_opus_check(const ngx_livestream_codec_t *c,
    const uint8_t *data, size_t len, int *key, uint32_t *samples,
    const char **reason);
static int ngx_livestream_opus_packet(const uint8_t **pos, const uint8_t *end,
    int delimited, uint32_t *samples);
static uint32_t ngx_livestream_opus_samples(uint8_t toc);
static int ngx_livestream_opus_frames(const uint8_t **pos, const uint8_t *end,
    int delimited, uint32_t n, int vbr, size_t padding);
static int ngx_livestream_opus_padding(const uint8_t **pos,
    const uint8_t *end, size_t *padding);
static int ngx_livestream_opus_size(const uint8_t **pos, const uint8_t *end,
    size_t *size);


const ngx_livestream_codec_impl_t  ngx_livestream_codec_opus = {
    "opus",
    NGX_LIVESTREAM_AUDIO,
    ngx_livestream_opus_parse,
    ngx_livestream_opus_check,
    NULL
};


/* an empty configuration means mono or stereo, which one decoder plays */

static const uint8_t  ngx_livestream_opus_stereo[NGX_LIVESTREAM_OPUS_HEAD] = {
    'O', 'p', 'u', 's', 'H', 'e', 'a', 'd', 1, 2, 0, 0, 0x80, 0xbb, 0, 0,
    0, 0, 0
};


static int
ngx_livestream_opus_parse(ngx_livestream_codec_t *c, const char **reason)
{
    uint8_t  *p;

    p = c->config;

    if (c->config_len == 0) {
        memcpy(p, ngx_livestream_opus_stereo, NGX_LIVESTREAM_OPUS_HEAD);
        c->config_len = NGX_LIVESTREAM_OPUS_HEAD;
    }

    if (c->config_len < NGX_LIVESTREAM_OPUS_HEAD
        || memcmp(p, ngx_livestream_opus_stereo, 8) != 0
        || (p[8] & 0xf0) != 0)
    {
        *reason = "OpusHead is missing";
        return -1;
    }

    c->sample_rate = NGX_LIVESTREAM_OPUS_RATE;
    c->channels = p[NGX_LIVESTREAM_OPUS_CHANNELS];

    if (ngx_livestream_opus_mapping(c) != 0) {
        *reason = "OpusHead has an invalid channel mapping";
        return -1;
    }

    (void) snprintf(c->codecs, sizeof(c->codecs), "opus");

    return 0;
}


static int
ngx_livestream_opus_mapping(ngx_livestream_codec_t *c)
{
    uint8_t   *p, *mapping;
    uint32_t   i, n;

    p = c->config;
    mapping = p + NGX_LIVESTREAM_OPUS_MAPPING;

    if (p[NGX_LIVESTREAM_OPUS_FAMILY] == 0) {
        c->config_len = NGX_LIVESTREAM_OPUS_HEAD;

        return c->channels > 2 ? -1 : 0;
    }

    if (p[NGX_LIVESTREAM_OPUS_FAMILY] != 1
        || c->config_len < NGX_LIVESTREAM_OPUS_MAPPING + c->channels)
    {
        return -1;
    }

    if (p[NGX_LIVESTREAM_OPUS_STREAMS] == 0
        || p[NGX_LIVESTREAM_OPUS_COUPLED] > p[NGX_LIVESTREAM_OPUS_STREAMS])
    {
        return -1;
    }

    n = p[NGX_LIVESTREAM_OPUS_STREAMS] + p[NGX_LIVESTREAM_OPUS_COUPLED];

    for (i = 0; i < c->channels; i++) {
        if (mapping[i] >= n && mapping[i] != NGX_LIVESTREAM_OPUS_SILENT) {
            return -1;
        }
    }

    c->config_len = NGX_LIVESTREAM_OPUS_MAPPING + c->channels;

    return 0;
}


static int
ngx_livestream_opus_check(const ngx_livestream_codec_t *c,
    const uint8_t *data, size_t len, int *key, uint32_t *samples,
    const char **reason)
{
    uint32_t        i, n, duration;
    const uint8_t  *end;

    end = data + len;

    n = c->config[NGX_LIVESTREAM_OPUS_FAMILY] == 0
        ? 1 : c->config[NGX_LIVESTREAM_OPUS_STREAMS];

    for (i = 0; i < n; i++) {

        if (ngx_livestream_opus_packet(&data, end, i + 1 < n, &duration) != 0)
        {
            *reason = "Opus packet is invalid";
            return -1;
        }

        if (i && duration != *samples) {
            *reason = "Opus packets differ in duration";
            return -1;
        }

        *samples = duration;
    }

    *key = 1;

    return 0;
}


static int
ngx_livestream_opus_packet(const uint8_t **pos, const uint8_t *end,
    int delimited, uint32_t *samples)
{
    int             vbr;
    size_t          padding;
    uint8_t         toc, count;
    uint32_t        n;
    const uint8_t  *p;

    p = *pos;

    if (p == end) {
        return -1;
    }

    toc = *p++;
    vbr = 0;
    padding = 0;

    switch (toc & 0x03) {

    case 0:
        n = 1;
        break;

    case 1:
        n = 2;
        break;

    case 2:
        n = 2;
        vbr = 1;
        break;

    default:
        if (p == end) {
            return -1;
        }

        count = *p++;
        n = count & 0x3f;
        vbr = count & 0x80;

        if ((count & 0x40)
            && ngx_livestream_opus_padding(&p, end, &padding) != 0)
        {
            return -1;
        }
    }

    *samples = n * ngx_livestream_opus_samples(toc);

    if (n == 0 || *samples > NGX_LIVESTREAM_OPUS_SAMPLES_MAX) {
        return -1;
    }

    if (ngx_livestream_opus_frames(&p, end, delimited, n, vbr, padding) != 0) {
        return -1;
    }

    *pos = p;

    return 0;
}


static uint32_t
ngx_livestream_opus_samples(uint8_t toc)
{
    uint32_t  config;

    config = toc >> 3;

    if (config < 12) {                              /* SILK */
        return (config & 3) == 3 ? 2880 : 480u << (config & 3);
    }

    if (config < 16) {                              /* hybrid */
        return 480u << (config & 1);
    }

    return 120u << (config & 3);                    /* CELT */
}


/* sizes and bytes of n frames; not delimited, the last one ends the packet */

static int
ngx_livestream_opus_frames(const uint8_t **pos, const uint8_t *end,
    int delimited, uint32_t n, int vbr, size_t padding)
{
    size_t    size, total;
    uint32_t  i, told;

    told = vbr ? n - 1 : 0;
    told += delimited ? 1 : 0;
    total = padding;
    size = 0;

    for (i = 0; i < told; i++) {
        if (ngx_livestream_opus_size(pos, end, &size) != 0) {
            return -1;
        }

        total += size;
    }

    if (delimited && !vbr) {
        total += (n - 1) * size;                    /* all as the one told */
    }

    if (total > (size_t) (end - *pos)) {
        return -1;
    }

    if (!delimited) {
        size = end - *pos - total;

        if (!vbr && size % n) {
            return -1;
        }

        if ((vbr ? size : size / n) > NGX_LIVESTREAM_OPUS_FRAME_MAX) {
            return -1;
        }

        total = end - *pos;
    }

    *pos += total;

    return 0;
}


static int
ngx_livestream_opus_padding(const uint8_t **pos, const uint8_t *end,
    size_t *padding)
{
    uint8_t  more;

    do {
        if (*pos == end) {
            return -1;
        }

        more = *(*pos)++;
        *padding += more == 255 ? 254 : more;

    } while (more == 255);

    return 0;
}


static int
ngx_livestream_opus_size(const uint8_t **pos, const uint8_t *end, size_t *size)
{
    if (*pos == end) {
        return -1;
    }

    *size = *(*pos)++;

    if (*size >= 252) {
        if (*pos == end) {
            return -1;
        }

        *size += (size_t) *(*pos)++ * 4;
    }

    return 0;                   /* at most 1275 by its form */
}

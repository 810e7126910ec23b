
/*
 * Copyright (C) nginx-livestream contributors
 *
 * FLAC: STREAMINFO and the header of a frame (RFC 9639, 8.2 and 9.1).
 *
 *   | "fLaC" | block header | STREAMINFO | more blocks |
 *             4 bytes        34 bytes
 *
 * Publishers send all of that, or without the magic, or STREAMINFO alone,
 * which is what is kept.
 *
 * Pure C, any thread.
 */


#include <stdio.h>
#include <string.h>

#include "ngx_livestream_codec_impl.h"


#define NGX_LIVESTREAM_FLAC_MAGIC       4
#define NGX_LIVESTREAM_FLAC_BLOCK       4
#define NGX_LIVESTREAM_FLAC_STREAMINFO  34

#define NGX_LIVESTREAM_FLAC_BLOCK_MIN   16


static int ngx_livestream_flac_parse(ngx_livestream_codec_t *c,
    const char **reason);
static int ngx_livestream_flac_check(const ngx_livestream_codec_t *c,
    const uint8_t *data, size_t len, int *key, uint32_t *samples,
    const char **reason);
static int ngx_livestream_flac_header(ngx_livestream_bits_t *b,
    uint32_t *samples);
static uint8_t ngx_livestream_flac_crc(const uint8_t *p, const uint8_t *end);


const ngx_livestream_codec_impl_t  ngx_livestream_codec_flac = {
    "flac",
    NGX_LIVESTREAM_AUDIO,
    ngx_livestream_flac_parse,
    ngx_livestream_flac_check,
    NULL
};


static int
ngx_livestream_flac_parse(ngx_livestream_codec_t *c, const char **reason)
{
    uint32_t               min, max;
    const uint8_t         *p, *end;
    ngx_livestream_bits_t  b;

    p = c->config;
    end = p + c->config_len;

    if (end - p >= NGX_LIVESTREAM_FLAC_MAGIC && memcmp(p, "fLaC", 4) == 0) {
        p += NGX_LIVESTREAM_FLAC_MAGIC;
    }

    if (end - p >= NGX_LIVESTREAM_FLAC_BLOCK + NGX_LIVESTREAM_FLAC_STREAMINFO
        && (p[0] & 0x7f) == 0 && p[1] == 0 && p[2] == 0
        && p[3] == NGX_LIVESTREAM_FLAC_STREAMINFO)
    {
        p += NGX_LIVESTREAM_FLAC_BLOCK;

    } else if (p != c->config || end - p != NGX_LIVESTREAM_FLAC_STREAMINFO) {
        *reason = "FLAC STREAMINFO is missing";
        return -1;
    }

    memmove(c->config, p, NGX_LIVESTREAM_FLAC_STREAMINFO);
    c->config_len = NGX_LIVESTREAM_FLAC_STREAMINFO;

    ngx_livestream_bits_init(&b, c->config, c->config_len, 0);

    min = ngx_livestream_bits(&b, 16);
    max = ngx_livestream_bits(&b, 16);
    ngx_livestream_bits_skip(&b, 24 + 24);          /* frame sizes */

    if (min < NGX_LIVESTREAM_FLAC_BLOCK_MIN || min > max) {
        *reason = "FLAC STREAMINFO has an invalid block size";
        return -1;
    }

    c->sample_rate = ngx_livestream_bits(&b, 20);
    c->channels = ngx_livestream_bits(&b, 3) + 1;
    c->bit_depth = ngx_livestream_bits(&b, 5) + 1;
    c->frame_samples = min == max ? max : 0;

    (void) snprintf(c->codecs, sizeof(c->codecs), "fLaC");

    return 0;
}


static int
ngx_livestream_flac_check(const ngx_livestream_codec_t *c,
    const uint8_t *data, size_t len, int *key, uint32_t *samples,
    const char **reason)
{
    uint32_t               max;
    ngx_livestream_bits_t  b;

    ngx_livestream_bits_init(&b, data, len, 0);

    if (ngx_livestream_flac_header(&b, samples) != 0 || b.overrun
        || b.pos == b.end
        || ngx_livestream_flac_crc(data, b.pos) != *b.pos)
    {
        *reason = "FLAC frame header is invalid";
        return -1;
    }

    max = (uint32_t) c->config[2] << 8 | c->config[3];

    if (*samples > max) {
        *reason = "FLAC frame is longer than STREAMINFO allows";
        return -1;
    }

    *key = 1;

    return 0;
}


/* up to its CRC */

static int
ngx_livestream_flac_header(ngx_livestream_bits_t *b, uint32_t *samples)
{
    uint32_t  size, rate, channels, depth, coded, extra;

    if (ngx_livestream_bits(b, 15) != 0x7ffc) {     /* sync code, reserved */
        return -1;
    }

    ngx_livestream_bits_skip(b, 1);                 /* blocking strategy */

    size = ngx_livestream_bits(b, 4);
    rate = ngx_livestream_bits(b, 4);
    channels = ngx_livestream_bits(b, 4);
    depth = ngx_livestream_bits(b, 3);

    if (size == 0 || rate == 15 || channels > 10 || depth == 3
        || ngx_livestream_bits(b, 1))
    {
        return -1;
    }

    /* the frame's number, coded as UTF-8 would code it */

    coded = ngx_livestream_bits(b, 8);
    extra = 0;

    if (coded & 0x80) {
        while (extra < 7 && (coded & (0x40 >> extra))) {
            extra++;
        }

        if (extra == 0 || extra == 7) {
            return -1;
        }
    }

    ngx_livestream_bits_skip(b, extra * 8);

    switch (size) {

    case 1:
        *samples = 192;
        break;

    case 6:
        *samples = ngx_livestream_bits(b, 8) + 1;
        break;

    case 7:
        *samples = ngx_livestream_bits(b, 16) + 1;
        break;

    default:
        *samples = size < 6 ? 576u << (size - 2) : 256u << (size - 8);
    }

    ngx_livestream_bits_skip(b, rate == 12 ? 8 : rate > 12 ? 16 : 0);

    return 0;
}


/* x^8 + x^2 + x + 1 */

static uint8_t
ngx_livestream_flac_crc(const uint8_t *p, const uint8_t *end)
{
    uint8_t   crc;
    unsigned  bit;

    crc = 0;

    while (p < end) {
        crc ^= *p++;

        for (bit = 0; bit < 8; bit++) {
            crc = (crc & 0x80) ? (crc << 1) ^ 0x07 : crc << 1;
        }
    }

    return crc;
}


/*
 * Copyright (C) nginx-livestream contributors
 *
 * VP9: vpcC (VP codec ISO media file format binding), the uncompressed header
 * of a frame and the superframe's index (VP9 bitstream specification, 6.2 and
 * annex B).
 *
 *   vpcC        | 1 | 0 | 0 | 0 | profile | level | depth, chroma, range |
 *               | primaries | transfer | matrix | size | size |
 *   superframe  | frame | frame | ... | marker | size ... | marker |
 *
 * Publishers send the record with or without its first four bytes; kept are
 * the twelve of the box.  The size of the picture is known to key frames
 * alone.
 *
 * Pure C, any thread.
 */


#include <stdio.h>
#include <string.h>

#include "ngx_livestream_codec_impl.h"


#define NGX_LIVESTREAM_VP9_BARE      8
#define NGX_LIVESTREAM_VP9_RECORD    12

#define NGX_LIVESTREAM_VP9_SYNC      0x498342
#define NGX_LIVESTREAM_VP9_RGB       7

#define NGX_LIVESTREAM_VP9_BT2020    9
#define NGX_LIVESTREAM_VP9_PQ        16
#define NGX_LIVESTREAM_VP9_HLG       18

/* vpcC's chroma subsampling */
#define NGX_LIVESTREAM_VP9_420       1
#define NGX_LIVESTREAM_VP9_422       2
#define NGX_LIVESTREAM_VP9_444       3


typedef struct {
    uint32_t                 key;
    uint32_t                 profile;
    uint32_t                 bit_depth;
    uint32_t                 chroma;        /* as in vpcC */
    uint32_t                 matrix;
    uint32_t                 full_range;
    uint32_t                 width;
    uint32_t                 height;
} ngx_livestream_vp9_header_t;


static int ngx_livestream_vp9_parse(ngx_livestream_codec_t *c,
    const char **reason);
static int ngx_livestream_vp9_check(const ngx_livestream_codec_t *c,
    const uint8_t *data, size_t len, int *key, uint32_t *samples,
    const char **reason);
static int ngx_livestream_vp9_superframe(const uint8_t *data, size_t len,
    const char **reason);
static int ngx_livestream_vp9_refine(ngx_livestream_codec_t *c,
    const uint8_t *frame, size_t len, ngx_livestream_codec_t **codec,
    const char **reason);
static void ngx_livestream_vp9_record(uint8_t *p,
    const ngx_livestream_vp9_header_t *h, const ngx_livestream_codec_t *c);
static int ngx_livestream_vp9_header(const uint8_t *data, size_t len,
    ngx_livestream_vp9_header_t *h, const char **reason);
static int ngx_livestream_vp9_color(ngx_livestream_bits_t *b,
    ngx_livestream_vp9_header_t *h);


const ngx_livestream_codec_impl_t  ngx_livestream_codec_vp9 = {
    "vp9",
    NGX_LIVESTREAM_VIDEO,
    ngx_livestream_vp9_parse,
    ngx_livestream_vp9_check,
    ngx_livestream_vp9_refine
};


/* the largest picture of each level at 60 frames a second, for where nobody
 * tells the level: one too high costs less than one too low */

static const struct {
    uint32_t                 level;
    uint32_t                 samples;
} ngx_livestream_vp9_levels[] = {
    { 10, 13824 },
    { 11, 46080 },
    { 20, 76800 },
    { 21, 153600 },
    { 30, 345600 },
    { 31, 614400 },
    { 40, 1392640 },
    { 41, 2228224 },
    { 50, 5199189 },
    { 51, 8912896 },
    { 60, 19608371 },
    { 61, 35651584 },
    { 62, UINT32_MAX }
};


/* matrix coefficients of color_space */

static const uint8_t  ngx_livestream_vp9_matrix[] = {
    2, 5, 1, 6, 7, 9, 2, 0
};


static int
ngx_livestream_vp9_parse(ngx_livestream_codec_t *c, const char **reason)
{
    size_t          n;
    uint8_t        *p;
    const uint8_t   full[4] = { 1, 0, 0, 0 };

    p = c->config;

    /* the bare record's fourth byte, a colour code, is never 0 with a
     * profile of 1 and a level of 0 before it */

    if (c->config_len < NGX_LIVESTREAM_VP9_RECORD
        || memcmp(p, full, sizeof(full)) != 0)
    {
        if (c->config_len < NGX_LIVESTREAM_VP9_BARE) {
            *reason = "vpcC is truncated";
            return -1;
        }

        memmove(p + sizeof(full), p, NGX_LIVESTREAM_VP9_BARE);
        memcpy(p, full, sizeof(full));
    }

    /* there is no initialization data for VP9 */

    c->config_len = NGX_LIVESTREAM_VP9_RECORD;
    p[10] = 0;
    p[11] = 0;

    c->profile = p[4];
    c->level = p[5];
    c->bit_depth = p[6] >> 4;
    c->transfer = p[8];

    switch ((p[6] >> 1) & 0x07) {

    case NGX_LIVESTREAM_VP9_422:
        c->chroma = 2;
        break;

    case NGX_LIVESTREAM_VP9_444:
        c->chroma = 3;
        break;

    default:
        c->chroma = 1;
    }

    if (c->profile > 3
        || (c->bit_depth != 8 && c->bit_depth != 10 && c->bit_depth != 12))
    {
        *reason = "vpcC is invalid";
        return -1;
    }

    n = snprintf(c->codecs, sizeof(c->codecs), "vp09.%02u.%02u.%02u",
                 c->profile, c->level, c->bit_depth);

    /* left out, the rest stands for 4:2:0 in BT.709 */

    if (c->chroma != 1
        || p[7] == NGX_LIVESTREAM_VP9_BT2020
        || p[8] == NGX_LIVESTREAM_VP9_PQ
        || p[8] == NGX_LIVESTREAM_VP9_HLG)
    {
        (void) snprintf(c->codecs + n, sizeof(c->codecs) - n,
                        ".%02u.%02u.%02u.%02u.%02u", (p[6] >> 1) & 0x07u,
                        p[7], p[8], p[9], p[6] & 0x01u);
    }

    return 0;
}


static int
ngx_livestream_vp9_check(const ngx_livestream_codec_t *c,
    const uint8_t *data, size_t len, int *key, uint32_t *samples,
    const char **reason)
{
    ngx_livestream_vp9_header_t  h;

    (void) c;
    (void) samples;

    if (ngx_livestream_vp9_header(data, len, &h, reason) != 0
        || ngx_livestream_vp9_superframe(data, len, reason) != 0)
    {
        return -1;
    }

    *key = h.key;

    return 0;
}


/* the sizes of the frames within, where there is an index */

static int
ngx_livestream_vp9_superframe(const uint8_t *data, size_t len,
    const char **reason)
{
    size_t          size, total;
    unsigned        i, k, n, width;
    const uint8_t  *p;

    if ((data[len - 1] & 0xe0) != 0xc0) {
        return 0;
    }

    n = (data[len - 1] & 0x07) + 1;
    width = ((data[len - 1] >> 3) & 0x03) + 1;
    total = 2 + n * width;

    if (len < total || data[len - total] != data[len - 1]) {
        return 0;                       /* a frame that happens to end so */
    }

    p = data + len - total + 1;

    for (i = 0; i < n; i++) {

        for (size = 0, k = 0; k < width; k++) {
            size |= (size_t) *p++ << (8 * k);
        }

        if (size == 0 || size > len - total) {
            *reason = "VP9 superframe index is invalid";
            return -1;
        }

        total += size;
    }

    return 0;
}


static int
ngx_livestream_vp9_refine(ngx_livestream_codec_t *c, const uint8_t *frame,
    size_t len, ngx_livestream_codec_t **codec, const char **reason)
{
    uint8_t                      record[NGX_LIVESTREAM_VP9_RECORD];
    ngx_livestream_codec_t      *refined;
    ngx_livestream_vp9_header_t  h;

    if (ngx_livestream_vp9_header(frame, len, &h, reason) != 0) {
        return -1;
    }

    if (!h.key) {
        *reason = "VP9 frame is not a key frame";
        return -1;
    }

    ngx_livestream_vp9_record(record, &h, c);

    if (c && c->width == h.width && c->height == h.height
        && memcmp(c->config, record, sizeof(record)) == 0)
    {
        *codec = ngx_livestream_codec_ref(c);
        return 0;
    }

    if (ngx_livestream_codec_parse(NGX_LIVESTREAM_CODEC_VP9, record,
                                   sizeof(record), &refined, reason)
        != 0)
    {
        return -1;
    }

    refined->width = h.width;
    refined->height = h.height;

    if (ngx_livestream_codec_seal(refined, reason) != 0) {
        ngx_livestream_codec_unref(refined);
        return -1;
    }

    *codec = refined;

    return 0;
}


/* what the frame tells, and what only the publisher's record does */

static void
ngx_livestream_vp9_record(uint8_t *p, const ngx_livestream_vp9_header_t *h,
    const ngx_livestream_codec_t *c)
{
    uint32_t  i, chroma;

    memset(p, 0, NGX_LIVESTREAM_VP9_RECORD);

    chroma = h->chroma;

    if (c) {
        memcpy(p, c->config, NGX_LIVESTREAM_VP9_RECORD);

        if (chroma == NGX_LIVESTREAM_VP9_420 && c->chroma == 1) {
            chroma = (p[6] >> 1) & 0x07;        /* where its samples lie */
        }

    } else {
        p[0] = 1;
        p[7] = NGX_LIVESTREAM_UNSPECIFIED;
        p[8] = NGX_LIVESTREAM_UNSPECIFIED;
        p[9] = h->matrix;
    }

    p[4] = h->profile;
    p[6] = h->bit_depth << 4 | chroma << 1 | h->full_range;

    if (p[5] == 0) {
        for (i = 0;
             h->width * h->height > ngx_livestream_vp9_levels[i].samples;
             i++)
        {
            /* void */
        }

        p[5] = ngx_livestream_vp9_levels[i].level;
    }
}


/* the begin of uncompressed_header(); what follows is not looked at */

static int
ngx_livestream_vp9_header(const uint8_t *data, size_t len,
    ngx_livestream_vp9_header_t *h, const char **reason)
{
    ngx_livestream_bits_t  b;

    memset(h, 0, sizeof(ngx_livestream_vp9_header_t));

    ngx_livestream_bits_init(&b, data, len, 0);

    if (ngx_livestream_bits(&b, 2) != 2) {
        *reason = "VP9 frame marker is missing";
        return -1;
    }

    h->profile = ngx_livestream_bits(&b, 1);
    h->profile |= ngx_livestream_bits(&b, 1) << 1;

    if (h->profile == 3 && ngx_livestream_bits(&b, 1)) {
        *reason = "VP9 profile is unknown";
        return -1;
    }

    if (ngx_livestream_bits(&b, 1)) {           /* show_existing_frame */
        return 0;
    }

    h->key = !ngx_livestream_bits(&b, 1);       /* frame_type */
    ngx_livestream_bits_skip(&b, 2);            /* show, error_resilient */

    if (!h->key) {
        return 0;
    }

    if (ngx_livestream_bits(&b, 24) != NGX_LIVESTREAM_VP9_SYNC) {
        *reason = "VP9 sync code is missing";
        return -1;
    }

    if (ngx_livestream_vp9_color(&b, h) != 0) {
        *reason = "VP9 colour is invalid";
        return -1;
    }

    h->width = ngx_livestream_bits(&b, 16) + 1;
    h->height = ngx_livestream_bits(&b, 16) + 1;

    if (b.overrun) {
        *reason = "VP9 frame header is truncated";
        return -1;
    }

    return 0;
}


static int
ngx_livestream_vp9_color(ngx_livestream_bits_t *b,
    ngx_livestream_vp9_header_t *h)
{
    uint32_t  space, x, y;

    h->bit_depth = 8;

    if (h->profile >= 2) {
        h->bit_depth = ngx_livestream_bits(b, 1) ? 12 : 10;
    }

    space = ngx_livestream_bits(b, 3);
    h->matrix = ngx_livestream_vp9_matrix[space];

    x = space != NGX_LIVESTREAM_VP9_RGB;
    y = x;

    h->full_range = space == NGX_LIVESTREAM_VP9_RGB
                    ? 1 : ngx_livestream_bits(b, 1);

    if (h->profile & 1) {

        if (space != NGX_LIVESTREAM_VP9_RGB) {
            x = ngx_livestream_bits(b, 1);
            y = ngx_livestream_bits(b, 1);
        }

        if (ngx_livestream_bits(b, 1) || (x && y)) {
            return -1;
        }

    } else if (space == NGX_LIVESTREAM_VP9_RGB) {
        return -1;
    }

    /* 4:4:0 has no code of its own: nearest is 4:2:0, half of the samples
     * in one direction */

    h->chroma = x ? (y ? NGX_LIVESTREAM_VP9_420 : NGX_LIVESTREAM_VP9_422)
                  : (y ? NGX_LIVESTREAM_VP9_420 : NGX_LIVESTREAM_VP9_444);

    return 0;
}

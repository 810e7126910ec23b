
/*
 * Copyright (C) nginx-livestream contributors
 *
 * H.264: avcC and its sequence parameter sets (ISO/IEC 14496-15, 14496-10).
 *
 *   | 1 | profile | compat | level | length size - 1 | SPS count |
 *   | size SPS | size SPS | ... | PPS count | size PPS | ... | more |
 *
 * Pure C, any thread.
 */


#include <stdio.h>
#include <string.h>

#include "ngx_livestream_codec_impl.h"


#define NGX_LIVESTREAM_H264_SLICE      1
#define NGX_LIVESTREAM_H264_PARTITION  2
#define NGX_LIVESTREAM_H264_IDR        5
#define NGX_LIVESTREAM_H264_SPS        7
#define NGX_LIVESTREAM_H264_PPS        8

#define NGX_LIVESTREAM_H264_MBS_MAX    (NGX_LIVESTREAM_SIZE_MAX / 16)


static int ngx_livestream_h264_parse(ngx_livestream_codec_t *c,
    const char **reason);
static int ngx_livestream_h264_sps(ngx_livestream_codec_t *c,
    const uint8_t *sps, size_t len);
static int ngx_livestream_h264_format(ngx_livestream_bits_t *b,
    ngx_livestream_codec_t *c, uint32_t *separate);
static void ngx_livestream_h264_scaling(ngx_livestream_bits_t *b,
    uint32_t size);
static int ngx_livestream_h264_order(ngx_livestream_bits_t *b);
static int ngx_livestream_h264_check(const ngx_livestream_codec_t *c,
    const uint8_t *data, size_t len, int *key, uint32_t *samples,
    const char **reason);
static unsigned ngx_livestream_h264_nal(const uint8_t *nal, size_t len);


const ngx_livestream_codec_impl_t  ngx_livestream_codec_h264 = {
    "h264",
    NGX_LIVESTREAM_VIDEO,
    ngx_livestream_h264_parse,
    ngx_livestream_h264_check,
    NULL
};


/* the profiles whose SPS tells the format of samples */

static const uint8_t  ngx_livestream_h264_high[] = {
    44, 83, 86, 100, 110, 118, 122, 128, 134, 135, 138, 139, 244
};


static int
ngx_livestream_h264_parse(ngx_livestream_codec_t *c, const char **reason)
{
    size_t                  len;
    uint32_t                i, n;
    const uint8_t          *p, *end, *set;
    ngx_livestream_codec_t  other;

    p = c->config;
    end = p + c->config_len;

    memset(&other, 0, sizeof(other));

    if (end - p < 7) {
        *reason = "avcC is truncated";
        return -1;
    }

    if (p[0] != 1) {
        *reason = "avcC is of an unknown version";
        return -1;
    }

    c->nal_length = (p[4] & 0x03) + 1;

    if (c->nal_length == 3) {
        *reason = "avcC has an invalid NAL length size";
        return -1;
    }

    n = p[5] & 0x1f;
    p += 6;

    if (n == 0) {
        *reason = "avcC has no SPS";
        return -1;
    }

    for (i = 0; i < n; i++) {
        set = ngx_livestream_h26x_set(&p, end, &len);

        /* the first one speaks for all, but none may be broken */

        if (set == NULL
            || ngx_livestream_h264_sps(i == 0 ? c : &other, set, len) != 0)
        {
            *reason = "avcC has an invalid SPS";
            return -1;
        }
    }

    if (p == end || *p == 0) {
        *reason = "avcC has no PPS";
        return -1;
    }

    for (n = *p++; n; n--) {
        set = ngx_livestream_h26x_set(&p, end, &len);

        if (set == NULL || (set[0] & 0x9f) != NGX_LIVESTREAM_H264_PPS) {
            *reason = "avcC has an invalid PPS";
            return -1;
        }
    }

    return 0;
}


static int
ngx_livestream_h264_sps(ngx_livestream_codec_t *c, const uint8_t *sps,
    size_t len)
{
    uint32_t               compat, separate, width, height, fields;
    uint32_t               unit_x, unit_y;
    ngx_livestream_bits_t  b;

    if ((sps[0] & 0x9f) != NGX_LIVESTREAM_H264_SPS) {
        return -1;
    }

    ngx_livestream_bits_init(&b, sps + 1, len - 1, 1);

    c->profile = ngx_livestream_bits(&b, 8);
    compat = ngx_livestream_bits(&b, 8);
    c->level = ngx_livestream_bits(&b, 8);

    (void) snprintf(c->codecs, sizeof(c->codecs), "avc1.%02x%02x%02x",
                    c->profile, compat, c->level);

    (void) ngx_livestream_bits_ue(&b);              /* id */

    if (ngx_livestream_h264_format(&b, c, &separate) != 0) {
        return -1;
    }

    (void) ngx_livestream_bits_ue(&b);              /* log2_max_frame_num */

    if (ngx_livestream_h264_order(&b) != 0) {
        return -1;
    }

    (void) ngx_livestream_bits_ue(&b);              /* max_num_ref_frames */
    ngx_livestream_bits_skip(&b, 1);                /* gaps_in_frame_num */

    width = ngx_livestream_bits_ue(&b);
    height = ngx_livestream_bits_ue(&b);

    if (width >= NGX_LIVESTREAM_H264_MBS_MAX
        || height >= NGX_LIVESTREAM_H264_MBS_MAX)
    {
        return -1;
    }

    fields = 2 - ngx_livestream_bits(&b, 1);        /* frame_mbs_only */
    ngx_livestream_bits_skip(&b, fields);           /* ..., direct_8x8 */

    unit_x = (c->chroma == 1 || c->chroma == 2) && !separate ? 2 : 1;
    unit_y = (c->chroma == 1 && !separate ? 2 : 1) * fields;

    if (ngx_livestream_h26x_crop(&b, c, (width + 1) * 16,
                                 (height + 1) * 16 * fields, unit_x, unit_y)
        != 0)
    {
        return -1;
    }

    if (ngx_livestream_bits(&b, 1)) {               /* vui_parameters */
        ngx_livestream_h26x_vui(&b, c);
    }

    return b.overrun ? -1 : 0;
}


static int
ngx_livestream_h264_format(ngx_livestream_bits_t *b,
    ngx_livestream_codec_t *c, uint32_t *separate)
{
    uint32_t  i, n;

    c->chroma = 1;
    c->bit_depth = 8;
    *separate = 0;

    for (i = 0; c->profile != ngx_livestream_h264_high[i]; i++) {
        if (i == sizeof(ngx_livestream_h264_high) - 1) {
            return 0;
        }
    }

    c->chroma = ngx_livestream_bits_ue(b);

    if (c->chroma > 3) {
        return -1;
    }

    if (c->chroma == 3) {
        *separate = ngx_livestream_bits(b, 1);
    }

    c->bit_depth = ngx_livestream_bits_ue(b);

    if (c->bit_depth > 6 || ngx_livestream_bits_ue(b) > 6) {
        return -1;
    }

    c->bit_depth += 8;

    ngx_livestream_bits_skip(b, 1);                 /* transform_bypass */

    if (ngx_livestream_bits(b, 1)) {                /* scaling_matrix */
        n = c->chroma == 3 ? 12 : 8;

        for (i = 0; i < n; i++) {
            if (ngx_livestream_bits(b, 1)) {
                ngx_livestream_h264_scaling(b, i < 6 ? 16 : 64);
            }
        }
    }

    return 0;
}


static void
ngx_livestream_h264_scaling(ngx_livestream_bits_t *b, uint32_t size)
{
    uint32_t  next;

    /* once it is 0 the rest is the last value, and not written; only its low
     * byte matters, so unsigned arithmetic will do for any delta */

    for (next = 8; size && next; size--) {
        next = (next + (uint32_t) ngx_livestream_bits_se(b)) & 0xff;
    }
}


static int
ngx_livestream_h264_order(ngx_livestream_bits_t *b)
{
    uint32_t  type, n;

    type = ngx_livestream_bits_ue(b);               /* pic_order_cnt_type */

    if (type > 2) {
        return -1;
    }

    if (type == 0) {
        (void) ngx_livestream_bits_ue(b);           /* log2_max_lsb */
    }

    if (type == 1) {
        ngx_livestream_bits_skip(b, 1);             /* always_zero */
        (void) ngx_livestream_bits_se(b);           /* for_non_ref_pic */
        (void) ngx_livestream_bits_se(b);           /* for_top_to_bottom */

        n = ngx_livestream_bits_ue(b);              /* num_ref_frames */

        if (n > 255) {
            return -1;
        }

        while (n--) {
            (void) ngx_livestream_bits_se(b);
        }
    }

    return 0;
}


static int
ngx_livestream_h264_check(const ngx_livestream_codec_t *c,
    const uint8_t *data, size_t len, int *key, uint32_t *samples,
    const char **reason)
{
    (void) samples;

    return ngx_livestream_h26x_walk(c, ngx_livestream_h264_nal, data, len,
                                    key, reason);
}


static unsigned
ngx_livestream_h264_nal(const uint8_t *nal, size_t len)
{
    (void) len;

    if (nal[0] & 0x80) {
        return NGX_LIVESTREAM_NAL_BAD;
    }

    switch (nal[0] & 0x1f) {

    case NGX_LIVESTREAM_H264_SLICE:
    case NGX_LIVESTREAM_H264_PARTITION:
        return NGX_LIVESTREAM_NAL_PICTURE;

    case NGX_LIVESTREAM_H264_IDR:
        return NGX_LIVESTREAM_NAL_KEY;

    default:
        return NGX_LIVESTREAM_NAL_OTHER;
    }
}


/*
 * Copyright (C) nginx-livestream contributors
 *
 * What H.264 and HEVC have in common: access units of NALs behind their
 * lengths, parameter sets behind 16-bit lengths in the configuration record,
 * and parts of the sequence parameter set.
 *
 *   access unit:  | length | NAL | length | NAL | ...    length: 1, 2, 4 bytes
 *
 * Pure C, any thread.
 */


#include "ngx_livestream_codec_impl.h"


#define NGX_LIVESTREAM_SAR_EXTENDED  255


/* aspect_ratio_idc */

static const uint8_t  ngx_livestream_h26x_sar[][2] = {
    { 0, 0 },
    { 1, 1 }, { 12, 11 }, { 10, 11 }, { 16, 11 }, { 40, 33 }, { 24, 11 },
    { 20, 11 }, { 32, 11 }, { 80, 33 }, { 18, 11 }, { 15, 11 }, { 64, 33 },
    { 160, 99 }, { 4, 3 }, { 3, 2 }, { 2, 1 }
};


int
ngx_livestream_h26x_walk(const ngx_livestream_codec_t *c,
    ngx_livestream_nal_pt classify, const uint8_t *data, size_t len,
    int *key, const char **reason)
{
    size_t          size;
    uint32_t        i;
    unsigned        what, pictures;
    const uint8_t  *p, *end;

    p = data;
    end = data + len;
    pictures = 0;

    while (p < end) {

        if ((size_t) (end - p) < c->nal_length) {
            *reason = "NAL length is truncated";
            return -1;
        }

        for (size = 0, i = 0; i < c->nal_length; i++) {
            size = (size << 8) | *p++;
        }

        if (size == 0) {
            *reason = "NAL is empty";
            return -1;
        }

        if (size > (size_t) (end - p)) {
            *reason = "NAL runs past the end of its frame";
            return -1;
        }

        what = classify(p, size);

        if (what == NGX_LIVESTREAM_NAL_BAD) {
            *reason = "NAL header is invalid";
            return -1;
        }

        pictures += (what != NGX_LIVESTREAM_NAL_OTHER);
        *key |= (what == NGX_LIVESTREAM_NAL_KEY);

        p += size;
    }

    return pictures ? 0 : 1;
}


const uint8_t *
ngx_livestream_h26x_set(const uint8_t **pos, const uint8_t *end, size_t *len)
{
    const uint8_t  *p;

    p = *pos;

    if (end - p < 2) {
        return NULL;
    }

    *len = (size_t) p[0] << 8 | p[1];
    p += 2;

    if (*len == 0 || *len > (size_t) (end - p)) {
        return NULL;
    }

    *pos = p + *len;

    return p;
}


void
ngx_livestream_h26x_vui(ngx_livestream_bits_t *b, ngx_livestream_codec_t *c)
{
    uint32_t  idc;

    if (ngx_livestream_bits(b, 1)) {        /* aspect_ratio_info_present */
        idc = ngx_livestream_bits(b, 8);

        if (idc == NGX_LIVESTREAM_SAR_EXTENDED) {
            c->sar_num = ngx_livestream_bits(b, 16);
            c->sar_den = ngx_livestream_bits(b, 16);

        } else if (idc < sizeof(ngx_livestream_h26x_sar)
                         / sizeof(ngx_livestream_h26x_sar[0]))
        {
            c->sar_num = ngx_livestream_h26x_sar[idc][0];
            c->sar_den = ngx_livestream_h26x_sar[idc][1];
        }

        if (c->sar_num == 0 || c->sar_den == 0) {
            c->sar_num = 0;
            c->sar_den = 0;
        }
    }

    if (ngx_livestream_bits(b, 1)) {        /* overscan_info_present */
        ngx_livestream_bits_skip(b, 1);
    }

    if (ngx_livestream_bits(b, 1)) {        /* video_signal_type_present */
        ngx_livestream_bits_skip(b, 3 + 1);

        if (ngx_livestream_bits(b, 1)) {    /* colour_description_present */
            ngx_livestream_bits_skip(b, 8);
            c->transfer = ngx_livestream_bits(b, 8);
            ngx_livestream_bits_skip(b, 8);
        }
    }
}


int
ngx_livestream_h26x_crop(ngx_livestream_bits_t *b, ngx_livestream_codec_t *c,
    uint32_t width, uint32_t height, uint32_t unit_x, uint32_t unit_y)
{
    uint64_t  x, y;

    x = 0;
    y = 0;

    if (ngx_livestream_bits(b, 1)) {
        x = ngx_livestream_bits_ue(b);      /* left */
        x += ngx_livestream_bits_ue(b);     /* right */
        y = ngx_livestream_bits_ue(b);      /* top */
        y += ngx_livestream_bits_ue(b);     /* bottom */
    }

    if (x * unit_x >= width || y * unit_y >= height) {
        return -1;
    }

    c->width = width - (uint32_t) (x * unit_x);
    c->height = height - (uint32_t) (y * unit_y);

    return 0;
}


/*
 * Copyright (C) nginx-livestream contributors
 *
 * NAL units: Annex B, as encoders write it, into what fragments hold.
 *
 *   | 0 0 1 | SPS | 0 0 0 1 | PPS | 0 0 1 | SEI | 0 0 1 | slice | 0 | ...
 *
 *        access unit:   | length | SEI | length | slice | ...    4 bytes
 *        extradata:     avcC or hvcC (ISO/IEC 14496-15)
 *
 * Parameter sets, delimiters and filler are left out of access units, and SEI
 * that only names the encoder; captions stay.
 *
 * Records tell of 8 bit 4:2:0, as there is nothing else to encode.
 *
 * Pure C, any thread.
 */


#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "ngx_livestream_transcode.h"


#define NGX_LIVESTREAM_NALS_LENGTH       4

#define NGX_LIVESTREAM_NALS_H264_SLICE   1
#define NGX_LIVESTREAM_NALS_H264_PARTITION  2
#define NGX_LIVESTREAM_NALS_H264_IDR     5
#define NGX_LIVESTREAM_NALS_H264_SEI     6
#define NGX_LIVESTREAM_NALS_H264_SPS     7
#define NGX_LIVESTREAM_NALS_H264_PPS     8
#define NGX_LIVESTREAM_NALS_H264_EXT     13
#define NGX_LIVESTREAM_NALS_H264_SUBSET  15

#define NGX_LIVESTREAM_NALS_HEVC_SLICES  32
#define NGX_LIVESTREAM_NALS_HEVC_VPS     32
#define NGX_LIVESTREAM_NALS_HEVC_SPS     33
#define NGX_LIVESTREAM_NALS_HEVC_PPS     34
#define NGX_LIVESTREAM_NALS_HEVC_FILLER  38
#define NGX_LIVESTREAM_NALS_HEVC_SEI     39

#define NGX_LIVESTREAM_NALS_UNREGISTERED 5      /* SEI: a text by anyone */

#define NGX_LIVESTREAM_NALS_AVCC         7      /* bytes before sets */
#define NGX_LIVESTREAM_NALS_AVCC_HIGH    4      /* and behind them */
#define NGX_LIVESTREAM_NALS_HVCC         23
#define NGX_LIVESTREAM_NALS_HVCC_ARRAY   3      /* bytes before its sets */
#define NGX_LIVESTREAM_NALS_SETS         16     /* of a type */
#define NGX_LIVESTREAM_NALS_TYPES        3


typedef struct {
    const uint8_t           *data;
    size_t                   len;
} ngx_livestream_nals_unit_t;


/* the parameter sets of one type */
typedef struct {
    unsigned                 n;
    size_t                   size;          /* with their 16-bit lengths */
    ngx_livestream_nals_unit_t  sets[NGX_LIVESTREAM_NALS_SETS];
} ngx_livestream_nals_sets_t;


static int ngx_livestream_nals_next(const uint8_t **pos, const uint8_t *end,
    ngx_livestream_nals_unit_t *nal);
static const uint8_t *ngx_livestream_nals_code(const uint8_t *p,
    const uint8_t *end);
static int ngx_livestream_nals_keep(ngx_livestream_codec_e codec,
    const ngx_livestream_nals_unit_t *nal, int *picture);
static int ngx_livestream_nals_collect(const AVCodecContext *avctx,
    const uint8_t *types, ngx_livestream_nals_sets_t *sets);
static uint8_t *ngx_livestream_nals_put(uint8_t *p,
    const ngx_livestream_nals_sets_t *sets);
static int ngx_livestream_nals_avcc(const AVCodecContext *avctx,
    uint8_t **data, size_t *len);
static int ngx_livestream_nals_hvcc(const AVCodecContext *avctx,
    uint8_t **data, size_t *len);
static size_t ngx_livestream_nals_plain(uint8_t *p, size_t size,
    const ngx_livestream_nals_unit_t *nal);


/* in the order of their records; 0 ends */

static const uint8_t  ngx_livestream_nals_h264[NGX_LIVESTREAM_NALS_TYPES] = {
    NGX_LIVESTREAM_NALS_H264_SPS, NGX_LIVESTREAM_NALS_H264_PPS, 0
};

static const uint8_t  ngx_livestream_nals_hevc[NGX_LIVESTREAM_NALS_TYPES] = {
    NGX_LIVESTREAM_NALS_HEVC_VPS, NGX_LIVESTREAM_NALS_HEVC_SPS,
    NGX_LIVESTREAM_NALS_HEVC_PPS
};


size_t
ngx_livestream_transcode_nals_get_size(ngx_livestream_codec_e codec,
    const uint8_t *data, size_t len)
{
    int                          picture;
    size_t                       size;
    const uint8_t               *p, *end;
    ngx_livestream_nals_unit_t   nal;

    p = data;
    end = data + len;
    size = 0;
    picture = 0;

    while (ngx_livestream_nals_next(&p, end, &nal)) {

        if (nal.len > UINT32_MAX) {
            return 0;
        }

        if (ngx_livestream_nals_keep(codec, &nal, &picture)) {
            size += NGX_LIVESTREAM_NALS_LENGTH + nal.len;
        }
    }

    return picture ? size : 0;
}


uint8_t *
ngx_livestream_transcode_nals_write(uint8_t *p, ngx_livestream_codec_e codec,
    const uint8_t *data, size_t len)
{
    int                          picture;
    const uint8_t               *end;
    ngx_livestream_nals_unit_t   nal;

    end = data + len;
    picture = 0;

    while (ngx_livestream_nals_next(&data, end, &nal)) {

        if (!ngx_livestream_nals_keep(codec, &nal, &picture)) {
            continue;
        }

        *p++ = nal.len >> 24;
        *p++ = nal.len >> 16;
        *p++ = nal.len >> 8;
        *p++ = nal.len;

        memcpy(p, nal.data, nal.len);
        p += nal.len;
    }

    return p;
}


int
ngx_livestream_transcode_record(const AVCodecContext *avctx, uint8_t **data,
    size_t *len)
{
    *data = NULL;
    *len = 0;

    if (avctx->extradata == NULL || avctx->extradata_size <= 0) {
        return EINVAL;
    }

    switch (avctx->codec_id) {

    case AV_CODEC_ID_H264:
        return ngx_livestream_nals_avcc(avctx, data, len);

    case AV_CODEC_ID_HEVC:
        return ngx_livestream_nals_hvcc(avctx, data, len);

    default:
        return ENOTSUP;
    }
}


/* the next unit that is not empty; zeros behind it are no part of it */

static int
ngx_livestream_nals_next(const uint8_t **pos, const uint8_t *end,
    ngx_livestream_nals_unit_t *nal)
{
    const uint8_t  *p, *next;

    p = ngx_livestream_nals_code(*pos, end);

    while (p != end) {
        p += 3;
        next = ngx_livestream_nals_code(p, end);

        nal->data = p;
        nal->len = next - p;

        while (nal->len && p[nal->len - 1] == 0) {
            nal->len--;
        }

        if (nal->len) {
            *pos = next;
            return 1;
        }

        p = next;
    }

    return 0;
}


/* where the next start code is: 0 0 1 */

static const uint8_t *
ngx_livestream_nals_code(const uint8_t *p, const uint8_t *end)
{
    const uint8_t  *one, *from;

    from = p;

    while (end - from > 2) {
        one = memchr(from + 2, 1, end - from - 2);

        if (one == NULL) {
            break;
        }

        if (one[-1] == 0 && one[-2] == 0) {
            return one - 2;
        }

        from = one - 1;
    }

    return end;
}


static int
ngx_livestream_nals_keep(ngx_livestream_codec_e codec,
    const ngx_livestream_nals_unit_t *nal, int *picture)
{
    unsigned  type;

    if (codec == NGX_LIVESTREAM_CODEC_H264) {
        type = nal->data[0] & 0x1f;

        if (type >= NGX_LIVESTREAM_NALS_H264_SLICE
            && type <= NGX_LIVESTREAM_NALS_H264_IDR)
        {
            /* but for the later partitions of one */

            *picture |= type <= NGX_LIVESTREAM_NALS_H264_PARTITION
                        || type == NGX_LIVESTREAM_NALS_H264_IDR;
            return 1;
        }

        if (type == NGX_LIVESTREAM_NALS_H264_SEI) {
            return nal->len > 1
                   && nal->data[1] != NGX_LIVESTREAM_NALS_UNREGISTERED;
        }

        /* 9 to 12 are delimiters and filler */

        return type > NGX_LIVESTREAM_NALS_H264_EXT
               && type != NGX_LIVESTREAM_NALS_H264_SUBSET;
    }

    if (nal->len < 2 || nal->data[0] & 0x01 || nal->data[1] & 0xf8) {
        return 0;                       /* half a header, another layer */
    }

    type = (nal->data[0] >> 1) & 0x3f;

    if (type < NGX_LIVESTREAM_NALS_HEVC_SLICES) {
        *picture = 1;
        return 1;
    }

    if (type == NGX_LIVESTREAM_NALS_HEVC_SEI) {
        return nal->len > 2
               && nal->data[2] != NGX_LIVESTREAM_NALS_UNREGISTERED;
    }

    return type > NGX_LIVESTREAM_NALS_HEVC_FILLER;
}


/* all types must be there */

static int
ngx_livestream_nals_collect(const AVCodecContext *avctx, const uint8_t *types,
    ngx_livestream_nals_sets_t *sets)
{
    unsigned                     i, type;
    const uint8_t               *p, *end;
    ngx_livestream_nals_unit_t   nal;

    memset(sets, 0,
           NGX_LIVESTREAM_NALS_TYPES * sizeof(ngx_livestream_nals_sets_t));

    p = avctx->extradata;
    end = p + avctx->extradata_size;

    while (ngx_livestream_nals_next(&p, end, &nal)) {

        type = avctx->codec_id == AV_CODEC_ID_H264
               ? nal.data[0] & 0x1f : (nal.data[0] >> 1) & 0x3f;

        for (i = 0; i < NGX_LIVESTREAM_NALS_TYPES && type != types[i]; i++) {
            /* void */
        }

        if (i == NGX_LIVESTREAM_NALS_TYPES || type == 0) {
            continue;
        }

        if (sets[i].n == NGX_LIVESTREAM_NALS_SETS || nal.len > UINT16_MAX) {
            return EINVAL;
        }

        sets[i].sets[sets[i].n++] = nal;
        sets[i].size += 2 + nal.len;
    }

    for (i = 0; i < NGX_LIVESTREAM_NALS_TYPES && types[i]; i++) {
        if (sets[i].n == 0) {
            return EINVAL;
        }
    }

    return 0;
}


static uint8_t *
ngx_livestream_nals_put(uint8_t *p, const ngx_livestream_nals_sets_t *sets)
{
    unsigned  i;

    for (i = 0; i < sets->n; i++) {
        *p++ = sets->sets[i].len >> 8;
        *p++ = sets->sets[i].len;

        memcpy(p, sets->sets[i].data, sets->sets[i].len);
        p += sets->sets[i].len;
    }

    return p;
}


static int
ngx_livestream_nals_avcc(const AVCodecContext *avctx, uint8_t **data,
    size_t *len)
{
    int                          rc;
    uint8_t                     *p;
    const uint8_t               *sps;
    ngx_livestream_nals_sets_t   sets[NGX_LIVESTREAM_NALS_TYPES];

    rc = ngx_livestream_nals_collect(avctx, ngx_livestream_nals_h264, sets);

    if (rc != 0) {
        return rc;
    }

    if (sets[0].sets[0].len < 4) {
        return EINVAL;
    }

    p = malloc(NGX_LIVESTREAM_NALS_AVCC + sets[0].size + sets[1].size
               + NGX_LIVESTREAM_NALS_AVCC_HIGH);

    if (p == NULL) {
        return ENOMEM;
    }

    *data = p;
    sps = sets[0].sets[0].data;

    *p++ = 1;
    *p++ = sps[1];                      /* profile, constraints, level */
    *p++ = sps[2];
    *p++ = sps[3];
    *p++ = 0xfc | (NGX_LIVESTREAM_NALS_LENGTH - 1);

    *p++ = 0xe0 | sets[0].n;
    p = ngx_livestream_nals_put(p, &sets[0]);
    *p++ = sets[1].n;
    p = ngx_livestream_nals_put(p, &sets[1]);

    if (sps[1] >= FF_PROFILE_H264_HIGH) {
        *p++ = 0xfc | 1;                /* 4:2:0 */
        *p++ = 0xf8;                    /* 8 bit, of luma and of chroma */
        *p++ = 0xf8;
        *p++ = 0;
    }

    *len = p - *data;

    return 0;
}


static int
ngx_livestream_nals_hvcc(const AVCodecContext *avctx, uint8_t **data,
    size_t *len)
{
    int                          rc;
    uint8_t                     *p, sps[15];
    unsigned                     i;
    ngx_livestream_nals_sets_t   sets[NGX_LIVESTREAM_NALS_TYPES];

    rc = ngx_livestream_nals_collect(avctx, ngx_livestream_nals_hevc, sets);

    if (rc != 0) {
        return rc;
    }

    /* header, then layers and nesting, then 12 bytes of profile and level */

    if (ngx_livestream_nals_plain(sps, sizeof(sps), &sets[1].sets[0])
        != sizeof(sps))
    {
        return EINVAL;
    }

    p = malloc(NGX_LIVESTREAM_NALS_HVCC + sets[0].size + sets[1].size
               + sets[2].size
               + NGX_LIVESTREAM_NALS_TYPES * NGX_LIVESTREAM_NALS_HVCC_ARRAY);

    if (p == NULL) {
        return ENOMEM;
    }

    *data = p;

    *p++ = 1;
    memcpy(p, sps + 3, 12);
    p += 12;

    *p++ = 0xf0;                        /* segmentation: not told */
    *p++ = 0;
    *p++ = 0xfc;                        /* parallelism: not told */
    *p++ = 0xfc | 1;                    /* 4:2:0 */
    *p++ = 0xf8;                        /* 8 bit, of luma and of chroma */
    *p++ = 0xf8;
    *p++ = 0;                           /* frame rate: not told */
    *p++ = 0;
    *p++ = (((sps[2] >> 1) & 7) + 1) << 3 | (sps[2] & 1) << 2
           | (NGX_LIVESTREAM_NALS_LENGTH - 1);
    *p++ = NGX_LIVESTREAM_NALS_TYPES;

    for (i = 0; i < NGX_LIVESTREAM_NALS_TYPES; i++) {
        *p++ = 0x80 | ngx_livestream_nals_hevc[i];      /* all are here */
        *p++ = 0;
        *p++ = sets[i].n;
        p = ngx_livestream_nals_put(p, &sets[i]);
    }

    *len = p - *data;

    return 0;
}


/* the first bytes without emulation prevention */

static size_t
ngx_livestream_nals_plain(uint8_t *p, size_t size,
    const ngx_livestream_nals_unit_t *nal)
{
    size_t    i, n;
    unsigned  zeros;

    zeros = 0;

    for (i = 0, n = 0; i < nal->len && n < size; i++) {

        if (zeros == 2 && nal->data[i] == 3) {
            zeros = 0;
            continue;
        }

        zeros = nal->data[i] ? 0 : zeros + 1;
        p[n++] = nal->data[i];
    }

    return n;
}

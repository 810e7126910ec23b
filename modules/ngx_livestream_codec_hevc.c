
/*
 * Copyright (C) nginx-livestream contributors
 *
 * HEVC: hvcC and its sequence parameter sets (ISO/IEC 14496-15, 23008-2).
 *
 *   | 1 | profile ... | NAL length size - 1 | array count |        23 bytes
 *   | NAL type | count | size NAL | size NAL | ... | NAL type | ...
 *
 * Pure C, any thread.
 */


#include <stdio.h>
#include <string.h>

#include "ngx_livestream_codec_impl.h"


#define NGX_LIVESTREAM_HEVC_VCL_MAX    31
#define NGX_LIVESTREAM_HEVC_IRAP_MIN   16
#define NGX_LIVESTREAM_HEVC_IRAP_MAX   21
#define NGX_LIVESTREAM_HEVC_VPS        32
#define NGX_LIVESTREAM_HEVC_SPS        33
#define NGX_LIVESTREAM_HEVC_PPS        34

#define NGX_LIVESTREAM_HEVC_LAYERS     7
#define NGX_LIVESTREAM_HEVC_REF_SETS   64
#define NGX_LIVESTREAM_HEVC_REFS       16


typedef struct {
    uint32_t                 space;
    uint32_t                 tier;
    uint32_t                 profile;
    uint32_t                 compat;        /* bit 31 is flag 0 */
    uint8_t                  constraints[6];
    uint32_t                 level;
} ngx_livestream_hevc_ptl_t;


static int ngx_livestream_hevc_parse(ngx_livestream_codec_t *c,
    const char **reason);
static int ngx_livestream_hevc_array(ngx_livestream_codec_t *c,
    const uint8_t **pos, const uint8_t *end, uint32_t *seen);
static int ngx_livestream_hevc_sps(ngx_livestream_codec_t *c,
    const uint8_t *sps, size_t len);
static void ngx_livestream_hevc_profile(ngx_livestream_bits_t *b,
    ngx_livestream_hevc_ptl_t *ptl, uint32_t sublayers);
static void ngx_livestream_hevc_codecs(ngx_livestream_codec_t *c,
    const ngx_livestream_hevc_ptl_t *ptl);
static int ngx_livestream_hevc_size(ngx_livestream_bits_t *b,
    ngx_livestream_codec_t *c);
static int ngx_livestream_hevc_tools(ngx_livestream_bits_t *b,
    uint32_t sublayers);
static void ngx_livestream_hevc_scaling(ngx_livestream_bits_t *b);
static int ngx_livestream_hevc_ref_set(ngx_livestream_bits_t *b,
    uint32_t first, uint32_t *npocs);
static int ngx_livestream_hevc_check(const ngx_livestream_codec_t *c,
    const uint8_t *data, size_t len, int *key, uint32_t *samples,
    const char **reason);
static unsigned ngx_livestream_hevc_nal(const uint8_t *nal, size_t len);


const ngx_livestream_codec_impl_t  ngx_livestream_codec_hevc = {
    "hevc",
    NGX_LIVESTREAM_VIDEO,
    ngx_livestream_hevc_parse,
    ngx_livestream_hevc_check,
    NULL
};


static int
ngx_livestream_hevc_parse(ngx_livestream_codec_t *c, const char **reason)
{
    uint32_t        n, seen;
    const uint8_t  *p, *end;

    p = c->config;
    end = p + c->config_len;

    if (end - p < 23) {
        *reason = "hvcC is truncated";
        return -1;
    }

    if (p[0] != 1) {
        *reason = "hvcC is of an unknown version";
        return -1;
    }

    c->nal_length = (p[21] & 0x03) + 1;

    if (c->nal_length == 3) {
        *reason = "hvcC has an invalid NAL length size";
        return -1;
    }

    n = p[22];
    p += 23;

    for (seen = 0; n; n--) {
        if (ngx_livestream_hevc_array(c, &p, end, &seen) != 0) {
            *reason = "hvcC has an invalid parameter set";
            return -1;
        }
    }

    if (seen != 7) {
        *reason = "hvcC has no VPS, no SPS or no PPS";
        return -1;
    }

    return 0;
}


/* all the NALs of one type; seen gets a bit for each type of parameter set */

static int
ngx_livestream_hevc_array(ngx_livestream_codec_t *c, const uint8_t **pos,
    const uint8_t *end, uint32_t *seen)
{
    size_t                  len;
    uint32_t                n, type;
    const uint8_t          *p, *set;
    ngx_livestream_codec_t  other;

    p = *pos;

    memset(&other, 0, sizeof(other));

    if (end - p < 3) {
        return -1;
    }

    type = p[0] & 0x3f;
    n = (uint32_t) p[1] << 8 | p[2];
    p += 3;

    while (n--) {
        set = ngx_livestream_h26x_set(&p, end, &len);

        if (set == NULL || len < 2 || (set[0] & 0x80)
            || (uint32_t) set[0] >> 1 != type)
        {
            return -1;
        }

        if (type < NGX_LIVESTREAM_HEVC_VPS || type > NGX_LIVESTREAM_HEVC_PPS
            || (set[0] & 0x01) || (set[1] & 0xf8))
        {
            continue;                               /* SEI, other layers */
        }

        /* the first SPS speaks for all, but none may be broken */

        if (type == NGX_LIVESTREAM_HEVC_SPS
            && ngx_livestream_hevc_sps(*seen & 2 ? &other : c, set, len) != 0)
        {
            return -1;
        }

        *seen |= 1u << (type - NGX_LIVESTREAM_HEVC_VPS);
    }

    *pos = p;

    return 0;
}


static int
ngx_livestream_hevc_sps(ngx_livestream_codec_t *c, const uint8_t *sps,
    size_t len)
{
    uint32_t                   sublayers;
    ngx_livestream_bits_t      b;
    ngx_livestream_hevc_ptl_t  ptl;

    ngx_livestream_bits_init(&b, sps + 2, len - 2, 1);

    ngx_livestream_bits_skip(&b, 4);                /* vps id */
    sublayers = ngx_livestream_bits(&b, 3);         /* max_sub_layers - 1 */
    ngx_livestream_bits_skip(&b, 1);                /* temporal_id_nesting */

    if (sublayers >= NGX_LIVESTREAM_HEVC_LAYERS) {
        return -1;
    }

    ngx_livestream_hevc_profile(&b, &ptl, sublayers);

    c->profile = ptl.profile;
    c->level = ptl.level;

    ngx_livestream_hevc_codecs(c, &ptl);

    (void) ngx_livestream_bits_ue(&b);              /* id */

    if (ngx_livestream_hevc_size(&b, c) != 0
        || ngx_livestream_hevc_tools(&b, sublayers) != 0)
    {
        return -1;
    }

    if (ngx_livestream_bits(&b, 1)) {               /* vui_parameters */
        ngx_livestream_h26x_vui(&b, c);
    }

    return b.overrun ? -1 : 0;
}


static void
ngx_livestream_hevc_profile(ngx_livestream_bits_t *b,
    ngx_livestream_hevc_ptl_t *ptl, uint32_t sublayers)
{
    uint32_t  i, profiles, levels;

    ptl->space = ngx_livestream_bits(b, 2);
    ptl->tier = ngx_livestream_bits(b, 1);
    ptl->profile = ngx_livestream_bits(b, 5);
    ptl->compat = ngx_livestream_bits(b, 32);

    for (i = 0; i < sizeof(ptl->constraints); i++) {
        ptl->constraints[i] = ngx_livestream_bits(b, 8);
    }

    ptl->level = ngx_livestream_bits(b, 8);

    if (sublayers == 0) {
        return;
    }

    profiles = 0;
    levels = 0;

    for (i = 0; i < 8; i++) {
        if (i < sublayers) {
            profiles += ngx_livestream_bits(b, 1);
            levels += ngx_livestream_bits(b, 1);

        } else {
            ngx_livestream_bits_skip(b, 2);
        }
    }

    ngx_livestream_bits_skip(b, profiles * 88 + levels * 8);
}


/* ISO/IEC 14496-15, annex E */

static void
ngx_livestream_hevc_codecs(ngx_livestream_codec_t *c,
    const ngx_livestream_hevc_ptl_t *ptl)
{
    int         n;
    char       *p;
    uint32_t    i, k, compat;
    const char *end;

    /* at most "hvc1.A31.ffffffff.H255" and six of ".ff" */

    compat = 0;

    for (i = 0; i < 32; i++) {
        compat |= ((ptl->compat >> i) & 1) << (31 - i);
    }

    p = c->codecs;
    end = p + sizeof(c->codecs);

    n = snprintf(p, end - p, "hvc1.%.*s%u.%X.%c%u", ptl->space != 0,
                 &"-ABC"[ptl->space], ptl->profile, compat,
                 ptl->tier ? 'H' : 'L', ptl->level);
    p += n;

    for (k = sizeof(ptl->constraints); k && ptl->constraints[k - 1] == 0; k--)
    {
        /* zeros at the end are left out */
    }

    for (i = 0; i < k; i++) {
        n = snprintf(p, end - p, ".%X", ptl->constraints[i]);
        p += n;
    }
}


static int
ngx_livestream_hevc_size(ngx_livestream_bits_t *b, ngx_livestream_codec_t *c)
{
    uint32_t  width, height, separate, unit_x, unit_y;

    separate = 0;
    c->chroma = ngx_livestream_bits_ue(b);

    if (c->chroma > 3) {
        return -1;
    }

    if (c->chroma == 3) {
        separate = ngx_livestream_bits(b, 1);
    }

    width = ngx_livestream_bits_ue(b);
    height = ngx_livestream_bits_ue(b);

    if (width > NGX_LIVESTREAM_SIZE_MAX || height > NGX_LIVESTREAM_SIZE_MAX) {
        return -1;
    }

    unit_x = (c->chroma == 1 || c->chroma == 2) && !separate ? 2 : 1;
    unit_y = c->chroma == 1 && !separate ? 2 : 1;

    if (ngx_livestream_h26x_crop(b, c, width, height, unit_x, unit_y) != 0) {
        return -1;
    }

    c->bit_depth = ngx_livestream_bits_ue(b);

    if (c->bit_depth > 8 || ngx_livestream_bits_ue(b) > 8) {
        return -1;
    }

    c->bit_depth += 8;

    return 0;
}


/* all that lies between the sample format and the VUI */

static int
ngx_livestream_hevc_tools(ngx_livestream_bits_t *b, uint32_t sublayers)
{
    uint32_t  i, n, lsb, npocs;

    lsb = ngx_livestream_bits_ue(b) + 4;            /* log2_max_lsb */

    if (lsb > 16) {
        return -1;
    }

    n = ngx_livestream_bits(b, 1) ? sublayers + 1 : 1;

    for (i = 0; i < n; i++) {
        (void) ngx_livestream_bits_ue(b);           /* max_dec_pic_buffering */
        (void) ngx_livestream_bits_ue(b);           /* max_num_reorder */
        (void) ngx_livestream_bits_ue(b);           /* max_latency_increase */
    }

    for (i = 0; i < 6; i++) {
        (void) ngx_livestream_bits_ue(b);           /* block sizes, depths */
    }

    if (ngx_livestream_bits(b, 1) && ngx_livestream_bits(b, 1)) {
        ngx_livestream_hevc_scaling(b);
    }

    ngx_livestream_bits_skip(b, 2);                 /* amp, sao */

    if (ngx_livestream_bits(b, 1)) {                /* pcm_enabled */
        ngx_livestream_bits_skip(b, 4 + 4);
        (void) ngx_livestream_bits_ue(b);
        (void) ngx_livestream_bits_ue(b);
        ngx_livestream_bits_skip(b, 1);
    }

    n = ngx_livestream_bits_ue(b);                  /* num_short_term_ref... */

    if (n > NGX_LIVESTREAM_HEVC_REF_SETS) {
        return -1;
    }

    for (npocs = 0, i = 0; i < n; i++) {
        if (ngx_livestream_hevc_ref_set(b, i == 0, &npocs) != 0) {
            return -1;
        }
    }

    if (ngx_livestream_bits(b, 1)) {                /* long_term_ref_pics */
        n = ngx_livestream_bits_ue(b);

        if (n > 32) {
            return -1;
        }

        ngx_livestream_bits_skip(b, n * (lsb + 1));
    }

    ngx_livestream_bits_skip(b, 2);                 /* temporal_mvp, strong */

    return 0;
}


static void
ngx_livestream_hevc_scaling(ngx_livestream_bits_t *b)
{
    uint32_t  size, matrix, n;

    for (size = 0; size < 4; size++) {
        for (matrix = 0; matrix < 6; matrix += size == 3 ? 3 : 1) {

            if (ngx_livestream_bits(b, 1) == 0) {
                (void) ngx_livestream_bits_ue(b);   /* as another one */
                continue;
            }

            n = size == 0 ? 16 : 64;
            n += size > 1;                          /* dc_coef */

            while (n--) {
                (void) ngx_livestream_bits_se(b);
            }
        }
    }
}


/* npocs is the number of pictures in the set before, and then in this one */

static int
ngx_livestream_hevc_ref_set(ngx_livestream_bits_t *b, uint32_t first,
    uint32_t *npocs)
{
    uint32_t  i, n, negative, positive;

    if (!first && ngx_livestream_bits(b, 1)) {      /* predicted */
        ngx_livestream_bits_skip(b, 1);             /* sign */
        (void) ngx_livestream_bits_ue(b);           /* abs_delta_rps */

        n = 0;

        for (i = 0; i <= *npocs; i++) {

            /* used by this picture, or else by later ones */

            if (ngx_livestream_bits(b, 1) || ngx_livestream_bits(b, 1)) {
                n++;
            }
        }

        *npocs = n;

        return n > NGX_LIVESTREAM_HEVC_REFS ? -1 : 0;
    }

    negative = ngx_livestream_bits_ue(b);
    positive = ngx_livestream_bits_ue(b);

    if (negative > NGX_LIVESTREAM_HEVC_REFS
        || positive > NGX_LIVESTREAM_HEVC_REFS - negative)
    {
        return -1;
    }

    *npocs = negative + positive;

    for (i = 0; i < *npocs; i++) {
        (void) ngx_livestream_bits_ue(b);           /* delta_poc */
        ngx_livestream_bits_skip(b, 1);             /* used */
    }

    return 0;
}


static int
ngx_livestream_hevc_check(const ngx_livestream_codec_t *c,
    const uint8_t *data, size_t len, int *key, uint32_t *samples,
    const char **reason)
{
    (void) samples;

    return ngx_livestream_h26x_walk(c, ngx_livestream_hevc_nal, data, len,
                                    key, reason);
}


static unsigned
ngx_livestream_hevc_nal(const uint8_t *nal, size_t len)
{
    unsigned  type;

    if (len < 2 || (nal[0] & 0x80)) {
        return NGX_LIVESTREAM_NAL_BAD;
    }

    type = nal[0] >> 1;

    if (type > NGX_LIVESTREAM_HEVC_VCL_MAX
        || (nal[0] & 0x01) || (nal[1] & 0xf8))      /* another layer */
    {
        return NGX_LIVESTREAM_NAL_OTHER;
    }

    if (type >= NGX_LIVESTREAM_HEVC_IRAP_MIN
        && type <= NGX_LIVESTREAM_HEVC_IRAP_MAX)
    {
        return NGX_LIVESTREAM_NAL_KEY;
    }

    return NGX_LIVESTREAM_NAL_PICTURE;
}


/*
 * Copyright (C) nginx-livestream contributors
 *
 * AV1: av1C (AV1 codec ISO media file format binding), OBUs and the sequence
 * header (AV1 bitstream specification, 5.3 and 5.5).
 *
 *   av1C           | 0x81 | profile, level | depth, chroma | delay | OBU ... |
 *   temporal unit  | OBU | OBU | ...
 *   OBU            | header | extension, if so said | size, if so said | ... |
 *
 * Only the last OBU may come without its size.  av1C need not hold the
 * sequence header, which alone tells the picture's size; a key frame does.
 *
 * Pure C, any thread.
 */


#include <stdio.h>
#include <string.h>

#include "ngx_livestream_codec_impl.h"


#define NGX_LIVESTREAM_AV1_RECORD        4
#define NGX_LIVESTREAM_AV1_MARKER        0x81
#define NGX_LIVESTREAM_AV1_SEQUENCE_MAX  1024
#define NGX_LIVESTREAM_AV1_RECORD_MAX    (NGX_LIVESTREAM_AV1_RECORD + 3     \
                                          + NGX_LIVESTREAM_AV1_SEQUENCE_MAX)

#define NGX_LIVESTREAM_AV1_SEQUENCE      1
#define NGX_LIVESTREAM_AV1_FRAME_HEADER  3
#define NGX_LIVESTREAM_AV1_FRAME         6

#define NGX_LIVESTREAM_AV1_EXTENSION     0x04
#define NGX_LIVESTREAM_AV1_SIZE          0x02

/* show_existing_frame 0, frame_type KEY_FRAME, show_frame 1 */
#define NGX_LIVESTREAM_AV1_KEY           0x10
#define NGX_LIVESTREAM_AV1_KEY_MASK      0xf0

#define NGX_LIVESTREAM_AV1_BT709         1
#define NGX_LIVESTREAM_AV1_BT2020        9
#define NGX_LIVESTREAM_AV1_SRGB          13
#define NGX_LIVESTREAM_AV1_IDENTITY      0
#define NGX_LIVESTREAM_AV1_PQ            16
#define NGX_LIVESTREAM_AV1_HLG           18


typedef struct {
    uint32_t                 type;
    const uint8_t           *data;
    size_t                   len;
} ngx_livestream_av1_obu_t;


typedef struct {
    uint32_t                 profile;
    uint32_t                 level;
    uint32_t                 tier;
    uint32_t                 width;
    uint32_t                 height;
    uint32_t                 bit_depth;
    uint32_t                 mono;
    uint32_t                 subsampling_x;
    uint32_t                 subsampling_y;
    uint32_t                 position;      /* of chroma samples */
    uint32_t                 primaries;
    uint32_t                 transfer;
    uint32_t                 matrix;
    uint32_t                 full_range;
} ngx_livestream_av1_sequence_t;


static int ngx_livestream_av1_parse(ngx_livestream_codec_t *c,
    const char **reason);
static void ngx_livestream_av1_record(ngx_livestream_av1_sequence_t *seq,
    const uint8_t *p);
static void ngx_livestream_av1_apply(ngx_livestream_codec_t *c,
    const ngx_livestream_av1_sequence_t *seq);
static int ngx_livestream_av1_check(const ngx_livestream_codec_t *c,
    const uint8_t *data, size_t len, int *key, uint32_t *samples,
    const char **reason);
static int ngx_livestream_av1_refine(ngx_livestream_codec_t *c,
    const uint8_t *frame, size_t len, ngx_livestream_codec_t **codec,
    const char **reason);
static int ngx_livestream_av1_same(const ngx_livestream_codec_t *a,
    const ngx_livestream_codec_t *b);
static int ngx_livestream_av1_find(const uint8_t *p, const uint8_t *end,
    ngx_livestream_av1_obu_t *obu, const char **reason);
static int ngx_livestream_av1_obu(const uint8_t **pos, const uint8_t *end,
    ngx_livestream_av1_obu_t *obu, const char **reason);
static int ngx_livestream_av1_sequence(const ngx_livestream_av1_obu_t *obu,
    ngx_livestream_av1_sequence_t *seq, const char **reason);
static void ngx_livestream_av1_points(ngx_livestream_bits_t *b,
    ngx_livestream_av1_sequence_t *seq);
static void ngx_livestream_av1_tools(ngx_livestream_bits_t *b);
static void ngx_livestream_av1_color(ngx_livestream_bits_t *b,
    ngx_livestream_av1_sequence_t *seq);


const ngx_livestream_codec_impl_t  ngx_livestream_codec_av1 = {
    "av1",
    NGX_LIVESTREAM_VIDEO,
    ngx_livestream_av1_parse,
    ngx_livestream_av1_check,
    ngx_livestream_av1_refine
};


static int
ngx_livestream_av1_parse(ngx_livestream_codec_t *c, const char **reason)
{
    int                            rc;
    const uint8_t                 *p, *end;
    ngx_livestream_av1_obu_t       obu;
    ngx_livestream_av1_sequence_t  seq;

    p = c->config;
    end = p + c->config_len;

    if (end - p < NGX_LIVESTREAM_AV1_RECORD) {
        *reason = "av1C is truncated";
        return -1;
    }

    if (p[0] != NGX_LIVESTREAM_AV1_MARKER) {
        *reason = "av1C is of an unknown version";
        return -1;
    }

    rc = ngx_livestream_av1_find(p + NGX_LIVESTREAM_AV1_RECORD, end, &obu,
                                 reason);
    if (rc == -1) {
        return -1;
    }

    if (rc == 1) {
        ngx_livestream_av1_record(&seq, p);

    } else if (ngx_livestream_av1_sequence(&obu, &seq, reason) != 0) {
        return -1;
    }

    ngx_livestream_av1_apply(c, &seq);

    return 0;
}


/* what the record itself tells */

static void
ngx_livestream_av1_record(ngx_livestream_av1_sequence_t *seq, const uint8_t *p)
{
    memset(seq, 0, sizeof(ngx_livestream_av1_sequence_t));

    seq->profile = p[1] >> 5;
    seq->level = p[1] & 0x1f;
    seq->tier = p[2] >> 7;
    seq->bit_depth = !(p[2] & 0x40) ? 8 : (p[2] & 0x20) ? 12 : 10;
    seq->mono = (p[2] >> 4) & 1;
    seq->subsampling_x = (p[2] >> 3) & 1;
    seq->subsampling_y = (p[2] >> 2) & 1;
    seq->position = p[2] & 0x03;
    seq->primaries = NGX_LIVESTREAM_UNSPECIFIED;
    seq->transfer = NGX_LIVESTREAM_UNSPECIFIED;
    seq->matrix = NGX_LIVESTREAM_UNSPECIFIED;
}


static void
ngx_livestream_av1_apply(ngx_livestream_codec_t *c,
    const ngx_livestream_av1_sequence_t *seq)
{
    size_t  n;

    c->width = seq->width;
    c->height = seq->height;
    c->profile = seq->profile;
    c->level = seq->level;
    c->bit_depth = seq->bit_depth;
    c->transfer = seq->transfer;

    c->chroma = seq->mono ? 0
                : !seq->subsampling_x ? 3
                : !seq->subsampling_y ? 2 : 1;

    n = snprintf(c->codecs, sizeof(c->codecs), "av01.%u.%02u%c.%02u",
                 seq->profile, seq->level, seq->tier ? 'H' : 'M',
                 seq->bit_depth);

    /* left out, the rest stands for 4:2:0 in BT.709 */

    if (c->chroma != 1
        || seq->primaries == NGX_LIVESTREAM_AV1_BT2020
        || seq->transfer == NGX_LIVESTREAM_AV1_PQ
        || seq->transfer == NGX_LIVESTREAM_AV1_HLG)
    {
        (void) snprintf(c->codecs + n, sizeof(c->codecs) - n,
                        ".%u.%u%u%u.%02u.%02u.%02u.%u", seq->mono,
                        seq->subsampling_x, seq->subsampling_y,
                        c->chroma == 1 ? seq->position : 0, seq->primaries,
                        seq->transfer, seq->matrix, seq->full_range);
    }
}


static int
ngx_livestream_av1_check(const ngx_livestream_codec_t *c,
    const uint8_t *data, size_t len, int *key, uint32_t *samples,
    const char **reason)
{
    unsigned                   pictures, sequences;
    const uint8_t             *end;
    ngx_livestream_av1_obu_t   obu;

    (void) c;
    (void) samples;

    end = data + len;
    pictures = 0;
    sequences = 0;

    while (data < end) {

        if (ngx_livestream_av1_obu(&data, end, &obu, reason) != 0) {
            return -1;
        }

        switch (obu.type) {

        case NGX_LIVESTREAM_AV1_SEQUENCE:
            sequences = 1;
            break;

        case NGX_LIVESTREAM_AV1_FRAME_HEADER:
        case NGX_LIVESTREAM_AV1_FRAME:

            if (obu.len == 0) {
                *reason = "AV1 frame header is empty";
                return -1;
            }

            if (!pictures && sequences
                && (obu.data[0] & NGX_LIVESTREAM_AV1_KEY_MASK)
                   == NGX_LIVESTREAM_AV1_KEY)
            {
                *key = 1;
            }

            pictures = 1;
            break;
        }
    }

    return pictures ? 0 : 1;
}


static int
ngx_livestream_av1_refine(ngx_livestream_codec_t *c, const uint8_t *frame,
    size_t len, ngx_livestream_codec_t **codec, const char **reason)
{
    int                             rc;
    uint8_t                        *p;
    uint8_t                         record[NGX_LIVESTREAM_AV1_RECORD_MAX];
    ngx_livestream_codec_t          probe;
    ngx_livestream_av1_obu_t        obu;
    ngx_livestream_av1_sequence_t   seq;

    rc = ngx_livestream_av1_find(frame, frame + len, &obu, reason);

    if (rc == 1 && c && c->width) {
        *codec = ngx_livestream_codec_ref(c);
        return 0;
    }

    if (rc == 1) {
        *reason = "AV1 sequence header is missing";
    }

    if (rc != 0 || ngx_livestream_av1_sequence(&obu, &seq, reason) != 0) {
        return -1;
    }

    ngx_livestream_av1_apply(&probe, &seq);

    if (c && ngx_livestream_av1_same(c, &probe)) {
        *codec = ngx_livestream_codec_ref(c);
        return 0;
    }

    if (obu.len > NGX_LIVESTREAM_AV1_SEQUENCE_MAX) {
        *reason = "AV1 sequence header is too large";
        return -1;
    }

    p = record;

    *p++ = NGX_LIVESTREAM_AV1_MARKER;
    *p++ = seq.profile << 5 | seq.level;
    *p++ = seq.tier << 7 | (seq.bit_depth > 8) << 6 | (seq.bit_depth > 10) << 5
           | seq.mono << 4 | seq.subsampling_x << 3 | seq.subsampling_y << 2
           | seq.position;
    *p++ = 0;

    *p++ = NGX_LIVESTREAM_AV1_SEQUENCE << 3 | NGX_LIVESTREAM_AV1_SIZE;
    *p++ = (obu.len & 0x7f) | 0x80;
    *p++ = obu.len >> 7;

    memcpy(p, obu.data, obu.len);
    p += obu.len;

    return ngx_livestream_codec_parse(NGX_LIVESTREAM_CODEC_AV1, record,
                                      p - record, codec, reason);
}


static int
ngx_livestream_av1_same(const ngx_livestream_codec_t *a,
    const ngx_livestream_codec_t *b)
{
    return a->width == b->width
           && a->height == b->height
           && strcmp(a->codecs, b->codecs) == 0;
}


/* the first sequence header; 1 if there is none */

static int
ngx_livestream_av1_find(const uint8_t *p, const uint8_t *end,
    ngx_livestream_av1_obu_t *obu, const char **reason)
{
    while (p < end) {

        if (ngx_livestream_av1_obu(&p, end, obu, reason) != 0) {
            return -1;
        }

        if (obu->type == NGX_LIVESTREAM_AV1_SEQUENCE) {
            return 0;
        }
    }

    return 1;
}


static int
ngx_livestream_av1_obu(const uint8_t **pos, const uint8_t *end,
    ngx_livestream_av1_obu_t *obu, const char **reason)
{
    uint8_t         header;
    uint64_t        size;
    unsigned        shift;
    const uint8_t  *p;

    p = *pos;
    header = *p++;

    if (header & 0x80) {
        *reason = "AV1 OBU header is invalid";
        return -1;
    }

    obu->type = header >> 3;

    if (header & NGX_LIVESTREAM_AV1_EXTENSION) {

        if (p == end) {
            *reason = "AV1 OBU header is truncated";
            return -1;
        }

        p++;
    }

    size = end - p;

    if (header & NGX_LIVESTREAM_AV1_SIZE) {
        size = 0;
        shift = 0;

        do {
            if (p == end || shift == 56) {
                *reason = "AV1 OBU size is invalid";
                return -1;
            }

            size |= (uint64_t) (*p & 0x7f) << shift;
            shift += 7;

        } while (*p++ & 0x80);

        if (size > (size_t) (end - p)) {
            *reason = "AV1 OBU runs past the end of its frame";
            return -1;
        }
    }

    obu->data = p;
    obu->len = size;

    *pos = p + size;

    return 0;
}


static int
ngx_livestream_av1_sequence(const ngx_livestream_av1_obu_t *obu,
    ngx_livestream_av1_sequence_t *seq, const char **reason)
{
    uint32_t               width, height;
    ngx_livestream_bits_t  b;

    memset(seq, 0, sizeof(ngx_livestream_av1_sequence_t));

    ngx_livestream_bits_init(&b, obu->data, obu->len, 0);

    seq->profile = ngx_livestream_bits(&b, 3);
    ngx_livestream_bits_skip(&b, 1);                /* still_picture */

    if (ngx_livestream_bits(&b, 1)) {               /* reduced_still_... */
        *reason = "AV1 still pictures are not carried";
        return -1;
    }

    ngx_livestream_av1_points(&b, seq);

    width = ngx_livestream_bits(&b, 4) + 1;         /* bits */
    height = ngx_livestream_bits(&b, 4) + 1;

    seq->width = ngx_livestream_bits(&b, width) + 1;
    seq->height = ngx_livestream_bits(&b, height) + 1;

    ngx_livestream_av1_tools(&b);
    ngx_livestream_av1_color(&b, seq);

    ngx_livestream_bits_skip(&b, 1);                /* film_grain_params */

    if (b.overrun || seq->profile > 2) {
        *reason = "AV1 sequence header is invalid";
        return -1;
    }

    return 0;
}


/* timing and operating points, of which the first is taken */

static void
ngx_livestream_av1_points(ngx_livestream_bits_t *b,
    ngx_livestream_av1_sequence_t *seq)
{
    uint32_t  i, n, delay, model, display, level, tier;

    delay = 0;
    model = 0;

    if (ngx_livestream_bits(b, 1)) {                /* timing_info_present */
        ngx_livestream_bits_skip(b, 32 + 32);

        if (ngx_livestream_bits(b, 1)) {            /* equal_picture_... */
            (void) ngx_livestream_bits_ue(b);
        }

        model = ngx_livestream_bits(b, 1);          /* decoder_model_info */

        if (model) {
            delay = ngx_livestream_bits(b, 5) + 1;
            ngx_livestream_bits_skip(b, 32 + 5 + 5);
        }
    }

    display = ngx_livestream_bits(b, 1);            /* initial_display_... */
    n = ngx_livestream_bits(b, 5) + 1;

    for (i = 0; i < n; i++) {
        ngx_livestream_bits_skip(b, 12);            /* operating_point_idc */

        level = ngx_livestream_bits(b, 5);
        tier = level > 7 ? ngx_livestream_bits(b, 1) : 0;

        if (i == 0) {
            seq->level = level;
            seq->tier = tier;
        }

        if (model && ngx_livestream_bits(b, 1)) {
            ngx_livestream_bits_skip(b, delay + delay + 1);
        }

        if (display && ngx_livestream_bits(b, 1)) {
            ngx_livestream_bits_skip(b, 4);
        }
    }
}


/* all that lies between the size and the colours */

static void
ngx_livestream_av1_tools(ngx_livestream_bits_t *b)
{
    uint32_t  order_hint, screen_content;

    if (ngx_livestream_bits(b, 1)) {                /* frame_id_numbers */
        ngx_livestream_bits_skip(b, 4 + 3);
    }

    ngx_livestream_bits_skip(b, 3);                 /* 128, filter, edge */
    ngx_livestream_bits_skip(b, 4);                 /* compound, warp, dual */

    order_hint = ngx_livestream_bits(b, 1);

    if (order_hint) {
        ngx_livestream_bits_skip(b, 2);             /* jnt_comp, ref_mvs */
    }

    /* each may be left to the frames */

    screen_content = ngx_livestream_bits(b, 1) ? 1 : ngx_livestream_bits(b, 1);

    if (screen_content && ngx_livestream_bits(b, 1) == 0) {
        ngx_livestream_bits_skip(b, 1);             /* force_integer_mv */
    }

    if (order_hint) {
        ngx_livestream_bits_skip(b, 3);
    }

    ngx_livestream_bits_skip(b, 3);                 /* superres, cdef, lr */
}


static void
ngx_livestream_av1_color(ngx_livestream_bits_t *b,
    ngx_livestream_av1_sequence_t *seq)
{
    uint32_t  high;

    high = ngx_livestream_bits(b, 1);
    seq->bit_depth = high ? 10 : 8;

    if (seq->profile == 2 && high && ngx_livestream_bits(b, 1)) {
        seq->bit_depth = 12;
    }

    seq->mono = seq->profile == 1 ? 0 : ngx_livestream_bits(b, 1);

    seq->primaries = NGX_LIVESTREAM_UNSPECIFIED;
    seq->transfer = NGX_LIVESTREAM_UNSPECIFIED;
    seq->matrix = NGX_LIVESTREAM_UNSPECIFIED;

    if (ngx_livestream_bits(b, 1)) {                /* color_description */
        seq->primaries = ngx_livestream_bits(b, 8);
        seq->transfer = ngx_livestream_bits(b, 8);
        seq->matrix = ngx_livestream_bits(b, 8);
    }

    seq->subsampling_x = seq->profile != 1;
    seq->subsampling_y = seq->profile != 1;

    if (seq->mono) {
        seq->full_range = ngx_livestream_bits(b, 1);
        return;
    }

    if (seq->primaries == NGX_LIVESTREAM_AV1_BT709
        && seq->transfer == NGX_LIVESTREAM_AV1_SRGB
        && seq->matrix == NGX_LIVESTREAM_AV1_IDENTITY)
    {
        seq->full_range = 1;
        seq->subsampling_x = 0;
        seq->subsampling_y = 0;

    } else {
        seq->full_range = ngx_livestream_bits(b, 1);

        if (seq->profile == 2) {
            seq->subsampling_x = seq->bit_depth == 12
                                 ? ngx_livestream_bits(b, 1) : 1;
            seq->subsampling_y = seq->bit_depth == 12 && seq->subsampling_x
                                 ? ngx_livestream_bits(b, 1) : 0;
        }

        if (seq->subsampling_x && seq->subsampling_y) {
            seq->position = ngx_livestream_bits(b, 2);
        }
    }

    ngx_livestream_bits_skip(b, 1);                 /* separate_uv_delta_q */
}

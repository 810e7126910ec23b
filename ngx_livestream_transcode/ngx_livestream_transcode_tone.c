
/*
 * Copyright (C) nginx-livestream contributors
 *
 * Tone: HDR into BT.709, by a table.
 *
 * Linear light, the gamut and the curve in floating point take zscale and
 * tonemap longer than a frame lasts.  They are asked once: for a lattice of
 * colours, as if it were a picture.  What lies between is interpolated:
 *
 *     the chroma of four      u ---> + . . . +
 *     samples of luma         v      . x     .    a column of luma, mixed of
 *                                    + . . . +    the four around x
 *
 *     each sample of luma     y ---> lies between two nodes of that column
 *
 * Up to 30 % of the reference white, 203 cd/m2, light is kept as it is; what
 * is brighter is bent towards the peak, 1000 cd/m2.  What metadata says of the
 * peak is not asked: a rung should not change its brightness by it.
 *
 * No nginx; called in the stream's video thread, and by tests.
 */


#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <libavutil/common.h>

#include "ngx_livestream_transcode_graph.h"
#include "ngx_livestream_transcode_tone.h"


/* of the distance between two nodes; in chroma it is short, as all of BT.709
 * lies close to neutral, and the columns beyond are cut off by its gamut */
#define NGX_LIVESTREAM_TONE_LUMA_BITS    5
#define NGX_LIVESTREAM_TONE_CHROMA_BITS  3

#define NGX_LIVESTREAM_TONE_LUMA_STEP                                         \
    (1 << NGX_LIVESTREAM_TONE_LUMA_BITS)
#define NGX_LIVESTREAM_TONE_CHROMA_STEP                                       \
    (1 << NGX_LIVESTREAM_TONE_CHROMA_BITS)

#define NGX_LIVESTREAM_TONE_LUMAS                                             \
    (1024 / NGX_LIVESTREAM_TONE_LUMA_STEP + 1)
#define NGX_LIVESTREAM_TONE_CHROMAS                                           \
    (1024 / NGX_LIVESTREAM_TONE_CHROMA_STEP + 1)

/* of a value that all three have been interpolated into: 8 bits of a node,
 * and those of y, u and v */
#define NGX_LIVESTREAM_TONE_SHIFT                                             \
    (8 + NGX_LIVESTREAM_TONE_LUMA_BITS + 2 * NGX_LIVESTREAM_TONE_CHROMA_BITS)


/* 16 bits of limited range: 8 are whole */
typedef struct {
    uint16_t                 y;
    uint16_t                 u;
    uint16_t                 v;
} ngx_livestream_tone_node_t;


/* the nodes of one u and v */
typedef struct {
    ngx_livestream_tone_node_t  nodes[NGX_LIVESTREAM_TONE_LUMAS];
} ngx_livestream_tone_column_t;


struct ngx_livestream_tone_s {
    ngx_livestream_tone_column_t  columns[NGX_LIVESTREAM_TONE_CHROMAS]
                                         [NGX_LIVESTREAM_TONE_CHROMAS];
};


/* The columns around one sample of chroma, and their shares. */
typedef struct {
    const ngx_livestream_tone_column_t  *columns[4];
    uint32_t                 shares[4];
} ngx_livestream_tone_mix_t;


/* two of luma, one of u and one of v */
typedef struct {
    const uint16_t          *in;
    uint8_t                 *out;
    const uint32_t          *dithers;           /* 4 */
} ngx_livestream_tone_row_t;


static AVFrame *ngx_livestream_tone_lattice(const ngx_livestream_look_t *look);
static void ngx_livestream_tone_learn(ngx_livestream_tone_t *t,
    const AVFrame *lattice);
static void ngx_livestream_tone_rows(const ngx_livestream_tone_t *t,
    const AVFrame *in, AVFrame *out, int row);
static uint32_t ngx_livestream_tone_luma(const ngx_livestream_tone_mix_t *mix,
    const ngx_livestream_tone_row_t *rows, int even, int odd);
static void ngx_livestream_tone_mix(const ngx_livestream_tone_t *t,
    ngx_livestream_tone_mix_t *mix, unsigned u, unsigned v);


static const char  ngx_livestream_tone_chain[] =
    "zscale=t=linear:p=709:npl=203,format=gbrpf32le,"
    "tonemap=mobius:peak=4.926,"
    "zscale=t=709:m=709:r=limited,format=yuv444p16";

/* an odd number of 32nds of what one of 8 bits is */
#define ngx_livestream_tone_dither(n)                                         \
    ((2 * (n) + 1) << (NGX_LIVESTREAM_TONE_SHIFT - 5))

static const uint32_t  ngx_livestream_tone_dithers[4][4] = {
    { ngx_livestream_tone_dither(0), ngx_livestream_tone_dither(8),
      ngx_livestream_tone_dither(2), ngx_livestream_tone_dither(10) },
    { ngx_livestream_tone_dither(12), ngx_livestream_tone_dither(4),
      ngx_livestream_tone_dither(14), ngx_livestream_tone_dither(6) },
    { ngx_livestream_tone_dither(3), ngx_livestream_tone_dither(11),
      ngx_livestream_tone_dither(1), ngx_livestream_tone_dither(9) },
    { ngx_livestream_tone_dither(15), ngx_livestream_tone_dither(7),
      ngx_livestream_tone_dither(13), ngx_livestream_tone_dither(5) }
};


ngx_livestream_tone_t *
ngx_livestream_tone_create(const ngx_livestream_look_t *look)
{
    int                      rc;
    AVFrame                 *f;
    ngx_livestream_look_t    lattice;
    ngx_livestream_tone_t   *t;
    ngx_livestream_graph_t   g;

    t = malloc(sizeof(ngx_livestream_tone_t));
    f = ngx_livestream_tone_lattice(look);

    if (t == NULL || f == NULL) {
        free(t);
        av_frame_free(&f);
        return NULL;
    }

    ngx_livestream_look_get(f, &lattice);
    rc = ngx_livestream_graph_open(&g, &lattice, ngx_livestream_tone_chain);

    if (rc == 0) {
        rc = ngx_livestream_graph_put(&g, f);
    }

    if (rc == 0) {
        rc = ngx_livestream_graph_get(&g, f);
    }

    if (rc == 0) {
        ngx_livestream_tone_learn(t, f);
    }

    ngx_livestream_graph_close(&g);
    av_frame_free(&f);

    if (rc != 0) {
        free(t);
        return NULL;
    }

    return t;
}


void
ngx_livestream_tone_destroy(ngx_livestream_tone_t *t)
{
    free(t);
}


int
ngx_livestream_tone_map(const ngx_livestream_tone_t *t, AVFrame *f)
{
    int       row;
    AVFrame  *out;

    out = av_frame_alloc();
    if (out == NULL) {
        return ENOMEM;
    }

    out->format = AV_PIX_FMT_YUV420P;
    out->width = f->width;
    out->height = f->height;

    if (av_frame_get_buffer(out, 0) < 0 || av_frame_copy_props(out, f) < 0) {
        av_frame_free(&out);
        return ENOMEM;
    }

    for (row = 0; row < (f->height + 1) / 2; row++) {
        ngx_livestream_tone_rows(t, f, out, row);
    }

    av_frame_unref(f);
    av_frame_move_ref(f, out);
    av_frame_free(&out);

    return 0;
}


/* u and v to the right, y downwards */
static AVFrame *
ngx_livestream_tone_lattice(const ngx_livestream_look_t *look)
{
    int        n, x, y, i, at[3];
    AVFrame   *f;
    uint16_t  *row;

    f = av_frame_alloc();
    if (f == NULL) {
        return NULL;
    }

    n = NGX_LIVESTREAM_TONE_CHROMAS;

    f->format = AV_PIX_FMT_YUV444P10;
    f->width = n * n;
    f->height = NGX_LIVESTREAM_TONE_LUMAS;
    f->color_range = AVCOL_RANGE_MPEG;
    f->colorspace = look->rgb ? AVCOL_SPC_BT2020_NCL : look->space;
    f->color_primaries = look->primaries;
    f->color_trc = look->transfer;

    if (av_frame_get_buffer(f, 0) < 0) {
        av_frame_free(&f);
        return NULL;
    }

    for (y = 0; y < f->height; y++) {
        for (x = 0; x < f->width; x++) {
            at[0] = y << NGX_LIVESTREAM_TONE_LUMA_BITS;
            at[1] = (x / n) << NGX_LIVESTREAM_TONE_CHROMA_BITS;
            at[2] = (x % n) << NGX_LIVESTREAM_TONE_CHROMA_BITS;

            for (i = 0; i < 3; i++) {
                row = (uint16_t *) (f->data[i] + y * f->linesize[i]);
                row[x] = FFMIN(at[i], 1023);
            }
        }
    }

    return f;
}


static void
ngx_livestream_tone_learn(ngx_livestream_tone_t *t, const AVFrame *lattice)
{
    int                          i, n, x, y;
    const uint16_t              *rows[3];
    ngx_livestream_tone_node_t  *node;

    n = NGX_LIVESTREAM_TONE_CHROMAS;

    for (y = 0; y < NGX_LIVESTREAM_TONE_LUMAS; y++) {
        for (i = 0; i < 3; i++) {
            rows[i] = (const uint16_t *) (lattice->data[i]
                                          + y * lattice->linesize[i]);
        }

        for (x = 0; x < n * n; x++) {
            node = &t->columns[x / n][x % n].nodes[y];
            node->y = rows[0][x];
            node->u = rows[1][x];
            node->v = rows[2][x];
        }
    }
}


#define ngx_livestream_tone_blend(mix, i, c)                                  \
    ((mix)->columns[0]->nodes[i].c * (mix)->shares[0]                         \
     + (mix)->columns[1]->nodes[i].c * (mix)->shares[1]                       \
     + (mix)->columns[2]->nodes[i].c * (mix)->shares[2]                       \
     + (mix)->columns[3]->nodes[i].c * (mix)->shares[3])

/* between two nodes, and to 8 bits */
#define ngx_livestream_tone_between(low, high, part, dither)                  \
    FFMIN(((low) * (NGX_LIVESTREAM_TONE_LUMA_STEP - (part))                   \
           + (high) * (part) + (dither)) >> NGX_LIVESTREAM_TONE_SHIFT, 255)


/* one row of chroma and its two of luma, which an odd height has one of */
static void
ngx_livestream_tone_rows(const ngx_livestream_tone_t *t, const AVFrame *in,
    AVFrame *out, int row)
{
    int                         i, x, y, odd;
    uint32_t                    node, part, dither, luma;
    ngx_livestream_tone_mix_t   mix;
    ngx_livestream_tone_row_t   rows[4];

    for (i = 0; i < 4; i++) {
        y = (i < 2) ? FFMIN(2 * row + i, in->height - 1) : row;
        rows[i].in = (const uint16_t *) (in->data[FFMAX(i - 1, 0)]
                                         + y * in->linesize[FFMAX(i - 1, 0)]);
        rows[i].out = out->data[FFMAX(i - 1, 0)]
                      + y * out->linesize[FFMAX(i - 1, 0)];
        rows[i].dithers = ngx_livestream_tone_dithers[y & 3];
    }

    for (x = 0; x < (in->width + 1) / 2; x++) {
        ngx_livestream_tone_mix(t, &mix, rows[2].in[x], rows[3].in[x]);

        odd = FFMIN(2 * x + 1, in->width - 1);
        luma = ngx_livestream_tone_luma(&mix, rows, 2 * x, odd);
        node = luma >> NGX_LIVESTREAM_TONE_LUMA_BITS;
        part = luma & (NGX_LIVESTREAM_TONE_LUMA_STEP - 1);
        dither = rows[2].dithers[x & 3];

        rows[2].out[x] = ngx_livestream_tone_between(
                             ngx_livestream_tone_blend(&mix, node, u),
                             ngx_livestream_tone_blend(&mix, node + 1, u),
                             part, dither);
        rows[3].out[x] = ngx_livestream_tone_between(
                             ngx_livestream_tone_blend(&mix, node, v),
                             ngx_livestream_tone_blend(&mix, node + 1, v),
                             part, dither);
    }
}


/* the four samples of luma of one of chroma, whose mean is returned */
static uint32_t
ngx_livestream_tone_luma(const ngx_livestream_tone_mix_t *mix,
    const ngx_livestream_tone_row_t *rows, int even, int odd)
{
    int       i, x;
    uint32_t  low, high, value, part, sum, node, last;

    last = NGX_LIVESTREAM_TONE_LUMAS;
    sum = low = high = 0;

    for (i = 0; i < 4; i++) {
        x = (i & 1) ? odd : even;
        value = FFMIN(rows[i >> 1].in[x], 1023);
        node = value >> NGX_LIVESTREAM_TONE_LUMA_BITS;
        part = value & (NGX_LIVESTREAM_TONE_LUMA_STEP - 1);
        sum += value;

        /* mostly that of the sample before */
        if (node != last) {
            low = ngx_livestream_tone_blend(mix, node, y);
            high = ngx_livestream_tone_blend(mix, node + 1, y);
            last = node;
        }

        rows[i >> 1].out[x] = ngx_livestream_tone_between(low, high, part,
                                                  rows[i >> 1].dithers[x & 3]);
    }

    return sum / 4;
}


static void
ngx_livestream_tone_mix(const ngx_livestream_tone_t *t,
    ngx_livestream_tone_mix_t *mix, unsigned u, unsigned v)
{
    unsigned  i, j, fu, fv;

    u = FFMIN(u, 1023);
    v = FFMIN(v, 1023);

    i = u >> NGX_LIVESTREAM_TONE_CHROMA_BITS;
    j = v >> NGX_LIVESTREAM_TONE_CHROMA_BITS;
    fu = u & (NGX_LIVESTREAM_TONE_CHROMA_STEP - 1);
    fv = v & (NGX_LIVESTREAM_TONE_CHROMA_STEP - 1);

    mix->columns[0] = &t->columns[i][j];
    mix->columns[1] = &t->columns[i][j + 1];
    mix->columns[2] = &t->columns[i + 1][j];
    mix->columns[3] = &t->columns[i + 1][j + 1];

    mix->shares[0] = (NGX_LIVESTREAM_TONE_CHROMA_STEP - fu)
                     * (NGX_LIVESTREAM_TONE_CHROMA_STEP - fv);
    mix->shares[1] = (NGX_LIVESTREAM_TONE_CHROMA_STEP - fu) * fv;
    mix->shares[2] = fu * (NGX_LIVESTREAM_TONE_CHROMA_STEP - fv);
    mix->shares[3] = fu * fv;
}

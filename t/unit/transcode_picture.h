
/*
 * Copyright (C) nginx-livestream contributors
 *
 * Pictures for the tests of the transcoder: libavfilter's test sources, clips
 * that libavcodec encodes of them and libavformat puts into mp4, and how alike
 * two pictures are.
 */


#ifndef _TRANSCODE_PICTURE_H_INCLUDED_
#define _TRANSCODE_PICTURE_H_INCLUDED_


#include <math.h>
#include <stdlib.h>
#include <unistd.h>

#include <libavcodec/avcodec.h>
#include <libavfilter/avfilter.h>
#include <libavfilter/buffersink.h>
#include <libavformat/avformat.h>
#include <libavutil/opt.h>
#include <libavutil/pixdesc.h>

#include "tap.h"


static inline void
picture_die(const char *what)
{
    printf("Bail out! %s\n", what);
    exit(1);
}


static inline AVFrame *
picture_alloc(int format, int width, int height)
{
    AVFrame  *f;

    f = av_frame_alloc();
    if (f == NULL) {
        picture_die("no memory");
    }

    f->format = format;
    f->width = width;
    f->height = height;

    if (av_frame_get_buffer(f, 0) < 0) {
        picture_die("no memory for a picture");
    }

    return f;
}


/* every sample of a plane; depth of up to 16 bits, planar */
static inline void
picture_fill(AVFrame *f, int plane, int value)
{
    int                        x, y, w, h;
    uint16_t                  *wide;
    const AVPixFmtDescriptor  *desc;

    desc = av_pix_fmt_desc_get(f->format);
    w = (plane == 1 || plane == 2)
        ? AV_CEIL_RSHIFT(f->width, desc->log2_chroma_w) : f->width;
    h = (plane == 1 || plane == 2)
        ? AV_CEIL_RSHIFT(f->height, desc->log2_chroma_h) : f->height;

    for (y = 0; y < h; y++) {
        if (desc->comp[0].depth <= 8) {
            /* NV12's chroma is wider */
            memset(f->data[plane] + y * f->linesize[plane], value,
                   plane == 1 && f->data[2] == NULL ? 2 * w : w);
            continue;
        }

        wide = (uint16_t *) (f->data[plane] + y * f->linesize[plane]);

        for (x = 0; x < w; x++) {
            wide[x] = value;
        }
    }
}


static inline AVFrame *
picture_flat(int format, int width, int height, int y, int u, int v)
{
    AVFrame  *f;

    f = picture_alloc(format, width, height);
    picture_fill(f, 0, y);

    if (f->data[1]) {
        picture_fill(f, 1, u);
    }

    if (f->data[2]) {
        picture_fill(f, 2, v);
    }

    return f;
}


/* picture n of a chain of libavfilter's, such as "testsrc2=s=64x64,..." */
static inline AVFrame *
picture_source(const char *chain, int n)
{
    AVFrame          *f;
    AVFilterGraph    *graph;
    AVFilterInOut    *ins, *outs;
    AVFilterContext  *sink;

    graph = avfilter_graph_alloc();
    f = av_frame_alloc();

    if (graph == NULL || f == NULL
        || avfilter_graph_create_filter(&sink,
                                        avfilter_get_by_name("buffersink"),
                                        "out", NULL, NULL, graph) < 0
        || avfilter_graph_parse2(graph, chain, &ins, &outs) < 0
        || avfilter_link(outs->filter_ctx, outs->pad_idx, sink, 0) < 0
        || avfilter_graph_config(graph, NULL) < 0)
    {
        picture_die(chain);
    }

    while (n-- >= 0) {
        av_frame_unref(f);

        if (av_buffersink_get_frame(sink, f) < 0) {
            picture_die(chain);
        }
    }

    avfilter_inout_free(&ins);
    avfilter_inout_free(&outs);
    avfilter_graph_free(&graph);

    return f;
}


static inline int
picture_width(const AVFrame *f, int plane)
{
    return plane ? AV_CEIL_RSHIFT(f->width, 1) : f->width;
}


static inline int
picture_height(const AVFrame *f, int plane)
{
    return plane ? AV_CEIL_RSHIFT(f->height, 1) : f->height;
}


/* all of 8 bit 4:2:0 from here on */

static inline double
picture_psnr(const AVFrame *a, const AVFrame *b, int plane)
{
    int      x, y, d;
    double   sum;

    sum = 0;

    for (y = 0; y < picture_height(a, plane); y++) {
        for (x = 0; x < picture_width(a, plane); x++) {
            d = a->data[plane][y * a->linesize[plane] + x]
                - b->data[plane][y * b->linesize[plane] + x];
            sum += d * d;
        }
    }

    sum /= (double) picture_width(a, plane) * picture_height(a, plane);

    return sum == 0 ? 99 : 10 * log10(255 * 255 / sum);
}


static inline double
picture_ssim_block(const uint8_t *a, int astride, const uint8_t *b,
    int bstride)
{
    int     x, y;
    double  ma, mb, aa, bb, ab;

    ma = mb = aa = bb = ab = 0;

    for (y = 0; y < 8; y++) {
        for (x = 0; x < 8; x++) {
            ma += a[x];
            mb += b[x];
            aa += a[x] * a[x];
            bb += b[x] * b[x];
            ab += a[x] * b[x];
        }

        a += astride;
        b += bstride;
    }

    ma /= 64;
    mb /= 64;

    return (2 * ma * mb + 6.5025) * (2 * (ab / 64 - ma * mb) + 58.5225)
           / ((ma * ma + mb * mb + 6.5025)
              * (aa / 64 - ma * ma + bb / 64 - mb * mb + 58.5225));
}


static inline double
picture_ssim(const AVFrame *a, const AVFrame *b, int plane)
{
    int     x, y, n;
    double  sum;

    n = 0;
    sum = 0;

    for (y = 0; y + 8 <= picture_height(a, plane); y += 4) {
        for (x = 0; x + 8 <= picture_width(a, plane); x += 4) {
            sum += picture_ssim_block(
                       a->data[plane] + y * a->linesize[plane] + x,
                       a->linesize[plane],
                       b->data[plane] + y * b->linesize[plane] + x,
                       b->linesize[plane]);
            n++;
        }
    }

    return n ? sum / n : 1;
}


static inline double
picture_mean(const AVFrame *f, int plane)
{
    int     x, y;
    double  sum;

    sum = 0;

    for (y = 0; y < picture_height(f, plane); y++) {
        for (x = 0; x < picture_width(f, plane); x++) {
            sum += f->data[plane][y * f->linesize[plane] + x];
        }
    }

    return sum / picture_width(f, plane) / picture_height(f, plane);
}


/* the largest distance of a sample from what all should be */
static inline int
picture_off(const AVFrame *f, int plane, int want)
{
    int  x, y, d, off;

    off = 0;

    for (y = 0; y < picture_height(f, plane); y++) {
        for (x = 0; x < picture_width(f, plane); x++) {
            d = abs(f->data[plane][y * f->linesize[plane] + x] - want);
            off = d > off ? d : off;
        }
    }

    return off;
}


#endif /* _TRANSCODE_PICTURE_H_INCLUDED_ */


/*
 * Copyright (C) nginx-livestream contributors
 *
 * Scaler: a plain picture into those of the rungs.
 *
 *   1920x1080 --> 1280x720 --> 854x480
 *                     |            |
 *                     | half       | half
 *                     v            v
 *                  640x360      426x240
 *
 * libyuv's box filter is cheap and good at whole ratios, where each pixel is
 * the mean of its box.  Below 2 it interpolates between two pixels, which is
 * as good as a bicubic filter down to 2/3.  In between boxes of two pixels
 * alternate with boxes of three, which is to be seen.  Hence each picture is
 * made of the one of twice its size if there is one, else of the next larger;
 * and a ratio between 2 and 3 takes two steps.
 *
 * A picture's memory comes from its rung's pool, which lives until the last
 * picture of it is freed, in whatever thread.
 *
 * No nginx; called in the stream's video thread, and by tests.
 */


#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <libavutil/buffer.h>
#include <libavutil/common.h>
#include <libavutil/pixfmt.h>
#include <libyuv.h>

#include "ngx_livestream_transcode.h"


#define NGX_LIVESTREAM_SCALE_ALIGN  64
#define NGX_LIVESTREAM_SCALE_MAX    16384       /* pixels a side */
#define NGX_LIVESTREAM_SCALE_NEAR   2           /* 426 is half of 854 */


/* Pictures of one size. */
typedef struct {
    int                      width;
    int                      height;
    int                      linesize[3];
    size_t                   offset[3];
    AVBufferPool            *pool;              /* NULL: none needed yet */
} ngx_livestream_scale_size_t;


struct ngx_livestream_transcode_scaler_s {
    unsigned                 n;
    ngx_livestream_scale_size_t  outputs[NGX_LIVESTREAM_TRANSCODE_RUNGS];
    /* half the size of what an output is made of, the step on the way */
    ngx_livestream_scale_size_t  halves[NGX_LIVESTREAM_TRANSCODE_RUNGS];
    ngx_livestream_scale_size_t  source;        /* of one that was NV12 */
};


static int ngx_livestream_scale_sane(const AVFrame *in);
static int ngx_livestream_scale_planar(ngx_livestream_transcode_scaler_t *sc,
    const AVFrame *in, AVFrame **out);
static int ngx_livestream_scale_output(ngx_livestream_transcode_scaler_t *sc,
    unsigned i, const AVFrame *in, AVFrame **out);
static const AVFrame *ngx_livestream_scale_parent(
    const ngx_livestream_scale_size_t *size, const AVFrame *in,
    AVFrame *const *made, unsigned n);
static int ngx_livestream_scale_twice(int from, int to);
static int ngx_livestream_scale_between(int from, int to);
static int ngx_livestream_scale_steps(ngx_livestream_scale_size_t *half,
    const AVFrame *from, AVFrame *to);
static int ngx_livestream_scale_planes(const AVFrame *from, AVFrame *to);
static int ngx_livestream_scale_set_size(ngx_livestream_scale_size_t *size,
    int width, int height);
static AVFrame *ngx_livestream_scale_picture(
    ngx_livestream_scale_size_t *size);


ngx_livestream_transcode_scaler_t *
ngx_livestream_transcode_scaler_create(
    const ngx_livestream_transcode_output_t *outputs, unsigned n)
{
    unsigned                            i;
    ngx_livestream_transcode_scaler_t  *sc;

    sc = calloc(1, sizeof(ngx_livestream_transcode_scaler_t));
    if (sc == NULL) {
        return NULL;
    }

    sc->n = FFMIN(n, NGX_LIVESTREAM_TRANSCODE_RUNGS);

    for (i = 0; i < sc->n; i++) {
        if (ngx_livestream_scale_set_size(&sc->outputs[i], outputs[i].width,
                                          outputs[i].height)
            != 0)
        {
            ngx_livestream_transcode_scaler_destroy(sc);
            return NULL;
        }
    }

    return sc;
}


void
ngx_livestream_transcode_scaler_destroy(ngx_livestream_transcode_scaler_t *sc)
{
    unsigned  i;

    if (sc == NULL) {
        return;
    }

    for (i = 0; i < NGX_LIVESTREAM_TRANSCODE_RUNGS; i++) {
        av_buffer_pool_uninit(&sc->outputs[i].pool);
        av_buffer_pool_uninit(&sc->halves[i].pool);
    }

    av_buffer_pool_uninit(&sc->source.pool);
    free(sc);
}


int
ngx_livestream_transcode_scale(ngx_livestream_transcode_scaler_t *sc,
    const AVFrame *in, uint32_t wanted, AVFrame **out)
{
    int             rc;
    unsigned        i;
    AVFrame        *planar;
    const AVFrame  *from;

    memset(out, 0, sc->n * sizeof(AVFrame *));

    if (!ngx_livestream_scale_sane(in)) {
        return EINVAL;
    }

    rc = ngx_livestream_scale_planar(sc, in, &planar);
    from = planar ? planar : in;

    for (i = 0; rc == 0 && i < sc->n; i++) {
        if (wanted & (1u << i)) {
            rc = ngx_livestream_scale_output(sc, i, from, out);
        }
    }

    av_frame_free(&planar);

    if (rc != 0) {
        for (i = 0; i < sc->n; i++) {
            av_frame_free(&out[i]);
        }
    }

    return rc;
}


static int
ngx_livestream_scale_sane(const AVFrame *in)
{
    return (in->format == AV_PIX_FMT_YUV420P || in->format == AV_PIX_FMT_NV12)
           && in->width > 0 && in->width <= NGX_LIVESTREAM_SCALE_MAX
           && in->height > 0 && in->height <= NGX_LIVESTREAM_SCALE_MAX
           && in->data[0] != NULL && in->data[1] != NULL
           && (in->format == AV_PIX_FMT_NV12 || in->data[2] != NULL);
}


/* NULL where the picture is planar already */
static int
ngx_livestream_scale_planar(ngx_livestream_transcode_scaler_t *sc,
    const AVFrame *in, AVFrame **out)
{
    int       rc;
    AVFrame  *f;

    *out = NULL;

    if (in->format == AV_PIX_FMT_YUV420P) {
        return 0;
    }

    rc = ngx_livestream_scale_set_size(&sc->source, in->width, in->height);
    if (rc != 0) {
        return rc;
    }

    f = ngx_livestream_scale_picture(&sc->source);
    if (f == NULL) {
        return ENOMEM;
    }

    if (av_frame_copy_props(f, in) < 0) {
        av_frame_free(&f);
        return ENOMEM;
    }

    (void) NV12ToI420(in->data[0], in->linesize[0], in->data[1],
                      in->linesize[1], f->data[0], f->linesize[0], f->data[1],
                      f->linesize[1], f->data[2], f->linesize[2], in->width,
                      in->height);
    *out = f;

    return 0;
}


static int
ngx_livestream_scale_output(ngx_livestream_transcode_scaler_t *sc, unsigned i,
    const AVFrame *in, AVFrame **out)
{
    int                           rc;
    AVFrame                      *f;
    ngx_livestream_scale_size_t  *size;

    size = &sc->outputs[i];

    if (in->width == size->width && in->height == size->height) {
        f = av_frame_clone(in);
        if (f == NULL) {
            return ENOMEM;
        }

    } else {
        f = ngx_livestream_scale_picture(size);
        if (f == NULL) {
            return ENOMEM;
        }

        rc = av_frame_copy_props(f, in) < 0 ? ENOMEM : 0;

        if (rc == 0) {
            rc = ngx_livestream_scale_steps(&sc->halves[i],
                     ngx_livestream_scale_parent(size, in, out, i), f);
        }

        if (rc != 0) {
            av_frame_free(&f);
            return rc;
        }
    }

    f->sample_aspect_ratio = (AVRational) { 1, 1 };
    /* what the source's encoder made of it; ours would take it as an order */
    f->pict_type = AV_PICTURE_TYPE_NONE;

    out[i] = f;

    return 0;
}


/* which of the pictures that are there a picture is made of */
static const AVFrame *
ngx_livestream_scale_parent(const ngx_livestream_scale_size_t *size,
    const AVFrame *in, AVFrame *const *made, unsigned n)
{
    unsigned        i;
    const AVFrame  *f, *parent;

    parent = in;

    for (i = 0; i < n; i++) {
        f = made[i];

        if (f == NULL || f->width < size->width || f->height < size->height) {
            continue;
        }

        if (ngx_livestream_scale_twice(parent->width, size->width)
            && ngx_livestream_scale_twice(parent->height, size->height))
        {
            break;
        }

        parent = f;
    }

    return parent;
}


static int
ngx_livestream_scale_twice(int from, int to)
{
    return abs(from - 2 * to) <= NGX_LIVESTREAM_SCALE_NEAR;
}


static int
ngx_livestream_scale_between(int from, int to)
{
    return from > 2 * to + NGX_LIVESTREAM_SCALE_NEAR
           && from < 3 * to - NGX_LIVESTREAM_SCALE_NEAR;
}


static int
ngx_livestream_scale_steps(ngx_livestream_scale_size_t *half,
    const AVFrame *from, AVFrame *to)
{
    int       rc;
    AVFrame  *step;

    if (!ngx_livestream_scale_between(from->width, to->width)
        || !ngx_livestream_scale_between(from->height, to->height))
    {
        return ngx_livestream_scale_planes(from, to);
    }

    rc = ngx_livestream_scale_set_size(half, (from->width + 1) / 2,
                                       (from->height + 1) / 2);
    if (rc != 0) {
        return rc;
    }

    step = ngx_livestream_scale_picture(half);
    if (step == NULL) {
        return ENOMEM;
    }

    rc = ngx_livestream_scale_planes(from, step);

    if (rc == 0) {
        rc = ngx_livestream_scale_planes(step, to);
    }

    av_frame_free(&step);

    return rc;
}


static int
ngx_livestream_scale_planes(const AVFrame *from, AVFrame *to)
{
    int  rc;

    /* it can only be memory: the sizes are sane */
    rc = I420Scale(from->data[0], from->linesize[0], from->data[1],
                   from->linesize[1], from->data[2], from->linesize[2],
                   from->width, from->height, to->data[0], to->linesize[0],
                   to->data[1], to->linesize[1], to->data[2], to->linesize[2],
                   to->width, to->height, kFilterBox);

    return rc == 0 ? 0 : ENOMEM;
}


static int
ngx_livestream_scale_set_size(ngx_livestream_scale_size_t *size, int width,
    int height)
{
    int     i;
    size_t  len;

    if (size->pool != NULL && size->width == width && size->height == height) {
        return 0;
    }

    if (width <= 0 || width > NGX_LIVESTREAM_SCALE_MAX
        || height <= 0 || height > NGX_LIVESTREAM_SCALE_MAX)
    {
        return EINVAL;
    }

    av_buffer_pool_uninit(&size->pool);

    size->width = width;
    size->height = height;

    for (i = 0, len = 0; i < 3; i++) {
        size->offset[i] = len;
        size->linesize[i] = FFALIGN(i ? (width + 1) / 2 : width,
                                    NGX_LIVESTREAM_SCALE_ALIGN);
        len += (size_t) size->linesize[i] * (i ? (height + 1) / 2 : height);
    }

    /* encoders read whole vectors */
    size->pool = av_buffer_pool_init(len + NGX_LIVESTREAM_SCALE_ALIGN, NULL);

    return size->pool ? 0 : ENOMEM;
}


static AVFrame *
ngx_livestream_scale_picture(ngx_livestream_scale_size_t *size)
{
    int       i;
    AVFrame  *f;

    f = av_frame_alloc();
    if (f == NULL) {
        return NULL;
    }

    f->buf[0] = av_buffer_pool_get(size->pool);

    if (f->buf[0] == NULL) {
        av_frame_free(&f);
        return NULL;
    }

    f->format = AV_PIX_FMT_YUV420P;
    f->width = size->width;
    f->height = size->height;

    for (i = 0; i < 3; i++) {
        f->data[i] = f->buf[0]->data + size->offset[i];
        f->linesize[i] = size->linesize[i];
    }

    return f;
}

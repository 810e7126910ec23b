
/*
 * Copyright (C) nginx-livestream contributors
 *
 * What the kernel is launched with: for each side of each rung's planes the
 * ratio in its lowest terms, so that weights are small whole numbers.
 *
 *   1920 -> 1280    num 3, den 2    pixel 0 of the rung: 2 + 1
 *                                   pixel 1:                 1 + 2
 *
 * Pure, any thread.
 */


#include "ngx_livestream_transcode_kernel.h"


static void ngx_livestream_transcode_axis(ngx_livestream_transcode_axis_t *a,
    uint32_t in, uint32_t out);
static uint32_t ngx_livestream_transcode_weight(
    const ngx_livestream_transcode_axis_t *a);
static uint32_t ngx_livestream_transcode_overlap(
    const ngx_livestream_transcode_axis_t *a);
static int ngx_livestream_transcode_sane(
    const ngx_livestream_transcode_picture_t *pic);


uint32_t
ngx_livestream_transcode_kernel_init(ngx_livestream_transcode_kernel_t *k,
    const ngx_livestream_transcode_picture_t *source,
    const ngx_livestream_transcode_picture_t *targets, unsigned n,
    uint32_t grid[2])
{
    unsigned                                   i, c;
    uint32_t                                   columns, lines, size, shared;
    uint64_t                                   weight;
    ngx_livestream_transcode_origin_t         *o;
    ngx_livestream_transcode_target_t         *t;
    const ngx_livestream_transcode_picture_t  *pic;

    if (n == 0 || n > NGX_LIVESTREAM_TRANSCODE_TARGETS
        || !ngx_livestream_transcode_sane(source)
        || source->pitch[0] % 4 || source->pitch[1] % 4)
    {
        return 0;
    }

    k->ntargets = n;
    k->unused = 0;

    grid[0] = 0;
    grid[1] = 0;
    shared = 0;

    for (c = 0; c < 2; c++) {
        o = &k->origins[c];

        o->data = source->data[c];
        o->pitch = source->pitch[c];
        o->width = (source->width + c) >> c;
        o->height = (source->height + c) >> c;
        o->tiles = (o->height + NGX_LIVESTREAM_TRANSCODE_TILE_Y - 1)
                   / NGX_LIVESTREAM_TRANSCODE_TILE_Y;

        size = (o->width * (c + 1) + NGX_LIVESTREAM_TRANSCODE_TILE_X - 1)
               / NGX_LIVESTREAM_TRANSCODE_TILE_X;
        grid[0] = size > grid[0] ? size : grid[0];
        grid[1] += o->tiles;

        columns = 0;
        lines = 0;

        for (i = 0; i < n; i++) {
            pic = &targets[i];
            t = &k->targets[i][c];

            if (!ngx_livestream_transcode_sane(pic)) {
                return 0;
            }

            ngx_livestream_transcode_axis(&t->x, o->width,
                                          (pic->width + c) >> c);
            ngx_livestream_transcode_axis(&t->y, o->height,
                                          (pic->height + c) >> c);

            weight = (uint64_t) ngx_livestream_transcode_weight(&t->x)
                     * ngx_livestream_transcode_weight(&t->y);

            t->scale = (((uint64_t) 1 << NGX_LIVESTREAM_TRANSCODE_SHIFT)
                        + weight / 2) / weight;
            t->data = pic->data[c];
            t->v = c ? pic->data[2] : 0;
            t->pitch = pic->pitch[c];
            t->unused = 0;

            size = ngx_livestream_transcode_overlap(&t->x);
            columns = size > columns ? size : columns;
            size = ngx_livestream_transcode_overlap(&t->y);
            lines = size > lines ? size : lines;
        }

        /* with what words have before and behind a line */

        columns = NGX_LIVESTREAM_TRANSCODE_TILE_X + columns * (c + 1) + 6;
        lines += NGX_LIVESTREAM_TRANSCODE_TILE_Y;

        size = sizeof(ngx_livestream_transcode_shared_t) + columns * lines;
        shared = size > shared ? size : shared;
    }

    return shared <= NGX_LIVESTREAM_TRANSCODE_SHARED ? shared : 0;
}


static void
ngx_livestream_transcode_axis(ngx_livestream_transcode_axis_t *a, uint32_t in,
    uint32_t out)
{
    uint32_t  x, y, rest;

    x = in;
    y = out;

    while (y) {
        rest = x % y;
        x = y;
        y = rest;
    }

    a->in = in;
    a->out = out;
    a->num = in / x;
    a->den = out / x;
    a->unit = a->num >= a->den ? a->den : 2 * a->den;
    a->inv = 0xffffffff / a->unit;
}


static uint32_t
ngx_livestream_transcode_weight(const ngx_livestream_transcode_axis_t *a)
{
    return a->num >= a->den ? a->num : a->unit;
}


/* how far a pixel that begins within a tile reaches beyond it at most */
static uint32_t
ngx_livestream_transcode_overlap(const ngx_livestream_transcode_axis_t *a)
{
    return a->num == a->den ? 0 : a->num / a->den + 1;
}


static int
ngx_livestream_transcode_sane(const ngx_livestream_transcode_picture_t *pic)
{
    return pic->width != 0 && pic->width <= NGX_LIVESTREAM_TRANSCODE_SIZE
           && pic->height != 0 && pic->height <= NGX_LIVESTREAM_TRANSCODE_SIZE;
}

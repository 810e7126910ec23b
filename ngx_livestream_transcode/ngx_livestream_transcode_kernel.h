
/*
 * Copyright (C) nginx-livestream contributors
 *
 * One picture of NV12 into those of all rungs, as a GPU does it.  This is
 * compiled three times: to PTX, for the host's tests, and for the fake driver.
 *
 *   source, cut into tiles        what a block of threads does
 *   +-------+-------+-------+
 *   |       |       |       |     plan    which pixels of each rung begin in
 *   +-------+-------+-------+             its tile, and how far they reach
 *   |       | tile ---+     |     stage   the tile, and the reach beyond it,
 *   +-------+-------+-|-----+             into memory that the block shares
 *   |       |   |reach|     |     emit    those pixels of each rung
 *   +-------+---+-----+-----+
 *
 * with all threads in step between them.  So a pixel is read from memory once,
 * but for the reach, which neighbours read as well, at about the same time and
 * so mostly from the cache: less than two pixels of the smallest rung.  Tiles
 * are 36 lines high, a multiple of what one or two lines of any rung of the
 * default ladder take of 1080 or 720 lines (1.5, 2, 2.25, 3, 4.5), so that
 * these reach down nowhere, and 3.4 % of 1920x1080 is read twice.
 *
 * A pixel of a rung is the mean of the area that it covers, as libswscale's
 * SWS_AREA has it; where it is smaller than the source's (whose pixels were
 * not square), it is interpolated.  Weights are whole numbers, so that every
 * compiler comes to the same picture.
 *
 * No state, any thread.
 */


#ifndef _NGX_LIVESTREAM_TRANSCODE_KERNEL_H_INCLUDED_
#define _NGX_LIVESTREAM_TRANSCODE_KERNEL_H_INCLUDED_


#include <stddef.h>
#include <stdint.h>


#ifdef __CUDA__
#define NGX_LIVESTREAM_TRANSCODE_DEVICE   static __device__ inline
#else
#define NGX_LIVESTREAM_TRANSCODE_DEVICE   static inline
#endif

#define NGX_LIVESTREAM_TRANSCODE_KERNEL   "ngx_livestream_transcode_ladder"

#define NGX_LIVESTREAM_TRANSCODE_TARGETS  12
#define NGX_LIVESTREAM_TRANSCODE_THREADS  256   /* of a block */
#define NGX_LIVESTREAM_TRANSCODE_TILE_X   128   /* bytes */
#define NGX_LIVESTREAM_TRANSCODE_TILE_Y   36    /* lines */
#define NGX_LIVESTREAM_TRANSCODE_SHARED   49152 /* bytes that a block may have
                                                   on any device */
#define NGX_LIVESTREAM_TRANSCODE_SIZE     16384 /* of a picture's sides */
#define NGX_LIVESTREAM_TRANSCODE_SHIFT    48


/* One side of a plane.  A pixel of the rung is num/den pixels of the source
 * wide; weights are in parts of 1/unit of those. */
typedef struct {
    uint32_t                 in;                /* pixels */
    uint32_t                 out;
    uint32_t                 num;
    uint32_t                 den;
    uint32_t                 unit;
    uint32_t                 inv;               /* of unit */
} ngx_livestream_transcode_axis_t;


/* what a pixel of the rung is made of, on one side */
typedef struct {
    uint32_t                 first;
    uint32_t                 count;
    uint32_t                 head;              /* weights; of those between */
    uint32_t                 tail;              /*   them: unit */
} ngx_livestream_transcode_taps_t;


typedef struct {
    ngx_livestream_transcode_axis_t  x;
    ngx_livestream_transcode_axis_t  y;
    uint64_t                 scale;             /* 2^48 / weight of all taps */
    uint64_t                 data;              /* addresses */
    uint64_t                 v;                 /* of V's own plane; 0: U and V
                                                   are side by side */
    uint32_t                 pitch;             /* bytes */
    uint32_t                 unused;
} ngx_livestream_transcode_target_t;


typedef struct {
    uint64_t                 data;
    uint32_t                 pitch;             /* a multiple of 4 */
    uint32_t                 width;             /* pixels */
    uint32_t                 height;
    uint32_t                 tiles;             /* from above to below */
} ngx_livestream_transcode_origin_t;


/* the kernel's only parameter; luma, then chroma */
typedef struct {
    ngx_livestream_transcode_origin_t  origins[2];
    ngx_livestream_transcode_target_t  targets[
                                          NGX_LIVESTREAM_TRANSCODE_TARGETS][2];
    uint32_t                 ntargets;
    uint32_t                 unused;
} ngx_livestream_transcode_kernel_t;


/* the pixels of one rung that begin in a tile */
typedef struct {
    uint32_t                 x;
    uint32_t                 y;
    uint32_t                 nx;
    uint32_t                 n;
    uint32_t                 inv;               /* of nx */
    uint32_t                 right;             /* where they end in the */
    uint32_t                 bottom;            /*   source */
} ngx_livestream_transcode_part_t;


/* memory of a block */
typedef struct {
    ngx_livestream_transcode_part_t  parts[NGX_LIVESTREAM_TRANSCODE_TARGETS];
    uint32_t                 words[];
} ngx_livestream_transcode_shared_t;


/* a thread's own */
typedef struct {
    const ngx_livestream_transcode_origin_t  *origin;
    uint32_t                 chroma;
    uint32_t                 step;              /* bytes between pixels */
    uint32_t                 x0;                /* of the tile */
    uint32_t                 y0;
    uint32_t                 x1;                /* behind its last */
    uint32_t                 y1;
    uint32_t                 lead;              /* bytes before the first */
    uint32_t                 words;             /* of a line */
    uint32_t                 lines;
} ngx_livestream_transcode_tile_t;


/*
 * Host side: what the kernel is launched with.
 */

typedef struct {
    uint64_t                 data[3];           /* [2] 0: NV12 */
    uint32_t                 pitch[2];
    uint32_t                 width;
    uint32_t                 height;
} ngx_livestream_transcode_picture_t;


/* Bytes of shared memory that a block needs, and the blocks in grid[].  0: the
 * sizes are not for this kernel.  The source is NV12. */
uint32_t ngx_livestream_transcode_kernel_init(
    ngx_livestream_transcode_kernel_t *k,
    const ngx_livestream_transcode_picture_t *source,
    const ngx_livestream_transcode_picture_t *targets, unsigned n,
    uint32_t grid[2]);


/* inv is (2^32 - 1) / d, which makes the first guess at most one too small */
NGX_LIVESTREAM_TRANSCODE_DEVICE uint32_t
ngx_livestream_transcode_div(uint32_t n, uint32_t d, uint32_t inv)
{
    uint32_t  q;

    q = (uint32_t) (((uint64_t) n * inv) >> 32);

    return n - q * d >= d ? q + 1 : q;
}


NGX_LIVESTREAM_TRANSCODE_DEVICE void
ngx_livestream_transcode_taps(const ngx_livestream_transcode_axis_t *a,
    uint32_t i, ngx_livestream_transcode_taps_t *t)
{
    uint32_t  n, rest, end;

    if (a->num >= a->den) {
        n = i * a->num;
        t->first = ngx_livestream_transcode_div(n, a->unit, a->inv);
        rest = n - t->first * a->unit;
        end = rest + a->num;

        t->count = ngx_livestream_transcode_div(end + a->unit - 1, a->unit,
                                                a->inv);
        t->head = a->unit - rest;
        t->tail = end - (t->count - 1) * a->unit;

        return;
    }

    t->first = 0;
    t->count = 1;
    t->head = a->unit;
    t->tail = 0;

    n = (2 * i + 1) * a->num;

    if (n < a->den) {
        return;
    }

    n -= a->den;
    t->first = ngx_livestream_transcode_div(n, a->unit, a->inv);
    rest = n - t->first * a->unit;

    if (rest && t->first + 1 < a->in) {
        t->count = 2;
        t->head = a->unit - rest;
        t->tail = rest;
    }
}


/* the first pixel of the rung that begins at i or behind it */
NGX_LIVESTREAM_TRANSCODE_DEVICE uint32_t
ngx_livestream_transcode_from(const ngx_livestream_transcode_axis_t *a,
    uint32_t i)
{
    uint32_t  n;

    if (i == 0) {
        return 0;
    }

    if (a->num >= a->den) {
        n = (i * a->den + a->num - 1) / a->num;

    } else {
        n = ((2 * i + 1) * a->den + a->num - 1) / (2 * a->num);
    }

    return n < a->out ? n : a->out;
}


NGX_LIVESTREAM_TRANSCODE_DEVICE uint32_t
ngx_livestream_transcode_end(const ngx_livestream_transcode_axis_t *a,
    uint32_t i)
{
    ngx_livestream_transcode_taps_t  t;

    ngx_livestream_transcode_taps(a, i, &t);

    return t.first + t.count;
}


NGX_LIVESTREAM_TRANSCODE_DEVICE void
ngx_livestream_transcode_tile(const ngx_livestream_transcode_kernel_t *k,
    uint32_t column, uint32_t row, ngx_livestream_transcode_tile_t *tile)
{
    const ngx_livestream_transcode_origin_t  *o;

    tile->chroma = row >= k->origins[0].tiles;
    tile->step = tile->chroma + 1;

    o = &k->origins[tile->chroma];

    if (tile->chroma) {
        row -= k->origins[0].tiles;
    }

    tile->origin = o;
    tile->x0 = column * (NGX_LIVESTREAM_TRANSCODE_TILE_X / tile->step);
    tile->y0 = row * NGX_LIVESTREAM_TRANSCODE_TILE_Y;
    tile->x1 = tile->x0 + NGX_LIVESTREAM_TRANSCODE_TILE_X / tile->step;
    tile->y1 = tile->y0 + NGX_LIVESTREAM_TRANSCODE_TILE_Y;

    if (tile->x1 > o->width) {
        tile->x1 = o->width;
    }

    if (tile->y1 > o->height) {
        tile->y1 = o->height;
    }

    /* words are read from where they are aligned, which is the same place in
     * each line */

    tile->lead = (uint32_t) ((o->data + tile->x0 * tile->step) & 3);
}


NGX_LIVESTREAM_TRANSCODE_DEVICE void
ngx_livestream_transcode_plan(const ngx_livestream_transcode_kernel_t *k,
    const ngx_livestream_transcode_tile_t *tile,
    ngx_livestream_transcode_shared_t *sh, uint32_t thread)
{
    uint32_t                                  right, bottom;
    ngx_livestream_transcode_part_t          *part;
    const ngx_livestream_transcode_target_t  *target;

    if (thread >= k->ntargets) {
        return;
    }

    part = &sh->parts[thread];
    target = &k->targets[thread][tile->chroma];

    part->n = 0;
    part->right = 0;
    part->bottom = 0;

    if (tile->x0 >= tile->x1) {
        return;
    }

    part->x = ngx_livestream_transcode_from(&target->x, tile->x0);
    part->y = ngx_livestream_transcode_from(&target->y, tile->y0);
    right = tile->x1 < tile->origin->width
            ? ngx_livestream_transcode_from(&target->x, tile->x1)
            : target->x.out;
    bottom = tile->y1 < tile->origin->height
             ? ngx_livestream_transcode_from(&target->y, tile->y1)
             : target->y.out;

    if (right == part->x || bottom == part->y) {
        return;
    }

    part->nx = right - part->x;
    part->n = part->nx * (bottom - part->y);
    part->inv = 0xffffffff / part->nx;
    part->right = ngx_livestream_transcode_end(&target->x, right - 1);
    part->bottom = ngx_livestream_transcode_end(&target->y, bottom - 1);
}


/* how much of the source the parts need */
NGX_LIVESTREAM_TRANSCODE_DEVICE void
ngx_livestream_transcode_reach(const ngx_livestream_transcode_kernel_t *k,
    const ngx_livestream_transcode_shared_t *sh,
    ngx_livestream_transcode_tile_t *tile)
{
    uint32_t  i, right, bottom;

    right = tile->x0;
    bottom = tile->y0;

    for (i = 0; i < k->ntargets; i++) {

        if (sh->parts[i].right > right) {
            right = sh->parts[i].right;
        }

        if (sh->parts[i].bottom > bottom) {
            bottom = sh->parts[i].bottom;
        }
    }

    tile->words = (tile->lead + (right - tile->x0) * tile->step + 3) / 4;
    tile->lines = right > tile->x0 ? bottom - tile->y0 : 0;
}


NGX_LIVESTREAM_TRANSCODE_DEVICE void
ngx_livestream_transcode_stage_tile(
    const ngx_livestream_transcode_tile_t *tile,
    ngx_livestream_transcode_shared_t *sh, uint32_t thread)
{
    uint32_t        i, n, inv, line;
    uint64_t        address;
    const uint32_t  *p;

    n = tile->words * tile->lines;

    if (n == 0) {
        return;
    }

    inv = 0xffffffff / tile->words;
    address = tile->origin->data + (uint64_t) tile->y0 * tile->origin->pitch
              + tile->x0 * tile->step - tile->lead;

    for (i = thread; i < n; i += NGX_LIVESTREAM_TRANSCODE_THREADS) {
        line = ngx_livestream_transcode_div(i, tile->words, inv);
        p = (const uint32_t *) (uintptr_t)
                (address + (uint64_t) line * tile->origin->pitch);
        sh->words[i] = p[i - line * tile->words];
    }
}


/* step is a constant wherever this is called */
NGX_LIVESTREAM_TRANSCODE_DEVICE uint32_t
ngx_livestream_transcode_sum(const uint8_t *p, uint32_t step, uint32_t unit,
    const ngx_livestream_transcode_taps_t *t)
{
    uint32_t  i, sum, last;

    last = t->count - 1;

    if (last == 0) {
        return t->head * p[0];
    }

    sum = 0;

    for (i = 1; i < last; i++) {
        sum += p[i * step];
    }

    return t->head * p[0] + unit * sum + t->tail * p[last * step];
}


/* Of the parameter nothing but its values is taken: clang keeps a copy of it
 * in each thread's memory as soon as there is a choice between two addresses
 * within. */
NGX_LIVESTREAM_TRANSCODE_DEVICE uint8_t
ngx_livestream_transcode_pixel(const uint8_t *p, uint32_t stride,
    uint32_t step, const ngx_livestream_transcode_target_t *target,
    const ngx_livestream_transcode_taps_t *x,
    const ngx_livestream_transcode_taps_t *y)
{
    uint32_t  i, last, weight, unit;
    uint64_t  sum;

    sum = 0;
    last = y->count - 1;
    unit = target->x.unit;
    weight = y->head;

    for (i = 0; i < last; i++) {
        sum += (uint64_t) weight
               * ngx_livestream_transcode_sum(p, step, unit, x);
        weight = target->y.unit;
        p += stride;
    }

    weight = last ? y->tail : weight;

    sum += (uint64_t) weight * ngx_livestream_transcode_sum(p, step, unit, x);

    sum = sum * target->scale
          + ((uint64_t) 1 << (NGX_LIVESTREAM_TRANSCODE_SHIFT - 1));

    return (uint8_t) (sum >> NGX_LIVESTREAM_TRANSCODE_SHIFT);
}


NGX_LIVESTREAM_TRANSCODE_DEVICE void
ngx_livestream_transcode_emit_part(
    const ngx_livestream_transcode_tile_t *tile,
    const ngx_livestream_transcode_target_t *target,
    const ngx_livestream_transcode_part_t *part, const uint8_t *pixels,
    uint32_t thread, uint32_t step)
{
    uint8_t                          value, *out;
    uint32_t                         i, x, y, stride;
    const uint8_t                   *p;
    ngx_livestream_transcode_taps_t  tx, ty;

    stride = tile->words * 4;

    for (i = thread; i < part->n; i += NGX_LIVESTREAM_TRANSCODE_THREADS) {
        y = ngx_livestream_transcode_div(i, part->nx, part->inv);
        x = part->x + i - y * part->nx;
        y += part->y;

        ngx_livestream_transcode_taps(&target->x, x, &tx);
        ngx_livestream_transcode_taps(&target->y, y, &ty);

        p = pixels + (ty.first - tile->y0) * stride + tile->lead
            + (tx.first - tile->x0) * step;

        value = ngx_livestream_transcode_pixel(p, stride, step, target, &tx,
                                               &ty);
        out = (uint8_t *) (uintptr_t)
                  (target->data + (uint64_t) y * target->pitch);

        if (step == 1) {
            out[x] = value;
            continue;
        }

        if (target->v == 0) {
            out[2 * x] = value;
            out[2 * x + 1] = ngx_livestream_transcode_pixel(p + 1, stride,
                                                            step, target, &tx,
                                                            &ty);
            continue;
        }

        out[x] = value;
        out = (uint8_t *) (uintptr_t)
                  (target->v + (uint64_t) y * target->pitch);
        out[x] = ngx_livestream_transcode_pixel(p + 1, stride, step, target,
                                                &tx, &ty);
    }
}


NGX_LIVESTREAM_TRANSCODE_DEVICE void
ngx_livestream_transcode_emit_tile(const ngx_livestream_transcode_kernel_t *k,
    const ngx_livestream_transcode_tile_t *tile,
    const ngx_livestream_transcode_shared_t *sh, uint32_t thread)
{
    uint32_t        i;
    const uint8_t  *pixels;

    pixels = (const uint8_t *) sh->words;

    for (i = 0; i < k->ntargets; i++) {

        if (tile->chroma) {
            ngx_livestream_transcode_emit_part(tile, &k->targets[i][1],
                                               &sh->parts[i], pixels, thread,
                                               2);

        } else {
            ngx_livestream_transcode_emit_part(tile, &k->targets[i][0],
                                               &sh->parts[i], pixels, thread,
                                               1);
        }
    }
}


#endif /* _NGX_LIVESTREAM_TRANSCODE_KERNEL_H_INCLUDED_ */

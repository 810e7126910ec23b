
/*
 * Copyright (C) nginx-livestream contributors
 *
 * Frames, one allocation each:
 *
 *     +-------------------------+------------------+
 *     | ngx_livestream_frame_t  | size bytes, data |
 *     +-------------------------+------------------+
 *        |
 *        +--> codec, one reference
 *
 * Made and filled by one thread, then read by any that holds a reference.
 * The references are the only thing that changes: whoever drops the last one
 * must see all that the others did before, hence acquire and release.
 *
 * Pure C, any thread.
 */


#include <stdlib.h>
#include <string.h>

#include "ngx_livestream_frame.h"


#define NGX_LIVESTREAM_US  1000000


static int64_t ngx_livestream_scale(int64_t value, uint32_t to, uint32_t from);


ngx_livestream_frame_t *
ngx_livestream_frame_create(ngx_livestream_codec_t *codec, size_t size)
{
    ngx_livestream_frame_t  *f;

    if (size > SIZE_MAX - sizeof(ngx_livestream_frame_t)) {
        return NULL;
    }

    f = malloc(sizeof(ngx_livestream_frame_t) + size);
    if (f == NULL) {
        return NULL;
    }

    memset(f, 0, sizeof(ngx_livestream_frame_t));

    f->refs = 1;
    f->codec = ngx_livestream_codec_ref(codec);
    f->size = size;

    return f;
}


ngx_livestream_frame_t *
ngx_livestream_frame_ref(ngx_livestream_frame_t *f)
{
    __atomic_fetch_add(&f->refs, 1, __ATOMIC_RELAXED);

    return f;
}


void
ngx_livestream_frame_unref(ngx_livestream_frame_t *f)
{
    if (f == NULL
        || __atomic_sub_fetch(&f->refs, 1, __ATOMIC_ACQ_REL) != 0)
    {
        return;
    }

    ngx_livestream_codec_unref(f->codec);
    free(f);
}


int64_t
ngx_livestream_ticks_to_us(int64_t ticks, uint32_t timescale)
{
    return ngx_livestream_scale(ticks, NGX_LIVESTREAM_US, timescale);
}


int64_t
ngx_livestream_us_to_ticks(int64_t us, uint32_t timescale)
{
    return ngx_livestream_scale(us, timescale, NGX_LIVESTREAM_US);
}


/*
 * value * to / from, rounded to nearest, halves away from zero.  The whole
 * units and the rest are scaled apart: rest * to is below 2^64, and only the
 * result itself could overflow.
 */

static int64_t
ngx_livestream_scale(int64_t value, uint32_t to, uint32_t from)
{
    int64_t   sign;
    uint64_t  abs, whole, rest;

    if (from == 0) {
        return 0;
    }

    sign = value < 0 ? -1 : 1;
    abs = value < 0 ? -(uint64_t) value : (uint64_t) value;

    whole = abs / from;
    rest = abs % from;

    return sign * (int64_t) (whole * to + (rest * to + from / 2) / from);
}

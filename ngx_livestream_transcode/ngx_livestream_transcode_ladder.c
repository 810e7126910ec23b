
/*
 * Copyright (C) nginx-livestream contributors
 *
 * Which rungs a source gets, and their sizes.
 *
 *     1920x800 as shown                     rungs, highest first
 *   +-------------------+   1080p 1920x1080   left out: more lines than the
 *   |                   |                     source has
 *   |                   |   720p  1280x720    720 lines were 1728 wide, so the
 *   +-------------------+                     box's width: 1280x534
 *
 * A picture has a long and a short side, and so has a rung's box: a picture
 * that is upright is fitted into the box turned.  The box's short side is kept
 * where the long one leaves room.  Boxes are nested, which the configuration
 * sees to, and so are the pictures.
 *
 * Pure; any thread.
 */


#include "ngx_livestream_transcode.h"


/* of a side; what is smaller or larger is no video that anybody watches */
#define NGX_LIVESTREAM_TRANSCODE_MIN     32
#define NGX_LIVESTREAM_TRANSCODE_MAX     65536

#define NGX_LIVESTREAM_TRANSCODE_ANAMORPHIC  4  /* at most, either way */

/* 30 frames/s, and a source whose clock is somewhat fast, pass a rung of few
 * lines; 50 and 60 do not */
#define NGX_LIVESTREAM_TRANSCODE_LINES   720
#define NGX_LIVESTREAM_TRANSCODE_RATE    33000


/* as shown, with square pixels; the unit of both sides is the same fraction of
 * a pixel */
typedef struct {
    uint64_t                 lng;
    uint64_t                 shrt;
    uint64_t                 unit;              /* of them make a pixel */
    unsigned                 upright;
} ngx_livestream_transcode_shape_t;


static int ngx_livestream_transcode_shape(
    const ngx_livestream_transcode_source_t *source,
    ngx_livestream_transcode_shape_t *shape);
static int ngx_livestream_transcode_fit(
    const ngx_livestream_transcode_rung_conf_t *rung,
    const ngx_livestream_transcode_shape_t *shape,
    ngx_livestream_transcode_output_t *out);
static uint32_t ngx_livestream_transcode_even(uint64_t n, uint64_t d);
static int ngx_livestream_transcode_same(
    const ngx_livestream_transcode_conf_t *conf,
    const ngx_livestream_transcode_output_t *a,
    const ngx_livestream_transcode_output_t *b);


#define ngx_livestream_transcode_min(a, b)  ((a) < (b) ? (a) : (b))
#define ngx_livestream_transcode_max(a, b)  ((a) > (b) ? (a) : (b))


unsigned
ngx_livestream_transcode_ladder(const ngx_livestream_transcode_conf_t *conf,
    const ngx_livestream_transcode_source_t *source,
    ngx_livestream_transcode_output_t *outputs)
{
    uint32_t                           i, lines;
    unsigned                           n;
    ngx_livestream_transcode_shape_t   shape;
    ngx_livestream_transcode_output_t  *out;

    if (ngx_livestream_transcode_shape(source, &shape) != 0) {
        return 0;
    }

    n = 0;

    for (i = 0; i < conf->nrungs; i++) {

        lines = ngx_livestream_transcode_min(conf->rungs[i].width,
                                             conf->rungs[i].height);

        /* the lowest is for whatever is smaller, too */

        if (lines * shape.unit > shape.shrt
            && (i != conf->nrungs - 1 || n != 0))
        {
            continue;
        }

        out = &outputs[n];

        if (ngx_livestream_transcode_fit(&conf->rungs[i], &shape, out) != 0) {
            continue;
        }

        out->rung = i;

        if (n == 0
            || !ngx_livestream_transcode_same(conf, &outputs[n - 1], out))
        {
            n++;
        }
    }

    return n;
}


static int
ngx_livestream_transcode_shape(const ngx_livestream_transcode_source_t *source,
    ngx_livestream_transcode_shape_t *shape)
{
    uint64_t  num, den, width, height;

    if (source->width < NGX_LIVESTREAM_TRANSCODE_MIN
        || source->height < NGX_LIVESTREAM_TRANSCODE_MIN
        || source->width > NGX_LIVESTREAM_TRANSCODE_MAX
        || source->height > NGX_LIVESTREAM_TRANSCODE_MAX)
    {
        return -1;
    }

    num = source->sar_num;
    den = source->sar_den;

    /* pixels of no shape that there is are taken for square ones */

    if (num == 0 || den == 0
        || num > den * NGX_LIVESTREAM_TRANSCODE_ANAMORPHIC
        || den > num * NGX_LIVESTREAM_TRANSCODE_ANAMORPHIC)
    {
        num = 1;
        den = 1;
    }

    width = source->width * num;
    height = source->height * den;

    shape->lng = ngx_livestream_transcode_max(width, height);
    shape->shrt = ngx_livestream_transcode_min(width, height);
    shape->unit = den;
    shape->upright = (height > width);

    return 0;
}


static int
ngx_livestream_transcode_fit(const ngx_livestream_transcode_rung_conf_t *rung,
    const ngx_livestream_transcode_shape_t *shape,
    ngx_livestream_transcode_output_t *out)
{
    uint32_t  lng, shrt, width, lines;

    width = ngx_livestream_transcode_max(rung->width, rung->height);
    lines = ngx_livestream_transcode_min(rung->width, rung->height);

    if (lines * shape->unit > shape->shrt) {
        lines = ngx_livestream_transcode_even(shape->shrt, shape->unit);
        lng = ngx_livestream_transcode_even(shape->lng, shape->unit);

    } else {
        lng = ngx_livestream_transcode_even(lines * shape->lng, shape->shrt);
    }

    shrt = lines;

    if (lng > width) {
        lng = width;
        shrt = ngx_livestream_transcode_even(width * shape->shrt, shape->lng);
    }

    if (shrt < NGX_LIVESTREAM_TRANSCODE_MIN) {
        return -1;
    }

    out->width = shape->upright ? shrt : lng;
    out->height = shape->upright ? lng : shrt;
    out->bitrate = rung->bitrate;
    out->rate = (lines < NGX_LIVESTREAM_TRANSCODE_LINES)
                ? NGX_LIVESTREAM_TRANSCODE_RATE : 0;

    return 0;
}


/* the nearest even number; of two the lower, so that an odd size of the source
 * does not grow */

static uint32_t
ngx_livestream_transcode_even(uint64_t n, uint64_t d)
{
    return (n + d - 1) / (2 * d) * 2;
}


/* Two boxes may come to one size, which is wanted once; of boxes of one size
 * all are wanted. */

static int
ngx_livestream_transcode_same(const ngx_livestream_transcode_conf_t *conf,
    const ngx_livestream_transcode_output_t *a,
    const ngx_livestream_transcode_output_t *b)
{
    const ngx_livestream_transcode_rung_conf_t  *x, *y;

    x = &conf->rungs[a->rung];
    y = &conf->rungs[b->rung];

    return a->width == b->width && a->height == b->height
           && (x->width != y->width || x->height != y->height);
}


uint32_t
ngx_livestream_transcode_rate(const ngx_livestream_transcode_output_t *output,
    uint32_t rate)
{
    while (output->rate && rate > output->rate) {
        rate /= 2;
    }

    return rate;
}


void
ngx_livestream_transcode_source(const AVFrame *pic,
    ngx_livestream_transcode_source_t *source)
{
    source->width = pic->width;
    source->height = pic->height;
    source->sar_num = pic->sample_aspect_ratio.num;
    source->sar_den = pic->sample_aspect_ratio.den;
}


/*
 * Copyright (C) nginx-livestream contributors
 *
 * What the tests of the encoders share: pictures that are hard to encode, and
 * a track of what comes out.
 */


#ifndef _TRANSCODE_ENCODER_H_INCLUDED_
#define _TRANSCODE_ENCODER_H_INCLUDED_


#include <errno.h>
#include <stdlib.h>

#include "ngx_livestream_transcode.h"
#include "tap.h"


#define TEXTURE_WIDTH   2048
#define TEXTURE_HEIGHT  1152
#define TRACK_FRAMES    512
#define TRACK           3


typedef struct {
    ngx_livestream_transcode_encoder_t      *e;
    ngx_livestream_transcode_encoder_conf_t  conf;
    AVFrame                                 *pic;
    const char                              *reason;
    int                                      error;     /* emit's */
    unsigned                                 late;      /* pictures of which
                                                           no frame came at
                                                           once */
    unsigned                                 n;
    ngx_livestream_frame_t                  *frames[TRACK_FRAMES];
} track_t;


/* what libx265 3.5 loses of its own whenever it is opened */
const char *__lsan_default_suppressions(void);

const char *
__lsan_default_suppressions(void)
{
    return "leak:libx265.so";
}


static uint8_t  texture[TEXTURE_HEIGHT][TEXTURE_WIDTH];


/* stripes, squares and grain */
static inline void
texture_make(void)
{
    unsigned  x, y, seed;

    seed = 1;

    for (y = 0; y < TEXTURE_HEIGHT; y++) {
        for (x = 0; x < TEXTURE_WIDTH; x++) {
            seed = seed * 1664525 + 1013904223;

            texture[y][x] = 48 + ((x / 3 + y / 5) & 127)
                            + (x / 16 * 7 + y / 16 * 13) % 5 * 8
                            + (seed >> 28);
        }
    }
}


/* The texture from another place for each n, so that it moves smoothly for
 * sixteen pictures and then jumps. */
static inline void
texture_draw(AVFrame *pic, unsigned n)
{
    int       plane, width, height, y;
    unsigned  left, top;

    for (plane = 0; plane < 3; plane++) {
        width = plane ? pic->width / 2 : pic->width;
        height = plane ? pic->height / 2 : pic->height;

        left = (n % 16 * 4 + n / 16 * 331) % (TEXTURE_WIDTH - pic->width + 1);
        top = (n % 16 * 2 + n / 16 * 173) % (TEXTURE_HEIGHT - pic->height + 1);

        for (y = 0; y < height; y++) {
            memcpy(pic->data[plane] + y * pic->linesize[plane],
                   texture[(plane ? top / 2 : top) + y]
                   + (plane ? left / 2 : left), width);
        }
    }
}


static inline int
track_emit(void *data, ngx_livestream_frame_t *f)
{
    track_t  *t;

    t = data;

    if (t->error) {
        return t->error;
    }

    if (t->n == TRACK_FRAMES) {
        return EOVERFLOW;
    }

    t->frames[t->n++] = ngx_livestream_frame_ref(f);

    return 0;
}


static inline void
track_conf(track_t *t, ngx_livestream_codec_e codec, unsigned width,
    unsigned height, unsigned bitrate)
{
    memset(t, 0, sizeof(track_t));

    t->conf.codec = codec;
    t->conf.preset = "superfast";
    t->conf.track = TRACK;
    t->conf.width = width;
    t->conf.height = height;
    t->conf.bitrate = bitrate;
    t->conf.rate = 30000;
    t->conf.threads = 1;

    t->pic = av_frame_alloc();

    if (t->pic == NULL) {
        abort();
    }

    t->pic->format = AV_PIX_FMT_YUV420P;
    t->pic->width = width;
    t->pic->height = height;
    t->pic->color_range = AVCOL_RANGE_MPEG;
    t->pic->color_primaries = AVCOL_PRI_BT709;
    t->pic->color_trc = AVCOL_TRC_BT709;
    t->pic->colorspace = AVCOL_SPC_BT709;

    if (av_frame_get_buffer(t->pic, 0) < 0) {
        abort();
    }

    texture_draw(t->pic, 0);
}


static inline int
track_open(track_t *t)
{
    t->e = ngx_livestream_transcode_encoder_open(&t->conf, t->pic,
                                                 &t->reason);

    if (t->e == NULL) {
        printf("# %s\n", t->reason);
    }

    return t->e != NULL;
}


/* picture n of the texture */
static inline int
track_put(track_t *t, unsigned n,
    const ngx_livestream_transcode_stamp_t *stamp)
{
    int       rc;
    unsigned  before;

    if (av_frame_make_writable(t->pic) < 0) {
        abort();
    }

    texture_draw(t->pic, n);

    before = t->n;
    rc = ngx_livestream_transcode_encode(t->e, t->pic, stamp, track_emit, t);

    t->late += t->n != before + 1;

    return rc;
}


static inline void
track_free(track_t *t)
{
    unsigned  i;

    ngx_livestream_transcode_encoder_close(t->e);
    av_frame_free(&t->pic);

    for (i = 0; i < t->n; i++) {
        ngx_livestream_frame_unref(t->frames[i]);
    }

    t->e = NULL;
    t->n = 0;
}


/* bit/s of the frames from a time on, by their pts, ticks */
static inline double
track_bitrate(const track_t *t, int64_t from, int64_t to)
{
    double    bits;
    unsigned  i;

    bits = 0;

    for (i = 0; i < t->n; i++) {
        if (t->frames[i]->pts >= from && t->frames[i]->pts < to) {
            bits += t->frames[i]->size * 8.0;
        }
    }

    return bits * NGX_LIVESTREAM_TRANSCODE_CLOCK / (to - from);
}


/* the most of any second */
static inline double
track_peak(const track_t *t, int64_t to)
{
    double    peak, rate;
    int64_t   from;
    unsigned  i;

    peak = 0;

    for (i = 0; i < t->n; i++) {
        from = t->frames[i]->pts;

        if (from + NGX_LIVESTREAM_TRANSCODE_CLOCK > to) {
            break;
        }

        rate = track_bitrate(t, from, from + NGX_LIVESTREAM_TRANSCODE_CLOCK);

        if (rate > peak) {
            peak = rate;
        }
    }

    return peak;
}


#endif /* _TRANSCODE_ENCODER_H_INCLUDED_ */

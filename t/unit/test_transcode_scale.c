
/*
 * Copyright (C) nginx-livestream contributors
 *
 * The scaler against swscale, and where its pictures lie.
 */


#include <errno.h>

#include <libavutil/imgutils.h>
#include <libswscale/swscale.h>

#include "ngx_livestream_transcode.h"
#include "transcode_picture.h"


static const char  *contents[] = {
    "mandelbrot=s=1920x1080:start_scale=0.3,format=yuv420p",
    "testsrc2=s=1920x1080,format=yuv420p"
};

/* the default ladder's, below a source of 1080 lines */
static const ngx_livestream_transcode_output_t  ladder[] = {
    { 0, 1920, 1080, 5000000, 0 },
    { 1, 1280, 720, 2800000, 0 },
    { 2, 854, 480, 1400000, 0 },
    { 3, 640, 360, 800000, 0 },
    { 4, 426, 240, 400000, 0 }
};

#define LADDER  5


static ngx_livestream_transcode_scaler_t *
scaler(const ngx_livestream_transcode_output_t *outputs, unsigned n)
{
    ngx_livestream_transcode_scaler_t  *sc;

    sc = ngx_livestream_transcode_scaler_create(outputs, n);
    if (sc == NULL) {
        picture_die("no scaler");
    }

    return sc;
}


static AVFrame *
swscale(const AVFrame *in, int width, int height, int flags)
{
    AVFrame            *out;
    struct SwsContext  *sws;

    out = picture_alloc(AV_PIX_FMT_YUV420P, width, height);
    sws = sws_getContext(in->width, in->height, in->format, width, height,
                         AV_PIX_FMT_YUV420P, flags, NULL, NULL, NULL);
    sws_scale(sws, (const uint8_t *const *) in->data, in->linesize, 0,
              in->height, out->data, out->linesize);
    sws_freeContext(sws);

    return out;
}


static void
free_all(AVFrame **out, unsigned n)
{
    while (n--) {
        av_frame_free(&out[n]);
    }
}


static void
alike(const AVFrame *pic, const AVFrame *in, const char *what, double least)
{
    double    luma, chroma, psnr;
    AVFrame  *want;

    want = swscale(in, pic->width, pic->height, SWS_BICUBIC);
    luma = picture_ssim(pic, want, 0);
    chroma = picture_ssim(pic, want, 1);
    psnr = picture_psnr(pic, want, 0);
    av_frame_free(&want);

    tap_ok(luma >= least && chroma >= 0.98,
           "%s: %dx%d is swscale's bicubic one (SSIM %.4f, chroma %.4f,"
           " PSNR %.1f)", what, pic->width, pic->height, luma, chroma, psnr);
}


static void
cascade_loses_detail(const char *content)
{
    unsigned                            i;
    AVFrame                            *in, *out[LADDER];
    ngx_livestream_transcode_scaler_t  *sc;

    in = picture_source(content, 8);
    sc = scaler(ladder, LADDER);

    tap_is(ngx_livestream_transcode_scale(sc, in, 0x1f, out), 0, "scales");

    for (i = 1; i < LADDER; i++) {
        alike(out[i], in, "cascade", 0.99);
    }

    free_all(out, LADDER);

    /* rungs that are shed or skip a picture change what others are made of */
    for (i = 1; i < LADDER; i++) {
        tap_is(ngx_livestream_transcode_scale(sc, in, 1u << i, out), 0,
               "scales for one rung");
        alike(out[i], in, "alone", 0.98);
        free_all(out, LADDER);
    }

    ngx_livestream_transcode_scaler_destroy(sc);
    av_frame_free(&in);
}


static void
own_size_is_copied(void)
{
    AVFrame                            *in, *out[LADDER];
    ngx_livestream_transcode_scaler_t  *sc;

    in = picture_flat(AV_PIX_FMT_YUV420P, 1280, 720, 10, 20, 30);
    in->pts = 4711;
    in->sample_aspect_ratio = (AVRational) { 1000, 1001 };
    in->color_primaries = AVCOL_PRI_SMPTE170M;
    in->pict_type = AV_PICTURE_TYPE_B;

    sc = scaler(ladder + 1, LADDER - 1);
    tap_is(ngx_livestream_transcode_scale(sc, in, 0x5, out), 0, "scales");

    tap_ok(out[0] && out[0]->data[0] == in->data[0]
           && out[0]->data[2] == in->data[2]
           && out[0]->buf[0]->data == in->buf[0]->data,
           "a picture of the rung's size is a reference");
    tap_ok(out[1] == NULL && out[3] == NULL, "only what is wanted is made");
    tap_ok(out[2] && out[2]->width == 640 && out[2]->height == 360
           && picture_off(out[2], 0, 10) == 0
           && picture_off(out[2], 1, 20) == 0
           && picture_off(out[2], 2, 30) == 0, "scaled");
    tap_ok(out[0]->pts == 4711 && out[2]->pts == 4711, "pts");
    tap_ok(out[0]->sample_aspect_ratio.num == 1
           && out[0]->sample_aspect_ratio.den == 1
           && out[2]->sample_aspect_ratio.num == 1
           && out[2]->sample_aspect_ratio.den == 1, "square pixels");
    tap_is(in->sample_aspect_ratio.den, 1001, "the source keeps its own");
    tap_ok(out[0]->color_primaries == AVCOL_PRI_SMPTE170M
           && out[2]->color_primaries == AVCOL_PRI_SMPTE170M, "colours");
    tap_ok(out[0]->pict_type == AV_PICTURE_TYPE_NONE
           && out[2]->pict_type == AV_PICTURE_TYPE_NONE,
           "the source's picture types are not the rungs'");
    tap_ok(out[2]->linesize[0] % 64 == 0 && out[2]->linesize[1] % 64 == 0
           && (uintptr_t) out[2]->data[0] % 32 == 0
           && (uintptr_t) out[2]->data[1] % 32 == 0
           && (uintptr_t) out[2]->data[2] % 32 == 0, "aligned");

    /* an encoder's thread may be the last to have one */
    ngx_livestream_transcode_scaler_destroy(sc);
    picture_fill(out[2], 0, 77);
    tap_is(picture_off(out[2], 0, 77), 0, "a picture outlives the scaler");
    free_all(out, LADDER - 1);
    av_frame_free(&in);
}


static void
memory_grows(void)
{
    unsigned                            i, n, seen;
    uint8_t                            *data[4];
    AVFrame                            *in, *out[LADDER];
    ngx_livestream_transcode_scaler_t  *sc;

    in = picture_flat(AV_PIX_FMT_YUV420P, 1920, 1080, 1, 2, 3);
    sc = scaler(ladder, LADDER);
    seen = 0;

    for (i = 0; i < 50; i++) {
        if (ngx_livestream_transcode_scale(sc, in, 0x1e, out) != 0) {
            break;
        }

        for (n = 0; n < seen && data[n] != out[1]->data[0]; n++) {
            /* void */
        }

        if (n == seen && seen < 4) {
            data[seen++] = out[1]->data[0];
        }

        free_all(out, LADDER);
    }

    tap_ok(i == 50 && seen == 1, "memory of freed pictures is used again");

    ngx_livestream_transcode_scaler_destroy(sc);
    av_frame_free(&in);
}


static void
sizes_are_odd(void)
{
    int                                 rc, sizes[][2] = {
        { 1, 1 }, { 2, 1 }, { 3, 3 }, { 7, 1081 }, { 853, 481 },
        { 1279, 719 }, { 720, 576 }, { 1080, 1919 }, { 2561, 1441 },
        { 4096, 2161 }
    };
    unsigned                            i, k, flat;
    AVFrame                            *in, *out[4];
    ngx_livestream_transcode_scaler_t  *sc;
    ngx_livestream_transcode_output_t   outputs[] = {
        { 0, 1024, 576, 0, 0 }, { 1, 480, 854, 0, 0 }, { 2, 640, 362, 0, 0 },
        { 3, 160, 90, 0, 0 }
    };

    sc = scaler(outputs, 4);

    for (i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        in = picture_flat(AV_PIX_FMT_YUV420P, sizes[i][0], sizes[i][1], 200,
                          90, 160);
        rc = ngx_livestream_transcode_scale(sc, in, 0xf, out);
        flat = 0;

        for (k = 0; rc == 0 && k < 4; k++) {
            flat += picture_off(out[k], 0, 200) <= 1
                    && picture_off(out[k], 1, 90) <= 1
                    && picture_off(out[k], 2, 160) <= 1;
        }

        tap_is(flat, 4, "%dx%d scales and has no seams", sizes[i][0],
               sizes[i][1]);

        free_all(out, 4);
        av_frame_free(&in);
    }

    ngx_livestream_transcode_scaler_destroy(sc);
}


static void
pixels_are_not_square(void)
{
    AVFrame                            *in, *out[2];
    ngx_livestream_transcode_scaler_t  *sc;
    ngx_livestream_transcode_output_t   outputs[] = {
        { 0, 1024, 576, 0, 0 }, { 1, 640, 360, 0, 0 }
    };

    in = picture_source("testsrc2=s=720x576,format=yuv420p", 1);
    in->sample_aspect_ratio = (AVRational) { 64, 45 };
    sc = scaler(outputs, 2);

    tap_is(ngx_livestream_transcode_scale(sc, in, 0x3, out), 0, "scales");
    alike(out[0], in, "anamorphic", 0.97);
    alike(out[1], in, "anamorphic", 0.98);

    free_all(out, 2);
    ngx_livestream_transcode_scaler_destroy(sc);
    av_frame_free(&in);
}


/* vflip's pictures run upwards in memory */
static void
rows_run_backwards(void)
{
    int                                 i;
    AVFrame                            *in, *up, *a[LADDER], *b[LADDER];
    ngx_livestream_transcode_scaler_t  *sc;

    in = picture_source("testsrc2=s=960x540,format=yuv420p", 1);
    up = picture_alloc(AV_PIX_FMT_YUV420P, 960, 540);

    for (i = 0; i < 3; i++) {
        up->data[i] += up->linesize[i] * (picture_height(up, i) - 1);
        up->linesize[i] = -up->linesize[i];
    }

    av_frame_copy(up, in);

    sc = scaler(ladder, LADDER);
    ngx_livestream_transcode_scale(sc, in, 0x1f, a);
    tap_is(ngx_livestream_transcode_scale(sc, up, 0x1f, b), 0, "scales");

    for (i = 0; i < LADDER; i++) {
        tap_ok(a[i] && b[i] && picture_psnr(a[i], b[i], 0) == 99
               && picture_psnr(a[i], b[i], 2) == 99,
               "rung %d is the same with rows from below", i);
    }

    free_all(a, LADDER);
    free_all(b, LADDER);
    ngx_livestream_transcode_scaler_destroy(sc);
    av_frame_free(&in);
    av_frame_free(&up);
}


static void
chroma_is_interleaved(void)
{
    int                                 x, y;
    AVFrame                            *in, *nv, *a[LADDER], *b[LADDER];
    ngx_livestream_transcode_scaler_t  *sc;

    in = picture_source("testsrc2=s=854x480,format=yuv420p", 1);
    nv = picture_alloc(AV_PIX_FMT_NV12, 854, 480);
    nv->pts = 5;

    av_image_copy_plane(nv->data[0], nv->linesize[0], in->data[0],
                        in->linesize[0], 854, 480);

    for (y = 0; y < 240; y++) {
        for (x = 0; x < 427; x++) {
            nv->data[1][y * nv->linesize[1] + 2 * x]
                = in->data[1][y * in->linesize[1] + x];
            nv->data[1][y * nv->linesize[1] + 2 * x + 1]
                = in->data[2][y * in->linesize[2] + x];
        }
    }

    sc = scaler(ladder, LADDER);
    ngx_livestream_transcode_scale(sc, in, 0x1c, a);
    tap_is(ngx_livestream_transcode_scale(sc, nv, 0x1c, b), 0, "scales NV12");

    for (x = 2; x < LADDER; x++) {
        tap_ok(b[x] && b[x]->format == AV_PIX_FMT_YUV420P && b[x]->pts == 5
               && picture_psnr(a[x], b[x], 0) == 99
               && picture_psnr(a[x], b[x], 1) == 99
               && picture_psnr(a[x], b[x], 2) == 99,
               "rung %d is that of a planar picture", x);
    }

    free_all(a, LADDER);
    free_all(b, LADDER);
    ngx_livestream_transcode_scaler_destroy(sc);
    av_frame_free(&in);
    av_frame_free(&nv);
}


static void
pictures_are_strange(void)
{
    AVFrame                            *in, *out[LADDER];
    ngx_livestream_transcode_scaler_t  *sc;
    ngx_livestream_transcode_output_t   none = { 0, 0, 100, 0, 0 };

    sc = scaler(ladder, LADDER);

    in = picture_flat(AV_PIX_FMT_YUV420P10, 64, 64, 0, 0, 0);
    tap_is(ngx_livestream_transcode_scale(sc, in, 0x1f, out), EINVAL,
           "10 bits are refused");
    tap_ok(out[0] == NULL && out[4] == NULL, "and nothing is made");

    in->format = AV_PIX_FMT_YUV420P;
    in->width = 20000;
    tap_is(ngx_livestream_transcode_scale(sc, in, 0x1f, out), EINVAL,
           "20000 pixels are refused");
    in->width = 0;
    tap_is(ngx_livestream_transcode_scale(sc, in, 0x1f, out), EINVAL,
           "no pixels are refused");
    av_frame_free(&in);

    tap_ok(ngx_livestream_transcode_scaler_create(&none, 1) == NULL,
           "a rung of no width is refused");

    ngx_livestream_transcode_scaler_destroy(sc);
    ngx_livestream_transcode_scaler_destroy(NULL);
}


int
main(void)
{
    unsigned  i;

    av_log_set_level(AV_LOG_QUIET);

    for (i = 0; i < sizeof(contents) / sizeof(contents[0]); i++) {
        cascade_loses_detail(contents[i]);
    }

    own_size_is_copied();
    memory_grows();
    sizes_are_odd();
    pixels_are_not_square();
    rows_run_backwards();
    chroma_is_interleaved();
    pictures_are_strange();

    return tap_done();
}


/*
 * Copyright (C) nginx-livestream contributors
 *
 * Streams on a GPU that the fake driver plays: pictures against the CPU's
 * scaler, and each way in which a GPU is not there, is full or is lost.
 */


#include <errno.h>
#include <pthread.h>

#include <libavutil/hwcontext.h>

#include "transcode_gpu.h"


static fake_t  fake;


static AVFrame *
download(const AVFrame *f)
{
    AVFrame  *nv12, *pic;
    int       x, y;

    nv12 = av_frame_alloc();
    pic = picture_alloc(AV_PIX_FMT_YUV420P, f->width, f->height);

    if (nv12 == NULL || av_hwframe_transfer_data(nv12, f, 0) < 0
        || nv12->format != AV_PIX_FMT_NV12)
    {
        picture_die("download");
    }

    for (y = 0; y < f->height; y++) {
        memcpy(pic->data[0] + y * pic->linesize[0],
               nv12->data[0] + y * nv12->linesize[0], f->width);
    }

    for (y = 0; y < f->height / 2; y++) {
        for (x = 0; x < f->width; x++) {
            pic->data[1 + x % 2][y * pic->linesize[1 + x % 2] + x / 2] =
                                  nv12->data[1][y * nv12->linesize[1] + x];
        }
    }

    av_frame_free(&nv12);

    return pic;
}


static int
equal(const AVFrame *a, const AVFrame *b)
{
    return a->width == b->width && a->height == b->height
           && picture_psnr(a, b, 0) == 99 && picture_psnr(a, b, 1) == 99
           && picture_psnr(a, b, 2) == 99;
}


/* a picture in memory, and one on the device made of it */
static void
test_pictures(void)
{
    int                                 rc;
    AVFrame                            *in, *on, *pic;
    AVFrame                            *out[NGX_LIVESTREAM_TRANSCODE_RUNGS];
    AVFrame                            *cpu[NGX_LIVESTREAM_TRANSCODE_RUNGS];
    unsigned                            i, n, syncs, launches;
    ngx_livestream_transcode_gpu_t     *g;
    ngx_livestream_transcode_output_t   outputs[5];
    ngx_livestream_transcode_scaler_t  *sc;

    fake_set(&fake, "");

    n = fake_outputs(outputs, 1080);
    g = fake_gpu(1080);
    sc = ngx_livestream_transcode_scaler_create(outputs, n);
    in = picture_source("testsrc2=s=1920x1080,format=yuv420p", 3);

    if (g == NULL || sc == NULL) {
        tap_ok(0, "open");
        return;
    }

    in->pts = 4711;
    in->color_primaries = AVCOL_PRI_BT709;
    in->sample_aspect_ratio = (AVRational) { 4, 3 };

    memset(out, 0, sizeof(out));
    memset(cpu, 0, sizeof(cpu));

    rc = ngx_livestream_transcode_gpu_scale(g, in, 0x1f, 0x1e, out);
    tap_is(rc, 0, "one on the device, four in memory");

    (void) ngx_livestream_transcode_scale(sc, in, 0x1e, cpu);

    tap_ok(out[0]->format == AV_PIX_FMT_CUDA && out[0]->hw_frames_ctx
           && out[0]->hw_frames_ctx->data
              == ngx_livestream_transcode_gpu_frames(g, 0)->data,
           "the one for the device's encoder lies in the rung's frames");

    on = av_frame_clone(out[0]);
    pic = download(on);
    tap_ok(equal(pic, in), "what is as large as the source is the source");
    av_frame_free(&pic);

    for (i = 1; i < n; i++) {
        tap_ok(out[i]->format == AV_PIX_FMT_YUV420P
               && picture_psnr(out[i], cpu[i], 0) > 35
               && picture_ssim(out[i], cpu[i], 0) > 0.99
               && picture_psnr(out[i], cpu[i], 1) > 35,
               "%ux%u: %.1f dB, SSIM %.4f to the CPU's scaler",
               outputs[i].width, outputs[i].height,
               picture_psnr(out[i], cpu[i], 0),
               picture_ssim(out[i], cpu[i], 0));
    }

    tap_ok(out[4]->pts == 4711 && out[4]->color_primaries == AVCOL_PRI_BT709
           && out[4]->sample_aspect_ratio.num == 1
           && out[0]->pts == 4711 && out[0]->sample_aspect_ratio.num == 1,
           "properties are those of the source, pixels are square");

    fake_free(cpu);
    memcpy(cpu, out, sizeof(out));
    memset(out, 0, sizeof(out));

    syncs = fake.calls("cuStreamSynchronize");
    launches = fake.calls("cuLaunchKernel");

    rc = ngx_livestream_transcode_gpu_scale(g, on, 0x1f, 0x0e, out);

    tap_ok(rc == 0 && out[0]->format == AV_PIX_FMT_CUDA
           && out[1]->format == AV_PIX_FMT_YUV420P
           && out[4]->format == AV_PIX_FMT_CUDA, "the same from the device");
    tap_ok(fake.calls("cuStreamSynchronize") == syncs + 1
           && fake.calls("cuLaunchKernel") == launches + 1,
           "with one launch and one wait");

    pic = download(out[4]);
    tap_ok(equal(pic, cpu[4]) && equal(out[1], cpu[1]),
           "pictures on the device are those in memory");
    av_frame_free(&pic);

    fake_free(out);

    rc = ngx_livestream_transcode_gpu_scale(g, in, 0x05, 0x01, out);
    tap_ok(rc == 0 && out[0]->data[0] == in->data[0] && out[1] == NULL
           && out[2]->format == AV_PIX_FMT_CUDA,
           "what is asked for only; a picture of the rung's size is itself");

    fake_free(out);

    /* encoders hold them still */

    ngx_livestream_transcode_gpu_close(g);
    tap_is(fake.contexts(0), 1, "pictures outlive the stream");

    pic = download(cpu[0]);
    tap_ok(equal(pic, in) && picture_mean(cpu[4], 0) > 0,
           "and are what they were");
    av_frame_free(&pic);
    av_frame_free(&on);
    fake_free(cpu);

    tap_ok(fake.contexts(0) == 0 && fake.leaks() == 0,
           "with the last of them all is let go");

    av_frame_free(&in);
    ngx_livestream_transcode_scaler_destroy(sc);
}


/* the source changes its size, and so do the rungs */
static void
test_change(void)
{
    int                              i, rc;
    AVFrame                         *in;
    AVFrame                         *out[NGX_LIVESTREAM_TRANSCODE_RUNGS];
    ngx_livestream_transcode_gpu_t  *g;
    const char                      *reason;
    ngx_livestream_transcode_output_t  output;

    static const int  sizes[][4] = {
        { 641, 359, 426, 238 }, { 128, 720, 42, 240 }, { 1280, 720, 854, 480 }
    };

    memset(out, 0, sizeof(out));
    memset(&output, 0, sizeof(output));

    g = fake_gpu(1080);

    for (i = 0; g && i < 3; i++) {
        output.width = sizes[i][2];
        output.height = sizes[i][3];

        in = picture_flat(AV_PIX_FMT_YUV420P, sizes[i][0], sizes[i][1],
                          70 + i, 90, 200);
        rc = ngx_livestream_transcode_gpu_outputs(g, &output, 1, &reason);
        rc = rc ? rc : ngx_livestream_transcode_gpu_scale(g, in, 0xfff, 0xfff,
                                                          out);

        tap_ok(rc == 0 && out[0]->width == sizes[i][2] && out[1] == NULL
               && picture_off(out[0], 0, 70 + i) == 0
               && picture_off(out[0], 1, 90) == 0
               && picture_off(out[0], 2, 200) == 0,
               "%dx%d to %dx%d", sizes[i][0], sizes[i][1], sizes[i][2],
               sizes[i][3]);

        fake_free(out);
        av_frame_free(&in);
    }

    if (g) {
        ngx_livestream_transcode_gpu_close(g);
    }

    tap_is(fake.leaks(), 0, "nothing is left");
}


static void
test_refuses(void)
{
    AVFrame                           *in;
    AVFrame                           *out[NGX_LIVESTREAM_TRANSCODE_RUNGS];
    const char                        *reason;
    ngx_livestream_transcode_gpu_t    *g;
    ngx_livestream_transcode_output_t  output;

    memset(out, 0, sizeof(out));
    memset(&output, 0, sizeof(output));

    g = fake_gpu(240);

    if (g == NULL) {
        tap_ok(0, "open");
        return;
    }

    in = picture_flat(AV_PIX_FMT_YUV422P, 64, 64, 50, 50, 50);
    tap_is(ngx_livestream_transcode_gpu_scale(g, in, 1, 1, out), EINVAL,
           "a picture that is not plain");
    in->format = AV_PIX_FMT_CUDA;
    tap_is(ngx_livestream_transcode_gpu_scale(g, in, 1, 1, out), EINVAL,
           "one that says it is on a device and is not");
    av_frame_free(&in);

    tap_is(ngx_livestream_transcode_gpu_outputs(g, &output, 13, &reason),
           EINVAL, "too many rungs");

    output.width = 2;
    output.height = 2;
    in = picture_flat(AV_PIX_FMT_YUV420P, 2048, 2048, 50, 50, 50);

    tap_ok(ngx_livestream_transcode_gpu_outputs(g, &output, 1, &reason) == 0
           && ngx_livestream_transcode_gpu_scale(g, in, 1, 1, out) == ENODEV
           && out[0] == NULL, "a ratio that the kernel cannot do");
    tap_str(ngx_livestream_transcode_gpu_reason(g),
            "the kernel: sizes are too far from one another", "and why");

    ngx_livestream_transcode_gpu_close(g);
    av_frame_free(&in);

    tap_is(fake.leaks(), 0, "nothing is left");
}


/* each step of opening */
static void
test_open_fails(void)
{
    unsigned                         i;
    const char                      *reason;
    ngx_livestream_transcode_gpu_t  *g;

    static const struct {
        const char  *settings;
        const char  *reason;
    } steps[] = {
        { "fail:cuInit", "the driver cannot be initialised" },
        { "fail:cuInit:1:100", "there is no GPU" },
        { "fail:cuDeviceGetCount", "there is no GPU" },
        { "devices:0", "there is no GPU" },
        { "fail:cuDeviceGet", "the driver refuses the GPU" },
        { "fail:cuCtxCreate", "the GPU gives no context" },
        { "fail:cuModuleLoadData",
          "the GPU's driver does not compile the kernel" },
        { "fail:cuModuleGetFunction",
          "the GPU's driver does not find the kernel" },
        { "fail:cuCtxPushCurrent", "the GPU takes no more streams" },
        { "fail:cuStreamCreate", "the GPU takes no more streams" }
    };

    for (i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
        fake_set(&fake, steps[i].settings);

        reason = NULL;
        g = ngx_livestream_transcode_gpu_open(&reason);

        tap_ok(g == NULL && reason && strcmp(reason, steps[i].reason) == 0,
               "%s: %s", steps[i].settings, reason);
        tap_ok(fake.contexts(0) == 0 && fake.leaks() == 0,
               "%s: nothing is left", steps[i].settings);
    }

    fake_set(&fake, "");
}


/* Each step of a picture, with the third one of its kind; another stream of
 * the same device goes on, but with a context that had a fault it may not. */
static void
test_scale_fails(void)
{
    int                              rc;
    AVFrame                         *in, *held;
    AVFrame                         *out[NGX_LIVESTREAM_TRANSCODE_RUNGS];
    unsigned                         i, n;
    ngx_livestream_transcode_gpu_t  *g, *next;

    static const struct {
        const char  *settings;
        unsigned     pictures;
        unsigned     contexts;      /* with a stream opened thereafter */
    } steps[] = {
        { "fail:cuLaunchKernel:3:719", 2, 2 },
        { "fail:cuStreamSynchronize:3:719", 2, 2 },
        { "fail:cuMemcpyHtoDAsync:3", 2, 2 },
        { "fail:cuMemcpyDtoHAsync:3", 1, 2 },
        { "fail:cuMemcpyDtoHAsync:6", 2, 2 },
        { "fail:cuMemAlloc:1:2", 0, 1 },
        { "fail:cuMemAlloc:2:2", 0, 1 },
        { "fail:cuMemAllocHost:1:2", 0, 1 },
        { "fail:cuMemAllocHost:3:2", 0, 1 },
        { "fail:cuMemAllocHost:4:2", 1, 1 },
        { "lost:cuLaunchKernel:3", 2, 0 },
        { "lost:cuStreamSynchronize:1", 0, 0 },
        { "lost:cuCtxPushCurrent:20", 4, 0 },
        { "memory:1", 0, 1 }
    };

    in = picture_flat(AV_PIX_FMT_YUV420P, 1280, 720, 100, 110, 120);

    for (i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
        fake_set(&fake, "");
        memset(out, 0, sizeof(out));

        g = fake_gpu(480);
        held = NULL;
        rc = 0;

        fake_set(&fake, steps[i].settings);

        for (n = 0; g && n < 20; n++) {
            rc = ngx_livestream_transcode_gpu_scale(g, in, 0x7, 0x3, out);

            if (rc) {
                break;
            }

            /* an encoder is a picture behind */

            av_frame_free(&held);
            held = out[0];
            out[0] = NULL;
            fake_free(out);
        }

        if (steps[i].pictures == 4) {
            tap_ok(g && n > 0 && n < 20 && rc == ENODEV,
                   "%s: after %u pictures", steps[i].settings, n);
        } else {
            tap_ok(g && n == steps[i].pictures && rc == ENODEV,
                   "%s: after %u pictures", steps[i].settings, n);
        }

        tap_ok(out[0] == NULL && out[1] == NULL && out[2] == NULL,
               "%s: no pictures", steps[i].settings);
        tap_ok(ngx_livestream_transcode_gpu_reason(g) != NULL, "%s: %s",
               steps[i].settings, ngx_livestream_transcode_gpu_reason(g));
        tap_ok(ngx_livestream_transcode_gpu_scale(g, in, 1, 1, out) == ENODEV,
               "%s: and no more", steps[i].settings);

        if (steps[i].contexts) {
            fake_set(&fake, "");
            next = fake_gpu(240);

            tap_ok(next && fake.contexts(0) == steps[i].contexts,
                   "%s: a new stream has a %s context", steps[i].settings,
                   steps[i].contexts == 2 ? "new" : "sound");

            ngx_livestream_transcode_gpu_close(next);
        }

        ngx_livestream_transcode_gpu_close(g);
        av_frame_free(&held);

        tap_is(fake.contexts(0), 0, "%s: nothing is held",
               steps[i].settings);
    }

    fake_set(&fake, "");
    av_frame_free(&in);
}


/* what a lost device cannot free its context frees, so this is apart */
static void
test_leaks(void)
{
    int                              i, rc;
    AVFrame                         *in;
    AVFrame                         *out[NGX_LIVESTREAM_TRANSCODE_RUNGS];
    unsigned                         before;
    ngx_livestream_transcode_gpu_t  *g;

    before = fake.leaks();
    memset(out, 0, sizeof(out));
    in = picture_flat(AV_PIX_FMT_YUV420P, 640, 360, 100, 110, 120);

    rc = 0;

    for (i = 0; rc == 0 && i < 200; i++) {
        g = fake_gpu(360);
        rc = g ? ngx_livestream_transcode_gpu_scale(g, in, 3, 1 + i % 3, out)
               : ENODEV;

        if (i % 2) {
            fake_free(out);
        }

        ngx_livestream_transcode_gpu_close(g);
        fake_free(out);
    }

    tap_ok(rc == 0 && fake.leaks() == before && fake.contexts(0) == 0,
           "200 streams, one after the other");

    av_frame_free(&in);
}


static void
test_devices(void)
{
    unsigned                         i;
    const char                      *reason;
    ngx_livestream_transcode_gpu_t  *g[6];

    fake_set(&fake, "devices:2,memory:1000/3000");

    for (i = 0; i < 4; i++) {
        g[i] = ngx_livestream_transcode_gpu_open(&reason);
    }

    tap_ok(g[0] && g[1] && g[2] && g[3], "four streams on two devices");
    tap_ok(ngx_livestream_transcode_gpu_index(g[0]) == 1
           && ngx_livestream_transcode_gpu_index(g[1]) == 0
           && ngx_livestream_transcode_gpu_index(g[2]) == 1
           && ngx_livestream_transcode_gpu_index(g[3]) == 0,
           "the fewest streams, then the most memory");
    tap_ok(fake.contexts(0) == 1 && fake.contexts(1) == 1,
           "streams of a device share its context");

    ngx_livestream_transcode_gpu_close(g[0]);
    ngx_livestream_transcode_gpu_close(g[2]);
    tap_ok(fake.contexts(1) == 0, "the idle device is let go");

    g[0] = ngx_livestream_transcode_gpu_open(&reason);
    tap_ok(g[0] && ngx_livestream_transcode_gpu_index(g[0]) == 1,
           "and taken when it has fewer streams");

    ngx_livestream_transcode_gpu_close(g[0]);
    ngx_livestream_transcode_gpu_close(g[1]);
    ngx_livestream_transcode_gpu_close(g[3]);

    fake_set(&fake, "devices:3,fail:cuModuleLoadData:2");

    g[0] = ngx_livestream_transcode_gpu_open(&reason);
    tap_ok(g[0] && ngx_livestream_transcode_gpu_index(g[0]) == 0
           && fake.contexts(1) == 0 && fake.contexts(2) == 0,
           "devices that do not work are left out");

    g[1] = ngx_livestream_transcode_gpu_open(&reason);
    tap_ok(g[1] && ngx_livestream_transcode_gpu_index(g[1]) == 0,
           "also when the one that does has streams");

    ngx_livestream_transcode_gpu_close(g[0]);
    ngx_livestream_transcode_gpu_close(g[1]);

    fake_set(&fake, "");
}


static void *
thread_main(void *data)
{
    int                              i, rc;
    AVFrame                         *in;
    AVFrame                         *out[NGX_LIVESTREAM_TRANSCODE_RUNGS];
    ngx_livestream_transcode_gpu_t  *g;

    rc = 0;
    memset(out, 0, sizeof(out));
    in = picture_flat(AV_PIX_FMT_YUV420P, 640, 360, 100, 110, 120);

    for (i = 0; rc == 0 && i < 8; i++) {
        g = fake_gpu(360);
        rc = g ? ngx_livestream_transcode_gpu_scale(g, in, 3, 1, out)
               : ENODEV;
        rc = rc == 0 && picture_off(out[0], 0, 100) ? EIO : rc;

        ngx_livestream_transcode_gpu_close(g);
        fake_free(out);
    }

    av_frame_free(&in);
    *(int *) data = rc;

    return NULL;
}


static void
test_threads(void)
{
    int        i, ok, rc[4];
    unsigned   before;
    pthread_t  threads[4];

    before = fake.leaks();

    for (i = 0; i < 4; i++) {
        if (pthread_create(&threads[i], NULL, thread_main, &rc[i])) {
            picture_die("a thread");
        }
    }

    ok = 1;

    for (i = 0; i < 4; i++) {
        (void) pthread_join(threads[i], NULL);
        ok = ok && rc[i] == 0;
    }

    tap_ok(ok && fake.leaks() == before && fake.contexts(0) == 0,
           "four threads open, scale and close");
}


static AVCodecContext *
encoder_open(const char *name, int width, int height, AVBufferRef *frames)
{
    AVCodecContext  *avctx;
    const AVCodec   *codec;

    codec = avcodec_find_encoder_by_name(name);
    avctx = codec ? avcodec_alloc_context3(codec) : NULL;

    if (avctx == NULL) {
        return NULL;
    }

    avctx->width = width;
    avctx->height = height;
    avctx->time_base = (AVRational) { 1, 30 };
    avctx->pix_fmt = frames ? AV_PIX_FMT_CUDA : AV_PIX_FMT_YUV420P;
    avctx->hw_frames_ctx = frames ? av_buffer_ref(frames) : NULL;
    avctx->max_b_frames = 0;

    if (frames == NULL) {
        (void) av_opt_set(avctx->priv_data, "preset", "ultrafast", 0);
        (void) av_opt_set(avctx->priv_data, "tune", "zerolatency", 0);
    }

    if (avcodec_open2(avctx, codec, NULL) < 0) {
        avcodec_free_context(&avctx);
    }

    return avctx;
}


static enum AVPixelFormat
decoder_format(AVCodecContext *avctx, const enum AVPixelFormat *formats)
{
    (void) avctx;

    while (*formats != AV_PIX_FMT_NONE && *formats != AV_PIX_FMT_CUDA) {
        formats++;
    }

    return *formats;
}


/* NVDEC's pictures are the fake's: a gradient, brighter by one with each */
static void
test_decoder(void)
{
    int                              rc, i, n, ok;
    AVFrame                         *in, *pic;
    AVFrame                         *out[NGX_LIVESTREAM_TRANSCODE_RUNGS];
    AVPacket                        *pkt;
    AVCodecContext                  *enc, *dec;
    ngx_livestream_transcode_gpu_t  *g;

    memset(out, 0, sizeof(out));

    g = fake_gpu(240);
    in = picture_flat(AV_PIX_FMT_YUV420P, 426, 240, 100, 110, 120);
    pic = av_frame_alloc();
    pkt = av_packet_alloc();
    enc = encoder_open("libx264", 426, 240, NULL);
    dec = avcodec_alloc_context3(avcodec_find_decoder(AV_CODEC_ID_H264));

    if (g == NULL || enc == NULL || dec == NULL) {
        tap_ok(0, "open");
        return;
    }

    dec->hw_device_ctx = av_buffer_ref(ngx_livestream_transcode_gpu_device(g));
    dec->get_format = decoder_format;
    dec->thread_count = 1;
    dec->flags |= AV_CODEC_FLAG_LOW_DELAY;

    tap_ok(avcodec_open2(dec, NULL, NULL) == 0, "a decoder on the device");

    n = 0;
    ok = 1;

    for (i = 0; i < 40; i++) {
        in->pts = i;

        if (avcodec_send_frame(enc, in) < 0
            || avcodec_receive_packet(enc, pkt) < 0
            || avcodec_send_packet(dec, pkt) < 0)
        {
            picture_die("clip");
        }

        av_packet_unref(pkt);

        while (avcodec_receive_frame(dec, pic) == 0) {
            rc = ngx_livestream_transcode_gpu_scale(g, pic, 1, 1, out);

            ok = ok && rc == 0 && pic->format == AV_PIX_FMT_CUDA
                 && out[0]->data[0][0] == 16 + n
                 && out[0]->data[0][out[0]->linesize[0] + 9] == 16 + 10 + n
                 && picture_off(out[0], 1, 128) == 0
                 && out[0]->pts == n;
            n++;

            fake_free(out);
            av_frame_unref(pic);
        }
    }

    tap_ok(ok && n >= 38, "%d pictures of NVDEC are scaled where they lie", n);

    avcodec_free_context(&dec);
    avcodec_free_context(&enc);
    av_frame_free(&in);
    av_frame_free(&pic);
    av_packet_free(&pkt);
    ngx_livestream_transcode_gpu_close(g);

    tap_is(fake.contexts(0), 0, "nothing is held");
}


static void
test_encoder(const char *what)
{
    AVCodecContext                  *enc;
    ngx_livestream_transcode_gpu_t  *g;

    g = fake_gpu(360);

    if (g == NULL) {
        tap_ok(0, "open");
        return;
    }

    enc = encoder_open("h264_nvenc", 640, 360,
                       ngx_livestream_transcode_gpu_frames(g, 0));

    tap_ok(enc == NULL, "%s", what);

    avcodec_free_context(&enc);
    ngx_livestream_transcode_gpu_close(g);

    tap_is(fake.contexts(0), 0, "nothing is held");
}


static int
part_none(void)
{
    const char  *lacks, *reason;

    lacks = ngx_livestream_transcode_gpu_lacks();

    return lacks == NULL || ngx_livestream_transcode_gpu_open(&reason)
           || strcmp(lacks, reason)
           || strcmp(lacks, "there is no driver, libcuda.so.1");
}


static int
part_all(void)
{
    fake_open(&fake);

    av_log_set_level(AV_LOG_QUIET);

    tap_is(fake_child("none", "none", "none", "none"), 0,
           "without a driver it says so");
    tap_is(fake_child("no-nvenc", "cuda", "cuda", "cuda"), 0,
           "without NVENC and NVDEC it opens");

    tap_ok(ngx_livestream_transcode_gpu_lacks() == NULL, "there is a driver");
    tap_is(fake.calls("cuInit"), 0, "to ask for it does not initialise it");

    test_open_fails();
    test_pictures();
    test_change();
    test_refuses();
    test_devices();
    test_decoder();
    test_encoder("all sessions of NVENC are taken");
    test_leaks();
    test_threads();
    test_scale_fails();

    return tap_done();
}


int
main(int argc, char **argv)
{
    if (argc < 2) {
        fake_exec("all", FAKE_ALL);
    }

    if (strcmp(argv[1], "none") == 0) {
        return part_none();
    }

    if (strcmp(argv[1], "no-nvenc") == 0) {
        fake_open(&fake);
        av_log_set_level(AV_LOG_QUIET);

        if (freopen("/dev/null", "w", stdout) == NULL) {
            return 1;
        }

        test_encoder("NVENC");
        return tap_failed != 0;
    }

    return part_all();
}

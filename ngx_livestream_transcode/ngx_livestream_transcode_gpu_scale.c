
/*
 * Copyright (C) nginx-livestream contributors
 *
 * A stream's pictures on a GPU.
 *
 *   memory        device
 *
 *                 picture of NVDEC ---+
 *                                     +--> kernel --> picture for NVENC
 *   picture --> pinned --> NV12 ------+       |
 *                                             +-----> planes
 *   picture, pinned <-----------------------------------+
 *
 * A rung that is encoded on the CPU is written as I420 by the kernel and then
 * copied straight into its picture: the CPU touches no pixel of it.  All of
 * this is put on the stream's own CUDA stream and waited for once a picture,
 * after which the decoder may have its picture back.
 *
 * Pictures outlive this, in the queues of encoders: each has a reference to
 * what it lies in, and that to the device.
 *
 * The stream's video thread, but for what frees.
 */


#include <errno.h>

#include <libyuv.h>

#include "ngx_livestream_transcode_gpu_impl.h"
#include "ngx_livestream_transcode_kernel.h"


#define NGX_LIVESTREAM_TRANSCODE_PITCH      256     /* of what is uploaded */


static int ngx_livestream_transcode_gpu_suits(
    ngx_livestream_transcode_gpu_t *g, const AVFrame *in);
static uint32_t ngx_livestream_transcode_gpu_same(
    ngx_livestream_transcode_gpu_t *g, const AVFrame *in, uint32_t wanted,
    AVFrame **out);
static int ngx_livestream_transcode_gpu_ladder(
    ngx_livestream_transcode_gpu_t *g, const AVFrame *in, uint32_t wanted,
    uint32_t download, AVFrame **out);
static int ngx_livestream_transcode_gpu_source(
    ngx_livestream_transcode_gpu_t *g, const AVFrame *in,
    ngx_livestream_transcode_picture_t *pic);
static int ngx_livestream_transcode_gpu_upload(
    ngx_livestream_transcode_gpu_t *g, const AVFrame *in,
    ngx_livestream_transcode_picture_t *pic);
static int ngx_livestream_transcode_gpu_staging(
    ngx_livestream_transcode_gpu_t *g, size_t size);
static int ngx_livestream_transcode_gpu_target(
    ngx_livestream_transcode_gpu_t *g, unsigned i, int download, AVFrame *f,
    ngx_livestream_transcode_picture_t *pic);
static int ngx_livestream_transcode_gpu_pinned(
    ngx_livestream_transcode_gpu_t *g, unsigned i);
static int ngx_livestream_transcode_gpu_launch(
    ngx_livestream_transcode_gpu_t *g,
    const ngx_livestream_transcode_picture_t *source,
    const ngx_livestream_transcode_picture_t *targets, unsigned n);
static int ngx_livestream_transcode_gpu_download(
    ngx_livestream_transcode_gpu_t *g, uint32_t rungs, AVFrame **out);
static void ngx_livestream_transcode_gpu_whole(AVFrame *f);
static AVBufferRef *ngx_livestream_transcode_gpu_pool_alloc(void *data,
    size_t size);
static void ngx_livestream_transcode_gpu_pool_free(void *data);
static void ngx_livestream_transcode_gpu_buffer_free(void *data, uint8_t *p);


int
ngx_livestream_transcode_gpu_scale(ngx_livestream_transcode_gpu_t *g,
    const AVFrame *in, uint32_t wanted, uint32_t download, AVFrame **out)
{
    int        rc;
    unsigned   i;
    uint32_t   left;
    CUcontext  dummy;

    for (i = 0; i < g->n; i++) {
        out[i] = NULL;
    }

    if (g->lost) {
        return ENODEV;
    }

    if (!ngx_livestream_transcode_gpu_suits(g, in)) {
        return EINVAL;
    }

    left = wanted & ((1u << g->n) - 1);

    if (in->format != AV_PIX_FMT_CUDA) {
        left &= ~ngx_livestream_transcode_gpu_same(g, in, left & download,
                                                   out);
    }

    rc = 0;

    if (left) {
        rc = ngx_livestream_transcode_gpu_check(g,
                                         g->driver->push(g->device->context),
                                         "cuCtxPushCurrent");
        if (rc == 0) {
            rc = ngx_livestream_transcode_gpu_ladder(g, in, left, download,
                                                     out);
            (void) g->driver->pop(&dummy);
        }
    }

    for (i = 0; rc && i < g->n; i++) {
        av_frame_free(&out[i]);
    }

    return rc;
}


static int
ngx_livestream_transcode_gpu_suits(ngx_livestream_transcode_gpu_t *g,
    const AVFrame *in)
{
    AVHWFramesContext    *frames;
    AVCUDADeviceContext  *cuda;

    if (in->width <= 0 || in->height <= 0) {
        return 0;
    }

    if (in->format != AV_PIX_FMT_CUDA) {
        return in->format == AV_PIX_FMT_YUV420P;
    }

    if (in->hw_frames_ctx == NULL) {
        return 0;
    }

    frames = (AVHWFramesContext *) in->hw_frames_ctx->data;
    cuda = frames->device_ctx->hwctx;

    return frames->sw_format == AV_PIX_FMT_NV12
           && cuda->cuda_ctx == g->device->context;
}


/* rungs that are the picture in memory itself */
static uint32_t
ngx_livestream_transcode_gpu_same(ngx_livestream_transcode_gpu_t *g,
    const AVFrame *in, uint32_t wanted, AVFrame **out)
{
    unsigned                            i;
    uint32_t                            same;
    ngx_livestream_transcode_output_t  *output;

    same = 0;

    for (i = 0; i < g->n; i++) {
        output = &g->rungs[i].output;

        if ((wanted & (1u << i))
            && output->width == (uint32_t) in->width
            && output->height == (uint32_t) in->height)
        {
            out[i] = av_frame_clone(in);

            if (out[i]) {
                ngx_livestream_transcode_gpu_whole(out[i]);
                same |= 1u << i;
            }
        }
    }

    return same;
}


static int
ngx_livestream_transcode_gpu_ladder(ngx_livestream_transcode_gpu_t *g,
    const AVFrame *in, uint32_t wanted, uint32_t download, AVFrame **out)
{
    int                                 rc;
    unsigned                            i, n;
    ngx_livestream_transcode_picture_t  source;
    ngx_livestream_transcode_picture_t  targets[
                                               NGX_LIVESTREAM_TRANSCODE_RUNGS];

    n = 0;

    for (i = 0; i < g->n; i++) {

        if (!(wanted & (1u << i))) {
            continue;
        }

        out[i] = av_frame_alloc();

        if (out[i] == NULL || av_frame_copy_props(out[i], in) < 0) {
            return ENOMEM;
        }

        ngx_livestream_transcode_gpu_whole(out[i]);

        rc = ngx_livestream_transcode_gpu_target(g, i, download & (1u << i),
                                                 out[i], &targets[n++]);
        if (rc) {
            return rc;
        }
    }

    rc = ngx_livestream_transcode_gpu_source(g, in, &source);

    if (rc == 0) {
        rc = ngx_livestream_transcode_gpu_launch(g, &source, targets, n);
    }

    if (rc == 0) {
        rc = ngx_livestream_transcode_gpu_download(g, wanted & download, out);
    }

    /* after a failure too: pictures may be on their way into memory that is
     * about to be given back */

    if (rc) {
        (void) g->driver->sync(g->stream);
        return rc;
    }

    return ngx_livestream_transcode_gpu_check(g, g->driver->sync(g->stream),
                                              "cuStreamSynchronize");
}


static int
ngx_livestream_transcode_gpu_source(ngx_livestream_transcode_gpu_t *g,
    const AVFrame *in, ngx_livestream_transcode_picture_t *pic)
{
    pic->width = in->width;
    pic->height = in->height;
    pic->data[2] = 0;

    if (in->format != AV_PIX_FMT_CUDA) {
        return ngx_livestream_transcode_gpu_upload(g, in, pic);
    }

    /* libavcodec leaves what is cut off there on the left and above */

    pic->data[0] = (uintptr_t) in->data[0] + in->crop_left
                   + in->crop_top * in->linesize[0];
    pic->data[1] = (uintptr_t) in->data[1] + in->crop_left / 2 * 2
                   + in->crop_top / 2 * in->linesize[1];
    pic->pitch[0] = in->linesize[0];
    pic->pitch[1] = in->linesize[1];

    return 0;
}


static int
ngx_livestream_transcode_gpu_upload(ngx_livestream_transcode_gpu_t *g,
    const AVFrame *in, ngx_livestream_transcode_picture_t *pic)
{
    int     rc;
    size_t  pitch, luma, size;

    pitch = FFALIGN((size_t) in->width, NGX_LIVESTREAM_TRANSCODE_PITCH);
    luma = pitch * in->height;
    size = luma + pitch * ((in->height + 1) / 2);

    rc = ngx_livestream_transcode_gpu_staging(g, size);

    if (rc) {
        return rc;
    }

    (void) I420ToNV12(in->data[0], in->linesize[0], in->data[1],
                      in->linesize[1], in->data[2], in->linesize[2],
                      g->staging, pitch, g->staging + luma, pitch, in->width,
                      in->height);

    pic->data[0] = g->source;
    pic->data[1] = g->source + luma;
    pic->pitch[0] = pitch;
    pic->pitch[1] = pitch;

    return ngx_livestream_transcode_gpu_check(g,
                            g->driver->upload(g->source, g->staging, size,
                                              g->stream),
                            "cuMemcpyHtoDAsync");
}


static int
ngx_livestream_transcode_gpu_staging(ngx_livestream_transcode_gpu_t *g,
    size_t size)
{
    int    rc;
    void  *p;

    if (size <= g->size) {
        return 0;
    }

    ngx_livestream_transcode_gpu_unstage(g);

    rc = ngx_livestream_transcode_gpu_check(g,
                                            g->driver->alloc(&g->source, size),
                                            "cuMemAlloc");
    if (rc) {
        g->source = 0;
        return rc;
    }

    rc = ngx_livestream_transcode_gpu_check(g, g->driver->alloc_host(&p, size),
                                            "cuMemAllocHost");
    if (rc == 0) {
        g->staging = p;
        g->size = size;
    }

    return rc;
}


void
ngx_livestream_transcode_gpu_unstage(ngx_livestream_transcode_gpu_t *g)
{
    if (g->source) {
        (void) g->driver->free(g->source);
    }

    if (g->staging) {
        (void) g->driver->free_host(g->staging);
    }

    g->source = 0;
    g->staging = NULL;
    g->size = 0;
}


/* f and, on the device, what the kernel is to write for it */
static int
ngx_livestream_transcode_gpu_target(ngx_livestream_transcode_gpu_t *g,
    unsigned i, int download, AVFrame *f,
    ngx_livestream_transcode_picture_t *pic)
{
    int                                   rc;
    unsigned                              c;
    ngx_livestream_transcode_gpu_rung_t  *rung;
    ngx_livestream_transcode_planes_t    *planes;

    rung = &g->rungs[i];
    planes = &rung->planes;

    pic->width = rung->output.width;
    pic->height = rung->output.height;

    if (!download) {
        rc = av_hwframe_get_buffer(rung->frames, f, 0);

        if (rc < 0) {
            return ngx_livestream_transcode_gpu_fail(g, "a rung's picture",
                                               "there is no memory on it");
        }

        pic->data[0] = (uintptr_t) f->data[0];
        pic->data[1] = (uintptr_t) f->data[1];
        pic->data[2] = 0;
        pic->pitch[0] = f->linesize[0];
        pic->pitch[1] = f->linesize[1];

        return 0;
    }

    rc = ngx_livestream_transcode_gpu_pinned(g, i);

    if (rc) {
        return rc;
    }

    f->buf[0] = av_buffer_pool_get(rung->pool);

    if (f->buf[0] == NULL) {
        return ngx_livestream_transcode_gpu_fail(g, "cuMemAllocHost",
                                               "there is no pinned memory");
    }

    f->format = AV_PIX_FMT_YUV420P;
    f->width = rung->output.width;
    f->height = rung->output.height;

    for (c = 0; c < 3; c++) {
        f->data[c] = f->buf[0]->data + planes->offset[c];
        f->linesize[c] = planes->pitch[c != 0];
        pic->data[c] = rung->device + planes->offset[c];
    }

    pic->pitch[0] = planes->pitch[0];
    pic->pitch[1] = planes->pitch[1];

    return 0;
}


static int
ngx_livestream_transcode_gpu_pinned(ngx_livestream_transcode_gpu_t *g,
    unsigned i)
{
    int                                   rc;
    ngx_livestream_transcode_gpu_rung_t  *rung;

    rung = &g->rungs[i];

    if (rung->device == 0) {
        rc = ngx_livestream_transcode_gpu_check(g,
                                          g->driver->alloc(&rung->device,
                                                           rung->planes.size),
                                          "cuMemAlloc");
        if (rc) {
            rung->device = 0;
            return rc;
        }
    }

    if (rung->pool == NULL) {
        rung->pool = av_buffer_pool_init2(rung->planes.size, g->device,
                                      ngx_livestream_transcode_gpu_pool_alloc,
                                      ngx_livestream_transcode_gpu_pool_free);
        if (rung->pool == NULL) {
            return ENOMEM;
        }

        ngx_livestream_transcode_device_ref(g->device);
    }

    return 0;
}


static int
ngx_livestream_transcode_gpu_launch(ngx_livestream_transcode_gpu_t *g,
    const ngx_livestream_transcode_picture_t *source,
    const ngx_livestream_transcode_picture_t *targets, unsigned n)
{
    void                               *params[1];
    uint32_t                            shared, grid[2];
    ngx_livestream_transcode_kernel_t   kernel;

    shared = ngx_livestream_transcode_kernel_init(&kernel, source, targets, n,
                                                  grid);
    if (shared == 0) {
        return ngx_livestream_transcode_gpu_fail(g, "the kernel",
                                   "sizes are too far from one another");
    }

    params[0] = &kernel;

    return ngx_livestream_transcode_gpu_check(g,
                   g->driver->launch(g->device->kernel, grid[0], grid[1], 1,
                                     NGX_LIVESTREAM_TRANSCODE_THREADS, 1, 1,
                                     shared, g->stream, params, NULL),
                   "cuLaunchKernel");
}


static int
ngx_livestream_transcode_gpu_download(ngx_livestream_transcode_gpu_t *g,
    uint32_t rungs, AVFrame **out)
{
    int                                   rc;
    unsigned                              i;
    ngx_livestream_transcode_gpu_rung_t  *rung;

    for (i = 0; i < g->n; i++) {

        if (!(rungs & (1u << i))) {
            continue;
        }

        rung = &g->rungs[i];

        rc = ngx_livestream_transcode_gpu_check(g,
                 g->driver->download(out[i]->data[0], rung->device,
                                     rung->planes.size
                                     - NGX_LIVESTREAM_TRANSCODE_PADDING,
                                     g->stream),
                 "cuMemcpyDtoHAsync");
        if (rc) {
            return rc;
        }
    }

    return 0;
}


/* nothing of it is cut off, and its pixels are square */
static void
ngx_livestream_transcode_gpu_whole(AVFrame *f)
{
    f->sample_aspect_ratio = (AVRational) { 1, 1 };

    f->crop_left = 0;
    f->crop_right = 0;
    f->crop_top = 0;
    f->crop_bottom = 0;
}


static AVBufferRef *
ngx_livestream_transcode_gpu_pool_alloc(void *data, size_t size)
{
    void                               *p;
    CUresult                            rc;
    CUcontext                           dummy;
    AVBufferRef                        *ref;
    ngx_livestream_transcode_device_t  *d = data;

    if (d->driver->push(d->context) != CUDA_SUCCESS) {
        return NULL;
    }

    rc = d->driver->alloc_host(&p, size);

    (void) d->driver->pop(&dummy);

    if (rc != CUDA_SUCCESS) {
        return NULL;
    }

    ref = av_buffer_create(p, size, ngx_livestream_transcode_gpu_buffer_free,
                           d, 0);
    if (ref == NULL) {
        ngx_livestream_transcode_gpu_buffer_free(d, p);
    }

    return ref;
}


/* any thread, after the last of its buffers */
static void
ngx_livestream_transcode_gpu_pool_free(void *data)
{
    ngx_livestream_transcode_device_unref(data);
}


/* any thread */
static void
ngx_livestream_transcode_gpu_buffer_free(void *data, uint8_t *p)
{
    CUcontext                           dummy;
    ngx_livestream_transcode_device_t  *d = data;

    if (d->driver->push(d->context) == CUDA_SUCCESS) {
        (void) d->driver->free_host(p);
        (void) d->driver->pop(&dummy);
    }
}

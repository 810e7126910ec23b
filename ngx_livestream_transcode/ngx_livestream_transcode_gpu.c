
/*
 * Copyright (C) nginx-livestream contributors
 *
 * A stream's part of a GPU: a CUDA stream, which its decoder, the kernel and
 * its encoders work on, and for each rung the pictures that an encoder of the
 * device takes.
 *
 *   AVHWDeviceContext --> device, shared     by reference: pictures outlive
 *     |                                      the stream in its encoders
 *   AVHWFramesContext of each rung
 *
 * The stream's video thread.
 */


#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ngx_livestream_transcode_gpu_impl.h"


#define NGX_LIVESTREAM_TRANSCODE_NO_MEMORY  2       /* CUDA_ERROR_... */
#define NGX_LIVESTREAM_TRANSCODE_ALIGN      64      /* of planes' lines */


static AVBufferRef *ngx_livestream_transcode_gpu_hw(
    ngx_livestream_transcode_gpu_t *g, const char **reason);
static void ngx_livestream_transcode_gpu_hw_free(AVHWDeviceContext *hw);
static AVBufferRef *ngx_livestream_transcode_gpu_frames_create(
    ngx_livestream_transcode_gpu_t *g,
    const ngx_livestream_transcode_output_t *output);
static void ngx_livestream_transcode_gpu_clear(
    ngx_livestream_transcode_gpu_t *g);
static void ngx_livestream_transcode_gpu_planes(
    const ngx_livestream_transcode_output_t *output,
    ngx_livestream_transcode_planes_t *planes);


ngx_livestream_transcode_gpu_t *
ngx_livestream_transcode_gpu_open(const char **reason)
{
    ngx_livestream_transcode_gpu_t  *g;

    *reason = "there is no memory for a GPU";

    g = calloc(1, sizeof(ngx_livestream_transcode_gpu_t));

    if (g == NULL) {
        return NULL;
    }

    g->device = ngx_livestream_transcode_device_open(reason);

    if (g->device == NULL) {
        free(g);
        return NULL;
    }

    g->driver = g->device->driver;
    g->hw = ngx_livestream_transcode_gpu_hw(g, reason);

    if (g->hw == NULL) {
        ngx_livestream_transcode_gpu_close(g);
        return NULL;
    }

    return g;
}


void
ngx_livestream_transcode_gpu_close(ngx_livestream_transcode_gpu_t *g)
{
    CUcontext                           dummy;
    ngx_livestream_transcode_device_t  *d;

    if (g == NULL) {
        return;
    }

    d = g->device;

    /* on a device that is lost all of this fails, and does no harm */

    (void) g->driver->push(d->context);

    ngx_livestream_transcode_gpu_clear(g);
    ngx_livestream_transcode_gpu_unstage(g);

    (void) g->driver->pop(&dummy);

    av_buffer_unref(&g->hw);
    free(g);

    ngx_livestream_transcode_device_close(d);
}


AVBufferRef *
ngx_livestream_transcode_gpu_device(ngx_livestream_transcode_gpu_t *g)
{
    return g->hw;
}


int
ngx_livestream_transcode_gpu_index(ngx_livestream_transcode_gpu_t *g)
{
    return g->device->index;
}


const char *
ngx_livestream_transcode_gpu_reason(ngx_livestream_transcode_gpu_t *g)
{
    return g->lost ? g->reason : NULL;
}


int
ngx_livestream_transcode_gpu_outputs(ngx_livestream_transcode_gpu_t *g,
    const ngx_livestream_transcode_output_t *outputs, unsigned n,
    const char **reason)
{
    unsigned                              i;
    CUcontext                             dummy;
    ngx_livestream_transcode_gpu_rung_t  *rung;

    *reason = "the GPU is lost";

    if (g->lost) {
        return ENODEV;
    }

    *reason = "too many rungs";

    if (n > NGX_LIVESTREAM_TRANSCODE_RUNGS) {
        return EINVAL;
    }

    *reason = "the GPU is lost";

    if (ngx_livestream_transcode_gpu_check(g,
                                           g->driver->push(g->device->context),
                                           "cuCtxPushCurrent"))
    {
        return ENODEV;
    }

    ngx_livestream_transcode_gpu_clear(g);

    (void) g->driver->pop(&dummy);

    for (i = 0; i < n; i++) {
        rung = &g->rungs[i];

        rung->output = outputs[i];
        ngx_livestream_transcode_gpu_planes(&outputs[i], &rung->planes);
        rung->frames = ngx_livestream_transcode_gpu_frames_create(g,
                                                                  &outputs[i]);

        if (rung->frames == NULL) {
            *reason = "the GPU takes no pictures of a rung's size";
            return ENODEV;
        }

        g->n = i + 1;
    }

    return 0;
}


AVBufferRef *
ngx_livestream_transcode_gpu_frames(ngx_livestream_transcode_gpu_t *g,
    unsigned i)
{
    return i < g->n ? g->rungs[i].frames : NULL;
}


ngx_livestream_transcode_encoder_t *
ngx_livestream_transcode_gpu_encoder(ngx_livestream_transcode_gpu_t *g,
    unsigned i, ngx_livestream_transcode_encoder_conf_t *conf,
    const AVFrame *pic, const char **reason)
{
    AVFrame                             *like;
    ngx_livestream_transcode_encoder_t  *e;

    e = NULL;
    *reason = "the device has no memory for a picture";

    conf->frames = ngx_livestream_transcode_gpu_frames(g, i);

    like = av_frame_alloc();

    if (like && av_frame_copy_props(like, pic) == 0
        && av_hwframe_get_buffer(conf->frames, like, 0) == 0)
    {
        e = ngx_livestream_transcode_encoder_open(conf, like, reason);
    }

    av_frame_free(&like);

    if (e == NULL) {
        conf->frames = NULL;
    }

    return e;
}


/* of its own for each stream, as a CUDA stream is a part of it; the context
 * is shared */
static AVBufferRef *
ngx_livestream_transcode_gpu_hw(ngx_livestream_transcode_gpu_t *g,
    const char **reason)
{
    CUresult              rc;
    CUcontext             dummy;
    AVBufferRef          *ref;
    AVHWDeviceContext    *hw;
    AVCUDADeviceContext  *cuda;

    *reason = "the GPU takes no more streams";

    ref = av_hwdevice_ctx_alloc(AV_HWDEVICE_TYPE_CUDA);

    if (ref == NULL) {
        return NULL;
    }

    rc = g->driver->push(g->device->context);

    if (rc == CUDA_SUCCESS) {
        rc = g->driver->stream_create(&g->stream, 0);
        (void) g->driver->pop(&dummy);
    }

    if (rc != CUDA_SUCCESS) {
        ngx_livestream_transcode_device_lost(g->device);
        av_buffer_unref(&ref);
        return NULL;
    }

    hw = (AVHWDeviceContext *) ref->data;
    cuda = hw->hwctx;

    cuda->cuda_ctx = g->device->context;
    cuda->stream = g->stream;
    hw->user_opaque = g->device;
    hw->free = ngx_livestream_transcode_gpu_hw_free;

    ngx_livestream_transcode_device_ref(g->device);

    if (av_hwdevice_ctx_init(ref) < 0) {
        av_buffer_unref(&ref);
    }

    return ref;
}


static void
ngx_livestream_transcode_gpu_hw_free(AVHWDeviceContext *hw)
{
    CUcontext                           dummy;
    AVCUDADeviceContext                *cuda;
    ngx_livestream_transcode_device_t  *d;

    d = hw->user_opaque;
    cuda = hw->hwctx;

    if (d->driver->push(d->context) == CUDA_SUCCESS) {
        (void) d->driver->stream_destroy(cuda->stream);
        (void) d->driver->pop(&dummy);
    }

    ngx_livestream_transcode_device_unref(d);
}


/* its pool grows to what the queues of the rung and its encoder hold */
static AVBufferRef *
ngx_livestream_transcode_gpu_frames_create(ngx_livestream_transcode_gpu_t *g,
    const ngx_livestream_transcode_output_t *output)
{
    AVBufferRef        *ref;
    AVHWFramesContext  *frames;

    ref = av_hwframe_ctx_alloc(g->hw);

    if (ref == NULL) {
        return NULL;
    }

    frames = (AVHWFramesContext *) ref->data;

    frames->format = AV_PIX_FMT_CUDA;
    frames->sw_format = AV_PIX_FMT_NV12;
    frames->width = output->width;
    frames->height = output->height;

    if (av_hwframe_ctx_init(ref) < 0) {
        av_buffer_unref(&ref);
    }

    return ref;
}


static void
ngx_livestream_transcode_gpu_clear(ngx_livestream_transcode_gpu_t *g)
{
    unsigned                              i;
    ngx_livestream_transcode_gpu_rung_t  *rung;

    for (i = 0; i < g->n; i++) {
        rung = &g->rungs[i];

        av_buffer_unref(&rung->frames);
        av_buffer_pool_uninit(&rung->pool);

        if (rung->device) {
            (void) g->driver->free(rung->device);
            rung->device = 0;
        }
    }

    g->n = 0;
}


static void
ngx_livestream_transcode_gpu_planes(
    const ngx_livestream_transcode_output_t *output,
    ngx_livestream_transcode_planes_t *planes)
{
    size_t  chroma;

    planes->pitch[1] = FFALIGN((output->width + 1) / 2,
                               NGX_LIVESTREAM_TRANSCODE_ALIGN);
    planes->pitch[0] = planes->pitch[1] * 2;

    chroma = (size_t) planes->pitch[1] * ((output->height + 1) / 2);

    planes->offset[0] = 0;
    planes->offset[1] = (size_t) planes->pitch[0] * output->height;
    planes->offset[2] = planes->offset[1] + chroma;
    planes->size = planes->offset[2] + chroma
                   + NGX_LIVESTREAM_TRANSCODE_PADDING;
}


/* A device that is merely full serves others yet. */
int
ngx_livestream_transcode_gpu_check(ngx_livestream_transcode_gpu_t *g,
    CUresult rc, const char *what)
{
    const char  *text;

    if (rc == CUDA_SUCCESS) {
        return 0;
    }

    if ((int) rc != NGX_LIVESTREAM_TRANSCODE_NO_MEMORY) {
        ngx_livestream_transcode_device_lost(g->device);
    }

    if (g->driver->error(rc, &text) != CUDA_SUCCESS || text == NULL) {
        text = "unknown error";
    }

    return ngx_livestream_transcode_gpu_fail(g, what, text);
}


int
ngx_livestream_transcode_gpu_fail(ngx_livestream_transcode_gpu_t *g,
    const char *what, const char *why)
{
    g->lost = 1;

    (void) snprintf(g->reason, sizeof(g->reason), "%s: %s", what, why);

    return ENODEV;
}

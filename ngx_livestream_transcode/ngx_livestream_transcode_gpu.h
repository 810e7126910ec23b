
/*
 * Copyright (C) nginx-livestream contributors
 *
 * The ladder on a GPU: one kernel launch reads a decoded NV12 picture where it
 * lies and writes it for every rung.
 *
 * The driver is loaded at run time by ffnvcodec's loader, so that this builds,
 * loads and does without on machines that have none.  A GPU may have a decoder
 * (NVDEC) and no encoder (NVENC): what is there is found out by opening it.
 *
 * A stream's video thread; open and close lock what is shared by the worker.
 * Functions that return int return 0 or an errno; ENODEV: the device is lost.
 */


#ifndef _NGX_LIVESTREAM_TRANSCODE_GPU_H_INCLUDED_
#define _NGX_LIVESTREAM_TRANSCODE_GPU_H_INCLUDED_


#include "ngx_livestream_transcode.h"


typedef struct ngx_livestream_transcode_gpu_s  ngx_livestream_transcode_gpu_t;


/* NULL, or why there is no driver: loads and unloads the library, does not
 * initialise it.  Any process, the master too. */
const char *ngx_livestream_transcode_gpu_lacks(void);

/* Opens the device that has the fewest streams of this worker, and of those
 * the one with most free memory.  NULL: *reason is a static text. */
ngx_livestream_transcode_gpu_t *ngx_livestream_transcode_gpu_open(
    const char **reason);
void ngx_livestream_transcode_gpu_close(ngx_livestream_transcode_gpu_t *g);

/* AVHWDeviceContext, borrowed, for the decoder */
AVBufferRef *ngx_livestream_transcode_gpu_device(
    ngx_livestream_transcode_gpu_t *g);
int ngx_livestream_transcode_gpu_index(ngx_livestream_transcode_gpu_t *g);

/* NULL, or after ENODEV why: g's own text */
const char *ngx_livestream_transcode_gpu_reason(
    ngx_livestream_transcode_gpu_t *g);

/* The rungs from here on; may be called again when the source has changed. */
int ngx_livestream_transcode_gpu_outputs(ngx_livestream_transcode_gpu_t *g,
    const ngx_livestream_transcode_output_t *outputs, unsigned n,
    const char **reason);

/* AVHWFramesContext of rung i, borrowed, for its encoder */
AVBufferRef *ngx_livestream_transcode_gpu_frames(
    ngx_livestream_transcode_gpu_t *g, unsigned i);

/* An encoder on the device for rung i, opened; conf is completed with what is
 * the device's.  pic is the source's first picture, for its colours.  NULL:
 * *reason is a static text. */
ngx_livestream_transcode_encoder_t *ngx_livestream_transcode_gpu_encoder(
    ngx_livestream_transcode_gpu_t *g, unsigned i,
    ngx_livestream_transcode_encoder_conf_t *conf, const AVFrame *pic,
    const char **reason);

/*
 * in is a picture on the device (AV_PIX_FMT_CUDA with NV12), or a plain one in
 * memory, which is uploaded.  As ngx_livestream_transcode_scale(); pictures of
 * the rungs in `download` come as AV_PIX_FMT_YUV420P in memory, others stay on
 * the device.
 */
int ngx_livestream_transcode_gpu_scale(ngx_livestream_transcode_gpu_t *g,
    const AVFrame *in, uint32_t wanted, uint32_t download, AVFrame **out);


#endif /* _NGX_LIVESTREAM_TRANSCODE_GPU_H_INCLUDED_ */

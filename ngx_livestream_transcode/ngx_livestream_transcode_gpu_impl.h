
/*
 * Copyright (C) nginx-livestream contributors
 *
 * What the files of a stream's GPU know of one another.
 */


#ifndef _NGX_LIVESTREAM_TRANSCODE_GPU_IMPL_H_INCLUDED_
#define _NGX_LIVESTREAM_TRANSCODE_GPU_IMPL_H_INCLUDED_


#include "ngx_livestream_transcode_device.h"

#include <libavutil/hwcontext.h>
#include <libavutil/hwcontext_cuda.h>

#include "ngx_livestream_transcode_gpu.h"


#define NGX_LIVESTREAM_TRANSCODE_PADDING    64      /* that readers of planes
                                                       may touch */


/* I420 in one piece */
typedef struct {
    uint32_t                 pitch[2];
    size_t                   offset[3];
    size_t                   size;
} ngx_livestream_transcode_planes_t;


typedef struct {
    ngx_livestream_transcode_output_t  output;
    AVBufferRef             *frames;
    AVBufferPool            *pool;              /* pinned memory */
    CUdeviceptr              device;            /* what goes into it */
    ngx_livestream_transcode_planes_t  planes;
} ngx_livestream_transcode_gpu_rung_t;


struct ngx_livestream_transcode_gpu_s {
    ngx_livestream_transcode_device_t        *device;
    const ngx_livestream_transcode_driver_t  *driver;
    AVBufferRef             *hw;
    CUstream                 stream;            /* hw's */

    unsigned                 n;
    ngx_livestream_transcode_gpu_rung_t  rungs[NGX_LIVESTREAM_TRANSCODE_RUNGS];

    uint8_t                 *staging;           /* pinned; as large as */
    CUdeviceptr              source;
    size_t                   size;

    unsigned                 lost;
    char                     reason[128];
};


/* keeps the reason; 0 or ENODEV */
int ngx_livestream_transcode_gpu_check(ngx_livestream_transcode_gpu_t *g,
    CUresult rc, const char *what);
int ngx_livestream_transcode_gpu_fail(ngx_livestream_transcode_gpu_t *g,
    const char *what, const char *why);

/* what pictures are uploaded through; the context is current */
void ngx_livestream_transcode_gpu_unstage(ngx_livestream_transcode_gpu_t *g);


#endif /* _NGX_LIVESTREAM_TRANSCODE_GPU_IMPL_H_INCLUDED_ */

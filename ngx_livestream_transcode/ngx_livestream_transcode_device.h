
/*
 * Copyright (C) nginx-livestream contributors
 *
 * The GPUs of a worker, of which its streams share contexts.  Any thread.
 */


#ifndef _NGX_LIVESTREAM_TRANSCODE_DEVICE_H_INCLUDED_
#define _NGX_LIVESTREAM_TRANSCODE_DEVICE_H_INCLUDED_


#include <ffnvcodec/dynlink_cuda.h>


/* what ffnvcodec's loader leaves out */
typedef CUresult CUDAAPI ngx_livestream_transcode_mem_alloc_host_t(void **p,
    size_t size);
typedef CUresult CUDAAPI ngx_livestream_transcode_mem_free_host_t(void *p);
typedef CUresult CUDAAPI ngx_livestream_transcode_mem_get_info_t(size_t *free,
    size_t *total);


/* the driver's functions */
typedef struct {
    struct CudaFunctions                       *cu;
    ngx_livestream_transcode_mem_alloc_host_t  *alloc_host;
    ngx_livestream_transcode_mem_free_host_t   *free_host;
    ngx_livestream_transcode_mem_get_info_t    *get_info;

    tcuCtxPushCurrent_v2     *push;
    tcuCtxPopCurrent_v2      *pop;
    tcuMemAlloc_v2           *alloc;
    tcuMemFree_v2            *free;
    tcuMemcpyHtoDAsync_v2    *upload;
    tcuMemcpyDtoHAsync_v2    *download;
    tcuLaunchKernel          *launch;
    tcuStreamCreate          *stream_create;
    tcuStreamDestroy_v2      *stream_destroy;
    tcuStreamSynchronize     *sync;
    tcuGetErrorString        *error;
} ngx_livestream_transcode_driver_t;


typedef struct ngx_livestream_transcode_device_s
    ngx_livestream_transcode_device_t;

struct ngx_livestream_transcode_device_s {
    ngx_livestream_transcode_device_t  *next;
    const ngx_livestream_transcode_driver_t  *driver;
    CUcontext                 context;
    CUmodule                  module;
    CUfunction                kernel;
    int                       index;
    unsigned                  refs;
    unsigned                  streams;
    unsigned                  lost;
};


/* The one for a new stream, counted and referenced.  NULL: *reason is a static
 * text. */
ngx_livestream_transcode_device_t *ngx_livestream_transcode_device_open(
    const char **reason);
/* the stream's end; its pictures may have references yet */
void ngx_livestream_transcode_device_close(
    ngx_livestream_transcode_device_t *d);

void ngx_livestream_transcode_device_ref(ngx_livestream_transcode_device_t *d);
void ngx_livestream_transcode_device_unref(
    ngx_livestream_transcode_device_t *d);

/* nobody else is to get this context: the next one makes another */
void ngx_livestream_transcode_device_lost(
    ngx_livestream_transcode_device_t *d);


#endif /* _NGX_LIVESTREAM_TRANSCODE_DEVICE_H_INCLUDED_ */

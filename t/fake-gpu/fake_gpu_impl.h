
/*
 * Copyright (C) nginx-livestream contributors
 *
 * The inside of the fake libcuda.so.1.
 */


#ifndef _FAKE_GPU_IMPL_H_INCLUDED_
#define _FAKE_GPU_IMPL_H_INCLUDED_


#include "fake_gpu.h"
#include "ngx_livestream_transcode_kernel.h"


#define FAKE_GPU_DEVICES  8


typedef struct fake_gpu_memory_s  fake_gpu_memory_t;
typedef struct fake_gpu_work_s  fake_gpu_work_t;

struct fake_gpu_memory_s {
    fake_gpu_memory_t                 *next;
    CUcontext                          context;
    uint8_t                           *p;
    size_t                             size;
    int                                pinned;
};

struct fake_gpu_work_s {
    fake_gpu_work_t                   *next;
    int                                launch;
    CUDA_MEMCPY2D                      copy;
    ngx_livestream_transcode_kernel_t  kernel;
    uint32_t                           grid[2];
    uint32_t                           shared;
};

struct CUctx_st {
    int                                device;
    CUstream                           streams;
    CUmodule                           modules;
    CUcontext                          next;
};

struct CUstream_st {
    CUstream                           next;
    CUcontext                          context;
    fake_gpu_work_t                   *first;
    fake_gpu_work_t                  **last;
};

struct CUmod_st {
    CUmodule                           next;
};


/* the thread's */
CUresult fake_gpu_push(CUcontext context);
CUresult fake_gpu_pop(CUcontext *context);
CUresult fake_gpu_context(CUcontext *context);

CUcontext fake_gpu_context_create(int device);
void fake_gpu_context_free(CUcontext context);

CUresult fake_gpu_alloc(void **p, size_t size, int pinned);
CUresult fake_gpu_free(void *p, int pinned);
size_t fake_gpu_memory_total(int device);
size_t fake_gpu_memory_used(int device);
CUdeviceptr fake_gpu_device(void *p);

CUresult fake_gpu_copy_check(const CUDA_MEMCPY2D *c);
void fake_gpu_copy(const CUDA_MEMCPY2D *c);

/* stream NULL: at once */
CUresult fake_gpu_put(CUstream stream, const fake_gpu_work_t *work);
/* all that was put, or forgets it */
void fake_gpu_run(CUstream stream, int forget);


#endif /* _FAKE_GPU_IMPL_H_INCLUDED_ */

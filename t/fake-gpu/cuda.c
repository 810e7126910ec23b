
/*
 * Copyright (C) nginx-livestream contributors
 *
 * libcuda.so.1 for tests: the driver's functions that ffnvcodec's loader asks
 * for, on memory of the host, and the kernel as the host's compiler has it.
 *
 * It is stricter than the driver: addresses of the device are none of the
 * host, allocations have exactly their size (a sanitizer sees what the kernel
 * does beyond it), and what needs a context fails without one.
 *
 * Any thread.
 */


#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fake_gpu_impl.h"


#define FAKE_GPU_ENTRY  ".visible .entry "

#define FAKE_GPU_CALL(name)                                                  \
    do {                                                                     \
        CUresult  fate = fake_gpu_call(name);                                \
                                                                             \
        if (fate != CUDA_SUCCESS) {                                          \
            return fate;                                                     \
        }                                                                    \
    } while (0)

/* the loader wants them, nobody calls them */
#define FAKE_GPU_UNUSED(name)                                                \
                                                                             \
CUresult                                                                     \
name(void)                                                                   \
{                                                                            \
    return FAKE_GPU_UNSUPPORTED;                                             \
}


static int  fake_gpu_ready;


CUresult
cuInit(unsigned flags)
{
    (void) flags;

    FAKE_GPU_CALL("cuInit");

    fake_gpu_ready = 1;

    return CUDA_SUCCESS;
}


CUresult
cuDeviceGetCount(int *count)
{
    char  text[16];

    FAKE_GPU_CALL("cuDeviceGetCount");

    *count = 1;

    if (fake_gpu_setting("devices", text, sizeof(text))) {
        *count = atoi(text);
    }

    return fake_gpu_ready ? CUDA_SUCCESS : FAKE_GPU_INVALID;
}


CUresult
cuDeviceGet(CUdevice *device, int ordinal)
{
    int       n;
    CUresult  rc;

    FAKE_GPU_CALL("cuDeviceGet");

    rc = cuDeviceGetCount(&n);

    if (rc != CUDA_SUCCESS) {
        return rc;
    }

    *device = ordinal;

    return ordinal >= 0 && ordinal < n && ordinal < FAKE_GPU_DEVICES
           ? CUDA_SUCCESS : FAKE_GPU_INVALID;
}


CUresult
cuDeviceGetAttribute(int *value, CUdevice_attribute attribute, CUdevice device)
{
    (void) device;

    FAKE_GPU_CALL("cuDeviceGetAttribute");

    switch (attribute) {

    case CU_DEVICE_ATTRIBUTE_TEXTURE_ALIGNMENT:
        *value = 512;
        return CUDA_SUCCESS;

    case CU_DEVICE_ATTRIBUTE_MEMORY_CLOCK_RATE:
        *value = 5000000;
        return CUDA_SUCCESS;

    case CU_DEVICE_ATTRIBUTE_GLOBAL_MEMORY_BUS_WIDTH:
        *value = 256;
        return CUDA_SUCCESS;

    case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR:
        *value = 7;
        return CUDA_SUCCESS;

    case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR:
        *value = 5;
        return CUDA_SUCCESS;

    default:
        *value = 1;
        return CUDA_SUCCESS;
    }
}


CUresult
cuDeviceGetName(char *name, int len, CUdevice device)
{
    FAKE_GPU_CALL("cuDeviceGetName");

    (void) snprintf(name, len, "fake GPU %d", device);

    return CUDA_SUCCESS;
}


CUresult
cuDeviceComputeCapability(int *major, int *minor, CUdevice device)
{
    (void) device;

    FAKE_GPU_CALL("cuDeviceComputeCapability");

    *major = 7;
    *minor = 5;

    return CUDA_SUCCESS;
}


CUresult
cuCtxCreate_v2(CUcontext *context, unsigned flags, CUdevice device)
{
    CUcontext  c;

    (void) flags;

    FAKE_GPU_CALL("cuCtxCreate");

    if (device < 0 || device >= FAKE_GPU_DEVICES) {
        return FAKE_GPU_INVALID;
    }

    c = fake_gpu_context_create(device);

    if (c == NULL) {
        return FAKE_GPU_NO_MEMORY;
    }

    *context = c;

    return fake_gpu_push(c);
}


CUresult
cuCtxDestroy_v2(CUcontext context)
{
    CUresult  rc;

    rc = fake_gpu_call("cuCtxDestroy");

    fake_gpu_context_free(context);

    return rc;
}


CUresult
cuCtxPushCurrent_v2(CUcontext context)
{
    FAKE_GPU_CALL("cuCtxPushCurrent");

    return fake_gpu_push(context);
}


/* does its work on a lost device as well: it is the thread's stack */
CUresult
cuCtxPopCurrent_v2(CUcontext *context)
{
    CUresult  rc;

    rc = fake_gpu_pop(context);

    return rc == CUDA_SUCCESS ? fake_gpu_call("cuCtxPopCurrent") : rc;
}


CUresult
cuCtxGetDevice(CUdevice *device)
{
    CUresult   rc;
    CUcontext  c;

    FAKE_GPU_CALL("cuCtxGetDevice");

    rc = fake_gpu_context(&c);

    if (rc == CUDA_SUCCESS) {
        *device = c->device;
    }

    return rc;
}


CUresult
cuMemGetInfo_v2(size_t *size, size_t *total)
{
    size_t     used;
    CUresult   rc;
    CUcontext  c;

    FAKE_GPU_CALL("cuMemGetInfo");

    rc = fake_gpu_context(&c);

    if (rc != CUDA_SUCCESS) {
        return rc;
    }

    *total = fake_gpu_memory_total(c->device);
    used = fake_gpu_memory_used(c->device);
    *size = *total > used ? *total - used : 0;

    return CUDA_SUCCESS;
}


CUresult
cuMemAlloc_v2(CUdeviceptr *p, size_t size)
{
    void      *m;
    CUresult   rc;

    FAKE_GPU_CALL("cuMemAlloc");

    rc = fake_gpu_alloc(&m, size, 0);

    if (rc == CUDA_SUCCESS) {
        *p = fake_gpu_device(m);
    }

    return rc;
}


CUresult
cuMemAllocPitch_v2(CUdeviceptr *p, size_t *pitch, size_t width, size_t height,
    unsigned element)
{
    (void) element;

    FAKE_GPU_CALL("cuMemAllocPitch");

    *pitch = (width + 511) / 512 * 512;

    return cuMemAlloc_v2(p, *pitch * height);
}


CUresult
cuMemFree_v2(CUdeviceptr p)
{
    FAKE_GPU_CALL("cuMemFree");

    return fake_gpu_free(fake_gpu_host(p), 0);
}


CUresult
cuMemAllocHost_v2(void **p, size_t size)
{
    FAKE_GPU_CALL("cuMemAllocHost");

    return fake_gpu_alloc(p, size, 1);
}


CUresult
cuMemFreeHost(void *p)
{
    FAKE_GPU_CALL("cuMemFreeHost");

    return fake_gpu_free(p, 1);
}


CUresult
cuMemcpy2DAsync_v2(const CUDA_MEMCPY2D *copy, CUstream stream)
{
    CUresult         rc;
    fake_gpu_work_t  work;

    FAKE_GPU_CALL("cuMemcpy2DAsync");

    rc = fake_gpu_copy_check(copy);

    if (rc != CUDA_SUCCESS) {
        return rc;
    }

    memset(&work, 0, sizeof(fake_gpu_work_t));
    work.copy = *copy;

    return fake_gpu_put(stream, &work);
}


CUresult
cuMemcpy2D_v2(const CUDA_MEMCPY2D *copy)
{
    CUresult  rc;

    FAKE_GPU_CALL("cuMemcpy2D");

    rc = fake_gpu_copy_check(copy);

    if (rc == CUDA_SUCCESS) {
        fake_gpu_copy(copy);
    }

    return rc;
}


CUresult
cuMemcpyHtoDAsync_v2(CUdeviceptr to, const void *from, size_t size,
    CUstream stream)
{
    CUDA_MEMCPY2D  copy;

    FAKE_GPU_CALL("cuMemcpyHtoDAsync");

    memset(&copy, 0, sizeof(CUDA_MEMCPY2D));

    copy.srcMemoryType = CU_MEMORYTYPE_HOST;
    copy.srcHost = from;
    copy.srcPitch = size;
    copy.dstMemoryType = CU_MEMORYTYPE_DEVICE;
    copy.dstDevice = to;
    copy.dstPitch = size;
    copy.WidthInBytes = size;
    copy.Height = 1;

    return cuMemcpy2DAsync_v2(&copy, stream);
}


CUresult
cuMemcpyDtoHAsync_v2(void *to, CUdeviceptr from, size_t size, CUstream stream)
{
    CUDA_MEMCPY2D  copy;

    FAKE_GPU_CALL("cuMemcpyDtoHAsync");

    memset(&copy, 0, sizeof(CUDA_MEMCPY2D));

    copy.srcMemoryType = CU_MEMORYTYPE_DEVICE;
    copy.srcDevice = from;
    copy.srcPitch = size;
    copy.dstMemoryType = CU_MEMORYTYPE_HOST;
    copy.dstHost = to;
    copy.dstPitch = size;
    copy.WidthInBytes = size;
    copy.Height = 1;

    return cuMemcpy2DAsync_v2(&copy, stream);
}


CUresult
cuMemcpyDtoDAsync_v2(CUdeviceptr to, CUdeviceptr from, size_t size,
    CUstream stream)
{
    CUDA_MEMCPY2D  copy;

    FAKE_GPU_CALL("cuMemcpyDtoDAsync");

    memset(&copy, 0, sizeof(CUDA_MEMCPY2D));

    copy.srcMemoryType = CU_MEMORYTYPE_DEVICE;
    copy.srcDevice = from;
    copy.srcPitch = size;
    copy.dstMemoryType = CU_MEMORYTYPE_DEVICE;
    copy.dstDevice = to;
    copy.dstPitch = size;
    copy.WidthInBytes = size;
    copy.Height = 1;

    return cuMemcpy2DAsync_v2(&copy, stream);
}


CUresult
cuStreamCreate(CUstream *stream, unsigned flags)
{
    CUresult   rc;
    CUstream   s;
    CUcontext  c;

    (void) flags;

    FAKE_GPU_CALL("cuStreamCreate");

    rc = fake_gpu_context(&c);

    if (rc != CUDA_SUCCESS) {
        return rc;
    }

    s = calloc(1, sizeof(struct CUstream_st));

    if (s == NULL) {
        return FAKE_GPU_NO_MEMORY;
    }

    s->context = c;
    s->last = &s->first;
    s->next = c->streams;
    c->streams = s;

    *stream = s;

    return CUDA_SUCCESS;
}


/* after a fault a device does nothing of what it was to do */
CUresult
cuStreamSynchronize(CUstream stream)
{
    CUresult  rc;

    rc = fake_gpu_call("cuStreamSynchronize");

    if (stream) {
        fake_gpu_run(stream, rc != CUDA_SUCCESS);
    }

    return rc;
}


CUresult
cuStreamDestroy_v2(CUstream stream)
{
    CUstream  *p;

    FAKE_GPU_CALL("cuStreamDestroy");

    fake_gpu_run(stream, 0);

    for (p = &stream->context->streams; *p != stream; p = &(*p)->next) {
        /* void */
    }

    *p = stream->next;
    free(stream);

    return CUDA_SUCCESS;
}


/* what a driver would compile has to name the kernel and to end */
CUresult
cuModuleLoadData(CUmodule *module, const void *image)
{
    CUmodule     m;
    CUcontext    c;
    const char  *text = image;

    FAKE_GPU_CALL("cuModuleLoadData");

    if (fake_gpu_context(&c) != CUDA_SUCCESS) {
        return FAKE_GPU_NO_CONTEXT;
    }

    if (strncmp(text, ".version ", sizeof(".version ") - 1)
        || strstr(text, FAKE_GPU_ENTRY NGX_LIVESTREAM_TRANSCODE_KERNEL)
           == NULL)
    {
        return FAKE_GPU_BAD_IMAGE;
    }

    m = calloc(1, sizeof(struct CUmod_st));

    if (m == NULL) {
        return FAKE_GPU_NO_MEMORY;
    }

    m->next = c->modules;
    c->modules = m;

    *module = m;

    return CUDA_SUCCESS;
}


CUresult
cuModuleGetFunction(CUfunction *function, CUmodule module, const char *name)
{
    FAKE_GPU_CALL("cuModuleGetFunction");

    *function = (CUfunction) module;

    return strcmp(name, NGX_LIVESTREAM_TRANSCODE_KERNEL) == 0
           ? CUDA_SUCCESS : FAKE_GPU_NOT_FOUND;
}


CUresult
cuLaunchKernel(CUfunction function, unsigned gx, unsigned gy, unsigned gz,
    unsigned bx, unsigned by, unsigned bz, unsigned shared, CUstream stream,
    void **params, void **extra)
{
    CUcontext        c;
    fake_gpu_work_t  work;

    FAKE_GPU_CALL("cuLaunchKernel");

    if (fake_gpu_context(&c) != CUDA_SUCCESS) {
        return FAKE_GPU_NO_CONTEXT;
    }

    if (function == NULL || extra || gx == 0 || gy == 0 || gz != 1
        || bx != NGX_LIVESTREAM_TRANSCODE_THREADS || by != 1 || bz != 1
        || shared > NGX_LIVESTREAM_TRANSCODE_SHARED)
    {
        return FAKE_GPU_INVALID;
    }

    memset(&work, 0, sizeof(fake_gpu_work_t));

    work.launch = 1;
    work.kernel = *(ngx_livestream_transcode_kernel_t *) params[0];
    work.grid[0] = gx;
    work.grid[1] = gy;
    work.shared = shared;

    return fake_gpu_put(stream, &work);
}


CUresult
cuGetErrorName(CUresult error, const char **text)
{
    *text = error == CUDA_SUCCESS ? "CUDA_SUCCESS" : "CUDA_ERROR_FAKE";

    return CUDA_SUCCESS;
}


CUresult
cuGetErrorString(CUresult error, const char **text)
{
    switch ((int) error) {

    case 2:
        *text = "out of memory";
        break;

    case 719:
        *text = "unspecified launch failure";
        break;

    default:
        *text = "fake failure";
    }

    return CUDA_SUCCESS;
}


FAKE_GPU_UNUSED(cuCtxSetLimit)
FAKE_GPU_UNUSED(cuMemAllocManaged)
FAKE_GPU_UNUSED(cuMemsetD8Async)
FAKE_GPU_UNUSED(cuMemcpy)
FAKE_GPU_UNUSED(cuMemcpyAsync)
FAKE_GPU_UNUSED(cuMemcpyHtoD_v2)
FAKE_GPU_UNUSED(cuMemcpyDtoH_v2)
FAKE_GPU_UNUSED(cuMemcpyDtoD_v2)
FAKE_GPU_UNUSED(cuDevicePrimaryCtxRetain)
FAKE_GPU_UNUSED(cuDevicePrimaryCtxRelease)
FAKE_GPU_UNUSED(cuDevicePrimaryCtxSetFlags)
FAKE_GPU_UNUSED(cuDevicePrimaryCtxGetState)
FAKE_GPU_UNUSED(cuDevicePrimaryCtxReset)
FAKE_GPU_UNUSED(cuStreamQuery)
FAKE_GPU_UNUSED(cuStreamAddCallback)
FAKE_GPU_UNUSED(cuEventCreate)
FAKE_GPU_UNUSED(cuEventDestroy_v2)
FAKE_GPU_UNUSED(cuEventSynchronize)
FAKE_GPU_UNUSED(cuEventQuery)
FAKE_GPU_UNUSED(cuEventRecord)
FAKE_GPU_UNUSED(cuLinkCreate)
FAKE_GPU_UNUSED(cuLinkAddData)
FAKE_GPU_UNUSED(cuLinkComplete)
FAKE_GPU_UNUSED(cuLinkDestroy)
FAKE_GPU_UNUSED(cuModuleUnload)
FAKE_GPU_UNUSED(cuModuleGetGlobal)
FAKE_GPU_UNUSED(cuTexObjectCreate)
FAKE_GPU_UNUSED(cuTexObjectDestroy)
FAKE_GPU_UNUSED(cuGLGetDevices_v2)
FAKE_GPU_UNUSED(cuGraphicsGLRegisterImage)
FAKE_GPU_UNUSED(cuGraphicsUnregisterResource)
FAKE_GPU_UNUSED(cuGraphicsMapResources)
FAKE_GPU_UNUSED(cuGraphicsUnmapResources)
FAKE_GPU_UNUSED(cuGraphicsSubResourceGetMappedArray)
FAKE_GPU_UNUSED(cuGraphicsResourceGetMappedPointer_v2)
FAKE_GPU_UNUSED(cuArray3DCreate_v2)
FAKE_GPU_UNUSED(cuArrayDestroy)

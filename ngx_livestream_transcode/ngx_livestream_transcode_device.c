
/*
 * Copyright (C) nginx-livestream contributors
 *
 * The GPUs of a worker.
 *
 *   driver (libcuda.so.1)
 *     |
 *   device 0 --> device 1 --> device 0, lost
 *     |             |             |
 *   context       context       context      one for all streams: each takes
 *   module        module        module       some hundred MiB of the device
 *     |             |             |
 *   streams       streams       streams      a CUDA stream each, so that none
 *                                            waits for another's pictures
 *
 * Contexts are our own, not the primary ones of their devices: whoever else is
 * in the process may have made those with other flags, and they cannot be made
 * anew after a fault while somebody holds them.  A context that has seen a
 * fault is lost: it stays with the streams that have it until they are gone,
 * and new ones get a new context.
 *
 * What nobody holds is let go, the driver too.  All of this is made in a
 * worker: a driver that was initialised before fork() is of no use after it.
 *
 * Any thread; one mutex holds it all.
 */


#include <dlfcn.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>

#define FFNV_LOG_FUNC(logctx, msg, ...)        (void) (logctx)
#define FFNV_DEBUG_LOG_FUNC(logctx, msg, ...)

#include <ffnvcodec/dynlink_loader.h>

#include "ngx_livestream_transcode_device.h"
#include "ngx_livestream_transcode_gpu.h"
#include "ngx_livestream_transcode_kernel.h"
#include "ngx_livestream_transcode_ptx.h"


#define NGX_LIVESTREAM_TRANSCODE_DRIVER     "libcuda.so.1"
#define NGX_LIVESTREAM_TRANSCODE_DEVICES    64
#define NGX_LIVESTREAM_TRANSCODE_NO_DEVICE  100     /* CUDA_ERROR_... */


static int ngx_livestream_transcode_driver_load(const char **reason);
static void ngx_livestream_transcode_driver_free(void);
static int ngx_livestream_transcode_driver_count(const char **reason);
static ngx_livestream_transcode_device_t *ngx_livestream_transcode_device_pick(
    int count, const char **reason);
static ngx_livestream_transcode_device_t *ngx_livestream_transcode_device_find(
    int index);
static ngx_livestream_transcode_device_t *ngx_livestream_transcode_device_get(
    int index, const char **reason);
static const char *ngx_livestream_transcode_device_init(
    ngx_livestream_transcode_device_t *d);
static size_t ngx_livestream_transcode_device_memory(
    ngx_livestream_transcode_device_t *d);
static void ngx_livestream_transcode_device_put(
    ngx_livestream_transcode_device_t *d);


static pthread_mutex_t  ngx_livestream_transcode_device_lock =
    PTHREAD_MUTEX_INITIALIZER;

static unsigned  ngx_livestream_transcode_driver_refs;
static ngx_livestream_transcode_driver_t  ngx_livestream_transcode_driver;
static ngx_livestream_transcode_device_t *ngx_livestream_transcode_devices;


const char *
ngx_livestream_transcode_gpu_lacks(void)
{
    const char  *reason;

    (void) pthread_mutex_lock(&ngx_livestream_transcode_device_lock);

    if (ngx_livestream_transcode_driver_load(&reason) == 0) {
        ngx_livestream_transcode_driver_free();
        reason = NULL;
    }

    (void) pthread_mutex_unlock(&ngx_livestream_transcode_device_lock);

    return reason;
}


ngx_livestream_transcode_device_t *
ngx_livestream_transcode_device_open(const char **reason)
{
    int                                 count;
    ngx_livestream_transcode_device_t  *d;

    (void) pthread_mutex_lock(&ngx_livestream_transcode_device_lock);

    d = NULL;

    if (ngx_livestream_transcode_driver_load(reason) == 0) {
        count = ngx_livestream_transcode_driver_count(reason);

        if (count) {
            d = ngx_livestream_transcode_device_pick(count, reason);
        }

        if (d) {
            d->streams++;
        }

        ngx_livestream_transcode_driver_free();
    }

    (void) pthread_mutex_unlock(&ngx_livestream_transcode_device_lock);

    return d;
}


void
ngx_livestream_transcode_device_close(ngx_livestream_transcode_device_t *d)
{
    (void) pthread_mutex_lock(&ngx_livestream_transcode_device_lock);

    d->streams--;
    ngx_livestream_transcode_device_put(d);

    (void) pthread_mutex_unlock(&ngx_livestream_transcode_device_lock);
}


void
ngx_livestream_transcode_device_ref(ngx_livestream_transcode_device_t *d)
{
    (void) pthread_mutex_lock(&ngx_livestream_transcode_device_lock);

    d->refs++;

    (void) pthread_mutex_unlock(&ngx_livestream_transcode_device_lock);
}


void
ngx_livestream_transcode_device_unref(ngx_livestream_transcode_device_t *d)
{
    (void) pthread_mutex_lock(&ngx_livestream_transcode_device_lock);

    ngx_livestream_transcode_device_put(d);

    (void) pthread_mutex_unlock(&ngx_livestream_transcode_device_lock);
}


void
ngx_livestream_transcode_device_lost(ngx_livestream_transcode_device_t *d)
{
    (void) pthread_mutex_lock(&ngx_livestream_transcode_device_lock);

    d->lost = 1;

    (void) pthread_mutex_unlock(&ngx_livestream_transcode_device_lock);
}


static int
ngx_livestream_transcode_driver_load(const char **reason)
{
    void                               *lib;
    CudaFunctions                      *cu;
    ngx_livestream_transcode_driver_t  *dr;

    dr = &ngx_livestream_transcode_driver;

    if (ngx_livestream_transcode_driver_refs) {
        ngx_livestream_transcode_driver_refs++;
        return 0;
    }

    if (sizeof(ngx_livestream_transcode_ptx) == 1) {
        *reason = "it was built without a compiler for GPUs";
        return -1;
    }

    /* the loader does not say which of the two it was */

    lib = dlopen(NGX_LIVESTREAM_TRANSCODE_DRIVER, RTLD_LAZY);

    if (lib == NULL) {
        *reason = "there is no driver, " NGX_LIVESTREAM_TRANSCODE_DRIVER;
        return -1;
    }

    *reason = "the driver, " NGX_LIVESTREAM_TRANSCODE_DRIVER ", is too old";

    cu = NULL;
    (void) cuda_load_functions(&cu, NULL);
    (void) dlclose(lib);

    if (cu == NULL) {
        return -1;
    }

    dr->cu = cu;
    dr->alloc_host = (ngx_livestream_transcode_mem_alloc_host_t *)
                         dlsym(cu->lib, "cuMemAllocHost_v2");
    dr->free_host = (ngx_livestream_transcode_mem_free_host_t *)
                        dlsym(cu->lib, "cuMemFreeHost");
    dr->get_info = (ngx_livestream_transcode_mem_get_info_t *)
                       dlsym(cu->lib, "cuMemGetInfo_v2");

    if (dr->alloc_host == NULL || dr->free_host == NULL
        || dr->get_info == NULL)
    {
        cuda_free_functions(&dr->cu);
        return -1;
    }

    dr->push = cu->cuCtxPushCurrent;
    dr->pop = cu->cuCtxPopCurrent;
    dr->alloc = cu->cuMemAlloc;
    dr->free = cu->cuMemFree;
    dr->upload = cu->cuMemcpyHtoDAsync;
    dr->download = cu->cuMemcpyDtoHAsync;
    dr->launch = cu->cuLaunchKernel;
    dr->stream_create = cu->cuStreamCreate;
    dr->stream_destroy = cu->cuStreamDestroy;
    dr->sync = cu->cuStreamSynchronize;
    dr->error = cu->cuGetErrorString;

    ngx_livestream_transcode_driver_refs = 1;

    return 0;
}


static void
ngx_livestream_transcode_driver_free(void)
{
    if (--ngx_livestream_transcode_driver_refs == 0) {
        cuda_free_functions(&ngx_livestream_transcode_driver.cu);
    }
}


static int
ngx_livestream_transcode_driver_count(const char **reason)
{
    int             n;
    CUresult        rc;
    CudaFunctions  *cu;

    cu = ngx_livestream_transcode_driver.cu;
    *reason = "there is no GPU";

    rc = cu->cuInit(0);

    if (rc != CUDA_SUCCESS) {

        if ((int) rc != NGX_LIVESTREAM_TRANSCODE_NO_DEVICE) {
            *reason = "the driver cannot be initialised";
        }

        return 0;
    }

    if (cu->cuDeviceGetCount(&n) != CUDA_SUCCESS || n < 0) {
        return 0;
    }

    return n < NGX_LIVESTREAM_TRANSCODE_DEVICES
           ? n : NGX_LIVESTREAM_TRANSCODE_DEVICES;
}


/*
 * Only a context can tell how much memory a device has left, so one is made on
 * each of those that the choice is between, when there are several; those that
 * lose it are let go.
 */

static ngx_livestream_transcode_device_t *
ngx_livestream_transcode_device_pick(int count, const char **reason)
{
    int                                 i, tied;
    size_t                              size, most;
    unsigned                            least;
    unsigned                            n[NGX_LIVESTREAM_TRANSCODE_DEVICES];
    ngx_livestream_transcode_device_t  *d, *best;

    for (i = 0; i < count; i++) {
        d = ngx_livestream_transcode_device_find(i);
        n[i] = d ? d->streams : 0;
    }

    for ( ;; ) {
        least = UINT32_MAX;
        tied = 0;
        best = NULL;
        most = 0;

        for (i = 0; i < count; i++) {

            if (n[i] < least) {
                least = n[i];
                tied = 0;
            }

            tied += n[i] == least;
        }

        if (least == UINT32_MAX) {
            return NULL;
        }

        for (i = 0; i < count; i++) {

            if (n[i] != least) {
                continue;
            }

            d = ngx_livestream_transcode_device_get(i, reason);

            if (d == NULL) {
                n[i] = UINT32_MAX;
                continue;
            }

            size = tied > 1 ? ngx_livestream_transcode_device_memory(d) : 0;

            if (best && size <= most) {
                ngx_livestream_transcode_device_put(d);
                continue;
            }

            if (best) {
                ngx_livestream_transcode_device_put(best);
            }

            best = d;
            most = size;
        }

        if (best) {
            return best;
        }
    }
}


static ngx_livestream_transcode_device_t *
ngx_livestream_transcode_device_find(int index)
{
    ngx_livestream_transcode_device_t  *d;

    for (d = ngx_livestream_transcode_devices; d; d = d->next) {

        if (d->index == index && !d->lost) {
            return d;
        }
    }

    return NULL;
}


static ngx_livestream_transcode_device_t *
ngx_livestream_transcode_device_get(int index, const char **reason)
{
    const char                         *failure;
    ngx_livestream_transcode_device_t  *d;

    d = ngx_livestream_transcode_device_find(index);

    if (d) {
        d->refs++;
        return d;
    }

    d = calloc(1, sizeof(ngx_livestream_transcode_device_t));

    if (d == NULL) {
        *reason = "there is no memory for a GPU";
        return NULL;
    }

    d->index = index;
    d->refs = 1;
    d->driver = &ngx_livestream_transcode_driver;
    d->next = ngx_livestream_transcode_devices;

    ngx_livestream_transcode_devices = d;
    ngx_livestream_transcode_driver_refs++;

    failure = ngx_livestream_transcode_device_init(d);

    if (failure) {
        *reason = failure;
        ngx_livestream_transcode_device_put(d);
        return NULL;
    }

    return d;
}


static const char *
ngx_livestream_transcode_device_init(ngx_livestream_transcode_device_t *d)
{
    CUdevice        id;
    CUcontext       dummy;
    const char     *failure;
    CudaFunctions  *cu;

    cu = d->driver->cu;

    if (cu->cuDeviceGet(&id, d->index) != CUDA_SUCCESS) {
        return "the driver refuses the GPU";
    }

    /* waits sleep; by default they spin */

    if (cu->cuCtxCreate(&d->context, CU_CTX_SCHED_BLOCKING_SYNC, id)
        != CUDA_SUCCESS)
    {
        d->context = NULL;
        return "the GPU gives no context";
    }

    failure = NULL;

    if (cu->cuModuleLoadData(&d->module, ngx_livestream_transcode_ptx)
        != CUDA_SUCCESS)
    {
        failure = "the GPU's driver does not compile the kernel";

    } else if (cu->cuModuleGetFunction(&d->kernel, d->module,
                                       NGX_LIVESTREAM_TRANSCODE_KERNEL)
               != CUDA_SUCCESS)
    {
        failure = "the GPU's driver does not find the kernel";
    }

    (void) cu->cuCtxPopCurrent(&dummy);

    return failure;
}


static size_t
ngx_livestream_transcode_device_memory(ngx_livestream_transcode_device_t *d)
{
    size_t     size, total;
    CUcontext  dummy;

    if (d->driver->push(d->context) != CUDA_SUCCESS) {
        return 0;
    }

    if (d->driver->get_info(&size, &total) != CUDA_SUCCESS) {
        size = 0;
    }

    (void) d->driver->pop(&dummy);

    return size;
}


/* its module goes with the context */
static void
ngx_livestream_transcode_device_put(ngx_livestream_transcode_device_t *d)
{
    ngx_livestream_transcode_device_t  **p;

    if (--d->refs) {
        return;
    }

    for (p = &ngx_livestream_transcode_devices; *p != d; p = &(*p)->next) {
        /* void */
    }

    *p = d->next;

    if (d->context) {
        (void) d->driver->cu->cuCtxDestroy(d->context);
    }

    free(d);

    ngx_livestream_transcode_driver_free();
}

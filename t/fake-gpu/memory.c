
/*
 * Copyright (C) nginx-livestream contributors
 *
 * Contexts, memory and streams of the fake driver.
 *
 *   thread: a stack of contexts
 *   context --> allocation --> allocation ...
 *     |
 *   stream --> copy --> launch --> copy ...     done at cuStreamSynchronize(),
 *                                               so that who does not wait sees
 *                                               what a device would show him
 *
 * Any thread, each on its own streams; one mutex holds the lists.
 */


#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "fake_gpu_impl.h"
#include "kernel_run.h"


#define FAKE_GPU_DEPTH  16
#define FAKE_GPU_MIB    1048576
#define FAKE_GPU_BIT    0x4000000000000000ULL


static fake_gpu_memory_t *fake_gpu_find(const void *p, size_t size,
    int pinned);
static void *fake_gpu_address(const CUDA_MEMCPY2D *c, int to);
static void fake_gpu_launch(fake_gpu_work_t *work);


static pthread_mutex_t     fake_gpu_lock = PTHREAD_MUTEX_INITIALIZER;
static fake_gpu_memory_t  *fake_gpu_memory;
static CUcontext           fake_gpu_all;
static unsigned            fake_gpu_left;

static __thread CUcontext  fake_gpu_stack[FAKE_GPU_DEPTH];
static __thread unsigned   fake_gpu_depth;


CUresult
fake_gpu_push(CUcontext context)
{
    if (context == NULL || fake_gpu_depth == FAKE_GPU_DEPTH) {
        return FAKE_GPU_INVALID;
    }

    fake_gpu_stack[fake_gpu_depth++] = context;

    return CUDA_SUCCESS;
}


CUresult
fake_gpu_pop(CUcontext *context)
{
    if (fake_gpu_depth == 0) {
        return FAKE_GPU_NO_CONTEXT;
    }

    *context = fake_gpu_stack[--fake_gpu_depth];

    return CUDA_SUCCESS;
}


CUresult
fake_gpu_context(CUcontext *context)
{
    if (fake_gpu_depth == 0) {
        return FAKE_GPU_NO_CONTEXT;
    }

    *context = fake_gpu_stack[fake_gpu_depth - 1];

    return CUDA_SUCCESS;
}


CUcontext
fake_gpu_context_create(int device)
{
    CUcontext  c;

    c = calloc(1, sizeof(struct CUctx_st));

    if (c == NULL) {
        return NULL;
    }

    c->device = device;

    (void) pthread_mutex_lock(&fake_gpu_lock);

    c->next = fake_gpu_all;
    fake_gpu_all = c;

    (void) pthread_mutex_unlock(&fake_gpu_lock);

    return c;
}


/* with all that is left in it, which is counted */
void
fake_gpu_context_free(CUcontext context)
{
    CUcontext          *c;
    CUmodule            module;
    CUstream            stream;
    fake_gpu_memory_t  *m, **p;

    (void) pthread_mutex_lock(&fake_gpu_lock);

    for (c = &fake_gpu_all; *c != context; c = &(*c)->next) {
        /* void */
    }

    *c = context->next;

    for (p = &fake_gpu_memory; *p; /* void */) {
        m = *p;

        if (m->context != context) {
            p = &m->next;
            continue;
        }

        *p = m->next;
        free(m->p);
        free(m);
        fake_gpu_left++;
    }

    while (context->streams) {
        stream = context->streams;
        context->streams = stream->next;

        fake_gpu_run(stream, 1);
        free(stream);
        fake_gpu_left++;
    }

    while (context->modules) {
        module = context->modules;
        context->modules = module->next;
        free(module);
    }

    (void) pthread_mutex_unlock(&fake_gpu_lock);

    free(context);
}


CUresult
fake_gpu_alloc(void **p, size_t size, int pinned)
{
    CUresult            rc;
    CUcontext           c;
    fake_gpu_memory_t  *m;

    rc = fake_gpu_context(&c);

    if (rc != CUDA_SUCCESS) {
        return rc;
    }

    if (!pinned
        && fake_gpu_memory_used(c->device) + size
           > fake_gpu_memory_total(c->device))
    {
        return FAKE_GPU_NO_MEMORY;
    }

    m = malloc(sizeof(fake_gpu_memory_t));

    if (m == NULL) {
        return FAKE_GPU_NO_MEMORY;
    }

    m->p = malloc(size);

    if (m->p == NULL) {
        free(m);
        return FAKE_GPU_NO_MEMORY;
    }

    m->context = c;
    m->size = size;
    m->pinned = pinned;

    (void) pthread_mutex_lock(&fake_gpu_lock);

    m->next = fake_gpu_memory;
    fake_gpu_memory = m;

    (void) pthread_mutex_unlock(&fake_gpu_lock);

    *p = m->p;

    return CUDA_SUCCESS;
}


/* in the context that it was allocated in, as in the driver's */
CUresult
fake_gpu_free(void *address, int pinned)
{
    CUresult             rc;
    CUcontext            c;
    fake_gpu_memory_t   *m, **p;

    rc = fake_gpu_context(&c);

    if (rc != CUDA_SUCCESS) {
        return rc;
    }

    rc = FAKE_GPU_INVALID;

    (void) pthread_mutex_lock(&fake_gpu_lock);

    for (p = &fake_gpu_memory; *p; p = &(*p)->next) {
        m = *p;

        if (m->p == address && m->pinned == pinned && m->context == c) {
            *p = m->next;
            free(m->p);
            free(m);
            rc = CUDA_SUCCESS;
            break;
        }
    }

    (void) pthread_mutex_unlock(&fake_gpu_lock);

    return rc;
}


static fake_gpu_memory_t *
fake_gpu_find(const void *address, size_t size, int pinned)
{
    fake_gpu_memory_t  *m;
    const uint8_t      *p = address;

    for (m = fake_gpu_memory; m; m = m->next) {

        if (m->pinned == pinned && p >= m->p && p + size <= m->p + m->size) {
            return m;
        }
    }

    return NULL;
}


size_t
fake_gpu_memory_total(int device)
{
    int     n;
    char    text[64], *p;
    size_t  size;

    size = 4096;

    if (fake_gpu_setting("memory", text, sizeof(text))) {
        p = text;

        for (n = 0; p && *p; n++) {
            size = strtoul(p, &p, 10);
            p += *p == '/';

            if (n == device) {
                break;
            }
        }
    }

    return size * FAKE_GPU_MIB;
}


size_t
fake_gpu_memory_used(int device)
{
    size_t              used;
    fake_gpu_memory_t  *m;

    used = 0;

    (void) pthread_mutex_lock(&fake_gpu_lock);

    for (m = fake_gpu_memory; m; m = m->next) {
        used += m->context->device == device && !m->pinned ? m->size : 0;
    }

    (void) pthread_mutex_unlock(&fake_gpu_lock);

    return used;
}


static void *
fake_gpu_address(const CUDA_MEMCPY2D *c, int to)
{
    uint8_t  *p;

    if (to) {
        p = c->dstMemoryType == CU_MEMORYTYPE_DEVICE
            ? fake_gpu_host(c->dstDevice) : c->dstHost;

        return p ? p + c->dstY * c->dstPitch + c->dstXInBytes : NULL;
    }

    p = c->srcMemoryType == CU_MEMORYTYPE_DEVICE
        ? fake_gpu_host(c->srcDevice) : (void *) (uintptr_t) c->srcHost;

    return p ? p + c->srcY * c->srcPitch + c->srcXInBytes : NULL;
}


CUresult
fake_gpu_copy_check(const CUDA_MEMCPY2D *c)
{
    size_t     size;
    CUresult   rc;
    CUcontext  context;

    rc = fake_gpu_context(&context);

    if (rc != CUDA_SUCCESS || c->Height == 0) {
        return rc;
    }

    if (c->srcMemoryType == CU_MEMORYTYPE_DEVICE) {
        size = (c->Height - 1) * c->srcPitch + c->WidthInBytes;
        rc = fake_gpu_check(fake_gpu_device(fake_gpu_address(c, 0)), size);
    }

    if (rc == CUDA_SUCCESS && c->dstMemoryType == CU_MEMORYTYPE_DEVICE) {
        size = (c->Height - 1) * c->dstPitch + c->WidthInBytes;
        rc = fake_gpu_check(fake_gpu_device(fake_gpu_address(c, 1)), size);
    }

    return rc;
}


void
fake_gpu_copy(const CUDA_MEMCPY2D *c)
{
    size_t          i;
    uint8_t        *to;
    const uint8_t  *from;

    from = fake_gpu_address(c, 0);
    to = fake_gpu_address(c, 1);

    for (i = 0; i < c->Height; i++) {
        memcpy(to + i * c->dstPitch, from + i * c->srcPitch, c->WidthInBytes);
    }
}


CUresult
fake_gpu_put(CUstream stream, const fake_gpu_work_t *work)
{
    struct CUstream_st  now;
    fake_gpu_work_t    *w;

    w = malloc(sizeof(fake_gpu_work_t));

    if (w == NULL) {
        return FAKE_GPU_NO_MEMORY;
    }

    *w = *work;
    w->next = NULL;

    if (stream == NULL) {
        now.first = w;
        fake_gpu_run(&now, 0);
        return CUDA_SUCCESS;
    }

    *stream->last = w;
    stream->last = &w->next;

    return CUDA_SUCCESS;
}


void
fake_gpu_run(CUstream stream, int forget)
{
    fake_gpu_work_t  *work;

    while (stream->first) {
        work = stream->first;
        stream->first = work->next;

        if (work->launch && !forget) {
            fake_gpu_launch(work);

        } else if (!forget) {
            fake_gpu_copy(&work->copy);
        }

        free(work);
    }

    stream->last = &stream->first;
}


static void
fake_gpu_launch(fake_gpu_work_t *work)
{
    char                                text[8];
    unsigned                            i, c;
    ngx_livestream_transcode_kernel_t  *k;

    if (fake_gpu_setting("kernel", text, sizeof(text))) {
        return;
    }

    k = &work->kernel;

    for (c = 0; c < 2; c++) {
        k->origins[c].data &= ~FAKE_GPU_BIT;

        for (i = 0; i < k->ntargets; i++) {
            k->targets[i][c].data &= ~FAKE_GPU_BIT;
            k->targets[i][c].v &= ~FAKE_GPU_BIT;
        }
    }

    if (kernel_run(k, work->grid, work->shared) == 0) {
        abort();
    }
}


CUdeviceptr
fake_gpu_device(void *p)
{
    return (uintptr_t) p | FAKE_GPU_BIT;
}


void *
fake_gpu_host(CUdeviceptr p)
{
    return (void *) (uintptr_t) (p & FAKE_GPU_BIT ? p & ~FAKE_GPU_BIT : 0);
}


CUresult
fake_gpu_check(CUdeviceptr p, size_t size)
{
    fake_gpu_memory_t  *m;

    (void) pthread_mutex_lock(&fake_gpu_lock);

    m = fake_gpu_find(fake_gpu_host(p), size, 0);

    (void) pthread_mutex_unlock(&fake_gpu_lock);

    return m ? CUDA_SUCCESS : FAKE_GPU_INVALID;
}


unsigned
fake_gpu_leaks(void)
{
    unsigned            n;
    fake_gpu_memory_t  *m;

    (void) pthread_mutex_lock(&fake_gpu_lock);

    n = fake_gpu_left;

    for (m = fake_gpu_memory; m; m = m->next) {
        n++;
    }

    (void) pthread_mutex_unlock(&fake_gpu_lock);

    return n;
}


unsigned
fake_gpu_contexts(int device)
{
    unsigned   n;
    CUcontext  c;

    (void) pthread_mutex_lock(&fake_gpu_lock);

    n = 0;

    for (c = fake_gpu_all; c; c = c->next) {
        n += c->device == device;
    }

    (void) pthread_mutex_unlock(&fake_gpu_lock);

    return n;
}

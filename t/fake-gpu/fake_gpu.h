
/*
 * Copyright (C) nginx-livestream contributors
 *
 * What the fake driver's libraries know of one another, and what tests may ask
 * of them.  FAKE_GPU says how they behave, in words parted by commas; it is
 * read anew at each call.
 *
 *   devices:N              how many there are; 1
 *   memory:N/N/...         MiB of each; 4096
 *   fail:NAME[:N[:ERROR]]  the N-th call of NAME and all later ones fail, by
 *                          default with CUDA_ERROR_UNKNOWN
 *   lost:NAME[:N]          with the N-th call of NAME the device is lost: all
 *                          calls fail from then on
 *   nvdec:none             it decodes nothing
 *   kernel:none            it writes nothing, and so takes no time
 */


#ifndef _FAKE_GPU_H_INCLUDED_
#define _FAKE_GPU_H_INCLUDED_


#include <stddef.h>
#include <stdint.h>

#include <ffnvcodec/dynlink_cuda.h>


#define FAKE_GPU_INVALID      ((CUresult) 1)    /* CUDA_ERROR_... */
#define FAKE_GPU_NO_MEMORY    ((CUresult) 2)
#define FAKE_GPU_NO_DEVICE    ((CUresult) 100)
#define FAKE_GPU_BAD_IMAGE    ((CUresult) 200)
#define FAKE_GPU_NO_CONTEXT   ((CUresult) 201)
#define FAKE_GPU_NOT_FOUND    ((CUresult) 500)
#define FAKE_GPU_LOST         ((CUresult) 719)
#define FAKE_GPU_UNSUPPORTED  ((CUresult) 801)


/* counts the call; what it is to return, or CUDA_SUCCESS */
CUresult fake_gpu_call(const char *name);

/* the value of a word, or NULL */
const char *fake_gpu_setting(const char *name, char *text, size_t size);

/* An address on the device is not one of the host: who mixes them up fails. */
void *fake_gpu_host(CUdeviceptr p);
/* CUDA_ERROR_INVALID_VALUE unless size bytes from p on were allocated */
CUresult fake_gpu_check(CUdeviceptr p, size_t size);

/* for tests */
unsigned fake_gpu_calls(const char *name);
void fake_gpu_reset(void);
/* what was allocated and never freed, and contexts that are there */
unsigned fake_gpu_leaks(void);
unsigned fake_gpu_contexts(int device);


#endif /* _FAKE_GPU_H_INCLUDED_ */

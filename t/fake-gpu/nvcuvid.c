
/*
 * Copyright (C) nginx-livestream contributors
 *
 * libnvcuvid.so.1 for tests: an NVDEC that takes H.264 and shows, instead of
 * what was coded, a gradient whose brightness goes up with each picture.
 *
 *   surface   a number, which is the picture's
 *   mapped    a picture of NV12; no more at a time than was asked for
 *
 * The thread that decodes.
 */


#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <ffnvcodec/dynlink_cuda.h>
#include <ffnvcodec/dynlink_cuviddec.h>
#include <ffnvcodec/dynlink_nvcuvid.h>

#include "fake_gpu.h"


#define FAKE_GPU_SURFACES  64

#define FAKE_GPU_CALL(name)                                                  \
    do {                                                                     \
        CUresult  fate = fake_gpu_call(name);                                \
                                                                             \
        if (fate != CUDA_SUCCESS) {                                          \
            return fate;                                                     \
        }                                                                    \
    } while (0)

#define FAKE_GPU_UNUSED(name)                                                \
                                                                             \
CUresult                                                                     \
name(void)                                                                   \
{                                                                            \
    return FAKE_GPU_UNSUPPORTED;                                             \
}


typedef struct {
    unsigned     width;
    unsigned     height;
    unsigned     surfaces;
    unsigned     outputs;
    unsigned     mapped;
    unsigned     pictures;
    unsigned     numbers[FAKE_GPU_SURFACES];
} fake_gpu_decoder_t;


CUresult cuMemAllocPitch_v2(CUdeviceptr *p, size_t *pitch, size_t width,
    size_t height, unsigned element);
CUresult cuMemFree_v2(CUdeviceptr p);


static int
fake_gpu_decodes(cudaVideoCodec codec)
{
    char  text[16];

    return codec == cudaVideoCodec_H264
           && (fake_gpu_setting("nvdec", text, sizeof(text)) == NULL
               || strcmp(text, "none"));
}


CUresult
cuvidGetDecoderCaps(CUVIDDECODECAPS *caps)
{
    FAKE_GPU_CALL("cuvidGetDecoderCaps");

    caps->bIsSupported = fake_gpu_decodes(caps->eCodecType)
                         && caps->eChromaFormat == cudaVideoChromaFormat_420
                         && caps->nBitDepthMinus8 == 0;
    caps->nMaxWidth = 4096;
    caps->nMaxHeight = 4096;
    caps->nMaxMBCount = 65536;
    caps->nMinWidth = 48;
    caps->nMinHeight = 16;

    return CUDA_SUCCESS;
}


CUresult
cuvidCreateDecoder(CUvideodecoder *decoder, CUVIDDECODECREATEINFO *info)
{
    fake_gpu_decoder_t  *d;

    FAKE_GPU_CALL("cuvidCreateDecoder");

    if (!fake_gpu_decodes(info->CodecType)
        || info->OutputFormat != cudaVideoSurfaceFormat_NV12
        || info->ulNumDecodeSurfaces > FAKE_GPU_SURFACES)
    {
        return FAKE_GPU_UNSUPPORTED;
    }

    d = calloc(1, sizeof(fake_gpu_decoder_t));

    if (d == NULL) {
        return FAKE_GPU_NO_MEMORY;
    }

    d->width = info->ulTargetWidth;
    d->height = info->ulTargetHeight;
    d->surfaces = info->ulNumDecodeSurfaces;
    d->outputs = info->ulNumOutputSurfaces;

    *decoder = d;

    return CUDA_SUCCESS;
}


CUresult
cuvidDestroyDecoder(CUvideodecoder decoder)
{
    free(decoder);

    return fake_gpu_call("cuvidDestroyDecoder");
}


CUresult
cuvidDecodePicture(CUvideodecoder decoder, CUVIDPICPARAMS *pic)
{
    fake_gpu_decoder_t  *d = decoder;

    FAKE_GPU_CALL("cuvidDecodePicture");

    if (pic->CurrPicIdx < 0 || (unsigned) pic->CurrPicIdx >= d->surfaces
        || pic->nBitstreamDataLen == 0)
    {
        return FAKE_GPU_INVALID;
    }

    d->numbers[pic->CurrPicIdx] = d->pictures++;

    return CUDA_SUCCESS;
}


CUresult
cuvidMapVideoFrame64(CUvideodecoder decoder, int index,
    unsigned long long *address, unsigned *pitch, CUVIDPROCPARAMS *params)
{
    size_t               size;
    uint8_t             *p;
    CUresult             rc;
    unsigned             x, y;
    CUdeviceptr          device;
    fake_gpu_decoder_t  *d = decoder;

    (void) params;

    FAKE_GPU_CALL("cuvidMapVideoFrame");

    if (index < 0 || (unsigned) index >= d->surfaces
        || d->mapped == d->outputs)
    {
        return FAKE_GPU_INVALID;
    }

    rc = cuMemAllocPitch_v2(&device, &size, d->width, d->height * 3 / 2, 4);

    if (rc != CUDA_SUCCESS) {
        return rc;
    }

    p = fake_gpu_host(device);

    for (y = 0; y < d->height * 3 / 2; y++) {
        for (x = 0; x < d->width; x++) {
            p[y * size + x] = y < d->height
                              ? 16 + (x + y + d->numbers[index]) % 220
                              : 128;
        }
    }

    d->mapped++;
    *address = device;
    *pitch = size;

    return CUDA_SUCCESS;
}


CUresult
cuvidUnmapVideoFrame64(CUvideodecoder decoder, unsigned long long address)
{
    fake_gpu_decoder_t  *d = decoder;

    FAKE_GPU_CALL("cuvidUnmapVideoFrame");

    d->mapped--;

    return cuMemFree_v2(address);
}


FAKE_GPU_UNUSED(cuvidGetDecodeStatus)
FAKE_GPU_UNUSED(cuvidReconfigureDecoder)
FAKE_GPU_UNUSED(cuvidCtxLockCreate)
FAKE_GPU_UNUSED(cuvidCtxLockDestroy)
FAKE_GPU_UNUSED(cuvidCtxLock)
FAKE_GPU_UNUSED(cuvidCtxUnlock)
FAKE_GPU_UNUSED(cuvidCreateVideoSource)
FAKE_GPU_UNUSED(cuvidCreateVideoSourceW)
FAKE_GPU_UNUSED(cuvidDestroyVideoSource)
FAKE_GPU_UNUSED(cuvidSetVideoSourceState)
FAKE_GPU_UNUSED(cuvidGetVideoSourceState)
FAKE_GPU_UNUSED(cuvidGetSourceVideoFormat)
FAKE_GPU_UNUSED(cuvidGetSourceAudioFormat)
FAKE_GPU_UNUSED(cuvidCreateVideoParser)
FAKE_GPU_UNUSED(cuvidParseVideoData)
FAKE_GPU_UNUSED(cuvidDestroyVideoParser)

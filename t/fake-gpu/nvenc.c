
/*
 * Copyright (C) nginx-livestream contributors
 *
 * libnvidia-encode.so.1 for tests: an NVENC all of whose sessions are taken.
 * (One that is not there at all is a folder without this library.)
 *
 * Any thread.
 */


#include <string.h>

#include <ffnvcodec/dynlink_cuda.h>
#include <ffnvcodec/nvEncodeAPI.h>

#include "fake_gpu.h"


static NVENCSTATUS NVENCAPI
fake_gpu_session(NV_ENC_OPEN_ENCODE_SESSION_EX_PARAMS *params, void **encoder)
{
    (void) params;

    *encoder = NULL;

    (void) fake_gpu_call("NvEncOpenEncodeSessionEx");

    return NV_ENC_ERR_OUT_OF_MEMORY;
}


static const char * NVENCAPI
fake_gpu_error(void *encoder)
{
    (void) encoder;

    return "all sessions are taken";
}


static NVENCSTATUS NVENCAPI
fake_gpu_destroy(void *encoder)
{
    (void) encoder;

    return NV_ENC_SUCCESS;
}


NVENCSTATUS NVENCAPI
NvEncodeAPIGetMaxSupportedVersion(uint32_t *version)
{
    *version = NVENCAPI_MAJOR_VERSION << 4 | NVENCAPI_MINOR_VERSION;

    return NV_ENC_SUCCESS;
}


NVENCSTATUS NVENCAPI
NvEncodeAPICreateInstance(NV_ENCODE_API_FUNCTION_LIST *list)
{
    list->nvEncOpenEncodeSessionEx = fake_gpu_session;
    list->nvEncGetLastErrorString = fake_gpu_error;
    list->nvEncDestroyEncoder = fake_gpu_destroy;

    return NV_ENC_SUCCESS;
}

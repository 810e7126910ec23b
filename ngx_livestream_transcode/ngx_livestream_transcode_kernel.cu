
/*
 * Copyright (C) nginx-livestream contributors
 *
 * The kernel's frame; its contents are in ngx_livestream_transcode_kernel.h.
 * scripts/ptx compiles it with nvcc or with a clang that has no toolkit, hence
 * the few words of CUDA that are said here.
 */


#ifdef __NVCC__

#define NGX_LIVESTREAM_TRANSCODE_THREAD  threadIdx.x
#define NGX_LIVESTREAM_TRANSCODE_COLUMN  blockIdx.x
#define NGX_LIVESTREAM_TRANSCODE_ROW     blockIdx.y

#ifndef __CUDA__
#define __CUDA__
#endif

#else

#define __device__                       __attribute__((device))
#define __global__                       __attribute__((global))
#define __shared__                       __attribute__((shared))

#define NGX_LIVESTREAM_TRANSCODE_THREAD  __nvvm_read_ptx_sreg_tid_x()
#define NGX_LIVESTREAM_TRANSCODE_COLUMN  __nvvm_read_ptx_sreg_ctaid_x()
#define NGX_LIVESTREAM_TRANSCODE_ROW     __nvvm_read_ptx_sreg_ctaid_y()

#endif


#include "ngx_livestream_transcode_kernel.h"


extern __shared__ uint32_t  ngx_livestream_transcode_memory[];


extern "C" __global__ void
ngx_livestream_transcode_ladder(const ngx_livestream_transcode_kernel_t k)
{
    uint32_t                            thread;
    ngx_livestream_transcode_tile_t     tile;
    ngx_livestream_transcode_shared_t  *sh;

    sh = (ngx_livestream_transcode_shared_t *) ngx_livestream_transcode_memory;
    thread = NGX_LIVESTREAM_TRANSCODE_THREAD;

    ngx_livestream_transcode_tile(&k, NGX_LIVESTREAM_TRANSCODE_COLUMN,
                                  NGX_LIVESTREAM_TRANSCODE_ROW, &tile);
    ngx_livestream_transcode_plan(&k, &tile, sh, thread);

    __syncthreads();

    ngx_livestream_transcode_reach(&k, sh, &tile);
    ngx_livestream_transcode_stage_tile(&tile, sh, thread);

    __syncthreads();

    ngx_livestream_transcode_emit_tile(&k, &tile, sh, thread);
}

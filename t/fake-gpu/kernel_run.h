
/*
 * Copyright (C) nginx-livestream contributors
 *
 * The kernel on the host: its blocks one after the other, and in each phase
 * the threads of a block.  A block's memory has just the size that was asked
 * for, so that a sanitizer sees what goes beyond it.
 */


#ifndef _KERNEL_RUN_H_INCLUDED_
#define _KERNEL_RUN_H_INCLUDED_


#include <stdlib.h>

#include "ngx_livestream_transcode_kernel.h"


/* bytes of the source that were read, 0: out of memory */
static inline uint64_t
kernel_run(const ngx_livestream_transcode_kernel_t *k, const uint32_t grid[2],
    uint32_t shared)
{
    uint32_t                            column, row, thread;
    uint64_t                            bytes;
    ngx_livestream_transcode_tile_t     tile;
    ngx_livestream_transcode_shared_t  *sh;

    sh = malloc(shared);

    if (sh == NULL) {
        return 0;
    }

    bytes = 0;

    for (row = 0; row < grid[1]; row++) {
        for (column = 0; column < grid[0]; column++) {

            ngx_livestream_transcode_tile(k, column, row, &tile);

            for (thread = 0;
                 thread < NGX_LIVESTREAM_TRANSCODE_THREADS;
                 thread++)
            {
                ngx_livestream_transcode_plan(k, &tile, sh, thread);
            }

            ngx_livestream_transcode_reach(k, sh, &tile);

            for (thread = 0;
                 thread < NGX_LIVESTREAM_TRANSCODE_THREADS;
                 thread++)
            {
                ngx_livestream_transcode_stage_tile(&tile, sh, thread);
            }

            bytes += (uint64_t) tile.words * 4 * tile.lines;

            for (thread = 0;
                 thread < NGX_LIVESTREAM_TRANSCODE_THREADS;
                 thread++)
            {
                ngx_livestream_transcode_emit_tile(k, &tile, sh, thread);
            }
        }
    }

    free(sh);

    return bytes;
}


#endif /* _KERNEL_RUN_H_INCLUDED_ */


/*
 * Copyright (C) nginx-livestream contributors
 *
 * What frames say of their rate, and PART-TARGET, which follows from it.
 *
 * Pure C, no nginx type; pipeline thread.
 */


#ifndef _NGX_LIVESTREAM_LLHLS_RATE_H_INCLUDED_
#define _NGX_LIVESTREAM_LLHLS_RATE_H_INCLUDED_


#include "ngx_livestream_pipeline.h"


#define NGX_LIVESTREAM_LLHLS_FRAMES    4096     /* that a probe may have */


/* Frames per 1000 s of n frames of video, from the first of which to the last
 * it is so many ticks of timescale; 0 if that says nothing.  told is what
 * metadata says, or 0. */
uint32_t ngx_livestream_llhls_frame_rate(uint32_t told, uint32_t n,
    int64_t ticks, uint32_t timescale);

/* us, of a stream that begins with these frames */
int64_t ngx_livestream_llhls_part_target(
    const ngx_livestream_pipeline_conf_t *conf,
    ngx_livestream_frame_t **frames, unsigned n);


#endif /* _NGX_LIVESTREAM_LLHLS_RATE_H_INCLUDED_ */

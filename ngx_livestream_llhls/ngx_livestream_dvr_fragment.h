
/*
 * Copyright (C) nginx-livestream contributors
 *
 * Reading a moof again: the other side of ngx_livestream_llhls_fmp4.h.
 *
 * Pure C; any thread.  Functions return 0 or an errno, and then *reason is a
 * static text.
 */


#ifndef _NGX_LIVESTREAM_DVR_FRAGMENT_H_INCLUDED_
#define _NGX_LIVESTREAM_DVR_FRAGMENT_H_INCLUDED_


#include <stddef.h>
#include <stdint.h>


/* bytes that a moof may take: more samples than a part ever has */
#define NGX_LIVESTREAM_DVR_MOOF  (256 * 1024)


typedef struct {
    int64_t                  dts;           /* ticks */
    int64_t                  pts;
    uint32_t                 duration;
    uint32_t                 size;          /* bytes */
    uint32_t                 key;
} ngx_livestream_dvr_sample_t;


typedef struct {
    ngx_livestream_dvr_sample_t  *samples;  /* malloc'ed, of nalloc */
    uint32_t                 nsamples;
    uint32_t                 nalloc;
    size_t                   payload;       /* bytes of all samples */
} ngx_livestream_dvr_fragment_t;


/* the type and size of the box that begins at p; 0 if 8 bytes are not there,
 * or it says a size below 8, or of 64 bits */
uint32_t ngx_livestream_dvr_box(const uint8_t *p, size_t len, uint32_t *type);

#define ngx_livestream_dvr_type(a, b, c, d)                                  \
    ((uint32_t) (a) << 24 | (uint32_t) (b) << 16 | (uint32_t) (c) << 8       \
     | (uint32_t) (d))

/* A whole moof of len bytes; the samples of the call before are forgotten.
 * f begins as zeros and ends by free(f->samples).  EILSEQ: not one of ours. */
int ngx_livestream_dvr_fragment(ngx_livestream_dvr_fragment_t *f,
    const uint8_t *p, size_t len, const char **reason);


#endif /* _NGX_LIVESTREAM_DVR_FRAGMENT_H_INCLUDED_ */

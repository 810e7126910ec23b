
/*
 * Copyright (C) nginx-livestream contributors
 *
 * CMAF bytes: initialization segments (by libavformat's mov muxer, which knows
 * every codec's sample entry) and fragment headers (our own writer: the
 * payload is then written straight from the frames with writev, copied never).
 *
 * Pure C, no nginx type; pipeline thread.
 */


#ifndef _NGX_LIVESTREAM_LLHLS_FMP4_H_INCLUDED_
#define _NGX_LIVESTREAM_LLHLS_FMP4_H_INCLUDED_


#include "ngx_livestream_codec.h"


typedef struct {
    uint32_t                 duration;      /* ticks */
    uint32_t                 size;          /* bytes */
    int32_t                  cts;           /* ticks, pts - dts */
    uint32_t                 key;
} ngx_livestream_fmp4_sample_t;


/* An init segment for one track, in a malloc()ed buffer that the caller frees.
 * 0, or -1 with *reason, a static text. */
int ngx_livestream_fmp4_init(const ngx_livestream_codec_t *codec,
    uint8_t **data, size_t *len, const char **reason);

/* moof and the header of its mdat: the samples' bytes follow as they are.
 * Base media decode time in ticks, 64 bit.  write returns the bytes written,
 * which are get_size's for the same samples. */
size_t ngx_livestream_fmp4_get_size(ngx_livestream_media_e media,
    const ngx_livestream_fmp4_sample_t *samples, unsigned nsamples);
size_t ngx_livestream_fmp4_write(uint8_t *p, uint32_t sequence, int64_t dts,
    ngx_livestream_media_e media, const ngx_livestream_fmp4_sample_t *samples,
    unsigned nsamples);


#endif /* _NGX_LIVESTREAM_LLHLS_FMP4_H_INCLUDED_ */


/*
 * Copyright (C) nginx-livestream contributors
 *
 * What the codecs' own files share with ngx_livestream_codec.c and among
 * themselves; nobody else includes this.
 *
 * Pure C, any thread.
 */


#ifndef _NGX_LIVESTREAM_CODEC_IMPL_H_INCLUDED_
#define _NGX_LIVESTREAM_CODEC_IMPL_H_INCLUDED_


#include "ngx_livestream_codec.h"
#include "ngx_livestream_codec_bits.h"


/* at least so many bytes of config may be written by a parser */
#define NGX_LIVESTREAM_CONFIG_ROOM   64

#define NGX_LIVESTREAM_SIZE_MAX      16384
#define NGX_LIVESTREAM_RATE_MIN      1000
#define NGX_LIVESTREAM_RATE_MAX      384000
#define NGX_LIVESTREAM_CHANNELS_MAX  8

#define NGX_LIVESTREAM_UNSPECIFIED   2      /* of H.273's colour codes */


/*
 * One codec.  All return as their namesakes in ngx_livestream_codec.h do.
 *
 * parse is given an object of zeros but for id, media and config, a copy of
 * what was received; it may rewrite the config.  What ngx_livestream_codec_
 * seal() does is not its affair.
 *
 * refine may be NULL; c is NULL where there was no configuration yet.
 */
typedef struct {
    const char               *name;
    ngx_livestream_media_e    media;

    int                     (*parse)(ngx_livestream_codec_t *c,
                                     const char **reason);
    int                     (*check)(const ngx_livestream_codec_t *c,
                                     const uint8_t *data, size_t len,
                                     int *key, uint32_t *samples,
                                     const char **reason);
    int                     (*refine)(ngx_livestream_codec_t *c,
                                      const uint8_t *frame, size_t len,
                                      ngx_livestream_codec_t **codec,
                                      const char **reason);
} ngx_livestream_codec_impl_t;


extern const ngx_livestream_codec_impl_t  ngx_livestream_codec_h264;
extern const ngx_livestream_codec_impl_t  ngx_livestream_codec_hevc;
extern const ngx_livestream_codec_impl_t  ngx_livestream_codec_av1;
extern const ngx_livestream_codec_impl_t  ngx_livestream_codec_vp9;
extern const ngx_livestream_codec_impl_t  ngx_livestream_codec_aac;
extern const ngx_livestream_codec_impl_t  ngx_livestream_codec_opus;
extern const ngx_livestream_codec_impl_t  ngx_livestream_codec_flac;


/* Checks the ranges of a parsed object and makes its timescale and hash.
 * 0, or -1 with *reason. */
int ngx_livestream_codec_seal(ngx_livestream_codec_t *c, const char **reason);


/*
 * H.264 and HEVC.
 */

#define NGX_LIVESTREAM_NAL_OTHER     0
#define NGX_LIVESTREAM_NAL_PICTURE   1      /* a slice */
#define NGX_LIVESTREAM_NAL_KEY       2      /* of an IDR or IRAP picture */
#define NGX_LIVESTREAM_NAL_BAD       3


/* what a NAL of at least one byte is */
typedef unsigned (*ngx_livestream_nal_pt)(const uint8_t *nal, size_t len);

int ngx_livestream_h26x_walk(const ngx_livestream_codec_t *c,
    ngx_livestream_nal_pt classify, const uint8_t *data, size_t len,
    int *key, const char **reason);

/* The parameter set behind its 16-bit length at *pos, which moves on; NULL if
 * it is empty or runs past the end. */
const uint8_t *ngx_livestream_h26x_set(const uint8_t **pos,
    const uint8_t *end, size_t *len);

/* the begin of a VUI, the same in both: aspect ratio and colour */
void ngx_livestream_h26x_vui(ngx_livestream_bits_t *b,
    ngx_livestream_codec_t *c);

/* Sizes and offsets in luma samples; 0, or -1 if nothing or too much is
 * left. */
int ngx_livestream_h26x_crop(ngx_livestream_bits_t *b,
    ngx_livestream_codec_t *c, uint32_t width, uint32_t height,
    uint32_t unit_x, uint32_t unit_y);


#endif /* _NGX_LIVESTREAM_CODEC_IMPL_H_INCLUDED_ */


/*
 * Copyright (C) nginx-livestream contributors
 *
 * FLV tag bodies as RTMP carries them: the legacy one-byte headers and
 * enhanced RTMP's FourCC ones, multitrack with a single track included.
 * Pure C, no nginx type, any thread, no allocation.
 */


#ifndef _NGX_LIVESTREAM_FLV_H_INCLUDED_
#define _NGX_LIVESTREAM_FLV_H_INCLUDED_


#include "ngx_livestream_codec.h"


typedef enum {
    NGX_LIVESTREAM_FLV_IGNORE = 0,      /* command frames, metadata, empty */
    NGX_LIVESTREAM_FLV_CONFIG,          /* data is a configuration record */
    NGX_LIVESTREAM_FLV_FRAME,           /* data is one access unit */
    NGX_LIVESTREAM_FLV_END              /* end of sequence */
} ngx_livestream_flv_e;


typedef struct {
    ngx_livestream_flv_e     type;
    ngx_livestream_codec_e   codec;
    uint32_t                 key;       /* the publisher's word for it */
    int32_t                  cts;       /* ms, pts - dts */
    uint32_t                 nano;      /* ns to add to pts (ModEx) */
    const uint8_t           *data;      /* into the body that was parsed */
    size_t                   size;
} ngx_livestream_flv_t;


/*
 * Return 0, or -1 if the body is malformed, or -2 if it is well formed but of
 * a codec that is not carried (Sorenson, Speex, ...); *reason is then a static
 * text for the log.  A body of zero bytes is NGX_LIVESTREAM_FLV_IGNORE.
 */
int ngx_livestream_flv_video(const uint8_t *body, size_t len,
    ngx_livestream_flv_t *tag, const char **reason);
int ngx_livestream_flv_audio(const uint8_t *body, size_t len,
    ngx_livestream_flv_t *tag, const char **reason);


#endif /* _NGX_LIVESTREAM_FLV_H_INCLUDED_ */

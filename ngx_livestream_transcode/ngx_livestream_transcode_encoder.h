
/*
 * Copyright (C) nginx-livestream contributors
 *
 * What ngx_livestream_transcode_encoder.c and ..._encoder_libs.c have of one
 * another, and their test.
 *
 * The rung's thread.
 */


#ifndef _NGX_LIVESTREAM_TRANSCODE_ENCODER_H_INCLUDED_
#define _NGX_LIVESTREAM_TRANSCODE_ENCODER_H_INCLUDED_


#include "ngx_livestream_transcode.h"


#define NGX_LIVESTREAM_ENCODER_STAMPS   32

/* fraction bits of the time between pictures, which is in ticks */
#define NGX_LIVESTREAM_ENCODER_SHIFT    8


/* how a library is told of the time between pictures */
typedef enum {
    NGX_LIVESTREAM_PACE_DURATION = 0,       /* as it is */
    NGX_LIVESTREAM_PACE_BITRATE,            /* as bits per picture */
    NGX_LIVESTREAM_PACE_BITRATE_IDR,        /* likewise, but that makes an
                                               IDR of the picture */
    NGX_LIVESTREAM_PACE_REOPEN              /* opened anew, at an IDR */
} ngx_livestream_encoder_pace_e;


typedef struct {
    const char              *name;
    const char              *value;
} ngx_livestream_encoder_option_t;


typedef struct {
    ngx_livestream_codec_e   codec;
    int                      device;
    ngx_livestream_encoder_pace_e  pace;
    const char              *name;
    const char              *missing;       /* texts for the log */
    const char              *refused;
    const ngx_livestream_encoder_option_t  *options;
} ngx_livestream_encoder_kind_t;


typedef struct {
    int64_t                  clock;
    ngx_livestream_transcode_stamp_t  stamp;
} ngx_livestream_encoder_entry_t;


struct ngx_livestream_transcode_encoder_s {
    const ngx_livestream_encoder_kind_t     *kind;
    ngx_livestream_transcode_encoder_conf_t  conf;  /* frames: our reference,
                                                       preset: NULL */
    char                     preset[16];

    AVCodecContext          *avctx;
    AVFrame                 *pic;
    AVPacket                *pkt;
    ngx_livestream_codec_t  *codec;         /* NULL: VP9 before a key frame */

    int64_t                  pts;           /* of the latest picture */
    int64_t                  clock;
    uint64_t                 pictures;
    int64_t                  interval;      /* measured */
    int64_t                  nominal;       /* what the library reckons with */
    uint32_t                 level;         /* to have, of HEVC; 0: what it
                                               takes */

    unsigned                 get;
    unsigned                 put;
    ngx_livestream_encoder_entry_t  stamps[NGX_LIVESTREAM_ENCODER_STAMPS];
};


/* NULL: there is none */
const ngx_livestream_encoder_kind_t *ngx_livestream_encoder_kind(
    ngx_livestream_codec_e codec, int device);

/* An open one, for the nominal time between pictures.  Colours are those of
 * the first picture, or else of the context that it is to stand in for.  NULL:
 * *reason says why. */
AVCodecContext *ngx_livestream_encoder_context(
    ngx_livestream_transcode_encoder_t *e, const AVCodecContext *like,
    const AVFrame *first, const char **reason);

/* the parameters that H.264 and HEVC have when they are open; as above */
ngx_livestream_codec_t *ngx_livestream_encoder_codec(
    ngx_livestream_transcode_encoder_t *e, const AVCodecContext *avctx,
    const char **reason);


#endif /* _NGX_LIVESTREAM_TRANSCODE_ENCODER_H_INCLUDED_ */


/*
 * Copyright (C) nginx-livestream contributors
 *
 * Samples into frames of encoded audio, each with the time of the samples that
 * it is decoded to.  Pipeline thread; functions that return int return 0, an
 * errno, or what emit() returned.
 */


#ifndef _NGX_LIVESTREAM_TRANSCODE_AENC_H_INCLUDED_
#define _NGX_LIVESTREAM_TRANSCODE_AENC_H_INCLUDED_


#include "ngx_livestream_transcode.h"


typedef struct ngx_livestream_transcode_aenc_s
    ngx_livestream_transcode_aenc_t;


typedef struct {
    ngx_livestream_codec_e   codec;
    uint32_t                 bitrate;
    uint32_t                 rate;
    uint32_t                 channels;      /* 1 or 2 */
    ngx_livestream_codec_t  *like;          /* of the track so far, if what is
                                               encoded is decoded by it too;
                                               or NULL */
} ngx_livestream_transcode_aenc_conf_t;


/* where frames go to */
typedef struct {
    ngx_livestream_transcode_emit_pt   emit;
    void                              *data;
} ngx_livestream_transcode_sink_t;


/* NULL: *reason is a static text */
ngx_livestream_transcode_aenc_t *ngx_livestream_transcode_aenc_open(
    const ngx_livestream_transcode_aenc_conf_t *conf, const char **reason);
void ngx_livestream_transcode_aenc_close(ngx_livestream_transcode_aenc_t *e);

/* its sample format, rate and layout are those of the samples to put */
const AVCodecContext *ngx_livestream_transcode_aenc_input(
    ngx_livestream_transcode_aenc_t *e);

/* where the next sample lies, in samples */
int64_t ngx_livestream_transcode_aenc_next(ngx_livestream_transcode_aenc_t *e);

/* Ends the frame that is there with silence, and goes on at pos, or where that
 * has ended if it is later. */
int ngx_livestream_transcode_aenc_go(ngx_livestream_transcode_aenc_t *e,
    int64_t pos, const ngx_livestream_transcode_sink_t *to);

/* what holds of the samples that follow; flags are the next frame's alone */
void ngx_livestream_transcode_aenc_stamp(ngx_livestream_transcode_aenc_t *e,
    int64_t wall, uint32_t flags);

/* n samples from the given one on; samples NULL: silence */
int ngx_livestream_transcode_aenc_put(ngx_livestream_transcode_aenc_t *e,
    uint8_t *const *samples, int from, int64_t n,
    const ngx_livestream_transcode_sink_t *to);

/* puts out what is left, after which it can only be closed */
int ngx_livestream_transcode_aenc_flush(ngx_livestream_transcode_aenc_t *e,
    const ngx_livestream_transcode_sink_t *to);


#endif /* _NGX_LIVESTREAM_TRANSCODE_AENC_H_INCLUDED_ */

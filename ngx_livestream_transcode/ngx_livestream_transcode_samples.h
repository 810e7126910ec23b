
/*
 * Copyright (C) nginx-livestream contributors
 *
 * Decoded samples of any kind, with times, into the one kind that an encoder
 * takes, on one continuous time.  Pipeline thread; functions that return int
 * return 0, an errno, or what emit() returned.
 */


#ifndef _NGX_LIVESTREAM_TRANSCODE_SAMPLES_H_INCLUDED_
#define _NGX_LIVESTREAM_TRANSCODE_SAMPLES_H_INCLUDED_


#include "ngx_livestream_transcode_aenc.h"


typedef struct ngx_livestream_transcode_samples_s
    ngx_livestream_transcode_samples_t;


typedef struct {
    ngx_livestream_codec_e   codec;         /* to encode to */
    uint32_t                 bitrate;

    /* the track so far, whose codec is kept; NULL: there is none */
    ngx_livestream_codec_t  *like;

    /* where the track ends so far, in ticks; 0 a second: there is none */
    int64_t                  end;
    uint32_t                 end_scale;
} ngx_livestream_transcode_samples_conf_t;


/* Rate and channels of the encoder are by the first samples, unless there is
 * a codec to keep.  NULL: *error is an errno. */
ngx_livestream_transcode_samples_t *ngx_livestream_transcode_samples_create(
    const ngx_livestream_transcode_samples_conf_t *conf, const AVFrame *first,
    int *error);
void ngx_livestream_transcode_samples_destroy(
    ngx_livestream_transcode_samples_t *s);

/* samples that begin at pts, in ticks of scale a second; EINVAL: there is no
 * making use of them */
int ngx_livestream_transcode_samples_put(ngx_livestream_transcode_samples_t *s,
    AVFrame *pic, int64_t pts, uint32_t scale, int64_t wall, uint32_t flags,
    const ngx_livestream_transcode_sink_t *to);

/* puts out what is left, after which it can only be destroyed */
int ngx_livestream_transcode_samples_flush(
    ngx_livestream_transcode_samples_t *s,
    const ngx_livestream_transcode_sink_t *to);


#endif /* _NGX_LIVESTREAM_TRANSCODE_SAMPLES_H_INCLUDED_ */


/*
 * Copyright (C) nginx-livestream contributors
 *
 * Still pictures of a recording's track: key frames, decoded alone and made
 * small, and JPEG files of them.
 *
 * Pure C, libavcodec and libswscale, one thread; a job's thread.  Functions
 * return 0 or an errno, and then *reason is a static text.
 */


#ifndef _NGX_LIVESTREAM_DVR_STILLS_H_INCLUDED_
#define _NGX_LIVESTREAM_DVR_STILLS_H_INCLUDED_


#include <libavcodec/avcodec.h>
#include <libswscale/swscale.h>

#include "ngx_livestream_dvr_reader.h"


typedef struct {
    ngx_livestream_dvr_reader_t  reader;
    uint32_t                 init;          /* that the decoder was opened
                                               with; 0: there is none */
    AVCodecContext          *avctx;
    AVPacket                *pkt;
    AVFrame                 *decoded;
    AVFrame                 *rgb;
    struct SwsContext       *to_rgb;
    struct SwsContext       *to_yuv;
} ngx_livestream_dvr_stills_t;


/* close() it whatever the result */
int ngx_livestream_dvr_stills_open(ngx_livestream_dvr_stills_t *s,
    const ngx_livestream_dvr_source_t *source,
    const ngx_livestream_dvr_track_t *track, const char **reason);
void ngx_livestream_dvr_stills_close(ngx_livestream_dvr_stills_t *s);

/*
 * The first key frame of that segment that is not before `us` on the stream's
 * timeline, in square pixels and at most width x height, both even: a picture
 * of JPEG's kind.  ENODATA: the segment has none, or none that can be decoded,
 * or is gone.
 */
int ngx_livestream_dvr_stills_take(ngx_livestream_dvr_stills_t *s,
    size_t segment, int64_t us, int width, int height, AVFrame *out,
    const char **reason);

/* black, of the same kind */
int ngx_livestream_dvr_stills_blank(AVFrame *out, int width, int height,
    const char **reason);

/* into DIR/NAME, by a rename; quality is the quantizer's, 2 to 31 */
int ngx_livestream_dvr_stills_jpeg(const AVFrame *pic, int quality,
    const char *dir, const char *name, const char **reason);


#endif /* _NGX_LIVESTREAM_DVR_STILLS_H_INCLUDED_ */

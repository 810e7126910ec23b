
/*
 * Copyright (C) nginx-livestream contributors
 *
 * Still pictures of a recording's track.
 *
 *   segment-N.m4s: moof mdat[ key frame ... ]
 *                              |
 *                        libavcodec, then flushed
 *                              |
 *                    as it was published: SAR, range, matrix
 *                              |
 *                    small RGB, square pixels           libswscale
 *                              |
 *                    JPEG's: full range, BT.601         libswscale, libavcodec
 *
 * The way over RGB is there because libswscale scales from YUV to YUV without
 * a look at the matrix.
 *
 * Pure C; a job's thread.
 */


#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <libavutil/frame.h>
#include <libavutil/pixdesc.h>

#include "ngx_livestream_dvr_stills.h"


/* bytes of a segment that are read at first: the lowest rung's key frame is
 * smaller than that, mostly */
#define NGX_LIVESTREAM_DVR_HEAD     65536

/* of a picture that is not refused */
#define NGX_LIVESTREAM_DVR_PIXELS   (16384 * 8192)

/* lines from which on a picture is BT.709 if it does not say */
#define NGX_LIVESTREAM_DVR_HD       720


static int ngx_livestream_dvr_stills_decode(ngx_livestream_dvr_stills_t *s,
    const ngx_livestream_dvr_sample_t *sample, const uint8_t *data,
    const char **reason);
static int ngx_livestream_dvr_stills_decoder(ngx_livestream_dvr_stills_t *s,
    const char **reason);
static void ngx_livestream_dvr_stills_fit(const AVFrame *in, AVRational sar,
    int *width, int *height);
static int ngx_livestream_dvr_stills_scale(ngx_livestream_dvr_stills_t *s,
    int width, int height, AVFrame *out, const char **reason);
static int ngx_livestream_dvr_stills_buffer(AVFrame *f,
    enum AVPixelFormat format, int width, int height);
static int ngx_livestream_dvr_stills_matrix(const AVFrame *in);
static int ngx_livestream_dvr_stills_encode(const AVFrame *pic, int quality,
    AVPacket *pkt);
static int ngx_livestream_dvr_stills_write(const AVPacket *pkt,
    const char *dir, const char *name);


int
ngx_livestream_dvr_stills_open(ngx_livestream_dvr_stills_t *s,
    const ngx_livestream_dvr_source_t *source,
    const ngx_livestream_dvr_track_t *track, const char **reason)
{
    memset(s, 0, sizeof(ngx_livestream_dvr_stills_t));

    s->pkt = av_packet_alloc();
    s->decoded = av_frame_alloc();
    s->rgb = av_frame_alloc();

    if (s->pkt == NULL || s->decoded == NULL || s->rgb == NULL) {
        *reason = "no memory";
        return ENOMEM;
    }

    return ngx_livestream_dvr_reader_open(&s->reader, source, track,
                                          NGX_LIVESTREAM_DVR_HEAD, reason);
}


void
ngx_livestream_dvr_stills_close(ngx_livestream_dvr_stills_t *s)
{
    ngx_livestream_dvr_reader_close(&s->reader);

    sws_freeContext(s->to_rgb);
    sws_freeContext(s->to_yuv);
    avcodec_free_context(&s->avctx);
    av_frame_free(&s->rgb);
    av_frame_free(&s->decoded);
    av_packet_free(&s->pkt);
}


int
ngx_livestream_dvr_stills_take(ngx_livestream_dvr_stills_t *s, size_t segment,
    int64_t us, int width, int height, AVFrame *out, const char **reason)
{
    int                          rc;
    AVRational                   sar;
    const uint8_t               *data;
    ngx_livestream_dvr_sample_t  sample;

    rc = ngx_livestream_dvr_reader_key(&s->reader, segment, us, &sample, &data,
                                       reason);

    if (rc == 0) {
        rc = ngx_livestream_dvr_stills_decode(s, &sample, data, reason);
    }

    if (rc == ENOENT || rc == EILSEQ) {
        return ENODATA;
    }

    if (rc) {
        return rc;
    }

    sar = s->reader.par->sample_aspect_ratio;

    if (sar.num <= 0 || sar.den <= 0) {
        sar = s->decoded->sample_aspect_ratio;
    }

    ngx_livestream_dvr_stills_fit(s->decoded, sar, &width, &height);

    rc = ngx_livestream_dvr_stills_scale(s, width, height, out, reason);

    av_frame_unref(s->decoded);

    return rc;
}


/* the end of input makes a decoder put out what it holds back */

static int
ngx_livestream_dvr_stills_decode(ngx_livestream_dvr_stills_t *s,
    const ngx_livestream_dvr_sample_t *sample, const uint8_t *data,
    const char **reason)
{
    int  rc;

    if (s->init != s->reader.init) {
        rc = ngx_livestream_dvr_stills_decoder(s, reason);
        if (rc) {
            return rc;
        }
    }

    *reason = "a picture cannot be decoded";

    if (sample->size == 0 || sample->size > INT_MAX) {
        return EILSEQ;
    }

    if (av_new_packet(s->pkt, sample->size) < 0) {
        *reason = "no memory for a picture";
        return ENOMEM;
    }

    memcpy(s->pkt->data, data, sample->size);
    s->pkt->flags |= AV_PKT_FLAG_KEY;

    rc = avcodec_send_packet(s->avctx, s->pkt);

    av_packet_unref(s->pkt);

    if (rc >= 0) {
        rc = avcodec_send_packet(s->avctx, NULL);
    }

    if (rc >= 0) {
        rc = avcodec_receive_frame(s->avctx, s->decoded);
    }

    avcodec_flush_buffers(s->avctx);

    if (rc < 0 || s->decoded->decode_error_flags
        || (s->decoded->flags & AV_FRAME_FLAG_CORRUPT)
        || s->decoded->width <= 0 || s->decoded->height <= 0)
    {
        av_frame_unref(s->decoded);
        return EILSEQ;
    }

    return 0;
}


static int
ngx_livestream_dvr_stills_decoder(ngx_livestream_dvr_stills_t *s,
    const char **reason)
{
    const AVCodec  *dec;

    avcodec_free_context(&s->avctx);
    s->init = 0;

    /* libavcodec's own decoder of AV1 does nothing without a device */

    dec = (s->reader.par->codec_id == AV_CODEC_ID_AV1)
          ? avcodec_find_decoder_by_name("libdav1d")
          : avcodec_find_decoder(s->reader.par->codec_id);

    if (dec == NULL) {
        *reason = "libavcodec has no decoder for the recording's video";
        return ENOTSUP;
    }

    s->avctx = avcodec_alloc_context3(dec);

    if (s->avctx == NULL
        || avcodec_parameters_to_context(s->avctx, s->reader.par) < 0)
    {
        *reason = "no memory";
        return ENOMEM;
    }

    s->avctx->thread_count = 1;
    s->avctx->max_pixels = NGX_LIVESTREAM_DVR_PIXELS;

    if (dec->id == AV_CODEC_ID_HEVC) {
        /* its only way to tell of damage */
        s->avctx->err_recognition |= AV_EF_EXPLODE;
    }

    if (avcodec_open2(s->avctx, dec, NULL) < 0) {
        *reason = "libavcodec refuses the codec's configuration";
        return EILSEQ;
    }

    s->init = s->reader.init;

    return 0;
}


/* never larger than the picture is shown */

static void
ngx_livestream_dvr_stills_fit(const AVFrame *in, AVRational sar, int *width,
    int *height)
{
    double  w, h, k;

    w = in->width;
    h = in->height;

    if (sar.num > 0 && sar.den > 0) {

        if (sar.num > sar.den) {
            w *= av_q2d(sar);

        } else {
            h /= av_q2d(sar);
        }
    }

    k = FFMIN(*width / w, *height / h);
    k = FFMIN(k, 1);

    *width = FFMIN(FFMAX(2 * (int) (w * k / 2 + 0.5), 2), *width);
    *height = FFMIN(FFMAX(2 * (int) (h * k / 2 + 0.5), 2), *height);
}


static int
ngx_livestream_dvr_stills_scale(ngx_livestream_dvr_stills_t *s, int width,
    int height, AVFrame *out, const char **reason)
{
    int         range;
    AVFrame    *in;
    const int  *matrix, *jpeg;

    in = s->decoded;

    if (ngx_livestream_dvr_stills_buffer(s->rgb, AV_PIX_FMT_BGRA, width,
                                         height)
        || ngx_livestream_dvr_stills_buffer(out, AV_PIX_FMT_YUVJ420P, width,
                                            height))
    {
        *reason = "no memory for a picture";
        return ENOMEM;
    }

    *reason = "a picture cannot be scaled";

    s->to_rgb = sws_getCachedContext(s->to_rgb, in->width, in->height,
                                     in->format, width, height,
                                     AV_PIX_FMT_BGRA,
                                     SWS_AREA|SWS_ACCURATE_RND
                                     |SWS_FULL_CHR_H_INT, NULL, NULL, NULL);
    s->to_yuv = sws_getCachedContext(s->to_yuv, width, height, AV_PIX_FMT_BGRA,
                                     width, height, AV_PIX_FMT_YUVJ420P,
                                     SWS_AREA|SWS_ACCURATE_RND
                                     |SWS_FULL_CHR_H_INP, NULL, NULL, NULL);

    if (s->to_rgb == NULL || s->to_yuv == NULL) {
        return ENODATA;
    }

    matrix = sws_getCoefficients(ngx_livestream_dvr_stills_matrix(in));
    jpeg = sws_getCoefficients(SWS_CS_ITU601);

    range = in->color_range == AVCOL_RANGE_JPEG
            || in->format == AV_PIX_FMT_YUVJ420P
            || in->format == AV_PIX_FMT_YUVJ422P
            || in->format == AV_PIX_FMT_YUVJ444P;

    (void) sws_setColorspaceDetails(s->to_rgb, matrix, range, jpeg, 1, 0,
                                    1 << 16, 1 << 16);
    (void) sws_setColorspaceDetails(s->to_yuv, jpeg, 1, jpeg, 1, 0, 1 << 16,
                                    1 << 16);

    if (sws_scale(s->to_rgb, (const uint8_t *const *) in->data, in->linesize,
                  0, in->height, s->rgb->data, s->rgb->linesize)
        != height
        || sws_scale(s->to_yuv, (const uint8_t *const *) s->rgb->data,
                     s->rgb->linesize, 0, height, out->data, out->linesize)
           != height)
    {
        return ENODATA;
    }

    out->color_range = AVCOL_RANGE_JPEG;

    return 0;
}


static int
ngx_livestream_dvr_stills_buffer(AVFrame *f, enum AVPixelFormat format,
    int width, int height)
{
    if (f->data[0] && f->format == format && f->width == width
        && f->height == height)
    {
        return 0;
    }

    av_frame_unref(f);

    f->format = format;
    f->width = width;
    f->height = height;

    return av_frame_get_buffer(f, 0) < 0 ? ENOMEM : 0;
}


static int
ngx_livestream_dvr_stills_matrix(const AVFrame *in)
{
    switch (in->colorspace) {

    case AVCOL_SPC_BT709:
        return SWS_CS_ITU709;

    case AVCOL_SPC_BT2020_NCL:
    case AVCOL_SPC_BT2020_CL:
        return SWS_CS_BT2020;

    case AVCOL_SPC_UNSPECIFIED:
        return in->height >= NGX_LIVESTREAM_DVR_HD ? SWS_CS_ITU709
                                                   : SWS_CS_ITU601;

    default:
        return SWS_CS_ITU601;
    }
}


int
ngx_livestream_dvr_stills_blank(AVFrame *out, int width, int height,
    const char **reason)
{
    int  i, lines;

    if (ngx_livestream_dvr_stills_buffer(out, AV_PIX_FMT_YUVJ420P, width,
                                         height))
    {
        *reason = "no memory for a picture";
        return ENOMEM;
    }

    for (i = 0; i < 3; i++) {
        lines = i ? (height + 1) / 2 : height;
        memset(out->data[i], i ? 128 : 0, (size_t) lines * out->linesize[i]);
    }

    out->color_range = AVCOL_RANGE_JPEG;

    return 0;
}


int
ngx_livestream_dvr_stills_jpeg(const AVFrame *pic, int quality,
    const char *dir, const char *name, const char **reason)
{
    int        rc;
    AVPacket  *pkt;

    pkt = av_packet_alloc();
    if (pkt == NULL) {
        *reason = "no memory";
        return ENOMEM;
    }

    *reason = "a picture cannot be encoded";

    rc = ngx_livestream_dvr_stills_encode(pic, quality, pkt);

    if (rc == 0) {
        *reason = "a picture cannot be written";
        rc = ngx_livestream_dvr_stills_write(pkt, dir, name);
    }

    av_packet_free(&pkt);

    return rc;
}


static int
ngx_livestream_dvr_stills_encode(const AVFrame *pic, int quality,
    AVPacket *pkt)
{
    int              rc;
    const AVCodec   *av;
    AVCodecContext  *avctx;

    av = avcodec_find_encoder(AV_CODEC_ID_MJPEG);
    if (av == NULL) {
        return ENOTSUP;
    }

    avctx = avcodec_alloc_context3(av);
    if (avctx == NULL) {
        return ENOMEM;
    }

    avctx->width = pic->width;
    avctx->height = pic->height;
    avctx->pix_fmt = pic->format;
    avctx->color_range = pic->color_range;
    avctx->time_base = (AVRational) { 1, 1 };
    avctx->thread_count = 1;
    avctx->flags |= AV_CODEC_FLAG_QSCALE|AV_CODEC_FLAG_BITEXACT;
    avctx->global_quality = FF_QP2LAMBDA * quality;

    rc = avcodec_open2(avctx, av, NULL);

    if (rc >= 0) {
        rc = avcodec_send_frame(avctx, pic);
    }

    if (rc >= 0) {
        rc = avcodec_receive_packet(avctx, pkt);
    }

    avcodec_free_context(&avctx);

    if (rc < 0) {
        return rc == AVERROR(ENOMEM) ? ENOMEM : EIO;
    }

    return 0;
}


static int
ngx_livestream_dvr_stills_write(const AVPacket *pkt, const char *dir,
    const char *name)
{
    int      fd, done, n, rc;
    char     path[PATH_MAX], temp[PATH_MAX];
    ssize_t  size;

    n = snprintf(path, sizeof(path), "%s/%s", dir, name);
    rc = snprintf(temp, sizeof(temp), "%s/%s.tmp", dir, name);

    if (n < 0 || rc < 0 || (size_t) rc >= sizeof(temp)) {
        return ENAMETOOLONG;
    }

    fd = open(temp, O_WRONLY|O_CREAT|O_TRUNC|O_CLOEXEC, 0644);
    if (fd == -1) {
        return errno;
    }

    rc = 0;

    for (done = 0; done < pkt->size; done += size) {
        size = write(fd, pkt->data + done, pkt->size - done);

        if (size == -1) {
            if (errno != EINTR) {
                rc = errno;
                break;
            }

            size = 0;
        }
    }

    if (close(fd) == -1 && rc == 0) {
        rc = errno;
    }

    if (rc == 0 && rename(temp, path) == -1) {
        rc = errno;
    }

    if (rc) {
        (void) unlink(temp);
    }

    return rc;
}

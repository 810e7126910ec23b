
/*
 * Copyright (C) nginx-livestream contributors
 *
 * Thumbnails: one thread a worker makes those of all its streams.
 *
 *   pipeline threads --> | job | job | ... | --> decode --> filter --> scale
 *                          bounded, one of       encode as JPEG, write, rename
 *                          a broadcast
 *
 * A picture that has no place in the queue is left out, the next one is soon
 * to come.  So is one whose folder is not there (yet).  What fails otherwise
 * is kept for whoever asks for it.
 *
 * Files appear whole: each is written beside its place and renamed.  A process
 * has a name of its own for that, so that two workers that have to do with one
 * broadcast, as after a reload, do not write one file.
 *
 * The state is the worker's; the queue is locked for moments only.
 */


#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <libavutil/pixfmt.h>
#include <libyuv.h>

#include "ngx_livestream_transcode_video.h"


#define NGX_LIVESTREAM_THUMBNAIL_JOBS    16
#define NGX_LIVESTREAM_THUMBNAIL_WIDTH   640
#define NGX_LIVESTREAM_THUMBNAIL_HEIGHT  360
#define NGX_LIVESTREAM_THUMBNAIL_QUALITY 4          /* of JPEG, 1 to 31 */

/* lines from which on colours that are not told are BT.709 */
#define NGX_LIVESTREAM_THUMBNAIL_HD      720


typedef struct {
    ngx_livestream_frame_t  *frame;
    char                    *temp;
    char                     path[];
} ngx_livestream_thumbnail_job_t;


typedef struct {
    pthread_mutex_t                  mutex;
    pthread_cond_t                   cond;
    pthread_t                        thread;

    /* under the mutex */
    int                              running;
    unsigned                         first;
    unsigned                         n;
    ngx_livestream_thumbnail_job_t  *jobs[NGX_LIVESTREAM_THUMBNAIL_JOBS];

    int                              error;         /* atomic */
} ngx_livestream_thumbnails_t;


static ngx_livestream_thumbnail_job_t *ngx_livestream_thumbnail_job(
    const ngx_livestream_pipeline_conf_t *conf, ngx_livestream_frame_t *f);
static void ngx_livestream_thumbnail_free(
    ngx_livestream_thumbnail_job_t *job);
static int ngx_livestream_thumbnail_enqueue(
    ngx_livestream_thumbnail_job_t *job);
static ngx_livestream_thumbnail_job_t *ngx_livestream_thumbnail_take(void);
static void *ngx_livestream_thumbnail_thread(void *data);
static int ngx_livestream_thumbnail_make(
    const ngx_livestream_thumbnail_job_t *job);
static int ngx_livestream_thumbnail_decode(const ngx_livestream_frame_t *f,
    AVFrame *pic);
static int ngx_livestream_thumbnail_picture(AVCodecContext *avctx,
    const ngx_livestream_frame_t *f, AVPacket *pkt, AVFrame *pic);
static int ngx_livestream_thumbnail_filter(AVFrame *pic);
static int ngx_livestream_thumbnail_scale(const AVFrame *in, AVFrame *out);
static void ngx_livestream_thumbnail_fit(const AVFrame *in, AVFrame *out);
static int ngx_livestream_thumbnail_colours(const AVFrame *in, AVFrame *out,
    uint8_t *argb);
static int ngx_livestream_thumbnail_encode(const AVFrame *pic, AVPacket *pkt);
static int ngx_livestream_thumbnail_write(
    const ngx_livestream_thumbnail_job_t *job, const AVPacket *pkt);


static ngx_livestream_thumbnails_t  ngx_livestream_thumbnails = {
    .mutex = PTHREAD_MUTEX_INITIALIZER,
    .cond = PTHREAD_COND_INITIALIZER
};


int
ngx_livestream_transcode_thumbnails_start(void)
{
    int                           err;
    ngx_livestream_thumbnails_t  *t;

    t = &ngx_livestream_thumbnails;

    t->running = 1;

    err = ngx_livestream_transcode_thread(&t->thread, "thumbnails",
                                        NGX_LIVESTREAM_TRANSCODE_NICEST,
                                          ngx_livestream_thumbnail_thread,
                                          NULL);
    if (err) {
        t->running = 0;
    }

    return err;
}


void
ngx_livestream_transcode_thumbnails_stop(void)
{
    ngx_livestream_thumbnails_t  *t;

    t = &ngx_livestream_thumbnails;

    if (!t->running) {
        return;
    }

    (void) pthread_mutex_lock(&t->mutex);
    t->running = 0;
    (void) pthread_cond_signal(&t->cond);
    (void) pthread_mutex_unlock(&t->mutex);

    (void) pthread_join(t->thread, NULL);

    while (t->n) {
        t->n--;
        ngx_livestream_thumbnail_free(t->jobs[t->first]);
        t->first = (t->first + 1) % NGX_LIVESTREAM_THUMBNAIL_JOBS;
    }
}


int
ngx_livestream_transcode_thumbnails_error(void)
{
    return __atomic_exchange_n(&ngx_livestream_thumbnails.error, 0,
                               __ATOMIC_RELAXED);
}


void
ngx_livestream_transcode_thumbnail(const ngx_livestream_pipeline_conf_t *conf,
    ngx_livestream_frame_t *f)
{
    ngx_livestream_thumbnail_job_t  *job;

    job = ngx_livestream_thumbnail_job(conf, f);

    if (job && !ngx_livestream_thumbnail_enqueue(job)) {
        ngx_livestream_thumbnail_free(job);
    }
}


static ngx_livestream_thumbnail_job_t *
ngx_livestream_thumbnail_job(const ngx_livestream_pipeline_conf_t *conf,
    ngx_livestream_frame_t *f)
{
    size_t                           len;
    ngx_livestream_thumbnail_job_t  *job;

    static const char  name[] = "%s/%s/%s/thumbnail.jpg";
    static const char  temp[] = "%s.%ld.tmp";

    len = strlen(conf->root) + strlen(conf->id) + strlen(conf->broadcast)
          + sizeof(name) + sizeof(".-9223372036854775808.tmp");

    job = malloc(sizeof(ngx_livestream_thumbnail_job_t) + 2 * len);
    if (job == NULL) {
        return NULL;
    }

    (void) snprintf(job->path, len, name, conf->root, conf->id,
                    conf->broadcast);

    job->temp = job->path + len;

    (void) snprintf(job->temp, len, temp, job->path, (long) getpid());

    job->frame = ngx_livestream_frame_ref(f);

    return job;
}


static void
ngx_livestream_thumbnail_free(ngx_livestream_thumbnail_job_t *job)
{
    ngx_livestream_frame_unref(job->frame);
    free(job);
}


/* 1, or 0 if there is no place for it */

static int
ngx_livestream_thumbnail_enqueue(ngx_livestream_thumbnail_job_t *job)
{
    int                           ok;
    unsigned                      i, at;
    ngx_livestream_thumbnails_t  *t;

    t = &ngx_livestream_thumbnails;

    (void) pthread_mutex_lock(&t->mutex);

    ok = t->running && t->n < NGX_LIVESTREAM_THUMBNAIL_JOBS;

    for (i = 0; ok && i < t->n; i++) {
        at = (t->first + i) % NGX_LIVESTREAM_THUMBNAIL_JOBS;

        if (strcmp(t->jobs[at]->path, job->path) == 0) {
            ok = 0;
        }
    }

    if (ok) {
        at = (t->first + t->n) % NGX_LIVESTREAM_THUMBNAIL_JOBS;

        t->jobs[at] = job;
        t->n++;

        (void) pthread_cond_signal(&t->cond);
    }

    (void) pthread_mutex_unlock(&t->mutex);

    return ok;
}


/* NULL: it is time to end */

static ngx_livestream_thumbnail_job_t *
ngx_livestream_thumbnail_take(void)
{
    ngx_livestream_thumbnails_t     *t;
    ngx_livestream_thumbnail_job_t  *job;

    t = &ngx_livestream_thumbnails;
    job = NULL;

    (void) pthread_mutex_lock(&t->mutex);

    while (t->running && t->n == 0) {
        (void) pthread_cond_wait(&t->cond, &t->mutex);
    }

    if (t->running) {
        job = t->jobs[t->first];
        t->first = (t->first + 1) % NGX_LIVESTREAM_THUMBNAIL_JOBS;
        t->n--;
    }

    (void) pthread_mutex_unlock(&t->mutex);

    return job;
}


static void *
ngx_livestream_thumbnail_thread(void *data)
{
    int                              err;
    ngx_livestream_thumbnail_job_t  *job;

    (void) data;

    for ( ;; ) {
        job = ngx_livestream_thumbnail_take();
        if (job == NULL) {
            return NULL;
        }

        err = ngx_livestream_thumbnail_make(job);

        if (err) {
            __atomic_store_n(&ngx_livestream_thumbnails.error, err,
                             __ATOMIC_RELAXED);
        }

        ngx_livestream_thumbnail_free(job);
    }
}


static int
ngx_livestream_thumbnail_make(const ngx_livestream_thumbnail_job_t *job)
{
    int        rc;
    AVFrame   *pic, *out;
    AVPacket  *pkt;

    pic = av_frame_alloc();
    out = av_frame_alloc();
    pkt = av_packet_alloc();

    rc = (pic && out && pkt) ? 0 : ENOMEM;

    if (rc == 0) {
        rc = ngx_livestream_thumbnail_decode(job->frame, pic);
    }

    if (rc == 0) {
        rc = ngx_livestream_thumbnail_filter(pic);
    }

    if (rc == 0) {
        rc = ngx_livestream_thumbnail_scale(pic, out);
    }

    if (rc == 0) {
        rc = ngx_livestream_thumbnail_encode(out, pkt);
    }

    if (rc == 0) {
        rc = ngx_livestream_thumbnail_write(job, pkt);
    }

    av_frame_free(&pic);
    av_frame_free(&out);
    av_packet_free(&pkt);

    return rc;
}


static int
ngx_livestream_thumbnail_decode(const ngx_livestream_frame_t *f, AVFrame *pic)
{
    int              rc;
    AVPacket        *pkt;
    const char      *reason;
    AVCodecContext  *avctx;

    avctx = ngx_livestream_transcode_decoder_open(f->codec, NULL, 1, &reason);
    if (avctx == NULL) {
        return ENOTSUP;
    }

    pkt = av_packet_alloc();

    rc = pkt ? ngx_livestream_thumbnail_picture(avctx, f, pkt, pic) : ENOMEM;

    av_packet_free(&pkt);
    avcodec_free_context(&avctx);

    return rc;
}


/* the end of input makes a decoder put out what it holds back */

static int
ngx_livestream_thumbnail_picture(AVCodecContext *avctx,
    const ngx_livestream_frame_t *f, AVPacket *pkt, AVFrame *pic)
{
    int  rc;

    rc = ngx_livestream_transcode_packet(pkt, f);
    if (rc) {
        return rc;
    }

    if (avcodec_send_packet(avctx, pkt) < 0
        || avcodec_send_packet(avctx, NULL) < 0
        || avcodec_receive_frame(avctx, pic) < 0
        || ngx_livestream_transcode_damaged(pic))
    {
        return EILSEQ;
    }

    return 0;
}


static int
ngx_livestream_thumbnail_filter(AVFrame *pic)
{
    int                                 rc;
    ngx_livestream_transcode_filter_t  *fl;

    fl = ngx_livestream_transcode_filter_create();
    if (fl == NULL) {
        return ENOMEM;
    }

    rc = ngx_livestream_transcode_filter_put(fl, pic);

    if (rc == 0) {
        rc = ngx_livestream_transcode_filter_put(fl, NULL);
    }

    if (rc == 0) {
        rc = ngx_livestream_transcode_filter_get(fl, pic);
    }

    ngx_livestream_transcode_filter_destroy(fl);

    return rc;
}


/* into a picture of JPEG's kind: small, with square pixels, BT.601 and all of
 * the range */

static int
ngx_livestream_thumbnail_scale(const AVFrame *in, AVFrame *out)
{
    int       rc;
    AVFrame  *small;
    uint8_t  *argb;

    small = av_frame_alloc();
    if (small == NULL) {
        return ENOMEM;
    }

    ngx_livestream_thumbnail_fit(in, out);

    out->format = AV_PIX_FMT_YUVJ420P;
    out->color_range = AVCOL_RANGE_JPEG;

    small->format = AV_PIX_FMT_YUV420P;
    small->width = out->width;
    small->height = out->height;
    small->colorspace = in->colorspace;

    if (small->colorspace == AVCOL_SPC_UNSPECIFIED
        && in->height >= NGX_LIVESTREAM_THUMBNAIL_HD)
    {
        small->colorspace = AVCOL_SPC_BT709;
    }

    argb = malloc((size_t) out->width * out->height * 4);

    rc = ENOMEM;

    if (argb
        && av_frame_get_buffer(out, 0) >= 0
        && av_frame_get_buffer(small, 0) >= 0
        && I420Scale(in->data[0], in->linesize[0], in->data[1],
                     in->linesize[1], in->data[2], in->linesize[2], in->width,
                     in->height, small->data[0], small->linesize[0],
                     small->data[1], small->linesize[1], small->data[2],
                     small->linesize[2], small->width, small->height,
                     kFilterBox)
           == 0)
    {
        rc = ngx_livestream_thumbnail_colours(small, out, argb);
    }

    free(argb);
    av_frame_free(&small);

    return rc;
}


/* never larger than the picture is shown */

static void
ngx_livestream_thumbnail_fit(const AVFrame *in, AVFrame *out)
{
    double  width, height, sar, k;

    width = in->width;
    height = in->height;

    if (in->sample_aspect_ratio.num > 0 && in->sample_aspect_ratio.den > 0) {
        sar = av_q2d(in->sample_aspect_ratio);

        if (sar > 1) {
            width *= sar;

        } else {
            height /= sar;
        }
    }

    k = 1;

    if (width * k > NGX_LIVESTREAM_THUMBNAIL_WIDTH) {
        k = NGX_LIVESTREAM_THUMBNAIL_WIDTH / width;
    }

    if (height * k > NGX_LIVESTREAM_THUMBNAIL_HEIGHT) {
        k = NGX_LIVESTREAM_THUMBNAIL_HEIGHT / height;
    }

    out->width = 2 * (int) (width * k / 2 + 0.5);
    out->height = 2 * (int) (height * k / 2 + 0.5);

    if (out->width < 2) {
        out->width = 2;
    }

    if (out->height < 2) {
        out->height = 2;
    }
}


static int
ngx_livestream_thumbnail_colours(const AVFrame *in, AVFrame *out,
    uint8_t *argb)
{
    int                         pitch;
    const struct YuvConstants  *matrix;

    switch (in->colorspace) {

    case AVCOL_SPC_BT709:
        matrix = &kYuvH709Constants;
        break;

    case AVCOL_SPC_BT2020_NCL:
    case AVCOL_SPC_BT2020_CL:
        matrix = &kYuv2020Constants;
        break;

    default:
        matrix = &kYuvI601Constants;
    }

    pitch = in->width * 4;

    if (I420ToARGBMatrix(in->data[0], in->linesize[0], in->data[1],
                         in->linesize[1], in->data[2], in->linesize[2], argb,
                         pitch, matrix, in->width, in->height)
        != 0
        || ARGBToJ420(argb, pitch, out->data[0], out->linesize[0],
                      out->data[1], out->linesize[1], out->data[2],
                      out->linesize[2], in->width, in->height)
           != 0)
    {
        return ENOMEM;
    }

    return 0;
}


static int
ngx_livestream_thumbnail_encode(const AVFrame *pic, AVPacket *pkt)
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
    avctx->flags |= AV_CODEC_FLAG_QSCALE | AV_CODEC_FLAG_BITEXACT;
    avctx->global_quality = FF_QP2LAMBDA * NGX_LIVESTREAM_THUMBNAIL_QUALITY;

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
ngx_livestream_thumbnail_write(const ngx_livestream_thumbnail_job_t *job,
    const AVPacket *pkt)
{
    int      fd, done, err;
    ssize_t  n;

    fd = open(job->temp, O_WRONLY|O_CREAT|O_TRUNC|O_CLOEXEC, 0644);

    if (fd == -1) {
        return errno == ENOENT ? 0 : errno;
    }

    err = 0;

    for (done = 0; done < pkt->size; done += n) {
        n = write(fd, pkt->data + done, pkt->size - done);

        if (n == -1) {
            if (errno != EINTR) {
                err = errno;
                break;
            }

            n = 0;
        }
    }

    if (close(fd) == -1 && err == 0) {
        err = errno;
    }

    if (err == 0 && rename(job->temp, job->path) == -1) {
        err = errno;
    }

    if (err) {
        (void) unlink(job->temp);
    }

    return err;
}

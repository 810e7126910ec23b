
/*
 * Copyright (C) nginx-livestream contributors
 *
 * The reel: decodes a source and shows its pictures to the fan.
 *
 *   frame --> decoder --> filter --> stamp --> fan
 *              |
 *              +-- kept, with a GPU: all since the last key frame
 *
 * Key frames of the rungs are due at certain pts: the first picture that is
 * shown at or behind one becomes a key frame.
 *
 * What cannot be decoded is left out and counted, and nothing is shown up to
 * the next key frame: a picture that stands still is better than a torn one.
 *
 * When a GPU is lost, a decoder on the processor runs through the frames that
 * were kept, and shows what was not shown yet.
 *
 * Video thread.
 */


#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ngx_livestream_transcode_video.h"


#define NGX_LIVESTREAM_TRANSCODE_KEPT     1024          /* frames of a GOP */
#define NGX_LIVESTREAM_TRANSCODE_BYTES    (32 * 1024 * 1024)
#define NGX_LIVESTREAM_TRANSCODE_DUE      16            /* key frames that are
                                                           on their way */
#define NGX_LIVESTREAM_TRANSCODE_BLIND    10000000      /* us, without any
                                                           picture */
#define NGX_LIVESTREAM_TRANSCODE_RATE     30000         /* per 1000 s */
#define NGX_LIVESTREAM_TRANSCODE_PIXELS   130000000     /* a second, that one
                                                           thread decodes */
#define NGX_LIVESTREAM_TRANSCODE_THREADS  4             /* of the decoder */


/* a key frame that the rungs are to have */
typedef struct {
    int64_t                           pts;
    int64_t                           delay;    /* pts - dts of the source */
    uint32_t                          flags;
} ngx_livestream_transcode_due_t;


struct ngx_livestream_transcode_reel_s {
    ngx_livestream_pipeline_t              *pipeline;
    const ngx_livestream_pipeline_conf_t   *pconf;
    const ngx_livestream_transcode_conf_t  *conf;
    ngx_livestream_transcode_fan_t         *fan;

    ngx_livestream_codec_t                 *codec;
    AVCodecContext                         *decoder;
    ngx_livestream_transcode_filter_t      *filter;
    ngx_livestream_transcode_gpu_t         *gpu;
    AVPacket                               *packet;
    AVFrame                                *picture;
    ngx_livestream_transcode_list_t         kept;

    const char                             *reason;
    char                                    lost[128];  /* why the GPU is */
    int64_t                                 wall;
    int64_t                                 first;      /* dts */
    int64_t                                 pts;        /* shown last */
    int64_t                                 dts;
    int64_t                                 delay;      /* of the rungs' */
    int64_t                                 behind;     /* of the source's key
                                                           frames */
    int32_t                                 matrix[9];  /* of display */
    uint64_t                                errors;
    unsigned                                waiting:1;  /* for a key frame */
    unsigned                                torn:1;     /* pictures, up to a
                                                           key frame */
    unsigned                                discontinuity:1;
    unsigned                                looked:1;   /* at a picture */
    unsigned                                turned:1;   /* by the matrix */
    unsigned                                altered:1;  /* it is not plain */

    unsigned                                ndue;
    ngx_livestream_transcode_due_t          due[NGX_LIVESTREAM_TRANSCODE_DUE];
};


static int ngx_livestream_transcode_reel_open(
    ngx_livestream_transcode_reel_t *r, ngx_livestream_codec_t *codec);
static uint32_t ngx_livestream_transcode_reel_rate(
    ngx_livestream_transcode_reel_t *r);
static int ngx_livestream_transcode_reel_keep(
    ngx_livestream_transcode_reel_t *r, ngx_livestream_frame_t *f);
static int ngx_livestream_transcode_reel_replay(
    ngx_livestream_transcode_reel_t *r, const char *why);
static int ngx_livestream_transcode_reel_decode(
    ngx_livestream_transcode_reel_t *r, ngx_livestream_frame_t *f);
static int ngx_livestream_transcode_reel_receive(
    ngx_livestream_transcode_reel_t *r);
static int ngx_livestream_transcode_reel_error(
    ngx_livestream_transcode_reel_t *r, int rc);
static void ngx_livestream_transcode_reel_bad(
    ngx_livestream_transcode_reel_t *r);
static int ngx_livestream_transcode_reel_picture(
    ngx_livestream_transcode_reel_t *r);
static int ngx_livestream_transcode_reel_turn(
    ngx_livestream_transcode_reel_t *r);
static int ngx_livestream_transcode_reel_plain(
    ngx_livestream_transcode_reel_t *r);
static int ngx_livestream_transcode_reel_show(
    ngx_livestream_transcode_reel_t *r);
static void ngx_livestream_transcode_reel_stamp(
    ngx_livestream_transcode_reel_t *r,
    ngx_livestream_transcode_stamp_t *stamp);


ngx_livestream_transcode_reel_t *
ngx_livestream_transcode_reel_create(ngx_livestream_pipeline_t *p,
    const ngx_livestream_pipeline_conf_t *pconf,
    const ngx_livestream_transcode_conf_t *conf,
    ngx_livestream_transcode_fan_t *fan, const char **reason)
{
    ngx_livestream_transcode_reel_t  *r;

    *reason = "out of memory";

    r = calloc(1, sizeof(ngx_livestream_transcode_reel_t));
    if (r == NULL) {
        return NULL;
    }

    r->pipeline = p;
    r->pconf = pconf;
    r->conf = conf;
    r->fan = fan;
    r->reason = "out of memory";
    r->waiting = 1;
    r->first = INT64_MIN;
    r->pts = INT64_MIN;
    r->dts = INT64_MIN;

    r->packet = av_packet_alloc();
    r->picture = av_frame_alloc();
    r->filter = ngx_livestream_transcode_filter_create();

    if (r->packet == NULL || r->picture == NULL || r->filter == NULL) {
        goto failed;
    }

    if (conf->gpu == NGX_LIVESTREAM_TRANSCODE_GPU_OFF) {
        return r;
    }

    r->gpu = ngx_livestream_transcode_gpu_open(reason);

    if (r->gpu == NULL && conf->gpu == NGX_LIVESTREAM_TRANSCODE_GPU_ON) {
        goto failed;
    }

    ngx_livestream_transcode_fan_gpu(fan, r->gpu, r->gpu ? "" : *reason);

    return r;

failed:

    ngx_livestream_transcode_reel_destroy(r);

    return NULL;
}


void
ngx_livestream_transcode_reel_destroy(ngx_livestream_transcode_reel_t *r)
{
    if (r->errors) {
        ngx_livestream_transcode_say(r->pipeline,
                                     NGX_LIVESTREAM_TRANSCODE_WARN,
                                     "%llu video frames could not be decoded",
                                     (unsigned long long) r->errors);
    }

    if (r->filter) {
        ngx_livestream_transcode_filter_destroy(r->filter);
    }

    avcodec_free_context(&r->decoder);
    av_frame_free(&r->picture);
    av_packet_free(&r->packet);

    if (r->gpu) {
        ngx_livestream_transcode_gpu_close(r->gpu);
    }

    ngx_livestream_codec_unref(r->codec);
    ngx_livestream_transcode_list_clear(&r->kept);

    free(r);
}


const char *
ngx_livestream_transcode_reel_reason(ngx_livestream_transcode_reel_t *r)
{
    return r->reason;
}


int
ngx_livestream_transcode_reel_altered(ngx_livestream_transcode_reel_t *r)
{
    return r->altered;
}


int
ngx_livestream_transcode_reel_frame(ngx_livestream_transcode_reel_t *r,
    ngx_livestream_frame_t *f, uint32_t asked, int64_t at)
{
    int                              rc;
    ngx_livestream_transcode_due_t  *due;

    if (asked & NGX_LIVESTREAM_TRANSCODE_BREAK) {

        rc = ngx_livestream_transcode_reel_drain(r);
        if (rc) {
            return rc;
        }

        r->ndue = 0;
        r->waiting = 1;
        r->looked = 0;
        r->turned = 0;
        r->altered = 0;
        r->discontinuity = (r->pts != INT64_MIN);
    }

    if (r->codec == NULL || r->codec->hash != f->codec->hash
        || r->decoder == NULL)
    {
        rc = ngx_livestream_transcode_reel_open(r, f->codec);
        if (rc) {
            return rc;
        }
    }

    r->wall = f->wall;

    if (r->first == INT64_MIN) {
        r->first = f->dts;
    }

    if (f->flags & NGX_LIVESTREAM_FRAME_KEY) {
        r->behind = f->pts - f->dts;
    }

    if (asked & NGX_LIVESTREAM_TRANSCODE_BREAK) {
        r->delay = r->behind;
    }

    if (asked & NGX_LIVESTREAM_TRANSCODE_IDR) {

        if (r->ndue == NGX_LIVESTREAM_TRANSCODE_DUE) {
            r->ndue--;
        }

        due = &r->due[r->ndue++];

        due->pts = at;
        due->delay = r->behind;
        due->flags = (asked & NGX_LIVESTREAM_TRANSCODE_NO_CUT)
                     ? NGX_LIVESTREAM_FRAME_NO_CUT : 0;
    }

    if (r->pts == INT64_MIN
        && ngx_livestream_ticks_to_us(f->dts - r->first, f->codec->timescale)
           > NGX_LIVESTREAM_TRANSCODE_BLIND)
    {
        r->reason = "none of its pictures can be shown";
        return EILSEQ;
    }

    rc = ngx_livestream_transcode_reel_keep(r, f);

    if (rc == 0) {
        rc = ngx_livestream_transcode_reel_decode(r, f);
    }

    if (rc == ENODEV && r->gpu
        && (r->pts != INT64_MIN
            || r->conf->gpu != NGX_LIVESTREAM_TRANSCODE_GPU_ON))
    {
        rc = ngx_livestream_transcode_reel_replay(r, r->reason);
    }

    return rc;
}


/* a decoder for the codec, on the GPU if there is one */

static int
ngx_livestream_transcode_reel_open(ngx_livestream_transcode_reel_t *r,
    ngx_livestream_codec_t *codec)
{
    int           threads;
    uint64_t      pixels;
    AVBufferRef  *device;

    avcodec_free_context(&r->decoder);

    ngx_livestream_codec_unref(r->codec);
    r->codec = ngx_livestream_codec_ref(codec);

    pixels = (uint64_t) codec->width * codec->height
             * ngx_livestream_transcode_reel_rate(r) / 1000;

    threads = 1 + pixels / NGX_LIVESTREAM_TRANSCODE_PIXELS;

    if (threads > NGX_LIVESTREAM_TRANSCODE_THREADS) {
        threads = NGX_LIVESTREAM_TRANSCODE_THREADS;
    }

    device = r->gpu ? ngx_livestream_transcode_gpu_device(r->gpu) : NULL;

    r->decoder = ngx_livestream_transcode_decoder_open(codec, device,
                                                       device ? 1 : threads,
                                                       &r->reason);
    if (r->decoder == NULL) {
        return EINVAL;
    }

    ngx_livestream_transcode_fan_rate(r->fan,
                                      ngx_livestream_transcode_reel_rate(r));

    return 0;
}


static uint32_t
ngx_livestream_transcode_reel_rate(ngx_livestream_transcode_reel_t *r)
{
    AVRational  rate;

    if (r->pconf->frame_rate) {
        return r->pconf->frame_rate;
    }

    if (r->decoder) {
        rate = r->decoder->framerate;

        if (rate.num > 0 && rate.den > 0 && rate.num / rate.den < 1000) {
            return (uint64_t) rate.num * 1000 / rate.den;
        }
    }

    return NGX_LIVESTREAM_TRANSCODE_RATE;
}


static int
ngx_livestream_transcode_reel_keep(ngx_livestream_transcode_reel_t *r,
    ngx_livestream_frame_t *f)
{
    if (r->gpu == NULL) {
        return 0;
    }

    /* a group of pictures without its end is of no use, nor one without its
     * begin */

    if ((f->flags & NGX_LIVESTREAM_FRAME_KEY)
        || r->kept.n == NGX_LIVESTREAM_TRANSCODE_KEPT
        || r->kept.bytes + f->size > NGX_LIVESTREAM_TRANSCODE_BYTES)
    {
        ngx_livestream_transcode_list_clear(&r->kept);
    }

    if (r->kept.n == 0 && !(f->flags & NGX_LIVESTREAM_FRAME_KEY)) {
        return 0;
    }

    return ngx_livestream_transcode_list_append(&r->kept, f, 0, 0, 0);
}


/*
 * The processor instead of the GPU: all that was decoded since the last key
 * frame once more, of which only is shown what was not yet.
 */

static int
ngx_livestream_transcode_reel_replay(ngx_livestream_transcode_reel_t *r,
    const char *why)
{
    int                               rc;
    int64_t                           at;
    uint32_t                          asked;
    ngx_livestream_codec_t           *codec;
    ngx_livestream_frame_t           *f;
    ngx_livestream_transcode_list_t   kept;

    /* it may be the GPU's own text */
    (void) snprintf(r->lost, sizeof(r->lost), "%s", why);

    /* before the first picture the line that says what runs where is enough */

    if (r->pts != INT64_MIN) {
        ngx_livestream_transcode_say(r->pipeline,
                                     NGX_LIVESTREAM_TRANSCODE_WARN,
                                     "gpu is not used from here on: %s",
                                     r->lost);
    }

    kept = r->kept;
    memset(&r->kept, 0, sizeof(r->kept));

    avcodec_free_context(&r->decoder);
    av_frame_unref(r->picture);

    ngx_livestream_transcode_filter_destroy(r->filter);
    ngx_livestream_transcode_fan_gpu(r->fan, NULL, r->lost);
    ngx_livestream_transcode_gpu_close(r->gpu);

    r->gpu = NULL;
    r->reason = r->lost;
    r->filter = ngx_livestream_transcode_filter_create();

    codec = ngx_livestream_codec_ref(r->codec);

    rc = r->filter ? ngx_livestream_transcode_reel_open(r, codec) : ENOMEM;

    ngx_livestream_codec_unref(codec);

    r->waiting = 1;

    for ( ;; ) {
        f = ngx_livestream_transcode_list_shift(&kept, &asked, &at);
        if (f == NULL) {
            break;
        }

        if (rc == 0) {
            rc = ngx_livestream_transcode_reel_decode(r, f);
        }

        ngx_livestream_frame_unref(f);
    }

    return rc;
}


/* what the decoder and the filter hold back */

int
ngx_livestream_transcode_reel_drain(ngx_livestream_transcode_reel_t *r)
{
    int  rc;

    if (r->decoder == NULL) {
        return 0;
    }

    (void) avcodec_send_packet(r->decoder, NULL);

    rc = ngx_livestream_transcode_reel_receive(r);

    avcodec_flush_buffers(r->decoder);

    if (rc == 0) {
        rc = ngx_livestream_transcode_filter_put(r->filter, NULL);
    }

    if (rc == 0) {
        rc = ngx_livestream_transcode_reel_plain(r);
    }

    /* nobody will ask for what is lost with a GPU here */

    return (rc == ENODEV && r->gpu) ? 0 : rc;
}


static int
ngx_livestream_transcode_reel_decode(ngx_livestream_transcode_reel_t *r,
    ngx_livestream_frame_t *f)
{
    int  rc;

    if (f->flags & NGX_LIVESTREAM_FRAME_KEY) {
        r->waiting = 0;

    } else if (r->waiting) {
        return 0;
    }

    rc = ngx_livestream_transcode_packet(r->packet, f);
    if (rc) {
        r->reason = "out of memory";
        return rc;
    }

    rc = avcodec_send_packet(r->decoder, r->packet);

    av_packet_unref(r->packet);

    if (rc < 0) {
        rc = ngx_livestream_transcode_reel_error(r, rc);
        if (rc) {
            return rc;
        }
    }

    return ngx_livestream_transcode_reel_receive(r);
}


static int
ngx_livestream_transcode_reel_receive(ngx_livestream_transcode_reel_t *r)
{
    int  rc;

    for ( ;; ) {
        rc = avcodec_receive_frame(r->decoder, r->picture);

        if (rc == AVERROR(EAGAIN) || rc == AVERROR_EOF) {
            return 0;
        }

        if (rc < 0) {
            return ngx_livestream_transcode_reel_error(r, rc);
        }

        rc = ngx_livestream_transcode_reel_picture(r);

        av_frame_unref(r->picture);

        if (rc) {
            return rc;
        }
    }
}


/* of the decoder's */

static int
ngx_livestream_transcode_reel_error(ngx_livestream_transcode_reel_t *r, int rc)
{
    if (rc == AVERROR(ENOMEM)) {
        r->reason = "out of memory";
        return ENOMEM;
    }

    if (r->gpu && rc != AVERROR_INVALIDDATA) {
        r->reason = "it does not decode";
        return ENODEV;
    }

    ngx_livestream_transcode_reel_bad(r);

    return 0;
}


static void
ngx_livestream_transcode_reel_bad(ngx_livestream_transcode_reel_t *r)
{
    if (r->errors++ == 0) {
        ngx_livestream_transcode_say(r->pipeline,
                                     NGX_LIVESTREAM_TRANSCODE_WARN,
                                     "a video frame cannot be decoded, its "
                                     "rungs stand still up to the next key "
                                     "frame");
    }

    r->torn = 1;
}


static int
ngx_livestream_transcode_reel_picture(ngx_livestream_transcode_reel_t *r)
{
    int       rc;
    AVFrame  *pic;

    pic = r->picture;

    if (ngx_livestream_transcode_damaged(pic)) {
        ngx_livestream_transcode_reel_bad(r);
        return 0;
    }

    if (pic->key_frame) {
        r->torn = 0;
    }

    if (r->torn || pic->pts == AV_NOPTS_VALUE) {
        return 0;
    }

    rc = ngx_livestream_transcode_reel_turn(r);
    if (rc) {
        return rc;
    }

    if (!r->looked) {
        r->looked = 1;
        r->altered = ngx_livestream_transcode_filter_alters(pic);
    }

    /* the filters are the processor's */

    if (pic->format == AV_PIX_FMT_CUDA
        && ngx_livestream_transcode_filter_alters(pic)
        && (pic->sample_aspect_ratio.num == pic->sample_aspect_ratio.den
            || pic->sample_aspect_ratio.num == 0))
    {
        r->reason = "this source has to be filtered on the processor";
        return ENODEV;
    }

    rc = ngx_livestream_transcode_filter_put(r->filter, pic);

    if (rc) {
        r->reason = "a picture could not be filtered";
        return rc;
    }

    return ngx_livestream_transcode_reel_plain(r);
}


/*
 * A matrix is only with the picture that came with it, and holds for those
 * behind it.  That it ends with the next key frame is not what publishers mean
 * who send it once.
 */

static int
ngx_livestream_transcode_reel_turn(ngx_livestream_transcode_reel_t *r)
{
    AVFrameSideData  *sd;

    sd = av_frame_get_side_data(r->picture, AV_FRAME_DATA_DISPLAYMATRIX);

    if (sd && sd->size >= sizeof(r->matrix)) {
        r->turned = 1;
        memcpy(r->matrix, sd->data, sizeof(r->matrix));

        return 0;
    }

    if (!r->turned) {
        return 0;
    }

    sd = av_frame_new_side_data(r->picture, AV_FRAME_DATA_DISPLAYMATRIX,
                                sizeof(r->matrix));
    if (sd == NULL) {
        r->reason = "out of memory";
        return ENOMEM;
    }

    memcpy(sd->data, r->matrix, sizeof(r->matrix));

    return 0;
}


static int
ngx_livestream_transcode_reel_plain(ngx_livestream_transcode_reel_t *r)
{
    int  rc;

    for ( ;; ) {
        av_frame_unref(r->picture);

        rc = ngx_livestream_transcode_filter_get(r->filter, r->picture);

        if (rc == EAGAIN) {
            return 0;
        }

        if (rc) {
            r->reason = "a picture could not be filtered";
            return rc;
        }

        rc = ngx_livestream_transcode_reel_show(r);

        if (rc) {
            return rc;
        }
    }
}


static int
ngx_livestream_transcode_reel_show(ngx_livestream_transcode_reel_t *r)
{
    int                               rc;
    ngx_livestream_transcode_stamp_t  stamp;

    /* by a replay, or by a publisher that reorders more than it says */

    if (r->picture->pts <= r->pts) {
        return 0;
    }

    ngx_livestream_transcode_reel_stamp(r, &stamp);

    rc = ngx_livestream_transcode_fan(r->fan, r->picture, &stamp, &r->reason);

    if (rc == EAGAIN) {
        return 0;
    }

    if (rc) {
        return rc;
    }

    r->pts = r->picture->pts;
    r->dts = stamp.dts;
    r->discontinuity = 0;

    while (r->ndue && r->due[0].pts <= r->pts) {
        r->ndue--;
        memmove(r->due, r->due + 1,
                r->ndue * sizeof(ngx_livestream_transcode_due_t));
    }

    return 0;
}


static void
ngx_livestream_transcode_reel_stamp(ngx_livestream_transcode_reel_t *r,
    ngx_livestream_transcode_stamp_t *stamp)
{
    unsigned  i;

    memset(stamp, 0, sizeof(ngx_livestream_transcode_stamp_t));

    for (i = 0; i < r->ndue && r->due[i].pts <= r->picture->pts; i++) {
        r->delay = r->due[i].delay;
        stamp->idr = 1;
        stamp->flags = r->due[i].flags;
    }

    if (r->discontinuity) {
        stamp->idr = 1;
        stamp->flags = NGX_LIVESTREAM_FRAME_DISCONTINUITY;
    }

    stamp->wall = r->wall;
    stamp->dts = r->picture->pts - r->delay;

    if (stamp->dts <= r->dts) {
        stamp->dts = r->dts + 1;
    }
}

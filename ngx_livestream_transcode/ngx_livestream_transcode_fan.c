
/*
 * Copyright (C) nginx-livestream contributors
 *
 * The fan: deals plain pictures out to the rungs.
 *
 *                        +-- 720p --> rung thread
 *   picture --> scaler --+-- 480p --> rung thread
 *                        +-- 240p --> rung thread
 *
 * A rung gets no picture when its queue is full and there is no time to wait,
 * or when it has one that is too near before it (rungs below 720 lines have 30
 * a second at most); it gets all that are to be key frames.  What nobody takes
 * is not scaled.
 *
 * When that is not enough the most expensive rung is shed, the pace says when.
 * The lowest one never is: it leads, all tracks are cut where it is.  Where a
 * source of another shape has other rungs, all begin anew.
 *
 * Video thread.
 */


#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ngx_livestream_transcode_video.h"


#define NGX_LIVESTREAM_TRANSCODE_RATE     30000     /* per 1000 s, unknown */
#define NGX_LIVESTREAM_TRANSCODE_PIXELS   70000000  /* a second, that a thread
                                                       of an encoder is for */
#define NGX_LIVESTREAM_TRANSCODE_THREADS  4         /* of one encoder */
#define NGX_LIVESTREAM_TRANSCODE_SETTLED  45000     /* ticks, from one set of
                                                       rungs to another */


typedef struct {
    ngx_livestream_transcode_rung_t  *rung;     /* NULL: shed, or failed */
    int64_t                           last;     /* pts of its last picture */
    unsigned                          failed:1;
    unsigned                          device:1; /* its encoder's there */
} ngx_livestream_transcode_blade_t;


struct ngx_livestream_transcode_fan_s {
    ngx_livestream_pipeline_t              *pipeline;
    const ngx_livestream_transcode_conf_t  *conf;
    ngx_livestream_transcode_emit_pt        emit;
    void                                   *data;

    ngx_livestream_transcode_gpu_t         *gpu;    /* that there is */
    ngx_livestream_transcode_gpu_t         *used;   /* NULL: not worth it */
    const char                             *gpu_reason;
    ngx_livestream_transcode_scaler_t      *scaler;
    uint32_t                                rate;

    ngx_livestream_transcode_source_t       source;
    unsigned                                n;
    ngx_livestream_transcode_output_t       outputs[
                                               NGX_LIVESTREAM_TRANSCODE_RUNGS];
    ngx_livestream_transcode_blade_t        blades[
                                               NGX_LIVESTREAM_TRANSCODE_RUNGS];
    int64_t                                 settled;    /* pts of the first
                                                           picture of these */
    uint32_t                                download;
    unsigned                                shed;   /* the first ones */
    unsigned                                back:1; /* take one back at the
                                                       next cut */
    unsigned                                reset:1;
    unsigned                                late:1;
    unsigned                                device:1;   /* pictures come from
                                                           there */
    unsigned                                described:1;
    ngx_livestream_transcode_pace_t         pace;
};


static int ngx_livestream_transcode_fan_changed(
    ngx_livestream_transcode_fan_t *fan, const AVFrame *pic,
    const ngx_livestream_transcode_stamp_t *stamp);
static int ngx_livestream_transcode_fan_same(
    ngx_livestream_transcode_fan_t *fan, const AVFrame *pic);
static int ngx_livestream_transcode_fan_setup(
    ngx_livestream_transcode_fan_t *fan, const AVFrame *pic,
    const char **reason);
static int ngx_livestream_transcode_fan_begin(
    ngx_livestream_transcode_fan_t *fan, const AVFrame *pic,
    const char **reason);
static void ngx_livestream_transcode_fan_stop(
    ngx_livestream_transcode_fan_t *fan);
static int ngx_livestream_transcode_fan_start(
    ngx_livestream_transcode_fan_t *fan, unsigned i, const AVFrame *pic);
static uint32_t ngx_livestream_transcode_fan_wanted(
    ngx_livestream_transcode_fan_t *fan, const AVFrame *pic,
    const ngx_livestream_transcode_stamp_t *stamp);
static int ngx_livestream_transcode_fan_scale(
    ngx_livestream_transcode_fan_t *fan, const AVFrame *pic, uint32_t wanted,
    AVFrame **out);
static int ngx_livestream_transcode_fan_check(
    ngx_livestream_transcode_fan_t *fan, const char **reason);
static int ngx_livestream_transcode_fan_pace(
    ngx_livestream_transcode_fan_t *fan, const AVFrame *pic,
    const ngx_livestream_transcode_stamp_t *stamp);
static void ngx_livestream_transcode_fan_shed(
    ngx_livestream_transcode_fan_t *fan);
static void ngx_livestream_transcode_fan_describe(
    ngx_livestream_transcode_fan_t *fan, const AVFrame *pic);


#define ngx_livestream_transcode_rung_name(fan, i)                           \
    ((fan)->conf->rungs[(fan)->outputs[i].rung].name)


ngx_livestream_transcode_fan_t *
ngx_livestream_transcode_fan_create(ngx_livestream_pipeline_t *p,
    const ngx_livestream_transcode_conf_t *conf,
    ngx_livestream_transcode_emit_pt emit, void *data)
{
    ngx_livestream_transcode_fan_t  *fan;

    fan = calloc(1, sizeof(ngx_livestream_transcode_fan_t));
    if (fan == NULL) {
        return NULL;
    }

    fan->pipeline = p;
    fan->conf = conf;
    fan->emit = emit;
    fan->data = data;
    fan->gpu_reason = "";
    fan->rate = NGX_LIVESTREAM_TRANSCODE_RATE;

    return fan;
}


void
ngx_livestream_transcode_fan_destroy(ngx_livestream_transcode_fan_t *fan)
{
    ngx_livestream_transcode_fan_stop(fan);

    free(fan);
}


void
ngx_livestream_transcode_fan_rate(ngx_livestream_transcode_fan_t *fan,
    uint32_t rate)
{
    fan->rate = rate ? rate : NGX_LIVESTREAM_TRANSCODE_RATE;
}


void
ngx_livestream_transcode_fan_gpu(ngx_livestream_transcode_fan_t *fan,
    ngx_livestream_transcode_gpu_t *gpu, const char *reason)
{
    unsigned  i;

    fan->reset = (fan->gpu == NULL
                  || ngx_livestream_transcode_fan_tracks(fan) == 0);

    for (i = 0; i < fan->n; i++) {
        if (fan->blades[i].device) {
            fan->reset = 1;
        }
    }

    /* encoders on the device are lost with it, others need not know */

    if (fan->reset && fan->gpu) {
        ngx_livestream_transcode_fan_stop(fan);
    }

    fan->gpu = gpu;
    fan->used = NULL;
    fan->device = 0;
    fan->gpu_reason = reason;
}


uint32_t
ngx_livestream_transcode_fan_tracks(ngx_livestream_transcode_fan_t *fan)
{
    uint32_t  tracks;
    unsigned  i;

    tracks = 0;

    for (i = 0; i < fan->n; i++) {
        if (fan->blades[i].rung) {
            tracks |= 1U << (NGX_LIVESTREAM_TRANSCODE_TRACK
                             + fan->outputs[i].rung);
        }
    }

    return tracks;
}


void
ngx_livestream_transcode_fan_late(ngx_livestream_transcode_fan_t *fan,
    int late)
{
    fan->late = late;
}


void
ngx_livestream_transcode_fan_missed(ngx_livestream_transcode_fan_t *fan,
    uint32_t n)
{
    ngx_livestream_transcode_pace_count(&fan->pace, 0, n * fan->n);
}


void
ngx_livestream_transcode_fan_finish(ngx_livestream_transcode_fan_t *fan)
{
    unsigned  i;

    for (i = 0; i < fan->n; i++) {
        if (fan->blades[i].rung) {
            ngx_livestream_transcode_rung_finish(fan->blades[i].rung);
        }
    }
}


int
ngx_livestream_transcode_fan(ngx_livestream_transcode_fan_t *fan,
    const AVFrame *pic, const ngx_livestream_transcode_stamp_t *stamp,
    const char **reason)
{
    int                                rc;
    AVFrame                           *out[NGX_LIVESTREAM_TRANSCODE_RUNGS];
    uint32_t                           wanted;
    unsigned                           i;
    ngx_livestream_transcode_stamp_t   st;

    st = *stamp;
    st.pts = pic->pts;

    if (ngx_livestream_transcode_fan_changed(fan, pic, stamp)
        && !ngx_livestream_transcode_fan_same(fan, pic))
    {
        /* encoders are not made anew for each picture */

        if (fan->n && !fan->reset && pic->pts > fan->settled
            && pic->pts - fan->settled < NGX_LIVESTREAM_TRANSCODE_SETTLED)
        {
            return EAGAIN;
        }

        if (fan->n) {
            st.flags |= NGX_LIVESTREAM_FRAME_DISCONTINUITY;
        }

        st.idr = 1;

        rc = ngx_livestream_transcode_fan_setup(fan, pic, reason);
        if (rc) {
            return rc;
        }

        fan->settled = pic->pts;
    }

    rc = ngx_livestream_transcode_fan_check(fan, reason);

    if (rc) {
        return rc;
    }

    *reason = "out of memory";

    rc = ngx_livestream_transcode_fan_pace(fan, pic, &st);
    if (rc) {
        return rc;
    }

    wanted = ngx_livestream_transcode_fan_wanted(fan, pic, &st);

    rc = ngx_livestream_transcode_fan_scale(fan, pic, wanted, out);

    if (rc) {
        *reason = fan->used ? ngx_livestream_transcode_gpu_reason(fan->used)
                            : NULL;

        if (*reason == NULL) {
            *reason = "a picture could not be scaled";
        }

        return rc;
    }

    if (!fan->described) {
        fan->described = 1;
        ngx_livestream_transcode_fan_describe(fan, pic);
    }

    for (i = 0; i < fan->n; i++) {
        if (wanted & (1U << i)) {
            fan->blades[i].last = pic->pts;
            ngx_livestream_transcode_rung_put(fan->blades[i].rung, out[i], &st,
                                              !fan->late);
        }
    }

    return 0;
}


static int
ngx_livestream_transcode_fan_changed(ngx_livestream_transcode_fan_t *fan,
    const AVFrame *pic, const ngx_livestream_transcode_stamp_t *stamp)
{
    unsigned                           device;
    ngx_livestream_transcode_source_t  source;

    ngx_livestream_transcode_source(pic, &source);

    device = (pic->format == AV_PIX_FMT_CUDA);

    /* what the device can decode is to come from there, and what it cannot is
     * not to go there only to come back */

    return fan->n == 0
           || fan->reset
           || (device && fan->used == NULL)
           || (device != fan->device
               && (stamp->flags & NGX_LIVESTREAM_FRAME_DISCONTINUITY))
           || memcmp(&source, &fan->source, sizeof(source)) != 0;
}


/* the source is another, but its rungs are the same */

static int
ngx_livestream_transcode_fan_same(ngx_livestream_transcode_fan_t *fan,
    const AVFrame *pic)
{
    unsigned                           n;
    ngx_livestream_transcode_source_t  source;
    ngx_livestream_transcode_output_t  outputs[NGX_LIVESTREAM_TRANSCODE_RUNGS];

    n = (pic->format == AV_PIX_FMT_CUDA);

    if (fan->n == 0 || fan->reset || fan->device != n || (n && !fan->used)) {
        return 0;
    }

    ngx_livestream_transcode_source(pic, &source);

    n = ngx_livestream_transcode_ladder(fan->conf, &source, outputs);

    if (n != fan->n || memcmp(outputs, fan->outputs, n * sizeof(outputs[0]))) {
        return 0;
    }

    fan->source = source;

    if (pic->pts - fan->settled >= NGX_LIVESTREAM_TRANSCODE_SETTLED) {
        fan->settled = pic->pts;
        fan->described = 0;
    }

    return 1;
}


static int
ngx_livestream_transcode_fan_setup(ngx_livestream_transcode_fan_t *fan,
    const AVFrame *pic, const char **reason)
{
    int  rc;

    ngx_livestream_transcode_fan_finish(fan);
    ngx_livestream_transcode_fan_stop(fan);

    fan->reset = 0;
    fan->described = 0;
    fan->used = fan->gpu;
    fan->device = (pic->format == AV_PIX_FMT_CUDA);

    if (fan->gpu) {
        fan->gpu_reason = "";
    }

    ngx_livestream_transcode_source(pic, &fan->source);

    fan->n = ngx_livestream_transcode_ladder(fan->conf, &fan->source,
                                             fan->outputs);
    if (fan->n == 0) {
        *reason = "no rung can be made of the source's size";
        return EINVAL;
    }

    rc = ngx_livestream_transcode_fan_begin(fan, pic, reason);

    /* up and down again for nothing */

    if (rc == 0 && fan->used && !fan->device
        && fan->download == (1U << fan->n) - 1)
    {
        if (fan->conf->gpu == NGX_LIVESTREAM_TRANSCODE_GPU_ON) {
            *reason = "\"gpu on\", but it neither decodes nor encodes this";
            return EOPNOTSUPP;
        }

        ngx_livestream_transcode_fan_stop(fan);
        fan->used = NULL;

        rc = ngx_livestream_transcode_fan_begin(fan, pic, reason);
    }

    return rc;
}


static int
ngx_livestream_transcode_fan_begin(ngx_livestream_transcode_fan_t *fan,
    const AVFrame *pic, const char **reason)
{
    int       rc;
    unsigned  i;

    if (fan->used
        && ngx_livestream_transcode_gpu_outputs(fan->used, fan->outputs,
                                                fan->n, reason))
    {
        return ENODEV;
    }

    ngx_livestream_transcode_pace_init(&fan->pace,
                                       ngx_livestream_transcode_now());

    for (i = 0; i < fan->n; i++) {
        rc = ngx_livestream_transcode_fan_start(fan, i, pic);

        if (rc) {
            *reason = "a thread could not be started";
            return rc;
        }
    }

    return 0;
}


static void
ngx_livestream_transcode_fan_stop(ngx_livestream_transcode_fan_t *fan)
{
    unsigned  i;

    for (i = 0; i < fan->n; i++) {
        ngx_livestream_transcode_rung_destroy(fan->blades[i].rung);
    }

    memset(fan->blades, 0, sizeof(fan->blades));

    if (fan->scaler) {
        ngx_livestream_transcode_scaler_destroy(fan->scaler);
        fan->scaler = NULL;
    }

    fan->download = 0;
    fan->shed = 0;
    fan->back = 0;
}


/*
 * A device's encoder is opened here, as the pictures have to come to where
 * there is one: all sessions of a GPU may be taken, or it may have none.
 */

static int
ngx_livestream_transcode_fan_start(ngx_livestream_transcode_fan_t *fan,
    unsigned i, const AVFrame *pic)
{
    int                                       err, nice;
    char                                      name[24];
    uint64_t                                  pixels;
    const char                               *reason;
    ngx_livestream_transcode_blade_t         *blade;
    ngx_livestream_transcode_output_t        *output;
    ngx_livestream_transcode_encoder_t       *e;
    ngx_livestream_transcode_encoder_conf_t   conf;

    e = NULL;
    blade = &fan->blades[i];
    output = &fan->outputs[i];

    memset(&conf, 0, sizeof(conf));

    conf.codec = fan->conf->codec;
    conf.preset = fan->conf->preset;
    conf.track = NGX_LIVESTREAM_TRANSCODE_TRACK + output->rung;
    conf.width = output->width;
    conf.height = output->height;
    conf.bitrate = output->bitrate;
    conf.rate = ngx_livestream_transcode_rate(output, fan->rate);

    pixels = (uint64_t) conf.width * conf.height * conf.rate / 1000;

    conf.threads = 1 + pixels / NGX_LIVESTREAM_TRANSCODE_PIXELS;

    if (conf.threads > NGX_LIVESTREAM_TRANSCODE_THREADS) {
        conf.threads = NGX_LIVESTREAM_TRANSCODE_THREADS;
    }

    /* without one its pictures have to come down */

    if (fan->used) {
        e = ngx_livestream_transcode_gpu_encoder(fan->used, i, &conf, pic,
                                                 &reason);
        if (e == NULL) {
            fan->download |= 1U << i;
            fan->gpu_reason = reason;
        }
    }

    nice = (i + 1 < fan->n) ? NGX_LIVESTREAM_TRANSCODE_NICEST
                            : NGX_LIVESTREAM_TRANSCODE_NICE;

    (void) snprintf(name, sizeof(name), "ls-%s",
                    ngx_livestream_transcode_rung_name(fan, i));

    blade->device = (e != NULL);
    blade->last = INT64_MIN / 2;
    blade->rung = ngx_livestream_transcode_rung_create(&conf, name, nice, e,
                                                       fan->emit, fan->data);
    if (blade->rung) {
        return 0;
    }

    err = errno;

    if (e) {
        ngx_livestream_transcode_encoder_close(e);
    }

    return err;
}


static uint32_t
ngx_livestream_transcode_fan_wanted(ngx_livestream_transcode_fan_t *fan,
    const AVFrame *pic, const ngx_livestream_transcode_stamp_t *stamp)
{
    int64_t                            least;
    uint32_t                           wanted, made, skipped;
    unsigned                           i;
    ngx_livestream_transcode_blade_t  *blade;

    wanted = 0;
    made = 0;
    skipped = 0;

    for (i = 0; i < fan->n; i++) {
        blade = &fan->blades[i];

        if (blade->rung == NULL) {
            continue;
        }

        if (!stamp->idr) {
            least = fan->outputs[i].rate
                    ? NGX_LIVESTREAM_TRANSCODE_CLOCK * INT64_C(1000)
                      / fan->outputs[i].rate : 1;

            if (pic->pts - blade->last < least) {
                continue;
            }

            if (fan->late
                && !ngx_livestream_transcode_rung_has_room(blade->rung))
            {
                skipped++;
                continue;
            }
        }

        made++;
        wanted |= 1U << i;
    }

    ngx_livestream_transcode_pace_count(&fan->pace, made, skipped);

    return wanted;
}


static int
ngx_livestream_transcode_fan_scale(ngx_livestream_transcode_fan_t *fan,
    const AVFrame *pic, uint32_t wanted, AVFrame **out)
{
    memset(out, 0, NGX_LIVESTREAM_TRANSCODE_RUNGS * sizeof(AVFrame *));

    if (wanted == 0) {
        return 0;
    }

    if (fan->used) {
        return ngx_livestream_transcode_gpu_scale(fan->used, pic, wanted,
                                                  fan->download, out);
    }

    /* also where a GPU was lost in between */

    if (fan->scaler == NULL) {
        fan->scaler = ngx_livestream_transcode_scaler_create(fan->outputs,
                                                             fan->n);
        if (fan->scaler == NULL) {
            return ENOMEM;
        }
    }

    return ngx_livestream_transcode_scale(fan->scaler, pic, wanted, out);
}


/* rungs that have ended by themselves */

static int
ngx_livestream_transcode_fan_check(ngx_livestream_transcode_fan_t *fan,
    const char **reason)
{
    unsigned                           i, left;
    const char                        *why;
    ngx_livestream_transcode_blade_t  *blade;

    left = 0;

    for (i = 0; i < fan->n; i++) {
        blade = &fan->blades[i];

        if (blade->rung == NULL) {
            continue;
        }

        why = ngx_livestream_transcode_rung_failed(blade->rung);

        if (why == NULL) {
            left++;
            continue;
        }

        /* the device is gone, or has a fault: the processor is not */

        if (blade->device) {
            *reason = why;
            return ENODEV;
        }

        ngx_livestream_transcode_say(fan->pipeline,
                                     NGX_LIVESTREAM_TRANSCODE_QUALITY,
                                     "%s has ended: %s",
                                     ngx_livestream_transcode_rung_name(fan,
                                                                        i),
                                     why);

        ngx_livestream_transcode_rung_destroy(blade->rung);
        blade->rung = NULL;
        blade->failed = 1;
        *reason = why;
    }

    return left ? 0 : EIO;
}


static int
ngx_livestream_transcode_fan_pace(ngx_livestream_transcode_fan_t *fan,
    const AVFrame *pic, const ngx_livestream_transcode_stamp_t *stamp)
{
    int  rc;

    switch (ngx_livestream_transcode_pace(&fan->pace,
                                          ngx_livestream_transcode_now(),
                                          fan->shed, fan->n - 1))
    {
    case -1:
        ngx_livestream_transcode_fan_shed(fan);
        break;

    case 1:
        fan->back = 1;
        break;
    }

    if (!fan->back || !stamp->idr
        || (stamp->flags & NGX_LIVESTREAM_FRAME_NO_CUT))
    {
        return 0;
    }

    fan->back = 0;
    fan->shed--;

    if (fan->blades[fan->shed].failed) {
        return 0;
    }

    rc = ngx_livestream_transcode_fan_start(fan, fan->shed, pic);

    if (rc == 0) {
        ngx_livestream_transcode_say(fan->pipeline,
                                     NGX_LIVESTREAM_TRANSCODE_QUALITY,
                                     "%s is back",
                                     ngx_livestream_transcode_rung_name(fan,
                                                                   fan->shed));
    }

    return rc;
}


/* the first that there is, but never the last */

static void
ngx_livestream_transcode_fan_shed(ngx_livestream_transcode_fan_t *fan)
{
    unsigned                           i, left;
    ngx_livestream_transcode_blade_t  *blade;

    left = 0;

    for (i = fan->shed; i < fan->n; i++) {
        left += (fan->blades[i].rung != NULL);
    }

    if (left < 2) {
        return;
    }

    fan->back = 0;

    blade = &fan->blades[fan->shed++];

    if (!blade->failed) {
        ngx_livestream_transcode_say(fan->pipeline,
                                  NGX_LIVESTREAM_TRANSCODE_QUALITY,
                                  "%s is left out, the machine is too slow",
                                  ngx_livestream_transcode_rung_name(fan,
                                                               fan->shed - 1));
    }

    ngx_livestream_transcode_rung_destroy(blade->rung);
    blade->rung = NULL;
}


/* one line that says what runs where */

static void
ngx_livestream_transcode_fan_describe(ngx_livestream_transcode_fan_t *fan,
    const AVFrame *pic)
{
    char         gpu[16], rungs[200];
    size_t       len;
    unsigned     i, ndevice;
    const char  *encoded;

    len = 0;
    ndevice = 0;

    for (i = 0; i < fan->n; i++) {
        ndevice += fan->blades[i].device;
        len += snprintf(rungs + len, sizeof(rungs) - len, " %s",
                        ngx_livestream_transcode_rung_name(fan, i));
    }

    (void) snprintf(gpu, sizeof(gpu), "gpu %d", fan->used
                    ? ngx_livestream_transcode_gpu_index(fan->used) : -1);

    encoded = ndevice == fan->n ? gpu : ndevice ? "gpu and cpu" : "cpu";

    ngx_livestream_transcode_say(fan->pipeline, NGX_LIVESTREAM_TRANSCODE_INFO,
                                 "%dx%d to%s in %s, decoded on %s, scaled on "
                                 "%s, encoded on %s%s%s",
                                 pic->width, pic->height, rungs,
                                 ngx_livestream_codec_name(fan->conf->codec),
                                 pic->format == AV_PIX_FMT_CUDA ? gpu : "cpu",
                                 fan->used ? gpu : "cpu", encoded,
                                 *fan->gpu_reason ? "; gpu: " : "",
                                 fan->gpu_reason);
}

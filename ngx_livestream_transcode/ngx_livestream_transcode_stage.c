
/*
 * Copyright (C) nginx-livestream contributors
 *
 * The stage: what the pipeline has of the transcoder.
 *
 *   video --+--> video thread, with the places of key frames --> rungs --+
 *           |                                                            |
 *           +--> (a key frame now and then) thumbnails                   +-->
 *           |                                                            |
 *           +--> as it is, where it fits beside the rungs ---------------+
 *   audio -----> audio, here ---------------------------------------------+
 *
 * Key frames of the rungs are where segments can begin in all tracks.  With
 * the source beside them they are at its key frames, and between these, where
 * they are far apart, at places where no segment should begin; otherwise they
 * are on a grid of keyframe_interval.
 *
 * The source fits beside the rungs when it is of their codec, plain, and has
 * key frames at most a segment apart; it is let through until it is known not
 * to, which the packager then shows as a track that is absent.
 *
 * Where the ladder fails altogether the source is let through, whatever it is.
 *
 * Pipeline thread.
 */


#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "ngx_livestream_transcode_video.h"


#define NGX_LIVESTREAM_TRANSCODE_THUMBNAIL  10000000    /* us */
#define NGX_LIVESTREAM_TRANSCODE_SETTLED    1000000     /* us, to the first
                                                           one */
#define NGX_LIVESTREAM_TRANSCODE_SLACK      200000      /* us, that a segment
                                                           may be longer */
#define NGX_LIVESTREAM_TRANSCODE_REORDER    180000      /* ticks, that an
                                                           encoder may */
#define NGX_LIVESTREAM_TRANSCODE_NEAR       900         /* ticks: half of the
                                                           shortest frame */


typedef struct {
    ngx_livestream_pipeline_t              *pipeline;
    const ngx_livestream_pipeline_conf_t   *pconf;
    const ngx_livestream_transcode_conf_t  *conf;       /* NULL: off */
    unsigned                                enabled:1;
    unsigned                                waiting:1;  /* for a key frame */
    unsigned                                pass:1;     /* the source */
    unsigned                                described:2;

    int64_t                                 thumbnail;  /* us, the next */

    uint64_t                                hash;       /* of the source's
                                                           codec; 0: none */
    int64_t                                 key;        /* us, dts of the last
                                                           key frame */
    int64_t                                 aligned;    /* pts of the last one
                                                           that rungs share */
    int64_t                                 gop;        /* ticks, between the
                                                           last two of these;
                                                           0: unknown */
    int64_t                                 idr;        /* pts of the rungs'
                                                           last one */
    int64_t                                 interval;   /* ticks */
    int64_t                                 newest;     /* pts that came */

    ngx_livestream_transcode_video_t       *video;
    ngx_livestream_transcode_video_state_t  state;
    ngx_livestream_transcode_audio_t       *audio;
} ngx_livestream_transcoder_t;


static void *ngx_livestream_transcode_open(ngx_livestream_pipeline_t *p,
    const ngx_livestream_pipeline_conf_t *conf);
static int ngx_livestream_transcode_frame(ngx_livestream_pipeline_t *p,
    void *ctx, ngx_livestream_frame_t *f);
static int ngx_livestream_transcode_flush(ngx_livestream_pipeline_t *p,
    void *ctx);
static void ngx_livestream_transcode_close(void *ctx);
static int ngx_livestream_transcode_ready(ngx_livestream_pipeline_t *p,
    void *ctx);
static void ngx_livestream_transcode_picture(ngx_livestream_transcoder_t *t,
    ngx_livestream_frame_t *f);
static int ngx_livestream_transcode_video(ngx_livestream_transcoder_t *t,
    ngx_livestream_frame_t *f);
static void ngx_livestream_transcode_begin(ngx_livestream_transcoder_t *t,
    ngx_livestream_frame_t *f);
static unsigned ngx_livestream_transcode_fits(ngx_livestream_transcoder_t *t,
    const ngx_livestream_codec_t *codec);
static uint32_t ngx_livestream_transcode_asked(ngx_livestream_transcoder_t *t,
    ngx_livestream_frame_t *f, int64_t *at);
static void ngx_livestream_transcode_leave(ngx_livestream_transcoder_t *t,
    const char *why);
static void ngx_livestream_transcode_expect(ngx_livestream_transcoder_t *t);
static uint32_t ngx_livestream_transcode_foresee(
    ngx_livestream_transcoder_t *t, const ngx_livestream_codec_t *codec);
static int ngx_livestream_transcode_sound(ngx_livestream_transcoder_t *t,
    ngx_livestream_frame_t *f);
static int ngx_livestream_transcode_hand_on(void *data,
    ngx_livestream_frame_t *f);
static int ngx_livestream_transcode_fetch(ngx_livestream_transcoder_t *t,
    int wait);
static int ngx_livestream_transcode_failed(ngx_livestream_transcoder_t *t);
static void ngx_livestream_transcode_only_pass(
    ngx_livestream_transcoder_t *t);


const ngx_livestream_stage_t  ngx_livestream_transcode_stage = {
    "transcoder",
    ngx_livestream_transcode_open,
    ngx_livestream_transcode_frame,
    ngx_livestream_transcode_flush,
    ngx_livestream_transcode_close,
    ngx_livestream_transcode_ready
};


static void *
ngx_livestream_transcode_open(ngx_livestream_pipeline_t *p,
    const ngx_livestream_pipeline_conf_t *conf)
{
    int64_t                       interval;
    uint32_t                      i;
    ngx_livestream_transcoder_t  *t;

    t = calloc(1, sizeof(ngx_livestream_transcoder_t));
    if (t == NULL) {
        return NULL;
    }

    t->pipeline = p;
    t->pconf = conf;
    t->conf = ngx_livestream_pipeline_stage_conf(p);
    t->waiting = 1;
    t->thumbnail = -1;

    if (t->conf && t->conf->enabled) {
        t->enabled = 1;
        interval = t->conf->keyframe_interval;

        /* a segment begins with one */

        if (interval > conf->segment_duration) {
            interval = conf->segment_duration;
        }

        t->interval = ngx_livestream_us_to_ticks(interval,
                                              NGX_LIVESTREAM_TRANSCODE_CLOCK);
    }

    ngx_livestream_pipeline_rest(p, t, t->enabled ? INT64_MIN : INT64_MAX);

    /* rungs that the stream had are not to be waited for */

    for (i = 0; !t->enabled && i < conf->ntracks; i++) {
        if (conf->tracks[i].media == NGX_LIVESTREAM_VIDEO) {
            ngx_livestream_pipeline_expect(p, 1);
        }
    }

    return t;
}


static int
ngx_livestream_transcode_frame(ngx_livestream_pipeline_t *p, void *ctx,
    ngx_livestream_frame_t *f)
{
    ngx_livestream_transcoder_t *t = ctx;

    int  rc;

    if (f->codec->media == NGX_LIVESTREAM_VIDEO && t->conf) {
        ngx_livestream_transcode_picture(t, f);
    }

    if (!t->enabled) {
        return ngx_livestream_pipeline_next(p, ctx, f);
    }

    if (f->codec->media == NGX_LIVESTREAM_VIDEO) {
        rc = ngx_livestream_transcode_video(t, f);

    } else {
        rc = ngx_livestream_transcode_sound(t, f);
    }

    return rc ? rc : ngx_livestream_transcode_fetch(t, 0);
}


static int
ngx_livestream_transcode_ready(ngx_livestream_pipeline_t *p, void *ctx)
{
    (void) p;

    return ngx_livestream_transcode_fetch(ctx, 0);
}


static int
ngx_livestream_transcode_flush(ngx_livestream_pipeline_t *p, void *ctx)
{
    ngx_livestream_transcoder_t *t = ctx;

    int  rc;

    (void) p;

    rc = 0;

    if (t->video) {
        ngx_livestream_transcode_video_finish(t->video);

        rc = ngx_livestream_transcode_fetch(t, 1);
    }

    if (rc == 0 && t->audio) {
        rc = ngx_livestream_transcode_audio(t->audio, NULL,
                                            ngx_livestream_transcode_hand_on,
                                            t);
    }

    return rc;
}


static void
ngx_livestream_transcode_close(void *ctx)
{
    ngx_livestream_transcoder_t *t = ctx;

    ngx_livestream_transcode_video_destroy(t->video);

    if (t->audio) {
        ngx_livestream_transcode_audio_destroy(t->audio);
    }

    free(t);
}


/* the folder is made with the first segment, hence not at once */

static void
ngx_livestream_transcode_picture(ngx_livestream_transcoder_t *t,
    ngx_livestream_frame_t *f)
{
    int      err;
    int64_t  us;

    if (!(f->flags & NGX_LIVESTREAM_FRAME_KEY)) {
        return;
    }

    us = ngx_livestream_ticks_to_us(f->dts, f->codec->timescale);

    if (t->thumbnail == -1) {
        t->thumbnail = us + NGX_LIVESTREAM_TRANSCODE_SETTLED;
    }

    if (us >= t->thumbnail) {
        t->thumbnail = us + NGX_LIVESTREAM_TRANSCODE_THUMBNAIL;

        /* whichever stream's it was: it is the same disk */

        err = ngx_livestream_transcode_thumbnails_error();

        if (err) {
            ngx_livestream_transcode_say(t->pipeline,
                                         NGX_LIVESTREAM_TRANSCODE_WARN,
                                         "a thumbnail could not be made: %s",
                                         av_err2str(AVERROR(err)));
        }

        ngx_livestream_transcode_thumbnail(t->pconf, f);
    }
}


static int
ngx_livestream_transcode_video(ngx_livestream_transcoder_t *t,
    ngx_livestream_frame_t *f)
{
    int       rc;
    int64_t   us, at;
    uint32_t  asked;

    if (t->video == NULL && t->state.error) {
        return ngx_livestream_pipeline_next(t->pipeline, t, f);
    }

    if (t->hash != f->codec->hash
        || (f->flags & NGX_LIVESTREAM_FRAME_DISCONTINUITY))
    {
        t->waiting = 1;
    }

    asked = 0;

    if (t->waiting) {

        if (!(f->flags & NGX_LIVESTREAM_FRAME_KEY)) {
            return 0;
        }

        ngx_livestream_transcode_begin(t, f);

        if (t->video == NULL) {
            return ngx_livestream_pipeline_next(t->pipeline, t, f);
        }

        asked = NGX_LIVESTREAM_TRANSCODE_BREAK;
    }

    us = ngx_livestream_ticks_to_us(f->dts, f->codec->timescale);

    if (f->flags & NGX_LIVESTREAM_FRAME_KEY) {
        t->key = us;

    } else if (t->pass && us - t->key >= t->pconf->segment_duration
                             + NGX_LIVESTREAM_TRANSCODE_SLACK)
    {
        ngx_livestream_transcode_leave(t, "its key frames are further apart "
                                       "than a segment is long");
    }

    asked |= ngx_livestream_transcode_asked(t, f, &at);

    rc = ngx_livestream_transcode_video_put(t->video, f, asked, at);

    if (rc == 0 && t->pass) {
        rc = ngx_livestream_pipeline_next(t->pipeline, t, f);
    }

    return rc;
}


/* a key frame, the first one or the first behind a break */

static void
ngx_livestream_transcode_begin(ngx_livestream_transcoder_t *t,
    ngx_livestream_frame_t *f)
{
    if (t->hash != f->codec->hash) {
        t->hash = f->codec->hash;
        t->pass = ngx_livestream_transcode_fits(t, f->codec);
    }

    t->waiting = 0;
    t->newest = INT64_MIN;

    if (t->video == NULL) {
        t->video = ngx_livestream_transcode_video_create(t->pipeline,
                                                         t->pconf, t->conf);
        if (t->video == NULL) {
            t->state.error = errno;
            t->state.reason = "a thread could not be started";
            ngx_livestream_transcode_only_pass(t);
            return;
        }

        t->state.tracks = ngx_livestream_transcode_foresee(t, f->codec);
    }

    ngx_livestream_transcode_expect(t);
}


static unsigned
ngx_livestream_transcode_fits(ngx_livestream_transcoder_t *t,
    const ngx_livestream_codec_t *codec)
{
    return codec->id == t->conf->codec
           && codec->bit_depth <= 8
           && codec->chroma <= 1
           && codec->transfer != 16
           && codec->transfer != 18
           && codec->sar_num == codec->sar_den;
}


/* Is there to be a key frame in the rungs, and where? */

static uint32_t
ngx_livestream_transcode_asked(ngx_livestream_transcoder_t *t,
    ngx_livestream_frame_t *f, int64_t *at)
{
    int64_t  pts, least;

    /* a picture that is shown much later holds up no key frame */

    pts = f->pts;

    if (pts - f->dts > NGX_LIVESTREAM_TRANSCODE_REORDER) {
        pts = f->dts + NGX_LIVESTREAM_TRANSCODE_REORDER;
    }

    *at = pts;

    if (t->newest == INT64_MIN) {
        t->newest = pts;
        t->aligned = pts;
        t->idr = pts;
        t->gop = 0;

        return NGX_LIVESTREAM_TRANSCODE_IDR;
    }

    if (pts > t->newest) {
        t->newest = pts;
    }

    if (t->pass) {

        if ((f->flags & NGX_LIVESTREAM_FRAME_KEY)
            && pts - t->aligned >= t->interval / 2)
        {
            t->gop = pts - t->aligned;
            t->aligned = pts;
            t->idr = pts;

            return NGX_LIVESTREAM_TRANSCODE_IDR;
        }

        /* the source's next one is waited for, if it is not far */

        least = t->gop > t->interval * 5 / 4
                ? t->interval - NGX_LIVESTREAM_TRANSCODE_NEAR
                : t->interval * 4 / 3;

        if (t->newest - t->idr < least) {
            return 0;
        }

        t->idr = t->newest;
        *at = t->newest;

        return NGX_LIVESTREAM_TRANSCODE_IDR|NGX_LIVESTREAM_TRANSCODE_NO_CUT;
    }

    if (t->newest < t->idr + t->interval - NGX_LIVESTREAM_TRANSCODE_NEAR) {
        return 0;
    }

    do {
        t->idr += t->interval;
    } while (t->newest >= t->idr + t->interval);

    *at = t->idr - NGX_LIVESTREAM_TRANSCODE_NEAR;

    return NGX_LIVESTREAM_TRANSCODE_IDR;
}


/* the source does not fit beside the rungs after all */

static void
ngx_livestream_transcode_leave(ngx_livestream_transcoder_t *t,
    const char *why)
{
    t->pass = 0;

    ngx_livestream_transcode_say(t->pipeline, NGX_LIVESTREAM_TRANSCODE_INFO,
                                 "the source is not passed through: %s", why);

    ngx_livestream_transcode_expect(t);
}


static void
ngx_livestream_transcode_expect(ngx_livestream_transcoder_t *t)
{
    ngx_livestream_pipeline_expect(t->pipeline,
                                   t->state.tracks | (t->pass ? 1 : 0));
}


/* the tracks that the video thread will find, if the codec tells the truth */

static uint32_t
ngx_livestream_transcode_foresee(ngx_livestream_transcoder_t *t,
    const ngx_livestream_codec_t *codec)
{
    uint32_t                           tracks;
    unsigned                           i, n;
    ngx_livestream_transcode_source_t  source;
    ngx_livestream_transcode_output_t  outputs[NGX_LIVESTREAM_TRANSCODE_RUNGS];

    source.width = codec->width;
    source.height = codec->height;
    source.sar_num = codec->sar_num;
    source.sar_den = codec->sar_den;

    n = ngx_livestream_transcode_ladder(t->conf, &source, outputs);
    tracks = 0;

    for (i = 0; i < n; i++) {
        tracks |= 1U << (NGX_LIVESTREAM_TRANSCODE_TRACK + outputs[i].rung);
    }

    return tracks;
}


static int
ngx_livestream_transcode_sound(ngx_livestream_transcoder_t *t,
    ngx_livestream_frame_t *f)
{
    int   rc;
    char  text[96];

    if (t->audio == NULL) {
        t->audio = ngx_livestream_transcode_audio_create(t->conf,
                                                     t->pconf->audio_bitrate);
        if (t->audio == NULL) {
            return ENOMEM;
        }
    }

    rc = ngx_livestream_transcode_audio(t->audio, f,
                                        ngx_livestream_transcode_hand_on, t);

    if (rc == 0 && t->described == 1) {
        ngx_livestream_transcode_audio_describe(t->audio, text, sizeof(text));
        ngx_livestream_transcode_say(t->pipeline,
                                     NGX_LIVESTREAM_TRANSCODE_INFO,
                                     "audio: %s", text);
        t->described = 2;
    }

    return rc;
}


static int
ngx_livestream_transcode_hand_on(void *data, ngx_livestream_frame_t *f)
{
    ngx_livestream_transcoder_t *t = data;

    if (t->described == 0) {
        t->described = 1;
    }

    return ngx_livestream_pipeline_next(t->pipeline, t, f);
}


/* what the video thread has; to its end, if wait */

static int
ngx_livestream_transcode_fetch(ngx_livestream_transcoder_t *t, int wait)
{
    int                                      rc;
    ngx_livestream_frame_t                  *f;
    ngx_livestream_transcode_video_state_t   state;

    while (t->video) {

        f = ngx_livestream_transcode_video_take(t->video, wait, &state);

        if (state.tracks && state.tracks != t->state.tracks) {
            t->state.tracks = state.tracks;
            ngx_livestream_transcode_expect(t);
        }

        if (state.altered && t->pass) {
            ngx_livestream_transcode_leave(t, "it is not plain");
        }

        if (f == NULL) {
            t->state.error = state.error;
            t->state.reason = state.reason;

            return state.error ? ngx_livestream_transcode_failed(t) : 0;
        }

        rc = ngx_livestream_pipeline_next(t->pipeline, t, f);

        ngx_livestream_frame_unref(f);

        if (rc) {
            return rc;
        }
    }

    return 0;
}


/* who asked for a GPU wants to know; anybody else wants his stream */

static int
ngx_livestream_transcode_failed(ngx_livestream_transcoder_t *t)
{
    if (t->conf->gpu == NGX_LIVESTREAM_TRANSCODE_GPU_ON
        && (t->state.error == ENODEV || t->state.error == EOPNOTSUPP))
    {
        ngx_livestream_pipeline_reason(t->pipeline, t->state.reason);
        return t->state.error;
    }

    ngx_livestream_transcode_only_pass(t);

    return 0;
}


static void
ngx_livestream_transcode_only_pass(ngx_livestream_transcoder_t *t)
{
    ngx_livestream_transcode_say(t->pipeline, NGX_LIVESTREAM_TRANSCODE_QUALITY,
                                 "it is no longer transcoded, only passed "
                                 "through: %s", t->state.reason);

    /* the reason is the video's */

    ngx_livestream_transcode_video_destroy(t->video);

    t->video = NULL;
    t->state.reason = NULL;
    t->state.tracks = 0;
    t->pass = 1;

    ngx_livestream_transcode_expect(t);
}


/*
 * Copyright (C) nginx-livestream contributors
 *
 * The packager: the pipeline's last stage.
 *
 *   frames --> probe --> cutter --> track --> files
 *              (held)    (where)    (parts)     |
 *                                     +---------+--> messages --> writer
 *
 * The first frames are held back until it is known which tracks there are and
 * how long their frames are, which PART-TARGET depends on: until there is half
 * a second of all that metadata promised, or NGX_LIVESTREAM_LLHLS_PROBE of
 * something where it promised nothing, or NGX_LIVESTREAM_LLHLS_PROMISED.  A
 * stream that is continued knows its tracks and its PART-TARGET, and waits for
 * the former only.
 *
 * What turns up later is added then; video that does takes the lead.
 *
 * Pipeline thread.
 */


#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "ngx_livestream_llhls_cutter.h"


#define NGX_LIVESTREAM_LLHLS_ENOUGH    500000       /* us */
#define NGX_LIVESTREAM_LLHLS_PROBE     1000000
#define NGX_LIVESTREAM_LLHLS_PROMISED  3000000

#define NGX_LIVESTREAM_LLHLS_FRAMES    512
#define NGX_LIVESTREAM_LLHLS_BYTES     (16 * 1024 * 1024)
#define NGX_LIVESTREAM_LLHLS_SPACINGS  8            /* between video frames,
                                                       for a rate */

#define NGX_LIVESTREAM_LLHLS_MAX_PART  5000         /* ms */
#define NGX_LIVESTREAM_LLHLS_ROUNDED   50           /* us, of a part */


typedef struct {
    ngx_livestream_llhls_cutter_t  cutter;

    /* the probe */
    unsigned                 probing:1;
    unsigned                 nframes;
    size_t                   bytes;
    ngx_livestream_frame_t  *frames[NGX_LIVESTREAM_LLHLS_FRAMES];
} ngx_livestream_llhls_packager_t;


static void *ngx_livestream_llhls_open(ngx_livestream_pipeline_t *p,
    const ngx_livestream_pipeline_conf_t *conf);
static int ngx_livestream_llhls_frame(ngx_livestream_pipeline_t *p, void *ctx,
    ngx_livestream_frame_t *f);
static int64_t ngx_livestream_llhls_rest(ngx_livestream_llhls_cutter_t *c);
static int ngx_livestream_llhls_flush(ngx_livestream_pipeline_t *p,
    void *ctx);
static void ngx_livestream_llhls_close(void *ctx);

static unsigned ngx_livestream_llhls_probed(
    ngx_livestream_llhls_packager_t *pk);
static int ngx_livestream_llhls_begin_all(ngx_livestream_llhls_packager_t *pk);
static int64_t ngx_livestream_llhls_shift(
    const ngx_livestream_pipeline_conf_t *conf, ngx_livestream_frame_t *f);
static int ngx_livestream_llhls_continue(ngx_livestream_llhls_packager_t *pk);
static int ngx_livestream_llhls_add(ngx_livestream_llhls_packager_t *pk,
    ngx_livestream_frame_t *f);
static int64_t ngx_livestream_llhls_spacing(
    ngx_livestream_llhls_packager_t *pk, unsigned track);
static int ngx_livestream_llhls_spacing_compare(const void *one,
    const void *two);
static int64_t ngx_livestream_llhls_part_target(
    ngx_livestream_llhls_packager_t *pk);
static uint32_t ngx_livestream_llhls_frame_rate(
    ngx_livestream_llhls_packager_t *pk);


const ngx_livestream_stage_t  ngx_livestream_llhls_packager = {
    "packager",
    ngx_livestream_llhls_open,
    ngx_livestream_llhls_frame,
    ngx_livestream_llhls_flush,
    ngx_livestream_llhls_close,
    NULL
};


static const struct {
    const char              *name;
    ngx_livestream_media_e   media;
} ngx_livestream_llhls_tracks[NGX_LIVESTREAM_LLHLS_TRACKS] = {
    { "source", NGX_LIVESTREAM_VIDEO },
    { "audio", NGX_LIVESTREAM_AUDIO }
};


static void *
ngx_livestream_llhls_open(ngx_livestream_pipeline_t *p,
    const ngx_livestream_pipeline_conf_t *conf)
{
    ngx_livestream_llhls_cutter_t    *c;
    ngx_livestream_llhls_packager_t  *pk;

    pk = calloc(1, sizeof(ngx_livestream_llhls_packager_t));
    if (pk == NULL) {
        return NULL;
    }

    pk->probing = 1;

    c = &pk->cutter;

    c->out.pipeline = p;
    c->out.conf = conf;
    c->out.target_duration = conf->target_duration;
    c->out.part_target = conf->part_target;
    c->out.tail = &c->out.held;

    c->msn = conf->msn - 1;
    c->waiting = 1;

    if (conf->continued) {
        c->flags = NGX_LIVESTREAM_LLHLS_DISCONTINUITY;
    }

    return pk;
}


static int
ngx_livestream_llhls_frame(ngx_livestream_pipeline_t *p, void *ctx,
    ngx_livestream_frame_t *f)
{
    ngx_livestream_llhls_packager_t *pk = ctx;

    int                             rc;
    ngx_livestream_llhls_cutter_t  *c;

    (void) p;

    if (f->track >= NGX_LIVESTREAM_LLHLS_TRACKS
        || f->codec->media != ngx_livestream_llhls_tracks[f->track].media
        || f->size == 0
        || f->dts < 0)
    {
        return 0;
    }

    if (pk->probing) {
        pk->frames[pk->nframes++] = ngx_livestream_frame_ref(f);
        pk->bytes += f->size;

        return ngx_livestream_llhls_probed(pk)
               ? ngx_livestream_llhls_begin_all(pk) : 0;
    }

    c = &pk->cutter;

    if (c->tracks[f->track].out == NULL || c->leader == NULL) {
        rc = ngx_livestream_llhls_add(pk, f);

        if (rc || c->tracks[f->track].out == NULL || c->leader == NULL) {
            return rc;
        }
    }

    rc = ngx_livestream_llhls_cutter_frame(c, f);

    ngx_livestream_pipeline_rest(p, ctx, ngx_livestream_llhls_rest(c));

    return rc;
}


/*
 * Until which time nothing can happen: the first of the open parts may end two
 * frames before it is full.  A key frame wakes us anyway; the other tracks
 * must then see where they are past its cut.
 */

static int64_t
ngx_livestream_llhls_rest(ngx_livestream_llhls_cutter_t *c)
{
    int64_t                        us, rest;
    unsigned                       i;
    ngx_livestream_llhls_track_t  *t;

    rest = INT64_MAX;

    for (i = 0; i < NGX_LIVESTREAM_LLHLS_TRACKS; i++) {
        t = &c->tracks[i];

        if (t->out == NULL) {
            continue;
        }

        if (!t->open || t->msn != c->msn) {
            return INT64_MIN;
        }

        us = ngx_livestream_ticks_to_us(t->start + t->target - 2 * t->delta,
                                        t->timescale);
        if (us < rest) {
            rest = us;
        }
    }

    return c->waiting ? INT64_MIN : rest;
}


static int
ngx_livestream_llhls_flush(ngx_livestream_pipeline_t *p, void *ctx)
{
    ngx_livestream_llhls_packager_t *pk = ctx;

    int  rc;

    (void) p;

    if (pk->probing) {
        rc = ngx_livestream_llhls_begin_all(pk);
        if (rc) {
            return rc;
        }
    }

    return ngx_livestream_llhls_cutter_flush(&pk->cutter);
}


static void
ngx_livestream_llhls_close(void *ctx)
{
    ngx_livestream_llhls_packager_t *pk = ctx;

    unsigned                       i;
    ngx_livestream_frame_t        *f;
    ngx_livestream_llhls_track_t  *t;

    for (i = 0; i < pk->nframes; i++) {
        ngx_livestream_frame_unref(pk->frames[i]);
    }

    for (i = 0; i < NGX_LIVESTREAM_LLHLS_TRACKS; i++) {
        t = &pk->cutter.tracks[i];

        if (t->out) {
            for ( ;; ) {
                f = ngx_livestream_llhls_follow_take(t);
                if (f == NULL) {
                    break;
                }

                ngx_livestream_frame_unref(f);
            }

            ngx_livestream_llhls_track_destroy(t);
        }
    }

    ngx_livestream_llhls_discard(&pk->cutter.out);

    free(pk);
}


static unsigned
ngx_livestream_llhls_probed(ngx_livestream_llhls_packager_t *pk)
{
    int64_t                                us, first, last;
    unsigned                               i, seen[2], promised, enough;
    ngx_livestream_frame_t                *f;
    const ngx_livestream_pipeline_conf_t  *conf;

    conf = pk->cutter.out.conf;

    seen[NGX_LIVESTREAM_VIDEO] = 0;
    seen[NGX_LIVESTREAM_AUDIO] = 0;

    first = INT64_MAX;
    last = INT64_MIN;

    for (i = 0; i < pk->nframes; i++) {
        f = pk->frames[i];
        us = ngx_livestream_ticks_to_us(f->dts, f->codec->timescale);

        first = us < first ? us : first;
        last = us > last ? us : last;

        /* video is there with its first key frame */

        if (seen[f->codec->media] || (f->flags & NGX_LIVESTREAM_FRAME_KEY)) {
            seen[f->codec->media]++;
        }
    }

    if (pk->nframes == NGX_LIVESTREAM_LLHLS_FRAMES
        || pk->bytes >= NGX_LIVESTREAM_LLHLS_BYTES
        || last - first >= NGX_LIVESTREAM_LLHLS_PROMISED)
    {
        return 1;
    }

    promised = (conf->has_video != 1 || seen[NGX_LIVESTREAM_VIDEO])
               && (conf->has_audio != 1 || seen[NGX_LIVESTREAM_AUDIO]);

    enough = (conf->has_video == 0 || seen[NGX_LIVESTREAM_VIDEO])
             && (conf->has_audio == 0 || seen[NGX_LIVESTREAM_AUDIO]);

    if (conf->part_target) {
        return enough
               || (promised && last - first >= NGX_LIVESTREAM_LLHLS_PROBE);
    }

    /* a spacing is needed, several are better */

    if (seen[NGX_LIVESTREAM_VIDEO] == 1 || !promised) {
        return 0;
    }

    if (last - first >= NGX_LIVESTREAM_LLHLS_PROBE) {
        return 1;
    }

    return enough
           && last - first >= NGX_LIVESTREAM_LLHLS_ENOUGH
           && (seen[NGX_LIVESTREAM_VIDEO] == 0
               || seen[NGX_LIVESTREAM_VIDEO] > NGX_LIVESTREAM_LLHLS_SPACINGS);
}


/* the probe's frames make the tracks and then go their way */

static int
ngx_livestream_llhls_begin_all(ngx_livestream_llhls_packager_t *pk)
{
    int                             rc;
    int64_t                         us, first;
    unsigned                        i;
    ngx_livestream_frame_t         *f;
    ngx_livestream_llhls_cutter_t  *c;

    pk->probing = 0;

    c = &pk->cutter;

    if (c->out.part_target == 0) {
        c->out.part_target = ngx_livestream_llhls_part_target(pk);
    }

    rc = ngx_livestream_llhls_continue(pk);

    if (pk->nframes) {
        c->shift = ngx_livestream_llhls_shift(c->out.conf, pk->frames[0]);
    }

    first = INT64_MAX;

    for (i = 0; rc == 0 && i < pk->nframes; i++) {
        f = pk->frames[i];
        us = ngx_livestream_ticks_to_us(f->dts, f->codec->timescale);

        first = us < first ? us : first;

        rc = ngx_livestream_llhls_add(pk, f);
    }

    for (i = 0; i < NGX_LIVESTREAM_LLHLS_TRACKS; i++) {
        c->tracks[i].newest = first;
        c->tracks[i].fresh = first;
    }

    c->horizon = first;

    for (i = 0; i < pk->nframes; i++) {

        if (rc == 0) {
            rc = ngx_livestream_llhls_frame(c->out.pipeline, pk,
                                            pk->frames[i]);
        }

        ngx_livestream_frame_unref(pk->frames[i]);
    }

    pk->nframes = 0;

    return rc;
}


/*
 * A publisher that sent faster than it played has listed dates that are still
 * to come.  When it comes back its dates go on behind them.
 */

static int64_t
ngx_livestream_llhls_shift(const ngx_livestream_pipeline_conf_t *conf,
    ngx_livestream_frame_t *f)
{
    int64_t  shift;

    if (!conf->continued) {
        return 0;
    }

    shift = conf->pdt - (f->wall + conf->timeline);

    return shift > 0 ? shift : 0;
}


/* the tracks that the stream had, whether they come back or not */

static int
ngx_livestream_llhls_continue(ngx_livestream_llhls_packager_t *pk)
{
    int                                    rc;
    unsigned                               i, n;
    ngx_livestream_llhls_track_t          *t;
    const ngx_livestream_pipeline_conf_t  *conf;

    conf = pk->cutter.out.conf;

    for (n = 0; n < conf->ntracks; n++) {

        for (i = 0; i < NGX_LIVESTREAM_LLHLS_TRACKS; i++) {
            if (strcmp(ngx_livestream_llhls_tracks[i].name,
                       conf->tracks[n].name)
                == 0)
            {
                break;
            }
        }

        if (i == NGX_LIVESTREAM_LLHLS_TRACKS) {
            continue;
        }

        t = &pk->cutter.tracks[i];

        rc = ngx_livestream_llhls_track_create(t, &pk->cutter.out,
                                               conf->tracks[n].name,
                                               conf->tracks[n].media);
        if (rc) {
            return rc;
        }

        t->hash = conf->tracks[n].config_hash;
        t->init = conf->tracks[n].init;
        t->msn = pk->cutter.msn;
    }

    return 0;
}


/*
 * The frame's track, if it is not there.  Video begins with a key frame, whose
 * codec is whole.
 */

static int
ngx_livestream_llhls_add(ngx_livestream_llhls_packager_t *pk,
    ngx_livestream_frame_t *f)
{
    int                             rc;
    ngx_livestream_llhls_track_t   *t;
    ngx_livestream_llhls_cutter_t  *c;

    c = &pk->cutter;
    t = &c->tracks[f->track];

    if (!(f->flags & NGX_LIVESTREAM_FRAME_KEY)) {
        return 0;
    }

    if (t->out == NULL) {

        rc = ngx_livestream_llhls_track_create(t, &c->out,
                                 ngx_livestream_llhls_tracks[f->track].name,
                                 f->codec->media);
        if (rc) {
            return rc;
        }

        t->msn = c->msn;
        t->fresh = c->horizon;
        t->newest = ngx_livestream_ticks_to_us(f->dts, f->codec->timescale);
    }

    if (c->leader == NULL
        || (pk->nframes && f->codec->media == NGX_LIVESTREAM_VIDEO))
    {
        c->leader = t;
    }

    if (t->codec) {
        return 0;
    }

    if (f->codec->media == NGX_LIVESTREAM_VIDEO) {
        t->frame_rate = ngx_livestream_llhls_frame_rate(pk);
    }

    /* where the codec is another than it was, the next cut brings it */

    if (t->hash && t->hash != f->codec->hash) {
        return 0;
    }

    return ngx_livestream_llhls_track_codec(t, f->codec, c->msn + 1);
}


/* us between the frames of a track: their median, or 0 */

static int64_t
ngx_livestream_llhls_spacing(ngx_livestream_llhls_packager_t *pk,
    unsigned track)
{
    int64_t                  us, last, list[NGX_LIVESTREAM_LLHLS_FRAMES];
    unsigned                 i, n;
    ngx_livestream_frame_t  *f;

    n = 0;
    last = -1;

    for (i = 0; i < pk->nframes; i++) {
        f = pk->frames[i];

        if (f->track != track) {
            continue;
        }

        if (f->codec->frame_samples) {
            return ngx_livestream_ticks_to_us(f->codec->frame_samples,
                                              f->codec->timescale);
        }

        us = ngx_livestream_ticks_to_us(f->dts, f->codec->timescale);

        if (last != -1 && us > last) {
            list[n++] = us - last;
        }

        last = us;
    }

    if (n == 0) {
        return 0;
    }

    qsort(list, n, sizeof(int64_t), ngx_livestream_llhls_spacing_compare);

    return list[n / 2];
}


static int
ngx_livestream_llhls_spacing_compare(const void *one, const void *two)
{
    int64_t  a, b;

    a = *(const int64_t *) one;
    b = *(const int64_t *) two;

    return (a > b) - (a < b);
}


/*
 * The least PART-TARGET, in whole milliseconds, into which as many frames of
 * each track fit as are part_duration long, and of which they fill 86 %.
 * Parts that were a little shorter than part_duration would leave a crumb at
 * the end of each segment, which players that are busy do not fetch in time.
 */

static int64_t
ngx_livestream_llhls_part_target(ngx_livestream_llhls_packager_t *pk)
{
    int64_t                                ms, us, fit, least;
    int64_t                                spacing[
                                                  NGX_LIVESTREAM_LLHLS_TRACKS];
    unsigned                               i;
    uint32_t                               rate;
    const ngx_livestream_pipeline_conf_t  *conf;

    conf = pk->cutter.out.conf;

    for (i = 0; i < NGX_LIVESTREAM_LLHLS_TRACKS; i++) {
        spacing[i] = ngx_livestream_llhls_spacing(pk, i);
    }

    rate = ngx_livestream_llhls_frame_rate(pk);

    if (spacing[0] && rate) {
        spacing[0] = 1000000000 / rate;
    }

    /* a segment of one part has no crumbs */

    least = conf->part_duration <= conf->segment_duration / 2
            ? conf->part_duration : 0;

    ms = (conf->part_duration + 999) / 1000;

    for ( /* void */ ; ms < NGX_LIVESTREAM_LLHLS_MAX_PART; ms++) {
        us = ms * 1000;

        for (i = 0; i < NGX_LIVESTREAM_LLHLS_TRACKS; i++) {

            if (spacing[i] == 0) {
                continue;
            }

            /* whole microseconds of a frame may be short of the truth */

            fit = (us + NGX_LIVESTREAM_LLHLS_ROUNDED) / spacing[i]
                  * spacing[i] + NGX_LIVESTREAM_LLHLS_ROUNDED;

            if (fit < least || fit < us * 86 / 100) {
                break;
            }
        }

        if (i == NGX_LIVESTREAM_LLHLS_TRACKS) {
            break;
        }
    }

    return ms * 1000;
}


/*
 * Per 1000 s: what metadata says, unless the frames say otherwise; then a rate
 * that cameras have, if it is near, as few frames in whole milliseconds tell
 * it no better.
 */

static uint32_t
ngx_livestream_llhls_frame_rate(ngx_livestream_llhls_packager_t *pk)
{
    int64_t   rate, told;
    int64_t   first, last;
    unsigned  i, n, nearest;

    static const int64_t  rates[] = {
        1000, 2000, 5000, 6000, 7500, 8000, 10000, 12000, 12500, 15000, 20000,
        23976, 24000, 25000, 29970, 30000, 48000, 50000, 59940, 60000, 90000,
        100000, 120000
    };

    told = pk->cutter.out.conf->frame_rate;

    first = -1;
    last = -1;
    n = 0;

    for (i = 0; i < pk->nframes; i++) {
        if (pk->frames[i]->track == 0) {
            last = pk->frames[i]->dts;
            first = n++ ? first : last;
        }
    }

    if (last <= first) {
        return told;
    }

    rate = (int64_t) (n - 1) * 90000 * 1000 / (last - first);

    if (told && told > rate * 95 / 100 && told < rate * 105 / 100) {
        return told;
    }

    nearest = 0;

    for (i = 1; i < sizeof(rates) / sizeof(rates[0]); i++) {
        if (llabs(rates[i] - rate) < llabs(rates[nearest] - rate)) {
            nearest = i;
        }
    }

    return llabs(rates[nearest] - rate) < rate / 200 ? rates[nearest] : rate;
}

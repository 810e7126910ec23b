
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
 * a second of all that metadata promised, and of all video that the stages
 * before this one are going to make, or NGX_LIVESTREAM_LLHLS_PROBE of
 * something where nothing was promised, or NGX_LIVESTREAM_LLHLS_PROMISED.  A
 * stream that is continued knows its tracks and its PART-TARGET, and waits for
 * the former only.
 *
 * What turns up later is added then; the first video that does takes the lead.
 *
 * Pipeline thread.
 */


#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "ngx_livestream_llhls_cutter.h"
#include "ngx_livestream_llhls_rate.h"


#define NGX_LIVESTREAM_LLHLS_ENOUGH    500000       /* us */
#define NGX_LIVESTREAM_LLHLS_PROBE     1000000
#define NGX_LIVESTREAM_LLHLS_PROMISED  3000000

#define NGX_LIVESTREAM_LLHLS_BYTES     (16 * 1024 * 1024)
#define NGX_LIVESTREAM_LLHLS_SPACINGS  8            /* between video frames,
                                                       for a rate */
#define NGX_LIVESTREAM_LLHLS_ENCODED   2            /* number of the first
                                                       track of an encoder */


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
static unsigned ngx_livestream_llhls_seen(const unsigned *seen,
    const ngx_livestream_pipeline_conf_t *conf, uint32_t expected,
    ngx_livestream_media_e media);
static int ngx_livestream_llhls_begin_all(ngx_livestream_llhls_packager_t *pk);
static int64_t ngx_livestream_llhls_shift(
    const ngx_livestream_pipeline_conf_t *conf, ngx_livestream_frame_t *f);
static int ngx_livestream_llhls_continue(ngx_livestream_llhls_packager_t *pk);
static ngx_livestream_llhls_track_t *ngx_livestream_llhls_place(
    ngx_livestream_llhls_cutter_t *c, const char *name);
static int ngx_livestream_llhls_create_track(ngx_livestream_llhls_cutter_t *c,
    ngx_livestream_llhls_track_t *t, const char *name,
    ngx_livestream_media_e media);
static int ngx_livestream_llhls_add(ngx_livestream_llhls_packager_t *pk,
    ngx_livestream_frame_t *f);
static uint64_t ngx_livestream_llhls_join(ngx_livestream_llhls_cutter_t *c,
    int64_t us);


const ngx_livestream_stage_t  ngx_livestream_llhls_packager = {
    "packager",
    ngx_livestream_llhls_open,
    ngx_livestream_llhls_frame,
    ngx_livestream_llhls_flush,
    ngx_livestream_llhls_close,
    NULL
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

    c->ntracks = NGX_LIVESTREAM_PIPELINE_TRACKS;
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

    int                                    rc;
    uint32_t                               expected;
    ngx_livestream_llhls_track_t          *t;
    ngx_livestream_llhls_cutter_t         *c;
    const ngx_livestream_pipeline_conf_t  *conf;

    c = &pk->cutter;
    conf = c->out.conf;

    if (f->track >= NGX_LIVESTREAM_PIPELINE_TRACKS
        || conf->outputs[f->track].name[0] == '\0'
        || f->codec->media != conf->outputs[f->track].media
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

    expected = ngx_livestream_pipeline_expected(p);

    if (expected != c->expected) {
        rc = ngx_livestream_llhls_cutter_expect(c, expected);
        if (rc) {
            return rc;
        }
    }

    t = &c->tracks[f->track];

    if (t->out == NULL || c->leader == NULL) {
        rc = ngx_livestream_llhls_add(pk, f);

        if (rc || t->out == NULL || c->leader == NULL) {
            return rc;
        }
    }

    if (t->gone) {
        return 0;
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

    for (i = 0; i < c->ntracks; i++) {
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

    for (i = 0; i < pk->cutter.ntracks; i++) {
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
    uint32_t                               expected, has_video;
    unsigned                               i, video, audio, promised, enough;
    unsigned                               seen[
                                              NGX_LIVESTREAM_PIPELINE_TRACKS];
    ngx_livestream_frame_t                *f;
    const ngx_livestream_pipeline_conf_t  *conf;

    conf = pk->cutter.out.conf;
    memset(seen, 0, sizeof(seen));

    first = INT64_MAX;
    last = INT64_MIN;

    for (i = 0; i < pk->nframes; i++) {
        f = pk->frames[i];
        us = ngx_livestream_ticks_to_us(f->dts, f->codec->timescale);

        first = us < first ? us : first;
        last = us > last ? us : last;

        /* video is there with its first key frame */

        if (seen[f->track] || (f->flags & NGX_LIVESTREAM_FRAME_KEY)) {
            seen[f->track]++;
        }
    }

    if (pk->nframes == NGX_LIVESTREAM_LLHLS_FRAMES
        || pk->bytes >= NGX_LIVESTREAM_LLHLS_BYTES
        || last - first >= NGX_LIVESTREAM_LLHLS_PROMISED)
    {
        return 1;
    }

    expected = ngx_livestream_pipeline_expected(pk->cutter.out.pipeline);
    has_video = expected ? 1 : conf->has_video;

    video = ngx_livestream_llhls_seen(seen, conf, expected,
                                      NGX_LIVESTREAM_VIDEO);
    audio = ngx_livestream_llhls_seen(seen, conf, 0, NGX_LIVESTREAM_AUDIO);

    promised = (has_video != 1 || video) && (conf->has_audio != 1 || audio);
    enough = (has_video == 0 || video) && (conf->has_audio == 0 || audio);

    if (conf->part_target) {
        return enough
               || (promised && last - first >= NGX_LIVESTREAM_LLHLS_PROBE);
    }

    /* a spacing is needed, several are better */

    if (video == 1 || !promised) {
        return 0;
    }

    if (last - first >= NGX_LIVESTREAM_LLHLS_PROBE) {
        return 1;
    }

    return enough
           && last - first >= NGX_LIVESTREAM_LLHLS_ENOUGH
           && (video == 0 || video > NGX_LIVESTREAM_LLHLS_SPACINGS);
}


/* frames of the expected track that has fewest, or of that which has most */

static unsigned
ngx_livestream_llhls_seen(const unsigned *seen,
    const ngx_livestream_pipeline_conf_t *conf, uint32_t expected,
    ngx_livestream_media_e media)
{
    unsigned  i, most, least;

    most = 0;
    least = NGX_LIVESTREAM_LLHLS_FRAMES;

    for (i = 0; i < NGX_LIVESTREAM_PIPELINE_TRACKS; i++) {

        if (conf->outputs[i].media == media && seen[i] > most) {
            most = seen[i];
        }

        if ((expected & (uint32_t) 1 << i) && seen[i] < least) {
            least = seen[i];
        }
    }

    return expected ? least : most;
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
        c->out.part_target = ngx_livestream_llhls_part_target(c->out.conf,
                                                     pk->frames, pk->nframes);
    }

    c->expected = ngx_livestream_pipeline_expected(c->out.pipeline);

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

    for (i = 0; i < c->ntracks; i++) {
        c->tracks[i].newest = first;
        c->tracks[i].fresh = first;
    }

    /* the first frames of all are still to come */
    c->horizon = first - 1;

    if (rc == 0) {
        rc = ngx_livestream_llhls_cutter_expect(c, c->expected);
    }

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
    unsigned                               n;
    ngx_livestream_llhls_track_t          *t;
    ngx_livestream_llhls_cutter_t         *c;
    const ngx_livestream_pipeline_conf_t  *conf;

    c = &pk->cutter;
    conf = c->out.conf;

    for (n = 0; n < conf->ntracks; n++) {

        t = ngx_livestream_llhls_place(c, conf->tracks[n].name);

        rc = ngx_livestream_llhls_create_track(c, t, conf->tracks[n].name,
                                               conf->tracks[n].media);
        if (rc) {
            return rc;
        }

        t->hash = conf->tracks[n].config_hash;
        t->init = conf->tracks[n].init;
        t->msn = c->msn;
    }

    return 0;
}


/* a track that frames no longer have a number for goes on behind the others */

static ngx_livestream_llhls_track_t *
ngx_livestream_llhls_place(ngx_livestream_llhls_cutter_t *c, const char *name)
{
    unsigned  i;

    for (i = 0; i < NGX_LIVESTREAM_PIPELINE_TRACKS; i++) {
        if (strcmp(c->out.conf->outputs[i].name, name) == 0) {
            return &c->tracks[i];
        }
    }

    return &c->tracks[c->ntracks++];
}


static int
ngx_livestream_llhls_create_track(ngx_livestream_llhls_cutter_t *c,
    ngx_livestream_llhls_track_t *t, const char *name,
    ngx_livestream_media_e media)
{
    t->encoded = (media == NGX_LIVESTREAM_VIDEO
                  && t - c->tracks >= NGX_LIVESTREAM_LLHLS_ENCODED);

    return ngx_livestream_llhls_track_create(t, &c->out, name, media);
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

    if (f->codec->media == NGX_LIVESTREAM_VIDEO
        && c->expected && !(c->expected & (uint32_t) 1 << f->track))
    {
        return 0;
    }

    if (t->out == NULL) {

        if (c->out.total == NGX_LIVESTREAM_PIPELINE_TRACKS) {
            return 0;
        }

        rc = ngx_livestream_llhls_create_track(c, t,
                                        c->out.conf->outputs[f->track].name,
                                        f->codec->media);
        if (rc) {
            return rc;
        }

        t->newest = ngx_livestream_llhls_dts(f);
        t->msn = ngx_livestream_llhls_join(c, t->newest);
        t->fresh = c->horizon;
    }

    if (c->leader == NULL
        || (pk->nframes && f->codec->media == NGX_LIVESTREAM_VIDEO
            && (c->leader->media == NGX_LIVESTREAM_AUDIO || t > c->leader)))
    {
        c->leader = t;
    }

    if (t->codec) {
        return 0;
    }

    /* where the codec is another than it was, the next cut brings it */

    if (t->hash && t->hash != f->codec->hash) {
        return 0;
    }

    return ngx_livestream_llhls_track_codec(t, f->codec, t->msn + 1);
}


/*
 * The segment before the first one of a new track: of video that comes with
 * others, but later, the one before the cut that it came with.
 */

static uint64_t
ngx_livestream_llhls_join(ngx_livestream_llhls_cutter_t *c, int64_t us)
{
    uint64_t                     msn;
    ngx_livestream_llhls_cut_t  *cut;

    if (c->waiting || c->leader->media == NGX_LIVESTREAM_AUDIO) {
        return c->msn;
    }

    for (msn = c->msn; msn + 1 != c->out.conf->msn; msn--) {

        cut = &c->cuts[msn % NGX_LIVESTREAM_LLHLS_CUTS];

        if (cut->msn != msn || cut->time < us) {
            break;
        }
    }

    return msn;
}


/*
 * Copyright (C) nginx-livestream contributors
 *
 * Recordings for tests: what the packager makes of clips that libavcodec
 * encodes, the index of it, and the frames that went in, to hold against what
 * comes out.
 */


#ifndef _DVR_CLIP_H_INCLUDED_
#define _DVR_CLIP_H_INCLUDED_


#include "ngx_livestream_dvr_index.h"
#include "ngx_livestream_dvr_source.h"
#include "packager_sim.h"
#include "transcode_clip.h"


#define RECORDING_FRAMES  65536


/* by the number of its output in the packager */
#define SOURCE_TRACK      0
#define AUDIO_TRACK       1
#define LOW_TRACK         2


typedef struct {
    sim_t                    sim;
    char                     dir[128];
    ngx_livestream_dvr_index_t   index;
    ngx_livestream_dvr_source_t  source;

    unsigned                 n;
    ngx_livestream_frame_t  *frames[RECORDING_FRAMES];
} recording_t;


static recording_t  recording;


static inline void
recording_begin(const char *name)
{
    printf("# %s\n", name);

    sim_init(&recording.sim);

    sim->conf.playlist_length = 100000;
    sim->conf.segment_duration = 1000000;
    sim->conf.part_duration = 250000;

    strcpy(sim->conf.outputs[LOW_TRACK].name, "low");

    recording.n = 0;
    memset(&recording.index, 0, sizeof(ngx_livestream_dvr_index_t));
    memset(&recording.source, 0, sizeof(ngx_livestream_dvr_source_t));

    (void) snprintf(recording.dir, sizeof(recording.dir),
                    "%s/stream/broadcast", sim->root);

    recording.source.dir = recording.dir;
}


/* a frame on the timeline, in ticks; the caller's reference goes */
static inline void
recording_frame(unsigned track, ngx_livestream_frame_t *f, int64_t dts,
    int64_t pts, unsigned flags)
{
    if (recording.n == RECORDING_FRAMES) {
        picture_die("too many frames");
    }

    f->track = track;
    f->dts = dts;
    f->pts = pts;
    f->flags |= flags;
    f->wall = INT64_C(1767225600000000);

    recording.frames[recording.n++] = f;
}


/* a clip, its first dts at so many us */
static inline void
recording_clip(unsigned track, const clip_t *clip, int64_t us, unsigned flags)
{
    unsigned                 i;
    int64_t                  shift;
    ngx_livestream_frame_t  *f, *in;

    shift = ngx_livestream_us_to_ticks(us, clip->codec->timescale)
            - clip->frames[0]->dts;

    for (i = 0; i < clip->n; i++) {
        in = clip->frames[i];

        f = ngx_livestream_frame_create(clip->codec, in->size);
        memcpy(f->data, in->data, in->size);
        f->flags = in->flags;

        recording_frame(track, f, in->dts + shift, in->pts + shift,
                        i ? 0 : flags);
    }
}


static inline int
recording_earlier(const void *one, const void *two)
{
    int64_t                        x, y;
    const ngx_livestream_frame_t  *a, *b;

    a = *(ngx_livestream_frame_t *const *) one;
    b = *(ngx_livestream_frame_t *const *) two;

    x = ngx_livestream_ticks_to_us(a->dts, a->codec->timescale);
    y = ngx_livestream_ticks_to_us(b->dts, b->codec->timescale);

    if (x != y) {
        return (x > y) - (x < y);
    }

    return (int) a->track - (int) b->track;
}


/* as the writer fills the registry, and that the index */
static inline void
recording_track(const sim_track_t *st, ngx_livestream_dvr_track_t *t)
{
    unsigned                         i;
    ngx_livestream_dvr_segment_t    *s;
    const ngx_livestream_codec_t    *c;
    const ngx_livestream_llhls_segment_t  *in;

    strcpy(t->name, st->name);

    for (i = 0; i < recording.n; i++) {

        if (strcmp(sim->conf.outputs[recording.frames[i]->track].name,
                   st->name)
            != 0)
        {
            continue;
        }

        c = recording.frames[i]->codec;

        t->media = c->media;
        t->codec = c->id;
        t->width = c->width;
        t->height = c->height;
        t->sample_rate = c->sample_rate;
        t->channels = c->channels;
        strcpy(t->codecs, c->codecs);
        break;
    }

    t->segments = calloc(st->nsegments + 1,
                         sizeof(ngx_livestream_dvr_segment_t));
    t->nsegments = st->nsegments;

    for (i = 0; i < st->nsegments; i++) {
        in = &st->segments[i];
        s = &t->segments[i];

        s->msn = in->msn;
        s->start = in->start;
        s->pdt = in->pdt;
        s->duration = in->duration;
        s->size = in->size;
        s->init = in->init;
        s->flags = in->flags & (NGX_LIVESTREAM_DVR_DISCONTINUITY
                                |NGX_LIVESTREAM_DVR_GAP);
    }
}


/* the packager leaves out what comes before the first key frame: forgets what
 * is in no file */
static inline void
recording_sift(void)
{
    unsigned                 i, n, at[16] = { 0 };
    const char              *name;
    sim_track_t             *t;
    const sim_sample_t      *s;
    ngx_livestream_frame_t  *f;

    for (i = 0, n = 0; i < recording.n; i++) {
        f = recording.frames[i];
        name = sim->conf.outputs[f->track].name;
        t = sim_track(name);
        s = t ? &t->samples[at[f->track]] : NULL;

        if (t && at[f->track] < t->nsamples && s->pts == f->pts
            && s->size == f->size)
        {
            at[f->track]++;
            recording.frames[n++] = f;

        } else {
            ngx_livestream_frame_unref(f);
        }
    }

    recording.n = n;
}


static inline void
recording_play(void)
{
    int       rc;
    unsigned  i, n;

    qsort(recording.frames, recording.n, sizeof(ngx_livestream_frame_t *),
          recording_earlier);

    sim_open();

    rc = 0;

    for (i = 0; rc == 0 && i < recording.n; i++) {
        rc = sim_push(ngx_livestream_frame_ref(recording.frames[i]));
    }

    if (rc == 0) {
        rc = sim_end();

    } else {
        sim_close();
    }

    tap_is(rc, 0, "is recorded");

    n = 0;

    for (i = 0; i < sim->ntracks; i++) {
        sim_read(sim->tracks[i]);
        recording_track(sim->tracks[i], &recording.index.tracks[i]);
        n += sim->tracks[i]->nsamples;
    }

    sim_aligned(sim->part_target);

    tap_is(sim->wrong, 0, "keeps the rules");

    if (sim->conf.low_latency) {
        recording_sift();

        tap_is(recording.n, n, "%u frames", n);
    }

    recording.index.ntracks = sim->ntracks;
    recording.index.target_duration = sim->target_duration;
    recording.index.ended = 1;
}


static inline ngx_livestream_dvr_track_t *
recording_of(const char *name)
{
    unsigned  i;

    for (i = 0; i < recording.index.ntracks; i++) {
        if (strcmp(recording.index.tracks[i].name, name) == 0) {
            return &recording.index.tracks[i];
        }
    }

    picture_die(name);

    return NULL;
}


static inline void
recording_path(char *p, size_t size, const char *track, uint64_t msn)
{
    (void) snprintf(p, size, "%s/%s/segment-%" PRIu64 ".m4s", recording.dir,
                    track, msn);
}


/* segment i has become a gap */
static inline void
recording_gap(const char *track, unsigned i)
{
    char                           path[256];
    ngx_livestream_dvr_segment_t  *s;

    s = &recording_of(track)->segments[i];

    recording_path(path, sizeof(path), track, s->msn);
    (void) unlink(path);

    s->size = 0;
    s->flags |= NGX_LIVESTREAM_DVR_GAP;
}


static inline void
recording_end(void)
{
    unsigned  i;

    for (i = 0; i < recording.index.ntracks; i++) {
        free(recording.index.tracks[i].segments);
    }

    while (recording.n) {
        ngx_livestream_frame_unref(recording.frames[--recording.n]);
    }

    sim_free();
}


#endif /* _DVR_CLIP_H_INCLUDED_ */

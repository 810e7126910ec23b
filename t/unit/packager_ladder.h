
/*
 * Copyright (C) nginx-livestream contributors
 *
 * Ladders for tests of the packager: tracks of video that come together, each
 * in its own time, and what the stage before the packager says of them.
 */


#ifndef _PACKAGER_LADDER_H_INCLUDED_
#define _PACKAGER_LADDER_H_INCLUDED_


#include "packager_clip.h"


#define SOURCE  0x01
#define HIGH    0x04
#define MIDDLE  0x08
#define LOW     0x10
#define ALL     (SOURCE|HIGH|MIDDLE|LOW)

#define is_gap(s)            (((s)->flags & NGX_LIVESTREAM_LLHLS_GAP) != 0)
#define is_discontinuity(s)                                                  \
    (((s)->flags & NGX_LIVESTREAM_LLHLS_DISCONTINUITY) != 0)


/* frames of a track of video, as many as there are from..to */
typedef struct {
    unsigned                 track;
    double                   from;      /* s */
    double                   to;
    double                   fps;
    double                   gop;       /* s, between key frames */
    double                   source;    /* s, between those of the source; 0:
                                           the same */
    double                   lag;       /* s, that they come later */
    unsigned                 flags;     /* of the first one */
    ngx_livestream_codec_t  *codec;
} clip_t;


/* what the stage before says of tracks, and when */
typedef struct {
    double                   at;        /* s */
    uint32_t                 expected;
} event_t;


static sim_t     state;
static unsigned  nevents;
static event_t   events[8];

static const char *const  names[] = { "source", "audio", "high", "middle",
                                      "low" };


static void
begin(const char *name)
{
    unsigned  i;

    printf("# %s\n", name);

    sim_init(&state);

    sim->conf.playlist_length = 1000;
    nevents = 0;

    for (i = 2; i < 5; i++) {
        strcpy(sim->conf.outputs[i].name, names[i]);
    }
}


static void
end(void)
{
    unsigned  i;

    for (i = 0; i < sim->ntracks; i++) {
        sim_read(sim->tracks[i]);
    }

    sim_aligned(sim->part_target);

    tap_is(sim->wrong, 0, "keeps the rules");

    sim_free();
    clip_free();
}


static void
expect(double at, uint32_t tracks)
{
    events[nevents].at = at;
    events[nevents++].expected = tracks;
}


static void
video(const clip_t *clip)
{
    int                      i;
    double                   t;
    int64_t                  ms;
    ngx_livestream_frame_t  *f;

    for (i = 0; clip->from + i / clip->fps < clip->to - 0.0001; i++) {
        t = i / clip->fps;
        ms = clip->from * 1000 + t * 1000 + 0.5;

        f = frame(clip->codec, ms * 90, 0,
                  i % (int) (clip->gop * clip->fps + 0.5) == 0);

        f->track = clip->track;

        if (clip->source
            && i % (int) (clip->source * clip->fps + 0.5) != 0
            && (f->flags & NGX_LIVESTREAM_FRAME_KEY))
        {
            f->flags |= NGX_LIVESTREAM_FRAME_NO_CUT;
        }

        if (i == 0) {
            f->flags |= clip->flags;
        }

        arrive(ms * 1000 + clip->lag * 1000000, f);
    }
}


static void
audio(double from, double to)
{
    int64_t  dts;

    for (dts = from * 48000; dts < to * 48000; dts += 1024) {
        arrive(ngx_livestream_ticks_to_us(dts, 48000),
               frame(aac48, dts, 0, 1));
    }
}


/* the whole ladder at 30 frames a second, a key frame each two, the source at
 * once and its rungs a little later, the lowest not last */

static void
ladder(double from, double to, ngx_livestream_codec_t *c, unsigned flags)
{
    video(&(clip_t) { 0, from, to, 30, 2, 0, 0, flags, c });
    video(&(clip_t) { 2, from, to, 30, 2, 0, 0.3, flags, c });
    video(&(clip_t) { 3, from, to, 30, 2, 0, 0.2, flags, c });
    video(&(clip_t) { 4, from, to, 30, 2, 0, 0.15, flags, c });
}


static void
tell(int64_t us)
{
    unsigned  i;

    for (i = 0; i < nevents; i++) {
        if (us >= (int64_t) (events[i].at * 1000000)) {
            sim->expected = events[i].expected;
        }
    }
}


/* pushes what has arrived before `to`, in s, from the frame of number n on */

static unsigned
play_to(unsigned n, double to)
{
    int  rc;

    if (n == 0) {
        qsort(arrivals, narrivals, sizeof(arrival_t), earlier);
        sim_open();
    }

    rc = 0;

    for ( /* void */ ; n < narrivals; n++) {

        if (arrivals[n].arrival >= (int64_t) (to * 1000000)) {
            return n;
        }

        tell(arrivals[n].arrival);

        rc = sim_push(ngx_livestream_frame_ref(arrivals[n].frame));
        if (rc) {
            break;
        }
    }

    tap_is(rc ? rc : sim_end(), 0, "is packaged");

    return n;
}


static void
play(void)
{
    (void) play_to(0, 100000);
}


/* s, where the parts of a track end that have been told of */

static double
reached(const char *name)
{
    unsigned                         i;
    int64_t                          us;
    sim_track_t                     *t;
    ngx_livestream_llhls_segment_t  *s;

    t = sim_track(name);
    s = &t->segments[t->nsegments - !t->open];
    us = s->start + (t->open ? 0 : s->duration);

    for (i = t->first; t->open && i < t->nparts; i++) {
        us += t->parts[i].part.duration;
    }

    return us / 1000000.0;
}


static unsigned
gap_segments(const char *name)
{
    unsigned      i, n;
    sim_track_t  *t;

    t = sim_track(name);
    n = 0;

    for (i = 0; i < t->nsegments; i++) {
        n += is_gap(&t->segments[i]);
    }

    return n;
}


/* tracks of video whose segments begin at another time than those of a track
 * that has all of them */

static unsigned
misaligned(const char *name)
{
    unsigned      i, j, n;
    sim_track_t  *t, *all;

    all = sim_track(name);
    n = 0;

    for (i = 0; i < sim->ntracks; i++) {
        t = sim->tracks[i];

        if (strcmp(t->name, "audio") == 0) {
            continue;
        }

        for (j = 0; j < t->nsegments; j++) {
            if (t->segments[j].start
                != all->segments[t->segments[j].msn
                                 - all->segments[0].msn].start)
            {
                n++;
                break;
            }
        }
    }

    return n;
}


static unsigned
gaps(void)
{
    unsigned  i, n;

    for (i = 0, n = 0; i < sim->ntracks; i++) {
        n += sim->tracks[i]->gaps;
    }

    return n;
}


/* all tracks have one discontinuity, at the same segment */

static void
one_discontinuity(uint64_t msn)
{
    unsigned      i, j, n;
    sim_track_t  *t;

    for (i = 0; i < sim->ntracks; i++) {
        t = sim->tracks[i];
        n = 0;

        for (j = 0; j < t->nsegments; j++) {
            if (is_discontinuity(&t->segments[j])) {
                tap_is(t->segments[j].msn, msn, "%s has its discontinuity",
                       t->name);
                n++;
            }
        }

        tap_is(n, 1, "and no other");
    }
}


/* what stream_open() tells of a stream that was there before */

static void
known(const char *name, ngx_livestream_codec_t *c)
{
    unsigned  n;

    n = sim->conf.ntracks++;

    strcpy(sim->conf.tracks[n].name, name);
    sim->conf.tracks[n].media = c->media;
    sim->conf.tracks[n].config_hash = c->hash;
    sim->conf.tracks[n].init = 1;

    sim_known(name, c, 1, sim->conf.msn);
}


#endif /* _PACKAGER_LADDER_H_INCLUDED_ */

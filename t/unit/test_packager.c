
/*
 * Copyright (C) nginx-livestream contributors
 *
 * Tests of the packager: publishers of all kinds, without threads or network.
 * The rules of the protocol that every record must keep are held against in
 * packager_sim.h, for every message; here it is what comes out in all.
 */


#include <dirent.h>
#include <math.h>

#include "packager_clip.h"


/* clips begin here on the timeline, so that audio may begin earlier */
#define BASE    2000                    /* ms */


typedef struct {
    const char              *name;

    /* the publisher */
    double                   seconds;
    double                   fps;       /* 0: no video */
    double                   gop;       /* s */
    int                      bframes;
    int                      jitter;    /* ms, of video, either way */
    double                   freeze;    /* s, at the end of each 7 s */
    int                      rate;      /* Hz, 0: no audio */
    int                      offset;    /* ms, that audio begins later */
    int                      delay;     /* ms, that it is sent later */
    double                   mute;      /* s, at the end of each 11 s */

    /* the stream */
    double                   segment;   /* s; 0: 6 */
    int                      part;      /* ms; 0: 500 */
    int                      plain;     /* no low latency */

    /* what is to come of it */
    uint32_t                 target_duration;
    uint32_t                 part_target;       /* ms */
    unsigned                 segments;          /* 0: any number */
    unsigned                 dependent; /* most segments without a key frame */
    int                      gaps;      /* -1: any */
} scenario_t;


static const scenario_t  scenarios[] = {
    { "29.97 fps, GOP of 2 s", 40, 30000.0 / 1001, 2.002, 0, 0, 0,
      48000, 0, 0, 0, 0, 0, 0, 6, 512, 8, 0, 0 },
    { "23.976 fps, GOP of 2 s", 40, 24000.0 / 1001, 2.002, 2, 0, 0,
      48000, 0, 0, 0, 0, 0, 0, 6, 512, 8, 0, 0 },
    { "25 fps, GOP of 1 s", 40, 25, 1, 0, 0, 0,
      44100, 0, 0, 0, 0, 0, 0, 6, 520, 8, 0, 0 },
    { "25 fps, B-frames, GOP of 4 s", 40, 25, 4, 2, 0, 0,
      44100, 0, 0, 0, 0, 0, 0, 6, 520, 10, 0, 0 },
    { "59.94 fps, GOP of 2 s", 40, 60000.0 / 1001, 2.002, 2, 0, 0,
      48000, 0, 0, 0, 0, 0, 0, 6, 512, 8, 0, 0 },
    { "30 fps, GOP of 8.33 s", 60, 30, 8.33, 0, 0, 0,
      48000, 0, 0, 0, 0, 0, 0, 9, 512, 8, 0, 0 },
    { "30 fps, GOP of 6.46 s", 60, 30, 6.46, 0, 0, 0,
      48000, 0, 0, 0, 0, 0, 0, 7, 512, 10, 0, 0 },
    { "segments of 6.4 s, GOP of 6.4 s", 60, 30, 6.4, 0, 0, 0,
      48000, 0, 0, 0, 6.4, 0, 0, 7, 512, 10, 0, 0 },
    { "30 fps, GOP of 12 s", 60, 30, 12, 0, 0, 0,
      48000, 0, 0, 0, 0, 0, 0, 12, 512, 5, 0, 0 },
    { "30 fps, GOP of 45 s", 100, 30, 45, 0, 0, 0,
      48000, 0, 0, 0, 0, 0, 0, 30, 512, 5, 2, 0 },
    { "30 fps, every frame a key frame", 20, 30, 0, 0, 0, 0,
      48000, 0, 0, 0, 0, 0, 0, 6, 512, 5, 0, 0 },
    { "5 fps", 40, 5, 2, 0, 0, 0,
      48000, 0, 0, 0, 0, 0, 0, 6, 600, 8, 0, 0 },
    { "10 fps", 40, 10, 2, 0, 0, 0,
      48000, 0, 0, 0, 0, 0, 0, 6, 512, 8, 0, 0 },
    { "1 fps", 40, 1, 4, 0, 0, 0,
      48000, 0, 0, 0, 0, 0, 0, 6, 1000, 10, 0, 0 },
    { "parts of 100 ms", 20, 30, 2, 0, 0, 0,
      48000, 0, 0, 0, 0, 100, 0, 6, 107, 4, 0, 0 },
    { "parts of 2 s, segments of 2 s", 20, 30, 1, 0, 0, 0,
      44100, 0, 0, 0, 2, 2000, 0, 2, 2000, 11, 0, 0 },
    { "segments of 1 s", 20, 30, 1, 0, 0, 0,
      44100, 0, 0, 0, 1, 0, 0, 1, 511, 20, 0, 0 },
    { "segments of 1 s, GOP of 2 s", 20, 30, 2, 0, 0, 0,
      44100, 0, 0, 0, 1, 0, 0, 2, 511, 10, 0, 0 },
    { "jitter of 15 ms", 40, 30, 2, 2, 15, 0,
      48000, 0, 0, 0, 0, 0, 0, 6, 512, 8, 0, 0 },
    { "jitter of 60 ms at 8 fps", 40, 8, 2, 0, 60, 0,
      48000, 0, 0, 0, 0, 0, 0, 6, 0, 8, 0, 0 },
    { "freezes of 0.2 s", 40, 30, 2, 0, 0, 0.2,
      48000, 0, 0, 0, 0, 0, 0, 6, 512, 8, 0, 0 },
    { "freezes of 0.6 s", 40, 30, 2, 2, 0, 0.6,
      48000, 0, 0, 0, 0, 0, 0, 6, 512, 8, 0, 0 },
    { "freezes of 1.5 s", 40, 30, 2, 2, 0, 1.5,
      48000, 0, 0, 0, 0, 0, 0, 6, 512, 0, 0, 0 },
    { "freezes of 3 s", 40, 30, 2, 0, 0, 3,
      48000, 0, 0, 0, 0, 0, 0, 6, 512, 0, 3, -1 },
    { "audio begins 1 s later", 40, 30, 2, 0, 0, 0,
      48000, 1000, 0, 0, 0, 0, 0, 6, 512, 8, 0, -1 },
    { "audio begins 1 s earlier", 40, 30, 2, 0, 0, 0,
      48000, -1000, 0, 0, 0, 0, 0, 6, 528, 8, 0, -1 },
    { "audio is sent 1 s later", 40, 30, 2, 0, 0, 0,
      48000, 0, 1000, 0, 0, 0, 0, 6, 512, 8, 0, 0 },
    { "audio is sent 1 s earlier", 40, 30, 2, 0, 0, 0,
      48000, 0, -1000, 0, 0, 0, 0, 6, 528, 8, 0, 0 },
    { "audio is sent 10 s later", 60, 30, 2, 0, 0, 0,
      48000, 0, 10000, 0, 0, 0, 0, 6, 500, 0, 3, -1 },
    { "audio is sent 10 s earlier", 60, 30, 2, 0, 0, 0,
      48000, 0, -10000, 0, 0, 0, 0, 6, 512, 0, 0, 0 },
    { "audio has holes of 0.1 s", 60, 30, 2, 0, 0, 0,
      48000, 0, 0, 0.1, 0, 0, 0, 6, 512, 11, 0, -1 },
    { "audio has holes of 5 s", 60, 30, 2, 0, 0, 0,
      48000, 0, 0, 5, 0, 0, 0, 6, 512, 11, 0, -1 },
    { "video only", 40, 30, 2, 0, 0, 0,
      0, 0, 0, 0, 0, 0, 0, 6, 500, 8, 0, 0 },
    { "audio only, 44.1 kHz", 40, 0, 0, 0, 0, 0,
      44100, 0, 0, 0, 0, 0, 0, 6, 511, 8, 0, 0 },
    { "audio only, 48 kHz, holes", 40, 0, 0, 0, 0, 0,
      48000, 0, 0, 2, 0, 0, 0, 6, 512, 8, 0, -1 },
    { "not low latency", 40, 30, 2, 2, 0, 0,
      48000, 0, 0, 0, 0, 0, 1, 6, 512, 8, 0, 0 }
};


/* timestamps in whole milliseconds, as RTMP has them */

static void
make_video(const scenario_t *s)
{
    double   t, key;
    int64_t  ms, cts, last;
    int      i, is_key;

    static const int  shift[4] = { 1, 3, 0, 0 };

    key = 0;
    last = -1;

    for (i = 0; i / s->fps < s->seconds; i++) {
        t = i / s->fps;

        if (s->freeze && fmod(t, 7) >= 7 - s->freeze) {
            continue;
        }

        ms = BASE + (int64_t) (t * 1000 + 0.5);

        if (s->jitter) {
            ms += (int64_t) random_below(2 * s->jitter + 1) - s->jitter;
        }

        if (ms <= last) {
            ms = last + 1;
        }

        last = ms;
        is_key = 0;

        if (t >= key - 0.0001) {
            is_key = 1;
            key += s->gop ? s->gop : 1 / s->fps;

            while (key <= t) {
                key += s->gop;
            }
        }

        cts = s->bframes ? (int64_t) (shift[i % 4] * 90000 / s->fps) : 0;

        arrive(ms * 1000, frame(h264, ms * 90, cts, is_key));
    }
}


static void
make_audio(const scenario_t *s)
{
    double                   t;
    int64_t                  dts;
    ngx_livestream_codec_t  *c;

    c = (s->rate == 44100) ? aac44 : aac48;

    for (dts = 0; (double) dts / s->rate < s->seconds; dts += 1024) {
        t = (double) dts / s->rate;

        if (s->mute && fmod(t, 11) >= 11 - s->mute) {
            continue;
        }

        arrive((int64_t) (t * 1000000)
               + (int64_t) (BASE + s->offset + s->delay) * 1000,
               frame(c, dts + (int64_t) (BASE + s->offset) * s->rate / 1000,
                     0, 1));
    }
}


/* every picture from the first key frame on is there, shown when it was to be,
 * and none is later decoded than shown where that was so before */

static void
pictures(const sim_track_t *t)
{
    unsigned                       i, n;
    const ngx_livestream_frame_t  *f;

    n = 0;

    for (i = 0; i < narrivals; i++) {
        f = arrivals[i].frame;

        if (f->track != 0) {
            continue;
        }

        if (n == t->nsamples) {
            sim_wrong("%u pictures only", n);
            return;
        }

        sim_check(t->samples[n].pts == f->pts, "picture %u is shown at %ld, "
                  "not %ld", n, t->samples[n].pts, f->pts);
        sim_check(t->samples[n].dts <= f->dts || t->gaps,
                  "picture %u is decoded at %ld, not %ld", n,
                  t->samples[n].dts, f->dts);
        n++;
    }

    sim_check(n == t->nsamples, "%u pictures of %u", t->nsamples, n);
}


/* no sound is moved by a frame, and none is lost but for a good reason */

static void
sounds(const sim_track_t *t, const scenario_t *s)
{
    unsigned                       i, n, lost;
    const ngx_livestream_frame_t  *f;

    n = 0;
    lost = 0;

    for (i = 0; i < narrivals; i++) {
        f = arrivals[i].frame;

        if (f->track != 1) {
            continue;
        }

        if (n < t->nsamples && llabs(t->samples[n].dts - f->dts) < 1024) {
            n++;

        } else {
            lost++;
        }
    }

    sim_check(n == t->nsamples, "%u sounds of %u are known", n, t->nsamples);

    if (s->offset >= 0 && llabs(s->delay) <= 1000) {
        sim_check(lost * 1024 / s->rate < 1 + 2 * s->mute,
                  "%u sounds are lost", lost);
    }
}


static void
run(const scenario_t *s)
{
    sim_t         state;
    unsigned      i, segments, gaps;
    sim_track_t  *t;

    sim_init(&state);

    sim->conf.segment_duration = s->segment ? s->segment * 1000000 : 6000000;
    sim->conf.part_duration = (s->part ? s->part : 500) * 1000;
    sim->conf.low_latency = !s->plain;
    sim->conf.has_video = s->fps != 0;
    sim->conf.has_audio = s->rate != 0;
    sim->conf.playlist_length = 1000;

    if (s->fps) {
        make_video(s);
    }

    if (s->rate) {
        make_audio(s);
    }

    tap_is(clip_play(), 0, "%s", s->name);
    tap_is(sim->ntracks, (s->fps != 0) + (s->rate != 0), "tracks");

    segments = sim->tracks[0]->nsegments;
    gaps = 0;

    for (i = 0; i < sim->ntracks; i++) {
        t = sim->tracks[i];

        gaps += t->gaps;

        sim_read(t);

        if (s->plain || s->delay < -3000) {
            continue;
        }

        sim_check(t->discontinuities == 0, "%s: discontinuities", t->name);

        if (strcmp(t->name, "source") == 0) {
            pictures(t);

        } else {
            sounds(t, s);
        }
    }

    sim_aligned(sim->part_target);

    tap_is(sim->wrong, 0, "... keeps the rules");
    tap_is(sim->target_duration, s->target_duration, "... TARGETDURATION");

    if (s->part_target) {
        tap_is(sim->part_target, s->part_target * 1000, "... PART-TARGET");
    }

    if (s->segments) {
        tap_is(segments, s->segments, "... segments");
    }

    if (s->gaps != -1) {
        tap_is(gaps, s->gaps, "... gaps");
    }

    tap_ok(sim->tracks[0]->dependent <= s->dependent,
           "... segments begin with key frames (%u do not)",
           sim->tracks[0]->dependent);

    sim_free();
    clip_free();
}


int
main(void)
{
    size_t  i;

    clip_codecs();

    for (i = 0; i < sizeof(scenarios) / sizeof(scenarios[0]); i++) {
        run(&scenarios[i]);
    }

    clip_free_codecs();

    return tap_done();
}

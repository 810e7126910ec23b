
/*
 * Copyright (C) nginx-livestream contributors
 *
 * Tests of the packager: publishers that break off, change, come late, go
 * away, come back, or lie; and disks that refuse.
 */


#include <signal.h>
#include <sys/resource.h>

#include "packager_clip.h"


#define MSN  100

#define is_gap(s)            (((s)->flags & NGX_LIVESTREAM_LLHLS_GAP) != 0)
#define is_discontinuity(s)                                                  \
    (((s)->flags & NGX_LIVESTREAM_LLHLS_DISCONTINUITY) != 0)


static sim_t  state;


/* 30 fps with a key frame each gop seconds, from..to in seconds */

static void
video(double from, double to, double gop, ngx_livestream_codec_t *c,
    unsigned flags)
{
    int      i, n;
    int64_t  ms;

    n = gop * 30 + 0.5;

    for (i = 0; from + i / 30.0 < to - 0.0001; i++) {
        ms = from * 1000 + i * 1000 / 30.0 + 0.5;

        arrive(ms * 1000, frame(c, ms * 90, 0, i % n == 0));

        if (i == 0) {
            arrivals[narrivals - 1].frame->flags |= flags;
        }
    }
}


static void
audio(double from, double to, ngx_livestream_codec_t *c, unsigned flags)
{
    int64_t  dts;

    for (dts = from * c->timescale; dts < to * c->timescale; dts += 1024) {
        arrive(ngx_livestream_ticks_to_us(dts, c->timescale),
               frame(c, dts, 0, 1));

        if (dts == (int64_t) (from * c->timescale)) {
            arrivals[narrivals - 1].frame->flags |= flags;
        }
    }
}


static void
begin(const char *name)
{
    printf("# %s\n", name);

    sim_init(&state);
    sim->conf.playlist_length = 1000;
}


static void
end(void)
{
    unsigned  i;

    for (i = 0; i < sim->ntracks; i++) {
        sim_read(sim->tracks[i]);
    }

    if (sim->ntracks) {
        sim_aligned(sim->part_target);
    }

    tap_is(sim->wrong, 0, "keeps the rules");

    sim_free();
    clip_free();
}


/* the one segment of a track that is a discontinuity, or UINT64_MAX */

static uint64_t
discontinuity(const char *name)
{
    unsigned      i;
    uint64_t      msn;
    sim_track_t  *t;

    t = sim_track(name);
    msn = UINT64_MAX;

    for (i = 0; i < t->nsegments; i++) {
        if (!is_discontinuity(&t->segments[i])) {
            continue;
        }

        if (msn != UINT64_MAX) {
            return UINT64_MAX;
        }

        msn = t->segments[i].msn;
    }

    return msn;
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


static void
broken_timeline(void)
{
    sim_track_t  *t;

    begin("a broken timeline, and no key frame for a second");

    video(0, 7.3, 2, h264, 0);
    audio(0, 7.3, aac48, 0);

    /* the timeline goes on behind the end, here with the end of a group */
    video(7.4, 20, 100, h264, NGX_LIVESTREAM_FRAME_DISCONTINUITY);
    arrivals[narrivals - 378].frame->flags &= ~NGX_LIVESTREAM_FRAME_KEY;
    arrivals[narrivals - 348].frame->flags |= NGX_LIVESTREAM_FRAME_KEY;
    audio(7.4, 20, aac48, NGX_LIVESTREAM_FRAME_DISCONTINUITY);

    tap_is(clip_play(), 0, "is packaged");
    tap_is(discontinuity("source"), 2, "one discontinuity in the video");
    tap_is(discontinuity("audio"), 2, "at the same segment in the audio");

    t = sim_track("source");

    tap_ok(llabs(t->segments[1].start + t->segments[1].duration - 7300000)
           <= 1000, "the segment before it ends with its continuity");
    tap_is(t->segments[2].start, 8400000, "it begins with a key frame");
    tap_is(t->gaps + sim_track("audio")->gaps, 0, "and there are no gaps");
    tap_is(t->init, 1, "nor another init segment");

    end();
}


static void
broken_audio_first(void)
{
    unsigned  i;

    begin("a broken timeline that audio sees first");

    video(0, 7, 2, h264, 0);
    audio(0, 7, aac48, 0);

    i = narrivals;

    video(7, 15, 2, h264, NGX_LIVESTREAM_FRAME_DISCONTINUITY);

    for ( /* void */ ; i < narrivals; i++) {
        arrivals[i].arrival += 700000;
    }

    audio(7.02, 15, aac48, NGX_LIVESTREAM_FRAME_DISCONTINUITY);

    tap_is(clip_play(), 0, "is packaged");
    tap_is(discontinuity("source"), 2, "one discontinuity in the video");
    tap_is(discontinuity("audio"), 2, "at the same segment in the audio");

    end();
}


static void
new_video_codec(void)
{
    sim_track_t  *t;

    begin("another video codec");

    video(0, 9, 2, h264, 0);
    video(9, 20, 2, h264_other, 0);
    audio(0, 20, aac48, 0);

    tap_is(clip_play(), 0, "is packaged");
    tap_is(discontinuity("source"), 3, "one discontinuity in the video");
    tap_is(discontinuity("audio"), 3, "at the same segment in the audio");

    t = sim_track("source");

    tap_is(t->init, 2, "another init segment for the video");
    tap_is(t->segments[2].init, 1, "which is not that of the segment before");
    tap_is(t->segments[3].init, 2, "but of this one");
    tap_is(t->segments[3].start, 9000000, "where the codec changed");
    tap_is(sim_track("audio")->init, 1, "and none for the audio");

    end();
}


static void
new_audio_codec(void)
{
    sim_track_t  *t;

    begin("another audio codec");

    video(0, 20, 2, h264, 0);
    audio(0, 9, aac44, 0);
    audio(9, 20, aac48, 0);

    tap_is(clip_play(), 0, "is packaged");
    tap_is(discontinuity("source"), 3, "one discontinuity in the video");
    tap_is(discontinuity("audio"), 3, "at the same segment in the audio");

    t = sim_track("audio");

    tap_is(t->init, 2, "another init segment for the audio");
    tap_is(t->segments[3].init, 2, "which is this segment's");
    tap_ok(llabs(t->segments[3].start - 10000000) < 30000,
           "which begins at the next key frame");
    tap_is(sim_track("source")->init, 1, "and none for the video");

    end();
}


static void
same_codec(void)
{
    ngx_livestream_codec_t  *other;

    begin("the same codec once more");

    other = codec(NGX_LIVESTREAM_CODEC_H264, h264_config,
                  sizeof(h264_config));

    video(0, 8, 2, h264, 0);
    video(8, 20, 2, other, 0);
    audio(0, 20, aac48, 0);

    ngx_livestream_codec_unref(other);

    tap_is(clip_play(), 0, "is packaged");
    tap_is(sim_track("source")->discontinuities, 0, "no discontinuity");
    tap_is(sim_track("source")->init, 1, "no other init segment");

    end();
}


static void
late_audio(void)
{
    begin("audio that nobody promised comes later");

    sim->conf.has_audio = 2;

    video(0, 30, 2, h264, 0);
    audio(15, 30, aac48, 0);

    tap_is(clip_play(), 0, "is packaged");
    tap_is(sim->ntracks, 2, "two tracks");
    tap_is(sim_track("audio")->segments[0].msn, 4,
           "audio begins with the next segment");
    tap_is(sim_track("audio")->gaps, 0, "without a gap");

    end();
}


static void
late_video(void)
{
    uint64_t      msn;
    sim_track_t  *t;

    begin("video comes later");

    sim->conf.has_video = 2;

    audio(0, 30, aac48, 0);
    video(15.5, 30, 2, h264, 0);

    tap_is(clip_play(), 0, "is packaged");
    tap_is(sim->ntracks, 2, "two tracks");

    t = sim_track("source");
    msn = t->segments[0].msn;

    tap_is(t->segments[0].start, 15500000, "video begins with its key frame");
    tap_is(t->gaps, 0, "without a gap");
    tap_is(t->dependent, 0, "and is cut at key frames");

    t = sim_track("audio");

    tap_ok(llabs(t->segments[msn - t->segments[0].msn].start - 15500000)
           < 30000, "audio is cut there too");
    tap_is(t->gaps, 0, "without a gap");

    end();
}


static void
audio_goes(void)
{
    begin("audio goes for good");

    video(0, 40, 2, h264, 0);
    audio(0, 10, aac48, 0);

    tap_is(clip_play(), 0, "is packaged");
    tap_is(gap_segments("audio"), 5, "its segments are gaps from there on");
    tap_is(sim_track("source")->gaps, 0, "the video has none");

    end();
}


static void
video_breaks_and_goes(void)
{
    uint64_t      msn;
    sim_track_t  *t;

    begin("the timeline breaks, and there is only audio then");

    video(0, 7, 2, h264, 0);
    audio(0, 7, aac48, 0);
    video(7.1, 7.4, 100, h264, NGX_LIVESTREAM_FRAME_DISCONTINUITY);
    arrivals[narrivals - 9].frame->flags &= ~NGX_LIVESTREAM_FRAME_KEY;
    audio(7.1, 40, aac48, NGX_LIVESTREAM_FRAME_DISCONTINUITY);

    tap_is(clip_play(), 0, "is packaged");

    msn = discontinuity("audio");
    t = sim_track("audio");

    tap_is(msn, 2, "there is one discontinuity");
    tap_ok(t->segments[2].start < 7500000,
           "audio leads from where video was seen last");
    tap_is(gap_segments("audio"), 0, "without a gap");
    tap_ok(gap_segments("source") >= 5, "and the video has gaps");

    end();
}


static void
video_goes(void)
{
    unsigned      i;
    int64_t       longest;
    sim_track_t  *t;

    begin("video goes for half a minute, then comes back");

    video(0, 10, 2, h264, 0);
    audio(0, 60, aac48, 0);
    video(40, 60, 2, h264, 0);

    tap_is(clip_play(), 0, "is packaged");
    tap_ok(gap_segments("source") >= 3, "its segments are gaps meanwhile");

    t = sim_track("source");
    longest = 0;

    for (i = 0; i < t->nsegments; i++) {
        if (t->segments[i].duration > longest) {
            longest = t->segments[i].duration;
        }
    }

    tap_ok(longest <= 6499000, "none is longer than the target duration");
    tap_is(t->discontinuities, 0, "there is no discontinuity");
    tap_is(sim_track("audio")->gaps, 0, "and audio has no gap");

    end();
}


/* what stream_open() tells of a stream that was there before */

static void
continued(uint64_t msn, int64_t timeline)
{
    sim->conf.continued = 1;
    sim->conf.target_duration = 6;
    sim->conf.part_target = 500000;
    sim->conf.msn = msn;
    sim->conf.timeline = timeline;
    sim->conf.ntracks = 2;

    strcpy(sim->conf.tracks[0].name, "source");
    sim->conf.tracks[0].media = NGX_LIVESTREAM_VIDEO;
    sim->conf.tracks[0].config_hash = h264->hash;
    sim->conf.tracks[0].init = 3;

    strcpy(sim->conf.tracks[1].name, "audio");
    sim->conf.tracks[1].media = NGX_LIVESTREAM_AUDIO;
    sim->conf.tracks[1].config_hash = aac48->hash;
    sim->conf.tracks[1].init = 1;

    sim_known("source", h264, 3, msn);
    sim_known("audio", aac48, 1, msn);
}


static void
comes_back(void)
{
    char         path[256];
    FILE        *f;
    struct stat  st;

    begin("a publisher comes back");

    continued(MSN, 50000000);

    /* dates that were listed already are half a minute ahead */

    sim->conf.pdt = INT64_C(1767225600000000) + 80000000;

    /* what a worker that died had begun, and what it had done before */

    (void) snprintf(path, sizeof(path), "mkdir -p %s/stream/broadcast/source",
                    sim->root);
    tap_is(system(path), 0, "there is a folder");

    (void) snprintf(path, sizeof(path),
                    "%s/stream/broadcast/source/segment-%d.m4s", sim->root,
                    MSN - 1);
    f = fopen(path, "w");
    (void) fclose(f);

    (void) snprintf(path, sizeof(path),
                    "%s/stream/broadcast/source/segment-%d.m4s", sim->root,
                    MSN);
    f = fopen(path, "w");
    (void) fputs("rubbish", f);
    (void) fclose(f);

    video(50, 70, 2, h264, 0);
    audio(50, 70, aac48, 0);

    tap_is(clip_play(), 0, "is packaged");
    tap_is(sim_track("source")->segments[0].msn, MSN, "numbers go on");
    tap_is(discontinuity("source"), MSN, "with a discontinuity");
    tap_is(discontinuity("audio"), MSN, "in both tracks");
    tap_is(sim_track("source")->segments[0].init, 3, "and the old init");
    tap_is(sim_track("source")->segments[0].pdt, sim->conf.pdt,
           "dates do not go back");

    (void) snprintf(path, sizeof(path),
                    "%s/stream/broadcast/source/segment-%d.m4s", sim->root,
                    MSN - 1);
    tap_is(stat(path, &st), 0, "older segments are there still");

    end();
}


static void
comes_back_changed(void)
{
    begin("a publisher comes back with other codecs");

    continued(MSN, 50000000);

    video(50, 70, 2, h264_other, 0);
    audio(50, 70, aac44, 0);

    tap_is(clip_play(), 0, "is packaged");
    tap_is(discontinuity("source"), MSN, "there is one discontinuity");
    tap_is(discontinuity("audio"), MSN, "in both tracks");
    tap_is(sim_track("source")->segments[0].init, 4, "and a new init");
    tap_is(sim_track("audio")->segments[0].init, 2, "in both tracks");

    end();
}


static void
comes_back_mute(void)
{
    begin("a publisher comes back without audio");

    continued(MSN, 50000000);
    sim->conf.has_audio = 0;

    video(50, 90, 2, h264, 0);

    tap_is(clip_play(), 0, "is packaged");
    tap_is(sim_track("audio")->nsegments, sim_track("source")->nsegments,
           "the audio goes on");
    tap_is(gap_segments("audio"), sim_track("source")->nsegments,
           "in gaps");

    end();
}


static void
comes_back_blind(void)
{
    begin("a publisher comes back without video, which follows");

    continued(MSN, 50000000);
    sim->conf.has_video = 2;

    audio(50, 90, aac48, 0);
    video(70, 90, 2, h264, 0);

    tap_is(clip_play(), 0, "is packaged");
    tap_ok(gap_segments("source") >= 3, "the video goes on in gaps");
    tap_ok(sim_track("source")->nsamples == 0
           && sim_track("source")->segments[0].msn == MSN,
           "from the first segment on");
    tap_is(sim_track("audio")->gaps, 0, "the audio has none");

    end();

    begin("a publisher comes back without video, for good");

    continued(MSN, 50000000);
    sim->conf.has_video = 0;

    audio(50, 90, aac48, 0);

    tap_is(clip_play(), 0, "is packaged");
    tap_is(gap_segments("source"), sim_track("audio")->nsegments,
           "the video goes on in gaps");

    end();
}


static void
next_to_nothing(void)
{
    begin("nothing at all");

    tap_is(clip_play(), 0, "is packaged");
    tap_is(sim->messages, 0, "as nothing");
    end();

    begin("one frame");
    video(0, 0.01, 2, h264, 0);

    tap_is(clip_play(), 0, "is packaged");
    tap_is(sim->ntracks, 1, "as one track");
    tap_is(sim_track("source")->nsegments, 1, "of one segment");
    end();

    begin("frames that are no key frames");
    video(0, 10, 100, h264, 0);
    arrivals[0].frame->flags = 0;

    tap_is(clip_play(), 0, "are packaged");
    tap_is(sim->messages, 0, "as nothing");
    end();

    begin("half a second");
    video(0, 0.5, 2, h264, 0);
    audio(0, 0.5, aac48, 0);

    tap_is(clip_play(), 0, "is packaged");
    tap_is(sim->ntracks, 2, "as two tracks");
    tap_is(sim_track("source")->nsegments, 1, "of one segment");
    tap_is(sim_track("audio")->nsegments, 1, "each");
    end();
}


static void
hostile(void)
{
    int  i;

    begin("a flood of frames in no time");

    for (i = 0; i < 50000; i++) {
        arrive(i, frame(h264, i, 0, i % 1000 == 0));
    }

    tap_is(clip_play(), 0, "is packaged");

    /* there is no right way to: but there is an end to it */

    sim_free();
    clip_free();

    begin("timestamps that do not move");

    for (i = 0; i < 3000; i++) {
        arrive(i, frame(h264, 90000, 0, i % 100 == 0));
        arrive(i, frame(aac48, 48000, 0, 1));
    }

    tap_is(clip_play(), 0, "are packaged");

    sim_free();
    clip_free();

    begin("two hours without a frame");
    video(0, 5, 2, h264, 0);
    video(7205, 7215, 2, h264, 0);
    sim->conf.has_audio = 0;

    tap_is(clip_play(), 0, "are packaged");
    tap_is(sim_track("source")->gaps, 0, "not as gaps");
    tap_is(sim_track("source")->discontinuities, 1, "but a discontinuity");
    end();

    begin("random timestamps");

    for (i = 0; i < 20000; i++) {
        arrive(i, frame(h264, random_below(9000000), random_below(90000),
                        i % 50 == 0));
        arrive(i, frame(aac48, random_below(4800000), 0, 1));
    }

    tap_is(clip_play(), 0, "are packaged");

    sim_free();
    clip_free();
}


static void
refused(void)
{
    char           path[128];
    FILE          *f;
    struct rlimit  limit, old;

    begin("a root that is not a folder");

    (void) snprintf(path, sizeof(path), "%s/file", sim->root);
    f = fopen(path, "w");
    (void) fclose(f);

    sim->conf.root = path;
    video(0, 10, 2, h264, 0);

    tap_is(clip_play(), ENOTDIR, "fails with what the system says");
    tap_str(sim->reason, "the folder of a track cannot be made",
            "and says at what");
    clip_free();
    sim_free();

    begin("a disk that is full");

    (void) signal(SIGXFSZ, SIG_IGN);
    (void) getrlimit(RLIMIT_FSIZE, &old);
    limit = old;
    limit.rlim_cur = 3000;
    (void) setrlimit(RLIMIT_FSIZE, &limit);

    video(0, 40, 100, h264, 0);

    tap_is(clip_play(), EFBIG, "fails with what the system says");
    tap_str(sim->reason, "a segment cannot be written", "and says at what");

    (void) setrlimit(RLIMIT_FSIZE, &old);

    clip_free();
    sim_free();
}


/* a player has no complaints */

static void
played(void)
{
    char      command[1024], line[256];
    FILE     *p;
    unsigned  i, n;

    static const char *const  names[] = { "source", "audio" };

    if (system("command -v ffprobe >/dev/null") != 0) {
        tap_ok(1, "# skip no ffprobe");
        return;
    }

    begin("what ffprobe reads");

    video(0, 20, 2, h264, 0);
    audio(0, 20, aac48, 0);

    tap_is(clip_play(), 0, "is packaged");

    for (i = 0; i < 2; i++) {
        (void) snprintf(command, sizeof(command),
                        "cd %s/stream/broadcast/%s && cat init-1.mp4 "
                        "segment-0.m4s segment-1.m4s segment-2.m4s "
                        "segment-3.m4s > all.mp4 && ffprobe -v fatal "
                        "-show_entries packet=pts -of csv=p=0 all.mp4",
                        sim->root, names[i]);

        p = popen(command, "r");
        n = 0;

        while (fgets(line, sizeof(line), p)) {
            n++;
        }

        tap_is(pclose(p), 0, "%s is read", names[i]);

        sim_read(sim_track(names[i]));
        tap_is(n, sim_track(names[i])->nsamples, "all of its samples");
        sim_track(names[i])->nsamples = 0;
    }

    end();
}


int
main(void)
{
    clip_codecs();

    broken_timeline();
    broken_audio_first();
    new_video_codec();
    new_audio_codec();
    same_codec();
    late_audio();
    late_video();
    audio_goes();
    video_goes();
    video_breaks_and_goes();
    comes_back();
    comes_back_changed();
    comes_back_mute();
    comes_back_blind();
    next_to_nothing();
    hostile();
    refused();
    played();

    clip_free_codecs();

    return tap_done();
}

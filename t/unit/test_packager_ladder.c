
/*
 * Copyright (C) nginx-livestream contributors
 *
 * Tests of the packager: a ladder of several tracks of video, which encoders
 * make later than their source, leave out and take back.
 */


#include "packager_ladder.h"


static void
all_equal(void)
{
    unsigned  i;

    begin("a ladder");

    expect(0.05, ALL);
    ladder(0, 30, h264, 0);
    audio(0, 30);

    play();

    tap_is(sim->ntracks, 5, "five tracks");
    tap_is(misaligned("low"), 0, "all of video are cut at the same times");
    tap_is(gaps(), 0, "there are no gaps");
    tap_is(sim->target_duration, 6, "of six seconds at most");

    for (i = 0; i < 5; i++) {
        tap_is(sim_track(names[i])->segments[0].msn, 0,
               "%s begins with the first segment", names[i]);
        tap_is(sim_track(names[i])->nsegments, 6, "and has all of them");
    }

    end();
}


static void
half_rates(void)
{
    begin("a ladder of 60, 30 and 15 frames/s");

    sim->conf.frame_rate = 59940;
    expect(0, SOURCE|HIGH|LOW);

    video(&(clip_t) { 0, 0, 30, 60, 2, 0, 0, 0, h264 });
    video(&(clip_t) { 2, 0, 30, 30, 2, 0, 0.1, 0, h264 });
    video(&(clip_t) { 4, 0, 30, 15, 2, 0, 0.1, 0, h264 });
    audio(0, 30);

    play();

    tap_is(sim_track("source")->frame_rate, 59940, "metadata is the source's");
    tap_is(sim_track("high")->frame_rate, 29970, "half of it is half of it");
    tap_is(sim_track("low")->frame_rate, 15000, "or else what frames say");
    tap_is(sim->part_target, 534000, "PART-TARGET suits all of them");
    tap_is(misaligned("low"), 0, "they are cut at the same times");
    tap_is(gaps(), 0, "there are no gaps");

    end();
}


static void
key_frames_between(void)
{
    unsigned      i;
    sim_track_t  *t;

    begin("rungs with key frames where the source has none");

    expect(0, SOURCE|LOW);

    video(&(clip_t) { 0, 0, 40, 30, 4, 0, 0, 0, h264 });
    video(&(clip_t) { 4, 0, 40, 30, 2, 4, 0.1, 0, h264 });
    audio(0, 40);

    play();

    for (i = 0; i < sim->ntracks; i++) {
        sim_read(sim->tracks[i]);
        sim->tracks[i]->nsamples = 0;
    }

    tap_is(sim_track("source")->dependent, 0,
           "segments begin with key frames of the source");
    tap_is(sim_track("low")->segments[1].start, 4000000, "at the first");
    tap_is(sim_track("low")->segments[2].start, 8000000, "and at the second");
    tap_is(misaligned("low"), 0, "both are cut at the same times");

    end();

    begin("a source whose key frames become too rare");

    expect(0, SOURCE|LOW);

    video(&(clip_t) { 0, 0, 9, 30, 3, 0, 0, 0, h264 });
    video(&(clip_t) { 4, 0, 9, 30, 3, 0, 0.1, 0, h264 });
    video(&(clip_t) { 0, 9, 40, 30, 100, 0, 0, 0, h264 });
    video(&(clip_t) { 4, 9, 40, 30, 2, 100, 0.1, 0, h264 });
    audio(0, 40);

    play();

    t = sim_track("low");

    for (i = 0; i < sim->ntracks; i++) {
        sim_read(sim->tracks[i]);
        sim->tracks[i]->nsamples = 0;
    }

    tap_is(t->dependent, 0, "segments of the rung begin with key frames");
    tap_is(t->segments[t->nsegments - 2].duration, 6000000,
           "and are as long as may be");
    tap_is(sim_track("source")->dependent, 5, "those of the source do not");
    tap_is(misaligned("low"), 0, "both are cut at the same times");

    end();

    begin("rungs that begin before the source's first key frame");

    expect(0, LOW);

    video(&(clip_t) { 4, 0, 12, 30, 2, 100, 0, 0, h264 });
    arrivals[0].frame->flags |= NGX_LIVESTREAM_FRAME_NO_CUT;
    arrivals[60].frame->flags &= ~NGX_LIVESTREAM_FRAME_NO_CUT;
    audio(0, 12);

    play();

    tap_is(sim_track("low")->segments[0].start, 2000000, "wait for it");

    end();
}


static void
shed(void)
{
    double        most;
    unsigned      i, n;
    uint64_t      first, last;
    sim_track_t  *t;

    begin("a rung is shed and comes back");

    expect(0, ALL);
    expect(13, SOURCE|MIDDLE|LOW);
    expect(27, ALL);

    video(&(clip_t) { 0, 0, 60, 30, 2, 0, 0, 0, h264 });
    video(&(clip_t) { 2, 0, 12.5, 30, 2, 0, 0.3, 0, h264 });
    video(&(clip_t) { 2, 28, 60, 30, 2, 0, 0.3, 0, h264 });
    video(&(clip_t) { 3, 0, 60, 30, 2, 0, 0.2, 0, h264 });
    video(&(clip_t) { 4, 0, 60, 30, 2, 0, 0.15, 0, h264 });
    audio(0, 60);

    n = play_to(0, 13);

    t = sim_track("high");
    tap_is(t->hidden, 0, "it is there up to then");

    n = play_to(n, 13.1);
    most = reached("low") - sim->part_target / 1000000.0;

    tap_is(t->hidden, 1, "it is hidden at once");
    tap_ok(reached("high") >= most, "and goes on with gaps at once");

    n = play_to(n, 20);
    most = reached("low") - sim->part_target / 1000000.0;

    tap_ok(reached("high") >= most, "its playlist does not stand still");

    (void) play_to(n, 100000);

    tap_is(t->hidden, 0, "it is shown again");
    tap_is(gaps(), t->gaps, "no other track has a gap");
    tap_is(misaligned("low"), 0, "all are cut at the same times");
    tap_is(t->discontinuities, 0, "without a discontinuity");
    tap_is(t->init, 1, "with the same init segment");

    first = UINT64_MAX;
    last = 0;

    for (i = 0; i < t->nparts; i++) {
        if (t->parts[i].part.size == 0) {
            first = t->parts[i].msn < first ? t->parts[i].msn : first;
            last = t->parts[i].msn;
        }
    }

    tap_is(t->shown, last + 1, "with the first whole segment");
    tap_is(gap_segments("high"), last - first - 1,
           "segments are gaps that have no media");

    sim_read(t);
    tap_is(t->dependent, 0, "it went on with a key frame");

    for (i = 1; i < t->nsamples; i++) {
        if (t->samples[i].dts - t->samples[i - 1].dts > 90000) {
            break;
        }
    }

    tap_is(t->samples[i].dts, 28 * 90000, "the first that came");
    t->nsamples = 0;
    t->dependent = 0;

    end();
}


static void
late(void)
{
    int  i;

    begin("a rung that is two seconds and a half late");

    expect(0, ALL);

    ladder(0, 3, h264, 0);
    video(&(clip_t) { 0, 3, 30, 30, 1, 0, 0, 0, h264 });
    video(&(clip_t) { 2, 3, 30, 30, 1, 0, 2.5, 0, h264 });
    video(&(clip_t) { 3, 3, 30, 30, 1, 0, 0.2, 0, h264 });
    video(&(clip_t) { 4, 3, 30, 30, 1, 0, 0.15, 0, h264 });
    audio(0, 30);

    play();

    tap_is(gaps(), 0, "there are no gaps");
    tap_is(misaligned("low"), 0, "all are cut at the same times");

    end();

    /* the lead is with it */

    for (i = 1; i <= 15; i += 7) {
        begin("a lowest rung that is late");

        expect(0, SOURCE|LOW);

        video(&(clip_t) { 0, 0, 40, 30, 2, 0, 0, 0, h264 });
        video(&(clip_t) { 4, 0, 20, 30, 2, 0, i * 0.1, 0, h264 });
        video(&(clip_t) { 4, 20, 24, 30, 2, 0, 2, 0, h264 });
        video(&(clip_t) { 4, 24, 40, 30, 2, 0, i * 0.1, 0, h264 });
        audio(0, 40);

        play();

        tap_is(gaps(), 0, "there are no gaps, %d00 ms", i);
        tap_is(misaligned("low"), 0, "both are cut at the same times");
        tap_is(sim_track("low")->nsegments, 8, "all segments are there");

        end();
    }
}


/* the source is there first, and has key frames where its rungs have none */

static void
after_audio(void)
{
    unsigned  i;

    begin("a ladder that comes after its audio");

    sim->conf.frame_rate = 30000;

    audio(0, 53);
    expect(20, SOURCE|HIGH|LOW);

    /* and once more after a silence */

    for (i = 20; i <= 40; i += 20) {
        video(&(clip_t) { 0, i, i + 13, 30, 0.8, 0, 0, 0, h264 });
        video(&(clip_t) { 2, i, i + 13, 30, 1.6, 0, 0.3, 0, h264 });
        video(&(clip_t) { 4, i, i + 13, 30, 1.6, 0, 0.15, 0, h264 });
    }

    play();

    for (i = 0; i < sim->ntracks; i++) {
        tap_is(sim->tracks[i]->dependent, 0,
               "each segment of %s begins with a key frame",
               sim->tracks[i]->name);
    }

    tap_is(misaligned("source"), 0, "all are cut at the same times");

    end();
}


static void
overloaded(void)
{
    sim_track_t  *t;

    begin("a rung of which nothing comes for five seconds");

    expect(0, ALL);

    video(&(clip_t) { 0, 0, 40, 30, 2, 0, 0, 0, h264 });
    video(&(clip_t) { 2, 0, 11, 30, 2, 0, 0.3, 0, h264 });
    video(&(clip_t) { 2, 11, 12, 30, 100, 0, 5, 0, h264 });
    arrivals[narrivals - 30].frame->flags = 0;
    video(&(clip_t) { 2, 17, 40, 30, 100, 0, 0.3, 0, h264 });
    arrivals[narrivals - 690].frame->flags = 0;
    arrivals[narrivals - 660].frame->flags |= NGX_LIVESTREAM_FRAME_KEY;
    video(&(clip_t) { 4, 0, 40, 30, 2, 0, 0.15, 0, h264 });
    audio(0, 40);

    play();

    t = sim_track("high");

    tap_ok(t->gaps > 0, "has gaps");
    tap_is(t->hidden, 0, "but is shown");
    tap_is(gaps(), t->gaps, "no other track has one");

    sim_read(t);
    tap_is(t->nsamples, 330 + 660, "what came late, and what cannot be decoded"
           " without that, is dropped");
    t->nsamples = 0;
    t->dependent = 0;

    end();
}


static void
changed(void)
{
    sim_track_t  *t;

    begin("another source, of which the highest rung comes last");

    expect(0, ALL);

    ladder(0, 9, h264, 0);
    ladder(9, 30, h264_other, NGX_LIVESTREAM_FRAME_DISCONTINUITY);
    audio(0, 30);

    play();
    one_discontinuity(3);

    t = sim_track("high");

    tap_is(t->segments[3].init, 2, "its new codec has an init segment");
    tap_is(t->segments[3].start, 9000000, "that begins where it changed");
    tap_is(t->segments[2].init, 1, "and not before");
    tap_is(misaligned("low"), 0, "all are cut at the same times");
    tap_is(gaps(), 0, "without a gap");

    end();

    begin("another source: a rung goes, one is new, all have new codecs");

    expect(0, SOURCE|MIDDLE|LOW);
    expect(9, SOURCE|HIGH|LOW);

    video(&(clip_t) { 0, 0, 9, 30, 2, 0, 0, 0, h264 });
    video(&(clip_t) { 3, 0, 9, 30, 2, 0, 0.1, 0, h264 });
    video(&(clip_t) { 4, 0, 9, 30, 2, 0, 0.1, 0, h264 });

    video(&(clip_t) { 0, 9, 30, 30, 2, 0, 0,
                      NGX_LIVESTREAM_FRAME_DISCONTINUITY, h264_other });
    video(&(clip_t) { 2, 9, 30, 30, 2, 0, 1.2,
                      NGX_LIVESTREAM_FRAME_DISCONTINUITY, h264_other });
    video(&(clip_t) { 4, 9, 30, 30, 2, 0, 0.5,
                      NGX_LIVESTREAM_FRAME_DISCONTINUITY, h264_other });
    audio(0, 30);

    play();

    tap_is(sim->ntracks, 5, "five tracks");
    one_discontinuity(3);

    t = sim_track("source");
    tap_is(t->init, 2, "the source has a new init segment");
    tap_is(t->segments[3].init, 2, "from there on");
    tap_is(t->segments[2].init, 1, "not before");

    t = sim_track("low");
    tap_is(t->init, 2, "and so has the lowest rung");
    tap_is(t->segments[3].init, 2, "from there on");
    tap_is(t->segments[3].start, 9000000, "where the codec changed");

    t = sim_track("high");
    tap_is(t->segments[0].msn, 3, "the new rung begins there");
    tap_is(t->segments[0].start, 9000000, "at the same time");
    tap_is(t->gaps, 0, "without a gap");
    tap_is(t->hidden, 0, "and is shown");

    t = sim_track("middle");
    tap_is(t->hidden, 1, "the one that is gone is hidden");
    tap_ok(gap_segments("middle") >= t->nsegments - 3, "it goes on in gaps");
    tap_is(gaps(), t->gaps, "no other one has gaps");

    end();
}


static void
probed(void)
{
    unsigned  n;

    begin("rungs that come a second later, announced late");

    sim->conf.has_video = 2;
    expect(0.3, SOURCE|MIDDLE|LOW);

    video(&(clip_t) { 0, 0.3, 20.3, 30, 2, 0, 0, 0, h264 });
    video(&(clip_t) { 3, 0.3, 20.3, 30, 2, 0, 1.2, 0, h264 });
    video(&(clip_t) { 4, 0.3, 20.3, 30, 2, 0, 1, 0, h264 });
    audio(0, 20.3);

    n = play_to(0, 1.6);
    tap_is(sim->ntracks, 0, "are waited for");

    (void) play_to(n, 100000);

    tap_is(sim->ntracks, 4, "all tracks are there");
    tap_is(sim_track("middle")->segments[0].msn, 0,
           "from the first segment on");
    tap_is(misaligned("low"), 0, "all are cut at the same times");
    tap_is(gaps(), 0, "without a gap");

    end();

    begin("a rung that never comes");

    expect(0, SOURCE|HIGH|LOW);

    video(&(clip_t) { 0, 0, 20, 30, 2, 0, 0, 0, h264 });
    video(&(clip_t) { 2, 0, 20, 30, 2, 0, 0.2, 0, h264 });
    audio(0, 20);

    n = play_to(0, 3.1);
    tap_is(sim->ntracks, 3, "is not waited for any longer");

    (void) play_to(n, 100000);

    tap_is(sim->ntracks, 3, "there are the others");
    tap_is(misaligned("high"), 0, "which are cut at the same times");
    tap_is(gaps(), 0, "without a gap");

    end();

    begin("a rung that comes in mid-stream");

    expect(0, SOURCE|HIGH|LOW);

    video(&(clip_t) { 0, 0, 30, 30, 2, 0, 0, 0, h264 });
    video(&(clip_t) { 2, 0, 30, 30, 2, 0, 0.2, 0, h264 });
    video(&(clip_t) { 4, 11, 30, 30, 1, 2, 0.3, 0, h264 });
    audio(0, 30);

    play();

    tap_is(sim->ntracks, 4, "is a new track");
    tap_is(misaligned("high"), 0, "is cut where the others are");
    tap_is(sim_track("low")->frame_rate, 30000, "its rate is known");
    tap_is(gaps(), 0, "there are no gaps");

    end();
}


static void
lead_goes(void)
{
    sim_track_t  *t;

    begin("all rungs go, and the source stays");

    expect(0, ALL);
    expect(11, SOURCE);

    video(&(clip_t) { 0, 0, 40, 30, 2, 0, 0, 0, h264 });
    video(&(clip_t) { 2, 0, 11, 30, 2, 0, 0.3, 0, h264 });
    video(&(clip_t) { 3, 0, 11, 30, 2, 0, 0.2, 0, h264 });
    video(&(clip_t) { 4, 0, 10.6, 30, 2, 0, 0.15, 0, h264 });
    audio(0, 40);

    play();

    t = sim_track("source");

    tap_is(t->gaps, 0, "the source has no gap");
    tap_is(sim_track("audio")->gaps, 0, "nor has the audio");
    tap_is(t->discontinuities, 0, "there is no discontinuity");
    tap_is(sim_track("low")->hidden, 1, "the lowest rung is hidden");
    tap_is(sim_track("high")->hidden, 1, "and so is the highest");
    tap_is(misaligned("source"), 0, "all are cut at the same times");

    sim_read(t);
    tap_is(t->nsamples, 1200, "all of the source is there");
    tap_is(t->dependent, 0, "cut at its key frames");
    t->nsamples = 0;

    end();

    begin("a source that is found unfit, for which rungs come");

    expect(0, SOURCE);
    expect(11, HIGH|LOW);

    video(&(clip_t) { 0, 0, 11, 30, 2, 0, 0, 0, h264 });
    video(&(clip_t) { 2, 11, 40, 30, 2, 0, 0.4, 0, h264 });
    video(&(clip_t) { 4, 11, 40, 30, 2, 0, 0.3, 0, h264 });
    audio(0, 40);

    play();

    tap_is(sim_track("source")->hidden, 1, "the source is hidden");
    tap_is(sim_track("low")->gaps, 0, "rungs have no gap");
    tap_is(sim_track("high")->gaps, 0, "none of them");
    tap_is(sim_track("low")->segments[0].start, 11000000,
           "they begin with the first frame");
    tap_is(sim_track("high")->segments[0].start, 11000000, "all of them");
    tap_is(misaligned("source"), 0, "all are cut at the same times");
    tap_is(sim_track("audio")->gaps, 0, "the audio has no gap");

    end();
}


static void
comes_back(void)
{
    begin("a publisher comes back to another ladder");

    sim->conf.continued = 1;
    sim->conf.target_duration = 6;
    sim->conf.part_target = 512000;
    sim->conf.msn = 100;
    sim->conf.timeline = 50000000;

    known("source", h264);
    known("audio", aac48);
    known("576p", h264);
    known("low", h264);

    expect(0, MIDDLE|LOW);

    video(&(clip_t) { 3, 50, 80, 30, 2, 0, 0.2, 0, h264 });
    video(&(clip_t) { 4, 50, 80, 30, 2, 0, 0.3, 0, h264_other });
    audio(50, 80);

    play();

    tap_is(sim->ntracks, 5, "what there was goes on, and one is new");
    tap_is(sim_track("576p")->hidden, 1, "one that has no number is hidden");
    tap_is(gap_segments("576p"), sim_track("low")->nsegments,
           "and goes on in gaps");
    tap_is(sim_track("source")->hidden, 1, "so is one that nobody makes");
    tap_is(gap_segments("source"), sim_track("low")->nsegments,
           "and goes on in gaps");
    tap_is(sim_track("middle")->segments[0].msn, 100,
           "the new one begins with the others");
    tap_is(sim_track("low")->segments[0].init, 2, "a new codec has an init");
    tap_is(misaligned("low"), 0, "all are cut at the same times");

    end();
}


/* a publisher breaks off between a picture and those that are shown before it:
 * the rungs end with a picture that is far from the one before */

static void
breaks_off(void)
{
    unsigned      i;
    double        last;
    sim_track_t  *t;

    for (last = 8.3; last < 8.65; last += 1 / 30.0) {
        begin("the last picture is alone");

        expect(0, LOW);

        video(&(clip_t) { 4, 0, last - 0.07, 30, 2, 0, 0, 0, h264 });
        video(&(clip_t) { 4, last, last + 0.01, 30, 2, 0, 0, 0, h264 });
        arrivals[narrivals - 1].frame->flags = 0;
        audio(0, 8.3);

        play();

        t = sim_track("low");
        tap_is(gaps(), 0, "there is no gap behind it");

        for (i = 0; i < t->nsegments; i++) {
            tap_is(t->segments[i].flags & NGX_LIVESTREAM_LLHLS_GAP, 0,
                   "nor one for a segment");
        }

        end();
    }
}


static void
hostile(void)
{
    int                      i, n, track;
    ngx_livestream_frame_t  *f;

    for (n = 0; n < 20; n++) {
        begin("anything at any time");

        for (i = 0; i < 8; i++) {
            expect(i * 2.5, random_below(2) ? random_below(0x40) & 0x3d : 0);
        }

        sim->conf.has_video = 2;

        for (i = 0; i < 20000; i++) {
            track = random_below(7);

            f = frame(track == 1 ? aac48 : random_below(300) ? h264
                                                             : h264_other,
                      i * (track == 1 ? 48 : 90) + random_below(9000),
                      0, random_below(60) == 0);

            f->track = track;
            f->flags |= random_below(2000) ? 0
                        : NGX_LIVESTREAM_FRAME_DISCONTINUITY;
            f->flags |= random_below(4) ? 0 : NGX_LIVESTREAM_FRAME_NO_CUT;

            arrive(i * 1000 + random_below(2000000), f);
        }

        play();
        tap_is(sim->wrong, 0, "keeps the rules");

        sim_free();
        clip_free();
    }
}


int
main(void)
{
    clip_codecs();

    all_equal();
    half_rates();
    key_frames_between();
    shed();
    late();
    after_audio();
    overloaded();
    changed();
    probed();
    lead_goes();
    comes_back();
    breaks_off();
    hostile();

    clip_free_codecs();

    return tap_done();
}


/*
 * Copyright (C) nginx-livestream contributors
 *
 * Tests of ngx_livestream_dvr_convert.c: recordings of all codecs, with and
 * without one of the tracks, with gaps, and what their files are then.
 */


#include "dvr_convert.h"


static void
codecs(const kind_t *v, const kind_t *a, int64_t video_at, int64_t audio_at)
{
    char      tag[8];
    mp4_t    *mp4;
    clip_t    video, audio;

    (void) snprintf(tag, sizeof(tag), "test");

    recording_begin(v->name);
    printf("# with %s, from %" PRId64 " and %" PRId64 " us\n", a->name,
           video_at, audio_at);

    make(&video, v, 100);
    make(&audio, a, a->id == NGX_LIVESTREAM_CODEC_FLAC ? 40 : 180);

    recording_clip(SOURCE_TRACK, &video, video_at, 0);
    recording_clip(AUDIO_TRACK, &audio, audio_at, 0);
    recording_play();

    tap_is(run(NULL), 0, "is converted");

    mp4 = same(both, 2);

    if (mp4) {
        tap_is(mp4->streams[0].par->codec_id, v->codec, "%s", v->name);
        tap_is(mp4->streams[1].par->codec_id, a->codec, "%s", a->name);

        memcpy(tag, &mp4->streams[0].par->codec_tag, 4);
        tag[4] = '\0';
        tap_str(tag, v->tag, "as %s", v->tag);

        memcpy(tag, &mp4->streams[1].par->codec_tag, 4);
        tap_str(tag, a->tag, "as %s", a->tag);

        tap_is(mp4->streams[0].par->width, 320, "width");
        tap_is(mp4->streams[0].par->height, 180, "height");
        tap_is(mp4->streams[1].par->sample_rate, 48000, "sample rate");
    }

    mp4_free(mp4);
    clip_free(&video);
    clip_free(&audio);
    recording_end();
}


static void
one_track_only(void)
{
    clip_t  video, audio;

    recording_begin("no audio");
    make(&video, &videos[1], 60);
    recording_clip(SOURCE_TRACK, &video, 0, 0);
    sim->conf.has_audio = 0;
    recording_play();

    tap_is(run(NULL), 0, "is converted");
    mp4_free(same(only_video, 1));

    clip_free(&video);
    recording_end();

    recording_begin("no video");
    make(&audio, &audios[0], 200);
    recording_clip(AUDIO_TRACK, &audio, 123456, 0);
    sim->conf.has_video = 0;
    recording_play();

    tap_is(run(NULL), 0, "is converted");
    mp4_free(same(only_audio, 1));

    tap_is(run("source"), ENOENT, "a track that is not there");
    tap_is(run("audio"), ENOENT, "a track of audio, asked for as video");

    clip_free(&audio);
    recording_end();
}


static void
tracks_of_a_ladder(void)
{
    unsigned                     i;
    clip_t                       video, low, audio;
    ngx_livestream_dvr_track_t  *t;

    recording_begin("a rung that is asked for");

    make(&video, &videos[1], 100);
    clip_make(&low, NGX_LIVESTREAM_CODEC_H264, "libx264", H264,
              "testsrc2=s=160x90:r=25,format=yuv420p", 100);
    make(&audio, &audios[0], 150);

    recording_clip(SOURCE_TRACK, &video, 0, 0);
    recording_clip(LOW_TRACK, &low, 0, 0);
    recording_clip(AUDIO_TRACK, &audio, 0, 0);
    recording_play();

    tap_is(run(NULL), 0, "the best one");
    mp4_free(same(both, 2));

    tap_is(run("low"), 0, "the low one");
    mp4_free(same(low_audio, 2));

    tap_is(run("1080p"), ENOENT, "none of that name");

    t = recording_of("source");

    for (i = 0; i < t->nsegments / 2; i++) {
        recording_gap("source", i);
    }

    tap_is(run(NULL), 0, "the best one was away for half of the time");
    mp4_free(same(low_audio, 2));

    for (i = 0; i < t->nsegments; i++) {
        recording_gap("source", i);
    }

    tap_is(run("source"), ENODATA, "a rung of gaps");

    for (i = 0; i < t->nsegments; i++) {
        recording_gap("low", i);
        recording_gap("audio", i);
    }

    tap_is(run(NULL), ENODATA, "nothing but gaps");

    clip_free(&video);
    clip_free(&low);
    clip_free(&audio);
    recording_end();
}


/* frames of a segment that became a gap are not to be there */

static void
forget(const char *track, unsigned segment)
{
    double                               us;
    unsigned                             i, n;
    ngx_livestream_frame_t              *f;
    const ngx_livestream_dvr_segment_t  *s;

    s = &recording_of(track)->segments[segment];

    for (i = 0, n = 0; i < recording.n; i++) {
        f = recording.frames[i];
        us = f->dts * 1e6 / f->codec->timescale;

        if (strcmp(sim->conf.outputs[f->track].name, track) == 0
            && us > s->start - 10.0 && us < s->start + s->duration - 10.0)
        {
            ngx_livestream_frame_unref(f);
            continue;
        }

        recording.frames[n++] = f;
    }

    recording.n = n;
}


static void
holes_keep_the_time(void)
{
    clip_t  video, audio;

    recording_begin("gaps");

    make(&video, &videos[1], 200);
    make(&audio, &audios[0], 250);

    recording_clip(SOURCE_TRACK, &video, 0, 0);
    recording_clip(AUDIO_TRACK, &audio, 0, 0);
    recording_play();

    forget("source", 2);
    recording_gap("source", 2);
    forget("audio", 3);
    recording_gap("audio", 3);

    tap_is(run(NULL), 0, "in the middle of each track");
    mp4_free(same(both, 2));

    forget("source", 0);
    recording_gap("source", 0);

    tap_is(run(NULL), 0, "and at the start of one");
    mp4_free(same(both, 2));

    recording_end();

    recording_begin("a publisher that was away for a while");

    recording_clip(SOURCE_TRACK, &video, 0, 0);
    recording_clip(AUDIO_TRACK, &audio, 0, 0);
    recording_clip(SOURCE_TRACK, &video, 15000000,
                   NGX_LIVESTREAM_FRAME_DISCONTINUITY);
    recording_clip(AUDIO_TRACK, &audio, 15000000,
                   NGX_LIVESTREAM_FRAME_DISCONTINUITY);
    recording_play();

    tap_is(run(NULL), 0, "comes back");
    mp4_free(same(both, 2));

    clip_free(&video);
    clip_free(&audio);
    recording_end();
}


static void
composition_times_before_decoding(void)
{
    int                      k;
    clip_t                   video;
    unsigned                 i;
    ngx_livestream_frame_t  *f;

    recording_begin("pictures that are shown before they are decoded");

    make(&video, &videos[1], 100);
    recording_clip(SOURCE_TRACK, &video, 1000000, 0);

    for (i = 0; i < recording.n; i++) {
        f = recording.frames[i];
        f->pts -= 2 * 3600;
    }

    sim->conf.has_audio = 0;
    recording_play();

    k = 0;

    for (i = 0; i < recording.n; i++) {
        k += recording.frames[i]->pts < recording.frames[i]->dts;
    }

    tap_ok(k > 0, "there are %d", k);
    tap_is(run(NULL), 0, "are converted");
    mp4_free(same(only_video, 1));

    clip_free(&video);
    recording_end();
}


static void
plain_segments(void)
{
    clip_t  video, audio;

    recording_begin("segments without parts");

    sim->conf.low_latency = 0;

    make(&video, &videos[1], 150);
    make(&audio, &audios[0], 250);

    recording_clip(SOURCE_TRACK, &video, 0, 0);
    recording_clip(AUDIO_TRACK, &audio, 0, 0);
    recording_play();

    tap_is(run(NULL), 0, "are converted");
    mp4_free(same(both, 2));

    clip_free(&video);
    clip_free(&audio);
    recording_end();
}


int
main(void)
{
    unsigned  i;

    av_log_set_level(AV_LOG_QUIET);

    for (i = 0; i < sizeof(videos) / sizeof(videos[0]); i++) {
        codecs(&videos[i], &audios[i % 3], i & 1 ? 40000 : 0,
               i & 1 ? 0 : 31250);
    }

    codecs(&videos[1], &audios[0], 0, 21333);
    codecs(&videos[1], &audios[0], 700000, 0);

    one_track_only();
    tracks_of_a_ladder();
    holes_keep_the_time();
    composition_times_before_decoding();
    plain_segments();

    return tap_done();
}

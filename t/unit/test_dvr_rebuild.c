
/*
 * Copyright (C) nginx-livestream contributors
 *
 * Tests of ngx_livestream_dvr_rebuild.c: recordings of all codecs whose index
 * is lost, and what is made of their files.
 */


#include <fcntl.h>

#include "dvr_convert.h"


#define JITTER  1000        /* us, of the wall clock in the files' times */


static ngx_livestream_dvr_index_t  made;


/* 0 or an errno */

static int
rebuild(void)
{
    int  rc;

    reason = NULL;

    ngx_livestream_dvr_index_free(&made);

    rc = ngx_livestream_dvr_index_rebuild(recording.dir, &reason);

    if (rc == 0) {
        rc = ngx_livestream_dvr_index_read(recording.dir, &made, &reason);
    }

    if (rc == 0) {
        rc = ngx_livestream_dvr_index_recover(recording.dir, &made, &reason);
    }

    if (rc) {
        printf("# %s: %s\n", reason ? reason : "no reason", strerror(rc));
    }

    return rc;
}


static const ngx_livestream_dvr_track_t *
made_of(const char *name)
{
    unsigned  i;

    for (i = 0; i < made.ntracks; i++) {
        if (strcmp(made.tracks[i].name, name) == 0) {
            return &made.tracks[i];
        }
    }

    return NULL;
}


static void
like(const char *name)
{
    size_t                               i, wrong;
    int64_t                              clock;
    const ngx_livestream_dvr_track_t    *was, *is;
    const ngx_livestream_dvr_segment_t  *a, *b;

    was = recording_of(name);
    is = made_of(name);

    tap_is(is != NULL, 1, "%s: is found", name);

    if (is == NULL) {
        return;
    }

    tap_is(is->media, was->media, "%s: media", name);
    tap_is(is->codec, was->codec, "%s: codec", name);
    tap_str(is->codecs, was->codecs, "%s: codecs", name);
    tap_is(is->sample_rate, was->sample_rate, "%s: sample rate", name);
    tap_is(is->channels, was->channels, "%s: channels", name);

    if (is->media == NGX_LIVESTREAM_VIDEO) {
        tap_is(is->width, 320, "%s: width", name);
        tap_is(is->height, 180, "%s: height", name);
    }

    tap_is(is->nsegments, was->nsegments, "%s: segments", name);

    /* gaps that the last one ended with are in no file */

    wrong = 0;
    clock = is->nsegments ? is->segments[0].pdt - is->segments[0].start : 0;

    for (i = 0; i < is->nsegments && i < was->nsegments; i++) {
        a = &was->segments[i];
        b = &is->segments[i];

        if (a->msn != b->msn || a->size != b->size || a->init != b->init
            || a->flags != b->flags || llabs(a->start - b->start) > 1
            || (i + 1 < is->nsegments
                && llabs((int64_t) a->duration - b->duration) > 2)
            || llabs(b->pdt - b->start - clock) > JITTER)
        {
            printf("# segment %" PRIu64 ": %u bytes, init %u, flags %u, from "
                   "%" PRId64 " for %u\n#        is %" PRIu64 ": %u bytes, "
                   "init %u, flags %u, from %" PRId64 " for %u\n",
                   a->msn, a->size, a->init, a->flags, a->start, a->duration,
                   b->msn, b->size, b->init, b->flags, b->start, b->duration);
            wrong++;
        }
    }

    tap_is(wrong, 0, "%s: are as they were", name);
}


static void
codecs(const kind_t *v, const kind_t *a)
{
    clip_t  video, audio;

    recording_begin(v->name);
    printf("# with %s\n", a->name);

    make(&video, v, 100);
    make(&audio, a, a->id == NGX_LIVESTREAM_CODEC_FLAC ? 40 : 180);

    recording_clip(SOURCE_TRACK, &video, 0, 0);
    recording_clip(AUDIO_TRACK, &audio, 0, 0);
    recording_play();

    tap_is(rebuild(), 0, "is made again");
    tap_is(made.target_duration, recording.index.target_duration,
           "target duration");
    like("source");

    /* of audio that is shorter, the rest is gaps now */

    if (recording_of("audio")->nsegments == recording_of("source")->nsegments)
    {
        like("audio");
    }

    tap_is(rebuild(), 0, "once more");
    like("source");

    clip_free(&video);
    clip_free(&audio);
    recording_end();
}


static void
touch(const char *name, int64_t s)
{
    char             file[256];
    struct timespec  times[2] = { { s, 0 }, { s, 0 } };

    (void) snprintf(file, sizeof(file), "%s/source/%s", recording.dir, name);

    if (utimensat(AT_FDCWD, file, times, 0) == -1) {
        picture_die(file);
    }
}


/* its initialization segments are told by the files' times */

static void
other_parameters(void)
{
    char                               name[64];
    size_t                             i;
    clip_t                             one, two;
    uint32_t                           inits;
    const ngx_livestream_dvr_track_t  *t;

    recording_begin("another picture in the middle");

    make(&one, &videos[0], 50);
    make(&two, &videos[1], 50);

    recording_clip(SOURCE_TRACK, &one, 0, 0);
    recording_clip(SOURCE_TRACK, &two, 2000000,
                   NGX_LIVESTREAM_FRAME_DISCONTINUITY);
    sim->conf.has_audio = 0;
    recording_play();

    t = recording_of("source");
    inits = 0;

    for (i = 0; i < t->nsegments; i++) {
        (void) snprintf(name, sizeof(name), "segment-%" PRIu64 ".m4s",
                        t->segments[i].msn);
        touch(name, 1000000000 + 10 * i);

        if (t->segments[i].init != inits) {
            inits = t->segments[i].init;
            (void) snprintf(name, sizeof(name), "init-%u.mp4", inits);
            touch(name, 1000000000 + 10 * i - 5);
        }
    }

    tap_is(inits, 2, "there are two initialization segments");
    tap_is(rebuild(), 0, "is made again");

    t = made_of("source");
    inits = 0;

    for (i = 0; t && i < t->nsegments; i++) {
        inits |= 1 << t->segments[i].init;
    }

    tap_is(inits, 6, "both are in use");

    t = recording_of("source");
    tap_is(made.tracks[0].nsegments, t->nsegments, "no segment is lost");

    clip_free(&one);
    clip_free(&two);
    recording_end();
}


static void
damaged(void)
{
    char    name[192];
    FILE   *f;
    clip_t  video, audio;

    recording_begin("damaged files");

    make(&video, &videos[0], 100);
    make(&audio, &audios[0], 180);
    recording_clip(SOURCE_TRACK, &video, 0, 0);
    recording_clip(AUDIO_TRACK, &audio, 0, 0);
    recording_play();

    recording_path(name, sizeof(name), "source", 1);
    tap_is(truncate(name, 100), 0, "a segment of which no part is whole");

    (void) snprintf(name, sizeof(name), "%s/index", recording.dir);
    f = fopen(name, "w");
    fputs("\xff\xff\n", f);
    fclose(f);

    (void) snprintf(name, sizeof(name), "%s/../videos", recording.dir);
    (void) mkdir(name, 0755);

    tap_is(rebuild(), 0, "is made again");
    tap_is(made.ntracks, 2, "both tracks");
    tap_is(made_of("source")->nsegments, recording_of("source")->nsegments,
           "no number is missing");
    tap_is(made_of("source")->segments[1].flags & NGX_LIVESTREAM_DVR_GAP,
           NGX_LIVESTREAM_DVR_GAP, "it is a gap");

    (void) snprintf(name, sizeof(name), "%s/source/init-1.mp4",
                    recording.dir);
    tap_is(truncate(name, 40), 0, "no initialization segment");
    tap_is(rebuild(), 0, "is made again");
    tap_is(made.ntracks, 1, "without that track");
    tap_is(made_of("audio") != NULL, 1, "of the other one");

    (void) snprintf(name, sizeof(name), "%s/audio/init-1.mp4", recording.dir);
    (void) unlink(name);
    tap_is(rebuild(), ENODATA, "nothing that can be played");

    clip_free(&video);
    clip_free(&audio);
    recording_end();
}


int
main(void)
{
    unsigned  i;

    for (i = 0; i < sizeof(videos) / sizeof(videos[0]); i++) {
        codecs(&videos[i], &audios[i % 3]);
    }

    other_parameters();
    damaged();

    ngx_livestream_dvr_index_free(&made);

    return tap_done();
}

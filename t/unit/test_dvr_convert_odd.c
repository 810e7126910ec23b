
/*
 * Copyright (C) nginx-livestream contributors
 *
 * Tests of ngx_livestream_dvr_convert.c: codecs that change, files that are
 * elsewhere, damaged or gone, no place for the result, and a recording whose
 * first segments say nothing of the others.
 */


#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>

#include "dvr_convert.h"


static void
copy_file(const char *from, const char *to)
{
    FILE    *in, *out;
    char     name[256], buf[65536];
    size_t   n;

    (void) snprintf(name, sizeof(name), "%s/%s", recording.dir, from);
    in = fopen(name, "r");

    (void) snprintf(name, sizeof(name), "%s/%s", recording.dir, to);
    out = fopen(name, "w");

    while ((n = fread(buf, 1, sizeof(buf), in)) > 0) {
        (void) fwrite(buf, 1, n, out);
    }

    (void) fclose(in);
    (void) fclose(out);
}


static void
codecs_that_change(void)
{
    unsigned                     i;
    clip_t                       video, other;
    ngx_livestream_dvr_track_t  *t;

    recording_begin("an init segment that says the same again");

    make(&video, &videos[1], 100);
    recording_clip(SOURCE_TRACK, &video, 0, 0);
    sim->conf.has_audio = 0;
    recording_play();

    copy_file("source/init-1.mp4", "source/init-2.mp4");

    t = recording_of("source");

    for (i = 2; i < t->nsegments; i++) {
        t->segments[i].init = 2;
    }

    tap_is(run(NULL), 0, "is no obstacle");
    mp4_free(same(only_video, 1));

    t->segments[2].init = 7;
    tap_is(run(NULL), EIO, "but is to be there");

    recording_end();

    recording_begin("another picture in the middle");

    clip_make(&other, NGX_LIVESTREAM_CODEC_H264, "libx264", H264,
              "testsrc2=s=160x90:r=25,format=yuv420p", 50);
    recording_clip(SOURCE_TRACK, &video, 0, 0);
    recording_clip(SOURCE_TRACK, &other, 5000000,
                   NGX_LIVESTREAM_FRAME_DISCONTINUITY);
    sim->conf.has_audio = 0;
    recording_play();

    tap_is(run(NULL), EINVAL, "is refused");

    clip_free(&video);
    clip_free(&other);
    recording_end();
}


static volatile int  stop;
static int           stop_after;
static unsigned      fetches;


/* what the disk does not have: the recording's folder under another name */

static int
fetch(void *data, const char *name, uint64_t offset, size_t size, uint8_t *p,
    size_t *got)
{
    int      fd;
    char     file[256];
    ssize_t  n;

    (void) data;

    if (stop_after && ++fetches == (unsigned) stop_after) {
        stop = 1;
    }

    (void) snprintf(file, sizeof(file), "%s.stored/%s", recording.dir, name);

    fd = open(file, O_RDONLY);
    if (fd == -1) {
        return errno;
    }

    n = pread(fd, p, size, offset);
    close(fd);

    *got = n > 0 ? n : 0;

    return n == -1 ? errno : 0;
}


static void
files_elsewhere(void)
{
    char                         name[512], stored[256];
    clip_t                       video, audio;
    ngx_livestream_dvr_track_t  *t;

    recording_begin("a recording in storage");

    make(&video, &videos[1], 100);
    make(&audio, &audios[0], 150);
    recording_clip(SOURCE_TRACK, &video, 0, 0);
    recording_clip(AUDIO_TRACK, &audio, 20000, 0);
    recording_play();

    (void) snprintf(stored, sizeof(stored), "%s.stored", recording.dir);
    tap_is(rename(recording.dir, stored), 0, "it is not on the disk");

    tap_is(run(NULL), EIO, "without storage it is nowhere");

    recording.source.fetch = fetch;

    tap_is(run(NULL), 0, "is converted");
    mp4_free(same(both, 2));

    recording.source.stop = &stop;

    for (stop_after = 1; stop_after < 12; stop_after += 5) {
        stop = 0;
        fetches = 0;
        tap_is(run(NULL), ECANCELED, "is stopped at read %d", stop_after);
    }

    stop = 0;
    stop_after = 0;

    t = recording_of("audio");

    (void) snprintf(name, sizeof(name), "%s/audio/segment-%" PRIu64 ".m4s",
                    stored, t->segments[2].msn);
    tap_is(truncate(name, t->segments[2].size - 1), 0, "a short file");
    tap_is(run(NULL), EILSEQ, "is no whole one");

    (void) unlink(name);
    tap_is(run(NULL), EIO, "nor is one that is missing");

    clip_free(&video);
    clip_free(&audio);
    recording_end();
}


static void
no_place_for_the_file(void)
{
    clip_t         video;
    struct rlimit  was, now;

    recording_begin("a disk that is full");

    make(&video, &videos[0], 150);
    recording_clip(SOURCE_TRACK, &video, 0, 0);
    sim->conf.has_audio = 0;
    recording_play();

    /* which is told in the same way */

    (void) signal(SIGXFSZ, SIG_IGN);
    (void) getrlimit(RLIMIT_FSIZE, &was);

    now = was;
    now.rlim_cur = 65536;
    (void) setrlimit(RLIMIT_FSIZE, &now);

    tap_is(run(NULL), EFBIG, "fails");

    (void) setrlimit(RLIMIT_FSIZE, &was);

    tap_is(run(NULL), 0, "until there is place");
    mp4_free(same(only_video, 1));

    memset(&convert, 0, sizeof(convert));
    convert.path = "/nonexistent/out.mp4";
    tap_is(ngx_livestream_dvr_convert(&recording.index, &recording.source,
                                      &convert, &reason),
           EIO, "no folder: %s", reason);

    clip_free(&video);
    recording_end();
}


/* n frames of a few bytes, so many ticks apart */

static int64_t
tiny(ngx_livestream_codec_t *c, int64_t dts, unsigned n, int ticks, int vary)
{
    size_t                   size;
    unsigned                 i;
    ngx_livestream_frame_t  *f;

    for (i = 0; i < n; i++) {
        size = i % 250 ? sizeof(h264_frame1) : sizeof(h264_frame0);

        f = ngx_livestream_frame_create(c, size);
        memcpy(f->data, i % 250 ? h264_frame1 : h264_frame0, size);
        f->data[size - 1] = i;

        recording_frame(SOURCE_TRACK, f, dts, dts + (vary ? i % 3 * 40 : 0),
                        i % 250 ? 0 : NGX_LIVESTREAM_FRAME_KEY);
        dts += ticks + (vary ? i % 2 : 0);
    }

    return dts;
}


static void
tables_of_moov(void)
{
    mp4_t                   *mp4;
    int64_t                  dts;
    ngx_livestream_codec_t  *c;

    if (ngx_livestream_codec_parse(NGX_LIVESTREAM_CODEC_H264, h264_config,
                                   sizeof(h264_config), &c, &reason)
        == -1)
    {
        picture_die(reason);
    }

    recording_begin("a steady stream");
    sim->conf.has_audio = 0;
    (void) tiny(c, 0, 9000, 1800, 1);
    recording_play();

    tap_is(run(NULL), 0, "is converted");
    mp4 = same(only_video, 1);
    tap_ok(mp4 && mp4->free < mp4->moov * 2 / 3,
           "%ld bytes were reserved for nothing, and %ld used",
           mp4 ? mp4->free : 0, mp4 ? mp4->moov : 0);
    mp4_free(mp4);
    recording_end();

    recording_begin("a stream that begins with far fewer frames");
    sim->conf.has_audio = 0;
    dts = tiny(c, 0, 30, 18000, 0);
    (void) tiny(c, dts, 30000, 150, 1);
    recording_play();

    tap_is(run(NULL), 0, "is converted, though its tables are larger");
    mp4_free(same(only_video, 1));
    recording_end();

    ngx_livestream_codec_unref(c);
}


/* whatever is in the files, it ends, and nothing is left */

static void
hostile_files(void)
{
    int       fd, rc, ok, bad;
    char      name[256];
    clip_t    video, audio;
    unsigned  i, j, size;
    uint32_t  seed;
    uint8_t   byte, was;

    static const char *const  files[] = {
        "source/init-1.mp4", "source/segment-%lu.m4s",
        "audio/segment-%lu.m4s"
    };

    recording_begin("bytes that are not what they were");

    make(&video, &videos[1], 50);
    make(&audio, &audios[0], 80);
    recording_clip(SOURCE_TRACK, &video, 0, 0);
    recording_clip(AUDIO_TRACK, &audio, 20000, 0);
    recording_play();

    (void) snprintf(path, sizeof(path), "%s/out.mp4", sim->root);
    convert.path = path;
    convert.track = NULL;

    seed = 1;
    ok = 0;
    bad = 0;

    for (i = 0; i < 3 * 400; i++) {
        size = (i % 3 == 0) ? 700 : 300;

        (void) snprintf(name, sizeof(name), "%s/", recording.dir);
        (void) snprintf(name + strlen(name), sizeof(name) - strlen(name),
                        files[i % 3],
                        (unsigned long) recording_of("audio")->segments[0]
                                        .msn);

        fd = open(name, O_RDWR);
        seed = seed * 1664525 + 1013904223;
        j = (seed >> 8) % size;

        if (pread(fd, &was, 1, j) != 1) {
            close(fd);
            continue;
        }

        byte = (i & 1) ? was ^ (1U << (seed & 7)) : seed >> 24;
        rc = pwrite(fd, &byte, 1, j);

        rc = ngx_livestream_dvr_convert(&recording.index, &recording.source,
                                        &convert, &reason);
        ok += rc == 0;
        bad += rc != 0;

        rc = pwrite(fd, &was, 1, j);
        close(fd);
    }

    tap_ok(ok + bad > 1000, "%d were converted, %d refused", ok, bad);

    tap_is(run(NULL), 0, "what they were");
    mp4_free(same(both, 2));

    clip_free(&video);
    clip_free(&audio);
    recording_end();
}


int
main(void)
{
    av_log_set_level(AV_LOG_QUIET);

    codecs_that_change();
    files_elsewhere();
    no_place_for_the_file();
    tables_of_moov();
    hostile_files();

    return tap_done();
}


/*
 * Copyright (C) nginx-livestream contributors
 *
 * The playlists of a recording: what they say is held against its files.
 */


#include <sys/resource.h>
#include <time.h>
#include <zlib.h>

#include "dvr_recording.h"
#include "ngx_livestream_dvr_finish.h"


#define TEXT  (8 * 1024 * 1024)


static char                          text[TEXT], other[TEXT];
static ngx_livestream_dvr_summary_t  sum;


unsigned char *ngx_livestream_rfc3339(unsigned char *p, int64_t us);

/* the core's own has nginx behind it; this one has milliseconds since 1970 */

unsigned char *
ngx_livestream_rfc3339(unsigned char *p, int64_t us)
{
    return p + sprintf((char *) p, "@%" PRId64, us / 1000);
}


static int
finish(void)
{
    int          rc;
    const char  *reason;

    reason = NULL;
    memset(&sum, 0xff, sizeof(sum));

    rc = ngx_livestream_dvr_finish(dir, &idx, &sum, &reason);

    if (rc) {
        printf("# %s: %s\n", reason ? reason : "no reason", strerror(rc));
    }

    return rc;
}


/* reads a file of the recording, unpacked; its length or -1 */

static int
load(const char *name, char *buf)
{
    int     n;
    char    path[256];
    gzFile  f;

    snprintf(path, sizeof(path), "%s/%s", dir, name);

    f = gzopen(path, "r");

    if (f == NULL) {
        buf[0] = '\0';
        return -1;
    }

    n = gzread(f, buf, TEXT - 1);
    gzclose(f);

    buf[n > 0 ? n : 0] = '\0';

    return n;
}


static int
has(const char *line)
{
    return strstr(text, line) != NULL;
}


static unsigned
count(const char *what)
{
    char      *p;
    unsigned   n;

    n = 0;

    for (p = text; (p = strstr(p, what)) != NULL; p++) {
        n++;
    }

    return n;
}


/* what a player makes of a media playlist: the sum of all durations in us, or
 * -1; *bytes of the files that it names */

static int64_t
parse(const char *track, unsigned *segments, uint64_t *bytes)
{
    int          gap, target;
    char         path[512], uri[64], *p;
    double       duration;
    int64_t      us;
    unsigned     map;
    struct stat  st;

    us = 0;
    gap = 0;
    map = 0;
    target = 0;
    duration = -1;
    *bytes = 0;
    *segments = 0;

    for (p = text; *p; p = strchr(p, '\n') + 1) {

        if (sscanf(p, "#EXT-X-TARGETDURATION:%d\n", &target) == 1
            || sscanf(p, "#EXTINF:%lf,\n", &duration) == 1
            || sscanf(p, "#EXT-X-MAP:URI=\"init-%u.mp4\"\n", &map) == 1)
        {
            continue;
        }

        if (strncmp(p, "#EXT-X-GAP\n", 11) == 0) {
            gap = 1;
            continue;
        }

        if (*p == '#') {
            continue;
        }

        if (sscanf(p, "%63[^\n]", uri) != 1 || duration < 0 || map == 0
            || (int) (duration + 0.5) > target)
        {
            return -1;
        }

        snprintf(path, sizeof(path), "%s/%s/%s", dir, track, uri);

        if (stat(path, &st) == 0) {
            *bytes += st.st_size;

        } else if (!gap) {
            return -1;
        }

        (*segments)++;
        us += (int64_t) (duration * 1000000 + 0.5);
        duration = -1;
        gap = 0;
    }

    return us;
}


static void
test_playlists_do_not_match_the_files(void)
{
    int64_t   us, want;
    uint64_t  msn, bytes, all;
    unsigned  i, segments;

    static const char  *names[] = { "source", "audio" };

    index_write(0, last(), last() + 1);

    tap_is(recover(), 0, "recovered");
    tap_is(finish(), 0, "finished");

    all = 0;

    for (i = 0; i < 2; i++) {
        char  name[64];

        snprintf(name, sizeof(name), "%s/playlist.m3u8", names[i]);
        tap_ok(load(name, text) > 0, "%s", name);

        strcat(name, ".gz");
        tap_ok(load(name, other) > 0, "%s", name);
        tap_str(text, other, "is the same");

        tap_ok(strncmp(text, "#EXTM3U\n#EXT-X-VERSION:6\n", 25) == 0, "head");
        tap_ok(has("#EXT-X-PLAYLIST-TYPE:VOD\n"), "for ever");
        tap_ok(has("#EXT-X-MEDIA-SEQUENCE:0\n"), "from the first one");
        tap_ok(!has("SERVER-CONTROL") && !has("PART"), "nothing of live");
        tap_is(count("#EXT-X-MAP"), 1, "one init");
        tap_is(count("#EXT-X-PROGRAM-DATE-TIME:"), last() + 1, "times");
        tap_str(strstr(text, "#EXT-X-ENDLIST"), "#EXT-X-ENDLIST\n", "an end");

        us = parse(names[i], &segments, &bytes);
        want = 0;

        for (msn = 0; msn <= last(); msn++) {
            want += made(i, msn)->duration;
        }

        tap_is(us, want, "its time");
        tap_is(segments, last() + 1, "all segments");

        for (msn = 0; msn <= last(); msn++) {
            bytes -= made(i, msn)->size;
        }

        tap_is(bytes, 0, "all bytes");

        for (msn = 0; msn <= last(); msn++) {
            all += made(i, msn)->size;
        }
    }

    tap_is(sum.start, made(VIDEO, 0)->pdt, "start");
    tap_ok(sum.end >= sum.start + sum.duration, "end");
    tap_ok(llabs(sum.duration - 21000000) < 100000, "duration");
    tap_is(sum.media, sum.duration, "no gaps");
    tap_is(sum.segments, last() + 1, "segments");
    tap_ok(sum.size > all && sum.size < all + 4096, "size with the inits");
}


static void
test_master(void)
{
    char      want[2048];
    uint64_t  peak[2], average[2], bytes, us, msn;
    unsigned  i;

    for (i = 0; i < 2; i++) {
        bytes = 0;
        us = 0;
        peak[i] = 0;

        for (msn = 0; msn <= last(); msn++) {
            bytes += made(i, msn)->size;
            us += made(i, msn)->duration;
        }

        average[i] = bytes * 8000 / (us / 1000);

        /* two of four seconds are beyond 1.5 targets, and the short ones at
         * the ends are in no run with others */

        for (msn = 0; msn <= last(); msn++) {
            bytes = (uint64_t) made(i, msn)->size * 8000
                    / (made(i, msn)->duration / 1000);
            peak[i] = (made(i, msn)->duration >= 2000000 && bytes > peak[i])
                      ? bytes : peak[i];
        }
    }

    bytes = (uint64_t) (made(AUDIO, 0)->size + made(AUDIO, 1)->size) * 8000
            / ((made(AUDIO, 0)->duration + made(AUDIO, 1)->duration) / 1000);
    printf("# run of two: %" PRIu64 ", peak %" PRIu64 "\n", bytes, peak[1]);

    tap_ok(load("master.m3u8", text) > 0, "master");
    tap_ok(load("master.m3u8.gz", other) > 0, "packed");
    tap_str(text, other, "is the same");

    snprintf(want, sizeof(want),
             "#EXTM3U\n"
             "#EXT-X-VERSION:4\n"
             "#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID=\"audio\",NAME=\"audio\","
             "DEFAULT=YES,AUTOSELECT=YES,CHANNELS=\"2\","
             "URI=\"audio/playlist.m3u8\"\n"
             "#EXT-X-STREAM-INF:BANDWIDTH=%" PRIu64 ",AVERAGE-BANDWIDTH="
             "%" PRIu64 ",CODECS=\"avc1.64001f,mp4a.40.2\",RESOLUTION=640x360,"
             "FRAME-RATE=30.000,AUDIO=\"audio\",CLOSED-CAPTIONS=NONE\n"
             "source/playlist.m3u8\n",
             peak[0] + peak[1], average[0] + average[1]);

    tap_str(text, want, "says what there is");
}


static void
test_finished_twice(void)
{
    char  command[1024];

    shell("cd %s && sha256sum master.m3u8* */playlist* > ../sums && "
          "echo half > source/playlist.m3u8.tmp && "
          "echo half > master.m3u8.gz.tmp && rm */*.m4s", dir);

    tap_is(recover(), 0, "recovered again");
    tap_is(finish(), 0, "finished again, when all has gone into storage");

    snprintf(command, sizeof(command), "cd %s && sha256sum --quiet -c ../sums "
             "&& test -z \"$(find . -name '*.tmp')\"", dir);
    tap_is(system(command), 0, "with the same result");

    shell("rm -r %s/source", dir);
    tap_is(finish(), 0, "and when the folder of a track is not there");
    tap_ok(load("source/playlist.m3u8", text) > 0, "it is made");

    restore();
}


static void
test_gaps_and_discontinuities(void)
{
    FILE      *f;
    int64_t    us;
    uint64_t   msn, bytes;
    unsigned   segments;

    shell("rm %s/audio/segment-[0-3].m4s %s", dir, file(VIDEO, 2));
    f = index_begin();

    fprintf(f, "track 720p video h264 avc1 1280 720 30000 1 0 0\n"
               "segment 720p 0 0 1767225600000000 4400000 0 0 2\n");

    for (msn = 0; msn <= last(); msn++) {
        if (msn >= 4) {
            index_line(f, AUDIO, msn, 0, 0);
        }

        if (msn != 2) {
            index_line(f, VIDEO, msn, 0,
                       msn == 4 ? NGX_LIVESTREAM_DVR_DISCONTINUITY : 0);
        }
    }

    fclose(f);

    tap_is(recover(), 0, "recovered");
    tap_is(finish(), 0, "finished");

    tap_ok(load("audio/playlist.m3u8", text) > 0, "audio");
    tap_is(count("#EXT-X-GAP\n"), 4, "begins with gaps");
    tap_is(count("#EXT-X-MAP"), 1, "of the one init");
    tap_is(count("#EXT-X-DISCONTINUITY\n"), 1, "a discontinuity");

    us = parse("audio", &segments, &bytes);
    tap_is(segments, last() + 1, "all segments");
    tap_ok(sum.media < sum.duration && sum.duration >= us, "time");

    tap_ok(load("source/playlist.m3u8", text) > 0, "video");
    tap_is(count("#EXT-X-GAP\n"), 1, "a gap");
    tap_ok(parse("source", &segments, &bytes) > 0, "can be played");

    tap_ok(load("720p/playlist.m3u8", text) < 0, "of gaps alone");
    tap_ok(load("master.m3u8", text) > 0 && !has("720p"), "is no track");

    restore();
}


static void
test_target_duration_is_exceeded(void)
{
    FILE  *f;

    shell("rm %s/*/*.m4s", dir);

    f = index_begin();
    fprintf(f, "segment source 0 0 1767225600000000 4499999 1 1 0\n");
    fprintf(f, "segment audio 0 0 1767225600000000 6500000 1 1 0\n");
    fclose(f);

    tap_is(recover(), 0, "recovered");
    tap_is(finish(), 0, "finished");

    tap_ok(load("source/playlist.m3u8", text) > 0
           && has("#EXT-X-TARGETDURATION:7\n"), "the greatest counts");
    tap_ok(load("audio/playlist.m3u8", text) > 0
           && has("#EXT-X-TARGETDURATION:7\n"), "in all tracks");

    restore();
}


static void
test_nothing_to_play(void)
{
    index_write(0, 0, 1);
    shell("rm %s/*/*.m4s", dir);

    tap_is(recover(), 0, "nothing");
    tap_is(finish(), ENODATA, "is nothing to play");
    tap_ok(load("master.m3u8", text) < 0, "and not ready");

    restore();

    index_write(0, last(), last());
    tap_is(recover(), 0, "recovered");
    shell("mkdir %s/source/playlist.m3u8", dir);
    tap_is(finish(), EISDIR, "a playlist that cannot be written");
    tap_ok(load("master.m3u8", text) < 0, "is not ready");
    shell("test -z \"$(find %s -name '*.tmp')\"", dir);

    restore();
}


static void
test_a_day_takes_long(void)
{
    FILE             *f;
    unsigned          i, k;
    struct rusage     usage;
    struct timespec   from, to;

    static const char  *names[] = { "source", "audio", "720p", "480p", "360p",
                                    "240p" };

    f = index_begin();

    for (k = 2; k < 6; k++) {
        fprintf(f, "track %s video h264 avc1 1 %u 1 1 0 0\n", names[k], k);
    }

    for (i = 0; i < 14400; i++) {
        for (k = 0; k < 6; k++) {
            fprintf(f, "open %s %u %u000000 17672%u000000 1 0\n"
                    "segment %s %u %u000000 17672%u000000 6000000 3%u 1 0\n",
                    names[k], i, i * 6, 25600 + i * 6,
                    names[k], i, i * 6, 25600 + i * 6, i % 1000);
        }
    }

    fclose(f);

    shell("rm %s/source/*.m4s %s/audio/*.m4s", dir, dir);

    clock_gettime(CLOCK_MONOTONIC, &from);
    tap_is(recover(), 0, "a day of six tracks");
    tap_is(finish(), 0, "is finished");
    clock_gettime(CLOCK_MONOTONIC, &to);

    getrusage(RUSAGE_SELF, &usage);

    tap_is(sum.duration, INT64_C(86400000000), "of a day");
    tap_ok(load("240p/playlist.m3u8", text) > 0
           && count("#EXTINF:6.000000,\n") == 14400, "with all segments");

    printf("# %ld ms, %ld KiB of the whole test\n",
           (to.tv_sec - from.tv_sec) * 1000
           + (to.tv_nsec - from.tv_nsec) / 1000000, usage.ru_maxrss);

    restore();
}


int
main(void)
{
    clip_codecs();
    record(21);

    test_playlists_do_not_match_the_files();
    test_master();
    test_finished_twice();
    test_gaps_and_discontinuities();
    test_target_duration_is_exceeded();
    test_nothing_to_play();
    test_a_day_takes_long();

    ngx_livestream_dvr_index_free(&idx);

    sim_free();
    clip_free_codecs();

    return tap_done();
}


/*
 * Copyright (C) nginx-livestream contributors
 *
 * The index of a recording: lines that are written are read again, and what
 * disks, crashes and people make of the file does no harm.
 */


#include <errno.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "ngx_livestream_dvr_index.h"
#include "tap.h"


#define TEXT  65536


static char                         dir[] = "/tmp/dvr-index-XXXXXX";
static char                         path[64];
static ngx_livestream_dvr_index_t   idx;

static const char  head[] = "livestream-recording 1 6\n";
static const char  video[] =
    "track 720p video h264 avc1.64001f 1280 720 30000 1 0 0\n";
static const char  audio[] =
    "track audio audio aac mp4a.40.2 0 0 0 0 48000 2\n";


static void
put(const char *text, size_t len)
{
    FILE  *f;

    f = fopen(path, "w");

    if (f == NULL || fwrite(text, 1, len, f) != len || fclose(f) != 0) {
        printf("Bail out! %s\n", path);
        exit(1);
    }
}


/* 0 or an errno */

static int
read_index(const char *text, size_t len)
{
    int          rc;
    const char  *reason;

    put(text, len);

    ngx_livestream_dvr_index_free(&idx);

    rc = ngx_livestream_dvr_index_read(dir, &idx, &reason);

    if (rc && reason == NULL) {
        tap_ok(0, "an error has its reason");
    }

    return rc;
}


static int
read_text(const char *text)
{
    return read_index(text, strlen(text));
}


static int
read_lines(const char *lines)
{
    char  text[TEXT];
    int   n;

    n = snprintf(text, sizeof(text), "%s%s%s%s", head, video, audio, lines);

    return read_index(text, n);
}


static void
test_what_is_written_is_not_what_is_read(void)
{
    char                          text[TEXT], *p;
    ngx_livestream_dvr_track_t    t, *got;
    ngx_livestream_dvr_segment_t  s;

    memset(&t, 0, sizeof(t));
    memset(&s, 0, sizeof(s));

    strcpy(t.name, "fifteen-letters");
    memset(t.codecs, 'x', sizeof(t.codecs) - 1);
    t.media = NGX_LIVESTREAM_AUDIO;
    t.codec = NGX_LIVESTREAM_CODEC_OPUS;
    t.width = t.height = t.frame_rate = t.transfer = UINT32_MAX;
    t.sample_rate = t.channels = UINT32_MAX;

    s.msn = UINT64_C(1) << 53;
    s.start = -INT64_C(253402300799000000);
    s.pdt = INT64_C(253402300799000000);
    s.duration = s.size = s.init = UINT32_MAX;
    s.flags = UINT32_MAX & ~NGX_LIVESTREAM_DVR_GAP;

    p = text;
    p += ngx_livestream_dvr_line_head(p, 3600);
    p += ngx_livestream_dvr_line_track(p, &t);
    p += ngx_livestream_dvr_line_open(p, t.name, &s);
    tap_ok(p[-1] == '\n' && *p == '\0', "a line ends with a line feed");

    tap_is(read_index(text, p - text), 0, "the largest values are read");
    got = &idx.tracks[0];
    tap_is(idx.target_duration, 3600, "target duration");
    tap_is(idx.ntracks, 1, "one track");
    tap_str(got->name, t.name, "its name");
    tap_str(got->codecs, t.codecs, "its codecs");
    tap_is(got->media, t.media, "its media");
    tap_is(got->codec, t.codec, "its codec");
    tap_is(got->channels, UINT32_MAX, "its channels");
    tap_is(got->sample_rate, UINT32_MAX, "its sample rate");
    tap_is(got->transfer, UINT32_MAX, "its transfer");
    tap_is(got->segments[0].flags, NGX_LIVESTREAM_DVR_OPEN
                                   |NGX_LIVESTREAM_DVR_DISCONTINUITY,
           "is open");
    tap_is(got->segments[0].start, s.start, "its start");
    tap_is(idx.ended, 0, "not ended");

    p += ngx_livestream_dvr_line_segment(p, t.name, &s);
    p += ngx_livestream_dvr_line_end(p);

    tap_is(read_index(text, p - text), 0, "once more");
    got = &idx.tracks[0];
    tap_is(got->nsegments, 1, "one segment");
    tap_ok(got->segments[0].msn == s.msn
           && got->segments[0].start == s.start
           && got->segments[0].pdt == s.pdt
           && got->segments[0].duration == s.duration
           && got->segments[0].size == s.size
           && got->segments[0].init == s.init
           && got->segments[0].flags == NGX_LIVESTREAM_DVR_DISCONTINUITY,
           "it is what was written");
    tap_is(idx.ended, 1, "ended");
}


static void
test_lines_out_of_order_lose_segments(void)
{
    ngx_livestream_dvr_track_t  *t;

    tap_is(read_lines("segment 720p 2 12 1012 6 30 0 0\n"
                      "open 720p 1 6 1006 0 0\n"
                      "segment 720p 0 0 1000 6 10 0 0\n"
                      "segment 720p 1 6 1006 6 20 0 0\n"
                      "segment 720p 0 0 1000 5 11 0 1\n"
                      "open 720p 0 0 1000 0 0\n"
                      "open 720p 3 18 1018 0 0\n"
                      "open 720p 3 19 1019 1 1\n"), 0, "read");

    t = &idx.tracks[0];

    tap_is(t->nsegments, 4, "four segments");
    tap_is(t->segments[0].size, 11, "the later line of a segment counts");
    tap_is(t->segments[0].flags, 1, "which an open does not take back");
    tap_is(t->segments[1].size, 20, "a segment replaces its open");
    tap_is(t->segments[2].size, 30, "sorted");
    tap_is(t->segments[3].start, 19, "the later open counts");
    tap_is(t->segments[3].flags, NGX_LIVESTREAM_DVR_OPEN
                                 |NGX_LIVESTREAM_DVR_DISCONTINUITY,
           "it is open");

    tap_is(read_lines("segment 720p 0 0 0 6 0 0 0\n"
                      "segment 720p 1 0 0 6 5 0 3\n"
                      "open 720p 2 0 0 0 2\n"
                      "recovered\n"), 0, "gaps");
    tap_is(t->segments[0].flags, NGX_LIVESTREAM_DVR_GAP, "have no bytes");
    tap_is(t->segments[1].size, 0, "what has none is one");
    tap_is(t->segments[2].flags, NGX_LIVESTREAM_DVR_OPEN,
           "no segment is one while it is open");
    tap_ok(idx.recovered && !idx.ended, "recovered");
    tap_is(read_lines("recovered\nend\nopen 720p 2 0 0 0 2\n"), 0,
           "recovered");
    tap_ok(!idx.recovered && idx.ended, "what goes on is not recovered");

    tap_is(read_text("segment a 0 0 0 1 1 0 0\n"
                     "track a audio aac mp4a.40.2 0 0 0 0 48000 2\n"
                     "segment b 0 0 0 1 1 0 0\n"
                     "livestream-recording 1 2\n"
                     "track a audio aac mp4a.40.5 0 0 0 0 48000 2\n"), 0,
           "a track that is declared late");
    tap_is(idx.ntracks, 1, "one that is not declared is left out");
    tap_str(idx.tracks[0].codecs, "mp4a.40.5", "its later line counts");
    tap_is(idx.tracks[0].nsegments, 1, "it has its segment");
}


static void
test_lines_that_are_none_do_harm(void)
{
    unsigned  i;

    static const char  *bad[] = {
        "",
        " ",
        "segment",
        "segment ",
        "segment 720p 0 0 0 1 1 0",
        "segment 720p 0 0 0 1 1 0 0 ",
        "segment 720p 0 0 0 1 1 0 0 0",
        "segment  720p 0 0 0 1 1 0 0",
        "segment 720p 0  0 0 1 1 0 0",
        "segment 720p 0 0 0 0 1 0 0",
        "segment 720p -1 0 0 1 1 0 0",
        "segment 720p +1 0 0 1 1 0 0",
        "segment 720p 0x1 0 0 1 1 0 0",
        "segment 720p 0 --1 0 1 1 0 0",
        "segment 720p 0 - 0 1 1 0 0",
        "segment 720p 0 0 -1 1 1 0 0",
        "segment 720p 9007199254740993 0 0 1 1 0 0",
        "segment 720p 18446744073709551616 0 0 1 1 0 0",
        "segment 720p 99999999999999999999999999 0 0 1 1 0 0",
        "segment 720p 0 9223372036854775808 0 1 1 0 0",
        "segment 720p 0 0 253402300799000001 1 1 0 0",
        "segment 720p 0 0 0 4294967296 1 0 0",
        "segment 720p 0 0 0 1 4294967296 0 0",
        "segment 720p 0 0 0 1 1 4294967296 0",
        "segment 720p 0 0 0 1 1 0 4294967296",
        "segment 720p 0 0 0 1 1 0 0\r",
        "segment ../../etc 0 0 0 1 1 0 0",
        "segment . 0 0 0 1 1 0 0",
        "segment sixteen-letters- 0 0 0 1 1 0 0",
        "SEGMENT 720p 0 0 0 1 1 0 0",
        "segment 720p 0 0 0 1 1 0 0segment 720p 0 0 0 1 1 0 0",
        "open 720p 0 0 0 0 0 0",
        "open 720p 0 0 0 0",
        "track ../x video h264 avc1.64001f 1 1 1 1 1 1",
        "track x/y video h264 avc1.64001f 1 1 1 1 1 1",
        "track new text h264 avc1.64001f 1 1 1 1 1 1",
        "track new video none avc1.64001f 1 1 1 1 1 1",
        "track new video h263 avc1.64001f 1 1 1 1 1 1",
        "track new video h264 avc1\",URI=\" 1 1 1 1 1 1",
        "track new video h264 avc1.64001f -1 1 1 1 1 1",
        "track new video h264 avc1.64001f 1 1 1 1 1",
        "track new video h264 avc1.64001f 1 1 1 1 1 1 1",
        "end of it",
        "livestream-recording 1 0",
        "livestream-recording 1 3601",
        "livestream-recording 1 6 6",
        "1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25"
    };

    for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        char  text[TEXT];

        snprintf(text, sizeof(text), "%s\n"
                                     "segment audio 7 0 0 1 1 0 0\n", bad[i]);

        tap_ok(read_lines(text) == 0 && idx.ntracks == 2
               && idx.tracks[0].nsegments == 0 && idx.target_duration == 6
               && idx.tracks[1].nsegments == 1 && !idx.ended,
               "\"%s\"", bad[i]);
    }
}


static void
test_long_lines_take_what_follows(void)
{
    char    *text;
    size_t   n, len;

    static const size_t  sizes[] = { 511, 512, 513, 1024, 65535, 65536,
                                     65537, 200000 };

    text = malloc(1 << 20);

    for (n = 0; n < sizeof(sizes) / sizeof(sizes[0]); n++) {

        len = sprintf(text, "%s%s", head, audio);
        memset(text + len, ' ', sizes[n]);
        len += sizes[n];
        len += sprintf(text + len, "\nsegment audio 1 0 0 1 1 0 0\n"
                       "segment audio 2 1 1 1 1 0 0");

        tap_is(read_index(text, len), 0, "a line of %zu bytes", sizes[n]);
        tap_is(idx.tracks[0].nsegments, 1, "the next one is read, and one "
               "without its end is not");
    }

    /* a file system that has lost what it had not written */

    len = sprintf(text, "%s%s", head, audio);
    memset(text + len, '\0', 300);
    len += 300;
    len += sprintf(text + len, "segment audio 1 0 0 1 1 0 0\n");
    memcpy(text + len, "segment audio 2 0\0 1 1 1 0 0\n", 29);
    len += 29;

    tap_is(read_index(text, len), 0, "zeroes");
    tap_is(idx.tracks[0].nsegments, 1, "hide no line behind them");

    free(text);
}


static void
test_a_head_that_is_none_is_read(void)
{
    tap_is(read_text(""), EINVAL, "nothing");
    tap_is(read_text(video), EINVAL, "no head");
    tap_is(read_text("livestream-recording 1 6"), EINVAL, "half of it");
    tap_is(read_text("livestream-recording 2 6\n"), ENOTSUP,
           "another version");
    tap_is(read_text("\n"), EINVAL, "an empty line");

    unlink(path);
    tap_is(ngx_livestream_dvr_index_read(dir, &idx,
                                         &(const char *) { NULL }),
           ENOENT, "no file");
}


static void
test_numbers_far_off_make_a_million_gaps(void)
{
    char      text[TEXT];
    int       len, i;
    unsigned  k;

    len = 0;

    for (i = 100; i < 200; i++) {
        len += sprintf(text + len, "segment %s %d %d 0 1 1 0 0\n",
                       i % 2 ? "720p" : "audio", i, i);
    }

    len += sprintf(text + len, "segment audio 90000101 1 0 1 1 0 0\n"
                               "segment 720p 5000 1 0 1 1 0 0\n"
                               "open 720p 9007199254740992 1 0 0 0\n");

    tap_is(read_lines(text), 0, "numbers that are far off");

    for (k = 0; k < 2; k++) {
        tap_is(idx.tracks[k].nsegments, 50, "are left out");
        tap_is(idx.tracks[k].segments[49].msn, 199 - k, "the rest is there");
    }

    len = 0;

    for (i = 0; i < 1200; i++) {
        len += sprintf(text + len, "open audio %d 0 0 0 0\n", i * 1000);
    }

    tap_is(read_lines(text), EFBIG, "holes of a thousand, a thousand times");
}


static void
test_too_many_tracks(void)
{
    char      text[TEXT];
    int       len;
    unsigned  i;

    len = sprintf(text, "%s", head);

    for (i = 0; i < 40; i++) {
        len += sprintf(text + len, "track t%u video h264 avc1 1 1 1 1 0 0\n"
                       "segment t%u 0 0 0 1 1 0 0\n", i, i);
    }

    tap_is(read_index(text, len), 0, "read");
    tap_is(idx.ntracks, NGX_LIVESTREAM_DVR_TRACKS, "sixteen of them");
}


/* whatever it says, what is read can be used */

static int
sane(void)
{
    size_t                         i;
    unsigned                       k;
    ngx_livestream_dvr_track_t    *t;

    for (k = 0; k < idx.ntracks; k++) {
        t = &idx.tracks[k];

        if (strlen(t->name) == 0 || strpbrk(t->name, "/.\"\n") != NULL
            || strpbrk(t->codecs, " \"\n") != NULL)
        {
            return 0;
        }

        for (i = 1; i < t->nsegments; i++) {
            if (t->segments[i].msn <= t->segments[i - 1].msn) {
                return 0;
            }
        }
    }

    return 1;
}


static void
test_a_bit_is_flipped(void)
{
    int       len, bit, wrong;
    char      text[TEXT];
    unsigned  i;

    len = sprintf(text, "%s%s%s", head, video, audio);

    for (i = 0; i < 20; i++) {
        len += sprintf(text + len, "open 720p %u %u 1767225600000000 0 0\n"
                       "segment 720p %u %u 1767225600000000 6000000 1 0 0\n"
                       "segment audio %u %u 1767225600000000 6000000 1 0 0\n",
                       i, i * 6000000, i, i * 6000000, i, i * 6000000);
    }

    len += sprintf(text + len, "end\n");

    wrong = 0;

    for (bit = 0; bit < len * 8; bit++) {
        text[bit / 8] ^= 1 << (bit % 8);

        (void) read_index(text, len);
        wrong += !sane();

        text[bit / 8] ^= 1 << (bit % 8);
    }

    tap_is(wrong, 0, "%d bits flipped, one by one", bit);

    for (i = 0; i < (unsigned) len; i++) {
        (void) read_index(text, i);
        wrong += !sane();
    }

    tap_is(wrong, 0, "cut short at each of %d bytes", len);
}


static void
test_a_day_takes_long(void)
{
    int             rc;
    FILE           *f;
    unsigned        i, k;
    const char     *reason;
    struct rusage   before, after;

    static const char  *names[] = { "720p", "audio", "a", "b", "c", "d" };

    f = fopen(path, "w");
    fprintf(f, "%s%s%s", head, video, audio);

    for (k = 2; k < 6; k++) {
        fprintf(f, "track %s video h264 avc1 1 1 1 1 0 0\n", names[k]);
    }

    for (i = 0; i < 14400; i++) {
        for (k = 0; k < 6; k++) {
            fprintf(f, "open %s %u %u000000 1767225600000000 0 0\n"
                    "segment %s %u %u000000 1767225600000000 6000000 3000000"
                    " 0 0\n", names[k], i, i * 6, names[k], i, i * 6);
        }
    }

    fclose(f);

    ngx_livestream_dvr_index_free(&idx);

    getrusage(RUSAGE_SELF, &before);
    rc = ngx_livestream_dvr_index_read(dir, &idx, &reason);
    getrusage(RUSAGE_SELF, &after);

    tap_is(rc, 0, "a day of six tracks");
    tap_is(idx.tracks[5].nsegments, 14400, "is read");
    tap_ok(after.ru_maxrss - before.ru_maxrss < 32768, "in %ld KiB",
           after.ru_maxrss - before.ru_maxrss);

    printf("# %ld us\n",
           (after.ru_utime.tv_sec - before.ru_utime.tv_sec) * 1000000
           + after.ru_utime.tv_usec - before.ru_utime.tv_usec);
}


int
main(void)
{
    if (mkdtemp(dir) == NULL) {
        printf("Bail out! no folder\n");
        return 1;
    }

    snprintf(path, sizeof(path), "%s/index", dir);

    test_what_is_written_is_not_what_is_read();
    test_lines_out_of_order_lose_segments();
    test_lines_that_are_none_do_harm();
    test_long_lines_take_what_follows();
    test_a_head_that_is_none_is_read();
    test_numbers_far_off_make_a_million_gaps();
    test_too_many_tracks();
    test_a_bit_is_flipped();
    test_a_day_takes_long();

    ngx_livestream_dvr_index_free(&idx);

    unlink(path);
    tap_is(rmdir(dir), 0, "and no folder");

    return tap_done();
}

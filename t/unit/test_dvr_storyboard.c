
/*
 * Copyright (C) nginx-livestream contributors
 *
 * Tests of ngx_livestream_dvr_storyboard.c: recordings whose every segment has
 * a colour of its own, and the colours that their storyboards show and when.
 */


#include <fcntl.h>

#include "dvr_clip.h"
#include "ngx_livestream_dvr_storyboard.h"


#define COLOURS  6
#define PIECE    3000000        /* us of one colour */

#define X264     "preset=ultrafast:g=15"

/* pages; a sanitizer keeps what was freed for a while */
#ifdef __SANITIZE_ADDRESS__
#define MOST     100000
#else
#define MOST     4096
#endif


typedef struct {
    uint8_t                  r, g, b;
} colour_t;


static const colour_t  colours[COLOURS] = {
    { 200, 40, 40 }, { 40, 160, 60 }, { 40, 60, 200 }, { 220, 200, 40 },
    { 180, 40, 200 }, { 60, 190, 200 }
};

static const char  *reason;
static uint32_t     pictures;


/* a picture of one colour, n times a second for so many frames */

static void
paint(clip_t *clip, ngx_livestream_codec_e id, const char *encoder,
    const char *opts, const char *size, const char *more, const colour_t *c,
    unsigned n)
{
    char  chain[512];

    (void) snprintf(chain, sizeof(chain), "color=c=0x%02x%02x%02x:s=%s:r=5,"
                    "scale=out_color_matrix=%s,format=yuv420p%s",
                    c->r, c->g, c->b, size,
                    strstr(more, "bt709") ? "bt709" : "bt601", more);

    clip_make(clip, id, encoder, opts, chain, n);
}


/* n pieces of 3 s, each in a colour of its own, one segment each */

static void
record(unsigned track, const char *size, const char *more, unsigned n)
{
    clip_t    clip;
    unsigned  i;

    for (i = 0; i < n; i++) {
        paint(&clip, NGX_LIVESTREAM_CODEC_H264, "libx264", X264, size, more,
              &colours[i % COLOURS], 15);
        recording_clip(track, &clip, (int64_t) i * PIECE, 0);
        clip_free(&clip);
    }
}


static int
run(void)
{
    int  rc;

    pictures = 12345;
    reason = NULL;

    rc = ngx_livestream_dvr_storyboard(&recording.index, &recording.source,
                                       &pictures, &reason);

    if (rc) {
        tap_ok(reason != NULL, "%s", reason ? reason : "no reason");
    }

    return rc;
}


static AVFrame *
open_jpeg(const char *name)
{
    char              path[256];
    AVFrame          *pic;
    AVPacket         *pkt;
    const AVCodec    *dec;
    AVCodecContext   *avctx;
    AVFormatContext  *ic;

    (void) snprintf(path, sizeof(path), "%s/%s", recording.dir, name);

    ic = NULL;
    pic = av_frame_alloc();
    pkt = av_packet_alloc();
    dec = avcodec_find_decoder(AV_CODEC_ID_MJPEG);
    avctx = avcodec_alloc_context3(dec);

    if (avformat_open_input(&ic, path, NULL, NULL) < 0
        || av_read_frame(ic, pkt) < 0
        || avcodec_open2(avctx, dec, NULL) < 0
        || avcodec_send_packet(avctx, pkt) < 0
        || avcodec_receive_frame(avctx, pic) < 0)
    {
        av_frame_free(&pic);
    }

    avcodec_free_context(&avctx);
    avformat_close_input(&ic);
    av_packet_free(&pkt);

    return pic;
}


/* as a browser shows a JPEG */

static int
is_colour(const AVFrame *pic, int x, int y, const colour_t *c)
{
    double  luma, u, v, r, g, b;

    luma = pic->data[0][y * pic->linesize[0] + x];
    u = pic->data[1][y / 2 * pic->linesize[1] + x / 2] - 128.0;
    v = pic->data[2][y / 2 * pic->linesize[2] + x / 2] - 128.0;

    r = luma + 1.402 * v;
    g = luma - 0.344136 * u - 0.714136 * v;
    b = luma + 1.772 * u;

    if (fabs(r - c->r) < 9 && fabs(g - c->g) < 9 && fabs(b - c->b) < 9) {
        return 1;
    }

    printf("# at %d, %d there is %.0f %.0f %.0f, not %d %d %d\n", x, y, r, g,
           b, c->r, c->g, c->b);

    return 0;
}


/* the cue of that number; 0 if there is none */

static int
cue(unsigned n, double *from, double *to, unsigned *sheet, int *xywh)
{
    int       h1, m1, h2, m2;
    char      path[256], line[256];
    FILE     *f;
    double    s1, s2;
    unsigned  i;

    (void) snprintf(path, sizeof(path), "%s/storyboard.vtt", recording.dir);

    f = fopen(path, "r");
    i = 0;

    while (f && fgets(line, sizeof(line), f)) {

        if (sscanf(line, "%d:%d:%lf --> %d:%d:%lf", &h1, &m1, &s1, &h2, &m2,
                   &s2)
            != 6 || i++ != n)
        {
            continue;
        }

        *from = h1 * 3600 + m1 * 60 + s1;
        *to = h2 * 3600 + m2 * 60 + s2;

        i = fgets(line, sizeof(line), f) != NULL
            && sscanf(line, "storyboard-%u.jpg#xywh=%d,%d,%d,%d", sheet,
                      &xywh[0], &xywh[1], &xywh[2], &xywh[3])
               == 5;

        (void) fclose(f);

        return i;
    }

    if (f) {
        (void) fclose(f);
    }

    return 0;
}


/* picture i has that colour, or -1: any */

static void
shows(unsigned i, int colour, double end, int width, int height)
{
    int       xywh[4] = { 0, 0, 0, 0 };
    char      name[64];
    double    from, to;
    AVFrame  *pic;
    unsigned  sheet;

    from = -1;
    to = -1;
    sheet = 0;

    if (!tap_ok(cue(i, &from, &to, &sheet, xywh), "cue %u", i)) {
        return;
    }

    tap_ok(from == 10 * i && fabs(to - end) < 0.002,
           "is from %.3f to %.3f, is to end at %.3f", from, to, end);
    tap_ok(xywh[2] == width && xywh[3] == height, "of %d x %d", xywh[2],
           xywh[3]);

    (void) snprintf(name, sizeof(name), "storyboard-%u.jpg", sheet);
    pic = open_jpeg(name);

    if (!tap_ok(pic != NULL, "%s is a picture", name)) {
        return;
    }

    tap_ok(xywh[0] + xywh[2] <= pic->width && xywh[1] + xywh[3] <= pic->height,
           "lies on a sheet of %d x %d", pic->width, pic->height);

    if (colour >= 0) {
        tap_ok(is_colour(pic, xywh[0] + xywh[2] / 2, xywh[1] + xywh[3] / 2,
                         &colours[colour])
               && is_colour(pic, xywh[0] + 4, xywh[1] + 4, &colours[colour])
               && is_colour(pic, xywh[0] + xywh[2] - 5, xywh[1] + xywh[3] - 5,
                            &colours[colour]),
               "shows colour %d", colour);
    }

    av_frame_free(&pic);
}


static void
no_leftovers(void)
{
    char  command[256];

    (void) snprintf(command, sizeof(command),
                    "test -z \"$(find %s -name '*.tmp')\"", sim->root);
    tap_is(system(command), 0, "no temporary file");
}


static void
is_poster(int width, int height, const colour_t *c)
{
    AVFrame  *pic;

    pic = open_jpeg("poster.jpg");

    if (!tap_ok(pic != NULL, "there is a poster")) {
        return;
    }

    tap_ok(pic->width == width && pic->height == height, "of %d x %d",
           pic->width, pic->height);

    if (c) {
        tap_ok(is_colour(pic, width / 2, height / 2, c), "of its colour");
    }

    av_frame_free(&pic);
}


static void
each_at_its_time(void)
{
    unsigned  i;
    double    end;

    recording_begin("32 s of a ladder");
    sim->conf.segment_duration = PIECE;
    sim->conf.has_audio = 0;

    record(SOURCE_TRACK, "640x360", "", 11);
    record(LOW_TRACK, "320x180", "", 11);
    recording_play();

    tap_is(run(), 0, "has a storyboard");
    tap_is(pictures, 4, "of four pictures");
    is_poster(640, 360, &colours[0]);

    for (i = 0; i < 4; i++) {
        end = i == 3 ? 33 : 10 * i + 10;
        shows(i, i * 10 / 3 % COLOURS, end, 160, 90);
    }

    no_leftovers();

    tap_is(run(), 0, "once more");
    tap_is(pictures, 4, "with the same result");

    recording_end();
}


static void
aspects(void)
{
    size_t  i;

    static const struct {
        const char  *size;
        const char  *more;
        int          width, height;
        int          p_width, p_height;
        const char  *what;
    } cases[] = {
        { "320x240", "", 120, 90, 320, 240, "4:3" },
        { "180x320", "", 50, 90, 180, 320, "upright" },
        { "360x288", ",setsar=16/11", 160, 88, 524, 288, "wide pixels" },
        { "320x180", ",setsar=1/2", 80, 90, 320, 360, "narrow pixels" },
        { "1920x800", ",setparams=colorspace=bt709", 160, 66, 1280, 534,
          "large" },
        { "64x36", "", 64, 36, 64, 36, "small" },
        { "320x2", "", 160, 2, 320, 2, "a line" }
    };

    for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        recording_begin(cases[i].what);
        sim->conf.segment_duration = PIECE;
        sim->conf.has_audio = 0;
        record(SOURCE_TRACK, cases[i].size, cases[i].more, 2);
        recording_play();

        tap_is(run(), 0, "has a storyboard");
        tap_is(pictures, 1, "of one picture");
        shows(0, cases[i].height > 8 ? 0 : -1, 6, cases[i].width,
              cases[i].height);
        is_poster(cases[i].p_width, cases[i].p_height, NULL);
        recording_end();
    }
}


static void
colours_are_right(void)
{
    int      rc;
    size_t   i;
    clip_t   clip;

    static const struct {
        ngx_livestream_codec_e  id;
        const char  *encoder;
        const char  *opts;
        const char  *more;
        const char  *what;
    } cases[] = {
        { NGX_LIVESTREAM_CODEC_H264, "libx264",
          X264 ":colorspace=bt709", ",setparams=colorspace=bt709",
          "BT.709" },
        { NGX_LIVESTREAM_CODEC_H264, "libx264", X264 ":color_range=pc",
          ",scale=out_range=pc,format=yuvj420p", "all of the range" },
        { NGX_LIVESTREAM_CODEC_HEVC, "libx265",
          "preset=ultrafast:x265-params=log-level=none",
          ",format=yuv420p10le", "HEVC of 10 bits" },
        { NGX_LIVESTREAM_CODEC_VP9, "libvpx-vp9",
          "deadline=realtime:cpu-used=8:lag-in-frames=0:b=300000", "",
          "VP9" },
        { NGX_LIVESTREAM_CODEC_AV1, "libaom-av1",
          "cpu-used=8:usage=realtime:lag-in-frames=0:b=300000", "", "AV1" },
        { NGX_LIVESTREAM_CODEC_H264, "libx264", X264 ":profile=high444",
          ",format=yuv444p", "4:4:4" }
    };

    for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        recording_begin(cases[i].what);
        sim->conf.has_audio = 0;

        paint(&clip, cases[i].id, cases[i].encoder, cases[i].opts, "320x180",
              cases[i].more, &colours[4], 15);
        recording_clip(SOURCE_TRACK, &clip, 0, 0);
        clip_free(&clip);
        recording_play();

        rc = run();
        tap_is(rc, 0, "has a storyboard");
        shows(0, 4, 3, 160, 90);
        is_poster(320, 180, &colours[4]);
        recording_end();
    }
}


/* the first bytes of the key frame are overwritten */

static void
spoil(unsigned i, off_t at)
{
    int                fd, rc;
    char               path[256];
    static const char  zeros[400];

    recording_path(path, sizeof(path), "source",
                   recording_of("source")->segments[i].msn);

    fd = open(path, O_WRONLY);
    rc = pwrite(fd, zeros, sizeof(zeros), at) == sizeof(zeros);
    (void) close(fd);

    tap_ok(rc, "segment %u is spoilt from %d on", i, (int) at);
}


static void
what_is_not_there(void)
{
    char  path[256];

    recording_begin("a gap, a segment that is gone, and two that are damaged");
    sim->conf.segment_duration = PIECE;
    sim->conf.has_audio = 0;

    record(SOURCE_TRACK, "320x180", "", 21);
    recording_play();

    /* 10 s is in segment 3, 20 s in 6, and so on */

    recording_gap("source", 3);
    spoil(6, 0);
    recording_path(path, sizeof(path), "source",
                   recording_of("source")->segments[13].msn);
    tap_is(unlink(path), 0, "one is gone");
    spoil(16, 150);

    tap_is(run(), 0, "has a storyboard");
    tap_is(pictures, 7, "of seven pictures");

    shows(0, 0, 10, 160, 90);
    shows(1, 0, 20, 160, 90);
    shows(2, 0, 30, 160, 90);
    shows(3, 10 % COLOURS, 40, 160, 90);
    shows(4, 10 % COLOURS, 50, 160, 90);
    shows(6, 20 % COLOURS, 63, 160, 90);

    recording_gap("source", 0);
    tap_is(run(), 0, "and none at the start");
    shows(0, 1, 10, 160, 90);
    is_poster(320, 180, &colours[1]);
    recording_end();

    recording_begin("nothing that can be seen");
    sim->conf.segment_duration = PIECE;
    sim->conf.has_audio = 0;
    record(SOURCE_TRACK, "320x180", "", 2);
    recording_play();

    spoil(0, 0);
    spoil(1, 0);
    tap_is(run(), 0, "all is damaged");
    tap_is(pictures, 0, "no picture");
    no_leftovers();

    recording_gap("source", 0);
    recording_gap("source", 1);
    tap_is(run(), 0, "all gaps");
    tap_is(pictures, 0, "no picture");
    recording_end();
}


static void
only_sound(void)
{
    clip_t  audio;

    recording_begin("no video");
    clip_make(&audio, NGX_LIVESTREAM_CODEC_AAC, "aac", "b=64000",
              "sine=f=440:r=48000,aformat=sample_fmts=fltp", 100);
    recording_clip(AUDIO_TRACK, &audio, 0, 0);
    sim->conf.has_video = 0;
    recording_play();

    tap_is(run(), 0, "is no error");
    tap_is(pictures, 0, "no picture");

    clip_free(&audio);
    recording_end();
}


static void
a_black_start(void)
{
    clip_t          clip;
    AVFrame        *pic;
    const colour_t  black = { 0, 0, 0 };

    recording_begin("a stream that begins in the dark");
    sim->conf.segment_duration = PIECE;
    sim->conf.has_audio = 0;

    paint(&clip, NGX_LIVESTREAM_CODEC_H264, "libx264", X264, "320x180", "",
          &black, 15);
    recording_clip(SOURCE_TRACK, &clip, 0, 0);
    clip_free(&clip);

    /* grey is as plain */

    paint(&clip, NGX_LIVESTREAM_CODEC_H264, "libx264", X264, "320x180", "",
          &(const colour_t) { 128, 128, 128 }, 15);
    recording_clip(SOURCE_TRACK, &clip, PIECE, 0);
    clip_free(&clip);

    clip_make(&clip, NGX_LIVESTREAM_CODEC_H264, "libx264", X264,
              "testsrc2=s=320x180:r=5,format=yuv420p", 15);
    recording_clip(SOURCE_TRACK, &clip, 2 * PIECE, 0);
    clip_free(&clip);
    recording_play();

    tap_is(run(), 0, "has a poster");

    pic = open_jpeg("poster.jpg");
    tap_ok(pic && !is_colour(pic, 100, 90, &black)
           && !is_colour(pic, 100, 90, &(const colour_t) { 128, 128, 128 }),
           "which shows something");
    av_frame_free(&pic);
    recording_end();
}


static void
long_segments(void)
{
    clip_t    clip;
    unsigned  i;

    recording_begin("segments of 30 s");
    sim->conf.segment_duration = 30000000;
    sim->conf.has_audio = 0;

    for (i = 0; i < 15; i++) {
        paint(&clip, NGX_LIVESTREAM_CODEC_H264, "libx264", X264, "320x180", "",
              &colours[i / 2 % COLOURS], 20);
        recording_clip(SOURCE_TRACK, &clip, (int64_t) i * 4000000, 0);
        clip_free(&clip);
    }

    recording_play();

    tap_is(run(), 0, "have a storyboard");
    tap_is(pictures, 6, "of six pictures");
    tap_ok(recording_of("source")->nsegments < 5, "and are %zu",
           recording_of("source")->nsegments);

    shows(0, 0, 10, 160, 90);
    shows(1, 1, 20, 160, 90);
    shows(2, 2, 30, 160, 90);

    recording_end();
}


/* that the process has of its own */

static long
pages(void)
{
    long   n;
    FILE  *f;

    f = fopen("/proc/self/statm", "r");

    if (f == NULL || fscanf(f, "%*d %ld", &n) != 1) {
        picture_die("/proc/self/statm");
    }

    (void) fclose(f);

    return n;
}


/* the segments of a recording as an index of a day has them, over and over */

static void
a_day(void)
{
    size_t                         i;
    long                           before, after;
    ngx_livestream_dvr_track_t    *t;
    ngx_livestream_dvr_segment_t  *all;

    static const size_t  n = 24 * 3600 / 6;

    recording_begin("a day");
    sim->conf.segment_duration = 2 * PIECE;
    sim->conf.has_audio = 0;
    record(SOURCE_TRACK, "320x180", "", 12);
    recording_play();

    t = recording_of("source");
    all = calloc(n, sizeof(ngx_livestream_dvr_segment_t));

    for (i = 0; i < n; i++) {
        all[i] = t->segments[i % (t->nsegments - 1)];
        all[i].duration = 6000000;
    }

    free(t->segments);
    t->segments = all;
    t->nsegments = n;

    before = pages();

    tap_is(run(), 0, "has a storyboard");
    tap_is(pictures, 8640, "of 8640 pictures");

    after = pages();

    tap_ok(after - before < MOST, "took %ld pages", after - before);

    shows(0, 0, 10, 160, 90);
    shows(99, -1, 1000, 160, 90);
    shows(100, -1, 1010, 160, 90);
    shows(8639, -1, 86400, 160, 90);

    recording_end();
}


static volatile int  stop;


static int
fetch(void *data, const char *name, uint64_t offset, size_t size, uint8_t *p,
    size_t *got)
{
    int  *rc = data;

    (void) name;
    (void) offset;
    (void) size;
    (void) p;

    *got = 0;

    if (*rc == ECANCELED) {
        stop = 1;
        return 0;
    }

    return *rc;
}


static void
stopped_and_failed(void)
{
    int   rc;
    char  path[256];

    recording_begin("storage that does not answer");
    sim->conf.segment_duration = PIECE;
    sim->conf.has_audio = 0;
    record(SOURCE_TRACK, "320x180", "", 5);
    recording_play();

    recording_path(path, sizeof(path), "source",
                   recording_of("source")->segments[3].msn);
    tap_is(unlink(path), 0, "has one of the segments");

    recording.source.fetch = fetch;
    recording.source.data = &rc;
    recording.source.stop = &stop;

    rc = EIO;
    tap_is(run(), EIO, "so it is to be done again");
    no_leftovers();

    rc = ENOENT;
    tap_is(run(), 0, "but not if it has lost it");
    tap_is(pictures, 2, "two pictures");

    rc = ECANCELED;
    tap_is(run(), ECANCELED, "a stop");
    no_leftovers();
    stop = 0;

    recording.source.dir = "/nonexistent";
    rc = ENOENT;
    tap_is(run(), 0, "no folder, no picture");
    tap_is(pictures, 0, "none");

    recording_end();
}


/* whatever the bytes are, it ends */

static void
hostile_files(void)
{
    int       fd, rc, done;
    char      path[256];
    uint8_t   was, byte;
    unsigned  i, j;
    uint32_t  seed;

    recording_begin("bytes that are not what they were");
    sim->conf.segment_duration = PIECE;
    sim->conf.has_audio = 0;
    record(SOURCE_TRACK, "320x180", "", 2);
    recording_play();

    seed = 7;
    done = 0;

    for (i = 0; i < 600; i++) {
        (void) snprintf(path, sizeof(path), i & 1 ? "%s/source/init-1.mp4"
                                                  : "%s/source/segment-%lu"
                                                    ".m4s",
                        recording.dir,
                        (unsigned long) recording_of("source")->segments[0]
                                        .msn);
        fd = open(path, O_RDWR);
        seed = seed * 1664525 + 1013904223;
        j = (seed >> 8) % 700;

        if (pread(fd, &was, 1, j) != 1) {
            close(fd);
            continue;
        }

        byte = seed >> 24;
        done += pwrite(fd, &byte, 1, j) == 1;

        rc = ngx_livestream_dvr_storyboard(&recording.index,
                                           &recording.source, &pictures,
                                           &reason);
        done -= rc != 0 && rc != ENOTSUP && rc != ENOMEM;
        done -= pwrite(fd, &was, 1, j) != 1;
        close(fd);
    }

    tap_ok(done > 500, "%d times", done);
    tap_is(run(), 0, "and what they were");
    shows(0, 0, 6, 160, 90);
    recording_end();
}


#ifdef __SANITIZE_ADDRESS__

/* x265 does not free all that it has for its own part */
const char *__lsan_default_suppressions(void);

const char *
__lsan_default_suppressions(void)
{
    return "leak:libx265";
}

#endif


int
main(void)
{
    av_log_set_level(AV_LOG_QUIET);

    each_at_its_time();
    aspects();
    colours_are_right();
    what_is_not_there();
    only_sound();
    a_black_start();
    long_segments();
    a_day();
    stopped_and_failed();
    hostile_files();

    return tap_done();
}


/*
 * Copyright (C) nginx-livestream contributors
 *
 * The filter: whatever comes in, plain pictures come out, as many and at the
 * same times.
 */


#include <errno.h>

#include <libavutil/hwcontext.h>

#include "transcode_sieve.h"


static void
plain_is_copied(void)
{
    uint8_t  *data;
    sieve_t   s;
    AVFrame  *in;

    in = picture_flat(AV_PIX_FMT_YUV420P, 64, 48, 50, 60, 70);
    in->pts = 12345;
    data = in->data[0];
    tap_ok(!ngx_livestream_transcode_filter_alters(in), "plain is plain");

    sieve_open(&s);
    tap_is(ngx_livestream_transcode_filter_put(s.fl, in), 0, "put");
    tap_ok(in->data[0] == NULL, "the picture is moved");
    sieve_take(&s);
    tap_ok(s.n == 1 && s.pics[0]->data[0] == data && s.pics[0]->pts == 12345,
           "and comes out as it is, at once");
    av_frame_free(&in);
    sieve_close(&s);
    ngx_livestream_transcode_filter_destroy(NULL);
}


/* A player would take an untagged rung of 480 lines of an untagged source of
 * 1080 for BT.601. */
static void
colours_are_untagged(void)
{
    AVFrame  *f;

    f = sift(picture_flat(AV_PIX_FMT_YUV420P, 1920, 1080, 50, 60, 70));
    tap_ok(f->colorspace == AVCOL_SPC_BT709
           && f->color_primaries == AVCOL_PRI_BT709
           && f->color_trc == AVCOL_TRC_BT709, "1080 lines are BT.709");
    av_frame_free(&f);

    f = sift(picture_flat(AV_PIX_FMT_YUV420P, 720, 576, 50, 60, 70));
    tap_ok(f->colorspace == AVCOL_SPC_SMPTE170M
           && f->color_primaries == AVCOL_PRI_SMPTE170M
           && f->color_trc == AVCOL_TRC_SMPTE170M, "576 lines are BT.601");
    av_frame_free(&f);

    f = picture_flat(AV_PIX_FMT_YUV420P, 1920, 1080, 50, 60, 70);
    f->colorspace = AVCOL_SPC_BT470BG;
    f = sift(f);
    tap_ok(f->colorspace == AVCOL_SPC_BT470BG, "tags are kept");
    av_frame_free(&f);
}


typedef struct {
    int                      format;
    int                      range;
    int                      in[3];
    int                      out[3];
    int                      alters;
} kind_t;


static const kind_t  kinds[] = {
    { AV_PIX_FMT_YUV420P10, AVCOL_RANGE_MPEG, { 400, 300, 600 },
      { 100, 75, 150 }, 1 },
    { AV_PIX_FMT_YUV420P12, AVCOL_RANGE_MPEG, { 1600, 1200, 2400 },
      { 100, 75, 150 }, 1 },
    { AV_PIX_FMT_YUV422P, AVCOL_RANGE_MPEG, { 100, 75, 150 },
      { 100, 75, 150 }, 1 },
    { AV_PIX_FMT_YUV422P10, AVCOL_RANGE_MPEG, { 400, 300, 600 },
      { 100, 75, 150 }, 1 },
    { AV_PIX_FMT_YUV444P, AVCOL_RANGE_MPEG, { 100, 75, 150 },
      { 100, 75, 150 }, 1 },
    { AV_PIX_FMT_YUV444P10, AVCOL_RANGE_MPEG, { 400, 300, 600 },
      { 100, 75, 150 }, 1 },
    { AV_PIX_FMT_YUV440P, AVCOL_RANGE_MPEG, { 100, 75, 150 },
      { 100, 75, 150 }, 1 },
    { AV_PIX_FMT_NV12, AVCOL_RANGE_MPEG, { 100, 75, 0 },
      { 100, 75, 75 }, 0 },
    { AV_PIX_FMT_GRAY8, AVCOL_RANGE_MPEG, { 100, 0, 0 },
      { 100, 128, 128 }, 1 },
    { AV_PIX_FMT_GRAY8, AVCOL_RANGE_JPEG, { 255, 0, 0 },
      { 235, 128, 128 }, 1 },
    { AV_PIX_FMT_GRAY10, AVCOL_RANGE_MPEG, { 400, 0, 0 },
      { 100, 128, 128 }, 1 },
    { AV_PIX_FMT_YUVJ420P, AVCOL_RANGE_JPEG, { 255, 0, 255 },
      { 235, 16, 240 }, 0 },
    { AV_PIX_FMT_YUVJ420P, AVCOL_RANGE_UNSPECIFIED, { 0, 128, 255 },
      { 16, 128, 240 }, 0 },
    { AV_PIX_FMT_YUV420P, AVCOL_RANGE_JPEG, { 128, 128, 128 },
      { 126, 128, 128 }, 0 },
    { AV_PIX_FMT_YUVJ422P, AVCOL_RANGE_JPEG, { 255, 128, 128 },
      { 235, 128, 128 }, 1 },
    { AV_PIX_FMT_YUVJ444P, AVCOL_RANGE_JPEG, { 0, 128, 128 },
      { 16, 128, 128 }, 1 },
    { AV_PIX_FMT_YUV420P10, AVCOL_RANGE_JPEG, { 1023, 512, 512 },
      { 235, 128, 128 }, 1 },
    /* planes are green, blue, red */
    { AV_PIX_FMT_GBRP, AVCOL_RANGE_JPEG, { 255, 255, 255 },
      { 235, 128, 128 }, 1 },
    { AV_PIX_FMT_GBRP, AVCOL_RANGE_JPEG, { 0, 0, 255 },
      { 63, 102, 240 }, 1 },
    { AV_PIX_FMT_GBRP10, AVCOL_RANGE_JPEG, { 0, 0, 0 },
      { 16, 128, 128 }, 1 }
};


static void
formats_are_not_plain(void)
{
    unsigned       i, k;
    AVFrame       *f;
    const kind_t  *p;

    for (i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        p = &kinds[i];

        for (k = 0; k < 2; k++) {
            f = picture_flat(p->format, 322 - k, 180 - k, p->in[0], p->in[1],
                             p->in[2]);
            f->color_range = p->range;
            f->pts = 4711;
            tap_is(ngx_livestream_transcode_filter_alters(f), p->alters,
                   "%s %s", av_get_pix_fmt_name(p->format),
                   p->alters ? "is altered" : "may be passed through");

            /* odd sizes may lose a row and a column */
            f = sift(f);
            tap_ok((plain(f, 322 - k, 180 - k)
                    || plain(f, 322 - 2 * k, 180 - 2 * k))
                   && f->pts == 4711
                   && picture_off(f, 0, p->out[0]) <= 1
                   && picture_off(f, 1, p->out[1]) <= 1
                   && picture_off(f, 2, p->out[2]) <= 1,
                   "becomes plain: %.1f %.1f %.1f",
                   picture_mean(f, 0), f->data[1] ? picture_mean(f, 1) : 0,
                   f->data[2] ? picture_mean(f, 2) : 0);
            av_frame_free(&f);
        }
    }
}


/* a corner of each colour, turned by hand */
static void
rotation_is_wrong(void)
{
    /* 0 1    where the samples of the corners come from */
    /* 2 3 */
    static const struct {
        int32_t              m[4];
        int                  want[4];
        const char          *name;
    } turns[] = {
        { { 1, 0, 0, 1 }, { 0, 1, 2, 3 }, "none" },
        { { -1, 0, 0, 1 }, { 1, 0, 3, 2 }, "hflip" },
        { { 1, 0, 0, -1 }, { 2, 3, 0, 1 }, "vflip" },
        { { -1, 0, 0, -1 }, { 3, 2, 1, 0 }, "180 degrees" },
        { { 0, 1, 1, 0 }, { 0, 2, 1, 3 }, "transposed" },
        { { 0, 1, -1, 0 }, { 2, 0, 3, 1 }, "90 degrees clockwise" },
        { { 0, -1, 1, 0 }, { 1, 3, 0, 2 }, "90 degrees anticlockwise" },
        { { 0, -1, -1, 0 }, { 3, 1, 2, 0 }, "transposed and turned" },
        { { 0, 0, 0, 0 }, { 0, 1, 2, 3 }, "a matrix of nothing" }
    };
    int               x, y, w, h, got[4], i, right;
    int32_t          *m;
    AVFrame          *f;
    AVFrameSideData  *sd;
    unsigned          k;

    for (k = 0; k < sizeof(turns) / sizeof(turns[0]); k++) {
        f = picture_flat(AV_PIX_FMT_YUV420P, 64, 32, 0, 128, 128);
        f->sample_aspect_ratio = (AVRational) { 4, 3 };

        for (y = 0; y < 32; y++) {
            for (x = 0; x < 64; x++) {
                f->data[0][y * f->linesize[0] + x]
                    = 20 + 40 * ((y >= 16) * 2 + (x >= 32));
            }
        }

        sd = av_frame_new_side_data(f, AV_FRAME_DATA_DISPLAYMATRIX,
                                    9 * sizeof(int32_t));
        m = (int32_t *) sd->data;
        memset(m, 0, 9 * sizeof(int32_t));
        m[0] = turns[k].m[0] * 65536;
        m[1] = turns[k].m[1] * 65536;
        m[3] = turns[k].m[2] * 65536;
        m[4] = turns[k].m[3] * 65536;
        m[8] = 1 << 30;

        f->sample_aspect_ratio = (AVRational) { 1, 1 };
        tap_is(ngx_livestream_transcode_filter_alters(f), k != 0 && k != 8,
               "%s: alters", turns[k].name);
        f->sample_aspect_ratio = (AVRational) { 4, 3 };

        f = sift(f);
        w = turns[k].m[1] ? 32 : 64;
        h = turns[k].m[1] ? 64 : 32;
        right = plain(f, w, h);

        for (i = 0; right && i < 4; i++) {
            x = (i & 1) ? w - 2 : 1;
            y = (i & 2) ? h - 2 : 1;
            got[i] = (f->data[0][y * f->linesize[0] + x] - 20) / 40;
            right = got[i] == turns[k].want[i];
        }

        tap_ok(right && f->sample_aspect_ratio.num == (w == 64 ? 4 : 3),
               "%s: upright, pixels too", turns[k].name);
        tap_ok(k == 0 || k == 8
               || av_frame_get_side_data(f, AV_FRAME_DATA_DISPLAYMATRIX)
                  == NULL, "%s: nobody turns it again", turns[k].name);
        av_frame_free(&f);
    }

    f = picture_flat(AV_PIX_FMT_YUV420P, 64, 32, 0, 128, 128);
    sd = av_frame_new_side_data(f, AV_FRAME_DATA_DISPLAYMATRIX, 8);
    memset(sd->data, 0xff, 8);
    tap_ok(!ngx_livestream_transcode_filter_alters(f),
           "a matrix that is cut off turns nothing");
    av_frame_free(&f);
}


/* a bar that moves by some pixels a field */
static AVFrame *
bar(int n, int interlaced)
{
    int       x, y, at;
    AVFrame  *f;

    f = picture_flat(AV_PIX_FMT_YUV420P, 320, 240, 40, 128, 128);
    f->pts = n * 3600 + (n % 3) * 7;
    f->interlaced_frame = interlaced;
    f->top_field_first = 1;

    for (y = 0; y < 240; y++) {
        at = 20 + n * 12 + (interlaced ? (y & 1) * 6 : 0);

        for (x = at; x < at + 60 && x < 320; x++) {
            f->data[0][y * f->linesize[0] + x] = 200;
        }
    }

    return f;
}


/* how many samples differ from both neighbours above and below alike */
static int
combs(const AVFrame *f)
{
    int             x, y, a, b, n;
    const uint8_t  *p;

    n = 0;

    for (y = 8; y < f->height - 8; y++) {
        for (x = 0; x < f->width; x++) {
            p = f->data[0] + y * f->linesize[0] + x;
            a = p[0] - p[-f->linesize[0]];
            b = p[0] - p[f->linesize[0]];
            n += a * b > 40 * 40;
        }
    }

    return n;
}


static void
interlaced_combs(void)
{
    int       before, after, exact, alters;
    sieve_t   s;
    AVFrame  *f;
    unsigned  i;

    before = after = alters = 0;
    sieve_open(&s);

    for (i = 0; i < 12; i++) {
        f = bar(i, 1);
        before += combs(f);
        alters += ngx_livestream_transcode_filter_alters(f);
        sieve_put(&s, f);
    }

    tap_is(alters, 12, "interlaced is altered");
    tap_ok(s.n >= 11 && s.rc == 0, "at most one picture is held back");
    sieve_break(&s);
    tap_is(s.n, 12, "as many pictures come out");

    for (exact = 1, i = 0; i < s.n; i++) {
        after += combs(s.pics[i]);
        exact &= s.pics[i]->pts == i * 3600 + (i % 3) * 7
                 && plain(s.pics[i], 320, 240);
    }

    tap_ok(exact, "at the same times, and progressive");
    tap_ok(before > 10000 && after < before / 50, "combs: %d, then %d",
           before, after);
    sieve_close(&s);
}


/* A source that mixes both keeps one graph: pictures said to be progressive
 * are not touched, and all are there. */
static void
mixed_flaps(void)
{
    int       exact, same;
    sieve_t   s;
    AVFrame  *f, *keep[30];
    unsigned  i;

    sieve_open(&s);

    for (i = 0; i < 30; i++) {
        f = bar(i, i % 10 == 3);
        keep[i] = av_frame_clone(f);
        sieve_put(&s, f);

        if (s.n != i + (i < 3)) {
            break;
        }
    }

    tap_ok(i == 30 && s.rc == 0,
           "one picture is held back since the first interlaced one");
    sieve_break(&s);
    tap_is(s.n, 30, "nothing is lost");

    for (exact = same = 1, i = 0; i < s.n; i++) {
        exact &= s.pics[i]->pts == keep[i]->pts
                 && plain(s.pics[i], 320, 240);
        same &= i % 10 == 3
                || picture_psnr(s.pics[i], keep[i], 0) == 99;
        av_frame_free(&keep[i]);
    }

    tap_ok(exact, "times are kept");
    tap_ok(same, "progressive pictures are not touched");
    sieve_close(&s);

    /* and after ten seconds it is a progressive source again */
    sieve_open(&s);
    sieve_put(&s, bar(0, 1));

    for (i = 1; i < 14; i++) {
        f = bar(0, 0);
        f->pts = i * 90000;
        sieve_put(&s, f);

        if (s.n == i + 1) {
            break;
        }
    }

    tap_is(i, 11, "ten seconds later no picture is held back");
    sieve_close(&s);
}


static void
look_changes(void)
{
    int       exact;
    sieve_t   s;
    AVFrame  *f;
    unsigned  i;

    sieve_open(&s);

    for (i = 0; i < 24; i++) {
        switch (i / 4) {

        case 0:
            f = bar(i, 1);
            break;

        case 1:
            f = picture_flat(AV_PIX_FMT_YUV422P10, 640, 360, 400, 512, 512);
            break;

        case 2:
            f = picture_flat(AV_PIX_FMT_YUV422P10, 638, 358, 400, 512, 512);
            f->interlaced_frame = 1;
            break;

        case 3:
            f = picture_flat(AV_PIX_FMT_YUV420P, 100, 100, 100, 128, 128);
            break;

        case 4:
            f = picture_flat(AV_PIX_FMT_YUV420P10, 64, 64, 400, 512, 512);
            f->color_trc = AVCOL_TRC_SMPTE2084;
            break;

        default:
            f = picture_flat(AV_PIX_FMT_GRAY8, 64, 64, 100, 0, 0);
            break;
        }

        f->pts = 1000 * i * i;
        sieve_put(&s, f);
    }

    sieve_break(&s);
    sieve_break(&s);

    tap_ok(s.n == 24 && s.rc == 0, "no picture is lost when the look changes");

    for (exact = 1, i = 0; i < s.n; i++) {
        exact &= s.pics[i]->pts == 1000 * i * i
                 && s.pics[i]->format == AV_PIX_FMT_YUV420P;
    }

    tap_ok(exact && s.pics[4]->width == 640 && s.pics[8]->width == 638,
           "all in their order");
    sieve_close(&s);
}


/* whatever a bitstream says of its colours */
static void
tags_contradict(void)
{
    int       space, transfer, bad, format;
    AVFrame  *f;

    bad = 0;

    for (space = 0; space < 24; space++) {
        for (transfer = 0; transfer < 24; transfer++) {
            format = (space + transfer) % 3 ? AV_PIX_FMT_YUV422P
                                            : AV_PIX_FMT_GBRP;
            f = picture_flat(format, 32, 32, 100, 100, 100);
            f->colorspace = space;
            f->color_trc = transfer;
            f->color_primaries = (space * 7 + transfer) % 24;
            f->sample_aspect_ratio = (AVRational) { space - 2, transfer - 2 };
            f = sift(f);
            bad += !plain(f, 32, 32) || f->colorspace == AVCOL_SPC_RGB;
            av_frame_free(&f);
        }
    }

    tap_is(bad, 0, "no tags are more than the filter can take");
}


static void
nothing(void *opaque, uint8_t *data)
{
    (void) opaque;
    (void) data;
}


/* a picture on a device, of which nobody looks at the pixels */
static AVFrame *
distant(AVHWFramesContext *frames, int format)
{
    AVFrame  *f;

    f = av_frame_alloc();
    frames->sw_format = format;
    f->format = AV_PIX_FMT_CUDA;
    f->width = 64;
    f->height = 64;
    f->hw_frames_ctx = av_buffer_create((uint8_t *) frames, sizeof(*frames),
                                        nothing, NULL, 0);

    return f;
}


static void
device_is_left_alone(void)
{
    sieve_t             s;
    AVFrame            *f;
    AVHWFramesContext   frames;

    memset(&frames, 0, sizeof(frames));
    f = distant(&frames, AV_PIX_FMT_NV12);
    tap_ok(!ngx_livestream_transcode_filter_alters(f), "NV12 on a device");
    f->color_trc = AVCOL_TRC_SMPTE2084;
    tap_ok(ngx_livestream_transcode_filter_alters(f), "HDR on a device");
    f->interlaced_frame = 1;
    f->pts = 9000;

    sieve_open(&s);
    sieve_put(&s, bar(0, 1));
    sieve_put(&s, bar(1, 1));
    sieve_put(&s, f);
    tap_ok(s.rc == 0 && s.n == 3 && s.pics[2]->format == AV_PIX_FMT_CUDA
           && s.pics[2]->interlaced_frame && s.pics[2]->pts == 9000,
           "goes through as it is, after those before it");
    sieve_close(&s);

    f = distant(&frames, AV_PIX_FMT_P010);
    tap_ok(ngx_livestream_transcode_filter_alters(f), "10 bits on a device");
    av_frame_free(&f);
}


int
main(void)
{
    plain_is_copied();
    colours_are_untagged();
    formats_are_not_plain();
    rotation_is_wrong();
    interlaced_combs();
    mixed_flaps();
    look_changes();
    tags_contradict();
    device_is_left_alone();

    return tap_done();
}

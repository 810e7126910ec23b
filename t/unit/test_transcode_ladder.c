
/*
 * Copyright (C) nginx-livestream contributors
 *
 * The ladder: which rungs a source gets, of which sizes, whatever its shape.
 */


#include <stdlib.h>

#include "ngx_livestream_transcode.h"
#include "tap.h"


typedef struct {
    const char                   *name;
    uint32_t                      width;
    uint32_t                      height;
    uint32_t                      num;
    uint32_t                      den;
    const char                   *rungs;
} case_t;


static const ngx_livestream_transcode_conf_t  defaults = {
    .nrungs = 5,
    .rungs = {
        { "1080p", 1920, 1080, 5000000 },
        { "720p", 1280, 720, 2800000 },
        { "480p", 854, 480, 1400000 },
        { "360p", 640, 360, 800000 },
        { "240p", 426, 240, 400000 }
    }
};


/* boxes of one height, of one size, and turned */
static const ngx_livestream_transcode_conf_t  odd = {
    .nrungs = 5,
    .rungs = {
        { "wide", 1280, 720, 3000000 },
        { "narrow", 960, 720, 2500000 },
        { "poor", 960, 720, 1000000 },
        { "turned", 360, 640, 800000 },
        { "tiny", 64, 32, 50000 }
    }
};


static const ngx_livestream_transcode_conf_t  none = { .nrungs = 0 };

static const ngx_livestream_transcode_conf_t  one = {
    .nrungs = 1,
    .rungs = { { "1080p", 1920, 1080, 5000000 } }
};


/* what a source gets: name, size, and * where all frames are wanted */

static const case_t  plain[] = {

    { "1080p", 1920, 1080, 1, 1,
      "1080p 1920x1080*, 720p 1280x720*, 480p 854x480, 360p 640x360, "
      "240p 426x240" },

    { "720p", 1280, 720, 1, 1,
      "720p 1280x720*, 480p 854x480, 360p 640x360, 240p 426x240" },

    { "2160p", 3840, 2160, 0, 0,
      "1080p 1920x1080*, 720p 1280x720*, 480p 854x480, 360p 640x360, "
      "240p 426x240" },

    { "huge", 8192, 4320, 1, 1,
      "1080p 1920x1012*, 720p 1280x674*, 480p 854x450, 360p 640x338, "
      "240p 426x224" },

    { "odd, just below a rung", 1279, 719, 1, 1,
      "480p 854x480, 360p 640x360, 240p 426x240" },

    { "odd, just above a rung", 1281, 721, 1, 1,
      "720p 1280x720*, 480p 852x480, 360p 640x360, 240p 426x240" },

    { "odd, of a rung's height", 1281, 720, 1, 1,
      "720p 1280x720*, 480p 854x480, 360p 640x360, 240p 426x240" },

    { "4:3", 1440, 1080, 1, 1,
      "1080p 1440x1080*, 720p 960x720*, 480p 640x480, 360p 480x360, "
      "240p 320x240" },

    { "4:3 of 480 lines", 640, 480, 1, 1,
      "480p 640x480, 360p 480x360, 240p 320x240" },

    { "21:9", 2560, 1080, 1, 1,
      "1080p 1920x810*, 720p 1280x540*, 480p 854x360, 360p 640x270, "
      "240p 426x180" },

    { "film without its bars", 1920, 800, 1, 1,
      "720p 1280x534*, 480p 854x356, 360p 640x266, 240p 426x178" },

    { "1:1", 1080, 1080, 1, 1,
      "1080p 1080x1080*, 720p 720x720*, 480p 480x480, 360p 360x360, "
      "240p 240x240" },

    { "portrait", 1080, 1920, 1, 1,
      "1080p 1080x1920*, 720p 720x1280*, 480p 480x854, 360p 360x640, "
      "240p 240x426" },

    { "portrait, 3:4", 1080, 1440, 1, 1,
      "1080p 1080x1440*, 720p 720x960*, 480p 480x640, 360p 360x480, "
      "240p 240x320" },

    { "portrait, 9:21", 1080, 2520, 1, 1,
      "1080p 822x1920*, 720p 548x1280*, 480p 366x854, 360p 274x640, "
      "240p 182x426" },

    { "PAL, 16:9", 720, 576, 64, 45,
      "480p 854x480, 360p 640x360, 240p 426x240" },

    { "PAL, 16:9 of 704 pixels", 720, 576, 16, 11,
      "480p 854x470, 360p 640x352, 240p 426x234" },

    { "NTSC, 4:3", 720, 480, 8, 9,
      "480p 640x480, 360p 480x360, 240p 320x240" },

    { "HDV", 1440, 1080, 4, 3,
      "1080p 1920x1080*, 720p 1280x720*, 480p 854x480, 360p 640x360, "
      "240p 426x240" },

    { "portrait by its pixels", 1080, 1080, 9, 16,
      "480p 480x854, 360p 360x640, 240p 240x426" },

    { "below all rungs", 320, 180, 1, 1, "240p 320x180" },
    { "below all rungs, odd", 321, 181, 1, 1, "240p 320x180" },
    { "below all rungs, portrait", 180, 320, 1, 1, "240p 180x320" },
    { "below all rungs, anamorphic", 176, 144, 12, 11, "240p 192x144" },
    { "below all rungs, wider than the lowest", 1000, 200, 1, 1,
      "240p 426x86" },
    { "QCIF", 176, 144, 1, 1, "240p 176x144" },
    { "the least", 32, 32, 1, 1, "240p 32x32" },

    { "a line less", 32, 31, 1, 1, "" },
    { "16x16", 16, 16, 1, 1, "" },
    { "3x3", 3, 3, 1, 1, "" },
    { "1x1", 1, 1, 1, 1, "" },
    { "no width", 0, 720, 1, 1, "" },
    { "no height", 1280, 0, 1, 1, "" },
    { "no size", 0, 0, 0, 0, "" },
    { "all bits", UINT32_MAX, UINT32_MAX, UINT32_MAX, UINT32_MAX, "" },
    { "larger than any", 65537, 65537, 1, 1, "" },
    { "as large as may be", 65536, 65536, 1, 1,
      "1080p 1080x1080*, 720p 720x720*, 480p 480x480, 360p 360x360, "
      "240p 240x240" },
    { "a line", 65536, 32, 1, 1, "" },
    { "a column", 32, 65536, 1, 1, "" },
    { "too narrow as shown", 100, 400, 1, 4, "" },

    { "SAR 0:0", 1280, 720, 0, 0,
      "720p 1280x720*, 480p 854x480, 360p 640x360, 240p 426x240" },

    { "SAR 1:0", 1280, 720, 1, 0,
      "720p 1280x720*, 480p 854x480, 360p 640x360, 240p 426x240" },

    { "SAR 0:1", 1280, 720, 0, 1,
      "720p 1280x720*, 480p 854x480, 360p 640x360, 240p 426x240" },

    { "SAR 1:65535", 1280, 720, 1, 65535,
      "720p 1280x720*, 480p 854x480, 360p 640x360, 240p 426x240" },

    { "SAR 65535:1", 1280, 720, 65535, 1,
      "720p 1280x720*, 480p 854x480, 360p 640x360, 240p 426x240" },

    { "SAR of large numbers", 1280, 720, UINT32_MAX, UINT32_MAX - 1,
      "720p 1280x720*, 480p 854x480, 360p 640x360, 240p 426x240" },

    { "SAR 4:1, the most that is believed", 480, 1080, 4, 1,
      "1080p 1920x1080*, 720p 1280x720*, 480p 854x480, 360p 640x360, "
      "240p 426x240" }
};


static const case_t  odd_boxes[] = {

    { "boxes that come to one size", 960, 720, 1, 1,
      "wide 960x720*, turned 480x360, tiny 42x32" },

    { "boxes of one size", 1280, 720, 1, 1,
      "wide 1280x720*, narrow 960x540*, poor 960x540*, turned 640x360, "
      "tiny 56x32" },

    { "a rung too low for so wide a picture", 2560, 720, 1, 1,
      "wide 1280x360*, narrow 960x270*, poor 960x270*, turned 640x180" }
};


/* "NAME WxH, ..." as in the tables */
static void
ladder(const ngx_livestream_transcode_conf_t *conf,
    const ngx_livestream_transcode_source_t *source, char *text, size_t size)
{
    size_t                              len;
    unsigned                            i, n;
    ngx_livestream_transcode_output_t   outputs[
                                               NGX_LIVESTREAM_TRANSCODE_RUNGS];

    n = ngx_livestream_transcode_ladder(conf, source, outputs);

    text[0] = '\0';
    len = 0;

    for (i = 0; i < n; i++) {
        len += snprintf(text + len, size - len, "%s%s %" PRIu32 "x%" PRIu32
                        "%s", i ? ", " : "",
                        conf->rungs[outputs[i].rung].name, outputs[i].width,
                        outputs[i].height, outputs[i].rate ? "" : "*");
    }
}


static void
test_table(const ngx_livestream_transcode_conf_t *conf, const case_t *cases,
    unsigned n)
{
    char                               text[512];
    unsigned                           i;
    ngx_livestream_transcode_source_t  source;

    for (i = 0; i < n; i++) {
        source.width = cases[i].width;
        source.height = cases[i].height;
        source.sar_num = cases[i].num;
        source.sar_den = cases[i].den;

        ladder(conf, &source, text, sizeof(text));

        tap_str(text, cases[i].rungs, "%s", cases[i].name);
    }
}


static void
test_values(void)
{
    ngx_livestream_transcode_source_t  source = { 1920, 1080, 1, 1 };
    ngx_livestream_transcode_output_t  outputs[
                                               NGX_LIVESTREAM_TRANSCODE_RUNGS];

    tap_is(ngx_livestream_transcode_ladder(&none, &source, outputs), 0,
           "no rungs, no pictures");

    tap_is(ngx_livestream_transcode_ladder(&defaults, &source, outputs), 5,
           "all rungs");
    tap_is(outputs[0].bitrate, 5000000, "the bitrate is the rung's");
    tap_is(outputs[4].bitrate, 400000, "of each");
    tap_is(outputs[0].rate, 0, "a high rung has all frames");
    tap_ok(outputs[2].rate >= 30000 && outputs[2].rate < 50000,
           "a low one 30 of them, but not 50");

    source.height = 600;

    tap_is(ngx_livestream_transcode_ladder(&one, &source, outputs), 1,
           "the only rung is the lowest");
    tap_is(outputs[0].height, 600, "for a smaller source");
    tap_ok(outputs[0].rate != 0, "whose lines count");

    source.width = 720;
    source.height = 1280;

    tap_is(ngx_livestream_transcode_ladder(&one, &source, outputs), 1,
           "also upright");
    tap_is(outputs[0].rate, 0, "when its width counts");
}


/* of an output the size that its aspect asks for is off by so many pixels in
 * the direction that was rounded */
static int
is_faithful(const ngx_livestream_transcode_source_t *s,
    const ngx_livestream_transcode_output_t *out)
{
    double  aspect, width, height;

    aspect = (double) s->width * s->sar_num / s->sar_den / s->height;
    width = out->height * aspect;
    height = out->width / aspect;

    return (out->width >= width - 1.000001 && out->width <= width + 1.000001)
           || (out->height >= height - 1.000001
               && out->height <= height + 1.000001);
}


static int
is_sane(const ngx_livestream_transcode_conf_t *conf,
    const ngx_livestream_transcode_source_t *s,
    const ngx_livestream_transcode_output_t *outputs, unsigned n)
{
    unsigned  i;
    double    shown;
    uint32_t  lng, shrt;

    shown = (double) s->width * s->sar_num / s->sar_den;

    for (i = 0; i < n; i++) {
        lng = outputs[i].width > outputs[i].height ? outputs[i].width
                                                   : outputs[i].height;
        shrt = outputs[i].width + outputs[i].height - lng;

        if (outputs[i].width % 2 || outputs[i].height % 2 || shrt < 32
            || outputs[i].width > shown + 1 || outputs[i].height > s->height
            || lng > conf->rungs[outputs[i].rung].width
            || shrt > conf->rungs[outputs[i].rung].height
            || !is_faithful(s, &outputs[i]))
        {
            return 0;
        }

        if (i && (outputs[i].rung <= outputs[i - 1].rung
                  || outputs[i].width > outputs[i - 1].width
                  || outputs[i].height > outputs[i - 1].height
                  || (outputs[i].width == outputs[i - 1].width
                      && outputs[i].height == outputs[i - 1].height)))
        {
            return 0;
        }
    }

    return n > 0;
}


/* any source of a sensible aspect has its picture, in all rungs */
static void
test_sweep(void)
{
    unsigned                            i, n, wrong;
    ngx_livestream_transcode_source_t   s, bad;
    ngx_livestream_transcode_output_t   outputs[
                                               NGX_LIVESTREAM_TRANSCODE_RUNGS];
    static const uint32_t               sars[][2] = {
        { 1, 1 }, { 4, 3 }, { 16, 11 }, { 64, 45 }, { 8, 9 }, { 160, 99 },
        { 3, 2 }, { 10, 11 }
    };

    srand(1);
    memset(&bad, 0, sizeof(bad));
    wrong = 0;

    for (i = 0; i < 200000; i++) {
        s.width = 160 + rand() % 4000;
        s.height = 160 + (uint64_t) rand() * s.width / RAND_MAX * 2;
        s.sar_num = sars[i % 8][0];
        s.sar_den = sars[i % 8][1];

        if (s.height * 4 < s.width || s.width * 4 < s.height) {
            continue;
        }

        n = ngx_livestream_transcode_ladder(&defaults, &s, outputs);

        if (!is_sane(&defaults, &s, outputs, n)) {
            bad = s;
            wrong++;
        }
    }

    tap_is(wrong, 0, "sizes are even, fit box and source, and keep the aspect "
           "(%" PRIu32 "x%" PRIu32 " %" PRIu32 ":%" PRIu32 ")", bad.width,
           bad.height, bad.sar_num, bad.sar_den);
}


int
main(void)
{
    test_table(&defaults, plain, sizeof(plain) / sizeof(plain[0]));
    test_table(&odd, odd_boxes, sizeof(odd_boxes) / sizeof(odd_boxes[0]));
    test_values();
    test_sweep();

    return tap_done();
}

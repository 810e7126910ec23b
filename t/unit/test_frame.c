
/*
 * Copyright (C) nginx-livestream contributors
 *
 * Tests of frames, and of ticks and microseconds.
 */


#include <stdlib.h>

#include "ngx_livestream_frame.h"
#include "tap.h"


static void
test_frame(void)
{
    ngx_livestream_codec_t  *codec;
    ngx_livestream_frame_t  *f;

    codec = calloc(1, sizeof(ngx_livestream_codec_t));
    if (codec == NULL) {
        abort();
    }

    codec->refs = 1;

    f = ngx_livestream_frame_create(codec, 5);
    tap_ok(f && f->size == 5 && f->refs == 1 && f->codec == codec
           && f->dts == 0 && f->flags == 0, "a frame is made");
    tap_is(codec->refs, 2, "it holds its codec");
    tap_ok(ngx_livestream_frame_ref(f) == f && f->refs == 2, "a reference");

    ngx_livestream_frame_unref(f);
    tap_is(codec->refs, 2, "one is left");
    ngx_livestream_frame_unref(f);
    tap_is(codec->refs, 1, "none is: the codec is let go");

    ngx_livestream_frame_unref(NULL);
    tap_ok(ngx_livestream_frame_create(codec, SIZE_MAX) == NULL,
           "an absurd size is out of memory");
    tap_is(codec->refs, 1, "and holds no codec");

    ngx_livestream_codec_unref(codec);
}


static void
test_scale(void)
{
    int64_t  century = INT64_C(100) * 366 * 86400 * 1000000;

    tap_is(ngx_livestream_ticks_to_us(1, 90000), 11, "a tick of 90 kHz");
    tap_is(ngx_livestream_ticks_to_us(-1, 90000), -11, "and one before 0");
    tap_is(ngx_livestream_ticks_to_us(3, 2000000), 2, "halves go up");
    tap_is(ngx_livestream_us_to_ticks(century, 384000), century / 1000000
           * 384000, "a century in ticks");
    tap_is(ngx_livestream_ticks_to_us(century / 1000000 * 384000, 384000),
           century, "and back");
    tap_is(ngx_livestream_us_to_ticks(1, 0), 0, "no timescale, no ticks");
    tap_is(ngx_livestream_us_to_ticks(INT64_MIN + 1, 1000000), INT64_MIN + 1,
           "the least number");
}


int
main(void)
{
    test_frame();
    test_scale();

    return tap_done();
}


/*
 * Copyright (C) nginx-livestream contributors
 *
 * Tests of what all codecs share: the reader of bits, the objects' life, hash
 * and bounds.
 */


#include "codec_test.h"
#include "ngx_livestream_codec_bits.h"


static void
test_bits(void)
{
    ngx_livestream_bits_t  b;

    ngx_livestream_bits_init(&b, (uint8_t *) "\xa5\x0f\xff\xff\xff\xff", 6, 0);
    tap_is(ngx_livestream_bits(&b, 0), 0, "no bits");
    tap_is(ngx_livestream_bits(&b, 3), 5, "three bits");
    tap_is(ngx_livestream_bits_left(&b), 45, "bits left");
    tap_is(ngx_livestream_bits(&b, 7), 0x14, "seven, over a byte's end");
    ngx_livestream_bits_align(&b);
    tap_is(ngx_livestream_bits_left(&b), 32, "aligned");
    ngx_livestream_bits_align(&b);
    tap_is(ngx_livestream_bits(&b, 32), 0xffffffff, "32 bits");
    tap_is(b.overrun, 0, "up to the end");
    tap_is(ngx_livestream_bits(&b, 1), 0, "behind it there are zeros");
    tap_is(b.overrun, 1, "and it is told");
    tap_is(ngx_livestream_bits_left(&b), 0, "nothing is left");

    ngx_livestream_bits_init(&b, (uint8_t *) "\xa6\x42\x98\xe2\x04\x8a", 6, 0);
    tap_ok(ngx_livestream_bits_ue(&b) == 0
           && ngx_livestream_bits_ue(&b) == 1
           && ngx_livestream_bits_ue(&b) == 2
           && ngx_livestream_bits_ue(&b) == 3
           && ngx_livestream_bits_ue(&b) == 4, "Exp-Golomb");

    ngx_livestream_bits_init(&b, (uint8_t *) "\xa6\x42\x98\xe2\x04\x8a", 6, 0);
    tap_ok(ngx_livestream_bits_se(&b) == 0
           && ngx_livestream_bits_se(&b) == 1
           && ngx_livestream_bits_se(&b) == -1
           && ngx_livestream_bits_se(&b) == 2
           && ngx_livestream_bits_se(&b) == -2, "with a sign");

    ngx_livestream_bits_init(&b, (uint8_t *) "\0\0\0\1\xff\xff\xff\xfe", 8, 0);
    tap_is(ngx_livestream_bits_ue(&b), 0xfffffffe, "its greatest");

    ngx_livestream_bits_init(&b, (uint8_t *) "\0\0\0\0\xff\xff\xff\xff\xff", 9,
                             0);
    tap_ok(ngx_livestream_bits_ue(&b) == 0 && b.overrun, "one too great");

    ngx_livestream_bits_init(&b, (uint8_t *) "\0", 1, 0);
    tap_ok(ngx_livestream_bits_ue(&b) == 0 && b.overrun, "one without an end");

    ngx_livestream_bits_init(&b, (uint8_t *) "\0\0\3\1\0\0\3", 7, 1);
    tap_is(ngx_livestream_bits(&b, 24), 1, "an escape is left out");
    tap_is(ngx_livestream_bits(&b, 16), 0, "and one at the end");
    tap_ok(b.overrun == 0 && b.pos == b.end, "which is reached");

    ngx_livestream_bits_init(&b, (uint8_t *) "\0\0\0\3\3", 5, 1);
    ngx_livestream_bits_skip(&b, 24);
    tap_is(ngx_livestream_bits(&b, 8), 3, "three zeros and an escape");
}


static void
test_life(void)
{
    ngx_livestream_codec_t  *c, *same, *other;

    c = parse(NGX_LIVESTREAM_CODEC_H264, h264_config, sizeof(h264_config));
    same = parse(NGX_LIVESTREAM_CODEC_H264, h264_config, sizeof(h264_config));
    other = parse(NGX_LIVESTREAM_CODEC_H264, h264_pq_config,
                  sizeof(h264_pq_config));

    tap_ok(c->hash == same->hash, "equal configurations, equal hashes");
    tap_ok(c->hash != other->hash, "other ones, another hash");

    tap_is(c->refs, 1, "one reference");
    tap_ok(ngx_livestream_codec_ref(c) == c && c->refs == 2, "two");
    ngx_livestream_codec_unref(c);
    tap_is(c->refs, 1, "one again");

    tap_ok(refine(c, h264_frame0, sizeof(h264_frame0)) == c && c->refs == 2,
           "H.264 needs no refining");
    ngx_livestream_codec_unref(c);

    ngx_livestream_codec_unref(c);
    ngx_livestream_codec_unref(same);
    ngx_livestream_codec_unref(other);
    ngx_livestream_codec_unref(NULL);
}


static void
test_bounds(void)
{
    int                      id, rc;
    uint8_t                 *conf;
    ngx_livestream_codec_t  *c;

    const char  *names[] = {
        "none", "h264", "hevc", "av1", "vp9", "aac", "opus", "flac", "none"
    };

    for (id = 0; id < 9; id++) {
        tap_str(ngx_livestream_codec_name(id), names[id], "name");
    }

    tap_str(ngx_livestream_codec_name(-1), "none", "name of no codec");

    refused(NGX_LIVESTREAM_CODEC_NONE, h264_config, 4, "codec is unknown");
    refused(8, h264_config, 4, "codec is unknown");
    refused(-1, h264_config, 4, "codec is unknown");

    rc = ngx_livestream_codec_parse_frame(NGX_LIVESTREAM_CODEC_H264,
                                          h264_frame0, sizeof(h264_frame0),
                                          &c, &reason);
    tap_is(rc, -1, "H.264 is not known from a frame");
    tap_str(reason, "codec configuration is missing", "says why");

    /* SPS and PPS, and then more than anyone needs */

    conf = calloc(1, NGX_LIVESTREAM_CONFIG_MAX + 1);
    memcpy(conf, h264_config, sizeof(h264_config));

    c = parse(NGX_LIVESTREAM_CODEC_H264, conf, NGX_LIVESTREAM_CONFIG_MAX);
    tap_ok(c && c->config_len == NGX_LIVESTREAM_CONFIG_MAX, "64 KiB");
    ngx_livestream_codec_unref(c);

    refused(NGX_LIVESTREAM_CODEC_H264, conf, NGX_LIVESTREAM_CONFIG_MAX + 1,
            "codec configuration is too large");

    free(conf);
}


int
main(void)
{
    test_bits();
    test_life();
    test_bounds();

    return tap_done();
}

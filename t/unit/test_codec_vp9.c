
/*
 * Copyright (C) nginx-livestream contributors
 *
 * Tests of VP9: vpcC with and without its first four bytes, the size that only
 * key frames know, and superframes.
 */


#include "codec_test.h"
#include "bits_writer.h"


#define VP9  NGX_LIVESTREAM_CODEC_VP9


static const uint8_t  vpcc[] = {        /* as libavformat writes it */
    0x01, 0x00, 0x00, 0x00, 0x00, 0x1f, 0x82, 0x02, 0x02, 0x02, 0x00, 0x00
};


static void
test_records(void)
{
    uint8_t                  conf[16];
    ngx_livestream_codec_t  *c, *bare;

    c = parse(VP9, vpcc, sizeof(vpcc));
    tap_ok(c != NULL, "vpcC");
    tap_str(c->codecs, "vp09.00.31.08", "CODECS");
    tap_is(c->width, 0, "has no size");
    tap_is(c->level, 31, "level");
    tap_is(c->chroma, 1, "chroma");

    bare = parse(VP9, vpcc + 4, sizeof(vpcc) - 4);
    tap_ok(bare && bare->hash == c->hash && bare->config_len == 12,
           "is the same without its version");

    ngx_livestream_codec_unref(c);
    ngx_livestream_codec_unref(bare);

    hostile(VP9, vpcc, sizeof(vpcc), 8, "vpcC");
    hostile(VP9, vpcc + 4, sizeof(vpcc) - 4, 8, "bare vpcC");

    memcpy(conf, vpcc, sizeof(vpcc));
    conf[4] = 2;
    conf[6] = 0xa2;
    conf[7] = 9;
    conf[8] = 16;
    conf[9] = 9;
    c = parse(VP9, conf, sizeof(vpcc));
    tap_str(c ? c->codecs : reason, "vp09.02.31.10.01.09.16.09.00", "PQ");
    tap_is(c ? c->transfer : 0, 16, "transfer");
    ngx_livestream_codec_unref(c);

    conf[4] = 1;
    conf[6] = 0x87;
    conf[8] = 1;
    c = parse(VP9, conf, sizeof(vpcc));
    tap_str(c ? c->codecs : reason, "vp09.01.31.08.03.09.01.09.01", "4:4:4");
    tap_is(c ? c->chroma : 0, 3, "chroma");
    ngx_livestream_codec_unref(c);

    conf[4] = 4;
    refused(VP9, conf, sizeof(vpcc), "vpcC is invalid");

    conf[4] = 0;
    conf[6] = 0x92;
    refused(VP9, conf, sizeof(vpcc), "vpcC is invalid");

    refused(VP9, NULL, 0, "vpcC is truncated");
}


static size_t
key_frame(uint8_t *p, unsigned profile, unsigned deep, unsigned space,
    unsigned x, unsigned y, unsigned width, unsigned height)
{
    writer_t  w;

    memset(&w, 0, sizeof(w));

    put(&w, 2, 2);
    put(&w, 1, profile & 1);
    put(&w, 1, profile >> 1);

    if (profile == 3) {
        put(&w, 1, 0);
    }

    put(&w, 1, 0);
    put(&w, 1, 0);
    put(&w, 2, 2);
    put(&w, 24, 0x498342);

    if (profile > 1) {
        put(&w, 1, deep);
    }

    put(&w, 3, space);

    if (space != 7) {
        put(&w, 1, 0);

        if (profile & 1) {
            put(&w, 1, x);
            put(&w, 1, y);
        }
    }

    if (profile & 1) {
        put(&w, 1, 0);
    }

    put(&w, 16, width - 1);
    put(&w, 16, height - 1);
    put(&w, 1, 0);

    memcpy(p, w.data, put_len(&w));

    return put_len(&w);
}


static const struct {
    unsigned     profile, deep, space, x, y, width, height;
    const char  *codecs;                        /* NULL: refused */
} frames[] = {
    { 0, 0, 2, 1, 1, 640, 360, "vp09.00.30.08" },
    { 0, 0, 2, 1, 1, 128, 96, "vp09.00.10.08" },
    { 0, 0, 2, 1, 1, 1280, 720, "vp09.00.40.08" },
    { 0, 0, 2, 1, 1, 1920, 1080, "vp09.00.41.08" },
    { 0, 0, 2, 1, 1, 3840, 2160, "vp09.00.51.08" },
    { 0, 0, 2, 1, 1, 16384, 16384, "vp09.00.62.08" },
    { 0, 0, 2, 1, 1, 16385, 16, NULL },
    { 0, 0, 7, 0, 0, 640, 360, NULL },
    { 1, 0, 2, 0, 0, 640, 360, "vp09.01.30.08.03.02.02.01.00" },
    { 1, 0, 2, 1, 0, 640, 360, "vp09.01.30.08.02.02.02.01.00" },
    { 1, 0, 2, 0, 1, 640, 360, "vp09.01.30.08" },
    { 1, 0, 2, 1, 1, 640, 360, NULL },
    { 1, 0, 7, 0, 0, 640, 360, "vp09.01.30.08.03.02.02.00.01" },
    { 2, 0, 5, 1, 1, 640, 360, "vp09.02.30.10" },
    { 2, 1, 5, 1, 1, 640, 360, "vp09.02.30.12" },
    { 3, 1, 5, 0, 0, 640, 360, "vp09.03.30.12.03.02.02.09.00" }
};


static void
test_key_frames(void)
{
    int                      rc;
    size_t                   len;
    uint8_t                  frame[64];
    unsigned                 i;
    const char              *codecs;
    ngx_livestream_codec_t  *c;

    for (i = 0; i < sizeof(frames) / sizeof(frames[0]); i++) {

        len = key_frame(frame, frames[i].profile, frames[i].deep,
                        frames[i].space, frames[i].x, frames[i].y,
                        frames[i].width, frames[i].height);

        rc = ngx_livestream_codec_parse_frame(VP9, frame, len, &c, &reason);
        codecs = frames[i].codecs;

        tap_is(rc, codecs ? 0 : -1, "profile %u, %ux%u", frames[i].profile,
               frames[i].width, frames[i].height);

        if (rc == 0 && codecs) {
            tap_str(c->codecs, codecs, "CODECS");
            tap_ok(codec_sane(c) && c->width == frames[i].width
                   && c->height == frames[i].height, "size");
            hostile_frame(c, frame, len, "key frame");
        }

        ngx_livestream_codec_unref(c);
    }
}


static void
test_refine(void)
{
    size_t                   len;
    uint8_t                  frame[64];
    ngx_livestream_codec_t  *c, *r, *again;

    c = parse(VP9, vpcc, sizeof(vpcc));

    r = refine(c, vp9_frame0, sizeof(vp9_frame0));
    tap_ok(r && r != c && r->width == 64 && r->height == 48,
           "a key frame tells the size");
    tap_str(r ? r->codecs : reason, "vp09.00.31.08",
            "and leaves the publisher's level");
    tap_ok(r && r->hash != c->hash, "the hash is another one");
    ngx_livestream_codec_unref(c);

    again = refine(r, vp9_frame0, sizeof(vp9_frame0));
    tap_ok(again == r && r->refs == 2, "the next one changes nothing");
    ngx_livestream_codec_unref(again);

    tap_ok(refine(r, vp9_frame1, sizeof(vp9_frame1)) == NULL,
           "an inter frame has no size");
    tap_str(reason, "VP9 frame is not a key frame", "says why");

    len = key_frame(frame, 0, 0, 2, 1, 1, 32, 24);
    again = refine(r, frame, len);
    tap_ok(again && again != r && again->width == 32, "a new size");
    tap_ok(again && again->hash != r->hash && again->config_len == 12
           && memcmp(again->config, r->config, 12) == 0,
           "differs by its hash, not by its record");
    ngx_livestream_codec_unref(again);

    len = key_frame(frame, 2, 0, 2, 1, 1, 64, 48);
    again = refine(r, frame, len);
    tap_str(again ? again->codecs : reason, "vp09.02.31.10",
            "a key frame knows better than vpcC");
    ngx_livestream_codec_unref(again);

    len = key_frame(frame, 0, 0, 2, 1, 1, 65536, 65536);
    tap_ok(refine(r, frame, len) == NULL, "65536x65536 is refused");
    tap_str(reason, "picture is too large", "says why");

    ngx_livestream_codec_unref(r);
}


static void
test_frames(void)
{
    size_t                   len, end;
    uint8_t                  super[128];
    ngx_livestream_codec_t  *c;

    c = parse(VP9, vpcc, sizeof(vpcc));

    tap_is(check(c, vp9_frame0, sizeof(vp9_frame0)), 0, "key frame");
    tap_is(key, 1, "is one");
    tap_is(check(c, vp9_frame1, sizeof(vp9_frame1)), 0, "inter frame");
    tap_is(key, 0, "is no key frame");
    tap_is(check(c, (uint8_t *) "\x88", 1), 0, "an existing frame");
    tap_is(key, 0, "is no key frame");

    hostile_frame(c, vp9_frame0, sizeof(vp9_frame0), "key frame");

    tap_is(check(c, (uint8_t *) "\x42", 1), -1, "no marker");
    tap_str(reason, "VP9 frame marker is missing", "says why");
    tap_is(check(c, (uint8_t *) "\x82\x49\x83\x43\0\0\0\0\0", 9), -1,
           "no sync code");
    tap_str(reason, "VP9 sync code is missing", "says why");
    tap_is(check(c, vp9_frame0, 7), -1, "a short key frame");
    tap_str(reason, "VP9 frame header is truncated", "says why");
    tap_is(check(c, (uint8_t *) "\xb8", 1), -1, "profile 4");
    tap_str(reason, "VP9 profile is unknown", "says why");

    /* a key frame and an inter frame in one */

    len = sizeof(vp9_frame0);
    memcpy(super, vp9_frame0, len);
    memcpy(super + len, vp9_frame1, sizeof(vp9_frame1));
    len += sizeof(vp9_frame1);

    end = len;
    super[end++] = 0xc9;                /* two sizes of two bytes */
    super[end++] = sizeof(vp9_frame0);
    super[end++] = 0;
    super[end++] = sizeof(vp9_frame1);
    super[end++] = 0;
    super[end++] = 0xc9;

    tap_is(check(c, super, end), 0, "superframe");
    tap_is(key, 1, "is a key frame");

    hostile_frame(c, super, end, "superframe");

    super[len + 3]++;
    tap_is(check(c, super, end), -1, "its sizes run past its end");
    tap_str(reason, "VP9 superframe index is invalid", "says why");

    super[len + 3] = 0;
    tap_is(check(c, super, end), -1, "a frame in it is empty");

    super[len] = 0;
    tap_is(check(c, super, end), 0, "half an index is none");

    ngx_livestream_codec_unref(c);
}


int
main(void)
{
    test_records();
    test_key_frames();
    test_refine();
    test_frames();

    return tap_done();
}

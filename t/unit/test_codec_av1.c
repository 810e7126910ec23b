
/*
 * Copyright (C) nginx-livestream contributors
 *
 * Tests of AV1: av1C with and without its sequence header, what a key frame
 * adds, and temporal units.
 */


#include "codec_test.h"
#include "bits_writer.h"


#define AV1  NGX_LIVESTREAM_CODEC_AV1


static const struct {
    const char     *name;
    const uint8_t  *conf;
    size_t          len;
    const char     *codecs;
    uint32_t        width, height, bit_depth, chroma, transfer;
} vectors[] = {
    { "main", av1_config, sizeof(av1_config),
      "av01.0.00M.08", 64, 48, 8, 1, 2 },
    { "PQ", av1_pq_config, sizeof(av1_pq_config),
      "av01.0.01M.10.0.110.09.16.09.0", 640, 360, 10, 1, 16 },
    { "4:4:4", av1_444_config, sizeof(av1_444_config),
      "av01.1.00M.08.0.000.02.02.02.0", 320, 180, 8, 3, 2 },
    { "12 bits", av1_12_config, sizeof(av1_12_config),
      "av01.2.00M.12", 320, 180, 12, 1, 2 },
    { "no limits", av1_rav_config, sizeof(av1_rav_config),
      "av01.0.31M.08", 320, 180, 8, 1, 2 }
};


static void
test_vectors(void)
{
    unsigned                 i;
    ngx_livestream_codec_t  *c;

    for (i = 0; i < sizeof(vectors) / sizeof(vectors[0]); i++) {

        c = parse(AV1, vectors[i].conf, vectors[i].len);

        if (!tap_ok(c != NULL, "%s is parsed", vectors[i].name)) {
            continue;
        }

        tap_str(c->codecs, vectors[i].codecs, "CODECS");
        tap_is(c->width, vectors[i].width, "width");
        tap_is(c->height, vectors[i].height, "height");
        tap_is(c->bit_depth, vectors[i].bit_depth, "bit depth");
        tap_is(c->chroma, vectors[i].chroma, "chroma");
        tap_is(c->transfer, vectors[i].transfer, "transfer");
        tap_is(c->profile, vectors[i].conf[1] >> 5, "profile");
        tap_is(c->level, vectors[i].conf[1] & 0x1f, "level");

        ngx_livestream_codec_unref(c);

        hostile(AV1, vectors[i].conf, vectors[i].len, 4, vectors[i].name);
    }
}


/* av1C with a sequence header that has all that it may have */

static size_t
build(uint8_t *p, unsigned width, unsigned height, unsigned points,
    unsigned reduced, unsigned srgb)
{
    unsigned  i;
    writer_t  w;

    memset(&w, 0, sizeof(w));

    put(&w, 3, 0);
    put(&w, 1, 0);
    put(&w, 1, reduced);

    put(&w, 1, 1);                  /* timing */
    put(&w, 32, 1);
    put(&w, 32, 60);
    put(&w, 1, 1);
    put_ue(&w, 1000);
    put(&w, 1, 1);                  /* decoder model */
    put(&w, 5, 31);
    put(&w, 32, 1);
    put(&w, 5, 9);
    put(&w, 5, 9);

    put(&w, 1, 1);                  /* display delay */
    put(&w, 5, points - 1);

    for (i = 0; i < points; i++) {
        put(&w, 12, 0x101);
        put(&w, 5, 13 - i % 8);

        if (13 - i % 8 > 7) {
            put(&w, 1, i == 0);
        }

        put(&w, 1, 1);
        put(&w, 32, 0xffffffff);
        put(&w, 32, 0xffffffff);
        put(&w, 1, 0);
        put(&w, 1, 1);
        put(&w, 4, 9);
    }

    put(&w, 4, 15);
    put(&w, 4, 15);
    put(&w, 16, width - 1);
    put(&w, 16, height - 1);
    put(&w, 1, 1);                  /* frame ids */
    put(&w, 7, 0x7f);
    put(&w, 7, 0);
    put(&w, 1, 1);                  /* order hints */
    put(&w, 2, 0);
    put(&w, 1, 0);                  /* screen content: forced, integer too */
    put(&w, 1, 1);
    put(&w, 1, 0);
    put(&w, 1, 1);
    put(&w, 3, 6);
    put(&w, 3, 0);

    put(&w, 1, 1);                  /* 10 bits, not monochrome */
    put(&w, 1, 0);
    put(&w, 1, 1);

    if (srgb) {
        put(&w, 24, 0x010d00);

    } else {
        put(&w, 24, 0x091209);      /* HLG */
        put(&w, 1, 0);
        put(&w, 2, 2);
    }

    put(&w, 1, 0);
    put(&w, 1, 0);
    put(&w, 1, 1);

    memcpy(p, "\x81\x0d\xcc\0", 4);
    p[4] = 0x0e;                    /* sequence header, extension, size */
    p[5] = 0;
    p[6] = (put_len(&w) & 0x7f) | 0x80;
    p[7] = put_len(&w) >> 7;
    memcpy(p + 8, w.data, put_len(&w));

    return 8 + put_len(&w);
}


static void
test_synthetic(void)
{
    size_t                   len;
    uint8_t                  conf[1024];
    ngx_livestream_codec_t  *c;

    len = build(conf, 3840, 2160, 32, 0, 0);
    c = parse(AV1, conf, len);
    tap_ok(c && c->width == 3840 && c->height == 2160,
           "32 operating points are passed over");
    tap_str(c ? c->codecs : reason, "av01.0.13H.10.0.112.09.18.09.0",
            "high tier, HLG");
    ngx_livestream_codec_unref(c);

    hostile(AV1, conf, len, 4, "32 operating points");

    len = build(conf, 320, 180, 1, 0, 1);
    c = parse(AV1, conf, len);
    tap_str(c ? c->codecs : reason, "av01.0.13H.10.0.000.01.13.00.1", "sRGB");
    ngx_livestream_codec_unref(c);

    len = build(conf, 16385, 16, 1, 0, 0);
    refused(AV1, conf, len, "picture is too large");

    len = build(conf, 16, 16, 1, 1, 0);
    refused(AV1, conf, len, "AV1 still pictures are not carried");

    len = build(conf, 16, 16, 1, 0, 0);
    conf[8] |= 0x60;
    refused(AV1, conf, len, "AV1 sequence header is invalid");

    refused(AV1, NULL, 0, "av1C is truncated");
    refused(AV1, (uint8_t *) "\x01\0\0\0", 4, "av1C is of an unknown version");
    refused(AV1, (uint8_t *) "\x81\0\0\0\x8a", 5,
            "AV1 OBU header is invalid");
    refused(AV1, (uint8_t *) "\x81\0\0\0\x0c", 5,
            "AV1 OBU header is truncated");
    refused(AV1, (uint8_t *) "\x81\0\0\0\x0a", 5, "AV1 OBU size is invalid");
    refused(AV1, (uint8_t *)
            "\x81\0\0\0\x0a\x80\x80\x80\x80\x80\x80\x80\x80\0", 14,
            "AV1 OBU size is invalid");
    refused(AV1, (uint8_t *) "\x81\0\0\0\x0a\xff\xff\xff\xff\xff\xff\xff\x7f",
            13, "AV1 OBU runs past the end of its frame");
    refused(AV1, (uint8_t *) "\x81\0\0\0\x0a\1", 6,
            "AV1 OBU runs past the end of its frame");
}


static void
test_refine(void)
{
    uint8_t                  conf[2048] = { 0 };
    ngx_livestream_codec_t  *c, *r, *f;

    c = parse(AV1, av1_config, 4);
    tap_ok(c && c->width == 0, "without a sequence header there is no size");
    tap_str(c->codecs, "av01.0.00M.08", "CODECS");

    r = refine(c, av1_frame0, sizeof(av1_frame0));
    tap_ok(r && r != c && r->width == 64 && r->height == 48,
           "the key frame tells it");
    tap_ok(r && codec_sane(r), "and it is sane");
    tap_ok(r && r->hash != c->hash, "the hash is another one");

    if (r) {
        f = parse(AV1, r->config, r->config_len);
        tap_ok(f && f->width == 64 && f->hash == r->hash,
               "the configuration now has the sequence header");
        ngx_livestream_codec_unref(f);

        f = refine(r, av1_frame0, sizeof(av1_frame0));
        tap_ok(f == r && r->refs == 2, "once is enough");
        ngx_livestream_codec_unref(f);

        f = refine(r, av1_frame1, sizeof(av1_frame1));
        tap_ok(f == r, "a frame without a sequence header changes nothing");
        ngx_livestream_codec_unref(f);

        tap_ok(ngx_livestream_codec_parse_frame(AV1, av1_frame0,
                                                sizeof(av1_frame0), &f,
                                                &reason)
               == 0, "a key frame alone will do");
        tap_ok(f->hash == r->hash, "for the same parameters");
        ngx_livestream_codec_unref(f);
    }

    tap_ok(refine(c, av1_frame1, sizeof(av1_frame1)) == NULL,
           "an inter frame has no size");
    tap_str(reason, "AV1 sequence header is missing", "says why");
    tap_ok(refine(c, NULL, 0) == NULL, "nor has no frame");

    ngx_livestream_codec_unref(c);
    ngx_livestream_codec_unref(r);

    /* another size, with no new configuration */

    c = parse(AV1, av1_config, sizeof(av1_config));
    r = refine(c, av1_frame0, sizeof(av1_frame0));
    tap_ok(r == c, "the same sequence header changes nothing");
    ngx_livestream_codec_unref(r);

    r = refine(c, conf + 4, build(conf, 1280, 720, 1, 0, 0) - 4);
    tap_ok(r && r != c && r->width == 1280 && r->height == 720,
           "another one does");
    ngx_livestream_codec_unref(r);

    conf[4] = 0x08;                     /* to the end, its size left out */
    memmove(conf + 5, conf + 8, 500);

    r = refine(c, conf + 4, 1 + 1024);
    tap_ok(r && r->width == 1280 && r->config_len == 7 + 1024,
           "the longest sequence header");
    ngx_livestream_codec_unref(r);

    tap_ok(refine(c, conf + 4, 1 + 1025) == NULL, "is longer no more");
    tap_str(reason, "AV1 sequence header is too large", "says why");
    ngx_livestream_codec_unref(c);
}


static void
test_frames(void)
{
    uint8_t                  unit[64];
    ngx_livestream_codec_t  *c;

    c = parse(AV1, av1_config, sizeof(av1_config));

    tap_is(check(c, av1_frame0, sizeof(av1_frame0)), 0, "key frame");
    tap_is(key, 1, "is one");
    tap_is(check(c, av1_frame1, sizeof(av1_frame1)), 0, "inter frame");
    tap_is(key, 0, "is no key frame");

    hostile_frame(c, av1_frame0, sizeof(av1_frame0), "key frame");

    /* its frame OBU comes last, behind 12 bytes: flag, size, data */

    memcpy(unit, av1_frame0, 12);
    unit[12] = av1_frame0[12] & ~0x02;
    memcpy(unit + 13, av1_frame0 + 14, sizeof(av1_frame0) - 14);
    tap_is(check(c, unit, sizeof(av1_frame0) - 1), 0,
           "the last OBU may be without its size");
    tap_is(key, 1, "and is a key frame");

    tap_is(check(c, av1_frame0 + 12, sizeof(av1_frame0) - 12), 0,
           "without its sequence header");
    tap_is(key, 0, "it is none to start with");

    tap_is(check(c, av1_frame0, 12), 1, "a sequence header is no picture");
    tap_is(check(c, (uint8_t *) "\x12\0", 2), 1, "nor is a delimiter");
    tap_is(check(c, (uint8_t *) "\x1a\1\xa0", 3), 0,
           "an existing frame that is shown");
    tap_is(key, 0, "is no key frame");
    tap_is(check(c, (uint8_t *) "\x32\0", 2), -1, "an empty frame");
    tap_str(reason, "AV1 frame header is empty", "says why");
    tap_is(check(c, (uint8_t *) "\x12\0\x32\5\x10", 5), -1, "a long one");
    tap_str(reason, "AV1 OBU runs past the end of its frame", "says why");

    /* shown later: decoding cannot start with it */

    memcpy(unit, av1_frame0, sizeof(av1_frame0));
    unit[14] = 0x00;
    tap_is(check(c, unit, sizeof(av1_frame0)), 0, "a key frame, not shown");
    tap_is(key, 0, "is none to start with");

    ngx_livestream_codec_unref(c);
}


int
main(void)
{
    test_vectors();
    test_synthetic();
    test_refine();
    test_frames();

    return tap_done();
}

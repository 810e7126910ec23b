
/*
 * Copyright (C) nginx-livestream contributors
 *
 * Tests of HEVC: hvcC as encoders write it, parameter sets with all that may
 * stand before the VUI, lies, and access units.
 */


#include "codec_test.h"
#include "bits_writer.h"


#define HEVC  NGX_LIVESTREAM_CODEC_HEVC


static const struct {
    const char     *name;
    const uint8_t  *conf;
    size_t          len;
    const char     *codecs;
    uint32_t        width, height, sar_num, sar_den;
    uint32_t        bit_depth, chroma, transfer, profile, level;
} vectors[] = {
    { "main", hevc_config, sizeof(hevc_config),
      "hvc1.1.6.L30.90", 64, 48, 1, 1, 8, 1, 2, 1, 30 },
    { "4:2:2, PQ", hevc_pq_config, sizeof(hevc_pq_config),
      "hvc1.4.10.L63.9D.8", 638, 358, 1, 1, 10, 2, 16, 4, 63 },
    { "HLG", hevc_hlg_config, sizeof(hevc_hlg_config),
      "hvc1.2.4.L60.90", 320, 180, 1, 1, 10, 1, 18, 2, 60 },
    { "temporal layers", hevc_tid_config, sizeof(hevc_tid_config),
      "hvc1.1.6.H153.90", 720, 576, 64, 45, 8, 1, 2, 1, 153 }
};


static void
test_vectors(void)
{
    unsigned                 i;
    ngx_livestream_codec_t  *c;

    for (i = 0; i < sizeof(vectors) / sizeof(vectors[0]); i++) {

        c = parse(HEVC, vectors[i].conf, vectors[i].len);

        if (!tap_ok(c != NULL, "%s is parsed", vectors[i].name)) {
            continue;
        }

        tap_str(c->codecs, vectors[i].codecs, "CODECS");
        tap_is(c->width, vectors[i].width, "width");
        tap_is(c->height, vectors[i].height, "height");
        tap_is(c->sar_num, vectors[i].sar_num, "SAR, numerator");
        tap_is(c->sar_den, vectors[i].sar_den, "SAR, denominator");
        tap_is(c->bit_depth, vectors[i].bit_depth, "bit depth");
        tap_is(c->chroma, vectors[i].chroma, "chroma");
        tap_is(c->transfer, vectors[i].transfer, "transfer");
        tap_is(c->profile, vectors[i].profile, "profile");
        tap_is(c->level, vectors[i].level, "level");
        tap_is(c->nal_length, 4, "NAL length");

        ngx_livestream_codec_unref(c);

        hostile(HEVC, vectors[i].conf, vectors[i].len, vectors[i].len,
                vectors[i].name);
    }
}


typedef struct {
    uint32_t  space, sublayers, chroma, width, height, crop, depth, lsb;
    uint32_t  scaling, pcm, sets, inter, negative, positive, longterm;
} sps_t;


static void
put_sps(writer_t *w, const sps_t *s)
{
    unsigned  i, k, n;

    put(w, 16, 0x4201);             /* NAL header */
    put(w, 4, 0);
    put(w, 3, s->sublayers);
    put(w, 1, 1);

    put(w, 2, s->space);
    put(w, 1, 1);                   /* high tier */
    put(w, 5, 4);
    put(w, 32, 0x08000000);         /* compatible with 4 */
    put(w, 32, 0x9dc80000);
    put(w, 16, 0x0001);
    put(w, 8, 120);

    for (i = 0; s->sublayers && i < 8; i++) {
        put(w, 2, i < s->sublayers ? 3 - (i & 1) : 0);
    }

    for (i = 0; i < s->sublayers; i++) {

        for (k = 0; k < 11; k++) {
            put(w, 8, 0xff);        /* a profile */
        }

        if ((i & 1) == 0) {
            put(w, 8, 0xff);        /* and a level */
        }
    }

    put_ue(w, 0);
    put_ue(w, s->chroma);

    if (s->chroma == 3) {
        put(w, 1, 0);
    }

    put_ue(w, s->width);
    put_ue(w, s->height);
    put(w, 1, 1);

    for (i = 0; i < 4; i++) {
        put_ue(w, s->crop);
    }

    put_ue(w, s->depth);
    put_ue(w, s->depth);
    put_ue(w, s->lsb);
    put(w, 1, 1);

    for (i = 0; i < 3 * (s->sublayers + 1); i++) {
        put_ue(w, 1);
    }

    for (i = 0; i < 6; i++) {
        put_ue(w, 1);
    }

    put(w, 1, s->scaling);

    if (s->scaling) {
        put(w, 1, 1);

        for (i = 0; i < 20; i++) {  /* 6 + 6 + 6 + 2 matrices */
            put(w, 1, i & 1);

            if ((i & 1) == 0) {
                put_ue(w, 0);
                continue;
            }

            n = i < 6 ? 16 : i < 12 ? 64 : 65;

            for (k = 0; k < n; k++) {
                put_se(w, k & 1 ? 1 : -1);
            }
        }
    }

    put(w, 2, 3);
    put(w, 1, s->pcm);

    if (s->pcm) {
        put(w, 8, 0x77);
        put_ue(w, 0);
        put_ue(w, 1);
        put(w, 1, 1);
    }

    put_ue(w, s->sets);

    for (i = 0; i < s->sets && i < 65; i++) {

        if (i) {
            put(w, 1, s->inter);
        }

        if (i && s->inter) {        /* one of them is not used any more */
            put(w, 1, 0);
            put_ue(w, 0);

            n = s->negative + s->positive;

            for (k = 0; k <= n && k < 64; k++) {
                if (k == 0) {
                    put(w, 2, 0);

                } else {
                    put(w, k & 1 ? 1 : 2, 1);
                }
            }

            continue;
        }

        put_ue(w, s->negative);
        put_ue(w, s->positive);

        for (k = 0; k < s->negative + s->positive && k < 64; k++) {
            put_ue(w, 0);
            put(w, 1, 1);
        }
    }

    put(w, 1, s->longterm != 0);

    if (s->longterm) {
        put_ue(w, s->longterm);

        for (i = 0; i < s->longterm && i < 33; i++) {
            put(w, s->lsb + 4, 0);
            put(w, 1, 1);
        }
    }

    put(w, 2, 0);
    put(w, 1, 1);                   /* VUI */
    put(w, 1, 1);
    put(w, 8, 14);                  /* 4:3 */
    put(w, 1, 0);
    put(w, 1, 1);
    put(w, 4, 5 << 1);
    put(w, 1, 1);
    put(w, 24, 0x091209);           /* BT.2020, HLG */
    put(w, 8, 0x80);
}


static size_t
record(uint8_t *p, const sps_t *sps)
{
    size_t         len;
    writer_t       w;
    const uint8_t  vps[] = { 0xa0, 0, 1, 0, 3, 0x40, 1, 0x0c };
    const uint8_t  pps[] = { 0x22, 0, 1, 0, 3, 0x44, 1, 0xc0 };

    memset(p, 0, 23);
    p[0] = 1;
    p[21] = 0x0f;
    p[22] = 3;

    memcpy(p + 23, vps, sizeof(vps));
    memcpy(p + 31, "\x21\0\1", 3);

    memset(&w, 0, sizeof(w));
    put_sps(&w, sps);
    len = put_escaped(&w, p + 36);

    p[34] = len >> 8;
    p[35] = len & 0xff;

    memcpy(p + 36 + len, pps, sizeof(pps));

    return 36 + len + sizeof(pps);
}


static ngx_livestream_codec_t *
synthetic(const sps_t *sps)
{
    size_t   len;
    uint8_t  conf[2048];

    len = record(conf, sps);

    return parse(HEVC, conf, len);
}


static void
test_synthetic(void)
{
    sps_t                    sps;
    size_t                   len;
    uint8_t                  conf[2048];
    ngx_livestream_codec_t  *c;

    const sps_t  plain = { 0, 0, 1, 1920, 1088, 2, 2, 4, 0, 0, 0, 0, 0, 0, 0 };
    const sps_t  rich = { 1, 6, 3, 640, 368, 2, 4, 12, 1, 1, 64, 1, 8, 7, 32 };

    sps = plain;
    c = synthetic(&sps);
    tap_ok(c && c->width == 1912 && c->height == 1080, "1912x1080");
    tap_str(c ? c->codecs : reason, "hvc1.4.10.H120.9D.C8.0.0.0.1",
            "all of the constraints");
    ngx_livestream_codec_unref(c);

    sps = rich;
    c = synthetic(&sps);
    tap_ok(c && c->width == 636 && c->height == 364, "636x364");
    tap_ok(c && c->sar_num == 4 && c->sar_den == 3, "the VUI is reached");
    tap_is(c ? c->transfer : 0, 18, "HLG");
    tap_is(c ? c->bit_depth : 0, 12, "12 bits");
    tap_str(c ? c->codecs : reason, "hvc1.A4.10.H120.9D.C8.0.0.0.1",
            "profile space");
    ngx_livestream_codec_unref(c);

    len = record(conf, &sps);
    hostile(HEVC, conf, len, len, "rich SPS");

    sps.inter = 0;
    c = synthetic(&sps);
    tap_ok(c && c->transfer == 18, "sets that are not predicted");
    ngx_livestream_codec_unref(c);

    sps.sets = 65;
    tap_ok(synthetic(&sps) == NULL, "65 sets are refused");

    sps = rich;
    sps.longterm = 33;
    tap_ok(synthetic(&sps) == NULL, "33 long-term pictures are refused");

    sps = rich;
    sps.negative = 17;
    tap_ok(synthetic(&sps) == NULL, "17 references are refused");

    sps.negative = 1;
    sps.positive = 0xfffffffe;
    tap_ok(synthetic(&sps) == NULL, "references of 32 bits are refused");

    sps = rich;
    sps.lsb = 13;
    tap_ok(synthetic(&sps) == NULL, "a counter of 17 bits is refused");

    sps = rich;
    sps.sublayers = 7;
    tap_ok(synthetic(&sps) == NULL, "8 sub-layers are refused");

    sps = plain;
    sps.chroma = 4;
    tap_ok(synthetic(&sps) == NULL, "chroma format 4 is refused");

    sps = plain;
    sps.depth = 9;
    tap_ok(synthetic(&sps) == NULL, "17 bits are refused");

    sps = plain;
    sps.width = 0;
    tap_ok(synthetic(&sps) == NULL, "no width is refused");

    sps.width = 16385;
    tap_ok(synthetic(&sps) == NULL, "16385 columns are refused");

    sps.width = 0xfffffffe;
    tap_ok(synthetic(&sps) == NULL, "a width of 32 bits is refused");

    sps.width = 16384;
    sps.crop = 4096;
    tap_ok(synthetic(&sps) == NULL, "a picture cropped to nothing is refused");
}


static void
test_records(void)
{
    sps_t                    sps = { 0, 0, 1, 64, 64, 0, 0, 4, 0, 0, 0, 0, 0,
                                     0, 0 };
    size_t                   len;
    uint8_t                  conf[2048];
    ngx_livestream_codec_t  *c;

    len = record(conf, &sps);

    refused(HEVC, NULL, 0, "hvcC is truncated");

    conf[0] = 0;
    refused(HEVC, conf, len, "hvcC is of an unknown version");

    conf[0] = 1;
    conf[21] = 0x0e;
    refused(HEVC, conf, len, "hvcC has an invalid NAL length size");

    conf[21] = 0x0d;
    c = parse(HEVC, conf, len);
    tap_ok(c && c->nal_length == 2, "NAL lengths of two bytes");
    ngx_livestream_codec_unref(c);

    conf[22] = 2;
    refused(HEVC, conf, len, "hvcC has no VPS, no SPS or no PPS");

    conf[22] = 4;
    refused(HEVC, conf, len, "hvcC has an invalid parameter set");

    conf[22] = 3;
    conf[25] = 2;
    refused(HEVC, conf, len, "hvcC has an invalid parameter set");

    conf[25] = 1;
    conf[28] = 0x42;
    refused(HEVC, conf, len, "hvcC has an invalid parameter set");

    /* a VPS of another layer is none */

    conf[28] = 0x40;
    conf[29] = 0x09;
    refused(HEVC, conf, len, "hvcC has no VPS, no SPS or no PPS");
}


static void
test_frames(void)
{
    unsigned                 type;
    uint8_t                  nal[7] = { 0, 0, 0, 3, 0, 1, 0x80 };
    ngx_livestream_codec_t  *c;

    c = parse(HEVC, hevc_config, sizeof(hevc_config));

    tap_is(check(c, hevc_frame0, sizeof(hevc_frame0)), 0, "IDR picture");
    tap_is(key, 1, "is a key frame");
    tap_is(check(c, hevc_frame1, sizeof(hevc_frame1)), 0, "P picture");
    tap_is(key, 0, "is no key frame");

    hostile_frame(c, hevc_frame0, sizeof(hevc_frame0), "IDR picture");

    for (type = 0; type < 64; type++) {
        nal[4] = type << 1;

        if (check(c, nal, sizeof(nal)) != (type < 32 ? 0 : 1)
            || key != (type >= 16 && type <= 21))
        {
            break;
        }
    }

    tap_is(type, 64, "NAL types 16 to 21 are key pictures");

    nal[4] = 20 << 1;
    nal[5] = 0x09;
    tap_is(check(c, nal, sizeof(nal)), 1, "another layer is no picture");

    nal[3] = 1;
    tap_is(check(c, nal, 5), -1, "a NAL of one byte");
    tap_str(reason, "NAL header is invalid", "says why");

    nal[3] = 4;
    tap_is(check(c, nal, sizeof(nal)), -1, "a NAL that is too long");

    ngx_livestream_codec_unref(c);
}


int
main(void)
{
    test_vectors();
    test_synthetic();
    test_records();
    test_frames();

    return tap_done();
}

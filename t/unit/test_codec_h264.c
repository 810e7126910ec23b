
/*
 * Copyright (C) nginx-livestream contributors
 *
 * Tests of H.264: avcC as encoders write it, as no encoder should, and access
 * units whose lengths lie.
 */


#include "codec_test.h"
#include "bits_writer.h"


#define H264  NGX_LIVESTREAM_CODEC_H264


static const struct {
    const char     *name;
    const uint8_t  *conf;
    size_t          len;
    size_t          min;            /* without what may follow the PPS */
    const char     *codecs;
    uint32_t        width, height, sar_num, sar_den;
    uint32_t        bit_depth, chroma, transfer;
} vectors[] = {
    { "baseline", h264_config, sizeof(h264_config), sizeof(h264_config),
      "avc1.42c00a", 64, 48, 1, 1, 8, 1, 2 },
    { "4:2:2 in fields", h264_422i_config, sizeof(h264_422i_config),
      sizeof(h264_422i_config) - 4,
      "avc1.7a001e", 720, 576, 16, 11, 10, 2, 2 },
    { "4:4:4", h264_444_config, sizeof(h264_444_config),
      sizeof(h264_444_config) - 4,
      "avc1.f4000d", 320, 240, 1, 1, 8, 3, 2 },
    { "1080 lines in fields", h264_fields_config, sizeof(h264_fields_config),
      sizeof(h264_fields_config),
      "avc1.4d4028", 1920, 1080, 1, 1, 8, 1, 2 },
    { "PQ", h264_pq_config, sizeof(h264_pq_config), sizeof(h264_pq_config) - 4,
      "avc1.6e000d", 320, 240, 1, 1, 10, 1, 16 }
};


static void
test_vectors(void)
{
    unsigned                 i;
    ngx_livestream_codec_t  *c;

    for (i = 0; i < sizeof(vectors) / sizeof(vectors[0]); i++) {

        c = parse(H264, vectors[i].conf, vectors[i].len);

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
        tap_is(c->profile, vectors[i].conf[1], "profile");
        tap_is(c->level, vectors[i].conf[3], "level");
        tap_is(c->nal_length, 4, "NAL length");
        tap_is(c->timescale, 90000, "timescale");
        tap_ok(c->media == NGX_LIVESTREAM_VIDEO, "is video");
        tap_ok(c->config_len == vectors[i].len
               && memcmp(c->config, vectors[i].conf, vectors[i].len) == 0,
               "the configuration is kept as it came");

        ngx_livestream_codec_unref(c);

        hostile(H264, vectors[i].conf, vectors[i].len, vectors[i].min,
                vectors[i].name);
    }
}


/* avcC around one SPS */

static size_t
record(uint8_t *p, const writer_t *w)
{
    size_t         len;
    const uint8_t  head[] = { 1, 100, 0, 31, 0xff, 0xe1 };
    const uint8_t  tail[] = { 1, 0, 2, 0x68, 0xce };

    memcpy(p, head, sizeof(head));

    p[8] = 0x67;
    len = 1 + put_escaped(w, p + 9);
    p[6] = len >> 8;
    p[7] = len & 0xff;

    memcpy(p + 8 + len, tail, sizeof(tail));

    return 8 + len + sizeof(tail);
}


typedef struct {
    uint32_t  profile, chroma, separate, scaling, depth, order, cycle;
    uint32_t  width, height;        /* in macroblocks, less 1 */
    uint32_t  fields;
    uint32_t  crop[4];
    uint32_t  sar_num, sar_den;
} sps_t;


static size_t
build(uint8_t *p, const sps_t *sps)
{
    unsigned  i, k;
    writer_t  w;

    memset(&w, 0, sizeof(w));

    put(&w, 8, sps->profile);
    put(&w, 8, 0);
    put(&w, 8, 31);
    put_ue(&w, 0);

    if (sps->profile >= 100) {
        put_ue(&w, sps->chroma);

        if (sps->chroma == 3) {
            put(&w, 1, sps->separate);
        }

        put_ue(&w, sps->depth);
        put_ue(&w, sps->depth);
        put(&w, 1, 0);
        put(&w, 1, sps->scaling);

        for (i = 0; sps->scaling && i < (sps->chroma == 3 ? 12 : 8); i++) {

            /* one list is left out, one ends early, the others are whole */

            put(&w, 1, i != 1);

            for (k = 0; i != 1 && k < (i < 6 ? 16 : 64); k++) {
                if (i == 2 && k == 3) {
                    put_se(&w, -11);
                    break;
                }

                put_se(&w, 1);
            }
        }
    }

    put_ue(&w, 0);
    put_ue(&w, sps->order);

    if (sps->order == 0) {
        put_ue(&w, 4);
    }

    if (sps->order == 1) {
        put(&w, 1, 0);
        put_se(&w, -3);
        put_se(&w, 70000);
        put_ue(&w, sps->cycle);

        for (i = 0; i < sps->cycle && i < 256; i++) {
            put_se(&w, -1);
        }
    }

    put_ue(&w, 1);
    put(&w, 1, 0);
    put_ue(&w, sps->width);
    put_ue(&w, sps->height);
    put(&w, 1, !sps->fields);

    if (sps->fields) {
        put(&w, 1, 0);
    }

    put(&w, 1, 1);
    put(&w, 1, 1);

    for (i = 0; i < 4; i++) {
        put_ue(&w, sps->crop[i]);
    }

    put(&w, 1, 1);
    put(&w, 1, 1);
    put(&w, 8, 255);
    put(&w, 16, sps->sar_num);
    put(&w, 16, sps->sar_den);
    put(&w, 1, 1);                  /* overscan */
    put(&w, 1, 1);
    put(&w, 1, 1);                  /* signal type, with no colour */
    put(&w, 3 + 1, 5);
    put(&w, 1, 0);
    put(&w, 8, 0x80);

    return record(p, &w);
}


static ngx_livestream_codec_t *
synthetic(const sps_t *sps)
{
    size_t   len;
    uint8_t  conf[2048];

    len = build(conf, sps);

    return parse(H264, conf, len);
}


static void
test_synthetic(void)
{
    uint8_t                  conf[2048];
    sps_t                    sps;
    ngx_livestream_codec_t  *c;

    const sps_t  plain = { 66, 0, 0, 0, 0, 0, 0, 9, 5, 0, { 0 }, 4, 3 };

    sps = plain;
    c = synthetic(&sps);
    tap_ok(c && c->width == 160 && c->height == 96, "160x96");
    tap_ok(c && c->sar_num == 4 && c->sar_den == 3, "extended SAR");
    ngx_livestream_codec_unref(c);

    sps.sar_den = 0;
    c = synthetic(&sps);
    tap_ok(c && c->sar_num == 0 && c->sar_den == 0, "4:0 is no SAR");
    ngx_livestream_codec_unref(c);

    sps = plain;
    sps.profile = 244;
    sps.chroma = 3;
    sps.scaling = 1;
    sps.order = 1;
    sps.cycle = 255;
    sps.crop[1] = 3;
    sps.crop[3] = 5;
    c = synthetic(&sps);
    tap_ok(c && c->width == 157 && c->height == 91,
           "scaling lists and 255 offsets are passed over");
    ngx_livestream_codec_unref(c);

    hostile(H264, conf, build(conf, &sps), build(conf, &sps), "long SPS");

    sps.chroma = 1;
    c = synthetic(&sps);
    tap_ok(c && c->width == 154 && c->height == 86, "4:2:0 crops in twos");
    ngx_livestream_codec_unref(c);

    sps.chroma = 2;
    sps.fields = 1;
    c = synthetic(&sps);
    tap_ok(c && c->width == 154 && c->height == 182,
           "fields double the height and the crop");
    ngx_livestream_codec_unref(c);

    sps.chroma = 3;
    sps.separate = 1;
    c = synthetic(&sps);
    tap_ok(c && c->width == 157 && c->height == 182, "separate planes");
    ngx_livestream_codec_unref(c);

    sps.separate = 0;
    sps.cycle = 256;
    tap_ok(synthetic(&sps) == NULL, "256 offsets are refused");

    sps.order = 3;
    tap_ok(synthetic(&sps) == NULL, "an unknown order count is refused");

    sps.order = 0;
    sps.chroma = 4;
    tap_ok(synthetic(&sps) == NULL, "chroma format 4 is refused");

    sps.chroma = 1;
    sps.depth = 7;
    tap_ok(synthetic(&sps) == NULL, "15 bits are refused");

    sps = plain;
    sps.crop[0] = 40;
    sps.crop[1] = 40;
    tap_ok(synthetic(&sps) == NULL, "a picture cropped to nothing is refused");

    sps.crop[0] = 0xfffffffe;
    sps.crop[1] = 0xfffffffe;
    tap_ok(synthetic(&sps) == NULL, "a crop of 32 bits is refused");

    sps = plain;
    sps.width = 1023;
    sps.height = 1023;
    c = synthetic(&sps);
    tap_ok(c && c->width == 16384 && c->height == 16384, "16384x16384");
    ngx_livestream_codec_unref(c);

    sps.fields = 1;
    tap_ok(synthetic(&sps) == NULL, "32768 lines are refused");

    sps.fields = 0;
    sps.width = 1024;
    tap_ok(synthetic(&sps) == NULL, "16400 columns are refused");

    sps.width = 0xfffffffe;
    tap_ok(synthetic(&sps) == NULL, "a width of 32 bits is refused");
}


static void
test_records(void)
{
    uint8_t                  conf[128];
    size_t                   len;
    ngx_livestream_codec_t  *c;

    len = sizeof(h264_config);

    refused(H264, NULL, 0, "avcC is truncated");

    memcpy(conf, h264_config, len);
    conf[0] = 0;
    refused(H264, conf, len, "avcC is of an unknown version");

    memcpy(conf, h264_config, len);
    conf[4] = 0xfe;
    refused(H264, conf, len, "avcC has an invalid NAL length size");

    conf[4] = 0xfc;
    conf[5] = 0xe0;
    refused(H264, conf, len, "avcC has no SPS");

    conf[5] = 0xe2;
    refused(H264, conf, len, "avcC has an invalid SPS");

    conf[5] = 0xe1;
    c = parse(H264, conf, len);
    tap_ok(c && c->nal_length == 1, "NAL lengths of one byte");
    ngx_livestream_codec_unref(c);

    conf[29] = 0;
    refused(H264, conf, len, "avcC has no PPS");

    conf[29] = 1;
    conf[32] = 0x67;
    refused(H264, conf, len, "avcC has an invalid PPS");

    conf[32] = 0x68;
    conf[31] = 5;
    refused(H264, conf, len, "avcC has an invalid PPS");

    /* a start code where the record should be */

    refused(H264, (uint8_t *) "\0\0\0\1\x67\x42\xc0\x0a\xda", 9,
            "avcC is of an unknown version");

    /* two SPS: the second one may not be garbage */

    memcpy(conf, h264_config, 29);
    memcpy(conf + 29, h264_config + 6, len - 6);
    conf[5] = 0xe2;
    c = parse(H264, conf, 29 + len - 6);
    tap_ok(c && c->width == 64, "two SPS");
    ngx_livestream_codec_unref(c);

    conf[32] = 0xff;
    memset(conf + 33, 0, 18);
    refused(H264, conf, 29 + len - 6, "avcC has an invalid SPS");
}


static void
test_frames(void)
{
    ngx_livestream_codec_t  *c, *c1, *c2;
    uint8_t                  conf[sizeof(h264_config)];

    c = parse(H264, h264_config, sizeof(h264_config));

    tap_is(check(c, h264_frame0, sizeof(h264_frame0)), 0, "IDR picture");
    tap_is(key, 1, "is a key frame");
    tap_is(samples, 0, "tells no duration");
    tap_is(check(c, h264_frame1, sizeof(h264_frame1)), 0, "P picture");
    tap_is(key, 0, "is no key frame");

    hostile_frame(c, h264_frame0, sizeof(h264_frame0), "IDR picture");

    tap_is(check(c, (uint8_t *) "\0\0\0\2\x09\x10\0\0\0\2\x06\x05", 12), 1,
           "delimiter and SEI alone have no picture");
    tap_is(check(c, (uint8_t *) "\0\0\0\2\x09\x10\0\0\0\1\x65", 11), 0,
           "delimiter and IDR");
    tap_is(key, 1, "is a key frame");

    tap_is(check(c, NULL, 0), -1, "no bytes");
    tap_str(reason, "frame is empty", "says why");
    tap_is(check(c, (uint8_t *) "\0\0\0\1\x65\0\0\0", 8), -1, "half a length");
    tap_str(reason, "NAL length is truncated", "says why");
    tap_is(check(c, (uint8_t *) "\0\0\0\0", 4), -1, "length 0");
    tap_str(reason, "NAL is empty", "says why");
    tap_is(check(c, (uint8_t *) "\0\0\0\2\x65", 5), -1, "one byte short");
    tap_str(reason, "NAL runs past the end of its frame", "says why");
    tap_is(check(c, (uint8_t *) "\xff\xff\xff\xff\x65", 5), -1, "length -1");
    tap_is(check(c, (uint8_t *) "\x7f\xff\xff\xfc\x65", 5), -1, "2 GiB");
    tap_is(check(c, (uint8_t *) "\0\0\0\1\xe5", 5), -1, "forbidden bit");
    tap_str(reason, "NAL header is invalid", "says why");

    memcpy(conf, h264_config, sizeof(conf));
    conf[4] = 0xfc;
    c1 = parse(H264, conf, sizeof(conf));
    conf[4] = 0xfd;
    c2 = parse(H264, conf, sizeof(conf));

    tap_is(check(c1, (uint8_t *) "\1\x09\2\x65\x88", 5), 0, "lengths of 1");
    tap_is(check(c2, (uint8_t *) "\0\1\x09\0\2\x65\x88", 7), 0,
           "lengths of 2");
    tap_is(check(c2, (uint8_t *) "\0\1\x09\0", 4), -1, "half of one");

    ngx_livestream_codec_unref(c);
    ngx_livestream_codec_unref(c1);
    ngx_livestream_codec_unref(c2);
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

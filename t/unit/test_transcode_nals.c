
/*
 * Copyright (C) nginx-livestream contributors
 *
 * Tests of NAL units from Annex B, and of configuration records.
 */


#include <stdlib.h>

#include "ngx_livestream_transcode.h"
#include "tap.h"


#define H264  NGX_LIVESTREAM_CODEC_H264
#define HEVC  NGX_LIVESTREAM_CODEC_HEVC

#define text(s)  (const uint8_t *) s, sizeof(s) - 1


/* what a case is written as, from a copy of its very size */

static uint8_t *
convert(ngx_livestream_codec_e codec, const uint8_t *data, size_t len,
    size_t *size)
{
    uint8_t  *in, *out, *end;

    in = malloc(len);
    *size = ngx_livestream_transcode_nals_get_size(codec, data, len);
    out = malloc(*size);

    if ((in == NULL && len) || (out == NULL && *size)) {
        abort();
    }

    if (len) {
        memcpy(in, data, len);
    }

    end = out;

    if (*size) {
        end = ngx_livestream_transcode_nals_write(out, codec, in, len);
    }

    if ((size_t) (end - out) != *size) {
        printf("# %zu bytes written, not %zu\n", (size_t) (end - out), *size);
        abort();
    }

    free(in);

    return out;
}


static void
is(ngx_livestream_codec_e codec, const uint8_t *data, size_t len,
    const uint8_t *want, size_t want_len, const char *what)
{
    size_t    size;
    uint8_t  *out;

    out = convert(codec, data, len, &size);

    tap_ok(size == want_len && (size == 0 || memcmp(out, want, size) == 0),
           "%s", what);

    free(out);
}


static void
test_h264(void)
{
    is(H264, text("\0\0\1\x65\x88\x80"), text("\0\0\0\3\x65\x88\x80"),
       "a start code of three bytes");
    is(H264, text("\0\0\0\1\x65\x88"), text("\0\0\0\2\x65\x88"),
       "and of four");
    is(H264, text("\0\0\1\x65\x88\0\0\0\0\1\x41\x9a\0\0\0"),
       text("\0\0\0\2\x65\x88\0\0\0\2\x41\x9a"),
       "zeros behind a unit are no part of it");
    is(H264, text("\0\0\1\0\0\1\0\0\0\1\x65\x88\0\0\1"),
       text("\0\0\0\2\x65\x88"), "empty units are left out");
    is(H264, text("\xff\1\0\1\0\0\1\x65\x88"), text("\0\0\0\2\x65\x88"),
       "so is what stands before the first start code");
    is(H264, text("\0\0\1\x65\0\0\3\1\x88"), text("\0\0\0\6\x65\0\0\3\1\x88"),
       "emulation prevention stays");
    is(H264, text("\0\0\1\x09\xf0\0\0\1\x67\x64\0\0\1\x68\xee"
                  "\0\0\1\x0c\xff\x80\0\0\1\x65\x88\0\0\1\x0a\0\0\1\x0b"),
       text("\0\0\0\2\x65\x88"),
       "parameter sets, delimiters, filler and ends are left out");
    is(H264, text("\0\0\1\6\5\1\xdc\x80\0\0\1\6\4\1\xb5\x80\0\0\1\x65\x88"),
       text("\0\0\0\5\6\4\1\xb5\x80\0\0\0\2\x65\x88"),
       "captions stay and the encoder's name goes");
    is(H264, text("\0\0\1\6\0\0\1\x65\x88"), text("\0\0\0\2\x65\x88"),
       "SEI of nothing goes");

    is(H264, text("\0\0\1\x67\x64\0\0\1\x68\xee\0\0\1\6\4\1\xb5\x80"),
       text(""), "no picture, no access unit");
    is(H264, text("\0\0\1\3\x88\0\0\1\4\x88"), text(""),
       "a picture without its first partition is none");
    is(H264, text("\x65\x88\x84\0\x33"), text(""), "no start code, no unit");
    is(H264, text("\0\0\1"), text(""), "a start code alone");
    is(H264, text("\0\0"), text(""), "less than one");
    is(H264, text(""), text(""), "nothing at all");
}


static void
test_hevc(void)
{
    is(HEVC, text("\0\0\0\1\x40\1\xc\0\0\1\x42\1\1\0\0\1\x44\1\xc1"
                  "\0\0\1\x46\1\x50\0\0\1\x4c\1\xff\0\0\1\x26\1\xaf"),
       text("\0\0\0\3\x26\1\xaf"),
       "HEVC: sets, delimiter and filler are left out");
    is(HEVC, text("\0\0\1\x4e\1\5\1\xdc\0\0\1\x4e\1\4\1\xb5\0\0\1\2\1\xd0"),
       text("\0\0\0\5\x4e\1\4\1\xb5\0\0\0\3\2\1\xd0"),
       "HEVC: captions stay and the encoder's name goes");
    is(HEVC, text("\0\0\1\x26\0\0\1\2\1\xd0"), text("\0\0\0\3\2\1\xd0"),
       "HEVC: half a header is left out");
    is(HEVC, text("\0\0\1\x26"), text(""), "HEVC: half a header alone");
    is(HEVC, text("\0\0\1\2\x09\xd0\0\0\1\3\1\xd0"), text(""),
       "HEVC: pictures of other layers");
}


/* Units found the slow way, byte by byte. */

static size_t
slow_size(const uint8_t *p, size_t len)
{
    int       picture;
    size_t    i, n, end, size;

    size = 0;
    picture = 0;

    for (i = 0; i + 3 <= len; i++) {

        if (p[i] || p[i + 1] || p[i + 2] != 1) {
            continue;
        }

        for (end = i + 3; end < len; end++) {
            if (end + 3 <= len && !p[end] && !p[end + 1] && p[end + 2] == 1) {
                break;
            }
        }

        for (n = end - i - 3; n && p[i + 3 + n - 1] == 0; n--) { /* void */ }

        if (n && (p[i + 3] & 0x1f) >= 1 && (p[i + 3] & 0x1f) <= 5) {
            picture |= (p[i + 3] & 0x1f) != 3;
            size += 4 + n;
        }
    }

    return picture ? size : 0;
}


static void
test_random(void)
{
    size_t    i, len, size, wrong;
    uint8_t   data[64];
    uint32_t  n, seed;

    /* slices, parameter sets and what start codes are made of */
    static const uint8_t  bytes[8] = { 0, 0, 0, 1, 1, 3, 0x65, 0x67 };

    wrong = 0;
    seed = 1;

    for (n = 0; n < 200000; n++) {
        len = n % sizeof(data);

        for (i = 0; i < len; i++) {
            seed = seed * 1664525 + 1013904223;
            data[i] = bytes[seed >> 29];
        }

        free(convert(H264, data, len, &size));
        wrong += size != slow_size(data, len);

        free(convert(HEVC, data, len, &size));
    }

    tap_is(wrong, 0, "units of random bytes are where they seem to be");
}


static int
record(enum AVCodecID id, const uint8_t *data, size_t len, uint8_t **out,
    size_t *size)
{
    int              rc;
    uint8_t         *copy;
    AVCodecContext  *avctx;

    avctx = avcodec_alloc_context3(NULL);
    copy = malloc(len);

    if (avctx == NULL || (copy == NULL && len)) {
        abort();
    }

    if (len) {
        memcpy(copy, data, len);
    }

    avctx->codec_id = id;
    avctx->extradata = copy;
    avctx->extradata_size = len;

    rc = ngx_livestream_transcode_record(avctx, out, size);

    avctx->extradata = NULL;
    avcodec_free_context(&avctx);
    free(copy);

    return rc;
}


static void
bad(enum AVCodecID id, const uint8_t *data, size_t len, const char *what)
{
    size_t    size;
    uint8_t  *out;

    tap_ok(record(id, data, len, &out, &size) != 0 && out == NULL
           && size == 0, "%s", what);
}


static void
test_avcc(void)
{
    char      many[17 * 6 + 5];
    size_t    i, size;
    uint8_t  *out;

    tap_ok(record(AV_CODEC_ID_H264,
                  text("\0\0\0\1\x67\x64\0\x1f\xac\0\0\1\x68\xee\x3c"
                       "\0\0\1\6\5\1\xdc\x80"), &out, &size) == 0
           && size == 23
           && memcmp(out, "\1\x64\0\x1f\xff\xe1\0\5\x67\x64\0\x1f\xac\1\0\3"
                          "\x68\xee\x3c\xfd\xf8\xf8\0", 23) == 0,
           "avcC of the High profile");
    free(out);

    tap_ok(record(AV_CODEC_ID_H264,
                  text("\0\0\1\x67\x42\xc0\x1e\xda\0\0\1\x68\xce\0\0\1\x68\xcf"
                       ), &out, &size) == 0
           && size == 22
           && memcmp(out, "\1\x42\xc0\x1e\xff\xe1\0\5\x67\x42\xc0\x1e\xda\2"
                          "\0\2\x68\xce\0\2\x68\xcf", 22) == 0,
           "avcC of the Baseline profile, with two PPS");
    free(out);

    for (i = 0; i < 17; i++) {
        memcpy(many + i * 6, "\0\0\1\x67\x42\xc0", 6);
    }

    memcpy(many + i * 6, "\0\0\1\x68\xee", 5);

    bad(AV_CODEC_ID_H264, text(""), "no parameter sets");
    bad(AV_CODEC_ID_H264, text("\0\0\1\x67\x64\0\x1f\xac"), "no PPS");
    bad(AV_CODEC_ID_H264, text("\0\0\1\x68\xee"), "no SPS");
    bad(AV_CODEC_ID_H264, text("\0\0\1\x67\x64\0\0\1\x68\xee"), "half an SPS");
    bad(AV_CODEC_ID_H264, (uint8_t *) many, sizeof(many), "a flood of SPS");
    bad(AV_CODEC_ID_VP9, text("\0\0\1\x67\x64\0\x1f\xac\0\0\1\x68\xee"),
        "a codec without parameter sets");
}


static void
test_hvcc(void)
{
    char      sets[70100];
    size_t    size;
    uint8_t  *out;

    /* an SPS with emulation prevention in its profile, as each has */

    tap_ok(record(AV_CODEC_ID_HEVC,
                  text("\0\0\0\1\x40\1\xc\0\0\1\x42\1\1\1\x60\0\0\3\0\x90\0\0"
                       "\3\0\0\3\0\x5d\xa0\0\0\1\x44\1\xc1"), &out, &size)
           == 0
           && size == 63
           && memcmp(out, "\1\1\x60\0\0\0\x90\0\0\0\0\0\x5d\xf0\0\xfc\xfd\xf8"
                          "\xf8\0\0\x0f\3"
                          "\xa0\0\1\0\3\x40\1\xc"
                          "\xa1\0\1\0\x13\x42\1\1\1\x60\0\0\3\0\x90\0\0\3\0\0"
                          "\3\0\x5d\xa0"
                          "\xa2\0\1\0\3\x44\1\xc1", 63) == 0,
           "hvcC, without emulation prevention in what it says itself");
    free(out);

    bad(AV_CODEC_ID_HEVC, text("\0\0\1\x42\1\1\1\x60\0\0\3\0\x90\0\0\3\0\0\3"
                               "\0\x5d\xa0\0\0\1\x44\1\xc1"), "no VPS");
    bad(AV_CODEC_ID_HEVC, text("\0\0\1\x40\1\xc\0\0\1\x42\1\1\1\x60\0\0\1\x44"
                               "\1\xc1"), "half an SPS of HEVC");

    memset(sets, 0xff, sizeof(sets));
    memcpy(sets, "\0\0\1\x40\1\xc\0\0\1\x44\1\xc1\0\0\1\x42\1", 17);

    bad(AV_CODEC_ID_HEVC, (uint8_t *) sets, sizeof(sets),
        "an SPS longer than a record can say");
}


int
main(void)
{
    test_h264();
    test_hevc();
    test_random();
    test_avcc();
    test_hvcc();

    return tap_done();
}

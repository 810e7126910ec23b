
/*
 * Copyright (C) nginx-livestream contributors
 *
 * Tests of AAC, Opus and FLAC: configurations of real encoders and of liars,
 * and what a frame tells of its duration.
 */


#include "codec_test.h"
#include "bits_writer.h"


#define AAC   NGX_LIVESTREAM_CODEC_AAC
#define OPUS  NGX_LIVESTREAM_CODEC_OPUS
#define FLAC  NGX_LIVESTREAM_CODEC_FLAC


static const struct {
    const char  *name;
    const char  *conf;
    size_t       len;
    const char  *codecs;                        /* or why it is refused */
    uint32_t     rate, channels, samples;
} aac[] = {
    { "LC, 44100 Hz, stereo", "\x12\x10", 2, "mp4a.40.2", 44100, 2, 1024 },
    { "LC, mono", "\x11\x88", 2, "mp4a.40.2", 48000, 1, 1024 },
    { "LC, 5.1", "\x11\xb0", 2, "mp4a.40.2", 48000, 6, 1024 },
    { "LC, 7.1", "\x11\xb8", 2, "mp4a.40.2", 48000, 8, 1024 },
    { "LC, 6.1", "\x11\xd8", 2, "mp4a.40.2", 48000, 7, 1024 },
    { "LC, 960 samples", "\x11\x94", 2, "mp4a.40.2", 48000, 2, 960 },
    { "LC, 7350 Hz", "\x16\x10", 2, "mp4a.40.2", 7350, 2, 1024 },
    { "Main", "\x0a\x10", 2, "mp4a.40.1", 44100, 2, 1024 },
    { "LC, 37800 Hz, written out", "\x17\x80\x49\xd4\x10", 5,
      "mp4a.40.2", 37800, 2, 1024 },
    { "LC, depends on a core coder", "\x12\x12\x00\x00", 4,
      "mp4a.40.2", 44100, 2, 1024 },
    { "LC, padded", "\x12\x10\x00\x00\x00", 5, "mp4a.40.2", 44100, 2, 1024 },
    { "LC, no SBR said", "\x11\x90\x56\xe5\x00", 5,
      "mp4a.40.2", 48000, 2, 1024 },
    { "HE, explicit", "\x2b\x92\x08\x00", 4, "mp4a.40.5", 44100, 2, 2048 },
    { "HE, explicit, mono", "\x2b\x8a\x08\x00", 4,
      "mp4a.40.5", 44100, 1, 2048 },
    { "HE, tail", "\x13\x90\x56\xe5\xa0", 5, "mp4a.40.5", 44100, 2, 2048 },
    { "HE, downsampled", "\x29\x91\x88\x00", 4, "mp4a.40.5", 48000, 2, 1024 },
    { "HE, written out", "\x2f\x80\x2b\x11\x12\x08\x00", 7,
      "mp4a.40.5", 44100, 2, 2048 },
    { "HE v2, explicit", "\xeb\x8a\x08\x00", 4, "mp4a.40.29", 44100, 2, 2048 },
    { "HE v2, tail", "\x13\x88\x56\xe5\xa5\x48\x80", 7,
      "mp4a.40.29", 44100, 2, 2048 },
    { "empty", "", 0, "AudioSpecificConfig is truncated", 0, 0, 0 },
    { "one byte", "\x12", 1, "AudioSpecificConfig is truncated", 0, 0, 0 },
    { "rate cut off", "\x17\x80\x49", 3,
      "AudioSpecificConfig is truncated", 0, 0, 0 },
    { "reserved rate", "\x16\x90", 2,
      "AudioSpecificConfig has an invalid sample rate", 0, 0, 0 },
    { "rate 0, written out", "\x17\x80\x00\x00\x10", 5,
      "AudioSpecificConfig has an invalid sample rate", 0, 0, 0 },
    { "16 MHz", "\x17\xff\xff\xff\x90", 5,
      "sample rate is out of range", 0, 0, 0 },
    { "999 Hz", "\x17\x80\x01\xf3\x90", 5,
      "sample rate is out of range", 0, 0, 0 },
    { "24 channels", "\x11\xe8", 2,
      "number of channels is out of range", 0, 0, 0 },
    { "SBR of another rate", "\x2b\x91\x88\x00", 4,
      "AudioSpecificConfig has an invalid SBR rate", 0, 0, 0 },
    { "low delay", "\xb9\x90", 2, "audio object type is not carried", 0, 0,
      0 },
    { "USAC", "\xf9\x46\x40", 3, "audio object type is not carried", 0, 0, 0 },
    { "type 0", "\x02\x10", 2, "audio object type is not carried", 0, 0, 0 }
};


static void
test_aac(void)
{
    unsigned                 i;
    const uint8_t           *conf;
    ngx_livestream_codec_t  *c;

    for (i = 0; i < sizeof(aac) / sizeof(aac[0]); i++) {

        conf = (const uint8_t *) aac[i].conf;
        c = parse(AAC, conf, aac[i].len);

        tap_str(c ? c->codecs : reason, aac[i].codecs, "%s", aac[i].name);

        if (c && aac[i].rate) {
            tap_is(c->sample_rate, aac[i].rate, "rate");
            tap_is(c->timescale, aac[i].rate, "timescale");
            tap_is(c->channels, aac[i].channels, "channels");
            tap_is(c->frame_samples, aac[i].samples, "samples");
            hostile(AAC, conf, aac[i].len, 2, aac[i].name);
        }

        ngx_livestream_codec_unref(c);
    }

    c = parse(AAC, aac_quad_config, sizeof(aac_quad_config));
    tap_is(c ? c->channels : 0, 4, "four channels by elements");
    ngx_livestream_codec_unref(c);

    hostile(AAC, aac_quad_config, sizeof(aac_quad_config), 2, "elements");
}


static void
test_aac_elements(void)
{
    uint8_t                 *frame;
    unsigned                 i;
    writer_t                 w;
    ngx_livestream_codec_t  *c;

    memset(&w, 0, sizeof(w));

    put(&w, 5, 2);
    put(&w, 4, 3);
    put(&w, 4, 0);
    put(&w, 3, 0);
    put(&w, 4 + 2 + 4, 0);
    put(&w, 4, 15);                 /* front, side, back */
    put(&w, 4, 15);
    put(&w, 4, 15);
    put(&w, 2, 3);
    put(&w, 3, 7);
    put(&w, 4, 15);
    put(&w, 1, 1);
    put(&w, 4, 1);
    put(&w, 1, 1);
    put(&w, 4, 1);
    put(&w, 1, 1);
    put(&w, 3, 1);

    for (i = 0; i < 45; i++) {
        put(&w, 5, 0x10);
    }

    put(&w, (3 + 7) * 4, 0);
    put(&w, 15 * 5, 0);
    put(&w, (8 - w.bits % 8) % 8, 0);
    put(&w, 8, 255);

    for (i = 0; i < 255; i++) {
        put(&w, 8, 'a');
    }

    refused(AAC, w.data, put_len(&w), "number of channels is out of range");
    refused(AAC, w.data, put_len(&w) - 1, "AudioSpecificConfig is truncated");

    c = parse(AAC, aac_config, sizeof(aac_config));

    tap_is(check(c, aac_frame0, sizeof(aac_frame0)), 0, "AAC frame");
    tap_is(key, 1, "is a key frame");
    tap_is(samples, 1024, "its duration");
    tap_is(check(c, (uint8_t *) "\xff\xf1\x4c\x80\x03\x1f\xfc\x21", 8), -1,
           "ADTS");
    tap_str(reason, "AAC frame has an ADTS header", "says why");
    tap_is(check(c, NULL, 0), -1, "no bytes");

    frame = calloc(1, 8192);
    tap_is(check(c, frame, 8191), 0, "8191 bytes");
    tap_is(check(c, frame, 8192), -1, "8192 bytes");
    tap_str(reason, "AAC frame is too large", "says why");
    free(frame);

    hostile_frame(c, aac_frame0, sizeof(aac_frame0), "AAC frame");

    ngx_livestream_codec_unref(c);
}


static void
test_opus(void)
{
    uint8_t                  head[27];
    ngx_livestream_codec_t  *c;

    c = parse(OPUS, opus_config, sizeof(opus_config));
    tap_str(c ? c->codecs : reason, "opus", "CODECS");
    tap_ok(c && c->sample_rate == 48000 && c->channels == 2, "stereo");
    ngx_livestream_codec_unref(c);

    c = parse(OPUS, NULL, 0);
    tap_ok(c && c->channels == 2 && c->config_len == 19
           && memcmp(c->config, "OpusHead", 8) == 0, "nothing is stereo too");
    ngx_livestream_codec_unref(c);

    c = parse(OPUS, opus_51_config, sizeof(opus_51_config));
    tap_ok(c && c->channels == 6, "5.1");
    tap_is(check(c, opus_51_frame0, sizeof(opus_51_frame0)), 0, "frame");
    tap_is(samples, 960, "its duration");
    hostile_frame(c, opus_51_frame0, sizeof(opus_51_frame0), "5.1 frame");
    ngx_livestream_codec_unref(c);

    hostile(OPUS, opus_config + 0, sizeof(opus_config), 19, "OpusHead");
    hostile(OPUS, opus_51_config, sizeof(opus_51_config), 27, "5.1 OpusHead");

    memcpy(head, opus_51_config, sizeof(head));
    head[26] = 255;
    c = parse(OPUS, head, sizeof(head));
    tap_ok(c != NULL, "a silent channel");
    ngx_livestream_codec_unref(c);

    head[26] = 6;
    refused(OPUS, head, sizeof(head),
            "OpusHead has an invalid channel mapping");

    head[26] = 0;
    head[20] = 5;
    refused(OPUS, head, sizeof(head),
            "OpusHead has an invalid channel mapping");

    head[20] = 0;
    head[19] = 0;
    refused(OPUS, head, sizeof(head),
            "OpusHead has an invalid channel mapping");

    memcpy(head, opus_config, sizeof(opus_config));
    head[9] = 0;
    refused(OPUS, head, 19, "number of channels is out of range");

    head[9] = 3;
    refused(OPUS, head, 19, "OpusHead has an invalid channel mapping");

    head[9] = 2;
    head[18] = 255;
    refused(OPUS, head, 19, "OpusHead has an invalid channel mapping");

    head[18] = 0;
    head[8] = 0x10;
    refused(OPUS, head, 19, "OpusHead is missing");
}


static const struct {
    const char  *name;
    const char  *data;
    size_t       len;
    int          samples;                       /* -1: refused */
} packets[] = {
    { "SILK, 10 ms", "\x00", 1, 480 },
    { "SILK, 60 ms", "\x18z", 2, 2880 },
    { "SILK wideband, 40 ms", "\x50z", 2, 1920 },
    { "hybrid, 10 ms", "\x60z", 2, 480 },
    { "hybrid, 20 ms", "\x78z", 2, 960 },
    { "CELT, 2.5 ms", "\x80z", 2, 120 },
    { "CELT, 20 ms", "\xfcz", 2, 960 },
    { "two equal frames", "\xfdzz", 3, 1920 },
    { "two frames, odd", "\xfdzzz", 4, -1 },
    { "two frames of their own", "\xfe\1zyy", 5, 1920 },
    { "two frames, the second empty", "\xfe\1z", 3, 1920 },
    { "two frames, the first too long", "\xfe\2z", 3, -1 },
    { "two frames, half a size", "\xfe\xfc", 2, -1 },
    { "two frames, no size", "\xfe", 1, -1 },
    { "three frames", "\xff\3zzz", 5, 2880 },
    { "three frames, uneven", "\xff\3zzzz", 6, -1 },
    { "no frames", "\xff\0", 2, -1 },
    { "count missing", "\xff", 1, -1 },
    { "six of 20 ms", "\xff\6", 2, 5760 },
    { "seven of 20 ms", "\xff\7", 2, -1 },
    { "48 of 2.5 ms", "\xe3\x30", 2, 5760 },
    { "49 of 2.5 ms", "\xe3\x31", 2, -1 },
    { "three frames of their own", "\xff\x83\1\2zyyx", 8, 2880 },
    { "three frames, sizes too long", "\xff\x83\1\4zyyx", 8, -1 },
    { "padded", "\xff\x42\3zz\0\0\0", 8, 1920 },
    { "padded, uneven", "\xff\x42\2zz\0\0\0", 8, -1 },
    { "padding too long", "\xff\x42\7zz", 5, -1 },
    { "padding without an end", "\xff\x42\xff\xff", 4, -1 },
    { "padding size missing", "\xff\x42", 2, -1 }
};


static void
test_opus_packets(void)
{
    unsigned                 i;
    uint8_t                  big[1280];
    ngx_livestream_codec_t  *c;

    c = parse(OPUS, opus_config, sizeof(opus_config));

    for (i = 0; i < sizeof(packets) / sizeof(packets[0]); i++) {

        tap_is(check(c, (const uint8_t *) packets[i].data, packets[i].len),
               packets[i].samples < 0 ? -1 : 0, "Opus: %s", packets[i].name);

        if (packets[i].samples >= 0) {
            tap_is(samples, packets[i].samples, "its duration");
            hostile_frame(c, (const uint8_t *) packets[i].data,
                          packets[i].len, packets[i].name);
        }
    }

    memset(big, 0, sizeof(big));
    big[0] = 0xfc;
    tap_is(check(c, big, 1276), 0, "a frame of 1275 bytes");
    tap_is(check(c, big, 1277), -1, "a frame of 1276 bytes");

    big[0] = 0xfe;
    big[1] = 253;
    big[2] = 1;
    tap_is(check(c, big, 3 + 257 + 5), 0, "a frame of 257 bytes and another");
    tap_is(check(c, big, 3 + 256), -1, "of which one is missing");

    big[0] = 0xff;
    big[1] = 0x41;
    big[2] = 255;
    big[3] = 10;
    tap_is(check(c, big, 4 + 264 + 3), 0, "padding of 264 bytes");
    tap_is(check(c, big, 4 + 263), -1, "of which one is missing");

    ngx_livestream_codec_unref(c);
}


/* two streams: the first one's packet tells its own size */

static void
test_opus_streams(void)
{
    uint8_t                  head[23];
    ngx_livestream_codec_t  *c;

    memcpy(head, opus_config, 19);
    memcpy(head + 18, "\1\2\0\0\1", 5);

    c = parse(OPUS, head, sizeof(head));
    tap_ok(c != NULL, "two streams of one channel");

    tap_is(check(c, (uint8_t *) "\xfc\2zzzz\xfcy", 8), -1,
           "the rest is no packet");
    tap_is(check(c, (uint8_t *) "\xfc\2zz\xfcy", 6), 0, "one frame each");
    tap_is(check(c, (uint8_t *) "\xfd\2zzzz\xfdyy", 9), 0, "two equal ones");
    tap_is(check(c, (uint8_t *) "\xfe\2\1zzz\xfdyy", 9), 0,
           "two of their own");
    tap_is(check(c, (uint8_t *) "\xff\x03\1zzz\xff\x03yyy", 11), 0,
           "three equal ones");
    tap_is(check(c, (uint8_t *) "\xff\xc3\1\1\2\1zyyx\0\xff\x03zzz", 16), 0,
           "three of their own, padded");
    tap_is(samples, 2880, "its duration");
    tap_is(check(c, (uint8_t *) "\xfc\2zz\xf4y", 6), -1,
           "durations that differ");
    tap_str(reason, "Opus packets differ in duration", "says why");
    tap_is(check(c, (uint8_t *) "\xfc\2zz", 4), -1, "one packet of two");
    tap_is(check(c, (uint8_t *) "\xfc\3zz", 4), -1, "not even one");
    tap_str(reason, "Opus packet is invalid", "says why");

    ngx_livestream_codec_unref(c);
}


static void
test_flac(void)
{
    uint8_t                  conf[64];
    ngx_livestream_codec_t  *c;

    c = parse(FLAC, flac_config, sizeof(flac_config));
    tap_str(c ? c->codecs : reason, "fLaC", "CODECS");
    tap_ok(c && c->sample_rate == 48000 && c->channels == 2
           && c->bit_depth == 16 && c->frame_samples == 4608, "parameters");
    ngx_livestream_codec_unref(c);

    hostile(FLAC, flac_config, sizeof(flac_config), 34, "STREAMINFO");

    memcpy(conf, "fLaC\x80\0\0\x22", 8);
    memcpy(conf + 8, flac_config, 34);
    memset(conf + 42, 'x', sizeof(conf) - 42);

    c = parse(FLAC, conf, 42);
    tap_ok(c && c->config_len == 34 && memcmp(c->config, flac_config, 34) == 0,
           "with its magic");
    ngx_livestream_codec_unref(c);

    conf[4] = 0;
    c = parse(FLAC, conf, sizeof(conf));
    tap_ok(c && c->config_len == 34, "and more blocks");
    ngx_livestream_codec_unref(c);

    c = parse(FLAC, conf + 4, 38);
    tap_ok(c && c->config_len == 34, "without its magic");
    ngx_livestream_codec_unref(c);

    hostile(FLAC, conf, 42, 42, "fLaC");

    conf[4] = 1;
    refused(FLAC, conf, 42, "FLAC STREAMINFO is missing");
    refused(FLAC, NULL, 0, "FLAC STREAMINFO is missing");

    memcpy(conf, flac_config, 34);
    conf[1] = 15;
    conf[0] = 0;
    refused(FLAC, conf, 34, "FLAC STREAMINFO has an invalid block size");

    conf[0] = 0xff;
    refused(FLAC, conf, 34, "FLAC STREAMINFO has an invalid block size");

    memcpy(conf, flac_config, 34);
    conf[10] = 0;
    conf[11] = 0;
    conf[12] = 0x02;
    refused(FLAC, conf, 34, "sample rate is out of range");

    conf[10] = 0xff;
    refused(FLAC, conf, 34, "sample rate is out of range");
}


/* a header of the given codes, with its CRC; the number takes n bytes */

static size_t
flac_header(uint8_t *p, unsigned size, unsigned rate, uint32_t value,
    unsigned n)
{
    size_t    i, k, len;
    uint8_t   crc;
    writer_t  w;

    const uint8_t  lead[] = { 0, 0, 0xc0, 0xe0, 0xf0, 0xf8, 0xfc, 0xfe };

    memset(&w, 0, sizeof(w));

    put(&w, 16, 0xfff8);
    put(&w, 4, size);
    put(&w, 4, rate);
    put(&w, 8, 0x18);
    put(&w, 8, lead[n]);

    for (i = 1; i < n; i++) {
        put(&w, 8, 0x80);
    }

    put(&w, size == 6 ? 8 : size == 7 ? 16 : 0, value);
    put(&w, rate == 12 ? 8 : rate > 12 ? 16 : 0, 44);

    len = put_len(&w);
    memcpy(p, w.data, len);

    for (crc = 0, i = 0; i < len; i++) {
        for (k = 8; k; k--) {
            crc = (crc << 1) ^ (((crc >> 7) ^ (p[i] >> (k - 1))) & 1 ? 7 : 0);
        }
    }

    p[len] = crc;

    return len + 1;
}


static void
test_flac_frames(void)
{
    size_t                   len;
    uint8_t                  p[32], conf[34];
    unsigned                 i;
    ngx_livestream_codec_t  *c;

    const struct {
        unsigned  size, rate, value, n;
        int       samples;
    } headers[] = {
        { 1, 10, 0, 1, 192 },
        { 2, 10, 0, 2, 576 },
        { 5, 10, 0, 3, 4608 },
        { 6, 0, 99, 4, 100 },
        { 7, 12, 4095, 5, 4096 },
        { 8, 13, 0, 6, 256 },
        { 15, 14, 0, 7, 32768 },
        { 7, 0, 65535, 1, -1 },         /* longer than STREAMINFO's */
        { 0, 10, 0, 1, -1 },
        { 1, 15, 0, 1, -1 }
    };

    memcpy(conf, flac_config, sizeof(conf));
    conf[2] = 0x80;
    conf[3] = 0;
    c = parse(FLAC, conf, sizeof(conf));
    tap_is(c->frame_samples, 0, "block sizes vary");

    for (i = 0; i < sizeof(headers) / sizeof(headers[0]); i++) {

        len = flac_header(p, headers[i].size, headers[i].rate,
                          headers[i].value, headers[i].n);

        tap_is(check(c, p, len), headers[i].samples < 0 ? -1 : 0,
               "FLAC header %u", i);

        if (headers[i].samples >= 0) {
            tap_is(samples, headers[i].samples, "its duration");
            hostile_frame(c, p, len, "FLAC header");
        }
    }

    ngx_livestream_codec_unref(c);

    c = parse(FLAC, flac_config, sizeof(flac_config));

    tap_is(check(c, flac_frame0, sizeof(flac_frame0)), 0, "FLAC frame");
    tap_is(key, 1, "is a key frame");
    tap_is(samples, 4608, "its duration");

    memcpy(p, flac_frame0, sizeof(flac_frame0));
    p[5] ^= 1;
    tap_is(check(c, p, sizeof(flac_frame0)), -1, "a wrong CRC");
    tap_str(reason, "FLAC frame header is invalid", "says why");

    ngx_livestream_codec_unref(c);
}


int
main(void)
{
    test_aac();
    test_aac_elements();
    test_opus();
    test_opus_packets();
    test_opus_streams();
    test_flac();
    test_flac_frames();

    return tap_done();
}

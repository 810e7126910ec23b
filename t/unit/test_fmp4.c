
/*
 * Copyright (C) nginx-livestream contributors
 *
 * Tests of init segments and fragments: real encodings, made with ffmpeg, are
 * demuxed, written as we write them, and read back.  The samples must be the
 * same, to the tick and to the byte, and ffmpeg must decode them without a
 * word.
 */


#include <libavcodec/avcodec.h>
#include <libavformat/avformat.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ngx_livestream_llhls_fmp4.h"
#include "tap.h"


#define MAX_SAMPLES  2048

/* where the fragments' timeline begins: beyond 32 bits */
#define BASE         INT64_C(0x123456789)


typedef struct {
    const char              *name;
    const char              *encode;    /* arguments of ffmpeg */
    ngx_livestream_codec_e   id;
    const char              *entry;     /* sample entry */
    const char              *box;       /* and in it */
} media_t;


typedef struct {
    int64_t                  dts;
    int64_t                  pts;
    int                      key;
    size_t                   size;
    uint64_t                 hash;
} packet_t;


#define PICTURE  "-f lavfi -i testsrc2=s=320x180:r=30000/1001:d=2 -pix_fmt "  \
                 "yuv420p -video_track_timescale 90000 "
#define TONE     "-f lavfi -i sine=f=440:d=2:r=48000 -ac 2 "


static const media_t  media[] = {
    { "h264", PICTURE "-c:v libx264 -preset veryfast -bf 3 -g 30",
      NGX_LIVESTREAM_CODEC_H264, "avc1", "avcC" },
    { "h264-sar", PICTURE "-c:v libx264 -preset ultrafast -bf 0 -g 30 "
      "-vf setsar=4/3", NGX_LIVESTREAM_CODEC_H264, "avc1", "pasp" },
    { "hevc", PICTURE "-c:v libx265 -preset ultrafast -tag:v hvc1 "
      "-x265-params log-level=none:bframes=3:keyint=30",
      NGX_LIVESTREAM_CODEC_HEVC, "hvc1", "hvcC" },
    { "av1", PICTURE "-c:v libaom-av1 -cpu-used 8 -g 30 -b:v 200k -row-mt 1",
      NGX_LIVESTREAM_CODEC_AV1, "av01", "av1C" },
    { "vp9", PICTURE "-c:v libvpx-vp9 -deadline realtime -cpu-used 8 -g 30 "
      "-b:v 200k", NGX_LIVESTREAM_CODEC_VP9, "vp09", "vpcC" },
    { "vp9-444", PICTURE "-c:v libvpx-vp9 -deadline realtime -cpu-used 8 "
      "-g 30 -b:v 200k -profile:v 1 -pix_fmt yuv444p -color_range pc "
      "-colorspace bt709", NGX_LIVESTREAM_CODEC_VP9, "vp09", "vpcC" },
    { "aac", TONE "-c:a aac -b:a 128k",
      NGX_LIVESTREAM_CODEC_AAC, "mp4a", "esds" },
    { "aac-44100", TONE "-c:a aac -b:a 96k -ar 44100 -ac 1",
      NGX_LIVESTREAM_CODEC_AAC, "mp4a", "esds" },
    { "opus", TONE "-c:a libopus -b:a 96k",
      NGX_LIVESTREAM_CODEC_OPUS, "Opus", "dOps" },
    { "flac", TONE "-c:a flac -strict -2",
      NGX_LIVESTREAM_CODEC_FLAC, "fLaC", "dfLa" }
};


static char  folder[64];


static uint32_t
be32(const uint8_t *p)
{
    return (uint32_t) p[0] << 24 | p[1] << 16 | p[2] << 8 | p[3];
}


static uint64_t
fnv(const uint8_t *p, size_t len)
{
    uint64_t  h;

    h = UINT64_C(0xcbf29ce484222325);

    while (len--) {
        h = (h ^ *p++) * UINT64_C(0x100000001b3);
    }

    return h;
}


/* the nth box of a type, anywhere: our files are small and hold no others */

static const uint8_t *
find(const uint8_t *p, size_t len, const char *type, int n)
{
    size_t  i;

    for (i = 4; i + 4 <= len; i++) {
        if (memcmp(p + i, type, 4) == 0 && n-- == 0) {
            return p + i + 4;
        }
    }

    return NULL;
}


/* prints what the command says, if anything */

static int
quiet(const char *command)
{
    int    rc;
    char   line[512];
    FILE  *f;

    f = popen(command, "r");
    if (f == NULL) {
        return 0;
    }

    rc = 1;

    while (fgets(line, sizeof(line), f)) {
        printf("# %s", line);
        rc = 0;
    }

    return pclose(f) == 0 && rc;
}


/* demuxes a file; packets' data are appended to *bytes */

static int
demux(const char *path, packet_t *packets, uint8_t **bytes,
    AVCodecParameters *par, AVRational *tb)
{
    int               n;
    size_t            used;
    AVPacket         *pkt;
    AVFormatContext  *ic;

    ic = NULL;

    if (avformat_open_input(&ic, path, NULL, NULL) < 0) {
        return -1;
    }

    if (ic->nb_streams != 1
        || avcodec_parameters_copy(par, ic->streams[0]->codecpar) < 0)
    {
        avformat_close_input(&ic);
        return -1;
    }

    n = 0;
    used = 0;
    pkt = av_packet_alloc();

    while (n < MAX_SAMPLES && av_read_frame(ic, pkt) == 0) {
        packets[n].dts = pkt->dts;
        packets[n].pts = pkt->pts;
        packets[n].key = pkt->flags & AV_PKT_FLAG_KEY;
        packets[n].size = pkt->size;
        packets[n].hash = fnv(pkt->data, pkt->size);
        n++;

        if (bytes) {
            *bytes = realloc(*bytes, used + pkt->size);
            if (*bytes == NULL) {
                abort();
            }

            memcpy(*bytes + used, pkt->data, pkt->size);
            used += pkt->size;
        }

        av_packet_unref(pkt);
    }

    *tb = ic->streams[0]->time_base;

    av_packet_free(&pkt);
    avformat_close_input(&ic);

    return n;
}


static ngx_livestream_codec_t *
parse(const media_t *m, const AVCodecParameters *par, const uint8_t *frame,
    size_t size)
{
    const char              *reason;
    ngx_livestream_codec_t  *codec, *refined;

    if (m->id == NGX_LIVESTREAM_CODEC_VP9) {
        if (ngx_livestream_codec_parse_frame(m->id, frame, size, &codec,
                                             &reason)
            != 0)
        {
            printf("# %s\n", reason);
            return NULL;
        }

        return codec;
    }

    if (ngx_livestream_codec_parse(m->id, par->extradata, par->extradata_size,
                                   &codec, &reason)
        != 0)
    {
        printf("# %s\n", reason);
        return NULL;
    }

    if (codec->media == NGX_LIVESTREAM_AUDIO) {
        return codec;
    }

    if (ngx_livestream_codec_refine(codec, frame, size, &refined, &reason)
        != 0)
    {
        printf("# %s\n", reason);
        refined = NULL;
    }

    ngx_livestream_codec_unref(codec);

    return refined;
}


static void
check_init(const media_t *m, const ngx_livestream_codec_t *codec,
    const uint8_t *data, size_t len)
{
    const uint8_t  *p, *ftyp;

    ftyp = find(data, len, "ftyp", 0);

    tap_ok(ftyp && memcmp(ftyp, "iso6", 4) == 0, "%s: brand iso6", m->name);
    tap_ok(ftyp && find(ftyp, be32(data) - 8, "cmfc", 0),
           "%s: brand cmfc", m->name);
    tap_ok(find(data, len, "moov", 0) && !find(data, len, "moov", 1)
           && find(data, len, "trak", 0) && !find(data, len, "trak", 1),
           "%s: one moov, one trak", m->name);
    tap_ok(find(data, len, "mvex", 0) && find(data, len, "trex", 0),
           "%s: mvex", m->name);
    tap_ok(!find(data, len, "elst", 0), "%s: no edit list", m->name);
    tap_ok(!find(data, len, "Lavf", 0), "%s: no version", m->name);

    p = find(data, len, "mvhd", 0);
    tap_ok(p && p[0] == 0 && be32(p + 16) == 0, "%s: mvhd duration 0",
           m->name);
    p = find(data, len, "tkhd", 0);
    tap_ok(p && p[0] == 0 && be32(p + 20) == 0, "%s: tkhd duration 0",
           m->name);

    if (codec->media == NGX_LIVESTREAM_VIDEO) {
        tap_is(be32(p + 80) >> 16, 180, "%s: tkhd height", m->name);
    }

    p = find(data, len, "mdhd", 0);
    tap_ok(p && p[0] == 0 && be32(p + 16) == 0, "%s: mdhd duration 0",
           m->name);
    tap_is(be32(p + 12), codec->timescale, "%s: timescale", m->name);

    p = find(data, len, "stts", 0);
    tap_is(be32(p + 4), 0, "%s: no samples in stts", m->name);
    p = find(data, len, "stsc", 0);
    tap_is(be32(p + 4), 0, "%s: no chunks in stsc", m->name);
    p = find(data, len, "stsz", 0);
    tap_is(be32(p + 8), 0, "%s: no samples in stsz", m->name);
    p = find(data, len, "stco", 0);
    tap_is(be32(p + 4), 0, "%s: no chunks in stco", m->name);

    tap_ok(find(data, len, m->entry, 0) && find(data, len, m->box, 0),
           "%s: %s with %s", m->name, m->entry, m->box);

    p = find(data, len, m->box, 0);

    if (codec->media == NGX_LIVESTREAM_VIDEO && strcmp(m->box, "pasp") != 0) {
        tap_ok(be32(p - 8) == codec->config_len + 8
               && memcmp(p, codec->config, codec->config_len) == 0,
               "%s: the configuration is as it was", m->name);
    }
}


/*
 * Writes the packets in fragments of a few each; the last one's duration is
 * that of the one before.
 */

static int
write_file(const char *path, const ngx_livestream_codec_t *codec,
    const packet_t *packets, int n, const uint8_t *bytes, size_t *overhead)
{
    int                            i, k, count, ok;
    FILE                          *f;
    size_t                         len, size, total;
    uint8_t                       *data, *head;
    uint32_t                       sequence;
    const char                    *reason;
    ngx_livestream_fmp4_sample_t   s[16];

    if (ngx_livestream_fmp4_init(codec, &data, &len, &reason) != 0) {
        printf("# %s\n", reason);
        return 0;
    }

    f = fopen(path, "wb");
    ok = f && fwrite(data, len, 1, f) == 1;
    free(data);

    *overhead = 0;
    sequence = 0;

    for (i = 0; ok && i < n; i += count) {

        count = 1 + i % 16;

        if (count > n - i) {
            count = n - i;
        }

        total = 0;

        for (k = 0; k < count; k++) {
            s[k].size = packets[i + k].size;
            s[k].key = packets[i + k].key;
            s[k].cts = packets[i + k].pts - packets[i + k].dts;
            s[k].duration = (i + k + 1 < n)
                            ? packets[i + k + 1].dts - packets[i + k].dts
                            : packets[i + k].dts - packets[i + k - 1].dts;
            total += s[k].size;
        }

        size = ngx_livestream_fmp4_get_size(codec->media, s, count);
        head = malloc(size);
        if (head == NULL) {
            abort();
        }

        ok &= ngx_livestream_fmp4_write(head, ++sequence,
                                        BASE + packets[i].dts, codec->media,
                                        s, count)
              == size;
        ok &= fwrite(head, size, 1, f) == 1;
        ok &= fwrite(bytes, total, 1, f) == 1;
        ok &= be32(head + size - 8) == total + 8;

        bytes += total;
        *overhead += size;
        free(head);
    }

    if (f) {
        ok &= fclose(f) == 0;
    }

    return ok;
}


static void
test_media(const media_t *m)
{
    int                      i, n, k, ok;
    char                     in[128], out[128], cmd[1024];
    size_t                   len, overhead;
    uint8_t                 *bytes, *data;
    AVRational               tb;
    const char              *reason;
    AVCodecParameters       *par;
    ngx_livestream_codec_t  *codec;
    static packet_t          was[MAX_SAMPLES], is[MAX_SAMPLES];

    snprintf(in, sizeof(in), "%s/%s.mp4", folder, m->name);
    snprintf(out, sizeof(out), "%s/%s-out.mp4", folder, m->name);
    snprintf(cmd, sizeof(cmd),
             "ffmpeg -nostdin -v error -y %s %s 2>&1", m->encode, in);

    if (!tap_ok(quiet(cmd), "%s: ffmpeg encodes", m->name)) {
        return;
    }

    bytes = NULL;
    overhead = 0;
    par = avcodec_parameters_alloc();
    n = demux(in, was, &bytes, par, &tb);
    codec = n > 0 ? parse(m, par, bytes, was[0].size) : NULL;

    if (!tap_ok(codec != NULL, "%s: %d samples, parsed", m->name, n)) {
        goto done;
    }

    for (i = 0; i < n; i++) {
        was[i].dts = av_rescale_q(was[i].dts, tb,
                                  (AVRational) { 1, codec->timescale });
        was[i].pts = av_rescale_q(was[i].pts, tb,
                                  (AVRational) { 1, codec->timescale });
    }

    /* no edit list: what lies before 0 comes first */
    for (i = n - 1; i >= 0; i--) {
        was[i].pts -= was[0].dts;
        was[i].dts -= was[0].dts;
    }

    if (!tap_is(ngx_livestream_fmp4_init(codec, &data, &len, &reason), 0,
                "%s: init segment", m->name))
    {
        printf("# %s\n", reason);
        goto done;
    }

    check_init(m, codec, data, len);
    free(data);

    tap_ok(write_file(out, codec, was, n, bytes, &overhead),
           "%s: written", m->name);

    k = demux(out, is, NULL, par, &tb);

    tap_is(k, n, "%s: as many samples are read", m->name);

    ok = tb.den == (int) codec->timescale && tb.num == 1;

    for (i = 0; i < n && i < k && ok; i++) {
        ok = is[i].dts == was[i].dts + BASE && is[i].pts == was[i].pts + BASE
             && is[i].size == was[i].size && is[i].hash == was[i].hash
             && !is[i].key == !was[i].key;

        if (!ok) {
            printf("# sample %d: dts %" PRId64 " %" PRId64 " pts %" PRId64
                   " %" PRId64 " size %zu %zu key %d %d\n", i,
                   is[i].dts - BASE, was[i].dts, is[i].pts - BASE, was[i].pts,
                   is[i].size, was[i].size, is[i].key, was[i].key);
        }
    }

    tap_ok(ok, "%s: and they are the same", m->name);

    snprintf(cmd, sizeof(cmd), "ffmpeg -nostdin -v warning -xerror -copyts "
             "-i %s -f null - 2>&1", out);
    tap_ok(quiet(cmd), "%s: ffmpeg decodes it without a warning", m->name);

    snprintf(cmd, sizeof(cmd), "ffprobe -v warning -show_streams %s 2>&1 "
             ">/dev/null", out);
    tap_ok(quiet(cmd), "%s: ffprobe has nothing to say", m->name);

    printf("# %s: %zu bytes of headers a sample\n", m->name, overhead / n);

done:

    ngx_livestream_codec_unref(codec);
    avcodec_parameters_free(&par);
    free(bytes);
    unlink(in);
    unlink(out);
}


/* no encoder at hand makes these */

static void
test_configs(void)
{
    size_t                   len;
    uint8_t                 *data;
    const char              *reason;
    const uint8_t           *p;
    ngx_livestream_codec_t  *codec;

    /* HE-AAC: 24 kHz, two channels, played at 48 kHz */
    static const uint8_t  he[] = { 0x2b, 0x11, 0x88, 0x00 };

    tap_is(ngx_livestream_codec_parse(NGX_LIVESTREAM_CODEC_AAC, he,
                                      sizeof(he), &codec, &reason), 0,
           "HE-AAC is parsed");
    tap_is(codec->frame_samples, 2048, "a frame is 2048 samples");

    tap_is(ngx_livestream_fmp4_init(codec, &data, &len, &reason), 0,
           "HE-AAC: init segment");

    p = find(data, len, "mdhd", 0);
    tap_is(be32(p + 12), 48000, "HE-AAC: timescale");
    p = find(data, len, "mp4a", 0);
    tap_is(be32(p + 24) >> 16, 48000, "HE-AAC: rate of the sample entry");
    p = find(data, len, "esds", 0);
    tap_ok(find(p, len - (p - data), "\x2b\x11\x88\x00", 0) != NULL,
           "HE-AAC: AudioSpecificConfig");

    free(data);

    codec->id = NGX_LIVESTREAM_CODEC_NONE;
    reason = NULL;
    tap_is(ngx_livestream_fmp4_init(codec, &data, &len, &reason), -1,
           "no codec, no init segment");
    tap_ok(reason && data == NULL, "but a reason");

    codec->id = 4711;
    tap_is(ngx_livestream_fmp4_init(codec, &data, &len, &reason), -1,
           "an unknown codec");

    codec->id = NGX_LIVESTREAM_CODEC_FLAC;
    tap_is(ngx_livestream_fmp4_init(codec, &data, &len, &reason), -1,
           "a configuration that does not fit its codec");

    codec->id = NGX_LIVESTREAM_CODEC_H264;
    codec->media = NGX_LIVESTREAM_VIDEO;
    codec->width = 0;
    codec->height = 0;
    tap_is(ngx_livestream_fmp4_init(codec, &data, &len, &reason), -1,
           "a picture without a size");

    ngx_livestream_codec_unref(codec);
}


/* what the samples have in common is said once */

static void
test_layout(void)
{
    int                            i;
    size_t                         least, len;
    uint8_t                        buf[512];
    ngx_livestream_fmp4_sample_t   s[4] = {
        { 1024, 100, 0, 1 }, { 1024, 101, 0, 1 },
        { 1024, 102, 0, 1 }, { 1024, 103, 0, 1 }
    };

    least = ngx_livestream_fmp4_get_size(NGX_LIVESTREAM_AUDIO, s, 4);
    tap_is(least - ngx_livestream_fmp4_get_size(NGX_LIVESTREAM_AUDIO, s, 3), 4,
           "a sample of audio takes four bytes");

    for (i = 0; i < 4; i++) {
        s[i].key = 0;
    }

    tap_is(ngx_livestream_fmp4_get_size(NGX_LIVESTREAM_AUDIO, s, 4), least,
           "audio has key frames only");
    tap_is(ngx_livestream_fmp4_get_size(NGX_LIVESTREAM_VIDEO, s, 4), least,
           "pictures without a key frame");

    s[0].key = 1;
    tap_is(ngx_livestream_fmp4_get_size(NGX_LIVESTREAM_VIDEO, s, 4), least + 4,
           "a key frame before others");
    tap_is(ngx_livestream_fmp4_get_size(NGX_LIVESTREAM_VIDEO, s, 1),
           least - 12, "a key frame alone");

    s[2].key = 1;
    tap_is(ngx_livestream_fmp4_get_size(NGX_LIVESTREAM_VIDEO, s, 4),
           least + 16, "a key frame in between");

    s[3].duration++;
    s[1].cts = -2048;
    len = ngx_livestream_fmp4_write(buf, 7, INT64_MAX, NGX_LIVESTREAM_VIDEO, s,
                                    4);
    tap_is(len, least - 4 + 48, "all is told of each sample");
    tap_is(be32(buf + len - 8), 100 + 101 + 102 + 103 + 8, "mdat's size");
    tap_is(be32(buf), len - 8, "moof's size");
    tap_ok(memcmp(find(buf, len, "tfdt", 0), "\1\0\0\0\x7f\xff\xff\xff"
                  "\xff\xff\xff\xff", 12) == 0, "tfdt has 64 bits");
    tap_ok(find(buf, len, "\xff\xff\xf8\x00", 0) != NULL,
           "a negative offset is signed");
}


int
main(void)
{
    size_t  i;

    av_log_set_level(AV_LOG_QUIET);

    snprintf(folder, sizeof(folder), "%s/fmp4-XXXXXX",
             getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp");

    if (mkdtemp(folder) == NULL) {
        printf("Bail out! no temporary folder\n");
        return 1;
    }

    for (i = 0; i < sizeof(media) / sizeof(media[0]); i++) {
        test_media(&media[i]);
    }

    test_configs();
    test_layout();

    rmdir(folder);

    return tap_done();
}

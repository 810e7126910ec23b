
/*
 * Copyright (C) nginx-livestream contributors
 *
 * What it costs to write a part: libavformat's mov muxer against our own
 * fragment writer, in one run, over the same access units.
 *
 *     mux [-s seconds of stream] [-r rounds] [-d folder]
 *
 * The stream is 720p at 30 frames a second and 2.5 Mbit/s with a key frame
 * every two seconds, and AAC at 48 kHz and 128 kbit/s, each track cut into
 * parts of half a second, twelve to a file.  Its samples are made up: neither
 * writer looks into them.
 *
 * Measured twice: with the bytes written to files that are unlinked, a fresh
 * one each segment, where the kernel's copy into its page cache is in both
 * figures; and with the bytes thrown away, which leaves the writers alone.
 * The library writes through an output context of ours, so that it is spared
 * what a file protocol would add.
 */


#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <unistd.h>

#include <libavcodec/avcodec.h>
#include <libavformat/avformat.h>

#include "ngx_livestream_llhls_fmp4.h"


#define MAX_PART   32
#define MAX_GOP    64
#define PARTS      12           /* a file */
#define BUFFER     65536


typedef struct {
    const char              *name;
    enum AVCodecID           codec;
    const uint8_t           *config;
    size_t                   config_len;
    int                      timescale;
    int                      duration;      /* of a sample, ticks */
    int                      bitrate;
    int                      part;          /* samples */
    int                      gop;           /* samples */
    int                      key;           /* size of a key frame in others */
    uint8_t                 *samples[MAX_GOP];
    size_t                   sizes[MAX_GOP];
} track_t;


typedef struct {
    const char              *folder;
    int                      fd;
    uint64_t                 written;
} output_t;


typedef struct {
    double                   user;
    double                   system;
    uint64_t                 written;
} cpu_t;


/* 720p, High; what a muxer copies */
static const uint8_t  avcc[] = {
    0x01, 0x64, 0x00, 0x1f, 0xff, 0xe1, 0x00, 0x19, 0x67, 0x64, 0x00, 0x1f,
    0xac, 0xd9, 0x40, 0x50, 0x05, 0xbb, 0x01, 0x10, 0x00, 0x00, 0x03, 0x00,
    0x10, 0x00, 0x00, 0x03, 0x03, 0xc0, 0xf1, 0x83, 0x19, 0x60, 0x01, 0x00,
    0x06, 0x68, 0xeb, 0xe3, 0xcb, 0x22, 0xc0, 0xfd, 0xf8, 0xf8, 0x00
};


/* 48 kHz, two channels */
static const uint8_t  asc[] = { 0x11, 0x90 };

/* half a second of AAC is 23.4 frames: here it is 24 */
static track_t  tracks[] = {
    { .name = "video", .codec = AV_CODEC_ID_H264, .config = avcc,
      .config_len = sizeof(avcc), .timescale = 90000, .duration = 3000,
      .bitrate = 2500000, .part = 15, .gop = 60, .key = 8 },
    { .name = "audio", .codec = AV_CODEC_ID_AAC, .config = asc,
      .config_len = sizeof(asc), .timescale = 48000, .duration = 1024,
      .bitrate = 128000, .part = 24, .gop = 1, .key = 1 }
};


static void print(const char *track, const char *writer, const cpu_t *cpu,
    double minutes);


static void
die(const char *what)
{
    perror(what);
    exit(1);
}


/* a group of pictures, over and over */

static void
make_samples(track_t *t)
{
    int       i;
    size_t    k, n, unit;
    uint32_t  seed;

    seed = 1;
    unit = (int64_t) t->bitrate / 8 * t->duration * t->gop / t->timescale
           / (t->gop - 1 + t->key);

    for (i = 0; i < t->gop; i++) {
        n = (i == 0) ? t->key * unit : unit / 2 + unit * (i % 5) / 4;

        t->samples[i] = malloc(n);
        if (t->samples[i] == NULL) {
            die("malloc");
        }

        for (k = 0; k < n; k++) {
            seed = seed * 1664525 + 1013904223;
            t->samples[i][k] = seed >> 24;
        }

        t->sizes[i] = n;

        if (t->codec != AV_CODEC_ID_H264) {
            continue;
        }

        /* one NAL unit, its length before it */
        t->samples[i][0] = (n - 4) >> 24;
        t->samples[i][1] = (n - 4) >> 16;
        t->samples[i][2] = (n - 4) >> 8;
        t->samples[i][3] = (n - 4);
        t->samples[i][4] = (i == 0) ? 0x65 : 0x41;
    }
}


static void
next_file(output_t *out)
{
    char  path[512];

    if (out->folder == NULL) {
        return;
    }

    if (out->fd != -1) {
        close(out->fd);
    }

    snprintf(path, sizeof(path), "%s/mux-bench-%d", out->folder,
             (int) getpid());

    out->fd = open(path, O_CREAT|O_TRUNC|O_WRONLY|O_APPEND, 0600);
    if (out->fd == -1) {
        die(path);
    }

    unlink(path);
}


static int
write_packet(void *opaque, uint8_t *buf, int size)
{
    output_t *out = opaque;

    if (out->fd != -1 && write(out->fd, buf, size) != size) {
        return AVERROR(EIO);
    }

    out->written += size;

    return size;
}


static AVFormatContext *
open_muxer(const track_t *t, AVIOContext *pb)
{
    AVStream           *st;
    AVDictionary       *options;
    AVFormatContext    *oc;
    AVCodecParameters  *par;

    if (avformat_alloc_output_context2(&oc, NULL, "mp4", NULL) < 0) {
        die("avformat_alloc_output_context2");
    }

    oc->pb = pb;
    oc->flags |= AVFMT_FLAG_CUSTOM_IO;

    st = avformat_new_stream(oc, NULL);
    st->time_base = (AVRational) { 1, t->timescale };

    par = st->codecpar;
    par->codec_id = t->codec;
    par->extradata = av_mallocz(t->config_len + AV_INPUT_BUFFER_PADDING_SIZE);
    par->extradata_size = t->config_len;
    memcpy(par->extradata, t->config, t->config_len);

    if (t->codec == AV_CODEC_ID_H264) {
        par->codec_type = AVMEDIA_TYPE_VIDEO;
        par->width = 1280;
        par->height = 720;

    } else {
        par->codec_type = AVMEDIA_TYPE_AUDIO;
        par->sample_rate = t->timescale;
        par->frame_size = t->duration;
        av_channel_layout_default(&par->ch_layout, 2);
    }

    options = NULL;
    av_dict_set(&options, "movflags",
                "+cmaf+empty_moov+default_base_moof+frag_custom", 0);
    av_dict_set(&options, "use_editlist", "0", 0);

    if (avformat_write_header(oc, &options) < 0) {
        die("avformat_write_header");
    }

    av_dict_free(&options);
    avio_flush(pb);

    return oc;
}


static int
offset(const track_t *t, int i)
{
    return (t->gop == 1) ? 0 : i % 3 * t->duration;
}


static void
by_library(const track_t *t, output_t *out, int parts)
{
    int               i, j, k;
    AVPacket         *pkt;
    AVIOContext      *pb;
    AVFormatContext  *oc;

    next_file(out);

    pb = avio_alloc_context(av_malloc(BUFFER), BUFFER, 1, out, NULL,
                            write_packet, NULL);
    oc = open_muxer(t, pb);
    pkt = av_packet_alloc();

    for (i = 0; i < parts; i++) {

        if (i && i % PARTS == 0) {
            next_file(out);
        }

        for (j = 0; j < t->part; j++) {
            k = (i * t->part + j) % t->gop;

            pkt->data = t->samples[k];
            pkt->size = t->sizes[k];
            pkt->dts = ((int64_t) i * t->part + j) * t->duration;
            pkt->pts = pkt->dts + offset(t, k);
            pkt->duration = t->duration;
            pkt->flags = k ? 0 : AV_PKT_FLAG_KEY;

            if (av_write_frame(oc, pkt) < 0) {
                die("av_write_frame");
            }
        }

        av_write_frame(oc, NULL);
        avio_flush(pb);
    }

    av_packet_free(&pkt);
    avformat_free_context(oc);
    av_free(pb->buffer);
    avio_context_free(&pb);
}


static void
by_ours(const track_t *t, output_t *out, int parts)
{
    int                            i, j, k;
    size_t                         size;
    ssize_t                        total;
    uint8_t                       *head;
    struct iovec                   iov[MAX_PART + 1];
    ngx_livestream_media_e         media;
    ngx_livestream_fmp4_sample_t   s[MAX_PART];

    media = (t->codec == AV_CODEC_ID_H264) ? NGX_LIVESTREAM_VIDEO
                                           : NGX_LIVESTREAM_AUDIO;

    for (i = 0; i < parts; i++) {

        if (i % PARTS == 0) {
            next_file(out);
        }

        total = 0;

        for (j = 0; j < t->part; j++) {
            k = (i * t->part + j) % t->gop;

            s[j].duration = t->duration;
            s[j].size = t->sizes[k];
            s[j].cts = offset(t, k);
            s[j].key = (k == 0);

            iov[j + 1].iov_base = t->samples[k];
            iov[j + 1].iov_len = t->sizes[k];
            total += t->sizes[k];
        }

        size = ngx_livestream_fmp4_get_size(media, s, t->part);
        head = malloc(size);

        if (head == NULL) {
            die("malloc");
        }

        iov[0].iov_base = head;
        iov[0].iov_len = ngx_livestream_fmp4_write(head, i + 1,
                                                   (int64_t) i * t->part
                                                   * t->duration,
                                                   media, s, t->part);
        total += iov[0].iov_len;

        if (out->fd != -1 && writev(out->fd, iov, t->part + 1) != total) {
            die("writev");
        }

        out->written += total;
        free(head);
    }
}


static void
measure(void (*writer)(const track_t *t, output_t *out, int parts),
    const track_t *t, const char *folder, int parts, cpu_t *cpu)
{
    output_t       out;
    struct rusage  before, after;

    out.folder = folder;
    out.fd = -1;
    out.written = 0;

    getrusage(RUSAGE_SELF, &before);
    writer(t, &out, parts);
    getrusage(RUSAGE_SELF, &after);

    if (out.fd != -1) {
        close(out.fd);
    }

    cpu->written = out.written;
    cpu->user += (after.ru_utime.tv_sec - before.ru_utime.tv_sec)
                 + (after.ru_utime.tv_usec - before.ru_utime.tv_usec) / 1e6;
    cpu->system += (after.ru_stime.tv_sec - before.ru_stime.tv_sec)
                   + (after.ru_stime.tv_usec - before.ru_stime.tv_usec) / 1e6;
}


/* in turns, so that both have the same machine */

static void
compare(const char *what, const char *folder, int seconds, int rounds)
{
    int     i, k;
    cpu_t   library[2], ours[2];
    double  minutes, a, b;

    memset(library, 0, sizeof(library));
    memset(ours, 0, sizeof(ours));

    for (i = 0; i < rounds; i++) {
        for (k = 0; k < 2; k++) {
            measure(by_library, &tracks[k], folder, seconds * 2, &library[k]);
            measure(by_ours, &tracks[k], folder, seconds * 2, &ours[k]);
        }
    }

    minutes = (double) seconds * rounds / 60;

    printf("%s\n", what);

    a = 0;
    b = 0;

    for (k = 0; k < 2; k++) {
        print(tracks[k].name, "libavformat's muxer", &library[k], minutes);
        print(tracks[k].name, "our fragment writer", &ours[k], minutes);

        a += library[k].user + library[k].system;
        b += ours[k].user + ours[k].system;
    }

    printf("  ratio %43.2f\n", a / b);
}


static void
print(const char *track, const char *writer, const cpu_t *cpu, double minutes)
{
    printf("  %-6s %-20s %7.2f %7.2f %7.2f %11llu\n", track, writer,
           cpu->user / minutes * 1e3, cpu->system / minutes * 1e3,
           (cpu->user + cpu->system) / minutes * 1e3,
           (unsigned long long) cpu->written);
}


int
main(int argc, char **argv)
{
    int          c, k, rounds, seconds;
    const char  *folder;

    seconds = 600;
    rounds = 10;
    folder = "/tmp";

    while ((c = getopt(argc, argv, "s:r:d:")) != -1) {
        switch (c) {
        case 's':
            seconds = atoi(optarg);
            break;
        case 'r':
            rounds = atoi(optarg);
            break;
        case 'd':
            folder = optarg;
            break;
        default:
            fprintf(stderr, "usage: mux [-s seconds] [-r rounds]"
                            " [-d folder]\n");
            return 1;
        }
    }

    av_log_set_level(AV_LOG_ERROR);

    for (k = 0; k < 2; k++) {
        make_samples(&tracks[k]);
    }

    printf("CPU ms a minute of stream         user  system   total"
           "       bytes\n");

    compare("written to files", folder, seconds, rounds);
    compare("written nowhere", NULL, seconds, rounds);

    return 0;
}

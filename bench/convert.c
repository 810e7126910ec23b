
/*
 * Copyright (C) nginx-livestream contributors
 *
 * A long recording, and its conversion.
 *
 *     convert make CLIP FOLDER SECONDS    a recording of a clip, over and over
 *     convert run FOLDER FILE.mp4         what a job of the keeper's does
 *
 * The files are as the packager leaves them: segments of six seconds, parts of
 * half a second, video and audio apart.  A playlist of each track lies beside
 * them, for other programs to read.
 */


#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/time.h>

#include <libavformat/avformat.h>

#include "ngx_livestream_dvr_convert.h"
#include "ngx_livestream_frame.h"
#include "ngx_livestream_llhls_fmp4.h"


#define SEGMENT  6000000        /* us */
#define PART     500000
#define SAMPLES  1024           /* of a part */


typedef struct {
    ngx_livestream_codec_t  *codec;
    ngx_livestream_dvr_track_t  track;
    unsigned                 n;
    AVPacket               **packets;       /* in ticks of the codec's */
    int64_t                  length;        /* ticks, of all of them */

    FILE                    *file;
    FILE                    *playlist;
    ngx_livestream_dvr_segment_t  segment;
    uint32_t                 sequence;
    int64_t                  start;         /* of the part, ticks */
    unsigned                 nsamples;
    ngx_livestream_fmp4_sample_t  samples[SAMPLES];
    const AVPacket          *payload[SAMPLES];
} lane_t;


static FILE  *list;


static void
die(const char *what)
{
    fprintf(stderr, "convert: %s: %s\n", what, strerror(errno));
    exit(1);
}


static void
line(const char *text, size_t len)
{
    if (fwrite(text, 1, len, list) != len) {
        die("index");
    }
}


static FILE *
create(const char *folder, const char *track, const char *name)
{
    char   path[512];
    FILE  *f;

    (void) snprintf(path, sizeof(path), "%s/%s/%s", folder, track, name);

    f = fopen(path, "w");
    if (f == NULL) {
        die(path);
    }

    return f;
}


static void
close_file(FILE *f)
{
    if (fclose(f) != 0) {
        die("a file");
    }
}


static void
load(const char *clip, lane_t *lanes)
{
    int                     i;
    lane_t                 *l;
    AVPacket               *pkt;
    AVRational              base;
    const char             *reason;
    AVFormatContext        *ic;
    AVCodecParameters      *par;
    ngx_livestream_codec_e  id;

    ic = NULL;

    if (avformat_open_input(&ic, clip, NULL, NULL) < 0
        || ic->nb_streams != 2)
    {
        die(clip);
    }

    for (i = 0; i < 2; i++) {
        l = &lanes[i];
        par = ic->streams[i]->codecpar;
        id = i ? NGX_LIVESTREAM_CODEC_AAC : NGX_LIVESTREAM_CODEC_H264;

        if (ngx_livestream_codec_parse(id, par->extradata,
                                       par->extradata_size, &l->codec,
                                       &reason)
            == -1)
        {
            die(reason);
        }

        strcpy(l->track.name, i ? "audio" : "source");
        strcpy(l->track.codecs, l->codec->codecs);
        l->track.media = l->codec->media;
        l->track.codec = id;
        l->track.width = l->codec->width;
        l->track.height = l->codec->height;
        l->track.sample_rate = l->codec->sample_rate;
        l->track.channels = l->codec->channels;
    }

    while ((pkt = av_packet_alloc()) != NULL && av_read_frame(ic, pkt) >= 0) {
        l = &lanes[pkt->stream_index];
        base = (AVRational) { 1, l->codec->timescale };

        /* what the encoder puts before the first sound, a loop has not */

        if (pkt->pts < 0 && pkt->stream_index == 1) {
            continue;
        }

        av_packet_rescale_ts(pkt, ic->streams[pkt->stream_index]->time_base,
                             base);

        l->packets = realloc(l->packets, (l->n + 1) * sizeof(AVPacket *));
        l->packets[l->n++] = pkt;
        l->length += pkt->duration;
    }

    avformat_close_input(&ic);
}


static void
write_part(lane_t *l)
{
    size_t    size;
    uint8_t  *head;
    unsigned  i;

    if (l->nsamples == 0) {
        return;
    }

    size = ngx_livestream_fmp4_get_size(l->codec->media, l->samples,
                                        l->nsamples);
    head = malloc(size);

    if (head == NULL
        || ngx_livestream_fmp4_write(head, ++l->sequence, l->start,
                                     l->codec->media, l->samples, l->nsamples)
           != size
        || fwrite(head, 1, size, l->file) != size)
    {
        die("a part");
    }

    free(head);

    l->segment.size += size;

    for (i = 0; i < l->nsamples; i++) {

        if (fwrite(l->payload[i]->data, 1, l->payload[i]->size, l->file)
            != (size_t) l->payload[i]->size)
        {
            die("a part");
        }

        l->segment.size += l->payload[i]->size;
        l->start += l->samples[i].duration;
    }

    l->nsamples = 0;
}


static void
close_segment(lane_t *l, int64_t us)
{
    char    text[NGX_LIVESTREAM_DVR_LINE];
    size_t  len;

    write_part(l);
    close_file(l->file);

    l->file = NULL;
    l->segment.duration = us - l->segment.start;

    len = ngx_livestream_dvr_line_segment(text, l->track.name, &l->segment);
    line(text, len);

    fprintf(l->playlist, "#EXTINF:%.6f,\nsegment-%d.m4s\n",
            l->segment.duration / 1e6, (int) l->segment.msn);

    l->segment.msn++;
}


static void
make_track(lane_t *l, const char *folder, int64_t seconds)
{
    char            text[NGX_LIVESTREAM_DVR_LINE];
    FILE           *f;
    size_t          len;
    int64_t         dts, us, part;
    uint8_t        *init;
    unsigned        i;
    const char     *reason;
    const AVPacket *pkt;

    (void) snprintf(text, sizeof(text), "%s/%s", folder, l->track.name);
    (void) mkdir(text, 0755);

    len = ngx_livestream_dvr_line_track(text, &l->track);
    line(text, len);

    if (ngx_livestream_fmp4_init(l->codec, &init, &len, &reason) == -1) {
        die(reason);
    }

    f = create(folder, l->track.name, "init-1.mp4");
    (void) fwrite(init, 1, len, f);
    close_file(f);
    free(init);

    l->playlist = create(folder, l->track.name, "playlist.m3u8");

    fprintf(l->playlist, "#EXTM3U\n#EXT-X-VERSION:7\n"
            "#EXT-X-TARGETDURATION:7\n#EXT-X-PLAYLIST-TYPE:VOD\n"
            "#EXT-X-MAP:URI=\"init-1.mp4\"\n");

    l->segment.init = 1;
    part = 0;

    for (i = 0, dts = 0; /* void */ ; i++) {
        pkt = l->packets[i % l->n];
        us = ngx_livestream_ticks_to_us(dts, l->codec->timescale);

        if (l->file && (us >= (int64_t) (l->segment.msn + 1) * SEGMENT
                        || us >= seconds * 1000000))
        {
            close_segment(l, us);
        }

        if (us >= seconds * 1000000) {
            break;
        }

        if (l->file == NULL) {
            (void) snprintf(text, sizeof(text), "segment-%d.m4s",
                            (int) l->segment.msn);
            l->file = create(folder, l->track.name, text);
            l->segment.start = us;
            l->segment.pdt = INT64_C(1767225600000000) + us;
            l->segment.size = 0;
            part = us;

        } else if (us >= part + PART) {
            write_part(l);
            part += PART;
        }

        l->samples[l->nsamples].duration = pkt->duration;
        l->samples[l->nsamples].size = pkt->size;
        l->samples[l->nsamples].cts = pkt->pts - pkt->dts;
        l->samples[l->nsamples].key = (pkt->flags & AV_PKT_FLAG_KEY) != 0;
        l->payload[l->nsamples++] = pkt;

        dts += pkt->duration;
    }

    fprintf(l->playlist, "#EXT-X-ENDLIST\n");

    close_file(l->playlist);
}


static void
make(const char *clip, const char *folder, int64_t seconds)
{
    char     text[NGX_LIVESTREAM_DVR_LINE], path[512];
    size_t   len;
    lane_t  *lanes;

    lanes = calloc(2, sizeof(lane_t));

    load(clip, lanes);

    (void) snprintf(path, sizeof(path), "%s/index", folder);

    list = fopen(path, "w");
    if (list == NULL) {
        die(path);
    }

    len = ngx_livestream_dvr_line_head(text, 7);
    line(text, len);

    make_track(&lanes[0], folder, seconds);
    make_track(&lanes[1], folder, seconds);

    len = ngx_livestream_dvr_line_end(text);
    line(text, len);
    close_file(list);
}


static void
run(const char *folder, const char *path)
{
    int                           rc;
    double                        seconds;
    const char                   *reason;
    struct timeval                from, to;
    ngx_livestream_dvr_index_t    index;
    ngx_livestream_dvr_source_t   source;
    ngx_livestream_dvr_convert_t  convert;

    memset(&source, 0, sizeof(source));
    memset(&convert, 0, sizeof(convert));

    source.dir = folder;
    convert.path = path;

    (void) gettimeofday(&from, NULL);

    rc = ngx_livestream_dvr_index_read(folder, &index, &reason);

    if (rc == 0) {
        rc = ngx_livestream_dvr_convert(&index, &source, &convert, &reason);
    }

    (void) gettimeofday(&to, NULL);

    if (rc) {
        errno = rc;
        die(reason);
    }

    seconds = to.tv_sec - from.tv_sec + (to.tv_usec - from.tv_usec) / 1e6;

    fprintf(stderr, "    %.3f s of media, %.1f MB, in %.3f s\n",
            convert.duration / 1e6, convert.size / 1e6, seconds);

    ngx_livestream_dvr_index_free(&index);
}


int
main(int argc, char **argv)
{
    if (argc == 5 && strcmp(argv[1], "make") == 0) {
        make(argv[2], argv[3], atoi(argv[4]));

    } else if (argc == 4 && strcmp(argv[1], "run") == 0) {
        run(argv[2], argv[3]);

    } else {
        fprintf(stderr, "usage: convert make CLIP FOLDER SECONDS | "
                        "convert run FOLDER FILE.mp4\n");
        return 2;
    }

    return 0;
}

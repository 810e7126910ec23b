
/*
 * Copyright (C) nginx-livestream contributors
 *
 * An MP4 file as a player finds it, for tests: the order of its boxes, and its
 * packets by libavformat.
 */


#ifndef _MP4_READ_H_INCLUDED_
#define _MP4_READ_H_INCLUDED_


#include <stdio.h>
#include <stdlib.h>

#include <libavformat/avformat.h>


#define MP4_STREAMS  3
#define MP4_PACKETS  65536


typedef struct {
    char                     boxes[256];    /* "ftyp moov free mdat" */
    long                     moov;          /* bytes */
    long                     free;          /* bytes that are not used */
    int64_t                  duration;      /* us */
    unsigned                 nstreams;
    struct {
        AVCodecParameters   *par;
        AVRational           sar;
        AVRational           base;
        unsigned             n;
        AVPacket            *packets[MP4_PACKETS];
    }                        streams[MP4_STREAMS];
} mp4_t;


static inline void
mp4_boxes(mp4_t *mp4, FILE *f)
{
    long     size;
    uint8_t  head[16];

    while (fread(head, 1, 8, f) == 8) {
        size = (long) head[0] << 24 | head[1] << 16 | head[2] << 8 | head[3];

        if (mp4->boxes[0]) {
            strcat(mp4->boxes, " ");
        }

        head[8] = '\0';
        strcat(mp4->boxes, (char *) head + 4);

        if (memcmp(head + 4, "free", 4) == 0) {
            mp4->free += size;

        } else if (memcmp(head + 4, "moov", 4) == 0) {
            mp4->moov += size;
        }

        if (size < 8 || strlen(mp4->boxes) > 200
            || fseek(f, size - 8, SEEK_CUR) != 0)
        {
            return;
        }
    }
}


/* NULL: it cannot be read */
static inline mp4_t *
mp4_read(const char *path)
{
    FILE             *f;
    mp4_t            *mp4;
    unsigned          i;
    AVPacket         *pkt;
    AVFormatContext  *ic;

    f = fopen(path, "r");
    ic = NULL;

    if (f == NULL) {
        return NULL;
    }

    mp4 = calloc(1, sizeof(mp4_t));

    mp4_boxes(mp4, f);
    (void) fclose(f);

    if (avformat_open_input(&ic, path, NULL, NULL) < 0
        || ic->nb_streams > MP4_STREAMS)
    {
        avformat_close_input(&ic);
        free(mp4);
        return NULL;
    }

    mp4->duration = ic->duration;
    mp4->nstreams = ic->nb_streams;

    for (i = 0; i < ic->nb_streams; i++) {
        mp4->streams[i].par = avcodec_parameters_alloc();
        avcodec_parameters_copy(mp4->streams[i].par,
                                ic->streams[i]->codecpar);
        mp4->streams[i].base = ic->streams[i]->time_base;
        mp4->streams[i].sar = ic->streams[i]->sample_aspect_ratio;
    }

    for ( ;; ) {
        pkt = av_packet_alloc();

        if (av_read_frame(ic, pkt) < 0
            || mp4->streams[pkt->stream_index].n == MP4_PACKETS)
        {
            break;
        }

        i = pkt->stream_index;
        mp4->streams[i].packets[mp4->streams[i].n++] = pkt;
    }

    av_packet_free(&pkt);
    avformat_close_input(&ic);

    return mp4;
}


static inline void
mp4_free(mp4_t *mp4)
{
    unsigned  i;

    if (mp4 == NULL) {
        return;
    }

    for (i = 0; i < mp4->nstreams; i++) {
        avcodec_parameters_free(&mp4->streams[i].par);

        while (mp4->streams[i].n) {
            av_packet_free(&mp4->streams[i].packets[--mp4->streams[i].n]);
        }
    }

    free(mp4);
}


#endif /* _MP4_READ_H_INCLUDED_ */

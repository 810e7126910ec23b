
/*
 * Copyright (C) nginx-livestream contributors
 *
 * Reads a media file with libavformat and writes what an RTMP encoder would
 * send of it.  The file must carry its codecs' configuration records (MP4,
 * Matroska, FLV), since nothing is converted.
 *
 *   legacy    [frame|codec] [1] [cts 24]       [data]    H.264
 *             [0xaf] [1]                       [data]    AAC
 *   enhanced  [0x80|frame|1] fourcc [cts 24]   [data]    H.264, HEVC
 *             [0x80|frame|3] fourcc            [data]    the same, cts is 0
 *             [0x80|frame|1] fourcc            [data]    AV1, VP9
 *             [0x91] fourcc                    [data]    audio
 *
 * The clip's time begins with its first packet: what B-frames and encoder
 * delay put before zero is moved up, video and audio alike.
 */


#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <libavcodec/avcodec.h>
#include <libavformat/avformat.h>
#include <libavutil/pixdesc.h>

#include "amf.h"
#include "flvmux.h"


#define FLVMUX_LEGACY_AVC   7
#define FLVMUX_LEGACY_AAC   10

#define FLVMUX_EX_HEADER    0x80
#define FLVMUX_EX_AUDIO     0x90
#define FLVMUX_EX_FRAMES    1
#define FLVMUX_EX_FRAMES_X  3

#define FLVMUX_KEY          0x10
#define FLVMUX_INTER        0x20

#define FLVMUX_RECORD_MAX   (64 * 1024)

static const AVRational  flvmux_us = { 1, 1000000 };


typedef struct {
    enum AVCodecID   id;
    uint8_t          legacy;    /* number in legacy tags, or 0 */
    uint8_t          cts;       /* enhanced tags have composition times */
    char             fourcc[5];
    /* the configuration record's size, or -1 if it can't be had */
    int            (*record)(const AVStream *st, uint8_t *p);
} flvmux_codec_t;


typedef struct {
    AVFormatContext       *file;
    AVStream              *stream[2];       /* video, audio */
    const flvmux_codec_t  *codec[2];
    int                    enhanced[2];
    size_t                 allocated;
} flvmux_reader_t;


static int flvmux_open(flvmux_reader_t *r, const char *file,
    const flvmux_conf_t *conf, const char **why);
static int flvmux_pick(flvmux_reader_t *r, int i, enum AVMediaType type,
    const flvmux_conf_t *conf, const char **why);
static int flvmux_read(flvmux_reader_t *r, flvmux_clip_t *clip);
static int flvmux_add(flvmux_reader_t *r, flvmux_clip_t *clip, AVPacket *pkt);
static void flvmux_tag_head(flvmux_reader_t *r, flvmux_tag_t *tag);
static void flvmux_arrange(flvmux_clip_t *clip);
static int64_t flvmux_period(flvmux_clip_t *clip, int type, int64_t *first);
static int flvmux_compare(const void *one, const void *two);
static int flvmux_config(flvmux_reader_t *r, int i, flvmux_body_t *body);
static int flvmux_metadata(flvmux_reader_t *r, flvmux_body_t *body);
static int flvmux_store(flvmux_body_t *body, const uint8_t *data, size_t len);
static int flvmux_record_boxed(const AVStream *st, uint8_t *p);
static int flvmux_record_av1(const AVStream *st, uint8_t *p);
static int flvmux_record_vp9(const AVStream *st, uint8_t *p);
static uint8_t flvmux_vp9_level(const AVStream *st);
static int flvmux_record_plain(const AVStream *st, uint8_t *p);
static int flvmux_record_flac(const AVStream *st, uint8_t *p);


static const flvmux_codec_t  flvmux_codecs[] = {

    { AV_CODEC_ID_H264, FLVMUX_LEGACY_AVC, 1, "avc1", flvmux_record_boxed },
    { AV_CODEC_ID_HEVC, 0, 1, "hvc1", flvmux_record_boxed },
    { AV_CODEC_ID_AV1, 0, 0, "av01", flvmux_record_av1 },
    { AV_CODEC_ID_VP9, 0, 0, "vp09", flvmux_record_vp9 },
    { AV_CODEC_ID_AAC, FLVMUX_LEGACY_AAC, 0, "mp4a", flvmux_record_plain },
    { AV_CODEC_ID_OPUS, 0, 0, "Opus", flvmux_record_plain },
    { AV_CODEC_ID_FLAC, 0, 0, "fLaC", flvmux_record_flac },

    { AV_CODEC_ID_NONE, 0, 0, "", NULL }
};


int
flvmux_load(flvmux_clip_t *clip, const char *file, const flvmux_conf_t *conf,
    char *error, size_t size)
{
    int               rc;
    const char       *why;
    flvmux_reader_t   r;

    memset(clip, 0, sizeof(flvmux_clip_t));
    memset(&r, 0, sizeof(flvmux_reader_t));

    why = "no memory";
    rc = flvmux_open(&r, file, conf, &why);

    if (rc == 0) {
        rc = flvmux_read(&r, clip);
    }

    if (rc == 0 && r.stream[0] && flvmux_config(&r, 0, &clip->video) != 0) {
        why = "the file has no configuration record for its video codec "
              "(is it MP4, Matroska or FLV?)";
        rc = -1;
    }

    if (rc == 0 && r.stream[1] && flvmux_config(&r, 1, &clip->audio) != 0) {
        why = "the file has no configuration record for its audio codec";
        rc = -1;
    }

    if (rc == 0) {
        rc = flvmux_metadata(&r, &clip->metadata);
    }

    avformat_close_input(&r.file);

    if (rc == 0 && clip->ntags == 0) {
        why = "the file has no packets";
        rc = -1;
    }

    if (rc != 0) {
        snprintf(error, size, "%s: %s", file, why);
        flvmux_free(clip);
        return -1;
    }

    flvmux_arrange(clip);

    return 0;
}


void
flvmux_free(flvmux_clip_t *clip)
{
    size_t     i;
    AVPacket  *pkt;

    for (i = 0; i < clip->ntags; i++) {
        pkt = clip->tags[i].packet;
        av_packet_free(&pkt);
    }

    free(clip->tags);
    free(clip->metadata.data);
    free(clip->video.data);
    free(clip->audio.data);

    memset(clip, 0, sizeof(flvmux_clip_t));
}


int64_t
flvmux_head(const flvmux_tag_t *tag, int64_t base, uint8_t *head)
{
    int64_t  dts, cts;

    dts = av_rescale(base + tag->dts, 1, 1000);

    memcpy(head, tag->head, tag->head_len);

    if (tag->cts) {
        cts = av_rescale(base + tag->pts, 1, 1000) - dts;

        head[tag->cts] = (uint8_t) (cts >> 16);
        head[tag->cts + 1] = (uint8_t) (cts >> 8);
        head[tag->cts + 2] = (uint8_t) cts;
    }

    return dts;
}


static int
flvmux_open(flvmux_reader_t *r, const char *file, const flvmux_conf_t *conf,
    const char **why)
{
    av_log_set_level(AV_LOG_ERROR);

    if (avformat_open_input(&r->file, file, NULL, NULL) < 0
        || avformat_find_stream_info(r->file, NULL) < 0)
    {
        *why = "can't be read";
        return -1;
    }

    if (!conf->no_video
        && flvmux_pick(r, 0, AVMEDIA_TYPE_VIDEO, conf, why) != 0)
    {
        return -1;
    }

    if (!conf->no_audio
        && flvmux_pick(r, 1, AVMEDIA_TYPE_AUDIO, conf, why) != 0)
    {
        return -1;
    }

    if (r->stream[0] == NULL && r->stream[1] == NULL) {
        *why = "has neither video nor audio";
        return -1;
    }

    return 0;
}


static int
flvmux_pick(flvmux_reader_t *r, int i, enum AVMediaType type,
    const flvmux_conf_t *conf, const char **why)
{
    int                    n;
    const flvmux_codec_t  *codec;

    n = av_find_best_stream(r->file, type, -1, -1, NULL, 0);

    if (n < 0) {
        return 0;
    }

    r->stream[i] = r->file->streams[n];

    for (codec = flvmux_codecs; codec->record; codec++) {

        if (codec->id == r->stream[i]->codecpar->codec_id) {
            r->codec[i] = codec;
            r->enhanced[i] = conf->enhanced || codec->legacy == 0;
            return 0;
        }
    }

    *why = "has a codec that RTMP does not carry";

    return -1;
}


static int
flvmux_read(flvmux_reader_t *r, flvmux_clip_t *clip)
{
    int        rc;
    AVPacket  *pkt;

    for ( ;; ) {
        pkt = av_packet_alloc();

        if (pkt == NULL) {
            return -1;
        }

        if (av_read_frame(r->file, pkt) < 0) {
            av_packet_free(&pkt);
            return 0;
        }

        rc = flvmux_add(r, clip, pkt);

        if (rc != 1) {
            av_packet_free(&pkt);
        }

        if (rc == -1) {
            return -1;
        }
    }
}


/* 1: the packet is kept, 0: it is not needed, -1: no memory */
static int
flvmux_add(flvmux_reader_t *r, flvmux_clip_t *clip, AVPacket *pkt)
{
    AVStream      *st;
    flvmux_tag_t  *tag;

    st = r->file->streams[pkt->stream_index];

    if ((st != r->stream[0] && st != r->stream[1]) || pkt->size == 0) {
        return 0;
    }

    if (pkt->dts == AV_NOPTS_VALUE) {
        pkt->dts = pkt->pts;
    }

    if (pkt->pts == AV_NOPTS_VALUE) {
        pkt->pts = pkt->dts;
    }

    if (pkt->dts == AV_NOPTS_VALUE) {
        return 0;
    }

    if (clip->ntags == r->allocated) {
        r->allocated = r->allocated ? 2 * r->allocated : 1024;
        tag = realloc(clip->tags, r->allocated * sizeof(flvmux_tag_t));

        if (tag == NULL) {
            return -1;
        }

        clip->tags = tag;
    }

    tag = &clip->tags[clip->ntags++];
    memset(tag, 0, sizeof(flvmux_tag_t));

    tag->type = (st == r->stream[0]) ? FLVMUX_VIDEO : FLVMUX_AUDIO;
    tag->dts = av_rescale_q(pkt->dts, st->time_base, flvmux_us);
    tag->pts = av_rescale_q(pkt->pts, st->time_base, flvmux_us);
    tag->key = (pkt->flags & AV_PKT_FLAG_KEY) ? 1 : 0;
    tag->data = pkt->data;
    tag->size = pkt->size;
    tag->packet = pkt;

    flvmux_tag_head(r, tag);

    return 1;
}


static void
flvmux_tag_head(flvmux_reader_t *r, flvmux_tag_t *tag)
{
    int                    i, cts;
    uint8_t               *h, frame;
    const flvmux_codec_t  *codec;

    i = (tag->type == FLVMUX_VIDEO) ? 0 : 1;
    codec = r->codec[i];
    h = tag->head;

    frame = tag->key ? FLVMUX_KEY : FLVMUX_INTER;

    if (!r->enhanced[i]) {
        h[0] = i ? 0xaf : frame | codec->legacy;
        h[1] = 1;

        tag->head_len = i ? 2 : 5;
        tag->cts = i ? 0 : 2;
        return;
    }

    cts = (codec->cts && tag->pts != tag->dts);

    if (i) {
        h[0] = FLVMUX_EX_AUDIO | FLVMUX_EX_FRAMES;

    } else if (codec->cts && !cts) {
        h[0] = FLVMUX_EX_HEADER | frame | FLVMUX_EX_FRAMES_X;

    } else {
        h[0] = FLVMUX_EX_HEADER | frame | FLVMUX_EX_FRAMES;
    }

    memcpy(h + 1, codec->fourcc, 4);

    tag->head_len = cts ? 8 : 5;
    tag->cts = cts ? 5 : 0;
}


/*
 * Sorts by dts, lets the clip begin at 0 and finds the period after which it
 * can begin again without a gap in the video.  Audio that reaches beyond is
 * left out.
 */
static void
flvmux_arrange(flvmux_clip_t *clip)
{
    size_t         i, n;
    int64_t        start, audio;
    AVPacket      *pkt;
    flvmux_tag_t  *tag;

    qsort(clip->tags, clip->ntags, sizeof(flvmux_tag_t), flvmux_compare);

    start = clip->tags[0].dts;

    for (i = 0; i < clip->ntags; i++) {
        clip->tags[i].dts -= start;
        clip->tags[i].pts -= start;
    }

    clip->period = flvmux_period(clip, FLVMUX_AUDIO, &audio);

    if (clip->video.data == NULL) {
        return;
    }

    clip->period = flvmux_period(clip, FLVMUX_VIDEO, &start);

    for (i = 0, n = 0; i < clip->ntags; i++) {
        tag = &clip->tags[i];

        if (tag->type == FLVMUX_AUDIO && tag->dts >= audio + clip->period) {
            pkt = tag->packet;
            av_packet_free(&pkt);
            continue;
        }

        clip->tags[n++] = *tag;
    }

    clip->ntags = n;
}


/* from the first tag of a type to the end of its last one, which is taken
 * to be as long as the others are on average */
static int64_t
flvmux_period(flvmux_clip_t *clip, int type, int64_t *first)
{
    size_t         i;
    int64_t        n, last;

    n = 0;
    last = 0;
    *first = 0;

    for (i = 0; i < clip->ntags; i++) {

        if (clip->tags[i].type == type) {
            last = clip->tags[i].dts;

            if (n++ == 0) {
                *first = last;
            }
        }
    }

    if (n < 2) {
        return 1000000;
    }

    return av_rescale(last - *first, n, n - 1);
}


static int
flvmux_compare(const void *one, const void *two)
{
    const flvmux_tag_t  *a, *b;

    a = one;
    b = two;

    if (a->dts != b->dts) {
        return a->dts < b->dts ? -1 : 1;
    }

    return (int) b->type - (int) a->type;       /* video first */
}


static int
flvmux_config(flvmux_reader_t *r, int i, flvmux_body_t *body)
{
    int                    n;
    uint8_t                buf[8 + FLVMUX_RECORD_MAX], *p;
    const flvmux_codec_t  *codec;

    codec = r->codec[i];
    p = buf;

    if (r->enhanced[i]) {
        *p++ = i ? FLVMUX_EX_AUDIO : FLVMUX_EX_HEADER | FLVMUX_KEY;
        memcpy(p, codec->fourcc, 4);
        p += 4;

    } else if (i) {
        *p++ = 0xaf;
        *p++ = 0;

    } else {
        *p++ = FLVMUX_KEY | codec->legacy;
        memset(p, 0, 4);
        p += 4;
    }

    n = codec->record(r->stream[i], p);

    if (n < 0) {
        return -1;
    }

    return flvmux_store(body, buf, p + n - buf);
}


static int
flvmux_metadata(flvmux_reader_t *r, flvmux_body_t *body)
{
    int                       i;
    double                    id[2];
    uint8_t                   buf[1024];
    amf_writer_t              w;
    const uint8_t            *p;
    const AVCodecParameters  *par;

    for (i = 0; i < 2; i++) {
        if (r->codec[i]) {
            p = (const uint8_t *) r->codec[i]->fourcc;
            id[i] = r->enhanced[i] ? (double) p[0] * (1 << 24)
                                     + (p[1] << 16 | p[2] << 8 | p[3])
                                   : r->codec[i]->legacy;
        }
    }

    w.p = buf;
    w.end = buf + sizeof(buf);

    amf_string(&w, "@setDataFrame");
    amf_string(&w, "onMetaData");
    amf_ecma_array(&w, r->stream[0] && r->stream[1] ? 11 : 6);
    amf_key(&w, "duration");
    amf_number(&w, 0);

    if (r->stream[0]) {
        par = r->stream[0]->codecpar;

        amf_key(&w, "width");
        amf_number(&w, par->width);
        amf_key(&w, "height");
        amf_number(&w, par->height);
        amf_key(&w, "videodatarate");
        amf_number(&w, par->bit_rate / 1000.0);
        amf_key(&w, "framerate");
        amf_number(&w, r->stream[0]->avg_frame_rate.num
                       ? av_q2d(r->stream[0]->avg_frame_rate) : 0);
        amf_key(&w, "videocodecid");
        amf_number(&w, id[0]);
    }

    if (r->stream[1]) {
        par = r->stream[1]->codecpar;

        amf_key(&w, "audiodatarate");
        amf_number(&w, par->bit_rate / 1000.0);
        amf_key(&w, "audiosamplerate");
        amf_number(&w, par->sample_rate);
        amf_key(&w, "audiosamplesize");
        amf_number(&w, 16);
        amf_key(&w, "stereo");
        amf_boolean(&w, par->ch_layout.nb_channels > 1);
        amf_key(&w, "audiocodecid");
        amf_number(&w, id[1]);
    }

    amf_end(&w);

    return w.p ? flvmux_store(body, buf, w.p - buf) : -1;
}


static int
flvmux_store(flvmux_body_t *body, const uint8_t *data, size_t len)
{
    body->data = malloc(len);

    if (body->data == NULL) {
        return -1;
    }

    memcpy(body->data, data, len);
    body->size = len;

    return 0;
}


/* avcC, hvcC: version 1; Annex B begins with a zero */
static int
flvmux_record_boxed(const AVStream *st, uint8_t *p)
{
    const AVCodecParameters  *par;

    par = st->codecpar;

    if (par->extradata_size < 7 || par->extradata[0] != 1) {
        return -1;
    }

    return flvmux_record_plain(st, p);
}


static int
flvmux_record_av1(const AVStream *st, uint8_t *p)
{
    const AVCodecParameters  *par;

    par = st->codecpar;

    if (par->extradata_size < 4 || par->extradata[0] != 0x81) {
        return -1;
    }

    return flvmux_record_plain(st, p);
}


/* libavformat has no record of VP9 to give, only what it read from one */
static int
flvmux_record_vp9(const AVStream *st, uint8_t *p)
{
    int                        chroma;
    const AVCodecParameters   *par;
    const AVPixFmtDescriptor  *desc;

    par = st->codecpar;
    desc = av_pix_fmt_desc_get(par->format);

    if (desc == NULL || par->profile < 0) {
        return -1;
    }

    chroma = desc->log2_chroma_h ? 1 : desc->log2_chroma_w ? 2 : 3;

    p[0] = (uint8_t) par->profile;
    p[1] = flvmux_vp9_level(st);
    p[2] = (uint8_t) (desc->comp[0].depth << 4 | chroma << 1
                      | (par->color_range == AVCOL_RANGE_JPEG));
    p[3] = (uint8_t) par->color_primaries;
    p[4] = (uint8_t) par->color_trc;
    p[5] = (uint8_t) par->color_space;
    p[6] = 0;                           /* no initialization data */
    p[7] = 0;

    return 8;
}


/* the lowest level whose limits the picture and its rate keep */
static uint8_t
flvmux_vp9_level(const AVStream *st)
{
    size_t   i;
    int64_t  size, rate;

    static const struct {
        uint8_t   level;
        int64_t   rate;         /* luma samples a second */
        int64_t   size;         /* of a picture */
    } levels[] = {
        { 10, 829440, 36864 },
        { 11, 2764800, 73728 },
        { 20, 4608000, 122880 },
        { 21, 9216000, 245760 },
        { 30, 20736000, 552960 },
        { 31, 36864000, 983040 },
        { 40, 83558400, 2228224 },
        { 41, 160432128, 2228224 },
        { 50, 311951360, 8912896 },
        { 51, 588251136, 8912896 },
        { 52, 1176502272, 8912896 },
        { 60, 1176502272, 35651584 },
        { 61, 2353004544, 35651584 }
    };

    size = (int64_t) st->codecpar->width * st->codecpar->height;
    rate = av_rescale(size, st->avg_frame_rate.num,
                      st->avg_frame_rate.den ? st->avg_frame_rate.den : 1);

    for (i = 0; i < sizeof(levels) / sizeof(levels[0]); i++) {
        if (size <= levels[i].size && rate <= levels[i].rate) {
            return levels[i].level;
        }
    }

    return 62;
}


static int
flvmux_record_plain(const AVStream *st, uint8_t *p)
{
    const AVCodecParameters  *par;

    par = st->codecpar;

    if (par->extradata_size == 0
        || par->extradata_size > FLVMUX_RECORD_MAX)
    {
        return -1;
    }

    memcpy(p, par->extradata, par->extradata_size);

    return par->extradata_size;
}


/* libavformat keeps STREAMINFO alone; the mark and a block header go first */
static int
flvmux_record_flac(const AVStream *st, uint8_t *p)
{
    const AVCodecParameters  *par;

    par = st->codecpar;

    if (par->extradata_size != 34) {
        return -1;
    }

    memcpy(p, "fLaC\x80\0\0\x22", 8);
    memcpy(p + 8, par->extradata, 34);

    return 42;
}

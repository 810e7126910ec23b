
/*
 * Copyright (C) nginx-livestream contributors
 *
 * Clips for the tests of the transcoder: what a chain of libavfilter's shows
 * or plays, encoded, and cut into frames as ingest makes them.
 */


#ifndef _TRANSCODE_CLIP_H_INCLUDED_
#define _TRANSCODE_CLIP_H_INCLUDED_


#include "ngx_livestream_frame.h"
#include "transcode_picture.h"


#define CLIP_FRAMES  256


typedef struct {
    ngx_livestream_codec_t  *codec;
    unsigned                 n;
    ngx_livestream_frame_t  *frames[CLIP_FRAMES];
} clip_t;


static inline AVFilterGraph *
clip_graph(const char *chain, const char *type, AVFilterContext **sink)
{
    AVFilterGraph  *graph;
    AVFilterInOut  *ins, *outs;

    graph = avfilter_graph_alloc();

    if (avfilter_graph_create_filter(sink, avfilter_get_by_name(type), "out",
                                     NULL, NULL, graph) < 0
        || avfilter_graph_parse2(graph, chain, &ins, &outs) < 0
        || avfilter_link(outs->filter_ctx, outs->pad_idx, *sink, 0) < 0
        || avfilter_graph_config(graph, NULL) < 0)
    {
        picture_die(chain);
    }

    avfilter_inout_free(&ins);
    avfilter_inout_free(&outs);

    return graph;
}


/* opts: "preset=ultrafast:bf=0" */
static inline AVCodecContext *
clip_encoder(const char *name, const char *opts, AVFilterContext *sink)
{
    AVDictionary    *dict;
    const AVCodec   *enc;
    AVCodecContext  *avctx;

    enc = avcodec_find_encoder_by_name(name);
    avctx = enc ? avcodec_alloc_context3(enc) : NULL;

    if (avctx == NULL) {
        picture_die(name);
    }

    avctx->time_base = av_buffersink_get_time_base(sink);
    avctx->flags |= AV_CODEC_FLAG_GLOBAL_HEADER;
    avctx->thread_count = 1;

    if (enc->type == AVMEDIA_TYPE_VIDEO) {
        avctx->pix_fmt = av_buffersink_get_format(sink);
        avctx->width = av_buffersink_get_w(sink);
        avctx->height = av_buffersink_get_h(sink);
        avctx->framerate = av_buffersink_get_frame_rate(sink);
        avctx->sample_aspect_ratio
            = av_buffersink_get_sample_aspect_ratio(sink);

    } else {
        avctx->sample_fmt = av_buffersink_get_format(sink);
        avctx->sample_rate = av_buffersink_get_sample_rate(sink);
        av_buffersink_get_ch_layout(sink, &avctx->ch_layout);
    }

    dict = NULL;

    if (av_dict_parse_string(&dict, opts, "=", ":", 0) < 0
        || av_dict_set(&dict, "strict", "-2", 0) < 0
        || avcodec_open2(avctx, enc, &dict) < 0
        || av_dict_count(dict) != 0)
    {
        picture_die(opts);
    }

    av_dict_free(&dict);

    return avctx;
}


/* into the file: the muxer knows each codec's configuration record */
static inline void
clip_encode(const char *path, AVCodecContext *avctx, AVFilterContext *sink,
    unsigned n)
{
    int               rc;
    AVFrame          *f;
    AVPacket         *pkt;
    AVStream         *st;
    AVFormatContext  *oc;

    f = av_frame_alloc();
    pkt = av_packet_alloc();

    if (avformat_alloc_output_context2(&oc, NULL, "mp4", path) < 0
        || (st = avformat_new_stream(oc, NULL)) == NULL
        || avcodec_parameters_from_context(st->codecpar, avctx) < 0)
    {
        picture_die("no muxer");
    }

    st->time_base = avctx->time_base;
    oc->strict_std_compliance = -2;

    if (avio_open(&oc->pb, path, AVIO_FLAG_WRITE) < 0
        || avformat_write_header(oc, NULL) < 0)
    {
        picture_die("no header");
    }

    if (avctx->frame_size) {
        av_buffersink_set_frame_size(sink, avctx->frame_size);
    }

    do {
        rc = n ? av_buffersink_get_frame(sink, f) : AVERROR_EOF;

        if (rc >= 0) {
            f->pict_type = AV_PICTURE_TYPE_NONE;
        }

        if (avcodec_send_frame(avctx, rc < 0 ? NULL : f) < 0) {
            picture_die("no encoding");
        }

        av_frame_unref(f);

        while (avcodec_receive_packet(avctx, pkt) == 0) {
            av_packet_rescale_ts(pkt, avctx->time_base, st->time_base);

            if (av_interleaved_write_frame(oc, pkt) < 0) {
                picture_die("no muxing");
            }
        }
    } while (n-- && rc >= 0);

    av_write_trailer(oc);
    avio_closep(&oc->pb);
    avformat_free_context(oc);
    av_packet_free(&pkt);
    av_frame_free(&f);
}


static inline void
clip_codec(clip_t *clip, ngx_livestream_codec_e id,
    const AVCodecParameters *par, const AVPacket *pkt)
{
    int          rc;
    const char  *reason;

    rc = (id == NGX_LIVESTREAM_CODEC_VP9)
         ? ngx_livestream_codec_parse_frame(id, pkt->data, pkt->size,
                                            &clip->codec, &reason)
         : ngx_livestream_codec_parse(id, par->extradata, par->extradata_size,
                                      &clip->codec, &reason);
    if (rc != 0) {
        picture_die(reason);
    }
}


static inline void
clip_read(clip_t *clip, ngx_livestream_codec_e id, const char *path)
{
    AVPacket                *pkt;
    AVStream                *st;
    AVRational               base;
    AVFormatContext         *ic;
    ngx_livestream_frame_t  *f;

    ic = NULL;
    pkt = av_packet_alloc();

    if (avformat_open_input(&ic, path, NULL, NULL) < 0) {
        picture_die(path);
    }

    st = ic->streams[0];

    while (av_read_frame(ic, pkt) == 0 && clip->n < CLIP_FRAMES) {
        if (clip->codec == NULL) {
            clip_codec(clip, id, st->codecpar, pkt);
        }

        base = (AVRational) { 1, clip->codec->timescale };
        f = ngx_livestream_frame_create(clip->codec, pkt->size);
        memcpy(f->data, pkt->data, pkt->size);
        f->pts = av_rescale_q(pkt->pts, st->time_base, base);
        f->dts = av_rescale_q(pkt->dts, st->time_base, base);
        f->flags = (pkt->flags & AV_PKT_FLAG_KEY) ? NGX_LIVESTREAM_FRAME_KEY
                                                  : 0;
        clip->frames[clip->n++] = f;
        av_packet_unref(pkt);
    }

    av_packet_free(&pkt);
    avformat_close_input(&ic);
}


/* n pictures, or blocks of audio */
static inline void
clip_make(clip_t *clip, ngx_livestream_codec_e id, const char *encoder,
    const char *opts, const char *chain, unsigned n)
{
    int               fd, video;
    char              path[] = "/tmp/clip.XXXXXX";
    AVFilterGraph    *graph;
    AVCodecContext   *avctx;
    AVFilterContext  *sink;

    memset(clip, 0, sizeof(clip_t));

    fd = mkstemp(path);
    if (fd == -1) {
        picture_die(path);
    }

    video = id <= NGX_LIVESTREAM_CODEC_VP9;
    graph = clip_graph(chain, video ? "buffersink" : "abuffersink", &sink);
    avctx = clip_encoder(encoder, opts, sink);

    clip_encode(path, avctx, sink, n);
    clip_read(clip, id, path);

    avcodec_free_context(&avctx);
    avfilter_graph_free(&graph);
    close(fd);
    unlink(path);
}


static inline void
clip_free(clip_t *clip)
{
    while (clip->n) {
        ngx_livestream_frame_unref(clip->frames[--clip->n]);
    }

    ngx_livestream_codec_unref(clip->codec);
}


#endif /* _TRANSCODE_CLIP_H_INCLUDED_ */

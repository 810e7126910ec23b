
/*
 * Copyright (C) nginx-livestream contributors
 *
 * What a publisher sends.
 *
 *   audio, video --> one FLV tag --> configuration: codec parameters
 *                                --> frame on the timeline --> pipeline
 *
 * Messages may come before the publisher is accepted: configurations are kept,
 * frames are not.  The pipeline is started by the first frame, when the
 * metadata have told what is to come.  What is malformed closes the session
 * with one log line.
 *
 * Event loop only.
 */


#include "ngx_livestream_ingest.h"
#include "ngx_livestream_flv.h"


static u_char *ngx_livestream_ingest_flatten(ngx_rtmp_session_t *s,
    ngx_chain_t *in, size_t *len);
static ngx_int_t ngx_livestream_ingest_config(
    ngx_livestream_ingest_ctx_t *ctx, ngx_livestream_media_e media,
    ngx_livestream_flv_t *tag);
static ngx_int_t ngx_livestream_ingest_frame(
    ngx_livestream_ingest_ctx_t *ctx, ngx_livestream_media_e media,
    uint32_t timestamp, ngx_livestream_flv_t *tag);
static ngx_int_t ngx_livestream_ingest_check(
    ngx_livestream_ingest_ctx_t *ctx, ngx_livestream_media_e media,
    ngx_livestream_flv_t *tag, int *key, uint32_t *samples);
static ngx_int_t ngx_livestream_ingest_bad(ngx_livestream_ingest_ctx_t *ctx,
    ngx_livestream_media_e media, const char *reason);


/* one message at a time is made contiguous here */
static u_char      *ngx_livestream_ingest_buf;
static size_t       ngx_livestream_ingest_size;

static const char  *ngx_livestream_ingest_media[] = { "video", "audio" };


ngx_int_t
ngx_livestream_ingest_meta(ngx_rtmp_session_t *s, ngx_rtmp_header_t *h,
    ngx_chain_t *in)
{
    ngx_uint_t                    skip;
    ngx_livestream_ingest_ctx_t  *ctx;

    static struct {
        double                    width;
        double                    framerate;
        double                    video_rate;
        double                    audio_rate;
        double                    sample_rate;
    } v;

    static ngx_rtmp_amf_elt_t  in_inf[] = {

        { NGX_RTMP_AMF_NUMBER, ngx_string("width"), &v.width, 0 },

        { NGX_RTMP_AMF_NUMBER, ngx_string("framerate"), &v.framerate, 0 },

        { NGX_RTMP_AMF_NUMBER, ngx_string("videodatarate"),
          &v.video_rate, 0 },

        { NGX_RTMP_AMF_NUMBER, ngx_string("audiodatarate"),
          &v.audio_rate, 0 },

        { NGX_RTMP_AMF_NUMBER, ngx_string("audiosamplerate"),
          &v.sample_rate, 0 }
    };

    static ngx_rtmp_amf_elt_t  in_elts[] = {

        { NGX_RTMP_AMF_STRING, ngx_null_string, NULL, 0 },

        { NGX_RTMP_AMF_OBJECT, ngx_null_string, in_inf, sizeof(in_inf) }
    };

    (void) h;

    ctx = ngx_rtmp_get_module_ctx(s, ngx_livestream_ingest_module);

    if (ctx == NULL || (ctx->stream && ctx->stream->pipeline)) {
        return NGX_OK;
    }

    ngx_memzero(&v, sizeof(v));

    /* onMetaData may stand behind @setDataFrame, which was read already */

    skip = !(in->buf->last > in->buf->pos
             && *in->buf->pos == NGX_RTMP_AMF_STRING);

    if (ngx_rtmp_receive_amf(s, in, in_elts + skip,
                             sizeof(in_elts) / sizeof(in_elts[0]) - skip))
    {
        /* only a hint is lost */
        return NGX_OK;
    }

    if (v.width > 0 || v.video_rate > 0
        || v.audio_rate > 0 || v.sample_rate > 0)
    {
        ctx->has_video = (v.width > 0 || v.video_rate > 0);
        ctx->has_audio = (v.audio_rate > 0 || v.sample_rate > 0);
    }

    if (v.framerate > 0 && v.framerate < 1000) {
        ctx->frame_rate = (ngx_uint_t) (v.framerate * 1000 + 0.5);
    }

    /* kbit/s; what is more than any codec would need is none */

    if (v.audio_rate > 0 && v.audio_rate < 10000) {
        ctx->audio_bitrate = (ngx_uint_t) (v.audio_rate * 1000 + 0.5);
    }

    return NGX_OK;
}


ngx_int_t
ngx_livestream_ingest_av(ngx_rtmp_session_t *s, ngx_rtmp_header_t *h,
    ngx_chain_t *in)
{
    int                           rc;
    size_t                        len;
    u_char                       *body;
    const char                   *reason;
    ngx_livestream_flv_t          tag;
    ngx_livestream_media_e        media;
    ngx_livestream_ingest_ctx_t  *ctx;

    ctx = ngx_rtmp_get_module_ctx(s, ngx_livestream_ingest_module);

    if (ctx == NULL
        || ctx->state == NGX_LIVESTREAM_INGEST_IDLE
        || ctx->state == NGX_LIVESTREAM_INGEST_CLOSED
        || s->connection->destroyed)
    {
        return NGX_OK;
    }

    media = (h->type == NGX_RTMP_MSG_VIDEO) ? NGX_LIVESTREAM_VIDEO
                                            : NGX_LIVESTREAM_AUDIO;

    body = ngx_livestream_ingest_flatten(s, in, &len);
    if (body == NULL) {
        return NGX_ERROR;
    }

    if (media == NGX_LIVESTREAM_VIDEO) {
        rc = ngx_livestream_flv_video(body, len, &tag, &reason);

    } else {
        rc = ngx_livestream_flv_audio(body, len, &tag, &reason);
    }

    if (rc == -1) {
        return ngx_livestream_ingest_bad(ctx, media, reason);
    }

    if (rc == -2) {
        if (!ctx->uncarried[media]) {
            ctx->uncarried[media] = 1;

            ngx_log_error(NGX_LOG_WARN, s->connection->log, 0,
                          "livestream: stream %V: %s is left out: %s",
                          &ctx->row.id, ngx_livestream_ingest_media[media],
                          reason);

            if (media == NGX_LIVESTREAM_VIDEO) {
                ctx->has_video = 0;

            } else {
                ctx->has_audio = 0;
            }
        }

        return NGX_OK;
    }

    switch (tag.type) {

    case NGX_LIVESTREAM_FLV_CONFIG:
        return ngx_livestream_ingest_config(ctx, media, &tag);

    case NGX_LIVESTREAM_FLV_FRAME:
        return ngx_livestream_ingest_frame(ctx, media, h->timestamp, &tag);

    default:
        return NGX_OK;
    }
}


static u_char *
ngx_livestream_ingest_flatten(ngx_rtmp_session_t *s, ngx_chain_t *in,
    size_t *len)
{
    u_char       *p;
    size_t        size;
    ngx_chain_t  *cl;

    size = 0;

    for (cl = in; cl; cl = cl->next) {
        size += cl->buf->last - cl->buf->pos;
    }

    if (size > ngx_livestream_ingest_size) {

        p = ngx_alloc(size, s->connection->log);
        if (p == NULL) {
            return NULL;
        }

        if (ngx_livestream_ingest_buf) {
            ngx_free(ngx_livestream_ingest_buf);
        }

        ngx_livestream_ingest_buf = p;
        ngx_livestream_ingest_size = size;
    }

    p = ngx_livestream_ingest_buf;

    for (cl = in; cl; cl = cl->next) {
        p = ngx_cpymem(p, cl->buf->pos, cl->buf->last - cl->buf->pos);
    }

    *len = size;

    return ngx_livestream_ingest_buf ? ngx_livestream_ingest_buf
                                     : (u_char *) "";
}


static ngx_int_t
ngx_livestream_ingest_config(ngx_livestream_ingest_ctx_t *ctx,
    ngx_livestream_media_e media, ngx_livestream_flv_t *tag)
{
    const char              *reason;
    ngx_livestream_codec_t  *codec, *known;

    if (ngx_livestream_codec_parse(tag->codec, tag->data, tag->size, &codec,
                                   &reason)
        != 0)
    {
        return ngx_livestream_ingest_bad(ctx, media, reason);
    }

    known = ctx->codecs[media];

    if (known
        && known->id == codec->id
        && known->config_len == codec->config_len
        && ngx_memcmp(known->config, codec->config, codec->config_len) == 0)
    {
        /* encoders repeat it, and a key frame may have refined it since */
        ngx_livestream_codec_unref(codec);
        return NGX_OK;
    }

    ngx_log_error(NGX_LOG_INFO, ctx->session->connection->log, 0,
                  "livestream: stream %V: %s is %s", &ctx->row.id,
                  ngx_livestream_ingest_media[media], codec->codecs);

    ngx_livestream_codec_unref(ctx->codecs[media]);
    ctx->codecs[media] = codec;

    return NGX_OK;
}


static ngx_int_t
ngx_livestream_ingest_frame(ngx_livestream_ingest_ctx_t *ctx,
    ngx_livestream_media_e media, uint32_t timestamp,
    ngx_livestream_flv_t *tag)
{
    int                       key, broken;
    uint32_t                  samples;
    ngx_int_t                 rc;
    ngx_livestream_codec_t   *codec;
    ngx_livestream_frame_t   *f;
    ngx_livestream_stream_t  *s;

    s = ctx->stream;

    if (ctx->state != NGX_LIVESTREAM_INGEST_OPEN || s == NULL || s->ending) {
        return NGX_OK;
    }

    ngx_livestream_stream_touch(s);

    rc = ngx_livestream_ingest_check(ctx, media, tag, &key, &samples);
    if (rc != NGX_OK) {
        return (rc == NGX_DECLINED) ? NGX_OK : NGX_ERROR;
    }

    if (s->pipeline == NULL) {

        s->conf.audio_bitrate = ctx->audio_bitrate;

        if (ngx_livestream_stream_start(s, ctx->has_video, ctx->has_audio,
                                        ctx->frame_rate)
            != NGX_OK)
        {
            ngx_livestream_stream_failed(s, "it could not be started");
            return NGX_OK;
        }

        ngx_livestream_timeline_init(&ctx->timeline,
                                 s->conf.continued ? s->conf.timeline : 0);
    }

    codec = ctx->codecs[media];

    f = ngx_livestream_frame_create(codec, tag->size);
    if (f == NULL) {
        return NGX_ERROR;
    }

    broken = ngx_livestream_timeline_add(&ctx->timeline, media,
                                         codec->timescale, timestamp,
                                         tag->cts, tag->nano, samples,
                                         ngx_livestream_now(),
                                         &f->dts, &f->pts);

    f->track = media;
    f->flags = (key ? NGX_LIVESTREAM_FRAME_KEY : 0)
               | (broken ? NGX_LIVESTREAM_FRAME_DISCONTINUITY : 0);
    f->duration = samples;
    f->wall = ctx->timeline.wall;

    ngx_memcpy(f->data, tag->data, tag->size);

    if (!ngx_livestream_pipeline_push(s->pipeline, f)) {
        ctx->dropping = 0;

    } else if (!ctx->dropping) {
        ctx->dropping = 1;
        ngx_log_error(NGX_LOG_WARN, ctx->session->connection->log, 0,
                      "livestream: stream %V: frames are dropped, the disk "
                      "or the machine is too slow", &ctx->row.id);
    }

    ngx_livestream_frame_unref(f);

    return NGX_OK;
}


/*
 * Whether a frame is fit to be packaged, and the codec that it is of into
 * ctx->codecs.  NGX_DECLINED: it is left out.
 */

static ngx_int_t
ngx_livestream_ingest_check(ngx_livestream_ingest_ctx_t *ctx,
    ngx_livestream_media_e media, ngx_livestream_flv_t *tag, int *key,
    uint32_t *samples)
{
    int                      rc;
    const char              *reason;
    ngx_livestream_codec_t  *codec;

    codec = ctx->codecs[media];

    if (codec == NULL || codec->id != tag->codec) {

        /* nothing can be decoded before its configuration, which some codecs
         * have in their key frames */

        if (ngx_livestream_codec_parse_frame(tag->codec, tag->data, tag->size,
                                             &codec, &reason)
            != 0)
        {
            return NGX_DECLINED;
        }

        ngx_livestream_codec_unref(ctx->codecs[media]);
        ctx->codecs[media] = codec;
    }

    rc = ngx_livestream_codec_check(codec, tag->data, tag->size, key, samples,
                                    &reason);
    if (rc == -1) {
        return ngx_livestream_ingest_bad(ctx, media, reason);
    }

    if (rc == 1) {
        return NGX_DECLINED;
    }

    if (media == NGX_LIVESTREAM_AUDIO) {
        return NGX_OK;
    }

    if (*key) {
        if (ngx_livestream_codec_refine(codec, tag->data, tag->size, &codec,
                                        &reason)
            != 0)
        {
            return ngx_livestream_ingest_bad(ctx, media, reason);
        }

        ngx_livestream_codec_unref(ctx->codecs[media]);
        ctx->codecs[media] = codec;
    }

    return codec->width ? NGX_OK : NGX_DECLINED;
}


static ngx_int_t
ngx_livestream_ingest_bad(ngx_livestream_ingest_ctx_t *ctx,
    ngx_livestream_media_e media, const char *reason)
{
    ngx_log_error(NGX_LOG_ERR, ctx->session->connection->log, 0,
                  "livestream: stream %V: publisher disconnected, bad %s: %s",
                  &ctx->row.id, ngx_livestream_ingest_media[media], reason);

    return NGX_ERROR;
}

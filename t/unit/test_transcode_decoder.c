
/*
 * Copyright (C) nginx-livestream contributors
 *
 * Decoders: that they open for every codec, hold nothing back that need not
 * be, and say so when a picture is not whole.
 */


#include <errno.h>

#include <libavutil/hwcontext.h>

#include "ngx_livestream_transcode.h"
#include "transcode_clip.h"


#define SOURCE  "testsrc2=s=322x182:r=30000/1001,settb=1/90000"


typedef struct {
    ngx_livestream_codec_e   id;
    const char              *encoder;
    const char              *opts;
    const char              *chain;
    int                      threads;
    unsigned                 delay;             /* pictures held back */
    int                      format;
    const char              *name;
} kind_t;


static const kind_t  kinds[] = {
    { NGX_LIVESTREAM_CODEC_H264, "libx264", "preset=veryfast:bf=0:g=12",
      SOURCE ",format=yuv420p", 1, 0, AV_PIX_FMT_YUV420P, "H.264" },
    { NGX_LIVESTREAM_CODEC_H264, "libx264", "preset=veryfast:bf=2:g=12",
      SOURCE ",format=yuv420p", 1, 2, AV_PIX_FMT_YUV420P,
      "H.264 with B-frames" },
    { NGX_LIVESTREAM_CODEC_H264, "libx264", "preset=veryfast:bf=0:g=12",
      SOURCE ",format=yuv420p", 4, 3, AV_PIX_FMT_YUV420P,
      "H.264 in four threads" },
    { NGX_LIVESTREAM_CODEC_H264, "libx264",
      "preset=ultrafast:bf=0:flags=+ildct+ilme",
      "testsrc2=s=320x240:r=50,tinterlace=interleave_top,setfield=tff,"
      "settb=1/90000,format=yuv420p", 1, 0, AV_PIX_FMT_YUV420P,
      "interlaced H.264" },
    { NGX_LIVESTREAM_CODEC_H264, "libx264", "preset=ultrafast:bf=0",
      SOURCE ",format=yuv420p10", 1, 0, AV_PIX_FMT_YUV420P10,
      "H.264 of 10 bits" },
    { NGX_LIVESTREAM_CODEC_H264, "libx264", "preset=ultrafast:bf=0",
      SOURCE ",format=yuv422p", 1, 0, AV_PIX_FMT_YUV422P, "H.264 4:2:2" },
    { NGX_LIVESTREAM_CODEC_H264, "libx264", "preset=ultrafast:bf=0",
      SOURCE ",format=gray", 1, 0, AV_PIX_FMT_YUV420P, "gray H.264" },
    { NGX_LIVESTREAM_CODEC_HEVC, "libx265",
      "preset=ultrafast:bf=0:x265-params=log-level=none\\:pools=none",
      SOURCE ",format=yuv420p", 1, 0, AV_PIX_FMT_YUV420P, "HEVC" },
    { NGX_LIVESTREAM_CODEC_HEVC, "libx265",
      "preset=ultrafast:bf=0:x265-params=log-level=none\\:pools=none",
      SOURCE ",format=yuv420p10", 1, 0, AV_PIX_FMT_YUV420P10,
      "HEVC of 10 bits" },
    { NGX_LIVESTREAM_CODEC_VP9, "libvpx-vp9",
      "deadline=realtime:cpu-used=8:lag-in-frames=0:b=1000000",
      SOURCE ",format=yuv420p", 1, 0, AV_PIX_FMT_YUV420P, "VP9" },
    { NGX_LIVESTREAM_CODEC_AV1, "libaom-av1",
      "cpu-used=8:usage=realtime:lag-in-frames=0:b=1000000",
      SOURCE ",format=yuv420p", 1, 0, AV_PIX_FMT_YUV420P, "AV1" },
    { NGX_LIVESTREAM_CODEC_AV1, "libaom-av1",
      "cpu-used=8:usage=realtime:lag-in-frames=0:b=1000000",
      SOURCE ",format=yuv420p", 4, 0, AV_PIX_FMT_YUV420P,
      "AV1 in four threads" }
};


#ifdef __SANITIZE_ADDRESS__

/* x265 does not free all that it has for its own part */
const char *__lsan_default_suppressions(void);

const char *
__lsan_default_suppressions(void)
{
    return "leak:libx265";
}

#endif


static AVCodecContext *
open_decoder(const ngx_livestream_codec_t *codec, int threads)
{
    const char      *reason;
    AVCodecContext  *avctx;

    avctx = ngx_livestream_transcode_decoder_open(codec, NULL, threads,
                                                  &reason);
    if (avctx == NULL) {
        picture_die(reason);
    }

    return avctx;
}


/* 0, or what libavcodec said of the packet; NULL: no more of them */
static int
send(AVCodecContext *avctx, const ngx_livestream_frame_t *f)
{
    int        rc;
    AVPacket  *pkt;

    if (f == NULL) {
        return avcodec_send_packet(avctx, NULL);
    }

    pkt = av_packet_alloc();

    if (ngx_livestream_transcode_packet(pkt, f) != 0) {
        picture_die("no packet");
    }

    rc = avcodec_send_packet(avctx, pkt);
    av_packet_free(&pkt);

    return rc;
}


static void
decodes_badly(const kind_t *k)
{
    int              ordered, whole, interlaced;
    double           worst, psnr;
    clip_t           clip;
    int64_t          last;
    AVFrame         *f, *want;
    unsigned         i, n, behind;
    AVCodecContext  *avctx;

    clip_make(&clip, k->id, k->encoder, k->opts, k->chain, 24);
    avctx = open_decoder(clip.codec, k->threads);
    f = av_frame_alloc();
    n = behind = 0;
    ordered = whole = interlaced = 1;
    worst = 99;
    last = INT64_MIN;

    for (i = 0; i <= clip.n; i++) {
        whole &= send(avctx, i < clip.n ? clip.frames[i] : NULL) == 0;

        while (avcodec_receive_frame(avctx, f) == 0) {
            ordered &= f->pts > last;
            whole &= !ngx_livestream_transcode_damaged(f)
                     && f->format == k->format && f->width > 300;
            interlaced &= f->interlaced_frame;
            last = f->pts;

            if (n % 11 == 0) {
                want = picture_source(k->chain, n);
                psnr = picture_psnr(f, want, 0);
                worst = psnr < worst ? psnr : worst;
                av_frame_free(&want);
            }

            n++;
        }

        if (i < clip.n && i + 1 - n > behind) {
            behind = i + 1 - n;
        }
    }

    tap_ok(clip.n == 24 && n == 24 && whole, "%s: all pictures come out",
           k->name);
    tap_ok(ordered && last - clip.frames[0]->pts >= 23 * 3003,
           "%s: in order", k->name);
    tap_ok(behind <= k->delay, "%s: %u pictures are held back", k->name,
           behind);
    tap_is(interlaced, strstr(k->chain, "tinterlace") != NULL,
           "%s: interlaced or not", k->name);

    if (k->format == AV_PIX_FMT_YUV420P) {
        tap_ok(worst > 26, "%s: pictures are alike (PSNR %.1f)", k->name,
               worst);
    }

    av_frame_free(&f);
    avcodec_free_context(&avctx);
    clip_free(&clip);
}


static void
audio_is_silent(ngx_livestream_codec_e id, const char *encoder,
    const char *chain)
{
    double           sum;
    clip_t           clip;
    int64_t          samples, last;
    AVFrame         *f;
    unsigned         i;
    AVCodecContext  *avctx;

    clip_make(&clip, id, encoder, "b=128000", chain, 40);
    avctx = open_decoder(clip.codec, 1);
    f = av_frame_alloc();
    samples = 0;
    last = 0;
    sum = 0;

    for (i = 0; i < clip.n; i++) {
        if (send(avctx, clip.frames[i]) != 0) {
            break;
        }

        while (avcodec_receive_frame(avctx, f) == 0) {
            samples += f->nb_samples;
            last = f->pts;
            sum += (f->format == AV_SAMPLE_FMT_FLTP)
                   ? fabs(((float *) f->data[0])[f->nb_samples / 3])
                   : abs(((int16_t *) f->data[0])[f->nb_samples / 3]) / 32768.;
        }
    }

    tap_ok(i == clip.n && samples > 30 * 900 && sum > 0.5,
           "%s plays: %" PRId64 " samples", encoder, samples);
    tap_ok(last > 30 * 900 && avctx->sample_rate == 48000
           && avctx->ch_layout.nb_channels == 2,
           "%s: times are of its rate", encoder);

    av_frame_free(&f);
    avcodec_free_context(&avctx);
    clip_free(&clip);
}


/* as if the network had mixed it up from there on */
static void
corrupt(ngx_livestream_frame_t *f, size_t from)
{
    size_t  i;

    for (i = from; i < f->size; i++) {
        f->data[i] = (i * 2654435761u) >> 13;
    }
}


static void
corrupt_is_shown(const char *name, ngx_livestream_codec_e id,
    const char *encoder, const char *opts, size_t from)
{
    int              told, gops, shown, rc, key, bad;
    clip_t           clip;
    AVFrame         *f;
    unsigned         i;
    AVCodecContext  *avctx;

    /* a picture in each group is corrupt, in every third one the key frame */
    clip_make(&clip, id, encoder, opts, SOURCE ",format=yuv420p", 120);
    avctx = open_decoder(clip.codec, 1);
    f = av_frame_alloc();
    told = gops = shown = key = 0;

    for (i = 0; i < clip.n; i++) {
        bad = i % 12 == ((i / 12) % 3 == 2 ? 0 : 6);

        if (bad) {
            corrupt(clip.frames[i], from ? from : clip.frames[i]->size / 2);
            gops++;
        }

        rc = send(avctx, clip.frames[i]);

        while (avcodec_receive_frame(avctx, f) == 0) {
            rc = rc ? rc : ngx_livestream_transcode_damaged(f);
            key += i % 12 == 0 && rc == 0;
            shown += rc == 0;
        }

        told += bad && rc != 0;
    }

    tap_ok(clip.n == 120 && gops == 10, "%s: ten corrupt groups", name);
    tap_ok(told >= 9, "%s: %d of them are told of", name, told);
    tap_ok(key >= 7 && shown >= 60, "%s: goes on at the next key frame, "
           "%d pictures", name, shown);

    av_frame_free(&f);
    avcodec_free_context(&avctx);
    clip_free(&clip);
}


/* nothing that a decoder could begin with: as after a lost key frame */
static void
key_is_missing(const char *name, ngx_livestream_codec_e id,
    const char *encoder, const char *opts)
{
    int              early, later;
    clip_t           clip;
    AVFrame         *f;
    unsigned         i;
    AVCodecContext  *avctx;

    clip_make(&clip, id, encoder, opts, SOURCE ",format=yuv420p", 24);
    avctx = open_decoder(clip.codec, 1);
    f = av_frame_alloc();
    early = later = 0;

    for (i = 1; i < clip.n; i++) {
        (void) send(avctx, clip.frames[i]);

        while (avcodec_receive_frame(avctx, f) == 0) {
            early += i < 12 && !ngx_livestream_transcode_damaged(f);
            later += i >= 12 && !ngx_livestream_transcode_damaged(f);
        }
    }

    tap_is(early, 0, "%s: nothing is shown before the first key frame", name);
    tap_is(later, 12, "%s: and all since", name);

    av_frame_free(&f);
    avcodec_free_context(&avctx);
    clip_free(&clip);
}


static void
packet_is_short(void)
{
    clip_t                   clip;
    AVPacket                *pkt;
    unsigned                 i, sum;
    ngx_livestream_frame_t  *f;

    clip_make(&clip, NGX_LIVESTREAM_CODEC_H264, "libx264",
              "preset=ultrafast:bf=0", SOURCE ",format=yuv420p", 2);
    pkt = av_packet_alloc();
    f = clip.frames[0];
    f->pts = 7000;
    f->dts = 4000;
    f->duration = 3000;

    tap_is(ngx_livestream_transcode_packet(pkt, f), 0, "a packet");
    tap_ok((size_t) pkt->size == f->size
           && memcmp(pkt->data, f->data, f->size) == 0, "its bytes");
    tap_ok(pkt->pts == 7000 && pkt->dts == 4000 && pkt->duration == 3000
           && (pkt->flags & AV_PKT_FLAG_KEY), "its times and its key flag");

    for (sum = i = 0; i < AV_INPUT_BUFFER_PADDING_SIZE; i++) {
        sum += pkt->data[pkt->size + i];
    }

    tap_is(sum, 0, "padded, for those that read too far");

    tap_is(ngx_livestream_transcode_packet(pkt, clip.frames[1]), 0,
           "the same packet again");
    tap_ok(!(pkt->flags & AV_PKT_FLAG_KEY), "which is no key frame now");

    f->size = (size_t) INT_MAX + 1;
    tap_is(ngx_livestream_transcode_packet(pkt, f), EINVAL,
           "a frame of 2 GiB is refused");

    av_packet_free(&pkt);
    clip_free(&clip);
}


static void
device_refuses(void)
{
    clip_t                     clip;
    const char                *reason;
    AVBufferRef               *device;
    AVCodecContext            *avctx;
    const enum AVPixelFormat   some[] = {
        AV_PIX_FMT_VAAPI, AV_PIX_FMT_CUDA, AV_PIX_FMT_YUV420P,
        AV_PIX_FMT_NONE
    };
    const enum AVPixelFormat   again[] = {
        AV_PIX_FMT_VAAPI, AV_PIX_FMT_YUV420P, AV_PIX_FMT_NONE
    };

    clip_make(&clip, NGX_LIVESTREAM_CODEC_H264, "libx264",
              "preset=ultrafast:bf=0", SOURCE ",format=yuv420p", 1);
    device = av_hwdevice_ctx_alloc(AV_HWDEVICE_TYPE_CUDA);

    avctx = ngx_livestream_transcode_decoder_open(clip.codec, device, 8,
                                                  &reason);
    tap_ok(avctx != NULL, "opens for a device");
    tap_is(avctx->thread_count, 1, "which needs no threads");
    tap_is(avctx->get_format(avctx, some), AV_PIX_FMT_CUDA,
           "pictures stay on the device");
    tap_is(avctx->get_format(avctx, again), AV_PIX_FMT_YUV420P,
           "or are in memory when it has refused");
    tap_is(avctx->get_format(avctx, again + 2), AV_PIX_FMT_NONE,
           "or cannot be had");

    avcodec_free_context(&avctx);
    av_buffer_unref(&device);
    clip_free(&clip);
}


static int
refused(const ngx_livestream_codec_t *codec)
{
    const char  *reason;

    reason = "";

    return ngx_livestream_transcode_decoder_open(codec, NULL, 1, &reason)
           == NULL && reason[0] != '\0';
}


static void
config_is_strange(void)
{
    clip_t                   clip;
    const char              *reason;
    ngx_livestream_codec_t  *codec;
    AVCodecContext          *avctx;

    clip_make(&clip, NGX_LIVESTREAM_CODEC_H264, "libx264",
              "preset=ultrafast:bf=0", SOURCE ",format=yuv420p", 1);
    codec = calloc(1, sizeof(*codec) + clip.codec->config_len);
    memcpy(codec, clip.codec, sizeof(*codec) + clip.codec->config_len);

    codec->id = NGX_LIVESTREAM_CODEC_FLAC + 1;
    tap_ok(refused(codec), "an unknown codec is refused");

    codec->id = NGX_LIVESTREAM_CODEC_NONE;
    tap_ok(refused(codec), "no codec is refused");

    codec->id = NGX_LIVESTREAM_CODEC_OPUS;
    codec->media = NGX_LIVESTREAM_AUDIO;
    tap_ok(refused(codec), "avcC is no OpusHead");

    codec->id = NGX_LIVESTREAM_CODEC_H264;
    codec->media = NGX_LIVESTREAM_VIDEO;
    codec->config_len = NGX_LIVESTREAM_CONFIG_MAX + 1;
    tap_ok(refused(codec), "too long a configuration is refused");

    codec->config_len = 0;
    avctx = ngx_livestream_transcode_decoder_open(codec, NULL, 1000, &reason);
    tap_ok(avctx != NULL && avctx->thread_count <= 16
           && avctx->max_pixels < 64 * 1024 * 1024,
           "threads and sizes are bounded");
    avcodec_free_context(&avctx);

    free(codec);
    clip_free(&clip);
}


int
main(void)
{
    unsigned  i;

    av_log_set_level(AV_LOG_QUIET);

    for (i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        decodes_badly(&kinds[i]);
    }

    audio_is_silent(NGX_LIVESTREAM_CODEC_AAC, "aac",
                    "sine=r=48000,aformat=sample_fmts=fltp"
                    ":channel_layouts=stereo");
    audio_is_silent(NGX_LIVESTREAM_CODEC_OPUS, "libopus",
                    "sine=r=48000,aformat=sample_fmts=flt"
                    ":channel_layouts=stereo");
    audio_is_silent(NGX_LIVESTREAM_CODEC_FLAC, "flac",
                    "sine=r=48000,aformat=sample_fmts=s16"
                    ":channel_layouts=stereo");

    corrupt_is_shown("H.264", NGX_LIVESTREAM_CODEC_H264, "libx264",
                     "preset=veryfast:bf=0:g=12:sc_threshold=0:crf=18", 0);
    /* what is wrong within a slice of HEVC nobody can tell */
    corrupt_is_shown("HEVC", NGX_LIVESTREAM_CODEC_HEVC, "libx265",
                     "preset=ultrafast:g=12:forced-idr=1:x265-params="
                     "log-level=none\\:pools=none\\:bframes=0\\:scenecut=0"
                     "\\:open-gop=0\\:keyint=12\\:min-keyint=12\\:crf=18", 6);

    key_is_missing("H.264", NGX_LIVESTREAM_CODEC_H264, "libx264",
                   "preset=veryfast:bf=0:g=12:sc_threshold=0");
    key_is_missing("VP9", NGX_LIVESTREAM_CODEC_VP9, "libvpx-vp9",
                   "deadline=realtime:cpu-used=8:lag-in-frames=0:b=1000000"
                   ":g=12:keyint_min=12");

    packet_is_short();
    device_refuses();
    config_is_strange();

    return tap_done();
}

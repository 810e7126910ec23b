
/*
 * Copyright (C) nginx-livestream contributors
 *
 * Tests of the encoders: what they write is decoded again.
 */


#define _GNU_SOURCE

#include <dlfcn.h>
#include <errno.h>
#include <malloc.h>
#include <math.h>

#include <libavformat/avformat.h>
#include <libavutil/hwcontext.h>
#include <libavutil/log.h>
#include <libavutil/mem.h>

#include "ngx_livestream_transcode_encoder.h"
#include "transcode_encoder.h"


#define PICTURES   90
#define TICKS      3000
#define START      INT64_C(8100000000)      /* a day into the stream */
#define DELAY      6000
#define WALL       INT64_C(1700000000000000)


static const ngx_livestream_codec_e  codecs[] = {
    NGX_LIVESTREAM_CODEC_H264,
    NGX_LIVESTREAM_CODEC_HEVC,
    NGX_LIVESTREAM_CODEC_VP9
};

#define ncodecs  (sizeof(codecs) / sizeof(codecs[0]))


/* IDRs that the stage asks for, and flags that it wants in the frames */

static const struct {
    unsigned                 n;
    unsigned                 flags;
} idrs[] = {
    { 30, 0 },
    { 47, NGX_LIVESTREAM_FRAME_NO_CUT },
    { 60, NGX_LIVESTREAM_FRAME_DISCONTINUITY },
    { 61, 0 }
};


static ngx_livestream_transcode_stamp_t
stamp_of(unsigned n)
{
    unsigned                          i;
    ngx_livestream_transcode_stamp_t  stamp;

    memset(&stamp, 0, sizeof(stamp));

    stamp.pts = START + n * TICKS;
    stamp.dts = stamp.pts - DELAY;
    stamp.wall = WALL + n;

    for (i = 0; i < sizeof(idrs) / sizeof(idrs[0]); i++) {
        if (idrs[i].n == n) {
            stamp.idr = 1;
            stamp.flags = idrs[i].flags;
        }
    }

    return stamp;
}


/* libavformat's own record, in the header of an mp4 */

static int
same_record(const ngx_livestream_codec_t *codec, const AVCodecContext *avctx,
    const char *box)
{
    int               size, same;
    uint8_t          *mp4, *p;
    AVStream         *st;
    AVDictionary     *options;
    AVFormatContext  *oc;

    oc = NULL;
    options = NULL;
    av_dict_set(&options, "movflags", "empty_moov", 0);

    if (avformat_alloc_output_context2(&oc, NULL, "mp4", NULL) < 0
        || avio_open_dyn_buf(&oc->pb) < 0)
    {
        abort();
    }

    st = avformat_new_stream(oc, NULL);

    if (st == NULL
        || avcodec_parameters_from_context(st->codecpar, avctx) < 0)
    {
        abort();
    }

    st->codecpar->codec_tag = avctx->codec_id == AV_CODEC_ID_HEVC
                              ? MKTAG('h', 'v', 'c', '1')
                              : MKTAG('a', 'v', 'c', '1');

    if (avformat_write_header(oc, &options) < 0) {
        abort();
    }

    size = avio_close_dyn_buf(oc->pb, &mp4);
    p = memmem(mp4, size, box, 4);
    same = 0;

    if (p && (size_t) (mp4 + size - p) >= 4 + codec->config_len) {
        p += 4;

        /* segmentation and parallelism, which ours does not tell */

        if (codec->id == NGX_LIVESTREAM_CODEC_HEVC) {
            memcpy(p + 13, codec->config + 13, 3);
        }

        same = memcmp(p, codec->config, codec->config_len) == 0;
    }

    av_free(mp4);
    av_dict_free(&options);
    avformat_free_context(oc);

    return same;
}


static void
test_codec(const ngx_livestream_codec_t *c, const char *name)
{
    char  want[64];

    tap_ok(c->width == 640 && c->height == 360, "%s: size", name);

    if (c->id == NGX_LIVESTREAM_CODEC_VP9) {
        tap_str(c->codecs, "vp09.00.30.08", "%s: codecs", name);
        tap_ok(c->config[7] == 1 && c->config[8] == 1 && c->config[9] == 1,
               "%s: colours", name);
        return;
    }

    if (c->id == NGX_LIVESTREAM_CODEC_H264) {
        (void) snprintf(want, sizeof(want), "avc1.%02x%02x%02x", c->config[9],
                        c->config[10], c->config[11]);

    } else {
        (void) snprintf(want, sizeof(want), "hvc1.1.6.L%u.90", c->config[12]);
    }

    tap_str(c->codecs, want, "%s: codecs are those of the SPS", name);
    tap_ok(c->level == (c->id == NGX_LIVESTREAM_CODEC_H264 ? 30 : 63),
           "%s: level %u", name, c->level);
    tap_ok(c->sar_num == 1 && c->sar_den == 1, "%s: pixels are square", name);
    tap_is(c->transfer, AVCOL_TRC_BT709, "%s: colours", name);
    tap_is(c->nal_length, 4, "%s: lengths of four bytes", name);
}


static double
psnr(const AVFrame *a, const AVFrame *b)
{
    int     x, y, d;
    double  sum;

    sum = 0;

    for (y = 0; y < a->height; y++) {
        for (x = 0; x < a->width; x++) {
            d = a->data[0][y * a->linesize[0] + x]
                - b->data[0][y * b->linesize[0] + x];
            sum += d * d;
        }
    }

    return sum ? 10 * log10(255.0 * 255 * a->width * a->height / sum) : 99;
}


static AVCodecContext *
decoder(const ngx_livestream_codec_t *c)
{
    AVCodecContext   *avctx;
    static const int  ids[] = {
        [NGX_LIVESTREAM_CODEC_H264] = AV_CODEC_ID_H264,
        [NGX_LIVESTREAM_CODEC_HEVC] = AV_CODEC_ID_HEVC,
        [NGX_LIVESTREAM_CODEC_VP9] = AV_CODEC_ID_VP9
    };

    avctx = avcodec_alloc_context3(avcodec_find_decoder(ids[c->id]));

    if (avctx == NULL) {
        abort();
    }

    avctx->thread_count = 1;

    if (c->id != NGX_LIVESTREAM_CODEC_VP9) {
        avctx->extradata = av_mallocz(c->config_len
                                      + AV_INPUT_BUFFER_PADDING_SIZE);
        avctx->extradata_size = c->config_len;
        memcpy(avctx->extradata, c->config, c->config_len);
    }

    if (avcodec_open2(avctx, NULL, NULL) < 0) {
        abort();
    }

    return avctx;
}


static void
test_decoded(track_t *t, const char *name)
{
    double           db, worst;
    unsigned         i, pictures, keys, bidirectional;
    AVFrame         *pic;
    AVPacket        *pkt;
    AVCodecContext  *avctx;

    avctx = decoder(t->frames[0]->codec);
    pic = av_frame_alloc();
    pkt = av_packet_alloc();

    pictures = 0;
    keys = 0;
    bidirectional = 0;
    worst = 99;

    for (i = 0; i < t->n; i++) {
        if (av_new_packet(pkt, t->frames[i]->size) < 0) {
            abort();
        }

        memcpy(pkt->data, t->frames[i]->data, t->frames[i]->size);
        pkt->pts = t->frames[i]->pts;
        pkt->dts = t->frames[i]->dts;

        if (avcodec_send_packet(avctx, pkt) < 0) {
            tap_ok(0, "%s: frame %u is decoded", name, i);
        }

        av_packet_unref(pkt);

        /* each picture comes out before the next goes in */

        while (avcodec_receive_frame(avctx, pic) == 0) {
            texture_draw(t->pic, pictures);
            db = psnr(pic, t->pic);
            worst = db < worst ? db : worst;

            pictures += pic->pts == t->frames[i]->pts;
            keys += !!pic->key_frame
                    == !!(t->frames[i]->flags & NGX_LIVESTREAM_FRAME_KEY);
            bidirectional += pic->pict_type == AV_PICTURE_TYPE_B;

            av_frame_unref(pic);
        }
    }

    tap_is(pictures, t->n, "%s: each is decoded at once", name);
    tap_is(keys, t->n, "%s: key frames are those of the decoder", name);
    tap_is(bidirectional, 0, "%s: no B-frame", name);
    tap_is(avctx->has_b_frames, 0, "%s: none is announced", name);
    tap_ok(worst > 26, "%s: the worst picture has %.1f dB", name, worst);

    av_packet_free(&pkt);
    av_frame_free(&pic);
    avcodec_free_context(&avctx);
}


static void
test_frames(const track_t *t, const char *name)
{
    unsigned                          i, keys, same;
    ngx_livestream_frame_t           *f;
    ngx_livestream_transcode_stamp_t  stamp;

    keys = 0;
    same = 0;

    for (i = 0; i < t->n; i++) {
        f = t->frames[i];
        stamp = stamp_of(i);

        if (stamp.idr || i == 0) {
            stamp.flags |= NGX_LIVESTREAM_FRAME_KEY;
        }

        keys += f->flags == stamp.flags;
        same += f->pts == stamp.pts && f->dts == stamp.dts
                && f->wall == stamp.wall && f->track == TRACK
                && f->duration == 0 && f->codec == t->frames[0]->codec;
    }

    tap_is(keys, PICTURES, "%s: IDRs and flags are where they were asked for",
           name);
    tap_is(same, PICTURES, "%s: times are those of the pictures", name);
}


static void
test_round(ngx_livestream_codec_e codec)
{
    double                            rate;
    track_t                           t;
    unsigned                          i, failed;
    const char                       *name;
    ngx_livestream_transcode_stamp_t  stamp;

    track_conf(&t, codec, 640, 360, 1200000);

    name = ngx_livestream_codec_name(codec);

    if (!tap_ok(track_open(&t), "%s: opens", name)) {
        track_free(&t);
        return;
    }

    failed = 0;

    for (i = 0; i < PICTURES; i++) {
        stamp = stamp_of(i);
        failed += track_put(&t, i, &stamp) != 0;
    }

    failed += ngx_livestream_transcode_encode(t.e, NULL, NULL, track_emit, &t)
              != 0;

    tap_is(failed, 0, "%s: takes all pictures", name);
    tap_is(t.late, 0, "%s: each is out before the next", name);
    tap_is(t.n, PICTURES, "%s: nothing is left at the end", name);

    if (t.n == PICTURES) {
        test_frames(&t, name);
        test_codec(t.frames[0]->codec, name);
        test_decoded(&t, name);

        rate = track_bitrate(&t, START, START + PICTURES * TICKS)
               / t.conf.bitrate;
        tap_ok(rate > 0.9 && rate < 1.1, "%s: %.3f of the bitrate", name,
               rate);
    }

    if (codec != NGX_LIVESTREAM_CODEC_VP9) {
        tap_ok(same_record(t.frames[0]->codec, t.e->avctx,
                           codec == NGX_LIVESTREAM_CODEC_H264 ? "avcC"
                                                              : "hvcC"),
               "%s: the record is as libavformat's", name);
    }

    track_free(&t);
}


/*
 * Settings.
 */

static const char  *presets[] = {
    "", "ultrafast", "superfast", "veryfast", "faster", "fast", "medium",
    "slow", "slower", "veryslow", "placebo"
};


/* no preset brings B-frames or look-ahead back */

static void
test_presets(ngx_livestream_codec_e codec)
{
    track_t                           t;
    unsigned                          i, n, bad;
    ngx_livestream_transcode_stamp_t  stamp;

    bad = 0;

    for (i = 0; i < sizeof(presets) / sizeof(presets[0]); i++) {
        track_conf(&t, codec, 128, 72, 100000);
        t.conf.preset = presets[i];

        if (!track_open(&t)) {
            bad++;
            track_free(&t);
            continue;
        }

        for (n = 0; n < 8; n++) {
            memset(&stamp, 0, sizeof(stamp));
            stamp.pts = n * TICKS;

            bad += track_put(&t, n, &stamp) != 0;
        }

        if (t.late || t.n != 8
            || t.frames[7]->flags & NGX_LIVESTREAM_FRAME_KEY)
        {
            printf("# %s: %u late\n", presets[i], t.late);
            bad++;
        }

        track_free(&t);
    }

    tap_is(bad, 0, "%s: each preset puts out each picture at once",
           ngx_livestream_codec_name(codec));
}


static void
test_threads(ngx_livestream_codec_e codec)
{
    track_t                           t;
    unsigned                          i, failed;
    ngx_livestream_transcode_stamp_t  stamp;

    track_conf(&t, codec, 1280, 720, 2800000);
    t.conf.threads = 4;

    failed = !track_open(&t);

    for (i = 0; i < 12 && !failed; i++) {
        memset(&stamp, 0, sizeof(stamp));
        stamp.pts = i * TICKS;
        stamp.idr = i == 6;

        failed += track_put(&t, i, &stamp) != 0;
    }

    tap_ok(!failed && t.late == 0 && t.n == 12
           && t.frames[6]->flags == NGX_LIVESTREAM_FRAME_KEY,
           "%s: four threads put out each picture at once",
           ngx_livestream_codec_name(codec));

    track_free(&t);
}


/* the library's clock goes on whatever the pictures' does */

static void
test_clocks(ngx_livestream_codec_e codec)
{
    track_t                           t;
    unsigned                          i, bad;
    ngx_livestream_transcode_stamp_t  stamp;

    static const int64_t  pts[] = {
        0, 3000, 3000, 3000, 1000, -5000, INT64_C(1) << 40, 6000, INT64_MAX,
        INT64_MIN, INT64_MAX, 0, 3000
    };

    track_conf(&t, codec, 128, 72, 100000);

    bad = !track_open(&t);

    for (i = 0; i < sizeof(pts) / sizeof(pts[0]) && !bad; i++) {
        memset(&stamp, 0, sizeof(stamp));
        stamp.pts = pts[i];
        stamp.idr = i == 11;

        bad += track_put(&t, i, &stamp) != 0 || t.late
               || t.frames[i]->pts != pts[i];
    }

    tap_is(bad, 0, "%s: timestamps that stand still, run back and leap",
           ngx_livestream_codec_name(codec));

    track_free(&t);
}


/*
 * Failures.
 */

static void
refused(track_t *t, const char *want, const char *what)
{
    t->e = ngx_livestream_transcode_encoder_open(&t->conf, t->pic,
                                                 &t->reason);

    tap_ok(t->e == NULL && strstr(t->reason, want), "%s: %s", what,
           t->e ? "opens" : t->reason);

    track_free(t);
}


static void
test_refused(void)
{
    track_t  t;

    track_conf(&t, NGX_LIVESTREAM_CODEC_AV1, 640, 360, 800000);
    refused(&t, "no encoder", "a codec that is not for rungs");

    track_conf(&t, NGX_LIVESTREAM_CODEC_H264, 640, 360, 800000);
    t.conf.preset = "swift";
    refused(&t, "video_preset", "a preset that is none");

    track_conf(&t, NGX_LIVESTREAM_CODEC_VP9, 640, 360, 800000);
    t.conf.preset = "veryveryveryveryfast";
    refused(&t, "video_preset", "a preset longer than any");

    track_conf(&t, NGX_LIVESTREAM_CODEC_H264, 640, 360, 0);
    refused(&t, "bitrate", "no bitrate");

    track_conf(&t, NGX_LIVESTREAM_CODEC_H264, 640, 360, UINT32_MAX);
    refused(&t, "bitrate", "an absurd bitrate");

    track_conf(&t, NGX_LIVESTREAM_CODEC_H264, 640, 360, 800000);
    t.conf.width = 641;
    refused(&t, "size", "an odd size");

    track_conf(&t, NGX_LIVESTREAM_CODEC_H264, 640, 360, 800000);
    t.conf.height = 0;
    refused(&t, "size", "no size");

    track_conf(&t, NGX_LIVESTREAM_CODEC_H264, 640, 360, 800000);
    t.conf.height = 480;
    refused(&t, "picture", "a picture of another size");

    track_conf(&t, NGX_LIVESTREAM_CODEC_H264, 640, 360, 800000);
    t.pic->format = AV_PIX_FMT_YUV422P;
    refused(&t, "picture", "a picture of another format");

    track_conf(&t, NGX_LIVESTREAM_CODEC_HEVC, 8, 8, 800000);
    refused(&t, "libx265", "less than the library takes");

    tap_str(ngx_livestream_transcode_encoder_lacks(NGX_LIVESTREAM_CODEC_H264,
                                                   0), NULL, "H.264 is there");
    tap_str(ngx_livestream_transcode_encoder_lacks(NGX_LIVESTREAM_CODEC_HEVC,
                                                   0), NULL, "HEVC is there");
    tap_str(ngx_livestream_transcode_encoder_lacks(NGX_LIVESTREAM_CODEC_VP9,
                                                   0), NULL, "VP9 is there");
    tap_ok(ngx_livestream_transcode_encoder_lacks(NGX_LIVESTREAM_CODEC_VP9, 1)
           != NULL, "GPUs have no VP9");
    tap_ok(ngx_livestream_transcode_encoder_lacks(NGX_LIVESTREAM_CODEC_AV1, 0)
           != NULL, "AV1 is not for rungs");
}


static void
test_encode_refused(void)
{
    AVFrame                          *pic;
    track_t                           t;
    ngx_livestream_transcode_stamp_t  stamp;

    track_conf(&t, NGX_LIVESTREAM_CODEC_H264, 640, 360, 800000);
    tap_ok(track_open(&t), "opens");
    tap_str(ngx_livestream_transcode_encoder_name(t.e), "libx264",
            "tells its name");

    memset(&stamp, 0, sizeof(stamp));

    pic = av_frame_clone(t.pic);
    pic->height = 180;
    tap_is(ngx_livestream_transcode_encode(t.e, pic, &stamp, track_emit, &t),
           EINVAL, "a picture of another size is refused");
    av_frame_free(&pic);

    t.error = ESTALE;
    tap_is(track_put(&t, 0, &stamp), ESTALE, "an error of emit is handed on");

    t.error = 0;
    stamp.pts = TICKS;
    tap_is(track_put(&t, 1, &stamp), 0, "and is no end");
    tap_is(t.frames[0]->pts, TICKS, "the frame is that of its picture");

    tap_is(ngx_livestream_transcode_encode(t.e, NULL, NULL, track_emit, &t),
           0, "flushed");
    stamp.pts = 2 * TICKS;
    tap_ok(track_put(&t, 2, &stamp) != 0, "nothing is taken after that");

    track_free(&t);
}


/* a context of device pictures that no device stands behind */

static void
test_no_driver(void)
{
    void               *driver;
    track_t             t;
    AVBufferRef        *device, *frames;
    AVHWFramesContext  *ctx;

    driver = dlopen("libcuda.so.1", RTLD_LAZY);

    if (driver) {
        (void) dlclose(driver);
        tap_ok(1, "no driver # SKIP there is one");
        return;
    }

    device = av_hwdevice_ctx_alloc(AV_HWDEVICE_TYPE_CUDA);

    if (device == NULL) {
        tap_ok(1, "no driver # SKIP libavutil knows no CUDA");
        return;
    }

    frames = av_hwframe_ctx_alloc(device);

    if (frames == NULL) {
        abort();
    }

    ctx = (AVHWFramesContext *) frames->data;
    ctx->format = AV_PIX_FMT_CUDA;
    ctx->sw_format = AV_PIX_FMT_NV12;
    ctx->width = 640;
    ctx->height = 360;

    track_conf(&t, NGX_LIVESTREAM_CODEC_H264, 640, 360, 800000);
    t.conf.frames = frames;
    refused(&t, "picture", "a picture in memory for a device");

    track_conf(&t, NGX_LIVESTREAM_CODEC_H264, 640, 360, 800000);
    t.conf.frames = frames;
    t.pic->format = AV_PIX_FMT_CUDA;
    refused(&t, "NVENC", "no driver");

    track_conf(&t, NGX_LIVESTREAM_CODEC_VP9, 640, 360, 800000);
    t.conf.frames = frames;
    refused(&t, "no encoder", "VP9 on a device");

    tap_is(av_buffer_get_ref_count(frames), 1, "no reference is left");

    av_buffer_unref(&frames);
    av_buffer_unref(&device);
}


/* whatever cannot be allocated: it opens, or says why not */

static void
test_no_memory(ngx_livestream_codec_e codec)
{
    size_t                            max;
    track_t                           t;
    unsigned                          opened, said;
    ngx_livestream_transcode_stamp_t  stamp;

    opened = 0;
    said = 0;

    memset(&stamp, 0, sizeof(stamp));

    for (max = 64; max <= 1024 * 1024; max *= 2) {
        track_conf(&t, codec, 128, 72, 100000);

        av_max_alloc(max);
        t.e = ngx_livestream_transcode_encoder_open(&t.conf, t.pic,
                                                    &t.reason);

        if (t.e) {
            opened++;
            (void) ngx_livestream_transcode_encode(t.e, t.pic, &stamp,
                                                   track_emit, &t);
        } else {
            said += t.reason && t.reason[0];
        }

        track_free(&t);
        av_max_alloc(INT_MAX);
    }

    tap_ok(opened && said && opened + said == 15,
           "%s: out of memory %u times of 15",
           ngx_livestream_codec_name(codec), said);
}


static void
test_growth(ngx_livestream_codec_e codec)
{
    size_t                            before;
    int64_t                           grown, limit;
    track_t                           t;
    unsigned                          i, n, failed;
    ngx_livestream_transcode_stamp_t  stamp;

    failed = 0;
    before = 0;

    for (i = 0; i < 50; i++) {
        if (i == 10) {
            before = mallinfo2().uordblks;
        }

        track_conf(&t, codec, 256, 144, 200000);
        failed += !track_open(&t);

        for (n = 0; n < 3 && !failed; n++) {
            memset(&stamp, 0, sizeof(stamp));
            stamp.pts = n * TICKS;
            failed += track_put(&t, n, &stamp) != 0;
        }

        track_free(&t);
    }

    grown = (int64_t) mallinfo2().uordblks - (int64_t) before;

    /* libx265 3.5 loses its copy of the parameters each time */

    limit = codec == NGX_LIVESTREAM_CODEC_HEVC ? 40 * 8192 : 16384;

    tap_ok(!failed && grown < limit, "%s: 40 more times leave %d bytes",
           ngx_livestream_codec_name(codec), (int) grown);
}


int
main(void)
{
    unsigned  i;

    av_log_set_level(AV_LOG_QUIET);
    texture_make();

    for (i = 0; i < ncodecs; i++) {
        test_round(codecs[i]);

        test_presets(codecs[i]);
        test_threads(codecs[i]);
        test_clocks(codecs[i]);
        test_no_memory(codecs[i]);
        test_growth(codecs[i]);
    }

    test_refused();
    test_encode_refused();
    test_no_driver();

    return tap_done();
}

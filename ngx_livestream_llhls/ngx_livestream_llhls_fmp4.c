
/*
 * Copyright (C) nginx-livestream contributors
 *
 * CMAF bytes.
 *
 *   init-N.mp4     ftyp moov[ mvhd trak[ ... ] mvex[ trex ] ]
 *
 *   part           moof[ mfhd traf[ tfhd tfdt trun ] ] mdat[ samples ]
 *                  |<----------- written here ----------->|
 *
 * The sample entries (avcC, hvcC, av1C, vpcC, esds, dOps, dfLa) are
 * libavformat's: its mov muxer writes the header of an empty fragmented file
 * into memory, and is then let go.
 *
 * A fragment has one run of one track.  What all of its samples have in common
 * is said once in tfhd, so that a sample of audio takes four bytes:
 *
 *     trun entry     [duration] size [flags] [composition offset]
 *
 * Offsets are signed (trun version 1) and there are no edit lists: tfdt is the
 * dts, and a picture is shown at dts + offset.
 *
 * Pure C; called in pipeline threads, and by tests.
 */


#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include <libavcodec/avcodec.h>
#include <libavformat/avformat.h>

#include "ngx_livestream_llhls_fmp4.h"


#define NGX_LIVESTREAM_FMP4_MFHD_SIZE  16
#define NGX_LIVESTREAM_FMP4_TFHD_SIZE  20
#define NGX_LIVESTREAM_FMP4_TFDT_SIZE  20
#define NGX_LIVESTREAM_FMP4_TRUN_SIZE  20
#define NGX_LIVESTREAM_FMP4_BOX_SIZE   8
#define NGX_LIVESTREAM_FMP4_VPCC_SIZE  12

#define NGX_LIVESTREAM_FMP4_VERSION_1  (1 << 24)

/* tfhd */
#define NGX_LIVESTREAM_FMP4_DEFAULT_DURATION  0x000008
#define NGX_LIVESTREAM_FMP4_DEFAULT_FLAGS     0x000020
#define NGX_LIVESTREAM_FMP4_BASE_IS_MOOF      0x020000

/* trun */
#define NGX_LIVESTREAM_FMP4_DATA_OFFSET       0x000001
#define NGX_LIVESTREAM_FMP4_FIRST_FLAGS       0x000004
#define NGX_LIVESTREAM_FMP4_DURATION          0x000100
#define NGX_LIVESTREAM_FMP4_SIZE              0x000200
#define NGX_LIVESTREAM_FMP4_FLAGS             0x000400
#define NGX_LIVESTREAM_FMP4_CTS               0x000800

/* a sample: depends on no other; depends on others and is no sync sample */
#define NGX_LIVESTREAM_FMP4_SYNC              0x02000000
#define NGX_LIVESTREAM_FMP4_NON_SYNC          0x01010000


typedef struct {
    enum AVCodecID           id;
    char                     tag[5];    /* "": the muxer's own choice */
} ngx_livestream_fmp4_codec_t;


/* How a run of samples is written. */
typedef struct {
    uint32_t                 tfhd;      /* flags */
    uint32_t                 trun;      /* flags */
    uint32_t                 flags;     /* of a sample that has none */
    size_t                   moof;      /* bytes */
} ngx_livestream_fmp4_layout_t;


static void ngx_livestream_fmp4_quiet(void);
static int ngx_livestream_fmp4_stream(AVStream *st,
    const ngx_livestream_codec_t *codec);
static void ngx_livestream_fmp4_color(AVCodecParameters *par,
    const ngx_livestream_codec_t *codec);
static enum AVPixelFormat ngx_livestream_fmp4_format(
    const ngx_livestream_codec_t *codec);
static int ngx_livestream_fmp4_header(AVFormatContext *oc,
    const ngx_livestream_codec_t *codec, uint8_t **data, size_t *len);
static uint8_t *ngx_livestream_fmp4_entries(uint8_t *p,
    const ngx_livestream_fmp4_layout_t *l, ngx_livestream_media_e media,
    const ngx_livestream_fmp4_sample_t *samples, unsigned nsamples);
static void ngx_livestream_fmp4_layout(ngx_livestream_fmp4_layout_t *l,
    ngx_livestream_media_e media, const ngx_livestream_fmp4_sample_t *samples,
    unsigned nsamples);
static uint32_t ngx_livestream_fmp4_flags(ngx_livestream_media_e media,
    const ngx_livestream_fmp4_sample_t *sample);
static uint8_t *ngx_livestream_fmp4_box(uint8_t *p, uint32_t size,
    const char *type);
static uint8_t *ngx_livestream_fmp4_32(uint8_t *p, uint32_t value);


static const ngx_livestream_fmp4_codec_t  ngx_livestream_fmp4_codecs[] = {
    [NGX_LIVESTREAM_CODEC_NONE] = { AV_CODEC_ID_NONE, "" },
    [NGX_LIVESTREAM_CODEC_H264] = { AV_CODEC_ID_H264, "avc1" },
    [NGX_LIVESTREAM_CODEC_HEVC] = { AV_CODEC_ID_HEVC, "hvc1" },
    [NGX_LIVESTREAM_CODEC_AV1]  = { AV_CODEC_ID_AV1, "av01" },
    [NGX_LIVESTREAM_CODEC_VP9]  = { AV_CODEC_ID_VP9, "vp09" },
    [NGX_LIVESTREAM_CODEC_AAC]  = { AV_CODEC_ID_AAC, "mp4a" },
    [NGX_LIVESTREAM_CODEC_OPUS] = { AV_CODEC_ID_OPUS, "Opus" },
    [NGX_LIVESTREAM_CODEC_FLAC] = { AV_CODEC_ID_FLAC, "fLaC" }
};

static pthread_once_t  ngx_livestream_fmp4_once = PTHREAD_ONCE_INIT;


int
ngx_livestream_fmp4_init(const ngx_livestream_codec_t *codec, uint8_t **data,
    size_t *len, const char **reason)
{
    int               rc;
    AVStream         *st;
    AVFormatContext  *oc;

    (void) pthread_once(&ngx_livestream_fmp4_once, ngx_livestream_fmp4_quiet);

    *data = NULL;
    *len = 0;

    if (avformat_alloc_output_context2(&oc, NULL, "mp4", NULL) < 0) {
        *reason = "libavformat has no mp4 muxer, or no memory";
        return -1;
    }

    st = avformat_new_stream(oc, NULL);

    if (st == NULL || ngx_livestream_fmp4_stream(st, codec) == -1) {
        *reason = "no memory, or no codec that mp4 carries";
        avformat_free_context(oc);
        return -1;
    }

    rc = ngx_livestream_fmp4_header(oc, codec, data, len);

    avformat_free_context(oc);

    if (rc == -1) {
        *reason = "libavformat refused the codec's configuration";
    }

    return rc;
}


/*
 * The library writes to the process's standard error, which is the error log,
 * from whichever thread: the caller's reason says what there is to say.
 */

static void
ngx_livestream_fmp4_quiet(void)
{
    av_log_set_level(AV_LOG_QUIET);
}


static int
ngx_livestream_fmp4_stream(AVStream *st, const ngx_livestream_codec_t *codec)
{
    AVCodecParameters                  *par;
    const ngx_livestream_fmp4_codec_t  *c;

    if ((unsigned) codec->id > NGX_LIVESTREAM_CODEC_FLAC) {
        return -1;
    }

    c = &ngx_livestream_fmp4_codecs[codec->id];

    if (c->id == AV_CODEC_ID_NONE) {
        return -1;
    }

    par = st->codecpar;

    par->codec_id = c->id;
    par->codec_tag = MKTAG(c->tag[0], c->tag[1], c->tag[2], c->tag[3]);

    st->time_base = (AVRational) { 1, codec->timescale };

    if (codec->media == NGX_LIVESTREAM_VIDEO) {
        par->codec_type = AVMEDIA_TYPE_VIDEO;
        par->width = codec->width;
        par->height = codec->height;
        par->profile = codec->profile;
        par->level = codec->level;

        if (codec->sar_num && codec->sar_den) {
            par->sample_aspect_ratio = (AVRational) { codec->sar_num,
                                                      codec->sar_den };
            st->sample_aspect_ratio = par->sample_aspect_ratio;
        }

        ngx_livestream_fmp4_color(par, codec);

    } else {
        par->codec_type = AVMEDIA_TYPE_AUDIO;
        /* the muxer takes a track's timescale from here */
        par->sample_rate = codec->timescale;
        par->frame_size = codec->frame_samples;
        par->bits_per_raw_sample = codec->bit_depth ? codec->bit_depth : 16;

        av_channel_layout_default(&par->ch_layout, codec->channels);
    }

    if (codec->config_len == 0) {
        return 0;
    }

    par->extradata = av_mallocz(codec->config_len
                                + AV_INPUT_BUFFER_PADDING_SIZE);
    if (par->extradata == NULL) {
        return -1;
    }

    memcpy(par->extradata, codec->config, codec->config_len);
    par->extradata_size = codec->config_len;

    return 0;
}


/*
 * The muxer copies every other configuration as it is, but makes vpcC itself:
 *
 *     version and flags 32, profile 8, level 8, bit depth 4, chroma 3,
 *     full range 1, primaries 8, transfer 8, matrix 8, length 16
 */

static void
ngx_livestream_fmp4_color(AVCodecParameters *par,
    const ngx_livestream_codec_t *codec)
{
    const uint8_t  *vpcc;

    if (codec->id != NGX_LIVESTREAM_CODEC_VP9
        || codec->config_len < NGX_LIVESTREAM_FMP4_VPCC_SIZE)
    {
        return;
    }

    vpcc = codec->config;

    par->format = ngx_livestream_fmp4_format(codec);

    /* 4:2:0 has two values: between the lines of luma, or on them */
    par->chroma_location = (vpcc[6] & 0x0e) ? AVCHROMA_LOC_TOPLEFT
                                            : AVCHROMA_LOC_LEFT;
    par->color_range = (vpcc[6] & 0x01) ? AVCOL_RANGE_JPEG : AVCOL_RANGE_MPEG;
    par->color_primaries = vpcc[7];
    par->color_trc = vpcc[8];
    par->color_space = vpcc[9];
}


static enum AVPixelFormat
ngx_livestream_fmp4_format(const ngx_livestream_codec_t *codec)
{
    unsigned  depth, chroma;

    static const enum AVPixelFormat  formats[3][3] = {
        { AV_PIX_FMT_YUV420P, AV_PIX_FMT_YUV420P10, AV_PIX_FMT_YUV420P12 },
        { AV_PIX_FMT_YUV422P, AV_PIX_FMT_YUV422P10, AV_PIX_FMT_YUV422P12 },
        { AV_PIX_FMT_YUV444P, AV_PIX_FMT_YUV444P10, AV_PIX_FMT_YUV444P12 }
    };

    depth = codec->bit_depth == 12 ? 2 : codec->bit_depth == 10 ? 1 : 0;
    chroma = codec->chroma == 3 ? 2 : codec->chroma == 2 ? 1 : 0;

    return formats[chroma][depth];
}


/*
 * Nothing of the library's version or of the time goes in (bitexact): the same
 * codec has the same bytes.
 */

static int
ngx_livestream_fmp4_header(AVFormatContext *oc,
    const ngx_livestream_codec_t *codec, uint8_t **data, size_t *len)
{
    int            rc, size;
    uint8_t       *buf;
    AVDictionary  *options;

    options = NULL;

    av_dict_set(&options, "movflags",
                "+cmaf+empty_moov+default_base_moof+frag_custom", 0);
    av_dict_set(&options, "brand", "iso6", 0);
    av_dict_set(&options, "use_editlist", "0", 0);

    if (codec->media == NGX_LIVESTREAM_VIDEO) {
        av_dict_set_int(&options, "video_track_timescale", codec->timescale,
                        0);
    }

    oc->flags |= AVFMT_FLAG_BITEXACT;
    oc->strict_std_compliance = FF_COMPLIANCE_EXPERIMENTAL;

    if (avio_open_dyn_buf(&oc->pb) < 0) {
        av_dict_free(&options);
        return -1;
    }

    rc = avformat_write_header(oc, &options);

    av_dict_free(&options);

    size = avio_close_dyn_buf(oc->pb, &buf);
    oc->pb = NULL;

    if (rc >= 0 && size > 0) {
        *data = malloc(size);

        if (*data) {
            memcpy(*data, buf, size);
            *len = size;
        }
    }

    av_free(buf);

    return *data ? 0 : -1;
}


size_t
ngx_livestream_fmp4_get_size(ngx_livestream_media_e media,
    const ngx_livestream_fmp4_sample_t *samples, unsigned nsamples)
{
    ngx_livestream_fmp4_layout_t  l;

    ngx_livestream_fmp4_layout(&l, media, samples, nsamples);

    return l.moof + NGX_LIVESTREAM_FMP4_BOX_SIZE;
}


size_t
ngx_livestream_fmp4_write(uint8_t *p, uint32_t sequence, int64_t dts,
    ngx_livestream_media_e media, const ngx_livestream_fmp4_sample_t *samples,
    unsigned nsamples)
{
    uint8_t                       *start;
    uint32_t                       size;
    unsigned                       i;
    ngx_livestream_fmp4_layout_t   l;

    ngx_livestream_fmp4_layout(&l, media, samples, nsamples);

    start = p;

    p = ngx_livestream_fmp4_box(p, l.moof, "moof");

    p = ngx_livestream_fmp4_box(p, NGX_LIVESTREAM_FMP4_MFHD_SIZE, "mfhd");
    p = ngx_livestream_fmp4_32(p, 0);
    p = ngx_livestream_fmp4_32(p, sequence);

    p = ngx_livestream_fmp4_box(p, start + l.moof - p, "traf");

    size = NGX_LIVESTREAM_FMP4_TFHD_SIZE;

    if (l.tfhd & NGX_LIVESTREAM_FMP4_DEFAULT_DURATION) {
        size += 4;
    }

    p = ngx_livestream_fmp4_box(p, size, "tfhd");
    p = ngx_livestream_fmp4_32(p, l.tfhd);
    p = ngx_livestream_fmp4_32(p, 1);

    if (l.tfhd & NGX_LIVESTREAM_FMP4_DEFAULT_DURATION) {
        p = ngx_livestream_fmp4_32(p, samples[0].duration);
    }

    p = ngx_livestream_fmp4_32(p, l.flags);

    p = ngx_livestream_fmp4_box(p, NGX_LIVESTREAM_FMP4_TFDT_SIZE, "tfdt");
    p = ngx_livestream_fmp4_32(p, NGX_LIVESTREAM_FMP4_VERSION_1);
    p = ngx_livestream_fmp4_32(p, (uint64_t) dts >> 32);
    p = ngx_livestream_fmp4_32(p, (uint64_t) dts & 0xffffffff);

    p = ngx_livestream_fmp4_box(p, start + l.moof - p, "trun");
    p = ngx_livestream_fmp4_32(p, NGX_LIVESTREAM_FMP4_VERSION_1|l.trun);
    p = ngx_livestream_fmp4_32(p, nsamples);
    p = ngx_livestream_fmp4_32(p, l.moof + NGX_LIVESTREAM_FMP4_BOX_SIZE);

    p = ngx_livestream_fmp4_entries(p, &l, media, samples, nsamples);

    size = NGX_LIVESTREAM_FMP4_BOX_SIZE;

    for (i = 0; i < nsamples; i++) {
        size += samples[i].size;
    }

    p = ngx_livestream_fmp4_box(p, size, "mdat");

    return p - start;
}


static uint8_t *
ngx_livestream_fmp4_entries(uint8_t *p, const ngx_livestream_fmp4_layout_t *l,
    ngx_livestream_media_e media, const ngx_livestream_fmp4_sample_t *samples,
    unsigned nsamples)
{
    uint32_t  flags;
    unsigned  i;

    for (i = 0; i < nsamples; i++) {

        flags = ngx_livestream_fmp4_flags(media, &samples[i]);

        if (i == 0 && (l->trun & NGX_LIVESTREAM_FMP4_FIRST_FLAGS)) {
            p = ngx_livestream_fmp4_32(p, flags);
        }

        if (l->trun & NGX_LIVESTREAM_FMP4_DURATION) {
            p = ngx_livestream_fmp4_32(p, samples[i].duration);
        }

        p = ngx_livestream_fmp4_32(p, samples[i].size);

        if (l->trun & NGX_LIVESTREAM_FMP4_FLAGS) {
            p = ngx_livestream_fmp4_32(p, flags);
        }

        if (l->trun & NGX_LIVESTREAM_FMP4_CTS) {
            p = ngx_livestream_fmp4_32(p, samples[i].cts);
        }
    }

    return p;
}


/*
 * A key frame is nearly always the first sample or none: one word for the
 * first and one for all others do then.
 */

static void
ngx_livestream_fmp4_layout(ngx_livestream_fmp4_layout_t *l,
    ngx_livestream_media_e media, const ngx_livestream_fmp4_sample_t *samples,
    unsigned nsamples)
{
    size_t    entry;
    uint32_t  flags;
    unsigned  i;

    l->tfhd = NGX_LIVESTREAM_FMP4_BASE_IS_MOOF
              |NGX_LIVESTREAM_FMP4_DEFAULT_FLAGS
              |NGX_LIVESTREAM_FMP4_DEFAULT_DURATION;
    l->trun = NGX_LIVESTREAM_FMP4_DATA_OFFSET|NGX_LIVESTREAM_FMP4_SIZE;

    l->flags = ngx_livestream_fmp4_flags(media,
                                         &samples[nsamples > 1 ? 1 : 0]);

    for (i = 0; i < nsamples; i++) {

        if (samples[i].duration != samples[0].duration) {
            l->tfhd &= ~NGX_LIVESTREAM_FMP4_DEFAULT_DURATION;
            l->trun |= NGX_LIVESTREAM_FMP4_DURATION;
        }

        if (samples[i].cts) {
            l->trun |= NGX_LIVESTREAM_FMP4_CTS;
        }

        flags = ngx_livestream_fmp4_flags(media, &samples[i]);

        if (flags != l->flags) {
            l->trun |= i ? NGX_LIVESTREAM_FMP4_FLAGS
                         : NGX_LIVESTREAM_FMP4_FIRST_FLAGS;
        }
    }

    if (l->trun & NGX_LIVESTREAM_FMP4_FLAGS) {
        l->trun &= ~NGX_LIVESTREAM_FMP4_FIRST_FLAGS;
    }

    entry = 4;
    entry += (l->trun & NGX_LIVESTREAM_FMP4_DURATION) ? 4 : 0;
    entry += (l->trun & NGX_LIVESTREAM_FMP4_FLAGS) ? 4 : 0;
    entry += (l->trun & NGX_LIVESTREAM_FMP4_CTS) ? 4 : 0;

    l->moof = NGX_LIVESTREAM_FMP4_BOX_SIZE
              + NGX_LIVESTREAM_FMP4_MFHD_SIZE
              + NGX_LIVESTREAM_FMP4_BOX_SIZE
              + NGX_LIVESTREAM_FMP4_TFHD_SIZE
              + ((l->tfhd & NGX_LIVESTREAM_FMP4_DEFAULT_DURATION) ? 4 : 0)
              + NGX_LIVESTREAM_FMP4_TFDT_SIZE
              + NGX_LIVESTREAM_FMP4_TRUN_SIZE
              + ((l->trun & NGX_LIVESTREAM_FMP4_FIRST_FLAGS) ? 4 : 0)
              + nsamples * entry;
}


static uint32_t
ngx_livestream_fmp4_flags(ngx_livestream_media_e media,
    const ngx_livestream_fmp4_sample_t *sample)
{
    if (media == NGX_LIVESTREAM_AUDIO || sample->key) {
        return NGX_LIVESTREAM_FMP4_SYNC;
    }

    return NGX_LIVESTREAM_FMP4_NON_SYNC;
}


static uint8_t *
ngx_livestream_fmp4_box(uint8_t *p, uint32_t size, const char *type)
{
    p = ngx_livestream_fmp4_32(p, size);
    memcpy(p, type, 4);

    return p + 4;
}


static uint8_t *
ngx_livestream_fmp4_32(uint8_t *p, uint32_t value)
{
    p[0] = value >> 24;
    p[1] = value >> 16;
    p[2] = value >> 8;
    p[3] = value;

    return p + 4;
}

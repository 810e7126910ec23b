
/*
 * Copyright (C) nginx-livestream contributors
 *
 * The ladder: what the rooms of the transcoder have of one another.
 *
 *   frames --> stage --> decoder --> filter --> scaler --> rung, rung, rung
 *                 \                                         |     |     |
 *                  \--> audio                            encoder ... encoder
 *                  |     |                                  |     |     |
 *                  +<----+<-------- frames of new tracks ---+-----+-----+
 *                  |
 *                  +--> the next stage
 *
 *   room         thread
 *   stage        the stream's pipeline thread; so does audio
 *   video        one a transcoded stream: decoder, filter and scaler
 *   rung         one a rung: its encoder
 *   thumbnail    one a worker
 *
 * All but the pipeline thread are niced.  No nginx type; ngx_..._module.c is
 * the one file of the event loop.
 *
 * Pictures are AVFrames.  Their pts are ticks of 90000 on the stream's
 * timeline.  Unless a comment says otherwise, functions that return int return
 * 0 or an errno.
 */


#ifndef _NGX_LIVESTREAM_TRANSCODE_H_INCLUDED_
#define _NGX_LIVESTREAM_TRANSCODE_H_INCLUDED_


#include <libavcodec/avcodec.h>
#include <libavutil/frame.h>

#include "ngx_livestream_pipeline.h"


#define NGX_LIVESTREAM_TRANSCODE_RUNGS  12
#define NGX_LIVESTREAM_TRANSCODE_TRACK  2       /* of the first rung */
#define NGX_LIVESTREAM_TRANSCODE_CLOCK  90000


typedef enum {
    NGX_LIVESTREAM_TRANSCODE_GPU_OFF = 0,
    NGX_LIVESTREAM_TRANSCODE_GPU_AUTO,
    NGX_LIVESTREAM_TRANSCODE_GPU_ON
} ngx_livestream_transcode_gpu_e;


/* a rung as configured: a box that its picture fits into */
typedef struct {
    char                     name[16];
    uint32_t                 width;
    uint32_t                 height;
    uint32_t                 bitrate;           /* bit/s */
} ngx_livestream_transcode_rung_conf_t;


/* Of a stream; made by the module in the stream's pool, immutable while the
 * pipeline is there; what stage_conf[] of the pipeline's conf points to. */
typedef struct {
    uint32_t                 enabled;           /* 0: thumbnails only */
    ngx_livestream_transcode_gpu_e  gpu;
    ngx_livestream_codec_e   codec;             /* H264, HEVC, VP9 */
    ngx_livestream_codec_e   audio_codec;       /* AAC, OPUS */
    uint32_t                 audio_bitrate;     /* bit/s */
    int64_t                  keyframe_interval; /* us */
    char                     preset[16];        /* of libx264 and libx265 */
    uint32_t                 nrungs;            /* from the highest to the
                                                   lowest; rung i is track
                                                   NGX_LIVESTREAM_TRANSCODE
                                                   _TRACK + i */
    ngx_livestream_transcode_rung_conf_t  rungs[
                                               NGX_LIVESTREAM_TRANSCODE_RUNGS];
} ngx_livestream_transcode_conf_t;


/*
 * Ladder: which rungs a source gets; pure.
 */

/* A picture as it is to be shown: after rotation, before its pixels are made
 * square. */
typedef struct {
    uint32_t                 width;
    uint32_t                 height;
    uint32_t                 sar_num;           /* 0: square */
    uint32_t                 sar_den;
} ngx_livestream_transcode_source_t;


typedef struct {
    uint32_t                 rung;              /* index into conf->rungs */
    uint32_t                 width;             /* even, square pixels */
    uint32_t                 height;
    uint32_t                 bitrate;
    uint32_t                 rate;              /* frames per 1000 s at most;
                                                   0: as many as there are */
} ngx_livestream_transcode_output_t;


/* Writes the rungs for a source, highest first, and returns their number, at
 * least 1 if there are rungs: a source below all of them gets the lowest one
 * at its own size.  0: the source's size makes no sense. */
unsigned ngx_livestream_transcode_ladder(
    const ngx_livestream_transcode_conf_t *conf,
    const ngx_livestream_transcode_source_t *source,
    ngx_livestream_transcode_output_t *outputs);

/* what a picture says of itself */
void ngx_livestream_transcode_source(const AVFrame *pic,
    ngx_livestream_transcode_source_t *source);

/* Frames per 1000 s of a rung, where the source has so many. */
uint32_t ngx_livestream_transcode_rate(
    const ngx_livestream_transcode_output_t *output, uint32_t rate);


/*
 * Filter: makes any decoded picture plain: progressive, upright, 8 bit 4:2:0
 * of limited range (AV_PIX_FMT_YUV420P), BT.709 SDR where it was HDR.  Plain
 * ones go through as they are; a libavfilter graph is made for others only.
 * Size and sample aspect ratio are kept (rotation swaps them; an odd row or
 * column may be cut off where samples are converted).  Colours that are not
 * tagged get the tags that players assume for the source's size, which would
 * be others for a smaller rung.
 */

typedef struct ngx_livestream_transcode_filter_s
    ngx_livestream_transcode_filter_t;

ngx_livestream_transcode_filter_t *ngx_livestream_transcode_filter_create(
    void);
void ngx_livestream_transcode_filter_destroy(
    ngx_livestream_transcode_filter_t *fl);

/* moves the picture into the filter; NULL: there will be no more before a
 * break */
int ngx_livestream_transcode_filter_put(ngx_livestream_transcode_filter_t *fl,
    AVFrame *in);
/* 0 and a picture in *out, which is blank before; EAGAIN: none yet */
int ngx_livestream_transcode_filter_get(ngx_livestream_transcode_filter_t *fl,
    AVFrame *out);
/* whether the picture is more than plain, so that its source is not to be
 * passed through beside the rungs: rotated, interlaced, HDR, not 8 bit 4:2:0,
 * or with pixels that are not square */
int ngx_livestream_transcode_filter_alters(const AVFrame *in);


/*
 * Scaler: a plain picture into those of the rungs, each from the next larger
 * one that is made.
 */

typedef struct ngx_livestream_transcode_scaler_s
    ngx_livestream_transcode_scaler_t;

/* outputs are copied.  NULL: out of memory */
ngx_livestream_transcode_scaler_t *ngx_livestream_transcode_scaler_create(
    const ngx_livestream_transcode_output_t *outputs, unsigned n);
void ngx_livestream_transcode_scaler_destroy(
    ngx_livestream_transcode_scaler_t *sc);

/* For each bit of wanted a picture in out[], which the caller frees with
 * av_frame_free(); the others are NULL.  Properties of in (pts, colours) are
 * copied; pixels are square.  A picture of the rung's own size is a reference
 * to in. */
int ngx_livestream_transcode_scale(ngx_livestream_transcode_scaler_t *sc,
    const AVFrame *in, uint32_t wanted, AVFrame **out);


/*
 * Encoder: pictures of one rung into frames.  Puts out each picture before it
 * takes the next: no B-frames, no look-ahead.
 */

typedef struct ngx_livestream_transcode_encoder_s
    ngx_livestream_transcode_encoder_t;


typedef struct {
    ngx_livestream_codec_e   codec;
    const char              *preset;
    uint32_t                 track;
    uint32_t                 width;
    uint32_t                 height;
    uint32_t                 bitrate;           /* bit/s */
    uint32_t                 rate;              /* nominal, per 1000 s */
    uint32_t                 threads;           /* that it may use */
    AVBufferRef             *frames;            /* of pictures on a device, for
                                                   its own encoder; borrowed;
                                                   or NULL */
} ngx_livestream_transcode_encoder_conf_t;


/* what becomes of a picture's frame */
typedef struct {
    int64_t                  pts;               /* the picture's */
    int64_t                  dts;
    int64_t                  wall;
    uint32_t                 idr;               /* make it one */
    uint32_t                 flags;             /* NGX_LIVESTREAM_FRAME_* to
                                                   set besides KEY */
} ngx_livestream_transcode_stamp_t;


/* Takes its own reference if it wants to keep f.  Non-zero ends encode() with
 * that. */
typedef int (*ngx_livestream_transcode_emit_pt)(void *data,
    ngx_livestream_frame_t *f);

/* NULL: *reason is a static text.  The colours of the first picture are those
 * of the stream: it is needed to open. */
ngx_livestream_transcode_encoder_t *ngx_livestream_transcode_encoder_open(
    const ngx_livestream_transcode_encoder_conf_t *conf, const AVFrame *first,
    const char **reason);
void ngx_livestream_transcode_encoder_close(
    ngx_livestream_transcode_encoder_t *e);

/* pic is borrowed; NULL: puts out what is left, after which it can only be
 * closed */
int ngx_livestream_transcode_encode(ngx_livestream_transcode_encoder_t *e,
    const AVFrame *pic, const ngx_livestream_transcode_stamp_t *stamp,
    ngx_livestream_transcode_emit_pt emit, void *data);

/* the library's, such as "libx264", for the log */
const char *ngx_livestream_transcode_encoder_name(
    ngx_livestream_transcode_encoder_t *e);

/* NULL, or why this build cannot encode it; device: on a GPU.  Any thread. */
const char *ngx_livestream_transcode_encoder_lacks(
    ngx_livestream_codec_e codec, int device);


/* Annex B into length-prefixed NAL units, and parameter sets into a
 * configuration record; pure. */

/* Bytes that it takes; parameter sets and delimiters are left out.  0: there
 * is no picture in it. */
size_t ngx_livestream_transcode_nals_get_size(ngx_livestream_codec_e codec,
    const uint8_t *data, size_t len);
uint8_t *ngx_livestream_transcode_nals_write(uint8_t *p,
    ngx_livestream_codec_e codec, const uint8_t *data, size_t len);

/* avcC or hvcC of an encoder's Annex B extradata; malloc()ed */
int ngx_livestream_transcode_record(const AVCodecContext *avctx,
    uint8_t **data, size_t *len);


/*
 * Audio: source audio into one track for all rungs; pipeline thread.
 */

typedef struct ngx_livestream_transcode_audio_s
    ngx_livestream_transcode_audio_t;

/* rate is what the publisher's metadata said, bit/s, or 0.  NULL: out of
 * memory. */
ngx_livestream_transcode_audio_t *ngx_livestream_transcode_audio_create(
    const ngx_livestream_transcode_conf_t *conf, uint32_t rate);
void ngx_livestream_transcode_audio_destroy(
    ngx_livestream_transcode_audio_t *a);

/* A frame of the source's audio; emits frames of track 1, passed through where
 * the source is of the wanted codec and not above its bitrate (which may be
 * waited for: some frames are held back then).  A frame that cannot be decoded
 * is left out and counted.  f NULL: what is left. */
int ngx_livestream_transcode_audio(ngx_livestream_transcode_audio_t *a,
    ngx_livestream_frame_t *f, ngx_livestream_transcode_emit_pt emit,
    void *data);

/* what is done, for the log: "aac passed through", "opus to aac 128 kbit/s" */
void ngx_livestream_transcode_audio_describe(
    ngx_livestream_transcode_audio_t *a, char *text, size_t size);
uint64_t ngx_livestream_transcode_audio_errors(
    ngx_livestream_transcode_audio_t *a);


/*
 * Thumbnails: a key frame into ROOT/ID/BROADCAST/thumbnail.jpg, in a thread
 * that all streams of a worker share.
 */

/* event loop: when a worker starts and before it exits; 0 or an errno */
int ngx_livestream_transcode_thumbnails_start(void);
void ngx_livestream_transcode_thumbnails_stop(void);

/* Any thread.  Takes what it needs of conf and its own reference on f.  Left
 * out when the queue is full. */
void ngx_livestream_transcode_thumbnail(
    const ngx_livestream_pipeline_conf_t *conf, ngx_livestream_frame_t *f);

/* The errno of the last one that could not be made (EILSEQ: its picture cannot
 * be decoded) since this was asked, or 0.  Any thread. */
int ngx_livestream_transcode_thumbnails_error(void);


/* Decoder of a codec, opened: for video, audio and thumbnails.  With one
 * thread each picture comes out as soon as its order allows; with more of them
 * they work by frames, where the codec's decoder can, and each delays by one
 * more picture.  device may be NULL; a device that refuses the stream leaves
 * it to memory, but for AV1, which then fails to decode. */
AVCodecContext *ngx_livestream_transcode_decoder_open(
    const ngx_livestream_codec_t *codec, AVBufferRef *device, int threads,
    const char **reason);
/* a packet of the frame's bytes, which are copied; its pts and dts */
int ngx_livestream_transcode_packet(AVPacket *pkt,
    const ngx_livestream_frame_t *f);
/* whether parts of a decoded picture are missing: it is not to be shown */
int ngx_livestream_transcode_damaged(const AVFrame *pic);


extern const ngx_livestream_stage_t  ngx_livestream_transcode_stage;


/* What the stage tells the event loop. */
typedef enum {
    NGX_LIVESTREAM_TRANSCODE_INFO = 0,          /* what runs where */
    NGX_LIVESTREAM_TRANSCODE_WARN,
    NGX_LIVESTREAM_TRANSCODE_QUALITY            /* quality_changed */
} ngx_livestream_transcode_message_e;


typedef struct {
    ngx_livestream_message_t  message;          /* must be first */
    ngx_livestream_transcode_message_e  type;
    char                     text[256];
} ngx_livestream_transcode_message_t;


/* by the module; event loop */
void ngx_livestream_transcode_message(void *data,
    ngx_livestream_message_t *msg);


#endif /* _NGX_LIVESTREAM_TRANSCODE_H_INCLUDED_ */

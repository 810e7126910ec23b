
/*
 * Copyright (C) nginx-livestream contributors
 *
 * Codec parameters: what one track's decoder needs, parsed once from the
 * configuration record that the publisher sends.
 *
 * Pure C, no nginx type: may be called from any thread, is unit-tested and
 * fuzzed alone.  A ngx_livestream_codec_t is immutable once parsed and is
 * reference-counted with atomic operations, so the event loop and pipeline
 * threads share one object.
 */


#ifndef _NGX_LIVESTREAM_CODEC_H_INCLUDED_
#define _NGX_LIVESTREAM_CODEC_H_INCLUDED_


#include <stddef.h>
#include <stdint.h>


#define NGX_LIVESTREAM_CODECS_LEN   64      /* RFC 6381 string and its NUL */
#define NGX_LIVESTREAM_CONFIG_MAX   65536   /* bytes of a configuration */


typedef enum {
    NGX_LIVESTREAM_CODEC_NONE = 0,
    NGX_LIVESTREAM_CODEC_H264,
    NGX_LIVESTREAM_CODEC_HEVC,
    NGX_LIVESTREAM_CODEC_AV1,
    NGX_LIVESTREAM_CODEC_VP9,
    NGX_LIVESTREAM_CODEC_AAC,
    NGX_LIVESTREAM_CODEC_OPUS,
    NGX_LIVESTREAM_CODEC_FLAC
} ngx_livestream_codec_e;


typedef enum {
    NGX_LIVESTREAM_VIDEO = 0,
    NGX_LIVESTREAM_AUDIO
} ngx_livestream_media_e;


typedef struct {
    uint32_t                 refs;
    ngx_livestream_codec_e   id;
    ngx_livestream_media_e   media;

    /* ticks per second of the frames' dts and pts: 90000 for video,
     * sample_rate for audio, so that a tick of audio is a sample as played:
     * an HE-AAC frame of a 24000 Hz core is 2048 ticks of 48000 */
    uint32_t                 timescale;

    uint32_t                 width;         /* displayed, after cropping; 0
                                               until refined, see below */
    uint32_t                 height;
    uint32_t                 sar_num;       /* 0 when not signalled */
    uint32_t                 sar_den;
    uint32_t                 profile;       /* as the codec numbers them */
    uint32_t                 level;
    uint32_t                 bit_depth;
    uint32_t                 chroma;        /* chroma_format_idc: 1 4:2:0 */
    uint32_t                 transfer;      /* transfer_characteristics: 16
                                               PQ, 18 HLG, 2 not signalled */
    uint32_t                 nal_length;    /* bytes before a NAL, or 0 */

    uint32_t                 sample_rate;   /* as played, SBR included */
    uint32_t                 channels;
    uint32_t                 frame_samples; /* ticks a frame, 0: varies */

    char                     codecs[NGX_LIVESTREAM_CODECS_LEN];
    uint64_t                 hash;          /* of id, config and size */

    /* avcC, hvcC, av1C, vpcC (with its version and flags: 12 bytes),
     * AudioSpecificConfig, OpusHead or STREAMINFO (34 bytes) */
    size_t                   config_len;
    uint8_t                  config[];
} ngx_livestream_codec_t;


/*
 * Parses a configuration record.  On success *codec has one reference, which
 * the caller owns.  On error returns -1, *codec is NULL and *reason (never
 * NULL) is a static text for the log.
 */
int ngx_livestream_codec_parse(ngx_livestream_codec_e id, const uint8_t *conf,
    size_t len, ngx_livestream_codec_t **codec, const char **reason);

/*
 * Codecs without a configuration in their first message (VP9, whose vpcC may
 * be missing, and AV1) may be parsed from a key frame instead; same results.
 */
int ngx_livestream_codec_parse_frame(ngx_livestream_codec_e id,
    const uint8_t *frame, size_t len, ngx_livestream_codec_t **codec,
    const char **reason);

/*
 * VP9's vpcC never tells the picture's size, av1C need not, and both codecs
 * may change it at a key frame without a new configuration.  Takes a key frame
 * that passed the check below, and gives the parameters that hold from it on:
 * c itself where nothing is new (always for other codecs), with one more
 * reference, which the caller owns.  On error as parse.
 *
 * To be called for each key frame of video; a codec whose width is 0 must not
 * reach a muxer before.
 */
int ngx_livestream_codec_refine(ngx_livestream_codec_t *c,
    const uint8_t *frame, size_t len, ngx_livestream_codec_t **codec,
    const char **reason);

ngx_livestream_codec_t *ngx_livestream_codec_ref(ngx_livestream_codec_t *c);
/* NULL is fine */
void ngx_livestream_codec_unref(ngx_livestream_codec_t *c);

/* "h264", "hevc", "av1", "vp9", "aac", "opus", "flac" */
const char *ngx_livestream_codec_name(ngx_livestream_codec_e id);

/*
 * Walks one access unit.  Returns -1 with *reason set if it is not what the
 * codec's framing allows (NAL lengths that run past the end and so on); 1 if
 * it is well formed but has no picture (parameter sets or SEI alone): it is to
 * be dropped, a muxer has no use for it; else 0.  Then *key says whether
 * decoding can start here (an IDR or IRAP picture, an AV1 sequence header with
 * a key frame, a VP9 key frame; always 1 for audio), *samples is the duration
 * in ticks of an audio frame, 0 for video.
 */
int ngx_livestream_codec_check(const ngx_livestream_codec_t *c,
    const uint8_t *data, size_t len, int *key, uint32_t *samples,
    const char **reason);


#endif /* _NGX_LIVESTREAM_CODEC_H_INCLUDED_ */

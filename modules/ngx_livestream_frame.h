
/*
 * Copyright (C) nginx-livestream contributors
 *
 * A frame: one access unit on its way from ingest to the packager, with 64-bit
 * timestamps on the stream's own continuous timeline.  Immutable once it is
 * handed on; reference-counted with atomic operations.
 * Pure C, no nginx type, any thread.
 */


#ifndef _NGX_LIVESTREAM_FRAME_H_INCLUDED_
#define _NGX_LIVESTREAM_FRAME_H_INCLUDED_


#include "ngx_livestream_codec.h"


#define NGX_LIVESTREAM_FRAME_KEY            0x01    /* decoding can start */
#define NGX_LIVESTREAM_FRAME_DISCONTINUITY  0x02    /* timeline was broken
                                                       before this frame */
#define NGX_LIVESTREAM_FRAME_NO_CUT         0x04    /* a key frame at which
                                                       another track has none:
                                                       segments should not
                                                       begin here */


typedef struct {
    uint32_t                 refs;
    uint32_t                 track;     /* 0 source video, 1 source audio;
                                           others belong to encoders */
    uint32_t                 flags;
    uint32_t                 duration;  /* ticks; 0: until the next frame */
    int64_t                  dts;       /* ticks of codec->timescale, on the
                                           stream's timeline, which starts
                                           near 0 at the first frame */
    int64_t                  pts;
    int64_t                  wall;      /* us since 1970: when dts 0 of the
                                           timeline was, by this frame's
                                           continuity; PROGRAM-DATE-TIME of a
                                           frame is wall + dts */
    ngx_livestream_codec_t  *codec;     /* the frame holds a reference */
    size_t                   size;
    uint8_t                  data[];
} ngx_livestream_frame_t;


/* Allocates with malloc(); one reference; takes its own one on codec.  NULL
 * when out of memory. */
ngx_livestream_frame_t *ngx_livestream_frame_create(
    ngx_livestream_codec_t *codec, size_t size);
ngx_livestream_frame_t *ngx_livestream_frame_ref(ngx_livestream_frame_t *f);
void ngx_livestream_frame_unref(ngx_livestream_frame_t *f);

/* ticks of timescale <-> microseconds, rounded to nearest; no overflow for
 * any timeline shorter than 100 years */
int64_t ngx_livestream_ticks_to_us(int64_t ticks, uint32_t timescale);
int64_t ngx_livestream_us_to_ticks(int64_t us, uint32_t timescale);


#endif /* _NGX_LIVESTREAM_FRAME_H_INCLUDED_ */


/*
 * Copyright (C) nginx-livestream contributors
 *
 * The timeline: puts RTMP's 32-bit millisecond timestamps, which wrap, jump,
 * run backwards and differ between audio and video, on one continuous 64-bit
 * timeline a stream.
 *
 *     RTMP ts (32 bit) --unwrap--> 64-bit ms --+ offset--> timeline ticks
 *
 * Both tracks share one offset, so their distance (lip sync) is kept.  A step
 * that no encoder would make (see NGX_LIVESTREAM_TIMELINE_JUMP) ends a
 * continuity: the offset is chosen anew so that the timeline goes on right
 * behind its end, and the next frame of each track is told to be a
 * discontinuity.  Audio is counted in samples while it stays within
 * NGX_LIVESTREAM_TIMELINE_SLACK of its timestamps, which takes out their
 * rounding to milliseconds.
 *
 * Pure C, no nginx type, no allocation; one thread at a time.
 */


#ifndef _NGX_LIVESTREAM_TIMELINE_H_INCLUDED_
#define _NGX_LIVESTREAM_TIMELINE_H_INCLUDED_


#include <stdint.h>


#define NGX_LIVESTREAM_TIMELINE_JUMP   3000     /* ms */
#define NGX_LIVESTREAM_TIMELINE_SLACK  40       /* ms */

#define NGX_LIVESTREAM_TIMELINE_TRACKS 2


typedef struct {
    int64_t                  raw;       /* last timestamp, unwrapped, ms */
    int64_t                  dts;       /* last dts put out, ticks */
    int64_t                  expected;  /* audio: dts + its duration */
    uint32_t                 timescale;
    uint32_t                 started;
    uint32_t                 broken;    /* tell the next frame */
} ngx_livestream_timeline_track_t;


typedef struct {
    int64_t                  offset;    /* us, timeline = raw + offset */
    int64_t                  end;       /* us, furthest end put out */
    int64_t                  wall;      /* us since 1970 of timeline 0 */
    uint32_t                 started;
    uint32_t                 breaks;    /* continuities ended so far */
    ngx_livestream_timeline_track_t  tracks[NGX_LIVESTREAM_TIMELINE_TRACKS];
} ngx_livestream_timeline_t;


/*
 * start is where the timeline goes on, in us: 0 for a new stream, its end for
 * one that is continued.
 */
void ngx_livestream_timeline_init(ngx_livestream_timeline_t *tl,
    int64_t start);

/*
 * Takes one frame.  ts is the RTMP timestamp as received, cts ms and nano ns
 * of composition offset, samples the duration in ticks of an audio frame (0
 * for video), now the wall clock in us since 1970.  Writes dts and pts in ticks of
 * timescale, strictly increasing dts per track, and returns 1 if the frame
 * opens a new continuity on its track (also where the timescale changed), else
 * 0.  A cts beyond +-10 s is taken as 0.
 */
int ngx_livestream_timeline_add(ngx_livestream_timeline_t *tl,
    unsigned track, uint32_t timescale, uint32_t ts, int32_t cts,
    uint32_t nano, uint32_t samples, int64_t now, int64_t *dts, int64_t *pts);


#endif /* _NGX_LIVESTREAM_TIMELINE_H_INCLUDED_ */

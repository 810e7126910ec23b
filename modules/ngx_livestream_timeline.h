
/*
 * Copyright (C) nginx-livestream contributors
 *
 * The timeline: puts RTMP's 32-bit millisecond timestamps, which wrap, jump,
 * run backwards and differ between audio and video, on one continuous 64-bit
 * timeline a stream.
 *
 *     RTMP ts (32 bit) --unwrap--> 64-bit ms --+ offset--> timeline ticks
 *
 * Tracks of one continuity have the same offset, so their distance (lip sync)
 * is kept.  A step that no encoder would make (forward or apart from the other
 * track by more than NGX_LIVESTREAM_TIMELINE_JUMP, or backwards by more than
 * NGX_LIVESTREAM_TIMELINE_BACK) ends a continuity: the offset is chosen anew,
 * so that the timeline goes on right behind its end.  The track that jumps
 * opens the next continuity; the other one stays in the old for as long as its
 * timestamps go on there, and joins when they fit the new one better.  The
 * first frame of each track in a continuity is told to be a discontinuity.
 *
 * A track that joins never runs into what it has put out before: if it would,
 * the continuity is moved on.
 *
 * Audio is counted in samples while it stays within
 * NGX_LIVESTREAM_TIMELINE_SLACK of its timestamps, which takes out their
 * rounding to milliseconds.
 *
 * Pure C, no nginx type, no allocation; one thread at a time.
 */


#ifndef _NGX_LIVESTREAM_TIMELINE_H_INCLUDED_
#define _NGX_LIVESTREAM_TIMELINE_H_INCLUDED_


#include <stdint.h>


#define NGX_LIVESTREAM_TIMELINE_JUMP   3000     /* ms */
#define NGX_LIVESTREAM_TIMELINE_BACK   500      /* ms */
#define NGX_LIVESTREAM_TIMELINE_SLACK  40       /* ms */
#define NGX_LIVESTREAM_TIMELINE_CTS    10000    /* ms */

#define NGX_LIVESTREAM_TIMELINE_TRACKS 2


typedef struct {
    int64_t                  raw;       /* last timestamp, unwrapped, ms */
    int64_t                  offset;    /* us, pos = raw + offset */
    int64_t                  pos;       /* us, where raw lies */
    int64_t                  dts;       /* last dts put out, ticks */
    int64_t                  expected;  /* audio: dts + its duration, ticks */
    int64_t                  end;       /* us, of what was put out */
    int64_t                  step;      /* us, video: the last duration */
    int64_t                  wall;      /* us, of its continuity */
    uint32_t                 timescale;
    uint32_t                 continuity;
    uint32_t                 started;
} ngx_livestream_timeline_track_t;


typedef struct {
    int64_t                  end;       /* us, furthest end put out */
    int64_t                  wall;      /* us since 1970 of timeline 0, for the
                                           frame that was added last */
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
 * for video), now the wall clock in us since 1970.  Writes dts and pts in
 * ticks of timescale, strictly increasing dts per track, never negative, and
 * returns 1 if the frame opens a new continuity on its track (also where the
 * timescale changed), else 0.  The first frame of a track returns 0: whoever
 * continues a stream knows that he does.  A cts beyond +-10 s is taken as 0.
 *
 * tl->wall is then the frame's; it never decreases from one continuity to the
 * next, so no two frames share a wall clock time.
 */
int ngx_livestream_timeline_add(ngx_livestream_timeline_t *tl,
    unsigned track, uint32_t timescale, uint32_t ts, int32_t cts,
    uint32_t nano, uint32_t samples, int64_t now, int64_t *dts, int64_t *pts);


#endif /* _NGX_LIVESTREAM_TIMELINE_H_INCLUDED_ */

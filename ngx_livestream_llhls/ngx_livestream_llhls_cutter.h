
/*
 * Copyright (C) nginx-livestream contributors
 *
 * The cutter: decides where segments begin, in all tracks alike.
 *
 * Pure C, no nginx type; pipeline thread.  Functions return 0 or an errno.
 */


#ifndef _NGX_LIVESTREAM_LLHLS_CUTTER_H_INCLUDED_
#define _NGX_LIVESTREAM_LLHLS_CUTTER_H_INCLUDED_


#include "ngx_livestream_llhls_track.h"


/* those of frames by their numbers, then those that nobody makes any more */
#define NGX_LIVESTREAM_LLHLS_TRACKS  (2 * NGX_LIVESTREAM_PIPELINE_TRACKS)
#define NGX_LIVESTREAM_LLHLS_CUTS    64
#define NGX_LIVESTREAM_LLHLS_GOPS    4


#define ngx_livestream_llhls_us(t, ticks)                                    \
    ngx_livestream_ticks_to_us(ticks, (t)->timescale)

#define ngx_livestream_llhls_ticks(t, us)                                    \
    ngx_livestream_us_to_ticks(us, (t)->timescale)

#define ngx_livestream_llhls_dts(f)                                          \
    ngx_livestream_ticks_to_us((f)->dts, (f)->codec->timescale)


typedef struct {
    uint64_t                 msn;       /* of the segment that begins */
    int64_t                  end;       /* us, where the one before ends: at
                                           time, or earlier where the timeline
                                           was broken */
    int64_t                  time;      /* us, where it begins */
    int64_t                  wall;
    uint32_t                 flags;
} ngx_livestream_llhls_cut_t;


typedef struct {
    ngx_livestream_llhls_output_t   out;
    ngx_livestream_llhls_track_t    tracks[NGX_LIVESTREAM_LLHLS_TRACKS];
                                                /* out is NULL: none */
    ngx_livestream_llhls_track_t   *leader;
    unsigned                 ntracks;           /* that have a place */
    uint32_t                 expected;          /* tracks of video that are
                                                   to come, a bit each; 0:
                                                   nothing is known of that */

    uint64_t                 msn;               /* of the newest cut */
    ngx_livestream_llhls_cut_t  cuts[NGX_LIVESTREAM_LLHLS_CUTS];

    int64_t                  horizon;           /* us: all cuts up to here are
                                                   known */
    int64_t                  end;               /* us, of the leader's last
                                                   segment while it waits for
                                                   a key frame */
    int64_t                  wall;              /* of the leader's frames */
    int64_t                  shift;             /* us, to add to it */
    uint32_t                 flags;             /* of the next cut */
    unsigned                 waiting:1;         /* for a key frame */
    unsigned                 asked:1;           /* cut at the next key frame */
    unsigned                 noted:1;

    int64_t                  idr;               /* us, the newest key frame */
    int64_t                  key;               /* us, the newest at which a
                                                   segment may begin */
    unsigned                 ngops;
    int64_t                  gops[NGX_LIVESTREAM_LLHLS_GOPS];
} ngx_livestream_llhls_cutter_t;


/* may a segment begin with it, in all tracks */
#define ngx_livestream_llhls_is_key(f)                                       \
    (((f)->flags & (NGX_LIVESTREAM_FRAME_KEY|NGX_LIVESTREAM_FRAME_NO_CUT))    \
     == NGX_LIVESTREAM_FRAME_KEY)


/* which tracks are to come from now on */
int ngx_livestream_llhls_cutter_expect(ngx_livestream_llhls_cutter_t *c,
    uint32_t expected);

/* borrowed frame */
int ngx_livestream_llhls_cutter_frame(ngx_livestream_llhls_cutter_t *c,
    ngx_livestream_frame_t *f);

/* no frame will follow: all tracks end with a whole segment of one MSN */
int ngx_livestream_llhls_cutter_flush(ngx_livestream_llhls_cutter_t *c);


/*
 * When the leader's segment is to end: for the cutter.
 */

#define NGX_LIVESTREAM_LLHLS_ROUND    400000        /* us, beyond the target
                                                       duration: with what a
                                                       follower's may be more,
                                                       it is rounded down */

/* is one to begin with this frame, at us? */
unsigned ngx_livestream_llhls_due(ngx_livestream_llhls_cutter_t *c,
    ngx_livestream_frame_t *f, int64_t us);

/* us, that one may be long */
int64_t ngx_livestream_llhls_limit(ngx_livestream_llhls_cutter_t *c);


/*
 * Followers, the tracks that do not lead: for the cutter.
 */

/* queues a frame until the leader has passed it, or drops it */
int ngx_livestream_llhls_follow_later(ngx_livestream_llhls_cutter_t *c,
    ngx_livestream_llhls_track_t *t, ngx_livestream_frame_t *f);

/* the leader has moved */
int ngx_livestream_llhls_follow(ngx_livestream_llhls_cutter_t *c);

/* the oldest cut that t has not come to, with the first frame behind it, or
 * with none: then with gaps */
int ngx_livestream_llhls_follow_cut(ngx_livestream_llhls_cutter_t *c,
    ngx_livestream_llhls_track_t *t, ngx_livestream_frame_t *f);

/* all cuts that there are, with what is queued for them or with gaps, and the
 * end of the last segment at about us */
int ngx_livestream_llhls_follow_end(ngx_livestream_llhls_cutter_t *c,
    ngx_livestream_llhls_track_t *t, int64_t us);

/* the first that is queued, which is the caller's then, or NULL */
ngx_livestream_frame_t *ngx_livestream_llhls_follow_take(
    ngx_livestream_llhls_track_t *t);


#endif /* _NGX_LIVESTREAM_LLHLS_CUTTER_H_INCLUDED_ */

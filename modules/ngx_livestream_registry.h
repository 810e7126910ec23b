
/*
 * Copyright (C) nginx-livestream contributors
 *
 * The registry: what every worker knows of every stream, in shared memory.
 *
 *   zone --> stream[0..n]            type-stable, found by id
 *              id, status, owner     changed under the zone's slab mutex
 *              track[0..ntracks]     single writer: the owning worker
 *                state[4], seq       published snapshots
 *                segment ring        record of MSN m at m & mask
 *                part ring           record of position p at p & mask
 *
 * A record is immutable once published; publishing is a release-store of seq.
 * A reader takes no lock: it copies the snapshot and the records it needs,
 * then checks that the writer has not overtaken it meanwhile; if it has, it
 * starts again.  A writer that dies in mid-write leaves seq where it was.
 *
 * Event loop only; never from a pipeline thread.  Functions that end in
 * _locked want shpool->mutex held.  All times are microseconds.
 */


#ifndef _NGX_LIVESTREAM_REGISTRY_H_INCLUDED_
#define _NGX_LIVESTREAM_REGISTRY_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>
#include "ngx_livestream_codec.h"


#define NGX_LIVESTREAM_MAX_TRACKS   16
#define NGX_LIVESTREAM_ID_LEN       36      /* a UUID */
#define NGX_LIVESTREAM_TRACK_LEN    15


typedef enum {
    NGX_LIVESTREAM_FREE = 0,
    NGX_LIVESTREAM_OPENING,                 /* claimed, nothing to play yet */
    NGX_LIVESTREAM_LIVE,
    NGX_LIVESTREAM_INTERRUPTED,             /* publisher gone, may come back */
    NGX_LIVESTREAM_ENDED                    /* ENDLIST, for late viewers */
} ngx_livestream_state_e;


/* what any worker may ask of the owner; the owner clears it */
#define NGX_LIVESTREAM_ASK_YIELD    0x01    /* close the session, keep the
                                               stream interrupted */
#define NGX_LIVESTREAM_ASK_STOP     0x02    /* close the session and end */
#define NGX_LIVESTREAM_ASK_DELETE   0x04    /* ... and drop the media now */


/* flags of segments and parts */
#define NGX_LIVESTREAM_DISCONTINUITY    0x01    /* segment: EXT-X-DISCONTINUITY
                                                   before it */
#define NGX_LIVESTREAM_GAP              0x02    /* segment, part: no media */
#define NGX_LIVESTREAM_INDEPENDENT      0x04    /* part: INDEPENDENT=YES */
#define NGX_LIVESTREAM_LAST             0x08    /* part: closes its segment */


typedef struct {
    uint64_t                 msn;
    int64_t                  start;         /* on the stream's timeline */
    int64_t                  pdt;           /* since 1970 */
    uint32_t                 duration;
    uint32_t                 size;          /* bytes */
    uint32_t                 init;          /* N of its init-N.mp4 */
    uint32_t                 flags;
    uint32_t                 nparts;
    uint32_t                 reserved;
    uint64_t                 part;          /* ring position of its part 0 */
} ngx_livestream_segment_t;


typedef struct {
    uint64_t                 msn;
    uint32_t                 index;         /* within its segment, from 0 */
    uint32_t                 flags;
    uint32_t                 duration;
    uint32_t                 offset;        /* in the segment's file */
    uint32_t                 size;
    uint32_t                 reserved;
} ngx_livestream_part_t;


/*
 * One published state of a track.  Segments [seg_first, open.msn) are listed;
 * parts [part_first, part_next) are listed, those with msn == open.msn belong
 * to the open segment, whose other fields are known from its start.
 */
typedef struct {
    uint64_t                 seg_first;
    uint64_t                 part_first;
    uint64_t                 part_next;
    uint64_t                 discontinuity; /* EXT-X-DISCONTINUITY-SEQUENCE */
    ngx_livestream_segment_t open;          /* sizes and counts: so far */
    uint32_t                 ended;         /* EXT-X-ENDLIST */
    uint32_t                 playable;      /* is served: has enough */
    uint32_t                 hidden;        /* is not to be chosen: nobody
                                               makes it, its playlist goes on
                                               with gaps */
    uint32_t                 reserved;
} ngx_livestream_state_t;


typedef struct {
    u_char                   name[NGX_LIVESTREAM_TRACK_LEN + 1];
    ngx_livestream_media_e   media;
    ngx_livestream_codec_e   codec;
    char                     codecs[NGX_LIVESTREAM_CODECS_LEN];
    uint32_t                 width;
    uint32_t                 height;
    uint32_t                 frame_rate;    /* frames per 1000 s; 0 unknown */
    uint32_t                 transfer;      /* as codecs number it: 16 PQ,
                                               18 HLG */
    uint32_t                 sample_rate;
    uint32_t                 channels;
    uint32_t                 timescale;
    uint64_t                 config_hash;
    uint32_t                 init;          /* the newest init-N.mp4 */
    uint32_t                 nseg;          /* ring sizes, powers of two */
    uint32_t                 npart;
    ngx_livestream_segment_t *segments;
    ngx_livestream_part_t    *parts;

    ngx_atomic_t             bandwidth;     /* bit/s, peak of segments */
    ngx_atomic_t             average;       /* bit/s, of all so far */
    uint64_t                 bytes;         /* of all segments closed */
    uint64_t                 duration;      /* of all segments closed, us */

    /* positions below these are written or being written */
    ngx_atomic_t             seg_write;
    ngx_atomic_t             part_write;

    ngx_atomic_t             seq;           /* newest is state[seq & 3]; 0:
                                               nothing published yet */
    ngx_livestream_state_t   state[4];
} ngx_livestream_track_t;


typedef struct {
    /* under the mutex, but for readers' look at id, uid and state */
    ngx_atomic_t             state;         /* ngx_livestream_state_e */
    ngx_atomic_t             uid;           /* changes when the slot is reused;
                                               never 0 while in use */
    u_char                   id[NGX_LIVESTREAM_ID_LEN + 1];
    u_char                   broadcast[NGX_LIVESTREAM_ID_LEN + 1];
                                            /* names the media's folder:
                                               FOLDER/ID/BROADCAST/TRACK/ */
    uint32_t                 hash;
    uint32_t                 next;          /* in its bucket, index + 1 */

    ngx_pid_t                owner;         /* 0: nobody */
    ngx_int_t                owner_slot;    /* its ngx_process_slot */
    ngx_atomic_t             heartbeat;     /* ngx_time() of the owner */
    ngx_atomic_t             last_frame;    /* ngx_time(), media received */
    ngx_atomic_t             asked;         /* NGX_LIVESTREAM_ASK_* */
    ngx_uint_t               draining;      /* not to be claimed: publisher
                                               gone, pipeline not yet empty;
                                               or its owner is at it */
    ngx_uint_t               transcoding;   /* counts for max_transcodes, also
                                               while interrupted */

    /* fixed once the stream is playable */
    uint32_t                 low_latency;
    uint32_t                 target_duration;   /* s */
    uint32_t                 part_target;       /* us */
    uint32_t                 segment_duration;  /* us, as configured */
    uint32_t                 playlist_length;   /* segments */
    uint32_t                 recorded;          /* DVR: the folder is that of
                                                   recordings, which are not
                                                   the core's to remove */
    uint64_t                 window;            /* us, DVR; 0 off */

    /* where a continued stream goes on; owner only */
    int64_t                  timeline;          /* us, end of what is listed */
    int64_t                  interrupted;       /* us since 1970, or 0 */
    time_t                   started;
    time_t                   expire;            /* interrupted: ends then;
                                                   ended: forgotten then */
    uint64_t                 msn0;              /* the first MSN */

    ngx_atomic_t             ntracks;           /* grows only, release-store */
    ngx_livestream_track_t   tracks[NGX_LIVESTREAM_MAX_TRACKS];
} ngx_livestream_sh_stream_t;


/*
 * The keeper: the one worker of all generations that does what has to be done
 * once, such as what is to become of recordings.
 */
typedef struct {
    ngx_pid_t                pid;           /* 0: nobody; under the mutex */
    ngx_atomic_t             heartbeat;     /* ngx_current_msec of its claim */
    ngx_atomic_t             rung;          /* counts: there is work */
    ngx_atomic_t             orphans;       /* counts: something has lost its
                                               stream */
    ngx_atomic_t             full;          /* the disk of recordings is */
} ngx_livestream_keeper_t;


typedef struct {
    uint32_t                 version;       /* of this layout */
    uint32_t                 fresh;         /* new, not yet put right */
    ngx_atomic_t             generation;    /* counts configurations loaded;
                                               a worker of an older one that
                                               is told to exit was reloaded */
    ngx_atomic_t             uid;
    ngx_uint_t               nstreams;
    ngx_uint_t               nbuckets;
    uint32_t                *buckets;       /* index + 1 */
    void                    *bus;
    ngx_livestream_keeper_t  keeper;
    ngx_livestream_sh_stream_t  *streams;
} ngx_livestream_sh_t;


extern ngx_livestream_sh_t  *ngx_livestream_sh;     /* NULL: no livestream{} */
extern ngx_slab_pool_t      *ngx_livestream_shpool;


/* configuration: makes the zone of the livestream{} block */
char *ngx_livestream_registry_zone(ngx_conf_t *cf, size_t size,
    ngx_uint_t max_streams);

/* of a cycle, for the master; workers use ngx_livestream_sh */
ngx_livestream_sh_t *ngx_livestream_registry_sh(ngx_cycle_t *cycle);
void ngx_livestream_registry_init_process(ngx_cycle_t *cycle);

/*
 * Readers, any worker.
 */

/* NULL if there is none; lock-free on a hit.  *uid tells later whether the
 * slot still means the same stream: compare with s->uid after reading. */
ngx_livestream_sh_stream_t *ngx_livestream_registry_find(ngx_str_t *id,
    ngx_atomic_uint_t *uid);

/* track index or NGX_ERROR */
ngx_int_t ngx_livestream_registry_track(ngx_livestream_sh_stream_t *s,
    ngx_str_t *name);

/*
 * A consistent private copy of a track: the state, and where pool is not NULL
 * the listed segments (state.open.msn - state.seg_first of them) and parts
 * (part_next - part_first).  NGX_ERROR: out of memory; NGX_DECLINED: the slot
 * no longer is uid.
 */
typedef struct {
    ngx_atomic_uint_t        seq;           /* of the state */
    ngx_livestream_state_t   state;
    ngx_livestream_segment_t *segments;
    ngx_livestream_part_t    *parts;
    ngx_uint_t               nsegments;
    ngx_uint_t               nparts;
} ngx_livestream_view_t;

ngx_int_t ngx_livestream_registry_view(ngx_livestream_sh_stream_t *s,
    ngx_atomic_uint_t uid, ngx_uint_t track, ngx_pool_t *pool,
    ngx_livestream_view_t *view);

/* Finds the record of a part or of a closed segment, listed or not, for as
 * long as its ring has it.  NGX_OK, or NGX_DECLINED. */
ngx_int_t ngx_livestream_registry_part(ngx_livestream_sh_stream_t *s,
    ngx_atomic_uint_t uid, ngx_uint_t track, uint64_t msn, uint32_t index,
    ngx_livestream_part_t *part);
ngx_int_t ngx_livestream_registry_segment(ngx_livestream_sh_stream_t *s,
    ngx_atomic_uint_t uid, ngx_uint_t track, uint64_t msn,
    ngx_livestream_segment_t *segment);

/* any worker: there is work for the keeper, which looks at the store */
void ngx_livestream_keeper_ring(void);
/* ... and media may be there that belong to nobody: a stream was deleted */
void ngx_livestream_keeper_orphans(void);

/* NGX_OK: this worker is the keeper; asked again and again, so that it becomes
 * the one when another has gone */
ngx_int_t ngx_livestream_keeper_claim(void);
void ngx_livestream_keeper_leave(void);

/*
 * The writer: the worker that owns the stream.
 */

/* Adds a track at first segment `open`; NGX_ERROR when the zone is full.
 * With seq still 0 readers do not see the track yet: publish does that. */
ngx_livestream_track_t *ngx_livestream_registry_add_track(
    ngx_livestream_sh_stream_t *s, ngx_str_t *name,
    const ngx_livestream_codec_t *codec, uint64_t msn);

/* Begin with the published state; change the copy; add records; publish. */
void ngx_livestream_registry_begin(ngx_livestream_track_t *t,
    ngx_livestream_state_t *state);
void ngx_livestream_registry_put_part(ngx_livestream_track_t *t,
    ngx_livestream_state_t *state, ngx_livestream_part_t *part);
void ngx_livestream_registry_put_segment(ngx_livestream_track_t *t,
    ngx_livestream_segment_t *segment);
void ngx_livestream_registry_publish(ngx_livestream_track_t *t,
    ngx_livestream_state_t *state);

/* the power of two that is not less than n */
uint32_t ngx_livestream_registry_pow2(uint64_t n);

/* gives rings and slot back; the id is free to be claimed anew */
void ngx_livestream_registry_free_locked(ngx_livestream_sh_stream_t *s);
ngx_livestream_sh_stream_t *ngx_livestream_registry_find_locked(
    ngx_str_t *id);
ngx_livestream_sh_stream_t *ngx_livestream_registry_create_locked(
    ngx_str_t *id);


#endif /* _NGX_LIVESTREAM_REGISTRY_H_INCLUDED_ */


/*
 * Copyright (C) nginx-livestream contributors
 *
 * The packager: the pipeline's last stage.  It cuts frames into parts and
 * segments, writes them into files and says so in messages, which the writer
 * (ngx_livestream_llhls_writer.c, event loop) turns into registry records.
 *
 * Pure C, no nginx type; pipeline thread.
 */


#ifndef _NGX_LIVESTREAM_LLHLS_PACKAGER_H_INCLUDED_
#define _NGX_LIVESTREAM_LLHLS_PACKAGER_H_INCLUDED_


#include "ngx_livestream_pipeline.h"


/* flags of segments and parts; the registry's, which the writer checks */
#define NGX_LIVESTREAM_LLHLS_DISCONTINUITY  0x01
#define NGX_LIVESTREAM_LLHLS_GAP            0x02
#define NGX_LIVESTREAM_LLHLS_INDEPENDENT    0x04
#define NGX_LIVESTREAM_LLHLS_LAST           0x08


typedef enum {
    NGX_LIVESTREAM_LLHLS_TRACK = 0,     /* began, or has a new codec: init */
    NGX_LIVESTREAM_LLHLS_OPEN,          /* a segment was begun */
    NGX_LIVESTREAM_LLHLS_PART,          /* a part of it is in its file */
    NGX_LIVESTREAM_LLHLS_CLOSE,         /* it is whole */
    NGX_LIVESTREAM_LLHLS_HIDE,          /* the track is not to be chosen */
    NGX_LIVESTREAM_LLHLS_NOTE           /* text is for the log */
} ngx_livestream_llhls_message_e;


typedef struct {
    uint64_t                 msn;
    int64_t                  start;     /* us, on the stream's timeline */
    int64_t                  pdt;       /* us since 1970 */
    uint32_t                 duration;  /* us; so far, until it is closed */
    uint32_t                 size;      /* bytes, likewise */
    uint32_t                 init;      /* N of its init-N.mp4 */
    uint32_t                 flags;
    uint32_t                 nparts;
} ngx_livestream_llhls_segment_t;


typedef struct {
    uint32_t                 index;
    uint32_t                 flags;
    uint32_t                 duration;  /* us */
    uint32_t                 offset;    /* in the segment's file */
    uint32_t                 size;      /* 0: a gap */
} ngx_livestream_llhls_part_t;


/*
 * None is sent before the stream's first segment is whole, so that the target
 * duration is known with the first of them.
 */
typedef struct {
    ngx_livestream_message_t  message;          /* must be first */

    ngx_livestream_llhls_message_e  type;
    uint32_t                 ntracks;           /* that are to be chosen */
    uint32_t                 target_duration;   /* s */
    uint32_t                 part_target;       /* us */
    char                     name[16];          /* of the track: */
    uint32_t                 frame_rate;        /* per 1000 s; 0 unknown */
    uint32_t                 hidden;            /* nobody makes it now */

    ngx_livestream_llhls_segment_t  segment;    /* TRACK: msn, init only */
    ngx_livestream_llhls_part_t     part;

    const char              *text;              /* NOTE: static */

    /* TRACK: without its configuration; media and id tell when it is known,
     * id is NGX_LIVESTREAM_CODEC_NONE when no frame has come yet */
    ngx_livestream_codec_t   codec;             /* must be last */
} ngx_livestream_llhls_message_t;


extern const ngx_livestream_stage_t  ngx_livestream_llhls_packager;


/* by the writer; event loop */
void ngx_livestream_llhls_message(void *data, ngx_livestream_message_t *msg);


#endif /* _NGX_LIVESTREAM_LLHLS_PACKAGER_H_INCLUDED_ */


/*
 * Copyright (C) nginx-livestream contributors
 *
 * What a viewer asks: the URL behind the location's prefix, the delivery
 * directives of its query, and whether a playlist can answer them already.
 *
 * Pure C, no nginx type, no allocation: unit-tested and fuzzed alone.  Any
 * thread.
 */


#ifndef _NGX_LIVESTREAM_LLHLS_REQUEST_H_INCLUDED_
#define _NGX_LIVESTREAM_LLHLS_REQUEST_H_INCLUDED_


#include <stddef.h>
#include <stdint.h>


#define NGX_LIVESTREAM_LLHLS_ID_MAX     36      /* a UUID */
#define NGX_LIVESTREAM_LLHLS_TRACK_MAX  15


/* BASE: ID of what is live, or ID/recordings/RID */
typedef enum {
    NGX_LIVESTREAM_LLHLS_MULTIVARIANT = 0,  /* BASE/master.m3u8 */
    NGX_LIVESTREAM_LLHLS_PLAYLIST,          /* BASE/TRACK/playlist.m3u8 */
    NGX_LIVESTREAM_LLHLS_INIT,              /* BASE/TRACK/init-N.mp4 */
    NGX_LIVESTREAM_LLHLS_SEGMENT,           /* BASE/TRACK/segment-N.m4s */
    NGX_LIVESTREAM_LLHLS_PART,              /* ID/TRACK/part-N.M.m4s */
    NGX_LIVESTREAM_LLHLS_THUMBNAIL,         /* ID/thumbnail.jpg */
    NGX_LIVESTREAM_LLHLS_POSTER,            /* ID/recordings/RID/poster.jpg */
    NGX_LIVESTREAM_LLHLS_STORYBOARD,        /* ... /storyboard.vtt */
    NGX_LIVESTREAM_LLHLS_SHEET,             /* ... /storyboard-N.jpg */
    NGX_LIVESTREAM_LLHLS_VIDEO,             /* ID/videos/VIDEOID.mp4 */

    NGX_LIVESTREAM_LLHLS_KINDS
} ngx_livestream_llhls_kind_e;


/* points into the text that was parsed */
typedef struct {
    ngx_livestream_llhls_kind_e  kind;
    const uint8_t               *id;
    size_t                       id_len;
    const uint8_t               *track;
    size_t                       track_len;
    uint64_t                     number;    /* N */
    uint32_t                     part;      /* M */
    /* of what was recorded, else NULL: its file, below the folder that the
     * stream has among the recordings: RID/... or videos/VIDEOID.mp4 */
    const uint8_t               *file;
    size_t                       file_len;
} ngx_livestream_llhls_target_t;


/* the delivery directives */
typedef struct {
    uint64_t                     msn;
    uint32_t                     part;
    unsigned                     has_msn:1;
    unsigned                     has_part:1;
    unsigned                     skip:1;
    const char                  *error;     /* what is wrong, static; NULL */
} ngx_livestream_llhls_query_t;


/* the live edge of a track */
typedef struct {
    uint64_t                     msn;       /* of the open segment */
    uint32_t                     parts;     /* listed of the open segment */
    uint32_t                     last;      /* parts of the one before it */
    uint32_t                     part_target;   /* us; 0: there are no parts */
    unsigned                     playable:1;
    unsigned                     ended:1;
} ngx_livestream_llhls_edge_t;


typedef enum {
    NGX_LIVESTREAM_LLHLS_READY = 0,         /* answer now */
    NGX_LIVESTREAM_LLHLS_HOLD,              /* answer when there is more */
    NGX_LIVESTREAM_LLHLS_BAD,               /* 400 */
    NGX_LIVESTREAM_LLHLS_GONE               /* 404 */
} ngx_livestream_llhls_verdict_e;


/* 0, or -1 if it names nothing that could exist */
int ngx_livestream_llhls_parse_path(const uint8_t *p, size_t len,
    ngx_livestream_llhls_target_t *target);

/* query->error tells of the first mistake */
void ngx_livestream_llhls_parse_query(const uint8_t *p, size_t len,
    ngx_livestream_llhls_query_t *query);

/* Does the value of an Accept-Encoding header allow gzip?  1 or 0. */
int ngx_livestream_llhls_accept_gzip(const uint8_t *p, size_t len);

/* *why is static text when the verdict is BAD */
ngx_livestream_llhls_verdict_e ngx_livestream_llhls_decide_playlist(
    const ngx_livestream_llhls_query_t *query,
    const ngx_livestream_llhls_edge_t *edge, const char **why);

/* for a part that is not there: HOLD if it is the hinted one */
ngx_livestream_llhls_verdict_e ngx_livestream_llhls_decide_part(
    uint64_t msn, uint32_t part, const ngx_livestream_llhls_edge_t *edge);


#endif /* _NGX_LIVESTREAM_LLHLS_REQUEST_H_INCLUDED_ */

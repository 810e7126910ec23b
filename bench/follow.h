
/*
 * Copyright (C) nginx-livestream contributors
 *
 * The state of viewers that follow playlists, for follow.c, which makes it,
 * and report.c, which prints it.
 *
 *   track --> parts[0..n]     all that any viewer saw, in order
 *     |         first, delays of the answers that first listed it
 *     +-----> bodies[]        the latest distinct answers, read but once
 *   follower                  one viewer on one track: place in parts
 */


#ifndef _FOLLOW_H_INCLUDED_
#define _FOLLOW_H_INCLUDED_


#include "viewers.h"


#define FOLLOW_BODIES     8
#define FOLLOW_STATUSES   600


typedef struct {
    uint64_t                 msn;
    uint32_t                 index;
    int                      gap;
    char                     path[256];
    char                     range[48];
    int64_t                  first;         /* us */
    stats_t                  delays;        /* behind first */
    int64_t                  size;          /* as first fetched, or -1 */
} part_t;


typedef struct {
    uint8_t                 *data;
    size_t                   len;
    int64_t                  newest;        /* place in parts */
    uint64_t                 msn;           /* what comes next */
    uint32_t                 part;
    int                      ended;
} body_t;


typedef struct {
    http_url_t               url;
    part_t                  *parts;
    int64_t                  nparts;
    int64_t                  allocated;
    int64_t                  base;          /* measured: base .. limit - 1 */
    int64_t                  limit;
    int64_t                  joined;        /* viewers */
    body_t                   bodies[FOLLOW_BODIES];
    unsigned                 next_body;

    uint64_t                 answers;
    uint64_t                 bytes;
    uint64_t                 merged;        /* several new parts at once */
    uint64_t                 stale;         /* no new part */
    uint64_t                 skipped;       /* parts that nobody was told of */
    uint64_t                 bad;           /* no media playlist */
    uint64_t                 fetched;
    uint64_t                 fetched_bytes;
    uint64_t                 odd;           /* parts of another size */
    uint64_t                 statuses[FOLLOW_STATUSES];
    stats_t                  fetches;       /* time for a part */
} track_t;


typedef struct follower_s  follower_t;

struct follower_s {
    viewers_conn_t           playlist;
    viewers_conn_t           media;
    track_t                 *track;
    int64_t                  newest;        /* place in parts, or -1 */
    int64_t                  got;           /* the same, of fetches */
    int64_t                  asked;         /* us, for the part */
    uint64_t                 msn;
    uint32_t                 part;
    int                      known;         /* has had an answer */
    int                      ended;
    int64_t                  retry;         /* us */
    follower_t              *next;          /* to retry */
};


typedef struct {
    track_t                 *tracks;
    int                      ntracks;
    follower_t              *followers;     /* of a viewer side by side */
    int64_t                  nfollowers;
    follower_t              *retry;         /* a queue */
    follower_t             **retry_last;
} follow_t;


/* prints all; the exit code */
int follow_print(viewers_t *v, follow_t *f);


#endif /* _FOLLOW_H_INCLUDED_ */

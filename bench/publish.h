
/*
 * Copyright (C) nginx-livestream contributors
 *
 * The publisher's state: publish.c has the command line and the event loop,
 * session.c what one connection does.
 *
 *   clips (read once) --> session 0..n --> rtmp.c
 *                           waiting -> opening -> publishing -> ended
 *                                         |          |  ^
 *                                         +- refused |  +- frozen
 *                                                    +- leaving
 */


#ifndef _PUBLISH_H_INCLUDED_
#define _PUBLISH_H_INCLUDED_


#include <signal.h>

#include "flvmux.h"
#include "rtmp.h"
#include "stats.h"
#include "watch.h"


#define PUBLISH_STEPS       16          /* --jump, --change-to, --freeze */


typedef struct {
    int64_t          at;                /* us of the stream */
    int64_t          by;                /* us */
    const char      *file;
    flvmux_clip_t    clip;
} publish_step_t;


typedef struct {
    publish_step_t   steps[PUBLISH_STEPS];
    int              n;
} publish_steps_t;


typedef struct {
    int              enhanced;
    int              loop;
    int              no_audio;
    int              no_video;
    int              no_meta;
    int              no_fc;
    double           speed;
    int64_t          count;
    int64_t          stagger;           /* ms */
    int64_t          repeat;
    int64_t          pause;             /* ms */
    int64_t          chunk;
    int64_t          start_ts;          /* ms */
    int64_t          audio_offset;      /* ms */
    int64_t          drop_audio;        /* ms, -1: never */
    int64_t          jitter;            /* ms */
    int64_t          burst;             /* ms */
    int64_t          stop_after;        /* ms, -1: never */
    int64_t          cut_after;         /* ms, -1: never */
    int64_t          ahead;             /* ms */
    int64_t          lead;              /* ms; 0: by the number of tags */
    const char      *watch;             /* URL */
    const char      *key_file;
    publish_steps_t  jumps;
    publish_steps_t  freezes;
    publish_steps_t  changes;
} publish_conf_t;


typedef enum {
    SESSION_WAITING = 0,
    SESSION_OPENING,
    SESSION_PUBLISHING,
    SESSION_LEAVING,
    SESSION_REFUSED,
    SESSION_ENDED
} session_state_e;


typedef struct {
    rtmp_t           rtmp;
    session_state_e  state;
    char            *key;
    uint32_t         events;            /* that epoll knows of */
    int64_t          runs;              /* left */

    int64_t          when;              /* us: to open, or to give up */
    int64_t          begin;             /* us: when it was published */

    flvmux_clip_t   *clip;
    size_t           next;              /* tag */
    int64_t          base;              /* us of the stream at clip's begin */
    int64_t          late;              /* us, jitter of the next tag */
    int              change;            /* next of changes */
    int              frozen;
    int64_t          thawed;            /* us of the stream */
    int              ahead;             /* is so far ahead as it shall be */
} session_t;


typedef struct {
    publish_conf_t   conf;
    rtmp_url_t       url;
    flvmux_clip_t    clip;
    session_t       *sessions;
    int64_t          nsessions;
    int64_t          live;              /* sessions that have not ended */
    watch_t          watch;
    int              epoll;
    int              code;              /* to exit with */
    int64_t          published;
    int64_t          refused;
    int64_t          closed;
    uint64_t         bytes;
    int64_t          lag;               /* us, the latest that a tag was */
} publish_t;


/* publish.c */

extern volatile sig_atomic_t  publish_quit;

/* a line on stdout; s may be NULL */
void publish_event(session_t *s, const char *event, const char *fmt, ...);


/* session.c; all times are us of stats_clock() */

/* does what is due; returns when to be called again */
int64_t session_run(publish_t *p, session_t *s, int64_t now);

/* when the socket is ready */
void session_ready(publish_t *p, session_t *s);


#endif /* _PUBLISH_H_INCLUDED_ */

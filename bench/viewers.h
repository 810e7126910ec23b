
/*
 * Copyright (C) nginx-livestream contributors
 *
 * The load generator's common ground: one thread, one epoll, connections
 * that know their handler.
 */


#ifndef _VIEWERS_H_INCLUDED_
#define _VIEWERS_H_INCLUDED_


#include <signal.h>

#include "http.h"
#include "stats.h"


typedef struct viewers_conn_s  viewers_conn_t;
typedef struct viewers_s  viewers_t;


/* called when the connection is made (answer NULL, rc 1), when an answer is
 * whole (rc 1) and when the connection has failed and was closed (rc -1) */
typedef void (*viewers_handler_pt)(viewers_t *v, viewers_conn_t *c, int rc,
    http_answer_t *answer);


struct viewers_conn_s {
    http_t                   http;
    viewers_handler_pt       handler;
    void                    *data;
};


struct viewers_s {
    int                      epoll;
    int64_t                  now;           /* us, when the event came */

    /* options */
    int64_t                  viewers;
    int64_t                  seconds;
    int64_t                  rate;          /* connections a second */
    const char              *mode;          /* follow, get */
    int                      skip;
    int                      parts;
    int                      no_gzip;
    int                      json;
    int                      each;

    uint64_t                 failed;        /* connections */
    double                   cpu;           /* s, of this program */
};


extern volatile sig_atomic_t  viewers_quit;


/* each runs to its end, prints and returns the exit code */
int viewers_follow(viewers_t *v, char **urls, int n);
int viewers_get(viewers_t *v, const char *text);

/* 0, or -1: counted as failed */
int viewers_open(viewers_t *v, viewers_conn_t *c, const http_url_t *url,
    int discard);
void viewers_poll(viewers_t *v, int timeout);
void viewers_usage(viewers_t *v);


#endif /* _VIEWERS_H_INCLUDED_ */

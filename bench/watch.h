
/*
 * Copyright (C) nginx-livestream contributors
 *
 * How much of a stream its playlist lists, for a publisher that sends more
 * than a live one would: what is behind that waits in the server.
 */


#ifndef _WATCH_H_INCLUDED_
#define _WATCH_H_INCLUDED_


#include <stdint.h>

#include "http.h"


typedef struct {
    http_url_t       url;               /* of a media playlist */
    http_t           http;
    int              epoll;
    int              parts;             /* they count, else segments do */
    int64_t          base;              /* us since 1970: the stream's begin;
                                           0: nothing is listed yet */
    int64_t          listed;            /* us of the stream */
    uint64_t         next;              /* segment to wait for */
    uint64_t         part;              /* of it */
    int64_t          when;              /* us: to ask again */
    int64_t          moved;             /* us: when more was listed */
    const char      *wrong;             /* why it is of no more use */
} watch_t;


/* 0, or -1 and *why */
int watch_init(watch_t *w, const char *url, const char **why);

/* All times are us of stats_clock(); epoll's data is the watch. */

/* asks when it is time to; returns when to be called again */
int64_t watch_run(watch_t *w, int64_t now);

/* when the socket is ready */
void watch_ready(watch_t *w, uint32_t events);

void watch_close(watch_t *w);


#endif /* _WATCH_H_INCLUDED_ */


/*
 * Copyright (C) nginx-livestream contributors
 *
 * An HTTP/1.1 client's side of one keep-alive connection, non-blocking, one
 * request at a time, cheap enough for thousands of them in one thread.
 *
 * Register h->fd once, edge-triggered, for reading and writing.
 */


#ifndef _HTTP_H_INCLUDED_
#define _HTTP_H_INCLUDED_


#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>


#define HTTP_ANSWER_MAX  (1024 * 1024)  /* that is not discarded */


typedef struct {
    struct sockaddr_storage  addr;
    socklen_t                addrlen;
    char                     host[272];     /* of the Host header */
    char                     path[1024];    /* with its query */
} http_url_t;


typedef struct {
    int                      status;
    int                      gzip;
    int                      close;         /* the connection is of no more
                                               use */
    uint8_t                 *body;          /* NULL where discarded; valid
                                               until the next http_read() */
    size_t                   len;
} http_answer_t;


typedef struct {
    int                      fd;            /* -1: closed */
    int                      connected;
    int                      busy;          /* a request was sent */
    int                      discard;       /* of bodies only count bytes */

    int                      head;          /* was read, discarding: */
    int64_t                  left;
    http_answer_t            answer;

    uint8_t                 *saved;         /* of an answer not yet whole */
    size_t                   nsaved;
} http_t;


/* http://host[:port]/path; 0, or -1 and *why */
int http_parse_url(const char *text, http_url_t *url, const char **why);

/* "../x" and "/x" and "http://..." as seen from base; 0, or -1: too long */
int http_resolve(const char *base, const char *uri, size_t len, char *path,
    size_t size);

/* 0, or -1 with errno set */
int http_open(http_t *h, const http_url_t *url, int discard);

/* when it is writable for the first time: 0, or -1 with errno set */
int http_connected(http_t *h);

/* GET; range may be NULL; 0, or -1 with errno set */
int http_get(http_t *h, const http_url_t *url, const char *path, int gzip,
    const char *range);

/* 1: *answer is whole; 0: it is not yet; -1: the connection failed, errno is
 * 0 where the server closed it */
int http_read(http_t *h, http_answer_t *answer);

void http_close(http_t *h);


#endif /* _HTTP_H_INCLUDED_ */

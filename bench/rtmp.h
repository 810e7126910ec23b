
/*
 * Copyright (C) nginx-livestream contributors
 *
 * An RTMP publisher's side of one connection, non-blocking: handshake,
 * connect, createStream, publish, then messages of media.
 *
 *   connecting --> handshake --> setup --> publishing --> closed
 *                                  |
 *                                  +-----> refused
 *
 * The caller polls r->fd for reading, and for writing too while
 * rtmp_pending() is not 0, and calls rtmp_process() when it is ready.
 */


#ifndef _RTMP_H_INCLUDED_
#define _RTMP_H_INCLUDED_


#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>


#define RTMP_AUDIO     8
#define RTMP_VIDEO     9
#define RTMP_METADATA  18

#define RTMP_STREAMS   64       /* chunk streams that are read */


typedef enum {
    RTMP_CONNECTING = 0,
    RTMP_HANDSHAKE,
    RTMP_SETUP,
    RTMP_PUBLISHING,
    RTMP_REFUSED,
    RTMP_CLOSED
} rtmp_state_e;


typedef struct {
    struct sockaddr_storage  addr;
    socklen_t                addrlen;
    char                     app[128];
    char                     key[256];      /* as given; may be empty */
    char                     tc_url[384];
} rtmp_url_t;


typedef struct {
    uint8_t                 *data;
    size_t                   pos;
    size_t                   last;
    size_t                   size;
} rtmp_buffer_t;


typedef struct {
    uint32_t                 length;
    uint8_t                  type;
    uint8_t                  extended;
    rtmp_buffer_t            body;
} rtmp_stream_in_t;


typedef struct {
    uint32_t                 timestamp;
    int                      started;
} rtmp_stream_out_t;


typedef struct {
    int                      fd;
    rtmp_state_e             state;
    const rtmp_url_t        *url;
    const char              *key;           /* what is published */
    int                      fc;            /* releaseStream, FCPublish */

    uint32_t                 chunk_in;
    uint32_t                 chunk_out;
    uint32_t                 stream_id;
    uint32_t                 window;
    uint64_t                 received;
    uint64_t                 acknowledged;
    uint64_t                 sent;

    rtmp_buffer_t            in;
    rtmp_buffer_t            out;
    rtmp_stream_in_t         streams[RTMP_STREAMS];
    rtmp_stream_out_t        audio;
    rtmp_stream_out_t        video;

    /* of the last onStatus or _error, and why the connection closed */
    char                     code[128];
    char                     description[128];
    char                     reason[128];
} rtmp_t;


/* rtmp://host[:port]/app[/key]; 0, or -1 and *why */
int rtmp_parse_url(const char *text, rtmp_url_t *url, const char **why);

/* Starts to connect; 0, or -1 with errno set.  chunk is the size of the
 * chunks that will be sent. */
int rtmp_open(rtmp_t *r, const rtmp_url_t *url, const char *key,
    uint32_t chunk, int fc);

/* after poll; r->state says what came of it */
void rtmp_process(rtmp_t *r);

/* Queues a message of media, its body in two pieces, and sends what the
 * socket takes.  Only while publishing. */
void rtmp_send(rtmp_t *r, uint8_t type, uint32_t timestamp,
    const uint8_t *head, size_t head_len, const uint8_t *body, size_t len);
size_t rtmp_pending(const rtmp_t *r);

/* FCUnpublish and deleteStream */
void rtmp_unpublish(rtmp_t *r);

/* closes the descriptor, with a reset where asked for, and frees all */
void rtmp_close(rtmp_t *r, int reset);


#endif /* _RTMP_H_INCLUDED_ */


/*
 * Copyright (C) nginx-livestream contributors
 *
 * One RTMP connection, from the publisher's side.
 *
 *   socket --> in --> chunks --> streams[csid].body --> message
 *   rtmp_send() --> chunks --> out --> socket
 *
 * Headers are written as encoders write them: the first message of a chunk
 * stream with an absolute timestamp (format 0), the following ones with the
 * difference to the one before (format 1), which is unsigned and so passes
 * the wrap at 32 bits; a step backwards is an absolute timestamp again.
 */


#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "rtmp_impl.h"


#define RTMP_VERSION         3
#define RTMP_HANDSHAKE_SIZE  1536

#define RTMP_EXTENDED        0xffffff
#define RTMP_MESSAGE_MAX     65536      /* that a server may send */


static int rtmp_reserve(rtmp_t *r, rtmp_buffer_t *b, size_t len);
static void rtmp_put(rtmp_t *r, const void *data, size_t len);
static void rtmp_read(rtmp_t *r);
static int rtmp_handshake(rtmp_t *r);
static int rtmp_chunk(rtmp_t *r);
static size_t rtmp_chunk_header(rtmp_t *r, const uint8_t *p, size_t len,
    rtmp_stream_in_t **stream);


int
rtmp_parse_url(const char *text, rtmp_url_t *url, const char **why)
{
    int               rc;
    char              host[256], port[8];
    const char       *p;
    struct addrinfo   hints, *res;

    memset(url, 0, sizeof(rtmp_url_t));
    strcpy(port, "1935");

    if (sscanf(text, "rtmp://%255[^:/]:%7[0-9]/", host, port) < 1) {
        *why = "not an rtmp:// URL";
        return -1;
    }

    p = strchr(text + sizeof("rtmp://") - 1, '/');

    if (p == NULL || sscanf(p, "/%127[^/]/%255s", url->app, url->key) < 1) {
        *why = "the URL has no application";
        return -1;
    }

    snprintf(url->tc_url, sizeof(url->tc_url), "%.*s/%s", (int) (p - text),
             text, url->app);

    memset(&hints, 0, sizeof(hints));
    hints.ai_socktype = SOCK_STREAM;

    rc = getaddrinfo(host, port, &hints, &res);

    if (rc != 0) {
        *why = gai_strerror(rc);
        return -1;
    }

    memcpy(&url->addr, res->ai_addr, res->ai_addrlen);
    url->addrlen = res->ai_addrlen;

    freeaddrinfo(res);

    return 0;
}


int
rtmp_open(rtmp_t *r, const rtmp_url_t *url, const char *key, uint32_t chunk,
    int fc)
{
    int  on;

    memset(r, 0, sizeof(rtmp_t));

    r->url = url;
    r->key = key;
    r->fc = fc;
    r->chunk_in = 128;
    r->chunk_out = chunk;

    r->fd = socket(url->addr.ss_family,
                   SOCK_STREAM|SOCK_NONBLOCK|SOCK_CLOEXEC, 0);

    if (r->fd == -1) {
        return -1;
    }

    on = 1;
    (void) setsockopt(r->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));

    if (connect(r->fd, (struct sockaddr *) &url->addr, url->addrlen) == -1
        && errno != EINPROGRESS)
    {
        close(r->fd);
        r->fd = -1;
        return -1;
    }

    /* C0 and C1, sent once connected */

    if (rtmp_reserve(r, &r->out, 1 + RTMP_HANDSHAKE_SIZE) != 0) {
        return -1;
    }

    memset(r->out.data, 0, 1 + RTMP_HANDSHAKE_SIZE);
    r->out.data[0] = RTMP_VERSION;
    r->out.last = 1 + RTMP_HANDSHAKE_SIZE;

    return 0;
}


void
rtmp_process(rtmp_t *r)
{
    int        err;
    socklen_t  len;

    if (r->state == RTMP_CONNECTING) {
        err = 0;
        len = sizeof(err);

        if (getsockopt(r->fd, SOL_SOCKET, SO_ERROR, &err, &len) == -1) {
            err = errno;
        }

        if (err) {
            rtmp_fail(r, "connect", err);
            return;
        }

        r->state = RTMP_HANDSHAKE;
    }

    rtmp_read(r);
    rtmp_flush(r);
}


void
rtmp_send(rtmp_t *r, uint8_t type, uint32_t timestamp, const uint8_t *head,
    size_t head_len, const uint8_t *body, size_t len)
{
    uint8_t             csid;
    rtmp_stream_out_t  *s;

    csid = (type == RTMP_VIDEO) ? RTMP_CSID_VIDEO : RTMP_CSID_AUDIO;
    s = (type == RTMP_VIDEO) ? &r->video : &r->audio;

    rtmp_write_message(r, csid, type, r->stream_id, s, timestamp, head,
                       head_len, body, len);
    rtmp_flush(r);
}


size_t
rtmp_pending(const rtmp_t *r)
{
    return r->out.last - r->out.pos;
}


void
rtmp_close(rtmp_t *r, int reset)
{
    int            i;
    struct linger  linger;

    if (r->fd != -1) {
        if (reset) {
            linger.l_onoff = 1;
            linger.l_linger = 0;
            (void) setsockopt(r->fd, SOL_SOCKET, SO_LINGER, &linger,
                              sizeof(linger));
        }

        close(r->fd);
        r->fd = -1;
    }

    for (i = 0; i < RTMP_STREAMS; i++) {
        free(r->streams[i].body.data);
        memset(&r->streams[i], 0, sizeof(rtmp_stream_in_t));
    }

    free(r->in.data);
    free(r->out.data);
    memset(&r->in, 0, sizeof(rtmp_buffer_t));
    memset(&r->out, 0, sizeof(rtmp_buffer_t));
}


void
rtmp_fail(rtmp_t *r, const char *what, int err)
{
    if (r->state == RTMP_CLOSED) {
        return;
    }

    r->state = RTMP_CLOSED;

    snprintf(r->reason, sizeof(r->reason), "%s%s%s", what, err ? ": " : "",
             err ? strerror(err) : "");
}


static int
rtmp_reserve(rtmp_t *r, rtmp_buffer_t *b, size_t len)
{
    size_t    size;
    uint8_t  *data;

    if (b->pos && b->size - b->last < len) {
        memmove(b->data, b->data + b->pos, b->last - b->pos);
        b->last -= b->pos;
        b->pos = 0;
    }

    if (b->size - b->last >= len) {
        return 0;
    }

    size = b->size ? b->size : 2048;

    while (size - b->last < len) {
        size *= 2;
    }

    data = realloc(b->data, size);

    if (data == NULL) {
        rtmp_fail(r, "no memory", 0);
        return -1;
    }

    b->data = data;
    b->size = size;

    return 0;
}


static void
rtmp_put(rtmp_t *r, const void *data, size_t len)
{
    if (rtmp_reserve(r, &r->out, len) == 0) {
        memcpy(r->out.data + r->out.last, data, len);
        r->out.last += len;
    }
}


void
rtmp_flush(rtmp_t *r)
{
    ssize_t         n;
    rtmp_buffer_t  *b;

    b = &r->out;

    if (r->state == RTMP_CONNECTING || r->state == RTMP_CLOSED) {
        return;
    }

    while (b->pos < b->last) {
        n = send(r->fd, b->data + b->pos, b->last - b->pos, MSG_NOSIGNAL);

        if (n == -1) {
            if (errno == EINTR) {
                continue;
            }

            /* what the server said before it closed is read first */

            if (errno != EAGAIN) {
                n = errno;
                rtmp_read(r);
                rtmp_fail(r, "send", n);
            }

            return;
        }

        b->pos += n;
        r->sent += n;
    }

    b->pos = b->last = 0;
}


static void
rtmp_read(rtmp_t *r)
{
    int             rc;
    ssize_t         n;
    rtmp_buffer_t  *b;

    b = &r->in;

    while (r->state != RTMP_CLOSED) {

        if (rtmp_reserve(r, b, 1024) != 0) {
            return;
        }

        n = recv(r->fd, b->data + b->last, b->size - b->last, 0);

        if (n == -1 && errno == EINTR) {
            continue;
        }

        if (n == -1) {
            if (errno != EAGAIN) {
                rtmp_fail(r, "recv", errno);
            }

            return;
        }

        if (n == 0) {
            rtmp_fail(r, "the server closed the connection", 0);
            return;
        }

        b->last += n;
        r->received += n;

        do {
            rc = (r->state == RTMP_HANDSHAKE) ? rtmp_handshake(r)
                                              : rtmp_chunk(r);
        } while (rc == 1);

        if (rc == -1) {
            rtmp_fail(r, "not RTMP", 0);
        }
    }
}


/* 1: go on, 0: more bytes are needed, -1: error; so does rtmp_chunk() */

static int
rtmp_handshake(rtmp_t *r)
{
    uint8_t   head[4];
    uint8_t  *p;

    p = r->in.data + r->in.pos;

    if (r->in.last - r->in.pos < 1 + 2 * RTMP_HANDSHAKE_SIZE) {
        return 0;
    }

    if (p[0] != RTMP_VERSION) {
        return -1;
    }

    /* C2 echoes S1 */

    rtmp_put(r, p + 1, RTMP_HANDSHAKE_SIZE);
    r->in.pos += 1 + 2 * RTMP_HANDSHAKE_SIZE;

    r->state = RTMP_SETUP;

    rtmp_set32(head, r->chunk_out);
    rtmp_control(r, RTMP_CHUNK_SIZE, head, sizeof(head));
    rtmp_connect_command(r);
    rtmp_flush(r);

    return 1;
}


static int
rtmp_chunk(rtmp_t *r)
{
    size_t             n, len, left;
    uint8_t            ack[4], *p;
    rtmp_stream_in_t  *s;

    p = r->in.data + r->in.pos;
    left = r->in.last - r->in.pos;

    n = rtmp_chunk_header(r, p, left, &s);

    if (n == 0) {
        return s ? 0 : -1;
    }

    len = s->length - s->body.last;

    if (len > r->chunk_in) {
        len = r->chunk_in;
    }

    if (left - n < len) {
        return 0;
    }

    if (rtmp_reserve(r, &s->body, len + 1) != 0) {
        return -1;
    }

    memcpy(s->body.data + s->body.last, p + n, len);
    s->body.last += len;
    r->in.pos += n + len;

    if (s->body.last == s->length) {
        rtmp_message(r, s);
        s->body.last = 0;
    }

    if (r->window && r->received - r->acknowledged >= r->window / 2) {
        rtmp_set32(ack, (uint32_t) r->received);
        rtmp_control(r, RTMP_ACK, ack, sizeof(ack));
        r->acknowledged = r->received;
    }

    return r->state == RTMP_CLOSED ? 0 : 1;
}


/* the header's length; 0 if more bytes are needed, with *stream NULL where
 * it is an error */
static size_t
rtmp_chunk_header(rtmp_t *r, const uint8_t *p, size_t len,
    rtmp_stream_in_t **stream)
{
    size_t             n;
    uint32_t           timestamp, length;
    rtmp_stream_in_t  *s;

    static const size_t  sizes[] = { 11, 7, 3, 0 };

    *stream = &r->streams[0];

    if (len == 0) {
        return 0;
    }

    s = &r->streams[p[0] & 0x3f];
    n = 1 + sizes[p[0] >> 6];

    /* 0 and 1 are the forms of two and three bytes, which servers that are
     * published to have no use for */

    if ((p[0] & 0x3f) < RTMP_CSID_CONTROL) {
        *stream = NULL;
        return 0;
    }

    if (len < n) {
        return 0;
    }

    if (n >= 1 + 3) {
        timestamp = rtmp_get24(p + 1);

        if (len < n + (timestamp == RTMP_EXTENDED ? 4 : 0)) {
            return 0;
        }

        s->extended = (timestamp == RTMP_EXTENDED);
    }

    if (n >= 1 + 7) {
        length = rtmp_get24(p + 4);

        if (length > RTMP_MESSAGE_MAX) {
            *stream = NULL;
            return 0;
        }

        s->length = length;
        s->type = p[7];
    }

    n += s->extended ? 4 : 0;

    if (len < n) {
        return 0;
    }

    *stream = s;

    return n;
}


void
rtmp_write_message(rtmp_t *r, uint8_t csid, uint8_t type, uint32_t stream_id,
    rtmp_stream_out_t *s, uint32_t timestamp, const uint8_t *head,
    size_t head_len, const uint8_t *body, size_t len)
{
    int       extended;
    size_t    n, room;
    uint8_t   h[16], *p;
    uint32_t  stamp;

    stamp = timestamp;
    p = h;
    *p++ = csid;

    if (s && s->started && timestamp - s->timestamp < RTMP_EXTENDED) {
        stamp = timestamp - s->timestamp;
        h[0] |= 0x40;
    }

    extended = (stamp >= RTMP_EXTENDED);

    p = rtmp_set24(p, extended ? RTMP_EXTENDED : stamp);
    p = rtmp_set24(p, (uint32_t) (head_len + len));
    *p++ = type;

    if (!(h[0] & 0x40)) {
        *p++ = (uint8_t) stream_id;     /* little-endian */
        *p++ = (uint8_t) (stream_id >> 8);
        *p++ = (uint8_t) (stream_id >> 16);
        *p++ = (uint8_t) (stream_id >> 24);
    }

    if (s) {
        s->started = 1;
        s->timestamp = timestamp;
    }

    for ( ;; ) {
        if (extended) {
            p = rtmp_set32(p, stamp);
        }

        rtmp_put(r, h, p - h);

        room = r->chunk_out;

        n = head_len < room ? head_len : room;
        rtmp_put(r, head, n);
        head += n;
        head_len -= n;
        room -= n;

        n = len < room ? len : room;
        rtmp_put(r, body, n);
        body += n;
        len -= n;

        if (head_len + len == 0) {
            break;
        }

        p = h;
        *p++ = 0xc0 | csid;
    }
}

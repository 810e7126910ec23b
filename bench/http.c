
/*
 * Copyright (C) nginx-livestream contributors
 *
 * All connections read into one buffer.  An answer that has come whole is
 * handed out from there; of one that has not, what came is saved with its
 * connection.  Bodies that nobody looks at are thrown away by the kernel.
 */


#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "http.h"


typedef struct {
    int       status;
    int       gzip;
    int       chunked;
    int       close;
    int64_t   length;       /* -1: not said */
    size_t    size;         /* of the header */
} http_head_t;


static int http_discard(http_t *h, http_answer_t *answer);
static int http_parse_head(uint8_t *p, size_t len, http_head_t *head);
static void http_header(http_head_t *head, const char *line, size_t len);
static int http_whole(http_t *h, uint8_t *p, size_t len,
    http_answer_t *answer);
static int64_t http_unchunk(uint8_t *p, size_t len);
static int http_save(http_t *h, const uint8_t *p, size_t len);


static uint8_t  http_buffer[HTTP_ANSWER_MAX + 1];


int
http_parse_url(const char *text, http_url_t *url, const char **why)
{
    int               rc;
    char              host[256], port[8];
    const char       *path;
    struct addrinfo   hints, *res;

    memset(url, 0, sizeof(http_url_t));
    strcpy(port, "80");

    if (sscanf(text, "http://%255[^:/]:%7[0-9]", host, port) < 1) {
        *why = "not an http:// URL";
        return -1;
    }

    text += sizeof("http://") - 1;
    path = strchr(text, '/');

    if (path == NULL || strlen(path) >= sizeof(url->path)
        || (size_t) (path - text) >= sizeof(url->host))
    {
        *why = "the URL has no path, or one that is too long";
        return -1;
    }

    memcpy(url->host, text, path - text);
    strcpy(url->path, path);

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
http_resolve(const char *base, const char *uri, size_t len, char *path,
    size_t size)
{
    int          n;
    size_t       dir;
    const char  *p;

    if (len > 7 && strncmp(uri, "http://", 7) == 0) {
        p = memchr(uri + 7, '/', len - 7);

        if (p == NULL) {
            return -1;
        }

        len -= p - uri;
        uri = p;
    }

    dir = 0;

    if (len == 0 || uri[0] != '/') {
        dir = strcspn(base, "?");

        while (dir && base[dir - 1] != '/') {
            dir--;
        }
    }

    while (len >= 3 && strncmp(uri, "../", 3) == 0) {
        uri += 3;
        len -= 3;

        do {
            dir = dir > 1 ? dir - 1 : dir;
        } while (dir > 1 && base[dir - 1] != '/');
    }

    n = snprintf(path, size, "%.*s%.*s", (int) dir, base, (int) len, uri);

    return n < 0 || (size_t) n >= size ? -1 : 0;
}


int
http_open(http_t *h, const http_url_t *url, int discard)
{
    int  on;

    memset(h, 0, sizeof(http_t));

    h->discard = discard;
    h->fd = socket(url->addr.ss_family,
                   SOCK_STREAM|SOCK_NONBLOCK|SOCK_CLOEXEC, 0);

    if (h->fd == -1) {
        return -1;
    }

    on = 1;
    (void) setsockopt(h->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));

    if (connect(h->fd, (struct sockaddr *) &url->addr, url->addrlen) == -1
        && errno != EINPROGRESS)
    {
        http_close(h);
        return -1;
    }

    return 0;
}


int
http_connected(http_t *h)
{
    int        err;
    socklen_t  len;

    err = 0;
    len = sizeof(err);

    if (getsockopt(h->fd, SOL_SOCKET, SO_ERROR, &err, &len) == -1) {
        return -1;
    }

    h->connected = (err == 0);
    errno = err;

    return err ? -1 : 0;
}


/* a request always fits into the empty send buffer of an idle connection */
int
http_get(http_t *h, const http_url_t *url, const char *path, int gzip,
    const char *range)
{
    int      n;
    char     buf[2048];
    ssize_t  sent;

    n = snprintf(buf, sizeof(buf), "GET %s HTTP/1.1\r\nHost: %s\r\n%s%s%s%s"
                 "\r\n", path, url->host,
                 gzip ? "Accept-Encoding: gzip\r\n" : "",
                 range ? "Range: bytes=" : "", range ? range : "",
                 range ? "\r\n" : "");

    if (n < 0 || (size_t) n >= sizeof(buf)) {
        errno = EMSGSIZE;
        return -1;
    }

    sent = send(h->fd, buf, n, MSG_NOSIGNAL);

    if (sent != n) {
        errno = sent == -1 ? errno : EAGAIN;
        return -1;
    }

    h->busy = 1;

    return 0;
}


int
http_read(http_t *h, http_answer_t *answer)
{
    int      rc;
    size_t   have;
    ssize_t  n;

    if (h->head) {
        return http_discard(h, answer);
    }

    have = h->nsaved;

    if (have) {
        memcpy(http_buffer, h->saved, have);
        h->nsaved = 0;
    }

    do {
        n = recv(h->fd, http_buffer + have, HTTP_ANSWER_MAX - have, 0);
    } while (n == -1 && errno == EINTR);

    if (n == -1 && errno == EAGAIN) {
        return http_save(h, http_buffer, have);
    }

    if (n <= 0) {
        errno = n ? errno : 0;
        return -1;
    }

    if (!h->busy) {
        errno = EPROTO;
        return -1;
    }

    have += n;
    rc = http_whole(h, http_buffer, have, answer);

    if (rc == 0) {
        return h->head ? http_discard(h, answer)
                       : http_save(h, http_buffer, have);
    }

    return rc;
}


void
http_close(http_t *h)
{
    if (h->fd != -1) {
        close(h->fd);
        h->fd = -1;
    }

    free(h->saved);

    h->saved = NULL;
    h->nsaved = 0;
    h->connected = 0;
    h->busy = 0;
    h->head = 0;
}


static int
http_discard(http_t *h, http_answer_t *answer)
{
    ssize_t  n;

    while (h->left) {
        n = recv(h->fd, http_buffer,
                 h->left < HTTP_ANSWER_MAX ? h->left : HTTP_ANSWER_MAX,
                 MSG_TRUNC);

        if (n == -1 && errno == EINTR) {
            continue;
        }

        if (n == -1 && errno == EAGAIN) {
            return 0;
        }

        if (n <= 0) {
            errno = n ? errno : 0;
            return -1;
        }

        h->left -= n;
    }

    *answer = h->answer;
    h->head = 0;
    h->busy = 0;

    return 1;
}


/* the header's length is 0 while it is not whole */
static int
http_parse_head(uint8_t *p, size_t len, http_head_t *head)
{
    size_t       n;
    const char  *line, *end, *eol;

    memset(head, 0, sizeof(http_head_t));
    head->length = -1;

    end = memmem(p, len, "\r\n\r\n", 4);

    if (end == NULL) {
        return 0;
    }

    line = (const char *) p;

    if (strncmp(line, "HTTP/1.1 ", 9) != 0) {
        return -1;
    }

    head->status = atoi(line + 9);
    head->size = end + 4 - line;

    for ( ;; ) {
        eol = memmem(line, end + 2 - line, "\r\n", 2);

        if (eol == NULL) {
            break;
        }

        n = eol - line;
        http_header(head, line, n);
        line = eol + 2;
    }

    return 0;
}


static void
http_header(http_head_t *head, const char *line, size_t len)
{
    static const char  length[] = "Content-Length: ";
    static const char  encoding[] = "Content-Encoding: gzip";
    static const char  chunked[] = "Transfer-Encoding: chunked";
    static const char  closing[] = "Connection: close";

    if (len >= sizeof(length) - 1
        && strncasecmp(line, length, sizeof(length) - 1) == 0)
    {
        head->length = strtoll(line + sizeof(length) - 1, NULL, 10);
        return;
    }

    if (len == sizeof(encoding) - 1 && strncasecmp(line, encoding, len) == 0) {
        head->gzip = 1;
        return;
    }

    if (len == sizeof(chunked) - 1 && strncasecmp(line, chunked, len) == 0) {
        head->chunked = 1;
        return;
    }

    if (len == sizeof(closing) - 1 && strncasecmp(line, closing, len) == 0) {
        head->close = 1;
    }
}


static int
http_whole(http_t *h, uint8_t *p, size_t len, http_answer_t *answer)
{
    int64_t       n;
    http_head_t   head;

    if (http_parse_head(p, len, &head) != 0) {
        errno = EPROTO;
        return -1;
    }

    if (head.size == 0) {
        return 0;
    }

    p += head.size;
    len -= head.size;

    answer->status = head.status;
    answer->gzip = head.gzip;
    answer->close = head.close;
    answer->body = p;

    if (head.chunked) {
        n = http_unchunk(p, len);

        if (n == -1) {
            return 0;
        }

        answer->len = n;
        h->busy = 0;

        return 1;
    }

    if (head.length < 0) {
        head.length = (head.status == 204 || head.status == 304) ? 0 : -1;
    }

    if (head.length < 0 || (int64_t) len > head.length) {
        errno = EPROTO;
        return -1;
    }

    answer->len = head.length;

    if (h->discard) {
        answer->body = NULL;
        h->answer = *answer;
        h->head = 1;
        h->left = head.length - len;
        return 0;
    }

    if ((int64_t) len < head.length) {
        return 0;
    }

    h->busy = 0;

    return 1;
}


/* moves the chunks together; their length, or -1 while the last is missing */
static int64_t
http_unchunk(uint8_t *p, size_t len)
{
    char      *end;
    size_t     size;
    uint8_t   *in, *last, *out, *eol;

    /* first look, so that nothing is moved before all is there */

    for (out = NULL; /* void */ ; out = p) {
        in = p;
        last = p + len;

        for ( ;; ) {
            eol = memmem(in, last - in, "\r\n", 2);

            if (eol == NULL) {
                return -1;
            }

            size = strtoul((char *) in, &end, 16);
            in = eol + 2;

            if (size > (size_t) (last - in)
                || (size_t) (last - in) - size < 2)
            {
                return -1;
            }

            if (size == 0) {
                break;
            }

            if (out) {
                memmove(out, in, size);
                out += size;
            }

            in += size + 2;
        }

        if (out) {
            return out - p;
        }
    }
}


static int
http_save(http_t *h, const uint8_t *p, size_t len)
{
    uint8_t  *saved;

    if (len == 0) {
        return 0;
    }

    saved = realloc(h->saved, len);

    if (saved == NULL || len == HTTP_ANSWER_MAX) {
        errno = ENOMEM;
        return -1;
    }

    memcpy(saved, p, len);

    h->saved = saved;
    h->nsaved = len;

    return 0;
}

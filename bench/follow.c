
/*
 * Copyright (C) nginx-livestream contributors
 *
 * viewers --mode follow: each viewer follows the media playlists as a player
 * does.  It asks for the part after the last one that it saw, waits, and at
 * once asks again; with --parts a second connection fetches the parts that
 * it learned of.
 *
 * Thousands of viewers get the same bytes, so an answer is compared with
 * those known; only a new one is unpacked and parsed.
 *
 * Measured are the parts that came after the last viewer did: a viewer that
 * was not told of one of them has missed it.
 */


#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "follow.h"
#include "m3u8.h"


#define FOLLOW_LISTED     512           /* parts in one playlist */
#define FOLLOW_TEXT       (512 * 1024)  /* of a playlist, unpacked */
#define FOLLOW_RETRY      200000        /* us after an error */
#define FOLLOW_GRACE      5000000       /* us, for the last answers */


static int follow_init(viewers_t *v, follow_t *f, char **urls, int n);
static void follow_run(viewers_t *v, follow_t *f);
static int follow_joined(follow_t *f);
static int follow_answered(follow_t *f);
static void follow_retries(viewers_t *v);
static void follow_later(viewers_t *v, follower_t *w);
static void follow_ask(viewers_t *v, follower_t *w);
static void follow_playlist(viewers_t *v, viewers_conn_t *c, int rc,
    http_answer_t *answer);
static void follow_media(viewers_t *v, viewers_conn_t *c, int rc,
    http_answer_t *answer);
static void follow_fetch(viewers_t *v, follower_t *w);
static body_t *follow_body(track_t *t, http_answer_t *answer);
static const char *follow_unpack(http_answer_t *answer, size_t *len);
static int follow_parse(track_t *t, const char *text, size_t len,
    body_t *body);
static int follow_add(track_t *t, m3u8_part_t *p);
static void follow_told(viewers_t *v, follower_t *w, body_t *body);


static follow_t  follow;


int
viewers_follow(viewers_t *v, char **urls, int n)
{
    if (follow_init(v, &follow, urls, n) != 0) {
        return 1;
    }

    follow_run(v, &follow);
    viewers_usage(v);

    return follow_print(v, &follow);
}


static int
follow_init(viewers_t *v, follow_t *f, char **urls, int n)
{
    int          i;
    int64_t      j;
    follower_t  *w;
    const char  *why;

    f->retry_last = &f->retry;
    f->ntracks = n;
    f->nfollowers = n * v->viewers;
    f->tracks = calloc(n, sizeof(track_t));
    f->followers = calloc(f->nfollowers, sizeof(follower_t));

    if (f->tracks == NULL || f->followers == NULL) {
        fprintf(stderr, "viewers: no memory\n");
        return -1;
    }

    for (i = 0; i < n; i++) {
        if (http_parse_url(urls[i], &f->tracks[i].url, &why) != 0) {
            fprintf(stderr, "viewers: %s: %s\n", urls[i], why);
            return -1;
        }
    }

    for (j = 0; j < f->nfollowers; j++) {
        w = &f->followers[j];

        w->track = &f->tracks[j % n];
        w->newest = -1;
        w->playlist.http.fd = -1;
        w->playlist.handler = follow_playlist;
        w->playlist.data = w;
        w->media.http.fd = -1;
        w->media.handler = follow_media;
        w->media.data = w;
    }

    return 0;
}


static void
follow_run(viewers_t *v, follow_t *f)
{
    int      i;
    int64_t  begin, end, due, opened;

    begin = stats_clock();
    end = 0;
    opened = 0;

    for ( ;; ) {
        due = (v->now - begin) * v->rate / 1000000 * f->ntracks;

        while (opened < f->nfollowers && opened < due) {
            follow_ask(v, &f->followers[opened++]);
        }

        viewers_poll(v, opened < f->nfollowers ? 1 : 50);
        follow_retries(v);

        if (end == 0 && opened == f->nfollowers && follow_joined(f)) {
            end = v->now + v->seconds * 1000000;
        }

        if (viewers_quit && (end == 0 || end > v->now)) {
            end = v->now;
        }

        /* nobody is served within a minute: there is nothing to measure */

        if (end == 0 && v->now - begin > 60000000) {
            break;
        }

        if (end && v->now >= end) {

            for (i = 0; i < f->ntracks; i++) {
                if (f->tracks[i].limit == 0) {
                    f->tracks[i].limit = f->tracks[i].nparts;
                }
            }

            if (follow_answered(f) || v->now >= end + FOLLOW_GRACE) {
                break;
            }
        }
    }
}


static int
follow_joined(follow_t *f)
{
    int  i;

    for (i = 0; i < f->ntracks; i++) {
        if (f->tracks[i].joined < f->nfollowers / f->ntracks) {
            return 0;
        }
    }

    return 1;
}


static int
follow_answered(follow_t *f)
{
    int       i;
    int64_t   j;
    track_t  *t;

    for (i = 0; i < f->ntracks; i++) {
        t = &f->tracks[i];

        for (j = t->base; j < t->limit; j++) {
            if ((int64_t) t->parts[j].delays.n < f->nfollowers / f->ntracks) {
                return 0;
            }
        }
    }

    return 1;
}


static void
follow_retries(viewers_t *v)
{
    follower_t  *w;

    while (follow.retry && follow.retry->retry <= v->now) {
        w = follow.retry;
        follow.retry = w->next;

        if (follow.retry == NULL) {
            follow.retry_last = &follow.retry;
        }

        w->retry = 0;
        follow_ask(v, w);
        follow_fetch(v, w);
    }
}


static void
follow_later(viewers_t *v, follower_t *w)
{
    if (w->retry == 0) {
        w->retry = v->now + FOLLOW_RETRY;
        w->next = NULL;
        *follow.retry_last = w;
        follow.retry_last = &w->next;
    }
}


/* asks for the playlist, with a new connection where there is none */
static void
follow_ask(viewers_t *v, follower_t *w)
{
    int       n;
    char      path[sizeof(w->track->url.path) + 96];
    http_t   *h;

    h = &w->playlist.http;

    if (w->ended || (h->fd != -1 && (!h->connected || h->busy))) {
        return;
    }

    if (h->fd == -1) {
        if (viewers_open(v, &w->playlist, &w->track->url, 0) != 0) {
            follow_later(v, w);
        }

        return;
    }

    n = snprintf(path, sizeof(path), "%s", w->track->url.path);

    if (w->known) {
        snprintf(path + n, sizeof(path) - n,
                 "%c_HLS_msn=%llu&_HLS_part=%u%s",
                 strchr(path, '?') ? '&' : '?', (unsigned long long) w->msn,
                 w->part, v->skip ? "&_HLS_skip=YES" : "");
    }

    if (http_get(h, &w->track->url, path, !v->no_gzip, NULL) != 0) {
        v->failed++;
        http_close(h);
        follow_later(v, w);
    }
}


static void
follow_playlist(viewers_t *v, viewers_conn_t *c, int rc,
    http_answer_t *answer)
{
    body_t      *body;
    track_t     *t;
    follower_t  *w;

    w = c->data;
    t = w->track;

    if (rc == -1) {
        follow_later(v, w);
        return;
    }

    if (answer == NULL) {
        follow_ask(v, w);
        return;
    }

    t->answers++;
    t->bytes += answer->len;

    if (answer->status != 200) {
        t->statuses[answer->status % FOLLOW_STATUSES]++;
        follow_later(v, w);
        return;
    }

    body = follow_body(t, answer);

    if (body == NULL) {
        t->bad++;
        follow_later(v, w);
        return;
    }

    follow_told(v, w, body);
    follow_ask(v, w);

    if (v->parts) {
        follow_fetch(v, w);
    }
}


/* goes on from where the viewer was to what the answer says */
static void
follow_told(viewers_t *v, follower_t *w, body_t *body)
{
    int64_t   i;
    part_t   *part;
    track_t  *t;

    t = w->track;

    w->msn = body->msn;
    w->part = body->part;
    w->ended = body->ended;

    if (!w->known) {
        w->known = 1;
        w->newest = body->newest;
        w->got = body->newest;

        t->joined++;
        t->base = body->newest + 1 > t->base ? body->newest + 1 : t->base;
        return;
    }

    if (body->newest <= w->newest) {
        t->stale += body->ended ? 0 : 1;
        return;
    }

    t->merged += (body->newest > w->newest + 1);

    for (i = w->newest + 1; i <= body->newest; i++) {
        part = &t->parts[i];

        if (part->first == 0) {
            part->first = v->now;
        }

        stats_add(&part->delays, v->now - part->first);
    }

    w->newest = body->newest;
}


static void
follow_fetch(viewers_t *v, follower_t *w)
{
    part_t  *part;
    http_t  *h;

    h = &w->media.http;

    if (!v->parts || !w->known || (h->fd != -1 && (!h->connected || h->busy)))
    {
        return;
    }

    while (w->got < w->newest && w->track->parts[w->got + 1].gap) {
        w->got++;
    }

    if (w->got == w->newest) {
        return;
    }

    if (h->fd == -1) {
        if (viewers_open(v, &w->media, &w->track->url, 1) != 0) {
            follow_later(v, w);
        }

        return;
    }

    part = &w->track->parts[w->got + 1];
    w->asked = v->now;

    if (http_get(h, &w->track->url, part->path, 0,
                 part->range[0] ? part->range : NULL)
        != 0)
    {
        v->failed++;
        http_close(h);
        follow_later(v, w);
    }
}


static void
follow_media(viewers_t *v, viewers_conn_t *c, int rc, http_answer_t *answer)
{
    part_t      *part;
    track_t     *t;
    follower_t  *w;

    w = c->data;
    t = w->track;

    if (rc == -1) {
        follow_later(v, w);
        return;
    }

    if (answer == NULL) {
        follow_fetch(v, w);
        return;
    }

    part = &t->parts[++w->got];

    t->fetched++;
    t->fetched_bytes += answer->len;

    if (answer->status != 200 && answer->status != 206) {
        t->statuses[answer->status % FOLLOW_STATUSES]++;

    } else {
        stats_add(&t->fetches, v->now - w->asked);

        if (part->size == -1) {
            part->size = answer->len;
        }

        t->odd += ((size_t) part->size != answer->len);
    }

    follow_fetch(v, w);
}


/* the answer as one that is known, or NULL if it is no media playlist */
static body_t *
follow_body(track_t *t, http_answer_t *answer)
{
    size_t       len;
    body_t      *body;
    unsigned     i;
    const char  *text;

    for (i = 0; i < FOLLOW_BODIES; i++) {
        body = &t->bodies[(t->next_body + FOLLOW_BODIES - 1 - i)
                          % FOLLOW_BODIES];

        if (body->len == answer->len
            && memcmp(body->data, answer->body, body->len) == 0)
        {
            return body;
        }
    }

    text = follow_unpack(answer, &len);
    body = &t->bodies[t->next_body];

    if (text == NULL || follow_parse(t, text, len, body) != 0) {
        return NULL;
    }

    free(body->data);
    body->len = 0;
    body->data = malloc(answer->len);

    if (body->data) {
        memcpy(body->data, answer->body, answer->len);
        body->len = answer->len;
    }

    t->next_body = (t->next_body + 1) % FOLLOW_BODIES;

    return body;
}


static const char *
follow_unpack(http_answer_t *answer, size_t *len)
{
    int       rc;
    z_stream  z;

    static char  text[FOLLOW_TEXT + 1];

    memset(&z, 0, sizeof(z_stream));

    if (!answer->gzip) {
        if (answer->len > FOLLOW_TEXT) {
            return NULL;
        }

        memcpy(text, answer->body, answer->len);
        *len = answer->len;

    } else {
        if (inflateInit2(&z, MAX_WBITS + 16) != Z_OK) {
            return NULL;
        }

        z.next_in = answer->body;
        z.avail_in = answer->len;
        z.next_out = (Bytef *) text;
        z.avail_out = FOLLOW_TEXT;

        rc = inflate(&z, Z_FINISH);
        inflateEnd(&z);

        if (rc != Z_STREAM_END) {
            return NULL;
        }

        *len = z.total_out;
    }

    text[*len] = '\0';

    return text;
}


static int
follow_parse(track_t *t, const char *text, size_t len, body_t *body)
{
    size_t        i;
    m3u8_t        list;

    static m3u8_part_t  parts[FOLLOW_LISTED];

    list.parts = parts;
    list.max = FOLLOW_LISTED;

    if (m3u8_parse(text, len, &list) != 0) {
        return -1;
    }

    for (i = 0; i < list.nparts; i++) {
        if (follow_add(t, &parts[i]) != 0) {
            return -1;
        }
    }

    /* an older playlist than the newest may come from another worker */

    body->newest = t->nparts - 1;

    while (list.nparts && body->newest >= 0
           && (t->parts[body->newest].msn != parts[list.nparts - 1].msn
               || t->parts[body->newest].index
                  != parts[list.nparts - 1].index))
    {
        body->newest--;
    }

    body->msn = list.msn;
    body->part = list.part;
    body->ended = list.ended;

    return 0;
}


/* appends a part if it is newer than those known */
static int
follow_add(track_t *t, m3u8_part_t *p)
{
    part_t  *part, *last;

    last = t->nparts ? &t->parts[t->nparts - 1] : NULL;

    if (last && (p->msn < last->msn
                 || (p->msn == last->msn && p->index <= last->index)))
    {
        return 0;
    }

    if (last && (p->msn == last->msn ? p->index != last->index + 1
                                     : p->index != 0))
    {
        t->skipped++;
    }

    if (t->nparts == t->allocated) {
        t->allocated = t->allocated ? 2 * t->allocated : 256;
        part = realloc(t->parts, t->allocated * sizeof(part_t));

        if (part == NULL) {
            return -1;
        }

        t->parts = part;
    }

    part = &t->parts[t->nparts];
    memset(part, 0, sizeof(part_t));

    part->msn = p->msn;
    part->index = p->index;
    part->gap = p->gap;
    part->size = -1;

    if (p->length) {
        snprintf(part->range, sizeof(part->range), "%llu-%llu",
                 (unsigned long long) p->offset,
                 (unsigned long long) (p->offset + p->length - 1));
        part->size = p->length;
    }

    if (p->uri == NULL
        || http_resolve(t->url.path, p->uri, p->uri_len, part->path,
                        sizeof(part->path))
           != 0)
    {
        return -1;
    }

    t->nparts++;

    return 0;
}

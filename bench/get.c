
/*
 * Copyright (C) nginx-livestream contributors
 *
 * viewers --mode get: how many requests for one URL a server answers in a
 * second.
 */


#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "viewers.h"


typedef struct {
    http_url_t               url;
    viewers_conn_t          *conns;
    int64_t                  begin;
    int64_t                  end;
    uint64_t                 answers;
    uint64_t                 errors;        /* other than 200 and 206 */
    uint64_t                 bytes;         /* of bodies */
    int64_t                  size;          /* of the first body, or -1 */
    uint64_t                 odd;           /* of another size than it */
} get_t;


static void get_handler(viewers_t *v, viewers_conn_t *c, int rc,
    http_answer_t *answer);
static void get_print(viewers_t *v, get_t *g);


int
viewers_get(viewers_t *v, const char *text)
{
    int64_t      i;
    get_t        g;
    const char  *why;

    memset(&g, 0, sizeof(get_t));
    g.size = -1;

    if (http_parse_url(text, &g.url, &why) != 0) {
        fprintf(stderr, "viewers: %s: %s\n", text, why);
        return 1;
    }

    g.conns = calloc(v->viewers, sizeof(viewers_conn_t));

    if (g.conns == NULL) {
        return 1;
    }

    for (i = 0; i < v->viewers; i++) {
        g.conns[i].handler = get_handler;
        g.conns[i].data = &g;
        (void) viewers_open(v, &g.conns[i], &g.url, 1);
    }

    g.begin = stats_clock();
    g.end = g.begin + v->seconds * 1000000;

    do {
        viewers_poll(v, 100);
    } while (v->now < g.end && !viewers_quit);

    g.end = v->now;

    viewers_usage(v);
    get_print(v, &g);
    free(g.conns);

    return g.answers && g.errors + g.odd + v->failed == 0 ? 0 : 2;
}


static void
get_handler(viewers_t *v, viewers_conn_t *c, int rc, http_answer_t *answer)
{
    get_t  *g;

    g = c->data;

    if (v->now >= g->end) {
        return;
    }

    if (answer) {
        g->answers++;
        g->bytes += answer->len;

        if (answer->status != 200 && answer->status != 206) {
            g->errors++;

        } else if (g->size == -1) {
            g->size = answer->len;

        } else if ((size_t) g->size != answer->len) {
            g->odd++;
        }
    }

    if (rc == -1 || c->http.fd == -1) {
        (void) viewers_open(v, c, &g->url, 1);
        return;
    }

    (void) http_get(&c->http, &g->url, g->url.path, !v->no_gzip, NULL);
}


static void
get_print(viewers_t *v, get_t *g)
{
    double  seconds;

    seconds = (g->end - g->begin) / 1e6;

    printf(v->json
           ? "{\"connections\":%lld,\"seconds\":%.3f,\"answers\":%llu,"
             "\"per_second\":%.1f,\"size\":%lld,\"bytes\":%llu,"
             "\"errors\":%llu,\"odd\":%llu,\"failed\":%llu,\"cpu\":%.3f}\n"
           : "connections  %lld for %.1f s\n"
             "answers      %llu, %.1f a second, of %lld bytes each\n"
             "bytes        %llu\n"
             "errors       %llu, of another size %llu, failed connections "
             "%llu\n"
             "own CPU      %.2f s\n",
           (long long) v->viewers, seconds, (unsigned long long) g->answers,
           g->answers / seconds, (long long) g->size,
           (unsigned long long) g->bytes, (unsigned long long) g->errors,
           (unsigned long long) g->odd, (unsigned long long) v->failed,
           v->cpu);
}


/*
 * Copyright (C) nginx-livestream contributors
 *
 * viewers: the load generator.
 *
 *   --mode follow   N viewers of one or more media playlists of a stream:
 *                   blocking reloads, and with --parts each part too
 *   --mode get      N connections that ask for one URL, again and again
 *
 * A signal to end (INT, TERM) ends the measurement early.
 *
 * Exit: 0 all well, 1 usage, 2 errors, or viewers that were not answered.
 */


#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <unistd.h>

#include "options.h"
#include "viewers.h"


#define VIEWERS_EVENTS  512


static void viewers_signal(int signo);
static void viewers_event(viewers_t *v, viewers_conn_t *c, uint32_t events);


static const option_t  viewers_options[] = {

    { "mode", "MODE", option_text, offsetof(viewers_t, mode),
      "follow (the default) or get" },
    { "viewers", "N", option_number, offsetof(viewers_t, viewers),
      "viewers, or connections that get (100)" },
    { "seconds", "N", option_number, offsetof(viewers_t, seconds),
      "measured, after all are there (10)" },
    { "rate", "N", option_number, offsetof(viewers_t, rate),
      "viewers that come in a second (2000)" },
    { "skip", NULL, option_flag, offsetof(viewers_t, skip),
      "ask for delta updates" },
    { "parts", NULL, option_flag, offsetof(viewers_t, parts),
      "fetch each part" },
    { "no-gzip", NULL, option_flag, offsetof(viewers_t, no_gzip),
      "accept no gzip" },
    { "json", NULL, option_flag, offsetof(viewers_t, json),
      "print JSON" },
    { "each", NULL, option_flag, offsetof(viewers_t, each),
      "print a line for each part" },

    { NULL, NULL, NULL, 0, NULL }
};


volatile sig_atomic_t  viewers_quit;


int
main(int argc, char **argv)
{
    int               i;
    viewers_t         v;
    struct rlimit     limit;
    struct sigaction  sa;

    memset(&v, 0, sizeof(viewers_t));

    v.mode = "follow";
    v.viewers = 100;
    v.seconds = 10;
    v.rate = 2000;

    i = options_parse(viewers_options, &v, "viewers [options] URL ...", argc,
                      argv);

    if (i == argc || v.viewers < 1 || v.seconds < 1 || v.rate < 1) {
        fprintf(stderr, "viewers: a URL is needed, see --help\n");
        return 1;
    }

    memset(&sa, 0, sizeof(sa));
    sa.sa_handler = viewers_signal;
    sigaction(SIGINT, &sa, NULL);
    sigaction(SIGTERM, &sa, NULL);

    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        (void) setrlimit(RLIMIT_NOFILE, &limit);
    }

    v.epoll = epoll_create1(EPOLL_CLOEXEC);
    v.now = stats_clock();

    if (strcmp(v.mode, "follow") == 0) {
        return viewers_follow(&v, argv + i, argc - i);
    }

    if (strcmp(v.mode, "get") == 0) {
        return viewers_get(&v, argv[i]);
    }

    fprintf(stderr, "viewers: --mode is follow or get\n");

    return 1;
}


int
viewers_open(viewers_t *v, viewers_conn_t *c, const http_url_t *url,
    int discard)
{
    struct epoll_event  ee;

    if (http_open(&c->http, url, discard) != 0) {
        v->failed++;
        return -1;
    }

    ee.events = EPOLLIN|EPOLLOUT|EPOLLRDHUP|EPOLLET;
    ee.data.ptr = c;

    if (epoll_ctl(v->epoll, EPOLL_CTL_ADD, c->http.fd, &ee) == -1) {
        http_close(&c->http);
        v->failed++;
        return -1;
    }

    return 0;
}


void
viewers_poll(viewers_t *v, int timeout)
{
    int                 i, n;
    struct epoll_event  events[VIEWERS_EVENTS];

    n = epoll_wait(v->epoll, events, VIEWERS_EVENTS, timeout);

    v->now = stats_clock();

    for (i = 0; i < n; i++) {
        viewers_event(v, events[i].data.ptr, events[i].events);
    }
}


void
viewers_usage(viewers_t *v)
{
    struct rusage  ru;

    if (getrusage(RUSAGE_SELF, &ru) == 0) {
        v->cpu = ru.ru_utime.tv_sec + ru.ru_stime.tv_sec
                 + (ru.ru_utime.tv_usec + ru.ru_stime.tv_usec) / 1e6;
    }
}


static void
viewers_signal(int signo)
{
    (void) signo;

    viewers_quit = 1;
}


static void
viewers_event(viewers_t *v, viewers_conn_t *c, uint32_t events)
{
    int            rc;
    http_t        *h;
    http_answer_t  answer;

    h = &c->http;

    /* closed by what came before it in the same batch of events */

    if (h->fd == -1) {
        return;
    }

    if (!h->connected) {

        if (http_connected(h) != 0) {
            v->failed++;
            http_close(h);
            c->handler(v, c, -1, NULL);
            return;
        }

        c->handler(v, c, 1, NULL);
    }

    if (!(events & (EPOLLIN|EPOLLRDHUP|EPOLLHUP|EPOLLERR))) {
        return;
    }

    v->now = stats_clock();
    rc = http_read(h, &answer);

    if (rc == 0) {
        return;
    }

    if (rc == -1) {
        v->failed += h->busy ? 1 : 0;
        http_close(h);
        c->handler(v, c, -1, NULL);
        return;
    }

    if (answer.close) {
        http_close(h);
    }

    c->handler(v, c, 1, &answer);
}


/*
 * Copyright (C) nginx-livestream contributors
 *
 * publish: sends media files in real time over RTMP, to one key or to many,
 * with the oddities that live publishers have.
 *
 * Time in options is the stream's: milliseconds since it was published,
 * times the speed.  A line on stdout for each event: seconds since 1970, the
 * event, the key, and what else there is to say.
 *
 * Exit: 0 published to the end, 1 usage, 2 a file can't be read, 3 refused,
 * 4 closed by the server or not reached.
 */


#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "options.h"
#include "publish.h"


#define PUBLISH_EVENTS      256
#define PUBLISH_WAIT        10000000    /* us, at most in epoll_wait() */


static int option_step(void *field, const char *value);
static int option_change(void *field, const char *value);
static int publish_watch(publish_t *p, const char **why);
static void publish_load(publish_t *p, flvmux_clip_t *clip,
    const char *file);
static void publish_keys(publish_t *p);
static char *publish_key(const char *pattern, int64_t i);
static void publish_run(publish_t *p);
static void publish_free(publish_t *p);


static const option_t  publish_options[] = {

    { "enhanced", NULL, option_flag, offsetof(publish_conf_t, enhanced),
      "FourCC tags for H.264 and AAC too" },
    { "loop", NULL, option_flag, offsetof(publish_conf_t, loop),
      "play the file again, with timestamps that go on" },
    { "no-audio", NULL, option_flag, offsetof(publish_conf_t, no_audio),
      "leave the audio out" },
    { "no-video", NULL, option_flag, offsetof(publish_conf_t, no_video),
      "leave the video out" },
    { "no-meta", NULL, option_flag, offsetof(publish_conf_t, no_meta),
      "send no onMetaData" },
    { "no-fc", NULL, option_flag, offsetof(publish_conf_t, no_fc),
      "send no releaseStream, FCPublish and FCUnpublish" },
    { "speed", "FACTOR", option_real, offsetof(publish_conf_t, speed),
      "faster or slower than real time" },
    { "ahead", "MS", option_number, offsetof(publish_conf_t, ahead),
      "send MS as fast as --watch tells, then go on" },
    { "watch", "URL", option_text, offsetof(publish_conf_t, watch),
      "the stream's playlist, see --ahead" },
    { "lead", "MS", option_number, offsetof(publish_conf_t, lead),
      "send that much before it is listed, as parts" },
    { "count", "N", option_number, offsetof(publish_conf_t, count),
      "connections; %d in the key is their number" },
    { "key-file", "FILE", option_text, offsetof(publish_conf_t, key_file),
      "a connection for each line of FILE" },
    { "stagger", "MS", option_number, offsetof(publish_conf_t, stagger),
      "between the starts of two connections" },
    { "repeat", "N", option_number, offsetof(publish_conf_t, repeat),
      "connect N times, one after the other" },
    { "pause", "MS", option_number, offsetof(publish_conf_t, pause),
      "before connecting again" },
    { "chunk", "BYTES", option_number, offsetof(publish_conf_t, chunk),
      "chunk size (4096)" },
    { "start-ts", "MS", option_number, offsetof(publish_conf_t, start_ts),
      "timestamp to begin with" },
    { "jump", "AT:BY", option_step, offsetof(publish_conf_t, jumps),
      "timestamps from AT on are BY more (or less)" },
    { "audio-offset", "MS", option_number,
      offsetof(publish_conf_t, audio_offset),
      "added to the audio's timestamps" },
    { "drop-audio-after", "MS", option_number,
      offsetof(publish_conf_t, drop_audio), "video only from then on" },
    { "jitter", "MS", option_number, offsetof(publish_conf_t, jitter),
      "send each tag up to MS late" },
    { "burst", "MS", option_number, offsetof(publish_conf_t, burst),
      "send what MS bring at once" },
    { "freeze", "AT:FOR", option_step, offsetof(publish_conf_t, freezes),
      "send nothing for so long, then what was due" },
    { "change-to", "AT:FILE", option_change,
      offsetof(publish_conf_t, changes), "go on with another file" },
    { "stop-after", "MS", option_number,
      offsetof(publish_conf_t, stop_after), "end with a goodbye" },
    { "cut-after", "MS", option_number, offsetof(publish_conf_t, cut_after),
      "end with a reset of the connection" },

    { NULL, NULL, NULL, 0, NULL }
};


volatile sig_atomic_t  publish_quit;


static void
publish_signal(int signo)
{
    (void) signo;

    publish_quit = 1;
}


int
main(int argc, char **argv)
{
    int                i;
    const char        *why;
    publish_t          p;
    struct rlimit      limit;
    struct sigaction   sa;

    memset(&p, 0, sizeof(publish_t));

    p.conf.speed = 1;
    p.conf.count = 1;
    p.conf.repeat = 1;
    p.conf.chunk = 4096;
    p.conf.drop_audio = -1;
    p.conf.stop_after = -1;
    p.conf.cut_after = -1;

    i = options_parse(publish_options, &p.conf,
                      "publish [options] FILE rtmp://HOST[:PORT]/APP/KEY",
                      argc, argv);

    if (argc - i != 2 || p.conf.speed <= 0 || p.conf.chunk < 1
        || p.conf.chunk > 0xffffff)
    {
        fprintf(stderr, "publish: a file and a URL are needed, see --help\n");
        return 1;
    }

    if (rtmp_parse_url(argv[i + 1], &p.url, &why) != 0) {
        fprintf(stderr, "publish: %s: %s\n", argv[i + 1], why);
        return 1;
    }

    if (p.conf.ahead && publish_watch(&p, &why) != 0) {
        fprintf(stderr, "publish: --ahead: %s\n", why);
        return 1;
    }

    setvbuf(stdout, NULL, _IOLBF, 0);
    srand((unsigned) stats_clock());

    memset(&sa, 0, sizeof(sa));
    sa.sa_handler = publish_signal;
    sigaction(SIGINT, &sa, NULL);
    sigaction(SIGTERM, &sa, NULL);

    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        (void) setrlimit(RLIMIT_NOFILE, &limit);
    }

    publish_load(&p, &p.clip, argv[i]);

    for (i = 0; i < p.conf.changes.n; i++) {
        publish_load(&p, &p.conf.changes.steps[i].clip,
                     p.conf.changes.steps[i].file);
    }

    publish_keys(&p);
    publish_run(&p);
    publish_free(&p);

    publish_event(NULL, "total", "sessions=%lld published=%lld refused=%lld "
                  "closed=%lld bytes=%llu lag_ms=%lld",
                  (long long) p.nsessions, (long long) p.published,
                  (long long) p.refused, (long long) p.closed,
                  (unsigned long long) p.bytes, (long long) p.lag / 1000);

    return p.code;
}


static int
option_step(void *field, const char *value)
{
    long long         at, by;
    publish_step_t   *step;
    publish_steps_t  *steps;

    steps = field;

    if (steps->n == PUBLISH_STEPS || sscanf(value, "%lld:%lld", &at, &by) != 2)
    {
        return -1;
    }

    step = &steps->steps[steps->n++];
    step->at = at * 1000;
    step->by = by * 1000;

    return 0;
}


static int
option_change(void *field, const char *value)
{
    int               n;
    long long         at;
    publish_step_t   *step;
    publish_steps_t  *steps;

    steps = field;
    n = 0;

    if (steps->n == PUBLISH_STEPS || sscanf(value, "%lld:%n", &at, &n) != 1
        || n == 0 || value[n] == '\0')
    {
        return -1;
    }

    step = &steps->steps[steps->n++];
    step->at = at * 1000;
    step->file = value + n;

    return 0;
}


static int
publish_watch(publish_t *p, const char **why)
{
    if (p->conf.watch == NULL) {
        *why = "--watch is needed";
        return -1;
    }

    if (p->conf.key_file || p->conf.count != 1 || p->conf.repeat != 1) {
        *why = "only one connection can be watched";
        return -1;
    }

    p->watch.parts = (p->conf.lead != 0);

    return watch_init(&p->watch, p->conf.watch, why);
}


static void
publish_load(publish_t *p, flvmux_clip_t *clip, const char *file)
{
    char           error[512];
    flvmux_conf_t  conf;

    conf.enhanced = p->conf.enhanced;
    conf.no_audio = p->conf.no_audio;
    conf.no_video = p->conf.no_video;

    if (flvmux_load(clip, file, &conf, error, sizeof(error)) != 0) {
        fprintf(stderr, "publish: %s\n", error);
        exit(2);
    }
}


static void
publish_keys(publish_t *p)
{
    char      *key, line[256];
    FILE      *f;
    int64_t    n;

    f = NULL;
    n = p->conf.count;

    if (p->conf.key_file) {
        f = fopen(p->conf.key_file, "r");
        n = INT64_MAX;

        if (f == NULL) {
            fprintf(stderr, "publish: %s: %s\n", p->conf.key_file,
                    strerror(errno));
            exit(2);
        }
    }

    while (p->nsessions < n) {

        if (f && fgets(line, sizeof(line), f) == NULL) {
            break;
        }

        if (f) {
            line[strcspn(line, "\r\n")] = '\0';
        }

        key = publish_key(f ? line : p->url.key, p->nsessions);
        p->sessions = realloc(p->sessions,
                              (p->nsessions + 1) * sizeof(session_t));

        if (key == NULL || p->sessions == NULL) {
            fprintf(stderr, "publish: no memory\n");
            exit(2);
        }

        memset(&p->sessions[p->nsessions], 0, sizeof(session_t));
        p->sessions[p->nsessions++].key = key;
    }

    if (f) {
        fclose(f);
    }
}


/* the pattern, with the first %d replaced */
static char *
publish_key(const char *pattern, int64_t i)
{
    char        *key;
    size_t       size;
    const char  *at;

    size = strlen(pattern) + 24;
    key = malloc(size);

    if (key == NULL) {
        return NULL;
    }

    at = strstr(pattern, "%d");

    if (at) {
        snprintf(key, size, "%.*s%lld%s", (int) (at - pattern), pattern,
                 (long long) i, at + 2);

    } else {
        strcpy(key, pattern);
    }

    return key;
}


static void
publish_run(publish_t *p)
{
    int                  i, n, timeout;
    int64_t              j, now, when, nearest;
    session_t           *s;
    struct epoll_event   events[PUBLISH_EVENTS];

    p->epoll = epoll_create1(EPOLL_CLOEXEC);
    p->watch.epoll = p->epoll;
    now = stats_clock();
    p->live = p->nsessions;

    for (j = 0; j < p->nsessions; j++) {
        s = &p->sessions[j];
        s->when = now + j * p->conf.stagger * 1000;
        s->runs = p->conf.repeat;
    }

    while (p->live) {
        now = stats_clock();
        nearest = now + PUBLISH_WAIT;

        for (j = 0; j < p->nsessions; j++) {
            when = session_run(p, &p->sessions[j], now);

            if (when < nearest) {
                nearest = when;
            }
        }

        timeout = nearest > now ? (int) ((nearest - now + 999) / 1000) : 0;

        n = epoll_wait(p->epoll, events, PUBLISH_EVENTS,
                       p->live ? timeout : 0);

        for (i = 0; i < n; i++) {

            if (events[i].data.ptr == &p->watch) {
                watch_ready(&p->watch, events[i].events);
                continue;
            }

            s = events[i].data.ptr;

            if (s->rtmp.fd != -1) {
                session_ready(p, s);
            }
        }
    }

    close(p->epoll);
}


static void
publish_free(publish_t *p)
{
    int      i;
    int64_t  j;

    flvmux_free(&p->clip);

    for (i = 0; i < p->conf.changes.n; i++) {
        flvmux_free(&p->conf.changes.steps[i].clip);
    }

    for (j = 0; j < p->nsessions; j++) {
        free(p->sessions[j].key);
    }

    free(p->sessions);
}


void
publish_event(session_t *s, const char *event, const char *fmt, ...)
{
    va_list          args;
    struct timespec  ts;

    clock_gettime(CLOCK_REALTIME, &ts);

    printf("%lld.%03ld %s", (long long) ts.tv_sec, ts.tv_nsec / 1000000,
           event);

    if (s) {
        printf(" %s", s->key[0] ? s->key : "-");
    }

    if (fmt) {
        putchar(' ');
        va_start(args, fmt);
        vprintf(fmt, args);
        va_end(args);
    }

    putchar('\n');
}

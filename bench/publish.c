
/*
 * Copyright (C) nginx-livestream contributors
 *
 * publish: sends media files in real time over RTMP, to one key or to many,
 * with the oddities that live publishers have.
 *
 *   clips (read once) --> session 0..n --> rtmp.c
 *                           waiting -> opening -> publishing -> ended
 *                                         |          |  ^
 *                                         +- refused |  +- frozen
 *                                                    +- leaving
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

#include "flvmux.h"
#include "options.h"
#include "rtmp.h"


#define PUBLISH_EVENTS      256
#define PUBLISH_STEPS       16          /* --jump, --change-to, --freeze */
#define PUBLISH_PENDING     (4 * 1024 * 1024)
#define PUBLISH_TIMEOUT     10000000    /* us to be answered in */
#define PUBLISH_NEVER       INT64_MAX

#define PUBLISH_REFUSED     3
#define PUBLISH_CLOSED      4


typedef struct {
    int64_t          at;                /* us of the stream */
    int64_t          by;                /* us */
    const char      *file;
    flvmux_clip_t    clip;
} publish_step_t;


typedef struct {
    publish_step_t   steps[PUBLISH_STEPS];
    int              n;
} publish_steps_t;


typedef struct {
    int              enhanced;
    int              loop;
    int              no_audio;
    int              no_video;
    int              no_meta;
    int              no_fc;
    double           speed;
    int64_t          count;
    int64_t          stagger;           /* ms */
    int64_t          repeat;
    int64_t          pause;             /* ms */
    int64_t          chunk;
    int64_t          start_ts;          /* ms */
    int64_t          audio_offset;      /* ms */
    int64_t          drop_audio;        /* ms, -1: never */
    int64_t          jitter;            /* ms */
    int64_t          burst;             /* ms */
    int64_t          stop_after;        /* ms, -1: never */
    int64_t          cut_after;         /* ms, -1: never */
    const char      *key_file;
    publish_steps_t  jumps;
    publish_steps_t  freezes;
    publish_steps_t  changes;
} publish_conf_t;


typedef enum {
    SESSION_WAITING = 0,
    SESSION_OPENING,
    SESSION_PUBLISHING,
    SESSION_LEAVING,
    SESSION_REFUSED,
    SESSION_ENDED
} session_state_e;


typedef struct {
    rtmp_t           rtmp;
    session_state_e  state;
    char            *key;
    uint32_t         events;            /* that epoll knows of */
    int64_t          runs;              /* left */

    int64_t          when;              /* us: to open, or to give up */
    int64_t          begin;             /* us: when it was published */

    flvmux_clip_t   *clip;
    size_t           next;              /* tag */
    int64_t          base;              /* us of the stream at clip's begin */
    int64_t          late;              /* us, jitter of the next tag */
    int              change;            /* next of changes */
    int              frozen;
} session_t;


typedef struct {
    publish_conf_t   conf;
    rtmp_url_t       url;
    flvmux_clip_t    clip;
    session_t       *sessions;
    int64_t          nsessions;
    int64_t          live;              /* sessions that have not ended */
    int              epoll;
    int              code;              /* to exit with */
    int64_t          published;
    int64_t          refused;
    int64_t          closed;
    uint64_t         bytes;
    int64_t          lag;               /* us, the latest that a tag was */
} publish_t;


static int option_step(void *field, const char *value);
static int option_change(void *field, const char *value);
static void publish_load(publish_t *p, flvmux_clip_t *clip,
    const char *file);
static void publish_keys(publish_t *p);
static char *publish_key(const char *pattern, int64_t i);
static void publish_run(publish_t *p);
static void publish_event(session_t *s, const char *event, const char *fmt,
    ...);
static int64_t session_run(publish_t *p, session_t *s, int64_t now);
static void session_open(publish_t *p, session_t *s, int64_t now);
static void session_ready(publish_t *p, session_t *s);
static void session_answered(publish_t *p, session_t *s);
static void session_end(publish_t *p, session_t *s, int reset);
static void session_poll(publish_t *p, session_t *s);
static int64_t session_media(publish_t *p, session_t *s, int64_t now);
static int64_t session_freeze(publish_t *p, session_t *s, int64_t media);
static void session_leave(publish_t *p, session_t *s, int64_t now);
static flvmux_tag_t *session_tag(publish_t *p, session_t *s);
static int64_t session_due(publish_t *p, session_t *s, flvmux_tag_t *tag);
static void session_send(publish_t *p, session_t *s, flvmux_tag_t *tag);
static void session_headers(publish_t *p, session_t *s);
static uint32_t session_timestamp(publish_t *p, int64_t at, int64_t ms,
    int audio);


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


static volatile sig_atomic_t  publish_quit;


static int64_t
publish_clock(void)
{
    struct timespec  ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);

    return (int64_t) ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}


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

    setvbuf(stdout, NULL, _IOLBF, 0);
    srand((unsigned) publish_clock());

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
    now = publish_clock();
    p->live = p->nsessions;

    for (j = 0; j < p->nsessions; j++) {
        s = &p->sessions[j];
        s->when = now + j * p->conf.stagger * 1000;
        s->runs = p->conf.repeat;
    }

    while (p->live) {
        now = publish_clock();
        nearest = now + PUBLISH_TIMEOUT;

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
            s = events[i].data.ptr;

            if (s->rtmp.fd != -1) {
                session_ready(p, s);
            }
        }
    }

    close(p->epoll);
}


static void
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


/* does what is due; returns when to be called again */
static int64_t
session_run(publish_t *p, session_t *s, int64_t now)
{
    int64_t  when;

    if (publish_quit && s->state == SESSION_WAITING) {
        s->runs = 0;
        s->state = SESSION_ENDED;
        p->live--;
    }

    switch (s->state) {

    case SESSION_WAITING:
        if (now < s->when) {
            return s->when;
        }

        session_open(p, s, now);
        return s->when;

    case SESSION_PUBLISHING:
        when = session_media(p, s, now);
        session_poll(p, s);
        return when;

    case SESSION_LEAVING:
        if (rtmp_pending(&s->rtmp) == 0 || now >= s->when) {
            publish_event(s, "finished", NULL);
            session_end(p, s, 0);
            return now;
        }

        return s->when;

    case SESSION_OPENING:
    case SESSION_REFUSED:
        if (now < s->when && !publish_quit) {
            return s->when;
        }

        if (s->state == SESSION_OPENING) {
            publish_event(s, "closed", "no answer");
            p->closed++;
            p->code = PUBLISH_CLOSED;

        } else {
            publish_event(s, "open", "the server kept the connection");
        }

        session_end(p, s, 0);
        return now;

    case SESSION_ENDED:
        break;
    }

    return PUBLISH_NEVER;
}


static void
session_open(publish_t *p, session_t *s, int64_t now)
{
    struct epoll_event  ee;

    s->runs--;
    s->clip = &p->clip;
    s->next = 0;
    s->base = 0;
    s->late = 0;
    s->change = 0;
    s->frozen = 0;

    if (rtmp_open(&s->rtmp, &p->url, s->key, (uint32_t) p->conf.chunk,
                  !p->conf.no_fc)
        != 0)
    {
        publish_event(s, "closed", "connect: %s", strerror(errno));
        p->closed++;
        p->code = PUBLISH_CLOSED;
        session_end(p, s, 0);
        return;
    }

    s->state = SESSION_OPENING;
    s->when = now + PUBLISH_TIMEOUT;
    s->events = EPOLLIN|EPOLLOUT;

    ee.events = s->events;
    ee.data.ptr = s;
    (void) epoll_ctl(p->epoll, EPOLL_CTL_ADD, s->rtmp.fd, &ee);
}


static void
session_ready(publish_t *p, session_t *s)
{
    rtmp_state_e  before;

    before = s->rtmp.state;

    rtmp_process(&s->rtmp);

    if (before == RTMP_CONNECTING && s->rtmp.state != RTMP_CLOSED) {
        publish_event(s, "connected", NULL);
    }

    if (before < RTMP_PUBLISHING && s->rtmp.state != before) {
        session_answered(p, s);
    }

    if (s->rtmp.state != RTMP_CLOSED) {
        session_poll(p, s);
        return;
    }

    publish_event(s, "closed", "%s%s%s", s->rtmp.reason,
                  s->rtmp.code[0] ? ", last status " : "", s->rtmp.code);

    if (s->state != SESSION_REFUSED && s->state != SESSION_LEAVING) {
        p->closed++;
        p->code = PUBLISH_CLOSED;
    }

    session_end(p, s, 0);
}


static void
session_answered(publish_t *p, session_t *s)
{
    if (s->rtmp.state == RTMP_PUBLISHING) {
        publish_event(s, "publishing", NULL);
        p->published++;

        s->state = SESSION_PUBLISHING;
        s->begin = publish_clock();
        session_headers(p, s);

    } else if (s->rtmp.state == RTMP_REFUSED) {
        publish_event(s, "refused", "%s %s", s->rtmp.code,
                      s->rtmp.description);
        p->refused++;
        p->code = p->code ? p->code : PUBLISH_REFUSED;

        s->state = SESSION_REFUSED;
        s->when = publish_clock() + PUBLISH_TIMEOUT / 2;
    }
}


static void
session_end(publish_t *p, session_t *s, int reset)
{
    p->bytes += s->rtmp.sent;

    rtmp_close(&s->rtmp, reset);

    if (s->runs > 0 && !publish_quit) {
        s->state = SESSION_WAITING;
        s->when = publish_clock() + p->conf.pause * 1000;
        return;
    }

    s->state = SESSION_ENDED;
    p->live--;
}


static void
session_poll(publish_t *p, session_t *s)
{
    uint32_t            events;
    struct epoll_event  ee;

    if (s->rtmp.fd == -1) {
        return;
    }

    events = rtmp_pending(&s->rtmp) ? EPOLLIN|EPOLLOUT : EPOLLIN;

    if (events == s->events) {
        return;
    }

    s->events = events;

    ee.events = events;
    ee.data.ptr = s;
    (void) epoll_ctl(p->epoll, EPOLL_CTL_MOD, s->rtmp.fd, &ee);
}


static int64_t
session_media(publish_t *p, session_t *s, int64_t now)
{
    int64_t        media, due, thaw;
    flvmux_tag_t  *tag;

    media = (int64_t) ((now - s->begin) * p->conf.speed);

    if (p->conf.cut_after >= 0 && media >= p->conf.cut_after * 1000) {
        publish_event(s, "cut", NULL);
        session_end(p, s, 1);
        return now;
    }

    if (publish_quit
        || (p->conf.stop_after >= 0 && media >= p->conf.stop_after * 1000))
    {
        session_leave(p, s, now);
        return now;
    }

    thaw = session_freeze(p, s, media);

    if (thaw) {
        return now + (int64_t) ((thaw - media) / p->conf.speed);
    }

    for ( ;; ) {
        tag = session_tag(p, s);

        if (tag == NULL) {
            session_leave(p, s, now);
            return now;
        }

        due = session_due(p, s, tag);

        if (due > media) {
            return s->begin + (int64_t) (due / p->conf.speed);
        }

        if (rtmp_pending(&s->rtmp) > PUBLISH_PENDING) {
            return now + 10000;
        }

        if (media - due > p->lag && !s->frozen) {
            p->lag = media - due;
        }

        session_send(p, s, tag);

        /* it is the event loop that tells of a connection closed */

        if (s->rtmp.state == RTMP_CLOSED) {
            session_ready(p, s);
            return now;
        }
    }
}


/* the time when the ice will break, or 0 */
static int64_t
session_freeze(publish_t *p, session_t *s, int64_t media)
{
    int              i;
    publish_step_t  *f;

    for (i = 0; i < p->conf.freezes.n; i++) {
        f = &p->conf.freezes.steps[i];

        if (media >= f->at && media < f->at + f->by) {

            if (!s->frozen) {
                s->frozen = 1;
                publish_event(s, "frozen", NULL);
            }

            return f->at + f->by;
        }
    }

    if (s->frozen) {
        s->frozen = 0;
        publish_event(s, "thawed", NULL);
    }

    return 0;
}


static void
session_leave(publish_t *p, session_t *s, int64_t now)
{
    s->state = SESSION_LEAVING;
    s->when = now + PUBLISH_TIMEOUT / 2;

    rtmp_unpublish(&s->rtmp);
    session_poll(p, s);
}


/* the next tag, from the next file where it is time, or from the beginning */
static flvmux_tag_t *
session_tag(publish_t *p, session_t *s)
{
    int64_t          at;
    publish_step_t  *change;

    if (s->next == s->clip->ntags) {

        if (!p->conf.loop) {
            return NULL;
        }

        s->base += s->clip->period;
        s->next = 0;
    }

    if (s->change < p->conf.changes.n) {
        change = &p->conf.changes.steps[s->change];
        at = s->base + s->clip->tags[s->next].dts;

        if (at >= change->at) {
            s->clip = &change->clip;
            s->base = at;
            s->next = 0;
            s->change++;

            publish_event(s, "changed", "%s", change->file);
            session_headers(p, s);
        }
    }

    return &s->clip->tags[s->next];
}


static int64_t
session_due(publish_t *p, session_t *s, flvmux_tag_t *tag)
{
    int64_t  due, burst;

    due = s->base + tag->dts;

    if (p->conf.jitter) {

        if (s->late == 0) {
            s->late = 1 + rand() % (p->conf.jitter * 1000);
        }

        due += s->late;
    }

    if (p->conf.burst) {
        burst = p->conf.burst * 1000;
        due = (due + burst - 1) / burst * burst;
    }

    return due;
}


static void
session_send(publish_t *p, session_t *s, flvmux_tag_t *tag)
{
    int       audio;
    int64_t   at, ms;
    uint8_t   head[FLVMUX_HEAD_MAX];

    audio = (tag->type == FLVMUX_AUDIO);
    at = s->base + tag->dts;

    s->next++;
    s->late = 0;

    if (audio && p->conf.drop_audio >= 0 && at >= p->conf.drop_audio * 1000) {
        return;
    }

    ms = flvmux_head(tag, s->base, head);

    rtmp_send(&s->rtmp, tag->type, session_timestamp(p, at, ms, audio), head,
              tag->head_len, tag->data, tag->size);
}


static void
session_headers(publish_t *p, session_t *s)
{
    size_t          i;
    int64_t         at;
    flvmux_body_t  *body;

    const struct {
        uint8_t         type;
        flvmux_body_t  *body;
    } headers[] = {
        { RTMP_METADATA, &s->clip->metadata },
        { RTMP_VIDEO, &s->clip->video },
        { RTMP_AUDIO, &s->clip->audio }
    };

    at = s->base + s->clip->tags[s->next].dts;

    for (i = 0; i < sizeof(headers) / sizeof(headers[0]); i++) {
        body = headers[i].body;

        if (body->data == NULL
            || (headers[i].type == RTMP_METADATA && p->conf.no_meta))
        {
            continue;
        }

        rtmp_send(&s->rtmp, headers[i].type,
                  session_timestamp(p, at, at / 1000,
                                    headers[i].type == RTMP_AUDIO),
                  body->data, body->size, body->data, 0);
    }
}


/* as it goes over the wire: 32 bits */
static uint32_t
session_timestamp(publish_t *p, int64_t at, int64_t ms, int audio)
{
    int  i;

    ms += p->conf.start_ts;

    for (i = 0; i < p->conf.jumps.n; i++) {
        if (at >= p->conf.jumps.steps[i].at) {
            ms += p->conf.jumps.steps[i].by / 1000;
        }
    }

    if (audio) {
        ms += p->conf.audio_offset;
    }

    return (uint32_t) ms;
}

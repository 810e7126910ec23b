
/*
 * Copyright (C) nginx-livestream contributors
 *
 * One connection of a publisher: opens, sends each tag when it is due, with
 * the oddities that were asked for, and ends in the way that was asked for.
 */


#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

#include "publish.h"


#define PUBLISH_PENDING     (4 * 1024 * 1024)
#define PUBLISH_FIRST       10000000    /* us sent before any is listed */
#define PUBLISH_WAKE        20000       /* us, until then */
#define PUBLISH_AHEAD       600         /* tags sent before they are */
#define PUBLISH_TIMEOUT     10000000    /* us to be answered in */
#define PUBLISH_NEVER       INT64_MAX

#define PUBLISH_REFUSED     3
#define PUBLISH_CLOSED      4


static void session_open(publish_t *p, session_t *s, int64_t now);
static void session_answered(publish_t *p, session_t *s);
static void session_end(publish_t *p, session_t *s, int reset);
static void session_poll(publish_t *p, session_t *s);
static int64_t session_media(publish_t *p, session_t *s, int64_t now);
static int64_t session_ahead(publish_t *p, session_t *s, int64_t now);
static int64_t session_freeze(publish_t *p, session_t *s, int64_t media);
static void session_leave(publish_t *p, session_t *s, int64_t now);
static flvmux_tag_t *session_tag(publish_t *p, session_t *s);
static int64_t session_due(publish_t *p, session_t *s, flvmux_tag_t *tag);
static void session_send(publish_t *p, session_t *s, flvmux_tag_t *tag);
static void session_headers(publish_t *p, session_t *s);
static uint32_t session_timestamp(publish_t *p, int64_t at, int64_t ms,
    int audio);


int64_t
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
    s->thawed = 0;

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


void
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
        s->begin = stats_clock();
        session_headers(p, s);

    } else if (s->rtmp.state == RTMP_REFUSED) {
        publish_event(s, "refused", "%s %s", s->rtmp.code,
                      s->rtmp.description);
        p->refused++;
        p->code = p->code ? p->code : PUBLISH_REFUSED;

        s->state = SESSION_REFUSED;
        s->when = stats_clock() + PUBLISH_TIMEOUT / 2;
    }
}


static void
session_end(publish_t *p, session_t *s, int reset)
{
    p->bytes += s->rtmp.sent;

    rtmp_close(&s->rtmp, reset);

    if (s->runs > 0 && !publish_quit) {
        s->state = SESSION_WAITING;
        s->when = stats_clock() + p->conf.pause * 1000;
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

    if (p->conf.ahead && !s->ahead) {
        return session_ahead(p, s, now);
    }

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

        if (due >= s->thawed && media - due > p->lag) {
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


/*
 * As fast as the server gets done with it, which is more than its sockets
 * take: what a pipeline has no room for is dropped.
 */
static int64_t
session_ahead(publish_t *p, session_t *s, int64_t now)
{
    int64_t        when, lead, limit;
    flvmux_tag_t  *tag;

    when = watch_run(&p->watch, now);

    if (publish_quit || p->watch.wrong) {

        if (p->watch.wrong) {
            publish_event(s, "stuck", "%s", p->watch.wrong);
            p->code = PUBLISH_CLOSED;
        }

        session_leave(p, s, now);
        return now;
    }

    lead = p->conf.lead
           ? p->conf.lead * 1000
           : PUBLISH_AHEAD * p->clip.period / (int64_t) p->clip.ntags;

    if (p->watch.base) {
        limit = p->watch.listed + lead;

    } else {

        /* encoders may take their time to open */

        limit = p->conf.lead ? now - s->begin : PUBLISH_FIRST;
        when = now + PUBLISH_WAKE;
    }

    for ( ;; ) {
        tag = session_tag(p, s);

        if (tag == NULL || s->base + tag->dts >= p->conf.ahead * 1000) {
            s->ahead = 1;
            s->begin = now - (int64_t) (p->conf.ahead * 1000 / p->conf.speed);

            watch_close(&p->watch);
            publish_event(s, "ahead", "begin=%.3f", p->watch.base / 1e6);

            return now;
        }

        if (s->base + tag->dts > limit
            || rtmp_pending(&s->rtmp) > PUBLISH_PENDING)
        {
            return when;
        }

        session_send(p, s, tag);

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
        s->thawed = media;
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


/*
 * Copyright (C) nginx-livestream contributors
 *
 * Pipelines.
 *
 *   event loop                                  pipeline thread
 *
 *   push() --> ring[put & mask] ............... ring[get & mask] --> stages
 *              put                -- sem wake --> get
 *
 *   handler <-- the worker's mailbox <---------- send()
 *                                 -- sem room -->
 *
 * The ring has one producer, the event loop, and one consumer, the thread.
 * The loop never waits for the thread: it posts a semaphore, which is a
 * system call only if the thread sleeps, and that only for frames that a stage
 * waits for.  The thread takes all that is there and sleeps; it also waits for
 * the loop to read when too many of its messages are unread.
 *
 * No wake-up is lost: the loop stores `put`, then loads `rest`; the thread
 * stores `rest`, then loads `put`; all four in one order.
 *
 * What the loop asks of the thread is said by `asked`, followed by a post;
 * that threads of a stage have something for it is said by `ready`, likewise.
 * The last message is a part of the pipeline, so that it cannot fail for lack
 * of memory, and is not counted against the bound.
 *
 * Nothing here survives a fork: it is used in the worker that made it.
 */


#ifndef _GNU_SOURCE
#define _GNU_SOURCE             /* pthread_setname_np() */
#endif

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "ngx_livestream_mailbox.h"


#define NGX_LIVESTREAM_PIPELINE_STACK  (512 * 1024)

#define NGX_LIVESTREAM_PIPELINE_MASK   (NGX_LIVESTREAM_PIPELINE_FRAMES - 1)

/* what may lie in the ring while the thread rests */
#define NGX_LIVESTREAM_PIPELINE_REST_FRAMES  256
#define NGX_LIVESTREAM_PIPELINE_REST_BYTES   (1024 * 1024)

#define NGX_LIVESTREAM_PIPELINE_FINISH 1
#define NGX_LIVESTREAM_PIPELINE_ABORT  2


#define ngx_livestream_acquire(p)     __atomic_load_n(p, __ATOMIC_ACQUIRE)
#define ngx_livestream_release(p, v)  __atomic_store_n(p, v, __ATOMIC_RELEASE)


struct ngx_livestream_pipeline_s {
    const ngx_livestream_pipeline_conf_t  *conf;
    ngx_livestream_pipeline_done_pt        done;
    void                                  *data;

    pthread_t                              thread;
    sem_t                                  wake;
    sem_t                                  room;

    /* shared, atomic */
    uint32_t                               put;     /* loop writes */
    uint32_t                               get;     /* thread writes */
    size_t                                 bytes;   /* in the ring */
    int64_t                                rest;    /* thread writes, us */
    int                                    asked;   /* loop writes */
    int                                    failed;  /* thread writes */
    int                                    ready;   /* any thread */

    /* event loop */
    uint64_t                               dropped;
    uint32_t                               drains;  /* that run */
    uint32_t                               broken;  /* tracks, a bit each */
    uint32_t                               quiet;   /* frames since a post */
    size_t                                 quiet_bytes;
    unsigned                               dropping:1;
    unsigned                               video:1;
    unsigned                               ended:1;
    unsigned                               destroyed:1;

    /* thread; error and reason are the loop's after the last message */
    int                                    error;
    char                                   reason[128];
    uint32_t                               expected;
    unsigned                               nstages;
    unsigned                               nopen;
    const ngx_livestream_stage_t          *stages[
                                              NGX_LIVESTREAM_PIPELINE_STAGES];
    void                                  *ctx[NGX_LIVESTREAM_PIPELINE_STAGES];
    int64_t                                rests[
                                              NGX_LIVESTREAM_PIPELINE_STAGES];

    ngx_livestream_message_t               last;
    ngx_livestream_frame_t                *ring[
                                              NGX_LIVESTREAM_PIPELINE_FRAMES];
};


static int ngx_livestream_pipeline_start(ngx_livestream_pipeline_t *p);
static int ngx_livestream_pipeline_passes(ngx_livestream_pipeline_t *p,
    const ngx_livestream_frame_t *f);
static int ngx_livestream_pipeline_urgent(ngx_livestream_pipeline_t *p,
    const ngx_livestream_frame_t *f);
static void ngx_livestream_pipeline_ask(ngx_livestream_pipeline_t *p,
    int what);
static void *ngx_livestream_pipeline_thread(void *data);
static void ngx_livestream_pipeline_open(ngx_livestream_pipeline_t *p);
static void ngx_livestream_pipeline_run(ngx_livestream_pipeline_t *p);
static int ngx_livestream_pipeline_frame(ngx_livestream_pipeline_t *p,
    ngx_livestream_frame_t *f);
static int ngx_livestream_pipeline_ready(ngx_livestream_pipeline_t *p);
static void ngx_livestream_pipeline_flush(ngx_livestream_pipeline_t *p);
static void ngx_livestream_pipeline_fail(ngx_livestream_pipeline_t *p,
    int error, const char *name);
static ngx_livestream_frame_t *ngx_livestream_pipeline_get(
    ngx_livestream_pipeline_t *p);
static void ngx_livestream_pipeline_wait(sem_t *sem);


static const ngx_livestream_stage_t  *ngx_livestream_stages[
    NGX_LIVESTREAM_PIPELINE_STAGES];
static unsigned                       ngx_livestream_nstages;


int
ngx_livestream_pipeline_add_stage(const ngx_livestream_stage_t *stage)
{
    if (ngx_livestream_nstages == NGX_LIVESTREAM_PIPELINE_STAGES) {
        return -1;
    }

    ngx_livestream_stages[ngx_livestream_nstages] = stage;

    return ngx_livestream_nstages++;
}


void
ngx_livestream_pipeline_clear_stages(void)
{
    ngx_livestream_nstages = 0;
}


ngx_livestream_pipeline_t *
ngx_livestream_pipeline_create(const ngx_livestream_pipeline_conf_t *conf,
    void *data, ngx_livestream_pipeline_done_pt done)
{
    int                         err;
    unsigned                    i;
    ngx_livestream_pipeline_t  *p;

    if (ngx_livestream_mailbox_fd() == -1) {
        errno = EBADF;
        return NULL;
    }

    p = calloc(1, sizeof(ngx_livestream_pipeline_t));
    if (p == NULL) {
        return NULL;
    }

    p->conf = conf;
    p->data = data;
    p->done = done;

    for (i = 0; i < ngx_livestream_nstages; i++) {
        p->stages[i] = ngx_livestream_stages[i];
        p->rests[i] = INT64_MIN;
    }

    p->nstages = i;
    p->rest = INT64_MIN;

    sem_init(&p->wake, 0, 0);
    sem_init(&p->room, 0, NGX_LIVESTREAM_PIPELINE_MESSAGES);

    err = ngx_livestream_pipeline_start(p);

    if (err) {
        sem_destroy(&p->wake);
        sem_destroy(&p->room);
        free(p);
        errno = err;
        return NULL;
    }

    return p;
}


/*
 * Signals are the worker's, so the thread is born with all of them blocked but
 * those that its own faults raise; threads that a codec library makes in it
 * inherit that.
 */

static int
ngx_livestream_pipeline_start(ngx_livestream_pipeline_t *p)
{
    int             err;
    sigset_t        set, old;
    pthread_attr_t  attr;

    err = pthread_attr_init(&attr);
    if (err) {
        return err;
    }

    err = pthread_attr_setstacksize(&attr, NGX_LIVESTREAM_PIPELINE_STACK);

    if (err == 0) {
        sigfillset(&set);
        sigdelset(&set, SIGILL);
        sigdelset(&set, SIGFPE);
        sigdelset(&set, SIGSEGV);
        sigdelset(&set, SIGBUS);

        err = pthread_sigmask(SIG_BLOCK, &set, &old);
    }

    if (err == 0) {
        err = pthread_create(&p->thread, &attr, ngx_livestream_pipeline_thread,
                             p);

        (void) pthread_sigmask(SIG_SETMASK, &old, NULL);
    }

    (void) pthread_attr_destroy(&attr);

    return err;
}


void
ngx_livestream_pipeline_destroy(ngx_livestream_pipeline_t *p)
{
    ngx_livestream_frame_t  *f;

    if (p == NULL) {
        return;
    }

    ngx_livestream_pipeline_ask(p, NGX_LIVESTREAM_PIPELINE_ABORT);

    /* it may wait for us to read its messages, and send several more */
    sem_post(&p->room);

    (void) pthread_join(p->thread, NULL);

    ngx_livestream_mailbox_forget(p, &p->last);

    for ( ;; ) {
        f = ngx_livestream_pipeline_get(p);
        if (f == NULL) {
            break;
        }

        ngx_livestream_frame_unref(f);
    }

    sem_destroy(&p->wake);
    sem_destroy(&p->room);

    p->destroyed = 1;

    if (p->drains == 0) {
        free(p);
    }
}


int
ngx_livestream_pipeline_push(ngx_livestream_pipeline_t *p,
    ngx_livestream_frame_t *f)
{
    uint32_t  bit, put;

    bit = f->track < 32 ? 1U << f->track : 0;

    if (!ngx_livestream_pipeline_passes(p, f)) {

        /* what the timeline says of a frame must not be lost with it */
        if (f->flags & NGX_LIVESTREAM_FRAME_DISCONTINUITY) {
            p->broken |= bit;
        }

        p->dropped++;
        return 1;
    }

    if (p->broken & bit) {
        p->broken &= ~bit;
        f->flags |= NGX_LIVESTREAM_FRAME_DISCONTINUITY;
    }

    put = p->put;

    p->ring[put & NGX_LIVESTREAM_PIPELINE_MASK] = ngx_livestream_frame_ref(f);
    __atomic_fetch_add(&p->bytes, f->size, __ATOMIC_RELAXED);
    __atomic_store_n(&p->put, put + 1, __ATOMIC_SEQ_CST);

    if (ngx_livestream_pipeline_urgent(p, f)) {
        p->quiet = 0;
        p->quiet_bytes = 0;
        sem_post(&p->wake);
    }

    return 0;
}


static int
ngx_livestream_pipeline_urgent(ngx_livestream_pipeline_t *p,
    const ngx_livestream_frame_t *f)
{
    p->quiet++;
    p->quiet_bytes += f->size;

    return p->quiet >= NGX_LIVESTREAM_PIPELINE_REST_FRAMES
           || p->quiet_bytes >= NGX_LIVESTREAM_PIPELINE_REST_BYTES
           || (f->flags & NGX_LIVESTREAM_FRAME_DISCONTINUITY)
           || ((f->flags & NGX_LIVESTREAM_FRAME_KEY)
               && f->codec->media == NGX_LIVESTREAM_VIDEO)
           || ngx_livestream_ticks_to_us(f->dts, f->codec->timescale)
              >= __atomic_load_n(&p->rest, __ATOMIC_SEQ_CST);
}


/*
 * A full ring opens again at a key frame, and only once it is half empty, lest
 * each group of pictures lose its end.  Audio waits for that as well, unless
 * there is no video.
 */

static int
ngx_livestream_pipeline_passes(ngx_livestream_pipeline_t *p,
    const ngx_livestream_frame_t *f)
{
    size_t    bytes;
    uint32_t  used;

    if (p->asked || ngx_livestream_acquire(&p->failed)) {
        return 0;
    }

    used = p->put - ngx_livestream_acquire(&p->get);
    bytes = ngx_livestream_acquire(&p->bytes);

    if (f->size > NGX_LIVESTREAM_PIPELINE_BYTES
        || bytes > NGX_LIVESTREAM_PIPELINE_BYTES - f->size
        || used == NGX_LIVESTREAM_PIPELINE_FRAMES)
    {
        p->dropping = 1;
    }

    if (f->codec->media == NGX_LIVESTREAM_VIDEO) {
        p->video = 1;
    }

    if (!p->dropping) {
        return 1;
    }

    if (used > NGX_LIVESTREAM_PIPELINE_FRAMES / 2
        || bytes > NGX_LIVESTREAM_PIPELINE_BYTES / 2
        || f->size > NGX_LIVESTREAM_PIPELINE_BYTES / 2)
    {
        return 0;
    }

    if (p->video
        && (f->codec->media != NGX_LIVESTREAM_VIDEO
            || !(f->flags & NGX_LIVESTREAM_FRAME_KEY)))
    {
        return 0;
    }

    p->dropping = 0;

    return 1;
}


void
ngx_livestream_pipeline_finish(ngx_livestream_pipeline_t *p)
{
    if (p->asked == 0) {
        ngx_livestream_pipeline_ask(p, NGX_LIVESTREAM_PIPELINE_FINISH);
    }
}


/* a handler may destroy p meanwhile, which is then freed here */

void
ngx_livestream_pipeline_drain(ngx_livestream_pipeline_t *p)
{
    struct pollfd  pfd;

    if (p->ended) {
        return;
    }

    p->drains++;

    ngx_livestream_pipeline_finish(p);

    pfd.fd = ngx_livestream_mailbox_fd();
    pfd.events = POLLIN;

    for ( ;; ) {
        ngx_livestream_mailbox_run();

        if (p->ended || p->destroyed) {
            break;
        }

        (void) poll(&pfd, 1, -1);
    }

    p->drains--;

    if (p->destroyed && p->drains == 0) {
        free(p);
    }
}


uint64_t
ngx_livestream_pipeline_dropped(ngx_livestream_pipeline_t *p)
{
    return p->dropped;
}


void
ngx_livestream_pipeline_deliver(ngx_livestream_message_t *msg)
{
    ngx_livestream_pipeline_t  *p;

    p = msg->pipeline;

    /* p may be no more when a handler returns */

    if (msg == &p->last) {
        p->ended = 1;
        p->done(p->data, p->error, p->reason);

        return;
    }

    sem_post(&p->room);

    msg->handler(p->data, msg);
    free(msg);
}


static void
ngx_livestream_pipeline_ask(ngx_livestream_pipeline_t *p, int what)
{
    ngx_livestream_release(&p->asked, what);
    sem_post(&p->wake);
}


/* runs in the pipeline thread, as all that follows */

static void *
ngx_livestream_pipeline_thread(void *data)
{
    ngx_livestream_pipeline_t *p = data;

    char  name[16];

    (void) snprintf(name, sizeof(name), "ls-%.12s",
                    p->conf->id ? p->conf->id : "");
    (void) pthread_setname_np(pthread_self(), name);

    ngx_livestream_pipeline_open(p);

    if (p->error == 0) {
        ngx_livestream_pipeline_run(p);
    }

    if (p->error == 0
        && ngx_livestream_acquire(&p->asked) != NGX_LIVESTREAM_PIPELINE_ABORT)
    {
        ngx_livestream_pipeline_flush(p);
    }

    while (p->nopen) {
        p->nopen--;
        p->stages[p->nopen]->close(p->ctx[p->nopen]);
    }

    p->last.pipeline = p;
    ngx_livestream_mailbox_put(&p->last);

    return NULL;
}


static void
ngx_livestream_pipeline_open(ngx_livestream_pipeline_t *p)
{
    void  *ctx;

    while (p->nopen < p->nstages) {

        errno = 0;
        ctx = p->stages[p->nopen]->open(p, p->conf);

        if (ctx == NULL) {
            ngx_livestream_pipeline_fail(p, errno ? errno : ENOMEM,
                                         p->stages[p->nopen]->name);
            return;
        }

        p->ctx[p->nopen++] = ctx;
    }
}


static void
ngx_livestream_pipeline_run(ngx_livestream_pipeline_t *p)
{
    int                      asked;
    ngx_livestream_frame_t  *f;

    for ( ;; ) {
        ngx_livestream_pipeline_wait(&p->wake);

        /* before the ring: what was pushed before finish() is then seen */
        asked = ngx_livestream_acquire(&p->asked);

        for ( ;; ) {
            if (ngx_livestream_pipeline_ready(p) != 0) {
                return;
            }

            if (ngx_livestream_acquire(&p->asked)
                == NGX_LIVESTREAM_PIPELINE_ABORT)
            {
                return;
            }

            f = ngx_livestream_pipeline_get(p);
            if (f == NULL) {
                break;
            }

            if (ngx_livestream_pipeline_frame(p, f) != 0) {
                return;
            }
        }

        if (asked == NGX_LIVESTREAM_PIPELINE_FINISH) {
            return;
        }
    }
}


static int
ngx_livestream_pipeline_frame(ngx_livestream_pipeline_t *p,
    ngx_livestream_frame_t *f)
{
    int  rc;

    rc = 0;

    if (p->nstages) {
        rc = p->stages[0]->frame(p, p->ctx[0], f);
    }

    ngx_livestream_frame_unref(f);

    if (rc) {
        ngx_livestream_pipeline_fail(p, rc, p->stages[0]->name);
    }

    return rc;
}


static int
ngx_livestream_pipeline_ready(ngx_livestream_pipeline_t *p)
{
    int       rc;
    unsigned  i;

    if (!__atomic_exchange_n(&p->ready, 0, __ATOMIC_ACQ_REL)) {
        return 0;
    }

    for (i = 0; i < p->nopen; i++) {

        if (p->stages[i]->ready == NULL) {
            continue;
        }

        rc = p->stages[i]->ready(p, p->ctx[i]);

        if (rc) {
            ngx_livestream_pipeline_fail(p, rc, p->stages[i]->name);
            return rc;
        }
    }

    return 0;
}


static void
ngx_livestream_pipeline_flush(ngx_livestream_pipeline_t *p)
{
    int       rc;
    unsigned  i;

    for (i = 0; i < p->nstages; i++) {
        rc = p->stages[i]->flush(p, p->ctx[i]);

        if (rc) {
            ngx_livestream_pipeline_fail(p, rc, p->stages[i]->name);
            return;
        }
    }
}


static void
ngx_livestream_pipeline_fail(ngx_livestream_pipeline_t *p, int error,
    const char *name)
{
    p->error = error;

    if (p->reason[0] == '\0') {
        ngx_livestream_pipeline_reason(p, name);
    }

    ngx_livestream_release(&p->failed, 1);
}


static ngx_livestream_frame_t *
ngx_livestream_pipeline_get(ngx_livestream_pipeline_t *p)
{
    uint32_t                 get;
    ngx_livestream_frame_t  *f;

    get = p->get;

    if (get == __atomic_load_n(&p->put, __ATOMIC_SEQ_CST)) {
        return NULL;
    }

    f = p->ring[get & NGX_LIVESTREAM_PIPELINE_MASK];

    __atomic_fetch_sub(&p->bytes, f->size, __ATOMIC_RELAXED);
    ngx_livestream_release(&p->get, get + 1);

    return f;
}


int
ngx_livestream_pipeline_next(ngx_livestream_pipeline_t *p, void *ctx,
    ngx_livestream_frame_t *f)
{
    unsigned  i;

    for (i = 0; i + 1 < p->nopen; i++) {
        if (p->ctx[i] == ctx) {
            return p->stages[i + 1]->frame(p, p->ctx[i + 1], f);
        }
    }

    return 0;
}


void
ngx_livestream_pipeline_rest(ngx_livestream_pipeline_t *p, void *ctx,
    int64_t us)
{
    int64_t   rest;
    unsigned  i;

    /* while it opens, its context is not known yet */

    for (i = 0; i < p->nopen; i++) {
        if (p->ctx[i] == ctx) {
            break;
        }
    }

    p->rests[i] = us;
    rest = us;

    for (i = 0; i < p->nstages; i++) {
        if (p->rests[i] < rest) {
            rest = p->rests[i];
        }
    }

    __atomic_store_n(&p->rest, rest, __ATOMIC_SEQ_CST);
}


const void *
ngx_livestream_pipeline_stage_conf(ngx_livestream_pipeline_t *p)
{
    return p->conf->stage_conf[p->nopen];
}


void
ngx_livestream_pipeline_wake(ngx_livestream_pipeline_t *p)
{
    if (!__atomic_exchange_n(&p->ready, 1, __ATOMIC_ACQ_REL)) {
        sem_post(&p->wake);
    }
}


void
ngx_livestream_pipeline_expect(ngx_livestream_pipeline_t *p, uint32_t tracks)
{
    p->expected = tracks;
}


uint32_t
ngx_livestream_pipeline_expected(ngx_livestream_pipeline_t *p)
{
    return p->expected;
}


void
ngx_livestream_pipeline_reason(ngx_livestream_pipeline_t *p,
    const char *reason)
{
    (void) snprintf(p->reason, sizeof(p->reason), "%s", reason);
}


void
ngx_livestream_pipeline_send(ngx_livestream_pipeline_t *p,
    ngx_livestream_message_t *msg)
{
    ngx_livestream_pipeline_wait(&p->room);

    if (ngx_livestream_acquire(&p->asked) == NGX_LIVESTREAM_PIPELINE_ABORT) {
        sem_post(&p->room);
        free(msg);
        return;
    }

    msg->pipeline = p;
    ngx_livestream_mailbox_put(msg);
}


static void
ngx_livestream_pipeline_wait(sem_t *sem)
{
    while (sem_wait(sem) == -1 && errno == EINTR) { /* void */ }
}

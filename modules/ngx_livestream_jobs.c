
/*
 * Copyright (C) nginx-livestream contributors
 *
 * Crews; ngx_livestream_jobs.h draws one.
 *
 * nginx's own thread pools are not for this: what they have begun cannot be
 * told to stop, and a worker waits for it when it exits; and their order of
 * two tasks is anybody's guess.
 *
 * The mutex guards the two lists and the counts of a crew.  Nothing of it is
 * shared with another process, or survives a fork.
 *
 * Event loop, and the crew's threads.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>
#include <poll.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#include "ngx_livestream.h"
#include "ngx_livestream_jobs.h"


#define NGX_LIVESTREAM_CREW_THREADS  64


struct ngx_livestream_crew_s {
    char                     name[16];      /* of the threads */
    ngx_log_t               *log;
    ngx_connection_t        *connection;    /* of the eventfd */
    int                      fd;
    int                      nice;
    ngx_uint_t               nthreads;      /* made */
    ngx_uint_t               most;          /* threads */
    ngx_uint_t               max;           /* jobs that wait */
    ngx_uint_t               pending;       /* event loop: not done */
    pthread_t               *threads;

    pthread_mutex_t          mutex;
    pthread_cond_t           cond;
    ngx_livestream_job_t    *first;         /* to be run */
    ngx_livestream_job_t   **last;
    ngx_uint_t               waiting;
    ngx_uint_t               idle;          /* threads */
    ngx_livestream_job_t    *ready;         /* have run */
    ngx_livestream_job_t   **tail;
    ngx_uint_t               closed;        /* no job will follow */

    volatile int             stop;
};


static ngx_int_t ngx_livestream_crew_thread(ngx_livestream_crew_t *crew);
static void *ngx_livestream_crew_cycle(void *data);
static void ngx_livestream_crew_ring(ngx_livestream_crew_t *crew);
static void ngx_livestream_crew_handler(ngx_event_t *ev);
static void ngx_livestream_crew_deliver(ngx_livestream_crew_t *crew);


ngx_livestream_crew_t *
ngx_livestream_crew_create(ngx_cycle_t *cycle, const char *name,
    ngx_uint_t threads, ngx_uint_t max, int nice)
{
    ngx_livestream_crew_t  *crew;

    crew = ngx_pcalloc(cycle->pool, sizeof(ngx_livestream_crew_t));
    if (crew == NULL) {
        return NULL;
    }

    crew->most = ngx_max(1, ngx_min(threads, NGX_LIVESTREAM_CREW_THREADS));

    crew->threads = ngx_pcalloc(cycle->pool, crew->most * sizeof(pthread_t));
    if (crew->threads == NULL) {
        return NULL;
    }

    (void) ngx_cpystrn((u_char *) crew->name, (u_char *) name,
                       sizeof(crew->name));

    crew->log = cycle->log;
    crew->max = max;
    crew->nice = nice;
    crew->last = &crew->first;
    crew->tail = &crew->ready;

    (void) pthread_mutex_init(&crew->mutex, NULL);
    (void) pthread_cond_init(&crew->cond, NULL);

    crew->fd = eventfd(0, EFD_NONBLOCK|EFD_CLOEXEC);
    if (crew->fd == -1) {
        return NULL;
    }

    crew->connection = ngx_livestream_add_fd(cycle, crew->fd,
                                             ngx_livestream_crew_handler);
    if (crew->connection == NULL) {
        (void) close(crew->fd);
        return NULL;
    }

    crew->connection->data = crew;

    return crew;
}


void
ngx_livestream_crew_stop(ngx_livestream_crew_t *crew)
{
    crew->stop = 1;

    (void) pthread_mutex_lock(&crew->mutex);

    if (crew->first) {
        *crew->tail = crew->first;
        crew->tail = crew->last;

        crew->first = NULL;
        crew->last = &crew->first;
        crew->waiting = 0;

        ngx_livestream_crew_ring(crew);
    }

    crew->closed = 1;

    (void) pthread_cond_broadcast(&crew->cond);
    (void) pthread_mutex_unlock(&crew->mutex);
}


void
ngx_livestream_crew_destroy(ngx_livestream_crew_t *crew, ngx_uint_t drop)
{
    ngx_uint_t  i;

    if (drop) {
        ngx_livestream_crew_stop(crew);
    }

    (void) pthread_mutex_lock(&crew->mutex);

    crew->closed = 1;

    (void) pthread_cond_broadcast(&crew->cond);
    (void) pthread_mutex_unlock(&crew->mutex);

    for (i = 0; i < crew->nthreads; i++) {
        (void) pthread_join(crew->threads[i], NULL);
    }

    ngx_livestream_crew_deliver(crew);

    ngx_livestream_del_fd(crew->connection);
    (void) close(crew->fd);

    (void) pthread_cond_destroy(&crew->cond);
    (void) pthread_mutex_destroy(&crew->mutex);
}


void
ngx_livestream_crew_drain(ngx_livestream_crew_t *crew)
{
    struct pollfd  pfd;

    pfd.fd = crew->fd;
    pfd.events = POLLIN;

    while (crew->pending) {
        (void) poll(&pfd, 1, -1);

        ngx_livestream_crew_handler(crew->connection->read);
    }
}


ngx_uint_t
ngx_livestream_crew_pending(ngx_livestream_crew_t *crew)
{
    return crew->pending;
}


ngx_int_t
ngx_livestream_crew_post(ngx_livestream_crew_t *crew,
    ngx_livestream_job_t *job)
{
    ngx_int_t   rc;
    ngx_uint_t  more;

    (void) pthread_mutex_lock(&crew->mutex);

    if (crew->closed || crew->waiting >= crew->max) {
        (void) pthread_mutex_unlock(&crew->mutex);
        return NGX_BUSY;
    }

    more = (crew->idle <= crew->waiting && crew->nthreads < crew->most);

    (void) pthread_mutex_unlock(&crew->mutex);

    if (more) {
        rc = ngx_livestream_crew_thread(crew);

        if (rc != NGX_OK && crew->nthreads == 0) {
            return rc;
        }
    }

    job->next = NULL;
    job->stop = &crew->stop;

    crew->pending++;

    (void) pthread_mutex_lock(&crew->mutex);

    *crew->last = job;
    crew->last = &job->next;
    crew->waiting++;

    (void) pthread_cond_signal(&crew->cond);
    (void) pthread_mutex_unlock(&crew->mutex);

    return NGX_OK;
}


/* signals are the event loop's */

static ngx_int_t
ngx_livestream_crew_thread(ngx_livestream_crew_t *crew)
{
    int       err;
    sigset_t  all, old;

    (void) sigfillset(&all);
    (void) pthread_sigmask(SIG_SETMASK, &all, &old);

    err = pthread_create(&crew->threads[crew->nthreads], NULL,
                         ngx_livestream_crew_cycle, crew);

    (void) pthread_sigmask(SIG_SETMASK, &old, NULL);

    if (err) {
        ngx_log_error(NGX_LOG_ERR, crew->log, err,
                      "livestream thread \"%s\" could not be made",
                      crew->name);
        return NGX_ERROR;
    }

    crew->nthreads++;

    return NGX_OK;
}


/* runs in a thread of the crew */

static void *
ngx_livestream_crew_cycle(void *data)
{
    ngx_livestream_crew_t *crew = data;

    ngx_uint_t             ring;
    ngx_livestream_job_t  *job;

    (void) pthread_setname_np(pthread_self(), crew->name);

    if (crew->nice) {
        (void) setpriority(PRIO_PROCESS, (id_t) syscall(SYS_gettid),
                           crew->nice);
    }

    (void) pthread_mutex_lock(&crew->mutex);

    for ( ;; ) {

        while (crew->first == NULL && !crew->closed) {
            crew->idle++;
            (void) pthread_cond_wait(&crew->cond, &crew->mutex);
            crew->idle--;
        }

        job = crew->first;

        if (job == NULL) {
            break;
        }

        crew->first = job->next;
        crew->waiting--;

        if (crew->first == NULL) {
            crew->last = &crew->first;
        }

        (void) pthread_mutex_unlock(&crew->mutex);

        job->run(job);

        (void) pthread_mutex_lock(&crew->mutex);

        ring = (crew->ready == NULL);

        job->next = NULL;
        *crew->tail = job;
        crew->tail = &job->next;

        if (ring) {
            ngx_livestream_crew_ring(crew);
        }
    }

    (void) pthread_mutex_unlock(&crew->mutex);

    return NULL;
}


/* any thread */

static void
ngx_livestream_crew_ring(ngx_livestream_crew_t *crew)
{
    uint64_t  one;

    one = 1;

    while (write(crew->fd, &one, sizeof(uint64_t)) == -1
           && ngx_errno == NGX_EINTR)
    {
        /* void */
    }
}


static void
ngx_livestream_crew_handler(ngx_event_t *ev)
{
    uint64_t           count;
    ngx_connection_t  *c;

    c = ev->data;

    /* before the list: a job that comes in between rings once more */

    while (read(c->fd, &count, sizeof(uint64_t)) == -1
           && ngx_errno == NGX_EINTR)
    {
        /* void */
    }

    ngx_livestream_crew_deliver(c->data);
}


static void
ngx_livestream_crew_deliver(ngx_livestream_crew_t *crew)
{
    ngx_livestream_job_t  *job, *next;

    (void) pthread_mutex_lock(&crew->mutex);

    job = crew->ready;

    crew->ready = NULL;
    crew->tail = &crew->ready;

    (void) pthread_mutex_unlock(&crew->mutex);

    while (job) {
        next = job->next;

        crew->pending--;
        job->done(job);

        job = next;
    }
}

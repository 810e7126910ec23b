
/*
 * Copyright (C) nginx-livestream contributors
 *
 * Jobs: blocking work off the event loop, for a feature that has some now and
 * then.  A crew is a few threads and one bounded queue:
 *
 *   event loop                        threads
 *   post(job)  --> queue, FIFO   -->  job->run(job)
 *   job->done(job)  <-- list, eventfd <--  it has returned
 *
 * A crew of one thread runs its jobs in the order that they were posted in.
 * Functions are of the event loop, unless a comment says otherwise.
 */


#ifndef _NGX_LIVESTREAM_JOBS_H_INCLUDED_
#define _NGX_LIVESTREAM_JOBS_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>


typedef struct ngx_livestream_crew_s  ngx_livestream_crew_t;
typedef struct ngx_livestream_job_s  ngx_livestream_job_t;


/* Begins every job; the poster's memory, which done() gets back.  It must not
 * be of a request's pool: requests go away before jobs do. */
struct ngx_livestream_job_s {
    ngx_livestream_job_t    *next;
    /* a thread of the crew; touches nothing but the job, no nginx state */
    void                   (*run)(ngx_livestream_job_t *job);
    /* event loop, once for each job that was posted */
    void                   (*done)(ngx_livestream_job_t *job);
    /* not 0: the worker exits, and run() should return as soon as it can */
    const volatile int      *stop;
};


/* In init_process.  The threads are made with the first job.  nice: 0 to 19.
 * NULL: out of memory, errno says why. */
ngx_livestream_crew_t *ngx_livestream_crew_create(ngx_cycle_t *cycle,
    const char *name, ngx_uint_t threads, ngx_uint_t max, int nice);

/* In exit_process, before the store's.  Jobs that have not begun are given to
 * done() without having run if `drop`, else all are run; joins, so it waits
 * for what is running. */
void ngx_livestream_crew_destroy(ngx_livestream_crew_t *crew,
    ngx_uint_t drop);

/* Tells jobs to stop: those that have not begun are given to done() without
 * having run.  Nothing can be posted after. */
void ngx_livestream_crew_stop(ngx_livestream_crew_t *crew);

/* Waits, without an event loop, until all that was posted is done. */
void ngx_livestream_crew_drain(ngx_livestream_crew_t *crew);

/* NGX_OK; NGX_BUSY: the queue is full; NGX_ERROR: no thread could be made.
 * done() is not called then. */
ngx_int_t ngx_livestream_crew_post(ngx_livestream_crew_t *crew,
    ngx_livestream_job_t *job);

/* posted and not done yet */
ngx_uint_t ngx_livestream_crew_pending(ngx_livestream_crew_t *crew);


#endif /* _NGX_LIVESTREAM_JOBS_H_INCLUDED_ */


/*
 * Copyright (C) nginx-livestream contributors
 *
 * Threads of the transcoder.  They are niced, so that what is left to them is
 * what nginx and the packagers do not need: a machine that is short of time
 * loses rungs, not viewers; and the higher rungs more than the lowest, which
 * all tracks are cut by.  Within that they are the scheduler's to share out:
 * no affinity, which would pin streams to processors that others have taken.
 *
 * Any thread.
 */


#ifndef _GNU_SOURCE
#define _GNU_SOURCE             /* pthread_setname_np(), gettid() */
#endif

#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "ngx_livestream_transcode_video.h"


typedef struct {
    void                  *(*run)(void *);
    void                    *data;
    int                      nice;
    char                     name[16];
} ngx_livestream_transcode_start_t;


static void *ngx_livestream_transcode_run(void *data);


int
ngx_livestream_transcode_thread(pthread_t *thread, const char *name,
    int nice, void *(*run)(void *), void *data)
{
    int                                err;
    sigset_t                           set, old;
    ngx_livestream_transcode_start_t  *start;

    start = malloc(sizeof(ngx_livestream_transcode_start_t));
    if (start == NULL) {
        return ENOMEM;
    }

    start->run = run;
    start->data = data;
    start->nice = nice;

    (void) snprintf(start->name, sizeof(start->name), "%s", name);

    sigfillset(&set);
    sigdelset(&set, SIGILL);
    sigdelset(&set, SIGFPE);
    sigdelset(&set, SIGSEGV);
    sigdelset(&set, SIGBUS);

    err = pthread_sigmask(SIG_BLOCK, &set, &old);

    if (err == 0) {
        err = pthread_create(thread, NULL, ngx_livestream_transcode_run,
                             start);

        (void) pthread_sigmask(SIG_SETMASK, &old, NULL);
    }

    if (err) {
        free(start);
    }

    return err;
}


static void *
ngx_livestream_transcode_run(void *data)
{
    ngx_livestream_transcode_start_t  start;

    start = *(ngx_livestream_transcode_start_t *) data;
    free(data);

    (void) pthread_setname_np(pthread_self(), start.name);

    /* of this thread alone, and of those that it makes */
    (void) setpriority(PRIO_PROCESS, gettid(), start.nice);

    return start.run(start.data);
}


void
ngx_livestream_transcode_say(ngx_livestream_pipeline_t *p,
    ngx_livestream_transcode_message_e type, const char *fmt, ...)
{
    va_list                              args;
    ngx_livestream_transcode_message_t  *msg;

    msg = calloc(1, sizeof(ngx_livestream_transcode_message_t));
    if (msg == NULL) {
        return;
    }

    msg->message.handler = ngx_livestream_transcode_message;
    msg->type = type;

    va_start(args, fmt);
    (void) vsnprintf(msg->text, sizeof(msg->text), fmt, args);
    va_end(args);

    ngx_livestream_pipeline_send(p, &msg->message);
}


int64_t
ngx_livestream_transcode_now(void)
{
    struct timespec  ts;

    (void) clock_gettime(CLOCK_MONOTONIC, &ts);

    return (int64_t) ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}


/*
 * Copyright (C) nginx-livestream contributors
 *
 * The worker's mailbox: one list for the messages of all of its pipelines.
 *
 *   event loop                                   pipeline threads
 *
 *   run() <-- inbox <-- stack, taken whole <-- compare and swap -- put()
 *             FIFO      LIFO                   eventfd, if it was empty
 *
 * The inbox is private to the loop, and outlives one run(): a handler that
 * itself runs the mailbox (drain) goes on where the outer run() is, so order
 * is kept, and one that destroys a pipeline finds all of its messages there.
 *
 * Nothing here survives a fork: it is used in the worker that opened it.
 */


#include <errno.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "ngx_livestream_mailbox.h"


typedef struct {
    int                          fd;            /* -1: closed */
    ngx_livestream_message_t    *stack;         /* atomic */
    ngx_livestream_message_t    *inbox;         /* event loop */
    ngx_livestream_message_t   **tail;
} ngx_livestream_mailbox_t;


static void ngx_livestream_mailbox_take(void);


static ngx_livestream_mailbox_t  ngx_livestream_mailbox = { .fd = -1 };


int
ngx_livestream_mailbox_open(void)
{
    if (ngx_livestream_mailbox.fd == -1) {
        ngx_livestream_mailbox.fd = eventfd(0, EFD_NONBLOCK|EFD_CLOEXEC);
        ngx_livestream_mailbox.stack = NULL;
        ngx_livestream_mailbox.inbox = NULL;
        ngx_livestream_mailbox.tail = &ngx_livestream_mailbox.inbox;
    }

    return ngx_livestream_mailbox.fd;
}


void
ngx_livestream_mailbox_close(void)
{
    if (ngx_livestream_mailbox.fd != -1) {
        (void) close(ngx_livestream_mailbox.fd);
        ngx_livestream_mailbox.fd = -1;
    }
}


int
ngx_livestream_mailbox_fd(void)
{
    return ngx_livestream_mailbox.fd;
}


/* runs in pipeline threads, and in threads that they have made */

void
ngx_livestream_mailbox_put(ngx_livestream_message_t *msg)
{
    uint64_t                   one;
    ngx_livestream_message_t  *head;

    head = __atomic_load_n(&ngx_livestream_mailbox.stack, __ATOMIC_RELAXED);

    do {
        msg->next = head;
    } while (!__atomic_compare_exchange_n(&ngx_livestream_mailbox.stack, &head,
                                          msg, 1, __ATOMIC_RELEASE,
                                          __ATOMIC_RELAXED));

    if (head) {
        return;
    }

    one = 1;

    while (write(ngx_livestream_mailbox.fd, &one, sizeof(uint64_t)) == -1
           && errno == EINTR)
    {
        /* void */
    }
}


/*
 * A handler may do anything: run the mailbox, make and destroy pipelines, its
 * own included.  So nothing is kept across it.
 */

void
ngx_livestream_mailbox_run(void)
{
    uint64_t                   count;
    ngx_livestream_message_t  *msg;

    /* before the list: a message that comes in between rings once more */
    while (read(ngx_livestream_mailbox.fd, &count, sizeof(uint64_t)) == -1
           && errno == EINTR)
    {
        /* void */
    }

    ngx_livestream_mailbox_take();

    while (ngx_livestream_mailbox.inbox) {
        msg = ngx_livestream_mailbox.inbox;
        ngx_livestream_mailbox.inbox = msg->next;

        if (msg->next == NULL) {
            ngx_livestream_mailbox.tail = &ngx_livestream_mailbox.inbox;
        }

        ngx_livestream_pipeline_deliver(msg);
    }
}


void
ngx_livestream_mailbox_forget(ngx_livestream_pipeline_t *p,
    ngx_livestream_message_t *last)
{
    ngx_livestream_message_t  *msg, **prev;

    ngx_livestream_mailbox_take();

    prev = &ngx_livestream_mailbox.inbox;

    while (*prev) {
        msg = *prev;

        if (msg->pipeline != p) {
            prev = &msg->next;
            continue;
        }

        *prev = msg->next;

        if (msg != last) {
            free(msg);
        }
    }

    ngx_livestream_mailbox.tail = prev;
}


/* the stack, last in first, becomes the end of the inbox, first in first */

static void
ngx_livestream_mailbox_take(void)
{
    ngx_livestream_message_t  *msg, *next, *first, **last;

    msg = __atomic_exchange_n(&ngx_livestream_mailbox.stack, NULL,
                              __ATOMIC_ACQUIRE);
    if (msg == NULL) {
        return;
    }

    first = NULL;
    last = &msg->next;

    while (msg) {
        next = msg->next;
        msg->next = first;
        first = msg;
        msg = next;
    }

    *ngx_livestream_mailbox.tail = first;
    ngx_livestream_mailbox.tail = last;
}


/*
 * Copyright (C) nginx-livestream contributors
 *
 * What pipelines and the mailbox have of one another; nobody else includes
 * this.  See ngx_livestream_pipeline.h for what others may call.
 */


#ifndef _NGX_LIVESTREAM_MAILBOX_H_INCLUDED_
#define _NGX_LIVESTREAM_MAILBOX_H_INCLUDED_


#include "ngx_livestream_pipeline.h"


/* any thread; msg->pipeline is set */
void ngx_livestream_mailbox_put(ngx_livestream_message_t *msg);

/* event loop: -1 when it is not open */
int ngx_livestream_mailbox_fd(void);

/* event loop: takes out and frees the messages of p, whose thread has ended;
 * all but the last one, which is a part of p */
void ngx_livestream_mailbox_forget(ngx_livestream_pipeline_t *p,
    ngx_livestream_message_t *last);

/* event loop, the pipeline's: runs the handler and frees the message */
void ngx_livestream_pipeline_deliver(ngx_livestream_message_t *msg);


#endif /* _NGX_LIVESTREAM_MAILBOX_H_INCLUDED_ */

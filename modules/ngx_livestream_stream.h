
/*
 * Copyright (C) nginx-livestream contributors
 *
 * The life of a stream in the worker that owns it; the core's own header,
 * features use ngx_livestream.h.
 *
 *            claim            start            live
 *   (none) ---------> OPENING -------> OPENING -----> LIVE
 *                        ^                             | detach: the pipeline
 *                        |           claim             v is drained
 *                        +------------------------ INTERRUPTED
 *                                                      | window passed, stop
 *                                                      v
 *                                                    ENDED ---> (forgotten)
 *
 * Event loop only.
 */


#ifndef _NGX_LIVESTREAM_STREAM_H_INCLUDED_
#define _NGX_LIVESTREAM_STREAM_H_INCLUDED_


#include "ngx_livestream.h"


/* a publisher of whom nothing was received for so long may be replaced, s */
#define NGX_LIVESTREAM_SILENCE   5


/* what the store says of a key */
typedef struct {
    ngx_str_t                id;
    ngx_str_t                title;
    ngx_str_t                settings;
    ngx_uint_t               low_latency;
    ngx_uint_t               dvr_enabled;
    time_t                   dvr_window;    /* s */
    time_t                   age;           /* s since it was created; 0 if
                                               it never was live */
} ngx_livestream_row_t;


/*
 * Makes this worker the owner.  NGX_OK with *sp; NGX_AGAIN: try again soon
 * (an old publisher is being put away); NGX_BUSY: a live publisher has it;
 * NGX_DECLINED: no room (max_concurrent_streams, zone); NGX_ERROR.  *why, a
 * static text, goes into the log and to the publisher.
 */
ngx_int_t ngx_livestream_stream_claim(ngx_livestream_row_t *row,
    void *session, ngx_livestream_stream_t **sp, const char **why);

/* makes the pipeline, once the first frame is here; has_*: 0, 1, 2 unknown */
ngx_int_t ngx_livestream_stream_start(ngx_livestream_stream_t *s,
    ngx_uint_t has_video, ngx_uint_t has_audio, ngx_uint_t frame_rate);

/* the publisher is gone; s belongs to its own life from here on */
void ngx_livestream_stream_detach(ngx_livestream_stream_t *s);

/* media was received */
void ngx_livestream_stream_touch(ngx_livestream_stream_t *s);

/* by ingest: closes a session that lost its stream, in its own way */
typedef void (*ngx_livestream_stream_kick_pt)(void *session,
    const char *reason);
extern ngx_livestream_stream_kick_pt  ngx_livestream_stream_kick;

ngx_int_t ngx_livestream_stream_init_process(ngx_cycle_t *cycle);
void ngx_livestream_stream_exit_process(ngx_cycle_t *cycle);

/*
 * Between the two rooms of it, ngx_livestream_owner.c and _stream.c.
 */

extern ngx_livestream_stream_t  **ngx_livestream_streams;

/* of a stream that this worker has become the owner of; NULL: no memory */
ngx_livestream_stream_t *ngx_livestream_stream_create(
    ngx_livestream_sh_stream_t *sh);
ngx_int_t ngx_livestream_stream_remember(ngx_livestream_stream_t *s,
    ngx_livestream_row_t *row);
/* held by look(), and let go once it is put right */
void ngx_livestream_stream_adopt(ngx_livestream_sh_stream_t *sh);
void ngx_livestream_stream_end(ngx_livestream_stream_t *s);
/* forgets what this worker knows of a stream, not the stream */
void ngx_livestream_stream_drop(ngx_livestream_stream_t *s);

/*
 * An interrupted stream may be claimed by a publisher in another worker at any
 * time, but for what its owner does between hold and release, or until it has
 * ended.  NGX_DECLINED: it has been, and is to be dropped.
 */
ngx_int_t ngx_livestream_stream_hold(ngx_livestream_stream_t *s,
    ngx_uint_t *draining);
void ngx_livestream_stream_release(ngx_livestream_stream_t *s,
    ngx_uint_t draining);

/* master: the statement that puts statuses right when the zone is new */
const char *ngx_livestream_stream_fresh(void);


/*
 * The reaper: removes folders of media, in nginx's thread pool.
 */

/* master, new zone: moves what a crash left aside */
void ngx_livestream_reaper_collect(ngx_cycle_t *cycle, ngx_str_t *root);
/* worker: removes what was moved aside */
void ngx_livestream_reaper_sweep(ngx_str_t *root, ngx_log_t *log);
/* worker: removes ROOT/ID/BROADCAST, and ROOT/ID if it is empty then */
void ngx_livestream_reaper_remove(ngx_str_t *root, u_char *id,
    u_char *broadcast, ngx_log_t *log);
/* configuration: the thread pool */
ngx_int_t ngx_livestream_reaper_conf(ngx_conf_t *cf);


#endif /* _NGX_LIVESTREAM_STREAM_H_INCLUDED_ */


/*
 * Copyright (C) nginx-livestream contributors
 *
 * DVR: what its files and those of LL-HLS have of one another.
 *
 *   writer  --- lines --->  recorder (thread)  --->  DIR/index
 *                               | whole files, where there is storage
 *                               v
 *   store: dvr_recordings, dvr_objects, dvr_conversions
 *                               ^
 *   keeper (one worker)  -------+---> jobs (threads): finish, convert, upload,
 *                                     remove
 *
 * Event loop.
 */


#ifndef _NGX_LIVESTREAM_DVR_H_INCLUDED_
#define _NGX_LIVESTREAM_DVR_H_INCLUDED_


#include "ngx_livestream.h"


/* DIR and a name below it */
#define NGX_LIVESTREAM_DVR_NAME      64
#define NGX_LIVESTREAM_DVR_KEY                                               \
    (2 * NGX_LIVESTREAM_ID_LEN + NGX_LIVESTREAM_DVR_NAME)


/* directives */
typedef struct {
    ngx_flag_t               enable;            /* dvr: of all streams */
    time_t                   retention;         /* s; 0: for ever */
    time_t                   cleanup_interval;  /* s */
    off_t                    min_free;          /* bytes */
    ngx_str_t                storage;           /* as configured */
    ngx_str_t                recordings;        /* folder: absolute, no slash
                                                   at the end, NUL behind */
    ngx_livestream_storage_engine_t  *engine;   /* NULL: the disk only */
    ngx_str_t                proxy;             /* location of playback, with
                                                   slashes; empty: redirect */
} ngx_livestream_dvr_conf_t;


/* A worker's own. */
typedef struct {
    ngx_livestream_dvr_conf_t *conf;
    void                    *storage;           /* of the engine, or NULL */
} ngx_livestream_dvr_t;

extern ngx_livestream_dvr_t  ngx_livestream_dvr;


/* end of the livestream{} block */
char *ngx_livestream_dvr_init_conf(ngx_cycle_t *cycle,
    ngx_livestream_dvr_conf_t *conf);

/* recording_playback */
char *ngx_livestream_dvr_set_playback(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);

/* master: the folder */
ngx_int_t ngx_livestream_dvr_init_module(ngx_cycle_t *cycle);

/* worker */
ngx_int_t ngx_livestream_dvr_init_process(ngx_cycle_t *cycle);
void ngx_livestream_dvr_exit_process(ngx_cycle_t *cycle);

/* stream_open of a new broadcast: is it recorded, and how long a window */
void ngx_livestream_dvr_stream_open(ngx_livestream_stream_t *s);
/* stream_open of any: where its files go */
void ngx_livestream_dvr_folder(ngx_livestream_stream_t *s);


/*
 * The recorder: what the writer says of a stream.  Nothing of it fails: what
 * is not written down is found in the files when the recording is finished.
 */

typedef struct ngx_livestream_dvr_entry_s  ngx_livestream_dvr_entry_t;

/* of a stream; zeroed at first; all do nothing unless it is recorded */
typedef struct {
    ngx_livestream_dvr_entry_t    *entry;       /* not yet posted */
    ngx_livestream_store_query_t  *query;       /* its row is being made */
    ngx_uint_t                     stored;      /* it has a row */
    ngx_uint_t                     failed;      /* was told of */
} ngx_livestream_dvr_log_t;

void ngx_livestream_dvr_log_track(ngx_livestream_stream_t *s,
    ngx_livestream_dvr_log_t *log, ngx_livestream_track_t *t);
void ngx_livestream_dvr_log_open(ngx_livestream_stream_t *s,
    ngx_livestream_dvr_log_t *log, ngx_livestream_track_t *t,
    ngx_livestream_segment_t *segment);
void ngx_livestream_dvr_log_segment(ngx_livestream_stream_t *s,
    ngx_livestream_dvr_log_t *log, ngx_livestream_track_t *t,
    ngx_livestream_segment_t *segment);
void ngx_livestream_dvr_log_end(ngx_livestream_stream_t *s,
    ngx_livestream_dvr_log_t *log);
/* hands over what was said since the last time */
void ngx_livestream_dvr_log_post(ngx_livestream_stream_t *s,
    ngx_livestream_dvr_log_t *log);
/* the stream is live: it gets its row, if it has none; may be called again
 * and again */
void ngx_livestream_dvr_log_live(ngx_livestream_stream_t *s,
    ngx_livestream_dvr_log_t *log);
/* the stream's pool goes */
void ngx_livestream_dvr_log_close(ngx_livestream_stream_t *s,
    ngx_livestream_dvr_log_t *log);

ngx_int_t ngx_livestream_dvr_recorder_init_process(ngx_cycle_t *cycle);
void ngx_livestream_dvr_recorder_exit_process(void);


/*
 * The keeper.
 */

ngx_int_t ngx_livestream_dvr_keeper_init_process(ngx_cycle_t *cycle);
void ngx_livestream_dvr_keeper_exit_process(void);


#endif /* _NGX_LIVESTREAM_DVR_H_INCLUDED_ */

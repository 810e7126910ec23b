
/*
 * Copyright (C) nginx-livestream contributors
 *
 * The keeper's rooms.  A pass is a row of steps, each of which asks the store
 * what there is to do, begins it, and calls next():
 *
 *   tick --> pass: finish - convert - remove - upload - local - objects
 *              ^         - cleanup - orphans - disk
 *              |                   |
 *              +--- ring ---- jobs, when they are done
 *
 * What is begun is in the list `busy` until it is done, by its name, so that
 * the next pass leaves it alone; and then until a question that was asked
 * meanwhile is answered, which the store may do before it hears of the end.
 * All state that matters is in the store and in the files: a keeper that dies
 * is followed by one that begins again.
 *
 * Event loop, of the keeper.
 */


#ifndef _NGX_LIVESTREAM_DVR_KEEPER_H_INCLUDED_
#define _NGX_LIVESTREAM_DVR_KEEPER_H_INCLUDED_


#include "ngx_livestream_llhls_module.h"
#include "ngx_livestream_dvr_source.h"


/* Begins every piece of work, malloc'ed; done() gives it to release(). */
typedef struct {
    ngx_livestream_job_t     job;           /* must be first */
    ngx_queue_t              queue;         /* busy */
    ngx_uint_t               over;          /* it was released */
    char                     name[NGX_LIVESTREAM_DVR_KEY];
    char                     id[NGX_LIVESTREAM_ID_LEN + 1];     /* stream */
    char                     rid[NGX_LIVESTREAM_ID_LEN + 1];    /* recording */
    char                     dir[NGX_MAX_PATH];     /* its folder */
    ngx_livestream_dvr_t     dvr;           /* for threads */
} ngx_livestream_dvr_work_t;


typedef struct {
    ngx_queue_t              busy;
    ngx_livestream_crew_t   *finish;
    ngx_livestream_crew_t   *convert;
    ngx_livestream_crew_t   *upload;
    ngx_livestream_crew_t   *files;         /* removes, and looks */
    ngx_uint_t               leaving;       /* the jobs were told to stop */
    ngx_uint_t               closed;        /* the store is */
    time_t                   cleanup;       /* the next one */
    ngx_uint_t               orphans;       /* are to be looked for */
    ngx_atomic_uint_t        lost;          /* the zone's count of them */
    time_t                   disk;          /* the next look */
    u_char                   now[32];       /* of this pass, RFC 3339 */
    ngx_str_t                time;          /* the same */
} ngx_livestream_dvr_keeper_t;

extern ngx_livestream_dvr_keeper_t  ngx_livestream_dvr_keeper;


/* begin nothing; the store answers until it is closed */
#define ngx_livestream_dvr_leaving()  (ngx_exiting || ngx_terminate)


typedef void (*ngx_livestream_dvr_rows_pt)(ngx_livestream_store_result_t *r);

/* a step's question; its rows come only if it was answered */
void ngx_livestream_dvr_ask(const char *sql, ngx_str_t *params, ngx_uint_t n,
    ngx_livestream_dvr_rows_pt rows);
/* the step is over */
void ngx_livestream_dvr_next(void);
/* a statement of which only failures are told */
void ngx_livestream_dvr_tell(const char *sql, ngx_str_t *params, ngx_uint_t n);

/* NULL: busy already, or no memory.  size is that of the whole; rid may be
 * empty, and is the name unless there is another */
void *ngx_livestream_dvr_work(size_t size, const char *name, ngx_str_t *id,
    ngx_str_t *rid, void (*run)(ngx_livestream_job_t *job),
    void (*done)(ngx_livestream_job_t *job));
/* posted, or released with NGX_BUSY */
ngx_int_t ngx_livestream_dvr_post(ngx_livestream_crew_t *crew, void *work);
void ngx_livestream_dvr_release(void *work);
ngx_livestream_dvr_work_t *ngx_livestream_dvr_busy(const char *name);

/* for a parameter: text is NUL-terminated */
void ngx_livestream_dvr_text(ngx_str_t *param, const char *text);
/* a time of so many s after the pass began; buf has 32 bytes */
void ngx_livestream_dvr_after(ngx_str_t *param, u_char *buf, int64_t s);

/* is the broadcast on air, or waits for its publisher? */
ngx_uint_t ngx_livestream_dvr_on_air(ngx_str_t *id, ngx_str_t *rid);

/* of a recording's source, for jobs: from storage, where there is one */
int ngx_livestream_dvr_fetch(void *work, const char *name, uint64_t offset,
    size_t size, uint8_t *p, size_t *got);

/* a job's thread: nothing of the stream is on the disk, as if that was not
 * there at all */
ngx_uint_t ngx_livestream_dvr_unmounted(ngx_livestream_dvr_work_t *w);

/* a name from the store: of no more than these can paths and keys be made */
ngx_uint_t ngx_livestream_dvr_is_id(ngx_str_t *id);


/* steps, each in its file */
void ngx_livestream_dvr_finish_step(void);
void ngx_livestream_dvr_convert_step(void);
void ngx_livestream_dvr_remove_step(void);
void ngx_livestream_dvr_upload_step(void);
void ngx_livestream_dvr_local_step(void);
void ngx_livestream_dvr_objects_step(void);
void ngx_livestream_dvr_cleanup_step(void);
void ngx_livestream_dvr_orphans_step(void);
void ngx_livestream_dvr_disk_step(void);

/* a recording that is not on air, its objects too; or a video's file */
void ngx_livestream_dvr_remove(ngx_str_t *id, ngx_str_t *rid,
    ngx_uint_t video);
void ngx_livestream_dvr_delete_objects(ngx_str_t *rid);

/* each tick, while there are conversions */
void ngx_livestream_dvr_convert_progress(void);

/* a video's file is to go into storage, if there is one */
void ngx_livestream_dvr_object(const char *id, const char *video);


#endif /* _NGX_LIVESTREAM_DVR_KEEPER_H_INCLUDED_ */

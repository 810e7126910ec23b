
/*
 * Copyright (C) nginx-livestream contributors
 *
 * The keeper's work on what is not wanted any more.
 *
 *   expired     ready, failed --> deleted
 *   deleted     its objects --> deleting; its folder goes; then its URLs
 *   tombstones  deleted for as long as they were kept --> (no row)
 *
 * Each step finds what it has to do in the store, and leaves nothing behind
 * that the next step would not find: so a crash between any two costs nothing
 * but time.
 *
 * And the disk: when there is too little left of it, what has expired goes at
 * once.
 *
 * Event loop; run() functions are of a job's thread.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>
#include <dirent.h>
#include <sys/statvfs.h>

#include "ngx_livestream_dvr_keeper.h"


#define NGX_LIVESTREAM_DVR_DEPTH  4             /* of a tree */
#define NGX_LIVESTREAM_DVR_DISK   5             /* s, between looks at it */


typedef struct {
    ngx_livestream_dvr_work_t  work;        /* must be first */
    ngx_uint_t               video;
    int                      err;
    uint64_t                 free;          /* bytes, of the disk */
} ngx_livestream_dvr_remove_t;


static void ngx_livestream_dvr_remove_rows(ngx_livestream_store_result_t *r);
static void ngx_livestream_dvr_remove_run(ngx_livestream_job_t *job);
static void ngx_livestream_dvr_remove_done(ngx_livestream_job_t *job);
static int ngx_livestream_dvr_tree(char *path, size_t size,
    ngx_uint_t depth);
static void ngx_livestream_dvr_expired(ngx_livestream_store_result_t *r);
static void ngx_livestream_dvr_disk_run(ngx_livestream_job_t *job);
static void ngx_livestream_dvr_disk_done(ngx_livestream_job_t *job);


static const char  ngx_livestream_dvr_sql_deleted[] =
    "SELECT id, live_stream_id FROM dvr_recordings"
    " WHERE status = 'deleted' AND recording_url IS NOT NULL LIMIT 16";

static const char  ngx_livestream_dvr_sql_delete_objects[] =
    "UPDATE dvr_objects SET status = 'deleting', attempts = 0, due = $2"
    " WHERE recording_id = $1 AND status <> 'deleting'";

static const char  ngx_livestream_dvr_sql_removed[] =
    "UPDATE dvr_recordings SET recording_url = NULL, manifest_url = NULL,"
    " thumbnail_url = NULL, updated_at = $2"
    " WHERE id = $1 AND status = 'deleted'";

static const char  ngx_livestream_dvr_sql_expire[] =
    "UPDATE dvr_recordings SET status = 'deleted', updated_at = $1"
    " WHERE status IN ('ready', 'failed') AND retention_until <= $1"
    " RETURNING id, live_stream_id";

static const char  ngx_livestream_dvr_sql_tombstones[] =
    "DELETE FROM dvr_recordings WHERE status = 'deleted'"
    " AND recording_url IS NULL AND updated_at <= $1";


void
ngx_livestream_dvr_remove_step(void)
{
    ngx_livestream_dvr_ask(ngx_livestream_dvr_sql_deleted, NULL, 0,
                           ngx_livestream_dvr_remove_rows);
}


static void
ngx_livestream_dvr_remove_rows(ngx_livestream_store_result_t *r)
{
    ngx_str_t   *rid, *id;
    ngx_uint_t   i;

    for (i = 0; i < r->nrows; i++) {
        rid = ngx_livestream_store_value(r, i, 0);
        id = ngx_livestream_store_value(r, i, 1);

        ngx_livestream_dvr_remove(id, rid, 0);
    }

    ngx_livestream_dvr_next();
}


void
ngx_livestream_dvr_remove(ngx_str_t *id, ngx_str_t *rid, ngx_uint_t video)
{
    char                          name[NGX_LIVESTREAM_ID_LEN + 1];
    char                          convert[sizeof("convert ")
                                          + NGX_LIVESTREAM_ID_LEN];
    ngx_livestream_dvr_remove_t  *w;

    if (!ngx_livestream_dvr_is_id(rid)
        || (!video && ngx_livestream_dvr_on_air(id, rid)))
    {
        return;
    }

    (void) ngx_snprintf((u_char *) name, sizeof(name), "%V%Z", rid);
    (void) ngx_snprintf((u_char *) convert, sizeof(convert), "convert %V%Z",
                        rid);

    if (ngx_livestream_dvr_busy(convert)) {
        return;
    }

    w = ngx_livestream_dvr_work(sizeof(ngx_livestream_dvr_remove_t), name, id,
                                rid, ngx_livestream_dvr_remove_run,
                                ngx_livestream_dvr_remove_done);
    if (w == NULL) {
        return;
    }

    w->video = video;
    w->err = ECANCELED;

    ngx_livestream_dvr_delete_objects(rid);

    (void) ngx_livestream_dvr_post(ngx_livestream_dvr_keeper.files, w);
}


void
ngx_livestream_dvr_delete_objects(ngx_str_t *rid)
{
    u_char     now[32];
    ngx_str_t  params[2];

    params[0] = *rid;
    ngx_livestream_dvr_after(&params[1], now, 0);

    ngx_livestream_dvr_tell(ngx_livestream_dvr_sql_delete_objects, params, 2);
}


/* runs in a job's thread: first what makes it playable */

static void
ngx_livestream_dvr_remove_run(ngx_livestream_job_t *job)
{
    ngx_livestream_dvr_remove_t *w = (ngx_livestream_dvr_remove_t *) job;

    char  path[2 * NGX_MAX_PATH];

    if (w->video) {
        (void) snprintf(path, sizeof(path), "%s/%s/videos/%s.mp4",
                        w->work.dvr.conf->recordings.data, w->work.id,
                        w->work.rid);

        w->err = (unlink(path) == -1 && ngx_errno != NGX_ENOENT) ? ngx_errno
                                                                 : 0;
        return;
    }

    (void) snprintf(path, sizeof(path), "%s/master.m3u8", w->work.dir);
    (void) unlink(path);

    (void) snprintf(path, sizeof(path), "%s", w->work.dir);
    w->err = ngx_livestream_dvr_tree(path, sizeof(path), 0);

    /* fails while the stream has others */

    (void) snprintf(path, sizeof(path), "%s/%s",
                    w->work.dvr.conf->recordings.data, w->work.id);
    (void) rmdir(path);
}


/* runs in a job's thread; 0 or the errno of what is left */

static int
ngx_livestream_dvr_tree(char *path, size_t size, ngx_uint_t depth)
{
    DIR            *dir;
    int             err, rc;
    size_t          len;
    struct stat     st;
    struct dirent  *de;

    if (lstat(path, &st) == -1) {
        return (ngx_errno == NGX_ENOENT) ? 0 : ngx_errno;
    }

    if (!S_ISDIR(st.st_mode)) {
        return (unlink(path) == -1 && ngx_errno != NGX_ENOENT) ? ngx_errno : 0;
    }

    if (depth == NGX_LIVESTREAM_DVR_DEPTH) {
        return ELOOP;
    }

    dir = opendir(path);
    if (dir == NULL) {
        return ngx_errno;
    }

    err = 0;
    len = strlen(path);

    while ((de = readdir(dir)) != NULL) {

        if (strcmp(de->d_name, ".") == 0 || strcmp(de->d_name, "..") == 0) {
            continue;
        }

        if (len + strlen(de->d_name) + 2 > size) {
            err = ENAMETOOLONG;
            continue;
        }

        (void) snprintf(path + len, size - len, "/%s", de->d_name);

        rc = ngx_livestream_dvr_tree(path, size, depth + 1);
        err = rc ? rc : err;

        path[len] = '\0';
    }

    (void) closedir(dir);

    if (err == 0 && rmdir(path) == -1 && ngx_errno != NGX_ENOENT) {
        err = ngx_errno;
    }

    return err;
}


static void
ngx_livestream_dvr_remove_done(ngx_livestream_job_t *job)
{
    ngx_livestream_dvr_remove_t *w = (ngx_livestream_dvr_remove_t *) job;

    u_char     now[32];
    ngx_str_t  params[2];

    if (w->err == 0 && !w->video) {
        ngx_livestream_dvr_text(&params[0], w->work.rid);
        ngx_livestream_dvr_after(&params[1], now, 0);

        ngx_livestream_dvr_tell(ngx_livestream_dvr_sql_removed, params, 2);

        ngx_log_error(NGX_LOG_NOTICE, ngx_cycle->log, 0,
                      "stream %s: recording %s was removed", w->work.id,
                      w->work.rid);

    } else if (w->err && w->err != ECANCELED) {
        ngx_log_error(NGX_LOG_ERR, ngx_cycle->log, w->err,
                      "stream %s: \"%s\" could not be removed, it will be "
                      "tried again", w->work.id,
                      w->video ? w->work.rid : w->work.dir);
    }

    ngx_livestream_dvr_release(w);
}


void
ngx_livestream_dvr_cleanup_step(void)
{
    ngx_livestream_dvr_keeper_t  *k;

    k = &ngx_livestream_dvr_keeper;

    if (ngx_time() < k->cleanup) {
        ngx_livestream_dvr_next();
        return;
    }

    k->cleanup = ngx_time() + ngx_livestream_dvr.conf->cleanup_interval;
    k->orphans = 1;

    ngx_livestream_dvr_ask(ngx_livestream_dvr_sql_expire, &k->time, 1,
                           ngx_livestream_dvr_expired);
}


static void
ngx_livestream_dvr_expired(ngx_livestream_store_result_t *r)
{
    time_t      keep;
    u_char      then[32];
    ngx_str_t   params[2];
    ngx_uint_t  i;

    for (i = 0; i < r->nrows; i++) {
        ngx_log_error(NGX_LOG_NOTICE, ngx_cycle->log, 0,
                      "stream %V: recording %V has expired",
                      ngx_livestream_store_value(r, i, 1),
                      ngx_livestream_store_value(r, i, 0));
    }

    if (r->nrows) {
        ngx_livestream_keeper_ring();
    }

    keep = ngx_livestream_dvr.conf->retention;

    ngx_livestream_dvr_after(&params[0], then, -(keep ? keep : 30 * 86400));
    ngx_livestream_dvr_tell(ngx_livestream_dvr_sql_tombstones, params, 1);

    ngx_livestream_dvr_next();
}


void
ngx_livestream_dvr_disk_step(void)
{
    ngx_str_t                     id, none;
    ngx_livestream_dvr_keeper_t  *k;
    ngx_livestream_dvr_remove_t  *w;

    k = &ngx_livestream_dvr_keeper;

    if (ngx_time() < k->disk) {
        ngx_livestream_dvr_next();
        return;
    }

    k->disk = ngx_time() + NGX_LIVESTREAM_DVR_DISK;

    ngx_str_set(&id, "00000000-0000-0000-0000-000000000000");
    ngx_str_null(&none);

    w = ngx_livestream_dvr_work(sizeof(ngx_livestream_dvr_remove_t), "disk",
                                &id, &none, ngx_livestream_dvr_disk_run,
                                ngx_livestream_dvr_disk_done);
    if (w) {
        w->err = ECANCELED;
        (void) ngx_livestream_dvr_post(k->files, w);
    }

    ngx_livestream_dvr_next();
}


/* runs in a job's thread */

static void
ngx_livestream_dvr_disk_run(ngx_livestream_job_t *job)
{
    ngx_livestream_dvr_remove_t *w = (ngx_livestream_dvr_remove_t *) job;

    struct statvfs  fs;

    if (statvfs((char *) w->work.dvr.conf->recordings.data, &fs) == -1) {
        w->err = ngx_errno;
        return;
    }

    w->err = 0;
    w->free = (uint64_t) fs.f_bavail * fs.f_frsize;
}


/* what has expired goes first; a tenth more ends it, so that it is no to and
 * fro */

static void
ngx_livestream_dvr_disk_done(ngx_livestream_job_t *job)
{
    ngx_livestream_dvr_remove_t *w = (ngx_livestream_dvr_remove_t *) job;

    uint64_t                    least;
    ngx_livestream_dvr_conf_t  *conf;

    conf = ngx_livestream_dvr.conf;
    least = conf->min_free;

    if (w->err == 0 && w->free < least) {

        if (!ngx_livestream_sh->keeper.full) {
            ngx_log_error(NGX_LOG_ERR, ngx_cycle->log, 0,
                          "%uL bytes are left for recordings in \"%V\", less "
                          "than \"recording_min_free\": what has expired is "
                          "removed, and no new stream is recorded until there "
                          "is room", w->free, &conf->recordings);
        }

        ngx_livestream_sh->keeper.full = 1;
        ngx_livestream_dvr_keeper.cleanup = 0;

    } else if (w->err == 0 && ngx_livestream_sh->keeper.full
               && w->free >= least + least / 10)
    {
        ngx_log_error(NGX_LOG_NOTICE, ngx_cycle->log, 0,
                      "there is room for recordings in \"%V\" again",
                      &conf->recordings);

        ngx_livestream_sh->keeper.full = 0;
    }

    ngx_livestream_dvr_release(w);
}

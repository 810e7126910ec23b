
/*
 * Copyright (C) nginx-livestream contributors
 *
 * The keeper's work on recordings that are over: finishing them.
 *
 *   recording -- not on air any more --> processing -- job --> ready | failed
 *                                                       ^         |
 *                                                       +- later -+ no room,
 *                                                                   no memory
 *
 * It can be done again from the beginning: so it is, by the next keeper, if
 * this one goes away in the middle.
 *
 * Event loop; run() functions are of a job's thread.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>
#include <dirent.h>

#include "ngx_livestream_dvr_keeper.h"
#include "ngx_livestream_dvr_finish.h"
#include "ngx_livestream_dvr_storyboard.h"


#define NGX_LIVESTREAM_DVR_SETTLE  2            /* s, and three target
                                                   durations: of files without
                                                   an end */
#define NGX_LIVESTREAM_DVR_RETRY   30           /* s */
#define NGX_LIVESTREAM_DVR_URL     256
#define NGX_LIVESTREAM_DVR_BATCH   20           /* names in one statement */


typedef struct {
    ngx_livestream_dvr_work_t  work;        /* must be first */
    ngx_uint_t               again;         /* later */
    int                      err;
    const char              *reason;
    const char              *rebuilt;       /* why its index was */
    ngx_livestream_dvr_summary_t  summary;
    uint32_t                 pictures;
    int                      picture_err;
    const char              *picture_reason;
    char                    *names;         /* of files, each with its NUL */
    size_t                   len;
    size_t                   size;
    size_t                   journaled;     /* of len: are in the store */
} ngx_livestream_dvr_finish_t;


static void ngx_livestream_dvr_finish_rows(ngx_livestream_store_result_t *r);
static void ngx_livestream_dvr_finish_run(ngx_livestream_job_t *job);
static void ngx_livestream_dvr_finish_done(ngx_livestream_job_t *job);
static ngx_uint_t ngx_livestream_dvr_journal(ngx_livestream_dvr_finish_t *f);
static void ngx_livestream_dvr_journaled(ngx_livestream_store_result_t *r,
    void *data);
static void ngx_livestream_dvr_finish_free(ngx_livestream_dvr_finish_t *f);
static void ngx_livestream_dvr_finish_ready(ngx_livestream_dvr_finish_t *f);
static void ngx_livestream_dvr_finish_failed(ngx_livestream_dvr_finish_t *f);
static ngx_uint_t ngx_livestream_dvr_passing(int err);
static time_t ngx_livestream_dvr_newest(ngx_livestream_dvr_finish_t *f,
    ngx_livestream_dvr_index_t *index);
static void ngx_livestream_dvr_list(ngx_livestream_dvr_finish_t *f,
    const char *sub);
static void ngx_livestream_dvr_add(ngx_livestream_dvr_finish_t *f,
    const char *sub, const char *name);


/* nothing is finished before */
static time_t  ngx_livestream_dvr_retry;

static const char  ngx_livestream_dvr_sql_over[] =
    "SELECT id, live_stream_id, status FROM dvr_recordings"
    " WHERE status IN ('recording', 'processing')"
    " ORDER BY created_at LIMIT 1000";

static const char  ngx_livestream_dvr_sql_processing[] =
    "UPDATE dvr_recordings SET status = 'processing', updated_at = $2"
    " WHERE id = $1 AND status = 'recording'";

static const char  ngx_livestream_dvr_sql_journal[] =
    "INSERT INTO dvr_objects (recording_id, due, name) VALUES"
    " ($1, $2, $3), ($1, $2, $4), ($1, $2, $5), ($1, $2, $6),"
    " ($1, $2, $7), ($1, $2, $8), ($1, $2, $9), ($1, $2, $10),"
    " ($1, $2, $11), ($1, $2, $12), ($1, $2, $13), ($1, $2, $14),"
    " ($1, $2, $15), ($1, $2, $16), ($1, $2, $17), ($1, $2, $18),"
    " ($1, $2, $19), ($1, $2, $20), ($1, $2, $21), ($1, $2, $22)"
    " ON CONFLICT (name) DO NOTHING";

static const char  ngx_livestream_dvr_sql_ready[] =
    "UPDATE dvr_recordings SET status = 'ready', start_time = $2,"
    " end_time = $3, duration = $4, size = $5, manifest_url = $6,"
    " thumbnail_url = $7, retention_until = $8, updated_at = $9"
    " WHERE id = $1 AND status = 'processing'";

static const char  ngx_livestream_dvr_sql_failed[] =
    "UPDATE dvr_recordings SET status = 'failed', end_time = $2,"
    " retention_until = $3, updated_at = $2"
    " WHERE id = $1 AND status = 'processing'";


void
ngx_livestream_dvr_finish_step(void)
{
    if (ngx_time() < ngx_livestream_dvr_retry) {
        ngx_livestream_dvr_next();
        return;
    }

    ngx_livestream_dvr_ask(ngx_livestream_dvr_sql_over, NULL, 0,
                           ngx_livestream_dvr_finish_rows);
}


static void
ngx_livestream_dvr_finish_rows(ngx_livestream_store_result_t *r)
{
    char                          name[NGX_LIVESTREAM_ID_LEN + 1];
    ngx_str_t                    *rid, *id, params[2];
    ngx_uint_t                    i;
    ngx_livestream_dvr_finish_t  *f;

    for (i = 0; i < r->nrows; i++) {
        rid = ngx_livestream_store_value(r, i, 0);
        id = ngx_livestream_store_value(r, i, 1);

        if (!ngx_livestream_dvr_is_id(rid)
            || ngx_livestream_dvr_on_air(id, rid))
        {
            continue;
        }

        (void) ngx_snprintf((u_char *) name, sizeof(name), "%V%Z", rid);

        f = ngx_livestream_dvr_work(sizeof(ngx_livestream_dvr_finish_t), name,
                                    id, rid, ngx_livestream_dvr_finish_run,
                                    ngx_livestream_dvr_finish_done);
        if (f == NULL) {
            continue;
        }

        f->err = ECANCELED;

        params[0] = *rid;
        params[1] = ngx_livestream_dvr_keeper.time;

        ngx_livestream_dvr_tell(ngx_livestream_dvr_sql_processing, params, 2);

        if (ngx_livestream_dvr_post(ngx_livestream_dvr_keeper.finish, f)
            != NGX_OK)
        {
            break;
        }
    }

    ngx_livestream_dvr_next();
}


/* runs in a job's thread */

static void
ngx_livestream_dvr_finish_run(ngx_livestream_job_t *job)
{
    ngx_livestream_dvr_finish_t *f = (ngx_livestream_dvr_finish_t *) job;

    ngx_uint_t                    i;
    struct stat                   st;
    ngx_livestream_dvr_index_t   *index;
    ngx_livestream_dvr_source_t   source;

    if (stat(f->work.dir, &st) == -1 && ngx_errno == NGX_ENOENT) {
        f->err = ENOENT;
        f->reason = "its folder is gone";

        if (ngx_livestream_dvr_unmounted(&f->work)) {
            f->err = EAGAIN;
            f->reason = "there is no folder of its stream: mount it, or "
                        "delete the recording";
        }

        return;
    }

    index = calloc(1, sizeof(ngx_livestream_dvr_index_t));
    if (index == NULL) {
        f->err = ENOMEM;
        f->reason = "no memory for its index";
        return;
    }

    f->err = ngx_livestream_dvr_index_read(f->work.dir, index, &f->reason);

    if (f->err == ENOENT || f->err == EINVAL) {
        ngx_livestream_dvr_index_free(index);

        f->rebuilt = f->reason;
        f->err = ngx_livestream_dvr_index_rebuild(f->work.dir, &f->reason);

        if (f->err == 0) {
            f->err = ngx_livestream_dvr_index_read(f->work.dir, index,
                                                   &f->reason);
        }
    }

    if (f->err == 0 && !index->ended
        && ngx_livestream_dvr_newest(f, index) + NGX_LIVESTREAM_DVR_SETTLE
           + 3 * (time_t) index->target_duration > time(NULL))
    {
        f->again = 1;
        goto done;
    }

    if (f->err == 0) {
        f->err = ngx_livestream_dvr_index_recover(f->work.dir, index,
                                                  &f->reason);
    }

    if (f->err == 0) {
        f->err = ngx_livestream_dvr_finish(f->work.dir, index, &f->summary,
                                           &f->reason);
    }

    if (f->err == 0) {
        source.dir = f->work.dir;
        source.fetch = f->work.dvr.storage ? ngx_livestream_dvr_fetch : NULL;
        source.data = f;
        source.stop = job->stop;

        f->picture_err = ngx_livestream_dvr_storyboard(index, &source,
                                                       &f->pictures,
                                                       &f->picture_reason);
        if (f->picture_err == ECANCELED) {
            f->err = ECANCELED;
        }
    }

    if (f->err == 0 && f->work.dvr.storage) {
        ngx_livestream_dvr_list(f, "");

        for (i = 0; i < index->ntracks; i++) {
            ngx_livestream_dvr_list(f, index->tracks[i].name);
        }
    }

done:

    ngx_livestream_dvr_index_free(index);
    free(index);
}


/*
 * runs in a job's thread: when something was last written.  A worker of an
 * nginx that was replaced (USR2) may still be at it, of which this one's zone
 * knows nothing.
 */

static time_t
ngx_livestream_dvr_newest(ngx_livestream_dvr_finish_t *f,
    ngx_livestream_dvr_index_t *index)
{
    time_t                         newest;
    ngx_uint_t                     i;
    struct stat                    st;
    ngx_livestream_dvr_track_t    *t;
    ngx_livestream_dvr_segment_t  *last;

    char  path[NGX_MAX_PATH + NGX_LIVESTREAM_DVR_NAME];

    (void) snprintf(path, sizeof(path), "%s/index", f->work.dir);

    newest = (stat(path, &st) == 0) ? st.st_mtime : 0;

    for (i = 0; i < index->ntracks; i++) {

        t = &index->tracks[i];

        if (t->nsegments == 0) {
            continue;
        }

        last = &t->segments[t->nsegments - 1];

        (void) snprintf(path, sizeof(path), "%s/%s/segment-%llu.m4s",
                        f->work.dir, t->name, (unsigned long long) last->msn);

        if (stat(path, &st) == 0) {
            newest = ngx_max(newest, st.st_mtime);
        }
    }

    return newest;
}


/* runs in a job's thread: the files that are to be in storage */

static void
ngx_livestream_dvr_list(ngx_livestream_dvr_finish_t *f, const char *sub)
{
    DIR            *dir;
    size_t          len;
    struct dirent  *de;

    char  path[NGX_MAX_PATH + NGX_LIVESTREAM_DVR_NAME];

    static const char  *suffixes[] = { ".m3u8", ".mp4", ".m4s", ".jpg",
                                       ".vtt", NULL };
    const char        **suffix;

    (void) snprintf(path, sizeof(path), "%s/%s", f->work.dir, sub);

    dir = opendir(path);
    if (dir == NULL) {

        if (ngx_errno != NGX_ENOENT) {
            f->err = ngx_errno;
            f->reason = "a folder of it cannot be listed";
        }

        return;
    }

    while ((de = readdir(dir)) != NULL) {
        len = ngx_strlen(de->d_name);

        for (suffix = suffixes; *suffix; suffix++) {
            if (len > ngx_strlen(*suffix)
                && ngx_strcmp(de->d_name + len - ngx_strlen(*suffix), *suffix)
                   == 0)
            {
                ngx_livestream_dvr_add(f, sub, de->d_name);
                break;
            }
        }
    }

    (void) closedir(dir);
}


/* what there is no memory for is found again by no one: so it is not ready */

static void
ngx_livestream_dvr_add(ngx_livestream_dvr_finish_t *f, const char *sub,
    const char *name)
{
    char  *names;

    if (f->size - f->len < NGX_LIVESTREAM_DVR_NAME) {

        names = realloc(f->names, 2 * f->size + 64 * NGX_LIVESTREAM_DVR_NAME);
        if (names == NULL) {
            f->err = ENOMEM;
            f->reason = "no memory for the names of its files";
            return;
        }

        f->names = names;
        f->size = 2 * f->size + 64 * NGX_LIVESTREAM_DVR_NAME;
    }

    if (ngx_strcmp(name, "thumbnail.jpg") == 0
        || ngx_strlen(sub) + ngx_strlen(name) + 2 > NGX_LIVESTREAM_DVR_NAME)
    {
        return;
    }

    f->len += snprintf(f->names + f->len, NGX_LIVESTREAM_DVR_NAME,
                       *sub ? "%s/%s" : "%s%s", sub, name)
              + 1;
}


static void
ngx_livestream_dvr_finish_done(ngx_livestream_job_t *job)
{
    ngx_livestream_dvr_finish_t *f = (ngx_livestream_dvr_finish_t *) job;

    if (f->rebuilt && f->err == 0) {
        ngx_log_error(NGX_LOG_WARN, ngx_cycle->log, 0,
                      "stream %s: recording %s: %s, it was made again from "
                      "the files in \"%s\"", f->work.id, f->work.rid,
                      f->rebuilt, f->work.dir);
    }

    if (ngx_livestream_dvr_keeper.closed) {

        /* the next keeper does it again */

    } else if (f->err == 0 && !f->again) {

        if (ngx_livestream_dvr_journal(f)) {
            return;
        }

    } else if (ngx_livestream_dvr_passing(f->err)) {
        ngx_livestream_dvr_retry = ngx_time() + NGX_LIVESTREAM_DVR_RETRY;

        ngx_log_error(NGX_LOG_ERR, ngx_cycle->log, f->err,
                      "stream %s: recording %s cannot be finished now: %s, "
                      "\"%s\", it will be tried again", f->work.id,
                      f->work.rid, f->reason ? f->reason : "unknown",
                      f->work.dir);

    } else if (f->err && f->err != ECANCELED) {
        ngx_livestream_dvr_finish_failed(f);
    }

    ngx_livestream_dvr_finish_free(f);
}


/*
 * The names of a day's files are more than the store's queue takes: a few at a
 * time, and only then it is ready.  0: it could not be asked, and all of it is
 * done again.
 */

static ngx_uint_t
ngx_livestream_dvr_journal(ngx_livestream_dvr_finish_t *f)
{
    char        *name;
    char         keys[NGX_LIVESTREAM_DVR_BATCH][NGX_LIVESTREAM_DVR_KEY];
    u_char       now[32];
    ngx_str_t    params[2 + NGX_LIVESTREAM_DVR_BATCH];
    ngx_uint_t   i;

    if (f->journaled == f->len) {
        ngx_livestream_dvr_finish_ready(f);
        ngx_livestream_dvr_finish_free(f);
        return 1;
    }

    ngx_livestream_dvr_text(&params[0], f->work.rid);
    ngx_livestream_dvr_after(&params[1], now, 0);

    name = f->names + f->journaled;

    for (i = 0; i < NGX_LIVESTREAM_DVR_BATCH; i++) {

        if (f->journaled == f->len) {
            /* the last one once more */
            params[2 + i] = params[1 + i];
            continue;
        }

        (void) snprintf(keys[i], sizeof(keys[i]), "%s/%s/%s", f->work.id,
                        f->work.rid, name);
        ngx_livestream_dvr_text(&params[2 + i], keys[i]);

        f->journaled += ngx_strlen(name) + 1;
        name = f->names + f->journaled;
    }

    return ngx_livestream_store_exec(ngx_livestream_dvr_sql_journal, params,
                                     2 + NGX_LIVESTREAM_DVR_BATCH,
                                     ngx_livestream_dvr_journaled, f)
           != NULL;
}


static void
ngx_livestream_dvr_journaled(ngx_livestream_store_result_t *r, void *data)
{
    ngx_livestream_dvr_finish_t *f = data;

    if (r->rc != NGX_OK) {
        ngx_log_error(NGX_LOG_ERR, ngx_cycle->log, 0,
                      "stream %s: the files of recording %s could not be "
                      "listed for storage, it will be finished again: %V",
                      f->work.id, f->work.rid, &r->error);

    } else if (!ngx_livestream_dvr_leaving()
               && ngx_livestream_dvr_journal(f))
    {
        return;
    }

    ngx_livestream_dvr_finish_free(f);
}


static void
ngx_livestream_dvr_finish_free(ngx_livestream_dvr_finish_t *f)
{
    if (f->names) {
        free(f->names);
    }

    ngx_livestream_dvr_release(f);
}


/* of the machine, not of the recording */

static ngx_uint_t
ngx_livestream_dvr_passing(int err)
{
    switch (err) {

    case ENOMEM:
    case ENOSPC:
    case EDQUOT:
    case EROFS:
    case EIO:
    case EMFILE:
    case ENFILE:
    case EACCES:
    case EPERM:
    case EAGAIN:
    case ETIMEDOUT:
        return 1;

    default:
        return 0;
    }
}


static void
ngx_livestream_dvr_finish_ready(ngx_livestream_dvr_finish_t *f)
{
    u_char                         start[32], end[32], until[32], now[32];
    u_char                         duration[32], size[NGX_INT64_LEN];
    char                           manifest[NGX_LIVESTREAM_DVR_URL];
    char                           thumbnail[NGX_LIVESTREAM_DVR_URL];
    ngx_str_t                      params[9];
    ngx_livestream_dvr_summary_t  *s;

    s = &f->summary;

    ngx_livestream_dvr_text(&params[0], f->work.rid);

    params[1].data = start;
    params[1].len = ngx_livestream_rfc3339(start, s->start) - start;
    params[2].data = end;
    params[2].len = ngx_livestream_rfc3339(end, s->end) - end;
    params[3].data = duration;
    params[3].len = ngx_sprintf(duration, "%L.%06L", s->duration / 1000000,
                                s->duration % 1000000)
                    - duration;
    params[4].data = size;
    params[4].len = ngx_sprintf(size, "%uL", s->size) - size;

    (void) snprintf(manifest, sizeof(manifest),
                    "/streams/%s/recordings/%s/master.m3u8", f->work.id,
                    f->work.rid);
    ngx_livestream_dvr_text(&params[5], manifest);

    ngx_str_null(&params[6]);

    if (f->pictures) {
        (void) snprintf(thumbnail, sizeof(thumbnail),
                        "/streams/%s/recordings/%s/poster.jpg", f->work.id,
                        f->work.rid);
        ngx_livestream_dvr_text(&params[6], thumbnail);
    }

    ngx_str_null(&params[7]);

    if (f->work.dvr.conf->retention) {
        ngx_livestream_dvr_after(&params[7], until,
                                 f->work.dvr.conf->retention);
    }

    ngx_livestream_dvr_after(&params[8], now, 0);

    ngx_livestream_dvr_tell(ngx_livestream_dvr_sql_ready, params, 9);

    ngx_log_error(NGX_LOG_NOTICE, ngx_cycle->log, 0,
                  "stream %s: recording %s is ready, %L s in %uL bytes",
                  f->work.id, f->work.rid, s->duration / 1000000, s->size);

    if (f->picture_err) {
        ngx_log_error(NGX_LOG_WARN, ngx_cycle->log, f->picture_err,
                      "stream %s: recording %s has no storyboard: %s",
                      f->work.id, f->work.rid, f->picture_reason);
    }
}


static void
ngx_livestream_dvr_finish_failed(ngx_livestream_dvr_finish_t *f)
{
    u_char     now[32], until[32];
    ngx_str_t  params[3];

    ngx_log_error(NGX_LOG_ERR, ngx_cycle->log, f->err,
                  "stream %s: recording %s has failed: %s, its files are in "
                  "\"%s\"", f->work.id, f->work.rid,
                  f->reason ? f->reason : "unknown", f->work.dir);

    ngx_livestream_dvr_text(&params[0], f->work.rid);
    ngx_livestream_dvr_after(&params[1], now, 0);
    ngx_str_null(&params[2]);

    if (f->work.dvr.conf->retention) {
        ngx_livestream_dvr_after(&params[2], until,
                                 f->work.dvr.conf->retention);
    }

    ngx_livestream_dvr_tell(ngx_livestream_dvr_sql_failed, params, 3);
}

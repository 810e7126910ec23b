
/*
 * Copyright (C) nginx-livestream contributors
 *
 * The keeper's work on the journal of files that are to be in storage:
 *
 *   pending   upload, confirmed -->  stored; failed --> due later
 *   stored    when it is due, the file goes --> remote
 *   deleting  the object goes --> (no row)
 *
 * A file goes from the disk only after the server has confirmed as many bytes
 * of the same checksum, and after it has left the live window.  What players
 * ask for first, playlists and pictures, stays on the disk too.
 *
 * When the server is away, each failure makes a file wait longer, up to a
 * minute, and all others for a moment; a backlog is uploaded oldest first.
 *
 * Event loop; run() functions are of a job's thread.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>

#include "ngx_livestream_dvr_keeper.h"


#define NGX_LIVESTREAM_DVR_WAIT      60         /* s, between tries, at most */
#define NGX_LIVESTREAM_DVR_GRACE     60         /* s, beyond the window */
#define NGX_LIVESTREAM_DVR_FOREVER   "9999-12-31T23:59:59.999Z"
#define NGX_LIVESTREAM_DVR_SILENCE   60         /* s, between two complaints */


typedef struct {
    ngx_livestream_dvr_work_t  work;        /* must be first */
    char                     key[NGX_LIVESTREAM_DVR_KEY];
    char                     path[NGX_MAX_PATH];
    ngx_uint_t               attempts;
    ngx_livestream_storage_e rc;
    ngx_livestream_storage_object_t  object;
    ngx_livestream_storage_error_t   error;
} ngx_livestream_dvr_object_t;


static void ngx_livestream_dvr_upload_rows(ngx_livestream_store_result_t *r);
static ngx_livestream_dvr_object_t *ngx_livestream_dvr_object_work(
    ngx_str_t *key, void (*run)(ngx_livestream_job_t *job),
    void (*done)(ngx_livestream_job_t *job));
static void ngx_livestream_dvr_upload_run(ngx_livestream_job_t *job);
static void ngx_livestream_dvr_upload_done(ngx_livestream_job_t *job);
static void ngx_livestream_dvr_upload_stored(ngx_livestream_dvr_object_t *o);
static void ngx_livestream_dvr_upload_failed(ngx_livestream_dvr_object_t *o);
static void ngx_livestream_dvr_upload_lost(ngx_livestream_dvr_object_t *o);
static ngx_uint_t ngx_livestream_dvr_stays(const char *key);
static int64_t ngx_livestream_dvr_window(const char *id);
static void ngx_livestream_dvr_local_rows(ngx_livestream_store_result_t *r);
static void ngx_livestream_dvr_local_run(ngx_livestream_job_t *job);
static void ngx_livestream_dvr_local_done(ngx_livestream_job_t *job);
static void ngx_livestream_dvr_objects_rows(ngx_livestream_store_result_t *r);
static void ngx_livestream_dvr_delete_run(ngx_livestream_job_t *job);
static void ngx_livestream_dvr_delete_done(ngx_livestream_job_t *job);
static void ngx_livestream_dvr_complain(ngx_livestream_dvr_object_t *o,
    const char *what);


static const char  ngx_livestream_dvr_sql_object[] =
    "INSERT INTO dvr_objects (name, recording_id, due) VALUES ($1, $2, $3)"
    " ON CONFLICT (name) DO NOTHING";

static const char  ngx_livestream_dvr_sql_pending[] =
    "SELECT name, attempts FROM dvr_objects"
    " WHERE status = 'pending' AND due <= $1 ORDER BY due LIMIT 512";

static const char  ngx_livestream_dvr_sql_stored[] =
    "UPDATE dvr_objects SET status = 'stored', size = $2, checksum = $3,"
    " due = $4, error = NULL WHERE name = $1 AND status = 'pending'";

static const char  ngx_livestream_dvr_sql_later[] =
    "UPDATE dvr_objects SET attempts = attempts + 1, due = $2, error = $3"
    " WHERE name = $1 AND status IN ('pending', 'deleting')";

static const char  ngx_livestream_dvr_sql_lost[] =
    "DELETE FROM dvr_objects WHERE name = $1 AND status = 'pending'";

static const char  ngx_livestream_dvr_sql_local[] =
    "SELECT name FROM dvr_objects WHERE status = 'stored' AND due <= $1"
    " ORDER BY due LIMIT 512";

static const char  ngx_livestream_dvr_sql_remote[] =
    "UPDATE dvr_objects SET status = 'remote'"
    " WHERE name = $1 AND status = 'stored'";

static const char  ngx_livestream_dvr_sql_deleting[] =
    "SELECT name, attempts FROM dvr_objects"
    " WHERE status = 'deleting' AND due <= $1 ORDER BY due LIMIT 512";

static const char  ngx_livestream_dvr_sql_gone[] =
    "DELETE FROM dvr_objects WHERE name = $1 AND status = 'deleting'";


static time_t  ngx_livestream_dvr_hold;         /* nothing is begun before */
static time_t  ngx_livestream_dvr_complained;


void
ngx_livestream_dvr_object(const char *id, const char *video)
{
    char       key[NGX_LIVESTREAM_DVR_KEY];
    u_char     now[32];
    ngx_str_t  params[3];

    if (ngx_livestream_dvr.storage == NULL
        || ngx_livestream_dvr_keeper.closed)
    {
        return;
    }

    (void) snprintf(key, sizeof(key), "%s/videos/%s.mp4", id, video);

    ngx_livestream_dvr_text(&params[0], key);
    ngx_livestream_dvr_text(&params[1], video);
    ngx_livestream_dvr_after(&params[2], now, 0);

    ngx_livestream_dvr_tell(ngx_livestream_dvr_sql_object, params, 3);
}


void
ngx_livestream_dvr_upload_step(void)
{
    if (ngx_livestream_dvr.storage == NULL
        || ngx_time() < ngx_livestream_dvr_hold)
    {
        ngx_livestream_dvr_next();
        return;
    }

    ngx_livestream_dvr_ask(ngx_livestream_dvr_sql_pending,
                           &ngx_livestream_dvr_keeper.time, 1,
                           ngx_livestream_dvr_upload_rows);
}


static void
ngx_livestream_dvr_upload_rows(ngx_livestream_store_result_t *r)
{
    ngx_int_t                     attempts;
    ngx_uint_t                    i;
    ngx_livestream_dvr_object_t  *o;

    for (i = 0; i < r->nrows; i++) {

        o = ngx_livestream_dvr_object_work(
                                    ngx_livestream_store_value(r, i, 0),
                                    ngx_livestream_dvr_upload_run,
                                    ngx_livestream_dvr_upload_done);
        if (o == NULL) {
            continue;
        }

        attempts = ngx_atoi(ngx_livestream_store_value(r, i, 1)->data,
                            ngx_livestream_store_value(r, i, 1)->len);

        o->attempts = ngx_max(attempts, 0);

        if (ngx_livestream_dvr_post(ngx_livestream_dvr_keeper.upload, o)
            != NGX_OK)
        {
            break;
        }
    }

    ngx_livestream_dvr_next();
}


/* of ID/RID/NAME or ID/RID/TRACK/NAME, RID being "videos" perhaps */

static ngx_livestream_dvr_object_t *
ngx_livestream_dvr_object_work(ngx_str_t *key,
    void (*run)(ngx_livestream_job_t *job),
    void (*done)(ngx_livestream_job_t *job))
{
    char                          name[NGX_LIVESTREAM_DVR_KEY];
    ngx_str_t                     id, none;
    ngx_livestream_dvr_object_t  *o;

    ngx_str_null(&none);

    if (key->len >= sizeof(name)
        || key->len <= NGX_LIVESTREAM_ID_LEN
        || key->data[NGX_LIVESTREAM_ID_LEN] != '/'
        || ngx_strlchr(key->data, key->data + key->len, '\0')
        || ngx_strnstr(key->data, "..", key->len))
    {
        return NULL;
    }

    id.data = key->data;
    id.len = NGX_LIVESTREAM_ID_LEN;

    (void) ngx_snprintf((u_char *) name, sizeof(name), "%V%Z", key);

    o = ngx_livestream_dvr_work(sizeof(ngx_livestream_dvr_object_t), name,
                                &id, &none, run, done);
    if (o == NULL) {
        return NULL;
    }

    o->rc = NGX_LIVESTREAM_STORAGE_STOPPED;

    (void) ngx_cpystrn((u_char *) o->key, (u_char *) name, sizeof(o->key));
    (void) ngx_snprintf((u_char *) o->path, sizeof(o->path), "%V/%V%Z",
                        &o->work.dvr.conf->recordings, key);

    return o;
}


/* runs in a job's thread */

static void
ngx_livestream_dvr_upload_run(ngx_livestream_job_t *job)
{
    ngx_livestream_dvr_object_t *o = (ngx_livestream_dvr_object_t *) job;

    o->rc = o->work.dvr.conf->engine->put(o->work.dvr.storage, o->key,
                                          o->path, job->stop, &o->object,
                                          &o->error);

    /* nothing is lost because a disk is not there */

    if (o->rc == NGX_LIVESTREAM_STORAGE_ABSENT
        && ngx_livestream_dvr_unmounted(&o->work))
    {
        o->rc = NGX_LIVESTREAM_STORAGE_AGAIN;

        (void) snprintf(o->error.text, sizeof(o->error.text),
                        "there is no folder of its stream: mount it, or "
                        "delete the recording");
    }
}


static void
ngx_livestream_dvr_upload_done(ngx_livestream_job_t *job)
{
    ngx_livestream_dvr_object_t *o = (ngx_livestream_dvr_object_t *) job;

    switch (o->rc) {

    case NGX_LIVESTREAM_STORAGE_OK:
        ngx_livestream_dvr_upload_stored(o);
        break;

    case NGX_LIVESTREAM_STORAGE_STOPPED:
        break;

    case NGX_LIVESTREAM_STORAGE_ABSENT:
        ngx_livestream_dvr_upload_lost(o);
        break;

    default: /* NGX_LIVESTREAM_STORAGE_AGAIN, NGX_LIVESTREAM_STORAGE_REFUSED */
        ngx_livestream_dvr_complain(o, "stored");
        ngx_livestream_dvr_upload_failed(o);
        break;
    }

    ngx_livestream_dvr_release(o);
}


static void
ngx_livestream_dvr_upload_stored(ngx_livestream_dvr_object_t *o)
{
    u_char     due[32], size[NGX_INT64_LEN];
    ngx_str_t  params[4];

    if (ngx_livestream_dvr_complained) {
        ngx_livestream_dvr_complained = 0;
        ngx_log_error(NGX_LOG_NOTICE, ngx_cycle->log, 0,
                      "recordings can be stored again");
    }

    ngx_livestream_dvr_text(&params[0], o->key);

    params[1].data = size;
    params[1].len = ngx_sprintf(size, "%uL", o->object.size) - size;

    ngx_livestream_dvr_text(&params[2], o->object.checksum);

    if (ngx_livestream_dvr_stays(o->key)) {
        ngx_livestream_dvr_text(&params[3], NGX_LIVESTREAM_DVR_FOREVER);

    } else {
        ngx_livestream_dvr_after(&params[3], due,
                                 ngx_livestream_dvr_window(o->work.id)
                                 + NGX_LIVESTREAM_DVR_GRACE);
    }

    ngx_livestream_dvr_tell(ngx_livestream_dvr_sql_stored, params, 4);
}


static ngx_uint_t
ngx_livestream_dvr_stays(const char *key)
{
    const char  *dot;

    dot = strrchr(key, '.');

    return dot && ngx_strcmp(dot, ".m4s") != 0
           && strstr(key, "/videos/") == NULL;
}


/* s; players may still be that far behind */

static int64_t
ngx_livestream_dvr_window(const char *id)
{
    int64_t                      window;
    ngx_str_t                    name;
    ngx_livestream_sh_stream_t  *sh;

    window = 0;

    name.data = (u_char *) id;
    name.len = ngx_strlen(id);

    ngx_shmtx_lock(&ngx_livestream_shpool->mutex);

    sh = ngx_livestream_registry_find_locked(&name);

    if (sh) {
        window = sh->window / 1000000 + 3 * sh->target_duration;
    }

    ngx_shmtx_unlock(&ngx_livestream_shpool->mutex);

    return window;
}


static void
ngx_livestream_dvr_upload_failed(ngx_livestream_dvr_object_t *o)
{
    u_char     due[32];
    int64_t    wait;
    ngx_str_t  params[3];

    wait = (o->attempts < 6) ? (int64_t) 1 << o->attempts
                             : NGX_LIVESTREAM_DVR_WAIT;

    ngx_livestream_dvr_text(&params[0], o->key);

    /* half of it to all of it, so that they do not come back together */

    params[1].data = due;
    params[1].len = ngx_livestream_rfc3339(due, ngx_livestream_now()
                                           + wait * 500000
                                           + ngx_random() % (wait * 500000))
                    - due;

    ngx_livestream_dvr_text(&params[2], o->error.text);

    ngx_livestream_dvr_tell(ngx_livestream_dvr_sql_later, params, 3);

    ngx_livestream_dvr_hold = ngx_time() + 1 + ngx_min(o->attempts, 4);
}


/* its recording was removed, or somebody has removed the file */

static void
ngx_livestream_dvr_upload_lost(ngx_livestream_dvr_object_t *o)
{
    ngx_str_t  params[1];

    ngx_log_error(NGX_LOG_WARN, ngx_cycle->log, 0,
                  "\"%s\" was to be stored and is gone", o->path);

    ngx_livestream_dvr_text(&params[0], o->key);
    ngx_livestream_dvr_tell(ngx_livestream_dvr_sql_lost, params, 1);
}


void
ngx_livestream_dvr_local_step(void)
{
    if (ngx_livestream_dvr.storage == NULL) {
        ngx_livestream_dvr_next();
        return;
    }

    ngx_livestream_dvr_ask(ngx_livestream_dvr_sql_local,
                           &ngx_livestream_dvr_keeper.time, 1,
                           ngx_livestream_dvr_local_rows);
}


static void
ngx_livestream_dvr_local_rows(ngx_livestream_store_result_t *r)
{
    ngx_uint_t                    i;
    ngx_livestream_dvr_object_t  *o;

    for (i = 0; i < r->nrows; i++) {

        o = ngx_livestream_dvr_object_work(
                                    ngx_livestream_store_value(r, i, 0),
                                    ngx_livestream_dvr_local_run,
                                    ngx_livestream_dvr_local_done);
        if (o && ngx_livestream_dvr_post(ngx_livestream_dvr_keeper.files, o)
                 != NGX_OK)
        {
            break;
        }
    }

    ngx_livestream_dvr_next();
}


/* runs in a job's thread */

static void
ngx_livestream_dvr_local_run(ngx_livestream_job_t *job)
{
    ngx_livestream_dvr_object_t *o = (ngx_livestream_dvr_object_t *) job;

    if (unlink(o->path) == 0 || ngx_errno == NGX_ENOENT) {
        o->rc = NGX_LIVESTREAM_STORAGE_OK;
        return;
    }

    o->rc = NGX_LIVESTREAM_STORAGE_REFUSED;

    (void) snprintf(o->error.text, sizeof(o->error.text), "%s",
                    strerror(ngx_errno));
}


static void
ngx_livestream_dvr_local_done(ngx_livestream_job_t *job)
{
    ngx_livestream_dvr_object_t *o = (ngx_livestream_dvr_object_t *) job;

    ngx_str_t  params[1];

    if (o->rc == NGX_LIVESTREAM_STORAGE_OK) {
        ngx_livestream_dvr_text(&params[0], o->key);
        ngx_livestream_dvr_tell(ngx_livestream_dvr_sql_remote, params, 1);

    } else if (o->rc == NGX_LIVESTREAM_STORAGE_REFUSED) {
        ngx_livestream_dvr_complain(o, "removed from the disk");
    }

    ngx_livestream_dvr_release(o);
}


void
ngx_livestream_dvr_objects_step(void)
{
    if (ngx_livestream_dvr.storage == NULL
        || ngx_time() < ngx_livestream_dvr_hold)
    {
        ngx_livestream_dvr_next();
        return;
    }

    ngx_livestream_dvr_ask(ngx_livestream_dvr_sql_deleting,
                           &ngx_livestream_dvr_keeper.time, 1,
                           ngx_livestream_dvr_objects_rows);
}


/* one that is on its way there is busy, and has its turn later */

static void
ngx_livestream_dvr_objects_rows(ngx_livestream_store_result_t *r)
{
    ngx_int_t                     attempts;
    ngx_uint_t                    i;
    ngx_livestream_dvr_object_t  *o;

    for (i = 0; i < r->nrows; i++) {

        o = ngx_livestream_dvr_object_work(
                                    ngx_livestream_store_value(r, i, 0),
                                    ngx_livestream_dvr_delete_run,
                                    ngx_livestream_dvr_delete_done);
        if (o == NULL) {
            continue;
        }

        attempts = ngx_atoi(ngx_livestream_store_value(r, i, 1)->data,
                            ngx_livestream_store_value(r, i, 1)->len);

        o->attempts = ngx_max(attempts, 0);

        if (ngx_livestream_dvr_post(ngx_livestream_dvr_keeper.upload, o)
            != NGX_OK)
        {
            break;
        }
    }

    ngx_livestream_dvr_next();
}


/* runs in a job's thread */

static void
ngx_livestream_dvr_delete_run(ngx_livestream_job_t *job)
{
    ngx_livestream_dvr_object_t *o = (ngx_livestream_dvr_object_t *) job;

    o->rc = o->work.dvr.conf->engine->remove(o->work.dvr.storage, o->key,
                                             job->stop, &o->error);
}


static void
ngx_livestream_dvr_delete_done(ngx_livestream_job_t *job)
{
    ngx_livestream_dvr_object_t *o = (ngx_livestream_dvr_object_t *) job;

    ngx_str_t  params[1];

    switch (o->rc) {

    case NGX_LIVESTREAM_STORAGE_OK:
    case NGX_LIVESTREAM_STORAGE_ABSENT:
        ngx_livestream_dvr_text(&params[0], o->key);
        ngx_livestream_dvr_tell(ngx_livestream_dvr_sql_gone, params, 1);
        break;

    case NGX_LIVESTREAM_STORAGE_STOPPED:
        break;

    default: /* NGX_LIVESTREAM_STORAGE_AGAIN, NGX_LIVESTREAM_STORAGE_REFUSED */
        ngx_livestream_dvr_complain(o, "removed");
        ngx_livestream_dvr_upload_failed(o);
        break;
    }

    ngx_livestream_dvr_release(o);
}


/* not each of thousands */

static void
ngx_livestream_dvr_complain(ngx_livestream_dvr_object_t *o, const char *what)
{
    if (ngx_livestream_dvr_complained + NGX_LIVESTREAM_DVR_SILENCE
        > ngx_time())
    {
        return;
    }

    ngx_livestream_dvr_complained = ngx_time();

    ngx_log_error(NGX_LOG_ERR, ngx_cycle->log, 0,
                  "\"%s\" could not be %s: %s; it will be tried again",
                  o->key, what, o->error.text);
}

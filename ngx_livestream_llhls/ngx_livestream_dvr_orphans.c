
/*
 * Copyright (C) nginx-livestream contributors
 *
 * The keeper's work on what nobody knows.
 *
 *   objects    of no recording, no video and no folder --> deleting
 *   folders    of no recording, not on air --> go
 *   files      of no video, of a conversion that was cut short --> go
 *
 * A folder that the store knows nothing of is of a recording whose row could
 * not be written, if its stream is known: it gets one.  Else it is removed,
 * unless it is older than the store itself, as it is when nginx was given an
 * empty one.
 *
 * Event loop; run() functions are of a job's thread.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>
#include <dirent.h>

#include "ngx_livestream_dvr_keeper.h"


#define NGX_LIVESTREAM_DVR_FOUND  4096          /* in one look */


typedef struct {
    ngx_livestream_dvr_work_t  work;        /* must be first */
    int                      err;
} ngx_livestream_dvr_orphan_t;


/* something below the folder of recordings */
typedef struct {
    char                     id[NGX_LIVESTREAM_ID_LEN + 1];
    char                     rid[NGX_LIVESTREAM_ID_LEN + 1];
    time_t                   mtime;
    unsigned                 video:1;       /* ID/videos/RID.mp4 */
    unsigned                 index:1;       /* there is one */
    unsigned                 young:1;       /* its row may be on its way */
} ngx_livestream_dvr_found_t;


typedef struct {
    ngx_livestream_dvr_work_t  work;        /* must be first */
    time_t                   before;        /* older than that, s */
    ngx_uint_t               converting;    /* files may be on their way */
    ngx_uint_t               n;
    ngx_uint_t               next;
    u_char                  *known;         /* ids, sorted */
    ngx_uint_t               nknown;
    ngx_livestream_dvr_found_t  found[NGX_LIVESTREAM_DVR_FOUND];
} ngx_livestream_dvr_look_t;


static void ngx_livestream_dvr_orphans(ngx_livestream_store_result_t *r);
static void ngx_livestream_dvr_orphan_run(ngx_livestream_job_t *job);
static void ngx_livestream_dvr_orphan_done(ngx_livestream_job_t *job);
static void ngx_livestream_dvr_look(ngx_livestream_store_result_t *r);
static int ngx_livestream_dvr_compare(const void *one, const void *two);
static ngx_uint_t ngx_livestream_dvr_is_known(ngx_livestream_dvr_look_t *l,
    const char *id);
static void ngx_livestream_dvr_look_run(ngx_livestream_job_t *job);
static void ngx_livestream_dvr_look_stream(ngx_livestream_dvr_look_t *l,
    const char *id);
static void ngx_livestream_dvr_look_videos(ngx_livestream_dvr_look_t *l,
    const char *id);
static ngx_livestream_dvr_found_t *ngx_livestream_dvr_add_found(
    ngx_livestream_dvr_look_t *l, const char *id, const char *rid,
    struct stat *st);
static ngx_uint_t ngx_livestream_dvr_is_name(const char *name, size_t len);
static void ngx_livestream_dvr_look_done(ngx_livestream_job_t *job);
static void ngx_livestream_dvr_look_next(ngx_livestream_dvr_look_t *l);
static void ngx_livestream_dvr_look_known(ngx_livestream_store_result_t *r,
    void *data);


static const char  ngx_livestream_dvr_sql_orphans[] =
    "SELECT recording_id, min(name) FROM dvr_objects"
    " WHERE status <> 'deleting'"
    " AND NOT EXISTS (SELECT 1 FROM dvr_recordings r"
    " WHERE r.id = dvr_objects.recording_id)"
    " AND NOT EXISTS (SELECT 1 FROM videos v"
    " WHERE v.id = dvr_objects.recording_id)"
    " GROUP BY recording_id LIMIT 32";

static const char  ngx_livestream_dvr_sql_all[] =
    "SELECT id FROM dvr_recordings UNION"
    " SELECT id FROM videos WHERE source_url LIKE '/streams/%'";

/* what the store knows of a folder, and since when there is a store */

static const char  ngx_livestream_dvr_sql_known[] =
    "SELECT (SELECT count(*) FROM dvr_recordings WHERE id = $2),"
    " (SELECT count(*) FROM videos WHERE id = $2),"
    " (SELECT count(*) FROM live_streams WHERE id = $1),"
    " (SELECT min(applied_at) FROM schema_migrations)";

static const char  ngx_livestream_dvr_sql_found[] =
    "INSERT INTO dvr_recordings (id, live_stream_id, start_time, status,"
    " recording_url, created_at, updated_at)"
    " VALUES ($2, $1, $3, 'processing', $4, $3, $3)"
    " ON CONFLICT (id) DO NOTHING";


void
ngx_livestream_dvr_orphans_step(void)
{
    ngx_atomic_uint_t             seen;
    ngx_livestream_dvr_keeper_t  *k;

    k = &ngx_livestream_dvr_keeper;
    seen = ngx_livestream_sh->keeper.orphans;

    if (!k->orphans && seen == k->lost) {
        ngx_livestream_dvr_next();
        return;
    }

    k->orphans = 0;
    k->lost = seen;

    ngx_livestream_dvr_ask(ngx_livestream_dvr_sql_orphans, NULL, 0,
                           ngx_livestream_dvr_orphans);
}


/* as long as there is a folder it is the look's to say what it is */

static void
ngx_livestream_dvr_orphans(ngx_livestream_store_result_t *r)
{
    char                          name[sizeof("objects ")
                                       + NGX_LIVESTREAM_ID_LEN];
    ngx_str_t                     id, *rid, *key;
    ngx_uint_t                    i;
    ngx_livestream_dvr_orphan_t  *w;

    for (i = 0; i < r->nrows; i++) {
        rid = ngx_livestream_store_value(r, i, 0);
        key = ngx_livestream_store_value(r, i, 1);

        id.data = key->data;
        id.len = ngx_min(key->len, NGX_LIVESTREAM_ID_LEN);

        if (!ngx_livestream_dvr_is_id(rid) || !ngx_livestream_dvr_is_id(&id)
            || ngx_livestream_dvr_on_air(&id, rid))
        {
            continue;
        }

        (void) ngx_snprintf((u_char *) name, sizeof(name), "objects %V%Z",
                            rid);

        w = ngx_livestream_dvr_work(sizeof(ngx_livestream_dvr_orphan_t), name,
                                    &id, rid, ngx_livestream_dvr_orphan_run,
                                    ngx_livestream_dvr_orphan_done);
        if (w == NULL) {
            continue;
        }

        w->err = ECANCELED;

        if (ngx_livestream_dvr_post(ngx_livestream_dvr_keeper.files, w)
            != NGX_OK)
        {
            break;
        }
    }

    ngx_livestream_dvr_ask(ngx_livestream_dvr_sql_all, NULL, 0,
                           ngx_livestream_dvr_look);
}


/* runs in a job's thread */

static void
ngx_livestream_dvr_orphan_run(ngx_livestream_job_t *job)
{
    ngx_livestream_dvr_orphan_t *w = (ngx_livestream_dvr_orphan_t *) job;

    struct stat  st;

    w->err = (stat(w->work.dir, &st) == -1 && ngx_errno == NGX_ENOENT)
             ? 0 : EEXIST;
}


static void
ngx_livestream_dvr_orphan_done(ngx_livestream_job_t *job)
{
    ngx_livestream_dvr_orphan_t *w = (ngx_livestream_dvr_orphan_t *) job;

    ngx_str_t  rid;

    if (w->err == 0) {
        ngx_livestream_dvr_text(&rid, w->work.rid);
        ngx_livestream_dvr_delete_objects(&rid);
    }

    ngx_livestream_dvr_release(w);
}


/* of all that is known, so that the thread names what is not */

static void
ngx_livestream_dvr_look(ngx_livestream_store_result_t *r)
{
    u_char                     *known;
    ngx_str_t                   id, none, *value;
    ngx_uint_t                  i;
    ngx_livestream_dvr_look_t  *l;

    ngx_str_set(&id, "00000000-0000-0000-0000-000000000000");
    ngx_str_null(&none);

    l = ngx_livestream_dvr_work(sizeof(ngx_livestream_dvr_look_t), "look",
                                &id, &none, ngx_livestream_dvr_look_run,
                                ngx_livestream_dvr_look_done);
    if (l == NULL) {
        ngx_livestream_dvr_next();
        return;
    }

    l->known = ngx_alloc((r->nrows + 1) * NGX_LIVESTREAM_ID_LEN,
                         ngx_cycle->log);
    if (l->known == NULL) {
        ngx_livestream_dvr_release(l);
        ngx_livestream_dvr_next();
        return;
    }

    for (i = 0; i < r->nrows; i++) {
        value = ngx_livestream_store_value(r, i, 0);

        if (value->len == NGX_LIVESTREAM_ID_LEN) {
            ngx_memcpy(l->known + l->nknown * NGX_LIVESTREAM_ID_LEN,
                       value->data, NGX_LIVESTREAM_ID_LEN);
            l->nknown++;
        }
    }

    l->before = ngx_time() - ngx_livestream_dvr.conf->cleanup_interval;
    l->converting = ngx_livestream_crew_pending(
                                       ngx_livestream_dvr_keeper.convert);

    known = l->known;

    if (ngx_livestream_dvr_post(ngx_livestream_dvr_keeper.files, l) != NGX_OK)
    {
        ngx_free(known);
    }

    ngx_livestream_dvr_next();
}


/* runs in a job's thread */

static int
ngx_livestream_dvr_compare(const void *one, const void *two)
{
    return memcmp(one, two, NGX_LIVESTREAM_ID_LEN);
}


/* runs in a job's thread */

static void
ngx_livestream_dvr_look_run(ngx_livestream_job_t *job)
{
    ngx_livestream_dvr_look_t *l = (ngx_livestream_dvr_look_t *) job;

    DIR            *dir;
    struct dirent  *de;

    /* a store has its own order of texts */

    qsort(l->known, l->nknown, NGX_LIVESTREAM_ID_LEN,
          ngx_livestream_dvr_compare);

    dir = opendir((char *) l->work.dvr.conf->recordings.data);
    if (dir == NULL) {
        return;
    }

    while (l->n < NGX_LIVESTREAM_DVR_FOUND && !*job->stop) {

        de = readdir(dir);
        if (de == NULL) {
            break;
        }

        if (ngx_livestream_dvr_is_name(de->d_name, strlen(de->d_name))) {
            ngx_livestream_dvr_look_stream(l, de->d_name);
            ngx_livestream_dvr_look_videos(l, de->d_name);
        }
    }

    (void) closedir(dir);
}


static void
ngx_livestream_dvr_look_stream(ngx_livestream_dvr_look_t *l, const char *id)
{
    DIR                         *dir;
    struct stat                  st;
    ngx_uint_t                   index;
    struct dirent               *de;
    ngx_livestream_dvr_found_t  *f;

    char  path[NGX_MAX_PATH + 128];

    (void) snprintf(path, sizeof(path), "%s/%s",
                    l->work.dvr.conf->recordings.data, id);

    dir = opendir(path);
    if (dir == NULL) {
        return;
    }

    while ((de = readdir(dir)) != NULL) {

        if (!ngx_livestream_dvr_is_name(de->d_name, strlen(de->d_name))
            || ngx_livestream_dvr_is_known(l, de->d_name))
        {
            continue;
        }

        (void) snprintf(path, sizeof(path), "%s/%s/%s/index",
                        l->work.dvr.conf->recordings.data, id, de->d_name);

        index = (stat(path, &st) == 0);

        if (!index) {
            path[strlen(path) - (sizeof("/index") - 1)] = '\0';

            if (stat(path, &st) == -1) {
                continue;
            }
        }

        f = ngx_livestream_dvr_add_found(l, id, de->d_name, &st);
        if (f == NULL) {
            break;
        }

        f->index = index;
        f->young = (st.st_mtime > l->before);
    }

    (void) closedir(dir);
}


static void
ngx_livestream_dvr_look_videos(ngx_livestream_dvr_look_t *l, const char *id)
{
    DIR                         *dir;
    char                        *dot;
    size_t                       len;
    struct stat                  st;
    struct dirent               *de;
    ngx_livestream_dvr_found_t  *f;

    char  path[2 * NGX_MAX_PATH];

    (void) snprintf(path, sizeof(path), "%s/%s/videos",
                    l->work.dvr.conf->recordings.data, id);

    dir = opendir(path);
    if (dir == NULL) {
        return;
    }

    while ((de = readdir(dir)) != NULL) {

        dot = strchr(de->d_name, '.');
        len = dot ? (size_t) (dot - de->d_name) : 0;

        if (!ngx_livestream_dvr_is_name(de->d_name, len)) {
            continue;
        }

        (void) snprintf(path, sizeof(path), "%s/%s/videos/%s",
                        l->work.dvr.conf->recordings.data, id, de->d_name);

        if (stat(path, &st) == -1 || st.st_mtime > l->before) {
            continue;
        }

        if (strcmp(dot, ".mp4") == 0) {

            if (ngx_livestream_dvr_is_known(l, de->d_name)) {
                continue;
            }

            *dot = '\0';

            f = ngx_livestream_dvr_add_found(l, id, de->d_name, &st);
            if (f == NULL) {
                break;
            }

            f->video = 1;

        } else if (!l->converting) {
            /* what a conversion that was cut short has left */
            (void) unlink(path);
        }
    }

    (void) closedir(dir);
}


/* NULL: the next look finds the others */

static ngx_livestream_dvr_found_t *
ngx_livestream_dvr_add_found(ngx_livestream_dvr_look_t *l, const char *id,
    const char *rid, struct stat *st)
{
    ngx_livestream_dvr_found_t  *f;

    if (l->n == NGX_LIVESTREAM_DVR_FOUND) {
        return NULL;
    }

    f = &l->found[l->n++];

    (void) snprintf(f->id, sizeof(f->id), "%s", id);
    (void) snprintf(f->rid, sizeof(f->rid), "%s", rid);

    f->mtime = st->st_mtime;

    return f;
}


/* runs in a job's thread */

static ngx_uint_t
ngx_livestream_dvr_is_known(ngx_livestream_dvr_look_t *l, const char *id)
{
    return bsearch(id, l->known, l->nknown, NGX_LIVESTREAM_ID_LEN,
                   ngx_livestream_dvr_compare)
           != NULL;
}


static ngx_uint_t
ngx_livestream_dvr_is_name(const char *name, size_t len)
{
    ngx_str_t  id;

    id.data = (u_char *) name;
    id.len = len;

    return ngx_livestream_dvr_is_id(&id);
}


static void
ngx_livestream_dvr_look_done(ngx_livestream_job_t *job)
{
    ngx_livestream_dvr_look_t *l = (ngx_livestream_dvr_look_t *) job;

    ngx_free(l->known);
    l->known = NULL;

    ngx_livestream_dvr_look_next(l);
}


static void
ngx_livestream_dvr_look_next(ngx_livestream_dvr_look_t *l)
{
    ngx_str_t                    params[2];
    ngx_livestream_dvr_found_t  *f;

    while (l->next < l->n
           && !ngx_livestream_dvr_leaving()
           && !ngx_livestream_dvr_keeper.closed)
    {
        f = &l->found[l->next];

        ngx_livestream_dvr_text(&params[0], f->id);
        ngx_livestream_dvr_text(&params[1], f->rid);

        if (!f->video && ngx_livestream_dvr_on_air(&params[0], &params[1])) {
            l->next++;
            continue;
        }

        if (ngx_livestream_store_exec(ngx_livestream_dvr_sql_known, params, 2,
                                      ngx_livestream_dvr_look_known, l))
        {
            return;
        }

        break;
    }

    ngx_livestream_dvr_release(l);
}


static void
ngx_livestream_dvr_look_known(ngx_livestream_store_result_t *r, void *data)
{
    ngx_livestream_dvr_look_t *l = data;

    u_char                       url[NGX_MAX_PATH];
    ngx_str_t                    params[4], *count;
    ngx_uint_t                   i, known[3];
    ngx_livestream_dvr_found_t  *f;

    f = &l->found[l->next++];

    if (r->rc != NGX_OK || r->nrows != 1) {
        ngx_livestream_dvr_release(l);
        return;
    }

    for (i = 0; i < 3; i++) {
        count = ngx_livestream_store_value(r, 0, i);
        known[i] = (count->len != 1 || count->data[0] != '0');
    }

    if (f->video ? known[1] : known[0]) {
        ngx_livestream_dvr_look_next(l);
        return;
    }

    ngx_livestream_dvr_text(&params[0], f->id);
    ngx_livestream_dvr_text(&params[1], f->rid);

    if (!f->video && f->young && known[2]) {
        ngx_livestream_dvr_look_next(l);
        return;
    }

    if (!f->video && f->index && known[2]) {

        params[2] = ngx_livestream_dvr_keeper.time;
        params[3].data = url;
        params[3].len = ngx_snprintf(url, sizeof(url), "file:%V/%s/%s/",
                                     &ngx_livestream_dvr.conf->recordings,
                                     f->id, f->rid)
                        - url;

        ngx_livestream_dvr_tell(ngx_livestream_dvr_sql_found, params, 4);

        ngx_log_error(NGX_LOG_NOTICE, ngx_cycle->log, 0,
                      "stream %s: recording %s was found on the disk, it is "
                      "finished now", f->id, f->rid);

        ngx_livestream_dvr_look_next(l);
        return;
    }

    if (f->mtime < ngx_livestream_parse_rfc3339(
                                       ngx_livestream_store_value(r, 0, 3)))
    {
        ngx_log_error(NGX_LOG_WARN, ngx_cycle->log, 0,
                      "stream %s: %s %s is older than the store and unknown "
                      "to it, it is left where it is", f->id,
                      f->video ? "video" : "recording", f->rid);

        ngx_livestream_dvr_look_next(l);
        return;
    }

    ngx_log_error(NGX_LOG_NOTICE, ngx_cycle->log, 0,
                  "stream %s: %s %s is known to no store, it is removed",
                  f->id, f->video ? "video" : "recording", f->rid);

    ngx_livestream_dvr_remove(&params[0], &params[1], f->video);

    ngx_livestream_dvr_look_next(l);
}


/*
 * Copyright (C) nginx-livestream contributors
 *
 * The keeper's work on conversions.
 *
 *   pending --> running -- job --> ready | failed
 *
 * Begins again from the beginning if the keeper goes away in the middle.
 *
 * Event loop; run() functions are of a job's thread.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>

#include "ngx_livestream_dvr_keeper.h"
#include "ngx_livestream_dvr_convert.h"


#define NGX_LIVESTREAM_DVR_URL    256
#define NGX_LIVESTREAM_DVR_VIDEO  10        /* s, until it must be there */


typedef struct {
    ngx_livestream_dvr_work_t  work;        /* must be first */
    ngx_livestream_dvr_convert_t  convert;
    char                     track[16];
    char                     video[NGX_LIVESTREAM_ID_LEN + 1];
    char                     path[NGX_MAX_PATH];
    volatile uint32_t        progress;
    uint32_t                 told;
    int                      err;
    const char              *reason;
} ngx_livestream_dvr_video_t;


static void ngx_livestream_dvr_convert_rows(ngx_livestream_store_result_t *r);
static void ngx_livestream_dvr_convert_run(ngx_livestream_job_t *job);
static void ngx_livestream_dvr_convert_done(ngx_livestream_job_t *job);
static void ngx_livestream_dvr_converted(ngx_livestream_store_result_t *r,
    void *data);
static void ngx_livestream_dvr_convert_failed(ngx_livestream_dvr_video_t *v,
    const char *reason);


/* who asked for it makes its video, with a title; or has died before */

static const char  ngx_livestream_dvr_sql_conversions[] =
    "SELECT recording_id, live_stream_id, video_id, resolution"
    " FROM dvr_conversions c WHERE status IN ('pending', 'running')"
    " AND (created_at <= $1"
    " OR EXISTS (SELECT 1 FROM videos v WHERE v.id = c.video_id))"
    " ORDER BY created_at LIMIT 16";

static const char  ngx_livestream_dvr_sql_new_video[] =
    "INSERT INTO videos (id, title, user_id, status)"
    " SELECT $1, title, user_id, 'processing' FROM live_streams"
    " WHERE id = $2 ON CONFLICT (id) DO NOTHING";

static const char  ngx_livestream_dvr_sql_running[] =
    "UPDATE dvr_conversions SET status = 'running', updated_at = $2"
    " WHERE recording_id = $1 AND status = 'pending'";

static const char  ngx_livestream_dvr_sql_progress[] =
    "UPDATE dvr_conversions SET progress = $2, updated_at = $3"
    " WHERE recording_id = $1 AND status = 'running'";

/* the conversion is the last to be ready: then all is there */

static const char  ngx_livestream_dvr_sql_video[] =
    "UPDATE videos SET status = 'ready', source_url = $2, duration = $3,"
    " size = $4 WHERE id = $1 AND EXISTS (SELECT 1 FROM dvr_conversions c"
    " WHERE c.video_id = videos.id AND c.status IN ('pending', 'running'))"
    " RETURNING id";

static const char  ngx_livestream_dvr_sql_has_video[] =
    "UPDATE dvr_recordings SET video_id = $2, updated_at = $3 WHERE id = $1";

static const char  ngx_livestream_dvr_sql_converted[] =
    "UPDATE dvr_conversions SET status = 'ready', progress = 1, error = NULL,"
    " updated_at = $3 WHERE recording_id = $1 AND video_id = $2"
    " AND status IN ('pending', 'running')";

static const char  ngx_livestream_dvr_sql_unconverted[] =
    "UPDATE dvr_conversions SET status = 'failed', error = $2,"
    " updated_at = $3 WHERE recording_id = $1"
    " AND status IN ('pending', 'running')";

static const char  ngx_livestream_dvr_sql_no_video[] =
    "UPDATE videos SET status = 'failed' WHERE id = $1";


void
ngx_livestream_dvr_convert_step(void)
{
    u_char     then[32];
    ngx_str_t  params[1];

    ngx_livestream_dvr_after(&params[0], then, -NGX_LIVESTREAM_DVR_VIDEO);

    ngx_livestream_dvr_ask(ngx_livestream_dvr_sql_conversions, params, 1,
                           ngx_livestream_dvr_convert_rows);
}


static void
ngx_livestream_dvr_convert_rows(ngx_livestream_store_result_t *r)
{
    char                         name[sizeof("convert ")
                                      + NGX_LIVESTREAM_ID_LEN];
    ngx_str_t                   *rid, *id, *video, *track, params[2];
    ngx_uint_t                   i;
    ngx_livestream_dvr_video_t  *v;

    for (i = 0; i < r->nrows; i++) {
        rid = ngx_livestream_store_value(r, i, 0);
        id = ngx_livestream_store_value(r, i, 1);
        video = ngx_livestream_store_value(r, i, 2);
        track = ngx_livestream_store_value(r, i, 3);

        if (!ngx_livestream_dvr_is_id(video)
            || !ngx_livestream_dvr_is_id(rid)
            || track->len >= sizeof(v->track))
        {
            continue;
        }

        (void) ngx_snprintf((u_char *) name, sizeof(name), "convert %V%Z",
                            rid);

        v = ngx_livestream_dvr_work(sizeof(ngx_livestream_dvr_video_t), name,
                                    id, rid, ngx_livestream_dvr_convert_run,
                                    ngx_livestream_dvr_convert_done);
        if (v == NULL) {
            continue;
        }

        v->err = ECANCELED;

        (void) ngx_snprintf((u_char *) v->track, sizeof(v->track), "%V%Z",
                            track);
        (void) ngx_snprintf((u_char *) v->video, sizeof(v->video), "%V%Z",
                            video);
        (void) ngx_snprintf((u_char *) v->path, sizeof(v->path),
                            "%V/%V/videos/%V.mp4%Z",
                            &v->work.dvr.conf->recordings, id, video);

        params[0] = *video;
        params[1] = *id;

        ngx_livestream_dvr_tell(ngx_livestream_dvr_sql_new_video, params, 2);

        params[0] = *rid;
        params[1] = ngx_livestream_dvr_keeper.time;

        ngx_livestream_dvr_tell(ngx_livestream_dvr_sql_running, params, 2);

        if (ngx_livestream_dvr_post(ngx_livestream_dvr_keeper.convert, v)
            != NGX_OK)
        {
            break;
        }
    }

    ngx_livestream_dvr_next();
}


/* runs in a job's thread */

static void
ngx_livestream_dvr_convert_run(ngx_livestream_job_t *job)
{
    ngx_livestream_dvr_video_t *v = (ngx_livestream_dvr_video_t *) job;

    char                         *p;
    ngx_livestream_dvr_index_t   *index;
    ngx_livestream_dvr_source_t   source;

    index = calloc(1, sizeof(ngx_livestream_dvr_index_t));
    if (index == NULL) {
        v->err = ENOMEM;
        v->reason = "no memory for the recording's index";
        return;
    }

    p = strrchr(v->path, '/');

    *p = '\0';
    v->err = (mkdir(v->path, 0755) == -1 && ngx_errno != NGX_EEXIST)
             ? ngx_errno : 0;
    *p = '/';

    if (v->err) {
        v->reason = "the folder of videos cannot be made";

    } else {
        v->err = ngx_livestream_dvr_index_read(v->work.dir, index,
                                               &v->reason);
    }

    if (v->err == 0) {
        v->err = ngx_livestream_dvr_index_recover(v->work.dir, index,
                                                  &v->reason);
    }

    if (v->err == 0) {
        source.dir = v->work.dir;
        source.fetch = v->work.dvr.storage ? ngx_livestream_dvr_fetch : NULL;
        source.data = v;
        source.stop = job->stop;

        v->convert.path = v->path;
        v->convert.track = v->track[0] ? v->track : NULL;
        v->convert.progress = &v->progress;

        v->err = ngx_livestream_dvr_convert(index, &source, &v->convert,
                                            &v->reason);
    }

    ngx_livestream_dvr_index_free(index);
    free(index);
}


void
ngx_livestream_dvr_convert_progress(void)
{
    u_char                       text[32], now[32];
    uint32_t                     progress;
    ngx_str_t                    params[3];
    ngx_queue_t                 *q, *busy;
    ngx_livestream_dvr_video_t  *v;

    busy = &ngx_livestream_dvr_keeper.busy;

    for (q = ngx_queue_head(busy);
         q != ngx_queue_sentinel(busy);
         q = ngx_queue_next(q))
    {
        v = (ngx_livestream_dvr_video_t *)
                ngx_queue_data(q, ngx_livestream_dvr_work_t, queue);

        if (v->work.job.run != ngx_livestream_dvr_convert_run) {
            continue;
        }

        progress = ngx_min(v->progress, 1000);

        if (progress == v->told) {
            continue;
        }

        v->told = progress;

        ngx_livestream_dvr_text(&params[0], v->work.rid);

        params[1].data = text;
        params[1].len = ngx_sprintf(text, "%uD.%03uD", progress / 1000,
                                    progress % 1000)
                        - text;

        ngx_livestream_dvr_after(&params[2], now, 0);

        ngx_livestream_dvr_tell(ngx_livestream_dvr_sql_progress, params, 3);
    }
}


static void
ngx_livestream_dvr_convert_done(ngx_livestream_job_t *job)
{
    ngx_livestream_dvr_video_t *v = (ngx_livestream_dvr_video_t *) job;

    char       url[NGX_LIVESTREAM_DVR_URL];
    u_char     duration[32], size[NGX_INT64_LEN];
    ngx_str_t  params[4];

    if (v->err == ECANCELED || ngx_livestream_dvr_keeper.closed) {
        ngx_livestream_dvr_release(v);
        return;
    }

    if (v->err) {
        ngx_livestream_dvr_convert_failed(v, v->reason);
        ngx_livestream_dvr_release(v);
        return;
    }

    (void) snprintf(url, sizeof(url), "/streams/%s/videos/%s.mp4",
                    v->work.id, v->video);

    ngx_livestream_dvr_text(&params[0], v->video);
    ngx_livestream_dvr_text(&params[1], url);

    params[2].data = duration;
    params[2].len = ngx_sprintf(duration, "%L.%06L",
                                v->convert.duration / 1000000,
                                v->convert.duration % 1000000)
                    - duration;
    params[3].data = size;
    params[3].len = ngx_sprintf(size, "%uL", v->convert.size) - size;

    if (ngx_livestream_store_exec(ngx_livestream_dvr_sql_video, params, 4,
                                  ngx_livestream_dvr_converted, v)
        == NULL)
    {
        /* it will be converted again */
        ngx_livestream_dvr_release(v);
    }
}


static void
ngx_livestream_dvr_converted(ngx_livestream_store_result_t *r, void *data)
{
    ngx_livestream_dvr_video_t *v = data;

    u_char     now[32];
    ngx_str_t  params[3];

    if (r->rc != NGX_OK) {
        ngx_livestream_dvr_release(v);
        return;
    }

    if (r->nrows == 0) {
        /* the file is one that no video knows: the cleanup's */
        ngx_livestream_dvr_convert_failed(v, "the recording was deleted");
        ngx_livestream_dvr_release(v);
        return;
    }

    ngx_livestream_dvr_text(&params[0], v->work.rid);
    ngx_livestream_dvr_text(&params[1], v->video);
    ngx_livestream_dvr_after(&params[2], now, 0);

    ngx_livestream_dvr_tell(ngx_livestream_dvr_sql_has_video, params, 3);
    ngx_livestream_dvr_tell(ngx_livestream_dvr_sql_converted, params, 3);

    ngx_log_error(NGX_LOG_NOTICE, ngx_cycle->log, 0,
                  "stream %s: recording %s was converted, \"%s\"", v->work.id,
                  v->work.rid, v->path);

    ngx_livestream_dvr_object(v->work.id, v->video);

    ngx_livestream_dvr_release(v);
}


static void
ngx_livestream_dvr_convert_failed(ngx_livestream_dvr_video_t *v,
    const char *reason)
{
    u_char     now[32];
    ngx_str_t  params[3];

    if (reason == NULL) {
        reason = "unknown";
    }

    ngx_log_error(NGX_LOG_ERR, ngx_cycle->log, v->err,
                  "stream %s: recording %s could not be converted: %s",
                  v->work.id, v->work.rid, reason);

    ngx_livestream_dvr_text(&params[0], v->work.rid);
    ngx_livestream_dvr_text(&params[1], reason);
    ngx_livestream_dvr_after(&params[2], now, 0);

    ngx_livestream_dvr_tell(ngx_livestream_dvr_sql_unconverted, params, 3);

    ngx_livestream_dvr_text(&params[0], v->video);
    ngx_livestream_dvr_tell(ngx_livestream_dvr_sql_no_video, params, 1);
}

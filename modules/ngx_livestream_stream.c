
/*
 * Copyright (C) nginx-livestream contributors
 *
 * The life of a stream in the worker that owns it, from the claim to its end;
 * the header draws it.  Says to the store what becomes of it.
 *
 * Event loop only.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>

#include "ngx_livestream.h"
#include "ngx_livestream_stream.h"


#define NGX_LIVESTREAM_LINGER    60             /* s, ended streams */
#define NGX_LIVESTREAM_ABSENT    500            /* ms, without parts */


static void ngx_livestream_stream_done(void *data, int error,
    const char *reason);
static void ngx_livestream_stream_closing(ngx_event_t *ev);
static void ngx_livestream_stream_interrupt(ngx_livestream_stream_t *s);
static void ngx_livestream_stream_told(ngx_livestream_store_result_t *r,
    void *data);
static void ngx_livestream_stream_absent(ngx_event_t *ev);
static void ngx_livestream_stream_hook(ngx_livestream_stream_t *s,
    size_t offset);
static ngx_livestream_store_query_t *ngx_livestream_stream_tell(
    ngx_livestream_stream_t *s, const char *sql, const char *status,
    ngx_livestream_store_handler_pt handler);
static void ngx_livestream_stream_announce(ngx_livestream_stream_t *s,
    const char *sql);
static void ngx_livestream_stream_announced(
    ngx_livestream_store_result_t *r, void *data);
static void ngx_livestream_stream_variant(ngx_livestream_stream_t *s,
    ngx_livestream_track_t *t, uint64_t audio);


ngx_livestream_stream_kick_pt  ngx_livestream_stream_kick;

/* of the frames of ingest, by ngx_livestream_media_e */
static const char  *ngx_livestream_stream_tracks[] = { "source", "audio" };

/*
 * A stop that the API was asked for stands, whatever the owner's word that was
 * under way: the key stays refused.
 */

#define NGX_LIVESTREAM_UNLESS_STOPPED                                         \
    "status = CASE WHEN status IN ('stopping', 'stopped')"                    \
    " THEN status ELSE $2 END"

static const char  ngx_livestream_sql_live[] =
    "UPDATE live_streams SET " NGX_LIVESTREAM_UNLESS_STOPPED ","
    " ended_at = NULL, started_at = $3, updated_at = $3"
    " WHERE id = $1 RETURNING status";

static const char  ngx_livestream_sql_resumed[] =
    "UPDATE live_streams SET " NGX_LIVESTREAM_UNLESS_STOPPED ","
    " updated_at = $3 WHERE id = $1 RETURNING status";

static const char  ngx_livestream_sql_over[] =
    "UPDATE live_streams SET status = CASE"
    " WHEN status IN ('stopping', 'stopped') THEN 'stopped' ELSE $2 END,"
    " ended_at = $3, updated_at = $3 WHERE id = $1";

static const char  ngx_livestream_sql_no_variants[] =
    "DELETE FROM live_stream_variants WHERE live_stream_id = $1";

static const char  ngx_livestream_sql_variant[] =
    "INSERT INTO live_stream_variants (id, live_stream_id, resolution, width,"
    " height, bitrate, frame_rate, codec, audio_bitrate, playlist_url,"
    " segment_pattern, created_at)"
    " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)";


const char *
ngx_livestream_stream_fresh(void)
{
    u_char         now[sizeof("2026-01-31T12:00:00.000Z")];
    static u_char  sql[512];

    *ngx_livestream_rfc3339(now, ngx_livestream_now()) = '\0';

    (void) ngx_snprintf(sql, sizeof(sql),
                        "UPDATE live_streams SET"
                        " status = CASE status WHEN 'stopping' THEN 'stopped'"
                        " ELSE 'ended' END, ended_at = '%s', updated_at = '%s'"
                        " WHERE status IN ('live', 'interrupted', 'stopping')"
                        "%Z", now, now);

    return (const char *) sql;
}


ngx_livestream_stream_t *
ngx_livestream_stream_create(ngx_livestream_sh_stream_t *sh)
{
    u_char                      *broadcast;
    ngx_uint_t                   i;
    ngx_pool_t                  *pool;
    ngx_livestream_stream_t     *s;
    ngx_livestream_core_conf_t  *lcf;

    lcf = ngx_livestream_core_conf((ngx_cycle_t *) ngx_cycle);

    pool = ngx_create_pool(2048, ngx_cycle->log);
    if (pool == NULL) {
        return NULL;
    }

    s = ngx_pcalloc(pool, sizeof(ngx_livestream_stream_t));
    if (s == NULL) {
        ngx_destroy_pool(pool);
        return NULL;
    }

    s->ctx = ngx_pcalloc(pool, ngx_livestream_max_module * sizeof(void *));
    s->id.data = ngx_pcalloc(pool, NGX_LIVESTREAM_ID_LEN + 1);
    broadcast = ngx_pcalloc(pool, NGX_LIVESTREAM_ID_LEN + 1);

    if (s->ctx == NULL || s->id.data == NULL || broadcast == NULL) {
        ngx_destroy_pool(pool);
        return NULL;
    }

    /* threads must not look into shared memory */
    ngx_memcpy(broadcast, sh->broadcast, NGX_LIVESTREAM_ID_LEN);

    s->id.len = ngx_strlen(sh->id);
    ngx_memcpy(s->id.data, sh->id, s->id.len);

    s->sh = sh;
    s->pool = pool;
    s->log = ngx_cycle->log;
    s->status = "ended";

    s->conf.root = (const char *) lcf->root.data;
    s->conf.id = (const char *) s->id.data;
    s->conf.broadcast = (const char *) broadcast;
    s->conf.low_latency = sh->low_latency;
    s->conf.msn = sh->msn0;

    for (i = 0; i < 2; i++) {
        (void) ngx_cpystrn((u_char *) s->conf.outputs[i].name,
                           (u_char *) ngx_livestream_stream_tracks[i],
                           sizeof(s->conf.outputs[i].name));
        s->conf.outputs[i].media = i;
    }

    s->timer.handler = ngx_livestream_stream_absent;
    s->timer.data = s;
    s->timer.log = s->log;
    s->timer.cancelable = 1;

    ngx_livestream_streams[sh - ngx_livestream_sh->streams] = s;

    return s;
}


ngx_int_t
ngx_livestream_stream_remember(ngx_livestream_stream_t *s,
    ngx_livestream_row_t *row)
{
    s->title.data = ngx_pstrdup(s->pool, &row->title);
    s->settings.data = ngx_pnalloc(s->pool, row->settings.len + 1);

    if (s->title.data == NULL || s->settings.data == NULL) {
        return NGX_ERROR;
    }

    s->title.len = row->title.len;
    s->settings.len = row->settings.len;

    ngx_memcpy(s->settings.data, row->settings.data, row->settings.len);
    s->settings.data[row->settings.len] = '\0';

    s->dvr_enabled = row->dvr_enabled;
    s->dvr_window = row->dvr_window;

    /* a stream that is continued keeps the kind of its playlists */

    s->conf.low_latency = s->sh->ntracks ? (int) s->sh->low_latency
                                         : (int) row->low_latency;

    return NGX_OK;
}


ngx_int_t
ngx_livestream_stream_start(ngx_livestream_stream_t *s, ngx_uint_t has_video,
    ngx_uint_t has_audio, ngx_uint_t frame_rate)
{
    ngx_uint_t                i;
    ngx_livestream_module_t  *m;

    s->conf.has_video = has_video;
    s->conf.has_audio = has_audio;
    s->conf.frame_rate = frame_rate;

    for (i = 0; ngx_cycle->modules[i]; i++) {
        if (ngx_cycle->modules[i]->type != NGX_LIVESTREAM_MODULE) {
            continue;
        }

        m = ngx_cycle->modules[i]->ctx;

        if (m->hooks.stream_open && m->hooks.stream_open(s) != NGX_OK) {
            return NGX_ERROR;
        }
    }

    s->pipeline = ngx_livestream_pipeline_create(&s->conf, s,
                                                 ngx_livestream_stream_done);
    if (s->pipeline == NULL) {
        ngx_log_error(NGX_LOG_ERR, s->log, ngx_errno,
                      "stream %V: pipeline cannot be started", &s->id);
        return NGX_ERROR;
    }

    if (s->sh->state == NGX_LIVESTREAM_LIVE) {
        /* continued: what is listed already can be played on */
        s->live = 1;
        ngx_livestream_stream_announce(s, ngx_livestream_sql_resumed);
    }

    return NGX_OK;
}


void
ngx_livestream_stream_touch(ngx_livestream_stream_t *s)
{
    s->sh->last_frame = ngx_time();
}


void
ngx_livestream_stream_live(ngx_livestream_stream_t *s)
{
    if (s->live || s->sh->owner != ngx_pid) {
        return;
    }

    s->live = 1;
    s->sh->state = NGX_LIVESTREAM_LIVE;

    ngx_log_error(NGX_LOG_NOTICE, s->log, 0, "stream %V: live, \"%V\"",
                  &s->id, &s->title);

    ngx_livestream_stream_announce(s, ngx_livestream_sql_live);

    ngx_livestream_bus_ring(s->sh);
}


static void
ngx_livestream_stream_announce(ngx_livestream_stream_t *s, const char *sql)
{
    if (s->announced) {
        ngx_livestream_store_cancel(s->announced);
    }

    s->announced = ngx_livestream_stream_tell(s, sql, "live",
                                            ngx_livestream_stream_announced);
}


/* the stream may have been stopped, or be gone, since its key was looked up */

static void
ngx_livestream_stream_announced(ngx_livestream_store_result_t *r, void *data)
{
    ngx_livestream_stream_t *s = data;

    ngx_str_t  *status;

    s->announced = NULL;

    if (r->rc != NGX_OK) {
        return;
    }

    if (r->nrows) {
        status = ngx_livestream_store_value(r, 0, 0);

        if (status->len < 4 || ngx_strncmp(status->data, "stop", 4) != 0) {
            return;
        }
    }

    (void) ngx_livestream_ask(&s->id, r->nrows ? NGX_LIVESTREAM_ASK_STOP
                                               : NGX_LIVESTREAM_ASK_DELETE);
}


void
ngx_livestream_stream_failed(ngx_livestream_stream_t *s, const char *reason)
{
    if (s->ending) {
        return;
    }

    ngx_log_error(NGX_LOG_ERR, s->log, 0, "stream %V: ended by an error: %s",
                  &s->id, reason);

    s->ending = NGX_LIVESTREAM_ASK_STOP;
    s->status = "error";

    if (s->session) {
        ngx_livestream_stream_kick(s->session, reason);
    }
}


void
ngx_livestream_stream_detach(ngx_livestream_stream_t *s)
{
    s->session = NULL;
    s->sh->draining = 1;

    if (s->pipeline) {
        ngx_livestream_pipeline_finish(s->pipeline);
        return;
    }

    ngx_livestream_stream_interrupt(s);
}


static void
ngx_livestream_stream_done(void *data, int error, const char *reason)
{
    ngx_livestream_stream_t *s = data;

    uint64_t  dropped;

    dropped = ngx_livestream_pipeline_dropped(s->pipeline);

    if (dropped) {
        ngx_log_error(NGX_LOG_WARN, s->log, 0,
                      "stream %V: %uL frames were dropped, the disk or the "
                      "machine was too slow", &s->id, dropped);
    }

    if (error) {
        ngx_log_error(NGX_LOG_ERR, s->log, error,
                      "stream %V: ended by an error: %s, root \"%s\"",
                      &s->id, reason ? reason : "pipeline failed",
                      s->conf.root);

        s->ending = NGX_LIVESTREAM_ASK_STOP;
        s->status = "error";
    }

    /* the reason is the pipeline's */

    ngx_livestream_pipeline_destroy(s->pipeline);
    s->pipeline = NULL;

    if (s->session) {
        /* its close detaches it */
        ngx_livestream_stream_kick(s->session, "the stream has failed");
        return;
    }

    if (s->ending == NGX_LIVESTREAM_ASK_STOP && error == 0
        && s->sh->ntracks && s->sh->part_target)
    {
        /*
         * hls.js fetches no part once EXT-X-ENDLIST is there, and would never
         * come to the end if the last one came together with it.
         */

        s->closing = 1;
        s->timer.handler = ngx_livestream_stream_closing;
        s->timer.cancelable = 0;

        ngx_add_timer(&s->timer, s->sh->part_target / 1000);
        return;
    }

    ngx_livestream_stream_interrupt(s);
}


static void
ngx_livestream_stream_closing(ngx_event_t *ev)
{
    ngx_livestream_stream_end(ev->data);
}


static void
ngx_livestream_stream_interrupt(ngx_livestream_stream_t *s)
{
    ngx_livestream_sh_stream_t  *sh;
    ngx_livestream_core_conf_t  *lcf;

    lcf = ngx_livestream_core_conf((ngx_cycle_t *) ngx_cycle);
    sh = s->sh;

    if (s->ending || lcf->reconnect_window == 0 || sh->ntracks == 0) {
        ngx_livestream_stream_end(s);
        return;
    }

    ngx_log_error(NGX_LOG_NOTICE, s->log, 0,
                  "stream %V: publisher gone, ends in %T s unless it comes "
                  "back", &s->id, lcf->reconnect_window);

    s->live = 0;
    sh->interrupted = ngx_livestream_now();
    sh->expire = ngx_time() + lcf->reconnect_window;

    ngx_livestream_stream_hook(s, offsetof(ngx_livestream_hooks_t,
                                           stream_interrupted));

    sh->state = NGX_LIVESTREAM_INTERRUPTED;

    s->query = ngx_livestream_stream_tell(s, ngx_livestream_sql_resumed,
                                          "interrupted",
                                          ngx_livestream_stream_told);
    if (s->query == NULL) {
        sh->draining = 0;
    }

    ngx_livestream_bus_ring(sh);

    ngx_add_timer(&s->timer, 1);
}


/* the next owner's word to the store comes later than ours from here on */

static void
ngx_livestream_stream_told(ngx_livestream_store_result_t *r, void *data)
{
    ngx_livestream_stream_t *s = data;

    (void) r;

    s->query = NULL;
    s->sh->draining = 0;
}


void
ngx_livestream_stream_adopt(ngx_livestream_sh_stream_t *sh)
{
    ngx_livestream_stream_t  *s;

    s = ngx_livestream_stream_create(sh);

    if (s == NULL) {
        sh->owner = 0;
        return;
    }

    ngx_log_error(NGX_LOG_NOTICE, s->log, 0,
                  "stream %V: taken over from a worker that is gone", &s->id);

    if (sh->state == NGX_LIVESTREAM_INTERRUPTED) {
        ngx_livestream_stream_hook(s, offsetof(ngx_livestream_hooks_t,
                                               stream_interrupted));
        ngx_livestream_stream_release(s, 0);
        ngx_add_timer(&s->timer, 1);

    } else {
        ngx_livestream_stream_interrupt(s);
    }
}


static void
ngx_livestream_stream_absent(ngx_event_t *ev)
{
    ngx_msec_t                delay;
    ngx_uint_t                draining;
    ngx_livestream_stream_t  *s;

    s = ev->data;

    if (ngx_livestream_stream_hold(s, &draining) != NGX_OK) {
        ngx_livestream_stream_drop(s);
        return;
    }

    if (s->sh->expire <= ngx_time()) {
        ngx_livestream_stream_end(s);
        return;
    }

    ngx_livestream_stream_hook(s, offsetof(ngx_livestream_hooks_t,
                                           stream_absent));

    ngx_livestream_stream_release(s, draining);

    delay = s->sh->part_target / 1000;

    ngx_add_timer(&s->timer, delay ? delay : NGX_LIVESTREAM_ABSENT);
}


void
ngx_livestream_stream_end(ngx_livestream_stream_t *s)
{
    time_t                       window;
    ngx_livestream_sh_stream_t  *sh;

    sh = s->sh;

    ngx_livestream_stream_hook(s, offsetof(ngx_livestream_hooks_t,
                                           stream_close));

    if (s->status) {
        (void) ngx_livestream_stream_tell(s, ngx_livestream_sql_over,
                                          s->status, NULL);

        ngx_log_error(NGX_LOG_NOTICE, s->log, 0, "stream %V: %s", &s->id,
                      s->status);
    }

    ngx_shmtx_lock(&ngx_livestream_shpool->mutex);

    /*
     * A segment outlives its playlist's last reload by its own duration and
     * the playlist's.
     */

    sh->expire = 0;

    if (sh->ntracks && !(s->ending & NGX_LIVESTREAM_ASK_DELETE)) {
        window = sh->target_duration * sh->playlist_length;
        window = ngx_max(window, (time_t) (sh->window / 1000000));

        sh->expire = ngx_time() + NGX_LIVESTREAM_LINGER + window
                     + 3 * sh->target_duration;
    }

    sh->state = NGX_LIVESTREAM_ENDED;
    sh->owner = 0;
    sh->draining = 0;

    ngx_shmtx_unlock(&ngx_livestream_shpool->mutex);

    ngx_livestream_bus_ring(sh);

    if (sh->recorded && (s->ending & NGX_LIVESTREAM_ASK_DELETE)) {
        ngx_livestream_keeper_orphans();
    }

    ngx_livestream_stream_drop(s);
}


void
ngx_livestream_stream_drop(ngx_livestream_stream_t *s)
{
    if (s->timer.timer_set) {
        ngx_del_timer(&s->timer);
    }

    if (s->query) {
        ngx_livestream_store_cancel(s->query);
    }

    if (s->announced) {
        ngx_livestream_store_cancel(s->announced);
    }

    ngx_livestream_streams[s->sh - ngx_livestream_sh->streams] = NULL;

    ngx_destroy_pool(s->pool);
}


static void
ngx_livestream_stream_hook(ngx_livestream_stream_t *s, size_t offset)
{
    void                     (*hook)(ngx_livestream_stream_t *s);
    ngx_uint_t                 i;
    ngx_livestream_module_t   *m;

    for (i = 0; ngx_cycle->modules[i]; i++) {
        if (ngx_cycle->modules[i]->type != NGX_LIVESTREAM_MODULE) {
            continue;
        }

        m = ngx_cycle->modules[i]->ctx;
        hook = *(void (**)(ngx_livestream_stream_t *))
                   ((u_char *) &m->hooks + offset);

        if (hook) {
            hook(s);
        }
    }
}


static ngx_livestream_store_query_t *
ngx_livestream_stream_tell(ngx_livestream_stream_t *s, const char *sql,
    const char *status, ngx_livestream_store_handler_pt handler)
{
    u_char                         now[sizeof("2026-01-31T12:00:00.000Z")];
    ngx_str_t                      params[3];
    ngx_livestream_store_query_t  *q;

    params[0] = s->id;

    params[1].data = (u_char *) status;
    params[1].len = ngx_strlen(status);

    params[2].data = now;
    params[2].len = ngx_livestream_rfc3339(now, ngx_livestream_now()) - now;

    q = ngx_livestream_store_exec(sql, params, 3, handler, s);

    if (q == NULL) {
        ngx_log_error(NGX_LOG_ERR, s->log, 0,
                      "stream %V: status \"%s\" could not be stored",
                      &s->id, status);
    }

    return q;
}


void
ngx_livestream_stream_variants(ngx_livestream_stream_t *s)
{
    uint64_t                 audio;
    ngx_uint_t               i;
    ngx_livestream_state_t   state;
    ngx_livestream_track_t  *t;

    (void) ngx_livestream_store_exec(ngx_livestream_sql_no_variants, &s->id, 1,
                                     NULL, NULL);
    audio = 0;

    for (i = 0; i < s->sh->ntracks; i++) {
        if (s->sh->tracks[i].media == NGX_LIVESTREAM_AUDIO) {
            audio = s->sh->tracks[i].average;
        }
    }

    for (i = 0; i < s->sh->ntracks; i++) {
        t = &s->sh->tracks[i];

        ngx_livestream_registry_begin(t, &state);

        if (t->media == NGX_LIVESTREAM_VIDEO
            && state.playable && !state.hidden)
        {
            ngx_livestream_stream_variant(s, t, audio);
        }
    }
}


static void
ngx_livestream_stream_variant(ngx_livestream_stream_t *s,
    ngx_livestream_track_t *t, uint64_t audio)
{
    u_char      buf[1024], *p;
    ngx_str_t   params[12];
    ngx_uint_t  n;

    p = buf;
    n = 0;

    params[n].data = p;
    if (ngx_livestream_uuid(p) != NGX_OK) {
        return;
    }
    params[n++].len = NGX_LIVESTREAM_ID_LEN;
    p += NGX_LIVESTREAM_ID_LEN;

    params[n++] = s->id;

#define ngx_livestream_variant(...)                                           \
    params[n].data = p;                                                       \
    p = ngx_slprintf(p, buf + sizeof(buf), __VA_ARGS__);                      \
    params[n].len = p - params[n].data;                                       \
    n++

    ngx_livestream_variant("%s", t->name);
    ngx_livestream_variant("%uD", t->width);
    ngx_livestream_variant("%uD", t->height);
    ngx_livestream_variant("%uA", t->bandwidth);
    ngx_livestream_variant("%uD.%03uD", t->frame_rate / 1000,
                           t->frame_rate % 1000);
    ngx_livestream_variant("%s", ngx_livestream_codec_name(t->codec));
    ngx_livestream_variant("%uL", audio);
    ngx_livestream_variant("/streams/%V/%s/playlist.m3u8", &s->id, t->name);
    ngx_livestream_variant("segment-%%d.m4s");

    params[n].data = p;
    p = ngx_livestream_rfc3339(p, ngx_livestream_now());
    params[n].len = p - params[n].data;
    n++;

#undef ngx_livestream_variant

    if (ngx_livestream_store_exec(ngx_livestream_sql_variant, params, n, NULL,
                                  NULL)
        == NULL)
    {
        ngx_log_error(NGX_LOG_ERR, s->log, 0,
                      "stream %V: variant \"%s\" could not be stored",
                      &s->id, t->name);
    }
}

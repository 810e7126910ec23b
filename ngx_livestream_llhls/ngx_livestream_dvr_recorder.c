
/*
 * Copyright (C) nginx-livestream contributors
 *
 * The recorder: writes down what becomes of a recorded stream.
 *
 *   writer -- lines --> entry --- post, once a publish ---> thread
 *                       DIR, text, files                    DIR/index
 *                                                             |
 *   store <-- a row for each whole file, if there is storage -+
 *
 * One thread a worker writes all entries, in their order.  It also cuts what a
 * worker that died has left behind the end of a segment, so that a file is
 * what viewers were served.
 *
 * When the disk hangs and the queue is full, entries are dropped: what they
 * told is found in the files when the recording is finished.
 *
 * Event loop; run() is the thread's.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>

#include "ngx_livestream_llhls_module.h"
#include "ngx_livestream_dvr_index.h"


#define NGX_LIVESTREAM_DVR_ENTRIES  4096
#define NGX_LIVESTREAM_DVR_FILES    (2 * NGX_LIVESTREAM_MAX_TRACKS)
#define NGX_LIVESTREAM_DVR_TEXT     4096


typedef struct {
    char                     name[NGX_LIVESTREAM_DVR_NAME];
    uint64_t                 size;          /* 0: whatever it is */
} ngx_livestream_dvr_file_t;


struct ngx_livestream_dvr_entry_s {
    ngx_livestream_job_t     job;           /* must be first */
    char                     id[NGX_LIVESTREAM_ID_LEN + 1];
    char                     rid[NGX_LIVESTREAM_ID_LEN + 1];
    ngx_uint_t               storage;       /* files are to go there */
    ngx_uint_t               ended;         /* it is the last one */
    ngx_uint_t               nfiles;
    ngx_livestream_dvr_file_t  files[NGX_LIVESTREAM_DVR_FILES];
    ngx_err_t                err;
    ngx_uint_t               cut;           /* bytes, by the thread */
    size_t                   dir;           /* length of the folder's path */
    char                     path[NGX_MAX_PATH];    /* its buffer */
    size_t                   len;
    char                     text[NGX_LIVESTREAM_DVR_TEXT];
};


static ngx_livestream_dvr_entry_t *ngx_livestream_dvr_entry(
    ngx_livestream_stream_t *s, ngx_livestream_dvr_log_t *log);
static void ngx_livestream_dvr_file(ngx_livestream_dvr_entry_t *e,
    uint64_t size, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
static void ngx_livestream_dvr_segment(ngx_livestream_dvr_segment_t *to,
    ngx_livestream_segment_t *from);
static void ngx_livestream_dvr_run(ngx_livestream_job_t *job);
static ngx_err_t ngx_livestream_dvr_append(ngx_livestream_dvr_entry_t *e);
static void ngx_livestream_dvr_cut(ngx_livestream_dvr_entry_t *e,
    ngx_livestream_dvr_file_t *file);
static void ngx_livestream_dvr_written(ngx_livestream_job_t *job);
static void ngx_livestream_dvr_stored(ngx_livestream_store_result_t *r,
    void *data);


static ngx_livestream_crew_t  *ngx_livestream_dvr_crew;
static ngx_uint_t              ngx_livestream_dvr_closing;


static const char  ngx_livestream_dvr_sql_recording[] =
    "INSERT INTO dvr_recordings (id, live_stream_id, start_time, status,"
    " recording_url, created_at, updated_at)"
    " VALUES ($1, $2, $3, 'recording', $4, $5, $5)"
    " ON CONFLICT (id) DO NOTHING";

static const char  ngx_livestream_dvr_sql_object[] =
    "INSERT INTO dvr_objects (name, recording_id, size, due)"
    " VALUES ($1, $2, $3, $4) ON CONFLICT (name) DO NOTHING";


ngx_int_t
ngx_livestream_dvr_recorder_init_process(ngx_cycle_t *cycle)
{
    ngx_livestream_dvr_closing = 0;

    ngx_livestream_dvr_crew = ngx_livestream_crew_create(cycle, "dvr-index", 1,
                                              NGX_LIVESTREAM_DVR_ENTRIES, 0);

    return ngx_livestream_dvr_crew ? NGX_OK : NGX_ERROR;
}


void
ngx_livestream_dvr_recorder_exit_process(void)
{
    /* the store has gone before: the keeper finds files without a row */

    ngx_livestream_dvr_closing = 1;

    if (ngx_livestream_dvr_crew) {
        ngx_livestream_crew_destroy(ngx_livestream_dvr_crew, 0);
        ngx_livestream_dvr_crew = NULL;
    }
}


/* with room for one line and one file more, or NULL */

static ngx_livestream_dvr_entry_t *
ngx_livestream_dvr_entry(ngx_livestream_stream_t *s,
    ngx_livestream_dvr_log_t *log)
{
    ngx_livestream_dvr_t        *dvr;
    ngx_livestream_dvr_entry_t  *e;

    if (!s->sh->recorded) {
        return NULL;
    }

    e = log->entry;

    if (e && (e->len + NGX_LIVESTREAM_DVR_LINE > sizeof(e->text)
              || e->nfiles == NGX_LIVESTREAM_DVR_FILES))
    {
        ngx_livestream_dvr_log_post(s, log);
        e = NULL;
    }

    if (e) {
        return e;
    }

    dvr = &ngx_livestream_dvr;

    e = ngx_calloc(sizeof(ngx_livestream_dvr_entry_t), s->log);
    if (e == NULL) {
        return NULL;
    }

    e->job.run = ngx_livestream_dvr_run;
    e->job.done = ngx_livestream_dvr_written;
    e->storage = (dvr->storage != NULL);

    (void) ngx_cpystrn((u_char *) e->id, s->sh->id, sizeof(e->id));
    (void) ngx_cpystrn((u_char *) e->rid, s->sh->broadcast, sizeof(e->rid));

    e->dir = ngx_snprintf((u_char *) e->path,
                          sizeof(e->path) - NGX_LIVESTREAM_DVR_NAME - 1,
                          "%V/%s/%s/", &dvr->conf->recordings, e->id, e->rid)
             - (u_char *) e->path;

    log->entry = e;

    return e;
}


static void
ngx_livestream_dvr_file(ngx_livestream_dvr_entry_t *e, uint64_t size,
    const char *format, ...)
{
    va_list                     args;
    ngx_livestream_dvr_file_t  *file;

    file = &e->files[e->nfiles++];
    file->size = size;

    va_start(args, format);
    (void) vsnprintf(file->name, sizeof(file->name), format, args);
    va_end(args);
}


void
ngx_livestream_dvr_log_track(ngx_livestream_stream_t *s,
    ngx_livestream_dvr_log_t *log, ngx_livestream_track_t *t)
{
    ngx_livestream_dvr_entry_t  *e;
    ngx_livestream_dvr_track_t   track;

    e = ngx_livestream_dvr_entry(s, log);
    if (e == NULL) {
        return;
    }

    ngx_memzero(&track, sizeof(ngx_livestream_dvr_track_t));

    ngx_memcpy(track.name, t->name, sizeof(track.name));
    ngx_memcpy(track.codecs, t->codecs, NGX_LIVESTREAM_CODECS_LEN);

    track.media = t->media;
    track.codec = t->codec;
    track.width = t->width;
    track.height = t->height;
    track.frame_rate = t->frame_rate;
    track.transfer = t->transfer;
    track.sample_rate = t->sample_rate;
    track.channels = t->channels;

    if (t->seq == 0) {
        /* known again with each track: of two heads the later one counts */
        e->len += ngx_livestream_dvr_line_head(e->text + e->len,
                                               s->sh->target_duration);

        e = ngx_livestream_dvr_entry(s, log);
        if (e == NULL) {
            return;
        }
    }

    e->len += ngx_livestream_dvr_line_track(e->text + e->len, &track);

    if (t->codec != NGX_LIVESTREAM_CODEC_NONE) {
        ngx_livestream_dvr_file(e, 0, "%s/init-%u.mp4", t->name, t->init);
    }
}


static void
ngx_livestream_dvr_segment(ngx_livestream_dvr_segment_t *to,
    ngx_livestream_segment_t *from)
{
    to->msn = from->msn;
    to->start = from->start;
    to->pdt = from->pdt;
    to->duration = from->duration;
    to->size = from->size;
    to->init = from->init;
    to->flags = from->flags;
}


void
ngx_livestream_dvr_log_open(ngx_livestream_stream_t *s,
    ngx_livestream_dvr_log_t *log, ngx_livestream_track_t *t,
    ngx_livestream_segment_t *segment)
{
    ngx_livestream_dvr_entry_t    *e;
    ngx_livestream_dvr_segment_t   from;

    e = ngx_livestream_dvr_entry(s, log);
    if (e == NULL) {
        return;
    }

    ngx_livestream_dvr_segment(&from, segment);

    e->len += ngx_livestream_dvr_line_open(e->text + e->len,
                                           (char *) t->name, &from);
}


void
ngx_livestream_dvr_log_segment(ngx_livestream_stream_t *s,
    ngx_livestream_dvr_log_t *log, ngx_livestream_track_t *t,
    ngx_livestream_segment_t *segment)
{
    ngx_livestream_dvr_entry_t    *e;
    ngx_livestream_dvr_segment_t   from;

    e = ngx_livestream_dvr_entry(s, log);
    if (e == NULL) {
        return;
    }

    ngx_livestream_dvr_segment(&from, segment);

    e->len += ngx_livestream_dvr_line_segment(e->text + e->len,
                                              (char *) t->name, &from);

    if (segment->size) {
        ngx_livestream_dvr_file(e, segment->size, "%s/segment-%llu.m4s",
                                t->name, (unsigned long long) segment->msn);
    }
}


void
ngx_livestream_dvr_log_end(ngx_livestream_stream_t *s,
    ngx_livestream_dvr_log_t *log)
{
    ngx_livestream_dvr_entry_t  *e;

    e = ngx_livestream_dvr_entry(s, log);
    if (e == NULL) {
        return;
    }

    e->len += ngx_livestream_dvr_line_end(e->text + e->len);
    e->ended = 1;

    ngx_livestream_dvr_log_post(s, log);
}


void
ngx_livestream_dvr_log_post(ngx_livestream_stream_t *s,
    ngx_livestream_dvr_log_t *log)
{
    ngx_livestream_dvr_entry_t  *e;

    e = log->entry;

    if (e == NULL) {
        return;
    }

    log->entry = NULL;

    if (ngx_livestream_crew_post(ngx_livestream_dvr_crew, &e->job) == NGX_OK) {
        return;
    }

    if (!log->failed) {
        log->failed = 1;
        ngx_log_error(NGX_LOG_ERR, s->log, 0,
                      "stream %V: the disk of recordings is too slow, its "
                      "index will be made from its files", &s->id);
    }

    ngx_free(e);
}


/* runs in the recorder's thread */

static void
ngx_livestream_dvr_run(ngx_livestream_job_t *job)
{
    ngx_livestream_dvr_entry_t *e = (ngx_livestream_dvr_entry_t *) job;

    ngx_uint_t                  i;
    ngx_livestream_dvr_file_t  *file;

    e->err = ngx_livestream_dvr_append(e);

    for (i = 0; i < e->nfiles; i++) {
        file = &e->files[i];

        if (file->size) {
            ngx_livestream_dvr_cut(e, file);
        }
    }
}


/* runs in the recorder's thread */

static ngx_err_t
ngx_livestream_dvr_append(ngx_livestream_dvr_entry_t *e)
{
    ssize_t    n;
    ngx_fd_t   fd;
    ngx_err_t  err;

    (void) ngx_cpystrn((u_char *) e->path + e->dir, (u_char *) "index",
                       NGX_LIVESTREAM_DVR_NAME);

    fd = open(e->path, O_WRONLY|O_APPEND|O_CREAT|O_CLOEXEC, 0644);

    if (fd == -1) {
        return ngx_errno;
    }

    err = 0;

    do {
        n = write(fd, e->text, e->len);
    } while (n == -1 && ngx_errno == NGX_EINTR);

    if (n == -1) {
        err = ngx_errno;

    } else if ((size_t) n < e->len) {
        err = NGX_ENOSPC;

        /* half a line would spoil the next one too */

        if (ftruncate(fd, lseek(fd, 0, SEEK_CUR) - n) == -1) {
            err = ngx_errno;
        }
    }

    if (close(fd) == -1 && err == 0) {
        err = ngx_errno;
    }

    return err;
}


/* runs in the recorder's thread */

static void
ngx_livestream_dvr_cut(ngx_livestream_dvr_entry_t *e,
    ngx_livestream_dvr_file_t *file)
{
    struct stat  st;

    (void) ngx_cpystrn((u_char *) e->path + e->dir, (u_char *) file->name,
                       NGX_LIVESTREAM_DVR_NAME);

    if (stat(e->path, &st) == 0
        && (uint64_t) st.st_size > file->size
        && truncate(e->path, file->size) == 0)
    {
        e->cut += st.st_size - file->size;
    }
}


/* the stream may be gone */

static void
ngx_livestream_dvr_written(ngx_livestream_job_t *job)
{
    ngx_livestream_dvr_entry_t *e = (ngx_livestream_dvr_entry_t *) job;

    u_char      key[NGX_LIVESTREAM_DVR_KEY], now[32], size[NGX_INT64_LEN];
    ngx_str_t   params[4];
    ngx_uint_t  i;

    if (e->err) {
        ngx_log_error(NGX_LOG_ERR, ngx_cycle->log, e->err,
                      "stream %s: the index of its recording cannot be "
                      "written, it will be made from its files", e->id);
    }

    if (e->cut) {
        ngx_log_error(NGX_LOG_NOTICE, ngx_cycle->log, 0,
                      "stream %s: %ui bytes that nobody was told of were cut "
                      "off its recording", e->id, e->cut);
    }

    /* a file that has no line must stay where it can be looked at */

    if (e->storage && e->err == 0 && !ngx_livestream_dvr_closing) {

        params[1].data = (u_char *) e->rid;
        params[1].len = ngx_strlen(e->rid);
        params[3].data = now;
        params[3].len = ngx_livestream_rfc3339(now, ngx_livestream_now())
                        - now;

        for (i = 0; i < e->nfiles; i++) {
            params[0].data = key;
            params[0].len = ngx_snprintf(key, sizeof(key), "%s/%s/%s", e->id,
                                         e->rid, e->files[i].name)
                            - key;
            params[2].data = size;
            params[2].len = ngx_sprintf(size, "%uL", e->files[i].size) - size;

            (void) ngx_livestream_store_exec(ngx_livestream_dvr_sql_object,
                                             params, 4, NULL, NULL);
        }

        if (e->nfiles) {
            ngx_livestream_keeper_ring();
        }
    }

    if (e->ended) {
        ngx_livestream_keeper_ring();
    }

    ngx_free(e);
}


void
ngx_livestream_dvr_log_live(ngx_livestream_stream_t *s,
    ngx_livestream_dvr_log_t *log)
{
    u_char                    now[32], start[32], *url;
    int64_t                   pdt;
    ngx_str_t                 params[5], *storage, *folder;
    ngx_uint_t                i;
    ngx_livestream_state_t    state;
    ngx_livestream_track_t   *t;
    ngx_livestream_segment_t *segment;
    u_char                    buf[NGX_MAX_PATH + 256];

    if (!s->sh->recorded || log->stored || log->query) {
        return;
    }

    /* of a stream that is continued the row is there */

    pdt = ngx_livestream_now();

    for (i = 0; i < s->sh->ntracks; i++) {
        t = &s->sh->tracks[i];

        ngx_livestream_registry_begin(t, &state);

        segment = &t->segments[state.seg_first & (t->nseg - 1)];

        if (state.seg_first < state.open.msn) {
            pdt = ngx_min(pdt, segment->pdt);
        }
    }

    storage = &ngx_livestream_dvr.conf->storage;
    folder = &ngx_livestream_dvr.conf->recordings;

    url = buf;

    if (storage->len) {
        url = ngx_snprintf(buf, sizeof(buf), "%V%s%V/%s/", storage,
                           storage->data[storage->len - 1] == '/' ? "" : "/",
                           &s->id, s->sh->broadcast);
    } else {
        url = ngx_snprintf(buf, sizeof(buf), "file:%V/%V/%s/", folder, &s->id,
                           s->sh->broadcast);
    }

    params[0].data = s->sh->broadcast;
    params[0].len = NGX_LIVESTREAM_ID_LEN;
    params[1] = s->id;
    params[2].data = start;
    params[2].len = ngx_livestream_rfc3339(start, pdt) - start;
    params[3].data = buf;
    params[3].len = url - buf;
    params[4].data = now;
    params[4].len = ngx_livestream_rfc3339(now, ngx_livestream_now()) - now;

    log->query = ngx_livestream_store_exec(ngx_livestream_dvr_sql_recording,
                                           params, 5,
                                           ngx_livestream_dvr_stored, log);
}


static void
ngx_livestream_dvr_stored(ngx_livestream_store_result_t *r, void *data)
{
    ngx_livestream_dvr_log_t *log = data;

    log->query = NULL;

    /* a stream that was deleted meanwhile: NGX_DECLINED */

    if (r->rc == NGX_OK || r->rc == NGX_DECLINED) {
        log->stored = 1;
    }
}


void
ngx_livestream_dvr_log_close(ngx_livestream_stream_t *s,
    ngx_livestream_dvr_log_t *log)
{
    if (log->query) {
        ngx_livestream_store_cancel(log->query);
        log->query = NULL;
    }

    ngx_livestream_dvr_log_post(s, log);
}

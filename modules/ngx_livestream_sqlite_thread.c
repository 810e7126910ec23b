
/*
 * Copyright (C) nginx-livestream contributors
 *
 * The SQLite engine's thread: everything here runs there, but setup(), which
 * the master needs, too.
 *
 * The connection is opened when it is needed and closed after an error that
 * may have its cause outside (disk, rights, another file in its place), so
 * that the store comes back by itself when the cause has gone.  A worker never
 * creates the database: that, and the schema, is the master's.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>

#include "ngx_livestream.h"
#include "ngx_livestream_sqlite.h"


static void ngx_livestream_sqlite_post(ngx_livestream_sqlite_t *s,
    ngx_livestream_sqlite_job_t *job);
static void ngx_livestream_sqlite_run(ngx_livestream_sqlite_t *s,
    ngx_livestream_sqlite_job_t *job);
static int ngx_livestream_sqlite_connect(ngx_livestream_sqlite_t *s);
static int ngx_livestream_sqlite_busy(void *data, int count);
static void ngx_livestream_sqlite_now(sqlite3_context *ctx, int argc,
    sqlite3_value **argv);
static void ngx_livestream_sqlite_disconnect(ngx_livestream_sqlite_t *s);
static ngx_livestream_sqlite_stmt_t *ngx_livestream_sqlite_prepare(
    ngx_livestream_sqlite_t *s, ngx_livestream_store_query_t *q, int *rc);
static int ngx_livestream_sqlite_bind(ngx_livestream_sqlite_stmt_t *st,
    ngx_livestream_store_query_t *q);
static int ngx_livestream_sqlite_step(ngx_livestream_sqlite_t *s,
    sqlite3_stmt *stmt, ngx_livestream_sqlite_job_t *job);
static int ngx_livestream_sqlite_row(sqlite3_stmt *stmt,
    ngx_livestream_sqlite_job_t *job);
static int ngx_livestream_sqlite_reserve(ngx_livestream_sqlite_job_t *job,
    size_t size);
static void ngx_livestream_sqlite_finish(ngx_livestream_sqlite_t *s,
    ngx_livestream_sqlite_job_t *job, int rc);


void *
ngx_livestream_sqlite_thread(void *data)
{
    ngx_livestream_sqlite_t *s = data;

    ngx_queue_t                  *e;
    ngx_livestream_sqlite_job_t  *job;

    (void) pthread_mutex_lock(&s->mutex);

    for ( ;; ) {

        while (ngx_queue_empty(&s->in) && !s->closing) {
            (void) pthread_cond_wait(&s->cond, &s->mutex);
        }

        if (ngx_queue_empty(&s->in)) {
            break;
        }

        e = ngx_queue_head(&s->in);
        ngx_queue_remove(e);
        s->nin--;

        (void) pthread_mutex_unlock(&s->mutex);

        job = ngx_queue_data(e, ngx_livestream_sqlite_job_t, queue);

        ngx_livestream_sqlite_run(s, job);
        ngx_livestream_sqlite_post(s, job);

        (void) pthread_mutex_lock(&s->mutex);
    }

    (void) pthread_mutex_unlock(&s->mutex);

    ngx_livestream_sqlite_disconnect(s);

    return NULL;
}


static void
ngx_livestream_sqlite_post(ngx_livestream_sqlite_t *s,
    ngx_livestream_sqlite_job_t *job)
{
    uint64_t    one;
    ngx_uint_t  ring;

    (void) pthread_mutex_lock(&s->mutex);

    ring = ngx_queue_empty(&s->out);
    ngx_queue_insert_tail(&s->out, &job->queue);

    (void) pthread_mutex_unlock(&s->mutex);

    if (ring) {
        one = 1;

        /* fails only when the counter is full, which is readable, too */

        if (write(s->fd, &one, sizeof(uint64_t)) == -1) {
            return;
        }
    }
}


static void
ngx_livestream_sqlite_run(ngx_livestream_sqlite_t *s,
    ngx_livestream_sqlite_job_t *job)
{
    int                            rc;
    ngx_livestream_sqlite_stmt_t  *st;

    rc = ngx_livestream_sqlite_connect(s);

    if (rc != SQLITE_OK) {
        ngx_livestream_sqlite_finish(s, job, rc);
        return;
    }

    st = ngx_livestream_sqlite_prepare(s, job->query, &rc);

    if (st == NULL) {
        ngx_livestream_sqlite_finish(s, job, rc);
        return;
    }

    rc = ngx_livestream_sqlite_bind(st, job->query);

    if (rc == SQLITE_OK) {
        rc = ngx_livestream_sqlite_step(s, st->stmt, job);
    }

    ngx_livestream_sqlite_finish(s, job, rc);

    /* finish() may have closed the connection and its statements */

    if (s->db) {
        (void) sqlite3_reset(st->stmt);
        (void) sqlite3_clear_bindings(st->stmt);
    }
}


/*
 * The file that is open must still be the one that the path names, and one
 * that could only be opened for reading is looked at again.
 */

static int
ngx_livestream_sqlite_connect(ngx_livestream_sqlite_t *s)
{
    int          rc;
    struct stat  sb;

    if (stat(s->path, &sb) == -1) {
        ngx_livestream_sqlite_disconnect(s);
        return SQLITE_CANTOPEN;
    }

    if (s->db) {
        if (sb.st_ino == s->ino && sb.st_dev == s->dev
            && sqlite3_db_readonly(s->db, "main") == 0)
        {
            return SQLITE_OK;
        }

        ngx_livestream_sqlite_disconnect(s);
    }

    rc = sqlite3_open_v2(s->path, &s->db,
                         SQLITE_OPEN_READWRITE|SQLITE_OPEN_NOMUTEX, NULL);

    if (rc == SQLITE_OK) {
        (void) sqlite3_busy_handler(s->db, ngx_livestream_sqlite_busy, s);

        rc = ngx_livestream_sqlite_setup(s->db);
    }

    if (rc != SQLITE_OK) {
        ngx_livestream_sqlite_disconnect(s);
        return rc;
    }

    s->dev = sb.st_dev;
    s->ino = sb.st_ino;

    return SQLITE_OK;
}


int
ngx_livestream_sqlite_setup(sqlite3 *db)
{
    int  rc;

    rc = sqlite3_create_function(db, "current_timestamp", 0, SQLITE_UTF8,
                                 NULL, ngx_livestream_sqlite_now, NULL, NULL);

    if (rc != SQLITE_OK) {
        return rc;
    }

    return sqlite3_exec(db, "PRAGMA synchronous = NORMAL;"
                            "PRAGMA foreign_keys = ON",
                        NULL, NULL, NULL);
}


/* For so long as another process writes: short sleeps of growing length. */

static int
ngx_livestream_sqlite_busy(void *data, int count)
{
    ngx_livestream_sqlite_t *s = data;

    ngx_uint_t  ms, hurry;

    if (count == 0) {
        s->waited = 0;
    }

    (void) pthread_mutex_lock(&s->mutex);
    hurry = s->hurry;
    (void) pthread_mutex_unlock(&s->mutex);

    if (hurry || s->waited >= NGX_LIVESTREAM_SQLITE_WAIT) {
        return 0;
    }

    ms = ngx_min(count + 1, 20);
    s->waited += ms;

    ngx_msleep(ms);

    return 1;
}


/* CURRENT_TIMESTAMP in the form of all our times */

static void
ngx_livestream_sqlite_now(sqlite3_context *ctx, int argc, sqlite3_value **argv)
{
    u_char           text[sizeof("1970-09-28T12:00:00.000Z")], *p;
    struct timespec  ts;

    (void) argc;
    (void) argv;

    (void) clock_gettime(CLOCK_REALTIME, &ts);

    p = ngx_livestream_rfc3339(text, (int64_t) ts.tv_sec * 1000000
                                     + ts.tv_nsec / 1000);

    sqlite3_result_text(ctx, (char *) text, p - text, SQLITE_TRANSIENT);
}


static void
ngx_livestream_sqlite_disconnect(ngx_livestream_sqlite_t *s)
{
    ngx_uint_t  i;

    for (i = 0; i < NGX_LIVESTREAM_SQLITE_CACHE; i++) {
        (void) sqlite3_finalize(s->cache[i].stmt);
        s->cache[i].sql = NULL;
        s->cache[i].stmt = NULL;
    }

    (void) sqlite3_close(s->db);
    s->db = NULL;
}


/* A statement's text is static: its address says which one it is. */

static ngx_livestream_sqlite_stmt_t *
ngx_livestream_sqlite_prepare(ngx_livestream_sqlite_t *s,
    ngx_livestream_store_query_t *q, int *rc)
{
    char                           name[sizeof("$24")];
    ngx_uint_t                     i;
    ngx_livestream_sqlite_stmt_t  *st;

    for (i = 0; i < NGX_LIVESTREAM_SQLITE_CACHE; i++) {
        if (s->cache[i].sql == q->sql) {
            return &s->cache[i];
        }

        if (s->cache[i].sql == NULL) {
            break;
        }
    }

    if (i == NGX_LIVESTREAM_SQLITE_CACHE) {
        i = s->evict++ % NGX_LIVESTREAM_SQLITE_CACHE;
    }

    st = &s->cache[i];

    (void) sqlite3_finalize(st->stmt);
    st->stmt = NULL;

    *rc = sqlite3_prepare_v3(s->db, q->sql, -1, SQLITE_PREPARE_PERSISTENT,
                             &st->stmt, NULL);

    if (*rc != SQLITE_OK) {
        st->sql = NULL;
        return NULL;
    }

    st->sql = q->sql;
    st->nparams = sqlite3_bind_parameter_count(st->stmt);

    for (i = 0; i < NGX_LIVESTREAM_STORE_PARAMS; i++) {
        (void) ngx_sprintf((u_char *) name, "$%ui%Z", i + 1);
        st->index[i] = sqlite3_bind_parameter_index(st->stmt, name);
    }

    return st;
}


static int
ngx_livestream_sqlite_bind(ngx_livestream_sqlite_stmt_t *st,
    ngx_livestream_store_query_t *q)
{
    int         rc;
    ngx_uint_t  i;

    if (st->nparams != q->nparams) {
        return SQLITE_RANGE;
    }

    for (i = 0; i < q->nparams; i++) {

        /* unbound is NULL; no copy is needed, the query outlives the step */

        if (q->params[i].data == NULL) {
            continue;
        }

        rc = sqlite3_bind_text(st->stmt, st->index[i],
                               (char *) q->params[i].data, q->params[i].len,
                               SQLITE_STATIC);
        if (rc != SQLITE_OK) {
            return rc;
        }
    }

    return SQLITE_OK;
}


static int
ngx_livestream_sqlite_step(ngx_livestream_sqlite_t *s, sqlite3_stmt *stmt,
    ngx_livestream_sqlite_job_t *job)
{
    int                             rc;
    u_char                         *p;
    ngx_uint_t                      i;
    ngx_livestream_store_result_t  *r;

    r = &job->result;
    r->ncols = sqlite3_column_count(stmt);

    for ( ;; ) {
        rc = sqlite3_step(stmt);

        if (rc != SQLITE_ROW) {
            break;
        }

        rc = ngx_livestream_sqlite_row(stmt, job);

        if (rc != SQLITE_OK) {
            return rc;
        }

        r->nrows++;
    }

    if (rc != SQLITE_DONE) {
        return rc;
    }

    if (!sqlite3_stmt_readonly(stmt)) {
        r->changes = sqlite3_changes(s->db);
    }

    /* the bytes move no more: let the values point at them */

    p = job->bytes;

    for (i = 0; i < r->nrows * r->ncols; i++) {
        if (r->values[i].data) {
            r->values[i].data = p;
            p += r->values[i].len + 1;
        }
    }

    return SQLITE_OK;
}


/* data is only a mark here, the bytes may move yet */

static int
ngx_livestream_sqlite_row(sqlite3_stmt *stmt, ngx_livestream_sqlite_job_t *job)
{
    size_t                len;
    ngx_str_t            *value;
    ngx_uint_t            i;
    const unsigned char  *text;

    for (i = 0; i < job->result.ncols; i++) {

        text = sqlite3_column_text(stmt, i);
        len = text ? (size_t) sqlite3_column_bytes(stmt, i) : 0;

        if (ngx_livestream_sqlite_reserve(job, len + 1) != SQLITE_OK) {
            return SQLITE_NOMEM;
        }

        value = ngx_livestream_store_value(&job->result, job->result.nrows, i);

        value->len = len;
        value->data = NULL;

        if (text) {
            value->data = job->bytes;
            ngx_memcpy(job->bytes + job->size, text, len);
            job->bytes[job->size + len] = '\0';
            job->size += len + 1;
        }
    }

    return SQLITE_OK;
}


/* room for one more row and one more value of so many bytes */

static int
ngx_livestream_sqlite_reserve(ngx_livestream_sqlite_job_t *job, size_t size)
{
    void        *p;
    size_t       n;
    ngx_uint_t   nvalues;

    nvalues = (job->result.nrows + 1) * job->result.ncols;

    if (nvalues > job->nvalues) {
        nvalues *= 2;

        p = realloc(job->result.values, nvalues * sizeof(ngx_str_t));
        if (p == NULL) {
            return SQLITE_NOMEM;
        }

        job->result.values = p;
        job->nvalues = nvalues;
    }

    if (size > job->allocated - job->size) {
        n = 2 * job->allocated + size + 512;

        p = realloc(job->bytes, n);
        if (p == NULL) {
            return SQLITE_NOMEM;
        }

        job->bytes = p;
        job->allocated = n;
    }

    return SQLITE_OK;
}


static void
ngx_livestream_sqlite_finish(ngx_livestream_sqlite_t *s,
    ngx_livestream_sqlite_job_t *job, int rc)
{
    const char                     *words;
    ngx_livestream_store_result_t  *r;

    r = &job->result;

    if (rc == SQLITE_OK) {
        r->rc = NGX_OK;
        return;
    }

    words = sqlite3_errstr(rc);

    if (s->db && sqlite3_errcode(s->db) == rc) {
        words = sqlite3_errmsg(s->db);
    }

    r->error.data = job->error;
    r->error.len = ngx_snprintf(r->error.data, NGX_LIVESTREAM_SQLITE_ERROR,
                                "%s (%s)", words, s->path)
                   - r->error.data;

    r->nrows = 0;
    r->rc = NGX_ERROR;

    switch (rc & 0xff) {

    case SQLITE_CONSTRAINT:
        r->rc = NGX_DECLINED;
        break;

    case SQLITE_BUSY:
        r->rc = NGX_BUSY;
        break;

    case SQLITE_CANTOPEN:
        r->rc = NGX_BUSY;

        /* fall through */

    case SQLITE_READONLY:
    case SQLITE_IOERR:
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
    case SQLITE_PERM:
    case SQLITE_AUTH:
        ngx_livestream_sqlite_disconnect(s);
        break;
    }
}


/*
 * Copyright (C) nginx-livestream contributors
 *
 * The SQLite engine in the master: makes the database, brings its schema up to
 * date and gives it to the workers.  Runs at start and at reload, before the
 * new workers are; blocking is fine here.
 *
 * Migrations are applied in the order of their numbers, all in one
 * transaction, and are written down in schema_migrations.  The texts are those
 * of sql/, which the build turns into the header included here.
 */


#include <ngx_config.h>
#include <ngx_core.h>

#include "ngx_livestream_sqlite.h"
#include "ngx_livestream_sqlite_migrations.h"


static ngx_int_t ngx_livestream_sqlite_folder(ngx_cycle_t *cycle, char *path);
static ngx_int_t ngx_livestream_sqlite_create(ngx_cycle_t *cycle, char *path);
static ngx_int_t ngx_livestream_sqlite_chown(ngx_cycle_t *cycle,
    const char *path);
static ngx_uid_t ngx_livestream_sqlite_user(ngx_core_conf_t *ccf);
static ngx_int_t ngx_livestream_sqlite_apply(ngx_cycle_t *cycle, char *path,
    const char *fresh);
static int ngx_livestream_sqlite_upgrade(sqlite3 *db, ngx_log_t *log,
    char *path);
static int ngx_livestream_sqlite_version(sqlite3 *db, int *version);


char *
ngx_livestream_sqlite_path(ngx_cycle_t *cycle, ngx_str_t *uri)
{
    ngx_str_t  path;

    path.data = uri->data + sizeof("sqlite:") - 1;
    path.len = uri->len - (sizeof("sqlite:") - 1);

    if (path.len == 0 || path.data[path.len - 1] == '/') {
        ngx_log_error(NGX_LOG_EMERG, cycle->log, 0,
                      "store \"%V\" names no file", uri);
        return NULL;
    }

    if (ngx_get_full_name(cycle->pool, &cycle->prefix, &path) != NGX_OK) {
        return NULL;
    }

    return (char *) path.data;
}


ngx_int_t
ngx_livestream_sqlite_migrate(ngx_cycle_t *cycle, ngx_str_t *uri,
    const char *fresh)
{
    char  *path;

    path = ngx_livestream_sqlite_path(cycle, uri);

    if (path == NULL
        || ngx_livestream_sqlite_folder(cycle, path) != NGX_OK
        || ngx_livestream_sqlite_create(cycle, path) != NGX_OK)
    {
        return NGX_ERROR;
    }

    return ngx_livestream_sqlite_apply(cycle, path, fresh);
}


/*
 * SQLite makes files beside the database, so that the workers must be able to
 * write in its folder.  One that was made here is given to them; one that was
 * there already is its owner's.
 */

static ngx_int_t
ngx_livestream_sqlite_folder(ngx_cycle_t *cycle, char *path)
{
    char             *folder, *slash;
    ngx_err_t         err;
    ngx_uid_t         user;
    ngx_core_conf_t  *ccf;
    struct stat       sb;

    slash = strrchr(path, '/');

    if (slash == path) {
        return NGX_OK;
    }

    folder = ngx_pnalloc(cycle->pool, slash - path + 1);
    if (folder == NULL) {
        return NGX_ERROR;
    }

    (void) ngx_cpystrn((u_char *) folder, (u_char *) path, slash - path + 1);

    if (stat(folder, &sb) == -1) {

        err = ngx_create_full_path((u_char *) path, 0755);
        if (err) {
            ngx_log_error(NGX_LOG_EMERG, cycle->log, err,
                          "store's folder \"%s\" cannot be created", folder);
            return NGX_ERROR;
        }

        return ngx_livestream_sqlite_chown(cycle, folder);
    }

    ccf = (ngx_core_conf_t *) ngx_get_conf(cycle->conf_ctx, ngx_core_module);
    user = ngx_livestream_sqlite_user(ccf);

    if (user != 0
        && !(sb.st_uid == user && (sb.st_mode & S_IWUSR))
        && !(sb.st_gid == ccf->group && (sb.st_mode & S_IWGRP))
        && !(sb.st_mode & S_IWOTH))
    {
        ngx_log_error(NGX_LOG_WARN, cycle->log, 0,
                      "store's folder \"%s\" seems not to be writable by the "
                      "user \"%s\" of the workers", folder, ccf->username);
    }

    return NGX_OK;
}


/* The database holds the streams' keys: it is nobody else's to read. */

static ngx_int_t
ngx_livestream_sqlite_create(ngx_cycle_t *cycle, char *path)
{
    ngx_fd_t  fd;

    fd = ngx_open_file(path, NGX_FILE_RDWR, NGX_FILE_CREATE_OR_OPEN,
                       NGX_FILE_OWNER_ACCESS);

    if (fd == NGX_INVALID_FILE) {
        ngx_log_error(NGX_LOG_EMERG, cycle->log, ngx_errno,
                      "store \"%s\" cannot be opened", path);
        return NGX_ERROR;
    }

    if (ngx_close_file(fd) == NGX_FILE_ERROR) {
        ngx_log_error(NGX_LOG_ALERT, cycle->log, ngx_errno,
                      ngx_close_file_n " \"%s\" failed", path);
    }

    return ngx_livestream_sqlite_chown(cycle, path);
}


static ngx_int_t
ngx_livestream_sqlite_chown(ngx_cycle_t *cycle, const char *path)
{
    ngx_uid_t         user;
    ngx_core_conf_t  *ccf;

    ccf = (ngx_core_conf_t *) ngx_get_conf(cycle->conf_ctx, ngx_core_module);
    user = ngx_livestream_sqlite_user(ccf);

    if (user != 0 && chown(path, user, ccf->group) == -1) {
        ngx_log_error(NGX_LOG_EMERG, cycle->log, ngx_errno,
                      "chown(\"%s\", %d) failed", path, user);
        return NGX_ERROR;
    }

    return NGX_OK;
}


/* whom root gives files to; 0: they stay the master's own */

static ngx_uid_t
ngx_livestream_sqlite_user(ngx_core_conf_t *ccf)
{
    if (geteuid() != 0 || ccf->user == (ngx_uid_t) NGX_CONF_UNSET_UINT) {
        return 0;
    }

    return ccf->user;
}


static ngx_int_t
ngx_livestream_sqlite_apply(ngx_cycle_t *cycle, char *path, const char *fresh)
{
    int       rc;
    sqlite3  *db;

    rc = sqlite3_open_v2(path, &db, SQLITE_OPEN_READWRITE, NULL);

    if (rc == SQLITE_OK) {
        (void) sqlite3_busy_timeout(db, NGX_LIVESTREAM_SQLITE_WAIT);

        rc = ngx_livestream_sqlite_setup(db);
    }

    if (rc == SQLITE_OK) {
        rc = sqlite3_exec(db, "PRAGMA journal_mode = WAL;"
                              "BEGIN IMMEDIATE",
                          NULL, NULL, NULL);
    }

    if (rc == SQLITE_OK) {
        rc = ngx_livestream_sqlite_upgrade(db, cycle->log, path);
    }

    if (rc == SQLITE_OK && fresh) {
        rc = sqlite3_exec(db, fresh, NULL, NULL, NULL);
    }

    if (rc == SQLITE_OK) {
        rc = sqlite3_exec(db, "COMMIT", NULL, NULL, NULL);
    }

    if (rc != SQLITE_OK) {
        ngx_log_error(NGX_LOG_EMERG, cycle->log, 0, "store \"%s\": %s", path,
                      rc == SQLITE_MISMATCH ? "is of a newer version"
                                            : sqlite3_errmsg(db));
    }

    /* rolls back what is not committed */

    (void) sqlite3_close(db);

    return rc == SQLITE_OK ? NGX_OK : NGX_ERROR;
}


/* SQLITE_MISMATCH: a newer version of this module was here */

static int
ngx_livestream_sqlite_upgrade(sqlite3 *db, ngx_log_t *log, char *path)
{
    int          rc, version;
    char        *sql;
    ngx_uint_t   i;

    rc = ngx_livestream_sqlite_version(db, &version);

    if (rc != SQLITE_OK) {
        return rc;
    }

    for (i = 0; ngx_livestream_sqlite_migrations[i].text; i++) {

        if (ngx_livestream_sqlite_migrations[i].version <= version) {
            continue;
        }

        ngx_log_error(NGX_LOG_NOTICE, log, 0,
                      "store \"%s\": applying migration %d, %s", path,
                      ngx_livestream_sqlite_migrations[i].version,
                      ngx_livestream_sqlite_migrations[i].name);

        rc = sqlite3_exec(db, ngx_livestream_sqlite_migrations[i].text, NULL,
                          NULL, NULL);

        if (rc != SQLITE_OK) {
            return rc;
        }

        sql = sqlite3_mprintf("INSERT INTO schema_migrations (version, name) "
                              "VALUES (%d, %Q)",
                              ngx_livestream_sqlite_migrations[i].version,
                              ngx_livestream_sqlite_migrations[i].name);
        if (sql == NULL) {
            return SQLITE_NOMEM;
        }

        rc = sqlite3_exec(db, sql, NULL, NULL, NULL);

        sqlite3_free(sql);

        if (rc != SQLITE_OK) {
            return rc;
        }
    }

    if (i == 0 || ngx_livestream_sqlite_migrations[i - 1].version < version) {
        return SQLITE_MISMATCH;
    }

    return SQLITE_OK;
}


static int
ngx_livestream_sqlite_version(sqlite3 *db, int *version)
{
    int            rc;
    sqlite3_stmt  *stmt;

    *version = 0;

    rc = sqlite3_exec(db,
                      "CREATE TABLE IF NOT EXISTS schema_migrations ("
                      "    version     INTEGER PRIMARY KEY,"
                      "    name        VARCHAR(100) NOT NULL,"
                      "    applied_at  TEXT NOT NULL DEFAULT"
                      "                (strftime('%Y-%m-%dT%H:%M:%fZ',"
                      "                          'now'))"
                      ")", NULL, NULL, NULL);

    if (rc != SQLITE_OK) {
        return rc;
    }

    rc = sqlite3_prepare_v2(db, "SELECT coalesce(max(version), 0) "
                                "FROM schema_migrations", -1, &stmt, NULL);

    if (rc != SQLITE_OK) {
        return rc;
    }

    rc = sqlite3_step(stmt);

    if (rc == SQLITE_ROW) {
        *version = sqlite3_column_int(stmt, 0);
        rc = SQLITE_OK;
    }

    (void) sqlite3_finalize(stmt);

    return rc;
}

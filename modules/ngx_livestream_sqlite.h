
/*
 * Copyright (C) nginx-livestream contributors
 *
 * Inside the SQLite engine: what its three files share.
 */


#ifndef _NGX_LIVESTREAM_SQLITE_H_INCLUDED_
#define _NGX_LIVESTREAM_SQLITE_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>
#include <pthread.h>
#include <sqlite3.h>

#include "ngx_livestream_store.h"


#define NGX_LIVESTREAM_SQLITE_CACHE    64       /* statements */
#define NGX_LIVESTREAM_SQLITE_WAIT     5000     /* ms, for another's lock */
#define NGX_LIVESTREAM_SQLITE_ERROR    256


typedef struct {
    ngx_queue_t                      queue;
    ngx_livestream_store_query_t    *query;
    ngx_livestream_store_result_t    result;
    u_char                          *bytes;     /* behind result.values */
    size_t                           size;
    size_t                           allocated;
    ngx_uint_t                       nvalues;   /* allocated */
    u_char                           error[NGX_LIVESTREAM_SQLITE_ERROR];
} ngx_livestream_sqlite_job_t;


typedef struct {
    const char                      *sql;
    sqlite3_stmt                    *stmt;
    ngx_uint_t                       nparams;
    int                              index[NGX_LIVESTREAM_STORE_PARAMS];
} ngx_livestream_sqlite_stmt_t;


typedef struct {
    char                            *path;
    ngx_connection_t                *connection;
    int                              fd;        /* rung when out is filled */
    pthread_t                        tid;

    pthread_mutex_t                  mutex;     /* of the next six */
    pthread_cond_t                   cond;
    ngx_queue_t                      in;
    ngx_queue_t                      out;
    ngx_uint_t                       nin;
    ngx_uint_t                       closing;   /* end when in is empty */
    ngx_uint_t                       hurry;     /* wait for no lock */

    /* the thread's */
    sqlite3                         *db;
    dev_t                            dev;       /* of the file that is open */
    ino_t                            ino;
    ngx_uint_t                       waited;    /* ms, for the lock */
    ngx_uint_t                       evict;
    ngx_livestream_sqlite_stmt_t     cache[NGX_LIVESTREAM_SQLITE_CACHE];
} ngx_livestream_sqlite_t;


/* the thread's function; its argument is the ngx_livestream_sqlite_t */
void *ngx_livestream_sqlite_thread(void *data);

/* a connection's functions and pragmas; an SQLite result code */
int ngx_livestream_sqlite_setup(sqlite3 *db);

/* the engine's migrate(); master */
ngx_int_t ngx_livestream_sqlite_migrate(ngx_cycle_t *cycle, ngx_str_t *uri,
    const char *fresh);

/* the URI's file, absolute, NUL-terminated; NULL was logged */
char *ngx_livestream_sqlite_path(ngx_cycle_t *cycle, ngx_str_t *uri);


#endif /* _NGX_LIVESTREAM_SQLITE_H_INCLUDED_ */

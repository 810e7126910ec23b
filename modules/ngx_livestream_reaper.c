
/*
 * Copyright (C) nginx-livestream contributors
 *
 * The reaper: removes folders of media.
 *
 *   ROOT/ID/BROADCAST/TRACK/file     a broadcast's, removed when forgotten
 *   ROOT/.trash-UUID/...             what a crash left, moved there in the
 *                                    master, before any worker runs
 *
 * Files are removed in nginx's thread pool; tasks know paths only.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>
#include <ngx_thread_pool.h>

#include "ngx_livestream.h"
#include "ngx_livestream_stream.h"


#if !(NGX_THREADS)
#error nginx must be built --with-threads for the livestream module.
#endif


#define NGX_LIVESTREAM_TRASH  ".trash-"


typedef struct {
    ngx_uint_t               trash;         /* all of ROOT/.trash-* */
    ngx_str_t                root;
    u_char                   path[NGX_MAX_PATH];    /* folder to remove */
    size_t                   parent;        /* length of its parent's path, to
                                               be removed too if empty; or 0 */
} ngx_livestream_reaper_t;


static void ngx_livestream_reaper_post(ngx_thread_task_t *task,
    ngx_log_t *log);
static ngx_thread_task_t *ngx_livestream_reaper_task(ngx_log_t *log);
static void ngx_livestream_reaper_handler(void *data, ngx_log_t *log);
static void ngx_livestream_reaper_done(ngx_event_t *ev);
static void ngx_livestream_reaper_tree(u_char *path, ngx_log_t *log);
static ngx_int_t ngx_livestream_reaper_entry(ngx_tree_ctx_t *ctx,
    ngx_str_t *path);
static ngx_int_t ngx_livestream_reaper_file(ngx_tree_ctx_t *ctx,
    ngx_str_t *path);
static ngx_int_t ngx_livestream_reaper_dir(ngx_tree_ctx_t *ctx,
    ngx_str_t *path);
static ngx_uint_t ngx_livestream_reaper_is_id(u_char *name, size_t len);


static ngx_thread_pool_t  *ngx_livestream_reaper_pool;


ngx_int_t
ngx_livestream_reaper_conf(ngx_conf_t *cf)
{
    return ngx_thread_pool_add(cf, NULL) ? NGX_OK : NGX_ERROR;
}


static ngx_uint_t
ngx_livestream_reaper_is_id(u_char *name, size_t len)
{
    size_t  i;

    if (len != NGX_LIVESTREAM_ID_LEN) {
        return 0;
    }

    for (i = 0; i < len; i++) {
        if (name[i] != '-'
            && !(name[i] >= '0' && name[i] <= '9')
            && !(name[i] >= 'a' && name[i] <= 'f'))
        {
            return 0;
        }
    }

    return name[8] == '-' && name[13] == '-';
}


void
ngx_livestream_reaper_collect(ngx_cycle_t *cycle, ngx_str_t *root)
{
    u_char            from[NGX_MAX_PATH], to[NGX_MAX_PATH], *p;
    ngx_dir_t         dir;
    ngx_log_t        *log;
    ngx_str_t         path;
    ngx_uint_t        moved;
    ngx_core_conf_t  *ccf;

    log = cycle->log;
    path = *root;

    if (ngx_open_dir(&path, &dir) == NGX_ERROR) {
        ngx_log_error(NGX_LOG_ALERT, log, ngx_errno,
                      ngx_open_dir_n " \"%V\" failed", root);
        return;
    }

    p = ngx_sprintf(to, "%V/" NGX_LIVESTREAM_TRASH, root);

    if (ngx_livestream_uuid(p) != NGX_OK) {
        (void) ngx_close_dir(&dir);
        return;
    }

    p += NGX_LIVESTREAM_ID_LEN;
    *p = '\0';

    moved = 0;

    while (ngx_read_dir(&dir) == NGX_OK) {

        if (!ngx_livestream_reaper_is_id(ngx_de_name(&dir),
                                         ngx_de_namelen(&dir)))
        {
            continue;
        }

        if (moved++ == 0) {

            if (ngx_create_dir(to, 0755) == NGX_FILE_ERROR) {
                ngx_log_error(NGX_LOG_ERR, log, ngx_errno,
                              ngx_create_dir_n " \"%s\" failed", to);
                break;
            }

            ccf = (ngx_core_conf_t *) ngx_get_conf(cycle->conf_ctx,
                                                   ngx_core_module);
            if (geteuid() == 0
                && ccf->user != (ngx_uid_t) NGX_CONF_UNSET_UINT
                && chown((const char *) to, ccf->user, ccf->group) == -1)
            {
                ngx_log_error(NGX_LOG_ERR, log, ngx_errno,
                              "chown(\"%s\") failed", to);
            }
        }

        (void) ngx_sprintf(from, "%V/%s%Z", root, ngx_de_name(&dir));
        (void) ngx_sprintf(p, "/%s%Z", ngx_de_name(&dir));

        if (ngx_rename_file(from, to) == NGX_FILE_ERROR) {
            ngx_log_error(NGX_LOG_ERR, log, ngx_errno,
                          ngx_rename_file_n " \"%s\" to \"%s\" failed",
                          from, to);
        }

        *p = '\0';
    }

    if (ngx_close_dir(&dir) == NGX_ERROR) {
        ngx_log_error(NGX_LOG_ALERT, log, ngx_errno,
                      ngx_close_dir_n " \"%V\" failed", root);
    }
}


void
ngx_livestream_reaper_sweep(ngx_str_t *root, ngx_log_t *log)
{
    ngx_thread_task_t        *task;
    ngx_livestream_reaper_t  *r;

    task = ngx_livestream_reaper_task(log);
    if (task == NULL) {
        return;
    }

    r = task->ctx;
    r->trash = 1;
    r->root = *root;

    ngx_livestream_reaper_post(task, log);
}


void
ngx_livestream_reaper_remove(ngx_str_t *root, u_char *id, u_char *broadcast,
    ngx_log_t *log)
{
    u_char                   *p;
    ngx_thread_task_t        *task;
    ngx_livestream_reaper_t  *r;

    task = ngx_livestream_reaper_task(log);
    if (task == NULL) {
        return;
    }

    r = task->ctx;

    p = ngx_sprintf(r->path, "%V/%*s", root, ngx_strlen(id), id);
    r->parent = p - r->path;
    (void) ngx_sprintf(p, "/%s%Z", broadcast);

    ngx_livestream_reaper_post(task, log);
}


/* a task lives beside all requests and pools: it frees itself */

static ngx_thread_task_t *
ngx_livestream_reaper_task(ngx_log_t *log)
{
    ngx_thread_task_t  *task;

    static ngx_str_t  name = ngx_string("default");

    if (ngx_livestream_reaper_pool == NULL) {
        ngx_livestream_reaper_pool = ngx_thread_pool_get(
                                         (ngx_cycle_t *) ngx_cycle, &name);
        if (ngx_livestream_reaper_pool == NULL) {
            return NULL;
        }
    }

    task = ngx_calloc(sizeof(ngx_thread_task_t)
                      + sizeof(ngx_livestream_reaper_t), log);
    if (task == NULL) {
        return NULL;
    }

    task->ctx = task + 1;
    task->handler = ngx_livestream_reaper_handler;
    task->event.handler = ngx_livestream_reaper_done;
    task->event.data = task;

    return task;
}


static void
ngx_livestream_reaper_post(ngx_thread_task_t *task, ngx_log_t *log)
{
    if (ngx_thread_task_post(ngx_livestream_reaper_pool, task) != NGX_OK) {
        ngx_log_error(NGX_LOG_ERR, log, 0,
                      "media files could not be removed, the next start of "
                      "nginx does");
        ngx_free(task);
    }
}


static void
ngx_livestream_reaper_done(ngx_event_t *ev)
{
    ngx_free(ev->data);
}


/* runs in a thread of nginx's pool */

static void
ngx_livestream_reaper_handler(void *data, ngx_log_t *log)
{
    ngx_livestream_reaper_t *r = data;

    u_char     path[NGX_MAX_PATH];
    ngx_dir_t  dir;

    if (!r->trash) {
        ngx_livestream_reaper_tree(r->path, log);

        /* fails while the stream has another broadcast */
        r->path[r->parent] = '\0';
        (void) ngx_delete_dir(r->path);

        return;
    }

    if (ngx_open_dir(&r->root, &dir) == NGX_ERROR) {
        return;
    }

    while (ngx_read_dir(&dir) == NGX_OK) {

        if (ngx_strncmp(ngx_de_name(&dir), NGX_LIVESTREAM_TRASH,
                        sizeof(NGX_LIVESTREAM_TRASH) - 1)
            == 0
            && ngx_de_namelen(&dir) == sizeof(NGX_LIVESTREAM_TRASH) - 1
                                       + NGX_LIVESTREAM_ID_LEN)
        {
            (void) ngx_sprintf(path, "%V/%s%Z", &r->root,
                               ngx_de_name(&dir));
            ngx_livestream_reaper_tree(path, log);
        }
    }

    (void) ngx_close_dir(&dir);
}


static void
ngx_livestream_reaper_tree(u_char *path, ngx_log_t *log)
{
    ngx_str_t       tree;
    ngx_tree_ctx_t  ctx;
    ngx_file_info_t fi;

    if (ngx_link_info(path, &fi) == NGX_FILE_ERROR) {
        return;
    }

    ngx_memzero(&ctx, sizeof(ngx_tree_ctx_t));

    ctx.file_handler = ngx_livestream_reaper_file;
    ctx.pre_tree_handler = ngx_livestream_reaper_entry;
    ctx.post_tree_handler = ngx_livestream_reaper_dir;
    ctx.spec_handler = ngx_livestream_reaper_file;
    ctx.log = log;

    tree.data = path;
    tree.len = ngx_strlen(path);

    (void) ngx_walk_tree(&ctx, &tree);

    (void) ngx_livestream_reaper_dir(&ctx, &tree);
}


static ngx_int_t
ngx_livestream_reaper_entry(ngx_tree_ctx_t *ctx, ngx_str_t *path)
{
    (void) ctx;
    (void) path;

    return NGX_OK;
}


static ngx_int_t
ngx_livestream_reaper_file(ngx_tree_ctx_t *ctx, ngx_str_t *path)
{
    if (ngx_delete_file(path->data) == NGX_FILE_ERROR
        && ngx_errno != NGX_ENOENT)
    {
        ngx_log_error(NGX_LOG_ERR, ctx->log, ngx_errno,
                      ngx_delete_file_n " \"%s\" failed", path->data);
    }

    return NGX_OK;
}


static ngx_int_t
ngx_livestream_reaper_dir(ngx_tree_ctx_t *ctx, ngx_str_t *path)
{
    if (ngx_delete_dir(path->data) == NGX_FILE_ERROR
        && ngx_errno != NGX_ENOENT)
    {
        ngx_log_error(NGX_LOG_ERR, ctx->log, ngx_errno,
                      ngx_delete_dir_n " \"%s\" failed", path->data);
    }

    return NGX_OK;
}

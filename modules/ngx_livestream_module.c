
/*
 * Copyright (C) nginx-livestream contributors
 *
 * The livestream{} block and the suite's life in the master and the workers.
 *
 *   configuration   livestream{} --> conf[ctx_index] of each module of type
 *                   NGX_LIVESTREAM_MODULE, ours first
 *   master          root folder, store migrations, leftovers of a crash
 *   worker start    mailbox, bus, store, streams; features add theirs after
 *   worker exit     streams are ended or handed on, threads are joined
 *
 * What a worker uses is set from its cycle when it starts and is kept in no
 * static that a failed reload in the master could spoil.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>
#include <sys/prctl.h>
#include <sys/random.h>

#include "ngx_livestream.h"
#include "ngx_livestream_stream.h"


static char *ngx_livestream_block(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
static void *ngx_livestream_core_create_conf(ngx_cycle_t *cycle);
static char *ngx_livestream_core_init_conf(ngx_cycle_t *cycle, void *conf);
static ngx_int_t ngx_livestream_init_module(ngx_cycle_t *cycle);
static ngx_int_t ngx_livestream_init_root(ngx_cycle_t *cycle,
    ngx_livestream_core_conf_t *lcf);
static ngx_int_t ngx_livestream_init_process(ngx_cycle_t *cycle);
static void ngx_livestream_exit_process(ngx_cycle_t *cycle);
static void ngx_livestream_mailbox_handler(ngx_event_t *ev);


ngx_uint_t  ngx_livestream_max_module;

static ngx_connection_t  *ngx_livestream_mailbox_connection;


static ngx_command_t  ngx_livestream_commands[] = {

    { ngx_string("livestream"),
      NGX_MAIN_CONF|NGX_CONF_BLOCK|NGX_CONF_NOARGS,
      ngx_livestream_block,
      0,
      0,
      NULL },

      ngx_null_command
};


static ngx_core_module_t  ngx_livestream_module_ctx = {
    ngx_string("livestream"),
    NULL,
    NULL
};


ngx_module_t  ngx_livestream_module = {
    NGX_MODULE_V1,
    &ngx_livestream_module_ctx,            /* module context */
    ngx_livestream_commands,               /* module directives */
    NGX_CORE_MODULE,                       /* module type */
    NULL,                                  /* init master */
    ngx_livestream_init_module,            /* init module */
    ngx_livestream_init_process,           /* init process */
    NULL,                                  /* init thread */
    NULL,                                  /* exit thread */
    ngx_livestream_exit_process,           /* exit process */
    NULL,                                  /* exit master */
    NGX_MODULE_V1_PADDING
};


static ngx_command_t  ngx_livestream_core_commands[] = {

    { ngx_string("zone"),
      NGX_LIVESTREAM_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_size_slot,
      0,
      offsetof(ngx_livestream_core_conf_t, zone),
      NULL },

    { ngx_string("root"),
      NGX_LIVESTREAM_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_str_slot,
      0,
      offsetof(ngx_livestream_core_conf_t, root),
      NULL },

    { ngx_string("store"),
      NGX_LIVESTREAM_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_str_slot,
      0,
      offsetof(ngx_livestream_core_conf_t, store),
      NULL },

    { ngx_string("publish_url"),
      NGX_LIVESTREAM_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_str_slot,
      0,
      offsetof(ngx_livestream_core_conf_t, publish_url),
      NULL },

    { ngx_string("max_concurrent_streams"),
      NGX_LIVESTREAM_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_num_slot,
      0,
      offsetof(ngx_livestream_core_conf_t, max_concurrent_streams),
      NULL },

    { ngx_string("reconnect_window"),
      NGX_LIVESTREAM_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_sec_slot,
      0,
      offsetof(ngx_livestream_core_conf_t, reconnect_window),
      NULL },

    { ngx_string("default_dvr_window"),
      NGX_LIVESTREAM_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_sec_slot,
      0,
      offsetof(ngx_livestream_core_conf_t, default_dvr_window),
      NULL },

      ngx_null_command
};


static ngx_livestream_module_t  ngx_livestream_core_module_ctx = {
    ngx_string("core"),
    ngx_livestream_core_create_conf,
    ngx_livestream_core_init_conf,
    { NULL, NULL, NULL, NULL, NULL }
};


ngx_module_t  ngx_livestream_core_module = {
    NGX_MODULE_V1,
    &ngx_livestream_core_module_ctx,       /* module context */
    ngx_livestream_core_commands,          /* module directives */
    NGX_LIVESTREAM_MODULE,                 /* module type */
    NULL,                                  /* init master */
    NULL,                                  /* init module */
    NULL,                                  /* init process */
    NULL,                                  /* init thread */
    NULL,                                  /* exit thread */
    NULL,                                  /* exit process */
    NULL,                                  /* exit master */
    NGX_MODULE_V1_PADDING
};


static char *
ngx_livestream_block(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    char                        *rv;
    void                       **ctx;
    ngx_uint_t                   i;
    ngx_conf_t                   pcf;
    ngx_livestream_module_t     *m;
    ngx_livestream_core_conf_t  *lcf;

    (void) cmd;

    if (*(void **) conf) {
        return "is duplicate";
    }

    ngx_livestream_max_module = ngx_count_modules(cf->cycle,
                                                  NGX_LIVESTREAM_MODULE);

    ctx = ngx_pcalloc(cf->pool, ngx_livestream_max_module * sizeof(void *));
    if (ctx == NULL) {
        return NGX_CONF_ERROR;
    }

    for (i = 0; cf->cycle->modules[i]; i++) {
        if (cf->cycle->modules[i]->type != NGX_LIVESTREAM_MODULE) {
            continue;
        }

        m = cf->cycle->modules[i]->ctx;

        if (m->create_conf) {
            ctx[cf->cycle->modules[i]->ctx_index] = m->create_conf(cf->cycle);

            if (ctx[cf->cycle->modules[i]->ctx_index] == NULL) {
                return NGX_CONF_ERROR;
            }
        }
    }

    *(void ***) conf = ctx;

    pcf = *cf;
    cf->ctx = &ctx;
    cf->module_type = NGX_LIVESTREAM_MODULE;
    cf->cmd_type = NGX_LIVESTREAM_CONF;

    rv = ngx_conf_parse(cf, NULL);

    *cf = pcf;

    if (rv != NGX_CONF_OK) {
        return rv;
    }

    for (i = 0; cf->cycle->modules[i]; i++) {
        if (cf->cycle->modules[i]->type != NGX_LIVESTREAM_MODULE) {
            continue;
        }

        m = cf->cycle->modules[i]->ctx;

        if (m->init_conf) {
            rv = m->init_conf(cf->cycle,
                              ctx[cf->cycle->modules[i]->ctx_index]);
            if (rv != NGX_CONF_OK) {
                return rv;
            }
        }
    }

    lcf = ctx[ngx_livestream_core_module.ctx_index];

    rv = ngx_livestream_store_conf(cf, &lcf->store);
    if (rv != NGX_CONF_OK) {
        return rv;
    }

    if (ngx_livestream_reaper_conf(cf) != NGX_OK) {
        return NGX_CONF_ERROR;
    }

    return ngx_livestream_registry_zone(cf, lcf->zone,
                                        lcf->max_concurrent_streams);
}


static void *
ngx_livestream_core_create_conf(ngx_cycle_t *cycle)
{
    ngx_livestream_core_conf_t  *lcf;

    lcf = ngx_pcalloc(cycle->pool, sizeof(ngx_livestream_core_conf_t));
    if (lcf == NULL) {
        return NULL;
    }

    lcf->zone = NGX_CONF_UNSET_SIZE;
    lcf->max_concurrent_streams = NGX_CONF_UNSET_UINT;
    lcf->reconnect_window = NGX_CONF_UNSET;
    lcf->default_dvr_window = NGX_CONF_UNSET;

    return lcf;
}


static char *
ngx_livestream_core_init_conf(ngx_cycle_t *cycle, void *conf)
{
    ngx_livestream_core_conf_t  *lcf = conf;

    size_t  len;

    ngx_conf_init_size_value(lcf->zone, 64 * 1024 * 1024);
    ngx_conf_init_uint_value(lcf->max_concurrent_streams, 100);
    ngx_conf_init_value(lcf->reconnect_window, 30);
    ngx_conf_init_value(lcf->default_dvr_window, 7200);

    if (lcf->max_concurrent_streams == 0) {
        ngx_log_error(NGX_LOG_EMERG, cycle->log, 0,
                      "\"max_concurrent_streams\" must not be 0");
        return NGX_CONF_ERROR;
    }

    if (lcf->default_dvr_window < 1 || lcf->default_dvr_window > 604800) {
        ngx_log_error(NGX_LOG_EMERG, cycle->log, 0,
                      "\"default_dvr_window\" must be between 1s and 7d");
        return NGX_CONF_ERROR;
    }

    if (lcf->root.len == 0) {
        ngx_str_set(&lcf->root, "/var/lib/livestream");
    }

    if (ngx_conf_full_name(cycle, &lcf->root, 0) != NGX_OK) {
        return NGX_CONF_ERROR;
    }

    while (lcf->root.len > 1 && lcf->root.data[lcf->root.len - 1] == '/') {
        lcf->root.data[--lcf->root.len] = '\0';
    }

    if (lcf->store.len == 0) {
        len = sizeof("sqlite:/livestream.db") - 1 + lcf->root.len;

        lcf->store.data = ngx_pnalloc(cycle->pool, len + 1);
        if (lcf->store.data == NULL) {
            return NGX_CONF_ERROR;
        }

        lcf->store.len = ngx_sprintf(lcf->store.data,
                                     "sqlite:%V/livestream.db%Z", &lcf->root)
                         - lcf->store.data - 1;
    }

    lcf->set = 1;

    return NGX_CONF_OK;
}


ngx_livestream_core_conf_t *
ngx_livestream_core_conf(ngx_cycle_t *cycle)
{
    if (cycle->conf_ctx == NULL
        || ngx_get_conf(cycle->conf_ctx, ngx_livestream_module) == NULL)
    {
        return NULL;
    }

    return ngx_livestream_get_conf(cycle, ngx_livestream_core_module);
}


static ngx_int_t
ngx_livestream_init_module(ngx_cycle_t *cycle)
{
    ngx_uint_t                   fresh;
    ngx_livestream_sh_t         *sh;
    ngx_livestream_core_conf_t  *lcf;

    lcf = ngx_livestream_core_conf(cycle);

    if (lcf == NULL || ngx_test_config) {
        return NGX_OK;
    }

    sh = ngx_livestream_registry_sh(cycle);

    (void) ngx_atomic_fetch_add(&sh->generation, 1);

    fresh = sh->fresh;
    sh->fresh = 0;

    /*
     * A new zone knows no stream, but for a binary upgrade what the old zone
     * knows is still alive: then nothing may be put right from outside.
     */

    if (getenv(NGINX_VAR)) {
        fresh = 0;
    }

    if (ngx_livestream_init_root(cycle, lcf) != NGX_OK) {
        return NGX_ERROR;
    }

    if (fresh) {
        ngx_livestream_reaper_collect(cycle, &lcf->root);
    }

    return ngx_livestream_store_migrate(cycle,
                              fresh ? ngx_livestream_stream_fresh() : NULL);
}


static ngx_int_t
ngx_livestream_init_root(ngx_cycle_t *cycle, ngx_livestream_core_conf_t *lcf)
{
    u_char            path[NGX_MAX_PATH];
    ngx_err_t         err;
    ngx_core_conf_t  *ccf;

    if (lcf->root.len > NGX_MAX_PATH - 128) {
        ngx_log_error(NGX_LOG_EMERG, cycle->log, 0,
                      "livestream \"root\" is too long");
        return NGX_ERROR;
    }

    (void) ngx_sprintf(path, "%V/%Z", &lcf->root);

    err = ngx_create_full_path(path, 0755);
    if (err) {
        ngx_log_error(NGX_LOG_EMERG, cycle->log, err,
                      "livestream root \"%V\" cannot be created", &lcf->root);
        return NGX_ERROR;
    }

    ccf = (ngx_core_conf_t *) ngx_get_conf(cycle->conf_ctx, ngx_core_module);

    if (geteuid() == 0 && ccf->user != (ngx_uid_t) NGX_CONF_UNSET_UINT
        && chown((const char *) lcf->root.data, ccf->user, ccf->group) == -1)
    {
        ngx_log_error(NGX_LOG_EMERG, cycle->log, ngx_errno,
                      "chown(\"%V\", %d) failed", &lcf->root, ccf->user);
        return NGX_ERROR;
    }

    return NGX_OK;
}


static ngx_int_t
ngx_livestream_init_process(ngx_cycle_t *cycle)
{
    int  fd;

    if (ngx_livestream_core_conf(cycle) == NULL
        || (ngx_process != NGX_PROCESS_WORKER
            && ngx_process != NGX_PROCESS_SINGLE))
    {
        return NGX_OK;
    }

    /*
     * Workers whose master was killed would hold the ports against its next
     * start, and their streams would stay "live" for ever.
     */

    if (ngx_process == NGX_PROCESS_WORKER) {

        if (prctl(PR_SET_PDEATHSIG, SIGTERM, 0, 0, 0) == -1) {
            ngx_log_error(NGX_LOG_WARN, cycle->log, ngx_errno,
                          "prctl(PR_SET_PDEATHSIG) failed, workers will not "
                          "stop with their master");
        }

        if (getppid() != ngx_parent) {
            ngx_terminate = 1;
        }
    }

    ngx_livestream_registry_init_process(cycle);
    ngx_livestream_pipeline_clear_stages();

    fd = ngx_livestream_mailbox_open();
    if (fd == -1) {
        ngx_log_error(NGX_LOG_EMERG, cycle->log, ngx_errno,
                      "livestream mailbox cannot be opened");
        return NGX_ERROR;
    }

    ngx_livestream_mailbox_connection = ngx_livestream_add_fd(cycle, fd,
                                            ngx_livestream_mailbox_handler);

    if (ngx_livestream_mailbox_connection == NULL
        || ngx_livestream_bus_init_process(cycle) != NGX_OK
        || ngx_livestream_store_init_process(cycle) != NGX_OK)
    {
        return NGX_ERROR;
    }

    return ngx_livestream_stream_init_process(cycle);
}


static void
ngx_livestream_exit_process(ngx_cycle_t *cycle)
{
    if (ngx_livestream_mailbox_connection == NULL) {
        return;
    }

    ngx_livestream_stream_exit_process(cycle);
    ngx_livestream_store_exit_process(cycle);
    ngx_livestream_bus_exit_process(cycle);

    ngx_livestream_del_fd(ngx_livestream_mailbox_connection);
    ngx_livestream_mailbox_close();
}


static void
ngx_livestream_mailbox_handler(ngx_event_t *ev)
{
    (void) ev;

    ngx_livestream_mailbox_run();
}


ngx_connection_t *
ngx_livestream_add_fd(ngx_cycle_t *cycle, ngx_fd_t fd,
    ngx_event_handler_pt handler)
{
    ngx_connection_t  *c;

    c = ngx_get_connection(fd, cycle->log);
    if (c == NULL) {
        return NULL;
    }

    c->pool = cycle->pool;
    c->log = cycle->log;

    c->read->log = cycle->log;
    c->write->log = cycle->log;
    c->read->handler = handler;

    /* not a client's: must not keep a worker that exits, nor be told of */
    c->read->channel = 1;
    c->write->channel = 1;

    if (ngx_add_event(c->read, NGX_READ_EVENT, 0) == NGX_ERROR) {
        ngx_free_connection(c);
        return NULL;
    }

    return c;
}


void
ngx_livestream_del_fd(ngx_connection_t *c)
{
    if (c->read->active) {
        (void) ngx_del_event(c->read, NGX_READ_EVENT, 0);
    }

    ngx_free_connection(c);
    c->fd = (ngx_socket_t) -1;
}


u_char *
ngx_livestream_rfc3339(u_char *p, int64_t us)
{
    time_t    sec;
    ngx_tm_t  tm;

    sec = us / 1000000;
    ngx_gmtime(sec, &tm);

    return ngx_sprintf(p, "%4d-%02d-%02dT%02d:%02d:%02d.%03dZ",
                       tm.ngx_tm_year, tm.ngx_tm_mon, tm.ngx_tm_mday,
                       tm.ngx_tm_hour, tm.ngx_tm_min, tm.ngx_tm_sec,
                       (int) (us % 1000000 / 1000));
}


time_t
ngx_livestream_parse_rfc3339(ngx_str_t *value)
{
    u_char      *p;
    ngx_int_t    n[6];
    ngx_uint_t   i;
    struct tm    tm;

    /* where the numbers of "2026-01-31T12:00:00" are */
    static const struct {
        u_char   pos;
        u_char   len;
    } parts[] = { {0, 4}, {5, 2}, {8, 2}, {11, 2}, {14, 2}, {17, 2} };

    p = value->data;

    if (value->len < sizeof("2026-01-31T12:00:00") - 1) {
        return 0;
    }

    for (i = 0; i < 6; i++) {
        n[i] = ngx_atoi(p + parts[i].pos, parts[i].len);
        if (n[i] == NGX_ERROR) {
            return 0;
        }
    }

    ngx_memzero(&tm, sizeof(struct tm));

    tm.tm_year = n[0] - 1900;
    tm.tm_mon = n[1] - 1;
    tm.tm_mday = n[2];
    tm.tm_hour = n[3];
    tm.tm_min = n[4];
    tm.tm_sec = n[5];

    return timegm(&tm);
}


int64_t
ngx_livestream_now(void)
{
    struct timeval  tv;

    ngx_gettimeofday(&tv);

    return (int64_t) tv.tv_sec * 1000000 + tv.tv_usec;
}


ngx_int_t
ngx_livestream_uuid(u_char *p)
{
    u_char      b[16];
    ngx_uint_t  i;

    if (getrandom(b, sizeof(b), 0) != (ssize_t) sizeof(b)) {
        return NGX_ERROR;
    }

    b[6] = (b[6] & 0x0f) | 0x40;
    b[8] = (b[8] & 0x3f) | 0x80;

    for (i = 0; i < sizeof(b); i++) {
        if (i == 4 || i == 6 || i == 8 || i == 10) {
            *p++ = '-';
        }

        p = ngx_hex_dump(p, &b[i], 1);
    }

    return NGX_OK;
}

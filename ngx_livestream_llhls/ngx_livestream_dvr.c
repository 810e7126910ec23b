
/*
 * Copyright (C) nginx-livestream contributors
 *
 * DVR in the livestream{} block, and in a worker: which broadcasts are
 * recorded, and where.
 *
 *   recording_storage      folder of recordings     storage
 *   (none)                 ROOT/recordings
 *   file:PATH              PATH
 *   SCHEME://...           ROOT/recordings          engine of the scheme
 *
 * Event loop; directives in the master.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>

#include "ngx_livestream_llhls_module.h"


static ngx_int_t ngx_livestream_dvr_conf_folder(ngx_cycle_t *cycle,
    ngx_livestream_dvr_conf_t *conf);
static ngx_int_t ngx_livestream_dvr_make_folder(ngx_cycle_t *cycle,
    ngx_livestream_dvr_conf_t *conf);


ngx_livestream_dvr_t  ngx_livestream_dvr;


char *
ngx_livestream_dvr_init_conf(ngx_cycle_t *cycle,
    ngx_livestream_dvr_conf_t *conf)
{
    if (conf->cleanup_interval == 0) {
        ngx_log_error(NGX_LOG_EMERG, cycle->log, 0,
                      "\"cleanup_interval\" must not be 0");
        return NGX_CONF_ERROR;
    }

    if (ngx_livestream_dvr_conf_folder(cycle, conf) != NGX_OK) {
        return NGX_CONF_ERROR;
    }

    return NGX_CONF_OK;
}


static ngx_int_t
ngx_livestream_dvr_conf_folder(ngx_cycle_t *cycle,
    ngx_livestream_dvr_conf_t *conf)
{
    ngx_str_t                   *folder, *uri;
    ngx_livestream_core_conf_t  *lcf;

    static ngx_str_t  file = ngx_string("file:");

    uri = &conf->storage;
    folder = &conf->recordings;

    if (uri->len > file.len
        && ngx_strncmp(uri->data, file.data, file.len) == 0)
    {
        folder->len = uri->len - file.len;
        folder->data = uri->data + file.len;

        uri->len = 0;

        if (ngx_conf_full_name(cycle, folder, 0) != NGX_OK) {
            return NGX_ERROR;
        }

        while (folder->len > 1 && folder->data[folder->len - 1] == '/') {
            folder->data[--folder->len] = '\0';
        }

        return NGX_OK;
    }

    lcf = ngx_livestream_get_conf(cycle, ngx_livestream_core_module);

    folder->data = ngx_pnalloc(cycle->pool,
                               lcf->root.len + sizeof("/recordings"));
    if (folder->data == NULL) {
        return NGX_ERROR;
    }

    folder->len = ngx_sprintf(folder->data, "%V/recordings%Z", &lcf->root)
                  - folder->data - 1;

    if (uri->len == 0) {
        return NGX_OK;
    }

    conf->engine = ngx_livestream_storage_engine(cycle, uri);

    if (conf->engine == NULL) {
        ngx_log_error(NGX_LOG_EMERG, cycle->log, 0,
                      "\"recording_storage\" %V: there is no module for it, "
                      "is its load_module line missing? Known are file: and "
                      "the engines that are loaded", uri);
        return NGX_ERROR;
    }

    return conf->engine->check(cycle, uri);
}


/* in the master, whose user may be another than that of the workers */

ngx_int_t
ngx_livestream_dvr_init_module(ngx_cycle_t *cycle)
{
    ngx_livestream_llhls_conf_t  *lcf;

    if (ngx_livestream_core_conf(cycle) == NULL || ngx_test_config) {
        return NGX_OK;
    }

    lcf = ngx_livestream_get_conf(cycle, ngx_livestream_llhls_module);

    return ngx_livestream_dvr_make_folder(cycle, &lcf->dvr);
}


static ngx_int_t
ngx_livestream_dvr_make_folder(ngx_cycle_t *cycle,
    ngx_livestream_dvr_conf_t *conf)
{
    u_char            path[NGX_MAX_PATH];
    ngx_err_t         err;
    ngx_str_t        *folder;
    ngx_file_info_t   fi;
    ngx_core_conf_t  *ccf;

    folder = &conf->recordings;

    if (folder->len > NGX_MAX_PATH - NGX_LIVESTREAM_DVR_KEY - 64) {
        ngx_log_error(NGX_LOG_EMERG, cycle->log, 0,
                      "the folder of recordings has too long a name");
        return NGX_ERROR;
    }

    if (ngx_file_info(folder->data, &fi) != NGX_FILE_ERROR) {
        return NGX_OK;
    }

    (void) ngx_sprintf(path, "%V/%Z", folder);

    err = ngx_create_full_path(path, 0755);
    if (err) {
        ngx_log_error(NGX_LOG_EMERG, cycle->log, err,
                      "the folder of recordings \"%V\" cannot be created",
                      folder);
        return NGX_ERROR;
    }

    ccf = (ngx_core_conf_t *) ngx_get_conf(cycle->conf_ctx, ngx_core_module);

    if (geteuid() == 0 && ccf->user != (ngx_uid_t) NGX_CONF_UNSET_UINT
        && chown((const char *) folder->data, ccf->user, ccf->group) == -1)
    {
        ngx_log_error(NGX_LOG_EMERG, cycle->log, ngx_errno,
                      "chown(\"%V\", %d) failed", folder, ccf->user);
        return NGX_ERROR;
    }

    return NGX_OK;
}


ngx_int_t
ngx_livestream_dvr_init_process(ngx_cycle_t *cycle)
{
    ngx_livestream_dvr_t         *dvr;
    ngx_livestream_llhls_conf_t  *lcf;

    dvr = &ngx_livestream_dvr;
    lcf = ngx_livestream_get_conf(cycle, ngx_livestream_llhls_module);

    ngx_memzero(dvr, sizeof(ngx_livestream_dvr_t));

    dvr->conf = &lcf->dvr;

    if (dvr->conf->engine) {
        dvr->storage = dvr->conf->engine->open(cycle, &dvr->conf->storage);

        if (dvr->storage == NULL) {
            return NGX_ERROR;
        }
    }

    if (ngx_livestream_dvr_recorder_init_process(cycle) != NGX_OK) {
        return NGX_ERROR;
    }

    return ngx_livestream_dvr_keeper_init_process(cycle);
}


void
ngx_livestream_dvr_exit_process(ngx_cycle_t *cycle)
{
    ngx_livestream_dvr_t  *dvr;

    (void) cycle;

    dvr = &ngx_livestream_dvr;

    if (dvr->conf == NULL) {
        return;
    }

    ngx_livestream_dvr_keeper_exit_process();
    ngx_livestream_dvr_recorder_exit_process();

    if (dvr->storage) {
        dvr->conf->engine->close(dvr->storage);
    }

    dvr->conf = NULL;
}


void
ngx_livestream_dvr_stream_open(ngx_livestream_stream_t *s)
{
    time_t                       window;
    ngx_livestream_sh_stream_t  *sh;
    ngx_livestream_core_conf_t  *lcf;

    sh = s->sh;

    sh->window = 0;
    sh->recorded = 0;

    if (!s->dvr_enabled && !ngx_livestream_dvr.conf->enable) {
        return;
    }

    if (ngx_livestream_sh->keeper.full) {
        ngx_log_error(NGX_LOG_ERR, s->log, 0,
                      "stream %V: is not recorded, less than "
                      "\"recording_min_free\" is left in \"%V\"",
                      &s->id, &ngx_livestream_dvr.conf->recordings);
        return;
    }

    lcf = ngx_livestream_core_conf((ngx_cycle_t *) ngx_cycle);

    window = s->dvr_enabled ? s->dvr_window : 0;

    if (window == 0) {
        window = lcf->default_dvr_window;
    }

    sh->window = (uint64_t) window * 1000000;
    sh->recorded = 1;
}


void
ngx_livestream_dvr_folder(ngx_livestream_stream_t *s)
{
    if (s->sh->recorded) {
        s->conf.recorded = 1;
        s->conf.root = (const char *) ngx_livestream_dvr.conf->recordings.data;
    }
}

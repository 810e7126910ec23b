
/*
 * Copyright (C) nginx-livestream contributors
 *
 * Storage's engine for S3 and what speaks like it: directives, environment and
 * the table of the engine's functions.
 *
 *   s3_access_key ...  AWS_ACCESS_KEY_ID ...  s3://bucket/prefix
 *                  \         |         /
 *   master: check()  ngx_livestream_s3_conf_t, in the cycle's pool
 *                            |
 *   worker: open()   ngx_livestream_s3_t, for all of its threads
 *
 * The environment is read in the master, as nginx's workers have none.
 *
 * Directives come before it.  Secrets are in no log line.
 */


#include <ngx_config.h>
#include <ngx_core.h>

#include "ngx_livestream.h"
#include "ngx_livestream_storage.h"
#include "ngx_livestream_s3.h"


#define NGX_LIVESTREAM_S3_KEY          128      /* characters of a key */
#define NGX_LIVESTREAM_S3_SESSION      2048     /* of a session's token */


typedef struct {
    ngx_str_t                 endpoint;
    ngx_str_t                 region;
    ngx_str_t                 access_key;
    ngx_str_t                 secret_key;
    ngx_uint_t                connections;
    ngx_livestream_s3_conf_t  s3;                /* what check() makes of it */
} ngx_livestream_s3_main_conf_t;


static void *ngx_livestream_s3_create_conf(ngx_cycle_t *cycle);
static ngx_int_t ngx_livestream_s3_check(ngx_cycle_t *cycle, ngx_str_t *uri);
static ngx_uint_t ngx_livestream_s3_connections(ngx_cycle_t *cycle);
static ngx_int_t ngx_livestream_s3_credentials(ngx_cycle_t *cycle,
    ngx_livestream_s3_main_conf_t *smcf);
static ngx_int_t ngx_livestream_s3_credential(ngx_cycle_t *cycle,
    const char **value, ngx_str_t *directive, const char *name,
    const char *variable);
static ngx_uint_t ngx_livestream_s3_valid(const char *value, size_t max);
static const char *ngx_livestream_s3_environment(ngx_cycle_t *cycle,
    const char *first, const char *second);
static void *ngx_livestream_s3_open(ngx_cycle_t *cycle, ngx_str_t *uri);
static void ngx_livestream_s3_close(void *data);


static ngx_command_t  ngx_livestream_s3_commands[] = {

    { ngx_string("s3_endpoint"),
      NGX_LIVESTREAM_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_str_slot,
      0,
      offsetof(ngx_livestream_s3_main_conf_t, endpoint),
      NULL },

    { ngx_string("s3_region"),
      NGX_LIVESTREAM_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_str_slot,
      0,
      offsetof(ngx_livestream_s3_main_conf_t, region),
      NULL },

    { ngx_string("s3_access_key"),
      NGX_LIVESTREAM_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_str_slot,
      0,
      offsetof(ngx_livestream_s3_main_conf_t, access_key),
      NULL },

    { ngx_string("s3_secret_key"),
      NGX_LIVESTREAM_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_str_slot,
      0,
      offsetof(ngx_livestream_s3_main_conf_t, secret_key),
      NULL },

    { ngx_string("s3_connections"),
      NGX_LIVESTREAM_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_num_slot,
      0,
      offsetof(ngx_livestream_s3_main_conf_t, connections),
      NULL },

      ngx_null_command
};


static ngx_livestream_module_t  ngx_livestream_s3_module_ctx = {
    ngx_string("s3"),
    ngx_livestream_s3_create_conf,
    NULL,
    { NULL, NULL, NULL, NULL, NULL }
};


ngx_module_t  ngx_livestream_s3_module = {
    NGX_MODULE_V1,
    &ngx_livestream_s3_module_ctx,         /* module context */
    ngx_livestream_s3_commands,            /* module directives */
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


static ngx_livestream_storage_engine_t  ngx_livestream_s3_engine = {
    ngx_string("s3"),
    ngx_livestream_s3_check,
    ngx_livestream_s3_connections,
    ngx_livestream_s3_open,
    ngx_livestream_s3_close,
    ngx_livestream_s3_put,
    ngx_livestream_s3_fetch,
    ngx_livestream_s3_remove,
    ngx_livestream_s3_url
};


ngx_module_t  ngx_livestream_s3_storage_module = {
    NGX_MODULE_V1,
    &ngx_livestream_s3_engine,             /* module context */
    NULL,                                  /* module directives */
    NGX_LIVESTREAM_STORAGE_MODULE,         /* module type */
    NULL,                                  /* init master */
    NULL,                                  /* init module */
    NULL,                                  /* init process */
    NULL,                                  /* init thread */
    NULL,                                  /* exit thread */
    NULL,                                  /* exit process */
    NULL,                                  /* exit master */
    NGX_MODULE_V1_PADDING
};


static void *
ngx_livestream_s3_create_conf(ngx_cycle_t *cycle)
{
    ngx_livestream_s3_main_conf_t  *smcf;

    smcf = ngx_pcalloc(cycle->pool, sizeof(ngx_livestream_s3_main_conf_t));
    if (smcf == NULL) {
        return NULL;
    }

    smcf->connections = NGX_CONF_UNSET_UINT;

    return smcf;
}


static ngx_int_t
ngx_livestream_s3_check(ngx_cycle_t *cycle, ngx_str_t *uri)
{
    const char                     *wrong, *endpoint;
    ngx_livestream_s3_conf_t       *conf;
    ngx_livestream_s3_main_conf_t  *smcf;

    smcf = ngx_livestream_get_conf(cycle, ngx_livestream_s3_module);
    conf = &smcf->s3;

    ngx_conf_init_uint_value(smcf->connections, 8);

    if (smcf->connections == 0 || smcf->connections > 256) {
        ngx_log_error(NGX_LOG_EMERG, cycle->log, 0,
                      "\"s3_connections\" must be 1 to 256");
        return NGX_ERROR;
    }

    conf->connections = smcf->connections;

    endpoint = smcf->endpoint.len ? (const char *) smcf->endpoint.data
               : ngx_livestream_s3_environment(cycle, "AWS_ENDPOINT_URL_S3",
                                               "AWS_ENDPOINT_URL");

    conf->region = smcf->region.len ? (const char *) smcf->region.data
                   : ngx_livestream_s3_environment(cycle, "AWS_REGION",
                                                   "AWS_DEFAULT_REGION");
    if (conf->region == NULL) {
        conf->region = "us-east-1";
    }

    wrong = ngx_livestream_s3_locate(&conf->place, (const char *) uri->data,
                                     endpoint, conf->region);
    if (wrong) {
        ngx_log_error(NGX_LOG_EMERG, cycle->log, 0,
                      "recording_storage \"%V\", endpoint \"%s\", region "
                      "\"%s\": %s", uri, endpoint ? endpoint : "",
                      conf->region, wrong);
        return NGX_ERROR;
    }

    return ngx_livestream_s3_credentials(cycle, smcf);
}


static ngx_uint_t
ngx_livestream_s3_connections(ngx_cycle_t *cycle)
{
    ngx_livestream_s3_main_conf_t  *smcf;

    smcf = ngx_livestream_get_conf(cycle, ngx_livestream_s3_module);

    return smcf->s3.connections;
}


static ngx_int_t
ngx_livestream_s3_credentials(ngx_cycle_t *cycle,
    ngx_livestream_s3_main_conf_t *smcf)
{
    if (ngx_livestream_s3_credential(cycle, &smcf->s3.access_key,
                                     &smcf->access_key, "s3_access_key",
                                     "AWS_ACCESS_KEY_ID")
        != NGX_OK
        || ngx_livestream_s3_credential(cycle, &smcf->s3.secret_key,
                                        &smcf->secret_key, "s3_secret_key",
                                        "AWS_SECRET_ACCESS_KEY")
           != NGX_OK)
    {
        return NGX_ERROR;
    }

    /* a session's token belongs to the keys that it came with */

    if (smcf->access_key.len || smcf->secret_key.len) {
        smcf->s3.token = NULL;
        return NGX_OK;
    }

    smcf->s3.token = ngx_livestream_s3_environment(cycle, "AWS_SESSION_TOKEN",
                                                   NULL);

    if (smcf->s3.token
        && !ngx_livestream_s3_valid(smcf->s3.token, NGX_LIVESTREAM_S3_SESSION))
    {
        ngx_log_error(NGX_LOG_EMERG, cycle->log, 0,
                      "AWS_SESSION_TOKEN is no valid token");
        return NGX_ERROR;
    }

    return NGX_OK;
}


static ngx_int_t
ngx_livestream_s3_credential(ngx_cycle_t *cycle, const char **value,
    ngx_str_t *directive, const char *name, const char *variable)
{
    *value = directive->len ? (const char *) directive->data
             : ngx_livestream_s3_environment(cycle, variable, NULL);

    if (*value == NULL) {
        ngx_log_error(NGX_LOG_EMERG, cycle->log, 0,
                      "\"%s\" is not set, nor is %s in the environment "
                      "of nginx's master process", name, variable);
        return NGX_ERROR;
    }

    if (!ngx_livestream_s3_valid(*value, NGX_LIVESTREAM_S3_KEY)) {
        ngx_log_error(NGX_LOG_EMERG, cycle->log, 0,
                      "\"%s\", or %s, is no valid key", name, variable);
        return NGX_ERROR;
    }

    return NGX_OK;
}


/* may be in a header */

static ngx_uint_t
ngx_livestream_s3_valid(const char *value, size_t max)
{
    const char  *p;

    for (p = value; *p; p++) {

        if (*p <= 0x20 || *p >= 0x7f) {
            return 0;
        }
    }

    return (size_t) (p - value) <= max;
}


/* a copy, as the environment of the process may go away */

static const char *
ngx_livestream_s3_environment(ngx_cycle_t *cycle, const char *first,
    const char *second)
{
    u_char      *copy;
    size_t       len;
    const char  *value;

    value = getenv(first);

    if ((value == NULL || *value == '\0') && second) {
        value = getenv(second);
    }

    if (value == NULL || *value == '\0') {
        return NULL;
    }

    len = ngx_strlen(value) + 1;

    copy = ngx_pnalloc(cycle->pool, len);
    if (copy == NULL) {
        return NULL;
    }

    ngx_memcpy(copy, value, len);

    return (const char *) copy;
}


static void *
ngx_livestream_s3_open(ngx_cycle_t *cycle, ngx_str_t *uri)
{
    ngx_livestream_s3_t            *s3;
    ngx_livestream_s3_main_conf_t  *smcf;

    smcf = ngx_livestream_get_conf(cycle, ngx_livestream_s3_module);

    s3 = ngx_livestream_s3_create(&smcf->s3);

    if (s3 == NULL) {
        ngx_log_error(NGX_LOG_EMERG, cycle->log, 0,
                      "\"%V\" cannot be opened: out of memory, or a libcurl "
                      "without AWS signatures", uri);
    }

    return s3;
}


static void
ngx_livestream_s3_close(void *data)
{
    ngx_livestream_s3_destroy(data);
}

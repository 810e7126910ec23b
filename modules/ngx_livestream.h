
/*
 * Copyright (C) nginx-livestream contributors
 *
 * All that a feature module may use of the core: the livestream{} block, its
 * module type, the hooks, and a stream as the worker that owns it sees it.
 *
 * Event loop only, unless a comment says otherwise.
 */


#ifndef _NGX_LIVESTREAM_H_INCLUDED_
#define _NGX_LIVESTREAM_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>

#include "ngx_livestream_codec.h"
#include "ngx_livestream_frame.h"
#include "ngx_livestream_registry.h"
#include "ngx_livestream_bus.h"
#include "ngx_livestream_pipeline.h"
#include "ngx_livestream_settings.h"
#include "ngx_livestream_store.h"
#include "ngx_livestream_jobs.h"
#include "ngx_livestream_storage.h"


#define NGX_LIVESTREAM_MODULE        0x4d53564c      /* "LVSM" */
#define NGX_LIVESTREAM_CONF          0x02000000


typedef struct ngx_livestream_stream_s  ngx_livestream_stream_t;


/*
 * Hooks, each may be NULL, called in load order.
 */
typedef struct {
    /* the pipeline is about to be made: settings may be read from s->settings
     * and s->conf changed; NGX_ERROR refuses the publisher */
    ngx_int_t              (*stream_open)(ngx_livestream_stream_t *s);
    /* publisher gone and pipeline drained; s may be continued */
    void                   (*stream_interrupted)(ngx_livestream_stream_t *s);
    /* once each PART-TARGET or 500 ms while interrupted and owned */
    void                   (*stream_absent)(ngx_livestream_stream_t *s);
    /* the stream is over: its playlists are to be ended; s goes after this */
    void                   (*stream_close)(ngx_livestream_stream_t *s);
    /* settings that are to be stored: NGX_DECLINED with the member and why,
     * static texts, where they cannot be met; who sees to enable_transcoding
     * sets it to -1 */
    ngx_int_t              (*settings)(ngx_livestream_settings_t *settings,
                                       const char **field, const char **why);
} ngx_livestream_hooks_t;


/* A module of type NGX_LIVESTREAM_MODULE has this as its ctx. */
typedef struct {
    ngx_str_t                name;
    void                  *(*create_conf)(ngx_cycle_t *cycle);
    char                  *(*init_conf)(ngx_cycle_t *cycle, void *conf);
    ngx_livestream_hooks_t   hooks;
} ngx_livestream_module_t;


/* the block's own directives */
typedef struct {
    size_t                   zone;
    ngx_str_t                root;              /* absolute, no slash at the
                                                   end, NUL-terminated */
    ngx_str_t                store;
    ngx_str_t                publish_url;
    ngx_uint_t               max_concurrent_streams;
    time_t                   reconnect_window;  /* s */
    time_t                   default_dvr_window;    /* s */
    ngx_uint_t               set;               /* livestream{} is there */
} ngx_livestream_core_conf_t;


/* A stream that this worker owns: one broadcast's publisher or, while it is
 * interrupted, its keeper. */
struct ngx_livestream_stream_s {
    ngx_queue_t              queue;             /* of this worker's streams */
    ngx_livestream_sh_stream_t  *sh;
    ngx_str_t                id;
    ngx_str_t                title;
    ngx_str_t                settings;          /* JSON, NUL-terminated */
    ngx_uint_t               dvr_enabled;       /* of its row */
    time_t                   dvr_window;        /* s, likewise; 0 unknown */
    ngx_pool_t              *pool;              /* lives as long as s */
    ngx_log_t               *log;
    ngx_livestream_pipeline_conf_t  conf;
    ngx_livestream_pipeline_t      *pipeline;   /* NULL while interrupted */
    void                    *session;           /* the publisher's, or NULL */
    ngx_event_t              timer;             /* while interrupted, or
                                                   closing */
    ngx_uint_t               closing;           /* ends when its last media
                                                   had time to be fetched */
    ngx_livestream_store_query_t  *query;       /* that it is interrupted */
    ngx_livestream_store_query_t  *announced;   /* that it is live */
    ngx_uint_t               live;              /* the store was told */
    ngx_uint_t               ending;            /* ASK_STOP, ASK_DELETE: end
                                                   instead of interrupt */
    const char              *status;            /* to leave in the store */
    void                   **ctx;               /* by module ctx_index */
};


extern ngx_module_t  ngx_livestream_module;             /* livestream{} */
extern ngx_module_t  ngx_livestream_core_module;        /* ctx_index 0 */
extern ngx_uint_t    ngx_livestream_max_module;


#define ngx_livestream_get_conf(cycle, module)                               \
    (((void **) ngx_get_conf((cycle)->conf_ctx, ngx_livestream_module))      \
        [(module).ctx_index])

/* NULL when the configuration has no livestream{} block */
ngx_livestream_core_conf_t *ngx_livestream_core_conf(ngx_cycle_t *cycle);


/*
 * For features that must act on a stream that another worker may own.
 * Returns NGX_OK when asked, NGX_DECLINED when no worker has it open.
 */
ngx_int_t ngx_livestream_ask(ngx_str_t *id, ngx_uint_t what);

/* told by the packager, in the event loop */
void ngx_livestream_stream_live(ngx_livestream_stream_t *s);
/* of a live stream: what can be chosen from is another, store that */
void ngx_livestream_stream_variants(ngx_livestream_stream_t *s);
void ngx_livestream_stream_failed(ngx_livestream_stream_t *s,
    const char *reason);


/* utilities shared by features */

/* "2026-01-31T12:00:00.000Z" into 24 bytes; us since 1970 */
u_char *ngx_livestream_rfc3339(u_char *p, int64_t us);
/* s since 1970, or 0 if it is no such text */
time_t ngx_livestream_parse_rfc3339(ngx_str_t *value);
int64_t ngx_livestream_now(void);                       /* us since 1970 */
/* A descriptor in the event loop, level-triggered as foreign libraries want
 * it.  del_fd leaves closing it to the caller. */
ngx_connection_t *ngx_livestream_add_fd(ngx_cycle_t *cycle, ngx_fd_t fd,
    ngx_event_handler_pt handler);
void ngx_livestream_del_fd(ngx_connection_t *c);
/* a UUID, version 4, 36 characters; NGX_ERROR if getrandom() fails */
ngx_int_t ngx_livestream_uuid(u_char *p);


#endif /* _NGX_LIVESTREAM_H_INCLUDED_ */

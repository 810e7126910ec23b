
/*
 * Copyright (C) nginx-livestream contributors
 *
 * What the files of ngx_http_livestream_llhls_module share.  Event loop.
 */


#ifndef _NGX_LIVESTREAM_LLHLS_HTTP_H_INCLUDED_
#define _NGX_LIVESTREAM_LLHLS_HTTP_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "ngx_livestream_registry.h"
#include "ngx_livestream_llhls_request.h"


typedef struct {
    ngx_flag_t                       enable;
    ngx_flag_t                       push;      /* Link: rel=preload */
} ngx_http_livestream_llhls_loc_conf_t;


/* a request; its target points into r->uri */
typedef struct {
    ngx_livestream_llhls_target_t    target;
    ngx_livestream_llhls_query_t     query;
    ngx_livestream_sh_stream_t      *stream;    /* NULL: unknown */
    ngx_atomic_uint_t                uid;
    ngx_uint_t                       track;
    ngx_uint_t                       held;      /* it had to wait */
    const char                      *why;       /* it is refused, static */
} ngx_http_livestream_llhls_ctx_t;


/* what is sent of a file */
typedef struct {
    ngx_str_t                        path;      /* NUL-terminated */
    ngx_str_t                        key;       /* of the object that it may
                                                   be in a storage, likewise;
                                                   empty: of none */
    ngx_str_t                        type;
    off_t                            offset;
    off_t                            size;      /* -1: to its end */
    unsigned                         grows:1;   /* it may be written to */
    unsigned                         replaced:1; /* there may be another */
    ngx_open_file_info_t             of;
} ngx_http_livestream_llhls_file_t;


extern ngx_module_t  ngx_http_livestream_llhls_module;


/*
 * Of ngx_livestream_llhls_http.c.
 */

/* The edge of ctx's track.  NGX_OK, or NGX_DECLINED while it has none. */
ngx_int_t ngx_http_livestream_llhls_edge(ngx_http_livestream_llhls_ctx_t *ctx,
    ngx_livestream_llhls_edge_t *edge);

/* seconds; of a stream that has not fixed its own: what it will be */
ngx_uint_t ngx_http_livestream_llhls_target_duration(
    ngx_http_livestream_llhls_ctx_t *ctx);


/*
 * Replies.  What returns ngx_int_t without more words returns what a content
 * handler does.
 */

ngx_int_t ngx_http_livestream_llhls_send_text(ngx_http_request_t *r,
    ngx_http_livestream_llhls_ctx_t *ctx);
ngx_int_t ngx_http_livestream_llhls_preflight(ngx_http_request_t *r);
ngx_int_t ngx_http_livestream_llhls_not_allowed(ngx_http_request_t *r);

/* a status with ctx->why, if there is one, as the body */
ngx_int_t ngx_http_livestream_llhls_error(ngx_http_request_t *r,
    ngx_http_livestream_llhls_ctx_t *ctx, ngx_uint_t status);

/* NGX_OK or NGX_ERROR: adds what all responses have; ok: it is no error */
ngx_int_t ngx_http_livestream_llhls_headers(ngx_http_request_t *r,
    ngx_http_livestream_llhls_ctx_t *ctx, ngx_uint_t ok);

/* NGX_OK or NGX_ERROR: what lets scripts of any origin read it */
ngx_int_t ngx_http_livestream_llhls_cors(ngx_http_request_t *r);

/* NULL: out of memory */
ngx_table_elt_t *ngx_http_livestream_llhls_header(ngx_http_request_t *r,
    ngx_str_t *key, ngx_str_t *value);

ngx_uint_t ngx_http_livestream_llhls_accepts_gzip(ngx_http_request_t *r);

/* NGX_OK or NGX_ERROR: of what there is plain and gzipped, which is sent? */
ngx_int_t ngx_http_livestream_llhls_encoded(ngx_http_request_t *r,
    ngx_uint_t gzip);


/*
 * Files.
 */

/* with `of' and size, if it was -1: NGX_OK; NGX_DECLINED: there is none; or a
 * status */
ngx_int_t ngx_http_livestream_llhls_file_open(ngx_http_request_t *r,
    ngx_http_livestream_llhls_file_t *file);

/* likewise: is there such a file? */
ngx_int_t ngx_http_livestream_llhls_file_test(ngx_http_request_t *r,
    ngx_str_t *path);

/* one that was opened */
ngx_int_t ngx_http_livestream_llhls_file_send(ngx_http_request_t *r,
    ngx_http_livestream_llhls_ctx_t *ctx,
    ngx_http_livestream_llhls_file_t *file);


/*
 * Media.
 */

/* NGX_OK: it can be sent; NGX_AGAIN: it is the hinted part; or a status */
ngx_int_t ngx_http_livestream_llhls_media_look(
    ngx_http_livestream_llhls_ctx_t *ctx);

ngx_int_t ngx_http_livestream_llhls_media_send(ngx_http_request_t *r,
    ngx_http_livestream_llhls_ctx_t *ctx);


/*
 * What was recorded: ctx->target.file.
 */

ngx_int_t ngx_http_livestream_dvr_send(ngx_http_request_t *r,
    ngx_http_livestream_llhls_ctx_t *ctx);

/* a file that is not here, by its key in the storage, NUL-terminated: from
 * there, or 404 where there is none */
ngx_int_t ngx_http_livestream_dvr_stored(ngx_http_request_t *r,
    ngx_http_livestream_llhls_ctx_t *ctx, ngx_str_t *key);

/* s, of a response to ctx */
ngx_uint_t ngx_http_livestream_dvr_max_age(
    ngx_http_livestream_llhls_ctx_t *ctx, ngx_uint_t ok);


#endif /* _NGX_LIVESTREAM_LLHLS_HTTP_H_INCLUDED_ */

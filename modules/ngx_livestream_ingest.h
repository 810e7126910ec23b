
/*
 * Copyright (C) nginx-livestream contributors
 *
 * What the two rooms of ingest share: a publisher's session.
 *
 * Event loop only.
 */


#ifndef _NGX_LIVESTREAM_INGEST_H_INCLUDED_
#define _NGX_LIVESTREAM_INGEST_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>
#include <ngx_rtmp.h>
#include <ngx_rtmp_cmd_module.h>

#include "ngx_livestream.h"
#include "ngx_livestream_stream.h"
#include "ngx_livestream_timeline.h"


typedef enum {
    NGX_LIVESTREAM_INGEST_IDLE = 0,
    NGX_LIVESTREAM_INGEST_LOOKUP,               /* the store is asked */
    NGX_LIVESTREAM_INGEST_CLAIM,                /* a former one is awaited */
    NGX_LIVESTREAM_INGEST_OPEN,                 /* frames are taken */
    NGX_LIVESTREAM_INGEST_CLOSED
} ngx_livestream_ingest_state_e;


typedef struct {
    ngx_rtmp_session_t             *session;
    ngx_livestream_ingest_state_e   state;
    ngx_rtmp_publish_t              publish;
    ngx_livestream_row_t            row;
    ngx_livestream_store_query_t   *query;
    ngx_event_t                     timer;
    ngx_msec_t                      deadline;

    ngx_livestream_stream_t        *stream;
    ngx_livestream_timeline_t       timeline;
    ngx_livestream_codec_t         *codecs[2];  /* by ngx_livestream_media_e */
    ngx_uint_t                      uncarried[2];
    ngx_uint_t                      has_video;  /* 0, 1, 2 unknown */
    ngx_uint_t                      has_audio;
    ngx_uint_t                      frame_rate; /* per 1000 s */
    ngx_uint_t                      audio_bitrate;  /* bit/s */
    ngx_uint_t                      dropping;
} ngx_livestream_ingest_ctx_t;


extern ngx_module_t  ngx_livestream_ingest_module;


/* handlers of messages, in ngx_livestream_ingest_media.c */
ngx_int_t ngx_livestream_ingest_meta(ngx_rtmp_session_t *s,
    ngx_rtmp_header_t *h, ngx_chain_t *in);
ngx_int_t ngx_livestream_ingest_av(ngx_rtmp_session_t *s,
    ngx_rtmp_header_t *h, ngx_chain_t *in);


#endif /* _NGX_LIVESTREAM_INGEST_H_INCLUDED_ */

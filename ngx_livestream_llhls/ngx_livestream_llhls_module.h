
/*
 * Copyright (C) nginx-livestream contributors
 *
 * LL-HLS in the livestream{} block: its directives and its hooks.
 */


#ifndef _NGX_LIVESTREAM_LLHLS_MODULE_H_INCLUDED_
#define _NGX_LIVESTREAM_LLHLS_MODULE_H_INCLUDED_


#include "ngx_livestream.h"
#include "ngx_livestream_dvr.h"


typedef struct {
    ngx_msec_t               segment_duration;
    ngx_msec_t               part_duration;
    ngx_uint_t               playlist_length;   /* segments */
    ngx_flag_t               low_latency;       /* off: of no stream */
    ngx_livestream_dvr_conf_t  dvr;
} ngx_livestream_llhls_conf_t;


extern ngx_module_t  ngx_livestream_llhls_module;


#endif /* _NGX_LIVESTREAM_LLHLS_MODULE_H_INCLUDED_ */

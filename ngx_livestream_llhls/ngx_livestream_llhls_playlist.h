
/*
 * Copyright (C) nginx-livestream contributors
 *
 * The text of playlists.  get_size says how many bytes are enough, write
 * returns the end of what it wrote.
 *
 * They call nothing of nginx and only look at what they are given, so that
 * they are unit-tested alone.
 */


#ifndef _NGX_LIVESTREAM_LLHLS_PLAYLIST_H_INCLUDED_
#define _NGX_LIVESTREAM_LLHLS_PLAYLIST_H_INCLUDED_


#include "ngx_livestream_registry.h"


/* the live edge of another track */
typedef struct {
    const u_char            *track;             /* its name */
    uint64_t                 msn;               /* LAST-MSN */
    uint32_t                 part;              /* LAST-PART */
} ngx_livestream_llhls_report_t;


typedef struct {
    ngx_livestream_view_t   *view;
    uint32_t                 target_duration;   /* s */
    uint32_t                 part_target;       /* us; 0: no low latency */
    ngx_uint_t               skipped;           /* segments; 0: no delta */
    ngx_uint_t               vod;               /* ended, never was live */
    ngx_uint_t               nreports;
    ngx_livestream_llhls_report_t  reports[NGX_LIVESTREAM_MAX_TRACKS];
} ngx_livestream_llhls_media_t;


/* one track, for the multivariant playlist */
typedef struct {
    const u_char            *name;
    const char              *codecs;
    ngx_livestream_media_e   media;
    uint32_t                 width;
    uint32_t                 height;
    uint32_t                 frame_rate;        /* per 1000 s; 0 unknown */
    uint32_t                 transfer;          /* 16 PQ, 18 HLG */
    uint32_t                 channels;
    uint64_t                 bandwidth;         /* bit/s */
    uint64_t                 average;
} ngx_livestream_llhls_rendition_t;


/* segments that a delta update of the view leaves out */
ngx_uint_t ngx_livestream_llhls_skippable(const ngx_livestream_view_t *view,
    uint32_t target_duration);

size_t ngx_livestream_llhls_media_get_size(
    const ngx_livestream_llhls_media_t *m);
u_char *ngx_livestream_llhls_media_write(u_char *p,
    const ngx_livestream_llhls_media_t *m);

size_t ngx_livestream_llhls_multivariant_get_size(
    const ngx_livestream_llhls_rendition_t *r, ngx_uint_t n);
/* sorts r: video before audio, higher before lower */
u_char *ngx_livestream_llhls_multivariant_write(u_char *p,
    ngx_livestream_llhls_rendition_t *r, ngx_uint_t n);


#endif /* _NGX_LIVESTREAM_LLHLS_PLAYLIST_H_INCLUDED_ */

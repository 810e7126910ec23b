
/*
 * Copyright (C) nginx-livestream contributors
 *
 * Tone: HDR into BT.709, by a table.
 */


#ifndef _NGX_LIVESTREAM_TRANSCODE_TONE_H_INCLUDED_
#define _NGX_LIVESTREAM_TRANSCODE_TONE_H_INCLUDED_


#include "ngx_livestream_transcode_look.h"


typedef struct ngx_livestream_tone_s  ngx_livestream_tone_t;


/* For the colours of the look, which are mended.  NULL: out of memory, or
 * colours that zscale does not know. */
ngx_livestream_tone_t *ngx_livestream_tone_create(
    const ngx_livestream_look_t *look);
void ngx_livestream_tone_destroy(ngx_livestream_tone_t *t);

/* A picture of AV_PIX_FMT_YUV420P10 and limited range becomes one of
 * AV_PIX_FMT_YUV420P in its place; its tags stay.  0 or an errno. */
int ngx_livestream_tone_map(const ngx_livestream_tone_t *t, AVFrame *f);


#endif /* _NGX_LIVESTREAM_TRANSCODE_TONE_H_INCLUDED_ */

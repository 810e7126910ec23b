
/*
 * Copyright (C) nginx-livestream contributors
 *
 * Look: what a decoded picture says of itself, and whether that is plain.
 * Pure.
 */


#ifndef _NGX_LIVESTREAM_TRANSCODE_LOOK_H_INCLUDED_
#define _NGX_LIVESTREAM_TRANSCODE_LOOK_H_INCLUDED_


#include "ngx_livestream_transcode.h"


/* bits of how a picture is turned: after its axes are swapped, if they are */
#define NGX_LIVESTREAM_LOOK_LEFT  0x01          /* x runs to the left */
#define NGX_LIVESTREAM_LOOK_UP    0x02
#define NGX_LIVESTREAM_LOOK_SWAP  0x04


/* Pictures of equal looks may go through one graph.  Of int alone, so that
 * memcmp() compares. */
typedef struct {
    int                      width;
    int                      height;
    int                      format;
    int                      sar_num;
    int                      sar_den;
    int                      interlaced;
    int                      turn;
    int                      range;
    int                      space;
    int                      primaries;
    int                      transfer;

    /* what follows from these */
    int                      device;            /* it lies on one */
    int                      hdr;
    int                      wide;              /* BT.2020, HDR or not */
    int                      rgb;
} ngx_livestream_look_t;


/* Makes tags that contradict the format agree with it, and gives untagged
 * pictures the tags that players assume. */
void ngx_livestream_look_mend(AVFrame *f);
void ngx_livestream_look_get(const AVFrame *f, ngx_livestream_look_t *look);
/* A picture on a device is: it is none for filters in memory. */
int ngx_livestream_look_plain(const ngx_livestream_look_t *look);


#endif /* _NGX_LIVESTREAM_TRANSCODE_LOOK_H_INCLUDED_ */


/*
 * Copyright (C) nginx-livestream contributors
 *
 * Pictures of a recording:
 *
 *   DIR/poster.jpg           one picture, at most 1280 x 720
 *   DIR/storyboard-N.jpg     sheets of 10 x 10 small pictures, one for each
 *                            ten seconds
 *   DIR/storyboard.vtt       which of them is when: WebVTT, #xywh=
 *
 * Made of key frames of the lowest rung (the poster: of the highest), each
 * decoded alone.  A time without a picture (a gap) shows the one before it.
 * Written by renames, the WebVTT last; may be done again at any time.
 *
 * Pure C, libavformat, libavcodec, libswscale; a job's thread.  0 or an errno
 * with *reason, a static text.
 */


#ifndef _NGX_LIVESTREAM_DVR_STORYBOARD_H_INCLUDED_
#define _NGX_LIVESTREAM_DVR_STORYBOARD_H_INCLUDED_


#include "ngx_livestream_dvr_index.h"
#include "ngx_livestream_dvr_source.h"


/* *pictures: how many there are; 0 where there is no video, which is no
 * error */
int ngx_livestream_dvr_storyboard(const ngx_livestream_dvr_index_t *index,
    const ngx_livestream_dvr_source_t *source, uint32_t *pictures,
    const char **reason);


#endif /* _NGX_LIVESTREAM_DVR_STORYBOARD_H_INCLUDED_ */

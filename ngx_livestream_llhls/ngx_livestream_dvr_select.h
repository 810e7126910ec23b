
/*
 * Copyright (C) nginx-livestream contributors
 *
 * Which of a recording's tracks a job is to take.
 *
 * Pure C; any thread.
 */


#ifndef _NGX_LIVESTREAM_DVR_SELECT_H_INCLUDED_
#define _NGX_LIVESTREAM_DVR_SELECT_H_INCLUDED_


#include "ngx_livestream_dvr_index.h"


/* a segment with bytes */
#define ngx_livestream_dvr_has_media(s)                                      \
    ((s)->size && !((s)->flags & NGX_LIVESTREAM_DVR_GAP))


typedef struct {
    int64_t                  media;         /* us */
    uint64_t                 bytes;
} ngx_livestream_dvr_amount_t;


/* of the first n segments of a track, gaps left out */
void ngx_livestream_dvr_amount(const ngx_livestream_dvr_track_t *t, size_t n,
    ngx_livestream_dvr_amount_t *amount);

/* the track of video of that name; 0, or ENOENT, or ENODATA if it has nothing
 * but gaps, with *reason */
int ngx_livestream_dvr_select_named(const ngx_livestream_dvr_index_t *index,
    const char *name, const ngx_livestream_dvr_track_t **track,
    const char **reason);

/*
 * The best is the largest picture, and of equals the highest bitrate; the
 * least is the other end.  Of those only that have nine tenths of the media
 * that the fullest one has: a rung that was taken back for an hour is not the
 * best.  NULL: there are none with media.
 */
const ngx_livestream_dvr_track_t *ngx_livestream_dvr_select_best(
    const ngx_livestream_dvr_index_t *index, ngx_livestream_media_e media);
const ngx_livestream_dvr_track_t *ngx_livestream_dvr_select_least(
    const ngx_livestream_dvr_index_t *index, ngx_livestream_media_e media);


#endif /* _NGX_LIVESTREAM_DVR_SELECT_H_INCLUDED_ */

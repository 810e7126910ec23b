
/*
 * Copyright (C) nginx-livestream contributors
 *
 * Finishing a recording: from its index to what viewers are given.
 *
 *   DIR/index, DIR/TRACK/segment-N.m4s
 *       --> DIR/TRACK/playlist.m3u8, playlist.m3u8.gz     EXT-X-ENDLIST
 *       --> DIR/master.m3u8, master.m3u8.gz               the last: ready
 *
 * Each file is put into its place by a rename.  May be done again at any time,
 * with the same result; segments are not looked at.  A track of gaps alone is
 * left out.
 *
 * No nginx state; a job's thread.  0 or an errno with *reason, a static text.
 */


#ifndef _NGX_LIVESTREAM_DVR_FINISH_H_INCLUDED_
#define _NGX_LIVESTREAM_DVR_FINISH_H_INCLUDED_


#include "ngx_livestream_dvr_index.h"


typedef struct {
    int64_t                  start;         /* us since 1970, its first PDT */
    int64_t                  end;           /* us since 1970 */
    int64_t                  duration;      /* us, of the longest track,
                                               gaps included */
    int64_t                  media;         /* us, without the gaps */
    uint64_t                 size;          /* bytes of all segments, and of
                                               the initialization segments
                                               that are on the disk */
    uint32_t                 segments;      /* of the longest track */
} ngx_livestream_dvr_summary_t;


/* The index is read and recovered; nothing is written if there is no media at
 * all: ENODATA. */
int ngx_livestream_dvr_finish(const char *dir,
    const ngx_livestream_dvr_index_t *index,
    ngx_livestream_dvr_summary_t *summary, const char **reason);


#endif /* _NGX_LIVESTREAM_DVR_FINISH_H_INCLUDED_ */

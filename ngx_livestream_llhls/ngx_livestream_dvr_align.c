
/*
 * Copyright (C) nginx-livestream contributors
 *
 * All tracks of a recording get the same media sequence numbers, as those of
 * a live stream have them.
 *
 *   msn            3      4      5      6      7
 *   720p           |------|------|      |------|
 *   360p                         |------|---|            begins late
 *   audio          |------|------|------|                ends early
 *
 *   timeline       |------|------|------|------|         what any has
 *
 *   720p           |------|------| GAP  |------|
 *   360p           | GAP  | GAP  |------|---|GAP|
 *   audio          |------|------|------| GAP  |
 *
 * A gap begins where its track is, and ends where the timeline says, or where
 * its track goes on.  It has the init of the media before it, so that players
 * need none for a gap alone.  Gaps of all tracks at the end, when a publisher
 * was waited for and did not come back, are no part of the recording.
 *
 * Pure C; any thread.
 */


#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "ngx_livestream_dvr_index.h"


#define NGX_LIVESTREAM_DVR_LEAST  20000                         /* us */
#define NGX_LIVESTREAM_DVR_LAST   INT64_C(253402300799000000)   /* us */


static void ngx_livestream_dvr_timeline(ngx_livestream_dvr_index_t *index,
    ngx_livestream_dvr_segment_t *line, uint64_t first);
static void ngx_livestream_dvr_bridge(ngx_livestream_dvr_segment_t *s,
    ngx_livestream_dvr_segment_t *end, int64_t most);
static int ngx_livestream_dvr_align_track(ngx_livestream_dvr_track_t *t,
    const ngx_livestream_dvr_segment_t *line, uint64_t first, size_t n,
    int64_t most);
static void ngx_livestream_dvr_gap(ngx_livestream_dvr_segment_t *gap,
    const ngx_livestream_dvr_segment_t *line, int64_t start, int64_t end,
    int64_t most);
static int64_t ngx_livestream_dvr_clock(int64_t pdt, int64_t us);
static void ngx_livestream_dvr_trim(ngx_livestream_dvr_index_t *index);


#define ngx_livestream_dvr_end(s)  ((s)->start + (s)->duration)


int
ngx_livestream_dvr_index_align(ngx_livestream_dvr_index_t *index,
    const char **reason)
{
    int                            rc;
    size_t                         n;
    int64_t                        most;
    unsigned                       i;
    uint64_t                       first, last;
    ngx_livestream_dvr_track_t    *t;
    ngx_livestream_dvr_segment_t  *line;

    first = UINT64_MAX;
    last = 0;

    for (i = 0; i < index->ntracks; i++) {
        t = &index->tracks[i];

        if (t->nsegments == 0) {
            continue;
        }

        if (t->segments[0].msn < first) {
            first = t->segments[0].msn;
        }

        if (t->segments[t->nsegments - 1].msn > last) {
            last = t->segments[t->nsegments - 1].msn;
        }
    }

    if (first == UINT64_MAX) {
        return 0;
    }

    *reason = "no memory for the segments of a recording";

    n = last - first + 1;
    line = calloc(n, sizeof(ngx_livestream_dvr_segment_t));

    if (line == NULL) {
        return ENOMEM;
    }

    /* what is still rounded down to it */
    most = (int64_t) index->target_duration * 1000000 + 499999;

    ngx_livestream_dvr_timeline(index, line, first);
    ngx_livestream_dvr_bridge(line, line + n, most);

    rc = 0;

    for (i = 0; rc == 0 && i < index->ntracks; i++) {
        rc = ngx_livestream_dvr_align_track(&index->tracks[i], line, first, n,
                                            most);
    }

    free(line);

    if (rc == 0) {
        ngx_livestream_dvr_trim(index);
    }

    return rc;
}


/* media before gaps, and the discontinuities of all */

static void
ngx_livestream_dvr_timeline(ngx_livestream_dvr_index_t *index,
    ngx_livestream_dvr_segment_t *line, uint64_t first)
{
    size_t                               i;
    unsigned                             k;
    uint32_t                             flags;
    ngx_livestream_dvr_segment_t        *at;
    const ngx_livestream_dvr_track_t    *t;
    const ngx_livestream_dvr_segment_t  *s;

    for (k = 0; k < index->ntracks; k++) {
        t = &index->tracks[k];

        for (i = 0; i < t->nsegments; i++) {
            s = &t->segments[i];
            at = &line[s->msn - first];

            flags = (at->flags | s->flags) & NGX_LIVESTREAM_DVR_DISCONTINUITY;

            if (at->duration == 0
                || (at->flags & ~s->flags & NGX_LIVESTREAM_DVR_GAP))
            {
                *at = *s;
            }

            at->flags &= ~NGX_LIVESTREAM_DVR_DISCONTINUITY;
            at->flags |= flags;
        }
    }
}


/* what no track has is divided evenly; the first and the last are there */

static void
ngx_livestream_dvr_bridge(ngx_livestream_dvr_segment_t *s,
    ngx_livestream_dvr_segment_t *end, int64_t most)
{
    int64_t                        left;
    ngx_livestream_dvr_segment_t  *next;

    next = s;

    for (s++; s < end; s++) {

        if (s->duration) {
            continue;
        }

        if (next < s) {
            next = s;

            while (next->duration == 0) {
                next++;
            }
        }

        left = (next->start - ngx_livestream_dvr_end(s - 1)) / (next - s);

        s->msn = s[-1].msn + 1;
        s->flags = NGX_LIVESTREAM_DVR_GAP;

        ngx_livestream_dvr_gap(s, &s[-1], ngx_livestream_dvr_end(s - 1),
                               ngx_livestream_dvr_end(s - 1) + left, most);
    }
}


static int
ngx_livestream_dvr_align_track(ngx_livestream_dvr_track_t *t,
    const ngx_livestream_dvr_segment_t *line, uint64_t first, size_t n,
    int64_t most)
{
    size_t                               i, k;
    int64_t                              at, end;
    uint32_t                             init;
    ngx_livestream_dvr_segment_t        *all, *s;
    const ngx_livestream_dvr_segment_t  *own;

    all = calloc(n, sizeof(ngx_livestream_dvr_segment_t));

    if (all == NULL) {
        return ENOMEM;
    }

    own = t->segments;
    at = line[0].start;
    init = 0;

    for (k = 0; k < t->nsegments; k++) {
        if (!(own[k].flags & NGX_LIVESTREAM_DVR_GAP)) {
            init = own[k].init;
            break;
        }
    }

    k = 0;

    for (i = 0; i < n; i++) {
        s = &all[i];

        if (k < t->nsegments && own[k].msn == first + i) {
            *s = own[k++];

            if (s->flags & NGX_LIVESTREAM_DVR_GAP) {
                s->init = init;
            }

            init = s->init;

        } else {
            end = ngx_livestream_dvr_end(&line[i]);

            if (k < t->nsegments && own[k].msn == first + i + 1) {
                end = own[k].start;
            }

            s->msn = first + i;
            s->init = init;
            s->flags = NGX_LIVESTREAM_DVR_GAP;

            ngx_livestream_dvr_gap(s, &line[i], at, end, most);
        }

        s->flags |= line[i].flags & NGX_LIVESTREAM_DVR_DISCONTINUITY;

        at = ngx_livestream_dvr_end(s);
    }

    free(t->segments);

    t->segments = all;
    t->nsegments = n;
    t->nalloc = n;

    return 0;
}


/* a segment takes some time, and not too much */

static void
ngx_livestream_dvr_gap(ngx_livestream_dvr_segment_t *gap,
    const ngx_livestream_dvr_segment_t *line, int64_t start, int64_t end,
    int64_t most)
{
    int64_t  duration;

    duration = end - start;

    if (duration > most) {
        duration = most;
    }

    if (duration < NGX_LIVESTREAM_DVR_LEAST) {
        duration = NGX_LIVESTREAM_DVR_LEAST;
    }

    gap->start = start;
    gap->pdt = ngx_livestream_dvr_clock(line->pdt, start - line->start);
    gap->duration = duration;
}


/* a time that a playlist can tell */

static int64_t
ngx_livestream_dvr_clock(int64_t pdt, int64_t us)
{
    pdt += us;

    if (pdt < 0) {
        return 0;
    }

    return pdt > NGX_LIVESTREAM_DVR_LAST ? NGX_LIVESTREAM_DVR_LAST : pdt;
}


static void
ngx_livestream_dvr_trim(ngx_livestream_dvr_index_t *index)
{
    size_t                             n, last;
    unsigned                           i;
    const ngx_livestream_dvr_track_t  *t;

    last = 0;

    for (i = 0; i < index->ntracks; i++) {
        t = &index->tracks[i];

        n = t->nsegments;

        while (n > last && (t->segments[n - 1].flags & NGX_LIVESTREAM_DVR_GAP))
        {
            n--;
        }

        last = (n > last) ? n : last;
    }

    /* of nothing but gaps there is no end either */

    for (i = 0; last && i < index->ntracks; i++) {
        index->tracks[i].nsegments = last;
    }
}

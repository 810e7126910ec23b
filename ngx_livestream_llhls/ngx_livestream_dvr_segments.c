
/*
 * Copyright (C) nginx-livestream contributors
 *
 * The segments of an index, in memory.
 *
 *   as lines come    0 0 1 3 2 2 3 4 4       open, segment, open ...
 *   sorted           0   1 2   3 4           one of each
 *
 * Segments are told by lines that may have been damaged, and a media sequence
 * number that is far off would be a million gaps: what they come to has its
 * bounds.
 *
 * Pure C; any thread.
 */


#include <errno.h>
#include <stdlib.h>

#include "ngx_livestream_dvr_index.h"


/* more than that is not believed */
#define NGX_LIVESTREAM_DVR_SEGMENTS   1000000       /* of a track */
#define NGX_LIVESTREAM_DVR_HOLE       1000          /* segments */


static void ngx_livestream_dvr_sort(ngx_livestream_dvr_track_t *t);
static void ngx_livestream_dvr_replace(ngx_livestream_dvr_segment_t *s,
    const ngx_livestream_dvr_segment_t *later);
static int ngx_livestream_dvr_compare(const void *one, const void *two);
static int ngx_livestream_dvr_compare_msn(const void *one, const void *two);
static int ngx_livestream_dvr_bound(ngx_livestream_dvr_index_t *index,
    const char **reason);
static void ngx_livestream_dvr_within(ngx_livestream_dvr_track_t *t,
    uint64_t first, uint64_t last);


int
ngx_livestream_dvr_index_add(ngx_livestream_dvr_track_t *t,
    const ngx_livestream_dvr_segment_t *s)
{
    size_t                         n;
    ngx_livestream_dvr_segment_t  *segments;

    /* mostly, a segment that follows its "open" */

    n = t->nsegments;

    if (n && t->segments[n - 1].msn == s->msn) {
        ngx_livestream_dvr_replace(&t->segments[n - 1], s);
        return 0;
    }

    if (n == NGX_LIVESTREAM_DVR_SEGMENTS) {
        return EFBIG;
    }

    if (n == t->nalloc) {

        n = t->nalloc ? t->nalloc * 2 : 64;

        segments = realloc(t->segments,
                           n * sizeof(ngx_livestream_dvr_segment_t));
        if (segments == NULL) {
            return ENOMEM;
        }

        t->segments = segments;
        t->nalloc = n;
    }

    t->segments[t->nsegments++] = *s;

    return 0;
}


int
ngx_livestream_dvr_index_sort(ngx_livestream_dvr_index_t *index,
    const char **reason)
{
    unsigned  i;

    for (i = 0; i < index->ntracks; i++) {
        ngx_livestream_dvr_sort(&index->tracks[i]);
    }

    return ngx_livestream_dvr_bound(index, reason);
}


static void
ngx_livestream_dvr_sort(ngx_livestream_dvr_track_t *t)
{
    size_t                         i, n;
    ngx_livestream_dvr_segment_t  *s;

    s = t->segments;

    for (i = 1; i < t->nsegments; i++) {
        if (s[i].msn < s[i - 1].msn) {
            qsort(s, t->nsegments, sizeof(ngx_livestream_dvr_segment_t),
                  ngx_livestream_dvr_compare);
            break;
        }
    }

    n = 0;

    for (i = 0; i < t->nsegments; i++) {

        if (n == 0 || s[n - 1].msn != s[i].msn) {
            s[n++] = s[i];

        } else {
            ngx_livestream_dvr_replace(&s[n - 1], &s[i]);
        }
    }

    t->nsegments = n;
}


/* the later one counts, but a segment that was whole is not open again */

static void
ngx_livestream_dvr_replace(ngx_livestream_dvr_segment_t *s,
    const ngx_livestream_dvr_segment_t *later)
{
    if (!(later->flags & NGX_LIVESTREAM_DVR_OPEN)
        || (s->flags & NGX_LIVESTREAM_DVR_OPEN))
    {
        *s = *later;
    }
}


static int
ngx_livestream_dvr_compare(const void *one, const void *two)
{
    const ngx_livestream_dvr_segment_t  *a, *b;

    a = one;
    b = two;

    if (a->msn != b->msn) {
        return (a->msn > b->msn) - (a->msn < b->msn);
    }

    return (a->line > b->line) - (a->line < b->line);
}


static int
ngx_livestream_dvr_compare_msn(const void *one, const void *two)
{
    const uint64_t  *a, *b;

    a = one;
    b = two;

    return (*a > *b) - (*a < *b);
}


/*
 * Numbers that a stream has gone through have others beside them: of runs that
 * are far apart the largest, over all tracks, is the recording.
 */

static int
ngx_livestream_dvr_bound(ngx_livestream_dvr_index_t *index,
    const char **reason)
{
    size_t                             i, n, run, most;
    unsigned                           k;
    uint64_t                          *msn, first, last;
    const ngx_livestream_dvr_track_t  *t;

    n = 0;

    for (k = 0; k < index->ntracks; k++) {
        n += index->tracks[k].nsegments;
    }

    if (n == 0) {
        return 0;
    }

    msn = malloc(n * sizeof(uint64_t));

    if (msn == NULL) {
        *reason = "no memory for the index of a recording";
        return ENOMEM;
    }

    n = 0;

    for (k = 0; k < index->ntracks; k++) {
        t = &index->tracks[k];

        for (i = 0; i < t->nsegments; i++) {
            msn[n++] = t->segments[i].msn;
        }
    }

    qsort(msn, n, sizeof(uint64_t), ngx_livestream_dvr_compare_msn);

    first = msn[0];
    last = msn[0];
    most = 0;
    run = 0;

    for (i = 0; i < n; i++) {

        run++;

        if (i + 1 < n && msn[i + 1] - msn[i] <= NGX_LIVESTREAM_DVR_HOLE) {
            continue;
        }

        if (run > most) {
            most = run;
            first = msn[i + 1 - run];
            last = msn[i];
        }

        run = 0;
    }

    free(msn);

    if (last - first >= NGX_LIVESTREAM_DVR_SEGMENTS) {
        *reason = "a recording has too many segments";
        return EFBIG;
    }

    for (k = 0; k < index->ntracks; k++) {
        ngx_livestream_dvr_within(&index->tracks[k], first, last);
    }

    return 0;
}


static void
ngx_livestream_dvr_within(ngx_livestream_dvr_track_t *t, uint64_t first,
    uint64_t last)
{
    size_t  i, n;

    n = 0;

    for (i = 0; i < t->nsegments; i++) {
        if (t->segments[i].msn >= first && t->segments[i].msn <= last) {
            t->segments[n++] = t->segments[i];
        }
    }

    t->nsegments = n;
}


void
ngx_livestream_dvr_index_free(ngx_livestream_dvr_index_t *index)
{
    unsigned  i;

    for (i = 0; i < index->ntracks; i++) {
        free(index->tracks[i].segments);
        index->tracks[i].segments = NULL;
        index->tracks[i].nsegments = 0;
        index->tracks[i].nalloc = 0;
    }

    index->ntracks = 0;
}

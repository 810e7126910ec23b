
/*
 * Copyright (C) nginx-livestream contributors
 *
 * Brings the index of a recording and its files together, after an end that
 * nobody could write down.
 *
 *   index          files                        becomes
 *
 *   segment 4      segment-4.m4s  ==========    as it is
 *   segment 5                                   as it is: in storage
 *   segment 6      segment-6.m4s  =========.=   cut to its size
 *   open 7         segment-7.m4s  ===|===|=.    segment 7, two parts
 *                  segment-8.m4s  ===|.         segment 8, one part
 *   open 9                                      nothing
 *
 * Of a segment without any line its place on the timeline is told by its
 * samples, and by the segment before it, if it goes on there.
 *
 * Pure C; a job's thread.
 */


#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ngx_livestream_dvr_boxes.h"
#include "ngx_livestream_dvr_index.h"
#include "ngx_livestream_frame.h"


#define NGX_LIVESTREAM_DVR_NAME    64
#define NGX_LIVESTREAM_DVR_EARLY   1000000          /* us */
#define NGX_LIVESTREAM_DVR_ROUND   1000             /* us */


typedef struct {
    const char                  *dir;
    ngx_livestream_dvr_index_t  *index;
    const char                  *reason;
    uint32_t                     newest[NGX_LIVESTREAM_DVR_TRACKS]; /* init */

    /* the track that is at work */
    ngx_livestream_dvr_track_t  *track;
    int                          fd;        /* its folder */
    uint32_t                     init;      /* whose timescale is known */
    uint32_t                     timescale; /* 0: there is no such init */
} ngx_livestream_dvr_recovery_t;


static char *ngx_livestream_dvr_path(ngx_livestream_dvr_recovery_t *r,
    const char *name);
static int ngx_livestream_dvr_scan(ngx_livestream_dvr_recovery_t *r,
    unsigned track);
static int ngx_livestream_dvr_found(ngx_livestream_dvr_track_t *t, size_t n,
    uint64_t msn);
static int ngx_livestream_dvr_recover_track(ngx_livestream_dvr_recovery_t *r,
    unsigned track);
static int ngx_livestream_dvr_check(ngx_livestream_dvr_recovery_t *r,
    size_t n, unsigned *away);
static int ngx_livestream_dvr_examine(ngx_livestream_dvr_recovery_t *r,
    size_t n, const char *name, const struct stat *st);
static int ngx_livestream_dvr_place(ngx_livestream_dvr_recovery_t *r, size_t n,
    const struct stat *st, const ngx_livestream_dvr_parts_t *parts);
static int ngx_livestream_dvr_believed(ngx_livestream_dvr_recovery_t *r,
    const ngx_livestream_dvr_segment_t *s,
    const ngx_livestream_dvr_parts_t *parts);
static void ngx_livestream_dvr_place_start(ngx_livestream_dvr_recovery_t *r,
    size_t n, const struct stat *st, int64_t start, int64_t end);
static const ngx_livestream_dvr_segment_t *ngx_livestream_dvr_peer(
    ngx_livestream_dvr_recovery_t *r, uint64_t msn);
static int ngx_livestream_dvr_initless(ngx_livestream_dvr_recovery_t *r,
    size_t from, size_t to);
static int ngx_livestream_dvr_ticks(ngx_livestream_dvr_recovery_t *r,
    uint32_t init);
static void ngx_livestream_dvr_drop_open(ngx_livestream_dvr_track_t *t);


#define ngx_livestream_dvr_end(s)  ((s)->start + (s)->duration)

/* no segment is longer, as playlists round it: us */
#define ngx_livestream_dvr_most(index)                                       \
    ((int64_t) (index)->target_duration * 1000000 + 499999)


int
ngx_livestream_dvr_index_recover(const char *dir,
    ngx_livestream_dvr_index_t *index, const char **reason)
{
    int                            rc;
    unsigned                       i;
    ngx_livestream_dvr_recovery_t  r;

    memset(&r, 0, sizeof(ngx_livestream_dvr_recovery_t));

    r.dir = dir;
    r.index = index;
    r.reason = "no memory for the index of a recording";

    rc = 0;

    if (!index->recovered) {

        for (i = 0; rc == 0 && i < index->ntracks; i++) {
            rc = ngx_livestream_dvr_scan(&r, i);
        }

        if (rc == 0) {
            rc = ngx_livestream_dvr_index_sort(index, &r.reason);
        }

        for (i = 0; rc == 0 && i < index->ntracks; i++) {
            rc = ngx_livestream_dvr_recover_track(&r, i);
        }

        if (rc == 0) {
            rc = ngx_livestream_dvr_index_append(dir, index, &r.reason);
        }
    }

    if (rc == 0) {

        for (i = 0; i < index->ntracks; i++) {
            ngx_livestream_dvr_drop_open(&index->tracks[i]);
        }

        rc = ngx_livestream_dvr_index_align(index, &r.reason);
    }

    *reason = r.reason;

    return rc;
}


static char *
ngx_livestream_dvr_path(ngx_livestream_dvr_recovery_t *r, const char *name)
{
    char    *path;
    size_t   size;

    size = strlen(r->dir) + strlen(name) + sizeof("/");
    path = malloc(size);

    if (path == NULL) {
        r->reason = "no memory for the index of a recording";
        return NULL;
    }

    (void) snprintf(path, size, "%s/%s", r->dir, name);

    return path;
}


/* adds what has a file and no line, and finds the newest init */

static int
ngx_livestream_dvr_scan(ngx_livestream_dvr_recovery_t *r, unsigned track)
{
    int                          rc;
    DIR                         *dir;
    char                        *path;
    size_t                       n;
    uint64_t                     value;
    struct dirent               *de;
    ngx_livestream_dvr_track_t  *t;

    t = &r->index->tracks[track];

    path = ngx_livestream_dvr_path(r, t->name);
    if (path == NULL) {
        return ENOMEM;
    }

    dir = opendir(path);
    rc = errno;

    free(path);

    if (dir == NULL) {
        r->reason = "a folder of a recording cannot be read";
        return rc == ENOENT ? 0 : rc;
    }

    rc = 0;
    n = t->nsegments;

    while (rc == 0 && (de = readdir(dir)) != NULL) {

        if (ngx_livestream_dvr_file_number(de->d_name, "segment-", ".m4s",
                                           &value) == 0)
        {
            rc = ngx_livestream_dvr_found(t, n, value);

        } else if (ngx_livestream_dvr_file_number(de->d_name, "init-", ".mp4",
                                                  &value) == 0
                   && value <= UINT32_MAX && value > r->newest[track])
        {
            r->newest[track] = value;
        }
    }

    (void) closedir(dir);

    if (rc) {
        r->reason = "a recording has too many segments, or no memory";
    }

    return rc;
}


/* the first n are sorted */

static int
ngx_livestream_dvr_found(ngx_livestream_dvr_track_t *t, size_t n,
    uint64_t msn)
{
    size_t                        low, high, i;
    ngx_livestream_dvr_segment_t  s;

    low = 0;
    high = n;

    while (low < high) {
        i = low + (high - low) / 2;

        if (t->segments[i].msn == msn) {
            return 0;
        }

        if (t->segments[i].msn < msn) {
            low = i + 1;

        } else {
            high = i;
        }
    }

    memset(&s, 0, sizeof(ngx_livestream_dvr_segment_t));

    s.msn = msn;
    s.flags = NGX_LIVESTREAM_DVR_OPEN;

    return ngx_livestream_dvr_index_add(t, &s);
}


int
ngx_livestream_dvr_file_number(const char *name, const char *prefix,
    const char *suffix, uint64_t *n)
{
    const char  *p;

    if (strncmp(name, prefix, strlen(prefix)) != 0) {
        return -1;
    }

    name += strlen(prefix);
    *n = 0;

    for (p = name; *p >= '0' && *p <= '9'; p++) {

        /* fifteen digits do not overflow, and no stream gets that far */

        if (p - name == 15) {
            return -1;
        }

        *n = *n * 10 + (*p - '0');
    }

    if (p == name || (*name == '0' && p - name > 1)) {
        return -1;
    }

    return strcmp(p, suffix) == 0 ? 0 : -1;
}


static int
ngx_livestream_dvr_recover_track(ngx_livestream_dvr_recovery_t *r,
    unsigned track)
{
    int                            rc;
    char                          *path;
    size_t                         i, from;
    unsigned                       away;
    ngx_livestream_dvr_track_t    *t;
    ngx_livestream_dvr_segment_t  *s;

    t = &r->index->tracks[track];

    r->track = t;
    r->init = 0;
    r->timescale = 0;

    path = ngx_livestream_dvr_path(r, t->name);
    if (path == NULL) {
        return ENOMEM;
    }

    r->fd = open(path, O_RDONLY|O_DIRECTORY|O_CLOEXEC);
    rc = (r->fd == -1) ? errno : 0;

    free(path);

    if (rc) {
        r->reason = "a folder of a recording cannot be opened";
        return rc == ENOENT ? 0 : rc;
    }

    /* runs of segments that have the same init */

    from = 0;
    away = 0;

    for (i = 0; rc == 0 && i < t->nsegments; i++) {

        s = &t->segments[i];

        if (s->line == 0) {
            s->init = (i + 1 < t->nsegments && s[1].line)
                      ? s[1].init : r->newest[track];
        }

        if (s->init != t->segments[from].init) {
            rc = away ? 0 : ngx_livestream_dvr_initless(r, from, i);
            from = i;
            away = 0;
        }

        if (rc == 0) {
            rc = ngx_livestream_dvr_check(r, i, &away);
        }
    }

    if (rc == 0 && !away) {
        rc = ngx_livestream_dvr_initless(r, from, i);
    }

    (void) close(r->fd);

    return rc;
}


/* one segment; *away: its file is elsewhere */

static int
ngx_livestream_dvr_check(ngx_livestream_dvr_recovery_t *r, size_t n,
    unsigned *away)
{
    char                           name[NGX_LIVESTREAM_DVR_NAME];
    struct stat                    st;
    ngx_livestream_dvr_segment_t  *s;

    s = &r->track->segments[n];

    if (s->flags & NGX_LIVESTREAM_DVR_GAP) {
        return 0;
    }

    (void) snprintf(name, sizeof(name), "segment-%" PRIu64 ".m4s", s->msn);

    if (fstatat(r->fd, name, &st, AT_SYMLINK_NOFOLLOW) == -1) {

        if (errno != ENOENT) {
            r->reason = "a segment of a recording cannot be looked at";
            return errno;
        }

        if (!(s->flags & NGX_LIVESTREAM_DVR_OPEN)) {
            *away = 1;
        }

        return 0;
    }

    if (!S_ISREG(st.st_mode)
        || (!(s->flags & NGX_LIVESTREAM_DVR_OPEN)
            && (uint64_t) st.st_size == s->size))
    {
        return 0;
    }

    return ngx_livestream_dvr_examine(r, n, name, &st);
}


static int
ngx_livestream_dvr_examine(ngx_livestream_dvr_recovery_t *r, size_t n,
    const char *name, const struct stat *st)
{
    int                            fd, rc, told;
    ngx_livestream_dvr_parts_t     parts;
    ngx_livestream_dvr_segment_t  *s;

    s = &r->track->segments[n];

    rc = ngx_livestream_dvr_ticks(r, s->init);
    if (rc) {
        return rc;
    }

    r->reason = "a segment of a recording cannot be read or cut";

    fd = openat(r->fd, name, O_RDWR|O_CLOEXEC|O_NOFOLLOW);

    if (fd == -1) {
        return errno;
    }

    told = 0;

    if (!(s->flags & NGX_LIVESTREAM_DVR_OPEN)
        && (uint64_t) st->st_size > s->size)
    {
        /* unless the line is wrong, a part ends there */

        rc = ngx_livestream_dvr_parts(fd, s->size, &parts);
        told = (parts.size == s->size
                && ngx_livestream_dvr_believed(r, s, &parts));
    }

    if (rc || told) {

        /* as its line says */

    } else if (r->timescale == 0) {

        /* nobody can play it */

        parts.size = st->st_size;
        (void) ngx_livestream_dvr_place(r, n, st, NULL);

    } else {
        rc = ngx_livestream_dvr_parts(fd, st->st_size, &parts);

        if (rc == 0 && ngx_livestream_dvr_place(r, n, st, &parts) != 0) {
            parts.size = 0;
        }
    }

    if (rc == 0 && parts.size == 0) {

        if (unlinkat(r->fd, name, 0) == -1) {
            rc = errno;
        }

    } else if (rc == 0 && parts.size < (uint64_t) st->st_size) {

        if (ftruncate(fd, parts.size) == -1) {
            rc = errno;
        }
    }

    (void) close(fd);

    return rc;
}


/* 0, or -1 if nothing is left of it: one that was closed is a gap then */

static int
ngx_livestream_dvr_place(ngx_livestream_dvr_recovery_t *r, size_t n,
    const struct stat *st, const ngx_livestream_dvr_parts_t *parts)
{
    int64_t                        start, end;
    ngx_livestream_dvr_segment_t  *s;

    s = &r->track->segments[n];

    if (parts == NULL || parts->nparts == 0
        || parts->end / r->timescale > NGX_LIVESTREAM_DVR_FAR)
    {
        goto nothing;
    }

    start = ngx_livestream_ticks_to_us(parts->start, r->timescale);
    end = ngx_livestream_ticks_to_us(parts->end, r->timescale);
    if (!ngx_livestream_dvr_believed(r, s, parts)) {
        ngx_livestream_dvr_place_start(r, n, st, start, end);
    }

    /* what follows tells of gaps that it ended with */

    if (n + 1 < r->track->nsegments && s[1].line && s[1].msn == s->msn + 1
        && s[1].start >= end - NGX_LIVESTREAM_DVR_ROUND
        && s[1].start <= s->start + ngx_livestream_dvr_most(r->index))
    {
        end = s[1].start;
    }

    if (end <= s->start || end - s->start > UINT32_MAX) {
        goto nothing;
    }

    s->duration = end - s->start;
    s->size = parts->size;
    s->flags &= ~NGX_LIVESTREAM_DVR_OPEN;
    s->line = 0;

    return 0;

nothing:

    if (!(s->flags & NGX_LIVESTREAM_DVR_OPEN)) {
        s->flags |= NGX_LIVESTREAM_DVR_GAP;
        s->size = 0;
        s->line = 0;
    }

    return -1;
}


/* its line is there, and its samples are where that says; a segment may begin
 * with gaps */

static int
ngx_livestream_dvr_believed(ngx_livestream_dvr_recovery_t *r,
    const ngx_livestream_dvr_segment_t *s,
    const ngx_livestream_dvr_parts_t *parts)
{
    int64_t  start;

    if (s->line == 0) {
        return 0;
    }

    if (r->timescale == 0
        || parts->start / r->timescale > NGX_LIVESTREAM_DVR_FAR)
    {
        return 1;
    }

    start = ngx_livestream_ticks_to_us(parts->start, r->timescale);

    return start >= s->start - NGX_LIVESTREAM_DVR_EARLY
           && start <= s->start + ngx_livestream_dvr_most(r->index);
}


/* its line is not there, or is wrong */

static void
ngx_livestream_dvr_place_start(ngx_livestream_dvr_recovery_t *r, size_t n,
    const struct stat *st, int64_t start, int64_t end)
{
    int64_t                              before;
    ngx_livestream_dvr_segment_t        *s;
    const ngx_livestream_dvr_segment_t  *known;

    s = &r->track->segments[n];
    known = (n && !(s[-1].flags & NGX_LIVESTREAM_DVR_OPEN)) ? &s[-1] : NULL;

    s->start = start;

    if (known && known->msn + 1 == s->msn) {
        before = ngx_livestream_dvr_end(known);

        if (start >= before - NGX_LIVESTREAM_DVR_ROUND
            && start <= before
                        + (int64_t) r->index->target_duration * 1000000)
        {
            s->start = before;
        }
    }

    if (known == NULL) {
        known = ngx_livestream_dvr_peer(r, s->msn);
    }

    if (known) {
        s->pdt = known->pdt + (s->start - known->start);

    } else {
        s->pdt = (int64_t) st->st_mtime * 1000000 - (end - start);
    }

    if (s->pdt < 0) {
        s->pdt = 0;
    }
}


/* the same segment of another track */

static const ngx_livestream_dvr_segment_t *
ngx_livestream_dvr_peer(ngx_livestream_dvr_recovery_t *r, uint64_t msn)
{
    size_t                               i;
    unsigned                             k;
    const ngx_livestream_dvr_track_t    *t;
    const ngx_livestream_dvr_segment_t  *s;

    for (k = 0; k < r->index->ntracks; k++) {
        t = &r->index->tracks[k];

        for (i = t->nsegments; i > 0; i--) {
            s = &t->segments[i - 1];

            if (s->msn < msn) {
                break;
            }

            if (s->msn == msn && t != r->track
                && (s->line || !(s->flags & NGX_LIVESTREAM_DVR_OPEN)))
            {
                return s;
            }
        }
    }

    return NULL;
}


/* nobody can play these */

static int
ngx_livestream_dvr_initless(ngx_livestream_dvr_recovery_t *r, size_t from,
    size_t to)
{
    int                            rc;
    size_t                         i;
    ngx_livestream_dvr_segment_t  *s;

    if (from == to) {
        return 0;
    }

    rc = ngx_livestream_dvr_ticks(r, r->track->segments[from].init);

    if (rc || r->timescale) {
        return rc;
    }

    for (i = from; i < to; i++) {
        s = &r->track->segments[i];

        if (!(s->flags & (NGX_LIVESTREAM_DVR_GAP|NGX_LIVESTREAM_DVR_OPEN))) {
            s->flags |= NGX_LIVESTREAM_DVR_GAP;
            s->size = 0;
            s->line = 0;
        }
    }

    return 0;
}


static int
ngx_livestream_dvr_ticks(ngx_livestream_dvr_recovery_t *r, uint32_t init)
{
    int   fd, rc;
    char  name[NGX_LIVESTREAM_DVR_NAME];

    if (init == r->init) {
        return 0;
    }

    (void) snprintf(name, sizeof(name), "init-%" PRIu32 ".mp4", init);

    r->init = init;
    r->timescale = 0;

    fd = openat(r->fd, name, O_RDONLY|O_CLOEXEC|O_NOFOLLOW);

    if (fd == -1) {
        rc = errno;

    } else {
        r->timescale = ngx_livestream_dvr_timescale(fd);
        rc = r->timescale ? 0 : errno;

        (void) close(fd);
    }

    if (rc && rc != ENOENT && rc != EINVAL) {
        r->reason = "an initialization segment cannot be read";
        return rc;
    }

    return 0;
}


/* nothing is left of them */

static void
ngx_livestream_dvr_drop_open(ngx_livestream_dvr_track_t *t)
{
    size_t  i, n;

    n = 0;

    for (i = 0; i < t->nsegments; i++) {
        if (!(t->segments[i].flags & NGX_LIVESTREAM_DVR_OPEN)) {
            t->segments[n++] = t->segments[i];
        }
    }

    t->nsegments = n;
}


/*
 * Copyright (C) nginx-livestream contributors
 *
 * Pictures of a recording.
 *
 *   time        0       10       20       30  ...  s, as players show it
 *   segments    |   0   |   1    |  gap   |   3
 *   pictures    a       b        b        d
 *
 *   storyboard-0.jpg     storyboard-1.jpg
 *     a b b d . . . . . .     . . .
 *     . . . . . . . . . .
 *
 * A sheet is filled and written before the next one is begun, so that a day
 * takes as much memory as ten minutes.  All pictures have the size of the
 * first one; one of another aspect has black around it.
 *
 * Pure C; a job's thread.
 */


#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <libavutil/frame.h>

#include "ngx_livestream_dvr_select.h"
#include "ngx_livestream_dvr_stills.h"
#include "ngx_livestream_dvr_storyboard.h"


/* us between pictures */
#define NGX_LIVESTREAM_DVR_EVERY       10000000

#define NGX_LIVESTREAM_DVR_COLUMNS     10
#define NGX_LIVESTREAM_DVR_ROWS        10
#define NGX_LIVESTREAM_DVR_SHEET                                             \
    (NGX_LIVESTREAM_DVR_COLUMNS * NGX_LIVESTREAM_DVR_ROWS)

/* a week; what is longer has no more, and the last one up to its end */
#define NGX_LIVESTREAM_DVR_PICTURES    60480

#define NGX_LIVESTREAM_DVR_WIDTH       160
#define NGX_LIVESTREAM_DVR_HEIGHT      90
#define NGX_LIVESTREAM_DVR_QUALITY     5

/* the poster, and how many segments it is chosen from */
#define NGX_LIVESTREAM_DVR_P_WIDTH     1280
#define NGX_LIVESTREAM_DVR_P_HEIGHT    720
#define NGX_LIVESTREAM_DVR_P_QUALITY   4
#define NGX_LIVESTREAM_DVR_P_SEGMENTS  8

/* luma of 255: darker than that on an average, or less of a deviation, and a
 * picture shows nothing */
#define NGX_LIVESTREAM_DVR_DARK        20
#define NGX_LIVESTREAM_DVR_PLAIN       8


typedef struct {
    const ngx_livestream_dvr_source_t  *source;
    const ngx_livestream_dvr_track_t   *track;
    const char             **reason;
    ngx_livestream_dvr_stills_t  stills;

    size_t                   segment;       /* where the next picture is */
    int64_t                  begin;         /* us, of that, as players show */
    int64_t                  duration;      /* us, of all */
    uint32_t                 n;             /* pictures, of: */
    int                      width;
    int                      height;

    AVFrame                 *last;          /* picture */
    AVFrame                 *next;
    AVFrame                 *sheet;
    FILE                    *vtt;
    char                     path[PATH_MAX];
    char                     temp[PATH_MAX];
} ngx_livestream_dvr_board_t;


static int ngx_livestream_dvr_poster(const ngx_livestream_dvr_index_t *index,
    const ngx_livestream_dvr_source_t *source, const char **reason);
static int ngx_livestream_dvr_poster_choose(ngx_livestream_dvr_stills_t *s,
    AVFrame *pic, const char **reason);
static int ngx_livestream_dvr_poster_take(ngx_livestream_dvr_stills_t *s,
    size_t segment, AVFrame *pic, const char **reason);
static int ngx_livestream_dvr_poster_shows(const AVFrame *pic);
static int ngx_livestream_dvr_board(ngx_livestream_dvr_board_t *b);
static int ngx_livestream_dvr_board_first(ngx_livestream_dvr_board_t *b);
static int ngx_livestream_dvr_board_open(ngx_livestream_dvr_board_t *b);
static int ngx_livestream_dvr_board_sheet(ngx_livestream_dvr_board_t *b,
    uint32_t first);
static int ngx_livestream_dvr_board_take(ngx_livestream_dvr_board_t *b,
    int64_t at);
static void ngx_livestream_dvr_board_paste(ngx_livestream_dvr_board_t *b,
    int x, int y);
static void ngx_livestream_dvr_board_cue(ngx_livestream_dvr_board_t *b,
    uint32_t i, int x, int y);
static void ngx_livestream_dvr_board_time(FILE *f, int64_t ms);
static int ngx_livestream_dvr_board_place(ngx_livestream_dvr_board_t *b);


int
ngx_livestream_dvr_storyboard(const ngx_livestream_dvr_index_t *index,
    const ngx_livestream_dvr_source_t *source, uint32_t *pictures,
    const char **reason)
{
    int                         rc;
    size_t                      i;
    ngx_livestream_dvr_board_t  b;

    *pictures = 0;

    memset(&b, 0, sizeof(ngx_livestream_dvr_board_t));

    b.source = source;
    b.reason = reason;
    b.track = ngx_livestream_dvr_select_least(index, NGX_LIVESTREAM_VIDEO);

    if (b.track == NULL) {
        return 0;
    }

    for (i = 0; i < b.track->nsegments; i++) {
        b.duration += b.track->segments[i].duration;
    }

    rc = ngx_livestream_dvr_poster(index, source, reason);

    if (rc == 0 || rc == ENODATA) {
        rc = ngx_livestream_dvr_board(&b);
    }

    if (b.vtt) {
        (void) fclose(b.vtt);
        (void) unlink(b.temp);
    }

    av_frame_free(&b.last);
    av_frame_free(&b.next);
    av_frame_free(&b.sheet);

    ngx_livestream_dvr_stills_close(&b.stills);

    if (rc == 0) {
        *pictures = b.n;
    }

    /* what cannot be seen is told by the number */

    return rc == ENODATA ? 0 : rc;
}


static int
ngx_livestream_dvr_poster(const ngx_livestream_dvr_index_t *index,
    const ngx_livestream_dvr_source_t *source, const char **reason)
{
    int                          rc;
    AVFrame                     *pic;
    ngx_livestream_dvr_stills_t  s;

    rc = ngx_livestream_dvr_stills_open(&s, source,
                    ngx_livestream_dvr_select_best(index,
                                                   NGX_LIVESTREAM_VIDEO),
                                        reason);

    pic = av_frame_alloc();

    if (rc == 0 && pic == NULL) {
        *reason = "no memory";
        rc = ENOMEM;
    }

    if (rc == 0) {
        rc = ngx_livestream_dvr_poster_choose(&s, pic, reason);
    }

    if (rc == 0) {
        rc = ngx_livestream_dvr_stills_jpeg(pic, NGX_LIVESTREAM_DVR_P_QUALITY,
                                            source->dir, "poster.jpg", reason);
    }

    av_frame_free(&pic);
    ngx_livestream_dvr_stills_close(&s);

    return rc;
}


/* the first one that shows something, or the first one */

static int
ngx_livestream_dvr_poster_choose(ngx_livestream_dvr_stills_t *s, AVFrame *pic,
    const char **reason)
{
    int                                rc;
    size_t                             i, first;
    unsigned                           n;
    const ngx_livestream_dvr_track_t  *t;

    t = s->reader.track;
    first = 0;
    n = 0;

    for (i = 0; i < t->nsegments && n < NGX_LIVESTREAM_DVR_P_SEGMENTS; i++) {

        if (!ngx_livestream_dvr_has_media(&t->segments[i])) {
            continue;
        }

        rc = ngx_livestream_dvr_poster_take(s, i, pic, reason);

        if (rc == ENODATA) {
            continue;
        }

        if (rc || ngx_livestream_dvr_poster_shows(pic)) {
            return rc;
        }

        if (n++ == 0) {
            first = i;
        }
    }

    return n ? ngx_livestream_dvr_poster_take(s, first, pic, reason) : ENODATA;
}


static int
ngx_livestream_dvr_poster_take(ngx_livestream_dvr_stills_t *s, size_t segment,
    AVFrame *pic, const char **reason)
{
    return ngx_livestream_dvr_stills_take(s, segment, INT64_MIN,
                                          NGX_LIVESTREAM_DVR_P_WIDTH,
                                          NGX_LIVESTREAM_DVR_P_HEIGHT, pic,
                                          reason);
}


static int
ngx_livestream_dvr_poster_shows(const AVFrame *pic)
{
    int             x, y;
    double          n, mean, variance;
    uint64_t        sum, squares;
    const uint8_t  *p;

    sum = 0;
    squares = 0;

    for (y = 0; y < pic->height; y++) {
        p = pic->data[0] + (ptrdiff_t) y * pic->linesize[0];

        for (x = 0; x < pic->width; x++) {
            sum += p[x];
            squares += p[x] * p[x];
        }
    }

    n = (double) pic->width * pic->height;
    mean = sum / n;
    variance = squares / n - mean * mean;

    return mean >= NGX_LIVESTREAM_DVR_DARK
           && variance >= NGX_LIVESTREAM_DVR_PLAIN * NGX_LIVESTREAM_DVR_PLAIN;
}


static int
ngx_livestream_dvr_board(ngx_livestream_dvr_board_t *b)
{
    int       rc;
    int64_t   n;
    uint32_t  i;

    rc = ngx_livestream_dvr_stills_open(&b->stills, b->source, b->track,
                                        b->reason);
    if (rc) {
        return rc;
    }

    b->last = av_frame_alloc();
    b->next = av_frame_alloc();
    b->sheet = av_frame_alloc();

    if (b->last == NULL || b->next == NULL || b->sheet == NULL) {
        *b->reason = "no memory";
        return ENOMEM;
    }

    rc = ngx_livestream_dvr_board_first(b);

    if (rc == 0) {
        rc = ngx_livestream_dvr_board_open(b);
    }

    if (rc) {
        return rc;
    }

    b->width = b->last->width;
    b->height = b->last->height;

    n = (b->duration + NGX_LIVESTREAM_DVR_EVERY - 1)
        / NGX_LIVESTREAM_DVR_EVERY;

    b->n = FFMIN(FFMAX(n, 1), NGX_LIVESTREAM_DVR_PICTURES);

    for (i = 0; i < b->n; i += NGX_LIVESTREAM_DVR_SHEET) {
        rc = ngx_livestream_dvr_board_sheet(b, i);
        if (rc) {
            return rc;
        }
    }

    return ngx_livestream_dvr_board_place(b);
}


/* is shown until there is another one, and tells the size */

static int
ngx_livestream_dvr_board_first(ngx_livestream_dvr_board_t *b)
{
    int     rc;
    size_t  i;

    for (i = 0; i < b->track->nsegments; i++) {

        if (!ngx_livestream_dvr_has_media(&b->track->segments[i])) {
            continue;
        }

        rc = ngx_livestream_dvr_stills_take(&b->stills, i, INT64_MIN,
                                            NGX_LIVESTREAM_DVR_WIDTH,
                                            NGX_LIVESTREAM_DVR_HEIGHT,
                                            b->last, b->reason);
        if (rc != ENODATA) {
            return rc;
        }
    }

    return ENODATA;
}


static int
ngx_livestream_dvr_board_open(ngx_livestream_dvr_board_t *b)
{
    int  rc, n;

    n = snprintf(b->path, sizeof(b->path), "%s/storyboard.vtt",
                 b->source->dir);
    rc = snprintf(b->temp, sizeof(b->temp), "%s/storyboard.vtt.tmp",
                  b->source->dir);

    if (n < 0 || rc < 0 || (size_t) rc >= sizeof(b->temp)) {
        *b->reason = "the path of a recording is too long";
        return ENAMETOOLONG;
    }

    b->vtt = fopen(b->temp, "we");

    if (b->vtt == NULL) {
        *b->reason = "a storyboard cannot be written";
        return errno;
    }

    (void) fprintf(b->vtt, "WEBVTT\n");

    return 0;
}


static int
ngx_livestream_dvr_board_sheet(ngx_livestream_dvr_board_t *b, uint32_t first)
{
    int       rc, x, y, columns, rows;
    char      name[64];
    uint32_t  i, n;

    n = FFMIN(b->n - first, NGX_LIVESTREAM_DVR_SHEET);

    columns = FFMIN(n, NGX_LIVESTREAM_DVR_COLUMNS);
    rows = (n + columns - 1) / columns;

    rc = ngx_livestream_dvr_stills_blank(b->sheet, columns * b->width,
                                         rows * b->height, b->reason);
    if (rc) {
        return rc;
    }

    for (i = 0; i < n; i++) {
        rc = ngx_livestream_dvr_board_take(b, (int64_t) (first + i)
                                              * NGX_LIVESTREAM_DVR_EVERY);
        if (rc) {
            return rc;
        }

        x = i % columns * b->width;
        y = i / columns * b->height;

        ngx_livestream_dvr_board_paste(b, x, y);
        ngx_livestream_dvr_board_cue(b, first + i, x, y);
    }

    (void) snprintf(name, sizeof(name), "storyboard-%" PRIu32 ".jpg",
                    first / NGX_LIVESTREAM_DVR_SHEET);

    return ngx_livestream_dvr_stills_jpeg(b->sheet,
                                          NGX_LIVESTREAM_DVR_QUALITY,
                                          b->source->dir, name, b->reason);
}


/* the picture of that time becomes the last one, if there is one */

static int
ngx_livestream_dvr_board_take(ngx_livestream_dvr_board_t *b, int64_t at)
{
    int                                  rc;
    int64_t                              us;
    AVFrame                             *pic;
    const ngx_livestream_dvr_segment_t  *s;

    s = &b->track->segments[b->segment];

    while (b->segment + 1 < b->track->nsegments
           && b->begin + s->duration <= at)
    {
        b->begin += s->duration;
        b->segment++;
        s++;
    }

    if (!ngx_livestream_dvr_has_media(s)) {
        return 0;
    }

    us = s->duration > NGX_LIVESTREAM_DVR_EVERY ? s->start + at - b->begin
                                                : INT64_MIN;

    rc = ngx_livestream_dvr_stills_take(&b->stills, b->segment, us, b->width,
                                        b->height, b->next, b->reason);

    if (rc == ENODATA) {
        return 0;
    }

    if (rc == 0) {
        pic = b->last;
        b->last = b->next;
        b->next = pic;
    }

    return rc;
}


/* the last picture, in the middle of its place; all numbers are even */

static void
ngx_livestream_dvr_board_paste(ngx_livestream_dvr_board_t *b, int x, int y)
{
    int             i, line, shift;
    uint8_t        *to;
    const AVFrame  *pic;

    pic = b->last;

    x += (b->width - pic->width) / 4 * 2;
    y += (b->height - pic->height) / 4 * 2;

    for (i = 0; i < 3; i++) {
        shift = i ? 1 : 0;

        for (line = 0; line < pic->height >> shift; line++) {
            to = b->sheet->data[i]
                 + (ptrdiff_t) ((y >> shift) + line) * b->sheet->linesize[i]
                 + (x >> shift);

            memcpy(to, pic->data[i] + (ptrdiff_t) line * pic->linesize[i],
                   pic->width >> shift);
        }
    }
}


static void
ngx_livestream_dvr_board_cue(ngx_livestream_dvr_board_t *b, uint32_t i, int x,
    int y)
{
    int64_t  from, to;

    /* ms */

    from = (int64_t) i * NGX_LIVESTREAM_DVR_EVERY / 1000;
    to = from + NGX_LIVESTREAM_DVR_EVERY / 1000;

    if (i == b->n - 1) {
        to = FFMAX(b->duration / 1000, from + 1);
    }

    (void) fprintf(b->vtt, "\n");
    ngx_livestream_dvr_board_time(b->vtt, from);
    (void) fprintf(b->vtt, " --> ");
    ngx_livestream_dvr_board_time(b->vtt, to);
    (void) fprintf(b->vtt, "\nstoryboard-%" PRIu32 ".jpg#xywh=%d,%d,%d,%d\n",
                   i / NGX_LIVESTREAM_DVR_SHEET, x, y, b->width, b->height);
}


static void
ngx_livestream_dvr_board_time(FILE *f, int64_t ms)
{
    (void) fprintf(f, "%02" PRId64 ":%02d:%02d.%03d", ms / 3600000,
                   (int) (ms / 60000 % 60), (int) (ms / 1000 % 60),
                   (int) (ms % 1000));
}


static int
ngx_livestream_dvr_board_place(ngx_livestream_dvr_board_t *b)
{
    int  rc, failed;

    failed = ferror(b->vtt);

    rc = fclose(b->vtt) == 0 ? 0 : errno;
    b->vtt = NULL;

    if (rc == 0 && failed) {
        rc = EIO;
    }

    if (rc == 0 && rename(b->temp, b->path) == -1) {
        rc = errno;
    }

    if (rc) {
        *b->reason = "a storyboard cannot be written";
        (void) unlink(b->temp);
    }

    return rc;
}


/*
 * Copyright (C) nginx-livestream contributors
 *
 * The index of a recording: its lines are written and read here.
 *
 *   livestream-recording 1 6
 *   track 720p video h264 avc1.64001f 1280 720 30000 1 0 0
 *   open 720p 0 0 1767225600000000 0 0
 *   segment 720p 0 0 1767225600000000 6000000 2104211 0 0
 *     ...
 *        |
 *        v
 *   lines, at most DVR_LINE long --> words, at most so many --> a row of the
 *   table of commands --> segments of a track
 *
 * The file is what disks and people make of it: whatever is no line of ours is
 * left out, and every number has its bounds.
 *
 * Pure C; any thread.
 */


#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ngx_livestream_dvr_index.h"


#define NGX_LIVESTREAM_DVR_VERSION    1
#define NGX_LIVESTREAM_DVR_WORDS      11
#define NGX_LIVESTREAM_DVR_BUFFER     65536

/* more than that is not believed */
#define NGX_LIVESTREAM_DVR_LINES      20000000
#define NGX_LIVESTREAM_DVR_TARGET     3600          /* s */
#define NGX_LIVESTREAM_DVR_DURATION   UINT32_MAX    /* us */
#define NGX_LIVESTREAM_DVR_MSN        (INT64_C(1) << 53)
#define NGX_LIVESTREAM_DVR_TIME       INT64_C(253402300799000000)
                                                    /* us, year 9999 */


typedef struct {
    ngx_livestream_dvr_index_t  *index;
    unsigned                 declared;      /* tracks, a bit each */
    uint64_t                 line;
    char                    *word[NGX_LIVESTREAM_DVR_WORDS];
    const char              *reason;
} ngx_livestream_dvr_reader_t;


typedef struct {
    const char              *name;
    unsigned                 nwords;
    int                    (*handler)(ngx_livestream_dvr_reader_t *r);
} ngx_livestream_dvr_command_t;


static int ngx_livestream_dvr_append(ngx_livestream_dvr_index_t *index,
    int fd);
static int ngx_livestream_dvr_append_line(int fd, const char *line,
    size_t len);
static int ngx_livestream_dvr_read_lines(ngx_livestream_dvr_reader_t *r,
    int fd, char *buf);
static int ngx_livestream_dvr_read_line(ngx_livestream_dvr_reader_t *r,
    char *p, size_t len);
static int ngx_livestream_dvr_on_head(ngx_livestream_dvr_reader_t *r);
static int ngx_livestream_dvr_on_track(ngx_livestream_dvr_reader_t *r);
static int ngx_livestream_dvr_on_open(ngx_livestream_dvr_reader_t *r);
static int ngx_livestream_dvr_on_segment(ngx_livestream_dvr_reader_t *r);
static int ngx_livestream_dvr_on_end(ngx_livestream_dvr_reader_t *r);
static int ngx_livestream_dvr_on_recovered(ngx_livestream_dvr_reader_t *r);
static int ngx_livestream_dvr_read_segment(ngx_livestream_dvr_reader_t *r,
    ngx_livestream_dvr_segment_t *s);
static ngx_livestream_dvr_track_t *ngx_livestream_dvr_read_name(
    ngx_livestream_dvr_reader_t *r);
static int ngx_livestream_dvr_is_name(const char *p, size_t max,
    const char *others);
static int ngx_livestream_dvr_number(const char *p, int64_t most, int64_t *n);
static void ngx_livestream_dvr_declared(ngx_livestream_dvr_reader_t *r);


static const ngx_livestream_dvr_command_t  ngx_livestream_dvr_commands[] = {
    { "livestream-recording", 3, ngx_livestream_dvr_on_head },
    { "track", 11, ngx_livestream_dvr_on_track },
    { "open", 7, ngx_livestream_dvr_on_open },
    { "segment", 9, ngx_livestream_dvr_on_segment },
    { "end", 1, ngx_livestream_dvr_on_end },
    { "recovered", 1, ngx_livestream_dvr_on_recovered },
    { NULL, 0, NULL }
};

static const char  *ngx_livestream_dvr_media[] = { "video", "audio" };


size_t
ngx_livestream_dvr_line_head(char *p, uint32_t target_duration)
{
    return snprintf(p, NGX_LIVESTREAM_DVR_LINE,
                    "livestream-recording %d %" PRIu32 "\n",
                    NGX_LIVESTREAM_DVR_VERSION, target_duration);
}


size_t
ngx_livestream_dvr_line_track(char *p, const ngx_livestream_dvr_track_t *t)
{
    return snprintf(p, NGX_LIVESTREAM_DVR_LINE,
                    "track %s %s %s %s %" PRIu32 " %" PRIu32 " %" PRIu32
                    " %" PRIu32 " %" PRIu32 " %" PRIu32 "\n",
                    t->name,
                    ngx_livestream_dvr_media[t->media
                                             == NGX_LIVESTREAM_AUDIO],
                    ngx_livestream_codec_name(t->codec), t->codecs, t->width,
                    t->height, t->frame_rate, t->transfer, t->sample_rate,
                    t->channels);
}


size_t
ngx_livestream_dvr_line_open(char *p, const char *track,
    const ngx_livestream_dvr_segment_t *s)
{
    return snprintf(p, NGX_LIVESTREAM_DVR_LINE,
                    "open %s %" PRIu64 " %" PRId64 " %" PRId64 " %" PRIu32
                    " %" PRIu32 "\n",
                    track, s->msn, s->start, s->pdt, s->init,
                    s->flags & NGX_LIVESTREAM_DVR_FLAGS);
}


size_t
ngx_livestream_dvr_line_segment(char *p, const char *track,
    const ngx_livestream_dvr_segment_t *s)
{
    return snprintf(p, NGX_LIVESTREAM_DVR_LINE,
                    "segment %s %" PRIu64 " %" PRId64 " %" PRId64 " %" PRIu32
                    " %" PRIu32 " %" PRIu32 " %" PRIu32 "\n",
                    track, s->msn, s->start, s->pdt, s->duration, s->size,
                    s->init, s->flags & NGX_LIVESTREAM_DVR_FLAGS);
}


size_t
ngx_livestream_dvr_line_end(char *p)
{
    return snprintf(p, NGX_LIVESTREAM_DVR_LINE, "end\n");
}


size_t
ngx_livestream_dvr_line_recovered(char *p)
{
    return snprintf(p, NGX_LIVESTREAM_DVR_LINE, "recovered\n");
}


int
ngx_livestream_dvr_index_append(const char *dir,
    ngx_livestream_dvr_index_t *index, const char **reason)
{
    int      fd, rc;
    char    *path;
    size_t   size;

    size = strlen(dir) + sizeof("/index");
    path = malloc(size);

    if (path == NULL) {
        *reason = "no memory for the index of a recording";
        return ENOMEM;
    }

    (void) snprintf(path, size, "%s/index", dir);

    fd = open(path, O_RDWR|O_APPEND|O_CLOEXEC);
    rc = (fd == -1) ? errno : 0;

    free(path);

    if (rc == 0) {
        rc = ngx_livestream_dvr_append(index, fd);

        if (close(fd) == -1 && rc == 0) {
            rc = errno;
        }
    }

    if (rc) {
        *reason = "the index of a recording cannot be written to";
        return rc;
    }

    index->recovered = 1;

    return 0;
}


static int
ngx_livestream_dvr_append(ngx_livestream_dvr_index_t *index, int fd)
{
    int                            rc;
    char                           line[NGX_LIVESTREAM_DVR_LINE], last;
    off_t                          size;
    size_t                         i;
    unsigned                       k;
    ngx_livestream_dvr_track_t    *t;
    ngx_livestream_dvr_segment_t  *s;

    size = lseek(fd, 0, SEEK_END);

    if (size == -1) {
        return errno;
    }

    rc = 0;
    last = '\n';

    if (size && pread(fd, &last, 1, size - 1) == -1) {
        return errno;
    }

    if (last != '\n') {
        rc = ngx_livestream_dvr_append_line(fd, "\n", 1);
    }

    for (k = 0; k < index->ntracks; k++) {
        t = &index->tracks[k];

        for (i = 0; rc == 0 && i < t->nsegments; i++) {
            s = &t->segments[i];

            if (s->line || (s->flags & NGX_LIVESTREAM_DVR_OPEN)) {
                continue;
            }

            rc = ngx_livestream_dvr_append_line(fd, line,
                          ngx_livestream_dvr_line_segment(line, t->name, s));
        }
    }

    if (rc == 0) {
        rc = ngx_livestream_dvr_append_line(fd, line,
                                     ngx_livestream_dvr_line_recovered(line));
    }

    return rc;
}


static int
ngx_livestream_dvr_append_line(int fd, const char *line, size_t len)
{
    ssize_t  n;

    do {
        n = write(fd, line, len);
    } while (n == -1 && errno == EINTR);

    if (n == -1) {
        return errno;
    }

    return (size_t) n == len ? 0 : ENOSPC;
}


int
ngx_livestream_dvr_index_read(const char *dir,
    ngx_livestream_dvr_index_t *index, const char **reason)
{
    int                           fd, rc;
    char                         *buf;
    size_t                        size;
    ngx_livestream_dvr_reader_t   r;

    memset(index, 0, sizeof(ngx_livestream_dvr_index_t));
    memset(&r, 0, sizeof(ngx_livestream_dvr_reader_t));

    r.index = index;

    *reason = "no memory for the index of a recording";

    size = strlen(dir) + sizeof("/index");
    buf = malloc(size + NGX_LIVESTREAM_DVR_BUFFER);

    if (buf == NULL) {
        return ENOMEM;
    }

    (void) snprintf(buf, size, "%s/index", dir);

    fd = open(buf, O_RDONLY|O_CLOEXEC);

    if (fd == -1) {
        rc = errno;
        *reason = "the index of a recording cannot be opened";
        free(buf);
        return rc;
    }

    r.reason = *reason;

    rc = ngx_livestream_dvr_read_lines(&r, fd, buf);

    (void) close(fd);
    free(buf);

    if (rc == 0 && index->target_duration == 0) {
        r.reason = "the index of a recording has no head";
        rc = EINVAL;
    }

    if (rc == 0) {
        ngx_livestream_dvr_declared(&r);

        rc = ngx_livestream_dvr_index_sort(index, &r.reason);
    }

    *reason = r.reason;

    return rc;
}


/* a line that does not fit is none; one without its end is not whole */

static int
ngx_livestream_dvr_read_lines(ngx_livestream_dvr_reader_t *r, int fd,
    char *buf)
{
    int       rc, skip;
    char     *p, *last, *end;
    size_t    len;
    ssize_t   n;

    len = 0;
    skip = 0;

    for ( ;; ) {
        n = read(fd, buf + len, NGX_LIVESTREAM_DVR_BUFFER - len);

        if (n == -1 && errno == EINTR) {
            continue;
        }

        if (n == -1) {
            r->reason = "the index of a recording cannot be read";
            return errno;
        }

        if (n == 0) {
            return 0;
        }

        p = buf;
        last = buf + len + n;

        while ((end = memchr(p, '\n', last - p)) != NULL) {

            *end = '\0';

            rc = skip ? 0 : ngx_livestream_dvr_read_line(r, p, end - p);
            if (rc) {
                return rc;
            }

            p = end + 1;
            skip = 0;
        }

        len = last - p;

        if (len > NGX_LIVESTREAM_DVR_LINE) {
            skip = 1;
        }

        if (skip) {
            len = 0;
        }

        memmove(buf, p, len);
    }
}


static int
ngx_livestream_dvr_read_line(ngx_livestream_dvr_reader_t *r, char *p,
    size_t len)
{
    char                                *end;
    unsigned                             n;
    const ngx_livestream_dvr_command_t  *c;

    if (++r->line > NGX_LIVESTREAM_DVR_LINES) {
        r->reason = "the index of a recording has too many lines";
        return EFBIG;
    }

    end = p + len;

    /* what a file system leaves of a write that a crash has undone */

    while (p < end && *p == '\0') {
        p++;
    }

    if (end - p > NGX_LIVESTREAM_DVR_LINE
        || memchr(p, '\0', end - p) != NULL)
    {
        return 0;
    }

    for (n = 0; p != NULL; n++) {

        if (n == NGX_LIVESTREAM_DVR_WORDS) {
            return 0;
        }

        r->word[n] = p;

        p = strchr(p, ' ');

        if (p) {
            *p++ = '\0';
        }
    }

    for (c = ngx_livestream_dvr_commands; c->name; c++) {
        if (c->nwords == n && strcmp(c->name, r->word[0]) == 0) {
            return c->handler(r);
        }
    }

    return 0;
}


static int
ngx_livestream_dvr_on_head(ngx_livestream_dvr_reader_t *r)
{
    int64_t  version, target;

    if (ngx_livestream_dvr_number(r->word[1], UINT32_MAX, &version) != 0
        || ngx_livestream_dvr_number(r->word[2], NGX_LIVESTREAM_DVR_TARGET,
                                     &target) != 0)
    {
        return 0;
    }

    if (version != NGX_LIVESTREAM_DVR_VERSION) {
        r->reason = "the index of a recording is of another version";
        return ENOTSUP;
    }

    if (target) {
        r->index->target_duration = target;
    }

    return 0;
}


static int
ngx_livestream_dvr_on_track(ngx_livestream_dvr_reader_t *r)
{
    int64_t                      n[6];
    unsigned                     i, media, codec;
    ngx_livestream_dvr_track_t  *t;

    media = strcmp(r->word[2], ngx_livestream_dvr_media[0]) ? 1 : 0;

    if (strcmp(r->word[2], ngx_livestream_dvr_media[media]) != 0
        || ngx_livestream_dvr_is_name(r->word[4],
                                  NGX_LIVESTREAM_CODECS_LEN - 1, ".-_") != 0)
    {
        return 0;
    }

    codec = NGX_LIVESTREAM_CODEC_NONE + 1;

    while (strcmp(r->word[3], ngx_livestream_codec_name(codec)) != 0) {
        if (codec++ == NGX_LIVESTREAM_CODEC_FLAC) {
            return 0;
        }
    }

    for (i = 0; i < 6; i++) {
        if (ngx_livestream_dvr_number(r->word[5 + i], UINT32_MAX, &n[i])
            != 0)
        {
            return 0;
        }
    }

    t = ngx_livestream_dvr_read_name(r);

    if (t == NULL) {
        return 0;
    }

    r->declared |= 1u << (t - r->index->tracks);

    t->media = media ? NGX_LIVESTREAM_AUDIO : NGX_LIVESTREAM_VIDEO;
    t->codec = codec;
    strcpy(t->codecs, r->word[4]);
    t->width = n[0];
    t->height = n[1];
    t->frame_rate = n[2];
    t->transfer = n[3];
    t->sample_rate = n[4];
    t->channels = n[5];

    return 0;
}


static int
ngx_livestream_dvr_on_open(ngx_livestream_dvr_reader_t *r)
{
    ngx_livestream_dvr_segment_t  s;

    memset(&s, 0, sizeof(ngx_livestream_dvr_segment_t));

    s.flags = NGX_LIVESTREAM_DVR_OPEN;

    /* the words of "segment", with two of them left out */

    r->word[8] = r->word[6];
    r->word[7] = r->word[5];

    return ngx_livestream_dvr_read_segment(r, &s);
}


static int
ngx_livestream_dvr_on_segment(ngx_livestream_dvr_reader_t *r)
{
    int64_t                       duration, size;
    ngx_livestream_dvr_segment_t  s;

    if (ngx_livestream_dvr_number(r->word[5], NGX_LIVESTREAM_DVR_DURATION,
                                  &duration) != 0
        || duration == 0
        || ngx_livestream_dvr_number(r->word[6], UINT32_MAX, &size) != 0)
    {
        return 0;
    }

    memset(&s, 0, sizeof(ngx_livestream_dvr_segment_t));

    s.duration = duration;
    s.size = size;

    return ngx_livestream_dvr_read_segment(r, &s);
}


static int
ngx_livestream_dvr_on_end(ngx_livestream_dvr_reader_t *r)
{
    r->index->ended = 1;

    return 0;
}


static int
ngx_livestream_dvr_on_recovered(ngx_livestream_dvr_reader_t *r)
{
    r->index->recovered = 1;

    return 0;
}


/* the words that "open" and "segment" have in common */

static int
ngx_livestream_dvr_read_segment(ngx_livestream_dvr_reader_t *r,
    ngx_livestream_dvr_segment_t *s)
{
    int                          rc, negative;
    int64_t                      msn, start, pdt, init, flags;
    ngx_livestream_dvr_track_t  *t;

    negative = (r->word[3][0] == '-');

    if (ngx_livestream_dvr_number(r->word[2], NGX_LIVESTREAM_DVR_MSN, &msn)
        || ngx_livestream_dvr_number(r->word[3] + negative,
                                     NGX_LIVESTREAM_DVR_TIME, &start)
        || ngx_livestream_dvr_number(r->word[4], NGX_LIVESTREAM_DVR_TIME,
                                     &pdt)
        || ngx_livestream_dvr_number(r->word[7], UINT32_MAX, &init)
        || ngx_livestream_dvr_number(r->word[8], UINT32_MAX, &flags))
    {
        return 0;
    }

    t = ngx_livestream_dvr_read_name(r);

    if (t == NULL) {
        return 0;
    }

    s->msn = msn;
    s->start = negative ? -start : start;
    s->pdt = pdt;
    s->init = init;
    s->flags |= flags & NGX_LIVESTREAM_DVR_DISCONTINUITY;
    s->line = r->line;

    if ((flags & NGX_LIVESTREAM_DVR_GAP) || s->size == 0) {
        s->flags |= NGX_LIVESTREAM_DVR_GAP;
        s->size = 0;
    }

    if (s->flags & NGX_LIVESTREAM_DVR_OPEN) {
        s->flags &= ~NGX_LIVESTREAM_DVR_GAP;
    }

    r->index->recovered = 0;

    rc = ngx_livestream_dvr_index_add(t, s);
    if (rc) {
        r->reason = (rc == EFBIG) ? "a recording has too many segments"
                                  : "no memory for the index of a recording";
    }

    return rc;
}


/* a track may be spoken of before it is declared */

static ngx_livestream_dvr_track_t *
ngx_livestream_dvr_read_name(ngx_livestream_dvr_reader_t *r)
{
    unsigned                     i;
    ngx_livestream_dvr_track_t  *t;

    t = r->index->tracks;

    for (i = 0; i < r->index->ntracks; i++) {
        if (strcmp(t[i].name, r->word[1]) == 0) {
            return &t[i];
        }
    }

    if (i == NGX_LIVESTREAM_DVR_TRACKS
        || ngx_livestream_dvr_is_name(r->word[1], sizeof(t->name) - 1, "-_")
           != 0)
    {
        return NULL;
    }

    strcpy(t[i].name, r->word[1]);
    r->index->ntracks++;

    return &t[i];
}


/* letters, digits and a few others, at least one: 0, else -1 */

static int
ngx_livestream_dvr_is_name(const char *p, size_t max, const char *others)
{
    size_t  i;

    for (i = 0; p[i]; i++) {

        if (i == max) {
            return -1;
        }

        if ((p[i] >= '0' && p[i] <= '9') || (p[i] >= 'a' && p[i] <= 'z')
            || (p[i] >= 'A' && p[i] <= 'Z') || strchr(others, p[i]) != NULL)
        {
            continue;
        }

        return -1;
    }

    return i ? 0 : -1;
}


static int
ngx_livestream_dvr_number(const char *p, int64_t most, int64_t *n)
{
    int64_t  value;

    value = 0;

    if (*p == '\0') {
        return -1;
    }

    for ( /* void */ ; *p; p++) {

        if (*p < '0' || *p > '9') {
            return -1;
        }

        if (value > (most - (*p - '0')) / 10) {
            return -1;
        }

        value = value * 10 + (*p - '0');
    }

    *n = value;

    return 0;
}


/* nothing can be told of a track without its line */

static void
ngx_livestream_dvr_declared(ngx_livestream_dvr_reader_t *r)
{
    unsigned                     i, n;
    ngx_livestream_dvr_index_t  *index;

    index = r->index;
    n = 0;

    for (i = 0; i < index->ntracks; i++) {

        if (r->declared & (1u << i)) {
            index->tracks[n++] = index->tracks[i];

        } else {
            free(index->tracks[i].segments);
        }
    }

    index->ntracks = n;
}

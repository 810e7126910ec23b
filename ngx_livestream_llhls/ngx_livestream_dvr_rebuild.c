
/*
 * Copyright (C) nginx-livestream contributors
 *
 * Makes the index of a recording again, of nothing but its files, when it was
 * lost or damaged:
 *
 *   TRACK/init-N.mp4      --> track, by what its configuration says
 *   TRACK/segment-N.m4s   --> open, where its samples are on the timeline
 *
 * What recover() then does with an index whose segments were all left open.
 * Which initialization segment one has is told by the files' times: it was
 * made before the segment was finished.  The wall clock is that of the first
 * segment.  Where samples do not go on, there is a discontinuity.
 *
 * What is in storage only is not found.
 *
 * Pure C, libavcodec; a job's thread.
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
#include "ngx_livestream_dvr_reader.h"
#include "ngx_livestream_frame.h"


#define NGX_LIVESTREAM_DVR_NAME    64
#define NGX_LIVESTREAM_DVR_INITS   256      /* of a track */
#define NGX_LIVESTREAM_DVR_JUMP    2000     /* us, that are no discontinuity */
#define NGX_LIVESTREAM_DVR_VPCC    12


typedef struct {
    uint32_t                 n;
    int64_t                  time;          /* us */
} ngx_livestream_dvr_init_t;


typedef struct {
    const char              *dir;
    ngx_livestream_dvr_index_t  *index;
    const char              *reason;

    /* the track that is at work */
    ngx_livestream_dvr_track_t  *track;
    int                      fd;            /* its folder */
    unsigned                 ninits;
    ngx_livestream_dvr_init_t  inits[NGX_LIVESTREAM_DVR_INITS];
    uint32_t                 init;          /* whose timescale is known */
    uint32_t                 timescale;
} ngx_livestream_dvr_rebuild_t;


static int ngx_livestream_dvr_rebuild_tracks(ngx_livestream_dvr_rebuild_t *r);
static int ngx_livestream_dvr_rebuild_is_track(const char *name);
static int ngx_livestream_dvr_rebuild_track(ngx_livestream_dvr_rebuild_t *r,
    const char *name);
static int ngx_livestream_dvr_rebuild_files(ngx_livestream_dvr_rebuild_t *r,
    DIR *dir);
static int ngx_livestream_dvr_rebuild_codec(ngx_livestream_dvr_rebuild_t *r);
static void ngx_livestream_dvr_rebuild_vpcc(const AVCodecParameters *par,
    uint8_t *p);
static void ngx_livestream_dvr_rebuild_segments(
    ngx_livestream_dvr_rebuild_t *r);
static int ngx_livestream_dvr_rebuild_segment(ngx_livestream_dvr_rebuild_t *r,
    ngx_livestream_dvr_segment_t *s);
static int ngx_livestream_dvr_rebuild_init(const void *one, const void *two);
static void ngx_livestream_dvr_rebuild_times(
    ngx_livestream_dvr_index_t *index);
static int64_t ngx_livestream_dvr_rebuild_zero(
    const ngx_livestream_dvr_index_t *index);
static int ngx_livestream_dvr_rebuild_write(ngx_livestream_dvr_rebuild_t *r);
static int ngx_livestream_dvr_rebuild_lines(
    const ngx_livestream_dvr_index_t *index, FILE *out);


static const struct {
    enum AVCodecID           av;
    ngx_livestream_codec_e   id;
} ngx_livestream_dvr_rebuild_codecs[] = {
    { AV_CODEC_ID_H264, NGX_LIVESTREAM_CODEC_H264 },
    { AV_CODEC_ID_HEVC, NGX_LIVESTREAM_CODEC_HEVC },
    { AV_CODEC_ID_AV1, NGX_LIVESTREAM_CODEC_AV1 },
    { AV_CODEC_ID_VP9, NGX_LIVESTREAM_CODEC_VP9 },
    { AV_CODEC_ID_AAC, NGX_LIVESTREAM_CODEC_AAC },
    { AV_CODEC_ID_OPUS, NGX_LIVESTREAM_CODEC_OPUS },
    { AV_CODEC_ID_FLAC, NGX_LIVESTREAM_CODEC_FLAC },
    { AV_CODEC_ID_NONE, NGX_LIVESTREAM_CODEC_NONE }
};


int
ngx_livestream_dvr_index_rebuild(const char *dir, const char **reason)
{
    int                            rc;
    ngx_livestream_dvr_rebuild_t  *r;

    *reason = "no memory for the index of a recording";

    r = calloc(1, sizeof(ngx_livestream_dvr_rebuild_t)
                  + sizeof(ngx_livestream_dvr_index_t));
    if (r == NULL) {
        return ENOMEM;
    }

    r->dir = dir;
    r->index = (ngx_livestream_dvr_index_t *) &r[1];
    r->reason = *reason;

    rc = ngx_livestream_dvr_rebuild_tracks(r);

    if (rc == 0 && r->index->ntracks == 0) {
        r->reason = "nothing was recorded";
        rc = ENODATA;
    }

    if (rc == 0) {
        rc = ngx_livestream_dvr_index_sort(r->index, &r->reason);
    }

    if (rc == 0) {
        ngx_livestream_dvr_rebuild_times(r->index);
        rc = ngx_livestream_dvr_rebuild_write(r);
    }

    *reason = r->reason;

    ngx_livestream_dvr_index_free(r->index);
    free(r);

    return rc;
}


static int
ngx_livestream_dvr_rebuild_tracks(ngx_livestream_dvr_rebuild_t *r)
{
    int             rc;
    DIR            *dir;
    struct dirent  *de;

    dir = opendir(r->dir);

    if (dir == NULL) {
        r->reason = "the folder of a recording cannot be read";
        return errno;
    }

    rc = 0;

    while (rc == 0 && (de = readdir(dir)) != NULL) {
        if (ngx_livestream_dvr_rebuild_is_track(de->d_name)) {
            rc = ngx_livestream_dvr_rebuild_track(r, de->d_name);
        }
    }

    (void) closedir(dir);

    return rc;
}


static int
ngx_livestream_dvr_rebuild_is_track(const char *name)
{
    size_t  len;

    len = strspn(name, "0123456789abcdefghijklmnopqrstuvwxyz");

    return len && name[len] == '\0'
           && len < sizeof(((ngx_livestream_dvr_track_t *) 0)->name);
}


/* one that nothing can be made of is left out */

static int
ngx_livestream_dvr_rebuild_track(ngx_livestream_dvr_rebuild_t *r,
    const char *name)
{
    int                          fd, rc;
    DIR                         *dir;
    ngx_livestream_dvr_track_t  *t;

    if (r->index->ntracks == NGX_LIVESTREAM_DVR_TRACKS) {
        return 0;
    }

    t = &r->index->tracks[r->index->ntracks];

    memset(t, 0, sizeof(ngx_livestream_dvr_track_t));
    memcpy(t->name, name, strlen(name));

    r->track = t;
    r->ninits = 0;
    r->init = 0;
    r->timescale = 0;

    fd = open(r->dir, O_RDONLY|O_DIRECTORY|O_CLOEXEC);
    if (fd == -1) {
        return errno;
    }

    r->fd = openat(fd, name, O_RDONLY|O_DIRECTORY|O_CLOEXEC|O_NOFOLLOW);

    (void) close(fd);

    dir = (r->fd == -1) ? NULL : fdopendir(r->fd);

    if (dir == NULL) {
        if (r->fd != -1) {
            (void) close(r->fd);
        }

        return 0;
    }

    rc = ngx_livestream_dvr_rebuild_files(r, dir);

    if (rc == 0 && r->ninits && t->nsegments
        && ngx_livestream_dvr_rebuild_codec(r) == 0)
    {
        ngx_livestream_dvr_rebuild_segments(r);
    }

    if (rc == 0 && t->codec != NGX_LIVESTREAM_CODEC_NONE && t->nsegments) {
        r->index->ntracks++;

    } else {
        free(t->segments);
        memset(t, 0, sizeof(ngx_livestream_dvr_track_t));
    }

    (void) closedir(dir);

    return rc;
}


/* a segment's pdt is the file's time for now */

static int
ngx_livestream_dvr_rebuild_files(ngx_livestream_dvr_rebuild_t *r, DIR *dir)
{
    int                            rc;
    int64_t                        time;
    uint64_t                       n;
    struct stat                    st;
    struct dirent                 *de;
    ngx_livestream_dvr_init_t     *init;
    ngx_livestream_dvr_segment_t   s;

    rc = 0;

    while (rc == 0 && (de = readdir(dir)) != NULL) {

        if (fstatat(r->fd, de->d_name, &st, AT_SYMLINK_NOFOLLOW) == -1
            || !S_ISREG(st.st_mode))
        {
            continue;
        }

        time = (int64_t) st.st_mtim.tv_sec * 1000000
               + st.st_mtim.tv_nsec / 1000;

        if (ngx_livestream_dvr_file_number(de->d_name, "segment-", ".m4s", &n)
            == 0)
        {
            memset(&s, 0, sizeof(ngx_livestream_dvr_segment_t));

            s.msn = n;
            s.pdt = time;
            s.flags = NGX_LIVESTREAM_DVR_OPEN;

            rc = ngx_livestream_dvr_index_add(r->track, &s);

        } else if (ngx_livestream_dvr_file_number(de->d_name, "init-", ".mp4",
                                                  &n) == 0
                   && n && n <= UINT32_MAX
                   && r->ninits < NGX_LIVESTREAM_DVR_INITS)
        {
            init = &r->inits[r->ninits++];

            init->n = n;
            init->time = time;
        }
    }

    qsort(r->inits, r->ninits, sizeof(ngx_livestream_dvr_init_t),
          ngx_livestream_dvr_rebuild_init);

    if (rc) {
        r->reason = "a recording has too many segments, or no memory";
    }

    return rc;
}


static int
ngx_livestream_dvr_rebuild_init(const void *one, const void *two)
{
    const ngx_livestream_dvr_init_t  *a, *b;

    a = one;
    b = two;

    return (a->n > b->n) - (a->n < b->n);
}


/* of the newest initialization segment; 0, or an errno if it says nothing */

static int
ngx_livestream_dvr_rebuild_codec(ngx_livestream_dvr_rebuild_t *r)
{
    int                           rc;
    size_t                        i, len;
    uint8_t                      *config, vpcc[NGX_LIVESTREAM_DVR_VPCC];
    uint32_t                      init;
    const char                   *reason;
    ngx_livestream_codec_t       *codec;
    ngx_livestream_dvr_track_t   *t;
    ngx_livestream_dvr_reader_t   reader;
    ngx_livestream_dvr_source_t   source;

    t = r->track;
    init = r->inits[r->ninits - 1].n;
    codec = NULL;

    memset(&source, 0, sizeof(ngx_livestream_dvr_source_t));
    source.dir = r->dir;

    rc = ngx_livestream_dvr_reader_open(&reader, &source, t, 1, &reason);

    if (rc == 0) {
        t->media = NGX_LIVESTREAM_VIDEO;
        rc = ngx_livestream_dvr_reader_init(&reader, init, &reason);

        if (rc == EILSEQ) {
            t->media = NGX_LIVESTREAM_AUDIO;
            rc = ngx_livestream_dvr_reader_init(&reader, init, &reason);
        }
    }

    for (i = 0; rc == 0 && codec == NULL; i++) {

        if (ngx_livestream_dvr_rebuild_codecs[i].av == AV_CODEC_ID_NONE) {
            rc = EILSEQ;

        } else if (ngx_livestream_dvr_rebuild_codecs[i].av
                   == reader.par->codec_id)
        {
            config = reader.par->extradata;
            len = reader.par->extradata_size;

            if (reader.par->codec_id == AV_CODEC_ID_VP9) {
                ngx_livestream_dvr_rebuild_vpcc(reader.par, vpcc);
                config = vpcc;
                len = sizeof(vpcc);
            }

            rc = ngx_livestream_codec_parse(
                                     ngx_livestream_dvr_rebuild_codecs[i].id,
                                     config, len, &codec, &reason)
                 ? EILSEQ : 0;
        }
    }

    if (rc == 0) {
        t->codec = codec->id;
        t->width = codec->width ? codec->width : (uint32_t) reader.par->width;
        t->height = codec->height ? codec->height
                                  : (uint32_t) reader.par->height;
        t->transfer = codec->transfer;
        t->sample_rate = codec->sample_rate;
        t->channels = codec->channels;
        memcpy(t->codecs, codec->codecs, NGX_LIVESTREAM_CODECS_LEN);
    }

    ngx_livestream_codec_unref(codec);
    ngx_livestream_dvr_reader_close(&reader);

    return rc;
}


/* version and flags 32, profile 8, level 8, bit depth 4, chroma 3, range 1,
 * primaries 8, transfer 8, matrix 8, size of what follows 16 */

static void
ngx_livestream_dvr_rebuild_vpcc(const AVCodecParameters *par, uint8_t *p)
{
    unsigned  depth, chroma;

    switch (par->format) {

    case AV_PIX_FMT_YUV420P10:
    case AV_PIX_FMT_YUV422P10:
    case AV_PIX_FMT_YUV444P10:
        depth = 10;
        break;

    case AV_PIX_FMT_YUV420P12:
    case AV_PIX_FMT_YUV422P12:
    case AV_PIX_FMT_YUV444P12:
        depth = 12;
        break;

    default:
        depth = 8;
    }

    switch (par->format) {

    case AV_PIX_FMT_YUV422P:
    case AV_PIX_FMT_YUV422P10:
    case AV_PIX_FMT_YUV422P12:
        chroma = 2;
        break;

    case AV_PIX_FMT_YUV444P:
    case AV_PIX_FMT_YUV444P10:
    case AV_PIX_FMT_YUV444P12:
        chroma = 3;
        break;

    default:
        chroma = 1;
    }

    memset(p, 0, NGX_LIVESTREAM_DVR_VPCC);

    p[0] = 1;
    p[4] = par->profile;
    p[5] = par->level;
    p[6] = depth << 4 | chroma << 1 | (par->color_range == AVCOL_RANGE_JPEG);
    p[7] = par->color_primaries;
    p[8] = par->color_trc;
    p[9] = par->color_space;
}


/* those that have a whole part */

static void
ngx_livestream_dvr_rebuild_segments(ngx_livestream_dvr_rebuild_t *r)
{
    size_t                       i, n;
    ngx_livestream_dvr_track_t  *t;

    t = r->track;
    n = 0;

    for (i = 0; i < t->nsegments; i++) {
        if (ngx_livestream_dvr_rebuild_segment(r, &t->segments[i]) == 0) {
            t->segments[n++] = t->segments[i];
        }
    }

    t->nsegments = n;
}


static int
ngx_livestream_dvr_rebuild_segment(ngx_livestream_dvr_rebuild_t *r,
    ngx_livestream_dvr_segment_t *s)
{
    int                         fd, rc;
    char                        name[NGX_LIVESTREAM_DVR_NAME];
    int64_t                     end;
    unsigned                    i;
    struct stat                 st;
    ngx_livestream_dvr_parts_t  parts;

    for (i = r->ninits - 1; i && r->inits[i].time > s->pdt; i--) {
        /* void */
    }

    s->init = r->inits[i].n;

    if (s->init != r->init) {
        (void) snprintf(name, sizeof(name), "init-%" PRIu32 ".mp4", s->init);

        fd = openat(r->fd, name, O_RDONLY|O_CLOEXEC|O_NOFOLLOW);

        r->init = s->init;
        r->timescale = (fd == -1) ? 0 : ngx_livestream_dvr_timescale(fd);

        if (fd != -1) {
            (void) close(fd);
        }
    }

    if (r->timescale == 0) {
        return -1;
    }

    (void) snprintf(name, sizeof(name), "segment-%" PRIu64 ".m4s", s->msn);

    fd = openat(r->fd, name, O_RDONLY|O_CLOEXEC|O_NOFOLLOW);

    if (fd == -1) {
        return -1;
    }

    rc = fstat(fd, &st);

    if (rc == 0) {
        rc = ngx_livestream_dvr_parts(fd, st.st_size, &parts);
    }

    (void) close(fd);

    if (rc || parts.nparts == 0
        || parts.end / r->timescale > NGX_LIVESTREAM_DVR_FAR)
    {
        return -1;
    }

    s->start = ngx_livestream_ticks_to_us(parts.start, r->timescale);
    end = ngx_livestream_ticks_to_us(parts.end, r->timescale);

    if (end <= s->start || end - s->start > UINT32_MAX) {
        return -1;
    }

    s->duration = end - s->start;

    return 0;
}


static void
ngx_livestream_dvr_rebuild_times(ngx_livestream_dvr_index_t *index)
{
    size_t                         i;
    int64_t                        zero, jump;
    unsigned                       k;
    uint32_t                       seconds;
    ngx_livestream_dvr_track_t    *t;
    ngx_livestream_dvr_segment_t  *s;

    zero = ngx_livestream_dvr_rebuild_zero(index);

    for (k = 0; k < index->ntracks; k++) {
        t = &index->tracks[k];

        for (i = 0; i < t->nsegments; i++) {
            s = &t->segments[i];

            s->pdt = zero + s->start;
            s->pdt = (s->pdt < 0) ? 0 : s->pdt;

            seconds = (s->duration + UINT64_C(500000)) / 1000000;

            if (seconds > index->target_duration) {
                index->target_duration = seconds;
            }

            if (i == 0) {
                continue;
            }

            jump = s->start - (s[-1].start + s[-1].duration);

            if (s->msn != s[-1].msn + 1 || s->init != s[-1].init
                || jump > NGX_LIVESTREAM_DVR_JUMP
                || jump < -NGX_LIVESTREAM_DVR_JUMP)
            {
                s->flags |= NGX_LIVESTREAM_DVR_DISCONTINUITY;
            }
        }
    }

    if (index->target_duration == 0) {
        index->target_duration = 1;
    }
}


/* when the timeline began, us since 1970: a file's time is that of its end */

static int64_t
ngx_livestream_dvr_rebuild_zero(const ngx_livestream_dvr_index_t *index)
{
    unsigned                             k;
    const ngx_livestream_dvr_segment_t  *s;

    for (k = 0; k < index->ntracks; k++) {
        if (index->tracks[k].nsegments) {
            s = &index->tracks[k].segments[0];
            return s->pdt - s->duration - s->start;
        }
    }

    return 0;
}


static int
ngx_livestream_dvr_rebuild_write(ngx_livestream_dvr_rebuild_t *r)
{
    int     rc;
    FILE   *out;
    char   *path, *temp;
    size_t  size;

    size = strlen(r->dir) + sizeof("/index.tmp");
    path = malloc(2 * size);

    if (path == NULL) {
        r->reason = "no memory for the index of a recording";
        return ENOMEM;
    }

    temp = path + size;

    (void) snprintf(path, size, "%s/index", r->dir);
    (void) snprintf(temp, size, "%s/index.tmp", r->dir);

    out = fopen(temp, "we");
    rc = out ? ngx_livestream_dvr_rebuild_lines(r->index, out) : errno;

    if (out && fclose(out) != 0 && rc == 0) {
        rc = errno;
    }

    if (rc == 0 && rename(temp, path) == -1) {
        rc = errno;
    }

    if (rc) {
        r->reason = "the index of a recording cannot be written";
        (void) unlink(temp);
    }

    free(path);

    return rc;
}


static int
ngx_livestream_dvr_rebuild_lines(const ngx_livestream_dvr_index_t *index,
    FILE *out)
{
    char                               line[NGX_LIVESTREAM_DVR_LINE];
    size_t                             i;
    unsigned                           k;
    const ngx_livestream_dvr_track_t  *t;

    errno = EIO;

    (void) ngx_livestream_dvr_line_head(line, index->target_duration);

    if (fputs(line, out) == EOF) {
        return errno;
    }

    for (k = 0; k < index->ntracks; k++) {
        t = &index->tracks[k];

        (void) ngx_livestream_dvr_line_track(line, t);

        if (fputs(line, out) == EOF) {
            return errno;
        }

        for (i = 0; i < t->nsegments; i++) {
            (void) ngx_livestream_dvr_line_open(line, t->name,
                                                &t->segments[i]);

            if (fputs(line, out) == EOF) {
                return errno;
            }
        }
    }

    return 0;
}

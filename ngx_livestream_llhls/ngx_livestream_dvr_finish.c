
/*
 * Copyright (C) nginx-livestream contributors
 *
 * A recording's playlists, as those of a live stream are written: a track of
 * the index becomes a view of it that has ended.
 *
 *   index                  view --> media playlist --> TRACK/playlist.m3u8
 *     track[0..ntracks]
 *       segments           rendition --> multivariant --> master.m3u8
 *
 *   each as   NAME.gz.tmp --> NAME.gz     NAME.tmp --> NAME
 *
 * A track of gaps alone is left out.
 *
 * No nginx state; a job's thread.
 */


#include "ngx_livestream.h"
#include "ngx_livestream_llhls_playlist.h"
#include "ngx_livestream_dvr_finish.h"

#include <inttypes.h>
#include <zlib.h>


#define NGX_LIVESTREAM_DVR_RUN  100     /* segments, at most */


#if (NGX_LIVESTREAM_DVR_DISCONTINUITY != NGX_LIVESTREAM_DISCONTINUITY        \
     || NGX_LIVESTREAM_DVR_GAP != NGX_LIVESTREAM_GAP                         \
     || NGX_LIVESTREAM_DVR_TRACKS != NGX_LIVESTREAM_MAX_TRACKS)
#error the index of a recording must have the flags of the registry
#endif


typedef struct {
    const char                        *dir;
    ngx_livestream_dvr_summary_t      *summary;
    const char                        *reason;
    uint32_t                           target;      /* s */
    ngx_uint_t                         n;
    ngx_livestream_llhls_rendition_t   renditions[NGX_LIVESTREAM_DVR_TRACKS];
} ngx_livestream_dvr_finish_t;


static uint32_t ngx_livestream_dvr_target(
    const ngx_livestream_dvr_index_t *index);
static int ngx_livestream_dvr_has_media(const ngx_livestream_dvr_track_t *t);
static int ngx_livestream_dvr_finish_track(ngx_livestream_dvr_finish_t *f,
    const ngx_livestream_dvr_track_t *t);
static void ngx_livestream_dvr_describe(ngx_livestream_dvr_finish_t *f,
    const ngx_livestream_dvr_track_t *t);
static uint64_t ngx_livestream_dvr_peak(const ngx_livestream_dvr_track_t *t,
    uint32_t target);
static uint64_t ngx_livestream_dvr_inits(ngx_livestream_dvr_finish_t *f,
    const ngx_livestream_dvr_track_t *t);
static int ngx_livestream_dvr_finish_media(ngx_livestream_dvr_finish_t *f,
    const ngx_livestream_dvr_track_t *t);
static int ngx_livestream_dvr_finish_master(ngx_livestream_dvr_finish_t *f);
static int ngx_livestream_dvr_put(ngx_livestream_dvr_finish_t *f,
    const char *track, const char *name, const u_char *text, size_t len);
static int ngx_livestream_dvr_put_file(ngx_livestream_dvr_finish_t *f,
    const char *track, const char *name, const u_char *text, size_t len);
static int ngx_livestream_dvr_write(const char *path, const u_char *text,
    size_t len);
static u_char *ngx_livestream_dvr_gzip(const u_char *text, size_t *len);
static char *ngx_livestream_dvr_file(ngx_livestream_dvr_finish_t *f,
    const char *track, const char *name, const char *suffix);


int
ngx_livestream_dvr_finish(const char *dir,
    const ngx_livestream_dvr_index_t *index,
    ngx_livestream_dvr_summary_t *summary, const char **reason)
{
    int                           rc;
    ngx_uint_t                    i;
    ngx_livestream_dvr_finish_t   f;
    const ngx_livestream_dvr_track_t  *t;

    ngx_memzero(&f, sizeof(ngx_livestream_dvr_finish_t));
    ngx_memzero(summary, sizeof(ngx_livestream_dvr_summary_t));

    f.dir = dir;
    f.summary = summary;
    f.target = ngx_livestream_dvr_target(index);

    rc = 0;

    for (i = 0; rc == 0 && i < index->ntracks; i++) {
        t = &index->tracks[i];

        if (ngx_livestream_dvr_has_media(t)) {
            rc = ngx_livestream_dvr_finish_track(&f, t);
        }
    }

    if (rc == 0 && f.n == 0) {
        f.reason = "nothing was recorded";
        rc = ENODATA;
    }

    if (rc == 0) {
        rc = ngx_livestream_dvr_finish_master(&f);
    }

    *reason = f.reason;

    return rc;
}


/* of all tracks: no rounded duration may be greater */

static uint32_t
ngx_livestream_dvr_target(const ngx_livestream_dvr_index_t *index)
{
    size_t      n;
    uint32_t    target;
    uint64_t    rounded;
    ngx_uint_t  i;

    target = index->target_duration;

    for (i = 0; i < index->ntracks; i++) {
        for (n = 0; n < index->tracks[i].nsegments; n++) {

            rounded = ((uint64_t) index->tracks[i].segments[n].duration
                       + 500000) / 1000000;

            target = ngx_max(target, rounded);
        }
    }

    return target;
}


static int
ngx_livestream_dvr_has_media(const ngx_livestream_dvr_track_t *t)
{
    size_t  n;

    for (n = 0; n < t->nsegments; n++) {
        if (!(t->segments[n].flags & NGX_LIVESTREAM_DVR_GAP)) {
            return 1;
        }
    }

    return 0;
}


static int
ngx_livestream_dvr_finish_track(ngx_livestream_dvr_finish_t *f,
    const ngx_livestream_dvr_track_t *t)
{
    int    rc;
    char  *path;

    ngx_livestream_dvr_describe(f, t);

    /* all of it may have gone into storage */

    path = ngx_livestream_dvr_file(f, t->name, "", "");
    if (path == NULL) {
        return ENOMEM;
    }

    rc = (mkdir(path, 0755) == -1 && errno != EEXIST) ? errno : 0;

    free(path);

    if (rc) {
        f->reason = "the folder of a recording's track cannot be made";
        return rc;
    }

    return ngx_livestream_dvr_finish_media(f, t);
}


static void
ngx_livestream_dvr_describe(ngx_livestream_dvr_finish_t *f,
    const ngx_livestream_dvr_track_t *t)
{
    size_t                               n;
    int64_t                              all, media, start, end;
    uint64_t                             bytes;
    ngx_livestream_dvr_summary_t        *sum;
    const ngx_livestream_dvr_segment_t  *s;
    ngx_livestream_llhls_rendition_t    *r;

    all = 0;
    media = 0;
    bytes = 0;

    for (n = 0; n < t->nsegments; n++) {
        s = &t->segments[n];

        all += s->duration;

        if (!(s->flags & NGX_LIVESTREAM_DVR_GAP)) {
            media += s->duration;
            bytes += s->size;
        }
    }

    s = &t->segments[t->nsegments - 1];

    start = t->segments[0].pdt;
    end = s->pdt + s->duration;

    sum = f->summary;

    sum->start = f->n ? ngx_min(sum->start, start) : start;
    sum->end = ngx_max(sum->end, end);
    sum->duration = ngx_max(sum->duration, all);
    sum->media = ngx_max(sum->media, media);
    sum->size += bytes + ngx_livestream_dvr_inits(f, t);
    sum->segments = ngx_max(sum->segments, t->nsegments);

    r = &f->renditions[f->n++];

    r->name = (const u_char *) t->name;
    r->codecs = t->codecs;
    r->media = t->media;
    r->width = t->width;
    r->height = t->height;
    r->frame_rate = t->frame_rate;
    r->transfer = t->transfer;
    r->channels = t->channels;
    r->average = (media >= 1000) ? bytes * 8000 / (media / 1000) : 0;
    r->bandwidth = ngx_livestream_dvr_peak(t, f->target);
    r->bandwidth = ngx_max(r->bandwidth, r->average);
}


/* the peak of any run of segments of 0.5 to 1.5 target durations */

static uint64_t
ngx_livestream_dvr_peak(const ngx_livestream_dvr_track_t *t, uint32_t target)
{
    size_t                               i, n, end;
    uint64_t                             us, bytes, duration, peak;
    const ngx_livestream_dvr_segment_t  *s;

    us = (uint64_t) target * 1000000;
    peak = 0;

    for (i = 0; i < t->nsegments; i++) {

        bytes = 0;
        duration = 0;

        end = ngx_min(t->nsegments, i + NGX_LIVESTREAM_DVR_RUN);

        for (n = i; n < end; n++) {
            s = &t->segments[n];

            bytes += s->size;
            duration += s->duration;

            if ((s->flags & NGX_LIVESTREAM_DVR_GAP)
                || duration > us + us / 2)
            {
                break;
            }

            if (duration >= us / 2 && duration >= 1000) {
                peak = ngx_max(peak, bytes * 8000 / (duration / 1000));
            }
        }
    }

    return peak;
}


/* bytes of those that are still here */

static uint64_t
ngx_livestream_dvr_inits(ngx_livestream_dvr_finish_t *f,
    const ngx_livestream_dvr_track_t *t)
{
    char         *path, name[sizeof("init-4294967295.mp4")];
    size_t        n;
    uint32_t      init;
    uint64_t      bytes;
    struct stat   st;

    init = 0;
    bytes = 0;

    for (n = 0; n < t->nsegments; n++) {

        if (t->segments[n].init <= init) {
            continue;
        }

        init = t->segments[n].init;

        (void) snprintf(name, sizeof(name), "init-%" PRIu32 ".mp4", init);

        path = ngx_livestream_dvr_file(f, t->name, name, "");

        if (path && stat(path, &st) == 0) {
            bytes += st.st_size;
        }

        free(path);
    }

    return bytes;
}


static int
ngx_livestream_dvr_finish_media(ngx_livestream_dvr_finish_t *f,
    const ngx_livestream_dvr_track_t *t)
{
    int                                  rc;
    size_t                               n;
    u_char                              *text, *end;
    ngx_livestream_view_t                view;
    ngx_livestream_segment_t            *segments;
    ngx_livestream_llhls_media_t         m;
    const ngx_livestream_dvr_segment_t  *s;

    ngx_memzero(&view, sizeof(ngx_livestream_view_t));
    ngx_memzero(&m, sizeof(ngx_livestream_llhls_media_t));

    segments = calloc(t->nsegments, sizeof(ngx_livestream_segment_t));

    if (segments == NULL) {
        f->reason = "no memory for a playlist of a recording";
        return ENOMEM;
    }

    for (n = 0; n < t->nsegments; n++) {
        s = &t->segments[n];

        segments[n].msn = s->msn;
        segments[n].pdt = s->pdt;
        segments[n].duration = s->duration;
        segments[n].init = s->init;
        segments[n].flags = s->flags;
    }

    view.state.seg_first = segments[0].msn;
    view.state.ended = 1;
    view.segments = segments;
    view.nsegments = t->nsegments;

    m.view = &view;
    m.target_duration = f->target;
    m.vod = 1;

    text = malloc(ngx_livestream_llhls_media_get_size(&m));

    if (text) {
        end = ngx_livestream_llhls_media_write(text, &m);
        rc = ngx_livestream_dvr_put(f, t->name, "playlist.m3u8", text,
                                    end - text);

    } else {
        f->reason = "no memory for a playlist of a recording";
        rc = ENOMEM;
    }

    free(text);
    free(segments);

    return rc;
}


static int
ngx_livestream_dvr_finish_master(ngx_livestream_dvr_finish_t *f)
{
    int      rc;
    u_char  *text, *end;

    text = malloc(ngx_livestream_llhls_multivariant_get_size(f->renditions,
                                                             f->n));
    if (text == NULL) {
        f->reason = "no memory for a playlist of a recording";
        return ENOMEM;
    }

    end = ngx_livestream_llhls_multivariant_write(text, f->renditions, f->n);

    rc = ngx_livestream_dvr_put(f, "", "master.m3u8", text, end - text);

    free(text);

    return rc;
}


/* whoever sees the one without .gz finds both */

static int
ngx_livestream_dvr_put(ngx_livestream_dvr_finish_t *f, const char *track,
    const char *name, const u_char *text, size_t len)
{
    int      rc;
    char     twin[sizeof("playlist.m3u8.gz")];
    size_t   size;
    u_char  *gzip;

    size = len;
    gzip = ngx_livestream_dvr_gzip(text, &size);

    if (gzip == NULL) {
        f->reason = "no memory for a playlist of a recording";
        return ENOMEM;
    }

    (void) snprintf(twin, sizeof(twin), "%s.gz", name);

    rc = ngx_livestream_dvr_put_file(f, track, twin, gzip, size);

    free(gzip);

    if (rc == 0) {
        rc = ngx_livestream_dvr_put_file(f, track, name, text, len);
    }

    return rc;
}


static int
ngx_livestream_dvr_put_file(ngx_livestream_dvr_finish_t *f, const char *track,
    const char *name, const u_char *text, size_t len)
{
    int    rc;
    char  *path, *temp;

    path = ngx_livestream_dvr_file(f, track, name, "");
    temp = ngx_livestream_dvr_file(f, track, name, ".tmp");

    if (path == NULL || temp == NULL) {
        rc = ENOMEM;

    } else {
        rc = ngx_livestream_dvr_write(temp, text, len);

        if (rc == 0 && rename(temp, path) == -1) {
            rc = errno;
        }

        if (rc) {
            f->reason = "a playlist of a recording cannot be written";
            (void) unlink(temp);
        }
    }

    free(path);
    free(temp);

    return rc;
}


static int
ngx_livestream_dvr_write(const char *path, const u_char *text, size_t len)
{
    int      fd, rc;
    ssize_t  n;

    fd = open(path, O_WRONLY|O_CREAT|O_TRUNC|O_CLOEXEC, 0644);

    if (fd == -1) {
        return errno;
    }

    rc = 0;

    while (rc == 0 && len) {
        n = write(fd, text, len);

        if (n >= 0) {
            text += n;
            len -= n;

        } else if (errno != EINTR) {
            rc = errno;
        }
    }

    /* it is there before the store says so */

    if (rc == 0 && fsync(fd) == -1) {
        rc = errno;
    }

    if (close(fd) == -1 && rc == 0) {
        rc = errno;
    }

    return rc;
}


/* malloc'ed; the same text has the same bytes */

static u_char *
ngx_livestream_dvr_gzip(const u_char *text, size_t *len)
{
    u_char    *p;
    size_t     size;
    z_stream   z;

    ngx_memzero(&z, sizeof(z_stream));

    /* 15 is zlib's window, 16 more asks for gzip's header and trailer */

    if (deflateInit2(&z, Z_DEFAULT_COMPRESSION, Z_DEFLATED, 15 + 16, 8,
                     Z_DEFAULT_STRATEGY)
        != Z_OK)
    {
        return NULL;
    }

    size = deflateBound(&z, *len);
    p = malloc(size);

    if (p) {
        z.next_in = (u_char *) text;
        z.avail_in = *len;
        z.next_out = p;
        z.avail_out = size;

        if (deflate(&z, Z_FINISH) != Z_STREAM_END) {
            free(p);
            p = NULL;
        }

        *len = z.total_out;
    }

    (void) deflateEnd(&z);

    return p;
}


/* DIR/TRACK/NAME, or DIR/NAME if there is no track; malloc'ed */

static char *
ngx_livestream_dvr_file(ngx_livestream_dvr_finish_t *f, const char *track,
    const char *name, const char *suffix)
{
    char    *path;
    size_t   len;

    len = ngx_strlen(f->dir) + ngx_strlen(track) + ngx_strlen(name)
          + ngx_strlen(suffix) + sizeof("//");

    path = malloc(len);

    if (path == NULL) {
        f->reason = "no memory for a path of a recording";
        return NULL;
    }

    (void) snprintf(path, len, "%s/%s%s%s%s", f->dir, track,
                    *track ? "/" : "", name, suffix);

    return path;
}


/*
 * Copyright (C) nginx-livestream contributors
 *
 * A recording as one MP4 file.
 *
 *   TRACK/segment-N.m4s --> lane --+
 *                                  +--> libavformat's mov muxer --> PATH.tmp
 *   audio/segment-N.m4s --> lane --+                            --> PATH
 *
 *   ftyp  moov  free  mdat[ half a second of video, of audio, of video ... ]
 *         | reserve |
 *
 * What moov will take is told from the first segments, so that the media are
 * written once, to where they stay; if that was too little, the file is
 * written again, with what is known by then.  (To move moov to the front of a
 * finished file is to read and write all of it a second time, always.)
 *
 * Both tracks lie on the recording's timeline, whose zero is where the first
 * of them is seen or heard; the other one gets an edit list.  A gap makes the
 * sample before it longer.
 *
 * Pure C; a job's thread.
 */


#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <libavformat/avformat.h>

#include "ngx_livestream_dvr_convert.h"
#include "ngx_livestream_dvr_lane.h"
#include "ngx_livestream_dvr_select.h"


#define NGX_LIVESTREAM_DVR_LANES    2

/* bytes that are written at once */
#define NGX_LIVESTREAM_DVR_OUTPUT   (1024 * 1024)

/* bytes of moov besides its tables */
#define NGX_LIVESTREAM_DVR_HEADERS  16384

#define NGX_LIVESTREAM_DVR_TRIES    3

/* of progress */
#define NGX_LIVESTREAM_DVR_DONE     1000


/* a lane's way out; ticks are those of the lane */
typedef struct {
    ngx_livestream_dvr_lane_t  lane;
    AVStream                *st;
    int64_t                  zero;          /* what becomes 0 */
    int64_t                  time;          /* us, dts of its next sample */
    int64_t                  last;          /* dts that was put out */
    int64_t                  end;           /* of what was put out */
} ngx_livestream_dvr_out_t;


typedef struct {
    ngx_livestream_dvr_convert_t  *convert;
    const char             **reason;
    char                     temp[PATH_MAX];
    int                      fd;
    AVFormatContext         *oc;
    AVPacket                *pkt;
    uint64_t                 total;         /* bytes of segments */
    uint64_t                 reserve;       /* bytes for moov */
    unsigned                 again;         /* they were too few */
    unsigned                 nouts;
    ngx_livestream_dvr_out_t  outs[NGX_LIVESTREAM_DVR_LANES];
} ngx_livestream_dvr_mux_t;


static int ngx_livestream_dvr_mux_open(ngx_livestream_dvr_mux_t *m,
    const ngx_livestream_dvr_source_t *source,
    const ngx_livestream_dvr_track_t *video,
    const ngx_livestream_dvr_track_t *audio);
static void ngx_livestream_dvr_mux_zero(ngx_livestream_dvr_mux_t *m);
static int ngx_livestream_dvr_mux_file(ngx_livestream_dvr_mux_t *m);
static int ngx_livestream_dvr_mux_write(ngx_livestream_dvr_mux_t *m);
static int ngx_livestream_dvr_mux_output(ngx_livestream_dvr_mux_t *m);
static int ngx_livestream_dvr_mux_stream(ngx_livestream_dvr_mux_t *m,
    ngx_livestream_dvr_out_t *out);
static int ngx_livestream_dvr_mux_header(ngx_livestream_dvr_mux_t *m);
static int ngx_livestream_dvr_mux_media(ngx_livestream_dvr_mux_t *m);
static void ngx_livestream_dvr_mux_time(ngx_livestream_dvr_out_t *out);
static int ngx_livestream_dvr_mux_sample(ngx_livestream_dvr_mux_t *m,
    ngx_livestream_dvr_out_t *out);
static int ngx_livestream_dvr_mux_trailer(ngx_livestream_dvr_mux_t *m);
static int ngx_livestream_dvr_mux_place(ngx_livestream_dvr_mux_t *m);
static void ngx_livestream_dvr_mux_progress(ngx_livestream_dvr_mux_t *m);
static int ngx_livestream_dvr_mux_error(ngx_livestream_dvr_mux_t *m, int rc);
static void ngx_livestream_dvr_mux_reset(ngx_livestream_dvr_mux_t *m);
static void ngx_livestream_dvr_mux_close(ngx_livestream_dvr_mux_t *m);
static int ngx_livestream_dvr_output_write(void *data, uint8_t *p, int size);
static int64_t ngx_livestream_dvr_output_seek(void *data, int64_t offset,
    int whence);


int
ngx_livestream_dvr_convert(const ngx_livestream_dvr_index_t *index,
    const ngx_livestream_dvr_source_t *source,
    ngx_livestream_dvr_convert_t *convert, const char **reason)
{
    int                                rc;
    ngx_livestream_dvr_mux_t          *m;
    const ngx_livestream_dvr_track_t  *video, *audio;

    convert->duration = 0;
    convert->size = 0;

    if (convert->track) {
        rc = ngx_livestream_dvr_select_named(index, convert->track, &video,
                                             reason);
        if (rc) {
            return rc;
        }

    } else {
        video = ngx_livestream_dvr_select_best(index, NGX_LIVESTREAM_VIDEO);
    }

    audio = ngx_livestream_dvr_select_best(index, NGX_LIVESTREAM_AUDIO);

    if (video == NULL && audio == NULL) {
        *reason = "the recording has no media";
        return ENODATA;
    }

    m = calloc(1, sizeof(ngx_livestream_dvr_mux_t));
    if (m == NULL) {
        *reason = "no memory";
        return ENOMEM;
    }

    m->convert = convert;
    m->reason = reason;
    m->fd = -1;

    rc = ngx_livestream_dvr_mux_open(m, source, video, audio);

    if (rc == 0) {
        rc = ngx_livestream_dvr_mux_file(m);
    }

    ngx_livestream_dvr_mux_close(m);

    /* of a track this was said above */

    return rc == ENOENT ? EIO : rc;
}


static int
ngx_livestream_dvr_mux_open(ngx_livestream_dvr_mux_t *m,
    const ngx_livestream_dvr_source_t *source,
    const ngx_livestream_dvr_track_t *video,
    const ngx_livestream_dvr_track_t *audio)
{
    int                                rc, n;
    unsigned                           i;
    ngx_livestream_dvr_lane_t         *lane;
    const ngx_livestream_dvr_track_t  *tracks[NGX_LIVESTREAM_DVR_LANES];

    n = snprintf(m->temp, sizeof(m->temp), "%s.tmp", m->convert->path);

    if (n < 0 || (size_t) n >= sizeof(m->temp)) {
        *m->reason = "the path of the MP4 file is too long";
        return ENAMETOOLONG;
    }

    m->pkt = av_packet_alloc();
    if (m->pkt == NULL) {
        *m->reason = "no memory";
        return ENOMEM;
    }

    m->reserve = NGX_LIVESTREAM_DVR_HEADERS;

    tracks[0] = video;
    tracks[1] = audio;

    for (i = 0; i < NGX_LIVESTREAM_DVR_LANES; i++) {

        if (tracks[i] == NULL) {
            continue;
        }

        lane = &m->outs[m->nouts++].lane;

        rc = ngx_livestream_dvr_lane_open(lane, source, tracks[i], m->reason);
        if (rc) {
            return rc;
        }

        m->total += lane->bytes;
        m->reserve += lane->tables;
    }

    ngx_livestream_dvr_mux_zero(m);

    return 0;
}


/* where the first of the tracks is seen or heard */

static void
ngx_livestream_dvr_mux_zero(ngx_livestream_dvr_mux_t *m)
{
    unsigned                    i;
    ngx_livestream_dvr_lane_t  *lane, *first;

    first = &m->outs[0].lane;

    for (i = 1; i < m->nouts; i++) {
        lane = &m->outs[i].lane;

        if (av_compare_ts(lane->first, lane->base, first->first, first->base)
            < 0)
        {
            first = lane;
        }
    }

    for (i = 0; i < m->nouts; i++) {
        m->outs[i].zero = av_rescale_q(first->first, first->base,
                                       m->outs[i].lane.base);
    }
}


static int
ngx_livestream_dvr_mux_file(ngx_livestream_dvr_mux_t *m)
{
    int       rc;
    unsigned  i;

    for (i = 0; i < NGX_LIVESTREAM_DVR_TRIES; i++) {

        m->again = 0;

        rc = ngx_livestream_dvr_mux_write(m);

        ngx_livestream_dvr_mux_reset(m);

        if (!m->again) {
            break;
        }
    }

    if (rc == 0) {
        return ngx_livestream_dvr_mux_place(m);
    }

    (void) unlink(m->temp);

    return rc;
}


static int
ngx_livestream_dvr_mux_write(ngx_livestream_dvr_mux_t *m)
{
    int       rc;
    unsigned  i;

    rc = ngx_livestream_dvr_mux_output(m);

    for (i = 0; rc == 0 && i < m->nouts; i++) {
        rc = ngx_livestream_dvr_mux_stream(m, &m->outs[i]);
    }

    if (rc == 0) {
        rc = ngx_livestream_dvr_mux_header(m);
    }

    if (rc == 0) {
        rc = ngx_livestream_dvr_mux_media(m);
    }

    if (rc == 0) {
        rc = ngx_livestream_dvr_mux_trailer(m);
    }

    if (m->fd != -1) {

        if (close(m->fd) == -1 && rc == 0) {
            *m->reason = "the MP4 file cannot be written";
            rc = errno;
        }

        m->fd = -1;
    }

    return rc;
}


static int
ngx_livestream_dvr_mux_output(ngx_livestream_dvr_mux_t *m)
{
    uint8_t  *buf;

    m->fd = open(m->temp, O_WRONLY|O_CREAT|O_TRUNC|O_CLOEXEC, 0644);

    if (m->fd == -1) {
        *m->reason = "the MP4 file cannot be created";
        return errno;
    }

    *m->reason = "no memory";

    if (avformat_alloc_output_context2(&m->oc, NULL, "mp4", NULL) < 0) {
        return ENOMEM;
    }

    buf = av_malloc(NGX_LIVESTREAM_DVR_OUTPUT);
    if (buf == NULL) {
        return ENOMEM;
    }

    m->oc->pb = avio_alloc_context(buf, NGX_LIVESTREAM_DVR_OUTPUT, 1, m, NULL,
                                   ngx_livestream_dvr_output_write,
                                   ngx_livestream_dvr_output_seek);
    if (m->oc->pb == NULL) {
        av_free(buf);
        return ENOMEM;
    }

    /* samples go in as they are, and where they are */

    m->oc->flags |= AVFMT_FLAG_CUSTOM_IO|AVFMT_FLAG_BITEXACT;
    m->oc->flags &= ~AVFMT_FLAG_AUTO_BSF;
    m->oc->avoid_negative_ts = AVFMT_AVOID_NEG_TS_DISABLED;
    m->oc->strict_std_compliance = FF_COMPLIANCE_EXPERIMENTAL;

    return 0;
}


static int
ngx_livestream_dvr_mux_stream(ngx_livestream_dvr_mux_t *m,
    ngx_livestream_dvr_out_t *out)
{
    out->st = avformat_new_stream(m->oc, NULL);

    if (out->st == NULL
        || avcodec_parameters_copy(out->st->codecpar, out->lane.par) < 0)
    {
        *m->reason = "no memory";
        return ENOMEM;
    }

    out->st->time_base = out->lane.base;
    out->st->sample_aspect_ratio = out->lane.par->sample_aspect_ratio;

    out->last = INT64_MIN;
    out->end = INT64_MIN;

    return ngx_livestream_dvr_lane_rewind(&out->lane, m->reason);
}


static int
ngx_livestream_dvr_mux_header(ngx_livestream_dvr_mux_t *m)
{
    int                         rc;
    unsigned                    i;
    AVDictionary               *options;
    ngx_livestream_dvr_lane_t  *lane;

    if (m->reserve > INT_MAX) {
        *m->reason = "the recording is too long for one MP4 file";
        return EFBIG;
    }

    options = NULL;
    lane = &m->outs[0].lane;

    av_dict_set_int(&options, "moov_size", m->reserve, 0);
    av_dict_set(&options, "use_editlist", "1", 0);

    /* edit lists count in these ticks: milliseconds would be too coarse */

    av_dict_set_int(&options, "movie_timescale", lane->base.den, 0);

    rc = avformat_write_header(m->oc, &options);

    av_dict_free(&options);

    if (rc < 0) {
        return ngx_livestream_dvr_mux_error(m, rc);
    }

    for (i = 0; i < m->nouts; i++) {

        if (av_cmp_q(m->outs[i].st->time_base, m->outs[i].lane.base) != 0) {
            *m->reason = "libavformat refused the timescale of a track";
            return EINVAL;
        }
    }

    return 0;
}


static int
ngx_livestream_dvr_mux_media(ngx_livestream_dvr_mux_t *m)
{
    int                        rc;
    ngx_livestream_dvr_out_t  *out, *other;

    out = &m->outs[0];
    other = &m->outs[m->nouts - 1];

    ngx_livestream_dvr_mux_time(out);
    ngx_livestream_dvr_mux_time(other);

    while (out->lane.live) {

        rc = ngx_livestream_dvr_mux_sample(m, out);

        if (rc == 0) {
            rc = ngx_livestream_dvr_lane_next(&out->lane, m->reason);
        }

        if (rc) {
            return rc;
        }

        ngx_livestream_dvr_mux_time(out);
        ngx_livestream_dvr_mux_progress(m);

        if (!out->lane.live
            || (other->lane.live
                && out->time >= other->time + NGX_LIVESTREAM_DVR_INTERLEAVE))
        {
            other = out;
            out = &m->outs[m->nouts - 1 - (out - m->outs)];
        }
    }

    return 0;
}


static void
ngx_livestream_dvr_mux_time(ngx_livestream_dvr_out_t *out)
{
    out->time = av_rescale_q(out->lane.sample.dts - out->zero, out->lane.base,
                             AV_TIME_BASE_Q);
}


static int
ngx_livestream_dvr_mux_sample(ngx_livestream_dvr_mux_t *m,
    ngx_livestream_dvr_out_t *out)
{
    int                                 rc;
    int64_t                             dts, pts;
    AVPacket                           *pkt;
    const ngx_livestream_dvr_sample_t  *s;

    s = &out->lane.sample;

    /* the muxer wants dts <= pts, which a publisher may get wrong later on */

    pts = s->pts - out->zero;
    dts = s->dts - out->zero - out->lane.lead;

    if (dts > pts) {
        dts = pts;
    }

    if (out->last != INT64_MIN) {

        if (dts <= out->last) {
            dts = out->last + 1;
        }

        if (dts - out->last >= INT_MAX) {
            *m->reason = "a gap in the recording is too long for an MP4 file";
            return EINVAL;
        }
    }

    if (pts < dts) {
        pts = dts;
    }

    if (s->size > INT_MAX || s->duration > INT_MAX) {
        *m->reason = "a segment is damaged";
        return EILSEQ;
    }

    pkt = m->pkt;

    pkt->stream_index = out->st->index;
    pkt->data = (uint8_t *) out->lane.data;
    pkt->size = s->size;
    pkt->dts = dts;
    pkt->pts = pts;
    pkt->duration = s->duration;
    pkt->flags = s->key ? AV_PKT_FLAG_KEY : 0;

    rc = av_write_frame(m->oc, pkt);

    if (rc < 0) {
        return ngx_livestream_dvr_mux_error(m, rc);
    }

    out->last = dts;

    if (pts + s->duration > out->end) {
        out->end = pts + s->duration;
    }

    return 0;
}


static int
ngx_livestream_dvr_mux_trailer(ngx_livestream_dvr_mux_t *m)
{
    int      rc;
    int64_t  at;

    rc = av_write_trailer(m->oc);

    avio_flush(m->oc->pb);

    if (m->oc->pb->error < 0) {
        return ngx_livestream_dvr_mux_error(m, m->oc->pb->error);
    }

    at = avio_tell(m->oc->pb);

    if (rc < 0 && at > 0 && (uint64_t) at > m->reserve) {

        /* moov went beyond, so it is known what it takes; with offsets of 64
         * bits, which they may need now, it takes more */

        m->reserve = at + at / 4;
        m->again = 1;

        *m->reason = "the tables of the MP4 file do not fit";
        return EOVERFLOW;
    }

    return rc < 0 ? ngx_livestream_dvr_mux_error(m, rc) : 0;
}


static int
ngx_livestream_dvr_mux_place(ngx_livestream_dvr_mux_t *m)
{
    int          rc;
    int64_t      end;
    unsigned     i;
    struct stat  st;

    if (stat(m->temp, &st) == -1 || rename(m->temp, m->convert->path) == -1) {
        rc = errno;
        *m->reason = "the MP4 file cannot be put into its place";
        (void) unlink(m->temp);
        return rc;
    }

    m->convert->size = st.st_size;

    for (i = 0; i < m->nouts; i++) {
        end = av_rescale_q(m->outs[i].end, m->outs[i].lane.base,
                           AV_TIME_BASE_Q);

        if (end > m->convert->duration) {
            m->convert->duration = end;
        }
    }

    if (m->convert->progress) {
        *m->convert->progress = NGX_LIVESTREAM_DVR_DONE;
    }

    return 0;
}


/* never back, even if it is all written again */

static void
ngx_livestream_dvr_mux_progress(ngx_livestream_dvr_mux_t *m)
{
    uint32_t  part;
    uint64_t  bytes;
    unsigned  i;

    if (m->convert->progress == NULL) {
        return;
    }

    bytes = 0;

    for (i = 0; i < m->nouts; i++) {
        bytes += m->outs[i].lane.reader.bytes;
    }

    part = (double) bytes / m->total * (NGX_LIVESTREAM_DVR_DONE - 1);

    if (part > *m->convert->progress && part < NGX_LIVESTREAM_DVR_DONE) {
        *m->convert->progress = part;
    }
}


static int
ngx_livestream_dvr_mux_error(ngx_livestream_dvr_mux_t *m, int rc)
{
    if (m->oc->pb->error < 0) {
        rc = m->oc->pb->error;
    }

    switch (rc) {

    case AVERROR(ENOSPC):
    case AVERROR(EDQUOT):
        *m->reason = "there is no space left for the MP4 file";
        break;

    case AVERROR(ENOMEM):
        *m->reason = "no memory";
        break;

    default:
        *m->reason = "the MP4 file cannot be written";
    }

    /* the library has codes that are no errno */

    rc = AVUNERROR(rc);

    return rc > 0 && rc < 4096 ? rc : EIO;
}


static void
ngx_livestream_dvr_mux_reset(ngx_livestream_dvr_mux_t *m)
{
    if (m->oc) {

        if (m->oc->pb) {
            av_freep(&m->oc->pb->buffer);
            avio_context_free(&m->oc->pb);
        }

        avformat_free_context(m->oc);
        m->oc = NULL;
    }
}


static void
ngx_livestream_dvr_mux_close(ngx_livestream_dvr_mux_t *m)
{
    unsigned  i;

    for (i = 0; i < m->nouts; i++) {
        ngx_livestream_dvr_lane_close(&m->outs[i].lane);
    }

    av_packet_free(&m->pkt);
    free(m);
}


static int
ngx_livestream_dvr_output_write(void *data, uint8_t *p, int size)
{
    ngx_livestream_dvr_mux_t *m = data;

    int      done;
    ssize_t  n;

    for (done = 0; done < size; done += n) {
        n = write(m->fd, p + done, size - done);

        if (n == -1) {
            if (errno != EINTR) {
                return AVERROR(errno);
            }

            n = 0;
        }
    }

    return size;
}


static int64_t
ngx_livestream_dvr_output_seek(void *data, int64_t offset, int whence)
{
    ngx_livestream_dvr_mux_t *m = data;

    off_t  at;

    if (whence != SEEK_SET) {
        return AVERROR(EINVAL);
    }

    at = lseek(m->fd, offset, SEEK_SET);

    return at == -1 ? AVERROR(errno) : at;
}

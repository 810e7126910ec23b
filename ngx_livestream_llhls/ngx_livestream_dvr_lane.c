
/*
 * Copyright (C) nginx-livestream contributors
 *
 * A track of a recording on its way into one file.
 *
 *   segment 0  1  2  3  4  5 ...
 *           |survey |
 *
 * What a file says first, how large its tables are and how far the first
 * picture is behind its decoding, is known last: so the first segments are
 * read for what the others will be like.
 *
 * Pure C; a job's thread.
 */


#include <errno.h>
#include <string.h>

#include "ngx_livestream_dvr_lane.h"
#include "ngx_livestream_dvr_select.h"


/* segments */
#define NGX_LIVESTREAM_DVR_SURVEY     3

/* bytes in moov: an entry of stts, ctts, stsz, stss; a chunk in stsc and co64;
 * and the muxer's limit of a chunk */
#define NGX_LIVESTREAM_DVR_STTS       8
#define NGX_LIVESTREAM_DVR_CTTS       8
#define NGX_LIVESTREAM_DVR_STSZ       4
#define NGX_LIVESTREAM_DVR_STSS       4
#define NGX_LIVESTREAM_DVR_STSC       20
#define NGX_LIVESTREAM_DVR_MUX_CHUNK  (1024 * 1024)


static int ngx_livestream_dvr_lane_codec(ngx_livestream_dvr_lane_t *lane,
    const char **reason);
static int ngx_livestream_dvr_lane_survey(ngx_livestream_dvr_lane_t *lane,
    size_t *until, const char **reason);
static void ngx_livestream_dvr_lane_estimate(ngx_livestream_dvr_lane_t *lane,
    size_t surveyed);
static int ngx_livestream_dvr_lane_uniform(ngx_livestream_dvr_lane_t *lane,
    const char **reason);
static int ngx_livestream_dvr_lane_same(const ngx_livestream_dvr_lane_t *lane);


int
ngx_livestream_dvr_lane_open(ngx_livestream_dvr_lane_t *lane,
    const ngx_livestream_dvr_source_t *source,
    const ngx_livestream_dvr_track_t *track, const char **reason)
{
    int     rc;
    size_t  until;

    memset(lane, 0, sizeof(ngx_livestream_dvr_lane_t));

    rc = ngx_livestream_dvr_reader_open(&lane->reader, source, track,
                                        NGX_LIVESTREAM_DVR_CHUNK, reason);

    if (rc == 0) {
        rc = ngx_livestream_dvr_lane_rewind(lane, reason);
    }

    if (rc == 0) {
        rc = ngx_livestream_dvr_lane_codec(lane, reason);
    }

    if (rc == 0) {
        rc = ngx_livestream_dvr_lane_survey(lane, &until, reason);
    }

    if (rc == 0) {
        ngx_livestream_dvr_lane_estimate(lane, until);
        rc = ngx_livestream_dvr_lane_uniform(lane, reason);
    }

    return rc;
}


void
ngx_livestream_dvr_lane_close(ngx_livestream_dvr_lane_t *lane)
{
    ngx_livestream_dvr_reader_close(&lane->reader);
    avcodec_parameters_free(&lane->par);
}


int
ngx_livestream_dvr_lane_rewind(ngx_livestream_dvr_lane_t *lane,
    const char **reason)
{
    lane->reader.bytes = 0;

    ngx_livestream_dvr_reader_seek(&lane->reader, 0);

    return ngx_livestream_dvr_lane_next(lane, reason);
}


int
ngx_livestream_dvr_lane_next(ngx_livestream_dvr_lane_t *lane,
    const char **reason)
{
    int  rc;

    rc = ngx_livestream_dvr_reader_next(&lane->reader, &lane->sample,
                                        &lane->data, reason);

    lane->live = (rc == 0);

    return rc == ENODATA ? 0 : rc;
}


static int
ngx_livestream_dvr_lane_codec(ngx_livestream_dvr_lane_t *lane,
    const char **reason)
{
    if (!lane->live) {
        *reason = "the recording has no media";
        return ENODATA;
    }

    lane->first = lane->sample.pts;
    lane->base = lane->reader.base;
    lane->par = avcodec_parameters_alloc();

    if (lane->par == NULL
        || avcodec_parameters_copy(lane->par, lane->reader.par) < 0)
    {
        *reason = "no memory";
        return ENOMEM;
    }

    return 0;
}


static int
ngx_livestream_dvr_lane_survey(ngx_livestream_dvr_lane_t *lane, size_t *until,
    const char **reason)
{
    int                                rc;
    size_t                             n, i;
    int64_t                            cts, last;
    uint32_t                           duration;
    const ngx_livestream_dvr_track_t  *t;

    t = lane->reader.track;
    n = 0;

    for (i = 0; i < t->nsegments; i++) {

        if (ngx_livestream_dvr_has_media(&t->segments[i])
            && n++ == NGX_LIVESTREAM_DVR_SURVEY)
        {
            break;
        }
    }

    *until = i;

    last = 0;
    duration = 0;

    while (lane->live && lane->reader.segment < *until) {
        cts = lane->sample.pts - lane->sample.dts;

        if (-cts > lane->lead) {
            lane->lead = -cts;
        }

        lane->tables += NGX_LIVESTREAM_DVR_STSZ;

        if (cts != last) {
            lane->tables += NGX_LIVESTREAM_DVR_CTTS;
        }

        if (lane->sample.duration != duration) {
            lane->tables += NGX_LIVESTREAM_DVR_STTS;
        }

        if (lane->sample.key && t->media == NGX_LIVESTREAM_VIDEO) {
            lane->tables += NGX_LIVESTREAM_DVR_STSS;
        }

        last = cts;
        duration = lane->sample.duration;

        rc = ngx_livestream_dvr_lane_next(lane, reason);
        if (rc) {
            return rc;
        }
    }

    return 0;
}


/* a quarter more than what the first segments say */

static void
ngx_livestream_dvr_lane_estimate(ngx_livestream_dvr_lane_t *lane,
    size_t surveyed)
{
    ngx_livestream_dvr_amount_t        some, all;
    const ngx_livestream_dvr_track_t  *t;

    t = lane->reader.track;

    ngx_livestream_dvr_amount(t, surveyed, &some);
    ngx_livestream_dvr_amount(t, t->nsegments, &all);

    lane->tables *= 1.25 * all.media / (some.media ? some.media : 1);

    lane->tables += (all.media / NGX_LIVESTREAM_DVR_INTERLEAVE
                     + all.bytes / NGX_LIVESTREAM_DVR_MUX_CHUNK)
                    * NGX_LIVESTREAM_DVR_STSC
                    + lane->par->extradata_size;

    lane->bytes = all.bytes;
}


/* all init segments are to say the same */

static int
ngx_livestream_dvr_lane_uniform(ngx_livestream_dvr_lane_t *lane,
    const char **reason)
{
    int                                  rc;
    size_t                               i;
    ngx_livestream_dvr_reader_t         *r;
    const ngx_livestream_dvr_segment_t  *s;

    r = &lane->reader;

    for (i = 0; i < r->track->nsegments; i++) {
        s = &r->track->segments[i];

        if (!ngx_livestream_dvr_has_media(s) || s->init == r->init) {
            continue;
        }

        ngx_livestream_dvr_reader_seek(r, i);

        rc = ngx_livestream_dvr_lane_next(lane, reason);
        if (rc) {
            return rc;
        }

        if (!ngx_livestream_dvr_lane_same(lane)) {
            *reason = "the codec's parameters change in the middle of the "
                      "recording, which one MP4 file cannot hold";
            return EINVAL;
        }
    }

    return 0;
}


static int
ngx_livestream_dvr_lane_same(const ngx_livestream_dvr_lane_t *lane)
{
    const AVCodecParameters  *a, *b;

    a = lane->par;
    b = lane->reader.par;

    return a->codec_id == b->codec_id
           && a->width == b->width
           && a->height == b->height
           && av_cmp_q(a->sample_aspect_ratio, b->sample_aspect_ratio) == 0
           && a->format == b->format
           && a->sample_rate == b->sample_rate
           && a->ch_layout.nb_channels == b->ch_layout.nb_channels
           && av_cmp_q(lane->base, lane->reader.base) == 0
           && a->extradata_size == b->extradata_size
           && (a->extradata_size == 0
               || memcmp(a->extradata, b->extradata, a->extradata_size) == 0);
}


/*
 * Copyright (C) nginx-livestream contributors
 *
 * The samples of a recording's track, one after the other.
 *
 *   segment-N.m4s    moof mdat[ ........ ] moof mdat[ ........ ] ...
 *                              |  buf   |
 *                              start    end      left: bytes behind it
 *
 * A window that is read in chunks goes over each segment, so what a recording
 * takes in memory does not depend on how it was cut into parts: one chunk, or
 * one sample if that is larger.
 *
 * The codec's parameters are what libavformat makes of init-N.mp4; it is read
 * again when a segment names another one.
 *
 * Pure C; a job's thread.
 */


#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <libavformat/avformat.h>

#include "ngx_livestream_dvr_reader.h"
#include "ngx_livestream_dvr_select.h"


/* bytes that an init segment may have: a configuration and some boxes */
#define NGX_LIVESTREAM_DVR_INIT  (2 * NGX_LIVESTREAM_CONFIG_MAX)

/* "TRACK/segment-18446744073709551615.m4s" */
#define NGX_LIVESTREAM_DVR_NAME  64

#define NGX_LIVESTREAM_DVR_VPCC  8


typedef struct {
    const uint8_t           *p;
    const uint8_t           *end;
} ngx_livestream_dvr_input_t;


static void ngx_livestream_dvr_reader_skip(ngx_livestream_dvr_reader_t *r,
    uint64_t size);
static int ngx_livestream_dvr_reader_begin(ngx_livestream_dvr_reader_t *r,
    const char **reason);
static int ngx_livestream_dvr_reader_fragment(ngx_livestream_dvr_reader_t *r,
    const char **reason);
static int ngx_livestream_dvr_reader_need(ngx_livestream_dvr_reader_t *r,
    size_t size, const char **reason);
static int ngx_livestream_dvr_reader_room(ngx_livestream_dvr_reader_t *r,
    size_t size);
static int ngx_livestream_dvr_reader_parse(ngx_livestream_dvr_reader_t *r,
    const uint8_t *data, size_t len);
static int ngx_livestream_dvr_reader_header(AVFormatContext **ic,
    AVIOContext **pb, ngx_livestream_dvr_input_t *in);
static int ngx_livestream_dvr_reader_input(void *data, uint8_t *p, int size);
static void ngx_livestream_dvr_reader_vpcc(AVCodecParameters *par,
    const uint8_t *data, size_t len);
static void ngx_livestream_dvr_reader_quiet(void);


static pthread_once_t  ngx_livestream_dvr_reader_once = PTHREAD_ONCE_INIT;


int
ngx_livestream_dvr_reader_open(ngx_livestream_dvr_reader_t *r,
    const ngx_livestream_dvr_source_t *source,
    const ngx_livestream_dvr_track_t *track, size_t chunk,
    const char **reason)
{
    (void) pthread_once(&ngx_livestream_dvr_reader_once,
                        ngx_livestream_dvr_reader_quiet);

    memset(r, 0, sizeof(ngx_livestream_dvr_reader_t));

    r->source = source;
    r->track = track;
    r->chunk = chunk;

    r->par = avcodec_parameters_alloc();

    if (r->par == NULL || ngx_livestream_dvr_reader_room(r, chunk)) {
        *reason = "no memory";
        return ENOMEM;
    }

    return 0;
}


/*
 * The library writes to the process's standard error, which is the error log,
 * from whichever thread: the caller's reason says what there is to say.
 */

static void
ngx_livestream_dvr_reader_quiet(void)
{
    av_log_set_level(AV_LOG_QUIET);
}


void
ngx_livestream_dvr_reader_close(ngx_livestream_dvr_reader_t *r)
{
    avcodec_parameters_free(&r->par);
    free(r->fragment.samples);
    free(r->buf);

    memset(r, 0, sizeof(ngx_livestream_dvr_reader_t));
}


void
ngx_livestream_dvr_reader_seek(ngx_livestream_dvr_reader_t *r, size_t segment)
{
    r->segment = segment;
    r->open = 0;
    r->fragment.nsamples = 0;
    r->next = 0;
}


int
ngx_livestream_dvr_reader_next(ngx_livestream_dvr_reader_t *r,
    ngx_livestream_dvr_sample_t *sample, const uint8_t **data,
    const char **reason)
{
    int  rc;

    while (r->next == r->fragment.nsamples) {

        if (r->open && r->start == r->end && r->left == 0) {
            ngx_livestream_dvr_reader_seek(r, r->segment + 1);
        }

        if (!r->open) {
            rc = ngx_livestream_dvr_reader_begin(r, reason);
            if (rc) {
                return rc;
            }
        }

        rc = ngx_livestream_dvr_reader_fragment(r, reason);
        if (rc) {
            return rc;
        }
    }

    *sample = r->fragment.samples[r->next++];

    rc = ngx_livestream_dvr_reader_need(r, sample->size, reason);
    if (rc) {
        return rc;
    }

    *data = r->buf + r->start;

    r->start += sample->size;
    r->bytes += sample->size;

    return 0;
}


int
ngx_livestream_dvr_reader_key(ngx_livestream_dvr_reader_t *r, size_t segment,
    int64_t us, ngx_livestream_dvr_sample_t *sample, const uint8_t **data,
    const char **reason)
{
    int       rc;
    uint64_t  skip;

    ngx_livestream_dvr_reader_seek(r, segment);

    rc = ngx_livestream_dvr_reader_begin(r, reason);
    if (rc) {
        return rc;
    }

    while (r->segment == segment && r->end - r->start + r->left) {

        rc = ngx_livestream_dvr_reader_fragment(r, reason);
        if (rc) {
            return rc;
        }

        for (skip = 0; r->next < r->fragment.nsamples; r->next++) {
            *sample = r->fragment.samples[r->next];

            if (sample->key
                && av_rescale_q(sample->dts, r->base, AV_TIME_BASE_Q) >= us)
            {
                ngx_livestream_dvr_reader_skip(r, skip);
                return ngx_livestream_dvr_reader_next(r, sample, data, reason);
            }

            skip += sample->size;
        }

        ngx_livestream_dvr_reader_skip(r, skip);
    }

    *reason = "a segment has no key frame";

    return ENODATA;
}


/* fragment() has seen that they are there */

static void
ngx_livestream_dvr_reader_skip(ngx_livestream_dvr_reader_t *r, uint64_t size)
{
    r->bytes += size;

    if (size <= r->end - r->start) {
        r->start += size;
        return;
    }

    r->left -= size - (r->end - r->start);
    r->start = 0;
    r->end = 0;
}


/* the next segment that has media */

static int
ngx_livestream_dvr_reader_begin(ngx_livestream_dvr_reader_t *r,
    const char **reason)
{
    int                                  rc;
    const ngx_livestream_dvr_segment_t  *s;

    for ( ;; ) {
        if (r->segment >= r->track->nsegments) {
            *reason = "the recording has no more media";
            return ENODATA;
        }

        s = &r->track->segments[r->segment];

        if (ngx_livestream_dvr_has_media(s)) {
            break;
        }

        r->segment++;
    }

    if (s->init != r->init) {
        rc = ngx_livestream_dvr_reader_init(r, s->init, reason);
        if (rc) {
            return rc;
        }
    }

    r->open = 1;
    r->left = s->size;
    r->start = 0;
    r->end = 0;

    return 0;
}


/* the next moof, and the header of the mdat behind it */

static int
ngx_livestream_dvr_reader_fragment(ngx_livestream_dvr_reader_t *r,
    const char **reason)
{
    int       rc;
    uint32_t  moof, mdat, type;

    rc = ngx_livestream_dvr_reader_need(r, 8, reason);
    if (rc) {
        return rc;
    }

    moof = ngx_livestream_dvr_box(r->buf + r->start, 8, &type);

    if (moof == 0 || moof > NGX_LIVESTREAM_DVR_MOOF) {
        *reason = "a segment is damaged";
        return EILSEQ;
    }

    rc = ngx_livestream_dvr_reader_need(r, moof + 8, reason);
    if (rc) {
        return rc;
    }

    rc = ngx_livestream_dvr_fragment(&r->fragment, r->buf + r->start, moof,
                                     reason);
    if (rc) {
        return rc;
    }

    mdat = ngx_livestream_dvr_box(r->buf + r->start + moof, 8, &type);

    r->start += moof + 8;
    r->bytes += moof + 8;
    r->next = 0;

    if (type != ngx_livestream_dvr_type('m', 'd', 'a', 't')
        || r->fragment.payload + 8 != mdat
        || r->fragment.payload > (uint64_t) r->end - r->start + r->left)
    {
        *reason = "a segment is damaged";
        return EILSEQ;
    }

    return 0;
}


/* so many bytes are to be in the window, from start on */

static int
ngx_livestream_dvr_reader_need(ngx_livestream_dvr_reader_t *r, size_t size,
    const char **reason)
{
    int                                  rc;
    char                                 name[NGX_LIVESTREAM_DVR_NAME];
    size_t                               want, got, have;
    const ngx_livestream_dvr_segment_t  *s;

    have = r->end - r->start;

    if (have >= size) {
        return 0;
    }

    if (size - have > r->left) {
        *reason = "a segment is damaged";
        return EILSEQ;
    }

    s = &r->track->segments[r->segment];

    memmove(r->buf, r->buf + r->start, have);

    r->start = 0;
    r->end = have;

    if (ngx_livestream_dvr_reader_room(r, size)) {
        *reason = "no memory";
        return ENOMEM;
    }

    want = r->size - have;

    if (want > r->left) {
        want = r->left;
    }

    (void) snprintf(name, sizeof(name), "%s/segment-%" PRIu64 ".m4s",
                    r->track->name, s->msn);

    rc = ngx_livestream_dvr_source_read(r->source, name, s->size - r->left,
                                        want, r->buf + have, &got, reason);
    if (rc) {
        return rc;
    }

    if (got < want) {
        *reason = "a segment is shorter than it was";
        return EILSEQ;
    }

    r->end += got;
    r->left -= got;

    return 0;
}


static int
ngx_livestream_dvr_reader_room(ngx_livestream_dvr_reader_t *r, size_t size)
{
    uint8_t  *buf;

    if (size <= r->size) {
        return 0;
    }

    /* libavcodec reads beyond the end of what it is given */

    buf = realloc(r->buf, size + AV_INPUT_BUFFER_PADDING_SIZE);
    if (buf == NULL) {
        return ENOMEM;
    }

    r->buf = buf;
    r->size = size;

    return 0;
}


int
ngx_livestream_dvr_reader_init(ngx_livestream_dvr_reader_t *r, uint32_t init,
    const char **reason)
{
    int       rc;
    char      name[NGX_LIVESTREAM_DVR_NAME];
    size_t    got;
    uint8_t  *data;

    r->init = 0;

    data = malloc(NGX_LIVESTREAM_DVR_INIT);
    if (data == NULL) {
        *reason = "no memory";
        return ENOMEM;
    }

    (void) snprintf(name, sizeof(name), "%s/init-%" PRIu32 ".mp4",
                    r->track->name, init);

    rc = ngx_livestream_dvr_source_read(r->source, name, 0,
                                        NGX_LIVESTREAM_DVR_INIT, data, &got,
                                        reason);

    if (rc == 0 && ngx_livestream_dvr_reader_parse(r, data, got) == -1) {
        *reason = "an initialization segment is damaged";
        rc = EILSEQ;
    }

    if (rc == 0) {
        r->init = init;
    }

    free(data);

    return rc;
}


static int
ngx_livestream_dvr_reader_parse(ngx_livestream_dvr_reader_t *r,
    const uint8_t *data, size_t len)
{
    int                          rc;
    AVStream                    *st;
    AVIOContext                 *pb;
    AVFormatContext             *ic;
    enum AVMediaType             type;
    ngx_livestream_dvr_input_t   in;

    in.p = data;
    in.end = data + len;

    rc = ngx_livestream_dvr_reader_header(&ic, &pb, &in);

    type = (r->track->media == NGX_LIVESTREAM_VIDEO) ? AVMEDIA_TYPE_VIDEO
                                                     : AVMEDIA_TYPE_AUDIO;

    if (rc == 0 && ic->nb_streams == 1
        && ic->streams[0]->codecpar->codec_type == type
        && ic->streams[0]->time_base.num > 0
        && ic->streams[0]->time_base.den > 0
        && avcodec_parameters_copy(r->par, ic->streams[0]->codecpar) >= 0)
    {
        st = ic->streams[0];

        r->base = st->time_base;
        r->par->sample_aspect_ratio = st->sample_aspect_ratio;

        ngx_livestream_dvr_reader_vpcc(r->par, data, len);

    } else {
        rc = -1;
    }

    avformat_close_input(&ic);

    if (pb) {
        av_freep(&pb->buffer);
    }

    avio_context_free(&pb);

    return rc;
}


/* *ic and *pb are the caller's, or NULL */

static int
ngx_livestream_dvr_reader_header(AVFormatContext **ic, AVIOContext **pb,
    ngx_livestream_dvr_input_t *in)
{
    uint8_t              *buf;
    const AVInputFormat  *mov;

    *pb = NULL;
    *ic = avformat_alloc_context();
    mov = av_find_input_format("mov");
    buf = av_malloc(NGX_LIVESTREAM_DVR_INIT);

    if (*ic == NULL || mov == NULL || buf == NULL) {
        av_free(buf);
        return -1;
    }

    *pb = avio_alloc_context(buf, NGX_LIVESTREAM_DVR_INIT, 0, in,
                             ngx_livestream_dvr_reader_input, NULL, NULL);
    if (*pb == NULL) {
        av_free(buf);
        return -1;
    }

    (*ic)->pb = *pb;
    (*ic)->flags |= AVFMT_FLAG_CUSTOM_IO;

    /* on an error it frees *ic */

    return avformat_open_input(ic, "", mov, NULL) < 0 ? -1 : 0;
}


static int
ngx_livestream_dvr_reader_input(void *data, uint8_t *p, int size)
{
    ngx_livestream_dvr_input_t *in = data;

    if (in->p == in->end) {
        return AVERROR_EOF;
    }

    if (size > in->end - in->p) {
        size = in->end - in->p;
    }

    memcpy(p, in->p, size);
    in->p += size;

    return size;
}


/*
 * What the library leaves out when it reads vpcC, and needs to write it:
 *
 *     version and flags 32, profile 8, level 8, bit depth 4, chroma 3, ...
 */

static void
ngx_livestream_dvr_reader_vpcc(AVCodecParameters *par, const uint8_t *data,
    size_t len)
{
    unsigned        depth, chroma;
    const uint8_t  *p;

    static const enum AVPixelFormat  formats[3][4] = {
        { AV_PIX_FMT_YUV420P, AV_PIX_FMT_YUV420P, AV_PIX_FMT_YUV422P,
          AV_PIX_FMT_YUV444P },
        { AV_PIX_FMT_YUV420P10, AV_PIX_FMT_YUV420P10, AV_PIX_FMT_YUV422P10,
          AV_PIX_FMT_YUV444P10 },
        { AV_PIX_FMT_YUV420P12, AV_PIX_FMT_YUV420P12, AV_PIX_FMT_YUV422P12,
          AV_PIX_FMT_YUV444P12 }
    };

    if (par->codec_id != AV_CODEC_ID_VP9) {
        return;
    }

    for (p = data; data + len - p >= 8 + NGX_LIVESTREAM_DVR_VPCC; p++) {
        if (memcmp(p, "vpcC", 4) == 0) {
            break;
        }
    }

    if (data + len - p < 8 + NGX_LIVESTREAM_DVR_VPCC) {
        return;
    }

    p += 8;

    par->profile = p[0];
    par->level = p[1];

    depth = p[2] >> 4;
    chroma = (p[2] >> 1) & 0x03;

    par->format = formats[depth == 12 ? 2 : depth == 10 ? 1 : 0][chroma];
    par->chroma_location = chroma ? AVCHROMA_LOC_TOPLEFT : AVCHROMA_LOC_LEFT;
}

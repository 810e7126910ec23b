
/*
 * Copyright (C) nginx-livestream contributors
 *
 * Reading a moof again.
 *
 *   moof[ mfhd traf[ tfhd tfdt trun ] ] mdat[ samples ]
 *
 * It is taken as the packager writes it: one run of one track, the sizes of
 * samples in the run, the samples in the mdat that follows, which is all
 * theirs.  What else ISO/IEC 14496-12 allows was not written by us.
 *
 * Pure C; any thread.
 */


#include <errno.h>
#include <stdlib.h>

#include "ngx_livestream_dvr_fragment.h"


/* bytes */
#define NGX_LIVESTREAM_DVR_BOX            8

/* tfhd */
#define NGX_LIVESTREAM_DVR_BASE           0x000001
#define NGX_LIVESTREAM_DVR_DESCRIPTION    0x000002
#define NGX_LIVESTREAM_DVR_TF_DURATION    0x000008
#define NGX_LIVESTREAM_DVR_TF_SIZE        0x000010
#define NGX_LIVESTREAM_DVR_TF_FLAGS       0x000020

/* trun */
#define NGX_LIVESTREAM_DVR_DATA_OFFSET    0x000001
#define NGX_LIVESTREAM_DVR_FIRST_FLAGS    0x000004
#define NGX_LIVESTREAM_DVR_DURATION       0x000100
#define NGX_LIVESTREAM_DVR_SIZE           0x000200
#define NGX_LIVESTREAM_DVR_SAMPLE_FLAGS   0x000400
#define NGX_LIVESTREAM_DVR_CTS            0x000800

#define NGX_LIVESTREAM_DVR_NON_SYNC       0x00010000

/* ticks: so far that no sum of it and no microseconds overflow */
#define NGX_LIVESTREAM_DVR_DTS            (INT64_C(1) << 60)


typedef struct {
    const uint8_t           *p;
    const uint8_t           *end;
} ngx_livestream_dvr_bytes_t;


typedef struct {
    uint32_t                 duration;
    uint32_t                 flags;
    uint32_t                 has;           /* tfhd's flags */
    int64_t                  dts;
} ngx_livestream_dvr_defaults_t;


static int ngx_livestream_dvr_child(ngx_livestream_dvr_bytes_t *parent,
    uint32_t type, ngx_livestream_dvr_bytes_t *b);
static int ngx_livestream_dvr_tfhd(ngx_livestream_dvr_bytes_t *b,
    ngx_livestream_dvr_defaults_t *d);
static int ngx_livestream_dvr_tfdt(ngx_livestream_dvr_bytes_t *b,
    ngx_livestream_dvr_defaults_t *d);
static int ngx_livestream_dvr_trun(ngx_livestream_dvr_fragment_t *f,
    ngx_livestream_dvr_bytes_t *b, const ngx_livestream_dvr_defaults_t *d,
    size_t moof);
static int ngx_livestream_dvr_samples(ngx_livestream_dvr_fragment_t *f,
    uint32_t n);
static uint32_t ngx_livestream_dvr_next_32(ngx_livestream_dvr_bytes_t *b);
static uint32_t ngx_livestream_dvr_32(const uint8_t *p);
static size_t ngx_livestream_dvr_left(const ngx_livestream_dvr_bytes_t *b);


uint32_t
ngx_livestream_dvr_box(const uint8_t *p, size_t len, uint32_t *type)
{
    uint32_t  size;

    if (len < NGX_LIVESTREAM_DVR_BOX) {
        return 0;
    }

    size = ngx_livestream_dvr_32(p);
    *type = ngx_livestream_dvr_32(p + 4);

    return size < NGX_LIVESTREAM_DVR_BOX ? 0 : size;
}


int
ngx_livestream_dvr_fragment(ngx_livestream_dvr_fragment_t *f,
    const uint8_t *p, size_t len, const char **reason)
{
    int                            rc;
    ngx_livestream_dvr_bytes_t     file, moof, traf, b;
    ngx_livestream_dvr_defaults_t  d;

    f->nsamples = 0;
    f->payload = 0;

    file.p = p;
    file.end = p + len;

    *reason = "a segment is damaged";

    if (ngx_livestream_dvr_child(&file,
                                 ngx_livestream_dvr_type('m', 'o', 'o', 'f'),
                                 &moof)
        || ngx_livestream_dvr_child(&moof,
                                 ngx_livestream_dvr_type('m', 'f', 'h', 'd'),
                                    &b)
        || ngx_livestream_dvr_child(&moof,
                                 ngx_livestream_dvr_type('t', 'r', 'a', 'f'),
                                    &traf)
        || ngx_livestream_dvr_child(&traf,
                                 ngx_livestream_dvr_type('t', 'f', 'h', 'd'),
                                    &b)
        || ngx_livestream_dvr_tfhd(&b, &d)
        || ngx_livestream_dvr_child(&traf,
                                 ngx_livestream_dvr_type('t', 'f', 'd', 't'),
                                    &b)
        || ngx_livestream_dvr_tfdt(&b, &d)
        || ngx_livestream_dvr_child(&traf,
                                 ngx_livestream_dvr_type('t', 'r', 'u', 'n'),
                                    &b)
        || ngx_livestream_dvr_left(&traf)
        || ngx_livestream_dvr_left(&moof)
        || ngx_livestream_dvr_left(&file))
    {
        return EILSEQ;
    }

    rc = ngx_livestream_dvr_trun(f, &b, &d, len);

    if (rc == ENOMEM) {
        *reason = "no memory";
    }

    return rc;
}


/* the box that comes next, which must be of that type */

static int
ngx_livestream_dvr_child(ngx_livestream_dvr_bytes_t *parent, uint32_t type,
    ngx_livestream_dvr_bytes_t *b)
{
    uint32_t  size, is;

    size = ngx_livestream_dvr_box(parent->p, ngx_livestream_dvr_left(parent),
                                  &is);

    if (size == 0 || is != type || size > ngx_livestream_dvr_left(parent)) {
        return EILSEQ;
    }

    b->p = parent->p + NGX_LIVESTREAM_DVR_BOX;
    b->end = parent->p + size;

    parent->p += size;

    return 0;
}


static int
ngx_livestream_dvr_tfhd(ngx_livestream_dvr_bytes_t *b,
    ngx_livestream_dvr_defaults_t *d)
{
    d->duration = 0;
    d->flags = 0;

    if (ngx_livestream_dvr_left(b) < 8) {
        return EILSEQ;
    }

    d->has = ngx_livestream_dvr_next_32(b);
    (void) ngx_livestream_dvr_next_32(b);

    if (d->has & (NGX_LIVESTREAM_DVR_BASE|NGX_LIVESTREAM_DVR_DESCRIPTION
                  |NGX_LIVESTREAM_DVR_TF_SIZE))
    {
        return EILSEQ;
    }

    if (d->has & NGX_LIVESTREAM_DVR_TF_DURATION) {

        if (ngx_livestream_dvr_left(b) < 4) {
            return EILSEQ;
        }

        d->duration = ngx_livestream_dvr_next_32(b);
    }

    if (d->has & NGX_LIVESTREAM_DVR_TF_FLAGS) {

        if (ngx_livestream_dvr_left(b) < 4) {
            return EILSEQ;
        }

        d->flags = ngx_livestream_dvr_next_32(b);
    }

    return 0;
}


static int
ngx_livestream_dvr_tfdt(ngx_livestream_dvr_bytes_t *b,
    ngx_livestream_dvr_defaults_t *d)
{
    uint64_t  dts;

    /* version 1, 64 bits */

    if (ngx_livestream_dvr_left(b) != 12 || b->p[0] != 1) {
        return EILSEQ;
    }

    (void) ngx_livestream_dvr_next_32(b);

    dts = (uint64_t) ngx_livestream_dvr_next_32(b) << 32;
    dts |= ngx_livestream_dvr_next_32(b);

    if (dts > NGX_LIVESTREAM_DVR_DTS) {
        return EILSEQ;
    }

    d->dts = dts;

    return 0;
}


static int
ngx_livestream_dvr_trun(ngx_livestream_dvr_fragment_t *f,
    ngx_livestream_dvr_bytes_t *b, const ngx_livestream_dvr_defaults_t *d,
    size_t moof)
{
    int                           rc;
    int64_t                       dts;
    uint32_t                      has, n, i, first, flags;
    uint64_t                      entry;
    ngx_livestream_dvr_sample_t  *s;

    if (ngx_livestream_dvr_left(b) < 12) {
        return EILSEQ;
    }

    has = ngx_livestream_dvr_next_32(b);
    n = ngx_livestream_dvr_next_32(b);

    if (!(has & NGX_LIVESTREAM_DVR_DATA_OFFSET)
        || !(has & NGX_LIVESTREAM_DVR_SIZE)
        || (!(has & NGX_LIVESTREAM_DVR_DURATION)
            && !(d->has & NGX_LIVESTREAM_DVR_TF_DURATION))
        || ngx_livestream_dvr_next_32(b) != moof + NGX_LIVESTREAM_DVR_BOX)
    {
        return EILSEQ;
    }

    first = d->flags;

    if (has & NGX_LIVESTREAM_DVR_FIRST_FLAGS) {

        if (ngx_livestream_dvr_left(b) < 4) {
            return EILSEQ;
        }

        first = ngx_livestream_dvr_next_32(b);
    }

    entry = 4;
    entry += (has & NGX_LIVESTREAM_DVR_DURATION) ? 4 : 0;
    entry += (has & NGX_LIVESTREAM_DVR_SAMPLE_FLAGS) ? 4 : 0;
    entry += (has & NGX_LIVESTREAM_DVR_CTS) ? 4 : 0;

    if (n == 0 || ngx_livestream_dvr_left(b) != n * entry) {
        return EILSEQ;
    }

    rc = ngx_livestream_dvr_samples(f, n);
    if (rc) {
        return rc;
    }

    dts = d->dts;

    for (i = 0; i < n; i++) {
        s = &f->samples[i];

        s->dts = dts;
        s->duration = (has & NGX_LIVESTREAM_DVR_DURATION)
                      ? ngx_livestream_dvr_next_32(b) : d->duration;
        s->size = ngx_livestream_dvr_next_32(b);

        flags = (has & NGX_LIVESTREAM_DVR_SAMPLE_FLAGS)
                ? ngx_livestream_dvr_next_32(b) : i ? d->flags : first;

        s->key = !(flags & NGX_LIVESTREAM_DVR_NON_SYNC);
        s->pts = dts + ((has & NGX_LIVESTREAM_DVR_CTS)
                        ? (int32_t) ngx_livestream_dvr_next_32(b) : 0);

        f->payload += s->size;
        dts += s->duration;
    }

    f->nsamples = n;

    return 0;
}


static int
ngx_livestream_dvr_samples(ngx_livestream_dvr_fragment_t *f, uint32_t n)
{
    ngx_livestream_dvr_sample_t  *samples;

    if (n <= f->nalloc) {
        return 0;
    }

    samples = realloc(f->samples,
                      (size_t) n * sizeof(ngx_livestream_dvr_sample_t));
    if (samples == NULL) {
        return ENOMEM;
    }

    f->samples = samples;
    f->nalloc = n;

    return 0;
}


static uint32_t
ngx_livestream_dvr_next_32(ngx_livestream_dvr_bytes_t *b)
{
    b->p += 4;

    return ngx_livestream_dvr_32(b->p - 4);
}


static uint32_t
ngx_livestream_dvr_32(const uint8_t *p)
{
    return (uint32_t) p[0] << 24 | (uint32_t) p[1] << 16
           | (uint32_t) p[2] << 8 | p[3];
}


static size_t
ngx_livestream_dvr_left(const ngx_livestream_dvr_bytes_t *b)
{
    return b->end - b->p;
}


/*
 * Copyright (C) nginx-livestream contributors
 *
 * Boxes of ISO BMFF, as far as a recovery needs them.
 *
 *   init-N.mp4      ... moov[ ... trak[ ... mdia[ mdhd ... ] ] ... ]
 *
 *   segment-N.m4s   moof[ mfhd traf[ tfhd tfdt trun ] ] mdat    a part
 *                   moof[ ...                         ] mdat    a part
 *                   moof[ ...                         ] md      not whole
 *
 * A part is whole if its samples are all of its mdat and the file has all of
 * that, and if it does not begin before the one before it has ended.
 *
 * Only headers and moofs are read, never samples.
 *
 * Pure C; any thread.
 */


#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ngx_livestream_dvr_boxes.h"
#include "ngx_livestream_dvr_fragment.h"


#define NGX_LIVESTREAM_DVR_HEADER    8
#define NGX_LIVESTREAM_DVR_INIT_MAX  262144         /* bytes of a file */


/* what is left of a box or of a list of them */
typedef struct {
    const uint8_t           *p;
    const uint8_t           *end;
} ngx_livestream_dvr_box_t;


static int ngx_livestream_dvr_part(int fd, uint64_t offset, uint64_t size,
    uint8_t *p, ngx_livestream_dvr_fragment_t *f, uint64_t *len);
static int ngx_livestream_dvr_follows(ngx_livestream_dvr_parts_t *parts,
    const ngx_livestream_dvr_fragment_t *f);
static int ngx_livestream_dvr_find(const ngx_livestream_dvr_box_t *in,
    const char *type, ngx_livestream_dvr_box_t *box);
static int ngx_livestream_dvr_next(ngx_livestream_dvr_box_t *in,
    const uint8_t **type, ngx_livestream_dvr_box_t *box);
static int ngx_livestream_dvr_skip(ngx_livestream_dvr_box_t *box, size_t n);
static int ngx_livestream_dvr_32(ngx_livestream_dvr_box_t *box,
    uint32_t *value);
static uint32_t ngx_livestream_dvr_get_32(const uint8_t *p);
static int ngx_livestream_dvr_pread(int fd, uint8_t *p, size_t len,
    uint64_t offset, size_t *got);


uint32_t
ngx_livestream_dvr_timescale(int fd)
{
    int                        rc;
    size_t                     len;
    uint8_t                   *p;
    unsigned                   i;
    uint32_t                   flags, timescale;
    ngx_livestream_dvr_box_t   box, inner;

    static const char  *path[] = { "moov", "trak", "mdia", "mdhd" };

    p = malloc(NGX_LIVESTREAM_DVR_INIT_MAX);

    if (p == NULL) {
        errno = ENOMEM;
        return 0;
    }

    timescale = 0;

    rc = ngx_livestream_dvr_pread(fd, p, NGX_LIVESTREAM_DVR_INIT_MAX, 0,
                                  &len);
    if (rc) {
        free(p);
        errno = rc;
        return 0;
    }

    box.p = p;
    box.end = p + len;

    for (i = 0; i < sizeof(path) / sizeof(path[0]); i++) {

        if (ngx_livestream_dvr_find(&box, path[i], &inner) != 0) {
            goto done;
        }

        box = inner;
    }

    /* version, flags; times of creation and modification; timescale */

    if (ngx_livestream_dvr_32(&box, &flags) != 0
        || ngx_livestream_dvr_skip(&box, flags >> 24 ? 16 : 8) != 0
        || ngx_livestream_dvr_32(&box, &timescale) != 0)
    {
        timescale = 0;
    }

done:

    free(p);

    errno = EINVAL;

    return timescale;
}


int
ngx_livestream_dvr_parts(int fd, uint64_t size,
    ngx_livestream_dvr_parts_t *parts)
{
    int                            rc;
    uint8_t                       *p;
    uint64_t                       len;
    ngx_livestream_dvr_fragment_t  f;

    memset(parts, 0, sizeof(ngx_livestream_dvr_parts_t));
    memset(&f, 0, sizeof(ngx_livestream_dvr_fragment_t));

    if (size > UINT32_MAX) {
        size = UINT32_MAX;
    }

    p = malloc(NGX_LIVESTREAM_DVR_MOOF + NGX_LIVESTREAM_DVR_HEADER);

    if (p == NULL) {
        return ENOMEM;
    }

    for ( ;; ) {
        rc = ngx_livestream_dvr_part(fd, parts->size, size - parts->size, p,
                                     &f, &len);

        if (rc || !ngx_livestream_dvr_follows(parts, &f)) {
            break;
        }

        parts->nparts++;
        parts->size += len;
    }

    free(f.samples);
    free(p);

    return rc == EILSEQ ? 0 : rc;
}


/* the part at offset, which may have so many bytes; EILSEQ: it is not whole */

static int
ngx_livestream_dvr_part(int fd, uint64_t offset, uint64_t size, uint8_t *p,
    ngx_livestream_dvr_fragment_t *f, uint64_t *len)
{
    int          rc;
    size_t       got;
    uint32_t     moof, mdat, type;
    const char  *reason;

    rc = ngx_livestream_dvr_pread(fd, p, NGX_LIVESTREAM_DVR_HEADER, offset,
                                  &got);
    if (rc) {
        return rc;
    }

    moof = ngx_livestream_dvr_box(p, got, &type);

    if (moof == 0 || moof > NGX_LIVESTREAM_DVR_MOOF) {
        return EILSEQ;
    }

    rc = ngx_livestream_dvr_pread(fd, p, moof + NGX_LIVESTREAM_DVR_HEADER,
                                  offset, &got);
    if (rc) {
        return rc;
    }

    if (got != moof + NGX_LIVESTREAM_DVR_HEADER) {
        return EILSEQ;
    }

    rc = ngx_livestream_dvr_fragment(f, p, moof, &reason);
    if (rc) {
        return rc;
    }

    mdat = ngx_livestream_dvr_box(p + moof, NGX_LIVESTREAM_DVR_HEADER, &type);

    *len = (uint64_t) moof + mdat;

    if (type != ngx_livestream_dvr_type('m', 'd', 'a', 't')
        || mdat != f->payload + NGX_LIVESTREAM_DVR_HEADER || *len > size)
    {
        return EILSEQ;
    }

    return 0;
}


static int
ngx_livestream_dvr_follows(ngx_livestream_dvr_parts_t *parts,
    const ngx_livestream_dvr_fragment_t *f)
{
    int64_t                             start, end;
    const ngx_livestream_dvr_sample_t  *last;

    last = &f->samples[f->nsamples - 1];

    start = f->samples[0].dts;
    end = last->dts + last->duration;

    if (start == end || (parts->nparts && start < parts->end)) {
        return 0;
    }

    if (parts->nparts == 0) {
        parts->start = start;
    }

    parts->end = end;

    return 1;
}


/* the first of a type */

static int
ngx_livestream_dvr_find(const ngx_livestream_dvr_box_t *in, const char *type,
    ngx_livestream_dvr_box_t *box)
{
    const uint8_t             *t;
    ngx_livestream_dvr_box_t   rest;

    rest = *in;

    while (ngx_livestream_dvr_next(&rest, &t, box) == 0) {
        if (memcmp(t, type, 4) == 0) {
            return 0;
        }
    }

    return -1;
}


static int
ngx_livestream_dvr_next(ngx_livestream_dvr_box_t *in, const uint8_t **type,
    ngx_livestream_dvr_box_t *box)
{
    uint32_t  size;

    if (in->end - in->p < NGX_LIVESTREAM_DVR_HEADER) {
        return -1;
    }

    size = ngx_livestream_dvr_get_32(in->p);

    if (size < NGX_LIVESTREAM_DVR_HEADER || size > in->end - in->p) {
        return -1;
    }

    *type = in->p + 4;

    box->p = in->p + NGX_LIVESTREAM_DVR_HEADER;
    box->end = in->p + size;

    in->p += size;

    return 0;
}


static int
ngx_livestream_dvr_skip(ngx_livestream_dvr_box_t *box, size_t n)
{
    if ((size_t) (box->end - box->p) < n) {
        return -1;
    }

    box->p += n;

    return 0;
}


static int
ngx_livestream_dvr_32(ngx_livestream_dvr_box_t *box, uint32_t *value)
{
    if (box->end - box->p < 4) {
        return -1;
    }

    *value = ngx_livestream_dvr_get_32(box->p);
    box->p += 4;

    return 0;
}


static uint32_t
ngx_livestream_dvr_get_32(const uint8_t *p)
{
    return (uint32_t) p[0] << 24 | p[1] << 16 | p[2] << 8 | p[3];
}


/* *got is less than len only at the end of the file */

static int
ngx_livestream_dvr_pread(int fd, uint8_t *p, size_t len, uint64_t offset,
    size_t *got)
{
    ssize_t  n;

    for (*got = 0; *got < len; *got += n) {

        n = pread(fd, p + *got, len - *got, offset + *got);

        if (n == -1 && errno == EINTR) {
            n = 0;
            continue;
        }

        if (n == -1) {
            return errno;
        }

        if (n == 0) {
            break;
        }
    }

    return 0;
}

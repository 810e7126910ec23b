
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
 * that, and if it does not begin before the one before it has ended.  Other
 * boxes may stand before a moof and belong to its part.
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


#define NGX_LIVESTREAM_DVR_HEADER    8
#define NGX_LIVESTREAM_DVR_INIT_MAX  262144         /* bytes of a file */
#define NGX_LIVESTREAM_DVR_MOOF_MAX  1048576
#define NGX_LIVESTREAM_DVR_TICKS     (INT64_C(1) << 60)
#define NGX_LIVESTREAM_DVR_SUM       (UINT64_C(1) << 53)

/* tfhd */
#define NGX_LIVESTREAM_DVR_BASE              0x000001
#define NGX_LIVESTREAM_DVR_DESCRIPTION       0x000002
#define NGX_LIVESTREAM_DVR_DEFAULT_DURATION  0x000008
#define NGX_LIVESTREAM_DVR_DEFAULT_SIZE      0x000010

/* trun */
#define NGX_LIVESTREAM_DVR_DATA_OFFSET       0x000001
#define NGX_LIVESTREAM_DVR_FIRST_FLAGS       0x000004
#define NGX_LIVESTREAM_DVR_SAMPLE_DURATION   0x000100
#define NGX_LIVESTREAM_DVR_SAMPLE_SIZE       0x000200
#define NGX_LIVESTREAM_DVR_SAMPLE_FLAGS      0x000400
#define NGX_LIVESTREAM_DVR_SAMPLE_CTS        0x000800


/* what is left of a box or of a list of them */
typedef struct {
    const uint8_t           *p;
    const uint8_t           *end;
} ngx_livestream_dvr_box_t;


/* of one moof */
typedef struct {
    unsigned                 has_duration;
    unsigned                 has_size;
    uint32_t                 sample_duration;   /* where trun has none */
    uint32_t                 sample_size;

    unsigned                 tfdt;          /* how many there are */
    unsigned                 truns;
    int64_t                  dts;
    uint64_t                 duration;      /* ticks, of all samples */
    uint64_t                 size;          /* bytes, of all samples */
} ngx_livestream_dvr_moof_t;


static int ngx_livestream_dvr_moof(const uint8_t *p, size_t len,
    ngx_livestream_dvr_moof_t *m);
static int ngx_livestream_dvr_traf(ngx_livestream_dvr_box_t *traf,
    ngx_livestream_dvr_moof_t *m);
static int ngx_livestream_dvr_tfhd(ngx_livestream_dvr_box_t *box,
    ngx_livestream_dvr_moof_t *m);
static int ngx_livestream_dvr_tfdt(ngx_livestream_dvr_box_t *box,
    ngx_livestream_dvr_moof_t *m);
static int ngx_livestream_dvr_trun(ngx_livestream_dvr_box_t *box,
    ngx_livestream_dvr_moof_t *m);
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
    int                         rc;
    size_t                      got;
    uint8_t                    *p, header[NGX_LIVESTREAM_DVR_HEADER];
    uint64_t                    offset, len;
    ngx_livestream_dvr_moof_t   m;

    memset(parts, 0, sizeof(ngx_livestream_dvr_parts_t));
    memset(&m, 0, sizeof(ngx_livestream_dvr_moof_t));

    if (size > UINT32_MAX) {
        size = UINT32_MAX;
    }

    p = malloc(NGX_LIVESTREAM_DVR_MOOF_MAX);

    if (p == NULL) {
        return ENOMEM;
    }

    for (offset = 0; offset < size; offset += len) {

        rc = ngx_livestream_dvr_pread(fd, header, sizeof(header), offset,
                                      &got);
        if (rc) {
            goto done;
        }

        len = ngx_livestream_dvr_get_32(header);

        if (got != sizeof(header) || len < sizeof(header)
            || len > size - offset)
        {
            break;
        }

        if (memcmp(header + 4, "moof", 4) == 0) {

            if (m.truns || len > NGX_LIVESTREAM_DVR_MOOF_MAX) {
                break;
            }

            rc = ngx_livestream_dvr_pread(fd, p, len, offset, &got);
            if (rc) {
                goto done;
            }

            if (got != len
                || ngx_livestream_dvr_moof(p + sizeof(header),
                                           len - sizeof(header), &m) != 0)
            {
                break;
            }

        } else if (memcmp(header + 4, "mdat", 4) == 0) {

            if (m.truns == 0 || m.size != len - sizeof(header)
                || (parts->nparts && m.dts < parts->end))
            {
                break;
            }

            if (parts->nparts++ == 0) {
                parts->start = m.dts;
            }

            parts->end = m.dts + m.duration;
            parts->size = offset + len;

            m.truns = 0;

        } else if (m.truns) {
            break;
        }
    }

    rc = 0;

done:

    free(p);

    return rc;
}


static int
ngx_livestream_dvr_moof(const uint8_t *p, size_t len,
    ngx_livestream_dvr_moof_t *m)
{
    ngx_livestream_dvr_box_t  box, traf;

    memset(m, 0, sizeof(ngx_livestream_dvr_moof_t));

    box.p = p;
    box.end = p + len;

    if (ngx_livestream_dvr_find(&box, "traf", &traf) != 0) {
        return -1;
    }

    if (ngx_livestream_dvr_traf(&traf, m) != 0
        || m->tfdt != 1 || m->truns == 0 || m->duration == 0)
    {
        m->truns = 0;
        return -1;
    }

    return 0;
}


static int
ngx_livestream_dvr_traf(ngx_livestream_dvr_box_t *traf,
    ngx_livestream_dvr_moof_t *m)
{
    unsigned                   i;
    const uint8_t             *type;
    ngx_livestream_dvr_box_t   box;

    static const struct {
        const char            *type;
        int                  (*handler)(ngx_livestream_dvr_box_t *box,
                                        ngx_livestream_dvr_moof_t *m);
    } boxes[] = {
        { "tfhd", ngx_livestream_dvr_tfhd },
        { "tfdt", ngx_livestream_dvr_tfdt },
        { "trun", ngx_livestream_dvr_trun }
    };

    while (traf->p < traf->end) {

        if (ngx_livestream_dvr_next(traf, &type, &box) != 0) {
            return -1;
        }

        for (i = 0; i < sizeof(boxes) / sizeof(boxes[0]); i++) {
            if (memcmp(type, boxes[i].type, 4) == 0
                && boxes[i].handler(&box, m) != 0)
            {
                return -1;
            }
        }
    }

    return 0;
}


static int
ngx_livestream_dvr_tfhd(ngx_livestream_dvr_box_t *box,
    ngx_livestream_dvr_moof_t *m)
{
    size_t    skip;
    uint32_t  flags;

    if (ngx_livestream_dvr_32(box, &flags) != 0) {
        return -1;
    }

    skip = 4;
    skip += (flags & NGX_LIVESTREAM_DVR_BASE) ? 8 : 0;
    skip += (flags & NGX_LIVESTREAM_DVR_DESCRIPTION) ? 4 : 0;

    if (ngx_livestream_dvr_skip(box, skip) != 0) {
        return -1;
    }

    if (flags & NGX_LIVESTREAM_DVR_DEFAULT_DURATION) {
        m->has_duration = 1;

        if (ngx_livestream_dvr_32(box, &m->sample_duration) != 0) {
            return -1;
        }
    }

    if (flags & NGX_LIVESTREAM_DVR_DEFAULT_SIZE) {
        m->has_size = 1;

        if (ngx_livestream_dvr_32(box, &m->sample_size) != 0) {
            return -1;
        }
    }

    return 0;
}


static int
ngx_livestream_dvr_tfdt(ngx_livestream_dvr_box_t *box,
    ngx_livestream_dvr_moof_t *m)
{
    uint32_t  flags, high, low;

    high = 0;

    if (ngx_livestream_dvr_32(box, &flags) != 0
        || ((flags >> 24) && ngx_livestream_dvr_32(box, &high) != 0)
        || ngx_livestream_dvr_32(box, &low) != 0)
    {
        return -1;
    }

    m->tfdt++;
    m->dts = (int64_t) ((uint64_t) high << 32 | low);

    return m->dts < 0 || m->dts > NGX_LIVESTREAM_DVR_TICKS ? -1 : 0;
}


static int
ngx_livestream_dvr_trun(ngx_livestream_dvr_box_t *box,
    ngx_livestream_dvr_moof_t *m)
{
    size_t          skip, entry;
    uint32_t        flags, i, n;
    const uint8_t  *p;

    if (ngx_livestream_dvr_32(box, &flags) != 0
        || ngx_livestream_dvr_32(box, &n) != 0)
    {
        return -1;
    }

    skip = (flags & NGX_LIVESTREAM_DVR_DATA_OFFSET) ? 4 : 0;
    skip += (flags & NGX_LIVESTREAM_DVR_FIRST_FLAGS) ? 4 : 0;

    entry = (flags & NGX_LIVESTREAM_DVR_SAMPLE_DURATION) ? 4 : 0;
    entry += (flags & NGX_LIVESTREAM_DVR_SAMPLE_SIZE) ? 4 : 0;
    entry += (flags & NGX_LIVESTREAM_DVR_SAMPLE_FLAGS) ? 4 : 0;
    entry += (flags & NGX_LIVESTREAM_DVR_SAMPLE_CTS) ? 4 : 0;

    if (ngx_livestream_dvr_skip(box, skip) != 0
        || n > NGX_LIVESTREAM_DVR_MOOF_MAX
        || (uint64_t) n * entry > (uint64_t) (box->end - box->p))
    {
        return -1;
    }

    if ((!(flags & NGX_LIVESTREAM_DVR_SAMPLE_DURATION) && !m->has_duration)
        || (!(flags & NGX_LIVESTREAM_DVR_SAMPLE_SIZE) && !m->has_size))
    {
        return -1;
    }

    if (entry == 0) {
        m->duration += (uint64_t) n * m->sample_duration;
        m->size += (uint64_t) n * m->sample_size;
        n = 0;
    }

    for (i = 0; i < n; i++) {
        p = box->p + i * entry;

        if (flags & NGX_LIVESTREAM_DVR_SAMPLE_DURATION) {
            m->duration += ngx_livestream_dvr_get_32(p);
            p += 4;

        } else {
            m->duration += m->sample_duration;
        }

        m->size += (flags & NGX_LIVESTREAM_DVR_SAMPLE_SIZE)
                   ? ngx_livestream_dvr_get_32(p) : m->sample_size;
    }

    m->truns++;

    return m->duration > NGX_LIVESTREAM_DVR_SUM
           || m->size > NGX_LIVESTREAM_DVR_SUM ? -1 : 0;
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

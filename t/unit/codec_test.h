
/*
 * Copyright (C) nginx-livestream contributors
 *
 * What the tests of codecs share.  Everything is parsed from a copy of its
 * very size, so that a sanitizer sees a read past the end.
 */


#ifndef _CODEC_TEST_H_INCLUDED_
#define _CODEC_TEST_H_INCLUDED_


#include <stdlib.h>

#include "ngx_livestream_codec.h"
#include "codec_sane.h"
#include "codec_vectors.h"
#include "tap.h"


static const char  *reason;
static int          key;
static uint32_t     samples;


static inline uint8_t *
copy(const uint8_t *data, size_t len)
{
    uint8_t  *p;

    p = calloc(1, len);

    if (len) {
        memcpy(p, data, len);
    }

    return p;
}


/* NULL if refused */

static inline ngx_livestream_codec_t *
parse(ngx_livestream_codec_e id, const uint8_t *conf, size_t len)
{
    int                      rc;
    uint8_t                 *p;
    ngx_livestream_codec_t  *c;

    p = copy(conf, len);
    c = (void *) p;

    rc = ngx_livestream_codec_parse(id, p, len, &c, &reason);

    free(p);

    if ((rc == 0) != (c != NULL) || reason == NULL) {
        abort();
    }

    return c;
}


static inline int
check(const ngx_livestream_codec_t *c, const uint8_t *data, size_t len)
{
    int       rc;
    uint8_t  *p;

    p = copy(data, len);
    key = -1;
    samples = -1;

    rc = ngx_livestream_codec_check(c, p, len, &key, &samples, &reason);

    free(p);

    return rc;
}


static inline ngx_livestream_codec_t *
refine(ngx_livestream_codec_t *c, const uint8_t *frame, size_t len)
{
    int                      rc;
    uint8_t                 *p;
    ngx_livestream_codec_t  *refined;

    p = copy(frame, len);
    refined = (void *) p;

    rc = ngx_livestream_codec_refine(c, p, len, &refined, &reason);

    free(p);

    if ((rc == 0) != (refined != NULL)) {
        abort();
    }

    return refined;
}


static inline void
refused(ngx_livestream_codec_e id, const uint8_t *conf, size_t len,
    const char *why)
{
    ngx_livestream_codec_t  *c;

    c = parse(id, conf, len);

    tap_str(c ? "accepted" : reason, why, "refused: %s", why);

    ngx_livestream_codec_unref(c);
}


/*
 * Each truncation of a good configuration, of which none shorter than min may
 * be accepted (but nothing at all, which will do for Opus), and each flip of
 * one bit.
 */

static inline void
hostile(ngx_livestream_codec_e id, const uint8_t *conf, size_t len, size_t min,
    const char *name)
{
    size_t                   i, taken, insane;
    uint8_t                 *p;
    ngx_livestream_codec_t  *c;

    insane = 0;
    taken = 0;

    for (i = 0; i < len; i++) {
        c = parse(id, conf, i);

        if (c) {
            taken += i && i < min;
            insane += !codec_sane(c);
            ngx_livestream_codec_unref(c);
        }
    }

    tap_is(taken, 0, "%s: no truncation below %u bytes is accepted", name,
           (unsigned) min);

    p = copy(conf, len);

    for (i = 0; i < len * 8; i++) {
        p[i / 8] ^= 1 << (i % 8);
        c = parse(id, p, len);
        p[i / 8] ^= 1 << (i % 8);

        if (c) {
            insane += !codec_sane(c);
            ngx_livestream_codec_unref(c);
        }
    }

    free(p);

    tap_is(insane, 0, "%s: what is accepted of its mutations is sane", name);
}


/* frames, likewise: truncations and flips must not be read past the end */

static inline void
hostile_frame(const ngx_livestream_codec_t *c, const uint8_t *frame,
    size_t len, const char *name)
{
    size_t    i, odd;
    uint8_t  *p;

    odd = check(c, frame, 0) != -1;

    for (i = 1; i < len; i++) {
        odd += check(c, frame, i) < -1;
    }

    p = copy(frame, len);

    for (i = 0; i < len * 8; i++) {
        p[i / 8] ^= 1 << (i % 8);
        odd += check(c, p, len) < -1 || samples > CODEC_RATE_MAX;
        p[i / 8] ^= 1 << (i % 8);
    }

    free(p);

    tap_is(odd, 0, "%s: its mutations are told apart", name);
}


#endif /* _CODEC_TEST_H_INCLUDED_ */


/*
 * Copyright (C) nginx-livestream contributors
 *
 * Fuzzes configurations and access units.
 *
 *   | codec | size of the configuration, 16 bits | configuration |
 *   | size of a frame, 16 bits | frame | ...                  big-endian
 *
 * Sizes that run past the end are cut.  Beyond the sanitizers' complaints,
 * what is accepted must be sane, and be the same when it is parsed again from
 * what was kept of it.
 */


#include <stdlib.h>

#include "codec_sane.h"


typedef struct {
    const uint8_t  *pos;
    const uint8_t  *end;
} input_t;


int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);


static void
check(int ok)
{
    if (!ok) {
        abort();
    }
}


/* a copy of its very size; NULL at the end of input */

static uint8_t *
next(input_t *in, size_t *len)
{
    uint8_t  *p;

    if (in->end - in->pos < 2) {
        return NULL;
    }

    *len = (size_t) in->pos[0] << 8 | in->pos[1];
    in->pos += 2;

    if (*len > (size_t) (in->end - in->pos)) {
        *len = in->end - in->pos;
    }

    p = calloc(1, *len);
    check(p != NULL);

    if (*len) {
        memcpy(p, in->pos, *len);
    }

    in->pos += *len;

    return p;
}


static void
check_codec(int rc, const ngx_livestream_codec_t *c, const char *reason)
{
    int                      again;
    ngx_livestream_codec_t  *same;

    check(rc == 0 || rc == -1);
    check((rc == 0) == (c != NULL) && reason != NULL);

    if (rc != 0) {
        check(*reason != '\0');
        return;
    }

    check(codec_sane(c));

    again = ngx_livestream_codec_parse(c->id, c->config, c->config_len, &same,
                                       &reason);
    check(again == 0 && strcmp(same->codecs, c->codecs) == 0);
    check(same->config_len == c->config_len
          && memcmp(same->config, c->config, c->config_len) == 0);
    check(same->hash == c->hash || same->width != c->width
          || same->height != c->height);

    ngx_livestream_codec_unref(same);
}


static ngx_livestream_codec_t *
fuzz_frame(ngx_livestream_codec_t *c, const uint8_t *p, size_t len)
{
    int                      rc, key;
    uint32_t                 samples;
    const char              *reason;
    ngx_livestream_codec_t  *refined;

    rc = ngx_livestream_codec_check(c, p, len, &key, &samples, &reason);

    check(rc >= -1 && rc <= 1 && reason != NULL);

    if (rc != 0) {
        check(rc == 1 || *reason != '\0');
        return c;
    }

    if (c->media == NGX_LIVESTREAM_AUDIO) {
        check(key && samples && samples <= 65536);

    } else {
        check(samples == 0);
    }

    rc = ngx_livestream_codec_refine(c, p, len, &refined, &reason);

    if (refined == c) {
        check(rc == 0 && c->refs == 2);
        ngx_livestream_codec_unref(refined);
        return c;
    }

    check_codec(rc, refined, reason);

    if (rc != 0) {
        return c;
    }

    check(refined->width != 0);
    ngx_livestream_codec_unref(c);

    return refined;
}


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    int                      rc, id;
    size_t                   len;
    uint8_t                 *p;
    input_t                  in;
    const char              *reason;
    ngx_livestream_codec_t  *c;

    if (size == 0) {
        return 0;
    }

    id = data[0] % (NGX_LIVESTREAM_CODEC_FLAC + 2);
    in.pos = data + 1;
    in.end = data + size;

    p = next(&in, &len);

    if (p == NULL) {
        return 0;
    }

    rc = ngx_livestream_codec_parse(id, p, len, &c, &reason);
    check_codec(rc, c, reason);
    free(p);

    while ((p = next(&in, &len)) != NULL) {

        if (c) {
            c = fuzz_frame(c, p, len);

        } else {
            rc = ngx_livestream_codec_parse_frame(id, p, len, &c, &reason);
            check_codec(rc, c, reason);
        }

        free(p);
    }

    ngx_livestream_codec_unref(c);

    return 0;
}


/*
 * Copyright (C) nginx-livestream contributors
 *
 * Fuzzes a publisher: FLV tag bodies, and what comes out of them on its way
 * through the codecs, as ingest has it.
 *
 *   | 8 video, 9 audio | size, 16 bits, big-endian | body | ...
 *
 * A size that runs past the end is cut.
 */


#include <stdlib.h>

#include "ngx_livestream_flv.h"
#include "codec_sane.h"


#define FUZZ_AUDIO  9


int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);


static void
check(int ok)
{
    if (!ok) {
        abort();
    }
}


static void
fuzz_config(ngx_livestream_codec_t **codec, const ngx_livestream_flv_t *tag)
{
    int                      rc;
    const char              *reason;
    ngx_livestream_codec_t  *c;

    rc = ngx_livestream_codec_parse(tag->codec, tag->data, tag->size, &c,
                                    &reason);
    if (rc != 0) {
        check(rc == -1 && c == NULL && *reason != '\0');
        return;
    }

    check(codec_sane(c));

    ngx_livestream_codec_unref(*codec);
    *codec = c;
}


static void
fuzz_frame(ngx_livestream_codec_t **codec, const ngx_livestream_flv_t *tag)
{
    int                      rc, key;
    uint32_t                 samples;
    const char              *reason;
    ngx_livestream_codec_t  *c;

    if (*codec == NULL || (*codec)->id != tag->codec) {
        rc = ngx_livestream_codec_parse_frame(tag->codec, tag->data, tag->size,
                                              &c, &reason);
        if (rc != 0) {
            check(rc == -1 && c == NULL && *reason != '\0');
            return;
        }

        check(codec_sane(c));

        ngx_livestream_codec_unref(*codec);
        *codec = c;
    }

    rc = ngx_livestream_codec_check(*codec, tag->data, tag->size, &key,
                                    &samples, &reason);

    check(rc >= -1 && rc <= 1);
    check(rc != -1 || *reason != '\0');

    if (rc != 0 || !key) {
        return;
    }

    rc = ngx_livestream_codec_refine(*codec, tag->data, tag->size, &c,
                                     &reason);

    if (rc == 0) {
        check(c->media == NGX_LIVESTREAM_AUDIO || c->width != 0);
        ngx_livestream_codec_unref(*codec);
        *codec = c;
    }
}


static void
fuzz_tag(ngx_livestream_codec_t **codecs, int audio, const uint8_t *p,
    size_t len)
{
    int                    rc;
    const char            *reason;
    ngx_livestream_flv_t   tag;

    rc = audio ? ngx_livestream_flv_audio(p, len, &tag, &reason)
               : ngx_livestream_flv_video(p, len, &tag, &reason);

    check(rc <= 0 && rc >= -2 && reason != NULL);

    if (rc != 0) {
        check(*reason != '\0' && tag.type == NGX_LIVESTREAM_FLV_IGNORE);
        return;
    }

    check(tag.cts >= -0x800000 && tag.cts <= 0x7fffff);
    check(tag.nano <= 999999);

    if (tag.type == NGX_LIVESTREAM_FLV_IGNORE) {
        return;
    }

    check(tag.data >= p && tag.size <= len
          && tag.data - p <= (ptrdiff_t) (len - tag.size));

    if (tag.type == NGX_LIVESTREAM_FLV_CONFIG) {
        fuzz_config(&codecs[audio], &tag);
    }

    if (tag.type == NGX_LIVESTREAM_FLV_FRAME) {
        check(tag.size != 0);
        fuzz_frame(&codecs[audio], &tag);
    }
}


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    int                      audio;
    size_t                   len;
    uint8_t                 *p;
    const uint8_t           *end;
    ngx_livestream_codec_t  *codecs[2] = { NULL, NULL };

    end = data + size;

    while (end - data >= 3) {

        audio = data[0] == FUZZ_AUDIO;
        len = (size_t) data[1] << 8 | data[2];
        data += 3;

        if (len > (size_t) (end - data)) {
            len = end - data;
        }

        /* a copy of its very size, so that reading past it is seen */

        p = calloc(1, len);
        check(p != NULL);

        if (len) {
            memcpy(p, data, len);
        }

        data += len;

        fuzz_tag(codecs, audio, p, len);

        free(p);
    }

    ngx_livestream_codec_unref(codecs[0]);
    ngx_livestream_codec_unref(codecs[1]);

    return 0;
}


/*
 * Copyright (C) nginx-livestream contributors
 *
 * Fuzzes access units and parameter sets in Annex B.
 *
 *   | codec: odd is HEVC | Annex B |
 *
 * What is written must be as long as was said, be framed as the codec's own
 * check wants it, and a record must be one that is parsed or refused.
 */


#include <stdlib.h>
#include <string.h>

#include "ngx_livestream_transcode.h"


int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);


static void
check(int ok)
{
    if (!ok) {
        abort();
    }
}


static void
fuzz_unit(ngx_livestream_codec_e id, const uint8_t *data, size_t len)
{
    int                      rc, key;
    size_t                   size;
    uint8_t                 *p;
    uint32_t                 samples;
    const char              *reason;
    ngx_livestream_codec_t   codec;

    size = ngx_livestream_transcode_nals_get_size(id, data, len);

    if (size == 0) {
        return;
    }

    p = malloc(size);
    check(p != NULL);

    check(ngx_livestream_transcode_nals_write(p, id, data, len) == p + size);

    memset(&codec, 0, sizeof(codec));
    codec.id = id;
    codec.nal_length = 4;

    rc = ngx_livestream_codec_check(&codec, p, size, &key, &samples, &reason);

    check(rc == 0 || strcmp(reason, "NAL header is invalid") == 0);

    free(p);
}


static void
fuzz_record(ngx_livestream_codec_e id, const uint8_t *data, size_t len)
{
    int                      rc;
    size_t                   size;
    uint8_t                 *record;
    const char              *reason;
    AVCodecContext           avctx;
    ngx_livestream_codec_t  *codec;

    memset(&avctx, 0, sizeof(avctx));
    avctx.codec_id = id == NGX_LIVESTREAM_CODEC_H264 ? AV_CODEC_ID_H264
                                                     : AV_CODEC_ID_HEVC;
    avctx.extradata = (uint8_t *) data;
    avctx.extradata_size = len;

    rc = ngx_livestream_transcode_record(&avctx, &record, &size);

    check((rc == 0) == (record != NULL));

    if (rc != 0) {
        return;
    }

    if (ngx_livestream_codec_parse(id, record, size, &codec, &reason) == 0) {
        check(codec->nal_length == 4);
        ngx_livestream_codec_unref(codec);
    }

    free(record);
}


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t                 *copy;
    ngx_livestream_codec_e   id;

    if (size == 0) {
        return 0;
    }

    id = data[0] & 1 ? NGX_LIVESTREAM_CODEC_HEVC : NGX_LIVESTREAM_CODEC_H264;

    /* of its very size */

    size--;
    copy = malloc(size);
    check(copy != NULL || size == 0);

    if (size) {
        memcpy(copy, data + 1, size);
    }

    fuzz_unit(id, copy, size);
    fuzz_record(id, copy, size);

    free(copy);

    return 0;
}


/*
 * Copyright (C) nginx-livestream contributors
 *
 * What must hold for each codec that a parser accepts, whatever it was given:
 * for unit tests and fuzzers.
 */


#ifndef _CODEC_SANE_H_INCLUDED_
#define _CODEC_SANE_H_INCLUDED_


#include <string.h>

#include "ngx_livestream_codec.h"


#define CODEC_RATE_MIN   1000
#define CODEC_RATE_MAX   384000
#define CODEC_SIZE_MAX   16384


static inline int
codec_sane(const ngx_livestream_codec_t *c)
{
    size_t  len;

    len = strnlen(c->codecs, sizeof(c->codecs));

    if (len < 4 || len == sizeof(c->codecs) || c->refs != 1
        || c->config_len > NGX_LIVESTREAM_CONFIG_MAX)
    {
        return 0;
    }

    if (c->media == NGX_LIVESTREAM_AUDIO) {
        return c->sample_rate >= CODEC_RATE_MIN
               && c->sample_rate <= CODEC_RATE_MAX
               && c->timescale == c->sample_rate
               && c->channels >= 1 && c->channels <= 8;
    }

    if (c->width > CODEC_SIZE_MAX || c->height > CODEC_SIZE_MAX
        || c->timescale != 90000 || c->chroma > 3
        || c->bit_depth < 8 || c->bit_depth > 16
        || (c->width == 0) != (c->height == 0)
        || (c->sar_num == 0) != (c->sar_den == 0))
    {
        return 0;
    }

    if (c->id == NGX_LIVESTREAM_CODEC_AV1
        || c->id == NGX_LIVESTREAM_CODEC_VP9)
    {
        return c->nal_length == 0;
    }

    return c->width != 0
           && (c->nal_length == 1 || c->nal_length == 2 || c->nal_length == 4);
}


#endif /* _CODEC_SANE_H_INCLUDED_ */


/*
 * Copyright (C) nginx-livestream contributors
 *
 * Codec parameters: the table of codecs, and the objects' life.
 *
 *   record  --copy-->  object  --parse-->  object  --seal-->  immutable
 *                      (config)            (fields)           (hash)
 *
 * What a codec's records and frames look like is known by its own file:
 * ngx_livestream_codec_{h264,hevc,av1,vp9,aac,opus,flac}.c, of which each has
 * one entry for the table below.  H.264 and HEVC share codec_h26x.c.
 *
 * Pure C, any thread.
 */


#include <stdlib.h>
#include <string.h>

#include "ngx_livestream_codec_impl.h"


static const ngx_livestream_codec_impl_t *ngx_livestream_codec_impl(
    ngx_livestream_codec_e id);
static uint64_t ngx_livestream_codec_hash(uint64_t hash, const void *data,
    size_t len);


static const ngx_livestream_codec_impl_t  *ngx_livestream_codecs[] = {
    [NGX_LIVESTREAM_CODEC_H264] = &ngx_livestream_codec_h264,
    [NGX_LIVESTREAM_CODEC_HEVC] = &ngx_livestream_codec_hevc,
    [NGX_LIVESTREAM_CODEC_AV1] = &ngx_livestream_codec_av1,
    [NGX_LIVESTREAM_CODEC_VP9] = &ngx_livestream_codec_vp9,
    [NGX_LIVESTREAM_CODEC_AAC] = &ngx_livestream_codec_aac,
    [NGX_LIVESTREAM_CODEC_OPUS] = &ngx_livestream_codec_opus,
    [NGX_LIVESTREAM_CODEC_FLAC] = &ngx_livestream_codec_flac
};


int
ngx_livestream_codec_parse(ngx_livestream_codec_e id, const uint8_t *conf,
    size_t len, ngx_livestream_codec_t **codec, const char **reason)
{
    size_t                              room;
    ngx_livestream_codec_t             *c;
    const ngx_livestream_codec_impl_t  *impl;

    *codec = NULL;
    *reason = "";

    impl = ngx_livestream_codec_impl(id);
    if (impl == NULL) {
        *reason = "codec is unknown";
        return -1;
    }

    if (len > NGX_LIVESTREAM_CONFIG_MAX) {
        *reason = "codec configuration is too large";
        return -1;
    }

    room = len > NGX_LIVESTREAM_CONFIG_ROOM ? len : NGX_LIVESTREAM_CONFIG_ROOM;

    c = calloc(1, sizeof(ngx_livestream_codec_t) + room);
    if (c == NULL) {
        *reason = "no memory for a codec configuration";
        return -1;
    }

    c->refs = 1;
    c->id = id;
    c->media = impl->media;
    c->transfer = NGX_LIVESTREAM_UNSPECIFIED;
    c->config_len = len;

    if (len) {
        memcpy(c->config, conf, len);
    }

    if (impl->parse(c, reason) != 0
        || ngx_livestream_codec_seal(c, reason) != 0)
    {
        free(c);
        return -1;
    }

    *codec = c;

    return 0;
}


int
ngx_livestream_codec_parse_frame(ngx_livestream_codec_e id,
    const uint8_t *frame, size_t len, ngx_livestream_codec_t **codec,
    const char **reason)
{
    const ngx_livestream_codec_impl_t  *impl;

    *codec = NULL;
    *reason = "";

    impl = ngx_livestream_codec_impl(id);
    if (impl == NULL || impl->refine == NULL) {
        *reason = "codec configuration is missing";
        return -1;
    }

    return impl->refine(NULL, frame, len, codec, reason);
}


int
ngx_livestream_codec_refine(ngx_livestream_codec_t *c, const uint8_t *frame,
    size_t len, ngx_livestream_codec_t **codec, const char **reason)
{
    const ngx_livestream_codec_impl_t  *impl;

    *codec = NULL;
    *reason = "";

    impl = ngx_livestream_codec_impl(c->id);

    if (impl->refine == NULL) {
        *codec = ngx_livestream_codec_ref(c);
        return 0;
    }

    return impl->refine(c, frame, len, codec, reason);
}


int
ngx_livestream_codec_check(const ngx_livestream_codec_t *c,
    const uint8_t *data, size_t len, int *key, uint32_t *samples,
    const char **reason)
{
    const ngx_livestream_codec_impl_t  *impl;

    *key = 0;
    *samples = 0;
    *reason = "";

    if (len == 0) {
        *reason = "frame is empty";
        return -1;
    }

    impl = ngx_livestream_codec_impl(c->id);

    return impl->check(c, data, len, key, samples, reason);
}


int
ngx_livestream_codec_seal(ngx_livestream_codec_t *c, const char **reason)
{
    uint8_t   id;
    uint64_t  hash;

    if (c->media == NGX_LIVESTREAM_AUDIO) {

        if (c->sample_rate < NGX_LIVESTREAM_RATE_MIN
            || c->sample_rate > NGX_LIVESTREAM_RATE_MAX)
        {
            *reason = "sample rate is out of range";
            return -1;
        }

        if (c->channels < 1 || c->channels > NGX_LIVESTREAM_CHANNELS_MAX) {
            *reason = "number of channels is out of range";
            return -1;
        }

        c->timescale = c->sample_rate;

    } else {

        if (c->width > NGX_LIVESTREAM_SIZE_MAX
            || c->height > NGX_LIVESTREAM_SIZE_MAX)
        {
            *reason = "picture is too large";
            return -1;
        }

        if ((c->width == 0 || c->height == 0)
            && ngx_livestream_codec_impl(c->id)->refine == NULL)
        {
            *reason = "picture is empty";
            return -1;
        }

        c->timescale = 90000;
    }

    id = c->id;

    hash = 0xcbf29ce484222325;
    hash = ngx_livestream_codec_hash(hash, &id, 1);
    hash = ngx_livestream_codec_hash(hash, c->config, c->config_len);
    hash = ngx_livestream_codec_hash(hash, &c->width, sizeof(c->width));
    hash = ngx_livestream_codec_hash(hash, &c->height, sizeof(c->height));

    c->hash = hash;

    return 0;
}


ngx_livestream_codec_t *
ngx_livestream_codec_ref(ngx_livestream_codec_t *c)
{
    (void) __atomic_fetch_add(&c->refs, 1, __ATOMIC_RELAXED);

    return c;
}


void
ngx_livestream_codec_unref(ngx_livestream_codec_t *c)
{
    if (c && __atomic_sub_fetch(&c->refs, 1, __ATOMIC_ACQ_REL) == 0) {
        free(c);
    }
}


const char *
ngx_livestream_codec_name(ngx_livestream_codec_e id)
{
    const ngx_livestream_codec_impl_t  *impl;

    impl = ngx_livestream_codec_impl(id);

    return impl ? impl->name : "none";
}


static const ngx_livestream_codec_impl_t *
ngx_livestream_codec_impl(ngx_livestream_codec_e id)
{
    if ((size_t) id >= sizeof(ngx_livestream_codecs)
                       / sizeof(ngx_livestream_codecs[0]))
    {
        return NULL;
    }

    return ngx_livestream_codecs[id];
}


/* FNV-1a */

static uint64_t
ngx_livestream_codec_hash(uint64_t hash, const void *data, size_t len)
{
    const uint8_t  *p, *end;

    p = data;
    end = p + len;

    while (p < end) {
        hash ^= *p++;
        hash *= 0x100000001b3;
    }

    return hash;
}

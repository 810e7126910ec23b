
/*
 * Copyright (C) nginx-livestream contributors
 *
 * Clips for tests of the packager: frames in the order in which a publisher
 * sends them.
 */


#ifndef _PACKAGER_CLIP_H_INCLUDED_
#define _PACKAGER_CLIP_H_INCLUDED_


#include "packager_sim.h"


#define FRAMES  131072


typedef struct {
    int64_t                  arrival;   /* us */
    ngx_livestream_frame_t  *frame;
} arrival_t;


static unsigned   narrivals;
static arrival_t  arrivals[FRAMES];

static ngx_livestream_codec_t  *h264, *h264_other, *aac44, *aac48;


static ngx_livestream_codec_t *
codec(ngx_livestream_codec_e id, const uint8_t *config, size_t len)
{
    const char              *reason;
    ngx_livestream_codec_t  *c;

    if (ngx_livestream_codec_parse(id, config, len, &c, &reason) == -1) {
        printf("Bail out! %s\n", reason);
        exit(1);
    }

    return c;
}


__attribute__((unused))
static uint32_t
random_below(uint32_t n)
{
    static uint64_t  seed = 88172645463325252ULL;

    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;

    return n ? (uint32_t) (seed >> 11) % n : 0;
}


static ngx_livestream_frame_t *
frame(ngx_livestream_codec_t *c, int64_t dts, int64_t cts, unsigned key)
{
    size_t                   size;
    const uint8_t           *data;
    ngx_livestream_frame_t  *f;

    if (c->media == NGX_LIVESTREAM_AUDIO) {
        data = aac_frame1;
        size = sizeof(aac_frame1);

    } else if (key) {
        data = h264_frame0;
        size = sizeof(h264_frame0);

    } else {
        data = h264_frame1;
        size = sizeof(h264_frame1);
    }

    f = ngx_livestream_frame_create(c, size);

    memcpy(f->data, data, size);

    f->track = c->media;
    f->flags = key ? NGX_LIVESTREAM_FRAME_KEY : 0;
    f->dts = dts;
    f->pts = dts + cts;
    f->wall = INT64_C(1767225600000000);

    return f;
}


static void
arrive(int64_t us, ngx_livestream_frame_t *f)
{
    arrivals[narrivals].arrival = us;
    arrivals[narrivals++].frame = f;
}


static int
earlier(const void *one, const void *two)
{
    const arrival_t  *a, *b;

    a = one;
    b = two;

    if (a->arrival != b->arrival) {
        return (a->arrival > b->arrival) - (a->arrival < b->arrival);
    }

    return (int) a->frame->track - (int) b->frame->track;
}


static void
clip_codecs(void)
{
    static const uint8_t  asc44[] = { 0x12, 0x10 };
    static const uint8_t  asc48[] = { 0x11, 0x90 };

    h264 = codec(NGX_LIVESTREAM_CODEC_H264, h264_config, sizeof(h264_config));
    h264_other = codec(NGX_LIVESTREAM_CODEC_H264, h264_fields_config,
                       sizeof(h264_fields_config));
    aac44 = codec(NGX_LIVESTREAM_CODEC_AAC, asc44, sizeof(asc44));
    aac48 = codec(NGX_LIVESTREAM_CODEC_AAC, asc48, sizeof(asc48));
}


static void
clip_free_codecs(void)
{
    ngx_livestream_codec_unref(h264);
    ngx_livestream_codec_unref(h264_other);
    ngx_livestream_codec_unref(aac44);
    ngx_livestream_codec_unref(aac48);
}


/* 0, or what a stage returned */

__attribute__((unused))
static int
clip_play(void)
{
    int       rc;
    unsigned  i;

    qsort(arrivals, narrivals, sizeof(arrival_t), earlier);

    sim_open();

    rc = 0;

    for (i = 0; rc == 0 && i < narrivals; i++) {
        rc = sim_push(ngx_livestream_frame_ref(arrivals[i].frame));
    }

    if (rc == 0) {
        return sim_end();
    }

    sim_close();

    return rc;
}


static void
clip_free(void)
{
    while (narrivals) {
        ngx_livestream_frame_unref(arrivals[--narrivals].frame);
    }
}


#endif /* _PACKAGER_CLIP_H_INCLUDED_ */

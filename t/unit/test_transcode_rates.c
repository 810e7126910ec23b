
/*
 * Copyright (C) nginx-livestream contributors
 *
 * Tests of the encoders' rates: of bits, whatever the rate of pictures is.
 */


#include <libavutil/log.h>

#include "transcode_encoder.h"


#define TICKS  3000


static const ngx_livestream_codec_e  codecs[] = {
    NGX_LIVESTREAM_CODEC_H264,
    NGX_LIVESTREAM_CODEC_HEVC,
    NGX_LIVESTREAM_CODEC_VP9
};


static const struct {
    const char              *what;
    uint32_t                 rate;          /* nominal, per 1000 s */
    unsigned                 ticks;         /* a picture */
    unsigned                 jitter;
    unsigned                 seconds;
    unsigned                 settled;       /* s: from when on it must hold */
} paces[] = {
    { "15 a second where 30 are expected", 30000, 6000, 0, 8, 2 },
    { "60 a second where 30 are expected", 30000, 1500, 0, 6, 2 },
    { "30 a second where 60 are expected", 60000, 3000, 0, 6, 2 },
    { "60 a second", 60000, 1500, 0, 4, 0 },
    { "30 a second, of which nobody told", 0, 3000, 0, 4, 0 },
    { "jitter", 30000, 3000, 2500, 6, 0 }
};


static void
test_pace(ngx_livestream_codec_e codec, unsigned pace)
{
    int                               keys;
    double                            rate, peak;
    int64_t                           end;
    track_t                           t;
    unsigned                          i, n, failed, changed;
    const char                       *name;
    ngx_livestream_transcode_stamp_t  stamp;

    track_conf(&t, codec, 426, 240, 400000);
    t.conf.rate = paces[pace].rate;

    name = ngx_livestream_codec_name(codec);
    n = paces[pace].seconds * NGX_LIVESTREAM_TRANSCODE_CLOCK
        / paces[pace].ticks;
    end = (int64_t) n * paces[pace].ticks;

    if (!track_open(&t)) {
        tap_ok(0, "%s: opens", name);
        track_free(&t);
        return;
    }

    failed = 0;
    keys = 0;

    for (i = 0; i < n; i++) {
        memset(&stamp, 0, sizeof(stamp));
        stamp.pts = (int64_t) i * paces[pace].ticks;
        stamp.idr = stamp.pts % (2 * NGX_LIVESTREAM_TRANSCODE_CLOCK) == 0;
        keys += stamp.idr;

        if (i % 2) {
            stamp.pts += paces[pace].jitter;
        }

        failed += track_put(&t, i, &stamp) != 0;
    }

    changed = 0;

    for (i = 0; i < t.n; i++) {
        keys -= t.frames[i]->flags & NGX_LIVESTREAM_FRAME_KEY;
        changed += i && t.frames[i]->codec != t.frames[i - 1]->codec;
    }

    rate = track_bitrate(&t, paces[pace].settled
                             * NGX_LIVESTREAM_TRANSCODE_CLOCK, end)
           / t.conf.bitrate;
    peak = track_peak(&t, end) / t.conf.bitrate;

    tap_ok(failed == 0 && t.late == 0 && keys == 0,
           "%s: %s: each is out at once", name, paces[pace].what);

    /* a level that is too low for the pictures' rate has to go */

    tap_is(changed, codec == NGX_LIVESTREAM_CODEC_HEVC
                    && paces[pace].ticks < 3000
                    && paces[pace].rate == 30000,
           "%s: %s: configurations", name, paces[pace].what);
    tap_ok(rate > 0.9 && rate < 1.1, "%s: %s: %.3f of the bitrate", name,
           paces[pace].what, rate);
    tap_ok(peak < (paces[pace].settled ? 2.3 : 1.4),
           "%s: %s: %.3f in the worst second", name, paces[pace].what, peak);

    track_free(&t);
}


/* the default ladder, in the codec that it has by default */

static const struct {
    unsigned                 width;
    unsigned                 height;
    unsigned                 bitrate;
    unsigned                 level;
} ladder[] = {
    { 1920, 1080, 5000000, 40 },
    { 1280, 720, 2800000, 31 },
    { 854, 480, 1400000, 31 },
    { 640, 360, 800000, 30 },
    { 426, 240, 400000, 21 }
};


static void
test_ladder(unsigned rung)
{
    double                            rate, peak;
    track_t                           t;
    unsigned                          i, failed;
    ngx_livestream_transcode_stamp_t  stamp;

    track_conf(&t, NGX_LIVESTREAM_CODEC_H264, ladder[rung].width,
               ladder[rung].height, ladder[rung].bitrate);

    if (!tap_ok(track_open(&t), "%up opens", ladder[rung].height)) {
        track_free(&t);
        return;
    }

    failed = 0;

    for (i = 0; i < 90; i++) {
        memset(&stamp, 0, sizeof(stamp));
        stamp.pts = i * TICKS;
        stamp.idr = i == 60;

        failed += track_put(&t, i, &stamp) != 0;
    }

    tap_ok(failed == 0 && t.n == 90, "%up: takes all pictures",
           ladder[rung].height);
    tap_is(t.frames[0]->codec->level, ladder[rung].level, "%up: level",
           ladder[rung].height);

    rate = track_bitrate(&t, 0, 90 * TICKS) / t.conf.bitrate;
    peak = track_peak(&t, 90 * TICKS) / t.conf.bitrate;

    tap_ok(rate > 0.9 && rate < 1.1, "%up: %.3f of the bitrate",
           ladder[rung].height, rate);
    tap_ok(peak < 1.4, "%up: %.3f in the worst second", ladder[rung].height,
           peak);

    track_free(&t);
}


/* what is easy to encode takes less than it may */

static void
test_still(ngx_livestream_codec_e codec)
{
    double                            rate;
    track_t                           t;
    unsigned                          i, plane, failed;
    ngx_livestream_transcode_stamp_t  stamp;

    track_conf(&t, codec, 640, 360, 800000);

    for (plane = 0; plane < 3; plane++) {
        memset(t.pic->data[plane], 128, t.pic->linesize[plane]
                                        * (plane ? 180 : 360));
    }

    failed = !track_open(&t);

    for (i = 0; i < 90 && !failed; i++) {
        memset(&stamp, 0, sizeof(stamp));
        stamp.pts = i * TICKS;

        failed += ngx_livestream_transcode_encode(t.e, t.pic, &stamp,
                                                  track_emit, &t)
                  != 0;
    }

    rate = track_bitrate(&t, 0, 90 * TICKS) / t.conf.bitrate;

    tap_ok(!failed && t.n == 90 && rate < 0.1,
           "%s: a grey picture takes %.3f of the bitrate",
           ngx_livestream_codec_name(codec), rate);

    track_free(&t);
}


int
main(void)
{
    unsigned  i, k;

    av_log_set_level(AV_LOG_QUIET);
    texture_make();

    for (i = 0; i < sizeof(codecs) / sizeof(codecs[0]); i++) {
        for (k = 0; k < sizeof(paces) / sizeof(paces[0]); k++) {
            test_pace(codecs[i], k);
        }

        test_still(codecs[i]);
    }

    for (i = 0; i < sizeof(ladder) / sizeof(ladder[0]); i++) {
        test_ladder(i);
    }

    return tap_done();
}

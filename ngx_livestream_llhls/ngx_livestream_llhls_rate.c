
/*
 * Copyright (C) nginx-livestream contributors
 *
 * What frames say of their rate, and PART-TARGET, which follows from it.
 *
 *   30 frames/s  |  |  |  |  |  |  |  |  |  |  |  |  |  |  |  |
 *   15           |     |     |     |     |     |     |     |
 *   audio        |    |    |    |    |    |    |    |    |    |
 *                ^------------ PART-TARGET ------------^
 *
 * All tracks have one PART-TARGET, so it has to suit the frames of each.
 *
 * Pipeline thread.
 */


#include <stdlib.h>

#include "ngx_livestream_llhls_rate.h"


#define NGX_LIVESTREAM_LLHLS_MAX_RATE  1000000      /* per 1000 s */
#define NGX_LIVESTREAM_LLHLS_MAX_PART  5000         /* ms */
#define NGX_LIVESTREAM_LLHLS_ROUNDED   50           /* us, of a part */


static int64_t ngx_livestream_llhls_spacing(uint32_t told,
    ngx_livestream_frame_t **frames, unsigned n, unsigned track);
static int ngx_livestream_llhls_spacing_compare(const void *one,
    const void *two);


/*
 * What metadata says, or half of it, as is that of lower rungs, unless the
 * frames say otherwise; then a rate that cameras have, if it is near, as few
 * frames in whole milliseconds tell it no better.
 */

uint32_t
ngx_livestream_llhls_frame_rate(uint32_t told, uint32_t n, int64_t ticks,
    uint32_t timescale)
{
    int64_t   rate;
    unsigned  i, nearest;

    static const int64_t  rates[] = {
        1000, 2000, 5000, 6000, 7500, 8000, 10000, 12000, 12500, 15000, 20000,
        23976, 24000, 25000, 29970, 30000, 48000, 50000, 59940, 60000, 90000,
        100000, 120000
    };

    if (n < 2 || ticks <= 0) {
        return 0;
    }

    rate = (int64_t) (n - 1) * timescale * 1000 / ticks;

    if (rate > NGX_LIVESTREAM_LLHLS_MAX_RATE) {
        return 0;
    }

    for (i = 1; i <= 2; i++) {
        if (told / i > rate * 95 / 100 && told / i < rate * 105 / 100) {
            return told / i;
        }
    }

    nearest = 0;

    for (i = 1; i < sizeof(rates) / sizeof(rates[0]); i++) {
        if (llabs(rates[i] - rate) < llabs(rates[nearest] - rate)) {
            nearest = i;
        }
    }

    return llabs(rates[nearest] - rate) < rate / 200 ? rates[nearest] : rate;
}


/*
 * The least PART-TARGET, in whole milliseconds, into which as many frames of
 * each track fit as are part_duration long, and of which they fill 86 %.
 * Parts that were a little shorter than part_duration would leave a crumb at
 * the end of each segment, which players that are busy do not fetch in time.
 */

int64_t
ngx_livestream_llhls_part_target(const ngx_livestream_pipeline_conf_t *conf,
    ngx_livestream_frame_t **frames, unsigned n)
{
    int64_t   ms, us, fit, least;
    int64_t   spacing[NGX_LIVESTREAM_PIPELINE_TRACKS];
    unsigned  i;

    for (i = 0; i < NGX_LIVESTREAM_PIPELINE_TRACKS; i++) {
        spacing[i] = ngx_livestream_llhls_spacing(conf->frame_rate, frames, n,
                                                  i);
    }

    /* a segment of one part has no crumbs */

    least = conf->part_duration <= conf->segment_duration / 2
            ? conf->part_duration : 0;

    ms = (conf->part_duration + 999) / 1000;

    for ( /* void */ ; ms < NGX_LIVESTREAM_LLHLS_MAX_PART; ms++) {
        us = ms * 1000;

        for (i = 0; i < NGX_LIVESTREAM_PIPELINE_TRACKS; i++) {

            if (spacing[i] == 0) {
                continue;
            }

            /* whole microseconds of a frame may be short of the truth */

            fit = (us + NGX_LIVESTREAM_LLHLS_ROUNDED) / spacing[i]
                  * spacing[i] + NGX_LIVESTREAM_LLHLS_ROUNDED;

            if (fit < least || fit < us * 86 / 100) {
                break;
            }
        }

        if (i == NGX_LIVESTREAM_PIPELINE_TRACKS) {
            break;
        }
    }

    return ms * 1000;
}


/*
 * us between the frames of a track, or 0: what their rate says, where there is
 * a median of spacings at all.
 */

static int64_t
ngx_livestream_llhls_spacing(uint32_t told, ngx_livestream_frame_t **frames,
    unsigned n, unsigned track)
{
    int64_t                  us, first, last;
    int64_t                  list[NGX_LIVESTREAM_LLHLS_FRAMES];
    unsigned                 i, nlist, nframes;
    uint32_t                 rate;
    ngx_livestream_frame_t  *f;

    f = NULL;
    nlist = 0;
    nframes = 0;
    first = 0;
    last = 0;

    for (i = 0; i < n; i++) {

        if (frames[i]->track != track) {
            continue;
        }

        f = frames[i];

        if (f->codec->frame_samples) {
            return ngx_livestream_ticks_to_us(f->codec->frame_samples,
                                              f->codec->timescale);
        }

        us = ngx_livestream_ticks_to_us(f->dts, f->codec->timescale);

        if (nframes++ == 0) {
            first = us;

        } else if (us > last) {
            list[nlist++] = us - last;
        }

        last = us;
    }

    if (nlist == 0) {
        return 0;
    }

    rate = 0;

    if (f->codec->media == NGX_LIVESTREAM_VIDEO) {
        rate = ngx_livestream_llhls_frame_rate(told, nframes, last - first,
                                               1000000);
    }

    if (rate) {
        return 1000000000 / rate;
    }

    qsort(list, nlist, sizeof(int64_t), ngx_livestream_llhls_spacing_compare);

    return list[nlist / 2];
}


static int
ngx_livestream_llhls_spacing_compare(const void *one, const void *two)
{
    int64_t  a, b;

    a = *(const int64_t *) one;
    b = *(const int64_t *) two;

    return (a > b) - (a < b);
}

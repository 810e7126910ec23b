
/*
 * Copyright (C) nginx-livestream contributors
 *
 * HDR that becomes BT.709.
 */


#include <libavutil/mastering_display_metadata.h>

#include "transcode_sieve.h"


static AVFrame *
hdr(int transfer, int y, int u, int v)
{
    AVFrame                       *f;
    AVContentLightMetadata        *light;
    AVMasteringDisplayMetadata    *display;

    f = picture_flat(AV_PIX_FMT_YUV420P10, 320, 180, y, u, v);
    f->color_trc = transfer;
    f->color_primaries = AVCOL_PRI_BT2020;
    f->colorspace = AVCOL_SPC_BT2020_NCL;
    f->color_range = AVCOL_RANGE_MPEG;

    /* what says nonsense must not turn the picture black */
    light = av_content_light_metadata_create_side_data(f);
    light->MaxCLL = 0;
    display = av_mastering_display_metadata_create_side_data(f);
    display->has_luminance = 1;
    display->max_luminance = (AVRational) { 0, 1 };

    return f;
}


/* 10 bit luma of PQ for light in cd/m2 */
static int
pq(double light)
{
    double  y;

    y = pow(light / 10000, 2610.0 / 16384);
    y = pow((3424.0 / 4096 + 2413.0 / 128 * y) / (1 + 2392.0 / 128 * y),
            2523.0 / 32);

    return lround(64 + 876 * y);
}


/* 8 bit luma of a display's light */
static int
bt1886(double light)
{
    return lround(16 + 219 * pow(light, 1 / 2.4));
}


static void
hdr_is_washed_out(void)
{
    static const double  lights[] = { 0, 2, 10, 0.18 * 203, 0.29 * 203 };
    int                  mean, last;
    AVFrame             *f;
    unsigned             i;

    for (i = 0; i < sizeof(lights) / sizeof(lights[0]); i++) {
        f = hdr(AVCOL_TRC_SMPTE2084, pq(lights[i]), 512, 512);
        tap_ok(ngx_livestream_transcode_filter_alters(f), "PQ is altered");
        f = sift(f);
        tap_ok(plain(f, 320, 180)
               && fabs(picture_mean(f, 0) - bt1886(lights[i] / 203)) <= 1
               && fabs(picture_mean(f, 1) - 128) < 1
               && fabs(picture_mean(f, 2) - 128) < 1,
               "PQ of %.1f cd/m2 is as bright in BT.709: %.1f, want %d",
               lights[i], picture_mean(f, 0), bt1886(lights[i] / 203));
        tap_ok(f->color_trc == AVCOL_TRC_BT709
               && f->colorspace == AVCOL_SPC_BT709
               && f->color_primaries == AVCOL_PRI_BT709
               && f->color_range == AVCOL_RANGE_MPEG
               && av_frame_get_side_data(f,
                      AV_FRAME_DATA_CONTENT_LIGHT_LEVEL) == NULL
               && av_frame_get_side_data(f,
                      AV_FRAME_DATA_MASTERING_DISPLAY_METADATA) == NULL,
               "and says so");
        av_frame_free(&f);
    }

    for (last = 0, i = 60; i <= 1000; i *= 2) {
        f = sift(hdr(AVCOL_TRC_SMPTE2084, pq(i), 512, 512));
        mean = lround(picture_mean(f, 0));
        tap_ok(mean > last + 5 && mean <= 236,
               "PQ of %u cd/m2 is still told apart: %d", i, mean);
        last = mean;
        av_frame_free(&f);
    }

    /* reference white is 75 % of HLG's signal; black is black */
    f = sift(hdr(AVCOL_TRC_ARIB_STD_B67, 64 + 876 * 3 / 4, 512, 512));
    tap_ok(plain(f, 320, 180) && picture_mean(f, 0) > 180
           && picture_mean(f, 0) < 225, "HLG's white: %.1f",
           picture_mean(f, 0));
    av_frame_free(&f);

    f = sift(hdr(AVCOL_TRC_ARIB_STD_B67, 64, 512, 512));
    tap_ok(picture_off(f, 0, 16) <= 1, "HLG's black");
    av_frame_free(&f);

    /* green of BT.2020 is beyond BT.709's, but green */
    f = sift(hdr(AVCOL_TRC_SMPTE2084, 400, 350, 350));
    tap_ok(picture_mean(f, 1) < 118 && picture_mean(f, 2) < 118,
           "green is green: %.1f %.1f", picture_mean(f, 1),
           picture_mean(f, 2));
    av_frame_free(&f);

    f = hdr(AVCOL_TRC_BT2020_10, 940, 512, 512);
    f = sift(f);
    tap_ok(plain(f, 320, 180) && f->color_primaries == AVCOL_PRI_BT709
           && f->colorspace == AVCOL_SPC_BT709
           && picture_off(f, 0, 235) <= 1 && picture_off(f, 1, 128) <= 1,
           "BT.2020 that is not HDR becomes BT.709");
    av_frame_free(&f);
}


/* with all else that may be odd about a picture */
static void
hdr_is_not_alone(void)
{
    static const struct {
        int                  format;
        int                  scale;             /* of 10 bits, * 4 */
        int                  width;
        int                  height;
        int                  turned;
    } odds[] = {
        { AV_PIX_FMT_YUV420P10, 4, 321, 181, 0 },
        { AV_PIX_FMT_YUV420P10, 4, 1, 1, 0 },
        { AV_PIX_FMT_YUV422P10, 4, 320, 180, 0 },
        { AV_PIX_FMT_YUV444P12, 16, 320, 180, 0 },
        { AV_PIX_FMT_YUV420P, 1, 320, 180, 0 },
        { AV_PIX_FMT_YUV420P10, 4, 320, 180, 1 }
    };
    int                i, width, height, k;
    int32_t           *m;
    AVFrame           *f;
    AVFrameSideData   *sd;

    for (i = 0; i < (int) (sizeof(odds) / sizeof(odds[0])); i++) {
        k = odds[i].scale;
        f = picture_flat(odds[i].format, odds[i].width, odds[i].height,
                         (pq(0.18 * 203) * k + 2) / 4, 128 * k, 128 * k);
        f->color_trc = AVCOL_TRC_SMPTE2084;
        f->interlaced_frame = odds[i].turned;
        width = odds[i].width;
        height = odds[i].height;

        if (odds[i].turned) {
            sd = av_frame_new_side_data(f, AV_FRAME_DATA_DISPLAYMATRIX,
                                        9 * sizeof(int32_t));
            m = (int32_t *) sd->data;
            memset(m, 0, 9 * sizeof(int32_t));
            m[1] = 65536;
            m[3] = -65536;
            FFSWAP(int, width, height);
        }

        f = sift(f);
        tap_ok(plain(f, width, height)
               && fabs(picture_mean(f, 0) - bt1886(0.18)) <= 2
               && fabs(picture_mean(f, 1) - 128) <= 1
               && fabs(picture_mean(f, 2) - 128) <= 1
               && f->color_trc == AVCOL_TRC_BT709,
               "HDR of %s %dx%d", av_get_pix_fmt_name(odds[i].format),
               odds[i].width, odds[i].height);
        av_frame_free(&f);
    }

    /* white of 203 cd/m2 */
    f = picture_flat(AV_PIX_FMT_GBRP10, 64, 64, 594, 594, 594);
    f->color_trc = AVCOL_TRC_SMPTE2084;
    f = sift(f);
    tap_ok(plain(f, 64, 64) && fabs(picture_mean(f, 0) - 202) <= 2
           && f->colorspace == AVCOL_SPC_BT709, "HDR of RGB: %.1f",
           picture_mean(f, 0));
    av_frame_free(&f);
}


/* the mean of a block of a plane */
static double
block(const AVFrame *f, int plane, int x, int y)
{
    int  i, sum;

    for (sum = i = 0; i < 16; i++) {
        sum += f->data[plane][(y + i / 4) * f->linesize[plane] + x + i % 4];
    }

    return sum / 16.;
}


/* The table against what it was made of: means of small blocks, as it is
 * dithered.  At the edge of the gamut, where a primary is next to nothing,
 * rounding alone makes more of a difference. */
static void
table_is_coarse(int transfer, const char *name)
{
    int          i, x, y, n;
    char         chain[512];
    double       d, sum[3], worst[3];
    AVFrame     *f, *want;
    const char  *source;

    source = "mandelbrot=s=640x360:start_scale=0.3,format=yuv444p,"
             "eq=saturation=0.5:contrast=0.8:brightness=0.08,format=gbrp,"
             "zscale=tin=709:pin=709:t=%s:p=2020:m=2020_ncl:r=limited"
             ":npl=203,format=yuv420p10,setparams=color_trc=%s%s";

    (void) snprintf(chain, sizeof(chain), source, name, name, "");
    f = picture_source(chain, 4);
    tap_is(f->color_trc, transfer, "%s", name);
    f = sift(f);

    (void) snprintf(chain, sizeof(chain), source, name, name,
                    ",zscale=t=linear:p=709:npl=203,format=gbrpf32le,"
                    "tonemap=mobius:peak=4.926,"
                    "zscale=t=709:m=709:r=limited,format=yuv420p");
    want = picture_source(chain, 4);

    for (i = 0; i < 3; i++) {
        sum[i] = worst[i] = 0;
        n = 0;

        for (y = 0; y + 4 <= picture_height(f, i); y += 4) {
            for (x = 0; x + 4 <= picture_width(f, i); x += 4) {
                d = fabs(block(f, i, x, y) - block(want, i, x, y));
                sum[i] += d;
                worst[i] = d > worst[i] ? d : worst[i];
                n++;
            }
        }

        sum[i] /= n;
    }

    tap_ok(sum[0] < 0.5 && sum[1] < 0.5 && sum[2] < 0.5,
           "%s: means are %.2f %.2f %.2f off, at most %.1f %.1f %.1f", name,
           sum[0], sum[1], sum[2], worst[0], worst[1], worst[2]);

    av_frame_free(&f);
    av_frame_free(&want);
}


int
main(void)
{
    hdr_is_washed_out();
    hdr_is_not_alone();
    table_is_coarse(AVCOL_TRC_SMPTE2084, "smpte2084");
    table_is_coarse(AVCOL_TRC_ARIB_STD_B67, "arib-std-b67");

    return tap_done();
}


/*
 * Copyright (C) nginx-livestream contributors
 *
 * Look: what a decoded picture says of itself.
 *
 * The display matrix's upper left turns a picture:
 *
 *     x' = m[0] x + m[3] y
 *     y' = m[1] x + m[4] y
 *
 * of which only right angles are of interest.
 *
 * Pure; any thread.
 */


#include <stdlib.h>
#include <string.h>

#include <libavutil/common.h>
#include <libavutil/hwcontext.h>
#include <libavutil/pixdesc.h>

#include "ngx_livestream_transcode_look.h"


/* untagged pictures of fewer lines are taken for BT.601 */
#define NGX_LIVESTREAM_LOOK_HD  720


typedef struct {
    int                      full;              /* which says full range */
    int                      format;            /* and the one that does not */
} ngx_livestream_look_format_t;


static void ngx_livestream_look_mend_wide(AVFrame *f);
static int ngx_livestream_look_known(const int *table, int value);
static int ngx_livestream_look_format(const AVFrame *f);
static int ngx_livestream_look_unfull(int format);
static int ngx_livestream_look_turn(const AVFrame *f);
static int ngx_livestream_look_square(const ngx_livestream_look_t *look);


static const ngx_livestream_look_format_t  ngx_livestream_look_formats[] = {
    { AV_PIX_FMT_YUVJ420P, AV_PIX_FMT_YUV420P },
    { AV_PIX_FMT_YUVJ422P, AV_PIX_FMT_YUV422P },
    { AV_PIX_FMT_YUVJ444P, AV_PIX_FMT_YUV444P },
    { AV_PIX_FMT_YUVJ440P, AV_PIX_FMT_YUV440P },
    { AV_PIX_FMT_NONE, AV_PIX_FMT_NONE }
};

/* colours that a conversion can begin with */
static const int  ngx_livestream_look_spaces[] = {
    AVCOL_SPC_BT709, AVCOL_SPC_BT470BG, AVCOL_SPC_SMPTE170M,
    AVCOL_SPC_BT2020_NCL, -1
};

static const int  ngx_livestream_look_primaries[] = {
    AVCOL_PRI_BT709, AVCOL_PRI_BT470BG, AVCOL_PRI_SMPTE170M,
    AVCOL_PRI_BT2020, AVCOL_PRI_SMPTE431, AVCOL_PRI_SMPTE432, -1
};

static const int  ngx_livestream_look_transfers[] = {
    AVCOL_TRC_BT709, AVCOL_TRC_SMPTE170M, AVCOL_TRC_IEC61966_2_1,
    AVCOL_TRC_BT2020_10, AVCOL_TRC_BT2020_12, AVCOL_TRC_SMPTE2084,
    AVCOL_TRC_ARIB_STD_B67, -1
};


void
ngx_livestream_look_mend(AVFrame *f)
{
    int                    sd;
    ngx_livestream_look_t  look;

    ngx_livestream_look_get(f, &look);

    if (!look.device) {
        f->format = look.format;
        f->color_range = look.range;
    }

    if (!look.rgb && f->colorspace == AVCOL_SPC_RGB) {
        f->colorspace = AVCOL_SPC_UNSPECIFIED;
    }

    if (look.hdr || look.wide) {
        ngx_livestream_look_mend_wide(f);
        return;
    }

    if (!look.rgb && f->colorspace != AVCOL_SPC_UNSPECIFIED) {
        return;
    }

    sd = !look.rgb && f->height < NGX_LIVESTREAM_LOOK_HD;

    if (!look.rgb) {
        f->colorspace = sd ? AVCOL_SPC_SMPTE170M : AVCOL_SPC_BT709;
    }

    if (f->color_primaries == AVCOL_PRI_UNSPECIFIED) {
        f->color_primaries = sd ? AVCOL_PRI_SMPTE170M : AVCOL_PRI_BT709;
    }

    if (f->color_trc == AVCOL_TRC_UNSPECIFIED) {
        f->color_trc = sd ? AVCOL_TRC_SMPTE170M : AVCOL_TRC_BT709;
    }
}


void
ngx_livestream_look_get(const AVFrame *f, ngx_livestream_look_t *look)
{
    int                        format;
    const AVPixFmtDescriptor  *desc;

    format = ngx_livestream_look_format(f);
    desc = av_pix_fmt_desc_get(format);

    look->width = f->width;
    look->height = f->height;
    look->format = ngx_livestream_look_unfull(format);
    look->sar_num = FFMAX(f->sample_aspect_ratio.num, 0);
    look->sar_den = FFMAX(f->sample_aspect_ratio.den, 1);
#ifdef AV_FRAME_FLAG_INTERLACED
    look->interlaced = (f->flags & AV_FRAME_FLAG_INTERLACED) != 0;
#else
    look->interlaced = f->interlaced_frame != 0;
#endif
    look->turn = ngx_livestream_look_turn(f);
    look->range = (look->format != format) ? AVCOL_RANGE_JPEG
                                           : f->color_range;
    look->space = f->colorspace;
    look->primaries = f->color_primaries;
    look->transfer = f->color_trc;

    look->device = f->hw_frames_ctx != NULL || f->format == AV_PIX_FMT_CUDA;
    look->hdr = f->color_trc == AVCOL_TRC_SMPTE2084
                || f->color_trc == AVCOL_TRC_ARIB_STD_B67;
    look->wide = f->color_primaries == AVCOL_PRI_BT2020
                 || f->colorspace == AVCOL_SPC_BT2020_NCL
                 || f->colorspace == AVCOL_SPC_BT2020_CL;
    look->rgb = desc != NULL && (desc->flags & AV_PIX_FMT_FLAG_RGB) != 0;
}


int
ngx_livestream_look_plain(const ngx_livestream_look_t *look)
{
    return look->device
           || (look->format == AV_PIX_FMT_YUV420P
               && look->range != AVCOL_RANGE_JPEG
               && !look->interlaced
               && !look->hdr
               && !look->wide
               && look->turn == 0);
}


int
ngx_livestream_transcode_filter_alters(const AVFrame *in)
{
    ngx_livestream_look_t  look;

    ngx_livestream_look_get(in, &look);

    return (look.format != AV_PIX_FMT_YUV420P
            && look.format != AV_PIX_FMT_NV12)
           || look.interlaced
           || look.hdr
           || look.turn != 0
           || !ngx_livestream_look_square(&look);
}


/* A conversion has to know all three. */
static void
ngx_livestream_look_mend_wide(AVFrame *f)
{
    if (f->colorspace != AVCOL_SPC_RGB
        && !ngx_livestream_look_known(ngx_livestream_look_spaces,
                                      f->colorspace))
    {
        f->colorspace = AVCOL_SPC_BT2020_NCL;
    }

    if (!ngx_livestream_look_known(ngx_livestream_look_primaries,
                                   f->color_primaries))
    {
        f->color_primaries = AVCOL_PRI_BT2020;
    }

    if (!ngx_livestream_look_known(ngx_livestream_look_transfers,
                                   f->color_trc))
    {
        f->color_trc = AVCOL_TRC_BT709;
    }
}


static int
ngx_livestream_look_known(const int *table, int value)
{
    while (*table != -1 && *table != value) {
        table++;
    }

    return *table != -1;
}


/* of a picture on a device, as it lies there */
static int
ngx_livestream_look_format(const AVFrame *f)
{
    AVHWFramesContext  *frames;

    if (f->hw_frames_ctx == NULL) {
        return f->format;
    }

    frames = (AVHWFramesContext *) f->hw_frames_ctx->data;

    return frames->sw_format;
}


static int
ngx_livestream_look_unfull(int format)
{
    const ngx_livestream_look_format_t  *p;

    for (p = ngx_livestream_look_formats; p->full != AV_PIX_FMT_NONE; p++) {
        if (p->full == format) {
            return p->format;
        }
    }

    return format;
}


static int
ngx_livestream_look_turn(const AVFrame *f)
{
    int               turn;
    int32_t           m[9];
    int64_t           straight, swapped;
    AVFrameSideData  *sd;

    sd = av_frame_get_side_data(f, AV_FRAME_DATA_DISPLAYMATRIX);

    if (sd == NULL || sd->size < sizeof(m)) {
        return 0;
    }

    memcpy(m, sd->data, sizeof(m));

    straight = llabs((int64_t) m[0]) + llabs((int64_t) m[4]);
    swapped = llabs((int64_t) m[1]) + llabs((int64_t) m[3]);
    turn = swapped > straight ? NGX_LIVESTREAM_LOOK_SWAP : 0;

    if ((swapped > straight ? m[3] : m[0]) < 0) {
        turn |= NGX_LIVESTREAM_LOOK_LEFT;
    }

    if ((swapped > straight ? m[1] : m[4]) < 0) {
        turn |= NGX_LIVESTREAM_LOOK_UP;
    }

    return turn;
}


static int
ngx_livestream_look_square(const ngx_livestream_look_t *look)
{
    return look->sar_num == 0 || look->sar_num == look->sar_den;
}

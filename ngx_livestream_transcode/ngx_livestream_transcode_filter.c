
/*
 * Copyright (C) nginx-livestream contributors
 *
 * Filter: makes any decoded picture plain.
 *
 *   put --> plain? ------------------------------------> ready --> get
 *             |                                            ^
 *             |     graph, if there is need for one        |
 *             +--> bwdif --> zscale --> transpose, --> tone mapping
 *                  deint.    4:2:0      flip           if it was HDR
 *
 * What there is between is made for the look of the pictures (their size,
 * format, colours and so on), and lives until one of another look comes: what
 * is still in the graph is then made ready, and nothing is lost.
 *
 * bwdif makes a picture of each frame, not of each field: as many as the
 * source has, and half the work for encoders.  It takes less time than yadif.
 * Pictures that are said to be progressive pass it untouched, so that a source
 * that mixes both keeps one graph.
 *
 * No nginx; called in the stream's video thread, and by tests.
 */


#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <libavutil/common.h>
#include <libavutil/fifo.h>

#include "ngx_livestream_transcode_graph.h"
#include "ngx_livestream_transcode_tone.h"


/* for how long a source that was interlaced still is */
#define NGX_LIVESTREAM_FILTER_LINGER  (10 * NGX_LIVESTREAM_TRANSCODE_CLOCK)

#define NGX_LIVESTREAM_FILTER_ALIGN   64


typedef struct {
    int                      format;
    int                      yuv;
    uint32_t                 neutral;           /* chroma */
} ngx_livestream_filter_gray_t;


struct ngx_livestream_transcode_filter_s {
    ngx_livestream_look_t    look;              /* of the pictures */
    ngx_livestream_graph_t   graph;             /* not open: none needed */
    ngx_livestream_tone_t   *tone;              /* NULL: as graph */
    AVFifo                  *ready;             /* AVFrame * */
    int                      deinterlace;
    int64_t                  interlaced;        /* pts of the last such */
};


static void ngx_livestream_filter_quiet(void);
static int ngx_livestream_filter_gray(AVFrame *f);
static void ngx_livestream_filter_even(AVFrame *f,
    ngx_livestream_look_t *look);
static int ngx_livestream_filter_enter(ngx_livestream_transcode_filter_t *fl,
    const ngx_livestream_look_t *look);
static int ngx_livestream_filter_finish(
    const ngx_livestream_transcode_filter_t *fl, AVFrame *f);
static int ngx_livestream_filter_pass(ngx_livestream_transcode_filter_t *fl,
    AVFrame **f);
static int ngx_livestream_filter_end(ngx_livestream_transcode_filter_t *fl);
static int ngx_livestream_filter_pull(ngx_livestream_transcode_filter_t *fl,
    AVFrame *out);
static void ngx_livestream_filter_untag(const ngx_livestream_look_t *look,
    AVFrame *f);
static void ngx_livestream_filter_watch(ngx_livestream_transcode_filter_t *fl,
    const AVFrame *f, ngx_livestream_look_t *look);
static int ngx_livestream_filter_open(ngx_livestream_transcode_filter_t *fl);
static void ngx_livestream_filter_close(ngx_livestream_transcode_filter_t *fl);
static const char *ngx_livestream_filter_convert(
    const ngx_livestream_look_t *look);


static const char  *ngx_livestream_filter_turns[] = {
    "null",
    "hflip",                                    /* LEFT */
    "vflip",                                    /* UP */
    "hflip,vflip",
    "transpose=cclock_flip",                    /* SWAP */
    "transpose=clock",
    "transpose=cclock",
    "transpose=clock_flip"
};

static const ngx_livestream_filter_gray_t  ngx_livestream_filter_grays[] = {
    { AV_PIX_FMT_GRAY8, AV_PIX_FMT_YUV420P, 1 << 7 },
    { AV_PIX_FMT_GRAY10, AV_PIX_FMT_YUV420P10, 1 << 9 },
    { AV_PIX_FMT_GRAY12, AV_PIX_FMT_YUV420P12, 1 << 11 },
    { AV_PIX_FMT_NONE, AV_PIX_FMT_NONE, 0 }
};

/* what speaks of what the picture was */
static const enum AVFrameSideDataType  ngx_livestream_filter_side_data[] = {
    AV_FRAME_DATA_DISPLAYMATRIX,
    AV_FRAME_DATA_MASTERING_DISPLAY_METADATA,
    AV_FRAME_DATA_CONTENT_LIGHT_LEVEL,
    AV_FRAME_DATA_DYNAMIC_HDR_PLUS,
    AV_FRAME_DATA_DOVI_RPU_BUFFER,
    AV_FRAME_DATA_DOVI_METADATA,
    AV_FRAME_DATA_ICC_PROFILE
};

static pthread_once_t  ngx_livestream_filter_once = PTHREAD_ONCE_INIT;


ngx_livestream_transcode_filter_t *
ngx_livestream_transcode_filter_create(void)
{
    ngx_livestream_transcode_filter_t  *fl;

    (void) pthread_once(&ngx_livestream_filter_once,
                        ngx_livestream_filter_quiet);

    fl = calloc(1, sizeof(ngx_livestream_transcode_filter_t));
    if (fl == NULL) {
        return NULL;
    }

    fl->ready = av_fifo_alloc2(4, sizeof(AVFrame *), AV_FIFO_FLAG_AUTO_GROW);

    if (fl->ready == NULL) {
        free(fl);
        return NULL;
    }

    return fl;
}


void
ngx_livestream_transcode_filter_destroy(ngx_livestream_transcode_filter_t *fl)
{
    AVFrame  *f;

    if (fl == NULL) {
        return;
    }

    while (av_fifo_read(fl->ready, &f, 1) >= 0) {
        av_frame_free(&f);
    }

    ngx_livestream_filter_close(fl);
    av_fifo_freep2(&fl->ready);
    free(fl);
}


int
ngx_livestream_transcode_filter_put(ngx_livestream_transcode_filter_t *fl,
    AVFrame *in)
{
    int                     rc;
    AVFrame                *f;
    ngx_livestream_look_t   look;

    if (in == NULL) {
        fl->deinterlace = 0;
        return ngx_livestream_filter_end(fl);
    }

    f = av_frame_alloc();
    if (f == NULL) {
        av_frame_unref(in);
        return ENOMEM;
    }

    av_frame_move_ref(f, in);

    rc = ngx_livestream_filter_gray(f);

    if (rc == 0) {
        ngx_livestream_look_mend(f);
        ngx_livestream_look_get(f, &look);
        ngx_livestream_filter_watch(fl, f, &look);
        ngx_livestream_filter_even(f, &look);

        rc = ngx_livestream_filter_enter(fl, &look);
    }

    if (rc == 0 && fl->graph.graph != NULL) {
        rc = ngx_livestream_graph_put(&fl->graph, f);

    } else if (rc == 0) {
        rc = ngx_livestream_filter_finish(fl, f);

        if (rc == 0) {
            rc = ngx_livestream_filter_pass(fl, &f);
        }
    }

    av_frame_free(&f);

    return rc;
}


int
ngx_livestream_transcode_filter_get(ngx_livestream_transcode_filter_t *fl,
    AVFrame *out)
{
    AVFrame  *f;

    if (av_fifo_read(fl->ready, &f, 1) >= 0) {
        av_frame_move_ref(out, f);
        av_frame_free(&f);
        return 0;
    }

    return fl->graph.graph ? ngx_livestream_filter_pull(fl, out) : EAGAIN;
}


/* It would write to standard error, which is nginx's error log. */
static void
ngx_livestream_filter_quiet(void)
{
    av_log_set_level(AV_LOG_QUIET);
}


/* Filters take pictures without chroma for full range: they get some. */
static int
ngx_livestream_filter_gray(AVFrame *f)
{
    int                                  i, bytes, stride, height;
    size_t                               k, n;
    AVBufferRef                         *chroma;
    const ngx_livestream_filter_gray_t  *g;

    for (g = ngx_livestream_filter_grays; g->format != f->format; g++) {
        if (g->format == AV_PIX_FMT_NONE) {
            return 0;
        }
    }

    if (f->buf[1] != NULL) {
        return EINVAL;
    }

    bytes = g->neutral > 255 ? 2 : 1;
    stride = FFALIGN((f->width + 1) / 2 * bytes, NGX_LIVESTREAM_FILTER_ALIGN);
    height = (f->height + 1) / 2;
    n = (size_t) stride * height;

    chroma = av_buffer_alloc(n + NGX_LIVESTREAM_FILTER_ALIGN);
    if (chroma == NULL) {
        return ENOMEM;
    }

    for (k = 0; k < n; k += bytes) {
        chroma->data[k] = g->neutral & 0xff;

        if (bytes == 2) {
            chroma->data[k + 1] = g->neutral >> 8;
        }
    }

    for (i = 1; i < 3; i++) {
        f->data[i] = chroma->data;
        f->linesize[i] = stride;
    }

    f->buf[1] = chroma;
    f->format = g->yuv;

    return 0;
}


/* zscale takes whole samples of chroma alone: half a one is cut off */
static void
ngx_livestream_filter_even(AVFrame *f, ngx_livestream_look_t *look)
{
    if (look->device || ngx_livestream_filter_convert(look) == NULL) {
        return;
    }

    f->width &= ~1;
    f->height &= ~1;
    look->width = f->width;
    look->height = f->height;
}


/* what the look asks for, if it is another */
static int
ngx_livestream_filter_enter(ngx_livestream_transcode_filter_t *fl,
    const ngx_livestream_look_t *look)
{
    int  rc;

    if (memcmp(look, &fl->look, sizeof(ngx_livestream_look_t)) == 0) {
        return 0;
    }

    rc = ngx_livestream_filter_end(fl);
    if (rc != 0) {
        return rc;
    }

    fl->look = *look;

    rc = ngx_livestream_filter_open(fl);

    if (rc != 0) {
        ngx_livestream_filter_close(fl);
    }

    return rc;
}


/* what is not for a graph, or behind it */
static int
ngx_livestream_filter_finish(const ngx_livestream_transcode_filter_t *fl,
    AVFrame *f)
{
    int  rc;

    if (ngx_livestream_look_plain(&fl->look)) {
        return 0;
    }

    if (fl->tone != NULL) {
        rc = ngx_livestream_tone_map(fl->tone, f);
        if (rc != 0) {
            return rc;
        }
    }

    ngx_livestream_filter_untag(&fl->look, f);

    return 0;
}


static int
ngx_livestream_filter_pass(ngx_livestream_transcode_filter_t *fl, AVFrame **f)
{
    if (av_fifo_write(fl->ready, f, 1) < 0) {
        return ENOMEM;
    }

    *f = NULL;

    return 0;
}


/* what is in the graph becomes ready */
static int
ngx_livestream_filter_end(ngx_livestream_transcode_filter_t *fl)
{
    int       rc;
    AVFrame  *f;

    rc = EAGAIN;

    if (fl->graph.graph != NULL) {
        rc = ngx_livestream_graph_put(&fl->graph, NULL);
    }

    while (rc == 0) {
        f = av_frame_alloc();
        if (f == NULL) {
            rc = ENOMEM;
            break;
        }

        rc = ngx_livestream_filter_pull(fl, f);

        if (rc == 0) {
            rc = ngx_livestream_filter_pass(fl, &f);
        }

        av_frame_free(&f);
    }

    ngx_livestream_filter_close(fl);

    return rc == EAGAIN ? 0 : rc;
}


static int
ngx_livestream_filter_pull(ngx_livestream_transcode_filter_t *fl, AVFrame *out)
{
    int  rc;

    rc = ngx_livestream_graph_get(&fl->graph, out);

    if (rc == 0) {
        rc = ngx_livestream_filter_finish(fl, out);
    }

    if (rc != 0) {
        av_frame_unref(out);
    }

    return rc;
}


/* what a picture is when it has been made plain */
static void
ngx_livestream_filter_untag(const ngx_livestream_look_t *look, AVFrame *f)
{
    size_t  i, n;

    if (look->hdr || look->wide) {
        f->color_primaries = AVCOL_PRI_BT709;
        f->color_trc = AVCOL_TRC_BT709;
        f->colorspace = AVCOL_SPC_BT709;

    } else if (look->rgb) {
        f->colorspace = AVCOL_SPC_BT709;
    }

    f->color_range = AVCOL_RANGE_MPEG;

#ifdef AV_FRAME_FLAG_INTERLACED
    f->flags &= ~AV_FRAME_FLAG_INTERLACED;
#else
    f->interlaced_frame = 0;
#endif

    n = sizeof(ngx_livestream_filter_side_data)
        / sizeof(ngx_livestream_filter_side_data[0]);

    for (i = 0; i < n; i++) {
        av_frame_remove_side_data(f, ngx_livestream_filter_side_data[i]);
    }
}


/* a source that was interlaced still is for a while */
static void
ngx_livestream_filter_watch(ngx_livestream_transcode_filter_t *fl,
    const AVFrame *f, ngx_livestream_look_t *look)
{
    int64_t  passed;

    passed = 0;

    if (f->pts != AV_NOPTS_VALUE) {
        passed = av_sat_sub64(f->pts, fl->interlaced);
    }

    if (look->interlaced) {
        fl->deinterlace = 1;
        fl->interlaced = av_sat_add64(fl->interlaced, passed);

    } else if (passed < 0 || passed > NGX_LIVESTREAM_FILTER_LINGER) {
        fl->deinterlace = 0;
    }

    look->interlaced = fl->deinterlace;
}


static int
ngx_livestream_filter_open(ngx_livestream_transcode_filter_t *fl)
{
    char                    chain[256];
    const char             *convert;
    ngx_livestream_look_t  *look;

    look = &fl->look;

    if (ngx_livestream_look_plain(look)) {
        return 0;
    }

    if (look->hdr) {
        fl->tone = ngx_livestream_tone_create(look);
        if (fl->tone == NULL) {
            return ENOMEM;
        }
    }

    convert = ngx_livestream_filter_convert(look);

    if (convert == NULL && !look->interlaced && look->turn == 0) {
        return 0;
    }

    (void) snprintf(chain, sizeof(chain), "%s,%s,format=%s,%s",
                    look->interlaced ? "bwdif=send_frame:deint=interlaced"
                                     : "null",
                    convert ? convert : "null",
                    look->hdr ? "yuv420p10" : "yuv420p",
                    ngx_livestream_filter_turns[look->turn]);

    return ngx_livestream_graph_open(&fl->graph, look, chain);
}


static void
ngx_livestream_filter_close(ngx_livestream_transcode_filter_t *fl)
{
    ngx_livestream_graph_close(&fl->graph);
    ngx_livestream_tone_destroy(fl->tone);
    fl->tone = NULL;
    memset(&fl->look, 0, sizeof(ngx_livestream_look_t));
}


/* NULL: the samples are as they should be */
static const char *
ngx_livestream_filter_convert(const ngx_livestream_look_t *look)
{
    int  wanted;

    if (look->rgb && look->hdr) {
        return "zscale=m=2020_ncl:r=limited";
    }

    if (look->wide && !look->hdr) {
        return "zscale=t=709:p=709:m=709:r=limited:dither=ordered";
    }

    if (look->rgb) {
        return "zscale=m=709:r=limited:dither=ordered";
    }

    wanted = look->hdr ? AV_PIX_FMT_YUV420P10 : AV_PIX_FMT_YUV420P;

    if (look->format != wanted || look->range == AVCOL_RANGE_JPEG) {
        return "zscale=r=limited:dither=ordered";
    }

    return NULL;
}

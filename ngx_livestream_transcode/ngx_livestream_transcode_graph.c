
/*
 * Copyright (C) nginx-livestream contributors
 *
 * Graph: a chain of libavfilter's, with an entry and an exit.
 *
 *   put --> buffer --> chain --> buffersink --> get
 *
 * It has no threads of its own: the video thread's time is all it takes.
 *
 * No nginx; called in the stream's video thread, and by tests.
 */


#include <errno.h>
#include <stdio.h>

#include <libavfilter/buffersink.h>
#include <libavfilter/buffersrc.h>

#include "ngx_livestream_transcode_graph.h"


static int ngx_livestream_graph_link(ngx_livestream_graph_t *g,
    const ngx_livestream_look_t *look, const char *chain);
static int ngx_livestream_graph_errno(int rc);


int
ngx_livestream_graph_open(ngx_livestream_graph_t *g,
    const ngx_livestream_look_t *look, const char *chain)
{
    int  rc;

    g->graph = avfilter_graph_alloc();
    if (g->graph == NULL) {
        return ENOMEM;
    }

    g->graph->nb_threads = 1;

    rc = ngx_livestream_graph_link(g, look, chain);

    if (rc < 0) {
        ngx_livestream_graph_close(g);
        return ngx_livestream_graph_errno(rc);
    }

    return 0;
}


void
ngx_livestream_graph_close(ngx_livestream_graph_t *g)
{
    avfilter_graph_free(&g->graph);
    g->source = NULL;
    g->sink = NULL;
}


int
ngx_livestream_graph_put(ngx_livestream_graph_t *g, AVFrame *f)
{
    int  rc;

    rc = av_buffersrc_add_frame(g->source, f);

    return rc < 0 ? ngx_livestream_graph_errno(rc) : 0;
}


int
ngx_livestream_graph_get(ngx_livestream_graph_t *g, AVFrame *f)
{
    int         rc;
    AVRational  base, clock;

    rc = av_buffersink_get_frame(g->sink, f);

    if (rc < 0) {
        return ngx_livestream_graph_errno(rc);
    }

    if (f->pts != AV_NOPTS_VALUE) {
        base = av_buffersink_get_time_base(g->sink);
        clock = (AVRational) { 1, NGX_LIVESTREAM_TRANSCODE_CLOCK };
        f->pts = av_rescale_q(f->pts, base, clock);
    }

    return 0;
}


static int
ngx_livestream_graph_link(ngx_livestream_graph_t *g,
    const ngx_livestream_look_t *look, const char *chain)
{
    int             rc;
    char            args[128];
    AVFilterInOut  *ins, *outs;

    (void) snprintf(args, sizeof(args),
                    "video_size=%dx%d:pix_fmt=%d:time_base=1/%d"
                    ":pixel_aspect=%d/%d", look->width, look->height,
                    look->format, NGX_LIVESTREAM_TRANSCODE_CLOCK,
                    look->sar_num, look->sar_den);

    rc = avfilter_graph_create_filter(&g->source,
                                      avfilter_get_by_name("buffer"), "in",
                                      args, NULL, g->graph);
    if (rc < 0) {
        return rc;
    }

    rc = avfilter_graph_create_filter(&g->sink,
                                      avfilter_get_by_name("buffersink"),
                                      "out", NULL, NULL, g->graph);
    if (rc < 0) {
        return rc;
    }

    rc = avfilter_graph_parse2(g->graph, chain, &ins, &outs);
    if (rc < 0) {
        return rc;
    }

    rc = avfilter_link(g->source, 0, ins->filter_ctx, ins->pad_idx);

    if (rc >= 0) {
        rc = avfilter_link(outs->filter_ctx, outs->pad_idx, g->sink, 0);
    }

    avfilter_inout_free(&ins);
    avfilter_inout_free(&outs);

    return rc < 0 ? rc : avfilter_graph_config(g->graph, NULL);
}


static int
ngx_livestream_graph_errno(int rc)
{
    switch (rc) {

    case AVERROR(EAGAIN):
    case AVERROR_EOF:
        return EAGAIN;

    case AVERROR(ENOMEM):
        return ENOMEM;

    default:
        return EINVAL;
    }
}


/*
 * Copyright (C) nginx-livestream contributors
 *
 * Graph: a chain of libavfilter's that pictures of one look go through.
 * Functions that return int return 0 or an errno.
 */


#ifndef _NGX_LIVESTREAM_TRANSCODE_GRAPH_H_INCLUDED_
#define _NGX_LIVESTREAM_TRANSCODE_GRAPH_H_INCLUDED_


#include <libavfilter/avfilter.h>

#include "ngx_livestream_transcode_look.h"


typedef struct {
    AVFilterGraph           *graph;             /* NULL: not open */
    AVFilterContext         *source;
    AVFilterContext         *sink;
} ngx_livestream_graph_t;


int ngx_livestream_graph_open(ngx_livestream_graph_t *g,
    const ngx_livestream_look_t *look, const char *chain);
/* one that is not open is fine */
void ngx_livestream_graph_close(ngx_livestream_graph_t *g);

/* moves the picture into the graph; NULL: there will be no more */
int ngx_livestream_graph_put(ngx_livestream_graph_t *g, AVFrame *f);
/* EAGAIN: none yet, or no more */
int ngx_livestream_graph_get(ngx_livestream_graph_t *g, AVFrame *f);


#endif /* _NGX_LIVESTREAM_TRANSCODE_GRAPH_H_INCLUDED_ */


/*
 * Copyright (C) nginx-livestream contributors
 *
 * Lists of frames and of what is asked for with them.
 *
 * Any thread; whoever shares one has a mutex.
 */


#include <errno.h>
#include <stdlib.h>

#include "ngx_livestream_transcode_video.h"


int
ngx_livestream_transcode_list_append(ngx_livestream_transcode_list_t *list,
    ngx_livestream_frame_t *f, uint32_t asked, int64_t at, int64_t time)
{
    ngx_livestream_transcode_link_t  *link;

    link = malloc(sizeof(ngx_livestream_transcode_link_t));
    if (link == NULL) {
        return ENOMEM;
    }

    link->next = NULL;
    link->frame = ngx_livestream_frame_ref(f);
    link->asked = asked;
    link->at = at;
    link->time = time;

    if (list->first) {
        list->last->next = link;

    } else {
        list->first = link;
    }

    list->last = link;
    list->n++;
    list->bytes += f->size;

    return 0;
}


ngx_livestream_frame_t *
ngx_livestream_transcode_list_shift(ngx_livestream_transcode_list_t *list,
    uint32_t *asked, int64_t *at)
{
    ngx_livestream_frame_t           *f;
    ngx_livestream_transcode_link_t  *link;

    link = list->first;

    if (link == NULL) {
        return NULL;
    }

    list->first = link->next;
    list->n--;

    f = link->frame;
    list->bytes -= f->size;
    *asked = link->asked;
    *at = link->at;

    free(link);

    return f;
}


void
ngx_livestream_transcode_list_clear(ngx_livestream_transcode_list_t *list)
{
    int64_t                  at;
    uint32_t                 asked;
    ngx_livestream_frame_t  *f;

    for ( ;; ) {
        f = ngx_livestream_transcode_list_shift(list, &asked, &at);
        if (f == NULL) {
            return;
        }

        ngx_livestream_frame_unref(f);
    }
}

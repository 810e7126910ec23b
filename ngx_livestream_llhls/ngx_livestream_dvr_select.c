
/*
 * Copyright (C) nginx-livestream contributors
 *
 * Which of a recording's tracks a job is to take.
 *
 * Pure C; any thread.
 */


#include <errno.h>
#include <string.h>

#include "ngx_livestream_dvr_select.h"


static const ngx_livestream_dvr_track_t *ngx_livestream_dvr_select(
    const ngx_livestream_dvr_index_t *index, ngx_livestream_media_e media,
    unsigned least);
static int ngx_livestream_dvr_select_better(
    const ngx_livestream_dvr_track_t *a,
    const ngx_livestream_dvr_amount_t *in_a,
    const ngx_livestream_dvr_track_t *b,
    const ngx_livestream_dvr_amount_t *in_b);


void
ngx_livestream_dvr_amount(const ngx_livestream_dvr_track_t *t, size_t n,
    ngx_livestream_dvr_amount_t *amount)
{
    size_t                               i;
    const ngx_livestream_dvr_segment_t  *s;

    amount->media = 0;
    amount->bytes = 0;

    for (i = 0; i < n; i++) {
        s = &t->segments[i];

        if (ngx_livestream_dvr_has_media(s)) {
            amount->media += s->duration;
            amount->bytes += s->size;
        }
    }
}


int
ngx_livestream_dvr_select_named(const ngx_livestream_dvr_index_t *index,
    const char *name, const ngx_livestream_dvr_track_t **track,
    const char **reason)
{
    unsigned                           i;
    ngx_livestream_dvr_amount_t        amount;
    const ngx_livestream_dvr_track_t  *t;

    for (i = 0; i < index->ntracks; i++) {
        t = &index->tracks[i];

        if (t->media != NGX_LIVESTREAM_VIDEO || strcmp(t->name, name) != 0) {
            continue;
        }

        ngx_livestream_dvr_amount(t, t->nsegments, &amount);

        if (amount.media == 0) {
            *reason = "the recording has no media of that track";
            return ENODATA;
        }

        *track = t;

        return 0;
    }

    *reason = "the recording has no such track";

    return ENOENT;
}


const ngx_livestream_dvr_track_t *
ngx_livestream_dvr_select_best(const ngx_livestream_dvr_index_t *index,
    ngx_livestream_media_e media)
{
    return ngx_livestream_dvr_select(index, media, 0);
}


const ngx_livestream_dvr_track_t *
ngx_livestream_dvr_select_least(const ngx_livestream_dvr_index_t *index,
    ngx_livestream_media_e media)
{
    return ngx_livestream_dvr_select(index, media, 1);
}


static const ngx_livestream_dvr_track_t *
ngx_livestream_dvr_select(const ngx_livestream_dvr_index_t *index,
    ngx_livestream_media_e media, unsigned least)
{
    int64_t                            most;
    unsigned                           i, better;
    ngx_livestream_dvr_amount_t        amounts[NGX_LIVESTREAM_DVR_TRACKS];
    const ngx_livestream_dvr_track_t  *t, *found;
    const ngx_livestream_dvr_amount_t *in;

    most = 0;

    for (i = 0; i < index->ntracks; i++) {
        t = &index->tracks[i];

        ngx_livestream_dvr_amount(t, t->nsegments, &amounts[i]);

        if (t->media == media && amounts[i].media > most) {
            most = amounts[i].media;
        }
    }

    found = NULL;
    in = NULL;

    for (i = 0; i < index->ntracks; i++) {
        t = &index->tracks[i];

        if (t->media != media || amounts[i].media == 0
            || amounts[i].media < most / 10 * 9)
        {
            continue;
        }

        if (found) {
            better = least ? ngx_livestream_dvr_select_better(found, in, t,
                                                              &amounts[i])
                           : ngx_livestream_dvr_select_better(t, &amounts[i],
                                                              found, in);
            if (!better) {
                continue;
            }
        }

        found = t;
        in = &amounts[i];
    }

    return found;
}


static int
ngx_livestream_dvr_select_better(const ngx_livestream_dvr_track_t *a,
    const ngx_livestream_dvr_amount_t *in_a,
    const ngx_livestream_dvr_track_t *b,
    const ngx_livestream_dvr_amount_t *in_b)
{
    uint64_t  size_a, size_b;

    size_a = (uint64_t) a->width * a->height;
    size_b = (uint64_t) b->width * b->height;

    if (size_a != size_b) {
        return size_a > size_b;
    }

    return (double) in_a->bytes / in_a->media
           > (double) in_b->bytes / in_b->media;
}


/*
 * Copyright (C) nginx-livestream contributors
 *
 * A filter of pictures for tests, and all that has come out of it.
 */


#ifndef _TRANSCODE_SIEVE_H_INCLUDED_
#define _TRANSCODE_SIEVE_H_INCLUDED_


#include <errno.h>

#include "ngx_livestream_transcode.h"
#include "transcode_picture.h"


#define SIEVE_PICTURES  64


typedef struct {
    ngx_livestream_transcode_filter_t  *fl;
    int                      rc;                /* the first that is not 0 */
    unsigned                 n;
    AVFrame                 *pics[SIEVE_PICTURES];
} sieve_t;


static inline void
sieve_take(sieve_t *s)
{
    int       rc;
    AVFrame  *f;

    for ( ;; ) {
        f = av_frame_alloc();
        rc = ngx_livestream_transcode_filter_get(s->fl, f);

        if (rc != 0) {
            av_frame_free(&f);
            s->rc = (rc == EAGAIN || s->rc) ? s->rc : rc;
            return;
        }

        if (s->n == SIEVE_PICTURES) {
            picture_die("too many pictures");
        }

        s->pics[s->n++] = f;
    }
}


static inline void
sieve_open(sieve_t *s)
{
    memset(s, 0, sizeof(sieve_t));

    s->fl = ngx_livestream_transcode_filter_create();
    if (s->fl == NULL) {
        picture_die("no filter");
    }
}


/* takes f */
static inline void
sieve_put(sieve_t *s, AVFrame *f)
{
    int  rc;

    rc = ngx_livestream_transcode_filter_put(s->fl, f);
    s->rc = s->rc ? s->rc : rc;
    av_frame_free(&f);
    sieve_take(s);
}


static inline void
sieve_break(sieve_t *s)
{
    int  rc;

    rc = ngx_livestream_transcode_filter_put(s->fl, NULL);
    s->rc = s->rc ? s->rc : rc;
    sieve_take(s);
}


static inline void
sieve_close(sieve_t *s)
{
    ngx_livestream_transcode_filter_destroy(s->fl);

    while (s->n) {
        av_frame_free(&s->pics[--s->n]);
    }
}


static inline int
plain(const AVFrame *f, int width, int height)
{
    return f->format == AV_PIX_FMT_YUV420P && f->width == width
           && f->height == height && f->color_range != AVCOL_RANGE_JPEG
           && !f->interlaced_frame;
}


/* one picture in, which is taken, and one out */
static inline AVFrame *
sift(AVFrame *f)
{
    sieve_t   s;
    AVFrame  *out;

    sieve_open(&s);
    sieve_put(&s, f);
    sieve_break(&s);

    if (s.rc != 0 || s.n != 1) {
        printf("# error %d, %u pictures\n", s.rc, s.n);
        sieve_close(&s);
        return picture_alloc(AV_PIX_FMT_GRAY8, 2, 2);
    }

    out = s.pics[--s.n];
    sieve_close(&s);

    return out;
}


#endif /* _TRANSCODE_SIEVE_H_INCLUDED_ */

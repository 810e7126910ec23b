
/*
 * Copyright (C) nginx-livestream contributors
 *
 * The kernel's arithmetic, compiled for the host: its pictures against those
 * of libswscale, how often it reads a pixel, and what it refuses.  Its PTX, as
 * either compiler makes it: that it is whole, and that ptxas takes it, where
 * there is one.
 */


#include <stdlib.h>
#include <unistd.h>

#include <libswscale/swscale.h>

#include "kernel_run.h"
#include "ngx_livestream_transcode_ptx.h"
#include "ngx_livestream_transcode_ptx_clang.h"
#include "tap.h"


#define PATH  "PATH=$PATH:/usr/local/cuda/bin "


/* I420 and the NV12 of it; lines have space behind them */
typedef struct {
    int       width;
    int       height;
    int       pitch[3];
    uint8_t  *planes[3];
    uint8_t  *uv;
} picture_t;


typedef struct {
    int          width;
    int          height;
    const char  *what;
    int          rungs[NGX_LIVESTREAM_TRANSCODE_TARGETS][2];
} ladder_t;


/* rungs from the largest; the first is as large as the source where the ladder
 * has one so large */
static const ladder_t  ladders[] = {
    { 1920, 1080, "1080p",
      { { 1920, 1080 }, { 1280, 720 }, { 854, 480 }, { 640, 360 },
        { 426, 240 } } },
    { 1280, 720, "720p",
      { { 1280, 720 }, { 854, 480 }, { 640, 360 }, { 426, 240 } } },
    { 1919, 1079, "an odd size",
      { { 1280, 720 }, { 854, 480 }, { 640, 360 }, { 426, 240 } } },
    { 1080, 1920, "portrait",
      { { 1080, 1920 }, { 720, 1280 }, { 480, 854 }, { 360, 640 },
        { 240, 426 } } },
    { 720, 576, "pixels that are not square",
      { { 1024, 576 }, { 854, 480 }, { 640, 360 }, { 426, 240 } } },
    { 1440, 1080, "4:3",
      { { 1440, 1080 }, { 960, 720 }, { 640, 480 }, { 480, 360 },
        { 320, 240 } } },
    { 3840, 2160, "2160p",
      { { 1920, 1080 }, { 1280, 720 }, { 854, 480 }, { 640, 360 },
        { 426, 240 } } },
    { 127, 61, "a size below a tile", { { 126, 60 }, { 62, 30 } } }
};


static int
picture_create(picture_t *p, int width, int height)
{
    int  i;

    p->width = width;
    p->height = height;
    p->pitch[0] = (width + 15) / 16 * 16 + 16;
    p->pitch[1] = p->pitch[0];
    p->pitch[2] = p->pitch[0];
    p->uv = malloc((size_t) p->pitch[0] * ((height + 1) / 2));

    for (i = 0; i < 3; i++) {
        p->planes[i] = malloc((size_t) p->pitch[i]
                              * (i ? (height + 1) / 2 : height));
    }

    return p->uv && p->planes[0] && p->planes[1] && p->planes[2];
}


static void
picture_destroy(picture_t *p)
{
    int  i;

    for (i = 0; i < 3; i++) {
        free(p->planes[i]);
    }

    free(p->uv);
}


/* a gradient with noise and hard edges, the same each time */
static void
picture_draw(picture_t *p)
{
    int       i, x, y, w, h, v;
    uint32_t  seed;

    seed = 1;

    for (i = 0; i < 3; i++) {
        w = (p->width + (i != 0)) >> (i != 0);
        h = (p->height + (i != 0)) >> (i != 0);

        for (y = 0; y < h; y++) {
            for (x = 0; x < w; x++) {
                seed = seed * 1664525 + 1013904223;
                v = 16 + (x * (i + 1) + y) * 180 / (w + h) + (seed >> 27);
                v = (x / 23 + y / 17) % 5 ? v : 235;
                p->planes[i][y * p->pitch[i] + x] = v;
            }
        }
    }

    w = (p->width + 1) / 2;

    for (y = 0; y < (p->height + 1) / 2; y++) {
        for (x = 0; x < w; x++) {
            p->uv[y * p->pitch[0] + 2 * x] = p->planes[1][y * p->pitch[1] + x];
            p->uv[y * p->pitch[0] + 2 * x + 1] =
                                          p->planes[2][y * p->pitch[2] + x];
        }
    }
}


static void
picture_fill(picture_t *p, int luma, int chroma)
{
    size_t  i, size;

    size = (size_t) p->pitch[0] * ((p->height + 1) / 2);

    memset(p->planes[0], luma, (size_t) p->pitch[0] * p->height);
    memset(p->planes[1], chroma, size);
    memset(p->planes[2], chroma + 9, size);

    for (i = 0; i < size; i++) {
        p->uv[i] = chroma + (i % 2 ? 9 : 0);
    }
}


static void
picture_describe(const picture_t *p, int planes,
    ngx_livestream_transcode_picture_t *pic)
{
    memset(pic, 0, sizeof(ngx_livestream_transcode_picture_t));

    pic->data[0] = (uintptr_t) p->planes[0];
    pic->data[1] = (uintptr_t) (planes ? p->planes[1] : p->uv);
    pic->data[2] = planes ? (uintptr_t) p->planes[2] : 0;
    pic->pitch[0] = p->pitch[0];
    pic->pitch[1] = p->pitch[1];
    pic->width = p->width;
    pic->height = p->height;
}


/* all rungs at once, by turns in planes and as NV12; bytes read */
static uint64_t
picture_scale(const picture_t *from, picture_t *to, unsigned n)
{
    int                                 x, y, w;
    uint8_t                            *uv;
    unsigned                            i;
    uint32_t                            shared, grid[2];
    uint64_t                            bytes;
    ngx_livestream_transcode_kernel_t   k;
    ngx_livestream_transcode_picture_t  source;
    ngx_livestream_transcode_picture_t  targets[
                                           NGX_LIVESTREAM_TRANSCODE_TARGETS];

    memset(targets, 0, sizeof(targets));
    picture_describe(from, 0, &source);

    for (i = 0; i < n; i++) {
        picture_describe(&to[i], i % 2 == 0, &targets[i]);
    }

    shared = ngx_livestream_transcode_kernel_init(&k, &source, targets, n,
                                                  grid);
    bytes = shared ? kernel_run(&k, grid, shared) : 0;

    for (i = 1; bytes && i < n; i += 2) {
        w = (to[i].width + 1) / 2;

        for (y = 0; y < (to[i].height + 1) / 2; y++) {
            uv = to[i].uv + y * to[i].pitch[0];

            for (x = 0; x < w; x++) {
                to[i].planes[1][y * to[i].pitch[1] + x] = uv[2 * x];
                to[i].planes[2][y * to[i].pitch[2] + x] = uv[2 * x + 1];
            }
        }
    }

    return bytes;
}


/* mean of the differences in the worst plane */
static double
picture_differs(const picture_t *a, const picture_t *b, int *most)
{
    int     i, x, y, w, h, d;
    double  sum, worst;

    worst = 0;
    *most = 0;

    for (i = 0; i < 3; i++) {
        w = (a->width + (i != 0)) >> (i != 0);
        h = (a->height + (i != 0)) >> (i != 0);
        sum = 0;

        for (y = 0; y < h; y++) {
            for (x = 0; x < w; x++) {
                d = abs(a->planes[i][y * a->pitch[i] + x]
                        - b->planes[i][y * b->pitch[i] + x]);
                sum += d;
                *most = d > *most ? d : *most;
            }
        }

        sum /= (double) w * h;
        worst = sum > worst ? sum : worst;
    }

    return worst;
}


static int
picture_swscale(const picture_t *from, picture_t *to)
{
    struct SwsContext  *sws;

    sws = sws_getContext(from->width, from->height, AV_PIX_FMT_YUV420P,
                         to->width, to->height, AV_PIX_FMT_YUV420P,
                         SWS_AREA | SWS_ACCURATE_RND | SWS_BITEXACT, NULL,
                         NULL, NULL);
    if (sws == NULL) {
        return 0;
    }

    (void) sws_scale(sws, (const uint8_t * const *) from->planes, from->pitch,
                     0, from->height, to->planes, to->pitch);
    sws_freeContext(sws);

    return 1;
}


static void
test_ladder(const ladder_t *ladder)
{
    int        most;
    double     mean, often;
    unsigned   i, n;
    uint64_t   bytes;
    picture_t  from, wanted, to[NGX_LIVESTREAM_TRANSCODE_TARGETS];

    if (!picture_create(&from, ladder->width, ladder->height)) {
        tap_ok(0, "out of memory");
        return;
    }

    picture_draw(&from);

    for (n = 0; ladder->rungs[n][0]; n++) {
        if (!picture_create(&to[n], ladder->rungs[n][0],
                            ladder->rungs[n][1]))
        {
            tap_ok(0, "out of memory");
            return;
        }
    }

    bytes = picture_scale(&from, to, n);
    often = bytes / (ladder->width * ladder->height * 1.5);

    tap_ok(bytes && (ladder->width < 256 || often < 1.2),
           "%s: a pixel is read %.3f times", ladder->what, often);

    for (i = 0; bytes && i < n; i++) {

        if (!picture_create(&wanted, to[i].width, to[i].height)
            || !picture_swscale(&from, &wanted))
        {
            tap_ok(0, "swscale");
            return;
        }

        mean = picture_differs(&to[i], &wanted, &most);

        tap_ok(mean < 1, "%s to %dx%d: %.3f from libswscale's, %d at most",
               ladder->what, to[i].width, to[i].height, mean, most);

        if (to[i].width == from.width && to[i].height == from.height) {
            tap_ok(picture_differs(&to[i], &from, &most) == 0,
                   "%s at its own size is itself", ladder->what);
        }

        picture_destroy(&wanted);
        picture_destroy(&to[i]);
    }

    picture_destroy(&from);
}


static void
test_flat(void)
{
    int        i, most, ok;
    picture_t  from, to[2], flat;

    ok = picture_create(&from, 1917, 1075) && picture_create(&to[0], 854, 478)
         && picture_create(&to[1], 2000, 1078);

    for (i = 0; ok && i < 256; i += 51) {
        picture_fill(&from, i, i ? i - 9 : 0);
        ok = picture_scale(&from, to, 2) != 0;

        if (ok && picture_create(&flat, 854, 478)) {
            picture_fill(&flat, i, i ? i - 9 : 0);
            ok = picture_differs(&to[0], &flat, &most) == 0;
            picture_destroy(&flat);
        }

        if (ok && picture_create(&flat, 2000, 1078)) {
            picture_fill(&flat, i, i ? i - 9 : 0);
            ok = picture_differs(&to[1], &flat, &most) == 0;
            picture_destroy(&flat);
        }
    }

    tap_ok(ok, "what is even stays as it is, up to 255");

    picture_destroy(&from);
    picture_destroy(&to[0]);
    picture_destroy(&to[1]);
}


/* libswscale's coefficients are too coarse for this */
static void
test_mean(void)
{
    int        i, x, y, w, h, ok;
    double     sum;
    picture_t  from, to;

    ok = picture_create(&from, 126, 62) && picture_create(&to, 2, 2);

    picture_draw(&from);

    ok = ok && picture_scale(&from, &to, 1) != 0;

    for (i = 0; i < 3; i++) {
        w = 63;
        h = 31;
        sum = 0;

        for (y = 0; y < h; y++) {
            for (x = 0; x < w; x++) {
                sum += from.planes[i][y * from.pitch[i] + x];
            }
        }

        ok = ok && to.planes[i][0] == (int) (sum / (w * h) + 0.5);
    }

    tap_ok(ok, "2 by 2 pixels are the means of quarters");

    picture_destroy(&from);
    picture_destroy(&to);
}


/* a decoder's picture of which something is cut off on the left */
static void
test_shifted(void)
{
    int                                 most, ok;
    uint32_t                            shared, grid[2];
    picture_t                           from, to, wanted;
    ngx_livestream_transcode_kernel_t   k;
    ngx_livestream_transcode_picture_t  source, target;

    ok = picture_create(&from, 648, 368) && picture_create(&to, 320, 180)
         && picture_create(&wanted, 320, 180);

    picture_draw(&from);
    picture_describe(&from, 0, &source);
    picture_describe(&to, 1, &target);

    source.data[0] += 6 + 8 * from.pitch[0];
    source.data[1] += 6 + 4 * from.pitch[1];
    source.width = 640;
    source.height = 360;

    shared = ngx_livestream_transcode_kernel_init(&k, &source, &target, 1,
                                                  grid);
    ok = ok && shared && kernel_run(&k, grid, shared);

    from.planes[0] += 6 + 8 * from.pitch[0];
    from.planes[1] += 3 + 4 * from.pitch[1];
    from.planes[2] += 3 + 4 * from.pitch[2];
    from.width = 640;
    from.height = 360;

    ok = ok && picture_swscale(&from, &wanted);

    tap_ok(ok && picture_differs(&to, &wanted, &most) < 1,
           "a source that begins anywhere in a word");

    from.planes[0] -= 6 + 8 * from.pitch[0];
    from.planes[1] -= 3 + 4 * from.pitch[1];
    from.planes[2] -= 3 + 4 * from.pitch[2];

    picture_destroy(&from);
    picture_destroy(&to);
    picture_destroy(&wanted);
}


static uint32_t
init(uint32_t width, uint32_t height, uint32_t pitch, uint32_t w, uint32_t h,
    unsigned n)
{
    unsigned                            i;
    uint32_t                            grid[2];
    ngx_livestream_transcode_kernel_t   k;
    ngx_livestream_transcode_picture_t  source;
    ngx_livestream_transcode_picture_t  targets[
                                         NGX_LIVESTREAM_TRANSCODE_TARGETS + 1];

    memset(&source, 0, sizeof(source));
    memset(targets, 0, sizeof(targets));

    source.pitch[0] = pitch;
    source.pitch[1] = pitch;
    source.width = width;
    source.height = height;

    for (i = 0; i <= NGX_LIVESTREAM_TRANSCODE_TARGETS; i++) {
        targets[i].width = w;
        targets[i].height = h;
    }

    return ngx_livestream_transcode_kernel_init(&k, &source, targets, n, grid);
}


static void
test_refuses(void)
{
    tap_ok(init(1920, 1080, 2048, 640, 360, 12) != 0, "twelve rungs");
    tap_is(init(1920, 1080, 2048, 640, 360, 13), 0, "not thirteen");
    tap_is(init(1920, 1080, 2048, 640, 360, 0), 0, "not none");
    tap_is(init(1920, 1080, 2046, 640, 360, 1), 0, "not lines out of step");
    tap_is(init(0, 1080, 2048, 640, 360, 1), 0, "not no width");
    tap_is(init(1920, 1080, 2048, 640, 0, 1), 0, "not no height of a rung");
    tap_is(init(16385, 1080, 16640, 640, 360, 1), 0, "not 16385 columns");
    tap_is(init(0xffffffff, 1080, 2048, 640, 360, 1), 0, "not 2^32 - 1");
    tap_ok(init(16384, 16384, 16384, 854, 480, 1) != 0, "16384 by 16384");
    tap_is(init(16384, 16384, 16384, 16, 16, 1), 0,
           "not what a block has no memory for");
}


static void
test_ptx(const char *compiler, const char *ptx, size_t size)
{
    int          rc;
    FILE        *f;
    char         path[] = "/tmp/livestream-ptx-XXXXXX", line[256];
    unsigned     target;
    const char  *p;

    if (size == 1) {
        tap_ok(1, "%s # SKIP there is none", compiler);
        return;
    }

    tap_ok(strncmp(ptx, ".version 6.3\n", 13) == 0,
           "%s: drivers of many years take it", compiler);
    tap_ok(strstr(ptx, ".visible .entry " NGX_LIVESTREAM_TRANSCODE_KERNEL "(")
           != NULL, "%s: the kernel has its name", compiler);
    tap_ok(strstr(ptx, ".local") == NULL,
           "%s: threads have no memory of their own", compiler);

    p = strstr(ptx, ".target sm_");
    target = p ? atoi(p + sizeof(".target sm_") - 1) : 0;

    tap_ok(target >= 52 && target <= 75, "%s: for sm_%u", compiler, target);

    if (system(PATH "command -v ptxas > /dev/null") != 0) {
        tap_ok(1, "%s: assembles # SKIP there is no ptxas", compiler);
        return;
    }

    rc = mkstemp(path);
    f = rc == -1 ? NULL : fdopen(rc, "w");

    if (f == NULL) {
        tap_ok(0, "%s: a file", compiler);
        return;
    }

    (void) fputs(ptx, f);
    (void) fclose(f);

    /* newer ones have forgotten Maxwell */

    (void) snprintf(line, sizeof(line), PATH
                    "ptxas -arch=sm_75 -o /dev/null %s", path);
    tap_is(system(line), 0, "%s: assembles", compiler);

    (void) unlink(path);
}


int
main(void)
{
    unsigned  i;

    for (i = 0; i < sizeof(ladders) / sizeof(ladders[0]); i++) {
        test_ladder(&ladders[i]);
    }

    test_flat();
    test_mean();
    test_shifted();
    test_refuses();

    test_ptx("the build's compiler", ngx_livestream_transcode_ptx,
             sizeof(ngx_livestream_transcode_ptx));
    test_ptx("clang", ngx_livestream_transcode_ptx_clang,
             sizeof(ngx_livestream_transcode_ptx_clang));

    return tap_done();
}

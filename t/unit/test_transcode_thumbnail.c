
/*
 * Copyright (C) nginx-livestream contributors
 *
 * Thumbnails of all kinds of pictures, and what must not become of them: torn
 * files, wrong shapes and colours, threads that never end.
 */


#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>

#include "ngx_livestream_transcode.h"
#include "transcode_picture.h"


#define H264  NGX_LIVESTREAM_CODEC_H264
#define HEVC  NGX_LIVESTREAM_CODEC_HEVC
#define VP9   NGX_LIVESTREAM_CODEC_VP9
#define AV1   NGX_LIVESTREAM_CODEC_AV1

#define BT709   AVCOL_SPC_BT709
#define BT601   AVCOL_SPC_SMPTE170M
#define BT2020  AVCOL_SPC_BT2020_NCL

#define RED    "color=c=0xc83232:s="
#define P709   "scale=out_color_matrix=bt709:out_range=tv,format=yuv420p"
#define P601   "scale=out_color_matrix=bt601:out_range=tv,format=yuv420p"


typedef struct {
    const char              *name;
    ngx_livestream_codec_e   codec;
    const char              *encoder;
    const char              *options;
    const char              *params;        /* of x264 or x265 */
    const char              *chain;
    int                      space;
    int                      transfer;
    int                      sar;           /* 100 times */
    int                      width;         /* of the thumbnail */
    int                      height;
    int                      red;           /* its colour is known */
} case_t;


static const case_t  cases[] = {
    { "H.264", H264, "libx264", "preset=ultrafast", NULL,
      RED "1280x720," P709, BT709, AVCOL_TRC_BT709, 0, 640, 360, 1 },

    { "H.264 with colours that are not told", H264, "libx264",
      "preset=ultrafast", NULL, RED "640x480," P601, AVCOL_SPC_UNSPECIFIED,
      AVCOL_TRC_UNSPECIFIED, 0, 480, 360, 1 },

    { "H.264, HD with colours that are not told", H264, "libx264",
      "preset=ultrafast", NULL, RED "1280x720," P709, AVCOL_SPC_UNSPECIFIED,
      AVCOL_TRC_UNSPECIFIED, 0, 640, 360, 1 },

    { "small", H264, "libx264", "preset=ultrafast", NULL,
      RED "64x48," P601, BT601, AVCOL_TRC_SMPTE170M, 0, 64, 48, 1 },

    { "anamorphic", H264, "libx264", "preset=ultrafast", NULL,
      RED "320x240," P601, BT601, AVCOL_TRC_SMPTE170M, 133, 426, 240, 1 },

    { "anamorphic, narrow", H264, "libx264", "preset=ultrafast", NULL,
      RED "320x240," P601, BT601, AVCOL_TRC_SMPTE170M, 50, 240, 360, 1 },

    { "upright", H264, "libx264", "preset=ultrafast", NULL,
      RED "540x960," P709, BT709, AVCOL_TRC_BT709, 0, 202, 360, 1 },

    { "a wide strip", H264, "libx264", "preset=ultrafast", NULL,
      RED "1920x16," P709, BT709, AVCOL_TRC_BT709, 0, 640, 6, 1 },

    { "full range", H264, "libx264", "preset=ultrafast", NULL,
      RED "640x360,scale=out_color_matrix=bt709:out_range=pc,"
      "format=yuvj420p", BT709, AVCOL_TRC_BT709, 0, 640, 360, 1 },

    { "10 bit 4:2:2", H264, "libx264", "preset=ultrafast", NULL,
      RED "640x360,scale=out_color_matrix=bt709:out_range=tv,"
      "format=yuv422p10", BT709, AVCOL_TRC_BT709, 0, 640, 360, 1 },

    { "interlaced", H264, "libx264", "preset=ultrafast", "interlaced=1",
      RED "720x576," P601, BT601, AVCOL_TRC_SMPTE170M, 142, 640, 360, 1 },

    { "HEVC", HEVC, "libx265", "preset=ultrafast", "log-level=none",
      RED "1280x720," P709, BT709, AVCOL_TRC_BT709, 0, 640, 360, 1 },

    { "HEVC PQ", HEVC, "libx265", "preset=ultrafast", "log-level=none",
      RED "640x360,scale=out_color_matrix=bt2020:out_range=tv,"
      "format=yuv420p10", BT2020, AVCOL_TRC_SMPTE2084, 0, 640, 360, 0 },

    { "HEVC HLG", HEVC, "libx265", "preset=ultrafast", "log-level=none",
      RED "640x360,scale=out_color_matrix=bt2020:out_range=tv,"
      "format=yuv420p10", BT2020, AVCOL_TRC_ARIB_STD_B67, 0, 640, 360, 0 },

    { "VP9", VP9, "libvpx-vp9", "deadline=realtime:cpu-used=8", NULL,
      RED "1280x720," P709, BT709, AVCOL_TRC_BT709, 0, 640, 360, 1 },

    { "AV1", AV1, "libaom-av1", "usage=realtime:cpu-used=8", NULL,
      RED "640x360," P709, BT709, AVCOL_TRC_BT709, 0, 640, 360, 1 },

    { "AV1, a busy picture", AV1, "libaom-av1",
      "usage=realtime:cpu-used=8", NULL, "testsrc2=s=1280x720,format=yuv420p",
      BT709, AVCOL_TRC_BT709, 0, 640, 360, 0 },

    { "a busy picture", H264, "libx264", "preset=ultrafast", NULL,
      "testsrc2=s=1920x1080,format=yuv420p", BT709, AVCOL_TRC_BT709, 0,
      640, 360, 0 }
};


static char                            root[] = "/tmp/thumbnails-XXXXXX";
static char                            place[PATH_MAX];
static ngx_livestream_pipeline_conf_t  conf;


/* the module's, of which there is none here */
void
ngx_livestream_transcode_message(void *data, ngx_livestream_message_t *msg)
{
    (void) data;
    (void) msg;
}


static ngx_livestream_codec_t *
source_codec(const case_t *c, AVCodecContext *ctx, const AVPacket *pkt)
{
    int                      rc;
    size_t                   len;
    uint8_t                 *config;
    const char              *reason;
    ngx_livestream_codec_t  *codec, *refined;

    if (c->codec == H264 || c->codec == HEVC) {
        if (ngx_livestream_transcode_record(ctx, &config, &len) != 0) {
            picture_die("no configuration");
        }

        rc = ngx_livestream_codec_parse(c->codec, config, len, &codec,
                                        &reason);
        free(config);

    } else {
        rc = ngx_livestream_codec_parse_frame(c->codec, pkt->data, pkt->size,
                                              &codec, &reason);
    }

    if (rc != 0
        || ngx_livestream_codec_refine(codec, pkt->data, pkt->size, &refined,
                                       &reason)
           != 0)
    {
        picture_die(reason);
    }

    ngx_livestream_codec_unref(codec);

    return refined;
}


/* the key frame of a picture, as a publisher sends it */
static ngx_livestream_frame_t *
source_frame(const case_t *c)
{
    size_t                   size;
    AVFrame                 *pic;
    AVPacket                *pkt;
    AVDictionary            *options;
    AVCodecContext          *ctx;
    ngx_livestream_codec_t  *codec;
    ngx_livestream_frame_t  *f;

    pic = picture_source(c->chain, 0);
    pkt = av_packet_alloc();
    ctx = avcodec_alloc_context3(avcodec_find_encoder_by_name(c->encoder));
    options = NULL;

    av_dict_parse_string(&options, c->options, "=", ":", 0);

    if (c->params) {
        av_dict_set(&options, c->codec == H264 ? "x264-params" : "x265-params",
                    c->params, 0);
    }

    ctx->width = pic->width;
    ctx->height = pic->height;
    ctx->pix_fmt = pic->format;
    ctx->time_base = (AVRational) { 1, 25 };
    ctx->colorspace = c->space;
    ctx->color_trc = c->transfer;
    ctx->color_primaries = c->space == BT2020 ? AVCOL_PRI_BT2020
                                              : AVCOL_PRI_UNSPECIFIED;
    ctx->color_range = strstr(c->chain, "yuvj") ? AVCOL_RANGE_JPEG
                                                : AVCOL_RANGE_MPEG;
    ctx->bit_rate = 2000000;

    if (c->params && strstr(c->params, "interlaced")) {
        ctx->flags |= AV_CODEC_FLAG_INTERLACED_DCT;
#ifdef AV_FRAME_FLAG_INTERLACED
        pic->flags |= AV_FRAME_FLAG_INTERLACED
                      | AV_FRAME_FLAG_TOP_FIELD_FIRST;
#else
        pic->interlaced_frame = 1;
        pic->top_field_first = 1;
#endif
    }

    if (c->codec == H264 || c->codec == HEVC) {
        ctx->flags |= AV_CODEC_FLAG_GLOBAL_HEADER;
    }

    if (c->sar) {
        av_reduce(&ctx->sample_aspect_ratio.num, &ctx->sample_aspect_ratio.den,
                  c->sar, 100, 255);
    }

    pic->pts = 0;
    pic->colorspace = ctx->colorspace;
    pic->color_trc = ctx->color_trc;
    pic->color_primaries = ctx->color_primaries;
    pic->color_range = ctx->color_range;
    pic->sample_aspect_ratio = ctx->sample_aspect_ratio;

    if (avcodec_open2(ctx, ctx->codec, &options) < 0
        || avcodec_send_frame(ctx, pic) < 0
        || avcodec_send_frame(ctx, NULL) < 0
        || avcodec_receive_packet(ctx, pkt) < 0)
    {
        picture_die(c->name);
    }

    codec = source_codec(c, ctx, pkt);

    if (c->codec == H264 || c->codec == HEVC) {
        size = ngx_livestream_transcode_nals_get_size(c->codec, pkt->data,
                                                      pkt->size);
        f = ngx_livestream_frame_create(codec, size);
        ngx_livestream_transcode_nals_write(f->data, c->codec, pkt->data,
                                            pkt->size);

    } else {
        f = ngx_livestream_frame_create(codec, pkt->size);
        memcpy(f->data, pkt->data, pkt->size);
    }

    f->flags = NGX_LIVESTREAM_FRAME_KEY;
    f->dts = 90000;
    f->pts = 90000;

    ngx_livestream_codec_unref(codec);
    av_dict_free(&options);
    av_packet_free(&pkt);
    av_frame_free(&pic);
    avcodec_free_context(&ctx);

    return f;
}


static size_t
slurp(uint8_t **data)
{
    int          fd;
    size_t       n;
    struct stat  st;

    *data = NULL;

    fd = open(place, O_RDONLY);
    if (fd == -1) {
        return 0;
    }

    n = 0;

    if (fstat(fd, &st) == 0) {
        *data = malloc(st.st_size + 1);
        n = read(fd, *data, st.st_size);
        n = n == (size_t) st.st_size ? n : 0;
    }

    close(fd);

    return n;
}


static int
whole(const uint8_t *data, size_t n)
{
    return n > 100 && data[0] == 0xff && data[1] == 0xd8
           && data[n - 2] == 0xff && data[n - 1] == 0xd9;
}


static AVFrame *
picture_read(void)
{
    size_t           n;
    uint8_t         *data;
    AVFrame         *pic;
    AVPacket        *pkt;
    AVCodecContext  *ctx;

    n = slurp(&data);

    if (!whole(data, n)) {
        free(data);
        return NULL;
    }

    ctx = avcodec_alloc_context3(avcodec_find_decoder(AV_CODEC_ID_MJPEG));
    pic = av_frame_alloc();
    pkt = av_packet_alloc();

    if (avcodec_open2(ctx, NULL, NULL) < 0 || av_new_packet(pkt, n) < 0) {
        picture_die("no decoder of JPEG");
    }

    memcpy(pkt->data, data, n);

    if (avcodec_send_packet(ctx, pkt) < 0
        || avcodec_send_packet(ctx, NULL) < 0
        || avcodec_receive_frame(ctx, pic) < 0)
    {
        av_frame_free(&pic);
    }

    free(data);
    av_packet_free(&pkt);
    avcodec_free_context(&ctx);

    return pic;
}


static void
rest(void)
{
    struct timespec  ts;

    ts.tv_sec = 0;
    ts.tv_nsec = 2000000;

    nanosleep(&ts, NULL);
}


/* until there is another file than the one of that number; its number */
static ino_t
wait_file(ino_t old)
{
    int          i;
    struct stat  st;

    for (i = 0; i < 10000; i++) {
        if (stat(place, &st) == 0 && st.st_ino != old) {
            return st.st_ino;
        }

        rest();
    }

    return old;
}


/* until no job has the frame: another one of the stream would be left out */
static void
wait_done(ngx_livestream_frame_t *f)
{
    int  i;

    for (i = 0; i < 10000; i++) {
        if (__atomic_load_n(&f->refs, __ATOMIC_ACQUIRE) == 1) {
            return;
        }

        rest();
    }

    tap_ok(0, "thumbnails are made");
}


static int
wait_error(void)
{
    int  i, err;

    for (i = 0; i < 10000; i++) {
        err = ngx_livestream_transcode_thumbnails_error();

        if (err) {
            return err;
        }

        rest();
    }

    return 0;
}


/* files in the broadcast's folder */
static unsigned
files(void)
{
    DIR            *d;
    char            path[PATH_MAX];
    unsigned        n;
    struct dirent  *e;

    snprintf(path, sizeof(path), "%s/stream/one", root);

    d = opendir(path);
    n = 0;

    for (e = readdir(d); e; e = readdir(d)) {
        n += e->d_name[0] != '.';
    }

    closedir(d);

    return n;
}


static void
test_case(const case_t *c)
{
    double                   y, u, v, r, g, b;
    AVFrame                 *pic;
    ngx_livestream_frame_t  *f;

    (void) unlink(place);

    f = source_frame(c);
    ngx_livestream_transcode_thumbnail(&conf, f);
    ngx_livestream_frame_unref(f);

    wait_file(0);

    pic = picture_read();

    tap_is(ngx_livestream_transcode_thumbnails_error(), 0, "%s: made",
           c->name);

    if (!tap_ok(pic != NULL, "%s: is a JPEG", c->name)) {
        return;
    }

    tap_is(pic->width, c->width, "%s: its width", c->name);
    tap_is(pic->height, c->height, "%s: its height", c->name);

    y = picture_mean(pic, 0);
    u = picture_mean(pic, 1) - 128;
    v = picture_mean(pic, 2) - 128;

    r = y + 1.402 * v;
    g = y - 0.344136 * u - 0.714136 * v;
    b = y + 1.772 * u;

    if (c->red) {
        tap_ok(fabs(r - 200) < 8 && fabs(g - 50) < 8 && fabs(b - 50) < 8,
               "%s: of its colour: %.0f %.0f %.0f", c->name, r, g, b);

    } else {
        tap_ok(y > 20 && y < 235, "%s: neither black nor white: %.0f %.0f "
               "%.0f", c->name, r, g, b);
    }

    av_frame_free(&pic);
}


static void
test_replaced(ngx_livestream_frame_t *f)
{
    int       i, torn;
    ino_t     old, now;
    size_t    n;
    uint8_t  *data;

    (void) unlink(place);

    ngx_livestream_transcode_thumbnail(&conf, f);
    now = wait_file(0);
    torn = 0;

    for (i = 0; i < 20; i++) {
        old = now;
        ngx_livestream_transcode_thumbnail(&conf, f);

        do {
            n = slurp(&data);
            torn += !whole(data, n);
            free(data);

            ngx_livestream_transcode_thumbnail(&conf, f);
            now = wait_file(0);

        } while (now == old);
    }

    wait_done(f);

    tap_is(torn, 0, "replaced again and again, it is never torn");
    tap_is(ngx_livestream_transcode_thumbnails_error(), 0, "nothing failed");
}


static void
test_no_folder(ngx_livestream_frame_t *f)
{
    char                            path[PATH_MAX];
    ngx_livestream_pipeline_conf_t  other;

    other = conf;
    other.broadcast = "two";

    /* the second one is made when the first one has been */

    ngx_livestream_transcode_thumbnail(&other, f);

    (void) unlink(place);
    ngx_livestream_transcode_thumbnail(&conf, f);
    wait_file(0);
    wait_done(f);

    snprintf(path, sizeof(path), "%s/stream/two", root);

    tap_is(ngx_livestream_transcode_thumbnails_error(), 0,
           "no folder is no failure");
    tap_is(access(path, F_OK), -1, "and none is made");
}


static void
test_broken(ngx_livestream_frame_t *f)
{
    size_t                   i;
    ngx_livestream_frame_t  *bad;

    bad = ngx_livestream_frame_create(f->codec, f->size);

    for (i = 0; i < f->size; i++) {
        bad->data[i] = i * 7919 >> 3;
    }

    ngx_livestream_transcode_thumbnail(&conf, bad);
    ngx_livestream_frame_unref(bad);

    tap_is(wait_error(), EILSEQ, "noise is no picture");

    bad = ngx_livestream_frame_create(f->codec, f->size / 2);
    memcpy(bad->data, f->data, f->size / 2);
    bad->flags = NGX_LIVESTREAM_FRAME_KEY;

    ngx_livestream_transcode_thumbnail(&conf, bad);
    ngx_livestream_frame_unref(bad);

    tap_is(wait_error(), EILSEQ, "nor is half of a picture");
}


static void
test_disk(ngx_livestream_frame_t *f)
{
    int            err;
    size_t         n, before;
    uint8_t       *data;
    struct rlimit  limit, small;

    (void) unlink(place);
    ngx_livestream_transcode_thumbnail(&conf, f);
    wait_file(0);
    wait_done(f);

    before = slurp(&data);
    free(data);

    getrlimit(RLIMIT_FSIZE, &limit);
    small = limit;
    small.rlim_cur = 1000;
    setrlimit(RLIMIT_FSIZE, &small);

    ngx_livestream_transcode_thumbnail(&conf, f);
    err = wait_error();

    setrlimit(RLIMIT_FSIZE, &limit);

    tap_is(err, EFBIG, "no room for it");

    n = slurp(&data);
    tap_ok(n == before && whole(data, n), "the one before it is still there");
    tap_is(files(), 1, "and nothing else");
    free(data);

    (void) unlink(place);
    (void) mkdir(place, 0755);

    ngx_livestream_transcode_thumbnail(&conf, f);
    tap_is(wait_error(), EISDIR, "a folder is in its place");
    tap_is(files(), 1, "nothing is left beside it");

    (void) rmdir(place);
}


/* whether there is a thread of that name, and its nice value */
static int
nice_of(const char *name, int *value)
{
    DIR            *d;
    FILE           *fh;
    char            path[300], line[512], *p;
    int             found;
    struct dirent  *e;

    d = opendir("/proc/self/task");
    found = 0;

    for (e = readdir(d); e; e = readdir(d)) {
        snprintf(path, sizeof(path), "/proc/self/task/%s/stat", e->d_name);

        fh = fopen(path, "r");
        if (fh == NULL) {
            continue;
        }

        if (fgets(line, sizeof(line), fh) && strstr(line, name)) {
            p = strrchr(line, ')');
            found = sscanf(p, ") %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u"
                           " %*u %*u %*d %*d %*d %d", value);
        }

        fclose(fh);
    }

    closedir(d);

    return found == 1;
}


static void
test_life(ngx_livestream_frame_t *f)
{
    int                             i, value;
    char                            id[32];
    ngx_livestream_pipeline_conf_t  other;

    value = -1;
    tap_ok(nice_of("(thumbnails)", &value), "there is one thread");
    tap_is(value, 10, "which is niced");

    other = conf;

    for (i = 0; i < 100; i++) {
        snprintf(id, sizeof(id), "stream%d", i);
        other.id = id;
        ngx_livestream_transcode_thumbnail(&other, f);
        ngx_livestream_transcode_thumbnail(&other, f);
    }

    ngx_livestream_transcode_thumbnails_stop();
    tap_ok(!nice_of("(thumbnails)", &value),
           "it ends, whatever there is to do");

    tap_is(f->refs, 1, "nobody holds a picture then");

    ngx_livestream_transcode_thumbnail(&conf, f);
    tap_is(f->refs, 1, "nor takes one");

    ngx_livestream_transcode_thumbnails_stop();

    tap_is(ngx_livestream_transcode_thumbnails_start(), 0, "it starts again");
    (void) unlink(place);
    ngx_livestream_transcode_thumbnail(&conf, f);
    tap_ok(wait_file(0) != 0, "and goes on");
}


static void
remove_all(void)
{
    char  path[PATH_MAX];

    (void) unlink(place);
    snprintf(path, sizeof(path), "%s/stream/one", root);
    (void) rmdir(path);
    snprintf(path, sizeof(path), "%s/stream", root);
    (void) rmdir(path);

    tap_is(rmdir(root), 0, "no file is left anywhere");
}


int
main(void)
{
    char                     path[PATH_MAX];
    unsigned                 i;
    ngx_livestream_frame_t  *f;

    av_log_set_level(AV_LOG_QUIET);

    if (mkdtemp(root) == NULL) {
        picture_die("no folder");
    }

    snprintf(path, sizeof(path), "%s/stream", root);
    (void) mkdir(path, 0755);
    snprintf(path, sizeof(path), "%s/stream/one", root);
    (void) mkdir(path, 0755);
    snprintf(place, sizeof(place), "%s/stream/one/thumbnail.jpg", root);

    conf.root = root;
    conf.id = "stream";
    conf.broadcast = "one";

    tap_is(ngx_livestream_transcode_thumbnails_start(), 0, "it starts");

    for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        test_case(&cases[i]);
    }

    f = source_frame(&cases[sizeof(cases) / sizeof(cases[0]) - 1]);

    test_replaced(f);
    test_no_folder(f);
    test_broken(f);
    test_disk(f);
    test_life(f);

    ngx_livestream_transcode_thumbnails_stop();
    ngx_livestream_frame_unref(f);

    remove_all();

    return tap_done();
}

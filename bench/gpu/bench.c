
/*
 * Copyright (C) nginx-livestream contributors
 *
 * bench CLIP [SECONDS]: how many streams of 1080p30 a GPU decodes and scales
 * to the whole ladder in real time, what a stream takes of the CPU and of the
 * device's memory, and how much of the memory's bandwidth the kernel gets.
 *
 *   CLIP, Annex B --> packets, once
 *                       |
 *   thread of a stream: decoder --> ngx_livestream_transcode_gpu_scale()
 *
 * First streams run as fast as they can, more and more of them, until together
 * they get no faster: that divided by 30 is the guess.  Then so many run at
 * the clip's own rate, and fewer if pictures come late.
 *
 * `make bench-gpu` builds a folder, BUILD/gpu, that has all that this needs.
 * Carry these four to a machine that has a GPU, its driver and xz, and say
 * BUILD/gpu/run there, or `make bench-gpu` if the source is there as well:
 *
 *   bench, in which the kernel is     clip.h264     lib.tar.xz     run
 *
 * A machine without a GPU skips it.
 */


#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include <libavcodec/avcodec.h>

#define FFNV_LOG_FUNC(logctx, msg, ...)        (void) (logctx)
#define FFNV_DEBUG_LOG_FUNC(logctx, msg, ...)

#include <ffnvcodec/dynlink_loader.h>

#include "ngx_livestream_transcode_gpu_impl.h"
#include "ngx_livestream_transcode_kernel.h"


#define WIDTH     1920
#define HEIGHT    1080
#define RATE      30
#define RUNGS     5
#define STREAMS   512
#define TRIES     8
#define PICTURES  64            /* of the kernel: more than any cache holds */
#define LAUNCHES  2048
#define SURFACES  2             /* that a stream has besides the decoder's */


typedef struct {
    AVPacket       **packets;
    unsigned         n;
    unsigned         size;
} clip_t;


/* of streams that run together */
typedef struct {
    const clip_t      *clip;
    uint32_t           download;
    int                paced;
    double             seconds;
    pthread_barrier_t  barrier;
    double             start;
} load_t;


typedef struct {
    load_t            *load;
    unsigned           number;
    unsigned           of;
    pthread_t          thread;
    uint64_t           pictures;
    uint64_t           late;
    double             end;
    const char        *failure;
    char               text[128];
    ngx_livestream_transcode_gpu_t  *g;
    AVCodecContext    *avctx;
} stream_t;


typedef struct {
    double             rate;            /* pictures/s of all */
    double             late;            /* share of them */
    double             cpu;             /* of a core, each */
    double             memory;          /* MiB, each */
    const char        *failure;
} result_t;


static const uint32_t  ladder[RUNGS][2] = {
    { 1920, 1080 }, { 1280, 720 }, { 854, 480 }, { 640, 360 }, { 426, 240 }
};


static double
now(void)
{
    struct timespec  ts;

    (void) clock_gettime(CLOCK_MONOTONIC, &ts);

    return ts.tv_sec + ts.tv_nsec / 1e9;
}


static double
cpu(void)
{
    struct rusage  ru;

    (void) getrusage(RUSAGE_SELF, &ru);

    return ru.ru_utime.tv_sec + ru.ru_stime.tv_sec
           + (ru.ru_utime.tv_usec + ru.ru_stime.tv_usec) / 1e6;
}


static void
sleep_until(double t)
{
    struct timespec  ts;

    ts.tv_sec = (time_t) t;
    ts.tv_nsec = (long) ((t - ts.tv_sec) * 1e9);

    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &ts, NULL)
           == EINTR)
    {
        /* void */
    }
}


static int
clip_add(clip_t *clip, const uint8_t *data, int size)
{
    AVPacket   *pkt, **packets;

    if (clip->n == clip->size) {
        clip->size = clip->size ? clip->size * 2 : 256;
        packets = realloc(clip->packets, clip->size * sizeof(AVPacket *));

        if (packets == NULL) {
            return -1;
        }

        clip->packets = packets;
    }

    pkt = av_packet_alloc();

    if (pkt == NULL || av_new_packet(pkt, size) < 0) {
        return -1;
    }

    memcpy(pkt->data, data, size);
    clip->packets[clip->n++] = pkt;

    return 0;
}


static int
clip_parse(clip_t *clip, const uint8_t *data, size_t len)
{
    int                    n, size;
    uint8_t               *out;
    AVCodecContext        *avctx;
    AVCodecParserContext  *parser;

    avctx = avcodec_alloc_context3(NULL);
    parser = av_parser_init(AV_CODEC_ID_H264);

    if (avctx == NULL || parser == NULL) {
        return -1;
    }

    do {
        n = av_parser_parse2(parser, avctx, &out, &size, data, len,
                             AV_NOPTS_VALUE, AV_NOPTS_VALUE, 0);
        data += n;

        if (size && clip_add(clip, out, size) != 0) {
            return -1;
        }

        if (len == 0) {
            break;
        }

        len -= n;
    } while (n >= 0);

    av_parser_close(parser);
    avcodec_free_context(&avctx);

    return 0;
}


static int
clip_read(clip_t *clip, const char *name)
{
    int       rc;
    FILE     *f;
    long      size;
    uint8_t  *data;

    memset(clip, 0, sizeof(clip_t));

    f = fopen(name, "rb");

    if (f == NULL || fseek(f, 0, SEEK_END) == -1 || (size = ftell(f)) == -1) {
        return -1;
    }

    rewind(f);

    data = calloc(1, size + AV_INPUT_BUFFER_PADDING_SIZE);

    rc = data && fread(data, 1, size, f) == (size_t) size
         ? clip_parse(clip, data, size) : -1;

    free(data);
    (void) fclose(f);

    return clip->n ? rc : -1;
}


static enum AVPixelFormat
stream_format(AVCodecContext *avctx, const enum AVPixelFormat *formats)
{
    (void) avctx;

    while (*formats != AV_PIX_FMT_NONE && *formats != AV_PIX_FMT_CUDA) {
        formats++;
    }

    return *formats;
}


static int
stream_open(stream_t *s)
{
    unsigned                            i;
    ngx_livestream_transcode_output_t   outputs[RUNGS];

    memset(outputs, 0, sizeof(outputs));

    for (i = 0; i < RUNGS; i++) {
        outputs[i].rung = i;
        outputs[i].width = ladder[i][0];
        outputs[i].height = ladder[i][1];
    }

    s->g = ngx_livestream_transcode_gpu_open(&s->failure);

    if (s->g == NULL
        || ngx_livestream_transcode_gpu_outputs(s->g, outputs, RUNGS,
                                                &s->failure))
    {
        return -1;
    }

    s->failure = "NVDEC does not open";
    s->avctx = avcodec_alloc_context3(avcodec_find_decoder(AV_CODEC_ID_H264));

    if (s->avctx == NULL) {
        return -1;
    }

    s->avctx->hw_device_ctx =
                      av_buffer_ref(ngx_livestream_transcode_gpu_device(s->g));
    s->avctx->get_format = stream_format;
    s->avctx->thread_count = 1;
    s->avctx->extra_hw_frames = SURFACES;

    if (avcodec_open2(s->avctx, NULL, NULL) < 0) {
        return -1;
    }

    s->failure = NULL;

    return 0;
}


static int
stream_pictures(stream_t *s, AVFrame *pic)
{
    int        rc;
    unsigned   i;
    double     due;
    AVFrame   *out[NGX_LIVESTREAM_TRANSCODE_RUNGS];

    while (avcodec_receive_frame(s->avctx, pic) == 0) {

        if (pic->format != AV_PIX_FMT_CUDA) {
            s->failure = "NVDEC does not take the clip";
            return -1;
        }

        rc = ngx_livestream_transcode_gpu_scale(s->g, pic, (1 << RUNGS) - 1,
                                                s->load->download, out);
        av_frame_unref(pic);

        if (rc) {
            (void) snprintf(s->text, sizeof(s->text), "%s",
                            ngx_livestream_transcode_gpu_reason(s->g));
            s->failure = s->text;
            return -1;
        }

        for (i = 0; i < RUNGS; i++) {
            av_frame_free(&out[i]);
        }

        s->pictures++;

        /* the first ones fill the decoder */

        due = s->load->start + (double) s->number / s->of / RATE
              + (double) (s->pictures + RATE) / RATE;

        s->late += s->load->paced && now() > due;
    }

    return 0;
}


static void *
stream_main(void *data)
{
    stream_t  *s = data;

    unsigned   i;
    double     t;
    AVFrame   *pic;

    pic = av_frame_alloc();

    if (stream_open(s) == 0 && pic == NULL) {
        s->failure = "out of memory";
    }

    (void) pthread_barrier_wait(&s->load->barrier);     /* all are open */
    (void) pthread_barrier_wait(&s->load->barrier);     /* start is set */

    for (i = 0; s->failure == NULL; i++) {
        t = s->load->start + ((double) s->number / s->of + i) / RATE;

        if ((s->load->paced ? t : now())
            > s->load->start + s->load->seconds)
        {
            break;
        }

        if (s->load->paced) {
            sleep_until(t);
        }

        if (avcodec_send_packet(s->avctx,
                                s->load->clip->packets[i % s->load->clip->n])
            < 0)
        {
            s->failure = "NVDEC does not decode the clip";
            break;
        }

        if (stream_pictures(s, pic) != 0) {
            break;
        }
    }

    s->end = now();

    (void) pthread_barrier_wait(&s->load->barrier);     /* all are done */
    (void) pthread_barrier_wait(&s->load->barrier);     /* and measured */

    av_frame_free(&pic);
    avcodec_free_context(&s->avctx);
    ngx_livestream_transcode_gpu_close(s->g);

    return NULL;
}


/* MiB that the device has left */
static double
memory(ngx_livestream_transcode_gpu_t *g)
{
    size_t     size, total;
    CUcontext  dummy;

    size = 0;

    if (g->driver->push(g->device->context) == CUDA_SUCCESS) {
        (void) g->driver->get_info(&size, &total);
        (void) g->driver->pop(&dummy);
    }

    return size / 1048576.0;
}


/* n streams; g's context is there before and after them */
static void
run(ngx_livestream_transcode_gpu_t *g, const clip_t *clip, unsigned n,
    uint32_t download, int paced, double seconds, result_t *r)
{
    load_t     load;
    double     before, used, end, idle;
    uint64_t   pictures, late;
    unsigned   i;

    static stream_t  streams[STREAMS];

    memset(r, 0, sizeof(result_t));
    memset(streams, 0, sizeof(streams));

    load.clip = clip;
    load.download = download;
    load.paced = paced;
    load.seconds = seconds;

    (void) pthread_barrier_init(&load.barrier, NULL, n + 1);

    idle = memory(g);

    for (i = 0; i < n; i++) {
        streams[i].load = &load;
        streams[i].number = i;
        streams[i].of = n;

        if (pthread_create(&streams[i].thread, NULL, stream_main,
                           &streams[i]))
        {
            printf("threads: %s\n", strerror(errno));
            exit(1);
        }
    }

    (void) pthread_barrier_wait(&load.barrier);

    before = cpu();
    load.start = now();

    (void) pthread_barrier_wait(&load.barrier);
    (void) pthread_barrier_wait(&load.barrier);

    used = cpu() - before;
    r->memory = (idle - memory(g)) / n;

    (void) pthread_barrier_wait(&load.barrier);

    pictures = 0;
    late = 0;
    end = load.start;

    for (i = 0; i < n; i++) {
        (void) pthread_join(streams[i].thread, NULL);

        pictures += streams[i].pictures;
        late += streams[i].late;
        end = streams[i].end > end ? streams[i].end : end;
        r->failure = streams[i].failure ? streams[i].failure : r->failure;
    }

    (void) pthread_barrier_destroy(&load.barrier);

    r->rate = pictures / (end - load.start);
    r->late = pictures ? (double) late / pictures : 1;
    r->cpu = used / (end - load.start) / n;
}


static int
bench_streams(ngx_livestream_transcode_gpu_t *g, const clip_t *clip,
    const char *what, uint32_t download, double seconds)
{
    double    best;
    unsigned  n, tries;
    result_t  r;

    best = 0;

    for (n = 1; n <= STREAMS; n *= 2) {
        run(g, clip, n, download, 0, 3, &r);

        if (r.failure) {
            printf("%s, %u at once: %s\n", what, n, r.failure);
            break;
        }

        printf("%s, %3u at once, as fast as they can: %.0f pictures/s\n",
               what, n, r.rate);

        if (r.rate < best * 1.03) {
            break;
        }

        best = r.rate;
    }

    n = best / RATE;
    n = n > STREAMS ? STREAMS : n;

    for (tries = 0; n && tries < TRIES; tries++) {
        run(g, clip, n, download, 1, seconds, &r);

        if (r.failure == NULL && r.late < 0.001) {
            printf("%s: %u streams of 1080p30 in real time; of each: "
                   "%.1f %% of a core, %.0f MiB of the device\n", what, n,
                   r.cpu * 100, r.memory);
            return 0;
        }

        printf("%s: %u streams are too many: %s, %.1f %% late\n", what, n,
               r.failure ? r.failure : "slow", r.late * 100);
        n -= n / 10 + 1;
    }

    printf("%s: none in real time\n", what);

    return 1;
}


/* where a picture of NV12 is in memory of the device */
static void
picture(ngx_livestream_transcode_picture_t *pic, CUdeviceptr p, uint32_t width,
    uint32_t height)
{
    memset(pic, 0, sizeof(ngx_livestream_transcode_picture_t));

    pic->pitch[0] = (width + 255) / 256 * 256;
    pic->pitch[1] = pic->pitch[0];
    pic->data[0] = p;
    pic->data[1] = p + (size_t) pic->pitch[0] * height;
    pic->width = width;
    pic->height = height;
}


static CUresult
launches(ngx_livestream_transcode_gpu_t *g, CUdeviceptr memory, size_t stride,
    unsigned n)
{
    void                                *params[1];
    size_t                               offset;
    CUresult                             rc;
    unsigned                             i, j;
    uint32_t                             shared, grid[2];
    ngx_livestream_transcode_kernel_t    k;
    ngx_livestream_transcode_picture_t   source, targets[RUNGS];

    params[0] = &k;

    for (i = 0; i < n; i++) {
        offset = memory + i % PICTURES * stride;
        picture(&source, offset, WIDTH, HEIGHT);
        offset += (size_t) source.pitch[0] * HEIGHT * 3 / 2;

        for (j = 0; j < RUNGS; j++) {
            picture(&targets[j], offset, ladder[j][0], ladder[j][1]);
            offset += (size_t) targets[j].pitch[0] * ladder[j][1] * 3 / 2;
        }

        shared = ngx_livestream_transcode_kernel_init(&k, &source, targets,
                                                      RUNGS, grid);

        rc = g->driver->launch(g->device->kernel, grid[0], grid[1], 1,
                               NGX_LIVESTREAM_TRANSCODE_THREADS, 1, 1, shared,
                               g->stream, params, NULL);
        if (rc != CUDA_SUCCESS) {
            return rc;
        }
    }

    return g->driver->sync(g->stream);
}


/* bytes/s that a copy on the device reads and writes */
static double
bench_copy(ngx_livestream_transcode_gpu_t *g, CUdeviceptr memory, size_t size)
{
    int             i;
    double          start;
    CudaFunctions  *cu;

    cu = g->driver->cu;
    start = 0;
    size /= 2;

    for (i = 0; i < 21; i++) {

        if (cu->cuMemcpyDtoDAsync(memory + size, memory, size, g->stream)
            != CUDA_SUCCESS)
        {
            return 0;
        }

        if (i == 0) {
            (void) g->driver->sync(g->stream);
            start = now();
        }
    }

    (void) g->driver->sync(g->stream);

    return 20.0 * 2 * size / (now() - start);
}


static int
bench_kernel(ngx_livestream_transcode_gpu_t *g)
{
    int             j, clock, width;
    double          start, took, bytes, copy, peak;
    size_t          stride;
    unsigned        i;
    CUresult        rc;
    CUcontext       dummy;
    CUdeviceptr     p;
    CudaFunctions  *cu;

    cu = g->driver->cu;
    bytes = WIDTH * HEIGHT * 1.5;

    for (j = 0; j < RUNGS; j++) {
        bytes += ladder[j][0] * ladder[j][1] * 1.5;
    }

    /* lines are at most 255 bytes longer than what is shown of them */

    stride = (size_t) bytes + 255 * 3 * (HEIGHT * 2 + 720 + 480 + 360 + 240);
    stride = (stride + 511) / 512 * 512;

    if (g->driver->push(g->device->context) != CUDA_SUCCESS) {
        return 1;
    }

    rc = g->driver->alloc(&p, stride * PICTURES);

    if (rc != CUDA_SUCCESS) {
        printf("kernel: no memory for it\n");
        (void) g->driver->pop(&dummy);
        return 1;
    }

    start = now();
    rc = launches(g, p, stride, PICTURES);

    /* a machine that has the time of a GPU */

    i = now() - start < 1 ? LAUNCHES : PICTURES;
    start = now();
    rc = rc == CUDA_SUCCESS ? launches(g, p, stride, i) : rc;
    took = (now() - start) / i;

    copy = bench_copy(g, p, stride * PICTURES);

    clock = 0;
    width = 0;
    (void) cu->cuDeviceGetAttribute(&clock,
                                    CU_DEVICE_ATTRIBUTE_MEMORY_CLOCK_RATE,
                                    g->device->index);
    (void) cu->cuDeviceGetAttribute(&width,
                               CU_DEVICE_ATTRIBUTE_GLOBAL_MEMORY_BUS_WIDTH,
                               g->device->index);
    peak = clock * 1e3 * 2 * width / 8;

    (void) g->driver->free(p);
    (void) g->driver->pop(&dummy);

    if (rc != CUDA_SUCCESS) {
        printf("kernel: error %d\n", (int) rc);
        return 1;
    }

    printf("kernel: a picture of 1080p in %.1f us, %.0f GB/s", took * 1e6,
           bytes / took / 1e9);

    if (copy > 0) {
        printf(", %.0f %% of a copy's %.0f GB/s", bytes / took / copy * 100,
               copy / 1e9);
    }

    if (peak > 0) {
        printf(", %.0f %% of the %.0f GB/s of its memory",
               bytes / took / peak * 100, peak / 1e9);
    }

    printf("\n");

    return 0;
}


int
main(int argc, char **argv)
{
    int                              failed;
    char                             name[128];
    double                           seconds;
    clip_t                           clip;
    unsigned                         i;
    const char                      *reason;
    ngx_livestream_transcode_gpu_t  *g;

    seconds = argc > 2 ? atof(argv[2]) : 10;

    if (argc < 2) {
        printf("usage: bench CLIP [SECONDS]\n");
        return 2;
    }

    av_log_set_level(AV_LOG_QUIET);

    g = ngx_livestream_transcode_gpu_open(&reason);

    if (g == NULL) {
        printf("skipped: %s\n", reason);
        return 0;
    }

    if (clip_read(&clip, argv[1]) != 0) {
        printf("%s cannot be read\n", argv[1]);
        return 1;
    }

    (void) g->driver->cu->cuDeviceGetName(name, sizeof(name),
                                          g->device->index);
    printf("%s; %u pictures of %s\n", name, clip.n, argv[1]);

    failed = bench_kernel(g);
    failed |= bench_streams(g, &clip, "for encoders on the device", 0,
                            seconds);
    failed |= bench_streams(g, &clip, "for encoders on the CPU",
                            (1 << RUNGS) - 1, seconds);

    for (i = 0; i < clip.n; i++) {
        av_packet_free(&clip.packets[i]);
    }

    free(clip.packets);
    ngx_livestream_transcode_gpu_close(g);

    return failed;
}

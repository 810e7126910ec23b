
/*
 * Copyright (C) nginx-livestream contributors
 *
 * For tests of conversion: recordings of any codec, and each packet of an MP4
 * file held against the frame that went into the recording.
 */


#ifndef _DVR_CONVERT_H_INCLUDED_
#define _DVR_CONVERT_H_INCLUDED_


#include "dvr_clip.h"
#include "mp4_read.h"
#include "ngx_livestream_dvr_convert.h"


#define VIDEO  "testsrc2=s=320x180:r=25"
#define AUDIO  "sine=f=440:r=48000,aformat=cl=stereo:sample_fmts="

#define H264   "preset=ultrafast:g=25:bf=0"
#define B      "preset=veryfast:g=25:bf=2"


typedef struct {
    const char              *name;
    ngx_livestream_codec_e   id;
    const char              *encoder;
    const char              *opts;
    const char              *chain;
    enum AVCodecID           codec;
    const char              *tag;
} kind_t;


static const kind_t  videos[] = {
    { "h264", NGX_LIVESTREAM_CODEC_H264, "libx264", H264,
      VIDEO ",format=yuv420p", AV_CODEC_ID_H264, "avc1" },
    { "h264 with B-frames", NGX_LIVESTREAM_CODEC_H264, "libx264", B,
      VIDEO ",format=yuv420p", AV_CODEC_ID_H264, "avc1" },
    { "h265", NGX_LIVESTREAM_CODEC_HEVC, "libx265",
      "preset=ultrafast:x265-params=log-level=none\\:keyint=25\\:bframes=2",
      VIDEO ",format=yuv420p", AV_CODEC_ID_HEVC, "hvc1" },
    { "vp9", NGX_LIVESTREAM_CODEC_VP9, "libvpx-vp9",
      "deadline=realtime:cpu-used=8:lag-in-frames=0:b=300000:g=25",
      VIDEO ",format=yuv420p", AV_CODEC_ID_VP9, "vp09" },
    { "vp9 of 4:4:4", NGX_LIVESTREAM_CODEC_VP9, "libvpx-vp9",
      "deadline=realtime:cpu-used=8:lag-in-frames=0:b=300000:g=25",
      VIDEO ",format=yuv444p", AV_CODEC_ID_VP9, "vp09" },
    { "av1", NGX_LIVESTREAM_CODEC_AV1, "libaom-av1",
      "cpu-used=8:usage=realtime:lag-in-frames=0:b=300000:g=25",
      VIDEO ",format=yuv420p", AV_CODEC_ID_AV1, "av01" }
};

static const kind_t  audios[] = {
    { "aac", NGX_LIVESTREAM_CODEC_AAC, "aac", "b=128000", AUDIO "fltp",
      AV_CODEC_ID_AAC, "mp4a" },
    { "opus", NGX_LIVESTREAM_CODEC_OPUS, "libopus", "b=96000", AUDIO "s16",
      AV_CODEC_ID_OPUS, "Opus" },
    { "flac", NGX_LIVESTREAM_CODEC_FLAC, "flac", "compression_level=5",
      AUDIO "s16", AV_CODEC_ID_FLAC, "fLaC" }
};


#ifdef __SANITIZE_ADDRESS__

/* x265 does not free all that it has for its own part */
const char *__lsan_default_suppressions(void);

const char *
__lsan_default_suppressions(void)
{
    return "leak:libx265";
}

#endif


static char                          path[128];
static const char                   *reason;
static volatile uint32_t             progress;
static ngx_livestream_dvr_convert_t  convert;


static inline void
make(clip_t *clip, const kind_t *k, unsigned n)
{
    clip_make(clip, k->id, k->encoder, k->opts, k->chain, n);
}


/* the fate of the temporary file is the same each time */

static inline int
run(const char *track)
{
    int          rc;
    char         temp[160];
    struct stat  st;

    (void) snprintf(path, sizeof(path), "%s/out.mp4", sim->root);
    (void) unlink(path);

    memset(&convert, 0, sizeof(convert));
    reason = NULL;
    progress = 0;

    convert.path = path;
    convert.track = track;
    convert.progress = &progress;

    rc = ngx_livestream_dvr_convert(&recording.index, &recording.source,
                                    &convert, &reason);

    (void) snprintf(temp, sizeof(temp), "%s.tmp", path);

    tap_ok(stat(temp, &st) == -1 && errno == ENOENT, "no temporary file");

    if (rc) {
        tap_ok(stat(path, &st) == -1 && errno == ENOENT, "no file");
        tap_ok(reason != NULL, "%s", reason ? reason : "no reason");

    } else {
        tap_is(progress, 1000, "all is done");
        tap_ok(stat(path, &st) == 0 && (uint64_t) st.st_size == convert.size,
               "is of %" PRIu64 " bytes", convert.size);
    }

    return rc;
}


/* us, what is zero in the file: the first frame that is seen or heard */

static inline double
zero(const char *const *tracks, unsigned n)
{
    double                         us, first;
    unsigned                       i, j, seen;
    const ngx_livestream_frame_t  *f;

    first = 1e18;

    for (i = 0; i < n; i++) {
        seen = 0;

        for (j = 0; j < recording.n && !seen; j++) {
            f = recording.frames[j];

            if (strcmp(sim->conf.outputs[f->track].name, tracks[i]) != 0) {
                continue;
            }

            us = f->pts * 1e6 / f->codec->timescale;
            first = us < first ? us : first;
            seen = 1;
        }
    }

    return first;
}


/* a stream of the file, and the track that it was made of */

static inline double
compare(const mp4_t *mp4, unsigned stream, const char *track, double start)
{
    double                         us, end, tick;
    unsigned                       j, n, bytes, times, keys;
    const AVPacket                *pkt;
    const ngx_livestream_frame_t  *f;

    n = 0;
    bytes = 0;
    times = 0;
    keys = 0;
    end = 0;

    for (j = 0; j < recording.n; j++) {
        f = recording.frames[j];

        if (strcmp(sim->conf.outputs[f->track].name, track) != 0) {
            continue;
        }

        if (n < mp4->streams[stream].n) {
            pkt = mp4->streams[stream].packets[n];
            tick = 1e6 / f->codec->timescale;

            us = pkt->pts * av_q2d(mp4->streams[stream].base) * 1e6;

            bytes += (size_t) pkt->size != f->size
                     || memcmp(pkt->data, f->data, f->size) != 0;
            times += fabs(us + start - f->pts * tick) > tick;
            keys += ((pkt->flags & AV_PKT_FLAG_KEY) != 0)
                    != ((f->flags & NGX_LIVESTREAM_FRAME_KEY) != 0);

            us += pkt->duration * av_q2d(mp4->streams[stream].base) * 1e6;
            end = us > end ? us : end;
        }

        n++;
    }

    tap_is(mp4->streams[stream].n, n, "%s: each frame once", track);
    tap_is(bytes, 0, "%s: with its bytes", track);
    tap_is(times, 0, "%s: at its time", track);
    tap_is(keys, 0, "%s: key frames are known as such", track);

    return end;
}


/* tracks: in the order of the file */

static inline mp4_t *
same(const char *const *tracks, unsigned n)
{
    char      why[64];
    double    start, end, e;
    mp4_t    *mp4;
    unsigned  i;

    mp4 = mp4_read(path);
    (void) snprintf(why, sizeof(why), "can be read");

    if (!tap_ok(mp4 != NULL, "%s", why)) {
        return NULL;
    }

    tap_str(mp4->boxes, "ftyp moov free free mdat", "moov comes first");

    if (!tap_is(mp4->nstreams, n, "has %u streams", n)) {
        return mp4;
    }

    start = zero(tracks, n);
    end = 0;

    for (i = 0; i < n; i++) {
        e = compare(mp4, i, tracks[i], start);
        end = e > end ? e : end;
    }

    tap_ok(fabs(mp4->duration - end) < 40000,
           "takes %.3f s, its media %.3f", mp4->duration / 1e6, end / 1e6);
    tap_ok(llabs(mp4->duration - convert.duration) < 40000,
           "and says %.3f", convert.duration / 1e6);

    return mp4;
}


static const char *const  both[] = { "source", "audio" };
static const char *const  only_video[] = { "source" };
static const char *const  only_audio[] = { "audio" };
static const char *const  low_audio[] = { "low", "audio" };


#endif /* _DVR_CONVERT_H_INCLUDED_ */

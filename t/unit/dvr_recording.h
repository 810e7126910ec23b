
/*
 * Copyright (C) nginx-livestream contributors
 *
 * A recording for tests: its files by the packager, its index by the test.
 */


#ifndef _DVR_RECORDING_H_INCLUDED_
#define _DVR_RECORDING_H_INCLUDED_


#include "ngx_livestream_dvr_index.h"
#include "packager_clip.h"


#define VIDEO    0
#define AUDIO    1


static sim_t  state;
static char   dir[128];         /* of the recording */
static char   saved[160];       /* a copy of it */

static ngx_livestream_dvr_index_t  idx;


static void
shell(const char *fmt, ...)
{
    char     command[1024];
    va_list  args;

    va_start(args, fmt);
    vsnprintf(command, sizeof(command), fmt, args);
    va_end(args);

    if (system(command) != 0) {
        printf("Bail out! %s\n", command);
        exit(1);
    }
}


static const char *
file(unsigned track, uint64_t msn)
{
    static char  path[256];

    snprintf(path, sizeof(path), "%s/%s/segment-%" PRIu64 ".m4s", dir,
             sim->tracks[track]->name, msn);

    return path;
}


static ngx_livestream_llhls_segment_t *
made(unsigned track, uint64_t msn)
{
    sim_track_t  *t;

    t = sim->tracks[track];

    return &t->segments[msn - t->segments[0].msn];
}


static uint64_t
last(void)
{
    sim_track_t  *t;

    t = sim->tracks[VIDEO];

    return t->segments[t->nsegments - 1].msn;
}


static void
index_line(FILE *f, unsigned track, uint64_t msn, int open, uint32_t flags)
{
    char                             line[NGX_LIVESTREAM_DVR_LINE];
    ngx_livestream_dvr_segment_t     s;
    ngx_livestream_llhls_segment_t  *m;

    m = made(track, msn);

    memset(&s, 0, sizeof(s));

    s.msn = msn;
    s.start = m->start;
    s.pdt = m->pdt;
    s.duration = m->duration;
    s.size = m->size;
    s.init = m->init;
    s.flags = m->flags | flags;

    if (open) {
        ngx_livestream_dvr_line_open(line, sim->tracks[track]->name, &s);

    } else {
        ngx_livestream_dvr_line_segment(line, sim->tracks[track]->name, &s);
    }

    fputs(line, f);
}


static FILE *
index_begin(void)
{
    char  path[256];
    FILE  *f;

    snprintf(path, sizeof(path), "%s/index", dir);

    f = fopen(path, "w");

    fprintf(f, "livestream-recording 1 %u\n"
            "track source video h264 avc1.64001f 640 360 30000 1 0 0\n"
            "track audio audio aac mp4a.40.2 0 0 0 0 44100 2\n",
            sim->target_duration);

    return f;
}


/* the segments [from, to) of both are whole, and [to, end) begun */

static void
index_write(uint64_t from, uint64_t to, uint64_t end)
{
    FILE      *f;
    uint64_t   msn;

    f = index_begin();

    for (msn = from; msn < end; msn++) {
        index_line(f, VIDEO, msn, msn >= to, 0);
        index_line(f, AUDIO, msn, msn >= to, 0);
    }

    fclose(f);
}


static void
restore(void)
{
    shell("rm -rf %s && cp -a %s %s", dir, saved, dir);
}


/* 0 or an errno */

static int
recover(void)
{
    int          rc;
    const char  *reason;

    reason = NULL;

    ngx_livestream_dvr_index_free(&idx);

    rc = ngx_livestream_dvr_index_read(dir, &idx, &reason);

    if (rc == 0) {
        rc = ngx_livestream_dvr_index_recover(dir, &idx, &reason);
    }

    if (rc) {
        printf("# %s: %s\n", reason ? reason : "no reason", strerror(rc));
    }

    return rc;
}


/* video of 30 frames a second, a key frame each two, and audio */

static void
record(int seconds)
{
    int      i;
    int64_t  dts;

    sim_init(&state);

    sim->conf.segment_duration = 4000000;

    for (i = 0; i < seconds * 30; i++) {
        arrive((int64_t) i * 1000000 / 30,
               frame(h264, i * 3000, 0, i % 60 == 0));
    }

    for (dts = 0; dts < seconds * 44100; dts += 1024) {
        arrive(dts * 1000000 / 44100, frame(aac44, dts, 0, 1));
    }

    tap_is(clip_play(), 0, "a recording");

    for (i = 0; i < 2; i++) {
        sim_read(sim->tracks[i]);
    }

    sim_aligned(1000000);

    tap_is(sim->wrong, 0, "is made");
    clip_free();

    snprintf(dir, sizeof(dir), "%s/stream/broadcast", sim->root);
    snprintf(saved, sizeof(saved), "%s/saved", sim->root);

    shell("cp -a %s %s", dir, saved);
}


#endif /* _DVR_RECORDING_H_INCLUDED_ */


/*
 * Copyright (C) nginx-livestream contributors
 *
 * A pipeline without threads for tests of the packager: takes what it sends,
 * holds every record against the rules that it must keep, and reads back the
 * files.  What is wrong is counted and the first of it is printed.
 */


#ifndef _PACKAGER_SIM_H_INCLUDED_
#define _PACKAGER_SIM_H_INCLUDED_


#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "codec_vectors.h"
#include "ngx_livestream_llhls_packager.h"
#include "tap.h"


#define SIM_SEGMENTS  4096
#define SIM_PARTS     65536
#define SIM_SAMPLES   131072


typedef struct {
    uint64_t                 msn;
    ngx_livestream_llhls_part_t  part;
} sim_part_t;


typedef struct {
    int64_t                  dts;
    int64_t                  pts;
    int64_t                  duration;
    uint32_t                 size;
} sim_sample_t;


typedef struct {
    char                     name[16];
    uint32_t                 timescale;
    uint32_t                 init;
    uint64_t                 hash;
    int                      open;
    int                      hidden;
    uint64_t                 shown;         /* MSN, again */
    uint32_t                 frame_rate;

    unsigned                 nsegments;
    ngx_livestream_llhls_segment_t  segments[SIM_SEGMENTS];
    uint32_t                 timescales[SIM_SEGMENTS];
    unsigned                 nparts;
    unsigned                 first;         /* part of the open segment */
    sim_part_t               parts[SIM_PARTS];

    unsigned                 gaps;          /* parts */
    unsigned                 discontinuities;
    unsigned                 dependent;     /* segments of video whose first
                                               sample is no key frame */

    /* read back */
    unsigned                 nsamples;
    sim_sample_t             samples[SIM_SAMPLES];
} sim_track_t;


typedef struct {
    ngx_livestream_pipeline_conf_t  conf;
    char                     root[64];
    void                    *ctx;
    const char              *reason;

    uint32_t                 target_duration;
    uint32_t                 part_target;
    uint32_t                 expected;      /* tracks, by the stage before */
    unsigned                 ntracks;
    sim_track_t             *tracks[16];
    unsigned                 notes;
    unsigned                 messages;
    unsigned                 wrong;
} sim_t;


static sim_t  *sim;


#define sim_wrong(...)                                                       \
    do {                                                                     \
        if (sim->wrong++ < 5) {                                              \
            printf("# line %d: ", __LINE__);                                 \
            printf(__VA_ARGS__);                                             \
            printf("\n");                                                    \
        }                                                                    \
    } while (0)


#define sim_check(cond, ...)                                                 \
    do {                                                                     \
        if (!(cond)) {                                                       \
            sim_wrong(__VA_ARGS__);                                          \
        }                                                                    \
    } while (0)


void
ngx_livestream_pipeline_reason(ngx_livestream_pipeline_t *p,
    const char *reason)
{
    (void) p;

    sim->reason = reason;
}


uint32_t
ngx_livestream_pipeline_expected(ngx_livestream_pipeline_t *p)
{
    (void) p;

    return sim->expected;
}


void
ngx_livestream_pipeline_rest(ngx_livestream_pipeline_t *p, void *ctx,
    int64_t us)
{
    (void) p;
    (void) ctx;
    (void) us;
}


void
ngx_livestream_pipeline_send(ngx_livestream_pipeline_t *p,
    ngx_livestream_message_t *msg)
{
    (void) p;

    sim->messages++;

    msg->handler(sim, msg);
    free(msg);
}


static sim_track_t *
sim_track(const char *name)
{
    unsigned  i;

    for (i = 0; i < sim->ntracks; i++) {
        if (strcmp(sim->tracks[i]->name, name) == 0) {
            return sim->tracks[i];
        }
    }

    return NULL;
}


static void
sim_on_track(ngx_livestream_llhls_message_t *msg)
{
    sim_track_t  *t;

    t = sim_track(msg->name);

    if (t == NULL) {
        t = calloc(1, sizeof(sim_track_t));
        sim->tracks[sim->ntracks++] = t;
        strcpy(t->name, msg->name);
        t->segments[0].msn = msg->segment.msn;
    }

    sim_check(!t->open, "%s: a codec inside of a segment", t->name);
    sim_check(msg->segment.init == t->init + (msg->codec.hash != t->hash),
              "%s: init %u behind %u", t->name, msg->segment.init, t->init);

    t->init = msg->segment.init;
    t->hash = msg->codec.hash;
    t->timescale = msg->codec.timescale;
}


static void
sim_on_open(sim_track_t *t, ngx_livestream_llhls_segment_t *s)
{
    ngx_livestream_llhls_segment_t  *last;

    sim_check(!t->open, "%s: %lu is opened twice", t->name, s->msn);
    sim_check(t->nsegments < SIM_SEGMENTS - 1, "%s: room", t->name);

    if (t->nsegments) {
        last = &t->segments[t->nsegments - 1];

        sim_check(s->msn == last->msn + 1, "%s: %lu behind %lu", t->name,
                  s->msn, last->msn);

        if (s->flags & NGX_LIVESTREAM_LLHLS_DISCONTINUITY) {
            sim_check(s->start >= last->start + last->duration,
                      "%s: %lu starts in %lu", t->name, s->msn, last->msn);

        } else {
            sim_check(s->start == last->start + last->duration,
                      "%s: %lu starts at %ld, %lu ended at %ld", t->name,
                      s->msn, s->start, last->msn,
                      last->start + last->duration);
            sim_check(llabs(s->pdt - last->pdt - last->duration) <= 500000,
                      "%s: date of %lu jumps by %ld us", t->name, s->msn,
                      s->pdt - last->pdt - last->duration);
        }

    } else {
        sim_check(s->msn == t->segments[0].msn, "%s: first is %lu, not %lu",
                  t->name, s->msn, t->segments[0].msn);
    }

    sim_check(s->init == t->init, "%s: %lu has init %u of %u", t->name,
              s->msn, s->init, t->init);

    t->open = 1;
    t->first = t->nparts;
    t->segments[t->nsegments] = *s;
    t->timescales[t->nsegments] = t->timescale;

    if (s->flags & NGX_LIVESTREAM_LLHLS_DISCONTINUITY) {
        t->discontinuities++;
    }
}


static void
sim_on_part(sim_track_t *t, ngx_livestream_llhls_message_t *msg)
{
    uint32_t                      offset, index;
    unsigned                      i;
    ngx_livestream_llhls_part_t  *part;

    part = &msg->part;

    sim_check(t->open, "%s: a part of no segment", t->name);
    sim_check(msg->segment.msn == t->segments[t->nsegments].msn,
              "%s: a part of another segment", t->name);
    sim_check(t->nparts < SIM_PARTS, "%s: room", t->name);

    offset = 0;
    index = t->nparts - t->first;

    for (i = t->first; i < t->nparts; i++) {
        offset += t->parts[i].part.size;
    }

    sim_check(part->index == index, "%s: part %u, not %u", t->name,
              part->index, index);
    sim_check(part->offset == offset, "%s: offset %u, not %u", t->name,
              part->offset, offset);
    sim_check(part->duration > 0, "%s: %lu.%u takes no time", t->name,
              msg->segment.msn, part->index);

    /* ST-10 */
    sim_check(part->duration <= sim->part_target,
              "%s: %lu.%u of %u us is longer than %u", t->name,
              msg->segment.msn, part->index, part->duration,
              sim->part_target);

    sim_check(!(part->flags & NGX_LIVESTREAM_LLHLS_GAP) == (part->size != 0),
              "%s: %lu.%u has %u bytes", t->name, msg->segment.msn,
              part->index, part->size);

    if (part->flags & NGX_LIVESTREAM_LLHLS_GAP) {
        t->gaps++;
    }

    t->parts[t->nparts].msn = msg->segment.msn;
    t->parts[t->nparts++].part = *part;
}


/* ST-11, for all but the last part of a segment */

static void
sim_short_parts(sim_track_t *t)
{
    unsigned                      i;
    ngx_livestream_llhls_part_t  *part;

    for (i = t->first; i + 1 < t->nparts; i++) {
        part = &t->parts[i].part;

        sim_check(part->duration >= (uint64_t) sim->part_target * 85 / 100
                  || (part->flags & (NGX_LIVESTREAM_LLHLS_GAP
                                     |NGX_LIVESTREAM_LLHLS_INDEPENDENT))
                  || (t->parts[i + 1].part.flags & NGX_LIVESTREAM_LLHLS_GAP),
                  "%s: %lu.%u of %u us is shorter than 85 %% of %u", t->name,
                  t->parts[i].msn, part->index, part->duration,
                  sim->part_target);

        sim_check(!(part->flags & NGX_LIVESTREAM_LLHLS_LAST),
                  "%s: %lu.%u is not the last", t->name, t->parts[i].msn,
                  part->index);
    }
}


static void
sim_on_close(sim_track_t *t, ngx_livestream_llhls_segment_t *s)
{
    char         path[256];
    uint32_t     duration;
    unsigned     i;
    struct stat  st;

    sim_check(t->open, "%s: %lu is not open", t->name, s->msn);
    sim_check(s->duration > 0, "%s: %lu takes no time", t->name, s->msn);

    /* ST-04 */
    sim_check((s->duration + 500000) / 1000000 <= sim->target_duration,
              "%s: %lu of %u us is longer than %u s", t->name, s->msn,
              s->duration, sim->target_duration);

    if (sim->conf.low_latency) {
        duration = 0;

        for (i = t->first; i < t->nparts; i++) {
            duration += t->parts[i].part.duration;
        }

        sim_check(duration == s->duration, "%s: parts of %lu take %u us, "
                  "it says %u", t->name, s->msn, duration, s->duration);
        sim_check(s->nparts == t->nparts - t->first, "%s: %lu has %u parts",
                  t->name, s->msn, s->nparts);

        sim_short_parts(t);

    } else {
        sim_check(t->nparts == 0, "%s: parts", t->name);
    }

    (void) snprintf(path, sizeof(path), "%s/stream/broadcast/%s/segment-%lu"
                    ".m4s", sim->root, t->name, s->msn);

    if (s->flags & NGX_LIVESTREAM_LLHLS_GAP) {
        sim_check(s->size == 0, "%s: gap %lu has bytes", t->name, s->msn);
        sim_check(stat(path, &st) == -1, "%s: gap %lu has a file", t->name,
                  s->msn);

    } else {
        sim_check(s->size != 0, "%s: %lu has no bytes", t->name, s->msn);
        sim_check(stat(path, &st) == 0 && st.st_size == s->size,
                  "%s: %lu is not of %u bytes", t->name, s->msn, s->size);
    }

    t->open = 0;
    t->segments[t->nsegments++] = *s;
}


/* a track that was hidden is shown with a whole segment */

static void
sim_shown(sim_track_t *t, ngx_livestream_llhls_message_t *msg)
{
    unsigned  i;

    if (msg->frame_rate) {
        t->frame_rate = msg->frame_rate;
    }

    if (msg->type == NGX_LIVESTREAM_LLHLS_HIDE) {
        sim_check(msg->hidden && !t->hidden, "%s: is hidden twice", t->name);
    }

    if (t->hidden && !msg->hidden) {
        sim_check(msg->type == NGX_LIVESTREAM_LLHLS_CLOSE,
                  "%s: is shown in the midst of %lu", t->name,
                  msg->segment.msn);

        for (i = t->first; i < t->nparts; i++) {
            sim_check(t->parts[i].part.size, "%s: is shown with a gap",
                      t->name);
        }

        t->shown = msg->segment.msn;
    }

    t->hidden = msg->hidden;
}


void
ngx_livestream_llhls_message(void *data, ngx_livestream_message_t *message)
{
    sim_track_t                     *t;
    ngx_livestream_llhls_message_t  *msg;

    (void) data;

    msg = (ngx_livestream_llhls_message_t *) message;

    if (sim->target_duration == 0) {
        sim->target_duration = msg->target_duration;
        sim->part_target = msg->part_target;
    }

    sim_check(msg->target_duration && msg->part_target, "no targets");
    sim_check(sim->target_duration == msg->target_duration,
              "the target duration changes");
    sim_check(sim->part_target == msg->part_target, "PART-TARGET changes");

    if (msg->type == NGX_LIVESTREAM_LLHLS_NOTE) {
        sim->notes++;
        return;
    }

    if (msg->type == NGX_LIVESTREAM_LLHLS_TRACK) {
        sim_on_track(msg);
        return;
    }

    t = sim_track(msg->name);

    if (t == NULL) {
        sim_wrong("%s is not known", msg->name);
        return;
    }

    sim_shown(t, msg);

    switch (msg->type) {

    case NGX_LIVESTREAM_LLHLS_OPEN:
        sim_on_open(t, &msg->segment);
        break;

    case NGX_LIVESTREAM_LLHLS_PART:
        sim_on_part(t, msg);
        break;

    case NGX_LIVESTREAM_LLHLS_HIDE:
        break;

    default:
        sim_on_close(t, &msg->segment);
    }
}


static uint64_t
sim_be(const uint8_t *p, unsigned n)
{
    uint64_t  v;

    for (v = 0; n; n--) {
        v = v << 8 | *p++;
    }

    return v;
}


static const uint8_t *
sim_box(const uint8_t *p, const uint8_t *end, const char *type,
    const uint8_t **behind)
{
    uint32_t  size;

    while (end - p >= 8) {
        size = sim_be(p, 4);

        if (size < 8 || size > end - p) {
            return NULL;
        }

        if (memcmp(p + 4, type, 4) == 0) {
            *behind = p + size;
            return p + 8;
        }

        p += size;
    }

    return NULL;
}


/* one moof; returns the end of its samples */

static int64_t
sim_fragment(sim_track_t *t, const uint8_t *p, const uint8_t *end,
    unsigned first)
{
    int64_t         dts;
    uint32_t        flags, n, i, duration;
    sim_sample_t   *s;
    const uint8_t  *traf, *tend, *tfhd, *tfdt, *trun, *bend;

    traf = sim_box(p, end, "traf", &tend);

    if (traf == NULL) {
        return -1;
    }

    tfhd = sim_box(traf, tend, "tfhd", &bend);
    tfdt = sim_box(traf, tend, "tfdt", &bend);
    trun = sim_box(traf, tend, "trun", &bend);

    duration = (sim_be(tfhd, 4) & 8) ? sim_be(tfhd + 8, 4) : 0;
    dts = sim_be(tfdt + 4, 8);

    flags = sim_be(trun, 4) & 0xffffff;
    n = sim_be(trun + 4, 4);

    if (first && strcmp(t->name, "audio") != 0
        && (flags & 4 ? sim_be(trun + 12, 4)
                      : sim_be(tfhd + ((sim_be(tfhd, 4) & 8) ? 12 : 8), 4))
           & 0x10000
        && !(flags & 0x400))
    {
        t->dependent++;
    }

    trun += (flags & 4) ? 16 : 12;

    for (i = 0; i < n && t->nsamples < SIM_SAMPLES; i++) {
        s = &t->samples[t->nsamples++];

        s->dts = dts;
        s->pts = dts;
        s->duration = duration;

        if (flags & 0x100) {
            s->duration = sim_be(trun, 4);
            trun += 4;
        }

        s->size = sim_be(trun, 4);
        trun += 4;

        if (flags & 0x400) {
            trun += 4;
        }

        if (flags & 0x800) {
            s->pts += (int32_t) sim_be(trun, 4);
            trun += 4;
        }

        sim_check(s->duration > 0, "%s: a sample takes no time", t->name);

        dts += s->duration;
    }

    return dts;
}


/* ST-15: the files against what was said of them */

static void
sim_read_segment(sim_track_t *t, unsigned n, unsigned *part)
{
    char                             path[256];
    FILE                            *f;
    int64_t                          dts, us;
    uint8_t                         *data;
    uint32_t                         i;
    sim_part_t                      *sp;
    const uint8_t                   *p, *end;
    ngx_livestream_llhls_segment_t  *s;

    s = &t->segments[n];

    if (s->flags & NGX_LIVESTREAM_LLHLS_GAP) {
        *part += s->nparts;
        return;
    }

    (void) snprintf(path, sizeof(path), "%s/stream/broadcast/%s/segment-%lu"
                    ".m4s", sim->root, t->name, s->msn);

    f = fopen(path, "r");

    if (f == NULL) {
        /* removed */
        *part += s->nparts;
        return;
    }

    data = malloc(s->size);
    i = fread(data, 1, s->size, f);
    (void) fclose(f);

    sim_check(i == s->size, "%s: read", path);

    us = s->start;

    for (i = 0; sim->conf.low_latency && i < s->nparts; i++) {
        sp = &t->parts[(*part)++];
        us += sp->part.duration;

        if (sp->part.size == 0) {
            continue;
        }

        p = sim_box(data + sp->part.offset,
                    data + sp->part.offset + sp->part.size, "moof", &end);

        if (p == NULL) {
            sim_wrong("%s: %lu.%u has no moof", t->name, s->msn, i);
            break;
        }

        sim_check(end + sim_be(end, 4) == data + sp->part.offset
                                          + sp->part.size,
                  "%s: %lu.%u is not moof and mdat", t->name, s->msn, i);

        dts = sim_fragment(t, p, end, i == 0);

        dts = ngx_livestream_ticks_to_us(dts, t->timescales[n]);

        sim_check(llabs(us - dts) <= 1,
                  "%s: %lu.%u ends at %ld us, its samples at %ld", t->name,
                  s->msn, i, us, dts);
    }

    free(data);
}


static void
sim_read(sim_track_t *t)
{
    unsigned  i, part;

    part = 0;

    for (i = 0; i < t->nsegments; i++) {
        sim_read_segment(t, i, &part);
    }

    for (i = 1; i < t->nsamples; i++) {
        sim_check(t->samples[i].dts >= t->samples[i - 1].dts
                                       + t->samples[i - 1].duration,
                  "%s: sample %u goes back", t->name, i);
    }
}


/* all tracks have the same segments, discontinuities and times */

static void
sim_aligned(int64_t most)
{
    unsigned                         i, j;
    sim_track_t                     *a, *b;
    ngx_livestream_llhls_segment_t  *s, *r;

    a = sim->tracks[0];

    for (i = 1; i < sim->ntracks; i++) {
        b = sim->tracks[i];

        sim_check(a->segments[a->nsegments - 1].msn
                  == b->segments[b->nsegments - 1].msn,
                  "%s ends with %lu, %s with %lu", a->name,
                  a->segments[a->nsegments - 1].msn, b->name,
                  b->segments[b->nsegments - 1].msn);

        for (j = 0; j < b->nsegments; j++) {
            r = &b->segments[j];

            if (r->msn < a->segments[0].msn
                || r->msn > a->segments[a->nsegments - 1].msn)
            {
                continue;
            }

            s = &a->segments[r->msn - a->segments[0].msn];

            sim_check((s->flags & NGX_LIVESTREAM_LLHLS_DISCONTINUITY)
                      == (r->flags & NGX_LIVESTREAM_LLHLS_DISCONTINUITY),
                      "%lu is a discontinuity in one track", s->msn);
            sim_check(llabs(s->pdt - r->pdt) <= most,
                      "%lu is %ld us apart", s->msn, r->pdt - s->pdt);
        }
    }
}


static int
sim_push(ngx_livestream_frame_t *f)
{
    int  rc;

    rc = ngx_livestream_llhls_packager.frame(NULL, sim->ctx, f);
    ngx_livestream_frame_unref(f);

    return rc;
}


static void
sim_init(sim_t *s)
{
    memset(s, 0, sizeof(sim_t));

    sim = s;

    strcpy(s->root, "/tmp/packager-XXXXXX");
    tap_ok(mkdtemp(s->root) != NULL, "a folder");

    s->conf.root = s->root;
    s->conf.id = "stream";
    s->conf.broadcast = "broadcast";
    s->conf.low_latency = 1;
    s->conf.segment_duration = 6000000;
    s->conf.part_duration = 500000;
    s->conf.playlist_length = 10;
    s->conf.has_video = 1;
    s->conf.has_audio = 1;

    strcpy(s->conf.outputs[0].name, "source");
    strcpy(s->conf.outputs[1].name, "audio");
    s->conf.outputs[1].media = NGX_LIVESTREAM_AUDIO;
}


/* a track of a stream that is continued */

__attribute__((unused))
static void
sim_known(const char *name, const ngx_livestream_codec_t *codec,
    uint32_t init, uint64_t msn)
{
    sim_track_t  *t;

    t = calloc(1, sizeof(sim_track_t));
    sim->tracks[sim->ntracks++] = t;

    strcpy(t->name, name);
    t->segments[0].msn = msn;
    t->init = init;
    t->hash = codec->hash;
    t->timescale = codec->timescale;
}


static void
sim_open(void)
{
    sim->ctx = ngx_livestream_llhls_packager.open(NULL, &sim->conf);
}


static void
sim_close(void)
{
    ngx_livestream_llhls_packager.close(sim->ctx);
    sim->ctx = NULL;
}


/* the end of input; 0 or an errno */

static int
sim_end(void)
{
    int  rc;

    rc = ngx_livestream_llhls_packager.flush(NULL, sim->ctx);
    sim_close();

    return rc;
}


static void
sim_free(void)
{
    char      command[128];
    unsigned  i;

    for (i = 0; i < sim->ntracks; i++) {
        free(sim->tracks[i]);
    }

    (void) snprintf(command, sizeof(command), "rm -rf %s", sim->root);
    tap_is(system(command), 0, "and no folder");
}


#endif /* _PACKAGER_SIM_H_INCLUDED_ */

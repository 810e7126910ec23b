
/*
 * Copyright (C) nginx-livestream contributors
 *
 * Recordings that came to an end that nobody could write down: files by the
 * packager, cut and damaged.
 */


#include <time.h>

#include "dvr_recording.h"


/* -1 if there is none */

static int64_t
size(unsigned track, uint64_t msn)
{
    struct stat  st;

    return stat(file(track, msn), &st) == 0 ? st.st_size : -1;
}


/* the bytes of a segment, malloc'ed */

static uint8_t *
get(unsigned track, uint64_t msn, size_t *len)
{
    FILE     *f;
    uint8_t  *data;

    *len = size(track, msn);
    data = malloc(*len);

    f = fopen(file(track, msn), "r");

    if (f == NULL || fread(data, 1, *len, f) != *len) {
        printf("Bail out! %s\n", file(track, msn));
        exit(1);
    }

    fclose(f);

    return data;
}


static void
put(unsigned track, uint64_t msn, const uint8_t *data, size_t len)
{
    FILE  *f;

    f = fopen(file(track, msn), "w");

    if (f == NULL || fwrite(data, 1, len, f) != len || fclose(f) != 0) {
        printf("Bail out! %s\n", file(track, msn));
        exit(1);
    }
}


/* the index that was made of the same files the last time */

static ngx_livestream_dvr_index_t
keep(void)
{
    ngx_livestream_dvr_index_t  kept;

    kept = idx;
    memset(&idx, 0, sizeof(idx));

    return kept;
}


static int
same(ngx_livestream_dvr_index_t *one)
{
    size_t                         i;
    unsigned                       k;
    ngx_livestream_dvr_segment_t  *a, *b;

    if (one->ntracks != idx.ntracks) {
        return 0;
    }

    for (k = 0; k < idx.ntracks; k++) {

        if (one->tracks[k].nsegments != idx.tracks[k].nsegments) {
            return 0;
        }

        for (i = 0; i < idx.tracks[k].nsegments; i++) {
            a = &one->tracks[k].segments[i];
            b = &idx.tracks[k].segments[i];

            if (a->msn != b->msn || a->start != b->start || a->pdt != b->pdt
                || a->duration != b->duration || a->size != b->size
                || a->init != b->init || a->flags != b->flags)
            {
                printf("# track %u, segment %" PRIu64 "\n", k, a->msn);
                return 0;
            }
        }
    }

    return 1;
}


static int
is_made(const ngx_livestream_dvr_segment_t *s, unsigned track)
{
    ngx_livestream_llhls_segment_t  *m;

    m = made(track, s->msn);

    return s->start == m->start && s->pdt == m->pdt
           && s->duration == m->duration && s->size == m->size
           && s->init == m->init && s->flags == m->flags;
}


static ngx_livestream_dvr_segment_t *
segment(unsigned track, uint64_t msn)
{
    return &idx.tracks[track].segments[msn
                                       - idx.tracks[track].segments[0].msn];
}


/* no holes, the same numbers and discontinuities everywhere, and in each
 * track one segment begins where the one before it ends */

static int
aligned(void)
{
    size_t                       i;
    unsigned                     k;
    ngx_livestream_dvr_track_t  *a, *t;

    a = &idx.tracks[0];

    for (k = 0; k < idx.ntracks; k++) {
        t = &idx.tracks[k];

        if (t->nsegments != a->nsegments) {
            return 0;
        }

        for (i = 0; i < t->nsegments; i++) {

            if (t->segments[i].msn != a->segments[0].msn + i
                || t->segments[i].duration == 0
                || (t->segments[i].flags & NGX_LIVESTREAM_DVR_OPEN)
                || (t->segments[i].size == 0)
                   != ((t->segments[i].flags & NGX_LIVESTREAM_DVR_GAP) != 0)
                || ((t->segments[i].flags ^ a->segments[i].flags)
                    & NGX_LIVESTREAM_DVR_DISCONTINUITY))
            {
                return 0;
            }

            if (i && t->segments[i].start != t->segments[i - 1].start
                                             + t->segments[i - 1].duration)
            {
                printf("# %s: %" PRIu64 " does not go on\n", t->name,
                       t->segments[i].msn);
                return 0;
            }
        }
    }

    return 1;
}


static void
test_nothing_is_wrong(void)
{
    uint64_t                    msn;
    unsigned                    wrong;
    ngx_livestream_dvr_index_t  kept;

    index_write(0, last() + 1, last() + 1);

    tap_is(recover(), 0, "whole");
    tap_ok(aligned(), "aligned");
    tap_ok(last() >= 5, "%" PRIu64 " segments", last() + 1);

    wrong = 0;

    for (msn = 0; msn <= last(); msn++) {
        wrong += !is_made(segment(VIDEO, msn), VIDEO);
        wrong += !is_made(segment(AUDIO, msn), AUDIO);
    }

    tap_is(wrong, 0, "as it was made");

    /* they have gone into storage */

    shell("rm %s/*/*", dir);
    kept = keep();

    tap_is(recover(), 0, "without files");
    tap_ok(idx.recovered, "which nobody needs any more");
    tap_ok(same(&kept), "as before");

    ngx_livestream_dvr_index_free(&kept);
    restore();
}


/* what remains of a segment that was cut at len */

static unsigned
whole(unsigned track, uint64_t msn, int64_t len, uint32_t *bytes,
    uint32_t *duration)
{
    unsigned      i, n;
    sim_part_t   *p;
    sim_track_t  *t;

    t = sim->tracks[track];

    n = 0;
    *bytes = 0;
    *duration = 0;

    for (i = 0; i < t->nparts; i++) {
        p = &t->parts[i];

        if (p->msn == msn && p->part.offset + p->part.size <= len) {
            *bytes += p->part.size;
            *duration += p->part.duration;
            n++;
        }
    }

    return n;
}


static void
test_killed_while_a_part_was_written(unsigned track, unsigned lines)
{
    int64_t                        len;
    size_t                         full;
    uint32_t                       bytes, duration;
    uint8_t                       *data;
    unsigned                       n, wrong, tries, parts;
    struct stat                    one, two;
    ngx_livestream_dvr_index_t     kept;
    ngx_livestream_dvr_segment_t  *s;

    data = get(track, last(), &full);
    wrong = 0;
    tries = 0;
    parts = 0;

    for (len = 0; (size_t) len <= full; len += 7) {

        put(track, last(), data, len);
        index_write(0, last(), last() + lines);

        wrong += recover() != 0;
        wrong += !aligned();

        n = whole(track, last(), len, &bytes, &duration);
        s = segment(track, last());

        if (n == 0) {
            wrong += !(s->flags & NGX_LIVESTREAM_DVR_GAP);
            wrong += size(track, last()) != -1;

        } else {
            wrong += s->start != made(track, last())->start;
            wrong += llabs(s->pdt - made(track, last())->pdt) > 50000;
            wrong += s->duration != duration || s->size != bytes;
            wrong += size(track, last()) != bytes;
        }

        wrong += !is_made(segment(!track, last() - 1), !track);

        parts = n > parts ? n : parts;
        tries++;

        kept = keep();
        memset(&one, 0, sizeof(one));
        memset(&two, 0, sizeof(two));
        (void) stat(file(track, last()), &one);

        wrong += recover() != 0;
        wrong += !same(&kept);

        (void) stat(file(track, last()), &two);
        wrong += one.st_size != two.st_size || one.st_ino != two.st_ino;

        ngx_livestream_dvr_index_free(&kept);

        if (wrong) {
            printf("# at %" PRId64 "\n", len);
            break;
        }
    }

    tap_is(wrong, 0, "%s cut at %u places, with%s line: whole parts remain",
           sim->tracks[track]->name, tries, lines ? " its" : "out a");
    tap_ok(parts >= 2, "up to %u of them", parts);

    free(data);
    restore();
}


static void
test_lines_are_lost(void)
{
    uint64_t  msn;
    unsigned  wrong;

    index_write(0, 0, 0);

    tap_is(recover(), 0, "no line of any segment");
    tap_ok(aligned(), "aligned");
    tap_is(idx.tracks[VIDEO].nsegments, last() + 1, "all are found");

    wrong = 0;

    for (msn = 0; msn <= last(); msn++) {
        ngx_livestream_dvr_segment_t     s;
        ngx_livestream_llhls_segment_t  *m;

        s = *segment(VIDEO, msn);
        m = made(VIDEO, msn);

        s.pdt = m->pdt;
        wrong += !is_made(&s, VIDEO);

        wrong += segment(VIDEO, msn)->pdt - segment(VIDEO, 0)->pdt
                 != m->pdt - made(VIDEO, 0)->pdt;
    }

    tap_is(wrong, 0, "as they were made");

    restore();

    /* the folder has files that are none of ours */

    index_write(0, 2, 3);
    shell("cd %s/source && mkdir segment-7.m4s && ln -s /etc/passwd "
          "segment-8.m4s && touch segment-09.m4s segment-1.m4s.tmp "
          "segment-1e3.m4s segment-99999999999999999999.m4s init-0.mp4 "
          "init-5.tmp segment-.m4s", dir);

    tap_is(recover(), 0, "strange files");
    tap_is(idx.tracks[VIDEO].nsegments, last() + 1, "are left out");
    tap_ok(aligned(), "aligned");

    restore();
}


static void
test_a_file_is_not_as_its_line_says(void)
{
    uint32_t  bytes, duration;
    uint64_t  n;

    /* more than viewers were told of */

    index_write(0, last() + 1, last() + 1);
    shell("echo more >> %s", file(VIDEO, 2));

    tap_is(recover(), 0, "longer");
    tap_is(size(VIDEO, 2), made(VIDEO, 2)->size, "is cut");
    tap_ok(is_made(segment(VIDEO, 2), VIDEO), "as it was made");

    /* a bit of its line was flipped, or the line is another's */

    index_write(0, last() + 1, last() + 1);
    shell("sed -i -E 's/^(segment source 2 [0-9 ]*) [0-9]+ 1 0$/\\1 99 1 0/; "
          "s/^segment source 5 /segment source 3 /' %s/index", dir);
    tap_is(recover(), 0, "sizes that are wrong");
    tap_is(size(VIDEO, 2), made(VIDEO, 2)->size, "no file is cut for them");
    tap_ok(is_made(segment(VIDEO, 2), VIDEO), "as it was made");
    tap_is(segment(VIDEO, 3)->start, made(VIDEO, 3)->start, "nor for a line "
           "of another segment");
    tap_is(segment(VIDEO, 3)->size, made(VIDEO, 3)->size, "its size");
    tap_is(segment(VIDEO, 5)->size, made(VIDEO, 5)->size, "which is found");
    tap_ok(aligned(), "aligned");

    /* the disk was full, or what was on it was lost */

    n = last();

    index_write(0, n + 1, n + 1);
    tap_is(truncate(file(VIDEO, n), made(VIDEO, n)->size - 1), 0, "shorter");
    tap_is(recover(), 0, "shorter");
    (void) whole(VIDEO, n, made(VIDEO, n)->size - 1, &bytes, &duration);
    tap_is(size(VIDEO, n), bytes, "whole parts");
    tap_is(segment(VIDEO, n)->size, bytes, "its size");
    tap_is(segment(VIDEO, n)->duration, duration, "its duration");
    tap_ok(aligned(), "aligned");

    index_write(0, n + 1, n + 1);
    tap_is(truncate(file(AUDIO, 2), made(AUDIO, 2)->size - 1), 0, "shorter");
    tap_is(recover(), 0, "shorter, and others follow");
    (void) whole(AUDIO, 2, made(AUDIO, 2)->size - 1, &bytes, &duration);
    tap_is(segment(AUDIO, 2)->size, bytes, "whole parts");
    tap_is(segment(AUDIO, 2)->duration, made(AUDIO, 2)->duration,
           "lasts until the next one");
    tap_ok(aligned(), "aligned");

    index_write(0, n + 1, n + 1);
    tap_is(truncate(file(VIDEO, 1), 0), 0, "empty");
    tap_is(recover(), 0, "empty");
    tap_is(segment(VIDEO, 1)->flags, NGX_LIVESTREAM_DVR_GAP, "is a gap");
    tap_is(size(VIDEO, 1), -1, "has no file");
    tap_ok(aligned(), "aligned");

    /* an index that ends in the midst of a line */

    index_write(0, n + 1, n + 1);
    shell("truncate -s -3 %s/index", dir);
    tap_is(recover(), 0, "half a line");
    tap_is(recover(), 0, "and again");
    tap_ok(idx.recovered, "which does not take what was added");
    tap_is(idx.tracks[AUDIO].segments[n].size, made(AUDIO, n)->size,
           "it is found again");

    restore();
}


static void
test_an_init_is_lost(void)
{
    size_t    i;
    unsigned  gaps;

    index_write(0, last(), last() + 1);
    shell("truncate -s 100 %s/audio/init-1.mp4", dir);

    tap_is(recover(), 0, "no init");
    tap_ok(aligned(), "aligned");

    gaps = 0;

    for (i = 0; i <= last(); i++) {
        gaps += idx.tracks[AUDIO].segments[i].flags == NGX_LIVESTREAM_DVR_GAP;
        gaps += idx.tracks[VIDEO].segments[i].flags & NGX_LIVESTREAM_DVR_GAP;
    }

    tap_is(gaps, last() + 1, "nobody can play its segments");

    restore();

    index_write(0, last(), last() + 1);
    shell("rm %s/audio/init-1.mp4 %s", dir, file(AUDIO, 1));

    tap_is(recover(), 0, "no init, as it has gone into storage");
    tap_ok(is_made(segment(AUDIO, 1), AUDIO), "where segments are");
    tap_ok(is_made(segment(AUDIO, 2), AUDIO), "or will be");
    tap_ok(aligned(), "aligned");

    restore();
}


static void
test_tracks_are_not_there_all_the_time(void)
{
    FILE                          *f;
    uint64_t                       msn;
    ngx_livestream_dvr_segment_t  *s;

    /* audio: 2, 3 is lost, not to the end; nobody has 4; 0 is a jump */

    shell("rm %s/audio/segment-[013-9].m4s %s", dir, file(VIDEO, 4));

    f = index_begin();

    for (msn = 0; msn <= last(); msn++) {
        if (msn != 4) {
            index_line(f, VIDEO, msn, 0,
                       msn == 1 ? NGX_LIVESTREAM_DVR_DISCONTINUITY : 0);
        }
    }

    index_line(f, AUDIO, 2, 0, 0);
    fclose(f);

    tap_is(recover(), 0, "a track that begins late and ends early");
    tap_ok(aligned(), "aligned");
    tap_is(idx.tracks[AUDIO].segments[0].msn, 0, "begins with the others");
    tap_is(idx.tracks[AUDIO].nsegments, last() + 1, "ends with the others");

    s = segment(AUDIO, 0);
    tap_is(s->flags, NGX_LIVESTREAM_DVR_GAP, "with gaps");
    tap_is(s->init, made(AUDIO, 2)->init, "of the init that follows");
    tap_is(s->duration, made(VIDEO, 0)->duration, "as long as the video");
    tap_is(s->pdt, made(VIDEO, 0)->pdt, "at its time");

    tap_is(segment(AUDIO, 1)->flags, NGX_LIVESTREAM_DVR_GAP
                                     |NGX_LIVESTREAM_DVR_DISCONTINUITY,
           "a discontinuity is one in all tracks");
    tap_ok(is_made(segment(AUDIO, 2), AUDIO), "the segment that it has");

    s = segment(VIDEO, 4);
    tap_is(s->flags, NGX_LIVESTREAM_DVR_GAP, "what nobody has is a gap");
    tap_is(s->duration, made(VIDEO, 4)->duration, "of the time between");
    tap_is(s->pdt, made(VIDEO, 4)->pdt, "at its time");
    tap_is(s->start + s->duration, made(VIDEO, 5)->start, "video goes on");

    s = segment(AUDIO, last());
    tap_is(s->start + s->duration,
           made(VIDEO, last())->start + made(VIDEO, last())->duration,
           "they end together");

    restore();

    /* the clock of a line is wrong, or that of all lines but one */

    f = index_begin();
    fprintf(f, "open source 0 0 0 1 0\n"
               "segment source 3 -253402300799000000 253402300799000000 1 1 1 "
               "0\nsegment source 4 253402300799000000 0 1 1 1 0\n"
               "segment audio 0 7 0 1 1 1 0\n"
               "segment audio 700 253402300799000000 9 4294967295 1 1 0\n");
    fclose(f);

    tap_is(recover(), 0, "clocks that are wrong");
    tap_is(idx.tracks[VIDEO].nsegments, 701, "are survived");

    restore();
}


static void
test_nothing_was_recorded(void)
{
    ngx_livestream_dvr_index_t  kept;

    shell("rm -r %s/source %s/audio", dir, dir);
    index_write(0, 0, 1);

    tap_is(recover(), 0, "nothing");
    tap_is(idx.tracks[VIDEO].nsegments, 0, "is nothing");

    kept = keep();
    tap_is(recover(), 0, "and again");
    tap_ok(same(&kept), "nothing");
    ngx_livestream_dvr_index_free(&kept);

    index_write(0, 0, 1);
    ngx_livestream_dvr_index_free(&idx);
    tap_is(ngx_livestream_dvr_index_read(dir, &idx,
                                         &(const char *) { NULL }), 0,
           "read");
    shell("rm %s/index", dir);
    tap_is(ngx_livestream_dvr_index_recover(dir, &idx,
                                            &(const char *) { NULL }),
           ENOENT, "an index that cannot be added to");

    restore();
}


/* a segment and an init as disks leave them */

static void
test_bytes_are_not_what_was_written(void)
{
    size_t     at, full;
    uint8_t   *data;
    unsigned   wrong, tries;

    data = get(AUDIO, last(), &full);
    wrong = 0;
    tries = 0;

    for (at = 0; at < full * 8; at += (at / 8 < 400) ? 3 : 97) {

        data[at / 8] ^= 1 << (at % 8);
        put(AUDIO, last(), data, full);
        data[at / 8] ^= 1 << (at % 8);

        index_write(0, last(), last() + 1);

        wrong += recover() != 0;
        wrong += segment(AUDIO, last())->size > full;
        wrong += segment(AUDIO, last())->size != 0
                 && segment(AUDIO, last())->size != size(AUDIO, last());
        tries++;
    }

    tap_is(wrong, 0, "%u bits of a segment flipped, one by one", tries);

    free(data);
    restore();

    /* a file system that allocated and did not write */

    full = size(VIDEO, last());
    tap_is(truncate(file(VIDEO, last()), full / 2), 0, "half of it");
    tap_is(truncate(file(VIDEO, last()), full), 0, "is zeroes");
    index_write(0, last(), last() + 1);
    tap_is(recover(), 0, "zeroes");
    tap_is(segment(VIDEO, last())->size, size(VIDEO, last()), "are cut off");
    tap_ok(size(VIDEO, last()) <= (int64_t) full / 2, "all of them");

    restore();
}


static void
test_a_day_takes_long(void)
{
    FILE                *f;
    unsigned             i, k;
    struct timespec      from, to;

    shell("cd %s/audio && for i in $(seq 100 2099); do echo > segment-$i.m4s; "
          "done", dir);

    f = index_begin();

    for (k = 0; k < 2; k++) {
        for (i = 0; i < 43200; i++) {
            fprintf(f, "segment %s %u %u000000 1767225600000000 6000000 1 1 0"
                    "\n", k ? "audio" : "source", i, i * 6);
        }
    }

    fclose(f);

    clock_gettime(CLOCK_MONOTONIC, &from);
    tap_is(recover(), 0, "86400 segments");
    clock_gettime(CLOCK_MONOTONIC, &to);

    printf("# %ld ms\n", (to.tv_sec - from.tv_sec) * 1000
                         + (to.tv_nsec - from.tv_nsec) / 1000000);

    restore();
}


int
main(void)
{
    clip_codecs();
    record(21);

    test_nothing_is_wrong();
    test_killed_while_a_part_was_written(VIDEO, 1);
    test_killed_while_a_part_was_written(AUDIO, 1);
    test_killed_while_a_part_was_written(VIDEO, 0);
    test_killed_while_a_part_was_written(AUDIO, 0);
    test_lines_are_lost();
    test_a_file_is_not_as_its_line_says();
    test_an_init_is_lost();
    test_tracks_are_not_there_all_the_time();
    test_nothing_was_recorded();
    test_bytes_are_not_what_was_written();
    test_a_day_takes_long();

    ngx_livestream_dvr_index_free(&idx);

    sim_free();
    clip_free_codecs();

    return tap_done();
}

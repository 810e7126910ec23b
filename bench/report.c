
/*
 * Copyright (C) nginx-livestream contributors
 *
 * Prints what viewers that followed playlists have seen, for people or as
 * JSON.
 */


#include <stdio.h>
#include <string.h>

#include "follow.h"


static int follow_print_track(viewers_t *v, track_t *t, int last);
static void follow_print_parts(viewers_t *v, track_t *t);


int
follow_print(viewers_t *v, follow_t *f)
{
    int  i, rc;

    rc = v->failed ? 2 : 0;

    printf(v->json ? "{\"viewers\":%lld,\"seconds\":%lld,\"failed\":%llu,"
                     "\"cpu\":%.3f,\"tracks\":["
                   : "viewers   %lld for %lld s, failed connections %llu, "
                     "own CPU %.2f s\n",
           (long long) v->viewers, (long long) v->seconds,
           (unsigned long long) v->failed, v->cpu);

    for (i = 0; i < f->ntracks; i++) {
        if (follow_print_track(v, &f->tracks[i], i == f->ntracks - 1) != 0) {
            rc = 2;
        }
    }

    if (v->json) {
        printf("]}\n");
    }

    return rc;
}


static int
follow_print_track(viewers_t *v, track_t *t, int last)
{
    int               i;
    double            worst;
    int64_t           j, parts, missed;
    stats_t           delays, gaps;
    uint64_t          errors;
    stats_summary_t   d, g, e, f;

    memset(&delays, 0, sizeof(stats_t));
    memset(&gaps, 0, sizeof(stats_t));

    worst = 0;
    missed = 0;
    errors = t->bad;
    parts = t->limit > t->base ? t->limit - t->base : 0;

    for (i = 0; i < FOLLOW_STATUSES; i++) {
        errors += t->statuses[i];
    }

    for (j = t->base; j < t->limit; j++) {
        missed += v->viewers - (int64_t) t->parts[j].delays.n;

        e = stats_summary(&t->parts[j].delays);
        worst = e.p99 > worst ? e.p99 : worst;

        stats_append(&delays, &t->parts[j].delays);

        if (j > t->base) {
            stats_add(&gaps, t->parts[j].first - t->parts[j - 1].first);
        }
    }

    d = stats_summary(&delays);
    g = stats_summary(&gaps);
    f = stats_summary(&t->fetches);

    printf(v->json
           ? "{\"url\":\"%s\",\"joined\":%lld,\"answers\":%llu,"
             "\"bytes\":%llu,\"errors\":%llu,\"stale\":%llu,"
             "\"parts\":%lld,\"missed\":%lld,\"merged\":%llu,"
             "\"skipped\":%llu,"
             "\"p50\":%.3f,\"p95\":%.3f,\"p99\":%.3f,\"max\":%.3f,"
             "\"worst_p99\":%.3f,\"gap_p50\":%.3f,\"gap_max\":%.3f,"
             "\"fetched\":%llu,\"fetched_bytes\":%llu,\"odd\":%llu,"
             "\"fetch_p50\":%.3f,\"fetch_p99\":%.3f"
           : "%s\n"
             "  joined  %lld\n"
             "  answers %llu, %llu bytes, errors %llu, stale %llu\n"
             "  parts   %lld, missed %lld, told late with the next %llu, "
             "told to nobody %llu\n"
             "  behind the first answer: p50 %.1f ms, p95 %.1f, p99 %.1f, "
             "max %.1f; worst part's p99 %.1f\n"
             "  between parts: p50 %.1f ms, max %.1f\n"
             "  fetched %llu parts, %llu bytes, of another size %llu; "
             "p50 %.1f ms, p99 %.1f\n",
           t->url.path, (long long) t->joined, (unsigned long long) t->answers,
           (unsigned long long) t->bytes, (unsigned long long) errors,
           (unsigned long long) t->stale, (long long) parts,
           (long long) missed, (unsigned long long) t->merged,
           (unsigned long long) t->skipped, d.p50, d.p95, d.p99, d.max, worst,
           g.p50, g.max, (unsigned long long) t->fetched,
           (unsigned long long) t->fetched_bytes,
           (unsigned long long) t->odd, f.p50, f.p99);

    if (v->json || v->each) {
        follow_print_parts(v, t);
    }

    if (v->json) {
        printf("}%s", last ? "" : ",");

    } else {
        for (i = 0; i < FOLLOW_STATUSES; i++) {
            if (t->statuses[i]) {
                printf("  status %d: %llu\n", i,
                       (unsigned long long) t->statuses[i]);
            }
        }
    }

    stats_free(&delays);
    stats_free(&gaps);

    return parts == 0 || missed || errors || t->odd || t->skipped ? -1 : 0;
}


static void
follow_print_parts(viewers_t *v, track_t *t)
{
    int64_t           j;
    part_t           *part;
    stats_summary_t   d;

    printf("%s", v->json ? ",\"each\":[" : "");

    for (j = t->base; j < t->limit; j++) {
        part = &t->parts[j];
        d = stats_summary(&part->delays);

        printf(v->json
               ? "%s{\"msn\":%llu,\"part\":%u,\"first\":%.6f,"
                 "\"answers\":%zu,\"p50\":%.3f,\"p95\":%.3f,\"p99\":%.3f,"
                 "\"max\":%.3f}"
               : "%s  %llu.%u at %.3f s: %zu answers, p50 %.1f ms, "
                 "p95 %.1f, p99 %.1f, max %.1f\n",
               v->json && j > t->base ? "," : "",
               (unsigned long long) part->msn, part->index,
               (part->first - t->parts[t->base].first) / 1e6, part->delays.n,
               d.p50, d.p95, d.p99, d.max);
    }

    printf("%s", v->json ? "]" : "");
}


/*
 * Copyright (C) nginx-livestream contributors
 *
 * Samples are kept all: quantiles are exact.
 */


#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "stats.h"


static int stats_reserve(stats_t *s, size_t n);
static int stats_compare(const void *one, const void *two);
static double stats_quantile(const stats_t *s, unsigned percent);


void
stats_add(stats_t *s, int64_t us)
{
    if (stats_reserve(s, 1) == 0) {
        s->samples[s->n++] = us < 0 ? 0
                             : us > UINT32_MAX ? UINT32_MAX : (uint32_t) us;
    }
}


void
stats_append(stats_t *s, const stats_t *other)
{
    if (other->n && stats_reserve(s, other->n) == 0) {
        memcpy(s->samples + s->n, other->samples,
               other->n * sizeof(uint32_t));
        s->n += other->n;
    }
}


stats_summary_t
stats_summary(stats_t *s)
{
    stats_summary_t  sum;

    memset(&sum, 0, sizeof(stats_summary_t));

    if (s->n == 0) {
        return sum;
    }

    qsort(s->samples, s->n, sizeof(uint32_t), stats_compare);

    sum.p50 = stats_quantile(s, 50);
    sum.p95 = stats_quantile(s, 95);
    sum.p99 = stats_quantile(s, 99);
    sum.max = s->samples[s->n - 1] / 1000.0;

    return sum;
}


void
stats_free(stats_t *s)
{
    free(s->samples);
    memset(s, 0, sizeof(stats_t));
}


int64_t
stats_clock(void)
{
    struct timespec  ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);

    return (int64_t) ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}


static int
stats_reserve(stats_t *s, size_t n)
{
    size_t     size;
    uint32_t  *samples;

    if (s->size - s->n >= n) {
        return 0;
    }

    size = s->size ? 2 * s->size : 64;

    while (size - s->n < n) {
        size *= 2;
    }

    samples = realloc(s->samples, size * sizeof(uint32_t));

    if (samples == NULL) {
        return -1;
    }

    s->samples = samples;
    s->size = size;

    return 0;
}


static int
stats_compare(const void *one, const void *two)
{
    uint32_t  a, b;

    a = *(const uint32_t *) one;
    b = *(const uint32_t *) two;

    return (a > b) - (a < b);
}


/* the smallest sample that so many percent are not above */
static double
stats_quantile(const stats_t *s, unsigned percent)
{
    size_t  rank;

    rank = (s->n * percent + 99) / 100;

    return s->samples[rank ? rank - 1 : 0] / 1000.0;
}

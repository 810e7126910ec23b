
/*
 * Copyright (C) nginx-livestream contributors
 *
 * Samples in microseconds and their quantiles.
 */


#ifndef _STATS_H_INCLUDED_
#define _STATS_H_INCLUDED_


#include <stddef.h>
#include <stdint.h>


typedef struct {
    uint32_t       *samples;
    size_t          n;
    size_t          size;
} stats_t;


typedef struct {
    double          p50;        /* ms */
    double          p95;
    double          p99;
    double          max;
} stats_summary_t;


/* us is cut to 0 .. UINT32_MAX; without memory the sample is lost */
void stats_add(stats_t *s, int64_t us);
void stats_append(stats_t *s, const stats_t *other);

/* sorts the samples; all 0 when there are none */
stats_summary_t stats_summary(stats_t *s);
void stats_free(stats_t *s);

/* us, monotonic */
int64_t stats_clock(void);


#endif /* _STATS_H_INCLUDED_ */


/*
 * Copyright (C) nginx-livestream contributors
 *
 * Pace: does a ladder keep up with its source?
 *
 *   window   | 1 s   | 1 s   | 1 s   | ...
 *   skipped    0 of 120  30 of 120  40 of 120  --> late twice: shed a rung
 *
 * A rung is shed when more than a tenth of the pictures had to be skipped in
 * two windows in a row; what skipping alone can mend is not worth a rung.  The
 * next one is given time to show whether the first was enough.
 *
 * One is taken back when nothing was late for `backoff`, which doubles when it
 * had to be shed again soon, so that a machine which is a little too small
 * does not have its rungs come and go.
 *
 * Pure; the video thread.
 */


#include <string.h>

#include "ngx_livestream_transcode_video.h"


#define NGX_LIVESTREAM_TRANSCODE_WINDOW   1000000       /* us */
#define NGX_LIVESTREAM_TRANSCODE_LATE     2             /* windows */
#define NGX_LIVESTREAM_TRANSCODE_SETTLE   3000000       /* us, behind a shed */
#define NGX_LIVESTREAM_TRANSCODE_BACKOFF  20000000      /* us */
#define NGX_LIVESTREAM_TRANSCODE_LONGEST  640000000     /* us, of a backoff */
#define NGX_LIVESTREAM_TRANSCODE_PROVEN   120000000     /* us, that one taken
                                                           back has stayed */


static void ngx_livestream_transcode_pace_window(
    ngx_livestream_transcode_pace_t *pace, int64_t now);


void
ngx_livestream_transcode_pace_init(ngx_livestream_transcode_pace_t *pace,
    int64_t now)
{
    memset(pace, 0, sizeof(ngx_livestream_transcode_pace_t));

    pace->since = now;
    pace->calm = now;
    pace->backoff = NGX_LIVESTREAM_TRANSCODE_BACKOFF;
}


void
ngx_livestream_transcode_pace_count(ngx_livestream_transcode_pace_t *pace,
    uint32_t made, uint32_t skipped)
{
    pace->made += made;
    pace->skipped += skipped;
}


int
ngx_livestream_transcode_pace(ngx_livestream_transcode_pace_t *pace,
    int64_t now, unsigned shed, unsigned most)
{
    if (now - pace->since < NGX_LIVESTREAM_TRANSCODE_WINDOW) {
        return 0;
    }

    ngx_livestream_transcode_pace_window(pace, now);

    if (pace->late >= NGX_LIVESTREAM_TRANSCODE_LATE
        && shed < most
        && (pace->changed == 0
            || now - pace->changed >= NGX_LIVESTREAM_TRANSCODE_SETTLE))
    {
        if (pace->taken
            && now - pace->taken < NGX_LIVESTREAM_TRANSCODE_PROVEN
            && pace->backoff < NGX_LIVESTREAM_TRANSCODE_LONGEST)
        {
            pace->backoff *= 2;
        }

        pace->late = 0;
        pace->taken = 0;
        pace->changed = now;

        return -1;
    }

    if (shed && now - pace->calm >= pace->backoff
        && now - pace->changed >= pace->backoff)
    {
        pace->taken = now;
        pace->changed = now;

        return 1;
    }

    if (pace->taken && now - pace->taken >= NGX_LIVESTREAM_TRANSCODE_PROVEN) {
        pace->taken = 0;
        pace->backoff = NGX_LIVESTREAM_TRANSCODE_BACKOFF;
    }

    return 0;
}


static void
ngx_livestream_transcode_pace_window(ngx_livestream_transcode_pace_t *pace,
    int64_t now)
{
    if (pace->skipped * 10 > pace->made + pace->skipped) {
        pace->late++;
        pace->calm = now;

    } else {
        pace->late = 0;

        if (pace->skipped) {
            pace->calm = now;
        }
    }

    pace->since = now;
    pace->made = 0;
    pace->skipped = 0;
}


/*
 * Copyright (C) nginx-livestream contributors
 *
 * Tests of the pace: machines that are too slow, for a moment or for good.
 */


#include "ngx_livestream_transcode_video.h"
#include "tap.h"


#define SECOND  1000000


static ngx_livestream_transcode_pace_t  pace;
static int64_t                          now;
static unsigned                         shed;
static unsigned                         sheds;
static unsigned                         backs;


static void
begin(void)
{
    now = 5 * SECOND;
    shed = 0;
    sheds = 0;
    backs = 0;

    ngx_livestream_transcode_pace_init(&pace, now);
}


/* seconds of 120 pictures each, of which so many are skipped */

static void
go(int seconds, uint32_t skipped)
{
    int  i, what;

    for (i = 0; i < seconds; i++) {
        now += SECOND;

        ngx_livestream_transcode_pace_count(&pace, 120 - skipped, skipped);

        what = ngx_livestream_transcode_pace(&pace, now, shed, 3);

        if (what == -1) {
            shed++;
            sheds++;

        } else if (what == 1) {
            shed--;
            backs++;
        }
    }
}


int
main(void)
{
    int  i;

    begin();
    go(3600, 0);
    tap_is(sheds + backs, 0, "who keeps up keeps all rungs");

    go(1, 60);
    go(60, 0);
    tap_is(sheds, 0, "one bad second costs no rung");

    go(600, 10);
    tap_is(sheds, 0, "nor do some pictures now and then");

    begin();
    go(2, 30);
    tap_is(shed, 1, "two bad seconds do");
    go(2, 30);
    tap_is(shed, 1, "what that brings is awaited");
    go(3, 30);
    tap_is(shed, 2, "if it is not enough, another one goes");
    go(60, 30);
    tap_is(shed, 3, "but for as many as can");

    go(15, 0);
    tap_is(shed, 3, "calm has to last");
    go(10, 0);
    tap_is(shed, 2, "then one is taken back");
    go(10, 0);
    tap_is(shed, 2, "and is looked at for a while");
    go(60, 0);
    tap_is(shed, 0, "before the others are");

    /* a machine that is too small by a rung */

    begin();

    for (i = 0; i < 3600; i++) {
        go(1, shed ? 0 : 40);
    }

    tap_ok(sheds >= 3 && sheds <= 12,
           "a rung too many does not come and go: %u times an hour", sheds);

    /* once one stayed, the next trouble is a new one */

    begin();
    go(3, 30);
    go(400, 0);
    go(3, 30);
    tap_is(shed, 1, "trouble much later");
    go(25, 0);
    tap_is(shed, 0, "is over as soon as the first");

    return tap_done();
}

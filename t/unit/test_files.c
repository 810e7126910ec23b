
/*
 * Copyright (C) nginx-livestream contributors
 *
 * Tests of a track's files: they stay for as long as the protocol asks for
 * (RL-05 and RL-06) and then go.  The clock is ours.
 */


#include <stdlib.h>
#include <time.h>


static struct timespec  test_time;


static int
test_clock(clockid_t id, struct timespec *ts)
{
    (void) id;

    *ts = test_time;

    return 0;
}


#define clock_gettime  test_clock
#include "ngx_livestream_llhls_files.c"
#undef clock_gettime

#include "tap.h"


#define TARGET   6
#define LENGTH   5


static char                            root[64];
static ngx_livestream_pipeline_conf_t  conf;


static int
there(const char *name)
{
    char         path[256];
    struct stat  st;

    (void) snprintf(path, sizeof(path), "%s/stream/broadcast/source/%s", root,
                    name);

    return stat(path, &st) == 0;
}


static int
segment(uint64_t msn)
{
    char  name[64];

    (void) snprintf(name, sizeof(name), "segment-%" PRIu64 ".m4s", msn);

    return there(name);
}


/* as our clock has it */

static void
touch(uint64_t msn)
{
    char             path[256];
    struct timespec  ts[2];

    (void) snprintf(path, sizeof(path), "%s/stream/broadcast/source/segment-%"
                    PRIu64 ".m4s", root, msn);

    ts[0] = test_time;
    ts[1] = test_time;

    (void) utimensat(AT_FDCWD, path, ts, 0);
}


static int
write_segment(ngx_livestream_llhls_files_t *files, uint64_t msn)
{
    char          text[] = "moofmdat";
    unsigned      i;
    struct iovec  iov[200];

    for (i = 0; i < 200; i++) {
        iov[i].iov_base = text;
        iov[i].iov_len = i % 9;
    }

    return ngx_livestream_llhls_files_write(files, msn, iov, 200);
}


int
main(void)
{
    int                           rc;
    char                          command[128];
    uint64_t                      n, first, last;
    unsigned                      there_are, early, late, most;
    struct stat                   st;
    ngx_livestream_llhls_files_t  files;

    strcpy(root, "/tmp/files-XXXXXX");
    tap_ok(mkdtemp(root) != NULL, "a folder");

    conf.root = root;
    conf.id = "stream";
    conf.broadcast = "broadcast";
    conf.target_duration = TARGET;
    conf.playlist_length = LENGTH;

    test_time.tv_sec = 1000;

    tap_is(ngx_livestream_llhls_files_open(&files, &conf, "source"), 0,
           "a track");
    tap_is(ngx_livestream_llhls_files_init(&files, 1, (uint8_t *) "init", 4),
           0, "an init segment");
    tap_ok(there("init-1.mp4") && !there("init-1.tmp"), "has its name only");

    tap_is(ngx_livestream_llhls_files_done(&files, 0, 6000000, LENGTH,
                                           TARGET),
           0, "a gap");
    tap_ok(!segment(0), "has no file");

    early = 0;
    late = 0;
    most = 0;
    first = 1;
    rc = 0;

    for (n = 1; n < 200; n++) {
        test_time.tv_sec += 6;

        rc |= write_segment(&files, n);
        rc |= ngx_livestream_llhls_files_done(&files, n, 6000000, LENGTH,
                                              TARGET);
        touch(n);

        /* segment m leaves with the end of m + LENGTH, may be loaded for its
         * own 6 s and the playlist's 36 s, and has 6 s more */

        while (!segment(first)) {
            early += (n < first + LENGTH + 7);
            first++;
        }

        late += (n > first + LENGTH + 9);
        most = (n - first + 1 > most) ? n - first + 1 : most;
    }

    tap_is(rc, 0, "segments are written");
    tap_is(early, 0, "none goes before its time");
    tap_is(late, 0, "nor long after it");
    tap_ok(most < 2 * LENGTH + 6, "there are %u at most", most);

    (void) snprintf(files.path, files.size, "%ssegment-199.m4s", files.dir);
    tap_ok(stat(files.path, &st) == 0 && st.st_size == 793,
           "in all their length");
    tap_is(write_segment(&files, 199), EEXIST, "none is written twice");

    ngx_livestream_llhls_files_close(&files);

    /* the stream is continued */

    conf.continued = 1;
    conf.msn = 199;

    tap_is(ngx_livestream_llhls_files_open(&files, &conf, "source"), 0,
           "a track goes on");
    tap_ok(!segment(199), "without what was not told of");
    tap_ok(segment(198) && segment(first), "with what was");

    for (n = 199; n < 199 + 4 * LENGTH; n++) {
        test_time.tv_sec += 6;

        rc |= write_segment(&files, n);
        rc |= ngx_livestream_llhls_files_done(&files, n, 6000000, LENGTH,
                                              TARGET);
        touch(n);
    }

    tap_is(rc, 0, "segments are written");
    tap_ok(!segment(first) && !segment(190), "the old ones go");
    tap_ok(segment(199 + 2 * LENGTH), "the new ones stay");
    tap_ok(there("init-1.mp4"), "and the init segment");

    ngx_livestream_llhls_files_close(&files);

    /* again and again: nobody lives long enough to remove what he wrote */

    last = n + 100;
    most = 0;
    rc = 0;

    for ( /* void */ ; n < last; n++) {
        test_time.tv_sec += 10;
        conf.msn = n;

        rc |= ngx_livestream_llhls_files_open(&files, &conf, "source");
        rc |= write_segment(&files, n);
        rc |= ngx_livestream_llhls_files_done(&files, n, 1000000, LENGTH,
                                              TARGET);
        touch(n);

        ngx_livestream_llhls_files_close(&files);

        there_are = 0;

        for (first = 0; first <= n; first++) {
            there_are += segment(first);
        }

        most = there_are > most ? there_are : most;
    }

    tap_is(rc, 0, "a hundred short continuations");
    tap_ok(!segment(n - 16) && segment(n - 8), "leave what may be asked for");
    tap_ok(most < 30, "and no more: %u at most", most);

    (void) snprintf(command, sizeof(command), "rm -rf %s", root);
    tap_is(system(command), 0, "no folder");

    return tap_done();
}

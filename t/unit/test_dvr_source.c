
/*
 * Copyright (C) nginx-livestream contributors
 *
 * Tests of ngx_livestream_dvr_source.c: files that are on the disk, or only in
 * storage, or nowhere, or change their place.
 */


#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ngx_livestream_dvr_source.h"
#include "tap.h"


#define SIZE  (3 * 1024 * 1024 + 17)


static char          dir[64];
static uint8_t       bytes[SIZE], got[SIZE + 64];
static unsigned      fetches;
static int           answer;        /* of fetch */
static size_t        most;          /* bytes that it gives at once */
static volatile int  stop;


/* storage has the same file */

static int
fetch(void *data, const char *name, uint64_t offset, size_t size, uint8_t *p,
    size_t *n)
{
    fetches++;

    if (answer) {
        return answer;
    }

    if (data != &fetches || strcmp(name, "source/segment-7.m4s") != 0) {
        return ENOENT;
    }

    *n = offset < SIZE ? SIZE - offset : 0;

    if (*n > size) {
        *n = size;
    }

    if (*n > most) {
        *n = most;
    }

    memcpy(p, bytes + offset, *n);

    return 0;
}


static void
put(int there)
{
    int   fd;
    char  path[128];

    (void) snprintf(path, sizeof(path), "%s/source/segment-7.m4s", dir);

    if (!there) {
        (void) unlink(path);
        return;
    }

    fd = open(path, O_WRONLY|O_CREAT|O_TRUNC, 0644);

    if (fd == -1 || write(fd, bytes, SIZE) != SIZE || close(fd) == -1) {
        perror(path);
        exit(1);
    }
}


static void
read_back(const ngx_livestream_dvr_source_t *source, const char *what)
{
    int          rc;
    size_t       n, i, want;
    const char  *reason;

    static const struct {
        uint64_t  offset;
        size_t    size;
    } ranges[] = {
        { 0, SIZE }, { 0, 1 }, { 0, 0 }, { 1, 1024 * 1024 },
        { SIZE - 1, 1 }, { SIZE - 1, 64 }, { SIZE, 64 }, { SIZE + 100, 64 },
        { 5, SIZE + 50 }
    };

    for (i = 0; i < sizeof(ranges) / sizeof(ranges[0]); i++) {
        memset(got, 0, sizeof(got));

        rc = ngx_livestream_dvr_source_read(source, "source/segment-7.m4s",
                                            ranges[i].offset, ranges[i].size,
                                            got, &n, &reason);

        want = ranges[i].offset < SIZE ? SIZE - ranges[i].offset : 0;

        if (want > ranges[i].size) {
            want = ranges[i].size;
        }

        tap_ok(rc == 0 && n == want
               && memcmp(got, bytes + ranges[i].offset, n) == 0,
               "%s: %zu bytes from %lu", what, ranges[i].size,
               (unsigned long) ranges[i].offset);
    }
}


static void
refused(const ngx_livestream_dvr_source_t *source, const char *name,
    int error, const char *what)
{
    size_t       n;
    const char  *reason;

    reason = NULL;

    tap_is(ngx_livestream_dvr_source_read(source, name, 0, SIZE, got, &n,
                                          &reason),
           error, "%s", what);
    tap_ok(reason != NULL, "%s: %s", what, reason ? reason : "no reason");
}


int
main(void)
{
    int                          i;
    char                         path[128], name[8192];
    ngx_livestream_dvr_source_t  source;

    for (i = 0; i < SIZE; i++) {
        bytes[i] = i * 2654435761U >> 24;
    }

    memset(name, 'x', sizeof(name) - 1);
    name[sizeof(name) - 1] = '\0';

    strcpy(dir, "/tmp/source-XXXXXX");
    tap_ok(mkdtemp(dir) != NULL, "a folder");

    (void) snprintf(path, sizeof(path), "%s/source", dir);
    (void) mkdir(path, 0755);

    memset(&source, 0, sizeof(source));
    source.dir = dir;

    put(1);
    read_back(&source, "on the disk");

    source.fetch = fetch;
    source.data = &fetches;
    most = SIZE;

    read_back(&source, "on the disk, storage has it too");
    tap_is(fetches, 0, "which is not asked");

    put(0);
    read_back(&source, "in storage");
    tap_ok(fetches > 0, "which is asked");

    most = 100000;
    read_back(&source, "in storage that gives less than it is asked for");

    refused(&source, "source/segment-8.m4s", ENOENT, "neither here nor there");
    refused(&source, name, ENAMETOOLONG, "a name that is too long");

    answer = EIO;
    refused(&source, "source/segment-7.m4s", EIO, "storage that fails");
    answer = 0;

    source.stop = &stop;
    stop = 1;
    refused(&source, "source/segment-7.m4s", ECANCELED,
            "a stop, and storage would have it");
    put(1);
    refused(&source, "source/segment-7.m4s", ECANCELED,
            "a stop, and the disk would have it");
    stop = 0;
    read_back(&source, "no stop");

    put(0);
    source.fetch = NULL;
    refused(&source, "source/segment-7.m4s", ENOENT,
            "gone, and there is no storage");
    refused(&source, "source", EISDIR, "a folder");

    (void) rmdir(path);
    tap_is(rmdir(dir), 0, "and no folder");

    return tap_done();
}

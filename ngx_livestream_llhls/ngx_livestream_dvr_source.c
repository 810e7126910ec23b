
/*
 * Copyright (C) nginx-livestream contributors
 *
 * The bytes of a recording, from wherever they are.
 *
 *   DIR/TRACK/segment-N.m4s      is there: pread()
 *           |
 *           | ENOENT
 *           v
 *   fetch("TRACK/segment-N.m4s")           from storage
 *
 * A file goes from the disk when storage has confirmed it, and may do so at
 * any time: each call looks again.
 *
 * Pure C; a job's thread.
 */


#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <unistd.h>

#include "ngx_livestream_dvr_source.h"


/* bytes, between two looks at *stop */
#define NGX_LIVESTREAM_DVR_PIECE  (1024 * 1024)


static int ngx_livestream_dvr_source_disk(
    const ngx_livestream_dvr_source_t *source, const char *path,
    uint64_t offset, size_t size, uint8_t *p, size_t *got);
static int ngx_livestream_dvr_source_storage(
    const ngx_livestream_dvr_source_t *source, const char *name,
    uint64_t offset, size_t size, uint8_t *p, size_t *got);
static int ngx_livestream_dvr_source_stopped(
    const ngx_livestream_dvr_source_t *source);


int
ngx_livestream_dvr_source_read(const ngx_livestream_dvr_source_t *source,
    const char *name, uint64_t offset, size_t size, uint8_t *p, size_t *got,
    const char **reason)
{
    int   rc, n;
    char  path[PATH_MAX];

    *got = 0;

    n = snprintf(path, sizeof(path), "%s/%s", source->dir, name);

    if (n < 0 || (size_t) n >= sizeof(path)) {
        *reason = "the path of a recording is too long";
        return ENAMETOOLONG;
    }

    rc = ngx_livestream_dvr_source_disk(source, path, offset, size, p, got);

    if (rc == ENOENT && source->fetch) {
        rc = ngx_livestream_dvr_source_storage(source, name, offset, size, p,
                                               got);
    }

    switch (rc) {

    case 0:
        break;

    case ECANCELED:
        *reason = "the job was stopped";
        break;

    case ENOENT:
        *reason = source->fetch
                  ? "a file of the recording is neither on the disk nor in "
                    "storage"
                  : "a file of the recording is missing";
        break;

    default:
        *reason = "a file of the recording cannot be read";
    }

    return rc;
}


static int
ngx_livestream_dvr_source_disk(const ngx_livestream_dvr_source_t *source,
    const char *path, uint64_t offset, size_t size, uint8_t *p, size_t *got)
{
    int      fd, rc;
    size_t   piece;
    ssize_t  n;

    if (offset > INT64_MAX - size) {
        return EOVERFLOW;
    }

    fd = open(path, O_RDONLY|O_CLOEXEC);
    if (fd == -1) {
        return errno;
    }

    rc = 0;

    while (*got < size) {

        if (ngx_livestream_dvr_source_stopped(source)) {
            rc = ECANCELED;
            break;
        }

        piece = size - *got;

        if (piece > NGX_LIVESTREAM_DVR_PIECE) {
            piece = NGX_LIVESTREAM_DVR_PIECE;
        }

        n = pread(fd, p + *got, piece, offset + *got);

        if (n == -1) {
            if (errno == EINTR) {
                continue;
            }

            rc = errno;
            break;
        }

        if (n == 0) {
            break;
        }

        *got += n;
    }

    (void) close(fd);

    return rc;
}


static int
ngx_livestream_dvr_source_storage(const ngx_livestream_dvr_source_t *source,
    const char *name, uint64_t offset, size_t size, uint8_t *p, size_t *got)
{
    int     rc;
    size_t  n;

    *got = 0;

    while (*got < size) {

        if (ngx_livestream_dvr_source_stopped(source)) {
            return ECANCELED;
        }

        n = 0;

        rc = source->fetch(source->data, name, offset + *got, size - *got,
                           p + *got, &n);
        if (rc) {
            return rc;
        }

        if (n == 0) {
            break;
        }

        if (n > size - *got) {
            return EIO;
        }

        *got += n;
    }

    return 0;
}


static int
ngx_livestream_dvr_source_stopped(const ngx_livestream_dvr_source_t *source)
{
    return source->stop && *source->stop;
}


/*
 * Copyright (C) nginx-livestream contributors
 *
 * The files of one track.
 *
 *   first                listed                    last
 *     |                    |                         |
 *   segment --> segment --> segment --> ... --> segment    fd: the open one
 *   \__ left the playlist _/\_______ listed ________/
 *       gone at `expire`
 *
 * An init segment is whole as soon as it has its name.  A segment grows under
 * its name, part after part: readers know its parts from the registry.
 *
 * Pipeline thread, but for close().
 */


#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "ngx_livestream_llhls_files.h"


#define NGX_LIVESTREAM_LLHLS_NAME_MAX  64
#define NGX_LIVESTREAM_LLHLS_IOV       64


struct ngx_livestream_llhls_file_s {
    ngx_livestream_llhls_file_t  *next;
    uint64_t                      msn;
    uint32_t                      duration;     /* us */
    int64_t                       expire;       /* us, monotonic clock */
};


static int ngx_livestream_llhls_files_mkdir(
    ngx_livestream_llhls_files_t *files, size_t root);
static int ngx_livestream_llhls_files_adopt(
    ngx_livestream_llhls_files_t *files,
    const ngx_livestream_pipeline_conf_t *conf);
static int ngx_livestream_llhls_files_list(
    ngx_livestream_llhls_files_t *files, uint64_t **list, size_t *n);
static int ngx_livestream_llhls_files_compare(const void *one,
    const void *two);
static int64_t ngx_livestream_llhls_files_age(
    ngx_livestream_llhls_files_t *files, uint64_t msn);
static int ngx_livestream_llhls_files_append(
    ngx_livestream_llhls_files_t *files, uint64_t msn, uint32_t duration);
static void ngx_livestream_llhls_files_unlist(
    ngx_livestream_llhls_files_t *files, int64_t us);
static void ngx_livestream_llhls_files_remove(
    ngx_livestream_llhls_files_t *files, uint64_t msn);
static int ngx_livestream_llhls_files_writev(int fd, struct iovec *iov,
    unsigned n);
static void ngx_livestream_llhls_files_name(
    ngx_livestream_llhls_files_t *files, uint64_t msn);
static int64_t ngx_livestream_llhls_files_now(clockid_t id);


int
ngx_livestream_llhls_files_open(ngx_livestream_llhls_files_t *files,
    const ngx_livestream_pipeline_conf_t *conf, const char *track)
{
    int     rc;
    size_t  len;

    memset(files, 0, sizeof(ngx_livestream_llhls_files_t));

    files->fd = -1;
    files->recorded = conf->recorded;
    files->reason = "no memory for a track";

    len = strlen(conf->root) + strlen(conf->id) + strlen(conf->broadcast)
          + strlen(track) + sizeof("////");

    files->size = len + NGX_LIVESTREAM_LLHLS_NAME_MAX;

    files->dir = malloc(len);
    files->path = malloc(files->size);

    if (files->dir == NULL || files->path == NULL) {
        return ENOMEM;
    }

    (void) snprintf(files->dir, len, "%s/%s/%s/%s/", conf->root, conf->id,
                    conf->broadcast, track);

    rc = ngx_livestream_llhls_files_mkdir(files, strlen(conf->root));

    if (rc == 0 && conf->continued) {
        rc = ngx_livestream_llhls_files_adopt(files, conf);
    }

    return rc;
}


void
ngx_livestream_llhls_files_close(ngx_livestream_llhls_files_t *files)
{
    ngx_livestream_llhls_file_t  *file;

    while (files->first) {
        file = files->first;
        files->first = file->next;
        free(file);
    }

    if (files->dir && files->fd != -1) {
        (void) close(files->fd);
    }

    free(files->dir);
    free(files->path);

    memset(files, 0, sizeof(ngx_livestream_llhls_files_t));

    files->fd = -1;
}


static int
ngx_livestream_llhls_files_mkdir(ngx_livestream_llhls_files_t *files,
    size_t root)
{
    int     rc;
    char   *p;

    /* the root is the core's to make */

    for (p = files->dir + root + 1; *p; p++) {

        if (*p != '/') {
            continue;
        }

        *p = '\0';
        rc = mkdir(files->dir, 0755);
        *p = '/';

        if (rc == -1 && errno != EEXIST) {
            files->reason = "the folder of a track cannot be made";
            return errno;
        }
    }

    return 0;
}


/*
 * A segment that the stream will write again can only be what a worker that
 * died had begun and nobody was told of.  Of others their age tells how long
 * they may still be asked for: one is listed for about as long as a playlist
 * takes, and then has that time again.
 */

static int
ngx_livestream_llhls_files_adopt(ngx_livestream_llhls_files_t *files,
    const ngx_livestream_pipeline_conf_t *conf)
{
    int        rc;
    size_t     i, n;
    int64_t    age, most;
    uint64_t  *list;
    uint32_t   duration;

    rc = ngx_livestream_llhls_files_list(files, &list, &n);

    duration = conf->target_duration * 1000000;
    most = (int64_t) 2 * duration * (conf->playlist_length + 2);

    for (i = 0; rc == 0 && i < n; i++) {

        age = ngx_livestream_llhls_files_age(files, list[i]);

        if (list[i] >= conf->msn || (age >= most && !files->recorded)) {
            ngx_livestream_llhls_files_remove(files, list[i]);
            continue;
        }

        if (files->recorded) {
            continue;
        }

        rc = ngx_livestream_llhls_files_append(files, list[i], duration);

        if (rc == 0 && list[i] + conf->playlist_length < conf->msn) {
            ngx_livestream_llhls_files_unlist(files, most - age);
        }
    }

    free(list);

    return rc;
}


static int
ngx_livestream_llhls_files_list(ngx_livestream_llhls_files_t *files,
    uint64_t **list, size_t *n)
{
    DIR            *dir;
    size_t          size;
    uint64_t       *msn, value;
    struct dirent  *de;

    *list = NULL;
    *n = 0;

    dir = opendir(files->dir);
    if (dir == NULL) {
        files->reason = "the folder of a track cannot be read";
        return errno;
    }

    size = 0;

    for ( ;; ) {
        de = readdir(dir);
        if (de == NULL) {
            break;
        }

        if (sscanf(de->d_name, "segment-%20" SCNu64 ".m4s", &value) != 1) {
            continue;
        }

        if (*n == size) {
            size = size ? 2 * size : 64;

            msn = realloc(*list, size * sizeof(uint64_t));
            if (msn == NULL) {
                (void) closedir(dir);
                return ENOMEM;
            }

            *list = msn;
        }

        (*list)[(*n)++] = value;
    }

    (void) closedir(dir);

    if (*n) {
        qsort(*list, *n, sizeof(uint64_t), ngx_livestream_llhls_files_compare);
    }

    return 0;
}


static int
ngx_livestream_llhls_files_compare(const void *one, const void *two)
{
    uint64_t  a, b;

    a = *(const uint64_t *) one;
    b = *(const uint64_t *) two;

    return (a > b) - (a < b);
}


/* us since the segment was written to */

static int64_t
ngx_livestream_llhls_files_age(ngx_livestream_llhls_files_t *files,
    uint64_t msn)
{
    int64_t      age;
    struct stat  st;

    ngx_livestream_llhls_files_name(files, msn);

    if (stat(files->path, &st) == -1) {
        return 0;
    }

    age = ngx_livestream_llhls_files_now(CLOCK_REALTIME)
          - ((int64_t) st.st_mtim.tv_sec * 1000000
             + st.st_mtim.tv_nsec / 1000);

    return age > 0 ? age : 0;
}


int
ngx_livestream_llhls_files_init(ngx_livestream_llhls_files_t *files,
    uint32_t n, const uint8_t *data, size_t len)
{
    int           fd, rc;
    char         *temp;
    struct iovec  iov;

    temp = malloc(files->size);
    if (temp == NULL) {
        return ENOMEM;
    }

    (void) snprintf(temp, files->size, "%sinit-%u.tmp", files->dir, n);
    (void) snprintf(files->path, files->size, "%sinit-%u.mp4", files->dir, n);

    fd = open(temp, O_WRONLY|O_CREAT|O_TRUNC|O_CLOEXEC, 0644);

    if (fd == -1) {
        rc = errno;

    } else {
        iov.iov_base = (void *) data;
        iov.iov_len = len;

        rc = ngx_livestream_llhls_files_writev(fd, &iov, 1);

        if (close(fd) == -1 && rc == 0) {
            rc = errno;
        }

        if (rc == 0 && rename(temp, files->path) == -1) {
            rc = errno;
        }

        if (rc) {
            (void) unlink(temp);
        }
    }

    if (rc) {
        files->reason = "an initialization segment cannot be written";
    }

    free(temp);

    return rc;
}


int
ngx_livestream_llhls_files_write(ngx_livestream_llhls_files_t *files,
    uint64_t msn, struct iovec *iov, unsigned n)
{
    int       rc;
    unsigned  batch;

    if (files->fd == -1) {
        ngx_livestream_llhls_files_name(files, msn);

        files->fd = open(files->path,
                         O_WRONLY|O_CREAT|O_EXCL|O_APPEND|O_CLOEXEC, 0644);

        if (files->fd == -1) {
            files->reason = "a segment cannot be created";
            return errno;
        }
    }

    while (n) {
        batch = n < NGX_LIVESTREAM_LLHLS_IOV ? n : NGX_LIVESTREAM_LLHLS_IOV;

        rc = ngx_livestream_llhls_files_writev(files->fd, iov, batch);

        if (rc) {
            files->reason = "a segment cannot be written";
            return rc;
        }

        iov += batch;
        n -= batch;
    }

    return 0;
}


static int
ngx_livestream_llhls_files_writev(int fd, struct iovec *iov, unsigned n)
{
    ssize_t  size;

    while (n) {
        size = writev(fd, iov, n);

        if (size == -1) {
            if (errno == EINTR) {
                continue;
            }

            return errno;
        }

        while (n && (size_t) size >= iov->iov_len) {
            size -= iov->iov_len;
            iov++;
            n--;
        }

        if (n) {
            iov->iov_base = (char *) iov->iov_base + size;
            iov->iov_len -= size;
        }
    }

    return 0;
}


int
ngx_livestream_llhls_files_done(ngx_livestream_llhls_files_t *files,
    uint64_t msn, uint32_t duration, uint32_t playlist_length,
    uint32_t target_duration)
{
    int                           rc;
    int64_t                       now, least;
    ngx_livestream_llhls_file_t  *file;

    if (files->fd != -1) {
        rc = close(files->fd);
        files->fd = -1;

        if (rc == -1) {
            files->reason = "a segment cannot be written";
            return errno;
        }
    }

    if (files->recorded) {
        return 0;
    }

    rc = ngx_livestream_llhls_files_append(files, msn, duration);
    if (rc) {
        return rc;
    }

    least = (int64_t) 3 * target_duration * 1000000;

    while (files->listed
           && files->nlisted > playlist_length
           && files->content - files->listed->duration >= least)
    {
        /* and one target duration for players that are late */

        ngx_livestream_llhls_files_unlist(files,
                                    files->listed->duration + files->longest
                                    + (int64_t) target_duration * 1000000);
    }

    now = ngx_livestream_llhls_files_now(CLOCK_MONOTONIC);

    for ( ;; ) {
        file = files->first;

        if (file == NULL || file == files->listed || file->expire > now) {
            break;
        }

        ngx_livestream_llhls_files_remove(files, file->msn);

        files->first = file->next;
        free(file);
    }

    return 0;
}


static int
ngx_livestream_llhls_files_append(ngx_livestream_llhls_files_t *files,
    uint64_t msn, uint32_t duration)
{
    ngx_livestream_llhls_file_t  *file;

    file = malloc(sizeof(ngx_livestream_llhls_file_t));
    if (file == NULL) {
        return ENOMEM;
    }

    file->next = NULL;
    file->msn = msn;
    file->duration = duration;
    file->expire = 0;

    if (files->first) {
        files->last->next = file;

    } else {
        files->first = file;
    }

    files->last = file;

    if (files->listed == NULL) {
        files->listed = file;
    }

    files->nlisted++;
    files->content += duration;

    if (files->content > files->longest) {
        files->longest = files->content;
    }

    return 0;
}


/* the oldest that is listed has left the playlist, and goes in so many us */

static void
ngx_livestream_llhls_files_unlist(ngx_livestream_llhls_files_t *files,
    int64_t us)
{
    ngx_livestream_llhls_file_t  *file;

    file = files->listed;

    file->expire = ngx_livestream_llhls_files_now(CLOCK_MONOTONIC) + us;

    files->content -= file->duration;
    files->nlisted--;
    files->listed = file->next;
}


/* a gap has no file */

static void
ngx_livestream_llhls_files_remove(ngx_livestream_llhls_files_t *files,
    uint64_t msn)
{
    ngx_livestream_llhls_files_name(files, msn);

    (void) unlink(files->path);
}


static void
ngx_livestream_llhls_files_name(ngx_livestream_llhls_files_t *files,
    uint64_t msn)
{
    (void) snprintf(files->path, files->size, "%ssegment-%" PRIu64 ".m4s",
                    files->dir, msn);
}


static int64_t
ngx_livestream_llhls_files_now(clockid_t id)
{
    struct timespec  ts;

    (void) clock_gettime(id, &ts);

    return (int64_t) ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}


/*
 * Copyright (C) nginx-livestream contributors
 *
 * The S3 engine without nginx, for t/s3.t and bench/run: transfers on threads,
 * as they are told on stdin, a line each:
 *
 *     put ID KEY PATH          --> ID RC SIZE CHECKSUM
 *     fetch ID KEY FROM SIZE PATH                into a file: ID RC GOT
 *     remove ID KEY            --> ID RC
 *     url ID KEY SECONDS       --> ID RC URL
 *     stop, go                 --> -             sets, resets the stop flag
 *     usage                    --> - MICROSECONDS of CPU, of all its threads
 *
 * RC is a number of ngx_livestream_storage_e; if it is not 0, the error's text
 * follows instead.  Ends with stdin, when all is done.
 *
 * The environment says where: S3_URI, S3_ENDPOINT, S3_REGION, S3_ACCESS,
 * S3_SECRET, S3_TOKEN, S3_CONNECTIONS.
 */


#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "ngx_livestream_s3.h"


#define JOBS  64


typedef struct {
    pthread_t                  tid;
    char                       line[4096];
} job_t;


static ngx_livestream_s3_t  *s3;
static volatile int          stopped;
static pthread_mutex_t       mutex = PTHREAD_MUTEX_INITIALIZER;


static void
answer(const char *id, ngx_livestream_storage_e rc, const char *text)
{
    (void) pthread_mutex_lock(&mutex);
    printf("%s %d %s\n", id, rc, text);
    fflush(stdout);
    (void) pthread_mutex_unlock(&mutex);
}


static void
put(const char *id, const char *key, const char *path)
{
    char                             text[128];
    ngx_livestream_storage_e         rc;
    ngx_livestream_storage_error_t   error;
    ngx_livestream_storage_object_t  object;

    error.text[0] = '\0';

    rc = ngx_livestream_s3_put(s3, key, path, &stopped, &object, &error);

    if (rc != NGX_LIVESTREAM_STORAGE_OK) {
        answer(id, rc, error.text);
        return;
    }

    (void) snprintf(text, sizeof(text), "%" PRIu64 " %s", object.size,
                    object.checksum);
    answer(id, rc, text);
}


static void
fetch(const char *id, const char *key, uint64_t from, size_t size,
    const char *path)
{
    char                             text[32];
    FILE                            *file;
    u_char                          *p;
    size_t                           got;
    ngx_livestream_storage_e         rc;
    ngx_livestream_storage_error_t   error;

    error.text[0] = '\0';

    p = malloc(size + 1);
    file = fopen(path, "w");

    if (p == NULL || file == NULL) {
        perror(path);
        exit(2);
    }

    rc = ngx_livestream_s3_fetch(s3, key, from, size, p, &got, &stopped,
                                 &error);

    (void) fwrite(p, 1, got, file);
    (void) fclose(file);
    free(p);

    (void) snprintf(text, sizeof(text), "%zu", got);
    answer(id, rc, rc == NGX_LIVESTREAM_STORAGE_OK ? text : error.text);
}


static void
remove_object(const char *id, const char *key)
{
    ngx_livestream_storage_e         rc;
    ngx_livestream_storage_error_t   error;

    error.text[0] = '\0';

    rc = ngx_livestream_s3_remove(s3, key, &stopped, &error);

    answer(id, rc, error.text);
}


static void
url(const char *id, const char *key, int seconds)
{
    u_char  text[4096];
    time_t  now;

    now = time(NULL);

    if (ngx_livestream_s3_url(s3, key, now, now + seconds, text, sizeof(text))
        == 0)
    {
        text[0] = '\0';
    }

    answer(id, text[0] ? NGX_LIVESTREAM_STORAGE_OK
                       : NGX_LIVESTREAM_STORAGE_REFUSED, (char *) text);
}


static void *
run(void *data)
{
    job_t *job = data;

    char  *word[6], *save;
    int    n;

    n = 0;
    word[0] = strtok_r(job->line, " \n", &save);

    while (n < 5 && word[n]) {
        word[++n] = strtok_r(NULL, " \n", &save);
    }

    if (n == 4 && strcmp(word[0], "put") == 0) {
        put(word[1], word[2], word[3]);

    } else if (n == 3 && strcmp(word[0], "remove") == 0) {
        remove_object(word[1], word[2]);

    } else if (n == 4 && strcmp(word[0], "url") == 0) {
        url(word[1], word[2], atoi(word[3]));

    } else {
        fprintf(stderr, "s3_client: not known: %s\n", word[0]);
        exit(2);
    }

    return NULL;
}


static void *
run_fetch(void *data)
{
    job_t *job = data;

    char      id[64], key[2048], path[1024];
    size_t    size;
    uint64_t  from;

    if (sscanf(job->line, "fetch %63s %2047s %" SCNu64 " %zu %1023s", id, key,
               &from, &size, path)
        != 5)
    {
        fprintf(stderr, "s3_client: not known: %s\n", job->line);
        exit(2);
    }

    fetch(id, key, from, size, path);

    return NULL;
}


static int
setup(void)
{
    char                      *connections;
    const char                *wrong;
    ngx_livestream_s3_conf_t   conf;

    memset(&conf, 0, sizeof(conf));

    conf.region = getenv("S3_REGION");
    conf.access_key = getenv("S3_ACCESS");
    conf.secret_key = getenv("S3_SECRET");
    conf.token = getenv("S3_TOKEN");

    connections = getenv("S3_CONNECTIONS");
    conf.connections = connections ? atoi(connections) : 8;

    wrong = ngx_livestream_s3_locate(&conf.place, getenv("S3_URI"),
                                     getenv("S3_ENDPOINT"), conf.region);
    if (wrong) {
        fprintf(stderr, "s3_client: %s\n", wrong);
        return -1;
    }

    s3 = ngx_livestream_s3_create(&conf);

    return s3 ? 0 : -1;
}


int
main(void)
{
    int            i, n;
    char           line[sizeof(((job_t *) 0)->line)];
    static job_t   jobs[JOBS];
    struct rusage  usage;

    (void) signal(SIGPIPE, SIG_IGN);

    if (setup() == -1) {
        return 2;
    }

    n = 0;

    while (fgets(line, sizeof(line), stdin)) {

        if (strcmp(line, "stop\n") == 0 || strcmp(line, "go\n") == 0) {
            __atomic_store_n(&stopped, line[0] == 's', __ATOMIC_RELAXED);
            answer("-", 0, "");
            continue;
        }

        if (strcmp(line, "usage\n") == 0) {
            (void) getrusage(RUSAGE_SELF, &usage);
            (void) snprintf(line, sizeof(line), "%lld",
                            (usage.ru_utime.tv_sec + usage.ru_stime.tv_sec)
                            * 1000000LL + usage.ru_utime.tv_usec
                            + usage.ru_stime.tv_usec);
            answer("-", 0, line);
            continue;
        }

        /* of a ring, so that no more than these run */

        i = n++ % JOBS;

        if (n > JOBS) {
            (void) pthread_join(jobs[i].tid, NULL);
        }

        memcpy(jobs[i].line, line, sizeof(line));

        if (pthread_create(&jobs[i].tid, NULL,
                           strncmp(line, "fetch ", 6) == 0 ? run_fetch : run,
                           &jobs[i])
            != 0)
        {
            return 2;
        }
    }

    for (i = 0; i < JOBS && i < n; i++) {
        (void) pthread_join(jobs[i].tid, NULL);
    }

    ngx_livestream_s3_destroy(s3);

    return 0;
}

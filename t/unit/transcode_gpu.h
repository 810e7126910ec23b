
/*
 * Copyright (C) nginx-livestream contributors
 *
 * The fake driver in a test: which libraries of it there are, and what it
 * counts.
 */


#ifndef _TRANSCODE_GPU_H_INCLUDED_
#define _TRANSCODE_GPU_H_INCLUDED_


#include <dlfcn.h>
#include <limits.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ngx_livestream_transcode_gpu.h"
#include "transcode_picture.h"


#define FAKE_ALL  "cuda", "nvcuvid", "nvenc"


typedef struct {
    unsigned  (*calls)(const char *name);
    void      (*reset)(void);
    unsigned  (*leaks)(void);
    unsigned  (*contexts)(int device);
} fake_t;


/* the program anew, in which dlopen() finds these of the fake's libraries */
static inline void
fake_exec(const char *part, const char *a, const char *b, const char *c)
{
    char  self[PATH_MAX], path[4 * PATH_MAX], *p;
    ssize_t  n;

    n = readlink("/proc/self/exe", self, sizeof(self) - 1);

    if (n == -1) {
        picture_die("where is this program?");
    }

    self[n] = '\0';
    p = strrchr(self, '/');

    (void) snprintf(path, sizeof(path),
                    "%.*s/fake-gpu/%s:%.*s/fake-gpu/%s:%.*s/fake-gpu/%s",
                    (int) (p - self), self, a, (int) (p - self), self, b,
                    (int) (p - self), self, c);

    (void) setenv("LD_LIBRARY_PATH", path, 1);
    (void) execl(self, self, part, (char *) NULL);

    picture_die("this program cannot be run");
}


/* ... in a child; its exit status */
static inline int
fake_child(const char *part, const char *a, const char *b, const char *c)
{
    int    status;
    pid_t  pid;

    (void) fflush(stdout);

    pid = fork();

    if (pid == 0) {
        fake_exec(part, a, b, c);
    }

    if (pid == -1 || waitpid(pid, &status, 0) == -1) {
        picture_die("fork");
    }

    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}


/* keeps the library, and with it its counts */
static inline void
fake_open(fake_t *fake)
{
    void  *lib;

    lib = dlopen("libcuda.so.1", RTLD_NOW);

    if (lib == NULL) {
        picture_die("there is no fake driver");
    }

    *(void **) &fake->calls = dlsym(lib, "fake_gpu_calls");
    *(void **) &fake->reset = dlsym(lib, "fake_gpu_reset");
    *(void **) &fake->leaks = dlsym(lib, "fake_gpu_leaks");
    *(void **) &fake->contexts = dlsym(lib, "fake_gpu_contexts");

    if (fake->calls == NULL || fake->reset == NULL || fake->leaks == NULL
        || fake->contexts == NULL)
    {
        picture_die("a driver that is not ours");
    }
}


/* how it behaves from now on */
static inline void
fake_set(const fake_t *fake, const char *settings)
{
    fake->reset();
    (void) setenv("FAKE_GPU", settings, 1);
}


/* the default ladder's, without those above height */
static inline unsigned
fake_outputs(ngx_livestream_transcode_output_t *outputs, unsigned height)
{
    unsigned  i, n;

    static const uint32_t  sizes[][2] = {
        { 1920, 1080 }, { 1280, 720 }, { 854, 480 }, { 640, 360 }, { 426, 240 }
    };

    n = 0;
    memset(outputs, 0, 5 * sizeof(outputs[0]));

    for (i = 0; i < 5; i++) {

        if (sizes[i][1] <= height) {
            outputs[n].rung = i;
            outputs[n].width = sizes[i][0];
            outputs[n++].height = sizes[i][1];
        }
    }

    return n;
}


static inline ngx_livestream_transcode_gpu_t *
fake_gpu(unsigned height)
{
    unsigned                            n;
    const char                         *reason;
    ngx_livestream_transcode_gpu_t     *g;
    ngx_livestream_transcode_output_t   outputs[5];

    g = ngx_livestream_transcode_gpu_open(&reason);

    if (g == NULL) {
        printf("# %s\n", reason);
        return NULL;
    }

    n = fake_outputs(outputs, height);

    if (ngx_livestream_transcode_gpu_outputs(g, outputs, n, &reason)) {
        printf("# %s\n", reason);
        ngx_livestream_transcode_gpu_close(g);
        return NULL;
    }

    return g;
}


static inline void
fake_free(AVFrame **out)
{
    unsigned  i;

    for (i = 0; i < NGX_LIVESTREAM_TRANSCODE_RUNGS; i++) {
        av_frame_free(&out[i]);
    }
}


#endif /* _TRANSCODE_GPU_H_INCLUDED_ */

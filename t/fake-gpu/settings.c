
/*
 * Copyright (C) nginx-livestream contributors
 *
 * What FAKE_GPU says, and how often each function was called.
 *
 * Any thread.
 */


#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fake_gpu.h"


#define FAKE_GPU_NAMES  128


static struct {
    char      name[48];
    unsigned  calls;
}                       fake_gpu_names[FAKE_GPU_NAMES];
static unsigned         fake_gpu_nnames;
static int              fake_gpu_lost;
static pthread_mutex_t  fake_gpu_mutex = PTHREAD_MUTEX_INITIALIZER;


static unsigned fake_gpu_count(const char *name, unsigned add);
static CUresult fake_gpu_fate(const char *name, unsigned calls);


CUresult
fake_gpu_call(const char *name)
{
    CUresult  rc;

    (void) pthread_mutex_lock(&fake_gpu_mutex);

    rc = fake_gpu_fate(name, fake_gpu_count(name, 1));

    (void) pthread_mutex_unlock(&fake_gpu_mutex);

    return rc;
}


const char *
fake_gpu_setting(const char *name, char *text, size_t size)
{
    size_t       len, n;
    const char  *p;

    p = getenv("FAKE_GPU");
    len = strlen(name);

    while (p && *p) {
        n = strcspn(p, ",");

        if (n > len && n - len <= size && strncmp(p, name, len) == 0
            && p[len] == ':')
        {
            memcpy(text, p + len + 1, n - len - 1);
            text[n - len - 1] = '\0';
            return text;
        }

        p += n + (p[n] == ',');
    }

    return NULL;
}


unsigned
fake_gpu_calls(const char *name)
{
    unsigned  n;

    (void) pthread_mutex_lock(&fake_gpu_mutex);

    n = fake_gpu_count(name, 0);

    (void) pthread_mutex_unlock(&fake_gpu_mutex);

    return n;
}


void
fake_gpu_reset(void)
{
    (void) pthread_mutex_lock(&fake_gpu_mutex);

    fake_gpu_nnames = 0;
    fake_gpu_lost = 0;

    (void) pthread_mutex_unlock(&fake_gpu_mutex);
}


static unsigned
fake_gpu_count(const char *name, unsigned add)
{
    unsigned  i;

    for (i = 0; i < fake_gpu_nnames; i++) {

        if (strcmp(fake_gpu_names[i].name, name) == 0) {
            fake_gpu_names[i].calls += add;
            return fake_gpu_names[i].calls;
        }
    }

    if (add && i < FAKE_GPU_NAMES) {
        (void) snprintf(fake_gpu_names[i].name, sizeof(fake_gpu_names[i].name),
                        "%s", name);
        fake_gpu_names[i].calls = add;
        fake_gpu_nnames++;
    }

    return add;
}


static CUresult
fake_gpu_fate(const char *name, unsigned calls)
{
    int       n, error;
    char      text[64], what[48];
    unsigned  nth;

    if (fake_gpu_lost) {
        return FAKE_GPU_LOST;
    }

    if (fake_gpu_setting("lost", text, sizeof(text))) {
        nth = 1;
        n = sscanf(text, "%47[^:]:%u", what, &nth);

        if (n >= 1 && strcmp(what, name) == 0 && calls >= nth) {
            fake_gpu_lost = 1;
            return FAKE_GPU_LOST;
        }
    }

    if (fake_gpu_setting("fail", text, sizeof(text))) {
        nth = 1;
        error = CUDA_ERROR_UNKNOWN;
        n = sscanf(text, "%47[^:]:%u:%d", what, &nth, &error);

        if (n >= 1 && strcmp(what, name) == 0 && calls >= nth) {
            return (CUresult) error;
        }
    }

    return CUDA_SUCCESS;
}

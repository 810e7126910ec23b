
/*
 * Copyright (C) nginx-livestream contributors
 *
 * Fuzzes what a recovery reads of segments and initialization segments.
 * Beyond the sanitizers' complaints, what is whole must be so when the rest is
 * cut off.
 */


#define _GNU_SOURCE

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "ngx_livestream_dvr_boxes.h"


int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);


static void
check(int ok)
{
    if (!ok) {
        abort();
    }
}


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static int  fd = -1;

    ngx_livestream_dvr_parts_t  parts, again;

    if (fd == -1) {
        fd = memfd_create("boxes", MFD_CLOEXEC);
    }

    check(fd != -1 && ftruncate(fd, 0) == 0
          && pwrite(fd, data, size, 0) == (ssize_t) size);

    (void) ngx_livestream_dvr_timescale(fd);

    check(ngx_livestream_dvr_parts(fd, size, &parts) == 0);
    check(parts.size <= size && (parts.nparts == 0) == (parts.size == 0));
    check(parts.nparts == 0 || parts.start < parts.end);
    check(parts.start >= 0);

    check(ftruncate(fd, parts.size) == 0);
    check(ngx_livestream_dvr_parts(fd, parts.size, &again) == 0);
    check(memcmp(&parts, &again, sizeof(parts)) == 0);

    return 0;
}

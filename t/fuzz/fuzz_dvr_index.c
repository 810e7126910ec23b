
/*
 * Copyright (C) nginx-livestream contributors
 *
 * Fuzzes the index of a recording, of which there are no files.  Beyond the
 * sanitizers' complaints, what is read must be fit to be put into playlists,
 * and reading it once more must come to the same.
 */


#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ngx_livestream_dvr_index.h"


int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);


static char  dir[] = "/tmp/fuzz-dvr-XXXXXX";
static char  path[64];


static void
check(int ok)
{
    if (!ok) {
        abort();
    }
}


static void
clean(void)
{
    (void) unlink(path);
    (void) rmdir(dir);
}


/* a hash of all segments */

static uint64_t
fuzz_tracks(const ngx_livestream_dvr_index_t *index)
{
    size_t                               i;
    uint64_t                             hash;
    unsigned                             k;
    const ngx_livestream_dvr_track_t    *t, *other;
    const ngx_livestream_dvr_segment_t  *s;

    hash = index->ntracks;
    other = &index->tracks[0];

    for (k = 0; k < index->ntracks; k++) {
        t = &index->tracks[k];

        check(t->name[0] != '\0' && strpbrk(t->name, "/.\" \n") == NULL);
        check(t->codecs[0] != '\0' && strpbrk(t->codecs, ",\" \n") == NULL);
        check(t->nsegments == other->nsegments);

        for (i = 0; i < t->nsegments; i++) {
            s = &t->segments[i];

            check(s->msn == other->segments[0].msn + i);
            check(s->duration != 0 && s->pdt >= 0);
            check((s->size == 0) == !!(s->flags & NGX_LIVESTREAM_DVR_GAP));
            check((s->flags & ~NGX_LIVESTREAM_DVR_FLAGS) == 0);
            check(((s->flags ^ other->segments[i].flags)
                   & NGX_LIVESTREAM_DVR_DISCONTINUITY) == 0);

            hash = (hash ^ s->start ^ s->pdt ^ s->size ^ s->duration
                    ^ s->flags ^ s->init) * 1099511628211;
        }
    }

    return hash;
}


static uint64_t
fuzz_read(void)
{
    uint64_t                    hash;
    const char                 *reason;
    ngx_livestream_dvr_index_t  index;

    hash = 0;
    reason = NULL;

    if (ngx_livestream_dvr_index_read(dir, &index, &reason) != 0) {
        check(reason != NULL);

    } else if (ngx_livestream_dvr_index_recover(dir, &index, &reason) != 0) {
        check(reason != NULL);

    } else {
        check(index.recovered && index.target_duration != 0);
        hash = fuzz_tracks(&index);
    }

    ngx_livestream_dvr_index_free(&index);

    return hash;
}


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    FILE      *f;
    size_t     len;
    uint64_t   hash;

    if (path[0] == '\0') {
        check(mkdtemp(dir) != NULL);
        (void) snprintf(path, sizeof(path), "%s/index", dir);
        (void) atexit(clean);
    }

    f = fopen(path, "w");

    check(f != NULL);

    len = fwrite(data, 1, size, f);

    check(fclose(f) == 0 && len == size);

    hash = fuzz_read();

    check(fuzz_read() == hash);

    return 0;
}

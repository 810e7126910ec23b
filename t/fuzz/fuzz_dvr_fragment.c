
/*
 * Copyright (C) nginx-livestream contributors
 *
 * Fuzzes moofs that are read again.  Beyond the sanitizers' complaints, what
 * is accepted must be a run of samples that lie one behind the other, and be
 * the same when it is read into what another one has left.
 */


#include <stdlib.h>
#include <string.h>

#include "ngx_livestream_dvr_fragment.h"


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
    int                                 rc;
    size_t                              sum;
    uint8_t                            *copy;
    uint32_t                            i;
    const char                         *reason;
    ngx_livestream_dvr_fragment_t       f;
    const ngx_livestream_dvr_sample_t  *s, *u;

    static ngx_livestream_dvr_fragment_t  used;

    /* of its very size */

    copy = malloc(size ? size : 1);
    check(copy != NULL);
    memcpy(copy, data, size);

    memset(&f, 0, sizeof(f));
    reason = NULL;

    rc = ngx_livestream_dvr_fragment(&f, copy, size, &reason);

    check(rc == 0 || reason != NULL);
    check(rc != 0 || (f.nsamples > 0 && f.nsamples <= f.nalloc));
    check(rc == 0 || f.nsamples == 0);

    sum = 0;

    for (i = 0; i < f.nsamples; i++) {
        s = &f.samples[i];
        sum += s->size;

        check(s->dts >= 0);
        check(i == 0 || s->dts == s[-1].dts + s[-1].duration);
        check(llabs(s->pts - s->dts) <= INT64_C(1) << 31);
    }

    check(rc != 0 || sum == f.payload);

    check(ngx_livestream_dvr_fragment(&used, copy, size, &reason) == rc);
    check(used.nsamples == f.nsamples);

    for (i = 0; i < f.nsamples; i++) {
        s = &f.samples[i];
        u = &used.samples[i];

        check(s->dts == u->dts && s->pts == u->pts
              && s->duration == u->duration && s->size == u->size
              && s->key == u->key);
    }

    free(f.samples);
    free(copy);

    return 0;
}

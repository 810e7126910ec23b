
/*
 * Copyright (C) nginx-livestream contributors
 *
 * Fuzzes what a viewer sends: three lines, the path, the query and the value
 * of Accept-Encoding.  Beyond the sanitizers' complaints, a path that is taken
 * must be the one spelling of what it names, and a verdict must agree with the
 * edge of the playlist.
 */


#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ngx_livestream_llhls_request.h"


static const ngx_livestream_llhls_edge_t  edges[] = {
    { 10, 2, 4, 500000, 1, 0 },
    { 10, 0, 4, 500000, 1, 0 },
    { 0, 1, 0, 2000000, 1, 0 },
    { UINT64_MAX, UINT32_MAX, UINT32_MAX, 1, 1, 0 },
    { 10, 0, 0, 0, 1, 0 },
    { 10, 2, 4, 500000, 0, 0 },
    { 10, 2, 4, 500000, 1, 1 }
};


static void
check(int ok)
{
    if (!ok) {
        abort();
    }
}


static void
fuzz_path(const uint8_t *p, size_t len)
{
    int                            n;
    char                           text[256];
    ngx_livestream_llhls_target_t  t;

    static const char  *formats[] = {
        "%.*s/master.m3u8",
        "%.*s/%.*s/playlist.m3u8",
        "%.*s/%.*s/init-%" PRIu64 ".mp4",
        "%.*s/%.*s/segment-%" PRIu64 ".m4s",
        "%.*s/%.*s/part-%" PRIu64 ".%" PRIu32 ".m4s"
    };

    if (ngx_livestream_llhls_parse_path(p, len, &t) != 0) {
        return;
    }

    n = snprintf(text, sizeof(text), formats[t.kind], (int) t.id_len, t.id,
                 (int) t.track_len, t.track, t.number, t.part);

    check(n > 0 && (size_t) n == len && memcmp(text, p, len) == 0);
    check(t.id_len <= NGX_LIVESTREAM_LLHLS_ID_MAX);
    check(t.track_len <= NGX_LIVESTREAM_LLHLS_TRACK_MAX);
}


static void
fuzz_query(const uint8_t *p, size_t len)
{
    size_t                              i;
    const char                         *why;
    ngx_livestream_llhls_query_t        query;
    ngx_livestream_llhls_verdict_e      verdict;
    const ngx_livestream_llhls_edge_t  *edge;

    ngx_livestream_llhls_parse_query(p, len, &query);

    for (i = 0; i < sizeof(edges) / sizeof(edges[0]); i++) {
        edge = &edges[i];
        why = NULL;

        verdict = ngx_livestream_llhls_decide_playlist(&query, edge, &why);

        check((verdict == NGX_LIVESTREAM_LLHLS_BAD) == (why != NULL));

        if (edge->ended) {
            check(verdict == NGX_LIVESTREAM_LLHLS_READY);

        } else if (query.error) {
            check(verdict == NGX_LIVESTREAM_LLHLS_BAD);

        } else if (!edge->playable) {
            check(verdict == NGX_LIVESTREAM_LLHLS_HOLD);

        } else if (!query.has_msn) {
            check(verdict == NGX_LIVESTREAM_LLHLS_READY);
        }

        (void) ngx_livestream_llhls_decide_part(query.msn, query.part, edge);
    }
}


int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    unsigned        line;
    const uint8_t  *p, *end, *next;

    p = data;
    end = data + size;

    for (line = 0; line < 3; line++) {

        next = size ? memchr(p, '\n', end - p) : NULL;
        if (next == NULL || line == 2) {
            next = end;
        }

        switch (line) {

        case 0:
            fuzz_path(p, next - p);
            break;

        case 1:
            fuzz_query(p, next - p);
            break;

        default:
            check(ngx_livestream_llhls_accept_gzip(p, next - p) <= 1);
        }

        p = (next == end) ? end : next + 1;
    }

    return 0;
}


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
    const char                    *base;
    ngx_livestream_llhls_target_t  t;

    static const char  *formats[NGX_LIVESTREAM_LLHLS_KINDS] = {
        "%.*s%.*s/%.*smaster.m3u8",
        "%.*s%.*s/%.*s/playlist.m3u8",
        "%.*s%.*s/%.*s/init-%" PRIu64 ".mp4",
        "%.*s%.*s/%.*s/segment-%" PRIu64 ".m4s",
        "%.*s%.*s/%.*s/part-%" PRIu64 ".%" PRIu32 ".m4s",
        "%.*s%.*s/%.*sthumbnail.jpg",
        "%.*s%.*s/%.*sposter.jpg",
        "%.*s%.*s/%.*sstoryboard.vtt",
        "%.*s%.*s/%.*sstoryboard-%" PRIu64 ".jpg",
        "%.*s%.*s%.*s.mp4"
    };

    if (ngx_livestream_llhls_parse_path(p, len, &t) != 0) {
        return;
    }

    check(t.id_len <= NGX_LIVESTREAM_LLHLS_ID_MAX);
    check(t.track_len <= NGX_LIVESTREAM_LLHLS_TRACK_MAX);

    /* what comes before the UUID, and the UUID */

    base = "";
    n = 0;

    if (t.file) {
        check(t.id_len == 36 && t.file + t.file_len == p + len);

        n = (t.kind == NGX_LIVESTREAM_LLHLS_VIDEO) ? 44 : 48;
        base = (const char *) p;

        check(memcmp(p + 36, (n == 44) ? "/videos/" : "/recordings/", n - 36)
              == 0);
        check(strspn(base + n, "0123456789abcdef-") >= 36);
    }

    n = snprintf(text, sizeof(text), formats[t.kind], n, base,
                 t.file ? 36 : (int) t.id_len,
                 t.file ? base + n : (const char *) t.id,
                 (int) t.track_len, t.track ? (const char *) t.track : "",
                 t.number, t.part);

    check(n > 0 && (size_t) n == len && memcmp(text, p, len) == 0);
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

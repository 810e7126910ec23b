
/*
 * Copyright (C) nginx-livestream contributors
 *
 * URLs, delivery directives, and what waits for what.
 */


#include "ngx_livestream_llhls_request.h"
#include "tap.h"


#define ID      "7f3c1a52-9b1e-4c57-8d3a-0123456789ab"
#define RID     "0a1b2c3d-4e5f-4678-9abc-def012345678"
#define REC     ID "/recordings/" RID


typedef struct {
    const char                  *path;
    ngx_livestream_llhls_kind_e  kind;
    uint64_t                     number;
    uint32_t                     part;
} path_t;


typedef struct {
    const char                  *query;
    int                          msn;       /* -1: none */
    int                          part;
    int                          skip;
    const char                  *error;
} query_t;


typedef struct {
    const char                  *value;
    int                          gzip;
} accept_t;


typedef struct {
    const char                      *query;
    ngx_livestream_llhls_verdict_e   verdict;
    const char                      *what;
} verdict_t;


static const path_t  paths[] = {
    { ID "/master.m3u8", NGX_LIVESTREAM_LLHLS_MULTIVARIANT, 0, 0 },
    { "a/master.m3u8", NGX_LIVESTREAM_LLHLS_MULTIVARIANT, 0, 0 },
    { ID "/thumbnail.jpg", NGX_LIVESTREAM_LLHLS_THUMBNAIL, 0, 0 },
    { ID "/source/playlist.m3u8", NGX_LIVESTREAM_LLHLS_PLAYLIST, 0, 0 },
    { ID "/1080p/init-0.mp4", NGX_LIVESTREAM_LLHLS_INIT, 0, 0 },
    { ID "/audio/segment-12.m4s", NGX_LIVESTREAM_LLHLS_SEGMENT, 12, 0 },
    { ID "/audio/segment-18446744073709551615.m4s",
      NGX_LIVESTREAM_LLHLS_SEGMENT, UINT64_MAX, 0 },
    { ID "/source/part-7.0.m4s", NGX_LIVESTREAM_LLHLS_PART, 7, 0 },
    { ID "/source/part-0.4294967295.m4s", NGX_LIVESTREAM_LLHLS_PART, 0,
      UINT32_MAX },
    { "a/record/playlist.m3u8", NGX_LIVESTREAM_LLHLS_PLAYLIST, 0, 0 },
    { ID "/video/segment-3.m4s", NGX_LIVESTREAM_LLHLS_SEGMENT, 3, 0 }
};


/* with the file, below ID, that it names */

static const path_t  recorded[] = {
    { REC "/master.m3u8", NGX_LIVESTREAM_LLHLS_MULTIVARIANT, 0, 0 },
    { REC "/poster.jpg", NGX_LIVESTREAM_LLHLS_POSTER, 0, 0 },
    { REC "/storyboard.vtt", NGX_LIVESTREAM_LLHLS_STORYBOARD, 0, 0 },
    { REC "/storyboard-0.jpg", NGX_LIVESTREAM_LLHLS_SHEET, 0, 0 },
    { REC "/storyboard-12.jpg", NGX_LIVESTREAM_LLHLS_SHEET, 12, 0 },
    { REC "/720p/playlist.m3u8", NGX_LIVESTREAM_LLHLS_PLAYLIST, 0, 0 },
    { REC "/720p/init-1.mp4", NGX_LIVESTREAM_LLHLS_INIT, 1, 0 },
    { REC "/audio/segment-18446744073709551615.m4s",
      NGX_LIVESTREAM_LLHLS_SEGMENT, UINT64_MAX, 0 },
    { ID "/videos/" RID ".mp4", NGX_LIVESTREAM_LLHLS_VIDEO, 0, 0 }
};


static const char  *not_paths[] = {
    "",
    "/",
    ID,
    ID "/",
    "/master.m3u8",
    ID "//master.m3u8",
    ID "/master.m3u8/",
    ID "/master.m3u",
    ID "x/master.m3u8",
    ID "/source",
    ID "/source/",
    ID "/source/master.m3u8",
    ID "/sixteen_letters_/playlist.m3u8",
    ID "/../playlist.m3u8",
    ID "/./playlist.m3u8",
    ID "/source/../segment-1.m4s",
    "../" ID "/master.m3u8",
    "..",
    ID "/%2e%2e/segment-1.m4s",
    ID "/source/segment-.m4s",
    ID "/source/segment-1.mp4",
    ID "/source/segment-01.m4s",
    ID "/source/segment-00.m4s",
    ID "/source/segment-+1.m4s",
    ID "/source/segment--1.m4s",
    ID "/source/segment- 1.m4s",
    ID "/source/segment-1 .m4s",
    ID "/source/segment-0x1.m4s",
    ID "/source/segment-1.0.m4s",
    ID "/source/segment-18446744073709551616.m4s",
    ID "/source/segment-99999999999999999999999999.m4s",
    ID "/source/init-1.m4s",
    ID "/source/init-1",
    ID "/source/part-1.m4s",
    ID "/source/part-1..m4s",
    ID "/source/part-.1.m4s",
    ID "/source/part-1.01.m4s",
    ID "/source/part-1.2.3.m4s",
    ID "/source/part-1.4294967296.m4s",
    ID "/source/part-1.-1.m4s",
    ID "/source/thumbnail.jpg",
    ID "/thumbnail.jpeg",
    ID "/thumbnail.jpg/",
    "/thumbnail.jpg",
    "thumbnail.jpg",
    ID "/thumbnail.jpg.gz",
    ID "/poster.jpg",
    ID "/storyboard.vtt",

    ID "/recordings",
    ID "/recordings/",
    ID "/recordings/master.m3u8",
    ID "/recordings/playlist.m3u8",
    ID "/recordings/segment-1.m4s",
    ID "/recordings/thumbnail.jpg",
    "a/recordings/" RID "/master.m3u8",
    ID "/recordings/a/master.m3u8",
    ID "/recordings/" ID "/../../" RID "/master.m3u8",
    ID "/recordings//" RID "/master.m3u8",
    ID "/recordings/" RID,
    REC "/",
    REC "//master.m3u8",
    REC "/index",
    REC "/master.m3u8.gz",
    REC "/master.m3u8/",
    REC "/../master.m3u8",
    REC "/./master.m3u8",
    REC "/thumbnail.jpg",
    REC "/storyboard-.jpg",
    REC "/storyboard-01.jpg",
    REC "/storyboard--1.jpg",
    REC "/storyboard-1.vtt",
    REC "/storyboard.jpg",
    REC "/720p/part-1.0.m4s",
    REC "/720p/master.m3u8",
    REC "/720p/poster.jpg",
    REC "/720p/segment-01.m4s",
    REC "/720p/../segment-1.m4s",
    REC "/720p/720p/segment-1.m4s",
    REC "x/master.m3u8",
    ID "/recordings/0A1B2C3D-4e5f-4678-9abc-def012345678/master.m3u8",
    ID "/recordings/0a1b2c3d04e5f-4678-9abc-def012345678/master.m3u8",
    ID "/recordings/0a1b2c3d-4e5f-4678-9abc-def01234567g/master.m3u8",
    ID "/recordings/0a1b2c3d-4e5f-4678-9abc-def01234567/master.m3u8",
    ID "/recordings/0a1b2c3d-4e5f-4678-9abc_def012345678/master.m3u8",
    "7F3C1A52-9B1E-4C57-8D3A-0123456789AB/recordings/" RID "/master.m3u8",
    "7f3c1a52-9b1e-4c57-8d3a-0123456789a/recordings/" RID "/master.m3u8",
    ID "/Recordings/" RID "/master.m3u8",

    ID "/videos",
    ID "/videos/",
    ID "/videos/playlist.m3u8",
    ID "/videos/segment-1.m4s",
    ID "/videos/" RID,
    ID "/videos/" RID ".mp",
    ID "/videos/" RID ".mp4/",
    ID "/videos/" RID ".mp4.tmp",
    ID "/videos/" RID "/" RID ".mp4",
    ID "/videos/../" RID ".mp4",
    ID "/videos//" RID ".mp4",
    ID "/videos/0A1B2C3D-4e5f-4678-9abc-def012345678.mp4",
    ID "/videos/0a1b2c3d-4e5f-4678-9abc-def01234567.mp4",
    ID "/videos/0a1b2c3d-4e5f-4678-9abc-def01234567/.mp4",
    "a/videos/" RID ".mp4"
};


static const query_t  queries[] = {
    { "", -1, -1, 0, NULL },
    { "_HLS_msn=5", 5, -1, 0, NULL },
    { "_HLS_msn=5&_HLS_part=2", 5, 2, 0, NULL },
    { "_HLS_part=2&_HLS_msn=5", 5, 2, 0, NULL },
    { "token=x&_HLS_msn=05&&a=_HLS_part=9", 5, -1, 0, NULL },
    { "_HLS_skip=YES", -1, -1, 1, NULL },
    { "_HLS_skip=v2", -1, -1, 1, NULL },
    { "_HLS_skip=yes", -1, -1, 0, NULL },
    { "_HLS_skip", -1, -1, 0, NULL },
    { "_HLS_other=x", -1, -1, 0, NULL },
    { "_HLS_msnx=5", -1, -1, 0, NULL },
    { "x_HLS_msn=5", -1, -1, 0, NULL },
    { "_hls_msn=5", -1, -1, 0, NULL },
    { "_HLS_part=2", -1, 2, 0, "_HLS_part needs _HLS_msn" },
    { "_HLS_msn=", -1, -1, 0, "_HLS_msn is not a decimal integer" },
    { "_HLS_msn", -1, -1, 0, "_HLS_msn is not a decimal integer" },
    { "_HLS_msn=-1", -1, -1, 0, "_HLS_msn is not a decimal integer" },
    { "_HLS_msn=+1", -1, -1, 0, "_HLS_msn is not a decimal integer" },
    { "_HLS_msn=1.0", -1, -1, 0, "_HLS_msn is not a decimal integer" },
    { "_HLS_msn=1%30", -1, -1, 0, "_HLS_msn is not a decimal integer" },
    { "_HLS_msn=abc", -1, -1, 0, "_HLS_msn is not a decimal integer" },
    { "_HLS_msn=18446744073709551616", -1, -1, 0,
      "_HLS_msn is not a decimal integer" },
    { "_HLS_msn=5&_HLS_part=x", 5, -1, 0,
      "_HLS_part is not a decimal integer" },
    { "_HLS_msn=5&_HLS_part=4294967296", 5, -1, 0,
      "_HLS_part is not a decimal integer" },
    { "_HLS_msn=5&_HLS_msn=5", 5, -1, 0, "_HLS_msn is given twice" },
    { "_HLS_msn=5&_HLS_part=1&_HLS_part=1", 5, 1, 0,
      "_HLS_part is given twice" },
    { "_HLS_skip=YES&_HLS_skip=YES", -1, -1, 1, "_HLS_skip is given twice" }
};


static const accept_t  accepts[] = {
    { "gzip", 1 },
    { "gzip, deflate, br", 1 },
    { "deflate,GZip;q=0.5", 1 },
    { "br;q=1.0, gzip;q=0.001", 1 },
    { "*", 1 },
    { "*;q=0.1, gzip;q=0", 0 },
    { "gzip;q=0", 0 },
    { "gzip; q=0.000", 0 },
    { "*;q=0", 0 },
    { "identity", 0 },
    { "gzipped", 0 },
    { "x-gzip", 0 },
    { "", 0 },
    { ",,;=,", 0 }
};


/*
 * Segments to 9 are whole, 9 has four parts; 10 has parts 0 and 1; parts of
 * half a second, so six may be asked ahead.
 */

static const verdict_t  edge_open[] = {
    { "", NGX_LIVESTREAM_LLHLS_READY, "no directive" },
    { "_HLS_msn=0", NGX_LIVESTREAM_LLHLS_READY, "a segment long gone" },
    { "_HLS_msn=9", NGX_LIVESTREAM_LLHLS_READY, "the last segment" },
    { "_HLS_msn=10", NGX_LIVESTREAM_LLHLS_HOLD, "the open one, whole" },
    { "_HLS_msn=11", NGX_LIVESTREAM_LLHLS_HOLD, "two behind the last" },
    { "_HLS_msn=12", NGX_LIVESTREAM_LLHLS_BAD, "three behind the last" },
    { "_HLS_msn=18446744073709551615", NGX_LIVESTREAM_LLHLS_BAD,
      "the greatest number" },
    { "_HLS_msn=10&_HLS_part=0", NGX_LIVESTREAM_LLHLS_READY, "a part" },
    { "_HLS_msn=10&_HLS_part=1", NGX_LIVESTREAM_LLHLS_READY,
      "the last part" },
    { "_HLS_msn=10&_HLS_part=2", NGX_LIVESTREAM_LLHLS_HOLD,
      "the next part" },
    { "_HLS_msn=10&_HLS_part=7", NGX_LIVESTREAM_LLHLS_HOLD,
      "six parts ahead" },
    { "_HLS_msn=10&_HLS_part=8", NGX_LIVESTREAM_LLHLS_BAD,
      "seven parts ahead" },
    { "_HLS_msn=11&_HLS_part=0", NGX_LIVESTREAM_LLHLS_HOLD,
      "the first part of the next segment" },
    { "_HLS_msn=11&_HLS_part=6", NGX_LIVESTREAM_LLHLS_BAD,
      "a part far into the next segment" },
    { "_HLS_msn=12&_HLS_part=0", NGX_LIVESTREAM_LLHLS_BAD,
      "a part of a segment too far ahead" },
    { "_HLS_msn=9&_HLS_part=3", NGX_LIVESTREAM_LLHLS_READY,
      "the last part of a whole segment" },
    { "_HLS_msn=9&_HLS_part=4", NGX_LIVESTREAM_LLHLS_READY,
      "a part beyond it, that is 10.0" },
    { "_HLS_msn=9&_HLS_part=4294967295", NGX_LIVESTREAM_LLHLS_READY,
      "a part far beyond it, that is 10.0" },
    { "_HLS_msn=8&_HLS_part=1000", NGX_LIVESTREAM_LLHLS_READY,
      "a part beyond an older segment" },
    { "_HLS_part=0", NGX_LIVESTREAM_LLHLS_BAD, "a part alone" }
};


/* the same, with 10 just opened */

static const verdict_t  edge_closed[] = {
    { "_HLS_msn=9&_HLS_part=3", NGX_LIVESTREAM_LLHLS_READY,
      "the last part" },
    { "_HLS_msn=9&_HLS_part=4", NGX_LIVESTREAM_LLHLS_HOLD,
      "a part beyond it, that is 10.0" },
    { "_HLS_msn=9", NGX_LIVESTREAM_LLHLS_READY, "the last segment" },
    { "_HLS_msn=10&_HLS_part=0", NGX_LIVESTREAM_LLHLS_HOLD, "10.0" },
    { "_HLS_msn=10&_HLS_part=5", NGX_LIVESTREAM_LLHLS_HOLD,
      "six parts ahead" },
    { "_HLS_msn=10&_HLS_part=6", NGX_LIVESTREAM_LLHLS_BAD,
      "seven parts ahead" }
};


/* parts of a second or more: three ahead */

static const verdict_t  edge_long[] = {
    { "_HLS_msn=10&_HLS_part=4", NGX_LIVESTREAM_LLHLS_HOLD,
      "three long parts ahead" },
    { "_HLS_msn=10&_HLS_part=5", NGX_LIVESTREAM_LLHLS_BAD,
      "four long parts ahead" }
};


/* no low latency: an index means nothing */

static const verdict_t  edge_plain[] = {
    { "_HLS_msn=9&_HLS_part=4", NGX_LIVESTREAM_LLHLS_READY,
      "without parts: the last segment" },
    { "_HLS_msn=10&_HLS_part=99", NGX_LIVESTREAM_LLHLS_HOLD,
      "without parts: the next one" }
};


static const verdict_t  edge_ended[] = {
    { "_HLS_msn=99", NGX_LIVESTREAM_LLHLS_READY,
      "ended: a segment that will not come" },
    { "_HLS_part=1", NGX_LIVESTREAM_LLHLS_READY, "ended: nonsense" },
    { "_HLS_msn=x", NGX_LIVESTREAM_LLHLS_READY, "ended: more nonsense" }
};


static const verdict_t  edge_empty[] = {
    { "", NGX_LIVESTREAM_LLHLS_HOLD, "nothing to play yet" },
    { "_HLS_msn=99", NGX_LIVESTREAM_LLHLS_HOLD,
      "nothing to play yet, far ahead" },
    { "_HLS_part=1", NGX_LIVESTREAM_LLHLS_BAD,
      "nothing to play yet, nonsense" }
};


#define N(a)  (sizeof(a) / sizeof((a)[0]))


static void
test_paths(void)
{
    size_t                         i;
    const char                    *file;
    ngx_livestream_llhls_target_t  t;

    for (i = 0; i < N(paths); i++) {
        tap_ok(ngx_livestream_llhls_parse_path(
                   (const uint8_t *) paths[i].path, strlen(paths[i].path), &t)
               == 0
               && t.kind == paths[i].kind
               && t.number == paths[i].number
               && t.part == paths[i].part
               && t.file == NULL,
               "path %s", paths[i].path);
    }

    for (i = 0; i < N(recorded); i++) {
        file = recorded[i].path + sizeof(ID "/") - 1;

        if (recorded[i].kind != NGX_LIVESTREAM_LLHLS_VIDEO) {
            file += sizeof("recordings/") - 1;
        }

        tap_ok(ngx_livestream_llhls_parse_path(
                   (const uint8_t *) recorded[i].path,
                   strlen(recorded[i].path), &t)
               == 0
               && t.kind == recorded[i].kind
               && t.number == recorded[i].number
               && t.file_len == strlen(file)
               && memcmp(t.file, file, t.file_len) == 0,
               "recorded %s", recorded[i].path);
    }

    for (i = 0; i < N(not_paths); i++) {
        tap_is(ngx_livestream_llhls_parse_path(
                   (const uint8_t *) not_paths[i], strlen(not_paths[i]), &t),
               -1, "no path: %s", not_paths[i]);
    }

    tap_is(ngx_livestream_llhls_parse_path(
               (const uint8_t *) "a\0b/master.m3u8", 15, &t),
           -1, "no path: with NUL");

    tap_is(ngx_livestream_llhls_parse_path(
               (const uint8_t *) REC "/poster.jpg\0", sizeof(REC) + 11, &t),
           -1, "no path: with NUL at its end");

    (void) ngx_livestream_llhls_parse_path(
               (const uint8_t *) "stream/track/playlist.m3u8", 26, &t);

    tap_ok(t.id_len == 6 && memcmp(t.id, "stream", 6) == 0
           && t.track_len == 5 && memcmp(t.track, "track", 5) == 0,
           "id and track");
}


static void
test_queries(void)
{
    size_t                        i;
    const query_t                *q;
    ngx_livestream_llhls_query_t  query;

    for (i = 0; i < N(queries); i++) {
        q = &queries[i];

        ngx_livestream_llhls_parse_query((const uint8_t *) q->query,
                                         strlen(q->query), &query);

        tap_str(query.error, q->error, "query \"%s\"", q->query);

        if (q->error == NULL) {
            tap_ok(query.has_msn == (q->msn >= 0)
                   && (q->msn < 0 || query.msn == (uint64_t) q->msn)
                   && query.has_part == (q->part >= 0)
                   && (q->part < 0 || query.part == (uint32_t) q->part)
                   && query.skip == (unsigned) q->skip,
                   "values of \"%s\"", q->query);
        }
    }
}


static void
test_verdicts(const verdict_t *v, size_t n,
    const ngx_livestream_llhls_edge_t *edge)
{
    size_t                        i;
    const char                   *why;
    ngx_livestream_llhls_query_t  query;

    for (i = 0; i < n; i++) {
        ngx_livestream_llhls_parse_query((const uint8_t *) v[i].query,
                                         strlen(v[i].query), &query);
        why = NULL;

        tap_is(ngx_livestream_llhls_decide_playlist(&query, edge, &why),
               v[i].verdict, "%s", v[i].what);

        if (v[i].verdict == NGX_LIVESTREAM_LLHLS_BAD) {
            tap_ok(why != NULL, "... and why: %s", why);
        }
    }
}


static void
test_parts(ngx_livestream_llhls_edge_t *edge)
{
    tap_is(ngx_livestream_llhls_decide_part(10, 2, edge),
           NGX_LIVESTREAM_LLHLS_HOLD, "the hinted part");
    tap_is(ngx_livestream_llhls_decide_part(10, 3, edge),
           NGX_LIVESTREAM_LLHLS_GONE, "a part behind the hinted one");
    tap_is(ngx_livestream_llhls_decide_part(11, 0, edge),
           NGX_LIVESTREAM_LLHLS_GONE, "a part of the next segment");
    tap_is(ngx_livestream_llhls_decide_part(9, 4, edge),
           NGX_LIVESTREAM_LLHLS_GONE, "a hint that was given up");

    edge->ended = 1;
    tap_is(ngx_livestream_llhls_decide_part(10, 2, edge),
           NGX_LIVESTREAM_LLHLS_GONE, "nothing comes behind the end");
}


int
main(void)
{
    size_t                       i;
    ngx_livestream_llhls_edge_t  edge;

    test_paths();
    test_queries();

    for (i = 0; i < N(accepts); i++) {
        tap_is(ngx_livestream_llhls_accept_gzip(
                   (const uint8_t *) accepts[i].value,
                   strlen(accepts[i].value)),
               accepts[i].gzip, "Accept-Encoding: %s", accepts[i].value);
    }

    memset(&edge, 0, sizeof(edge));

    edge.msn = 10;
    edge.parts = 2;
    edge.last = 4;
    edge.part_target = 500000;
    edge.playable = 1;

    test_verdicts(edge_open, N(edge_open), &edge);

    edge.parts = 0;
    test_verdicts(edge_closed, N(edge_closed), &edge);

    edge.parts = 2;
    edge.part_target = 1000000;
    test_verdicts(edge_long, N(edge_long), &edge);

    edge.part_target = 0;
    edge.last = 0;
    test_verdicts(edge_plain, N(edge_plain), &edge);

    edge.part_target = 500000;
    test_parts(&edge);
    test_verdicts(edge_ended, N(edge_ended), &edge);

    edge.playable = 0;
    edge.ended = 0;
    test_verdicts(edge_empty, N(edge_empty), &edge);

    return tap_done();
}

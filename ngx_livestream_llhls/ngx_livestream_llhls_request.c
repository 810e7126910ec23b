
/*
 * Copyright (C) nginx-livestream contributors
 *
 * Requests for playlists and media, parsed; the picture of a URL:
 *
 *     /streams/ | ID / TRACK / playlist.m3u8 ? _HLS_msn=12&_HLS_part=3
 *     location    \___________ path _______/   \______ query _______/
 *
 *                 ID / recordings / RID / TRACK / segment-12.m4s
 *                 ID / videos / VIDEOID.mp4
 *
 * A name has one spelling: a number in a path has no sign and no leading
 * zero, so that caches see one URL for one thing.  Of what was recorded, where
 * the path is the file's as well, ids are UUIDs in lower case.
 *
 * And what a request waits for, with the edge of the playlist drawn as
 *
 *     | segment msn - 2 | segment msn - 1 | part 0 | .. | part parts-1 | hint
 *                        `last' parts        open segment: msn
 *
 * Any thread; nothing is allocated.
 */


#include <string.h>

#include "ngx_livestream_llhls_request.h"


/* how far beyond the last part a client may ask: us, and parts */
#define NGX_LIVESTREAM_LLHLS_ADVANCE    3000000
#define NGX_LIVESTREAM_LLHLS_ADVANCE_N  3


typedef struct {
    const char                  *prefix;
    const char                  *suffix;    /* NULL: there is no number */
    ngx_livestream_llhls_kind_e  kind;
} ngx_livestream_llhls_file_t;


typedef void (*ngx_livestream_llhls_directive_pt)(const uint8_t *p,
    size_t len, ngx_livestream_llhls_query_t *query);


typedef struct {
    const char                         *name;
    const char                         *twice;
    ngx_livestream_llhls_directive_pt   handler;
} ngx_livestream_llhls_directive_t;


static int ngx_livestream_llhls_recording(const uint8_t *p, size_t len,
    ngx_livestream_llhls_target_t *target);
static int ngx_livestream_llhls_video(const uint8_t *p, size_t len,
    ngx_livestream_llhls_target_t *target);
static int ngx_livestream_llhls_uuid(const uint8_t *p, size_t len);
static size_t ngx_livestream_llhls_name(const uint8_t *p, size_t len,
    size_t max);
static int ngx_livestream_llhls_file(
    const ngx_livestream_llhls_file_t *files, const uint8_t *p, size_t len,
    ngx_livestream_llhls_target_t *target);
static int ngx_livestream_llhls_numbers(const uint8_t *p, size_t len,
    ngx_livestream_llhls_target_t *target);
static size_t ngx_livestream_llhls_number(const uint8_t *p, size_t len,
    uint64_t *n);
static void ngx_livestream_llhls_query_msn(const uint8_t *p, size_t len,
    ngx_livestream_llhls_query_t *query);
static void ngx_livestream_llhls_query_part(const uint8_t *p, size_t len,
    ngx_livestream_llhls_query_t *query);
static void ngx_livestream_llhls_query_skip(const uint8_t *p, size_t len,
    ngx_livestream_llhls_query_t *query);
static int ngx_livestream_llhls_coding(const uint8_t *p, size_t len,
    int *any);
static int ngx_livestream_llhls_beyond(uint64_t ahead,
    const ngx_livestream_llhls_edge_t *edge);


/* in the folders of a stream that is live, of a recording, of a track */

static const ngx_livestream_llhls_file_t  ngx_livestream_llhls_live[] = {
    { "master.m3u8", NULL, NGX_LIVESTREAM_LLHLS_MULTIVARIANT },
    { "thumbnail.jpg", NULL, NGX_LIVESTREAM_LLHLS_THUMBNAIL },
    { NULL, NULL, 0 }
};


static const ngx_livestream_llhls_file_t  ngx_livestream_llhls_recorded[] = {
    { "master.m3u8", NULL, NGX_LIVESTREAM_LLHLS_MULTIVARIANT },
    { "poster.jpg", NULL, NGX_LIVESTREAM_LLHLS_POSTER },
    { "storyboard.vtt", NULL, NGX_LIVESTREAM_LLHLS_STORYBOARD },
    { "storyboard-", ".jpg", NGX_LIVESTREAM_LLHLS_SHEET },
    { NULL, NULL, 0 }
};


static const ngx_livestream_llhls_file_t  ngx_livestream_llhls_track[] = {
    { "part-", ".m4s", NGX_LIVESTREAM_LLHLS_PART },
    { "segment-", ".m4s", NGX_LIVESTREAM_LLHLS_SEGMENT },
    { "playlist.m3u8", NULL, NGX_LIVESTREAM_LLHLS_PLAYLIST },
    { "init-", ".mp4", NGX_LIVESTREAM_LLHLS_INIT },
    { NULL, NULL, 0 }
};


static const ngx_livestream_llhls_directive_t
    ngx_livestream_llhls_directives[] =
{
    { "_HLS_msn",  "_HLS_msn is given twice",
      ngx_livestream_llhls_query_msn },

    { "_HLS_part", "_HLS_part is given twice",
      ngx_livestream_llhls_query_part },

    { "_HLS_skip", "_HLS_skip is given twice",
      ngx_livestream_llhls_query_skip }
};


#define NGX_LIVESTREAM_LLHLS_NDIRECTIVES                                     \
    (sizeof(ngx_livestream_llhls_directives)                                 \
     / sizeof(ngx_livestream_llhls_directives[0]))


int
ngx_livestream_llhls_parse_path(const uint8_t *p, size_t len,
    ngx_livestream_llhls_target_t *target)
{
    size_t  n;

    memset(target, 0, sizeof(ngx_livestream_llhls_target_t));

    n = ngx_livestream_llhls_name(p, len, NGX_LIVESTREAM_LLHLS_ID_MAX);
    if (n == 0) {
        return -1;
    }

    target->id = p;
    target->id_len = n;

    p += n + 1;
    len -= n + 1;

    n = ngx_livestream_llhls_name(p, len, NGX_LIVESTREAM_LLHLS_TRACK_MAX);
    if (n == 0) {
        return ngx_livestream_llhls_file(ngx_livestream_llhls_live, p, len,
                                         target);
    }

    /* these two are no tracks, whatever follows */

    if (n == 10 && memcmp(p, "recordings", 10) == 0) {
        return ngx_livestream_llhls_recording(p + 11, len - 11, target);
    }

    if (n == 6 && memcmp(p, "videos", 6) == 0) {
        return ngx_livestream_llhls_video(p, len, target);
    }

    target->track = p;
    target->track_len = n;

    return ngx_livestream_llhls_file(ngx_livestream_llhls_track, p + n + 1,
                                     len - n - 1, target);
}


/* RID/..., where there are no parts */

static int
ngx_livestream_llhls_recording(const uint8_t *p, size_t len,
    ngx_livestream_llhls_target_t *target)
{
    size_t  n;

    target->file = p;
    target->file_len = len;

    n = ngx_livestream_llhls_name(p, len, NGX_LIVESTREAM_LLHLS_ID_MAX);

    if (ngx_livestream_llhls_uuid(target->id, target->id_len) != 0
        || ngx_livestream_llhls_uuid(p, n) != 0)
    {
        return -1;
    }

    p += n + 1;
    len -= n + 1;

    n = ngx_livestream_llhls_name(p, len, NGX_LIVESTREAM_LLHLS_TRACK_MAX);
    if (n == 0) {
        return ngx_livestream_llhls_file(ngx_livestream_llhls_recorded, p, len,
                                         target);
    }

    target->track = p;
    target->track_len = n;

    if (ngx_livestream_llhls_file(ngx_livestream_llhls_track, p + n + 1,
                                  len - n - 1, target)
        != 0)
    {
        return -1;
    }

    return (target->kind == NGX_LIVESTREAM_LLHLS_PART) ? -1 : 0;
}


/* videos/VIDEOID.mp4 */

static int
ngx_livestream_llhls_video(const uint8_t *p, size_t len,
    ngx_livestream_llhls_target_t *target)
{
    target->kind = NGX_LIVESTREAM_LLHLS_VIDEO;
    target->file = p;
    target->file_len = len;

    if (len != sizeof("videos/.mp4") - 1 + NGX_LIVESTREAM_LLHLS_ID_MAX
        || memcmp(p + len - 4, ".mp4", 4) != 0)
    {
        return -1;
    }

    if (ngx_livestream_llhls_uuid(target->id, target->id_len) != 0) {
        return -1;
    }

    return ngx_livestream_llhls_uuid(p + sizeof("videos/") - 1,
                                     NGX_LIVESTREAM_LLHLS_ID_MAX);
}


/* 0: it is one, in lower case; or -1 */

static int
ngx_livestream_llhls_uuid(const uint8_t *p, size_t len)
{
    size_t  i;

    if (len != NGX_LIVESTREAM_LLHLS_ID_MAX) {
        return -1;
    }

    for (i = 0; i < len; i++) {

        if (i == 8 || i == 13 || i == 18 || i == 23) {
            if (p[i] != '-') {
                return -1;
            }

            continue;
        }

        if (!((p[i] >= '0' && p[i] <= '9') || (p[i] >= 'a' && p[i] <= 'f'))) {
            return -1;
        }
    }

    return 0;
}


/* the length of a name that is followed by a slash, or 0 */

static size_t
ngx_livestream_llhls_name(const uint8_t *p, size_t len, size_t max)
{
    size_t   i;
    uint8_t  ch;

    for (i = 0; i < len && i <= max; i++) {
        ch = p[i];

        if (ch == '/') {
            return i;
        }

        if ((ch >= '0' && ch <= '9') || (ch >= 'a' && ch <= 'z')
            || (ch >= 'A' && ch <= 'Z') || ch == '-' || ch == '_')
        {
            continue;
        }

        break;
    }

    return 0;
}


static int
ngx_livestream_llhls_file(const ngx_livestream_llhls_file_t *files,
    const uint8_t *p, size_t len, ngx_livestream_llhls_target_t *target)
{
    size_t                              prefix, suffix;
    const ngx_livestream_llhls_file_t  *file;

    for (file = files; file->prefix; file++) {

        prefix = strlen(file->prefix);

        if (len < prefix || memcmp(p, file->prefix, prefix) != 0) {
            continue;
        }

        target->kind = file->kind;

        if (file->suffix == NULL) {
            return (len == prefix) ? 0 : -1;
        }

        suffix = strlen(file->suffix);

        if (len <= prefix + suffix
            || memcmp(p + len - suffix, file->suffix, suffix) != 0)
        {
            return -1;
        }

        return ngx_livestream_llhls_numbers(p + prefix, len - prefix - suffix,
                                            target);
    }

    return -1;
}


/* N; of a part: N.M */

static int
ngx_livestream_llhls_numbers(const uint8_t *p, size_t len,
    ngx_livestream_llhls_target_t *target)
{
    size_t    n;
    uint64_t  part;

    n = ngx_livestream_llhls_number(p, len, &target->number);

    if (n == 0 || (n > 1 && p[0] == '0')) {
        return -1;
    }

    if (target->kind != NGX_LIVESTREAM_LLHLS_PART) {
        return (n == len) ? 0 : -1;
    }

    if (n == len || p[n] != '.') {
        return -1;
    }

    p += n + 1;
    len -= n + 1;

    n = ngx_livestream_llhls_number(p, len, &part);

    if (n == 0 || n != len || (n > 1 && p[0] == '0') || part > UINT32_MAX) {
        return -1;
    }

    target->part = part;

    return 0;
}


/* how many digits the number has; 0: none, or it does not fit */

static size_t
ngx_livestream_llhls_number(const uint8_t *p, size_t len, uint64_t *n)
{
    size_t    i;
    uint64_t  value;

    value = 0;

    for (i = 0; i < len && p[i] >= '0' && p[i] <= '9'; i++) {

        if (value > (UINT64_MAX - (p[i] - '0')) / 10) {
            return 0;
        }

        value = value * 10 + (p[i] - '0');
    }

    *n = value;

    return i;
}


void
ngx_livestream_llhls_parse_query(const uint8_t *p, size_t len,
    ngx_livestream_llhls_query_t *query)
{
    size_t                                   n, name;
    unsigned                                 i, seen;
    const uint8_t                           *end, *next, *value;
    const ngx_livestream_llhls_directive_t  *d;

    memset(query, 0, sizeof(ngx_livestream_llhls_query_t));

    seen = 0;

    for (end = p + len; p < end; p = next + 1) {

        next = memchr(p, '&', end - p);
        if (next == NULL) {
            next = end;
        }

        value = memchr(p, '=', next - p);
        name = (value ? value : next) - p;

        for (i = 0; i < NGX_LIVESTREAM_LLHLS_NDIRECTIVES; i++) {

            d = &ngx_livestream_llhls_directives[i];
            n = strlen(d->name);

            if (name != n || memcmp(p, d->name, n) != 0) {
                continue;
            }

            if (seen & (1u << i)) {
                query->error = query->error ? query->error : d->twice;
                break;
            }

            seen |= 1u << i;
            value = value ? value + 1 : next;

            d->handler(value, next - value, query);
            break;
        }

        if (next == end) {
            break;
        }
    }

    if (query->error == NULL && query->has_part && !query->has_msn) {
        query->error = "_HLS_part needs _HLS_msn";
    }
}


static void
ngx_livestream_llhls_query_msn(const uint8_t *p, size_t len,
    ngx_livestream_llhls_query_t *query)
{
    query->has_msn = 1;

    if (len == 0 || ngx_livestream_llhls_number(p, len, &query->msn) != len) {
        query->error = "_HLS_msn is not a decimal integer";
    }
}


static void
ngx_livestream_llhls_query_part(const uint8_t *p, size_t len,
    ngx_livestream_llhls_query_t *query)
{
    uint64_t  n;

    query->has_part = 1;

    if (len == 0 || ngx_livestream_llhls_number(p, len, &n) != len
        || n > UINT32_MAX)
    {
        query->error = "_HLS_part is not a decimal integer";
        return;
    }

    query->part = n;
}


/* nothing but these two asks for a delta: others get the whole playlist */

static void
ngx_livestream_llhls_query_skip(const uint8_t *p, size_t len,
    ngx_livestream_llhls_query_t *query)
{
    query->skip = (len == 3 && memcmp(p, "YES", 3) == 0)
                  || (len == 2 && memcmp(p, "v2", 2) == 0);
}


int
ngx_livestream_llhls_accept_gzip(const uint8_t *p, size_t len)
{
    int             any, gzip, rc;
    const uint8_t  *end, *next;

    any = 0;
    gzip = -1;

    for (end = p + len; p < end; p = next + 1) {

        next = memchr(p, ',', end - p);
        if (next == NULL) {
            next = end;
        }

        rc = ngx_livestream_llhls_coding(p, next - p, &any);

        if (rc >= 0) {
            gzip = rc;
        }

        if (next == end) {
            break;
        }
    }

    return (gzip >= 0) ? gzip : any;
}


/* "gzip;q=0.5": 1 or 0 if it speaks of gzip, else -1; "*" goes to any */

static int
ngx_livestream_llhls_coding(const uint8_t *p, size_t len, int *any)
{
    int             ok;
    size_t          name;
    const uint8_t  *end, *q;

    end = p + len;

    while (p < end && (*p == ' ' || *p == '\t')) {
        p++;
    }

    for (q = p; q < end && *q != ';' && *q != ' ' && *q != '\t'; q++) {
        /* void */
    }

    name = q - p;

    /* refused when the weight has no digit but zeros */

    ok = 1;

    while (q < end && *q != '=') {
        q++;
    }

    if (q < end) {
        for (ok = 0, q++; q < end && *q != ';'; q++) {
            if (*q >= '1' && *q <= '9') {
                ok = 1;
            }
        }
    }

    if (name == 1 && *p == '*') {
        *any = ok;
        return -1;
    }

    if (name == 4
        && (p[0] | 0x20) == 'g' && (p[1] | 0x20) == 'z'
        && (p[2] | 0x20) == 'i' && (p[3] | 0x20) == 'p')
    {
        return ok;
    }

    return -1;
}


ngx_livestream_llhls_verdict_e
ngx_livestream_llhls_decide_playlist(const ngx_livestream_llhls_query_t *query,
    const ngx_livestream_llhls_edge_t *edge, const char **why)
{
    uint64_t  ahead;

    if (edge->ended) {
        return edge->playable ? NGX_LIVESTREAM_LLHLS_READY
                              : NGX_LIVESTREAM_LLHLS_GONE;
    }

    if (query->error) {
        *why = query->error;
        return NGX_LIVESTREAM_LLHLS_BAD;
    }

    if (!edge->playable) {
        return NGX_LIVESTREAM_LLHLS_HOLD;
    }

    if (!query->has_msn) {
        return NGX_LIVESTREAM_LLHLS_READY;
    }

    /* the last segment that is whole is msn - 1 */

    if (query->msn > edge->msn && query->msn - edge->msn > 1) {
        *why = "_HLS_msn is too far ahead";
        return NGX_LIVESTREAM_LLHLS_BAD;
    }

    /* without parts their index means nothing */

    if (!query->has_part || edge->part_target == 0) {
        return (query->msn < edge->msn) ? NGX_LIVESTREAM_LLHLS_READY
                                        : NGX_LIVESTREAM_LLHLS_HOLD;
    }

    if (query->msn < edge->msn) {

        if (edge->msn - query->msn > 1 || query->part < edge->last) {
            return NGX_LIVESTREAM_LLHLS_READY;
        }

        /* beyond the parts of its segment: the first one of the next */

        return edge->parts ? NGX_LIVESTREAM_LLHLS_READY
                           : NGX_LIVESTREAM_LLHLS_HOLD;
    }

    ahead = (uint64_t) query->part + 1;

    if (query->msn == edge->msn) {

        if (query->part < edge->parts) {
            return NGX_LIVESTREAM_LLHLS_READY;
        }

        ahead -= edge->parts;
    }

    if (ngx_livestream_llhls_beyond(ahead, edge)) {
        *why = "_HLS_part is too far ahead";
        return NGX_LIVESTREAM_LLHLS_BAD;
    }

    return NGX_LIVESTREAM_LLHLS_HOLD;
}


/*
 * the Advance Part Limit: three divided by PART-TARGET where this is below
 * one second, else three
 */

static int
ngx_livestream_llhls_beyond(uint64_t ahead,
    const ngx_livestream_llhls_edge_t *edge)
{
    if (edge->part_target >= 1000000) {
        return ahead > NGX_LIVESTREAM_LLHLS_ADVANCE_N;
    }

    return ahead * edge->part_target > NGX_LIVESTREAM_LLHLS_ADVANCE;
}


ngx_livestream_llhls_verdict_e
ngx_livestream_llhls_decide_part(uint64_t msn, uint32_t part,
    const ngx_livestream_llhls_edge_t *edge)
{
    if (edge->ended || edge->part_target == 0
        || msn != edge->msn || part != edge->parts)
    {
        return NGX_LIVESTREAM_LLHLS_GONE;
    }

    return NGX_LIVESTREAM_LLHLS_HOLD;
}


/*
 * Copyright (C) nginx-livestream contributors
 *
 * Playlists.  A media playlist is written from a view of its track, from the
 * oldest segment to the next part:
 *
 *     header      VERSION TARGETDURATION SERVER-CONTROL PART-INF ..., or
 *                 PLAYLIST-TYPE instead of the last two
 *     SKIP        in a delta update, instead of the oldest segments
 *     segment     DISCONTINUITY MAP PROGRAM-DATE-TIME, PARTs, GAP EXTINF URI
 *       ...
 *     open one    DISCONTINUITY MAP PROGRAM-DATE-TIME, PARTs
 *     tail        PRELOAD-HINT RENDITION-REPORTs, or ENDLIST
 *
 * What belongs to the open segment is written with its first part, not
 * before: until then it may still change, and a playlist only ever grows.
 *
 * Whoever has a view may call this, in any thread.
 */


#include "ngx_livestream.h"
#include "ngx_livestream_llhls_playlist.h"


#define NGX_LIVESTREAM_LLHLS_INT_LEN    (sizeof("18446744073709551615") - 1)
#define NGX_LIVESTREAM_LLHLS_TIME_LEN                                        \
    (NGX_LIVESTREAM_LLHLS_INT_LEN + sizeof(".000000") - 1)
#define NGX_LIVESTREAM_LLHLS_DATE_LEN                                        \
    (sizeof("2026-01-31T12:00:00.000Z") - 1)


/* the most that one of them takes; the numbers are their arguments' */

#define NGX_LIVESTREAM_LLHLS_HEADER_LEN                                      \
    (sizeof("#EXTM3U\n"                                                      \
            "#EXT-X-VERSION:6\n"                                             \
            "#EXT-X-TARGETDURATION:\n"                                       \
            "#EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,PART-HOLD-BACK=,"    \
            "CAN-SKIP-UNTIL=\n"                                              \
            "#EXT-X-PART-INF:PART-TARGET=\n"                                 \
            "#EXT-X-MEDIA-SEQUENCE:\n"                                       \
            "#EXT-X-DISCONTINUITY-SEQUENCE:\n"                               \
            "#EXT-X-SKIP:SKIPPED-SEGMENTS=\n")                               \
     + 4 * NGX_LIVESTREAM_LLHLS_INT_LEN + 3 * NGX_LIVESTREAM_LLHLS_TIME_LEN)

#define NGX_LIVESTREAM_LLHLS_SEGMENT_LEN                                     \
    (sizeof("#EXT-X-DISCONTINUITY\n"                                         \
            "#EXT-X-MAP:URI=\"init-.mp4\"\n"                                 \
            "#EXT-X-PROGRAM-DATE-TIME:\n"                                    \
            "#EXT-X-GAP\n"                                                   \
            "#EXTINF:,\n"                                                    \
            "segment-.m4s\n")                                                \
     + 2 * NGX_LIVESTREAM_LLHLS_INT_LEN + NGX_LIVESTREAM_LLHLS_TIME_LEN      \
     + NGX_LIVESTREAM_LLHLS_DATE_LEN)

#define NGX_LIVESTREAM_LLHLS_PART_LEN                                        \
    (sizeof("#EXT-X-PRELOAD-HINT:TYPE=PART,DURATION=,URI=\"part-..m4s\","    \
            "INDEPENDENT=YES,GAP=YES\n")                                     \
     + 2 * NGX_LIVESTREAM_LLHLS_INT_LEN + NGX_LIVESTREAM_LLHLS_TIME_LEN)

#define NGX_LIVESTREAM_LLHLS_REPORT_LEN                                      \
    (sizeof("#EXT-X-RENDITION-REPORT:URI=\"..//playlist.m3u8\","             \
            "LAST-MSN=,LAST-PART=\n")                                        \
     + NGX_LIVESTREAM_TRACK_LEN + 2 * NGX_LIVESTREAM_LLHLS_INT_LEN)

#define NGX_LIVESTREAM_LLHLS_RENDITION_LEN                                   \
    (sizeof("#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID=\"audio\",NAME=\"\","          \
            "DEFAULT=YES,AUTOSELECT=YES,CHANNELS=\"\",URI=\"\"\n"            \
            "#EXT-X-STREAM-INF:BANDWIDTH=,AVERAGE-BANDWIDTH=,CODECS=\",\","  \
            "RESOLUTION=x,FRAME-RATE=,VIDEO-RANGE=SDR,AUDIO=\"audio\","      \
            "CLOSED-CAPTIONS=NONE\n"                                         \
            "/playlist.m3u8\n")                                              \
     + 2 * NGX_LIVESTREAM_CODECS_LEN + 3 * NGX_LIVESTREAM_TRACK_LEN          \
     + 5 * NGX_LIVESTREAM_LLHLS_INT_LEN + NGX_LIVESTREAM_LLHLS_TIME_LEN)


/* transfer characteristics */
#define NGX_LIVESTREAM_LLHLS_PQ    16
#define NGX_LIVESTREAM_LLHLS_HLG   18


#define ngx_livestream_llhls_text(p, s)  ngx_cpymem(p, s, sizeof(s) - 1)


static u_char *ngx_livestream_llhls_header_write(u_char *p,
    const ngx_livestream_llhls_media_t *m);
static u_char *ngx_livestream_llhls_control_write(u_char *p,
    const ngx_livestream_llhls_media_t *m);
static u_char *ngx_livestream_llhls_opening_write(u_char *p,
    const ngx_livestream_segment_t *s, const ngx_livestream_segment_t *before);
static u_char *ngx_livestream_llhls_parts_write(u_char *p,
    const ngx_livestream_llhls_media_t *m, uint64_t msn, ngx_uint_t *n);
static u_char *ngx_livestream_llhls_closing_write(u_char *p,
    const ngx_livestream_segment_t *s);
static u_char *ngx_livestream_llhls_tail_write(u_char *p,
    const ngx_livestream_llhls_media_t *m);
static u_char *ngx_livestream_llhls_audio_write(u_char *p,
    const ngx_livestream_llhls_rendition_t *r, ngx_uint_t first);
static u_char *ngx_livestream_llhls_variant_write(u_char *p,
    const ngx_livestream_llhls_rendition_t *r,
    const ngx_livestream_llhls_rendition_t *audio, ngx_uint_t hdr);
static u_char *ngx_livestream_llhls_range_write(u_char *p, uint32_t transfer);
static ngx_uint_t ngx_livestream_llhls_hdr(uint32_t transfer);
static void ngx_livestream_llhls_sort(ngx_livestream_llhls_rendition_t *r,
    ngx_uint_t n);
static ngx_uint_t ngx_livestream_llhls_before(
    const ngx_livestream_llhls_rendition_t *a,
    const ngx_livestream_llhls_rendition_t *b);
static u_char *ngx_livestream_llhls_string(u_char *p, const void *s);
static u_char *ngx_livestream_llhls_int(u_char *p, uint64_t n);
static u_char *ngx_livestream_llhls_time(u_char *p, uint64_t us);


ngx_uint_t
ngx_livestream_llhls_skippable(const ngx_livestream_view_t *view,
    uint32_t target_duration)
{
    uint64_t    boundary, behind;
    ngx_uint_t  n;

    /* a segment is skipped if all of it is further back than the boundary */

    boundary = (uint64_t) target_duration * 6 * 1000000;
    behind = 0;

    for (n = view->nsegments; n > 0; n--) {
        if (behind > boundary) {
            break;
        }

        behind += view->segments[n - 1].duration;
    }

    return n;
}


size_t
ngx_livestream_llhls_media_get_size(const ngx_livestream_llhls_media_t *m)
{
    return NGX_LIVESTREAM_LLHLS_HEADER_LEN
           + (m->view->nsegments - m->skipped + 1)
             * NGX_LIVESTREAM_LLHLS_SEGMENT_LEN
           + (m->view->nparts + 1) * NGX_LIVESTREAM_LLHLS_PART_LEN
           + m->nreports * NGX_LIVESTREAM_LLHLS_REPORT_LEN
           + sizeof("#EXT-X-ENDLIST\n");
}


u_char *
ngx_livestream_llhls_media_write(u_char *p,
    const ngx_livestream_llhls_media_t *m)
{
    ngx_uint_t                       i, part;
    const ngx_livestream_state_t    *state;
    const ngx_livestream_segment_t  *s, *before;

    state = &m->view->state;
    before = NULL;
    part = 0;

    p = ngx_livestream_llhls_header_write(p, m);

    for (i = 0; i < m->view->nsegments; i++, before = s) {

        s = &m->view->segments[i];

        if (i < m->skipped) {
            continue;
        }

        p = ngx_livestream_llhls_opening_write(p, s, before);
        p = ngx_livestream_llhls_parts_write(p, m, s->msn, &part);
        p = ngx_livestream_llhls_closing_write(p, s);
    }

    if (state->ended) {
        return ngx_livestream_llhls_text(p, "#EXT-X-ENDLIST\n");
    }

    if (m->part_target) {

        if (state->open.nparts) {
            p = ngx_livestream_llhls_opening_write(p, &state->open, before);
            p = ngx_livestream_llhls_parts_write(p, m, state->open.msn, &part);
        }

        p = ngx_livestream_llhls_tail_write(p, m);
    }

    return p;
}


static u_char *
ngx_livestream_llhls_header_write(u_char *p,
    const ngx_livestream_llhls_media_t *m)
{
    const ngx_livestream_state_t  *state;

    state = &m->view->state;

    p = ngx_livestream_llhls_text(p, "#EXTM3U\n#EXT-X-VERSION:");

    /* 6 for EXT-X-MAP, 9 for EXT-X-SKIP */
    *p++ = m->skipped ? '9' : '6';

    p = ngx_livestream_llhls_text(p, "\n#EXT-X-TARGETDURATION:");
    p = ngx_livestream_llhls_int(p, m->target_duration);
    *p++ = '\n';

    if (m->vod) {
        p = ngx_livestream_llhls_text(p, "#EXT-X-PLAYLIST-TYPE:VOD\n");

    } else {
        p = ngx_livestream_llhls_control_write(p, m);
    }

    p = ngx_livestream_llhls_text(p, "#EXT-X-MEDIA-SEQUENCE:");
    p = ngx_livestream_llhls_int(p, state->seg_first);

    p = ngx_livestream_llhls_text(p, "\n#EXT-X-DISCONTINUITY-SEQUENCE:");
    p = ngx_livestream_llhls_int(p, state->discontinuity);

    if (m->skipped) {
        p = ngx_livestream_llhls_text(p, "\n#EXT-X-SKIP:SKIPPED-SEGMENTS=");
        p = ngx_livestream_llhls_int(p, m->skipped);
    }

    *p++ = '\n';

    return p;
}


static u_char *
ngx_livestream_llhls_control_write(u_char *p,
    const ngx_livestream_llhls_media_t *m)
{
    uint64_t  hold_back;

    p = ngx_livestream_llhls_text(p,
                            "#EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,");

    if (m->part_target) {

        /* whole milliseconds, and enough for a player that does the sum in
         * floating point, where 3 * 0.2 is more than 0.6 */

        hold_back = ((uint64_t) m->part_target * 3 + 999) / 1000 * 1000;

        if ((double) hold_back / 1000000
            < (double) m->part_target / 1000000 * 3)
        {
            hold_back += 1000;
        }

        p = ngx_livestream_llhls_text(p, "PART-HOLD-BACK=");

    } else {
        hold_back = (uint64_t) m->target_duration * 3 * 1000000;
        p = ngx_livestream_llhls_text(p, "HOLD-BACK=");
    }

    p = ngx_livestream_llhls_time(p, hold_back);

    p = ngx_livestream_llhls_text(p, ",CAN-SKIP-UNTIL=");
    p = ngx_livestream_llhls_time(p, (uint64_t) m->target_duration
                                     * 6 * 1000000);
    *p++ = '\n';

    if (m->part_target) {
        p = ngx_livestream_llhls_text(p, "#EXT-X-PART-INF:PART-TARGET=");
        p = ngx_livestream_llhls_time(p, m->part_target);
        *p++ = '\n';
    }

    return p;
}


/* what is written before a segment's parts */

static u_char *
ngx_livestream_llhls_opening_write(u_char *p,
    const ngx_livestream_segment_t *s, const ngx_livestream_segment_t *before)
{
    if (s->flags & NGX_LIVESTREAM_DISCONTINUITY) {
        p = ngx_livestream_llhls_text(p, "#EXT-X-DISCONTINUITY\n");
    }

    if (before == NULL || before->init != s->init) {
        p = ngx_livestream_llhls_text(p, "#EXT-X-MAP:URI=\"init-");
        p = ngx_livestream_llhls_int(p, s->init);
        p = ngx_livestream_llhls_text(p, ".mp4\"\n");
    }

    p = ngx_livestream_llhls_text(p, "#EXT-X-PROGRAM-DATE-TIME:");
    p = ngx_livestream_rfc3339(p, s->pdt);
    *p++ = '\n';

    return p;
}


/*
 * The parts of msn; *n goes on from one segment to the next.  An ended
 * playlist has none: some players never fetch a part that came together with
 * the end, and then wait for it.
 */

static u_char *
ngx_livestream_llhls_parts_write(u_char *p,
    const ngx_livestream_llhls_media_t *m, uint64_t msn, ngx_uint_t *n)
{
    const ngx_livestream_part_t  *part;

    if (m->part_target == 0 || m->view->state.ended) {
        return p;
    }

    for ( /* void */ ; *n < m->view->nparts; (*n)++) {

        part = &m->view->parts[*n];

        if (part->msn < msn) {
            continue;
        }

        if (part->msn > msn) {
            break;
        }

        p = ngx_livestream_llhls_text(p, "#EXT-X-PART:DURATION=");
        p = ngx_livestream_llhls_time(p, part->duration);
        p = ngx_livestream_llhls_text(p, ",URI=\"part-");
        p = ngx_livestream_llhls_int(p, msn);
        *p++ = '.';
        p = ngx_livestream_llhls_int(p, part->index);
        p = ngx_livestream_llhls_text(p, ".m4s\"");

        if (part->flags & NGX_LIVESTREAM_INDEPENDENT) {
            p = ngx_livestream_llhls_text(p, ",INDEPENDENT=YES");
        }

        if (part->flags & NGX_LIVESTREAM_GAP) {
            p = ngx_livestream_llhls_text(p, ",GAP=YES");
        }

        *p++ = '\n';
    }

    return p;
}


static u_char *
ngx_livestream_llhls_closing_write(u_char *p,
    const ngx_livestream_segment_t *s)
{
    if (s->flags & NGX_LIVESTREAM_GAP) {
        p = ngx_livestream_llhls_text(p, "#EXT-X-GAP\n");
    }

    p = ngx_livestream_llhls_text(p, "#EXTINF:");
    p = ngx_livestream_llhls_time(p, s->duration);
    p = ngx_livestream_llhls_text(p, ",\nsegment-");
    p = ngx_livestream_llhls_int(p, s->msn);

    return ngx_livestream_llhls_text(p, ".m4s\n");
}


static u_char *
ngx_livestream_llhls_tail_write(u_char *p,
    const ngx_livestream_llhls_media_t *m)
{
    ngx_uint_t                            i;
    const ngx_livestream_segment_t       *open;
    const ngx_livestream_llhls_report_t  *report;

    open = &m->view->state.open;

    p = ngx_livestream_llhls_text(p,
                            "#EXT-X-PRELOAD-HINT:TYPE=PART,URI=\"part-");
    p = ngx_livestream_llhls_int(p, open->msn);
    *p++ = '.';
    p = ngx_livestream_llhls_int(p, open->nparts);
    p = ngx_livestream_llhls_text(p, ".m4s\"\n");

    for (i = 0; i < m->nreports; i++) {

        report = &m->reports[i];

        p = ngx_livestream_llhls_text(p, "#EXT-X-RENDITION-REPORT:URI=\"../");
        p = ngx_livestream_llhls_string(p, report->track);
        p = ngx_livestream_llhls_text(p, "/playlist.m3u8\",LAST-MSN=");
        p = ngx_livestream_llhls_int(p, report->msn);
        p = ngx_livestream_llhls_text(p, ",LAST-PART=");
        p = ngx_livestream_llhls_int(p, report->part);
        *p++ = '\n';
    }

    return p;
}


size_t
ngx_livestream_llhls_multivariant_get_size(
    const ngx_livestream_llhls_rendition_t *r, ngx_uint_t n)
{
    (void) r;

    return sizeof("#EXTM3U\n#EXT-X-VERSION:4\n")
           + n * NGX_LIVESTREAM_LLHLS_RENDITION_LEN;
}


u_char *
ngx_livestream_llhls_multivariant_write(u_char *p,
    ngx_livestream_llhls_rendition_t *r, ngx_uint_t n)
{
    ngx_uint_t                               i, nvideo, hdr;
    const ngx_livestream_llhls_rendition_t  *audio;

    ngx_livestream_llhls_sort(r, n);

    hdr = 0;

    for (nvideo = 0; nvideo < n; nvideo++) {
        if (r[nvideo].media != NGX_LIVESTREAM_VIDEO) {
            break;
        }

        hdr |= ngx_livestream_llhls_hdr(r[nvideo].transfer);
    }

    audio = (nvideo < n) ? &r[nvideo] : NULL;

    /* 4 is what is asked of a playlist with audio groups */
    p = ngx_livestream_llhls_text(p, "#EXTM3U\n#EXT-X-VERSION:4\n");

    if (nvideo == 0) {

        for (i = 0; i < n; i++) {
            p = ngx_livestream_llhls_variant_write(p, &r[i], NULL, 0);
        }

        return p;
    }

    for (i = nvideo; i < n; i++) {
        p = ngx_livestream_llhls_audio_write(p, &r[i], i == nvideo);
    }

    for (i = 0; i < nvideo; i++) {
        p = ngx_livestream_llhls_variant_write(p, &r[i], audio, hdr);
    }

    return p;
}


static u_char *
ngx_livestream_llhls_audio_write(u_char *p,
    const ngx_livestream_llhls_rendition_t *r, ngx_uint_t first)
{
    p = ngx_livestream_llhls_text(p,
                "#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID=\"audio\",NAME=\"");
    p = ngx_livestream_llhls_string(p, r->name);

    if (first) {
        p = ngx_livestream_llhls_text(p, "\",DEFAULT=YES,AUTOSELECT=YES");

    } else {
        p = ngx_livestream_llhls_text(p, "\",DEFAULT=NO,AUTOSELECT=YES");
    }

    if (r->channels) {
        p = ngx_livestream_llhls_text(p, ",CHANNELS=\"");
        p = ngx_livestream_llhls_int(p, r->channels);
        *p++ = '"';
    }

    p = ngx_livestream_llhls_text(p, ",URI=\"");
    p = ngx_livestream_llhls_string(p, r->name);

    return ngx_livestream_llhls_text(p, "/playlist.m3u8\"\n");
}


static u_char *
ngx_livestream_llhls_variant_write(u_char *p,
    const ngx_livestream_llhls_rendition_t *r,
    const ngx_livestream_llhls_rendition_t *audio, ngx_uint_t hdr)
{
    uint64_t  bandwidth, average;

    bandwidth = r->bandwidth + (audio ? audio->bandwidth : 0);
    average = r->average + (audio ? audio->average : 0);

    p = ngx_livestream_llhls_text(p, "#EXT-X-STREAM-INF:BANDWIDTH=");
    p = ngx_livestream_llhls_int(p, ngx_max(bandwidth, average));
    p = ngx_livestream_llhls_text(p, ",AVERAGE-BANDWIDTH=");
    p = ngx_livestream_llhls_int(p, average);

    p = ngx_livestream_llhls_text(p, ",CODECS=\"");
    p = ngx_livestream_llhls_string(p, r->codecs);

    if (audio) {
        *p++ = ',';
        p = ngx_livestream_llhls_string(p, audio->codecs);
    }

    *p++ = '"';

    if (r->width && r->height) {
        p = ngx_livestream_llhls_text(p, ",RESOLUTION=");
        p = ngx_livestream_llhls_int(p, r->width);
        *p++ = 'x';
        p = ngx_livestream_llhls_int(p, r->height);
    }

    if (r->frame_rate) {
        /* frames per 1000 s are thousandths of frames per second */
        p = ngx_livestream_llhls_text(p, ",FRAME-RATE=");
        p = ngx_livestream_llhls_time(p, (uint64_t) r->frame_rate * 1000) - 3;
    }

    /* all have it, unless it goes without saying */

    if (hdr) {
        p = ngx_livestream_llhls_range_write(p, r->transfer);
    }

    if (audio) {
        p = ngx_livestream_llhls_text(p, ",AUDIO=\"audio\"");
    }

    if (r->media == NGX_LIVESTREAM_VIDEO) {
        p = ngx_livestream_llhls_text(p, ",CLOSED-CAPTIONS=NONE");
    }

    *p++ = '\n';
    p = ngx_livestream_llhls_string(p, r->name);

    return ngx_livestream_llhls_text(p, "/playlist.m3u8\n");
}


static u_char *
ngx_livestream_llhls_range_write(u_char *p, uint32_t transfer)
{
    p = ngx_livestream_llhls_text(p, ",VIDEO-RANGE=");

    switch (transfer) {

    case NGX_LIVESTREAM_LLHLS_PQ:
        return ngx_livestream_llhls_text(p, "PQ");

    case NGX_LIVESTREAM_LLHLS_HLG:
        return ngx_livestream_llhls_text(p, "HLG");

    default:
        return ngx_livestream_llhls_text(p, "SDR");
    }
}


static ngx_uint_t
ngx_livestream_llhls_hdr(uint32_t transfer)
{
    return transfer == NGX_LIVESTREAM_LLHLS_PQ
           || transfer == NGX_LIVESTREAM_LLHLS_HLG;
}


/* insertion: there are sixteen at most, and equal ones keep their order */

static void
ngx_livestream_llhls_sort(ngx_livestream_llhls_rendition_t *r, ngx_uint_t n)
{
    ngx_uint_t                        i, j;
    ngx_livestream_llhls_rendition_t  t;

    for (i = 1; i < n; i++) {
        t = r[i];

        for (j = i; j > 0 && ngx_livestream_llhls_before(&t, &r[j - 1]); j--) {
            r[j] = r[j - 1];
        }

        r[j] = t;
    }
}


static ngx_uint_t
ngx_livestream_llhls_before(const ngx_livestream_llhls_rendition_t *a,
    const ngx_livestream_llhls_rendition_t *b)
{
    if (a->media != b->media) {
        return a->media == NGX_LIVESTREAM_VIDEO;
    }

    if (a->height != b->height) {
        return a->height > b->height;
    }

    return a->bandwidth > b->bandwidth;
}


static u_char *
ngx_livestream_llhls_string(u_char *p, const void *s)
{
    return ngx_cpymem(p, s, ngx_strlen(s));
}


static u_char *
ngx_livestream_llhls_int(u_char *p, uint64_t n)
{
    u_char  *t, temp[NGX_LIVESTREAM_LLHLS_INT_LEN];

    t = temp + NGX_LIVESTREAM_LLHLS_INT_LEN;

    do {
        *--t = (u_char) (n % 10 + '0');
        n /= 10;
    } while (n);

    return ngx_cpymem(p, t, temp + NGX_LIVESTREAM_LLHLS_INT_LEN - t);
}


/* seconds with six decimals: exact, so that sums and comparisons are */

static u_char *
ngx_livestream_llhls_time(u_char *p, uint64_t us)
{
    ngx_uint_t  i, n;

    p = ngx_livestream_llhls_int(p, us / 1000000);
    *p++ = '.';

    n = us % 1000000;

    for (i = 6; i > 0; i--) {
        p[i - 1] = (u_char) (n % 10 + '0');
        n /= 10;
    }

    return p + 6;
}

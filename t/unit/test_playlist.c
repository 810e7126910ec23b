
/*
 * Copyright (C) nginx-livestream contributors
 *
 * The text of playlists, and that it fits its size.
 */


#include "ngx_livestream.h"
#include "ngx_livestream_llhls_playlist.h"
#include "tap.h"


#define TD  4
#define PT  500000


typedef struct {
    ngx_livestream_view_t          view;
    ngx_livestream_segment_t       segments[16];
    ngx_livestream_part_t          parts[64];
    ngx_livestream_llhls_media_t   m;
} stream_t;


static char         text[512 * 1024];
static const char  *date = "@%ld";


/* the core's own has a calendar; a number of milliseconds will do here */

u_char *
ngx_livestream_rfc3339(u_char *p, int64_t us)
{
    return p + sprintf((char *) p, date, (long) (us / 1000));
}


/* n segments of four seconds, each of parts; then an open one */

static void
make(stream_t *s, unsigned n, unsigned nparts, unsigned open)
{
    unsigned                   i, j;
    ngx_livestream_part_t     *part;
    ngx_livestream_segment_t  *seg;

    memset(s, 0, sizeof(stream_t));

    s->view.segments = s->segments;
    s->view.parts = s->parts;
    s->view.nsegments = n;

    for (i = 0; i <= n; i++) {
        seg = (i < n) ? &s->segments[i] : &s->view.state.open;

        seg->msn = 100 + i;
        seg->pdt = (int64_t) i * 4000000;
        seg->duration = 4000000;
        seg->nparts = (i < n) ? nparts : open;

        for (j = 0; j < seg->nparts; j++) {
            part = &s->parts[s->view.nparts++];
            part->msn = seg->msn;
            part->index = j;
            part->duration = PT;
            part->flags = j ? 0 : NGX_LIVESTREAM_INDEPENDENT;
        }
    }

    s->view.state.seg_first = 100;
    s->view.state.part_next = s->view.nparts;
    s->view.state.playable = 1;

    s->m.view = &s->view;
    s->m.target_duration = TD;
    s->m.part_target = PT;
}


static const char *
write_media(stream_t *s)
{
    size_t   size;
    u_char  *p;

    size = ngx_livestream_llhls_media_get_size(&s->m);
    p = ngx_livestream_llhls_media_write((u_char *) text, &s->m);
    *p = '\0';

    if ((size_t) (p - (u_char *) text) > size || size >= sizeof(text)) {
        tap_ok(0, "the text is greater than its size");
    }

    return text;
}


static void
test_live(void)
{
    stream_t  s;

    make(&s, 2, 1, 2);

    s.segments[0].init = 1;
    s.segments[1].init = 1;
    s.segments[1].duration = 3999999;
    s.view.state.open.init = 2;
    s.view.state.open.flags = NGX_LIVESTREAM_DISCONTINUITY;
    s.view.state.discontinuity = 7;

    s.m.nreports = 1;
    s.m.reports[0].track = (u_char *) "audio";
    s.m.reports[0].msn = 102;
    s.m.reports[0].part = 3;

    tap_str(write_media(&s),
        "#EXTM3U\n"
        "#EXT-X-VERSION:6\n"
        "#EXT-X-TARGETDURATION:4\n"
        "#EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,"
            "PART-HOLD-BACK=1.500000,CAN-SKIP-UNTIL=24.000000\n"
        "#EXT-X-PART-INF:PART-TARGET=0.500000\n"
        "#EXT-X-MEDIA-SEQUENCE:100\n"
        "#EXT-X-DISCONTINUITY-SEQUENCE:7\n"
        "#EXT-X-MAP:URI=\"init-1.mp4\"\n"
        "#EXT-X-PROGRAM-DATE-TIME:@0\n"
        "#EXT-X-PART:DURATION=0.500000,URI=\"part-100.0.m4s\","
            "INDEPENDENT=YES\n"
        "#EXTINF:4.000000,\n"
        "segment-100.m4s\n"
        "#EXT-X-PROGRAM-DATE-TIME:@4000\n"
        "#EXT-X-PART:DURATION=0.500000,URI=\"part-101.0.m4s\","
            "INDEPENDENT=YES\n"
        "#EXTINF:3.999999,\n"
        "segment-101.m4s\n"
        "#EXT-X-DISCONTINUITY\n"
        "#EXT-X-MAP:URI=\"init-2.mp4\"\n"
        "#EXT-X-PROGRAM-DATE-TIME:@8000\n"
        "#EXT-X-PART:DURATION=0.500000,URI=\"part-102.0.m4s\","
            "INDEPENDENT=YES\n"
        "#EXT-X-PART:DURATION=0.500000,URI=\"part-102.1.m4s\"\n"
        "#EXT-X-PRELOAD-HINT:TYPE=PART,URI=\"part-102.2.m4s\"\n"
        "#EXT-X-RENDITION-REPORT:URI=\"../audio/playlist.m3u8\","
            "LAST-MSN=102,LAST-PART=3\n",
        "a live playlist");

    make(&s, 1, 2, 0);
    s.view.state.open.flags = NGX_LIVESTREAM_DISCONTINUITY;

    tap_ok(strstr(write_media(&s), "segment-100.m4s\n"
                  "#EXT-X-PRELOAD-HINT:TYPE=PART,URI=\"part-101.0.m4s\"\n"),
           "an open segment without parts shows but the hint");
}


static void
test_gap(void)
{
    stream_t  s;

    make(&s, 1, 1, 1);

    s.segments[0].flags = NGX_LIVESTREAM_GAP;
    s.parts[0].flags = NGX_LIVESTREAM_GAP;
    s.parts[1].flags = NGX_LIVESTREAM_GAP;
    s.m.skipped = 0;

    tap_ok(strstr(write_media(&s),
                  "URI=\"part-100.0.m4s\",GAP=YES\n#EXT-X-GAP\n#EXTINF:"),
           "a gap has its tags");
    tap_ok(strstr(text, "URI=\"part-101.0.m4s\",GAP=YES\n"
                  "#EXT-X-PRELOAD-HINT:"),
           "and so has one that goes on");
}


static void
test_ended(void)
{
    stream_t  s;

    make(&s, 2, 2, 1);
    s.view.state.ended = 1;

    tap_ok(strstr(write_media(&s), "segment-101.m4s\n#EXT-X-ENDLIST\n"),
           "an ended playlist is closed behind its last segment");
    tap_ok(strstr(text, "#EXT-X-PRELOAD-HINT") == NULL
           && strstr(text, "#EXT-X-PART:") == NULL,
           "without hint and parts");
}


static void
test_recorded(void)
{
    stream_t  s;

    make(&s, 2, 0, 0);

    s.view.state.ended = 1;
    s.segments[1].flags = NGX_LIVESTREAM_GAP;
    s.m.part_target = 0;
    s.m.vod = 1;

    tap_str(write_media(&s),
        "#EXTM3U\n"
        "#EXT-X-VERSION:6\n"
        "#EXT-X-TARGETDURATION:4\n"
        "#EXT-X-PLAYLIST-TYPE:VOD\n"
        "#EXT-X-MEDIA-SEQUENCE:100\n"
        "#EXT-X-DISCONTINUITY-SEQUENCE:0\n"
        "#EXT-X-MAP:URI=\"init-0.mp4\"\n"
        "#EXT-X-PROGRAM-DATE-TIME:@0\n"
        "#EXTINF:4.000000,\n"
        "segment-100.m4s\n"
        "#EXT-X-PROGRAM-DATE-TIME:@4000\n"
        "#EXT-X-GAP\n"
        "#EXTINF:4.000000,\n"
        "segment-101.m4s\n"
        "#EXT-X-ENDLIST\n",
        "a recording's playlist has nothing of a live one");
}


static void
test_plain(void)
{
    stream_t  s;

    make(&s, 2, 2, 2);
    s.m.part_target = 0;

    tap_str(write_media(&s),
        "#EXTM3U\n"
        "#EXT-X-VERSION:6\n"
        "#EXT-X-TARGETDURATION:4\n"
        "#EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,"
            "HOLD-BACK=12.000000,CAN-SKIP-UNTIL=24.000000\n"
        "#EXT-X-MEDIA-SEQUENCE:100\n"
        "#EXT-X-DISCONTINUITY-SEQUENCE:0\n"
        "#EXT-X-MAP:URI=\"init-0.mp4\"\n"
        "#EXT-X-PROGRAM-DATE-TIME:@0\n"
        "#EXTINF:4.000000,\n"
        "segment-100.m4s\n"
        "#EXT-X-PROGRAM-DATE-TIME:@4000\n"
        "#EXTINF:4.000000,\n"
        "segment-101.m4s\n",
        "a playlist without low latency");
}


static void
test_delta(void)
{
    char     *tail;
    stream_t  s;

    make(&s, 7, 0, 0);
    tap_is(ngx_livestream_llhls_skippable(&s.view, TD), 0,
           "nothing lies beyond the skip boundary");

    make(&s, 8, 0, 0);
    tap_is(ngx_livestream_llhls_skippable(&s.view, TD), 1,
           "a segment does, of which nothing is nearer");

    make(&s, 10, 0, 0);
    s.segments[5].init = 1;

    tail = strdup(strstr(write_media(&s), "#EXT-X-PROGRAM-DATE-TIME:@12000"));

    s.m.skipped = ngx_livestream_llhls_skippable(&s.view, TD);
    tap_is(s.m.skipped, 3, "three segments do");

    tap_ok(strstr(write_media(&s),
                  "#EXT-X-MEDIA-SEQUENCE:100\n"
                  "#EXT-X-DISCONTINUITY-SEQUENCE:0\n"
                  "#EXT-X-SKIP:SKIPPED-SEGMENTS=3\n"),
           "they are skipped in a delta");
    tap_ok(strstr(text, "#EXT-X-VERSION:9\n"), "of version 9");
    tap_str(strstr(text, "#EXT-X-PROGRAM-DATE-TIME"), tail,
            "whose rest is that of the full playlist");

    free(tail);

    make(&s, 0, 0, 0);
    tap_is(ngx_livestream_llhls_skippable(&s.view, TD), 0,
           "nothing can be skipped of nothing");
}


/*
 * Two hours of six-second segments, half a second a part, and four tracks
 * beside: a delta at its longest, when the parts of two whole segments are
 * listed, or of one and of all but the last of the open one.
 */

static ngx_livestream_segment_t  segments[1200];
static ngx_livestream_part_t     parts[64];


static void
make_window(stream_t *s, unsigned closed, unsigned open, unsigned whole,
    ngx_uint_t independent)
{
    unsigned                   i, j;
    ngx_livestream_part_t     *part;
    ngx_livestream_segment_t  *seg;

    memset(s, 0, sizeof(stream_t));

    s->view.segments = segments;
    s->view.parts = parts;
    s->view.nsegments = 1200;

    for (i = 0; i <= 1200; i++) {
        seg = (i < 1200) ? &segments[i] : &s->view.state.open;

        memset(seg, 0, sizeof(ngx_livestream_segment_t));

        seg->msn = 13200 + i;
        seg->init = 1;
        seg->pdt = (int64_t) i * 6000000;
        seg->duration = 6000000;
        seg->nparts = (i < 1200) ? whole : open;

        for (j = 0; i + closed >= 1200 && j < seg->nparts; j++) {
            part = &parts[s->view.nparts++];

            part->msn = seg->msn;
            part->index = j;
            part->duration = 490667;
            part->flags = (j % independent == 0) ? NGX_LIVESTREAM_INDEPENDENT
                                                 : 0;
        }
    }

    s->view.state.seg_first = 13200;
    s->view.state.part_next = s->view.nparts;

    s->m.view = &s->view;
    s->m.target_duration = 6;
    s->m.part_target = PT;
    s->m.nreports = 4;

    for (i = 0; i < 4; i++) {
        s->m.reports[i].track = (u_char *) "source";
        s->m.reports[i].msn = 14400;
        s->m.reports[i].part = 11;
    }
}


static void
test_window(void)
{
    char      *full, name[64];
    size_t     i, size;
    stream_t   s;

    const struct {
        const char  *name;
        unsigned     closed;
        unsigned     open;
        unsigned     whole;
        ngx_uint_t   independent;
    } kinds[] = {
        { "video", 2, 0, 12, 4 },
        { "video, open", 1, 11, 12, 4 },
        { "audio", 2, 0, 12, 1 },
        { "audio, open", 1, 11, 12, 1 }
    };

    date = "2026-01-31T12:%09ldZ";

    for (i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {

        make_window(&s, kinds[i].closed, kinds[i].open, kinds[i].whole,
                    kinds[i].independent);

        size = strlen(write_media(&s));
        full = strdup(strstr(text, "#EXT-X-PROGRAM-DATE-TIME:"
                                   "2026-01-31T12:007158000Z"));

        s.m.skipped = ngx_livestream_llhls_skippable(&s.view, 6);

        snprintf(name, sizeof(name), "%s: what a delta skips",
                 kinds[i].name);
        tap_is(s.m.skipped, 1193, name);

        snprintf(name, sizeof(name), "%s: of a hundred bytes 3 are left",
                 kinds[i].name);
        tap_ok(strlen(write_media(&s)) * 100 <= size * 3, name);

        snprintf(name, sizeof(name), "%s: which need little memory",
                 kinds[i].name);
        tap_ok(ngx_livestream_llhls_media_get_size(&s.m) < 16384, name);

        snprintf(name, sizeof(name), "%s: and are its end",
                 kinds[i].name);
        tap_str(strstr(text, "#EXT-X-PROGRAM-DATE-TIME"), full, name);

        free(full);
    }

    date = "@%ld";
}


/* PART-HOLD-BACK is what a client that reckons in doubles expects at least */

static void
test_hold_back(void)
{
    double    target, hold_back;
    stream_t  s;
    unsigned  us, bad;

    make(&s, 1, 0, 0);

    for (us = 1000, bad = 0; us < 2000000; us += 1000 + us % 7) {
        s.m.part_target = us;
        write_media(&s);

        target = atof(strstr(text, "PART-TARGET=") + 12);
        hold_back = atof(strstr(text, "PART-HOLD-BACK=") + 15);

        if (hold_back < 3 * target || hold_back > 3 * target + 0.0021) {
            bad++;
        }
    }

    tap_is(bad, 0, "PART-HOLD-BACK is three times any PART-TARGET");
}


static void
test_size(void)
{
    size_t    i;
    stream_t  s;

    make(&s, 8, 4, 4);

    for (i = 0; i < 8; i++) {
        s.segments[i].msn = UINT64_MAX - 8 + i;
        s.segments[i].init = UINT32_MAX - i;
        s.segments[i].duration = UINT32_MAX;
        s.segments[i].flags = UINT32_MAX;
    }

    for (i = 0; i < s.view.nparts; i++) {
        s.parts[i].msn = UINT64_MAX - 8 + i / 4;
        s.parts[i].index = UINT32_MAX;
        s.parts[i].duration = UINT32_MAX;
        s.parts[i].flags = UINT32_MAX;
    }

    s.view.state.open = s.segments[7];
    s.view.state.open.msn = UINT64_MAX;
    s.view.state.open.init = 1;
    s.view.state.open.nparts = UINT32_MAX;
    s.view.state.seg_first = UINT64_MAX - 8;
    s.view.state.discontinuity = UINT64_MAX;

    s.m.target_duration = UINT32_MAX;
    s.m.part_target = UINT32_MAX;
    s.m.nreports = NGX_LIVESTREAM_MAX_TRACKS;

    for (i = 0; i < s.m.nreports; i++) {
        s.m.reports[i].track = (u_char *) "fifteen_letters";
        s.m.reports[i].msn = UINT64_MAX;
        s.m.reports[i].part = UINT32_MAX;
    }

    tap_ok(strlen(write_media(&s)) > 4000, "the greatest numbers fit");
}


static void
test_multivariant(void)
{
    size_t                            i, size;
    u_char                           *p;
    ngx_livestream_llhls_rendition_t  r[NGX_LIVESTREAM_MAX_TRACKS];

    memset(r, 0, sizeof(r));

    r[0].name = (u_char *) "audio";
    r[0].codecs = "mp4a.40.2";
    r[0].media = NGX_LIVESTREAM_AUDIO;
    r[0].channels = 2;
    r[0].bandwidth = 130000;
    r[0].average = 128000;

    r[1].name = (u_char *) "360p";
    r[1].codecs = "avc1.64001e";
    r[1].width = 640;
    r[1].height = 360;
    r[1].bandwidth = 900000;
    r[1].average = 800000;

    r[2].name = (u_char *) "source";
    r[2].codecs = "avc1.64001f";
    r[2].width = 1280;
    r[2].height = 720;
    r[2].frame_rate = 29970;
    r[2].bandwidth = 2500000;
    r[2].average = 2600000;

    p = ngx_livestream_llhls_multivariant_write((u_char *) text, r, 3);
    *p = '\0';

    tap_str(text,
        "#EXTM3U\n"
        "#EXT-X-VERSION:4\n"
        "#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID=\"audio\",NAME=\"audio\","
            "DEFAULT=YES,AUTOSELECT=YES,CHANNELS=\"2\","
            "URI=\"audio/playlist.m3u8\"\n"
        "#EXT-X-STREAM-INF:BANDWIDTH=2728000,AVERAGE-BANDWIDTH=2728000,"
            "CODECS=\"avc1.64001f,mp4a.40.2\",RESOLUTION=1280x720,"
            "FRAME-RATE=29.970,AUDIO=\"audio\",CLOSED-CAPTIONS=NONE\n"
        "source/playlist.m3u8\n"
        "#EXT-X-STREAM-INF:BANDWIDTH=1030000,AVERAGE-BANDWIDTH=928000,"
            "CODECS=\"avc1.64001e,mp4a.40.2\",RESOLUTION=640x360,"
            "AUDIO=\"audio\",CLOSED-CAPTIONS=NONE\n"
        "360p/playlist.m3u8\n",
        "a ladder with audio");

    r[0].transfer = 18;
    r[1].transfer = 1;

    p = ngx_livestream_llhls_multivariant_write((u_char *) text, r, 3);
    *p = '\0';

    tap_ok(strstr(text, "FRAME-RATE=29.970,VIDEO-RANGE=HLG,AUDIO="),
           "a source of another range says so");
    tap_ok(strstr(text, "RESOLUTION=640x360,VIDEO-RANGE=SDR,AUDIO="),
           "and then its rungs say theirs");

    p = ngx_livestream_llhls_multivariant_write((u_char *) text, &r[2], 1);
    *p = '\0';

    tap_str(text,
        "#EXTM3U\n"
        "#EXT-X-VERSION:4\n"
        "#EXT-X-STREAM-INF:BANDWIDTH=130000,AVERAGE-BANDWIDTH=128000,"
            "CODECS=\"mp4a.40.2\"\n"
        "audio/playlist.m3u8\n",
        "audio alone");

    for (i = 0; i < NGX_LIVESTREAM_MAX_TRACKS; i++) {
        r[i].name = (u_char *) "fifteen_letters";
        r[i].codecs = "a.codec.of.sixty.three.characters.of.which.there.is"
                      ".none.today!";
        r[i].media = i ? NGX_LIVESTREAM_VIDEO : NGX_LIVESTREAM_AUDIO;
        r[i].width = r[i].height = UINT32_MAX;
        r[i].frame_rate = r[i].channels = UINT32_MAX;
        r[i].transfer = 18;
        r[i].bandwidth = r[i].average = INT64_MAX;
    }

    size = ngx_livestream_llhls_multivariant_get_size(r, i);
    p = ngx_livestream_llhls_multivariant_write((u_char *) text, r, i);

    tap_ok((size_t) (p - (u_char *) text) <= size,
           "the greatest numbers fit a multivariant playlist");
}


int
main(void)
{
    test_live();
    test_gap();
    test_ended();
    test_recorded();
    test_plain();
    test_delta();
    test_window();
    test_hold_back();
    test_size();
    test_multivariant();

    return tap_done();
}

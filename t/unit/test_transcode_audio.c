
/*
 * Copyright (C) nginx-livestream contributors
 *
 * Audio of the ladder: what is passed through, and that what is encoded is
 * heard when it was in the source, whatever the source does.
 */


#include <errno.h>

#include "audio_source.h"


#define AAC   NGX_LIVESTREAM_CODEC_AAC
#define OPUS  NGX_LIVESTREAM_CODEC_OPUS
#define FLAC  NGX_LIVESTREAM_CODEC_FLAC

#define SYNC  5000              /* us that a click may be off */


typedef struct {
    const char              *name;
    kind_t                   kind;
    ngx_livestream_codec_e   codec;
    int                      rate;
    int                      channels;
} case_t;


static const case_t  cases[] = {
    { "AAC 48000", { AAC, 48000, 2, 192000 }, AAC, 48000, 2 },
    { "AAC 44100", { AAC, 44100, 2, 192000 }, AAC, 44100, 2 },
    { "AAC 32000", { AAC, 32000, 2, 192000 }, AAC, 48000, 2 },
    { "AAC 22050 mono", { AAC, 22050, 1, 128000 }, AAC, 48000, 1 },
    { "AAC mono", { AAC, 48000, 1, 192000 }, AAC, 48000, 1 },
    { "AAC 5.1", { AAC, 48000, 6, 384000 }, AAC, 48000, 2 },
    { "AAC 44100 5.1", { AAC, 44100, 6, 384000 }, AAC, 44100, 2 },
    { "AAC 48000 to Opus", { AAC, 48000, 2, 192000 }, OPUS, 48000, 2 },
    { "AAC 44100 to Opus", { AAC, 44100, 2, 192000 }, OPUS, 48000, 2 },
    { "AAC mono to Opus", { AAC, 44100, 1, 192000 }, OPUS, 48000, 1 },
    { "Opus", { OPUS, 48000, 2, 128000 }, AAC, 48000, 2 },
    { "Opus mono", { OPUS, 48000, 1, 64000 }, AAC, 48000, 1 },
    { "Opus 5.1", { OPUS, 48000, 6, 384000 }, AAC, 48000, 2 },
    { "Opus, less of it", { OPUS, 48000, 2, 256000 }, OPUS, 48000, 2 },
    { "FLAC 44100", { FLAC, 44100, 2, 0 }, AAC, 44100, 2 },
    { "FLAC 96000", { FLAC, 96000, 2, 0 }, AAC, 48000, 2 },
    { "FLAC to Opus", { FLAC, 48000, 1, 0 }, OPUS, 48000, 1 }
};


static clip_t                            in, out;
static heard_t                           heard;
static ngx_livestream_transcode_conf_t   conf;


static ngx_livestream_transcode_audio_t *
room(ngx_livestream_codec_e codec, uint32_t bitrate, uint32_t told)
{
    ngx_livestream_transcode_audio_t  *a;

    memset(&conf, 0, sizeof(conf));

    conf.audio_codec = codec;
    conf.audio_bitrate = bitrate;

    clip_free(&out);

    a = ngx_livestream_transcode_audio_create(&conf, told);
    if (a == NULL) {
        bail("no memory");
    }

    return a;
}


static void
feed(ngx_livestream_transcode_audio_t *a, unsigned from, unsigned to)
{
    int  rc;

    for ( ; from < to; from++) {
        rc = ngx_livestream_transcode_audio(a, in.frames[from], clip_add,
                                            &out);
        if (rc) {
            tap_is(rc, 0, "frame %u is taken", from);
        }
    }
}


static void
end(ngx_livestream_transcode_audio_t *a)
{
    tap_is(ngx_livestream_transcode_audio(a, NULL, clip_add, &out), 0,
           "the end");
    ngx_livestream_transcode_audio_destroy(a);
}


/* all of it through a room that encodes to AAC */
static uint64_t
encode(void)
{
    uint64_t                           errors;
    ngx_livestream_transcode_audio_t  *a;

    a = room(AAC, 96000, 320000);

    feed(a, 0, in.n);
    errors = ngx_livestream_transcode_audio_errors(a);
    end(a);

    return errors;
}


/* the number of places where a frame does not follow the one before it;
 * backwards: also those that overlap */
static unsigned
holes(unsigned *backwards)
{
    int64_t                  end;
    unsigned                 i, n;
    ngx_livestream_frame_t  *f;

    n = 0;
    *backwards = 0;

    for (i = 1; i < out.n; i++) {
        f = out.frames[i];
        end = out.frames[i - 1]->dts + out.frames[i - 1]->duration;

        n += f->dts > end;
        *backwards += f->dts < end;
    }

    return n;
}


static unsigned
frames_alike(void)
{
    unsigned                 i;
    ngx_livestream_frame_t  *f;

    for (i = 0; i < out.n; i++) {
        f = out.frames[i];

        if (f->track != 1 || !(f->flags & NGX_LIVESTREAM_FRAME_KEY)
            || f->dts != f->pts || f->dts < 0 || f->size == 0
            || f->duration == 0
            || f->codec->hash != out.frames[0]->codec->hash)
        {
            return 0;
        }
    }

    return out.n;
}


static unsigned
breaks(void)
{
    unsigned  i, n;

    for (i = 0, n = 0; i < out.n; i++) {
        n += !!(out.frames[i]->flags & NGX_LIVESTREAM_FRAME_DISCONTINUITY);
    }

    return n;
}


/* what holds of any output without holes */
static void
contiguous(int64_t from, int64_t to, const char *name)
{
    int       least, most;
    int64_t   off;
    unsigned  n, backwards;

    n = holes(&backwards);
    listen_to(&heard, &out);

    tap_ok(frames_alike(), "%s: %u frames, all alike", name, out.n);
    tap_is(n + backwards, 0, "%s: each follows the one before it", name);
    tap_is(heard.errors, 0, "%s: can be decoded", name);

    off = clicks_off(&heard, from + 100, to - 100);
    tap_ok(off <= SYNC, "%s: clicks are at most %" PRId64 " us off", name,
           off);

    loudness(&heard, from + 100, to - 100, &least, &most);
    tap_ok(least > most / 3, "%s: the tone never stops (%d to %d)", name,
           least, most);
}


static void
test_sync(const case_t *c)
{
    int64_t                            first, last;
    char                               text[64];
    ngx_livestream_codec_t            *codec;
    ngx_livestream_transcode_audio_t  *a;

    clip_free(&in);
    source(&in, &c->kind, 100, 2300);

    a = room(c->codec, 96000, 320000);
    feed(a, 0, in.n);
    ngx_livestream_transcode_audio_describe(a, text, sizeof(text));
    end(a);

    contiguous(100, 2300, c->name);

    codec = out.frames[0]->codec;
    tap_is(codec->id, c->codec, "%s: of the wanted codec", c->name);
    tap_is(codec->sample_rate, c->rate, "%s: of %d Hz", c->name, c->rate);
    tap_is(codec->channels, c->channels, "%s: of %d channels", c->name,
           c->channels);

    first = ngx_livestream_ticks_to_us(out.frames[0]->dts, codec->timescale)
            - ngx_livestream_ticks_to_us(in.frames[0]->dts,
                                         in.frames[0]->codec->timescale);
    last = ngx_livestream_ticks_to_us(out.frames[out.n - 1]->dts,
                                      codec->timescale)
           - ngx_livestream_ticks_to_us(in.frames[in.n - 1]->dts,
                                        in.frames[in.n - 1]->codec->timescale);

    tap_ok(llabs(first) < 10000, "%s: begins with the source (%" PRId64
           " us)", c->name, first);
    tap_ok(llabs(last) < 120000, "%s: ends with the source (%" PRId64 " us)",
           c->name, last);
    tap_is(out.frames[out.n / 2]->wall, WALL, "%s: has its wall clock",
           c->name);
    tap_ok(strstr(text, " to ") != NULL, "%s: is \"%s\"", c->name, text);
}


/* how many frames of in[] came out as they are, in order */
static unsigned
passed(void)
{
    unsigned  i;

    for (i = 0; i < out.n && i < in.n; i++) {
        if (out.frames[i] != in.frames[i]) {
            break;
        }
    }

    return i;
}


static void
test_pass_told(void)
{
    unsigned                           i;
    char                               text[64];
    ngx_livestream_transcode_audio_t  *a;

    static const struct {
        kind_t                   kind;
        ngx_livestream_codec_e   codec;
        uint32_t                 told;
        int                      pass;
    } told[] = {
        { { AAC, 48000, 2, 96000 }, AAC, 96000, 1 },
        { { AAC, 44100, 1, 96000 }, AAC, 128000, 1 },
        { { AAC, 48000, 2, 96000 }, AAC, 140800, 1 },
        { { AAC, 48000, 2, 96000 }, AAC, 140801, 0 },
        { { AAC, 48000, 6, 96000 }, AAC, 96000, 0 },
        { { AAC, 48000, 2, 96000 }, OPUS, 96000, 0 },
        { { OPUS, 48000, 2, 96000 }, OPUS, 96000, 1 },
        { { OPUS, 48000, 2, 96000 }, AAC, 96000, 0 },
        { { FLAC, 48000, 2, 0 }, AAC, 96000, 0 }
    };

    for (i = 0; i < sizeof(told) / sizeof(told[0]); i++) {
        clip_free(&in);
        source(&in, &told[i].kind, 100, 500);

        a = room(told[i].codec, 128000, told[i].told);

        feed(a, 0, 1);
        tap_is(passed(), told[i].pass,
               "%s of %d channels to %s, told to be %u bit/s, is %s",
               ngx_livestream_codec_name(told[i].kind.codec),
               told[i].kind.channels, ngx_livestream_codec_name(told[i].codec),
               told[i].told, told[i].pass ? "passed on at once" : "encoded");

        feed(a, 1, in.n);
        ngx_livestream_transcode_audio_describe(a, text, sizeof(text));
        end(a);

        if (told[i].pass) {
            tap_is(passed(), in.n, "all of it");
            tap_is(out.n, in.n, "and nothing else");
        }

        tap_is(strstr(text, "passed through") != NULL, told[i].pass,
               "\"%s\"", text);
    }
}


static void
test_pass_measured(void)
{
    char                               text[64];
    unsigned                           i;
    ngx_livestream_transcode_audio_t  *a;

    static const kind_t  low = { AAC, 48000, 2, 64000 };
    static const kind_t  high = { AAC, 48000, 2, 256000 };
    static const kind_t  other = { AAC, 44100, 2, 64000 };

    clip_free(&in);
    source(&in, &low, 100, 2000);

    a = room(AAC, 128000, 0);

    ngx_livestream_transcode_audio_describe(a, text, sizeof(text));
    tap_str(text, "none", "nothing yet");

    for (i = 0; i < in.n && out.n == 0; i++) {
        feed(a, i, i + 1);
    }

    tap_ok(i > 4 && in.frames[i - 1]->dts - in.frames[0]->dts <= 24000,
           "%u frames are held back, not more than 0.5 s", i);
    tap_is(out.n, i, "and are then passed on");
    feed(a, i, in.n);
    end(a);
    tap_is(passed(), in.n, "all frames in order");

    a = room(AAC, 128000, 0);
    feed(a, 0, 5);
    tap_is(out.n, 0, "held back");
    ngx_livestream_transcode_audio_describe(a, text, sizeof(text));
    tap_str(text, "aac being measured", "and measured");
    end(a);
    tap_is(passed(), 5, "passed on where the source ends early");

    a = room(AAC, 128000, 0);
    feed(a, 0, 5);
    ngx_livestream_transcode_audio_destroy(a);

    clip_free(&in);
    source(&in, &low, 100, 200);
    source(&in, &other, 200, 3000);

    a = room(AAC, 128000, 0);
    feed(a, 0, in.n);
    end(a);
    tap_ok(passed() > 2, "what is held back goes before a change");

    clip_free(&in);
    source(&in, &high, 100, 3300);

    a = room(AAC, 96000, 0);
    feed(a, 0, in.n);
    ngx_livestream_transcode_audio_describe(a, text, sizeof(text));
    end(a);

    tap_str(text, "aac to aac 96 kbit/s", "too much is encoded");
    contiguous(100, 3300, "measured, from the first frame on");
}


/* one kind of source after the other */
static void
test_change(const char *name, const kind_t *kinds, unsigned n, uint32_t told)
{
    unsigned                           i;
    ngx_livestream_transcode_audio_t  *a;

    clip_free(&in);

    for (i = 0; i < n; i++) {
        source(&in, &kinds[i], 100 + i * 1500, 1600 + i * 1500);
    }

    a = room(AAC, 96000, told);
    feed(a, 0, in.n);
    end(a);

    contiguous(100, 100 + n * 1500, name);
}


static void
test_changes(void)
{
    static const kind_t  rates[] = {
        { AAC, 48000, 2, 192000 },
        { AAC, 44100, 2, 192000 },
        { AAC, 22050, 2, 128000 },
        { AAC, 48000, 2, 192000 }
    };

    static const kind_t  channels[] = {
        { AAC, 48000, 2, 192000 },
        { AAC, 48000, 1, 128000 },
        { AAC, 48000, 6, 384000 },
        { AAC, 48000, 2, 192000 }
    };

    static const kind_t  mono[] = {
        { AAC, 44100, 1, 128000 },
        { AAC, 44100, 2, 192000 }
    };

    static const kind_t  codecs[] = {
        { AAC, 44100, 2, 192000 },
        { OPUS, 48000, 2, 192000 },
        { FLAC, 44100, 2, 0 },
        { AAC, 48000, 6, 384000 }
    };

    static const kind_t  fits[] = {
        { AAC, 48000, 2, 64000 },
        { AAC, 44100, 1, 64000 },
        { AAC, 48000, 2, 64000 }
    };

    test_change("rate", rates, 4, 320000);
    test_change("channels", channels, 4, 320000);
    tap_is(out.frames[0]->codec->channels, 2, "still of two channels");
    test_change("mono to stereo", mono, 2, 320000);
    tap_is(out.frames[0]->codec->channels, 1, "still of one channel");
    test_change("codec", codecs, 4, 320000);

    test_change("passed through up to a change", fits, 3, 64000);
    tap_ok(passed() > 50 && passed() < 80, "%u were passed through", passed());
}


static void
move(unsigned from, int64_t ms, int64_t wall)
{
    for ( ; from < in.n; from++) {
        in.frames[from]->dts += ms * in.frames[from]->codec->timescale / 1000;
        in.frames[from]->pts = in.frames[from]->dts;
        in.frames[from]->wall += wall;
    }
}


/* the source says nothing for some time, or says what it is about */
static void
test_jump(ngx_livestream_codec_e codec, int64_t ms, unsigned flag)
{
    char                               name[64];
    unsigned                           i, n, at, first, backwards;
    ngx_livestream_transcode_audio_t  *a;

    static const kind_t  kind = { AAC, 44100, 2, 192000 };

    clip_free(&in);
    source(&in, &kind, 100, 2100);
    at = in.n;
    source(&in, &kind, 2100 + ms, 4100 + ms);

    (void) snprintf(name, sizeof(name), "%s, %" PRId64 " ms%s",
                    ngx_livestream_codec_name(codec), ms,
                    flag ? ", told" : "");

    in.frames[at]->flags |= flag;
    move(at, 0, 7);

    a = room(codec, 96000, 320000);
    feed(a, 0, in.n);
    end(a);

    n = holes(&backwards);
    listen_to(&heard, &out);

    tap_is(n, ms > 50, "%s: %u holes", name, n);
    tap_is(backwards, 0, "%s: time never runs backwards", name);
    tap_is(breaks(), !!flag, "%s: told once if it was", name);
    tap_ok(frames_alike(), "%s: of one codec", name);
    tap_ok(clicks_off(&heard, 200, 2000) <= SYNC, "%s: in time before it",
           name);
    tap_ok(clicks_off(&heard, 2200 + ms, 4000 + ms) <= SYNC,
           "%s: in time behind it", name);

    for (first = 0; first < out.n; first++) {
        if (out.frames[first]->wall != WALL) {
            break;
        }
    }

    tap_ok(first < out.n
           && llabs(ngx_livestream_ticks_to_us(out.frames[first]->dts,
                                       out.frames[first]->codec->timescale)
                    - ngx_livestream_ticks_to_us(in.frames[at]->dts, 44100))
              < 50000,
           "%s: the wall clock changes there", name);

    if (flag) {
        tap_ok(out.frames[first]->flags & NGX_LIVESTREAM_FRAME_DISCONTINUITY,
               "%s: and so it is told", name);
    }

    for (i = first; i < out.n; i++) {
        if (out.frames[i]->wall != WALL + 7) {
            break;
        }
    }

    tap_is(i, out.n, "%s: and does not change back", name);
}


static void
test_overlap(void)
{
    unsigned  backwards;

    static const kind_t  kind = { AAC, 48000, 2, 192000 };

    clip_free(&in);
    source(&in, &kind, 100, 2100);
    source(&in, &kind, 1800, 4100);

    tap_is(encode(), 0, "runs back by 0.3 s");
    tap_is(holes(&backwards) + backwards, 0, "what comes twice is left out");

    listen_to(&heard, &out);
    tap_ok(clicks_off(&heard, 200, 4000) <= SYNC, "and all is in time");
}


/* a frame that was lost, and steps too small to be holes */
static void
test_small_holes(void)
{
    int                      least, most;
    unsigned                 i, backwards;
    ngx_livestream_frame_t  *f;

    static const kind_t  kind = { AAC, 48000, 2, 192000 };

    clip_free(&in);
    source(&in, &kind, 100, 4100);

    f = in.frames[55];
    in.n--;
    memmove(&in.frames[55], &in.frames[56],
            (in.n - 55) * sizeof(ngx_livestream_frame_t *));
    ngx_livestream_frame_unref(f);

    for (i = 100; i < in.n; i++) {
        in.frames[i]->dts += (i % 3) * 30;
        in.frames[i]->pts = in.frames[i]->dts;
    }

    tap_is(encode(), 0, "a frame is lost");
    tap_is(holes(&backwards) + backwards, 0, "frames follow one another");

    listen_to(&heard, &out);
    tap_ok(clicks_off(&heard, 200, 4000) <= SYNC, "in time before and behind");

    loudness(&heard, 2400, 4000, &least, &most);
    tap_ok(least > most / 2, "jitter is not heard (%d to %d)", least, most);
}


static uint32_t
noise(void)
{
    static uint64_t  seed = 88172645463325252ULL;

    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;

    return seed >> 16;
}


static void
test_corrupt(const kind_t *kind)
{
    size_t                             j, size;
    unsigned                           i, n, backwards;
    uint64_t                           errors;
    ngx_livestream_frame_t            *f, *bad;
    ngx_livestream_transcode_audio_t  *a;

    clip_free(&in);
    source(&in, kind, 100, 2100);
    n = in.n;
    source(&in, kind, 25000, 27000);

    a = room(AAC, 96000, 320000);
    feed(a, 0, n);

    for (i = 0; i < 1000; i++) {
        f = in.frames[n - 1];
        size = i % 3 ? 1 + noise() % 1000 : f->size;
        bad = ngx_livestream_frame_create(f->codec, size);

        for (j = 0; j < size; j++) {
            bad->data[j] = i % 3 ? noise() : f->data[j];
        }

        if (i % 3 == 0) {
            bad->data[noise() % size] ^= 1 << noise() % 8;
        }

        bad->track = 1;
        bad->flags = NGX_LIVESTREAM_FRAME_KEY;
        bad->duration = f->duration;
        bad->dts = f->dts + (i + 1) * f->codec->timescale * 22 / 1000;
        bad->pts = bad->dts;
        bad->wall = WALL;

        if (ngx_livestream_transcode_audio(a, bad, clip_add, &out) != 0) {
            tap_ok(0, "noise is taken");
        }

        ngx_livestream_frame_unref(bad);
    }

    errors = ngx_livestream_transcode_audio_errors(a);
    tap_ok(errors > 0, "%s: %" PRIu64 " frames of noise cannot be decoded",
           ngx_livestream_codec_name(kind->codec), errors);

    feed(a, n, in.n);
    end(a);

    holes(&backwards);
    tap_is(backwards, 0, "time never runs backwards");
    tap_ok(frames_alike(), "one codec");

    listen_to(&heard, &out);
    tap_is(heard.errors, 0, "all can be decoded");
    tap_ok(clicks_off(&heard, 200, 2000) <= SYNC, "in time before it");
    tap_ok(clicks_off(&heard, 25200, 26900) <= SYNC, "in time behind it");
}


static int
refuse(void *data, ngx_livestream_frame_t *f)
{
    (void) data;
    (void) f;

    return 77;
}


static void
test_refused(void)
{
    int                                rc;
    unsigned                           i;
    ngx_livestream_transcode_audio_t  *a;

    static const kind_t  kind = { AAC, 48000, 2, 64000 };

    clip_free(&in);
    source(&in, &kind, 100, 1100);

    a = room(AAC, 128000, 64000);
    rc = ngx_livestream_transcode_audio(a, in.frames[0], refuse, NULL);
    tap_is(rc, 77, "what the next stage says of a frame is handed back");
    ngx_livestream_transcode_audio_destroy(a);

    a = room(AAC, 128000, 0);

    for (i = 0, rc = 0; i < in.n && rc == 0; i++) {
        rc = ngx_livestream_transcode_audio(a, in.frames[i], refuse, NULL);
    }

    tap_is(rc, 77, "of one that was held back");
    ngx_livestream_transcode_audio_destroy(a);

    a = room(OPUS, 128000, 0);

    for (i = 0, rc = 0; i < in.n && rc == 0; i++) {
        rc = ngx_livestream_transcode_audio(a, in.frames[i], refuse, NULL);
    }

    tap_is(rc, 77, "of one that was encoded");
    ngx_livestream_transcode_audio_destroy(a);

    a = room(NGX_LIVESTREAM_CODEC_FLAC, 128000, 0);
    rc = ngx_livestream_transcode_audio(a, in.frames[0], refuse, NULL);
    tap_is(rc, ENOTSUP, "a codec without an encoder");
    ngx_livestream_transcode_audio_destroy(a);

    ngx_livestream_transcode_audio_destroy(NULL);
}


int
main(void)
{
    unsigned  i;

    static const kind_t  corrupt[] = {
        { AAC, 48000, 2, 192000 },
        { OPUS, 48000, 2, 128000 },
        { FLAC, 44100, 2, 0 }
    };

    av_log_set_level(AV_LOG_QUIET);

    for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        test_sync(&cases[i]);
    }

    test_pass_told();
    test_pass_measured();
    test_changes();

    test_jump(AAC, 2000, NGX_LIVESTREAM_FRAME_DISCONTINUITY);
    test_jump(OPUS, 2000, NGX_LIVESTREAM_FRAME_DISCONTINUITY);
    test_jump(AAC, 700, 0);
    test_jump(OPUS, 130, 0);
    test_jump(AAC, 0, NGX_LIVESTREAM_FRAME_DISCONTINUITY);

    test_overlap();
    test_small_holes();

    for (i = 0; i < sizeof(corrupt) / sizeof(corrupt[0]); i++) {
        test_corrupt(&corrupt[i]);
    }

    test_refused();

    clip_free(&in);
    clip_free(&out);

    return tap_done();
}

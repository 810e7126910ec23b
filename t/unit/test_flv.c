
/*
 * Copyright (C) nginx-livestream contributors
 *
 * Tests of FLV tag bodies, legacy and enhanced.  The rows are what publishers
 * send and what they should not.
 */


#include <stdlib.h>

#include "ngx_livestream_flv.h"
#include "tap.h"


#define H264    NGX_LIVESTREAM_CODEC_H264
#define HEVC    NGX_LIVESTREAM_CODEC_HEVC
#define AV1     NGX_LIVESTREAM_CODEC_AV1
#define VP9     NGX_LIVESTREAM_CODEC_VP9
#define AAC     NGX_LIVESTREAM_CODEC_AAC
#define OPUS    NGX_LIVESTREAM_CODEC_OPUS
#define FLAC    NGX_LIVESTREAM_CODEC_FLAC
#define NONE    NGX_LIVESTREAM_CODEC_NONE

#define IGNORE  NGX_LIVESTREAM_FLV_IGNORE
#define CONFIG  NGX_LIVESTREAM_FLV_CONFIG
#define FRAME   NGX_LIVESTREAM_FLV_FRAME
#define END     NGX_LIVESTREAM_FLV_END

/* a text with its length */
#define T(s)    s, sizeof(s) - 1


typedef struct {
    const char              *name;
    const char              *body;
    size_t                   len;
    int                      rc;
    ngx_livestream_flv_e     type;
    ngx_livestream_codec_e   codec;
    uint32_t                 key;
    int32_t                  cts;
    uint32_t                 nano;
    const char              *data;
} row_t;


static const row_t  video[] = {
    { "nothing", T(""), 0, IGNORE, NONE, 0, 0, 0, "" },

    /* legacy */

    { "AVC configuration", T("\x17\0\0\0\0conf"),
      0, CONFIG, H264, 1, 0, 0, "conf" },
    { "AVC key frame", T("\x17\1\0\0\x50nal"),
      0, FRAME, H264, 1, 80, 0, "nal" },
    { "AVC frame, negative offset", T("\x27\1\xff\xff\xd8nal"),
      0, FRAME, H264, 0, -40, 0, "nal" },
    { "AVC frame, least offset", T("\x27\1\x80\0\0nal"),
      0, FRAME, H264, 0, -8388608, 0, "nal" },
    { "AVC frame, greatest offset", T("\x27\1\x7f\xff\xffnal"),
      0, FRAME, H264, 0, 8388607, 0, "nal" },
    { "AVC generated key frame", T("\x47\1\0\0\0nal"),
      0, FRAME, H264, 1, 0, 0, "nal" },
    { "AVC configuration with an offset", T("\x17\0\1\2\3conf"),
      0, CONFIG, H264, 1, 0, 0, "conf" },
    { "AVC end", T("\x17\2\0\0\0"), 0, END, H264, 1, 0, 0, "" },
    { "AVC end, short", T("\x17\2"), 0, END, H264, 1, 0, 0, "" },
    { "AVC frame of no NAL", T("\x27\1\0\0\0"), 0, IGNORE, H264, 0, 0, 0, "" },
    { "AVC configuration of no bytes", T("\x17\0\0\0\0"),
      0, IGNORE, H264, 1, 0, 0, "" },
    { "HEVC configuration", T("\x1c\0\0\0\0conf"),
      0, CONFIG, HEVC, 1, 0, 0, "conf" },
    { "HEVC frame", T("\x2c\1\0\0\x21nal"), 0, FRAME, HEVC, 0, 33, 0, "nal" },
    { "command", T("\x57\0"), 0, IGNORE, NONE, 0, 0, 0, "" },
    { "command of another codec", T("\x52"), 0, IGNORE, NONE, 0, 0, 0, "" },
    { "AVC, one byte", T("\x17"), -1, IGNORE, NONE, 1, 0, 0, NULL },
    { "AVC, four bytes", T("\x17\1\0\0"), -1, IGNORE, NONE, 1, 0, 0, NULL },
    { "AVC, packet type 3", T("\x17\3\0\0\0"),
      -1, IGNORE, NONE, 1, 0, 0, NULL },
    { "Sorenson", T("\x12\0\0"), -2, IGNORE, NONE, 1, 0, 0, NULL },
    { "VP6", T("\x24"), -2, IGNORE, NONE, 0, 0, 0, NULL },
    { "codec 0", T("\0"), -2, IGNORE, NONE, 0, 0, 0, NULL },
    { "codec 13", T("\x1d\0\0\0\0conf"), -2, IGNORE, NONE, 1, 0, 0, NULL },

    /* enhanced */

    { "avc1 configuration", T("\x90" "avc1conf"),
      0, CONFIG, H264, 1, 0, 0, "conf" },
    { "avc1 frame", T("\xa1" "avc1\xff\xff\xfenal"),
      0, FRAME, H264, 0, -2, 0, "nal" },
    { "hvc1 key frame", T("\x91hvc1\0\0\x2anal"),
      0, FRAME, HEVC, 1, 42, 0, "nal" },
    { "hvc1 frame without an offset", T("\xa3hvc1nal"),
      0, FRAME, HEVC, 0, 0, 0, "nal" },
    { "hvc1 end", T("\x92hvc1"), 0, END, HEVC, 1, 0, 0, "" },
    { "av01 configuration", T("\x90" "av01conf"),
      0, CONFIG, AV1, 1, 0, 0, "conf" },
    { "av01 frame has no offset", T("\xa1" "av01obu"),
      0, FRAME, AV1, 0, 0, 0, "obu" },
    { "av01 descriptor of MPEG-2 TS", T("\x95" "av01\x80\4"),
      0, IGNORE, NONE, 1, 0, 0, "" },
    { "vp09 configuration", T("\x90vp09conf"),
      0, CONFIG, VP9, 1, 0, 0, "conf" },
    { "vp09 key frame", T("\x91vp09vpx"), 0, FRAME, VP9, 1, 0, 0, "vpx" },
    { "vp09 frame, X", T("\xa3vp09vpx"), 0, FRAME, VP9, 0, 0, 0, "vpx" },
    { "vp09 frame of no bytes", T("\xa1vp09"), 0, IGNORE, VP9, 0, 0, 0, "" },
    { "metadata", T("\x94hvc1\2\0\x09" "colorInfo"),
      0, IGNORE, NONE, 1, 0, 0, "" },
    { "metadata in a command", T("\xd4hvc1\2"),
      0, IGNORE, NONE, 0, 0, 0, "" },
    { "metadata of another codec", T("\x94vvc1\2"),
      0, IGNORE, NONE, 1, 0, 0, "" },
    { "command", T("\xd1\0"), 0, IGNORE, NONE, 0, 0, 0, "" },
    { "vp08", T("\x90vp08conf"), -2, IGNORE, NONE, 1, 0, 0, NULL },
    { "vvc1", T("\xa1vvc1\0\0\0nal"), -2, IGNORE, NONE, 0, 0, 0, NULL },
    { "packet type 8", T("\x98hvc1nal"), -1, IGNORE, NONE, 1, 0, 0, NULL },
    { "packet type 15", T("\x9fhvc1nal"), -1, IGNORE, NONE, 1, 0, 0, NULL },
    { "FourCC cut off", T("\x91hvc"), -1, IGNORE, NONE, 1, 0, 0, NULL },
    { "FourCC missing", T("\x91"), -1, IGNORE, NONE, 1, 0, 0, NULL },
    { "offset cut off", T("\x91hvc1\0\0"), -1, IGNORE, NONE, 1, 0, 0, NULL },

    /* ModEx */

    { "nanoseconds", T("\xa7\2\x07\xa1\x20\1" "av01obu"),
      0, FRAME, AV1, 0, 0, 500000, "obu" },
    { "nanoseconds, with more", T("\x97\3\0\0\1\xff\1hvc1\0\0\2nal"),
      0, FRAME, HEVC, 1, 2, 1, "nal" },
    { "a millisecond of them", T("\xa7\2\x0f\xff\xff\3" "avc1nal"),
      0, FRAME, H264, 0, 0, 999999, "nal" },
    { "another ModEx", T("\xa7\0\xaa\x13" "avc1nal"),
      0, FRAME, H264, 0, 0, 0, "nal" },
    { "two of them", T("\xa7\0\xaa\xf7\2\0\0\5\3" "avc1nal"),
      0, FRAME, H264, 0, 0, 5, "nal" },
    { "ModEx of a 16-bit size", T("\xa7\xff\0\1\xaa\xbb\x13" "avc1nal"),
      0, FRAME, H264, 0, 0, 0, "nal" },
    { "ModEx and a command", T("\xd7\0\xaa\x11\0"),
      0, IGNORE, NONE, 0, 0, 0, "" },
    { "ModEx and metadata", T("\x97\0\xaa\x14hvc1\2"),
      0, IGNORE, NONE, 1, 0, 0, "" },
    { "two bytes of nanoseconds", T("\xa7\1\0\0\3" "avc1nal"),
      -1, IGNORE, NONE, 0, 0, 0, NULL },
    { "ModEx cut off", T("\xa7"), -1, IGNORE, NONE, 0, 0, 0, NULL },
    { "ModEx without its data", T("\xa7\2\0\0"),
      -1, IGNORE, NONE, 0, 0, 0, NULL },
    { "ModEx without its type", T("\xa7\2\0\0\0"),
      -1, IGNORE, NONE, 0, 0, 0, NULL },
    { "ModEx, half a size", T("\xa7\xff\0"),
      -1, IGNORE, NONE, 0, 0, 0, NULL },
    { "ModEx, 65536 bytes", T("\xa7\xff\xff\xff\0\1"),
      -1, IGNORE, NONE, 0, 0, 0, NULL },
    { "nothing behind ModEx", T("\xa7\0\xaa\x11"),
      -1, IGNORE, NONE, 0, 0, 0, NULL },

    /* multitrack */

    { "one track", T("\x96\0hvc1\0conf"), 0, CONFIG, HEVC, 1, 0, 0, "conf" },
    { "one track, frame", T("\xa6\1hvc1\0\0\0\x14nal"),
      0, FRAME, HEVC, 0, 20, 0, "nal" },
    { "one track, another one", T("\xa6\1hvc1\1\0\0\x14nal"),
      0, IGNORE, NONE, 0, 0, 0, "" },
    { "many tracks, ours first",
      T("\xa6\x11" "avc1\0\0\0\6\0\0\5one\1\0\0\6\0\0\6two"),
      0, FRAME, H264, 0, 5, 0, "one" },
    { "many tracks, ours last",
      T("\xa6\x11" "avc1\1\0\0\6\0\0\6two\0\0\0\6\0\0\5one"),
      0, FRAME, H264, 0, 5, 0, "one" },
    { "many tracks, not ours", T("\xa6\x11" "avc1\1\0\0\6\0\0\6two"),
      0, IGNORE, NONE, 0, 0, 0, "" },
    { "many tracks and codecs",
      T("\x96\x20vp08\2\0\0\3vp8hvc1\1\0\0\3two" "av01\0\0\0\3one"),
      0, CONFIG, AV1, 1, 0, 0, "one" },
    { "many codecs, ours is not carried", T("\x96\x20vp08\0\0\0\3vp8"),
      -2, IGNORE, NONE, 1, 0, 0, NULL },
    { "ModEx before tracks", T("\xa7\2\0\0\7\6\3" "avc1\0nal"),
      0, FRAME, H264, 0, 0, 7, "nal" },
    { "tracks of kind 3", T("\x96\x30hvc1\0conf"),
      -1, IGNORE, NONE, 1, 0, 0, NULL },
    { "tracks in tracks", T("\x96\6hvc1\0conf"),
      -1, IGNORE, NONE, 1, 0, 0, NULL },
    { "ModEx in tracks", T("\x96\7hvc1\0conf"),
      -1, IGNORE, NONE, 1, 0, 0, NULL },
    { "tracks cut off", T("\x96"), -1, IGNORE, NONE, 1, 0, 0, NULL },
    { "no FourCC of tracks", T("\x96\0hvc"), -1, IGNORE, NONE, 1, 0, 0, NULL },
    { "no id of a track", T("\x96\0hvc1"), -1, IGNORE, NONE, 1, 0, 0, NULL },
    { "no size of a track", T("\x96\x10hvc1\0\0\0"),
      -1, IGNORE, NONE, 1, 0, 0, NULL },
    { "a track too long", T("\x96\x10hvc1\0\0\0\4one"),
      -1, IGNORE, NONE, 1, 0, 0, NULL },
    { "another track too long", T("\x96\x10hvc1\1\xff\xff\xffone"),
      -1, IGNORE, NONE, 1, 0, 0, NULL },
    { "an offset beyond the track", T("\xa6\x11" "avc1\0\0\0\2\0\0\5one"),
      -1, IGNORE, NONE, 0, 0, 0, NULL }
};


static const row_t  audio[] = {
    { "silence", T(""), 0, IGNORE, NONE, 0, 0, 0, "" },

    { "AAC configuration", T("\xaf\0\x12\x10"),
      0, CONFIG, AAC, 1, 0, 0, "\x12\x10" },
    { "AAC frame", T("\xaf\1raw"), 0, FRAME, AAC, 1, 0, 0, "raw" },
    { "AAC frame, other bits", T("\xa2\1raw"),
      0, FRAME, AAC, 1, 0, 0, "raw" },
    { "AAC frame of no bytes", T("\xaf\1"), 0, IGNORE, AAC, 1, 0, 0, "" },
    { "AAC configuration of no bytes", T("\xaf\0"),
      0, IGNORE, AAC, 1, 0, 0, "" },
    { "AAC, one byte", T("\xaf"), -1, IGNORE, NONE, 1, 0, 0, NULL },
    { "AAC, packet type 2", T("\xaf\2"), -1, IGNORE, NONE, 1, 0, 0, NULL },
    { "MP3", T("\x2f\xff\xfb"), -2, IGNORE, NONE, 1, 0, 0, NULL },
    { "Speex", T("\xb6speex"), -2, IGNORE, NONE, 1, 0, 0, NULL },
    { "PCM", T("\x3f"), -2, IGNORE, NONE, 1, 0, 0, NULL },

    { "mp4a configuration", T("\x90mp4a\x12\x10"),
      0, CONFIG, AAC, 1, 0, 0, "\x12\x10" },
    { "mp4a frame", T("\x91mp4araw"), 0, FRAME, AAC, 1, 0, 0, "raw" },
    { "Opus configuration", T("\x90OpusOpusHead"),
      0, CONFIG, OPUS, 1, 0, 0, "OpusHead" },
    { "Opus configuration of no bytes", T("\x90Opus"),
      0, CONFIG, OPUS, 1, 0, 0, "" },
    { "Opus frame", T("\x91Opusraw"), 0, FRAME, OPUS, 1, 0, 0, "raw" },
    { "Opus end", T("\x92Opus"), 0, END, OPUS, 1, 0, 0, "" },
    { "fLaC configuration", T("\x90" "fLaCfLaC"),
      0, CONFIG, FLAC, 1, 0, 0, "fLaC" },
    { "fLaC frame", T("\x91" "fLaCraw"), 0, FRAME, FLAC, 1, 0, 0, "raw" },
    { "channels", T("\x94Opus\1\2\0\0\0\3"), 0, IGNORE, NONE, 1, 0, 0, "" },
    { "nanoseconds", T("\x97\2\0\0\x2a\1Opusraw"),
      0, FRAME, OPUS, 1, 0, 42, "raw" },
    { "one track", T("\x95\1Opus\0raw"), 0, FRAME, OPUS, 1, 0, 0, "raw" },
    { "one track, another one", T("\x95\1Opus\1raw"),
      0, IGNORE, NONE, 1, 0, 0, "" },
    { "many tracks", T("\x95\x11mp4a\1\0\0\3two\0\0\0\3one"),
      0, FRAME, AAC, 1, 0, 0, "one" },
    { "many tracks and codecs",
      T("\x95\x21" "ac-3\1\0\0\3two" "fLaC\0\0\0\3one"),
      0, FRAME, FLAC, 1, 0, 0, "one" },
    { "AC-3", T("\x90" "ac-3"), -2, IGNORE, NONE, 1, 0, 0, NULL },
    { ".mp3", T("\x91.mp3raw"), -2, IGNORE, NONE, 1, 0, 0, NULL },
    { "packet type 3", T("\x93Opusraw"), -1, IGNORE, NONE, 1, 0, 0, NULL },
    { "packet type 6", T("\x96Opusraw"), -1, IGNORE, NONE, 1, 0, 0, NULL },
    { "FourCC missing", T("\x90"), -1, IGNORE, NONE, 1, 0, 0, NULL },
    { "ModEx cut off", T("\x97\2\0"), -1, IGNORE, NONE, 1, 0, 0, NULL }
};


typedef int (*parse_pt)(const uint8_t *body, size_t len,
    ngx_livestream_flv_t *tag, const char **reason);


/* from a copy of its very size, where it is told what lies within it */

static int
parse(parse_pt handler, const uint8_t *body, size_t len,
    ngx_livestream_flv_t *tag, uint8_t **p)
{
    int          rc;
    const char  *reason;

    *p = calloc(1, len);

    if (len) {
        memcpy(*p, body, len);
    }

    reason = NULL;

    rc = handler(*p, len, tag, &reason);

    if (reason == NULL || (rc != 0 && *reason == '\0')
        || (tag->data && (tag->data < *p || tag->data > *p + len
                          || tag->size > (size_t) (*p + len - tag->data))))
    {
        abort();
    }

    return rc;
}


static void
test_rows(const char *medium, parse_pt handler, const row_t *rows, size_t n)
{
    int                    rc;
    size_t                 i, k, odd;
    uint8_t               *p;
    const row_t           *row;
    ngx_livestream_flv_t   tag;

    odd = 0;

    for (i = 0; i < n; i++) {
        row = &rows[i];

        rc = parse(handler, (const uint8_t *) row->body, row->len, &tag, &p);

        if (rc != row->rc) {
            tap_is(rc, row->rc, "%s: %s", medium, row->name);

        } else if (rc != 0) {
            tap_ok(1, "%s: %s", medium, row->name);

        } else {
            tap_ok(tag.type == row->type && tag.codec == row->codec
                   && tag.key == row->key && tag.cts == row->cts
                   && tag.nano == row->nano
                   && tag.size == strlen(row->data)
                   && (tag.size == 0
                       || memcmp(tag.data, row->data, tag.size) == 0),
                   "%s: %s", medium, row->name);
        }

        free(p);

        for (k = 0; k < row->len; k++) {
            rc = parse(handler, (const uint8_t *) row->body, k, &tag, &p);
            odd += rc < -2 || rc > 0;
            free(p);
        }
    }

    tap_is(odd, 0, "%s: truncations are told apart", medium);
}


int
main(void)
{
    test_rows("video", ngx_livestream_flv_video, video,
              sizeof(video) / sizeof(video[0]));
    test_rows("audio", ngx_livestream_flv_audio, audio,
              sizeof(audio) / sizeof(audio[0]));

    return tap_done();
}


/*
 * Copyright (C) nginx-livestream contributors
 *
 * FLV tag bodies: the legacy headers (FLV 10.1, E.4.2 and E.4.3) and those of
 * enhanced RTMP v1 and v2.
 *
 *   video      | frame type, codec 7 or 12 | packet type | cts, 24 bits | data
 *   audio      | format 10, ... | packet type | data
 *
 *   enhanced   | flag or format 9, packet type |
 *              | ModEx ... | multitrack | FourCC | track ... | cts | data
 *
 *   ModEx      | size - 1 | bytes | type of it, packet type |    any number
 *   multitrack | kind, packet type |
 *   track      | FourCC, if each has its own | id | size, if many | ... |
 *
 * Of several tracks the one with the id 0 is taken.  Video and audio differ in
 * what the tables below say.
 *
 * Pure C, any thread.
 */


#include <string.h>

#include "ngx_livestream_flv.h"


#define NGX_LIVESTREAM_FLV_EX_VIDEO     0x80
#define NGX_LIVESTREAM_FLV_EX_AUDIO     9

#define NGX_LIVESTREAM_FLV_KEY          1           /* frame types */
#define NGX_LIVESTREAM_FLV_GENERATED    4
#define NGX_LIVESTREAM_FLV_COMMAND      5

#define NGX_LIVESTREAM_FLV_AVC          7           /* codecs */
#define NGX_LIVESTREAM_FLV_HEVC         12
#define NGX_LIVESTREAM_FLV_AAC          10

#define NGX_LIVESTREAM_FLV_SEQUENCE     0           /* legacy packet types */
#define NGX_LIVESTREAM_FLV_DATA         1
#define NGX_LIVESTREAM_FLV_DATA_END     2

#define NGX_LIVESTREAM_FLV_ONE          0           /* kinds of multitrack */
#define NGX_LIVESTREAM_FLV_MANY         1
#define NGX_LIVESTREAM_FLV_MANY_CODECS  2

#define NGX_LIVESTREAM_FLV_NANO         0           /* types of ModEx */
#define NGX_LIVESTREAM_FLV_NANO_MAX     999999

#define NGX_LIVESTREAM_FLV_MALFORMED    -1
#define NGX_LIVESTREAM_FLV_FOREIGN      -2


typedef enum {
    NGX_LIVESTREAM_FLV_EX_RESERVED = 0,
    NGX_LIVESTREAM_FLV_EX_CONFIG,
    NGX_LIVESTREAM_FLV_EX_FRAME,
    NGX_LIVESTREAM_FLV_EX_FRAME_X,      /* without its cts */
    NGX_LIVESTREAM_FLV_EX_END,
    NGX_LIVESTREAM_FLV_EX_METADATA,
    NGX_LIVESTREAM_FLV_EX_IGNORE,
    NGX_LIVESTREAM_FLV_EX_MULTITRACK,
    NGX_LIVESTREAM_FLV_EX_MODEX
} ngx_livestream_flv_ex_e;


typedef struct {
    char                     fourcc[5];
    uint8_t                  cts;       /* frames have one */
    ngx_livestream_codec_e   codec;
} ngx_livestream_flv_codec_t;


typedef struct {
    const ngx_livestream_flv_ex_e     *types;       /* of packets, 16 */
    const ngx_livestream_flv_codec_t  *codecs;
} ngx_livestream_flv_medium_t;


/* an enhanced body as it is parsed */
typedef struct {
    const uint8_t                     *pos;
    const uint8_t                     *end;
    uint32_t                           type;        /* of the packet */
    const ngx_livestream_flv_codec_t  *codec;       /* NULL: not carried */
} ngx_livestream_flv_ex_t;


static int ngx_livestream_flv_ex(const ngx_livestream_flv_medium_t *medium,
    uint32_t command, ngx_livestream_flv_ex_t *ex, ngx_livestream_flv_t *tag,
    const char **reason);
static int ngx_livestream_flv_modex(ngx_livestream_flv_ex_t *ex,
    ngx_livestream_flv_t *tag);
static int ngx_livestream_flv_multitrack(
    const ngx_livestream_flv_medium_t *medium, ngx_livestream_flv_ex_t *ex);
static int ngx_livestream_flv_fourcc(const ngx_livestream_flv_medium_t *medium,
    ngx_livestream_flv_ex_t *ex);
static int ngx_livestream_flv_packet(ngx_livestream_flv_ex_e what,
    ngx_livestream_flv_ex_t *ex, ngx_livestream_flv_t *tag,
    const char **reason);
static int ngx_livestream_flv_payload(ngx_livestream_flv_e type,
    ngx_livestream_codec_e codec, const uint8_t *data, const uint8_t *end,
    ngx_livestream_flv_t *tag);
static int32_t ngx_livestream_flv_si24(const uint8_t *p);
static uint32_t ngx_livestream_flv_ui24(const uint8_t *p);


static const ngx_livestream_flv_ex_e  ngx_livestream_flv_video_types[16] = {
    NGX_LIVESTREAM_FLV_EX_CONFIG,
    NGX_LIVESTREAM_FLV_EX_FRAME,
    NGX_LIVESTREAM_FLV_EX_END,
    NGX_LIVESTREAM_FLV_EX_FRAME_X,
    NGX_LIVESTREAM_FLV_EX_METADATA,
    NGX_LIVESTREAM_FLV_EX_IGNORE,       /* a descriptor of MPEG-2 TS: AV1's
                                           key frames tell as much */
    NGX_LIVESTREAM_FLV_EX_MULTITRACK,
    NGX_LIVESTREAM_FLV_EX_MODEX
};


static const ngx_livestream_flv_ex_e  ngx_livestream_flv_audio_types[16] = {
    NGX_LIVESTREAM_FLV_EX_CONFIG,
    NGX_LIVESTREAM_FLV_EX_FRAME,
    NGX_LIVESTREAM_FLV_EX_END,
    NGX_LIVESTREAM_FLV_EX_RESERVED,
    NGX_LIVESTREAM_FLV_EX_IGNORE,       /* channels: the codecs know them */
    NGX_LIVESTREAM_FLV_EX_MULTITRACK,
    NGX_LIVESTREAM_FLV_EX_RESERVED,
    NGX_LIVESTREAM_FLV_EX_MODEX
};


static const ngx_livestream_flv_codec_t  ngx_livestream_flv_video_codecs[] = {
    { "avc1", 1, NGX_LIVESTREAM_CODEC_H264 },
    { "hvc1", 1, NGX_LIVESTREAM_CODEC_HEVC },
    { "av01", 0, NGX_LIVESTREAM_CODEC_AV1 },
    { "vp09", 0, NGX_LIVESTREAM_CODEC_VP9 },
    { "", 0, NGX_LIVESTREAM_CODEC_NONE }
};


static const ngx_livestream_flv_codec_t  ngx_livestream_flv_audio_codecs[] = {
    { "mp4a", 0, NGX_LIVESTREAM_CODEC_AAC },
    { "Opus", 0, NGX_LIVESTREAM_CODEC_OPUS },
    { "fLaC", 0, NGX_LIVESTREAM_CODEC_FLAC },
    { "", 0, NGX_LIVESTREAM_CODEC_NONE }
};


static const ngx_livestream_flv_medium_t  ngx_livestream_flv_video_medium = {
    ngx_livestream_flv_video_types,
    ngx_livestream_flv_video_codecs
};


static const ngx_livestream_flv_medium_t  ngx_livestream_flv_audio_medium = {
    ngx_livestream_flv_audio_types,
    ngx_livestream_flv_audio_codecs
};


int
ngx_livestream_flv_video(const uint8_t *body, size_t len,
    ngx_livestream_flv_t *tag, const char **reason)
{
    uint32_t                 frame;
    const uint8_t           *end;
    ngx_livestream_codec_e   codec;
    ngx_livestream_flv_ex_t  ex;

    memset(tag, 0, sizeof(ngx_livestream_flv_t));
    *reason = "";

    if (len == 0) {
        return 0;
    }

    end = body + len;
    frame = (body[0] >> 4) & 0x07;

    tag->key = frame == NGX_LIVESTREAM_FLV_KEY
               || frame == NGX_LIVESTREAM_FLV_GENERATED;

    if (body[0] & NGX_LIVESTREAM_FLV_EX_VIDEO) {
        ex.pos = body + 1;
        ex.end = end;
        ex.type = body[0] & 0x0f;
        ex.codec = NULL;

        return ngx_livestream_flv_ex(&ngx_livestream_flv_video_medium,
                                     frame == NGX_LIVESTREAM_FLV_COMMAND, &ex,
                                     tag, reason);
    }

    if (frame == NGX_LIVESTREAM_FLV_COMMAND) {
        return 0;
    }

    switch (body[0] & 0x0f) {

    case NGX_LIVESTREAM_FLV_AVC:
        codec = NGX_LIVESTREAM_CODEC_H264;
        break;

    case NGX_LIVESTREAM_FLV_HEVC:
        codec = NGX_LIVESTREAM_CODEC_HEVC;
        break;

    default:
        *reason = "video codec is not carried";
        return NGX_LIVESTREAM_FLV_FOREIGN;
    }

    if (len > 1 && body[1] == NGX_LIVESTREAM_FLV_DATA_END) {
        return ngx_livestream_flv_payload(NGX_LIVESTREAM_FLV_END, codec, end,
                                          end, tag);
    }

    if (len < 5) {
        *reason = "video header is truncated";
        return NGX_LIVESTREAM_FLV_MALFORMED;
    }

    switch (body[1]) {

    case NGX_LIVESTREAM_FLV_SEQUENCE:
        return ngx_livestream_flv_payload(NGX_LIVESTREAM_FLV_CONFIG, codec,
                                          body + 5, end, tag);

    case NGX_LIVESTREAM_FLV_DATA:
        tag->cts = ngx_livestream_flv_si24(body + 2);

        return ngx_livestream_flv_payload(NGX_LIVESTREAM_FLV_FRAME, codec,
                                          body + 5, end, tag);

    default:
        *reason = "video packet type is unknown";
        return NGX_LIVESTREAM_FLV_MALFORMED;
    }
}


int
ngx_livestream_flv_audio(const uint8_t *body, size_t len,
    ngx_livestream_flv_t *tag, const char **reason)
{
    const uint8_t           *end;
    ngx_livestream_flv_ex_t  ex;

    memset(tag, 0, sizeof(ngx_livestream_flv_t));
    *reason = "";

    if (len == 0) {
        return 0;
    }

    end = body + len;
    tag->key = 1;

    if (body[0] >> 4 == NGX_LIVESTREAM_FLV_EX_AUDIO) {
        ex.pos = body + 1;
        ex.end = end;
        ex.type = body[0] & 0x0f;
        ex.codec = NULL;

        return ngx_livestream_flv_ex(&ngx_livestream_flv_audio_medium, 0, &ex,
                                     tag, reason);
    }

    if (body[0] >> 4 != NGX_LIVESTREAM_FLV_AAC) {
        *reason = "audio codec is not carried";
        return NGX_LIVESTREAM_FLV_FOREIGN;
    }

    if (len < 2) {
        *reason = "audio header is truncated";
        return NGX_LIVESTREAM_FLV_MALFORMED;
    }

    switch (body[1]) {

    case NGX_LIVESTREAM_FLV_SEQUENCE:
        return ngx_livestream_flv_payload(NGX_LIVESTREAM_FLV_CONFIG,
                                          NGX_LIVESTREAM_CODEC_AAC, body + 2,
                                          end, tag);

    case NGX_LIVESTREAM_FLV_DATA:
        return ngx_livestream_flv_payload(NGX_LIVESTREAM_FLV_FRAME,
                                          NGX_LIVESTREAM_CODEC_AAC, body + 2,
                                          end, tag);

    default:
        *reason = "audio packet type is unknown";
        return NGX_LIVESTREAM_FLV_MALFORMED;
    }
}


static int
ngx_livestream_flv_ex(const ngx_livestream_flv_medium_t *medium,
    uint32_t command, ngx_livestream_flv_ex_t *ex, ngx_livestream_flv_t *tag,
    const char **reason)
{
    int                      rc;
    ngx_livestream_flv_ex_e  what;

    while (medium->types[ex->type] == NGX_LIVESTREAM_FLV_EX_MODEX) {
        if (ngx_livestream_flv_modex(ex, tag) != 0) {
            *reason = "enhanced RTMP ModEx is malformed";
            return NGX_LIVESTREAM_FLV_MALFORMED;
        }
    }

    what = medium->types[ex->type];

    if (command && what != NGX_LIVESTREAM_FLV_EX_METADATA) {
        return 0;
    }

    if (what == NGX_LIVESTREAM_FLV_EX_MULTITRACK) {
        rc = ngx_livestream_flv_multitrack(medium, ex);
        what = medium->types[ex->type];

    } else {
        rc = ngx_livestream_flv_fourcc(medium, ex);
    }

    if (rc == -1) {
        *reason = "enhanced RTMP header is malformed";
        return NGX_LIVESTREAM_FLV_MALFORMED;
    }

    if (rc == 1) {                          /* tracks, but not ours */
        return 0;
    }

    return ngx_livestream_flv_packet(what, ex, tag, reason);
}


static int
ngx_livestream_flv_modex(ngx_livestream_flv_ex_t *ex,
    ngx_livestream_flv_t *tag)
{
    size_t          size;
    uint32_t        nano;
    const uint8_t  *data;

    if (ex->pos == ex->end) {
        return -1;
    }

    size = (size_t) *ex->pos++ + 1;

    if (size == 256) {
        if (ex->end - ex->pos < 2) {
            return -1;
        }

        size = ((size_t) ex->pos[0] << 8 | ex->pos[1]) + 1;
        ex->pos += 2;
    }

    if ((size_t) (ex->end - ex->pos) <= size) {
        return -1;
    }

    data = ex->pos;
    ex->pos += size;

    if (*ex->pos >> 4 == NGX_LIVESTREAM_FLV_NANO) {
        if (size < 3) {
            return -1;
        }

        nano = ngx_livestream_flv_ui24(data);

        tag->nano = nano < NGX_LIVESTREAM_FLV_NANO_MAX
                    ? nano : NGX_LIVESTREAM_FLV_NANO_MAX;
    }

    ex->type = *ex->pos++ & 0x0f;

    return 0;
}


/* Leaves in ex the track 0 alone; 1 if there is none. */

static int
ngx_livestream_flv_multitrack(const ngx_livestream_flv_medium_t *medium,
    ngx_livestream_flv_ex_t *ex)
{
    size_t    size;
    uint32_t  kind, id;

    if (ex->pos == ex->end) {
        return -1;
    }

    kind = *ex->pos >> 4;
    ex->type = *ex->pos++ & 0x0f;

    if (kind > NGX_LIVESTREAM_FLV_MANY_CODECS) {
        return -1;
    }

    if (kind != NGX_LIVESTREAM_FLV_MANY_CODECS
        && ngx_livestream_flv_fourcc(medium, ex) != 0)
    {
        return -1;
    }

    do {
        if (kind == NGX_LIVESTREAM_FLV_MANY_CODECS
            && ngx_livestream_flv_fourcc(medium, ex) != 0)
        {
            return -1;
        }

        if (ex->pos == ex->end) {
            return -1;
        }

        id = *ex->pos++;

        if (kind == NGX_LIVESTREAM_FLV_ONE) {
            return id == 0 ? 0 : 1;
        }

        if (ex->end - ex->pos < 3) {
            return -1;
        }

        size = ngx_livestream_flv_ui24(ex->pos);
        ex->pos += 3;

        if (size > (size_t) (ex->end - ex->pos)) {
            return -1;
        }

        if (id == 0) {
            ex->end = ex->pos + size;
            return 0;
        }

        ex->pos += size;

    } while (ex->pos < ex->end);

    return 1;
}


static int
ngx_livestream_flv_fourcc(const ngx_livestream_flv_medium_t *medium,
    ngx_livestream_flv_ex_t *ex)
{
    const ngx_livestream_flv_codec_t  *codec;

    if (ex->end - ex->pos < 4) {
        return -1;
    }

    for (codec = medium->codecs; codec->codec; codec++) {
        if (memcmp(codec->fourcc, ex->pos, 4) == 0) {
            break;
        }
    }

    ex->codec = codec->codec ? codec : NULL;
    ex->pos += 4;

    return 0;
}


static int
ngx_livestream_flv_packet(ngx_livestream_flv_ex_e what,
    ngx_livestream_flv_ex_t *ex, ngx_livestream_flv_t *tag,
    const char **reason)
{
    ngx_livestream_flv_e  type;

    switch (what) {

    case NGX_LIVESTREAM_FLV_EX_METADATA:
    case NGX_LIVESTREAM_FLV_EX_IGNORE:
        return 0;

    case NGX_LIVESTREAM_FLV_EX_CONFIG:
        type = NGX_LIVESTREAM_FLV_CONFIG;
        break;

    case NGX_LIVESTREAM_FLV_EX_FRAME:
    case NGX_LIVESTREAM_FLV_EX_FRAME_X:
        type = NGX_LIVESTREAM_FLV_FRAME;
        break;

    case NGX_LIVESTREAM_FLV_EX_END:
        type = NGX_LIVESTREAM_FLV_END;
        break;

    default:
        *reason = "enhanced RTMP packet type is unknown";
        return NGX_LIVESTREAM_FLV_MALFORMED;
    }

    if (ex->codec == NULL) {
        *reason = "FourCC is not carried";
        return NGX_LIVESTREAM_FLV_FOREIGN;
    }

    if (what == NGX_LIVESTREAM_FLV_EX_FRAME && ex->codec->cts) {

        if (ex->end - ex->pos < 3) {
            *reason = "enhanced RTMP header is truncated";
            return NGX_LIVESTREAM_FLV_MALFORMED;
        }

        tag->cts = ngx_livestream_flv_si24(ex->pos);
        ex->pos += 3;
    }

    return ngx_livestream_flv_payload(type, ex->codec->codec, ex->pos, ex->end,
                                      tag);
}


static int
ngx_livestream_flv_payload(ngx_livestream_flv_e type,
    ngx_livestream_codec_e codec, const uint8_t *data, const uint8_t *end,
    ngx_livestream_flv_t *tag)
{
    tag->codec = codec;
    tag->data = data;
    tag->size = end - data;

    /* an encoder that has nothing to send yet; Opus needs no configuration */

    if (tag->size == 0
        && (type == NGX_LIVESTREAM_FLV_FRAME
            || (type == NGX_LIVESTREAM_FLV_CONFIG
                && codec != NGX_LIVESTREAM_CODEC_OPUS)))
    {
        return 0;
    }

    tag->type = type;

    return 0;
}


static int32_t
ngx_livestream_flv_si24(const uint8_t *p)
{
    int32_t  v;

    v = ngx_livestream_flv_ui24(p);

    return v & 0x800000 ? v - 0x1000000 : v;
}


static uint32_t
ngx_livestream_flv_ui24(const uint8_t *p)
{
    return (uint32_t) p[0] << 16 | (uint32_t) p[1] << 8 | p[2];
}


/*
 * Copyright (C) nginx-livestream contributors
 *
 * What is said on an RTMP connection beside the media:
 *
 *   connect -------> _result
 *   releaseStream, FCPublish
 *   createStream --> _result, with the stream's number
 *   publish -------> onStatus: NetStream.Publish.Start, or an error
 *   ...
 *   FCUnpublish, deleteStream
 */


#include <string.h>

#include "amf.h"
#include "rtmp_impl.h"


#define RTMP_PING_REQUEST    6
#define RTMP_PING_RESPONSE   7

/* transactions */
#define RTMP_CONNECT         1
#define RTMP_RELEASE         2
#define RTMP_FCPUBLISH       3
#define RTMP_CREATE          4
#define RTMP_PUBLISH         5
#define RTMP_FCUNPUBLISH     6
#define RTMP_DELETE          7


static void rtmp_command(rtmp_t *r, rtmp_stream_in_t *s);
static void rtmp_result(rtmp_t *r, double transaction, amf_reader_t *in);
static void rtmp_status(rtmp_t *r, amf_reader_t *in);
static void rtmp_name_command(rtmp_t *r, const char *command,
    double transaction);
static void rtmp_publish_command(rtmp_t *r);
static void rtmp_send_command(rtmp_t *r, amf_writer_t *w, uint8_t *buf,
    uint8_t csid, uint32_t stream_id);


void
rtmp_unpublish(rtmp_t *r)
{
    uint8_t       buf[512];
    amf_writer_t  w;

    if (r->fc) {
        rtmp_name_command(r, "FCUnpublish", RTMP_FCUNPUBLISH);
    }

    w.p = buf;
    w.end = buf + sizeof(buf);

    amf_string(&w, "deleteStream");
    amf_number(&w, RTMP_DELETE);
    amf_null(&w);
    amf_number(&w, r->stream_id);

    rtmp_send_command(r, &w, buf, RTMP_CSID_COMMAND, 0);
    rtmp_flush(r);
}


void
rtmp_message(rtmp_t *r, rtmp_stream_in_t *s)
{
    uint8_t         pong[6];
    const uint8_t  *p;

    p = s->body.data;

    switch (s->type) {

    case RTMP_CHUNK_SIZE:
        if (s->length >= 4 && rtmp_get32(p) && rtmp_get32(p) <= 0xffffff) {
            r->chunk_in = rtmp_get32(p);
        }

        break;

    case RTMP_WINDOW:
        if (s->length >= 4) {
            r->window = rtmp_get32(p);
        }

        break;

    case RTMP_USER:
        if (s->length >= 6 && (p[0] << 8 | p[1]) == RTMP_PING_REQUEST) {
            memcpy(pong, p, sizeof(pong));
            pong[1] = RTMP_PING_RESPONSE;
            rtmp_control(r, RTMP_USER, pong, sizeof(pong));
        }

        break;

    case RTMP_COMMAND:
        rtmp_command(r, s);
        break;
    }
}


static void
rtmp_command(rtmp_t *r, rtmp_stream_in_t *s)
{
    char          name[64];
    double        transaction;
    amf_reader_t  in;

    in.p = s->body.data;
    in.end = in.p + s->length;

    if (amf_read_string(&in, name, sizeof(name)) != 0
        || amf_read_number(&in, &transaction) != 0)
    {
        rtmp_fail(r, "malformed command", 0);
        return;
    }

    if (strcmp(name, "_result") == 0) {
        rtmp_result(r, transaction, &in);

    } else if (strcmp(name, "onStatus") == 0
               || (strcmp(name, "_error") == 0
                   && transaction != RTMP_RELEASE
                   && transaction != RTMP_FCPUBLISH))
    {
        rtmp_status(r, &in);
    }
}


static void
rtmp_result(rtmp_t *r, double transaction, amf_reader_t *in)
{
    double        id;
    uint8_t       buf[64];
    amf_writer_t  w;

    if (transaction == RTMP_CONNECT) {

        if (r->fc) {
            rtmp_name_command(r, "releaseStream", RTMP_RELEASE);
            rtmp_name_command(r, "FCPublish", RTMP_FCPUBLISH);
        }

        w.p = buf;
        w.end = buf + sizeof(buf);

        amf_string(&w, "createStream");
        amf_number(&w, RTMP_CREATE);
        amf_null(&w);

        rtmp_send_command(r, &w, buf, RTMP_CSID_COMMAND, 0);

    } else if (transaction == RTMP_CREATE) {

        if (amf_skip(in) != 0 || amf_read_number(in, &id) != 0) {
            rtmp_fail(r, "malformed result of createStream", 0);
            return;
        }

        r->stream_id = (uint32_t) id;
        rtmp_publish_command(r);
    }
}


static void
rtmp_status(rtmp_t *r, amf_reader_t *in)
{
    char  level[16];

    if (amf_skip(in) != 0
        || amf_find_string(in, "code", r->code, sizeof(r->code)) != 0)
    {
        rtmp_fail(r, "malformed status", 0);
        return;
    }

    if (amf_find_string(in, "level", level, sizeof(level)) != 0) {
        strcpy(level, "error");
    }

    if (amf_find_string(in, "description", r->description,
                        sizeof(r->description))
        != 0)
    {
        r->description[0] = '\0';
    }

    if (r->state != RTMP_SETUP) {
        return;
    }

    if (strcmp(r->code, "NetStream.Publish.Start") == 0) {
        r->state = RTMP_PUBLISHING;

    } else if (strcmp(level, "error") == 0) {
        r->state = RTMP_REFUSED;
    }
}


void
rtmp_control(rtmp_t *r, uint8_t type, const uint8_t *data, size_t len)
{
    rtmp_write_message(r, RTMP_CSID_CONTROL, type, 0, NULL, 0, data, 0, data,
                       len);
}


void
rtmp_connect_command(rtmp_t *r)
{
    uint8_t       buf[2048];
    amf_writer_t  w;

    static const char  *fourcc[] = {
        "avc1", "hvc1", "av01", "vp09", "mp4a", "Opus", "fLaC"
    };

    w.p = buf;
    w.end = buf + sizeof(buf);

    amf_string(&w, "connect");
    amf_number(&w, RTMP_CONNECT);
    amf_object(&w);
    amf_key(&w, "app");
    amf_string(&w, r->url->app);
    amf_key(&w, "type");
    amf_string(&w, "nonprivate");
    amf_key(&w, "flashVer");
    amf_string(&w, "FMLE/3.0 (compatible; nginx-livestream bench)");
    amf_key(&w, "tcUrl");
    amf_string(&w, r->url->tc_url);
    amf_key(&w, "fourCcList");
    amf_strings(&w, fourcc, sizeof(fourcc) / sizeof(fourcc[0]));
    amf_end(&w);

    rtmp_send_command(r, &w, buf, RTMP_CSID_COMMAND, 0);
}


/* the commands whose only argument is the key */
static void
rtmp_name_command(rtmp_t *r, const char *command, double transaction)
{
    uint8_t       buf[512];
    amf_writer_t  w;

    w.p = buf;
    w.end = buf + sizeof(buf);

    amf_string(&w, command);
    amf_number(&w, transaction);
    amf_null(&w);
    amf_string(&w, r->key);

    rtmp_send_command(r, &w, buf, RTMP_CSID_COMMAND, 0);
}


static void
rtmp_publish_command(rtmp_t *r)
{
    uint8_t       buf[512];
    amf_writer_t  w;

    w.p = buf;
    w.end = buf + sizeof(buf);

    amf_string(&w, "publish");
    amf_number(&w, RTMP_PUBLISH);
    amf_null(&w);
    amf_string(&w, r->key);
    amf_string(&w, "live");

    rtmp_send_command(r, &w, buf, RTMP_CSID_PUBLISH, r->stream_id);
}


static void
rtmp_send_command(rtmp_t *r, amf_writer_t *w, uint8_t *buf, uint8_t csid,
    uint32_t stream_id)
{
    if (w->p == NULL) {
        rtmp_fail(r, "the command is too long", 0);
        return;
    }

    rtmp_write_message(r, csid, RTMP_COMMAND, stream_id, NULL, 0, buf, 0, buf,
                       w->p - buf);
}

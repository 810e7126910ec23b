
/*
 * Copyright (C) nginx-livestream contributors
 *
 * What rtmp.c, the connection, and rtmp_command.c, the messages that are no
 * media, share.
 */


#ifndef _RTMP_IMPL_H_INCLUDED_
#define _RTMP_IMPL_H_INCLUDED_


#include "rtmp.h"


#define RTMP_CHUNK_SIZE      1
#define RTMP_ACK             3
#define RTMP_USER            4
#define RTMP_WINDOW          5
#define RTMP_COMMAND         20

#define RTMP_CSID_CONTROL    2
#define RTMP_CSID_COMMAND    3
#define RTMP_CSID_AUDIO      4
#define RTMP_CSID_VIDEO      6
#define RTMP_CSID_PUBLISH    8


/* rtmp.c */

void rtmp_fail(rtmp_t *r, const char *what, int err);
void rtmp_flush(rtmp_t *r);

/* s is the state of a chunk stream of media; others have absolute
 * timestamps only */
void rtmp_write_message(rtmp_t *r, uint8_t csid, uint8_t type,
    uint32_t stream_id, rtmp_stream_out_t *s, uint32_t timestamp,
    const uint8_t *head, size_t head_len, const uint8_t *body, size_t len);


/* rtmp_command.c */

void rtmp_message(rtmp_t *r, rtmp_stream_in_t *s);
void rtmp_control(rtmp_t *r, uint8_t type, const uint8_t *data, size_t len);
void rtmp_connect_command(rtmp_t *r);


static inline uint32_t
rtmp_get24(const uint8_t *p)
{
    return (uint32_t) p[0] << 16 | p[1] << 8 | p[2];
}


static inline uint32_t
rtmp_get32(const uint8_t *p)
{
    return (uint32_t) p[0] << 24 | rtmp_get24(p + 1);
}


static inline uint8_t *
rtmp_set24(uint8_t *p, uint32_t n)
{
    *p++ = (uint8_t) (n >> 16);
    *p++ = (uint8_t) (n >> 8);
    *p++ = (uint8_t) n;

    return p;
}


static inline uint8_t *
rtmp_set32(uint8_t *p, uint32_t n)
{
    *p++ = (uint8_t) (n >> 24);

    return rtmp_set24(p, n);
}


#endif /* _RTMP_IMPL_H_INCLUDED_ */

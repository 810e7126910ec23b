
/*
 * Copyright (C) nginx-livestream contributors
 *
 * What a viewer reads in a media playlist of Low-Latency HLS.
 */


#ifndef _M3U8_H_INCLUDED_
#define _M3U8_H_INCLUDED_


#include <stddef.h>
#include <stdint.h>


typedef struct {
    uint64_t        msn;
    uint32_t        index;      /* within its segment */
    int             gap;
    const char     *uri;        /* in the text, not terminated */
    size_t          uri_len;
    uint64_t        offset;     /* BYTERANGE; length 0: there is none */
    uint64_t        length;
    double          duration;   /* s */
} m3u8_part_t;


typedef struct {
    uint64_t        first;      /* EXT-X-MEDIA-SEQUENCE */
    uint64_t        msn;        /* what comes next: its segment */
    uint32_t        part;       /* and its part */
    uint64_t        skipped;    /* segments of EXT-X-SKIP */
    int             ended;
    double          part_target;
    double          target;
    m3u8_part_t    *parts;      /* the caller's memory */
    size_t          nparts;
    size_t          max;
} m3u8_t;


/* Parts beyond list->max are left out, the oldest first.  0, or -1 if the
 * text is no media playlist. */
int m3u8_parse(const char *text, size_t len, m3u8_t *list);


#endif /* _M3U8_H_INCLUDED_ */

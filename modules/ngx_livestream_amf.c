
/*
 * Copyright (C) nginx-livestream contributors
 *
 * Walks AMF0 with a stack of its own.
 *
 *     value    marker, then a body of known size, or members
 *     members  of an object: name, value, ... up to an empty name and END
 *              of a list: as many values as its count says
 *
 * Pure C, any thread.
 */


#include "ngx_livestream_amf.h"


#define NGX_LIVESTREAM_AMF_OBJECT      3
#define NGX_LIVESTREAM_AMF_ECMA_ARRAY  8
#define NGX_LIVESTREAM_AMF_END         9
#define NGX_LIVESTREAM_AMF_LIST        10
#define NGX_LIVESTREAM_AMF_TYPED       16
#define NGX_LIVESTREAM_AMF_MARKERS     17

#define NGX_LIVESTREAM_AMF_NAMED       UINT32_MAX


/* by marker: bytes of the body, bytes of the length in front of it */
static const struct {
    uint8_t              known;
    uint8_t              size;
    uint8_t              length;
} ngx_livestream_amf_markers[NGX_LIVESTREAM_AMF_MARKERS] = {
    { 1, 8, 0 },        /* 0 number */
    { 1, 1, 0 },        /* 1 boolean */
    { 1, 0, 2 },        /* 2 string */
    { 1, 0, 0 },        /* 3 object */
    { 0, 0, 0 },        /* 4 movie clip */
    { 1, 0, 0 },        /* 5 null */
    { 1, 0, 0 },        /* 6 undefined */
    { 1, 2, 0 },        /* 7 reference */
    { 1, 4, 0 },        /* 8 ECMA array */
    { 1, 0, 0 },        /* 9 end of object; elsewhere nothing to nginx-rtmp */
    { 1, 4, 0 },        /* 10 list */
    { 1, 10, 0 },       /* 11 date */
    { 1, 0, 4 },        /* 12 long string */
    { 1, 0, 0 },        /* 13 unsupported */
    { 0, 0, 0 },        /* 14 record set */
    { 1, 0, 4 },        /* 15 XML */
    { 1, 0, 2 }         /* 16 typed object */
};


static uint32_t
ngx_livestream_amf_number(const uint8_t *p, unsigned bytes)
{
    uint32_t  n;

    for (n = 0; bytes; bytes--) {
        n = n << 8 | *p++;
    }

    return n;
}


int
ngx_livestream_amf_check(const uint8_t *data, size_t len)
{
    uint8_t         marker;
    size_t          n;
    uint32_t        left[NGX_LIVESTREAM_AMF_DEPTH];
    unsigned        depth;
    const uint8_t  *p, *last;

    p = data;
    last = data + len;
    depth = 0;

    while (p < last) {

        if (depth) {

            if (left[depth - 1] == 0) {
                depth--;
                continue;
            }

            if (left[depth - 1] == NGX_LIVESTREAM_AMF_NAMED) {

                if (last - p < 3) {
                    return 0;
                }

                n = ngx_livestream_amf_number(p, 2);
                p += 2;

                if (n == 0) {

                    if (*p++ != NGX_LIVESTREAM_AMF_END) {
                        return 0;
                    }

                    depth--;
                    continue;
                }

                if ((size_t) (last - p) <= n) {
                    return 0;
                }

                p += n;

            } else {
                left[depth - 1]--;
            }
        }

        marker = *p++;

        if (marker >= NGX_LIVESTREAM_AMF_MARKERS
            || !ngx_livestream_amf_markers[marker].known)
        {
            return 0;
        }

        n = ngx_livestream_amf_markers[marker].length;

        if ((size_t) (last - p) < n) {
            return 0;
        }

        n += n ? ngx_livestream_amf_number(p, n)
               : ngx_livestream_amf_markers[marker].size;

        if ((size_t) (last - p) < n) {
            return 0;
        }

        switch (marker) {

        case NGX_LIVESTREAM_AMF_OBJECT:
        case NGX_LIVESTREAM_AMF_ECMA_ARRAY:
        case NGX_LIVESTREAM_AMF_LIST:
        case NGX_LIVESTREAM_AMF_TYPED:

            if (depth == NGX_LIVESTREAM_AMF_DEPTH) {
                return -1;
            }

            left[depth++] = (marker == NGX_LIVESTREAM_AMF_LIST)
                            ? ngx_livestream_amf_number(p, 4)
                            : NGX_LIVESTREAM_AMF_NAMED;
            break;
        }

        p += n;
    }

    return 0;
}


/*
 * Copyright (C) nginx-livestream contributors
 *
 * Reads bits, most significant first, as configuration records and parameter
 * sets are written.  Reading never runs past the end: it gives zeros there and
 * sets `overrun`, so a parser reads all that it needs and then looks at that
 * once, as long as no loop's bound comes from unchecked data.
 *
 * With `escaped` the emulation prevention bytes of H.264 and HEVC (the 3 of
 * 00 00 03) are left out.
 *
 * Pure C, any thread.
 */


#ifndef _NGX_LIVESTREAM_CODEC_BITS_H_INCLUDED_
#define _NGX_LIVESTREAM_CODEC_BITS_H_INCLUDED_


#include <stddef.h>
#include <stdint.h>


typedef struct {
    const uint8_t           *pos;
    const uint8_t           *end;
    uint32_t                 left;      /* bits of *pos to read, 1 .. 8 */
    uint32_t                 zeros;     /* zero bytes right before pos */
    uint32_t                 escaped;
    uint32_t                 overrun;
} ngx_livestream_bits_t;


static inline void
ngx_livestream_bits_init(ngx_livestream_bits_t *b, const uint8_t *data,
    size_t len, uint32_t escaped)
{
    b->pos = data;
    b->end = data + len;
    b->left = 8;
    b->zeros = 0;
    b->escaped = escaped;
    b->overrun = 0;
}


static inline void
ngx_livestream_bits_next(ngx_livestream_bits_t *b)
{
    b->zeros = (*b->pos == 0) ? b->zeros + 1 : 0;
    b->pos++;
    b->left = 8;

    if (b->escaped && b->zeros >= 2 && b->pos < b->end && *b->pos == 3) {
        b->pos++;
        b->zeros = 0;
    }
}


/* n is 0 .. 32 */
static inline uint32_t
ngx_livestream_bits(ngx_livestream_bits_t *b, uint32_t n)
{
    uint32_t  take;
    uint64_t  v;

    v = 0;

    while (n) {
        if (b->pos == b->end) {
            b->overrun = 1;
            return 0;
        }

        take = n < b->left ? n : b->left;

        b->left -= take;
        v = (v << take) | ((*b->pos >> b->left) & ((UINT64_C(1) << take) - 1));
        n -= take;

        if (b->left == 0) {
            ngx_livestream_bits_next(b);
        }
    }

    return (uint32_t) v;
}


static inline void
ngx_livestream_bits_skip(ngx_livestream_bits_t *b, uint32_t n)
{
    while (n > 32) {
        (void) ngx_livestream_bits(b, 32);
        n -= 32;
    }

    (void) ngx_livestream_bits(b, n);
}


/* Exp-Golomb; what does not fit 32 bits is an overrun */
static inline uint32_t
ngx_livestream_bits_ue(ngx_livestream_bits_t *b)
{
    uint32_t  n;

    for (n = 0; ngx_livestream_bits(b, 1) == 0; n++) {
        if (b->overrun || n == 31) {
            b->overrun = 1;
            return 0;
        }
    }

    return (1u << n) - 1 + ngx_livestream_bits(b, n);
}


static inline int32_t
ngx_livestream_bits_se(ngx_livestream_bits_t *b)
{
    uint32_t  v;

    v = ngx_livestream_bits_ue(b);

    return (v & 1) ? (int32_t) (v / 2 + 1) : -(int32_t) (v / 2);
}


/* of data that is not escaped */
static inline size_t
ngx_livestream_bits_left(const ngx_livestream_bits_t *b)
{
    return b->pos == b->end ? 0 : (size_t) (b->end - b->pos) * 8 + b->left - 8;
}


static inline void
ngx_livestream_bits_align(ngx_livestream_bits_t *b)
{
    if (b->left != 8) {
        ngx_livestream_bits_next(b);
    }
}


#endif /* _NGX_LIVESTREAM_CODEC_BITS_H_INCLUDED_ */


/*
 * Copyright (C) nginx-livestream contributors
 *
 * Writes bits, for records that no encoder at hand makes.
 */


#ifndef _BITS_WRITER_H_INCLUDED_
#define _BITS_WRITER_H_INCLUDED_


#include <stddef.h>
#include <stdint.h>
#include <string.h>


typedef struct {
    size_t   bits;
    uint8_t  data[4096];
} writer_t;


static inline void
put(writer_t *w, unsigned n, uint32_t value)
{
    while (n--) {
        if (n < 32 && ((value >> n) & 1)) {
            w->data[w->bits / 8] |= 0x80 >> (w->bits % 8);
        }

        w->bits++;
    }
}


static inline void
put_ue(writer_t *w, uint32_t value)
{
    unsigned  n;

    for (n = 0; n < 31 && (value + 1) >> (n + 1); n++) { /* void */ }

    put(w, n, 0);
    put(w, n + 1, value + 1);
}


static inline void
put_se(writer_t *w, int32_t value)
{
    put_ue(w, value > 0 ? 2 * value - 1 : -2 * value);
}


static inline void
put_bytes(writer_t *w, const uint8_t *data, size_t len)
{
    while (len--) {
        put(w, 8, *data++);
    }
}


static inline size_t
put_len(const writer_t *w)
{
    return (w->bits + 7) / 8;
}


/* the bytes as a NAL has them: 3 before what could look like a start code */

static inline size_t
put_escaped(const writer_t *w, uint8_t *p)
{
    size_t    i;
    uint8_t  *start;
    unsigned  zeros;

    start = p;
    zeros = 0;

    for (i = 0; i < put_len(w); i++) {

        if (zeros == 2 && w->data[i] <= 3) {
            *p++ = 3;
            zeros = 0;
        }

        zeros = w->data[i] ? 0 : zeros + 1;
        *p++ = w->data[i];
    }

    return p - start;
}


#endif /* _BITS_WRITER_H_INCLUDED_ */

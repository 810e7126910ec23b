
/*
 * Copyright (C) nginx-livestream contributors
 *
 * AMF0: a value is one byte of type and what follows it.  An object is a
 * list of (16-bit length, name, value) that an empty name and type 9 end.
 */


#include <string.h>

#include "amf.h"


#define AMF_NUMBER        0x00
#define AMF_BOOLEAN       0x01
#define AMF_STRING        0x02
#define AMF_OBJECT        0x03
#define AMF_NULL          0x05
#define AMF_UNDEFINED     0x06
#define AMF_ECMA_ARRAY    0x08
#define AMF_END           0x09
#define AMF_STRICT_ARRAY  0x0a

#define AMF_DEPTH         8


static void amf_put(amf_writer_t *w, const void *data, size_t len);
static void amf_put_byte(amf_writer_t *w, uint8_t b);
static void amf_put_uint32(amf_writer_t *w, uint32_t n);
static const uint8_t *amf_take(amf_reader_t *r, size_t len);
static int amf_take_text(amf_reader_t *r, char *text, size_t size);
static int amf_open(amf_reader_t *r);
static int amf_skip_value(amf_reader_t *r, int depth);


void
amf_string(amf_writer_t *w, const char *s)
{
    amf_put_byte(w, AMF_STRING);
    amf_key(w, s);
}


void
amf_number(amf_writer_t *w, double d)
{
    int       i;
    uint8_t   b[9];
    uint64_t  n;

    memcpy(&n, &d, sizeof(n));

    b[0] = AMF_NUMBER;

    for (i = 0; i < 8; i++) {
        b[1 + i] = (uint8_t) (n >> (56 - 8 * i));
    }

    amf_put(w, b, sizeof(b));
}


void
amf_boolean(amf_writer_t *w, int b)
{
    amf_put_byte(w, AMF_BOOLEAN);
    amf_put_byte(w, b ? 1 : 0);
}


void
amf_null(amf_writer_t *w)
{
    amf_put_byte(w, AMF_NULL);
}


void
amf_strings(amf_writer_t *w, const char **list, uint32_t n)
{
    uint32_t  i;

    amf_put_byte(w, AMF_STRICT_ARRAY);
    amf_put_uint32(w, n);

    for (i = 0; i < n; i++) {
        amf_string(w, list[i]);
    }
}


void
amf_object(amf_writer_t *w)
{
    amf_put_byte(w, AMF_OBJECT);
}


void
amf_ecma_array(amf_writer_t *w, uint32_t n)
{
    amf_put_byte(w, AMF_ECMA_ARRAY);
    amf_put_uint32(w, n);
}


void
amf_key(amf_writer_t *w, const char *key)
{
    size_t  len;

    len = strlen(key);

    if (len > 65535) {
        len = 65535;
    }

    amf_put_byte(w, (uint8_t) (len >> 8));
    amf_put_byte(w, (uint8_t) len);
    amf_put(w, key, len);
}


void
amf_end(amf_writer_t *w)
{
    amf_key(w, "");
    amf_put_byte(w, AMF_END);
}


int
amf_read_string(amf_reader_t *r, char *text, size_t size)
{
    const uint8_t  *type;

    type = amf_take(r, 1);

    if (type == NULL || *type != AMF_STRING) {
        return -1;
    }

    return amf_take_text(r, text, size);
}


int
amf_read_number(amf_reader_t *r, double *d)
{
    int             i;
    uint64_t        n;
    const uint8_t  *p;

    p = amf_take(r, 9);

    if (p == NULL || p[0] != AMF_NUMBER) {
        return -1;
    }

    n = 0;

    for (i = 1; i < 9; i++) {
        n = n << 8 | p[i];
    }

    memcpy(d, &n, sizeof(*d));

    return 0;
}


int
amf_skip(amf_reader_t *r)
{
    return amf_skip_value(r, 0);
}


int
amf_find_string(const amf_reader_t *r, const char *key, char *text,
    size_t size)
{
    char          name[64];
    amf_reader_t  at;

    at = *r;

    if (amf_open(&at) != 0) {
        return -1;
    }

    for ( ;; ) {
        if (amf_take_text(&at, name, sizeof(name)) != 0
            || (at.p < at.end && *at.p == AMF_END))
        {
            return -1;
        }

        if (strcmp(name, key) == 0) {
            return amf_read_string(&at, text, size);
        }

        if (amf_skip(&at) != 0) {
            return -1;
        }
    }
}


static void
amf_put(amf_writer_t *w, const void *data, size_t len)
{
    if (w->p == NULL || (size_t) (w->end - w->p) < len) {
        w->p = NULL;
        return;
    }

    memcpy(w->p, data, len);
    w->p += len;
}


static void
amf_put_byte(amf_writer_t *w, uint8_t b)
{
    amf_put(w, &b, 1);
}


static void
amf_put_uint32(amf_writer_t *w, uint32_t n)
{
    uint8_t  b[4];

    b[0] = (uint8_t) (n >> 24);
    b[1] = (uint8_t) (n >> 16);
    b[2] = (uint8_t) (n >> 8);
    b[3] = (uint8_t) n;

    amf_put(w, b, sizeof(b));
}


static const uint8_t *
amf_take(amf_reader_t *r, size_t len)
{
    const uint8_t  *p;

    if ((size_t) (r->end - r->p) < len) {
        return NULL;
    }

    p = r->p;
    r->p += len;

    return p;
}


static int
amf_take_text(amf_reader_t *r, char *text, size_t size)
{
    size_t          len;
    const uint8_t  *p;

    p = amf_take(r, 2);

    if (p == NULL) {
        return -1;
    }

    len = (size_t) p[0] << 8 | p[1];
    p = amf_take(r, len);

    if (p == NULL) {
        return -1;
    }

    if (len >= size) {
        len = size - 1;
    }

    memcpy(text, p, len);
    text[len] = '\0';

    return 0;
}


/* enters an object or an ECMA array */
static int
amf_open(amf_reader_t *r)
{
    const uint8_t  *type;

    type = amf_take(r, 1);

    if (type == NULL) {
        return -1;
    }

    if (*type == AMF_OBJECT) {
        return 0;
    }

    if (*type == AMF_ECMA_ARRAY && amf_take(r, 4)) {
        return 0;
    }

    return -1;
}


static int
amf_skip_value(amf_reader_t *r, int depth)
{
    char            name[2];
    uint32_t        i, n;
    const uint8_t  *p;

    if (r->p == r->end || depth == AMF_DEPTH) {
        return -1;
    }

    switch (*r->p) {

    case AMF_NUMBER:
        return amf_take(r, 9) ? 0 : -1;

    case AMF_BOOLEAN:
        return amf_take(r, 2) ? 0 : -1;

    case AMF_STRING:
        r->p++;
        return amf_take_text(r, name, sizeof(name));

    case AMF_NULL:
    case AMF_UNDEFINED:
        return amf_take(r, 1) ? 0 : -1;

    case AMF_STRICT_ARRAY:
        p = amf_take(r, 5);

        if (p == NULL) {
            return -1;
        }

        n = (uint32_t) p[1] << 24 | p[2] << 16 | p[3] << 8 | p[4];

        for (i = 0; i < n; i++) {
            if (amf_skip_value(r, depth + 1) != 0) {
                return -1;
            }
        }

        return 0;
    }

    if (amf_open(r) != 0) {
        return -1;
    }

    for ( ;; ) {
        if (amf_take_text(r, name, sizeof(name)) != 0 || r->p == r->end) {
            return -1;
        }

        if (*r->p == AMF_END) {
            r->p++;
            return 0;
        }

        if (amf_skip_value(r, depth + 1) != 0) {
            return -1;
        }
    }
}

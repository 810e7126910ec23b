
/*
 * Copyright (C) nginx-livestream contributors
 *
 * AMF0, as far as an RTMP publisher needs it.
 */


#ifndef _AMF_H_INCLUDED_
#define _AMF_H_INCLUDED_


#include <stddef.h>
#include <stdint.h>


/* what does not fit is left out and p set to NULL */
typedef struct {
    uint8_t        *p;
    uint8_t        *end;
} amf_writer_t;


void amf_string(amf_writer_t *w, const char *s);
void amf_number(amf_writer_t *w, double d);
void amf_boolean(amf_writer_t *w, int b);
void amf_null(amf_writer_t *w);
void amf_strings(amf_writer_t *w, const char **list, uint32_t n);
void amf_object(amf_writer_t *w);
void amf_ecma_array(amf_writer_t *w, uint32_t n);
void amf_key(amf_writer_t *w, const char *key);
void amf_end(amf_writer_t *w);


typedef struct {
    const uint8_t  *p;
    const uint8_t  *end;
} amf_reader_t;


/* 0, or -1: malformed or of another type; the text is cut to size */
int amf_read_string(amf_reader_t *r, char *text, size_t size);
int amf_read_number(amf_reader_t *r, double *d);
int amf_skip(amf_reader_t *r);

/* the member of that name of the object that is read next; the reader is
 * not moved */
int amf_find_string(const amf_reader_t *r, const char *key, char *text,
    size_t size);


#endif /* _AMF_H_INCLUDED_ */

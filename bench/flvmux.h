
/*
 * Copyright (C) nginx-livestream contributors
 *
 * A clip: a media file read into memory as the bodies of FLV tags, ready to
 * be sent by any number of connections, once or in a loop.
 */


#ifndef _FLVMUX_H_INCLUDED_
#define _FLVMUX_H_INCLUDED_


#include <stddef.h>
#include <stdint.h>


#define FLVMUX_AUDIO     8
#define FLVMUX_VIDEO     9

#define FLVMUX_HEAD_MAX  8


/* A tag's body is its head, with the composition time put in by
 * flvmux_head(), and its data. */
typedef struct {
    int64_t          dts;       /* us since the clip began, >= 0 */
    int64_t          pts;
    uint8_t          type;      /* FLVMUX_AUDIO, FLVMUX_VIDEO */
    uint8_t          key;
    uint8_t          head_len;
    uint8_t          cts;       /* place in head of 24 bits, or 0 */
    uint8_t          head[FLVMUX_HEAD_MAX];
    const uint8_t   *data;
    size_t           size;
    void            *packet;    /* that data belongs to */
} flvmux_tag_t;


typedef struct {
    uint8_t         *data;      /* NULL: there is none */
    size_t           size;
} flvmux_body_t;


typedef struct {
    int              enhanced;  /* FourCC for H.264 and AAC too */
    int              no_audio;
    int              no_video;
} flvmux_conf_t;


typedef struct {
    flvmux_tag_t    *tags;      /* in the order of dts */
    size_t           ntags;
    int64_t          period;    /* us, after which it may begin again */
    flvmux_body_t    metadata;
    flvmux_body_t    video;     /* configurations: tag bodies */
    flvmux_body_t    audio;
} flvmux_clip_t;


/* 0, or -1 with a text in error */
int flvmux_load(flvmux_clip_t *clip, const char *file,
    const flvmux_conf_t *conf, char *error, size_t size);
void flvmux_free(flvmux_clip_t *clip);

/* Milliseconds as an encoder rounds them, base being what is added to the
 * clip's time; writes the head of tag->head_len bytes that belongs to it. */
int64_t flvmux_head(const flvmux_tag_t *tag, int64_t base, uint8_t *head);


#endif /* _FLVMUX_H_INCLUDED_ */


/*
 * Copyright (C) nginx-livestream contributors
 *
 * Reads a media playlist line by line; a table says what each tag means.
 */


#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "m3u8.h"


typedef struct {
    const char     *name;
    void          (*read)(m3u8_t *list, const char *value, size_t len);
} m3u8_tag_t;


static void m3u8_line(m3u8_t *list, const char *line, size_t len);
static void m3u8_sequence(m3u8_t *list, const char *value, size_t len);
static void m3u8_target(m3u8_t *list, const char *value, size_t len);
static void m3u8_part_inf(m3u8_t *list, const char *value, size_t len);
static void m3u8_skip(m3u8_t *list, const char *value, size_t len);
static void m3u8_part(m3u8_t *list, const char *value, size_t len);
static void m3u8_endlist(m3u8_t *list, const char *value, size_t len);
static const char *m3u8_attribute(const char *value, size_t len,
    const char *name, size_t *size);


static const m3u8_tag_t  m3u8_tags[] = {

    { "#EXT-X-PART:", m3u8_part },
    { "#EXT-X-MEDIA-SEQUENCE:", m3u8_sequence },
    { "#EXT-X-TARGETDURATION:", m3u8_target },
    { "#EXT-X-PART-INF:", m3u8_part_inf },
    { "#EXT-X-SKIP:", m3u8_skip },
    { "#EXT-X-ENDLIST", m3u8_endlist },

    { NULL, NULL }
};


int
m3u8_parse(const char *text, size_t len, m3u8_t *list)
{
    size_t       n;
    const char  *eol, *end;

    end = text + len;

    list->first = 0;
    list->msn = 0;
    list->part = 0;
    list->skipped = 0;
    list->ended = 0;
    list->part_target = 0;
    list->target = 0;
    list->nparts = 0;

    if (len < 7 || memcmp(text, "#EXTM3U", 7) != 0) {
        return -1;
    }

    while (text < end) {
        eol = memchr(text, '\n', end - text);
        n = (eol ? eol : end) - text;

        m3u8_line(list, text, n && text[n - 1] == '\r' ? n - 1 : n);

        text += n + 1;
    }

    return list->target ? 0 : -1;
}


static void
m3u8_line(m3u8_t *list, const char *line, size_t len)
{
    size_t             n;
    const m3u8_tag_t  *tag;

    if (len == 0) {
        return;
    }

    /* a segment's URI closes it */

    if (line[0] != '#') {
        list->msn++;
        list->part = 0;
        return;
    }

    for (tag = m3u8_tags; tag->name; tag++) {
        n = strlen(tag->name);

        if (len >= n && memcmp(line, tag->name, n) == 0) {
            tag->read(list, line + n, len - n);
            return;
        }
    }
}


static void
m3u8_sequence(m3u8_t *list, const char *value, size_t len)
{
    (void) len;

    list->first = strtoull(value, NULL, 10);
    list->msn = list->first;
}


static void
m3u8_target(m3u8_t *list, const char *value, size_t len)
{
    (void) len;

    list->target = strtod(value, NULL);
}


static void
m3u8_part_inf(m3u8_t *list, const char *value, size_t len)
{
    size_t       size;
    const char  *p;

    p = m3u8_attribute(value, len, "PART-TARGET", &size);

    if (p) {
        list->part_target = strtod(p, NULL);
    }
}


static void
m3u8_skip(m3u8_t *list, const char *value, size_t len)
{
    size_t       size;
    const char  *p;

    p = m3u8_attribute(value, len, "SKIPPED-SEGMENTS", &size);

    if (p) {
        list->skipped = strtoull(p, NULL, 10);
        list->msn += list->skipped;
    }
}


static void
m3u8_part(m3u8_t *list, const char *value, size_t len)
{
    size_t        size;
    const char   *p;
    m3u8_part_t  *part;

    if (list->nparts == list->max) {
        memmove(list->parts, list->parts + 1,
                (list->max - 1) * sizeof(m3u8_part_t));
        list->nparts--;
    }

    part = &list->parts[list->nparts++];
    memset(part, 0, sizeof(m3u8_part_t));

    part->msn = list->msn;
    part->index = list->part++;

    part->uri = m3u8_attribute(value, len, "URI", &part->uri_len);

    p = m3u8_attribute(value, len, "DURATION", &size);

    if (p) {
        part->duration = strtod(p, NULL);
    }

    p = m3u8_attribute(value, len, "GAP", &size);
    part->gap = (p && size == 3 && memcmp(p, "YES", 3) == 0);

    p = m3u8_attribute(value, len, "BYTERANGE", &size);

    if (p) {
        part->length = strtoull(p, NULL, 10);
        p = memchr(p, '@', size);
        part->offset = p ? strtoull(p + 1, NULL, 10) : 0;
    }
}


static void
m3u8_endlist(m3u8_t *list, const char *value, size_t len)
{
    (void) value;
    (void) len;

    list->ended = 1;
}


/* the value of an attribute, without quotes, or NULL */
static const char *
m3u8_attribute(const char *value, size_t len, const char *name, size_t *size)
{
    size_t       n;
    const char  *p, *end, *next;

    n = strlen(name);
    end = value + len;

    for (p = value; p < end; p = next + 1) {

        next = memchr(p, '=', end - p);

        if (next == NULL) {
            return NULL;
        }

        if (next + 1 < end && next[1] == '"') {
            next = memchr(next + 2, '"', end - next - 2);
            next = next ? next + 1 : end;

        } else {
            next = memchr(next, ',', end - next);
            next = next ? next : end;
        }

        if ((size_t) (next - p) > n && p[n] == '=' && memcmp(p, name, n) == 0)
        {
            p += n + 1;
            *size = next - p;

            if (*size >= 2 && *p == '"') {
                p++;
                *size -= 2;
            }

            return p;
        }
    }

    return NULL;
}


/*
 * Copyright (C) nginx-livestream contributors
 *
 * AMF0 that is nested, well and badly.
 */


#include <string.h>

#include "ngx_livestream_amf.h"
#include "tap.h"


#define OBJECT  "\x03\0\1a"
#define MIXED   "\x08\0\0\0\1\0\1a"
#define LIST    "\x0a\0\0\0\1"
#define CLOSE   "\0\0\x09"


static uint8_t  buf[1024 * 1024];


static size_t
repeat(size_t at, const char *text, size_t len, unsigned n)
{
    for ( /* void */ ; n; n--) {
        memcpy(buf + at, text, len);
        at += len;
    }

    return at;
}


static int
nested(const char *open, size_t len, unsigned n)
{
    return ngx_livestream_amf_check(buf, repeat(0, open, len, n));
}


static void
test_depth(void)
{
    unsigned  i;

    static const struct {
        const char  *name;
        const char  *open;
        size_t       len;
    } kinds[] = {
        { "objects", OBJECT, sizeof(OBJECT) - 1 },
        { "arrays", MIXED, sizeof(MIXED) - 1 },
        { "lists", LIST, sizeof(LIST) - 1 }
    };

    for (i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        tap_ok(nested(kinds[i].open, kinds[i].len, NGX_LIVESTREAM_AMF_DEPTH) == 0,
           "%s as deep as allowed", kinds[i].name);
        tap_ok(nested(kinds[i].open, kinds[i].len, NGX_LIVESTREAM_AMF_DEPTH + 1)
           == -1, "%s one deeper", kinds[i].name);
        tap_ok(nested(kinds[i].open, kinds[i].len, 100000) == -1,
           "%s without an end", kinds[i].name);
    }
}


static void
test_siblings(void)
{
    size_t  n;

    n = repeat(0, OBJECT "\5" CLOSE, sizeof(OBJECT "\5" CLOSE) - 1, 1000);
    tap_ok(ngx_livestream_amf_check(buf, n) == 0, "objects side by side");

    n = repeat(0, "\x0a\0\0\3\xe8", 5, 1);
    n = repeat(n, "\x0a\0\0\0\0", 5, 1000);
    tap_ok(ngx_livestream_amf_check(buf, n) == 0, "a list of empty lists");

    n = repeat(0, OBJECT "\x09", sizeof(OBJECT "\x09") - 1, 1);
    n = repeat(n, "\0\1b" OBJECT "\x09", sizeof("\0\1b" OBJECT "\x09") - 1,
               NGX_LIVESTREAM_AMF_DEPTH);
    tap_ok(ngx_livestream_amf_check(buf, n) == -1,
       "an end with a name, which ends nothing");
}


static void
test_truncated(void)
{
    int           rc;
    size_t        n;

    static const char  meta[] =
        "\2\0\x0aonMetaData\x08\0\0\0\2\0\5width\0\x40\x84\0\0\0\0\0\0"
        "\0\4list\x0a\0\0\0\2\1\1\2\0\1x\0\4date\x0b\0\0\0\0\0\0\0\0\0\0"
        "\0\4long\x0c\0\0\0\3abc\0\5typed\x10\0\1T\0\1a\5\0\0\x09\0\0\x09";

    rc = 0;

    for (n = 0; n < sizeof(meta); n++) {
        rc |= ngx_livestream_amf_check((const uint8_t *) meta, n);
    }

    tap_ok(rc == 0, "metadata, and all that they can be cut off to");

    for (n = 0; n < 256; n++) {
        buf[0] = n;
        memset(buf + 1, 0xff, 16);
        rc |= ngx_livestream_amf_check(buf, 17);
    }

    tap_ok(rc == 0, "any marker, with lengths beyond the end");
}


int
main(void)
{
    test_depth();
    test_siblings();
    test_truncated();

    return tap_done();
}

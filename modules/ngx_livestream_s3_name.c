
/*
 * Copyright (C) nginx-livestream contributors
 *
 * The names of things in S3:
 *
 *   s3://bucket/a/b                       what the operator writes
 *   http://host:9000/bucket/a/b/KEY       with an endpoint: path style
 *   https://bucket.s3.REGION.amazonaws.com/a/b/KEY          without one
 *
 * Without an endpoint, a bucket with a dot is named in the path as well: no
 * certificate of theirs would be good for it as a host.
 *
 * Paths are encoded here once, the way in which Signature Version 4 wants
 * them, and are neither decoded nor tidied by anybody on the way.
 *
 * Any thread.
 */


#include <stdio.h>
#include <string.h>

#include "ngx_livestream_s3.h"


typedef struct {
    const char                *suffix;
    const char                *type;
} ngx_livestream_s3_type_t;


static const char *ngx_livestream_s3_locate_endpoint(
    ngx_livestream_s3_place_t *place, const char *endpoint);
static const char *ngx_livestream_s3_locate_amazon(
    ngx_livestream_s3_place_t *place, const char *region);
static const char *ngx_livestream_s3_locate_prefix(
    ngx_livestream_s3_place_t *place, const char *prefix, int bucket);


static const char  ngx_livestream_s3_lower[] =
    "abcdefghijklmnopqrstuvwxyz0123456789-";

static const char  ngx_livestream_s3_plain[] =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~";


static const ngx_livestream_s3_type_t  ngx_livestream_s3_types[] = {
    { ".m3u8",  "application/vnd.apple.mpegurl" },
    { ".m4s",   "video/iso.segment" },
    { ".mp4",   "video/mp4" },
    { ".jpg",   "image/jpeg" },
    { ".vtt",   "text/vtt" },
    { NULL,     "application/octet-stream" }
};


const char *
ngx_livestream_s3_locate(ngx_livestream_s3_place_t *place, const char *uri,
    const char *endpoint, const char *region)
{
    int          path;
    size_t       len;
    const char  *bucket, *prefix, *wrong;

    if (strncmp(uri, "s3://", 5) != 0) {
        return "it must be such as \"s3://bucket/prefix\"";
    }

    bucket = uri + 5;
    len = strcspn(bucket, "/");
    prefix = bucket + len;

    if (len < 3 || len >= NGX_LIVESTREAM_S3_BUCKET) {
        return "a bucket's name has 3 to 63 characters";
    }

    memcpy(place->bucket, bucket, len);
    place->bucket[len] = '\0';

    if (strspn(place->bucket, "abcdefghijklmnopqrstuvwxyz0123456789-.") != len
        || strchr("-.", bucket[0]) || strchr("-.", bucket[len - 1])
        || strstr(place->bucket, ".."))
    {
        return "a bucket's name is of lower-case letters, digits, \"-\" and "
               "\".\"";
    }

    len = strlen(region);

    if (len == 0 || len >= NGX_LIVESTREAM_S3_REGION
        || strspn(region, ngx_livestream_s3_lower) != len)
    {
        return "the region must be such as \"us-east-1\"";
    }

    if (endpoint) {
        path = 1;
        wrong = ngx_livestream_s3_locate_endpoint(place, endpoint);

    } else {
        path = (strchr(place->bucket, '.') != NULL);
        wrong = ngx_livestream_s3_locate_amazon(place, region);
    }

    if (wrong) {
        return wrong;
    }

    return ngx_livestream_s3_locate_prefix(place, prefix, path);
}


static const char *
ngx_livestream_s3_locate_endpoint(ngx_livestream_s3_place_t *place,
    const char *endpoint)
{
    size_t       len;
    const char  *host, *port;

    host = strstr(endpoint, "://");

    if (strncmp(endpoint, "http://", 7) == 0) {
        strcpy(place->scheme, "http://");
        port = ":80";

    } else if (strncmp(endpoint, "https://", 8) == 0) {
        strcpy(place->scheme, "https://");
        port = ":443";

    } else {
        return "the endpoint must be such as \"http://host:9000\"";
    }

    host += 3;
    len = strcspn(host, "/");

    if (host[len] == '/' && host[len + 1] != '\0') {
        return "the endpoint must have no path";
    }

    if (len == 0 || len >= NGX_LIVESTREAM_S3_HOST
        || strspn(host, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
                        "0123456789-._:[]") != len)
    {
        return "the endpoint has no valid host";
    }

    /* clients leave the default port away, and the host is signed */

    if (len > strlen(port)
        && strncmp(host + len - strlen(port), port, strlen(port)) == 0)
    {
        len -= strlen(port);
    }

    memcpy(place->host, host, len);
    place->host[len] = '\0';

    return NULL;
}


static const char *
ngx_livestream_s3_locate_amazon(ngx_livestream_s3_place_t *place,
    const char *region)
{
    const char  *domain;

    strcpy(place->scheme, "https://");

    domain = strncmp(region, "cn-", 3) == 0 ? "amazonaws.com.cn"
                                            : "amazonaws.com";

    if (strchr(place->bucket, '.')) {
        (void) snprintf(place->host, sizeof(place->host), "s3.%s.%s", region,
                        domain);

    } else {
        (void) snprintf(place->host, sizeof(place->host), "%s.s3.%s.%s",
                        place->bucket, region, domain);
    }

    return NULL;
}


static const char *
ngx_livestream_s3_locate_prefix(ngx_livestream_s3_place_t *place,
    const char *prefix, int bucket)
{
    char    text[NGX_LIVESTREAM_S3_PREFIX];
    size_t  len;

    while (*prefix == '/') {
        prefix++;
    }

    len = strlen(prefix);

    while (len && prefix[len - 1] == '/') {
        len--;
    }

    if (len >= NGX_LIVESTREAM_S3_PREFIX) {
        return "the prefix has more than 255 characters";
    }

    memcpy(text, prefix, len);
    text[len] = '\0';

    /* some servers would tidy such a path, which is another one then */

    if (strstr(text, "//") || strcmp(text, ".") == 0 || strcmp(text, "..") == 0
        || strncmp(text, "./", 2) == 0 || strncmp(text, "../", 3) == 0
        || strstr(text, "/./") || strstr(text, "/../")
        || (len >= 2 && strcmp(text + len - 2, "/.") == 0)
        || (len >= 3 && strcmp(text + len - 3, "/..") == 0))
    {
        return "the prefix must not have \"//\", \".\" or \"..\" in it";
    }

    place->base[0] = '/';
    place->base[1] = '\0';
    len = 1;

    if (bucket) {
        len += sprintf(place->base + len, "%s/", place->bucket);
    }

    if (text[0]) {
        len = ngx_livestream_s3_encode(place->base, len, sizeof(place->base),
                                       text, 1);
        place->base[len++] = '/';
        place->base[len] = '\0';
    }

    return NULL;
}


size_t
ngx_livestream_s3_path(const ngx_livestream_s3_place_t *place, const char *key,
    char *p, size_t size)
{
    size_t  len;

    len = strlen(place->base);

    if (len >= size) {
        return 0;
    }

    memcpy(p, place->base, len + 1);

    return ngx_livestream_s3_encode(p, len, size, key, 1);
}


size_t
ngx_livestream_s3_encode(char *p, size_t len, size_t size, const char *text,
    int slash)
{
    const char  *s;

    if (len == 0) {
        return 0;
    }

    for (s = text; *s; s++) {

        if (size - len < 4) {
            return 0;
        }

        if (strchr(ngx_livestream_s3_plain, *s) || (slash && *s == '/')) {
            p[len++] = *s;

        } else {
            len += sprintf(p + len, "%%%02X", (unsigned char) *s);
        }
    }

    p[len] = '\0';

    return len;
}


const char *
ngx_livestream_s3_type(const char *name)
{
    size_t                           len, n;
    const ngx_livestream_s3_type_t  *t;

    len = strlen(name);

    for (t = ngx_livestream_s3_types; t->suffix; t++) {
        n = strlen(t->suffix);

        if (len > n && strcmp(name + len - n, t->suffix) == 0) {
            break;
        }
    }

    return t->type;
}


void
ngx_livestream_s3_hex(char *p, const unsigned char *bytes, size_t n)
{
    size_t             i;
    static const char  hex[] = "0123456789abcdef";

    for (i = 0; i < n; i++) {
        *p++ = hex[bytes[i] >> 4];
        *p++ = hex[bytes[i] & 0xf];
    }

    *p = '\0';
}


size_t
ngx_livestream_s3_element(const char *xml, const char *name, char *p,
    size_t size)
{
    char         tag[64];
    size_t       len;
    const char  *s, *end;

    (void) snprintf(tag, sizeof(tag), "<%s>", name);

    s = strstr(xml, tag);
    if (s == NULL) {
        return 0;
    }

    s += strlen(tag);

    (void) snprintf(tag, sizeof(tag), "</%s>", name);

    end = strstr(s, tag);
    if (end == NULL) {
        return 0;
    }

    len = 0;

    while (s < end) {

        if (*s == '"') {
            s++;
            continue;
        }

        if (strncmp(s, "&quot;", 6) == 0) {
            s += 6;
            continue;
        }

        if (strncmp(s, "&#34;", 5) == 0) {
            s += 5;
            continue;
        }

        if (len + 1 >= size) {
            return 0;
        }

        p[len++] = *s++;
    }

    p[len] = '\0';

    return len;
}

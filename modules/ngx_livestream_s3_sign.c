
/*
 * Copyright (C) nginx-livestream contributors
 *
 * Signature Version 4, of one's own making for presigned URLs only: requests
 * are signed by libcurl.
 *
 *   secret --HMAC--> day --HMAC--> region --HMAC--> s3 --HMAC--> key
 *   method, path, query, headers, payload --SHA-256--> text --HMAC(key)--> hex
 *
 * Any thread.
 */


#include <stdio.h>
#include <string.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

#include "ngx_livestream_s3.h"


#define NGX_LIVESTREAM_S3_SECRET       256


static int ngx_livestream_s3_hmac(const void *key, size_t n, const char *text,
    unsigned char *out);
static int ngx_livestream_s3_canonical(const char **lines, char *hash);


void
ngx_livestream_s3_stamp(time_t now, char *stamp)
{
    struct tm  tm;

    (void) gmtime_r(&now, &tm);
    (void) strftime(stamp, NGX_LIVESTREAM_S3_STAMP, "%Y%m%dT%H%M%SZ", &tm);
}


int
ngx_livestream_s3_signing_key(const char *secret, const char *stamp,
    const char *region, unsigned char *key)
{
    int   n;
    char  day[9], first[NGX_LIVESTREAM_S3_SECRET];

    n = snprintf(first, sizeof(first), "AWS4%s", secret);

    if (n >= (int) sizeof(first)) {
        return -1;
    }

    memcpy(day, stamp, 8);
    day[8] = '\0';

    if (ngx_livestream_s3_hmac(first, n, day, key) == -1
        || ngx_livestream_s3_hmac(key, NGX_LIVESTREAM_S3_SHA256, region, key)
           == -1
        || ngx_livestream_s3_hmac(key, NGX_LIVESTREAM_S3_SHA256, "s3", key)
           == -1)
    {
        return -1;
    }

    return ngx_livestream_s3_hmac(key, NGX_LIVESTREAM_S3_SHA256,
                                  "aws4_request", key);
}


/* out may be key */

static int
ngx_livestream_s3_hmac(const void *key, size_t n, const char *text,
    unsigned char *out)
{
    unsigned       len;
    unsigned char  sum[EVP_MAX_MD_SIZE];

    if (HMAC(EVP_sha256(), key, n, (const unsigned char *) text, strlen(text),
             sum, &len)
        == NULL)
    {
        return -1;
    }

    memcpy(out, sum, NGX_LIVESTREAM_S3_SHA256);

    return 0;
}


int
ngx_livestream_s3_sign(const unsigned char *key, const char *stamp,
    const char *region, const char *method, const char *path,
    const char *query, const char *headers, const char *names,
    const char *payload, char *signature)
{
    char           hash[NGX_LIVESTREAM_S3_HEX];
    char           text[NGX_LIVESTREAM_S3_REGION + 192];
    const char    *lines[7];
    unsigned char  sum[NGX_LIVESTREAM_S3_SHA256];

    lines[0] = method;
    lines[1] = path;
    lines[2] = query;
    lines[3] = headers;
    lines[4] = names;
    lines[5] = payload;
    lines[6] = NULL;

    if (ngx_livestream_s3_canonical(lines, hash) == -1) {
        return -1;
    }

    (void) snprintf(text, sizeof(text),
                    "AWS4-HMAC-SHA256\n%s\n%.8s/%s/s3/aws4_request\n%s",
                    stamp, stamp, region, hash);

    if (ngx_livestream_s3_hmac(key, NGX_LIVESTREAM_S3_SHA256, text, sum)
        == -1)
    {
        return -1;
    }

    ngx_livestream_s3_hex(signature, sum, NGX_LIVESTREAM_S3_SHA256);

    return 0;
}


static int
ngx_livestream_s3_canonical(const char **lines, char *hash)
{
    int             i, ok;
    EVP_MD_CTX     *ctx;
    unsigned char   sum[EVP_MAX_MD_SIZE];

    ctx = EVP_MD_CTX_new();
    if (ctx == NULL) {
        return -1;
    }

    ok = EVP_DigestInit_ex(ctx, EVP_sha256(), NULL);

    for (i = 0; ok && lines[i]; i++) {
        ok = (i == 0 || EVP_DigestUpdate(ctx, "\n", 1))
             && EVP_DigestUpdate(ctx, lines[i], strlen(lines[i]));
    }

    ok = ok && EVP_DigestFinal_ex(ctx, sum, NULL);

    EVP_MD_CTX_free(ctx);

    if (!ok) {
        return -1;
    }

    ngx_livestream_s3_hex(hash, sum, NGX_LIVESTREAM_S3_SHA256);

    return 0;
}

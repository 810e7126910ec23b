
/*
 * Copyright (C) nginx-livestream contributors
 *
 * A large file to S3, in parts:
 *
 *   POST ?uploads=                  --> the upload's id
 *   PUT  ?partNumber=N&uploadId=ID  --> the part's ETag, once for each part
 *   POST ?uploadId=ID, all ETags    --> the object's ETag: the MD5 of the
 *                                       parts' MD5s, and "-" how many
 *   DELETE ?uploadId=ID                 if anything fails, or on stop
 *
 * What a crash leaves is no object, but is paid for: a rule of the bucket
 * (AbortIncompleteMultipartUpload) is what removes it.
 *
 * Threads.
 */


#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <openssl/evp.h>

#include "ngx_livestream_s3.h"


#define NGX_LIVESTREAM_S3_ID           1024
#define NGX_LIVESTREAM_S3_ABORT        5        /* s */
#define NGX_LIVESTREAM_S3_ASSEMBLE     600      /* s, which a server may take
                                                   to make one of the parts */

/* of a part in the text that completes the upload */
#define NGX_LIVESTREAM_S3_LISTED                                             \
    (sizeof("<Part><PartNumber>10000</PartNumber><ETag>&quot;&quot;</ETag>"  \
            "</Part>") + NGX_LIVESTREAM_S3_ETAG)


typedef struct {
    ngx_livestream_s3_t       *s3;
    const char                *key;
    int                        fd;
    uint64_t                   size;
    uint64_t                   part;            /* bytes */
    unsigned                   nparts;
    const volatile int        *stop;
    char                      *list;
    size_t                     len;
    EVP_MD_CTX                *md5;             /* of the parts' MD5s */
    char                       query[NGX_LIVESTREAM_S3_QUERY];
                                                /* uploadId=ID */
} ngx_livestream_s3_upload_t;


static ngx_livestream_storage_e ngx_livestream_s3_begin(
    ngx_livestream_s3_upload_t *u, ngx_livestream_storage_error_t *error);
static ngx_livestream_storage_e ngx_livestream_s3_part(
    ngx_livestream_s3_upload_t *u, unsigned n,
    ngx_livestream_storage_error_t *error);
static ngx_livestream_storage_e ngx_livestream_s3_complete(
    ngx_livestream_s3_upload_t *u, char *etag,
    ngx_livestream_storage_error_t *error);
static void ngx_livestream_s3_abort(ngx_livestream_s3_upload_t *u);


ngx_livestream_storage_e
ngx_livestream_s3_multipart(ngx_livestream_s3_t *s3, const char *key, int fd,
    uint64_t size, const volatile int *stop, char *etag,
    ngx_livestream_storage_error_t *error)
{
    unsigned                     n;
    ngx_livestream_storage_e     rc;
    ngx_livestream_s3_upload_t  *u;

    u = calloc(1, sizeof(ngx_livestream_s3_upload_t));
    if (u == NULL) {
        ngx_livestream_s3_error(error, "out of memory");
        return NGX_LIVESTREAM_STORAGE_AGAIN;
    }

    u->s3 = s3;
    u->key = key;
    u->fd = fd;
    u->size = size;
    u->stop = stop;

    u->part = (size + NGX_LIVESTREAM_S3_PARTS - 1) / NGX_LIVESTREAM_S3_PARTS;

    if (u->part < NGX_LIVESTREAM_S3_PART) {
        u->part = NGX_LIVESTREAM_S3_PART;
    }

    u->nparts = (size + u->part - 1) / u->part;

    u->list = malloc(64 + u->nparts * NGX_LIVESTREAM_S3_LISTED);
    u->md5 = EVP_MD_CTX_new();

    if (u->list == NULL || u->md5 == NULL
        || !EVP_DigestInit_ex(u->md5, EVP_md5(), NULL))
    {
        ngx_livestream_s3_error(error, "out of memory");
        rc = NGX_LIVESTREAM_STORAGE_AGAIN;
        goto done;
    }

    rc = ngx_livestream_s3_begin(u, error);

    if (rc != NGX_LIVESTREAM_STORAGE_OK) {
        goto done;
    }

    u->len = sprintf(u->list, "<CompleteMultipartUpload>");

    for (n = 1; n <= u->nparts && rc == NGX_LIVESTREAM_STORAGE_OK; n++) {
        rc = ngx_livestream_s3_part(u, n, error);
    }

    if (rc == NGX_LIVESTREAM_STORAGE_OK) {
        rc = ngx_livestream_s3_complete(u, etag, error);
    }

    if (rc != NGX_LIVESTREAM_STORAGE_OK) {
        ngx_livestream_s3_abort(u);
    }

done:

    EVP_MD_CTX_free(u->md5);
    free(u->list);
    free(u);

    return rc;
}


static ngx_livestream_storage_e
ngx_livestream_s3_begin(ngx_livestream_s3_upload_t *u,
    ngx_livestream_storage_error_t *error)
{
    char                         id[NGX_LIVESTREAM_S3_ID];
    size_t                       len;
    ngx_livestream_storage_e     rc;
    ngx_livestream_s3_request_t  r;

    memset(&r, 0, sizeof(r));

    r.method = "POST";
    r.key = u->key;
    r.query = "uploads=";
    r.type = ngx_livestream_s3_type(u->key);
    r.stop = u->stop;

    rc = ngx_livestream_s3_request(u->s3, &r, error);

    if (rc == NGX_LIVESTREAM_STORAGE_ABSENT) {
        return NGX_LIVESTREAM_STORAGE_REFUSED;
    }

    if (rc != NGX_LIVESTREAM_STORAGE_OK) {
        return rc;
    }

    len = sprintf(u->query, "uploadId=");

    if (ngx_livestream_s3_element(r.answer, "UploadId", id, sizeof(id)) == 0
        || ngx_livestream_s3_encode(u->query, len, sizeof(u->query), id, 0)
           == 0)
    {
        ngx_livestream_s3_error(error, "POST: the server gave no id for an "
                                "upload in parts");
        return NGX_LIVESTREAM_STORAGE_REFUSED;
    }

    return NGX_LIVESTREAM_STORAGE_OK;
}


static ngx_livestream_storage_e
ngx_livestream_s3_part(ngx_livestream_s3_upload_t *u, unsigned n,
    ngx_livestream_storage_error_t *error)
{
    char                         query[NGX_LIVESTREAM_S3_QUERY + 32];
    ngx_livestream_s3_sum_t      sum;
    ngx_livestream_storage_e     rc;
    ngx_livestream_s3_request_t  r;

    memset(&r, 0, sizeof(r));

    (void) snprintf(query, sizeof(query), "partNumber=%u&%s", n, u->query);

    r.method = "PUT";
    r.key = u->key;
    r.query = query;
    r.sum = &sum;
    r.fd = u->fd;
    r.from = (n - 1) * u->part;
    r.length = u->size - r.from < u->part ? u->size - r.from : u->part;
    r.stop = u->stop;

    rc = ngx_livestream_s3_sum(u->fd, r.from, r.length, u->stop, &sum, error);

    if (rc == NGX_LIVESTREAM_STORAGE_OK) {
        rc = ngx_livestream_s3_request(u->s3, &r, error);
    }

    if (rc == NGX_LIVESTREAM_STORAGE_ABSENT) {
        return NGX_LIVESTREAM_STORAGE_AGAIN;
    }

    if (rc == NGX_LIVESTREAM_STORAGE_OK) {
        rc = ngx_livestream_s3_same(&r, &sum, error);
    }

    if (rc != NGX_LIVESTREAM_STORAGE_OK) {
        return rc;
    }

    if (strpbrk(r.etag, "<>&")) {
        ngx_livestream_s3_error(error, "PUT: the server gave no ETag");
        return NGX_LIVESTREAM_STORAGE_REFUSED;
    }

    (void) EVP_DigestUpdate(u->md5, sum.md5, NGX_LIVESTREAM_S3_MD5);

    u->len += sprintf(u->list + u->len, "<Part><PartNumber>%u</PartNumber>"
                      "<ETag>&quot;%s&quot;</ETag></Part>", n, r.etag);

    return NGX_LIVESTREAM_STORAGE_OK;
}


static ngx_livestream_storage_e
ngx_livestream_s3_complete(ngx_livestream_s3_upload_t *u, char *etag,
    ngx_livestream_storage_error_t *error)
{
    char                         expected[NGX_LIVESTREAM_S3_ETAG];
    unsigned char                md5[EVP_MAX_MD_SIZE];
    ngx_livestream_s3_sum_t      sum;
    ngx_livestream_storage_e     rc;
    ngx_livestream_s3_request_t  r;

    u->len += sprintf(u->list + u->len, "</CompleteMultipartUpload>");

    if (ngx_livestream_s3_sum_text(u->list, u->len, &sum) == -1) {
        ngx_livestream_s3_error(error, "out of memory");
        return NGX_LIVESTREAM_STORAGE_AGAIN;
    }

    memset(&r, 0, sizeof(r));

    r.method = "POST";
    r.key = u->key;
    r.query = u->query;
    r.type = "application/xml";
    r.sum = &sum;
    r.text = u->list;
    r.length = u->len;
    r.patience = NGX_LIVESTREAM_S3_ASSEMBLE;
    r.stop = u->stop;

    rc = ngx_livestream_s3_request(u->s3, &r, error);

    if (rc == NGX_LIVESTREAM_STORAGE_ABSENT) {
        return NGX_LIVESTREAM_STORAGE_AGAIN;
    }

    if (rc != NGX_LIVESTREAM_STORAGE_OK) {
        return rc;
    }

    /* the server may find only after its "200 OK" that it cannot */

    if (ngx_livestream_s3_element(r.answer, "ETag", etag,
                                  NGX_LIVESTREAM_S3_ETAG)
        == 0)
    {
        return ngx_livestream_s3_judge(&r, error);
    }

    (void) EVP_DigestFinal_ex(u->md5, md5, NULL);

    ngx_livestream_s3_hex(expected, md5, NGX_LIVESTREAM_S3_MD5);
    (void) sprintf(expected + 2 * NGX_LIVESTREAM_S3_MD5, "-%u", u->nparts);

    if (r.opaque || strchr(etag, '-') == NULL
        || strcasecmp(etag, expected) == 0)
    {
        return NGX_LIVESTREAM_STORAGE_OK;
    }

    ngx_livestream_s3_error(error, "POST: the server has stored other bytes, "
                            "\"%s\" instead of \"%s\"", etag, expected);

    return NGX_LIVESTREAM_STORAGE_AGAIN;
}


/* is not stopped itself: it is why a stop leaves nothing behind */

static void
ngx_livestream_s3_abort(ngx_livestream_s3_upload_t *u)
{
    ngx_livestream_s3_request_t     r;
    ngx_livestream_storage_error_t  error;

    memset(&r, 0, sizeof(r));
    memset(&error, 0, sizeof(error));

    r.method = "DELETE";
    r.key = u->key;
    r.query = u->query;
    r.limit = NGX_LIVESTREAM_S3_ABORT;

    (void) ngx_livestream_s3_request(u->s3, &r, &error);
}

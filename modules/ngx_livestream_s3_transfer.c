
/*
 * Copyright (C) nginx-livestream contributors
 *
 * Files to S3 and back.
 *
 *   put    read: MD5, SHA-256 --> PUT --> its ETag is the MD5
 *                                 HEAD --> as many bytes, the same ETag
 *
 * The server has both sums before it has the bytes and refuses others; the
 * ETag says what it has stored.  An ETag that is no MD5, as with encryption by
 * a key of the server's, is taken as it is.
 *
 * A file may be read by others meanwhile, but not written: one that has
 * changed is to be put again.
 *
 * Threads; url() any.
 */


#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>
#include <openssl/evp.h>

#include "ngx_livestream_s3.h"


#define NGX_LIVESTREAM_S3_CHUNK        (32 * 1024)
#define NGX_LIVESTREAM_S3_WEEK         604800   /* s, the longest of a URL */


static ngx_livestream_storage_e ngx_livestream_s3_put_fd(
    ngx_livestream_s3_t *s3, const char *key, int fd, uint64_t size,
    const volatile int *stop, char *etag,
    ngx_livestream_storage_error_t *error);
static ngx_livestream_storage_e ngx_livestream_s3_confirm(
    ngx_livestream_s3_t *s3, const char *key, const char *etag, uint64_t size,
    const volatile int *stop, ngx_livestream_storage_error_t *error);
static int ngx_livestream_s3_unchanged(int fd, const struct stat *before);
static ngx_livestream_storage_e ngx_livestream_s3_sum_read(int fd,
    uint64_t from, uint64_t length, const volatile int *stop, EVP_MD_CTX *md5,
    EVP_MD_CTX *sha256, ngx_livestream_storage_error_t *error);


ngx_livestream_storage_e
ngx_livestream_s3_put(void *data, const char *key, const char *path,
    const volatile int *stop, ngx_livestream_storage_object_t *object,
    ngx_livestream_storage_error_t *error)
{
    ngx_livestream_s3_t *s3 = data;

    int                       fd;
    char                      etag[NGX_LIVESTREAM_S3_ETAG];
    uint64_t                  size;
    struct stat               st;
    ngx_livestream_storage_e  rc;

    fd = open(path, O_RDONLY|O_CLOEXEC|O_NONBLOCK);

    if (fd == -1) {
        rc = (errno == ENOENT) ? NGX_LIVESTREAM_STORAGE_ABSENT
                               : NGX_LIVESTREAM_STORAGE_AGAIN;
        ngx_livestream_s3_error(error, "open(\"%.180s\"): %s", path,
                                strerror(errno));
        return rc;
    }

    if (fstat(fd, &st) == -1 || !S_ISREG(st.st_mode)) {
        ngx_livestream_s3_error(error, "\"%.180s\" is not a file", path);
        rc = NGX_LIVESTREAM_STORAGE_REFUSED;
        goto done;
    }

    size = st.st_size;

    if (size > NGX_LIVESTREAM_S3_LARGE) {
        rc = ngx_livestream_s3_multipart(s3, key, fd, size, stop, etag, error);

    } else {
        rc = ngx_livestream_s3_put_fd(s3, key, fd, size, stop, etag, error);
    }

    if (rc != NGX_LIVESTREAM_STORAGE_OK) {
        goto done;
    }

    if (!ngx_livestream_s3_unchanged(fd, &st)) {
        ngx_livestream_s3_error(error, "the file was changed meanwhile");
        rc = NGX_LIVESTREAM_STORAGE_AGAIN;
        goto done;
    }

    rc = ngx_livestream_s3_confirm(s3, key, etag, size, stop, error);

    if (rc == NGX_LIVESTREAM_STORAGE_OK) {
        object->size = size;
        memcpy(object->checksum, etag, sizeof(etag));
    }

done:

    (void) close(fd);

    return rc;
}


static ngx_livestream_storage_e
ngx_livestream_s3_put_fd(ngx_livestream_s3_t *s3, const char *key, int fd,
    uint64_t size, const volatile int *stop, char *etag,
    ngx_livestream_storage_error_t *error)
{
    ngx_livestream_s3_sum_t      sum;
    ngx_livestream_storage_e     rc;
    ngx_livestream_s3_request_t  r;

    rc = ngx_livestream_s3_sum(fd, 0, size, stop, &sum, error);

    if (rc != NGX_LIVESTREAM_STORAGE_OK) {
        return rc;
    }

    memset(&r, 0, sizeof(r));

    r.method = "PUT";
    r.key = key;
    r.type = ngx_livestream_s3_type(key);
    r.sum = &sum;
    r.fd = fd;
    r.length = size;
    r.stop = stop;

    rc = ngx_livestream_s3_request(s3, &r, error);

    if (rc == NGX_LIVESTREAM_STORAGE_ABSENT) {
        return NGX_LIVESTREAM_STORAGE_REFUSED;
    }

    if (rc != NGX_LIVESTREAM_STORAGE_OK) {
        return rc;
    }

    memcpy(etag, r.etag, sizeof(r.etag));

    return ngx_livestream_s3_same(&r, &sum, error);
}


ngx_livestream_storage_e
ngx_livestream_s3_same(const ngx_livestream_s3_request_t *r,
    const ngx_livestream_s3_sum_t *sum, ngx_livestream_storage_error_t *error)
{
    char  md5[NGX_LIVESTREAM_S3_HEX];

    if (r->etag[0] == '\0') {
        ngx_livestream_s3_error(error, "PUT: the server gave no ETag");
        return NGX_LIVESTREAM_STORAGE_REFUSED;
    }

    ngx_livestream_s3_hex(md5, sum->md5, NGX_LIVESTREAM_S3_MD5);

    if (r->opaque || strlen(r->etag) != 2 * NGX_LIVESTREAM_S3_MD5
        || strspn(r->etag, "0123456789abcdefABCDEF")
           != 2 * NGX_LIVESTREAM_S3_MD5
        || strcasecmp(r->etag, md5) == 0)
    {
        return NGX_LIVESTREAM_STORAGE_OK;
    }

    ngx_livestream_s3_error(error, "PUT: the server has stored other bytes, "
                            "of MD5 %s instead of %s", r->etag, md5);

    return NGX_LIVESTREAM_STORAGE_AGAIN;
}


static ngx_livestream_storage_e
ngx_livestream_s3_confirm(ngx_livestream_s3_t *s3, const char *key,
    const char *etag, uint64_t size, const volatile int *stop,
    ngx_livestream_storage_error_t *error)
{
    ngx_livestream_storage_e     rc;
    ngx_livestream_s3_request_t  r;

    memset(&r, 0, sizeof(r));

    r.method = "HEAD";
    r.key = key;
    r.stop = stop;

    rc = ngx_livestream_s3_request(s3, &r, error);

    if (rc == NGX_LIVESTREAM_STORAGE_ABSENT) {
        ngx_livestream_s3_error(error, "HEAD: what was stored is not there");
        return NGX_LIVESTREAM_STORAGE_AGAIN;
    }

    if (rc != NGX_LIVESTREAM_STORAGE_OK) {
        return rc;
    }

    if (r.content_length < 0 || (uint64_t) r.content_length != size
        || strcmp(r.etag, etag) != 0)
    {
        ngx_livestream_s3_error(error, "HEAD: the server has %" PRId64
                                " bytes \"%s\" instead of %" PRIu64 " \"%s\"",
                                r.content_length, r.etag, size, etag);
        return NGX_LIVESTREAM_STORAGE_AGAIN;
    }

    return NGX_LIVESTREAM_STORAGE_OK;
}


static int
ngx_livestream_s3_unchanged(int fd, const struct stat *before)
{
    struct stat  st;

    return fstat(fd, &st) == 0
           && st.st_size == before->st_size
           && st.st_mtim.tv_sec == before->st_mtim.tv_sec
           && st.st_mtim.tv_nsec == before->st_mtim.tv_nsec;
}


ngx_livestream_storage_e
ngx_livestream_s3_fetch(void *data, const char *key, uint64_t offset,
    size_t size, u_char *p, size_t *got, const volatile int *stop,
    ngx_livestream_storage_error_t *error)
{
    ngx_livestream_storage_e     rc;
    ngx_livestream_s3_request_t  r;

    *got = 0;

    if (size == 0) {
        return NGX_LIVESTREAM_STORAGE_OK;
    }

    memset(&r, 0, sizeof(r));

    r.method = "GET";
    r.key = key;
    r.from = offset;
    r.data = p;
    r.size = size;
    r.stop = stop;

    rc = ngx_livestream_s3_request(data, &r, error);

    if (r.status == 416) {
        return NGX_LIVESTREAM_STORAGE_OK;
    }

    if (rc != NGX_LIVESTREAM_STORAGE_OK) {
        return rc;
    }

    if (r.status != 206 || r.content_from != offset) {
        ngx_livestream_s3_error(error, "GET: %u, not the range that was asked "
                                "for", r.status);
        return NGX_LIVESTREAM_STORAGE_REFUSED;
    }

    *got = r.got;

    return NGX_LIVESTREAM_STORAGE_OK;
}


ngx_livestream_storage_e
ngx_livestream_s3_remove(void *data, const char *key,
    const volatile int *stop, ngx_livestream_storage_error_t *error)
{
    ngx_livestream_storage_e     rc;
    ngx_livestream_s3_request_t  r;

    memset(&r, 0, sizeof(r));

    r.method = "DELETE";
    r.key = key;
    r.stop = stop;

    rc = ngx_livestream_s3_request(data, &r, error);

    return rc == NGX_LIVESTREAM_STORAGE_ABSENT ? NGX_LIVESTREAM_STORAGE_OK
                                               : rc;
}


/* query parameters are in the order of their names, as they must be */

size_t
ngx_livestream_s3_url(void *data, const char *key, time_t now, time_t expires,
    u_char *p, size_t size)
{
    int                              n;
    char                             path[NGX_LIVESTREAM_S3_PATH];
    char                             query[NGX_LIVESTREAM_S3_QUERY];
    char                             text[NGX_LIVESTREAM_S3_HOST + 8];
    char                             stamp[NGX_LIVESTREAM_S3_STAMP];
    char                             signature[NGX_LIVESTREAM_S3_HEX];
    size_t                           len;
    unsigned char                    sign[NGX_LIVESTREAM_S3_SHA256];
    const ngx_livestream_s3_conf_t  *conf;

    conf = ngx_livestream_s3_conf(data);

    if (expires <= now) {
        return 0;
    }

    if (expires - now > NGX_LIVESTREAM_S3_WEEK) {
        expires = now + NGX_LIVESTREAM_S3_WEEK;
    }

    ngx_livestream_s3_stamp(now, stamp);

    (void) snprintf(text, sizeof(text), "/%.8s/%s/s3/aws4_request", stamp,
                    conf->region);

    len = sprintf(query, "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=");
    len = ngx_livestream_s3_encode(query, len, sizeof(query), conf->access_key,
                                   0);
    len = ngx_livestream_s3_encode(query, len, sizeof(query), text, 0);

    if (len == 0 || len > sizeof(query) - 128) {
        return 0;
    }

    len += sprintf(query + len, "&X-Amz-Date=%s&X-Amz-Expires=%d", stamp,
                   (int) (expires - now));

    if (conf->token) {
        len += sprintf(query + len, "&X-Amz-Security-Token=");
        len = ngx_livestream_s3_encode(query, len, sizeof(query), conf->token,
                                       0);
    }

    if (len == 0 || len > sizeof(query) - 128) {
        return 0;
    }

    (void) sprintf(query + len, "&X-Amz-SignedHeaders=host");

    (void) snprintf(text, sizeof(text), "host:%s\n", conf->place.host);

    if (ngx_livestream_s3_path(&conf->place, key, path, sizeof(path)) == 0
        || ngx_livestream_s3_signing_key(conf->secret_key, stamp, conf->region,
                                         sign)
           == -1
        || ngx_livestream_s3_sign(sign, stamp, conf->region, "GET", path,
                                  query, text, "host", "UNSIGNED-PAYLOAD",
                                  signature)
           == -1)
    {
        return 0;
    }

    n = snprintf((char *) p, size, "%s%s%s?%s&X-Amz-Signature=%s",
                 conf->place.scheme, conf->place.host, path, query, signature);

    return (n < 0 || (size_t) n >= size) ? 0 : (size_t) n;
}


ngx_livestream_storage_e
ngx_livestream_s3_sum(int fd, uint64_t from, uint64_t length,
    const volatile int *stop, ngx_livestream_s3_sum_t *sum,
    ngx_livestream_storage_error_t *error)
{
    EVP_MD_CTX                *md5, *sha256;
    unsigned char              bytes[EVP_MAX_MD_SIZE];
    ngx_livestream_storage_e   rc;

    rc = NGX_LIVESTREAM_STORAGE_REFUSED;

    md5 = EVP_MD_CTX_new();
    sha256 = EVP_MD_CTX_new();

    if (md5 == NULL || sha256 == NULL
        || !EVP_DigestInit_ex(md5, EVP_md5(), NULL)
        || !EVP_DigestInit_ex(sha256, EVP_sha256(), NULL))
    {
        ngx_livestream_s3_error(error, "OpenSSL gives no MD5 or SHA-256");
        goto done;
    }

    rc = ngx_livestream_s3_sum_read(fd, from, length, stop, md5, sha256,
                                    error);

    if (rc == NGX_LIVESTREAM_STORAGE_OK) {
        (void) EVP_DigestFinal_ex(md5, sum->md5, NULL);
        (void) EVP_DigestFinal_ex(sha256, bytes, NULL);

        ngx_livestream_s3_hex(sum->sha256, bytes, NGX_LIVESTREAM_S3_SHA256);
    }

done:

    EVP_MD_CTX_free(md5);
    EVP_MD_CTX_free(sha256);

    return rc;
}


static ngx_livestream_storage_e
ngx_livestream_s3_sum_read(int fd, uint64_t from, uint64_t length,
    const volatile int *stop, EVP_MD_CTX *md5, EVP_MD_CTX *sha256,
    ngx_livestream_storage_error_t *error)
{
    size_t         size;
    ssize_t        n;
    unsigned char  chunk[NGX_LIVESTREAM_S3_CHUNK];

    while (length) {

        if (stop && __atomic_load_n(stop, __ATOMIC_RELAXED)) {
            ngx_livestream_s3_error(error, "stopped");
            return NGX_LIVESTREAM_STORAGE_STOPPED;
        }

        size = length < sizeof(chunk) ? length : sizeof(chunk);

        n = pread(fd, chunk, size, from);

        if (n == -1 && errno == EINTR) {
            continue;
        }

        if (n <= 0) {
            ngx_livestream_s3_error(error, "the file %s",
                                    n == 0 ? "became shorter"
                                           : strerror(errno));
            return NGX_LIVESTREAM_STORAGE_AGAIN;
        }

        (void) EVP_DigestUpdate(md5, chunk, n);
        (void) EVP_DigestUpdate(sha256, chunk, n);

        from += n;
        length -= n;
    }

    return NGX_LIVESTREAM_STORAGE_OK;
}


int
ngx_livestream_s3_sum_text(const char *text, size_t len,
    ngx_livestream_s3_sum_t *sum)
{
    unsigned char  bytes[EVP_MAX_MD_SIZE];

    if (!EVP_Digest(text, len, sum->md5, NULL, EVP_md5(), NULL)
        || !EVP_Digest(text, len, bytes, NULL, EVP_sha256(), NULL))
    {
        return -1;
    }

    ngx_livestream_s3_hex(sum->sha256, bytes, NGX_LIVESTREAM_S3_SHA256);

    return 0;
}

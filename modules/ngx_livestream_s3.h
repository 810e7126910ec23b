
/*
 * Copyright (C) nginx-livestream contributors
 *
 * Inside the S3 engine: what its files share.  No nginx in it, so that it is
 * tested against a server of its own.
 *
 *   module     directives, environment, the engine's table         loop
 *   name       URI and endpoint -> host and path of an object      any
 *   sign       Signature Version 4, for presigned URLs             any
 *   request    one HTTP request, signed by libcurl                 threads
 *   answer     what its status and its XML mean                    any
 *   transfer   put, fetch, remove; url                             threads
 *   multipart  put of what is large                                threads
 */


#ifndef _NGX_LIVESTREAM_S3_H_INCLUDED_
#define _NGX_LIVESTREAM_S3_H_INCLUDED_


#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <time.h>

#include "ngx_livestream_storage_types.h"


#define NGX_LIVESTREAM_S3_BUCKET       64       /* sizes with the NUL */
#define NGX_LIVESTREAM_S3_HOST         320
#define NGX_LIVESTREAM_S3_PREFIX       256
#define NGX_LIVESTREAM_S3_BASE         (NGX_LIVESTREAM_S3_BUCKET + 2         \
                                        + 3 * NGX_LIVESTREAM_S3_PREFIX)
#define NGX_LIVESTREAM_S3_REGION       64
#define NGX_LIVESTREAM_S3_PATH         2048     /* of an object, encoded */
#define NGX_LIVESTREAM_S3_QUERY        3328

#define NGX_LIVESTREAM_S3_MD5          16
#define NGX_LIVESTREAM_S3_SHA256       32
#define NGX_LIVESTREAM_S3_HEX          65       /* of a SHA-256, and a NUL */
#define NGX_LIVESTREAM_S3_ETAG         80
#define NGX_LIVESTREAM_S3_STAMP        17       /* "20130524T000000Z" */

/* from here on an object is put in parts, of at least so many bytes */
#define NGX_LIVESTREAM_S3_LARGE        (64 * 1024 * 1024)
#define NGX_LIVESTREAM_S3_PART         (16 * 1024 * 1024)
#define NGX_LIVESTREAM_S3_PARTS        10000


/* where a bucket is, and our folder in it */
typedef struct {
    char                       scheme[9];       /* "https://" */
    char                       host[NGX_LIVESTREAM_S3_HOST];
                                                /* as the Host header has it */
    char                       base[NGX_LIVESTREAM_S3_BASE];
                                                /* "/bucket/prefix/" */
    char                       bucket[NGX_LIVESTREAM_S3_BUCKET];
} ngx_livestream_s3_place_t;


/* the texts are the caller's, and outlive what is made of them */
typedef struct {
    ngx_livestream_s3_place_t  place;
    const char                *region;
    const char                *access_key;
    const char                *secret_key;
    const char                *token;           /* of a session, or NULL */
    unsigned                   connections;
} ngx_livestream_s3_conf_t;


typedef struct ngx_livestream_s3_s  ngx_livestream_s3_t;


/* of bytes that are to be sent */
typedef struct {
    unsigned char              md5[NGX_LIVESTREAM_S3_MD5];
    char                       sha256[NGX_LIVESTREAM_S3_HEX];
} ngx_livestream_s3_sum_t;


/* what is asked, and what was answered */
typedef struct {
    const char                *method;          /* PUT, POST, GET, HEAD,
                                                   DELETE */
    const char                *key;
    const char                *query;           /* canonical: sorted, encoded,
                                                   "a=" for "a"; or NULL */
    const char                *type;            /* Content-Type or NULL */
    const ngx_livestream_s3_sum_t  *sum;        /* of the body; NULL: none */
    const char                *text;            /* a body: this, or */
    int                        fd;              /* of this file, from `from` */
    uint64_t                   from;
    uint64_t                   length;          /* of the body */
    u_char                    *data;            /* of a GET: where to, or NULL;
                                                   from `from` of the object */
    size_t                     size;
    unsigned                   limit;           /* s, or 0 */
    unsigned                   patience;        /* s of silence, or 0: 30 */
    const volatile int        *stop;            /* or NULL */

    unsigned                   status;
    char                       etag[NGX_LIVESTREAM_S3_ETAG];
    char                       region[NGX_LIVESTREAM_S3_REGION];
    int64_t                    content_length;  /* or -1 */
    uint64_t                   content_from;
    size_t                     got;             /* in data */
    char                       answer[4096];    /* any other body's start */
    size_t                     nanswer;
    size_t                     ignored;         /* bytes of it */
    unsigned                   opaque:1;        /* etag is no MD5: encrypted */

    unsigned                   changed:1;       /* the file became shorter */
    unsigned                   beyond:1;        /* more data than asked for */
    uint64_t                   sent;
} ngx_livestream_s3_request_t;


/* name */

/* NULL, or what is wrong with "s3://bucket/prefix", the endpoint (NULL: AWS's
 * own) or the region */
const char *ngx_livestream_s3_locate(ngx_livestream_s3_place_t *place,
    const char *uri, const char *endpoint, const char *region);
/* the path of an object, or of the bucket's folder for ""; its length, or 0 if
 * it does not fit */
size_t ngx_livestream_s3_path(const ngx_livestream_s3_place_t *place,
    const char *key, char *p, size_t size);
/* appends percent-encoded text, '/' as it is if `slash`; the new length, or 0
 * if it does not fit; no more once len is 0 */
size_t ngx_livestream_s3_encode(char *p, size_t len, size_t size,
    const char *text, int slash);
/* by the suffix of a name */
const char *ngx_livestream_s3_type(const char *name);
void ngx_livestream_s3_hex(char *p, const unsigned char *bytes, size_t n);
/* the text of <name>...</name>, without entities of quotes; 0 if there is
 * none, or it does not fit */
size_t ngx_livestream_s3_element(const char *xml, const char *name, char *p,
    size_t size);


/* sign */

void ngx_livestream_s3_stamp(time_t now, char *stamp);
/* of one day, region and service "s3"; 0, or -1 if OpenSSL fails */
int ngx_livestream_s3_signing_key(const char *secret, const char *stamp,
    const char *region, unsigned char *key);
/* headers: canonical, "name:value\n" each; names: "name;name"; payload: its
 * SHA-256 or UNSIGNED-PAYLOAD */
int ngx_livestream_s3_sign(const unsigned char *key, const char *stamp,
    const char *region, const char *method, const char *path,
    const char *query, const char *headers, const char *names,
    const char *payload, char *signature);


/* request */

/* NULL: out of memory, or libcurl cannot do what is needed */
ngx_livestream_s3_t *ngx_livestream_s3_create(
    const ngx_livestream_s3_conf_t *conf);
/* no request is under way */
void ngx_livestream_s3_destroy(ngx_livestream_s3_t *s3);
const ngx_livestream_s3_conf_t *ngx_livestream_s3_conf(
    ngx_livestream_s3_t *s3);

/* OK: 2xx; else error says why, and the answer is there if there was one */
ngx_livestream_storage_e ngx_livestream_s3_request(ngx_livestream_s3_t *s3,
    ngx_livestream_s3_request_t *r, ngx_livestream_storage_error_t *error);


/* answer */

ngx_livestream_storage_e ngx_livestream_s3_status(
    const ngx_livestream_s3_request_t *r);
/* of one that is not what was wanted, a 200 whose body is an error too */
ngx_livestream_storage_e ngx_livestream_s3_judge(
    const ngx_livestream_s3_request_t *r,
    ngx_livestream_storage_error_t *error);
void ngx_livestream_s3_error(ngx_livestream_storage_error_t *error,
    const char *fmt, ...) __attribute__((format(printf, 2, 3)));


/* transfer: the engine's functions, data is the ngx_livestream_s3_t */

ngx_livestream_storage_e ngx_livestream_s3_put(void *data, const char *key,
    const char *path, const volatile int *stop,
    ngx_livestream_storage_object_t *object,
    ngx_livestream_storage_error_t *error);
ngx_livestream_storage_e ngx_livestream_s3_fetch(void *data, const char *key,
    uint64_t offset, size_t size, u_char *p, size_t *got,
    const volatile int *stop, ngx_livestream_storage_error_t *error);
ngx_livestream_storage_e ngx_livestream_s3_remove(void *data, const char *key,
    const volatile int *stop, ngx_livestream_storage_error_t *error);
size_t ngx_livestream_s3_url(void *data, const char *key, time_t now,
    time_t expires, u_char *p, size_t size);

/* of a part of an open file; AGAIN: it is shorter, or cannot be read */
ngx_livestream_storage_e ngx_livestream_s3_sum(int fd, uint64_t from,
    uint64_t length, const volatile int *stop, ngx_livestream_s3_sum_t *sum,
    ngx_livestream_storage_error_t *error);
/* of a text; -1 if OpenSSL fails */
int ngx_livestream_s3_sum_text(const char *text, size_t len,
    ngx_livestream_s3_sum_t *sum);
/* OK, or AGAIN: the server calls what it was sent by another MD5 */
ngx_livestream_storage_e ngx_livestream_s3_same(
    const ngx_livestream_s3_request_t *r, const ngx_livestream_s3_sum_t *sum,
    ngx_livestream_storage_error_t *error);


/* multipart: stores size bytes of fd; etag is what the server calls them */
ngx_livestream_storage_e ngx_livestream_s3_multipart(ngx_livestream_s3_t *s3,
    const char *key, int fd, uint64_t size, const volatile int *stop,
    char *etag, ngx_livestream_storage_error_t *error);


#endif /* _NGX_LIVESTREAM_S3_H_INCLUDED_ */

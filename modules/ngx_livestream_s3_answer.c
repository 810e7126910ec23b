
/*
 * Copyright (C) nginx-livestream contributors
 *
 * What an answer of S3 means to who has asked: the status, and the <Code> of
 * an error's XML, which goes into the text for the operator together with what
 * to do about it.
 *
 * Any thread.
 */


#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "ngx_livestream_s3.h"


/* what a server's error means */
typedef struct {
    const char                *code;
    ngx_livestream_storage_e   rc;
    const char                *advice;
} ngx_livestream_s3_code_t;


static ngx_livestream_storage_e ngx_livestream_s3_elsewhere(
    const ngx_livestream_s3_request_t *r,
    ngx_livestream_storage_error_t *error);


static const ngx_livestream_s3_code_t  ngx_livestream_s3_codes[] = {

    { "SignatureDoesNotMatch", NGX_LIVESTREAM_STORAGE_REFUSED,
      "check s3_secret_key" },
    { "InvalidAccessKeyId", NGX_LIVESTREAM_STORAGE_REFUSED,
      "check s3_access_key" },
    { "AccessDenied", NGX_LIVESTREAM_STORAGE_REFUSED,
      "the key must be allowed to get, put and delete objects there" },
    { "ExpiredToken", NGX_LIVESTREAM_STORAGE_REFUSED,
      "restart nginx with another AWS_SESSION_TOKEN" },
    { "InvalidToken", NGX_LIVESTREAM_STORAGE_REFUSED,
      "check AWS_SESSION_TOKEN" },
    { "NoSuchBucket", NGX_LIVESTREAM_STORAGE_REFUSED,
      "make the bucket, or check recording_storage" },
    { "InvalidBucketName", NGX_LIVESTREAM_STORAGE_REFUSED,
      "check recording_storage" },
    { "RequestTimeTooSkewed", NGX_LIVESTREAM_STORAGE_REFUSED,
      "set this machine's clock" },
    { "EntityTooLarge", NGX_LIVESTREAM_STORAGE_REFUSED,
      "the server takes no objects as large" },

    { "BadDigest", NGX_LIVESTREAM_STORAGE_AGAIN,
      "the bytes were changed on the way" },
    { "XAmzContentSHA256Mismatch", NGX_LIVESTREAM_STORAGE_AGAIN,
      "the bytes were changed on the way" },
    { "IncompleteBody", NGX_LIVESTREAM_STORAGE_AGAIN,
      "bytes were lost on the way" },
    { "RequestTimeout", NGX_LIVESTREAM_STORAGE_AGAIN,
      "the network is slow" },
    { "NoSuchUpload", NGX_LIVESTREAM_STORAGE_AGAIN,
      "somebody has aborted the upload" },
    { "InvalidPart", NGX_LIVESTREAM_STORAGE_AGAIN,
      "somebody has aborted the upload" },
    { "OperationAborted", NGX_LIVESTREAM_STORAGE_AGAIN,
      "the bucket is being changed" },
    { "SlowDown", NGX_LIVESTREAM_STORAGE_AGAIN,
      "the server wants less requests" },
    { "XMinioStorageFull", NGX_LIVESTREAM_STORAGE_AGAIN,
      "the server's disk is full" },

    { NULL, NGX_LIVESTREAM_STORAGE_OK, NULL }
};


ngx_livestream_storage_e
ngx_livestream_s3_judge(const ngx_livestream_s3_request_t *r,
    ngx_livestream_storage_error_t *error)
{
    char                             code[64], message[128];
    ngx_livestream_storage_e         rc;
    const ngx_livestream_s3_code_t  *c;

    if (ngx_livestream_s3_element(r->answer, "Code", code, sizeof(code))
        == 0)
    {
        code[0] = '\0';
    }

    for (c = ngx_livestream_s3_codes; c->code; c++) {

        if (strcmp(c->code, code) == 0) {
            ngx_livestream_s3_error(error, "%s: %u %s: %s", r->method,
                                    r->status, code, c->advice);
            return c->rc;
        }
    }

    if (r->status / 100 == 3
        || strcmp(code, "AuthorizationHeaderMalformed") == 0)
    {
        return ngx_livestream_s3_elsewhere(r, error);
    }

    if (ngx_livestream_s3_element(r->answer, "Message", message,
                                  sizeof(message))
        == 0)
    {
        message[0] = '\0';
    }

    ngx_livestream_s3_error(error, "%s: %u%s%s%s%s", r->method, r->status,
                            code[0] ? " " : "", code,
                            message[0] ? ": " : "", message);

    rc = ngx_livestream_s3_status(r);

    return rc == NGX_LIVESTREAM_STORAGE_OK ? NGX_LIVESTREAM_STORAGE_AGAIN : rc;
}


ngx_livestream_storage_e
ngx_livestream_s3_status(const ngx_livestream_s3_request_t *r)
{
    switch (r->status) {

    case 404:
        return NGX_LIVESTREAM_STORAGE_ABSENT;

    case 408:
    case 409:
    case 425:
    case 429:
        return NGX_LIVESTREAM_STORAGE_AGAIN;

    case 501:
    case 505:
        return NGX_LIVESTREAM_STORAGE_REFUSED;
    }

    switch (r->status / 100) {

    case 2:
        return NGX_LIVESTREAM_STORAGE_OK;

    case 3:
    case 4:
        return NGX_LIVESTREAM_STORAGE_REFUSED;

    default:
        return NGX_LIVESTREAM_STORAGE_AGAIN;
    }
}


static ngx_livestream_storage_e
ngx_livestream_s3_elsewhere(const ngx_livestream_s3_request_t *r,
    ngx_livestream_storage_error_t *error)
{
    char  region[NGX_LIVESTREAM_S3_REGION];

    if (r->region[0]) {
        memcpy(region, r->region, sizeof(region));

    } else if (ngx_livestream_s3_element(r->answer, "Region", region,
                                         sizeof(region))
               == 0)
    {
        ngx_livestream_s3_error(error, "%s: %u, another server or region is "
                                "to be asked: check s3_endpoint and s3_region",
                                r->method, r->status);
        return NGX_LIVESTREAM_STORAGE_REFUSED;
    }

    ngx_livestream_s3_error(error, "%s: %u, the bucket is in the region "
                            "\"%s\": set s3_region to that", r->method,
                            r->status, region);

    return NGX_LIVESTREAM_STORAGE_REFUSED;
}


void
ngx_livestream_s3_error(ngx_livestream_storage_error_t *error,
    const char *fmt, ...)
{
    char     *p;
    va_list   args;

    va_start(args, fmt);
    (void) vsnprintf(error->text, sizeof(error->text), fmt, args);
    va_end(args);

    for (p = error->text; *p; p++) {

        if (*p < 0x20 || *p > 0x7e) {
            *p = '?';
        }
    }
}


/*
 * Copyright (C) nginx-livestream contributors
 *
 * Names and signatures of S3, against the examples that Amazon publishes, and
 * what is made of answers.
 */


#include "ngx_livestream_s3.h"
#include "tap.h"


#define SECRET  "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
#define STAMP   "20130524T000000Z"
#define MAY24   1369353600
#define EMPTY                                                                \
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
#define HOST    "host:examplebucket.s3.amazonaws.com\n"


typedef struct {
    const char                *what;
    const char                *method;
    const char                *path;
    const char                *query;
    const char                *headers;
    const char                *names;
    const char                *payload;
    const char                *signature;
} vector_t;


typedef struct {
    const char                *uri;
    const char                *endpoint;
    const char                *region;
    const char                *url;             /* of "a/b c.m4s" */
} place_t;


typedef struct {
    unsigned                   status;
    const char                *answer;
    const char                *region;
    ngx_livestream_storage_e   rc;
    const char                *text;
} answer_t;


/* Amazon S3 API Reference, "Signature Calculations for the Authorization
 * Header" and "Authenticating Requests: Using Query Parameters" */

static const vector_t  vectors[] = {

    { "GET of a range", "GET", "/test.txt", "",
      HOST
      "range:bytes=0-9\n"
      "x-amz-content-sha256:" EMPTY "\n"
      "x-amz-date:" STAMP "\n",
      "host;range;x-amz-content-sha256;x-amz-date",
      EMPTY,
      "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41" },

    { "PUT", "PUT", "/test%24file.text", "",
      "date:Fri, 24 May 2013 00:00:00 GMT\n"
      HOST
      "x-amz-content-sha256:"
      "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072\n"
      "x-amz-date:" STAMP "\n"
      "x-amz-storage-class:REDUCED_REDUNDANCY\n",
      "date;host;x-amz-content-sha256;x-amz-date;x-amz-storage-class",
      "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072",
      "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd" },

    { "a query without a value", "GET", "/", "lifecycle=",
      HOST
      "x-amz-content-sha256:" EMPTY "\n"
      "x-amz-date:" STAMP "\n",
      "host;x-amz-content-sha256;x-amz-date",
      EMPTY,
      "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543" },

    { "a query with values", "GET", "/", "max-keys=2&prefix=J",
      HOST
      "x-amz-content-sha256:" EMPTY "\n"
      "x-amz-date:" STAMP "\n",
      "host;x-amz-content-sha256;x-amz-date",
      EMPTY,
      "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7" },
};


static const place_t  places[] = {

    { "s3://live/rec", "http://127.0.0.1:9000", "us-east-1",
      "http://127.0.0.1:9000/live/rec/a/b%20c.m4s" },
    { "s3://live/rec//", "http://127.0.0.1:9000/", "us-east-1",
      "http://127.0.0.1:9000/live/rec/a/b%20c.m4s" },
    { "s3://live", "https://minio.example.com:443", "us-east-1",
      "https://minio.example.com/live/a/b%20c.m4s" },
    { "s3://live/", "http://[::1]:80", "us-east-1",
      "http://[::1]/live/a/b%20c.m4s" },
    { "s3://live/x(1)/y", NULL, "eu-central-1",
      "https://live.s3.eu-central-1.amazonaws.com/x%281%29/y/a/b%20c.m4s" },
    { "s3://my.live", NULL, "eu-central-1",
      "https://s3.eu-central-1.amazonaws.com/my.live/a/b%20c.m4s" },
    { "s3://live", NULL, "cn-north-1",
      "https://live.s3.cn-north-1.amazonaws.com.cn/a/b%20c.m4s" },

    { "s3:/live", NULL, "us-east-1", NULL },
    { "s3://", NULL, "us-east-1", NULL },
    { "s3://li", NULL, "us-east-1", NULL },
    { "s3://Live", NULL, "us-east-1", NULL },
    { "s3://live_1", NULL, "us-east-1", NULL },
    { "s3://-live", NULL, "us-east-1", NULL },
    { "s3://li..ve", NULL, "us-east-1", NULL },
    { "s3://live/a//b", NULL, "us-east-1", NULL },
    { "s3://live/../b", NULL, "us-east-1", NULL },
    { "s3://live/a/..", NULL, "us-east-1", NULL },
    { "s3://live/.", NULL, "us-east-1", NULL },
    { "s3://live", "ftp://host", "us-east-1", NULL },
    { "s3://live", "http://", "us-east-1", NULL },
    { "s3://live", "http://host/path", "us-east-1", NULL },
    { "s3://live", "http://user@host", "us-east-1", NULL },
    { "s3://live", "host:9000", "us-east-1", NULL },
    { "s3://live", NULL, "", NULL },
    { "s3://live", NULL, "us east", NULL },
    { "s3://live", NULL, "us-east-1/s3", NULL },
};


static const answer_t  answers[] = {

    { 403, "<Error><Code>SignatureDoesNotMatch</Code></Error>", "",
      NGX_LIVESTREAM_STORAGE_REFUSED,
      "PUT: 403 SignatureDoesNotMatch: check s3_secret_key" },
    { 404, "<Error><Code>NoSuchBucket</Code></Error>", "",
      NGX_LIVESTREAM_STORAGE_REFUSED,
      "PUT: 404 NoSuchBucket: make the bucket, or check recording_storage" },
    { 404, "<Error><Code>NoSuchKey</Code><Message>none</Message></Error>", "",
      NGX_LIVESTREAM_STORAGE_ABSENT, "PUT: 404 NoSuchKey: none" },
    { 404, "", "", NGX_LIVESTREAM_STORAGE_ABSENT, "PUT: 404" },
    { 400, "<Error><Code>BadDigest</Code></Error>", "",
      NGX_LIVESTREAM_STORAGE_AGAIN,
      "PUT: 400 BadDigest: the bytes were changed on the way" },
    { 400, "<Code>Odd\x1b[31m</Code>", "", NGX_LIVESTREAM_STORAGE_REFUSED,
      "PUT: 400 Odd?[31m" },
    { 301, "<Code>PermanentRedirect</Code>", "eu-west-1",
      NGX_LIVESTREAM_STORAGE_REFUSED,
      "PUT: 301, the bucket is in the region \"eu-west-1\": set s3_region to "
      "that" },
    { 400, "<Code>AuthorizationHeaderMalformed</Code><Region>eu-west-2"
           "</Region>", "", NGX_LIVESTREAM_STORAGE_REFUSED,
      "PUT: 400, the bucket is in the region \"eu-west-2\": set s3_region to "
      "that" },
    { 307, "", "", NGX_LIVESTREAM_STORAGE_REFUSED,
      "PUT: 307, another server or region is to be asked: check s3_endpoint "
      "and s3_region" },
    { 503, "<html>", "", NGX_LIVESTREAM_STORAGE_AGAIN, "PUT: 503" },
    { 500, "<Code>Open", "", NGX_LIVESTREAM_STORAGE_AGAIN, "PUT: 500" },
    { 429, "", "", NGX_LIVESTREAM_STORAGE_AGAIN, "PUT: 429" },
    { 501, "", "", NGX_LIVESTREAM_STORAGE_REFUSED, "PUT: 501" },
    { 200, "<Error><Code>InternalError</Code><Message>We failed</Message>", "",
      NGX_LIVESTREAM_STORAGE_AGAIN, "PUT: 200 InternalError: We failed" },
};


static void
test_vectors(void)
{
    char             signature[NGX_LIVESTREAM_S3_HEX];
    unsigned         i;
    unsigned char    key[NGX_LIVESTREAM_S3_SHA256];
    const vector_t  *v;

    tap_is(ngx_livestream_s3_signing_key(SECRET, STAMP, "us-east-1", key), 0,
           "a signing key");

    for (i = 0; i < sizeof(vectors) / sizeof(vectors[0]); i++) {
        v = &vectors[i];

        tap_is(ngx_livestream_s3_sign(key, STAMP, "us-east-1", v->method,
                                      v->path, v->query, v->headers, v->names,
                                      v->payload, signature), 0,
               "%s: signed", v->what);
        tap_str(signature, v->signature, "%s: as Amazon does", v->what);
    }

    tap_is(ngx_livestream_s3_signing_key(
               "a secret that is longer than any that there is: "
               "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
               "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
               "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
               "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
               STAMP, "us-east-1", key), -1, "no room for the secret");
}


static void
test_url(void)
{
    char                       url[2048];
    size_t                     len;
    ngx_livestream_s3_t       *s3;
    ngx_livestream_s3_conf_t   conf;

    memset(&conf, 0, sizeof(conf));

    strcpy(conf.place.scheme, "https://");
    strcpy(conf.place.host, "examplebucket.s3.amazonaws.com");
    strcpy(conf.place.base, "/");

    conf.region = "us-east-1";
    conf.access_key = "AKIAIOSFODNN7EXAMPLE";
    conf.secret_key = SECRET;
    conf.connections = 1;

    s3 = ngx_livestream_s3_create(&conf);
    tap_ok(s3 != NULL, "libcurl can sign");

    len = ngx_livestream_s3_url(s3, "test.txt", MAY24, MAY24 + 86400,
                                (u_char *) url, sizeof(url));

    tap_str(url, "https://examplebucket.s3.amazonaws.com/test.txt"
            "?X-Amz-Algorithm=AWS4-HMAC-SHA256"
            "&X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20130524%2Fus-east-1"
            "%2Fs3%2Faws4_request"
            "&X-Amz-Date=20130524T000000Z&X-Amz-Expires=86400"
            "&X-Amz-SignedHeaders=host&X-Amz-Signature="
            "aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404",
            "a presigned URL as Amazon makes it");
    tap_is(len, strlen(url), "its length");

    tap_is(ngx_livestream_s3_url(s3, "test.txt", MAY24, MAY24 + 86400,
                                 (u_char *) url, len), 0,
           "a buffer that is too small by one");
    tap_is(ngx_livestream_s3_url(s3, "test.txt", MAY24, MAY24 + 86400,
                                 (u_char *) url, len + 1), len,
           "one that is not");
    tap_is(ngx_livestream_s3_url(s3, "test.txt", MAY24, MAY24,
                                 (u_char *) url, sizeof(url)), 0,
           "what has expired has no URL");

    (void) ngx_livestream_s3_url(s3, "test.txt", MAY24, MAY24 + 30 * 86400,
                                 (u_char *) url, sizeof(url));
    tap_ok(strstr(url, "X-Amz-Expires=604800&"), "a week is the longest");

    ngx_livestream_s3_destroy(s3);
}


static void
test_places(void)
{
    char                        path[NGX_LIVESTREAM_S3_PATH], url[4096];
    unsigned                    i;
    const char                 *wrong;
    const place_t              *p;
    ngx_livestream_s3_place_t   place;

    for (i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
        p = &places[i];

        wrong = ngx_livestream_s3_locate(&place, p->uri, p->endpoint,
                                         p->region);

        if (p->url == NULL) {
            tap_ok(wrong != NULL, "refused: %s %s %s", p->uri,
                   p->endpoint ? p->endpoint : "", p->region);
            continue;
        }

        tap_ok(wrong == NULL, "taken: %s", p->uri);

        (void) ngx_livestream_s3_path(&place, "a/b c.m4s", path, sizeof(path));
        (void) snprintf(url, sizeof(url), "%s%s%s", place.scheme, place.host,
                        path);

        tap_str(url, p->url, "where %s is", p->uri);
    }

    (void) ngx_livestream_s3_locate(&place, "s3://live", NULL, "us-east-1");

    memset(url, ' ', sizeof(url));
    url[700] = '\0';

    tap_is(ngx_livestream_s3_path(&place, url, path, sizeof(path)), 0,
           "a key that is too long once it is encoded");
}


static void
test_answers(void)
{
    unsigned                         i;
    const answer_t                  *a;
    ngx_livestream_s3_request_t      r;
    ngx_livestream_storage_error_t   error;

    for (i = 0; i < sizeof(answers) / sizeof(answers[0]); i++) {
        a = &answers[i];

        memset(&r, 0, sizeof(r));

        error.text[0] = '\0';
        r.method = "PUT";
        r.status = a->status;
        strcpy(r.answer, a->answer);
        strcpy(r.region, a->region);

        tap_is(ngx_livestream_s3_judge(&r, &error), a->rc, "%u %.40s",
               a->status, a->answer);
        tap_str(error.text, a->text, "its text");
    }
}


int
main(void)
{
    test_vectors();
    test_url();
    test_places();
    test_answers();

    return tap_done();
}

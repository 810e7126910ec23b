
/*
 * Copyright (C) nginx-livestream contributors
 *
 * One HTTP request to S3 and its answer.
 *
 *   thread --> take a handle --> perform, blocks --> judge --> give it back
 *                  |                                             |
 *                  +---- idle handles, each with a connection ---+
 *                        that is kept alive; at most `connections`
 *
 * libcurl signs: what it makes of Signature Version 4 is right, as Debian's
 * 7.88.1 has it, for all that is sent from here.  It takes path and query as
 * they are, so they come in canonical form, "uploads=" and not "uploads"; it
 * signs each header that it is given, x-amz-content-sha256 and
 * x-amz-security-token among them, so none may be given that only switches off
 * one of its own.
 *
 * A large body waits for "100 Continue", up to a second: a server that refuses
 * it would else close the connection in the middle of it, and why would be
 * lost.
 *
 * Threads; create() and destroy() of the event loop.
 */


#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>
#include <curl/curl.h>
#include <openssl/evp.h>

#include "ngx_livestream_s3.h"


#define NGX_LIVESTREAM_S3_CONNECT      10L      /* s */
#define NGX_LIVESTREAM_S3_SLOW         1024L    /* bytes/s, that for */
#define NGX_LIVESTREAM_S3_PATIENCE     30L      /* s, is as good as dead */
#define NGX_LIVESTREAM_S3_BUFFER       (256L * 1024)
#define NGX_LIVESTREAM_S3_IGNORED      (1024 * 1024)
#define NGX_LIVESTREAM_S3_TOKEN        "x-amz-security-token: "
#define NGX_LIVESTREAM_S3_EMPTY                                              \
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


struct ngx_livestream_s3_s {
    ngx_livestream_s3_conf_t   conf;
    char                       sigv4[NGX_LIVESTREAM_S3_REGION + 16];
    char                      *token;           /* its header, or NULL */
    pthread_mutex_t            mutex;           /* of the next two */
    unsigned                   nidle;
    CURL                     **idle;
};


static int ngx_livestream_s3_able(ngx_livestream_s3_t *s3);
static CURL *ngx_livestream_s3_take(ngx_livestream_s3_t *s3);
static void ngx_livestream_s3_give(ngx_livestream_s3_t *s3, CURL *curl);
static int ngx_livestream_s3_setup(ngx_livestream_s3_t *s3,
    ngx_livestream_s3_request_t *r, CURL *curl);
static int ngx_livestream_s3_setup_url(ngx_livestream_s3_t *s3,
    ngx_livestream_s3_request_t *r, CURL *curl);
static void ngx_livestream_s3_setup_method(ngx_livestream_s3_request_t *r,
    CURL *curl);
static struct curl_slist *ngx_livestream_s3_headers(ngx_livestream_s3_t *s3,
    ngx_livestream_s3_request_t *r);
static size_t ngx_livestream_s3_read(char *p, size_t size, size_t n,
    void *data);
static int ngx_livestream_s3_seek(void *data, curl_off_t offset, int origin);
static size_t ngx_livestream_s3_write(char *p, size_t size, size_t n,
    void *data);
static size_t ngx_livestream_s3_header(char *p, size_t size, size_t n,
    void *data);
static void ngx_livestream_s3_value(char *to, size_t size, const char *from,
    size_t len);
static int ngx_livestream_s3_progress(void *data, curl_off_t dltotal,
    curl_off_t dlnow, curl_off_t ultotal, curl_off_t ulnow);
static ngx_livestream_storage_e ngx_livestream_s3_failed(
    ngx_livestream_s3_t *s3, ngx_livestream_s3_request_t *r, CURLcode code,
    const char *words, ngx_livestream_storage_error_t *error);


ngx_livestream_s3_t *
ngx_livestream_s3_create(const ngx_livestream_s3_conf_t *conf)
{
    size_t                size;
    ngx_livestream_s3_t  *s3;

    if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK) {
        return NULL;
    }

    s3 = calloc(1, sizeof(ngx_livestream_s3_t));
    if (s3 == NULL) {
        curl_global_cleanup();
        return NULL;
    }

    s3->conf = *conf;

    (void) snprintf(s3->sigv4, sizeof(s3->sigv4), "aws:amz:%s:s3",
                    conf->region);

    if (conf->token) {
        size = sizeof(NGX_LIVESTREAM_S3_TOKEN) + strlen(conf->token);

        s3->token = malloc(size);
        if (s3->token == NULL) {
            goto failed;
        }

        (void) snprintf(s3->token, size, NGX_LIVESTREAM_S3_TOKEN "%s",
                        conf->token);
    }

    s3->idle = calloc(conf->connections, sizeof(CURL *));
    if (s3->idle == NULL || !ngx_livestream_s3_able(s3)
        || pthread_mutex_init(&s3->mutex, NULL))
    {
        goto failed;
    }

    return s3;

failed:

    free(s3->idle);
    free(s3->token);
    free(s3);

    curl_global_cleanup();

    return NULL;
}


/* libcurl may be built without signatures */

static int
ngx_livestream_s3_able(ngx_livestream_s3_t *s3)
{
    CURL      *curl;
    CURLcode   code;

    curl = curl_easy_init();
    if (curl == NULL) {
        return 0;
    }

    code = curl_easy_setopt(curl, CURLOPT_AWS_SIGV4, s3->sigv4);

    curl_easy_cleanup(curl);

    return code == CURLE_OK;
}


void
ngx_livestream_s3_destroy(ngx_livestream_s3_t *s3)
{
    while (s3->nidle) {
        curl_easy_cleanup(s3->idle[--s3->nidle]);
    }

    (void) pthread_mutex_destroy(&s3->mutex);

    free(s3->idle);
    free(s3->token);
    free(s3);

    curl_global_cleanup();
}


const ngx_livestream_s3_conf_t *
ngx_livestream_s3_conf(ngx_livestream_s3_t *s3)
{
    return &s3->conf;
}


static CURL *
ngx_livestream_s3_take(ngx_livestream_s3_t *s3)
{
    CURL  *curl;

    curl = NULL;

    (void) pthread_mutex_lock(&s3->mutex);

    if (s3->nidle) {
        curl = s3->idle[--s3->nidle];
    }

    (void) pthread_mutex_unlock(&s3->mutex);

    return curl ? curl : curl_easy_init();
}


static void
ngx_livestream_s3_give(ngx_livestream_s3_t *s3, CURL *curl)
{
    curl_easy_reset(curl);

    (void) pthread_mutex_lock(&s3->mutex);

    if (s3->nidle < s3->conf.connections) {
        s3->idle[s3->nidle++] = curl;
        curl = NULL;
    }

    (void) pthread_mutex_unlock(&s3->mutex);

    if (curl) {
        curl_easy_cleanup(curl);
    }
}


ngx_livestream_storage_e
ngx_livestream_s3_request(ngx_livestream_s3_t *s3,
    ngx_livestream_s3_request_t *r, ngx_livestream_storage_error_t *error)
{
    CURL                      *curl;
    char                       words[CURL_ERROR_SIZE];
    CURLcode                   code;
    struct curl_slist         *headers;
    ngx_livestream_storage_e   rc;

    r->content_length = -1;
    words[0] = '\0';

    curl = ngx_livestream_s3_take(s3);
    headers = ngx_livestream_s3_headers(s3, r);

    if (curl == NULL || headers == NULL) {
        ngx_livestream_s3_error(error, "out of memory");
        rc = NGX_LIVESTREAM_STORAGE_AGAIN;
        goto done;
    }

    if (ngx_livestream_s3_setup(s3, r, curl) == -1) {
        ngx_livestream_s3_error(error, "the key \"%.120s\" is too long",
                                r->key);
        rc = NGX_LIVESTREAM_STORAGE_REFUSED;
        goto done;
    }

    (void) curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
    (void) curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, words);

    code = curl_easy_perform(curl);

    r->answer[r->nanswer] = '\0';

    /* a server that has refused a body may not read the rest of it */

    if (code == CURLE_OK || (r->status >= 300 && !r->changed
                             && code != CURLE_ABORTED_BY_CALLBACK))
    {
        rc = ngx_livestream_s3_status(r) == NGX_LIVESTREAM_STORAGE_OK
             ? NGX_LIVESTREAM_STORAGE_OK
             : ngx_livestream_s3_judge(r, error);

    } else {
        rc = ngx_livestream_s3_failed(s3, r, code, words, error);
    }

done:

    curl_slist_free_all(headers);

    if (curl) {
        ngx_livestream_s3_give(s3, curl);
    }

    return rc;
}


static int
ngx_livestream_s3_setup(ngx_livestream_s3_t *s3,
    ngx_livestream_s3_request_t *r, CURL *curl)
{
    const ngx_livestream_s3_conf_t  *conf;

    conf = &s3->conf;

    if (ngx_livestream_s3_setup_url(s3, r, curl) == -1) {
        return -1;
    }

    (void) curl_easy_setopt(curl, CURLOPT_PATH_AS_IS, 1L);
    (void) curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
    (void) curl_easy_setopt(curl, CURLOPT_HTTP_VERSION,
                            (long) CURL_HTTP_VERSION_1_1);

    (void) curl_easy_setopt(curl, CURLOPT_AWS_SIGV4, s3->sigv4);
    (void) curl_easy_setopt(curl, CURLOPT_USERNAME, conf->access_key);
    (void) curl_easy_setopt(curl, CURLOPT_PASSWORD, conf->secret_key);

    (void) curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    (void) curl_easy_setopt(curl, CURLOPT_TCP_KEEPALIVE, 1L);
    (void) curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT,
                            NGX_LIVESTREAM_S3_CONNECT);
    (void) curl_easy_setopt(curl, CURLOPT_LOW_SPEED_LIMIT,
                            NGX_LIVESTREAM_S3_SLOW);
    (void) curl_easy_setopt(curl, CURLOPT_LOW_SPEED_TIME,
                            r->patience ? (long) r->patience
                                        : NGX_LIVESTREAM_S3_PATIENCE);
    (void) curl_easy_setopt(curl, CURLOPT_TIMEOUT, (long) r->limit);
    (void) curl_easy_setopt(curl, CURLOPT_UPLOAD_BUFFERSIZE,
                            NGX_LIVESTREAM_S3_BUFFER);
    (void) curl_easy_setopt(curl, CURLOPT_BUFFERSIZE,
                            NGX_LIVESTREAM_S3_BUFFER);
    (void) curl_easy_setopt(curl, CURLOPT_USERAGENT, "nginx-livestream");

    (void) curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION,
                            ngx_livestream_s3_write);
    (void) curl_easy_setopt(curl, CURLOPT_WRITEDATA, r);
    (void) curl_easy_setopt(curl, CURLOPT_HEADERFUNCTION,
                            ngx_livestream_s3_header);
    (void) curl_easy_setopt(curl, CURLOPT_HEADERDATA, r);
    (void) curl_easy_setopt(curl, CURLOPT_XFERINFOFUNCTION,
                            ngx_livestream_s3_progress);
    (void) curl_easy_setopt(curl, CURLOPT_XFERINFODATA, r);
    (void) curl_easy_setopt(curl, CURLOPT_NOPROGRESS, 0L);

    ngx_livestream_s3_setup_method(r, curl);

    return 0;
}


static int
ngx_livestream_s3_setup_url(ngx_livestream_s3_t *s3,
    ngx_livestream_s3_request_t *r, CURL *curl)
{
    char  path[NGX_LIVESTREAM_S3_PATH];
    char  url[NGX_LIVESTREAM_S3_HOST + NGX_LIVESTREAM_S3_PATH
              + NGX_LIVESTREAM_S3_QUERY + 16];

    if (ngx_livestream_s3_path(&s3->conf.place, r->key, path, sizeof(path))
        == 0)
    {
        return -1;
    }

    if (snprintf(url, sizeof(url), "%s%s%s%s%s", s3->conf.place.scheme,
                 s3->conf.place.host, path, r->query ? "?" : "",
                 r->query ? r->query : "")
        >= (int) sizeof(url))
    {
        return -1;
    }

    (void) curl_easy_setopt(curl, CURLOPT_URL, url);

    return 0;
}


static void
ngx_livestream_s3_setup_method(ngx_livestream_s3_request_t *r, CURL *curl)
{
    if (strcmp(r->method, "PUT") == 0) {
        (void) curl_easy_setopt(curl, CURLOPT_UPLOAD, 1L);
        (void) curl_easy_setopt(curl, CURLOPT_INFILESIZE_LARGE,
                                (curl_off_t) r->length);
        (void) curl_easy_setopt(curl, CURLOPT_READFUNCTION,
                                ngx_livestream_s3_read);
        (void) curl_easy_setopt(curl, CURLOPT_READDATA, r);
        (void) curl_easy_setopt(curl, CURLOPT_SEEKFUNCTION,
                                ngx_livestream_s3_seek);
        (void) curl_easy_setopt(curl, CURLOPT_SEEKDATA, r);

    } else if (strcmp(r->method, "POST") == 0) {
        (void) curl_easy_setopt(curl, CURLOPT_POST, 1L);
        (void) curl_easy_setopt(curl, CURLOPT_POSTFIELDS,
                                r->text ? r->text : "");
        (void) curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE_LARGE,
                                (curl_off_t) r->length);

    } else if (strcmp(r->method, "HEAD") == 0) {
        (void) curl_easy_setopt(curl, CURLOPT_NOBODY, 1L);

    } else if (strcmp(r->method, "GET") != 0) {
        (void) curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, r->method);
    }
}


static struct curl_slist *
ngx_livestream_s3_headers(ngx_livestream_s3_t *s3,
    ngx_livestream_s3_request_t *r)
{
    int                 i, n;
    char                lines[4][128];
    unsigned char       md5[32];
    const char         *line[6];
    struct curl_slist  *list, *next;

    n = 0;
    list = NULL;

    (void) snprintf(lines[n], sizeof(lines[n]), "x-amz-content-sha256: %s",
                    r->sum ? r->sum->sha256 : NGX_LIVESTREAM_S3_EMPTY);
    line[n] = lines[n];
    n++;

    if (r->sum) {
        (void) EVP_EncodeBlock(md5, r->sum->md5, NGX_LIVESTREAM_S3_MD5);
        (void) snprintf(lines[n], sizeof(lines[n]), "Content-MD5: %s",
                        (char *) md5);
        line[n] = lines[n];
        n++;
    }

    if (r->type) {
        (void) snprintf(lines[n], sizeof(lines[n]), "Content-Type: %s",
                        r->type);
        line[n] = lines[n];
        n++;
    }

    if (r->data) {
        (void) snprintf(lines[n], sizeof(lines[n]),
                        "Range: bytes=%" PRIu64 "-%" PRIu64, r->from,
                        r->from + r->size - 1);
        line[n] = lines[n];
        n++;
    }

    if (s3->token) {
        line[n++] = s3->token;
    }

    for (i = 0; i < n; i++) {
        next = curl_slist_append(list, line[i]);

        if (next == NULL) {
            curl_slist_free_all(list);
            list = NULL;
            break;
        }

        list = next;
    }

    return list;
}


static size_t
ngx_livestream_s3_read(char *p, size_t size, size_t n, void *data)
{
    ngx_livestream_s3_request_t *r = data;

    ssize_t  got;

    size *= n;

    if (size > r->length - r->sent) {
        size = r->length - r->sent;
    }

    if (size == 0) {
        return 0;
    }

    do {
        got = pread(r->fd, p, size, r->from + r->sent);
    } while (got == -1 && errno == EINTR);

    if (got <= 0) {
        r->changed = 1;
        return CURL_READFUNC_ABORT;
    }

    r->sent += got;

    return got;
}


static int
ngx_livestream_s3_seek(void *data, curl_off_t offset, int origin)
{
    ngx_livestream_s3_request_t *r = data;

    if (origin != SEEK_SET) {
        return CURL_SEEKFUNC_CANTSEEK;
    }

    r->sent = offset;

    return CURL_SEEKFUNC_OK;
}


static size_t
ngx_livestream_s3_write(char *p, size_t size, size_t n, void *data)
{
    ngx_livestream_s3_request_t *r = data;

    size_t  len, blank;

    n *= size;

    if (r->data && r->status / 100 == 2) {

        if (r->status != 206 || n > r->size - r->got) {
            r->beyond = 1;
            return 0;
        }

        memcpy(r->data + r->got, p, n);
        r->got += n;

        return n;
    }

    /* which keeps the connection alive while the server works */

    blank = 0;

    while (r->nanswer == 0 && blank < n && strchr(" \t\r\n", p[blank])) {
        blank++;
    }

    len = sizeof(r->answer) - 1 - r->nanswer;

    if (len > n - blank) {
        len = n - blank;
    }

    memcpy(r->answer + r->nanswer, p + blank, len);
    r->nanswer += len;

    r->ignored += n - len;

    return r->ignored > NGX_LIVESTREAM_S3_IGNORED ? 0 : n;
}


/* a header comes as a whole line, which has no NUL behind it */

static size_t
ngx_livestream_s3_header(char *p, size_t size, size_t n, void *data)
{
    ngx_livestream_s3_request_t *r = data;

    char    value[NGX_LIVESTREAM_S3_ETAG];
    char   *colon;
    size_t  len;

    n *= size;

    if (n > 5 && strncmp(p, "HTTP/", 5) == 0) {
        ngx_livestream_s3_value(value, sizeof(value), p, n);

        r->status = strchr(value, ' ') ? atoi(strchr(value, ' ')) : 0;
        r->etag[0] = '\0';
        r->region[0] = '\0';
        r->content_length = -1;
        r->content_from = UINT64_MAX;
        r->opaque = 0;

        return n;
    }

    colon = memchr(p, ':', n);

    if (colon == NULL) {
        return n;
    }

    len = colon - p;

    ngx_livestream_s3_value(value, sizeof(value), colon + 1, n - len - 1);

    if (len == 4 && strncasecmp(p, "ETag", 4) == 0) {
        memcpy(r->etag, value, sizeof(value));

    } else if (len == 14 && strncasecmp(p, "Content-Length", 14) == 0) {
        r->content_length = strtoll(value, NULL, 10);

    } else if (len == 13 && strncasecmp(p, "Content-Range", 13) == 0) {

        if (sscanf(value, "bytes %" SCNu64 "-", &r->content_from) != 1) {
            r->content_from = UINT64_MAX;
        }

    } else if (len == 19 && strncasecmp(p, "x-amz-bucket-region", 19) == 0) {
        (void) snprintf(r->region, sizeof(r->region), "%.63s", value);

    } else if ((len == 28
                && strncasecmp(p, "x-amz-server-side-encryption", 28) == 0
                && strncmp(value, "aws:kms", 7) == 0)
               || (len == 47
                   && strncasecmp(p, "x-amz-server-side-encryption-"
                                     "customer-algorithm", 47) == 0))
    {
        r->opaque = 1;
    }

    return n;
}


/* without blanks around it, and the quotes of an ETag */

static void
ngx_livestream_s3_value(char *to, size_t size, const char *from, size_t len)
{
    while (len && strchr(" \t\"", *from)) {
        from++;
        len--;
    }

    while (len && strchr(" \t\r\n\"", from[len - 1])) {
        len--;
    }

    if (len >= size) {
        len = size - 1;
    }

    memcpy(to, from, len);
    to[len] = '\0';
}


static int
ngx_livestream_s3_progress(void *data, curl_off_t dltotal, curl_off_t dlnow,
    curl_off_t ultotal, curl_off_t ulnow)
{
    ngx_livestream_s3_request_t *r = data;

    (void) dltotal;
    (void) dlnow;
    (void) ultotal;
    (void) ulnow;

    return r->stop && __atomic_load_n(r->stop, __ATOMIC_RELAXED);
}


/* there is no answer */

static ngx_livestream_storage_e
ngx_livestream_s3_failed(ngx_livestream_s3_t *s3,
    ngx_livestream_s3_request_t *r, CURLcode code, const char *words,
    ngx_livestream_storage_error_t *error)
{
    if (r->changed) {
        ngx_livestream_s3_error(error,
                                "the file became shorter or cannot be read");
        return NGX_LIVESTREAM_STORAGE_AGAIN;
    }

    if (code == CURLE_ABORTED_BY_CALLBACK) {
        ngx_livestream_s3_error(error, "stopped");
        return NGX_LIVESTREAM_STORAGE_STOPPED;
    }

    if (r->beyond) {
        ngx_livestream_s3_error(error, "%s %s: not the range that was asked "
                                "for", r->method, s3->conf.place.host);
        return NGX_LIVESTREAM_STORAGE_REFUSED;
    }

    ngx_livestream_s3_error(error, "%s %s: %s", r->method,
                            s3->conf.place.host,
                            words[0] ? words : curl_easy_strerror(code));

    switch (code) {

    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_UNSUPPORTED_PROTOCOL:
    case CURLE_URL_MALFORMAT:
        return NGX_LIVESTREAM_STORAGE_REFUSED;

    default:
        return NGX_LIVESTREAM_STORAGE_AGAIN;
    }
}

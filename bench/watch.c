
/*
 * Copyright (C) nginx-livestream contributors
 *
 * Asks for the segment, or part, behind the last one that is listed, and is
 * answered when it is there:
 *
 *     PROGRAM-DATE-TIME of segment 0        = the stream's begin
 *     that of the last, and how long it is  = the end of what is listed
 *
 * Until there is a playlist it is asked for again and again.  One that has
 * ended is that of the broadcast before.
 */


#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>

#include "stats.h"
#include "watch.h"


#define WATCH_AGAIN     20000           /* us */
#define WATCH_STUCK     20000000
#define WATCH_NEVER     INT64_MAX


typedef struct {
    int64_t          first;             /* us since 1970: the first date */
    int64_t          end;               /* where the last segment ends */
    int64_t          edge;              /* the last part */
    uint64_t         msn;               /* of what comes next */
    uint64_t         part;
    int              ended;
} watch_list_t;


static void watch_ask(watch_t *w);
static void watch_again(watch_t *w);
static void watch_answer(watch_t *w, http_answer_t *answer);
static void watch_read(http_answer_t *answer, watch_list_t *list);
static const char *watch_value(const char *line, size_t len, const char *tag);
static int64_t watch_date(const char *text);


int
watch_init(watch_t *w, const char *url, const char **why)
{
    w->http.fd = -1;

    if (http_parse_url(url, &w->url, why) != 0) {
        return -1;
    }

    if (strchr(w->url.path, '?')) {
        *why = "a playlist's URL without a query is needed";
        return -1;
    }

    return 0;
}


int64_t
watch_run(watch_t *w, int64_t now)
{
    struct epoll_event  ee;

    if (w->moved == 0) {
        w->moved = now;
    }

    if (now - w->moved > WATCH_STUCK) {
        w->wrong = "the playlist does not grow: more than the server holds "
                   "is needed for its next segment";
        return now;
    }

    if (now < w->when) {
        return w->when < w->moved + WATCH_STUCK ? w->when
                                                : w->moved + WATCH_STUCK + 1;
    }

    w->when = WATCH_NEVER;

    if (w->http.fd != -1) {
        watch_ask(w);
        return now;
    }

    ee.events = EPOLLIN|EPOLLOUT|EPOLLRDHUP|EPOLLET;
    ee.data.ptr = w;

    if (http_open(&w->http, &w->url, 0) != 0
        || epoll_ctl(w->epoll, EPOLL_CTL_ADD, w->http.fd, &ee) == -1)
    {
        watch_again(w);
    }

    return now;
}


void
watch_ready(watch_t *w, uint32_t events)
{
    int            rc;
    http_answer_t  answer;

    if (w->http.fd == -1) {
        return;
    }

    if (!w->http.connected) {

        if (http_connected(&w->http) != 0) {
            watch_again(w);
            return;
        }

        watch_ask(w);
    }

    if (w->http.fd == -1
        || !(events & (EPOLLIN|EPOLLRDHUP|EPOLLHUP|EPOLLERR)))
    {
        return;
    }

    rc = http_read(&w->http, &answer);

    if (rc == 0) {
        return;
    }

    if (rc == -1) {
        watch_again(w);
        return;
    }

    w->when = stats_clock();

    if (answer.status == 200) {
        watch_answer(w, &answer);

    } else {
        w->when += WATCH_AGAIN;
    }

    if (answer.close) {
        http_close(&w->http);
    }
}


void
watch_close(watch_t *w)
{
    http_close(&w->http);
}


static void
watch_ask(watch_t *w)
{
    int   n;
    char  path[sizeof(w->url.path) + 96];

    n = snprintf(path, sizeof(path), "%s", w->url.path);

    if (w->base) {
        n += snprintf(path + n, sizeof(path) - n,
                      "?_HLS_msn=%llu&_HLS_skip=YES",
                      (unsigned long long) w->next);
    }

    if (w->base && w->parts) {
        snprintf(path + n, sizeof(path) - n, "&_HLS_part=%llu",
                 (unsigned long long) w->part);
    }

    if (http_get(&w->http, &w->url, path, 0, NULL) != 0) {
        watch_again(w);
    }
}


static void
watch_again(watch_t *w)
{
    http_close(&w->http);
    w->when = stats_clock() + WATCH_AGAIN;
}


static void
watch_answer(watch_t *w, http_answer_t *answer)
{
    int64_t       listed;
    watch_list_t  list;

    memset(&list, 0, sizeof(watch_list_t));

    watch_read(answer, &list);

    if (list.ended) {
        w->when += WATCH_AGAIN;
        return;
    }

    if (list.end == 0) {
        w->wrong = "the playlist has no dates";
        return;
    }

    if (w->base == 0) {
        w->base = list.first;
    }

    w->next = list.msn;
    w->part = list.part;

    listed = (w->parts && list.part ? list.edge : list.end) - w->base;

    if (listed > w->listed) {
        w->listed = listed;
        w->moved = stats_clock();
    }
}


static void
watch_read(http_answer_t *answer, watch_list_t *list)
{
    size_t       len;
    int64_t      date;
    const char  *line, *last, *eol, *value;

    line = (const char *) answer->body;
    last = line + answer->len;
    date = 0;

    for ( /* void */ ; line < last; line = eol + 1) {

        eol = memchr(line, '\n', last - line);

        if (eol == NULL) {
            break;
        }

        len = eol - line;

        if ((value = watch_value(line, len, "#EXT-X-MEDIA-SEQUENCE:"))
            || (value = watch_value(line, len,
                                    "#EXT-X-SKIP:SKIPPED-SEGMENTS=")))
        {
            list->msn += strtoull(value, NULL, 10);

        } else if ((value = watch_value(line, len,
                                        "#EXT-X-PROGRAM-DATE-TIME:")))
        {
            date = watch_date(value);
            list->first = list->first ? list->first : date;
            list->edge = date;

        } else if ((value = watch_value(line, len,
                                        "#EXT-X-PART:DURATION=")))
        {
            list->edge += (int64_t) (strtod(value, NULL) * 1e6);
            list->part++;

        } else if ((value = watch_value(line, len, "#EXTINF:"))) {
            list->end = date + (int64_t) (strtod(value, NULL) * 1e6);

        } else if (watch_value(line, len + 1, "#EXT-X-ENDLIST")) {
            list->ended = 1;

        } else if (len && line[0] != '#') {
            list->msn++;
            list->part = 0;
        }
    }
}


static const char *
watch_value(const char *line, size_t len, const char *tag)
{
    size_t  n;

    n = strlen(tag);

    return len > n && memcmp(line, tag, n) == 0 ? line + n : NULL;
}


/* the text ends with a line feed at the latest */
static int64_t
watch_date(const char *text)
{
    int        ms;
    struct tm  tm;

    memset(&tm, 0, sizeof(tm));

    if (sscanf(text, "%4d-%2d-%2dT%2d:%2d:%2d.%3dZ", &tm.tm_year, &tm.tm_mon,
               &tm.tm_mday, &tm.tm_hour, &tm.tm_min, &tm.tm_sec, &ms) != 7)
    {
        return 0;
    }

    tm.tm_year -= 1900;
    tm.tm_mon -= 1;

    return (int64_t) timegm(&tm) * 1000000 + ms * 1000;
}

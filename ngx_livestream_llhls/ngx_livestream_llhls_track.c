
/*
 * Copyright (C) nginx-livestream contributors
 *
 * One track on its way into parts and segments.
 *
 *        segment                                  frame of dts
 *   -----+------------+------------+-----------......|
 *        | part       | part       | open part       |
 *                                  start             end of its last sample
 *
 * A sample ends where the next one begins, so a part can be closed when the
 * frame behind it is here.  Every part but the exceptions of the protocol must
 * be within 85 % and 100 % of PART-TARGET, on the timeline of dts:
 *
 *   - frames at a steady rate: PART-TARGET was chosen so that whole ones fit;
 *   - a picture that comes late: the sample before it fills the part up to
 *     PART-TARGET, and its own dts is moved back there; if it came later than
 *     a part, so are those of the next ones, one to a part, until the hole is
 *     behind.  Their pts stay, so nobody sees that.  A gap would be seen:
 *     players wait for a key frame behind it;
 *   - gaps it has to be where the picture is too far, or has not come yet;
 *   - audio has dts and pts alike, so a hole in it is a gap.
 *
 * Pipeline thread.
 */


#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ngx_livestream_llhls_fmp4.h"
#include "ngx_livestream_llhls_rate.h"
#include "ngx_livestream_llhls_track.h"


/* what a publisher may put into one part before it is cut regardless */
#define NGX_LIVESTREAM_LLHLS_SAMPLES   1024

/* s, that a picture is decoded earlier than it came */
#define NGX_LIVESTREAM_LLHLS_BACK      3

/* of a second, a segment's least duration */
#define NGX_LIVESTREAM_LLHLS_LEAST     50

/* while a track has no codec its ticks are those of any video */
#define NGX_LIVESTREAM_LLHLS_TIMESCALE 90000


static void ngx_livestream_llhls_track_timescale(
    ngx_livestream_llhls_track_t *t, uint32_t timescale);
static int ngx_livestream_llhls_track_part(ngx_livestream_llhls_track_t *t,
    int64_t end, uint32_t n, uint32_t flags);
static int ngx_livestream_llhls_track_write(ngx_livestream_llhls_track_t *t,
    int64_t end, uint32_t n, uint32_t *size);
static int ngx_livestream_llhls_track_advance(ngx_livestream_llhls_track_t *t,
    int64_t dts, int64_t back, uint32_t flags);
static int64_t ngx_livestream_llhls_track_back(
    ngx_livestream_llhls_track_t *t);
static int ngx_livestream_llhls_track_fail(ngx_livestream_llhls_track_t *t,
    int error);
static ngx_livestream_llhls_message_t *ngx_livestream_llhls_create(
    ngx_livestream_llhls_track_t *t, ngx_livestream_llhls_message_e type);
static void ngx_livestream_llhls_send(ngx_livestream_llhls_output_t *out,
    ngx_livestream_llhls_message_t *msg);
static int ngx_livestream_llhls_say(ngx_livestream_llhls_track_t *t,
    ngx_livestream_llhls_message_e type);


int
ngx_livestream_llhls_track_create(ngx_livestream_llhls_track_t *t,
    ngx_livestream_llhls_output_t *out, const char *name,
    ngx_livestream_media_e media)
{
    int  rc;

    t->out = out;
    out->total++;
    out->ntracks++;

    t->media = media;
    t->files.fd = -1;

    (void) snprintf(t->name, sizeof(t->name), "%s", name);

    t->samples = calloc(NGX_LIVESTREAM_LLHLS_SAMPLES,
                        sizeof(ngx_livestream_llhls_sample_t));
    if (t->samples == NULL) {
        return ENOMEM;
    }

    ngx_livestream_llhls_track_timescale(t, NGX_LIVESTREAM_LLHLS_TIMESCALE);

    rc = ngx_livestream_llhls_files_open(&t->files, out->conf, t->name);

    if (rc) {
        return ngx_livestream_llhls_track_fail(t, rc);
    }

    return 0;
}


void
ngx_livestream_llhls_track_destroy(ngx_livestream_llhls_track_t *t)
{
    uint32_t  i;

    for (i = 0; i < t->nsamples; i++) {
        ngx_livestream_frame_unref(t->samples[i].frame);
    }

    free(t->samples);

    ngx_livestream_codec_unref(t->codec);
    ngx_livestream_llhls_files_close(&t->files);
}


int
ngx_livestream_llhls_track_codec(ngx_livestream_llhls_track_t *t,
    ngx_livestream_codec_t *codec, uint64_t msn)
{
    int                              rc;
    size_t                           len;
    uint8_t                         *data;
    const char                      *reason;
    ngx_livestream_llhls_message_t  *msg;

    if (t->codec && t->codec->hash == codec->hash) {
        return 0;
    }

    ngx_livestream_codec_unref(t->codec);
    t->codec = ngx_livestream_codec_ref(codec);

    if (t->timescale != codec->timescale) {
        ngx_livestream_llhls_track_timescale(t, codec->timescale);
    }

    if (t->init == 0 || t->hash != codec->hash) {

        if (ngx_livestream_fmp4_init(codec, &data, &len, &reason) == -1) {
            ngx_livestream_pipeline_reason(t->out->pipeline, reason);
            return EINVAL;
        }

        rc = ngx_livestream_llhls_files_init(&t->files, t->init + 1, data,
                                             len);
        free(data);

        if (rc) {
            return ngx_livestream_llhls_track_fail(t, rc);
        }

        t->init++;
        t->hash = codec->hash;
        t->frame_rate = 0;
    }

    t->nframes = 0;

    msg = ngx_livestream_llhls_create(t, NGX_LIVESTREAM_LLHLS_TRACK);
    if (msg == NULL) {
        return ENOMEM;
    }

    msg->segment.msn = msn;
    msg->segment.init = t->init;

    ngx_livestream_llhls_send(t->out, msg);

    return 0;
}


static void
ngx_livestream_llhls_track_timescale(ngx_livestream_llhls_track_t *t,
    uint32_t timescale)
{
    int64_t  us;

    us = ngx_livestream_ticks_to_us(t->start, t->timescale);

    t->timescale = timescale;
    t->start = ngx_livestream_us_to_ticks(us, timescale);
    t->delta = 0;

    /* whole ticks only; 85 % and a little for what rounding takes */

    t->target = t->out->part_target * timescale / 1000000;
    t->least = t->target * 86 / 100;
}


int
ngx_livestream_llhls_track_open(ngx_livestream_llhls_track_t *t, uint64_t msn,
    int64_t dts, int64_t wall, uint32_t flags)
{
    ngx_livestream_llhls_segment_t  *segment;

    segment = &t->segment;

    memset(segment, 0, sizeof(ngx_livestream_llhls_segment_t));

    segment->msn = msn;
    segment->start = ngx_livestream_ticks_to_us(dts, t->timescale);
    segment->pdt = wall + segment->start;
    segment->init = t->init;
    segment->flags = flags;

    t->start = dts;
    t->msn = msn;
    t->open = 1;
    t->holed = 0;

    return ngx_livestream_llhls_say(t, NGX_LIVESTREAM_LLHLS_OPEN);
}


int
ngx_livestream_llhls_track_close(ngx_livestream_llhls_track_t *t)
{
    int                              rc;
    ngx_livestream_llhls_segment_t  *segment;

    segment = &t->segment;

    if (segment->size == 0) {
        segment->flags |= NGX_LIVESTREAM_LLHLS_GAP;
    }

    t->open = 0;

    if (t->frame_rate == 0 && t->media == NGX_LIVESTREAM_VIDEO) {
        t->frame_rate = ngx_livestream_llhls_frame_rate(
                                     t->out->conf->frame_rate, t->nframes,
                                     t->to - t->from, t->timescale);
    }

    if (t->hidden && !t->gone && !t->holed) {
        t->hidden = 0;
        t->out->ntracks++;
    }

    rc = ngx_livestream_llhls_files_done(&t->files, segment->msn,
                                         segment->duration,
                                         t->out->conf->playlist_length,
                                         t->out->target_duration);
    if (rc) {
        return ngx_livestream_llhls_track_fail(t, rc);
    }

    return ngx_livestream_llhls_say(t, NGX_LIVESTREAM_LLHLS_CLOSE);
}


int
ngx_livestream_llhls_track_reach(ngx_livestream_llhls_track_t *t, int64_t dts,
    ngx_livestream_llhls_end_e end, int64_t *at)
{
    int       rc;
    int64_t   back;
    uint32_t  flags;

    flags = (end == NGX_LIVESTREAM_LLHLS_NO_END) ? 0
                                                 : NGX_LIVESTREAM_LLHLS_LAST;

    back = ngx_livestream_llhls_track_back(t);

    if (flags
        && (end == NGX_LIVESTREAM_LLHLS_END
            || (t->segment.nparts == 0 && t->nsamples == 0)))
    {
        back = 0;
    }

    rc = ngx_livestream_llhls_track_advance(t, dts, back, flags);
    if (rc) {
        return rc;
    }

    *at = dts;

    if (t->nsamples == 0) {

        if (dts - t->start <= back) {
            *at = t->start;
            return 0;
        }

        return ngx_livestream_llhls_track_part(t, dts, 0, flags);
    }

    if (flags) {
        return ngx_livestream_llhls_track_part(t, dts, t->nsamples, flags);
    }

    /* as full as it can be, if the next frame is as long as this one */

    t->delta = dts - t->samples[t->nsamples - 1].dts;

    if (dts - t->start == t->target
        || t->nsamples == NGX_LIVESTREAM_LLHLS_SAMPLES
        || (dts - t->start >= t->least
            && dts - t->start + t->delta > t->target))
    {
        return ngx_livestream_llhls_track_part(t, dts, t->nsamples, 0);
    }

    return 0;
}


int
ngx_livestream_llhls_track_fill(ngx_livestream_llhls_track_t *t, int64_t dts)
{
    return ngx_livestream_llhls_track_advance(t, dts, 0, 0);
}


int
ngx_livestream_llhls_track_skip(ngx_livestream_llhls_track_t *t, int64_t dts)
{
    int  rc;

    rc = ngx_livestream_llhls_track_advance(t, dts, 0, 0);

    if (rc == 0 && t->nsamples == 0 && dts > t->start) {
        rc = ngx_livestream_llhls_track_part(t, dts, 0, 0);
    }

    return rc;
}


/* closes parts until what is left can be a part, or the frame behind a hole
 * can be moved back over it */

static int
ngx_livestream_llhls_track_advance(ngx_livestream_llhls_track_t *t,
    int64_t dts, int64_t back, uint32_t flags)
{
    int       rc;
    int64_t   end, natural;
    uint32_t  n;

    while (dts - t->start > t->target) {

        n = t->nsamples;
        end = t->start + t->target;

        if (n == 0 && dts - t->start <= back) {
            return 0;
        }

        if (n > 1 && t->samples[n - 1].dts - t->start >= t->least) {
            n--;
            end = t->samples[n].dts;

        } else if (n && t->media == NGX_LIVESTREAM_AUDIO) {
            natural = ngx_livestream_llhls_track_end(t);

            if (dts - natural > back && natural < end) {
                end = natural;
            }
        }

        /* the frame behind it will be moved back to its end */

        rc = ngx_livestream_llhls_track_part(t, end, n,
                              n == t->nsamples && dts - end <= back ? flags
                                                                    : 0);
        if (rc) {
            return rc;
        }
    }

    return 0;
}


/*
 * How far back the frame behind a hole may be moved; audio by less than a
 * frame, which nobody hears.
 */

static int64_t
ngx_livestream_llhls_track_back(ngx_livestream_llhls_track_t *t)
{
    if (t->codec == NULL) {
        return 0;
    }

    if (t->media == NGX_LIVESTREAM_VIDEO) {
        return NGX_LIVESTREAM_LLHLS_BACK * (int64_t) t->timescale;
    }

    return t->codec->frame_samples ? t->codec->frame_samples
                                   : t->timescale / 50;
}


int
ngx_livestream_llhls_track_append(ngx_livestream_llhls_track_t *t,
    ngx_livestream_frame_t *f, int64_t dts)
{
    int                             rc;
    int64_t                         at;
    ngx_livestream_llhls_sample_t  *sample;

    rc = ngx_livestream_llhls_track_reach(t, dts, NGX_LIVESTREAM_LLHLS_NO_END,
                                          &at);
    if (rc) {
        return rc;
    }

    sample = &t->samples[t->nsamples++];

    sample->frame = ngx_livestream_frame_ref(f);
    sample->dts = at;

    if (t->nframes++ == 0) {
        t->from = f->dts;
    }

    t->to = f->dts;

    return 0;
}


int64_t
ngx_livestream_llhls_track_end(ngx_livestream_llhls_track_t *t)
{
    int64_t                         end, duration;
    ngx_livestream_llhls_sample_t  *sample;

    if (t->nsamples == 0) {
        return t->start;
    }

    sample = &t->samples[t->nsamples - 1];

    duration = sample->frame->duration;

    if (duration == 0 && t->codec) {
        duration = t->codec->frame_samples;
    }

    if (duration == 0) {
        duration = t->delta;
    }

    if (duration == 0 || duration > t->target) {
        duration = t->target;
    }

    end = sample->dts + duration;

    /* where it cannot begin a part, its part is full with it: what is only
     * supposed is not worth a gap */

    if (end - t->start > t->target
        && (t->nsamples == 1 || sample->dts - t->start < t->least))
    {
        end = t->start + t->target;
    }

    return end;
}


int64_t
ngx_livestream_llhls_track_next(ngx_livestream_llhls_track_t *t)
{
    if (t->nsamples == 0) {
        return t->start;
    }

    return t->samples[t->nsamples - 1].dts + 1;
}


int64_t
ngx_livestream_llhls_track_least(ngx_livestream_llhls_track_t *t)
{
    int64_t  least;

    least = ngx_livestream_llhls_track_next(t);

    if (t->segment.nparts == 0 && t->nsamples == 0) {
        least += t->timescale / NGX_LIVESTREAM_LLHLS_LEAST;
    }

    return least;
}


/* the first n samples, or a gap, up to end; the others begin the next part */

static int
ngx_livestream_llhls_track_part(ngx_livestream_llhls_track_t *t, int64_t end,
    uint32_t n, uint32_t flags)
{
    int                              rc;
    int64_t                          from;
    uint32_t                         i;
    ngx_livestream_llhls_part_t      part;
    ngx_livestream_llhls_message_t  *msg;
    ngx_livestream_llhls_segment_t  *segment;

    segment = &t->segment;

    part.index = segment->nparts++;
    part.flags = flags;
    part.offset = segment->size;
    part.size = 0;

    if (n == 0) {
        part.flags |= NGX_LIVESTREAM_LLHLS_GAP;
        t->holed = 1;

    } else {
        rc = ngx_livestream_llhls_track_write(t, end, n, &part.size);
        if (rc) {
            return rc;
        }
    }

    for (i = 0; i < n; i++) {
        if (t->samples[i].frame->flags & NGX_LIVESTREAM_FRAME_KEY) {
            part.flags |= NGX_LIVESTREAM_LLHLS_INDEPENDENT;
        }

        ngx_livestream_frame_unref(t->samples[i].frame);
    }

    t->nsamples -= n;
    memmove(t->samples, t->samples + n,
            t->nsamples * sizeof(ngx_livestream_llhls_sample_t));

    /* by its ends, so that what rounding takes here it gives there */

    from = segment->start + segment->duration;

    t->start = end;
    segment->duration = ngx_livestream_ticks_to_us(end, t->timescale)
                        - segment->start;
    segment->size += part.size;

    part.duration = segment->start + segment->duration - from;

    if (!t->out->conf->low_latency) {
        return 0;
    }

    msg = ngx_livestream_llhls_create(t, NGX_LIVESTREAM_LLHLS_PART);
    if (msg == NULL) {
        return ENOMEM;
    }

    msg->part = part;

    ngx_livestream_llhls_send(t->out, msg);

    return 0;
}


static int
ngx_livestream_llhls_track_write(ngx_livestream_llhls_track_t *t, int64_t end,
    uint32_t n, uint32_t *size)
{
    int                              rc;
    size_t                           head;
    int64_t                          next;
    uint64_t                         total;
    uint32_t                         i;
    uint8_t                         *p;
    struct iovec                    *iov;
    ngx_livestream_frame_t          *f;
    ngx_livestream_fmp4_sample_t    *s;

    p = NULL;
    s = malloc(n * sizeof(ngx_livestream_fmp4_sample_t));
    iov = malloc((n + 1) * sizeof(struct iovec));

    rc = ENOMEM;

    if (s == NULL || iov == NULL) {
        goto done;
    }

    total = 0;

    for (i = 0; i < n; i++) {
        f = t->samples[i].frame;
        next = (i + 1 < n) ? t->samples[i + 1].dts : end;

        s[i].duration = next - t->samples[i].dts;
        s[i].size = f->size;
        s[i].cts = (t->media == NGX_LIVESTREAM_VIDEO)
                   ? f->pts - t->samples[i].dts : 0;
        s[i].key = f->flags & NGX_LIVESTREAM_FRAME_KEY;

        iov[i + 1].iov_base = f->data;
        iov[i + 1].iov_len = f->size;

        total += f->size;
    }

    head = ngx_livestream_fmp4_get_size(t->media, s, n);
    total += head;

    if (t->segment.size + total > INT32_MAX) {
        ngx_livestream_pipeline_reason(t->out->pipeline,
                                       "a segment is larger than 2 GiB");
        rc = EFBIG;
        goto done;
    }

    p = malloc(head);
    if (p == NULL) {
        goto done;
    }

    iov[0].iov_base = p;
    iov[0].iov_len = ngx_livestream_fmp4_write(p, ++t->sequence,
                                               t->samples[0].dts, t->media, s,
                                               n);

    rc = ngx_livestream_llhls_files_write(&t->files, t->segment.msn, iov,
                                          n + 1);
    if (rc) {
        (void) ngx_livestream_llhls_track_fail(t, rc);
    }

    *size = total;

done:

    free(p);
    free(s);
    free(iov);

    return rc;
}


static int
ngx_livestream_llhls_track_fail(ngx_livestream_llhls_track_t *t, int error)
{
    if (t->files.reason) {
        ngx_livestream_pipeline_reason(t->out->pipeline, t->files.reason);
    }

    return error;
}


int
ngx_livestream_llhls_track_hide(ngx_livestream_llhls_track_t *t)
{
    if (t->hidden) {
        return 0;
    }

    t->hidden = 1;
    t->out->ntracks--;

    return ngx_livestream_llhls_say(t, NGX_LIVESTREAM_LLHLS_HIDE);
}


int
ngx_livestream_llhls_note(ngx_livestream_llhls_track_t *t, const char *text)
{
    ngx_livestream_llhls_message_t  *msg;

    msg = ngx_livestream_llhls_create(t, NGX_LIVESTREAM_LLHLS_NOTE);
    if (msg == NULL) {
        return ENOMEM;
    }

    msg->text = text;

    ngx_livestream_llhls_send(t->out, msg);

    return 0;
}


static int
ngx_livestream_llhls_say(ngx_livestream_llhls_track_t *t,
    ngx_livestream_llhls_message_e type)
{
    ngx_livestream_llhls_message_t  *msg;

    msg = ngx_livestream_llhls_create(t, type);
    if (msg == NULL) {
        return ENOMEM;
    }

    ngx_livestream_llhls_send(t->out, msg);

    return 0;
}


static ngx_livestream_llhls_message_t *
ngx_livestream_llhls_create(ngx_livestream_llhls_track_t *t,
    ngx_livestream_llhls_message_e type)
{
    ngx_livestream_llhls_message_t  *msg;

    msg = calloc(1, sizeof(ngx_livestream_llhls_message_t));
    if (msg == NULL) {
        return NULL;
    }

    msg->message.handler = ngx_livestream_llhls_message;
    msg->type = type;
    msg->frame_rate = t->frame_rate;
    msg->hidden = t->hidden;
    msg->segment = t->segment;

    memcpy(msg->name, t->name, sizeof(msg->name));

    msg->codec.media = t->media;

    if (t->codec) {
        memcpy(&msg->codec, t->codec, sizeof(ngx_livestream_codec_t));
    }

    return msg;
}


static void
ngx_livestream_llhls_send(ngx_livestream_llhls_output_t *out,
    ngx_livestream_llhls_message_t *msg)
{
    if (out->target_duration == 0) {
        msg->message.next = NULL;
        *out->tail = &msg->message;
        out->tail = &msg->message.next;
        return;
    }

    msg->ntracks = out->ntracks;
    msg->target_duration = out->target_duration;
    msg->part_target = out->part_target;

    ngx_livestream_pipeline_send(out->pipeline, &msg->message);
}


void
ngx_livestream_llhls_release(ngx_livestream_llhls_output_t *out)
{
    ngx_livestream_message_t  *msg;

    while (out->held) {
        msg = out->held;
        out->held = msg->next;

        ngx_livestream_llhls_send(out,
                                  (ngx_livestream_llhls_message_t *) msg);
    }

    out->tail = &out->held;
}


void
ngx_livestream_llhls_discard(ngx_livestream_llhls_output_t *out)
{
    ngx_livestream_message_t  *msg;

    while (out->held) {
        msg = out->held;
        out->held = msg->next;
        free(msg);
    }

    out->tail = &out->held;
}

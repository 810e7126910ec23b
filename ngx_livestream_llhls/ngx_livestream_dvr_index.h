
/*
 * Copyright (C) nginx-livestream contributors
 *
 * The index of a recording: the text file DIR/index, DIR being
 * RECORDINGS/ID/RID, to which one line is added for each thing that happened,
 * in the words of the registry:
 *
 *   livestream-recording 1 TARGET_DURATION
 *   track NAME MEDIA CODEC CODECS WIDTH HEIGHT FRAME_RATE TRANSFER RATE
 *         CHANNELS                           (one line; again when it changes)
 *   open NAME MSN START PDT INIT FLAGS       a segment was begun
 *   segment NAME MSN START PDT DURATION SIZE INIT FLAGS      it is whole
 *   end                                      nothing will follow
 *   recovered                                the files are as the lines say
 *
 * Lines are added by one write() each, so one that a crash has cut short is
 * the last, and is left out: who adds to an index that has no line feed at its
 * end writes one first.  They may be out of order, since a stream may change
 * its worker; of two lines of one segment the later one counts, but "open"
 * never takes back a "segment".
 *
 * Pure C; any thread.  Durations and times are microseconds, sizes bytes.
 * Functions return 0 or an errno, and then *reason is a static text.
 */


#ifndef _NGX_LIVESTREAM_DVR_INDEX_H_INCLUDED_
#define _NGX_LIVESTREAM_DVR_INDEX_H_INCLUDED_


#include <stddef.h>
#include <stdint.h>

#include "ngx_livestream_codec.h"


#define NGX_LIVESTREAM_DVR_TRACKS   16
#define NGX_LIVESTREAM_DVR_LINE     512     /* bytes that a line may take */


/* as the registry's */
#define NGX_LIVESTREAM_DVR_DISCONTINUITY  0x01
#define NGX_LIVESTREAM_DVR_GAP            0x02
#define NGX_LIVESTREAM_DVR_FLAGS          0x03
/* an "open" without its "segment"; recover() leaves none */
#define NGX_LIVESTREAM_DVR_OPEN           0x10


typedef struct {
    uint64_t                 msn;
    int64_t                  start;         /* on the stream's timeline */
    int64_t                  pdt;           /* since 1970 */
    uint32_t                 duration;
    uint32_t                 size;
    uint32_t                 init;          /* N of its init-N.mp4 */
    uint32_t                 flags;
    uint64_t                 line;          /* of the index; 0: of none */
} ngx_livestream_dvr_segment_t;


typedef struct {
    char                     name[16];
    ngx_livestream_media_e   media;
    ngx_livestream_codec_e   codec;
    char                     codecs[NGX_LIVESTREAM_CODECS_LEN];
    uint32_t                 width;
    uint32_t                 height;
    uint32_t                 frame_rate;    /* per 1000 s; 0 unknown */
    uint32_t                 transfer;
    uint32_t                 sample_rate;
    uint32_t                 channels;

    ngx_livestream_dvr_segment_t  *segments;    /* by msn, no holes after
                                                   recover() */
    size_t                   nsegments;
    size_t                   nalloc;
} ngx_livestream_dvr_track_t;


typedef struct {
    uint32_t                 target_duration;   /* s */
    unsigned                 ended;             /* there is an "end" */
    unsigned                 recovered;         /* there is a "recovered", and
                                                   no segment behind it */
    unsigned                 ntracks;
    ngx_livestream_dvr_track_t  tracks[NGX_LIVESTREAM_DVR_TRACKS];
} ngx_livestream_dvr_index_t;


/*
 * Lines, each with its line feed and a NUL behind; the length without the NUL.
 * p has NGX_LIVESTREAM_DVR_LINE bytes.
 */
size_t ngx_livestream_dvr_line_head(char *p, uint32_t target_duration);
size_t ngx_livestream_dvr_line_track(char *p,
    const ngx_livestream_dvr_track_t *t);
size_t ngx_livestream_dvr_line_open(char *p, const char *track,
    const ngx_livestream_dvr_segment_t *s);
size_t ngx_livestream_dvr_line_segment(char *p, const char *track,
    const ngx_livestream_dvr_segment_t *s);
size_t ngx_livestream_dvr_line_end(char *p);
size_t ngx_livestream_dvr_line_recovered(char *p);


/* reads DIR/index; free() it, whatever the result.  Hostile content is an
 * error or left out, never more. */
int ngx_livestream_dvr_index_read(const char *dir,
    ngx_livestream_dvr_index_t *index, const char **reason);
void ngx_livestream_dvr_index_free(ngx_livestream_dvr_index_t *index);

/* At the end of those there are; EFBIG: there is no room for one more.  When
 * all are added they are to be sorted. */
int ngx_livestream_dvr_index_add(ngx_livestream_dvr_track_t *t,
    const ngx_livestream_dvr_segment_t *s);
int ngx_livestream_dvr_index_sort(ngx_livestream_dvr_index_t *index,
    const char **reason);

/* Adds the segments that have no line to DIR/index, but for open ones, and
 * that it is recovered. */
int ngx_livestream_dvr_index_append(const char *dir,
    ngx_livestream_dvr_index_t *index, const char **reason);

/*
 * Brings index and files together, then all tracks to the same media sequence
 * numbers.
 *
 *   begun, not closed; not in the index     up to the last whole part
 *   larger than its line says               cut: viewers never saw the rest;
 *                                           but only where a part ends
 *   smaller                                 up to the last whole part
 *   not there, but its line has a size      left as it is: it is in storage
 *   no init-N.mp4, though nothing of it
 *   has gone into storage                   gaps
 *
 * A segment that nothing is left of is a gap, and its file is removed.  What
 * was found is added to the index, with "recovered" as the last line: another
 * call does not look at the files, so that it does not matter which of them
 * have gone into storage by then.  There must be nobody else who reads or
 * writes DIR.
 *
 * Afterwards no track has an open segment or a hole, all have segments from
 * the first that any has to the last that is no gap in all of them, with gaps
 * as long as the others' segments, and discontinuities are the same in all of
 * them.  Gaps that are made for that are not added to the index.
 */
int ngx_livestream_dvr_index_recover(const char *dir,
    ngx_livestream_dvr_index_t *index, const char **reason);
/* the last step of it: there is no open segment, but there are holes */
int ngx_livestream_dvr_index_align(ngx_livestream_dvr_index_t *index,
    const char **reason);

/* DIR/index is made again, of the files that are in DIR; then it can be read
 * and recovered.  ENODATA: there are none.  There must be nobody else. */
int ngx_livestream_dvr_index_rebuild(const char *dir, const char **reason);


#endif /* _NGX_LIVESTREAM_DVR_INDEX_H_INCLUDED_ */

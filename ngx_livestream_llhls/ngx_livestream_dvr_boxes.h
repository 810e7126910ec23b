
/*
 * Copyright (C) nginx-livestream contributors
 *
 * What the files of a track say of themselves: the timescale of an
 * initialization segment, the whole parts of a segment.  Both are read as if
 * a stranger had written them.
 *
 * Pure C; any thread.
 */


#ifndef _NGX_LIVESTREAM_DVR_BOXES_H_INCLUDED_
#define _NGX_LIVESTREAM_DVR_BOXES_H_INCLUDED_


#include <stddef.h>
#include <stdint.h>


typedef struct {
    uint32_t                 nparts;
    uint32_t                 size;          /* bytes, of all of them */
    int64_t                  start;         /* ticks, of the first sample */
    int64_t                  end;           /* ticks, of the last one's end */
} ngx_livestream_dvr_parts_t;


/* no time on a timeline is further away: s */
#define NGX_LIVESTREAM_DVR_FAR  INT64_C(100000000000)


/* of PREFIX N SUFFIX; 0, or -1 if that is not the name of such a file */
int ngx_livestream_dvr_file_number(const char *name, const char *prefix,
    const char *suffix, uint64_t *n);

/* Ticks per second, or 0 with an errno: EINVAL is a file that says nothing. */
uint32_t ngx_livestream_dvr_timescale(int fd);

/* The parts from the beginning of a segment up to the first that is not whole
 * or goes beyond `size` bytes; there may be none.  0 or an errno. */
int ngx_livestream_dvr_parts(int fd, uint64_t size,
    ngx_livestream_dvr_parts_t *parts);


#endif /* _NGX_LIVESTREAM_DVR_BOXES_H_INCLUDED_ */

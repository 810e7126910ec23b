
/*
 * Copyright (C) nginx-livestream contributors
 *
 * A look at AMF0 before it is read: nginx-rtmp calls itself for each object
 * within an object, so that nesting deep enough overruns a worker's stack.
 *
 * Pure C, no nginx type, any thread, no allocation.
 */


#ifndef _NGX_LIVESTREAM_AMF_H_INCLUDED_
#define _NGX_LIVESTREAM_AMF_H_INCLUDED_


#include <stddef.h>
#include <stdint.h>


/* what encoders send is three deep at most */
#define NGX_LIVESTREAM_AMF_DEPTH  16


/*
 * Values one after the other.  -1 if any is nested deeper than that, else 0,
 * also for what is cut off or is no AMF0: whoever reads it stops there too.
 */
int ngx_livestream_amf_check(const uint8_t *data, size_t len);


#endif /* _NGX_LIVESTREAM_AMF_H_INCLUDED_ */

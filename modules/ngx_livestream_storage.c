
/*
 * Copyright (C) nginx-livestream contributors
 *
 * Storage's front: finds the engine that a URI's scheme names.  An engine is a
 * module of type NGX_LIVESTREAM_STORAGE_MODULE, so that the cycle's list of
 * modules is the list of engines.
 *
 * Master and event loop.
 */


#include <ngx_config.h>
#include <ngx_core.h>

#include "ngx_livestream_storage.h"


ngx_livestream_storage_engine_t *
ngx_livestream_storage_engine(ngx_cycle_t *cycle, ngx_str_t *uri)
{
    ngx_uint_t                        i;
    ngx_livestream_storage_engine_t  *e;

    for (i = 0; cycle->modules[i]; i++) {

        if (cycle->modules[i]->type != NGX_LIVESTREAM_STORAGE_MODULE) {
            continue;
        }

        e = cycle->modules[i]->ctx;

        if (uri->len > e->scheme.len
            && uri->data[e->scheme.len] == ':'
            && ngx_strncmp(uri->data, e->scheme.data, e->scheme.len) == 0)
        {
            return e;
        }
    }

    return NULL;
}

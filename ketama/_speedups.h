/*
 * _speedups.h - the C functions that ketama._ketama passes to ketama._speedups
 *
 * Both modules call the same libketama, so there is only one per process.
 */
#ifndef KETAMA_SPEEDUPS_H
#define KETAMA_SPEEDUPS_H

#include "ketama.h"

struct speedups_functions {
    size_t size; /* of this struct: must be the same in both modules */
    uint32_t (*find)(ketama_continuum c, const void *key, size_t len, uint32_t *point);
    void (*find_many)(ketama_continuum c, const ketama_key *keys, size_t count,
                      uint32_t *servers, uint32_t *points);
    uint32_t (*find_among)(ketama_continuum c, const void *key, size_t len,
                           const unsigned char *excluded, uint32_t *point);
    void (*find_many_among)(ketama_continuum c, const ketama_key *keys, size_t count,
                            const unsigned char *excluded, uint32_t *servers,
                            uint32_t *points);
    int (*due)(ketama_continuum c);
};

#endif

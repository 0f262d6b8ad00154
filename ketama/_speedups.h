/*
 * _speedups.h - the functions that ketama._ketama lends to ketama._speedups
 *
 * So there is one libketama in a process, whichever of the two modules calls it.
 */
#ifndef KETAMA_SPEEDUPS_H
#define KETAMA_SPEEDUPS_H

#include "ketama.h"

struct speedups_functions {
    size_t size; /* of this struct: both were compiled with the same */
    uint32_t (*find)(ketama_continuum c, const void *key, size_t len, uint32_t *point);
    void (*find_many)(ketama_continuum c, const ketama_key *keys, size_t count,
                      uint32_t *servers, uint32_t *points);
    int (*due)(ketama_continuum c);
};

#endif

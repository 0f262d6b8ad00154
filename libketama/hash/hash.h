/*
 * hash.h - the hash functions, one file each
 *
 * Of one key: ketama_md5() and ketama_hash() in ketama.h.
 */
#ifndef KETAMA_HASH_H
#define KETAMA_HASH_H

#include "../internal.h"

/* Writes the first `words` words, 1 to 4, of each key's MD5 to digests[]. */
typedef void ketama_md5_function(const ketama_key *keys, size_t count, unsigned words,
                                 uint32_t *digests);
ketama_md5_function ketama_md5_many;

/* The implementations compiled in, the fastest for many keys first; the last is plain C.
 */
struct ketama_md5_width {
    const char *name;
    size_t pays_from; /* the number of keys */
    bool (*usable)(void);
    ketama_md5_function *digests;
};
extern const struct ketama_md5_width ketama_md5_widths[];
extern const unsigned ketama_md5_width_count;

#endif

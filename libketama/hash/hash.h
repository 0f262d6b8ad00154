/*
 * hash.h - the hash functions, one file each
 *
 * ketama.h declares those for one key: ketama_md5() and ketama_hash().
 */
#ifndef KETAMA_HASH_H
#define KETAMA_HASH_H

#include "../internal.h"

/* Writes the first `words` words, 1 to 4, of each key's MD5 to digests[]. */
typedef void ketama_md5_function(const ketama_key *keys, size_t count, unsigned words,
                                 uint32_t *digests);
ketama_md5_function ketama_md5_many;

/* The implementations compiled in: the fastest for many keys first, plain C last. */
struct ketama_md5_width {
    const char *name;
    size_t pays_from; /* the number of keys from which on it is faster than the next */
    bool (*usable)(void);
    ketama_md5_function *digests;
};
extern const struct ketama_md5_width ketama_md5_widths[];
extern const unsigned ketama_md5_width_count;

/* Continues a checksum of an image. `size` is a multiple of 32. */
uint64_t ketama_checksum(uint64_t sum, const unsigned char *bytes, size_t size);

#endif

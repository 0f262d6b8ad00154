/*
 * hash.h - the hash functions, one file per family
 *
 * ketama.h declares MD5 of one key: ketama_md5() and ketama_hash().
 */
#ifndef KETAMA_HASH_H
#define KETAMA_HASH_H

#include "../internal.h"

/* ---- of keys */

/* Hashes a key. Only xxh3 uses the seed. A key of length 0 may be NULL. */
typedef uint32_t ketama_hash_function(const void *key, size_t len, uint64_t seed);

ketama_hash_function ketama_hash_one_at_a_time;
/* fnv.c: fnv1_64 and fnv1a_64 are the low 32 bits. Bytes are signed unless the name says
 * otherwise. */
ketama_hash_function ketama_hash_fnv1_32, ketama_hash_fnv1a_32;
ketama_hash_function ketama_hash_fnv1_64, ketama_hash_fnv1a_64;
ketama_hash_function ketama_hash_fnv1_32_unsigned, ketama_hash_fnv1a_32_unsigned;
/* crc.c: CRC-32; bits 16 to 30 of it, which twemproxy calls crc32; and CRC-16. */
ketama_hash_function ketama_hash_crc32a, ketama_hash_crc, ketama_hash_crc16;
ketama_hash_function ketama_hash_hsieh;
/* murmur.c: MurmurHash2 and MurmurHash3. */
ketama_hash_function ketama_hash_murmur, ketama_hash_murmur3;
ketama_hash_function ketama_hash_jenkins;
ketama_hash_function ketama_hash_xxh3;   /* the low 32 bits of ketama_xxh3_64() */
ketama_hash_function ketama_hash_sha384; /* the first of ketama_sha384_words() */
ketama_hash_function ketama_hash_md5;    /* ketama_hash() */

uint64_t ketama_xxh3_64(const void *bytes, size_t len, uint64_t seed);

/* ---- of labels */

/* Writes the digest's first 16 bytes as four little-endian words. */
void ketama_sha384_words(const void *bytes, size_t len, uint32_t words[4]);
/* Returns the digest's first 4 bytes as a big-endian word. */
uint32_t ketama_sha1_word(const void *bytes, size_t len);
/* Returns the register of a CRC-32 after more bytes. It starts as ~0, and the CRC-32 is
 * its complement, so one register can be continued in several ways. */
uint32_t ketama_crc32_update(uint32_t state, const void *bytes, size_t len);

/* ---- MD5 of many */

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

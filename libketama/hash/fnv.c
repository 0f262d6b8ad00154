/*
 * fnv.c - the hashes of Fowler, Noll and Vo, in 32 bits
 *
 * Clients disagree whether a byte is signed, so its type is explicit: char is signed on
 * x86 and unsigned on ARM.
 */
#include "hash.h"

#define START_32 2166136261u
#define PRIME_32 16777619u
/* The low 32 bits of the 64-bit function's start and prime: all that the low 32 bits of
 * its hash depend on. */
#define START_64 0x84222325u
#define PRIME_64 0x1b3u

#define FNV1(h, prime, byte)  ((h) * (prime) ^ (byte))
#define FNV1A(h, prime, byte) (((h) ^ (byte)) * (prime))

#define DEFINE(name, step, start, prime, byte_type)                                     \
    uint32_t ketama_hash_##name(const void *key, size_t len, uint64_t seed)             \
    {                                                                                   \
        const byte_type *at = key;                                                      \
        uint32_t h = (start);                                                           \
        (void)seed;                                                                     \
        for (size_t i = 0; i < len; i++) {                                              \
            uint32_t byte = (uint32_t)at[i];                                            \
            h = step(h, prime, byte);                                                   \
        }                                                                               \
        return h;                                                                       \
    }

DEFINE(fnv1_32, FNV1, START_32, PRIME_32, int8_t)
DEFINE(fnv1a_32, FNV1A, START_32, PRIME_32, int8_t)
DEFINE(fnv1_64, FNV1, START_64, PRIME_64, int8_t)
DEFINE(fnv1a_64, FNV1A, START_64, PRIME_64, int8_t)
DEFINE(fnv1_32_unsigned, FNV1, START_32, PRIME_32, uint8_t)
DEFINE(fnv1a_32_unsigned, FNV1A, START_32, PRIME_32, uint8_t)

/*
 * one_at_a_time.c - Bob Jenkins's one-at-a-time hash, with signed bytes
 */
#include "hash.h"

uint32_t ketama_hash_one_at_a_time(const void *key, size_t len, uint64_t seed)
{
    const int8_t *at = key; /* not char, which is unsigned on ARM */
    uint32_t h = 0;

    (void)seed;
    for (size_t i = 0; i < len; i++) {
        uint32_t byte = (uint32_t)at[i];
        h += byte;
        h += h << 10;
        h ^= h >> 6;
    }
    h += h << 3;
    h ^= h >> 11;
    h += h << 15;
    return h;
}

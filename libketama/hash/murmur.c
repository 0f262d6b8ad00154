/*
 * murmur.c - MurmurHash2, and MurmurHash3 for 32-bit x86
 *
 * Both start from the key's length.
 */
#include "hash.h"
#include "words.h"

static uint32_t start(size_t len)
{
    return 0xdeadbeef * (uint32_t)len;
}

uint32_t ketama_hash_murmur(const void *key, size_t len, uint64_t seed)
{
    const uint32_t m = 0x5bd1e995;
    const uint8_t *at = key;
    uint32_t h = start(len) ^ (uint32_t)len;

    (void)seed;
    for (; len >= 4; len -= 4, at += 4) {
        uint32_t k = ketama_load32(at) * m;
        h = h * m ^ (k ^ k >> 24) * m;
    }
    if (len > 0)
        h = (h ^ ketama_load_part(at, len)) * m;
    h = (h ^ h >> 13) * m;
    return h ^ h >> 15;
}

static uint32_t scramble3(uint32_t k)
{
    return ketama_rotate32(k * 0xcc9e2d51, 15) * 0x1b873593;
}

uint32_t ketama_hash_murmur3(const void *key, size_t len, uint64_t seed)
{
    const uint8_t *at = key;
    uint32_t h = start(len), all = (uint32_t)len;

    (void)seed;
    for (; len >= 4; len -= 4, at += 4)
        h = ketama_rotate32(h ^ scramble3(ketama_load32(at)), 13) * 5 + 0xe6546b64;
    h ^= scramble3(ketama_load_part(at, len));
    h ^= all;
    h = (h ^ h >> 16) * 0x85ebca6b;
    h = (h ^ h >> 13) * 0xc2b2ae35;
    return h ^ h >> 16;
}

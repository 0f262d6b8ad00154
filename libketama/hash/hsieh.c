/*
 * hsieh.c - Paul Hsieh's SuperFastHash, as memcached's clients have it
 *
 * It starts from 0, not from the length. In a tail of three bytes the last one is
 * signed; a tail of one byte is not.
 */
#include "hash.h"

static uint32_t load16(const uint8_t *bytes)
{
    return bytes[0] | (uint32_t)bytes[1] << 8;
}

uint32_t ketama_hash_hsieh(const void *key, size_t len, uint64_t seed)
{
    const uint8_t *at = key;
    uint32_t h = 0;

    (void)seed;
    for (; len >= 4; len -= 4, at += 4) {
        h += load16(at);
        h = h << 16 ^ load16(at + 2) << 11 ^ h;
        h += h >> 11;
    }
    switch (len) {
    case 3:
        h += load16(at);
        h ^= h << 16;
        h ^= (uint32_t)((const int8_t *)at)[2] << 18;
        h += h >> 11;
        break;
    case 2:
        h += load16(at);
        h ^= h << 11;
        h += h >> 17;
        break;
    case 1:
        h += at[0];
        h ^= h << 10;
        h += h >> 1;
        break;
    }
    h ^= h << 3;
    h += h >> 5;
    h ^= h << 4;
    h += h >> 17;
    h ^= h << 25;
    h += h >> 6;
    return h;
}

/*
 * jenkins.c - Bob Jenkins's lookup3, little-endian, with the start value 13
 */
#include "hash.h"
#include "words.h"

/* Word i of a key of 12 bytes or less, which is filled up with zeros. */
static uint32_t last_word(const uint8_t *at, size_t len, size_t i)
{
    if (len >= 4 * i + 4)
        return ketama_load32(at + 4 * i);
    return len > 4 * i ? ketama_load_part(at + 4 * i, len - 4 * i) : 0;
}

#define MIX(a, b, c, bits)   ((a) -= (c), (a) ^= ketama_rotate32(c, bits), (c) += (b))
#define LAST_MIX(a, b, bits) ((a) ^= (b), (a) -= ketama_rotate32(b, bits))

uint32_t ketama_hash_jenkins(const void *key, size_t len, uint64_t seed)
{
    const uint8_t *at = key;
    uint32_t a = 0xdeadbeef + (uint32_t)len + 13, b = a, c = a;

    (void)seed;
    if (len == 0)
        return c;
    for (; len > 12; len -= 12, at += 12) {
        a += ketama_load32(at);
        b += ketama_load32(at + 4);
        c += ketama_load32(at + 8);
        MIX(a, b, c, 4);
        MIX(b, c, a, 6);
        MIX(c, a, b, 8);
        MIX(a, b, c, 16);
        MIX(b, c, a, 19);
        MIX(c, a, b, 4);
    }
    a += last_word(at, len, 0);
    b += last_word(at, len, 1);
    c += last_word(at, len, 2);
    LAST_MIX(c, b, 14);
    LAST_MIX(a, c, 11);
    LAST_MIX(b, a, 25);
    LAST_MIX(c, b, 16);
    LAST_MIX(a, c, 4);
    LAST_MIX(b, a, 14);
    LAST_MIX(c, b, 24);
    return c;
}

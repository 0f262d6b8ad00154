/*
 * words.h - loads, byte order and rotation of words, the same on every machine
 *
 * internal.h has ketama_load32().
 */
#ifndef KETAMA_WORDS_H
#define KETAMA_WORDS_H

#include "../internal.h"

#include <string.h>

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define KETAMA_LITTLE_ENDIAN 1
#endif

/* Reads eight bytes as a little-endian word. Compilers do not turn eight shifts into a
 * load. */
static inline uint64_t ketama_load64(const uint8_t *bytes)
{
#ifdef KETAMA_LITTLE_ENDIAN
    uint64_t value;
    memcpy(&value, bytes, sizeof value);
    return value;
#else
    return ketama_load32(bytes) | (uint64_t)ketama_load32(bytes + 4) << 32;
#endif
}

/* Reads 0 to 3 bytes as the low end of a little-endian word. */
static inline uint32_t ketama_load_part(const uint8_t *bytes, size_t len)
{
    uint32_t word = 0;
    if (len > 2)
        word |= (uint32_t)bytes[2] << 16;
    if (len > 1)
        word |= (uint32_t)bytes[1] << 8;
    if (len > 0)
        word |= bytes[0];
    return word;
}

/* Reverse the order of a word's bytes. */
static inline uint32_t ketama_swap32(uint32_t x)
{
    return x << 24 | (x & 0xff00) << 8 | (x >> 8 & 0xff00) | x >> 24;
}

static inline uint64_t ketama_swap64(uint64_t x)
{
    return (uint64_t)ketama_swap32((uint32_t)x) << 32 |
           ketama_swap32((uint32_t)(x >> 32));
}

/* Rotate left by 1 to 31 bits, and by 1 to 63. */
static inline uint32_t ketama_rotate32(uint32_t x, unsigned bits)
{
    return x << bits | x >> (32 - bits);
}

static inline uint64_t ketama_rotate64(uint64_t x, unsigned bits)
{
    return x << bits | x >> (64 - bits);
}

#endif

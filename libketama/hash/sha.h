/*
 * sha.h - shared by SHA-1 and SHA-384 (FIPS 180-4): big-endian words, and the padding
 */
#ifndef KETAMA_SHA_H
#define KETAMA_SHA_H

#include "hash.h"
#include "words.h"

static inline uint32_t sha_load32(const uint8_t *bytes)
{
    return ketama_swap32(ketama_load32(bytes));
}

static inline uint64_t sha_load64(const uint8_t *bytes)
{
    return ketama_swap64(ketama_load64(bytes));
}

/* Writes a message's last one or two blocks: its bytes after the last whole block, a
 * byte 0x80, zeros, and its length in bits, for which an eighth of a block is reserved.
 * Returns how many bytes that is. */
static inline size_t sha_last_blocks(const uint8_t *bytes, size_t len, size_t block,
                                     uint8_t *last)
{
    size_t rest = len % block, size = rest + 1 + block / 8 <= block ? block : 2 * block;
    uint64_t bits = (uint64_t)len * 8;

    memset(last, 0, size);
    if (rest > 0)
        memcpy(last, bytes + (len - rest), rest);
    last[rest] = 0x80;
    for (size_t i = 1; i <= 8; i++, bits >>= 8)
        last[size - i] = (uint8_t)bits;
    return size;
}

#endif

/*
 * sha1.c - SHA-1 of one message
 */
#include "sha.h"

enum { BLOCK = 64 };

/* Twenty steps, with the function and the constant of their round. */
#define ROUND(from, function, constant)                                                 \
    for (size_t i = (from); i < (from) + 20; i++) {                                     \
        uint32_t next = ketama_rotate32(a, 5) + (function) + (constant) + e + w[i];     \
        e = d;                                                                          \
        d = c;                                                                          \
        c = ketama_rotate32(b, 30);                                                     \
        b = a;                                                                          \
        a = next;                                                                       \
    }

static void mix_block(uint32_t state[5], const uint8_t *block)
{
    uint32_t a = state[0], b = state[1], c = state[2], d = state[3], e = state[4];
    uint32_t w[80];

    for (size_t i = 0; i < 16; i++)
        w[i] = sha_load32(block + 4 * i);
    for (size_t i = 16; i < 80; i++)
        w[i] = ketama_rotate32(w[i - 3] ^ w[i - 8] ^ w[i - 14] ^ w[i - 16], 1);
    ROUND(0, d ^ (b & (c ^ d)), 0x5a827999)
    ROUND(20, b ^ c ^ d, 0x6ed9eba1)
    ROUND(40, (b & c) | (d & (b | c)), 0x8f1bbcdc)
    ROUND(60, b ^ c ^ d, 0xca62c1d6)
    state[0] += a;
    state[1] += b;
    state[2] += c;
    state[3] += d;
    state[4] += e;
}

static void mix_blocks(uint32_t state[5], const uint8_t *at, size_t size)
{
    for (; size > 0; size -= BLOCK, at += BLOCK)
        mix_block(state, at);
}

uint32_t ketama_sha1_word(const void *bytes, size_t len)
{
    uint32_t state[5] = {0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476, 0xc3d2e1f0};
    uint8_t last[2 * BLOCK];
    size_t last_size = sha_last_blocks(bytes, len, BLOCK, last);

    mix_blocks(state, bytes, len - len % BLOCK);
    mix_blocks(state, last, last_size);
    return state[0];
}

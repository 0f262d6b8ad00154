/*
 * sha384.c - SHA-384 of one message
 */
#include "sha.h"

enum { BLOCK = 128 };

/* The first 64 bits of the fractional parts of the cube roots of the first 80 primes. */
static const uint64_t constants[80] = {
    0x428a2f98d728ae22, 0x7137449123ef65cd, 0xb5c0fbcfec4d3b2f, 0xe9b5dba58189dbbc,
    0x3956c25bf348b538, 0x59f111f1b605d019, 0x923f82a4af194f9b, 0xab1c5ed5da6d8118,
    0xd807aa98a3030242, 0x12835b0145706fbe, 0x243185be4ee4b28c, 0x550c7dc3d5ffb4e2,
    0x72be5d74f27b896f, 0x80deb1fe3b1696b1, 0x9bdc06a725c71235, 0xc19bf174cf692694,
    0xe49b69c19ef14ad2, 0xefbe4786384f25e3, 0x0fc19dc68b8cd5b5, 0x240ca1cc77ac9c65,
    0x2de92c6f592b0275, 0x4a7484aa6ea6e483, 0x5cb0a9dcbd41fbd4, 0x76f988da831153b5,
    0x983e5152ee66dfab, 0xa831c66d2db43210, 0xb00327c898fb213f, 0xbf597fc7beef0ee4,
    0xc6e00bf33da88fc2, 0xd5a79147930aa725, 0x06ca6351e003826f, 0x142929670a0e6e70,
    0x27b70a8546d22ffc, 0x2e1b21385c26c926, 0x4d2c6dfc5ac42aed, 0x53380d139d95b3df,
    0x650a73548baf63de, 0x766a0abb3c77b2a8, 0x81c2c92e47edaee6, 0x92722c851482353b,
    0xa2bfe8a14cf10364, 0xa81a664bbc423001, 0xc24b8b70d0f89791, 0xc76c51a30654be30,
    0xd192e819d6ef5218, 0xd69906245565a910, 0xf40e35855771202a, 0x106aa07032bbd1b8,
    0x19a4c116b8d2d0c8, 0x1e376c085141ab53, 0x2748774cdf8eeb99, 0x34b0bcb5e19b48a8,
    0x391c0cb3c5c95a63, 0x4ed8aa4ae3418acb, 0x5b9cca4f7763e373, 0x682e6ff3d6b2b8a3,
    0x748f82ee5defb2fc, 0x78a5636f43172f60, 0x84c87814a1f0ab72, 0x8cc702081a6439ec,
    0x90befffa23631e28, 0xa4506cebde82bde9, 0xbef9a3f7b2c67915, 0xc67178f2e372532b,
    0xca273eceea26619c, 0xd186b8c721c0c207, 0xeada7dd6cde0eb1e, 0xf57d4f7fee6ed178,
    0x06f067aa72176fba, 0x0a637dc5a2c898a6, 0x113f9804bef90dae, 0x1b710b35131c471b,
    0x28db77f523047d84, 0x32caab7b40c72493, 0x3c9ebe0a15c9bebc, 0x431d67c49c100d4c,
    0x4cc5d4becb3e42b6, 0x597f299cfc657e2a, 0x5fcb6fab3ad6faec, 0x6c44198c4a475817,
};

static uint64_t rotate_right(uint64_t x, unsigned bits)
{
    return ketama_rotate64(x, 64 - bits);
}

static void fill_schedule(uint64_t w[80], const uint8_t *block)
{
    for (size_t i = 0; i < 16; i++)
        w[i] = sha_load64(block + 8 * i);
    for (size_t i = 16; i < 80; i++) {
        uint64_t x = w[i - 15], y = w[i - 2];
        w[i] = w[i - 16] + (rotate_right(x, 1) ^ rotate_right(x, 8) ^ x >> 7) +
               w[i - 7] + (rotate_right(y, 19) ^ rotate_right(y, 61) ^ y >> 6);
    }
}

static void mix_block(uint64_t state[8], const uint8_t *block)
{
    uint64_t a = state[0], b = state[1], c = state[2], d = state[3];
    uint64_t e = state[4], f = state[5], g = state[6], h = state[7];
    uint64_t w[80];

    fill_schedule(w, block);
    for (size_t i = 0; i < 80; i++) {
        uint64_t x = rotate_right(e, 14) ^ rotate_right(e, 18) ^ rotate_right(e, 41),
                 y = rotate_right(a, 28) ^ rotate_right(a, 34) ^ rotate_right(a, 39);
        x += h + (g ^ (e & (f ^ g))) + constants[i] + w[i];
        y += (a & b) | (c & (a | b));
        h = g;
        g = f;
        f = e;
        e = d + x;
        d = c;
        c = b;
        b = a;
        a = x + y;
    }
    state[0] += a;
    state[1] += b;
    state[2] += c;
    state[3] += d;
    state[4] += e;
    state[5] += f;
    state[6] += g;
    state[7] += h;
}

static void mix_blocks(uint64_t state[8], const uint8_t *at, size_t size)
{
    for (; size > 0; size -= BLOCK, at += BLOCK)
        mix_block(state, at);
}

void ketama_sha384_words(const void *bytes, size_t len, uint32_t words[4])
{
    uint64_t state[8] = {0xcbbb9d5dc1059ed8, 0x629a292a367cd507, 0x9159015a3070dd17,
                         0x152fecd8f70e5939, 0x67332667ffc00b31, 0x8eb44a8768581511,
                         0xdb0c2e0d64f98fa7, 0x47b5481dbefa4fa4};
    uint8_t last[2 * BLOCK];
    size_t last_size = sha_last_blocks(bytes, len, BLOCK, last);

    mix_blocks(state, bytes, len - len % BLOCK);
    mix_blocks(state, last, last_size);
    for (size_t i = 0; i < 2; i++) { /* the digest is big-endian */
        words[2 * i] = ketama_swap32((uint32_t)(state[i] >> 32));
        words[2 * i + 1] = ketama_swap32((uint32_t)state[i]);
    }
}

uint32_t ketama_hash_sha384(const void *key, size_t len, uint64_t seed)
{
    uint32_t words[4];
    (void)seed;
    ketama_sha384_words(key, len, words);
    return words[0];
}

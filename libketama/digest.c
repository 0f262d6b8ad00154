/*
 * digest.c - MD5 (RFC 1321)
 *
 * A message is cut into blocks of 64 bytes, the last one or two of which carry the
 * padding: a byte 0x80, zeros, and the message's length in bits. Blocks are copied
 * before they are read as words, so nothing beyond the message is ever touched.
 */
#include <string.h>

#include "internal.h"

enum { BLOCK = 64, LENGTH_AT = 56 };

struct state {
    uint32_t a, b, c, d;
};

static const struct state start = {0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476};

static inline void store32(unsigned char *bytes, uint32_t word)
{
    bytes[0] = (unsigned char)word;
    bytes[1] = (unsigned char)(word >> 8);
    bytes[2] = (unsigned char)(word >> 16);
    bytes[3] = (unsigned char)(word >> 24);
}

static inline uint32_t rotate(uint32_t x, unsigned bits)
{
    return x << bits | x >> (32 - bits);
}

/*
 * The four mixers. b is the word that the step before has just made, so what counts
 * is how many operations stand between b and the result. G's two halves never have
 * a bit in common, so they may be added one after the other, the half without b
 * first, instead of being or-ed.
 */
#define F(x, b, c, d) ((x) + ((d) ^ ((b) & ((c) ^ (d)))))
#define G(x, b, c, d) (((x) + (~(d) & (c))) + ((d) & (b)))
#define H(x, b, c, d) ((x) + ((b) ^ ((c) ^ (d))))
#define I(x, b, c, d) ((x) + ((c) ^ ((b) | ~(d))))

#define STEP(mix, a, b, c, d, word, bits, constant)                                     \
    (a) = (b) + rotate(mix((a) + (w[word] + (constant)), b, c, d), bits)

/* Four steps, after which each of the four words is where it was. */
#define ROUND(mix, w0, w1, w2, w3, s0, s1, s2, s3, k0, k1, k2, k3)                      \
    STEP(mix, a, b, c, d, w0, s0, k0);                                                  \
    STEP(mix, d, a, b, c, w1, s1, k1);                                                  \
    STEP(mix, c, d, a, b, w2, s2, k2);                                                  \
    STEP(mix, b, c, d, a, w3, s3, k3)

/* Inline and by value: where only one word of the result is used, the compiler drops
 * the steps that make the others. The constants are floor(2^32 * |sin(i + 1)|). */
static inline struct state mix_block(struct state s, const unsigned char *block)
{
    uint32_t w[16], a = s.a, b = s.b, c = s.c, d = s.d;
    for (unsigned i = 0; i < 16; i++)
        w[i] = ketama_load32(block + 4 * i);

    /* clang-format off */
    ROUND(F,  0,  1,  2,  3, 7, 12, 17, 22, 0xd76aa478, 0xe8c7b756, 0x242070db, 0xc1bdceee);
    ROUND(F,  4,  5,  6,  7, 7, 12, 17, 22, 0xf57c0faf, 0x4787c62a, 0xa8304613, 0xfd469501);
    ROUND(F,  8,  9, 10, 11, 7, 12, 17, 22, 0x698098d8, 0x8b44f7af, 0xffff5bb1, 0x895cd7be);
    ROUND(F, 12, 13, 14, 15, 7, 12, 17, 22, 0x6b901122, 0xfd987193, 0xa679438e, 0x49b40821);
    ROUND(G,  1,  6, 11,  0, 5,  9, 14, 20, 0xf61e2562, 0xc040b340, 0x265e5a51, 0xe9b6c7aa);
    ROUND(G,  5, 10, 15,  4, 5,  9, 14, 20, 0xd62f105d, 0x02441453, 0xd8a1e681, 0xe7d3fbc8);
    ROUND(G,  9, 14,  3,  8, 5,  9, 14, 20, 0x21e1cde6, 0xc33707d6, 0xf4d50d87, 0x455a14ed);
    ROUND(G, 13,  2,  7, 12, 5,  9, 14, 20, 0xa9e3e905, 0xfcefa3f8, 0x676f02d9, 0x8d2a4c8a);
    ROUND(H,  5,  8, 11, 14, 4, 11, 16, 23, 0xfffa3942, 0x8771f681, 0x6d9d6122, 0xfde5380c);
    ROUND(H,  1,  4,  7, 10, 4, 11, 16, 23, 0xa4beea44, 0x4bdecfa9, 0xf6bb4b60, 0xbebfbc70);
    ROUND(H, 13,  0,  3,  6, 4, 11, 16, 23, 0x289b7ec6, 0xeaa127fa, 0xd4ef3085, 0x04881d05);
    ROUND(H,  9, 12, 15,  2, 4, 11, 16, 23, 0xd9d4d039, 0xe6db99e5, 0x1fa27cf8, 0xc4ac5665);
    ROUND(I,  0,  7, 14,  5, 6, 10, 15, 21, 0xf4292244, 0x432aff97, 0xab9423a7, 0xfc93a039);
    ROUND(I, 12,  3, 10,  1, 6, 10, 15, 21, 0x655b59c3, 0x8f0ccc92, 0xffeff47d, 0x85845dd1);
    ROUND(I,  8, 15,  6, 13, 6, 10, 15, 21, 0x6fa87e4f, 0xfe2ce6e0, 0xa3014314, 0x4e0811a1);
    ROUND(I,  4, 11,  2,  9, 6, 10, 15, 21, 0xf7537e82, 0xbd3af235, 0x2ad7d2bb, 0xeb86d391);
    /* clang-format on */

    return (struct state){s.a + a, s.b + b, s.c + c, s.d + d};
}

static inline struct state digest(const unsigned char *message, size_t len)
{
    struct state s = start;
    unsigned char block[BLOCK] = {0};
    uint64_t bits = (uint64_t)len * 8;

    for (; len >= BLOCK; message += BLOCK, len -= BLOCK)
        s = mix_block(s, message);
    if (len > 0)
        memcpy(block, message, len);
    block[len] = 0x80;
    if (len >= LENGTH_AT) {
        s = mix_block(s, block);
        memset(block, 0, sizeof block);
    }
    store32(block + LENGTH_AT, (uint32_t)bits);
    store32(block + LENGTH_AT + 4, (uint32_t)(bits >> 32));
    return mix_block(s, block);
}

uint32_t ketama_hash(const void *key, size_t len)
{
    return digest(key, len).a;
}

void ketama_md5(const void *key, size_t len, unsigned char out[16])
{
    struct state s = digest(key, len);
    store32(out, s.a);
    store32(out + 4, s.b);
    store32(out + 8, s.c);
    store32(out + 12, s.d);
}

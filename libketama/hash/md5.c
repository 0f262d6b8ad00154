/*
 * md5.c - MD5 of one message, in plain C
 *
 * Hashing a short key takes as long as a chain of 61 steps, each of which needs the
 * result of the step before. All other work is kept off that chain.
 */
#include "md5.h"

struct state {
    uint32_t a, b, c, d;
};

/* Completes the sum of the terms that do not depend on b. Otherwise, a compiler may
 * order the additions so that b reaches the result one addition later. */
#if defined(__GNUC__)
#define TOGETHER(x) __asm__("" : "+r"(x))
#else
#define TOGETHER(x) (void)(x)
#endif

#define STEP(mix, a, b, c, d, word, bits, constant)                                     \
    do {                                                                                \
        uint32_t first = (a) + (w[word] + (constant)), mixed;                           \
        TOGETHER(first);                                                                \
        mixed = mix(first, b, c, d);                                                    \
        (a) = (b) + MD5_ROTATE(mixed, bits);                                            \
    } while (0)

/* Inline and by value: if only one word of the result is used, the compiler drops the
 * steps that compute the others. */
MD5_INLINE struct state mix_last_block(struct state s, const unsigned char *block)
{
    uint32_t w[16], a = s.a, b = s.b, c = s.c, d = s.d;
    for (unsigned i = 0; i < 16; i++)
        w[i] = ketama_load32(block + 4 * i);
    MD5_STEPS(STEP, MD5_F, MD5_G, MD5_H, MD5_I);
    return (struct state){s.a + a, s.b + b, s.c + c, s.d + d};
}

static struct state mix_block(struct state s, const unsigned char *block)
{
    return mix_last_block(s, block);
}

MD5_INLINE struct state digest(const void *bytes, size_t len)
{
    struct state s = {MD5_START_A, MD5_START_B, MD5_START_C, MD5_START_D};
    struct md5_message message = md5_message(bytes, len);
    unsigned char block[MD5_BLOCK];

    while (!md5_next_block(&message, block, MD5_PIECE))
        s = mix_block(s, block);
    return mix_last_block(s, block);
}

uint32_t ketama_hash(const void *key, size_t len)
{
    return digest(key, len).a;
}

uint32_t ketama_hash_md5(const void *key, size_t len, uint64_t seed)
{
    (void)seed;
    return digest(key, len).a;
}

static void store32(unsigned char *bytes, uint32_t word)
{
    for (unsigned i = 0; i < 4; i++)
        bytes[i] = (unsigned char)(word >> (8 * i));
}

void ketama_md5(const void *key, size_t len, unsigned char out[16])
{
    struct state s = digest(key, len);
    store32(out, s.a);
    store32(out + 4, s.b);
    store32(out + 8, s.c);
    store32(out + 12, s.d);
}

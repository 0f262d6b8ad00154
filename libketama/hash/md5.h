/*
 * md5.h - shared by MD5 of one message and MD5 of many (RFC 1321)
 *
 * A message is split into blocks of 64 bytes. The last one or two contain the padding:
 * a byte 0x80, zeros, and the message's length in bits. The steps are macros, because
 * they work on one word of one message and on a vector of words of many messages alike.
 */
#ifndef KETAMA_MD5_H
#define KETAMA_MD5_H

#include "hash.h"
#include "words.h"

#ifdef __GNUC__
#define MD5_INLINE static inline __attribute__((always_inline))
#else
#define MD5_INLINE static inline
#endif

enum { MD5_BLOCK = 64, MD5_PIECE = 16, MD5_LENGTH_AT = 56 };

#define MD5_START_A 0x67452301u
#define MD5_START_B 0xefcdab89u
#define MD5_START_C 0x98badcfeu
#define MD5_START_D 0x10325476u

/* ---- A message, block by block */

struct md5_message {
    const unsigned char *at;
    size_t left;
    uint64_t bits;
    bool marked; /* the byte 0x80 has been written */
};

static inline struct md5_message md5_message(const void *bytes, size_t len)
{
    return (struct md5_message){bytes, len, (uint64_t)len * 8, false};
}

static inline void md5_store64(unsigned char *to, uint64_t value)
{
#ifdef KETAMA_LITTLE_ENDIAN
    memcpy(to, &value, sizeof value);
#else
    for (unsigned i = 0; i < 8; i++)
        to[i] = (unsigned char)(value >> (8 * i));
#endif
}

/* The 0 to 15 bytes after a message's last whole piece, as two words. Loads overlap, so
 * that none reaches outside the message. */
MD5_INLINE void md5_tail(const unsigned char *end, unsigned len, bool is_all,
                         uint64_t *low, uint64_t *high)
{
    if (!is_all) { /* the message has 16 bytes or more */
        uint64_t first = ketama_load64(end - 16), second = ketama_load64(end - 8);
        unsigned drop = 8 * (16 - len); /* bits, 8 to 128 */
        if (drop < 64) {
            *low = first >> drop | second << (64 - drop);
            *high = second >> drop;
        } else { /* in halves: shifting a word by 64 is undefined */
            *low = second >> (drop - 64) / 2 >> (drop - 64) / 2;
            *high = 0;
        }
    } else if (len >= 8) {
        *low = ketama_load64(end - len);
        *high = ketama_load64(end - 8) >> (128 - 8 * len) / 2 >> (128 - 8 * len) / 2;
    } else if (len >= 4) {
        *low = ketama_load32(end - len) | (uint64_t)ketama_load32(end - 4)
                                              << (8 * len - 32);
        *high = 0;
    } else {
        *low = 0;
        for (unsigned i = 0; i < len; i++)
            *low |= (uint64_t)(end - len)[i] << (8 * i);
        *high = 0;
    }
}

/* Writes the message's next block as four pieces of 16 bytes, `stride` bytes apart.
 * Returns true if it was the last block. */
MD5_INLINE bool md5_next_block(struct md5_message *m, unsigned char *to, size_t stride)
{
    unsigned whole = (unsigned)m->left / MD5_PIECE, len = (unsigned)m->left % MD5_PIECE;
    uint64_t low = 0, high = 0;

    if (m->left >= MD5_BLOCK) {
        for (unsigned piece = 0; piece < 4; piece++)
            memcpy(to + piece * stride, m->at + piece * MD5_PIECE, MD5_PIECE);
        m->at += MD5_BLOCK;
        m->left -= MD5_BLOCK;
        return false;
    }
    if (whole > 0)
        memcpy(to, m->at, MD5_PIECE);
    if (whole > 1)
        memcpy(to + stride, m->at + MD5_PIECE, MD5_PIECE);
    if (whole > 2)
        memcpy(to + 2 * stride, m->at + 2 * MD5_PIECE, MD5_PIECE);
    if (!m->marked) {
        uint64_t mark = UINT64_C(0x80) << 8 * (len % 8);
        if (m->left > 0)
            md5_tail(m->at + m->left, len, m->bits < 8 * MD5_PIECE, &low, &high);
        low |= len < 8 ? mark : 0;
        high |= len < 8 ? 0 : mark;
        m->marked = true;
    }
    md5_store64(to + whole * stride, low);
    md5_store64(to + whole * stride + 8, high);
    if (whole < 1)
        memset(to + stride, 0, MD5_PIECE);
    if (whole < 2)
        memset(to + 2 * stride, 0, MD5_PIECE);
    if (whole < 3)
        memset(to + 3 * stride, 0, MD5_PIECE);
    if (m->left >= MD5_LENGTH_AT) {
        m->left = 0;
        return false;
    }
    md5_store64(to + 3 * stride + MD5_LENGTH_AT % MD5_PIECE, m->bits);
    return true;
}

/* ---- The steps */

#define MD5_ROTATE(x, bits) ((x) << (bits) | (x) >> (32 - (bits)))

/*
 * The four mixers. b is the result of the step before, so the number of operations from
 * b to the result determines the speed. G's two halves never share a bit, so they can be
 * added one after the other instead of or-ed, the half without b first.
 */
#define MD5_F(x, b, c, d) ((x) + ((d) ^ ((b) & ((c) ^ (d)))))
#define MD5_G(x, b, c, d) (((x) + (~(d) & (c))) + ((d) & (b)))
#define MD5_H(x, b, c, d) ((x) + ((b) ^ ((c) ^ (d))))
#define MD5_I(x, b, c, d) ((x) + ((c) ^ ((b) | ~(d))))

/* Four steps, after which a, b, c and d have their original order. */
#define MD5_ROUND(STEP, mix, w0, w1, w2, w3, s0, s1, s2, s3, k0, k1, k2, k3)            \
    STEP(mix, a, b, c, d, w0, s0, k0##u);                                               \
    STEP(mix, d, a, b, c, w1, s1, k1##u);                                               \
    STEP(mix, c, d, a, b, w2, s2, k2##u);                                               \
    STEP(mix, b, c, d, a, w3, s3, k3##u)

/* All 64 steps. STEP(mixer, a, b, c, d, word, bits, constant) computes a new a.
 * The constants are floor(2^32 * |sin(i + 1)|). */
/* clang-format off */
#define MD5_STEPS(S, F, G, H, I)                                                                      \
    MD5_ROUND(S, F,  0,  1,  2,  3, 7, 12, 17, 22, 0xd76aa478, 0xe8c7b756, 0x242070db, 0xc1bdceee);   \
    MD5_ROUND(S, F,  4,  5,  6,  7, 7, 12, 17, 22, 0xf57c0faf, 0x4787c62a, 0xa8304613, 0xfd469501);   \
    MD5_ROUND(S, F,  8,  9, 10, 11, 7, 12, 17, 22, 0x698098d8, 0x8b44f7af, 0xffff5bb1, 0x895cd7be);   \
    MD5_ROUND(S, F, 12, 13, 14, 15, 7, 12, 17, 22, 0x6b901122, 0xfd987193, 0xa679438e, 0x49b40821);   \
    MD5_ROUND(S, G,  1,  6, 11,  0, 5,  9, 14, 20, 0xf61e2562, 0xc040b340, 0x265e5a51, 0xe9b6c7aa);   \
    MD5_ROUND(S, G,  5, 10, 15,  4, 5,  9, 14, 20, 0xd62f105d, 0x02441453, 0xd8a1e681, 0xe7d3fbc8);   \
    MD5_ROUND(S, G,  9, 14,  3,  8, 5,  9, 14, 20, 0x21e1cde6, 0xc33707d6, 0xf4d50d87, 0x455a14ed);   \
    MD5_ROUND(S, G, 13,  2,  7, 12, 5,  9, 14, 20, 0xa9e3e905, 0xfcefa3f8, 0x676f02d9, 0x8d2a4c8a);   \
    MD5_ROUND(S, H,  5,  8, 11, 14, 4, 11, 16, 23, 0xfffa3942, 0x8771f681, 0x6d9d6122, 0xfde5380c);   \
    MD5_ROUND(S, H,  1,  4,  7, 10, 4, 11, 16, 23, 0xa4beea44, 0x4bdecfa9, 0xf6bb4b60, 0xbebfbc70);   \
    MD5_ROUND(S, H, 13,  0,  3,  6, 4, 11, 16, 23, 0x289b7ec6, 0xeaa127fa, 0xd4ef3085, 0x04881d05);   \
    MD5_ROUND(S, H,  9, 12, 15,  2, 4, 11, 16, 23, 0xd9d4d039, 0xe6db99e5, 0x1fa27cf8, 0xc4ac5665);   \
    MD5_ROUND(S, I,  0,  7, 14,  5, 6, 10, 15, 21, 0xf4292244, 0x432aff97, 0xab9423a7, 0xfc93a039);   \
    MD5_ROUND(S, I, 12,  3, 10,  1, 6, 10, 15, 21, 0x655b59c3, 0x8f0ccc92, 0xffeff47d, 0x85845dd1);   \
    MD5_ROUND(S, I,  8, 15,  6, 13, 6, 10, 15, 21, 0x6fa87e4f, 0xfe2ce6e0, 0xa3014314, 0x4e0811a1);   \
    MD5_ROUND(S, I,  4, 11,  2,  9, 6, 10, 15, 21, 0xf7537e82, 0xbd3af235, 0x2ad7d2bb, 0xeb86d391)
/* clang-format on */

#endif

/*
 * crc.c - CRC-32, as in zlib, and a CRC-16 in a register of 32 bits
 *
 * What a byte does to a CRC is the exclusive or of what each of its bits does. So eight
 * constants define a table of all 256 bytes, which the preprocessor writes out.
 */
#include "hash.h"

#define TABLE(b0, b1, b2, b3, b4, b5, b6, b7)                                           \
    {HALF(0, b0, b1, b2, b3, b4, b5, b6), HALF(b7, b0, b1, b2, b3, b4, b5, b6)}
#define HALF(x, b0, b1, b2, b3, b4, b5, b6)                                             \
    QUARTER(x, b0, b1, b2, b3, b4, b5), QUARTER(x ^ b6, b0, b1, b2, b3, b4, b5)
#define QUARTER(x, b0, b1, b2, b3, b4, b5)                                              \
    SPAN32(x, b0, b1, b2, b3, b4), SPAN32(x ^ b5, b0, b1, b2, b3, b4)
#define SPAN32(x, b0, b1, b2, b3, b4)                                                   \
    SPAN16(x, b0, b1, b2, b3), SPAN16(x ^ b4, b0, b1, b2, b3)
#define SPAN16(x, b0, b1, b2, b3) SPAN8(x, b0, b1, b2), SPAN8(x ^ b3, b0, b1, b2)
#define SPAN8(x, b0, b1, b2)      SPAN4(x, b0, b1), SPAN4(x ^ b2, b0, b1)
#define SPAN4(x, b0, b1)          SPAN2(x, b0), SPAN2(x ^ b1, b0)
#define SPAN2(x, b0)              x, x ^ b0

/* after[n][byte] is what the byte does to a register of CRC-32 once n more bytes have
 * passed. So eight bytes can be looked up at the same time.
 *
 * From right to left and from top to bottom, each constant is the one before, shifted by
 * one bit: x >> 1 ^ (x & 1 ? 0xedb88320 : 0), beginning with the polynomial. */
/* clang-format off */
static const uint32_t after[8][256] = {
    TABLE(0x77073096, 0xee0e612c, 0x076dc419, 0x0edb8832, 0x1db71064, 0x3b6e20c8, 0x76dc4190, 0xedb88320),
    TABLE(0x191b3141, 0x32366282, 0x646cc504, 0xc8d98a08, 0x4ac21251, 0x958424a2, 0xf0794f05, 0x3b83984b),
    TABLE(0x01c26a37, 0x0384d46e, 0x0709a8dc, 0x0e1351b8, 0x1c26a370, 0x384d46e0, 0x709a8dc0, 0xe1351b80),
    TABLE(0xb8bc6765, 0xaa09c88b, 0x8f629757, 0xc5b428ef, 0x5019579f, 0xa032af3e, 0x9b14583d, 0xed59b63b),
    TABLE(0x3d6029b0, 0x7ac05360, 0xf580a6c0, 0x30704bc1, 0x60e09782, 0xc1c12f04, 0x58f35849, 0xb1e6b092),
    TABLE(0xcb5cd3a5, 0x4dc8a10b, 0x9b914216, 0xec53826d, 0x03d6029b, 0x07ac0536, 0x0f580a6c, 0x1eb014d8),
    TABLE(0xa6770bb4, 0x979f1129, 0xf44f2413, 0x33ef4e67, 0x67de9cce, 0xcfbd399c, 0x440b7579, 0x8816eaf2),
    TABLE(0xccaa009e, 0x4225077d, 0x844a0efa, 0xd3e51bb5, 0x7cbb312b, 0xf9766256, 0x299dc2ed, 0x533b85da),
};
/* clang-format on */

/* Polynomial 0x1021, high end first. */
static const uint16_t table16[256] =
    TABLE(0x1021, 0x2042, 0x4084, 0x8108, 0x1231, 0x2462, 0x48c4, 0x9188);

/* What the four bytes of a word do, the last of which n bytes follow. */
#define WORD(x, n)                                                                      \
    (after[(n) + 3][(x) & 0xff] ^ after[(n) + 2][(x) >> 8 & 0xff] ^                     \
     after[(n) + 1][(x) >> 16 & 0xff] ^ after[n][(x) >> 24])

uint32_t ketama_crc32_update(uint32_t state, const void *bytes, size_t len)
{
    const uint8_t *at = bytes;

    for (; len >= 8; len -= 8, at += 8) {
        uint32_t low = state ^ ketama_load32(at), high = ketama_load32(at + 4);
        state = WORD(low, 4) ^ WORD(high, 0);
    }
    if (len >= 4) {
        state ^= ketama_load32(at);
        state = WORD(state, 0);
        at += 4;
        len -= 4;
    }
    for (size_t i = 0; i < len; i++)
        state = state >> 8 ^ after[0][(state ^ at[i]) & 0xff];
    return state;
}

uint32_t ketama_hash_crc32a(const void *key, size_t len, uint64_t seed)
{
    (void)seed;
    return ~ketama_crc32_update(~0u, key, len);
}

uint32_t ketama_hash_crc(const void *key, size_t len, uint64_t seed)
{
    return ketama_hash_crc32a(key, len, seed) >> 16 & 0x7fff;
}

/* Bits that leave the low half of the register stay in the high half. */
uint32_t ketama_hash_crc16(const void *key, size_t len, uint64_t seed)
{
    const uint8_t *at = key;
    uint32_t state = 0;

    (void)seed;
    for (size_t i = 0; i < len; i++)
        state = state << 8 ^ table16[(state >> 8 ^ at[i]) & 0xff];
    return state;
}

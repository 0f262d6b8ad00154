/*
 * xxh3.c - XXH3 in 64 bits, with the default secret (xxHash 0.8)
 *
 * Each range of lengths has its own algorithm. Words are little-endian.
 */
#include "hash.h"
#include "words.h"

#define PRIME32_1 0x9e3779b1u
#define PRIME32_2 0x85ebca77u
#define PRIME32_3 0xc2b2ae3du
#define PRIME64_1 0x9e3779b185ebca87u
#define PRIME64_2 0xc2b2ae3d27d4eb4fu
#define PRIME64_3 0x165667b19e3779f9u
#define PRIME64_4 0x85ebca77c2b2ae63u
#define PRIME64_5 0x27d4eb2f165667c5u
#define PRIME_MX1 0x165667919e3779f9u
#define PRIME_MX2 0x9fb21c651e98df25u

enum {
    CHUNK = 16,
    STRIPE = 64,
    SECRET = 192,
    STRIPES_PER_BLOCK = (SECRET - STRIPE) / 8,
};

/* clang-format off */
static const uint8_t default_secret[SECRET] = {
    0xb8, 0xfe, 0x6c, 0x39, 0x23, 0xa4, 0x4b, 0xbe, 0x7c, 0x01, 0x81, 0x2c, 0xf7, 0x21, 0xad, 0x1c,
    0xde, 0xd4, 0x6d, 0xe9, 0x83, 0x90, 0x97, 0xdb, 0x72, 0x40, 0xa4, 0xa4, 0xb7, 0xb3, 0x67, 0x1f,
    0xcb, 0x79, 0xe6, 0x4e, 0xcc, 0xc0, 0xe5, 0x78, 0x82, 0x5a, 0xd0, 0x7d, 0xcc, 0xff, 0x72, 0x21,
    0xb8, 0x08, 0x46, 0x74, 0xf7, 0x43, 0x24, 0x8e, 0xe0, 0x35, 0x90, 0xe6, 0x81, 0x3a, 0x26, 0x4c,
    0x3c, 0x28, 0x52, 0xbb, 0x91, 0xc3, 0x00, 0xcb, 0x88, 0xd0, 0x65, 0x8b, 0x1b, 0x53, 0x2e, 0xa3,
    0x71, 0x64, 0x48, 0x97, 0xa2, 0x0d, 0xf9, 0x4e, 0x38, 0x19, 0xef, 0x46, 0xa9, 0xde, 0xac, 0xd8,
    0xa8, 0xfa, 0x76, 0x3f, 0xe3, 0x9c, 0x34, 0x3f, 0xf9, 0xdc, 0xbb, 0xc7, 0xc7, 0x0b, 0x4f, 0x1d,
    0x8a, 0x51, 0xe0, 0x4b, 0xcd, 0xb4, 0x59, 0x31, 0xc8, 0x9f, 0x7e, 0xc9, 0xd9, 0x78, 0x73, 0x64,
    0xea, 0xc5, 0xac, 0x83, 0x34, 0xd3, 0xeb, 0xc3, 0xc5, 0x81, 0xa0, 0xff, 0xfa, 0x13, 0x63, 0xeb,
    0x17, 0x0d, 0xdd, 0x51, 0xb7, 0xf0, 0xda, 0x49, 0xd3, 0x16, 0x55, 0x26, 0x29, 0xd4, 0x68, 0x9e,
    0x2b, 0x16, 0xbe, 0x58, 0x7d, 0x47, 0xa1, 0xfc, 0x8f, 0xf8, 0xb8, 0xd1, 0x7a, 0xd0, 0x31, 0xce,
    0x45, 0xcb, 0x3a, 0x8f, 0x95, 0x16, 0x04, 0x28, 0xaf, 0xd7, 0xfb, 0xca, 0xbb, 0x4b, 0x40, 0x7e,
};
/* clang-format on */

static uint64_t secret(size_t at)
{
    return ketama_load64(default_secret + at);
}

/* Multiplies to 128 bits, and returns the two halves' exclusive or. */
static uint64_t multiply_fold(uint64_t a, uint64_t b)
{
#ifdef __SIZEOF_INT128__
    __extension__ typedef unsigned __int128 wide;
    wide product = (wide)a * b;
    return (uint64_t)product ^ (uint64_t)(product >> 64);
#else
    uint64_t a_low = (uint32_t)a, a_high = a >> 32;
    uint64_t b_low = (uint32_t)b, b_high = b >> 32;
    uint64_t low = a_low * b_low;
    uint64_t middle = a_high * b_low + (low >> 32);
    uint64_t other_middle = a_low * b_high + (uint32_t)middle;
    return (a_high * b_high + (middle >> 32) + (other_middle >> 32)) ^
           (other_middle << 32 | (uint32_t)low);
#endif
}

static uint64_t avalanche(uint64_t x)
{
    x = (x ^ x >> 37) * PRIME_MX1;
    return x ^ x >> 32;
}

/* That of XXH64, for 0 to 3 bytes. */
static uint64_t avalanche64(uint64_t x)
{
    x = (x ^ x >> 33) * PRIME64_2;
    x = (x ^ x >> 29) * PRIME64_3;
    return x ^ x >> 32;
}

static uint64_t hash_1_to_3(const uint8_t *at, size_t len, uint64_t seed)
{
    uint32_t bytes = at[len - 1] | (uint32_t)len << 8 | (uint32_t)at[0] << 16 |
                     (uint32_t)at[len / 2] << 24;
    uint32_t key = (uint32_t)(secret(0) ^ secret(0) >> 32);
    return avalanche64((key + seed) ^ bytes);
}

static uint64_t hash_4_to_8(const uint8_t *at, size_t len, uint64_t seed)
{
    uint64_t bytes = ketama_load32(at + len - 4) | (uint64_t)ketama_load32(at) << 32;
    uint64_t x;

    seed ^= (uint64_t)ketama_swap32((uint32_t)seed) << 32;
    x = ((secret(8) ^ secret(16)) - seed) ^ bytes;
    x = (x ^ ketama_rotate64(x, 49) ^ ketama_rotate64(x, 24)) * PRIME_MX2;
    x = (x ^ ((x >> 35) + len)) * PRIME_MX2;
    return x ^ x >> 28;
}

static uint64_t hash_9_to_16(const uint8_t *at, size_t len, uint64_t seed)
{
    uint64_t low = ((secret(24) ^ secret(32)) + seed) ^ ketama_load64(at);
    uint64_t high = ((secret(40) ^ secret(48)) - seed) ^ ketama_load64(at + len - 8);
    return avalanche(len + ketama_swap64(low) + high + multiply_fold(low, high));
}

static uint64_t mix_chunk(const uint8_t *at, size_t secret_at, uint64_t seed)
{
    return multiply_fold(ketama_load64(at) ^ (secret(secret_at) + seed),
                         ketama_load64(at + 8) ^ (secret(secret_at + 8) - seed));
}

/* Chunks in pairs, one from each end, until they meet or overlap. */
static uint64_t hash_17_to_128(const uint8_t *at, size_t len, uint64_t seed)
{
    const uint8_t *end = at + len;
    uint64_t sum = len * PRIME64_1;

    for (size_t i = 0; 2 * i < len; i += CHUNK)
        sum += mix_chunk(at + i, 2 * i, seed) +
               mix_chunk(end - CHUNK - i, 2 * i + CHUNK, seed);
    return avalanche(sum);
}

static uint64_t hash_129_to_240(const uint8_t *at, size_t len, uint64_t seed)
{
    uint64_t sum = len * PRIME64_1;

    for (size_t i = 0; i < 128; i += CHUNK)
        sum += mix_chunk(at + i, i, seed);
    sum = avalanche(sum);
    for (size_t i = 128; i + CHUNK <= len; i += CHUNK)
        sum += mix_chunk(at + i, i - 128 + 3, seed);
    sum += mix_chunk(at + len - CHUNK, 119, seed);
    return avalanche(sum);
}

static void mix_stripe(uint64_t sums[8], const uint8_t *at, const uint8_t *key)
{
    for (size_t i = 0; i < 8; i++) {
        uint64_t word = ketama_load64(at + 8 * i);
        uint64_t x = word ^ ketama_load64(key + 8 * i);
        sums[i ^ 1] += word;
        sums[i] += (x & 0xffffffff) * (x >> 32);
    }
}

static void scramble(uint64_t sums[8], const uint8_t *key)
{
    for (size_t i = 0; i < 8; i++)
        sums[i] = (sums[i] ^ sums[i] >> 47 ^ ketama_load64(key + 8 * i)) * PRIME32_1;
}

/* The seed is added to every other word of the secret, and taken from the others. */
static void derive_secret(uint8_t derived[SECRET], uint64_t seed)
{
    for (size_t at = 0; at < SECRET; at += 8) {
        uint64_t word = secret(at) + (at % 16 == 0 ? seed : 0 - seed);
        for (size_t i = 0; i < 8; i++)
            derived[at + i] = (uint8_t)(word >> (8 * i));
    }
}

/* Not inlined, because short keys would pay for its stack. */
static KETAMA_NOINLINE uint64_t hash_long(const uint8_t *at, size_t len, uint64_t seed)
{
    uint64_t sums[8] = {PRIME32_3, PRIME64_1, PRIME64_2, PRIME64_3,
                        PRIME64_4, PRIME32_2, PRIME64_5, PRIME32_1};
    uint64_t merged = len * PRIME64_1;
    uint8_t key[SECRET];

    derive_secret(key, seed);
    for (size_t i = 0; i < (len - 1) / STRIPE; i++) {
        size_t in_block = i % STRIPES_PER_BLOCK;
        mix_stripe(sums, at + i * STRIPE, key + 8 * in_block);
        if (in_block == STRIPES_PER_BLOCK - 1)
            scramble(sums, key + SECRET - STRIPE);
    }
    mix_stripe(sums, at + len - STRIPE, key + SECRET - STRIPE - 7);
    for (size_t i = 0; i < 8; i += 2)
        merged += multiply_fold(sums[i] ^ ketama_load64(key + 11 + 8 * i),
                                sums[i + 1] ^ ketama_load64(key + 11 + 8 * i + 8));
    return avalanche(merged);
}

uint64_t ketama_xxh3_64(const void *bytes, size_t len, uint64_t seed)
{
    if (len == 0)
        return avalanche64(seed ^ secret(56) ^ secret(64));
    if (len <= 3)
        return hash_1_to_3(bytes, len, seed);
    if (len <= 8)
        return hash_4_to_8(bytes, len, seed);
    if (len <= 16)
        return hash_9_to_16(bytes, len, seed);
    if (len <= 128)
        return hash_17_to_128(bytes, len, seed);
    if (len <= 240)
        return hash_129_to_240(bytes, len, seed);
    return hash_long(bytes, len, seed);
}

uint32_t ketama_hash_xxh3(const void *key, size_t len, uint64_t seed)
{
    return (uint32_t)ketama_xxh3_64(key, len, seed);
}

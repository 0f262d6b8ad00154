/*
 * md5_many.c - MD5 of many messages at a time, in the widest vectors available
 *
 * The steps of one message depend on each other; those of different messages do not. So
 * a vector holds the same word of 4, 8 or 16 messages. md5_lanes.h is included once per
 * width; the width is selected at run time, by what the processor supports.
 */
#include "md5.h"

static void plain_digests(const ketama_key *keys, size_t count, unsigned words,
                          uint32_t *digests)
{
    for (size_t i = 0; i < count; i++) {
        unsigned char md5[16];
        if (words == 1) {
            digests[i] = ketama_hash(keys[i].bytes, keys[i].len);
            continue;
        }
        ketama_md5(keys[i].bytes, keys[i].len, md5);
        for (unsigned w = 0; w < words; w++)
            digests[i * words + w] = ketama_load32(md5 + 4 * w);
    }
}

static bool always(void)
{
    return true;
}

/* Vectors have words in native byte order, which for MD5 must be little-endian. */
#if defined(__GNUC__) && defined(KETAMA_LITTLE_ENDIAN) &&                               \
    (defined(__x86_64__) || defined(__aarch64__))
#define HAVE_LANES 1

struct md5_queue {
    const ketama_key *keys;
    size_t count, next;
};

#ifdef __clang__
#define SHUFFLE(type, a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define SHUFFLE(type, a, b, ...) __builtin_shuffle(a, b, (type){__VA_ARGS__})
#endif
/* Interleaves words i and i + 1 of two vectors of n words. */
#define LOW2(n, i)  (i), (i) + (n), (i) + 1, (i) + 1 + (n)
#define HIGH2(n, i) LOW2(n, (i) + 2)

#define LANES 4
#define TARGET
#define NAME(x)    x##_4
#define LOW_WORDS  LOW2(4, 0)
#define HIGH_WORDS HIGH2(4, 0)
#define LOW_PAIRS  0, 2
#define HIGH_PAIRS 1, 3
#define G_MIXER    MD5_G
#ifdef __x86_64__
#define REGISTER "x"
#else
#define REGISTER "w"
#endif
#include "md5_lanes.h"

#ifdef __x86_64__
static bool has_avx2(void)
{
    return __builtin_cpu_supports("avx2");
}

static bool has_avx512(void)
{
    return __builtin_cpu_supports("avx512f");
}

#define LANES      8
#define TARGET     __attribute__((target("avx2")))
#define REGISTER   "x"
#define NAME(x)    x##_8
#define LOW_WORDS  LOW2(8, 0), LOW2(8, 4)
#define HIGH_WORDS HIGH2(8, 0), HIGH2(8, 4)
#define LOW_PAIRS  0, 4, 2, 6
#define HIGH_PAIRS 1, 5, 3, 7
#define G_MIXER    MD5_G
#include "md5_lanes.h"

/* AVX-512 has one instruction for any bitwise function of three words. */
#define G_BITWISE(x, b, c, d) ((x) + ((c) ^ ((d) & ((b) ^ (c)))))
#define LANES                 16
#define TARGET                __attribute__((target("avx512f")))
#define REGISTER              "v"
#define NAME(x)               x##_16
#define LOW_WORDS             LOW2(16, 0), LOW2(16, 4), LOW2(16, 8), LOW2(16, 12)
#define HIGH_WORDS            HIGH2(16, 0), HIGH2(16, 4), HIGH2(16, 8), HIGH2(16, 12)
#define LOW_PAIRS             0, 8, 2, 10, 4, 12, 6, 14
#define HIGH_PAIRS            1, 9, 3, 11, 5, 13, 7, 15
#define G_MIXER               G_BITWISE
#include "md5_lanes.h"
#endif
#endif

const struct ketama_md5_width ketama_md5_widths[] = {
#if HAVE_LANES && defined(__x86_64__)
    {"AVX-512, 2 x 16", 20, has_avx512, digests_16},
    {"AVX2, 2 x 8", 4, has_avx2, digests_8},
    {"SSE2, 2 x 4", 4, always, digests_4},
#elif HAVE_LANES
    {"NEON, 2 x 4", 4, always, digests_4},
#endif
    {"plain", 0, always, plain_digests},
};

const unsigned ketama_md5_width_count =
    sizeof ketama_md5_widths / sizeof *ketama_md5_widths;

void ketama_md5_many(const ketama_key *keys, size_t count, unsigned words,
                     uint32_t *digests)
{
    const struct ketama_md5_width *width = ketama_md5_widths;
    while (count < width->pays_from || !width->usable())
        width++;
    width->digests(keys, count, words, digests);
}

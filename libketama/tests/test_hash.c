/*
 * test_hash.c - the hash functions other than MD5
 */
#include "check.h"

#include <stdlib.h>

/* In the order of the vectors' columns. */
static const struct {
    const char *name;
    ketama_hash_function *hash;
} hashes[] = {
    {"md5", ketama_hash_md5},
    {"one_at_a_time", ketama_hash_one_at_a_time},
    {"fnv1_32", ketama_hash_fnv1_32},
    {"fnv1a_32", ketama_hash_fnv1a_32},
    {"fnv1_64", ketama_hash_fnv1_64},
    {"fnv1a_64", ketama_hash_fnv1a_64},
    {"crc", ketama_hash_crc},
    {"crc32a", ketama_hash_crc32a},
    {"crc16", ketama_hash_crc16},
    {"hsieh", ketama_hash_hsieh},
    {"murmur", ketama_hash_murmur},
    {"murmur3", ketama_hash_murmur3},
    {"jenkins", ketama_hash_jenkins},
    {"xxh3", ketama_hash_xxh3},
    {"sha384", ketama_hash_sha384},
    {"fnv1_32_unsigned", ketama_hash_fnv1_32_unsigned},
    {"fnv1a_32_unsigned", ketama_hash_fnv1a_32_unsigned},
};
enum { HASHES = sizeof hashes / sizeof *hashes };

static void check_hash(size_t i, const void *key, size_t len, uint32_t expected)
{
    uint32_t actual = hashes[i].hash(key, len, 0);
    if (actual != expected) {
        check_good = false;
        printf("%s of %zu bytes is %u, not %u\n", hashes[i].name, len, actual, expected);
    }
}

static size_t from_hex(const char *hex, unsigned char *bytes)
{
    size_t len = 0;
    for (; strcmp(hex, "-") != 0 && hex[2 * len] != '\0'; len++) {
        const char digits[3] = {hex[2 * len], hex[2 * len + 1], '\0'};
        bytes[len] = (unsigned char)strtoul(digits, NULL, 16);
    }
    return len;
}

/* libhashkit 1.1.4 gave md5, one_at_a_time, fnv*, crc, murmur, murmur3 and jenkins;
 * twemproxy 0.5.0 crc32a, crc16 and hsieh; the xxhash library xxh3. sha384 and the
 * unsigned ones follow their rules. */
static void answers_of_real_programs(void)
{
    FILE *file = fopen("../tests/vectors/profiles/hashes.tsv", "r");
    static char line[8192];
    unsigned char key[2000];
    char *rest;
    int keys = 0;

    CHECK(file != NULL);
    if (file == NULL || fgets(line, sizeof line, file) == NULL)
        return;
    CHECK_TEXT("key_hex", strtok_r(line, "\t", &rest));
    for (size_t i = 0; i < HASHES; i++)
        CHECK_TEXT(hashes[i].name, strtok_r(NULL, "\t\n", &rest));
    for (; fgets(line, sizeof line, file) != NULL; keys++) {
        size_t len = from_hex(strtok_r(line, "\t", &rest), key);
        for (size_t i = 0; i < HASHES; i++)
            check_hash(i, key, len,
                       (uint32_t)strtoul(strtok_r(NULL, "\t\n", &rest), NULL, 10));
    }
    CHECK_INT(113, keys);
    fclose(file);
}

/* 2,000 bytes without a pattern. */
static unsigned char message[2000];

static void make_message(void)
{
    for (uint32_t i = 0; i < sizeof message; i++)
        message[i] = (unsigned char)(i * 2654435761u >> 24);
}

/*
 * The MD5 of the answers for the message's first 0, 1 ... 2,000 bytes, each written in
 * `size` bytes, little-endian. Those expected were computed with Python's hashlib and
 * zlib, and PyPI's xxhash 4.1.0 (xxHash 0.8.4):
 *
 *     message = bytes((i * 2654435761 & 0xffffffff) >> 24 for i in range(2000))
 *     def answers(hash, size):
 *         all = (hash(message[:n]).to_bytes(size, "little") for n in range(2001))
 *         return hashlib.md5(b"".join(all)).hexdigest()
 *     answers(zlib.crc32, 4)
 *     answers(lambda m: xxhash.xxh3_64_intdigest(m, seed), 8)
 *     answers(lambda m: int.from_bytes(hashlib.sha1(m).digest()[:4], "big"), 4)
 *     answers(lambda m: int.from_bytes(hashlib.sha384(m).digest()[:16], "little"), 16)
 */
typedef void answer_function(size_t len, uint32_t words[4]);

static const char *answers(answer_function *answer, size_t size)
{
    static unsigned char all[2001 * 16];
    static char hex[33];
    unsigned char md5[16], *to = all;

    for (size_t len = 0; len <= sizeof message; len++) {
        uint32_t words[4];
        answer(len, words);
        for (size_t i = 0; i < size; i++)
            *to++ = (unsigned char)(words[i / 4] >> (8 * (i % 4)));
    }
    ketama_md5(all, (size_t)(to - all), md5);
    for (int i = 0; i < 16; i++)
        snprintf(hex + 2 * i, 3, "%02x", md5[i]);
    return hex;
}

static uint64_t xxh3_seed;

static void xxh3_of(size_t len, uint32_t words[4])
{
    uint64_t hash = ketama_xxh3_64(message, len, xxh3_seed);
    words[0] = (uint32_t)hash;
    words[1] = (uint32_t)(hash >> 32);
    CHECK_INT(words[0], ketama_hash_xxh3(message, len, xxh3_seed));
}

static void crc32_of(size_t len, uint32_t words[4])
{
    words[0] = ketama_hash_crc32a(message, len, 0);
}

static void sha1_of(size_t len, uint32_t words[4])
{
    words[0] = ketama_sha1_word(message, len);
}

static void sha384_of(size_t len, uint32_t words[4])
{
    ketama_sha384_words(message, len, words);
    CHECK_INT(words[0], ketama_hash_sha384(message, len, 0));
}

static void all_lengths_to_2000(void)
{
    CHECK_TEXT("1cc9cb4ed29697abf699c60c94efeae9", answers(crc32_of, 4));
    CHECK_TEXT("7dab6563451489ea1f347022bf540a3b", answers(sha1_of, 4));
    CHECK_TEXT("66441744f101741915b74e29cdd2ebbb", answers(sha384_of, 16));
    xxh3_seed = 0;
    CHECK_TEXT("6df42e22c836c523234f7dfc20f6a9bd", answers(xxh3_of, 8));
    xxh3_seed = 0x123456789abcdef0;
    CHECK_TEXT("6f8d8ef553435bcb24e02336c162a401", answers(xxh3_of, 8));
    xxh3_seed = UINT64_MAX;
    CHECK_TEXT("0d31e47a91e6eb16a677752d2e29b736", answers(xxh3_of, 8));
}

/* A seed may be a text's hash, as in memcached's proxy. */
static void only_xxh3_has_a_seed(void)
{
    const uint64_t seed = ketama_xxh3_64("s", 1, 0);
    CHECK_INT(777685161, ketama_hash_xxh3("", 0, seed));
    CHECK_INT(3225229220, ketama_hash_xxh3("a", 1, seed));
    CHECK_INT(4199843226, ketama_hash_xxh3("user:42", 7, seed));
    CHECK_INT(2584230475, ketama_hash_xxh3("ключ", 8, seed));
    for (size_t i = 0; i < HASHES; i++)
        if (hashes[i].hash != ketama_hash_xxh3)
            CHECK_INT(hashes[i].hash("user:42", 7, 0),
                      hashes[i].hash("user:42", 7, seed));
}

static void the_first_word_of_sha1(void)
{
    CHECK_INT(3661210606, ketama_sha1_word("", 0));
    CHECK_INT(2264392759, ketama_sha1_word("a", 1));
    CHECK_INT(2918272291, ketama_sha1_word("user:42", 7));
    CHECK_INT(3010131482, ketama_sha1_word("ключ", 8));
}

static void an_empty_key_may_be_null(void)
{
    uint32_t words[4], expected[4];
    for (size_t i = 0; i < HASHES; i++)
        check_hash(i, NULL, 0, hashes[i].hash("", 0, 0));
    CHECK_INT(ketama_sha1_word("", 0), ketama_sha1_word(NULL, 0));
    CHECK_INT(7, ketama_crc32_update(7, NULL, 0));
    ketama_sha384_words("", 0, expected);
    ketama_sha384_words(NULL, 0, words);
    CHECK(memcmp(expected, words, sizeof words) == 0);
}

static void check_copy(const void *copy, size_t len)
{
    for (size_t i = 0; i < HASHES; i++)
        check_hash(i, copy, len, hashes[i].hash(message, len, 0));
    CHECK_INT(ketama_sha1_word(message, len), ketama_sha1_word(copy, len));
}

/* Blocks of exactly a key's size, so that AddressSanitizer sees what is read around it;
 * and keys before an unreadable page, for machines without it. */
static void keys_at_any_address(void)
{
    for (size_t len = 1; len <= 300; len++) {
        for (size_t offset = 0; offset < 8; offset++) {
            unsigned char *block = malloc(offset + len);
            CHECK(block != NULL);
            if (block == NULL)
                return;
            memcpy(block + offset, message, len);
            check_copy(block + offset, len);
            free(block);
        }
        check_copy(against_the_edge(message, len), len);
    }
}

static void a_crc_can_be_continued(void)
{
    for (size_t len = 0; len <= 40; len++)
        for (size_t part = 0; part <= len; part++) {
            uint32_t state = ketama_crc32_update(~0u, message, part);
            state = ketama_crc32_update(state, message + part, len - part);
            CHECK_INT(ketama_hash_crc32a(message, len, 0), ~state);
        }
}

/* nginx's points: a chain in which each CRC-32 hashes the one before, after the host, a
 * byte 0 and the port. The smallest and the largest one of two servers are nginx's. */
static void a_chain_of_crcs(void)
{
    static const char *const servers[] = {"10.0.0.1\00011211", "10.0.0.2\00011212"};
    uint32_t smallest = UINT32_MAX, largest = 0;

    for (size_t s = 0; s < 2; s++) {
        const uint32_t base = ketama_crc32_update(~0u, servers[s], 14);
        uint32_t point = 0;
        for (int k = 0; k < 160; k++) {
            unsigned char before[4];
            for (int i = 0; i < 4; i++)
                before[i] = (unsigned char)(point >> (8 * i));
            point = ~ketama_crc32_update(base, before, sizeof before);
            smallest = point < smallest ? point : smallest;
            largest = point > largest ? point : largest;
        }
    }
    CHECK_INT(24979172, smallest);
    CHECK_INT(4284704246, largest);
}

void run_hash(void)
{
    make_message();
    RUN(answers_of_real_programs);
    RUN(all_lengths_to_2000);
    RUN(only_xxh3_has_a_seed);
    RUN(the_first_word_of_sha1);
    RUN(an_empty_key_may_be_null);
    RUN(keys_at_any_address);
    RUN(a_crc_can_be_continued);
    RUN(a_chain_of_crcs);
}

/*
 * test_md5.c - MD5 and the hash of a key
 */
#include "check.h"

#include <stdlib.h>

static const char *hex_md5(const void *message, size_t len)
{
    static char hex[33];
    unsigned char md5[16];
    ketama_md5(message, len, md5);
    for (int i = 0; i < 16; i++)
        snprintf(hex + 2 * i, 3, "%02x", md5[i]);
    return hex;
}

static void the_test_suite_of_rfc_1321(void)
{
    static const struct {
        const char *message, *md5;
    } answers[] = {
        {"", "d41d8cd98f00b204e9800998ecf8427e"},
        {"a", "0cc175b9c0f1b6a831c399e269772661"},
        {"abc", "900150983cd24fb0d6963f7d28e17f72"},
        {"message digest", "f96b697d7cb7938d525a2f31aaf161d0"},
        {"abcdefghijklmnopqrstuvwxyz", "c3fcd3d76192e4007dfb496cca67e13b"},
        {"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789",
         "d174ab98d277d9f5a5611c2c9f419d9f"},
        {"1234567890123456789012345678901234567890"
         "1234567890123456789012345678901234567890",
         "57edf4a22be3c955ac49da2e2107b67a"},
    };
    for (size_t i = 0; i < sizeof answers / sizeof *answers; i++)
        CHECK_TEXT(answers[i].md5,
                   hex_md5(answers[i].message, strlen(answers[i].message)));
}

/* A chain of all lengths up to 300: each message consists of the digests so far. The
 * expected last digest was computed with Python's hashlib. */
static void all_lengths_to_300(void)
{
    unsigned char message[316] = {0};
    for (size_t len = 0; len <= 300; len++)
        ketama_md5(message, len, message + len % 300);
    CHECK_TEXT("8d46e55f377f105b5c6b3b8d4d0fbefc", hex_md5(message, 300));
}

static void nothing_is_read_beyond_the_message(void)
{
    char message[300];
    memset(message, 'x', sizeof message);
    for (size_t len = 0; len <= sizeof message; len++) {
        const void *edge = against_the_edge(message, len);
        unsigned char expected[16], actual[16];
        ketama_md5(message, len, expected);
        ketama_md5(edge, len, actual);
        CHECK(memcmp(expected, actual, 16) == 0);
        CHECK_INT(ketama_load32(expected), ketama_hash(edge, len));
    }
}

static void the_hash_is_the_first_word(void)
{
    CHECK_INT(3446378249, ketama_hash("test", 4));
    CHECK_INT(3649838548, ketama_hash("", 0));
    CHECK_INT(3649838548, ketama_hash(NULL, 0));
    CHECK(ketama_hash("a\0b", 3) != ketama_hash("a", 1));
}

/* From 512 MiB on, the length in bits does not fit in 32 bits. */
static void a_long_message(void)
{
    const size_t size = (size_t)513 << 20;
    void *zeros = calloc(1, size);
    CHECK(zeros != NULL);
    if (zeros != NULL)
        CHECK_TEXT("f3a8799d64129a6fd8a5aa56f199ac54", hex_md5(zeros, size));
    free(zeros);
}

/* Keys of 0 to 300 bytes, each ending before an unreadable page. */
enum { MESSAGES = 1204 };
static ketama_key messages[MESSAGES];

static void make_messages(void)
{
    uint32_t random = 1;
    for (size_t i = 0; i < MESSAGES; i++) {
        unsigned char bytes[300];
        size_t len = i < 903 ? i % 301 : (random >> 8) % 56; /* then short ones */
        for (size_t b = 0; b < len; b++)
            bytes[b] = (unsigned char)((random = random * 1664525 + 1013904223) >> 24);
        random = random * 1664525 + 1013904223;
        messages[i] = (ketama_key){against_the_edge(bytes, len), len};
    }
}

static void check_width(ketama_md5_function *digests, size_t from, size_t count,
                        unsigned words)
{
    static uint32_t expected[4 * MESSAGES + 1], actual[4 * MESSAGES + 1];
    const struct ketama_md5_width *plain =
        &ketama_md5_widths[ketama_md5_width_count - 1];

    memset(expected, 0xaa, sizeof expected);
    memset(actual, 0xaa, sizeof actual);
    plain->digests(messages + from, count, words, expected);
    digests(messages + from, count, words, actual);
    CHECK(memcmp(expected, actual, sizeof actual) == 0);
}

/* One message, all small counts, and all messages at once, with mixed lengths. */
static void every_width_gives_the_same_digests(void)
{
    CHECK_TEXT("plain", ketama_md5_widths[ketama_md5_width_count - 1].name);
    for (unsigned i = 0; i <= ketama_md5_width_count; i++) {
        const struct ketama_md5_width *width = &ketama_md5_widths[i];
        bool selected = i == ketama_md5_width_count; /* by ketama_md5_many() */
        if (!selected && !width->usable()) {
            printf("skipped: %s, which this processor does not support\n", width->name);
            continue;
        }
        ketama_md5_function *digests = selected ? ketama_md5_many : width->digests;
        for (size_t count = 0; count <= 70; count++)
            for (unsigned words = 1; words <= 4; words++)
                check_width(digests, 13 * count, count, words);
        for (size_t from = 0; from < 301; from += 7)
            check_width(digests, from, 2, 4);
        check_width(digests, 0, MESSAGES, 1);
        check_width(digests, 0, MESSAGES, 4);
    }
}

/* The plain implementation hashes the messages one by one. */
static void the_plain_width_equals_single_hashes(void)
{
    uint32_t words[2 * 301];
    ketama_md5_widths[ketama_md5_width_count - 1].digests(messages, 301, 2, words);
    for (size_t i = 0; i < 301; i++) {
        unsigned char md5[16];
        ketama_md5(messages[i].bytes, messages[i].len, md5);
        CHECK_INT(ketama_load32(md5), words[2 * i]);
        CHECK_INT(ketama_load32(md5 + 4), words[2 * i + 1]);
    }
}

void run_md5(void)
{
    make_messages();
    RUN(the_test_suite_of_rfc_1321);
    RUN(all_lengths_to_300);
    RUN(nothing_is_read_beyond_the_message);
    RUN(the_hash_is_the_first_word);
    RUN(a_long_message);
    RUN(every_width_gives_the_same_digests);
    RUN(the_plain_width_equals_single_hashes);
}

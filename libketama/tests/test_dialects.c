/*
 * test_dialects.c - what two dialects differ in, and dialects that are mixed
 */
#include "check.h"

#include <stdlib.h>

#include "../admin/dialects.h"

enum {
    PROFILES = 23 /* with rings; then the bucket map */,
    SERVERS = 5,
    KEYS = 200,
    EVERYTHING = 127
};

static int hashed_text(ketama_continuum c, uint32_t index, char text[KETAMA_NAME_MAX],
                       uint32_t *bytes)
{
    int size = ketama_hashed_name(c, index, text, KETAMA_NAME_MAX);
    *bytes = size >= 0 ? (uint32_t)size : 0;
    return size >= 0 ? KETAMA_OK : size;
}

static const ketama_server unequal[SERVERS] = {
    SERVER("10.0.0.1:11211", 46), SERVER("10.0.0.2:11211", 14),
    SERVER("10.0.0.3:11212", 60), SERVER("10.0.0.4:11211", 42),
    SERVER("10.0.0.5:11211", 13)};
/* In EVCache, which hashes no port, the last two have equal points. */
static const ketama_server ones[SERVERS] = {
    SERVER("10.0.0.1:11211", 1), SERVER("10.0.0.2:11211", 1),
    SERVER("10.0.0.3:11212", 1), SERVER("10.0.0.4:11211", 1),
    SERVER("10.0.0.4:11213", 1)};

static ketama_continuum opened(const ketama_server *servers, const char *settings)
{
    const ketama_options options = {.size = sizeof options, .settings = settings};
    ketama_continuum c;
    CHECK_INT(KETAMA_OK, ketama_open_servers(&c, servers, SERVERS, &options));
    return c;
}

static ketama_continuum opened_profile(const ketama_server *servers, size_t number)
{
    char settings[64];
    snprintf(settings, sizeof settings, "profile=%s",
             ketama_profile_number(number)->name);
    return opened(servers, settings);
}

static uint64_t moved(ketama_continuum a, ketama_continuum b)
{
    ketama_move *moves;
    uint64_t sum = 0;
    size_t count;
    CHECK_INT(KETAMA_OK, ketama_diff(a, b, &moves, &count));
    uint64_t counted = 0;
    for (size_t i = 0; i < count; i++)
        sum += moves[i].share;
    free(moves);
    CHECK_INT(KETAMA_OK, ketama_count_moved(a, b, &counted));
    CHECK_INT(sum, counted);
    return sum;
}

static bool same_ring_by_description(ketama_continuum a, ketama_continuum b)
{
    struct ketama_aspects of_a, of_b;
    char text_a[KETAMA_NAME_MAX], text_b[KETAMA_NAME_MAX];
    uint32_t size_a = 0, size_b = 0;

    CHECK_INT(KETAMA_OK, ketama_describe_aspects(a, &of_a));
    CHECK_INT(KETAMA_OK, ketama_describe_aspects(b, &of_b));
    for (uint32_t i = 0; i < SERVERS; i++) {
        ketama_server in_a, in_b;
        ketama_server_at(a, i, &in_a);
        ketama_server_at(b, i, &in_b);
        CHECK_INT(KETAMA_OK, hashed_text(a, i, text_a, &size_a));
        CHECK_INT(KETAMA_OK, hashed_text(b, i, text_b, &size_b));
        if (in_a.points != in_b.points || size_a != size_b ||
            memcmp(text_a, text_b, size_a) != 0)
            return false;
    }
    return strcmp(of_a.digest, of_b.digest) == 0 &&
           strcmp(of_a.order, of_b.order) == 0 && strcmp(of_a.search, of_b.search) == 0;
}

static void open_profiles(const ketama_server *servers, ketama_continuum all[PROFILES])
{
    for (size_t i = 0; i < PROFILES; i++)
        all[i] = opened_profile(servers, i);
}

static void close_all(ketama_continuum *all, size_t count)
{
    for (size_t i = 0; i < count; i++)
        ketama_close(all[i]);
}

/* Every two profiles: what is described alike is alike. */
static void descriptions_are_complete(void)
{
    ketama_continuum all[PROFILES];
    int alike = 0;
    open_profiles(ones, all);
    for (size_t i = 0; i < PROFILES; i++)
        for (size_t j = 0; j < PROFILES; j++)
            if (same_ring_by_description(all[i], all[j])) {
                CHECK_INT(0, moved(all[i], all[j]));
                alike += i != j;
            }
    close_all(all, PROFILES);
    CHECK(alike > 0);
    CHECK_TEXT("buckets", ketama_profile_number(PROFILES)->name);
    CHECK(ketama_profile_number(PROFILES + 1) == NULL);
}

static bool same_answers(ketama_continuum a, ketama_continuum b)
{
    char key[64];
    for (int i = 0; i < KEYS; i++) {
        /* Every second one has a tag, and every third one bytes above 127. */
        int len = snprintf(key, sizeof key, i % 2 == 0 ? "user:{%d}:x%s" : "user:%d%s",
                           i, i % 3 == 0 ? "\xd0\xba" : "");
        if (ketama_key_hash(a, key, (size_t)len) != ketama_key_hash(b, key, (size_t)len))
            return false;
    }
    return true;
}

static const char *const key_hashes[] = {
    "profile=twemproxy hash=md5",
    "profile=twemproxy hash=md5 hash_tag={}",
    "profile=twemproxy hash=md5 hash_tag=:x",
    "profile=predis",
    "profile=predis hash_tag={}",
    "profile=evcache",
    "profile=evcache delimiter=:",
    "profile=memcached-proxy",
    "profile=memcached-proxy seed=s",
    "profile=memcached-proxy hash=md5",
    "profile=memcached-proxy hash=md5 seed=s",
    "profile=memcached-proxy hash=md5 filter=tags filter_conf={}",
    "profile=memcached-proxy hash=md5 filter=stop filter_conf=:",
    "profile=libmc hash=fnv1_32",
    "profile=libmemcached hash=fnv1_32",
    "profile=libmc hash=crc_32",
    "profile=dalli",
    "profile=libmemcached hash=crc",
    "profile=twemproxy hash=crc32",
};
enum { KEY_HASHES = sizeof key_hashes / sizeof *key_hashes };

static void open_key_hashes(ketama_continuum all[KEY_HASHES])
{
    for (size_t i = 0; i < KEY_HASHES; i++)
        all[i] = opened(ones, key_hashes[i]);
}

/* Key hashes are the same if and only if no key tells them apart. */
static void key_hashes_are_compared(void)
{
    static const char empty_tag[] = "a{}b", begins[] = ":b";
    ketama_continuum all[KEY_HASHES];
    int alike = 0;
    open_key_hashes(all);
    for (size_t i = 0; i < KEY_HASHES; i++)
        for (size_t j = 0; j < KEY_HASHES; j++) {
            ketama_continuum a = all[i], b = all[j];
            bool same =
                same_answers(a, b) &&
                ketama_key_hash(a, empty_tag, 4) == ketama_key_hash(b, empty_tag, 4) &&
                ketama_key_hash(a, begins, 2) == ketama_key_hash(b, begins, 2);
            CHECK_INT(same, ketama_same_key_hash(a, b));
            alike += same && i != j;
        }
    close_all(all, KEY_HASHES);
    CHECK_INT(2 * (10 + 1 + 1 + 1), alike);
}

/* With all aspects of a, b is a; with none of them it stays what it is. */
static void mixed_as(ketama_continuum a, ketama_continuum b)
{
    ketama_continuum all, none;

    CHECK_INT(KETAMA_OK, ketama_open_mixed(a, b, EVERYTHING, &all));
    CHECK_INT(KETAMA_OK, ketama_open_mixed(a, b, 0, &none));
    CHECK_INT(0, moved(a, all));
    CHECK_INT(0, moved(b, none));
    CHECK(same_answers(a, all));
    CHECK(same_answers(b, none));
    ketama_close(all);
    ketama_close(none);
}

static void mix_every_two(const ketama_continuum *all, size_t count)
{
    for (size_t i = 0; i < count; i++)
        for (size_t j = 0; j < count; j++)
            mixed_as(all[i], all[j]);
}

static void everything_mixed_is_the_other(void)
{
    ketama_continuum profiles[PROFILES], hashes[KEY_HASHES];
    open_profiles(unequal, profiles);
    mix_every_two(profiles, PROFILES);
    close_all(profiles, PROFILES);
    open_profiles(ones, profiles);
    mix_every_two(profiles, PROFILES);
    close_all(profiles, PROFILES);
    open_key_hashes(hashes);
    mix_every_two(hashes, KEY_HASHES);
    close_all(hashes, KEY_HASHES);
}

/* One aspect at a time: each name, count, digest and search is that of its program. */
static void aspects_are_mixed_one_by_one(void)
{
    ketama_continuum plain = opened(ones, "profile=libketama");
    ketama_continuum php = opened(ones, "profile=libmemcached");
    ketama_continuum tags = opened(ones, "profile=predis hash_tag={}");
    ketama_continuum ring = opened(ones, "profile=hash_ring");
    ketama_continuum names, part, digest;

    CHECK_INT(KETAMA_OK, ketama_open_mixed(php, plain, KETAMA_MIX_NAMES, &names));
    CHECK_INT(0, moved(names, php));
    CHECK(moved(names, plain) > 0);
    CHECK_INT(KETAMA_OK, ketama_open_mixed(tags, plain, KETAMA_MIX_PART, &part));
    CHECK(same_answers(part, tags));
    CHECK_INT(0, moved(part, plain));
    CHECK_INT(KETAMA_OK, ketama_open_mixed(ring, plain, KETAMA_MIX_DIGEST, &digest));
    CHECK_INT(ketama_count_points(ring), ketama_count_points(digest));
    ketama_close(names);
    ketama_close(part);
    ketama_close(digest);
    ketama_close(plain);
    ketama_close(php);
    ketama_close(tags);
    ketama_close(ring);
}

static void texts_are_those_of_the_programs(void)
{
    ketama_continuum php = opened(ones, "profile=libmemcached");
    ketama_continuum evcache = opened(ones, "profile=evcache");
    ketama_continuum nginx = opened(ones, "profile=nginx");
    char text[KETAMA_NAME_MAX];
    uint32_t size;

    CHECK_INT(KETAMA_OK, hashed_text(php, 0, text, &size));
    CHECK(size == 8 && memcmp(text, "10.0.0.1", size) == 0);
    CHECK_INT(KETAMA_OK, hashed_text(php, 2, text, &size));
    CHECK(size == 14 && memcmp(text, "10.0.0.3:11212", size) == 0);
    CHECK_INT(KETAMA_OK, hashed_text(evcache, 2, text, &size));
    CHECK(size == 23 && memcmp(text, "10.0.0.3/10.0.0.3:11211", size) == 0);
    CHECK_INT(KETAMA_OK, hashed_text(nginx, 0, text, &size));
    CHECK(size == 14 && memcmp(text,
                               "10.0.0.1\0"
                               "11211",
                               size) == 0);
    CHECK_INT(KETAMA_ERANGE, hashed_text(php, SERVERS, text, &size));
    CHECK(!ketama_takes_names(php));
    ketama_close(php);
    ketama_close(evcache);
    ketama_close(nginx);
}

static void without_memory_it_fails(void)
{
    ketama_continuum a = opened(ones, "profile=libmemcached"), mixed;
    ketama_continuum b = opened(ones, "profile=dalli");
    struct ketama_aspects aspects;
    char text[KETAMA_NAME_MAX];
    uint32_t size;
    int n = 0, status;

    do {
        fail_allocation(++n);
        status = ketama_open_mixed(a, b, EVERYTHING, &mixed);
        bool had_failed = allocation_failed();
        fail_allocation(0);
        CHECK_INT(had_failed ? KETAMA_ENOMEM : KETAMA_OK, status);
        CHECK((mixed == NULL) == had_failed);
    } while (status != KETAMA_OK && n < 100);
    CHECK(n > 10);
    ketama_close(mixed);
    fail_allocation(1);
    CHECK_INT(KETAMA_ENOMEM, ketama_describe_aspects(a, &aspects));
    fail_allocation(1);
    CHECK_INT(KETAMA_ENOMEM, hashed_text(a, 0, text, &size));
    for (int i = 1; i <= 3; i++) {
        uint64_t counted;
        fail_allocation(i);
        CHECK_INT(KETAMA_ENOMEM, ketama_count_moved(a, b, &counted));
    }
    fail_allocation(0);
    ketama_close(a);
    ketama_close(b);
}

void run_dialects(void)
{
    RUN(descriptions_are_complete);
    RUN(key_hashes_are_compared);
    RUN(everything_mixed_is_the_other);
    RUN(aspects_are_mixed_one_by_one);
    RUN(texts_are_those_of_the_programs);
    RUN(without_memory_it_fails);
}

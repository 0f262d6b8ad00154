/*
 * test_rings.c - rings and key hashes of every profile on any machine
 *
 * The sums below are those of x86-64, where all answers in tests/vectors/profiles are
 * right: roundings, the sign of a char and the order of bytes must not change them.
 */
#include "../profile/profile.h"
#include "check.h"

#include <stdlib.h>

static uint64_t state;

static uint32_t chance(uint32_t below)
{
    state = state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (uint32_t)((state >> 32) % below);
}

static void fold(uint64_t *sum, uint64_t value)
{
    *sum = (*sum ^ value) * UINT64_C(0x100000001b3);
}

static void fold_ring(uint64_t *sum, ketama_continuum c)
{
    ketama_point some[64];
    uint32_t first = 0, got;
    while ((got = ketama_points(c, first, 64, some)) > 0) {
        for (uint32_t i = 0; i < got; i++) {
            fold(sum, some[i].point);
            fold(sum, some[i].server);
        }
        first += got;
    }
}

static void fold_keys(uint64_t *sum, ketama_continuum c)
{
    unsigned char key[64];
    for (size_t len = 0; len < sizeof key; len++) {
        for (size_t i = 0; i < len; i++)
            key[i] = (unsigned char)chance(256);
        fold(sum, ketama_key_hash(c, key, len));
        fold(sum, ketama_find(c, key, len, NULL));
    }
}

/* Lists of small weights, of equal ones, and of weights that single precision rounds. */
static uint64_t sum_of(const struct ketama_profile *profile, const char *hash)
{
    enum { LISTS = 12, SERVERS_MAX = 64 };
    static char addresses[SERVERS_MAX][32], settings[80];
    ketama_options options = {
        .size = sizeof options, .profile = profile->name, .settings = settings};
    ketama_server servers[SERVERS_MAX];
    uint64_t sum = UINT64_C(0xcbf29ce484222325);
    ketama_continuum c;

    snprintf(settings, sizeof settings, "hash=%s", hash);
    state = 1;
    for (int list = 0; list < LISTS; list++) {
        uint32_t count = 1 + chance(SERVERS_MAX);
        for (uint32_t i = 0; i < count; i++) {
            snprintf(addresses[i], sizeof addresses[i], "10.%d.0.%u:%u", list, i,
                     11210 + chance(3));
            servers[i] = (ketama_server){.address = addresses[i]};
            servers[i].weight = list % 3 == 0 ? 1 + chance(9)
                                : list % 3 == 1
                                    ? 1 + (uint64_t)list / 3
                                    : 1 + ((uint64_t)chance(UINT32_MAX) << 9);
        }
        int status = ketama_open_servers(&c, servers, count, &options);
        fold(&sum, (uint64_t)(status != KETAMA_OK));
        if (status != KETAMA_OK) {
            CHECK_INT(KETAMA_ETOOMANY, status); /* points of an absolute rule */
            continue;
        }
        fold_ring(&sum, c);
        fold_keys(&sum, c);
        ketama_close(c);
    }
    return sum;
}

/* Of each profile with its default hash, and of twemproxy with all. */
static const struct {
    const char *profile, *hash;
    uint64_t sum;
} sums[] = {
    {"libketama", "md5", UINT64_C(0x5acff14a46fce742)},
    {"libmemcached", "md5", UINT64_C(0x0f9fa9550474fbaa)},
    {"libmemcached-ketama", "one_at_a_time", UINT64_C(0xaad92468cf5cccc2)},
    {"libmemcached-spy", "one_at_a_time", UINT64_C(0xcd3c062531dae63d)},
    {"twemproxy", "fnv1a_64", UINT64_C(0x0607abab7abcc56e)},
    {"twemproxy", "one_at_a_time", UINT64_C(0xb1a1c8aab4d3727d)},
    {"twemproxy", "md5", UINT64_C(0x3c0ab847fe7f6632)},
    {"twemproxy", "crc16", UINT64_C(0xef16af16fc3dcb2b)},
    {"twemproxy", "crc32", UINT64_C(0xcac39eee4c2ff684)},
    {"twemproxy", "crc32a", UINT64_C(0xb680ad46273dae73)},
    {"twemproxy", "fnv1_64", UINT64_C(0x5f82b6487eeed91f)},
    {"twemproxy", "fnv1_32", UINT64_C(0x3fabc9e6ee2e4b66)},
    {"twemproxy", "fnv1a_32", UINT64_C(0xb99be7bc5bc5e3a3)},
    {"twemproxy", "hsieh", UINT64_C(0x5362fcb62d0d55c1)},
    {"twemproxy", "murmur", UINT64_C(0x181dc24f8f3d9f51)},
    {"twemproxy", "jenkins", UINT64_C(0x4406ca7642835fdc)},
    {"spymemcached", "md5", UINT64_C(0x5acff14a46fce742)},
    {"elasticache-java", "sha384", UINT64_C(0xba92f752c227eaaf)},
    {"evcache", "md5", UINT64_C(0xc4c856ad38a712e5)},
    {"xmemcached", "md5", UINT64_C(0xa305fd38934214de)},
    {"nginx", "crc32a", UINT64_C(0xa9017f671fc8efb7)},
    {"pingora", "crc32a", UINT64_C(0xa9017f671fc8efb7)},
    {"memcached-proxy", "xxh3", UINT64_C(0x6376e8f3167be85a)},
    {"memcached-proxy-ketama", "xxh3", UINT64_C(0x778414d001cf0bcc)},
    {"memcached-proxy-twemproxy", "xxh3", UINT64_C(0x9a674c095f0d33f6)},
    {"memcached-proxy-evcache", "xxh3", UINT64_C(0xa49ad9dc1ff94877)},
    {"libmc", "md5", UINT64_C(0x1bbeb17f9713f7c5)},
    {"uhashring", "md5", UINT64_C(0x5acff14a46fce742)},
    {"hash_ring", "md5", UINT64_C(0x6fbae1c1623f7e0a)},
    {"node-hashring", "md5", UINT64_C(0xdcba267316301a64)},
    {"predis", "md5", UINT64_C(0xdcba267316301a64)},
    {"dalli", "crc32a", UINT64_C(0x235997eb23f278b9)},
    {"enyim", "md5", UINT64_C(0x10a445efc141f7c6)},
    {"couchbase", "md5", UINT64_C(0x10a445efc141f7c6)},
};

static void every_machine_has_the_same_rings(void)
{
    size_t known = sizeof sums / sizeof *sums, found = 0;
    const struct ketama_profile *profile;

    for (size_t i = 0; (profile = ketama_profile_number(i)) != NULL; i++) {
        if (profile->count_points != NULL) /* of a map, which is no list */
            continue;
        for (const struct ketama_named_hash *hash = profile->hashes; hash->name != NULL;
             hash++) {
            if (hash != profile->hashes && strcmp(profile->name, "twemproxy") != 0)
                continue;
            uint64_t sum = sum_of(profile, hash->name);
            bool same = found < known && sum == sums[found].sum &&
                        strcmp(sums[found].profile, profile->name) == 0 &&
                        strcmp(sums[found].hash, hash->name) == 0;
            CHECK(same);
            if (!same)
                printf("    {\"%s\", \"%s\", UINT64_C(0x%016llx)},\n", profile->name,
                       hash->name, (unsigned long long)sum);
            found++;
        }
    }
    CHECK_INT(known, found);
}

void run_rings(void)
{
    RUN(every_machine_has_the_same_rings);
}

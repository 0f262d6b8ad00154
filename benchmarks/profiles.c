/*
 * profiles.c - measures lookups of every profile beside its hash alone: make bench
 *
 * Prints rows of: profile, key hash, nanoseconds per key of the hash alone, of the
 * search for a hash alone, of single lookups, of lookups in batches. A figure is the
 * best of several rounds, each of which runs all variants in turn. Eight servers, keys
 * of 20 bytes.
 */
#include "profile/profile.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { KEYS = 1 << 13, KEY_BYTES = 20, ROUNDS = 60, BATCH = 64, SERVERS = 8, WAYS = 4 };

static char text[KEYS][KEY_BYTES + 1];
static ketama_key keys[KEYS];
static uint32_t hashes[KEYS], servers_of[KEYS], sink;

static double now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e9 + (double)now.tv_nsec;
}

static void make_keys(void)
{
    for (unsigned i = 0; i < KEYS; i++) {
        snprintf(text[i], sizeof text[i], "session:%08x:usr", i * 2654435761u);
        keys[i] = (ketama_key){text[i], KEY_BYTES};
    }
}

static ketama_continuum make_continuum(const char *profile, const char *hash)
{
    static char addresses[SERVERS][32], settings[80];
    ketama_options options = {
        .size = sizeof options, .profile = profile, .settings = settings};
    ketama_server servers[SERVERS];
    ketama_continuum c;
    for (unsigned i = 0; i < SERVERS; i++) {
        snprintf(addresses[i], sizeof addresses[i], "10.0.0.%u:11211", i + 1);
        servers[i] = (ketama_server){.address = addresses[i], .weight = 1};
    }
    snprintf(settings, sizeof settings, "hash=%s", hash);
    if (ketama_open_servers(&c, servers, SERVERS, &options) != KETAMA_OK) {
        fprintf(stderr, "%s %s: %s\n", profile, hash, ketama_error());
        exit(1);
    }
    return c;
}

static void hash_alone(ketama_continuum c)
{
    ketama_hash_function *hash = c->dialect.hash;
    for (unsigned i = 0; i < KEYS; i++)
        sink += hash(keys[i].bytes, keys[i].len, 0);
}

static void search_alone(ketama_continuum c)
{
    for (unsigned i = 0; i < KEYS; i++)
        sink += ketama_find_hash(c, hashes[i], NULL);
}

static void find(ketama_continuum c)
{
    for (unsigned i = 0; i < KEYS; i++)
        sink += ketama_find(c, keys[i].bytes, keys[i].len, NULL);
}

static void find_many(ketama_continuum c)
{
    for (unsigned i = 0; i < KEYS; i += BATCH)
        ketama_find_many(c, keys + i, BATCH, servers_of + i, NULL);
    sink += servers_of[KEYS - 1];
}

static void measure(const char *profile, const char *hash)
{
    static void (*const ways[WAYS])(ketama_continuum) = {hash_alone, search_alone, find,
                                                         find_many};
    ketama_continuum c = make_continuum(profile, hash);
    double best[WAYS] = {0};

    for (unsigned i = 0; i < KEYS; i++)
        hashes[i] = ketama_key_hash(c, keys[i].bytes, keys[i].len);
    for (int round = 0; round < ROUNDS; round++)
        for (size_t w = 0; w < WAYS; w++) {
            double begin = now_ns(), took;
            ways[w](c);
            took = (now_ns() - begin) / KEYS;
            best[w] = round == 0 || took < best[w] ? took : best[w];
        }
    printf("%s\t%s", profile, hash);
    for (size_t w = 0; w < WAYS; w++)
        printf("\t%.2f", best[w]);
    printf("\n");
    ketama_close(c);
}

int main(void)
{
    const struct ketama_profile *profile;

    make_keys();
    for (size_t i = 0; (profile = ketama_profile_number(i)) != NULL; i++)
        for (const struct ketama_named_hash *hash = profile->hashes; hash->name != NULL;
             hash++)
            measure(profile->name, hash->name);
    return sink == 1; /* keeps the compiler from dropping the lookups */
}

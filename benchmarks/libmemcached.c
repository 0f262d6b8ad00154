/*
 * libmemcached.c - measures libmemcached's choice of a server: make bench
 *
 * Prints rows of: profile, nanoseconds per key. The same servers and keys as profiles.c.
 */
#define _POSIX_C_SOURCE 200809L

#include <libmemcached/memcached.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { KEYS = 1 << 13, KEY_BYTES = 20, ROUNDS = 60, SERVERS = 8 };

static char keys[KEYS][KEY_BYTES + 1];
static uint32_t sink;

static double now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e9 + (double)now.tv_nsec;
}

static void measure(const char *profile, memcached_behavior_t behavior)
{
    memcached_st *client = memcached_create(NULL);
    double best = 0;

    if (client == NULL ||
        memcached_behavior_set(client, behavior, 1) != MEMCACHED_SUCCESS)
        exit(1);
    for (unsigned i = 0; i < SERVERS; i++) {
        char host[32];
        snprintf(host, sizeof host, "10.0.0.%u", i + 1);
        if (memcached_server_add(client, host, 11211) != MEMCACHED_SUCCESS)
            exit(1);
    }
    for (int round = 0; round < ROUNDS; round++) {
        double begin = now_ns(), took;
        for (unsigned i = 0; i < KEYS; i++)
            sink += memcached_generate_hash(client, keys[i], KEY_BYTES);
        took = (now_ns() - begin) / KEYS;
        best = round == 0 || took < best ? took : best;
    }
    printf("%s\t%.2f\n", profile, best);
    memcached_free(client);
}

int main(void)
{
    for (unsigned i = 0; i < KEYS; i++)
        snprintf(keys[i], sizeof keys[i], "session:%08x:usr", i * 2654435761u);
    measure("libmemcached", MEMCACHED_BEHAVIOR_KETAMA_WEIGHTED);
    measure("libmemcached-ketama", MEMCACHED_BEHAVIOR_KETAMA);
    return sink == 1; /* keeps the compiler from dropping the calls */
}

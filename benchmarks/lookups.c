/*
 * lookups.c - measures single and batch lookups in C, and MD5 alone: make bench
 *
 * Prints rows of: what, servers, bytes per key (0: a mix), nanoseconds per key. Each
 * figure is the best of several rounds, each of which runs all variants in turn.
 */
#define _POSIX_C_SOURCE 200809L

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "ketama.h"

enum { KEYS = 1 << 13, LONGEST = 250, ROUNDS = 25, BATCH = 64 };

static char text[KEYS * LONGEST]; /* the concatenated keys */
static ketama_key keys[KEYS];
static uint32_t servers_of[KEYS], sink;

static double now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e9 + (double)now.tv_nsec;
}

/* The mix: most keys have some tens of bytes, some are short, few are long. */
static size_t mixed_length(unsigned i)
{
    static const size_t lengths[] = {8,  14, 18, 20, 22, 24, 26, 28,
                                     30, 32, 36, 40, 44, 52, 70, 120};
    return lengths[i * 2654435761u >> 28];
}

static void make_keys(size_t len)
{
    char *to = text;
    for (unsigned i = 0; i < KEYS; i++) {
        char number[16];
        keys[i] = (ketama_key){to, len > 0 ? len : mixed_length(i)};
        memset(to, 'x', keys[i].len);
        snprintf(number, sizeof number, "%08x", i * 2654435761u);
        memcpy(to, number, 8);
        to += keys[i].len;
    }
}

static ketama_continuum make_continuum(unsigned count)
{
    ketama_server *servers = calloc(count, sizeof *servers);
    char (*names)[32] = calloc(count, sizeof *names);
    ketama_continuum c;
    if (servers == NULL || names == NULL)
        exit(1);
    for (unsigned i = 0; i < count; i++) {
        snprintf(names[i], sizeof names[i], "10.%u.%u.%u:11211", i >> 16, i >> 8 & 255,
                 i & 255);
        servers[i] = (ketama_server){.address = names[i], .weight = 100 + i % 7};
    }
    if (ketama_open_servers(&c, servers, count, NULL) != KETAMA_OK) {
        fprintf(stderr, "%s\n", ketama_error());
        exit(1);
    }
    free(servers);
    free(names);
    return c;
}

static void md5(ketama_continuum c)
{
    (void)c;
    for (unsigned i = 0; i < KEYS; i++) {
        unsigned char digest[16];
        ketama_md5(keys[i].bytes, keys[i].len, digest);
        sink += digest[0];
    }
}

static void hash(ketama_continuum c)
{
    (void)c;
    for (unsigned i = 0; i < KEYS; i++)
        sink += ketama_hash(keys[i].bytes, keys[i].len);
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

int main(void)
{
    static const unsigned counts[] = {8, 100, 1000, 10000};
    static const size_t lengths[] = {8, 16, 20, 32, 55, 64, 120, 250, 0};
    static const struct {
        const char *name;
        void (*run)(ketama_continuum c);
    } ways[] = {{"md5", md5}, {"hash", hash}, {"find", find}, {"find_many", find_many}};
    enum { WAYS = sizeof ways / sizeof *ways };

    for (size_t s = 0; s < sizeof counts / sizeof *counts; s++) {
        ketama_continuum c = make_continuum(counts[s]);
        for (size_t l = 0; l < sizeof lengths / sizeof *lengths; l++) {
            double best[WAYS];
            make_keys(lengths[l]);
            for (int round = 0; round < ROUNDS; round++)
                for (size_t w = 0; w < WAYS; w++) {
                    double begin = now_ns(), took;
                    ways[w].run(c);
                    took = (now_ns() - begin) / KEYS;
                    best[w] = round == 0 || took < best[w] ? took : best[w];
                }
            for (size_t w = 0; w < WAYS; w++)
                printf("%s\t%u\t%zu\t%.2f\n", ways[w].name, counts[s], lengths[l],
                       best[w]);
        }
        ketama_close(c);
    }
    return sink == 1; /* keeps the compiler from dropping the lookups */
}

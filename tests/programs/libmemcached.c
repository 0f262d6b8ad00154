/* Answers the questions that peers/programs.py describes, by libmemcached.
 *
 * Usage: libmemcached MODE [HASH], where MODE is KETAMA_WEIGHTED, KETAMA or SPY.
 */
#define _POSIX_C_SOURCE 200809L
#include <libmemcached/memcached.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct {
    const char *name;
    memcached_hash_t hash;
} hashes[] = {
    {"one_at_a_time", MEMCACHED_HASH_DEFAULT},
    {"md5", MEMCACHED_HASH_MD5},
    {"crc", MEMCACHED_HASH_CRC},
    {"fnv1_64", MEMCACHED_HASH_FNV1_64},
    {"fnv1a_64", MEMCACHED_HASH_FNV1A_64},
    {"fnv1_32", MEMCACHED_HASH_FNV1_32},
    {"fnv1a_32", MEMCACHED_HASH_FNV1A_32},
    {"murmur", MEMCACHED_HASH_MURMUR},
    {"jenkins", MEMCACHED_HASH_JENKINS},
    {"murmur3", MEMCACHED_HASH_MURMUR3},
};

static void check(memcached_return_t returned, const char *what)
{
    if (returned != MEMCACHED_SUCCESS) {
        fprintf(stderr, "%s: %s\n", what, memcached_strerror(NULL, returned));
        exit(1);
    }
}

static void set(memcached_st *client, memcached_behavior_t behavior, uint64_t value)
{
    check(memcached_behavior_set(client, behavior, value), "memcached_behavior_set");
}

static void set_hash(memcached_st *client, const char *name)
{
    for (size_t i = 0; i < sizeof hashes / sizeof *hashes; i++)
        if (strcmp(hashes[i].name, name) == 0) {
            set(client, MEMCACHED_BEHAVIOR_HASH, hashes[i].hash);
            return;
        }
    fprintf(stderr, "%s: no hash function\n", name);
    exit(1);
}

/* A weighted circle is always of MD5, so a hash set before it would be lost. */
static memcached_st *new_client(const char *mode, const char *hash)
{
    memcached_st *client = memcached_create(NULL);
    if (strcmp(mode, "KETAMA_WEIGHTED") == 0)
        set(client, MEMCACHED_BEHAVIOR_KETAMA_WEIGHTED, 1);
    if (hash)
        set_hash(client, hash);
    if (strcmp(mode, "KETAMA") == 0)
        set(client, MEMCACHED_BEHAVIOR_KETAMA, 1);
    if (strcmp(mode, "SPY") == 0)
        set(client, MEMCACHED_BEHAVIOR_DISTRIBUTION,
            MEMCACHED_DISTRIBUTION_CONSISTENT_KETAMA_SPY);
    return client;
}

static void add(memcached_st *client, char *line)
{
    const char *host = strtok(line, "\t"), *port = strtok(NULL, "\t"),
               *weight = strtok(NULL, "\t");
    uint32_t weighs = (uint32_t)strtoul(weight, NULL, 10);
    if (host[0] == '/')
        check(memcached_server_add_unix_socket_with_weight(client, host, weighs), host);
    else
        check(memcached_server_add_with_weight(
                  client, host, (in_port_t)strtoul(port, NULL, 10), weighs),
              host);
}

int main(int count, char **arguments)
{
    if (count < 2)
        return 2;
    memcached_st *client = NULL;
    char *line = NULL;
    size_t size = 0;
    ssize_t length;
    int in_keys = 0;
    while ((length = getline(&line, &size, stdin)) > 0) {
        line[--length] = 0;
        if (!client)
            client = new_client(arguments[1], arguments[2]);
        if (length > 0 && !in_keys)
            add(client, line);
        else if (length > 0)
            printf("%u\n", memcached_generate_hash(client, line, (size_t)length));
        else if (!in_keys)
            in_keys = 1;
        else {
            memcached_free(client);
            client = NULL;
            in_keys = 0;
        }
    }
    free(line);
    return 0;
}

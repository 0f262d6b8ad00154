/*
 * balance.c - how evenly methods spread keys, what changes move, and how fast they are
 *
 * Ring and bucket map are the library's. The others are plain implementations, from the
 * facts in their papers: rendezvous (Thaler and Ravishankar, 1998; weights by
 * logarithms), jump (Lamping and Veach, 2014), Maglev (Eisenbud and others, 2016) and
 * AnchorHash (Mendelson and others, 2020). All begin with an MD5 of the key.
 *
 * Prints rows of: method, weights, servers, the worst share over the fair one; moved and
 * needless when a server joins, leaves, and gets twice the weight; nanoseconds per key;
 * bytes. Shares are in percent; "-" is for what a method cannot do.
 */
#define _POSIX_C_SOURCE 200809L

#include "internal.h"
#include "ketama_admin.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum {
    SERVERS_MAX = 1001,
    KEYS = 1 << 13, /* that are timed */
    ROUNDS = 15,
    BUCKETS = 65536,
    TABLE = 65537, /* of Maglev */
};

struct fleet {
    uint32_t count;
    uint32_t id[SERVERS_MAX]; /* of each server, whatever its position */
    uint64_t weight[SERVERS_MAX];
};

static uint64_t mix(uint64_t x)
{
    x ^= x >> 30;
    x *= UINT64_C(0xbf58476d1ce4e5b9);
    x ^= x >> 27;
    x *= UINT64_C(0x94d049bb133111eb);
    return x ^ x >> 31;
}

static uint64_t seeded(uint64_t hash, uint64_t seed)
{
    return mix(hash ^ mix(seed + UINT64_C(0x9e3779b97f4a7c15)));
}

static void must(bool condition)
{
    if (!condition) {
        fprintf(stderr, "%s\n", ketama_error());
        exit(1);
    }
}

/* ---- methods that this file implements: a hash -> a server's id */

struct method {
    const char *name;
    bool has_weights;
    void (*make)(const struct fleet *fleet);
    uint32_t (*find)(uint64_t hash);
    size_t (*bytes)(void);
};

static const struct fleet *now;
static bool is_equal;

static void rendezvous_make(const struct fleet *fleet)
{
    now = fleet;
    is_equal = true;
    for (uint32_t i = 1; i < fleet->count; i++)
        is_equal = is_equal && fleet->weight[i] == fleet->weight[0];
}

static uint32_t rendezvous_find(uint64_t hash)
{
    uint64_t most = 0;
    double best = -1;
    uint32_t found = 0;
    for (uint32_t i = 0; i < now->count; i++) {
        uint64_t own = seeded(hash, now->id[i]);
        if (is_equal) {
            if (own >= most)
                most = own, found = i;
            continue;
        }
        double score =
            (double)now->weight[i] / -log(((double)(own >> 11) + 0.5) * 0x1p-53);
        if (score > best)
            best = score, found = i;
    }
    return now->id[found];
}

static size_t rendezvous_bytes(void)
{
    return now->count * (sizeof now->id[0] + sizeof now->weight[0]);
}

static void jump_make(const struct fleet *fleet)
{
    now = fleet;
}

static uint32_t jump_find(uint64_t hash)
{
    int64_t at = -1, next = 0;
    while (next < (int64_t)now->count) {
        at = next;
        hash = hash * UINT64_C(2862933555777941757) + 1;
        next = (int64_t)((double)(at + 1) * (0x1p31 / (double)((hash >> 33) + 1)));
    }
    return now->id[at];
}

static size_t jump_bytes(void)
{
    return now->count * sizeof now->id[0];
}

static uint32_t table[TABLE];

/* A server of the largest weight takes a slot in each turn, the others in proportion. */
static void maglev_make(const struct fleet *fleet)
{
    static uint64_t at[SERVERS_MAX], skip[SERVERS_MAX], due[SERVERS_MAX];
    uint64_t heaviest = 0, filled = 0;
    for (uint32_t i = 0; i < fleet->count; i++) {
        at[i] = seeded(1, fleet->id[i]) % TABLE;
        skip[i] = seeded(2, fleet->id[i]) % (TABLE - 1) + 1;
        due[i] = 0;
        if (fleet->weight[i] > heaviest)
            heaviest = fleet->weight[i];
    }
    for (uint32_t slot = 0; slot < TABLE; slot++)
        table[slot] = UINT32_MAX;
    while (filled < TABLE)
        for (uint32_t i = 0; i < fleet->count && filled < TABLE; i++) {
            due[i] += fleet->weight[i];
            if (due[i] < heaviest)
                continue;
            due[i] -= heaviest;
            while (table[at[i]] != UINT32_MAX)
                at[i] = (at[i] + skip[i]) % TABLE;
            table[at[i]] = fleet->id[i];
            filled++;
        }
}

static uint32_t maglev_find(uint64_t hash)
{
    return table[hash % TABLE];
}

static size_t maglev_bytes(void)
{
    return sizeof table;
}

/* Room for twice as many servers as there are first. Ids are bucket numbers. */
static uint32_t room, working, A[2 * SERVERS_MAX], K[2 * SERVERS_MAX],
    W[2 * SERVERS_MAX], L[2 * SERVERS_MAX];

static void anchor_remove(uint32_t b)
{
    working--;
    A[b] = working;
    W[L[b]] = W[working];
    L[W[working]] = L[b];
    K[b] = W[working];
}

/* All ids from 0 to the room are there first, and those that the fleet lacks leave, the
 * spare ones first: the last one that has left is the first to return. */
static void anchor_make(const struct fleet *fleet)
{
    static bool has[2 * SERVERS_MAX];
    for (uint32_t b = 0; b < room; b++) {
        A[b] = 0;
        K[b] = W[b] = L[b] = b;
        has[b] = false;
    }
    for (uint32_t i = 0; i < fleet->count; i++)
        has[fleet->id[i]] = true;
    working = room;
    for (uint32_t b = room; b-- > 0;)
        if (!has[b])
            anchor_remove(b);
}

static uint32_t anchor_find(uint64_t hash)
{
    uint32_t b = (uint32_t)(hash % room);
    while (A[b] > 0) {
        uint32_t h = (uint32_t)(seeded(hash, b) % A[b]);
        while (A[h] >= A[b])
            h = K[h];
        b = h;
    }
    return b;
}

static size_t anchor_bytes(void)
{
    return 4 * room * sizeof *A;
}

static const struct method methods[] = {
    {"rendezvous", true, rendezvous_make, rendezvous_find, rendezvous_bytes},
    {"jump", false, jump_make, jump_find, jump_bytes},
    {"Maglev", true, maglev_make, maglev_find, maglev_bytes},
    {"AnchorHash", false, anchor_make, anchor_find, anchor_bytes},
};

/* ---- the library's: a continuum of a fleet */

struct library {
    ketama_continuum c;
    uint32_t owners[BUCKETS]; /* of a map, by id */
};

static ketama_server listed[SERVERS_MAX];
static char addresses[SERVERS_MAX][32];

static void list(const struct fleet *fleet)
{
    for (uint32_t i = 0; i < fleet->count; i++) {
        snprintf(addresses[i], sizeof addresses[i], "10.0.%u.%u:11211",
                 fleet->id[i] / 256, fleet->id[i] % 256);
        listed[i] = (ketama_server){.address = addresses[i], .weight = fleet->weight[i]};
    }
}

static void make_ring(struct library *ring, const struct fleet *fleet)
{
    list(fleet);
    must(ketama_open_servers(&ring->c, listed, fleet->count, NULL) == KETAMA_OK);
}

/* from: the map before the change, or NULL. */
static void make_map(struct library *map, const struct fleet *fleet,
                     const struct library *from)
{
    static uint32_t owners[BUCKETS], index[2 * SERVERS_MAX];
    static char text[BUCKETS * 8 + SERVERS_MAX * 64], ranges[BUCKETS * 8];
    static size_t starts[SERVERS_MAX + 1];
    size_t at = (size_t)sprintf(text, "#ketama profile=buckets buckets=%d\n", BUCKETS);

    list(fleet);
    for (uint32_t id = 0; id < 2 * SERVERS_MAX; id++)
        index[id] = KETAMA_NO_SERVER;
    for (uint32_t i = 0; i < fleet->count; i++)
        index[fleet->id[i]] = i;
    for (uint32_t k = 0; k < BUCKETS; k++)
        owners[k] = from != NULL ? index[from->owners[k]] : KETAMA_NO_SERVER;
    must(ketama_buckets_assign(listed, fleet->count, owners, BUCKETS, owners) ==
         KETAMA_OK);
    must(ketama_buckets_write(owners, BUCKETS, fleet->count, starts, ranges,
                              sizeof ranges) <= sizeof ranges);
    for (uint32_t i = 0; i < fleet->count; i++)
        at += (size_t)sprintf(text + at, "%s %llu %s\n", listed[i].address,
                              (unsigned long long)listed[i].weight, ranges + starts[i]);
    for (uint32_t k = 0; k < BUCKETS; k++)
        map->owners[k] = fleet->id[owners[k]];
    must(ketama_open_text(&map->c, text, at, NULL) == KETAMA_OK);
}

/* ---- what is measured */

struct measured {
    double worst, moved[3], needless[3], ns;
    size_t bytes;
};

static uint64_t total_weight(const struct fleet *fleet)
{
    uint64_t total = 0;
    for (uint32_t i = 0; i < fleet->count; i++)
        total += fleet->weight[i];
    return total;
}

/* A server joins, one in the middle leaves, that one gets twice the weight. */
static struct fleet changed(const struct fleet *from, int change, uint64_t weight,
                            uint32_t *id)
{
    struct fleet to = *from;
    uint32_t middle = from->count / 2;
    *id = change == 0 ? from->count : from->id[middle];
    if (change == 0) {
        to.id[to.count] = *id;
        to.weight[to.count++] = weight;
    } else if (change == 1) { /* the last one takes its position */
        to.count--;
        to.id[middle] = to.id[to.count];
        to.weight[middle] = to.weight[to.count];
    } else {
        to.weight[middle] *= 2;
    }
    return to;
}

static double now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static char keys[KEYS][21];
static volatile uint32_t sink;

static uint64_t hash_of(const char *key)
{
    unsigned char digest[16];
    uint64_t hash;
    ketama_md5(key, 20, digest);
    memcpy(&hash, digest, sizeof hash);
    return hash;
}

/* How many hashes balance and moves are measured with, and which: each slot of Maglev's
 * table, which is exact, and else as many as take seconds. */
static uint32_t sample(const struct method *method, uint32_t servers)
{
    if (method->find == maglev_find)
        return TABLE;
    return method->find == rendezvous_find && servers > 100 ? 1U << 18 : 1U << 22;
}

static uint64_t sampled(const struct method *method, uint32_t i)
{
    return method->find == maglev_find ? i : mix(i + UINT64_C(1));
}

static void measure(const struct method *method, const struct fleet *fleet,
                    uint64_t weight, struct measured *to)
{
    uint32_t count = sample(method, fleet->count);
    uint32_t *before = malloc(count * sizeof *before);
    static uint64_t has[2 * SERVERS_MAX];

    must(before != NULL);
    room = 2 * fleet->count;
    method->make(fleet);
    to->bytes = method->bytes();
    memset(has, 0, sizeof has);
    for (uint32_t i = 0; i < count; i++)
        has[before[i] = method->find(sampled(method, i))]++;
    for (uint32_t i = 0; i < fleet->count; i++) {
        double fair =
            (double)count * (double)fleet->weight[i] / (double)total_weight(fleet);
        double over = 100 * ((double)has[fleet->id[i]] / fair - 1);
        to->worst = i == 0 || over > to->worst ? over : to->worst;
    }
    for (int round = 0; round < ROUNDS; round++) {
        double begin = now_ns(), took;
        for (uint32_t i = 0; i < KEYS; i++)
            sink += method->find(hash_of(keys[i]));
        took = (now_ns() - begin) / KEYS;
        to->ns = round == 0 || took < to->ns ? took : to->ns;
    }
    for (int change = 0; change < 3; change++) {
        uint32_t id, moved = 0, needless = 0;
        struct fleet other = changed(fleet, change, weight, &id);
        if (change == 2 && !method->has_weights) {
            to->moved[2] = to->needless[2] = -1;
            break;
        }
        method->make(&other);
        for (uint32_t i = 0; i < count; i++) {
            uint32_t after = method->find(sampled(method, i));
            moved += after != before[i];
            needless += after != before[i] && after != id && before[i] != id;
        }
        to->moved[change] = 100.0 * moved / count;
        to->needless[change] = 100.0 * needless / count;
    }
    free(before);
}

static void compare(ketama_continuum before, ketama_continuum after, const char *address,
                    double *moved, double *needless)
{
    ketama_move *moves;
    size_t count;
    *moved = *needless = 0;
    must(ketama_diff(before, after, &moves, &count) == KETAMA_OK);
    for (size_t i = 0; i < count; i++) {
        ketama_server from, to;
        double share = 100 * (double)moves[i].share / 0x1p32;
        (void)ketama_server_at(before, moves[i].from, &from);
        (void)ketama_server_at(after, moves[i].to, &to);
        *moved += share;
        if (strcmp(from.address, address) != 0 && strcmp(to.address, address) != 0)
            *needless += share;
    }
    free(moves);
}

static double time_find(ketama_continuum c)
{
    double begin = now_ns();
    for (uint32_t i = 0; i < KEYS; i++)
        sink += ketama_find(c, keys[i], 20, NULL);
    return (now_ns() - begin) / KEYS;
}

/* Ring and map in turn. */
static void measure_library(const struct fleet *fleet, uint64_t weight,
                            struct measured to[2])
{
    static struct library made[2], other;
    make_ring(&made[0], fleet);
    make_map(&made[1], fleet, NULL);
    for (int round = 0; round < ROUNDS; round++)
        for (int i = 0; i < 2; i++) {
            double took = time_find(made[i].c);
            to[i].ns = round == 0 || took < to[i].ns ? took : to[i].ns;
        }
    for (int i = 0; i < 2; i++) {
        to[i].bytes = made[i].c->view.size_bytes;
        for (uint32_t s = 0; s < fleet->count; s++) {
            ketama_server server;
            (void)ketama_server_at(made[i].c, s, &server);
            double fair = (double)fleet->weight[s] / (double)total_weight(fleet);
            double over = 100 * ((double)server.share / 0x1p32 / fair - 1);
            to[i].worst = s == 0 || over > to[i].worst ? over : to[i].worst;
        }
        for (int change = 0; change < 3; change++) {
            uint32_t id;
            char address[32];
            struct fleet next = changed(fleet, change, weight, &id);
            if (i == 0)
                make_ring(&other, &next);
            else
                make_map(&other, &next, &made[1]);
            snprintf(address, sizeof address, "10.0.%u.%u:11211", id / 256, id % 256);
            compare(made[i].c, other.c, address, &to[i].moved[change],
                    &to[i].needless[change]);
            ketama_close(other.c);
        }
        ketama_close(made[i].c);
    }
}

static void print(const char *name, const char *weights, uint32_t servers,
                  const struct measured *m)
{
    printf("%s\t%s\t%u\t%.3f", name, weights, servers, m->worst);
    for (int change = 0; change < 3; change++)
        if (m->moved[change] < 0)
            printf("\t-\t-");
        else
            printf("\t%.3f\t%.3f", m->moved[change], m->needless[change]);
    printf("\t%.1f\t%zu\n", m->ns, m->bytes);
}

int main(void)
{
    static const uint32_t counts[] = {4, 8, 100, 1000};
    static struct fleet fleet;

    for (uint32_t i = 0; i < KEYS; i++)
        snprintf(keys[i], sizeof keys[i], "session:%08x:usr", i * 2654435761u);
    for (size_t n = 0; n < sizeof counts / sizeof *counts; n++)
        for (int random = 0; random < 2; random++) {
            const char *weights = random ? "random" : "equal";
            struct measured library[2] = {{0}};
            fleet.count = counts[n];
            for (uint32_t i = 0; i <= fleet.count; i++) {
                fleet.id[i] = i;
                fleet.weight[i] = random ? 100 + mix(i + 1) % 901 : 100;
            }
            uint64_t weight = fleet.weight[fleet.count];
            measure_library(&fleet, weight, library);
            print("ring", weights, fleet.count, &library[0]);
            print("bucket map", weights, fleet.count, &library[1]);
            for (size_t m = 0; m < sizeof methods / sizeof *methods; m++) {
                struct measured found = {0};
                if (random && !methods[m].has_weights)
                    continue;
                measure(&methods[m], &fleet, weight, &found);
                print(methods[m].name, weights, fleet.count, &found);
            }
            fflush(stdout);
        }
    return 0;
}

/*
 * buckets.c - weights -> which server owns which bucket, with the fewest moves
 *
 * A server's exact share is e = buckets * weight / all weights. Its target is what it
 * has now, clamped to floor(e) and ceil(e); so a server that may keep its number keeps
 * it. If the targets do not add up, those that can be raised or lowered are, by one, in
 * an order that does not depend on that of the list. A server gives up only what it has
 * above its target, and no list of targets between floor and ceiling needs fewer moves.
 */
#include "buckets.h"

#include "../wide.h"

#include <stdlib.h>
#include <string.h>

uint32_t ketama_bucket_dealt(uint32_t position, uint32_t buckets)
{
    uint32_t mask = buckets - 1, half = 1;
    while (half * half < buckets)
        half *= 2;
    for (int round = 0; round < 3; round++) {
        position ^= position / half;
        position = position * UINT32_C(0x2c1b3c6d) & mask;
    }
    return position ^ position / half;
}

/* A server while buckets are assigned. */
struct claim {
    struct ketama_text address;
    uint64_t position; /* in the list, from 1 */
    uint64_t fraction; /* of its exact share, as a multiple of 1 / all weights */
    uint32_t least;    /* its exact share, rounded down */
    uint32_t had;
    uint32_t target;
    uint32_t kept;
    uint32_t server; /* its index in the list */
};

static int compare_addresses(const struct claim *a, const struct claim *b)
{
    uint32_t bytes =
        a->address.bytes < b->address.bytes ? a->address.bytes : b->address.bytes;
    int order = memcmp(a->address.at, b->address.at, bytes);
    return order != 0 ? order
                      : (a->address.bytes > b->address.bytes) -
                            (a->address.bytes < b->address.bytes);
}

static int by_address(const void *left, const void *right)
{
    const struct claim *a = left, *b = right;
    int order = compare_addresses(a, b);
    return order != 0 ? order : (a->server > b->server) - (a->server < b->server);
}

/* Newcomers first, then the largest fractions. */
static int to_be_raised(const void *left, const void *right)
{
    const struct claim *a = *(struct claim *const *)left,
                       *b = *(struct claim *const *)right;
    int order = ketama_compare_numbers(a->had > 0, b->had > 0);
    if (order == 0)
        order = ketama_compare_numbers(b->fraction, a->fraction);
    return order != 0 ? order : compare_addresses(a, b);
}

static int to_be_lowered(const void *left, const void *right)
{
    const struct claim *a = *(struct claim *const *)left,
                       *b = *(struct claim *const *)right;
    int order = ketama_compare_numbers(a->fraction, b->fraction);
    return order != 0 ? order : compare_addresses(a, b);
}

struct assignment {
    uint32_t buckets;
    uint32_t count; /* of servers */
    struct claim *claims;
    struct claim **of_server; /* the claim of each server in the list; */
    struct claim **some;      /* and room for some of them */
    struct share *shares;     /* what is to be dealt; */
    uint32_t *freed;          /* and the buckets for it */
};

/* One of the buckets that a server is to get: number `2 * n + 1` of twice as many. */
struct share {
    uint32_t odd;
    uint32_t all;
    uint32_t server;
    uint32_t rank; /* by address */
};

/* Each server's shares are spread evenly among those of all. */
static int by_turn(const void *left, const void *right)
{
    const struct share *a = left, *b = right;
    int order =
        ketama_compare_numbers((uint64_t)a->odd * b->all, (uint64_t)b->odd * a->all);
    return order != 0 ? order : ketama_compare_numbers(a->rank, b->rank);
}

static int make_claims(struct assignment *to, const struct ketama_server_list *servers,
                       ketama_failure *failure)
{
    for (uint32_t i = 0; i < to->count; i++) {
        const struct ketama_listed *listed = &servers->at[i];
        struct claim *claim = &to->claims[i];
        *claim = (struct claim){.address = {listed->address, listed->address_bytes},
                                .position = listed->line,
                                .server = i};
        claim->least = (uint32_t)ketama_wide_divide(
            ketama_wide_multiply(listed->weight, to->buckets), servers->total_weight,
            &claim->fraction);
    }
    qsort(to->claims, to->count, sizeof *to->claims, by_address);
    for (uint32_t i = 0; i < to->count; i++) {
        struct claim *claim = &to->claims[i];
        to->of_server[claim->server] = claim;
        if (i > 0 && compare_addresses(claim - 1, claim) == 0)
            return ketama_set_failure(
                failure, KETAMA_EADDRESS, claim->position,
                "address %s is listed twice: a bucket map has each server once",
                ketama_quote(claim->address.at, claim->address.bytes).text);
    }
    return KETAMA_OK;
}

static int count_buckets(struct assignment *to, const uint32_t *before,
                         ketama_failure *failure)
{
    for (uint32_t k = 0; before != NULL && k < to->buckets; k++) {
        if (before[k] == KETAMA_NO_SERVER)
            continue;
        if (before[k] >= to->count)
            return ketama_set_failure(
                failure, KETAMA_ERANGE, 0, "bucket %lu: no server %lu: there are %lu",
                (unsigned long)k, (unsigned long)before[k], (unsigned long)to->count);
        to->of_server[before[k]]->had++;
    }
    return KETAMA_OK;
}

/* Changes the targets that can be changed by one, until they add up. */
static void adjust(struct assignment *to, uint32_t sum)
{
    bool raises = sum < to->buckets;
    uint32_t missing = raises ? to->buckets - sum : sum - to->buckets, count = 0;

    for (uint32_t i = 0; i < to->count && missing > 0; i++) {
        struct claim *claim = &to->claims[i];
        if (claim->fraction > 0 && (claim->target == claim->least) == raises)
            to->some[count++] = claim;
    }
    qsort(to->some, count, sizeof *to->some, raises ? to_be_raised : to_be_lowered);
    for (uint32_t i = 0; i < missing; i++)
        to->some[i]->target += raises ? 1 : UINT32_MAX;
}

static void set_targets(struct assignment *to)
{
    uint32_t sum = 0;
    for (uint32_t i = 0; i < to->count; i++) {
        struct claim *claim = &to->claims[i];
        uint32_t most = claim->least + (claim->fraction > 0);
        claim->target = claim->had < claim->least ? claim->least
                        : claim->had > most       ? most
                                                  : claim->had;
        sum += claim->target;
    }
    adjust(to, sum);
}

/* Returns how many buckets are not kept. */
static uint32_t keep(struct assignment *to, const uint32_t *before, uint32_t *owners)
{
    uint32_t freed = 0;
    for (uint32_t i = 0; i < to->buckets; i++) {
        uint32_t k = ketama_bucket_dealt(i, to->buckets);
        uint32_t server = before != NULL ? before[k] : KETAMA_NO_SERVER;
        if (server != KETAMA_NO_SERVER &&
            to->of_server[server]->kept < to->of_server[server]->target) {
            to->of_server[server]->kept++;
            owners[k] = server;
        } else {
            to->freed[freed++] = k;
        }
    }
    return freed;
}

/* In proportion to what each server needs, from the first to the last. */
static void deal(struct assignment *to, uint32_t freed, uint32_t *owners)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < to->count; i++) {
        const struct claim *claim = &to->claims[i];
        uint32_t need = claim->target - claim->kept;
        for (uint32_t n = 0; n < need; n++)
            to->shares[count++] = (struct share){2 * n + 1, need, claim->server, i};
    }
    qsort(to->shares, count, sizeof *to->shares, by_turn);
    for (uint32_t i = 0; i < freed; i++)
        owners[to->freed[i]] = to->shares[i].server;
}

int ketama_buckets_check(uint32_t buckets, ketama_failure *failure)
{
    if (buckets >= 1 && buckets <= KETAMA_BUCKETS_MAX && (buckets & (buckets - 1)) == 0)
        return KETAMA_OK;
    return ketama_set_failure(failure, KETAMA_EOPTION, 0,
                              "invalid buckets %lu: must be a power of two from 1 to %d",
                              (unsigned long)buckets, KETAMA_BUCKETS_MAX);
}

/* before and owners may be one array: each bucket is read before it is written. */
static int assign(const struct ketama_server_list *servers, uint32_t buckets,
                  const uint32_t *before, uint32_t *owners, ketama_failure *failure)
{
    struct assignment to = {
        .buckets = buckets,
        .count = servers->count,
        .claims = calloc(servers->count, sizeof *to.claims),
        .of_server = calloc(servers->count, sizeof *to.of_server),
        .some = calloc(servers->count, sizeof *to.some),
        .shares = calloc(buckets, sizeof *to.shares),
        .freed = calloc(buckets, sizeof *to.freed),
    };
    int status = KETAMA_ENOMEM;

    if (to.claims != NULL && to.of_server != NULL && to.some != NULL &&
        to.shares != NULL && to.freed != NULL)
        status = make_claims(&to, servers, failure);
    if (status == KETAMA_OK)
        status = count_buckets(&to, before, failure);
    if (status == KETAMA_OK) {
        set_targets(&to);
        deal(&to, keep(&to, before, owners), owners);
    }
    free(to.claims);
    free(to.of_server);
    free(to.some);
    free(to.shares);
    free(to.freed);
    return status;
}

int ketama_buckets_assign(const ketama_server *servers, size_t count,
                          const uint32_t *before, uint32_t buckets, uint32_t *owners)
{
    struct ketama_server_list list;
    ketama_failure failure;

    int status = ketama_buckets_check(buckets, &failure);
    if (status != KETAMA_OK)
        return ketama_store_failure(status, NULL, &failure);
    status = ketama_servers_copy(servers, count, &list, &failure);
    if (status == KETAMA_OK)
        status = assign(&list, buckets, before, owners, &failure);
    ketama_servers_free(&list);
    return status == KETAMA_OK ? KETAMA_OK
                               : ketama_store_failure(status, NULL, &failure);
}

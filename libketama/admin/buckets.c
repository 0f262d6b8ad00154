/*
 * buckets.c - weights -> which server owns which bucket, with the fewest moves
 *
 * A server's exact share is e = buckets * weight / all weights. Its target is what it
 * has now, clamped to floor(e) and ceil(e); so a server that may keep its number keeps
 * it. If the targets do not add up, those that can be raised or lowered are, by one, in
 * an order that does not depend on that of the list. A server gives up only what it has
 * above its target, and no list of targets between floor and ceiling needs fewer moves.
 */
#include "admin.h"

#include "../profile/profile.h"
#include "../wide.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/*
 * Buckets are kept and dealt in this order: a permutation of their numbers. In the order
 * of the numbers, a server that joins would get the end of each other one's buckets,
 * which are neighbours of each other; and where a server is excluded, the keys of a
 * bucket go to the owner of the next one. All of its keys must not go to one server.
 */
static uint32_t scattered(uint32_t place, uint32_t buckets)
{
    uint32_t mask = buckets - 1, half = 1;
    while (half * half < buckets)
        half *= 2;
    for (int round = 0; round < 3; round++) {
        place ^= place / half;
        place = place * UINT32_C(0x2c1b3c6d) & mask;
    }
    return place ^ place / half;
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

static int compare(uint64_t a, uint64_t b)
{
    return (a > b) - (a < b);
}

/* Newcomers first, then the largest fractions. */
static int to_be_raised(const void *left, const void *right)
{
    const struct claim *a = *(struct claim *const *)left,
                       *b = *(struct claim *const *)right;
    int order = compare(a->had > 0, b->had > 0);
    if (order == 0)
        order = compare(b->fraction, a->fraction);
    return order != 0 ? order : compare_addresses(a, b);
}

static int to_be_lowered(const void *left, const void *right)
{
    const struct claim *a = *(struct claim *const *)left,
                       *b = *(struct claim *const *)right;
    int order = compare(a->fraction, b->fraction);
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
    int order = compare((uint64_t)a->odd * b->all, (uint64_t)b->odd * a->all);
    return order != 0 ? order : compare(a->rank, b->rank);
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
        uint32_t k = scattered(i, to->buckets);
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

static bool is_number_of_buckets(uint32_t buckets)
{
    return buckets >= 1 && buckets <= KETAMA_BUCKETS_MAX &&
           (buckets & (buckets - 1)) == 0;
}

static int fail_number(uint32_t buckets, ketama_failure *failure)
{
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

    if (!is_number_of_buckets(buckets))
        return ketama_store_failure(fail_number(buckets, &failure), NULL, &failure);
    int status = ketama_servers_copy(servers, count, &list, &failure);
    if (status == KETAMA_OK)
        status = assign(&list, buckets, before, owners, &failure);
    ketama_servers_free(&list);
    return status == KETAMA_OK ? KETAMA_OK
                               : ketama_store_failure(status, NULL, &failure);
}

/* ---- the owners of a continuum */

/* How many hashes of one bucket each server has, and which servers have any. */
struct tally {
    uint64_t *hashes;
    uint32_t *servers;
    uint32_t count;
};

static void count_hashes(struct tally *tally, uint32_t server, uint64_t hashes)
{
    if (tally->hashes[server] == 0)
        tally->servers[tally->count++] = server;
    tally->hashes[server] += hashes;
}

/* The server that has most; of several, the one whose address is the least. */
static uint32_t take_most(struct tally *tally, ketama_continuum c)
{
    const struct ketama_view *view = &c->view;
    uint32_t best = tally->servers[0];

    for (uint32_t i = 1; i < tally->count; i++) {
        uint32_t server = tally->servers[i];
        int order = compare(tally->hashes[server], tally->hashes[best]);
        if (order == 0)
            order = strcmp(view->strings + view->servers[best].address_at,
                           view->strings + view->servers[server].address_at);
        if (order > 0)
            best = server;
    }
    for (uint32_t i = 0; i < tally->count; i++)
        tally->hashes[tally->servers[i]] = 0;
    tally->count = 0;
    return best;
}

/* Walks along the arcs of c and the buckets at once. */
static void find_owners(ketama_continuum c, uint32_t buckets, struct tally *tally,
                        uint32_t *owners)
{
    const uint64_t width = (UINT64_C(1) << 32) / buckets;
    const struct ketama_packed *arcs = &c->view.arcs;
    uint32_t index_bucket = 0, k = 0;
    uint64_t begin = 0;

    for (uint32_t i = 0; i <= arcs->count; i++) {
        ketama_arc arc = {UINT32_MAX, ketama_packed_server(arcs, arcs->words[0])};
        if (i < arcs->count) /* the hashes after the last arc belong to the first one */
            arc = ketama_arc_from(arcs, i, &index_bucket);
        if (arc.server >= c->view.server_count)
            arc.server = c->view.server_count - 1; /* a damaged image */
        while (begin <= arc.end) {
            uint64_t end = arc.end + UINT64_C(1);
            if (end > (k + 1) * width)
                end = (k + 1) * width;
            count_hashes(tally, arc.server, end - begin);
            begin = end;
            if (begin == (k + 1) * width)
                owners[k++] = take_most(tally, c);
        }
    }
}

int ketama_buckets_owners(ketama_continuum c, uint32_t buckets, uint32_t *owners)
{
    ketama_failure failure;

    if (!is_number_of_buckets(buckets))
        return ketama_store_failure(fail_number(buckets, &failure), NULL, &failure);
    uint32_t count = ketama_count_servers(c);
    if (count == 0)
        return ketama_store_failure(
            ketama_set_failure(&failure, KETAMA_ENOSERVERS, 0, "there are no servers"),
            NULL, &failure);
    struct tally tally = {calloc(count, sizeof(uint64_t)),
                          calloc(count, sizeof(uint32_t)), 0};
    int status = KETAMA_OK;
    if (tally.hashes == NULL || tally.servers == NULL)
        status = ketama_store_failure(KETAMA_ENOMEM, NULL, NULL);
    else
        find_owners(c, buckets, &tally, owners);
    free(tally.hashes);
    free(tally.servers);
    return status;
}

/* ---- how many buckets there should be, and the way there */

uint32_t ketama_buckets_needed(const ketama_server *servers, size_t count,
                               uint32_t per_million)
{
    enum { MILLION = 1000000 };
    uint64_t total = 0, least = UINT64_MAX, rest;

    for (size_t i = 0; i < count; i++) {
        if (servers[i].weight > UINT64_MAX - total)
            return 0;
        total += servers[i].weight;
        least = servers[i].weight < least ? servers[i].weight : least;
    }
    if (count == 0 || least == 0)
        return 0;
    uint64_t needed =
        ketama_wide_divide(ketama_wide_multiply(total, MILLION), least, &rest);
    needed += needed < UINT64_MAX && rest > 0;
    for (uint32_t buckets = 1; buckets <= KETAMA_BUCKETS_MAX; buckets *= 2)
        if ((uint64_t)buckets * per_million >= needed)
            return buckets;
    return 0;
}

/* A bucket that moves: number `odd` of twice as many that its server gives up. */
struct moving {
    uint32_t odd;
    uint32_t *all;
    uint32_t place; /* in the order in which buckets are dealt */
    uint32_t bucket;
};

static int by_giver(const void *left, const void *right)
{
    const struct moving *a = left, *b = right;
    int order = compare((uint64_t)a->odd * *b->all, (uint64_t)b->odd * *a->all);
    return order != 0 ? order : compare(a->place, b->place);
}

static uint32_t highest(const uint32_t *owners, uint32_t buckets)
{
    uint32_t most = 0;
    for (uint32_t k = 0; k < buckets; k++)
        if (owners[k] != KETAMA_NO_SERVER && owners[k] > most)
            most = owners[k];
    return most;
}

/* Lists what moves, so that each server gives up the same part of what it has to. */
static uint32_t list_moving(const uint32_t *before, const uint32_t *after,
                            uint32_t buckets, uint32_t *given, struct moving *moving)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < buckets; i++) {
        uint32_t k = scattered(i, buckets);
        /* A bucket without a server does not wait: number 0. */
        uint32_t *all = &given[before[k] == KETAMA_NO_SERVER ? 0 : before[k] + 1];
        if (before[k] != after[k])
            moving[count++] = (struct moving){2 * (*all)++ + 1, all, i, k};
    }
    qsort(moving, count, sizeof *moving, by_giver);
    return count;
}

int ketama_buckets_step(const uint32_t *before, const uint32_t *after, uint32_t buckets,
                        uint32_t most, uint32_t *owners, uint32_t *left)
{
    ketama_failure failure;

    *left = 0;
    if (!is_number_of_buckets(buckets))
        return ketama_store_failure(fail_number(buckets, &failure), NULL, &failure);
    uint32_t *given = calloc(highest(before, buckets) + (size_t)2, sizeof *given);
    struct moving *moving = calloc(buckets, sizeof *moving);
    int status = KETAMA_OK;
    if (given == NULL || moving == NULL) {
        status = ketama_store_failure(KETAMA_ENOMEM, NULL, NULL);
    } else {
        uint32_t count = list_moving(before, after, buckets, given, moving);
        if (owners != before)
            memcpy(owners, before, buckets * sizeof *owners);
        for (uint32_t i = 0; i < count && i < most; i++)
            owners[moving[i].bucket] = after[moving[i].bucket];
        *left = count > most ? count - most : 0;
    }
    free(given);
    free(moving);
    return status;
}

size_t ketama_buckets_write(const uint32_t *owners, uint32_t buckets, uint32_t server,
                            char *text, size_t room)
{
    return ketama_ranges_write(owners, buckets, server, text, room);
}

/* ---- from a ring to a map with the fewest moves */

int ketama_buckets_options(ketama_continuum ring, char settings[KETAMA_SETTINGS_MAX])
{
    const struct ketama_dialect *dialect = &ring->dialect;
    const struct ketama_text name = {"buckets", 7};
    const struct ketama_named_hash *hash = ketama_profile_find(name)->hashes;
    bool has_tag = dialect->tag[0] != '\0' && dialect->part != ketama_part_any_tag;
    ketama_failure failure;

    while (hash->name != NULL && hash->hash != dialect->hash)
        hash++;
    if (hash->name == NULL || dialect->seed != 0 || dialect->text[0] != '\0' ||
        (dialect->part != NULL && !has_tag && dialect->part != ketama_part_twemproxy))
        return ketama_store_failure(
            ketama_set_failure(&failure, KETAMA_EOPTION, 0,
                               "profile \"%s\" with these options hashes keys as no "
                               "bucket map does",
                               dialect->profile->name),
            NULL, &failure);
    int size = 0;
    if (hash->hash != ketama_hash_md5)
        size = sprintf(settings, "hash=%s", hash->name);
    if (has_tag)
        size += sprintf(settings + size, "%shash_tag=\"%s%c%s%c\"", size > 0 ? " " : "",
                        dialect->tag[0] == '"' || dialect->tag[0] == '\\' ? "\\" : "",
                        dialect->tag[0],
                        dialect->tag[1] == '"' || dialect->tag[1] == '\\' ? "\\" : "",
                        dialect->tag[1]);
    settings[size] = '\0';
    return KETAMA_OK;
}

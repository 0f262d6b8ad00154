/*
 * steps.c - how many buckets a map should have, and the way from one map to another
 */
#include "buckets.h"

#include "../wide.h"

#include <stdlib.h>
#include <string.h>

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
    uint32_t position; /* in the order in which buckets are dealt */
    uint32_t bucket;
};

static int by_giver(const void *left, const void *right)
{
    const struct moving *a = left, *b = right;
    int order =
        ketama_compare_numbers((uint64_t)a->odd * *b->all, (uint64_t)b->odd * *a->all);
    return order != 0 ? order : ketama_compare_numbers(a->position, b->position);
}

/* Finds the highest index of a server. No list has so many servers as to need one that
 * is too high, and room would have to be made for as many. */
static int find_highest(const uint32_t *owners, uint32_t buckets, uint32_t *highest,
                        ketama_failure *failure)
{
    *highest = 0;
    for (uint32_t k = 0; k < buckets; k++) {
        if (owners[k] == KETAMA_NO_SERVER || owners[k] <= *highest)
            continue;
        if (owners[k] >= KETAMA_SERVERS_MAX)
            return ketama_set_failure(failure, KETAMA_ERANGE, 0,
                                      "bucket %lu: no server %lu: there are at most %d",
                                      (unsigned long)k, (unsigned long)owners[k],
                                      KETAMA_SERVERS_MAX);
        *highest = owners[k];
    }
    return KETAMA_OK;
}

/* Lists what moves, so that each server gives up the same part of what it has to. */
static uint32_t list_moving(const uint32_t *before, const uint32_t *after,
                            uint32_t buckets, uint32_t *given, struct moving *moving)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < buckets; i++) {
        uint32_t k = ketama_bucket_dealt(i, buckets);
        /* Buckets without a server count as those of one giver, number 0. */
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
    uint32_t highest;

    *left = 0;
    int status = ketama_buckets_check(buckets, &failure);
    if (status == KETAMA_OK)
        status = find_highest(before, buckets, &highest, &failure);
    if (status != KETAMA_OK)
        return ketama_store_failure(status, NULL, &failure);
    uint32_t *given = calloc(highest + (size_t)2, sizeof *given);
    struct moving *moving = calloc(buckets, sizeof *moving);
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

/*
 * buckets.h - what the files about bucket maps share
 */
#ifndef KETAMA_BUCKETS_H
#define KETAMA_BUCKETS_H

#include "admin.h"

#include "../profile/profile.h"

/* Refuses what is no number of buckets: EOPTION. */
int ketama_buckets_check(uint32_t buckets, ketama_failure *failure);

/*
 * Buckets are kept and dealt in this order: a permutation of their numbers. In the order
 * of the numbers, a server that joins would get the end of each other one's buckets,
 * which are neighbours of each other; and where a server is excluded, the keys of a
 * bucket go to the owner of the next one. All of its keys must not go to one server.
 */
uint32_t ketama_bucket_dealt(uint32_t position, uint32_t buckets);

static inline int ketama_compare_numbers(uint64_t a, uint64_t b)
{
    return (a > b) - (a < b);
}

#endif

/*
 * points.c - server list -> arcs
 *
 * The tie rule: of equal points, the one generated first comes first and has the arc. So
 * a profile generates points server by server, in the order in which servers win, and
 * the sort is stable.
 */
#include "internal.h"

#include <limits.h>
#include <stdlib.h>

#include "profile/profile.h"

/* How many points each server has, in the order of the list; *total: all together. */
static int count_points(const struct ketama_profile *profile,
                        const struct ketama_server_list *servers, uint32_t *points_of,
                        uint32_t *total, ketama_failure *failure)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < servers->count; i++) {
        uint64_t points = (uint64_t)profile->points_per_label *
                          profile->count_labels(servers->at[i].weight,
                                                servers->total_weight, servers->count);
        points_of[i] = (uint32_t)points;
        sum += points;
    }
    if (sum > INT_MAX) /* the type with which libketama.so.1 counts them */
        return ketama_set_failure(failure, KETAMA_ETOOMANY, 0,
                                  "too many points: at most %d", INT_MAX);
    if (sum == 0)
        return ketama_set_failure(failure, KETAMA_ENOSERVERS, 0,
                                  "no server gets a point");
    *total = (uint32_t)sum;
    return KETAMA_OK;
}

enum { PASSES = 3, BITS = 11, BUCKETS = 1 << BITS, MASK = BUCKETS - 1 };

/*
 * A radix sort from the low bits to the high ones: stable, and linear whatever the
 * points are. Three passes, so the result is in `spare`. at: zeros, which would be too
 * much for a small stack.
 */
static void sort(const struct ketama_server_list *servers, ketama_arc *points,
                 ketama_arc *spare, uint32_t count, uint32_t at[PASSES][BUCKETS])
{

    for (uint32_t i = 0; i < count; i++)
        for (unsigned pass = 0; pass < PASSES; pass++)
            at[pass][points[i].end >> (pass * BITS) & MASK]++;

    for (unsigned pass = 0; pass < PASSES; pass++) {
        uint32_t next = 0;
        ketama_report_progress(servers);
        for (uint32_t b = 0; b < BUCKETS; b++) {
            uint32_t size = at[pass][b];
            at[pass][b] = next;
            next += size;
        }
        for (uint32_t i = 0; i < count; i++)
            spare[at[pass][points[i].end >> (pass * BITS) & MASK]++] = points[i];

        ketama_arc *swap = points;
        points = spare;
        spare = swap;
    }
}

int ketama_ring_make(const struct ketama_profile *profile,
                     const struct ketama_server_list *servers, struct ketama_ring *ring,
                     ketama_failure *failure)
{
    uint32_t count = 0;
    uint32_t *order = calloc(servers->count, sizeof *order);
    uint32_t *points_of = calloc(servers->count, sizeof *points_of);
    ketama_arc *generated = NULL, *sorted = NULL;
    uint32_t (*buckets)[BUCKETS] = calloc(PASSES, sizeof *buckets);
    int status = KETAMA_ENOMEM;

    *ring = (struct ketama_ring){0};
    if (order != NULL && points_of != NULL && buckets != NULL)
        status = count_points(profile, servers, points_of, &count, failure);
    if (status == KETAMA_OK) {
        generated = calloc(count, sizeof *generated);
        sorted = calloc(count, sizeof *sorted);
        if (generated == NULL || sorted == NULL)
            status = KETAMA_ENOMEM;
    }
    if (status == KETAMA_OK) {
        profile->order(servers, order);
        profile->generate(profile, servers, order, generated);
        sort(servers, generated, sorted, count, buckets);
        *ring = (struct ketama_ring){.arcs = sorted,
                                     .arc_count = count,
                                     .first_point = profile->to_arcs(sorted, count),
                                     .points_of = points_of};
        sorted = NULL;
        points_of = NULL;
    }
    free(order);
    free(buckets);
    free(points_of);
    free(generated);
    free(sorted);
    return status;
}

void ketama_ring_free(struct ketama_ring *ring)
{
    free(ring->arcs);
    free(ring->points_of);
    *ring = (struct ketama_ring){0};
}

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
static int count_points(const struct ketama_layout *layout, uint32_t *points_of,
                        uint32_t *total, ketama_failure *failure)
{
    const struct ketama_server_list *servers = layout->servers;
    uint64_t sum = 0;
    for (uint32_t i = 0; i < servers->count; i++) {
        uint64_t points = layout->profile->points_per_label *
                          layout->profile->count_labels(layout, servers->at[i].weight);
        points_of[i] = (uint32_t)points;
        sum += points;
    }
    if (sum > INT_MAX - KETAMA_ADDED_ARCS_MAX) /* libketama.so.1 counts them as int */
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

static bool has_weights(const struct ketama_server_list *servers)
{
    for (uint32_t i = 0; i < servers->count; i++)
        if (servers->at[i].weight > 1)
            return true;
    return false;
}

const struct ketama_profile *
ketama_profile_of_ring(const struct ketama_dialect *dialect,
                       const struct ketama_server_list *servers)
{
    const struct ketama_profile *profile = dialect->profile;
    return profile->weighted != NULL && has_weights(servers) ? profile->weighted
                                                             : profile;
}

/* The memory that a ring is made in: more than a small stack has. */
struct scratch {
    struct ketama_labels *labels;
    uint32_t (*buckets)[BUCKETS];
    struct ketama_text *names;
    char *names_storage;
    const struct ketama_text **order;
    uint32_t *points_of;
    ketama_arc *points, *sorted;
};

static void free_scratch(struct scratch *work)
{
    free(work->labels);
    free(work->buckets);
    free(work->names);
    free(work->names_storage);
    free(work->order);
    free(work->points_of);
    free(work->points);
    free(work->sorted);
}

/* The names of the servers, and how many points they get: *count all together. */
static int prepare(struct ketama_layout *layout, struct scratch *work, uint32_t *count,
                   ketama_failure *failure)
{
    const struct ketama_dialect *dialect = layout->dialect;
    uint32_t servers = layout->servers->count;

    work->labels = malloc(sizeof *work->labels);
    work->buckets = calloc(PASSES, sizeof *work->buckets);
    work->names = calloc(servers, sizeof *work->names);
    work->order = calloc(servers, sizeof *work->order);
    work->points_of = calloc(servers, sizeof *work->points_of);
    if (work->labels == NULL || work->buckets == NULL || work->names == NULL ||
        work->order == NULL || work->points_of == NULL)
        return KETAMA_ENOMEM;
    layout->labels = work->labels;
    layout->names = work->names;
    layout->order = work->order;
    layout->points_of = work->points_of;
    int status = ketama_names_make(dialect, layout->servers, work->names,
                                   &work->names_storage, failure);
    if (status == KETAMA_OK)
        status = ketama_check_names(layout->servers, work->names,
                                    dialect->profile->unique_servers, failure);
    if (status == KETAMA_OK)
        status = count_points(layout, work->points_of, count, failure);
    return status;
}

static void fill_ring(struct ketama_ring *ring, const struct ketama_layout *layout,
                      struct scratch *work, uint32_t count)
{
    layout->profile->order(work->names, layout->servers->count, work->order);
    layout->profile->generate(layout, work->points);
    sort(layout->servers, work->points, work->sorted, count, work->buckets);
    ring->arc_count = layout->profile->to_arcs(work->sorted, count, &ring->first_point);
    ring->point_count = count;
    ring->arcs = work->sorted;
    ring->points_of = work->points_of;
    work->sorted = NULL;
    work->points_of = NULL;
}

int ketama_ring_make(const struct ketama_dialect *dialect,
                     const struct ketama_server_list *servers, struct ketama_ring *ring,
                     ketama_failure *failure)
{
    struct scratch work = {0};
    struct ketama_layout layout = {.profile = ketama_profile_of_ring(dialect, servers),
                                   .dialect = dialect,
                                   .servers = servers};
    uint32_t count = 0;

    *ring = (struct ketama_ring){0};
    int status = prepare(&layout, &work, &count, failure);
    if (status == KETAMA_OK) {
        work.points = calloc(count, sizeof *work.points);
        work.sorted = calloc((size_t)count + KETAMA_ADDED_ARCS_MAX, sizeof *work.sorted);
        if (work.points == NULL || work.sorted == NULL)
            status = KETAMA_ENOMEM;
    }
    if (status == KETAMA_OK)
        fill_ring(ring, &layout, &work, count);
    free_scratch(&work);
    return status;
}

void ketama_ring_free(struct ketama_ring *ring)
{
    free(ring->arcs);
    free(ring->points_of);
    *ring = (struct ketama_ring){0};
}

/*
 * points.c - server list -> sorted points
 *
 * The tie rule: of equal points the one that was laid out first comes first, and is
 * the one that lookups meet. So servers are laid out in the profile's order, each with
 * its labels from 0 on, and the sort is a stable one.
 */
#include <limits.h>
#include <stdlib.h>

#include "internal.h"

/* How many points each server has, in the file's order; *total: all. */
static int count_points(const struct ketama_profile *profile,
                        const struct ketama_server_list *servers, uint32_t *total,
                        struct ketama_flaw *flaw)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < servers->count; i++)
        sum += (uint64_t)profile->yield *
               profile->labels(servers->at[i].weight, servers->total, servers->count);
    if (sum > INT_MAX) /* what libketama.so.1 counts them with */
        return ketama_flawed(flaw, KETAMA_ETOOMANY, 0, "more than %d points", INT_MAX);
    if (sum == 0)
        return ketama_flawed(flaw, KETAMA_ENOSERVERS, 0, "no server gets a point");
    *total = (uint32_t)sum;
    return KETAMA_OK;
}

/* Labels that are hashed together, for that goes faster. */
enum { BATCH = 64 };
struct batch {
    uint32_t count;
    uint32_t server[BATCH];
    ketama_key label[BATCH];
    char text[BATCH][KETAMA_LABEL_MAX];
    uint32_t points[BATCH * KETAMA_YIELD_MAX];
};

static ketama_point *hash_out(const struct ketama_profile *profile, struct batch *batch,
                              ketama_point *to)
{
    profile->points(batch->label, batch->count, batch->points);
    for (uint32_t i = 0; i < batch->count * profile->yield; i++)
        *to++ = (ketama_point){batch->points[i], batch->server[i / profile->yield]};
    batch->count = 0;
    return to;
}

/* All servers' points, server by server in the order given. */
static void lay_out(const struct ketama_profile *profile,
                    const struct ketama_server_list *servers, const uint32_t *order,
                    ketama_point *to)
{
    struct batch batch;
    batch.count = 0;
    for (uint32_t i = 0; i < servers->count; i++) {
        const struct ketama_listed *server = &servers->at[order[i]];
        uint32_t labels =
            profile->labels(server->weight, servers->total, servers->count);
        for (uint32_t k = 0; k < labels; k++) {
            uint32_t at = batch.count++;
            batch.server[at] = order[i];
            batch.label[at].bytes = batch.text[at];
            batch.label[at].len = profile->label(server, k, batch.text[at]);
            if (batch.count == BATCH)
                to = hash_out(profile, &batch, to);
        }
    }
    hash_out(profile, &batch, to);
}

/*
 * A radix sort from the low bits to the high ones: stable, and linear whatever the
 * points are. Three passes, so the result is in `spare`.
 */
static void sort(ketama_point *points, ketama_point *spare, uint32_t count)
{
    enum { PASSES = 3, BITS = 11, BUCKETS = 1 << BITS, MASK = BUCKETS - 1 };
    uint32_t at[PASSES][BUCKETS] = {{0}};

    for (uint32_t i = 0; i < count; i++)
        for (unsigned pass = 0; pass < PASSES; pass++)
            at[pass][points[i].point >> (pass * BITS) & MASK]++;

    for (unsigned pass = 0; pass < PASSES; pass++) {
        uint32_t next = 0;
        for (uint32_t b = 0; b < BUCKETS; b++) {
            uint32_t size = at[pass][b];
            at[pass][b] = next;
            next += size;
        }
        for (uint32_t i = 0; i < count; i++)
            spare[at[pass][points[i].point >> (pass * BITS) & MASK]++] = points[i];

        ketama_point *swap = points;
        points = spare;
        spare = swap;
    }
}

int ketama_points_make(const struct ketama_profile *profile,
                       const struct ketama_server_list *servers,
                       struct ketama_point_list *points, struct ketama_flaw *flaw)
{
    uint32_t total = 0, *order = NULL;
    ketama_point *laid_out = NULL, *sorted = NULL;
    int status = count_points(profile, servers, &total, flaw);

    *points = (struct ketama_point_list){0};
    if (status != KETAMA_OK)
        return status;

    status = KETAMA_ENOMEM;
    order = calloc(servers->count, sizeof *order);
    laid_out = calloc(total, sizeof *laid_out);
    sorted = calloc(total, sizeof *sorted);
    if (order != NULL && laid_out != NULL && sorted != NULL) {
        profile->order(servers, order);
        lay_out(profile, servers, order, laid_out);
        sort(laid_out, sorted, total);
        *points = (struct ketama_point_list){sorted, total};
        sorted = NULL;
        status = KETAMA_OK;
    }
    free(order);
    free(laid_out);
    free(sorted);
    return status;
}

void ketama_points_free(struct ketama_point_list *points)
{
    free(points->at);
    *points = (struct ketama_point_list){0};
}

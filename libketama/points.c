/*
 * points.c - server list -> arcs
 *
 * The tie rule: of equal points, the one generated first comes first and has the arc. So
 * a profile generates points server by server, in the order in which servers win; and
 * what is sorted is the point with its server's rank in that order.
 */
#include "internal.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "profile/profile.h"

/* libketama.so.1 counts arcs as int. */
enum { POINTS_MAX = INT_MAX - KETAMA_ADDED_ARCS_MAX };

/* How many points each server has, in the order of the list; *total: all together. */
static int count_points(const struct ketama_layout *layout, uint32_t *points_of,
                        uint32_t *total, ketama_failure *failure)
{
    const struct ketama_server_list *servers = layout->servers;
    uint64_t sum = 0;
    if (layout->profile->count_points != NULL) {
        *total = layout->dialect->buckets;
        return layout->profile->count_points(layout, points_of, failure);
    }
    for (uint32_t i = 0; i < servers->count; i++) {
        uint64_t points = layout->profile->points_per_label *
                          layout->profile->count_labels(layout, servers->at[i].weight);
        points_of[i] = (uint32_t)points;
        sum += points;
    }
    if (sum > POINTS_MAX)
        return ketama_set_failure(failure, KETAMA_ETOOMANY, 0,
                                  "too many points: at most %d", POINTS_MAX);
    if (sum == 0)
        return ketama_set_failure(failure, KETAMA_ENOSERVERS, 0,
                                  "no server gets a point");
    *total = (uint32_t)sum;
    return KETAMA_OK;
}

enum { FEW = 16, DIGIT_BITS = 7, DIGITS = 1 << DIGIT_BITS };
enum { BUCKETS_A_REPORT = 1024, POINTS_A_REPORT = 1 << 16 };

/* An insertion sort from one array into another one, which may be the same. */
static void insert(const uint32_t *from, uint32_t *to, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        uint32_t word = from[i], at = i;
        for (; at > 0 && to[at - 1] > word; at--)
            to[at] = to[at - 1];
        to[at] = word;
    }
}

/*
 * Sorts words whose bits from `bits` on are equal: by the highest 7 of the others.
 * Points are spread evenly, so few words have equal ones, and inserting each among those
 * before it puts these in order. Where many have, they are sorted by the next 7 bits
 * first: five times at most, whatever the points are.
 */
static void sort(uint32_t *words, uint32_t *spare, uint32_t count, uint32_t bits)
{
    uint32_t at[DIGITS] = {0}, next = 0, sizes = 0;
    uint32_t shift = bits > DIGIT_BITS ? bits - DIGIT_BITS : 0;

    if (count <= FEW || bits == 0) {
        insert(words, words, count);
        return;
    }
    for (uint32_t i = 0; i < count; i++)
        at[words[i] >> shift & (DIGITS - 1)]++;
    for (uint32_t digit = 0; digit < DIGITS; digit++) {
        uint32_t size = at[digit];
        at[digit] = next;
        next += size;
        sizes |= size;
    }
    for (uint32_t i = 0; i < count; i++)
        spare[at[words[i] >> shift & (DIGITS - 1)]++] = words[i];
    if (sizes < FEW) { /* all of them are */
        insert(spare, words, count);
        return;
    }
    memcpy(words, spare, count * sizeof *words);
    for (uint32_t digit = 0, begin = 0; digit < DIGITS; begin = at[digit++])
        sort(words + begin, spare, at[digit] - begin, shift);
}

/* Points by their top bits: in each bucket, words of the other bits and the rank. */
struct buckets {
    uint32_t *begin; /* of each in the words; and of one more */
    uint32_t count;
    uint32_t shift;
    uint32_t rank_bits;
};

/* How to spread points over buckets: some ten dozen in each, and as many buckets as the
 * rank's bits take from a word. */
static bool make_buckets(struct buckets *buckets, uint32_t points, uint32_t servers)
{
    enum { POINTS = 128 };
    uint32_t bits = 1;
    buckets->rank_bits = ketama_server_bits(servers);
    while (bits < buckets->rank_bits || points / POINTS >> bits > 0)
        bits++;
    buckets->shift = 32 - bits;
    buckets->count = UINT32_C(1) << bits;
    buckets->begin = calloc((size_t)buckets->count + 1, sizeof *buckets->begin);
    return buckets->begin != NULL;
}

static void scatter(const struct ketama_layout *layout, const struct buckets *buckets,
                    const uint32_t *points, uint32_t count, uint32_t *words)
{
    uint32_t *at = buckets->begin, next = 0;
    uint32_t shift = buckets->shift, rank_bits = buckets->rank_bits;
    for (uint32_t i = 0; i < count; i++) {
        if (i % POINTS_A_REPORT == 0)
            ketama_report_progress(layout->servers);
        at[points[i] >> shift]++;
    }
    for (uint32_t b = 0; b <= buckets->count; b++) {
        uint32_t size = at[b];
        at[b] = next;
        next += size;
    }
    for (uint32_t rank = 0; rank < layout->servers->count; rank++) {
        uint32_t server = (uint32_t)(layout->order[rank] - layout->names);
        ketama_report_progress(layout->servers);
        for (const uint32_t *end = points + layout->points_of[server]; points < end;
             points++)
            words[at[*points >> shift]++] = *points << rank_bits | rank;
    }
    /* Now each is the end of its bucket. */
    memmove(at + 1, at, buckets->count * sizeof *at);
    at[0] = 0;
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
    struct ketama_text *names;
    char *names_storage;
    const struct ketama_text **order;
    uint32_t *points;
    struct buckets buckets;
    ketama_arc *arcs; /* for a dialect that turns points into arcs; else NULL */
};

static void free_scratch(struct scratch *work)
{
    free(work->labels);
    free(work->names);
    free(work->names_storage);
    free(work->order);
    free(work->points);
    free(work->buckets.begin);
    free(work->arcs);
}

/* The names of the servers, and how many points they get: *count all together. */
static int prepare(struct ketama_layout *layout, struct scratch *work,
                   struct ketama_ring *ring, ketama_failure *failure)
{
    const struct ketama_dialect *dialect = layout->dialect;
    uint32_t servers = layout->servers->count;

    work->labels = malloc(sizeof *work->labels);
    work->names = calloc(servers, sizeof *work->names);
    work->order = calloc(servers, sizeof *work->order);
    ring->points_of = calloc(servers, sizeof *ring->points_of);
    ring->shares_of = calloc(servers, sizeof *ring->shares_of);
    if (work->labels == NULL || work->names == NULL || work->order == NULL ||
        ring->points_of == NULL || ring->shares_of == NULL)
        return KETAMA_ENOMEM;
    layout->labels = work->labels;
    layout->names = work->names;
    layout->order = work->order;
    layout->points_of = ring->points_of;
    int status = ketama_names_make(dialect, layout->servers, work->names,
                                   &work->names_storage, failure);
    if (status == KETAMA_OK)
        status = ketama_check_names(layout->servers, work->names,
                                    dialect->profile->unique_servers, failure);
    if (status == KETAMA_OK)
        status = count_points(layout, ring->points_of, &ring->point_count, failure);
    return status;
}

/* Memory for the points, in each of the forms that they take. */
static bool make_room(const struct ketama_layout *layout, struct scratch *work,
                      struct ketama_ring *ring)
{
    size_t points = ring->point_count, arcs = points + KETAMA_ADDED_ARCS_MAX;

    if (arcs > SIZE_MAX / sizeof *work->arcs) /* of 32 bits */
        return false;
    work->points = malloc(points * sizeof *work->points);
    ring->arcs.words = malloc(arcs * sizeof *ring->arcs.words);
    if (layout->profile->to_arcs != NULL)
        work->arcs = malloc(arcs * sizeof *work->arcs);
    return work->points != NULL && ring->arcs.words != NULL &&
           (layout->profile->to_arcs == NULL || work->arcs != NULL) &&
           make_buckets(&work->buckets, ring->point_count, layout->servers->count);
}

static bool make_index(const struct ketama_layout *layout, struct ketama_ring *ring,
                       uint32_t arcs)
{
    uint32_t servers = layout->servers->count;
    ring->arcs.server_bits = ketama_server_bits(servers);
    ring->arcs.shift = ketama_index_shift(arcs, servers);
    ring->arcs.index =
        calloc((size_t)ketama_index_entries(ring->arcs.shift), sizeof *ring->arcs.index);
    return ring->arcs.index != NULL;
}

/* Adds the next arc to a ring. It has the hashes after the end of the one before; of
 * equal ends only the first has any. */
static inline void add(struct ketama_packer *to, uint64_t *shares_of, uint32_t *end,
                       ketama_arc arc)
{
    shares_of[arc.server] += arc.end - *end;
    *end = arc.end;
    ketama_pack(to, arc);
}

/* Sorts the words, in place, into arcs; or takes what to_arcs() has made of them. */
static bool fill(struct ketama_ring *ring, const struct ketama_layout *layout,
                 struct scratch *work)
{
    const struct buckets *buckets = &work->buckets;
    uint32_t rank_mask = (UINT32_C(1) << buckets->rank_bits) - 1, end = 0;

    if (work->arcs == NULL && !make_index(layout, ring, ring->point_count))
        return false;
    struct ketama_packer to = ring->arcs; /* which registers can hold */
    for (uint32_t b = 0; b < buckets->count; b++) {
        uint32_t *words = ring->arcs.words + buckets->begin[b];
        uint32_t count = buckets->begin[b + 1] - buckets->begin[b];
        if (b % BUCKETS_A_REPORT == 0)
            ketama_report_progress(layout->servers);
        sort(words, work->points, count, buckets->shift + buckets->rank_bits);
        for (uint32_t i = 0; i < count; i++) {
            const struct ketama_text *name = layout->order[words[i] & rank_mask];
            ketama_arc arc = {b << buckets->shift | words[i] >> buckets->rank_bits,
                              (uint32_t)(name - layout->names)};
            if (work->arcs != NULL)
                work->arcs[buckets->begin[b] + i] = arc;
            else
                add(&to, ring->shares_of, &end, arc);
        }
    }
    if (work->arcs != NULL) {
        uint32_t arcs =
            layout->profile->to_arcs(work->arcs, ring->point_count, &ring->first_point);
        if (!make_index(layout, ring, arcs))
            return false;
        to = ring->arcs;
        for (uint32_t i = 0; i < arcs; i++)
            add(&to, ring->shares_of, &end, work->arcs[i]);
    }
    ring->arcs = to;
    ring->shares_of[to.words[0] & rank_mask] += (UINT64_C(1) << 32) - end;
    ketama_pack_finish(&to);
    return true;
}

int ketama_ring_make(const struct ketama_dialect *dialect,
                     const struct ketama_server_list *servers, struct ketama_ring *ring,
                     ketama_failure *failure)
{
    struct scratch work = {0};
    struct ketama_layout layout = {.profile = ketama_profile_of_ring(dialect, servers),
                                   .dialect = dialect,
                                   .servers = servers};

    *ring = (struct ketama_ring){0};
    int status = prepare(&layout, &work, ring, failure);
    if (status == KETAMA_OK && !make_room(&layout, &work, ring))
        status = KETAMA_ENOMEM;
    if (status == KETAMA_OK) {
        layout.profile->order(work.names, servers->count, work.order);
        layout.profile->generate(&layout, work.points);
        scatter(&layout, &work.buckets, work.points, ring->point_count,
                ring->arcs.words);
        if (!fill(ring, &layout, &work))
            status = KETAMA_ENOMEM;
    }
    free_scratch(&work);
    if (status != KETAMA_OK)
        ketama_ring_free(ring);
    return status;
}

void ketama_ring_free(struct ketama_ring *ring)
{
    free(ring->arcs.words);
    free(ring->arcs.index);
    free(ring->points_of);
    free(ring->shares_of);
    *ring = (struct ketama_ring){0};
}

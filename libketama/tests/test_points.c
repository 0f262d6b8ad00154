/*
 * test_points.c - the number of points per server, and their order
 */
#include "check.h"

#include <stdlib.h>

static uint64_t labels_of(uint64_t weight, uint64_t total_weight, uint32_t servers)
{
    const struct ketama_server_list list = {.count = servers,
                                            .total_weight = total_weight};
    const struct ketama_layout layout = {.servers = &list};
    return ketama_count_ratio_a(&layout, weight);
}

static uint64_t points_each(uint32_t servers)
{
    return 4 * labels_of(600, 600 * (uint64_t)servers, servers);
}

static void rounding_decides_the_number_of_points(void)
{
    static const uint32_t bitten[] = {61, 122, 237, 244, 474, 488, 933};
    for (size_t i = 0; i < sizeof bitten / sizeof *bitten; i++)
        CHECK_INT(156, points_each(bitten[i]));
    CHECK_INT(160, points_each(1));
    CHECK_INT(160, points_each(60));
    CHECK_INT(160, points_each(1000));
    CHECK_INT(0, labels_of(1, 150001, 3));
}

/* Each of these numbers changes if one of the roundings is omitted, or done twice, as by
 * a conversion through double. */
static void each_rounding_counts(void)
{
    static const struct {
        uint64_t weight, total;
        uint32_t servers, digests;
    } answers[] = {
        {600, 15000, 25, 40},
        {2137322687, 10686613435, 5, 39},
        {18014403878191105, 18014403878191105, 1, 40},
        {21589687126720511, 21589687126720511, 1, 40},
        {INT64_MAX, UINT64_MAX - 1, 2, 40},
    };
    for (size_t i = 0; i < sizeof answers / sizeof *answers; i++)
        CHECK_INT(answers[i].digests,
                  labels_of(answers[i].weight, answers[i].total, answers[i].servers));
}

static struct ketama_ring made(const struct ketama_dialect *dialect,
                               const char *const *addresses, uint32_t count)
{
    struct ketama_listed listed[16];
    struct ketama_server_list servers = {
        .at = listed, .count = count, .total_weight = count};
    struct ketama_ring points;
    ketama_failure failure;

    for (uint32_t i = 0; i < count; i++)
        listed[i] =
            (struct ketama_listed){.address = addresses[i],
                                   .address_bytes = (uint32_t)strlen(addresses[i]),
                                   .weight = 1,
                                   .line = i + 1};
    CHECK_INT(KETAMA_OK, ketama_ring_make(dialect, &servers, &points, &failure));
    return points;
}

static void equal_points_keep_the_order_of_the_file(void)
{
    static const char *const addresses[] = {"b:1", "a:1", "b:1", "a:1"};
    struct ketama_ring points = made(&ketama_libketama, addresses, 4);
    struct ketama_packed arcs = arcs_of(&points);
    uint32_t end = 0;

    CHECK_INT(640, arcs.count);
    for (uint32_t i = 0; i < arcs.count; i += 2) {
        ketama_arc one = ketama_arc_at(&arcs, i), other = ketama_arc_at(&arcs, i + 1);
        CHECK(one.end == other.end);
        CHECK_INT(one.server + 2, other.server);
        CHECK(end < one.end);
        end = one.end;
    }
    ketama_ring_free(&points);
}

/* The stages work with any row of the table of profiles. */
static uint64_t two_labels(const struct ketama_layout *layout, uint64_t weight)
{
    return layout->servers->total_weight >= weight ? 2 : 0;
}

static uint64_t no_label(const struct ketama_layout *layout, uint64_t weight)
{
    return two_labels(layout, weight) - 2;
}

static int first_letter(const struct ketama_dialect *dialect,
                        const struct ketama_listed *server, char to[KETAMA_NAME_MAX],
                        struct ketama_text *name, ketama_failure *failure)
{
    (void)dialect;
    (void)failure;
    to[0] = server->address[0];
    *name = (struct ketama_text){to, 1};
    return KETAMA_OK;
}

/* "x+1": two bytes of the text are a label's only point. */
static void text_itself(const struct ketama_layout *layout, const ketama_key *labels,
                        size_t count, uint32_t *points)
{
    (void)layout;
    for (size_t i = 0; i < count; i++) {
        const char *label = labels[i].bytes;
        points[i] = labels[i].len == 3 && label[1] == '+'
                        ? (uint32_t)(label[0] << 8 | label[2])
                        : 0;
    }
}

static void another_profile(void)
{
    static const char *const addresses[] = {"xa", "xb", "a"};
    static const ketama_arc expected[] = {{0x6130, 2}, {0x6131, 2}, {0x7830, 1},
                                          {0x7830, 0}, {0x7831, 1}, {0x7831, 0}};
    const struct ketama_profile profile = {.id = 99,
                                           .points_per_label = 1,
                                           .count_labels = two_labels,
                                           .joint = '+',
                                           .hash_labels = text_itself,
                                           .generate = ketama_generate_labels,
                                           .order = ketama_order_reversed};
    const struct ketama_dialect dialect = {.profile = &profile,
                                           .name_rule = first_letter};
    struct ketama_ring points = made(&dialect, addresses, 3);
    struct ketama_packed arcs = arcs_of(&points);
    uint32_t bucket = 0;

    CHECK_INT(6, arcs.count);
    for (uint32_t i = 0; i < arcs.count; i++) {
        ketama_arc arc = ketama_arc_from(&arcs, i, &bucket);
        CHECK_INT(expected[i].end, arc.end);
        CHECK_INT(expected[i].server, arc.server);
        CHECK_INT(expected[i].end, ketama_arc_at(&arcs, i).end);
    }
    ketama_ring_free(&points);
}

static void no_server_gets_a_point(void)
{
    struct ketama_profile profile = ketama_profile_libketama;
    const struct ketama_dialect dialect = {.profile = &profile,
                                           .name_rule = ketama_name_as_listed};
    struct ketama_listed listed = LISTED("a", 1, 1);
    struct ketama_server_list servers = {.at = &listed, .count = 1, .total_weight = 1};
    struct ketama_ring points;
    ketama_failure failure;

    profile.count_labels = no_label;
    CHECK_INT(KETAMA_ENOSERVERS,
              ketama_ring_make(&dialect, &servers, &points, &failure));
    CHECK_TEXT("no server gets a point", failure.reason);
    profile.count_labels = two_labels;
    profile.points_per_label = 1u << 31;
    CHECK_INT(KETAMA_ETOOMANY, ketama_ring_make(&dialect, &servers, &points, &failure));
    CHECK_TEXT("too many points: at most 2147483645", failure.reason);
#if SIZE_MAX == UINT32_MAX
    /* Their arcs would take more than a size_t can say. */
    profile.points_per_label = 1u << 28;
    CHECK_INT(KETAMA_ENOMEM, ketama_ring_make(&dialect, &servers, &points, &failure));
#endif
}

/* Servers whose points are what a test wants: each is the weight, less 1. */
static uint64_t one_label(const struct ketama_layout *layout, uint64_t weight)
{
    return weight <= layout->servers->total_weight;
}

static void weights_as_points(const struct ketama_layout *layout, uint32_t *out)
{
    for (uint32_t i = 0; i < layout->servers->count; i++) {
        const struct ketama_text *name = layout->order[i];
        out[i] = (uint32_t)(layout->servers->at[name - layout->names].weight - 1);
    }
}

static int ascending(const void *a, const void *b)
{
    const ketama_arc *left = a, *right = b;
    if (left->end != right->end)
        return left->end < right->end ? -1 : 1;
    return (left->server > right->server) - (left->server < right->server);
}

/* However points are spread: evenly, in a few places, in one, by their low bits alone.
 */
static void sorted_as_qsort_would(void)
{
    enum { SERVERS = 5000, SPREADS = 6 };
    static const uint32_t keep[SPREADS] = {UINT32_MAX, 0x80000fff, 7,
                                           0,          0xf000000f, 0x00ff0000};
    static const struct ketama_profile profile = {.points_per_label = 1,
                                                  .count_labels = one_label,
                                                  .generate = weights_as_points,
                                                  .order = ketama_order_as_listed};
    const struct ketama_dialect dialect = {.profile = &profile,
                                           .name_rule = ketama_name_as_listed};
    static struct ketama_listed listed[SERVERS];
    static ketama_arc sorted[SERVERS];
    struct ketama_server_list servers = {.at = listed, .total_weight = UINT64_MAX};
    uint32_t random = 1;

    for (int spread = 0; spread < SPREADS; spread++)
        for (uint32_t count = 1; count <= SERVERS; count += count / 2 + 1) {
            struct ketama_ring ring;
            ketama_failure failure;
            servers.count = count;
            for (uint32_t i = 0; i < count; i++) {
                random = random * 1664525 + 1013904223;
                sorted[i] = (ketama_arc){(random ^ random >> 15) & keep[spread], i};
                listed[i] = (struct ketama_listed)LISTED("a", 0, 1);
                listed[i].weight = sorted[i].end + UINT64_C(1);
            }
            qsort(sorted, count, sizeof *sorted, ascending);
            CHECK_INT(KETAMA_OK, ketama_ring_make(&dialect, &servers, &ring, &failure));
            struct ketama_packed arcs = arcs_of(&ring);
            uint32_t bucket = 0, differ = 0;
            uint64_t shares = 0;
            for (uint32_t i = 0; i < count; i++) {
                ketama_arc arc = ketama_arc_from(&arcs, i, &bucket);
                differ += arc.end != sorted[i].end || arc.server != sorted[i].server;
                shares += ring.shares_of[i];
            }
            CHECK_INT(0, differ);
            CHECK_INT(UINT64_C(1) << 32, shares);
            ketama_ring_free(&ring);
        }
}

void run_points(void)
{
    RUN(rounding_decides_the_number_of_points);
    RUN(each_rounding_counts);
    RUN(equal_points_keep_the_order_of_the_file);
    RUN(another_profile);
    RUN(no_server_gets_a_point);
    RUN(sorted_as_qsort_would);
}

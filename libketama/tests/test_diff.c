/*
 * test_diff.c - the exact differences of two continua
 */
#include "check.h"

#include "../admin/admin.h"

#include <stdlib.h>

enum { SERVERS_MAX = 64 };

/* `count` servers, with addresses names[i] and weights weights[i]. */
static ketama_continuum opened(const char *const names[], const uint64_t weights[],
                               size_t count)
{
    ketama_server servers[SERVERS_MAX] = {{0}};
    ketama_continuum c;
    for (size_t i = 0; i < count; i++)
        servers[i] = (ketama_server){.address = names[i], .weight = weights[i]};
    CHECK_INT(KETAMA_OK, ketama_open_servers(&c, servers, count, NULL));
    return c;
}

static const char *address(ketama_continuum c, uint32_t index)
{
    ketama_server server;
    CHECK_INT(KETAMA_OK, ketama_server_at(c, index, &server));
    return server.address;
}

/* The rule: looks up each hash that starts or ends an arc of either ring. All hashes
 * between two of them have the server of the later one. */
static uint64_t moved_by_the_rule(ketama_continuum a, ketama_continuum b, uint32_t from,
                                  uint32_t to)
{
    uint32_t count = ketama_count_points(a) + ketama_count_points(b);
    ketama_point *points = calloc(count, sizeof *points);
    uint64_t begin = 0, moved = 0;
    ketama_points(a, 0, UINT32_MAX, points);
    ketama_points(b, 0, UINT32_MAX, points + ketama_count_points(a));

    while (begin <= UINT32_MAX) {
        uint32_t end = UINT32_MAX;
        for (uint32_t i = 0; i < count; i++)
            if (points[i].point >= begin && points[i].point < end)
                end = points[i].point;
        uint32_t was = ketama_find_hash(a, end, NULL),
                 is = ketama_find_hash(b, end, NULL);
        if (was == from && is == to && strcmp(address(a, was), address(b, is)) != 0)
            moved += end - begin + 1;
        begin = (uint64_t)end + 1;
    }
    free(points);
    return moved;
}

static void each_pair_follows_the_rule(void)
{
    static const char *const before[] = {"a:1", "b:1", "c:1", "b:1"};
    static const char *const after[] = {"c:1", "a:1", "d:1"};
    static const uint64_t old[] = {3, 1, 2, 2}, new[] = {2, 3, 2};
    ketama_continuum a = opened(before, old, 4), b = opened(after, new, 3);
    ketama_move *moves;
    size_t count, met = 0;

    CHECK_INT(KETAMA_OK, ketama_diff(a, b, &moves, &count));
    for (uint32_t from = 0; from < 4; from++)
        for (uint32_t to = 0; to < 3; to++) {
            uint64_t right = moved_by_the_rule(a, b, from, to);
            if (right == 0)
                continue;
            CHECK(met < count);
            CHECK_INT(from, moves[met].from);
            CHECK_INT(to, moves[met].to);
            CHECK_INT(right, moves[met].share);
            met++;
        }
    CHECK_INT(met, count);
    CHECK(count > 6);
    free(moves);
    ketama_close(a);
    ketama_close(b);
}

static void equal_addresses_move_nothing(void)
{
    static const char *const names[] = {"a:1", "b:1", "a:1"};
    static const uint64_t weights[] = {1, 2, 1};
    ketama_continuum a = opened(names, weights, 3), one = opened(names, weights, 1);
    ketama_move *moves = &(ketama_move){0};
    size_t count = 1;

    CHECK_INT(KETAMA_OK, ketama_diff(a, a, &moves, &count));
    CHECK(moves == NULL);
    CHECK_INT(0, count);
    CHECK_INT(KETAMA_OK, ketama_diff(one, one, &moves, &count));
    CHECK_INT(0, count);
    /* Both "a:1" count as the same; the keys of b:1 move. */
    CHECK_INT(KETAMA_OK, ketama_diff(a, one, &moves, &count));
    CHECK_INT(1, count);
    if (count == 1) {
        ketama_server b;
        CHECK_INT(KETAMA_OK, ketama_server_at(a, 1, &b));
        CHECK_INT(1, moves[0].from);
        CHECK_INT(b.share, moves[0].share);
    }
    free(moves);
    ketama_close(a);
    ketama_close(one);
}

/* Whether servers are the same: named ones by name, wherever they are. */
static uint64_t moved_between(const char *old_text, const char *new_text,
                              const char *profile)
{
    const ketama_options options = {.size = sizeof options, .profile = profile};
    ketama_continuum a, b;
    ketama_move *moves;
    uint64_t moved = 0;
    size_t count;

    CHECK_INT(KETAMA_OK, ketama_open_text(&a, old_text, strlen(old_text), &options));
    CHECK_INT(KETAMA_OK, ketama_open_text(&b, new_text, strlen(new_text), &options));
    CHECK_INT(KETAMA_OK, ketama_diff(a, b, &moves, &count));
    for (size_t i = 0; i < count; i++)
        moved += moves[i].share;
    free(moves);
    ketama_close(a);
    ketama_close(b);
    return moved;
}

static void a_readdressed_server_keeps_its_keys(void)
{
    static const uint64_t all = UINT64_C(1) << 32;
    const char *two = "a:1 1 n\nb:1 1 m\n";

    CHECK_INT(0, moved_between(two, "c:1 1 n\nb:1 1 m\n", NULL));
    CHECK_INT(0, moved_between(two, "b:1 1 n\na:1 1 m\n", NULL)); /* they swap */
    CHECK_INT(0, moved_between("a:1 1\nb:1 1\n", "c:1 1 a:1\nb:1 1\n", NULL));
    CHECK_INT(0, moved_between("c:1 1 a:1\nb:1 1\n", "a:1 1\nb:1 1\n", NULL));
    /* The text that is hashed is the dialect's. */
    CHECK_INT(0, moved_between("a:11211 1\n", "c:1 1 a\n", "libmemcached"));
    CHECK_INT(all, moved_between("a:11211 1\n", "c:1 1 a\n", NULL));
    CHECK_INT(all, moved_between("a:1 1 n\n", "b:1 1 m\n", NULL));
    /* Another server at its old address gets those keys that are moved to it. */
    CHECK_INT(all, moved_between("a:1 1 n\nx:1 1000\n", "x:1 1 n\na:1 1000 m\n", NULL));
    /* With another name, but at its address, it is the same server. */
    CHECK_INT(0, moved_between("a:1 1 n\n", "a:1 1 m\n", NULL));
    /* Without names, servers that are hashed alike are told apart by their addresses. */
    CHECK_INT(all, moved_between("a:1 1\na:2 1\n", "a:1 1\n", "evcache"));
}

static void same_servers_are_numbered(void)
{
    const char *before = "a:1 1 n\nb:1 2\nc:1 3\na:1 1\n";
    const char *after = "b:1 1 n\na:1 2\nd:1 3\n";
    uint32_t old[4], new[3];
    ketama_continuum a, b;

    CHECK_INT(KETAMA_OK, ketama_open_text(&a, before, strlen(before), NULL));
    CHECK_INT(KETAMA_OK, ketama_open_text(&b, after, strlen(after), NULL));
    CHECK_INT(KETAMA_OK, ketama_same_servers(a, b, old, new));
    CHECK_INT(old[0], new[0]); /* n, from a:1 to b:1 */
    CHECK_INT(old[3], new[1]); /* a:1 */
    for (int i = 0; i < 4; i++) {
        CHECK(old[i] != new[2]);           /* d:1 is new, */
        CHECK(i == 1 || old[i] != old[1]); /* b:1 and c:1 are gone */
        CHECK(i == 2 || old[i] != old[2]);
    }
    for (int i = 0; i < 3; i++)
        CHECK(new[i] != old[1] && new[i] != old[2]);
    ketama_close(a);
    ketama_close(b);
}

static void hashed_names_are_the_dialects(void)
{
    const char *text = "10.0.0.1:11211 1\n10.0.0.2:11212 1\n[::1]:11211 1\nx:1 1 n\n";
    const ketama_options options = {.size = sizeof options, .profile = "libmemcached"};
    static const char *const expected[] = {"10.0.0.1", "10.0.0.2:11212", "::1", "n"};
    ketama_continuum c;
    char name[KETAMA_NAME_MAX + 1];

    CHECK_INT(KETAMA_OK, ketama_open_text(&c, text, strlen(text), &options));
    for (uint32_t i = 0; i < 4; i++) {
        int bytes = ketama_hashed_name(c, i, name, sizeof name);
        CHECK_INT(strlen(expected[i]), bytes);
        name[bytes < 0 ? 0 : bytes] = '\0';
        CHECK_TEXT(expected[i], name);
    }
    name[4] = 'x';
    CHECK_INT(strlen(expected[1]), ketama_hashed_name(c, 1, name, 4)); /* cut */
    CHECK_INT('x', name[4]);
    CHECK_INT(KETAMA_ERANGE, ketama_hashed_name(c, 4, name, sizeof name));
    ketama_close(c);
}

static void everything_may_move(void)
{
    static const char *const names[] = {"a:1", "b:1"};
    static const uint64_t weights[] = {1, 1};
    ketama_continuum a = opened(names, weights, 1), b = opened(names + 1, weights, 1);
    ketama_move *moves;
    size_t count;

    CHECK_INT(KETAMA_OK, ketama_diff(a, b, &moves, &count));
    CHECK_INT(1, count);
    CHECK(count == 1 && moves[0].share == UINT64_C(1) << 32);
    free(moves);
    ketama_close(a);
    ketama_close(b);
}

/* More arcs and pairs than the initial capacity: growing loses none of the sums. */
static void many_servers_lose_nothing(void)
{
    enum { MANY = 600 };
    ketama_server *servers = calloc(MANY, sizeof *servers);
    char (*names)[16] = calloc(MANY, sizeof *names);
    ketama_continuum a, b;
    ketama_move *moves;
    size_t count;
    uint64_t moved = 0, gained = 0;

    for (uint32_t i = 0; i < MANY; i++) {
        snprintf(names[i], sizeof names[i], "s%lu", (unsigned long)i);
        servers[i] = (ketama_server){.address = names[i], .weight = 1 + i % 7};
    }
    CHECK_INT(KETAMA_OK, ketama_open_servers(&a, servers, MANY / 2, NULL));
    CHECK_INT(KETAMA_OK, ketama_open_servers(&b, servers + MANY / 2, MANY / 2, NULL));
    CHECK_INT(KETAMA_OK, ketama_diff(a, b, &moves, &count));
    for (size_t i = 0; i < count; i++) {
        moved += moves[i].share;
        gained += moves[i].to == 17 ? moves[i].share : 0;
        if (i > 0)
            CHECK(moves[i - 1].from < moves[i].from ||
                  (moves[i - 1].from == moves[i].from && moves[i - 1].to < moves[i].to));
    }
    CHECK_INT(UINT64_C(1) << 32, moved);
    CHECK(count > 8192);
    ketama_server server;
    CHECK_INT(KETAMA_OK, ketama_server_at(b, 17, &server));
    CHECK_INT(server.share, gained);
    free(moves);
    ketama_close(a);
    ketama_close(b);
    free(servers);
    free(names);
}

static void without_memory_nothing_is_left(void)
{
    static const char *const names[] = {"a:1", "b:1"};
    static const uint64_t weights[] = {1, 1};
    ketama_continuum a = opened(names, weights, 2), b = opened(names + 1, weights, 1);
    ketama_move *moves;
    size_t count;
    int out_of_memory = 0;

    for (int fails = 1;; fails++) {
        fail_allocation(fails);
        int status = ketama_diff(a, b, &moves, &count);
        bool failed = allocation_failed();
        fail_allocation(0);
        if (status == KETAMA_OK) { /* qsort(3) may need no memory */
            CHECK_INT(1, count);
            free(moves);
        } else {
            CHECK_INT(KETAMA_ENOMEM, status);
            CHECK(failed && moves == NULL && count == 0);
            out_of_memory++;
        }
        if (!failed)
            break;
    }
    CHECK_INT(10, out_of_memory);
    ketama_close(a);
    ketama_close(b);
}

/* Points of a damaged image: unsorted, with servers that do not exist. */
static void damaged_points_are_harmless(void)
{
    static const char *const names[] = {"a:1", "b:1", "c:1"};
    static const uint64_t weights[] = {1, 1, 1};
    ketama_continuum a = opened(names, weights, 3), b = opened(names, weights, 2);
    static const ketama_arc damaged[] = {{7, 3}, {9, 3}, {3, 1}, {8000, 2}, {4, 0}};
    static const uint32_t wild[] = {0, UINT32_MAX, 2, 5, 4};
    const struct ketama_packed kept = a->view.arcs;
    ketama_move *moves;
    size_t count;
    uint64_t moved = 0;

    a->view.arcs = packed(damaged, 5, 4, 30);
    a->view.arcs.index = against_the_edge(wild, sizeof wild);
    CHECK_INT(KETAMA_OK, ketama_diff(a, b, &moves, &count));
    for (size_t i = 0; i < count; i++) {
        CHECK(moves[i].from < 3 && moves[i].to < 2);
        moved += moves[i].share;
    }
    CHECK(moved <= UINT64_C(1) << 32);
    free(moves);
    a->view.arcs = kept;
    ketama_close(a);
    ketama_close(b);
}

/* If there is a point at 2^32 - 2, the last hash is an arc of its own. */
static void the_ring_wraps_around(void)
{
    static const char *const names[] = {"a:1", "b:1"};
    static const uint64_t weights[] = {1, 1};
    ketama_continuum a = opened(names, weights, 2), b = opened(names, weights, 1);
    static const ketama_arc two[] = {{UINT32_MAX - 1, 0}, {UINT32_MAX, 1}},
                            one[] = {{UINT32_MAX, 0}};
    struct ketama_view kept[] = {a->view, b->view};
    ketama_move *moves;
    size_t count;

    a->view.arcs = packed(two, 2, 2, 31);
    b->view.arcs = packed(one, 1, 1, 31);
    CHECK_INT(KETAMA_OK, ketama_diff(a, b, &moves, &count));
    CHECK(count == 1 && moves[0].from == 1 && moves[0].to == 0 && moves[0].share == 1);
    free(moves);
    a->view = kept[0];
    b->view = kept[1];
    ketama_close(a);
    ketama_close(b);
}

void run_diff(void)
{
    RUN(each_pair_follows_the_rule);
    RUN(equal_addresses_move_nothing);
    RUN(a_readdressed_server_keeps_its_keys);
    RUN(same_servers_are_numbered);
    RUN(hashed_names_are_the_dialects);
    RUN(everything_may_move);
    RUN(the_ring_wraps_around);
    RUN(many_servers_lose_nothing);
    RUN(without_memory_nothing_is_left);
    RUN(damaged_points_are_harmless);
}

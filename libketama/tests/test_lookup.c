/*
 * test_lookup.c - image and lookup: key -> point -> server
 */
#include "check.h"

#include <stdlib.h>

static ketama_continuum opened(const ketama_server *servers, size_t count)
{
    ketama_continuum c;
    CHECK_INT(KETAMA_OK, ketama_open_servers(&c, servers, count, NULL));
    return c;
}

/* `count` servers "s<i>" with weights 1, 2 ... `heaviest`, 1 ... */
static ketama_continuum many(uint32_t count, uint32_t heaviest)
{
    ketama_server *servers = calloc(count, sizeof *servers);
    char (*names)[16] = calloc(count, sizeof *names);
    for (uint32_t i = 0; i < count; i++) {
        snprintf(names[i], sizeof names[i], "s%lu", (unsigned long)i);
        servers[i] = (ketama_server){.address = names[i], .weight = i % heaviest + 1};
    }
    ketama_continuum c = opened(servers, count);
    free(servers);
    free(names);
    return c;
}

static void two_servers_of_the_2007_library(void)
{
    static const ketama_server servers[] = {SERVER("127.0.0.1:11211", 600),
                                            SERVER("127.0.0.1:11212", 400)};
    ketama_continuum c = opened(servers, 2);
    ketama_server server;
    uint32_t point;

    CHECK_INT(320, ketama_count_points(c));
    CHECK_INT(2, ketama_count_servers(c));
    CHECK_INT(1, ketama_generation(c));
    CHECK_INT(0, ketama_find(c, "test", 4, &point));
    CHECK_INT(3454255383, point);
    CHECK_INT(0, ketama_find(c, against_the_edge("test", 4), 4, NULL));
    CHECK_INT(ketama_find(c, "a\0b", 3, NULL),
              ketama_find_hash(c, ketama_hash("a\0b", 3), NULL));

    CHECK_INT(KETAMA_OK, ketama_server_at(c, 1, &server));
    CHECK_TEXT("127.0.0.1:11212", server.address);
    CHECK_INT(400, server.weight);
    CHECK_INT(128, server.points);
    CHECK_INT(KETAMA_ERANGE, ketama_server_at(c, 2, &server));
    CHECK_TEXT("no server 2: there are 2", ketama_error());
    ketama_close(c);
}

/* The rule, as a linear search over the points. */
static uint32_t first_at_or_after(const ketama_point *points, uint32_t count,
                                  uint32_t hash)
{
    for (uint32_t i = 0; i < count; i++)
        if (points[i].point >= hash)
            return i;
    return 0;
}

static void check_against_linear_search(ketama_continuum c)
{
    uint32_t count = ketama_count_points(c), point;
    ketama_point *points = calloc(count, sizeof *points);

    CHECK_INT(count, ketama_points(c, 0, UINT32_MAX, points));
    for (uint32_t i = 0; i < count; i += 1 + count / 500) {
        for (uint32_t step = 0; step < 3; step++) {
            uint32_t hash = points[i].point + step - 1;
            const ketama_point *right = &points[first_at_or_after(points, count, hash)];
            CHECK_INT(right->server, ketama_find_hash(c, hash, &point));
            CHECK_INT(right->point, point);
        }
    }
    CHECK_INT(points[0].server, ketama_find_hash(c, 0, &point));
    CHECK_INT(points[0].point, point);
    const ketama_point *last = &points[first_at_or_after(points, count, UINT32_MAX)];
    CHECK_INT(last->server, ketama_find_hash(c, UINT32_MAX, &point));
    CHECK_INT(last->point, point);
    free(points);
}

static void hashes_at_and_beside_every_point(void)
{
    static const uint32_t counts[] = {1, 2, 3, 7, 61, 1000};
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
        ketama_continuum c = many(counts[i], 5);
        check_against_linear_search(c);
        ketama_close(c);
    }
}

/* Each point exists a thousand times, so buckets are long. */
static void a_thousand_equal_addresses(void)
{
    static ketama_server servers[1000];
    for (int i = 0; i < 1000; i++)
        servers[i] = (ketama_server){.address = i % 2 ? "odd:1" : "even:1", .weight = 1};
    ketama_continuum c = opened(servers, 1000);
    check_against_linear_search(c);
    CHECK(ketama_find(c, "key", 3, NULL) <= 1);
    for (uint32_t i = 0; i < 1000; i++) { /* of equal points, only the first owns keys */
        ketama_server server;
        CHECK_INT(KETAMA_OK, ketama_server_at(c, i, &server));
        CHECK_INT(i <= 1, server.share > 0);
    }
    ketama_close(c);
}

static void shares_are_exact(void)
{
    ketama_continuum c = many(100, 7);
    uint32_t count = ketama_count_points(c);
    ketama_point *points = calloc(count, sizeof *points);
    uint64_t sum = 0, owned[100] = {0};

    ketama_points(c, 0, count, points);
    for (uint32_t i = 0; i < count; i++) /* wraps around for the first point */
        owned[points[i].server] +=
            (uint32_t)(points[i].point - points[(i + count - 1) % count].point);
    for (uint32_t i = 0; i < 100; i++) {
        ketama_server server;
        CHECK_INT(KETAMA_OK, ketama_server_at(c, i, &server));
        CHECK_INT(owned[i], server.share);
        sum += server.share;
    }
    CHECK_INT(UINT64_C(1) << 32, sum);
    free(points);
    ketama_close(c);
}

static void points_are_copied_in_pieces(void)
{
    ketama_continuum c = many(3, 1);
    ketama_point all[480], piece[7];
    CHECK_INT(480, ketama_points(c, 0, 480, all));
    CHECK_INT(7, ketama_points(c, 470, 7, piece));
    CHECK(memcmp(all + 470, piece, sizeof piece) == 0);
    CHECK_INT(3, ketama_points(c, 477, 7, piece));
    CHECK_INT(0, ketama_points(c, 480, 7, piece));
    CHECK_INT(0, ketama_points(c, UINT32_MAX, UINT32_MAX, piece));
    CHECK_INT(0, ketama_points(c, 0, 0, NULL));
    ketama_close(c);
}

static void sixty_five_thousand_servers(void)
{
    ketama_continuum c = many(65535, 3);
    ketama_server server;
    char key[16];
    CHECK_INT(65535, ketama_count_servers(c));
    for (int i = 0; i < 1000; i++) {
        snprintf(key, sizeof key, "%d", i);
        CHECK(ketama_find(c, key, strlen(key), NULL) < 65535);
    }
    CHECK_INT(KETAMA_OK, ketama_server_at(c, 65534, &server));
    CHECK_TEXT("s65534", server.address);
    ketama_close(c);
}

static void the_longest_address_is_returned_whole(void)
{
    char longest[256];
    memset(longest, 'x', 255);
    longest[255] = '\0';
    const ketama_server servers[] = {SERVER(longest, KETAMA_WEIGHT_MAX)};
    ketama_server server;

    ketama_continuum c = opened(servers, 1);
    CHECK_INT(KETAMA_OK, ketama_server_at(c, 0, &server));
    CHECK_TEXT(longest, server.address);
    CHECK_INT(160, server.points);
    CHECK_INT(UINT64_C(1) << 32, server.share);
    ketama_close(c);
}

/* Clustered points, for which the estimated position in a bucket is always wrong. */
static uint32_t first_arc(const ketama_arc *arcs, uint32_t count, uint32_t hash)
{
    for (uint32_t i = 0; i < count; i++)
        if (arcs[i].end >= hash)
            return i;
    return 0;
}

static void clustered_points(void)
{
    enum { POINTS = 3000, SHIFT = 30 };
    static ketama_arc points[POINTS];
    struct ketama_handle handle = {.dialect = ketama_libketama};

    for (uint32_t heap = 0; heap < 3; heap++) { /* start, end and middle of a bucket */
        static const uint32_t begin[] = {5, 0x7fff0000, 0xa0000000};
        for (uint32_t i = 0; i < POINTS / 3; i++) { /* some of them equal */
            uint32_t at = begin[heap] + (heap == 1 ? i : i / 3) * (2 + heap);
            points[heap * (POINTS / 3) + i] = (ketama_arc){at, heap};
        }
    }
    handle.view.arcs = packed(points, POINTS, 3, SHIFT);
    handle.view.server_count = 3;
    for (uint32_t i = 0; i < POINTS; i++)
        for (uint32_t step = 0; step < 3; step++) {
            uint32_t hash = points[i].end + step - 1, point;
            const ketama_arc *right = &points[first_arc(points, POINTS, hash)];
            CHECK_INT(right->server, ketama_find_hash(&handle, hash, &point));
            CHECK_INT(right->end, point);
        }
    for (uint64_t hash = 0; hash <= UINT32_MAX; hash += 0x12345) {
        uint32_t point;
        ketama_find_hash(&handle, (uint32_t)hash, &point);
        CHECK_INT(points[first_arc(points, POINTS, (uint32_t)hash)].end, point);
    }
}

/* Nothing outside an image is read, even if its indexes are arbitrary. */
static void wild_indexes_are_clamped(void)
{
    static const ketama_arc points[] = {{10, 0}, {20, 2}, {UINT32_MAX - 1, 1}};
    static uint32_t lies[500 + KETAMA_SLACK]; /* unsorted */
    static const uint32_t wild[][5] = {{0, 0, 0},
                                       {UINT32_MAX, UINT32_MAX, UINT32_MAX},
                                       {3, 1, 0},
                                       {UINT32_MAX, 0, 77},
                                       {0, 1000000, 2}};
    struct ketama_handle handle = {.dialect = ketama_libketama};
    uint32_t point;

    handle.view.arcs = packed(points, 3, 3, 30);
    handle.view.server_count = 2;
    for (size_t i = 0; i < sizeof wild / sizeof *wild; i++) {
        handle.view.arcs.index = against_the_edge(wild[i], sizeof wild[i]);
        for (uint64_t hash = 0; hash <= UINT32_MAX; hash += 0x1fffffff)
            CHECK(ketama_find_hash(&handle, (uint32_t)hash, &point) < 2);
    }

    uint32_t *index = calloc(17, sizeof *index), random = 1;
    for (size_t i = 0; i < sizeof lies / sizeof *lies; i++)
        lies[i] = random = random * 1664525 + 1013904223;
    handle.view.arcs = (struct ketama_packed){
        against_the_edge(lies, sizeof lies), index, 500, 2, 3, 28};
    for (int round = 0; round < 1000; round++) {
        uint32_t servers[3];
        char key[16];
        snprintf(key, sizeof key, "%d", round);
        for (size_t i = 0; i < 17; i++)
            index[i] = (random = random * 1664525 + 1013904223) >> (round % 32);
        for (uint64_t hash = 0; hash <= UINT32_MAX; hash += 0x3ffffff)
            CHECK(ketama_find_hash(&handle, (uint32_t)hash, &point) < 2);
        CHECK(ketama_successors(&handle, key, strlen(key), servers, 3) <= 2);
    }
    free(index);
}

/* For each number of keys, with and without points, on rings of several sizes. */
static void many_keys_are_found_like_single_keys(void)
{
    enum { KEYS = 700 };
    static const uint32_t counts[] = {1, 8, 100, 1000};
    static char text[KEYS][64];
    static ketama_key keys[KEYS];
    static uint32_t servers[KEYS + 1], points[KEYS + 1];

    for (uint32_t i = 0; i < KEYS; i++) {
        int len =
            snprintf(text[i], sizeof text[i], "%*lu", (int)(i % 60), (unsigned long)i);
        keys[i] = (ketama_key){text[i], (size_t)len};
    }
    keys[5] = (ketama_key){NULL, 0};
    for (size_t n = 0; n < sizeof counts / sizeof *counts; n++) {
        ketama_continuum c = many(counts[n], 5);
        for (size_t count = 0; count <= KEYS; count += count < 40 ? 1 : 55) {
            servers[count] = points[count] = 12345;
            ketama_find_many(c, keys, count, servers, count % 2 ? points : NULL);
            for (size_t i = 0; i < count; i++) {
                uint32_t point;
                CHECK_INT(ketama_find(c, keys[i].bytes, keys[i].len, &point),
                          servers[i]);
                CHECK(count % 2 == 0 || point == points[i]);
            }
            CHECK_INT(12345, servers[count]);
            CHECK_INT(12345, points[count]);
        }
        ketama_close(c);
    }
}

/* Walks the points along the ring; returns the number of servers found. */
static uint32_t walk(ketama_continuum c, const char *key, uint32_t *servers)
{
    uint32_t count = ketama_count_points(c), found = 0;
    ketama_point *points = calloc(count, sizeof *points);
    ketama_points(c, 0, count, points);
    uint32_t at = first_at_or_after(points, count, ketama_hash(key, strlen(key)));
    for (uint32_t i = 0; i < count; i++) {
        uint32_t server = points[(at + i) % count].server, before = 0;
        while (before < found && servers[before] != server)
            before++;
        if (before == found)
            servers[found++] = server;
    }
    free(points);
    return found;
}

static void successors_are_in_ring_order(void)
{
    static const uint32_t counts[] = {1, 2, 3, 64, 65, 200};
    static uint32_t expected[200], actual[201];
    for (size_t n = 0; n < sizeof counts / sizeof *counts; n++) {
        ketama_continuum c = many(counts[n], 3);
        for (int k = 0; k < 20; k++) {
            char key[16];
            snprintf(key, sizeof key, "key%d", k);
            size_t len = strlen(key);
            uint32_t all = walk(c, key, expected);
            CHECK_INT(counts[n], all);
            CHECK_INT(ketama_find(c, key, len, NULL), expected[0]);
            for (uint32_t count = 0; count <= all; count += count < 5 ? 1 : 13) {
                actual[count] = 12345;
                CHECK_INT(count, ketama_successors(c, key, len, actual, count));
                CHECK(memcmp(expected, actual, count * sizeof *actual) == 0);
                CHECK_INT(12345, actual[count]);
            }
            CHECK_INT(all, ketama_successors(c, key, len, actual, UINT32_MAX));
            CHECK(memcmp(expected, actual, all * sizeof *actual) == 0);
        }
        ketama_close(c);
    }
}

static void a_server_without_points_is_no_successor(void)
{
    static const ketama_server servers[] = {SERVER("a:1", 1), SERVER("b:1", 100000),
                                            SERVER("c:1", 50000)};
    uint32_t found[3];
    ketama_continuum c = opened(servers, 3);
    CHECK_INT(2, ketama_successors(c, "key", 3, found, 3));
    CHECK(found[0] + found[1] == 3 && found[0] != found[1]);
    ketama_close(c);
}

/* Checks each key's answer, with some servers excluded, against its successors. */
static void expect_among(ketama_continuum c, const ketama_key *keys, uint32_t count,
                         const unsigned char *excluded)
{
    enum { MOST = 200 };
    static uint32_t order[MOST], left[MOST], servers[MOST], points[MOST];
    uint32_t all = ketama_count_servers(c), found, point;

    ketama_find_many_among(c, keys, count, excluded, servers, points);
    for (uint32_t i = 0; i < count; i++) {
        found = (uint32_t)ketama_successors(c, keys[i].bytes, keys[i].len, order, all);
        uint32_t expected = 0;
        for (uint32_t n = 0; n < found; n++)
            if (!excluded[order[n]])
                order[expected++] = order[n];
        CHECK_INT(expected, ketama_successors_among(c, keys[i].bytes, keys[i].len,
                                                    excluded, left, all));
        CHECK(memcmp(order, left, expected * sizeof *left) == 0);
        CHECK_INT(expected > 0 ? order[0] : KETAMA_NO_SERVER,
                  ketama_find_among(c, keys[i].bytes, keys[i].len, excluded, &point));
        CHECK_INT(expected > 0 ? order[0] : KETAMA_NO_SERVER, servers[i]);
        CHECK_INT(point, points[i]);
        CHECK(expected > 0 || point == 0);
    }
}

static void some_servers_are_excluded(void)
{
    enum { KEYS = 200, SERVERS = 150 };
    static const uint32_t counts[] = {1, 2, 5, SERVERS};
    static char text[KEYS][16];
    static ketama_key keys[KEYS];
    uint32_t random = 1;

    for (uint32_t i = 0; i < KEYS; i++)
        keys[i] = (ketama_key){text[i], (size_t)snprintf(text[i], sizeof text[i],
                                                         "key%lu", (unsigned long)i)};
    for (size_t n = 0; n < sizeof counts / sizeof *counts; n++) {
        unsigned char excluded[SERVERS] = {0};
        ketama_continuum c = many(counts[n], 3);
        expect_among(c, keys, KEYS, excluded);
        for (uint32_t i = 0; i < counts[n]; i++)
            excluded[i] = (random = random * 1664525 + 1013904223) >> 30 != 0 ? 255 : 0;
        expect_among(c, keys, KEYS, excluded);
        memset(excluded, 1, sizeof excluded);
        expect_among(c, keys, KEYS, excluded);
        excluded[counts[n] - 1] = 0;
        expect_among(c, keys, KEYS, excluded);
        ketama_close(c);
    }
}

/* The point that is reported is one of the server's that answers. */
static void the_point_of_an_excluded_servers_key(void)
{
    static const unsigned char excluded[] = {0, 1};
    static const ketama_server servers[] = {SERVER("a:1", 1), SERVER("b:1", 1)};
    ketama_continuum c = opened(servers, 2);
    uint32_t count = ketama_count_points(c), point;
    ketama_point *points = calloc(count, sizeof *points);
    ketama_points(c, 0, count, points);

    for (char key[] = "a"; key[0] <= 'z'; key[0]++) {
        CHECK_INT(0, ketama_find_among(c, key, 1, excluded, &point));
        uint32_t at = first_at_or_after(points, count, ketama_hash(key, 1));
        while (points[at].server != 0)
            at = (at + 1) % count;
        CHECK_INT(points[at].point, point);
    }
    free(points);
    ketama_close(c);
}

static void successors_without_memory(void)
{
    uint32_t found[100];
    ketama_continuum c = many(100, 1);
    fail_allocation(1);
    CHECK_INT(KETAMA_ENOMEM, ketama_successors(c, "key", 3, found, 65));
    CHECK(allocation_failed());
    CHECK_TEXT("out of memory", ketama_error());
    fail_allocation(1);
    CHECK_INT(64, ketama_successors(c, "key", 3, found, 64)); /* allocates nothing */
    CHECK(!allocation_failed());
    fail_allocation(0);
    ketama_close(c);
}

void run_lookup(void)
{
    RUN(two_servers_of_the_2007_library);
    RUN(hashes_at_and_beside_every_point);
    RUN(a_thousand_equal_addresses);
    RUN(shares_are_exact);
    RUN(points_are_copied_in_pieces);
    RUN(sixty_five_thousand_servers);
    RUN(the_longest_address_is_returned_whole);
    RUN(clustered_points);
    RUN(wild_indexes_are_clamped);
    RUN(many_keys_are_found_like_single_keys);
    RUN(successors_are_in_ring_order);
    RUN(a_server_without_points_is_no_successor);
    RUN(some_servers_are_excluded);
    RUN(the_point_of_an_excluded_servers_key);
    RUN(successors_without_memory);
}

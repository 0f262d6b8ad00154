/*
 * test_buckets.c - bucket maps: reading them, and what is wrong with them
 */
#include "check.h"

#include <stdlib.h>

#include "../admin/dialects.h"
#include "../ketama_compat.h"

static uint64_t state = 88172645463325252u;

static uint32_t chance(uint32_t below)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (uint32_t)(state >> 32) % below;
}

/* The reason why a text is no map, with its line; "" if it is one. */
static const char *refused(const char *text, size_t size)
{
    static char said[600];
    ketama_continuum c;
    int status = ketama_open_text(&c, against_the_edge(text, size), size, NULL);
    said[0] = '\0';
    if (status != KETAMA_OK)
        snprintf(said, sizeof said, "%d at %llu: %s", status,
                 (unsigned long long)ketama_last_failure()->line,
                 ketama_last_failure()->reason);
    ketama_close(c);
    return said;
}

#define REFUSED(expected, text) CHECK_TEXT(expected, refused(text, sizeof(text) - 1))
#define MAP                     "#ketama profile=buckets buckets=8\n"

static void valid_maps(void)
{
    REFUSED("", MAP "a 1 0-7\n");
    REFUSED("", MAP "a 1 0-3,5\nb 1 name 4,6-7 # comment\n");
    REFUSED("", MAP "a 1 7,6,5,4-4,3,2-2,1,0\r\nb 1 -\nc 1 named -");
    REFUSED("", MAP "a 1 00,1,002-7\n");
    REFUSED("", "#ketama profile=buckets buckets=1\na 1 -\nb 1 0\n");
    REFUSED("", "#ketama domain=shop version=7 profile=buckets buckets=2 "
                "sha256=0123456789abcdef hash=xxh3 hash_tag={}\na 1 0-1\n");
}

static void invalid_columns(void)
{
    REFUSED("-16 at 2: no buckets after the weight of \"a\": write their numbers, such "
            "as 0-8191,16384, or - for none",
            MAP "a 1\n");
    REFUSED("-16 at 2: no buckets after the weight of \"a\": write their numbers, such "
            "as 0-8191,16384, or - for none",
            MAP "a 1 # 0-7\n");
    REFUSED("-16 at 2: unexpected \"x y # z\" after the buckets: begin a comment with #",
            MAP "a 1 name 0-7 x y # z\n");
    REFUSED("-16 at 2: blank after \"0-3,\": write buckets without blanks",
            MAP "a 1 0-3, 4-7\n");
    REFUSED("-21 at 3: duplicate name \"n\": names must be unique",
            MAP "a 1 n 0-3\nb 1 n 4-7\n");
    REFUSED("-17 at 3: address \"a\" is hashed like an earlier one: this profile takes "
            "each server once",
            MAP "a 1 0-3\na 1 4-7\n");
    REFUSED("-21 at 2: invalid name \"\\xff\": must be UTF-8", MAP "a 1 \xff 0-7\n");
    /* In files without a map, as ever; whatever line is wrong first is reported. */
    REFUSED("-16 at 1: unexpected \"0-7\" after the name: begin a comment with #",
            "a 1 n 0-7\nb x\n");
    REFUSED("-16 at 2: unexpected \"0-7 8 #c\" after the name: begin a comment with #",
            "#ketama profile=dalli\na 1 n 0-7 8 #c\n");
    REFUSED("-18 at 2: invalid weight \"x\": must be an integer from 1 to "
            "9223372036854775807",
            "a 1\nb x\nc 1 n 0-7\n");
}

#define SYNTAX ": write numbers and ranges, such as 0-8191,16384, or - for none"

static void invalid_ranges(void)
{
    static const char *const malformed[][2] = {
        {"x", "x"},     {"0-", "0-"},       {"-7", "-7"},
        {"0-x", "0-x"}, {"--", "--"},       {"0,-", "-"},
        {"0,,1", ",1"}, {"0,1,", "1,"},     {",0", ",0"},
        {"0;1", "0;1"}, {"0-1-2", "0-1-2"}, {"+1", "+1"},
        {"0x1", "0x1"}, {"1.5", "1.5"},     {"\xc3\xb6", "\\xc3\\xb6"},
    };
    for (size_t i = 0; i < sizeof malformed / sizeof *malformed; i++) {
        char text[128], expected[256];
        snprintf(text, sizeof text, MAP "b 1 -\na 1 %s\n", malformed[i][0]);
        snprintf(expected, sizeof expected, "-16 at 3: invalid buckets \"%s\"" SYNTAX,
                 malformed[i][1]);
        CHECK_TEXT(expected, refused(text, strlen(text)));
    }
    REFUSED("-16 at 2: invalid range \"5-4\" of buckets: write the smaller number first",
            MAP "a 1 0-3,5-4,6-7\n");
    REFUSED("-16 at 2: invalid buckets \"8\": with buckets=8, they are numbered 0 to 7",
            MAP "a 1 0-7,8\n");
    REFUSED("-16 at 2: invalid buckets \"7-99999999999999999999999\": with buckets=8, "
            "they are numbered 0 to 7",
            MAP "a 1 0-6,7-99999999999999999999999\n");
    REFUSED("-16 at 2: invalid buckets \"4294967296\": with buckets=8, they are "
            "numbered 0 to 7",
            MAP "a 1 4294967296\n");
    REFUSED("-16 at 4: bucket 3 is also on line 2: remove it from one of them",
            MAP "a 1 0-3\nb 1 -\nc 1 3-7\n");
    REFUSED("-16 at 2: bucket 3 is listed twice", MAP "a 1 0-3,3-7\n");
    REFUSED("-16 at 0: 3 of 8 buckets have no server, such as 2-3: list them for "
            "a server",
            MAP "a 1 0-1\nb 1 6-7,4\n");
    REFUSED("-16 at 0: 8 of 8 buckets have no server, such as 0-7: list them for "
            "a server",
            MAP "a 1 -\n");
}

#define TWO "must be a power of two from 1 to 1048576, such as 65536"

static void invalid_options(void)
{
    const ketama_options unknown = {.size = sizeof unknown, .profile = "buckets"},
                         four = {.size = sizeof four,
                                 .profile = "buckets",
                                 .settings = "buckets=4"};
    const ketama_server list[] = {SERVER("a", 1)};
    ketama_continuum c;

    REFUSED("-16 at 1: profile \"buckets\" needs the option buckets: write "
            "buckets=65536, or how many the file has",
            "#ketama profile=buckets\na 1 0-7\n");
    REFUSED("-16 at 1: profile \"libketama\" has no option buckets: it has hash",
            "#ketama buckets=8\na 1\n");
    REFUSED("-16 at 1: invalid buckets \"0\": " TWO,
            "#ketama profile=buckets buckets=0\na 1 0-7\n");
    REFUSED("-16 at 1: invalid buckets \"6\": " TWO,
            "#ketama profile=buckets buckets=6\na 1 0-5\n");
    REFUSED("-16 at 1: invalid buckets \"2097152\": " TWO,
            "#ketama profile=buckets buckets=2097152\na 1 0-7\n");
    REFUSED("-16 at 1: invalid buckets \"8x\": " TWO,
            "#ketama profile=buckets buckets=8x\na 1 0-7\n");

    CHECK_INT(KETAMA_EOPTION, ketama_open_text(&c, "a 1 0-3\n", 8, &unknown));
    CHECK_INT(KETAMA_OK, ketama_open_text(&c, "a 1 0-3\n", 8, &four));
    CHECK_INT(4, ketama_count_points(c));
    ketama_close(c);
    CHECK_INT(KETAMA_ELINE,
              ketama_open_text(&c, MAP "a 1 0-7\n", sizeof(MAP "a 1 0-7\n") - 1, &four));
    CHECK_TEXT("<text>:1: the file states buckets=\"8\", the program has chosen \"4\": "
               "leave one of them out",
               ketama_error());
    CHECK_INT(KETAMA_ELINE, ketama_open_servers(&c, list, 1, &four));
    CHECK_TEXT("server 1: a list of servers has no buckets: open the file or text of a "
               "bucket map",
               ketama_error());
}

/* ---- lookups */

enum { SERVERS_MAX = 12 };

/* The text of a random map, of which owners[] are the owners; to be freed. */
static char *random_map(uint32_t bits, uint32_t servers, uint32_t *owners)
{
    uint32_t buckets = UINT32_C(1) << bits;
    size_t starts[SERVERS_MAX + 1];
    char *text = malloc((size_t)buckets * 9 + 64 * servers + 100);
    int at =
        sprintf(text, "#ketama profile=buckets buckets=%lu\n", (unsigned long)buckets);

    for (uint32_t k = 0; k < buckets; k++)
        owners[k] = k > 0 && chance(3) > 0 ? owners[k - 1] : chance(servers);
    size_t room = ketama_ranges_write(owners, buckets, servers, starts, NULL, 0);
    char *ranges = malloc(room);
    ketama_ranges_write(owners, buckets, servers, starts, ranges, room);
    for (uint32_t i = 0; i < servers; i++)
        at += sprintf(text + at, "10.0.0.%lu:11211 %lu %s\n", (unsigned long)i,
                      (unsigned long)i + 1, ranges + starts[i]);
    free(ranges);
    return text;
}

static void check_map(ketama_continuum c, uint32_t bits, const uint32_t *owners)
{
    uint32_t buckets = UINT32_C(1) << bits;
    uint64_t width = (UINT64_C(1) << 32) / buckets, shares[SERVERS_MAX] = {0};
    ketama_server server;

    CHECK_INT(buckets, ketama_count_points(c));
    for (int i = 0; i < 4000; i++) {
        uint32_t k = chance(buckets), point, end = (uint32_t)((k + 1) * width - 1);
        uint32_t hash = (uint32_t)(k * width);
        hash += i % 3 == 0 ? 0 : i % 3 == 1 ? (uint32_t)(width - 1) : chance(1 << 12);
        k = bits == 0 ? 0 : hash >> (32 - bits);
        CHECK_INT(owners[k], ketama_find_hash(c, hash, &point));
        CHECK_INT((uint32_t)((k + 1) * width - 1), point);
        CHECK(end == point || i % 3 == 2);
    }
    for (uint32_t k = 0; k < buckets; k++)
        shares[owners[k]] += width;
    for (uint32_t i = 0; i < ketama_count_servers(c); i++) {
        CHECK_INT(KETAMA_OK, ketama_server_at(c, i, &server));
        CHECK_INT(shares[i], server.share);
        CHECK_INT(shares[i] / width, server.points);
    }
}

static void a_hash_belongs_to_the_owner_of_its_bucket(void)
{
    static uint32_t owners[1 << 17];
    for (uint32_t bits = 0; bits <= 17; bits++) {
        uint32_t servers = 1 + chance(SERVERS_MAX);
        char *text = random_map(bits, servers, owners);
        ketama_continuum c;
        CHECK_INT(KETAMA_OK, ketama_open_text(&c, text, strlen(text), NULL));
        check_map(c, bits, owners);
        ketama_close(c);
        free(text);
    }
}

/* One by one, in batches, without some servers: as the owners of buckets say. */
static void keys_go_where_their_hash_does(void)
{
    static uint32_t owners[1 << 10];
    enum { KEYS = 3000 };
    static char text[KEYS][16];
    static ketama_key keys[KEYS];
    static uint32_t found[KEYS], among[KEYS];
    unsigned char excluded[SERVERS_MAX] = {1, 0, 1};
    char *map = random_map(10, SERVERS_MAX, owners);
    ketama_continuum c;

    CHECK_INT(KETAMA_OK, ketama_open_text(&c, map, strlen(map), NULL));
    for (int i = 0; i < KEYS; i++)
        keys[i] = (ketama_key){text[i], (size_t)sprintf(text[i], "user:%d", i)};
    ketama_find_many(c, keys, KEYS, found, NULL);
    ketama_find_many_among(c, keys, KEYS, excluded, among, NULL);
    for (int i = 0; i < KEYS; i++) {
        uint32_t bucket = ketama_hash(text[i], keys[i].len) >> 22, next = bucket;
        CHECK_INT(owners[bucket], found[i]);
        CHECK_INT(owners[bucket], ketama_find(c, text[i], keys[i].len, NULL));
        while (excluded[owners[next]])
            next = (next + 1) % 1024;
        CHECK_INT(owners[next], among[i]);
    }
    ketama_close(c);
    free(map);
}

static void a_map_is_shared_and_followed(void)
{
    const char *path = put("map", MAP "a 1 0-3\nb 1 4-7\n");
    ketama_continuum c, second, newer;

    CHECK_INT(KETAMA_OK, ketama_open(&c, path, NULL));
    CHECK_INT(KETAMA_OK, ketama_open(&second, path, NULL));
    CHECK_INT(1, ketama_is_shared(second));
    CHECK_INT(1, ketama_find_hash(second, UINT32_C(4) << 29, NULL));
    put("map", MAP "a 1 0-4\nb 1 5-7\n");
    CHECK_INT(KETAMA_CHANGED, ketama_refresh(c, &newer));
    CHECK_INT(0, ketama_find_hash(newer, UINT32_C(4) << 29, NULL));
    ketama_close(newer);
    put("map", MAP "a 1 0-4\nb 1 4-7\n");
    CHECK_INT(KETAMA_ELINE, ketama_refresh(c, &newer));
    CHECK_INT(3, ketama_last_failure()->line);
    CHECK_INT(1, ketama_find_hash(c, UINT32_C(4) << 29, NULL));
    ketama_close(second);
    ketama_close(c);
}

/* ---- against a ring, and mixed with it */

static void a_map_and_a_ring_are_compared(void)
{
    static const char map[] = MAP "a 1 0-3\nb 1 4-7\n", list[] = "a 1\nb 1\n";
    ketama_continuum m, ring, mixed;
    ketama_move *moves;
    uint64_t sum = 0, differ = 0, counted;
    size_t count;

    CHECK_INT(KETAMA_OK, ketama_open_text(&m, map, sizeof map - 1, NULL));
    CHECK_INT(KETAMA_OK, ketama_open_text(&ring, list, sizeof list - 1, NULL));
    CHECK_INT(KETAMA_OK, ketama_diff(ring, m, &moves, &count));
    for (size_t i = 0; i < count; i++)
        sum += moves[i].share;
    free(moves);
    /* Of the ring's arcs, cut in the middle of all hashes. */
    uint64_t begin = 0;
    for (uint32_t i = 0; i <= ring->view.arcs.count; i++) {
        ketama_arc arc =
            ketama_arc_at(&ring->view.arcs, i < ring->view.arcs.count ? i : 0);
        uint64_t end =
            i < ring->view.arcs.count ? arc.end + UINT64_C(1) : UINT64_C(1) << 32;
        uint64_t half = UINT64_C(1) << 31;
        uint64_t low = begin < half ? (end < half ? end : half) - begin : 0;
        differ += arc.server == 0 ? end - begin - low : low;
        begin = end;
    }
    CHECK_INT(differ, sum);
    CHECK_INT(KETAMA_OK, ketama_count_moved(ring, m, &counted));
    CHECK_INT(differ, counted);

    for (int i = 0; i < 4; i++) {
        ketama_continuum a = i % 2 ? m : ring, b = i / 2 ? m : ring;
        CHECK_INT(KETAMA_OK, ketama_open_mixed(a, b, 127, &mixed));
        CHECK_INT(KETAMA_OK, ketama_count_moved(a, mixed, &counted));
        CHECK_INT(0, counted);
        ketama_close(mixed);
        CHECK_INT(KETAMA_OK, ketama_open_mixed(a, b, KETAMA_MIX_HASH, &mixed));
        CHECK_INT(KETAMA_OK, ketama_count_moved(b, mixed, &counted));
        CHECK_INT(0, counted);
        ketama_close(mixed);
    }
    ketama_close(m);
    ketama_close(ring);
}

/* ---- who should own what */

static void servers_get_their_shares(void)
{
    const ketama_server servers[] = {SERVER("b", 1), SERVER("a", 1), SERVER("c", 2)};
    const ketama_server others[] = {SERVER("c", 2), SERVER("a", 1), SERVER("b", 1)};
    uint32_t owners[16], reordered[16], count[3] = {0}, left, stepped[16];

    CHECK_INT(KETAMA_OK, ketama_buckets_assign(servers, 3, NULL, 16, owners));
    CHECK_INT(KETAMA_OK, ketama_buckets_assign(others, 3, NULL, 16, reordered));
    for (int k = 0; k < 16; k++) {
        count[owners[k]]++;
        CHECK_TEXT(servers[owners[k]].address, others[reordered[k]].address);
    }
    CHECK(count[0] == 4 && count[1] == 4 && count[2] == 8);
    CHECK_INT(KETAMA_OK, ketama_buckets_assign(servers, 3, owners, 16, reordered));
    CHECK(memcmp(owners, reordered, sizeof owners) == 0);
    CHECK_INT(KETAMA_OK, ketama_buckets_assign(servers, 2, NULL, 16, reordered));
    CHECK_INT(KETAMA_OK, ketama_buckets_assign(servers, 3, reordered, 16, owners));
    CHECK_INT(KETAMA_OK, ketama_buckets_step(reordered, owners, 16, 3, stepped, &left));
    CHECK_INT(8 - 3, left);
    CHECK_INT(KETAMA_OK, ketama_buckets_step(stepped, owners, 16, 5, stepped, &left));
    CHECK(left == 0 && memcmp(stepped, owners, sizeof owners) == 0);

    /* Weights whose products need more than 64 bits. */
    const ketama_server heavy[] = {SERVER("a", KETAMA_WEIGHT_MAX),
                                   SERVER("b", KETAMA_WEIGHT_MAX), SERVER("c", 1)};
    CHECK_INT(KETAMA_OK, ketama_buckets_assign(heavy, 3, NULL, 16, owners));
    count[0] = count[1] = count[2] = 0;
    for (int k = 0; k < 16; k++)
        count[owners[k]]++;
    /* 7.99 each, and the rest: as many are raised as are missing. */
    CHECK(count[0] == 8 && count[1] == 8 && count[2] == 0);
    CHECK_INT(128, ketama_buckets_needed(servers, 3, 40000));
    CHECK_INT(0, ketama_buckets_needed(heavy, 3, 1000000));
    CHECK_INT(2, ketama_buckets_needed(heavy, 2, 1000000));
    CHECK_INT(0, ketama_buckets_needed(heavy, 0, 1000000));
    CHECK_INT(0, ketama_buckets_needed(heavy, 2, 0));
}

static void ranges_are_written(void)
{
    const uint32_t owners[] = {0, 0, 2, 0, KETAMA_NO_SERVER, 7, 2, 0};
    const char expected[] = "0-1,3,7\0-\0002,6";
    char text[16] = "untouched";
    size_t at[4], size = sizeof expected;

    CHECK_INT(size, ketama_buckets_write(owners, 8, 3, at, NULL, 0));
    CHECK(at[0] == 0 && at[1] == 8 && at[2] == 10 && at[3] == size);
    CHECK_INT(size, ketama_buckets_write(owners, 8, 3, at, text, size - 1));
    CHECK_TEXT("untouched", text);
    CHECK_INT(size, ketama_buckets_write(owners, 8, 3, at, text, size));
    CHECK(memcmp(text, expected, size) == 0);
    CHECK(at[0] == 0 && at[1] == 8 && at[2] == 10 && at[3] == size);
    CHECK(text[size] == '\0');
    CHECK_INT(0, ketama_buckets_write(owners, 8, 0, at, NULL, 0)); /* no servers */
}

static void wrong_assignments(void)
{
    const ketama_server twice[] = {SERVER("a", 1), SERVER("b", 1), SERVER("a", 1)};
    uint32_t owners[] = {0, 1, 2, KETAMA_NO_SERVER}, left;
    ketama_continuum empty;

    CHECK_INT(KETAMA_EADDRESS, ketama_buckets_assign(twice, 3, NULL, 4, owners));
    CHECK_TEXT(
        "server 3: address \"a\" is listed twice: a bucket map has each server once",
        ketama_error());
    CHECK_INT(KETAMA_ERANGE, ketama_buckets_assign(twice, 2, owners, 4, owners));
    CHECK_TEXT("bucket 2: no server 2: there are 2", ketama_error());
    CHECK_INT(KETAMA_ENOSERVERS, ketama_buckets_assign(twice, 0, NULL, 4, owners));
    CHECK_INT(KETAMA_EOPTION, ketama_buckets_assign(twice, 2, NULL, 3, owners));
    CHECK_INT(KETAMA_EOPTION, ketama_buckets_step(owners, owners, 0, 1, owners, &left));
    uint32_t wrong[] = {0, KETAMA_NO_SERVER, KETAMA_SERVERS_MAX - 1, KETAMA_SERVERS_MAX};
    CHECK_INT(KETAMA_ERANGE, ketama_buckets_step(wrong, owners, 4, 1, wrong, &left));
    CHECK_TEXT("bucket 3: no server 1048576: there are at most 1048576", ketama_error());
    wrong[3] = KETAMA_NO_SERVER - 1;
    CHECK_INT(KETAMA_ERANGE, ketama_buckets_step(wrong, owners, 4, 1, wrong, &left));
    wrong[3] = KETAMA_NO_SERVER;
    CHECK_INT(KETAMA_OK, ketama_buckets_step(wrong, owners, 4, 1, wrong, &left));
    CHECK_INT(KETAMA_EOPTION, ketama_buckets_owners(NULL, 2097152, owners));
    char nowhere[] = "/nowhere/at/all";
    CHECK_INT(0, ketama_roll(&empty, nowhere));
    CHECK_INT(KETAMA_ENOSERVERS, ketama_buckets_owners(empty, 4, owners));

    for (int n = 1; n <= 6; n++) {
        fail_allocation(n);
        CHECK_INT(KETAMA_ENOMEM, ketama_buckets_assign(twice, 2, NULL, 4, owners));
        fail_allocation(0);
    }
    for (int n = 1; n <= 2; n++) {
        ketama_continuum c;
        CHECK_INT(KETAMA_OK, ketama_open_servers(&c, twice, 2, NULL));
        fail_allocation(n);
        CHECK_INT(KETAMA_ENOMEM, ketama_buckets_owners(c, 4, owners));
        fail_allocation(n);
        CHECK_INT(KETAMA_ENOMEM,
                  ketama_buckets_step(owners, owners, 4, 1, owners, &left));
        fail_allocation(0);
        ketama_close(c);
    }
}

/* ---- hostile maps */

/* Each bucket is a range of its own, in one line and in a line each. */
static void the_largest_maps(void)
{
    uint32_t buckets = KETAMA_BUCKETS_MAX;
    char *text = malloc((size_t)buckets * 32);
    const char *head = "#ketama profile=buckets buckets=1048576\n";
    ketama_continuum c;

    size_t size = (size_t)sprintf(text, "%sa 1 ", head);
    for (uint32_t k = buckets; k-- > 0;)
        size += (size_t)sprintf(text + size, k > 0 ? "%lu," : "%lu\n", (unsigned long)k);
    CHECK_INT(KETAMA_OK, ketama_open_text(&c, text, size, NULL));
    CHECK_INT(buckets, ketama_count_points(c));
    ketama_close(c);
    text[size - 1] = ','; /* and the last one again */
    CHECK_TEXT("-16 at 2: invalid buckets \"0,\"" SYNTAX, refused(text, size));
    memcpy(text + size, "0\n", 2);
    CHECK_TEXT("-16 at 2: bucket 0 is listed twice", refused(text, size + 2));

    size = (size_t)sprintf(text, "%s", head);
    for (uint32_t k = 0; k < buckets; k++)
        size += (size_t)sprintf(text + size, "s%lu 1 %lu\n", (unsigned long)k,
                                (unsigned long)k);
    CHECK_INT(KETAMA_OK, ketama_open_text(&c, text, size, NULL));
    CHECK_INT(buckets, ketama_count_servers(c));
    for (int i = 0; i < 1000; i++) {
        uint32_t hash = chance(UINT32_MAX);
        CHECK_INT(hash >> 12, ketama_find_hash(c, hash, NULL));
    }
    ketama_close(c);

    /* Each of so many lines claims all buckets: the second one ends it. */
    size = (size_t)sprintf(text, "%s", head);
    for (uint32_t k = 0; k < buckets; k++)
        size += (size_t)sprintf(text + size, "s%lu 1 0-1048575\n", (unsigned long)k);
    CHECK_TEXT("-16 at 3: bucket 0 is also on line 2: remove it from one of them",
               refused(text, size));
    free(text);
}

static void without_memory_it_fails(void)
{
    static const char map[] = MAP "a 1 0-3\nb 1 4-7\n";
    ketama_continuum c, mixed;
    int n = 0, status;

    do {
        fail_allocation(++n);
        status = ketama_open_text(&c, map, sizeof map - 1, NULL);
        CHECK_INT(allocation_failed() ? KETAMA_ENOMEM : KETAMA_OK, status);
        fail_allocation(0);
    } while (status != KETAMA_OK && n < 100);
    CHECK(n > 10);
    n = 0;
    do {
        fail_allocation(++n);
        status = ketama_open_mixed(c, c, 127, &mixed);
        CHECK_INT(allocation_failed() ? KETAMA_ENOMEM : KETAMA_OK, status);
        fail_allocation(0);
    } while (status != KETAMA_OK && n < 100);
    CHECK(n > 10);
    ketama_close(mixed);
    ketama_close(c);
}

void run_buckets(void)
{
    RUN(valid_maps);
    RUN(invalid_columns);
    RUN(invalid_ranges);
    RUN(invalid_options);
    RUN(a_hash_belongs_to_the_owner_of_its_bucket);
    RUN(keys_go_where_their_hash_does);
    RUN(a_map_is_shared_and_followed);
    RUN(a_map_and_a_ring_are_compared);
    RUN(servers_get_their_shares);
    RUN(ranges_are_written);
    RUN(wrong_assignments);
    RUN(the_largest_maps);
    RUN(without_memory_it_fails);
}

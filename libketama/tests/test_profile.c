/*
 * test_profile.c - options, and rings with other searches
 */
#include "check.h"

#include <stdlib.h>

/* Servers with one point each, which is their weight, for each of the three searches. */
static uint64_t one_label(const struct ketama_layout *layout, uint64_t weight)
{
    return weight <= layout->servers->total_weight;
}

static void weights_as_points(const struct ketama_layout *layout, uint32_t *out)
{
    for (uint32_t i = 0; i < layout->servers->count; i++) {
        uint32_t server = (uint32_t)(layout->order[i] - layout->names);
        out[i] = (uint32_t)layout->servers->at[server].weight;
    }
}

static const struct ketama_profile searches[] = {
    {.id = 101,
     .count_labels = one_label,
     .points_per_label = 1,
     .order = ketama_order_as_listed,
     .generate = weights_as_points},
    {.id = 102,
     .count_labels = one_label,
     .points_per_label = 1,
     .order = ketama_order_as_listed,
     .generate = weights_as_points,
     .to_arcs = ketama_arcs_after,
     .point_at = ketama_point_after},
    {.id = 103,
     .count_labels = one_label,
     .points_per_label = 1,
     .order = ketama_order_as_listed,
     .generate = weights_as_points,
     .to_arcs = ketama_arcs_at_or_before,
     .point_at = ketama_point_at_or_before},
};

/* The rules, as a loop over unsorted points. Of equal points, the first one listed is
 * found. */
static uint32_t at_or_after(const uint32_t *points, uint32_t count, uint32_t hash)
{
    uint32_t best = 0, least = UINT32_MAX;
    for (uint32_t i = 0; i < count; i++)
        if (points[i] - hash < least || i == 0)
            best = i,
            least = points[i] - hash; /* modulo 2^32: the way around the ring */
    return best;
}

static uint32_t expected(int search, const uint32_t *points, uint32_t count,
                         uint32_t hash)
{
    uint32_t best = 0, least = 0;
    switch (search) {
    case 0:
        return at_or_after(points, count, hash);
    case 1:
        return at_or_after(points, count, hash + 1);
    default:
        for (uint32_t i = 0; i < count; i++)
            if (i == 0 || hash - points[i] < least)
                best = i, least = hash - points[i];
        return best;
    }
}

static int ascending(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

static void check_ring(int search, uint32_t *points, uint32_t count)
{
    struct ketama_listed listed[16];
    struct ketama_server_list servers = {.at = listed, .count = count};
    const struct ketama_dialect dialect = {.profile = &searches[search],
                                           .name_rule = ketama_name_as_listed};
    const struct ketama_identity identity = {"", "", searches[search].id};
    const struct ketama_source source = {.read_at_ns = 0};
    struct ketama_handle c = {.dialect = dialect};
    struct ketama_image_info info;
    struct ketama_ring ring;
    ketama_failure failure;
    ketama_point shown[16];
    uint64_t shares[16] = {0}, all = 0;

    for (uint32_t i = 0; i < count; i++) {
        listed[i] = (struct ketama_listed)LISTED("a", points[i], i + 1);
        servers.total_weight += points[i];
    }
    CHECK_INT(KETAMA_OK, ketama_ring_make(&dialect, &servers, &ring, &failure));
    struct ketama_image *image =
        ketama_image_make(&identity, &servers, &ring, &source, 1, &info);
    ketama_ring_free(&ring);
    c.view = info.view;

    for (uint32_t i = 0; i < count; i++)
        for (uint32_t step = 0; step < 3; step++) {
            uint32_t hash = points[i] + step - 1, point;
            uint32_t right = expected(search, points, count, hash);
            CHECK_INT(right, ketama_find_hash(&c, hash, &point));
            CHECK_INT(points[right], point);
        }
    for (uint32_t i = 0; i < count; i++)
        all += shares[i] = info.view.servers[i].share;
    CHECK_INT(UINT64_C(1) << 32, all);

    /* The dialect's own points are ascending, also if copied in pieces. */
    CHECK_INT(count, ketama_points(&c, 0, 16, shown));
    uint32_t sorted[16];
    memcpy(sorted, points, count * sizeof *points);
    qsort(sorted, count, sizeof *sorted, ascending);
    for (uint32_t i = 0; i < count; i++) {
        ketama_point one;
        CHECK_INT(sorted[i], shown[i].point);
        CHECK_INT(points[shown[i].server], shown[i].point);
        CHECK_INT(1, ketama_points(&c, i, 1, &one));
        CHECK(memcmp(&one, &shown[i], sizeof one) == 0);
    }
    ketama_image_free(image);
}

/* Random rings of up to 16 points with ties and with points at both ends. */
static void every_search_follows_its_rule(void)
{
    static const uint32_t edges[] = {0, 0, 1, 2, UINT32_MAX, UINT32_MAX, UINT32_MAX - 1};
    uint64_t state = 88172645463325252u;

    for (int round = 0; round < 3000; round++) {
        uint32_t points[16], count = 1 + (uint32_t)round % 16;
        for (uint32_t i = 0; i < count; i++) {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            switch (state % 4) {
            case 0:
                points[i] = edges[(state >> 8) % (sizeof edges / sizeof *edges)];
                break;
            case 1:
                points[i] = i > 0 ? points[(state >> 8) % i] : 7;
                break;
            case 2:
                points[i] = (uint32_t)(state >> 8) % 20;
                break;
            default:
                points[i] = (uint32_t)(state >> 20);
            }
        }
        for (int search = 0; search < 3; search++)
            check_ring(search, points, count);
    }
}

static const char *refusal(const ketama_options *options)
{
    ketama_continuum c, d;
    const ketama_server server = SERVER("a", 1);
    CHECK_INT(KETAMA_EOPTION, ketama_open(&c, "/nowhere", options));
    CHECK(c == NULL);
    CHECK_INT(KETAMA_EOPTION, ketama_open_servers(&d, &server, 1, options));
    CHECK(d == NULL);
    CHECK_INT(0, ketama_last_failure()->line);
    return ketama_error();
}

static void unknown_options_are_rejected(void)
{
    const struct {
        ketama_options now;
        uint64_t later;
    } larger = {{.size = sizeof larger}, 1}, same = {{.size = sizeof same}, 0};
    const ketama_options flags = {.size = sizeof flags, .flags = 12},
                         none = {.flags = KETAMA_PRIVATE},
                         profile = {.size = sizeof profile, .profile = "ketema"},
                         settings = {.size = sizeof settings,
                                     .profile = "libketama",
                                     .settings = "hash_tag={}"},
                         few = {.size = sizeof few,
                                .profile = "evcache",
                                .settings = "points=3"},
                         bytes = {.size = sizeof bytes,
                                  .profile = "memcached-proxy",
                                  .settings = "seed=\xff"},
                         label = {.size = sizeof label,
                                  .profile = "libketama",
                                  .settings = "domain=shop"},
                         good = {.size = sizeof good,
                                 .flags = KETAMA_PRIVATE,
                                 .profile = "libketama",
                                 .settings = ""};
    const ketama_server server = SERVER("a", 1);
    ketama_continuum c;

    CHECK_TEXT(
        "unknown flags 0xc: must be 0, or KETAMA_PRIVATE (0x1) and KETAMA_FALLBACK "
        "(0x2)",
        refusal(&flags));
    CHECK_TEXT("invalid options.size 0: set it to sizeof(ketama_options)",
               refusal(&none));
    CHECK(strncmp("invalid profile \"ketema\": must be one of libketama, libmemcached, ",
                  refusal(&profile), 66) == 0);
    CHECK_TEXT("profile \"libketama\" has no option hash_tag: it has hash",
               refusal(&settings));
    CHECK_TEXT("invalid points \"3\": must be an integer from 4 to 1000000",
               refusal(&few));
    CHECK_TEXT("invalid seed \"\\xff\": must be UTF-8", refusal(&bytes));
    CHECK_TEXT("unexpected domain: only the first line of a server file states it",
               refusal(&label));
    CHECK(strncmp("unknown option: this is libketama ", refusal(&larger.now), 34) == 0);

    CHECK_INT(KETAMA_OK, ketama_open_servers(&c, &server, 1, &good));
    ketama_close(c);
    CHECK_INT(KETAMA_OK, ketama_open_servers(&c, &server, 1, &same.now));
    ketama_close(c);
}

/* Backslashes are written twice, so options may be longer once they are written. */
static void options_that_grow_when_written(void)
{
    static const char *const names[] = {"hash",         "hash_tag",  "points",
                                        "default_port", "format",    "filter",
                                        "seed",         "delimiter", "filter_conf"};
    char settings[KETAMA_SETTINGS_MAX] = "", value[64];
    const ketama_options options = {.size = sizeof options, .settings = settings};

    memset(value, '\\', sizeof value - 1);
    value[sizeof value - 1] = '\0';
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        sprintf(settings + strlen(settings), "%s=%s ", names[i], value);
    CHECK_TEXT("options are too long: at most 1023 bytes", refusal(&options));
}

/* If a server's name stays the same, its address may change without moving keys. */
static void a_name_is_hashed_in_place_of_the_address(void)
{
    const char *by_name = put("named", "10.0.0.9:1 1 a:1\nb:1 1\n");
    const ketama_server plain[] = {SERVER("a:1", 1), SERVER("b:1", 1)};
    ketama_continuum named, list, again;
    ketama_server servers[2];
    ketama_point x[320], y[320];

    CHECK_INT(KETAMA_OK, ketama_open(&named, by_name, NULL));
    CHECK_INT(KETAMA_OK, ketama_open_servers(&list, plain, 2, NULL));
    CHECK_INT(320, ketama_points(named, 0, 320, x));
    CHECK_INT(320, ketama_points(list, 0, 320, y));
    CHECK(memcmp(x, y, sizeof x) == 0);
    for (uint32_t i = 0; i < 2; i++)
        CHECK_INT(KETAMA_OK, ketama_server_at(named, i, &servers[i]));
    CHECK_TEXT("10.0.0.9:1", servers[0].address);
    CHECK_TEXT("a:1", servers[0].name);
    CHECK(servers[1].name == NULL);

    CHECK_INT(KETAMA_OK, ketama_open_servers(&again, servers, 2, NULL));
    CHECK_INT(320, ketama_points(again, 0, 320, y));
    CHECK(memcmp(x, y, sizeof x) == 0);
    ketama_close(again);

    servers[0].name = "two words";
    CHECK_INT(KETAMA_ENAME, ketama_open_servers(&again, servers, 2, NULL));
    CHECK_TEXT("server 1: invalid name \"two words\": must not contain blanks or line "
               "breaks",
               ketama_error());
    servers[0].name = "";
    CHECK_INT(KETAMA_ENAME, ketama_open_servers(&again, servers, 2, NULL));
    CHECK_TEXT("server 1: empty name", ketama_error());
    ketama_close(named);
    ketama_close(list);
}

static char raced[256];
static bool raced_image;

/* The file ceases to state a profile once its statement has been read; somebody may
 * publish the new ring. */
static void cease_to_state(int folder_fd, const char *name)
{
    ketama_continuum c;
    (void)folder_fd, (void)name;
    after_openat = NULL;
    put("raced.servers", "a:1 1\nb:1 1\n");
    if (raced_image) {
        CHECK_INT(KETAMA_OK, ketama_open(&c, raced, NULL));
        CHECK_INT(1, ketama_is_shared(c));
        ketama_close(c);
    }
}

static void a_statement_that_changes_meanwhile(void)
{
    ketama_options options = {.size = sizeof options, .profile = "dalli"};
    ketama_continuum chosen, plain;

    for (int round = 0; round < 2; round++) {
        raced_image = round == 1;
        strcpy(raced, put("raced.servers", "#ketama profile=dalli\na:1 1\nb:1 1\n"));
        after_openat = cease_to_state;
        CHECK_INT(KETAMA_OK, ketama_open(&chosen, raced, &options));
        CHECK(after_openat == NULL);
        CHECK_INT(0, ketama_is_shared(chosen)); /* as the other one's image is there */
        CHECK_INT(KETAMA_OK, ketama_open(&plain, raced, NULL));
        CHECK_TEXT("dalli", chosen->dialect.profile->name);
        CHECK_TEXT("libketama", plain->dialect.profile->name);
        CHECK_INT(320, ketama_count_points(chosen)); /* as of dalli; also of libketama */
        CHECK(ketama_arc_at(&chosen->view.arcs, 0).end !=
              ketama_arc_at(&plain->view.arcs, 0).end);
        ketama_close(chosen);
        ketama_close(plain);
    }
}

void run_profile(void)
{
    RUN(every_search_follows_its_rule);
    RUN(unknown_options_are_rejected);
    RUN(options_that_grow_when_written);
    RUN(a_name_is_hashed_in_place_of_the_address);
    RUN(a_statement_that_changes_meanwhile);
}

/*
 * searches.c - looks hashes up in rings of given points, searched in a given way
 *
 *     searches >=|>|<= <RINGS
 *
 * Each line of the input is a ring: points in the order of their servers, a colon,
 * hashes. The answer is a line: "server point" for each hash, a colon, and the ring's
 * own points as "point server". A profile of these tests' own says how the ring is
 * searched; all else is the library's.
 */
#include "profile/profile.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX = 64 };

static uint64_t one_label(const struct ketama_layout *layout, uint64_t weight)
{
    return weight <= layout->servers->total_weight;
}

/* Its weight, less 1, is a server's only point. */
static void weights_as_points(const struct ketama_layout *layout, uint32_t *out)
{
    for (uint32_t i = 0; i < layout->servers->count; i++) {
        uint32_t server = (uint32_t)(layout->order[i] - layout->names);
        out[i] = (uint32_t)(layout->servers->at[server].weight - 1);
    }
}

static void fail(const char *message)
{
    fprintf(stderr, "searches: %s\n", message);
    exit(1);
}

static void answer(const struct ketama_profile *profile, char *line)
{
    const struct ketama_source source = {.read_at_ns = 0};
    const struct ketama_identity identity = {.path = "", .settings = "", .profile = 0};
    const struct ketama_dialect dialect = {.profile = profile,
                                           .name_rule = ketama_name_as_listed};
    struct ketama_handle c = {.dialect = dialect};
    struct ketama_server_list servers;
    struct ketama_image_info info;
    struct ketama_ring ring;
    ketama_server listed[MAX];
    ketama_point points[MAX];
    ketama_failure failure;
    char *hashes = strchr(line, ':'), *text;
    uint32_t count = 0;

    if (hashes == NULL)
        fail("no colon");
    *hashes++ = '\0';
    for (text = strtok(line, " "); text != NULL && count < MAX; text = strtok(NULL, " "))
        listed[count++] =
            (ketama_server){.address = "a", .weight = strtoull(text, NULL, 10) + 1};
    if (ketama_servers_copy(listed, count, &servers, &failure) != KETAMA_OK ||
        ketama_ring_make(&dialect, &servers, &ring, &failure) != KETAMA_OK)
        fail(failure.reason);
    struct ketama_image *image =
        ketama_image_make(&identity, &servers, &ring, &source, 1, &info);
    if (image == NULL)
        fail("out of memory");
    c.view = info.view;

    for (text = strtok(hashes, " \n"); text != NULL; text = strtok(NULL, " \n")) {
        uint32_t point,
            server = ketama_find_hash(&c, (uint32_t)strtoul(text, NULL, 10), &point);
        printf("%lu %lu ", (unsigned long)server, (unsigned long)point);
    }
    printf(":");
    count = ketama_points(&c, 0, MAX, points);
    for (uint32_t i = 0; i < count; i++)
        printf(" %lu %lu", (unsigned long)points[i].point,
               (unsigned long)points[i].server);
    printf("\n");
    ketama_image_free(image);
    ketama_ring_free(&ring);
    ketama_servers_free(&servers);
}

int main(int argc, char **argv)
{
    static char line[16384];
    struct ketama_profile profile = {
        .count_labels = one_label,
        .points_per_label = 1,
        .order = ketama_order_as_listed,
        .generate = weights_as_points,
    };

    if (argc != 2)
        fail("usage: searches >=|>|<=");
    if (strcmp(argv[1], ">") == 0) {
        profile.to_arcs = ketama_arcs_after;
        profile.point_at = ketama_point_after;
    } else if (strcmp(argv[1], "<=") == 0) {
        profile.to_arcs = ketama_arcs_at_or_before;
        profile.point_at = ketama_point_at_or_before;
    }
    while (fgets(line, sizeof line, stdin) != NULL)
        answer(&profile, line);
    return 0;
}

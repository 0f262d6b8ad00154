/*
 * servers.c - fuzzes the parser of server files, and all dialects' rings of what it
 * accepts
 */
#include "../profile/profile.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Some dialects give each unit of weight its own points. */
enum { POINTS_MAX = 1000, WEIGHT_MAX = 100 };

static void must(bool condition)
{
    if (!condition)
        abort();
}

static void check_list(const struct ketama_server_list *list, const char *text,
                       size_t size)
{
    uint64_t total = 0;
    must(list->count > 0);
    for (uint32_t i = 0; i < list->count; i++) {
        const struct ketama_listed *server = &list->at[i];
        must(server->address >= text && server->address_bytes >= 1);
        must(server->address_bytes <= KETAMA_ADDRESS_MAX);
        must(server->address + server->address_bytes <= text + size);
        must(server->address[0] != '#' && server->weight >= 1);
        must(server->name == NULL ||
             (server->name > server->address && server->name_bytes >= 1 &&
              server->name_bytes <= KETAMA_ADDRESS_MAX &&
              server->name + server->name_bytes <= text + size));
        must(server->line >= 1 && (i == 0 || server->line > list->at[i - 1].line));
        must(server->ranges.bytes == 0 ||
             (server->ranges.at > server->address &&
              server->ranges.at + server->ranges.bytes <= text + size));
        total += server->weight;
    }
    must(total == list->total_weight);
}

static void check_points(const struct ketama_dialect *dialect,
                         const struct ketama_server_list *list)
{
    struct ketama_ring ring;
    ketama_failure failure = {.status = 0};
    int status = ketama_ring_make(dialect, list, &ring, &failure);
    must(status == KETAMA_OK || failure.reason[0] != '\0');
    must(status != KETAMA_OK || ring.arcs.count > 0);
    const struct ketama_packed arcs = {ring.arcs.words,
                                       ring.arcs.index,
                                       ring.arcs.count,
                                       ring.arcs.server_bits,
                                       (UINT32_C(1) << ring.arcs.server_bits) - 1,
                                       ring.arcs.shift};
    uint32_t bucket = 0, end = 0;
    for (uint32_t i = 0; i < arcs.count; i++) {
        ketama_arc arc = ketama_arc_from(&arcs, i, &bucket);
        must(end <= arc.end && arc.server < list->count);
        end = arc.end;
    }
    ketama_ring_free(&ring);
}

/* With what the first line states, if it states something; else in each profile. */
static void check_rings(const struct ketama_server_list *list)
{
    const struct ketama_profile *profile;
    struct ketama_dialect dialect;
    ketama_failure failure;
    char chosen[KETAMA_SETTINGS_MAX] = "";

    if (list->stated.bytes > 0) {
        must(ketama_dialect_make(&dialect, chosen, list->stated, &failure) == KETAMA_OK);
        if (dialect.points <= POINTS_MAX && dialect.buckets <= POINTS_MAX)
            check_points(&dialect, list);
        return;
    }
    for (size_t i = 0; (profile = ketama_profile_number(i)) != NULL; i++) {
        ketama_options options = {.size = sizeof options, .profile = profile->name};
        if (profile->count_points != NULL) /* of a map, which states it */
            continue;
        must(ketama_choose(&options, chosen, &failure) == KETAMA_OK);
        must(ketama_dialect_make(&dialect, chosen, list->stated, &failure) == KETAMA_OK);
        check_points(&dialect, list);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct ketama_server_list list;
    ketama_failure failure = {.status = 0};
    char *text = malloc(size + 1); /* NUL-terminated, like a text from source.c */

    if (text == NULL)
        return 0;
    if (size > 0)
        memcpy(text, data, size);
    text[size] = '\0';
    if (ketama_servers_parse(text, size, "", &list, &failure) == KETAMA_OK) {
        check_list(&list, text, size);
        if (list.count <= 40 && list.total_weight <= WEIGHT_MAX)
            check_rings(&list);
        else if (list.count <= 40)
            check_points(&ketama_libketama, &list);
    } else {
        must(strnlen(failure.reason, sizeof failure.reason) > 0);
        must(strnlen(failure.reason, sizeof failure.reason) < sizeof failure.reason);
    }
    ketama_servers_free(&list);
    free(text);
    return 0;
}

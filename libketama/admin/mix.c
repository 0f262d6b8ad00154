/*
 * mix.c - a dialect that is another one's but for some aspects
 *
 * So each difference of two dialects can be measured as if it were the only one.
 */
#include "dialects.h"

#include <stdlib.h>
#include <string.h>

struct mixture {
    struct ketama_dialect dialect;
    struct ketama_profile profile;
};

/* The dialect's own row has the rules for names, the other one those for points. */
static void take_names(struct mixture *to, const struct ketama_dialect *from)
{
    to->profile.name = from->profile->name;
    to->profile.host = from->profile->host;
    to->profile.refuses_names = from->profile->refuses_names;
    to->dialect.name_rule = from->name_rule;
    memcpy(to->dialect.default_port, from->default_port, sizeof from->default_port);
}

static void take_points(struct mixture *to, const struct ketama_side *from,
                        unsigned aspects)
{
    if ((aspects & KETAMA_MIX_COUNTS) != 0) {
        to->profile.count_labels = from->profile->count_labels;
        to->profile.count_points = from->profile->count_points;
        to->dialect.points = from->dialect->points;
        to->dialect.buckets = from->dialect->buckets;
    }
    if ((aspects & KETAMA_MIX_DIGEST) != 0) {
        to->profile.points_per_label = from->profile->points_per_label;
        to->profile.generate = from->profile->generate;
        to->profile.hash_labels = from->profile->hash_labels;
        to->profile.joint = from->profile->joint;
        to->dialect.hash = from->dialect->hash; /* for ketama_labels_as_keys */
    }
    if ((aspects & KETAMA_MIX_ORDER) != 0)
        to->profile.order = from->profile->order;
    if ((aspects & KETAMA_MIX_SEARCH) != 0) {
        to->profile.to_arcs = from->profile->to_arcs;
        to->profile.point_at = from->profile->point_at;
    }
}

enum { POINTS = KETAMA_MIX_COUNTS | KETAMA_MIX_DIGEST };

static bool is_map(const struct ketama_profile *profile)
{
    return profile->count_points != NULL;
}

static void mix(struct mixture *to, const struct ketama_side *a,
                const struct ketama_side *b, unsigned aspects)
{
    /* A number of labels fits only the number of points that each of them gives; and the
     * buckets of a map are its points. */
    if ((aspects & POINTS) != 0 &&
        (a->profile->points_per_label != b->profile->points_per_label ||
         is_map(a->profile) || is_map(b->profile)))
        aspects |= POINTS;
    *to = (struct mixture){*b->dialect, *b->profile};
    to->dialect.profile = &to->profile;
    to->profile.weighted = NULL;
    to->profile.unique_servers = false;
    take_names(to, (aspects & KETAMA_MIX_NAMES) != 0 ? a->dialect : b->dialect);
    take_points(to, a, aspects);
}

/* The hash of keys, once the points are made. */
static void take_keys(struct ketama_dialect *to, const struct ketama_side *a,
                      const struct ketama_side *b, unsigned aspects)
{
    const struct ketama_dialect *hash = b->dialect, *part = b->dialect;
    if ((aspects & KETAMA_MIX_HASH) != 0)
        hash = a->dialect;
    if ((aspects & KETAMA_MIX_PART) != 0)
        part = a->dialect;
    to->hash = hash->hash;
    to->seed = hash->seed;
    to->part = part->part;
    memcpy(to->tag, part->tag, sizeof part->tag);
    memcpy(to->text, part->text, sizeof part->text);
}

static int build(ketama_continuum c, ketama_continuum a, ketama_continuum b,
                 const struct ketama_server_list *servers, unsigned aspects,
                 ketama_failure *failure)
{
    const struct ketama_source none = {.read_at_ns = 0};
    struct ketama_side side_a = {&a->dialect,
                                 ketama_profile_of_ring(&a->dialect, servers)};
    struct ketama_side side_b = {&b->dialect,
                                 ketama_profile_of_ring(&b->dialect, servers)};
    struct mixture mixture;

    mix(&mixture, &side_a, &side_b, aspects);
    c->dialect = mixture.dialect;
    int status = ketama_build_in_dialect(c, servers, &none, 1, failure);
    c->dialect.profile = b->dialect.profile; /* the mixed row ends here */
    take_keys(&c->dialect, &side_a, &side_b, aspects);
    return status;
}

/* Writes the ranges of all servers to memory of their own. at[] has an element more than
 * there are servers. False: no memory. */
static bool write_ranges(ketama_continuum map, struct ketama_server_list *list,
                         uint32_t *owners, size_t *at, char **storage)
{
    uint32_t buckets = map->dialect.buckets;

    for (uint32_t k = 0; k < buckets; k++)
        owners[k] = ketama_packed_server(&map->view.arcs, map->view.arcs.words[k]);
    size_t room = ketama_ranges_write(owners, buckets, list->count, at, NULL, 0);
    *storage = malloc(room);
    if (*storage == NULL)
        return false;
    ketama_ranges_write(owners, buckets, list->count, at, *storage, room);
    for (uint32_t i = 0; i < list->count; i++)
        list->at[i].ranges =
            (struct ketama_text){*storage + at[i], (uint32_t)(at[i + 1] - at[i] - 1)};
    return true;
}

/* Lists the buckets of each server as the file of a map does. */
static int list_buckets(ketama_continuum map, struct ketama_server_list *list,
                        char **storage)
{
    uint32_t *owners = malloc(map->dialect.buckets * sizeof *owners);
    size_t *at = calloc(list->count + (size_t)1, sizeof *at);
    bool is_written =
        owners != NULL && at != NULL && write_ranges(map, list, owners, at, storage);

    free(owners);
    free(at);
    return is_written ? KETAMA_OK : KETAMA_ENOMEM;
}

int ketama_open_mixed(ketama_continuum a, ketama_continuum b, unsigned aspects,
                      ketama_continuum *mixed)
{
    struct ketama_server_list list;
    ketama_failure failure;
    char *ranges = NULL;
    ketama_continuum points = (aspects & POINTS) != 0 ? a : b;
    int status = ketama_list_servers(b, 0, ketama_count_servers(b), &list);

    *mixed = NULL;
    if (status == KETAMA_OK && is_map(points->dialect.profile))
        status = list_buckets(points, &list, &ranges);
    if (status == KETAMA_OK) {
        *mixed = ketama_handle_new(NULL, "", KETAMA_PRIVATE);
        status = *mixed != NULL ? build(*mixed, a, b, &list, aspects, &failure)
                                : KETAMA_ENOMEM;
    }
    ketama_servers_free(&list);
    free(ranges);
    if (status == KETAMA_OK)
        return KETAMA_OK;
    ketama_close(*mixed);
    *mixed = NULL;
    return ketama_store_failure(status, NULL, &failure);
}

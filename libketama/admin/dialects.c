/*
 * dialects.c - in what two dialects differ
 *
 * Each aspect of a dialect is described by a text, and two dialects differ in it if
 * their texts do. What depends on the servers, the hashed texts and the numbers of
 * points, is not described but computed.
 */
#include "dialects.h"

#include <stdio.h>
#include <string.h>

/* ---- descriptions */

struct described_hash {
    ketama_hash_function *hash;
    const char *text;
};

static const char *hash_text(ketama_hash_function *hash)
{
    static const struct described_hash hashes[] = {
        {ketama_hash_md5, "md5"},
        {ketama_hash_sha384, "sha384"},
        {ketama_hash_xxh3, "xxh3"},
        {ketama_hash_one_at_a_time, "one_at_a_time"},
        {ketama_hash_fnv1_32, "fnv1_32"},
        {ketama_hash_fnv1a_32, "fnv1a_32"},
        {ketama_hash_fnv1_32_unsigned, "fnv1_32 of unsigned bytes"},
        {ketama_hash_fnv1a_32_unsigned, "fnv1a_32 of unsigned bytes"},
        {ketama_hash_fnv1_64, "fnv1_64"},
        {ketama_hash_fnv1a_64, "fnv1a_64"},
        {ketama_hash_crc32a, "crc32a"},
        {ketama_hash_crc, "15 bits of crc32a"},
        {ketama_hash_crc16, "crc16"},
        {ketama_hash_hsieh, "hsieh"},
        {ketama_hash_murmur, "murmur"},
        {ketama_hash_murmur3, "murmur3"},
        {ketama_hash_jenkins, "jenkins"},
    };
    for (size_t i = 0; i < sizeof hashes / sizeof *hashes; i++)
        if (hashes[i].hash == hash)
            return hashes[i].text;
    return "";
}

static void describe_hash(const struct ketama_dialect *dialect,
                          char text[KETAMA_ASPECT_MAX])
{
    int size = snprintf(text, KETAMA_ASPECT_MAX, "%s", hash_text(dialect->hash));
    if (dialect->hash == ketama_hash_xxh3 && dialect->seed != 0)
        snprintf(text + size, KETAMA_ASPECT_MAX - (size_t)size, " with the seed %016llx",
                 (unsigned long long)dialect->seed);
}

/* The empty key is left out of account: twemproxy hashes it in its own way. */
static void describe_part(const struct ketama_dialect *dialect,
                          char text[KETAMA_ASPECT_MAX])
{
    bool has_tag = dialect->tag[0] != '\0';
    if (dialect->part == ketama_part_tag ||
        (dialect->part == ketama_part_twemproxy && has_tag))
        snprintf(text, KETAMA_ASPECT_MAX, "what is between \"%.2s\"", dialect->tag);
    else if (dialect->part == ketama_part_any_tag)
        snprintf(text, KETAMA_ASPECT_MAX, "what is between \"%.2s\", or nothing",
                 dialect->tag);
    else if (dialect->part == ketama_part_before)
        snprintf(text, KETAMA_ASPECT_MAX, "what is before \"%s\"", dialect->text);
    else if (dialect->part == ketama_part_stop)
        snprintf(text, KETAMA_ASPECT_MAX, "what is before \"%s\", or nothing",
                 dialect->text);
    else
        strcpy(text, "the whole key");
}

static void describe_counts(const struct ketama_side *side, char text[KETAMA_ASPECT_MAX])
{
    const struct ketama_profile *profile = side->profile;
    bool is_flat = profile->count_labels == ketama_count_flat;
    if (profile->count_points != NULL)
        strcpy(text, "as many as the buckets that the file lists for it");
    else if (is_flat || profile->count_labels == ketama_count_absolute)
        snprintf(text, KETAMA_ASPECT_MAX, "%lu for each %s",
                 (unsigned long)(side->dialect->points / profile->points_per_label *
                                 profile->points_per_label),
                 is_flat ? "server, whatever its weight" : "unit of weight");
    else
        strcpy(text, "in proportion to the weight");
}

static void describe_digest(const struct ketama_side *side, char text[KETAMA_ASPECT_MAX])
{
    const struct ketama_profile *profile = side->profile;
    const char *hash = hash_text(side->dialect->hash); /* for ketama_labels_as_keys */

    if (profile->generate == ketama_generate_chain) {
        strcpy(text, "a chain of crc32a");
        return;
    }
    if (profile->count_points != NULL) {
        snprintf(text, KETAMA_ASPECT_MAX, "the ends of %lu arcs of equal lengths",
                 (unsigned long)side->dialect->buckets);
        return;
    }
    if (profile->hash_labels == ketama_labels_md5)
        hash = "md5";
    else if (profile->hash_labels == ketama_labels_sha384)
        hash = "sha384";
    else if (profile->hash_labels == ketama_labels_sha1)
        hash = "sha1";
    else if (profile->hash_labels == ketama_labels_xxh3)
        hash = "xxh3";
    snprintf(text, KETAMA_ASPECT_MAX, "%lu from each %s of TEXT%cNUMBER",
             (unsigned long)profile->points_per_label, hash, profile->joint);
}

static const char *order_text(const struct ketama_profile *profile)
{
    if (profile->order == ketama_order_as_listed)
        return "the server that is listed first";
    if (profile->order == ketama_order_reversed)
        return "the server that is listed last";
    if (profile->order == ketama_order_by_name)
        return "the least text";
    return "the shortest text";
}

static const char *search_text(const struct ketama_profile *profile)
{
    if (profile->to_arcs == ketama_arcs_after)
        return "the first point after it";
    if (profile->to_arcs == ketama_arcs_at_or_before)
        return "the last point at or before it";
    if (profile->to_arcs == ketama_arcs_xmemcached)
        return "the first point at or after it; of m equal points p, number p mod m";
    if (profile->to_arcs == ketama_arcs_enyim)
        return "the first point at or after it; below all points, the largest";
    return "the first point at or after it";
}

static void describe_side(const struct ketama_side *side, struct ketama_aspects *aspects)
{
    describe_hash(side->dialect, aspects->hash);
    describe_part(side->dialect, aspects->part);
    describe_counts(side, aspects->counts);
    describe_digest(side, aspects->digest);
    strcpy(aspects->order, order_text(side->profile));
    strcpy(aspects->search, search_text(side->profile));
}

int ketama_describe_aspects(ketama_continuum c, struct ketama_aspects *aspects)
{
    struct ketama_server_list list;
    int status = ketama_list_servers(c, 0, ketama_count_servers(c), &list);

    if (status == KETAMA_OK) {
        struct ketama_side side = {&c->dialect,
                                   ketama_profile_of_ring(&c->dialect, &list)};
        describe_side(&side, aspects);
    }
    ketama_servers_free(&list);
    return status == KETAMA_OK ? KETAMA_OK : ketama_store_failure(status, NULL, NULL);
}

/* ---- comparisons */

bool ketama_same_key_hash(ketama_continuum a, ketama_continuum b)
{
    char parts[2][KETAMA_ASPECT_MAX];
    bool is_seeded = a->dialect.hash == ketama_hash_xxh3;

    describe_part(&a->dialect, parts[0]);
    describe_part(&b->dialect, parts[1]);
    return a->dialect.hash == b->dialect.hash &&
           (!is_seeded || a->dialect.seed == b->dialect.seed) &&
           strcmp(parts[0], parts[1]) == 0;
}

bool ketama_takes_names(ketama_continuum c)
{
    return c->dialect.profile->takes_names;
}

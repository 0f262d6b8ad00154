/*
 * owners.c - a continuum -> which server owns which bucket, as in a map of it
 */
#include "buckets.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* How many hashes of one bucket each server has, and which servers have any. */
struct tally {
    uint64_t *hashes;
    uint32_t *servers;
    uint32_t count;
};

static void count_hashes(struct tally *tally, uint32_t server, uint64_t hashes)
{
    if (tally->hashes[server] == 0)
        tally->servers[tally->count++] = server;
    tally->hashes[server] += hashes;
}

/* The server that has most; of several, the one whose address is the least. */
static uint32_t take_most(struct tally *tally, ketama_continuum c)
{
    const struct ketama_view *view = &c->view;
    uint32_t best = tally->servers[0];

    for (uint32_t i = 1; i < tally->count; i++) {
        uint32_t server = tally->servers[i];
        int order = ketama_compare_numbers(tally->hashes[server], tally->hashes[best]);
        if (order == 0)
            order = strcmp(view->strings + view->servers[best].address_at,
                           view->strings + view->servers[server].address_at);
        if (order > 0)
            best = server;
    }
    for (uint32_t i = 0; i < tally->count; i++)
        tally->hashes[tally->servers[i]] = 0;
    tally->count = 0;
    return best;
}

/* Walks along the arcs of c and the buckets at once. */
static void find_owners(ketama_continuum c, uint32_t buckets, struct tally *tally,
                        uint32_t *owners)
{
    const uint64_t width = (UINT64_C(1) << 32) / buckets;
    const struct ketama_packed *arcs = &c->view.arcs;
    uint32_t index_bucket = 0, k = 0;
    uint64_t begin = 0;

    for (uint32_t i = 0; i <= arcs->count; i++) {
        ketama_arc arc = {UINT32_MAX, ketama_packed_server(arcs, arcs->words[0])};
        if (i < arcs->count) /* the hashes after the last arc belong to the first one */
            arc = ketama_arc_from(arcs, i, &index_bucket);
        if (arc.server >= c->view.server_count)
            arc.server = c->view.server_count - 1; /* a damaged image */
        while (begin <= arc.end) {
            uint64_t end = arc.end + UINT64_C(1);
            if (end > (k + 1) * width)
                end = (k + 1) * width;
            count_hashes(tally, arc.server, end - begin);
            begin = end;
            if (begin == (k + 1) * width)
                owners[k++] = take_most(tally, c);
        }
    }
}

int ketama_buckets_owners(ketama_continuum c, uint32_t buckets, uint32_t *owners)
{
    ketama_failure failure;

    int status = ketama_buckets_check(buckets, &failure);
    if (status != KETAMA_OK)
        return ketama_store_failure(status, NULL, &failure);
    uint32_t count = ketama_count_servers(c);
    if (count == 0)
        return ketama_store_failure(
            ketama_set_failure(&failure, KETAMA_ENOSERVERS, 0, "there are no servers"),
            NULL, &failure);
    struct tally tally = {calloc(count, sizeof(uint64_t)),
                          calloc(count, sizeof(uint32_t)), 0};
    if (tally.hashes == NULL || tally.servers == NULL)
        status = ketama_store_failure(KETAMA_ENOMEM, NULL, NULL);
    else
        find_owners(c, buckets, &tally, owners);
    free(tally.hashes);
    free(tally.servers);
    return status;
}

size_t ketama_buckets_write(const uint32_t *owners, uint32_t buckets, uint32_t count,
                            size_t *at, char *text, size_t room)
{
    return ketama_ranges_write(owners, buckets, count, at, text, room);
}

int ketama_buckets_options(ketama_continuum ring, char settings[KETAMA_SETTINGS_MAX])
{
    const struct ketama_dialect *dialect = &ring->dialect;
    const struct ketama_text name = {"buckets", 7};
    const struct ketama_named_hash *hash = ketama_profile_find(name)->hashes;
    bool has_tag = dialect->tag[0] != '\0' && dialect->part != ketama_part_any_tag;
    ketama_failure failure;

    while (hash->name != NULL && hash->hash != dialect->hash)
        hash++;
    if (hash->name == NULL || dialect->seed != 0 || dialect->text[0] != '\0' ||
        (dialect->part != NULL && !has_tag && dialect->part != ketama_part_twemproxy))
        return ketama_store_failure(
            ketama_set_failure(&failure, KETAMA_EOPTION, 0,
                               "profile \"%s\" with these options hashes keys as no "
                               "bucket map does",
                               dialect->profile->name),
            NULL, &failure);
    int size = 0;
    if (hash->hash != ketama_hash_md5)
        size = sprintf(settings, "hash=%s", hash->name);
    if (has_tag)
        size += sprintf(settings + size, "%shash_tag=\"%s%c%s%c\"", size > 0 ? " " : "",
                        dialect->tag[0] == '"' || dialect->tag[0] == '\\' ? "\\" : "",
                        dialect->tag[0],
                        dialect->tag[1] == '"' || dialect->tag[1] == '\\' ? "\\" : "",
                        dialect->tag[1]);
    settings[size] = '\0';
    return KETAMA_OK;
}

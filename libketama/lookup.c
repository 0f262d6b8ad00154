/*
 * lookup.c - key -> arc -> server, for one key and for many
 *
 * No system call, no lock; no allocation except for a long list of successors. Indexes
 * read from the image are clamped, so that not even a damaged image is read beyond its
 * end.
 */
#include "internal.h"

#include <stdlib.h>
#include <string.h>

#include "profile/profile.h"

static uint32_t at_most(uint32_t value, uint32_t most)
{
    return value < most ? value : most;
}

/* The arc of a hash is one of low to high - 1, or else the one at high. */
struct range {
    uint32_t low, high;
};

enum { FEW = 4, NEAR = 16 };

static inline struct range bucket_of(const struct ketama_view *view, uint32_t hash)
{
    const uint32_t *bucket = &view->index[hash >> view->shift];
    uint32_t high = at_most(bucket[1], view->arc_count);
    return (struct range){at_most(bucket[0], high), high};
}

/* Arcs end at evenly spread hashes, so a hash's position in its bucket predicts that of
 * its arc. Prefetches the memory there, with some arcs on either side. */
static inline uint32_t guess(const struct ketama_view *view, struct range in,
                             uint32_t hash)
{
    enum { SIDE = 5 };
    uint64_t inside = hash & ((UINT32_C(1) << view->shift) - 1);
    uint32_t at = in.low + (uint32_t)(inside * (in.high - in.low) >> view->shift);
    KETAMA_PREFETCH(&view->arcs[at - at_most(SIDE, at)]);
    KETAMA_PREFETCH(&view->arcs[at_most(at + SIDE, view->arc_count - 1)]);
    return at;
}

/* Which of a few arcs it is cannot be predicted, so all are compared and counted without
 * a branch; those beyond the range count as 0. */
static inline uint32_t among_few(const struct ketama_view *view, struct range in,
                                 uint32_t hash)
{
    uint32_t passed = 0;
    for (uint32_t i = 0; i < FEW; i++) {
        uint32_t at = at_most(in.low + i, view->arc_count - 1);
        passed += (uint32_t)(in.low + i < in.high) & (view->arcs[at].end < hash);
    }
    return in.low + passed;
}

/* Among many: those near the guess, and if the guess is bad, a binary search. */
KETAMA_NOINLINE static uint32_t among_many(const struct ketama_view *view,
                                           struct range in, uint32_t hash)
{
    const ketama_arc *arcs = view->arcs;
    uint32_t at = guess(view, in, hash), end;

    if (arcs[at].end < hash) {
        end = at + 1 + at_most(NEAR, in.high - at - 1);
        while (++at < end)
            if (arcs[at].end >= hash)
                return at;
        in.low = at;
    } else {
        end = at - at_most(NEAR, at - in.low);
        for (; at > end; at--)
            if (arcs[at - 1].end < hash)
                return at;
        in.high = at;
    }
    while (in.low < in.high) {
        uint32_t middle = in.low + (in.high - in.low) / 2;
        if (arcs[middle].end < hash)
            in.low = middle + 1;
        else
            in.high = middle;
    }
    return in.low;
}

/* The index of the first arc that ends at or after a hash; past the last one, 0. */
static inline uint32_t find_arc(const struct ketama_view *view, uint32_t hash)
{
    struct range in = bucket_of(view, hash);
    uint32_t at =
        in.high - in.low > FEW ? among_many(view, in, hash) : among_few(view, in, hash);
    return at < view->arc_count ? at : 0;
}

static inline uint32_t server_at(const struct ketama_view *view, uint32_t at)
{
    return at_most(view->arcs[at].server, view->server_count - 1);
}

/* The point that an arc belongs to. */
static inline uint32_t point_at(const struct ketama_profile *profile,
                                const struct ketama_view *view, uint32_t at)
{
    return profile->point_at == NULL ? view->arcs[at].end : profile->point_at(view, at);
}

uint32_t ketama_find_arc(ketama_continuum c, const void *key, size_t len)
{
    return find_arc(&c->view, ketama_hash_key(&c->dialect, key, len));
}

/* Inline, as a call would cost ketama_find() more than its branch does. */
static inline uint32_t find_hash(ketama_continuum c, uint32_t hash, uint32_t *point)
{
    uint32_t at = find_arc(&c->view, hash);
    if (point != NULL)
        *point = point_at(c->dialect.profile, &c->view, at);
    return server_at(&c->view, at);
}

uint32_t ketama_find_hash(ketama_continuum c, uint32_t hash, uint32_t *point)
{
    return find_hash(c, hash, point);
}

uint32_t ketama_find(ketama_continuum c, const void *key, size_t len, uint32_t *point)
{
    return find_hash(c, ketama_hash_key(&c->dialect, key, len), point);
}

uint32_t ketama_key_hash(ketama_continuum c, const void *key, size_t len)
{
    return ketama_hash_key(&c->dialect, key, len);
}

/* In two passes, so that the memory for all is being fetched before the first is needed.
 */
static void find_hashes(ketama_continuum c, const uint32_t *hashes, size_t count,
                        uint32_t *servers, uint32_t *points)
{
    const struct ketama_view *view = &c->view;
    for (size_t i = 0; i < count; i++)
        (void)guess(view, bucket_of(view, hashes[i]), hashes[i]);
    for (size_t i = 0; i < count; i++)
        servers[i] = find_hash(c, hashes[i], points != NULL ? &points[i] : NULL);
}

void ketama_find_many(ketama_continuum c, const ketama_key *keys, size_t count,
                      uint32_t *servers, uint32_t *points)
{
    uint32_t hashes[KETAMA_BATCH];

    for (size_t done = 0, some; done < count; done += some) {
        some = count - done < KETAMA_BATCH ? count - done : KETAMA_BATCH;
        ketama_hash_keys(&c->dialect, keys + done, some, hashes);
        find_hashes(c, hashes, some, servers + done,
                    points != NULL ? points + done : NULL);
    }
}

/* ---- Without some of the servers */

static inline uint32_t next_arc(const struct ketama_view *view, uint32_t at)
{
    return at + 1 < view->arc_count ? at + 1 : 0;
}

static uint32_t no_server(uint32_t *point)
{
    if (point != NULL)
        *point = 0;
    return KETAMA_NO_SERVER;
}

/* Walks on from an arc to the first one of a server that is not excluded. */
static uint32_t find_among(ketama_continuum c, uint32_t at,
                           const unsigned char *excluded, uint32_t *point)
{
    const struct ketama_view *view = &c->view;

    for (uint32_t i = 0; i < view->arc_count; i++, at = next_arc(view, at)) {
        uint32_t server = server_at(view, at);
        if (excluded[server])
            continue;
        if (point != NULL)
            *point = point_at(c->dialect.profile, view, at);
        return server;
    }
    return no_server(point);
}

uint32_t ketama_find_among(ketama_continuum c, const void *key, size_t len,
                           const unsigned char *excluded, uint32_t *point)
{
    return find_among(c, ketama_find_arc(c, key, len), excluded, point);
}

/* If none is left for one key, none is left for any. */
void ketama_find_many_among(ketama_continuum c, const ketama_key *keys, size_t count,
                            const unsigned char *excluded, uint32_t *servers,
                            uint32_t *points)
{
    uint32_t hashes[KETAMA_BATCH];
    bool is_any_left = true;

    for (size_t done = 0, some; done < count; done += some) {
        some = count - done < KETAMA_BATCH ? count - done : KETAMA_BATCH;
        ketama_hash_keys(&c->dialect, keys + done, some, hashes);
        for (size_t i = 0; i < some; i++)
            (void)guess(&c->view, bucket_of(&c->view, hashes[i]), hashes[i]);
        for (size_t i = 0; i < some; i++) {
            uint32_t *point = points != NULL ? &points[done + i] : NULL;
            uint32_t arc = find_arc(&c->view, hashes[i]);
            servers[done + i] =
                is_any_left ? find_among(c, arc, excluded, point) : no_server(point);
            is_any_left = servers[done + i] != KETAMA_NO_SERVER;
        }
    }
}

/* Which servers were listed: the list itself while it is short, else a bit each. */
struct seen {
    const uint32_t *list;
    uint32_t count;
    unsigned char *bits;
};

enum { SHORT_LIST = 64 };

static bool is_new(const struct seen *seen, uint32_t server)
{
    if (seen->bits != NULL)
        return (seen->bits[server / 8] >> (server % 8) & 1) == 0;
    for (uint32_t i = 0; i < seen->count; i++)
        if (seen->list[i] == server)
            return false;
    return true;
}

int ketama_successors_among(ketama_continuum c, const void *key, size_t len,
                            const unsigned char *excluded, uint32_t *servers,
                            uint32_t count)
{
    const struct ketama_view *view = &c->view;
    struct seen seen = {servers, 0, NULL};
    uint32_t at = find_arc(view, ketama_hash_key(&c->dialect, key, len));

    count = at_most(count, view->server_count);
    if (count > SHORT_LIST) {
        seen.bits = calloc(view->server_count / 8 + 1, 1);
        if (seen.bits == NULL)
            return ketama_store_failure(KETAMA_ENOMEM, NULL, NULL);
    }
    for (uint32_t i = 0; i < view->arc_count && seen.count < count; i++) {
        uint32_t server = server_at(view, at);
        if ((excluded == NULL || !excluded[server]) && is_new(&seen, server)) {
            servers[seen.count++] = server;
            if (seen.bits != NULL)
                seen.bits[server / 8] |= (unsigned char)(1 << server % 8);
        }
        at = next_arc(view, at);
    }
    free(seen.bits);
    return (int)seen.count;
}

int ketama_successors(ketama_continuum c, const void *key, size_t len, uint32_t *servers,
                      uint32_t count)
{
    return ketama_successors_among(c, key, len, NULL, servers, count);
}

uint32_t ketama_count_servers(ketama_continuum c)
{
    return c->view.server_count;
}

uint32_t ketama_count_points(ketama_continuum c)
{
    return c->view.point_count;
}

uint64_t ketama_generation(ketama_continuum c)
{
    return c->generation;
}

/* "" if a damaged image's text would not end within it. */
static const char *string_at(const struct ketama_view *view, uint32_t at)
{
    if (at >= view->strings_bytes)
        return "";
    const char *text = view->strings + at;
    return memchr(text, '\0', (size_t)view->strings_bytes - at) != NULL ? text : "";
}

int ketama_server_at(ketama_continuum c, uint32_t index, ketama_server *server)
{
    if (index >= c->view.server_count) {
        ketama_failure failure;
        int status = ketama_set_failure(
            &failure, KETAMA_ERANGE, 0, "no server %lu: there are %lu",
            (unsigned long)index, (unsigned long)c->view.server_count);
        return ketama_store_failure(status, NULL, &failure);
    }
    const struct ketama_image_server *from = &c->view.servers[index];
    *server = (ketama_server){
        .address = string_at(&c->view, from->address_at),
        .name = from->name_at != 0 ? string_at(&c->view, from->name_at) : NULL,
        .weight = from->weight,
        .share = from->share,
        .points = from->points,
    };
    return KETAMA_OK;
}

uint32_t ketama_points(ketama_continuum c, uint32_t first, uint32_t count,
                       ketama_point *out)
{
    const struct ketama_view *view = &c->view;
    uint32_t available = view->point_count - at_most(first, view->point_count);

    count = at_most(count, available);
    for (uint32_t i = 0; i < count; i++) {
        uint64_t at = (uint64_t)view->first_point + first + i;
        uint32_t arc = (uint32_t)(at < view->arc_count ? at : at - view->arc_count);
        out[i] = (ketama_point){point_at(c->dialect.profile, view, arc),
                                server_at(view, arc)};
    }
    return count;
}

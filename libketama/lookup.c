/*
 * lookup.c - key -> point -> server, of one key and of many
 *
 * No system call, no lock; no allocation but for a long list of successors. What an
 * index in the image says is clamped to what there is, so that not even a damaged image
 * is read beyond its end.
 */
#include <stdlib.h>
#include <string.h>

#include "internal.h"

static uint32_t at_most(uint32_t value, uint32_t most)
{
    return value < most ? value : most;
}

#ifdef __GNUC__
#define PREFETCH(address) __builtin_prefetch(address)
#define APART             __attribute__((noinline))
#else
#define PREFETCH(address) (void)(address)
#define APART
#endif

/* Points number low to high - 1 are those that a hash could meet, or the next one is. */
struct range {
    uint32_t low, high;
};

enum { FEW = 4, NEAR = 16 };

static inline struct range bucket_of(const struct ketama_view *view, uint32_t hash)
{
    const uint32_t *bucket = &view->index[hash >> view->shift];
    uint32_t high = at_most(bucket[1], view->point_count);
    return (struct range){at_most(bucket[0], high), high};
}

/* Points are spread evenly, so where a hash is in its bucket tells about where its point
 * is. Fetches what is there from memory, some points to either side. */
static inline uint32_t guess(const struct ketama_view *view, struct range in,
                             uint32_t hash)
{
    enum { SIDE = 5 };
    uint64_t inside = hash & ((UINT32_C(1) << view->shift) - 1);
    uint32_t at = in.low + (uint32_t)(inside * (in.high - in.low) >> view->shift);
    PREFETCH(&view->points[at - at_most(SIDE, at)]);
    PREFETCH(&view->points[at_most(at + SIDE, view->point_count - 1)]);
    return at;
}

/* How many of a few points are passed cannot be foreseen, so each is looked at and
 * counted, without a branch; what lies beyond them counts for nothing. */
static inline uint32_t among_few(const struct ketama_view *view, struct range in,
                                 uint32_t hash)
{
    uint32_t passed = 0;
    for (uint32_t i = 0; i < FEW; i++) {
        uint32_t at = at_most(in.low + i, view->point_count - 1);
        passed += (uint32_t)(in.low + i < in.high) & (view->points[at].point < hash);
    }
    return in.low + passed;
}

/* Of many, the guess and those near it, and where the guess is bad, by halves. */
APART static uint32_t among_many(const struct ketama_view *view, struct range in,
                                 uint32_t hash)
{
    const ketama_point *points = view->points;
    uint32_t at = guess(view, in, hash), end;

    if (points[at].point < hash) {
        end = at + 1 + at_most(NEAR, in.high - at - 1);
        while (++at < end)
            if (points[at].point >= hash)
                return at;
        in.low = at;
    } else {
        end = at - at_most(NEAR, at - in.low);
        for (; at > end; at--)
            if (points[at - 1].point < hash)
                return at;
        in.high = at;
    }
    while (in.low < in.high) {
        uint32_t middle = in.low + (in.high - in.low) / 2;
        if (points[middle].point < hash)
            in.low = middle + 1;
        else
            in.high = middle;
    }
    return in.low;
}

/* The number of the first point >= hash; past the last one, 0. */
static inline uint32_t position(const struct ketama_view *view, uint32_t hash)
{
    struct range in = bucket_of(view, hash);
    uint32_t at =
        in.high - in.low > FEW ? among_many(view, in, hash) : among_few(view, in, hash);
    return at < view->point_count ? at : 0;
}

/* A point's server, and the point itself where it is asked for. */
static inline uint32_t met(const struct ketama_view *view, uint32_t at, uint32_t *point)
{
    const ketama_point *found = &view->points[at];
    if (point != NULL)
        *point = found->point;
    return at_most(found->server, view->server_count - 1);
}

uint32_t ketama_position(ketama_continuum c, const void *key, size_t len)
{
    return position(&c->view, c->profile->hash(key, len));
}

uint32_t ketama_find_hash(ketama_continuum c, uint32_t hash, uint32_t *point)
{
    return met(&c->view, position(&c->view, hash), point);
}

uint32_t ketama_find(ketama_continuum c, const void *key, size_t len, uint32_t *point)
{
    uint32_t hash = c->profile->hash(key, len);
    return met(&c->view, position(&c->view, hash), point);
}

/* In two passes, so that the memory of all is under way before the first is needed. */
static void find_hashes(const struct ketama_view *view, const uint32_t *hashes,
                        size_t count, uint32_t *servers, uint32_t *points)
{
    for (size_t i = 0; i < count; i++)
        (void)guess(view, bucket_of(view, hashes[i]), hashes[i]);
    for (size_t i = 0; i < count; i++)
        servers[i] =
            met(view, position(view, hashes[i]), points != NULL ? &points[i] : NULL);
}

void ketama_find_many(ketama_continuum c, const ketama_key *keys, size_t count,
                      uint32_t *servers, uint32_t *points)
{
    enum { BATCH = 128 };
    uint32_t hashes[BATCH];

    for (size_t done = 0, some; done < count; done += some) {
        some = count - done < BATCH ? count - done : BATCH;
        c->profile->hashes(keys + done, some, hashes);
        find_hashes(&c->view, hashes, some, servers + done,
                    points != NULL ? points + done : NULL);
    }
}

/* Which servers have been met: their own list while it is short, then a bit each. */
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

int ketama_successors(ketama_continuum c, const void *key, size_t len, uint32_t *servers,
                      uint32_t count)
{
    const struct ketama_view *view = &c->view;
    struct seen seen = {servers, 0, NULL};
    uint32_t at = position(view, c->profile->hash(key, len));

    count = at_most(count, view->server_count);
    if (count > SHORT_LIST) {
        seen.bits = calloc(view->server_count / 8 + 1, 1);
        if (seen.bits == NULL)
            return ketama_fail(KETAMA_ENOMEM, NULL, NULL);
    }
    for (uint32_t i = 0; i < view->point_count && seen.count < count; i++) {
        uint32_t server = met(view, at, NULL);
        if (is_new(&seen, server)) {
            servers[seen.count++] = server;
            if (seen.bits != NULL)
                seen.bits[server / 8] |= (unsigned char)(1 << server % 8);
        }
        at = at + 1 < view->point_count ? at + 1 : 0;
    }
    free(seen.bits);
    return (int)seen.count;
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

/* "" where a damaged image's text would not end within it. */
static const char *address_at(const struct ketama_view *view, uint32_t at)
{
    size_t room = at < view->names_bytes ? (size_t)view->names_bytes - at : 0;
    return room > 0 && memchr(view->names + at, '\0', room) != NULL ? view->names + at
                                                                    : "";
}

int ketama_server_at(ketama_continuum c, uint32_t index, ketama_server *server)
{
    if (index >= c->view.server_count) {
        struct ketama_flaw flaw;
        int status = ketama_flawed(
            &flaw, KETAMA_ERANGE, 0, "there is no server %lu, the last one is %lu",
            (unsigned long)index, (unsigned long)c->view.server_count - 1);
        return ketama_fail(status, NULL, &flaw);
    }
    const struct ketama_image_server *from = &c->view.servers[index];
    *server = (ketama_server){
        .address = address_at(&c->view, from->address_at),
        .weight = from->weight,
        .share = from->share,
        .points = from->points,
    };
    return KETAMA_OK;
}

uint32_t ketama_points(ketama_continuum c, uint32_t first, uint32_t count,
                       ketama_point *out)
{
    uint32_t there = c->view.point_count - at_most(first, c->view.point_count);
    count = at_most(count, there);
    if (count > 0)
        memcpy(out, c->view.points + first, count * sizeof *out);
    return count;
}

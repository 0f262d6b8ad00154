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

static inline struct range bucket_of(const struct ketama_packed *arcs, uint32_t hash)
{
    const uint32_t *bucket = &arcs->index[hash >> arcs->shift];
    uint32_t high = at_most(bucket[1], arcs->count);
    return (struct range){at_most(bucket[0], high), high};
}

/* The words of a bucket are in the order of their arcs' ends, those of equal ends aside;
 * they are not less than the word of a hash that is one of these ends. */
static inline uint32_t word_of(const struct ketama_packed *arcs, uint32_t hash)
{
    return hash << arcs->server_bits;
}

/* How many words from there on end before that one. Which it is cannot be predicted, so
 * all in the window are compared and counted without a branch; those from `most` on
 * count as 0. */
static inline uint32_t count_passed(const uint32_t *words, int most, uint32_t word)
{
    uint32_t passed = 0;
    for (int i = 0; i < KETAMA_WINDOW; i++)
        passed += (uint32_t)(i < most) & (words[i] < word);
    return passed;
}

/* Arcs end at evenly spread hashes, so a hash's position in its bucket predicts that of
 * its arc. Returns where the window begins: the words around there, or the first ones of
 * a bucket that has no more. */
static inline uint32_t guess(const struct ketama_packed *arcs, struct range in,
                             uint32_t hash)
{
    uint64_t inside = hash & ((UINT32_C(1) << arcs->shift) - 1);
    uint32_t count = in.high - in.low, at = (uint32_t)(inside * count >> arcs->shift);
    uint32_t most = count - at_most(KETAMA_WINDOW, count);
    return in.low + at_most(at - at_most(KETAMA_WINDOW / 2, at), most);
}

/* Among many: those near the guess, and if the guess is bad, a binary search. */
KETAMA_NOINLINE static uint32_t among_many(const struct ketama_packed *arcs,
                                           uint32_t hash)
{
    struct range in = bucket_of(arcs, hash);
    uint32_t at = guess(arcs, in, hash), word = word_of(arcs, hash);
    uint32_t passed = count_passed(&arcs->words[at], KETAMA_WINDOW, word);

    if ((passed > 0 || at == in.low) &&
        (passed < KETAMA_WINDOW || at + KETAMA_WINDOW >= in.high))
        return at_most(at + passed, in.high);
    while (in.low < in.high) {
        uint32_t middle = in.low + (in.high - in.low) / 2;
        if (arcs->words[middle] < word)
            in.low = middle + 1;
        else
            in.high = middle;
    }
    return in.low;
}

/* The index of the first arc that ends at or after a hash; past the last one, the count,
 * or a little more if the image is damaged. */
static inline uint32_t find_arc(const struct ketama_packed *arcs, uint32_t hash)
{
    const uint32_t *bucket = &arcs->index[hash >> arcs->shift];
    uint32_t low = at_most(bucket[0], arcs->count), count = bucket[1] - low;
    if (count > KETAMA_WINDOW)
        return among_many(arcs, hash);
    return low + count_passed(&arcs->words[low], (int)count, word_of(arcs, hash));
}

static inline uint32_t wrap(const struct ketama_packed *arcs, uint32_t at)
{
    return at < arcs->count ? at : 0;
}

static inline uint32_t server_at(const struct ketama_view *view, uint32_t at)
{
    return at_most(ketama_packed_server(&view->arcs, view->arcs.words[at]),
                   view->server_count - 1);
}

/* The end of the arc that find_arc() has returned for a hash. The two words tell how far
 * it is after the hash, if that is not so far that the bits which words lack differ. */
static inline uint32_t end_after(const struct ketama_packed *arcs, uint32_t hash,
                                 uint32_t at)
{
    uint32_t buckets = UINT32_C(1) << (32 - arcs->shift);
    uint32_t far = (hash >> arcs->shift) + (buckets >> arcs->server_bits);
    if (at >= at_most(arcs->index[at_most(far, buckets)], arcs->count))
        return ketama_arc_at(arcs, wrap(arcs, at)).end;
    return hash + ((arcs->words[at] - word_of(arcs, hash)) >> arcs->server_bits);
}

/* The point of an arc that ends there. */
static inline uint32_t point_of(ketama_continuum c, uint32_t at, uint32_t end)
{
    const struct ketama_profile *profile = c->dialect.profile;
    return profile->point_at == NULL ? end : profile->point_at(&c->view, at, end);
}

static uint32_t point_at(ketama_continuum c, uint32_t at)
{
    return point_of(c, at, ketama_arc_at(&c->view.arcs, at).end);
}

uint32_t ketama_find_arc(ketama_continuum c, const void *key, size_t len)
{
    const struct ketama_packed *arcs = &c->view.arcs;
    return wrap(arcs, find_arc(arcs, ketama_hash_key(&c->dialect, key, len)));
}

KETAMA_NOINLINE static uint32_t point_after(ketama_continuum c, uint32_t hash,
                                            uint32_t at)
{
    const struct ketama_packed *arcs = &c->view.arcs;
    return point_of(c, wrap(arcs, at), end_after(arcs, hash, at));
}

/* Inline, as a call would cost ketama_find() more than its branch does. */
static inline uint32_t find_hash(ketama_continuum c, uint32_t hash, uint32_t *point)
{
    uint32_t at = find_arc(&c->view.arcs, hash);
    if (point != NULL)
        *point = point_after(c, hash, at);
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

static void prefetch(const struct ketama_packed *arcs, const uint32_t *hashes,
                     size_t count)
{
    for (size_t i = 0; i < count; i++) {
        uint32_t at = guess(arcs, bucket_of(arcs, hashes[i]), hashes[i]);
        KETAMA_PREFETCH(&arcs->words[at]);
        KETAMA_PREFETCH(&arcs->words[at + KETAMA_WINDOW - 1]);
    }
}

/* In two passes, so that the memory for all is being fetched before the first is needed.
 */
static void find_hashes(ketama_continuum c, const uint32_t *hashes, size_t count,
                        uint32_t *servers, uint32_t *points)
{
    prefetch(&c->view.arcs, hashes, count);
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

    for (uint32_t i = 0; i < view->arcs.count; i++, at = wrap(&view->arcs, at + 1)) {
        uint32_t server = server_at(view, at);
        if (excluded[server])
            continue;
        if (point != NULL)
            *point = point_at(c, at);
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
        prefetch(&c->view.arcs, hashes, some);
        for (size_t i = 0; i < some; i++) {
            uint32_t *point = points != NULL ? &points[done + i] : NULL;
            uint32_t arc = wrap(&c->view.arcs, find_arc(&c->view.arcs, hashes[i]));
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
    uint32_t at = ketama_find_arc(c, key, len);

    count = at_most(count, view->server_count);
    if (count > SHORT_LIST) {
        seen.bits = calloc(view->server_count / 8 + 1, 1);
        if (seen.bits == NULL)
            return ketama_store_failure(KETAMA_ENOMEM, NULL, NULL);
    }
    for (uint32_t i = 0; i < view->arcs.count && seen.count < count; i++) {
        uint32_t server = server_at(view, at);
        if ((excluded == NULL || !excluded[server]) && is_new(&seen, server)) {
            servers[seen.count++] = server;
            if (seen.bits != NULL)
                seen.bits[server / 8] |= (unsigned char)(1 << server % 8);
        }
        at = wrap(&view->arcs, at + 1);
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
        uint32_t arc = (uint32_t)(at < view->arcs.count ? at : at - view->arcs.count);
        out[i] = (ketama_point){point_at(c, arc), server_at(view, arc)};
    }
    return count;
}

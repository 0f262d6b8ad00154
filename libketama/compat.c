/*
 * compat.c - the functions of libketama.so.1, on the same handle
 *
 * Programs roll for every request and smoke when it is done, so the process keeps the
 * newest handle of each file, and a roll costs one check of the file. This cache is the
 * only state in the library that outlives a call.
 */
#include "internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ketama_compat.h"
#include "profile/profile.h"

enum { IP_MAX = sizeof((mcs *)NULL)->ip - 1 };

/* One allocation, so that closing the handle frees it. */
struct mcs_array {
    time_t modtime;
    mcs array[];
};
_Static_assert(sizeof(struct mcs_array) <= sizeof(mcs),
               "one more mcs has room for the head");

/* ---- The array of points with their addresses */

static int check_addresses(ketama_continuum c)
{
    ketama_server server;
    for (uint32_t i = 0; i < c->view.server_count; i++) {
        int status = ketama_server_at(c, i, &server);
        if (status != KETAMA_OK)
            return status;
        if (strlen(server.address) > IP_MAX) {
            ketama_failure failure;
            ketama_set_failure(
                &failure, KETAMA_EADDRESS, c->view.servers[i].line,
                "address %s is too long for libketama.so.1: %zu bytes, at "
                "most %d; use ketama_open()",
                ketama_quote_text(server.address).text, strlen(server.address), IP_MAX);
            return ketama_store_failure(KETAMA_EADDRESS, c->path, &failure);
        }
    }
    return KETAMA_OK;
}

/* Makes the array, once; a slower thread discards its own. Each point is the end of an
 * arc, so a program that searches the array itself gets the same answers in every
 * dialect. Returns NULL on failure. */
static struct mcs_array *mcs_array_of(ketama_continuum c)
{
    if (c == NULL || c->view.arcs.count == 0)
        return NULL;
    struct mcs_array *made = atomic_load(&c->mcs_array);
    void *none = NULL;
    uint32_t count = c->view.arcs.count;

    if (made != NULL || check_addresses(c) != KETAMA_OK)
        return made;
    /* A product, so that calloc() refuses what overflows a 32-bit size_t. */
    made = calloc((size_t)count + 1, sizeof *made->array);
    if (made == NULL) {
        ketama_store_failure(KETAMA_ENOMEM, c->path, NULL);
        return NULL;
    }
    made->modtime = (time_t)(c->source.stamp.mtime_ns / 1000000000 -
                             (c->source.stamp.mtime_ns % 1000000000 < 0));
    uint32_t bucket = 0;
    for (uint32_t i = 0; i < count; i++) {
        ketama_arc arc = ketama_arc_from(&c->view.arcs, i, &bucket);
        ketama_server server;
        made->array[i].point = arc.end;
        /* The image may have been damaged since it was checked: cut, do not overrun. */
        if (ketama_server_at(c, arc.server, &server) == KETAMA_OK)
            memcpy(made->array[i].ip, server.address, strnlen(server.address, IP_MAX));
    }
    if (!atomic_compare_exchange_strong(&c->mcs_array, &none, made)) {
        free(made);
        made = none;
    }
    return made;
}

/* ---- The cache of handles */

enum { CACHED = 16 };

/* A new path evicts the least recently used. */
static struct cached {
    ketama_continuum c;
    uint64_t used;
} cache[CACHED];
static uint64_t uses;

/*
 * A lock holds 0, or the id of the process whose thread holds it. A child that was
 * forked while another thread held it takes it over, as that thread does not exist in
 * the child. Waiting is bounded: after a second, a caller skips the cache, which is
 * correct but slower.
 */
static atomic_long cache_lock;  /* held for a few instructions */
static atomic_long making_lock; /* held while one thread makes an array for all */

static bool lock(atomic_long *owner)
{
    enum { PAUSES = 20000, PAUSE_NS = 50000 };
    long self = (long)getpid();
    for (int tries = 0; tries < PAUSES; tries++) {
        long other = 0;
        if (atomic_compare_exchange_strong(owner, &other, self) ||
            (other != self && atomic_compare_exchange_strong(owner, &other, self)))
            return true;
        if (tries > 100)
            (void)nanosleep(&(struct timespec){.tv_nsec = PAUSE_NS}, NULL);
    }
    return false;
}

static void unlock(atomic_long *owner)
{
    atomic_store(owner, 0);
}

/* Returns the cached handle of a path, with one more owner; NULL if there is none. */
static ketama_continuum cache_get(const char *path)
{
    ketama_continuum found = NULL;
    if (!lock(&cache_lock))
        return NULL;
    for (unsigned i = 0; i < CACHED && found == NULL; i++)
        if (cache[i].c != NULL && strcmp(cache[i].c->path, path) == 0) {
            cache[i].used = ++uses;
            found = ketama_retain(cache[i].c);
        }
    unlock(&cache_lock);
    return found;
}

/* Caches a handle, in place of the one that was cached for its path. */
static void cache_put(ketama_continuum c)
{
    ketama_continuum evicted;
    unsigned at = 0;
    if (!lock(&cache_lock))
        return;
    for (unsigned i = 0; i < CACHED; i++) {
        if (cache[i].c != NULL && strcmp(cache[i].c->path, c->path) == 0) {
            at = i;
            break;
        }
        if (cache[i].used < cache[at].used)
            at = i;
    }
    evicted = cache[at].c;
    cache[at] = (struct cached){ketama_retain(c), ++uses};
    unlock(&cache_lock);
    ketama_close(evicted);
}

/* ---- The functions */

/* Fills the members that callers read of a handle that nobody else has yet, and caches
 * it. */
static bool make_and_cache(ketama_continuum c)
{
    struct mcs_array *points = mcs_array_of(c);
    if (points == NULL)
        return false;
    c->numpoints = (int)c->view.arcs.count;
    c->modtime = &points->modtime;
    c->array = points->array;
    cache_put(c);
    return true;
}

/* An equal stamp alone could hide a second change within one tick of the file's clock.
 */
static bool is_same_source(const struct ketama_source *a, const struct ketama_source *b)
{
    return ketama_stamp_equal(&a->stamp, &b->stamp) &&
           memcmp(a->md5, b->md5, sizeof a->md5) == 0;
}

/* Returns the newest handle of a path, owned by the caller; NULL on failure. */
static ketama_continuum newest(const char *path)
{
    ketama_continuum c = cache_get(path), newer = NULL, cached;
    bool locked;

    if (c != NULL) {
        int status = ketama_refresh(c, &newer);
        if (status == KETAMA_OK)
            return c;
        ketama_close(c);
        if (status < 0)
            return NULL;
        c = newer;
    } else if (ketama_open(&c, path, NULL) != KETAMA_OK) {
        return NULL;
    }
    locked = lock(&making_lock);
    cached = cache_get(path); /* another thread may have been faster */
    if (cached != NULL && is_same_source(&cached->source, &c->source)) {
        ketama_close(c);
        c = cached;
    } else {
        ketama_close(cached);
        if (!make_and_cache(c)) {
            ketama_close(c);
            c = NULL;
        }
    }
    if (locked)
        unlock(&making_lock);
    return c;
}

/* Without servers and points: for a program whose first roll failed. Every function
 * accepts it; a lookup reads some of the arcs, and finds server 0, which does not exist.
 */
static const uint32_t no_words[KETAMA_SLACK];
static const uint32_t no_index[3];
static const _Atomic uint32_t not_superseded;
static char nothing[1];
static struct ketama_handle empty = {
    .view = {.arcs = {.words = no_words, .index = no_index, .shift = 31},
             .strings = nothing,
             .superseded = &not_superseded},
    .dialect = {.profile = &ketama_profile_libketama, .hash = ketama_hash_md5},
    .chosen = nothing,
    .ring_settings = nothing,
    .generation = 1,
    .flags = KETAMA_STATIC,
};

int ketama_roll(ketama_continuum *c, char *filename)
{
    const char *path = filename != NULL ? filename : "";
    ketama_failure failure;
    char *absolute = NULL;
    int status = ketama_absolute_path(path, &absolute, &failure);

    ketama_continuum rolled = NULL;
    ketama_clear_failure();
    if (status == KETAMA_OK)
        rolled = newest(absolute);
    else
        ketama_store_failure(status, path, &failure);
    int saved = errno;
    /* A program that logs the error and goes on needs a ring that it can look up in. */
    *c = rolled != NULL ? rolled : absolute != NULL ? cache_get(absolute) : NULL;
    if (*c == NULL)
        *c = &empty;
    free(absolute);
    errno = saved;
    return rolled != NULL;
}

void ketama_smoke(ketama_continuum c)
{
    ketama_close(c);
}

mcs *ketama_get_server(char *key, ketama_continuum c)
{
    struct mcs_array *points = mcs_array_of(c);
    return points != NULL ? &points->array[ketama_find_arc(c, key, strlen(key))] : NULL;
}

void ketama_print_continuum(ketama_continuum c)
{
    struct mcs_array *points = mcs_array_of(c);
    if (points == NULL && c != &empty)
        return;
    printf("Numpoints in continuum: %lu\n", (unsigned long)c->view.arcs.count);
    for (uint32_t i = 0; i < c->view.arcs.count; i++)
        printf("%s (%u)\n", points->array[i].ip, points->array[i].point);
}

int ketama_compare(mcs *a, mcs *b)
{
    return (a->point > b->point) - (a->point < b->point);
}

unsigned int ketama_hashi(char *string)
{
    return ketama_hash(string, strlen(string));
}

void ketama_md5_digest(char *string, unsigned char digest[16])
{
    ketama_md5(string, strlen(string), digest);
}

/*
 * compat.c - the functions of libketama.so.1, on the one handle
 *
 * Programs roll for each request and smoke when it is served, so the process keeps the
 * newest handle of a file, and a roll is no more than a look at the file. What it keeps
 * is the only thing in this library that lives between calls.
 */
#define _POSIX_C_SOURCE 200809L

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "internal.h"
#include "ketama_compat.h"

enum { IP_MAX = sizeof((mcs *)NULL)->ip - 1 };

/* One piece of memory, so that closing the handle frees it. */
struct old {
    time_t modtime;
    mcs array[];
};
_Static_assert(sizeof(struct old) <= sizeof(mcs), "one more mcs has room for the head");

/* ---- The array of points with their addresses */

/* The line of an address that is too long is no longer known; the file has it. */
static int fail_too_long(ketama_continuum c, uint32_t server, const char *address)
{
    struct ketama_flaw flaw, unread;
    struct ketama_source source;
    struct ketama_server_list list;
    uint64_t line = server + 1;
    char *text;

    if (c->path != NULL &&
        ketama_source_read(c->path, &source, &text, &unread) == KETAMA_OK) {
        if (ketama_servers_parse(text, (size_t)source.stamp.size_bytes, &list,
                                 &unread) == KETAMA_OK &&
            server < list.count)
            line = list.at[server].line;
        ketama_servers_free(&list);
        free(text);
    }
    ketama_flawed(
        &flaw, KETAMA_EADDRESS, line,
        "address %s has %lu bytes, and the interface of libketama.so.1 has room "
        "for %d",
        ketama_quote(address, strlen(address)).text, (unsigned long)strlen(address),
        IP_MAX);
    return ketama_fail(KETAMA_EADDRESS, c->path, &flaw);
}

static int check_addresses(ketama_continuum c)
{
    ketama_server server;
    for (uint32_t i = 0; i < c->view.server_count; i++) {
        int status = ketama_server_at(c, i, &server);
        if (status != KETAMA_OK)
            return status;
        if (strlen(server.address) > IP_MAX)
            return fail_too_long(c, i, server.address);
    }
    return KETAMA_OK;
}

/* Makes the array, once; a thread that was slower throws its own away. NULL: failed. */
static struct old *old_of(ketama_continuum c)
{
    struct old *made = atomic_load(&c->old);
    void *none = NULL;
    uint32_t count = c->view.point_count;

    if (made != NULL || check_addresses(c) != KETAMA_OK)
        return made;
    /* As a product, which calloc() refuses where a size_t of 32 bits can't hold it. */
    made = calloc((size_t)count + 1, sizeof *made->array);
    if (made == NULL) {
        ketama_fail(KETAMA_ENOMEM, c->path, NULL);
        return NULL;
    }
    made->modtime = (time_t)(c->source.stamp.mtime_ns / 1000000000 -
                             (c->source.stamp.mtime_ns % 1000000000 < 0));
    for (uint32_t i = 0; i < count; i++) {
        ketama_point point;
        ketama_server server;
        ketama_points(c, i, 1, &point);
        made->array[i].point = point.point;
        /* What the image says may have changed since it was checked: cut, not overrun.
         */
        if (ketama_server_at(c, point.server, &server) == KETAMA_OK)
            memcpy(made->array[i].ip, server.address, strnlen(server.address, IP_MAX));
    }
    if (!atomic_compare_exchange_strong(&c->old, &none, made)) {
        free(made);
        made = none;
    }
    return made;
}

/* ---- What is kept */

enum { KEPT = 16 };

/* The oldest use is given up for a new path. */
static struct kept {
    ketama_continuum c;
    uint64_t used;
} kept[KEPT];
static uint64_t uses;

/*
 * A lock holds 0, or the process whose thread has it. A child that was forked while
 * another thread had it takes it over, for that thread does not exist there. Nobody
 * waits for ever: who has waited a second does without, and that is good as well, if
 * slower.
 */
static atomic_long inside; /* for the table; held for some instructions */
static atomic_long making; /* for making an array, which one thread does for all */

static bool take(atomic_long *lock)
{
    enum { PAUSES = 20000, PAUSE_NS = 50000 };
    long self = (long)getpid();
    for (int tries = 0; tries < PAUSES; tries++) {
        long other = 0;
        if (atomic_compare_exchange_strong(lock, &other, self) ||
            (other != self && atomic_compare_exchange_strong(lock, &other, self)))
            return true;
        if (tries > 100)
            (void)nanosleep(&(struct timespec){.tv_nsec = PAUSE_NS}, NULL);
    }
    return false;
}

static void give(atomic_long *lock)
{
    atomic_store(lock, 0);
}

/* The kept handle of a path, with one more owner; NULL: none. */
static ketama_continuum kept_of(const char *path)
{
    ketama_continuum found = NULL;
    if (!take(&inside))
        return NULL;
    for (unsigned i = 0; i < KEPT && found == NULL; i++)
        if (kept[i].c != NULL && strcmp(kept[i].c->path, path) == 0) {
            kept[i].used = ++uses;
            found = ketama_retain(kept[i].c);
        }
    give(&inside);
    return found;
}

/* Keeps a handle in the place of the one that was kept for its path. */
static void keep(ketama_continuum c)
{
    ketama_continuum given_up;
    unsigned at = 0;
    if (!take(&inside))
        return;
    for (unsigned i = 0; i < KEPT; i++) {
        if (kept[i].c != NULL && strcmp(kept[i].c->path, c->path) == 0) {
            at = i;
            break;
        }
        if (kept[i].used < kept[at].used)
            at = i;
    }
    given_up = kept[at].c;
    kept[at] = (struct kept){ketama_retain(c), ++uses};
    give(&inside);
    ketama_close(given_up);
}

/* ---- The functions */

/* Fills what callers read of a handle that nobody else has yet, and keeps it. */
static bool make_and_keep(ketama_continuum c)
{
    struct old *old = old_of(c);
    if (old == NULL)
        return false;
    c->numpoints = (int)c->view.point_count;
    c->modtime = &old->modtime;
    c->array = old->array;
    keep(c);
    return true;
}

/* The stamp alone would hide a second change within one tick of the file's clock. */
static bool is_same_source(const struct ketama_source *a, const struct ketama_source *b)
{
    return ketama_stamp_equal(&a->stamp, &b->stamp) &&
           memcmp(a->md5, b->md5, sizeof a->md5) == 0;
}

/* The newest handle of a path, owned by the caller; NULL: failed. */
static ketama_continuum newest(const char *path)
{
    ketama_continuum c = kept_of(path), newer = NULL, kept_now;
    bool taken;

    if (c != NULL) {
        int status = ketama_refresh(c, &newer);
        if (status == KETAMA_OK)
            return c;
        ketama_close(c);
        if (status < 0)
            return NULL;
        c = newer;
    } else if (ketama_open(&c, path, 0) != KETAMA_OK) {
        return NULL;
    }
    taken = take(&making);
    kept_now = kept_of(path); /* another thread may have been faster */
    if (kept_now != NULL && is_same_source(&kept_now->source, &c->source)) {
        ketama_close(c);
        c = kept_now;
    } else {
        ketama_close(kept_now);
        if (!make_and_keep(c)) {
            ketama_close(c);
            c = NULL;
        }
    }
    if (taken)
        give(&making);
    return c;
}

int ketama_roll(ketama_continuum *c, char *filename)
{
    char *absolute = NULL;
    int status = ketama_absolute_path(filename != NULL ? filename : "", &absolute);

    *c = NULL;
    if (status == KETAMA_ENOMEM)
        ketama_fail(status, filename, NULL);
    if (status == KETAMA_OK)
        *c = newest(absolute);
    free(absolute);
    return *c != NULL;
}

void ketama_smoke(ketama_continuum c)
{
    ketama_close(c);
}

mcs *ketama_get_server(char *key, ketama_continuum c)
{
    struct old *old = old_of(c);
    return old != NULL ? &old->array[ketama_position(c, key, strlen(key))] : NULL;
}

void ketama_print_continuum(ketama_continuum c)
{
    struct old *old = old_of(c);
    if (old == NULL)
        return;
    printf("Numpoints in continuum: %lu\n", (unsigned long)c->view.point_count);
    for (uint32_t i = 0; i < c->view.point_count; i++)
        printf("%s (%u)\n", old->array[i].ip, old->array[i].point);
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

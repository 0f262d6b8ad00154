/*
 * check.h - a minimal test framework
 *
 * Every test file has one function, run_<file>(), that calls RUN(test) for each of its
 * tests. A failed check prints its location and the values; the test continues.
 */
#ifndef CHECK_H
#define CHECK_H

#include "../internal.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "../hash/hash.h"
#include "../profile/profile.h"
#include "../ketama_admin.h"

extern int check_passed, check_failed;
extern bool check_good;

#define RUN(test)                                                                       \
    do {                                                                                \
        check_good = true;                                                              \
        test();                                                                         \
        if (check_good)                                                                 \
            check_passed++;                                                             \
        else                                                                            \
            check_failed++, printf("FAILED %s\n", #test);                               \
    } while (0)

#define CHECK(condition)                                                                \
    ((condition) ? (void)0                                                              \
                 : (check_good = false, (void)printf("%s:%d: failed: %s\n", __FILE__,   \
                                                     __LINE__, #condition)))

#define CHECK_INT(expected, actual)                                                     \
    check_int(__FILE__, __LINE__, #actual, (long long)(expected), (long long)(actual))

#define CHECK_TEXT(expected, actual)                                                    \
    check_text(__FILE__, __LINE__, #actual, expected, actual)

static inline void check_int(const char *file, int line, const char *what,
                             long long expected, long long actual)
{
    if (expected == actual)
        return;
    check_good = false;
    printf("%s:%d: %s is %lld, not %lld\n", file, line, what, actual, expected);
}

static inline void check_text(const char *file, int line, const char *what,
                              const char *expected, const char *actual)
{
    if (strcmp(expected, actual) == 0)
        return;
    check_good = false;
    printf("%s:%d: %s is\n    %s\nnot\n    %s\n", file, line, what, actual, expected);
}

/* Initializes a ketama_server in an array. */
#define SERVER(text, number) {.address = (text), .weight = (number)}

/* Initializes a struct ketama_listed. */
#define LISTED(text, number, at)                                                        \
    {.address = (text),                                                                 \
     .address_bytes = sizeof(text) - 1,                                                 \
     .weight = (number),                                                                \
     .line = (at)}

/* Options with KETAMA_PRIVATE only. */
extern const ketama_options private_copy;

/* Copies the bytes to the end of a page before an unreadable one; freed at exit. */
const void *against_the_edge(const void *bytes, size_t size);

/* Packs arcs, given in ascending order, so that a bucket of their index has the hashes
 * which are equal when shifted right by `shift`. Likewise. */
struct ketama_packed packed(const ketama_arc *arcs, uint32_t count, uint32_t servers,
                            uint32_t shift);

/* The arcs of a ring, to be read. */
static inline struct ketama_packed arcs_of(const struct ketama_ring *ring)
{
    return (struct ketama_packed){ring->arcs.words,
                                  ring->arcs.index,
                                  ring->arcs.count,
                                  ring->arcs.server_bits,
                                  (UINT32_C(1) << ring->arcs.server_bits) - 1,
                                  ring->arcs.shift};
}

/* Writes a file in the tests' own directory, removed at exit; returns its path. */
const char *write_file(const char *name, const void *text, size_t size);
const char *put(const char *name, const char *text);
const char *scratch_path(const char *name);

/* The address of a continuum's first server. */
const char *first_address(ketama_continuum c);

/* Makes the n-th allocation from now on fail (1: the next one); 0: none. */
void fail_allocation(int n);
/* Returns true if that allocation was made, and failed. */
bool allocation_failed(void);

/* Called before each read(2), unless NULL. */
extern void (*before_read)(void);
extern void (*before_open)(void); /* likewise before each open(2) */
extern void (*after_openat)(int folder, const char *name); /* after each openat(2) */
extern bool fstat_rounds_times; /* to seconds, unlike stat(2) */
/* The errno with which the next read(2) fails; 0: it does not fail. */
extern int read_fails;
/* The number of next reads that a signal interrupts. */
extern int reads_interrupted;
/* The number of next reads that return a wrong first byte. */
extern int reads_spoiled;
/* True if a file was opened that child programs would inherit. */
extern bool opened_without_cloexec;

void run_md5(void);
void run_hash(void);
void run_servers(void);
void run_points(void);
void run_image(void);
void run_sharing(void);
void run_lookup(void);
void run_source(void);
void run_roll(void);
void run_status(void);
void run_compat(void);
void run_diff(void);
void run_rings(void);
void run_profile(void);
void run_dialects(void);
void run_published(void);
void run_users(void);
void run_health(void);
void run_buckets(void);

#endif

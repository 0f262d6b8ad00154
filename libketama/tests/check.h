/*
 * check.h - the little that these tests need of a test framework
 *
 * Every test file has one function, run_<file>(), that calls RUN(test) for each of its
 * tests. A failed check prints where it stands and what it saw, and the test goes on.
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
                 : (check_good = false, (void)printf("%s:%d: not so: %s\n", __FILE__,   \
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

/* Initializes a ketama_server of an array. */
#define SERVER(text, number) {.address = (text), .weight = (number)}

/* Initializes a struct ketama_listed. */
#define LISTED(text, number, at)                                                        \
    {.address = (text),                                                                 \
     .address_bytes = sizeof(text) - 1,                                                 \
     .weight = (number),                                                                \
     .line = (at)}

/* KETAMA_PRIVATE, and nothing else. */
extern const ketama_options private_copy;

/* A copy of the bytes that ends where an unreadable page begins; freed at exit. */
const void *against_the_edge(const void *bytes, size_t size);

/* Writes a file in the tests' own folder, which is removed at exit; returns its path. */
const char *write_file(const char *name, const void *text, size_t size);
const char *put(const char *name, const char *text);
const char *scratch_path(const char *name);

/* The address of a continuum's first server. */
const char *first_address(ketama_continuum c);

/* From now on the n-th allocation fails (1: the next one); 0: none does. */
void fail_allocation(int n);
/* Whether it came to that. */
bool allocation_failed(void);

/* What happens right before each read(2); NULL: nothing. */
extern void (*before_read)(void);
/* The next read(2) fails with this errno; 0: it doesn't. */
extern int read_fails;
/* So many reads find another first byte than there is. */
extern int reads_spoiled;
/* A file was opened that a program started later would inherit. */
extern bool opened_without_cloexec;

void run_md5(void);
void run_servers(void);
void run_points(void);
void run_image(void);
void run_lookup(void);
void run_source(void);
void run_roll(void);
void run_status(void);
void run_compat(void);
void run_diff(void);
void run_profile(void);
void run_published(void);

#endif

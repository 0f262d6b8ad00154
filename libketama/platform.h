/*
 * platform.h - what differs between operating systems and compilers
 *
 * Include it before any other header: it chooses what the system's headers declare.
 */
#ifndef KETAMA_PLATFORM_H
#define KETAMA_PLATFORM_H

#ifndef _POSIX_C_SOURCE
#define _POSIX_C_SOURCE 200809L
#endif
#ifndef _DEFAULT_SOURCE
#define _DEFAULT_SOURCE 1 /* flock, syscall, CLOCK_MONOTONIC_COARSE, issetugid */
#endif
#ifndef _DARWIN_C_SOURCE
#define _DARWIN_C_SOURCE 1 /* st_mtimespec */
#endif
#ifndef __LP64__
#ifndef _FILE_OFFSET_BITS
#define _FILE_OFFSET_BITS 64 /* files of 2 GiB and more */
#endif
#ifndef _TIME_BITS
#define _TIME_BITS 64 /* times after 2038 */
#endif
#endif

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#ifdef __linux__
#include <sys/auxv.h>
#include <sys/syscall.h>
#endif

/* The lookup code's hints. */
#ifdef __GNUC__
#define KETAMA_PREFETCH(address)  __builtin_prefetch(address)
#define KETAMA_NOINLINE           __attribute__((noinline))
#define KETAMA_PRINTF(text, from) __attribute__((format(printf, text, from)))
#else
#define KETAMA_PREFETCH(address) (void)(address)
#define KETAMA_NOINLINE
#define KETAMA_PRINTF(text, from)
#endif

/* A file's times, to the nanosecond. */
#ifdef __APPLE__
#define KETAMA_MTIME(st) ((st)->st_mtimespec)
#define KETAMA_CTIME(st) ((st)->st_ctimespec)
#else
#define KETAMA_MTIME(st) ((st)->st_mtim)
#define KETAMA_CTIME(st) ((st)->st_ctim)
#endif

/* Opens a directory without permission to read it. Needs _GNU_SOURCE on Linux. */
#ifdef __linux__
#define KETAMA_O_PATH O_PATH
#else
#define KETAMA_O_PATH O_RDONLY
#endif

/* Neither clock can fail: both exist wherever this compiles. */
static inline int64_t ketama_read_clock_ns(clockid_t clock)
{
    struct timespec now = {0, 0};
    (void)clock_gettime(clock, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static inline int64_t ketama_clock_ns(void)
{
    return ketama_read_clock_ns(CLOCK_MONOTONIC);
}

/* Ticks every few milliseconds; takes a few nanoseconds and no system call. */
static inline int64_t ketama_coarse_clock_ns(void)
{
#ifdef CLOCK_MONOTONIC_COARSE
    return ketama_read_clock_ns(CLOCK_MONOTONIC_COARSE);
#else
    return ketama_read_clock_ns(CLOCK_MONOTONIC);
#endif
}

/* Does the process have more rights than its user (set-id, file capabilities)? Then its
 * environment may be somebody else's doing. */
static inline bool ketama_is_set_id(void)
{
#ifdef __linux__
    return getauxval(AT_SECURE) != 0;
#else
    return issetugid() != 0;
#endif
}

/* Atomically exchanges the names of two files in an open folder. False: it cannot. */
static inline bool ketama_exchange_names(int folder, const char *a, const char *b)
{
#if defined(__linux__) && defined(SYS_renameat2)
    const unsigned rename_exchange = 2;
    return syscall(SYS_renameat2, folder, a, folder, b, rename_exchange) == 0;
#else
    (void)folder;
    (void)a;
    (void)b;
    return false;
#endif
}

#endif

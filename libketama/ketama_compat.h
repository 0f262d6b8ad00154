/*
 * ketama_compat.h - the interface of libketama.so.1, as of 2007
 *
 * ketama.h includes it unless KETAMA_NO_OLD_NAMES is defined; it can also be included
 * alone, for the old names without the new ones. Programs that were compiled against the
 * 2007 libketama run unmodified. The handle is the same, so old and new functions may be
 * used together on it.
 *
 *     ketama_continuum c;
 *     if (!ketama_roll(&c, "/etc/ketama.servers"))
 *         fprintf(stderr, "%s\n", ketama_error());
 *     else {
 *         puts(ketama_get_server("user:42", c)->ip);
 *         ketama_smoke(c);
 *     }
 *
 * DIFFERENCES FROM THE ORIGINAL
 * - Rolling and smoking do not affect any other continuum, in this process or another.
 * - A roll always sees the file as it is now, even after two changes within a second. A
 *   continuum keeps its version until it is smoked.
 * - ketama_error() is per thread, and any thread may call any function.
 * - A server file with an address of more than 21 bytes, which `ip` cannot hold,
 *   cannot be rolled; ketama_error() names the line. Remedy: use ketama_open().
 */
#ifndef KETAMA_COMPAT_H
#define KETAMA_COMPAT_H

#include <stdlib.h>
#include <time.h>
/* The 2007 header also included these: semget, ftok, key_t. */
#if !defined(__STRICT_ANSI__) || defined(_DEFAULT_SOURCE) || defined(_XOPEN_SOURCE)
#include <sys/sem.h>
#include <sys/types.h>
#endif

#ifdef __cplusplus
extern "C" {
#endif
#if defined(__GNUC__) && !defined(KETAMA_HIDDEN)
#pragma GCC visibility push(default)
#endif

#ifndef KETAMA_CONTINUUM
#define KETAMA_CONTINUUM
typedef struct ketama_handle *ketama_continuum;
#endif

#define MC_SHMSIZE 524288 /* the original's shared memory, bytes; not used */

typedef struct {
    unsigned int point; /* its position on the ring */
    char ip[22];        /* its server's address, NUL-terminated */
} mcs;

typedef struct {
    char addr[22];
    unsigned long memory;
} serverinfo;

/* For reading only: the library allocates it, with private members after these. */
#ifndef KETAMA_INTERNAL_H
struct ketama_handle {
    int numpoints; /* set by ketama_roll() only; else 0 and NULL */
    void *modtime; /* a time_t: the file's mtime */
    void *array;   /* mcs[numpoints], ascending */
};
#endif
typedef struct ketama_handle continuum;

typedef int (*compfn)(const void *, const void *);

/* ketama_roll: set *c to the continuum of the server file, and return 1. On failure it
 * returns 0, and *c is the last valid continuum that this process rolled from the file,
 * or an empty one if there is none: numpoints is 0, array is NULL, and
 * ketama_get_server() returns NULL. Release either with ketama_smoke() as usual.
 *
 * The process caches the continuum of the 16 files that it rolled last, so a roll of an
 * unchanged file costs one stat(2) (or reading the file, within two seconds of a
 * change). The array takes 28 bytes per point, 4.5 KB per server, of private memory.
 * Must not be called in a signal handler.
 *
 * ketama_smoke: release a continuum; call it once per roll. c may be NULL.
 *
 * ketama_error: return the calling thread's latest message; "" if there is none. A roll
 * that succeeds clears it. */
int ketama_roll(ketama_continuum *c, char *filename);
void ketama_smoke(ketama_continuum c);
char *ketama_error(void);

/* ketama_get_server: return the point that owns a key, which ends at its first NUL.
 * Valid until c is smoked. Returns NULL if c is NULL or empty, if out of memory, or if
 * an address is too long. */
mcs *ketama_get_server(char *key, ketama_continuum c);

/* ketama_print_continuum: print "Numpoints in continuum: N", then one line per point,
 * "ip (point)". */
void ketama_print_continuum(ketama_continuum c);

/* ketama_compare: return -1, 0 or 1, by point. ketama_hashi, ketama_md5_digest: as
 * ketama_hash() and ketama_md5(), for a string. */
int ketama_compare(mcs *a, mcs *b);
unsigned int ketama_hashi(char *string);
void ketama_md5_digest(char *string, unsigned char digest[16]);

#if defined(__GNUC__) && !defined(KETAMA_HIDDEN)
#pragma GCC visibility pop
#endif
#ifdef __cplusplus
}
#endif
#endif

/*
 * ketama.h - consistent hashing, compatible with libketama
 *
 * Servers are points on a circle of 2^32 hashes; a key belongs to the next point
 * at or after its own hash. So a server that is added takes keys only for itself,
 * and one that is removed gives up only its own. The answers are, bit for bit,
 * those that Last.fm's libketama gave.
 *
 *     ketama_continuum c;
 *     ketama_server server;
 *     if (ketama_open(&c, "/etc/ketama.servers", 0) != KETAMA_OK) {
 *         fprintf(stderr, "%s\n", ketama_error());
 *         exit(1);
 *     }
 *     ketama_server_at(c, ketama_find(c, "user:42", 7, NULL), &server);
 *     puts(server.address);
 *     ketama_close(c);
 *
 * THE SERVER FILE has a server a line: address, blanks (spaces, tabs), weight.
 *     # comment, where # is the line's first character
 *     10.0.1.1:11211   600
 * The address is text without blanks, 1 to 255 bytes of UTF-8 that don't begin
 * with '#'; it is hashed as it stands and never resolved. The weight is a whole
 * number from 1 to 2^63 - 1, by custom the server's megabytes. Empty lines are
 * skipped; lines end in \n or \r\n, the last one's may be missing.
 *
 * A HANDLE IS ONE VERSION. A ketama_continuum never changes after it was opened:
 * ketama_refresh() makes another one when the file has changed, and the old one goes on
 * answering from the old file until it is closed. So server indexes and address pointers
 * belong to the handle that they came from, and mean nothing to another one; and a file
 * that has become wrong, empty or unreadable costs an error and nothing else.
 *
 * THREADS. Every function may be called on one handle from any number of threads at
 * once, ketama_refresh() included; none takes a lock. A variable in which threads share
 * "the newest handle" is the caller's to guard (or let each thread have a handle of its
 * own): lookups:    lock; c = ketama_retain(current); unlock;
 *                 ... any number of lookups, all in one version ...
 *                 ketama_close(c);
 *     one thread: if (ketama_refresh(current, &newer) == KETAMA_CHANGED) {
 *                     lock; old = current; current = newer; unlock;
 *                     ketama_close(old);
 *                 }
 *
 * FORK. A handle that was opened before fork() works in the child, and either side may
 * close its own without regard to the other.
 *
 * SHARED MEMORY. The continuum of a file is built once for a user on a machine, and
 * published in a folder of that user in $KETAMA_SHM_DIR, else in /dev/shm, else in
 * $TMPDIR or /tmp; all processes map it, read-only. Where that can't be done (no room,
 * no permission, somebody else's file in its place, a set-id program) the handle has
 * its own copy, and nothing else is different. A process that builds holds others up
 * for less than a second, whatever becomes of it.
 *
 * A FILE THAT IS EDITED IN PLACE is, for a moment, empty or cut, and a reader can meet
 * it so: replace server files by rename(2). Relative paths are resolved when the handle
 * is opened; symbolic links are followed afresh at every look.
 *
 * WHAT IT TAKES. About 1.8 KB a server, and twice that while building: less than a
 * millisecond for 100 servers. Files of more than 512 MiB are refused.
 *
 * ERRORS. Functions that can fail return a status: KETAMA_OK (0), KETAMA_CHANGED,
 * or a negative number. ketama_error() then has a sentence with file, line and
 * reason for the calling thread. Nothing is printed, no signal is touched, nothing
 * exits; errno after KETAMA_ESYSTEM is that of the failed call. Pointers may be NULL
 * where the text says so, and where the length beside them is 0. In a signal handler
 * only what "cannot fail" may be called: the others allocate.
 */
#ifndef KETAMA_H
#define KETAMA_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif
/* KETAMA_HIDDEN: for who compiles it into another library and exports none of it. */
#if defined(__GNUC__) && !defined(KETAMA_HIDDEN)
#pragma GCC visibility push(default)
#endif

#define KETAMA_VERSION "0.1.0"

/* What stands between the two cffi marks is read by the Python binding as it is. */
/* cffi: begin */

#define KETAMA_ADDRESS_MAX 255 /* bytes in a server's address */
#define KETAMA_WEIGHT_MAX  9223372036854775807
#define KETAMA_SERVERS_MAX 1048576

/* One version of a continuum. Immutable, opaque, freed by ketama_close(). */
typedef struct ketama_handle *ketama_continuum;

typedef struct ketama_server {
    const char *address; /* NUL-terminated UTF-8, 1 to 255 bytes */
    uint64_t weight;     /* as in the file: 1 to 2^63 - 1 */
    uint64_t share;      /* how many of the 2^32 hashes it owns, exactly */
    uint32_t points;     /* how many points it has on the circle; may be 0 */
} ketama_server;

typedef struct ketama_point {
    uint32_t point;  /* its place on the circle */
    uint32_t server; /* index of the server it belongs to */
} ketama_point;

typedef struct ketama_key {
    const void *bytes; /* any; may be NULL where len is 0 */
    size_t len;
} ketama_key;

/* The circumstances a status can name. */
enum ketama_status {
    KETAMA_OK = 0,
    KETAMA_CHANGED = 1,    /* ketama_refresh: there is a newer continuum */
    KETAMA_ESYSTEM = -1,   /* a system call failed: errno says how */
    KETAMA_ENOMEM = -2,    /* no memory */
    KETAMA_EUNSTABLE = -3, /* the file changed each time it was being read */
    /* the server file or list is wrong; the continuum that was stays good */
    KETAMA_ELINE = -16,      /* a line is not "address weight" */
    KETAMA_EADDRESS = -17,   /* an address is empty, too long, or not such text */
    KETAMA_EWEIGHT = -18,    /* a weight is not a whole number from 1 to 2^63 - 1 */
    KETAMA_ENOSERVERS = -19, /* no servers at all */
    KETAMA_ETOOMANY = -20,   /* more servers, points, weight or bytes than fit */
    KETAMA_ERANGE = -32      /* there is no server of that index */
};

/* What ketama_open() may be told. */
enum ketama_flags {
    KETAMA_PRIVATE = 1 /* neither use nor publish what is shared */
};

/* ketama_open: makes the continuum of the server file at `path`, or attaches to the
 * one that was published. On success *c is a handle of generation 1 that the caller
 * closes; on failure *c is NULL. The path is copied. flags: 0 or KETAMA_PRIVATE. Errors:
 * ESYSTEM (no such file ...), ENOMEM, EUNSTABLE, and those of a wrong server file. */
int ketama_open(ketama_continuum *c, const char *path, unsigned flags);

/* ketama_open_servers: the same from `count` servers in memory, of which address
 * and weight are read; everything is copied. What ketama_server_at() gives may be
 * handed in again. Errors: ENOMEM, and those of a wrong list, where the line in
 * ketama_last_failure() is the server's place in the list, counted from 1. */
int ketama_open_servers(ketama_continuum *c, const ketama_server *servers, size_t count);

/* ketama_refresh: has the file changed since c was made?
 * KETAMA_OK: no; *newer is NULL. This costs one stat(2), except within two seconds
 *     after a change, and where the file's time lies ahead of the clock: then the file
 *     is read again and compared, because its time stamps could hide a second change.
 * KETAMA_CHANGED: yes, its text, or its inode, size, mtime or ctime (which chmod(2) sets
 *     as well); *newer is another handle, of the next generation, that the caller
 *     closes; c still is what it was.
 * A negative status: the file is missing or wrong; *newer is NULL, and c is good. The
 *     next call looks, and reads, again.
 * A continuum made by ketama_open_servers() never changes. Errors: as ketama_open. */
int ketama_refresh(ketama_continuum c, ketama_continuum *newer);

/* ketama_follow: from now on ketama_due() says when c should be refreshed; handles that
 * ketama_refresh() makes from c inherit it. interval_ns: how long to go without looking
 * at the file; 0, as from the start: never due.
 * ketama_due: 1 if another process has published a newer image in the place of this one
 * (said once, and after that each second), or if c was not refreshed for interval_ns;
 * else 0. No system call, a few nanoseconds: ask before each lookup. One thread is told.
 * ketama_is_shared: 1 if the image is mapped from shared memory, 0 if c has its own. */
void ketama_follow(ketama_continuum c, int64_t interval_ns);
int ketama_due(ketama_continuum c);
int ketama_is_shared(ketama_continuum c);

/* ketama_retain: c with one more owner, who closes it too; returns c.
 * ketama_close: c has one owner less; the last one's call frees it with all that came
 * from it. c may be NULL. */
ketama_continuum ketama_retain(ketama_continuum c);
void ketama_close(ketama_continuum c);

/* ketama_find: the index of the server that `key` belongs to. The key is any `len`
 * bytes, none and NULs included. Where `point` is not NULL, *point is the point of
 * the circle that was met. Cannot fail; no system call, no allocation, no lock; the
 * time depends on the key's length, and hardly on the number of servers. */
uint32_t ketama_find(ketama_continuum c, const void *key, size_t len, uint32_t *point);

/* The same for a key whose hash is known. */
uint32_t ketama_find_hash(ketama_continuum c, uint32_t hash, uint32_t *point);

/* ketama_find_many: the same for `count` keys: servers[i] is the index for keys[i], and
 * points[i] its point, where `points` is not NULL. Keys are hashed side by side, in the
 * widest vectors that the processor has: from a few keys on much faster than one by one.
 * Cannot fail. */
void ketama_find_many(ketama_continuum c, const ketama_key *keys, size_t count,
                      uint32_t *servers, uint32_t *points);

/* ketama_successors: the servers in the order in which they are met on the circle from
 * the key on, each once, for replicas and for failover: servers[0] is ketama_find()'s.
 * Writes at most `count` indexes and returns how many: fewer where fewer have points.
 * An address that stands in the file twice is two servers. Allocates from 65 on. Errors:
 * ENOMEM. */
int ketama_successors(ketama_continuum c, const void *key, size_t len, uint32_t *servers,
                      uint32_t count);

/* How many servers and points there are; and which version this is, counted from 1. */
uint32_t ketama_count_servers(ketama_continuum c);
uint32_t ketama_count_points(ketama_continuum c);
uint64_t ketama_generation(ketama_continuum c);

/* ketama_server_at: fills *server with the server at `index`, 0 and up in the order
 * of the file. The address is good until c is closed. Errors: ERANGE. */
int ketama_server_at(ketama_continuum c, uint32_t index, ketama_server *server);

/* ketama_points: copies points number `first`, `first` + 1 ... in ascending order,
 * at most `count` of them, to out[], and returns how many that were. */
uint32_t ketama_points(ketama_continuum c, uint32_t first, uint32_t count,
                       ketama_point *out);

/* ketama_hash: a key's place on the circle: the first four bytes of its MD5,
 * little-endian. ketama_md5: the whole MD5, 16 bytes. Both cannot fail. */
uint32_t ketama_hash(const void *key, size_t len);
void ketama_md5(const void *key, size_t len, unsigned char digest[16]);

/* What went wrong last in the calling thread. */
typedef struct ketama_failure {
    int status;         /* KETAMA_OK where nothing did yet */
    int system_errno;   /* errno, after KETAMA_ESYSTEM; else 0 */
    uint64_t line;      /* of the file, or place in the list, from 1; 0: none */
    const char *reason; /* without file and line; "" when none */
} ketama_failure;

/* ketama_strerror: the circumstance that a status names, a static string.
 * ketama_error: the calling thread's latest failure in a sentence, as in
 *     "/etc/ketama.servers:3: weight is \"0\", not a whole number from 1 ..."; ""
 *     when there was none. A success does not clear it. ketama_last_failure: its
 *     parts. Both belong to the thread and hold until its next failure.
 * ketama_version: the library's, as KETAMA_VERSION was when it was compiled. */
const char *ketama_strerror(int status);
const char *ketama_error(void);
const ketama_failure *ketama_last_failure(void);
const char *ketama_version(void);

/* cffi: end */

#if defined(__GNUC__) && !defined(KETAMA_HIDDEN)
#pragma GCC visibility pop
#endif
#ifdef __cplusplus
}
#endif

/* The interface of 2007, for programs that were written for it. */
#ifndef KETAMA_NO_OLD_NAMES
#include "ketama_compat.h"
#endif
#endif

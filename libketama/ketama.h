/*
 * ketama.h - consistent hashing, compatible with libketama
 *
 * A continuum is a ring of 2^32 hashes on which every server has points. A key belongs
 * to the server of the first point at or after the key's hash, or, past the last point,
 * to that of the first one. Adding a server moves few keys; the answers are, bit for
 * bit, those of the 2007 libketama.
 *
 *     ketama_continuum c;
 *     ketama_server server;
 *     if (ketama_open(&c, "/etc/ketama.servers", NULL) != KETAMA_OK) {
 *         fprintf(stderr, "%s\n", ketama_error());
 *         exit(1);
 *     }
 *     ketama_server_at(c, ketama_find(c, "user:42", 7, NULL), &server);
 *     puts(server.address);
 *     ketama_close(c);
 *
 * SERVER FILE. One server per line: address, weight, and optionally a name, separated by
 * spaces or tabs.
 *     # a comment: the line's first character is '#'
 *     10.0.1.1:11211   600
 *     10.0.1.2:11211   600   cache-b   # a comment after the weight or the name
 * The address is 1 to 255 bytes of UTF-8 without blanks, and does not begin with '#'. It
 * is hashed as text and never resolved. The weight is an integer from 1 to 2^63 - 1,
 * conventionally MB of memory. The name, text like an address, is hashed in place of the
 * address: a server that moves to another address and keeps its name keeps its keys.
 * Names must be unique.
 * The first line may state a dialect for everybody who reads the file, as the options of
 * ketama_options do: "#ketama profile=libmemcached". A program must not choose another.
 * Empty lines are skipped. Lines end in \n or \r\n; the last line need not have an end.
 * A UTF-8 byte order mark at the start is skipped.
 *
 * HANDLES. A ketama_continuum is one version of a ring and never changes.
 * ketama_refresh() returns a new handle if the server file has changed; the old handle
 * keeps answering from the old version until it is closed. An invalid, empty or
 * unreadable file is reported as an error; existing handles remain valid.
 *
 * THREADS. Any number of threads may call any function on the same handle at the same
 * time. Lookups never wait. Opening and refreshing wait while another process is
 * building the same ring: about a second if it makes no progress, and a minute at most.
 * They need 16 KiB of stack besides PTHREAD_STACK_MIN. If threads share a variable that
 * holds the newest handle, the caller must guard that variable:
 *
 *     lookups:    lock; c = ketama_retain(current); unlock;
 *                 ... any number of lookups, all in one version ...
 *                 ketama_close(c);
 *     one thread: if (ketama_refresh(current, &newer) == KETAMA_CHANGED) {
 *                     lock; old = current; current = newer; unlock;
 *                     ketama_close(old);
 *                 }
 *
 * A handle that was opened before fork() works in the child; each process closes its
 * own.
 *
 * SHARED MEMORY. The ring of a server file is built once per user and machine, published
 * as an image, and mapped read-only by all processes. Images are in a directory of that
 * user, under $KETAMA_SHM_DIR if that is set, else under the first of /dev/shm and
 * $TMPDIR (default: /tmp) that works. If an image cannot be published or trusted (no
 * space, no permission, another user's file, a set-id program), the handle gets a
 * private copy with the same answers.
 *
 * COST. About 0.8 KB of memory per server, twice that while building. Building takes
 * less than a millisecond for 100 servers. A lookup takes about as long as hashing its
 * key.
 *
 * HAZARDS
 * - A server file that is edited in place is briefly empty or truncated, and
 *   a concurrent open or refresh may fail or load a truncated list. Remedy: write a new
 *   file and rename(2) it over the old one.
 * - Server indexes and address pointers belong to one handle. Remedy: look them up again
 *   in the new handle, and copy an address that must outlive its handle.
 * - Only functions documented as "cannot fail" are safe in a signal handler; the others
 *   may allocate. Remedy: set a flag, and refresh outside the handler.
 * - A relative path is resolved when the handle is opened; symbolic links are resolved
 *   again on every check. Remedy: pass an absolute path if the process changes
 *   its working directory.
 * - Truncating a published image while it is mapped raises SIGBUS in lookups that read
 *   the missing part; overwriting it makes them return wrong answers, but never read
 *   outside of it. Only the same user can do either. ketama_refresh() checks size and
 *   header, and replaces such an image. Remedy: remove images instead (`ketama images
 *   --purge`).
 *
 * ERRORS. Functions that can fail return a status: KETAMA_OK (0), KETAMA_CHANGED (1),
 * KETAMA_FELL_BACK (2), or a negative value that identifies the cause. ketama_error()
 * then returns a message with file, line and reason for the calling thread. After
 * KETAMA_ESYSTEM, errno is as the failed call left it. Nothing is printed, no signal
 * handler is installed, and the process never exits. A pointer may be NULL only where
 * documented, or if its length is 0.
 *
 * COMPATIBILITY. Structs that the caller allocates never change in a 1.x release, except
 * ketama_options, which carries its own size. Structs that the library allocates may
 * grow at their end. docs/abi.md has the rules.
 */
#ifndef KETAMA_H
#define KETAMA_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif
/* Define KETAMA_HIDDEN to embed the library without exporting its symbols. */
#if defined(__GNUC__) && !defined(KETAMA_HIDDEN)
#pragma GCC visibility push(default)
#endif

#define KETAMA_VERSION "1.0.0rc1"

/* One version of a ring. Immutable and opaque; freed by ketama_close(). */
#ifndef KETAMA_CONTINUUM
#define KETAMA_CONTINUUM
typedef struct ketama_handle *ketama_continuum;
#endif

/* The Python binding reads the text between the two cffi marks verbatim. */
/* cffi: begin */

#define KETAMA_ADDRESS_MAX 255 /* bytes in a server's address, and in its name */
#define KETAMA_WEIGHT_MAX  9223372036854775807
#define KETAMA_SERVERS_MAX 1048576

typedef struct ketama_server {
    const char *address; /* NUL-terminated UTF-8, 1 to 255 bytes */
    const char *name;    /* likewise: hashed instead of the address; NULL: none */
    uint64_t weight;     /* 1 to 2^63 - 1 */
    uint64_t share;      /* how many of the 2^32 hashes it owns, exactly */
    uint32_t points;     /* how many points it has on the ring; may be 0 */
} ketama_server;

typedef struct ketama_point {
    uint32_t point;  /* its position on the ring */
    uint32_t server; /* the index of its server */
} ketama_point;

typedef struct ketama_key {
    const void *bytes; /* any bytes; may be NULL if len is 0 */
    size_t len;
} ketama_key;

enum ketama_status {
    KETAMA_OK = 0,
    KETAMA_CHANGED = 1,    /* ketama_refresh: there is a newer continuum */
    KETAMA_FELL_BACK = 2,  /* ketama_open: the file is missing or invalid; this is the
                              image that was published last */
    KETAMA_ESYSTEM = -1,   /* a system call failed; see errno */
    KETAMA_ENOMEM = -2,    /* out of memory */
    KETAMA_EUNSTABLE = -3, /* the file changed each time it was read */
    /* The server file or list is invalid; existing handles remain valid. */
    KETAMA_ELINE = -16,      /* a line is not "address weight [name]" */
    KETAMA_EADDRESS = -17,   /* an address is empty, too long, or not valid text */
    KETAMA_EWEIGHT = -18,    /* a weight is not an integer from 1 to 2^63 - 1 */
    KETAMA_ENOSERVERS = -19, /* there are no servers */
    KETAMA_ETOOMANY = -20,   /* too many servers, points or bytes, or too much weight */
    KETAMA_ENAME = -21,      /* a name is too long, or not valid text */
    KETAMA_ERANGE = -32,     /* no server has that index */
    KETAMA_EOPTION = -33     /* an option is unknown or has an invalid value */
};

enum ketama_flags {
    KETAMA_PRIVATE = 1, /* neither use nor publish a shared image */
    KETAMA_FALLBACK = 2 /* ketama_open: if the file is missing or invalid, use the image
                           that was published last for it, if there is one */
};

/* How to open a continuum. Zero what you do not set:
 *     ketama_options options = {.size = sizeof options, .flags = KETAMA_PRIVATE};
 * Later versions may add members. A member that this version does not know must be zero.
 */
typedef struct ketama_options {
    size_t size;          /* sizeof(ketama_options) */
    const char *profile;  /* the dialect; NULL: the file's, or else "libketama" */
    const char *settings; /* "key=value key=value" (docs/profiles.md); NULL, "": none */
    unsigned flags;       /* of enum ketama_flags, or 0 */
    unsigned reserved;    /* 0 */
} ketama_options;

/* ketama_open: load the server file at `path`, attaching to its published image if there
 * is one. On success *c is a handle of generation 1, to be closed by the caller; on
 * failure *c is NULL. The path and the options are copied. options: NULL for defaults.
 * Errors: ESYSTEM (such as a missing file), ENOMEM, EUNSTABLE, EOPTION, and those of an
 * invalid server file.
 * With KETAMA_FALLBACK, it may return KETAMA_FELL_BACK: *c then has the servers of the
 * last valid file, ketama_error() says what is wrong with the file, and ketama_refresh()
 * reloads it once it is valid again. */
int ketama_open(ketama_continuum *c, const char *path, const ketama_options *options);

/* ketama_open_servers: the same for `count` servers in memory, of which address, name
 * and weight are read and copied. Servers from ketama_server_at() may be passed back in.
 * Errors: ENOMEM, EOPTION, and those of an invalid list, where the line in
 * ketama_last_failure() is the server's position in the list, counted from 1. */
int ketama_open_servers(ketama_continuum *c, const ketama_server *servers, size_t count,
                        const ketama_options *options);

/* ketama_open_text: the same for the text of a server file, `size` bytes, such as one
 * from the network; an error's line is the text's. Nothing is published. The continuum
 * never changes. Errors: ENOMEM, EOPTION, and those of an invalid server file. */
int ketama_open_text(ketama_continuum *c, const char *text, size_t size,
                     const ketama_options *options);

/* ketama_refresh: reload if the server file has changed since c was made. Returns:
 * - KETAMA_OK: it has not; *newer is NULL. This costs one stat(2). Within two seconds
 *   of a change, or if the file's time is ahead of the clock, the file is read and
 *   compared as well, because its time stamps could hide a second change.
 * - KETAMA_CHANGED: its text, inode, size, mtime or ctime has (chmod(2) sets ctime), or
 *   the shared image of c was truncated, or its header damaged.
 *   *newer is a handle of the next generation, to be closed by the caller.
 * - a negative status: the file is missing or invalid; *newer is NULL, and the next
 *   call tries again. Errors: as ketama_open.
 * In each case c is unaffected. A continuum of a list or a text never changes. */
int ketama_refresh(ketama_continuum c, ketama_continuum *newer);

/* ketama_follow: let ketama_due() report when c should be refreshed. interval_ns: the
 * longest time between two checks of the file, in nanoseconds; 0, the default: never.
 * Handles that ketama_refresh() makes from c inherit it.
 *
 * ketama_due: return 1 if c should be refreshed, else 0. It should be if another process
 * has published a newer image (reported once, then every second), or if it was not
 * refreshed for interval_ns. Only one caller gets 1 each time, and none while a refresh
 * of c is running in this process: on a file system that hangs, it would hang as well.
 * If a refresh does not return, another caller gets 1 after 1 minute, the next ones 10,
 * 100 and then each 1,000 minutes later. No system call except getpid(2), at most once
 * per interval; a few nanoseconds.
 *
 * ketama_is_shared: return 1 if the image is mapped from shared memory, 0 if private.
 * All three cannot fail. */
void ketama_follow(ketama_continuum c, int64_t interval_ns);
int ketama_due(ketama_continuum c);
int ketama_is_shared(ketama_continuum c);

/* ketama_retain: add an owner, who must close c as well; returns c. Cannot fail.
 * ketama_close: remove an owner. The last one frees the handle and all pointers that
 * came from it. c may be NULL. */
ketama_continuum ketama_retain(ketama_continuum c);
void ketama_close(ketama_continuum c);

/* ketama_find: return the index of the key's server. The key is any `len` bytes, which
 * may include NULs. If `point` is not NULL, *point is the point that owns the key.
 * ketama_find_hash: the same for a key whose hash is known.
 * Cannot fail; no system call, no allocation, no lock. */
uint32_t ketama_find(ketama_continuum c, const void *key, size_t len, uint32_t *point);
uint32_t ketama_find_hash(ketama_continuum c, uint32_t hash, uint32_t *point);

/* ketama_find_many: the same for `count` keys: servers[i] is the index for keys[i], and
 * points[i] its point if `points` is not NULL. Keys are hashed in parallel with the
 * widest vector instructions available: much faster than one by one. Cannot fail. */
void ketama_find_many(ketama_continuum c, const ketama_key *keys, size_t count,
                      uint32_t *servers, uint32_t *points);

/* ketama_successors: list the distinct servers along the ring from the key on, for
 * replicas and failover; servers[0] is that of ketama_find(). Writes at most `count`
 * indexes and returns how many, which is fewer if fewer servers have points. A duplicate
 * address counts as two servers. Allocates if count > 64. Errors: ENOMEM. */
int ketama_successors(ketama_continuum c, const void *key, size_t len, uint32_t *servers,
                      uint32_t count);

/* ketama_find_among, ketama_find_many_among, ketama_successors_among: the same without
 * some of the servers, such as those that are down. excluded: a byte for each server of
 * c; a server is skipped if its byte is not 0. A key of a skipped server belongs to the
 * next one along the ring that is not, and returns when it is not skipped any more. If
 * all servers with points are skipped: KETAMA_NO_SERVER, and 0 as the point; there are
 * no successors. Errors: those of the functions above. */
#define KETAMA_NO_SERVER 4294967295
uint32_t ketama_find_among(ketama_continuum c, const void *key, size_t len,
                           const unsigned char *excluded, uint32_t *point);
void ketama_find_many_among(ketama_continuum c, const ketama_key *keys, size_t count,
                            const unsigned char *excluded, uint32_t *servers,
                            uint32_t *points);
int ketama_successors_among(ketama_continuum c, const void *key, size_t len,
                            const unsigned char *excluded, uint32_t *servers,
                            uint32_t count);

/* The number of servers, the number of points, and the version, counted from 1. Cannot
 * fail. */
uint32_t ketama_count_servers(ketama_continuum c);
uint32_t ketama_count_points(ketama_continuum c);
uint64_t ketama_generation(ketama_continuum c);

/* ketama_server_at: fill *server with the server at `index`, counted from 0 in the order
 * of the file. Its strings are valid until c is closed. Errors: ERANGE. */
int ketama_server_at(ketama_continuum c, uint32_t index, ketama_server *server);

/* ketama_points: copy points, in ascending order, from number `first` (from 0) on, at
 * most `count`, to out[]; returns how many. Cannot fail. */
uint32_t ketama_points(ketama_continuum c, uint32_t first, uint32_t count,
                       ketama_point *out);

/* ketama_key_hash: return the hash of a key in this continuum's dialect.
 * ketama_hash: return the first four bytes of a key's MD5, little-endian, which is its
 * hash in the dialect "libketama". ketama_md5: the whole MD5, 16 bytes. Cannot fail. */
uint32_t ketama_key_hash(ketama_continuum c, const void *key, size_t len);
uint32_t ketama_hash(const void *key, size_t len);
void ketama_md5(const void *key, size_t len, unsigned char digest[16]);

/* The calling thread's latest failure. */
typedef struct ketama_failure {
    int status;       /* KETAMA_OK if there was none */
    int system_errno; /* errno, if status is KETAMA_ESYSTEM; else 0 */
    uint64_t line;    /* in the file, or position in the list, from 1; 0: none */
    char reason[512]; /* without file and line; "" if there was none */
} ketama_failure;

/* ketama_strerror: return what a status means, as a static string.
 * ketama_error: return the calling thread's latest failure as a message, such as
 *     "/etc/ketama.servers:3: invalid weight \"0\": must be an integer from 1 to ...";
 *     "" if there was none. Success does not clear it, except that of ketama_roll().
 * ketama_last_failure: return its parts. Both are valid until the thread's next failure.
 * ketama_version: return the library's version, KETAMA_VERSION when it was compiled. */
const char *ketama_strerror(int status);
char *ketama_error(void);
const ketama_failure *ketama_last_failure(void);
const char *ketama_version(void);

/* cffi: end */

#if defined(__GNUC__) && !defined(KETAMA_HIDDEN)
#pragma GCC visibility pop
#endif
#ifdef __cplusplus
}
#endif

/* The interface of 2007, unless KETAMA_NO_OLD_NAMES is defined. */
#ifndef KETAMA_NO_OLD_NAMES
#include "ketama_compat.h"
#endif
#endif

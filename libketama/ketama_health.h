/*
 * ketama_health.h - which servers are down, shared by all processes of a user
 *
 * An addition to ketama.h, whose rules apply here as well. The library connects to no
 * server: programs report what failed, and one program at a time is chosen to try
 * whether a server is back.
 *
 *     ketama_health *health;
 *     ketama_probe probe;
 *     ketama_health_open(&health, NULL);
 *     ...
 *     if (connect(...) != 0 && is_the_servers_fault(errno))
 *         ketama_health_failed(health, address, strlen(address), errno == ECONNREFUSED);
 *     ...
 *     if (ketama_health_claim(health, addresses, count, &probe))
 *         ketama_health_probed(health, &probe, answers(addresses[probe.address]));
 *     down = ketama_health_down(health, addresses, count, indexes, NULL);
 *
 * STATES. A server that nobody has reported is up, and is not in the table. Reports make
 * it suspect, until a window of time has passed. Enough of them within the window, or
 * one hard failure, take it down. A success is never reported, and so costs nothing.
 * While it is down, a probe is due after an interval, which doubles with each probe that
 * is begun, up to a longest one; only a probe can lengthen it. After enough good probes
 * in sequence, the server is up. If it goes down again within a calm time, the intervals
 * go on from where they were.
 *
 * PROBES. The process that claims a probe has the next one postponed by the same step,
 * by the interval, and by no less than a probe takes: no other process probes meanwhile,
 * and if it dies, the next one is due then. The result counts only if nobody has claimed
 * a probe of that server since.
 *
 * MORE THAN HALF. If more than half of the addresses that a caller names are down, it
 * is more likely the caller's network that failed, or the fleet cannot do without them:
 * none is treated as down. Probes go on.
 *
 * SHARED MEMORY. The table is a file of 128 KiB, "liveness.1", in the user's folder of
 * images; see ketama.h. If that cannot be used (no space, no permission, another user's
 * file, a set-id program, no descriptors), the table is in private memory, which
 * children forked later share, and a later report tries the file again. Nothing here
 * waits for another process, except for one that is creating the file, and then for a
 * fifth of a second at most: ketama_health_open(), and ketama_health_failed() if the
 * file was removed or could not be used before, which it checks once in ten seconds.
 *
 * TIMES are those of the machine's monotonic clock, in nanoseconds, rounded down to
 * milliseconds. If the table outlives a reboot, a time further ahead than the longest
 * interval counts as reached.
 *
 * THREADS, FORKS. Any number of threads may call any function on the same table, and so
 * may children; no function takes a lock. Each process closes its own.
 *
 * HAZARDS
 * - A process without descriptors or memory, or without DNS, would report servers that
 *   are well. Remedy: report only failures of the server: refused, reset, timed out; not
 *   EMFILE, ENFILE, ENOBUFS, ENOMEM, EADDRNOTAVAIL, and not what you have cancelled.
 * - Programs with different options share one table: the strictest takes a server down
 *   for all, and the shortest interval is probed. Remedy: use the same options.
 * - Addresses are compared as text. Remedy: pass them as the server file has them.
 * - The table holds 1024 servers that were reported recently, or are down and probed. If
 *   all are in use, a report of another server is ignored, and it counts as up.
 * - Removing the file splits the processes into those that have it and those that make a
 *   new one. Each process notices at its next report, ten seconds after it last checked.
 * - Truncating the file raises SIGBUS in processes that have it mapped; only the same
 *   user can do that. On a file system that copies on write, such as btrfs, so can a
 *   full disk. Remedy: have the folder on a tmpfs; remove the file instead.
 * - Anything else that the same user writes to it gives wrong answers, but no access
 *   outside of the table. Remedy: remove the file.
 */
#ifndef KETAMA_HEALTH_H
#define KETAMA_HEALTH_H

#include "ketama.h"

#ifdef __cplusplus
extern "C" {
#endif
#if defined(__GNUC__) && !defined(KETAMA_HIDDEN)
#pragma GCC visibility push(default)
#endif

/* The Python binding reads what is between the two cffi marks. */
/* cffi: begin */

typedef struct ketama_health ketama_health;

enum ketama_health_flags {
    KETAMA_HEALTH_PRIVATE = 1, /* not shared, except with children */
    KETAMA_HEALTH_EXISTING = 2 /* do not create the file: for those who only read */
};

/* Zero what you do not set, and so get the default. A member that this version does not
 * know must be zero. */
typedef struct ketama_health_options {
    size_t size;             /* sizeof(ketama_health_options) */
    unsigned flags;          /* of enum ketama_health_flags */
    uint32_t failures;       /* how many within the window: 1 to 63; default: 2 */
    uint32_t probes;         /* good ones before a server is up: 1 to 63; default: 2 */
    uint32_t reserved;       /* 0 */
    int64_t window_ns;       /* default: 10 s; all times are at most a day */
    int64_t interval_ns;     /* before the first probe; default: 1 s */
    int64_t interval_max_ns; /* between probes; default: 60 s */
    int64_t calm_ns;         /* default: 60 s */
    int64_t probe_ns;        /* the longest that a probe takes; default: the interval */
} ketama_health_options;

/* ketama_health_open: open the table of this user, which is made if it is missing.
 * options: NULL for the defaults. Errors: ENOMEM, EOPTION; then *health is NULL.
 * ketama_health_close: health may be NULL.
 * ketama_health_is_shared: return 1 if it is the file, 0 if private memory. */
int ketama_health_open(ketama_health **health, const ketama_health_options *options);
void ketama_health_close(ketama_health *health);
int ketama_health_is_shared(const ketama_health *health);

/* What a caller knows, so that it need not ask again. */
typedef struct ketama_health_watch {
    uint64_t changes; /* the library's */
    int64_t due_ns;   /* when the next probe is due, on the coarse monotonic clock;
                         INT64_MAX: none of these servers is down */
} ketama_health_watch;

enum ketama_health_moves {
    KETAMA_HEALTH_CHANGED = 1, /* ask ketama_health_down() again */
    KETAMA_HEALTH_DUE = 2      /* ask it again, and then ketama_health_claim() */
};

/* ketama_health_down: write the indexes of those of `count` addresses that must not be
 * asked now, ascending, to down[count]; return how many. 0 if more than half are down.
 * watch: what to pass to ketama_health_moved(); may be NULL. Cannot fail.
 * ketama_health_moved: return 0 if ketama_health_down() would say the same as when it
 * filled *watch, and no probe is due, else ketama_health_moves. A few nanoseconds, no
 * system call. Cannot fail. */
size_t ketama_health_down(ketama_health *health, const ketama_key *addresses,
                          size_t count, uint32_t *down, ketama_health_watch *watch);
int ketama_health_moved(ketama_health *health, const ketama_health_watch *watch);

/* ketama_health_failed: report that a server failed. hard: not 0 if one report is
 * enough, such as a refused connection. Returns 1 if this report took the server down,
 * else 0. Cannot fail. */
int ketama_health_failed(ketama_health *health, const char *address, size_t len,
                         int hard);

/* A probe that the caller has to make. Never grows. */
typedef struct ketama_probe {
    int64_t down_for_ns; /* since the server went down; 0: unknown */
    uint64_t server;     /* the library's */
    uint64_t claim;      /* the library's */
    uint32_t address;    /* its index in the addresses */
    uint32_t last;       /* 1: it will be up if this probe is good */
} ketama_probe;

/* ketama_health_claim: choose this caller to probe a server of these whose probe is due.
 * Returns 1 and fills *probe, or returns 0. Cannot fail.
 * ketama_health_probed: say whether the server answered. Returns 1 if it is up by this,
 * else 0. If the probe could not be made, do not call it. Cannot fail. */
int ketama_health_claim(ketama_health *health, const ketama_key *addresses, size_t count,
                        ketama_probe *probe);
int ketama_health_probed(ketama_health *health, const ketama_probe *probe, int good);

enum ketama_health_state {
    KETAMA_HEALTH_UP = 0,
    KETAMA_HEALTH_SUSPECT = 1,
    KETAMA_HEALTH_DOWN = 2
};

/* What the table has of a server. Never grows. */
typedef struct ketama_health_server {
    int state;           /* enum ketama_health_state */
    uint32_t count;      /* suspect: failures in the window; down: good probes */
    int64_t since_ns;    /* for how long it has been down, or up again; 0: unknown */
    int64_t due_ns;      /* down: until the next probe; 0: it is due */
    int64_t interval_ns; /* down: between the latest probe and the next */
    char address[256];   /* cut after 103 bytes; "": unknown */
} ketama_health_server;

/* ketama_health_get: fill *server with what is known of an address. Cannot fail.
 * ketama_health_next: fill *server with the next one in the table, from *position, which
 * is 0 at first and is moved on. Returns 0 after the last one. Servers of which nothing
 * is worth knowing are left out. Cannot fail. */
void ketama_health_get(ketama_health *health, const char *address, size_t len,
                       ketama_health_server *server);
int ketama_health_next(ketama_health *health, uint32_t *position,
                       ketama_health_server *server);

/* cffi: end */

#if defined(__GNUC__) && !defined(KETAMA_HIDDEN)
#pragma GCC visibility pop
#endif
#ifdef __cplusplus
}
#endif
#endif

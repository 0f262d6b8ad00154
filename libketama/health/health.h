/*
 * health.h - the table of liveness: its layout, where it is, and its slots
 */
#ifndef KETAMA_HEALTH_INTERNAL_H
#define KETAMA_HEALTH_INTERNAL_H

#include "../internal.h"

#include "../ketama_health.h"

/* The number is the layout's: a process that has another layout uses another file. */
#define KETAMA_HEALTH_NAME "liveness.1"

enum {
    KETAMA_HEALTH_SLOTS = 1024,
    KETAMA_HEALTH_TEXT = 104, /* bytes of an address, padded with NULs */
};

/* What is in a slot changes by compare-and-swap of its word alone. All else is written
 * by the process that has just filled the slot, or does not matter to decisions. */
struct ketama_health_slot {
    _Atomic uint64_t server; /* a hash of the address; 0: free */
    _Atomic uint64_t word;   /* see state.h */
    _Atomic uint64_t since;  /* when it went down or came up, ms; 0: never */
    _Atomic uint64_t text[KETAMA_HEALTH_TEXT / 8]; /* the address, if it fits */
};

struct ketama_health_table {
    unsigned char magic[16];
    uint32_t order; /* tells the byte order */
    uint32_t slots;
    _Atomic uint32_t changes; /* one more for each one that others must see */
    unsigned char unused[100];
    struct ketama_health_slot at[KETAMA_HEALTH_SLOTS];
};

_Static_assert(sizeof(struct ketama_health_slot) == 128, "two lines of a cache");
_Static_assert(sizeof(struct ketama_health_table) == 128 * (KETAMA_HEALTH_SLOTS + 1),
               "the same in each process, of 32 bits or of 64");

/* A table in memory. Those before it may still be in use by other threads. */
struct ketama_health_mapping {
    struct ketama_health_table *table;
    struct ketama_file file; /* which file it is; 0, 0: private memory */
    uint32_t number;         /* how many there were before, in this process */
    struct ketama_health_mapping *before;
};

struct ketama_health {
    _Atomic(struct ketama_health_mapping *) now;
    _Atomic int64_t checked_at; /* when the file was last looked for, coarse clock, ns */
    int64_t (*clock_ns)(void);  /* the coarse clock, unless a test has another */
    ketama_health_options options;
};

/* ---- table.c */

/* Maps the file, or private memory if there is none; NULL: out of memory. */
struct ketama_health_mapping *ketama_health_map(const ketama_health_options *options);
void ketama_health_unmap(struct ketama_health_mapping *mapping);
/* Is the file that is mapped no longer the one that others would map? */
bool ketama_health_is_replaced(const struct ketama_health_mapping *mapping);

/* ---- slots.c */

/* What a server is known by; never 0. */
uint64_t ketama_health_hash(const char *address, size_t len);
/* A server's slot and its word, which is that server's; NULL: it has none. */
struct ketama_health_slot *ketama_health_find(struct ketama_health_table *table,
                                              uint64_t server, uint64_t *word);
/* Gives the server a slot. False: the table is full of servers that matter. */
bool ketama_health_add(const ketama_health *health, struct ketama_health_table *table,
                       const char *address, size_t len, uint64_t server);
void ketama_health_read_text(struct ketama_health_slot *slot,
                             char text[KETAMA_HEALTH_TEXT]);

#endif

/*
 * state.h - what a word of the table says of a server, and the times in it
 */
#ifndef KETAMA_HEALTH_STATE_H
#define KETAMA_HEALTH_STATE_H

#include "health.h"

/* TAKEN: the slot is being given to another server. */
enum phase { UP, SUSPECT, DOWN, TAKEN };

/* A word. count: of failures in the window, or of good probes. level: 0 if the server
 * has never been down, else 1 more than how often the interval has doubled; kept while
 * it is up. time_ms: when the window began, or when the next probe is due. */
struct state {
    enum phase phase;    /* 2 bits */
    unsigned count;      /* 6 bits */
    unsigned level;      /* 6 bits */
    uint64_t time_ms;    /* 36 bits: two years, of which one is ahead */
    unsigned generation; /* 14 bits: so that no two words of a slot are equal */
};

enum { COUNT_MAX = 63, TIME_BITS = 36, GENERATION_BITS = 14 };
static const int64_t ms = 1000000;

static inline struct state unpack(uint64_t word)
{
    return (struct state){
        .phase = (enum phase)(word & 3),
        .count = (unsigned)(word >> 2) & COUNT_MAX,
        .level = (unsigned)(word >> 8) & COUNT_MAX,
        .time_ms = word >> 14 & (((uint64_t)1 << TIME_BITS) - 1),
        .generation = (unsigned)(word >> (14 + TIME_BITS)),
    };
}

static inline uint64_t pack(struct state state)
{
    return (uint64_t)state.phase | (uint64_t)state.count << 2 |
           (uint64_t)state.level << 8 |
           (state.time_ms & (((uint64_t)1 << TIME_BITS) - 1)) << 14 |
           (uint64_t)state.generation << (14 + TIME_BITS);
}

/* Changes a slot from a word that was read, unless another process was faster. */
static inline bool change(struct ketama_health_slot *slot, uint64_t from,
                          struct state to)
{
    to.generation = (unpack(from).generation + 1) & ((1 << GENERATION_BITS) - 1);
    return atomic_compare_exchange_strong(&slot->word, &from, pack(to));
}

static inline uint64_t now_ms(const ketama_health *health)
{
    return (uint64_t)(health->clock_ns() / ms);
}

/* How far a time in a word is ahead of now, in ms; negative: behind. */
static inline int64_t ahead(uint64_t time_ms, uint64_t now)
{
    const uint64_t sign = (uint64_t)1 << (TIME_BITS - 1);
    uint64_t difference = (time_ms - now) & (2 * sign - 1);
    return (int64_t)(difference ^ sign) - (int64_t)sign;
}

static inline int64_t interval_ms(const ketama_health_options *options, unsigned level)
{
    int64_t interval = options->interval_ns, longest = options->interval_max_ns;
    while (level-- > 1 && interval < longest)
        interval *= 2; /* a day at most, and so no overflow */
    return (interval < longest ? interval : longest) / ms;
}

/* For how long nobody else makes a probe that was claimed. */
static inline int64_t claim_ms(const ketama_health_options *options, unsigned level)
{
    int64_t interval = interval_ms(options, level), probe = options->probe_ns / ms;
    return interval > probe ? interval : probe;
}

/* Doubles the interval, unless it is the longest. */
static inline unsigned raise_level(const ketama_health_options *options, unsigned level)
{
    return level == 0 || (level < COUNT_MAX &&
                          interval_ms(options, level) < options->interval_max_ns / ms)
               ? level + 1
               : level;
}

/* In how many ms a probe is due. A time that is too far ahead is from before a reboot.
 */
static inline int64_t due_in(const ketama_health_options *options, struct state state,
                             uint64_t now)
{
    int64_t left = ahead(state.time_ms, now), longest = claim_ms(options, COUNT_MAX);
    return left > longest || left < 0 ? 0 : left;
}

static inline bool is_within(uint64_t since, uint64_t now, int64_t span_ns)
{
    return since != 0 && since <= now && now - since <= (uint64_t)(span_ns / ms);
}

/* ---- slots.c */

/* Is nothing that is worth knowing in a slot any more? */
bool ketama_health_is_quiet(const ketama_health *health, struct ketama_health_slot *slot,
                            struct state state, uint64_t now);

#endif

/*
 * slots.c - which slot of the table is a server's, and how it gets one
 */
#include "state.h"

#include <string.h>

/* FNV-1a, and a last step that spreads it. */
uint64_t ketama_health_hash(const char *address, size_t len)
{
    uint64_t h = 0xcbf29ce484222325u;
    for (size_t i = 0; i < len; i++)
        h = (h ^ (unsigned char)address[i]) * 0x100000001b3u;
    h ^= h >> 29;
    return h != 0 ? h : 1;
}

static struct ketama_health_slot *probe_slot(struct ketama_health_table *table,
                                             uint64_t server, size_t step)
{
    return &table->at[(server + step) % KETAMA_HEALTH_SLOTS];
}

/* The word is read first: a slot is marked as taken before it gets another server. */
struct ketama_health_slot *ketama_health_find(struct ketama_health_table *table,
                                              uint64_t server, uint64_t *word)
{
    for (size_t step = 0; step < KETAMA_HEALTH_SLOTS; step++) {
        struct ketama_health_slot *slot = probe_slot(table, server, step);
        *word = atomic_load(&slot->word);
        uint64_t there = atomic_load(&slot->server);
        if (there == 0)
            return NULL;
        if (there == server && unpack(*word).phase != TAKEN)
            return slot;
    }
    return NULL;
}

static void write_text(struct ketama_health_slot *slot, const char *address, size_t len)
{
    char text[KETAMA_HEALTH_TEXT] = {0};
    memcpy(text, address, len < sizeof text ? len : sizeof text - 1);
    for (size_t i = 0; i < sizeof text / 8; i++) {
        uint64_t part;
        memcpy(&part, text + 8 * i, sizeof part);
        atomic_store_explicit(&slot->text[i], part, memory_order_relaxed);
    }
}

void ketama_health_read_text(struct ketama_health_slot *slot,
                             char text[KETAMA_HEALTH_TEXT])
{
    for (size_t i = 0; i < KETAMA_HEALTH_TEXT / 8; i++) {
        uint64_t part = atomic_load_explicit(&slot->text[i], memory_order_relaxed);
        memcpy(text + 8 * i, &part, sizeof part);
    }
    text[KETAMA_HEALTH_TEXT - 1] = '\0';
}

bool ketama_health_is_quiet(const ketama_health *health, struct ketama_health_slot *slot,
                            struct state state, uint64_t now)
{
    const ketama_health_options *options = &health->options;
    int64_t age = -ahead(state.time_ms, now);
    bool calm = !is_within(atomic_load(&slot->since), now, options->calm_ns);
    return calm && (state.phase == UP || (state.phase == SUSPECT &&
                                          (age < 0 || age > options->window_ns / ms)));
}

/* Has no process probed it for an hour, although that was due? Then it is in no server
 * file that is in use. A time more than a day ahead is from before a reboot. */
static bool is_abandoned(struct state state, uint64_t now)
{
    const int64_t hour = 3600 * 1000, day = 24 * hour;
    int64_t age = -ahead(state.time_ms, now);
    return state.phase == DOWN && (age > hour || age < -day);
}

/* Gives a quiet slot to another server. A process that is killed meanwhile leaves a slot
 * that is never used again. */
static bool take(const ketama_health *health, struct ketama_health_slot *slot,
                 uint64_t server, uint64_t now)
{
    uint64_t word = atomic_load(&slot->word);
    struct state state = unpack(word);
    bool is_free =
        ketama_health_is_quiet(health, slot, state, now) || is_abandoned(state, now);
    if (!is_free || !change(slot, word, (struct state){.phase = TAKEN}))
        return false;
    atomic_store(&slot->server, server);
    atomic_store(&slot->since, 0);
    word = atomic_load(&slot->word);
    return change(slot, word, (struct state){.phase = UP});
}

bool ketama_health_add(const ketama_health *health, struct ketama_health_table *table,
                       const char *address, size_t len, uint64_t server)
{
    uint64_t now = now_ms(health);
    for (size_t step = 0; step < KETAMA_HEALTH_SLOTS; step++) {
        struct ketama_health_slot *slot = probe_slot(table, server, step);
        uint64_t there = 0;
        if (atomic_compare_exchange_strong(&slot->server, &there, server)) {
            write_text(slot, address, len);
            return true;
        }
        if (there == server && unpack(atomic_load(&slot->word)).phase != TAKEN)
            return true; /* another process added it */
    }
    for (size_t step = 0; step < KETAMA_HEALTH_SLOTS; step++) {
        struct ketama_health_slot *slot = probe_slot(table, server, step);
        if (take(health, slot, server, now)) {
            write_text(slot, address, len);
            return true;
        }
    }
    return false;
}

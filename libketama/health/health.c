/*
 * health.c - which servers are down: reports, questions and probes
 *
 * All that decisions depend on is in one word per server, which changes by
 * compare-and-swap: a process that is killed between any two instructions leaves a state
 * that is valid, and of several that see the same only one changes it.
 */
#include "state.h"

#include <stdlib.h>
#include <string.h>

static const int64_t second = 1000000000;

/* ---- which table */

static struct ketama_health_table *table_of(const ketama_health *health)
{
    return atomic_load_explicit(&health->now, memory_order_acquire)->table;
}

/* Changes, with the number of the table, which has a count of its own. */
static uint64_t changes_of(const ketama_health *health)
{
    const struct ketama_health_mapping *mapping =
        atomic_load_explicit(&health->now, memory_order_acquire);
    return (uint64_t)mapping->number << 32 | atomic_load(&mapping->table->changes);
}

/* Goes over to the file that others would map now, if it is another one. */
static void check_file(ketama_health *health)
{
    int64_t now = health->clock_ns(), checked = atomic_load(&health->checked_at);
    struct ketama_health_mapping *old = atomic_load(&health->now), *new;
    if ((health->options.flags & KETAMA_HEALTH_PRIVATE) != 0 ||
        (now >= checked && now - checked < 10 * second) ||
        !atomic_compare_exchange_strong(&health->checked_at, &checked, now) ||
        !ketama_health_is_replaced(old) ||
        (new = ketama_health_map(&health->options)) == NULL)
        return;
    new->before = old;
    new->number = old->number + 1;
    if (new->file.inode != 0 &&
        atomic_compare_exchange_strong(&health->now, &old, new)) {
        atomic_fetch_add(&old->table->changes, 1); /* for those who watch only that */
        return;
    }
    new->before = NULL;
    ketama_health_unmap(new);
}

/* ---- open and close */

static bool set_count(uint32_t *count)
{
    if (*count == 0)
        *count = 2;
    return *count <= COUNT_MAX;
}

static bool set_time(int64_t *time_ns, int64_t otherwise)
{
    const int64_t day = 86400 * second;
    if (*time_ns == 0)
        *time_ns = otherwise;
    return *time_ns >= ms && *time_ns <= day;
}

static bool read_options(const ketama_health_options *from, ketama_health_options *to)
{
    *to = (ketama_health_options){.size = sizeof *to};
    if (from != NULL) {
        if (from->size < sizeof *to)
            return false;
        for (size_t i = sizeof *to; i < from->size; i++)
            if (((const unsigned char *)from)[i] != 0)
                return false;
        *to = *from;
    }
    return to->flags <= (KETAMA_HEALTH_PRIVATE | KETAMA_HEALTH_EXISTING) &&
           to->reserved == 0 && set_count(&to->failures) && set_count(&to->probes) &&
           set_time(&to->window_ns, 10 * second) && set_time(&to->interval_ns, second) &&
           set_time(&to->interval_max_ns, 60 * second) &&
           set_time(&to->calm_ns, 60 * second) && set_time(&to->probe_ns, ms);
}

int ketama_health_open(ketama_health **health, const ketama_health_options *options)
{
    ketama_failure failure;
    int kept = errno;
    ketama_health *new = calloc(1, sizeof *new);

    *health = NULL;
    if (new == NULL)
        return ketama_store_failure(KETAMA_ENOMEM, NULL, NULL);
    if (!read_options(options, &new->options)) {
        free(new);
        ketama_set_failure(&failure, KETAMA_EOPTION, 0,
                           "invalid options of liveness: counts must be from 1 to 63, "
                           "times from a millisecond to a day");
        return ketama_store_failure(KETAMA_EOPTION, NULL, &failure);
    }
    struct ketama_health_mapping *mapping = ketama_health_map(&new->options);
    if (mapping == NULL) {
        free(new);
        return ketama_store_failure(KETAMA_ENOMEM, NULL, NULL);
    }
    new->clock_ns = ketama_coarse_clock_ns;
    atomic_init(&new->checked_at, ketama_coarse_clock_ns());
    atomic_init(&new->now, mapping);
    *health = new;
    errno = kept;
    return KETAMA_OK;
}

void ketama_health_close(ketama_health *health)
{
    if (health != NULL)
        ketama_health_unmap(atomic_load(&health->now));
    free(health);
}

int ketama_health_is_shared(const ketama_health *health)
{
    return atomic_load(&health->now)->file.inode != 0;
}

/* ---- reports */

static bool is_down_now(const ketama_health_options *options, struct state state,
                        int hard)
{
    return hard != 0 || state.count >= options->failures;
}

/* What a failure makes of a server that is not down. */
static struct state after_failure(const ketama_health *health,
                                  struct ketama_health_slot *slot, struct state state,
                                  int hard, uint64_t now)
{
    const ketama_health_options *options = &health->options;
    int64_t age = -ahead(state.time_ms, now);

    if (state.phase == UP || age < 0 || age > options->window_ns / ms) {
        state.time_ms = now;
        state.count = 0;
    }
    state.phase = SUSPECT;
    state.count += state.count < COUNT_MAX;
    if (!is_down_now(options, state, hard))
        return state;
    bool calm = !is_within(atomic_load(&slot->since), now, options->calm_ns);
    state.level = state.level == 0 || calm ? 1 : raise_level(options, state.level);
    state.phase = DOWN;
    state.count = 0;
    state.time_ms = now + (uint64_t)interval_ms(options, state.level);
    return state;
}

int ketama_health_failed(ketama_health *health, const char *address, size_t len,
                         int hard)
{
    int kept = errno;
    check_file(health);
    struct ketama_health_table *table = table_of(health);
    uint64_t server = ketama_health_hash(address, len), now = now_ms(health), word;
    struct ketama_health_slot *slot;

    errno = kept;
    for (;;) {
        while ((slot = ketama_health_find(table, server, &word)) == NULL)
            if (!ketama_health_add(health, table, address, len, server))
                return 0;
        struct state state = unpack(word);
        if (state.phase == DOWN) {
            /* The caller did not know, so whoever took it down may have been killed
             * before it could count the change. */
            atomic_fetch_add(&table->changes, 1);
            return 0;
        }
        state = after_failure(health, slot, state, hard, now);
        /* Before the word: a server that is down has been so since then, or longer. */
        if (state.phase == DOWN)
            atomic_store(&slot->since, now != 0 ? now : 1);
        if (!change(slot, word, state))
            continue;
        if (state.phase == DOWN)
            atomic_fetch_add(&table->changes, 1);
        return state.phase == DOWN;
    }
}

/* ---- questions */

static size_t none_if_most(size_t down, size_t count)
{
    return 2 * down > count ? 0 : down;
}

size_t ketama_health_down(ketama_health *health, const ketama_key *addresses,
                          size_t count, uint32_t *down, ketama_health_watch *watch)
{
    uint64_t changes = changes_of(health), now = now_ms(health), word;
    struct ketama_health_table *table = table_of(health);
    int64_t soonest = INT64_MAX;
    size_t found = 0;

    for (size_t i = 0; i < count; i++) {
        uint64_t server = ketama_health_hash(addresses[i].bytes, addresses[i].len);
        if (ketama_health_find(table, server, &word) == NULL ||
            unpack(word).phase != DOWN)
            continue;
        int64_t left = due_in(&health->options, unpack(word), now);
        soonest = left < soonest ? left : soonest;
        down[found++] = (uint32_t)i;
    }
    if (watch != NULL) {
        watch->changes = changes;
        watch->due_ns = found > 0 ? ((int64_t)now + soonest) * ms : INT64_MAX;
    }
    return none_if_most(found, count);
}

int ketama_health_moved(ketama_health *health, const ketama_health_watch *watch)
{
    int moves = changes_of(health) != watch->changes ? KETAMA_HEALTH_CHANGED : 0;
    if (watch->due_ns != INT64_MAX && health->clock_ns() >= watch->due_ns)
        moves |= KETAMA_HEALTH_DUE;
    return moves;
}

/* ---- probes */

/* How long a slot has been in its state; 0: unknown. */
static int64_t age_of(struct ketama_health_slot *slot, uint64_t now)
{
    uint64_t since = atomic_load(&slot->since);
    return since != 0 && since <= now ? (int64_t)(now - since) * ms : 0;
}

/* Postpones the next probe, as if this one had failed already. */
static bool claim(const ketama_health *health, struct ketama_health_slot *slot,
                  uint64_t word, uint64_t now, ketama_probe *probe)
{
    const ketama_health_options *options = &health->options;
    struct state state = unpack(word);
    if (state.phase != DOWN || due_in(options, state, now) > 0)
        return false;
    probe->last = state.count + 1 >= options->probes;
    state.level = raise_level(options, state.level);
    state.time_ms = now + (uint64_t)claim_ms(options, state.level);
    if (!change(slot, word, state))
        return false;
    state.generation = (state.generation + 1) & ((1 << GENERATION_BITS) - 1);
    probe->claim = pack(state);
    probe->down_for_ns = age_of(slot, now);
    return true;
}

int ketama_health_claim(ketama_health *health, const ketama_key *addresses, size_t count,
                        ketama_probe *probe)
{
    struct ketama_health_table *table = table_of(health);
    uint64_t now = now_ms(health), word;

    for (size_t i = 0; i < count; i++) {
        uint64_t server = ketama_health_hash(addresses[i].bytes, addresses[i].len);
        struct ketama_health_slot *slot = ketama_health_find(table, server, &word);
        if (slot == NULL || !claim(health, slot, word, now, probe))
            continue;
        probe->server = server;
        probe->address = (uint32_t)i;
        atomic_fetch_add(&table->changes, 1);
        return 1;
    }
    return 0;
}

int ketama_health_probed(ketama_health *health, const ketama_probe *probe, int good)
{
    const ketama_health_options *options = &health->options;
    struct ketama_health_table *table = table_of(health);
    uint64_t now = now_ms(health), word;
    struct ketama_health_slot *slot = ketama_health_find(table, probe->server, &word);
    struct state state = unpack(probe->claim);

    if (slot == NULL || word != probe->claim)
        return 0; /* it took so long that another process has claimed the next one */
    if (good) {
        state.level = state.level > 1 ? state.level - 1 : 1; /* see claim() */
        state.count += state.count < COUNT_MAX;
        state.time_ms = now + (uint64_t)interval_ms(options, 1);
    } else {
        state.count = 0;
        state.time_ms = now + (uint64_t)interval_ms(options, state.level);
    }
    bool up = good && state.count >= options->probes;
    if (up) {
        state.phase = UP;
        state.count = 0;
    }
    if (!change(slot, word, state))
        return 0;
    if (up)
        atomic_store(&slot->since, now != 0 ? now : 1);
    atomic_fetch_add(&table->changes, 1);
    return up;
}

/* ---- for people */

/* False: nothing about this slot is worth knowing. */
static bool describe(const ketama_health *health, struct ketama_health_slot *slot,
                     uint64_t word, ketama_health_server *server)
{
    uint64_t now = now_ms(health);
    struct state state = unpack(word);

    if (state.phase == TAKEN || ketama_health_is_quiet(health, slot, state, now))
        return false;
    server->since_ns = state.level > 0 ? age_of(slot, now) : 0;
    if (state.phase == SUSPECT) {
        int64_t age = -ahead(state.time_ms, now);
        if (age < 0 || age > health->options.window_ns / ms)
            return true; /* its window has passed */
        server->state = KETAMA_HEALTH_SUSPECT;
        server->count = state.count;
    } else if (state.phase == DOWN) {
        server->state = KETAMA_HEALTH_DOWN;
        server->count = state.count;
        server->due_ns = due_in(&health->options, state, now) * ms;
        server->interval_ns = interval_ms(&health->options, state.level) * ms;
    }
    return true;
}

void ketama_health_get(ketama_health *health, const char *address, size_t len,
                       ketama_health_server *server)
{
    uint64_t word;
    *server = (ketama_health_server){.state = KETAMA_HEALTH_UP};
    struct ketama_health_slot *slot =
        ketama_health_find(table_of(health), ketama_health_hash(address, len), &word);
    if (slot != NULL)
        (void)describe(health, slot, word, server);
    memcpy(server->address, address,
           len < sizeof server->address ? len : sizeof server->address - 1);
}

int ketama_health_next(ketama_health *health, uint32_t *position,
                       ketama_health_server *server)
{
    struct ketama_health_table *table = table_of(health);
    while (*position < KETAMA_HEALTH_SLOTS) {
        struct ketama_health_slot *slot = &table->at[(*position)++];
        uint64_t word = atomic_load(&slot->word), there = atomic_load(&slot->server);
        *server = (ketama_health_server){.state = KETAMA_HEALTH_UP};
        if (there == 0 || !describe(health, slot, word, server))
            continue;
        ketama_health_read_text(slot, server->address);
        size_t len = strlen(server->address);
        if (len < KETAMA_HEALTH_TEXT - 1 &&
            ketama_health_hash(server->address, len) != there)
            memset(server->address, 0, sizeof server->address); /* being written */
        return 1;
    }
    return 0;
}

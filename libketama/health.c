/*
 * health.c - which servers are down: the states of the table, and who may change them
 *
 * All that decisions depend on is in one word per server, which changes by
 * compare-and-swap: a process that is killed between any two instructions leaves a state
 * that is valid, and of several that see the same only one changes it.
 */
#include "health_table.h"

#include <stdlib.h>
#include <string.h>

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
static const int64_t ms = 1000000, second = 1000000000;

static struct state unpack(uint64_t word)
{
    return (struct state){
        .phase = (enum phase)(word & 3),
        .count = (unsigned)(word >> 2) & COUNT_MAX,
        .level = (unsigned)(word >> 8) & COUNT_MAX,
        .time_ms = word >> 14 & (((uint64_t)1 << TIME_BITS) - 1),
        .generation = (unsigned)(word >> (14 + TIME_BITS)),
    };
}

static uint64_t pack(struct state state)
{
    return (uint64_t)state.phase | (uint64_t)state.count << 2 |
           (uint64_t)state.level << 8 |
           (state.time_ms & (((uint64_t)1 << TIME_BITS) - 1)) << 14 |
           (uint64_t)state.generation << (14 + TIME_BITS);
}

/* Changes a slot from a word that was read, unless another process was faster. */
static bool change(struct ketama_health_slot *slot, uint64_t from, struct state to)
{
    to.generation = (unpack(from).generation + 1) & ((1 << GENERATION_BITS) - 1);
    return atomic_compare_exchange_strong(&slot->word, &from, pack(to));
}

/* ---- times */

static uint64_t now_ms(const ketama_health *health)
{
    return (uint64_t)(health->clock_ns() / ms);
}

/* How far a time in a word is ahead of now, in ms; negative: behind. */
static int64_t ahead(uint64_t time_ms, uint64_t now)
{
    const uint64_t sign = (uint64_t)1 << (TIME_BITS - 1);
    uint64_t difference = (time_ms - now) & (2 * sign - 1);
    return (int64_t)(difference ^ sign) - (int64_t)sign;
}

static int64_t interval_ms(const ketama_health_options *options, unsigned level)
{
    int64_t interval = options->interval_ns, longest = options->interval_max_ns;
    while (level-- > 1 && interval < longest)
        interval *= 2; /* a day at most, and so no overflow */
    return (interval < longest ? interval : longest) / ms;
}

/* Doubles the interval, unless it is the longest. */
static unsigned raise_level(const ketama_health_options *options, unsigned level)
{
    return level == 0 || (level < COUNT_MAX &&
                          interval_ms(options, level) < options->interval_max_ns / ms)
               ? level + 1
               : level;
}

/* In how many ms a probe is due. A time that is too far ahead is from before a reboot.
 */
static int64_t due_in(const ketama_health_options *options, struct state state,
                      uint64_t now)
{
    int64_t left = ahead(state.time_ms, now);
    return left > options->interval_max_ns / ms || left < 0 ? 0 : left;
}

static bool is_within(uint64_t since, uint64_t now, int64_t span_ns)
{
    return since != 0 && since <= now && now - since <= (uint64_t)(span_ns / ms);
}

/* ---- slots */

/* FNV-1a, and a last step that spreads it; never 0. */
static uint64_t hash_of(const char *address, size_t len)
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

/* A server's slot and its word, which is that server's; NULL: it has none. The word is
 * read first: a slot is marked as taken before it gets another server. */
static struct ketama_health_slot *find(struct ketama_health_table *table,
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

static void read_text(struct ketama_health_slot *slot, char text[KETAMA_HEALTH_TEXT])
{
    for (size_t i = 0; i < KETAMA_HEALTH_TEXT / 8; i++) {
        uint64_t part = atomic_load_explicit(&slot->text[i], memory_order_relaxed);
        memcpy(text + 8 * i, &part, sizeof part);
    }
    text[KETAMA_HEALTH_TEXT - 1] = '\0';
}

/* Is nothing that is worth knowing in it any more? */
static bool is_quiet(const ketama_health *health, struct ketama_health_slot *slot,
                     struct state state, uint64_t now)
{
    const ketama_health_options *options = &health->options;
    int64_t age = -ahead(state.time_ms, now);
    bool calm = !is_within(atomic_load(&slot->since), now, options->calm_ns);
    return calm && (state.phase == UP || (state.phase == SUSPECT &&
                                          (age < 0 || age > options->window_ns / ms)));
}

/* Gives a quiet slot to another server. A process that is killed meanwhile leaves a slot
 * that is never used again. */
static bool take(const ketama_health *health, struct ketama_health_slot *slot,
                 uint64_t server, uint64_t now)
{
    uint64_t word = atomic_load(&slot->word);
    struct state state = unpack(word);
    if (!is_quiet(health, slot, state, now) ||
        !change(slot, word, (struct state){.phase = TAKEN}))
        return false;
    atomic_store(&slot->server, server);
    atomic_store(&slot->since, 0);
    word = atomic_load(&slot->word);
    return change(slot, word, (struct state){.phase = UP});
}

/* Gives the server a slot. False: the table is full of servers that matter. */
static bool add(const ketama_health *health, struct ketama_health_table *table,
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
           set_time(&to->calm_ns, 60 * second);
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
    uint64_t server = hash_of(address, len), now = now_ms(health), word;
    struct ketama_health_slot *slot;

    errno = kept;
    for (;;) {
        while ((slot = find(table, server, &word)) == NULL)
            if (!add(health, table, address, len, server))
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
        uint64_t server = hash_of(addresses[i].bytes, addresses[i].len);
        if (find(table, server, &word) == NULL || unpack(word).phase != DOWN)
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
    state.time_ms = now + (uint64_t)interval_ms(options, state.level);
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
        uint64_t server = hash_of(addresses[i].bytes, addresses[i].len);
        struct ketama_health_slot *slot = find(table, server, &word);
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
    struct ketama_health_slot *slot = find(table, probe->server, &word);
    struct state state = unpack(probe->claim);

    if (slot == NULL || word != probe->claim)
        return 0; /* it took so long that another process has claimed the next one */
    if (good) {
        state.level = state.level > 1 ? state.level - 1 : 1; /* see claim() */
        state.count += state.count < COUNT_MAX;
        state.time_ms = now + (uint64_t)interval_ms(options, 1);
    } else {
        state.count = 0;
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

    if (state.phase == TAKEN || is_quiet(health, slot, state, now))
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
        find(table_of(health), hash_of(address, len), &word);
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
        read_text(slot, server->address);
        size_t len = strlen(server->address);
        if (len < KETAMA_HEALTH_TEXT - 1 && hash_of(server->address, len) != there)
            memset(server->address, 0, sizeof server->address); /* being written */
        return 1;
    }
    return 0;
}

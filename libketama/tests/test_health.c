/*
 * test_health.c - the table of liveness: states, probes, and files that cannot be
 * trusted
 */
#include "check.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../health/health.h"

static const int64_t second = 1000000000;
static int64_t now;

static int64_t clock_ns(void)
{
    return now;
}

static char path[256]; /* of the file */

/* Opens the table with the tests' clock. */
static ketama_health *open_with(const ketama_health_options *options)
{
    ketama_health *health;
    CHECK_INT(KETAMA_OK, ketama_health_open(&health, options));
    health->clock_ns = clock_ns;
    atomic_store(&health->checked_at, now);
    return health;
}

static ketama_health *open_shared(void)
{
    return open_with(NULL);
}

/* Starts with no file, an hour after the machine has started. */
static void start_anew(void)
{
    char folder[200];
    snprintf(folder, sizeof folder, "libketama-%lu", (unsigned long)geteuid());
    snprintf(path, sizeof path, "%s/" KETAMA_HEALTH_NAME, scratch_path(folder));
    (void)unlink(path);
    now = 3600 * second;
}

static const char *const texts[] = {"a:1", "b:1", "c:1", "d:1"};
enum { ADDRESSES = 4 };

static const ketama_key *addresses(void)
{
    static ketama_key keys[ADDRESSES];
    for (int i = 0; i < ADDRESSES; i++)
        keys[i] = (ketama_key){texts[i], strlen(texts[i])};
    return keys;
}

static int fail(ketama_health *health, const char *address, int hard)
{
    return ketama_health_failed(health, address, strlen(address), hard);
}

/* The indexes of those that are down, as text. */
static const char *down(ketama_health *health)
{
    static char text[ADDRESSES + 1];
    uint32_t indexes[ADDRESSES];
    size_t count = ketama_health_down(health, addresses(), ADDRESSES, indexes, NULL);
    for (size_t i = 0; i < count; i++)
        text[i] = (char)('0' + indexes[i]);
    text[count] = '\0';
    return text;
}

static int claim(ketama_health *health, ketama_probe *probe)
{
    return ketama_health_claim(health, addresses(), ADDRESSES, probe);
}

static ketama_health_server get(ketama_health *health, const char *address)
{
    ketama_health_server server;
    ketama_health_get(health, address, strlen(address), &server);
    return server;
}

static void two_failures_within_the_window_take_a_server_down(void)
{
    start_anew();
    ketama_health *health = open_shared(), *other = open_shared();
    CHECK(ketama_health_is_shared(health));
    CHECK_INT(0, fail(health, "a:1", 0));
    CHECK_INT(KETAMA_HEALTH_SUSPECT, get(other, "a:1").state);
    CHECK_INT(1, get(other, "a:1").count);
    now += 11 * second; /* the window has passed */
    CHECK_INT(KETAMA_HEALTH_UP, get(other, "a:1").state);
    CHECK_INT(0, fail(other, "a:1", 0));
    now += 10 * second;
    CHECK_TEXT("", down(health));
    CHECK_INT(1, fail(health, "a:1", 0));
    CHECK_INT(0, fail(other, "a:1", 0)); /* another one's report did it */
    CHECK_TEXT("0", down(health));
    CHECK_TEXT("0", down(other));
    ketama_health_close(health);
    ketama_health_close(other);
}

static void a_hard_failure_is_enough(void)
{
    start_anew();
    ketama_health *health = open_shared();
    CHECK_INT(1, fail(health, "b:1", 1));
    CHECK_INT(0, fail(health, "b:1", 1));
    CHECK_TEXT("1", down(health));
    ketama_health_close(health);
}

static void none_is_down_if_more_than_half_are(void)
{
    start_anew();
    ketama_health *health = open_shared();
    ketama_probe probe;
    fail(health, "a:1", 1);
    fail(health, "b:1", 1);
    CHECK_TEXT("01", down(health));
    fail(health, "d:1", 1);
    CHECK_TEXT("", down(health));
    now += 1 * second;
    CHECK_INT(1, claim(health, &probe)); /* probes go on */
    ketama_health_close(health);
}

static void a_watch_moves_when_it_has_to(void)
{
    start_anew();
    ketama_health *health = open_shared(), *other = open_shared();
    ketama_health_watch watch;
    ketama_probe probe;
    uint32_t indexes[ADDRESSES];

    ketama_health_down(health, addresses(), ADDRESSES, indexes, &watch);
    fail(other, "a:1", 0); /* suspects do not matter */
    CHECK_INT(0, ketama_health_moved(health, &watch));
    fail(other, "a:1", 0);
    CHECK_INT(KETAMA_HEALTH_CHANGED, ketama_health_moved(health, &watch));
    CHECK_INT(1, ketama_health_down(health, addresses(), ADDRESSES, indexes, &watch));
    CHECK_INT(0, ketama_health_moved(health, &watch));
    now += second;
    CHECK_INT(KETAMA_HEALTH_DUE, ketama_health_moved(health, &watch));
    CHECK_INT(1, claim(other, &probe));
    ketama_health_down(health, addresses(), ADDRESSES, indexes, &watch);
    CHECK_INT(0, ketama_health_moved(health, &watch));
    /* Whoever took it down may have been killed before it could say so. */
    fail(other, "a:1", 0);
    CHECK_INT(KETAMA_HEALTH_CHANGED, ketama_health_moved(health, &watch));
    ketama_health_close(health);
    ketama_health_close(other);
}

static void one_process_probes_and_the_next_one_is_later(void)
{
    start_anew();
    ketama_health *health = open_shared(), *other = open_shared();
    ketama_probe probe, second_probe;
    fail(health, "c:1", 1);
    CHECK_INT(0, claim(health, &probe));
    now += second - 1000000;
    CHECK_INT(0, claim(health, &probe));
    now += 1000000;
    CHECK_INT(1, claim(health, &probe));
    CHECK_INT(2, probe.address);
    CHECK_INT(second, probe.down_for_ns);
    CHECK_INT(0, probe.last);
    CHECK_INT(0, claim(other, &second_probe));
    for (int i = 0; i < 16; i++) /* reports lengthen nothing */
        fail(other, "c:1", 1);
    CHECK_INT(2 * second, get(other, "c:1").due_ns);
    /* The prober is killed here. */
    now += 2 * second;
    CHECK_INT(1, claim(other, &second_probe));
    CHECK_INT(4 * second, get(other, "c:1").interval_ns);
    CHECK_INT(0, ketama_health_probed(health, &probe, 1)); /* it was only stopped */
    CHECK_INT(0, get(other, "c:1").count);
    CHECK_INT(0, ketama_health_probed(other, &second_probe, 0));
    for (int i = 0; i < 10; i++) {
        now += 60 * second;
        CHECK_INT(1, claim(other, &probe));
        CHECK_INT(0, ketama_health_probed(other, &probe, 0));
    }
    CHECK_INT(60 * second, get(other, "c:1").interval_ns);
    CHECK_INT(60 * second, get(other, "c:1").due_ns);
    ketama_health_close(health);
    ketama_health_close(other);
}

/* However short the interval is: a second prober would undo what the first one does. */
static void nobody_else_probes_while_a_probe_may_take(void)
{
    start_anew();
    const ketama_health_options slow = {.size = sizeof slow,
                                        .interval_ns = 10000000,
                                        .interval_max_ns = 10000000,
                                        .probe_ns = 5 * second};
    ketama_health *health = open_with(&slow);
    ketama_probe probe, other;
    fail(health, "c:1", 1);
    now += 10000000;
    CHECK_INT(1, claim(health, &probe));
    now += 5 * second - 1000000;
    CHECK_INT(0, claim(health, &other));
    CHECK_INT(0, ketama_health_probed(health, &probe, 0)); /* it counts: */
    CHECK_INT(10000000, get(health, "c:1").due_ns);
    now += 10000000;
    CHECK_INT(1, claim(health, &probe));
    /* The prober is killed here. */
    now += 5 * second;
    CHECK_INT(1, claim(health, &other));
    CHECK_INT(0, ketama_health_probed(health, &other, 1));
    CHECK_INT(10000000, get(health, "c:1").due_ns);
    ketama_health_close(health);
}

/* Makes both probes, which are good. */
static void rejoin(ketama_health *health)
{
    ketama_probe probe;
    now += 60 * second;
    CHECK_INT(1, claim(health, &probe));
    CHECK_INT(0, probe.last);
    CHECK_INT(0, ketama_health_probed(health, &probe, 1));
    CHECK_INT(second, get(health, "a:1").due_ns);
    now += second;
    CHECK_INT(1, claim(health, &probe));
    CHECK_INT(1, probe.last);
    CHECK_INT(1, ketama_health_probed(health, &probe, 1));
}

static void good_probes_bring_it_back(void)
{
    start_anew();
    ketama_health *health = open_shared();
    ketama_probe probe;
    fail(health, "a:1", 1);
    now += second;
    CHECK_INT(1, claim(health, &probe));
    CHECK_INT(0, ketama_health_probed(health, &probe, 1));
    now += second;
    CHECK_INT(1, claim(health, &probe));
    CHECK_INT(0, ketama_health_probed(health, &probe, 0)); /* begins anew */
    rejoin(health);
    CHECK_TEXT("", down(health));
    CHECK_INT(KETAMA_HEALTH_UP, get(health, "a:1").state);
    now += second;
    CHECK_INT(second, get(health, "a:1").since_ns);
    CHECK_INT(0, claim(health, &probe));
    CHECK_INT(0, fail(health, "a:1", 0)); /* counted from 1 again */
    ketama_health_close(health);
}

static void flapping_goes_on_from_the_long_interval(void)
{
    start_anew();
    ketama_health *health = open_shared();
    ketama_probe probe;
    fail(health, "a:1", 1);
    for (int i = 0; i < 3; i++) { /* 1, 2, 4, 8 s */
        now += 8 * second;
        CHECK_INT(1, claim(health, &probe));
        CHECK_INT(0, ketama_health_probed(health, &probe, 0));
    }
    rejoin(health);
    now += 59 * second;
    CHECK_INT(1, fail(health, "a:1", 1));
    CHECK_INT(16 * second, get(health, "a:1").due_ns);
    rejoin(health);
    now += 61 * second;
    CHECK_INT(1, fail(health, "a:1", 1));
    CHECK_INT(second, get(health, "a:1").due_ns);
    ketama_health_close(health);
}

static void after_a_reboot_a_probe_is_due(void)
{
    start_anew();
    ketama_health *health = open_shared();
    ketama_probe probe;
    fail(health, "a:1", 1);
    fail(health, "b:1", 0);
    now = 5 * second; /* another boot */
    CHECK_INT(0, get(health, "a:1").due_ns);
    CHECK_INT(KETAMA_HEALTH_UP, get(health, "b:1").state);
    CHECK_INT(1, claim(health, &probe));
    CHECK_INT(0, probe.down_for_ns); /* unknown */
    CHECK_INT(2 * second, get(health, "a:1").due_ns);
    CHECK_INT(0, fail(health, "b:1", 0));
    ketama_health_close(health);
}

static void a_full_table_uses_what_is_quiet(void)
{
    start_anew();
    ketama_health *health = open_shared();
    ketama_health_server server;
    uint32_t position = 0, count = 0;
    char address[32];

    for (int i = 0; i < KETAMA_HEALTH_SLOTS; i++) {
        snprintf(address, sizeof address, "host-%d:1", i);
        CHECK_INT(i % 2, fail(health, address, i % 2));
    }
    CHECK_INT(0, fail(health, "a:1", 1));
    CHECK_INT(KETAMA_HEALTH_UP, get(health, "a:1").state);
    now += 11 * second; /* those that were suspect are not any more */
    CHECK_INT(1, fail(health, "a:1", 1));
    CHECK_TEXT("0", down(health));
    while (ketama_health_next(health, &position, &server))
        count += server.state == KETAMA_HEALTH_DOWN;
    CHECK_INT(KETAMA_HEALTH_SLOTS / 2 + 1, count);
    for (int i = 1; i < KETAMA_HEALTH_SLOTS; i += 2) {
        snprintf(address, sizeof address, "host-%d:1", i);
        CHECK_INT(KETAMA_HEALTH_DOWN, get(health, address).state);
    }
    ketama_health_close(health);
}

static void a_full_table_gives_up_servers_that_nobody_probes(void)
{
    start_anew();
    ketama_health *health = open_shared();
    const ketama_key probed = {"host-0:1", 8};
    ketama_probe probe;
    char address[32];

    for (int i = 0; i < KETAMA_HEALTH_SLOTS; i++) {
        snprintf(address, sizeof address, "host-%d:1", i);
        CHECK_INT(1, fail(health, address, 1));
    }
    now += 3600 * second;
    CHECK_INT(1, ketama_health_claim(health, &probed, 1, &probe));
    CHECK_INT(0, fail(health, "a:1", 1));
    now += 2 * second; /* with the first interval, an hour after they were due */
    for (int i = 1; i < KETAMA_HEALTH_SLOTS; i++) {
        snprintf(address, sizeof address, "new-%d:1", i);
        CHECK_INT(1, fail(health, address, 1));
    }
    CHECK_INT(KETAMA_HEALTH_DOWN, get(health, "host-0:1").state);
    CHECK_INT(0, fail(health, "a:1", 1));
    ketama_health_close(health);
}

static void the_table_lists_addresses(void)
{
    start_anew();
    ketama_health *health = open_shared();
    ketama_health_server server;
    uint32_t position = 0;
    char longest[256];

    memset(longest, 'x', sizeof longest - 1);
    longest[sizeof longest - 1] = '\0';
    fail(health, longest, 1);
    CHECK_INT(KETAMA_HEALTH_DOWN, get(health, longest).state);
    CHECK_INT(1, ketama_health_next(health, &position, &server));
    CHECK_INT(KETAMA_HEALTH_TEXT - 1, strlen(server.address));
    CHECK_INT(0, ketama_health_next(health, &position, &server));
    CHECK_INT(0, fail(health, "", 0));
    ketama_health_close(health);
}

/* ---- the file */

static off_t size_of_file(void)
{
    struct stat st;
    return lstat(path, &st) == 0 ? st.st_size : -1;
}

static void write_table(const void *bytes, size_t size)
{
    FILE *file = fopen(path, "wb");
    CHECK(file != NULL && fwrite(bytes, 1, size, file) == size && fclose(file) == 0);
}

/* A table that is damaged, unfinished or cut short is repaired in place. */
static void a_damaged_file_is_repaired(void)
{
    static const size_t sizes[] = {0,
                                   1,
                                   100,
                                   128,
                                   sizeof(struct ketama_health_table) - 1,
                                   sizeof(struct ketama_health_table)};
    static unsigned char garbage[sizeof(struct ketama_health_table)];
    memset(garbage, 0xa5, sizeof garbage);
    start_anew();
    ketama_health_close(open_shared());
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        write_table(garbage, sizes[i]);
        ketama_health *health = open_shared(), *other = open_shared();
        CHECK(ketama_health_is_shared(health));
        CHECK_INT(sizeof garbage, size_of_file());
        CHECK_TEXT("", down(health));
        CHECK_INT(1, fail(health, "a:1", 1));
        CHECK_TEXT("0", down(other));
        ketama_health_close(health);
        ketama_health_close(other);
    }
}

static void a_file_that_was_cut_short_is_repaired(void)
{
    start_anew();
    ketama_health *health = open_shared();
    fail(health, "a:1", 1);
    CHECK(truncate(path, 128) == 0); /* the header is right */
    ketama_health *other = open_shared();
    CHECK(ketama_health_is_shared(other));
    CHECK_INT(sizeof(struct ketama_health_table), size_of_file());
    CHECK_INT(1, fail(other, "b:1", 1));
    CHECK_TEXT("1", down(health)); /* it has the same file mapped */
    ketama_health_close(health);
    ketama_health_close(other);
}

/* The process that gave the slot away was killed in the middle of it. */
static void a_slot_that_is_being_given_away_is_nobodys(void)
{
    start_anew();
    ketama_health *health = open_shared();
    struct ketama_health_table *table = atomic_load(&health->now)->table;
    fail(health, "a:1", 1);
    for (int i = 0; i < KETAMA_HEALTH_SLOTS; i++)
        if (atomic_load(&table->at[i].server) != 0)
            atomic_fetch_or(&table->at[i].word, 3);
    CHECK_TEXT("", down(health));
    CHECK_INT(1, fail(health, "a:1", 1));
    CHECK_TEXT("0", down(health));
    int taken = 0;
    for (int i = 0; i < KETAMA_HEALTH_SLOTS; i++)
        taken += (atomic_load(&table->at[i].word) & 3) == 3;
    CHECK_INT(1, taken); /* it was left as it was */
    ketama_health_close(health);
}

/* The header is right, and the rest anything. */
static void garbage_in_slots_is_harmless(void)
{
    uint64_t random = 1;
    start_anew();
    ketama_health *health = open_shared();
    struct ketama_health_table *table = atomic_load(&health->now)->table;
    unsigned char *slots = (unsigned char *)table->at;
    for (int round = 0; round < 20; round++) {
        for (size_t i = 0; i < sizeof(struct ketama_health_slot) * KETAMA_HEALTH_SLOTS;
             i++) {
            random = random * 6364136223846793005u + 1442695040888963407u;
            slots[i] = (unsigned char)(random >> 56);
        }
        /* All slots are this server's. */
        for (int i = 0; round % 2 == 1 && i < KETAMA_HEALTH_SLOTS; i++)
            atomic_store(&table->at[i].server, 0x8000000000000001u);
        ketama_probe probe = {0};
        ketama_health_server server;
        uint32_t position = 0;
        fail(health, "a:1", 0);
        fail(health, "b:1", 1);
        (void)down(health);
        if (claim(health, &probe))
            ketama_health_probed(health, &probe, 1);
        probe.server = 0x8000000000000001u;
        ketama_health_probed(health, &probe, 1);
        while (ketama_health_next(health, &position, &server))
            CHECK(strlen(server.address) < KETAMA_HEALTH_TEXT && server.due_ns >= 0);
    }
    ketama_health_close(health);
}

static void expect_private(void)
{
    ketama_health *health = open_shared(), *other = open_shared();
    CHECK(!ketama_health_is_shared(health));
    CHECK_INT(1, fail(health, "a:1", 1));
    CHECK_TEXT("0", down(health));
    CHECK_TEXT("", down(other));
    now += 11 * second; /* the file is tried again, and the state is not lost */
    fail(health, "b:1", 0);
    CHECK(!ketama_health_is_shared(health));
    CHECK_TEXT("0", down(health));
    ketama_health_close(health);
    ketama_health_close(other);
}

static void what_cannot_be_trusted_is_left_alone(void)
{
    struct ketama_health_table table = {
        .magic = "ketama liveness", .order = 0x04030201, .slots = KETAMA_HEALTH_SLOTS};
    struct stat st;
    start_anew();
    ketama_health_close(open_shared());
    CHECK(chmod(path, 0622) == 0);
    expect_private();
    CHECK(unlink(path) == 0 && symlink(put("linked-to", "text"), path) == 0);
    expect_private();
    CHECK(stat(path, &st) == 0 && st.st_size == 4);
    CHECK(unlink(path) == 0 && mkfifo(path, 0600) == 0);
    expect_private();
    CHECK(unlink(path) == 0 && mkdir(path, 0700) == 0);
    expect_private();
    CHECK(rmdir(path) == 0);
    write_table(&table, sizeof table); /* of the other byte order */
    expect_private();
    CHECK(size_of_file() == sizeof table && unlink(path) == 0);
}

static void without_room_it_is_private(void)
{
    struct rlimit before, small;
    start_anew();
    CHECK(getrlimit(RLIMIT_FSIZE, &before) == 0);
    small = before;
    small.rlim_cur = 4096;
    CHECK(setrlimit(RLIMIT_FSIZE, &small) == 0);
    expect_private();
    CHECK_INT(0, size_of_file());
    CHECK(setrlimit(RLIMIT_FSIZE, &before) == 0);
    ketama_health *health = open_shared();
    CHECK(ketama_health_is_shared(health));
    ketama_health_close(health);
}

static void who_only_reads_creates_nothing(void)
{
    const ketama_health_options reads = {.size = sizeof reads,
                                         .flags = KETAMA_HEALTH_EXISTING};
    start_anew();
    ketama_health *health = open_with(&reads);
    CHECK(!ketama_health_is_shared(health));
    CHECK_INT(-1, size_of_file());
    ketama_health_close(health);
    write_table("", 0);
    ketama_health_close(open_with(&reads));
    CHECK_INT(0, size_of_file());
    health = open_shared();
    ketama_health *reader = open_with(&reads);
    fail(health, "a:1", 1);
    CHECK_TEXT("0", down(reader));
    ketama_health_close(health);
    ketama_health_close(reader);
}

static void a_removed_file_is_noticed(void)
{
    start_anew();
    ketama_health *health = open_shared();
    ketama_health_watch watch;
    uint32_t indexes[ADDRESSES];
    fail(health, "a:1", 1);
    ketama_health_down(health, addresses(), ADDRESSES, indexes, &watch);
    CHECK(unlink(path) == 0);
    ketama_health *other = open_shared();
    fail(health, "b:1", 0);
    CHECK_TEXT("", down(other));
    now += 11 * second;
    fail(health, "b:1", 1);
    CHECK_TEXT("1", down(other));
    CHECK_TEXT("1", down(health));
    CHECK((ketama_health_moved(health, &watch) & KETAMA_HEALTH_CHANGED) != 0);
    ketama_health_close(health);
    ketama_health_close(other);
}

static void a_forked_child_shares_it(void)
{
    const ketama_health_options alone = {.size = sizeof alone,
                                         .flags = KETAMA_HEALTH_PRIVATE};
    start_anew();
    ketama_health *shared = open_shared(), *private = open_with(&alone);
    int status;
    pid_t child = fork();
    if (child == 0)
        _exit(fail(shared, "a:1", 1) + 2 * fail(private, "b:1", 1));
    CHECK(waitpid(child, &status, 0) == child && WEXITSTATUS(status) == 3);
    CHECK_TEXT("0", down(shared));
    CHECK_TEXT("1", down(private));
    ketama_health_close(shared);
    ketama_health_close(private);
}

static void it_is_not_an_image(void)
{
    char *folder;
    ketama_published **images;
    size_t count;
    start_anew();
    ketama_health_close(open_shared());
    CHECK_INT(KETAMA_OK, ketama_list_published(&folder, &images, &count));
    for (size_t i = 0; i < count; i++)
        CHECK(strcmp(images[i]->file, path) != 0);
    ketama_free_published(folder, images, count);
    CHECK_INT(KETAMA_CHANGED, ketama_remove_published(path));
    CHECK_INT(sizeof(struct ketama_health_table), size_of_file());
}

static void invalid_options_are_refused(void)
{
    const ketama_health_options wrong[] = {
        {.size = 0},
        {.size = sizeof wrong[0], .flags = 4},
        {.size = sizeof wrong[0], .reserved = 1},
        {.size = sizeof wrong[0], .failures = 64},
        {.size = sizeof wrong[0], .probes = 64},
        {.size = sizeof wrong[0], .window_ns = -1},
        {.size = sizeof wrong[0], .interval_ns = 999999},
        {.size = sizeof wrong[0], .interval_max_ns = 86400 * second + 1},
        {.size = sizeof wrong[0], .calm_ns = INT64_MIN},
    };
    struct {
        ketama_health_options known;
        unsigned char unknown[8];
    } newer = {.known = {.size = sizeof newer}};
    ketama_health *health;
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        CHECK_INT(KETAMA_EOPTION, ketama_health_open(&health, &wrong[i]));
        CHECK(health == NULL);
    }
    CHECK_INT(KETAMA_OK, ketama_health_open(&health, &newer.known));
    ketama_health_close(health);
    newer.unknown[7] = 1;
    CHECK_INT(KETAMA_EOPTION, ketama_health_open(&health, &newer.known));
    ketama_health_close(NULL);
}

static void without_memory_it_is_an_error(void)
{
    ketama_health *health;
    start_anew();
    for (int n = 1; n <= 2; n++) {
        fail_allocation(n);
        CHECK_INT(KETAMA_ENOMEM, ketama_health_open(&health, NULL));
        CHECK(health == NULL && allocation_failed());
        fail_allocation(0);
    }
    health = open_shared();
    CHECK(unlink(path) == 0);
    now += 11 * second;
    fail_allocation(1);
    CHECK_INT(1, fail(health, "a:1", 1)); /* in the table that it has */
    CHECK(allocation_failed());
    fail_allocation(0);
    CHECK_TEXT("0", down(health));
    ketama_health_close(health);
}

void run_health(void)
{
    RUN(two_failures_within_the_window_take_a_server_down);
    RUN(a_hard_failure_is_enough);
    RUN(none_is_down_if_more_than_half_are);
    RUN(a_watch_moves_when_it_has_to);
    RUN(one_process_probes_and_the_next_one_is_later);
    RUN(nobody_else_probes_while_a_probe_may_take);
    RUN(good_probes_bring_it_back);
    RUN(flapping_goes_on_from_the_long_interval);
    RUN(after_a_reboot_a_probe_is_due);
    RUN(a_full_table_uses_what_is_quiet);
    RUN(a_full_table_gives_up_servers_that_nobody_probes);
    RUN(the_table_lists_addresses);
    RUN(a_damaged_file_is_repaired);
    RUN(a_file_that_was_cut_short_is_repaired);
    RUN(a_slot_that_is_being_given_away_is_nobodys);
    RUN(garbage_in_slots_is_harmless);
    RUN(what_cannot_be_trusted_is_left_alone);
    RUN(without_room_it_is_private);
    RUN(who_only_reads_creates_nothing);
    RUN(a_removed_file_is_noticed);
    RUN(a_forked_child_shares_it);
    RUN(it_is_not_an_image);
    RUN(invalid_options_are_refused);
    RUN(without_memory_it_is_an_error);
}

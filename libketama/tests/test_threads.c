/*
 * test_threads.c - eight threads look up, also in batches, and roll while one refreshes,
 * and report servers that are down
 *
 * Runs under the thread sanitizer, and follows ketama.h: a lock guards the newest
 * handle, which is retained while in use. The test proves that lookups, concurrent
 * refreshes of one handle, and failure messages do not write to memory that threads
 * share.
 */
#include "../internal.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../health/health.h"
#include "../ketama_compat.h"

enum { LOOKERS = 8, KEYS = 100, CHANGES = 200 };

static char path[] = "/tmp/libketama-threads-XXXXXX", next_path[64];
static char shared[] = "/tmp/libketama-threads-XXXXXX";
static const char *const texts[] = {"a:1 1\nb:1 1\nc:1 1\n", "c:1 1\nd:1 3\n"};
static char answers[2][KEYS];

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static ketama_continuum current, everybodys;
static atomic_bool done;
static atomic_ulong mixed, failed, refused;

static void replace_file(const char *text)
{
    FILE *file = fopen(next_path, "w");
    if (file == NULL || fputs(text, file) < 0 || fclose(file) != 0 ||
        rename(next_path, path) != 0) {
        perror(next_path);
        exit(1);
    }
}

/* The first letter of each key's server, of which a batch must find the same. */
static void look_up(ketama_continuum c, char answer[KEYS])
{
    char texts_of_keys[KEYS][16];
    ketama_key keys[KEYS];
    uint32_t found[KEYS], in_batch[KEYS];
    for (int i = 0; i < KEYS; i++) {
        ketama_server server;
        int len = snprintf(texts_of_keys[i], sizeof texts_of_keys[i], "key-%d", i);
        keys[i] = (ketama_key){texts_of_keys[i], (size_t)len};
        found[i] = ketama_find(c, keys[i].bytes, keys[i].len, NULL);
        if (ketama_server_at(c, found[i], &server) != 0)
            atomic_fetch_add(&failed, 1);
        answer[i] = server.address[0];
    }
    ketama_find_many(c, keys, KEYS, in_batch, NULL);
    if (memcmp(found, in_batch, sizeof found) != 0)
        atomic_fetch_add(&failed, 1);
}

/* Per request, as programs written for the 2007 libketama do. */
static void roll_and_smoke(void)
{
    char key[] = "key-7";
    ketama_continuum c;
    const mcs *found;
    if (!ketama_roll(&c, path)) {
        atomic_fetch_add(&failed, 1);
        return;
    }
    found = ketama_get_server(key, c);
    if (found < (mcs *)c->array || found >= (mcs *)c->array + c->numpoints ||
        (found->ip[0] != answers[0][7] && found->ip[0] != answers[1][7]))
        atomic_fetch_add(&mixed, 1);
    ketama_smoke(c);
}

static void *reader(void *unused)
{
    while (!atomic_load(&done)) {
        for (int i = 0; i < 200; i++)
            ketama_retain(everybodys);
        for (int i = 0; i < 200; i++)
            ketama_close(everybodys);
        for (int i = 0; i < 50; i++)
            roll_and_smoke();
        char answer[KEYS];
        ketama_continuum newer = NULL, none;

        pthread_mutex_lock(&lock);
        ketama_continuum c = ketama_retain(current);
        pthread_mutex_unlock(&lock);
        look_up(c, answer);
        int status = ketama_refresh(c, &newer);
        ketama_close(c);

        if (memcmp(answer, answers[0], KEYS) != 0 &&
            memcmp(answer, answers[1], KEYS) != 0)
            atomic_fetch_add(&mixed, 1);
        if (status < 0)
            atomic_fetch_add(&failed, 1);
        ketama_close(newer);
        if (ketama_open(&none, "/nowhere/at/all", NULL) == KETAMA_ESYSTEM &&
            strcmp(ketama_error(), "/nowhere/at/all: No such file or directory") == 0)
            atomic_fetch_add(&refused, 1);
    }
    return unused;
}

/* ---- liveness: all threads report the same servers, and claim the same probes */

enum { SERVERS = 500, ROUNDS = 4 };

static ketama_health *health;
static ketama_key servers[SERVERS];
static char server_names[SERVERS][16];
static _Atomic int64_t now = 1000000000;
static atomic_ulong taken_down, claimed, brought_back;

static int64_t clock_ns(void)
{
    return atomic_load(&now);
}

static atomic_uint waiting;

/* Returns in all threads at the same moment, or nearly so. */
static void start_together(void)
{
    atomic_fetch_sub(&waiting, 1);
    while (atomic_load(&waiting) > 0)
        ;
}

static void *report(void *unused)
{
    start_together();
    for (int i = 0; i < SERVERS; i++)
        atomic_fetch_add(&taken_down, (unsigned)ketama_health_failed(
                                          health, servers[i].bytes, servers[i].len, 1));
    return unused;
}

static void *probe(void *unused)
{
    ketama_probe due;
    start_together();
    while (ketama_health_claim(health, servers, SERVERS, &due)) {
        atomic_fetch_add(&claimed, 1);
        atomic_fetch_add(&brought_back, (unsigned)ketama_health_probed(health, &due, 1));
    }
    return unused;
}

static void in_all_threads(void *(*function)(void *))
{
    pthread_t threads[LOOKERS];
    atomic_store(&waiting, LOOKERS);
    for (int i = 0; i < LOOKERS; i++)
        if (pthread_create(&threads[i], NULL, function, NULL) != 0)
            exit(1);
    for (int i = 0; i < LOOKERS; i++)
        if (pthread_join(threads[i], NULL) != 0)
            exit(1);
}

/* Each server is taken down once, probed twice, and brought back once. */
static bool liveness_is_right(void)
{
    const ketama_health_options alone = {.size = sizeof alone,
                                         .flags = KETAMA_HEALTH_PRIVATE};
    if (ketama_health_open(&health, &alone) != KETAMA_OK)
        return false;
    health->clock_ns = clock_ns;
    for (int i = 0; i < SERVERS; i++) {
        int len = snprintf(server_names[i], sizeof server_names[i], "server-%d", i);
        servers[i] = (ketama_key){server_names[i], (size_t)len};
    }
    for (int i = 0; i < ROUNDS; i++) {
        in_all_threads(report);
        for (int probes = 0; probes < 2; probes++) {
            atomic_fetch_add(&now, 60 * (int64_t)1000000000);
            in_all_threads(probe);
        }
    }
    ketama_health_close(health);
    return taken_down == SERVERS * ROUNDS && claimed == 2 * SERVERS * ROUNDS &&
           brought_back == SERVERS * ROUNDS;
}

int main(void)
{
    pthread_t threads[LOOKERS];
    unsigned long changes = 0;

    int fd = mkstemp(path);
    if (fd < 0 || close(fd) != 0) {
        perror(path);
        return 1;
    }
    if (mkdtemp(shared) == NULL || setenv("KETAMA_SHM_DIR", shared, 1) != 0)
        return 1;
    snprintf(next_path, sizeof next_path, "%s.next", path);
    for (int i = 0; i < 2; i++) {
        replace_file(texts[i]);
        if (ketama_open(&current, path, NULL) != KETAMA_OK) {
            puts(ketama_error());
            return 1;
        }
        look_up(current, answers[i]);
        if (i == 0)
            ketama_close(current);
    }

    if (ketama_open(&everybodys, path, NULL) != KETAMA_OK)
        return 1;
    for (int i = 0; i < LOOKERS; i++)
        if (pthread_create(&threads[i], NULL, reader, NULL) != 0)
            return 1;
    for (int i = 0; i < CHANGES || refused < LOOKERS; i++) {
        ketama_continuum newer, old;
        replace_file(texts[i % 2]);
        if (ketama_refresh(current, &newer) != KETAMA_CHANGED)
            continue;
        changes++;
        pthread_mutex_lock(&lock);
        old = current;
        current = newer;
        pthread_mutex_unlock(&lock);
        ketama_close(old);
    }
    atomic_store(&done, true);
    for (int i = 0; i < LOOKERS; i++)
        if (pthread_join(threads[i], NULL) != 0)
            return 1;
    ketama_close(current);
    unsigned owners = atomic_load(&everybodys->owners);
    ketama_close(everybodys);
    unlink(path);
    snprintf(next_path, sizeof next_path, "rm -r '%s'", shared);
    if (system(next_path) != 0)
        return 1;

    int good = memcmp(answers[0], answers[1], KEYS) != 0 && changes >= CHANGES &&
               mixed == 0 && failed == 0 && owners == 1 && liveness_is_right();
    if (!good)
        printf("changes %lu, mixed %lu, failed %lu, refused %lu, down %lu, claimed %lu, "
               "back %lu\n",
               changes, mixed, failed, refused, taken_down, claimed, brought_back);
    printf("threads: %d passed, %d failed\n", good, !good);
    return !good;
}

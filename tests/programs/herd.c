/*
 * herd.c - processes that open or refresh a server file at once, and how many build
 *
 *     herd open|refresh|stopped SERVERS FILE PROCESSES
 *
 * FILE gets that many servers. Linked with
 * --wrap=ketama_ring_make, so that builds are counted, whoever publishes. "stopped": a
 * further process has stopped while it builds. Prints "builds shared generation ms".
 */
#define _GNU_SOURCE
#include "../../libketama/internal.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>

static struct counts {
    atomic_uint ready, builds, shared, failed;
    atomic_bool stop_next, go;
    atomic_llong longest_ns;
} *counts;

int __real_ketama_ring_make(const struct ketama_profile *profile,
                            const struct ketama_server_list *servers,
                            struct ketama_ring *ring, ketama_failure *failure);
int __wrap_ketama_ring_make(const struct ketama_profile *profile,
                            const struct ketama_server_list *servers,
                            struct ketama_ring *ring, ketama_failure *failure);

int __wrap_ketama_ring_make(const struct ketama_profile *profile,
                            const struct ketama_server_list *servers,
                            struct ketama_ring *ring, ketama_failure *failure)
{
    atomic_fetch_add(&counts->builds, 1);
    if (atomic_exchange(&counts->stop_next, false))
        raise(SIGSTOP);
    return __real_ketama_ring_make(profile, servers, ring, failure);
}

static void must(bool good, const char *what)
{
    if (good)
        return;
    perror(what);
    exit(1);
}

static void write_file(const char *path, char letter, unsigned servers)
{
    char next[4096];
    snprintf(next, sizeof next, "%s.next", path);
    FILE *file = fopen(next, "w");
    must(file != NULL, next);
    for (unsigned i = 0; i < servers; i++)
        fprintf(file, "%c%u.example:11211 %u\n", letter, i, 100 + i % 7);
    must(fclose(file) == 0 && rename(next, path) == 0, next);
}

static void wait_for(atomic_uint *count, unsigned number)
{
    while (atomic_load(count) < number)
        usleep(1000);
}

/* A child: waits for the word, then opens or refreshes. */
static void run(const char *path, bool refreshes)
{
    ketama_continuum c = NULL, newer = NULL;
    if (refreshes)
        must(ketama_open(&c, path, NULL) == KETAMA_OK, path);
    atomic_fetch_add(&counts->ready, 1);
    while (!atomic_load(&counts->go))
        usleep(1000);
    int64_t begin = ketama_clock_ns();
    int status = refreshes ? ketama_refresh(c, &newer) : ketama_open(&newer, path, NULL);
    long long took = ketama_clock_ns() - begin, longest = 0;
    while (took > longest &&
           !atomic_compare_exchange_strong(&counts->longest_ns, &longest, took))
        ;
    if (status == (refreshes ? KETAMA_CHANGED : KETAMA_OK))
        atomic_fetch_add(&counts->shared, (unsigned)ketama_is_shared(newer));
    else
        atomic_fetch_add(&counts->failed, 1);
    exit(0);
}

/* Starts a process that stops in the middle of a build. */
static pid_t stopped_builder(const char *path)
{
    int status;
    ketama_continuum c;
    atomic_store(&counts->stop_next, true);
    pid_t child = fork();
    if (child == 0)
        exit(ketama_open(&c, path, NULL) != KETAMA_OK);
    must(child > 0 && waitpid(child, &status, WUNTRACED) == child && WIFSTOPPED(status),
         "the builder does not stop");
    atomic_store(&counts->builds, 0);
    return child;
}

static uint64_t published(const char *path)
{
    const struct ketama_identity identity = {path, "", 1};
    struct ketama_image_info info;
    struct ketama_segment segment;
    struct ketama_slot slot;
    struct ketama_file file;
    must(ketama_slot_open(&slot, &identity) &&
             ketama_segment_attach(&slot, NULL, &segment, &file) == KETAMA_FOUND &&
             ketama_image_read(segment.bytes, segment.size_bytes, &identity, &info),
         "nothing is published");
    return info.generation;
}

int main(int argc, char **argv)
{
    must(argc == 5, "usage");
    unsigned servers = (unsigned)atoi(argv[2]), processes = (unsigned)atoi(argv[4]);
    const char *path = argv[3];
    bool refreshes = strcmp(argv[1], "refresh") == 0;
    pid_t stopped = 0;
    int status;

    counts = mmap(NULL, sizeof *counts, PROT_READ | PROT_WRITE,
                  MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    must(counts != MAP_FAILED, "mmap");
    write_file(path, 'a', servers);
    if (strcmp(argv[1], "stopped") == 0)
        stopped = stopped_builder(path);
    for (unsigned i = 0; i < processes; i++) {
        pid_t child = fork();
        must(child >= 0, "fork");
        if (child == 0)
            run(path, refreshes);
    }
    wait_for(&counts->ready, processes);
    if (refreshes) {
        write_file(path, 'b', servers);
        atomic_store(&counts->builds, 0);
    }
    atomic_store(&counts->go, true);
    for (unsigned i = 0; i < processes; i++)
        must(wait(&status) > 0 && status == 0, "a process failed");
    if (stopped != 0) {
        must(kill(stopped, SIGCONT) == 0 && waitpid(stopped, &status, 0) == stopped &&
                 status == 0,
             "the stopped builder failed");
    }
    must(atomic_load(&counts->failed) == 0, "failed");
    printf("%u %u %llu %lld\n", atomic_load(&counts->builds),
           atomic_load(&counts->shared), (unsigned long long)published(path),
           atomic_load(&counts->longest_ns) / 1000000);
    return 0;
}

/*
 * stack.c - opens, shares, looks up and refreshes a file in a thread with a small stack
 *
 *     stack FILE BYTES
 *
 * BYTES of stack besides what the system needs for any thread. Prints how many were
 * used.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ketama.h"

static void must(int good, const char *what)
{
    if (good)
        return;
    fprintf(stderr, "%s: %s\n", what, ketama_error());
    exit(1);
}

static void *use(void *path)
{
    ketama_continuum c, newer;
    static ketama_key keys[256];
    static uint32_t servers[256];

    must(ketama_open(&c, path, NULL) == KETAMA_OK, "open");
    for (int i = 0; i < 256; i++)
        keys[i] = (ketama_key){path, (size_t)i % strlen(path)};
    ketama_find_many(c, keys, 256, servers, NULL);
    must(chmod(path, 0600) == 0, "chmod"); /* sets its ctime */
    must(ketama_refresh(c, &newer) == KETAMA_CHANGED, "refresh");
    must(ketama_is_shared(newer), "it is not shared");
    ketama_close(newer);
    ketama_close(c);
    return NULL;
}

int main(int argc, char **argv)
{
    must(argc == 3, "usage");
    size_t size = (size_t)atol(argv[2]) + (size_t)sysconf(_SC_THREAD_STACK_MIN);
    size_t page = (size_t)sysconf(_SC_PAGESIZE), unused = 0;
    pthread_attr_t attributes;
    pthread_t thread;

    size = (size + page - 1) / page * page;
    unsigned char *guard = mmap(NULL, page + size, PROT_READ | PROT_WRITE,
                                MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    must(guard != MAP_FAILED && mprotect(guard, page, PROT_NONE) == 0, "mmap");
    must(pthread_attr_init(&attributes) == 0 &&
             pthread_attr_setstack(&attributes, guard + page, size) == 0 &&
             pthread_create(&thread, &attributes, use, argv[1]) == 0 &&
             pthread_join(thread, NULL) == 0,
         "thread");
    while (unused < size && guard[page + unused] == 0)
        unused++;
    printf("%zu of %zu\n", size - unused, size);
    return 0;
}

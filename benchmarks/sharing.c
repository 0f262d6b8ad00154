/*
 * sharing.c - measures refresh, attach, build and publish: make bench
 *
 * Prints rows of: servers, microseconds of an unchanged refresh, of ketama_roll and
 * ketama_smoke, of attaching, of building, of building and publishing, bytes of the
 * image; medians. Then what ketama_due() adds to a search, in nanoseconds. Runs in its
 * own directory in /dev/shm.
 */
#define _DEFAULT_SOURCE

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "ketama.h"
#include "ketama_admin.h"

enum { TIMES = 201 };

static char folder[] = "/dev/shm/ketama-bench-XXXXXX";
static char path[64];

static double now_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return 1e6 * (double)t.tv_sec + 1e-3 * (double)t.tv_nsec;
}

static int ascending(const void *a, const void *b)
{
    double left = *(const double *)a, right = *(const double *)b;
    return (left > right) - (left < right);
}

static double median(double *values, int count)
{
    qsort(values, (size_t)count, sizeof *values, ascending);
    return values[count / 2];
}

static void write_servers(int count)
{
    FILE *file = fopen(path, "w");
    if (file == NULL)
        exit(1);
    for (int i = 0; i < count; i++)
        fprintf(file, "10.%d.%d.%d:11211 600\n", i >> 16, i >> 8 & 255, i & 255);
    if (fclose(file) != 0)
        exit(1);
}

static ketama_continuum opened(unsigned flags)
{
    ketama_continuum c;
    const ketama_options options = {.size = sizeof options, .flags = flags};
    if (ketama_open(&c, path, &options) != KETAMA_OK) {
        fprintf(stderr, "%s\n", ketama_error());
        exit(1);
    }
    return c;
}

/* The median time to open, with or without touching the file before each. */
static double open_us(unsigned flags, int touch, int times)
{
    double took[TIMES];
    for (int i = 0; i < times; i++) {
        if (touch && utimensat(AT_FDCWD, path, NULL, 0) != 0)
            exit(1);
        double begin = now_us();
        ketama_close(opened(flags));
        took[i] = now_us() - begin;
    }
    return median(took, times);
}

static double refresh_us(ketama_continuum c)
{
    enum { MANY = 20000 };
    ketama_continuum newer;
    double begin = now_us();
    for (int i = 0; i < MANY; i++)
        if (ketama_refresh(c, &newer) != KETAMA_OK)
            exit(1);
    return (now_us() - begin) / MANY;
}

/* Per request, as programs written for the libketama.so.1 of 2007 do. */
static double roll_and_smoke_us(void)
{
    enum { MANY = 20000 };
    ketama_continuum c;
    double begin = now_us();
    for (int i = 0; i < MANY; i++) {
        if (!ketama_roll(&c, path))
            exit(1);
        ketama_smoke(c);
    }
    return (now_us() - begin) / MANY;
}

static double lookup_ns(ketama_continuum c, int ask_due)
{
    enum { MANY = 5000000, ROUNDS = 9 };
    static volatile uint32_t sink;
    double took[ROUNDS];
    for (int round = 0; round < ROUNDS; round++) {
        uint32_t sum = 0;
        double begin = now_us();
        for (uint32_t i = 0; i < MANY; i++) {
            if (ask_due && ketama_due(c))
                sum++;
            sum += ketama_find_hash(c, i * 2654435761u, NULL);
        }
        took[round] = 1e3 * (now_us() - begin) / MANY;
        sink += sum;
    }
    return median(took, ROUNDS);
}

static size_t image_bytes(void)
{
    ketama_published *image;
    if (ketama_find_published(path, NULL, &image) != KETAMA_OK || image == NULL)
        exit(1);
    size_t bytes = (size_t)image->size_bytes;
    ketama_free_image(image);
    return bytes;
}

int main(void)
{
    static const int counts[] = {8, 100, 1000, 10000};
    char command[96];
    double due = 0;

    if (mkdtemp(folder) == NULL || setenv("KETAMA_SHM_DIR", folder, 1) != 0)
        return 1;
    snprintf(path, sizeof path, "%s/ketama.servers", folder);
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
        int times = counts[i] > 1000 ? 11 : TIMES;
        write_servers(counts[i]);
        double publish = open_us(0, 1, times), build = open_us(KETAMA_PRIVATE, 0, times);
        ketama_continuum c = opened(0);
        double attach = open_us(0, 0, times);
        sleep(3); /* until the time stamp is reliable */
        double refresh = (refresh_us(c), refresh_us(c));
        double old = (roll_and_smoke_us(), roll_and_smoke_us());
        printf("%d\t%.2f\t%.2f\t%.1f\t%.1f\t%.1f\t%zu\n", counts[i], refresh, old,
               attach, build, publish, image_bytes());
        if (i == 0) {
            ketama_follow(c, INT64_MAX);
            double plain = lookup_ns(c, 0), asked = lookup_ns(c, 1);
            due = asked - plain;
        }
        ketama_close(c);
    }
    printf("due\t%.1f\n", due);
    snprintf(command, sizeof command, "rm -r '%s'", folder);
    return system(command) != 0;
}

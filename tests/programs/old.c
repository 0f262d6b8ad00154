/*
 * old.c - a program as it was compiled against the header of 2007
 *
 * It knows that header's layouts and functions, and nothing of ours. Usage:
 *     old FILE           for the keys "0" to "999999": hash, point, ip, after an empty
 * line old FILE walk      the continuum, as the program itself finds it in memory old
 * FILE loop N    rolls and smokes N times; prints its size in pages before and after the
 * second half, and the nanoseconds of one turn
 */
#define _POSIX_C_SOURCE 200809L

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

typedef struct {
    unsigned int point;
    char ip[22];
} mcs;

typedef struct {
    int numpoints;
    void *modtime;
    void *array;
} continuum;

typedef continuum *ketama_continuum;

int ketama_roll(ketama_continuum *, char *);
void ketama_smoke(ketama_continuum);
mcs *ketama_get_server(char *, ketama_continuum);
unsigned int ketama_hashi(char *);
char *ketama_error(void);

static long pages(void)
{
    long all, resident = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    if (file == NULL || fscanf(file, "%ld %ld", &all, &resident) != 2)
        exit(2);
    fclose(file);
    return resident;
}

static int loop(char *file, int turns)
{
    struct timespec begin, end;
    long before = 0;
    for (int i = 0; i < turns; i++) {
        ketama_continuum c;
        if (i == turns / 2) {
            before = pages();
            clock_gettime(CLOCK_MONOTONIC, &begin);
        }
        if (!ketama_roll(&c, file))
            return 1;
        ketama_smoke(c);
    }
    clock_gettime(CLOCK_MONOTONIC, &end);
    printf("%ld %ld %.0f\n", before, pages(),
           ((double)(end.tv_sec - begin.tv_sec) * 1e9 +
            (double)(end.tv_nsec - begin.tv_nsec)) /
               (turns - turns / 2));
    return 0;
}

int main(int argc, char **argv)
{
    ketama_continuum c;
    if (argc == 4)
        return loop(argv[1], atoi(argv[3]));
    if (!ketama_roll(&c, argv[1])) {
        fprintf(stderr, "%s\n", ketama_error());
        return 1;
    }
    if (argc == 3) {
        mcs(*array)[] = c->array;
        printf("%d %ld\n", c->numpoints, (long)*(time_t *)c->modtime);
        for (int i = 0; i < c->numpoints; i++)
            printf("%u\t%s\n", (*array)[i].point, (*array)[i].ip);
    } else {
        puts("");
        for (int i = 0; i < 1000000; i++) {
            char key[16];
            snprintf(key, sizeof key, "%d", i);
            mcs *found = ketama_get_server(key, c);
            printf("%u %u %s\n", ketama_hashi(key), found->point, found->ip);
        }
    }
    ketama_smoke(c);
    return 0;
}

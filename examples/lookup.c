/*
 * lookup.c - print the server of each key
 *
 *     cc -o lookup lookup.c -lketama && ./lookup /etc/ketama.servers <keys
 *
 * Reads keys, one per line, and prints key, point and address, separated by tabs. All
 * programs of a user that open the same server file share one continuum in memory.
 */
#define _POSIX_C_SOURCE 200809L

#include <ketama.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/types.h>

/* Reloads the file if it has changed. If it is missing or invalid, c stays. */
static ketama_continuum newest(ketama_continuum c)
{
    ketama_continuum newer;
    int status = ketama_refresh(c, &newer); /* usually one stat(2) */
    if (status == KETAMA_CHANGED) {
        ketama_close(c); /* invalidates the addresses that came from it */
        return newer;
    }
    if (status < 0)
        fprintf(stderr, "%s\n", ketama_error());
    return c;
}

int main(int argc, char **argv)
{
    ketama_continuum c;
    char *line = NULL;
    size_t room = 0;
    ssize_t len;

    if (argc != 2) {
        fprintf(stderr, "usage: %s SERVERFILE <KEYS\n", argv[0]);
        return 2;
    }
    if (ketama_open(&c, argv[1], NULL) != KETAMA_OK) {
        fprintf(stderr, "%s\n", ketama_error()); /* file, line and reason */
        return 1;
    }
    setvbuf(stdout, NULL, _IOLBF, BUFSIZ); /* flush every line, even into a pipe */
    while ((len = getline(&line, &room, stdin)) >= 0) {
        ketama_server server;
        uint32_t point, index;
        size_t size = (size_t)len;

        if (size > 0 && line[size - 1] == '\n')
            size--;
        c = newest(c);
        /* A key is any bytes and their number. The index belongs to this c. */
        index = ketama_find(c, line, size, &point);
        if (ketama_server_at(c, index, &server) != KETAMA_OK)
            abort(); /* cannot happen: the index is valid */
        fwrite(line, 1, size, stdout);
        printf("\t%lu\t%s\n", (unsigned long)point, server.address);
    }
    free(line);
    ketama_close(c);
    return ferror(stdin) || fflush(stdout) != 0 || ferror(stdout);
}

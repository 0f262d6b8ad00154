/*
 * old_driver.c - an Erlang port driver as it was written in 2008, with the old header
 *
 * The old names only: ketama.h, ketama_roll, ketama_get_server, ketama_error, mcs.
 * Requests are a length byte, 0 to 254, and a key; answers are a length byte and an
 * address. A length of 255, or the end of input, ends the driver. It rolls before each
 * lookup, and goes on with what it has if a roll fails.
 */
#include <ketama.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

typedef unsigned char byte;

static int read_exact(byte *buf, int len)
{
    int i, got = 0;

    do {
        if ((i = read(0, buf + got, len - got)) <= 0)
            return i;
        got += i;
    } while (got < len);
    return len;
}

static int write_exact(byte *buf, int len)
{
    int i, wrote = 0;

    do {
        if ((i = write(1, buf + wrote, len - wrote)) <= 0)
            return i;
        wrote += i;
    } while (wrote < len);
    return len;
}

static int read_cmd(char *buf)
{
    byte len;

    if (read_exact(&len, 1) != 1 || len == 255)
        return -1;
    if (len > 0 && read_exact((byte *)buf, len) != len)
        return -1;
    buf[len] = '\0';
    return len;
}

int main(int argc, char **argv)
{
    ketama_continuum c;
    char key[256];
    byte answer[256];

    if (argc != 2 || !ketama_roll(&c, argv[1])) {
        fprintf(stderr, "%s\n", ketama_error());
        return 1;
    }
    while (read_cmd(key) >= 0) {
        mcs *m;

        ketama_smoke(c);
        if (!ketama_roll(&c, argv[1]))
            fprintf(stderr, "%s\n", ketama_error());
        if ((m = ketama_get_server(key, c)) == NULL)
            return 1;
        answer[0] = strlen(m->ip);
        memcpy(answer + 1, m->ip, answer[0]);
        if (write_exact(answer, answer[0] + 1) <= 0)
            return 1;
    }
    ketama_smoke(c);
    return 0;
}

/*
 * ketama_port.c - tells another program, over stdin and stdout, which server a key is on
 *
 *     ketama_port SERVERFILE
 *
 * A request is one length byte, 0 to 254, and that many bytes of key, any bytes; its
 * answer is one length byte, 1 to 255, and that many bytes of address. Requests may be
 * sent without waiting for answers, which come in the same order. This is what an Erlang
 * port speaks with {packet, 1}, and few lines in any other language.
 *
 * A length of 255 ends it, and so does the end of input, within a key as well, and a
 * reader of the answers who has gone: exit status 0. 1: the server file is wrong at the
 * start, or a system call failed, and stderr says which; 2: it was called wrongly.
 *
 * It follows the file, with one stat(2) a request. A file that has become wrong or is
 * missing is reported on stderr, once, and the servers of the last good one stay.
 */
#define _POSIX_C_SOURCE 200809L

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define KETAMA_NO_OLD_NAMES
#include "ketama.h"

enum {
    END = 255,         /* the length that is none */
    BUFFER = 8192,     /* many requests a read, and their answers a write */
    MESSAGE_MAX = 8192 /* more than ketama_error() ever has */
};

/* What became of reading or writing. */
enum flow { MORE, DONE, FAILED };

struct buffer {
    size_t used;
    unsigned char bytes[BUFFER];
};

/* The continuum, and what was said last about its file; "" while that is good. */
struct followed {
    ketama_continuum c;
    char said[MESSAGE_MAX];
};

static enum flow fail(const char *what)
{
    fprintf(stderr, "ketama_port: %s: %s\n", what, strerror(errno));
    return FAILED;
}

/* After a call that failed: has it to be made again? A pipe that does not block may have
 * been handed down by who shares it; then it is waited for here. */
static bool again(int fd, short events)
{
    struct pollfd waiting = {.fd = fd, .events = events};
    if (errno == EAGAIN || errno == EWOULDBLOCK)
        (void)poll(&waiting, 1, -1); /* where this fails, the call itself says why */
    else if (errno != EINTR)
        return false;
    return true;
}

static enum flow flush(struct buffer *out)
{
    size_t written = 0;
    while (written < out->used) {
        ssize_t n = write(STDOUT_FILENO, out->bytes + written, out->used - written);
        if (n >= 0)
            written += (size_t)n;
        else if (errno == EPIPE)
            return DONE; /* who asked has gone, which is not an error of ours */
        else if (!again(STDOUT_FILENO, POLLOUT))
            return fail("writing");
    }
    out->used = 0;
    return MORE;
}

/* Reads what there is, behind what is left of the last reading. */
static enum flow fill(struct buffer *in)
{
    ssize_t n;
    do
        n = read(STDIN_FILENO, in->bytes + in->used, BUFFER - in->used);
    while (n < 0 && again(STDIN_FILENO, POLLIN));
    if (n < 0)
        return fail("reading");
    in->used += (size_t)n;
    return n == 0 ? DONE : MORE;
}

/* A failure is said once, until it is another one or the file was good in between. */
static void follow(struct followed *f)
{
    ketama_continuum newer;
    int status = ketama_refresh(f->c, &newer);

    if (status == KETAMA_CHANGED) {
        ketama_close(f->c);
        f->c = newer;
    }
    if (status >= 0) {
        f->said[0] = '\0';
    } else if (strncmp(f->said, ketama_error(), sizeof f->said - 1) != 0) {
        (void)snprintf(f->said, sizeof f->said, "%s", ketama_error());
        fprintf(stderr, "ketama_port: %s\n", f->said);
    }
}

static enum flow answer(struct followed *f, const unsigned char *key, size_t len,
                        struct buffer *out)
{
    ketama_server server = {0};
    size_t size;

    follow(f);
    (void)ketama_server_at(f->c, ketama_find(f->c, key, len, NULL), &server);
    size = strlen(server.address);
    if (out->used + 1 + size > BUFFER) {
        enum flow flow = flush(out);
        if (flow != MORE)
            return flow;
    }
    out->bytes[out->used] = (unsigned char)size;
    memcpy(out->bytes + out->used + 1, server.address, size);
    out->used += 1 + size;
    return MORE;
}

/* Answers the requests that are whole, and keeps the beginning of the next one. */
static enum flow answer_all(struct followed *f, struct buffer *in, struct buffer *out)
{
    size_t at = 0;
    enum flow flow = MORE;

    while (flow == MORE && at < in->used && in->bytes[at] != END) {
        size_t len = in->bytes[at];
        if (in->used - at < 1 + len)
            break;
        flow = answer(f, in->bytes + at + 1, len, out);
        at += 1 + len;
    }
    if (flow == MORE)
        flow = flush(out); /* before waiting for more: the peer may be waiting too */
    if (flow == MORE && at < in->used && in->bytes[at] == END)
        flow = DONE;
    in->used -= at;
    memmove(in->bytes, in->bytes + at, in->used);
    return flow;
}

int main(int argc, char **argv)
{
    static struct followed f;
    static struct buffer in, out;
    struct sigaction ignore = {.sa_handler = SIG_IGN};
    enum flow flow;

    if (argc != 2) {
        fprintf(stderr, "usage: ketama_port SERVERFILE\n");
        return 2;
    }
    (void)sigaction(SIGPIPE, &ignore, NULL); /* a closed stdout is seen in write() */
    if (ketama_open(&f.c, argv[1], NULL) != KETAMA_OK) {
        fprintf(stderr, "ketama_port: %s\n", ketama_error());
        return 1;
    }
    do {
        flow = fill(&in);
        if (flow == MORE)
            flow = answer_all(&f, &in, &out);
    } while (flow == MORE);
    ketama_close(f.c);
    return flow == FAILED ? 1 : 0;
}

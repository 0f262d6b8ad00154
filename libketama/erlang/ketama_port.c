/*
 * ketama_port.c - maps keys to servers for another program, over stdin and stdout
 *
 *     ketama_port SERVERFILE
 *
 * A request is one length byte, 0 to 254, and a key of that many bytes, which may be
 * any; the answer is one length byte, 1 to 255, and an address of that many bytes.
 * Requests may be sent without waiting for the answers, which come in the same order.
 * This is the protocol of an Erlang port with {packet, 1}, and easy to write in any
 * other language.
 *
 * Exit status 0: the driver read a length of 255, or the end of input, even within a
 * key, or the reader of the answers closed its end. 1: the server file is invalid at the
 * start, or a system call failed; stderr has the reason. 2: usage error.
 *
 * The driver checks the file with one stat(2) per request. An invalid or missing file is
 * reported once on stderr, and the last valid version stays in use.
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
    END = 255,         /* a length byte that ends the input */
    BUFFER = 8192,     /* many requests per read, and their answers per write */
    MESSAGE_MAX = 8192 /* longer than any message of ketama_error() */
};

/* The result of reading or writing. */
enum flow { MORE, DONE, FAILED };

struct buffer {
    size_t used;
    unsigned char bytes[BUFFER];
};

/* The continuum, and the last error reported for its file; "" while the file is valid.
 */
struct followed {
    ketama_continuum c;
    char reported[MESSAGE_MAX];
};

static enum flow fail(const char *what)
{
    fprintf(stderr, "ketama_port: %s: %s\n", what, strerror(errno));
    return FAILED;
}

/* Returns true if a failed call should be retried. A pipe may be non-blocking because
 * another process shares it; then this function waits for it. */
static bool should_retry(int fd, short events)
{
    struct pollfd waiting = {.fd = fd, .events = events};
    if (errno == EAGAIN || errno == EWOULDBLOCK)
        (void)poll(&waiting, 1, -1); /* on failure, the retried call has the reason */
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
            return DONE; /* the peer has exited, which is not an error */
        else if (!should_retry(STDOUT_FILENO, POLLOUT))
            return fail("writing");
    }
    out->used = 0;
    return MORE;
}

/* Reads available input, after the rest of the last read. */
static enum flow fill(struct buffer *in)
{
    ssize_t n;
    do
        n = read(STDIN_FILENO, in->bytes + in->used, BUFFER - in->used);
    while (n < 0 && should_retry(STDIN_FILENO, POLLIN));
    if (n < 0)
        return fail("reading");
    in->used += (size_t)n;
    return n == 0 ? DONE : MORE;
}

/* Reloads a changed file. Reports a failure once, until it changes or is fixed. */
static void follow(struct followed *f)
{
    ketama_continuum newer;
    int status = ketama_refresh(f->c, &newer);

    if (status == KETAMA_CHANGED) {
        ketama_close(f->c);
        f->c = newer;
    }
    if (status >= 0) {
        f->reported[0] = '\0';
    } else if (strncmp(f->reported, ketama_error(), sizeof f->reported - 1) != 0) {
        (void)snprintf(f->reported, sizeof f->reported, "%s", ketama_error());
        fprintf(stderr, "ketama_port: %s\n", f->reported);
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

/* Answers the complete requests, and keeps the start of the next one. */
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
        flow = flush(out); /* before reading more: the peer may wait for these answers */
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
    (void)sigaction(SIGPIPE, &ignore, NULL); /* write(2) reports a closed stdout */
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

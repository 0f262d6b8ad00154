/*
 * status.c - a status -> a sentence; the calling thread's last failure
 */
#define _POSIX_C_SOURCE 200809L

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "internal.h"

enum { MESSAGE_MAX = 4096 + 512 }; /* a path, a line, a reason */

static _Thread_local ketama_failure last = {.reason = ""};
static _Thread_local char message[MESSAGE_MAX];

const char *ketama_strerror(int status)
{
    switch (status) {
    case KETAMA_OK:
        return "success";
    case KETAMA_CHANGED:
        return "the continuum has changed";
    case KETAMA_ESYSTEM:
        return "a system call failed";
    case KETAMA_ENOMEM:
        return "out of memory";
    case KETAMA_EUNSTABLE:
        return "the file changes while it is being read";
    case KETAMA_ELINE:
        return "a line is not \"address weight\"";
    case KETAMA_EADDRESS:
        return "an address is wrong";
    case KETAMA_EWEIGHT:
        return "a weight is wrong";
    case KETAMA_ENOSERVERS:
        return "there are no servers";
    case KETAMA_ETOOMANY:
        return "too many servers, points, bytes, or too much weight";
    case KETAMA_ERANGE:
        return "there is no server of that index";
    default:
        return "unknown status";
    }
}

const char *ketama_error(void)
{
    return message;
}

const ketama_failure *ketama_last_failure(void)
{
    return &last;
}

const char *ketama_version(void)
{
    return KETAMA_VERSION;
}

int ketama_flawed(struct ketama_flaw *flaw, int status, uint64_t line,
                  const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    flaw->line = line;
    /* cut where it is too long, which a sentence bears */
    (void)vsnprintf(flaw->reason, sizeof flaw->reason, format, arguments);
    va_end(arguments);
    return status;
}

struct ketama_quoted ketama_quote(const char *bytes, size_t size)
{
    enum { SHOWN_MAX = 40, ESCAPE = 4 };
    static const char hex[] = "0123456789abcdef";
    struct ketama_quoted quoted;
    char *to = quoted.text;
    size_t shown = size > SHOWN_MAX ? SHOWN_MAX : size;
    _Static_assert(sizeof quoted.text > SHOWN_MAX * ESCAPE + sizeof "\"\"...", "room");

    *to++ = '"';
    for (size_t i = 0; i < shown; i++) {
        unsigned char byte = (unsigned char)bytes[i];
        if (byte >= 0x20 && byte < 0x7f && byte != '"' && byte != '\\') {
            *to++ = (char)byte;
        } else {
            *to++ = '\\';
            *to++ = 'x';
            *to++ = hex[byte >> 4];
            *to++ = hex[byte & 15];
        }
    }
    *to++ = '"';
    if (shown < size) {
        memcpy(to, "...", 3);
        to += 3;
    }
    *to = '\0';
    return quoted;
}

/* The reason is the message's last part, so it needs no room of its own. */
static int say(int status, const char *path, uint64_t line, int system_errno,
               const char *reason)
{
    int at = 0;
    if (path != NULL && line > 0)
        at = snprintf(message, sizeof message, "%.4200s:%llu: ", path,
                      (unsigned long long)line);
    else if (path != NULL)
        at = snprintf(message, sizeof message, "%.4200s: ", path);
    else if (line > 0)
        at =
            snprintf(message, sizeof message, "server %llu: ", (unsigned long long)line);
    if (at < 0)
        at = 0;
    (void)snprintf(message + at, sizeof message - (size_t)at, "%s", reason);

    last.status = status;
    last.system_errno = system_errno;
    last.line = line;
    last.reason = message + at;
    return status;
}

int ketama_fail(int status, const char *path, const struct ketama_flaw *flaw)
{
    if (status == KETAMA_ENOMEM)
        return say(status, path, 0, 0, ketama_strerror(status));
    return say(status, path, flaw->line, 0, flaw->reason);
}

int ketama_fail_system(const char *path, int system_errno, const char *reason)
{
    char text[128];
    if (reason != NULL)
        (void)snprintf(text, sizeof text, "%s", reason);
    else if (strerror_r(system_errno, text, sizeof text) != 0)
        (void)snprintf(text, sizeof text, "error %d", system_errno);
    say(KETAMA_ESYSTEM, path, 0, system_errno, text);
    errno = system_errno;
    return KETAMA_ESYSTEM;
}

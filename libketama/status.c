/*
 * status.c - failures: what a status means, the record that stages fill, and the calling
 * thread's latest one
 */
#undef _GNU_SOURCE /* strerror_r() is to return an int, wherever this is compiled */
#include "internal.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { MESSAGE_MAX = 4096 + 512 }; /* a path, a line, a reason */

static _Thread_local ketama_failure last;
static _Thread_local char message[MESSAGE_MAX];

const char *ketama_strerror(int status)
{
    switch (status) {
    case KETAMA_OK:
        return "success";
    case KETAMA_CHANGED:
        return "the continuum has changed";
    case KETAMA_FELL_BACK:
        return "the file failed; these are the servers published last";
    case KETAMA_ESYSTEM:
        return "a system call failed";
    case KETAMA_ENOMEM:
        return "out of memory";
    case KETAMA_EUNSTABLE:
        return "the file keeps changing while it is read";
    case KETAMA_ELINE:
        return "invalid line";
    case KETAMA_EADDRESS:
        return "invalid address";
    case KETAMA_EWEIGHT:
        return "invalid weight";
    case KETAMA_ENOSERVERS:
        return "no servers";
    case KETAMA_ETOOMANY:
        return "too many servers, points or bytes, or too much weight";
    case KETAMA_ENAME:
        return "invalid name";
    case KETAMA_ERANGE:
        return "no server has that index";
    case KETAMA_EOPTION:
        return "invalid option";
    default:
        return "unknown status";
    }
}

char *ketama_error(void)
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

int ketama_set_failure(ketama_failure *failure, int status, uint64_t line,
                       const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    failure->status = status;
    failure->system_errno = 0;
    failure->line = line;
    (void)vsnprintf(failure->reason, sizeof failure->reason, format, arguments);
    va_end(arguments);
    return status;
}

int ketama_set_system_failure(ketama_failure *failure, int system_errno,
                              const char *reason)
{
    char text[128];
    if (reason == NULL) {
        if (strerror_r(system_errno, text, sizeof text) != 0)
            (void)snprintf(text, sizeof text, "error %d", system_errno);
        reason = text;
    }
    ketama_set_failure(failure, KETAMA_ESYSTEM, 0, "%s", reason);
    failure->system_errno = system_errno;
    return KETAMA_ESYSTEM;
}

int ketama_store_failure(int status, const char *path, const ketama_failure *failure)
{
    if (status == KETAMA_ENOMEM)
        ketama_set_failure(&last, status, 0, "%s", ketama_strerror(status));
    else
        last = *failure;

    if (path != NULL && last.line > 0)
        (void)snprintf(message, sizeof message, "%.4000s:%llu: %s", path,
                       (unsigned long long)last.line, last.reason);
    else if (path != NULL)
        (void)snprintf(message, sizeof message, "%.4000s: %s", path, last.reason);
    else if (last.line > 0)
        (void)snprintf(message, sizeof message, "server %llu: %s",
                       (unsigned long long)last.line, last.reason);
    else
        (void)snprintf(message, sizeof message, "%s", last.reason);
    if (status == KETAMA_ESYSTEM)
        errno = last.system_errno;
    return status;
}

void ketama_clear_failure(void)
{
    last = (ketama_failure){.status = KETAMA_OK};
    message[0] = '\0';
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

struct ketama_quoted ketama_quote_text(const char *text)
{
    return ketama_quote(text, strlen(text));
}

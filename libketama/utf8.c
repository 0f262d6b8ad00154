/*
 * utf8.c - is a text UTF-8?
 */
#include "internal.h"

#include <string.h>

/* How many bytes the character has that begins here; 0 if it is not one. Overlong forms,
 * surrogates and values above U+10FFFF are not. */
static size_t character(const unsigned char *u, size_t available)
{
    size_t size = u[0] < 0x80 ? 1 : u[0] < 0xe0 ? 2 : u[0] < 0xf0 ? 3 : 4;

    if (size == 1)
        return 1;
    if (u[0] < 0xc2 || u[0] > 0xf4 || size > available)
        return 0;
    for (size_t i = 1; i < size; i++)
        if ((u[i] & 0xc0) != 0x80)
            return 0;
    if ((u[0] == 0xe0 && u[1] < 0xa0) || (u[0] == 0xed && u[1] > 0x9f) ||
        (u[0] == 0xf0 && u[1] < 0x90) || (u[0] == 0xf4 && u[1] > 0x8f))
        return 0;
    return size;
}

/* Most text is ASCII, of which eight bytes are checked at once. */
bool ketama_is_utf8(const char *text, size_t size)
{
    const uint64_t not_ascii = UINT64_C(0x8080808080808080);
    uint64_t eight;

    for (size_t at = 0, bytes; at < size; at += bytes) {
        bytes = sizeof eight;
        if (size - at >= sizeof eight) {
            memcpy(&eight, text + at, sizeof eight);
            if ((eight & not_ascii) == 0)
                continue;
        }
        bytes = character((const unsigned char *)text + at, size - at);
        if (bytes == 0)
            return false;
    }
    return true;
}

/*
 * names.c - the text that is hashed for a server
 */
#include "profile.h"

#include <string.h>

size_t ketama_label_dash(const struct ketama_listed *server, uint32_t k,
                         char label[KETAMA_LABEL_MAX])
{
    char digits[10];
    size_t count = 0, len;

    if (server->name != NULL)
        memcpy(label, server->name, len = server->name_bytes);
    else
        memcpy(label, server->address, len = server->address_bytes);
    label[len++] = '-';
    do {
        digits[count++] = (char)('0' + k % 10);
        k /= 10;
    } while (k > 0);
    while (count > 0)
        label[len++] = digits[--count];
    return len;
}

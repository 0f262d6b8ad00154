/*
 * servers.c - fuzzes the parser of server files, and what is made of what it accepts
 */
#define _POSIX_C_SOURCE 200809L

#include <stdlib.h>
#include <string.h>

#include "../internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool condition)
{
    if (!condition)
        abort();
}

static void check_list(const struct ketama_server_list *list, const char *text,
                       size_t size)
{
    uint64_t total = 0;
    must(list->count > 0);
    for (uint32_t i = 0; i < list->count; i++) {
        const struct ketama_listed *server = &list->at[i];
        must(server->address >= text && server->length >= 1);
        must(server->length <= KETAMA_ADDRESS_MAX);
        must(server->address + server->length <= text + size);
        must(server->address[0] != '#' && server->weight >= 1);
        must(server->line >= 1 && (i == 0 || server->line > list->at[i - 1].line));
        total += server->weight;
    }
    must(total == list->total);
}

static void check_points(const struct ketama_server_list *list)
{
    struct ketama_point_list points;
    struct ketama_flaw flaw;
    int status = ketama_points_make(&ketama_profile_libketama, list, &points, &flaw);
    must(status == KETAMA_OK || status == KETAMA_ENOSERVERS);
    for (uint32_t i = 1; i < points.count; i++)
        must(points.at[i - 1].point <= points.at[i].point &&
             points.at[i].server < list->count);
    ketama_points_free(&points);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct ketama_server_list list;
    struct ketama_flaw flaw = {0, ""};
    char *text = malloc(size + 1); /* as source.c gives it: with a NUL behind it */

    if (text == NULL)
        return 0;
    if (size > 0)
        memcpy(text, data, size);
    text[size] = '\0';
    if (ketama_servers_parse(text, size, &list, &flaw) == KETAMA_OK) {
        check_list(&list, text, size);
        if (list.count <= 40)
            check_points(&list);
    } else {
        must(strnlen(flaw.reason, sizeof flaw.reason) > 0);
        must(strnlen(flaw.reason, sizeof flaw.reason) < sizeof flaw.reason);
    }
    ketama_servers_free(&list);
    free(text);
    return 0;
}

/*
 * clashes.c - no two servers may be hashed by the same text, if that was given as a name
 *
 * Servers that are hashed by the same text have the same points, so that only one of
 * them gets keys. For an address that is listed twice, that is the 2007 libketama's
 * behaviour and stays; a name that repeats is a mistake.
 */
#include "internal.h"

#include <stdlib.h>
#include <string.h>

struct named {
    struct ketama_text name; /* what is hashed for a server */
    const struct ketama_listed *server;
};

static bool is_same(const struct named *a, const struct named *b)
{
    return a->name.bytes == b->name.bytes &&
           memcmp(a->name.at, b->name.at, a->name.bytes) == 0;
}

/* Equal names in the order of the list. */
static int by_name_and_line(const void *left, const void *right)
{
    const struct named *a = left, *b = right;
    if (a->name.bytes != b->name.bytes)
        return a->name.bytes < b->name.bytes ? -1 : 1;
    int order = memcmp(a->name.at, b->name.at, a->name.bytes);
    return order != 0 ? order
                      : (a->server->line > b->server->line) -
                            (a->server->line < b->server->line);
}

/* Of equal names, was one given? Sets *later to the first server, in the order of the
 * list, that repeats such a name; or any name, if `all` is set. */
static void find_clash(const struct named *named, uint32_t count, bool all,
                       const struct ketama_listed **later, bool *is_named)
{
    for (uint32_t i = 1, begin = 0; i < count; i++) {
        const struct ketama_listed *server = named[i].server;
        if (!is_same(&named[begin], &named[i])) {
            begin = i;
            continue;
        }
        bool given = server->name != NULL || named[i - 1].server->name != NULL;
        if ((all || given) && (*later == NULL || server->line < (*later)->line)) {
            *later = server;
            *is_named = given;
        }
    }
}

static bool has_names(const struct ketama_server_list *list)
{
    for (uint32_t i = 0; i < list->count; i++)
        if (list->at[i].name != NULL)
            return true;
    return false;
}

static int fail(const struct ketama_listed *later, bool is_named,
                ketama_failure *failure)
{
    struct ketama_quoted address = ketama_quote(later->address, later->address_bytes);

    if (!is_named)
        return ketama_set_failure(failure, KETAMA_EADDRESS, later->line,
                                  "address %s is hashed like an earlier one: this "
                                  "profile takes each server once",
                                  address.text);
    if (later->name == NULL)
        return ketama_set_failure(
            failure, KETAMA_ENAME, later->line,
            "address %s has the name of another server: names must be unique",
            address.text);
    return ketama_set_failure(failure, KETAMA_ENAME, later->line,
                              "duplicate name %s: names must be unique",
                              ketama_quote(later->name, later->name_bytes).text);
}

int ketama_check_names(const struct ketama_server_list *list,
                       const struct ketama_text *names, bool all,
                       ketama_failure *failure)
{
    const struct ketama_listed *later = NULL;
    bool is_named = false;

    if (!all && !has_names(list))
        return KETAMA_OK;
    struct named *named = malloc(list->count * sizeof *named);
    if (named == NULL)
        return KETAMA_ENOMEM;
    for (uint32_t i = 0; i < list->count; i++)
        named[i] = (struct named){names[i], &list->at[i]};
    qsort(named, list->count, sizeof *named, by_name_and_line);
    find_clash(named, list->count, all, &later, &is_named);
    free(named);
    return later == NULL ? KETAMA_OK : fail(later, is_named, failure);
}

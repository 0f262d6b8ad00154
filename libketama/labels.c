/*
 * labels.c - no two servers of a list may have the same label if one of them is a name
 *
 * A label is what is hashed for a server: its name, or its address if it has none.
 * Servers with equal labels have equal points, so that only the first one gets keys. For
 * addresses that is the 2007 libketama's behaviour and stays; a name is an extension,
 * and a mistake.
 */
#include "internal.h"

#include <stdlib.h>
#include <string.h>

struct label {
    const char *text;
    uint32_t bytes;
    const struct ketama_listed *server;
};

static struct label label_of(const struct ketama_listed *server)
{
    if (server->name != NULL)
        return (struct label){server->name, server->name_bytes, server};
    return (struct label){server->address, server->address_bytes, server};
}

static bool is_same(const struct label *a, const struct label *b)
{
    return a->bytes == b->bytes && memcmp(a->text, b->text, a->bytes) == 0;
}

/* Equal labels in the order of the list. */
static int by_text_and_line(const void *left, const void *right)
{
    const struct label *a = left, *b = right;
    if (a->bytes != b->bytes)
        return a->bytes < b->bytes ? -1 : 1;
    int order = memcmp(a->text, b->text, a->bytes);
    return order != 0 ? order
                      : (a->server->line > b->server->line) -
                            (a->server->line < b->server->line);
}

/* Of equal labels, are there names among them? Sets *later to the first server, in the
 * order of the list, that repeats a label. */
static void find_clash(const struct label *labels, uint32_t count,
                       const struct ketama_listed **later)
{
    for (uint32_t i = 1, begin = 0; i < count; i++) {
        const struct ketama_listed *server = labels[i].server;
        if (!is_same(&labels[begin], &labels[i])) {
            begin = i;
            continue;
        }
        bool has_name = server->name != NULL || labels[i - 1].server->name != NULL;
        if (has_name && (*later == NULL || server->line < (*later)->line))
            *later = server;
    }
}

static bool has_names(const struct ketama_server_list *list)
{
    for (uint32_t i = 0; i < list->count; i++)
        if (list->at[i].name != NULL)
            return true;
    return false;
}

int ketama_servers_check_labels(const struct ketama_server_list *list,
                                ketama_failure *failure)
{
    const struct ketama_listed *later = NULL;

    if (!has_names(list))
        return KETAMA_OK;
    struct label *labels = malloc(list->count * sizeof *labels);
    if (labels == NULL)
        return KETAMA_ENOMEM;
    for (uint32_t i = 0; i < list->count; i++)
        labels[i] = label_of(&list->at[i]);
    qsort(labels, list->count, sizeof *labels, by_text_and_line);
    find_clash(labels, list->count, &later);
    free(labels);
    if (later == NULL)
        return KETAMA_OK;

    struct label label = label_of(later);
    return ketama_set_failure(failure, KETAMA_ENAME, later->line,
                              later->name != NULL
                                  ? "duplicate name %s: names must be unique"
                                  : "address %s is another server's name: names must be "
                                    "unique",
                              ketama_quote(label.text, label.bytes).text);
}

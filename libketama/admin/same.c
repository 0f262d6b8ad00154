/*
 * same.c - which servers of two continua are the same
 *
 * A server is the text that its points are made from: its name, or else its address in
 * the dialect's form. If that text has moved to another address, the server has. All
 * other servers are known by their addresses, so that one which gets another name stays
 * the same server. If the dialects are not the same, addresses alone are compared.
 */
#include "admin.h"

#include <stdlib.h>
#include <string.h>

#include "../profile/profile.h"

struct entry {
    struct ketama_text text; /* that is hashed */
    const char *address;
    uint32_t *group;
    bool is_after;
    bool has_moved;
};

static int compare_texts(struct ketama_text a, struct ketama_text b)
{
    if (a.bytes != b.bytes)
        return a.bytes < b.bytes ? -1 : 1;
    return memcmp(a.at, b.at, a.bytes);
}

static int by_text_and_address(const void *left, const void *right)
{
    const struct entry *a = left, *b = right;
    int order = compare_texts(a->text, b->text);
    return order != 0 ? order : strcmp(a->address, b->address);
}

/* Those that have moved first, by text; then the others, by address. */
static int by_identity(const void *left, const void *right)
{
    const struct entry *a = left, *b = right;
    if (a->has_moved != b->has_moved)
        return a->has_moved ? -1 : 1;
    return a->has_moved ? compare_texts(a->text, b->text)
                        : strcmp(a->address, b->address);
}

static bool is_on_both_sides(const struct entry *entries, size_t count)
{
    for (size_t i = 1; i < count; i++)
        if (entries[i].is_after != entries[0].is_after)
            return true;
    return false;
}

/* Of servers with one text, in both continua, those have moved whose address is in only
 * one of them. */
static void find_moved(struct entry *entries, size_t count)
{
    size_t begin = 0;

    if (!is_on_both_sides(entries, count))
        return;
    for (size_t i = 1; i <= count; i++) {
        if (i < count && strcmp(entries[begin].address, entries[i].address) == 0)
            continue;
        bool has_moved = !is_on_both_sides(entries + begin, i - begin);
        for (; begin < i; begin++)
            entries[begin].has_moved = has_moved;
    }
}

static void number(struct entry *entries, size_t count)
{
    size_t begin = 0;
    uint32_t group = 0;

    qsort(entries, count, sizeof *entries, by_text_and_address);
    for (size_t i = 1; i <= count; i++) {
        if (i < count && compare_texts(entries[begin].text, entries[i].text) == 0)
            continue;
        find_moved(entries + begin, i - begin);
        begin = i;
    }
    qsort(entries, count, sizeof *entries, by_identity);
    for (size_t i = 0; i < count; i++) {
        if (i > 0 && by_identity(&entries[i - 1], &entries[i]) != 0)
            group++;
        *entries[i].group = group;
    }
}

static void list_entries(struct entry *entries, ketama_continuum c, bool is_after,
                         uint32_t *groups)
{
    ketama_server server;
    for (uint32_t i = 0; i < ketama_count_servers(c); i++) {
        (void)ketama_server_at(c, i, &server); /* cannot fail: i is in range */
        entries[i] = (struct entry){
            .text = {server.address, (uint32_t)strlen(server.address)},
            .address = server.address,
            .group = &groups[i],
            .is_after = is_after,
        };
    }
}

/* Replaces the entries' texts by those that are hashed; free *storage after use. */
static int set_texts(struct entry *entries, ketama_continuum c, char **storage)
{
    uint32_t count = ketama_count_servers(c);
    struct ketama_text *names = calloc(count, sizeof *names);

    *storage = NULL;
    int status = names == NULL ? ketama_store_failure(KETAMA_ENOMEM, NULL, NULL)
                               : ketama_hashed_names(c, names, storage);
    for (uint32_t i = 0; i < count && status == KETAMA_OK; i++)
        entries[i].text = names[i];
    free(names);
    return status;
}

static int group(ketama_continuum before, ketama_continuum after, bool by_text,
                 uint32_t *groups_before, uint32_t *groups_after)
{
    size_t old = ketama_count_servers(before), new = ketama_count_servers(after);
    struct entry *entries = calloc(old + new, sizeof *entries);
    char *storage_before = NULL, *storage_after = NULL;
    int status = KETAMA_OK;

    if (entries == NULL)
        return old + new == 0 ? KETAMA_OK
                              : ketama_store_failure(KETAMA_ENOMEM, NULL, NULL);
    list_entries(entries, before, false, groups_before);
    list_entries(entries + old, after, true, groups_after);
    if (by_text)
        status = set_texts(entries, before, &storage_before);
    if (by_text && status == KETAMA_OK)
        status = set_texts(entries + old, after, &storage_after);
    if (status == KETAMA_OK)
        number(entries, old + new);
    free(storage_before);
    free(storage_after);
    free(entries);
    return status;
}

/* Do equal texts mean the same server in both? */
static bool have_one_form(const struct ketama_dialect *a, const struct ketama_dialect *b)
{
    return a->profile == b->profile && a->name_rule == b->name_rule &&
           strcmp(a->default_port, b->default_port) == 0;
}

int ketama_same_servers(ketama_continuum before, ketama_continuum after,
                        uint32_t *groups_before, uint32_t *groups_after)
{
    return group(before, after, have_one_form(&before->dialect, &after->dialect),
                 groups_before, groups_after);
}

int ketama_same_addresses(ketama_continuum before, ketama_continuum after,
                          uint32_t *groups_before, uint32_t *groups_after)
{
    return group(before, after, false, groups_before, groups_after);
}

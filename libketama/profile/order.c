/*
 * order.c - which of the servers with equal points has them
 */
#include "profile.h"

#include <stdlib.h>
#include <string.h>

void ketama_order_as_listed(const struct ketama_text *names, uint32_t count,
                            const struct ketama_text **order)
{
    for (uint32_t i = 0; i < count; i++)
        order[i] = &names[i];
}

void ketama_order_reversed(const struct ketama_text *names, uint32_t count,
                           const struct ketama_text **order)
{
    for (uint32_t i = 0; i < count; i++)
        order[i] = &names[count - 1 - i];
}

static int compare_lengths(const struct ketama_text *a, const struct ketama_text *b)
{
    return (a->bytes > b->bytes) - (a->bytes < b->bytes);
}

/* Of equal names, the one that is listed earlier comes first. */
static int compare_bytes(const struct ketama_text *a, const struct ketama_text *b)
{
    int order = memcmp(a->at, b->at, a->bytes < b->bytes ? a->bytes : b->bytes);
    if (order == 0)
        order = compare_lengths(a, b);
    return order != 0 ? order : (a > b) - (a < b);
}

static int by_name(const void *a, const void *b)
{
    return compare_bytes(*(const struct ketama_text *const *)a,
                         *(const struct ketama_text *const *)b);
}

static int by_length(const void *a, const void *b)
{
    int order = compare_lengths(*(const struct ketama_text *const *)a,
                                *(const struct ketama_text *const *)b);
    return order != 0 ? order : by_name(a, b);
}

void ketama_order_by_name(const struct ketama_text *names, uint32_t count,
                          const struct ketama_text **order)
{
    ketama_order_as_listed(names, count, order);
    qsort(order, count, sizeof *order, by_name);
}

void ketama_order_by_length(const struct ketama_text *names, uint32_t count,
                            const struct ketama_text **order)
{
    ketama_order_as_listed(names, count, order);
    qsort(order, count, sizeof *order, by_length);
}

/*
 * table.c - what the dialects of ketama differ in: a row each, and its small functions
 *
 * "libketama" is Last.fm's, the one that gave the method its name.
 */
#include <string.h>

#include "internal.h"

#ifdef __FAST_MATH__
#error "libketama's roundings are part of its answers: compile without -ffast-math"
#endif

/*
 * The float rule. A server gets 40 labels times its share of the weight times the
 * number of servers, computed as the original's compiler did: in single precision
 * where a float was written, and each step rounded for itself. The roundings are part
 * of the answer: 61 equal servers get 39 labels each, not 40. Do not simplify. volatile
 * makes a compiler round that would rather keep more digits.
 */
static uint32_t libketama_labels(uint64_t weight, uint64_t total, uint32_t servers)
{
    volatile float own = (float)weight, all = (float)total, part = own / all;
    volatile double exact = (double)part * 40.0 * (double)(float)servers;
    volatile float labels = (float)exact;
    return (uint32_t)labels; /* towards zero, which is floor, as it is never negative */
}

/* "address-k", k in decimal */
static size_t libketama_label(const struct ketama_listed *server, uint32_t k,
                              char label[KETAMA_LABEL_MAX])
{
    char digits[10];
    size_t count = 0, len = server->length;

    memcpy(label, server->address, len);
    label[len++] = '-';
    do {
        digits[count++] = (char)('0' + k % 10);
        k /= 10;
    } while (k > 0);
    while (count > 0)
        label[len++] = digits[--count];
    return len;
}

/* A label's points: the four little-endian words of its MD5. */
static void libketama_points(const ketama_key *labels, size_t count, uint32_t *points)
{
    ketama_md5_many(labels, count, 4, points);
}

/* A key's hash: the first word of its MD5. */
static void libketama_hashes(const ketama_key *keys, size_t count, uint32_t *hashes)
{
    ketama_md5_many(keys, count, 1, hashes);
}

/* Of equal points, that of the server which stands first in the file wins. */
static void file_order(const struct ketama_server_list *list, uint32_t *order)
{
    for (uint32_t i = 0; i < list->count; i++)
        order[i] = i;
}

const struct ketama_profile ketama_profile_libketama = {
    .id = 1,
    .yield = 4,
    .labels = libketama_labels,
    .label = libketama_label,
    .points = libketama_points,
    .order = file_order,
    .hash = ketama_hash,
    .hashes = libketama_hashes,
};

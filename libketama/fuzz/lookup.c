/*
 * lookup.c - fuzzes lookups in arbitrary views, and in valid ones against the rule
 *
 * The input: the number of points, the binary logarithm of the number of buckets,
 * whether the view is arbitrary, then points, buckets and hashes.
 */

#include "../profile/profile.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { POINTS_MAX = 200, SERVERS = 5, BITS_MIN = 3, BITS_MAX = 8 };

static void must(bool condition)
{
    if (!condition)
        abort();
}

static uint32_t take(const uint8_t **data, size_t *size)
{
    unsigned char bytes[4] = {0};
    size_t some = *size < 4 ? *size : 4;
    memcpy(bytes, *data, some);
    *data += some;
    *size -= some;
    return ketama_load32(bytes);
}

static int by_point(const void *a, const void *b)
{
    const ketama_arc *x = a, *y = b;
    return (x->end > y->end) - (x->end < y->end);
}

static uint32_t first_at_or_after(const ketama_arc *points, uint32_t count,
                                  uint32_t hash)
{
    for (uint32_t i = 0; i < count; i++)
        if (points[i].end >= hash)
            return points[i].end;
    return points[0].end;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint32_t head = take(&data, &size);
    uint32_t count = 1 + (head & 0xff) % POINTS_MAX,
             bits = BITS_MIN + (head >> 8 & 0xff) % (BITS_MAX - BITS_MIN + 1);
    bool lies = (head >> 16 & 1) != 0;
    uint32_t entries = (UINT32_C(1) << bits) + 1, servers[8];
    /* Allocated at their exact sizes, so that the sanitizer finds any overrun. */
    ketama_arc *points = malloc(count * sizeof *points);
    struct ketama_packer packer = {
        .words = calloc(count + KETAMA_SLACK, sizeof *packer.words),
        .index = calloc(entries, sizeof *packer.index),
        .server_bits = ketama_server_bits(SERVERS),
        .shift = 32 - bits,
    };
    struct ketama_handle c = {.dialect = ketama_libketama};

    if (points == NULL || packer.words == NULL || packer.index == NULL)
        abort();
    for (uint32_t i = 0; i < count; i++)
        points[i] = (ketama_arc){take(&data, &size), i % SERVERS};
    if (!lies)
        qsort(points, count, sizeof *points, by_point);
    for (uint32_t i = 0; i < count; i++)
        ketama_pack(&packer, points[i]);
    ketama_pack_finish(&packer);
    packer.words[count] = packer.words[0];
    for (uint32_t i = 0; lies && i < entries; i++)
        packer.index[i] = take(&data, &size);
    for (uint32_t i = 0; lies && i < count; i++)
        packer.words[i] ^= take(&data, &size);
    c.view = (struct ketama_view){
        .arcs = {packer.words, packer.index, count, packer.server_bits,
                 (UINT32_C(1) << packer.server_bits) - 1, packer.shift},
        .server_count = SERVERS};
    for (int i = 0; i < 64; i++) {
        uint32_t point,
            hash = size > 0 ? take(&data, &size) : points[i % (int)count].end;
        for (uint32_t step = 0; step < 3; step++) {
            must(ketama_find_hash(&c, hash + step - 1, &point) < 5);
            must(lies || point == first_at_or_after(points, count, hash + step - 1));
        }
    }
    int found = ketama_successors(&c, "key", 3, servers, 8);
    must(found >= 0 && found <= 5);
    const unsigned char excluded[] = {count & 1, count >> 1 & 1, count >> 2 & 1, 0, 1};
    uint32_t left = ketama_find_among(&c, "key", 3, excluded, NULL);
    must(left == KETAMA_NO_SERVER || (left < 5 && !excluded[left]));
    free(points);
    free(packer.words);
    free(packer.index);
    return 0;
}

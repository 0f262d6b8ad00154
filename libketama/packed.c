/*
 * packed.c - arcs <-> words of 32 bits, found by an index
 *
 * A word has the low bits of where its arc ends, and below them the arc's server. The
 * bits that had to go, as many as the server takes, are the top ones. The index says
 * which these are: it has a bucket for each value of a hash's top bits, at least as many
 * as are missing.
 *
 * Of two words in one bucket, the one whose arc ends first is the smaller one, so a
 * lookup compares whole words and unpacks none.
 */
#include "internal.h"

/* How many bits it takes to number so many things, from 0 on. */
static uint32_t bits_for(uint32_t count)
{
    uint32_t bits = 0;
    while ((count - 1) >> bits > 0)
        bits++;
    return bits;
}

uint32_t ketama_server_bits(uint32_t server_count)
{
    return bits_for(server_count);
}

/*
 * Points are spread evenly. So a lookup guesses well where in its bucket an arc is, and
 * buckets may be large; and the smaller the index is, the closer to the processor it
 * stays: a lookup should wait for memory only once, for the arcs.
 */
uint32_t ketama_index_shift(uint32_t arc_count, uint32_t server_count)
{
    enum { ARCS = 6, BITS_MIN = 1, BITS_MAX = 16 };
    uint32_t least = bits_for(server_count), bits = BITS_MIN;
    while (bits < BITS_MAX && arc_count / ARCS >> (bits + 1) > 0)
        bits++;
    return 32 - (bits > least ? bits : least);
}

void ketama_pack_finish(const struct ketama_packer *packer)
{
    uint32_t *index = packer->index;
    for (uint64_t b = 1; b < ketama_index_entries(packer->shift); b++)
        if (index[b] < index[b - 1]) /* no arc ends there */
            index[b] = index[b - 1];
}

static uint32_t last_bucket(const struct ketama_packed *arcs)
{
    return UINT32_MAX >> arcs->shift;
}

static ketama_arc unpack(const struct ketama_packed *arcs, uint32_t at, uint32_t bucket)
{
    uint32_t word = arcs->words[at];
    return (ketama_arc){bucket << arcs->shift | word >> arcs->server_bits,
                        ketama_packed_server(arcs, word)};
}

ketama_arc ketama_arc_at(const struct ketama_packed *arcs, uint32_t at)
{
    uint32_t low = 0, high = last_bucket(arcs);
    while (low < high) {
        uint32_t middle = high - (high - low) / 2;
        if (arcs->index[middle] > at)
            high = middle - 1;
        else
            low = middle;
    }
    return unpack(arcs, at, low);
}

ketama_arc ketama_arc_from(const struct ketama_packed *arcs, uint32_t at,
                           uint32_t *bucket)
{
    while (*bucket < last_bucket(arcs) && arcs->index[*bucket + 1] <= at)
        ++*bucket;
    return unpack(arcs, at, *bucket);
}

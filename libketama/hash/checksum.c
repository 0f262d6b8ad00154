/*
 * checksum.c - detects damage, not malice
 */
#include "hash.h"

#include <string.h>

/*
 * Four lanes, so that it runs as fast as memory is read. Each step is a bijection, so
 * that a change of a single word never goes undetected.
 */
uint64_t ketama_checksum(uint64_t sum, const unsigned char *bytes, size_t size)
{
    enum { LANES = 4 };
    const uint64_t odd = UINT64_C(0x9e3779b97f4a7c15);
    uint64_t lanes[LANES] = {sum, 1, 2, 3}, words[LANES];

    for (size_t at = 0; at < size; at += sizeof words) {
        memcpy(words, bytes + at, sizeof words);
        for (int i = 0; i < LANES; i++) {
            lanes[i] = (lanes[i] ^ words[i]) * odd;
            lanes[i] ^= lanes[i] >> 29;
        }
    }
    for (int i = 0; i < LANES; i++) {
        sum = (sum ^ lanes[i]) * odd;
        sum ^= sum >> 32;
    }
    return sum;
}

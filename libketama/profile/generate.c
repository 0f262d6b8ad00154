/*
 * generate.c - names -> points, in the order in which equal ones win
 */
#include "profile.h"

#include <string.h>

static uint32_t index_of(const struct ketama_layout *layout, uint32_t rank)
{
    return (uint32_t)(layout->order[rank] - layout->names);
}

/* ---- labels: "name-0", "name-1" ... */

enum { LABELS_A_REPORT = 1 << 12 };

static size_t write_label(char *to, struct ketama_text name, char joint, uint64_t k)
{
    char digits[20];
    size_t count = 0, len = name.bytes;

    memcpy(to, name.at, len);
    to[len++] = joint;
    do {
        digits[count++] = (char)('0' + k % 10);
        k /= 10;
    } while (k > 0);
    while (count > 0)
        to[len++] = digits[--count];
    return len;
}

static uint32_t *flush(const struct ketama_layout *layout, uint32_t *out)
{
    struct ketama_labels *batch = layout->labels;
    uint32_t count = batch->count;
    batch->count = 0;
    layout->profile->hash_labels(layout, batch->label, count, out);
    return out + count * layout->profile->points_per_label;
}

void ketama_generate_labels(const struct ketama_layout *layout, uint32_t *out)
{
    struct ketama_labels *batch = layout->labels;
    batch->count = 0;
    for (uint32_t i = 0; i < layout->servers->count; i++) {
        uint32_t server = index_of(layout, i);
        uint32_t labels = layout->points_of[server] / layout->profile->points_per_label;
        for (uint32_t k = 0; k < labels; k++) {
            if (k % LABELS_A_REPORT == 0)
                ketama_report_progress(layout->servers);
            uint32_t at = batch->count++;
            batch->label[at].bytes = batch->text[at];
            batch->label[at].len = write_label(batch->text[at], layout->names[server],
                                               layout->profile->joint, k);
            if (batch->count == KETAMA_LABELS)
                out = flush(layout, out);
        }
    }
    flush(layout, out);
}

void ketama_labels_md5(const struct ketama_layout *layout, const ketama_key *labels,
                       size_t count, uint32_t *points)
{
    ketama_md5_many(labels, count, layout->profile->points_per_label, points);
}

void ketama_labels_sha384(const struct ketama_layout *layout, const ketama_key *labels,
                          size_t count, uint32_t *points)
{
    (void)layout;
    for (size_t i = 0; i < count; i++)
        ketama_sha384_words(labels[i].bytes, labels[i].len, points + 4 * i);
}

void ketama_labels_sha1(const struct ketama_layout *layout, const ketama_key *labels,
                        size_t count, uint32_t *points)
{
    (void)layout;
    for (size_t i = 0; i < count; i++)
        points[i] = ketama_sha1_word(labels[i].bytes, labels[i].len);
}

void ketama_labels_xxh3(const struct ketama_layout *layout, const ketama_key *labels,
                        size_t count, uint32_t *points)
{
    (void)layout;
    for (size_t i = 0; i < count; i++)
        points[i] = ketama_hash_xxh3(labels[i].bytes, labels[i].len, 0);
}

void ketama_labels_as_keys(const struct ketama_layout *layout, const ketama_key *labels,
                           size_t count, uint32_t *points)
{
    for (size_t i = 0; i < count; i++)
        points[i] = layout->dialect->hash(labels[i].bytes, labels[i].len, 0);
}

/* ---- a chain: each point is the CRC-32 of the name and of the point before it */

enum { POINTS_A_REPORT = 1 << 16 };

static uint32_t continue_chain(uint32_t name_register, uint32_t point)
{
    const unsigned char bytes[4] = {(unsigned char)point, (unsigned char)(point >> 8),
                                    (unsigned char)(point >> 16),
                                    (unsigned char)(point >> 24)};
    return ~ketama_crc32_update(name_register, bytes, sizeof bytes);
}

void ketama_generate_chain(const struct ketama_layout *layout, uint32_t *out)
{
    for (uint32_t i = 0; i < layout->servers->count; i++) {
        uint32_t server = index_of(layout, i), point = 0;
        uint32_t name_register = ketama_crc32_update(
            UINT32_MAX, layout->names[server].at, layout->names[server].bytes);
        for (uint32_t k = 0; k < layout->points_of[server]; k++) {
            if (k % POINTS_A_REPORT == 0)
                ketama_report_progress(layout->servers);
            point = continue_chain(name_register, point);
            *out++ = point;
        }
    }
}

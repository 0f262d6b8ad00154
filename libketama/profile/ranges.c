/*
 * ranges.c - which buckets a server owns -> points
 *
 * A bucket map has 2^b buckets: arcs of equal lengths, so that bucket k has the hashes
 * whose top b bits are k. The server file lists the buckets of each server, such as
 * "0-8191,16384,20000-20479"; "-" is none.
 */
#include "profile.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool is_digit(const struct ketama_text *text)
{
    return text->bytes > 0 && text->at[0] >= '0' && text->at[0] <= '9';
}

static void skip(struct ketama_text *text)
{
    text->at++;
    text->bytes--;
}

/* Takes a number; one that is too large for any bucket is the largest there is. False:
 * there is no number. */
static bool take_number(struct ketama_text *text, uint32_t *number)
{
    uint64_t value = 0;
    if (!is_digit(text))
        return false;
    for (; is_digit(text); skip(text)) {
        value = value * 10 + (uint64_t)(text->at[0] - '0');
        if (value > UINT32_MAX)
            value = UINT32_MAX;
    }
    *number = (uint32_t)value;
    return true;
}

/* Takes "first-last" or "number", and the comma after it. */
static bool take_range(struct ketama_text *left, struct ketama_range *range)
{
    if (!take_number(left, &range->first))
        return false;
    range->last = range->first;
    if (left->bytes > 0 && left->at[0] == '-') {
        skip(left);
        if (!take_number(left, &range->last))
            return false;
    }
    if (left->bytes == 0)
        return true;
    if (left->at[0] != ',')
        return false;
    skip(left);
    return left->bytes > 0;
}

/* The first range of a text, as it is written. */
static struct ketama_quoted quote_range(struct ketama_text text)
{
    uint32_t size = 0;
    while (size < text.bytes && text.at[size] != ',')
        size++;
    if (size == 0 || size + 1 == text.bytes) /* a comma too many */
        size = text.bytes;
    return ketama_quote(text.at, size);
}

struct ketama_text ketama_ranges_of(const struct ketama_listed *server)
{
    struct ketama_text ranges = server->ranges;
    if (ranges.bytes == 1 && ranges.at[0] == '-')
        ranges.bytes = 0;
    return ranges;
}

int ketama_range_take(struct ketama_text *left, uint32_t buckets, uint64_t line,
                      struct ketama_range *range, ketama_failure *failure)
{
    struct ketama_text all = *left;

    if (all.bytes == 0)
        return KETAMA_CHANGED;
    if (!take_range(left, range))
        return ketama_set_failure(failure, KETAMA_ELINE, line,
                                  "invalid buckets %s: write numbers and ranges, such "
                                  "as 0-8191,16384, or - for none",
                                  quote_range(all).text);
    if (range->first > range->last)
        return ketama_set_failure(failure, KETAMA_ELINE, line,
                                  "invalid range %s of buckets: write the smaller "
                                  "number first",
                                  quote_range(all).text);
    if (range->last >= buckets)
        return ketama_set_failure(failure, KETAMA_ELINE, line,
                                  "invalid buckets %s: with buckets=%lu, they are "
                                  "numbered 0 to %lu",
                                  quote_range(all).text, (unsigned long)buckets,
                                  (unsigned long)buckets - 1);
    return KETAMA_OK;
}

/* ---- which server owns which bucket */

struct ownership {
    const struct ketama_server_list *servers;
    uint32_t buckets;
    uint32_t *owner; /* of each bucket: 1 + the server's index; 0: nobody */
};

static int fail_twice(const struct ownership *map, uint32_t bucket, uint64_t line,
                      ketama_failure *failure)
{
    uint64_t other = map->servers->at[map->owner[bucket] - 1].line;
    if (other == line)
        return ketama_set_failure(failure, KETAMA_ELINE, line,
                                  "bucket %lu is listed twice", (unsigned long)bucket);
    return ketama_set_failure(failure, KETAMA_ELINE, line,
                              "bucket %lu is also on line %llu: remove it from one of "
                              "them",
                              (unsigned long)bucket, (unsigned long long)other);
}

/* Fails at the first bucket that was owned before, so this takes linear time. */
static int own(struct ownership *map, uint32_t server, uint32_t *count,
               ketama_failure *failure)
{
    const struct ketama_listed *listed = &map->servers->at[server];
    struct ketama_text left = ketama_ranges_of(listed);
    struct ketama_range range;
    int status;

    if (listed->ranges.bytes == 0)
        return ketama_set_failure(failure, KETAMA_ELINE, listed->line,
                                  "a list of servers has no buckets: open the file or "
                                  "text of a bucket map");
    while ((status = ketama_range_take(&left, map->buckets, listed->line, &range,
                                       failure)) == KETAMA_OK)
        for (uint32_t bucket = range.first; bucket <= range.last; bucket++) {
            if (map->owner[bucket] != 0)
                return fail_twice(map, bucket, listed->line, failure);
            map->owner[bucket] = server + 1;
            ++*count;
        }
    return status == KETAMA_CHANGED ? KETAMA_OK : status;
}

/* Names the first range of them. */
static int fail_missing(const struct ownership *map, uint32_t missing,
                        ketama_failure *failure)
{
    char last[24] = "";
    uint32_t first = 0, after;
    while (map->owner[first] != 0)
        first++;
    after = first + 1;
    while (after < map->buckets && map->owner[after] == 0)
        after++;
    if (after - first > 1)
        snprintf(last, sizeof last, "-%lu", (unsigned long)after - 1);
    return ketama_set_failure(failure, KETAMA_ELINE, 0,
                              "%lu of %lu buckets have no server, such as %lu%s: list "
                              "them for a server",
                              (unsigned long)missing, (unsigned long)map->buckets,
                              (unsigned long)first, last);
}

int ketama_count_buckets(const struct ketama_layout *layout, uint32_t *points_of,
                         ketama_failure *failure)
{
    struct ownership map = {layout->servers, layout->dialect->buckets, NULL};
    uint32_t owned = 0;
    int status = KETAMA_OK;

    map.owner = calloc(map.buckets, sizeof *map.owner);
    if (map.owner == NULL)
        return KETAMA_ENOMEM;
    for (uint32_t i = 0; i < map.servers->count && status == KETAMA_OK; i++) {
        points_of[i] = 0;
        status = own(&map, i, &points_of[i], failure);
        owned += points_of[i];
    }
    if (status == KETAMA_OK && owned < map.buckets)
        status = fail_missing(&map, map.buckets - owned, failure);
    free(map.owner);
    return status;
}

/* Where bucket k ends. */
static uint32_t end_of(uint32_t k, uint32_t buckets)
{
    return (uint32_t)((k + UINT64_C(1)) * ((UINT64_C(1) << 32) / buckets) - 1);
}

/* The ranges were read before, without a failure. */
void ketama_generate_buckets(const struct ketama_layout *layout, uint32_t *out)
{
    uint32_t buckets = layout->dialect->buckets;
    for (uint32_t i = 0; i < layout->servers->count; i++) {
        uint32_t server = (uint32_t)(layout->order[i] - layout->names);
        struct ketama_text left = ketama_ranges_of(&layout->servers->at[server]);
        struct ketama_range range;
        while (ketama_range_take(&left, buckets, 0, &range, NULL) == KETAMA_OK)
            for (uint32_t k = range.first; k <= range.last; k++)
                *out++ = end_of(k, buckets);
    }
}

/* ---- and the reverse */

/* "first-last" or "number", and a comma. */
struct written {
    char text[32];
    size_t bytes;
};

static struct written write_range(uint32_t first, uint32_t last)
{
    struct written range;
    int size = sprintf(range.text, "%lu", (unsigned long)first);
    if (last > first)
        size += sprintf(range.text + size, "-%lu", (unsigned long)last);
    range.text[size++] = ',';
    range.bytes = (size_t)size;
    return range;
}

/* Writes the ranges of each server to text + at[server], and moves that on by them.
 * text: NULL: only moves. */
static void write_all(const uint32_t *owners, uint32_t buckets, uint32_t count,
                      size_t *at, char *text)
{
    for (uint32_t begin = 0, end; begin < buckets; begin = end) {
        uint32_t server = owners[begin];
        for (end = begin + 1; end < buckets && owners[end] == server;)
            end++;
        if (server >= count)
            continue;
        struct written range = write_range(begin, end - 1);
        if (text != NULL)
            memcpy(text + at[server], range.text, range.bytes);
        at[server] += range.bytes;
    }
}

size_t ketama_ranges_write(const uint32_t *owners, uint32_t buckets, uint32_t count,
                           size_t *at, char *text, size_t room)
{
    static const char none[] = "-";
    size_t begin = 0;

    memset(at, 0, (count + (size_t)1) * sizeof *at);
    write_all(owners, buckets, count, at, NULL);
    for (uint32_t i = 0; i <= count; i++) {
        size_t bytes = at[i] > 0 ? at[i] : sizeof none;
        at[i] = begin;
        begin += bytes;
    }
    if (room < at[count])
        return at[count];
    write_all(owners, buckets, count, at, text);
    begin = 0;
    for (uint32_t i = 0; i < count; i++) {
        size_t end = at[i];
        if (end == begin) {
            memcpy(text + begin, none, sizeof none);
            end += sizeof none;
        }
        text[end - 1] = '\0'; /* in place of the last comma */
        at[i] = begin;
        begin = end;
    }
    return at[count];
}

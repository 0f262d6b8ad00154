/*
 * image.c - points <-> flat relocatable bytes
 *
 *     header | servers | points | index | names
 *
 * There is no pointer in it, only offsets from its first byte, so it may lie at any
 * address that is a multiple of its alignment. It is written once and then only read.
 *
 * The index makes lookups O(1): a hash's top bits are a bucket, and index[bucket] is
 * the first point that is not below the bucket. There are as many buckets as the
 * power of two that is next below the number of points, and MD5 spreads the points
 * evenly, so a bucket has one or two.
 */
#include <stdlib.h>
#include <string.h>

#include "internal.h"

enum { ALIGNMENT = 64, FORMAT = 1, BYTE_ORDER_MARK = 0x01020304 };

struct ketama_image {
    char magic[8];
    uint32_t format;
    uint32_t byte_order;
    uint64_t size_bytes;
    uint64_t servers_at;
    uint64_t points_at;
    uint64_t index_at;
    uint64_t names_at;
    uint64_t names_bytes;
    uint32_t profile;
    uint32_t server_count;
    uint32_t point_count;
    uint32_t shift;
    struct ketama_source source;
};

static uint64_t align(uint64_t offset)
{
    return (offset + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
}

/* How far a hash is shifted to be a bucket; from 1 to 31, whatever the count. */
static uint32_t index_shift(uint32_t point_count)
{
    uint32_t bits = 1;
    while (bits < 31 && point_count >> (bits + 1) > 0)
        bits++;
    return 32 - bits;
}

static uint64_t index_entries(uint32_t shift)
{
    return (UINT64_C(1) << (32 - shift)) + 1;
}

/* The header of an image for these servers and points: says where everything goes. */
static struct ketama_image plan(const struct ketama_profile *profile,
                                const struct ketama_server_list *servers,
                                const struct ketama_point_list *points,
                                const struct ketama_source *source)
{
    struct ketama_image image = {
        .magic = "ketama\r\n",
        .format = FORMAT,
        .byte_order = BYTE_ORDER_MARK,
        .profile = profile->id,
        .server_count = servers->count,
        .point_count = points->count,
        .shift = index_shift(points->count),
        .source = *source,
    };
    for (uint32_t i = 0; i < servers->count; i++)
        image.names_bytes += servers->at[i].length + 1;

    image.servers_at = align(sizeof image);
    image.points_at = align(image.servers_at +
                            image.server_count * sizeof(struct ketama_image_server));
    image.index_at =
        align(image.points_at + image.point_count * (uint64_t)sizeof(ketama_point));
    image.names_at =
        align(image.index_at + index_entries(image.shift) * sizeof(uint32_t));
    image.size_bytes = align(image.names_at + image.names_bytes);
    return image;
}

static void write_servers(struct ketama_image_server *to, char *names,
                          const struct ketama_server_list *servers)
{
    uint32_t at = 0;
    for (uint32_t i = 0; i < servers->count; i++) {
        const struct ketama_listed *listed = &servers->at[i];
        to[i] = (struct ketama_image_server){.weight = listed->weight, .address_at = at};
        memcpy(names + at, listed->address, listed->length);
        names[at + listed->length] = '\0';
        at += listed->length + 1;
    }
}

/* A point owns the hashes from the one behind its predecessor up to itself; the first
 * one also those behind the last. Of equal points only the first owns any. */
static void write_shares(struct ketama_image_server *servers, const ketama_point *points,
                         uint32_t count)
{
    const uint64_t circle = UINT64_C(1) << 32;
    servers[points[0].server].share +=
        points[0].point + circle - points[count - 1].point;
    servers[points[0].server].points++;
    for (uint32_t i = 1; i < count; i++) {
        servers[points[i].server].share += points[i].point - points[i - 1].point;
        servers[points[i].server].points++;
    }
}

static void write_index(uint32_t *index, uint32_t shift, const ketama_point *points,
                        uint32_t count)
{
    uint64_t bucket = 0;
    for (uint32_t i = 0; i < count; i++)
        while (bucket <= points[i].point >> shift)
            index[bucket++] = i;
    while (bucket < index_entries(shift))
        index[bucket++] = count;
}

struct ketama_image *ketama_image_make(const struct ketama_profile *profile,
                                       const struct ketama_server_list *servers,
                                       const struct ketama_point_list *points,
                                       const struct ketama_source *source)
{
    struct ketama_image header = plan(profile, servers, points, source), *image;
    unsigned char *bytes;

    if (header.size_bytes > SIZE_MAX / 2)
        return NULL;
    bytes = aligned_alloc(ALIGNMENT, (size_t)header.size_bytes);
    if (bytes == NULL)
        return NULL;
    memset(bytes, 0, (size_t)header.size_bytes);

    image = (struct ketama_image *)(void *)bytes;
    *image = header;
    struct ketama_image_server *to = (void *)(bytes + header.servers_at);
    write_servers(to, (char *)bytes + header.names_at, servers);
    write_shares(to, points->at, points->count);
    memcpy(bytes + header.points_at, points->at, points->count * sizeof(ketama_point));
    write_index((void *)(bytes + header.index_at), header.shift, points->at,
                points->count);
    return image;
}

void ketama_image_view(const struct ketama_image *image, struct ketama_view *view)
{
    const unsigned char *bytes = (const void *)image;
    *view = (struct ketama_view){
        .points = (const void *)(bytes + image->points_at),
        .index = (const void *)(bytes + image->index_at),
        .servers = (const void *)(bytes + image->servers_at),
        .names = (const char *)bytes + image->names_at,
        .source = &image->source,
        .point_count = image->point_count,
        .server_count = image->server_count,
        .shift = image->shift,
    };
}

void ketama_image_free(struct ketama_image *image)
{
    free(image);
}

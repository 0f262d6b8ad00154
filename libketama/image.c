/*
 * image.c - points <-> flat relocatable bytes
 *
 *     header | servers | points | index | names | path
 *
 * There is no pointer in it, only offsets from its first byte, so it may lie at any
 * address that is a multiple of its alignment. It is written once and then only read,
 * but for the mark that says that there is a newer one. docs/image-format.md has it byte
 * by byte.
 *
 * The index makes lookups O(1): a hash's top bits are a bucket, and index[bucket] is
 * the first point that is not below the bucket. There are as many buckets as the
 * power of two that is next below the number of points, and MD5 spreads the points
 * evenly, so a bucket has one or two.
 */
#include <limits.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "internal.h"

enum { ALIGNMENT = 64, BYTE_ORDER_MARK = 0x01020304 };
static const char magic[8] = {'k', 'e', 't', 'a', 'm', 'a', '\r', '\n'};

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
    uint64_t path_at;
    uint64_t path_bytes; /* its NUL included */
    uint32_t profile;
    uint32_t server_count;
    uint32_t point_count;
    uint32_t shift;
    struct ketama_source source;
    uint64_t checksum; /* of all bytes, but for this and the mark */
    uint64_t generation;
    unsigned char zero[16];
    _Atomic uint32_t superseded; /* the mark, in a cache line of its own */
    unsigned char padding[60];
};

_Static_assert(sizeof(struct ketama_source) == 64, "no holes");
_Static_assert(offsetof(struct ketama_image, superseded) == KETAMA_SUPERSEDED_AT,
               "layout");
_Static_assert(sizeof(struct ketama_image) == 256, "layout");

static uint64_t align(uint64_t offset)
{
    return (offset + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
}

/*
 * How far a hash is shifted to be a bucket. A bucket for each point or two, as long as
 * the index stays in the processor's caches: a lookup that waits for memory should do so
 * once, for the points, not for the index as well.
 */
static uint32_t index_shift(uint32_t point_count)
{
    enum { BITS_MAX = 14 };
    uint32_t bits = 1;
    while (bits < BITS_MAX && point_count >> (bits + 1) > 0)
        bits++;
    return 32 - bits;
}

static uint64_t index_entries(uint32_t shift)
{
    return (UINT64_C(1) << (32 - shift)) + 1;
}

/* From the header's counts, where everything goes. */
static void plan(struct ketama_image *image)
{
    image->shift = index_shift(image->point_count);
    image->servers_at = align(sizeof *image);
    image->points_at = align(image->servers_at +
                             image->server_count * sizeof(struct ketama_image_server));
    image->index_at =
        align(image->points_at + image->point_count * (uint64_t)sizeof(ketama_point));
    image->names_at =
        align(image->index_at + index_entries(image->shift) * sizeof(uint32_t));
    image->path_at = image->names_at + image->names_bytes;
    image->size_bytes = align(image->path_at + image->path_bytes);
}

/*
 * Finds damage, not malice. Four lanes, so that it runs as fast as memory is read; each
 * step is one to one, so that no change of one word can go unseen. `size` is a multiple
 * of the alignment.
 */
static uint64_t checksum_of(uint64_t sum, const unsigned char *bytes, size_t size)
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

static uint64_t checksum(const struct ketama_image *header, const void *image)
{
    struct ketama_image covered = *header;
    covered.checksum = 0;
    covered.superseded = 0;
    return checksum_of(checksum_of(0, (const unsigned char *)&covered, sizeof covered),
                       (const unsigned char *)image + sizeof covered,
                       header->size_bytes - sizeof covered);
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
                                       const struct ketama_origin *origin)
{
    struct ketama_image header = {
        .format = KETAMA_IMAGE_FORMAT,
        .byte_order = BYTE_ORDER_MARK,
        .path_bytes = strlen(origin->path) + 1,
        .profile = profile->id,
        .server_count = servers->count,
        .point_count = points->count,
        .source = origin->source,
        .generation = origin->generation,
    };
    memcpy(header.magic, magic, sizeof magic);
    for (uint32_t i = 0; i < servers->count; i++)
        header.names_bytes += servers->at[i].length + 1;
    plan(&header);

    if (header.size_bytes > SIZE_MAX / 2)
        return NULL;
    unsigned char *bytes = aligned_alloc(ALIGNMENT, (size_t)header.size_bytes);
    if (bytes == NULL)
        return NULL;
    memset(bytes, 0, (size_t)header.size_bytes);

    struct ketama_image_server *to = (void *)(bytes + header.servers_at);
    write_servers(to, (char *)bytes + header.names_at, servers);
    write_shares(to, points->at, points->count);
    memcpy(bytes + header.points_at, points->at, points->count * sizeof(ketama_point));
    write_index((void *)(bytes + header.index_at), header.shift, points->at,
                points->count);
    memcpy(bytes + header.path_at, origin->path, header.path_bytes);

    header.checksum = checksum(&header, bytes);
    memcpy(bytes, &header, sizeof header);
    return (struct ketama_image *)(void *)bytes;
}

size_t ketama_image_size(const struct ketama_image *image)
{
    return (size_t)image->size_bytes;
}

/* Does the header describe an image of that size? Its counts decide where everything
 * must be; they are small enough for that to be computed without an overflow. */
static bool is_sound(const struct ketama_image *header, size_t size_bytes)
{
    struct ketama_image planned = *header;
    if (memcmp(header->magic, magic, sizeof magic) != 0 ||
        header->format != KETAMA_IMAGE_FORMAT || header->byte_order != BYTE_ORDER_MARK ||
        header->superseded != 0 || header->size_bytes != size_bytes ||
        header->server_count < 1 || header->server_count > KETAMA_SERVERS_MAX ||
        header->point_count < 1 || header->point_count > INT_MAX ||
        header->names_bytes > size_bytes || header->path_bytes < 1 ||
        header->path_bytes > size_bytes)
        return false;
    plan(&planned);
    return memcmp(&planned, header, sizeof planned) == 0;
}

/* Copies the header, which nobody changes then, and judges it without the rest. */
static bool read_header(struct ketama_image *header, const void *image,
                        size_t size_bytes, const struct ketama_profile *profile,
                        const char *path)
{
    if (size_bytes < sizeof *header)
        return false;
    memcpy(header, image, sizeof *header);
    return is_sound(header, size_bytes) && header->profile == profile->id &&
           header->path_bytes == strlen(path) + 1 &&
           memcmp((const char *)image + header->path_at, path, header->path_bytes) == 0;
}

bool ketama_image_origin(const void *image, size_t size_bytes,
                         const struct ketama_profile *profile, const char *path,
                         struct ketama_origin *origin)
{
    struct ketama_image header;
    if (!read_header(&header, image, size_bytes, profile, path))
        return false;
    *origin = (struct ketama_origin){path, header.source, header.generation};
    return true;
}

bool ketama_image_open(const void *image, size_t size_bytes,
                       const struct ketama_profile *profile, const char *path,
                       struct ketama_view *view)
{
    struct ketama_image header;
    const unsigned char *bytes = image;

    if (!read_header(&header, image, size_bytes, profile, path) ||
        header.checksum != checksum(&header, image))
        return false;
    *view = (struct ketama_view){
        .points = (const void *)(bytes + header.points_at),
        .index = (const void *)(bytes + header.index_at),
        .servers = (const void *)(bytes + header.servers_at),
        .names = (const char *)bytes + header.names_at,
        .superseded = &((const struct ketama_image *)image)->superseded,
        .names_bytes = header.names_bytes,
        .point_count = header.point_count,
        .server_count = header.server_count,
        .shift = header.shift,
    };
    return true;
}

bool ketama_image_identify(const void *image, size_t size_bytes,
                           struct ketama_origin *origin, uint32_t *server_count,
                           uint32_t *point_count)
{
    struct ketama_image header;
    if (size_bytes < sizeof header)
        return false;
    memcpy(&header, image, sizeof header);
    if (!is_sound(&header, size_bytes) || header.checksum != checksum(&header, image))
        return false;
    const char *path = (const char *)image + header.path_at;
    if (memchr(path, '\0', header.path_bytes) != path + header.path_bytes - 1)
        return false;
    *origin = (struct ketama_origin){path, header.source, header.generation};
    *server_count = header.server_count;
    *point_count = header.point_count;
    return true;
}

void ketama_image_free(struct ketama_image *image)
{
    free(image);
}

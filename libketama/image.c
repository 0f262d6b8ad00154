/*
 * image.c - ring <-> flat relocatable bytes
 *
 *     header | servers | arcs | index | strings | path | settings | stated
 *
 * It contains no pointers, only offsets from its first byte, so it may be mapped at any
 * suitably aligned address. It is written once and then only read, except for the mark
 * that says that there is a newer one. docs/image-format.md describes it byte by byte.
 */
#include "internal.h"

#include <limits.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "hash/hash.h"

enum { ALIGNMENT = 64, BYTE_ORDER_MARK = 0x01020304 };
static const char magic[8] = {'k', 'e', 't', 'a', 'm', 'a', '\r', '\n'};

struct ketama_image {
    char magic[8];
    uint32_t format;
    uint32_t byte_order;
    uint64_t size_bytes;
    uint64_t servers_at;
    uint64_t arcs_at;
    uint64_t index_at;
    uint64_t strings_at;
    uint64_t strings_bytes;
    uint64_t path_at;
    uint64_t path_bytes; /* including its NUL */
    uint64_t settings_at;
    uint64_t settings_bytes; /* including its NUL */
    uint32_t profile;
    uint32_t server_count;
    uint32_t arc_count;
    uint32_t first_point;
    uint32_t shift;
    uint32_t point_count;
    struct ketama_source source;
    uint64_t checksum; /* of all bytes except this field and the mark */
    uint64_t generation;
    uint64_t stated_at;
    uint64_t stated_bytes; /* including its NUL */
    unsigned char reserved[40];
    _Atomic uint32_t superseded; /* the mark, in a cache line of its own */
    unsigned char padding[60];
};

_Static_assert(sizeof(struct ketama_source) == 64, "no holes");
_Static_assert(offsetof(struct ketama_image, superseded) == KETAMA_SUPERSEDED_AT,
               "layout");
_Static_assert(sizeof(struct ketama_image) == KETAMA_HEADER_BYTES, "layout");

static uint64_t align(uint64_t offset)
{
    return (offset + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
}

/* Computes from the header's counts where everything goes. */
static void plan(struct ketama_image *image)
{
    image->shift = ketama_index_shift(image->arc_count, image->server_count);
    image->servers_at = align(sizeof *image);
    image->arcs_at = align(image->servers_at +
                           image->server_count * sizeof(struct ketama_image_server));
    image->index_at = align(
        image->arcs_at + (image->arc_count + (uint64_t)KETAMA_SLACK) * sizeof(uint32_t));
    image->strings_at =
        align(image->index_at + ketama_index_entries(image->shift) * sizeof(uint32_t));
    image->path_at = image->strings_at + image->strings_bytes;
    image->settings_at = image->path_at + image->path_bytes;
    image->stated_at = image->settings_at + image->settings_bytes;
    image->size_bytes = align(image->stated_at + image->stated_bytes);
}

static uint64_t checksum(const struct ketama_image *header, const void *image,
                         size_t size_bytes)
{
    struct ketama_image covered = *header;
    covered.checksum = 0;
    covered.superseded = 0;
    return ketama_checksum(
        ketama_checksum(0, (const unsigned char *)&covered, sizeof covered),
        (const unsigned char *)image + sizeof covered, size_bytes - sizeof covered);
}

/* Appends a NUL-terminated string; returns its offset. */
static uint32_t write_string(char *strings, uint32_t *at, const char *from,
                             uint32_t size)
{
    uint32_t begin = *at;
    memcpy(strings + begin, from, size);
    strings[begin + size] = '\0';
    *at += size + 1;
    return begin;
}

/* How many bytes write_servers() writes to the strings. */
static uint64_t strings_size(const struct ketama_server_list *servers)
{
    uint64_t size = 1;
    for (uint32_t i = 0; i < servers->count; i++)
        size +=
            servers->at[i].address_bytes + UINT64_C(1) +
            (servers->at[i].name != NULL ? servers->at[i].name_bytes + UINT64_C(1) : 0);
    return size;
}

static void write_servers(struct ketama_image_server *to, char *strings,
                          const struct ketama_server_list *servers,
                          const struct ketama_ring *ring)
{
    uint32_t at = 1; /* after the "" that stands for no name */
    for (uint32_t i = 0; i < servers->count; i++) {
        const struct ketama_listed *listed = &servers->at[i];
        to[i] = (struct ketama_image_server){
            .weight = listed->weight,
            .share = ring->shares_of[i],
            .points = ring->points_of[i],
            .address_at =
                write_string(strings, &at, listed->address, listed->address_bytes),
            .line = (uint32_t)listed->line,
        };
        if (listed->name != NULL)
            to[i].name_at = write_string(strings, &at, listed->name, listed->name_bytes);
    }
}

static void fill_info(struct ketama_image_info *info, const struct ketama_image *header,
                      const void *image)
{
    const unsigned char *bytes = image;
    uint32_t server_bits = ketama_server_bits(header->server_count);
    *info = (struct ketama_image_info){
        .source = header->source,
        .generation = header->generation,
        .identity =
            {
                .path = (const char *)bytes + header->path_at,
                .settings = (const char *)bytes + header->settings_at,
                .profile = header->profile,
            },
        .stated = {(const char *)bytes + header->stated_at,
                   (uint32_t)header->stated_bytes - 1},
        .view =
            {
                .arcs =
                    {
                        .words = (const void *)(bytes + header->arcs_at),
                        .index = (const void *)(bytes + header->index_at),
                        .count = header->arc_count,
                        .server_bits = server_bits,
                        .server_mask = (UINT32_C(1) << server_bits) - 1,
                        .shift = header->shift,
                    },
                .servers = (const void *)(bytes + header->servers_at),
                .strings = (const char *)bytes + header->strings_at,
                .superseded = &((const struct ketama_image *)image)->superseded,
                .strings_bytes = header->strings_bytes,
                .server_count = header->server_count,
                .first_point = header->first_point,
                .point_count = header->point_count,
                .image = image,
                .size_bytes = (size_t)header->size_bytes,
                .checksum = header->checksum,
                .path = (const char *)bytes + header->path_at,
            },
    };
}

struct ketama_image *ketama_image_make(const struct ketama_identity *identity,
                                       const struct ketama_server_list *servers,
                                       const struct ketama_ring *ring,
                                       const struct ketama_source *source,
                                       uint64_t generation,
                                       struct ketama_image_info *info)
{
    struct ketama_image header = {
        .format = KETAMA_IMAGE_FORMAT,
        .byte_order = BYTE_ORDER_MARK,
        .strings_bytes = strings_size(servers),
        .path_bytes = strlen(identity->path) + 1,
        .settings_bytes = strlen(identity->settings) + 1,
        .stated_bytes = servers->stated.bytes + UINT64_C(1),
        .profile = identity->profile,
        .server_count = servers->count,
        .arc_count = ring->arcs.count,
        .first_point = ring->first_point,
        .point_count = ring->point_count,
        .source = *source,
        .generation = generation,
    };
    memcpy(header.magic, magic, sizeof magic);
    plan(&header);

    if (header.size_bytes > SIZE_MAX / 2)
        return NULL;
    unsigned char *bytes = aligned_alloc(ALIGNMENT, (size_t)header.size_bytes);
    if (bytes == NULL)
        return NULL;
    memset(bytes, 0, (size_t)header.size_bytes);

    ketama_report_progress(servers);
    write_servers((void *)(bytes + header.servers_at), (char *)bytes + header.strings_at,
                  servers, ring);
    uint32_t *words = (void *)(bytes + header.arcs_at);
    memcpy(words, ring->arcs.words, ring->arcs.count * sizeof *words);
    words[ring->arcs.count] = words[0]; /* where a search ends that found none */
    memcpy(bytes + header.index_at, ring->arcs.index,
           (size_t)ketama_index_entries(header.shift) * sizeof *ring->arcs.index);
    memcpy(bytes + header.path_at, identity->path, (size_t)header.path_bytes);
    memcpy(bytes + header.settings_at, identity->settings,
           (size_t)header.settings_bytes);
    if (servers->stated.bytes > 0)
        memcpy(bytes + header.stated_at, servers->stated.at, servers->stated.bytes);

    ketama_report_progress(servers);
    header.checksum = checksum(&header, bytes, (size_t)header.size_bytes);
    memcpy(bytes, &header, sizeof header);
    fill_info(info, &header, bytes);
    return (struct ketama_image *)(void *)bytes;
}

size_t ketama_image_size(const struct ketama_image *image)
{
    return (size_t)image->size_bytes;
}

void ketama_image_free(struct ketama_image *image)
{
    free(image);
}

void ketama_image_locate(const struct ketama_image *image, const void *copy,
                         struct ketama_image_info *info)
{
    fill_info(info, image, copy);
}

/* Does the header describe an image of that size? Its counts decide where everything
 * must be, and are small enough for that to be computed without overflow. */
static bool is_sound(const struct ketama_image *header, size_t size_bytes)
{
    struct ketama_image planned = *header;
    if (memcmp(header->magic, magic, sizeof magic) != 0 ||
        header->format != KETAMA_IMAGE_FORMAT || header->byte_order != BYTE_ORDER_MARK ||
        header->superseded != 0 || header->size_bytes != size_bytes ||
        header->server_count < 1 || header->server_count > KETAMA_SERVERS_MAX ||
        header->arc_count < 1 || header->arc_count > INT_MAX ||
        header->first_point >= header->arc_count || header->point_count < 1 ||
        header->point_count > header->arc_count || header->strings_bytes < 1 ||
        header->strings_bytes > size_bytes || header->path_bytes < 1 ||
        header->path_bytes > size_bytes || header->settings_bytes < 1 ||
        header->settings_bytes > size_bytes || header->stated_bytes < 1 ||
        header->stated_bytes > KETAMA_SETTINGS_MAX)
        return false;
    plan(&planned);
    return memcmp(&planned, header, sizeof planned) == 0;
}

/* Copies the header, so that nobody can change it between check and use. */
static bool read_header(struct ketama_image *header, const void *image,
                        size_t size_bytes)
{
    if (size_bytes < sizeof *header)
        return false;
    memcpy(header, image, sizeof *header);
    return is_sound(header, size_bytes);
}

static bool holds_text(const void *image, uint64_t at, uint64_t size_bytes,
                       const char *text)
{
    return size_bytes == strlen(text) + 1 &&
           memcmp((const char *)image + at, text, (size_t)size_bytes) == 0;
}

bool ketama_image_read(const void *image, size_t size_bytes,
                       const struct ketama_identity *identity,
                       struct ketama_image_info *info)
{
    struct ketama_image header;
    if (!read_header(&header, image, size_bytes) ||
        header.profile != identity->profile ||
        !holds_text(image, header.path_at, header.path_bytes, identity->path) ||
        !holds_text(image, header.settings_at, header.settings_bytes,
                    identity->settings))
        return false;
    fill_info(info, &header, image);
    return true;
}

/* A string begins there: where another one ends. */
static bool begins_string(const struct ketama_view *view, uint32_t at)
{
    return at > 0 && at < view->strings_bytes && view->strings[at - 1] == '\0';
}

static bool has_valid_text(const struct ketama_view *view)
{
    for (uint32_t i = 0; i < view->server_count; i++)
        if (!begins_string(view, view->servers[i].address_at) ||
            (view->servers[i].name_at != 0 &&
             !begins_string(view, view->servers[i].name_at)))
            return false;
    return view->strings[view->strings_bytes - 1] == '\0' &&
           ketama_is_utf8(view->strings, (size_t)view->strings_bytes);
}

bool ketama_image_intact(const struct ketama_view *view)
{
    struct ketama_image header;
    memcpy(&header, view->image, sizeof header);
    return view->checksum == checksum(&header, view->image, view->size_bytes) &&
           has_valid_text(view);
}

bool ketama_image_has_header(const struct ketama_view *view)
{
    const struct ketama_image *header = view->image;
    return memcmp(header->magic, magic, sizeof magic) == 0 &&
           header->size_bytes == view->size_bytes && header->checksum == view->checksum;
}

/* Is there one NUL-terminated string, which fills all of its bytes? */
static bool is_string(const void *image, uint64_t at, uint64_t size_bytes)
{
    const char *text = (const char *)image + at;
    return memchr(text, '\0', (size_t)size_bytes) == text + size_bytes - 1;
}

bool ketama_image_read_identity(const void *image, size_t size_bytes,
                                struct ketama_identity *identity)
{
    struct ketama_image header;
    if (!read_header(&header, image, size_bytes) ||
        !is_string(image, header.path_at, header.path_bytes) ||
        !is_string(image, header.settings_at, header.settings_bytes))
        return false;
    *identity = (struct ketama_identity){
        .path = (const char *)image + header.path_at,
        .settings = (const char *)image + header.settings_at,
        .profile = header.profile,
    };
    return true;
}

bool ketama_image_outline(const unsigned char header[KETAMA_HEADER_BYTES],
                          size_t size_bytes, struct ketama_outline *outline)
{
    struct ketama_image image;
    if (size_bytes < sizeof image || !read_header(&image, header, size_bytes))
        return false;
    *outline = (struct ketama_outline){
        .path_at = image.path_at,
        .path_bytes = image.path_bytes,
        .generation = image.generation,
        .read_at_ns = image.source.read_at_ns,
        .servers = image.server_count,
        .points = image.point_count,
    };
    return true;
}

bool ketama_image_identify(const void *image, size_t size_bytes,
                           struct ketama_image_info *info)
{
    struct ketama_image header;
    if (!read_header(&header, image, size_bytes) ||
        !is_string(image, header.path_at, header.path_bytes) ||
        !is_string(image, header.settings_at, header.settings_bytes))
        return false;
    fill_info(info, &header, image);
    return ketama_image_intact(&info->view);
}

/*
 * image.c - fuzzes the check of untrusted images
 *
 * The first byte of the input selects a mode. 0: the rest is the image. Others: the rest
 * modifies a valid image, with three bytes per change (offset, offset, value). 2: the
 * checksum is then corrected, as an attacker would.
 */

#include "../image.c" /* for its private checksum() */
#include "../profile/profile.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool condition)
{
    if (!condition)
        abort();
}

static const struct ketama_identity identity = {"/p", "", 1};

static struct ketama_image *valid_image(void)
{
    struct ketama_listed at[] = {
        {.address = "a:1", .address_bytes = 3, .weight = 7, .line = 1},
        {.address = "b:1", .address_bytes = 3, .weight = 1, .line = 2},
        {.address = "a:1", .address_bytes = 3, .weight = 2, .line = 3},
        {.address = "longer:11211",
         .address_bytes = 12,
         .name = "n",
         .name_bytes = 1,
         .weight = 3,
         .line = 4}};
    const struct ketama_server_list servers = {
        .at = at, .count = 4, .capacity = 4, .total_weight = 13};
    const struct ketama_source source = {.read_at_ns = 0};
    struct ketama_image_info info;
    struct ketama_ring ring;
    ketama_failure failure;
    struct ketama_image *image = NULL;

    if (ketama_ring_make(&ketama_libketama, &servers, &ring, &failure) == KETAMA_OK)
        image = ketama_image_make(&identity, &servers, &ring, &source, 3, &info);
    ketama_ring_free(&ring);
    return image;
}

/* Nothing outside an image that passed the check is read. */
static void use(const struct ketama_view *view)
{
    struct ketama_handle c = {.view = *view, .dialect = ketama_libketama};
    uint32_t servers[8], point;
    ketama_key keys[40];
    uint32_t found[40];
    ketama_server server;
    char text[40];

    memset(text, 'k', sizeof text);
    for (uint32_t i = 0; i < 40; i++)
        keys[i] = (ketama_key){text, i};
    ketama_find_many(&c, keys, 40, found, NULL);
    for (uint32_t i = 0; i < 40; i++)
        must(found[i] == ketama_find(&c, text, i, &point) &&
             found[i] < view->server_count);
    for (uint64_t hash = 0; hash <= UINT32_MAX; hash += 0x01fffff1)
        must(ketama_find_hash(&c, (uint32_t)hash, &point) < view->server_count);
    must(ketama_successors(&c, text, 7, servers, 8) <= 8);
    for (uint32_t i = 0; i < view->server_count && i < 1000; i++)
        must(ketama_server_at(&c, i, &server) == KETAMA_OK &&
             strlen(server.address) < view->strings_bytes);
    ketama_point points[4];
    must(ketama_points(&c, view->arcs.count / 2, 4, points) <= 4);
    must(ketama_due(&c) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct ketama_image *image;
    struct ketama_image_info info;
    size_t bytes;

    if (size == 0)
        return 0;
    if (data[0] == 0) {
        bytes = size - 1;
        image = aligned_alloc(ALIGNMENT, align(bytes + 1));
    } else {
        image = valid_image();
        bytes = image != NULL ? ketama_image_size(image) : 0;
    }
    if (image == NULL)
        return 0;
    if (data[0] == 0) {
        memcpy(image, data + 1, bytes);
    } else {
        for (size_t i = 1; i + 2 < size; i += 3)
            ((unsigned char *)image)[((size_t)data[i] << 8 | data[i + 1]) % bytes] =
                data[i + 2];
        if (data[0] == 2 && image->size_bytes == bytes)
            image->checksum = checksum(image, image, bytes);
    }
    if (ketama_image_identify(image, bytes, &info))
        must(strlen(info.identity.path) < bytes && info.view.server_count > 0);
    if (ketama_image_read(image, bytes, &identity, &info) &&
        ketama_image_intact(&info.view))
        use(&info.view);
    free(image);
    return 0;
}

/*
 * test_image.c - untrusted images, and shared images
 */
#include "check.h"

#include <stddef.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static const struct ketama_identity identity = {
    .path = "/somewhere/ketama.servers", .settings = "hash=none", .profile = 1};

static uint64_t state =
    88172645463325252u; /* xorshift64: the same sequence every time */

static uint64_t chance(uint64_t below)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state % below;
}

/* An image of four servers. */
static struct ketama_image *made(void)
{
    struct ketama_listed listed[] = {LISTED("a:1", 1, 1), LISTED("b:1", 2, 2),
                                     LISTED("c:1", 3, 3), LISTED("d", 9, 5)};
    struct ketama_server_list servers = {.at = listed, .count = 4, .total_weight = 15};
    const struct ketama_source source = {.read_at_ns = 5};
    struct ketama_image_info info;
    struct ketama_ring ring;
    ketama_failure failure;

    listed[3].name = "named";
    listed[3].name_bytes = 5;
    CHECK_INT(KETAMA_OK, ketama_ring_make(&ketama_libketama, &servers, &ring, &failure));
    struct ketama_image *image =
        ketama_image_make(&identity, &servers, &ring, &source, 7, &info);
    ketama_ring_free(&ring);
    return image;
}

static bool opens_as(const struct ketama_identity *whose, const void *bytes, size_t size,
                     struct ketama_image_info *info)
{
    return ketama_image_read(bytes, size, whose, info) &&
           ketama_image_intact(&info->view);
}

static bool opens(const void *bytes, size_t size, struct ketama_view *view)
{
    struct ketama_image_info info;
    bool opened = opens_as(&identity, bytes, size, &info);
    if (opened)
        *view = info.view;
    return opened;
}

static void a_valid_image(void)
{
    struct ketama_image *image = made();
    struct ketama_image_info info;
    size_t size = ketama_image_size(image);

    CHECK(opens_as(&identity, image, size, &info));
    CHECK_INT(4, info.view.server_count);
    CHECK_INT(7, info.generation);
    CHECK_INT(5, info.source.read_at_ns);
    CHECK_INT(5, info.view.servers[3].line);
    CHECK_TEXT("named", info.view.strings + info.view.servers[3].name_at);
    CHECK_INT(0, info.view.servers[0].name_at);
    CHECK(!ketama_image_read(image, size - 1, &identity, &info));
    CHECK(!ketama_image_read(image, 0, &identity, &info));
    ketama_image_free(image);
}

/* An image stores the path, profile and settings that it was made for. */
static void an_identity_is_path_profile_and_settings(void)
{
    static const struct ketama_identity others[] = {
        {"/somewhere", "hash=none", 1},
        {"/somewhere/ketama.servers", "", 1},
        {"/somewhere/ketama.servers", "hash=some", 1},
        {"/somewhere/ketama.servers", "hash=none", 2},
    };
    struct ketama_image *image = made();
    struct ketama_image_info info;
    size_t size = ketama_image_size(image);
    char name[KETAMA_SLOT_NAME_MAX], other[KETAMA_SLOT_NAME_MAX];

    ketama_slot_name(name, &identity);
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        CHECK(!ketama_image_read(image, size, &others[i], &info));
        ketama_slot_name(other, &others[i]);
        CHECK(strcmp(name, other) != 0);
    }
    CHECK(ketama_image_identify(image, size, &info));
    CHECK_TEXT(identity.path, info.identity.path);
    CHECK_TEXT(identity.settings, info.identity.settings);
    CHECK_INT(identity.profile, info.identity.profile);
    ketama_image_free(image);
}

/* Any changed bit is detected, except in the four bytes of the mark. */
static void every_bit_counts(void)
{
    struct ketama_image *image = made();
    unsigned char *bytes = (unsigned char *)image;
    struct ketama_view view;
    size_t size = ketama_image_size(image);

    for (size_t at = 0; at < size; at++) {
        unsigned char bit = (unsigned char)(1u << chance(8));
        bytes[at] ^= bit;
        if (opens(image, size, &view)) {
            CHECK_INT(-1, at);
            break;
        }
        bytes[at] ^= bit;
    }
    CHECK(opens(image, size, &view));
    ketama_image_free(image);
}

/* Calls every function on the view, under the sanitizer. */
static void use(const struct ketama_view *view)
{
    struct ketama_handle handle = {.view = *view, .dialect = ketama_libketama};
    ketama_server server;
    ketama_point points[16];
    for (int i = 0; i < 50; i++)
        CHECK(ketama_find_hash(&handle, (uint32_t)chance(UINT64_C(1) << 32), NULL) <
              handle.view.server_count);
    for (uint32_t i = 0; i < 4; i++)
        if (ketama_server_at(&handle, i, &server) == KETAMA_OK)
            CHECK(strlen(server.address) < handle.view.strings_bytes);
    (void)ketama_points(&handle, (uint32_t)chance(1000), 16, points);
}

/* Ten thousand damaged images: if one is accepted, or damaged only after it was opened,
 * nothing outside it is read. */
static void damaged_images(void)
{
    struct ketama_image *image = made();
    size_t size = ketama_image_size(image);
    int opened = 0;

    for (int i = 0; i < 10000; i++) {
        struct ketama_view view;
        size_t cut = chance(4) == 0 ? (size_t)chance(size + 1) : size;
        unsigned char *copy = aligned_alloc(64, (cut + 64) / 64 * 64);
        if (copy == NULL)
            continue;
        memcpy(copy, image, cut);
        bool after = cut == size && chance(2) == 0;
        if (after)
            CHECK(opens(copy, size, &view));
        for (uint64_t changes = chance(20) + 1; cut > 4 && changes > 0; changes--) {
            uint32_t word = (uint32_t)chance(UINT64_C(1) << 32);
            if (chance(2) == 0)
                word = chance(2) == 0 ? UINT32_MAX : (uint32_t)chance(5);
            memcpy(copy + chance(cut - 4), &word, sizeof word);
        }
        if (after || opens(copy, cut, &view)) {
            use(&view);
            opened++;
        }
        free(copy);
    }
    CHECK(opened > 2000);
    ketama_image_free(image);
}

/* ---- Images of files */

static ketama_continuum opened_at(const char *file, unsigned flags)
{
    ketama_continuum c = NULL;
    const ketama_options options = {.size = sizeof options, .flags = flags};
    CHECK_INT(KETAMA_OK, ketama_open(&c, file, &options));
    return c;
}

static void other_handles_attach(void)
{
    const char *file = write_file("shared", "a:1 1\nb:1 1\n", 12);
    ketama_continuum first = opened_at(file, 0), second = opened_at(file, 0),
                     own = opened_at(file, KETAMA_PRIVATE);

    CHECK_INT(1, ketama_is_shared(first));
    CHECK_INT(1, ketama_is_shared(second));
    CHECK_INT(0, ketama_is_shared(own));
    CHECK_INT(ketama_find(own, "key", 3, NULL), ketama_find(first, "key", 3, NULL));
    ketama_close(first);
    CHECK_INT(ketama_find(own, "key", 3, NULL), ketama_find(second, "key", 3, NULL));
    ketama_close(second);
    ketama_close(own);
}

/* Changes one byte of a file's published image. */
static void damage(const char *file, long at)
{
    const struct ketama_identity whose = {file, "", 1};
    char folder[KETAMA_FOLDER_MAX], name[KETAMA_SLOT_NAME_MAX],
        image[KETAMA_FOLDER_MAX + KETAMA_SLOT_NAME_MAX + 1];
    (void)close(ketama_slot_folder(folder, false));
    ketama_slot_name(name, &whose);
    snprintf(image, sizeof image, "%s/%s", folder, name);
    FILE *stream = fopen(image, "r+b");
    CHECK(stream != NULL);
    if (stream == NULL)
        return;
    CHECK_INT(0, fseek(stream, at, SEEK_SET));
    int byte = fgetc(stream);
    CHECK_INT(0, fseek(stream, at, SEEK_SET));
    CHECK_INT(byte ^ 1, fputc(byte ^ 1, stream));
    CHECK_INT(0, fclose(stream));
}

/* If the header is valid and another byte is damaged, nobody attaches. */
static void a_damaged_image_is_replaced(void)
{
    const char *file = write_file("damaged", "a:1 1\nb:1 1\n", 12);
    ketama_continuum own = opened_at(file, KETAMA_PRIVATE);

    for (long at = 320; at < 2000; at += 123) {
        ketama_close(opened_at(file, 0));
        damage(file, at);
        ketama_continuum c = opened_at(file, 0);
        CHECK_INT(1, ketama_is_shared(c));
        for (uint64_t hash = 0; hash <= UINT32_MAX; hash += 0x1fffff) {
            uint32_t point, expected;
            CHECK_INT(ketama_find_hash(own, (uint32_t)hash, &expected),
                      ketama_find_hash(c, (uint32_t)hash, &point));
            CHECK_INT(expected, point);
        }
        CHECK_TEXT("a:1", first_address(c));
        ketama_close(c);
    }
    ketama_close(own);
}

static void the_mark_makes_a_handle_due_once(void)
{
    const char *file = write_file("marked", "a:1 1\n", 6);
    ketama_continuum watcher = opened_at(file, 0), plain = opened_at(file, 0), newer;

    ketama_follow(watcher, INT64_MAX);
    CHECK_INT(0, ketama_due(watcher));
    write_file("marked", "b:1 1\n", 6);
    CHECK_INT(0, ketama_due(watcher));
    ketama_continuum publisher = opened_at(file, 0);
    CHECK_INT(0, ketama_due(plain));
    CHECK_INT(1, ketama_due(watcher));
    CHECK_INT(0, ketama_due(watcher));
    CHECK_INT(KETAMA_CHANGED, ketama_refresh(watcher, &newer));
    CHECK_INT(0, ketama_due(newer));
    write_file("marked", "c:1 1\n", 6);
    ketama_close(publisher);
    publisher = opened_at(file, 0);
    CHECK_INT(1, ketama_due(newer)); /* it inherited the interval */
    ketama_close(newer);
    ketama_close(publisher);
    ketama_close(plain);
    ketama_close(watcher);
}

/* If the stamp does not prove that the text is the same, the text is compared. */
static void another_text_with_the_same_stamp(void)
{
    const char *file = write_file("racing", "a:1 1\n", 6);
    ketama_continuum first = opened_at(file, 0), second;

    ketama_follow(first, INT64_MAX);
    second = opened_at(file, 0);
    CHECK_INT(0, ketama_due(first)); /* it attached */
    ketama_close(second);
    reads_spoiled = 1;
    second = opened_at(file, 0);
    CHECK_INT(1, ketama_due(first)); /* it published another */
    CHECK_INT(0, reads_spoiled);
    ketama_close(second);
    ketama_close(first);
}

static void the_interval_makes_a_handle_due(void)
{
    const char *file = write_file("clocked", "a:1 1\n", 6);
    ketama_continuum c = opened_at(file, KETAMA_PRIVATE), newer;
    int due = 0;

    ketama_follow(c, 1);
    for (int i = 0; i < 100 && due == 0; i++) {
        usleep(1000);
        due = ketama_due(c);
    }
    CHECK_INT(1, due);
    ketama_follow(c, INT64_C(3600) * 1000000000);
    CHECK_INT(0, ketama_due(c));
    atomic_store(&c->checked_at, INT64_C(-3600) * 1000000000);
    CHECK_INT(KETAMA_OK, ketama_refresh(c, &newer)); /* this checked the file */
    CHECK_INT(0, ketama_due(c));
    ketama_close(c);
}

void run_image(void)
{
    RUN(a_valid_image);
    RUN(an_identity_is_path_profile_and_settings);
    RUN(every_bit_counts);
    RUN(damaged_images);
    RUN(other_handles_attach);
    RUN(a_damaged_image_is_replaced);
    RUN(the_mark_makes_a_handle_due_once);
    RUN(another_text_with_the_same_stamp);
    RUN(the_interval_makes_a_handle_due);
}

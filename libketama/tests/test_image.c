/*
 * test_image.c - bytes that somebody else wrote, and images that are shared
 */
#define _DEFAULT_SOURCE

#include <stddef.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../internal.h"
#include "check.h"

static const char path[] = "/somewhere/ketama.servers";

static uint64_t state = 88172645463325252u; /* xorshift64: the same row every time */

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
    struct ketama_listed listed[] = {
        {"a:1", 1, 3, 1}, {"b:1", 2, 3, 2}, {"c:1", 3, 3, 3}, {"d", 9, 1, 4}};
    struct ketama_server_list servers = {.at = listed, .count = 4, .total = 15};
    struct ketama_origin origin = {.path = path, .generation = 7};
    struct ketama_point_list points;
    struct ketama_flaw flaw;

    CHECK_INT(KETAMA_OK,
              ketama_points_make(&ketama_profile_libketama, &servers, &points, &flaw));
    struct ketama_image *image =
        ketama_image_make(&ketama_profile_libketama, &servers, &points, &origin);
    ketama_points_free(&points);
    return image;
}

static bool opens(const void *bytes, size_t size, struct ketama_view *view)
{
    return ketama_image_open(bytes, size, &ketama_profile_libketama, path, view);
}

static void a_good_one(void)
{
    struct ketama_image *image = made();
    struct ketama_profile other = ketama_profile_libketama;
    struct ketama_origin origin;
    struct ketama_view view;
    size_t size = ketama_image_size(image);

    CHECK(opens(image, size, &view));
    CHECK_INT(4, view.server_count);
    CHECK(ketama_image_origin(image, size, &ketama_profile_libketama, path, &origin));
    CHECK_INT(7, origin.generation);
    CHECK(!opens(image, size - 1, &view));
    CHECK(!opens(image, 0, &view));
    CHECK(
        !ketama_image_open(image, size, &ketama_profile_libketama, "/somewhere", &view));
    other.id = 2;
    CHECK(!ketama_image_open(image, size, &other, path, &view));
    ketama_image_free(image);
}

/* No change of any single bit goes unseen, but those of the mark's four bytes. */
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

/* Asks everything there is to ask, as a caller would; the sanitizer watches. */
static void use(const struct ketama_view *view)
{
    struct ketama_handle handle = {.view = *view, .profile = &ketama_profile_libketama};
    ketama_server server;
    ketama_point points[16];
    for (int i = 0; i < 50; i++)
        CHECK(ketama_find_hash(&handle, (uint32_t)chance(UINT64_C(1) << 32), NULL) <
              handle.view.server_count);
    for (uint32_t i = 0; i < 4; i++)
        if (ketama_server_at(&handle, i, &server) == KETAMA_OK)
            CHECK(strlen(server.address) < handle.view.names_bytes);
    (void)ketama_points(&handle, (uint32_t)chance(1000), 16, points);
}

/* Ten thousand damaged images: those that are refused are no matter; the others, and
 * those that were damaged after they had been opened, lead nowhere outside. */
static void damaged_images(void)
{
    struct ketama_image *image = made();
    size_t size = ketama_image_size(image);
    int opened = 0;

    for (int i = 0; i < 10000; i++) {
        struct ketama_view view;
        size_t cut = chance(4) == 0 ? chance(size + 1) : size;
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

/* ---- through files */

static ketama_continuum opened_at(const char *file, unsigned flags)
{
    ketama_continuum c = NULL;
    CHECK_INT(KETAMA_OK, ketama_open(&c, file, flags));
    return c;
}

static void others_attach(void)
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

static void the_mark_makes_it_due_once(void)
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
    CHECK_INT(1, ketama_due(newer)); /* it has inherited the following */
    ketama_close(newer);
    ketama_close(publisher);
    ketama_close(plain);
    ketama_close(watcher);
}

/* Where the stamp does not prove that the text is the same, the text has to. */
static void another_text_with_the_same_stamp(void)
{
    const char *file = write_file("racing", "a:1 1\n", 6);
    ketama_continuum first = opened_at(file, 0), second;

    ketama_follow(first, INT64_MAX);
    second = opened_at(file, 0);
    CHECK_INT(0, ketama_due(first)); /* it has attached */
    ketama_close(second);
    reads_spoiled = 2; /* with the lock, it looks once more */
    second = opened_at(file, 0);
    CHECK_INT(1, ketama_due(first)); /* it has published another */
    CHECK_INT(0, reads_spoiled);
    ketama_close(second);
    ketama_close(first);
}

static void the_clock_makes_it_due(void)
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
    atomic_store(&c->looked_ns, INT64_C(-3600) * 1000000000);
    CHECK_INT(KETAMA_OK, ketama_refresh(c, &newer)); /* which was a look at the file */
    CHECK_INT(0, ketama_due(c));
    ketama_close(c);
}

void run_image(void)
{
    RUN(a_good_one);
    RUN(every_bit_counts);
    RUN(damaged_images);
    RUN(others_attach);
    RUN(the_mark_makes_it_due_once);
    RUN(another_text_with_the_same_stamp);
    RUN(the_clock_makes_it_due);
}

/*
 * test_sharing.c - images that are damaged or forged, refreshes that hang, and the
 * builder's lock
 */
#include "check.h"

#include <fcntl.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../hash/hash.h"

static const int64_t second_ns = 1000000000;

static ketama_continuum opened(const char *file)
{
    ketama_continuum c = NULL;
    CHECK_INT(KETAMA_OK, ketama_open(&c, file, NULL));
    return c;
}

/* ---- A refresh that is in flight */

static ketama_continuum followed;
static unsigned asked;

static void long_ago(int64_t seconds)
{
    int64_t then = ketama_coarse_clock_ns() - seconds * second_ns;
    atomic_store(&followed->checked_at, INT64_MIN / 2);
    atomic_store(&followed->began_at, then);
}

static void ask_meanwhile(void)
{
    asked++;
    long_ago(59);
    CHECK_INT(0, ketama_due(followed));
    long_ago(61); /* it is lost: another one may try */
    CHECK_INT(1, ketama_due(followed));

    pid_t child = fork();
    int status = -1;
    if (child == 0) { /* where nobody refreshes */
        long_ago(1);
        _exit(ketama_due(followed) ? 0 : 1);
    }
    CHECK(child > 0 && waitpid(child, &status, 0) == child);
    CHECK_INT(0, status);
}

static void nobody_is_sent_after_a_refresh_that_hangs(void)
{
    const char *file = put("hanging", "a:1 1\n");
    ketama_continuum newer;

    followed = opened(file);
    ketama_follow(followed, 1);
    long_ago(1);
    CHECK_INT(1, ketama_due(followed));
    put("hanging", "b:1 1\n");
    asked = 0;
    before_open = ask_meanwhile;
    CHECK_INT(KETAMA_CHANGED, ketama_refresh(followed, &newer));
    before_open = NULL;
    CHECK(asked > 0);
    long_ago(0);
    CHECK_INT(1, ketama_due(followed)); /* it has ended */
    ketama_close(newer);
    ketama_close(followed);
}

/* Of refreshes that never end, each waits ten times as long for the next one. */
static void few_are_sent_after_refreshes_that_hang(void)
{
    static const int64_t patience[] = {60, 600, 6000, 60000, 60000, 60000};

    followed = opened(put("hanging", "a:1 1\n"));
    ketama_follow(followed, 1);
    for (size_t i = 0; i < sizeof patience / sizeof *patience; i++) {
        long_ago(1);
        atomic_store(&followed->checked_at, INT64_MIN / 2);
        if (i == 0)
            CHECK_INT(1, ketama_due(followed));
        (void)ketama_handle_begin_refresh(followed);
        long_ago(patience[i] - 1);
        CHECK_INT(0, ketama_due(followed));
        long_ago(patience[i] + 1);
        CHECK_INT(1, ketama_due(followed));
    }
    /* The latest one that ends makes up for all. */
    ketama_handle_end_refresh(followed, ketama_handle_begin_refresh(followed));
    long_ago(0);
    CHECK_INT(1, ketama_due(followed));
    ketama_close(followed);
}

/* The mark is not forgotten because of a refresh that began before it was set. */
static void a_mark_while_a_refresh_is_in_flight(void)
{
    const char *file = put("hanging", "a:1 1\n");
    followed = opened(file);
    ketama_follow(followed, INT64_MAX);
    unsigned begun = ketama_handle_begin_refresh(followed);
    put("hanging", "b:1 1\n");
    ketama_close(opened(file)); /* publishes */
    CHECK_INT(0, ketama_due(followed));
    ketama_handle_end_refresh(followed, begun);
    CHECK_INT(1, ketama_due(followed));
    CHECK_INT(0, ketama_due(followed));
    ketama_close(followed);
}

/* ---- Images that are damaged while they are mapped, or forged */

/* The path of a file's image, and its size. */
static const char *image_of(const char *file, size_t *size)
{
    static char path[KETAMA_FOLDER_MAX + KETAMA_SLOT_NAME_MAX + 1];
    const struct ketama_identity whose = {file, "", 1};
    char folder[KETAMA_FOLDER_MAX], name[KETAMA_SLOT_NAME_MAX];
    struct stat st = {.st_size = 0};
    (void)close(ketama_slot_folder(folder, false));
    ketama_slot_name(name, &whose);
    snprintf(path, sizeof path, "%s/%s", folder, name);
    CHECK_INT(0, stat(path, &st));
    *size = (size_t)st.st_size;
    return path;
}

/* Writes to the file's image, in place. */
static void write_at(const char *file, off_t at, const void *bytes, size_t size)
{
    size_t unused;
    int fd = open(image_of(file, &unused), O_RDWR | O_CLOEXEC);
    CHECK_INT((long long)size, pwrite(fd, bytes, size, at));
    CHECK_INT(0, close(fd));
}

static void zero_the_header(const char *file)
{
    static const char zeros[320];
    write_at(file, 0, zeros, sizeof zeros);
}

static void another_magic(const char *file)
{
    write_at(file, 0, "K", 1);
}

static void another_size(const char *file)
{
    write_at(file, 16, "\xff", 1);
}

static void another_checksum(const char *file)
{
    uint64_t none = 0;
    write_at(file, 184, &none, sizeof none);
}

#ifndef EMULATED
static void truncated_to(const char *file, off_t size)
{
    size_t unused;
    CHECK_INT(0, truncate(image_of(file, &unused), size));
}

static void nothing_left(const char *file)
{
    truncated_to(file, 0);
}

static void one_byte_left(const char *file)
{
    truncated_to(file, 0);
    write_at(file, 0, "\n", 1);
}

static void half_left(const char *file)
{
    size_t size;
    (void)image_of(file, &size);
    truncated_to(file, (off_t)(size / 2));
}
#endif

static void an_image_that_is_damaged_while_mapped(void)
{
    static void (*const damages[])(const char *) = {
        zero_the_header, another_magic, another_size, another_checksum,
#ifndef EMULATED /* qemu dies itself where a system call would fail with EFAULT */
        nothing_left,    one_byte_left, half_left,
#endif
    };
    for (size_t i = 0; i < sizeof damages / sizeof *damages; i++) {
        const char *file = put("mapped", "a:1 1\nb:1 1\nc:1 1\nd:1 1\n");
        ketama_continuum c = opened(file), own, newer = NULL, none = NULL;

        CHECK_INT(KETAMA_OK, ketama_open(&own, file, &private_copy));
        CHECK_INT(KETAMA_OK, ketama_refresh(c, &none));
        damages[i](file);
        CHECK_INT(KETAMA_CHANGED, ketama_refresh(c, &newer));
        if (newer != NULL) {
            CHECK_INT(1, ketama_is_shared(newer));
            for (uint64_t hash = 0; hash <= UINT32_MAX; hash += 0x1fffff)
                CHECK_INT(ketama_find_hash(own, (uint32_t)hash, NULL),
                          ketama_find_hash(newer, (uint32_t)hash, NULL));
            CHECK_INT(KETAMA_OK, ketama_refresh(newer, &none));
        }
        ketama_close(newer);
        ketama_close(own);
        ketama_close(c);
    }
}

/* If the server file is missing as well, that is the error. */
static void a_damaged_image_without_its_file(void)
{
    const char *file = put("mapped", "a:1 1\n");
    ketama_continuum c = opened(file), newer;
    zero_the_header(file);
    CHECK_INT(0, unlink(file));
    CHECK_INT(KETAMA_ESYSTEM, ketama_refresh(c, &newer));
    CHECK_INT(ENOENT, errno);
    ketama_close(c);
}

static const struct ketama_identity identity = {
    .path = "/f", .settings = "", .profile = 1};

/* An image of two servers, one of them named. */
static struct ketama_image *made(struct ketama_image_info *info)
{
    struct ketama_listed listed[] = {LISTED("\xc3\xa9:1", 1, 1), LISTED("b:1", 2, 2)};
    struct ketama_server_list servers = {.at = listed, .count = 2, .total_weight = 3};
    const struct ketama_source source = {.read_at_ns = 5};
    struct ketama_ring ring;
    ketama_failure failure;

    listed[1].name = "name";
    listed[1].name_bytes = 4;
    CHECK_INT(KETAMA_OK, ketama_ring_make(&ketama_libketama, &servers, &ring, &failure));
    struct ketama_image *image =
        ketama_image_make(&identity, &servers, &ring, &source, 7, info);
    ketama_ring_free(&ring);
    return image;
}

/* Corrects the checksum, as an attacker would, and reads the image. */
static bool opens_forged(struct ketama_image *image, size_t size)
{
    struct ketama_image_info info;
    unsigned char *bytes = (unsigned char *)image;
    enum { HEADER = 320, CHECKSUM_AT = 184 };

    memset(bytes + CHECKSUM_AT, 0, sizeof(uint64_t));
    uint64_t sum = ketama_checksum(ketama_checksum(0, bytes, HEADER), bytes + HEADER,
                                   size - HEADER);
    memcpy(bytes + CHECKSUM_AT, &sum, sizeof sum);
    return ketama_image_read(image, size, &identity, &info) &&
           ketama_image_intact(&info.view);
}

/* Each field of the header is checked by itself, not only by the checksum. */
static void forged_headers(void)
{
    static const struct {
        size_t at, bytes;
        uint64_t value;
    } fields[] = {
        {0, 1, 'K'},          {8, 4, 1},           {8, 4, 4},
        {12, 4, 0x04030201},  {16, 8, 0},          {24, 8, 0},
        {24, 8, 384},         {32, 8, UINT64_MAX}, {40, 8, 0},
        {48, 8, 1 << 20},     {56, 8, 0},          {56, 8, UINT64_MAX},
        {56, 8, 1 << 20},     {64, 8, 0},          {64, 8, UINT64_MAX},
        {72, 8, 0},           {72, 8, UINT64_MAX}, {80, 8, 0},
        {88, 8, 0},           {88, 8, UINT64_MAX}, {96, 4, 2},
        {100, 4, 0},          {100, 4, 3},         {100, 4, KETAMA_SERVERS_MAX + 1},
        {100, 4, UINT32_MAX}, {104, 4, 0},         {104, 4, 1u << 31},
        {104, 4, UINT32_MAX}, {108, 4, 316},       {108, 4, UINT32_MAX},
        {112, 4, 0},          {112, 4, 32},        {112, 4, 33},
        {256, 4, 1},
    };
    struct ketama_image_info info;
    struct ketama_image *image = made(&info);
    size_t size = ketama_image_size(image);
    unsigned char *bytes = (unsigned char *)image, kept[8];

    CHECK(opens_forged(image, size));
    CHECK_INT(316, info.view.arcs.count);
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
        uint32_t word = (uint32_t)fields[i].value;
        memcpy(kept, bytes + fields[i].at, sizeof kept);
        if (fields[i].bytes == sizeof word)
            memcpy(bytes + fields[i].at, &word, sizeof word);
        else
            memcpy(bytes + fields[i].at, &fields[i].value, fields[i].bytes);
        if (opens_forged(image, size)) {
            CHECK_INT(-1, fields[i].at);
            CHECK_INT(-1, fields[i].value);
        }
        memcpy(bytes + fields[i].at, kept, sizeof kept);
    }
    CHECK(opens_forged(image, size));
    ketama_image_free(image);
}

/* Addresses and names are whole strings of UTF-8. */
static void forged_text(void)
{
    struct ketama_image_info info;
    struct ketama_image *image = made(&info);
    struct ketama_image_server *servers =
        (struct ketama_image_server *)(uintptr_t)info.view.servers;
    char *strings = (char *)(uintptr_t)info.view.strings;
    size_t size = ketama_image_size(image), last = (size_t)info.view.strings_bytes - 1;

    uint32_t *offsets[] = {&servers[0].address_at, &servers[1].name_at};
    const uint32_t wrong[] = {2, (uint32_t)last + 1, UINT32_MAX};
    for (size_t i = 0; i < 2; i++)
        for (size_t w = 0; w < sizeof wrong / sizeof *wrong; w++) {
            uint32_t kept = *offsets[i];
            *offsets[i] = wrong[w];
            CHECK(!opens_forged(image, size));
            *offsets[i] = kept;
        }
    servers[1].address_at = 0; /* while a name of 0 is none */
    CHECK(!opens_forged(image, size));
    servers[1].address_at = 6;
    CHECK(opens_forged(image, size));
    for (size_t i = 1; i <= last; i++) {
        char kept = strings[i];
        strings[i] = '\xff';
        CHECK(!opens_forged(image, size));
        strings[i] = kept;
    }
    strings[last] = 'x'; /* not terminated */
    CHECK(!opens_forged(image, size));
    ketama_image_free(image);
}

/* ---- The builder's lock */

static void remove_once(int folder, const char *name)
{
    after_openat = NULL;
    CHECK_INT(0, unlinkat(folder, name, 0));
}

static void the_lock_is_the_file_of_that_name(void)
{
    const struct ketama_identity whose = {scratch_path("locked"), "", 1};
    struct ketama_slot first, second;
    struct ketama_progress seen = {0, 0}, later = {0, 0};

    CHECK(ketama_slot_open(&first, &whose) && ketama_slot_open(&second, &whose));
    after_openat = remove_once; /* as if it was broken between opening and locking */
    CHECK_INT(KETAMA_LOCK_BUSY, ketama_slot_lock(&first, &seen));
    CHECK_INT(KETAMA_LOCK_HELD, ketama_slot_lock(&first, &seen));
    CHECK_INT(KETAMA_LOCK_BUSY, ketama_slot_lock(&second, &seen));
    CHECK_INT(KETAMA_LOCK_BUSY, ketama_slot_lock(&second, &later));
    CHECK(seen.inode == later.inode && seen.mtime_ns == later.mtime_ns);
    while (later.mtime_ns == seen.mtime_ns) { /* its holder works */
        ketama_slot_touch(&first);
        CHECK_INT(KETAMA_LOCK_BUSY, ketama_slot_lock(&second, &later));
    }

    struct ketama_progress other = {later.inode + 1, later.mtime_ns};
    CHECK(ketama_slot_break_lock(&second, &other)); /* it is another one by now, */
    CHECK(ketama_slot_break_lock(&second, &seen));  /* or its holder has worked */
    CHECK_INT(KETAMA_LOCK_BUSY, ketama_slot_lock(&second, &later));
    CHECK(ketama_slot_break_lock(&second, &later));
    CHECK_INT(KETAMA_LOCK_HELD, ketama_slot_lock(&second, &later));
    CHECK(later.inode != seen.inode);
    ketama_slot_unlock(&first);
    CHECK_INT(KETAMA_LOCK_BUSY, ketama_slot_lock(&first, &later));
    ketama_slot_close(&second);
    CHECK_INT(KETAMA_LOCK_HELD, ketama_slot_lock(&first, &later));
    ketama_slot_close(&first);
}

/* As under some emulators, and in some file systems. */
static void a_lock_whose_times_are_rounded(void)
{
    fstat_rounds_times = true;
    the_lock_is_the_file_of_that_name();
    fstat_rounds_times = false;
}

/* A call that signals interrupt again and again fails in the end. */
static void endless_interrupts(void)
{
    ketama_continuum c;
    const char *file = put("storm", "a:1 1\n");
    reads_interrupted = 100;
    CHECK_INT(KETAMA_OK, ketama_open(&c, file, &private_copy));
    ketama_close(c);
    reads_interrupted = INT32_MAX;
    CHECK_INT(KETAMA_ESYSTEM, ketama_open(&c, file, &private_copy));
    CHECK_INT(EINTR, errno);
    reads_interrupted = 0;
}

void run_sharing(void)
{
    RUN(nobody_is_sent_after_a_refresh_that_hangs);
    RUN(few_are_sent_after_refreshes_that_hang);
    RUN(a_mark_while_a_refresh_is_in_flight);
    RUN(an_image_that_is_damaged_while_mapped);
    RUN(a_damaged_image_without_its_file);
    RUN(forged_headers);
    RUN(forged_text);
    RUN(the_lock_is_the_file_of_that_name);
    RUN(a_lock_whose_times_are_rounded);
    RUN(endless_interrupts);
}

/*
 * test_published.c - listing, finding and removing published images
 */
#include "check.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "../admin/admin.h"

/* The listed image of a server file, or the file with that ending; state -1: none. */
static ketama_published listed(const char *path, const char *ending)
{
    static char file[KETAMA_FOLDER_MAX], server_file[KETAMA_FOLDER_MAX];
    char name[KETAMA_SLOT_NAME_MAX];
    ketama_published found = {.file = file, .path = server_file, .state = -1};
    ketama_published **images;
    char *folder;
    size_t count;

    ketama_slot_name(name, &(struct ketama_identity){path, "", 1});
    CHECK_INT(KETAMA_OK, ketama_list_published(&folder, &images, &count));
    for (size_t i = 0; i < count; i++) {
        size_t at = strlen(folder) + 1;
        CHECK(strncmp(images[i]->file, folder, at - 1) == 0);
        if (strncmp(images[i]->file + at, name, strlen(name)) != 0 ||
            strcmp(images[i]->file + at + strlen(name), ending) != 0)
            continue;
        found = *images[i];
        found.file = strcpy(file, images[i]->file);
        found.path = strcpy(server_file, images[i]->path);
    }
    ketama_free_published(folder, images, count);
    return found;
}

static void publish(const char *path)
{
    ketama_continuum c;
    CHECK_INT(KETAMA_OK, ketama_open(&c, path, NULL));
    CHECK_INT(1, ketama_is_shared(c));
    ketama_close(c);
}

/* The path of a file in the image directory. */
static const char *beside(const char *path, const char *ending)
{
    static char file[2 * KETAMA_FOLDER_MAX];
    char folder[KETAMA_FOLDER_MAX], name[KETAMA_SLOT_NAME_MAX];
    (void)close(ketama_slot_folder(folder, true));
    ketama_slot_name(name, &(struct ketama_identity){path, "", 1});
    snprintf(file, sizeof file, "%s/%s%s", folder, name, ending);
    return file;
}

static int create(const char *file)
{
    int fd = open(file, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    CHECK(fd >= 0);
    CHECK_INT(4, write(fd, "text", 4));
    return fd;
}

/* Makes a file older than those that may be in use. */
static void make_old(const char *file)
{
    struct timespec times[2] = {{.tv_sec = time(NULL) - 10},
                                {.tv_sec = time(NULL) - 10}};
    CHECK_INT(0, utimensat(AT_FDCWD, file, times, 0));
}

static void states_follow_the_server_file(void)
{
    const char *path = put("published.servers", "a:1 1\nb:1 1\n");
    CHECK_INT(-1, listed(path, "").state);
    publish(path);
    ketama_published image = listed(path, "");
    struct stat st;

    CHECK_INT(KETAMA_IMAGE_CURRENT, image.state);
    CHECK_TEXT(path, image.path);
    CHECK_INT(1, image.generation);
    CHECK_INT(2, image.servers);
    CHECK_INT(320, image.points);
    CHECK_INT(0, stat(image.file, &st));
    CHECK_INT(st.st_size, image.size_bytes);
    CHECK(image.made_ns > INT64_C(1700000000) * 1000000000);
    CHECK_INT(-1, listed(path, ".lock").state);

    put("published.servers", "a:1 1\nb:1 1\nc:1 1\n");
    CHECK_INT(KETAMA_IMAGE_STALE, listed(path, "").state);
    CHECK_INT(KETAMA_CHANGED, ketama_remove_published(image.file));
    publish(path);
    image = listed(path, "");
    CHECK_INT(KETAMA_IMAGE_CURRENT, image.state);
    CHECK_INT(2, image.generation);
    CHECK_INT(KETAMA_CHANGED, ketama_remove_published(image.file));

    CHECK_INT(0, unlink(path));
    CHECK_INT(KETAMA_IMAGE_ORPHAN, listed(path, "").state);
}

static void removing_an_orphan_notifies_processes_that_have_it(void)
{
    const char *path = put("orphan.servers", "a:1 1\n");
    ketama_continuum c;
    CHECK_INT(KETAMA_OK, ketama_open(&c, path, NULL));
    ketama_follow(c, INT64_C(3600) * 1000000000);
    CHECK_INT(0, unlink(path));
    ketama_published image = listed(path, "");
    CHECK_INT(KETAMA_IMAGE_ORPHAN, image.state);

    CHECK_INT(0, ketama_due(c));
    CHECK_INT(KETAMA_OK, ketama_remove_published(image.file));
    CHECK_INT(1, ketama_due(c));
    CHECK_TEXT("a:1", first_address(c));
    CHECK_INT(-1, listed(path, "").state);
    CHECK(access(beside(path, ".lock"), F_OK) != 0);
    CHECK_INT(KETAMA_CHANGED, ketama_remove_published(image.file));
    ketama_close(c);
}

static void a_builder_is_not_disturbed(void)
{
    const char *path = put("building.servers", "a:1 1\n");
    publish(path);
    int lock = open(beside(path, ".lock"), O_RDWR | O_CLOEXEC);
    CHECK_INT(0, flock(lock, LOCK_EX));
    CHECK_INT(0, unlink(path));
    CHECK_INT(KETAMA_CHANGED, ketama_remove_published(listed(path, "").file));
    CHECK_INT(KETAMA_IMAGE_ORPHAN, listed(path, "").state);
    CHECK_INT(0, unlink(beside(path, "")));
    CHECK_INT(-1, listed(path, ".lock").state);
    make_old(beside(path, ".lock"));
    CHECK_INT(-1, listed(path, ".lock").state);
    CHECK_INT(0, close(lock));
    CHECK_INT(KETAMA_IMAGE_ORPHAN, listed(path, ".lock").state);
    CHECK_INT(KETAMA_OK, ketama_remove_published(listed(path, ".lock").file));
    CHECK_INT(-1, listed(path, ".lock").state);
}

static void the_file_of_a_killed_publisher_is_an_orphan(void)
{
    const char *path = put("killed.servers", "a:1 1\n");
    publish(path);
    int fd = create(beside(path, "-12-ab"));
    CHECK_INT(-1, listed(path, "-12-ab").state); /* too recent to be a leftover */
    make_old(beside(path, "-12-ab"));
    CHECK_INT(0, flock(fd, LOCK_EX));
    CHECK_INT(-1, listed(path, "-12-ab").state);
    CHECK_INT(KETAMA_CHANGED, ketama_remove_published(beside(path, "-12-ab")));
    CHECK_INT(0, access(beside(path, "-12-ab"), F_OK));
    CHECK_INT(0, close(fd));
    ketama_published left = listed(path, "-12-ab");
    CHECK_INT(KETAMA_IMAGE_ORPHAN, left.state);
    CHECK_INT(4, left.size_bytes);
    CHECK_TEXT("", left.path);
    CHECK_INT(KETAMA_OK, ketama_remove_published(left.file));
    CHECK_INT(-1, listed(path, "-12-ab").state);
    /* the published image and its lock are unchanged */
    CHECK_INT(KETAMA_IMAGE_CURRENT, listed(path, "").state);
    CHECK_INT(0, access(beside(path, ".lock"), F_OK));
}

static void a_damaged_image_is_an_orphan(void)
{
    const char *path = put("damaged.servers", "a:1 1\n");
    publish(path);
    int fd = open(beside(path, ""), O_RDWR | O_CLOEXEC);
    CHECK_INT(1, pwrite(fd, "x", 1, 300));
    CHECK_INT(0, close(fd));
    ketama_published image = listed(path, "");
    CHECK_INT(KETAMA_IMAGE_ORPHAN, image.state);
    CHECK_TEXT("", image.path);
    CHECK_INT(0, image.generation);
    CHECK_INT(KETAMA_OK, ketama_remove_published(image.file));
    publish(path);
    CHECK_INT(KETAMA_IMAGE_CURRENT, listed(path, "").state);

    /* Another path's image under this path's file name is an orphan. */
    const char *other = put("other.servers", "b:1 1\n");
    char from[2 * KETAMA_FOLDER_MAX];
    publish(other);
    strcpy(from, beside(path, ""));
    CHECK_INT(0, rename(from, beside(other, "")));
    CHECK_INT(KETAMA_IMAGE_ORPHAN, listed(other, "").state);
    CHECK_INT(KETAMA_OK, ketama_remove_published(beside(other, "")));
}

static void other_files_are_left_alone(void)
{
    const char *path = put("ours.servers", "a:1 1\n");
    char file[2 * KETAMA_FOLDER_MAX];
    strcpy(file, beside(path, ""));
    file[strlen(file) - 1] = '9'; /* a later format */
    CHECK_INT(0, close(create(file)));
    ketama_published **images;
    char *folder;
    size_t count, others = 0;
    CHECK_INT(KETAMA_OK, ketama_list_published(&folder, &images, &count));
    for (size_t i = 0; i < count; i++)
        others += strcmp(images[i]->file, file) == 0 &&
                  images[i]->state == KETAMA_IMAGE_FOREIGN;
    ketama_free_published(folder, images, count);
    CHECK_INT(1, others);
    CHECK_INT(KETAMA_CHANGED, ketama_remove_published(file));
    CHECK_INT(0, unlink(file));

    static const char *const strange[] = {
        "note.txt",
        "0123456789abcdef0123456789abcdef",
        "0123456789abcdef0123456789abcdef-",
        "0123456789abcdef0123456789abcdef-1",
        "0123456789abcdef0123456789abcdef-1.",
        "0123456789abcdef0123456789abcdef-1.3x",
        "0123456789abcdef0123456789abcdef-1.3.lock2",
        "0123456789abcdef0123456789abcdef-1.3-5",
        "0123456789abcdef0123456789abcdef-1.111111111111111111111111111111",
        "0123456789ABCDEF0123456789abcdef-1.3"};
    for (size_t i = 0; i < sizeof strange / sizeof *strange; i++) {
        (void)beside(path, "");
        strcpy(file, beside(path, ""));
        strcpy(strrchr(file, '/') + 1, strange[i]);
        CHECK_INT(0, close(create(file)));
        CHECK_INT(KETAMA_CHANGED, ketama_remove_published(file));
        CHECK_INT(0, ketama_list_published(&folder, &images, &count));
        for (size_t j = 0; j < count; j++)
            CHECK(strcmp(images[j]->file, file) != 0);
        ketama_free_published(folder, images, count);
        CHECK_INT(0, unlink(file));
    }
    CHECK_INT(KETAMA_CHANGED, ketama_remove_published("/etc/passwd"));
    CHECK_INT(KETAMA_CHANGED, ketama_remove_published(""));

    /* A directory with a name of the same length; a live image's lock; a missing file.
     */
    CHECK_INT(0, unlink(path));
    strcpy(file, beside(path, ""));
    publish(put("ours.servers", "a:1 1\n"));
    CHECK_INT(0, unlink(path));
    file[1] = 'X';
    CHECK_INT(KETAMA_CHANGED, ketama_remove_published(file));
    CHECK_INT(KETAMA_CHANGED, ketama_remove_published(beside(path, ".lock")));
    CHECK_INT(0, access(beside(path, ".lock"), F_OK));
    CHECK_INT(KETAMA_OK, ketama_remove_published(beside(path, "")));
    CHECK_INT(KETAMA_CHANGED, ketama_remove_published(beside(path, "")));
    CHECK(access(beside(path, ".lock"), F_OK) != 0);
}

static void an_image_is_an_orphan_where_its_folder_is_now_a_file(void)
{
    const char *folder = scratch_path("sub");
    char path[256];
    snprintf(path, sizeof path, "%s/k", folder);
    CHECK_INT(0, mkdir(folder, 0700));
    CHECK_INT(0, close(create(path)));
    put("sub/k", "a:1 1\n");
    publish(path);
    CHECK_INT(0, unlink(path));
    CHECK_INT(0, rmdir(folder));
    put("sub", "a file");
    CHECK_INT(KETAMA_IMAGE_ORPHAN, listed(path, "").state);
    CHECK_INT(0, unlink(folder));
}

/* If descriptors run out, an image cannot be read; that does not make it an orphan. */
static void without_descriptors_nothing_is_an_orphan(void)
{
    const char *path = put("few.servers", "a:1 1\n");
    struct rlimit limit, few;
    ketama_published **images;
    char *folder;
    size_t count;
    int failed = 0;
    publish(path);
    char file[2 * KETAMA_FOLDER_MAX];
    strcpy(file, beside(path, ""));
    int lowest = dup(0);
    CHECK_INT(0, close(lowest));

    CHECK_INT(0, getrlimit(RLIMIT_NOFILE, &limit));
    for (int spare = 0; spare < 5; spare++) {
        few = (struct rlimit){(rlim_t)(lowest + spare), limit.rlim_max};
        CHECK_INT(0, setrlimit(RLIMIT_NOFILE, &few));
        int removed = ketama_remove_published(file);
        int status = ketama_list_published(&folder, &images, &count);
        CHECK_INT(0, setrlimit(RLIMIT_NOFILE, &limit));
        CHECK(removed == KETAMA_CHANGED || removed == KETAMA_ESYSTEM);
        CHECK(status == KETAMA_OK || status == KETAMA_ESYSTEM);
        failed += status != KETAMA_OK;
        for (size_t i = 0; i < count; i++)
            CHECK(strcmp(images[i]->file, file) != 0 ||
                  images[i]->state == KETAMA_IMAGE_CURRENT);
        ketama_free_published(folder, images, count);
    }
    CHECK(failed > 0 && failed < 5);
    CHECK_INT(KETAMA_IMAGE_CURRENT, listed(path, "").state);
}

/* The number of images that this process has mapped. */
static int mapped(void)
{
    char line[512];
    int count = 0;
    FILE *maps = fopen("/proc/self/maps", "r");
    while (maps != NULL && fgets(line, sizeof line, maps) != NULL)
        count += strstr(line, "/libketama-") != NULL && strstr(line, "-1.3") != NULL;
    if (maps != NULL)
        CHECK_INT(0, fclose(maps));
    return count;
}

/* And leaves no mapping behind. */
static void listing_does_not_change_errno_or_the_last_failure(void)
{
    const char *path = put("quiet.servers", "a:1 1\n");
    publish(path);
    CHECK_INT(0, unlink(path));
    int before = mapped();
    ketama_failure failure;
    (void)ketama_set_system_failure(&failure, ENOSPC, NULL);
    (void)ketama_store_failure(KETAMA_ESYSTEM, "before", &failure);
    CHECK_INT(KETAMA_IMAGE_ORPHAN, listed(path, "").state);
    CHECK_INT(ENOSPC, errno);
    CHECK_TEXT("before: No space left on device", ketama_error());
    CHECK_INT(before, mapped());
}

static void without_memory_nothing_is_returned(void)
{
    publish(put("memory.servers", "a:1 1\n"));
    ketama_published **images;
    char *folder;
    size_t count;
    int fails = 1, out_of_memory = 0;

    for (bool failed = true; failed; fails++) {
        fail_allocation(fails);
        int status = ketama_list_published(&folder, &images, &count);
        failed = allocation_failed();
        fail_allocation(0);
        CHECK_INT(failed, status != KETAMA_OK);
        if (status == KETAMA_ESYSTEM) /* from opendir(3) */
            CHECK_INT(ENOMEM, ketama_last_failure()->system_errno);
        CHECK((count > 0) == !failed && (folder != NULL) == !failed);
        out_of_memory += failed;
        ketama_free_published(folder, images, count);
    }
    CHECK(out_of_memory > 3);
}

static void an_image_is_found_by_its_path(void)
{
    const char *path = put("found.servers", "a:1 1\nb:1 1\n");
    ketama_published *image;
    char working_folder[KETAMA_FOLDER_MAX], *name;

    CHECK_INT(KETAMA_OK, ketama_find_published(path, NULL, &image));
    CHECK(image == NULL);
    publish(path);
    CHECK_INT(KETAMA_OK, ketama_find_published(path, NULL, &image));
    CHECK(image != NULL);
    CHECK_TEXT(beside(path, ""), image->file);
    CHECK_TEXT(path, image->path);
    CHECK_INT(KETAMA_IMAGE_CURRENT, image->state);
    CHECK_INT(1, image->generation);
    CHECK_INT(2, image->servers);
    CHECK_INT(320, image->points);
    ketama_free_image(image);

    /* A relative path is resolved as by ketama_open(). */
    CHECK(getcwd(working_folder, sizeof working_folder) != NULL);
    name = strrchr(path, '/');
    *name = '\0';
    CHECK_INT(0, chdir(path));
    *name = '/';
    CHECK_INT(KETAMA_OK, ketama_find_published(name + 1, NULL, &image));
    CHECK(image != NULL && strcmp(path, image->path) == 0);
    ketama_free_image(image);
    CHECK_INT(0, chdir(working_folder));

    ketama_options options = {.size = sizeof options, .profile = "nonesuch"};
    CHECK_INT(KETAMA_EOPTION, ketama_find_published(path, &options, &image));
    CHECK(image == NULL);
    put("found.servers", "a:1 2\nb:1 1\n");
    CHECK_INT(KETAMA_OK, ketama_find_published(path, NULL, &image));
    CHECK(image != NULL && image->state == KETAMA_IMAGE_STALE);
    ketama_free_image(image);
    CHECK_INT(0, unlink(beside(path, "")));
    CHECK_INT(KETAMA_OK, ketama_find_published(path, NULL, &image));
    CHECK(image == NULL);
    ketama_free_image(NULL);
}

/* Whether there is an image of a path with these options. */
static bool is_published(const char *path, const char *options)
{
    char *openings;
    size_t size, at = 0;
    bool found = false;
    CHECK_INT(KETAMA_OK, ketama_published_openings(&openings, &size));
    while (at < size) {
        const char *its_path = openings + at, *its_options;
        at += strlen(its_path) + 1;
        its_options = openings + at;
        at += strlen(its_options) + 1;
        found |= strcmp(its_path, path) == 0 && strcmp(its_options, options) == 0;
    }
    free(openings);
    return found;
}

static bool path_is_published(const char *path)
{
    return is_published(path, "");
}

static void publish_with(const char *path, const char *settings)
{
    ketama_options options = {.size = sizeof options, .settings = settings};
    ketama_continuum c;
    CHECK_INT(KETAMA_OK, ketama_open(&c, path, &options));
    CHECK_INT(1, ketama_is_shared(c));
    ketama_close(c);
}

static void options_of_images_are_listed(void)
{
    static const char seeded[] = "points=80 seed=\"a b\" profile=memcached-proxy";
    char states[256], silent[256];

    /* Neither the key's hash nor what the file states is part of the choice. */
    strcpy(states, put("states.servers", "#ketama profile=memcached-proxy\na:1 1\n"));
    publish_with(states, seeded);
    CHECK(is_published(states, "points=80"));
    CHECK(!is_published(states, ""));
    publish_with(states, "");
    CHECK(is_published(states, ""));

    strcpy(silent, put("silent.servers", "a:1 1\n"));
    publish_with(silent, seeded);
    CHECK(is_published(silent, "profile=memcached-proxy points=80"));
    CHECK(!is_published(silent, ""));
}

static void published_images_are_listed(void)
{
    char path[256];
    strcpy(path, put("listed.servers", "a:1 1\n"));
    CHECK(!path_is_published(path));
    publish(path);
    CHECK(path_is_published(path));
    publish(put("listed2.servers", "a:1 1\n"));
    CHECK(path_is_published(path));

    /* Only the header is read, and it must make sense. */
    int fd = open(beside(path, ""), O_RDWR | O_CLOEXEC);
    CHECK_INT(1, pwrite(fd, "x", 1, 300));
    CHECK(path_is_published(path));
    CHECK_INT(1, pwrite(fd, "x", 1, 0));
    CHECK(!path_is_published(path));
    CHECK_INT(0, ftruncate(fd, 100));
    CHECK(!path_is_published(path));
    CHECK_INT(0, close(fd));
    CHECK_INT(0, unlink(beside(path, "")));
}

static void without_memory_nothing_is_found(void)
{
    const char *path = put("memory2.servers", "a:1 1\n");
    ketama_published *image;
    char *paths;
    size_t size;
    publish(path);
    for (int fails = 1; fails <= 4; fails++) {
        fail_allocation(fails);
        CHECK_INT(KETAMA_ENOMEM, ketama_find_published(path, NULL, &image));
        CHECK(allocation_failed() && image == NULL);
        fail_allocation(0);
    }
    for (bool failed = true, first = true; failed; first = false) {
        fail_allocation(first ? 1 : 1000);
        int status = ketama_published_openings(&paths, &size);
        failed = allocation_failed();
        fail_allocation(0);
        CHECK_INT(failed, status != KETAMA_OK);
        CHECK((paths == NULL) == failed && (size == 0) == failed);
        free(paths);
    }
}

static void without_a_directory_the_list_is_empty(void)
{
    char *kept = strdup(getenv("KETAMA_SHM_DIR")), *folder;
    ketama_published **images;
    size_t count;
    char empty[KETAMA_FOLDER_MAX];

    snprintf(empty, sizeof empty, "%s/empty", kept);
    CHECK_INT(0, mkdir(empty, 0700));
    CHECK_INT(0, setenv("KETAMA_SHM_DIR", empty, 1));
    CHECK_INT(KETAMA_OK, ketama_list_published(&folder, &images, &count));
    CHECK(folder == NULL && images == NULL);
    CHECK_INT(0, count);
    ketama_published *image = &(ketama_published){0};
    CHECK_INT(KETAMA_OK, ketama_find_published("/x", NULL, &image));
    CHECK(image == NULL);
    CHECK_INT(KETAMA_OK, ketama_published_openings(&folder, &count));
    CHECK(folder == NULL && count == 0);
    CHECK_INT(KETAMA_CHANGED, ketama_remove_published("/x/0123"));
    CHECK_INT(0, rmdir(empty)); /* listing created nothing in it */
    CHECK_INT(0, setenv("KETAMA_SHM_DIR", kept, 1));
    free(kept);
}

void run_published(void)
{
    RUN(states_follow_the_server_file);
    RUN(removing_an_orphan_notifies_processes_that_have_it);
    RUN(a_builder_is_not_disturbed);
    RUN(the_file_of_a_killed_publisher_is_an_orphan);
    RUN(a_damaged_image_is_an_orphan);
    RUN(other_files_are_left_alone);
    RUN(an_image_is_an_orphan_where_its_folder_is_now_a_file);
    RUN(without_descriptors_nothing_is_an_orphan);
    RUN(listing_does_not_change_errno_or_the_last_failure);
    RUN(without_memory_nothing_is_returned);
    RUN(an_image_is_found_by_its_path);
    RUN(published_images_are_listed);
    RUN(options_of_images_are_listed);
    RUN(without_memory_nothing_is_found);
    RUN(without_a_directory_the_list_is_empty);
}

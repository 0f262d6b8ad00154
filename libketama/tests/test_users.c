/*
 * test_users.c - listing the images of all users, some of them hostile
 */
#include "check.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum { OTHER = 12345, WRONG = 12346 };

/* A folder of images of a user, open. */
static int folder_of(uid_t user, uid_t owner, mode_t mode)
{
    char path[KETAMA_FOLDER_MAX];
    snprintf(path, sizeof path, "%s/libketama-%lu", getenv("KETAMA_SHM_DIR"),
             (unsigned long)user);
    CHECK_INT(0, mkdir(path, 0700));
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    CHECK_INT(0, fchmod(fd, mode));
    CHECK_INT(0, fchown(fd, owner, owner));
    return fd;
}

/* A file in it, with these bytes. */
static void plant(int folder, const char *name, const void *bytes, size_t size,
                  uid_t owner, mode_t mode)
{
    int fd = openat(folder, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    CHECK_INT(size, write(fd, bytes, size));
    CHECK_INT(0, fchmod(fd, mode));
    CHECK_INT(0, fchown(fd, owner, owner));
    CHECK_INT(0, close(fd));
}

/* The bytes of a valid image, of "/srv/x", and their number. */
static unsigned char *image_bytes(size_t *size)
{
    const char *path = put("users.servers", "a:1 1\nb:1 1\n");
    ketama_published *image;
    ketama_continuum c;
    CHECK_INT(KETAMA_OK, ketama_open(&c, path, NULL));
    ketama_close(c);
    CHECK_INT(KETAMA_OK, ketama_find_published(path, NULL, &image));
    *size = (size_t)image->size_bytes;
    unsigned char *bytes = malloc(*size);
    int fd = open(image->file, O_RDONLY | O_CLOEXEC);
    CHECK_INT(*size, read(fd, bytes, *size));
    CHECK_INT(0, close(fd));
    ketama_free_image(image);
    return bytes;
}

/* Plants an image whose header is sound, and whose path is longer than any. */
static void plant_long_path(int folder, const char *name, const unsigned char *image)
{
    enum { SIZE_AT = 16, PATH_AT = 64, SETTINGS_AT = 80, STATED_AT = 200 };
    uint64_t path[2], settings[2], stated[2]; /* offset and bytes */
    memcpy(path, image + PATH_AT, sizeof path);
    memcpy(settings, image + SETTINGS_AT, sizeof settings);
    memcpy(stated, image + STATED_AT, sizeof stated);
    path[1] = 1 << 20;
    settings[0] = path[0] + path[1];
    stated[0] = settings[0] + settings[1];
    uint64_t size = (stated[0] + stated[1] + 63) / 64 * 64;
    unsigned char *bytes = calloc(1, (size_t)size);
    memcpy(bytes, image, KETAMA_HEADER_BYTES);
    memcpy(bytes + SIZE_AT, &size, sizeof size);
    memcpy(bytes + PATH_AT, path, sizeof path);
    memcpy(bytes + SETTINGS_AT, settings, sizeof settings);
    memcpy(bytes + STATED_AT, stated, sizeof stated);
    plant(folder, name, bytes, (size_t)size, OTHER, 0600);
    free(bytes);
}

/* The listed image whose file ends in that; NULL: none. */
static const ketama_published *listed(ketama_published **images, size_t count,
                                      const char *ending)
{
    for (size_t i = 0; i < count; i++) {
        size_t length = strlen(images[i]->file);
        if (length >= strlen(ending) &&
            strcmp(images[i]->file + length - strlen(ending), ending) == 0)
            return images[i];
    }
    return NULL;
}

static size_t count_of(ketama_published **images, size_t count, uid_t user)
{
    size_t found = 0;
    for (size_t i = 0; i < count; i++)
        found += images[i]->user == user;
    return found;
}

#define NAME(digit)       digit "0123456789abcdef0123456789abcde-1.3"
#define IN(folder, digit) "/libketama-" folder "/" NAME(digit)

static void own_images_are_checked(void)
{
    ketama_published **images;
    size_t count, size;
    free(image_bytes(&size));
    CHECK_INT(KETAMA_OK, ketama_list_all_published(&images, &count));
    CHECK(count > 0);
    bool current = false;
    for (size_t i = 0; i < count; i++) {
        CHECK_INT(geteuid(), images[i]->user);
        current |= images[i]->state == KETAMA_IMAGE_CURRENT;
    }
    CHECK(current);
    ketama_free_published(NULL, images, count);
}

/* Two names of one place are one place. */
static void a_place_is_listed_once(void)
{
    size_t size, once = 0, twice;
    ketama_published **images;
    char kept[200], link[300];

    if (access("/dev/shm", W_OK) != 0) {
        printf("skipped: a_place_is_listed_once, for there is no /dev/shm\n");
        return;
    }
    free(image_bytes(&size));
    snprintf(kept, sizeof kept, "%s", getenv("KETAMA_SHM_DIR"));
    snprintf(link, sizeof link, "%s/dev-shm", kept);
    CHECK_INT(0, symlink("/dev/shm", link));
    CHECK_INT(0, unsetenv("KETAMA_SHM_DIR"));
    for (int i = 0; i < 2; i++) {
        CHECK_INT(0, setenv("TMPDIR", i == 0 ? "/nowhere" : link, 1));
        CHECK_INT(KETAMA_OK, ketama_list_all_published(&images, &twice));
        if (i == 0)
            once = twice;
        ketama_free_published(NULL, images, twice);
    }
    CHECK_INT(once, twice);
    CHECK_INT(0, unsetenv("TMPDIR"));
    CHECK_INT(0, setenv("KETAMA_SHM_DIR", kept, 1));
}

/* Only root can make files of several users. */
static bool is_root(void)
{
    if (geteuid() != 0)
        printf("skipped: images of other users, which only root can make\n");
    return geteuid() == 0;
}

/* Only regular files of the folder's owner are read, and nothing of them believed. */
static void what_others_planted_is_only_looked_at(void)
{
    if (!is_root())
        return;
    size_t size, count;
    ketama_published **images;
    unsigned char *bytes = image_bytes(&size);
    int other = folder_of(OTHER, OTHER, 0700);

    plant(other, NAME("1"), bytes, size, OTHER, 0600);
    plant(other, NAME("2"), bytes, size, 0, 0600);     /* a hard link, maybe */
    plant(other, NAME("3"), bytes, size, OTHER, 0666); /* anybody's */
    plant(other, NAME("4"), bytes, 100, OTHER, 0600);  /* truncated */
    plant(other, "planted", bytes, size, OTHER, 0600); /* not an image's name */
    plant_long_path(other, NAME("a"), bytes);
    CHECK_INT(0, symlinkat(NAME("1"), other, NAME("5")));
    CHECK_INT(0, mkfifoat(other, NAME("6"), 0600));
    CHECK_INT(0, fchownat(other, NAME("6"), OTHER, OTHER, AT_SYMLINK_NOFOLLOW));
    CHECK_INT(0, mkdirat(other, NAME("7"), 0700));
    bytes[size / 2] ^= 1; /* the checksum would tell */
    plant(other, NAME("8"), bytes, size, OTHER, 0600);
    memset(bytes + 72, 0xff, 8); /* the length of its path */
    plant(other, NAME("9"), bytes, size, OTHER, 0600);

    CHECK_INT(KETAMA_OK, ketama_list_all_published(&images, &count));
    CHECK_INT(5, count_of(images, count, OTHER));
    for (size_t i = 0; i < count; i++)
        CHECK_INT(images[i]->user == OTHER, images[i]->state == KETAMA_IMAGE_UNCHECKED);
    const ketama_published *good = listed(images, count, IN("12345", "1")),
                           *damaged = listed(images, count, IN("12345", "8")),
                           *cut = listed(images, count, IN("12345", "4")),
                           *wild = listed(images, count, IN("12345", "9"));
    CHECK(good != NULL && damaged != NULL && cut != NULL && wild != NULL);
    CHECK_INT(2, good->servers);
    CHECK_INT(320, good->points);
    CHECK(good->generation > 0);
    CHECK_INT(size, good->size_bytes);
    CHECK(good->made_ns > 0);
    CHECK_TEXT(scratch_path("users.servers"), good->path);
    CHECK_INT(2, damaged->servers);
    CHECK_TEXT("", cut->path);
    CHECK_INT(0, cut->servers);
    CHECK_TEXT("", wild->path);
    CHECK(listed(images, count, IN("12345", "a")) != NULL);
    CHECK_INT(0, listed(images, count, IN("12345", "a"))->servers);
    ketama_free_published(NULL, images, count);
    CHECK_INT(0, close(other));
    free(bytes);
}

/* A folder counts only if its name, owner and mode agree. */
static void folders_that_are_nobodys_are_passed_over(void)
{
    if (!is_root())
        return;
    size_t size, count;
    ketama_published **images;
    unsigned char *bytes = image_bytes(&size);
    char name[KETAMA_FOLDER_MAX], to[KETAMA_FOLDER_MAX];
    const struct {
        uid_t user, owner;
        mode_t mode;
    } folders[] = {{WRONG, OTHER, 0700}, {WRONG + 1, WRONG + 1, 0755}};

    for (size_t i = 0; i < 2; i++) {
        int fd = folder_of(folders[i].user, folders[i].owner, folders[i].mode);
        plant(fd, NAME("1"), bytes, size, folders[i].owner, 0600);
        CHECK_INT(0, close(fd));
    }
    snprintf(to, sizeof to, "%s/elsewhere", getenv("KETAMA_SHM_DIR"));
    CHECK_INT(0, mkdir(to, 0700));
    int fd = open(to, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    plant(fd, NAME("1"), bytes, size, WRONG + 2, 0600);
    CHECK_INT(0, fchown(fd, WRONG + 2, WRONG + 2));
    CHECK_INT(0, close(fd));
    static const char *const links[] = {"12348", "012348", "12348x", "99999999999"};
    for (size_t i = 0; i < 4; i++) {
        snprintf(name, sizeof name, "%s/libketama-%s", getenv("KETAMA_SHM_DIR"),
                 links[i]);
        CHECK_INT(0, symlink(to, name));
    }
    CHECK_INT(KETAMA_OK, ketama_list_all_published(&images, &count));
    for (uid_t user = WRONG; user <= WRONG + 2; user++)
        CHECK_INT(0, count_of(images, count, user));
    ketama_free_published(NULL, images, count);
    free(bytes);
}

static void without_memory_nothing_is_listed(void)
{
    ketama_published **images;
    size_t count;
    int out_of_memory = 0;

    for (bool failed = true; failed; out_of_memory += failed) {
        fail_allocation(out_of_memory + 1);
        int status = ketama_list_all_published(&images, &count);
        failed = allocation_failed();
        fail_allocation(0);
        CHECK_INT(failed, status != KETAMA_OK);
        CHECK((images != NULL) == !failed && (count > 0) == !failed);
        ketama_free_published(NULL, images, count);
    }
    CHECK(out_of_memory > 3);
}

void run_users(void)
{
    RUN(own_images_are_checked);
    RUN(a_place_is_listed_once);
    RUN(what_others_planted_is_only_looked_at);
    RUN(folders_that_are_nobodys_are_passed_over);
    RUN(without_memory_nothing_is_listed);
}

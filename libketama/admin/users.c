/*
 * users.c - lists the images of all users, for root
 *
 * Another user may have put anything there, and this process runs as root. So it only
 * reads: no link is followed, no FIFO waited for, nothing mapped (which a truncation
 * would turn into a signal), locked or written, and no path of an image opened.
 */
#include "admin.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { IMAGES_MAX = 10000, PATH_BYTES_MAX = 1 << 16 };

static bool read_fully_at(int fd, void *to, size_t size, uint64_t at)
{
    return pread(fd, to, size, (off_t)at) == (ssize_t)size;
}

/* Fills *image from a header, as far as it makes sense. False: no memory. */
static bool read_outline(int fd, ketama_published *image)
{
    unsigned char header[KETAMA_HEADER_BYTES];
    struct ketama_outline outline;

    if (image->size_bytes > SIZE_MAX / 2 ||
        !read_fully_at(fd, header, sizeof header, 0) ||
        !ketama_image_outline(header, (size_t)image->size_bytes, &outline) ||
        outline.path_bytes > PATH_BYTES_MAX)
        return true;
    char *path = calloc(1, (size_t)outline.path_bytes + 1);
    if (path == NULL)
        return false;
    (void)read_fully_at(fd, path, (size_t)outline.path_bytes, outline.path_at);
    image->path = path;
    image->generation = outline.generation;
    image->made_ns = outline.read_at_ns;
    image->servers = outline.servers;
    image->points = outline.points;
    return true;
}

/* Reads one entry of another user's folder. KETAMA_CHANGED: nothing to be listed. */
static int read_entry(int folder, const char *name, uid_t user, ketama_published *image)
{
    const int flags = O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY;
    size_t base;
    struct stat st;
    enum ketama_kind kind = ketama_kind_of(name, &base);
    int status = KETAMA_CHANGED, fd;

    if (kind != KETAMA_NAME_IMAGE && kind != KETAMA_NAME_FOREIGN)
        return KETAMA_CHANGED;
    fd = openat(folder, name, flags);
    if (fd < 0)
        return ketama_is_out_of_resources(errno) ? KETAMA_ESYSTEM : KETAMA_CHANGED;
    if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_uid == user &&
        (st.st_mode & 022) == 0 && st.st_size >= 0) {
        *image = (ketama_published){
            .size_bytes = (uint64_t)st.st_size,
            .state = kind == KETAMA_NAME_FOREIGN ? KETAMA_IMAGE_FOREIGN
                                                 : KETAMA_IMAGE_UNCHECKED,
            .user = (uint32_t)user,
        };
        status = kind == KETAMA_NAME_FOREIGN || read_outline(fd, image) ? KETAMA_OK
                                                                        : KETAMA_ENOMEM;
    }
    (void)close(fd); /* it was only read from */
    return status;
}

static int list_folder_of(uid_t user, DIR *folder, const char *path,
                          struct ketama_list *list)
{
    const size_t limit = list->count + IMAGES_MAX;
    struct dirent *entry;
    ketama_published image;

    while (errno = 0, list->count < limit && (entry = readdir(folder)) != NULL) {
        int status = read_entry(dirfd(folder), entry->d_name, user, &image);
        if (status == KETAMA_OK && !ketama_append(list, &image, path, entry->d_name))
            status = KETAMA_ENOMEM;
        if (status < KETAMA_OK)
            return status;
    }
    return errno == 0 ? KETAMA_OK : KETAMA_ESYSTEM;
}

/* Whose folder is named so? */
static bool user_of(const char *name, uid_t *user)
{
    char expected[64];
    unsigned long number = 0;

    if (sscanf(name, "libketama-%lu", &number) != 1)
        return false;
    *user = (uid_t)number;
    snprintf(expected, sizeof expected, "libketama-%lu", (unsigned long)*user);
    return strcmp(name, expected) == 0;
}

/* Lists the folder of that name in a location, if it is a user's. */
static int list_name(int location, const char *path, const char *name,
                     struct ketama_list *list)
{
    const int flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK;
    char full[KETAMA_FOLDER_MAX];
    int fd, length, status;
    uid_t user;

    if (!user_of(name, &user))
        return KETAMA_OK;
    length = snprintf(full, sizeof full, "%s/%s", path, name);
    fd = openat(location, name, flags);
    if (fd < 0)
        return ketama_is_out_of_resources(errno) ? KETAMA_ESYSTEM : KETAMA_OK;
    bool is_users =
        length > 0 && (size_t)length < sizeof full && ketama_slot_is_folder_of(fd, user);
    DIR *folder = is_users ? fdopendir(fd) : NULL;
    if (folder == NULL) {
        int saved = errno;
        (void)close(fd);
        errno = saved;
        return is_users ? KETAMA_ESYSTEM : KETAMA_OK;
    }
    status = user == geteuid() ? ketama_list_folder(folder, full, list)
                               : list_folder_of(user, folder, full, list);
    int saved = errno;
    (void)closedir(folder);
    errno = saved;
    return status;
}

/* The locations that were listed: two paths may lead to one. */
struct locations {
    struct ketama_file at[8];
    unsigned count;
};

static bool was_listed(struct locations *locations, int location)
{
    struct stat st;
    if (fstat(location, &st) != 0)
        return false;
    for (unsigned i = 0; i < locations->count; i++)
        if (locations->at[i].device == (uint64_t)st.st_dev &&
            locations->at[i].inode == (uint64_t)st.st_ino)
            return true;
    if (locations->count < sizeof locations->at / sizeof *locations->at)
        locations->at[locations->count++] =
            (struct ketama_file){(uint64_t)st.st_dev, (uint64_t)st.st_ino};
    return false;
}

/* A location that does not exist or cannot be read has no images. */
static int list_location(const char *path, struct locations *locations,
                         struct ketama_list *list)
{
    struct dirent *entry;
    DIR *location = opendir(path);
    int status = KETAMA_OK;

    if (location == NULL)
        return ketama_is_out_of_resources(errno) ? KETAMA_ESYSTEM : KETAMA_OK;
    if (was_listed(locations, dirfd(location))) {
        (void)closedir(location);
        return KETAMA_OK;
    }
    while (status == KETAMA_OK && (errno = 0, (entry = readdir(location)) != NULL))
        status = list_name(dirfd(location), path, entry->d_name, list);
    if (status == KETAMA_OK && errno != 0)
        status = KETAMA_ESYSTEM;
    int saved = errno;
    (void)closedir(location);
    errno = saved;
    return status;
}

int ketama_list_all_published(ketama_published ***images, size_t *count)
{
    struct ketama_list list = {NULL, 0, 0};
    struct locations locations = {.count = 0};
    const char *path, *failed = NULL;
    int status = KETAMA_OK, kept = errno;

    *images = NULL;
    *count = 0;
    for (int rank = 0;
         status == KETAMA_OK && (path = ketama_slot_location(rank)) != NULL; rank++) {
        status = list_location(path, &locations, &list);
        failed = path;
    }
    status = ketama_hand_over(&list, status, failed, images, count);
    if (status == KETAMA_OK)
        errno = kept;
    return status;
}

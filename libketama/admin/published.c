/*
 * published.c - the list of what is published on this machine, and the removal of what
 * nobody uses
 *
 * For operators: no lookup comes this way.
 */
#include "admin.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int fail_system(const char *path, int system_errno)
{
    ketama_failure failure;
    ketama_set_system_failure(&failure, system_errno, NULL);
    return ketama_store_failure(KETAMA_ESYSTEM, path, &failure);
}

/* ---- the list */

struct list {
    ketama_published **at;
    size_t count;
    size_t room;
};

static char *join(const char *folder, const char *name)
{
    size_t size = strlen(folder) + strlen(name) + sizeof "/";
    char *path = malloc(size);
    if (path != NULL)
        snprintf(path, size, "%s/%s", folder, name);
    return path;
}

static void free_image(ketama_published *image)
{
    if (image != NULL) {
        free(image->file);
        free(image->path);
    }
    free(image);
}

/* Takes over what the image has allocated. False: no memory. */
static bool append(struct list *list, const ketama_published *image, const char *folder,
                   const char *name)
{
    ketama_published *copy = malloc(sizeof *copy);
    if (copy == NULL) {
        free(image->path);
        return false;
    }
    *copy = *image;
    copy->file = join(folder, name);
    if (copy->path == NULL)
        copy->path = strdup("");
    if (list->count == list->room) {
        size_t room = list->room > 0 ? 2 * list->room : 16;
        ketama_published **at = realloc(list->at, room * sizeof(void *));
        if (at != NULL) {
            list->at = at;
            list->room = room;
        }
    }
    if (copy->file == NULL || copy->path == NULL || list->count == list->room) {
        free_image(copy);
        return false;
    }
    list->at[list->count++] = copy;
    return true;
}

static int list_folder(DIR *folder, const char *path, struct list *list)
{
    struct ketama_slot slot = {.folder = dirfd(folder), .lock = -1};
    struct dirent *name;
    struct ketama_entry entry;

    while (errno = 0, (name = readdir(folder)) != NULL) {
        int status = ketama_inspect(&slot, name->d_name, &entry);
        if (status == KETAMA_OK && !append(list, &entry.image, path, name->d_name))
            status = KETAMA_ENOMEM;
        if (status < KETAMA_OK)
            return status;
    }
    return errno == 0 ? KETAMA_OK : KETAMA_ESYSTEM;
}

/* The list of an open folder; closes it. */
static int list_open(int fd, const char *path, struct list *list)
{
    DIR *folder = fdopendir(fd);
    if (folder == NULL) {
        int saved = errno;
        (void)close(fd);
        errno = saved;
        return KETAMA_ESYSTEM;
    }
    int status = list_folder(folder, path, list), saved = errno;
    (void)closedir(folder);
    errno = saved;
    return status;
}

/* It is there, or may be, and can't be opened now. */
static bool is_short_of_something(int system_errno)
{
    return system_errno == EMFILE || system_errno == ENFILE || system_errno == ENOMEM;
}

int ketama_list_published(char **folder, ketama_published ***images, size_t *count)
{
    char path[KETAMA_FOLDER_MAX] = "";
    struct list list = {NULL, 0, 0};
    int status, kept = errno, fd = ketama_slot_folder(path, false);

    *folder = NULL;
    *images = NULL;
    *count = 0;
    if (fd < 0 && !is_short_of_something(errno)) {
        errno = kept;
        return KETAMA_OK;
    }
    status = fd < 0 ? KETAMA_ESYSTEM : list_open(fd, path, &list);
    if (status == KETAMA_OK) {
        *folder = strdup(path);
        status = *folder != NULL ? KETAMA_OK : KETAMA_ENOMEM;
    }
    if (status != KETAMA_OK) {
        int saved = errno;
        ketama_free_published(NULL, list.at, list.count);
        return status == KETAMA_ESYSTEM ? fail_system(path, saved)
                                        : ketama_store_failure(status, NULL, NULL);
    }
    errno = kept;
    *images = list.at;
    *count = list.count;
    return KETAMA_OK;
}

void ketama_free_published(char *folder, ketama_published **images, size_t count)
{
    for (size_t i = 0; i < count; i++)
        free_image(images[i]);
    free(images);
    free(folder);
}

/* ---- the removal */

/* With the builder's lock in hand, which keeps all away but those who have lost their
 * patience with it; so it is the file that was looked at that is removed, or none. */
static int remove_locked(struct ketama_slot *slot, const char *name, bool is_lock)
{
    char lock[KETAMA_SLOT_NAME_MAX + sizeof ".lock"];
    struct ketama_slot looked = *slot;
    struct ketama_entry entry;
    struct stat st;

    if (!is_lock) {
        int status = ketama_inspect(&looked, name, &entry);
        if (status != KETAMA_OK)
            return status;
        free(entry.image.path);
        if (entry.image.state != KETAMA_IMAGE_ORPHAN)
            return KETAMA_CHANGED;
        switch (ketama_segment_remove(slot, name, &entry.file)) {
        case KETAMA_FOUND:
            break;
        case KETAMA_FAILED:
            return KETAMA_ESYSTEM;
        default:
            return KETAMA_CHANGED;
        }
    }
    if (fstatat(slot->folder, slot->name, &st, AT_SYMLINK_NOFOLLOW) == 0)
        return is_lock ? KETAMA_CHANGED : KETAMA_OK;
    snprintf(lock, sizeof lock, "%s.lock", slot->name);
    (void)unlinkat(slot->folder, lock, 0);
    return KETAMA_OK;
}

/* The name, if the file is one in that folder; else NULL. */
static const char *name_in(const char *folder, const char *file)
{
    size_t length = strlen(folder);
    return strncmp(folder, file, length) == 0 && file[length] == '/' ? file + length + 1
                                                                     : NULL;
}

int ketama_remove_published(const char *file)
{
    char folder[KETAMA_FOLDER_MAX];
    struct ketama_slot slot = {.folder = ketama_slot_folder(folder, false), .lock = -1};
    int status = KETAMA_CHANGED;
    size_t base;
    struct stat st;

    if (slot.folder < 0)
        return is_short_of_something(errno) ? fail_system(file, errno) : KETAMA_CHANGED;
    const char *name = name_in(folder, file);
    enum ketama_kind kind =
        name != NULL ? ketama_kind_of(name, &base) : KETAMA_NAME_NONE;
    if ((kind == KETAMA_NAME_IMAGE || kind == KETAMA_NAME_LOCK ||
         kind == KETAMA_NAME_UNFINISHED) &&
        fstatat(slot.folder, name, &st, AT_SYMLINK_NOFOLLOW) == 0) {
        memcpy(slot.name, name, base);
        slot.name[base] = '\0';
        if (ketama_slot_lock(&slot) == KETAMA_LOCK_HELD)
            status = remove_locked(&slot, name, kind == KETAMA_NAME_LOCK);
    }
    int saved = errno;
    ketama_slot_close(&slot);
    if (status == KETAMA_ESYSTEM)
        return fail_system(file, saved);
    return status == KETAMA_ENOMEM ? ketama_store_failure(status, NULL, NULL) : status;
}

/*
 * published.c - list and find this user's published images
 *
 * For operators; lookups do not use it.
 */
#include "admin.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int ketama_fail_system(const char *path, int system_errno)
{
    ketama_failure failure;
    ketama_set_system_failure(&failure, system_errno, NULL);
    return ketama_store_failure(KETAMA_ESYSTEM, path, &failure);
}

/* ---- the list */

static char *join(const char *folder, const char *name)
{
    size_t size = strlen(folder) + strlen(name) + sizeof "/";
    char *path = malloc(size);
    if (path != NULL)
        snprintf(path, size, "%s/%s", folder, name);
    return path;
}

void ketama_free_image(ketama_published *image)
{
    if (image != NULL) {
        free(image->file);
        free(image->path);
    }
    free(image);
}

/* Returns a copy that has the path of its file, and takes ownership of image->path.
 * NULL: no memory. */
static ketama_published *finish(const ketama_published *image, const char *folder,
                                const char *name)
{
    ketama_published *copy = malloc(sizeof *copy);
    if (copy == NULL) {
        free(image->path);
        return NULL;
    }
    *copy = *image;
    copy->file = join(folder, name);
    if (copy->path == NULL)
        copy->path = strdup("");
    if (copy->file == NULL || copy->path == NULL) {
        ketama_free_image(copy);
        return NULL;
    }
    return copy;
}

bool ketama_append(struct ketama_list *list, const ketama_published *found,
                   const char *folder, const char *name)
{
    ketama_published *image = finish(found, folder, name);
    if (image != NULL && list->count == list->capacity) {
        size_t capacity = list->capacity > 0 ? 2 * list->capacity : 16;
        ketama_published **at = realloc(list->at, capacity * sizeof(void *));
        if (at != NULL) {
            list->at = at;
            list->capacity = capacity;
        }
    }
    if (image == NULL || list->count == list->capacity) {
        ketama_free_image(image);
        return false;
    }
    list->at[list->count++] = image;
    return true;
}

int ketama_list_folder(DIR *folder, const char *path, struct ketama_list *list)
{
    struct ketama_slot slot = {.folder = dirfd(folder), .lock = -1};
    struct dirent *name;
    struct ketama_entry entry;

    while (errno = 0, (name = readdir(folder)) != NULL) {
        int status = ketama_inspect(&slot, name->d_name, &entry);
        if (status == KETAMA_OK &&
            !ketama_append(list, &entry.image, path, name->d_name))
            status = KETAMA_ENOMEM;
        if (status < KETAMA_OK)
            return status;
    }
    return errno == 0 ? KETAMA_OK : KETAMA_ESYSTEM;
}

/* Lists an open folder, and closes it. */
static int list_open(int fd, const char *path, struct ketama_list *list)
{
    DIR *folder = fdopendir(fd);
    if (folder == NULL) {
        int saved = errno;
        (void)close(fd);
        errno = saved;
        return KETAMA_ESYSTEM;
    }
    int status = ketama_list_folder(folder, path, list), saved = errno;
    (void)closedir(folder);
    errno = saved;
    return status;
}

int ketama_hand_over(struct ketama_list *list, int status, const char *path,
                     ketama_published ***images, size_t *count)
{
    if (status != KETAMA_OK) {
        int saved = errno;
        ketama_free_published(NULL, list->at, list->count);
        return status == KETAMA_ESYSTEM ? ketama_fail_system(path, saved)
                                        : ketama_store_failure(status, NULL, NULL);
    }
    *images = list->at;
    *count = list->count;
    return KETAMA_OK;
}

int ketama_list_published(char **folder, ketama_published ***images, size_t *count)
{
    char path[KETAMA_FOLDER_MAX] = "";
    struct ketama_list list = {NULL, 0, 0};
    int status, kept = errno, fd = ketama_slot_folder(path, false);

    *folder = NULL;
    *images = NULL;
    *count = 0;
    if (fd < 0 && !ketama_is_out_of_resources(errno)) {
        errno = kept;
        return KETAMA_OK;
    }
    status = fd < 0 ? KETAMA_ESYSTEM : list_open(fd, path, &list);
    if (status == KETAMA_OK) {
        *folder = strdup(path);
        status = *folder != NULL ? KETAMA_OK : KETAMA_ENOMEM;
    }
    status = ketama_hand_over(&list, status, path, images, count);
    if (status == KETAMA_OK)
        errno = kept;
    return status;
}

void ketama_free_published(char *folder, ketama_published **images, size_t count)
{
    for (size_t i = 0; i < count; i++)
        ketama_free_image(images[i]);
    free(images);
    free(folder);
}

/* ---- the image of one server file */

/* Examines one name in the folder; *image is NULL if there is no such image. */
static int find_in_folder(const char *name, ketama_published **image)
{
    char folder[KETAMA_FOLDER_MAX];
    struct ketama_slot slot = {.folder = ketama_slot_folder(folder, false), .lock = -1};
    struct ketama_entry entry;

    if (slot.folder < 0)
        return ketama_is_out_of_resources(errno) ? KETAMA_ESYSTEM : KETAMA_OK;
    int status = ketama_inspect(&slot, name, &entry);
    if (status == KETAMA_OK) {
        *image = finish(&entry.image, folder, name);
        status = *image != NULL ? KETAMA_OK : KETAMA_ENOMEM;
    }
    int saved = errno;
    (void)close(slot.folder);
    errno = saved;
    return status == KETAMA_CHANGED ? KETAMA_OK : status;
}

int ketama_find_published(const char *path, const ketama_options *options,
                          ketama_published **image)
{
    char chosen[KETAMA_SETTINGS_MAX], settings[KETAMA_SETTINGS_MAX];
    char name[KETAMA_SLOT_NAME_MAX], *absolute;
    struct ketama_identity identity = {.settings = settings};
    ketama_failure failure;
    int kept = errno, status;

    *image = NULL;
    status = ketama_choose(options, chosen, &failure);
    if (status == KETAMA_OK)
        status = ketama_absolute_path(path, &absolute, &failure);
    if (status != KETAMA_OK)
        return ketama_store_failure(status, path, &failure);
    identity.path = absolute;
    identity.profile = ketama_identify(absolute, chosen, settings);
    ketama_slot_name(name, &identity);
    free(absolute);
    status = find_in_folder(name, image);
    if (status == KETAMA_ESYSTEM)
        return ketama_fail_system(path, errno);
    if (status != KETAMA_OK)
        return ketama_store_failure(status, NULL, NULL);
    errno = kept;
    return KETAMA_OK;
}

/* ---- how to open all images */

struct text {
    char *at;
    size_t size;
};

/* Appends a string with its NUL. */
static bool append_text(struct text *text, const char *string)
{
    size_t size = strlen(string) + 1;
    char *at = realloc(text->at, text->size + size);
    if (at == NULL)
        return false;
    memcpy(at + text->size, string, size);
    *text = (struct text){at, text->size + size};
    return true;
}

/* Appends path and options of an image; skips a file that is not an image. */
static bool append_opening(struct text *text, const struct ketama_segment *segment)
{
    struct ketama_identity identity;
    char chosen[KETAMA_SETTINGS_MAX];
    if (!ketama_image_read_identity(segment->bytes, segment->size_bytes, &identity) ||
        !ketama_choice_of_ring(identity.profile, identity.settings, chosen))
        return true;
    return append_text(text, identity.path) && append_text(text, chosen);
}

static int list_openings(DIR *folder, struct text *openings)
{
    struct ketama_slot slot = {.folder = dirfd(folder), .lock = -1};
    struct ketama_segment segment;
    struct ketama_file file;
    struct dirent *entry;
    size_t base;

    while (errno = 0, (entry = readdir(folder)) != NULL) {
        if (ketama_kind_of(entry->d_name, &base) != KETAMA_NAME_IMAGE)
            continue;
        memcpy(slot.name, entry->d_name, base + 1);
        if (ketama_segment_attach(&slot, NULL, &segment, &file) != KETAMA_FOUND)
            continue;
        bool appended = append_opening(openings, &segment);
        ketama_segment_detach(&segment);
        if (!appended)
            return KETAMA_ENOMEM;
    }
    return errno == 0 ? KETAMA_OK : KETAMA_ESYSTEM;
}

int ketama_published_openings(char **openings, size_t *size_bytes)
{
    char path[KETAMA_FOLDER_MAX];
    struct text found = {NULL, 0};
    int status = KETAMA_OK, kept = errno, fd = ketama_slot_folder(path, false);

    if (fd >= 0) {
        DIR *folder = fdopendir(fd);
        if (folder != NULL) {
            status = list_openings(folder, &found);
            (void)closedir(folder);
        } else {
            status = KETAMA_ESYSTEM;
            (void)close(fd);
        }
    }
    if (status != KETAMA_OK) {
        free(found.at);
        found = (struct text){NULL, 0};
    }
    errno = kept;
    *openings = found.at;
    *size_bytes = found.size;
    return status;
}

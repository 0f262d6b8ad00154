/*
 * published.c - what is published on this machine, and the removal of what nobody uses
 *
 * A look at shared memory from outside, for operators: no lookup comes this way.
 */
#define _POSIX_C_SOURCE 200809L

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "internal.h"
#include "ketama_admin.h"

/* What a name in the folder says: <32 hex digits>-<profile>.<format>, and then nothing,
 * .lock, or a dash and what the publisher adds to a file that it writes. */
enum kind { NONE, IMAGE, IMAGE_OF_OTHERS, LOCK, UNFINISHED };

static enum kind kind_of(const char *name, size_t *base)
{
    enum { DIGITS = 32 };
    static const char decimal[] = "0123456789";
    char ours[32];
    size_t at = strspn(name, "0123456789abcdef"), part;

    if (at != DIGITS || name[at++] != '-')
        return NONE;
    part = strspn(name + at, decimal);
    at += part;
    if (part == 0 || name[at++] != '.')
        return NONE;
    part = strspn(name + at, decimal);
    at += part;
    if (part == 0 || at >= KETAMA_PLACE_NAME_MAX)
        return NONE;

    *base = at;
    snprintf(ours, sizeof ours, "-%lu.%d", (unsigned long)ketama_profile_libketama.id,
             KETAMA_IMAGE_FORMAT);
    if (strncmp(name + DIGITS, ours, at - DIGITS) != 0)
        return name[at] == '\0' ? IMAGE_OF_OTHERS : NONE;
    if (name[at] == '\0')
        return IMAGE;
    if (strcmp(name + at, ".lock") == 0)
        return LOCK;
    return name[at] == '-' ? UNFINISHED : NONE;
}

static bool is_there(const struct ketama_place *place, const char *name)
{
    struct stat st;
    return fstatat(place->folder, name, &st, AT_SYMLINK_NOFOLLOW) == 0;
}

/* What an image says of itself, and the server file of it. Its path is allocated, or
 * NULL: the image is damaged, or another path's. False: no memory. */
static bool read_image(const struct ketama_place *place, ketama_published *image)
{
    struct ketama_segment segment;
    struct ketama_origin origin;
    struct ketama_stamp now;
    char name[KETAMA_PLACE_NAME_MAX];
    bool known = false;

    if (!ketama_segment_attach(place, &segment))
        return true;
    if (ketama_image_identify(segment.bytes, segment.size_bytes, &origin,
                              &image->servers, &image->points)) {
        ketama_place_name(name, origin.path, ketama_profile_libketama.id);
        known = strcmp(name, place->name) == 0;
        image->path = known ? strdup(origin.path) : NULL;
    }
    ketama_segment_detach(&segment);
    if (image->path == NULL)
        return !known;
    image->generation = origin.generation;
    image->made_ns = origin.source.read_at_ns;
    if (ketama_source_look(image->path, &now) == KETAMA_OK)
        image->state = ketama_stamp_equal(&origin.source.stamp, &now)
                           ? KETAMA_IMAGE_CURRENT
                           : KETAMA_IMAGE_STALE;
    else if (errno != ENOENT && errno != ENOTDIR)
        image->state = KETAMA_IMAGE_STALE; /* for all that is known, the file is there */
    return true;
}

enum look { NOTHING, SOMETHING, NO_MEMORY };

/* Is a file of this name to be listed? Then all but its own path is filled in. */
static enum look look_at(const char *name, struct ketama_place *place,
                         ketama_published *image)
{
    struct stat st;
    size_t base;
    enum kind kind = kind_of(name, &base);

    if (kind == NONE || fstatat(place->folder, name, &st, AT_SYMLINK_NOFOLLOW) != 0)
        return NOTHING;
    *image = (ketama_published){
        .size_bytes = st.st_size > 0 ? (uint64_t)st.st_size : 0,
        .state = kind == IMAGE_OF_OTHERS ? KETAMA_IMAGE_FOREIGN : KETAMA_IMAGE_ORPHAN,
    };
    memcpy(place->name, name, base);
    place->name[base] = '\0';
    switch (kind) {
    case IMAGE:
        return read_image(place, image) ? SOMETHING : NO_MEMORY;
    case LOCK: /* one without an image is left over from a server file that was wrong */
        return is_there(place, place->name) || ketama_segment_is_busy(place, name)
                   ? NOTHING
                   : SOMETHING;
    case UNFINISHED:
        return ketama_segment_is_busy(place, name) ? NOTHING : SOMETHING;
    default:
        return SOMETHING;
    }
}

/* ---- the list */

struct list {
    ketama_published *at;
    size_t count;
    size_t room;
};

/* Takes over what the image has allocated, unless there is no memory. */
static bool append(struct list *list, const ketama_published *image)
{
    if (list->count == list->room) {
        size_t room = list->room > 0 ? 2 * list->room : 16;
        ketama_published *at = realloc(list->at, room * sizeof *at);
        if (at == NULL)
            return false;
        list->at = at;
        list->room = room;
    }
    list->at[list->count++] = *image;
    return true;
}

static char *join(const char *folder, const char *name)
{
    size_t size = strlen(folder) + strlen(name) + sizeof "/";
    char *path = malloc(size);
    if (path != NULL)
        snprintf(path, size, "%s/%s", folder, name);
    return path;
}

/* False: no memory. */
static bool list_folder(DIR *folder, const char *path, struct list *list)
{
    struct ketama_place place = {.folder = dirfd(folder), .lock = -1};
    struct dirent *entry;

    while ((entry = readdir(folder)) != NULL) {
        ketama_published image;
        enum look look = look_at(entry->d_name, &place, &image);
        if (look == NO_MEMORY)
            return false;
        if (look == NOTHING)
            continue;
        image.file = join(path, entry->d_name);
        if (image.path == NULL)
            image.path = strdup("");
        if (image.file == NULL || image.path == NULL || !append(list, &image)) {
            free(image.file);
            free(image.path);
            return false;
        }
    }
    return true;
}

int ketama_list_published(char **folder, ketama_published **images, size_t *count)
{
    char path[KETAMA_FOLDER_MAX];
    struct list list = {NULL, 0, 0};
    int fd = ketama_place_folder(path, false);

    *folder = NULL;
    *images = NULL;
    *count = 0;
    if (fd < 0)
        return KETAMA_OK;
    DIR *open_folder = fdopendir(fd);
    if (open_folder == NULL) {
        int saved = errno;
        (void)close(fd);
        return ketama_fail_system(path, saved, NULL);
    }
    bool listed = list_folder(open_folder, path, &list);
    (void)closedir(open_folder);
    *folder = listed ? strdup(path) : NULL;
    if (*folder == NULL) {
        ketama_free_published(NULL, list.at, list.count);
        return ketama_fail(KETAMA_ENOMEM, NULL, NULL);
    }
    *images = list.at;
    *count = list.count;
    return KETAMA_OK;
}

void ketama_free_published(char *folder, ketama_published *images, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        free(images[i].file);
        free(images[i].path);
    }
    free(images);
    free(folder);
}

/* ---- the removal */

/* With the builder's lock in hand, so that who builds a new image does not do so now. */
static int remove_locked(const struct ketama_place *place, const char *name,
                         bool is_lock)
{
    char lock[KETAMA_PLACE_NAME_MAX + sizeof ".lock"];
    struct ketama_place looked = *place;
    ketama_published image = {.path = NULL};
    bool gone = is_lock && !is_there(place, place->name);

    if (!is_lock) {
        bool orphan = look_at(name, &looked, &image) == SOMETHING &&
                      image.state == KETAMA_IMAGE_ORPHAN;
        free(image.path);
        /* One that is being written is busy; the published one is certain. */
        gone =
            orphan && ketama_segment_retire(place, name, strcmp(name, place->name) == 0);
    }
    if (gone && !is_there(place, place->name)) {
        snprintf(lock, sizeof lock, "%s.lock", place->name);
        (void)unlinkat(place->folder, lock, 0);
    }
    return gone ? KETAMA_OK : KETAMA_CHANGED;
}

int ketama_remove_published(const char *file)
{
    char folder[KETAMA_FOLDER_MAX];
    struct ketama_place place = {.folder = ketama_place_folder(folder, false),
                                 .lock = -1};
    const char *name = strrchr(file, '/');
    size_t base = 0;
    int status = KETAMA_CHANGED;

    if (place.folder < 0)
        return KETAMA_CHANGED;
    if (name != NULL && strlen(folder) == (size_t)(name - file) &&
        strncmp(folder, file, strlen(folder)) == 0) {
        enum kind kind = kind_of(++name, &base);
        if (kind == IMAGE || kind == LOCK || kind == UNFINISHED) {
            memcpy(place.name, name, base);
            place.name[base] = '\0';
            if (is_there(&place, name) && ketama_place_lock(&place) == KETAMA_LOCK_HELD)
                status = remove_locked(&place, name, kind == LOCK);
        }
    }
    ketama_place_close(&place);
    return status;
}

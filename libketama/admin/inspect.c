/*
 * inspect.c - a name in the folder of images -> what it is, and its state
 *
 * Other processes publish at the same time, so whatever seems to be damaged is read
 * again before it is called an orphan.
 */
#include "admin.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* <32 hex digits>-<profile>.<format>, then nothing, ".lock", or a dash and the suffix of
 * a file that is being written. */
enum ketama_kind ketama_kind_of(const char *name, size_t *base)
{
    enum { DIGITS = 32 };
    static const char decimal[] = "0123456789";
    char ours[32];
    size_t at = strspn(name, "0123456789abcdef"), part;

    if (at != DIGITS || name[at++] != '-')
        return KETAMA_NAME_NONE;
    part = strspn(name + at, decimal);
    at += part;
    size_t format_at = at;
    if (part == 0 || name[at++] != '.')
        return KETAMA_NAME_NONE;
    part = strspn(name + at, decimal);
    at += part;
    if (part == 0 || at >= KETAMA_SLOT_NAME_MAX)
        return KETAMA_NAME_NONE;

    *base = at;
    (void)snprintf(ours, sizeof ours, ".%d", KETAMA_IMAGE_FORMAT);
    if (strlen(ours) != at - format_at ||
        strncmp(name + format_at, ours, at - format_at) != 0)
        return name[at] == '\0' ? KETAMA_NAME_FOREIGN : KETAMA_NAME_NONE;
    if (name[at] == '\0')
        return KETAMA_NAME_IMAGE;
    if (strcmp(name + at, ".lock") == 0)
        return KETAMA_NAME_LOCK;
    return name[at] == '-' ? KETAMA_NAME_UNFINISHED : KETAMA_NAME_NONE;
}

/* Compares the server file with what the image was built from. */
static int state_of(const char *path, const struct ketama_source *source)
{
    struct ketama_stamp now;
    if (ketama_source_stat(path, &now) == KETAMA_OK)
        return ketama_stamp_equal(&source->stamp, &now) ? KETAMA_IMAGE_CURRENT
                                                        : KETAMA_IMAGE_STALE;
    /* A file that cannot be checked may still exist. */
    return errno == ENOENT || errno == ENOTDIR ? KETAMA_IMAGE_ORPHAN
                                               : KETAMA_IMAGE_STALE;
}

/* Fills *image from the header, if these bytes are the image that the name promises. */
static int read_image(const struct ketama_slot *slot,
                      const struct ketama_segment *segment, ketama_published *image)
{
    struct ketama_image_info info;
    char name[KETAMA_SLOT_NAME_MAX];

    if (!ketama_image_identify(segment->bytes, segment->size_bytes, &info))
        return KETAMA_OK;
    ketama_slot_name(name, &info.identity);
    if (strcmp(name, slot->name) != 0)
        return KETAMA_OK;
    image->path = strdup(info.identity.path);
    if (image->path == NULL)
        return KETAMA_ENOMEM;
    image->servers = info.view.server_count;
    image->points = info.view.point_count;
    image->generation = info.generation;
    image->made_ns = info.source.read_at_ns;
    image->state = state_of(image->path, &info.source);
    return KETAMA_OK;
}

/* An image that is replaced while it is read is marked, and would seem damaged. */
static int inspect_image(const struct ketama_slot *slot, struct ketama_entry *entry)
{
    enum { ATTEMPTS = 100 };
    struct ketama_segment segment;

    for (int i = 0; i < ATTEMPTS; i++) {
        switch (ketama_segment_attach(slot, NULL, &segment, &entry->file)) {
        case KETAMA_ABSENT:
            return KETAMA_CHANGED;
        case KETAMA_FAILED:
            return KETAMA_ESYSTEM;
        case KETAMA_UNTRUSTED:
            return KETAMA_OK;
        case KETAMA_FOUND:
            break;
        }
        entry->image.size_bytes = segment.size_bytes; /* of the one that was read */
        int status = read_image(slot, &segment, &entry->image);
        ketama_segment_detach(&segment);
        if (status != KETAMA_OK || entry->image.path != NULL ||
            !ketama_segment_is_replaced(slot, slot->name, &entry->file))
            return status;
    }
    return KETAMA_CHANGED; /* it is replaced again and again */
}

int ketama_inspect(struct ketama_slot *slot, const char *name,
                   struct ketama_entry *entry)
{
    struct stat st;
    size_t base;
    enum ketama_kind kind = ketama_kind_of(name, &base);

    if (kind == KETAMA_NAME_NONE ||
        fstatat(slot->folder, name, &st, AT_SYMLINK_NOFOLLOW) != 0)
        return KETAMA_CHANGED;
    *entry = (struct ketama_entry){
        .file = {(uint64_t)st.st_dev, (uint64_t)st.st_ino},
        .image = {.size_bytes = st.st_size > 0 ? (uint64_t)st.st_size : 0,
                  .user = (uint32_t)geteuid(),
                  .state = kind == KETAMA_NAME_FOREIGN ? KETAMA_IMAGE_FOREIGN
                                                       : KETAMA_IMAGE_ORPHAN},
    };
    memcpy(slot->name, name, base);
    slot->name[base] = '\0';
    if (kind == KETAMA_NAME_IMAGE)
        return inspect_image(slot, entry);
    if (kind == KETAMA_NAME_FOREIGN)
        return KETAMA_OK;
    /* A lock without an image is left over from an invalid server file. */
    if (kind == KETAMA_NAME_LOCK &&
        fstatat(slot->folder, slot->name, &st, AT_SYMLINK_NOFOLLOW) == 0)
        return KETAMA_CHANGED;
    return ketama_segment_is_busy(slot, name) ? KETAMA_CHANGED : KETAMA_OK;
}

/*
 * remove.c - removes an image that no process uses
 */
#include "admin.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The caller holds the builder's lock, which keeps publishers away, except those that
 * have waited too long for it; so remove the very file that was inspected, or none. */
static int remove_locked(struct ketama_slot *slot, const char *name, bool is_lock)
{
    char lock[KETAMA_SLOT_NAME_MAX + sizeof ".lock"];
    struct ketama_slot inspected = *slot;
    struct ketama_entry entry;
    struct stat st;

    if (!is_lock) {
        int status = ketama_inspect(&inspected, name, &entry);
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
        case KETAMA_ABSENT:
        case KETAMA_UNTRUSTED:
            return KETAMA_CHANGED;
        }
    }
    if (fstatat(slot->folder, slot->name, &st, AT_SYMLINK_NOFOLLOW) == 0)
        return is_lock ? KETAMA_CHANGED : KETAMA_OK;
    snprintf(lock, sizeof lock, "%s.lock", slot->name);
    (void)unlinkat(slot->folder, lock, 0);
    return KETAMA_OK;
}

/* The name of a file in that folder; NULL: the file is elsewhere. */
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
    struct ketama_progress unused;
    struct stat st;

    if (slot.folder < 0)
        return ketama_is_out_of_resources(errno) ? ketama_fail_system(file, errno)
                                                 : KETAMA_CHANGED;
    const char *name = name_in(folder, file);
    enum ketama_kind kind =
        name != NULL ? ketama_kind_of(name, &base) : KETAMA_NAME_NONE;
    if ((kind == KETAMA_NAME_IMAGE || kind == KETAMA_NAME_LOCK ||
         kind == KETAMA_NAME_UNFINISHED) &&
        fstatat(slot.folder, name, &st, AT_SYMLINK_NOFOLLOW) == 0) {
        memcpy(slot.name, name, base);
        slot.name[base] = '\0';
        switch (ketama_slot_lock(&slot, &unused)) {
        case KETAMA_LOCK_HELD:
            status = remove_locked(&slot, name, kind == KETAMA_NAME_LOCK);
            break;
        case KETAMA_LOCK_BUSY:
            break;
        case KETAMA_LOCK_NONE:
            status = KETAMA_ESYSTEM;
            break;
        }
    }
    int saved = errno;
    ketama_slot_close(&slot);
    if (status == KETAMA_ESYSTEM)
        return ketama_fail_system(file, saved);
    return status == KETAMA_ENOMEM ? ketama_store_failure(status, NULL, NULL) : status;
}

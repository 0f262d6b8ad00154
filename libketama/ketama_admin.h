/*
 * ketama_admin.h - for who looks after a fleet: what a change would move, and what is
 * published on this machine
 *
 * Beside ketama.h, whose introduction holds here as well. Nothing here is needed for
 * lookups.
 */
#ifndef KETAMA_ADMIN_H
#define KETAMA_ADMIN_H

#include "ketama.h"

#ifdef __cplusplus
extern "C" {
#endif
#if defined(__GNUC__) && !defined(KETAMA_HIDDEN)
#pragma GCC visibility push(default)
#endif

/* What stands between the two cffi marks is read by the Python binding as it is. */
/* cffi: begin */

typedef struct ketama_move {
    uint32_t from;  /* index of a server in the old continuum */
    uint32_t to;    /* of one in the new continuum, whose address is another */
    uint64_t share; /* how many of the 2^32 hashes go from the one to the other */
} ketama_move;

/* ketama_diff: which keys move when `after` takes the place of `before`, exactly: the
 * two circles are compared arc by arc. A hash moves where the addresses of its two
 * servers differ. *moves is an array of *count pairs of servers, ascending by `from` and
 * then `to`, each once and none with a share of 0; the caller gives it to free(3). It is
 * NULL where nothing moves, and on failure. Errors: ENOMEM. */
int ketama_diff(ketama_continuum before, ketama_continuum after, ketama_move **moves,
                size_t *count);

/* What has become of a published image. */
enum ketama_image_state {
    KETAMA_IMAGE_CURRENT = 0, /* it was made from the server file as it is now */
    KETAMA_IMAGE_STALE = 1,  /* the file has changed since: who looks next replaces it */
    KETAMA_IMAGE_ORPHAN = 2, /* nobody will use it: its server file is gone, it is
                                damaged, or whoever wrote it was killed */
    KETAMA_IMAGE_FOREIGN = 3 /* another version of the library's business */
};

/* Made by the library alone, so that it may grow at its end. */
typedef struct ketama_published {
    char *file;          /* the image's absolute path */
    char *path;          /* the server file's; "" where the image does not tell */
    uint64_t size_bytes; /* of the image */
    uint64_t generation; /* of the images published for that path, from 1; 0: unknown */
    int64_t made_ns;     /* when the server file was read, since 1970; 0: unknown */
    uint32_t servers;
    uint32_t points;
    int state; /* enum ketama_image_state */
} ketama_published;

/* ketama_list_published: the images in this user's folder, whatever their state; files
 * that are being written just now are left out. *folder is that folder's path, NULL
 * where there is none; *images is an array of *count pointers, in no order.
 * ketama_free_published() frees all of it. Nothing is created or changed. Errors:
 * ESYSTEM, ENOMEM; all is NULL and 0 then. */
int ketama_list_published(char **folder, ketama_published ***images, size_t *count);
void ketama_free_published(char *folder, ketama_published **images, size_t count);

/* ketama_remove_published: removes an image if it is, still, an orphan; a process that
 * has it mapped keeps it, and is told to look for another. `file` is as
 * ketama_list_published() gave it. KETAMA_OK: it is removed. KETAMA_CHANGED: it is no
 * orphan, gone already, or somebody is at work on it; nothing was done. Errors: ESYSTEM,
 * ENOMEM. */
int ketama_remove_published(const char *file);

/* cffi: end */

#if defined(__GNUC__) && !defined(KETAMA_HIDDEN)
#pragma GCC visibility pop
#endif
#ifdef __cplusplus
}
#endif
#endif

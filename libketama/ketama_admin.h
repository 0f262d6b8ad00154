/*
 * ketama_admin.h - for operators: which keys a change moves, which buckets of a bucket
 * map a server should own, and which images are published on this machine
 *
 * An addition to ketama.h, whose rules apply here as well. Lookups need none of it.
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

/* The Python binding reads what is between the two cffi marks. */
/* cffi: begin */

typedef struct ketama_move {
    uint32_t from;  /* index of a server in the old continuum */
    uint32_t to;    /* index of another server in the new one */
    uint64_t share; /* how many of the 2^32 hashes move between them */
} ketama_move;

/* ketama_diff: computes exactly which keys move when `after` replaces `before`: the two
 * rings are compared arc by arc. A hash moves if it gets another server. *moves is an
 * array of *count pairs of servers, ascending by `from` and then `to`, each pair once
 * and none with a share of 0; free it with free(3). It is NULL if nothing moves, and on
 * failure. Errors: ENOMEM.
 *
 * Servers with equal addresses are the same server. But a server whose points are made
 * from the same text in both continua and whose address differs was readdressed: it is
 * the same server at another address, and keeps its keys. That text is its name, or else
 * its address in the dialect's form. So a server moves to another address without moving
 * keys if it keeps its name, or gets as its name the text that was hashed so far; the
 * server that then has its old address is another one. Between two dialects, addresses
 * alone count.
 *
 * The command and the Python package call a move collateral if both of its servers are
 * unchanged: they are in both continua, with the same weight and name. All other moves
 * leave or reach a server that was added, removed, or got another weight or name, and so
 * are asked for. Collateral moves happen because a server's number of points depends on
 * all weights. */
int ketama_diff(ketama_continuum before, ketama_continuum after, ketama_move **moves,
                size_t *count);

/* ---- bucket maps: docs/buckets.md in the project
 *
 * owners[], before[] and after[] have an element for each bucket: the index of its
 * server in a list, or KETAMA_NO_SERVER. The number of buckets is a power of two from 1
 * to KETAMA_BUCKETS_LIMIT; otherwise KETAMA_EOPTION. */
#define KETAMA_BUCKETS_LIMIT 1048576

/* ketama_buckets_assign: decide which server owns which bucket. `before` says who does
 * now, NULL: nobody. Each server gets its exact share, buckets * weight / all weights,
 * rounded down or up, and no such assignment moves fewer buckets. It does not depend on
 * the order of the servers, of which addresses and weights are read; no two may have one
 * address. before and owners may be one array. Errors: ENOMEM, EOPTION, ERANGE (`before`
 * has an index that is too high), and those of an invalid list, as of
 * ketama_open_servers(). */
int ketama_buckets_assign(const ketama_server *servers, size_t count,
                          const uint32_t *before, uint32_t buckets, uint32_t *owners);

/* ketama_buckets_owners: find which server of c owns most of each bucket; of several,
 * the one whose address is the least. If c is a map with so many buckets, these are its
 * owners. Errors: ENOMEM, EOPTION, ENOSERVERS. */
int ketama_buckets_owners(ketama_continuum c, uint32_t buckets, uint32_t *owners);

/* ketama_buckets_needed: return how many buckets keep every server within so many
 * millionths of its fair share: the least power of two that is all weights / (the least
 * weight * per_million / 1000000) or more. 0: more than there can be, no servers, or
 * invalid weights. Cannot fail. */
uint32_t ketama_buckets_needed(const ketama_server *servers, size_t count,
                               uint32_t per_million);

/* ketama_buckets_step: go from one assignment towards another by at most `most` buckets.
 * Each server gives up the same part of what it has to. With a larger `most`, the same
 * buckets move and more: so for several steps, pass multiples of one number. *left is
 * how many buckets still differ from `after`. before and owners may be one array.
 * Errors: ENOMEM, EOPTION, ERANGE (`before` has an index that no list of servers has).
 */
int ketama_buckets_step(const uint32_t *before, const uint32_t *after, uint32_t buckets,
                        uint32_t most, uint32_t *owners, uint32_t *left);

/* ketama_buckets_write: write the buckets of each of `count` servers as in the last
 * column of a server file, such as "0-8191,16384", or "-" for none. at[], of count + 1
 * elements, says where: those of server i begin at text + at[i], and end with a NUL.
 * Returns how many bytes all of them take, at[count]; if `room` is less, nothing is
 * written to text. Cannot fail. */
size_t ketama_buckets_write(const uint32_t *owners, uint32_t buckets, uint32_t count,
                            size_t *at, char *text, size_t room);

/* The state of a published image. */
enum ketama_image_state {
    KETAMA_IMAGE_CURRENT = 0,  /* built from the server file as it is now */
    KETAMA_IMAGE_STALE = 1,    /* the server file has changed; the next process that
                                  checks it replaces the image */
    KETAMA_IMAGE_ORPHAN = 2,   /* no process will use it: its server file is gone, it is
                                  damaged, or its writer was killed */
    KETAMA_IMAGE_FOREIGN = 3,  /* written by another version of the library */
    KETAMA_IMAGE_UNCHECKED = 4 /* another user's: what it says was read, not checked */
};

/* Allocated by the library, so it may grow at its end. */
typedef struct ketama_published {
    char *file;          /* absolute path of the image */
    char *path;          /* of the server file; "" if the image does not tell */
    uint64_t size_bytes; /* of the image */
    uint64_t generation; /* how many images were published for that path, this one
                            included; 0: unknown */
    int64_t made_ns;     /* when the server file was read, since 1970; 0: unknown */
    uint32_t servers;
    uint32_t points;
    int state;     /* enum ketama_image_state */
    uint32_t user; /* id of the user who published it */
} ketama_published;

/* ketama_list_published: lists the images in this user's folder, in any state; files
 * that are being written are left out. Each image is read and its checksum verified.
 * *folder is the path of the folder, NULL if there is none; *images is an array of
 * *count pointers, in no order. ketama_free_published() frees everything. Nothing is
 * created or changed. Errors: ESYSTEM, ENOMEM; then everything is NULL and 0. */
int ketama_list_published(char **folder, ketama_published ***images, size_t *count);
void ketama_free_published(char *folder, ketama_published **images, size_t count);

/* ketama_list_all_published: lists the images of all users whose folders this process
 * may read, that is for root, wherever this process would look for its own folder. This
 * user's are as in ketama_list_published(). Of the others', which may be hostile, only
 * regular files of the folder's owner are opened, without following links or waiting,
 * and only their headers are read: nothing is mapped, locked, changed, or verified, no
 * path in them is opened, and the state is UNCHECKED or FOREIGN. At most 10000 images
 * are listed of each other user. ketama_free_published(NULL, images, count) frees
 * everything. Errors: ESYSTEM, ENOMEM; then *images is NULL and *count 0. */
int ketama_list_all_published(ketama_published ***images, size_t *count);

/* ketama_find_published: finds the image that ketama_open() would use for a path and
 * options (NULL: the defaults), without reading any other. Each spelling of a path, such
 * as a symbolic link, has an image of its own. *image is NULL if there is none;
 * ketama_free_image() frees it. Errors: ESYSTEM, ENOMEM, EOPTION. */
int ketama_find_published(const char *path, const ketama_options *options,
                          ketama_published **image);
void ketama_free_image(ketama_published *image);

/* ketama_remove_published: removes an image if it is still an orphan. Processes that
 * have it mapped keep it, and are notified as if it had been replaced. `file` is as
 * returned by ketama_list_published(). KETAMA_OK: removed. KETAMA_CHANGED: it is not an
 * orphan, already gone, or in use by a publisher; nothing was done. Errors: ESYSTEM,
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

/*
 * admin.h - what the files of this folder share
 *
 * diff.c compares two continua, the same servers of which same.c finds, by the texts of
 * hashed.c; dialects.c and mix.c, with a header of their own, compare dialects.
 * buckets.c decides which server owns which bucket of a map.
 * published.c lists what this user has in shared memory, remove.c removes it, each entry
 * of which inspect.c has examined; users.c lists what other users have there.
 */
#ifndef KETAMA_ADMIN_INTERNAL_H
#define KETAMA_ADMIN_INTERNAL_H

#include "../internal.h"

#include "../ketama_admin.h"

#include <dirent.h>

enum ketama_kind {
    KETAMA_NAME_NONE, /* not one of ours */
    KETAMA_NAME_IMAGE,
    KETAMA_NAME_FOREIGN, /* an image of an unknown profile or format */
    KETAMA_NAME_LOCK,
    KETAMA_NAME_UNFINISHED /* being written, or left over */
};

struct ketama_entry {
    struct ketama_file file; /* which file was examined */
    ketama_published image;  /* its path is allocated, or NULL; its file is not set */
};

/* What a name in the folder of images means, and how many of its characters an image and
 * its other files have in common. */
enum ketama_kind ketama_kind_of(const char *name, size_t *base);
/* Examines what has that name, and sets the slot's name to the common part.
 * KETAMA_CHANGED: nothing to be listed. */
int ketama_inspect(struct ketama_slot *slot, const char *name,
                   struct ketama_entry *entry);

/* A list of images that grows. */
struct ketama_list {
    ketama_published **at;
    size_t count;
    size_t capacity;
};
/* Appends an image, with the path of its file; takes ownership of its path. False: no
 * memory. */
bool ketama_append(struct ketama_list *list, const ketama_published *image,
                   const char *folder, const char *name);
/* Sets *images and *count to the list, or frees it and stores the failure of that
 * status. path: what could not be read, if that is the failure. */
int ketama_hand_over(struct ketama_list *list, int status, const char *path,
                     ketama_published ***images, size_t *count);
/* Lists a folder of this user. */
int ketama_list_folder(DIR *folder, const char *path, struct ketama_list *list);

/* Stores an errno as the calling thread's latest failure; returns KETAMA_ESYSTEM. */
int ketama_fail_system(const char *path, int system_errno);

/* Lists `count` servers from the one at `first` on. The list points into c; free it with
 * ketama_servers_free(), whatever is returned. Errors: ERANGE, ENOMEM. */
int ketama_list_servers(ketama_continuum c, uint32_t first, uint32_t count,
                        struct ketama_server_list *list);
/* Sets names[] to the texts that the points of all servers are made from: the names, or
 * else the addresses in the dialect's form. They point into c or into *storage, which
 * the caller frees whatever is returned. Errors: ENOMEM. */
int ketama_hashed_names(ketama_continuum c, struct ketama_text *names, char **storage);
/* Writes that text of the server at `index` to text[size], without a NUL at its end: it
 * may contain one. Returns how many bytes it has, of which at most `size` are written;
 * KETAMA_NAME_MAX is enough. Errors: ERANGE, ENOMEM. For the Python binding. */
int ketama_hashed_name(ketama_continuum c, uint32_t index, char *text, size_t size);

/* Numbers the servers of two continua so that those which are the same have the same
 * number: those with equal addresses, unless the text that one is hashed by is at
 * another address in the other continuum; then it is the server with that text. Of two
 * dialects, addresses alone count. Both arrays have an element per server. Errors:
 * ENOMEM. */
int ketama_same_servers(ketama_continuum before, ketama_continuum after,
                        uint32_t *groups_before, uint32_t *groups_after);
/* The same for those with equal addresses alone. */
int ketama_same_addresses(ketama_continuum before, ketama_continuum after,
                          uint32_t *groups_before, uint32_t *groups_after);

/* Writes the options with which a bucket map hashes keys as that ring does, apart from
 * the empty one. Errors: EOPTION if there are none. For the Python binding. */
int ketama_buckets_options(ketama_continuum ring, char settings[KETAMA_SETTINGS_MAX]);

/* How to open the images that this user has: the path of the server file and the
 * options, each with its NUL, in one block that the caller frees; NULL if there are
 * none. Only headers are read, which is quick. For the Python binding. */
int ketama_published_openings(char **openings, size_t *size_bytes);

#endif

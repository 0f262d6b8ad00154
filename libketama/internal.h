/*
 * internal.h - what the stages tell each other
 *
 *     file --source--> text --servers--> server list --points--> sorted points
 *          --image--> flat bytes --segment--> shared memory --lookup--> server
 *                                                           --compat--> as in 2007
 *
 * diff.c compares two continua; published.c lists what there is in shared memory, each
 * of which inspect.c has looked at.
 *
 * Each stage is a C file that knows nothing of the others; roll.c alone knows the
 * order. servers.c, md5.c, profile.c, points.c, image.c are pure: no system call,
 * no global. What they find wrong they say in a struct ketama_flaw.
 */
#ifndef KETAMA_INTERNAL_H
#define KETAMA_INTERNAL_H

#include <stdatomic.h>
#include <stdbool.h>

#ifndef KETAMA_NO_OLD_NAMES
#define KETAMA_NO_OLD_NAMES
#endif
#include "ketama.h"
#include "ketama_admin.h"

/* Four bytes as a little-endian word, at any address, on any machine. */
static inline uint32_t ketama_load32(const unsigned char *bytes)
{
    return (uint32_t)bytes[0] | (uint32_t)bytes[1] << 8 | (uint32_t)bytes[2] << 16 |
           (uint32_t)bytes[3] << 24;
}

/* What is wrong, and in which line of the file or place of the list (0: none). */
struct ketama_flaw {
    uint64_t line;
    char reason[256];
};

/* ---- source.c: a path -> the file's text, and the state of the file it is from */

/* The state of a file; two equal stamps are the same content, but for the racy rule. */
struct ketama_stamp {
    uint64_t device;
    uint64_t inode;
    uint64_t size_bytes;
    int64_t mtime_ns;
    int64_t ctime_ns;
};

struct ketama_source {
    struct ketama_stamp stamp;
    int64_t read_at_ns; /* the clock before the first byte was read */
    unsigned char md5[16];
};

int ketama_source_look(const char *path, struct ketama_stamp *stamp);
bool ketama_source_stat(const char *path, struct ketama_stamp *stamp); /* or errno */
int ketama_source_read(const char *path, struct ketama_source *source, char **text,
                       struct ketama_flaw *flaw);
bool ketama_stamp_equal(const struct ketama_stamp *a, const struct ketama_stamp *b);
bool ketama_source_settled(const struct ketama_source *source);

/* ---- servers.c: text -> server list */

struct ketama_listed {
    const char *address; /* in the text it was read from, not NUL-terminated */
    uint64_t weight;
    uint32_t length; /* of the address, bytes */
    uint64_t line;   /* of the file, or place in the list, from 1 */
};

struct ketama_server_list {
    struct ketama_listed *at;
    uint32_t count;
    uint32_t room;
    uint64_t total; /* weight of all */
};

/* They fill *list, which lives no longer than what it was made from, and which
 * ketama_servers_free() frees, whatever they return. The second takes one line, with or
 * without its end, and a list of one server or none is good. */
int ketama_servers_parse(const char *text, size_t size, struct ketama_server_list *list,
                         struct ketama_flaw *flaw);
int ketama_servers_parse_line(const char *line, size_t size, uint64_t number,
                              struct ketama_server_list *list, struct ketama_flaw *flaw);
int ketama_servers_copy(const ketama_server *servers, size_t count,
                        struct ketama_server_list *list, struct ketama_flaw *flaw);
void ketama_servers_free(struct ketama_server_list *list);

/* ---- md5_many.c: MD5 of many messages at a time (of one: ketama_md5, ketama_hash)
 */

/* Writes the first `words` words, 1 to 4, of each key's digest to digests[]. */
typedef void ketama_md5_function(const ketama_key *keys, size_t count, unsigned words,
                                 uint32_t *digests);
ketama_md5_function ketama_md5_many;

/* The ways there are, the fastest for many keys first; the last one is plain C. */
struct ketama_md5_width {
    const char *name;
    size_t pays_from; /* so many keys */
    bool (*usable)(void);
    ketama_md5_function *digests;
};
extern const struct ketama_md5_width ketama_md5_widths[];
extern const unsigned ketama_md5_width_count;

/* ---- profile.c: what the dialects of ketama differ in */

enum {
    KETAMA_LABEL_MAX = KETAMA_ADDRESS_MAX + 32, /* the longest text hashed for a point */
    KETAMA_YIELD_MAX = 8,                       /* the most points one label gives */
};

struct ketama_profile {
    uint32_t id;    /* stands in the image */
    uint32_t yield; /* points that one label gives */
    /* how many labels a server is given */
    uint32_t (*labels)(uint64_t weight, uint64_t total, uint32_t servers);
    /* a server's k-th label, the text that is hashed; returns its length */
    size_t (*label)(const struct ketama_listed *server, uint32_t k,
                    char label[KETAMA_LABEL_MAX]);
    /* what labels are hashed to: `yield` points of each */
    void (*points)(const ketama_key *labels, size_t count, uint32_t *points);
    /* where equal points tie, the server that comes earlier in this order wins */
    void (*order)(const struct ketama_server_list *list, uint32_t *order);
    /* a key's place on the circle, and those of many keys */
    uint32_t (*hash)(const void *key, size_t len);
    void (*hashes)(const ketama_key *keys, size_t count, uint32_t *hashes);
};

extern const struct ketama_profile ketama_profile_libketama;

/* ---- points.c: server list -> sorted points */

struct ketama_point_list {
    ketama_point *at; /* ascending; equal ones in the profile's order */
    uint32_t count;
};

int ketama_points_make(const struct ketama_profile *profile,
                       const struct ketama_server_list *servers,
                       struct ketama_point_list *points, struct ketama_flaw *flaw);
void ketama_points_free(struct ketama_point_list *points);

/* ---- image.c: points <-> flat relocatable bytes (docs/image-format.md) */

enum {
    KETAMA_IMAGE_FORMAT = 1,
    KETAMA_SUPERSEDED_AT = 192, /* where in an image the mark is, a uint32_t */
};

struct ketama_image; /* the bytes; their layout is image.c's secret */

struct ketama_image_server {
    uint64_t weight;
    uint64_t share;
    uint32_t points;
    uint32_t address_at; /* in the names */
};

/* Where things are, found once, so that a lookup need not compute it. */
struct ketama_view {
    const ketama_point *points;
    const uint32_t *index; /* index[b]: the first point whose top bits are >= b */
    const struct ketama_image_server *servers;
    const char *names; /* NUL-terminated, one after the other */
    const _Atomic uint32_t *superseded;
    uint64_t names_bytes;
    uint32_t point_count;
    uint32_t server_count;
    uint32_t shift; /* a hash shifted right by this is its b */
};

/* What an image says of its origin. */
struct ketama_origin {
    const char *path; /* "": from a list in memory */
    struct ketama_source source;
    uint64_t generation; /* of the images published for that path, from 1 */
};

/* Allocated; NULL: no memory. */
struct ketama_image *ketama_image_make(const struct ketama_profile *profile,
                                       const struct ketama_server_list *servers,
                                       const struct ketama_point_list *points,
                                       const struct ketama_origin *origin);
size_t ketama_image_size(const struct ketama_image *image);
void ketama_image_free(struct ketama_image *image);

/* Both face bytes that somebody else may have written, and are false where they are not
 * an image of this profile and path. The first looks at the header alone, which is
 * quick; the second at every byte, and its view never leads outside them, whatever
 * becomes of them later. */
bool ketama_image_origin(const void *image, size_t size_bytes,
                         const struct ketama_profile *profile, const char *path,
                         struct ketama_origin *origin);
bool ketama_image_open(const void *image, size_t size_bytes,
                       const struct ketama_profile *profile, const char *path,
                       struct ketama_view *view);

/* For who knows no path: the image tells its own, which lies in it. False where these
 * bytes are no image that anybody would use. */
bool ketama_image_identify(const void *image, size_t size_bytes,
                           struct ketama_origin *origin, uint32_t *server_count,
                           uint32_t *point_count);

/* ---- place.c: where images are published */

enum { KETAMA_PLACE_NAME_MAX = 64, KETAMA_FOLDER_MAX = 4096 };

/* Where the image of a path is published. */
struct ketama_place {
    int folder; /* open; ours */
    int lock;   /* open while this process holds the builder's lock, else -1 */
    char name[KETAMA_PLACE_NAME_MAX];
};

enum ketama_lock {
    KETAMA_LOCK_HELD,
    KETAMA_LOCK_BUSY, /* somebody else has it */
    KETAMA_LOCK_NONE, /* there is none to be had here */
};

/* The folder that images are published in, open, with its path; -1 and errno where there
 * is none. Unless told to make it, it is looked for and no more. */
int ketama_place_folder(char path[KETAMA_FOLDER_MAX], bool make);
/* What the images of that path are called. */
void ketama_place_name(char name[KETAMA_PLACE_NAME_MAX], const char *path,
                       uint32_t profile);
/* Those that return bool: false where it can't be done. */
bool ketama_place_open(struct ketama_place *place, const char *path, uint32_t profile);
void ketama_place_close(struct ketama_place *place);
enum ketama_lock ketama_place_lock(struct ketama_place *place); /* does not wait */
void ketama_place_unlock(struct ketama_place *place);

/* ---- segment.c: bytes <-> shared memory */

struct ketama_segment {
    const void *bytes; /* mapped, read-only; NULL: none */
    size_t size_bytes;
};

bool ketama_segment_attach(const struct ketama_place *place,
                           struct ketama_segment *segment);
bool ketama_segment_publish(const struct ketama_place *place, const void *bytes,
                            size_t size_bytes, struct ketama_segment *segment);
void ketama_segment_detach(struct ketama_segment *segment);

/* For who looks at the folder from outside. What there is of a name in it: */
enum ketama_found {
    KETAMA_FOUND,
    KETAMA_ABSENT,
    KETAMA_UNTRUSTED, /* nothing that this user alone can have written */
    KETAMA_FAILED     /* nobody can say: errno */
};
/* A file, whatever its name is. */
struct ketama_file {
    uint64_t device, inode;
};
enum ketama_found ketama_segment_find(const struct ketama_place *place,
                                      struct ketama_segment *segment,
                                      struct ketama_file *file);
/* Has the name another file by now, or none? */
bool ketama_segment_is_replaced(const struct ketama_place *place, const char *name,
                                const struct ketama_file *file);
/* Is it being written, or the builder's lock held? */
bool ketama_segment_is_busy(const struct ketama_place *place, const char *name);
/* Marks and removes it, if the name still is that file's. KETAMA_ABSENT: it is not. */
enum ketama_found ketama_segment_remove(const struct ketama_place *place,
                                        const char *name,
                                        const struct ketama_file *file);

/* ---- inspect.c: a name in the folder of images, from outside */

enum ketama_kind {
    KETAMA_NAME_NONE, /* none of ours */
    KETAMA_NAME_IMAGE,
    KETAMA_NAME_FOREIGN, /* an image of another profile or format */
    KETAMA_NAME_LOCK,
    KETAMA_NAME_UNFINISHED /* being written, or left over */
};

struct ketama_entry {
    struct ketama_file file; /* which was looked at */
    ketama_published image;  /* its path is allocated, or NULL; its file is not set */
};

/* What a name says, and how much of it is common to an image and its other files. */
enum ketama_kind ketama_kind_of(const char *name, size_t *base);
/* Looks at what there is of that name, and sets the place's name to the common part.
 * KETAMA_CHANGED: nothing to be listed. */
int ketama_inspect(struct ketama_place *place, const char *name,
                   struct ketama_entry *entry);

/* ---- handle.c: the one handle */

struct ketama_handle {
    /* The first three are those of libketama.so.1, for programs that read them. */
    int numpoints;
    void *modtime;
    void *array;

    struct ketama_view view;
    const struct ketama_profile *profile;
    struct ketama_source source;
    struct ketama_image *image;    /* private memory, or NULL */
    struct ketama_segment segment; /* or shared */
    uint64_t generation;
    char *path;     /* absolute; NULL: from a list in memory */
    unsigned flags; /* of ketama_open */
    atomic_uint owners;
    atomic_bool settled;         /* the stamp alone tells whether the file has changed */
    atomic_bool heeded;          /* the superseded mark has been acted upon */
    _Atomic int64_t interval_ns; /* ketama_follow's; 0: none */
    _Atomic int64_t looked_ns;   /* when the file was looked at last, coarse clock */
    _Atomic(void *) old;         /* compat.c's, one piece of memory; NULL: none yet */
};

/* One without an image yet. path: NULL, or absolute, and copied. NULL: no memory. */
ketama_continuum ketama_handle_new(const struct ketama_profile *profile,
                                   const char *path, unsigned flags);
/* The file has just been looked at. */
void ketama_handle_looked(ketama_continuum c);
/* A copy of the path that does not depend on the working folder. */
int ketama_absolute_path(const char *path, char **absolute);

/* ---- lookup.c: for compat.c, which gives out points */

/* The number of the point that a key meets. */
uint32_t ketama_position(ketama_continuum c, const void *key, size_t len);

/* ---- status.c: what went wrong. Those that return int return the status. */

/* Fills *flaw; the format is printf's. */
int ketama_flawed(struct ketama_flaw *flaw, int status, uint64_t line,
                  const char *format, ...);

/* A piece of somebody's input made fit for a message: quoted, escaped, cut short. */
struct ketama_quoted {
    char text[192];
};
struct ketama_quoted ketama_quote(const char *bytes, size_t size);

/* Set the calling thread's last failure. path is NULL where there is no file; reason is
 * NULL where the errno says enough. */
int ketama_fail(int status, const char *path, const struct ketama_flaw *flaw);
int ketama_fail_system(const char *path, int system_errno, const char *reason);

#endif

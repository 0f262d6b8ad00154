/*
 * internal.h - what the stages share
 *
 *     file --source--> text --servers--> server list --points--> arcs
 *          --image--> flat bytes --segment--> shared memory --lookup--> server
 *                                                           --compat--> as in 2007
 *
 * Each stage is a C file that knows nothing of the others. share.c decides whether to
 * attach to a published image or to build one; roll.c opens and refreshes handles.
 * hash/, profile/ and admin/ have headers of their own.
 *
 * servers.c, utf8.c, clashes.c, points.c, packed.c, image.c, hash/, profile/ are pure:
 * no global state, and no system call except in the caller's progress report. A stage
 * that can fail fills a ketama_failure and returns its status; roll.c and the other
 * public boundaries store it for the calling thread.
 */
#ifndef KETAMA_INTERNAL_H
#define KETAMA_INTERNAL_H

#include "platform.h"

#include <stdatomic.h>

#ifndef KETAMA_NO_OLD_NAMES
#define KETAMA_NO_OLD_NAMES
#endif
#include "ketama.h"

/* Some text, which need not end in a NUL. */
struct ketama_text {
    const char *at;
    uint32_t bytes;
};

/* Reads four bytes as a little-endian word, at any address, on any machine. */
static inline uint32_t ketama_load32(const unsigned char *bytes)
{
    return (uint32_t)bytes[0] | (uint32_t)bytes[1] << 8 | (uint32_t)bytes[2] << 16 |
           (uint32_t)bytes[3] << 24;
}

/* How often a system call is repeated in sequence that signals interrupt: they may go on
 * without end. */
enum { KETAMA_INTERRUPTS_MAX = 100 };

/* ---- status.c: failures. Functions that return int return the status. */

/* Fills *failure; the format is printf's. A reason that is too long is cut. */
int ketama_set_failure(ketama_failure *failure, int status, uint64_t line,
                       const char *format, ...) KETAMA_PRINTF(4, 5);
/* The same for KETAMA_ESYSTEM. reason: NULL if the errno says it all. */
int ketama_set_system_failure(ketama_failure *failure, int system_errno,
                              const char *reason);
/* Stores a failure as the calling thread's latest, and sets errno. path: the file that
 * it is about, or NULL. For ENOMEM nothing need have been filled in. */
int ketama_store_failure(int status, const char *path, const ketama_failure *failure);
/* Makes the calling thread's latest failure none. */
void ketama_clear_failure(void);

/* Input made fit for a message: quoted, escaped, cut short. */
struct ketama_quoted {
    char text[192];
};
struct ketama_quoted ketama_quote(const char *bytes, size_t size);
struct ketama_quoted ketama_quote_text(const char *text); /* NUL-terminated */

/* ---- source.c: a path -> the file's text and stamp */

/* The state of a file. Equal stamps mean equal content, except as the racy rule says. */
struct ketama_stamp {
    uint64_t device;
    uint64_t inode;
    uint64_t size_bytes;
    int64_t mtime_ns;
    int64_t ctime_ns;
};

struct ketama_source {
    struct ketama_stamp stamp;
    int64_t read_at_ns; /* the wall clock before the first byte was read */
    unsigned char md5[16];
};

/* Fills *stamp. Returns ESYSTEM, with errno set, if it cannot. */
int ketama_source_stat(const char *path, struct ketama_stamp *stamp);
/* Reads the whole file; *text is allocated, and NULL on failure. */
int ketama_source_read(const char *path, struct ketama_source *source, char **text,
                       ketama_failure *failure);
bool ketama_stamp_equal(const struct ketama_stamp *a, const struct ketama_stamp *b);
/* Whether an equal stamp proves that the file is unchanged. */
bool ketama_stamp_reliable(const struct ketama_source *source);

/* ---- servers.c: text -> server list */

/* A server as it is listed. The strings point into what the list was made from, and are
 * not NUL-terminated. */
struct ketama_listed {
    const char *address;
    uint64_t weight;
    uint64_t line;    /* in the file, or position in the list, from 1 */
    const char *name; /* what is hashed in place of the address; NULL: none */
    uint32_t address_bytes;
    uint32_t name_bytes;
    struct ketama_text ranges; /* of the buckets that it owns; NULL: not listed */
};

struct ketama_server_list {
    struct ketama_listed *at;
    uint32_t count;
    uint32_t capacity;
    uint64_t total_weight;
    void (*report)(void *whom); /* called while the ring is made; may be NULL */
    void *whom;
    struct ketama_text stated; /* the options in the line "#ketama"; bytes 0: none */
};

/* Long computations call this every millisecond or so. */
static inline void ketama_report_progress(const struct ketama_server_list *list)
{
    if (list->report != NULL)
        list->report(list->whom);
}

/* The options that a text states in its first line; empty if it states none. */
struct ketama_text ketama_servers_stated(const char *text, size_t size);
/* Both fill *list, which must not outlive what it was made from; free it with
 * ketama_servers_free() whatever they return. chosen: the options that a program has
 * chosen for the text. */
int ketama_servers_parse(const char *text, size_t size, const char *chosen,
                         struct ketama_server_list *list, ketama_failure *failure);
int ketama_servers_copy(const ketama_server *servers, size_t count,
                        struct ketama_server_list *list, ketama_failure *failure);
void ketama_servers_free(struct ketama_server_list *list);

/* One line of a server file. */
struct ketama_line {
    int status;     /* KETAMA_OK, or what is wrong with it */
    bool is_server; /* else, if the status is OK, a comment or an empty line */
    struct ketama_listed server;
    const char *weight; /* where the weight begins, if is_server */
    size_t weight_bytes;
    /* What follows the weight, comments aside: two columns, and the rest of the line
     * after each of them; bytes 0 if absent. */
    struct ketama_text column[2], after[2];
    struct ketama_text stated; /* the options in the line "#ketama"; bytes 0: none */
    const char *next;          /* where the next line begins */
};

/* Reads the line at `text`, which may go on after it. `number` is the line's, from 1: a
 * byte order mark is skipped at the start of the first. Fills *line; where the line is
 * wrong, also *failure. What the columns after the weight are depends on the dialect. */
void ketama_servers_scan(const char *text, size_t size, uint64_t number,
                         struct ketama_line *line, ketama_failure *failure);
/* Takes these columns of a server's line as the name; or as the ranges of buckets in the
 * last one, and a name before it. Sets is_server to false if that fails. */
int ketama_servers_take_columns(struct ketama_line *line, bool has_ranges,
                                ketama_failure *failure);

/* ---- utf8.c */

/* Is it UTF-8? NUL is a character. */
bool ketama_is_utf8(const char *text, size_t size);

/* ---- profile/: the dialects, and how a program or a file chooses one */

struct ketama_profile;
struct ketama_dialect;

/* A hash of keys. Only xxh3 has a seed; the others ignore it. */
typedef uint32_t ketama_hash_function(const void *key, size_t len, uint64_t seed);
/* Narrows a key to the part that is hashed. False: its hash is 0. */
typedef bool ketama_key_part(const struct ketama_dialect *dialect, ketama_key *key);
/* See profile.h. */
typedef int ketama_name_rule(const struct ketama_dialect *dialect,
                             const struct ketama_listed *server, char *to,
                             struct ketama_text *name, ketama_failure *failure);

enum {
    KETAMA_SETTINGS_MAX = 1024, /* bytes of options as text, with a NUL */
    KETAMA_VALUE_MAX = 64,      /* bytes of an option's value, with a NUL */
    KETAMA_BATCH = 128,         /* keys that are hashed at once */
};

/* A profile with its options: how to hash keys, and how to make points. */
struct ketama_dialect {
    const struct ketama_profile *profile;
    ketama_hash_function *hash;
    ketama_key_part *part; /* NULL: all of a key is hashed */
    uint64_t seed;
    char tag[2];                 /* the characters around the part that is hashed */
    char text[KETAMA_VALUE_MAX]; /* that ends the part that is hashed */
    ketama_name_rule *name_rule;
    char default_port[KETAMA_VALUE_MAX];
    uint32_t points;
    uint32_t buckets; /* a power of two; 0: it has points instead */
};

/* Options as text are "key=value key=value"; a value may be in double quotes, and there
 * \" and \\ stand for themselves. `chosen` is what a program has chosen; `stated` what
 * the server file states. */

/* Checks the options of ketama_open, and writes them as text, in one order. */
int ketama_choose(const ketama_options *options, char chosen[KETAMA_SETTINGS_MAX],
                  ketama_failure *failure);
/* Makes the dialect of both, which must not contradict each other. */
int ketama_dialect_make(struct ketama_dialect *dialect, const char *chosen,
                        struct ketama_text stated, ketama_failure *failure);
/* Does the last column of a server file list buckets? As far as the options are valid.
 */
bool ketama_has_ranges(const char *chosen, struct ketama_text stated);
/* Adds what a text states to what was chosen for it. */
int ketama_choose_stated(char chosen[KETAMA_SETTINGS_MAX], struct ketama_text stated,
                         ketama_failure *failure);
/* Of the options that were chosen and that the file does not state as well: the
 * profile's id, and as text those that may change the ring. */
uint32_t ketama_chosen_ring(const char *chosen, struct ketama_text stated,
                            char settings[KETAMA_SETTINGS_MAX]);
/* The reverse: writes options that choose that ring. False: the profile does not exist.
 */
bool ketama_choice_of_ring(uint32_t profile, const char *settings,
                           char chosen[KETAMA_SETTINGS_MAX]);
/* Checks what a file states. */
int ketama_check_stated(struct ketama_text stated, uint64_t line,
                        ketama_failure *failure);

uint32_t ketama_hash_part(const struct ketama_dialect *dialect, ketama_key key);
void ketama_hash_keys(const struct ketama_dialect *dialect, const ketama_key *keys,
                      size_t count, uint32_t *hashes); /* at most KETAMA_BATCH */

/* Inline, as it is on the way of every lookup. */
static inline uint32_t ketama_hash_key(const struct ketama_dialect *dialect,
                                       const void *key, size_t len)
{
    return dialect->part == NULL ? dialect->hash(key, len, dialect->seed)
                                 : ketama_hash_part(dialect, (ketama_key){key, len});
}

/* ---- clashes.c */

/* Refuses a name that another server is hashed by as well: KETAMA_ENAME. names: what is
 * hashed for each server. all: refuse equal addresses, too. */
int ketama_check_names(const struct ketama_server_list *list,
                       const struct ketama_text *names, bool all,
                       ketama_failure *failure);

/* ---- packed.c: arcs <-> words of 32 bits, found by an index */

/* An arc of the ring: the hashes after the previous arc's end, up to and including this
 * one's, belong to a server. */
typedef struct ketama_arc {
    uint32_t end;
    uint32_t server;
} ketama_arc;

/* Arcs, ascending by end; of equal ends the first has the arc. */
struct ketama_packed {
    const uint32_t *words; /* and KETAMA_SLACK more, of which the first is words[0] */
    const uint32_t *index; /* index[b]: the first arc whose end's top bits are >= b */
    uint32_t count;
    uint32_t server_bits; /* of a word, its lowest */
    uint32_t server_mask; /* these bits */
    uint32_t shift;       /* a hash shifted right by this is its b */
};

enum {
    KETAMA_WINDOW = 16, /* words that a lookup compares at once */
    /* Words that it may read after the last one: where it finds no arc, the first one
     * again; in a damaged image, those after that. */
    KETAMA_SLACK = KETAMA_WINDOW + 1,
};

/* The bits that a server's index takes, 0 to 20; and the shift for so many arcs. */
uint32_t ketama_server_bits(uint32_t server_count);
uint32_t ketama_index_shift(uint32_t arc_count, uint32_t server_count);
static inline uint64_t ketama_index_entries(uint32_t shift)
{
    return (UINT64_C(1) << (32 - shift)) + 1;
}

static inline uint32_t ketama_packed_server(const struct ketama_packed *arcs,
                                            uint32_t word)
{
    return word & arcs->server_mask;
}

/* The arc at an index, which is below the count. Its server need not exist if the image
 * is damaged. The second is for arcs one after the other: *bucket is 0 for the first. */
ketama_arc ketama_arc_at(const struct ketama_packed *arcs, uint32_t at);
ketama_arc ketama_arc_from(const struct ketama_packed *arcs, uint32_t at,
                           uint32_t *bucket);

/* Where arcs are packed, in ascending order. Then ketama_pack_finish() is called. */
struct ketama_packer {
    uint32_t *words;
    uint32_t *index; /* zeros */
    uint32_t count;  /* of the words so far */
    uint32_t server_bits;
    uint32_t shift;
};

static inline void ketama_pack(struct ketama_packer *packer, ketama_arc arc)
{
    packer->words[packer->count++] = arc.end << packer->server_bits | arc.server;
    packer->index[(arc.end >> packer->shift) + 1] = packer->count;
}

void ketama_pack_finish(const struct ketama_packer *packer);

/* ---- points.c: server list -> arcs */

struct ketama_ring {
    struct ketama_packer arcs;
    uint32_t first_point; /* the index of the arc whose point is the smallest */
    uint32_t point_count; /* fewer than arcs if the dialect has added some */
    uint32_t *points_of;  /* how many points each server has; */
    uint64_t *shares_of;  /* and how many hashes */
};

int ketama_ring_make(const struct ketama_dialect *dialect,
                     const struct ketama_server_list *servers, struct ketama_ring *ring,
                     ketama_failure *failure);
void ketama_ring_free(struct ketama_ring *ring);

/* ---- image.c: ring <-> flat relocatable bytes (docs/image-format.md) */

enum {
    KETAMA_IMAGE_FORMAT = 3,
    KETAMA_HEADER_BYTES = 320,
    KETAMA_SUPERSEDED_AT = 256, /* the offset of the superseded mark, a uint32_t */
};

struct ketama_image; /* the bytes; only image.c knows their layout */

struct ketama_image_server {
    uint64_t weight;
    uint64_t share;
    uint32_t points;
    uint32_t address_at; /* offset into the strings */
    uint32_t name_at;    /* likewise; 0: no name */
    uint32_t line;       /* in the server file, from 1 */
};

/* Where things are in an image, computed once so that lookups need not. */
struct ketama_view {
    struct ketama_packed arcs;
    const struct ketama_image_server *servers;
    const char *strings; /* "", then NUL-terminated addresses and names */
    const _Atomic uint32_t *superseded;
    uint64_t strings_bytes;
    uint32_t server_count;
    uint32_t first_point; /* as in struct ketama_ring; */
    uint32_t point_count; /* likewise */

    const void *image;
    size_t size_bytes; /* of the image */
    uint64_t checksum; /* as the header had it when it was read */
    const char *path;  /* in the image, after all of the above */
};

/* Which ring an image is of. */
struct ketama_identity {
    const char *path;     /* "": a list in memory */
    const char *settings; /* the options chosen that may change the ring; "": none */
    uint32_t profile;     /* the id of the one chosen, by default libketama's */
};

/* What an image says about itself. */
struct ketama_image_info {
    struct ketama_source source;
    uint64_t generation; /* of the images published for that identity, from 1 */
    struct ketama_identity identity; /* its strings are in the image */
    struct ketama_text stated;       /* the options that the file states; likewise */
    struct ketama_view view;
};

/* Allocates an image, and fills *info from it. Returns NULL if out of memory. */
struct ketama_image *ketama_image_make(const struct ketama_identity *identity,
                                       const struct ketama_server_list *servers,
                                       const struct ketama_ring *ring,
                                       const struct ketama_source *source,
                                       uint64_t generation,
                                       struct ketama_image_info *info);
size_t ketama_image_size(const struct ketama_image *image);
void ketama_image_free(struct ketama_image *image);

/* Fills *info for a copy of an image at another address. */
void ketama_image_locate(const struct ketama_image *image, const void *copy,
                         struct ketama_image_info *info);

/* The functions below take bytes that anybody may have written. The first checks the
 * header alone, which is quick: is this an image of that identity? Its view never leads
 * outside of the image, whatever happens to the bytes later, and may be used once the
 * second, which reads every byte, has found no damage. */
bool ketama_image_read(const void *image, size_t size_bytes,
                       const struct ketama_identity *identity,
                       struct ketama_image_info *info);
bool ketama_image_intact(const struct ketama_view *view);
/* Does the header still have the magic, size and checksum of when it was read? For an
 * image that is in use. Reads nothing else. */
bool ketama_image_has_header(const struct ketama_view *view);
/* The same two checks for an image whose identity is not known: it has its own path. */
bool ketama_image_identify(const void *image, size_t size_bytes,
                           struct ketama_image_info *info);
/* The identity in an image, from the header alone, which may be damaged. False: none. */
bool ketama_image_read_identity(const void *image, size_t size_bytes,
                                struct ketama_identity *identity);

/* What a header says, without the rest of the image, which it may contradict. */
struct ketama_outline {
    uint64_t path_at; /* within the image, as is all of it */
    uint64_t path_bytes;
    uint64_t generation;
    int64_t read_at_ns;
    uint32_t servers;
    uint32_t points;
};
/* False: not the header of an image of that size. */
bool ketama_image_outline(const unsigned char header[KETAMA_HEADER_BYTES],
                          size_t size_bytes, struct ketama_outline *outline);

/* ---- slot.c: where images are published */

enum { KETAMA_SLOT_NAME_MAX = 64, KETAMA_FOLDER_MAX = 4096 };

/* Where the image of one identity is published. */
struct ketama_slot {
    int folder;         /* open; ours */
    int lock;           /* open while this process holds the builder's lock, else -1 */
    int64_t touched_at; /* when the lock was touched, coarse clock; 0: never */
    char name[KETAMA_SLOT_NAME_MAX];
};

/* What a waiter sees of the builder's lock: it changes while the builder works. */
struct ketama_progress {
    uint64_t inode;
    int64_t mtime_ns;
};

enum ketama_lock {
    KETAMA_LOCK_HELD,
    KETAMA_LOCK_BUSY, /* another thread or process holds it */
    KETAMA_LOCK_NONE, /* there can be no lock here */
};

/* The locations where folders of images may be, best first; NULL: no more. */
const char *ketama_slot_location(int rank);
/* Is this a directory of that user, closed to all others? */
bool ketama_slot_is_folder_of(int fd, uid_t user);
/* Opens the folder that images are published in, and makes it if `make` is set. Returns
 * -1, with errno set, if there is none. */
int ketama_slot_folder(char path[KETAMA_FOLDER_MAX], bool make);
/* After a failed open: does the file exist for all we know? */
bool ketama_is_out_of_resources(int system_errno);
/* The name of an image, and the start of the names of its other files. */
void ketama_slot_name(char name[KETAMA_SLOT_NAME_MAX],
                      const struct ketama_identity *identity);
bool ketama_slot_open(struct ketama_slot *slot, const struct ketama_identity *identity);
void ketama_slot_close(struct ketama_slot *slot);
/* Does not wait. Where the lock is busy, *progress tells its holder's; 0 if that has
 * just let it go. */
enum ketama_lock ketama_slot_lock(struct ketama_slot *slot,
                                  struct ketama_progress *progress);
void ketama_slot_unlock(struct ketama_slot *slot);
/* Shows those who wait for the lock that its holder makes progress. */
void ketama_slot_touch(struct ketama_slot *slot);
/* Takes the lock away from its holder, if it is still that one. False: it cannot. */
bool ketama_slot_break_lock(struct ketama_slot *slot,
                            const struct ketama_progress *holder);

/* ---- segment.c: bytes <-> shared memory */

/* A file, whatever its name. */
struct ketama_file {
    uint64_t device, inode;
};

struct ketama_segment {
    const void *bytes; /* mapped read-only; NULL: none */
    size_t size_bytes;
};

/* What a name in the folder stands for. */
enum ketama_found {
    KETAMA_FOUND,
    KETAMA_ABSENT,
    KETAMA_UNTRUSTED, /* not a file that only this user can have written */
    KETAMA_FAILED     /* unknown: see errno */
};

/* Maps what is published. `file` is which file that is. Where it is the one in `skip` it
 * is not mapped again, and the result is KETAMA_ABSENT; skip may be NULL. */
enum ketama_found ketama_segment_attach(const struct ketama_slot *slot,
                                        const struct ketama_file *skip,
                                        struct ketama_segment *segment,
                                        struct ketama_file *file);
bool ketama_segment_publish(const struct ketama_slot *slot, const void *bytes,
                            size_t size_bytes, struct ketama_segment *segment);
void ketama_segment_detach(struct ketama_segment *segment);
/* Writes all of it, at the start of a file, or returns false. */
bool ketama_write_fully(int fd, const void *bytes, size_t size);

/* Does the name stand for another file by now, or for none? */
bool ketama_segment_is_replaced(const struct ketama_slot *slot, const char *name,
                                const struct ketama_file *file);
/* Is it being written, or is it the builder's lock and held? */
bool ketama_segment_is_busy(const struct ketama_slot *slot, const char *name);
/* Marks and removes it, if the name still stands for that file, else KETAMA_ABSENT. */
enum ketama_found ketama_segment_remove(const struct ketama_slot *slot, const char *name,
                                        const struct ketama_file *file);

/* ---- handle.c: the handle */

/* In a handle's flags: it is never freed, however often it is closed. */
#define KETAMA_STATIC (1u << 31)

struct ketama_handle {
    /* The first three are those of libketama.so.1, for programs that read them. */
    int numpoints;
    void *modtime;
    void *array;

    struct ketama_view view;
    struct ketama_dialect dialect;
    struct ketama_source source;
    struct ketama_image *image;    /* private memory, or NULL */
    struct ketama_segment segment; /* or shared memory */
    uint64_t generation;
    char *path;            /* absolute; NULL: from a list in memory */
    char *chosen;          /* the options of ketama_open, as text */
    char *ring_settings;   /* those of them that are in the identity; */
    uint32_t ring_profile; /* likewise; see ketama_identify() */
    unsigned flags;        /* of ketama_open */
    atomic_uint owners;
    atomic_bool stamp_reliable;  /* an equal stamp proves that the file is unchanged */
    atomic_bool supersede_seen;  /* the superseded mark was reported */
    _Atomic int64_t interval_ns; /* ketama_follow's; 0: none */
    _Atomic int64_t checked_at;  /* when the file was last checked, coarse clock, ns */
    _Atomic int64_t began_at;    /* likewise: when the latest refresh began */
    atomic_bool reported;        /* ketama_due() returned 1, and no refresh has begun */
    atomic_uint refreshing;      /* how many have begun since one has ended; 0: none */
    atomic_long process;         /* in which ketama_due() last returned 1 */
    _Atomic(void *) mcs_array;   /* compat.c's, one allocation; NULL: not made yet */
};

/* Makes a handle without an image. path: absolute, or NULL. Returns NULL if out of
 * memory. Everything is copied. */
ketama_continuum ketama_handle_new(const char *path, const char *chosen, unsigned flags);
struct ketama_identity ketama_handle_identity(ketama_continuum c);
/* Between the two, the file is being checked. What the first one returns is passed to
 * the second. */
unsigned ketama_handle_begin_refresh(ketama_continuum c);
void ketama_handle_end_refresh(ketama_continuum c, unsigned begun);
/* Makes a path independent of the working directory; *absolute is allocated. */
int ketama_absolute_path(const char *path, char **absolute, ketama_failure *failure);

/* ---- share.c: attach to the published image of a file, or build and publish one */

/* An image has the ring that a file states, or that with options which a program has
 * chosen: one image serves whoever states or chooses the same. Writes which image a
 * program uses: the profile's id, and the options. */
uint32_t ketama_identify(const char *path, const char *chosen,
                         char settings[KETAMA_SETTINGS_MAX]);
/* Fills a new handle from its file. */
int ketama_share(ketama_continuum c, ketama_failure *failure);
/* Fills it from what was published last for that file, if its file is now invalid.
 * False: there is no such image. */
bool ketama_share_last(ketama_continuum c);
/* Builds the image of a list into a new handle. */
int ketama_build(ketama_continuum c, const struct ketama_server_list *servers,
                 const struct ketama_source *source, uint64_t generation,
                 ketama_failure *failure);
/* The same, in the dialect that c has. */
int ketama_build_in_dialect(ketama_continuum c, const struct ketama_server_list *servers,
                            const struct ketama_source *source, uint64_t generation,
                            ketama_failure *failure);
/* Does the file still have the text of that source? Sets *reliable if its stamp proves
 * it from now on. */
bool ketama_is_same_text(const char *path, const struct ketama_source *source,
                         bool *reliable);

/* ---- lookup.c, for compat.c, which hands out points */

/* The index of the arc that a key is in. */
uint32_t ketama_find_arc(ketama_continuum c, const void *key, size_t len);

#endif

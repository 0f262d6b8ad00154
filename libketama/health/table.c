/*
 * table.c - the file that the table of liveness is in, or private memory
 *
 * The file is filled in place, under a flock(2) that the kernel releases if the process
 * dies, so that nothing is left over, and whoever has a damaged table mapped sees it
 * repaired. Its pages are written with write(2): a full disk is an error then, and not
 * a signal later. As with images, nothing that another user may have planted is used,
 * followed or waited for, and a failure is none to the caller: the table is private.
 */
#include "health.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>

static const unsigned char magic[16] = "ketama liveness";
static const uint32_t order = 0x01020304;

enum state { GOOD, EMPTY, OTHER };

/* Only this user can have written it, and nobody else can. */
static bool is_ours(int fd, struct stat *st)
{
    if (fstat(fd, st) != 0 || !S_ISREG(st->st_mode) || st->st_uid != geteuid())
        return false;
    if ((st->st_mode & 0777) == 0) /* made under a umask that denies even us */
        return fchmod(fd, 0600) == 0;
    return (st->st_mode & 022) == 0;
}

/* OTHER: of a machine with another byte order, under an emulator. */
static enum state examine(int fd, const struct stat *st)
{
    struct ketama_health_table head;
    const size_t size = offsetof(struct ketama_health_table, changes);
    if (st->st_size < (off_t)sizeof head || pread(fd, &head, size, 0) != (ssize_t)size ||
        memcmp(head.magic, magic, sizeof magic) != 0)
        return EMPTY;
    return head.order == order && head.slots == KETAMA_HEALTH_SLOTS ? GOOD : OTHER;
}

/* The header is written last: without it, the next process fills the file again. */
static bool fill(int fd)
{
    static const unsigned char zeros[sizeof(struct ketama_health_table)];
    unsigned char head[offsetof(struct ketama_health_table, changes)] = {0};
    struct stat st;
    const uint32_t slots = KETAMA_HEALTH_SLOTS;

    memcpy(head, magic, sizeof magic);
    memcpy(head + offsetof(struct ketama_health_table, order), &order, sizeof order);
    memcpy(head + offsetof(struct ketama_health_table, slots), &slots, sizeof slots);
    if (lseek(fd, 0, SEEK_SET) == 0 && ketama_write_fully(fd, zeros, sizeof zeros) &&
        lseek(fd, 0, SEEK_SET) == 0 && ketama_write_fully(fd, head, sizeof head))
        return true;
    /* Give back what was written of a file that nobody can have mapped. */
    if (fstat(fd, &st) == 0 && st.st_size < (off_t)sizeof zeros)
        (void)!ftruncate(fd, 0);
    return false;
}

/* Waits for whoever is filling the file, for a fifth of a second at most. */
static bool make_good(int fd, struct stat *st)
{
    enum { ATTEMPTS = 200 };
    const struct timespec pause = {0, 1000000};
    enum state state = EMPTY;

    for (int i = 0; i < ATTEMPTS; i++) {
        if (flock(fd, LOCK_EX | LOCK_NB) == 0) {
            bool good = fstat(fd, st) == 0 && (state = examine(fd, st)) != OTHER &&
                        (state == GOOD || fill(fd));
            (void)flock(fd, LOCK_UN); /* for a child that was forked meanwhile as well */
            return good;
        }
        if (errno != EWOULDBLOCK)
            return false;
        (void)nanosleep(&pause, NULL);
    }
    return false;
}

static void *map_file(int fd, bool make, struct ketama_file *file)
{
    struct stat st;
    if (!is_ours(fd, &st))
        return NULL;
    enum state state = examine(fd, &st);
    if (state == OTHER || (state == EMPTY && (!make || !make_good(fd, &st))))
        return NULL;
    *file = (struct ketama_file){(uint64_t)st.st_dev, (uint64_t)st.st_ino};
    void *bytes = mmap(NULL, sizeof(struct ketama_health_table), PROT_READ | PROT_WRITE,
                       MAP_SHARED, fd, 0);
    return bytes != MAP_FAILED ? bytes : NULL;
}

static void *map_shared(bool make, struct ketama_file *file)
{
    char path[KETAMA_FOLDER_MAX];
    int folder = ketama_slot_folder(path, make);
    if (folder < 0)
        return NULL;
    int fd = openat(folder, KETAMA_HEALTH_NAME,
                    O_RDWR | (make ? O_CREAT : 0) | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK |
                        O_NOCTTY,
                    0600);
    void *bytes = fd < 0 ? NULL : map_file(fd, make, file);
    if (fd >= 0)
        (void)close(fd);
    (void)close(folder);
    return bytes;
}

struct ketama_health_mapping *ketama_health_map(const ketama_health_options *options)
{
    struct ketama_health_mapping *mapping = calloc(1, sizeof *mapping);
    void *bytes = NULL;

    if (mapping == NULL)
        return NULL;
    if ((options->flags & KETAMA_HEALTH_PRIVATE) == 0)
        bytes =
            map_shared((options->flags & KETAMA_HEALTH_EXISTING) == 0, &mapping->file);
    if (bytes == NULL) {
        mapping->file = (struct ketama_file){0, 0};
        bytes = mmap(NULL, sizeof(struct ketama_health_table), PROT_READ | PROT_WRITE,
                     MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    }
    if (bytes == MAP_FAILED) {
        free(mapping);
        return NULL;
    }
    mapping->table = bytes;
    return mapping;
}

void ketama_health_unmap(struct ketama_health_mapping *mapping)
{
    struct ketama_health_mapping *before;
    for (; mapping != NULL; mapping = before) {
        before = mapping->before;
        (void)munmap(mapping->table, sizeof *mapping->table);
        free(mapping);
    }
}

bool ketama_health_is_replaced(const struct ketama_health_mapping *mapping)
{
    char path[KETAMA_FOLDER_MAX];
    struct stat st;
    int folder = ketama_slot_folder(path, false);
    if (folder < 0) /* without descriptors, nothing is known */
        return errno != EMFILE && errno != ENFILE && errno != ENOMEM;
    bool same = fstatat(folder, KETAMA_HEALTH_NAME, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
                (uint64_t)st.st_dev == mapping->file.device &&
                (uint64_t)st.st_ino == mapping->file.inode &&
                st.st_size >= (off_t)sizeof *mapping->table;
    (void)close(folder);
    return !same;
}

/*
 * segment.c - bytes <-> shared memory
 *
 * An image is a regular file, one per user and identity. It is written under another
 * name and then renamed, so nobody ever sees half of one; it is written with write(2),
 * so that a full disk is an error and not a signal. Nothing that another user may have
 * planted is used, followed or waited for. A failure here is never an error to the
 * caller of the library: the continuum is private then.
 */
#include "internal.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/resource.h>

enum { NEW_NAME_MAX = KETAMA_SLOT_NAME_MAX + 64 };

/* A file that only this user can have written? */
static bool is_trusted(const struct stat *st)
{
    return S_ISREG(st->st_mode) && st->st_uid == geteuid() && (st->st_mode & 022) == 0 &&
           st->st_size > 0 && (uintmax_t)st->st_size <= SIZE_MAX / 2;
}

static bool map(int fd, size_t size_bytes, struct ketama_segment *segment)
{
    void *bytes = mmap(NULL, size_bytes, PROT_READ, MAP_SHARED, fd, 0);
    segment->bytes = bytes != MAP_FAILED ? bytes : NULL;
    segment->size_bytes = size_bytes;
    return segment->bytes != NULL;
}

/* Returns -1 if there is none. Follows and waits for nothing that was planted. */
static int open_file(const struct ketama_slot *slot, const char *name, int access)
{
    return openat(slot->folder, name,
                  access | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
}

static struct ketama_file file_of(const struct stat *st)
{
    return (struct ketama_file){(uint64_t)st->st_dev, (uint64_t)st->st_ino};
}

static bool is_same_file(const struct ketama_file *a, const struct ketama_file *b)
{
    return a->device == b->device && a->inode == b->inode;
}

static enum ketama_found attach(int fd, const struct ketama_file *skip,
                                struct ketama_segment *segment, struct ketama_file *file)
{
    struct stat st;
    if (fstat(fd, &st) != 0)
        return KETAMA_FAILED;
    *file = file_of(&st);
    if (skip != NULL && is_same_file(file, skip))
        return KETAMA_ABSENT;
    if (!is_trusted(&st))
        return KETAMA_UNTRUSTED;
    return map(fd, (size_t)st.st_size, segment) ? KETAMA_FOUND : KETAMA_FAILED;
}

enum ketama_found ketama_segment_attach(const struct ketama_slot *slot,
                                        const struct ketama_file *skip,
                                        struct ketama_segment *segment,
                                        struct ketama_file *file)
{
    int fd = open_file(slot, slot->name, O_RDONLY);

    segment->bytes = NULL;
    if (fd < 0) /* O_NOFOLLOW reports a link as ELOOP */
        return errno == ENOENT                                       ? KETAMA_ABSENT
               : errno == ELOOP || errno == EACCES || errno == ENXIO ? KETAMA_UNTRUSTED
                                                                     : KETAMA_FAILED;
    enum ketama_found found = attach(fd, skip, segment, file);
    int saved = errno;
    (void)close(fd);
    errno = saved;
    return found;
}

void ketama_segment_detach(struct ketama_segment *segment)
{
    if (segment->bytes != NULL)
        (void)munmap((void *)(uintptr_t)segment->bytes, segment->size_bytes);
    segment->bytes = NULL;
}

/* RLIMIT_FSIZE raises SIGXFSZ, so it is checked first. */
bool ketama_write_fully(int fd, const void *from, size_t size)
{
    const unsigned char *bytes = from;
    struct rlimit limit;
    if (getrlimit(RLIMIT_FSIZE, &limit) != 0 ||
        (limit.rlim_cur != RLIM_INFINITY && limit.rlim_cur < size))
        return false;
    int interrupts = 0;
    while (size > 0) {
        ssize_t now = write(fd, bytes, size);
        if (now > 0) {
            bytes += now;
            size -= (size_t)now;
            interrupts = 0;
        } else if (now == 0 || errno != EINTR || ++interrupts > KETAMA_INTERRUPTS_MAX) {
            return false;
        }
    }
    return true;
}

/* Marks an image, which all processes that have it mapped see. */
static void supersede(int fd)
{
    const uint32_t mark = 1;
    struct stat st;
    if (fstat(fd, &st) == 0 && is_trusted(&st) &&
        (uintmax_t)st.st_size >= KETAMA_SUPERSEDED_AT + sizeof mark)
        (void)!pwrite(fd, &mark, sizeof mark, KETAMA_SUPERSEDED_AT);
}

/* Marks and removes an image that is no longer published. Unless that is certain, a
 * locked file is left alone: it is being written. */
static void retire(const struct ketama_slot *slot, const char *name, bool certain)
{
    int fd = open_file(slot, name, O_RDWR);
    if (fd < 0 && ketama_is_out_of_resources(errno))
        return; /* the next sweep can mark it */
    if (fd >= 0 && (certain || flock(fd, LOCK_EX | LOCK_NB) == 0)) {
        supersede(fd);
        certain = true;
    }
    if (certain)
        (void)unlinkat(slot->folder, name, 0);
    if (fd >= 0)
        (void)close(fd);
}

/* Retires what killed publishers left behind: files that are not locked, whether
 * unfinished or replaced. */
static void sweep(const struct ketama_slot *slot)
{
    size_t length = strlen(slot->name);
    struct dirent *entry;
    int fd = fcntl(slot->folder, F_DUPFD_CLOEXEC, 0);
    DIR *folder = fd < 0 ? NULL : fdopendir(fd);

    if (folder == NULL) {
        if (fd >= 0)
            (void)close(fd);
        return;
    }
    rewinddir(folder);
    while ((entry = readdir(folder)) != NULL)
        if (strncmp(entry->d_name, slot->name, length) == 0 &&
            entry->d_name[length] == '-')
            retire(slot, entry->d_name, false);
    (void)closedir(folder);
}

/* Creates a file that is locked while it is being written; `name` is set to its name. */
static int create_once(const struct ketama_slot *slot, char name[NEW_NAME_MAX])
{
    struct timespec now;
    struct stat st;
    if (clock_gettime(CLOCK_REALTIME, &now) != 0)
        return -1;
    snprintf(name, NEW_NAME_MAX, "%s-%ld-%lx%08lx", slot->name, (long)getpid(),
             (unsigned long)now.tv_sec, (unsigned long)now.tv_nsec);
    int fd = openat(slot->folder, name,
                    O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return -1;
    /* A sweeper may have been faster than the lock. */
    if (flock(fd, LOCK_EX | LOCK_NB) == 0 && fchmod(fd, 0600) == 0 &&
        fstat(fd, &st) == 0 && st.st_nlink == 1)
        return fd;
    (void)unlinkat(slot->folder, name, 0);
    (void)close(fd);
    return -1;
}

static int create_new(const struct ketama_slot *slot, char name[NEW_NAME_MAX])
{
    enum { ATTEMPTS = 3 };
    int fd = -1;
    for (int i = 0; i < ATTEMPTS && fd < 0; i++)
        fd = create_once(slot, name);
    return fd;
}

/*
 * The new image takes the published one's name, and the old one is marked. If this
 * process dies in between, the next publisher finds the old image under the new one's
 * former name and marks it. If names cannot be exchanged, or nothing is published, the
 * new image is renamed.
 */
static bool replace(const struct ketama_slot *slot, const char *name)
{
    struct stat st;
    if (fstatat(slot->folder, slot->name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
        S_ISDIR(st.st_mode))
        return false;
    if (ketama_exchange_names(slot->folder, name, slot->name)) {
        retire(slot, name, true);
        return true;
    }
    int replaced = open_file(slot, slot->name, O_RDWR);
    bool renamed = renameat(slot->folder, name, slot->folder, slot->name) == 0;
    if (replaced >= 0) {
        if (renamed)
            supersede(replaced);
        (void)close(replaced);
    }
    return renamed;
}

bool ketama_segment_publish(const struct ketama_slot *slot, const void *bytes,
                            size_t size_bytes, struct ketama_segment *segment)
{
    char name[NEW_NAME_MAX];
    int fd;

    segment->bytes = NULL;
    sweep(slot);
    fd = create_new(slot, name);
    if (fd < 0)
        return false;
    bool published = ketama_write_fully(fd, bytes, size_bytes) &&
                     map(fd, size_bytes, segment) && replace(slot, name);
    if (!published) {
        ketama_segment_detach(segment);
        (void)unlinkat(slot->folder, name, 0);
    }
    (void)flock(fd, LOCK_UN);
    (void)close(fd);
    return published;
}

/* ---- for ketama_admin.h */

bool ketama_segment_is_replaced(const struct ketama_slot *slot, const char *name,
                                const struct ketama_file *file)
{
    struct stat st;
    if (fstatat(slot->folder, name, &st, AT_SYMLINK_NOFOLLOW) != 0)
        return true;
    struct ketama_file now = file_of(&st);
    return !is_same_file(&now, file);
}

/*
 * A file is locked while it is being written. Testing a lock takes it for an instant, so
 * a young file, which its writer may be about to lock, is not tested.
 */
bool ketama_segment_is_busy(const struct ketama_slot *slot, const char *name)
{
    enum { YOUNG = 2 }; /* seconds */
    struct timespec now;
    struct stat st;
    if (clock_gettime(CLOCK_REALTIME, &now) != 0 ||
        fstatat(slot->folder, name, &st, AT_SYMLINK_NOFOLLOW) != 0 ||
        (st.st_mtime > now.tv_sec - YOUNG && st.st_mtime < now.tv_sec + YOUNG))
        return true;
    int fd = open_file(slot, name, O_RDWR);
    if (fd < 0)
        return errno != ELOOP && errno != EISDIR && errno != ENXIO;
    bool busy = flock(fd, LOCK_EX | LOCK_NB) != 0;
    if (!busy) /* explicitly, for a child that was forked meanwhile */
        (void)flock(fd, LOCK_UN);
    (void)close(fd);
    return busy;
}

enum ketama_found ketama_segment_remove(const struct ketama_slot *slot, const char *name,
                                        const struct ketama_file *file)
{
    int fd = open_file(slot, name, O_RDWR);
    if (fd < 0 && (errno == EMFILE || errno == ENFILE || errno == ENOMEM))
        return KETAMA_FAILED; /* it could not be marked */
    enum ketama_found found = KETAMA_ABSENT;
    if (!ketama_segment_is_replaced(slot, name, file)) {
        if (fd >= 0)
            supersede(fd);
        found = unlinkat(slot->folder, name, 0) == 0 ? KETAMA_FOUND : KETAMA_FAILED;
    }
    int saved = errno;
    if (fd >= 0)
        (void)close(fd);
    errno = saved;
    return found;
}

/*
 * segment.c - bytes <-> shared memory
 *
 * An image is a regular file, one for each user, path and profile. It is written under
 * another name and then renamed, so nobody ever sees half of one; it is written with
 * write(2), so that a full disk is an error and not a signal. What others planted is
 * never used, followed or waited for. Nothing here is an error to the caller's caller:
 * where it can't be done, the continuum is private.
 */
#define _POSIX_C_SOURCE 200809L
#define _DEFAULT_SOURCE /* for flock and syscall */
#define _DARWIN_C_SOURCE

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#ifdef __linux__
#include <sys/syscall.h>
#endif

#include "internal.h"

enum { NEW_NAME_MAX = KETAMA_PLACE_NAME_MAX + 64 };

/* Only what this user alone can have written. */
static bool is_trusted(int fd, size_t *size_bytes)
{
    struct stat st;
    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode) || st.st_uid != geteuid() ||
        (st.st_mode & 022) != 0 || st.st_size <= 0 ||
        (uintmax_t)st.st_size > SIZE_MAX / 2)
        return false;
    *size_bytes = (size_t)st.st_size;
    return true;
}

static bool map(int fd, struct ketama_segment *segment)
{
    segment->bytes = NULL;
    if (!is_trusted(fd, &segment->size_bytes))
        return false;
    void *bytes = mmap(NULL, segment->size_bytes, PROT_READ, MAP_SHARED, fd, 0);
    if (bytes == MAP_FAILED)
        return false;
    segment->bytes = bytes;
    return true;
}

/* -1 where there is none; nothing that was planted is followed or waited for. */
static int open_file(const struct ketama_place *place, const char *name, int access)
{
    return openat(place->folder, name,
                  access | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
}

bool ketama_segment_attach(const struct ketama_place *place,
                           struct ketama_segment *segment)
{
    int fd = open_file(place, place->name, O_RDONLY);
    if (fd < 0)
        return false;
    bool mapped = map(fd, segment);
    (void)close(fd);
    return mapped;
}

void ketama_segment_detach(struct ketama_segment *segment)
{
    if (segment->bytes != NULL)
        (void)munmap((void *)(uintptr_t)segment->bytes, segment->size_bytes);
    segment->bytes = NULL;
}

/* All of it, or false. A limit on file sizes would be a signal, so it is asked before.
 */
static bool write_fully(int fd, const unsigned char *bytes, size_t size)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_FSIZE, &limit) != 0 ||
        (limit.rlim_cur != RLIM_INFINITY && limit.rlim_cur < size))
        return false;
    while (size > 0) {
        ssize_t now = write(fd, bytes, size);
        if (now > 0) {
            bytes += now;
            size -= (size_t)now;
        } else if (now == 0 || errno != EINTR) {
            return false;
        }
    }
    return true;
}

/* Tells all who have this image mapped that there is a newer one. */
static void supersede(int fd)
{
    const uint32_t mark = 1;
    size_t size;
    if (is_trusted(fd, &size) && size >= KETAMA_SUPERSEDED_AT + sizeof mark)
        (void)!pwrite(fd, &mark, sizeof mark, KETAMA_SUPERSEDED_AT);
}

/* Marks and removes an image that is not published any more. Unless that is certain, a
 * file that somebody has locked is left alone: it is being written. */
static void retire(const struct ketama_place *place, const char *name, bool certain)
{
    int fd = open_file(place, name, O_RDWR);
    if (fd >= 0 && (certain || flock(fd, LOCK_EX | LOCK_NB) == 0)) {
        supersede(fd);
        certain = true;
    }
    if (certain)
        (void)unlinkat(place->folder, name, 0);
    if (fd >= 0)
        (void)close(fd);
}

/* Retires what publishers that were killed have left: files that nobody has locked, be
 * they unfinished new images, or replaced ones. */
static void sweep(const struct ketama_place *place)
{
    size_t length = strlen(place->name);
    struct dirent *entry;
    int fd = fcntl(place->folder, F_DUPFD_CLOEXEC, 0);
    DIR *folder = fd < 0 ? NULL : fdopendir(fd);

    if (folder == NULL) {
        if (fd >= 0)
            (void)close(fd);
        return;
    }
    rewinddir(folder);
    while ((entry = readdir(folder)) != NULL)
        if (strncmp(entry->d_name, place->name, length) == 0 &&
            entry->d_name[length] == '-')
            retire(place, entry->d_name, false);
    (void)closedir(folder);
}

/* One attempt at a new file, locked while it is being written; its name is left in
 * `name`. */
static int create_once(const struct ketama_place *place, char name[NEW_NAME_MAX])
{
    struct timespec now;
    struct stat st;
    if (clock_gettime(CLOCK_REALTIME, &now) != 0)
        return -1;
    snprintf(name, NEW_NAME_MAX, "%s-%ld-%lx%08lx", place->name, (long)getpid(),
             (unsigned long)now.tv_sec, (unsigned long)now.tv_nsec);
    int fd = openat(place->folder, name,
                    O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return -1;
    /* A sweeper may have been faster than the lock. */
    if (flock(fd, LOCK_EX | LOCK_NB) == 0 && fchmod(fd, 0600) == 0 &&
        fstat(fd, &st) == 0 && st.st_nlink == 1)
        return fd;
    (void)unlinkat(place->folder, name, 0);
    (void)close(fd);
    return -1;
}

static int create_new(const struct ketama_place *place, char name[NEW_NAME_MAX])
{
    enum { ATTEMPTS = 3 };
    int fd = -1;
    for (int i = 0; i < ATTEMPTS && fd < 0; i++)
        fd = create_once(place, name);
    return fd;
}

/* Exchanges the names of two files, so that it is certain which one was replaced. */
static bool exchange(const struct ketama_place *place, const char *name)
{
#if defined(__linux__) && defined(SYS_renameat2)
    const unsigned rename_exchange = 2;
    return syscall(SYS_renameat2, place->folder, name, place->folder, place->name,
                   rename_exchange) == 0;
#else
    (void)place;
    (void)name;
    return false;
#endif
}

/*
 * The new image takes the published one's name, and that one is marked. Were this
 * process to die between the two, the next publisher would find the replaced image under
 * the new one's old name, and mark it then. Where names cannot be exchanged, or there is
 * nothing to replace, the new one is renamed.
 */
static bool replace(const struct ketama_place *place, const char *name)
{
    struct stat st;
    if (fstatat(place->folder, place->name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
        S_ISDIR(st.st_mode))
        return false;
    if (exchange(place, name)) {
        retire(place, name, true);
        return true;
    }
    int replaced = open_file(place, place->name, O_RDWR);
    bool renamed = renameat(place->folder, name, place->folder, place->name) == 0;
    if (replaced >= 0) {
        if (renamed)
            supersede(replaced);
        (void)close(replaced);
    }
    return renamed;
}

bool ketama_segment_publish(const struct ketama_place *place, const void *bytes,
                            size_t size_bytes, struct ketama_segment *segment)
{
    char name[NEW_NAME_MAX];
    int fd;

    segment->bytes = NULL;
    sweep(place);
    fd = create_new(place, name);
    if (fd < 0)
        return false;
    bool published =
        write_fully(fd, bytes, size_bytes) && map(fd, segment) && replace(place, name);
    if (!published) {
        ketama_segment_detach(segment);
        (void)unlinkat(place->folder, name, 0);
    }
    (void)flock(fd, LOCK_UN);
    (void)close(fd);
    return published;
}

/* ---- for who looks at the folder from outside */

static struct ketama_file file_of(const struct stat *st)
{
    return (struct ketama_file){(uint64_t)st->st_dev, (uint64_t)st->st_ino};
}

enum ketama_found ketama_segment_find(const struct ketama_place *place,
                                      struct ketama_segment *segment,
                                      struct ketama_file *file)
{
    struct stat st;
    size_t size;
    int fd = open_file(place, place->name, O_RDONLY);

    segment->bytes = NULL;
    if (fd < 0) /* O_NOFOLLOW says ELOOP of a link */
        return errno == ENOENT                                       ? KETAMA_ABSENT
               : errno == ELOOP || errno == EACCES || errno == ENXIO ? KETAMA_UNTRUSTED
                                                                     : KETAMA_FAILED;
    bool known = fstat(fd, &st) == 0, trusted = is_trusted(fd, &size);
    bool mapped = trusted && map(fd, segment);
    int saved = errno;
    (void)close(fd);
    errno = saved;
    if (!known)
        return KETAMA_FAILED;
    *file = file_of(&st);
    return mapped ? KETAMA_FOUND : trusted ? KETAMA_FAILED : KETAMA_UNTRUSTED;
}

bool ketama_segment_is_replaced(const struct ketama_place *place, const char *name,
                                const struct ketama_file *file)
{
    struct stat st;
    return fstatat(place->folder, name, &st, AT_SYMLINK_NOFOLLOW) != 0 ||
           file_of(&st).device != file->device || file_of(&st).inode != file->inode;
}

/*
 * A file is locked as long as it is being written. There is no asking for a lock without
 * taking it, if for an instant only, so a young file, which its writer may be about to
 * lock, is not asked.
 */
bool ketama_segment_is_busy(const struct ketama_place *place, const char *name)
{
    enum { YOUNG = 2 }; /* seconds */
    struct timespec now;
    struct stat st;
    if (clock_gettime(CLOCK_REALTIME, &now) != 0 ||
        fstatat(place->folder, name, &st, AT_SYMLINK_NOFOLLOW) != 0 ||
        (st.st_mtime > now.tv_sec - YOUNG && st.st_mtime < now.tv_sec + YOUNG))
        return true;
    int fd = open_file(place, name, O_RDWR);
    if (fd < 0)
        return errno != ELOOP && errno != EISDIR && errno != ENXIO;
    bool busy = flock(fd, LOCK_EX | LOCK_NB) != 0;
    if (!busy) /* expressly, for a child that was forked meanwhile */
        (void)flock(fd, LOCK_UN);
    (void)close(fd);
    return busy;
}

enum ketama_found ketama_segment_remove(const struct ketama_place *place,
                                        const char *name, const struct ketama_file *file)
{
    int fd = open_file(place, name, O_RDWR);
    if (fd < 0 && (errno == EMFILE || errno == ENFILE || errno == ENOMEM))
        return KETAMA_FAILED; /* those who have it could not be told */
    enum ketama_found found = KETAMA_ABSENT;
    if (!ketama_segment_is_replaced(place, name, file)) {
        if (fd >= 0)
            supersede(fd);
        found = unlinkat(place->folder, name, 0) == 0 ? KETAMA_FOUND : KETAMA_FAILED;
    }
    int saved = errno;
    if (fd >= 0)
        (void)close(fd);
    errno = saved;
    return found;
}

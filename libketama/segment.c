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

/* The published file, -1 where there is none. */
static int open_published(const struct ketama_place *place, int access)
{
    return openat(place->folder, place->name,
                  access | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
}

bool ketama_segment_attach(const struct ketama_place *place,
                           struct ketama_segment *segment)
{
    int fd = open_published(place, O_RDONLY);
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

/* Opens for what is not reading; nothing that was planted is followed or waited for. */
static int open_other(const struct ketama_place *place, const char *name)
{
    return openat(place->folder, name,
                  O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
}

/* A file is locked as long as it is being written. */
bool ketama_segment_is_busy(const struct ketama_place *place, const char *name)
{
    int fd = open_other(place, name);
    bool busy = fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) != 0;
    if (fd >= 0)
        (void)close(fd); /* and unlocked by that: it was not inherited by a child */
    return busy;
}

bool ketama_segment_retire(const struct ketama_place *place, const char *name,
                           bool certain)
{
    int fd = open_other(place, name);
    if (fd >= 0 && (certain || flock(fd, LOCK_EX | LOCK_NB) == 0)) {
        supersede(fd);
        certain = true;
    }
    bool gone = certain && unlinkat(place->folder, name, 0) == 0;
    if (fd >= 0)
        (void)close(fd);
    return gone;
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
            (void)ketama_segment_retire(place, entry->d_name, false);
    (void)closedir(folder);
}

/* A new file, locked while it is being written; its name is left in `name`. */
static int create_new(const struct ketama_place *place, char name[NEW_NAME_MAX])
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
        (void)ketama_segment_retire(place, name, true);
        return true;
    }
    int replaced = open_published(place, O_RDWR);
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

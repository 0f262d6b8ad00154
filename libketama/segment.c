/*
 * segment.c - bytes <-> shared memory
 *
 * An image is a regular file in a memory-backed folder, one for each user, path and
 * profile. It is written under another name and then renamed, so nobody ever sees half
 * of one; it is written with write(2), so that a full disk is an error and not a signal.
 * What others planted is never used, followed or waited for. Nothing here is an error to
 * the caller's caller: where it can't be done, the continuum is private.
 */
#define _POSIX_C_SOURCE 200809L
#define _DEFAULT_SOURCE /* for AT_SECURE and issetugid */
#define _DARWIN_C_SOURCE

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#ifdef __linux__
#include <sys/auxv.h>
#endif

#include "internal.h"

enum { NEW_NAME_MAX = KETAMA_PLACE_NAME_MAX + 64 };

/* A program that runs with more rights than its user has does not believe the user's
 * environment. */
static bool is_set_id(void)
{
#ifdef __linux__
    return getauxval(AT_SECURE) != 0;
#else
    return issetugid() != 0;
#endif
}

static const char *believed(const char *variable)
{
    const char *value = is_set_id() ? NULL : getenv(variable);
    return value != NULL && value[0] == '/' ? value : NULL;
}

/* Ours: a folder, this user's, closed to all others. */
static bool is_our_folder(int fd)
{
    struct stat st;
    return fstat(fd, &st) == 0 && S_ISDIR(st.st_mode) && st.st_uid == geteuid() &&
           (st.st_mode & 0777) == 0700;
}

/* Opens our folder in `base`, and makes it where it is missing. -1: not to be had. */
static int open_folder(const char *base)
{
    const int flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK;
    char path[4096];
    int length =
        snprintf(path, sizeof path, "%s/libketama-%lu", base, (unsigned long)geteuid());
    if (length < 0 || (size_t)length >= sizeof path)
        return -1;

    bool made = mkdir(path, 0700) == 0;
    int fd = open(path, flags);
    if (fd < 0)
        return -1;
    if (made)
        (void)fchmod(fd, 0700); /* whatever the umask left of it; checked right below */
    if (is_our_folder(fd))
        return fd;
    (void)close(fd);
    return -1;
}

/* The operator's choice alone; or the first of the usual places that will do. */
static int find_folder(void)
{
    const char *chosen = believed("KETAMA_SHM_DIR");
    if (chosen != NULL)
        return open_folder(chosen);
    int fd = open_folder("/dev/shm");
    if (fd < 0) {
        const char *temporary = believed("TMPDIR");
        fd = open_folder(temporary != NULL ? temporary : "/tmp");
    }
    return fd;
}

bool ketama_place_open(struct ketama_place *place, const char *path, uint32_t profile)
{
    unsigned char md5[16];
    char *to = place->name;

    place->lock = -1;
    place->folder = find_folder();
    if (place->folder < 0)
        return false;
    ketama_md5(path, strlen(path), md5);
    for (size_t i = 0; i < sizeof md5; i++)
        to += sprintf(to, "%02x", md5[i]);
    sprintf(to, "-%lu.%d", (unsigned long)profile, KETAMA_IMAGE_FORMAT);
    return true;
}

void ketama_place_close(struct ketama_place *place)
{
    ketama_place_unlock(place);
    (void)close(place->folder);
}

/*
 * The lock belongs to the process: a child does not inherit it, and the kernel frees it
 * when the process dies. A thread of the same process is not kept out, which costs no
 * more than a continuum that is built twice.
 */
bool ketama_place_lock(struct ketama_place *place)
{
    char name[NEW_NAME_MAX];
    struct flock whole = {.l_type = F_WRLCK, .l_whence = SEEK_SET};

    snprintf(name, sizeof name, "%s.lock", place->name);
    place->lock = openat(place->folder, name,
                         O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600);
    if (place->lock < 0)
        return false;
    if (fcntl(place->lock, F_SETLK, &whole) == 0)
        return true;
    ketama_place_unlock(place);
    return false;
}

void ketama_place_unlock(struct ketama_place *place)
{
    if (place->lock >= 0)
        (void)close(place->lock); /* which frees the lock */
    place->lock = -1;
}

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

/* Removes what publishers that were killed have left: new files that nobody has locked.
 */
static void sweep(const struct ketama_place *place)
{
    size_t length = strlen(place->name);
    struct dirent *entry;
    int fd = dup(place->folder);
    DIR *folder = fd < 0 ? NULL : fdopendir(fd);

    if (folder == NULL) {
        if (fd >= 0)
            (void)close(fd);
        return;
    }
    rewinddir(folder);
    while ((entry = readdir(folder)) != NULL) {
        struct flock whole = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
        const char *rest = entry->d_name + length;
        if (strncmp(entry->d_name, place->name, length) != 0 || *rest != '-' ||
            strtol(rest + 1, NULL, 10) == (long)getpid())
            continue;
        int file = openat(place->folder, entry->d_name,
                          O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
        if (file < 0)
            continue;
        if (fcntl(file, F_GETLK, &whole) == 0 && whole.l_type == F_UNLCK)
            (void)unlinkat(place->folder, entry->d_name, 0);
        (void)close(file);
    }
    (void)closedir(folder);
}

/* A new file, locked while this process writes it; its name is left in `name`. */
static int create_new(const struct ketama_place *place, char name[NEW_NAME_MAX])
{
    struct flock whole = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    struct timespec now;
    if (clock_gettime(CLOCK_REALTIME, &now) != 0)
        return -1;
    snprintf(name, NEW_NAME_MAX, "%s-%ld-%lx%08lx", place->name, (long)getpid(),
             (unsigned long)now.tv_sec, (unsigned long)now.tv_nsec);
    int fd = openat(place->folder, name,
                    O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return -1;
    if (fcntl(fd, F_SETLK, &whole) == 0 && fchmod(fd, 0600) == 0)
        return fd;
    (void)unlinkat(place->folder, name, 0);
    (void)close(fd);
    return -1;
}

/* Tells all who have the replaced image mapped that there is a newer one. */
static void supersede(int replaced)
{
    const uint32_t mark = 1;
    size_t size;
    if (replaced >= 0 && is_trusted(replaced, &size) &&
        size >= KETAMA_SUPERSEDED_AT + sizeof mark)
        (void)!pwrite(replaced, &mark, sizeof mark, KETAMA_SUPERSEDED_AT);
}

bool ketama_segment_publish(const struct ketama_place *place, const void *bytes,
                            size_t size_bytes, struct ketama_segment *segment)
{
    char name[NEW_NAME_MAX];
    int fd, replaced;

    segment->bytes = NULL;
    sweep(place);
    fd = create_new(place, name);
    if (fd < 0)
        return false;
    replaced = open_published(place, O_RDWR);
    bool published = write_fully(fd, bytes, size_bytes) && map(fd, segment) &&
                     renameat(place->folder, name, place->folder, place->name) == 0;
    if (published) {
        supersede(replaced);
    } else {
        ketama_segment_detach(segment);
        (void)unlinkat(place->folder, name, 0);
    }
    if (replaced >= 0)
        (void)close(replaced);
    (void)close(fd);
    return published;
}

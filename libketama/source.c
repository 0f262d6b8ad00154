/*
 * source.c - a path -> the text of the server file, and the state of the file it is from
 */
#define _POSIX_C_SOURCE  200809L
#define _DARWIN_C_SOURCE /* for st_mtimespec */

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "internal.h"

#ifdef __APPLE__
#define MTIME(st) ((st).st_mtimespec)
#define CTIME(st) ((st).st_ctimespec)
#else
#define MTIME(st) ((st).st_mtim)
#define CTIME(st) ((st).st_ctim)
#endif

enum { READ_ATTEMPTS = 10 };
static const off_t file_bytes_max = 512 << 20;
static const int64_t second_ns = 1000000000;

/* Since 1970; the year 2262 is the last one that fits, and stands for all after it. */
static int64_t nanoseconds(struct timespec t)
{
    const int64_t most = INT64_MAX / second_ns - 1;
    int64_t seconds = (int64_t)t.tv_sec;
    if (seconds > most)
        return INT64_MAX;
    if (seconds < -most)
        return INT64_MIN;
    return seconds * second_ns + t.tv_nsec;
}

static struct ketama_stamp stamp_of(const struct stat *st)
{
    return (struct ketama_stamp){
        .device = (uint64_t)st->st_dev,
        .inode = (uint64_t)st->st_ino,
        .size_bytes = (uint64_t)st->st_size,
        .mtime_ns = nanoseconds(MTIME(*st)),
        .ctime_ns = nanoseconds(CTIME(*st)),
    };
}

bool ketama_stamp_equal(const struct ketama_stamp *a, const struct ketama_stamp *b)
{
    return a->device == b->device && a->inode == b->inode &&
           a->size_bytes == b->size_bytes && a->mtime_ns == b->mtime_ns &&
           a->ctime_ns == b->ctime_ns;
}

/*
 * The racy rule. A file's clock ticks coarsely: every few milliseconds, on some file
 * systems every second or two. Had the file just been changed when it was read, then
 * it could have been changed again within the same tick, with the same stamp. Only
 * where it was read well after its last change does the stamp alone prove that nothing
 * has happened since. Every change sets ctime, and no program can choose it; where the
 * clock went backwards, it lies in the future, and the stamp is not relied on until the
 * clock has passed it. (File and reader are taken to have the same clock; a file server
 * whose own is more than two seconds behind takes this protection away.)
 */
bool ketama_source_settled(const struct ketama_source *source)
{
    int64_t window = 2 * second_ns;
    return source->read_at_ns > INT64_MIN + window &&
           source->stamp.ctime_ns < source->read_at_ns - window;
}

bool ketama_source_stat(const char *path, struct ketama_stamp *stamp)
{
    struct stat st;
    if (stat(path, &st) != 0)
        return false;
    *stamp = stamp_of(&st);
    return true;
}

int ketama_source_look(const char *path, struct ketama_stamp *stamp)
{
    return ketama_source_stat(path, stamp) ? KETAMA_OK
                                           : ketama_fail_system(path, errno, NULL);
}

/* Up to `size` bytes; fewer only where the file ends. -1 and errno on failure. */
static ssize_t read_fully(int fd, char *to, size_t size)
{
    size_t done = 0;
    while (done < size) {
        ssize_t now = read(fd, to + done, size - done);
        if (now == 0)
            break;
        if (now > 0)
            done += (size_t)now;
        else if (errno != EINTR)
            return -1;
    }
    return (ssize_t)done;
}

/* One attempt: EUNSTABLE where the file changed meanwhile. *text is allocated. */
static int read_open(int fd, const char *path, struct ketama_source *source, char **text,
                     struct ketama_flaw *flaw)
{
    struct stat before, after;
    struct timespec now;

    if (clock_gettime(CLOCK_REALTIME, &now) != 0 || fstat(fd, &before) != 0)
        return ketama_fail_system(path, errno, NULL);
    if (!S_ISREG(before.st_mode))
        return S_ISDIR(before.st_mode)
                   ? ketama_fail_system(path, EISDIR, NULL)
                   : ketama_fail_system(path, EINVAL, "it is not a regular file");
    if (before.st_size > file_bytes_max)
        return ketama_flawed(flaw, KETAMA_ETOOMANY, 0,
                             "the file has %lld bytes, more than %lld",
                             (long long)before.st_size, (long long)file_bytes_max);

    source->stamp = stamp_of(&before);
    source->read_at_ns = nanoseconds(now);
    size_t size = (size_t)before.st_size;
    *text = malloc(size + 1);
    if (*text == NULL)
        return KETAMA_ENOMEM;
    /* one byte more than there was, to see it grow */
    ssize_t got = read_fully(fd, *text, size + 1);
    if (got < 0 || fstat(fd, &after) != 0)
        return ketama_fail_system(path, errno, NULL);
    if (size == 0 && got > 0 && after.st_size == 0)
        return ketama_fail_system(path, EINVAL, "it does not tell its size");
    struct ketama_stamp stamp_after = stamp_of(&after);
    if ((size_t)got != size || !ketama_stamp_equal(&source->stamp, &stamp_after))
        return ketama_flawed(flaw, KETAMA_EUNSTABLE, 0,
                             "the file changed each of the %d times that it was read",
                             READ_ATTEMPTS);
    ketama_md5(*text, size, source->md5);
    return KETAMA_OK;
}

/*
 * O_NONBLOCK, so that a FIFO in the file's place is refused instead of waited for. A
 * file that another program has leased would be refused as well: there it is left out.
 */
static int open_file(const char *path)
{
    const int flags = O_RDONLY | O_CLOEXEC | O_NOCTTY;
    struct stat st;
    int fd;
    do {
        fd = open(path, flags | O_NONBLOCK);
    } while (fd < 0 && errno == EINTR);
    if (fd < 0 && errno == EWOULDBLOCK && stat(path, &st) == 0 && S_ISREG(st.st_mode))
        fd = open(path, flags);
    return fd;
}

static int read_once(const char *path, struct ketama_source *source, char **text,
                     struct ketama_flaw *flaw)
{
    int status, fd = open_file(path);
    if (fd < 0)
        return ketama_fail_system(path, errno, NULL);
    *text = NULL;
    status = read_open(fd, path, source, text, flaw);
    if (status != KETAMA_OK) {
        int saved = errno;
        free(*text);
        *text = NULL;
        (void)close(fd); /* it was only read from */
        errno = saved;
        return status;
    }
    (void)close(fd);
    return KETAMA_OK;
}

int ketama_source_read(const char *path, struct ketama_source *source, char **text,
                       struct ketama_flaw *flaw)
{
    int status = KETAMA_EUNSTABLE;
    for (int i = 0; i < READ_ATTEMPTS && status == KETAMA_EUNSTABLE; i++)
        status = read_once(path, source, text, flaw);
    return status;
}

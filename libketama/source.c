/*
 * source.c - a path -> the text of the server file, and the file's stamp
 */
#include "internal.h"

#include <fcntl.h>
#include <stdlib.h>

enum { READ_ATTEMPTS = 10 };
static const off_t file_bytes_max = 512 << 20;
static const int64_t second_ns = 1000000000;

/* Since 1970. The last time that fits is in 2262 and stands for all later ones. */
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

bool ketama_stamp_equal(const struct ketama_stamp *a, const struct ketama_stamp *b)
{
    return a->device == b->device && a->inode == b->inode &&
           a->size_bytes == b->size_bytes && a->mtime_ns == b->mtime_ns &&
           a->ctime_ns == b->ctime_ns;
}

/*
 * The racy rule. A file's clock ticks coarsely: every few milliseconds, on some file
 * systems every second or two. If the file was read right after a change, it could
 * change again within the same tick, with the same stamp. Only if it was read well after
 * its last change does an equal stamp prove that nothing has happened since. Every
 * change sets ctime, which no program can choose. If the clock went backwards, ctime is
 * in the future, and the stamp is not relied on until the clock has passed it. (File and
 * reader are assumed to share a clock: a file server whose clock is more than two
 * seconds behind defeats the rule.)
 */
bool ketama_stamp_reliable(const struct ketama_source *source)
{
    int64_t window = 2 * second_ns;
    return source->read_at_ns > INT64_MIN + window &&
           source->stamp.ctime_ns < source->read_at_ns - window;
}

/* Every stamp comes from here: stat(2) and fstat(2) disagree about time stamps on some
 * file systems and emulators, and then a file would seem to change all the time. */
int ketama_source_stat(const char *path, struct ketama_stamp *stamp)
{
    struct stat st;
    if (stat(path, &st) != 0)
        return KETAMA_ESYSTEM;
    *stamp = (struct ketama_stamp){
        .device = (uint64_t)st.st_dev,
        .inode = (uint64_t)st.st_ino,
        .size_bytes = (uint64_t)st.st_size,
        .mtime_ns = nanoseconds(KETAMA_MTIME(&st)),
        .ctime_ns = nanoseconds(KETAMA_CTIME(&st)),
    };
    return KETAMA_OK;
}

/* Up to `size` bytes; fewer only at the end of the file. -1 and errno on failure. */
static ssize_t read_fully(int fd, char *to, size_t size)
{
    size_t done = 0;
    int interrupts = 0;
    while (done < size) {
        ssize_t now = read(fd, to + done, size - done);
        if (now == 0)
            break;
        if (now > 0) {
            done += (size_t)now;
            interrupts = 0;
        } else if (errno != EINTR || ++interrupts > KETAMA_INTERRUPTS_MAX) {
            return -1;
        }
    }
    return (ssize_t)done;
}

/* Is this a file that can be read whole, and the one of that stamp? *size: its bytes. */
static int check_file(int fd, const struct ketama_stamp *stamp, size_t *size,
                      ketama_failure *failure)
{
    struct stat st;
    if (fstat(fd, &st) != 0)
        return ketama_set_system_failure(failure, errno, NULL);
    if (S_ISDIR(st.st_mode))
        return ketama_set_system_failure(failure, EISDIR, NULL);
    if (!S_ISREG(st.st_mode))
        return ketama_set_system_failure(failure, EINVAL, "not a regular file");
    if (st.st_size > file_bytes_max)
        return ketama_set_failure(failure, KETAMA_ETOOMANY, 0,
                                  "file too large: %lld bytes, at most %lld",
                                  (long long)st.st_size, (long long)file_bytes_max);
    *size = (size_t)st.st_size;
    return stamp->device == (uint64_t)st.st_dev && stamp->inode == (uint64_t)st.st_ino
               ? KETAMA_OK
               : KETAMA_EUNSTABLE;
}

/* Reads up to `size` bytes into a new *text, and one more, to see the file grow. */
static int read_text(int fd, size_t size, char **text, size_t *got,
                     ketama_failure *failure)
{
    *text = malloc(size + 1);
    if (*text == NULL)
        return KETAMA_ENOMEM;
    ssize_t bytes = read_fully(fd, *text, size + 1);
    if (bytes < 0)
        return ketama_set_system_failure(failure, errno, NULL);
    *got = (size_t)bytes;
    return KETAMA_OK;
}

/*
 * O_NONBLOCK, so that a FIFO in the file's place is refused instead of waited for. It
 * would also refuse a file that another program has leased: open that without it.
 */
static int open_file(const char *path)
{
    const int flags = O_RDONLY | O_CLOEXEC | O_NOCTTY;
    struct stat st;
    int fd, interrupts = 0;
    do {
        fd = open(path, flags | O_NONBLOCK);
    } while (fd < 0 && errno == EINTR && ++interrupts <= KETAMA_INTERRUPTS_MAX);
    if (fd < 0 && errno == EWOULDBLOCK && stat(path, &st) == 0 && S_ISREG(st.st_mode))
        fd = open(path, flags);
    return fd;
}

/* Does what was read belong to the stamp that was taken before? */
static int check_unchanged(const char *path, const struct ketama_stamp *before,
                           size_t size, size_t got, ketama_failure *failure)
{
    struct ketama_stamp after;
    if (ketama_source_stat(path, &after) != KETAMA_OK)
        return ketama_set_system_failure(failure, errno, NULL);
    if (size == 0 && got > 0 && after.size_bytes == 0) /* as in /proc */
        return ketama_set_system_failure(failure, EINVAL, "the file reports no size");
    return got == size && before->size_bytes == size &&
                   ketama_stamp_equal(before, &after)
               ? KETAMA_OK
               : KETAMA_EUNSTABLE;
}

/* One attempt. EUNSTABLE: the file changed meanwhile. */
static int read_once(const char *path, struct ketama_source *source, char **text,
                     ketama_failure *failure)
{
    struct timespec now;
    size_t size = 0, got = 0;
    int status, fd;

    *text = NULL;
    (void)clock_gettime(CLOCK_REALTIME, &now); /* cannot fail for this clock */
    source->read_at_ns = nanoseconds(now);
    if (ketama_source_stat(path, &source->stamp) != KETAMA_OK)
        return ketama_set_system_failure(failure, errno, NULL);
    fd = open_file(path);
    if (fd < 0)
        return ketama_set_system_failure(failure, errno, NULL);
    status = check_file(fd, &source->stamp, &size, failure);
    if (status == KETAMA_OK)
        status = read_text(fd, size, text, &got, failure);
    (void)close(fd); /* it was only read from */
    if (status == KETAMA_OK)
        status = check_unchanged(path, &source->stamp, size, got, failure);
    if (status == KETAMA_OK) {
        ketama_md5(*text, size, source->md5);
        return KETAMA_OK;
    }
    free(*text);
    *text = NULL;
    return status;
}

int ketama_source_read(const char *path, struct ketama_source *source, char **text,
                       ketama_failure *failure)
{
    for (int i = 0; i < READ_ATTEMPTS; i++) {
        int status = read_once(path, source, text, failure);
        if (status != KETAMA_EUNSTABLE)
            return status;
    }
    return ketama_set_failure(failure, KETAMA_EUNSTABLE, 0,
                              "the file changed each of the %d times it was read",
                              READ_ATTEMPTS);
}

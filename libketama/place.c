/*
 * place.c - where images are published: this user's own folder, and the builder's lock
 *
 * What others have planted is never used, followed or waited for. Where there is no
 * place, a continuum is private.
 */
#define _POSIX_C_SOURCE 200809L
#define _DEFAULT_SOURCE /* for flock and issetugid */
#define _DARWIN_C_SOURCE

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>
#ifdef __linux__
#include <sys/auxv.h>
#endif

#include "internal.h"

/* A program that runs with more rights than its user has (set-id, file capabilities) has
 * an effective user whose files and environment may be somebody else's doing. */
static bool is_set_id(void)
{
#ifdef __linux__
    return getauxval(AT_SECURE) != 0;
#else
    return issetugid() != 0;
#endif
}

/* Only an absolute path is one. */
static const char *folder_in(const char *variable)
{
    const char *value = getenv(variable);
    return value != NULL && value[0] == '/' ? value : NULL;
}

/* Ours: a folder, this user's, closed to all others. */
static bool is_our_folder(int fd, bool just_made)
{
    struct stat st;
    if (fstat(fd, &st) != 0 || !S_ISDIR(st.st_mode) || st.st_uid != geteuid())
        return false;
    if (just_made) /* whatever the umask has left of it */
        return fchmod(fd, 0700) == 0;
    return (st.st_mode & 0777) == 0700;
}

/* Opens our folder in `base`, and may make it where it is missing. -1: not to be had. */
static int open_folder(const char *base, char path[KETAMA_FOLDER_MAX], bool make)
{
    const int flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK;
    int length = snprintf(path, KETAMA_FOLDER_MAX, "%s/libketama-%lu", base,
                          (unsigned long)geteuid());
    if (length < 0 || length >= KETAMA_FOLDER_MAX) {
        errno = ENAMETOOLONG;
        return -1;
    }

    bool made = make && mkdir(path, 0700) == 0;
    int fd = open(path, flags);
    if (fd < 0) {
        int saved = errno;
        if (made) /* with a umask that shuts it to us as well: leave no such folder */
            (void)rmdir(path);
        errno = saved;
        return -1;
    }
    if (is_our_folder(fd, made))
        return fd;
    (void)close(fd);
    errno = EACCES;
    return -1;
}

/* The operator's choice alone; or the first of the usual places that will do. */
int ketama_place_folder(char path[KETAMA_FOLDER_MAX], bool make)
{
    if (is_set_id()) {
        errno = EACCES;
        return -1;
    }
    const char *chosen = folder_in("KETAMA_SHM_DIR");
    if (chosen != NULL)
        return open_folder(chosen, path, make);
    int fd = open_folder("/dev/shm", path, make);
    if (fd < 0) {
        const char *temporary = folder_in("TMPDIR");
        fd = open_folder(temporary != NULL ? temporary : "/tmp", path, make);
    }
    return fd;
}

void ketama_place_name(char name[KETAMA_PLACE_NAME_MAX], const char *path,
                       uint32_t profile)
{
    unsigned char md5[16];
    ketama_md5(path, strlen(path), md5);
    for (size_t i = 0; i < sizeof md5; i++)
        name += sprintf(name, "%02x", md5[i]);
    sprintf(name, "-%lu.%d", (unsigned long)profile, KETAMA_IMAGE_FORMAT);
}

bool ketama_place_open(struct ketama_place *place, const char *path, uint32_t profile)
{
    char folder[KETAMA_FOLDER_MAX];
    place->lock = -1;
    place->folder = ketama_place_folder(folder, true);
    if (place->folder < 0)
        return false;
    ketama_place_name(place->name, path, profile);
    return true;
}

void ketama_place_close(struct ketama_place *place)
{
    ketama_place_unlock(place);
    (void)close(place->folder);
}

/*
 * The lock is flock(2)'s: it excludes threads as well as processes, and the kernel frees
 * it when the process dies. A child that is forked meanwhile inherits the descriptor, so
 * the lock is freed expressly, which counts for the child's as well; and nobody waits
 * for it without an end.
 */
enum ketama_lock ketama_place_lock(struct ketama_place *place)
{
    char name[KETAMA_PLACE_NAME_MAX + sizeof ".lock"];

    snprintf(name, sizeof name, "%s.lock", place->name);
    int fd = openat(place->folder, name,
                    O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600);
    if (fd < 0)
        return KETAMA_LOCK_NONE;
    (void)fchmod(fd, 0600); /* whatever the umask: it is for others as well */
    if (flock(fd, LOCK_EX | LOCK_NB) == 0) {
        place->lock = fd;
        return KETAMA_LOCK_HELD;
    }
    enum ketama_lock lock = errno == EWOULDBLOCK ? KETAMA_LOCK_BUSY : KETAMA_LOCK_NONE;
    (void)close(fd);
    return lock;
}

void ketama_place_unlock(struct ketama_place *place)
{
    if (place->lock >= 0) {
        (void)flock(place->lock, LOCK_UN);
        (void)close(place->lock);
    }
    place->lock = -1;
}

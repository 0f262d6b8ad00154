/*
 * slot.c - where images are published: this user's own folder, and the builder's lock
 *
 * Nothing that another user may have planted is used, followed or waited for. Without a
 * slot, a continuum is private.
 */
#include "internal.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>

/* Only an absolute path counts. */
static const char *folder_in(const char *variable)
{
    const char *value = getenv(variable);
    return value != NULL && value[0] == '/' ? value : NULL;
}

bool ketama_slot_is_folder_of(int fd, uid_t user)
{
    struct stat st;
    return fstat(fd, &st) == 0 && S_ISDIR(st.st_mode) && st.st_uid == user &&
           (st.st_mode & 0777) == 0700;
}

/* Opens our folder in `base`; makes it if it is missing and `make` is set. Returns -1,
 * with errno set, on failure. */
static int open_folder(const char *base, char path[KETAMA_FOLDER_MAX], bool make)
{
    const int flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK;
    int length = snprintf(path, KETAMA_FOLDER_MAX, "%s/libketama-%lu", base,
                          (unsigned long)geteuid());
    struct stat st;
    if (length < 0 || length >= KETAMA_FOLDER_MAX) {
        errno = ENAMETOOLONG;
        return -1;
    }

    bool made = make && mkdir(path, 0700) == 0;
    int fd = open(path, flags);
    if (fd < 0) {
        int saved = errno;
        if (made) /* under a umask that denies even us: leave no such folder */
            (void)rmdir(path);
        errno = saved;
        return -1;
    }
    if (made && fstat(fd, &st) == 0 && st.st_uid == geteuid())
        (void)fchmod(fd, 0700); /* whatever the umask left of the mode */
    if (ketama_slot_is_folder_of(fd, geteuid()))
        return fd;
    (void)close(fd);
    errno = EACCES;
    return -1;
}

/* The operator's choice and no other; or else the usual locations. */
const char *ketama_slot_location(int rank)
{
    const char *chosen = folder_in("KETAMA_SHM_DIR"), *temporary = folder_in("TMPDIR");
    if (ketama_is_set_id() || rank > 1 || (chosen != NULL && rank > 0))
        return NULL;
    if (chosen != NULL)
        return chosen;
    return rank == 0 ? "/dev/shm" : temporary != NULL ? temporary : "/tmp";
}

int ketama_slot_folder(char path[KETAMA_FOLDER_MAX], bool make)
{
    const char *location;
    int fd = -1;

    errno = EACCES; /* if there is no location */
    for (int rank = 0; fd < 0 && (location = ketama_slot_location(rank)) != NULL; rank++)
        fd = open_folder(location, path, make);
    return fd;
}

bool ketama_is_out_of_resources(int system_errno)
{
    return system_errno == EMFILE || system_errno == ENFILE || system_errno == ENOMEM;
}

/* The MD5 of the path; with settings, that of the MD5s of both. */
void ketama_slot_name(char name[KETAMA_SLOT_NAME_MAX],
                      const struct ketama_identity *identity)
{
    unsigned char both[32], md5[16];

    ketama_md5(identity->path, strlen(identity->path), md5);
    if (identity->settings[0] != '\0') {
        memcpy(both, md5, sizeof md5);
        ketama_md5(identity->settings, strlen(identity->settings), both + sizeof md5);
        ketama_md5(both, sizeof both, md5);
    }
    for (size_t i = 0; i < sizeof md5; i++)
        name += sprintf(name, "%02x", md5[i]);
    sprintf(name, "-%lu.%d", (unsigned long)identity->profile, KETAMA_IMAGE_FORMAT);
}

bool ketama_slot_open(struct ketama_slot *slot, const struct ketama_identity *identity)
{
    char folder[KETAMA_FOLDER_MAX];
    slot->lock = -1;
    slot->touched_at = 0;
    slot->folder = ketama_slot_folder(folder, true);
    if (slot->folder < 0)
        return false;
    ketama_slot_name(slot->name, identity);
    return true;
}

void ketama_slot_close(struct ketama_slot *slot)
{
    ketama_slot_unlock(slot);
    (void)close(slot->folder);
}

enum { LOCK_NAME_MAX = KETAMA_SLOT_NAME_MAX + sizeof ".lock" };

static void lock_name(const struct ketama_slot *slot, char name[LOCK_NAME_MAX])
{
    snprintf(name, LOCK_NAME_MAX, "%s.lock", slot->name);
}

static struct ketama_progress progress_of(const struct stat *st)
{
    struct timespec mtime = KETAMA_MTIME(st);
    return (struct ketama_progress){(uint64_t)st->st_ino,
                                    (int64_t)mtime.tv_sec * 1000000000 + mtime.tv_nsec};
}

/* Sets *now to what that name stands for. */
static bool look_up(const struct ketama_slot *slot, const char *name,
                    struct ketama_progress *now)
{
    struct stat st;
    if (fstatat(slot->folder, name, &st, AT_SYMLINK_NOFOLLOW) != 0)
        return false;
    *now = progress_of(&st);
    return true;
}

/* Locks an open file, which must still be the one of that name then. *progress is what
 * that name stands for, unless it is gone: read by name, as in ketama_slot_break_lock(),
 * since fstat(2) and stat(2) may disagree about times. */
static enum ketama_lock lock_file(const struct ketama_slot *slot, const char *name,
                                  int fd, struct ketama_progress *progress)
{
    struct stat st;
    if (fstat(fd, &st) != 0)
        return KETAMA_LOCK_NONE;
    if ((st.st_mode & 0777) != 0600) /* whatever the umask: others open it, too */
        (void)fchmod(fd, 0600);
    if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
        if (errno != EWOULDBLOCK)
            return KETAMA_LOCK_NONE;
        (void)look_up(slot, name, progress);
        return KETAMA_LOCK_BUSY;
    }
    if (look_up(slot, name, progress) && progress->inode == (uint64_t)st.st_ino)
        return KETAMA_LOCK_HELD;
    (void)flock(fd, LOCK_UN);
    return KETAMA_LOCK_BUSY;
}

/*
 * The lock is flock(2)'s: it excludes threads as well as processes, and the kernel
 * releases it when the process dies. A child that is forked meanwhile inherits the
 * descriptor; releasing the lock explicitly releases it for the child as well. Nobody
 * waits for it without a limit.
 */
enum ketama_lock ketama_slot_lock(struct ketama_slot *slot,
                                  struct ketama_progress *progress)
{
    char name[LOCK_NAME_MAX];

    *progress = (struct ketama_progress){0, 0};
    lock_name(slot, name);
    int fd = openat(slot->folder, name,
                    O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600);
    if (fd < 0)
        return KETAMA_LOCK_NONE;
    enum ketama_lock lock = lock_file(slot, name, fd, progress);
    if (lock == KETAMA_LOCK_HELD)
        slot->lock = fd;
    else
        (void)close(fd);
    return lock;
}

void ketama_slot_touch(struct ketama_slot *slot)
{
    const int64_t rarely_ns = 10 * 1000000;
    int64_t now = ketama_coarse_clock_ns();
    if (slot->lock < 0 || now - slot->touched_at < rarely_ns)
        return;
    slot->touched_at = now;
    (void)futimens(slot->lock, NULL);
}

/* Those who have waited long enough at the same time must not take it from each other:
 * one at a time compares and removes. */
bool ketama_slot_break_lock(struct ketama_slot *slot,
                            const struct ketama_progress *holder)
{
    char name[LOCK_NAME_MAX];
    struct ketama_progress now;
    bool broken = true;

    lock_name(slot, name);
    if (flock(slot->folder, LOCK_EX | LOCK_NB) != 0)
        return errno == EWOULDBLOCK;
    /* An inode's number may be used again, so compare its time as well. */
    if (look_up(slot, name, &now) && now.inode == holder->inode &&
        now.mtime_ns == holder->mtime_ns)
        broken = unlinkat(slot->folder, name, 0) == 0;
    (void)flock(slot->folder, LOCK_UN);
    return broken;
}

void ketama_slot_unlock(struct ketama_slot *slot)
{
    if (slot->lock >= 0) {
        (void)flock(slot->lock, LOCK_UN);
        (void)close(slot->lock);
    }
    slot->lock = -1;
}

/*
 * _edit.c - the descriptors and the lock of an edit
 *
 * An exception that a signal raises can come between any two steps in Python. So what is
 * opened and created here is stored, in the same call, in a struct whose destructor
 * closes and removes it.
 */
#include "platform.h"

#include <fcntl.h>
#include <sys/file.h>

/* cffi: begin */

/* A server file that is being edited. Start with descriptors of -1 and the lock's name.
 * The functions return 0, or an errno. */
struct edit {
    int directory; /* of the server file; all files are reached through it */
    int file;      /* the server file; -1: it does not exist yet */
    int lock;      /* the lock file; the new text is written to it */
    int locked_by; /* the process that has locked it; 0: not locked */
    char lock_name[256];
};

/* Opens the file for reading and writing; replacing a file must require permission to
 * write it. No link is followed. With `create`, the file need not exist. */
int edit_open(struct edit *edit, const char *directory, const char *name, bool create);
/* Creates the lock file, which only its owner can open, and locks it. EWOULDBLOCK:
 * another edit holds it, or just did. A lock file that no process holds was left by one
 * that was killed, and is removed. */
int edit_lock(struct edit *edit);
/* Returns whether the lock file still has its name. */
bool edit_has_lock(const struct edit *edit);
/* Syncs the directory as far as possible. */
void edit_sync(const struct edit *edit);
/* Removes the lock file, unless it has been renamed; unlocks and closes everything. A
 * forked child only closes. */
void edit_close(struct edit *edit);

/* cffi: end */

enum { SAFE_FLAGS = O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC };

int edit_open(struct edit *edit, const char *directory, const char *name, bool create)
{
    edit->directory =
        open(directory, KETAMA_O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (edit->directory < 0)
        return errno;
    edit->file = openat(edit->directory, name, O_RDWR | SAFE_FLAGS);
    return edit->file >= 0 || (create && errno == ENOENT) ? 0 : errno;
}

static bool is_at(int fd, const struct edit *edit)
{
    struct stat opened, entry;
    return fstat(fd, &opened) == 0 &&
           fstatat(edit->directory, edit->lock_name, &entry, AT_SYMLINK_NOFOLLOW) == 0 &&
           opened.st_dev == entry.st_dev && opened.st_ino == entry.st_ino;
}

/* Only a process that has locked a lock file removes it, so a name that leads to a
 * locked file stays until it is unlocked. */
static int remove_left_over(const struct edit *edit)
{
    int status = 0, fd = openat(edit->directory, edit->lock_name, O_RDWR | SAFE_FLAGS);

    if (fd < 0 && errno == EACCES)
        return EWOULDBLOCK; /* root has created it, and not yet given it to the owner */
    if (fd < 0)
        return errno == ENOENT ? 0 : errno;
    if (flock(fd, LOCK_EX | LOCK_NB) < 0 ||
        (is_at(fd, edit) && unlinkat(edit->directory, edit->lock_name, 0) < 0))
        status = errno;
    close(fd);
    return status;
}

static int create_lock(struct edit *edit)
{
    int fd = openat(edit->directory, edit->lock_name,
                    O_RDWR | O_CREAT | O_EXCL | SAFE_FLAGS, 0600);
    if (fd < 0)
        return errno;
    if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
        int status = errno;
        /* If another edit holds it, that found it unlocked, and removes it. */
        if (status != EWOULDBLOCK)
            unlinkat(edit->directory, edit->lock_name, 0);
        close(fd);
        return status;
    }
    edit->lock = fd;
    edit->locked_by = getpid();
    return edit_has_lock(edit) ? 0 : EWOULDBLOCK;
}

int edit_lock(struct edit *edit)
{
    int status = create_lock(edit);
    if (status == EEXIST && (status = remove_left_over(edit)) == 0)
        status = create_lock(edit);
    return status == EEXIST ? EWOULDBLOCK : status;
}

bool edit_has_lock(const struct edit *edit)
{
    return is_at(edit->lock, edit);
}

void edit_sync(const struct edit *edit)
{
    int fd = openat(edit->directory, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return;
    fsync(fd);
    close(fd);
}

void edit_close(struct edit *edit)
{
    int *const descriptors[] = {&edit->lock, &edit->file, &edit->directory};

    if (edit->locked_by == getpid()) {
        if (edit_has_lock(edit))
            unlinkat(edit->directory, edit->lock_name, 0);
        /* Closing is not enough: a child forked meanwhile has the descriptor, too. */
        flock(edit->lock, LOCK_UN);
    }
    for (size_t i = 0; i < sizeof descriptors / sizeof *descriptors; i++) {
        if (*descriptors[i] >= 0)
            close(*descriptors[i]);
        *descriptors[i] = -1;
    }
    edit->locked_by = 0;
}

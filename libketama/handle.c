/*
 * handle.c - the one handle: its making, its end, and when it is due to be refreshed
 */
#define _POSIX_C_SOURCE 200809L
#define _DEFAULT_SOURCE /* for CLOCK_MONOTONIC_COARSE */

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "internal.h"

#ifndef CLOCK_MONOTONIC_COARSE
#define CLOCK_MONOTONIC_COARSE CLOCK_MONOTONIC
#endif

/* Ticks every few milliseconds, and is read without a system call in a few nanoseconds.
 */
static int64_t coarse_clock_ns(void)
{
    struct timespec now = {0, 0};
    (void)clock_gettime(CLOCK_MONOTONIC_COARSE, &now); /* cannot fail: there is one */
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

/* A copy of the path that does not depend on the working folder. */
int ketama_absolute_path(const char *path, char **absolute)
{
    enum { FOLDER_MAX = 4096 };
    char folder[FOLDER_MAX] = "";
    size_t size;

    if (path[0] != '/' && path[0] != '\0') {
        if (getcwd(folder, sizeof folder - 1) == NULL)
            return ketama_fail_system(path, errno, NULL);
        if (folder[strlen(folder) - 1] != '/')
            strcat(folder, "/");
    }
    size = strlen(folder) + strlen(path) + 1;
    *absolute = malloc(size);
    if (*absolute == NULL)
        return KETAMA_ENOMEM;
    strcpy(*absolute, folder);
    strcat(*absolute, path);
    return KETAMA_OK;
}

ketama_continuum ketama_handle_new(const struct ketama_profile *profile,
                                   const char *path, unsigned flags)
{
    struct ketama_handle *c = calloc(1, sizeof *c);
    if (c == NULL)
        return NULL;
    c->path = path != NULL ? strdup(path) : NULL;
    if (path != NULL && c->path == NULL) {
        free(c);
        return NULL;
    }
    c->profile = profile;
    c->flags = flags;
    c->generation = 1;
    atomic_init(&c->owners, 1);
    atomic_init(&c->looked_ns, coarse_clock_ns());
    return c;
}

void ketama_handle_looked(ketama_continuum c)
{
    atomic_store(&c->looked_ns, coarse_clock_ns());
}

void ketama_follow(ketama_continuum c, int64_t interval_ns)
{
    atomic_store(&c->interval_ns, interval_ns);
}

int ketama_due(ketama_continuum c)
{
    const int64_t second = 1000000000;
    int64_t interval = atomic_load_explicit(&c->interval_ns, memory_order_relaxed);
    if (interval <= 0 || c->path == NULL)
        return 0;
    /* The mark is heeded at once, and only once: it stays, and the file it tells of may
     * be away for a moment. But whoever has an image that was replaced will hear of no
     * other, and so looks at the file himself, each second at least. */
    if (atomic_load_explicit(c->view.superseded, memory_order_relaxed) != 0) {
        if (!atomic_load_explicit(&c->heeded, memory_order_relaxed) &&
            !atomic_exchange(&c->heeded, true))
            return 1;
        interval = interval < second ? interval : second;
    }
    int64_t looked = atomic_load_explicit(&c->looked_ns, memory_order_relaxed);
    int64_t now = coarse_clock_ns();
    return now - looked >= interval &&
           atomic_compare_exchange_strong(&c->looked_ns, &looked, now);
}

int ketama_is_shared(ketama_continuum c)
{
    return c->segment.bytes != NULL;
}

ketama_continuum ketama_retain(ketama_continuum c)
{
    atomic_fetch_add(&c->owners, 1);
    return c;
}

void ketama_close(ketama_continuum c)
{
    if (c == NULL || atomic_fetch_sub(&c->owners, 1) > 1)
        return;
    int saved = errno;
    ketama_image_free(c->image);
    ketama_segment_detach(&c->segment);
    free(atomic_load(&c->old));
    free(c->path);
    free(c);
    errno = saved;
}

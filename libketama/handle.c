/*
 * handle.c - the handle: making and closing it, and when it is due to be refreshed
 */
#include "internal.h"

#include <stdlib.h>
#include <string.h>

#include "profile/profile.h"

static const int64_t second_ns = 1000000000;

int ketama_absolute_path(const char *path, char **absolute, ketama_failure *failure)
{
    enum { FOLDER_MAX = 4096 };
    char folder[FOLDER_MAX] = "";
    size_t size;

    *absolute = NULL;
    if (path[0] != '/' && path[0] != '\0') {
        if (getcwd(folder, sizeof folder - 1) == NULL)
            return ketama_set_system_failure(failure, errno, NULL);
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

ketama_continuum ketama_handle_new(const char *path,
                                   const struct ketama_profile *profile,
                                   const char *settings, unsigned flags)
{
    struct ketama_handle *c = calloc(1, sizeof *c);
    if (c == NULL)
        return NULL;
    c->path = path != NULL ? strdup(path) : NULL;
    c->settings = strdup(settings);
    if ((path != NULL && c->path == NULL) || c->settings == NULL) {
        free(c->path);
        free(c->settings);
        free(c);
        return NULL;
    }
    c->profile = profile;
    c->flags = flags;
    c->generation = 1;
    atomic_init(&c->owners, 1);
    atomic_init(&c->checked_at, ketama_coarse_clock_ns());
    return c;
}

struct ketama_identity ketama_handle_identity(ketama_continuum c)
{
    return (struct ketama_identity){
        .path = c->path != NULL ? c->path : "",
        .settings = c->settings,
        .profile = c->profile->id,
    };
}

void ketama_handle_checked(ketama_continuum c)
{
    atomic_store(&c->checked_at, ketama_coarse_clock_ns());
}

void ketama_follow(ketama_continuum c, int64_t interval_ns)
{
    atomic_store(&c->interval_ns, interval_ns);
}

int ketama_due(ketama_continuum c)
{
    int64_t interval = atomic_load_explicit(&c->interval_ns, memory_order_relaxed);
    if (interval <= 0 || c->path == NULL)
        return 0;
    /* Report the superseded mark at once, but only once: it stays, and the server file
     * may be missing for a moment. An image that was replaced gets no further mark, so
     * from then on the file is due at least every second. */
    if (atomic_load_explicit(c->view.superseded, memory_order_relaxed) != 0) {
        if (!atomic_load_explicit(&c->supersede_seen, memory_order_relaxed) &&
            !atomic_exchange(&c->supersede_seen, true))
            return 1;
        interval = interval < second_ns ? interval : second_ns;
    }
    int64_t checked = atomic_load_explicit(&c->checked_at, memory_order_relaxed);
    int64_t now = ketama_coarse_clock_ns();
    return now - checked >= interval &&
           atomic_compare_exchange_strong(&c->checked_at, &checked, now);
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
    if (c == NULL || (c->flags & KETAMA_STATIC) != 0 ||
        atomic_fetch_sub(&c->owners, 1) > 1)
        return;
    int saved = errno;
    ketama_image_free(c->image);
    ketama_segment_detach(&c->segment);
    free(atomic_load(&c->mcs_array));
    free(c->path);
    free(c->settings);
    free(c);
    errno = saved;
}

/*
 * handle.c - the handle: making and closing it, and when it is due to be refreshed
 */
#include "internal.h"

#include "profile/profile.h"

#include <stdlib.h>
#include <string.h>

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

ketama_continuum ketama_handle_new(const char *path, const char *chosen, unsigned flags)
{
    struct ketama_handle *c = calloc(1, sizeof *c);
    if (c == NULL)
        return NULL;
    c->path = path != NULL ? strdup(path) : NULL;
    c->chosen = strdup(chosen);
    c->ring_settings = calloc(1, strlen(chosen) + 1); /* a part of them */
    c->ring_profile = ketama_profile_libketama.id;
    if ((path != NULL && c->path == NULL) || c->chosen == NULL ||
        c->ring_settings == NULL) {
        free(c->path);
        free(c->chosen);
        free(c->ring_settings);
        free(c);
        return NULL;
    }
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
        .settings = c->ring_settings,
        .profile = c->ring_profile,
    };
}

void ketama_follow(ketama_continuum c, int64_t interval_ns)
{
    atomic_store(&c->interval_ns, interval_ns);
}

unsigned ketama_handle_begin_refresh(ketama_continuum c)
{
    int64_t now = ketama_coarse_clock_ns();
    atomic_store_explicit(&c->reported, false, memory_order_relaxed);
    atomic_store_explicit(&c->checked_at, now, memory_order_relaxed);
    atomic_store_explicit(&c->began_at, now, memory_order_relaxed);
    /* Not in one step, as that would cost each refresh as much as reading the clock: if
     * two begin or end at the same instant, at worst one thread more is sent. */
    unsigned begun = atomic_load_explicit(&c->refreshing, memory_order_relaxed) + 1;
    atomic_store_explicit(&c->refreshing, begun, memory_order_relaxed);
    return begun;
}

/* Unless another one has begun later: it may be the one that hangs. */
void ketama_handle_end_refresh(ketama_continuum c, unsigned begun)
{
    if (atomic_load_explicit(&c->refreshing, memory_order_relaxed) == begun)
        atomic_store_explicit(&c->refreshing, 0, memory_order_relaxed);
}

/*
 * Is a thread of this process refreshing? On a file system that hangs it may never
 * return, and each further thread that is sent after it is lost as well; so another one
 * is sent only after a minute, then after 10, 100 and each 1,000 minutes. A forked child
 * does not have its parent's threads.
 */
static bool is_refreshing(ketama_continuum c, int64_t now)
{
    enum { PATIENCE_GROWS = 3 };
    int64_t patience = 60 * second_ns;
    unsigned begun = atomic_load(&c->refreshing);

    if (begun == 0 || atomic_load(&c->process) != (long)getpid())
        return false;
    for (unsigned i = 1; i < begun && i <= PATIENCE_GROWS; i++)
        patience *= 10;
    return now - atomic_load(&c->began_at) < patience;
}

/* Until that refresh begins, which the scheduler may delay, nobody else is sent for a
 * second: it may never begin. */
static int report_due(ketama_continuum c)
{
    atomic_store(&c->reported, true);
    atomic_store(&c->process, (long)getpid());
    return 1;
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
            atomic_load(&c->refreshing) == 0 &&
            !atomic_exchange(&c->supersede_seen, true))
            return report_due(c);
        interval = interval < second_ns ? interval : second_ns;
    }
    int64_t checked = atomic_load_explicit(&c->checked_at, memory_order_relaxed);
    int64_t now = ketama_coarse_clock_ns();
    if (now - checked < interval ||
        (now - checked < second_ns && atomic_load(&c->reported)) ||
        !atomic_compare_exchange_strong(&c->checked_at, &checked, now) ||
        is_refreshing(c, now)) /* last, so that it is asked once per interval */
        return 0;
    return report_due(c);
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
    free(c->chosen);
    free(c->ring_settings);
    free(c);
    errno = saved;
}

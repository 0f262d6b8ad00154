/*
 * roll.c - opening handles, and refreshing them when the server file has changed
 */
#include "internal.h"

#include <stdlib.h>

/* Is it the file that failed, not the program? */
static bool is_failure_of_file(int status)
{
    return status < 0 && status != KETAMA_ENOMEM && status != KETAMA_EOPTION;
}

int ketama_open(ketama_continuum *c, const char *path, const ketama_options *options)
{
    char chosen[KETAMA_SETTINGS_MAX];
    char *absolute = NULL;
    ketama_failure failure;
    int status = ketama_choose(options, chosen, &failure);

    *c = NULL;
    if (status != KETAMA_OK)
        return ketama_store_failure(status, NULL, &failure);
    status = ketama_absolute_path(path, &absolute, &failure);
    if (status == KETAMA_OK) {
        *c = ketama_handle_new(absolute, chosen, options != NULL ? options->flags : 0);
        status = *c != NULL ? ketama_share(*c, &failure) : KETAMA_ENOMEM;
    }
    int saved = errno;
    bool fell_back = *c != NULL && ((*c)->flags & KETAMA_FALLBACK) != 0 &&
                     is_failure_of_file(status) && ketama_share_last(*c);
    errno = saved;
    if (status != KETAMA_OK) {
        if (!fell_back) {
            ketama_close(*c);
            *c = NULL;
        }
        ketama_store_failure(status, absolute != NULL ? absolute : path, &failure);
    }
    saved = errno;
    free(absolute);
    errno = saved;
    return fell_back ? KETAMA_FELL_BACK : status;
}

/* Builds a private continuum of a list. */
static int open_list(ketama_continuum *c, const char *chosen,
                     const struct ketama_server_list *list, ketama_failure *failure)
{
    const struct ketama_source none = {.read_at_ns = 0};
    *c = ketama_handle_new(NULL, chosen, KETAMA_PRIVATE);
    return *c != NULL ? ketama_build(*c, list, &none, 1, failure) : KETAMA_ENOMEM;
}

/* Returns the status; after a failure, clears *c and stores it. */
static int close_unless_opened(ketama_continuum *c, int status, const char *source,
                               const ketama_failure *failure)
{
    if (status == KETAMA_OK)
        return KETAMA_OK;
    ketama_close(*c);
    *c = NULL;
    return ketama_store_failure(status, source, failure);
}

int ketama_open_servers(ketama_continuum *c, const ketama_server *servers, size_t count,
                        const ketama_options *options)
{
    char chosen[KETAMA_SETTINGS_MAX];
    struct ketama_server_list list;
    ketama_failure failure;
    int status = ketama_choose(options, chosen, &failure);

    *c = NULL;
    if (status == KETAMA_OK) {
        status = ketama_servers_copy(servers, count, &list, &failure);
        if (status == KETAMA_OK)
            status = open_list(c, chosen, &list, &failure);
        ketama_servers_free(&list);
    }
    return close_unless_opened(c, status, NULL, &failure);
}

int ketama_open_text(ketama_continuum *c, const char *text, size_t size,
                     const ketama_options *options)
{
    char chosen[KETAMA_SETTINGS_MAX];
    struct ketama_server_list list;
    ketama_failure failure;
    const char *source = NULL;
    int status = ketama_choose(options, chosen, &failure);

    *c = NULL;
    if (status == KETAMA_OK) {
        source = "<text>";
        status =
            ketama_servers_parse(size > 0 ? text : "", size, chosen, &list, &failure);
        if (status == KETAMA_OK)
            status = ketama_choose_stated(chosen, list.stated, &failure);
        list.stated.bytes = 0;
        if (status == KETAMA_OK)
            status = open_list(c, chosen, &list, &failure);
        ketama_servers_free(&list);
    }
    return close_unless_opened(c, status, source, &failure);
}

/*
 * Is the file as it was when c was made? *failure is filled if it cannot be checked. An
 * image that was damaged since then is replaced as if the file had changed.
 *
 * stat(2) is given the path that is in the image, after all that lookups read. Where the
 * image was truncated, the kernel fails with EFAULT, while to read its header would
 * raise SIGBUS; so one system call checks both files.
 */
static int check(ketama_continuum c, ketama_failure *failure)
{
    struct ketama_stamp stamp;
    bool reliable = false;

    if (ketama_source_stat(c->view.path, &stamp) != KETAMA_OK ||
        !ketama_image_has_header(&c->view))
        return ketama_source_stat(c->path, &stamp) == KETAMA_OK
                   ? KETAMA_CHANGED
                   : ketama_set_system_failure(failure, errno, NULL);
    if (!ketama_stamp_equal(&c->source.stamp, &stamp))
        return KETAMA_CHANGED;
    if (atomic_load(&c->stamp_reliable))
        return KETAMA_OK;
    if (!ketama_is_same_text(c->path, &c->source, &reliable))
        return KETAMA_CHANGED;
    if (reliable)
        atomic_store(&c->stamp_reliable, true);
    return KETAMA_OK;
}

static int refresh(ketama_continuum c, ketama_continuum *newer)
{
    struct ketama_handle *made = NULL;
    ketama_failure failure;

    int status = check(c, &failure);
    if (status == KETAMA_OK)
        return KETAMA_OK;
    if (status == KETAMA_CHANGED) {
        made = ketama_handle_new(c->path, c->chosen, c->flags);
        status = made != NULL ? ketama_share(made, &failure) : KETAMA_ENOMEM;
    }
    if (status != KETAMA_OK) {
        ketama_close(made);
        return ketama_store_failure(status, c->path, &failure);
    }
    made->generation = c->generation + 1;
    atomic_store(&made->interval_ns, atomic_load(&c->interval_ns));
    *newer = made;
    return KETAMA_CHANGED;
}

int ketama_refresh(ketama_continuum c, ketama_continuum *newer)
{
    *newer = NULL;
    if (c->path == NULL)
        return KETAMA_OK;
    unsigned begun = ketama_handle_begin_refresh(c);
    int status = refresh(c, newer);
    ketama_handle_end_refresh(c, begun);
    return status;
}

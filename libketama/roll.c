/*
 * roll.c - is the file newer? Then build. The only file that knows the order of the
 * stages.
 */
#define _POSIX_C_SOURCE 200809L

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "internal.h"

/* Says what failed, where a stage has not done so itself. */
static int report(int status, const char *path, const struct ketama_flaw *flaw)
{
    if (status == KETAMA_OK || status == KETAMA_ESYSTEM)
        return status;
    return ketama_fail(status, path, flaw);
}

/* A copy of the path that does not depend on the working folder. */
static int absolute_path(const char *path, char **absolute)
{
    enum { FOLDER_MAX = 4096 };
    char folder[FOLDER_MAX] = "";
    size_t size;

    if (path[0] != '/' && path[0] != '\0') {
        if (getcwd(folder, sizeof folder - 1) == NULL)
            return ketama_fail_system(path, errno);
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

/* server list -> points -> image -> handle. path: NULL, or absolute, and copied. */
static int build(ketama_continuum *c, const struct ketama_profile *profile,
                 const char *path, uint64_t generation,
                 const struct ketama_server_list *servers,
                 const struct ketama_source *source, struct ketama_flaw *flaw)
{
    struct ketama_point_list points;
    struct ketama_handle *handle;
    int status = ketama_points_make(profile, servers, &points, flaw);

    if (status != KETAMA_OK)
        return status;
    handle = calloc(1, sizeof *handle);
    if (handle != NULL) {
        handle->image = ketama_image_make(profile, servers, &points, source);
        handle->path = path != NULL ? strdup(path) : NULL;
        atomic_init(&handle->owners, 1);
    }
    ketama_points_free(&points);
    if (handle == NULL || handle->image == NULL ||
        (path != NULL && handle->path == NULL)) {
        ketama_close(handle);
        return KETAMA_ENOMEM;
    }
    ketama_image_view(handle->image, &handle->view);
    handle->profile = profile;
    handle->generation = generation;
    atomic_init(&handle->settled, ketama_source_settled(source));
    *c = handle;
    return KETAMA_OK;
}

/* text -> server list -> handle */
static int build_from_text(ketama_continuum *c, const struct ketama_profile *profile,
                           const char *path, uint64_t generation, const char *text,
                           const struct ketama_source *source, struct ketama_flaw *flaw)
{
    struct ketama_server_list servers;
    size_t size = (size_t)source->stamp.size_bytes;
    int status = ketama_servers_parse(text, size, &servers, flaw);

    if (status == KETAMA_OK)
        status = build(c, profile, path, generation, &servers, source, flaw);
    ketama_servers_free(&servers);
    return status;
}

int ketama_open(ketama_continuum *c, const char *path)
{
    struct ketama_source source;
    struct ketama_flaw flaw;
    char *absolute = NULL, *text = NULL;
    int status;

    *c = NULL;
    status = absolute_path(path, &absolute);
    if (status == KETAMA_OK)
        status = ketama_source_read(absolute, &source, &text, &flaw);
    if (status == KETAMA_OK)
        status = build_from_text(c, &ketama_profile_libketama, absolute, 1, text,
                                 &source, &flaw);
    status = report(status, path, &flaw);
    free(absolute);
    free(text);
    return status;
}

int ketama_open_servers(ketama_continuum *c, const ketama_server *servers, size_t count)
{
    const struct ketama_source none = {.read_at_ns = 0};
    struct ketama_server_list list;
    struct ketama_flaw flaw;
    int status;

    *c = NULL;
    status = ketama_servers_copy(servers, count, &list, &flaw);
    if (status == KETAMA_OK)
        status = build(c, &ketama_profile_libketama, NULL, 1, &list, &none, &flaw);
    ketama_servers_free(&list);
    return report(status, NULL, &flaw);
}

/* The stamp differs or does not prove anything: is the text another one? */
static int refresh_from_text(ketama_continuum c, ketama_continuum *newer,
                             struct ketama_flaw *flaw)
{
    const struct ketama_source *old = c->view.source;
    struct ketama_source source;
    char *text = NULL;
    int status = ketama_source_read(c->path, &source, &text, flaw);

    if (status != KETAMA_OK)
        return status;
    if (ketama_stamp_equal(&old->stamp, &source.stamp) &&
        memcmp(old->md5, source.md5, sizeof old->md5) == 0) {
        if (ketama_source_settled(&source))
            atomic_store(&c->settled, true);
        free(text);
        return KETAMA_OK;
    }
    status = build_from_text(newer, c->profile, c->path, c->generation + 1, text,
                             &source, flaw);
    free(text);
    return status == KETAMA_OK ? KETAMA_CHANGED : status;
}

int ketama_refresh(ketama_continuum c, ketama_continuum *newer)
{
    struct ketama_stamp stamp;
    struct ketama_flaw flaw;
    int status;

    *newer = NULL;
    if (c->path == NULL)
        return KETAMA_OK;
    status = ketama_source_look(c->path, &stamp);
    if (status != KETAMA_OK)
        return status;
    if (ketama_stamp_equal(&c->view.source->stamp, &stamp) && atomic_load(&c->settled))
        return KETAMA_OK;

    status = refresh_from_text(c, newer, &flaw);
    return status == KETAMA_CHANGED ? status : report(status, c->path, &flaw);
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
    free(c->path);
    free(c);
    errno = saved;
}

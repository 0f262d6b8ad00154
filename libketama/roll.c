/*
 * roll.c - is the file newer? Attach to its published image, or build and publish one.
 * The only file that knows the order of the stages.
 */
#define _POSIX_C_SOURCE 200809L

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "internal.h"

static const int64_t pause_max_ns = 4 * 1000000;

/* How long to wait for another process that builds, before building as well: several
 * times what it takes on a busy machine, and never as long as a second. */
static int64_t patience_ns(uint64_t file_bytes)
{
    const uint64_t least = 20 * 1000000, most = 700 * 1000000, for_each_byte = 3000;
    return (int64_t)(file_bytes < (most - least) / for_each_byte
                         ? least + file_bytes * for_each_byte
                         : most);
}

static int64_t clock_ns(void)
{
    struct timespec now = {0, 0};
    (void)clock_gettime(CLOCK_MONOTONIC,
                        &now); /* cannot fail for a clock that there is */
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

/* Says what failed, where a stage has not done so itself. The last thing a function
 * does, so that errno is that of the failure. */
static int report(int status, const char *path, const struct ketama_flaw *flaw)
{
    if (status == KETAMA_ESYSTEM)
        errno = ketama_last_failure()->system_errno;
    else if (status < KETAMA_OK)
        return ketama_fail(status, path, flaw);
    return status;
}

/* Makes the handle one of these bytes, if they are its image. */
static bool adopt(ketama_continuum c, const void *image, size_t size_bytes)
{
    const char *path = c->path != NULL ? c->path : "";
    struct ketama_origin origin;
    if (!ketama_image_origin(image, size_bytes, c->profile, path, &origin) ||
        !ketama_image_open(image, size_bytes, c->profile, path, &c->view))
        return false;
    c->source = origin.source;
    atomic_store(&c->settled, ketama_source_settled(&c->source));
    return true;
}

/* Does the file still have the text of which this source tells? */
static bool is_same_text(const char *path, const struct ketama_source *source,
                         bool *settled)
{
    struct ketama_source now;
    struct ketama_flaw flaw;
    char *text;
    if (ketama_source_read(path, &now, &text, &flaw) != KETAMA_OK)
        return false;
    free(text);
    *settled = ketama_source_settled(&now);
    return ketama_stamp_equal(&source->stamp, &now.stamp) &&
           memcmp(source->md5, now.md5, sizeof now.md5) == 0;
}

/* Is this the image of the file as it is now? */
static bool is_current(ketama_continuum c, const struct ketama_segment *segment,
                       bool *settled)
{
    struct ketama_origin origin;
    struct ketama_stamp now;
    if (!ketama_image_origin(segment->bytes, segment->size_bytes, c->profile, c->path,
                             &origin) ||
        ketama_source_look(c->path, &now) != KETAMA_OK ||
        !ketama_stamp_equal(&origin.source.stamp, &now))
        return false;
    *settled = ketama_source_settled(&origin.source);
    return *settled || is_same_text(c->path, &origin.source, settled);
}

/* Attaches to the published image, if it was made from the file as it is now. An image
 * that the handle has built for itself is dropped then. */
static bool attach(ketama_continuum c, const struct ketama_place *place)
{
    struct ketama_segment segment;
    bool settled;

    if (!ketama_segment_attach(place, &segment))
        return false;
    if (!is_current(c, &segment, &settled) ||
        !adopt(c, segment.bytes, segment.size_bytes)) {
        ketama_segment_detach(&segment);
        return false;
    }
    ketama_image_free(c->image);
    c->image = NULL;
    c->segment = segment;
    atomic_store(&c->settled, settled);
    return true;
}

/* Puts the image that the handle has built where others find it, and uses that one. */
static void publish(ketama_continuum c, const struct ketama_place *place)
{
    struct ketama_stamp now;
    struct ketama_segment segment;

    /* Nothing that is known to be old takes the place of what may be newer. */
    if (ketama_source_look(c->path, &now) != KETAMA_OK ||
        !ketama_stamp_equal(&c->source.stamp, &now) ||
        !ketama_segment_publish(place, c->image, ketama_image_size(c->image), &segment))
        return;
    if (adopt(c, segment.bytes, segment.size_bytes)) {
        ketama_image_free(c->image);
        c->image = NULL;
        c->segment = segment;
    } else { /* somebody has replaced it already */
        ketama_segment_detach(&segment);
        (void)attach(c, place);
    }
}

/* server list -> points -> image, into the handle. */
static int build(ketama_continuum c, const struct ketama_server_list *servers,
                 const struct ketama_source *source, uint64_t generation,
                 struct ketama_flaw *flaw)
{
    struct ketama_point_list points;
    struct ketama_origin origin = {
        .path = c->path != NULL ? c->path : "",
        .source = *source,
        .generation = generation,
    };
    int status = ketama_points_make(c->profile, servers, &points, flaw);

    if (status != KETAMA_OK)
        return status;
    c->image = ketama_image_make(c->profile, servers, &points, &origin);
    ketama_points_free(&points);
    if (c->image == NULL)
        return KETAMA_ENOMEM;
    (void)adopt(c, c->image, ketama_image_size(c->image)); /* which is ours */
    return KETAMA_OK;
}

/* file -> text -> server list -> ... */
static int build_from_file(ketama_continuum c, uint64_t generation,
                           struct ketama_flaw *flaw)
{
    struct ketama_source source;
    struct ketama_server_list servers;
    char *text;
    int status = ketama_source_read(c->path, &source, &text, flaw);

    if (status != KETAMA_OK)
        return status;
    status = ketama_servers_parse(text, (size_t)source.stamp.size_bytes, &servers, flaw);
    if (status == KETAMA_OK)
        status = build(c, &servers, &source, generation, flaw);
    ketama_servers_free(&servers);
    free(text);
    return status;
}

/* The number of the image that is published, however old it is; 0: none. */
static uint64_t published_generation(ketama_continuum c,
                                     const struct ketama_place *place)
{
    struct ketama_segment segment;
    struct ketama_origin origin = {.generation = 0};
    if (!ketama_segment_attach(place, &segment))
        return 0;
    if (!ketama_image_origin(segment.bytes, segment.size_bytes, c->profile, c->path,
                             &origin))
        origin.generation = 0;
    ketama_segment_detach(&segment);
    return origin.generation;
}

/* Waits, and looks again and again, while somebody else builds. True: attached. */
static bool wait_for_builder(ketama_continuum c, struct ketama_place *place,
                             uint64_t file_bytes)
{
    int64_t begin = clock_ns(), pause = 100000;
    while (!attach(c, place)) {
        if (ketama_place_lock(place) != KETAMA_LOCK_BUSY ||
            clock_ns() - begin > patience_ns(file_bytes))
            return false;
        (void)nanosleep(&(struct timespec){.tv_nsec = (long)pause}, NULL);
        pause = pause < pause_max_ns ? 2 * pause : pause;
    }
    return true;
}

/*
 * One process builds, the others wait for it, but never on it: who has not got the lock
 * in the end builds for itself. Before and after building there may be somebody else's
 * image after all, which is then as good.
 */
static int share(ketama_continuum c, struct ketama_place *place,
                 struct ketama_flaw *flaw)
{
    struct ketama_stamp now;
    int status = ketama_source_look(c->path, &now);

    if (status != KETAMA_OK || wait_for_builder(c, place, now.size_bytes) ||
        (place->lock >= 0 && attach(c, place)))
        return status;
    status = build_from_file(c, published_generation(c, place) + 1, flaw);
    if (status == KETAMA_OK && (place->lock >= 0 || !attach(c, place)))
        publish(c, place);
    return status;
}

/* Fills a new handle from its path. */
static int fill(ketama_continuum c, struct ketama_flaw *flaw)
{
    struct ketama_place place;
    int status;

    if ((c->flags & KETAMA_PRIVATE) != 0 ||
        !ketama_place_open(&place, c->path, c->profile->id))
        return build_from_file(c, 1, flaw);
    status = share(c, &place, flaw);
    ketama_place_close(&place);
    /* It took descriptors that the file itself could have needed. */
    return status == KETAMA_ESYSTEM ? build_from_file(c, 1, flaw) : status;
}

int ketama_open(ketama_continuum *c, const char *path, unsigned flags)
{
    struct ketama_flaw flaw;
    struct ketama_handle *made = NULL;
    char *absolute = NULL;
    int status;

    *c = NULL;
    status = ketama_absolute_path(path, &absolute);
    if (status == KETAMA_OK) {
        made = ketama_handle_new(&ketama_profile_libketama, absolute, flags);
        free(absolute);
        status = made != NULL ? fill(made, &flaw) : KETAMA_ENOMEM;
    }
    status = report(status, made != NULL ? made->path : path, &flaw);
    if (status == KETAMA_OK)
        *c = made;
    else
        ketama_close(made);
    return status;
}

int ketama_open_servers(ketama_continuum *c, const ketama_server *servers, size_t count)
{
    const struct ketama_source none = {.read_at_ns = 0};
    struct ketama_server_list list;
    struct ketama_flaw flaw;
    struct ketama_handle *made;
    int status;

    *c = NULL;
    made = ketama_handle_new(&ketama_profile_libketama, NULL, KETAMA_PRIVATE);
    status =
        made != NULL ? ketama_servers_copy(servers, count, &list, &flaw) : KETAMA_ENOMEM;
    if (made != NULL) {
        if (status == KETAMA_OK)
            status = build(made, &list, &none, 1, &flaw);
        ketama_servers_free(&list);
    }
    if (status == KETAMA_OK)
        *c = made;
    else
        ketama_close(made);
    return report(status, NULL, &flaw);
}

int ketama_refresh(ketama_continuum c, ketama_continuum *newer)
{
    struct ketama_stamp stamp;
    struct ketama_flaw flaw;
    struct ketama_handle *made;
    bool settled;
    int status;

    *newer = NULL;
    if (c->path == NULL)
        return KETAMA_OK;
    ketama_handle_looked(c);
    status = ketama_source_look(c->path, &stamp);
    if (status != KETAMA_OK)
        return status;
    if (ketama_stamp_equal(&c->source.stamp, &stamp)) {
        if (atomic_load(&c->settled))
            return KETAMA_OK;
        if (is_same_text(c->path, &c->source, &settled)) {
            if (settled)
                atomic_store(&c->settled, true);
            return KETAMA_OK;
        }
    }

    made = ketama_handle_new(c->profile, c->path, c->flags);
    status = made != NULL ? fill(made, &flaw) : KETAMA_ENOMEM;
    if (status != KETAMA_OK) {
        ketama_close(made);
        return report(status, c->path, &flaw);
    }
    made->generation = c->generation + 1;
    atomic_store(&made->interval_ns, atomic_load(&c->interval_ns));
    *newer = made;
    return KETAMA_CHANGED;
}

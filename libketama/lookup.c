/*
 * lookup.c - key -> point -> server
 *
 * No system call, no allocation, no lock. What an index in the image says is clamped
 * to what there is, so that not even a damaged image is read beyond its end.
 */
#include <string.h>

#include "internal.h"

static uint32_t at_most(uint32_t value, uint32_t most)
{
    return value < most ? value : most;
}

/* The number of the first point >= hash; past the last one, 0. */
static uint32_t position(const struct ketama_view *view, uint32_t hash)
{
    enum { FEW = 8 };
    const uint32_t *bucket = &view->index[hash >> view->shift];
    uint32_t high = at_most(bucket[1], view->point_count);
    uint32_t low = at_most(bucket[0], high);

    /* A bucket has a point or two, unless an address stands in the file many times. */
    while (high - low > FEW) {
        uint32_t middle = low + (high - low) / 2;
        if (view->points[middle].point < hash)
            low = middle + 1;
        else
            high = middle;
    }
    while (low < high && view->points[low].point < hash)
        low++;
    return low < view->point_count ? low : 0;
}

uint32_t ketama_find_hash(ketama_continuum c, uint32_t hash, uint32_t *point)
{
    const ketama_point *found = &c->view.points[position(&c->view, hash)];
    if (point != NULL)
        *point = found->point;
    return at_most(found->server, c->view.server_count - 1);
}

uint32_t ketama_find(ketama_continuum c, const void *key, size_t len, uint32_t *point)
{
    return ketama_find_hash(c, c->profile->hash(key, len), point);
}

uint32_t ketama_count_servers(ketama_continuum c)
{
    return c->view.server_count;
}

uint32_t ketama_count_points(ketama_continuum c)
{
    return c->view.point_count;
}

uint64_t ketama_generation(ketama_continuum c)
{
    return c->generation;
}

/* "" where a damaged image's text would not end within it. */
static const char *address_at(const struct ketama_view *view, uint32_t at)
{
    size_t room = at < view->names_bytes ? (size_t)view->names_bytes - at : 0;
    return room > 0 && memchr(view->names + at, '\0', room) != NULL ? view->names + at
                                                                    : "";
}

int ketama_server_at(ketama_continuum c, uint32_t index, ketama_server *server)
{
    if (index >= c->view.server_count) {
        struct ketama_flaw flaw;
        int status = ketama_flawed(
            &flaw, KETAMA_ERANGE, 0, "there is no server %lu, the last one is %lu",
            (unsigned long)index, (unsigned long)c->view.server_count - 1);
        return ketama_fail(status, NULL, &flaw);
    }
    const struct ketama_image_server *from = &c->view.servers[index];
    *server = (ketama_server){
        .address = address_at(&c->view, from->address_at),
        .weight = from->weight,
        .share = from->share,
        .points = from->points,
    };
    return KETAMA_OK;
}

uint32_t ketama_points(ketama_continuum c, uint32_t first, uint32_t count,
                       ketama_point *out)
{
    uint32_t there = c->view.point_count - at_most(first, c->view.point_count);
    count = at_most(count, there);
    if (count > 0)
        memcpy(out, c->view.points + first, count * sizeof *out);
    return count;
}

/*
 * arcs.c - how a ring is searched, expressed by where its arcs end
 *
 * Lookups know one rule: a hash belongs to the first arc whose end is >= the hash, and
 * past the last one to the first. A dialect that searches in another way has the same
 * points, and arcs that end elsewhere. Of equal points the first one has the arc, and
 * the others end with it and own nothing.
 */
#include "profile.h"

static void reverse(ketama_arc *begin, ketama_arc *end)
{
    while (begin < end) {
        ketama_arc swap = *begin;
        *begin++ = *--end;
        *end = swap;
    }
}

/* Moves the first `by` arcs behind the others. */
static void rotate(ketama_arc *arcs, uint32_t count, uint32_t by)
{
    reverse(arcs, arcs + by);
    reverse(arcs + by, arcs + count);
    reverse(arcs, arcs + count);
}

/* An arc ends one before its point: before the point 0, at the largest hash. */
uint32_t ketama_arcs_after(ketama_arc *points, uint32_t count, uint32_t *first)
{
    uint32_t zeros = 0;
    for (uint32_t i = 0; i < count; i++) {
        zeros += points[i].end == 0;
        points[i].end--;
    }
    rotate(points, count, zeros);
    *first = zeros > 0 ? count - zeros : 0;
    return count;
}

uint32_t ketama_point_after(const struct ketama_view *view, uint32_t at, uint32_t end)
{
    (void)view;
    (void)at;
    return end + 1;
}

/* An arc begins at its point and ends one before the next larger one. That of the
 * largest point wraps around: its end comes first, unless there is a point 0. */
uint32_t ketama_arcs_at_or_before(ketama_arc *points, uint32_t count, uint32_t *first)
{
    const uint32_t smallest = points[0].end, largest = points[count - 1].end;
    uint32_t next = smallest, wrapping = 0;

    for (uint32_t i = count; i-- > 0;) {
        uint32_t point = points[i].end;
        wrapping += point == largest;
        points[i].end = next - 1;
        if (i > 0 && points[i - 1].end != point)
            next = point;
    }
    *first = 0;
    if (smallest != 0) {
        rotate(points, count, count - wrapping);
        *first = wrapping % count;
    }
    return count;
}

uint32_t ketama_point_at_or_before(const struct ketama_view *view, uint32_t at,
                                   uint32_t end)
{
    uint32_t count = view->arcs.count;
    for (uint32_t i = 1; i < count; i++) {
        uint32_t earlier = at >= i ? at - i : at + count - i;
        uint32_t before = ketama_arc_at(&view->arcs, earlier).end;
        if (before != end)
            return before + 1;
    }
    return end + 1;
}

/* Equal points are in the order of their servers' names; the arc is moved first. */
uint32_t ketama_arcs_xmemcached(ketama_arc *points, uint32_t count, uint32_t *first)
{
    for (uint32_t begin = 0, end; begin < count; begin = end) {
        for (end = begin + 1; end < count && points[end].end == points[begin].end; end++)
            ;
        rotate(points + begin, end - begin, points[begin].end % (end - begin));
    }
    *first = 0;
    return count;
}

/* Two more arcs, where their ends are free: below the smallest point one of the largest
 * point's server, and at the very end one of the smallest point's. */
uint32_t ketama_arcs_enyim(ketama_arc *points, uint32_t count, uint32_t *first)
{
    uint32_t largest = count - 1;
    while (largest > 0 && points[largest - 1].end == points[largest].end)
        largest--;
    ketama_arc below = {points[0].end - 1, points[largest].server};
    ketama_arc above = {UINT32_MAX, points[0].server};

    *first = 0;
    if (points[count - 1].end != UINT32_MAX)
        points[count++] = above;
    if (points[0].end != 0) {
        for (uint32_t i = count++; i > 0; i--)
            points[i] = points[i - 1];
        points[0] = below;
        *first = 1;
    }
    return count;
}

uint32_t ketama_point_enyim(const struct ketama_view *view, uint32_t at, uint32_t end)
{
    if (at < view->first_point)
        at = view->first_point + view->point_count - 1;
    else if (at - view->first_point >= view->point_count)
        at = view->first_point;
    else
        return end;
    return at < view->arcs.count ? ketama_arc_at(&view->arcs, at).end
                                 : 0; /* 0: a damaged image */
}

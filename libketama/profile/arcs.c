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

/* A point is the end of its arc. */
uint32_t ketama_arcs_at_or_after(ketama_arc *points, uint32_t count)
{
    (void)points;
    (void)count;
    return 0;
}

/* An arc ends one before its point: before the point 0, at the largest hash. */
uint32_t ketama_arcs_after(ketama_arc *points, uint32_t count)
{
    uint32_t zeros = 0;
    for (uint32_t i = 0; i < count; i++) {
        zeros += points[i].end == 0;
        points[i].end--;
    }
    rotate(points, count, zeros);
    return zeros > 0 ? count - zeros : 0;
}

uint32_t ketama_point_after(const struct ketama_view *view, uint32_t at)
{
    return view->arcs[at].end + 1;
}

/* An arc begins at its point and ends one before the next larger one. That of the
 * largest point wraps around: its end comes first, unless there is a point 0. */
uint32_t ketama_arcs_at_or_before(ketama_arc *points, uint32_t count)
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
    if (smallest == 0)
        return 0;
    rotate(points, count, count - wrapping);
    return wrapping % count;
}

uint32_t ketama_point_at_or_before(const struct ketama_view *view, uint32_t at)
{
    uint32_t end = view->arcs[at].end, count = view->arc_count;
    for (uint32_t i = 1; i < count; i++) {
        uint32_t before = view->arcs[at >= i ? at - i : at + count - i].end;
        if (before != end)
            return before + 1;
    }
    return end + 1;
}

/*
 * diff.c - two continua -> which keys move between servers
 *
 * Both rings are cut where an arc of either one ends; between two cuts, each ring has a
 * single owner. Nothing is sampled, so the shares are exact.
 */
#include "admin.h"

#include <stdlib.h>

/* ---- the moves: collected arc by arc, then summed */

struct moves {
    ketama_move *at;
    size_t count;
    size_t room;
};

static int by_servers(const void *a, const void *b)
{
    const ketama_move *m = a, *n = b;
    if (m->from != n->from)
        return m->from < n->from ? -1 : 1;
    return (m->to > n->to) - (m->to < n->to);
}

/* Merges all moves between the same two servers. */
static void merge(struct moves *moves)
{
    size_t kept = 0;
    qsort(moves->at, moves->count, sizeof *moves->at, by_servers);
    for (size_t i = 0; i < moves->count; i++) {
        if (kept > 0 && by_servers(&moves->at[kept - 1], &moves->at[i]) == 0)
            moves->at[kept - 1].share += moves->at[i].share;
        else
            moves->at[kept++] = moves->at[i];
    }
    moves->count = kept;
}

/* There are many more arcs than pairs of servers: merge before allocating more. */
static bool make_room(struct moves *moves)
{
    enum { FIRST_ROOM = 4096 };
    if (moves->count > 0)
        merge(moves);
    if (moves->count < moves->room / 2)
        return true;
    size_t room = moves->room > 0 ? 2 * moves->room : FIRST_ROOM;
    ketama_move *at = realloc(moves->at, room * sizeof *at);
    if (at == NULL)
        return false;
    moves->at = at;
    moves->room = room;
    return true;
}

static bool append(struct moves *moves, ketama_move move)
{
    if (moves->count == moves->room && !make_room(moves))
        return false;
    moves->at[moves->count++] = move;
    return true;
}

/* ---- the walk around both rings */

struct walk {
    ketama_continuum c;
    uint32_t next; /* the index of the first arc that is not passed yet */
};

/* The hashes after the last arc belong to the first one. */
static uint32_t end_of_arc(const struct walk *walk)
{
    const struct ketama_view *view = &walk->c->view;
    return walk->next < view->arc_count ? view->arcs[walk->next].end : UINT32_MAX;
}

static uint32_t owner(const struct walk *walk)
{
    const struct ketama_view *view = &walk->c->view;
    uint32_t at = walk->next < view->arc_count ? walk->next : 0;
    uint32_t server = view->arcs[at].server;
    return server < view->server_count ? server : view->server_count - 1;
}

/* Of equal ends the first one had the arc, and the others are passed with it. */
static void pass(struct walk *walk, uint32_t hash)
{
    const struct ketama_view *view = &walk->c->view;
    while (walk->next < view->arc_count && view->arcs[walk->next].end <= hash)
        walk->next++;
}

static bool compare(ketama_continuum before, ketama_continuum after,
                    const uint32_t *groups_before, const uint32_t *groups_after,
                    struct moves *moves)
{
    struct walk old = {before, 0}, new = {after, 0};
    uint64_t begin = 0;

    while (begin <= UINT32_MAX) {
        uint32_t end_old = end_of_arc(&old), end_new = end_of_arc(&new);
        uint32_t end = end_old < end_new ? end_old : end_new;
        ketama_move move = {owner(&old), owner(&new), end - begin + 1};
        if (groups_before[move.from] != groups_after[move.to] && !append(moves, move))
            return false;
        pass(&old, end);
        pass(&new, end);
        begin = (uint64_t)end + 1;
    }
    if (moves->count > 0)
        merge(moves);
    return true;
}

int ketama_diff(ketama_continuum before, ketama_continuum after, ketama_move **moves,
                size_t *count)
{
    struct moves found = {NULL, 0, 0};

    *moves = NULL;
    *count = 0;
    if (before->view.server_count == 0 || after->view.server_count == 0)
        return KETAMA_OK; /* nobody owns the keys before, or after */
    uint32_t *groups_before = calloc(ketama_count_servers(before), sizeof(uint32_t));
    uint32_t *groups_after = calloc(ketama_count_servers(after), sizeof(uint32_t));
    int status = KETAMA_ENOMEM;
    if (groups_before != NULL && groups_after != NULL)
        status = ketama_same_servers(before, after, groups_before, groups_after);
    if (status == KETAMA_OK &&
        !compare(before, after, groups_before, groups_after, &found))
        status = KETAMA_ENOMEM;

    free(groups_before);
    free(groups_after);
    if (status != KETAMA_OK || found.count == 0) {
        free(found.at);
        found = (struct moves){NULL, 0, 0};
    }
    *moves = found.at;
    *count = found.count;
    return status == KETAMA_ENOMEM ? ketama_store_failure(status, NULL, NULL) : status;
}

/*
 * diff.c - two continua -> which keys move between servers
 *
 * Both rings are cut where an arc of either one ends; between two cuts, each ring has a
 * single owner. Nothing is sampled, so the shares are exact.
 */
#include "dialects.h"

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
    uint32_t next;   /* the index of the first arc that is not passed yet */
    uint32_t bucket; /* of the arcs' index, for it */
};

static bool is_at_end(const struct walk *walk)
{
    return walk->next >= walk->c->view.arcs.count;
}

static uint32_t next_end(struct walk *walk)
{
    return ketama_arc_from(&walk->c->view.arcs, walk->next, &walk->bucket).end;
}

/* The hashes after the last arc belong to the first one. */
static uint32_t end_of_arc(struct walk *walk)
{
    return is_at_end(walk) ? UINT32_MAX : next_end(walk);
}

static uint32_t owner(const struct walk *walk)
{
    const struct ketama_view *view = &walk->c->view;
    uint32_t word = view->arcs.words[is_at_end(walk) ? 0 : walk->next];
    uint32_t server = ketama_packed_server(&view->arcs, word);
    return server < view->server_count ? server : view->server_count - 1;
}

/* Of equal ends the first one had the arc, and the others are passed with it. */
static void pass(struct walk *walk, uint32_t hash)
{
    while (!is_at_end(walk) && next_end(walk) <= hash)
        walk->next++;
}

struct walks {
    struct walk old, new;
    uint64_t begin; /* of what is to be compared */
};

/* Takes the next hashes with one owner in each ring. False: there are no more. */
static bool take_next(struct walks *walks, ketama_move *move)
{
    if (walks->begin > UINT32_MAX)
        return false;
    uint32_t end_old = end_of_arc(&walks->old), end_new = end_of_arc(&walks->new);
    uint32_t end = end_old < end_new ? end_old : end_new;
    *move =
        (ketama_move){owner(&walks->old), owner(&walks->new), end - walks->begin + 1};
    pass(&walks->old, end);
    pass(&walks->new, end);
    walks->begin = (uint64_t)end + 1;
    return true;
}

/* The servers of both rings, as numbers that are equal for the same server. */
struct groups {
    uint32_t *before, *after;
};

typedef int grouping(ketama_continuum before, ketama_continuum after,
                     uint32_t *groups_before, uint32_t *groups_after);

static int make_groups(struct groups *groups, ketama_continuum before,
                       ketama_continuum after, grouping *group)
{
    groups->before = calloc(ketama_count_servers(before), sizeof(uint32_t));
    groups->after = calloc(ketama_count_servers(after), sizeof(uint32_t));
    if (groups->before == NULL || groups->after == NULL)
        return ketama_store_failure(KETAMA_ENOMEM, NULL, NULL);
    return group(before, after, groups->before, groups->after);
}

static void free_groups(struct groups *groups)
{
    free(groups->before);
    free(groups->after);
}

static bool is_moved(const struct groups *groups, const ketama_move *move)
{
    return groups->before[move->from] != groups->after[move->to];
}

static bool is_empty(ketama_continuum before, ketama_continuum after)
{
    return before->view.server_count == 0 || after->view.server_count == 0;
}

static bool collect(ketama_continuum before, ketama_continuum after,
                    const struct groups *groups, struct moves *moves)
{
    struct walks walks = {{before, 0, 0}, {after, 0, 0}, 0};
    ketama_move move;

    while (take_next(&walks, &move))
        if (is_moved(groups, &move) && !append(moves, move))
            return false;
    if (moves->count > 0)
        merge(moves);
    return true;
}

int ketama_diff(ketama_continuum before, ketama_continuum after, ketama_move **moves,
                size_t *count)
{
    struct moves found = {NULL, 0, 0};
    struct groups groups;

    *moves = NULL;
    *count = 0;
    if (is_empty(before, after))
        return KETAMA_OK; /* nobody owns the keys before, or after */
    int status = make_groups(&groups, before, after, ketama_same_servers);
    if (status == KETAMA_OK && !collect(before, after, &groups, &found))
        status = ketama_store_failure(KETAMA_ENOMEM, NULL, NULL);
    free_groups(&groups);
    if (status != KETAMA_OK || found.count == 0) {
        free(found.at);
        found = (struct moves){NULL, 0, 0};
    }
    *moves = found.at;
    *count = found.count;
    return status;
}

int ketama_count_moved(ketama_continuum before, ketama_continuum after, uint64_t *moved)
{
    struct walks walks = {{before, 0, 0}, {after, 0, 0}, 0};
    struct groups groups;
    ketama_move move;

    *moved = 0;
    if (is_empty(before, after))
        return KETAMA_OK;
    int status = make_groups(&groups, before, after, ketama_same_addresses);
    while (status == KETAMA_OK && take_next(&walks, &move))
        *moved += is_moved(&groups, &move) ? move.share : 0;
    free_groups(&groups);
    return status;
}

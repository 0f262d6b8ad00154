/*
 * dialects.h - what two dialects differ in, and how much each difference matters
 *
 * For the Python binding: ketama.agree().
 */
#ifndef KETAMA_DIALECTS_H
#define KETAMA_DIALECTS_H

#include "admin.h"

#include "../profile/profile.h"

/* cffi: begin */

#define KETAMA_ASPECT_MAX 128 /* bytes of a description, with its NUL */

/* Descriptions, such as "md5". Dialects have an aspect in common if these are equal; but
 * the number of points is described only in general. */
struct ketama_aspects {
    char hash[128];   /* of keys, */
    char part[128];   /* and what of a key is hashed */
    char counts[128]; /* how many points a server gets, */
    char digest[128]; /* and how they are made */
    char order[128];  /* which of equal points wins */
    char search[128]; /* which point a hash belongs to */
};

/* What can be mixed: a set of these. */
enum ketama_mix {
    KETAMA_MIX_NAMES = 1, /* the texts that are hashed for servers */
    KETAMA_MIX_COUNTS = 2,
    KETAMA_MIX_DIGEST = 4,
    KETAMA_MIX_ORDER = 8,
    KETAMA_MIX_SEARCH = 16,
    KETAMA_MIX_HASH = 32,
    KETAMA_MIX_PART = 64
};

/* Describes the dialect of a continuum. Errors: ENOMEM. */
int ketama_describe_aspects(ketama_continuum c, struct ketama_aspects *aspects);

/* Is the hash of every key the same in both, except that of the empty one? */
bool ketama_same_key_hash(ketama_continuum a, ketama_continuum b);

/* diff.c: how many of the hashes have servers of different addresses. Errors: ENOMEM. */
int ketama_count_moved(ketama_continuum before, ketama_continuum after, uint64_t *moved);

/* Do the dialect's programs have names for servers? */
bool ketama_takes_names(ketama_continuum c);

/* mix.c: opens the servers of b in its dialect, but with some aspects of a's. Only
 * lookups and ketama_diff() may be asked of it. Errors: ENOMEM, ETOOMANY. */
int ketama_open_mixed(ketama_continuum a, ketama_continuum b, unsigned aspects,
                      ketama_continuum *mixed);

/* cffi: end */

/* A dialect, and the row of the table whose rules for points apply to its servers. */
struct ketama_side {
    const struct ketama_dialect *dialect;
    const struct ketama_profile *profile;
};

#endif

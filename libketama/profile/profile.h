/*
 * profile.h - what the dialects of ketama differ in
 *
 * A dialect is a row of table.c. The other files have the functions that rows are made
 * of: names.c the text that is hashed, counts.c how many labels a server gets,
 * generate.c how points are made of labels, arcs.c how a ring is searched.
 */
#ifndef KETAMA_PROFILE_H
#define KETAMA_PROFILE_H

#include "../internal.h"

enum {
    KETAMA_LABEL_MAX = KETAMA_ADDRESS_MAX + 32, /* the longest text hashed for a point */
    KETAMA_POINTS_PER_LABEL_MAX = 8,
};

struct ketama_profile {
    uint32_t id; /* in images; never reused */
    const char *name;

    /* ---- points */

    /* How many labels a server gets; and how many points each of them gives. */
    uint32_t (*count_labels)(uint64_t weight, uint64_t total_weight, uint32_t servers);
    uint32_t points_per_label;
    /* Where points are equal, the server that comes earlier in this order has them. */
    void (*order)(const struct ketama_server_list *servers, uint32_t *order);
    /* Writes all points, each as the end of an arc, server by server in that order. */
    void (*generate)(const struct ketama_profile *profile,
                     const struct ketama_server_list *servers, const uint32_t *order,
                     ketama_arc *out);
    /* For ketama_generate_labels: writes a server's k-th label and returns its length;
     * and hashes labels to points_per_label points each. */
    size_t (*label)(const struct ketama_listed *server, uint32_t k,
                    char label[KETAMA_LABEL_MAX]);
    void (*hash_labels)(const ketama_key *labels, size_t count, uint32_t *points);

    /* ---- search */

    /* Turns points in ascending order, in place, into arcs in ascending order. Returns
     * the index of the arc whose point is the smallest. */
    uint32_t (*to_arcs)(ketama_arc *points, uint32_t count);
    /* The point of the arc at an index. NULL: the arc's end. */
    uint32_t (*point_at)(const struct ketama_view *view, uint32_t at);

    /* ---- keys */

    uint32_t (*hash)(const void *key, size_t len);
    void (*hash_many)(const ketama_key *keys, size_t count, uint32_t *hashes);
};

/* ---- table.c */

extern const struct ketama_profile ketama_profile_libketama;

/* Sets *profile and *settings, which is never NULL. Errors: EOPTION. */
int ketama_profile_select(const ketama_options *options,
                          const struct ketama_profile **profile, const char **settings,
                          ketama_failure *failure);

/* ---- names.c */

/* "name-k", or "address-k" for a server without a name; k in decimal. */
size_t ketama_label_dash(const struct ketama_listed *server, uint32_t k,
                         char label[KETAMA_LABEL_MAX]);

/* ---- counts.c */

uint32_t ketama_count_ratio_a(uint64_t weight, uint64_t total_weight, uint32_t servers);

/* ---- generate.c */

void ketama_order_as_listed(const struct ketama_server_list *servers, uint32_t *order);
void ketama_generate_labels(const struct ketama_profile *profile,
                            const struct ketama_server_list *servers,
                            const uint32_t *order, ketama_arc *out);
/* All four words of the MD5, and the first one. */
void ketama_hash_labels_md5(const ketama_key *labels, size_t count, uint32_t *points);
void ketama_hash_many_md5(const ketama_key *keys, size_t count, uint32_t *hashes);

/* ---- arcs.c: for each search, its arcs, and the point of an arc where it isn't its
 * end. A hash belongs to: */

/* the first point >= hash; past the last one, the smallest */
uint32_t ketama_arcs_at_or_after(ketama_arc *points, uint32_t count);
/* the first point > hash; past the last one, the smallest */
uint32_t ketama_arcs_after(ketama_arc *points, uint32_t count);
uint32_t ketama_point_after(const struct ketama_view *view, uint32_t at);
/* the last point <= hash; below the smallest, the largest */
uint32_t ketama_arcs_at_or_before(ketama_arc *points, uint32_t count);
uint32_t ketama_point_at_or_before(const struct ketama_view *view, uint32_t at);

#endif

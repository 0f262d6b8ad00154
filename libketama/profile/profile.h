/*
 * profile.h - what the dialects of ketama differ in
 *
 * A dialect is a row of table.c. The other files have the functions that rows are made
 * of: names.c the text that is hashed for a server, counts.c how many labels it gets,
 * order.c which of equal points wins, generate.c how points are made, ranges.c which
 * buckets a server owns, arcs.c how a ring is searched, keys.c which part of a key is
 * hashed. settings.c reads options, and dialect.c makes a dialect of them.
 */
#ifndef KETAMA_PROFILE_H
#define KETAMA_PROFILE_H

#include "../internal.h"

#include "../hash/hash.h"

enum {
    KETAMA_NAME_MAX = 2 * KETAMA_ADDRESS_MAX + 16, /* bytes of the text for a server */
    KETAMA_LABEL_MAX = KETAMA_NAME_MAX + 16,       /* bytes of the text for a point */
    KETAMA_WORDS_MAX = 4,                          /* points of a label */
    KETAMA_ADDED_ARCS_MAX = 2,
};

/* ---- the parts of a row */

/* A ketama_name_rule sets *name to the text that is hashed for a server without a name
 * of its own: as it is listed, or written to to[KETAMA_NAME_MAX]. It fails if the
 * dialect has no such address. */

/* For ketama_name_host: how host and port are written. */
struct ketama_host_rule {
    const char *prefix;       /* before the host */
    bool keeps_brackets;      /* of an IPv6 address */
    const char *hidden_port;  /* is left out; NULL: none */
    const char *default_port; /* of an address without one; NULL: an error */
    const char *fixed_port;   /* in place of any; NULL: none */
    bool has_sockets;         /* paths of Unix sockets; else they are an error */
    const char *socket_port;  /* their port; NULL: the path is alone */
    char joint;               /* between host and port */
};

/* A choice that an option offers, by the name that programs give it. */
struct ketama_named_hash {
    const char *name;
    ketama_hash_function *hash;
};
struct ketama_named_format {
    const char *name;
    ketama_name_rule *rule;
};

/* Labels of several servers, hashed together because vectors are faster: a few times as
 * many as the widest two vectors have lanes, so that these are full. */
enum { KETAMA_LABELS = 64 };
struct ketama_labels {
    uint32_t count;
    ketama_key label[KETAMA_LABELS];
    char text[KETAMA_LABELS][KETAMA_LABEL_MAX];
};

/* What points are made from. */
struct ketama_layout {
    const struct ketama_profile *profile; /* whose rules for points apply */
    const struct ketama_dialect *dialect;
    const struct ketama_server_list *servers;
    const struct ketama_text *names;  /* of the servers, as they are listed; */
    const struct ketama_text **order; /* and the one that wins first */
    const uint32_t *points_of;        /* how many points each server gets */
    struct ketama_labels *labels;     /* room for them */
};

struct ketama_profile {
    uint32_t id; /* in images; never reused */
    const char *name;
    const char *programs; /* that speak this dialect; */
    const char *setting;  /* what to write in their configuration; */
    const char *note;     /* and what their users should know */

    /* ---- options: their defaults. NULL, 0: the profile does not have it. */

    const struct ketama_named_hash *hashes;    /* the default first; up to a NULL */
    const struct ketama_named_format *formats; /* likewise */
    unsigned options;                          /* the others: a set of KETAMA_HAS_* */
    uint32_t points;                           /* for count_labels(); */
    uint32_t points_step;                      /* a multiple of this */
    const char *hash_tag;

    /* ---- points */

    ketama_name_rule *name_rule;
    struct ketama_host_rule host;
    /* How to write a server that has a host name, because the program hashes its IP
     * address; NULL: it does not. */
    const char *ip_form;
    bool takes_names;    /* a name is part of the programs' own configuration, too */
    bool refuses_names;  /* hashes host and port apart: no name can replace both */
    bool unique_servers; /* of equal names or addresses */
    /* Where points are equal, the server that comes earlier in this order has them. */
    void (*order)(const struct ketama_text *names, uint32_t count,
                  const struct ketama_text **order);
    /* How many labels a server gets; and how many points each of them gives. */
    uint64_t (*count_labels)(const struct ketama_layout *layout, uint64_t weight);
    uint32_t points_per_label;
    /* In place of count_labels: sets how many points each server gets, as the server
     * list says; fails if it contradicts itself. NULL: count_labels. */
    int (*count_points)(const struct ketama_layout *layout, uint32_t *points_of,
                        ketama_failure *failure);
    /* Writes all points, server by server in that order. */
    void (*generate)(const struct ketama_layout *layout, uint32_t *out);
    /* For ketama_generate_labels: what is before the number in a label; and hashes
     * labels to points_per_label points each. */
    char joint;
    void (*hash_labels)(const struct ketama_layout *layout, const ketama_key *labels,
                        size_t count, uint32_t *points);
    /* Whose rules for points apply if a weight is above 1; NULL: these. */
    const struct ketama_profile *weighted;

    /* ---- search */

    /* Turns points in ascending order, each as the end of an arc, in place into arcs in
     * ascending order; may add some. Sets *first_point to the index of the arc whose
     * point is the smallest, and returns how many arcs there are. NULL: a point is the
     * end of its arc, and a hash belongs to the first one >= it; past the last one, to
     * the smallest. */
    uint32_t (*to_arcs)(ketama_arc *points, uint32_t count, uint32_t *first_point);
    /* The point of the arc at an index, which ends there. NULL: the arc's end. */
    uint32_t (*point_at)(const struct ketama_view *view, uint32_t at, uint32_t end);

    /* ---- keys */

    ketama_key_part *part; /* NULL: all of a key is hashed, unless an option says else */
};

/* ---- table.c */

extern const struct ketama_profile ketama_profile_libketama;
extern const struct ketama_dialect ketama_libketama; /* with its defaults */
/* NULL if the profile does not exist. */
const struct ketama_profile *ketama_profile_find(struct ketama_text name);
const struct ketama_profile *ketama_profile_number(size_t number); /* from 0 */

/* ---- points.c */

/* Whose rules for points apply to these servers. */
const struct ketama_profile *
ketama_profile_of_ring(const struct ketama_dialect *dialect,
                       const struct ketama_server_list *servers);

/* ---- dialect.c, settings.c: options */

enum ketama_option {
    KETAMA_PROFILE,
    KETAMA_HASH,
    KETAMA_HASH_TAG,
    KETAMA_POINTS,
    KETAMA_DEFAULT_PORT,
    KETAMA_FORMAT,
    KETAMA_FILTER,
    KETAMA_FILTER_CONF,
    KETAMA_SEED,
    KETAMA_DELIMITER,
    KETAMA_BUCKETS,
    KETAMA_OPTIONS,
    /* What a server file says of itself, which changes no answer: the fleet that it is
     * for, its version, and the checksum of what follows the line. */
    KETAMA_DOMAIN = KETAMA_OPTIONS,
    KETAMA_FILE_VERSION,
    KETAMA_SHA256,
    KETAMA_STATEMENTS
};

enum {
    KETAMA_HAS_HASH_TAG = 1 << KETAMA_HASH_TAG,
    KETAMA_HAS_POINTS = 1 << KETAMA_POINTS,
    KETAMA_HAS_DEFAULT_PORT = 1 << KETAMA_DEFAULT_PORT,
    KETAMA_HAS_FILTER = 1 << KETAMA_FILTER | 1 << KETAMA_FILTER_CONF,
    KETAMA_HAS_SEED = 1 << KETAMA_SEED,
    KETAMA_HAS_DELIMITER = 1 << KETAMA_DELIMITER,
    KETAMA_HAS_BUCKETS = 1 << KETAMA_BUCKETS, /* and must have a value */
};

extern const char *const ketama_option_names[KETAMA_STATEMENTS];
/* The options that a profile has, apart from KETAMA_PROFILE: a set of 1 << option. */
unsigned ketama_options_of(const struct ketama_profile *profile);
/* Writes each of them as a line "name TAB default TAB choice TAB choice ..."; what has
 * no default, or takes any value, has none of these. */
enum { KETAMA_OPTIONS_TEXT_MAX = 1024 };
void ketama_describe_options(const struct ketama_profile *profile,
                             char text[KETAMA_OPTIONS_TEXT_MAX]);
/* Those of them that change its ring. */
unsigned ketama_ring_options_of(const struct ketama_profile *profile);

/* ---- names.c */

ketama_name_rule ketama_name_as_listed, ketama_name_host, ketama_name_before_slash,
    ketama_name_after_slash, ketama_name_doubled, ketama_name_with_ip,
    ketama_name_slashed, ketama_name_default_port;

/* The profile's ip_form, unless an option says that the program hashes host names. */
const char *ketama_ip_form(const struct ketama_dialect *dialect);

/* The port that is left out of the text for a server; NULL, "": none. */
const char *ketama_hidden_port(const struct ketama_dialect *dialect);

/* Sets names[] for all servers; *storage is allocated for those that are not as listed,
 * or NULL. */
int ketama_names_make(const struct ketama_dialect *dialect,
                      const struct ketama_server_list *servers,
                      struct ketama_text *names, char **storage,
                      ketama_failure *failure);

/* ---- counts.c: the rules A to F of docs/profiles.md, and two without fractions */

uint64_t ketama_count_ratio_a(const struct ketama_layout *layout, uint64_t weight);
uint64_t ketama_count_ratio_b(const struct ketama_layout *layout, uint64_t weight);
uint64_t ketama_count_ratio_c(const struct ketama_layout *layout, uint64_t weight);
uint64_t ketama_count_ratio_d(const struct ketama_layout *layout, uint64_t weight);
uint64_t ketama_count_ratio_e(const struct ketama_layout *layout, uint64_t weight);
uint64_t ketama_count_ratio_f(const struct ketama_layout *layout, uint64_t weight);
/* The option "points" for each server, or for each unit of weight. */
uint64_t ketama_count_flat(const struct ketama_layout *layout, uint64_t weight);
uint64_t ketama_count_absolute(const struct ketama_layout *layout, uint64_t weight);
/* Do servers of unlike weights get as many labels each? */
bool ketama_ignores_weights(const struct ketama_profile *profile);

/* ---- order.c */

void ketama_order_as_listed(const struct ketama_text *names, uint32_t count,
                            const struct ketama_text **order);
void ketama_order_reversed(const struct ketama_text *names, uint32_t count,
                           const struct ketama_text **order);
/* By bytes; or shorter names first, and those of one length by bytes. */
void ketama_order_by_name(const struct ketama_text *names, uint32_t count,
                          const struct ketama_text **order);
void ketama_order_by_length(const struct ketama_text *names, uint32_t count,
                            const struct ketama_text **order);

/* ---- generate.c */

void ketama_generate_labels(const struct ketama_layout *layout, uint32_t *out);
/* Each point is the CRC-32 of the name and the point before it. */
void ketama_generate_chain(const struct ketama_layout *layout, uint32_t *out);

/* The first points_per_label words of the MD5, or of the SHA-384; the first word of the
 * SHA-1; XXH3; and the hash of keys. */
void ketama_labels_md5(const struct ketama_layout *layout, const ketama_key *labels,
                       size_t count, uint32_t *points);
void ketama_labels_sha384(const struct ketama_layout *layout, const ketama_key *labels,
                          size_t count, uint32_t *points);
void ketama_labels_sha1(const struct ketama_layout *layout, const ketama_key *labels,
                        size_t count, uint32_t *points);
void ketama_labels_xxh3(const struct ketama_layout *layout, const ketama_key *labels,
                        size_t count, uint32_t *points);
void ketama_labels_as_keys(const struct ketama_layout *layout, const ketama_key *labels,
                           size_t count, uint32_t *points);

/* ---- ranges.c: servers own buckets, which are arcs of equal lengths */

enum { KETAMA_BUCKETS_MAX = 1 << 20 };

/* The buckets from first to last. */
struct ketama_range {
    uint32_t first, last;
};
/* The ranges of a server in a map; no bytes if it has none. */
struct ketama_text ketama_ranges_of(const struct ketama_listed *server);
/* Takes the next range of a server's, of which a text such as "0-8191,16384" is left.
 * KETAMA_CHANGED: all were taken. */
int ketama_range_take(struct ketama_text *left, uint32_t buckets, uint64_t line,
                      struct ketama_range *range, ketama_failure *failure);
/* Both need the ranges of all servers: each bucket must be in one of them. */
int ketama_count_buckets(const struct ketama_layout *layout, uint32_t *points_of,
                         ketama_failure *failure);
void ketama_generate_buckets(const struct ketama_layout *layout, uint32_t *out);
/* The reverse, as ketama_buckets_write. */
size_t ketama_ranges_write(const uint32_t *owners, uint32_t buckets, uint32_t count,
                           size_t *at, char *text, size_t room);

/* ---- arcs.c: for each search, its arcs, and the point of an arc where it isn't its
 * end. A hash belongs to: */

/* the first point > hash; past the last one, the smallest */
uint32_t ketama_arcs_after(ketama_arc *points, uint32_t count, uint32_t *first);
uint32_t ketama_point_after(const struct ketama_view *view, uint32_t at, uint32_t end);
/* the last point <= hash; below the smallest, the largest */
uint32_t ketama_arcs_at_or_before(ketama_arc *points, uint32_t count, uint32_t *first);
uint32_t ketama_point_at_or_before(const struct ketama_view *view, uint32_t at,
                                   uint32_t end);
/* the first point >= hash; of m equal points p, to that numbered p mod m */
uint32_t ketama_arcs_xmemcached(ketama_arc *points, uint32_t count, uint32_t *first);
/* the first point >= hash; past the last one, the smallest; but below the smallest, the
 * largest */
uint32_t ketama_arcs_enyim(ketama_arc *points, uint32_t count, uint32_t *first);
uint32_t ketama_point_enyim(const struct ketama_view *view, uint32_t at, uint32_t end);

/* ---- keys.c: narrow a key to the part that is hashed; false: the hash is 0 */

/* What is between the characters of hash_tag, unless that is nothing. */
ketama_key_part ketama_part_tag;
/* The same; and an empty key has the hash 0. */
ketama_key_part ketama_part_twemproxy;
/* What is between them, even if that is nothing. */
ketama_key_part ketama_part_any_tag;
/* What is before a text; the whole key if it begins with that. */
ketama_key_part ketama_part_before;
/* What is before a text, even if that is nothing. */
ketama_key_part ketama_part_stop;

#endif

/*
 * table.c - the dialects of ketama, a row each
 *
 * docs/profiles.md lists them by program; docs/architecture.md says how to add one.
 */
#include "profile.h"

#include <string.h>

static const struct ketama_named_hash md5[] = {{"md5", ketama_hash_md5}, {NULL, NULL}};
static const struct ketama_named_hash crc32a[] = {{"crc32a", ketama_hash_crc32a},
                                                  {NULL, NULL}};
static const struct ketama_named_hash sha384[] = {{"sha384", ketama_hash_sha384},
                                                  {NULL, NULL}};

/* ---- Last.fm's, which gave the method its name */

const struct ketama_profile ketama_profile_libketama = {
    .id = 1,
    .name = "libketama",
    .programs = "libketama, python_ketama, PHP's ketama extension, "
                "Algorithm::ConsistentHash::Ketama (Perl), go-ketama",
    .setting = "none is needed",
    .note = "The address is hashed as written, port 11211 included.",
    .hashes = md5,
    .name_rule = ketama_name_as_listed,
    .takes_names = true,
    .order = ketama_order_as_listed,
    .count_labels = ketama_count_ratio_a,
    .points_per_label = 4,
    .generate = ketama_generate_labels,
    .joint = '-',
    .hash_labels = ketama_labels_md5,
};

const struct ketama_dialect ketama_libketama = {
    .profile = &ketama_profile_libketama,
    .hash = ketama_hash_md5,
    .name_rule = ketama_name_as_listed,
};

/* ---- libmemcached */

#define LIBMEMCACHED_HASHES                                                             \
    {"fnv1_64", ketama_hash_fnv1_64}, {"fnv1a_64", ketama_hash_fnv1a_64},               \
        {"fnv1_32", ketama_hash_fnv1_32}, {"fnv1a_32", ketama_hash_fnv1a_32},           \
        {"crc", ketama_hash_crc}, {"murmur", ketama_hash_murmur},                       \
        {"jenkins", ketama_hash_jenkins}, {"murmur3", ketama_hash_murmur3},             \
    {                                                                                   \
        NULL, NULL                                                                      \
    }

static const struct ketama_named_hash libmemcached_hashes[] = {
    {"md5", ketama_hash_md5},
    {"one_at_a_time", ketama_hash_one_at_a_time},
    LIBMEMCACHED_HASHES,
};
static const struct ketama_named_hash consistent_hashes[] = {
    {"one_at_a_time", ketama_hash_one_at_a_time},
    {"md5", ketama_hash_md5},
    LIBMEMCACHED_HASHES,
};

#define LIBMEMCACHED_HOST                                                               \
    {.joint = ':',                                                                      \
     .hidden_port = "11211",                                                            \
     .default_port = "11211",                                                           \
     .has_sockets = true,                                                               \
     .socket_port = "0"}

static const struct ketama_profile libmemcached = {
    .id = 2,
    .name = "libmemcached",
    .programs = "libmemcached, pylibmc, PHP's memcached extension",
    .setting = "pylibmc: behaviors={\"ketama_weighted\": True}; PHP: "
               "OPT_LIBKETAMA_COMPATIBLE; C: "
               "MEMCACHED_BEHAVIOR_KETAMA_WEIGHTED",
    .note = "Port 11211 is left out of the hashed text. The key hash is md5 "
            "unless the program sets another one afterwards. A namespace "
            "(OPT_PREFIX_KEY) is not hashed.",
    .hashes = libmemcached_hashes,
    .name_rule = ketama_name_host,
    .host = LIBMEMCACHED_HOST,
    .order = ketama_order_as_listed,
    .count_labels = ketama_count_ratio_b,
    .points_per_label = 4,
    .generate = ketama_generate_labels,
    .joint = '-',
    .hash_labels = ketama_labels_md5,
};

static const struct ketama_profile libmemcached_ketama = {
    .id = 3,
    .name = "libmemcached-ketama",
    .programs = "libmemcached, pylibmc, PHP's memcached extension",
    .setting = "pylibmc: behaviors={\"ketama\": True}; PHP: OPT_DISTRIBUTION = "
               "DISTRIBUTION_CONSISTENT; C: MEMCACHED_BEHAVIOR_KETAMA",
    .note = "Port 11211 is left out of the hashed text. The key hash also makes "
            "the points. With a weight above 1, the points are those of "
            "libmemcached.",
    .hashes = consistent_hashes,
    .points = 100,
    .name_rule = ketama_name_host,
    .host = LIBMEMCACHED_HOST,
    .order = ketama_order_as_listed,
    .count_labels = ketama_count_flat,
    .points_per_label = 1,
    .generate = ketama_generate_labels,
    .joint = '-',
    .hash_labels = ketama_labels_as_keys,
    .weighted = &libmemcached,
};

static const struct ketama_profile libmemcached_spy = {
    .id = 4,
    .name = "libmemcached-spy",
    .programs = "libmemcached",
    .setting = "C: MEMCACHED_BEHAVIOR_DISTRIBUTION = "
               "MEMCACHED_DISTRIBUTION_CONSISTENT_KETAMA_SPY",
    .note = "The hashed text is /host:port. In spite of its name, this is "
            "not what spymemcached does.",
    .hashes = consistent_hashes,
    .points = 100,
    .name_rule = ketama_name_host,
    .host = {.prefix = "/", .joint = ':', .default_port = "11211"},
    .order = ketama_order_as_listed,
    .count_labels = ketama_count_flat,
    .points_per_label = 1,
    .generate = ketama_generate_labels,
    .joint = '-',
    .hash_labels = ketama_labels_as_keys,
    .weighted = &libmemcached,
};

/* ---- twemproxy */

static const struct ketama_named_hash twemproxy_hashes[] = {
    {"fnv1a_64", ketama_hash_fnv1a_64},
    {"one_at_a_time", ketama_hash_one_at_a_time},
    {"md5", ketama_hash_md5},
    {"crc16", ketama_hash_crc16},
    {"crc32", ketama_hash_crc},
    {"crc32a", ketama_hash_crc32a},
    {"fnv1_64", ketama_hash_fnv1_64},
    {"fnv1_32", ketama_hash_fnv1_32},
    {"fnv1a_32", ketama_hash_fnv1a_32},
    {"hsieh", ketama_hash_hsieh},
    {"murmur", ketama_hash_murmur},
    {"jenkins", ketama_hash_jenkins},
    {NULL, NULL},
};

static const struct ketama_profile twemproxy = {
    .id = 5,
    .name = "twemproxy",
    .programs = "twemproxy (nutcracker)",
    .setting = "distribution: ketama, with the pool's hash: and hash_tag:",
    .note = "A server's name is hashed if it has one; else the address, "
            "without port 11211. Keys are hashed by fnv1a_64 unless the "
            "pool says otherwise.",
    .hashes = twemproxy_hashes,
    .options = KETAMA_HAS_HASH_TAG,
    .name_rule = ketama_name_host,
    .host = {.joint = ':',
             .keeps_brackets = true,
             .hidden_port = "11211",
             .has_sockets = true,
             .socket_port = ""},
    .takes_names = true,
    .unique_servers = true,
    .order = ketama_order_by_length,
    .count_labels = ketama_count_ratio_b,
    .points_per_label = 4,
    .generate = ketama_generate_labels,
    .joint = '-',
    .hash_labels = ketama_labels_md5,
    .part = ketama_part_twemproxy,
};

/* ---- Java */

static const struct ketama_named_format spymemcached_formats[] = {
    {"spymemcached", ketama_name_as_listed},
    {"libmemcached", ketama_name_before_slash},
    {NULL, NULL},
};

#define JAVA_HOST                                                                       \
    {.joint = ':',                                                                      \
     .keeps_brackets = true,                                                            \
     .hidden_port = "11211",                                                            \
     .default_port = "11211"}

#define SPYMEMCACHED(of_hashes, of_labels, of_count)                                    \
    .hashes = (of_hashes), .formats = spymemcached_formats, .points = 160,              \
    .name_rule = ketama_name_as_listed, .host = JAVA_HOST, .ip_form = "host/ip:port",   \
    .order = ketama_order_reversed, .count_labels = (of_count), .points_per_label = 4,  \
    .generate = ketama_generate_labels, .joint = '-', .hash_labels = (of_labels)

static const struct ketama_profile spymemcached_weighted = {
    SPYMEMCACHED(md5, ketama_labels_md5, ketama_count_ratio_b),
};
static const struct ketama_profile spymemcached = {
    .id = 6,
    .name = "spymemcached",
    .programs = "spymemcached (Java)",
    .setting = "KetamaConnectionFactory; the option format is the Format of its "
               "KetamaNodeKeyFormatter",
    .note = "Write the address as Java prints it: host/ip:port, or ip:port. "
            "With all weights 1, weights are not used; for a map of equal "
            "weights, write 2 for each. With format libmemcached, Java asks "
            "DNS for the host name of an IP address.",
    SPYMEMCACHED(md5, ketama_labels_md5, ketama_count_flat),
    .weighted = &spymemcached_weighted,
};

static const struct ketama_profile elasticache_weighted = {
    SPYMEMCACHED(sha384, ketama_labels_sha384, ketama_count_ratio_b),
};
static const struct ketama_profile elasticache = {
    .id = 7,
    .name = "elasticache-java",
    .programs = "Amazon ElastiCache Cluster Client for Java, from 1.2.0 on",
    .setting = "KetamaConnectionFactory",
    .note = "As spymemcached, with SHA-384 in place of MD5. Up to 1.1.3 the "
            "client is spymemcached.",
    SPYMEMCACHED(sha384, ketama_labels_sha384, ketama_count_flat),
    .weighted = &elasticache_weighted,
};

static const struct ketama_profile evcache = {
    .id = 8,
    .name = "evcache",
    .programs = "EVCache (Java)",
    .setting = "the default; bucket.size is the option points, hash.delimiter "
               "the option delimiter",
    .note = "host/ip:11211 is hashed, whatever the port is. Weights are not "
            "used.",
    .hashes = md5,
    .options = KETAMA_HAS_POINTS | KETAMA_HAS_DELIMITER,
    .points = 160,
    .points_step = 1,
    .name_rule = ketama_name_with_ip,
    .ip_form = "host/ip:port",
    .host = {.joint = ':', .keeps_brackets = true, .fixed_port = "11211"},
    .order = ketama_order_reversed,
    .count_labels = ketama_count_flat,
    .points_per_label = 4,
    .generate = ketama_generate_labels,
    .joint = '-',
    .hash_labels = ketama_labels_md5,
};

static const struct ketama_named_format xmemcached_formats[] = {
    {"xmemcached", ketama_name_slashed},
    {"nginx", ketama_name_after_slash},
    {NULL, NULL},
};

static const struct ketama_profile xmemcached = {
    .id = 9,
    .name = "xmemcached",
    .programs = "xmemcached (Java)",
    .setting = "KetamaMemcachedSessionLocator",
    .note = "The hashed text begins with a slash: /ip:port, or "
            "host/ip:port. A server has 160 points for each unit of weight, "
            "so write the weights of the program, 1 by default.",
    .hashes = md5,
    .formats = xmemcached_formats,
    .points = 160,
    .name_rule = ketama_name_slashed,
    .host = JAVA_HOST,
    .ip_form = "host/ip:port",
    .order = ketama_order_by_name,
    .count_labels = ketama_count_absolute,
    .points_per_label = 4,
    .generate = ketama_generate_labels,
    .joint = '-',
    .hash_labels = ketama_labels_md5,
    .to_arcs = ketama_arcs_xmemcached,
};

/* ---- chains of CRC-32; a NUL is between host and port */

static const struct ketama_profile nginx = {
    .id = 10,
    .name = "nginx",
    .programs = "nginx, Cache::Memcached::Fast (Perl)",
    .setting = "nginx: hash KEY consistent; Perl: ketama_points => 160",
    .note = "Points are a chain of CRC-32, 160 for each unit of weight, so "
            "write the weights of the program, 1 by default. A server "
            "without a port has none.",
    .hashes = crc32a,
    .options = KETAMA_HAS_POINTS,
    .points = 160,
    .points_step = 1,
    .name_rule = ketama_name_host,
    .host = {.joint = '\0',
             .keeps_brackets = true,
             .default_port = "",
             .has_sockets = true,
             .socket_port = ""},
    .refuses_names = true,
    .order = ketama_order_as_listed,
    .count_labels = ketama_count_absolute,
    .points_per_label = 1,
    .generate = ketama_generate_chain,
};

static const struct ketama_profile pingora = {
    .id = 11,
    .name = "pingora",
    .programs = "pingora-ketama (Rust)",
    .setting = "the default",
    .note = "As nginx, but an IPv6 address has no brackets, and each server "
            "a port.",
    .hashes = crc32a,
    .points = 160,
    .name_rule = ketama_name_host,
    .host = {.joint = '\0'},
    .ip_form = "ip:port",
    .refuses_names = true,
    .order = ketama_order_as_listed,
    .count_labels = ketama_count_absolute,
    .points_per_label = 1,
    .generate = ketama_generate_chain,
};

/* ---- memcached's proxy */

static const struct ketama_named_hash proxy_hashes[] = {
    {"xxh3", ketama_hash_xxh3},
    {"md5", ketama_hash_md5},
    {NULL, NULL},
};

#define PROXY(of_labels, of_points)                                                     \
    .hashes = proxy_hashes,                                                             \
    .options = KETAMA_HAS_POINTS | KETAMA_HAS_FILTER | KETAMA_HAS_SEED, .points = 160,  \
    .points_step = (of_points), .order = ketama_order_as_listed,                        \
    .count_labels = ketama_count_flat, .points_per_label = (of_points),                 \
    .generate = ketama_generate_labels, .joint = '-', .hash_labels = (of_labels)

static const struct ketama_profile memcached_proxy = {
    .id = 12,
    .name = "memcached-proxy",
    .programs = "memcached's built-in proxy",
    .setting = "dist=mcp.dist_ring_hash; obuckets is the option points",
    .note = "Labels and keys are hashed by XXH3. Weights are not used.",
    .name_rule = ketama_name_host,
    .host = {.joint = ':'},
    PROXY(ketama_labels_xxh3, 1),
};

static const struct ketama_profile memcached_proxy_ketama = {
    .id = 13,
    .name = "memcached-proxy-ketama",
    .programs = "memcached's built-in proxy",
    .setting = "dist=mcp.dist_ring_hash, omode=\"ketama\"; obuckets is the "
               "option points",
    .note = "Keys are hashed by XXH3 unless the pool has "
            "hash=mcp.dist_ring_hash.hash, which is md5. Weights are not "
            "used.",
    .name_rule = ketama_name_host,
    .host = {.joint = ':'},
    PROXY(ketama_labels_md5, 4),
};

static const struct ketama_profile memcached_proxy_twemproxy = {
    .id = 14,
    .name = "memcached-proxy-twemproxy",
    .programs = "memcached's built-in proxy",
    .setting = "dist=mcp.dist_ring_hash, omode=\"twemproxy\"; obuckets is the "
               "option points",
    .note = "Port 11211 is left out of the hashed text. Keys are hashed by "
            "XXH3 unless the pool has hash=mcp.dist_ring_hash.hash, which "
            "is md5. Weights are not used.",
    .name_rule = ketama_name_host,
    .host = {.joint = ':', .hidden_port = "11211"},
    PROXY(ketama_labels_md5, 4),
};

static const struct ketama_profile memcached_proxy_evcache = {
    .id = 15,
    .name = "memcached-proxy-evcache",
    .programs = "memcached's built-in proxy",
    .setting = "dist=mcp.dist_ring_hash, omode=\"evcache\"; obuckets is the "
               "option points",
    .note = "host/host:port is hashed. Keys are hashed by XXH3 unless the "
            "pool has hash=mcp.dist_ring_hash.hash, which is md5. Weights "
            "are not used.",
    .name_rule = ketama_name_doubled,
    .host = {.joint = ':'},
    PROXY(ketama_labels_md5, 4),
};

/* ---- Python */

static const struct ketama_named_hash libmc_hashes[] = {
    {"md5", ketama_hash_md5},
    {"fnv1_32", ketama_hash_fnv1_32_unsigned},
    {"fnv1a_32", ketama_hash_fnv1a_32_unsigned},
    {"crc_32", ketama_hash_crc32a},
    {NULL, NULL},
};

static const struct ketama_profile libmc = {
    .id = 16,
    .name = "libmc",
    .programs = "libmc (C++ and Python)",
    .setting = "libmc.Client([\"host:port name\", ...])",
    .note = "A server's name is hashed if it has one; else the address, "
            "without port 11211. Weights are not used.",
    .hashes = libmc_hashes,
    .points = 100,
    .name_rule = ketama_name_host,
    .host = {.joint = ':', .hidden_port = "11211", .default_port = "11211"},
    .takes_names = true,
    .order = ketama_order_as_listed,
    .count_labels = ketama_count_flat,
    .points_per_label = 1,
    .generate = ketama_generate_labels,
    .joint = '-',
    .hash_labels = ketama_labels_md5,
};

static const struct ketama_profile uhashring = {
    .id = 17,
    .name = "uhashring",
    .programs = "uhashring (Python)",
    .setting = "HashRing(nodes, hash_fn=\"ketama\")",
    .note = "The address is hashed as written. Keys must be str: bytes are "
            "hashed as their repr().",
    .hashes = md5,
    .name_rule = ketama_name_as_listed,
    .order = ketama_order_reversed,
    .count_labels = ketama_count_ratio_c,
    .points_per_label = 4,
    .generate = ketama_generate_labels,
    .joint = '-',
    .hash_labels = ketama_labels_md5,
    .to_arcs = ketama_arcs_after,
    .point_at = ketama_point_after,
};

static const struct ketama_profile hash_ring = {
    .id = 18,
    .name = "hash_ring",
    .programs = "hash_ring (Python 2)",
    .setting = "HashRing(nodes)",
    .note = "The address is hashed as written; three points for each label, "
            "not four.",
    .hashes = md5,
    .name_rule = ketama_name_as_listed,
    .order = ketama_order_reversed,
    .count_labels = ketama_count_ratio_c,
    .points_per_label = 3,
    .generate = ketama_generate_labels,
    .joint = '-',
    .hash_labels = ketama_labels_md5,
    .to_arcs = ketama_arcs_after,
    .point_at = ketama_point_after,
};

/* ---- others */

static const struct ketama_profile node_hashring = {
    .id = 19,
    .name = "node-hashring",
    .programs = "hashring and memcached (npm)",
    .setting = "new HashRing({\"host:port\": weight}); 'default port' is the "
               "option default_port",
    .note = "The npm package memcached passes 11211 as the default port, "
            "which is then left out of the hashed text. An IPv6 address "
            "keeps its port.",
    .hashes = md5,
    .options = KETAMA_HAS_DEFAULT_PORT,
    .name_rule = ketama_name_default_port,
    .order = ketama_order_as_listed,
    .count_labels = ketama_count_ratio_d,
    .points_per_label = 4,
    .generate = ketama_generate_labels,
    .joint = '-',
    .hash_labels = ketama_labels_md5,
};

static const struct ketama_profile predis = {
    .id = 20,
    .name = "predis",
    .programs = "Predis (PHP)",
    .setting = "KetamaRing as the distributor",
    .note = "The address is hashed as written. Predis cuts keys to their "
            "{tag} before it asks the ring: that is the option "
            "hash_tag=\"{}\".",
    .hashes = md5,
    .options = KETAMA_HAS_HASH_TAG,
    .name_rule = ketama_name_as_listed,
    .order = ketama_order_reversed,
    .count_labels = ketama_count_ratio_e,
    .points_per_label = 4,
    .generate = ketama_generate_labels,
    .joint = '-',
    .hash_labels = ketama_labels_md5,
};

static const struct ketama_profile dalli = {
    .id = 21,
    .name = "dalli",
    .programs = "dalli (Ruby), Rails' mem_cache_store",
    .setting = "the default",
    .note = "The text is host:port:number, hashed by SHA-1; keys by CRC-32. "
            "The namespace is hashed with the key, and a key over 250 "
            "characters is shortened before.",
    .hashes = crc32a,
    .name_rule = ketama_name_host,
    .host = {.joint = ':', .default_port = "11211", .has_sockets = true},
    .order = ketama_order_as_listed,
    .count_labels = ketama_count_ratio_f,
    .points_per_label = 1,
    .generate = ketama_generate_labels,
    .joint = ':',
    .hash_labels = ketama_labels_sha1,
    .to_arcs = ketama_arcs_at_or_before,
    .point_at = ketama_point_at_or_before,
};

static const struct ketama_profile enyim = {
    .id = 22,
    .name = "enyim",
    .programs = "EnyimMemcached (.NET)",
    .setting = "locator: KetamaNodeLocator",
    .note = "ip:port is hashed. Weights are not used.",
    .hashes = md5,
    .points = 160,
    .name_rule = ketama_name_as_listed,
    .ip_form = "ip:port",
    .order = ketama_order_reversed,
    .count_labels = ketama_count_flat,
    .points_per_label = 4,
    .generate = ketama_generate_labels,
    .joint = '-',
    .hash_labels = ketama_labels_md5,
    .to_arcs = ketama_arcs_enyim,
    .point_at = ketama_point_enyim,
};

static const struct ketama_profile couchbase = {
    .id = 23,
    .name = "couchbase",
    .programs = "Couchbase's clients, for memcached buckets",
    .setting = "the bucket's type",
    .note = "ip:port is hashed, always with the data port. Weights are not "
            "used.",
    .hashes = md5,
    .points = 160,
    .name_rule = ketama_name_as_listed,
    .ip_form = "ip:port",
    .order = ketama_order_by_name,
    .count_labels = ketama_count_flat,
    .points_per_label = 4,
    .generate = ketama_generate_labels,
    .joint = '-',
    .hash_labels = ketama_labels_md5,
};

/* ---- bucket maps, in which the file says which server owns what */

static const struct ketama_named_hash bucket_hashes[] = {
    {"md5", ketama_hash_md5},
    {"xxh3", ketama_hash_xxh3},
    {"murmur3", ketama_hash_murmur3},
    {"jenkins", ketama_hash_jenkins},
    {"one_at_a_time", ketama_hash_one_at_a_time},
    {"crc32a", ketama_hash_crc32a},
    {"fnv1_32", ketama_hash_fnv1_32},
    {"fnv1a_32", ketama_hash_fnv1a_32},
    {"fnv1_64", ketama_hash_fnv1_64},
    {"fnv1a_64", ketama_hash_fnv1a_64},
    {"murmur", ketama_hash_murmur},
    {"hsieh", ketama_hash_hsieh},
    {"sha384", ketama_hash_sha384},
    {NULL, NULL},
};

static const struct ketama_profile buckets = {
    .id = 24,
    .name = "buckets",
    .programs = "libketama, from 1.0 on: C, and all languages that use it",
    .setting = "none is needed: the map states it",
    .note = "A bucket map: the last column of the file lists which buckets, "
            "arcs of equal lengths, a server owns. 'ketama buckets' makes it.",
    .hashes = bucket_hashes,
    .options = KETAMA_HAS_HASH_TAG | KETAMA_HAS_BUCKETS,
    .name_rule = ketama_name_as_listed,
    .takes_names = true,
    .unique_servers = true,
    .order = ketama_order_as_listed,
    .points_per_label = 1,
    .count_points = ketama_count_buckets,
    .generate = ketama_generate_buckets,
};

static const struct ketama_profile *const table[] = {
    &ketama_profile_libketama,
    &libmemcached,
    &libmemcached_ketama,
    &libmemcached_spy,
    &twemproxy,
    &spymemcached,
    &elasticache,
    &evcache,
    &xmemcached,
    &nginx,
    &pingora,
    &memcached_proxy,
    &memcached_proxy_ketama,
    &memcached_proxy_twemproxy,
    &memcached_proxy_evcache,
    &libmc,
    &uhashring,
    &hash_ring,
    &node_hashring,
    &predis,
    &dalli,
    &enyim,
    &couchbase,
    &buckets,
};

const struct ketama_profile *ketama_profile_number(size_t number)
{
    return number < sizeof table / sizeof *table ? table[number] : NULL;
}

const struct ketama_profile *ketama_profile_find(struct ketama_text name)
{
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        if (strlen(table[i]->name) == name.bytes &&
            memcmp(table[i]->name, name.at, name.bytes) == 0)
            return table[i];
    return NULL;
}

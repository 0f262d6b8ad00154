/*
 * generate.c - a server list -> its points, in the order in which equal ones win
 */
#include "profile.h"

#include "../hash/hash.h"

void ketama_order_as_listed(const struct ketama_server_list *servers, uint32_t *order)
{
    for (uint32_t i = 0; i < servers->count; i++)
        order[i] = i;
}

/* Labels of several servers, hashed together because vectors are faster: as many as the
 * widest have lanes. More would need a larger stack. */
enum { BATCH = 16, REPORT_EVERY = 64 };
struct batch {
    uint32_t count;
    uint32_t server[BATCH];
    ketama_key label[BATCH];
    char text[BATCH][KETAMA_LABEL_MAX];
    uint32_t points[BATCH * KETAMA_POINTS_PER_LABEL_MAX];
};

static ketama_arc *flush(const struct ketama_profile *profile, struct batch *batch,
                         ketama_arc *out)
{
    profile->hash_labels(batch->label, batch->count, batch->points);
    for (uint32_t i = 0; i < batch->count * profile->points_per_label; i++)
        *out++ =
            (ketama_arc){batch->points[i], batch->server[i / profile->points_per_label]};
    batch->count = 0;
    return out;
}

void ketama_generate_labels(const struct ketama_profile *profile,
                            const struct ketama_server_list *servers,
                            const uint32_t *order, ketama_arc *out)
{
    struct batch batch;
    batch.count = 0;
    for (uint32_t i = 0; i < servers->count; i++) {
        const struct ketama_listed *server = &servers->at[order[i]];
        if (i % REPORT_EVERY == 0)
            ketama_report_progress(servers);
        uint32_t labels =
            profile->count_labels(server->weight, servers->total_weight, servers->count);
        for (uint32_t k = 0; k < labels; k++) {
            uint32_t at = batch.count++;
            batch.server[at] = order[i];
            batch.label[at].bytes = batch.text[at];
            batch.label[at].len = profile->label(server, k, batch.text[at]);
            if (batch.count == BATCH)
                out = flush(profile, &batch, out);
        }
    }
    flush(profile, &batch, out);
}

void ketama_hash_labels_md5(const ketama_key *labels, size_t count, uint32_t *points)
{
    ketama_md5_many(labels, count, 4, points);
}

void ketama_hash_many_md5(const ketama_key *keys, size_t count, uint32_t *hashes)
{
    ketama_md5_many(keys, count, 1, hashes);
}

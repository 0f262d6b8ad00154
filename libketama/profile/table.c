/*
 * table.c - the dialects of ketama, a row each
 */
#include "profile.h"

#include <string.h>

/* Last.fm's, which gave the method its name. */
const struct ketama_profile ketama_profile_libketama = {
    .id = 1,
    .name = "libketama",
    .count_labels = ketama_count_ratio_a,
    .points_per_label = 4,
    .order = ketama_order_as_listed,
    .generate = ketama_generate_labels,
    .label = ketama_label_dash,
    .hash_labels = ketama_hash_labels_md5,
    .to_arcs = ketama_arcs_at_or_after,
    .point_at = NULL,
    .hash = ketama_hash,
    .hash_many = ketama_hash_many_md5,
};

static const struct ketama_profile *const table[] = {
    &ketama_profile_libketama,
};

static const struct ketama_profile *find(const char *name)
{
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        if (strcmp(table[i]->name, name) == 0)
            return table[i];
    return NULL;
}

/* Are members set that only a later version knows? */
static bool is_from_a_later_version(const ketama_options *options)
{
    if (options->reserved != 0)
        return true;
    const unsigned char *bytes = (const unsigned char *)options;
    for (size_t i = sizeof *options; i < options->size; i++)
        if (bytes[i] != 0)
            return true;
    return false;
}

int ketama_profile_select(const ketama_options *options,
                          const struct ketama_profile **profile, const char **settings,
                          ketama_failure *failure)
{
    *profile = &ketama_profile_libketama;
    *settings = "";
    if (options == NULL)
        return KETAMA_OK;
    if (options->size < sizeof *options)
        return ketama_set_failure(
            failure, KETAMA_EOPTION, 0,
            "invalid options.size %zu: set it to sizeof(ketama_options)", options->size);
    if (is_from_a_later_version(options))
        return ketama_set_failure(failure, KETAMA_EOPTION, 0,
                                  "unknown option: this is libketama %s",
                                  KETAMA_VERSION);
    if ((options->flags & ~(unsigned)KETAMA_PRIVATE) != 0)
        return ketama_set_failure(
            failure, KETAMA_EOPTION, 0,
            "unknown flags 0x%x: must be 0 or KETAMA_PRIVATE (0x%x)", options->flags,
            (unsigned)KETAMA_PRIVATE);
    if (options->profile != NULL && (*profile = find(options->profile)) == NULL)
        return ketama_set_failure(failure, KETAMA_EOPTION, 0,
                                  "unknown profile %s: must be \"libketama\"",
                                  ketama_quote_text(options->profile).text);
    if (options->settings != NULL && options->settings[0] != '\0')
        return ketama_set_failure(
            failure, KETAMA_EOPTION, 0, "unknown settings %s: profile \"%s\" has none",
            ketama_quote_text(options->settings).text, (*profile)->name);
    return KETAMA_OK;
}

/*
 * dialect.c - options -> a dialect
 *
 * A program passes options to ketama_open(), and a server file may state some in its
 * line "#ketama". What only one of them says counts; they must not contradict each
 * other.
 */
#include "settings.h"

#include <stdio.h>
#include <string.h>

static const struct ketama_origin from_program = {KETAMA_EOPTION, 0};

/* ---- settings -> dialect */

unsigned ketama_options_of(const struct ketama_profile *profile)
{
    return profile->options | 1U << KETAMA_HASH |
           (profile->formats != NULL ? 1U << KETAMA_FORMAT : 0);
}

void ketama_describe_options(const struct ketama_profile *profile,
                             char text[KETAMA_OPTIONS_TEXT_MAX])
{
    unsigned options = ketama_options_of(profile);
    char *to = text;

    for (unsigned i = 0; i < KETAMA_OPTIONS; i++) {
        if ((options >> i & 1) == 0)
            continue;
        to += sprintf(to, "%s\t", ketama_option_names[i]);
        if (i == KETAMA_HASH) {
            to += sprintf(to, "%s", profile->hashes->name);
            for (const struct ketama_named_hash *h = profile->hashes; h->name != NULL;
                 h++)
                to += sprintf(to, "\t%s", h->name);
        }
        if (i == KETAMA_FORMAT) {
            to += sprintf(to, "%s", profile->formats->name);
            for (const struct ketama_named_format *f = profile->formats; f->name != NULL;
                 f++)
                to += sprintf(to, "\t%s", f->name);
        }
        if (i == KETAMA_POINTS)
            to += sprintf(to, "%lu", (unsigned long)profile->points);
        if (i == KETAMA_FILTER)
            to += sprintf(to, "\ttags\tstop");
        to += sprintf(to, "\n");
    }
    *to = '\0';
}

unsigned ketama_ring_options_of(const struct ketama_profile *profile)
{
    unsigned ring = 1U << KETAMA_POINTS | 1U << KETAMA_DEFAULT_PORT |
                    1U << KETAMA_FORMAT | 1U << KETAMA_BUCKETS;
    if (profile->hash_labels == ketama_labels_as_keys)
        ring |= 1U << KETAMA_HASH;
    return ketama_options_of(profile) & ring;
}

static int fail(const struct ketama_settings *settings, enum ketama_option option,
                struct ketama_origin origin, const char *must_be,
                ketama_failure *failure)
{
    return ketama_set_failure(failure, origin.status, origin.line,
                              "invalid %s %s: must be %s", ketama_option_names[option],
                              ketama_quote_text(settings->value[option]).text, must_be);
}

static int fail_choice(const struct ketama_settings *settings, enum ketama_option option,
                       struct ketama_origin origin,
                       const struct ketama_names_list *choices, ketama_failure *failure)
{
    char must_be[sizeof choices->text + 16];
    snprintf(must_be, sizeof must_be, "%s%s",
             strchr(choices->text, ',') != NULL ? "one of " : "", choices->text);
    return fail(settings, option, origin, must_be, failure);
}

static int set_profile(const struct ketama_settings *settings,
                       struct ketama_dialect *dialect, struct ketama_origin origin,
                       ketama_failure *failure)
{
    const char *name = settings->value[KETAMA_PROFILE];

    dialect->profile = &ketama_profile_libketama;
    if (name != NULL)
        dialect->profile =
            ketama_profile_find((struct ketama_text){name, (uint32_t)strlen(name)});
    if (dialect->profile != NULL)
        return KETAMA_OK;
    struct ketama_names_list names = {"", 0};
    for (size_t i = 0; ketama_profile_number(i) != NULL; i++)
        ketama_names_add(&names, ketama_profile_number(i)->name);
    return fail_choice(settings, KETAMA_PROFILE, origin, &names, failure);
}

static int set_hash(const struct ketama_settings *settings,
                    struct ketama_dialect *dialect, struct ketama_origin origin,
                    ketama_failure *failure)
{
    const struct ketama_named_hash *hash = dialect->profile->hashes;
    const char *name = settings->value[KETAMA_HASH];
    struct ketama_names_list names = {"", 0};

    dialect->hash = hash->hash;
    if (name == NULL)
        return KETAMA_OK;
    for (; hash->name != NULL; hash++) {
        if (strcmp(hash->name, name) == 0) {
            dialect->hash = hash->hash;
            return KETAMA_OK;
        }
        ketama_names_add(&names, hash->name);
    }
    return fail_choice(settings, KETAMA_HASH, origin, &names, failure);
}

static int set_format(const struct ketama_settings *settings,
                      struct ketama_dialect *dialect, struct ketama_origin origin,
                      ketama_failure *failure)
{
    const struct ketama_named_format *format = dialect->profile->formats;
    struct ketama_names_list names = {"", 0};

    for (; format->name != NULL; format++) {
        if (strcmp(format->name, settings->value[KETAMA_FORMAT]) == 0) {
            dialect->name_rule = format->rule;
            return KETAMA_OK;
        }
        ketama_names_add(&names, format->name);
    }
    return fail_choice(settings, KETAMA_FORMAT, origin, &names, failure);
}

static int set_tag(const struct ketama_settings *settings, enum ketama_option option,
                   struct ketama_dialect *dialect, ketama_key_part *part,
                   struct ketama_origin origin, ketama_failure *failure)
{
    if (strlen(settings->value[option]) != sizeof dialect->tag)
        return fail(settings, option, origin, "two characters, such as {}", failure);
    memcpy(dialect->tag, settings->value[option], sizeof dialect->tag);
    dialect->part = part;
    return KETAMA_OK;
}

/* An integer from 1 to `most`, or 0 if the text is anything else. */
static uint32_t read_number(const char *text, uint32_t most)
{
    uint32_t number = 0;
    for (; *text >= '0' && *text <= '9' && number <= most / 10; text++)
        number = number * 10 + (uint32_t)(*text - '0');
    return *text == '\0' && number <= most ? number : 0;
}

static int set_points(const struct ketama_settings *settings,
                      struct ketama_dialect *dialect, struct ketama_origin origin,
                      ketama_failure *failure)
{
    enum { POINTS_MAX = 1000000 };
    uint32_t least = dialect->profile->points_per_label;
    uint32_t step = dialect->profile->points_step;
    uint32_t points = read_number(settings->value[KETAMA_POINTS], POINTS_MAX);
    char must_be[64];

    snprintf(must_be, sizeof must_be,
             step > 1 ? "a multiple of %lu, at most %d" : "an integer from %lu to %d",
             (unsigned long)(step > 1 ? step : least), POINTS_MAX);
    if (points < least || points % step != 0)
        return fail(settings, KETAMA_POINTS, origin, must_be, failure);
    dialect->points = points;
    return KETAMA_OK;
}

static int set_buckets(const struct ketama_settings *settings,
                       struct ketama_dialect *dialect, struct ketama_origin origin,
                       ketama_failure *failure)
{
    uint32_t buckets = read_number(settings->value[KETAMA_BUCKETS], KETAMA_BUCKETS_MAX);
    char must_be[64];

    snprintf(must_be, sizeof must_be, "a power of two from 1 to %d, such as 65536",
             KETAMA_BUCKETS_MAX);
    if (buckets == 0 || (buckets & (buckets - 1)) != 0)
        return fail(settings, KETAMA_BUCKETS, origin, must_be, failure);
    dialect->buckets = buckets;
    return KETAMA_OK;
}

static int set_default_port(const struct ketama_settings *settings,
                            struct ketama_dialect *dialect, struct ketama_origin origin,
                            ketama_failure *failure)
{
    enum { PORT_MAX = 65535 };
    const char *port = settings->value[KETAMA_DEFAULT_PORT];
    if (port[0] == '0' || read_number(port, PORT_MAX) == 0)
        return fail(settings, KETAMA_DEFAULT_PORT, origin, "1-65535", failure);
    strcpy(dialect->default_port, port);
    return KETAMA_OK;
}

static int set_filter(const struct ketama_settings *settings,
                      struct ketama_dialect *dialect, struct ketama_origin origin,
                      ketama_failure *failure)
{
    const char *filter = settings->value[KETAMA_FILTER];
    bool is_tags = filter != NULL && strcmp(filter, "tags") == 0;

    if (filter == NULL || settings->value[KETAMA_FILTER_CONF] == NULL)
        return ketama_set_failure(failure, origin.status, origin.line,
                                  "options filter and filter_conf: set both, or none");
    if (is_tags)
        return set_tag(settings, KETAMA_FILTER_CONF, dialect, ketama_part_any_tag,
                       origin, failure);
    if (strcmp(filter, "stop") != 0)
        return fail(settings, KETAMA_FILTER, origin, "one of tags, stop", failure);
    strcpy(dialect->text, settings->value[KETAMA_FILTER_CONF]);
    dialect->part = ketama_part_stop;
    return KETAMA_OK;
}

static int set_option(const struct ketama_settings *settings, enum ketama_option option,
                      struct ketama_dialect *dialect, struct ketama_origin origin,
                      ketama_failure *failure)
{
    const char *value = settings->value[option];

    switch (option) {
    case KETAMA_PROFILE:
    case KETAMA_HASH:
        break; /* first of all, in make_dialect() */
    case KETAMA_HASH_TAG:
        return set_tag(settings, option, dialect,
                       dialect->part != NULL ? dialect->part : ketama_part_tag, origin,
                       failure);
    case KETAMA_POINTS:
        return set_points(settings, dialect, origin, failure);
    case KETAMA_DEFAULT_PORT:
        return set_default_port(settings, dialect, origin, failure);
    case KETAMA_FORMAT:
        return set_format(settings, dialect, origin, failure);
    case KETAMA_FILTER:
    case KETAMA_FILTER_CONF:
        return set_filter(settings, dialect, origin, failure);
    case KETAMA_SEED:
        dialect->seed = ketama_xxh3_64(value, strlen(value), 0);
        break;
    case KETAMA_DELIMITER:
        strcpy(dialect->text, value);
        dialect->part = ketama_part_before;
        break;
    case KETAMA_BUCKETS:
        return set_buckets(settings, dialect, origin, failure);
    case KETAMA_DOMAIN:
    case KETAMA_FILE_VERSION:
    case KETAMA_SHA256:
    case KETAMA_STATEMENTS:
        break; /* no options */
    }
    return KETAMA_OK;
}

static int make_dialect(const struct ketama_settings *settings,
                        struct ketama_dialect *dialect, struct ketama_origin origin,
                        ketama_failure *failure)
{
    *dialect = (struct ketama_dialect){0};
    int status = set_profile(settings, dialect, origin, failure);
    if (status == KETAMA_OK)
        status = set_hash(settings, dialect, origin, failure);
    if (status != KETAMA_OK)
        return status;

    const struct ketama_profile *profile = dialect->profile;
    unsigned options = ketama_options_of(profile);
    dialect->name_rule = profile->name_rule;
    dialect->part = profile->part;
    dialect->points = profile->points;
    for (unsigned i = KETAMA_HASH; i < KETAMA_OPTIONS && status == KETAMA_OK; i++) {
        if (settings->value[i] == NULL)
            continue;
        if ((options >> i & 1) == 0)
            return ketama_set_failure(failure, origin.status, origin.line,
                                      "profile \"%s\" has no option %s: it has %s",
                                      profile->name, ketama_option_names[i],
                                      ketama_names_of(options).text);
        status = set_option(settings, i, dialect, origin, failure);
    }
    return status;
}

/* Only a dialect that is complete can be used. */
static int check_complete(const struct ketama_dialect *dialect,
                          struct ketama_origin origin, ketama_failure *failure)
{
    if ((dialect->profile->options & KETAMA_HAS_BUCKETS) == 0 || dialect->buckets > 0)
        return KETAMA_OK;
    return ketama_set_failure(failure, origin.status, origin.line,
                              "profile \"%s\" needs the option buckets: write "
                              "buckets=65536, or how many the file has",
                              dialect->profile->name);
}

/* ---- what a file says of itself */

/* Has a text from `least` to `most` characters, each of them one of these? */
static bool is_made_of(const char *text, const char *characters, size_t least,
                       size_t most)
{
    size_t size = strlen(text);
    return size >= least && size <= most && strspn(text, characters) == size;
}

static int check_labels(const struct ketama_settings *settings,
                        struct ketama_origin origin, ketama_failure *failure)
{
    static const char digits[] = "0123456789", hex[] = "0123456789abcdef",
                      name[] = "0123456789abcdefghijklmnopqrstuvwxyz._-";
    const char *domain = settings->value[KETAMA_DOMAIN],
               *version = settings->value[KETAMA_FILE_VERSION],
               *sha256 = settings->value[KETAMA_SHA256];

    if (domain != NULL &&
        (!is_made_of(domain, name, 1, 63) || strchr("._-", domain[0]) != NULL))
        return fail(settings, KETAMA_DOMAIN, origin,
                    "1-63 of a-z, 0-9, '.', '_' and '-', the first a letter or digit",
                    failure);
    if (version != NULL && (!is_made_of(version, digits, 1, 18) || version[0] == '0'))
        return fail(settings, KETAMA_FILE_VERSION, origin,
                    "1-18 digits, the first not 0", failure);
    if (sha256 != NULL && !is_made_of(sha256, hex, 16, 16))
        return fail(settings, KETAMA_SHA256, origin,
                    "the first 16 hexadecimal digits, in lower case", failure);
    return KETAMA_OK;
}

/* Only a file says something of itself. */
static int refuse_labels(const struct ketama_settings *settings, ketama_failure *failure)
{
    for (unsigned i = KETAMA_OPTIONS; i < KETAMA_STATEMENTS; i++)
        if (settings->value[i] != NULL)
            return ketama_set_failure(failure, KETAMA_EOPTION, 0,
                                      "unexpected %s: only the first line of a server "
                                      "file states it",
                                      ketama_option_names[i]);
    return KETAMA_OK;
}

/* ---- the program's choice and the file's statement */

static int too_long(ketama_failure *failure)
{
    return ketama_set_failure(failure, KETAMA_EOPTION, 0,
                              "options are too long: at most %d bytes",
                              KETAMA_SETTINGS_MAX - 1);
}

int ketama_check_stated(struct ketama_text stated, uint64_t line,
                        ketama_failure *failure)
{
    struct ketama_origin origin = {KETAMA_ELINE, line};
    struct ketama_dialect dialect;
    struct ketama_settings settings;
    int status = ketama_settings_read(&settings, stated, origin, failure);
    if (status == KETAMA_OK)
        status = check_labels(&settings, origin, failure);
    if (status == KETAMA_OK)
        status = make_dialect(&settings, &dialect, origin, failure);
    return status != KETAMA_OK ? status : check_complete(&dialect, origin, failure);
}

/* Fills *settings with both; the values that the file states are in *of_file. */
static int read_both(struct ketama_settings *settings, struct ketama_settings *of_file,
                     const char *chosen, struct ketama_text stated,
                     ketama_failure *failure)
{
    struct ketama_origin from_file = {KETAMA_ELINE, 1};
    struct ketama_text text = {chosen, (uint32_t)strlen(chosen)};
    int status = ketama_settings_read(settings, text, from_program, failure);

    if (status == KETAMA_OK)
        status = ketama_settings_read(of_file, stated, from_file, failure);
    for (unsigned i = 0; i < KETAMA_OPTIONS && status == KETAMA_OK; i++) {
        const char *value = of_file->value[i];
        if (value == NULL)
            continue;
        if (settings->value[i] != NULL && strcmp(settings->value[i], value) != 0)
            return ketama_set_failure(failure, KETAMA_ELINE, from_file.line,
                                      "the file states %s=%s, the program has chosen "
                                      "%s: leave one of them out",
                                      ketama_option_names[i],
                                      ketama_quote_text(value).text,
                                      ketama_quote_text(settings->value[i]).text);
        settings->value[i] = value;
    }
    return status;
}

int ketama_dialect_make(struct ketama_dialect *dialect, const char *chosen,
                        struct ketama_text stated, ketama_failure *failure)
{
    struct ketama_settings settings, of_file;
    int status = read_both(&settings, &of_file, chosen, stated, failure);
    if (status == KETAMA_OK)
        status = make_dialect(&settings, dialect, from_program, failure);
    return status != KETAMA_OK ? status : check_complete(dialect, from_program, failure);
}

bool ketama_has_ranges(const char *chosen, struct ketama_text stated)
{
    struct ketama_settings settings, of_file;
    struct ketama_dialect dialect;
    ketama_failure failure;

    return read_both(&settings, &of_file, chosen, stated, &failure) == KETAMA_OK &&
           set_profile(&settings, &dialect, from_program, &failure) == KETAMA_OK &&
           (dialect.profile->options & KETAMA_HAS_BUCKETS) != 0;
}

int ketama_choose_stated(char chosen[KETAMA_SETTINGS_MAX], struct ketama_text stated,
                         ketama_failure *failure)
{
    struct ketama_settings settings, of_file;
    int status = read_both(&settings, &of_file, chosen, stated, failure);
    if (status == KETAMA_OK && !ketama_settings_write(&settings, ~0U, chosen))
        return too_long(failure);
    return status;
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

static int check_options(const ketama_options *options, ketama_failure *failure)
{
    if (options->size < sizeof *options)
        return ketama_set_failure(
            failure, KETAMA_EOPTION, 0,
            "invalid options.size %zu: set it to sizeof(ketama_options)", options->size);
    if (is_from_a_later_version(options))
        return ketama_set_failure(failure, KETAMA_EOPTION, 0,
                                  "unknown option: this is libketama %s",
                                  KETAMA_VERSION);
    if ((options->flags & ~(unsigned)(KETAMA_PRIVATE | KETAMA_FALLBACK)) != 0)
        return ketama_set_failure(failure, KETAMA_EOPTION, 0,
                                  "unknown flags 0x%x: must be 0, or KETAMA_PRIVATE "
                                  "(0x%x) and KETAMA_FALLBACK (0x%x)",
                                  options->flags, (unsigned)KETAMA_PRIVATE,
                                  (unsigned)KETAMA_FALLBACK);
    return KETAMA_OK;
}

int ketama_choose(const ketama_options *options, char chosen[KETAMA_SETTINGS_MAX],
                  ketama_failure *failure)
{
    struct ketama_dialect dialect;
    struct ketama_settings settings;

    chosen[0] = '\0';
    if (options == NULL)
        return KETAMA_OK;
    int status = check_options(options, failure);
    if (status != KETAMA_OK)
        return status;
    const char *text = options->settings != NULL ? options->settings : "";
    size_t bytes = strlen(text);
    struct ketama_text all = {text, bytes < UINT32_MAX ? (uint32_t)bytes : UINT32_MAX};
    status = ketama_settings_read(&settings, all, from_program, failure);
    if (status == KETAMA_OK)
        status = refuse_labels(&settings, failure);
    if (status != KETAMA_OK)
        return status;
    if (options->profile != NULL) {
        if (settings.value[KETAMA_PROFILE] != NULL)
            return ketama_set_failure(failure, KETAMA_EOPTION, 0,
                                      "option profile is given twice");
        settings.value[KETAMA_PROFILE] = options->profile;
    }
    /* Without a profile, that of the file decides about the others. */
    if (settings.value[KETAMA_PROFILE] != NULL)
        status = make_dialect(&settings, &dialect, from_program, failure);
    if (status == KETAMA_OK && !ketama_settings_write(&settings, ~0U, chosen))
        return too_long(failure);
    return status;
}

uint32_t ketama_chosen_ring(const char *chosen, struct ketama_text stated,
                            char text[KETAMA_SETTINGS_MAX])
{
    struct ketama_settings settings, of_file;
    struct ketama_dialect dialect = {.profile = NULL};
    ketama_failure failure;
    uint32_t id = ketama_profile_libketama.id;
    unsigned options = ~0U;

    text[0] = '\0';
    if (chosen[0] == '\0')
        return id;
    /* What was chosen is valid: ketama_choose() wrote it. If what is stated is not, the
     * file cannot be opened. */
    if (read_both(&settings, &of_file, chosen, stated, &failure) != KETAMA_OK)
        return id;
    if (settings.value[KETAMA_PROFILE] != NULL &&
        set_profile(&settings, &dialect, from_program, &failure) == KETAMA_OK) {
        options = ketama_ring_options_of(dialect.profile);
        if (of_file.value[KETAMA_PROFILE] == NULL)
            id = dialect.profile->id;
    }
    for (unsigned i = 0; i < KETAMA_OPTIONS; i++)
        if (i == KETAMA_PROFILE || of_file.value[i] != NULL)
            options &= ~(1U << i);
    (void)ketama_settings_write(&settings, options, text); /* a part of what fits */
    return id;
}

bool ketama_choice_of_ring(uint32_t id, const char *settings,
                           char chosen[KETAMA_SETTINGS_MAX])
{
    const struct ketama_profile *profile = &ketama_profile_libketama;
    struct ketama_text all = {settings, (uint32_t)strlen(settings)};
    struct ketama_settings read;
    ketama_failure failure;

    for (size_t i = 0; profile != NULL && profile->id != id; i++)
        profile = ketama_profile_number(i);
    if (profile == NULL ||
        ketama_settings_read(&read, all, from_program, &failure) != KETAMA_OK)
        return false;
    /* The default is chosen by silence: the file may state another. */
    if (profile != &ketama_profile_libketama)
        read.value[KETAMA_PROFILE] = profile->name;
    return ketama_settings_write(&read, ~0U, chosen);
}

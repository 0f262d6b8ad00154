/*
 * settings.c - options as text: "profile=twemproxy hash=md5 hash_tag={}"
 */
#include "settings.h"

#include <stdio.h>
#include <string.h>

const char *const ketama_option_names[KETAMA_STATEMENTS] = {
    "profile",     "hash", "hash_tag",  "points",  "default_port", "format",  "filter",
    "filter_conf", "seed", "delimiter", "buckets", "domain",       "version", "sha256",
};

/* ---- text -> settings */

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

/* Cuts off the text up to the first such character. */
static struct ketama_text take_until(struct ketama_text *text, const char *characters)
{
    uint32_t size = 0;
    while (size < text->bytes && strchr(characters, text->at[size]) == NULL)
        size++;
    struct ketama_text taken = {text->at, size};
    text->at += size;
    text->bytes -= size;
    return taken;
}

static void skip(struct ketama_text *text, uint32_t bytes)
{
    text->at += bytes;
    text->bytes -= bytes;
}

/* Takes a value, to the storage. False: a quote is not closed, or not followed by a
 * blank. */
static bool take_value(struct ketama_settings *settings, struct ketama_text *text)
{
    bool quoted = text->bytes > 0 && text->at[0] == '"', closed = !quoted;

    if (quoted)
        skip(text, 1);
    while (text->bytes > 0 && (quoted || !is_blank(text->at[0]))) {
        if (quoted && text->at[0] == '"') {
            skip(text, 1);
            closed = true;
            break;
        }
        if (quoted && text->at[0] == '\\' && text->bytes > 1)
            skip(text, 1);
        settings->storage[settings->used++] = text->at[0];
        skip(text, 1);
    }
    settings->storage[settings->used++] = '\0';
    return closed && (text->bytes == 0 || is_blank(text->at[0]));
}

static enum ketama_option find_option(struct ketama_text name)
{
    unsigned option = 0;
    while (option < KETAMA_STATEMENTS &&
           (strlen(ketama_option_names[option]) != name.bytes ||
            memcmp(ketama_option_names[option], name.at, name.bytes) != 0))
        option++;
    return option;
}

void ketama_names_add(struct ketama_names_list *list, const char *name)
{
    int size = snprintf(list->text + list->size, sizeof list->text - list->size, "%s%s",
                        list->size > 0 ? ", " : "", name);
    list->size += (size_t)size;
    if (list->size >= sizeof list->text)
        list->size = sizeof list->text - 1;
}

struct ketama_names_list ketama_names_of(unsigned options)
{
    struct ketama_names_list list = {"", 0};
    for (unsigned i = 0; i < KETAMA_STATEMENTS; i++)
        if ((options >> i & 1) != 0)
            ketama_names_add(&list, ketama_option_names[i]);
    return list;
}

/* Reads one "key=value". */
static int read_option(struct ketama_settings *settings, struct ketama_text *text,
                       struct ketama_origin origin, ketama_failure *failure)
{
    struct ketama_text name = take_until(text, "= \t");
    enum ketama_option option = find_option(name);
    const char *value = settings->storage + settings->used;

    if (text->bytes == 0 || text->at[0] != '=')
        return ketama_set_failure(failure, origin.status, origin.line,
                                  "unexpected option %s: write key=value",
                                  ketama_quote(name.at, name.bytes).text);
    if (option == KETAMA_STATEMENTS)
        return ketama_set_failure(failure, origin.status, origin.line,
                                  "unknown option %s: must be one of %s",
                                  ketama_quote(name.at, name.bytes).text,
                                  ketama_names_of((1U << KETAMA_STATEMENTS) - 1).text);
    if (settings->value[option] != NULL)
        return ketama_set_failure(failure, origin.status, origin.line,
                                  "option %s is given twice",
                                  ketama_option_names[option]);
    skip(text, 1);
    if (!take_value(settings, text))
        return ketama_set_failure(failure, origin.status, origin.line,
                                  "invalid value of option %s: unbalanced \" (within "
                                  "quotes, write \\\" for \")",
                                  ketama_option_names[option]);
    if (!ketama_is_utf8(value, strlen(value)))
        return ketama_set_failure(
            failure, origin.status, origin.line, "invalid %s %s: must be UTF-8",
            ketama_option_names[option], ketama_quote_text(value).text);
    if (value[0] == '\0' || strlen(value) >= KETAMA_VALUE_MAX)
        return ketama_set_failure(failure, origin.status, origin.line,
                                  "invalid %s %s: must be 1 to %d bytes",
                                  ketama_option_names[option],
                                  ketama_quote_text(value).text, KETAMA_VALUE_MAX - 1);
    settings->value[option] = value;
    return KETAMA_OK;
}

int ketama_settings_read(struct ketama_settings *settings, struct ketama_text text,
                         struct ketama_origin origin, ketama_failure *failure)
{
    settings->used = 0;
    for (unsigned i = 0; i < KETAMA_STATEMENTS; i++)
        settings->value[i] = NULL;
    if (text.bytes >= KETAMA_SETTINGS_MAX)
        return ketama_set_failure(failure, origin.status, origin.line,
                                  "options are too long: %lu bytes, at most %d",
                                  (unsigned long)text.bytes, KETAMA_SETTINGS_MAX - 1);
    for (;;) {
        while (text.bytes > 0 && is_blank(text.at[0]))
            skip(&text, 1);
        if (text.bytes == 0)
            return KETAMA_OK;
        int status = read_option(settings, &text, origin, failure);
        if (status != KETAMA_OK)
            return status;
    }
}

/* ---- settings -> text */

struct writer {
    char *at, *end;
    bool fits;
};

static void put(struct writer *to, char c)
{
    to->fits = to->fits && to->at < to->end;
    if (to->fits)
        *to->at++ = c;
}

static void put_value(struct writer *to, const char *value)
{
    bool quoted = strpbrk(value, " \t\"\\") != NULL;
    if (quoted)
        put(to, '"');
    for (; *value != '\0'; value++) {
        if (*value == '"' || *value == '\\')
            put(to, '\\');
        put(to, *value);
    }
    if (quoted)
        put(to, '"');
}

bool ketama_settings_write(const struct ketama_settings *settings, unsigned options,
                           char text[KETAMA_SETTINGS_MAX])
{
    struct writer to = {text, text + KETAMA_SETTINGS_MAX - 1, true};
    for (unsigned i = 0; i < KETAMA_OPTIONS; i++) {
        if (settings->value[i] == NULL || (options >> i & 1) == 0)
            continue;
        if (to.at > text)
            put(&to, ' ');
        for (const char *name = ketama_option_names[i]; *name != '\0'; name++)
            put(&to, *name);
        put(&to, '=');
        put_value(&to, settings->value[i]);
    }
    *to.at = '\0';
    return to.fits;
}

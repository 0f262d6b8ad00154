/*
 * settings.h - options as text, for dialect.c
 */
#ifndef KETAMA_SETTINGS_H
#define KETAMA_SETTINGS_H

#include "profile.h"

struct ketama_settings {
    const char *value[KETAMA_STATEMENTS]; /* in `storage`; NULL: not set */
    char storage[KETAMA_SETTINGS_MAX];
    size_t used;
};

/* Where the options are from: the status of a failure, and its line. */
struct ketama_origin {
    int status;
    uint64_t line;
};

int ketama_settings_read(struct ketama_settings *settings, struct ketama_text text,
                         struct ketama_origin origin, ketama_failure *failure);
/* Writes those of a set of options, in one order. False: the text would be too long. */
bool ketama_settings_write(const struct ketama_settings *settings, unsigned options,
                           char text[KETAMA_SETTINGS_MAX]);

/* A list for a message: "a, b, c". */
struct ketama_names_list {
    char text[400];
    size_t size;
};
void ketama_names_add(struct ketama_names_list *list, const char *name);
struct ketama_names_list ketama_names_of(unsigned options);

#endif

/*
 * _glue.c - C functions that save Python a second call, or cffi an allocation
 *
 * _build.py compiles this file and libketama into ketama._ketama. It reads the text
 * between the two cffi marks verbatim.
 */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "_speedups.h"
#include "health/health.h"
#include "internal.h"

#include "admin/admin.h"
#include "admin/dialects.h"
#include "profile/profile.h"

/* cffi: begin */

/* Functions with a `failure` parameter copy the failure in the same call: before a
 * second one, a signal handler could cause another failure. */

/* ketama_open, ketama_open_servers, ketama_open_text, ketama_refresh. flags and
 * settings: as in ketama_options. */
int open_file(ketama_continuum *c, const char *path, unsigned flags,
              const char *settings, ketama_failure *failure);
int open_servers(ketama_continuum *c, const ketama_server *servers, size_t count,
                 const char *settings, ketama_failure *failure);
/* Texts that each end in a NUL: what servers[] has, the address of each and after it the
 * name, if it is named; and all addresses of c, of which those are written to `to` that
 * fit into so much room. Both return how many bytes these are. */
size_t point_servers(ketama_server *servers, size_t count, const char *texts,
                     const uint64_t *weights, const unsigned char *named);
size_t addresses_of(ketama_continuum c, char *to, size_t room);
int open_text(ketama_continuum *c, const char *text, size_t size, const char *settings,
              ketama_failure *failure);
int refresh(ketama_continuum c, ketama_continuum *newer, ketama_failure *failure);
/* Where the table has its count of changes, until health is closed; after the file was
 * replaced, it is elsewhere, and the old one is counted up once more. */
const uint32_t *health_changes(const ketama_health *health);
/* The options that c was opened with, and those that its text states. */
const char *settings_of(ketama_continuum c);

/* ketama_find, with the server's index in the high half and the point in the low one.
 * Without a result, the index is out of range, so that Python's own bounds check is the
 * only check. */
#define DUE        18446744073709551615u /* ketama_due: roll first */
#define NUL_IN_KEY 18446744073709551614u
uint64_t find_now(ketama_continuum c, const void *key, size_t len);
uint64_t find(ketama_continuum c, const void *key, size_t len);
uint64_t find_text(ketama_continuum c, const void *key, size_t len); /* rejects NULs */
uint32_t find_index(ketama_continuum c, const void *key, size_t len);

/* ketama_find_many for keys in one buffer: key i is from offsets[i] to offsets[i + 1].
 * Offsets are 4 or 8 bytes wide, signed if the width is negative; the indexes in `out`
 * are 2 or 4 bytes wide. excluded: as for ketama_find_many_among, or NULL. Returns
 * `count`, or the number of the first key that is out of bounds; then nothing was
 * written. */
size_t find_packed(ketama_continuum c, const void *data, size_t size,
                   const void *offsets, int offset_width, size_t count,
                   const unsigned char *excluded, void *out, int out_width);

/* Copies 4-byte indexes as indexes of 2 or 4 bytes. */
void copy_indexes(const void *indexes, size_t count, void *out, int out_width);

/* ketama_diff, ketama_list_published, ketama_list_all_published, ketama_find_published,
 * ketama_published_openings, ketama_remove_published; free(3) for
 * moves and openings. */
int diff(ketama_continuum before, ketama_continuum after, ketama_move **moves,
         size_t *count, ketama_failure *failure);
/* ketama_same_servers, ketama_hashed_name (docs in admin.h). */
int same_servers(ketama_continuum before, ketama_continuum after,
                 uint32_t *groups_before, uint32_t *groups_after,
                 ketama_failure *failure);
#define HASHED_NAME_MAX 526 /* bytes */
int hashed_name(ketama_continuum c, uint32_t index, char *text, size_t size,
                ketama_failure *failure);
int list_published(char **folder, ketama_published ***images, size_t *count,
                   ketama_failure *failure);
int list_all_published(ketama_published ***images, size_t *count,
                       ketama_failure *failure);
int find_published(const char *path, const char *settings, ketama_published **image,
                   ketama_failure *failure);
int ketama_published_openings(char **openings, size_t *size_bytes);
int remove_published(const char *file, ketama_failure *failure);
void free(void *pointer);

/* A line of a server file that has a server, or is invalid; offsets are in the text. */
struct server_line {
    uint64_t number;     /* from 1 */
    uint64_t start, end; /* with its line break */
    uint64_t address_at, address_bytes;
    uint64_t weight_at, weight_bytes;
    uint64_t name_at, name_bytes;     /* 0 bytes: no name */
    uint64_t ranges_at, ranges_bytes; /* of a bucket map; else 0 bytes */
    uint64_t weight;
};
/* How much of the text has been read; start with {0, 0}. */
struct scan_position {
    uint64_t at; /* where the next line begins */
    uint64_t lines;
};
/* Finds up to `capacity` further lines with servers, *count in all. Stops after an
 * invalid line, which is then the last one in lines[], and returns its status. */
int scan_servers(const char *text, size_t size, bool has_ranges,
                 struct scan_position *position, struct server_line *lines,
                 size_t capacity, size_t *count, ketama_failure *failure);
/* Is this the text of a bucket map, with these options chosen for it? */
bool has_ranges(const char *text, size_t size, const char *settings);

/* Checks one server's address, name and weight. */
int check_server(const ketama_server *server, ketama_failure *failure);

/* Describes the profile with a number, from 0; its options as ketama_describe_options().
 * Returns 0 if the number is too high. */
struct profile_text {
    const char *name, *programs, *setting, *note;
    char options[1024];
};
int describe_profile(size_t number, struct profile_text *text);

/* What c's dialect asks of a server file. ip_form: how to write a server with a host
 * name, if the program hashes its IP address; NULL: it does not. hidden_port: is left
 * out of the text that is hashed; NULL, "": none. */
struct dialect_text {
    const char *profile, *ip_form, *hidden_port;
    int ignores_weights, refuses_names;
};
void describe_dialect(ketama_continuum c, struct dialect_text *dialect);
/* ketama_open_mixed. */
int open_mixed(ketama_continuum a, ketama_continuum b, unsigned aspects,
               ketama_continuum *mixed, ketama_failure *failure);
#define SETTINGS_MAX 1024
/* Where the options that a server file states are in its text, and those of them that
 * change answers, as settings; returns how many bytes they are in the text, 0: none,
 * also if the first line is invalid. */
size_t stated_options(const char *text, size_t size, size_t *at, char *settings);

/* ketama_buckets_assign, ketama_buckets_owners, ketama_buckets_step,
 * ketama_buckets_options. */
int assign_buckets(const ketama_server *servers, size_t count, const uint32_t *before,
                   uint32_t buckets, uint32_t *owners, ketama_failure *failure);
int bucket_owners(ketama_continuum c, uint32_t buckets, uint32_t *owners,
                  ketama_failure *failure);
int step_buckets(const uint32_t *before, const uint32_t *after, uint32_t buckets,
                 uint32_t most, uint32_t *owners, uint32_t *left,
                 ketama_failure *failure);
int bucket_options(ketama_continuum ring, char *settings, ketama_failure *failure);

/* Returns the address of a struct speedups_functions, for the accelerator. */
uintptr_t speedups_functions(void);

/* cffi: end */

static int copy_failure(int status, ketama_failure *failure)
{
    if (status < 0 || status == KETAMA_FELL_BACK)
        *failure = *ketama_last_failure();
    return status;
}

int open_file(ketama_continuum *c, const char *path, unsigned flags,
              const char *settings, ketama_failure *failure)
{
    const ketama_options options = {
        .size = sizeof options, .flags = flags, .settings = settings};
    return copy_failure(ketama_open(c, path, &options), failure);
}

int open_servers(ketama_continuum *c, const ketama_server *servers, size_t count,
                 const char *settings, ketama_failure *failure)
{
    const ketama_options options = {.size = sizeof options, .settings = settings};
    return copy_failure(ketama_open_servers(c, servers, count, &options), failure);
}

int open_text(ketama_continuum *c, const char *text, size_t size, const char *settings,
              ketama_failure *failure)
{
    const ketama_options options = {.size = sizeof options, .settings = settings};
    return copy_failure(ketama_open_text(c, text, size, &options), failure);
}

const uint32_t *health_changes(const ketama_health *health)
{
    _Static_assert(sizeof(_Atomic uint32_t) == sizeof(uint32_t), "Python reads it");
    return (const uint32_t *)&atomic_load(&health->now)->table->changes;
}

size_t point_servers(ketama_server *servers, size_t count, const char *texts,
                     const uint64_t *weights, const unsigned char *named)
{
    const char *at = texts;
    for (size_t i = 0; i < count; i++) {
        servers[i] = (ketama_server){.address = at, .weight = weights[i]};
        at += strlen(at) + 1;
        if (named[i]) {
            servers[i].name = at;
            at += strlen(at) + 1;
        }
    }
    return (size_t)(at - texts);
}

size_t addresses_of(ketama_continuum c, char *to, size_t room)
{
    size_t bytes = 0;
    for (uint32_t i = 0; i < ketama_count_servers(c); i++) {
        ketama_server server;
        (void)ketama_server_at(c, i, &server); /* there is one */
        size_t size = strlen(server.address) + 1;
        if (size <= room && bytes <= room - size)
            memcpy(to + bytes, server.address, size);
        bytes += size;
    }
    return bytes;
}

const char *settings_of(ketama_continuum c)
{
    return c->chosen;
}

int refresh(ketama_continuum c, ketama_continuum *newer, ketama_failure *failure)
{
    return copy_failure(ketama_refresh(c, newer), failure);
}

int diff(ketama_continuum before, ketama_continuum after, ketama_move **moves,
         size_t *count, ketama_failure *failure)
{
    return copy_failure(ketama_diff(before, after, moves, count), failure);
}

_Static_assert(HASHED_NAME_MAX == KETAMA_NAME_MAX, "room for the text of any server");

int same_servers(ketama_continuum before, ketama_continuum after,
                 uint32_t *groups_before, uint32_t *groups_after,
                 ketama_failure *failure)
{
    return copy_failure(ketama_same_servers(before, after, groups_before, groups_after),
                        failure);
}

int hashed_name(ketama_continuum c, uint32_t index, char *text, size_t size,
                ketama_failure *failure)
{
    return copy_failure(ketama_hashed_name(c, index, text, size), failure);
}

int list_published(char **folder, ketama_published ***images, size_t *count,
                   ketama_failure *failure)
{
    return copy_failure(ketama_list_published(folder, images, count), failure);
}

int list_all_published(ketama_published ***images, size_t *count,
                       ketama_failure *failure)
{
    return copy_failure(ketama_list_all_published(images, count), failure);
}

int find_published(const char *path, const char *settings, ketama_published **image,
                   ketama_failure *failure)
{
    const ketama_options options = {.size = sizeof options, .settings = settings};
    return copy_failure(ketama_find_published(path, &options, image), failure);
}

int remove_published(const char *file, ketama_failure *failure)
{
    return copy_failure(ketama_remove_published(file), failure);
}

int open_mixed(ketama_continuum a, ketama_continuum b, unsigned aspects,
               ketama_continuum *mixed, ketama_failure *failure)
{
    return copy_failure(ketama_open_mixed(a, b, aspects, mixed), failure);
}

_Static_assert(SETTINGS_MAX == KETAMA_SETTINGS_MAX, "one size");
size_t stated_options(const char *text, size_t size, size_t *at, char *settings)
{
    struct ketama_line line;
    ketama_failure failure;
    ketama_servers_scan(text, size, 1, &line, &failure);
    settings[0] = '\0';
    if (line.status != KETAMA_OK || line.stated.bytes == 0 ||
        ketama_choose_stated(settings, line.stated, &failure) != KETAMA_OK)
        return 0;
    *at = (size_t)(line.stated.at - text);
    return line.stated.bytes;
}

int describe_profile(size_t number, struct profile_text *text)
{
    const struct ketama_profile *profile = ketama_profile_number(number);
    if (profile == NULL)
        return 0;
    text->name = profile->name;
    text->programs = profile->programs;
    text->setting = profile->setting;
    text->note = profile->note;
    ketama_describe_options(profile, text->options);
    return 1;
}

void describe_dialect(ketama_continuum c, struct dialect_text *dialect)
{
    const struct ketama_profile *profile = c->dialect.profile;
    *dialect = (struct dialect_text){
        .profile = profile->name,
        .ip_form = ketama_ip_form(&c->dialect),
        .hidden_port = ketama_hidden_port(&c->dialect),
        .ignores_weights = ketama_ignores_weights(profile),
        .refuses_names = profile->refuses_names,
    };
}

static struct server_line server_line(const char *text, const char *start,
                                      const struct ketama_line *read)
{
    const struct ketama_listed *server = &read->server;
    struct server_line line = {.number = server->line,
                               .start = (uint64_t)(start - text),
                               .end = (uint64_t)(read->next - text)};
    if (read->is_server) {
        line.address_at = (uint64_t)(server->address - text);
        line.address_bytes = server->address_bytes;
        line.weight_at = (uint64_t)(read->weight - text);
        line.weight_bytes = read->weight_bytes;
        line.name_at = server->name != NULL ? (uint64_t)(server->name - text) : 0;
        line.name_bytes = server->name_bytes;
        if (server->ranges.bytes > 0)
            line.ranges_at = (uint64_t)(server->ranges.at - text);
        line.ranges_bytes = server->ranges.bytes;
        line.weight = server->weight;
    }
    return line;
}

bool has_ranges(const char *text, size_t size, const char *settings)
{
    return ketama_has_ranges(settings, ketama_servers_stated(text, size));
}

int scan_servers(const char *text, size_t size, bool has_ranges_column,
                 struct scan_position *position, struct server_line *lines,
                 size_t capacity, size_t *count, ketama_failure *failure)
{
    const char *at = text + position->at, *end = text + size;
    struct ketama_line read = {.status = KETAMA_OK};

    *count = 0;
    while (at < end && *count < capacity && read.status == KETAMA_OK) {
        ketama_servers_scan(at, (size_t)(end - at), ++position->lines, &read, failure);
        (void)ketama_servers_take_columns(&read, has_ranges_column, failure);
        if (read.is_server || read.status != KETAMA_OK)
            lines[(*count)++] = server_line(text, at, &read);
        at = read.next;
    }
    position->at = (uint64_t)(at - text);
    return read.status;
}

int assign_buckets(const ketama_server *servers, size_t count, const uint32_t *before,
                   uint32_t buckets, uint32_t *owners, ketama_failure *failure)
{
    return copy_failure(ketama_buckets_assign(servers, count, before, buckets, owners),
                        failure);
}

int bucket_owners(ketama_continuum c, uint32_t buckets, uint32_t *owners,
                  ketama_failure *failure)
{
    return copy_failure(ketama_buckets_owners(c, buckets, owners), failure);
}

int step_buckets(const uint32_t *before, const uint32_t *after, uint32_t buckets,
                 uint32_t most, uint32_t *owners, uint32_t *left,
                 ketama_failure *failure)
{
    return copy_failure(ketama_buckets_step(before, after, buckets, most, owners, left),
                        failure);
}

int bucket_options(ketama_continuum ring, char *settings, ketama_failure *failure)
{
    return copy_failure(ketama_buckets_options(ring, settings), failure);
}

int check_server(const ketama_server *server, ketama_failure *failure)
{
    struct ketama_server_list list;
    int status = ketama_servers_copy(server, 1, &list, failure);
    ketama_servers_free(&list);
    if (status != KETAMA_OK)
        failure->status = status; /* without memory, nothing else is set */
    return status;
}

uint64_t find_now(ketama_continuum c, const void *key, size_t len)
{
    uint32_t point, server = ketama_find(c, key, len, &point);
    return (uint64_t)server << 32 | point;
}

uint64_t find(ketama_continuum c, const void *key, size_t len)
{
    return ketama_due(c) ? DUE : find_now(c, key, len);
}

uint64_t find_text(ketama_continuum c, const void *key, size_t len)
{
    return memchr(key, 0, len) != NULL ? NUL_IN_KEY : find(c, key, len);
}

uint32_t find_index(ketama_continuum c, const void *key, size_t len)
{
    return ketama_due(c) ? UINT32_MAX : ketama_find(c, key, len, NULL);
}

/* Negative offsets become larger than any buffer. Buffers need not be aligned. */
static uint64_t offset_at(const void *offsets, int width, size_t i)
{
    const char *from = (const char *)offsets + i * (size_t)(width < 0 ? -width : width);
    uint64_t wide;
    uint32_t narrow;
    int32_t negative;
    switch (width) {
    case 4:
        memcpy(&narrow, from, sizeof narrow);
        return narrow;
    case -4:
        memcpy(&negative, from, sizeof negative);
        return (uint64_t)(int64_t)negative;
    default:
        memcpy(&wide, from, sizeof wide);
        return wide;
    }
}

size_t find_packed(ketama_continuum c, const void *data, size_t size,
                   const void *offsets, int offset_width, size_t count,
                   const unsigned char *excluded, void *out, int out_width)
{
    enum { BATCH = 256 };
    ketama_key keys[BATCH];
    uint32_t servers[BATCH];
    uint64_t from = offset_at(offsets, offset_width, 0), to;

    for (size_t i = 0; i < count; i++, from = to) {
        to = offset_at(offsets, offset_width, i + 1);
        if (from > to || to > size)
            return i;
    }
    for (size_t done = 0, some; done < count; done += some) {
        some = count - done < BATCH ? count - done : BATCH;
        for (size_t i = 0; i < some; i++) {
            from = offset_at(offsets, offset_width, done + i);
            to = offset_at(offsets, offset_width, done + i + 1);
            /* Checked again: another thread may have changed the offsets. */
            bool valid = from <= to && to <= size;
            keys[i].bytes = valid ? (const char *)data + from : NULL;
            keys[i].len = valid ? (size_t)(to - from) : 0;
        }
        if (excluded == NULL)
            ketama_find_many(c, keys, some, servers, NULL);
        else
            ketama_find_many_among(c, keys, some, excluded, servers, NULL);
        copy_indexes(servers, some, (char *)out + done * (size_t)out_width, out_width);
    }
    return count;
}

void copy_indexes(const void *indexes, size_t count, void *out, int out_width)
{
    if (out_width == 4) {
        memcpy(out, indexes, count * 4);
        return;
    }
    for (size_t i = 0; i < count; i++) {
        uint32_t index;
        uint16_t narrow;
        memcpy(&index, (const char *)indexes + 4 * i, sizeof index);
        narrow = (uint16_t)index;
        memcpy((char *)out + 2 * i, &narrow, sizeof narrow);
    }
}

uintptr_t speedups_functions(void)
{
    static const struct speedups_functions functions = {
        .size = sizeof functions,
        .find = ketama_find,
        .find_many = ketama_find_many,
        .find_among = ketama_find_among,
        .find_many_among = ketama_find_many_among,
        .due = ketama_due,
    };
    return (uintptr_t)&functions;
}

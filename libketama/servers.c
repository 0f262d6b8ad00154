/*
 * servers.c - text -> server list
 */
#include "internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Text yet to be read: a line, or the rest of a file. */
struct span {
    const char *at;
    const char *end;
};

static size_t length(struct span s)
{
    return (size_t)(s.end - s.at);
}

static struct ketama_quoted quote(struct span s)
{
    return ketama_quote(s.at, length(s));
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

static void skip_blanks(struct span *s)
{
    while (s->at < s->end && is_blank(*s->at))
        s->at++;
}

/* Takes a token, and the blanks before it. */
static struct span take_token(struct span *s)
{
    skip_blanks(s);
    struct span token = {s->at, s->at};
    while (token.end < s->end && !is_blank(*token.end))
        token.end++;
    s->at = token.end;
    return token;
}

/* Without its \n or \r\n. */
static struct span take_line(struct span *text)
{
    const char *newline = memchr(text->at, '\n', length(*text));
    struct span line = {text->at, newline != NULL ? newline : text->end};
    text->at = newline != NULL ? newline + 1 : text->end;
    if (line.end > line.at && line.end[-1] == '\r')
        line.end--;
    return line;
}

static void skip_byte_order_mark(struct span *text)
{
    static const char mark[] = {'\xef', '\xbb', '\xbf'};
    if (length(*text) >= sizeof mark && memcmp(text->at, mark, sizeof mark) == 0)
        text->at += sizeof mark;
}

static bool has_blank_or_break(struct span s)
{
    for (const char *c = s.at; c < s.end; c++)
        if (is_blank(*c) || *c == '\n' || *c == '\r')
            return true;
    return false;
}

/* An address or a name; `status` and `what` say which. */
static int check_text(struct span text, uint64_t line, int status, const char *what,
                      ketama_failure *failure)
{
    size_t size = length(text);

    if (size == 0)
        return ketama_set_failure(failure, status, line, "empty %s", what);
    if (size > KETAMA_ADDRESS_MAX)
        return ketama_set_failure(failure, status, line,
                                  "%s %s is too long: %zu bytes, at most %d", what,
                                  quote(text).text, size, KETAMA_ADDRESS_MAX);
    if (text.at[0] == '#')
        return ketama_set_failure(failure, status, line,
                                  "invalid %s %s: must not begin with '#'", what,
                                  quote(text).text);
    if (has_blank_or_break(text))
        return ketama_set_failure(
            failure, status, line,
            "invalid %s %s: must not contain blanks or line breaks", what,
            quote(text).text);
    if (!ketama_is_utf8(text.at, size))
        return ketama_set_failure(failure, status, line, "invalid %s %s: must be UTF-8",
                                  what, quote(text).text);
    return KETAMA_OK;
}

static int check_address(struct span address, uint64_t line, ketama_failure *failure)
{
    return check_text(address, line, KETAMA_EADDRESS, "address", failure);
}

static int check_name(struct span name, uint64_t line, ketama_failure *failure)
{
    return check_text(name, line, KETAMA_ENAME, "name", failure);
}

static int fail_weight(const char *weight, const char *remedy, uint64_t line,
                       ketama_failure *failure)
{
    return ketama_set_failure(failure, KETAMA_EWEIGHT, line,
                              "invalid weight %s: must be an integer from 1 to %lld%s",
                              weight, (long long)KETAMA_WEIGHT_MAX, remedy);
}

/* Returns the end of the digits at the start of a text. Sets *value to their number, or
 * to 0 if there are no digits or the number is too large for a weight. */
static const char *read_digits(struct span text, uint64_t *value)
{
    const char *c = text.at;

    *value = 0;
    for (; c < text.end && *c >= '0' && *c <= '9'; c++)
        if (*value <= KETAMA_WEIGHT_MAX / 10)
            *value = *value * 10 + (uint64_t)(*c - '0');
        else
            *value = UINT64_MAX;
    if (*value > KETAMA_WEIGHT_MAX)
        *value = 0;
    return c;
}

/* The 2007 libketama reads +600, 600.5 and 600MB as 600, so say what to write. */
static int fail_weight_text(struct span text, uint64_t line, ketama_failure *failure)
{
    struct ketama_quoted quoted = quote(text);
    char remedy[80] = "";
    uint64_t value;

    if (text.at < text.end && *text.at == '+')
        text.at++;
    (void)read_digits(text, &value);
    if (value > 0)
        (void)snprintf(remedy, sizeof remedy,
                       "; write %llu, as the 2007 libketama reads it",
                       (unsigned long long)value);
    return fail_weight(quoted.text, remedy, line, failure);
}

static int read_weight(struct span text, uint64_t line, uint64_t *weight,
                       ketama_failure *failure)
{
    if (read_digits(text, weight) == text.end && *weight > 0)
        return KETAMA_OK;
    return fail_weight_text(text, line, failure);
}

/* Appends a server that was checked. */
static int append(struct ketama_server_list *list, const struct ketama_listed *server,
                  ketama_failure *failure)
{
    if (list->count == KETAMA_SERVERS_MAX)
        return ketama_set_failure(failure, KETAMA_ETOOMANY, server->line,
                                  "too many servers: at most %d", KETAMA_SERVERS_MAX);
    if (server->weight > UINT64_MAX - list->total_weight)
        return ketama_set_failure(failure, KETAMA_ETOOMANY, server->line,
                                  "too much weight: all together at most %llu",
                                  (unsigned long long)UINT64_MAX);
    if (list->count == list->capacity) {
        uint32_t capacity = list->capacity > 0 ? 2 * list->capacity : 16;
        struct ketama_listed *at = realloc(list->at, capacity * sizeof *at);
        if (at == NULL)
            return KETAMA_ENOMEM;
        list->at = at;
        list->capacity = capacity;
    }
    list->at[list->count++] = *server;
    list->total_weight += server->weight;
    return KETAMA_OK;
}

static struct ketama_text as_text(struct span s)
{
    return (struct ketama_text){s.at, (uint32_t)length(s)};
}

/* What is left of a line, up to its end or a comment. */
static struct span rest_of(struct span line)
{
    skip_blanks(&line);
    if (line.at < line.end && line.at[0] == '#')
        line.end = line.at;
    return line;
}

/* Reads the columns of a server's line: address weight, two more, and a comment */
static int read_columns(struct span line, struct ketama_line *read,
                        ketama_failure *failure)
{
    struct ketama_listed *server = &read->server;
    struct span address = take_token(&line), weight;
    int status = check_address(address, server->line, failure);

    if (status != KETAMA_OK)
        return status;
    server->address = address.at;
    server->address_bytes = (uint32_t)length(address);

    weight = take_token(&line);
    if (length(weight) == 0 || weight.at[0] == '#')
        return ketama_set_failure(failure, KETAMA_ELINE, server->line,
                                  "no weight after address %s: write 'address weight'",
                                  quote(address).text);
    read->weight = weight.at;
    read->weight_bytes = length(weight);
    status = read_weight(weight, server->line, &server->weight, failure);
    if (status != KETAMA_OK)
        return status;

    line = rest_of(line);
    for (size_t i = 0; i < sizeof read->column / sizeof *read->column; i++) {
        read->column[i] = as_text(take_token(&line));
        line = rest_of(line);
        read->after[i] = as_text(line);
    }
    return KETAMA_OK;
}

/* address weight [name] */
static int take_name(struct ketama_line *line, ketama_failure *failure)
{
    struct ketama_listed *server = &line->server;
    struct ketama_text name = line->column[0];

    if (name.bytes == 0)
        return KETAMA_OK;
    int status =
        check_name((struct span){name.at, name.at + name.bytes}, server->line, failure);
    if (status != KETAMA_OK)
        return status;
    server->name = name.at;
    server->name_bytes = name.bytes;
    return KETAMA_OK;
}

static int fail_after(const struct ketama_line *line, struct ketama_text rest,
                      const char *what, ketama_failure *failure)
{
    return ketama_set_failure(failure, KETAMA_ELINE, line->server.line,
                              "unexpected %s after the %s: begin a comment with #",
                              ketama_quote(rest.at, rest.bytes).text, what);
}

/* address weight [name] ranges */
static int take_ranges(struct ketama_line *line, ketama_failure *failure)
{
    struct ketama_listed *server = &line->server;
    bool is_named = line->column[1].bytes > 0;
    struct ketama_text ranges = line->column[is_named];

    if (ranges.bytes == 0)
        return ketama_set_failure(
            failure, KETAMA_ELINE, server->line,
            "no buckets after the weight of %s: write their numbers, such as "
            "0-8191,16384, or - for none",
            ketama_quote(server->address, server->address_bytes).text);
    if (is_named) {
        struct ketama_text name = line->column[0];
        if (name.at[name.bytes - 1] == ',')
            return ketama_set_failure(failure, KETAMA_ELINE, server->line,
                                      "blank after %s: write buckets without blanks",
                                      ketama_quote(name.at, name.bytes).text);
        int status = take_name(line, failure);
        if (status != KETAMA_OK)
            return status;
    }
    server->ranges = ranges;
    return line->after[1].bytes == 0
               ? KETAMA_OK
               : fail_after(line, line->after[1], "buckets", failure);
}

int ketama_servers_take_columns(struct ketama_line *line, bool has_ranges,
                                ketama_failure *failure)
{
    if (!line->is_server)
        return line->status;
    line->status = has_ranges ? take_ranges(line, failure) : take_name(line, failure);
    if (line->status == KETAMA_OK && !has_ranges && line->after[0].bytes > 0)
        line->status = fail_after(line, line->after[0], "name", failure);
    line->is_server = line->status == KETAMA_OK;
    return line->status;
}

/* A comment, or "#ketama key=value ...", the options that the file states. */
static int read_comment(struct span line, struct ketama_line *read,
                        ketama_failure *failure)
{
    static const char mark[] = "#ketama";
    const size_t size = sizeof mark - 1;
    uint64_t number = read->server.line;

    if (length(line) <= size || memcmp(line.at, mark, size) != 0 ||
        !is_blank(line.at[size]))
        return KETAMA_OK;
    line.at += size;
    if (number != 1)
        return ketama_set_failure(failure, KETAMA_ELINE, number,
                                  "options must be on the first line: begin a comment "
                                  "with '# ketama'");
    if (length(line) >= KETAMA_SETTINGS_MAX)
        return ketama_set_failure(failure, KETAMA_ELINE, number,
                                  "options are too long: at most %d bytes",
                                  KETAMA_SETTINGS_MAX - 1);
    read->stated = (struct ketama_text){line.at, (uint32_t)length(line)};
    return ketama_check_stated(read->stated, number, failure);
}

void ketama_servers_scan(const char *text, size_t size, uint64_t number,
                         struct ketama_line *read, ketama_failure *failure)
{
    struct span rest = {text, text + size}, line;

    if (number == 1)
        skip_byte_order_mark(&rest);
    line = take_line(&rest);
    *read = (struct ketama_line){.next = rest.at, .server.line = number};
    if (line.at < line.end && memchr(line.at, '\0', length(line)) != NULL) {
        read->status =
            ketama_set_failure(failure, KETAMA_ELINE, number, "NUL byte: must be text");
        return;
    }
    if (line.at < line.end && line.at[0] == '#') {
        read->status = read_comment(line, read, failure);
        return;
    }
    skip_blanks(&line);
    if (line.at == line.end)
        return;
    read->status = read_columns(line, read, failure);
    read->is_server = read->status == KETAMA_OK;
}

struct ketama_text ketama_servers_stated(const char *text, size_t size)
{
    struct ketama_line line = {.status = KETAMA_OK};
    ketama_failure failure;
    if (size > 0)
        ketama_servers_scan(text, size, 1, &line, &failure);
    return line.status == KETAMA_OK ? line.stated : (struct ketama_text){NULL, 0};
}

int ketama_servers_parse(const char *text, size_t size, const char *chosen,
                         struct ketama_server_list *list, ketama_failure *failure)
{
    const char *end = text + size;
    struct ketama_line line;
    bool has_ranges = false;

    *list = (struct ketama_server_list){0};
    for (uint64_t number = 1; text < end; number++) {
        ketama_servers_scan(text, (size_t)(end - text), number, &line, failure);
        if (line.stated.bytes > 0)
            list->stated = line.stated;
        if (number == 1)
            has_ranges = ketama_has_ranges(chosen, list->stated);
        int status = ketama_servers_take_columns(&line, has_ranges, failure);
        if (line.is_server)
            status = append(list, &line.server, failure);
        if (status != KETAMA_OK)
            return status;
        text = line.next;
    }
    if (list->count == 0)
        return ketama_set_failure(failure, KETAMA_ENOSERVERS, 0,
                                  "no servers: write one per line, 'address weight'");
    return KETAMA_OK;
}

/* Fills *listed from a server of a list, which is number `position`. */
static int copy_server(const ketama_server *server, uint64_t position,
                       struct ketama_listed *listed, ketama_failure *failure)
{
    const char *text = server->address != NULL ? server->address : "";
    struct span address = {text, text + strlen(text)};
    int status = check_address(address, position, failure);

    *listed = (struct ketama_listed){.address = address.at,
                                     .address_bytes = (uint32_t)length(address),
                                     .weight = server->weight,
                                     .line = position};
    if (status == KETAMA_OK && server->name != NULL) {
        struct span name = {server->name, server->name + strlen(server->name)};
        status = check_name(name, position, failure);
        listed->name = name.at;
        listed->name_bytes = (uint32_t)length(name);
    }
    if (status == KETAMA_OK &&
        (server->weight < 1 || server->weight > KETAMA_WEIGHT_MAX)) {
        char digits[24];
        (void)snprintf(digits, sizeof digits, "%llu",
                       (unsigned long long)server->weight);
        status = fail_weight(digits, "", position, failure);
    }
    return status;
}

int ketama_servers_copy(const ketama_server *servers, size_t count,
                        struct ketama_server_list *list, ketama_failure *failure)
{
    *list = (struct ketama_server_list){0};
    for (size_t i = 0; i < count; i++) {
        struct ketama_listed listed;
        int status = copy_server(&servers[i], (uint64_t)i + 1, &listed, failure);
        if (status == KETAMA_OK)
            status = append(list, &listed, failure);
        if (status != KETAMA_OK)
            return status;
    }
    if (list->count == 0)
        return ketama_set_failure(failure, KETAMA_ENOSERVERS, 0,
                                  "no servers: the list is empty");
    return KETAMA_OK;
}

void ketama_servers_free(struct ketama_server_list *list)
{
    free(list->at);
    *list = (struct ketama_server_list){0};
}

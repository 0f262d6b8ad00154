/*
 * servers.c - text -> server list
 */
#include <stdlib.h>
#include <string.h>

#include "internal.h"

/* The text that is still to be read, in one line or as a whole. */
struct span {
    const char *at;
    const char *end;
};

static size_t length(struct span s)
{
    return (size_t)(s.end - s.at);
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

static struct span take_token(struct span *s)
{
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

/* How many bytes the UTF-8 character at s has; 0: it is none. Overlong forms,
 * surrogates and what lies above U+10FFFF are none. */
static size_t utf8_character(struct span s)
{
    const unsigned char *u = (const unsigned char *)s.at;
    size_t size = u[0] < 0x80 ? 1 : u[0] < 0xe0 ? 2 : u[0] < 0xf0 ? 3 : 4;

    if (size == 1)
        return 1;
    if (u[0] < 0xc2 || u[0] > 0xf4 || size > length(s))
        return 0;
    for (size_t i = 1; i < size; i++)
        if ((u[i] & 0xc0) != 0x80)
            return 0;
    if ((u[0] == 0xe0 && u[1] < 0xa0) || (u[0] == 0xed && u[1] > 0x9f) ||
        (u[0] == 0xf0 && u[1] < 0x90) || (u[0] == 0xf4 && u[1] > 0x8f))
        return 0;
    return size;
}

static bool is_utf8(struct span s)
{
    while (s.at < s.end) {
        size_t size = utf8_character(s);
        if (size == 0)
            return false;
        s.at += size;
    }
    return true;
}

static int check_address(struct span address, uint64_t line, struct ketama_flaw *flaw)
{
    size_t size = length(address);
    struct ketama_quoted quoted = ketama_quote(address.at, size);

    if (size == 0)
        return ketama_flawed(flaw, KETAMA_EADDRESS, line, "address is empty");
    if (size > KETAMA_ADDRESS_MAX)
        return ketama_flawed(flaw, KETAMA_EADDRESS, line,
                             "address %s has %zu bytes, more than %d", quoted.text, size,
                             KETAMA_ADDRESS_MAX);
    if (address.at[0] == '#')
        return ketama_flawed(flaw, KETAMA_EADDRESS, line,
                             "address %s begins with #; a comment has it in the line's "
                             "first column",
                             quoted.text);
    for (size_t i = 0; i < size; i++)
        if (is_blank(address.at[i]) || address.at[i] == '\n' || address.at[i] == '\r')
            return ketama_flawed(flaw, KETAMA_EADDRESS, line,
                                 "address %s has a blank or a line break in it",
                                 quoted.text);
    if (!is_utf8(address))
        return ketama_flawed(flaw, KETAMA_EADDRESS, line, "address %s is not UTF-8",
                             quoted.text);
    return KETAMA_OK;
}

static int check_weight(struct span text, uint64_t line, uint64_t *weight,
                        struct ketama_flaw *flaw)
{
    uint64_t value = 0;
    bool good = text.at < text.end;

    for (const char *c = text.at; good && c < text.end; c++) {
        good = *c >= '0' && *c <= '9' && value <= KETAMA_WEIGHT_MAX / 10;
        if (good)
            value = value * 10 + (uint64_t)(*c - '0');
    }
    if (!good || value < 1 || value > KETAMA_WEIGHT_MAX)
        return ketama_flawed(flaw, KETAMA_EWEIGHT, line,
                             "weight is %s, not a whole number from 1 to %lld",
                             ketama_quote(text.at, length(text)).text,
                             (long long)KETAMA_WEIGHT_MAX);
    *weight = value;
    return KETAMA_OK;
}

static int append(struct ketama_server_list *list, struct span address, uint64_t weight,
                  uint64_t line, struct ketama_flaw *flaw)
{
    if (list->count == KETAMA_SERVERS_MAX)
        return ketama_flawed(flaw, KETAMA_ETOOMANY, line, "more than %d servers",
                             KETAMA_SERVERS_MAX);
    if (weight > UINT64_MAX - list->total)
        return ketama_flawed(flaw, KETAMA_ETOOMANY, line,
                             "the weights add up to more than %llu",
                             (unsigned long long)UINT64_MAX);
    if (list->count == list->room) {
        uint32_t room = list->room > 0 ? 2 * list->room : 16;
        struct ketama_listed *at = realloc(list->at, room * sizeof *at);
        if (at == NULL)
            return KETAMA_ENOMEM;
        list->at = at;
        list->room = room;
    }
    list->at[list->count++] =
        (struct ketama_listed){address.at, weight, (uint32_t)length(address), line};
    list->total += weight;
    return KETAMA_OK;
}

/* Appends the line's server, if it has one. */
static int parse_line(struct span line, uint64_t number, struct ketama_server_list *list,
                      struct ketama_flaw *flaw)
{
    struct span address, weight_text;
    uint64_t weight = 0;
    int status;

    if (memchr(line.at, '\0', length(line)) != NULL)
        return ketama_flawed(flaw, KETAMA_ELINE, number, "there is a NUL byte");
    if (line.at < line.end && line.at[0] == '#')
        return KETAMA_OK;
    skip_blanks(&line);
    if (line.at == line.end)
        return KETAMA_OK;

    address = take_token(&line);
    status = check_address(address, number, flaw);
    if (status != KETAMA_OK)
        return status;

    skip_blanks(&line);
    weight_text = take_token(&line);
    if (length(weight_text) == 0)
        return ketama_flawed(flaw, KETAMA_ELINE, number,
                             "address %s has no weight after it",
                             ketama_quote(address.at, length(address)).text);
    status = check_weight(weight_text, number, &weight, flaw);
    if (status != KETAMA_OK)
        return status;

    skip_blanks(&line);
    if (line.at < line.end)
        return ketama_flawed(flaw, KETAMA_ELINE, number, "%s stands behind the weight",
                             ketama_quote(line.at, length(line)).text);
    return append(list, address, weight, number, flaw);
}

int ketama_servers_parse(const char *text, size_t size, struct ketama_server_list *list,
                         struct ketama_flaw *flaw)
{
    static const char mark[] = {'\xef', '\xbb', '\xbf'};
    struct span rest = {text, text + size};

    *list = (struct ketama_server_list){0};
    if (size >= sizeof mark && memcmp(text, mark, sizeof mark) == 0)
        return ketama_flawed(flaw, KETAMA_ELINE, 1,
                             "the file begins with a byte order mark; save it without");

    for (uint64_t number = 1; rest.at < rest.end; number++) {
        int status = parse_line(take_line(&rest), number, list, flaw);
        if (status != KETAMA_OK)
            return status;
    }
    if (list->count == 0)
        return ketama_flawed(flaw, KETAMA_ENOSERVERS, 0, "there are no servers in it");
    return KETAMA_OK;
}

int ketama_servers_parse_line(const char *line, size_t size, uint64_t number,
                              struct ketama_server_list *list, struct ketama_flaw *flaw)
{
    struct span rest = {line, line + size};
    *list = (struct ketama_server_list){0};
    return parse_line(take_line(&rest), number, list, flaw);
}

int ketama_servers_copy(const ketama_server *servers, size_t count,
                        struct ketama_server_list *list, struct ketama_flaw *flaw)
{
    *list = (struct ketama_server_list){0};
    for (size_t i = 0; i < count; i++) {
        const char *address = servers[i].address;
        struct span span = {address, address + strlen(address)};
        uint64_t place = (uint64_t)i + 1;
        int status = check_address(span, place, flaw);
        if (status != KETAMA_OK)
            return status;
        if (servers[i].weight < 1 || servers[i].weight > KETAMA_WEIGHT_MAX)
            return ketama_flawed(flaw, KETAMA_EWEIGHT, place,
                                 "weight is %llu, not a whole number from 1 to %lld",
                                 (unsigned long long)servers[i].weight,
                                 (long long)KETAMA_WEIGHT_MAX);
        status = append(list, span, servers[i].weight, place, flaw);
        if (status != KETAMA_OK)
            return status;
    }
    if (list->count == 0)
        return ketama_flawed(flaw, KETAMA_ENOSERVERS, 0,
                             "there are no servers in the list");
    return KETAMA_OK;
}

void ketama_servers_free(struct ketama_server_list *list)
{
    free(list->at);
    *list = (struct ketama_server_list){0};
}

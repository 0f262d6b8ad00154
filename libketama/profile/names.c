/*
 * names.c - a server's address -> the text that is hashed for it
 */
#include "profile.h"

#include <stdlib.h>
#include <string.h>

/* ---- the parts of an address */

struct parts {
    struct ketama_text host; /* with the brackets of an IPv6 address; of a socket, its
                                path */
    struct ketama_text port; /* its `at` is NULL: none */
    bool is_socket;
};

static bool begins_with(struct ketama_text text, const char *prefix)
{
    size_t size = strlen(prefix);
    return text.bytes >= size && memcmp(text.at, prefix, size) == 0;
}

static struct ketama_text cut(struct ketama_text text, uint32_t from, uint32_t to)
{
    return (struct ketama_text){text.at + from, to - from};
}

static bool is_number(struct ketama_text text)
{
    for (uint32_t i = 0; i < text.bytes; i++)
        if (text.at[i] < '0' || text.at[i] > '9')
            return false;
    return text.bytes > 0;
}

/* The index of the first such character from a place on; the text's length if there is
 * none. */
static uint32_t find_from(struct ketama_text text, uint32_t from, char character)
{
    for (uint32_t i = from; i < text.bytes; i++)
        if (text.at[i] == character)
            return i;
    return text.bytes;
}

/* The index of the last such character; the text's length if there is none. */
static uint32_t find_last(struct ketama_text text, char character)
{
    for (uint32_t i = text.bytes; i-- > 0;)
        if (text.at[i] == character)
            return i;
    return text.bytes;
}

/* "/path", "unix:/path", "[host]", or else "host:port" if what follows the last colon is
 * a number. */
static struct parts split(struct ketama_text address)
{
    struct parts parts = {.host = address};
    uint32_t prefix = begins_with(address, "unix:/") ? 5 : 0;

    if (begins_with(cut(address, prefix, address.bytes), "/")) {
        parts.host = cut(address, prefix, address.bytes);
        parts.is_socket = true;
        return parts;
    }
    uint32_t colon = find_last(address, ':');
    if (colon == address.bytes || !is_number(cut(address, colon + 1, address.bytes)) ||
        (address.at[0] == '[' && address.at[address.bytes - 1] == ']'))
        return parts;
    parts.host = cut(address, 0, colon);
    parts.port = cut(address, colon + 1, address.bytes);
    return parts;
}

static struct ketama_text without_brackets(struct ketama_text host)
{
    return host.bytes >= 2 && host.at[0] == '[' && host.at[host.bytes - 1] == ']'
               ? cut(host, 1, host.bytes - 1)
               : host;
}

static bool is_text(struct ketama_text text, const char *other)
{
    return other != NULL && text.bytes == strlen(other) &&
           memcmp(text.at, other, text.bytes) == 0;
}

static struct ketama_text address_of(const struct ketama_listed *server)
{
    return (struct ketama_text){server->address, server->address_bytes};
}

static struct ketama_text text_of(const char *string)
{
    return (struct ketama_text){string, (uint32_t)strlen(string)};
}

/* ---- writing a name */

static void append(struct ketama_text *name, char to[KETAMA_NAME_MAX],
                   struct ketama_text text)
{
    memcpy(to + name->bytes, text.at, text.bytes);
    name->bytes += text.bytes;
}

static int fail(const struct ketama_dialect *dialect, const struct ketama_listed *server,
                const char *reason, ketama_failure *failure)
{
    return ketama_set_failure(failure, KETAMA_EADDRESS, server->line,
                              "invalid address %s in profile \"%s\": %s",
                              ketama_quote(server->address, server->address_bytes).text,
                              dialect->profile->name, reason);
}

/* ---- the rules */

int ketama_name_as_listed(const struct ketama_dialect *dialect,
                          const struct ketama_listed *server, char to[KETAMA_NAME_MAX],
                          struct ketama_text *name, ketama_failure *failure)
{
    (void)dialect;
    (void)to;
    (void)failure;
    *name = address_of(server);
    return KETAMA_OK;
}

/* Sets the port that is written; its `at` is NULL if none is. */
static int choose_port(const struct ketama_dialect *dialect,
                       const struct ketama_listed *server, const struct parts *parts,
                       struct ketama_text *port, ketama_failure *failure)
{
    const struct ketama_host_rule *rule = &dialect->profile->host;
    const char *instead = parts->is_socket         ? rule->socket_port
                          : rule->fixed_port       ? rule->fixed_port
                          : parts->port.at == NULL ? rule->default_port
                                                   : NULL;
    *port = instead != NULL ? text_of(instead) : parts->port;
    if (parts->is_socket && !rule->has_sockets)
        return fail(dialect, server, "must be host:port", failure);
    if (port->at == NULL && !parts->is_socket)
        return fail(dialect, server, "must have a port", failure);
    return KETAMA_OK;
}

/* Writes host and port as the rule of the dialect's row says. */
static int write_host(const struct ketama_dialect *dialect,
                      const struct ketama_listed *server, struct parts parts,
                      char to[KETAMA_NAME_MAX], struct ketama_text *name,
                      ketama_failure *failure)
{
    const struct ketama_host_rule *rule = &dialect->profile->host;
    struct ketama_text port;
    int status = choose_port(dialect, server, &parts, &port, failure);

    if (status != KETAMA_OK)
        return status;
    *name = (struct ketama_text){to, 0};
    if (rule->prefix != NULL)
        append(name, to, text_of(rule->prefix));
    append(name, to, rule->keeps_brackets ? parts.host : without_brackets(parts.host));
    if (port.at != NULL && !is_text(port, rule->hidden_port)) {
        append(name, to, (struct ketama_text){&rule->joint, 1});
        append(name, to, port);
    }
    return KETAMA_OK;
}

int ketama_name_host(const struct ketama_dialect *dialect,
                     const struct ketama_listed *server, char to[KETAMA_NAME_MAX],
                     struct ketama_text *name, ketama_failure *failure)
{
    return write_host(dialect, server, split(address_of(server)), to, name, failure);
}

/* Of a host "name/ip": the name. */
int ketama_name_before_slash(const struct ketama_dialect *dialect,
                             const struct ketama_listed *server,
                             char to[KETAMA_NAME_MAX], struct ketama_text *name,
                             ketama_failure *failure)
{
    struct parts parts = split(address_of(server));
    if (!parts.is_socket)
        parts.host = cut(parts.host, 0, find_last(parts.host, '/'));
    return write_host(dialect, server, parts, to, name, failure);
}

/* Of a host "name/ip": the address. */
int ketama_name_after_slash(const struct ketama_dialect *dialect,
                            const struct ketama_listed *server, char to[KETAMA_NAME_MAX],
                            struct ketama_text *name, ketama_failure *failure)
{
    struct parts parts = split(address_of(server));
    uint32_t slash = find_last(parts.host, '/');
    if (!parts.is_socket && slash < parts.host.bytes)
        parts.host = cut(parts.host, slash + 1, parts.host.bytes);
    return write_host(dialect, server, parts, to, name, failure);
}

/* "host/host:port" */
int ketama_name_doubled(const struct ketama_dialect *dialect,
                        const struct ketama_listed *server, char to[KETAMA_NAME_MAX],
                        struct ketama_text *name, ketama_failure *failure)
{
    struct parts parts = split(address_of(server));
    struct ketama_text host = parts.host;
    char doubled[KETAMA_NAME_MAX];

    if (!dialect->profile->host.keeps_brackets)
        host = without_brackets(host);
    parts.host = (struct ketama_text){doubled, 0};
    append(&parts.host, doubled, host);
    append(&parts.host, doubled, text_of("/"));
    append(&parts.host, doubled, host);
    return write_host(dialect, server, parts, to, name, failure);
}

/* The same, unless the host is "name/ip". */
int ketama_name_with_ip(const struct ketama_dialect *dialect,
                        const struct ketama_listed *server, char to[KETAMA_NAME_MAX],
                        struct ketama_text *name, ketama_failure *failure)
{
    struct ketama_text host = split(address_of(server)).host;
    return find_last(host, '/') < host.bytes
               ? ketama_name_host(dialect, server, to, name, failure)
               : ketama_name_doubled(dialect, server, to, name, failure);
}

/* "/host:port"; what has a slash already stays. */
int ketama_name_slashed(const struct ketama_dialect *dialect,
                        const struct ketama_listed *server, char to[KETAMA_NAME_MAX],
                        struct ketama_text *name, ketama_failure *failure)
{
    struct ketama_text address = address_of(server);

    (void)dialect;
    (void)failure;
    *name = (struct ketama_text){to, 0};
    if (find_last(address, '/') == address.bytes)
        append(name, to, text_of("/"));
    append(name, to, address);
    return KETAMA_OK;
}

/* What comes before the first colon, if the option default_port comes right after it.
 * That is how hashring reads an address, so it never leaves out the port of
 * "[::1]:11211". */
int ketama_name_default_port(const struct ketama_dialect *dialect,
                             const struct ketama_listed *server,
                             char to[KETAMA_NAME_MAX], struct ketama_text *name,
                             ketama_failure *failure)
{
    struct ketama_text address = address_of(server);
    uint32_t colon = find_from(address, 0, ':');

    (void)to;
    (void)failure;
    *name = address;
    if (colon == address.bytes)
        return KETAMA_OK;
    uint32_t from = colon + 1;
    struct ketama_text port = cut(address, from, find_from(address, from, ':'));
    if (port.bytes > 0 && is_text(port, dialect->default_port))
        *name = cut(address, 0, colon);
    return KETAMA_OK;
}

const char *ketama_ip_form(const struct ketama_dialect *dialect)
{
    return dialect->name_rule == ketama_name_before_slash ? NULL
                                                          : dialect->profile->ip_form;
}

const char *ketama_hidden_port(const struct ketama_dialect *dialect)
{
    if (dialect->name_rule == ketama_name_default_port)
        return dialect->default_port;
    return dialect->name_rule == ketama_name_as_listed ||
                   dialect->name_rule == ketama_name_slashed
               ? NULL
               : dialect->profile->host.hidden_port;
}

/* ---- the names of all servers */

static int refuse_name(const struct ketama_dialect *dialect,
                       const struct ketama_listed *server, ketama_failure *failure)
{
    return ketama_set_failure(
        failure, KETAMA_ENAME, server->line,
        "unexpected name %s: profile \"%s\" hashes host and port of the address",
        ketama_quote(server->name, server->name_bytes).text, dialect->profile->name);
}

int ketama_names_make(const struct ketama_dialect *dialect,
                      const struct ketama_server_list *servers,
                      struct ketama_text *names, char **storage, ketama_failure *failure)
{
    enum { ADDED_MAX = KETAMA_NAME_MAX - 2 * KETAMA_ADDRESS_MAX };
    size_t size = 0;
    for (uint32_t i = 0; i < servers->count; i++)
        size += 2 * (size_t)servers->at[i].address_bytes + ADDED_MAX;

    char *to = *storage = malloc(size);
    if (to == NULL)
        return KETAMA_ENOMEM;
    for (uint32_t i = 0; i < servers->count; i++) {
        const struct ketama_listed *server = &servers->at[i];
        int status = KETAMA_OK;
        if (server->name != NULL && dialect->profile->refuses_names)
            status = refuse_name(dialect, server, failure);
        else if (server->name != NULL)
            names[i] = (struct ketama_text){server->name, server->name_bytes};
        else
            status = dialect->name_rule(dialect, server, to, &names[i], failure);
        if (status != KETAMA_OK)
            return status;
        if (names[i].at == to)
            to += names[i].bytes;
    }
    return KETAMA_OK;
}

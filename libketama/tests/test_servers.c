/*
 * test_servers.c - text -> server list
 */
#include "check.h"

#include <stdlib.h>

/* The list as "address weight;" per server, of which a ring can be made, or the reason
 * with its line. The text ends before an unreadable page. */
static const char *parsed(const char *text, size_t size)
{
    static char said[4096];
    struct ketama_server_list list;
    struct ketama_ring ring;
    ketama_failure failure;
    int at = 0, status;

    status =
        ketama_servers_parse(against_the_edge(text, size), size, "", &list, &failure);
    if (status == KETAMA_OK) {
        status = ketama_ring_make(&ketama_libketama, &list, &ring, &failure);
        ketama_ring_free(&ring);
    }
    said[0] = '\0';
    if (status != KETAMA_OK)
        snprintf(said, sizeof said, "%d at %llu: %s", status,
                 (unsigned long long)failure.line, failure.reason);
    else
        for (uint32_t i = 0; i < list.count; i++)
            at +=
                snprintf(said + at, sizeof said - (size_t)at, "%.*s %llu%s%.*s;",
                         (int)list.at[i].address_bytes, list.at[i].address,
                         (unsigned long long)list.at[i].weight,
                         list.at[i].name != NULL ? " " : "", (int)list.at[i].name_bytes,
                         list.at[i].name != NULL ? list.at[i].name : "");
    ketama_servers_free(&list);
    return said;
}

#define PARSED(expected, text) CHECK_TEXT(expected, parsed(text, sizeof(text) - 1))

static void valid_files(void)
{
    PARSED("a:1 600;", "a:1 600\n");
    PARSED("a:1 600;b:2 7;", "# x\na:1\t600\n\nb:2 \t 7\n");
    PARSED("a:1 900;", "a:1 900");
    PARSED("a:1 900;", "a:1 900 \t\n");
    PARSED("a:1 900;b:1 5;", "a:1 900\r\n\r\nb:1 5\r\n");
    PARSED("a:1 900;", "a:1 900\r");
    PARSED("a:1 900;", "  a:1 900\n   \n\t\n");
    PARSED("a:1 1;a:1 1;", "a:1 1\na:1 1\n");
    PARSED("a 600;", "a 0600\n");
    PARSED("a 9223372036854775807;", "a 9223372036854775807\n");
    PARSED("/var/run/m.sock 1;[::1]:11211 2;h\xc3\xb6st 3;",
           "/var/run/m.sock 1\n[::1]:11211 2\nh\xc3\xb6st 3\n");
    PARSED("a 1;", "#\xff not UTF-8, but a comment\na 1\n");
    PARSED("\xe2\x82\xac\xf0\x9f\xa6\x8a\xf4\x8f\xbf\xbf 1;",
           "\xe2\x82\xac\xf0\x9f\xa6\x8a\xf4\x8f\xbf\xbf 1\n");
}

static void invalid_weights(void)
{
    /* With what the 2007 libketama reads, where that is a weight. */
    static const struct {
        const char *text, *write;
    } wrong[] = {{"0", NULL},
                 {"-5", NULL},
                 {"+5", "5"},
                 {"++5", NULL},
                 {"+", NULL},
                 {"600abc", "600"},
                 {"600MB", "600"},
                 {"abc", NULL},
                 {"600.5", "600"},
                 {"1e3", "1"},
                 {"0x1", NULL},
                 {"00", NULL},
                 {"9223372036854775807x", "9223372036854775807"},
                 {"9223372036854775808", NULL},
                 {"99999999999999999999", NULL},
                 {"18446744073709551617x", NULL}};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        char text[64], expected[256];
        snprintf(text, sizeof text, "a 1\nb %s\n", wrong[i].text);
        snprintf(expected, sizeof expected,
                 "-18 at 2: invalid weight \"%s\": must be an integer from 1 to "
                 "9223372036854775807%s%s%s",
                 wrong[i].text, wrong[i].write ? "; write " : "",
                 wrong[i].write ? wrong[i].write : "",
                 wrong[i].write ? ", as the 2007 libketama reads it" : "");
        CHECK_TEXT(expected, parsed(text, strlen(text)));
    }
    PARSED("-20 at 3: too much weight: all together at most 18446744073709551615",
           "a 9223372036854775807\nb 9223372036854775807\nc 2\n");
    PARSED("a 9223372036854775807;b 9223372036854775807;c 1;",
           "a 9223372036854775807\nb 9223372036854775807\nc 1\n");
}

/* The third column is a name; text from a # on is a comment. */
static void names_and_comments(void)
{
    PARSED("a:1 600 cache-a;b:1 2;", "a:1 600 cache-a\nb:1\t2\t\n");
    PARSED("a:1 600;", "a:1 600 # fast\n");
    PARSED("a:1 600;", "a:1 600 #\n");
    PARSED("a:1 600;", "a:1 600 #fast#\n");
    PARSED("a:1 600 n;", "a:1 600\tn # fast\r\n");
    PARSED("a:1 600 n#1;", "a:1 600 n#1 #\xff\n");
    PARSED("a:1 600 h\xc3\xb6st;", "a:1 600 h\xc3\xb6st");
    PARSED("-21 at 1: invalid name \"\\xff\": must be UTF-8", "a:1 600 \xff\n");
    PARSED("-16 at 2: unexpected \"y\" after the name: begin a comment with #",
           "a 1\na:1 600 x y\n");
    PARSED("-16 at 1: no weight after address \"a:1\": write 'address weight'",
           "a:1 # 600\n");

    char text[400];
    memset(text, 'n', sizeof text);
    memcpy(text, "a 1 ", 4);
    strcpy(text + 4 + KETAMA_ADDRESS_MAX, "\n");
    CHECK(strncmp(parsed(text, strlen(text)), text, 4 + KETAMA_ADDRESS_MAX) == 0);
    strcpy(text + 4 + KETAMA_ADDRESS_MAX, "n\n");
    CHECK(strstr(parsed(text, strlen(text)), "is too long: 256 bytes, at most 255") !=
          NULL);
}

/* Servers of one name would have the same points, and only the first would get keys. */
static void names_are_unique(void)
{
    PARSED("a 1 x;b 1 y;", "a 1 x\nb 1 y\n");
    PARSED("-21 at 2: duplicate name \"MB\": names must be unique", "a 1 MB\nb 1 MB\n");
    PARSED("-21 at 3: duplicate name \"x\": names must be unique",
           "z 1 x\ny 1 w\na 1 x\nb 1 w\n");
    PARSED(
        "-21 at 3: address \"x\" has the name of another server: names must be unique",
        "a 1 x\nb 1\nx 1\n");
    PARSED("-21 at 2: duplicate name \"x\": names must be unique", "x 1\nb 1 x\n");
    PARSED("-21 at 3: duplicate name \"x\": names must be unique", "x 1\nx 1\nb 1 x\n");
    PARSED("a 1;a 1;b 1 x;", "a 1\na 1\nb 1 x\n");
    PARSED("a 1 xx;b 1 x;", "a 1 xx\nb 1 x\n");
    PARSED("a 1 x;a 1 y;", "a 1 x\na 1 y\n");

    const ketama_server servers[] = {{.address = "a", .name = "x", .weight = 1},
                                     {.address = "b", .name = "x", .weight = 1}};
    ketama_continuum c;
    CHECK_INT(KETAMA_ENAME, ketama_open_servers(&c, servers, 2, NULL));
    CHECK_INT(2, ketama_last_failure()->line);
}

/* A byte order mark is skipped only at the start of the file. */
static void byte_order_mark(void)
{
    PARSED("a 1;", "\xef\xbb\xbf"
                   "a 1\n");
    PARSED("a 1;", "\xef\xbb\xbf# comment\na 1\n");
    PARSED("-19 at 0: no servers: write one per line, 'address weight'", "\xef\xbb\xbf");
    PARSED("\xef\xbb\xbf"
           "b 1;",
           "\n\xef\xbb\xbf"
           "b 1\n");
    PARSED("-17 at 1: invalid address \"\\xef\\xbb\": must be UTF-8", "\xef\xbb 1");
}

static void invalid_lines(void)
{
    PARSED("-16 at 1: no weight after address \"a:1\": write 'address weight'", "a:1\n");
    PARSED("-16 at 2: no weight after address \"a:1\": write 'address weight'",
           "b 1\na:1  ");
    PARSED("-16 at 1: NUL byte: must be text", "a:1 6\0 0\n");
    PARSED("-16 at 2: NUL byte: must be text", "a:1 6\n#\0\nb 1 1\n");
    PARSED("-18 at 1: invalid weight \"6\\x0db\": must be an integer from 1 to "
           "9223372036854775807; write 6, as the 2007 libketama reads it",
           "a 6\rb 7\r");
    PARSED("-16 at 2: NUL byte: must be text", "a 1\n\0\n");
    PARSED("-19 at 0: no servers: write one per line, 'address weight'", "");
    PARSED("-19 at 0: no servers: write one per line, 'address weight'", "# nobody\n\n");
}

static void invalid_addresses(void)
{
    char text[400];
    char expected[256];

    PARSED("-17 at 1: invalid address \"#a\": must not begin with '#'", " #a 1\n");
    static const char *const wrong[] = {"\xff",
                                        "\xc1\xbf",
                                        "\xf5\x80\x80\x80",
                                        "\xe0\x9f\xbf",
                                        "\xc3\xc3",
                                        "\xc3",
                                        "\xc3(",
                                        "\xc0\xaf",
                                        "\xe0\x80\xaf",
                                        "\xed\xa0\x80",
                                        "\xf4\x90\x80\x80",
                                        "\xf0\x8f\xbf\xbf",
                                        "\xf8\x88\x80\x80\x80",
                                        "\x80",
                                        "\xe2\x82",
                                        "\xf0\x9f\xa6"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        snprintf(text, sizeof text, "%s 1\n", wrong[i]);
        CHECK(strstr(parsed(text, strlen(text)), "-17 at 1: invalid address \"\\x") !=
              NULL);
        CHECK(strstr(parsed(text, strlen(text)), "must be UTF-8") != NULL);
        /* the same, truncated by the end of the file */
        CHECK(strstr(parsed(text, strlen(wrong[i])), "must be UTF-8") != NULL);
    }

    memset(text, 'a', sizeof text);
    strcpy(text + 255, " 1\n");
    snprintf(expected, sizeof expected, "%.255s", text);
    CHECK(strncmp(expected, parsed(text, strlen(text)), 255) == 0);
    memset(text, 'a', sizeof text);
    strcpy(text + 256, " 1\n");
    CHECK_TEXT(
        "-17 at 1: address \"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\"... is too long: "
        "256 bytes, at most 255",
        parsed(text, strlen(text)));
}

static void lists_in_memory(void)
{
    static const struct {
        ketama_server server;
        int status;
        const char *reason;
    } wrong[] = {
        {SERVER("", 1), KETAMA_EADDRESS, "empty address"},
        {SERVER("a b", 1), KETAMA_EADDRESS,
         "invalid address \"a b\": must not contain blanks or line breaks"},
        {SERVER("a\nb", 1), KETAMA_EADDRESS,
         "invalid address \"a\\x0ab\": must not contain blanks or line breaks"},
        {SERVER("a\rb", 1), KETAMA_EADDRESS,
         "invalid address \"a\\x0db\": must not contain blanks or line breaks"},
        {SERVER("a\tb", 1), KETAMA_EADDRESS,
         "invalid address \"a\\x09b\": must not contain blanks or line breaks"},
        {SERVER("#", 1), KETAMA_EADDRESS,
         "invalid address \"#\": must not begin with '#'"},
        {SERVER("a", 0), KETAMA_EWEIGHT,
         "invalid weight 0: must be an integer from 1 to 9223372036854775807"},
        {SERVER("a", UINT64_C(1) << 63), KETAMA_EWEIGHT,
         "invalid weight 9223372036854775808: must be an integer from 1 to "
         "9223372036854775807"},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        ketama_server servers[] = {SERVER("good", 1), wrong[i].server};
        struct ketama_server_list list;
        ketama_failure failure;
        CHECK_INT(wrong[i].status, ketama_servers_copy(servers, 2, &list, &failure));
        CHECK_TEXT(wrong[i].reason, failure.reason);
        CHECK_INT(2, failure.line);
        ketama_servers_free(&list);
    }
}

static void the_limit_on_servers(void)
{
    const size_t most = KETAMA_SERVERS_MAX, bytes = 4 * (most + 1);
    struct ketama_server_list list;
    ketama_failure failure;
    char *text = malloc(bytes);

    CHECK(text != NULL);
    for (size_t at = 0; text != NULL && at < bytes; at += 4)
        memcpy(text + at, "a 1\n", 4);
    CHECK_INT(KETAMA_OK, ketama_servers_parse(text, bytes - 4, "", &list, &failure));
    CHECK_INT(most, list.count);
    ketama_servers_free(&list);
    CHECK_INT(KETAMA_ETOOMANY, ketama_servers_parse(text, bytes, "", &list, &failure));
    CHECK_TEXT("too many servers: at most 1048576", failure.reason);
    CHECK_INT(most + 1, failure.line);
    ketama_servers_free(&list);
    free(text);
}

void run_servers(void)
{
    RUN(valid_files);
    RUN(names_and_comments);
    RUN(names_are_unique);
    RUN(byte_order_mark);
    RUN(invalid_weights);
    RUN(invalid_lines);
    RUN(invalid_addresses);
    RUN(lists_in_memory);
    RUN(the_limit_on_servers);
}

/*
 * test_servers.c - text -> server list
 */
#include <stdlib.h>

#include "../internal.h"
#include "check.h"

/* The list as "address weight;" for each server, or the reason with its line. The text
 * lies against an unreadable page. */
static const char *parsed(const char *text, size_t size)
{
    static char said[4096];
    struct ketama_server_list list;
    struct ketama_flaw flaw;
    int at = 0, status;

    status = ketama_servers_parse(against_the_edge(text, size), size, &list, &flaw);
    said[0] = '\0';
    if (status != KETAMA_OK)
        snprintf(said, sizeof said, "%d at %llu: %s", status,
                 (unsigned long long)flaw.line, flaw.reason);
    else
        for (uint32_t i = 0; i < list.count; i++)
            at += snprintf(said + at, sizeof said - (size_t)at, "%.*s %llu;",
                           (int)list.at[i].length, list.at[i].address,
                           (unsigned long long)list.at[i].weight);
    ketama_servers_free(&list);
    return said;
}

#define PARSED(expected, text) CHECK_TEXT(expected, parsed(text, sizeof(text) - 1))

static void good_files(void)
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

static void wrong_weights(void)
{
    static const char *const wrong[] = {"0",
                                        "-5",
                                        "+5",
                                        "600abc",
                                        "abc",
                                        "1.5",
                                        "1e3",
                                        "0x1",
                                        "00",
                                        "9223372036854775808",
                                        "99999999999999999999",
                                        "18446744073709551617"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        char text[64], expected[256];
        snprintf(text, sizeof text, "a 1\nb %s\n", wrong[i]);
        snprintf(expected, sizeof expected,
                 "-18 at 2: weight is \"%s\", not a whole number from 1 to "
                 "9223372036854775807",
                 wrong[i]);
        CHECK_TEXT(expected, parsed(text, strlen(text)));
    }
    PARSED("-20 at 3: the weights add up to more than 18446744073709551615",
           "a 9223372036854775807\nb 9223372036854775807\nc 2\n");
    PARSED("a 9223372036854775807;b 9223372036854775807;c 1;",
           "a 9223372036854775807\nb 9223372036854775807\nc 1\n");
}

static void wrong_lines(void)
{
    PARSED("-16 at 1: address \"a:1\" has no weight after it", "a:1\n");
    PARSED("-16 at 2: address \"a:1\" has no weight after it", "b 1\na:1  ");
    PARSED("-16 at 1: \"# fast\" stands behind the weight", "a:1 600 # fast\n");
    PARSED("-16 at 1: there is a NUL byte", "a:1 6\0 0\n");
    PARSED("-16 at 2: there is a NUL byte", "a:1 6\n#\0\nb 1 1\n");
    PARSED("-18 at 1: weight is \"6\\x0db\", not a whole number from 1 to "
           "9223372036854775807",
           "a 6\rb 7\r");
    PARSED("-16 at 1: the file begins with a byte order mark; save it without",
           "\xef\xbb\xbf"
           "a 1\n");
    PARSED("-16 at 2: there is a NUL byte", "a 1\n\0\n");
    PARSED("-16 at 1: the file begins with a byte order mark; save it without",
           "\xef\xbb\xbf");
    PARSED("-19 at 0: there are no servers in it", "");
    PARSED("-19 at 0: there are no servers in it", "# nobody\n\n");
}

static void wrong_addresses(void)
{
    char text[400];
    char expected[256];

    PARSED(
        "-17 at 1: address \"#a\" begins with #; a comment has it in the line's first "
        "column",
        " #a 1\n");
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
        CHECK(strstr(parsed(text, strlen(text)), "-17 at 1: address \"\\x") != NULL);
        CHECK(strstr(parsed(text, strlen(text)), "is not UTF-8") != NULL);
        /* the same, cut off by the end of the file */
        CHECK(strstr(parsed(text, strlen(wrong[i])), "is not UTF-8") != NULL);
    }

    memset(text, 'a', sizeof text);
    strcpy(text + 255, " 1\n");
    snprintf(expected, sizeof expected, "%.255s", text);
    CHECK(strncmp(expected, parsed(text, strlen(text)), 255) == 0);
    memset(text, 'a', sizeof text);
    strcpy(text + 256, " 1\n");
    CHECK_TEXT(
        "-17 at 1: address \"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\"... has 256 "
        "bytes, more than 255",
        parsed(text, strlen(text)));
}

static void lists_in_memory(void)
{
    static const struct {
        ketama_server server;
        int status;
        const char *reason;
    } wrong[] = {
        {{"", 1, 0, 0}, KETAMA_EADDRESS, "address is empty"},
        {{"a b", 1, 0, 0},
         KETAMA_EADDRESS,
         "address \"a b\" has a blank or a line break in it"},
        {{"a\nb", 1, 0, 0},
         KETAMA_EADDRESS,
         "address \"a\\x0ab\" has a blank or a line break in it"},
        {{"a\rb", 1, 0, 0},
         KETAMA_EADDRESS,
         "address \"a\\x0db\" has a blank or a line break in it"},
        {{"a\tb", 1, 0, 0},
         KETAMA_EADDRESS,
         "address \"a\\x09b\" has a blank or a line break in it"},
        {{"#", 1, 0, 0},
         KETAMA_EADDRESS,
         "address \"#\" begins with #; a comment has it in the line's first column"},
        {{"a", 0, 0, 0},
         KETAMA_EWEIGHT,
         "weight is 0, not a whole number from 1 to 9223372036854775807"},
        {{"a", UINT64_C(1) << 63, 0, 0},
         KETAMA_EWEIGHT,
         "weight is 9223372036854775808, not a whole number from 1 to "
         "9223372036854775807"},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        ketama_server servers[] = {{"good", 1, 0, 0}, wrong[i].server};
        struct ketama_server_list list;
        struct ketama_flaw flaw;
        CHECK_INT(wrong[i].status, ketama_servers_copy(servers, 2, &list, &flaw));
        CHECK_TEXT(wrong[i].reason, flaw.reason);
        CHECK_INT(2, flaw.line);
        ketama_servers_free(&list);
    }
}

static void as_many_as_there_may_be(void)
{
    const size_t most = KETAMA_SERVERS_MAX, bytes = 4 * (most + 1);
    struct ketama_server_list list;
    struct ketama_flaw flaw;
    char *text = malloc(bytes);

    CHECK(text != NULL);
    for (size_t at = 0; text != NULL && at < bytes; at += 4)
        memcpy(text + at, "a 1\n", 4);
    CHECK_INT(KETAMA_OK, ketama_servers_parse(text, bytes - 4, &list, &flaw));
    CHECK_INT(most, list.count);
    ketama_servers_free(&list);
    CHECK_INT(KETAMA_ETOOMANY, ketama_servers_parse(text, bytes, &list, &flaw));
    CHECK_TEXT("more than 1048576 servers", flaw.reason);
    CHECK_INT(most + 1, flaw.line);
    ketama_servers_free(&list);
    free(text);
}

void run_servers(void)
{
    RUN(good_files);
    RUN(wrong_weights);
    RUN(wrong_lines);
    RUN(wrong_addresses);
    RUN(lists_in_memory);
    RUN(as_many_as_there_may_be);
}

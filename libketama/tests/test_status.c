/*
 * test_status.c - descriptions of statuses, long paths, quoting
 */
#include "check.h"

static void every_status_has_a_description(void)
{
    static const int all[] = {KETAMA_OK,       KETAMA_CHANGED,   KETAMA_ESYSTEM,
                              KETAMA_ENOMEM,   KETAMA_EUNSTABLE, KETAMA_ELINE,
                              KETAMA_EADDRESS, KETAMA_EWEIGHT,   KETAMA_ENOSERVERS,
                              KETAMA_ETOOMANY, KETAMA_ENAME,     KETAMA_ERANGE,
                              KETAMA_EOPTION};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        for (size_t j = 0; j <= i; j++)
            CHECK((i == j) ==
                  (strcmp(ketama_strerror(all[i]), ketama_strerror(all[j])) == 0));
    CHECK_TEXT("unknown status", ketama_strerror(-1000));
    CHECK_TEXT(KETAMA_VERSION, ketama_version());
}

static void a_path_longer_than_the_message(void)
{
    static char path[10000];
    ketama_continuum c;
    memset(path, 'x', sizeof path - 1);
    path[0] = '/';
    CHECK_INT(KETAMA_ESYSTEM, ketama_open(&c, path, NULL));
    CHECK(strncmp(path, ketama_error(), 4000) == 0);
    CHECK_TEXT(": File name too long", ketama_error() + 4000);
    CHECK_TEXT("File name too long", ketama_last_failure()->reason);
}

static void quotes(void)
{
    char all[256];
    for (int i = 0; i < 256; i++)
        all[i] = (char)i;
    CHECK_TEXT("\"\"", ketama_quote("", 0).text);
    CHECK_TEXT("\"a b~\"", ketama_quote("a b~", 4).text);
    CHECK_TEXT("\"\\x00\\x22\\x5c\\x7f\\xff\"", ketama_quote("\0\"\\\x7f\xff", 5).text);
    CHECK_TEXT("\"0123456789012345678901234567890123456789\"",
               ketama_quote("0123456789012345678901234567890123456789", 40).text);
    CHECK_TEXT("\"0123456789012345678901234567890123456789\"...",
               ketama_quote("01234567890123456789012345678901234567890", 41).text);
    CHECK_INT(40 * 4 + 5, strlen(ketama_quote(all + 200, 56).text));
}

void run_status(void)
{
    RUN(every_status_has_a_description);
    RUN(a_path_longer_than_the_message);
    RUN(quotes);
}

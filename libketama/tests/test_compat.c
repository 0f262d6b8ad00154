/*
 * test_compat.c - the 2007 interface
 */
#include "check.h"

#include <stddef.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "../ketama_compat.h"

#ifdef __LP64__
_Static_assert(sizeof(mcs) == 28 && offsetof(mcs, ip) == 4, "mcs");
_Static_assert(sizeof(serverinfo) == 32 && offsetof(serverinfo, memory) == 24,
               "serverinfo");
_Static_assert(offsetof(struct ketama_handle, numpoints) == 0 &&
                   offsetof(struct ketama_handle, modtime) == 8 &&
                   offsetof(struct ketama_handle, array) == 16,
               "continuum");
#endif

static const char two[] = "127.0.0.1:11211 600\n127.0.0.1:11212 400\n";

/* The functions take char *, but do not write to it. */
static char *text(const char *constant)
{
    static char copies[4][300];
    static unsigned next;
    char *copy = copies[next++ % 4];
    snprintf(copy, sizeof copies[0], "%s", constant);
    return copy;
}

static ketama_continuum rolled(const char *path)
{
    ketama_continuum c = NULL;
    CHECK_INT(1, ketama_roll(&c, text(path)));
    return c;
}

/* What the first line states holds for programs of 2007, too. */
static void the_dialect_that_a_file_states(void)
{
    const char *servers = "10.0.0.1:11211 1\n10.0.0.2:11212 1\n";
    char stated[200];
    const ketama_options options = {
        .size = sizeof options, .settings = "profile=dalli", .flags = KETAMA_PRIVATE};
    ketama_continuum old, dalli;

    snprintf(stated, sizeof stated, "#ketama profile=dalli\n%s", servers);
    old = rolled(put("stated", stated));
    CHECK_INT(KETAMA_OK, ketama_open(&dalli, put("plain", servers), &options));
    for (int i = 0; i < 100; i++) {
        char key[32];
        ketama_server server;
        snprintf(key, sizeof key, "user:%d", i);
        uint32_t found = ketama_find(dalli, key, strlen(key), NULL);
        CHECK_INT(KETAMA_OK, ketama_server_at(dalli, found, &server));
        CHECK_TEXT(server.address, ketama_get_server(key, old)->ip);
    }
    ketama_close(dalli);
    ketama_smoke(old);
}

static void the_old_functions(void)
{
    const char *path = put("compat", two);
    ketama_continuum c = rolled(path);
    struct stat state;
    unsigned char md5[16], expected[16];
    mcs *found = ketama_get_server(text("test"), c), *array = c->array;

    CHECK_INT(3454255383, found->point);
    CHECK_TEXT("127.0.0.1:11211", found->ip);
    CHECK(found >= array && found < array + c->numpoints);

    CHECK_INT(320, c->numpoints);
    CHECK_INT(0, stat(path, &state));
    CHECK_INT(state.st_mtime, *(time_t *)c->modtime);
    for (int i = 0; i < c->numpoints; i++) {
        ketama_point point;
        ketama_server server;
        ketama_points(c, (uint32_t)i, 1, &point);
        ketama_server_at(c, point.server, &server);
        CHECK_INT(point.point, array[i].point);
        CHECK_TEXT(server.address, array[i].ip);
    }
    CHECK_INT(-1, ketama_compare(&array[0], &array[1]));
    CHECK_INT(1, ketama_compare(&array[1], &array[0]));
    CHECK_INT(0, ketama_compare(&array[1], &array[1]));
    CHECK_INT(-1, ketama_compare(&(mcs){.point = 0}, &(mcs){.point = UINT32_MAX}));
    CHECK_INT(1, ketama_compare(&(mcs){.point = UINT32_MAX}, &(mcs){.point = 0}));

    CHECK_INT(3446378249, ketama_hashi(text("test")));
    ketama_md5_digest(text("test"), md5);
    ketama_md5("test", 4, expected);
    CHECK(memcmp(expected, md5, 16) == 0);
    ketama_smoke(c);
    ketama_smoke(NULL);
}

/* New functions work on a rolled continuum, old ones on an opened one. */
static void one_handle_for_both(void)
{
    const char *path = put("compat", two);
    ketama_continuum opened, c = rolled(path);
    CHECK_INT(0, ketama_find(c, "test", 4, NULL));
    CHECK_INT(KETAMA_OK, ketama_open(&opened, path, NULL));
    CHECK_INT(0, opened->numpoints);
    CHECK(opened->array == NULL);
    CHECK_INT(3454255383, ketama_get_server(text("test"), opened)->point);
    CHECK(ketama_get_server(text("test"), opened) ==
          ketama_get_server(text("test"), opened));
    ketama_smoke(opened);
    ketama_close(c);
}

static void each_roll_loads_the_current_file(void)
{
    const char *path = put("compat", two);
    ketama_continuum first = rolled(path), same = rolled(path), other;

    CHECK(first == same); /* neither built nor attached again */
    put("compat", "a:1 1\n");
    other = rolled(path);
    CHECK_TEXT("a:1", ketama_get_server(text("test"), other)->ip);
    CHECK_INT(160, other->numpoints);
    /* Earlier handles stay valid until they are smoked. */
    ketama_smoke(same);
    CHECK_TEXT("127.0.0.1:11211", ketama_get_server(text("test"), first)->ip);
    ketama_smoke(first);
    put("compat", "b:1 1\n"); /* same size, same second */
    first = rolled(path);
    CHECK_TEXT("b:1", ketama_get_server(text("test"), first)->ip);
    CHECK_TEXT("a:1", ketama_get_server(text("test"), other)->ip);
    ketama_smoke(first);
    ketama_smoke(other);
}

/* Another text with the same stamp is another continuum, even if one is cached. */
static void a_second_change_in_one_tick(void)
{
    const char *path = put("compat", two);
    ketama_continuum first = rolled(path), second;
    first->source.md5[0] ^= 1; /* as if it had another text */
    second = rolled(path);
    CHECK(first != second);
    CHECK(second == rolled(path));
    ketama_smoke(first);
    ketama_smoke(second);
    ketama_smoke(second);
}

/* An empty ring, on which the old functions must not crash. */
static void check_empty(ketama_continuum c)
{
    CHECK(c != NULL);
    CHECK_INT(0, c->numpoints);
    CHECK(c->array == NULL);
    CHECK(ketama_get_server(text("user:42"), c) == NULL);
    ketama_print_continuum(c);
    ketama_smoke(c);
    ketama_smoke(c);
    CHECK(ketama_get_server(text("user:42"), c) == NULL);

    /* Nor must the new ones. */
    ketama_server server;
    ketama_continuum newer, some = rolled(put("some", two));
    ketama_key keys[40];
    ketama_move *moves;
    uint32_t servers[40];
    size_t count;
    for (int i = 0; i < 40; i++)
        keys[i] = (ketama_key){"user:42", 7};
    CHECK_INT(0, ketama_find(c, "user:42", 7, servers));
    CHECK_INT(0, ketama_find_hash(c, UINT32_MAX, servers));
    ketama_find_many(c, keys, 40, servers, NULL);
    CHECK_INT(KETAMA_ERANGE, ketama_server_at(c, servers[39], &server));
    CHECK_INT(0, ketama_successors(c, "user:42", 7, servers, 40));
    CHECK_INT(0, ketama_count_points(c));
    CHECK_INT(0, ketama_points(c, 0, 1, NULL));
    CHECK_INT(KETAMA_OK, ketama_refresh(c, &newer));
    CHECK_INT(0, ketama_due(c));
    CHECK_INT(KETAMA_OK, ketama_diff(c, some, &moves, &count));
    CHECK_INT(0, count);
    CHECK_INT(KETAMA_OK, ketama_diff(some, c, &moves, &count));
    CHECK_INT(0, count);
    ketama_smoke(some);
    ketama_close(ketama_retain(c));
    ketama_close(c);
    CHECK_INT(0, c->numpoints);
}

static void no_ring_at_all(void)
{
    CHECK(ketama_get_server(text("user:42"), NULL) == NULL);
    ketama_print_continuum(NULL);
    ketama_smoke(NULL);
}

/* A program that only logs a failed reload keeps looking up in the last valid ring. */
static void a_failed_reload(void)
{
    static const char *const invalid[] = {"", "a:1\n", "# no server\n"};
    const char *path = put("reloaded", two);
    ketama_continuum c = rolled(path), again;
    mcs before = *ketama_get_server(text("user:42"), c);

    for (size_t i = 0; i <= sizeof invalid / sizeof *invalid; i++) {
        if (i < sizeof invalid / sizeof *invalid)
            put("reloaded", invalid[i]);
        else
            CHECK_INT(0, unlink(path));
        CHECK_INT(0, ketama_roll(&again, text(path)));
        CHECK(ketama_error()[0] != '\0');
        CHECK_INT(c->numpoints, again->numpoints);
        CHECK(memcmp(&before, ketama_get_server(text("user:42"), again),
                     sizeof before) == 0);
        ketama_smoke(again);
    }
    put("reloaded", two);
    CHECK_INT(1, ketama_roll(&again, text(path)));
    CHECK_TEXT("", ketama_error());
    ketama_smoke(again);
    ketama_smoke(c);
}

static void rolls_that_fail(void)
{
    const char *path = put("never", "# two\n\na:1 1\nb:1 none\n");
    char expected[400];
    ketama_continuum c = (ketama_continuum)&expected; /* is overwritten */

    CHECK_INT(0, ketama_roll(&c, text(path)));
    snprintf(expected, sizeof expected, "%s:4: invalid weight \"none\"", path);
    CHECK(strncmp(ketama_error(), expected, strlen(expected)) == 0);
    check_empty(c);
    CHECK_INT(0, ketama_roll(&c, text("/nowhere")));
    CHECK_TEXT("/nowhere: No such file or directory", ketama_error());
    CHECK_INT(0, ketama_roll(&c, NULL));
    check_empty(c);

    /* A roll that succeeds clears the message. */
    ketama_smoke(rolled(put("fine", two)));
    CHECK_TEXT("", ketama_error());
    CHECK_INT(KETAMA_OK, ketama_last_failure()->status);

    /* A file that becomes invalid fails; when it is valid again, it loads. */
    put("never", two);
    ketama_smoke(rolled(path));
    put("never", "");
    CHECK_INT(0, ketama_roll(&c, text(path)));
    CHECK(strstr(ketama_error(), "no servers") != NULL);
    ketama_smoke(c);
    put("never", two);
    ketama_smoke(rolled(path));
}

/* 21 bytes fit, 22 are an error, never truncated. The new interface takes both. */
static void an_address_too_long(void)
{
    const char *path = put("lengthy", "# one\na234567890123456789.1 7\n\n"
                                      "a234567890123456789.22 7\n");
    char expected[400];
    ketama_continuum c;
    ketama_server server;

    CHECK_INT(0, ketama_roll(&c, text(path)));
    snprintf(
        expected, sizeof expected,
        "%s:4: address \"a234567890123456789.22\" is too long for libketama.so.1: 22 "
        "bytes, at most 21; use ketama_open()",
        path);
    CHECK_TEXT(expected, ketama_error());
    CHECK_INT(KETAMA_EADDRESS, ketama_last_failure()->status);

    CHECK_INT(KETAMA_OK, ketama_open(&c, path, NULL));
    CHECK(ketama_get_server(text("key"), c) == NULL);
    ketama_print_continuum(c); /* prints nothing */
    CHECK_INT(KETAMA_OK, ketama_server_at(c, 1, &server));
    CHECK_TEXT("a234567890123456789.22", server.address);
    ketama_smoke(c);

    put("lengthy", "a234567890123456789.1 7\n");
    c = rolled(path);
    CHECK_TEXT("a234567890123456789.1", ketama_get_server(text("key"), c)->ip);
    ketama_smoke(c);
}

/* More files than the cache holds; all handles keep working. */
static void many_files(void)
{
    enum { FILES = 40 };
    ketama_continuum c[FILES];
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < FILES; i++) {
            char name[32], line[32];
            snprintf(name, sizeof name, "compat%d", i);
            snprintf(line, sizeof line, "s%d:1 1\n", i);
            if (round == 0)
                put(name, line);
            c[i] = rolled(scratch_path(name));
        }
        for (int i = 0; i < FILES; i++) {
            char address[32];
            snprintf(address, sizeof address, "s%d:1", i);
            CHECK_TEXT(address, ketama_get_server(text("key"), c[i])->ip);
            ketama_smoke(c[i]);
        }
    }
}

static void a_child_smokes_its_own(void)
{
    ketama_continuum c = rolled(put("lengthy", two));
    int status = 1;
    pid_t child = fork();
    if (child == 0) {
        ketama_continuum own = NULL;
        bool good = ketama_roll(&own, text(scratch_path("compat"))) == 1;
        ketama_smoke(c);
        good = good &&
               strcmp(ketama_get_server(text("test"), own)->ip, "127.0.0.1:11211") == 0;
        ketama_smoke(own);
        _exit(good ? 0 : 1);
    }
    CHECK_INT(child, waitpid(child, &status, 0));
    CHECK_INT(0, status);
    CHECK_TEXT("127.0.0.1:11211", ketama_get_server(text("test"), c)->ip);
    ketama_smoke(c);
}

static void no_memory(void)
{
    const char *path = put("compat-memory", two);
    ketama_continuum c;
    int n = 0;
    do {
        fail_allocation(++n);
        int good = ketama_roll(&c, text(path));
        bool failed = allocation_failed();
        fail_allocation(0);
        CHECK(good || (failed && c->numpoints == 0));
        if (!good)
            CHECK_TEXT("out of memory", strrchr(ketama_error(), ':') != NULL
                                            ? strrchr(ketama_error(), ':') + 2
                                            : ketama_error());
        ketama_smoke(c);
        if (!failed)
            break;
    } while (n < 1000);
    CHECK(n > 1 && n < 1000);
}

static void printing(void)
{
    const char *path = scratch_path("printed");
    ketama_continuum c = rolled(put("lengthy", two));
    char line[64] = "";
    fflush(stdout);
    int saved = dup(1);
    FILE *file = freopen(path, "w", stdout);
    CHECK(file != NULL);
    ketama_print_continuum(c);
    fflush(stdout);
    CHECK_INT(1, dup2(saved, 1));
    close(saved);

    file = fopen(path, "r");
    CHECK(file != NULL && fgets(line, sizeof line, file) != NULL);
    CHECK_TEXT("Numpoints in continuum: 320\n", line);
    for (int i = 0; file != NULL && i < 320; i++) {
        char expected[64];
        const mcs *point = (mcs *)c->array + i;
        snprintf(expected, sizeof expected, "%s (%u)\n", point->ip, point->point);
        CHECK(fgets(line, sizeof line, file) != NULL);
        CHECK_TEXT(expected, line);
    }
    if (file != NULL) {
        CHECK(fgets(line, sizeof line, file) == NULL);
        fclose(file);
    }
    ketama_smoke(c);
}

void run_compat(void)
{
    RUN(the_old_functions);
    RUN(the_dialect_that_a_file_states);
    RUN(one_handle_for_both);
    RUN(each_roll_loads_the_current_file);
    RUN(a_second_change_in_one_tick);
    RUN(no_ring_at_all);
    RUN(a_failed_reload);
    RUN(rolls_that_fail);
    RUN(an_address_too_long);
    RUN(many_files);
    RUN(a_child_smokes_its_own);
    RUN(no_memory);
    RUN(printing);
}

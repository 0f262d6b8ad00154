/*
 * test_roll.c - server files that change, are invalid, or are not files
 */
#include "check.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static ketama_continuum opened(const char *path)
{
    ketama_continuum c = NULL;
    int status = ketama_open(&c, path, NULL);
    CHECK_INT(KETAMA_OK, status);
    if (status != KETAMA_OK) {
        puts(ketama_error());
        exit(1);
    }
    return c;
}

/* Refreshes, and expects a newer continuum with this first server. */
static void expect_change(ketama_continuum *c, const char *first)
{
    ketama_continuum newer = NULL;
    CHECK_INT(KETAMA_CHANGED, ketama_refresh(*c, &newer));
    if (newer == NULL)
        return;
    CHECK_TEXT(first, first_address(newer));
    CHECK_INT(ketama_generation(*c) + 1, ketama_generation(newer));
    ketama_close(*c);
    *c = newer;
}

static void expect_none(ketama_continuum c)
{
    ketama_continuum newer = c;
    CHECK_INT(KETAMA_OK, ketama_refresh(c, &newer));
    CHECK(newer == NULL);
}

/* Refreshes, and expects the status and the message; c keeps answering. */
static void expect_failure(ketama_continuum c, int status, const char *path,
                           const char *reason)
{
    ketama_continuum newer = c;
    char expected[512];
    CHECK_INT(status, ketama_refresh(c, &newer));
    CHECK(newer == NULL);
    snprintf(expected, sizeof expected, "%s%s", path, reason);
    CHECK_TEXT(expected, ketama_error());
    CHECK_INT(status, ketama_last_failure()->status);
    CHECK(strlen(first_address(c)) > 0);
}

static void a_file_that_changes(void)
{
    const char *path = put("changes", "a:1 1\n");
    ketama_continuum c = opened(path);

    expect_none(c);
    put("changes", "b:1 1\n"); /* in place, same size, same second */
    expect_change(&c, "b:1");
    expect_none(c);
    put("changes", "c:1 1\nd:1 1\n");
    expect_change(&c, "c:1");
    CHECK_INT(0, rename(put("next", "e:1 1\n"), path));
    expect_change(&c, "e:1");

    put("changes", "");
    expect_failure(c, KETAMA_ENOSERVERS, path,
                   ": no servers: write one per line, 'address weight'");
    put("changes", "e:1 1\nf:1");
    expect_failure(c, KETAMA_ELINE, path,
                   ":2: no weight after address \"f:1\": write 'address weight'");
    CHECK_INT(2, ketama_last_failure()->line);
    CHECK_TEXT("no weight after address \"f:1\": write 'address weight'",
               ketama_last_failure()->reason);
    CHECK_INT(0, unlink(path));
    expect_failure(c, KETAMA_ESYSTEM, path, ": No such file or directory");
    CHECK_INT(ENOENT, ketama_last_failure()->system_errno);
    CHECK_INT(0, mkdir(path, 0700));
    expect_failure(c, KETAMA_ESYSTEM, path, ": Is a directory");
    CHECK_INT(0, rmdir(path));
    CHECK_TEXT("e:1", first_address(c));
    put("changes", "g:1 1\n");
    expect_change(&c, "g:1");
    ketama_close(c);
}

static void a_symbolic_link_that_is_replaced(void)
{
    char one[256], two[256];
    const char *link = scratch_path("link"), *swap = scratch_path("swap");
    strcpy(one, put("one", "a:1 1\n"));
    strcpy(two, put("two", "b:1 1\n"));

    CHECK_INT(0, symlink(one, link));
    ketama_continuum c = opened(link);
    CHECK_INT(0, symlink(two, swap));
    CHECK_INT(0, rename(swap, link));
    expect_change(&c, "b:1");
    expect_none(c);
    ketama_close(c);
}

/* While the time stamp is too recent to be reliable, the text is compared; later, the
 * stamp suffices. The test moves the time at which the handle read the file. */
static void the_racy_rule(void)
{
    const char *path = put("racy", "a:1 1\n");
    ketama_continuum c = opened(path);

    CHECK(!atomic_load(&c->stamp_reliable));
    c->source.md5[0] ^= 1; /* as if another text had the same stamp */
    expect_change(&c, "a:1");
    atomic_store(&c->stamp_reliable, true);
    c->source.md5[0] ^= 1;
    expect_none(c);
    ketama_close(c);

    struct ketama_source made = {.stamp = {.ctime_ns = INT64_C(5000000000)}};
    made.read_at_ns = made.stamp.ctime_ns;
    CHECK(!ketama_stamp_reliable(&made));
    made.read_at_ns = made.stamp.ctime_ns + INT64_C(2000000000);
    CHECK(!ketama_stamp_reliable(&made));
    made.read_at_ns++;
    CHECK(ketama_stamp_reliable(&made));
    made.read_at_ns =
        made.stamp.ctime_ns - INT64_C(5000000000); /* the clock was set back */
    CHECK(!ketama_stamp_reliable(&made));
}

static void a_relative_path_survives_chdir(void)
{
    char before[4096], folder[256];
    put("here", "a:1 1\n");
    strcpy(folder, scratch_path(""));
    CHECK(getcwd(before, sizeof before) != NULL);
    CHECK_INT(0, chdir(folder));
    ketama_continuum c = opened("here");
    CHECK_INT(0, chdir("/"));
    expect_none(c);
    put("here", "b:1 1\n");
    expect_change(&c, "b:1");
    ketama_close(c);
    c = opened(scratch_path("here") +
               1); /* the root directory's path already ends in a slash */
    ketama_close(c);
    CHECK_INT(0, chdir(before));
}

static void a_list_never_changes(void)
{
    static const ketama_server servers[] = {SERVER("a", 1)};
    ketama_continuum c, again;
    ketama_server server;
    CHECK_INT(KETAMA_OK, ketama_open_servers(&c, servers, 1, NULL));
    expect_none(c);
    CHECK_INT(KETAMA_OK, ketama_server_at(c, 0, &server));
    CHECK_INT(KETAMA_OK, ketama_open_servers(&again, &server, 1, NULL));
    CHECK_TEXT("a", first_address(again));
    ketama_close(again);
    ketama_close(c);

    CHECK_INT(KETAMA_ENOSERVERS, ketama_open_servers(&c, servers, 0, NULL));
    CHECK_TEXT("no servers: the list is empty", ketama_error());
    CHECK(c == NULL);
    CHECK_INT(KETAMA_EWEIGHT,
              ketama_open_servers(&c, (ketama_server[]){SERVER("a", 0)}, 1, NULL));
    CHECK_TEXT(
        "server 1: invalid weight 0: must be an integer from 1 to 9223372036854775807",
        ketama_error());
}

static void a_text_is_a_server_file(void)
{
    static const char text[] = "#ketama profile=dalli\n\na:1 3\nb:2 1 name\n";
    ketama_options twemproxy = {.size = sizeof twemproxy, .profile = "twemproxy"};
    ketama_continuum c, file;
    ketama_server server;

    /* Allocated without a NUL at its end, so that the sanitizer finds any overrun. */
    size_t size = sizeof text - 1;
    char *exact = malloc(size);
    memcpy(exact, text, size);
    CHECK_INT(KETAMA_OK, ketama_open_text(&c, exact, size, NULL));
    CHECK_INT(KETAMA_OK, ketama_open(&file, put("text", text), NULL));
    for (uint32_t i = 0; i < 1000; i++)
        CHECK_INT(ketama_find(file, &i, sizeof i, NULL),
                  ketama_find(c, &i, sizeof i, NULL));
    CHECK_INT(ketama_count_points(file), ketama_count_points(c));
    CHECK_INT(KETAMA_OK, ketama_server_at(c, 1, &server));
    CHECK_TEXT("name", server.name);
    CHECK_INT(0, ketama_is_shared(c));
    expect_none(c);
    ketama_close(file);
    ketama_close(c);

    CHECK_INT(KETAMA_ELINE, ketama_open_text(&c, exact, size, &twemproxy));
    CHECK(c == NULL);
    CHECK_TEXT("<text>:1: the file states profile=\"dalli\", the program has chosen "
               "\"twemproxy\": leave one of them out",
               ketama_error());
    twemproxy.profile = "no";
    CHECK_INT(KETAMA_EOPTION, ketama_open_text(&c, exact, size, &twemproxy));
    CHECK(strncmp(ketama_error(), "invalid profile \"no\"", 20) == 0);
    CHECK_INT(KETAMA_ELINE, ketama_open_text(&c, exact, 27, NULL));
    CHECK_INT(3, (int)ketama_last_failure()->line);
    CHECK_INT(KETAMA_ENOSERVERS, ketama_open_text(&c, NULL, 0, NULL));
    free(exact);
}

static void a_handle_works_in_the_child(void)
{
    const char *path = put("forked", "a:1 1\n");
    ketama_continuum c = opened(path);
    int status = -1;
    pid_t child = fork();
    if (child == 0) {
        ketama_continuum newer;
        bool good = strcmp(first_address(c), "a:1") == 0 &&
                    ketama_refresh(c, &newer) == KETAMA_OK;
        ketama_close(c);
        _exit(good ? 0 : 1);
    }
    CHECK(child > 0 && waitpid(child, &status, 0) == child);
    CHECK_INT(0, status);
    CHECK_TEXT("a:1", first_address(c));
    ketama_close(c);
}

/* Each allocation fails in turn: the status is ENOMEM, nothing leaks, c still works. */
static void memory_runs_out(void)
{
    const char *path = put("memory", "a:1 1\nb:1 2\n");
    ketama_continuum c = NULL, newer = NULL;
    int n, status = KETAMA_OK;

    for (n = 1;; n++) {
        fail_allocation(n);
        status = ketama_open(&c, path, &private_copy);
        if (!allocation_failed())
            break;
        CHECK_INT(KETAMA_ENOMEM, status);
        CHECK(c == NULL);
    }
    fail_allocation(0);
    CHECK_INT(KETAMA_OK, status);
    CHECK(n > 6);

    put("memory", "c:1 1\nd:1 2\n");
    for (n = 1;; n++) {
        fail_allocation(n);
        status = ketama_refresh(c, &newer);
        if (!allocation_failed())
            break;
        CHECK_INT(KETAMA_ENOMEM, status);
        CHECK(newer == NULL);
        CHECK_TEXT("a:1", first_address(c));
    }
    fail_allocation(0);
    CHECK_INT(KETAMA_CHANGED, status);
    CHECK(strstr(ketama_error(), "out of memory") != NULL);
    ketama_close(newer);
    ketama_close(c);
    ketama_close(NULL);
}

static const ketama_options fallback = {.size = sizeof fallback,
                                        .flags = KETAMA_FALLBACK};

/* Expects the servers that were published last, and the reason why. */
static ketama_continuum fallen_back(const char *path, const ketama_options *options,
                                    int status)
{
    ketama_continuum c = NULL;
    CHECK_INT(KETAMA_FELL_BACK, ketama_open(&c, path, options));
    CHECK_INT(status, ketama_last_failure()->status);
    CHECK(strncmp(path, ketama_error(), strlen(path)) == 0);
    CHECK(c != NULL && ketama_is_shared(c));
    CHECK_TEXT("a:1", first_address(c));
    return c;
}

static void a_start_with_an_invalid_file(void)
{
    const char *path = put("fallback", "a:1 1\n");
    ketama_continuum c, newer;

    CHECK_INT(KETAMA_OK, ketama_open(&c, path, &fallback));
    ketama_close(c);
    CHECK_INT(0, unlink(path));
    CHECK_INT(KETAMA_ESYSTEM, ketama_open(&c, path, NULL));
    CHECK(c == NULL);
    ketama_close(fallen_back(path, &fallback, KETAMA_ESYSTEM));
    put("fallback", "a:1 many\n");
    c = fallen_back(path, &fallback, KETAMA_EWEIGHT);

    expect_failure(c, KETAMA_EWEIGHT, path,
                   ":1: invalid weight \"many\": must be an integer from 1 to "
                   "9223372036854775807");
    put("fallback", "b:1 1\n");
    expect_change(&c, "b:1");
    expect_none(c);
    ketama_close(c);

    /* The one who asks for no fallback, or for no shared image, gets none. */
    put("fallback", "");
    CHECK_INT(KETAMA_ENOSERVERS, ketama_open(&c, path, NULL));
    const ketama_options both = {.size = sizeof both,
                                 .flags = KETAMA_FALLBACK | KETAMA_PRIVATE};
    CHECK_INT(KETAMA_ENOSERVERS, ketama_open(&c, path, &both));
    CHECK(c == NULL);
    CHECK_INT(KETAMA_OK, ketama_open(&newer, put("fallback", "c:1 1\n"), &fallback));
    ketama_close(newer);
}

static void nothing_to_fall_back_on(void)
{
    ketama_continuum c;
    CHECK_INT(KETAMA_ESYSTEM, ketama_open(&c, scratch_path("never"), &fallback));
    CHECK_INT(ENOENT, errno);
    CHECK(c == NULL);
    CHECK_INT(KETAMA_EADDRESS, ketama_open(&c, put("never", "\xff 1\n"), &fallback));
    CHECK(c == NULL);
}

/* A program's error is reported, whatever has been published. */
static void a_choice_to_fall_back_on(void)
{
    const ketama_options twemproxy = {.size = sizeof twemproxy,
                                      .profile = "twemproxy",
                                      .flags = KETAMA_FALLBACK},
                         dalli = {.size = sizeof dalli,
                                  .profile = "dalli",
                                  .flags = KETAMA_FALLBACK},
                         wrong = {.size = sizeof wrong,
                                  .profile = "none",
                                  .flags = KETAMA_FALLBACK};
    const char *path = put("chosen", "a:1 1\n");
    ketama_continuum c, chosen;

    /* The image of one dialect is no substitute for that of another. */
    CHECK_INT(KETAMA_OK, ketama_open(&c, path, NULL));
    ketama_close(c);
    CHECK_INT(0, unlink(path));
    CHECK_INT(KETAMA_ESYSTEM, ketama_open(&c, path, &twemproxy));
    put("chosen", "a:1 1\n");
    CHECK_INT(KETAMA_OK, ketama_open(&chosen, path, &twemproxy));
    CHECK_INT(0, unlink(path));
    c = fallen_back(path, &twemproxy, KETAMA_ESYSTEM);
    CHECK_INT(ketama_key_hash(chosen, "key", 3), ketama_key_hash(c, "key", 3));
    CHECK_INT(ketama_find(chosen, "key", 3, NULL), ketama_find(c, "key", 3, NULL));
    ketama_close(c);
    ketama_close(chosen);

    /* What the file stated when it was valid counts. */
    put("chosen", "#ketama profile=twemproxy\na:1 1\n");
    CHECK_INT(KETAMA_OK, ketama_open(&c, path, NULL));
    ketama_close(c);
    CHECK_INT(0, unlink(path));
    c = fallen_back(path, &twemproxy, KETAMA_ESYSTEM);
    ketama_close(c);
    c = fallen_back(path, &fallback, KETAMA_ESYSTEM);
    ketama_close(c);
    CHECK_INT(KETAMA_ESYSTEM, ketama_open(&c, path, &dalli));
    CHECK_INT(KETAMA_EOPTION, ketama_open(&c, path, &wrong));
}

static void a_touch_is_a_change(void)
{
    const char *path = put("touched", "a:1 1\n");
    const struct timespec times[] = {{0, 0}, {.tv_sec = 1}};
    ketama_continuum c = opened(path);
    CHECK_INT(0, utimensat(AT_FDCWD, path, times, 0));
    expect_change(&c, "a:1");
    expect_none(c);
    ketama_close(c);
}

/* Times that do not fit into nanoseconds since 1970 do not overflow. */
static void a_file_with_an_extreme_time(void)
{
    const char *path = put("aged", "a:1 1\n");
    const struct timespec ages[][2] = {{{0, 0}, {.tv_sec = INT64_C(13569465600)}},
                                       {{0, 0}, {.tv_sec = INT64_C(-2000000000)}}};
    ketama_continuum c = opened(path);
    for (size_t i = 0; i < sizeof ages / sizeof *ages; i++) {
        CHECK_INT(0, utimensat(AT_FDCWD, path, ages[i], 0));
        expect_change(&c, "a:1");
        expect_none(c);
    }
    ketama_close(c);

    struct ketama_source made = {.read_at_ns = INT64_MIN, .stamp.ctime_ns = INT64_MAX};
    CHECK(!ketama_stamp_reliable(&made));
    made = (struct ketama_source){.read_at_ns = INT64_MAX, .stamp.ctime_ns = INT64_MIN};
    CHECK(ketama_stamp_reliable(&made));
}

/* After two seconds, the file is read once more; from then on, one stat(2) suffices. A
 * handle opened then relies on the stamp from the start. */
static void a_stamp_becomes_reliable(void)
{
    const char *path = put("settling", "a:1 1\n");
    ketama_continuum c = opened(path), later;

    expect_none(c);
    CHECK(!atomic_load(&c->stamp_reliable));
    while (!atomic_load(&c->stamp_reliable)) {
        usleep(100000);
        expect_none(c);
    }
    CHECK_INT(KETAMA_OK, ketama_open(&later, path, &private_copy));
    CHECK(atomic_load(&later->stamp_reliable));
    read_fails = EIO;
    expect_none(c);
    expect_none(later);
    CHECK_INT(EIO, read_fails); /* the file was not read */
    read_fails = 0;
    ketama_close(later);
    ketama_close(c);
}

void run_roll(void)
{
    RUN(a_file_that_changes);
    RUN(a_symbolic_link_that_is_replaced);
    RUN(the_racy_rule);
    RUN(a_relative_path_survives_chdir);
    RUN(a_list_never_changes);
    RUN(a_text_is_a_server_file);
    RUN(a_handle_works_in_the_child);
    RUN(memory_runs_out);
    RUN(a_start_with_an_invalid_file);
    RUN(nothing_to_fall_back_on);
    RUN(a_choice_to_fall_back_on);
    RUN(a_touch_is_a_change);
    RUN(a_file_with_an_extreme_time);
    RUN(a_stamp_becomes_reliable);
}

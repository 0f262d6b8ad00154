/*
 * test_source.c - reading server files: special files, concurrent changes, failures
 */
#include "check.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static void each_part_of_the_stamp_counts(void)
{
    const struct ketama_stamp a = {1, 2, 3, 4, 5};
    struct ketama_stamp changed[] = {{9, 2, 3, 4, 5},
                                     {1, 9, 3, 4, 5},
                                     {1, 2, 9, 4, 5},
                                     {1, 2, 3, 9, 5},
                                     {1, 2, 3, 4, 9}};
    CHECK(ketama_stamp_equal(&a, &(struct ketama_stamp){1, 2, 3, 4, 5}));
    for (size_t i = 0; i < sizeof changed / sizeof *changed; i++)
        CHECK(!ketama_stamp_equal(&a, &changed[i]));
}

static void not_a_regular_file(void)
{
    ketama_continuum c;
    const char *fifo = scratch_path("fifo");

    CHECK_INT(KETAMA_ESYSTEM, ketama_open(&c, "", NULL));
    CHECK_INT(ENOENT, errno);
    CHECK(c == NULL);
    CHECK_INT(KETAMA_ESYSTEM, ketama_open(&c, "/nowhere/ketama.servers", NULL));
    CHECK_TEXT("/nowhere/ketama.servers: No such file or directory", ketama_error());
    CHECK_INT(KETAMA_ESYSTEM, ketama_open(&c, "/", NULL));
    CHECK_TEXT("/: Is a directory", ketama_error());
    CHECK_INT(0, mkfifo(fifo, 0600));
    CHECK_INT(KETAMA_ESYSTEM,
              ketama_open(&c, fifo, NULL)); /* without waiting for a writer */
    CHECK_INT(EINVAL, errno);
    CHECK_TEXT("not a regular file", ketama_last_failure()->reason);
    CHECK_INT(KETAMA_ESYSTEM, ketama_open(&c, "/dev/zero", NULL));
    const char *huge = put("huge", "a 1\n");
    CHECK_INT(0, truncate(huge, (512 << 20) + 1));
    CHECK_INT(KETAMA_ETOOMANY, ketama_open(&c, huge, NULL));
    CHECK_TEXT("file too large: 536870913 bytes, at most 536870912",
               ketama_last_failure()->reason);
    CHECK_INT(0, unlink(huge));
}

/* Under constant rewriting, each read returns a whole file or fails. */
static void a_file_that_is_constantly_rewritten(void)
{
    char path[256];
    strcpy(path, put("busy", "a:1 1\nb:1 1\n"));
    pid_t writer = fork();
    if (writer == 0)
        for (;;) {
            FILE *file = fopen(path, "r+");
            if (file != NULL) {
                fputs("a:1 1\nb:1 1\n", file);
                fclose(file);
            }
        }
    CHECK(writer > 0);
    for (int i = 0; i < 2000; i++) {
        ketama_continuum c;
        int status = ketama_open(&c, path, NULL);
        CHECK(status == KETAMA_OK || status == KETAMA_EUNSTABLE);
        if (status == KETAMA_OK)
            CHECK_INT(2, ketama_count_servers(c));
        else
            CHECK_TEXT("the file changed each of the 10 times it was read",
                       ketama_last_failure()->reason);
        ketama_close(c);
    }
    CHECK_INT(0, kill(writer, SIGKILL));
    CHECK(waitpid(writer, NULL, 0) == writer);
}

/* ---- Changes between the system calls of one read */

static const char *read_path;
static int reads;

static void rewrite_once(void)
{
    if (reads++ == 0) /* same size, new time stamp */
        (void)put(read_path, "b:1 1\n");
}

static void append_once(void)
{
    if (reads++ == 0)
        (void)put(read_path, "a:1 1\nb:1 1\n");
}

static void truncate_once(void)
{
    if (reads++ == 0)
        (void)put(read_path, "a:1");
    else if (reads == 3)
        (void)put(read_path, "c:1 1\n");
}

static void fill_once(void)
{
    if (reads++ == 0)
        (void)put(read_path, "d:1 1\n");
}

/* Lets the link lead elsewhere while the file is opened and read, once. */
static void point_link_to(const char *target)
{
    (void)unlink(scratch_path("turned"));
    CHECK_INT(0, symlink(scratch_path(target), scratch_path("turned")));
}

static void point_elsewhere(void)
{
    if (reads == 0)
        point_link_to("there");
}

static void point_back(void)
{
    if (reads++ == 0)
        point_link_to("here");
}

static void a_link_that_leads_elsewhere_while_it_is_read(void)
{
    ketama_continuum c = NULL, newer;
    put("here", "a:1 1\n");
    put("there", "b:1 1\n");
    point_link_to("here");
    reads = 0;
    before_open = point_elsewhere;
    before_read = point_back;
    CHECK_INT(KETAMA_OK, ketama_open(&c, scratch_path("turned"), &private_copy));
    before_open = before_read = NULL;
    CHECK(reads > 1);
    CHECK_TEXT("a:1", first_address(c));
    CHECK_INT(KETAMA_OK, ketama_refresh(c, &newer));
    ketama_close(c);
}

static void touch_always(void)
{
    struct timespec times[] = {{0, 0}, {.tv_sec = ++reads}};
    CHECK_INT(0, utimensat(AT_FDCWD, scratch_path(read_path), times, 0));
}

static void a_change_while_it_is_read(void)
{
    static const struct {
        const char *before;
        void (*change)(void);
        const char *first;
        uint32_t count;
    } changes[] = {{"a:1 1\n", rewrite_once, "b:1", 1},
                   {"a:1 1\n", append_once, "a:1", 2},
                   {"a:1 1\n", truncate_once, "c:1", 1},
                   {"", fill_once, "d:1", 1}};
    for (size_t i = 0; i < sizeof changes / sizeof *changes; i++) {
        ketama_continuum c = NULL;
        const char *path = put(read_path = "read", changes[i].before);
        reads = 0;
        before_read = changes[i].change;
        int status = ketama_open(&c, path, &private_copy);
        before_read = NULL;
        CHECK_INT(KETAMA_OK, status);
        if (status != KETAMA_OK)
            continue;
        CHECK_TEXT(changes[i].first, first_address(c));
        CHECK_INT(changes[i].count, ketama_count_servers(c));
        ketama_close(c);
    }

    ketama_continuum c;
    const char *path = put(read_path = "read", "a:1 1\n");
    reads = 0;
    before_read = touch_always;
    CHECK_INT(KETAMA_EUNSTABLE, ketama_open(&c, path, &private_copy));
    before_read = NULL;
    CHECK(reads >= 10);
    CHECK_TEXT("the file changed each of the 10 times it was read",
               ketama_last_failure()->reason);
}

static void a_read_that_fails(void)
{
    const char *path = put("failing", "a:1 1\n");
    ketama_continuum c;
    read_fails = EINTR;
    CHECK_INT(KETAMA_OK, ketama_open(&c, path, &private_copy));
    ketama_close(c);
    read_fails = EIO;
    CHECK_INT(KETAMA_ESYSTEM, ketama_open(&c, path, &private_copy));
    CHECK_INT(EIO, errno);
    CHECK_INT(EIO, ketama_last_failure()->system_errno);
    CHECK_INT(KETAMA_ESYSTEM, ketama_open(&c, "/proc/self/status", &private_copy));
    CHECK_TEXT("/proc/self/status: the file reports no size", ketama_error());
}

/* A failure does not contain parts of an earlier one. */
static void failures_do_not_mix(void)
{
    ketama_continuum c;
    CHECK_INT(KETAMA_ESYSTEM, ketama_open(&c, "/nowhere", NULL));
    CHECK_INT(KETAMA_ELINE, ketama_open(&c, put("mixed", "#\na\n"), NULL));
    CHECK_INT(0, ketama_last_failure()->system_errno);
    CHECK_INT(2, ketama_last_failure()->line);
    CHECK_INT(KETAMA_ESYSTEM, ketama_open(&c, "/nowhere", NULL));
    CHECK_INT(0, ketama_last_failure()->line);
}

void run_source(void)
{
    RUN(each_part_of_the_stamp_counts);
    RUN(not_a_regular_file);
    RUN(a_file_that_is_constantly_rewritten);
    RUN(a_change_while_it_is_read);
    RUN(a_link_that_leads_elsewhere_while_it_is_read);
    RUN(a_read_that_fails);
    RUN(failures_do_not_mix);
}

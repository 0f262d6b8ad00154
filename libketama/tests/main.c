/*
 * main.c - runs the tests; defines the helpers they share
 */
#include "check.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

const ketama_options private_copy = {.size = sizeof private_copy,
                                     .flags = KETAMA_PRIVATE};

int check_passed, check_failed;
bool check_good;

static char folder[] = "/tmp/libketama-tests-XXXXXX";

const void *against_the_edge(const void *bytes, size_t size)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    size_t pages = (size + page - 1) / page + (size == 0);
    unsigned char *map = mmap(NULL, (pages + 1) * page, PROT_READ | PROT_WRITE,
                              MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (map == MAP_FAILED || mprotect(map + pages * page, page, PROT_NONE) != 0) {
        perror("against_the_edge");
        exit(1);
    }
    unsigned char *to = map + pages * page - size;
    if (size > 0)
        memcpy(to, bytes, size);
    return to;
}

struct ketama_packed packed(const ketama_arc *arcs, uint32_t count, uint32_t servers,
                            uint32_t shift)
{
    size_t entries = (size_t)ketama_index_entries(shift);
    struct ketama_packer packer = {
        .words = calloc((size_t)count + KETAMA_SLACK, sizeof *packer.words),
        .index = calloc(entries, sizeof *packer.index),
        .server_bits = ketama_server_bits(servers),
        .shift = shift,
    };
    if (packer.words == NULL || packer.index == NULL) {
        perror("packed");
        exit(1);
    }
    for (uint32_t i = 0; i < count; i++)
        ketama_pack(&packer, arcs[i]);
    ketama_pack_finish(&packer);
    packer.words[count] = packer.words[0];
    struct ketama_packed made = {
        .words = against_the_edge(packer.words,
                                  ((size_t)count + KETAMA_SLACK) * sizeof *packer.words),
        .index = against_the_edge(packer.index, entries * sizeof *packer.index),
        .count = count,
        .server_bits = packer.server_bits,
        .server_mask = (UINT32_C(1) << packer.server_bits) - 1,
        .shift = shift,
    };
    free(packer.words);
    free(packer.index);
    return made;
}

const char *scratch_path(const char *name)
{
    static char paths[8][256];
    static unsigned next;
    char *path = paths[next++ % 8];
    snprintf(path, sizeof paths[0], "%s/%s", folder, name);
    return path;
}

const char *write_file(const char *name, const void *text, size_t size)
{
    const char *path = scratch_path(name);
    FILE *file = fopen(path, "wb");
    if (file == NULL || fwrite(text, 1, size, file) != size || fclose(file) != 0) {
        perror(path);
        exit(1);
    }
    return path;
}

const char *put(const char *name, const char *text)
{
    return write_file(name, text, strlen(text));
}

const char *first_address(ketama_continuum c)
{
    ketama_server server;
    CHECK_INT(KETAMA_OK, ketama_server_at(c, 0, &server));
    return server.address;
}

static int allocations_left;
static bool failed;

void fail_allocation(int n)
{
    allocations_left = n;
    failed = false;
}

bool allocation_failed(void)
{
    return failed;
}

static bool fails_now(void)
{
    if (allocations_left == 0 || --allocations_left > 0)
        return false;
    failed = true;
    errno = ENOMEM;
    return true;
}

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *old, size_t size);
void *__real_aligned_alloc(size_t alignment, size_t size);
char *__real_strdup(const char *text);

void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *old, size_t size);
void *__wrap_aligned_alloc(size_t alignment, size_t size);
char *__wrap_strdup(const char *text);

void *__wrap_malloc(size_t size)
{
    return fails_now() ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t count, size_t size)
{
    return fails_now() ? NULL : __real_calloc(count, size);
}

void *__wrap_realloc(void *old, size_t size)
{
    return fails_now() ? NULL : __real_realloc(old, size);
}

void *__wrap_aligned_alloc(size_t alignment, size_t size)
{
    return fails_now() ? NULL : __real_aligned_alloc(alignment, size);
}

char *__wrap_strdup(const char *text)
{
    return fails_now() ? NULL : __real_strdup(text);
}

void (*before_read)(void);
void (*before_open)(void);
void (*after_openat)(int folder, const char *name);
int read_fails, reads_spoiled, reads_interrupted;
bool opened_without_cloexec, fstat_rounds_times;

ssize_t __real_read(int fd, void *to, size_t size);
ssize_t __wrap_read(int fd, void *to, size_t size);
int __real_open(const char *path, int flags, ...);
int __wrap_open(const char *path, int flags, ...);
int __real_openat(int folder, const char *path, int flags, ...);
int __wrap_openat(int folder, const char *path, int flags, mode_t mode);
int __real_fstat(int fd, struct stat *st);
int __wrap_fstat(int fd, struct stat *st);

ssize_t __wrap_read(int fd, void *to, size_t size)
{
    if (before_read != NULL)
        before_read();
    if (reads_interrupted > 0) {
        reads_interrupted--;
        errno = EINTR;
        return -1;
    }
    if (read_fails != 0) {
        errno = read_fails;
        read_fails = 0;
        return -1;
    }
    ssize_t got = __real_read(fd, to, size);
    if (got > 0 && reads_spoiled > 0) {
        reads_spoiled--;
        *(char *)to ^= 1;
    }
    return got;
}

/* The library creates files only with openat(), so open() has no mode to pass on. */
int __wrap_open(const char *path, int flags, ...)
{
    if (before_open != NULL)
        before_open();
    opened_without_cloexec |= (flags & O_CLOEXEC) == 0;
    return __real_open(path, flags);
}

int __wrap_openat(int folder_fd, const char *path, int flags, mode_t mode)
{
    opened_without_cloexec |= (flags & O_CLOEXEC) == 0;
    int fd = __real_openat(folder_fd, path, flags, mode);
    if (after_openat != NULL)
        after_openat(folder_fd, path);
    return fd;
}

int __wrap_fstat(int fd, struct stat *st)
{
    int status = __real_fstat(fd, st);
    if (fstat_rounds_times)
        st->st_mtim.tv_nsec = st->st_ctim.tv_nsec = 0;
    return status;
}

static int descriptors(void)
{
    int count = 0;
    for (int fd = 0; fd < 1000; fd++)
        count += fcntl(fd, F_GETFD) != -1;
    return count;
}

/* Runs last: the library left no file open, and opened none without O_CLOEXEC. */
static int open_before;

static void no_file_is_left_open(void)
{
    CHECK_INT(open_before, descriptors());
    CHECK(!opened_without_cloexec);
}

int main(void)
{
    char remove[sizeof folder + 16];

    if (mkdtemp(folder) == NULL) {
        perror(folder);
        return 1;
    }
    if (setenv("KETAMA_SHM_DIR", folder, 1) != 0)
        return 1;
    open_before = descriptors();
    run_md5();
    run_hash();
    run_servers();
    run_points();
    run_image();
    run_sharing();
    run_lookup();
    run_source();
    run_roll();
    run_status();
    run_compat();
    run_diff();
    run_profile();
    run_rings();
    run_dialects();
    run_published();
    run_users();
    run_health();
    run_buckets();
    RUN(no_file_is_left_open);

    snprintf(remove, sizeof remove, "rm -r '%s'", folder);
    if (system(remove) != 0)
        check_failed++;
    printf("%d passed, %d failed\n", check_passed, check_failed);
    return check_failed > 0;
}

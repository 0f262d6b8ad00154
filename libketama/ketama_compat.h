/*
 * ketama_compat.h - the interface of libketama.so.1, as of 2007
 *
 * Included by ketama.h, unless KETAMA_NO_OLD_NAMES is defined. Programs that were
 * compiled against the original run with this library as they are. The handle is the
 * same, so old functions and new ones may be mixed on it.
 *
 *     ketama_continuum c;
 *     if (!ketama_roll(&c, "/etc/ketama.servers"))
 *         fprintf(stderr, "%s\n", ketama_error());
 *     else {
 *         puts(ketama_get_server("user:42", c)->ip);
 *         ketama_smoke(c);
 *     }
 *
 * What is otherwise than it was: rolling and smoking harm nobody else's continuum, in
 * this process or another; what is rolled is the file as it is now, also after a second
 * change within a second; ketama_error() is the calling thread's; any number of threads
 * may call anything. A continuum keeps what it has until it is smoked. A server file
 * with an address of more than 21 bytes, for which `ip` has no room, can't be rolled,
 * and ketama_error() names the line; ketama_open() takes it.
 */
#ifndef KETAMA_COMPAT_H
#define KETAMA_COMPAT_H

#ifdef __cplusplus
extern "C" {
#endif
#if defined(__GNUC__) && !defined(KETAMA_HIDDEN)
#pragma GCC visibility push(default)
#endif

typedef struct {
    unsigned int point; /* its place on the circle */
    char ip[22];        /* its server's address, NUL-terminated */
} mcs;

typedef struct {
    char addr[22];
    unsigned long memory;
} serverinfo;

/* To be read, never made: there is more behind it. The library itself knows what. */
#ifndef KETAMA_INTERNAL_H
struct ketama_handle {
    int numpoints; /* these three are filled by ketama_roll() alone; else 0 and NULL */
    void *modtime; /* time_t: the file's */
    void *array;   /* mcs[numpoints], ascending */
};
#endif
typedef struct ketama_handle continuum;

typedef int (*compfn)(const void *, const void *);

/*
 * ketama_roll: *c becomes the continuum of the server file: 1, or 0 on failure, when *c
 * is NULL. The process keeps the newest continuum of each of the 16 files that it rolled
 * last, so a call costs a stat(2) as long as the file is unchanged (and the reading of
 * the file within two seconds of a change); a file beyond those is attached to anew. The
 * array takes 28 bytes a point, 4.5 KB a server, which the process has for itself. Not
 * to be called in a signal handler. ketama_smoke: gives it back, as often as it was
 * rolled and no more. NULL does nothing.
 */
int ketama_roll(ketama_continuum *c, char *filename);
void ketama_smoke(ketama_continuum c);

/* ketama_get_server: the point that a key meets, which belongs to c. The key ends at
 * its first NUL. NULL: there is no memory, or an address is too long. */
mcs *ketama_get_server(char *key, ketama_continuum c);

/* ketama_print_continuum: "Numpoints in continuum: N", then "ip (point)" a line. */
void ketama_print_continuum(ketama_continuum c);

/* ketama_compare: -1, 0 or 1, by point. ketama_hashi, ketama_md5_digest: ketama_hash
 * and ketama_md5 of a string. */
int ketama_compare(mcs *a, mcs *b);
unsigned int ketama_hashi(char *string);
void ketama_md5_digest(char *string, unsigned char digest[16]);

#if defined(__GNUC__) && !defined(KETAMA_HIDDEN)
#pragma GCC visibility pop
#endif
#ifdef __cplusplus
}
#endif
#endif

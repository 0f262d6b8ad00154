"""Compiles libketama and its Python face into one extension module, ketama._ketama."""

from pathlib import Path

from cffi import FFI

ROOT = Path(__file__).resolve().parent.parent
BEGIN, END = "/* cffi: begin */", "/* cffi: end */"

FAULT = """
    struct fault {
        int status;
        int system_errno;
        uint64_t line;
        char reason[512];
    };
"""

# What would take Python two calls, or a result that cffi has to allocate. Where there is
# no server to give there is an index that no server has, so that Python's own check of the
# index is the only one on the way. A failure is copied in the call that met it: before the
# next one, a signal handler may meet another.
GLUE = """
    #include <stdio.h>
    #include <string.h>
    #include "ketama.h"
    FAULT

    static int told(int status, struct fault *fault)
    {
        if (status < 0) {
            const ketama_failure *last = ketama_last_failure();
            fault->status = status;
            fault->system_errno = last->system_errno;
            fault->line = last->line;
            snprintf(fault->reason, sizeof fault->reason, "%s", last->reason);
        }
        return status;
    }

    static int open_file(ketama_continuum *c, const char *path, unsigned flags,
                         struct fault *fault)
    {
        return told(ketama_open(c, path, flags), fault);
    }

    static int open_servers(ketama_continuum *c, const ketama_server *servers, size_t count,
                            struct fault *fault)
    {
        return told(ketama_open_servers(c, servers, count), fault);
    }

    static int refresh(ketama_continuum c, ketama_continuum *newer, struct fault *fault)
    {
        return told(ketama_refresh(c, newer), fault);
    }

    #define DUE UINT64_MAX              /* ketama_due: roll first */
    #define NUL_IN_KEY (UINT64_MAX - 1)

    /* The server's index in the high half, the point in the low one. */
    static uint64_t find_now(ketama_continuum c, const void *key, size_t len)
    {
        uint32_t point, server = ketama_find(c, key, len, &point);
        return (uint64_t)server << 32 | point;
    }

    static uint64_t find(ketama_continuum c, const void *key, size_t len)
    {
        return ketama_due(c) ? DUE : find_now(c, key, len);
    }

    /* The same for keys as libketama takes them, which end at a NUL. */
    static uint64_t find_text(ketama_continuum c, const void *key, size_t len)
    {
        return memchr(key, 0, len) != NULL ? NUL_IN_KEY : find(c, key, len);
    }

    static uint32_t find_index(ketama_continuum c, const void *key, size_t len)
    {
        return ketama_due(c) ? UINT32_MAX : ketama_find(c, key, len, NULL);
    }
"""

GLUE_CDEF = """
    FAULT
    int open_file(ketama_continuum *c, const char *path, unsigned flags, struct fault *fault);
    int open_servers(ketama_continuum *c, const ketama_server *servers, size_t count,
                     struct fault *fault);
    int refresh(ketama_continuum c, ketama_continuum *newer, struct fault *fault);
    #define DUE ...
    #define NUL_IN_KEY ...
    uint64_t find_now(ketama_continuum c, const void *key, size_t len);
    uint64_t find(ketama_continuum c, const void *key, size_t len);
    uint64_t find_text(ketama_continuum c, const void *key, size_t len);
    uint32_t find_index(ketama_continuum c, const void *key, size_t len);
"""


def declarations() -> str:
    """Give the marked part of ketama.h, which cffi can read as it stands."""
    header = (ROOT / "libketama" / "ketama.h").read_text(encoding="utf-8")
    return header[header.index(BEGIN) + len(BEGIN) : header.index(END)]


ffibuilder = FFI()
ffibuilder.cdef(declarations() + GLUE_CDEF.replace("FAULT", FAULT))
ffibuilder.set_source(
    "ketama._ketama",
    GLUE.replace("FAULT", FAULT),
    # Relative, as setuptools wants them: the build runs in the project's root.
    sources=sorted(str(path.relative_to(ROOT)) for path in (ROOT / "libketama").glob("*.c")),
    depends=["libketama/ketama.h", "libketama/internal.h"],
    include_dirs=["libketama"],
    define_macros=[("KETAMA_HIDDEN", "1")],
    extra_compile_args=["-std=c11", "-O2", "-fvisibility=hidden"],
)

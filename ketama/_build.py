"""Compile libketama and its Python binding into one extension module, ketama._ketama."""

from pathlib import Path

from cffi import FFI

ROOT = Path(__file__).resolve().parent.parent
BEGIN, END = "/* cffi: begin */", "/* cffi: end */"


def declarations(path: str) -> str:
    """Return the part of a C file between the two marks, which cffi reads verbatim."""
    text = (ROOT / path).read_text(encoding="utf-8")
    return text[text.index(BEGIN) + len(BEGIN) : text.index(END)]


def files(suffix: str) -> list[str]:
    """Return the library's files with a suffix, relative to the project's root."""
    return sorted(
        str(path.relative_to(ROOT))
        for folder in ("", "hash", "profile", "health", "admin")
        for path in (ROOT / "libketama" / folder).glob(f"*.{suffix}")
    )


ffibuilder = FFI()
ffibuilder.cdef("typedef struct ketama_handle *ketama_continuum;")
ffibuilder.cdef(declarations("libketama/ketama.h"))
ffibuilder.cdef(declarations("libketama/ketama_admin.h"))
ffibuilder.cdef(declarations("libketama/ketama_health.h"))
ffibuilder.cdef(declarations("libketama/admin/dialects.h"))
ffibuilder.cdef(declarations("ketama/_glue.c"))
ffibuilder.cdef(declarations("ketama/_edit.c"))
ffibuilder.set_source(
    "ketama._ketama",
    '#include "_glue.c"\n#include "_edit.c"',
    # setuptools requires relative paths; the build runs in the project's root.
    # compat.c is the 2007 interface, for C programs only.
    sources=[path for path in files("c") if path != "libketama/compat.c"],
    depends=["ketama/_glue.c", "ketama/_edit.c", "ketama/_speedups.h", *files("h")],
    include_dirs=["libketama", "ketama"],
    define_macros=[("KETAMA_HIDDEN", "1"), ("KETAMA_NO_OLD_NAMES", "1")],
    extra_compile_args=["-std=c11", "-O2", "-fvisibility=hidden"],
)

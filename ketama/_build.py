"""Compiles libketama and its Python face into one extension module, ketama._ketama."""

from pathlib import Path

from cffi import FFI

ROOT = Path(__file__).resolve().parent.parent
BEGIN, END = "/* cffi: begin */", "/* cffi: end */"


def declarations(path: str) -> str:
    """Give the marked part of a C file, which cffi can read as it stands."""
    text = (ROOT / path).read_text(encoding="utf-8")
    return text[text.index(BEGIN) + len(BEGIN) : text.index(END)]


ffibuilder = FFI()
ffibuilder.cdef(declarations("libketama/ketama.h"))
ffibuilder.cdef(declarations("libketama/ketama_admin.h"))
ffibuilder.cdef(declarations("ketama/_glue.c"))
ffibuilder.set_source(
    "ketama._ketama",
    '#include "_glue.c"',
    # Relative, as setuptools wants them: the build runs in the project's root.
    sources=sorted(
        str(path.relative_to(ROOT))
        for path in (ROOT / "libketama").glob("*.c")
        if path.name != "compat.c"  # which is for C
    ),
    depends=[
        "ketama/_glue.c",
        *(str(path.relative_to(ROOT)) for path in sorted(ROOT.glob("*ketama/*.h"))),
    ],
    include_dirs=["libketama", "ketama"],
    define_macros=[("KETAMA_HIDDEN", "1"), ("KETAMA_NO_OLD_NAMES", "1")],
    extra_compile_args=["-std=c11", "-O2", "-fvisibility=hidden"],
)

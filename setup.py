"""Build the extension modules; pyproject.toml has everything else."""

import re
import sysconfig
from pathlib import Path

from setuptools import Extension, setup

header = Path(__file__).with_name("libketama") / "ketama.h"
version = re.search(r'^#define KETAMA_VERSION "(.+)"$', header.read_text(), re.MULTILINE)
if version is None:
    raise SystemExit(f"{header}: KETAMA_VERSION is missing")

# Optional: without it, cffi does all the work. It relies on the GIL.
speedups = Extension(
    "ketama._speedups",
    sources=["ketama/_speedups.c"],
    depends=["ketama/_speedups.h", "libketama/ketama.h"],
    include_dirs=["libketama"],
    define_macros=[
        ("Py_LIMITED_API", "0x030A0000"),
        ("KETAMA_HIDDEN", "1"),
        ("KETAMA_NO_OLD_NAMES", "1"),
    ],
    extra_compile_args=["-std=c11", "-O2", "-fvisibility=hidden"],
    py_limited_api=True,
    optional=True,
)
has_gil = not sysconfig.get_config_var("Py_GIL_DISABLED")

setup(
    version=version.group(1),
    cffi_modules=["ketama/_build.py:ffibuilder"],
    ext_modules=[speedups] if has_gil else [],
    options={"bdist_wheel": {"py_limited_api": "cp310"}} if has_gil else {},
)

"""Build the extension modules; pyproject.toml has everything else."""

import re
import shutil
import sysconfig
import tempfile
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.errors import CompileError

header = Path(__file__).with_name("libketama") / "ketama.h"
version = re.search(r'^#define KETAMA_VERSION "(.+)"$', header.read_text(), re.MULTILINE)
if version is None:
    raise SystemExit(f"{header}: KETAMA_VERSION is missing")

REMEDY = (
    "install a C compiler and Python's headers (apt-get install gcc python3-dev, "
    "dnf install gcc python3-devel, or xcode-select --install)"
)
RELOCATIONS = ("relro", "now")  # resolved when the module is loaded, then read-only


class BuildExtensions(build_ext):
    """Say in one line what is missing, before the compiler does in many."""

    def build_extensions(self) -> None:
        """Build them, after a first try of the compiler and Python.h."""
        compiler = self.compiler.compiler_so[0]
        if shutil.which(compiler) is None:
            raise SystemExit(
                f"libketama needs a C compiler, and {compiler} is missing: {REMEDY}"
            )
        with tempfile.TemporaryDirectory() as folder:
            source = Path(folder, "includes.c")
            source.write_text("#include <Python.h>\n")
            try:
                self.compiler.compile([str(source)], output_dir=folder)
            except CompileError:
                raise SystemExit(
                    f"libketama needs Python.h, which is missing: {REMEDY}"
                ) from None
        self.harden()
        super().build_extensions()

    def harden(self) -> None:
        """Make overruns of buffers harder to exploit, but where the builder's flags differ."""
        given = " ".join([*self.compiler.compiler_so, *self.compiler.linker_so])
        compile_args, link_args = [], []
        if "stack-protector" not in given:
            compile_args += ["-fstack-protector-strong"]
        if "_FORTIFY_SOURCE" not in given:
            compile_args += ["-U_FORTIFY_SOURCE", "-D_FORTIFY_SOURCE=3"]
        if "macosx" not in sysconfig.get_platform():
            link_args += [f"-Wl,-z,{word}" for word in RELOCATIONS if word not in given]
        for extension in self.extensions:
            extension.extra_compile_args += compile_args
            extension.extra_link_args += link_args
        # pyenv's Python has its own folder here, which is searched for libc at each start.
        self.compiler.linker_so = [
            arg for arg in self.compiler.linker_so if not arg.startswith("-Wl,-rpath")
        ]


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
    cmdclass={"build_ext": BuildExtensions},
    cffi_modules=["ketama/_build.py:ffibuilder"],
    ext_modules=[speedups] if has_gil else [],
    options={"bdist_wheel": {"py_limited_api": "cp310"}} if has_gil else {},
)

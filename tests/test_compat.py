"""Programs compiled against the libketama.so.1 of 2007, and the installed library."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import textwrap
from hashlib import md5
from pathlib import Path

import pytest
from library import make
from needs import need
from test_golden import VECTORS, WITH_POINTS, rows

import ketama

ROOT = Path(__file__).resolve().parents[1]
OLD = ROOT / "tests" / "programs" / "old.c"

# One process of the tests builds and installs the library, and uses it.
pytestmark = pytest.mark.xdist_group("compat")


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install the C library from a copy of libketama/ alone; return the DESTDIR."""
    folder = tmp_path_factory.mktemp("installed")
    # As it is delivered, without what was built here.
    source = ROOT / "libketama"
    shutil.copytree(source, folder / "libketama", ignore=shutil.ignore_patterns("build"))
    make(folder / "libketama", "install", f"DESTDIR={folder}/root", "PREFIX=/opt/k")
    return folder


@pytest.fixture(scope="module")
def old(installed: Path) -> list[str]:
    """Compile the old program, which finds the library by its SONAME."""
    lib = installed / "root/opt/k/lib"
    program = str(installed / "old")
    warnings = ["-Wall", "-Wextra", "-Werror"]
    command = [need("cc"), *warnings, "-o", program, str(OLD), f"-L{lib}", "-lketama"]
    subprocess.run(command, check=True)
    return [need("env"), f"LD_LIBRARY_PATH={lib}", program]


def output(*command: str | Path) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def test_a_million_keys_in_the_old_program(old: list[str]) -> None:
    """The program prints the same as with the 2007 libketama."""
    printed = output(*old, VECTORS / "classic8" / "ketama.servers")
    assert md5(printed.encode()).hexdigest() == "5672b131391f5aa2b280936aec1eea74"


@pytest.mark.parametrize("name", WITH_POINTS)
def test_reading_the_array_of_points(old: list[str], name: str) -> None:
    """The program finds points and modification time where the 2007 libketama has them."""
    path = VECTORS / name / "ketama.servers"
    first, *points = output(*old, path, "walk").splitlines()
    expected = list(rows(name, "points.tsv"))
    assert first == f"{len(expected)} {int(path.stat().st_mtime)}"
    assert expected == [line.split("\t") for line in points]


def test_a_million_rolls(old: list[str]) -> None:
    """A process that rolls and smokes a million times does not grow."""
    path = VECTORS / "classic8" / "ketama.servers"
    before, after, _ = map(int, output(*old, path, "loop", "1000000").split())
    assert before - 16 <= after <= before + 16


def test_a_program_with_functions_of_our_names(installed: Path, tmp_path: Path) -> None:
    """A program may define a function with one of the library's newer names."""
    lib, program = installed / "root/opt/k/lib", tmp_path / "program"
    own = tmp_path / "own.c"
    names = ["open", "refresh", "hash", "md5", "find", "points", "server_at", "close", "retain"]
    own.write_text("".join(f"int ketama_{name}(void) {{ return 7; }}\n" for name in names))
    command = [need("cc"), "-rdynamic", "-o", program, OLD, own, f"-L{lib}", "-lketama"]
    subprocess.run(list(map(str, command)), check=True)
    path = VECTORS / "two" / "ketama.servers"
    walked = output(need("env"), f"LD_LIBRARY_PATH={lib}", program, path, "walk")
    assert [line.split("\t") for line in walked.splitlines()[1:]] == list(
        rows("two", "points.tsv")
    )


ALONE = """
#include <stdio.h>
#include <ketama_compat.h>
static const char *ketama_open(void) { return "mine"; }
int main(int argc, char **argv)
{
    ketama_continuum c;
    if (argc != 2 || !ketama_roll(&c, argv[1]))
        return 1;
    printf("%s %d%s\\n", ketama_open(), c->numpoints, ketama_error());
    ketama_smoke(c);
    return 0;
}
"""


def test_the_old_interface_alone(installed: Path, tmp_path: Path) -> None:
    """ketama_compat.h declares only the old names; the program may define the new ones."""
    prefix, program = installed / "root/opt/k", tmp_path / "alone"
    source = tmp_path / "alone.c"
    source.write_text(ALONE)
    for standard in ("-std=c99", "-std=c11"):
        command = [need("cc"), standard, "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-o"]
        libraries = [f"-I{prefix}/include", f"-L{prefix}/lib", "-lketama"]
        subprocess.run([*command, program, source, *libraries], check=True)
        path = VECTORS / "two" / "ketama.servers"
        ran = output(need("env"), f"LD_LIBRARY_PATH={prefix}/lib", program, path)
        assert ran == "mine 320\n"


def test_loading_again_and_again(installed: Path) -> None:
    """A program that loads, uses and unloads the library does not grow."""
    program = (
        "import ctypes, _ctypes, sys\n"
        "def turn():\n"
        "    lib, c = ctypes.CDLL(sys.argv[1]), ctypes.c_void_p()\n"
        "    assert lib.ketama_roll(ctypes.byref(c), sys.argv[2].encode()) == 1\n"
        "    lib.ketama_smoke(c)\n"
        "    _ctypes.dlclose(lib._handle)\n"
        "def maps(): return len(open('/proc/self/maps').readlines())\n"
        "turn(); before = maps()\n"
        "for _ in range(100): turn()\n"
        "print(maps() - before)\n"
    )
    library = installed / "root/opt/k/lib/libketama.so.1"
    path = VECTORS / "two" / "ketama.servers"
    assert int(output(sys.executable, "-c", program, library, path)) < 5


def test_an_invalid_file(old: list[str], tmp_path: Path) -> None:
    """The message contains file and line."""
    path = tmp_path / "servers"
    path.write_text("a:1 1\nb:1\n")
    ran = subprocess.run([*old, path], capture_output=True, text=True)
    assert (ran.returncode, ran.stdout) == (1, "")
    assert ran.stderr == f"{path}:2: no weight after address \"b:1\": write 'address weight'\n"


def test_what_is_installed(installed: Path) -> None:
    """Library, links, headers, pkg-config file and manual page are installed."""
    root = installed / "root/opt/k"
    files = {str(path.relative_to(root)) for path in root.rglob("*") if not path.is_dir()}
    (real,) = (name for name in files if name.startswith("lib/libketama.so.1."))
    assert files == {
        "include/ketama.h",
        "include/ketama_admin.h",
        "include/ketama_compat.h",
        "include/ketama_health.h",
        "lib/libketama.a",
        "lib/libketama.so",
        "lib/libketama.so.1",
        "lib/pkgconfig/libketama.pc",
        "share/man/man3/ketama.3",
        "share/man/man5/ketama.servers.5",
        real,
    }
    for name in ("libketama.so", "libketama.so.1"):
        assert (root / "lib" / name).resolve() == root / real
        assert not (root / "lib" / name).readlink().is_absolute()
    assert (root / "lib/pkgconfig/libketama.pc").read_text() == (
        "prefix=/opt/k\nlibdir=/opt/k/lib\nincludedir=/opt/k/include\n\n"
        "Name: libketama\nDescription: Consistent hashing for cache fleets\n"
        f"Version: {ketama.__version__}\n"
        "Libs: -L${libdir} -lketama\nCflags: -I${includedir}\n"
    )
    for name in files:
        shared = (root / name).resolve() == root / real
        assert (root / name).stat().st_mode & 0o777 == (0o755 if shared else 0o644)
    manual = subprocess.run(
        [need("man"), "--warnings", "-l", root / "share/man/man3/ketama.3"],
        capture_output=True,
        text=True,
        env={**os.environ, "MANWIDTH": "80"},
    )
    assert manual.stderr == ""
    assert "ketama_open(ketama_continuum" in manual.stdout


def test_the_program_of_the_manual(installed: Path, tmp_path: Path) -> None:
    """The program of docs/c.md compiles and prints the server of its key."""
    page = (Path(__file__).parents[1] / "docs" / "c.md").read_text()
    block = re.search(r"^    #include.+?^    }$", page, re.MULTILINE | re.DOTALL)
    assert block
    servers = VECTORS / "two" / "ketama.servers"
    program, source = tmp_path / "program", tmp_path / "program.c"
    source.write_text(textwrap.dedent(block[0]).replace("/etc/ketama.servers", str(servers)))
    root = installed / "root/opt/k"
    options = ["-Wall", "-Werror", "-pthread", f"-I{root}/include"]
    command = [need("cc"), *options, "-o", str(program), str(source), f"{root}/lib/libketama.a"]
    subprocess.run(command, check=True)
    assert output(program) == ketama.Continuum(servers)["user:42"] + "\n"


def test_pkg_config_and_uninstall(installed: Path, tmp_path: Path) -> None:
    """A program compiles with the flags of pkg-config; uninstall removes everything."""
    make(installed / "libketama", "install", f"PREFIX={tmp_path}/here")
    environment = {**os.environ, "PKG_CONFIG_PATH": str(tmp_path / "here/lib/pkgconfig")}
    flags = subprocess.run(
        [need("pkg-config"), "--cflags", "--libs", "libketama"],
        check=True,
        capture_output=True,
        text=True,
        env=environment,
    ).stdout.split()
    program = tmp_path / "program.c"
    program.write_text(
        "#include <ketama.h>\n#include <stdio.h>\n"
        'int main(void) { ketama_continuum c; mcs *m; char file[] = "nowhere";\n'
        "return !ketama_roll(&c, file) && puts(ketama_version()) < 0; (void)m; }\n"
    )
    for compiler, standard in (("cc", "c99"), ("cc", "c11"), ("c++", "c++11")):
        language = "c++" if compiler == "c++" else "c"
        subprocess.run(
            [
                need(compiler),
                f"-x{language}",
                f"-std={standard}",
                "-Wall",
                "-Wextra",
                "-Werror",
                "-Wno-unused",
                "-o",
                tmp_path / "program",
                program,
                *flags,
            ],
            check=True,
        )
        ran = subprocess.run(
            [tmp_path / "program"],
            env={"LD_LIBRARY_PATH": str(tmp_path / "here/lib")},
            check=True,
            capture_output=True,
            text=True,
        )
        assert ran.stdout.count(".") == 2
    make(installed / "libketama", "uninstall", f"PREFIX={tmp_path}/here")
    assert not [path for path in (tmp_path / "here").rglob("*") if not path.is_dir()]

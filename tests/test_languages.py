"""The programs in examples/ for C, PHP, Lua and Java agree with Python for every key."""

from __future__ import annotations

import hashlib
import os
import random
import subprocess
from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise
from pathlib import Path

import images
import pytest
from library import build_in_place
from needs import lacking, need
from test_golden import FOLDERS, VECTORS, rows
from test_wrong_input import GOOD_FILES, WRONG_FILES

import ketama

ROOT = Path(__file__).resolve().parents[1]
EXAMPLES, LIBRARY = ROOT / "examples", ROOT / "libketama"
MOST = 2**63 - 1

# One process of the tests compiles the programs, and uses them.
pytestmark = pytest.mark.xdist_group("languages")

Folder = Callable[[str], Path]


@pytest.fixture(scope="session")
def shared_library() -> Path:
    """Build libketama.so.1 as a user would."""
    return build_in_place() / "libketama.so.1"


def in_c(library: Path, folder: Path) -> list[str]:
    link = [f"-L{library.parent}", "-lketama", f"-Wl,-rpath,{library.parent}"]
    warnings = ["-std=c11", "-Wall", "-Wextra", "-Wconversion", "-Werror"]
    source, program = EXAMPLES / "lookup.c", folder / "lookup"
    command = [need("cc"), *warnings, f"-I{LIBRARY}", "-o", str(program), str(source), *link]
    subprocess.run(command, check=True)
    return [str(program)]


def in_php(library: Path, folder: Path) -> list[str]:
    php = need("php")
    if "FFI" not in subprocess.run([php, "-m"], capture_output=True, text=True).stdout:
        lacking("php has no FFI")
    return [php, str(EXAMPLES / "lookup.php")]


def in_lua(library: Path, folder: Path) -> list[str]:
    return [need("luajit"), str(EXAMPLES / "lookup.lua")]


def in_java(library: Path, folder: Path) -> list[str]:
    java = need("java")
    source = EXAMPLES / "Lookup.java"
    lint = ["-Xlint:all", "-Werror", "--release", "11"]
    subprocess.run([need("javac"), *lint, "-d", folder, source], check=True)
    return [java, "-XX:TieredStopAtLevel=1", "-cp", str(folder), "Lookup"]


LANGUAGES = {"C": in_c, "PHP": in_php, "Lua": in_lua, "Java": in_java}
SHARING = ["C", "PHP", "Lua"]
BUCKETS = 4096


@pytest.fixture(scope="session")
def programs(
    shared_library: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], list[str]]:
    """Return the command of each language's program, compiled if needed, once."""
    made: dict[str, list[str]] = {}

    def command(language: str) -> list[str]:
        if language not in made:
            folder = tmp_path_factory.mktemp(language)
            made[language] = LANGUAGES[language](shared_library, folder)
        return made[language]

    return command


@pytest.fixture(params=LANGUAGES)
def program(request: pytest.FixtureRequest, programs: Callable[[str], list[str]]) -> list[str]:
    return programs(request.param)


@pytest.fixture(params=SHARING)
def sharing(request: pytest.FixtureRequest, programs: Callable[[str], list[str]]) -> list[str]:
    return programs(request.param)


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, shared_library: Path) -> None:
    """Let the programs load the library built here, in the C locale."""
    monkeypatch.setenv("KETAMA_LIBRARY", str(shared_library))
    monkeypatch.setenv("LC_ALL", "C")


def run(program: list[str], servers: Path, keys: str) -> subprocess.CompletedProcess[bytes]:
    command = [*program, str(servers)]
    return subprocess.run(command, input=keys.encode(), capture_output=True, check=False)


def answers(program: list[str], servers: Path, keys: Iterable[str]) -> list[str]:
    done = run(program, servers, "".join(f"{key}\n" for key in keys))
    assert (done.returncode, done.stderr) == (0, b"")
    return done.stdout.decode().split("\n")[:-1]


def answer(key: str, found: tuple[int, str]) -> str:
    return f"{key}\t{found[0]}\t{found[1]}"


def of_python(servers: Path, keys: Iterable[str]) -> list[str]:
    continuum = ketama.Continuum(servers)
    return [answer(key, continuum.get_server(key)) for key in keys]


@pytest.mark.parametrize("name", FOLDERS)
def test_golden(name: str, program: list[str]) -> None:
    """Each key, the empty one included, has the 2007 libketama's point and server."""
    lookups = list(rows(name, "lookups.tsv"))
    assert lookups[0][0] == ""
    expected = [answer(key, (int(point), server)) for key, _, point, server in lookups]
    found = answers(program, VECTORS / name / "ketama.servers", [row[0] for row in lookups])
    assert expected == found


def test_java_from_its_source() -> None:
    """The Java program runs from its source, without separate compilation."""
    servers = EXAMPLES / "ketama.servers"
    found = answers([need("java"), str(EXAMPLES / "Lookup.java")], servers, ["", "user:42"])
    assert of_python(servers, ["", "user:42"]) == found


def test_many_servers(program: list[str], tmp_path: Path) -> None:
    """The programs agree on keys that hash exactly to a point, and on keys with blanks."""
    chance = random.Random(2007)
    path = tmp_path / "ketama.servers"
    weights = [int(2 ** chance.uniform(0, 40)) for _ in range(700)]
    path.write_text("".join(f"höst-{i}:1 {w + 2**36}\n" for i, w in enumerate(weights)))
    continuum = ketama.Continuum(path)
    points = {point for point, _ in continuum.get_points()}
    numbers = [str(number) for number in range(300_000)]
    on = [key for key in numbers if ketama.hashi(key) in points]
    assert len(on) > 5
    keys = [*on, *numbers[:1000], "a\rb", "a\r", "a\tb", " ", "ключ", "🦊"]
    assert of_python(path, keys) == answers(program, path, keys)


def test_a_tie(program: list[str]) -> None:
    """If two servers share a point, its keys belong to the one listed first."""
    servers = VECTORS / "tie100" / "ketama.servers"
    continuum = ketama.Continuum(servers)
    points = [point for point, _ in continuum.get_points()]
    tied = {point for point, following in pairwise(points) if point == following}
    keys = [key for key in map(str, range(300_000)) if continuum.get_server(key)[0] in tied]
    assert keys
    assert of_python(servers, keys) == answers(program, servers, keys)


# The total of the third must be rounded to float directly: with a double in between, both
# servers would get 160 points instead of 156.
@pytest.mark.parametrize(
    "weights",
    [
        [MOST, MOST, 1],
        [MOST, 2**62, 2**62 - 1],
        [496200131507388416, 496200131507388417],
    ],
)
def test_large_weights(weights: list[int], program: list[str], tmp_path: Path) -> None:
    """The programs agree on weights whose sum exceeds 63 bits or is hard to round."""
    path = tmp_path / "ketama.servers"
    path.write_text("".join(f"{i} {weight}\n" for i, weight in enumerate(weights)))
    keys = [str(number) for number in range(2000)]
    assert of_python(path, keys) == answers(program, path, keys)


@pytest.mark.parametrize("name", GOOD_FILES)
def test_valid_files(name: str, program: list[str], tmp_path: Path) -> None:
    """The programs read blanks, comments and line ends as Python does."""
    path = tmp_path / "ketama.servers"
    path.write_bytes(GOOD_FILES[name][0])
    keys = [str(number) for number in range(50)]
    assert of_python(path, keys) == answers(program, path, keys)


NAMED = (
    "10.0.1.1:11211   600\n"
    "10.0.1.2:11211   300   cache-b   # rack 2\n"
    "10.0.1.3:11211\t200\t10.9.9.9:11211\n"
    "10.0.1.4:11211   350   h\u00f6st\n"
)


@pytest.mark.parametrize(
    "stated",
    [
        "",
        "# ketama profile=dalli\n",
        "#ketama profile=libketama\n",
        '#ketama \tprofile="libketama" hash=md5 \n',
        "\ufeff#ketama hash=md5\r\n",
    ],
)
def test_names(stated: str, program: list[str], tmp_path: Path) -> None:
    """The programs hash names as Python does, and may be told their own dialect."""
    path = tmp_path / "ketama.servers"
    path.write_text(stated + NAMED, newline="")
    keys = [str(number) for number in range(500)]
    found = answers(program, path, keys)
    assert of_python(path, keys) == found
    path.write_text(NAMED.replace("cache-b", "cache-c"))
    assert answers(program, path, keys) != found


STATED = [
    "profile=libmemcached",
    "profile=libmemcached hash=crc",
    "profile=twemproxy hash_tag={}",
    "profile=dalli",
    "profile=memcached-proxy-evcache seed=shop points=320",
]


@pytest.mark.parametrize("stated", STATED)
@pytest.mark.parametrize("named", [False, True])
def test_stated_dialects(
    stated: str, named: bool, sharing: list[str], own_folder: Path, tmp_path: Path
) -> None:
    """Programs that use the library speak the dialect that the file states."""
    path = tmp_path / "ketama.servers"
    rows = [line.split()[:2] for line in NAMED.splitlines()]
    unnamed = "".join(f"{address} {weight}\n" for address, weight in rows)
    path.write_text(f"#ketama {stated}\n{NAMED if named else unnamed}")
    keys = [*map(str, range(500)), "{a}x", "{a}y"]
    found = answers(sharing, path, keys)
    assert of_python(path, keys) == found
    path.write_text(NAMED)
    assert answers(sharing, path, keys) != found


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        *((f"#ketama {stated}\n{NAMED}", 1, stated.split()[0]) for stated in STATED),
        (f"#ketama profile=libketama profile=libketama\n{NAMED}", 1, "profile=libketama"),
        (f"#ketama hash=crc\n{NAMED}", 1, "hash=crc"),
        (f"\ufeff#ketama profile=dalli\n{NAMED}", 1, "profile=dalli"),
        (f"#ketama profile\n{NAMED}", 1, "profile"),
        (f"{NAMED}#ketama profile=libketama\n", 5, "first line"),
    ],
)
def test_dialects_that_java_has_not(
    text: str, line: int, message: str, programs: Callable[[str], list[str]], tmp_path: Path
) -> None:
    """The Java program refuses a file that states a dialect other than its own."""
    path = tmp_path / "ketama.servers"
    path.write_text(text)
    done = run(programs("Java"), path, "key\n")
    said = done.stderr.decode()
    assert (done.returncode, done.stdout, said.count("\n")) == (1, b"", 1)
    assert said.startswith(f"{path}:{line}: ")
    assert message in said


def test_a_dialect_that_is_unknown(sharing: list[str], tmp_path: Path) -> None:
    """A stated dialect that does not exist is an error with file and line."""
    path = tmp_path / "ketama.servers"
    path.write_text(f"#ketama profile=nobody\n{NAMED}")
    done = run(sharing, path, "key\n")
    assert done.returncode == 1
    assert done.stderr.decode().startswith(
        f'{path}:1: invalid profile "nobody": must be one of'
    )


TOO_MUCH = (f"a:1 {MOST}\nb:1 {MOST}\nc:1 2\n".encode(), 3, "")


@pytest.mark.parametrize("name", [*WRONG_FILES, "too much weight"])
def test_invalid_files(name: str, program: list[str], tmp_path: Path) -> None:
    """An invalid file: exit status 1, and a one-line message with file and line."""
    text, line, _ = WRONG_FILES.get(name, TOO_MUCH)
    path = tmp_path / "ketama.servers"
    path.write_bytes(text)
    done = run(program, path, "key\n")
    said = done.stderr.decode()
    assert (done.returncode, done.stdout) == (1, b"")
    assert said.startswith(f"{path}:{line}: " if line else f"{path}: ")
    assert (said.count("\n"), said[-1]) == (1, "\n")


def test_a_missing_file(program: list[str], tmp_path: Path) -> None:
    """A missing file: exit status 1, and a one-line message with the file."""
    done = run(program, tmp_path / "missing", "key\n")
    assert (done.returncode, done.stdout) == (1, b"")
    assert str(tmp_path / "missing") in done.stderr.decode()
    assert done.stderr.count(b"\n") == 1


@pytest.fixture
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a directory for the images of one test."""
    base = tmp_path / "images"
    base.mkdir()
    monkeypatch.setenv("KETAMA_SHM_DIR", str(base))
    return base


class Talk:
    """A running program that reads keys one by one and answers each."""

    def __init__(self, program: list[str], servers: Path) -> None:
        pipe = subprocess.PIPE
        self.process = subprocess.Popen([*program, str(servers)], stdin=pipe, stdout=pipe)

    def ask(self, key: str) -> str:
        """Return the answer to a key."""
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(f"{key}\n".encode())
        self.process.stdin.flush()
        return self.process.stdout.readline().decode().removesuffix("\n")

    def mapped(self) -> set[int]:
        """Return the inodes of the images that the program has mapped."""
        lines = Path(f"/proc/{self.process.pid}/maps").read_text().splitlines()
        return {int(line.split()[4]) for line in lines if "/libketama-" in line}

    def end(self) -> int:
        """Close the program's input, and return its exit status."""
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.close()
        self.process.stdout.close()
        return self.process.wait()


@pytest.fixture
def talk(sharing: list[str], two: Path, own_folder: Path) -> Iterator[Talk]:
    """Start a program that shares images, after Python has published."""
    continuum = ketama.Continuum(two)
    assert continuum.shared
    talking = Talk(sharing, two)
    yield talking
    assert talking.end() == 0


def test_attaches(talk: Talk, two: Path, own_folder: Path) -> None:
    """The program maps the image that Python has published, and does not remove it."""
    image = images.image(two, own_folder)
    inode = image.stat().st_ino
    assert answer("test", (3454255383, "127.0.0.1:11211")) == talk.ask("test")
    assert talk.mapped() == {inode}
    assert images.generation(two) == 1
    assert {image.name, f"{image.name}.lock"} == set(os.listdir(image.parent))
    assert inode == image.stat().st_ino


def test_python_attaches(sharing: list[str], two: Path, own_folder: Path) -> None:
    """If the program publishes first, Python attaches to its image."""
    answers(sharing, two, ["key"])
    inode = images.image(two, own_folder).stat().st_ino
    assert ketama.Continuum(two).shared
    assert inode == images.image(two, own_folder).stat().st_ino
    assert images.generation(two) == 1


def test_follows(talk: Talk, two: Path, own_folder: Path) -> None:
    """The program follows the file, with one image; an invalid file changes nothing."""
    assert of_python(two, ["test"]) == [talk.ask("test")]
    renamed = two.with_suffix(".new")
    for number in range(5):
        renamed.write_text(f"server-{number} 1\nserver-x 1\n")
        renamed.rename(two)
        found = [talk.ask(key) for key in ("test", "other", "third")]
        assert of_python(two, ["test", "other", "third"]) == found
        assert talk.mapped() == {images.image(two, own_folder).stat().st_ino}
        renamed.write_text("wrong\n")
        renamed.rename(two)
        assert found[0] == talk.ask("test")


def random_map(path: Path) -> list[str]:
    """Write a bucket map; return the owner of each bucket."""
    servers, chance = [f"10.0.0.{i}:11211" for i in range(9)], random.Random(5)
    owners = [chance.choice(servers) for _ in range(BUCKETS)]
    path.write_text(
        f"#ketama profile=buckets buckets={BUCKETS}\n"
        + "".join(
            f"{server} 1 {','.join(str(k) for k in range(BUCKETS) if owners[k] == server)}\n"
            for server in servers
        )
    )
    return owners


def of_map(owners: list[str], key: str) -> str:
    """Return the answer for a key: the owner of its bucket, and that one's last hash."""
    bucket = int.from_bytes(hashlib.md5(key.encode()).digest()[:4], "little") >> 20
    return f"{key}\t{((bucket + 1) << 20) - 1}\t{owners[bucket]}"


def test_a_bucket_map(sharing: list[str], tmp_path: Path) -> None:
    """Each key's server is the owner of its bucket, whoever looks it up in the one image."""
    path = tmp_path / "map.servers"
    owners = random_map(path)
    keys = [f"user:{i}" for i in range(20_000)]
    expected = [of_map(owners, key) for key in keys]
    assert of_python(path, keys) == expected
    assert answers(sharing, path, keys) == expected


@pytest.mark.stress
def test_three_million_keys_of_a_bucket_map(
    programs: Callable[[str], list[str]], tmp_path: Path
) -> None:
    path = tmp_path / "map.servers"
    owners = random_map(path)
    for start in range(0, 3_000_000, 250_000):
        keys = [f"user:{i}" for i in range(start, start + 250_000)]
        expected = [of_map(owners, key) for key in keys]
        for language in ("C", "PHP"):
            assert answers(programs(language), path, keys) == expected

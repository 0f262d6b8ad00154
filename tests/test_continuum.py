"""The interface of the package, and of Continuum except lookups."""

from __future__ import annotations

import copy
import dataclasses
import importlib
import inspect
import os
import pickle
import subprocess
import sys
import typing
from collections.abc import Iterator
from pathlib import Path

import pytest
from needs import need

import ketama
import ketama.addresses
import ketama.compat
import ketama.fleet
from ketama.lookups import Lookups


def test_servers(two: Path) -> None:
    """Servers are in file order, each with its address, weight, points and exact share."""
    first, second = ketama.Continuum(two).servers
    assert first == ("127.0.0.1:11211", 600, 192, first.share, None)
    assert second == ("127.0.0.1:11212", 400, 128, second.share, None)
    assert first._fields == ("address", "weight", "points", "share", "name")
    assert first.share + second.share == 1.0
    assert 0.5 < first.share < 0.7


def test_a_server_without_points() -> None:
    """A server whose weight is too small has no points and no share."""
    tiny, _, _ = ketama.Continuum({"a:1": 1, "b:1": 100000, "c:1": 50000}).servers
    assert (tiny.points, tiny.share) == (0, 0.0)


def test_sources(two: Path) -> None:
    """Paths, pairs, mappings, generators and Server tuples make the same continuum."""
    pairs = [("127.0.0.1:11211", 600), ("127.0.0.1:11212", 400)]
    expected = ketama.Continuum(two).get_points()
    for source in (
        str(two),
        os.fsencode(two),
        pairs,
        tuple(pairs),
        dict(pairs),
        (pair for pair in pairs),
        [list(pair) for pair in pairs],
        ketama.Continuum(two).servers,
    ):
        assert expected == ketama.Continuum(source).get_points()  # type: ignore[arg-type]


def test_weights_with_index_method() -> None:
    """Any object with __index__ is a valid weight, such as NumPy's integers."""

    class Index:
        def __index__(self) -> int:
            return 7

    assert ketama.Continuum({"a": Index()}).servers[0].weight == 7


def test_subclasses_of_str_and_bytes() -> None:
    """A key of a subclass of str or bytes is hashed by its contents."""

    class Text(str):
        def encode(self, *_: object) -> bytes:
            return b"something else"

    class Liar(bytes):
        def __len__(self) -> int:
            return 1 << 33

    class Bytes(bytes):
        def __bytes__(self) -> bytes:
            return Liar(b"something else")

    continuum = ketama.Continuum([f"s{i}" for i in range(50)])
    assert continuum.lookup("key") == continuum.lookup(Text("key"))
    assert continuum.lookup("key") == continuum.lookup(Bytes(b"key"))
    assert continuum.lookup("key") == continuum.lookup(Liar(b"key"))
    assert ketama.Continuum([Text("a:1")]).lookup("key") == "a:1"
    assert continuum.lookup(b"ky") == continuum.lookup(memoryview(b"k-y-")[::2])


def test_it_is_not_a_sequence(two: Path) -> None:
    """It supports [key], but neither iteration nor `in`."""
    continuum = ketama.Continuum(two)
    with pytest.raises(TypeError, match="not iterable"):
        iter(continuum)  # type: ignore[call-overload]
    with pytest.raises(TypeError):
        assert "key" in continuum  # type: ignore[misc]


def test_repr(two: Path) -> None:
    """The repr shows the file, or the number of servers."""
    assert repr(ketama.Continuum(two)) == f"<ketama.Continuum from '{two}'>"
    assert repr(ketama.Continuum(os.fsencode(two))) == f"<ketama.Continuum from '{two}'>"
    assert repr(ketama.Ketama(str(two))) == f"<ketama.Ketama from '{two}'>"
    assert repr(ketama.Continuum(["a", "b"])) == "<ketama.Continuum of 2 servers>"


def test_pickle(two: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pickle holds the path, and reloads the file, or the servers of a list."""
    monkeypatch.chdir(two.parent)
    by_path = pickle.dumps(ketama.Continuum(two.name))
    by_servers = pickle.dumps(ketama.Continuum({"a:1": 5, "b:1": 6}))
    monkeypatch.chdir("/")
    two.write_text("c:1 1\n")
    assert pickle.loads(by_path).lookup("key") == "c:1"
    assert isinstance(pickle.loads(pickle.dumps(ketama.Ketama(str(two)))), ketama.Ketama)
    servers = pickle.loads(by_servers).servers
    assert [("a:1", 5), ("b:1", 6)] == [(s.address, s.weight) for s in servers]


@pytest.mark.parametrize("copier", [copy.copy, copy.deepcopy])
def test_copy(copier: object, two: Path) -> None:
    """A copy has the same version, works without the file, and is rolled separately."""
    continuum = ketama.Continuum(two)
    two.unlink()
    twin = copier(continuum)  # type: ignore[operator]
    assert twin.get_points() == continuum.get_points()
    assert twin.filename == continuum.filename
    two.write_text("c:1 1\n")
    assert twin.roll()
    assert (twin.lookup("key"), twin.generation) == ("c:1", 2)
    assert continuum.lookup("test") == "127.0.0.1:11211"
    assert continuum.generation == 1


def test_a_subclass_is_copied_whole(two: Path) -> None:
    """A copy includes the attributes that a subclass has added."""

    class Pool(ketama.Continuum):
        def __init__(self, source: str) -> None:
            super().__init__(source)
            self.clients = ["one"]

    pool = Pool(str(two))
    assert copy.copy(pool).clients is pool.clients
    assert pickle.loads(pickle.dumps(ketama.Ketama(str(two)))).filename == str(two)


def test_an_init_that_fails_changes_nothing(two: Path) -> None:
    """A second __init__ that fails leaves the Continuum unchanged."""
    continuum = ketama.Continuum(two)
    with pytest.raises(ketama.KetamaOSError):
        continuum.__init__("/nowhere")  # type: ignore[misc]
    assert continuum.filename == str(two)
    assert not continuum.roll()


def test_sixty_five_thousand_servers() -> None:
    """65,535 servers work like a few."""
    continuum = ketama.Continuum(f"10.{i >> 8}.{i & 255}.1:11211" for i in range(65_535))
    assert len(continuum.servers) == 65_535
    assert sum(server.share for server in continuum.servers) == 1.0
    assert len({continuum.lookup(str(i)) for i in range(1000)}) > 900


def test_only_the_module_init_is_exported() -> None:
    """The extension module does not export libketama's functions."""
    path = sys.modules["ketama._ketama"].__file__
    assert path is not None
    output = subprocess.run(
        [need("nm"), "-D", "--defined-only", path], check=True, capture_output=True, text=True
    ).stdout
    names = {line.split()[-1] for line in output.splitlines()}
    assert names <= {"PyInit__ketama", "_init", "_fini", "_cffi_pypyinit__ketama"}


def test_the_public_names() -> None:
    """The package exports exactly these names, sorted, with these signatures."""
    assert ketama.__all__ == sorted(ketama.__all__)
    signatures = {
        name: str(inspect.signature(getattr(ketama, name)))
        for name in ketama.__all__
        if inspect.isfunction(getattr(ketama, name))
    }
    assert signatures == {
        "agree": "(path: 'Path', *profiles: 'str', keys: 'Iterable[Key] | None' = None, "
        "random_keys: 'int' = 100000) -> 'Agreements'",
        "check": "(path: 'Path', *, compat: 'bool' = False, "
        "profile: 'str | None' = None, **options: 'str | int | None') -> 'list[Finding]'",
        "edit": "(path: 'AnyPath', *, dry_run: 'bool' = False, timeout: 'float' = 30.0, "
        "max_moved: 'float' = 1.0, create: 'bool' = False, "
        "profile: 'str | None' = None, **options: 'str | int | None')"
        " -> 'AbstractContextManager[Edit]'",
        "get_server": "(key: 'Key', continuum: 'Continuum') -> 'tuple[int, str]'",
        "hashi": "(key: 'Key') -> 'int'",
        "md5_digest": "(key: 'Key') -> 'bytes'",
        "profiles": "() -> 'tuple[Profile, ...]'",
        "roll": "(path: 'Path') -> 'Continuum'",
    }
    assert set(ketama.__all__) - set(signatures) == {
        "Agreement",
        "Agreements",
        "Cause",
        "Continuum",
        "Diff",
        "Edit",
        "Explanation",
        "Finding",
        "Ketama",
        "KetamaError",
        "KetamaOSError",
        "Key",
        "Packed",
        "Path",
        "Profile",
        "ProfileError",
        "ProfileOption",
        "RefusedProfile",
        "Remedy",
        "RemedyStep",
        "Server",
        "ServerDiff",
        "Servers",
        "ServersError",
    }
    methods = {
        name: str(inspect.signature(member))
        for kind in (ketama.Continuum, Lookups)
        for name, member in vars(kind).items()
        if inspect.isfunction(member) and not name.startswith("_")
    }
    many = "keys: 'Iterable[Key] | Packed'"
    exclude = "exclude: 'Container[str] | None' = None"
    assert methods == {
        "diff": "(self, other: 'Continuum') -> 'ketama.Diff'",
        "explain": "(self, key: 'Key') -> 'Explanation'",
        "get_points": "(self) -> 'list[tuple[int, str]]'",
        "get_server": "(self, key: 'Key') -> 'tuple[int, str]'",
        "group_by_server": f"(self, keys: 'Iterable[AnyKey]', {exclude}) -> "
        "'dict[str, list[AnyKey]] | dict[str | None, list[AnyKey]]'",
        "indexes": f"(self, {many}, out: 'Buffer | None' = None, {exclude}) -> 'Buffer'",
        "lookup": f"(self, key: 'Key', {exclude}) -> 'str | None'",
        "lookup_many": f"(self, {many}, {exclude}) -> 'list[str] | list[str | None]'",
        "roll": "(self) -> 'bool'",
        "successors": f"(self, key: 'Key', count: 'int | None' = None, {exclude}) "
        "-> 'list[str]'",
    }
    assert ketama.ServerDiff._fields == (
        "address_before", "address_after", "name", "weight_before", "weight_after",
        "share_before", "share_after", "lost", "gained", "unchanged",
    )  # fmt: skip
    assert [field.name for field in dataclasses.fields(ketama.Diff)] == [
        "moved", "collateral", "pairs", "added", "removed", "changed", "readdressed", "servers",
        "_collateral_pairs",
    ]  # fmt: skip
    properties = {n for n, m in vars(ketama.Continuum).items() if isinstance(m, property)}
    assert properties == {
        "addresses", "filename", "generation", "last_error", "servers", "shared",
    }  # fmt: skip
    assert str(inspect.signature(ketama.Continuum)) == (
        "(source: 'Path | Servers', *, shared: 'bool' = True, "
        "auto_roll: 'float | None' = None, fallback: 'bool' = False, "
        "on_change: 'OnChange | None' = None, on_error: 'OnError | None' = None, "
        "profile: 'str | None' = None, "
        "hash: 'str | None' = None, hash_tag: 'str | None' = None, "
        "points: 'int | None' = None, default_port: 'int | None' = None, "
        "format: 'str | None' = None, filter: 'str | None' = None, "
        "filter_conf: 'str | None' = None, seed: 'str | None' = None, "
        "delimiter: 'str | None' = None, buckets: 'int | None' = None) -> 'None'"
    )


ADMIN = (
    "agree",
    "causes",
    "check",
    "dialect",
    "diff",
    "edit",
    "images",
    "profiles",
    "remedies",
    "replace",
    "server_file",
)
PUBLIC_MODULES = (
    ketama,
    ketama.addresses,
    ketama.compat,
    ketama.fleet,
    *(importlib.import_module(f"ketama.admin.{name}") for name in ADMIN),
)


def public_functions() -> Iterator[tuple[str, object]]:
    """Yield the functions and methods of the public modules, lazy ones too, by name."""
    for module in PUBLIC_MODULES:
        names = getattr(module, "__all__", None) or vars(module)
        members = {name: getattr(module, name) for name in names if name[0] != "_"}
        for name, member in members.items():
            home = getattr(member, "__module__", "")
            if not f"{home}.".startswith(f"{module.__name__}."):
                continue
            if inspect.isfunction(member):
                yield f"{module.__name__}.{name}", member
            if inspect.isclass(member):
                for kind in member.__mro__[:-1]:
                    yield from public_methods(kind)


def public_methods(kind: type) -> Iterator[tuple[str, object]]:
    for name, member in vars(kind).items():
        function = member.fget if isinstance(member, property) else member
        # Not what a dataclass or a named tuple makes.
        if inspect.isfunction(function) and "/ketama/" in function.__code__.co_filename:
            yield f"{kind.__module__}.{kind.__name__}.{name}", function


def test_which_functions_are_public() -> None:
    """The test of annotations sees what is imported on first use."""
    names = set(dict(public_functions()))
    assert {
        "ketama.check", "ketama.edit", "ketama.admin.edit.Edit.add",
        "ketama.admin.edit.Edit.diff", "ketama.admin.diff.difference",
        "ketama.admin.check.check_added", "ketama.compat.Pyketama.__setitem__",
        "ketama.continuum.Continuum.diff", "ketama.errors.ServersError.__init__",
    } <= names  # fmt: skip


@pytest.mark.parametrize(("name", "function"), sorted(dict(public_functions()).items()))
def test_annotations_resolve(name: str, function: object) -> None:
    """typing.get_type_hints works for every function, although ketama imports no typing."""
    names = set(inspect.signature(function).parameters) - {"self", "memo"}  # type: ignore[arg-type]
    assert names <= set(typing.get_type_hints(function)), name


def test_annotations_of_tuples() -> None:
    """The named tuples are annotated at run time as for type checkers."""
    explained = ketama.Continuum(["a:1"]).explain("key")
    for kind in (ketama.Server, type(explained), ketama.Finding):
        assert tuple(typing.get_type_hints(kind)) == kind._fields
    assert set(typing.get_type_hints(ketama.Diff)) == set(ketama.Diff.__slots__)


def test_what_an_import_costs() -> None:
    """An import loads cheap modules, cffi's backend, and those of ketama's worker path."""
    program = (
        f"import sys; sys.path[:0] = {sys.path!r}\n"
        "import __future__, collections, collections.abc, errno, os\n"
        "before = set(sys.modules)\n"
        "import ketama\n"
        "print(*sorted(set(sys.modules) - before))\n"
    )
    loaded = subprocess.run(
        [sys.executable, "-S", "-c", program], check=True, capture_output=True, text=True
    ).stdout.split()
    assert "ketama._ketama" in loaded
    assert {"_cffi_backend"} == {name for name in loaded if name.split(".")[0] != "ketama"}
    lazy = (
        "ketama.admin", "ketama.cli", "ketama.clients", "ketama.events", "ketama.fleet",
        "ketama.health",
    )  # fmt: skip
    assert not [name for name in loaded if name.startswith(lazy)]


def test_version() -> None:
    """The version is that of the C library and of the distribution."""
    header = Path(__file__).parents[1] / "libketama" / "ketama.h"
    assert f'#define KETAMA_VERSION "{ketama.__version__}"' in header.read_text()


def test_memory_of_a_worker() -> None:
    """Python keeps only the servers' addresses: under 200 bytes per server."""
    servers = [f"10.20.{i // 256}.{i % 256}:11211" for i in range(5000)]
    _, addresses, _ = ketama.Continuum(servers)._now
    kept = sys.getsizeof(addresses) + sum(map(sys.getsizeof, addresses))
    assert kept < 200 * len(servers)

"""Names in edits: servers that are added with a name, or keep their keys at another address."""

from __future__ import annotations

from pathlib import Path

import pytest
from command import EXAMPLE, as_json, fits_schema, refusal, text

import ketama

Row = tuple[str, int] | tuple[str, int, str]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "pool.servers"
    path.write_text("# the pool\na:1   100\nb:1   100   bee   # rack 2\nc:1   100\n")
    return path


def edited(path: Path, act: str, *arguments: object, **options: str) -> str:
    """Edit a file, and return its text."""
    with ketama.edit(path, **options) as servers:  # type: ignore[arg-type]
        getattr(servers, act)(*arguments)
    return path.read_text()


def refused(path: Path, act: str, *arguments: object, **options: str) -> str:
    """Expect an edit to be refused and the file to be unchanged; return the message."""
    before = path.read_bytes()
    with pytest.raises(ketama.ServersError) as caught:
        edited(path, act, *arguments, **options)
    assert before == path.read_bytes()
    return str(caught.value).removeprefix(f"{path}:")


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", "new:1 7 n\n"),
        ("a:1 5\n", "a:1 5\nnew:1 7   n\n"),
        ("a:1\t5\n", "a:1\t5\nnew:1\t7\tn\n"),
        ("a:1 5 x\n", "a:1 5 x\nnew:1 7 n\n"),
        ("a:1    5   x # rack\nb:1    5\n", "a:1    5   x # rack\nb:1    5\nnew:1  7   n\n"),
        ("a:1 500 x\nbb:1 5  y\n", "a:1 500 x\nbb:1 5  y\nnew:1 7 n\n"),
        ("ä:1 500 x\nb:1 5   y\n", "ä:1 500 x\nb:1 5   y\nnew:1 7 n\n"),
        ("a:1\t5  x\nb:1\t5\ty\n", "a:1\t5  x\nb:1\t5\ty\nnew:1\t7\tn\n"),
    ],
)
def test_where_a_name_is_written(before: str, after: str, tmp_path: Path) -> None:
    """A new server's name is spaced like the others in the file."""
    path = tmp_path / "ketama.servers"
    path.write_text(before)
    with ketama.edit(path) as servers:
        servers.add("new:1", 7, "n")
        assert servers.servers[-1] == ("new:1", 7, "n")
        assert servers.after.servers[-1].name == "n"
    assert after == path.read_text()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("bee", "3: bee is the name of b:1: names must be unique"),
        ("a:1", "2: a:1 is the address of another server: names must be unique"),
    ],
)
def test_a_name_that_clashes(name: str, message: str, path: Path) -> None:
    """A name that stands for another server is refused, with the line of that one."""
    assert refused(path, "add", "d:1", 100, name) == f"{message}"
    assert refusal(1, "add", "--name", name, path, "d:1", "100") == f"ketama: {path}:{message}"


def test_a_name_that_clashes_in_the_dialect(path: Path) -> None:
    """A name is compared with what the profile hashes for the others."""
    path.write_text("#ketama profile=libmemcached\na:11211 5\nb:11211 5\n")
    said = refused(path, "add", "c:11211", 5, "a")
    assert said == ' duplicate name "a": names must be unique'
    assert edited(path, "add", "c:11211", 5, "c").endswith("\nc:11211 5   c\n")


@pytest.mark.parametrize("name", ["#x", "x y", "x\n", "", 256 * "x", "\udcff", "x\0"])
def test_an_invalid_name(name: str, path: Path) -> None:
    """What cannot be a name is refused before anything is written."""
    assert " name" in f" {refused(path, 'add', 'd:1', 100, name)}"


def test_the_wrong_type(path: Path) -> None:
    """A name is text."""
    with pytest.raises(TypeError, match="name must be str, not bytes"):
        edited(path, "add", "d:1", 100, b"dee")


def points(path: Path, **options: str) -> list[tuple[int, str]]:
    return ketama.Continuum(path, shared=False, **options).get_points()  # type: ignore[arg-type]


def test_renaming_in_the_text(path: Path) -> None:
    """Comments, names and spacing stay; the first name is what was hashed."""
    assert edited(path, "rename", "a:1", "10.0.0.1:1") == (
        "# the pool\n10.0.0.1:1 100 a:1\nb:1   100   bee   # rack 2\nc:1   100\n"
    )
    assert edited(path, "rename", "b:1", "bb:1") == (
        "# the pool\n10.0.0.1:1 100 a:1\nbb:1   100   bee   # rack 2\nc:1   100\n"
    )
    assert edited(path, "rename", "10.0.0.1:1", "a:1").startswith(
        "# the pool\na:1 100 a:1\nbb:1"
    )
    path.write_bytes("\ufeffa:1\t5 # x\r\nb:1\t5".encode())
    assert edited(path, "rename", "a:1", "ä:1") == "\ufeffä:1\t5\ta:1 # x\nb:1\t5"
    assert path.read_bytes().endswith(b"\ta:1 # x\r\nb:1\t5")
    assert edited(path, "rename", "b:1", "c:1").endswith("\nc:1\t5\tb:1")


def test_columns_of_characters(path: Path) -> None:
    """Columns are counted in characters, not bytes."""
    path.write_text("aaa:1   100   x\nbbb:1   100   y\n")
    assert edited(path, "rename", "aaa:1", "äöü:1").startswith("äöü:1   100   x\n")
    path.write_text("ääää:1  100   x\nbbb:1   100   y\n")
    assert edited(path, "add", "ccc:1", 7, "z").endswith("\nccc:1   7     z\n")


def test_renaming_moves_nothing(path: Path) -> None:
    """Each key stays with its server, which has another address."""
    keys = [f"user:{i}" for i in range(1000)]
    before = ketama.Continuum(path, shared=False)
    with ketama.edit(path) as servers:
        servers.rename("a:1", "z:1")
        servers.rename("b:1", "y:1")
        diff = servers.diff()
    assert diff is not None
    assert (diff.moved, diff.added, diff.removed, diff.changed) == (0, (), (), ())
    assert diff.readdressed == (("a:1", "z:1"), ("b:1", "y:1"))
    after = ketama.Continuum(path, shared=False)
    now = {"a:1": "z:1", "b:1": "y:1", "c:1": "c:1"}
    assert [now[server] for server in before.lookup_many(keys)] == after.lookup_many(keys)
    assert [(p, now[server]) for p, server in before.get_points()] == after.get_points()


PROFILES = {
    "libketama": "10.0.0.1:11211",
    "libmemcached": "10.0.0.1",
    "libmemcached-ketama": "10.0.0.1",
    "libmemcached-spy": "/10.0.0.1:11211",
    "twemproxy": "10.0.0.1",
    "spymemcached": "10.0.0.1:11211",
    "elasticache-java": "10.0.0.1:11211",
    "evcache": "10.0.0.1/10.0.0.1:11211",
    "xmemcached": "/10.0.0.1:11211",
    "nginx": None,
    "pingora": None,
    "memcached-proxy": "10.0.0.1:11211",
    "memcached-proxy-ketama": "10.0.0.1:11211",
    "memcached-proxy-twemproxy": "10.0.0.1",
    "memcached-proxy-evcache": "10.0.0.1/10.0.0.1:11211",
    "libmc": "10.0.0.1",
    "uhashring": "10.0.0.1:11211",
    "hash_ring": "10.0.0.1:11211",
    "node-hashring": "10.0.0.1:11211",
    "predis": "10.0.0.1:11211",
    "dalli": "10.0.0.1:11211",
    "enyim": "10.0.0.1:11211",
    "couchbase": "10.0.0.1:11211",
}


def test_every_profile_is_listed() -> None:
    """No profile is left out below."""
    rings = [profile.name for profile in ketama.profiles() if not profile.is_map]
    assert rings == list(PROFILES)


@pytest.mark.parametrize("profile", PROFILES)
def test_renaming_in_each_profile(profile: str, tmp_path: Path) -> None:
    """The name is what the profile hashes, and all points stay; or the edit is refused."""
    path, name = tmp_path / "ketama.servers", PROFILES[profile]
    path.write_text("".join(f"10.0.0.{i}:11211 {i}\n" for i in range(1, 6)))
    before = points(path, profile=profile)
    if name is None:
        said = refused(path, "rename", "10.0.0.1:11211", "10.9.9.9:11219", profile=profile)
        assert said == (
            "1: 10.0.0.1:11211 cannot keep its keys at another address: profile "
            f'"{profile}" hashes host and port of the address, and no name'
        )
        return
    now = edited(path, "rename", "10.0.0.1:11211", "10.9.9.9:11219", profile=profile)
    assert now.startswith(f"10.9.9.9:11219 1   {name}\n10.0.0.2:11211 2\n")
    moved = {"10.0.0.1:11211": "10.9.9.9:11219"}
    assert [(p, moved.get(server, server)) for p, server in before] == points(
        path, profile=profile
    )


def test_an_option_that_changes_the_text(path: Path) -> None:
    """The text that is hashed depends on the options of the profile as well."""
    path.write_text("#ketama profile=node-hashring default_port=11211\na:11211 1\nb:1 1\n")
    assert "\nc:1 1   a\n" in edited(path, "rename", "a:11211", "c:1")


def test_renames_that_are_refused(path: Path) -> None:
    """What cannot be meant is refused, with line and reason."""
    assert refused(path, "rename", "x:1", "y:1") == " server 'x:1' not found"
    assert refused(path, "rename", "a:1", "c:1") == "4: c:1 is already present (weight 100)"
    assert refused(path, "rename", "a:1", "b:1") == (
        "3: b:1 is already present (weight 100, name bee)"
    )
    assert "must not contain blanks" in refused(path, "rename", "a:1", "b 1")
    assert edited(path, "rename", "a:1", "a:1") == path.read_text()
    path.write_text("a:1 1\nb:1 1\na:1 1\n")
    assert refused(path, "rename", "a:1", "c:1") == "1: a:1 is also on line 3"
    # In this profile both have the same points, so that one name cannot stand for one.
    path.write_text("#ketama profile=libmemcached\na 1\na:11211 1\n")
    assert refused(path, "rename", "a:11211", "c:1").startswith("2: a is the address of")
    assert refused(path, "rename", "a", "c:1").endswith("names must be unique")
    long = 128 * "x"
    path.write_text(f"#ketama profile=evcache\n{long}:11211 1\n")
    assert refused(path, "rename", f"{long}:11211", "c:1").startswith('2: name "xxx')


def test_the_old_address_of_a_renamed_server(path: Path) -> None:
    """Its text stands for the server that was there, so a new one needs a name of its own."""
    edited(path, "rename", "a:1", "z:1")
    assert refused(path, "add", "a:1", 100) == (
        "2: a:1 is the name of z:1: give the new server a name of its own"
    )
    edited(path, "add", "a:1", 100, "another")
    assert ketama.Continuum(path, shared=False).servers[-1].name == "another"


def test_add_with_the_command(path: Path) -> None:
    """`ketama add --name` adds one server with a name."""
    shown = text("add", "--name", "dee", path, "d:1", "100")
    assert shown.startswith(f"{path}: add d:1 (weight 100, name dee)\nadded       d:1\n")
    assert path.read_text().endswith("c:1   100\nd:1   100   dee\n")
    before = path.read_bytes()
    for arguments in (["--name", "dee"], []):
        shown = text("add", *arguments, path, "d:1", "100")
        assert shown.endswith("\nunchanged: already present (weight 100, name dee)\n")
    assert before == path.read_bytes()
    said = refusal(1, "add", "--name", "other", path, "d:1", "100")
    assert said.endswith(
        ":5: d:1 is already present (weight 100, name dee): another name is another server, so "
        "remove this one first"
    )
    said = refusal(2, "add", "--name", "x", path, "e:1", "1", "f:1", "1")
    assert said.startswith("ketama add: --name is the name of one server")
    found = fits_schema("edit", as_json("add", "--name", "eff", path, "f:1", "1"))
    assert (found["name_before"], found["name"]) == (None, "eff")
    assert fits_schema("edit", as_json("remove", path, "f:1"))["name_before"] == "eff"


def test_rename_with_the_command(path: Path) -> None:
    """`ketama rename` moves no key, so that no limit refuses it."""
    shown = text("rename", "--max-moved", "0%", path, "a:1", "z:1")
    assert shown.startswith(
        f"{path}: rename a:1 to z:1 (weight 100, name a:1)\n"
        "readdressed a:1 -> z:1\n"
        "moved         0.00 %   of all keys\n"
    )
    before = path.read_bytes()
    shown = text("rename", path, "a:1", "z:1")
    assert shown.endswith("\nunchanged: already present (weight 100, name a:1)\n")
    assert before == path.read_bytes()
    said = refusal(1, "rename", path, "a:1", "c:1")
    assert said == f"ketama: {path}: server 'a:1' not found"
    found = fits_schema("edit", as_json("rename", "--dry-run", path, "z:1", "y:1"))
    assert (found["action"], found["server_before"], found["server"]) == (
        "rename",
        "z:1",
        "y:1",
    )
    assert (found["name_before"], found["name"], found["weight"]) == ("a:1", "a:1", 100)
    assert found["diff"]["readdressed"] == [{"from": "z:1", "to": "y:1"}]
    assert found["diff"]["moved"] == 0
    assert before == path.read_bytes()
    shown = text("rename", path, "z:1", "y:112111")
    assert "warning: invalid port '112111': must be 1-65535 [port]\n" in shown


def test_rename_in_a_stated_dialect(path: Path) -> None:
    """The command takes the dialect from the file, or from --profile."""
    path.write_text(f"#ketama profile=libmemcached\n{EXAMPLE.read_text()}")
    text("rename", path, "10.0.1.3:11211", "10.0.2.3:11211")
    assert "\n10.0.2.3:11211\t200\t10.0.1.3\n" in path.read_text()
    path.write_text(EXAMPLE.read_text())
    text("rename", "--profile", "libmemcached", path, "10.0.1.3:11211", "10.0.2.3:11211")
    assert "\n10.0.2.3:11211\t200\t10.0.1.3\n" in path.read_text()

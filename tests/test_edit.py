"""Editing a server file: its text afterwards, and what is refused."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

import images
import pytest
from pool import TEXT, edited, left_over, lock_of, remove_first

import ketama
from ketama._ketama import lib
from ketama.admin import replace


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "ketama.servers"
    path.write_bytes(TEXT.encode())
    return path


def test_everything_else_stays(path: Path) -> None:
    """Comments, order, spacing and line breaks stay; a new server is spaced like the last."""
    with ketama.edit(path) as servers:
        servers.add("10.0.1.55:11211", 50)
        servers.set_weight("10.0.1.1:11211", 1000)
        servers.set_weight("10.0.1.22:11211", 3)
    assert edited(path) == (
        "# the pool of the shop\n"
        "10.0.1.1:11211     1000\t \n"
        "\n"
        "  10.0.1.22:11211 \t 3\r\n"
        "# 10.0.1.3:11211   600    is away\n"
        "10.0.1.4:11211     600\n"
        "10.0.1.55:11211     50\n"
        "# the end"
    )
    with ketama.edit(path) as servers:
        servers.remove("10.0.1.55:11211")
        servers.remove("10.0.1.1:11211")
    assert edited(path) == TEXT.replace("10.0.1.1:11211     600\t \n", "").replace("300", "3")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a:1 5", "a:1 5\nnew:1 7\n"),
        ("a:1 5\r\nb:1 5", "a:1 5\r\nb:1 5\r\nnew:1 7\r\n"),
        ("a:1\t\t5\r\n", "a:1\t\t5\r\nnew:1\t\t7\r\n"),
        ("  a:1    5\n\n\n", "  a:1    5\n  new:1  7\n\n\n"),
        ("längere:1 5\n", "längere:1 5\nnew:1     7\n"),
        ("a:1       5\nlonger:1  5\n", "a:1       5\nlonger:1  5\nnew:1     7\n"),
        ("a:1 5\nlonger:1 5\n", "a:1 5\nlonger:1 5\nnew:1 7\n"),
        ("a:1  5\nsix:1  5\n", "a:1  5\nsix:1  5\nnew:1  7\n"),
        ("", "new:1 7\n"),
        ("# nobody yet", "# nobody yet\nnew:1 7\n"),
        ("\r\n", "\r\nnew:1 7\r\n"),
    ],
)
def test_where_a_server_is_added(text: str, expected: str, tmp_path: Path) -> None:
    """A new server comes after the last one, in its columns, with its kind of line break."""
    path = tmp_path / "ketama.servers"
    path.write_bytes(text.encode())
    with ketama.edit(path) as servers:
        servers.add("new:1", 7)
        assert servers.servers[-1] == ("new:1", 7, None)
    assert expected == edited(path)


def test_inside_the_block(path: Path) -> None:
    """An Edit has the continuum before and after, and the difference."""
    with ketama.edit(path) as servers:
        before = servers.before
        assert before is not None
        assert servers.servers[0] == ("10.0.1.1:11211", 600, None)
        servers.add("10.0.1.5:11211", 600)
        diff = servers.diff()
        assert diff is not None
        assert diff.added == ("10.0.1.5:11211",)
        assert diff == before.diff(servers.after)
        assert path.read_bytes() == TEXT.encode()
    assert servers.published
    assert ketama.Continuum(path).get_points() == servers.after.get_points()
    assert images.image(path).exists()


def test_the_first_server(tmp_path: Path) -> None:
    """A file without servers has no continuum before the edit, and no difference."""
    path = tmp_path / "ketama.servers"
    path.touch()
    with ketama.edit(path) as servers:
        assert servers.before is None
        servers.add("a:1", 1)
        assert servers.diff() is None
    assert edited(path) == "a:1 1\n"


@pytest.mark.parametrize("how", ["raises", "dry run", "no change", "back and forth"])
def test_nothing_is_written(how: str, path: Path) -> None:
    """An exception, a dry run and an edit that changes nothing leave the file untouched."""
    before = path.stat().st_ino, path.stat().st_ctime_ns
    if how == "raises":
        with pytest.raises(ZeroDivisionError), ketama.edit(path) as servers:
            servers.set_weight("10.0.1.1:11211", 1 // 0)
    elif how == "dry run":
        with ketama.edit(path, dry_run=True) as servers:
            servers.remove("10.0.1.1:11211")
    else:
        with ketama.edit(path) as servers:
            if how == "back and forth":
                servers.set_weight("10.0.1.1:11211", 5)
            servers.set_weight("10.0.1.1:11211", 600)
    assert not servers.published
    assert edited(path) == TEXT
    assert before == (path.stat().st_ino, path.stat().st_ctime_ns)
    assert not images.image(path).exists()


def refused(path: Path, act: str, *arguments: object) -> str:
    """Expect an edit to be refused and the file to be unchanged; return the message."""
    text = path.read_bytes()
    with pytest.raises(ketama.ServersError) as caught, ketama.edit(path) as servers:
        getattr(servers, act)(*arguments)
    assert text == path.read_bytes()
    assert left_over(path) == []
    return str(caught.value)


def test_refusals(path: Path) -> None:
    """An edit that is not possible is refused, with the line where there is one."""
    present = f"{path}:6: 10.0.1.4:11211 is already present (weight 600)"
    assert refused(path, "add", "10.0.1.4:11211", 5) == present
    missing = f"{path}: server '10.0.1.3:11211' not found"
    assert refused(path, "remove", "10.0.1.3:11211") == missing
    assert refused(path, "set_weight", "10.0.1.3:11211", 1) == missing
    assert refused(path, "add", "a b", 1) == (
        'invalid address "a b": must not contain blanks or line breaks'
    )
    assert "must not begin with '#'" in refused(path, "add", "#a", 1)
    assert "empty address" in refused(path, "add", "", 1)
    assert "empty address" in refused(path, "remove", "")
    assert "empty address" in refused(path, "set_weight", "", 1)
    assert "line break" in refused(path, "add", "a\nb:1", 1)
    assert "NUL" in refused(path, "add", "a\0b", 1)
    assert refused(path, "add", "a:1", 0).startswith("invalid weight 0")
    assert refused(path, "set_weight", "10.0.1.1:11211", -1).startswith("invalid weight -1")
    with pytest.raises(TypeError, match="weight must be int"), ketama.edit(path) as servers:
        servers.add("a:1", "600")  # type: ignore[arg-type]


def test_the_last_server_stays(path: Path) -> None:
    """The last server can't be removed: a file without servers is invalid."""
    path.write_text("# x\na:1 5\n")
    assert refused(path, "remove", "a:1") == f"{path}: no server would be left"


def test_too_much_weight(path: Path) -> None:
    """An edit is also refused where each line is valid, but the file as a whole is not."""
    path.write_text(f"a:1 {2**63 - 1}\nb:1 {2**63 - 1}\n")
    assert refused(path, "add", "c:1", 5).startswith(f"{path}: too much weight")


def test_a_byte_order_mark(tmp_path: Path) -> None:
    """An address that would make the file's beginning a byte order mark is refused."""
    path = tmp_path / "ketama.servers"
    path.touch()
    assert "cannot be written to a server file" in refused(path, "add", "\ufeffa:1", 5)


def test_an_invalid_file(path: Path) -> None:
    """An invalid file is not edited."""
    path.write_text("a:1 5\nb:1\n")
    with pytest.raises(ketama.ServersError, match=":2: "), ketama.edit(path):
        pytest.fail("the block must not run")


def test_a_duplicate_server(path: Path) -> None:
    """Removing a duplicate server removes both lines; changing its weight is refused."""
    path.write_text("a:1 5\nb:1 7\na:1 6\n")
    assert refused(path, "set_weight", "a:1", 9) == f"{path}:1: a:1 is also on line 3"
    with ketama.edit(path) as servers:
        servers.remove("a:1")
    assert edited(path) == "b:1 7\n"


NAMED = "a:1   5   cache-a\t# rack 1\nb:1   5\t#rack 2\n# c is away\nd:1   5   a:1  \n"


def test_names_and_comments_stay(path: Path) -> None:
    """An edit keeps the name and the comment of each line, byte for byte."""
    path.write_text(NAMED)
    with ketama.edit(path) as servers:
        before = servers.before
        assert before is not None
        assert [server.name for server in before.servers] == ["cache-a", None, "a:1"]
        servers.set_weight("a:1", 600)
        servers.set_weight("b:1", 70)
        assert [server.name for server in servers.after.servers] == ["cache-a", None, "a:1"]
        assert (
            servers.after.get_points()
            == ketama.Continuum(
                [("a:1", 600, "cache-a"), ("b:1", 70), ("d:1", 5, "a:1")]
            ).get_points()
        )
    expected = NAMED.replace("a:1   5   cache", "a:1   600   cache")
    assert edited(path) == expected.replace("b:1   5\t", "b:1   70\t")
    with ketama.edit(path) as servers:
        servers.remove("b:1")
        servers.add("e:1", 7)
    assert edited(path) == expected.replace("b:1   5\t#rack 2\n", "") + "e:1   7\n"


def test_a_byte_order_mark_stays(path: Path) -> None:
    """A byte order mark at the beginning of the file is kept, whichever line is edited."""
    path.write_text("\ufeffa:1 5\nb:1 5\n")
    with ketama.edit(path) as servers:
        servers.set_weight("a:1", 6)
        servers.add("c:1", 7)
    assert path.read_text() == "\ufeffa:1 6\nb:1 5\nc:1 7\n"


def test_after_the_edit(path: Path) -> None:
    """An edit after the end of the block raises."""
    with ketama.edit(path) as servers:
        pass
    with pytest.raises(ValueError, match="the edit has ended"):
        servers.add("x:1", 5)
    with pytest.raises(ValueError, match="the edit has ended"):
        servers.remove("10.0.1.1:11211")
    with pytest.raises(ValueError, match="the edit has ended"):
        servers.replace(b"a:1 5\n")


def test_a_last_line_that_ends_in_cr(path: Path) -> None:
    """A CR without an LF at the end of the file counts as a line break."""
    path.write_bytes(b"a:1 5\r")
    with ketama.edit(path) as servers:
        servers.add("b:1", 6)
    assert path.read_bytes() == b"a:1 5\nb:1 6\n"


def test_a_byte_order_mark_that_is_none(path: Path) -> None:
    """An address on the second line may begin with U+FEFF, and can be edited."""
    path.write_text("a:1 5\n\ufeffb:1 5\n")
    with ketama.edit(path) as servers:
        servers.set_weight("\ufeffb:1", 6)
    assert path.read_text() == "a:1 5\n\ufeffb:1 6\n"


def test_the_same_server_added_twice(path: Path) -> None:
    """The error for a server that was just added names no line."""

    def add_twice(servers: ketama.Edit) -> None:
        servers.add("x:1", 5)
        servers.add("x:1", 5)

    with pytest.raises(ketama.ServersError) as caught, ketama.edit(path) as servers:
        add_twice(servers)
    assert caught.value.lineno is None
    assert edited(path) == TEXT


def test_other_paths_to_the_file(path: Path) -> None:
    """The image of a link to the file is replaced as well."""
    link = path.parent / "link"
    link.symlink_to(path)
    by_link = ketama.Continuum(link, auto_roll=3600)
    by_name = ketama.Continuum(path, auto_roll=3600)
    assert by_link.lookup("key") == by_name.lookup("key")
    remove_first(path)
    addresses = ["10.0.1.22:11211", "10.0.1.4:11211"]
    assert addresses == [server.address for server in by_name.servers]
    assert addresses == [server.address for server in by_link.servers]


def test_what_an_edit_offers() -> None:
    """The names that programs use are frozen."""
    assert {name for name in dir(ketama.Edit) if not name.startswith("_")} == {
        "add", "after", "before", "diff", "published", "remove", "rename", "replace",
        "servers", "set_weight", "text",
    }  # fmt: skip


def test_a_limit_of_what_moves(path: Path) -> None:
    """An edit that would move more of the keys than the limit is refused, also in a dry run."""
    with ketama.edit(path, dry_run=True) as servers:
        servers.add("10.0.1.9:11211", 10**6)
    diff = servers.diff()
    assert diff is not None
    for dry_run in (False, True):
        limited = ketama.edit(path, max_moved=0.2, dry_run=dry_run)
        with pytest.raises(ketama.ServersError) as caught, limited as servers:
            servers.add("10.0.1.9:11211", 10**6)
        assert str(caught.value) == (
            f"{path}: would move {100 * diff.moved:.2f} % of the keys, more than the limit of "
            "20 %; nothing was written"
        )
        assert edited(path) == TEXT
    with ketama.edit(path, max_moved=diff.moved) as servers:
        servers.add("10.0.1.9:11211", 10**6)
    with ketama.edit(path, max_moved=0.0) as servers:  # moves nothing
        servers.replace(servers.text + b"# more\n")
    assert edited(path).endswith("# more\n")
    path.write_text("# nobody\n")
    with ketama.edit(path, max_moved=0.0) as servers:  # no key has a server yet
        servers.add("a:1", 1)
    for wrong in (1.1, -0.1, float("nan")):
        with pytest.raises(ValueError, match="max_moved"), ketama.edit(path, max_moved=wrong):
            pytest.fail("the block must not run")


def test_another_text(path: Path) -> None:
    """The whole text can be replaced; what is wrong with it is said with its own lines."""
    inode = path.stat().st_ino
    with ketama.edit(path) as servers:
        servers.replace(b"# new\na:1 5 x\n")
        servers.add("b:1", 6)
        diff = servers.diff()
        assert diff is not None
        assert diff.added == ("a:1", "b:1")
        with pytest.raises(ketama.ServersError) as caught:
            servers.add("a:1", 7)
        assert str(caught.value) == f"{path}: a:1 is already present (weight 5, name x)"
    assert edited(path) == "# new\na:1 5 x\nb:1 6\n"
    assert path.stat().st_ino != inode
    text = b"a:1 5\nb:1 many\n"
    assert refused(path, "replace", text).startswith(f"{path}:2: invalid weight")
    assert refused(path, "replace", text, "new").startswith("new:2: invalid weight")
    assert refused(path, "replace", b"# no\n", "new").startswith("new: no servers: ")
    names = b"a:1 5 x\nb:1 5 x\n"
    assert refused(path, "replace", names, "new").startswith("new:2: ")


def test_a_file_that_is_created(tmp_path: Path) -> None:
    """With `create` the file may be missing; the umask decides who may read it."""
    path, mask = tmp_path / "new.servers", os.umask(0o027)
    try:
        with ketama.edit(path, create=True, dry_run=True) as servers:
            servers.add("a:1", 5)
        assert os.listdir(tmp_path) == []
        with ketama.edit(path, create=True) as servers:
            assert (servers.text, servers.before, path.exists()) == (b"", None, False)
            assert stat.S_IMODE(lock_of(path).stat().st_mode) == 0o600
            servers.add("a:1", 5)
    finally:
        os.umask(mask)
    assert servers.published
    assert edited(path) == "a:1 5\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    path.write_text("a:1 5\nb:1\n")
    path.chmod(0o604)
    with ketama.edit(path, create=True) as servers:
        assert servers.before is None
        servers.replace(b"c:1 5\n")
    assert edited(path) == "c:1 5\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o604


@pytest.mark.parametrize("status", ["/nowhere", "/dev/null", replace.STATUS])
def test_the_umask(status: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is found, and left as it is, also where the system does not tell it."""
    monkeypatch.setattr(replace, "STATUS", status)
    before = os.umask(0o027)
    try:
        assert replace._umask() == 0o027
    finally:
        assert os.umask(before) == 0o027


def test_a_lock_that_nobody_else_can_open(tmp_path: Path) -> None:
    """Not for an instant, whatever the mode of the new file."""
    path, mask = tmp_path / "new.servers", os.umask(0)
    try:
        target = replace.Target(os.fsencode(path), str(path), create=True)
        assert lib.edit_lock(target._edit) == 0
        assert stat.S_IMODE(lock_of(path).stat().st_mode) == 0o600
        target.close()
    finally:
        os.umask(mask)


def test_a_file_that_cannot_be_created(tmp_path: Path) -> None:
    """Nothing is created where a link leads nowhere, or where somebody else just did."""
    link, path = tmp_path / "link", tmp_path / "new.servers"
    link.symlink_to(path)
    with pytest.raises(ketama.KetamaOSError, match="No such file"):
        create(link)
    with pytest.raises(ketama.KetamaOSError, match="No such file"):
        create(tmp_path / "nowhere" / "new.servers")
    create(path, lambda servers: servers.remove("a:1"))  # changes nothing
    assert os.listdir(tmp_path) == ["link"]
    with pytest.raises(ketama.KetamaOSError, match="another program has changed the file"):
        create(path, lambda _: path.write_text("theirs:1 5\n"))
    assert edited(path) == "theirs:1 5\n"


def create(path: Path, then: Callable[[ketama.Edit], object] = id) -> None:
    with ketama.edit(path, create=True) as servers:
        servers.add("a:1", 5)
        then(servers)


def test_a_long_name(tmp_path: Path) -> None:
    """A file may have the longest name that there is."""
    path = tmp_path / (255 * "x")
    path.write_text("a:1 5\n")
    with ketama.edit(path) as servers:
        servers.set_weight("a:1", 6)
    assert edited(path) == "a:1 6\n"


def test_a_limit_where_the_old_file_is_invalid(two: Path) -> None:
    """What would move is unknown, so a limit refuses it; without one, it is replaced."""
    two.write_text("a:1 1\nb:1 x\n")
    with (
        pytest.raises(ketama.ServersError) as caught,
        ketama.edit(two, create=True, max_moved=0.5) as editing,
    ):
        editing.replace(b"a:1 1\n")
    assert f"{two}:2: invalid weight" in str(caught.value)
    assert str(caught.value).endswith("what would move is unknown, and the limit is 50 %")
    assert two.read_text() == "a:1 1\nb:1 x\n"
    with ketama.edit(two, create=True) as editing:
        editing.replace(b"a:1 1\n")
    assert two.read_text() == "a:1 1\n"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a:1 1 n\nb:1 1 n\n", 2),
        ("#ketama profile=buckets buckets=4\na:1 1 0-1\n", None),
        ("#ketama profile=buckets buckets=many\na:1 1 0-1\n", 1),
    ],
)
def test_an_old_file_that_is_invalid_as_a_whole(two: Path, text: str, line: int | None) -> None:
    """It is replaced as one with an invalid line is; a map, by what states a profile."""
    two.write_text(text)
    new = b"#ketama profile=libketama\nc:1 1\n"
    with (
        pytest.raises(ketama.ServersError, match="what would move is unknown") as caught,
        ketama.edit(two, create=True, max_moved=0.5) as editing,
    ):
        editing.replace(new)
    assert caught.value.lineno == line
    if "buckets=4" in text:
        with (
            pytest.raises(ketama.ServersError, match="replace this map by another one"),
            ketama.edit(two, create=True) as editing,
        ):
            editing.replace(b"c:1 1\n")
    assert two.read_text() == text
    with ketama.edit(two, create=True) as editing:
        editing.replace(new)
        assert editing.diff() is None
    assert two.read_bytes() == new


def test_an_edit_keeps_the_profile(two: Path) -> None:
    """Before and after are rings of the profile that the file states."""
    two.write_text("#ketama profile=twemproxy\n10.0.0.1:11211 1\n10.0.0.2:11211 1\n")
    with ketama.edit(two) as editing:
        editing.add("10.0.0.3:11211", 1)
        found = editing.diff()
    assert found is not None
    servers = [f"10.0.0.{i}:11211" for i in (1, 2, 3)]
    before, after = (
        ketama.Continuum([(server, 1) for server in some], profile="twemproxy")
        for some in (servers[:2], servers)
    )
    assert found.moved == before.diff(after).moved
    assert ketama.Continuum(two).get_points() == after.get_points()
    two.write_text("#ketama profile=twemproxy\n10.0.0.1 1\n")
    (finding,) = ketama.check(two)
    assert (finding.line, finding.severity, finding.code) == (2, "error", "profile")

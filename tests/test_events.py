"""What a continuum reports of the file that it follows, and what it starts from."""

from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path

import pytest
from waiting import wait_for

import ketama

A, B = "a:1 100\n", "b:1 100\nc:1 100\n"
INVALID = "a:1 many\n"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "ketama.servers"
    path.write_text(A)
    return path


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.DEBUG, logger="ketama")
    return caplog


def lines(log: pytest.LogCaptureFixture) -> list[tuple[str, str]]:
    """Take what was logged since the last call, by level."""
    found = [(record.levelname, record.getMessage()) for record in log.records]
    log.clear()
    return found


def test_a_change_is_reported(path: Path, log: pytest.LogCaptureFixture) -> None:
    """Once, with the addresses before and after."""
    changes: list[tuple[tuple[str, ...], tuple[str, ...]]] = []
    continuum = ketama.Continuum(path, on_change=lambda *change: changes.append(change))
    assert not continuum.roll()
    path.write_text(B)
    assert continuum.roll()
    assert not continuum.roll()
    assert changes == [(("a:1",), ("b:1", "c:1"))]
    assert lines(log) == [("INFO", f"{path}: reloaded, 2 servers: +b:1 +c:1 -a:1")]
    path.write_text("b:1 100\nc:1 200\n")
    continuum.roll()
    assert lines(log) == [("INFO", f"{path}: reloaded, 2 servers: the same addresses")]


def test_an_error_is_reported_once_per_state(path: Path, log: pytest.LogCaptureFixture) -> None:
    """Not again by the lookups that follow, but when another error takes its place."""
    errors: list[Exception] = []
    continuum = ketama.Continuum(path, auto_roll=1e-9, on_error=errors.append)
    path.write_text(INVALID)
    looked_up = 0

    def look_up(error: type[Exception]) -> bool:
        nonlocal looked_up
        looked_up += 1
        assert continuum.lookup("key") == "a:1"
        return looked_up > 100 and isinstance(continuum.last_error, error)

    wait_for(lambda: look_up(ketama.ServersError))
    path.unlink()
    wait_for(lambda: look_up(ketama.KetamaOSError))
    invalid, missing = errors
    assert isinstance(invalid, ketama.ServersError)
    assert isinstance(missing, ketama.KetamaOSError)
    after = "; still using the servers of the last valid version"
    assert lines(log) == [("WARNING", f"{invalid}{after}"), ("WARNING", f"{missing}{after}")]
    path.write_text(B)
    wait_for(lambda: continuum.addresses == ("b:1", "c:1"))
    assert lines(log) == [("INFO", f"{path}: reloaded, 2 servers: +b:1 +c:1 -a:1")]


def test_a_file_that_comes_back_unchanged(path: Path, log: pytest.LogCaptureFixture) -> None:
    """The end of an error is reported, too."""
    continuum = ketama.Continuum(path)
    away = path.rename(path.with_suffix(".away"))
    with pytest.raises(ketama.KetamaOSError):
        continuum.roll()
    away.rename(path)
    continuum.roll()  # renaming sets the time of its inode's change: it may be reloaded
    warning, information = lines(log)
    assert warning[0] == "WARNING"
    assert information[0] == "INFO"
    assert continuum.last_error is None


@pytest.mark.parametrize(
    ("text", "reason"),
    [(None, "No such file"), (INVALID, 'invalid weight "many"'), ("", "no servers")],
)
def test_a_start_without_a_valid_file(
    path: Path, log: pytest.LogCaptureFixture, text: str | None, reason: str
) -> None:
    """A worker that starts then uses what the others have: the last valid version."""
    running = ketama.Continuum(path)
    assert running.shared
    if text is None:
        path.unlink()
    else:
        path.write_text(text)
    errors: list[Exception] = []
    started = ketama.Continuum(path, fallback=True, on_error=errors.append)
    assert started.addresses == ("a:1",)
    assert started.shared
    assert errors == [started.last_error]
    [(level, message)] = lines(log)
    assert reason in message
    assert (level, message.partition(";")[0]) == ("WARNING", str(started.last_error))
    with pytest.raises(ketama.KetamaError):
        ketama.Continuum(path)
    path.write_text(B)
    assert started.roll()
    assert started.addresses == ("b:1", "c:1")
    assert started.last_error is None


def test_nothing_to_start_from(tmp_path: Path) -> None:
    """Without a version that was valid, the error is the file's."""
    with pytest.raises(ketama.KetamaOSError):
        ketama.Continuum(tmp_path / "none", fallback=True)
    (tmp_path / "empty").write_text("")
    with pytest.raises(ketama.ServersError, match="no servers"):
        ketama.Continuum(tmp_path / "empty", fallback=True)


def test_an_error_of_a_callback_reaches_the_caller(path: Path) -> None:
    """The new version is in use by then."""

    def fail(before: object, after: object) -> None:
        raise LookupError("of the callback")

    continuum = ketama.Continuum(path, auto_roll=1e-9, on_change=fail)
    path.write_text(B)
    with pytest.raises(LookupError, match="of the callback"):
        wait_for(lambda: continuum.lookup("key") != "a:1")
    assert continuum.lookup("key") in ("b:1", "c:1")


def test_an_error_of_ketama_in_a_callback_reaches_the_caller(path: Path) -> None:
    """It is not taken for the file's, which lookups leave to `last_error`."""

    def fail(*_: object) -> None:
        raise ketama.ServersError("other", 1, "the callback's")

    continuum = ketama.Continuum(path, auto_roll=1e-9, on_change=fail, on_error=fail)
    for text in ("127.0.0.1:11211 1\n", "127.0.0.1:11211 many\n"):
        path.write_text(text)
        with pytest.raises(ketama.ServersError, match="the callback's"):
            wait_for(lambda: continuum.lookup("key") is None)
        assert continuum.lookup("key") == "127.0.0.1:11211"


def test_a_quiet_worker_does_not_import_logging(path: Path) -> None:
    """Following a file that does not change costs no module."""
    program = (
        "import sys, ketama\n"
        f"c = ketama.Continuum({str(path)!r}, auto_roll=1e-9, fallback=True)\n"
        "for _ in range(100): c.lookup('key')\n"
        "c.roll()\n"
        "sys.exit('logging' in sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)

"""Compatibility with programs for python_ketama, PyPI's ketama and pyketama."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import ketama


def test_python_ketama(two: Path) -> None:
    """python_ketama's Continuum: results, points and repr."""
    continuum = ketama.Continuum(str(two))
    assert continuum.get_server("test") == (3454255383, "127.0.0.1:11211")
    points = continuum.get_points()
    assert len(points) == 320
    assert points == sorted(points)
    assert repr(continuum) == f"<ketama.Continuum from '{two}'>"
    assert ketama.hashi("test") == 3446378249


@pytest.mark.parametrize("text", [None, "", "127.0.0.1:11211\n", "a:1 zero\n"])
def test_python_ketama_errors(text: str | None, tmp_path: Path) -> None:
    """python_ketama's KetamaError: a file that is missing, empty or invalid."""
    path = tmp_path / "ketama.servers"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ketama.KetamaError):
        ketama.Continuum(str(path))


@pytest.mark.parametrize("key", ["a\0b", b"a\0", "\0"])
def test_python_ketama_keys(key: Any, two: Path) -> None:
    """Functions with python_ketama's names reject keys with a NUL byte, as it does."""
    continuum = ketama.Continuum(str(two))
    message = r"^invalid key: has a NUL byte, at which .* use lookup\(\) for any bytes$"
    for ask in (
        continuum.get_server,
        ketama.hashi,
        lambda key: ketama.get_server(key, continuum),
    ):
        with pytest.raises(TypeError, match=message):
            ask(key)
    assert continuum.lookup(key) == ketama.Ketama(str(two)).get_server(key)[1]
    many = ketama.Continuum([f"s{i}" for i in range(500)])
    assert many.lookup(key) != many.lookup(key[:-1] if key[-1:] in (b"\0", "\0") else key[:1])


@pytest.mark.parametrize("kind", [str, lambda path: str(path).encode()])
def test_pypi_ketama(kind: Any, two: Path) -> None:
    """PyPI's Ketama: str and bytes for filename and key, points, filename."""
    filename = kind(two)
    ring = ketama.Ketama(filename)
    assert ring.get_server("test") == (3454255383, "127.0.0.1:11211")
    assert ring.get_server(b"test") == (3454255383, "127.0.0.1:11211")
    assert ring.get_server("") == (3656591041, "127.0.0.1:11211")
    assert ring.get_points()[0] == (2674639, "127.0.0.1:11211")
    assert len(ring.get_points()) == 320
    assert ring.filename == filename
    with pytest.raises(AttributeError):
        ring.filename = "other"  # type: ignore[misc]


def test_pypi_ketama_keys_with_nul(two: Path) -> None:
    """PyPI's Ketama hashes NUL bytes as part of the key."""
    ring = ketama.Ketama(str(two))
    assert ring.get_server("a\0b") == (1622418793, "127.0.0.1:11212")
    assert ring.get_server(b"a\0b") == (1622418793, "127.0.0.1:11212")
    assert ring.get_server("a") == (3114363270, "127.0.0.1:11212")


def test_pypi_ketama_errors(tmp_path: Path) -> None:
    """PyPI's Ketama: ValueError for the filename, RuntimeError for the file."""
    for args in [(), ("",), (b"",), (None,), (3,)]:
        with pytest.raises(
            ValueError, match=r"^filename must be a non-empty str or bytes, not "
        ):
            ketama.Ketama(*args)  # type: ignore[arg-type]
    wrong = tmp_path / "ketama.servers"
    wrong.write_text("abc\n")
    for path in [str(tmp_path / "missing"), str(wrong)]:
        with pytest.raises(RuntimeError):
            ketama.Ketama(path)


def test_pyketama() -> None:
    """Pyketama's Continuum: servers with and without weights; the default is 100."""
    assert [100, 100] == [s.weight for s in ketama.Continuum(["a:1", "b:1"]).servers]
    mixed = ketama.Continuum([("a:1", 400), "b:1"])
    assert [("a:1", 400), ("b:1", 100)] == [(s.address, s.weight) for s in mixed.servers]
    assert mixed["key"] in {"a:1", "b:1"}
    assert mixed["key"] == mixed.get_server("key")[1]

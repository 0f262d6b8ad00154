"""Compatibility with programs for python_ketama, PyPI's ketama and pyketama."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import ketama
from ketama.compat import Pyketama

VECTORS = Path(__file__).with_name("vectors")
PYKETAMA = json.loads((VECTORS / "pyketama.json").read_text())


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


def test_servers_with_and_without_weights() -> None:
    """Our Continuum takes pyketama's lists without values; the default weight is 100."""
    assert [100, 100] == [s.weight for s in ketama.Continuum(["a:1", "b:1"]).servers]
    mixed = ketama.Continuum([("a:1", 400), "b:1"])
    assert [("a:1", 400), ("b:1", 100)] == [(s.address, s.weight) for s in mixed.servers]
    assert mixed["key"] in {"a:1", "b:1"}
    assert mixed["key"] == mixed.get_server("key")[1]


def node(item: Any) -> Any:
    """Return a node of pyketama.json, which has lists for tuples."""
    return tuple(item) if isinstance(item, list) else item


@pytest.mark.parametrize("case", PYKETAMA)
def test_pyketama(case: dict[str, Any]) -> None:
    """Pyketama's answers: lists with weights and values, and nodes that are set later."""
    ring = Pyketama([node(item) for item in case["nodes"]])
    for item, value in case["set"]:
        ring[node(item)] = value
    assert case["answers"] == {key: ring[key] for key in case["answers"]}


def test_pyketama_empty() -> None:
    """An empty ring is valid, and a lookup in it raises KetamaError until a node is set."""
    for ring in (Pyketama(), Pyketama([])):
        with pytest.raises(ketama.KetamaError, match=r"^the continuum is empty: "):
            ring["key"]
        value = object()
        ring["node1"] = value
        assert ring["key"] is value
        assert ring[b"key"] is value
        with pytest.raises(TypeError):
            list(ring)  # type: ignore[call-overload]


@pytest.mark.parametrize(
    ("item", "error"),
    [
        (5, TypeError),
        (None, TypeError),
        (("a", "300"), TypeError),
        (("a", 0), ketama.KetamaError),
        (("a", -1), ketama.KetamaError),
        (("a",), ValueError),
        (("a", 1, 2), ValueError),
        ("", ketama.KetamaError),
        ("a b", ketama.KetamaError),
    ],
)
def test_pyketama_wrong_nodes(item: Any, error: type[Exception]) -> None:
    """An invalid node raises, and leaves the ring as it was."""
    ring = Pyketama([("node1", "value", 300)])
    with pytest.raises(error):
        ring[item] = 1
    assert [ring[str(number)] for number in range(20)] == ["value"] * 20


@pytest.mark.parametrize("nodes", [5, [5], [("a",)], [("a", 1, 2, 3)], [(["a"], 1)]])
def test_pyketama_wrong_lists(nodes: Any) -> None:
    """A list of anything else raises TypeError."""
    with pytest.raises(TypeError):
        Pyketama(nodes)


@pytest.mark.parametrize("key", [None, 5, ("a", 1), "a\0b"])
def test_pyketama_wrong_keys(key: Any) -> None:
    """Keys that are not text or bytes raise TypeError, and so do NUL bytes."""
    with pytest.raises(TypeError):
        Pyketama(["a"])[key]


def test_pyketama_weights_like_ports() -> None:
    """A weight of 11211 is a weight, as in pyketama."""
    assert Pyketama([("node1", 11211)])["key"] == "node1"


def test_pyketama_of_a_string() -> None:
    """A string is not taken for a list of its characters."""
    with pytest.raises(TypeError, match="nodes must be a list, not str"):
        Pyketama("10.0.0.1:11211")

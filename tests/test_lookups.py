"""Lookups of many keys, successors, exclusion, and both implementations of lookups."""

from __future__ import annotations

import inspect
import itertools
import os
import subprocess
import sys
import threading
import time
from array import array
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from needs import need_module
from waiting import PATIENCE, wait_for

import ketama
from ketama.lookups import Lookups, fastest

SERVERS = [(f"10.0.0.{number}:11211", 100 + number) for number in range(1, 21)]
ACCELERATED = os.environ.get("KETAMA_SPEEDUPS") != "0"

Many = Callable[[ketama.Continuum, Any], Any]
PACKED_KEY = ketama.Packed(b"key", array("I", [0, 3]))
MANY: dict[str, Many] = {
    "lookup_many": lambda c, keys: c.lookup_many(keys),
    "group_by_server": lambda c, keys: c.group_by_server(keys),
    "indexes": lambda c, keys: c.indexes(keys),
}
every_way = pytest.mark.parametrize("many", MANY.values(), ids=MANY)


@pytest.fixture
def continuum() -> ketama.Continuum:
    return ketama.Continuum(SERVERS)


# ---- Two implementations


def test_the_accelerator_is_in_use() -> None:
    """Lookups use the accelerator unless KETAMA_SPEEDUPS is 0."""
    base = ketama.Continuum.__mro__[1]
    assert ("ketama._speedups" if ACCELERATED else "ketama.lookups") == base.__module__
    assert base is fastest()


@pytest.mark.skipif(not ACCELERATED, reason="there is only one implementation in this run")
def test_the_accelerator_has_the_same_interface() -> None:
    """It has exactly the same methods, with the same parameters and docstrings."""
    theirs = {name for name in vars(Lookups) if not name.startswith("__")}
    base = ketama.Continuum.__mro__[1]
    assert {name for name in vars(base) if not name.startswith("__")} == theirs
    for name in theirs - {"_now"}:
        ours, other = getattr(base, name), getattr(Lookups, name)
        assert inspect.getdoc(ours) == inspect.getdoc(other)
        for mine, its in zip(
            inspect.signature(ours).parameters.values(),
            inspect.signature(other).parameters.values(),
            strict=True,
        ):
            assert (mine.name, mine.default) == (its.name, its.default)
            assert mine.kind == its.kind or mine.name == "self"


@pytest.mark.skipif(not ACCELERATED, reason="there is only one implementation in this run")
def test_without_the_accelerator() -> None:
    """Without the accelerator, lookups use cffi."""
    program = (
        f"import sys; sys.path[:0] = {sys.path!r}\n"
        "sys.modules['ketama._speedups'] = None\n"
        "import ketama\n"
        "print(ketama.Continuum.__mro__[1].__module__, ketama.Continuum(['a:1'])['key'])\n"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (ran.stdout, ran.stderr) == ("ketama.lookups a:1\n", "")


def test_a_second_import() -> None:
    """A second import, as in another interpreter, does not use the accelerator."""
    program = (
        f"import sys; sys.path[:0] = {sys.path!r}\n"
        "import ketama\n"
        "for name in [n for n in sys.modules if 'ketama' in n]: del sys.modules[name]\n"
        "import ketama\n"
        "from array import array\n"
        "print(ketama.Continuum.__mro__[1].__module__)\n"
        "try: ketama.Continuum(['a:1']).lookup_many(ketama.Packed(b'', array('i', [0, 9])))\n"
        "except ValueError as error: print(error)\n"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert ran.stdout.startswith("ketama.lookups\ninvalid offsets of keys[0]"), ran.stderr


def test_before_init() -> None:
    """A Continuum whose __init__ was not called raises from every method."""
    unborn = ketama.Continuum.__new__(ketama.Continuum)
    for ask in (
        lambda: unborn.lookup("key"),
        lambda: unborn["key"],
        lambda: unborn.get_server("key"),
        lambda: unborn.lookup_many(["key"]),
        lambda: unborn.group_by_server(["key"]),
        lambda: unborn.indexes(["key"]),
        lambda: unborn.successors("key"),
        lambda: unborn._now,
    ):
        with pytest.raises(AttributeError, match="_now"):
            ask()


def test_now_must_be_a_version(continuum: ketama.Continuum) -> None:
    """Assigning anything but a version to `_now` raises."""
    if not ACCELERATED:
        pytest.skip("Python itself is never in danger")
    wrongs: list[Any] = [None, (), (1, 2, 3), (object(), ("a",), "x"), "abc"]
    for wrong in wrongs:
        with pytest.raises(TypeError):
            continuum._now = wrong
    with pytest.raises(TypeError):
        del continuum._now
    assert continuum.lookup("key") == ketama.Continuum(SERVERS).lookup("key")


def test_nothing_leaks(continuum: ketama.Continuum) -> None:
    """Lookups leave the reference counts of keys and addresses unchanged."""
    keys: list[Any] = ["a" * 30, b"b" * 30, bytearray(b"c"), "d" * 29]
    addresses = continuum._now[1]

    def counts() -> list[int]:
        return [sys.getrefcount(held) for held in (continuum._now, *keys, *addresses)]

    def work() -> None:
        for some in (keys, keys[:2] * 200, [1], [*keys[:2], None]):
            for many in MANY.values():
                try:
                    many(continuum, some)
                except TypeError:
                    continue
        for key in keys:
            continuum.lookup(key, exclude={continuum.lookup(key)})
            continuum.get_server(key)
            continuum[key]

    before = counts()
    for _ in range(50):
        work()
    assert before == counts()


def test_continua_are_collected() -> None:
    """A Continuum in a cycle of references is freed by the garbage collector."""
    import gc
    import weakref

    class Pool(ketama.Continuum):
        itself: Pool

    pool = Pool(SERVERS)
    pool.itself = pool
    gone = weakref.ref(pool)
    del pool
    gc.collect()
    assert gone() is None


# ---- Batches


@every_way
@pytest.mark.parametrize("kind", [list, tuple, iter, dict.fromkeys, lambda keys: (*keys,)])
def test_iterables(continuum: ketama.Continuum, many: Many, kind: Callable[..., Any]) -> None:
    """Keys may come from any iterable, which is consumed once."""
    keys = [f"key{number}" for number in range(300)]
    assert many(continuum, keys) == many(continuum, kind(keys))


@every_way
def test_no_keys(continuum: ketama.Continuum, many: Many) -> None:
    """An empty batch has an empty result."""
    nothings: list[Any] = [[], (), iter([]), {}, ketama.Packed(b"", array("I", [0]))]
    for nothing in nothings:
        assert len(many(continuum, nothing)) == 0


@every_way
@pytest.mark.parametrize(
    "count", [1, 2, 3, 4, 19, 20, 33, 127, 128, 129, 300, 4095, 4096, 5000]
)
def test_all_sizes(continuum: ketama.Continuum, many: Many, count: int) -> None:
    """In a batch of any size, each key has the same server as on its own."""
    keys: list[str | bytes] = [f"{number:0{number % 70}}" for number in range(count)]
    keys[count // 2] = b"some bytes \0\xff"
    alone = [continuum[key] for key in keys]
    answer = many(continuum, keys)
    if isinstance(answer, dict):
        assert {
            address: [k for k, a in zip(keys, alone, strict=True) if a == address]
            for address in set(alone)
        } == answer
    elif isinstance(answer, array):
        assert alone == [SERVERS[index][0] for index in answer]
    else:
        assert alone == answer


def test_grouped_keys_are_the_same_objects(continuum: ketama.Continuum) -> None:
    """A group holds the same key objects in the same order, duplicates included."""
    keys = ["b", b"b", "a", "b", bytearray(b"b"), memoryview(b"b")]
    groups = continuum.group_by_server(keys)  # type: ignore[type-var]
    assert [id(key) for key in keys if key != "a"] == [
        id(key) for key in groups[continuum["b"]] if key != "a"
    ]
    assert continuum.group_by_server(ketama.Packed(b"ab", array("I", [0, 1, 2]))) == {
        continuum[key]: [key] for key in (b"a", b"b")
    }


@every_way
@pytest.mark.parametrize("wrong", [None, 7, 1.5, ["a"], object()])
@pytest.mark.parametrize("at", [0, 1, 150])
def test_a_key_of_a_wrong_type(
    continuum: ketama.Continuum, many: Many, wrong: object, at: int
) -> None:
    """The error names the position and the type."""
    keys: list[object] = ["key"] * 200
    keys[at] = wrong
    message = f"keys[{at}] must be str, bytes, bytearray or memoryview, not "
    with pytest.raises(TypeError) as caught:
        many(continuum, iter(keys))
    assert message + type(wrong).__name__ == str(caught.value)


@every_way
def test_a_lone_surrogate_in_a_batch(continuum: ketama.Continuum, many: Many) -> None:
    """A lone surrogate cannot be encoded as UTF-8; the error names the position."""
    with pytest.raises(UnicodeEncodeError, match=r"surrogates not allowed, in keys\[2\]"):
        many(continuum, ["a", "b", "\ud800"])
    with pytest.raises(UnicodeEncodeError, match=r"surrogates not allowed$"):
        continuum.lookup("\ud800")


@every_way
@pytest.mark.parametrize(
    "key",
    ["key", b"key", bytearray(b"key"), memoryview(b"key"), type("Text", (str,), {})("key")],
)
def test_a_single_key_is_not_an_iterable(
    continuum: ketama.Continuum, many: Many, key: object
) -> None:
    """A single key in place of keys is rejected, not split into characters."""
    with pytest.raises(TypeError, match=r"not \w+: pass a single key in a list"):
        many(continuum, key)


def test_subclasses_of_keys(continuum: ketama.Continuum) -> None:
    """In a batch, too, a key of a subclass is hashed by its contents."""

    class Text(str):
        def encode(self, *_: object) -> bytes:
            return b"something else"

    class Bytes(bytes):
        def __buffer__(self, flags: int) -> memoryview:
            return memoryview(b"something else")

    class Array(bytearray):
        def __buffer__(self, flags: int) -> memoryview:
            return memoryview(b"something else")

    for key in (Text("key"), Bytes(b"key"), Array(b"key")):
        for others in ([], [bytearray(b"other")]):
            assert continuum["key"] == continuum.lookup_many([key, *others])[0]
        assert continuum["key"] == continuum.lookup(key) == continuum.lookup(key, exclude=())
        assert continuum["key"] == continuum.successors(key)[0]


def test_keywords(continuum: ketama.Continuum) -> None:
    """Arguments may be passed by keyword."""
    assert continuum.lookup(key="a", exclude=None) == continuum["a"]
    assert continuum.lookup_many(keys=["a"]) == [continuum["a"]]
    assert continuum.group_by_server(keys=["a"]) == {continuum["a"]: ["a"]}
    assert continuum.get_server(key="a") == continuum.get_server("a")
    assert list(continuum.indexes(keys=["a"], out=None)) == list(continuum.indexes(["a"]))


def test_methods_do_not_call_overridden_ones(continuum: ketama.Continuum) -> None:
    """A subclass may implement lookup_many by group_by_server, and vice versa."""

    class Pool(ketama.Continuum):
        def lookup_many(self, keys: Any, exclude: Any = None) -> Any:
            return sorted(self.group_by_server(keys))

    pool = Pool(SERVERS)
    keys: list[Any]
    for keys in (["a", "b"], [bytearray(b"a"), "b"]):
        assert sorted({continuum["a"], continuum["b"]}) == pool.lookup_many(keys)


def test_large_batches_release_the_gil(continuum: ketama.Continuum) -> None:
    """Another thread runs while a large batch is looked up."""
    keys = [f"{number:0250}" for number in range(200_000)]

    def other_thread_ran() -> bool:
        wake, ran = threading.Semaphore(0), threading.Event()

        def wait() -> None:
            wake.acquire()
            ran.set()

        other = threading.Thread(target=wait)
        other.start()
        wake.release()
        continuum.lookup_many(keys)
        turn = ran.is_set()
        other.join()
        return turn

    patience = sys.getswitchinterval()
    sys.setswitchinterval(1000)  # so that only an explicit release lets another thread run
    try:
        wait_for(other_thread_ran)
    finally:
        sys.setswitchinterval(patience)


@every_way
def test_keys_that_are_not_iterable(continuum: ketama.Continuum, many: Many) -> None:
    """Keys that are not iterable raise TypeError."""
    with pytest.raises(TypeError, match="'int' object is not iterable"):
        many(continuum, 7)


@every_way
def test_an_iterable_that_fails(continuum: ketama.Continuum, many: Many) -> None:
    """An exception of the iterable is propagated."""

    def keys() -> Iterator[str]:
        yield "a"
        raise LookupError("no more")

    with pytest.raises(LookupError, match="no more"):
        many(continuum, keys())


def test_a_batch_sees_one_version(tmp_path: Path) -> None:
    """While another thread rolls, each batch has the servers of one file only."""
    path = tmp_path / "ketama.servers"
    names = ["old", "new"]
    path.write_text("".join(f"old{number}:1 1\n" for number in range(10)))
    continuum = ketama.Continuum(path)
    keys = [f"key{number}" for number in range(5000)]
    stop = threading.Event()

    def edit() -> None:
        turn = 0
        while not stop.is_set():
            turn += 1
            other = tmp_path / "other"
            other.write_text("".join(f"{names[turn % 2]}{n}:1 1\n" for n in range(10)))
            other.replace(path)
            continuum.roll()

    editor = threading.Thread(target=edit)
    editor.start()
    seen: set[str] = set()
    try:
        deadline = time.monotonic() + PATIENCE
        while seen != {"old", "new"} and time.monotonic() < deadline:
            for _ in range(20):
                batch = {address[:3] for address in continuum.lookup_many(keys)}
                assert len(batch) == 1
                seen |= batch
                assert len({address[:3] for address in continuum.group_by_server(keys)}) == 1
    finally:
        stop.set()
        editor.join()
    assert seen == {"old", "new"}


FOLLOWING: dict[str, Many] = MANY | {
    "indexes, packed": lambda c, keys: c.indexes(PACKED_KEY),
    "indexes, packed, into out": lambda c, keys: c.indexes(PACKED_KEY, array("I", [0])),
    "successors": lambda c, keys: c.successors(keys[0]),
    "lookup with exclude": lambda c, keys: c.lookup(keys[0], exclude={"x"}),
    "lookup_many with exclude": lambda c, keys: c.lookup_many(keys, exclude=frozenset("x")),
    "addresses": lambda c, keys: c.addresses,
    "lookup": lambda c, keys: c.lookup(keys[0]),
    "get_server": lambda c, keys: c.get_server(keys[0]),
    "lookup_many of bytearrays": lambda c, keys: c.lookup_many([bytearray(b"key")]),
}


@pytest.mark.parametrize("many", FOLLOWING.values(), ids=FOLLOWING)
def test_all_lookups_follow(tmp_path: Path, many: Many) -> None:
    """With auto_roll, every kind of lookup reloads a file that has changed."""
    path = tmp_path / "ketama.servers"
    path.write_text("a:1 1\n")
    continuum = ketama.Continuum(path, auto_roll=1e-9)
    many(continuum, ["key"])
    path.write_text("b:1 1\nc:1 1\n")

    def has_rolled() -> bool:
        many(continuum, ["key"])
        return continuum.generation == 2

    wait_for(has_rolled)
    assert [server.address for server in continuum.servers] == ["b:1", "c:1"]


def test_a_list_that_changes_meanwhile(continuum: ketama.Continuum) -> None:
    """A thread that empties the list does not affect a batch in progress."""
    keys = [f"key{number}" for number in range(50_000)]
    expected = continuum.lookup_many(keys)
    for _ in range(20):
        changing = list(keys)
        emptier = threading.Thread(target=changing.clear)
        emptier.start()
        found = continuum.lookup_many(changing)
        emptier.join()
        assert found in ([], expected)


# ---- Packed keys and outputs

KEYS = ["one", "two", "", "three"]
PACKED = b"onetwothree", [0, 3, 6, 6, 11]


@pytest.mark.parametrize("kind", ["i", "I", "l", "L", "q", "Q"])
@pytest.mark.parametrize(
    "data",
    [
        bytes,
        bytearray,
        memoryview,
        lambda data: array("B", data),
        lambda data: array("H", data + b"."),
    ],
)
def test_packed(continuum: ketama.Continuum, kind: str, data: Callable[[bytes], Any]) -> None:
    """Offsets of every width and data of every type yield the right keys."""
    keys = ketama.Packed(data(PACKED[0]), array(kind, PACKED[1]))
    assert len(keys) == 4
    assert [key.encode() for key in KEYS] == list(keys)
    assert repr(keys) == "<ketama.Packed of 4 keys>"
    assert list(continuum.indexes(KEYS)) == list(continuum.indexes(keys))
    assert continuum.lookup_many(KEYS) == continuum.lookup_many(keys)


def test_a_slice_of_packed_keys(continuum: ketama.Continuum) -> None:
    """Offsets need not begin at 0, nor end with the data."""
    keys = ketama.Packed(b"..onetwo..", array("I", [2, 5, 8]))
    assert continuum.lookup_many(["one", "two"]) == continuum.lookup_many(keys)


@pytest.mark.parametrize(
    ("offsets", "wrong"),
    [([0, 3, 12], 1), ([0, 3, 2], 1), ([12, 12], 0), ([-1, 3], 0), ([0, 3, -1], 1)],
)
@pytest.mark.parametrize("kind", ["i", "q"])
@pytest.mark.parametrize("packed", [ketama.Packed, type("Kind", (ketama.Packed,), {})])
def test_invalid_offsets(
    continuum: ketama.Continuum,
    offsets: list[int],
    wrong: int,
    kind: str,
    packed: type[ketama.Packed],
) -> None:
    """Invalid offsets raise an error that names the key; `out` is unchanged."""
    keys = packed(b"onetwothree", array(kind, offsets))
    out = array("I", [77] * len(keys))
    with pytest.raises(ValueError, match=rf"^invalid offsets of keys\[{wrong}\]: .* 11 bytes$"):
        continuum.indexes(keys, out)
    assert out == array("I", [77] * len(keys))
    for many in MANY.values():
        with pytest.raises(ValueError, match=rf"^invalid offsets of keys\[{wrong}\]: must"):
            many(continuum, keys)


def test_negative_offsets_in_much_data(continuum: ketama.Continuum) -> None:
    """A negative offset is invalid even if, unsigned, it would be within the data."""
    np = need_module("numpy")
    data = np.zeros(2**32 + 1000, np.uint8)  # takes no memory until it is touched
    with pytest.raises(ValueError, match=r"^invalid offsets of keys\[0\]: must ascend"):
        continuum.indexes(ketama.Packed(data, array("i", [0, -1])))


def test_packed_keys_are_immutable(continuum: ketama.Continuum) -> None:
    """Buffers that were checked cannot be replaced."""
    keys = ketama.Packed(b"abc", array("I", [0, 3]))
    with pytest.raises(AttributeError):
        keys.offsets = memoryview(bytes(8))  # type: ignore[misc]
    with pytest.raises(AttributeError):
        keys.data = memoryview(b"x")  # type: ignore[misc]
    assert (bytes(keys.data), list(keys.offsets)) == (b"abc", [0, 3])
    assert continuum.lookup_many(keys) == [continuum["abc"]]


@pytest.mark.parametrize(
    ("data", "offsets", "error", "message"),
    [
        ("text", array("I", [0]), TypeError, "data must be an object with a buffer, not str"),
        (b"", [0], TypeError, "offsets must be an object with a buffer, not list"),
        (b"", b"\0\0\0\0", TypeError, "offsets must be 4-byte or 8-byte integers"),
        (b"", array("H", [0]), TypeError, "offsets must be 4-byte or 8-byte integers"),
        (b"", array("f", [0]), TypeError, "offsets must be 4-byte or 8-byte integers"),
        (b"", array("I"), ValueError, "must have one item more than there are keys"),
        (memoryview(b"abcd")[::2], array("I", [0]), TypeError, "data must be contiguous"),
        (b"", memoryview(array("I", [0, 1, 2]))[::2], TypeError, "must be contiguous"),
        (b"", memoryview(bytes(16)).cast("I", (2, 2)), TypeError, "in one dimension"),
    ],
)
def test_invalid_packed_keys(
    data: object, offsets: object, error: type[Exception], message: str
) -> None:
    """Unsuitable buffers are rejected by the constructor."""
    with pytest.raises(error, match=message):
        ketama.Packed(data, offsets)


@pytest.mark.parametrize("kind", ["H", "I"])
@pytest.mark.parametrize("keys", [KEYS, ketama.Packed(PACKED[0], array("I", PACKED[1]))])
def test_out(continuum: ketama.Continuum, kind: str, keys: Any) -> None:
    """Indexes are written to `out`, which is returned."""
    out = array(kind, [9] * 4)
    assert out is continuum.indexes(keys, out)
    assert list(continuum.indexes(keys)) == list(out)
    part = memoryview(array(kind, [9] * 6))[1:5]
    continuum.indexes(keys, out=part)
    assert [9, *out, 9] == list(part.obj)  # type: ignore[call-overload]


@pytest.mark.parametrize("keys", [KEYS, ketama.Packed(PACKED[0], array("I", PACKED[1]))])
@pytest.mark.parametrize(
    ("out", "error", "message"),
    [
        (array("I", [7] * 3), ValueError, "invalid out of 3 items: must have one per key, 4"),
        (array("H", [7] * 5), ValueError, "invalid out of 5 items: must have one per key, 4"),
        (array("Q", [7] * 4), TypeError, "writable array of uint32 or uint16, not array"),
        (array("i", [7] * 4), TypeError, "writable array of uint32 or uint16"),
        (bytearray(16), TypeError, "writable array of uint32 or uint16, not bytearray"),
        (memoryview(bytes(16)).cast("I"), TypeError, "writable array of uint32 or uint16"),
        ([0] * 4, TypeError, "writable array of uint32 or uint16, not list"),
        (memoryview(array("I", [7] * 8))[::2], TypeError, "must be contiguous"),
        (
            memoryview(bytearray(16)).cast("I", (2, 2)),
            TypeError,
            "contiguous and one-dimensional",
        ),
    ],
)
def test_invalid_out(
    continuum: ketama.Continuum, keys: Any, out: Any, error: type[Exception], message: str
) -> None:
    """A wrong length, type or shape is an error, and nothing is written."""
    before = bytes(memoryview(out)) if not isinstance(out, list) else out
    with pytest.raises(error, match=message):
        continuum.indexes(keys, out)
    assert before == (bytes(memoryview(out)) if not isinstance(out, list) else out)


def test_many_narrow_indexes(continuum: ketama.Continuum) -> None:
    """Two bytes are written per key, and nothing after them."""
    keys = [f"{number:03}" for number in range(1000)]
    packed = ketama.Packed("".join(keys).encode(), array("I", range(0, 3001, 3)))
    for some in (keys, packed):
        room = array("H", [77] * 1010)
        continuum.indexes(some, memoryview(room)[:1000])
        assert list(continuum.indexes(keys)) == list(room[:1000])
        assert [77] * 10 == list(room[1000:])


def test_unaligned_buffers(continuum: ketama.Continuum) -> None:
    """Offsets and `out` need not be aligned."""
    offsets = memoryview(bytearray(b"." + array("I", PACKED[1]).tobytes()))[1:].cast("I")
    out = memoryview(bytearray(9))[1:].cast("H")
    continuum.indexes(ketama.Packed(PACKED[0], offsets), out)
    assert list(continuum.indexes(KEYS)) == list(out)
    assert list(continuum.indexes(KEYS)) == list(continuum.indexes(KEYS, out))


def test_an_out_that_is_resized_meanwhile(continuum: ketama.Continuum) -> None:
    """If the iterator of the keys resizes `out`, that is detected before writing to it."""
    out = array("I", [7])

    def keys() -> Iterator[str]:
        yield "a"
        out.extend([7] * 100_000)
        yield "b"

    with pytest.raises(
        ValueError, match="invalid out of 100001 items: must have one per key, 2"
    ):
        continuum.indexes(keys(), out)
    assert set(out) == {7}


def test_more_servers_than_fit_in_uint16() -> None:
    """The indexes of 65,536 servers fit in 16 bits, those of 65,537 do not."""
    names = [f"s{number}" for number in range(65_537)]
    fits, exceeds = ketama.Continuum(names[:-1]), ketama.Continuum(names)
    for keys in (["key"], PACKED_KEY):
        out = array("H", [7])
        assert list(fits.indexes(keys)) == list(fits.indexes(keys, out))
        out[0] = 7
        with pytest.raises(
            ValueError, match="invalid out of uint16: must be uint32 for 65537 servers"
        ):
            exceeds.indexes(keys, out)
        assert out[0] == 7


def test_numpy(continuum: ketama.Continuum) -> None:
    """NumPy arrays work as offsets, data and `out`, and NumPy reads the result."""
    np = need_module("numpy")
    data = np.frombuffer(PACKED[0], dtype=np.uint8)
    for dtype in (np.int32, np.uint32, np.int64, np.uint64):
        keys = ketama.Packed(data, np.array(PACKED[1], dtype=dtype))
        for out in (np.zeros(4, np.uint32), np.zeros(4, np.uint16)):
            assert out is continuum.indexes(keys, out)
            assert list(continuum.indexes(KEYS)) == out.tolist()
    assert np.asarray(continuum.indexes(KEYS)).dtype == np.uint32


def test_arrow(continuum: ketama.Continuum) -> None:
    """The buffers of Arrow's string arrays, small and large, work as packed keys."""
    pa = need_module("pyarrow")
    for kind in (pa.string(), pa.binary(), pa.large_string()):
        _, buffer, data = pa.array(KEYS, type=kind).buffers()
        raw = memoryview(buffer).cast("B")
        offsets = raw[:40].cast("q") if kind == pa.large_string() else raw[:20].cast("i")
        keys = ketama.Packed(data, offsets)
        assert continuum.lookup_many(KEYS) == continuum.lookup_many(keys)


# ---- Successors and exclusion


def test_successors(continuum: ketama.Continuum) -> None:
    """All servers are listed once, the key's own first; `count` truncates the list."""
    for key in ("a", b"b", bytearray(b"c"), memoryview(b"d")):
        order = continuum.successors(key)
        assert len(order) == len(set(order)) == len(SERVERS)
        assert order[0] == continuum[key]
        for count in range(len(SERVERS) + 2):
            assert order[:count] == continuum.successors(key, count)


def test_successors_when_the_first_is_removed(continuum: ketama.Continuum) -> None:
    """With equal weights, the keys of a removed server go to its successors."""
    names = [f"s{number}" for number in range(10)]
    all_of_them = ketama.Continuum(names)
    for key in map(str, range(200)):
        first, second, *_ = all_of_them.successors(key)
        rest = ketama.Continuum([name for name in names if name != first])
        assert second == rest[key]


def test_successors_of_a_duplicate_address() -> None:
    """An address that the file lists twice is listed only once."""
    continuum = ketama.Continuum([("a:1", 1), ("b:1", 2), ("a:1", 5), ("a:1", 9)])
    for key in map(str, range(50)):
        assert sorted(continuum.successors(key)) == ["a:1", "b:1"]
        assert len(continuum.successors(key, 2)) == 2
        assert continuum.lookup(key, exclude={"a:1"}) == "b:1"


def test_servers_without_points_are_not_successors() -> None:
    """A server without points is never a successor."""
    continuum = ketama.Continuum({"a:1": 1, "b:1": 100000, "c:1": 50000})
    assert sorted(continuum.successors("key")) == ["b:1", "c:1"]
    assert continuum.lookup("key", exclude={"b:1", "c:1"}) is None


@pytest.mark.parametrize(
    ("key", "count", "error"),
    [("a", -1, ValueError), ("a", "1", TypeError), ("a", 1.0, TypeError), (7, 1, TypeError)],
)
def test_wrong_successors(
    continuum: ketama.Continuum, key: Any, count: Any, error: type[Exception]
) -> None:
    """Invalid counts and keys of a wrong type are errors."""
    with pytest.raises(error):
        continuum.successors(key, count)


def test_exclude(continuum: ketama.Continuum) -> None:
    """Lookups return the first successor that is not excluded; None if all are."""
    for key in ("a", b"b", bytearray(b"c")):
        order = continuum.successors(key)
        for count in range(len(order)):
            for kind in (set, frozenset, list, tuple, dict.fromkeys):
                away = kind(order[:count])
                assert order[count] == continuum.lookup(key, exclude=away)
                assert order[count] == continuum.lookup(key, away)
        assert continuum.lookup(key, exclude=set(order)) is None
        assert continuum.lookup(key, exclude={"elsewhere:1"}) == order[0]
        assert continuum.lookup(key=key, exclude=None) == order[0]


def test_exclude_in_every_lookup(continuum: ketama.Continuum) -> None:
    """Batches, groups, indexes and successors exclude what a single lookup excludes."""
    keys = [f"key {number}" for number in range(300)]
    ends = [0, *itertools.accumulate(map(len, keys))]
    packed = ketama.Packed("".join(keys).encode(), array("I", ends))
    mixed: list[ketama.Key] = [bytearray(keys[0].encode()), *keys[1:]]
    addresses = continuum.addresses
    for count in range(len(addresses)):
        away = frozenset(addresses[:count])
        expected = [continuum.lookup(key, exclude=away) for key in keys]
        assert away.isdisjoint(map(str, expected))
        kinds: list[Any] = [keys, packed, mixed, iter(keys)]
        for many in kinds:
            assert continuum.lookup_many(many, exclude=away) == expected
        assert continuum.lookup_many(keys, set(away)) == expected
        groups = continuum.group_by_server(keys, exclude=away)
        assert {key: server for server in groups for key in groups[server]} == dict(
            zip(keys, expected, strict=True)
        )
        at = [addresses.index(address or "") for address in expected]
        assert [*continuum.indexes(keys, exclude=away)] == at
        for many in (keys, packed):
            out = array("H", [0] * len(keys))
            assert continuum.indexes(many, out, away) is out
            assert [*out] == at
        for key, address in zip(keys, expected, strict=True):
            order = [a for a in continuum.successors(key) if a not in away]
            assert order[0] == address
            assert continuum.successors(key, exclude=away) == order
            assert continuum.successors(key, 1, away) == [address]


def test_all_servers_excluded(continuum: ketama.Continuum) -> None:
    """No key has a server then; `indexes` has no index for that, and leaves `out` alone."""
    away = frozenset(continuum.addresses)
    packed = ketama.Packed(b"ab", array("I", [0, 1, 2]))
    kinds: list[Any] = [["a", "b"], packed, ["a", bytearray(b"b")]]
    for keys in kinds:
        assert continuum.lookup_many(keys, exclude=away) == [None, None]
        assert continuum.group_by_server(keys, exclude=away) == {None: [*keys]}
        outs: list[Any] = [None, array("I", [7, 7])]
        for out in outs:
            with pytest.raises(ValueError, match="must leave a server that has points"):
                continuum.indexes(keys, out, exclude=away)
            assert out is None or [*out] == [7, 7]
    assert continuum.lookup_many([], exclude=away) == []
    assert continuum.successors("a", exclude=away) == []


def test_exclude_of_the_version_that_answers(tmp_path: Path) -> None:
    """What was made of a frozenset for one version does not serve another one."""
    path = tmp_path / "ketama.servers"
    path.write_text("a:1 1\nb:1 1\nc:1 1\n")
    continuum = ketama.Continuum(path)
    away = frozenset({"a:1", "b:1"})
    assert continuum.lookup("key", away) == "c:1"
    path.write_text("c:1 1\nb:1 1\na:1 1\nd:1 1\ne:1 1\n")
    assert continuum.roll()
    found = continuum.lookup_many([str(number) for number in range(200)], away)
    assert {*found} == {"c:1", "d:1", "e:1"}
    assert continuum.lookup("key", frozenset({"c:1", "d:1", "e:1"})) in away


class RollsWhenAsked:
    """A container that rolls the continuum when it is asked for the first address."""

    def __init__(self, continuum: ketama.Continuum, path: Path) -> None:
        self.continuum, self.path, self.asked = continuum, path, 0

    def __contains__(self, address: object) -> bool:
        self.asked += 1
        if self.asked == 1:
            self.path.write_text("z:1 1\n")
            assert self.continuum.roll()
        return address == "a:1"


@pytest.mark.parametrize("many", [False, True])
def test_a_container_that_rolls(tmp_path: Path, many: bool) -> None:
    """The version that a lookup began with answers, whatever happens meanwhile."""
    path = tmp_path / "ketama.servers"
    path.write_text("a:1 1\nb:1 1\n")
    continuum = ketama.Continuum(path)
    container = RollsWhenAsked(continuum, path)
    if many:
        assert continuum.lookup_many(["k", "l"], container) == ["b:1", "b:1"]
    else:
        assert continuum.lookup("k", container) == "b:1"
    assert continuum.addresses == ("z:1",)


WRONG_EXCLUDES: dict[str, Callable[[ketama.Continuum, Any], object]] = {
    "lookup": lambda c, exclude: c.lookup("key", exclude=exclude),
    "lookup_many": lambda c, exclude: c.lookup_many(["key"], exclude=exclude),
    "group_by_server": lambda c, exclude: c.group_by_server(["key"], exclude=exclude),
    "indexes": lambda c, exclude: c.indexes(["key"], exclude=exclude),
    "successors": lambda c, exclude: c.successors("key", exclude=exclude),
}


@pytest.mark.parametrize("call", WRONG_EXCLUDES.values(), ids=WRONG_EXCLUDES)
@pytest.mark.parametrize("exclude", ["10.0.0.1:11211", b"x", 7, iter(["a"])])
def test_an_exclude_that_is_not_a_set(
    continuum: ketama.Continuum, exclude: Any, call: Callable[[ketama.Continuum, Any], object]
) -> None:
    """A single address or an iterator is rejected as `exclude`."""
    with pytest.raises(TypeError, match="exclude must be a set of addresses, not"):
        call(continuum, exclude)


def test_wrong_arguments(continuum: ketama.Continuum) -> None:
    """Calls with wrong arguments raise TypeError."""
    for wrong in (
        lambda: continuum.lookup(),  # type: ignore[call-overload]
        lambda: continuum.lookup("a", None, None),  # type: ignore[call-overload]
        lambda: continuum.lookup("a", other=1),  # type: ignore[call-overload]
        lambda: continuum.get_server(),  # type: ignore[call-arg]
        lambda: continuum.lookup_many(),  # type: ignore[call-overload]
        lambda: continuum.lookup_many("a", "b", "c"),  # type: ignore[call-overload]
    ):
        with pytest.raises(TypeError):
            wrong()

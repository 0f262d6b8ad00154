"""The continuum: maps keys to servers."""

from __future__ import annotations

import errno
import os
from _thread import RLock
from collections import namedtuple
from collections.abc import Callable, Container, Iterable
from operator import index

import ketama
from ketama._ketama import ffi, lib
from ketama.buffers import Buffer, Packed, output
from ketama.errors import KetamaOSError, failure
from ketama.keys import Key, key_bytes
from ketama.lookups import (
    Lookups,
    Version,
    fastest,
    find_buffers,
    mask_of,
    packed_buffers,
    successors,
)
from ketama.servers import Entry, Server, Servers, addresses_of, from_c, name_of, to_c

TYPE_CHECKING = False
if TYPE_CHECKING:
    from array import array
    from typing import Any, NamedTuple, TypeVar, overload

    from ketama.events import OnChange, OnError

    class Explanation(NamedTuple):
        """For type checkers; at run time a namedtuple, which needs no import of typing."""

        hash: int
        point: int
        server: str

    Self = TypeVar("Self", bound="Continuum")
    Out = TypeVar("Out")
    _Lookups = Lookups
else:
    Self = "Continuum"  # for typing.get_type_hints
    _Lookups = fastest()
    OnChange = OnError = Callable[..., object]
    Explanation = namedtuple("Explanation", "hash point server")
    Explanation.__annotations__ = {"hash": int, "point": int, "server": str}
    Explanation.__doc__ = """How a key is found; see `Continuum.explain`."""

Path = str | bytes | os.PathLike[str] | os.PathLike[bytes]

KEY_SPACE = 2**32
AUTO_ROLL_MAX = 10**9  # seconds
NO_INDEX = b"\xff" * 4  # KETAMA_NO_SERVER
NONE_LEFT = "invalid exclude: must leave a server that has points"
# Held only while a newer version replaces an older one, so no thread waits for a build.
# Reentrant, because a signal handler may roll. Renewed in a forked child, because the thread
# that held it does not exist there.
_swap_lock = RLock()


def _renew_swap_lock() -> None:
    global _swap_lock
    _swap_lock = RLock()


os.register_at_fork(after_in_child=_renew_swap_lock)


def _version(handle: Any) -> Version:
    """Return a version that owns a C handle, with its addresses decoded once."""
    owned = ffi.gc(handle, lib.ketama_close)
    return owned, addresses_of(owned), int(ffi.cast("uintptr_t", owned))


def absolute(filename: str | bytes) -> bytes:
    """Return a path that does not depend on the working directory.

    Symbolic links and ".." are kept, as their targets may change.
    """
    path = os.fsencode(filename)
    if b"\0" in path:
        raise ValueError(f"invalid path {filename!r:.80}: has a NUL byte")
    if not path or os.path.isabs(path):
        return path
    try:
        return os.path.join(os.getcwdb(), path)
    except OSError as error:  # the working directory was removed
        raise KetamaOSError(error.errno, error.strerror, filename) from None


def _not_opened(error: Exception, source: object) -> Exception:
    """Return the error of a source; for addresses in place of a path, with the remedy."""
    if not (isinstance(source, str) and isinstance(error, KetamaOSError)):
        return error
    from ketama.addresses import find_address

    servers = source.replace(";", ",").split(",")
    addresses = [find_address(server) for server in servers]
    if error.errno != errno.ENOENT or not all(found and found.port for found in addresses):
        return error
    reason = (
        f"{error.strerror}: expected the path of a server file; for a list of servers, write "
        f"{servers!r:.200}"
    )
    return KetamaOSError(error.errno, reason, source)


def _mask_with_any_left(exclude: Container[str], version: Version) -> bytes:
    """Return which servers are excluded, unless all are that have points."""
    mask = mask_of(exclude, version[1])
    if lib.ketama_find_among(version[0], b"", 0, mask, ffi.NULL) == lib.KETAMA_NO_SERVER:
        raise ValueError(NONE_LEFT)
    return mask


class Continuum(_Lookups):
    """A consistent-hash ring loaded from a file or a list; `roll()` reloads it.

    source: the path of a server file (str, bytes or os.PathLike), or the servers themselves:
        an iterable of "address", ("address", weight) or ("address", weight, name), or a
        mapping of address to weight. The default weight is 100. Of the tuples with two items,
        those with an address without a port and a weight from 11210 to 11219 are refused:
        they are likely to be (host, port), the form of other clients.
    shared: attach to the image of the file that another process of this user has published,
        or publish one. False: build a private one.
    auto_roll: None, or an interval in seconds, above 0, at most 10**9: lookups then reload
        the file themselves. They switch to a version that another process has published at
        once, and check the file at most once per interval. After an error, they keep the
        last valid version, and `last_error` holds the error. While one thread's check is
        running, no other thread begins one: on a file system that hangs, one thread is lost.
    fallback: True: if the file is missing or invalid at the start, use the servers of its
        last valid version that any process of this user has shared, if there is one;
        `last_error` holds the error. Without effect if `shared` is False.
    on_change: called as on_change(before, after), two tuples of addresses, after the file was
        reloaded, in the thread that did.
    on_error: called as on_error(error) if the file cannot be used; not again while the same
        error lasts. What either raises reaches the caller of `roll` or of the lookup.

    The logger "ketama" reports the same: a reload at INFO, an error at WARNING.

    profile: the dialect of ketama, such as "twemproxy"; `ketama.profiles()` lists them. None:
        that of the server file's `#ketama` line, or "libketama".
    hash, hash_tag, points, default_port, format, filter, filter_conf, seed, delimiter: the
        options of that profile (docs/profiles.md). None: that of the `#ketama` line, or the
        profile's default.
    buckets: how many the file lists, likewise, if the profile is "buckets" (docs/buckets.md).

    Raises ServersError if the file or the list is invalid, or the file states another profile
    or option; ProfileError, a ValueError, for a profile or an option that does not exist or
    has an invalid value; KetamaOSError if the file cannot be read; TypeError for a source, an
    address, a weight, an option or an auto_roll of the wrong type; ValueError if auto_roll is
    out of range, or the source is not a file.

    Any number of threads may use one Continuum, even while one of them rolls it; so may
    forked children. Each call is answered from one version, never from a mix.
    A drop-in replacement for the class of the same name in python_ketama.

    >>> c = Continuum([("127.0.0.1:11211", 600), ("127.0.0.1:11212", 400)])
    >>> c.get_server("test")
    (3454255383, '127.0.0.1:11211')
    >>> c["test"]
    '127.0.0.1:11211'
    """

    __slots__ = (
        "__weakref__", "_callbacks", "_filename", "_last_error", "_options", "_path",
        "_settings",
    )  # fmt: skip

    _callbacks: tuple[OnChange | None, OnError | None]

    _filename: str | bytes | None
    _path: bytes | None
    _last_error: Exception | None
    _options: tuple[bool, float | None, bool]  # shared, auto_roll, fallback
    _settings: bytes  # the options of the profile, as libketama reads them

    def __init__(
        self,
        source: Path | Servers,
        *,
        shared: bool = True,
        auto_roll: float | None = None,
        fallback: bool = False,
        on_change: OnChange | None = None,
        on_error: OnError | None = None,
        profile: str | None = None,
        hash: str | None = None,  # noqa: A002
        hash_tag: str | None = None,
        points: int | None = None,
        default_port: int | None = None,
        format: str | None = None,  # noqa: A002
        filter: str | None = None,  # noqa: A002
        filter_conf: str | None = None,
        seed: str | None = None,
        delimiter: str | None = None,
        buckets: int | None = None,
    ) -> None:
        options = {
            "profile": profile,
            "hash": hash,
            "hash_tag": hash_tag,
            "points": points,
            "default_port": default_port,
            "format": format,
            "filter": filter,
            "filter_conf": filter_conf,
            "seed": seed,
            "delimiter": delimiter,
            "buckets": buckets,
        }
        settings = b""
        if any(value is not None for value in options.values()):
            from ketama.settings import settings_text

            settings = settings_text(options)
        self._callbacks = on_change, on_error
        self._open(source, shared, auto_roll, fallback, settings)

    def _open(
        self,
        source: Path | Servers,
        shared: bool,
        auto_roll: float | None,
        fallback: bool,
        settings: bytes,
    ) -> None:
        """Load the source, with the options of a profile as libketama reads them."""
        if auto_roll is not None and not hasattr(auto_roll, "__float__"):
            raise TypeError(
                f"auto_roll must be seconds, a number, not {type(auto_roll).__name__}"
            )
        if auto_roll is not None and not 0 < auto_roll <= AUTO_ROLL_MAX:
            raise ValueError(
                f"invalid auto_roll {auto_roll!r}: must be seconds, above 0, "
                f"at most {AUTO_ROLL_MAX}"
            )
        filename = path = None
        out, failed = ffi.new("ketama_continuum *"), ffi.new("ketama_failure *")
        if isinstance(source, (str, bytes, os.PathLike)):
            filename = os.fspath(source)
            path = absolute(filename)
            flags = 0 if shared else lib.KETAMA_PRIVATE
            flags |= lib.KETAMA_FALLBACK if fallback else 0
            status = lib.open_file(out, path, flags, settings, failed)
        else:
            if not hasattr(source, "__iter__"):
                raise TypeError(
                    "source must be a path, an iterable of servers or a mapping of address to "
                    f"weight, not {type(source).__name__}"
                )
            if auto_roll is not None:
                raise ValueError(
                    "invalid auto_roll: a list of servers cannot change; pass a server file"
                )
            array, count, _texts = to_c(source)
            status = lib.open_servers(out, array, count, settings, failed)
        if status < 0:
            raise _not_opened(failure(failed, filename), source)
        if auto_roll is not None:
            lib.ketama_follow(out[0], max(1, int(auto_roll * 1e9)))
        self._filename = filename
        self._path = path
        self._options = shared, auto_roll, fallback
        self._adopt(out[0])
        if status == lib.KETAMA_FELL_BACK:
            self._failed(failed)

    def _adopt(self, handle: object) -> None:
        self._settings = ffi.string(lib.settings_of(handle))
        self._last_error = None
        self._now = _version(handle)

    if TYPE_CHECKING:

        @overload
        def indexes(
            self,
            keys: Iterable[Key] | Packed,
            out: None = None,
            exclude: Container[str] | None = None,
        ) -> array[int]: ...
        @overload
        def indexes(
            self, keys: Iterable[Key] | Packed, out: Out, exclude: Container[str] | None = None
        ) -> Out: ...

    def indexes(
        self,
        keys: Iterable[Key] | Packed,
        out: Buffer | None = None,
        exclude: Container[str] | None = None,
    ) -> Buffer:
        """Return the index of each key's server in `servers`: for NumPy, or millions of keys.

        keys: as for `lookup_many`. `Packed` keys need no Python object per key, and do not
            block other threads.
        out: a contiguous, one-dimensional buffer, such as a NumPy array, of uint32 or uint16,
            one item per key, to write to and return. None: a new array.array("I"), uint32.
        exclude: as for `lookup`.
        Raises what `lookup_many` raises; TypeError if `out` is any other object; ValueError
        if it has the wrong length, or is too narrow for that many servers, or if all servers
        are excluded. After an error, `out` is unchanged.
        """
        if out is not None and isinstance(keys, Packed):
            buffers = packed_buffers(keys)
            version = self._follow()
            mask = None if exclude is None else _mask_with_any_left(exclude, version)
            # Last, because the calls above may run Python code that changes `out`.
            view = output(out, buffers[-1], len(version[1]))
            find_buffers(version, buffers, mask, view, view.itemsize)
            return out
        found, servers = self._index_each(keys, exclude)
        if found[:4] == NO_INDEX:
            raise ValueError(NONE_LEFT)
        if out is None:
            from array import array

            return array("I", found)
        count = len(found) // 4
        view = output(out, count, servers)
        lib.copy_indexes(ffi.from_buffer(found), count, ffi.from_buffer(view), view.itemsize)
        return out

    def successors(
        self, key: Key, count: int | None = None, exclude: Container[str] | None = None
    ) -> list[str]:
        """Return distinct servers in ring order, starting at a key.

        The first is the one that `lookup` returns; the others are for the key's replicas, and
        for the key itself while the servers before them are down.

        count: how many at most. None: all that have points.
        exclude: a set of addresses to leave out, as for `lookup`.
        Raises TypeError for a key that is neither text nor bytes, ValueError for a negative
        count.
        """
        data = key_bytes(key)
        version = self._follow()
        servers = len(version[1])
        count = servers if count is None else index(count)
        if count < 0:
            raise ValueError(f"invalid count {count}: must not be negative")
        mask = None if exclude is None else mask_of(exclude, version[1])
        return successors(version, data, min(count, servers), mask)

    def _follow(self) -> Version:
        """Roll if that is due, and return the current version."""
        if lib.ketama_due(self._now[0]):
            self._roll_quietly()
        return self._now

    def _roll_quietly(self) -> None:
        try:
            self._roll()  # last_error holds an error; the last valid version stays in use
        except MemoryError:
            return

    def explain(self, key: Key) -> Explanation:
        """Return how a key is found: its hash, the point that owns it, and the server.

        All three are of one version. The hash and the point are from 0 to 2**32 - 1.
        Raises TypeError for a key that is neither text nor bytes.

        >>> Continuum({"127.0.0.1:11211": 600, "127.0.0.1:11212": 400}).explain("test")
        Explanation(hash=3446378249, point=3454255383, server='127.0.0.1:11211')
        """
        data = key_bytes(key)
        handle, addresses, _ = self._follow()
        hashed = lib.ketama_key_hash(handle, data, len(data))
        point = ffi.new("uint32_t *")
        server = lib.ketama_find_hash(handle, hashed, point)
        return Explanation(int(hashed), int(point[0]), addresses[server])

    def get_points(self) -> list[tuple[int, str]]:
        """Return all points in ascending order, each with its server's address."""
        handle, addresses, _ = self._follow()
        count = lib.ketama_count_points(handle)
        pairs = bytearray(count * ffi.sizeof("ketama_point"))
        lib.ketama_points(handle, 0, count, ffi.from_buffer("ketama_point[]", pairs))
        numbers = iter(memoryview(pairs).cast("I"))
        # zip alternates on one iterator: a point, its server, the next point ...
        return [
            (point, addresses[server]) for point, server in zip(numbers, numbers, strict=True)
        ]

    @property
    def servers(self) -> tuple[Server, ...]:
        """The servers in file order, with weight, number of points and exact share."""
        handle, addresses, _ = self._follow()
        return tuple(
            Server(address, row.weight, row.points, row.share / KEY_SPACE, name_of(row))
            for address, row in zip(addresses, from_c(handle), strict=True)
        )

    @property
    def addresses(self) -> tuple[str, ...]:
        """The addresses of `servers`: the same tuple object while the version is the same."""
        return self._follow()[1]

    def roll(self) -> bool:
        """Reload the server file if it has changed, and return whether it had.

        Costs one stat(2) if nothing changed; within two seconds of a change, the file is also
        read. A shared image that was truncated, or whose header was damaged, is replaced and
        counts as a change. Always False for a continuum made from a list of servers.

        Raises ServersError if the file is invalid, KetamaOSError if it cannot be read.
        `last_error` holds the error; lookups keep the last valid version, and the next roll
        checks the file again.
        """
        result = self._roll()
        if isinstance(result, Exception):
            raise result
        return result

    def _roll(self) -> bool | Exception:
        """Do what `roll` does, and return the error of the file; raise what callbacks do."""
        for changed in (False, True):
            now = self._now
            out, failed = ffi.new("ketama_continuum *"), ffi.new("ketama_failure *")
            status = lib.refresh(now[0], out, failed)
            if status < 0:
                self._failed(failed)
                return failure(failed, self._filename)
            if status == lib.KETAMA_OK:
                self._recovered()
                return changed
            newer = _version(out[0])
            with _swap_lock:
                swapped = self._now is now
                if swapped:
                    self._now = newer
                    self._last_error = None
            if swapped:
                self._changed(now, newer)
                return True
            # Another thread was faster, but may have read the file before this call began.
        # Other threads were faster twice. The second one started from the version of the
        # first, so it read the file after this call began.
        return True

    def _changed(self, before: Version, after: Version) -> None:
        from ketama import events

        # Not from the image: the one before may be damaged.
        events.changed(self._filename or "", before[1], after[1], self._callbacks[0])

    def _failed(self, record: object) -> None:
        """Keep the error of the file, and report it if it is another one than before."""
        # Not the object that is raised: its traceback would keep frames alive.
        before, self._last_error = self._last_error, failure(record, self._filename)
        if str(before) != str(self._last_error):
            from ketama import events

            events.failed(self._last_error, self._callbacks[1])

    def _recovered(self) -> None:
        before, self._last_error = self._last_error, None
        if before is not None:
            from ketama import events

            events.recovered(self._filename or "")

    def diff(self, other: Continuum) -> ketama.Diff:
        """Return which keys would move if `other` replaced this continuum, exactly.

        Compares the current versions of both rings arc by arc; nothing is sampled.
        Raises TypeError if `other` is not a Continuum.
        """
        from ketama.admin.diff import difference

        if not isinstance(other, Continuum):
            raise TypeError(f"other must be a Continuum, not {type(other).__name__}")
        return difference(self._follow(), other._follow())

    @property
    def shared(self) -> bool:
        """Whether the current version is mapped from shared memory."""
        return bool(lib.ketama_is_shared(self._now[0]))

    @property
    def filename(self) -> str | bytes | None:
        """The server file's path as it was passed in; None for a list of servers."""
        return self._filename

    @property
    def generation(self) -> int:
        """The number of the current version: 1 at first, 1 more after each reload."""
        return int(lib.ketama_generation(self._now[0]))

    @property
    def last_error(self) -> Exception | None:
        """The exception of the latest `roll`; None if it succeeded."""
        return self._last_error

    def __repr__(self) -> str:
        name = f"ketama.{type(self).__name__}"
        if self._filename is None:
            count = len(self._now[1])
            return f"<{name} of {count} server{'s' * (count != 1)}>"
        return f"<{name} from {os.fsdecode(self._filename)!r}>"

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        """Pickle the file's absolute path, to be loaded when unpickled, or the servers.

        Without on_change and on_error, which belong to this process.
        """
        if self._path is not None:
            path = os.fsdecode(self._path)
            return _reopen, (type(self), path, *self._options, self._settings)
        servers = [(server.address, server.weight, server.name) for server in self.servers]
        return _reopen, (type(self), servers, *self._options, self._settings)

    def __copy__(self: Self) -> Self:
        """Return another Continuum of the same version, which is rolled separately."""
        other = type(self).__new__(type(self))
        if hasattr(self, "__dict__"):  # a subclass's
            other.__dict__.update(self.__dict__)
        other._filename = self._filename
        other._path = self._path
        other._callbacks = self._callbacks
        other._options = self._options
        other._settings = self._settings
        other._last_error = self._last_error
        other._now = self._now
        return other

    def __deepcopy__(self: Self, memo: dict[int, object]) -> Self:
        """Return a copy; versions are immutable, so a shallow one suffices."""
        return self.__copy__()


def _reopen(
    kind: type[Self],
    source: str | list[Entry],
    shared: bool,
    auto_roll: float | None,
    fallback: bool,
    settings: bytes,
) -> Self:
    """Return an unpickled Continuum; a subclass with its own __init__ gets only the source."""
    if kind.__init__ is not Continuum.__init__:
        return kind(source)
    continuum = kind.__new__(kind)
    continuum._callbacks = None, None
    continuum._open(source, shared, auto_roll, fallback, settings)
    return continuum


def continuum_with(
    source: Path | Servers, settings: bytes, *, shared: bool = False
) -> Continuum:
    """Return the continuum of a source, with options as libketama reads them."""
    continuum = Continuum.__new__(Continuum)
    continuum._callbacks = None, None
    continuum._open(source, shared, None, False, settings)
    return continuum


def continuum_of_text(text: bytes, filename: str | bytes, settings: bytes = b"") -> Continuum:
    """Return the continuum of a server file's text, which never changes.

    filename: for the messages of errors.
    """
    out, failed = ffi.new("ketama_continuum *"), ffi.new("ketama_failure *")
    if lib.open_text(out, text, len(text), settings, failed) < 0:
        raise failure(failed, filename)
    return continuum_of_handle(out[0])


def continuum_of_handle(handle: object) -> Continuum:
    """Return the continuum of a C handle without a file, which it owns from now on."""
    continuum = Continuum.__new__(Continuum)
    continuum._filename = continuum._path = None
    continuum._callbacks = None, None
    continuum._options = False, None, False
    continuum._adopt(handle)
    return continuum


_rolled: dict[bytes, Continuum] = {}


def roll(path: Path) -> Continuum:
    """Return the process's one Continuum for a path, reloaded if the file has changed.

    Raises what `Continuum` raises for a new path, and what `Continuum.roll` raises for a
    known one. To keep the last valid version of a file that has become invalid, keep the
    Continuum and call its `roll`.
    """
    filename = os.fspath(path)
    continuum = _rolled.get(absolute(filename))
    if continuum is None:
        made = Continuum(filename)
        continuum = _rolled.setdefault(made._path or b"", made)
        if continuum is made:
            return made
    continuum.roll()
    return continuum


def get_server(key: Key, continuum: Continuum) -> tuple[int, str]:
    """Return a key's point and server: `Continuum.get_server` as the 2007 libketama has it."""
    return continuum.get_server(key)

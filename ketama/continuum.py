"""The continuum: which server a key belongs to."""

from __future__ import annotations

import os
from _thread import RLock
from collections import namedtuple
from itertools import islice
from operator import index

from ketama._ketama import ffi, lib
from ketama.buffers import Packed, output
from ketama.errors import KetamaError, KetamaOSError, failure
from ketama.keys import key_bytes
from ketama.lookups import Lookups, fastest, find_buffers, packed_buffers, successors
from ketama.servers import Server, from_c, name_of, to_c

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any, NamedTuple, TypeAlias, TypeVar

    from ketama.admin.diff import Diff
    from ketama.keys import Key
    from ketama.lookups import Version
    from ketama.servers import Servers

    class Explanation(NamedTuple):
        """What it is at run time, where typing is not worth its import."""

        hash: int
        point: int
        server: str

    Path: TypeAlias = str | bytes | os.PathLike[str] | os.PathLike[bytes]
    Self = TypeVar("Self", bound="Continuum")
    _Lookups = Lookups
else:
    _Lookups = fastest()
    Explanation = namedtuple("Explanation", "hash point server")
    Explanation.__doc__ = """How a key is found; see `Continuum.explain`."""

KEY_SPACE = 2**32
LONGEST = 10**9  # seconds of auto_roll
# Taken only to put a newer version in an older one's place, so nobody waits for a build.
# Reentrant, for a signal handler that rolls; renewed in a forked child, for the thread that
# held it does not exist there.
_turn = RLock()


def _renew_turn() -> None:
    global _turn
    _turn = RLock()


os.register_at_fork(after_in_child=_renew_turn)


def _version(handle: Any) -> Version:
    """Take over a C handle: it with its addresses, which are made into str here and once."""
    owned = ffi.gc(handle, lib.ketama_close)
    addresses = tuple(ffi.string(row.address).decode() for row in from_c(owned))
    return owned, addresses, int(ffi.cast("uintptr_t", owned))


def absolute(filename: str | bytes) -> bytes:
    """Make a path independent of the working folder, and no more than that.

    Symbolic links and ".." stay as they are: where they lead may change.
    """
    path = os.fsencode(filename)
    if b"\0" in path:
        raise ValueError("path has a NUL byte in it")
    if not path or os.path.isabs(path):
        return path
    try:
        return os.path.join(os.getcwdb(), path)
    except OSError as error:  # the working folder is gone
        raise KetamaOSError(error.errno, error.strerror, filename) from None


class Continuum(_Lookups):
    """The servers on their circle, as of now, until `roll` is called.

    source: the path of a server file (str, bytes or os.PathLike), or the servers themselves:
        an iterable of "address" or ("address", weight), or a mapping of address to weight.
        The weight is 100 where none is given.
    shared: whether to attach to the image of the file that another process has published
        for all of this user's processes, or to publish one. False: build one's own.
    auto_roll: None, or seconds: lookups then follow the file by themselves. They take up a
        version that another process has published at once, and look at the file at most
        once in that time. An error leaves the last good version and is kept in `last_error`.

    Raises ServersError where the file or the list is wrong, KetamaOSError where the file
    can't be read, TypeError for a source, an address or a weight of a wrong type, ValueError
    for an auto_roll that is not above 0, or has no file to follow.

    One Continuum may be used by any number of threads, also while one of them rolls it, and
    in children that are forked off. Each call is answered from one version, never a mix.
    It takes the place of python_ketama's class of the same name, and of pyketama's.

    >>> c = Continuum([("127.0.0.1:11211", 600), ("127.0.0.1:11212", 400)])
    >>> c.get_server("test")
    (3454255383, '127.0.0.1:11211')
    >>> c["test"]
    '127.0.0.1:11211'
    """

    __slots__ = ("__weakref__", "_filename", "_last_error", "_options", "_path")

    _filename: str | bytes | None
    _path: bytes | None
    _last_error: Exception | None
    _options: tuple[bool, float | None]

    def __init__(
        self, source: Path | Servers, *, shared: bool = True, auto_roll: float | None = None
    ) -> None:
        if auto_roll is not None and not 0 < auto_roll <= LONGEST:
            raise ValueError(
                f"auto_roll must be from above 0 to {LONGEST} seconds, not {auto_roll!r}"
            )
        filename = path = None
        out, failed = ffi.new("ketama_continuum *"), ffi.new("ketama_failure *")
        if isinstance(source, (str, bytes, os.PathLike)):
            filename = os.fspath(source)
            path = absolute(filename)
            flags = 0 if shared else lib.KETAMA_PRIVATE
            status = lib.open_file(out, path, flags, ffi.NULL, ffi.NULL, failed)
        else:
            if not hasattr(source, "__iter__"):
                raise TypeError(
                    "source must be a path, an iterable of servers or a mapping of address to "
                    f"weight, not {type(source).__name__}"
                )
            if auto_roll is not None:
                raise ValueError("auto_roll needs a server file to follow, not servers")
            array, count, _kept_alive = to_c(source)
            status = lib.open_servers(out, array, count, ffi.NULL, ffi.NULL, failed)
        if status < 0:
            raise failure(failed, filename)
        if auto_roll is not None:
            lib.ketama_follow(out[0], max(1, int(auto_roll * 1e9)))
        self._filename = filename
        self._path = path
        self._options = shared, auto_roll
        self._last_error = None
        self._now = _version(out[0])

    def indexes(self, keys: Iterable[Key] | Packed, out: Any = None) -> Any:
        """Give the index of each key's server in `servers`, for NumPy and for millions of keys.

        keys: as for `lookup_many`; `Packed` keys are found without a Python object for each,
            and without holding up other threads.
        out: where to write to, and what is then returned: a contiguous buffer, such as a NumPy
            array, of exactly as many uint32 or uint16 as there are keys. None: a new
            array.array("I"), uint32.
        Raises what `lookup_many` raises, TypeError where `out` is no such buffer, ValueError
        where it has another length, or the indexes do not fit in 16 bits; it is then untouched.
        """
        if out is not None and isinstance(keys, Packed):
            buffers = packed_buffers(keys)
            version = self._follow()
            # Taken last, when no more of anybody's code will run.
            view = output(out, buffers[-1], len(version[1]))
            find_buffers(version, buffers, view, view.itemsize)
            return out
        found, servers = self._index_each(keys)
        if out is None:
            from array import array

            return array("I", found)
        count = len(found) // 4
        view = output(out, count, servers)
        lib.copy_indexes(ffi.from_buffer(found), count, ffi.from_buffer(view), view.itemsize)
        return out

    def successors(self, key: Key, count: int | None = None) -> list[str]:
        """Give distinct servers in the order of the circle from a key on.

        The first is the one that `lookup` gives; the others are where the key's replicas go,
        and where the key itself goes when the ones before are away.

        count: how many at most. None: all that have points.
        Raises TypeError for a key that is neither text nor bytes, ValueError for a negative
        count.
        """
        data = key_bytes(key)
        version = self._follow()
        if count is None:
            return list(successors(version, data, len(version[1])))
        count = index(count)
        if count < 0:
            raise ValueError(f"count must not be negative, and is {count}")
        count = min(count, len(version[1]))
        return list(islice(successors(version, data, max(1, count)), count))

    def _follow(self) -> Version:
        """Roll where it is due, and give the version that is then the newest."""
        if lib.ketama_due(self._now[0]):
            self._roll_quietly()
        return self._now

    def _roll_quietly(self) -> None:
        try:
            self.roll()
        except (KetamaError, MemoryError):
            return  # it is in last_error, and the last good version goes on

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
        """Give all points, ascending, each with its server's address."""
        handle, addresses, _ = self._follow()
        count = lib.ketama_count_points(handle)
        pairs = bytearray(count * ffi.sizeof("ketama_point"))
        lib.ketama_points(handle, 0, count, ffi.from_buffer("ketama_point[]", pairs))
        numbers = iter(memoryview(pairs).cast("I"))
        # zip takes from the one iterator in turn: a point, its server, a point ...
        return [
            (point, addresses[server]) for point, server in zip(numbers, numbers, strict=True)
        ]

    @property
    def servers(self) -> tuple[Server, ...]:
        """The servers in the order of the file, with weight, number of points, exact share."""
        handle, addresses, _ = self._follow()
        return tuple(
            Server(address, row.weight, row.points, row.share / KEY_SPACE, name_of(row))
            for address, row in zip(addresses, from_c(handle), strict=True)
        )

    def roll(self) -> bool:
        """Take up the server file again if it has changed, and say whether it had.

        It costs one stat(2) when nothing changed (and, within two seconds of a change, the
        reading of the file). False for a continuum that was made of servers.

        Raises ServersError or KetamaOSError where the file is wrong or gone. That is also
        kept in `last_error`; lookups go on with the last good version, and the next roll
        looks again.
        """
        for changed in (False, True):
            now = self._now
            out, failed = ffi.new("ketama_continuum *"), ffi.new("ketama_failure *")
            status = lib.refresh(now[0], out, failed)
            if status < 0:
                # Another than the one that is raised, whose traceback would keep frames alive.
                self._last_error = failure(failed, self._filename)
                raise failure(failed, self._filename)
            if status == lib.KETAMA_OK:
                self._last_error = None
                return changed
            newer = _version(out[0])
            with _turn:
                if self._now is now:
                    self._now = newer
                    self._last_error = None
                    return True
            # Another thread was faster. What it saw may be older than this call: look again.
        # Twice another was faster. The second one set out from the first one's version, so
        # it looked at the file after this call had begun.
        return True

    def diff(self, other: Continuum) -> Diff:
        """Tell which keys would move if `other` took this one's place, exactly.

        The two circles are compared arc by arc; nothing is sampled. Each of the two is taken
        as it is now. Raises TypeError where `other` is no Continuum.
        """
        from ketama.admin.diff import difference

        if not isinstance(other, Continuum):
            raise TypeError(f"other must be a Continuum, not {type(other).__name__}")
        return difference(self._follow(), other._follow())

    @property
    def shared(self) -> bool:
        """Whether the version in use is mapped from memory that processes share."""
        return bool(lib.ketama_is_shared(self._now[0]))

    @property
    def filename(self) -> str | bytes | None:
        """The server file's path as it was given; None where servers were given."""
        return self._filename

    @property
    def generation(self) -> int:
        """Which version this is: 1 at first, and 1 more with each newer one."""
        return int(lib.ketama_generation(self._now[0]))

    @property
    def last_error(self) -> Exception | None:
        """What the latest `roll` raised; None where it was good."""
        return self._last_error

    def __repr__(self) -> str:
        name = f"ketama.{type(self).__name__}"
        if self._filename is None:
            return f"<{name} of {len(self._now[1])} servers>"
        return f"<{name} from {os.fsdecode(self._filename)!r}>"

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        """Pickle as the file's absolute path, to be read there and then, or as the servers."""
        if self._path is not None:
            return _reopen, (type(self), os.fsdecode(self._path), *self._options)
        return type(self), (
            [
                (server.address, server.weight)
                if server.name is None
                else (server.address, server.weight, server.name)
                for server in self.servers
            ],
        )

    def __copy__(self: Self) -> Self:
        """Give another Continuum of the same version, which rolls by itself."""
        other = type(self).__new__(type(self))
        if hasattr(self, "__dict__"):  # a subclass's
            other.__dict__.update(self.__dict__)
        other._filename = self._filename
        other._path = self._path
        other._options = self._options
        other._last_error = self._last_error
        other._now = self._now
        return other

    def __deepcopy__(self: Self, memo: dict[int, object]) -> Self:
        """Versions are immutable, so there is nothing deeper to copy."""
        return self.__copy__()


def _reopen(kind: type[Self], path: str, shared: bool, auto_roll: float | None) -> Self:
    """Unpickle."""
    if kind.__init__ is not Continuum.__init__:
        return kind(path)
    return kind(path, shared=shared, auto_roll=auto_roll)


_rolled: dict[bytes, Continuum] = {}


def roll(path: Path) -> Continuum:
    """Give the process's one Continuum for a path, rolled now.

    Raises what `Continuum` raises when the path is new, and what `Continuum.roll` raises
    when it is known. To go on with the last good version of a file that has become wrong,
    keep the Continuum and call its `roll`.
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
    """Give a key's point and server, as `Continuum.get_server`: libketama's order of words."""
    return continuum.get_server(key)

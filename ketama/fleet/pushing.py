"""Change the list of a fleet, so that no operator overwrites another one's change."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import NamedTuple

from ketama.admin import server_file
from ketama.admin.check import Finding, examine
from ketama.admin.diff import Diff
from ketama.admin.edit import Edit
from ketama.continuum import Path
from ketama.errors import KetamaOSError
from ketama.fleet.errors import ConflictError, EngineError, RefusedError
from ketama.fleet.files import replace_copy
from ketama.fleet.folder import Snapshot
from ketama.fleet.stamp import (
    NO_DATE,
    VERSION_MAX,
    Stamp,
    accept,
    next_version,
    read_stamp,
    stamped,
)
from ketama.fleet.store import Client, Store
from ketama.settings import settings_text

# Called with the prepared text and the revision that it is for; returns when all machines are
# ready, or raises.
Prepare = Callable[[Store, bytes, int], None]


class Pushed(NamedTuple):
    """What a push has changed, or would change.

    version: of the list that the fleet has now. before: of the one until now, 0 if there was
    none. written: whether it was changed. diff: which keys move; None if there was no valid
    list. warnings: of the check. file_written: whether the pushed file states the version now.
    """

    version: int
    before: int
    written: bool
    diff: Diff | None
    warnings: list[Finding]
    file_written: bool = False


class FleetEdit(Edit):
    """The list of a fleet that is being edited; `edit` returns it.

    Attributes:
        version: of the list before the edit, and after it, of the one that was pushed.

    """

    __slots__ = ("_domain", "version")

    def __init__(
        self, store: Store, text: bytes, create: bool = False, settings: bytes = b""
    ) -> None:
        super().__init__(store.url.text, text, create, settings)
        self._domain = store.domain
        self.version = read_stamp(text).version

    @property
    def _is_changed(self) -> bool:
        """Whether the edit changes the list, or machines refuse it as it is."""
        if read_stamp(self.text).content != read_stamp(self._text).content:
            return True
        try:
            accept(self._text, self._domain)
        except RefusedError:
            return bool(self._text)
        return False


@contextmanager
def edit(
    store: Store,
    *,
    dry_run: bool = False,
    max_moved: float = 1.0,
    create: bool = False,
    profile: str | None = None,
    **options: str | int | None,
) -> Iterator[FleetEdit]:
    """Edit the list of a fleet: all changes take effect at once, or none.

        with ketama.fleet.edit(store, max_moved=0.2) as servers:
            servers.add("10.0.1.9:11211", 600)

    dry_run, max_moved, create, profile, options: as of `ketama.edit`.

    Raises ServersError where the list would be invalid, or more keys would move; ConflictError
    where somebody else has changed it during the block: then repeat the block. EngineError
    where the engine refuses, or has no list.
    """
    if not 0 <= max_moved <= 1:
        raise ValueError(f"invalid max_moved {max_moved!r}: must be 0.0 to 1.0")
    settings = settings_text({"profile": profile, **options})
    with edit_with(store, settings, dry_run, max_moved, create) as editing:
        yield editing


@contextmanager
def edit_with(
    store: Store, settings: bytes, dry_run: bool, max_moved: float, create: bool
) -> Iterator[FleetEdit]:
    """Edit the list of a fleet as `edit` does, with options as libketama reads them."""
    current = store.read()
    if current.servers is None and not create:
        raise no_list(store)
    text = current.servers or b""
    editing = FleetEdit(store, text, create, settings)
    try:
        yield editing
    finally:
        editing._closed = True
    if not editing._is_changed:
        return
    _ = editing.after  # raises where the list would be invalid
    editing._check_moved(max_moved)
    if not dry_run:
        editing.version = _write(store, editing.text, current)


def push(
    path: Path,
    store: Store,
    *,
    dry_run: bool = False,
    max_moved: float = 1.0,
    prepare: Prepare | None = None,
) -> Pushed:
    """Make a server file the list of a fleet, and return what that changes.

    The file must have been pulled from the fleet, or pushed to it, at the largest version that
    the engine or a machine has now. Then its first line gets the new version. To a fleet
    without a list, any file can be pushed.

    path: of the file. max_moved: the largest share of the keys that may move, 0.0 to 1.0.
    dry_run: check everything, write nothing.
    prepare: waits until machines are ready to switch, see `Preparation`; None: they switch at
        once.

    Raises ConflictError where the fleet has another version than the file was pulled at;
    RefusedError where the file is for another fleet; ServersError where it is invalid, or more
    keys would move; KetamaOSError where it cannot be read; EngineError where the engine
    refuses; and what `prepare` raises.
    """
    filename = os.fspath(path)
    text = server_file.read_file(filename)
    clients = store.clients()
    current = store.read()  # later, so that no machine can have a newer list than this
    _check_base(os.fsdecode(filename), read_stamp(text), current, store, clients)
    pushed, new = _push(store, text, filename, current, dry_run, max_moved, prepare)
    if dry_run or new == text:
        return pushed
    try:
        replaced = replace_copy(filename, new, lambda found: found == text)
    except KetamaOSError:  # the push has taken effect
        replaced = False
    return pushed._replace(file_written=replaced)


def rollback(
    store: Store,
    *,
    dry_run: bool = False,
    max_moved: float = 1.0,
    prepare: Prepare | None = None,
) -> Pushed:
    """Make the list that was replaced last the list of a fleet again, as a new version.

    A second one undoes the first. The arguments and errors are those of `push`; EngineError
    with errno ENOENT where the fleet never had another list.
    """
    current = store.read()
    if current.before is None:
        reason = "the fleet has no earlier list to roll back to"
        raise EngineError(errno.ENOENT, reason, store.url.text)
    name = f"{store.url.text} (earlier list)"
    pushed, _ = _push(store, current.before, name, current, dry_run, max_moved, prepare)
    return pushed


def pull(store: Store, path: Path, *, force: bool = False) -> int:
    """Write the list of a fleet to a server file, atomically; return its version.

    force: even if the file has changes that were not pushed.

    Raises ConflictError where it has; RefusedError where the list is invalid; EngineError with
    errno ENOENT where the fleet has no list; KetamaOSError where it cannot be written.
    """
    filename = os.fspath(path)
    text, theirs = accept_list(store, store.read())

    def allowed(found: bytes) -> bool:
        if not force:
            _check_pulled(os.fsdecode(filename), found, theirs, store.domain)
        return True

    replace_copy(filename, text, allowed)
    return theirs.version


def accept_list(store: Store, snapshot: Snapshot) -> tuple[bytes, Stamp]:
    """Return the list of a fleet, and what its first line states.

    Raises RefusedError where machines would refuse the list; EngineError with errno ENOENT
    where the fleet has no list.
    """
    text = snapshot.servers
    if text is None:
        raise no_list(store)
    try:
        return text, accept(text, store.domain)
    except RefusedError as error:
        raise RefusedError(f"{store.url.text}: {error}") from None


def no_list(store: Store) -> EngineError:
    """Return the error for a fleet that has no list."""
    reason = (
        f"the fleet has no list yet: run 'ketama push FILE {store.url.text}', if the domain "
        f"{store.domain!r} is the right one"
    )
    return EngineError(errno.ENOENT, reason, store.url.text)


def _check_base(
    filename: str, mine: Stamp, current: Snapshot, store: Store, clients: list[Client]
) -> None:
    """Raise where a file is not one that the fleet's list may be replaced with."""
    if mine.domain not in (None, store.domain):
        raise RefusedError(
            f"{filename}: it is for domain {mine.domain}, not {store.domain}: remove that from "
            "its first line to push it there"
        )
    theirs = 0  # what the engine states in a list that machines refuse does not count
    with suppress(RefusedError):
        theirs = accept(current.servers or b"", store.domain).version
    # If the engine has lost its data, nobody may push an old list by mistake.
    dated = (client for client in clients if client.version < NO_DATE)
    newest = max(dated, key=lambda client: client.version, default=None)
    lost = newest is not None and newest.version > theirs
    version = newest.version if newest is not None and lost else theirs
    if mine.version >= version or mine.content == read_stamp(current.servers or b"").content:
        return
    remedy = f"run 'ketama pull {store.url.text} FILE' and edit that"
    if newest is not None and lost:
        remedy = f"etcd has lost that: push the file of machine {newest.machine}"
    remedy += (
        f", or replace the list whatever it is with 'ketama apply {filename} {store.url.text}'"
    )
    if not mine.version:
        raise ConflictError(f"{filename}: has no version, so it was not pulled: {remedy}")
    raise ConflictError(
        f"{filename}: was pulled at version {mine.version}, and the fleet has "
        f"{version}: {remedy}"
    )


def _push(
    store: Store,
    text: bytes,
    filename: str | bytes,
    current: Snapshot,
    dry_run: bool,
    max_moved: float,
    prepare: Prepare | None,
) -> tuple[Pushed, bytes]:
    """Return what a push has changed, and the list that the fleet has then."""
    if not 0 <= max_moved <= 1:
        raise ValueError(f"invalid max_moved {max_moved!r}: must be 0.0 to 1.0")
    old = current.servers or b""
    editing = FleetEdit(store, old, create=True)
    editing._replace_all(text, filename)
    mine, before = read_stamp(text), editing.version
    unchanged = Pushed(before, before, False, editing.diff(), _warnings(text))
    if mine.version <= before and not editing._is_changed:
        return unchanged, old
    editing._check_moved(max_moved)
    if dry_run:
        return unchanged, old
    version = _next(store, current, mine.version)
    new = stamped(text, store.domain, version)
    accept(new, store.domain)
    if prepare is not None:
        prepare(store, new, current.revision)
    store.write(new, current.revision)
    return unchanged._replace(version=version, written=True), new


def _warnings(text: bytes) -> list[Finding]:
    found = examine(lambda: text, compat=False).in_order()
    return [finding for finding in found if finding.severity == "warning"]


def _write(store: Store, text: bytes, current: Snapshot) -> int:
    """Write a list as the fleet's next version, and return that."""
    version = _next(store, current)
    new = stamped(text, store.domain, version)
    accept(new, store.domain)
    store.write(new, current.revision)
    return version


def _next(store: Store, current: Snapshot, *known: int) -> int:
    """Return a version that is larger than any that the engine or a machine has.

    A machine that claims what no clock leads to does not count: it could use up all versions.
    """
    lists = (current.servers, current.next, current.before)
    stated = [read_stamp(text or b"").version for text in lists]
    reported = [max(client.version, client.ready) for client in store.clients()]
    dated = [version for version in reported if version < NO_DATE]
    version = next_version(*known, *stated, *dated)
    if version > VERSION_MAX:
        raise RefusedError(
            f"{store.url.text}: a list or the file has version {VERSION_MAX}, the largest "
            f"possible: remove the version from the file, delete the keys "
            f"/ketama/{store.domain}/servers, next and before by etcdctl del, and the file of "
            f"each machine that has it; then push again"
        )
    return version


def _check_pulled(filename: str, found: bytes, theirs: Stamp, domain: str) -> None:
    """Raise where a file has something that would be lost."""
    mine = read_stamp(found)
    if not found or mine.content == theirs.content:
        return
    if not (mine.genuine and mine.domain == domain):
        raise ConflictError(
            f"{filename}: has changes that were not pushed: push them, or drop them with "
            "--force"
        )
    if mine.version >= theirs.version:
        other = "another list of that" if mine.version == theirs.version else theirs.version
        raise ConflictError(
            f"{filename}: has version {mine.version}, and the fleet has {other}, so etcd has "
            "lost changes: push the file, or drop them with --force"
        )

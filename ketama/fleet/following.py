"""Keep a machine's server file the list of its fleet."""

from __future__ import annotations

import errno
import logging
import math
import os
import random
import socket
import threading
import time
from contextlib import suppress

from ketama.admin import server_file
from ketama.continuum import Path, continuum_of_text
from ketama.errors import KetamaError, KetamaOSError, ServersError
from ketama.fleet.backoff import Backoff
from ketama.fleet.errors import EngineError, RefusedError, UnreachableError
from ketama.fleet.files import check_replaceable, read_copy, replace_copy
from ketama.fleet.folder import Snapshot
from ketama.fleet.notify import Notifier
from ketama.fleet.reach import unreachable_servers
from ketama.fleet.stamp import accept, read_stamp
from ketama.fleet.store import Client, Store
from ketama.fleet.verdict import BEHIND, OK, REFUSED, judge, judge_alone

logger = logging.getLogger("ketama.fleet")

LEASE = 30  # seconds
TICK = 2.0  # seconds between checks of the file
END = 2.0  # seconds that the watch gets to end
SILENCE = 30.0, 60.0  # seconds between reads that find a watch which has become silent
RIVAL = "another follower reports this name: give each machine its own by --machine"
NAME_MAX = 255  # characters of a machine's name
PREPARED = "prepared list: "
_Stamp = tuple[int, int, int, int]  # device, inode, size, ctime


class Follower:
    """Keeps a server file the list of a fleet, and reports what it has.

    The file is replaced atomically, as by `ketama.edit`, only if the list passes the check, its
    checksum and domain are right, and its version is higher than the file's. Whatever happens
    to the engine, the file stays as it is. A file that was edited by hand is left alone until a
    newer version comes.

    store: the fleet's. path: of the server file; its folder must be writable.
    machine: the name to report, other than any other one's; None: the host's name.
    lease: how long a report outlives a follower that was killed, seconds.

    Raises ValueError where the name of the machine does not print, has a slash, or is too long.
    """

    def __init__(
        self, store: Store, path: Path, *, machine: str | None = None, lease: int = LEASE
    ) -> None:
        self._store = store
        self._filename = os.fspath(path)
        self._name = os.fsdecode(self._filename)
        self._machine = machine or socket.gethostname()
        name = self._machine
        if not name.isprintable() or "/" in name or len(name) > NAME_MAX:
            raise ValueError(
                f"invalid machine {name!r:.80}: must print, without '/', and have at most "
                f"{NAME_MAX} characters"
            )
        self._seconds = lease
        # For a lock, and for connections: the lease, a third of which may be over, must outlive
        # both.
        self._patience = lease / 4  # seconds
        self._lock = threading.Lock()  # what the watching thread and `run` share
        self._snapshot: Snapshot | None = None
        self._seen: _Stamp | None = None  # the file's at the last verdict
        self._failing = False  # whether it could not be read or replaced
        self._known = 0  # the version that the file had last, or, if none, the first list's
        self._client = Client(self._machine, 0, BEHIND, since=time.time())
        self._stopping, self._news = threading.Event(), threading.Event()
        self._notifier = Notifier()
        self._reports = _Reports(store, lease)
        self._problem: int | None = None  # the errno of what ended the last watch
        self._prepared: bytes | None = None  # the list that `_ready` and `_unready` are about
        self._ready, self._unready = 0, ""

    @property
    def client(self) -> Client:
        """What is reported of this machine now."""
        return self._client

    def stop(self) -> None:
        """Make `run` return, from another thread; a signal handler has to start one."""
        self._stopping.set()
        self._news.set()

    def run(self) -> None:
        """Follow until `stop` is called.

        Raises KetamaOSError where there is a file that cannot be read at the start. All else is
        reported and logged, and tried again.
        """
        self._begin()
        watching = threading.Thread(target=self._watch, name="watch", daemon=True)
        watching.start()
        check = self._next_check()
        while not self._stopping.is_set():
            self._news.wait(self._tick())
            self._news.clear()
            if not watching.is_alive() and not self._stopping.is_set():
                raise RuntimeError("the thread that watches the engine has ended")
            self._look_at_file()
            self._prepare()
            self._reports.send(self._client)
            if time.monotonic() > check:
                self._find_silence()
                check = self._next_check()
            if self._store.is_watching_elsewhere:
                self._store.interrupt()
            self._notifier.alive(_in_words(self._client))
        self._notifier.stopping()
        self._end_watch(watching)
        self._reports.end()

    def _begin(self) -> None:
        """Begin with the file that is there, even if the engine is not."""
        with self._lock:
            self._seen = self._stamp_of_file()
            found = read_copy(self._filename)
            stamp = read_stamp(found)
            if stamp.genuine and stamp.domain == self._store.domain:
                self._known = stamp.version
            self._client = self._client._replace(version=self._known)
            if found and _is_valid(found):
                self._notifier.ready()

    def _end_watch(self, watching: threading.Thread) -> None:
        """End the watch, also one that is just being opened; do not wait for a dead engine."""
        deadline = time.monotonic() + END
        while watching.is_alive() and time.monotonic() < deadline:
            self._store.interrupt()
            watching.join(0.1)

    def _tick(self) -> float:
        half = self._notifier.watchdog / 2 if self._notifier.watchdog else TICK
        return min(TICK, half, self._seconds / 3)

    def _next_check(self) -> float:
        return time.monotonic() + random.uniform(*SILENCE)  # noqa: S311

    def _watch(self) -> None:
        """Apply what the engine has, and what it has next, until the end."""
        backoff = Backoff()
        while not self._stopping.is_set():
            try:
                for snapshot in self._store.watch(backoff.reset):
                    if self._stopping.is_set():
                        return
                    self._solved()
                    self._consider(snapshot)
                    self._news.set()  # there may be a prepared list
            except EngineError as error:
                self._failed(error)
            self._stopping.wait(backoff.pause())

    def _failed(self, error: EngineError) -> None:
        """Log a problem once, however often it is met, at whichever member."""
        if not self._stopping.is_set() and self._problem != error.errno:
            logger.warning("%s; keeping %s as it is", _reason(error), self._name)
            self._problem = error.errno

    def _solved(self) -> None:
        if self._problem is not None:
            logger.info("%s: answers again", self._store.url.text)
            self._problem = None

    def _find_silence(self) -> None:
        """Watch anew if the watch has missed a change."""
        seen = self._snapshot
        try:
            missed = seen is None or self._store.has_changed(seen)
        except EngineError:
            return  # the watch, or the report, will say so
        if missed:
            self._store.interrupt()

    def _look_at_file(self) -> None:
        """Judge the file again if somebody has changed it, or it could not be replaced."""
        if not self._failing and self._stamp_of_file() == self._seen:
            return
        if self._snapshot is not None:
            self._consider(None)
            return
        with suppress(KetamaError):  # to be reported when there is a list
            self._begin()

    def _stamp_of_file(self) -> _Stamp | None:
        try:
            status = os.stat(self._filename)  # noqa: PTH116 - may be bytes
        except OSError:
            return None
        return status.st_dev, status.st_ino, status.st_size, status.st_ctime_ns

    def _consider(self, snapshot: Snapshot | None) -> None:
        """Compare the file with what the engine has, and replace it if it is behind.

        snapshot: None: as the last time, because the file has changed.
        """
        with self._lock:
            self._snapshot = snapshot or self._snapshot
            if self._snapshot is None:
                return
            self._seen, self._failing = self._stamp_of_file(), False
            try:
                self._conclude(self._snapshot)
            except RefusedError as error:
                self._report(self._version(), REFUSED, str(error))
            except KetamaError as error:
                self._failing = True
                self._report(self._version(), REFUSED, _reason(error))

    def _version(self) -> int:
        """Return the version that the file states; 0 if it has none, or cannot be read."""
        try:
            return judge_alone(read_copy(self._filename), self._store.domain).version
        except KetamaError:
            return 0

    def _conclude(self, snapshot: Snapshot) -> None:
        found = read_copy(self._filename)
        text = snapshot.servers
        if text is None:
            alone = judge_alone(found, self._store.domain)
            self._report(alone.version, alone.state, "etcd has no list")
            return
        theirs = accept(text, self._store.domain)
        if not self._known:  # a file without a version counts as an edit of this one
            self._known = theirs.version
        verdict = judge(found, text, theirs, self._known)
        if verdict.state == BEHIND:
            # An edit may have come in between; then it is judged, and left alone.
            replace_copy(
                self._filename,
                text,
                lambda now: judge(now, text, theirs, self._known).state == BEHIND,
                self._patience,
            )
            found = read_copy(self._filename)
            verdict = judge(found, text, theirs, self._known)
            logger.info("%s: version %d", self._name, verdict.version)
            self._seen = self._stamp_of_file()
        if found == text:
            self._known = theirs.version
            self._notifier.ready()
        self._report(verdict.version, verdict.state)

    def _prepare(self) -> None:
        """Find out whether this machine could switch to the list that is prepared.

        If it could not, it tries again as long as that is prepared.
        """
        snapshot = self._snapshot
        text = None if snapshot is None else snapshot.next
        if text == self._prepared and not (text and self._unready):
            return
        ready, unready = 0, ""
        try:
            if text is not None and snapshot is not None:
                ready = self._get_ready(text, snapshot.servers or b"")
        except KetamaError as error:
            unready = f"{PREPARED}{_reason(error)}"
        with self._lock:
            self._prepared, self._ready, self._unready = text, ready, unready
            client = self._client
            own = "" if client.reason.startswith(PREPARED) else client.reason
            self._report(client.version, client.state, own)

    def _get_ready(self, text: bytes, current: bytes) -> int:
        """Return the version of a list that this machine can use.

        Raises RefusedError where it is invalid, or a server that is new in it does not accept
        connections; KetamaOSError where the file could not be replaced.
        """
        version = accept(text, self._store.domain).version
        check_replaceable(self._filename, text, self._patience)
        known = set(_addresses(current))
        new = [address for address in _addresses(text) if address not in known]
        if problems := unreachable_servers(dict.fromkeys(new), self._patience):
            raise RefusedError(f"cannot connect to {', '.join(problems)}")
        return version

    def _report(self, version: int, state: str, reason: str = "") -> None:
        """Remember what this machine has, to be reported."""
        new = self._client._replace(
            version=version, state=state, reason=reason or self._unready, ready=self._ready
        )
        if new == self._client:
            return
        was = self._client
        if (state, new.reason) != (was.state, was.reason) and (new.reason or state != OK):
            logger.warning("%s: %s", self._name, _in_words(new))
        self._client = new._replace(since=time.time())
        self._news.set()


class _Reports:
    """The reports of one machine, under a lease.

    If another follower reports under the same name, as on a cloned host, one of them cannot be
    seen. So each of them reports that instead of its state, until the other one is gone.
    """

    def __init__(self, store: Store, seconds: int) -> None:
        self._store = store
        self._seconds = seconds
        self._lease: int | None = None
        self._refused = False  # whether a report was; then the last one ends with its lease
        self._given: Client | None = None  # what was reported last
        self._sent: Client | None = None  # and what was sent of that
        self._rivalled = -math.inf  # when another follower's report was seen
        self._due = 0.0
        self._problem = ""
        self._backoff = Backoff()

    def send(self, client: Client) -> None:
        """Report a change, and keep the lease alive; retry a failure after a pause."""
        now = time.monotonic()
        if now < self._due and (client == self._given or self._problem):
            return
        try:
            self._send(client, now)
        except EngineError as error:
            if error.errno == errno.ENOENT:
                self._lease = None
            self._refused = not isinstance(error, UnreachableError)
            if str(error) != self._problem and not isinstance(error, UnreachableError):
                logger.warning("cannot report: %s", _reason(error))
            self._given = self._sent = None
            self._problem = str(error)
            self._due = now + self._backoff.pause()
            return
        if now >= self._due or self._given is None:
            self._due = now + self._seconds / 3
        self._given = client
        self._problem, self._refused = "", False
        self._backoff.reset()

    def _send(self, client: Client, now: float) -> None:
        lease = self._lease
        if lease is not None and self._sent is not None and now < self._due:
            self._put(client, lease, now)
            return
        if lease is None or not self._refused:
            lease = self._store.lease(self._seconds, lease)
        if lease is None:
            self._sent = None
            lease = self._store.lease(self._seconds)
        self._lease = lease
        if lease is None:
            return
        if self._sent is not None and (holder := self._store.holder(client.machine)) != lease:
            self._sent = None
            self._rivalled = now if holder else self._rivalled
        self._put(client, lease, now)

    def _put(self, client: Client, lease: int, now: float) -> None:
        """Report under a lease, unless that was sent already."""
        if now < self._rivalled + self._seconds:
            client = client._replace(state=REFUSED, reason=RIVAL, ready=0)
        if client == self._sent:
            return
        self._store.report(client, lease)
        if client.reason == RIVAL:
            logger.warning("%s: %s", client.machine, RIVAL)
        self._sent = client

    def end(self) -> None:
        """Take the report back."""
        if self._lease is None:
            return
        try:
            self._store.forget(self._lease)
        except EngineError as error:
            logger.info("%s: the report stays until its lease ends", _reason(error))


def _addresses(text: bytes) -> list[str]:
    """Return the addresses of a list's servers."""
    lines = server_file.scan(text, has_ranges=server_file.is_map(text))
    return [line.address for line in lines if line.address]


def _is_valid(text: bytes) -> bool:
    """Return whether programs can use a server file."""
    try:
        continuum_of_text(text, "")
    except ServersError:
        return False
    return True


def _reason(error: KetamaError) -> str:
    """Return which file or engine has failed, and why."""
    if isinstance(error, KetamaOSError) and error.filename is not None:
        return f"{os.fsdecode(error.filename)}: {error.strerror}"
    return str(error)


def _in_words(client: Client) -> str:
    """Return a machine's state for a person."""
    reason = f": {client.reason}" if client.reason else ""
    return f"version {client.version}, {client.state}{reason}"

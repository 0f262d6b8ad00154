"""The list of a fleet, by its URL: read, and edited, as a server file is."""

from __future__ import annotations

import os
import signal
import time
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, TypeVar

import click

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from ketama.admin.edit import Edit
    from ketama.fleet import Credentials, Store

T = TypeVar("T")

SCHEMES = ("etcd://", "etcds://")


def is_url(file: str) -> bool:
    """Return whether an argument is the URL of a fleet."""
    return file.startswith(SCHEMES)


def open_store(
    url: str, credentials: Credentials | None = None
) -> AbstractContextManager[Store]:
    """Return the store of a URL, for a with block; raise a usage error where it is invalid.

    credentials: None: those of the environment, and of the file that it, or the option
        --etcd-config, names.
    """
    from ketama.fleet import Store

    # A member that hangs up is tried again, and must not end this process as a closed standard
    # output does; that is an error then, see `app.run`.
    if hasattr(signal, "SIGPIPE"):
        signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    try:
        return closing(Store(url, credentials))
    except ValueError as error:
        if type(error) is not ValueError:
            raise
        raise click.UsageError(str(error)) from None


def url_value(ctx: click.Context, param: click.Parameter, value: str) -> str:
    """Return a URL; raise a usage error for anything else."""
    if is_url(value):
        return value
    raise click.BadParameter(
        f"invalid URL {os.fsdecode(value)!r:.80}: must be etcd://host1,host2:2379/domain"
    )


url_argument = click.argument("url", metavar="URL", callback=url_value)


def list_of(url: str) -> bytes:
    """Return the list of a fleet; raise EngineError where it has none."""
    from ketama.fleet.pushing import no_list

    with open_store(url) as store:
        text = store.read().servers
        if text is None:
            raise no_list(store)
    return text


@contextmanager
def editing(
    file: str, dialect: bytes, dry_run: bool, max_moved: float, create: bool
) -> Iterator[Edit]:
    """Edit a server file, or the list of a fleet if it is a URL.

    A fleet's is a copy in memory, written if nobody else has changed the list in the meantime.
    """
    if not is_url(file):
        from ketama.admin.edit import TIMEOUT, edit_with

        with edit_with(dialect, file, dry_run, TIMEOUT, max_moved, create) as one:
            yield one
        return
    from ketama.fleet import pushing

    with (
        open_store(file) as store,
        pushing.edit_with(store, dialect, dry_run, max_moved, create) as one,
    ):
        yield one


def refusals_of(file: str) -> tuple[type[Exception], ...]:
    """Return the errors by which a fleet refuses an edit; of a file, there are none."""
    if not is_url(file):
        return ()
    from ketama.fleet import ConflictError, RefusedError

    return ConflictError, RefusedError


def repeated(file: str, attempt: Callable[[], T]) -> T:
    """Return what an edit returns; if another one of a fleet came first, edit what that left.

    Files have a lock, for which edits wait; of a fleet's list, the first one wins.
    """
    if not is_url(file):
        return attempt()
    from ketama.admin.edit import TIMEOUT
    from ketama.fleet import ConflictError
    from ketama.fleet.backoff import Backoff

    deadline, backoff = time.monotonic() + TIMEOUT, Backoff()
    while True:
        try:
            return attempt()
        except ConflictError:
            if time.monotonic() > deadline:
                raise
        time.sleep(backoff.pause())

"""`ketama follow`: keep a machine's server file the list of its fleet."""

from __future__ import annotations

import os
import signal
import threading
from typing import TYPE_CHECKING

import click

from ketama.cli.app import SUCCESS
from ketama.cli.store import open_store, url_argument

if TYPE_CHECKING:
    from types import FrameType


@click.command(short_help="Keep a file the list of a fleet, as a service.")
@url_argument
@click.argument("file", metavar="FILE", type=click.Path(readable=False))
@click.option(
    "--machine", metavar="NAME", help="Report under this name; by default, the host's name."
)
@click.option(
    "--lease",
    metavar="SECONDS",
    type=click.IntRange(2, 3600),
    default=30,
    show_default=True,
    help="How long the report outlives a process that was killed.",
)
@click.option(
    "--user", metavar="NAME", help="Run as this user, for example that of the web workers."
)
def follow(url: str, file: str, machine: str | None, lease: int, user: str | None) -> int:
    r"""Keep the server file FILE the list of the fleet at URL, until terminated.

    FILE is replaced atomically, and only if the list passes 'ketama check', its checksum and
    domain are right, and its version is higher. Through any outage of etcd, FILE stays as it
    is. A FILE that was edited by hand is left alone until a newer version comes.

    What this machine has is reported under a lease, for 'ketama fleet'. Run it as the user of
    the workers, so that they share the ring that it publishes. Under systemd (Type=notify),
    the service is ready when FILE is good. Problems of etcd are logged, and tried again.

    Credentials, if etcd wants them, are in KETAMA_ETCD_USER and KETAMA_ETCD_PASSWORD, or in a
    file: ketama --etcd-config CREDENTIALS follow URL FILE.

    \b
    Examples:
      ketama follow etcd://etcd1,etcd2,etcd3/shop /var/lib/ketama/shop.servers
      ketama follow --machine web1 --user www-data etcds://etcd1/shop /etc/ketama/shop.servers
    """
    import logging

    from ketama.fleet import Follower, find_credentials

    credentials = find_credentials()  # of a file that the user may not read
    if user is not None:
        _become(user)
        _check_readable(user)
    with open_store(url, credentials) as store:
        try:
            follower = Follower(store, file, machine=machine, lease=lease)
        except ValueError as error:
            raise click.UsageError(str(error)) from None

        def stop(number: int, frame: FrameType | None) -> None:
            # In a thread: this one may hold a lock that is needed.
            threading.Thread(target=follower.stop, daemon=True).start()

        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, stop)
        if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:  # as nohup has it
            signal.signal(signal.SIGHUP, stop)
        logging.basicConfig(format="ketama: %(message)s", level=logging.INFO)
        follower.run()
    return SUCCESS


def _become(user: str) -> None:
    """Drop the privileges of root: run as a user."""
    from pwd import getpwnam

    try:
        found = getpwnam(user)
    except KeyError:
        raise click.UsageError(f"invalid user {user!r:.80}: not found") from None
    if os.geteuid() == found.pw_uid:
        return
    try:
        os.initgroups(user, found.pw_gid)
        os.setgid(found.pw_gid)
        os.setuid(found.pw_uid)
    except PermissionError:
        raise click.UsageError(f"--user {user}: only root can become another user") from None


def _check_readable(user: str) -> None:
    """Raise a usage error where the user cannot read modules that are imported later."""
    for path in (os.__file__, __file__):
        if not os.access(path, os.R_OK):
            raise click.UsageError(
                f"--user {user}: cannot read {path}: install Python and libketama where every "
                "user can read them, such as /usr or /opt"
            )

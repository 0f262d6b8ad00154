"""Take a million users through a day on which nodes join, leave and are killed."""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

from comet.day import Day
from comet.processes import etcd, free_addresses
from ketama.fleet import FleetEdit


def live(day: Day) -> bool:
    """Go through the day, and return whether no message was lost or out of order."""
    day.begin()
    day.traffic()
    joins, leaves, dies = free_addresses(1)[0], day.addresses[2], day.addresses[4]

    print("\nnode9 joins")
    day.start_node(joins)
    day.change(lambda servers: servers.add(joins, 100, "node9"))
    day.traffic()

    print("\nnode3 leaves: it ends when the list has no node3, and nobody is connected to it")
    day.change(lambda servers: servers.remove(leaves))
    day.nodes.pop(leaves).end()
    day.traffic()

    def lose_node(servers: FleetEdit) -> None:
        node = day.nodes.pop(dies)
        node.hang()
        day.traffic()
        node.kill()
        day.traffic()
        servers.remove(dies)

    print("\nnode5 hangs, is killed with the messages that it has, and is taken off the list")
    day.change(lose_node)
    day.traffic()
    return day.end()


def main() -> None:
    """Read the options; exit with 1 if a message was lost without --ignore-not-owner."""
    parser = argparse.ArgumentParser(prog="comet", description=__doc__)
    add = parser.add_argument
    add("--users", type=int, default=1_000_000)
    add("--messages", type=int, default=500_000, help="about as many are sent")
    add("--rate", type=int, default=20_000, help="of messages, per second, at most")
    add("--late", type=float, default=2.0, help="senders check the list after so many seconds")
    add("--servers", type=Path, help="the list to begin with, of nodes to start")
    add("--ignore-not-owner", action="store_true", help="show what would be lost")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="comet-")))
        day = Day(stack, folder, stack.enter_context(etcd(folder)), options)
        good = live(day)
    sys.exit(not good and not options.ignore_not_owner)


if __name__ == "__main__":
    main()

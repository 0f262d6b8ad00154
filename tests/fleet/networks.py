"""Machines' networks: namespaces of Linux on one bridge."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

from needs import lacking, need, need_root

PREFIX = "10.88.77"
HERE = f"{PREFIX}.254"  # the address of this network, in which the test runs


def address(number: int) -> str:
    """Return the address in the namespace of a number, from 0."""
    return f"{PREFIX}.{number + 1}"


@contextmanager
def namespaces(count: int) -> Iterator[list[str]]:
    """Make network namespaces, and yield their names.

    Only one test at a time has them, because of their addresses; so such tests are `stress`.
    """
    need_root()
    ip = need("ip")
    made = [f"ketama{os.getpid()}-{i}" for i in range(count)]
    bridge = f"kt{os.getpid()}"
    done = subprocess.run([ip, "link", "add", bridge, "type", "bridge"], capture_output=True)
    if done.returncode != 0:
        lacking("network namespaces can't be made here")
    try:
        for command in (f"addr add {HERE}/24 dev {bridge}", f"link set {bridge} up"):
            subprocess.run([ip, *command.split()], check=True)
        for i, name in enumerate(made):
            link = f"kt{os.getpid()}v{i}"
            for command in (
                f"netns add {name}",
                f"link add {link} type veth peer name eth0 netns {name}",
                f"link set {link} master {bridge} up",
                f"-n {name} addr add {address(i)}/24 dev eth0",
                f"-n {name} link set eth0 up",
                f"-n {name} link set lo up",
            ):
                subprocess.run([ip, *command.split()], check=True)
        yield made
    finally:
        for name in made:
            subprocess.run([ip, "netns", "del", name], capture_output=True)
        subprocess.run([ip, "link", "del", bridge], capture_output=True)

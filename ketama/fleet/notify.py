"""Messages to systemd, as sd_notify(3) sends them."""

from __future__ import annotations

import os
import socket
from contextlib import suppress


class Notifier:
    """The service manager that has started this process, if one has.

    watchdog: how many seconds may pass between two calls of `alive`; None: any number.
    """

    def __init__(self) -> None:
        self._address = os.environ.get("NOTIFY_SOCKET", "")
        self._ready = False
        self.watchdog: float | None = None
        if os.environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid()):
            with suppress(ValueError):
                self.watchdog = int(os.environ.get("WATCHDOG_USEC", "")) / 1e6

    def ready(self) -> None:
        """Say, once, that the service does its work."""
        if not self._ready:
            self._ready = True
            self._send("READY=1")

    def alive(self, status: str) -> None:
        """Say that the service lives, and what it does."""
        status = " ".join(status.split())  # a line break would begin another message
        self._send(f"WATCHDOG=1\nSTATUS={status}")

    def stopping(self) -> None:
        """Say that the service ends."""
        self._send("STOPPING=1")

    def _send(self, message: str) -> None:
        if not self._address:
            return
        address = self._address
        if address.startswith("@"):  # Linux's abstract names
            address = "\0" + address[1:]
        kind = socket.SOCK_DGRAM | socket.SOCK_CLOEXEC
        with suppress(OSError), socket.socket(socket.AF_UNIX, kind) as connection:
            connection.setblocking(False)  # a manager that does not read holds nothing up
            connection.connect(address)
            connection.send(message.encode())

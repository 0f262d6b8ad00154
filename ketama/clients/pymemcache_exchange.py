"""Requests to servers and their answers, over pooled connections of pymemcache."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from pymemcache.exceptions import MemcacheError

from ketama.clients.pools import Pools
from ketama.clients.pymemcache_connection import FAILURES, RESETS, Connection
from ketama.clients.routing import REPEATABLE

Answer = TypeVar("Answer")


class Exchange:
    """Sends requests to servers, and reads their answers.

    An idle connection that was reset says nothing of its server, which may have been
    restarted: the request is sent again on a new one, if it may be repeated. A connection on
    which anything went wrong is closed, as an answer may still be on its way.
    """

    def __init__(self, pools: Pools[Connection]) -> None:
        self.pools = pools

    def _take(self, address: str, command: str) -> tuple[Connection, bool]:
        """Return a connection, and whether it may be one that the server has closed."""
        connection, used = self.pools.take(address)
        while used and command not in REPEATABLE and connection.is_reset():
            connection.close()
            connection, used = self.pools.take(address)
        return connection, used

    def ask(
        self, address: str, command: str, request: Callable[..., Answer], *arguments: Any
    ) -> Answer:
        """Return a server's answer; over another connection if an idle one was reset.

        request: called with the connection and the arguments.
        """
        connection, used = self._take(address, command)
        while True:
            try:
                answer = request(connection, *arguments)
            except RESETS:
                connection.close()
                if not used or command not in REPEATABLE:
                    raise
            except BaseException:
                connection.close()  # an answer may be on its way
                raise
            else:
                self.pools.give(address, connection)
                return answer
            self.pools.drop(address)
            connection, used = self._take(address, command)

    def ask_all(
        self,
        command: str,
        groups: Mapping[str, list[int]],
        request: Callable[[str, list[int]], bytes],
        read: Callable[[Connection, list[int]], None],
    ) -> dict[str, Exception]:
        """Send each server the request for its keys, then read all answers.

        Returns the errors of the servers that have not answered.
        """
        errors: dict[str, Exception] = {}
        reset: dict[str, list[int]] = {}
        sent: dict[str, tuple[Connection, bool]] = {}

        def failed(address: str, error: Exception) -> None:
            connection, used = sent.pop(address, (None, False))
            if connection is not None:
                connection.close()
            if used and isinstance(error, RESETS):  # that says nothing of the server
                self.pools.drop(address)
                reset[address] = groups[address]
            else:
                errors[address] = error

        try:
            for address, members in groups.items():
                try:
                    sent[address] = self._take(address, command)
                    sent[address][0].send(request(address, members))
                except FAILURES as error:
                    failed(address, error)
            for address in [*sent]:
                try:
                    read(sent[address][0], groups[address])
                except (*FAILURES, MemcacheError) as error:
                    failed(address, error)
                else:
                    self.pools.give(address, sent.pop(address)[0])
        finally:
            for connection, _ in sent.values():  # their answers are on their way
                connection.close()
        return errors | self.ask_all(command, reset, request, read) if reset else errors

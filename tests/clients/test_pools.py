"""The idle connections of a client, without servers."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator

import pytest
from threads import forks_beside_threads

from clients.checks import in_children
from ketama.clients.pools import Pools


class Connection:
    """A connection that knows what was done to it."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.closed = self.abandoned = 0

    def close(self) -> None:
        """Count it."""
        self.closed += 1

    def abandon(self) -> None:
        """Count it."""
        self.abandoned += 1


@pytest.fixture
def _switching() -> Iterator[None]:
    """Let threads take turns as often as possible."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def test_the_connection_used_last_is_taken_first() -> None:
    """So that the others grow old; of more than are kept, the oldest is closed."""
    pools = Pools(Connection, idle_most=2)
    pools.keep(("a",))
    made = [pools.take("a")[0] for _ in range(3)]
    for connection in made:
        pools.give("a", connection)
    assert [connection.closed for connection in made] == [1, 0, 0]
    assert pools.take("a") == (made[2], True)
    assert pools.take("a") == (made[1], True)
    assert pools.take("a")[1] is False


def test_a_server_that_is_removed_while_its_connection_is_in_use() -> None:
    """The connection is closed when it is given back."""
    pools = Pools(Connection)
    pools.keep(("a", "b"))
    idle, in_use = pools.take("a")[0], pools.take("a")[0]
    pools.give("a", idle)
    pools.keep(("b",))
    assert (idle.closed, in_use.closed) == (1, 0)
    pools.give("a", in_use)
    assert in_use.closed == 1


@pytest.mark.usefixtures("_switching")
def test_threads_while_the_servers_change() -> None:
    """No thread fails, and in the end each connection is idle or closed, once."""
    pools = Pools(Connection)
    lists = [tuple(f"{n}:{at}" for at in range(200)) for n in (1, 2)]
    made: list[Connection] = []
    errors: list[BaseException] = []
    ended = threading.Event()

    def work() -> None:
        try:
            while not ended.is_set():
                for address in (*lists[0], *lists[1]):
                    connection, used = pools.take(address)
                    if not used:
                        made.append(connection)
                    pools.give(address, connection)
        except RuntimeError as error:
            errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for change in range(2000):
        pools.keep(lists[change % 2])
    ended.set()
    for thread in threads:
        thread.join()
    assert errors == []
    assert len(made) > 400
    pools.close()
    assert {connection.closed for connection in made} == {1}


@forks_beside_threads
def test_a_child_closes_no_connection_of_its_parents() -> None:
    """It abandons them: closing one might tell the server."""
    pools = Pools(Connection)
    pools.keep(("a",))
    connection, _ = pools.take("a")
    pools.give("a", connection)

    def work(_: int) -> None:
        other, used = pools.take("a")
        assert (used, other is connection) == (False, False)
        assert (connection.abandoned, connection.closed) == (1, 0)
        pools.give("a", other)
        assert pools.take("a") == (other, True)

    in_children(2, work)
    assert pools.take("a") == (connection, True)

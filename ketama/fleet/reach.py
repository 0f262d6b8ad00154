"""Whether this machine can connect to the servers of a list."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as OutOfTimeError

from ketama.clients.probe import connect

TIMEOUT = 2.0  # seconds
AT_ONCE = 16
NAMED_MAX = 3  # servers


def unreachable_servers(addresses: Iterable[str], patience: float) -> list[str]:
    """Return servers that cannot be connected to, each with the reason: three at most.

    The last entry may be that time has run out. patience: for all of them, seconds.
    """
    pool = ThreadPoolExecutor(AT_ONCE)
    found = []
    try:
        for problem in pool.map(_problem, addresses, timeout=patience):
            found += [problem] if problem else []
            if len(found) == NAMED_MAX:
                break
    except OutOfTimeError:
        found.append(f"all servers within {patience:g} seconds")
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
    return found


def _problem(address: str) -> str:
    try:
        connect(address, TIMEOUT).close()
    except OSError as error:
        return f"{address}: {getattr(error, 'strerror', None) or error}"
    return ""

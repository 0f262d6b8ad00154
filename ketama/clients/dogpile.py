"""A backend of dogpile.cache for a fleet that changes, on our client of pymemcache."""

from __future__ import annotations

import inspect
from collections.abc import Hashable, Mapping
from typing import Any
from weakref import WeakValueDictionary

from dogpile.cache import register_backend
from dogpile.cache.backends.memcached import PyMemcacheBackend as PlainBackend
from pymemcache.client.retrying import RetryingClient

from ketama.clients.pymemcache import HashClient

NAME = "ketama.pymemcache"
# What the backend reads itself, or dogpile.
OWN_ARGUMENTS = {
    "url",
    "distributed_lock",
    "lock_timeout",
    "memcached_expire_time",
    "enable_retry_client",
    "retry_attempts",
    "retry_delay",
    "retry_for",
    "do_not_retry_for",
}
CLIENT_ARGUMENTS = inspect.signature(HashClient).parameters.keys() - {"source"}
# For each configuration, for as long as a backend has it.
_clients: WeakValueDictionary[Hashable, HashClient] = WeakValueDictionary()


class PyMemcacheBackend(PlainBackend):
    """dogpile.cache's PyMemcacheBackend on a continuum: "ketama.pymemcache".

    Its arguments: url, the path of a server file, or a Continuum, or a list of servers as for
    Continuum; the options of `ketama.clients.pymemcache.HashClient`; and those of dogpile's
    PyMemcacheBackend, except hashclient_retry_attempts, hashclient_retry_timeout and
    hashclient_dead_timeout, which liveness replaces.

    All threads use one client with pooled connections, and so do all regions with the same
    arguments.

    Raises what HashClient raises, and TypeError for an argument that does not exist.

    >>> from dogpile.cache import make_region
    >>> region = make_region().configure(
    ...     "ketama.pymemcache", arguments={"url": "examples/ketama.servers"}
    ... )
    """

    def __init__(self, arguments: Mapping[str, Any]) -> None:
        unknown = arguments.keys() - OWN_ARGUMENTS - CLIENT_ARGUMENTS
        if unknown:
            raise TypeError(
                f"unexpected argument {', '.join(sorted(unknown))}: must be one of "
                f"{', '.join(sorted(OWN_ARGUMENTS | CLIENT_ARGUMENTS))}"
            )
        super().__init__(arguments)  # type: ignore[no-untyped-call]
        options = {name: arguments[name] for name in CLIENT_ARGUMENTS & arguments.keys()}
        self._source = arguments["url"]
        self._options = {"serde": self.serde, **options}
        self._client = self._create_client()

    @property
    def client(self) -> Any:
        """The client, the same for all threads."""
        return self._client

    def _create_client(self) -> Any:
        client = _client(self._source, self._options)
        if not self.enable_retry_client:
            return client
        return RetryingClient(
            client,
            attempts=self.retry_attempts,
            retry_delay=self.retry_delay,
            retry_for=self.retry_for,
            do_not_retry_for=self.do_not_retry_for,
        )


def _client(source: Any, options: Mapping[str, Any]) -> HashClient:
    """Return the process's client of a configuration."""
    if isinstance(source, list):
        source = tuple(source)
    configuration = source, frozenset(options.items())
    try:
        client = _clients.get(configuration)
    except TypeError:  # something in it has no hash: then nobody else has the same
        return HashClient(source, **options)
    if client is None:
        client = _clients.setdefault(configuration, HashClient(source, **options))
    return client


register_backend(NAME, __name__, PyMemcacheBackend.__name__)  # type: ignore[no-untyped-call]

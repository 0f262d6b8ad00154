"""A cache backend for Django: its LOCATION is the server file."""

from __future__ import annotations

import os
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

from django.core.cache.backends.memcached import BaseMemcachedCache
from django.core.exceptions import ImproperlyConfigured
from django.utils.functional import cached_property
from pymemcache.serde import pickle_serde

from ketama.clients.pymemcache import HashClient
from ketama.clients.routing import continuum_of

DEFAULTS: Mapping[str, Any] = {
    "allow_unicode_keys": True,
    "on_error": "miss",
    "serde": pickle_serde,
}


class KetamaCache(BaseMemcachedCache):
    """Django's cache on the memcached servers of a server file.

    LOCATION: the path of the server file, which is followed while the cache is in use.
    OPTIONS: those of `ketama.clients.pymemcache.HashClient`, and as "continuum" those of
        `ketama.Continuum`, such as {"profile": "twemproxy"}. A cache that cannot be reached
        is empty (on_error="miss"), unless they say otherwise.

    All threads and all event loops of a process share one client for each LOCATION and
    OPTIONS. Its connections outlive requests, and are never used by a forked child.

    Raises ImproperlyConfigured if LOCATION is not one path, or an option is unknown.
    """

    def __init__(self, server: str | os.PathLike[str], params: dict[str, Any]) -> None:
        if not isinstance(server, (str, os.PathLike)) or not os.fspath(server):
            raise ImproperlyConfigured(
                f"LOCATION of {type(self).__name__} must be the path of a server file, "
                f"not {server!r:.80}"
            )
        library = SimpleNamespace(Client=HashClient)
        # In a list, as Django splits text at commas.
        super().__init__([os.fspath(server)], params, library, KeyError)
        self._options: dict[str, Any] = {**DEFAULTS, **(params.get("OPTIONS") or {})}

    @cached_property  # type: ignore[misc]  # Django has no types
    def _cache(self) -> HashClient:
        return client_of(self._servers[0], self._options)

    def close(self, **_: object) -> None:
        """Keep the connections. Django closes its caches after each request."""


# The clients of this process, by path and options. Appended to, never changed.
_clients: list[tuple[str, dict[str, Any], HashClient]] = []


def client_of(path: str, options: dict[str, Any]) -> HashClient:
    """Return the process's one client for a server file with these options.

    Raises ImproperlyConfigured for an unknown option, and what HashClient raises.
    """
    found = _find(path, options)
    if found is None:
        # Without a lock, which a fork could leave locked. If two threads come here at the
        # same time, both use the client that is first in the list.
        _clients.append((path, options, _make(path, options)))
        found = _find(path, options)
        assert found is not None  # noqa: S101
    return found


def _find(path: str, options: dict[str, Any]) -> HashClient | None:
    for known, its_options, client in _clients:
        if known == path and its_options == options:
            return client
    return None


def _make(path: str, options: dict[str, Any]) -> HashClient:
    of_client = {name: value for name, value in options.items() if name != "continuum"}
    try:
        continuum = continuum_of(path, **options.get("continuum", {}))
        return HashClient(continuum, **of_client)
    except TypeError as error:
        raise ImproperlyConfigured(f"OPTIONS of the cache at {path}: {error}") from error

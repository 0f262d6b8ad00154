"""A cache backend for Django: its LOCATION is the server file."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from django.core.cache.backends.memcached import BaseMemcachedCache
from django.core.exceptions import ImproperlyConfigured
from django.utils.functional import cached_property
from pymemcache.serde import pickle_serde

from ketama import Continuum, ServersError
from ketama.addresses import find_address
from ketama.clients.pymemcache import HashClient
from ketama.clients.routing import continuum_of

DEFAULTS: Mapping[str, Any] = {
    "allow_unicode_keys": True,
    "on_error": "miss",
    "serde": pickle_serde,
}
OPTIONS = frozenset({*(HashClient.__init__.__kwdefaults__ or {}), "continuum"})
CONTINUUM_OPTIONS = frozenset(Continuum.__init__.__kwdefaults__ or {})


class KetamaCache(BaseMemcachedCache):
    """Django's cache on the memcached servers of a server file.

    LOCATION: the path of the server file, which is followed while the cache is in use.
    OPTIONS: those of `ketama.clients.pymemcache.HashClient`, and as "continuum" those of
        `ketama.Continuum`, such as {"profile": "twemproxy"}. A cache that cannot be reached
        is empty (on_error="miss"), unless they say otherwise.

    All threads and all event loops of a process share one client for each LOCATION and
    OPTIONS. Its connections outlive requests, and are never used by a forked child.

    Raises ImproperlyConfigured if LOCATION is not one path, or an option is unknown or
    invalid; on first use, ServersError or KetamaOSError if the file cannot be used.
    """

    def __init__(self, server: str | os.PathLike[str], params: dict[str, Any]) -> None:
        self._name = type(self).__name__
        options = params.get("OPTIONS") or {}
        _check_names(f"OPTIONS of {self._name}", options, OPTIONS)
        of_continuum = options.get("continuum", {})
        _check_names(f'OPTIONS["continuum"] of {self._name}', of_continuum, CONTINUUM_OPTIONS)
        library = SimpleNamespace(Client=HashClient)
        # In a list, as Django splits text at commas.
        super().__init__([_path(self._name, server)], params, library, KeyError)
        self._options: dict[str, Any] = {**DEFAULTS, **options}

    @cached_property  # type: ignore[misc]  # Django has no types
    def _cache(self) -> HashClient:
        try:
            return client_of(self._servers[0], self._options)
        except ServersError:
            raise
        except (TypeError, ValueError) as error:
            raise ImproperlyConfigured(f"OPTIONS of {self._name}: {error}") from error

    def close(self, **_: object) -> None:
        """Keep the connections. Django closes its caches after each request."""


def _path(backend: str, location: object) -> str:
    """Return the path in LOCATION. Raises ImproperlyConfigured if it is not one path."""
    if isinstance(location, (str, os.PathLike)):
        path = Path(os.fsdecode(location))
        if path.name and (path.exists() or not _are_servers(str(path))):
            return os.fsdecode(location)
    raise ImproperlyConfigured(
        f"LOCATION of {backend} must be the path of a server file, not {location!r:.200}: "
        "write one server per line into a file, such as '10.0.1.1:11211 100', or let "
        "`ketama import` make one of these settings"
    )


def _are_servers(text: str) -> bool:
    """Return whether a text that should be a path is a list of servers, as Django reads it."""
    addresses = re.split("[;,]", text)
    found = [find_address(address) for address in addresses]
    return all(at and (at.port or at.path) for at in found) and not text.startswith("/")


def _check_names(where: str, options: object, known: frozenset[str]) -> None:
    """Raise ImproperlyConfigured for options that do not exist."""
    if not isinstance(options, Mapping):
        raise ImproperlyConfigured(f"{where} must be a dict, not {type(options).__name__}")
    unknown = sorted(map(repr, options.keys() - known))
    if unknown:
        raise ImproperlyConfigured(
            f"{where}: unknown option {', '.join(unknown)}; "
            f"there are {', '.join(sorted(known))}"
        )


# The clients of this process, by path and options. Appended to, never changed.
_clients: list[tuple[str, dict[str, Any], HashClient]] = []


def client_of(path: str, options: dict[str, Any]) -> HashClient:
    """Return the process's one client for a server file with these options.

    options: those of HashClient, and as "continuum" those of Continuum.
    Raises what these raise.
    """
    found = _find(path, options)
    if found is None:
        of_client = {name: value for name, value in options.items() if name != "continuum"}
        continuum = continuum_of(path, **options.get("continuum", {}))
        # Without a lock, which a fork could leave locked. If two threads come here at the
        # same time, both use the client that is first in the list.
        _clients.append((path, options, HashClient(continuum, **of_client)))
        found = _find(path, options)
        assert found is not None  # noqa: S101
    return found


def _find(path: str, options: dict[str, Any]) -> HashClient | None:
    for known, its_options, client in _clients:
        if known == path and its_options == options:
            return client
    return None

"""The URL of a fleet: `etcd://host1,host2:2379/domain`, or `etcds://` with TLS."""

from __future__ import annotations

import re
from typing import NamedTuple

SCHEMES = ("etcd://", "etcds://")
PORT = 2379
_DOMAIN = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")
_MEMBER = re.compile(r"(\[[0-9A-Fa-f:.%a-z]+\]|[A-Za-z0-9._-]+)(?::([0-9]{1,5}))?")
_EXAMPLE = "etcd://host1,host2:2379/domain"


class FleetUrl(NamedTuple):
    """Where a fleet's list is.

    text: the URL as it was written. tls: whether members are asked by TLS.
    members: (host, port) of each. domain: the name of the fleet.
    """

    text: str
    tls: bool
    members: tuple[tuple[str, int], ...]
    domain: str


def parse_url(text: str) -> FleetUrl:
    """Return the parts of a URL; raises ValueError with the reason."""
    scheme, separator, rest = text.partition("://")
    if not separator or scheme + separator not in SCHEMES:
        raise ValueError(f"invalid URL {text!r:.200}: must be {_EXAMPLE}, or etcds:// with TLS")
    hosts, _, domain = rest.partition("/")
    if "@" in hosts:
        raise ValueError(
            "invalid URL: a user in it would show in the list of processes; set "
            "KETAMA_ETCD_USER and KETAMA_ETCD_PASSWORD, or KETAMA_ETCD_CONFIG"
        )
    if not _DOMAIN.fullmatch(domain):
        raise ValueError(
            f"invalid domain {domain!r:.80} in {text!r:.200}: must be 1-63 of a-z, 0-9, '.', "
            "'_' and '-', the first a letter or digit"
        )
    members = tuple(_member(member, text) for member in hosts.split(","))
    return FleetUrl(text, scheme == "etcds", members, domain)


def _member(member: str, text: str) -> tuple[str, int]:
    match = _MEMBER.fullmatch(member)
    if match is None or not 0 < int(match[2] or PORT) < 65536:
        raise ValueError(
            f"invalid member {member!r:.200} in {text!r:.200}: must be host, host:port or "
            "[IPv6]:port"
        )
    return match[1], int(match[2] or PORT)

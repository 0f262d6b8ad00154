"""One server list for many machines, on etcd: push it, follow it, list its machines.

Needs the extra `libketama[fleet]`. A machine's server file stays the only interface to its
programs; `Follower` keeps it, and the rest is for operators. See docs/fleet.md.
"""

from ketama.fleet.credentials import Credentials, CredentialsError, find_credentials
from ketama.fleet.errors import ConflictError, EngineError, RefusedError, UnreachableError
from ketama.fleet.folder import Snapshot
from ketama.fleet.following import Follower
from ketama.fleet.prepare import NotReadyError, Preparation
from ketama.fleet.pushing import FleetEdit, Pushed, edit, pull, push, rollback
from ketama.fleet.status import FleetStatus, status
from ketama.fleet.store import Client, Store

__all__ = [
    "Client",
    "ConflictError",
    "Credentials",
    "CredentialsError",
    "EngineError",
    "FleetEdit",
    "FleetStatus",
    "Follower",
    "NotReadyError",
    "Preparation",
    "Pushed",
    "RefusedError",
    "Snapshot",
    "Store",
    "UnreachableError",
    "edit",
    "find_credentials",
    "pull",
    "push",
    "rollback",
    "status",
]

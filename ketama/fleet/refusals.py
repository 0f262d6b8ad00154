"""What etcd's refusals mean, with a remedy where there is one."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from ketama.fleet.errors import EngineError

if TYPE_CHECKING:
    from ketama.fleet.url import FleetUrl

# Status codes of gRPC. At these, another member may do better.
_ELSEWHERE = (
    1,  # cancelled: the member is shutting down
    4,  # deadline exceeded
    10,  # aborted
    13,  # internal: the connection between gateway and member
    14,  # unavailable: no leader, request timed out
)
_UNAUTHENTICATED = 16
_NO_LEADER = ("no leader", "leader changed", "server stopped", "timed out")
_WRONG_PASSWORD = "invalid user ID or password"  # noqa: S105
_AUTH_OFF = "authentication is not enabled"
# With JWT, each change of users or roles ends all tokens.
_TOKEN_ENDED = ("auth token", "revision of auth store is old")
_NO_SPACE = "database space exceeded"
_TOO_LARGE = ("request is too large", "larger than max")


def is_of_one_member(code: int, reason: str) -> bool:
    """Return whether another member of etcd may carry out what this one does not."""
    return code in _ELSEWHERE or any(words in reason for words in _NO_LEADER)


def is_authentication_off(error: EngineError) -> bool:
    """Return whether etcd refused to authenticate because nobody needs to."""
    return _AUTH_OFF in str(error.strerror)


def refusal(code: int, reason: str, url: FleetUrl, user: str | None) -> EngineError:
    """Return the error for what etcd refuses to a user.

    code, reason: as etcd gives them.
    """
    if code == _UNAUTHENTICATED or any(words in reason for words in _TOKEN_ENDED):
        return EngineError(errno.EACCES, f"token expired: {reason}", url.text)
    if any(words in reason for words in _TOO_LARGE):
        reason = (
            f"the list is larger than etcd accepts ({reason}): raise its --max-request-bytes"
        )
        return EngineError(errno.EMSGSIZE, reason, url.text)
    if _NO_SPACE in reason:
        reason = (
            f"etcd is full ({reason}): compact and defragment it by etcdctl, or raise its "
            "--quota-backend-bytes; then run 'etcdctl alarm disarm'"
        )
        return EngineError(errno.ENOSPC, reason, url.text)
    denied = "permission denied" in reason
    if "user name is empty" in reason or (denied and user is None):
        reason = (
            "etcd requires authentication: set KETAMA_ETCD_USER and "
            "KETAMA_ETCD_PASSWORD, or KETAMA_ETCD_CONFIG"
        )
    elif denied:
        reason = (
            f"permission denied: the roles of user {user} do not allow this under "
            f"/ketama/{url.domain}/; see 'etcdctl role get'"
        )
    elif _WRONG_PASSWORD in reason:
        reason = f"{reason}: check the user, {user}, and its password"
    return EngineError(errno.EACCES, reason, url.text)


def refusal_by_http(status: int, text: str, url: FleetUrl) -> EngineError:
    """Return the error for an answer that is not JSON, as of etcd's HTTP server."""
    if "CommonName" in text:
        reason = (
            "the client's certificate has a common name (CN), which etcd's gateway refuses "
            "with authentication on: issue one without a CN, and set user and password"
        )
        return EngineError(errno.EACCES, reason, url.text)
    reason = f"HTTP status {status}: {text}: is this etcd's client URL?"
    return EngineError(errno.EPROTO, reason, url.text)

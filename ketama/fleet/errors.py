"""What can go wrong between a machine and the engine."""

from __future__ import annotations

from ketama.errors import KetamaError, KetamaOSError


class EngineError(KetamaOSError):
    """The engine refuses a request; `filename` is the URL, `strerror` its reason."""


class UnreachableError(EngineError):
    """No member of the engine answers, or none has a leader: to be tried again."""


class ConflictError(KetamaError):
    """Somebody else has changed the fleet's list in the meantime; nothing was written."""


class RefusedError(KetamaError):
    """A text is not a valid list of this fleet."""

"""Consistent hashing for cache fleets, with the answers of libketama, bit for bit.

>>> import ketama
>>> continuum = ketama.Continuum({"10.0.1.1:11211": 600, "10.0.1.2:11211": 300})
>>> continuum.lookup("user:42")
'10.0.1.1:11211'
"""

from ketama._ketama import ffi as _ffi
from ketama._ketama import lib as _lib
from ketama.buffers import Packed
from ketama.compat import Ketama
from ketama.continuum import Continuum, get_server, roll
from ketama.errors import KetamaError, KetamaOSError, ServersError
from ketama.keys import hashi, md5_digest
from ketama.servers import Server

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ketama.admin.check import Finding, check
    from ketama.admin.diff import Diff
    from ketama.admin.edit import Edit, edit

__all__ = [
    "Continuum",
    "Diff",
    "Edit",
    "Finding",
    "Ketama",
    "KetamaError",
    "KetamaOSError",
    "Packed",
    "Server",
    "ServersError",
    "check",
    "edit",
    "get_server",
    "hashi",
    "md5_digest",
    "roll",
]

__version__: str = _ffi.string(_lib.ketama_version()).decode()

# What operators need, and no web worker should pay for.
_LATER = {
    "Diff": "admin.diff",
    "Edit": "admin.edit",
    "edit": "admin.edit",
    "Finding": "admin.check",
    "check": "admin.check",
}


def __getattr__(name: str) -> object:
    """Import what was not needed until now."""
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(f"{__name__}.{_LATER[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

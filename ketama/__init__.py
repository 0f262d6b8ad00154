"""Consistent hashing for cache fleets, bit for bit compatible with the 2007 libketama.

>>> import ketama
>>> continuum = ketama.Continuum({"10.0.1.1:11211": 600, "10.0.1.2:11211": 300})
>>> continuum.lookup("user:42")
'10.0.1.1:11211'
"""

from ketama._ketama import ffi as _ffi
from ketama._ketama import lib as _lib
from ketama.buffers import Packed
from ketama.compat import Ketama
from ketama.continuum import Continuum, Explanation, Path, get_server, roll
from ketama.errors import KetamaError, KetamaOSError, ProfileError, ServersError
from ketama.keys import Key, hashi, md5_digest
from ketama.servers import Server, Servers

TYPE_CHECKING: bool = False  # "bool", so that jedi follows the branch, too
if TYPE_CHECKING:
    from ketama.admin.agree import Agreement, Agreements, RefusedProfile, agree
    from ketama.admin.causes import Cause
    from ketama.admin.check import Finding, check
    from ketama.admin.diff import Diff, ServerDiff
    from ketama.admin.edit import Edit, edit
    from ketama.admin.profiles import Profile, ProfileOption, profiles
    from ketama.admin.remedies import Remedy, RemedyStep

__all__ = [
    "Agreement",
    "Agreements",
    "Cause",
    "Continuum",
    "Diff",
    "Edit",
    "Explanation",
    "Finding",
    "Ketama",
    "KetamaError",
    "KetamaOSError",
    "Key",
    "Packed",
    "Path",
    "Profile",
    "ProfileError",
    "ProfileOption",
    "RefusedProfile",
    "Remedy",
    "RemedyStep",
    "Server",
    "ServerDiff",
    "Servers",
    "ServersError",
    "agree",
    "check",
    "edit",
    "get_server",
    "hashi",
    "md5_digest",
    "profiles",
    "roll",
]

__version__: str = _ffi.string(_lib.ketama_version()).decode()

# Imported on first use: for operators, at no cost to web workers.
_LAZY = {
    "Agreement": "admin.agree",
    "Agreements": "admin.agree",
    "RefusedProfile": "admin.agree",
    "agree": "admin.agree",
    "Cause": "admin.causes",
    "RemedyStep": "admin.remedies",
    "Remedy": "admin.remedies",
    "Diff": "admin.diff",
    "ServerDiff": "admin.diff",
    "Edit": "admin.edit",
    "edit": "admin.edit",
    "Finding": "admin.check",
    "check": "admin.check",
    "ProfileOption": "admin.profiles",
    "Profile": "admin.profiles",
    "profiles": "admin.profiles",
}


def __getattr__(name: str) -> object:
    """Return a name of `ketama.admin`, imported on first use."""
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(f"{__name__}.{_LAZY[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

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

__all__ = [
    "Continuum",
    "Ketama",
    "KetamaError",
    "KetamaOSError",
    "Packed",
    "Server",
    "ServersError",
    "get_server",
    "hashi",
    "md5_digest",
    "roll",
]

__version__: str = _ffi.string(_lib.ketama_version()).decode()

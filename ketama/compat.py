"""What the package "ketama" on PyPI offers, under its names."""

from __future__ import annotations

from ketama._ketama import lib
from ketama.continuum import Continuum
from ketama.keys import key_bytes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ketama.keys import Key


class Ketama(Continuum):
    """A Continuum as in PyPI's ketama 0.1.1.

    filename: the path of a server file, str or bytes.

    Raises ValueError where the filename is empty, missing, or neither str nor bytes, and a
    KetamaError, which is a RuntimeError, where the file can't be loaded.
    """

    __slots__ = ()

    def __init__(self, filename: str | bytes | None = None) -> None:
        if not isinstance(filename, (str, bytes)) or not filename:
            raise ValueError(f"filename must be a non-empty str or bytes, not {filename!r:.80}")
        super().__init__(filename)

    def get_server(self, key: Key) -> tuple[int, str]:
        """Give a key's point and its server's address; NUL bytes are part of the key."""
        handle, addresses = self._now
        data = key.encode() if type(key) is str else key_bytes(key)
        found = lib.find(handle, data, len(data))
        try:
            return found & 0xFFFFFFFF, addresses[found >> 32]
        except IndexError:
            return self._follow_and_find(data)

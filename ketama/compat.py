"""The interface of ketama 0.1.1 on PyPI."""

from __future__ import annotations

from ketama.continuum import Continuum


class Ketama(Continuum):
    """A Continuum with the interface of ketama 0.1.1 on PyPI.

    filename: the path of a server file, str or bytes.

    Raises ValueError if the filename is missing, empty, or neither str nor bytes, and
    KetamaError, a RuntimeError, if the file cannot be loaded.
    """

    __slots__ = ()

    def __init__(self, filename: str | bytes | None = None) -> None:
        if not isinstance(filename, (str, bytes)) or not filename:
            raise ValueError(f"filename must be a non-empty str or bytes, not {filename!r:.80}")
        super().__init__(filename)

    # Unlike Continuum.get_server, it accepts NUL bytes in a key.
    get_server = Continuum._find_point

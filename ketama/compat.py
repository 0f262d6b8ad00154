"""What the package "ketama" on PyPI offers, under its names."""

from __future__ import annotations

from ketama.continuum import Continuum


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

    # NUL bytes are part of the key.
    get_server = Continuum._meet

"""The rings of all dialects in plain Python, as a reference for the library."""

from model.hashes import HASHES
from model.hashes import md5 as hash_of
from model.labels import float32
from model.labels import ratio_a as digests
from model.names import RefusedError
from model.profiles import PROFILES
from model.rings import Ring
from model.searches import SEARCHES

__all__ = [
    "HASHES",
    "PROFILES",
    "SEARCHES",
    "RefusedError",
    "Ring",
    "digests",
    "float32",
    "hash_of",
]

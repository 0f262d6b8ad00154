"""The accelerator, an extension module that may be missing."""

from ketama.buffers import Packed
from ketama.lookups import Lookups

def make_class(
    functions: int, slow: type[Lookups], packed: type[Packed], /
) -> type[Lookups]: ...

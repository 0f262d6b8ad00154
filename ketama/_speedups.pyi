"""The accelerator, an extension module that may be missing."""

from collections.abc import Callable, Container

from ketama.buffers import Packed
from ketama.lookups import Lookups

def make_class(
    functions: int,
    fallback: type[Lookups],
    packed: type[Packed],
    mask_of: Callable[[Container[str], tuple[str, ...]], bytes],
    /,
) -> type[Lookups]: ...

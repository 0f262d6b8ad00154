"""The compiled module: what ketama.h declares, as cffi presents it."""

from typing import Any

ffi: Any
lib: Any

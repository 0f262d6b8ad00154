"""What type checkers and tools see of the synchronous clients."""

from __future__ import annotations

import importlib
import inspect
import typing

import pytest
from needs import need_module

MODULES = {
    "dogpile": "dogpile.cache",
    "memcache": "memcache",
    "meta_memcache": "meta_memcache",
}


@pytest.mark.parametrize("name", MODULES)
def test_annotations_resolve(name: str) -> None:
    """typing.get_type_hints works for each public callable, and has every parameter."""
    need_module(MODULES[name])
    need_module("pymemcache")
    module = importlib.import_module(f"ketama.clients.{name}")
    seen = 0
    for of_module, member in vars(module).items():
        if of_module.startswith("_") or getattr(member, "__module__", "") != module.__name__:
            continue
        methods = [*vars(member).values()] if inspect.isclass(member) else []
        for one in (member, *methods):
            function = one.fget if isinstance(one, property) else one
            if not inspect.isfunction(function):
                continue
            hints = typing.get_type_hints(function)
            parameters = set(inspect.signature(function).parameters) - {"self"}
            assert parameters | {"return"} <= hints.keys(), function.__qualname__
            seen += 1
    assert seen >= 3

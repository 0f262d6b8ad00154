"""A program that uses the types of the public names: mypy checks it, and nothing runs it."""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING

import numpy as np

import ketama
from ketama.compat import Pyketama

if TYPE_CHECKING:
    from typing_extensions import assert_type

    addresses = ["a:1", "b:1"]
    weighted = [("a:1", 5), ("b:1", 6)]
    mixed = ["a:1", ("b:1", 6)]
    named = [("a:1", 5, "n"), ("b:1", 6)]
    annotated: list[str | tuple[str, int]] = ["a:1", ("b:1", 6)]
    mapping = {"a:1": 5}
    continuum = ketama.Continuum("/etc/ketama.servers", auto_roll=1)
    ketama.Continuum(addresses)
    ketama.Continuum(weighted)
    ketama.Continuum(mixed)
    ketama.Continuum(named)
    ketama.Continuum(annotated)
    ketama.Continuum(mapping)
    ketama.Continuum({"a:1": np.int64(5)})
    ketama.Continuum(continuum.servers)
    ketama.Continuum(["a:1", ("b:1", 6), ("c:1", 7, None)])
    ketama.Continuum([5])  # type: ignore[list-item]
    ketama.Continuum([("a:1", 5.5)])  # type: ignore[list-item]

    assert_type(continuum.lookup("key"), str)
    assert_type(continuum.lookup("key", exclude={"a:1"}), str | None)
    assert_type(continuum.group_by_server([b"key"]), dict[str, list[bytes]])
    assert_type(continuum.indexes(["key"]), array[int])
    assert_type(continuum.indexes(["key"], memoryview(b"")), "memoryview[int]")
    continuum.indexes(["key"], np.zeros(1, np.uint16)).astype(np.uint8)
    assert_type(continuum.explain("key").server, str)
    assert_type(continuum.servers[0].name, str | None)
    assert_type(continuum.diff(continuum), ketama.Diff)
    assert_type(ketama.roll("/etc/ketama.servers"), ketama.Continuum)

    ring = Pyketama([("a:1", 5), ("node", 5, 6), "c:1"])
    ring["node", 300] = object()
    ring["node"] = object()

    findings = ketama.check("/etc/ketama.servers")
    assert_type([finding.reason for finding in findings], list[str])
    with ketama.edit("/etc/ketama.servers", dry_run=True) as editing:
        assert_type(editing, ketama.Edit)
        assert_type(editing.diff(), ketama.Diff | None)

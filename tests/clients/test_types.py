"""What type checkers and tools see of the clients, and what an import of them costs."""

from __future__ import annotations

import importlib
import inspect
import json
import subprocess
import sys
import typing
from collections.abc import Iterator
from pathlib import Path

import pytest
from needs import lacking, need, need_module

import ketama

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = ROOT / "tests" / "clients" / "typed.py"
PYRIGHT = ROOT / ".venv" / "npm" / "node_modules" / "pyright" / "index.js"
MODULES = {
    "ketama.clients.django": "django",
    "ketama.clients.hasher": "",
    "ketama.clients.pymemcache": "pymemcache",
    "ketama.clients.routing": "",
    "ketama.health": "",
}


def public_callables(module: str) -> Iterator[tuple[str, typing.Any]]:
    """Yield a module's own functions and classes, and the methods of these, by name."""
    members = vars(importlib.import_module(module))
    for name, member in members.items():
        if name.startswith("_") or getattr(member, "__module__", "") != module:
            continue
        if inspect.isfunction(member) or inspect.isclass(member):
            yield name, member
        if inspect.isclass(member):
            for of_class, method in inspect.getmembers(member):
                function = method.fget if isinstance(method, property) else method
                if inspect.isfunction(function) and function.__module__.startswith("ketama."):
                    yield f"{name}.{of_class}", function


@pytest.mark.parametrize("module", MODULES)
def test_annotations_resolve(module: str) -> None:
    """typing.get_type_hints works, and has every parameter."""
    if MODULES[module]:
        need_module(MODULES[module])
    found = dict(public_callables(module))
    assert found
    for name, member in found.items():
        hints = typing.get_type_hints(member)
        if inspect.isfunction(member):
            parameters = set(inspect.signature(member).parameters) - {"self"}
            assert parameters | {"return"} <= set(hints), name


def test_the_search_finds_them() -> None:
    """The test above sees functions, classes, methods and properties."""
    need_module("django")
    assert {"HashClient", "HashClient.get", "HashClient.continuum"} <= dict(
        public_callables("ketama.clients.pymemcache")
    ).keys()
    assert {"KetamaCache.close", "client_of"} <= dict(
        public_callables("ketama.clients.django")
    ).keys()
    assert {"Liveness.down", "Probe"} <= dict(public_callables("ketama.health")).keys()


def test_types_for_annotations() -> None:
    """What programs that take a key, servers or a path annotate them with is exported."""
    for name in ("Key", "Path", "Servers"):
        assert name in ketama.__all__
        assert typing.get_args(getattr(ketama, name))
    assert set(typing.get_args(ketama.Key)) >= {str, bytes}


def pyright(program: Path) -> list[int]:
    """Return the lines in which pyright finds an error, from 1 on."""
    command = [need("node"), str(PYRIGHT), "--outputjson", "--pythonpath", sys.executable]
    # In the project's folder, where it finds the package.
    done = subprocess.run([*command, str(program)], cwd=ROOT, capture_output=True, text=True)
    report = json.loads(done.stdout)
    assert report["summary"]["filesAnalyzed"] == 1
    errors = [d for d in report["generalDiagnostics"] if d["severity"] == "error"]
    return [error["range"]["start"]["line"] + 1 for error in errors]


def test_pyright(tmp_path: Path) -> None:
    """It finds in the program what mypy finds: nothing but the lines wrong on purpose."""
    for module in ("django", "pymemcache"):
        need_module(module)
    if not PYRIGHT.is_file():
        lacking("the packages of npm are not installed: run make .venv/asked")
    assert pyright(PROGRAM) == []
    text = PROGRAM.read_text()
    wrong = [n for n, line in enumerate(text.splitlines(), 1) if "# type: ignore[" in line]
    assert len(wrong) == 5
    told = tmp_path / "told.py"
    told.write_text(text.replace("# type: ignore", "# "))
    assert pyright(told) == wrong


def modules_of(program: str) -> set[str]:
    """Return the modules that a program has loaded."""
    done = subprocess.run(
        [sys.executable, "-c", f"import sys\n{program}\nprint(*sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
    )
    return set(done.stdout.split())


def test_import_ketama_loads_no_client() -> None:
    """Whoever does not use a client does not load one, nor the library that it is for."""
    need_module("django")
    loaded = modules_of("import ketama; ketama.Continuum(['10.0.0.1:11211'])['key']")
    heavy = ("ketama.clients", "ketama.health", "pymemcache", "django", "asgiref", "socket")
    assert [name for name in loaded if name.startswith(heavy)] == []


def test_what_the_backend_of_django_loads() -> None:
    """Beyond what Django's own loads: modules of ketama's worker path, and what they need."""
    need_module("django")
    django = modules_of("import django.core.cache.backends.memcached, pymemcache.serde")
    ours = modules_of("import ketama.clients.django")
    more = {name for name in ours - django if not name.startswith("ketama")}
    assert more <= {"__future__", "_cffi_backend", "_queue"}
    packages = {".".join(name.split(".")[:2]) for name in ours if name.startswith("ketama.")}
    assert not packages & {"ketama.admin", "ketama.cli", "ketama.settings"}
    others = {name for name in ours if name.startswith("ketama.clients.")} - {
        f"ketama.clients.{name}" for name in ("django", "hasher", "pools", "probe", "routing")
    }
    assert all(name.startswith("ketama.clients.pymemcache") for name in others)

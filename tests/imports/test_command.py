"""`ketama import` as operators run it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from command import ROOT, as_json, fits_schema, measured, on_a_terminal, refusal, run, text
from needs import need_module

import ketama
from ketama.admin.imports import FORMATS

NUTCRACKER = ROOT / "examples" / "nutcracker.yml"


@pytest.fixture(autouse=True)
def parsers() -> None:
    """Have the parsers that the formats need."""
    need_module("yaml")
    need_module("crossplane")


def test_a_file(tmp_path: Path) -> None:
    """The server file is printed, and apply puts it into place."""
    made = run("import", NUTCRACKER, "--pool", "sessions")
    assert (made.returncode, made.stderr) == (0, b"")
    path = tmp_path / "ketama.servers"
    text("apply", "-", path, stdin=made.stdout)
    assert path.read_bytes() == made.stdout
    assert ketama.Continuum(path).lookup("user:42") == ketama.Continuum(
        [("10.0.0.1:11211", 3, "cache-a"), ("10.0.0.2:11211", 1, None)],
        profile="twemproxy",
        hash="md5",
        hash_tag="{}",
    ).lookup("user:42")


def test_standard_input_and_notes() -> None:
    """Notes are lines on standard error, with the line of the configuration."""
    done = run("import", "-", stdin=b"upstream u {\nhash $k consistent;\nserver a;\n"
               b"server b down;\n}")  # fmt: skip
    assert done.returncode == 0
    assert done.stdout == b"#ketama profile=nginx\na   1\n"
    assert done.stderr == b"ketama: <stdin>:4: left out: b is marked down\n"
    done = run("import", "--profile", "dalli", "-", stdin=b"a:1:2 b:3")
    assert (done.stdout, done.stderr) == (b"#ketama profile=dalli\na:1   2\nb:3   1\n", b"")


def test_json() -> None:
    """The document has the text, and the notes that are not on standard error then."""
    found = fits_schema("import", as_json("import", NUTCRACKER, "--pool", "objects"))
    assert found["format"] == "twemproxy"
    assert found["pool"] == "objects"
    assert found["text"] == run("import", NUTCRACKER, "--pool", "objects").stdout.decode()
    assert found["text"].startswith(found["line"] + "\n")
    assert [note["line"] for note in found["notes"]] == [5]
    plain = fits_schema("import", as_json("import", "-", stdin=b"a:1"))
    assert (plain["line"], plain["pool"]) == (None, None)
    schema = json.loads((ROOT / "docs" / "cli.schema.json").read_text())
    assert schema["$defs"]["import"]["properties"]["format"]["enum"] == list(FORMATS)
    assert all(f"\n  {name} " in text("import", "--help") for name in FORMATS)


def test_on_a_terminal(tmp_path: Path) -> None:
    """Characters that control a terminal are escaped there, and kept in a pipe."""
    path = tmp_path / "list"
    path.write_bytes(b"a\x1b:1 b:2\n")
    assert b"a\x1b:1" in run("import", "--format", "list", "--profile", "dalli", path).stdout
    shown = on_a_terminal("import", "--format", "list", "--profile", "dalli", path)
    assert "a\\x1b:1" in shown
    assert "\x1b" not in shown


def test_errors(tmp_path: Path) -> None:
    """Each names the file, the line where it is known, and what to do."""
    assert refusal(3, "import", tmp_path / "none").endswith("none: No such file or directory")
    assert refusal(3, "import", tmp_path).endswith(": Is a directory")
    assert refusal(3, "import", NUTCRACKER) == (
        f"ketama: {NUTCRACKER}: 2 pools: choose one with --pool: objects, sessions"
    )
    assert refusal(2, "import", "--format", "ini", NUTCRACKER).startswith(
        "ketama import: inval"
    )
    assert refusal(2, "import").startswith("ketama import: missing argument 'SOURCE'")
    # A profile that does not exist is the program's choice, not the configuration's.
    said = refusal(2, "import", "--profile", "memcache", "-", stdin=b"a:1")
    assert said.startswith(
        "ketama import: invalid profile 'memcache': did you mean libmemcached"
    )
    assert said.endswith("See 'ketama import --help'")


@pytest.mark.parametrize(
    ("package", "content"),
    [("yaml", "p:\n  servers:\n  - a:1:1\n"), ("crossplane", "upstream u {\nserver a:1;\n}\n")],
)
def test_a_missing_parser(package: str, content: str, tmp_path: Path) -> None:
    """Only the format that needs it fails, and names the extra."""
    hidden = tmp_path / package
    hidden.mkdir()
    error = f'raise ModuleNotFoundError("No module named {package}", name="{package}")\n'
    (hidden / "__init__.py").write_text(error)
    environment = {**measured(), "PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)])}
    done = run("import", "-", stdin=content.encode(), env=environment)
    assert (done.returncode, done.stdout) == (3, b"")
    assert done.stderr.decode() == (
        f"ketama: {package} is not installed: run pip install 'libketama[import]'\n"
    )
    assert text("import", "--profile", "dalli", "-", stdin=b"a:1", env=environment)


def test_parsers_are_loaded_where_they_are_used() -> None:
    """Neither `import ketama` nor a plain list loads them."""
    program = (
        "import sys, ketama.admin.imports as i\n"
        "i.import_servers(b'a:1', 'f')\n"
        "sys.exit(bool({'yaml', 'crossplane', 'click'} & set(sys.modules)))\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
    program = "import sys, ketama; sys.exit('ketama.admin' in sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True)

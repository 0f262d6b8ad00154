"""What README.md and ketama.h show for C compiles as it stands, and does what it says."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from library import archive
from needs import need

ROOT = Path(__file__).resolve().parents[1]
HEADER = ROOT / "libketama" / "ketama.h"


def from_readme() -> str:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    return text.partition("```c\n")[2].partition("```")[0]


def from_header() -> str:
    text = HEADER.read_text(encoding="utf-8")
    lines = text[text.index(" *     ketama_continuum c;") :].splitlines()
    example = [line.removeprefix(" *") for line in lines[: lines.index(" *")]]
    return "\n".join(example)


@pytest.mark.parametrize("example", [from_readme, from_header])
def test_example_for_c(example: object, tmp_path: Path) -> None:
    """The example gives a key's server, and says what is wrong with a file."""
    servers = tmp_path / "ketama.servers"
    code = example()  # type: ignore[operator]
    assert '"/etc/ketama.servers"' in code
    body = code.replace("/etc/ketama.servers", str(servers))
    program = tmp_path / "example.c"
    program.write_text(
        "#include <stdio.h>\n#include <stdlib.h>\n#include <ketama.h>\n"
        f"int main(void)\n{{\n{body}\nreturn 0;\n}}\n"
    )
    command = [need("cc"), "-std=c11", "-Wall", "-Werror", f"-I{HEADER.parent}"]
    subprocess.run([*command, "-o", tmp_path / "example", program, archive()], check=True)

    servers.write_text("10.0.0.1:11211 1\n")
    good = subprocess.run([tmp_path / "example"], capture_output=True, text=True, check=True)
    assert (good.stdout, good.stderr) == ("10.0.0.1:11211\n", "")
    servers.write_text("10.0.0.1:11211\n")
    wrong = subprocess.run([tmp_path / "example"], capture_output=True, text=True, check=False)
    assert wrong.stdout == ""
    assert wrong.stderr.startswith(f"{servers}:1: no weight")

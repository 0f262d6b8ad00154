"""Builds the extension module; everything else stands in pyproject.toml."""

import re
from pathlib import Path

from setuptools import setup

header = Path(__file__).with_name("libketama") / "ketama.h"
version = re.search(r'^#define KETAMA_VERSION "(.+)"$', header.read_text(), re.MULTILINE)
if version is None:
    raise SystemExit(f"{header}: KETAMA_VERSION is missing")

setup(
    version=version.group(1),
    cffi_modules=["ketama/_build.py:ffibuilder"],
    options={"bdist_wheel": {"py_limited_api": "cp310"}},
)

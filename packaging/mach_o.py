"""Check extension modules for macOS. Usage: mach_o.py PLATFORM FILE ...

Each must be for the processor and the macOS of the platform tag, and load nothing but the
system's library; what Python has must be looked up in whichever file has it.
"""

from __future__ import annotations

import re
import sys

import lief

lief.logging.disable()  # it reports what a file without relocations lacks
ANY_FILE = -2  # BIND_SPECIAL_DYLIB_FLAT_LOOKUP


def check(path: str, processor: str, version: list[int]) -> None:
    """Raise SystemExit if a module is not right."""
    files = lief.MachO.parse(path)
    if files is None or files.size != 1:
        raise SystemExit(f"{path}: not a file for one processor of macOS")
    module = files.at(0)
    own, *loaded = [library.name for library in module.libraries]
    bound = {binding.symbol.name: binding.library_ordinal for binding in module.bindings}
    pythons = {name for name in bound if name.startswith(("_Py", "__Py"))}
    for right, reason in (
        (module.header.cpu_type.name == processor.upper(), "for another processor"),
        (list(module.build_version.minos[:2]) == version, "for another version of macOS"),
        (loaded == ["/usr/lib/libSystem.B.dylib"], f"loads {loaded}"),
        (not own.startswith("/"), f"names a folder of the machine that built it: {own}"),
        (not module.has_rpath, "has an RPATH"),
        (module.has_code_signature or processor != "arm64", "not signed"),
        (pythons and all(bound[name] == ANY_FILE for name in pythons), "would not find Python"),
        # On x86-64, zig's runtime, needed for __builtin_cpu_supports, brings its own.
        ("___stack_chk_fail" in bound or processor == "x86_64", "no stack protector"),
    ):
        if not right:
            raise SystemExit(f"{path}: {reason}")


def main(platform: str, *paths: str) -> None:
    """Check each of the files."""
    found = re.fullmatch(r"macosx_(\d+)_(\d+)_(\w+)", platform)
    if found is None:
        raise SystemExit(f"{platform}: not a platform tag of macOS")
    for path in paths:
        check(path, found[3], [int(found[1]), int(found[2])])
    print(f"{platform}: {len(paths)} passed, 0 failed")


if __name__ == "__main__":
    main(*sys.argv[1:])

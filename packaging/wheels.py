"""Build the sdist, and a wheel for each platform, with the compiler of PyPI's ziglang.

Usage: wheels.py FOLDER. All are made from the files that git tracks, as they are, and the same
commit gives the same bytes. packaging/check.sh checks them.
"""

from __future__ import annotations

import gzip
import io
import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import ziglang

ROOT = Path(__file__).resolve().parent.parent
ZIG = Path(ziglang.__file__).with_name("zig")

# What sysconfig calls the platform, of which the wheel's tag is made; and zig's name for it.
# macOS 10.15 is the first that has aligned_alloc.
TARGETS = {
    "manylinux_2_17_x86_64": "x86_64-linux-gnu.2.17",
    "manylinux_2_17_aarch64": "aarch64-linux-gnu.2.17",
    "musllinux_1_2_x86_64": "x86_64-linux-musl",
    "musllinux_1_2_aarch64": "aarch64-linux-musl",
    "macosx-10.15-x86_64": "x86_64-macos.10.15",
    "macosx-11.0-arm64": "aarch64-macos.11.0",
}
# zig's linker makes no bundle, the usual kind of file for extension modules of macOS; Python
# loads a dynamic library just as well.
MACOS_LINK = "-Wl,-undefined,dynamic_lookup"
MACOS_WARNINGS = "-Werror=unguarded-availability-new"


def git(*arguments: str | Path) -> str:
    """Return what a command of git prints."""
    command = ["git", "-C", ROOT, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def unpack(archive: Path, folder: Path) -> None:
    """Unpack an archive into a new folder."""
    folder.mkdir()
    subprocess.run(["tar", "-xf", archive, "-C", folder], check=True)


def export(folder: Path) -> None:
    """Copy the files that git tracks, as they are, to a new folder."""
    archive = folder.with_suffix(".tar")
    # A commit that no branch has; nothing if all is committed.
    changed = git("-c", "user.name=-", "-c", "user.email=-", "stash", "create")
    git("archive", "-o", archive, changed or "HEAD")
    unpack(archive, folder)


def copy_headers(folder: Path) -> None:
    """Copy Python's headers, with the pyconfig.h of this machine in its place.

    Debian's pyconfig.h chooses one by the processor. Of it, the limited API uses only the sizes
    of C's types, which are the same for all targets.
    """
    headers = Path(sysconfig.get_path("include"))
    shutil.copytree(headers, folder)
    machine = sysconfig.get_config_var("MULTIARCH") or ""
    own = headers.parent / machine / headers.name / "pyconfig.h"
    if own.exists():
        shutil.copy(own, folder)


def build(kind: str, source: Path, out: Path, environment: dict[str, str]) -> None:
    """Build an "sdist" or a "wheel" of a folder with what is installed here."""
    command = [sys.executable, "-m", "build", "--no-isolation", f"--{kind}", "--outdir", out]
    result = subprocess.run(
        [*command, source], env=os.environ | environment, capture_output=True, text=True
    )
    if result.returncode != 0:
        raise SystemExit(result.stdout + result.stderr)


def normalize(sdist: Path, seconds: int) -> None:
    """Rewrite an sdist without what depends on the time, the user and the order of files."""

    def plain(member: tarfile.TarInfo) -> tarfile.TarInfo:
        member.mtime = seconds
        member.uid = member.gid = 0
        member.uname = member.gname = ""
        member.mode = 0o755 if member.isdir() or member.mode & 0o100 else 0o644
        return member

    with tarfile.open(sdist) as old:
        members = sorted(old.getmembers(), key=lambda member: member.name)
        data = io.BytesIO()
        with tarfile.open(fileobj=data, mode="w", format=tarfile.PAX_FORMAT) as new:
            for member in members:
                member.pax_headers = {}
                new.addfile(plain(member), old.extractfile(member) if member.isfile() else None)
    sdist.write_bytes(gzip.compress(data.getvalue(), mtime=seconds))


def cross(platform: str, headers: Path) -> dict[str, str]:
    """Return the environment in which setuptools builds for another platform."""
    compiler = linker = f"{ZIG} cc -target {TARGETS[platform]}"
    macos = platform.startswith("macosx")
    if platform.startswith("musllinux"):
        linker = f"{ROOT}/packaging/link_musl.sh {compiler}"
    return {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "_PYTHON_HOST_PLATFORM": platform,
        "CC": compiler,
        # Without -O2, the linker would add the runtime of sanitizers.
        "CFLAGS": f"-O2 -DNDEBUG -I{headers} {MACOS_WARNINGS if macos else ''}",
        "LDSHARED": f"{linker} -shared {MACOS_LINK if macos else ''}",
        "LDFLAGS": "-s",
    }


def main(out: Path) -> None:
    """Build all into a folder, which must be empty or missing."""
    epoch = git("log", "-1", "--format=%ct")
    environment = {"SOURCE_DATE_EPOCH": epoch}
    with tempfile.TemporaryDirectory() as folder:
        checkout, headers = Path(folder, "checkout"), Path(folder, "include")
        export(checkout)
        copy_headers(headers)
        build("sdist", checkout, out, environment)
        (sdist,) = out.glob("*.tar.gz")
        normalize(sdist, int(epoch))

        def build_for(platform: str) -> None:
            source = Path(folder, platform)
            unpack(sdist, source)
            (top,) = source.iterdir()
            build("wheel", top, out, environment | cross(platform, headers))

        with ThreadPoolExecutor(os.cpu_count()) as pool:
            list(pool.map(build_for, TARGETS))  # raises what one of them raised


if __name__ == "__main__":
    main(Path(sys.argv[1]))

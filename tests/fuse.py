"""A real FUSE file system with one server file: to hang it, stop its process (SIGSTOP).

It speaks the kernel's protocol itself, so it needs /dev/fuse and root, and nothing else. The
root has two names: "servers" has the text of a file outside; "interrupted" has it, too, but an
open(2) of it ends only when a signal interrupts it, with EINTR.
"""

from __future__ import annotations

import ctypes
import errno
import os
import signal
import stat
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from needs import lacking, need_root

ROOT, SERVERS, INTERRUPTED = 1, 2, 3
NAMES = {b"servers": SERVERS, b"interrupted": INTERRUPTED}
LOOKUP, FORGET, GETATTR, OPEN, READ = 1, 2, 3, 14, 15
RELEASE, FLUSH, INIT, INTERRUPT, BATCH_FORGET = 18, 25, 26, 36, 42
IN_HEADER, OUT_HEADER = struct.Struct("=IIQQIIII"), struct.Struct("=IiQ")
UNCACHED = struct.Struct("=QQQQII").pack  # an entry's or attribute's time to live: none
DIRECT_IO = 1


class Server:
    """Answers the kernel's requests, one after the other."""

    def __init__(self, device: int, backing: Path) -> None:
        self.device = device
        self.backing = backing
        self.opening: set[int] = set()  # requests that are answered when interrupted

    def attributes(self, node: int) -> bytes:
        """Give the kernel's struct fuse_attr of a node."""
        status = self.backing.stat()
        size = 0 if node == ROOT else status.st_size
        mode = stat.S_IFDIR | 0o755 if node == ROOT else stat.S_IFREG | 0o644
        times = [status.st_mtime_ns] * 2 + [status.st_ctime_ns]
        seconds, rest = [t // 10**9 for t in times], [t % 10**9 for t in times]
        return struct.pack("=6Q10I", node, size, 0, *seconds, *rest, mode, 1, 0, 0, 0, 4096, 0)

    def reply(self, unique: int, data: bytes = b"", error: int = 0) -> None:
        """Send a reply to the kernel."""
        header = OUT_HEADER.pack(OUT_HEADER.size + len(data), -error, unique)
        os.write(self.device, header + data)

    def answer(self, request: bytes) -> None:
        """Answer one request, whatever it asks."""
        _, code, unique, node, *_ = IN_HEADER.unpack_from(request)
        body = request[IN_HEADER.size :]
        if code == INIT:
            self.reply(
                unique, struct.pack("=IIIIHHIIHHI7I", 7, 31, 0, 0, 12, 9, 4096, 1, *[0] * 10)
            )
        elif code == LOOKUP:
            found = NAMES.get(body.rstrip(b"\0"))
            if found is None:
                self.reply(unique, error=errno.ENOENT)
            else:
                self.reply(unique, UNCACHED(found, 0, 0, 0, 0, 0) + self.attributes(found))
        elif code == GETATTR:
            self.reply(unique, struct.pack("=QII", 0, 0, 0) + self.attributes(node))
        elif code == OPEN and node == INTERRUPTED:
            self.opening.add(unique)
        elif code == OPEN:
            self.reply(unique, struct.pack("=QII", 0, DIRECT_IO, 0))
        elif code == READ:
            _, offset, size = struct.unpack_from("=QQI", body)
            self.reply(unique, self.backing.read_bytes()[offset : offset + size])
        elif code == INTERRUPT:
            (interrupted,) = struct.unpack_from("=Q", body)
            if interrupted in self.opening:
                self.opening.remove(interrupted)
                self.reply(interrupted, error=errno.EINTR)
        elif code in (RELEASE, FLUSH):
            self.reply(unique)
        elif code not in (FORGET, BATCH_FORGET):
            self.reply(unique, error=errno.ENOSYS)


def serve(mount_point: Path, backing: Path) -> None:
    device = os.open("/dev/fuse", os.O_RDWR)
    options = f"fd={device},rootmode=40000,user_id=0,group_id=0,allow_other"
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(b"fuse", os.fsencode(mount_point), b"fuse", 0, options.encode()) != 0:
        sys.exit(f"mount: {os.strerror(ctypes.get_errno())}")
    server = Server(device, backing)
    print("mounted", flush=True)
    while True:
        try:
            server.answer(os.read(device, 1 << 17))
        except FileNotFoundError:  # a request was given up meanwhile
            continue
        except OSError:  # it was unmounted
            return


@contextmanager
def mounted(folder: Path, backing: Path) -> Iterator[tuple[Path, subprocess.Popen[str]]]:
    """Mount it; give the folder, and the process that serves it."""
    need_root()
    if not Path("/dev/fuse").exists():
        lacking("there is no /dev/fuse")
    folder.mkdir()
    process = subprocess.Popen(
        [sys.executable, __file__, folder, backing], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    if process.stdout.readline() != "mounted\n":
        process.wait()
        lacking("file systems can't be mounted here")
    try:
        yield folder, process
    finally:  # whoever waits for an answer gets an error
        process.send_signal(signal.SIGKILL)
        process.communicate()
        subprocess.run(["umount", "-l", folder], check=True)


if __name__ == "__main__":
    serve(Path(sys.argv[1]), Path(sys.argv[2]))

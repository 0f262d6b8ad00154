"""Processes of the command that begin with its imports made: forked from one that made them.

Starting Python and importing click is most of what a command costs, and the tests start a
thousand. Each still is a process of its own, with its arguments, environment, directory, umask
and pipes, that runs `python -m ketama`. Only what holds for all of them came before: the start
of the interpreter, and imports that nearly every command makes.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import runpy
import socket
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any, NamedTuple

# Read as the interpreter starts, or as ketama is imported.
EARLY = ("PYTHON", "LC_", "LANG", "TZ", "COV", "KETAMA_SPEEDUPS", "LD_")


class Server(NamedTuple):
    """The process that forks, the process that may ask it, and their connection."""

    connection: socket.socket
    owner: int
    early: dict[str, str]


_servers: list[Server] = []


def early(environment: dict[str, str]) -> dict[str, str]:
    """Return the variables that take effect before a command's arguments are read."""
    return {name: text for name, text in environment.items() if name.startswith(EARLY)}


def start(environment: dict[str, str]) -> subprocess.Popen[bytes]:
    """Start the process that forks. It ends when this one does."""
    ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with its:
        process = subprocess.Popen(
            [sys.executable, __file__, str(its.fileno())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            pass_fds=[its.fileno()],
            env=environment,
        )
    _servers[:] = [Server(ours, os.getpid(), early(environment))]
    return process


def stop(process: subprocess.Popen[bytes]) -> None:
    """End the process that forks."""
    _servers.pop().connection.close()
    _, complaints = process.communicate()
    assert (process.returncode, complaints) == (0, b"")


def ready(environment: dict[str, str]) -> bool:
    """Say whether a command in that environment may be forked for this process."""
    return any(
        (server.owner, server.early) == (os.getpid(), early(environment)) for server in _servers
    )


def run(
    arguments: Sequence[str | bytes | os.PathLike[str]],
    stdin: bytes,
    environment: dict[str, str],
) -> subprocess.CompletedProcess[bytes]:
    """Run the command to its end, with pipes, as subprocess.run does."""
    os.umask(mask := os.umask(0))
    request = {
        "arguments": [os.fsdecode(argument) for argument in arguments],
        "environment": environment,
        "directory": os.getcwd(),
        "umask": mask,
    }
    with ExitStack() as stack:
        asked = stack.enter_context(os.fdopen(os.memfd_create("request"), "w+b"))
        asked.write(json.dumps(request).encode())
        asked.flush()
        (in_read, in_write), (out, out_write), (err, err_write), (status, status_write) = (
            os.pipe() for _ in range(4)
        )
        theirs = [asked.fileno(), in_read, out_write, err_write, status_write]
        socket.send_fds(_servers[0].connection, [b"run"], theirs)
        for descriptor in theirs[1:]:
            os.close(descriptor)
        with ThreadPoolExecutor(3) as pool:
            pool.submit(_write, in_write, stdin)
            read = [pool.submit(_read, descriptor) for descriptor in (out, err, status)]
        printed, complaints, waited = (each.result() for each in read)
    code = os.waitstatus_to_exitcode(int(waited))
    return subprocess.CompletedProcess(["ketama", *arguments], code, printed, complaints)


def _write(descriptor: int, content: bytes) -> None:
    # As with subprocess.run, it need not read everything.
    with contextlib.suppress(BrokenPipeError), open(descriptor, "wb") as pipe:
        pipe.write(content)


def _read(descriptor: int) -> bytes:
    with open(descriptor, "rb") as pipe:
        return pipe.read()


def _reap(options: int) -> None:
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, options) != (0, 0):
            pass


def serve(connection: socket.socket) -> dict[str, Any] | None:
    """Fork for each request; return it in its child, and None when nobody will ask any more."""
    while True:
        message, descriptors, _, _ = socket.recv_fds(connection, 3, 5)
        _reap(0 if not message else os.WNOHANG)
        if not message:
            return None
        asked, stdin, stdout, stderr, status = descriptors
        if os.fork() == 0:
            # A process of its own waits, so that this one can fork the next one at once.
            connection.close()
            if (child := os.fork()) == 0:
                os.close(status)
                for number, descriptor in enumerate((stdin, stdout, stderr)):
                    os.dup2(descriptor, number)
                    os.close(descriptor)
                with os.fdopen(asked, "rb") as file:
                    file.seek(0)
                    request: dict[str, Any] = json.load(file)
                return request
            for descriptor in (stdin, stdout, stderr):
                os.close(descriptor)
            _, waited = os.waitpid(child, 0)
            os.write(status, str(waited).encode())
            os._exit(0)
        for descriptor in descriptors:
            os.close(descriptor)


def become(request: dict[str, Any]) -> None:
    """Run the command as `python -m ketama` would."""
    os.environ.clear()
    os.environ.update(request["environment"])
    os.umask(request["umask"])
    os.chdir(request["directory"])
    sys.path[0] = request["directory"]
    sys.argv[1:] = request["arguments"]
    runpy.run_module("ketama", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    sys.path[0] = os.getcwd()  # not tests/
    with socket.socket(fileno=int(sys.argv[1])) as socket_of_tests:
        for name in ("cli.app", "cli.documents", "admin.check", "admin.edit"):
            importlib.import_module(f"ketama.{name}")
        gc.freeze()  # so that collections in a child do not write to what it shares
        asked_for = serve(socket_of_tests)
    if asked_for is not None:
        become(asked_for)

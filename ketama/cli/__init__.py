"""The command `ketama`, for operators: a thin layer over the package.

One module per command. `app` has what all commands share, `documents` what several print,
`output` how it is printed. Libraries are imported where they are used, so that a single lookup
starts at once.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import TextIO

RUNTIME_ERROR, INTERRUPTED = 3, 130
EXTRAS = {
    "click": "cli",
    "rich": "cli",
    "matplotlib": "plot",
    "numpy": "plot",
    "yaml": "import",
    "crossplane": "import",
    "urllib3": "fleet",
}


def main() -> None:
    """Run the command with this process's arguments, and exit."""
    # Like other programs in a pipe, end silently when the reader closes it.
    if hasattr(signal, "SIGPIPE"):
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    try:
        from ketama.cli.app import run

        code = run(sys.argv[1:])
    except KeyboardInterrupt:
        code = INTERRUPTED
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in EXTRAS:
            raise
        print(
            f"ketama: {package} is not installed: "
            f"run pip install 'libketama[{EXTRAS[package]}]'",
            file=sys.stderr,
        )
        code = RUNTIME_ERROR
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            _flush(stream)
    sys.exit(code)


def _flush(stream: TextIO) -> None:
    """Flush a standard stream; discard what it does not take.

    The error has been reported. The interpreter would fail on the rest once more as it exits.
    """
    try:
        stream.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())

"""The command `ketama`: a thin layer over the package, for operators.

A module for each command; `app` has what they have in common, `output` how it is printed.
Libraries are imported where they are used, so that a single lookup starts at once.
"""

from __future__ import annotations

import os
import signal
import sys

COULD_NOT, INTERRUPTED = 3, 130


def main() -> None:
    """Run the command with this process's arguments, and exit."""
    # As for every other program in a pipe: whoever closes it ends the command, in silence.
    if hasattr(signal, "SIGPIPE"):
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    try:
        from ketama.cli.app import run

        code = run(sys.argv[1:])
    except KeyboardInterrupt:
        code = INTERRUPTED
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        extra = {"click": "cli", "rich": "cli", "matplotlib": "plot", "numpy": "plot"}.get(
            package
        )
        if extra is None:
            raise
        print(
            f"ketama: this needs {package}, which is not installed: "
            f"pip install 'libketama[{extra}]'",
            file=sys.stderr,
        )
        code = COULD_NOT
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError:  # which was reported; at the interpreter's end it would be once more
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(code)

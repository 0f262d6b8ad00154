"""What happens to a server file that is followed: written to the log, and passed on.

Imported when something has happened, so that a worker whose file never changes does not
import logging.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TypeAlias

logger = logging.getLogger("ketama")
logger.addHandler(logging.NullHandler())  # a program that does not log prints nothing

# Called with the addresses before and after a change of the file.
OnChange: TypeAlias = Callable[[tuple[str, ...], tuple[str, ...]], object]
# Called with the error of a file that cannot be used.
OnError: TypeAlias = Callable[[Exception], object]


def changed(
    filename: str | bytes,
    before: tuple[str, ...],
    after: tuple[str, ...],
    on_change: OnChange | None,
) -> None:
    """Log that a file has been reloaded, at INFO, and pass it on."""
    known, present = set(before), set(after)
    changes = [f"+{address}" for address in after if address not in known]
    changes += [f"-{address}" for address in before if address not in present]
    logger.info(
        "%s: reloaded, %d servers: %s",
        os.fsdecode(filename),
        len(after),
        " ".join(changes) or "the same addresses",
    )
    if on_change is not None:
        on_change(before, after)


def failed(error: Exception, on_error: OnError | None) -> None:
    """Log that a file cannot be used, at WARNING, and pass it on."""
    logger.warning("%s; still using the servers of the last valid version", error)
    if on_error is not None:
        on_error(error)


def recovered(filename: str | bytes) -> None:
    """Log that a file can be used again, unchanged, at INFO."""
    logger.info("%s: can be used again, unchanged", os.fsdecode(filename))

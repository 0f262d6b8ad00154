"""What an edit has done to a server file, as text and as JSON."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

from ketama.cli.documents import diff_as_json, print_diff
from ketama.cli.output import print_styled, user_name

Rows = tuple[tuple[int, str | None], ...]
NO_CHANGE = dict.fromkeys(
    ("server", "server_before", "weight_before", "weight", "name_before", "name")
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    import ketama
    from ketama.admin.edit import Edit


class Change(NamedTuple):
    """A server, and its weight and name on each of its lines, before and after the edit.

    server: its address after the edit, or of a removed server before it.
    old: the address that it had, if that was another one.
    """

    server: str
    before: Rows
    after: Rows
    old: str | None = None

    @property
    def is_one(self) -> bool:
        """Whether anything has changed."""
        return self.before != self.after or self.old not in (None, self.server)

    def as_json(self) -> dict[str, Any]:
        """Return the change as in the JSON of all commands that edit."""
        weight_before, name_before = self.before[0] if self.before else (None, None)
        weight, name = self.after[0] if self.after else (None, None)
        return {
            "server": self.server,
            "server_before": (self.old or self.server) if self.before else None,
            "weight_before": weight_before,
            "weight": weight,
            "name_before": name_before,
            "name": name,
        }


class Done(NamedTuple):
    """An edit that was carried out, or tried by a dry run.

    action: the command. new: of `apply`, the name of the new file.
    dialect: the options of a profile as libketama reads them.
    written: whether the file was replaced, or would be.
    """

    action: str
    file: str
    new: str | None
    dialect: bytes
    editing: Edit
    changes: list[Change]
    found: ketama.Diff | None
    written: bool

    @property
    def version(self) -> int | None:
        """The version of a fleet's list after the edit; None: of a file."""
        return getattr(self.editing, "version", None)


def _warnings(done: Done) -> list[ketama.Finding]:
    """Return the warnings about what has been added."""
    from ketama.admin import check

    if done.action == "apply":
        text = done.editing.text
        found = check.examine(lambda: text, compat=False, settings=done.dialect).in_order()
        return [finding for finding in found if finding.severity == "warning"]
    added = [
        change.server
        for change in done.changes
        if change.after and change.is_one and done.action in ("add", "rename")
    ]
    return [finding for server in added for finding in check.check_added(done.editing, server)]


def as_json(done: Done, dry_run: bool) -> dict[str, Any]:
    """Return an edit as in the JSON of all commands that edit."""
    changes = [change.as_json() for change in done.changes]
    only = changes[0] if len(changes) == 1 and done.new is None else NO_CHANGE
    return {
        "file": done.file,
        "action": done.action,
        **only,
        "changes": changes,
        "dry_run": dry_run,
        "written": done.written and not dry_run,
        "published": done.editing.published,
        "version": done.version or None,
        "diff": None if done.found is None else diff_as_json(done.found),
        "warnings": [warning._asdict() for warning in _warnings(done)],
    }


def print_result(done: Done, dry_run: bool) -> None:
    """Print what an edit has changed, which keys move, and what became of the file."""
    if done.new is not None:
        print_styled((f"{done.file}: replace with ", ""), (done.new, "bold"))
    else:
        for change in done.changes:
            if change.is_one:
                _print_change(done, change)
    for warning in _warnings(done):
        where = f"{done.new}:{warning.line}: " if done.new is not None else ""
        print_styled(
            (where, ""), ("warning", "yellow"), (f": {warning.reason} [{warning.code}]", "")
        )
    if done.found is not None:
        print_diff(done.found)
    print()
    for line in _outcome(done, dry_run):
        print_styled((line, ""))


def _print_change(done: Done, change: Change) -> None:
    old, new = (
        " and ".join(str(weight) for weight, _ in rows)
        for rows in (change.before, change.after)
    )
    what, detail = {
        "add": ("add ", f" ({_described(change.after)})"),
        "remove": ("remove ", f" ({_described(change.before)})"),
        "weight": ("change the weight of ", f" from {old} to {new}"),
        "rename": (f"rename {change.old} to ", f" ({_described(change.after)})"),
    }[done.action]
    print_styled((f"{done.file}: {what}", ""), (change.server, "bold"), (detail, ""))


def _described(rows: Rows) -> str:
    """Return the weight of each line, and its name if it has one."""
    return "weight " + " and ".join(
        str(weight) if name is None else f"{weight}, name {name}" for weight, name in rows
    )


def _outcome(done: Done, dry_run: bool) -> Iterator[str]:
    """Yield what stays as it was, and what became of the file."""
    if done.new is not None and not done.written:
        yield "unchanged: the text is the same"
    elif done.new is None:
        for change in done.changes:
            if not change.is_one:
                which = f"{change.server}: " if len(done.changes) > 1 else ""
                yield f"unchanged: {which}{_why_unchanged(done.action, change)}"
    if not done.written:
        return
    if done.new is not None and done.found is None:
        yield "nothing to compare with: there was no valid list of servers"
    if dry_run:
        yield "dry run: nothing was written"
    elif done.version is not None:
        yield f"written for all machines of the fleet: version {done.version}"
    elif not done.editing.published:
        yield "written, but not published: each process builds its own copy"
    else:
        user = user_name(os.geteuid())
        yield (
            f"written and published for user {user}; processes of other users build their own"
        )


def _why_unchanged(action: str, change: Change) -> str:
    if not change.after:
        return "not present"
    if action == "weight":
        return f"weight is already {change.after[0][0]}"
    return f"already present ({_described(change.after)})"

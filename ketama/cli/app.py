"""What the commands have in common: their list, their options, their exit codes."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from importlib import import_module
from typing import TYPE_CHECKING

import click

import ketama
from ketama.cli import COULD_NOT, INTERRUPTED
from ketama.cli.output import printable

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

GOOD, BAD_NEWS, WRONG_USE = 0, 1, 2

# The command's name, and the module of ketama.cli that it is in.
COMMANDS = {
    "where": "where",
    "show": "show",
    "check": "check",
    "diff": "diff",
    "add": "edit",
    "remove": "edit",
    "weight": "edit",
    "plot": "plot",
    "dump": "dump",
    "images": "images",
    "watch": "watch",
    "completion": "completion",
}


def verbatim(command: click.Command) -> click.Command:
    r"""Keep the paragraphs of the help that begin with \b as they are.

    That is click's sign, as one character; docstrings have it as the two that one can see.
    """
    command.help = (command.help or "").replace("\\b\n", "\b\n")
    return command


class Interrupted(BaseException):
    """A KeyboardInterrupt, of which click does not know."""


class Commands(click.Group):
    """The commands, each imported when it is asked for."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            raise Interrupted from None

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Give them in the order of the help."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command."""
        if cmd_name not in COMMANDS:
            return None
        module = import_module(f"ketama.cli.{COMMANDS[cmd_name]}")
        return verbatim(getattr(module, cmd_name))


@click.command(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 96},
    invoke_without_command=True,
)
@click.version_option(ketama.__version__, prog_name="ketama", message="%(prog)s %(version)s")
@click.pass_context
def app(ctx: click.Context) -> int | None:
    r"""Ask a ketama server file anything: where keys live, what a change would move.

    FILE is a server file, or - for standard input. The commands take --json, and have their
    examples in `ketama COMMAND --help`.

    \b
    Exit codes: 0  good
                1  the answer is bad news: check found errors, an edit was refused
                2  wrong use
                3  could not: no such file, a file that is wrong, no permission
              130  interrupted
    """
    if ctx.invoked_subcommand is not None:
        return None
    click.echo(ctx.get_help(), err=True)
    return WRONG_USE


verbatim(app)


def file_argument(name: str = "file", required: bool = True) -> Callable[[Any], Any]:
    """Take a server file."""
    kind = click.Path(allow_dash=True, readable=False)
    metavar = name.upper() if required else f"[{name.upper()}]"
    return click.argument(name, metavar=metavar, type=kind, required=required)


json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def run(arguments: Sequence[str]) -> int:
    """Run the command, report what goes wrong in one line, and give the exit code."""
    try:
        if sys.stdout is None:
            return report("standard output is closed", COULD_NOT)
        # What a name or a locale can't print is escaped, and no reason to fail.
        sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
        code = app.main(list(arguments), prog_name="ketama", standalone_mode=False)
        sys.stdout.flush()
    except click.UsageError as error:
        path = error.ctx.command_path if error.ctx else "ketama"
        message = " ".join(error.format_message().rstrip(".").split())
        return report(f"{message}; see '{path} --help'", WRONG_USE, path)
    except click.ClickException as error:
        return report(error.format_message(), WRONG_USE)
    except (Interrupted, click.Abort, KeyboardInterrupt):
        return INTERRUPTED
    except (ketama.KetamaError, OSError) as error:
        return report(message_of(error), COULD_NOT)
    except MemoryError:
        return report("out of memory", COULD_NOT)
    return int(code or GOOD)


def message_of(error: Exception) -> str:
    """Give an error's file, line and reason."""
    if not isinstance(error, OSError):
        return str(error)
    name = "output" if error.filename is None else os.fsdecode(error.filename) or "''"
    return f"{name}: {error.strerror or error}"


def report(message: str, code: int, who: str = "ketama") -> int:
    """Say in one line on stderr what is wrong."""
    with suppress(OSError):  # then the exit code must do
        print(f"{who}: {printable(message)}", file=sys.stderr, flush=True)
    return code

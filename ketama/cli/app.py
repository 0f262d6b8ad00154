"""What all commands share: their list, common options, exit codes, and error messages."""

from __future__ import annotations

import os
import re
import signal
import sys
from contextlib import suppress
from functools import wraps
from importlib import import_module
from keyword import iskeyword
from typing import TYPE_CHECKING

import click

import ketama
from ketama.cli import INTERRUPTED, RUNTIME_ERROR
from ketama.cli.output import printable

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

OWN = "invalid "  # how our own messages about an argument begin

SUCCESS, PROBLEMS_FOUND, USAGE_ERROR = 0, 1, 2

# By the heading of the help: the command's name, and its module in ketama.cli.
GROUPS = {
    "Questions": {
        "where": "where",
        "show": "show",
        "check": "check",
        "diff": "diff",
        "agree": "agree",
        "profiles": "profiles",
        "plot": "plot",
        "dump": "dump",
    },
    "Changes": {
        "add": "edit",
        "remove": "edit",
        "weight": "edit",
        "rename": "edit",
        "apply": "edit",
        "buckets": "buckets",
        "import": "importing",
    },
    "One list on many machines (fleets)": {
        "push": "push",
        "pull": "pull",
        "rollback": "push",
        "fleet": "fleet",
        "follow": "follow",
    },
    "This machine": {
        "images": "images",
        "live": "live",
        "watch": "watch",
        "completion": "completion",
    },
}
COMMANDS = {name: module for group in GROUPS.values() for name, module in group.items()}


def verbatim(command: click.Command) -> click.Command:
    r"""Keep the paragraphs of the help that begin with \b as they are.

    click expects that as one control character; docstrings have it as two visible ones.
    """
    command.help = (command.help or "").replace("\\b\n", "\b\n")
    return command


class Interrupted(BaseException):
    """A KeyboardInterrupt that click does not handle."""


class Commands(click.Group):
    """The commands, each imported when it is needed."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            raise Interrupted from None
        except BrokenPipeError:  # of which click makes exit code 1
            _end_by_signal()
            raise

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the commands in the order of the help."""
        return list(COMMANDS)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands in groups, their columns aligned with each other."""
        width = max(map(len, COMMANDS))
        for title, names in GROUPS.items():
            commands = ((name, self.get_command(ctx, name)) for name in names)
            with formatter.section(title):
                formatter.write_dl(
                    [
                        (name.ljust(width), command.get_short_help_str(formatter.width))
                        for name, command in commands
                        if command is not None
                    ]
                )

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command."""
        if cmd_name not in COMMANDS:
            return None
        module = import_module(f"ketama.cli.{COMMANDS[cmd_name]}")
        # A keyword of Python is no name of a function.
        return verbatim(getattr(module, cmd_name + "_" * iskeyword(cmd_name)))


@click.command(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 96},
    invoke_without_command=True,
)
@click.version_option(ketama.__version__, prog_name="ketama", message="%(prog)s %(version)s")
@click.option(
    "--etcd-config",
    metavar="FILE",
    type=click.Path(readable=False),
    help="A file of credentials for URLs of fleets.",
)
@click.pass_context
def app(ctx: click.Context, etcd_config: str | None) -> int | None:
    r"""Inspect and edit server files: which server a key belongs to, which keys a change moves.

    FILE is a server file: one server per line, its address and its weight. Commands that only
    read it also accept - for standard input. If many machines have the same list, FILE may be
    the URL of their fleet, etcd://host1,host2/domain. All commands but follow and completion
    accept --json. Run 'ketama COMMAND --help' for examples.

    \b
    Exit codes: 0  success
                1  problems found: check found errors, programs differ, an edit was refused
                2  usage error
                3  runtime error: a file is missing or invalid, permission denied, disk full
              130  interrupted
    """
    if etcd_config is not None:
        os.environ["KETAMA_ETCD_CONFIG"] = etcd_config
    if ctx.invoked_subcommand is not None:
        return None
    click.echo(ctx.get_help(), err=True)
    return USAGE_ERROR


verbatim(app)


def file_argument(name: str = "file", required: bool = True) -> Callable[[Any], Any]:
    """Add an argument for a server file."""
    kind = click.Path(allow_dash=True, readable=False)
    title = name.strip("_").upper()  # map_ is MAP
    metavar = title if required else f"[{title}]"
    return click.argument(name, metavar=metavar, type=kind, required=required)


def share_value(ctx: click.Context, param: click.Parameter, value: str | None) -> float | None:
    """Return a percentage as a share."""
    if value is None:
        return None
    match = re.fullmatch(r"([0-9]+(?:\.[0-9]*)?) ?%", value)
    if match and float(match[1]) <= 100:
        return float(match[1]) / 100
    raise click.BadParameter(
        f"invalid percentage {value!r:.40}: must be 0% to 100%, such as 20%"
    )


json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def _option_value(ctx: click.Context, param: click.Parameter, values: Sequence[str]) -> Any:
    """Return options of a profile by name."""
    options: dict[str, str] = {}
    for text in values:
        name, equals, value = text.partition("=")
        if not equals:
            raise click.BadParameter(
                f"invalid option {text!r:.80}: write NAME=VALUE, such as hash=md5"
            )
        if name in options:
            raise click.BadParameter(f"invalid option {text!r:.80}: {name} is given twice")
        options[name] = value
    return options


def _profile_value(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    """Return the name of a profile; refuse one with options, as 'ketama agree' takes it."""
    if not value:
        return value
    name, *options = value.split() or [value]
    if not options:
        from ketama.cli.profiles import find_profile

        return find_profile(ketama.profiles(), name).name
    apart = " ".join(f"--option {option}" for option in options)
    reason = f"write --profile {name} {apart:.80}"
    raise click.BadParameter(f"invalid profile {value!r:.80}: {reason}")


def complete_profile(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Return the names of profiles for shell completion."""
    names = (profile.name for profile in ketama.profiles())
    return [name for name in names if name.startswith(incomplete)]


def dialect_options(
    command: Callable[..., Any], instead_of: str = ", if FILE does not state it"
) -> Callable[..., Any]:
    """Add the options that say which program's dialect is meant.

    The command gets them as `dialect`, the options of a profile as libketama reads them.
    `instead_of` says, in the help, when --profile counts.
    """

    @wraps(command)
    def with_dialect(
        *args: Any, profile: str | None, profile_options: dict[str, str], **kwargs: Any
    ) -> Any:
        from ketama.settings import settings_text

        if "profile" in profile_options:
            raise click.UsageError("write --profile NAME, not --option profile=NAME")
        dialect = settings_text({"profile": profile, **profile_options})
        return command(*args, dialect=dialect, **kwargs)

    profile = click.option(
        "--profile",
        metavar="NAME",
        callback=_profile_value,
        shell_complete=complete_profile,
        help=f"The dialect of ketama{instead_of}: see 'ketama profiles'.",
    )
    options = click.option(
        "--option",
        "profile_options",
        metavar="NAME=VALUE",
        multiple=True,
        callback=_option_value,
        help="An option of the profile, such as hash=md5.",
    )
    return profile(options(with_dialect))


def run(arguments: Sequence[str]) -> int:
    """Run the command, report errors in one line, and return the exit code."""
    try:
        if sys.stdout is None:
            return report("standard output is closed", RUNTIME_ERROR)
        # Escape what the locale can't print, instead of failing.
        sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
        code = app.main(list(arguments), prog_name="ketama", standalone_mode=False)
        sys.stdout.flush()
    except click.UsageError as error:
        path = error.ctx.command_path if error.ctx else "ketama"
        # What is wrong, in our own words or, with the name of the argument, in click's.
        own = isinstance(error, click.BadParameter) and (error.message or "").startswith(OWN)
        text = error.message if own else error.format_message()
        message = " ".join(text.rstrip(".").split())
        end = " See" if message.endswith("?") else "; see"
        return report(f"{_lower_case(message)}{end} '{path} --help'", USAGE_ERROR, path)
    except click.ClickException as error:
        return report(_lower_case(error.format_message()), USAGE_ERROR)
    except (Interrupted, click.Abort, KeyboardInterrupt):
        return INTERRUPTED
    except ketama.ProfileError as error:
        return report(f"{error}; see 'ketama profiles'", USAGE_ERROR)
    except BrokenPipeError:
        _end_by_signal()
        return RUNTIME_ERROR
    except (ketama.KetamaError, OSError) as error:
        return report(message_of(error), RUNTIME_ERROR)
    except MemoryError:
        return report("out of memory", RUNTIME_ERROR)
    return int(code or SUCCESS)


def _end_by_signal() -> None:
    """End as a process does whose standard output is closed, also if it ignores SIGPIPE."""
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    signal.raise_signal(signal.SIGPIPE)


def _lower_case(message: str) -> str:
    """Begin click's own messages as ours begin; a name in capitals, such as FILE, stays."""
    return message if message[:2].isupper() else message[:1].lower() + message[1:]


def message_of(error: Exception) -> str:
    """Return an error's file, line and reason."""
    if not isinstance(error, OSError):
        return str(error)
    name = error.filename
    name = "standard output" if name is None else os.fsdecode(name) or "''"
    return f"{name}: {error.strerror or error}"


def report(message: str, code: int, who: str = "ketama") -> int:
    """Print a message as one line on standard error, and return the exit code."""
    with suppress(OSError):  # if it can't be printed, the exit code must do
        print(f"{who}: {printable(message)}", file=sys.stderr, flush=True)
    return code

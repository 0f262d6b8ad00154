"""`ketama completion`: what makes a shell complete the command."""

from __future__ import annotations

import click
from click.shell_completion import BashComplete, FishComplete, ZshComplete

SHELLS = {"bash": BashComplete, "zsh": ZshComplete, "fish": FishComplete}


@click.command(short_help="Make a shell complete all this.")
@click.argument("shell", type=click.Choice(list(SHELLS)))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    r"""Print what makes a shell complete commands, options, files and servers.

    \b
    Examples:
      eval "$(ketama completion bash)"         # in ~/.bashrc
      eval "$(ketama completion zsh)"          # in ~/.zshrc
      ketama completion fish >~/.config/fish/completions/ketama.fish
    """
    complete = SHELLS[shell](ctx.find_root().command, {}, "ketama", "_KETAMA_COMPLETE")
    print(complete.source())

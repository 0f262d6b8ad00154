"""`ketama completion`: a script that completes the command in a shell."""

from __future__ import annotations

import click
from click.shell_completion import BashComplete, FishComplete, ZshComplete


class Bash(BashComplete):
    """click's completion, except that the colon of an address does not end a word."""

    source_template = """\
%(complete_func)s() {
    # Bash splits words at colons, so split the line again; of each answer, it wants only the
    # part after the colon.
    local IFS=$' \\t\\n' line=${COMP_LINE:0:COMP_POINT} words current before
    read -ra words <<<"$line"
    [[ $line == *[[:space:]] ]] && words+=("")
    current=${words[-1]}
    before=${current%%"${current##*:}"}
    [[ $COMP_WORDBREAKS == *:* ]] || before=
    COMPREPLY=()
    while IFS=, read -r type value; do
        case $type in
        dir) COMPREPLY=() && compopt -o dirnames ;;
        file) COMPREPLY=() && compopt -o default ;;
        plain) COMPREPLY+=("${value#"$before"}") ;;
        esac
    done < <(COMP_WORDS="${words[*]}" COMP_CWORD=$((${#words[@]} - 1)) \\
        %(complete_var)s=bash_complete $1)
}
complete -o nosort -F %(complete_func)s %(prog_name)s
"""

    @staticmethod
    def _check_version() -> None:
        """Do not start bash to ask for its version: 4.4 is from 2016."""


SHELLS = {"bash": Bash, "zsh": ZshComplete, "fish": FishComplete}


@click.command(short_help="Print a shell completion script.")
@click.argument("shell", metavar="SHELL", type=click.Choice(list(SHELLS)))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    r"""Print a script that completes commands, options, files and servers in a shell.

    \b
    Examples:
      eval "$(ketama completion bash)"         # in ~/.bashrc
      eval "$(ketama completion zsh)"          # in ~/.zshrc
      ketama completion fish >~/.config/fish/completions/ketama.fish
    """
    complete = SHELLS[shell](ctx.find_root().command, {}, "ketama", "_KETAMA_COMPLETE")
    print(complete.source())

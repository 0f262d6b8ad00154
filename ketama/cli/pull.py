"""`ketama pull`: write the list of a fleet to a file."""

from __future__ import annotations

import click

from ketama.cli.app import PROBLEMS_FOUND, SUCCESS, json_option, message_of, report
from ketama.cli.output import print_json, print_styled
from ketama.cli.store import open_store, url_argument


@click.command(short_help="Write the list of a fleet to a file.")
@url_argument
@click.argument("file", metavar="FILE", type=click.Path(readable=False))
@click.option("--force", is_flag=True, help="Drop changes of FILE that were not pushed.")
@json_option
def pull(url: str, file: str, force: bool, as_json: bool) -> int:
    r"""Write the list of the fleet at URL to the server file FILE, to be edited and pushed.

    FILE is replaced atomically, or created. If it has changes that were not pushed, that is
    refused.

    \b
    Examples:
      ketama pull etcd://etcd1,etcd2,etcd3/shop shop.servers
      ketama pull --force etcd://etcd1,etcd2,etcd3/shop shop.servers
    """
    from ketama import fleet

    with open_store(url) as store:
        try:
            version = fleet.pull(store, file, force=force)
        except (fleet.ConflictError, fleet.RefusedError) as error:
            return report(message_of(error), PROBLEMS_FOUND)
    if as_json:
        print_json({"url": url, "file": file, "version": version})
    else:
        print_styled((f"{file}: version ", ""), (str(version), "bold"))
    return SUCCESS

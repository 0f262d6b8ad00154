"""The fleet of a URL, and how the commands that need one report its errors."""

from __future__ import annotations

import os
from contextlib import closing
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from ketama.fleet import Store

SCHEMES = ("etcd://", "etcds://")


def is_url(file: str) -> bool:
    """Return whether an argument is the URL of a fleet."""
    return file.startswith(SCHEMES)


def open_store(url: str) -> AbstractContextManager[Store]:
    """Return the store of a URL, for a with block; raise a usage error where it is invalid.

    Credentials are those of the environment, and of the file that it, or the option
    --etcd-config, names.
    """
    from ketama.fleet import Store

    try:
        return closing(Store(url))
    except ValueError as error:
        if type(error) is not ValueError:
            raise
        raise click.UsageError(str(error)) from None


def url_value(ctx: click.Context, param: click.Parameter, value: str) -> str:
    """Return a URL; refuse what is none."""
    if is_url(value):
        return value
    raise click.BadParameter(
        f"invalid URL {os.fsdecode(value)!r:.80}: must be etcd://host1,host2:2379/domain"
    )


url_argument = click.argument("url", metavar="URL", callback=url_value)

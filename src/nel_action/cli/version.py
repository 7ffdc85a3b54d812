"""`nel-action version`."""

from __future__ import annotations

import click

from nel_action.version import __version__

__all__ = ["version"]


@click.command()
def version() -> int:
    """Print the version, as `--version` does."""
    click.echo(f"nel-action {__version__}")
    return 0

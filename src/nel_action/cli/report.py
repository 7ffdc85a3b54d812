"""`nel-action report`: print or write the report of an invocation."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from nel_action.cli.common import home_dir

if TYPE_CHECKING:
    from nel_action.report.model import Report

__all__ = ["report"]


@click.command()
@click.argument("invocation", metavar="INVOCATION|DIRECTORY")
@click.option(
    "--format",
    "format_",
    type=click.Choice(["terminal", "markdown", "html", "junit", "files"]),
    default="terminal",
    show_default=True,
    help="Output format; `files` rewrites all report files in the run directory.",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write to this file instead of standard output.",
)
def report(*, invocation: str, format_: str, output: Path | None) -> int:
    """Print or write the report of INVOCATION with the verdict that it got; the gate is not evaluated again."""
    from nel_action.exporters.discovery import find_runs
    from nel_action.report.store import load_report
    from nel_action.report.terminal import print_report
    from nel_action.report.write import write_reports

    (run_dir,) = find_runs([invocation], [], home_dir())
    loaded = load_report(run_dir)
    if format_ == "files":
        for path in write_reports(loaded, run_dir).values():
            click.echo(path)
    elif format_ == "terminal" and output is None:
        print_report(loaded)
    else:
        _write(_render(loaded, run_dir, format_), output)
    return 0


def _render(loaded: Report, run_dir: Path, format_: str) -> bytes:
    from nel_action.report.html import render_html
    from nel_action.report.junit import render_junit
    from nel_action.report.markdown import render_markdown
    from nel_action.report.terminal import render_terminal
    from nel_action.report.text_table import LOG_WIDTH
    from nel_action.report.write import with_run_dir

    match format_:
        case "html":
            return render_html(with_run_dir(loaded, run_dir))
        case "junit":
            return render_junit(loaded)
        case "markdown":
            return render_markdown(loaded).encode()
        case _:
            return render_terminal(loaded, width=LOG_WIDTH).encode()


def _write(data: bytes, output: Path | None) -> None:
    from nel_action.files import write_atomically

    if output is None:
        click.echo(data, nl=False)
    else:
        write_atomically(output, data)

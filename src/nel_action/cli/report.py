"""`nel-action report`."""

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
    help="`files` writes them all into the run directory again.",
)
@click.option(
    "-o", "--output", type=click.Path(dir_okay=False, path_type=Path), help="Write there, not to the terminal."
)
def report(*, invocation: str, format_: str, output: Path | None) -> int:
    """Print or write the report of INVOCATION, as it was judged; nothing is judged again."""
    from nel_action.exporters.discovery import find_runs
    from nel_action.report.store import load_report

    (run_dir,) = find_runs([invocation], [], home_dir())
    found = load_report(run_dir)
    if format_ == "files":
        _files(found, run_dir)
    elif format_ == "terminal" and output is None:
        _print(found)
    else:
        _put(_rendered(found, run_dir, format_), output)
    return 0


def _print(found: Report) -> None:
    from nel_action.report.terminal import one_line, print_table, standard_output

    print_table(found, standard_output())
    for reason in found.gate.reasons:
        click.echo(one_line(reason))
    click.echo(f"\n{found.gate.verdict.value} (exit {found.gate.exit_code})")


def _files(found: Report, run_dir: Path) -> None:
    from nel_action.report.write import write_reports

    for path in write_reports(found, run_dir).values():
        click.echo(path)


def _rendered(found: Report, run_dir: Path, format_: str) -> bytes:
    from nel_action.report.html import render_html
    from nel_action.report.junit import render_junit
    from nel_action.report.markdown import render_markdown
    from nel_action.report.terminal import table_text
    from nel_action.report.write import placed

    match format_:
        case "html":
            return render_html(placed(found, run_dir))
        case "junit":
            return render_junit(found)
        case "markdown":
            return render_markdown(found).encode()
        case _:
            return table_text(found).encode()


def _put(data: bytes, output: Path | None) -> None:
    from nel_action.files import write_atomically

    if output is None:
        click.echo(data, nl=False)
    else:
        write_atomically(output, data)
